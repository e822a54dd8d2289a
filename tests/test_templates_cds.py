"""The templates through CDS, held against a second transcription of the published ones, and against the store."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from p2c_lib import cli
from p2c_lib.cli import app
from p2c_lib.connect import Column, Entity
from p2c_lib.errors import TemplateError
from p2c_lib.model import all_tasks, check_against, describe, find_task, load_templates
from p2c_lib.model.load import load_texts
from p2c_lib.sandbox import schema as sandbox_schema
from p2c_lib.store import load_entities

BOTH = load_templates(route=None)
CDS = load_templates(route="cds")
FIELDS = Path(sandbox_schema.__file__).with_name("schema") / "cds_fields.txt"
FACTS = [
    tuple(part.strip() for part in line.split("|"))
    for line in FIELDS.read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
# template, position, prerequisites, and of each direct task: CDS entity, fields of leg 1, fields of leg 2
TEMPLATES = [
    ("products_cds", 9, [], {"products": ("Product", 12, 12)}),
    ("accounts_cds", 10, [], {"accounts": ("Account", 34, 30)}),
    ("contacts_cds", 11, ["accounts_cds"], {"contacts": ("Contact", 34, 24)}),
    ("contacts_to_customer_cds", 12, ["accounts_cds"], {"contacts_to_customer": ("Account", 31, 24)}),
    (
        "quotes_cds",
        13,
        ["products_cds", "accounts_cds", "contacts_to_customer_cds"],
        {"quote_headers": ("Quotation", 21, 16), "quote_lines": ("QuotationLine", 21, 17)},
    ),
    (
        "orders_to_sales_cds",
        14,
        ["products_cds", "accounts_cds", "contacts_to_customer_cds"],
        {"order_headers_to_sales": ("SalesOrder", 32, 26), "order_lines_to_sales": ("SalesOrderLine", 26, 20)},
    ),
    (
        "invoices_cds",
        15,
        ["products_cds", "accounts_cds", "contacts_cds", "orders_to_sales_cds"],
        {"invoice_headers": ("SalesInvoice", 26, 22), "invoice_lines": ("SalesInvoiceLine", 21, 15)},
    ),
]
LEGS = [(task, leg) for *_, tasks in TEMPLATES for task in tasks for leg in (1, 2)]
PER_LEG = {(task, leg): counts[leg] for *_, tasks in TEMPLATES for task, counts in tasks.items() for leg in (1, 2)}
# (task, leg, destination): source, map, value map, constant, where ours is not the published one; each has a note
OWN_RULES = {
    ("contacts", 1, "Source"): ("-", "default", "-", "Dynamics 365 Sales"),
    ("contacts_to_customer", 1, "Source"): ("-", "default", "-", "Dynamics 365 Sales"),
    ("contacts", 2, "IsReceivingDirectMail"): ("IsEmailContactAllowed", "value_map", "bool_to_noyes", "No"),
    ("quote_headers", 1, "RequestedDeliveryDate"): ("requestdeliveryby", "default_if_blank", "-", "2020-01-01"),
    ("quote_lines", 1, "RequestedDeliveryDate"): ("requestdeliveryby", "default_if_blank", "-", "2020-01-01"),
    ("quote_lines", 1, "Sequence"): ("sequencenumber", "copy", "-", "-"),
    ("quote_headers", 2, "DeliveryAddressName"): ("Account_AccountId", "copy", "-", "-"),
    ("quote_headers", 2, "DeliveryAddressDescription"): ("Account_AccountId", "copy", "-", "-"),
    ("quote_lines", 2, "DeliveryAddressDescription"): ("DeliveryAddress_City", "copy", "-", "-"),
    ("order_headers_to_sales", 2, "statecode"): ("-", "default", "-", "0"),
    ("order_headers_to_sales", 2, "statuscode"): ("-", "default", "-", "1"),
    ("order_headers_to_sales", 2, "pricelevelid.name"): (
        *("TotalAmount_CurrencyCode", "value_map", "currency_to_price_list", "-"),
    ),
    ("invoice_headers", 1, "Status"): ("-", "default", "-", "Billed"),
    ("invoice_headers", 2, "statuscode"): ("-", "default", "-", "4"),
    ("invoice_lines", 1, "Status"): ("-", "default", "-", "Billed"),
    ("invoice_lines", 2, "extendedamount"): ("LineAmount", "transform", "-", "-"),
    ("invoice_lines", 2, "producttypecode"): ("-", "default", "-", "1"),
    ("invoice_lines", 2, "propertyconfigurationstatus"): ("-", "default", "-", "2"),
}
OWN_FIELDS = {("quote_lines", 2): {"LineAmount", "CurrencyCode"}}


def leg_task(name, leg):
    return find_task(f"{name}_{'to' if leg == 1 else 'from'}_cds", CDS)


def published(name, leg):
    return [fact[2:] for fact in FACTS if fact[:2] == (name, str(leg))]


# --- what was published -----------------------------------------------------------------------------------------------


def test_the_transcription_has_464_fields_in_20_legs():
    assert len(FACTS) == 464
    assert Counter((task, int(leg)) for task, leg, *_ in FACTS) == PER_LEG
    assert len(PER_LEG) == 20


def test_all_fifteen_templates_are_there_the_direct_ones_first():
    assert [template.position for template in BOTH.values()] == list(range(1, 16))
    assert [(name, t.position, list(t.prerequisites)) for name, t in CDS.items()] == [t[:3] for t in TEMPLATES]
    assert {template.generation for template in CDS.values()} == {"cds"}
    assert list(BOTH)[:8] == list(load_templates())


def test_the_titles_are_the_published_ones_of_the_generation_before():
    for name, template in CDS.items():
        assert f"{template.title} - Direct" == BOTH[name.removesuffix("_cds")].title


@pytest.mark.parametrize(("name", "leg"), LEGS)
def test_every_published_field_of_a_leg_is_there_and_no_other(name, leg):
    wanted = {}
    for destination, source, kind, value_map, constant, *_ in published(name, leg):
        wanted[destination] = OWN_RULES.get((name, leg, destination), (source, kind, value_map, constant))
    own = OWN_FIELDS.get((name, leg), set())
    ours = {
        f.destination: (f.source or "-", f.map, f.value_map or "-", f.value or f.blank_default or "-")
        for f in leg_task(name, leg).fields
        if f.destination not in own
    }
    assert ours == wanted
    assert len(ours) == PER_LEG[name, leg]


@pytest.mark.parametrize(("name", "leg"), LEGS)
def test_confidence_is_that_of_the_published_facts(name, leg):
    facts = {destination: (sure, of_map) for destination, *_, sure, of_map in published(name, leg)}
    for field in leg_task(name, leg).fields:
        if field.destination in OWN_FIELDS.get((name, leg), ()):
            assert (field.confidence, field.role) == ("inferred", "worth")
            continue
        sure, of_map = facts[field.destination]
        assert field.confidence == sure
        if (name, leg, field.destination) not in OWN_RULES:
            assert field.transform_confidence == ("confirmed" if of_map == "-" else of_map), field.destination


@pytest.mark.parametrize(
    ("name", "leg", "destination"),
    sorted(
        set(OWN_RULES)
        - {
            ("invoice_headers", 2, "statuscode"),
        }
    ),
)
def test_what_is_ours_has_a_note_that_says_so(name, leg, destination):
    assert leg_task(name, leg).field(destination).note


@pytest.mark.parametrize(("template", "tasks"), [(t[0], t[3]) for t in TEMPLATES])
def test_each_direct_task_has_two_legs_over_one_entity_of_the_store(template, tasks):
    legs = [(t.of, t.leg, t.source.system, t.destination.system) for t in CDS[template].tasks]
    way = CDS[template].direction.split("_to_")
    assert legs == [leg for task in tasks for leg in ((task, 1, way[0], "cds"), (task, 2, "cds", way[1]))]
    for task, (entity, *_) in tasks.items():
        first, second, direct = leg_task(task, 1), leg_task(task, 2), find_task(task, BOTH)
        assert (first.destination.entity, second.source.entity) == (entity, entity)
        assert (first.source, second.destination) == (direct.source, direct.destination)
        assert first.filter == direct.filter, "a leg through CDS lets the same rows flow"
        assert list(first.key.values()) == list(direct.key.values())
        assert [second.key[column] for column in direct.key] == list(first.key), "leg 2 reads the key that leg 1 wrote"


def test_accounts_and_contacts_that_buy_are_told_apart_in_the_entity_they_share():
    for name, party in (("accounts", "Organization"), ("contacts_to_customer", "Person")):
        (scope,), (flows,) = leg_task(name, 1).destination.scope, leg_task(name, 2).filter
        assert (scope.column, scope.value, flows.column, flows.value) == ("PartyType", party, "PartyType", party)
        assert leg_task(name, 1).field("PartyType").value == party


def test_the_organisation_stands_in_every_leg_into_the_store_in_all_its_forms():
    forms = {
        (task.of, field.destination)
        for task in all_tasks(CDS)
        for field in task.fields
        if field.setting == "organization"
    }
    assert Counter(task for task, _ in forms) == {
        "products": 1,
        "accounts": 1,
        "contacts": 2,
        "contacts_to_customer": 1,
        "quote_headers": 3,
        "quote_lines": 3,
        "order_headers_to_sales": 3,
        "order_lines_to_sales": 2,
        "invoice_headers": 3,
        "invoice_lines": 2,
    }
    prefixes = {name.removesuffix("Organization_OrganizationId") for _, name in forms}
    assert prefixes == {
        *("", "Account_", "InvoiceAccount_", "Product_", "Quotation_", "SalesOrder_", "SalesInvoice_"),
        "PrimaryAccount_",
    }
    assert {leg_task(task, 1).field(name).value for task, name in forms} == {"ORG001"}
    all_of_them = {f.destination for t in all_tasks(CDS) for f in t.fields if "OrganizationId" in f.destination}
    assert all_of_them == {name for _, name in forms}


def test_a_profile_s_organisation_takes_the_place_of_the_constant_and_of_no_other():
    ours = load_templates(route="cds", settings={"organization": "ACME"})
    before, after = all_tasks(CDS), all_tasks(ours)
    changed = {
        (old.value, new.value)
        for one, other in zip(before, after, strict=True)
        for old, new in zip(one.fields, other.fields, strict=True)
        if old != new
    }
    assert changed == {("ORG001", "ACME")}


@pytest.mark.parametrize(
    ("task", "leg", "destination", "constant"),
    [
        ("accounts", 2, "AddressCountryRegionISOCode", "USA"),
        ("accounts", 2, "DeliveryAddressCountryRegionISOCode", "USA"),
        ("contacts", 2, "PrimaryAddressCountryRegionISOCode", "USA"),
        ("contacts_to_customer", 2, "AddressCountryRegionISOCode", "USA"),
        ("quote_headers", 1, "RequestedDeliveryDate", "2020-01-01"),
        ("quote_lines", 1, "RequestedDeliveryDate", "2020-01-01"),
        ("products", 2, "defaultuomscheduleid.name", "Default unit"),
        ("accounts", 2, "CustomerGroupId", "10"),
        ("accounts", 2, "SiteId", "1"),
        ("accounts", 2, "WarehouseId", "13"),
        ("accounts", 2, "LanguageId", "en-us"),
    ],
)
def test_the_constants_of_this_generation_are_the_published_ones(task, leg, destination, constant):
    assert leg_task(task, leg).field(destination).value == constant


def test_what_the_first_leg_leaves_empty_is_held_against_nothing_where_the_destination_fills_it_itself():
    filled = {(t.of, f.destination) for t in all_tasks(CDS) if t.leg == 1 for f in t.fields}
    empty = {
        (task.of, name)
        for task in all_tasks(CDS)
        if task.leg == 2
        for field in task.fields
        for name in field.sources
        if (task.of, name) not in filled
    }
    assert empty == {("quote_lines", "Description"), ("quote_lines", "ProductName"), ("invoice_headers", "Description")}
    unfilled = {(t.of, f.destination) for t in all_tasks(CDS) for f in t.fields if f.role == "unfilled"}
    assert unfilled == {("quote_lines", "LineDescription"), ("quote_lines", "ProductName")}


# --- with the store and the systems -----------------------------------------------------------------------------------


def _sandbox_entity(system, name):
    said = yaml.safe_load(Path(sandbox_schema.__file__).with_name("schema").joinpath(f"{system}.yaml").read_text())
    kinds = {"money": "Edm.Decimal", "decimal": "Edm.Decimal", "int": "Edm.Int32", "boolean": "Edm.Boolean"}
    kinds |= {"picklist": "Edm.Int32", "state": "Edm.Int32", "status": "Edm.Int32", "date": "Edm.Date"}
    kinds |= {"datetime": "Edm.DateTimeOffset"}
    facts = said["entities"][name]
    columns = {}
    for column, fact in facts["columns"].items():
        enum = tuple(map(str, said["enums"][fact["enum"]])) if "enum" in fact else ()
        edm_type = fact["enum"] if enum else kinds.get(fact["type"], "Edm.String")
        columns[column] = Column(column, edm_type, max_length=fact.get("length"), enum=enum)
    return columns, {c for c, fact in facts["columns"].items() if fact["type"] in ("lookup", "customer", "owner")}


@pytest.mark.parametrize(("name", "leg"), LEGS)
def test_a_leg_fits_the_entity_of_the_store(name, leg):
    """The store's side for its columns, types, constants and picklists; the service's side for its columns."""
    task = leg_task(name, leg)
    side, other = (task.destination, task.source) if leg == 1 else (task.source, task.destination)
    columns, _ = _sandbox_entity(other.system, other.entity)
    service = Entity(other.entity, other.entity, (), columns)
    store = load_entities()[side.entity].entity
    problems = check_against(task, *((service, store) if leg == 1 else (store, service)))
    assert [problem for problem in problems if "has no lookup" not in problem] == []


def test_every_column_of_the_store_is_filled_or_read_by_a_template():
    used = {}
    for task in all_tasks(CDS):
        side, names = (
            (task.destination, [f.destination for f in task.fields])
            if task.leg == 1
            else (task.source, [n for f in task.fields for n in f.sources] + [c.column for c in task.filter])
        )
        used.setdefault(side.entity, set()).update(names)
    assert used == {name: set(declared.columns) for name, declared in load_entities().items()}


def test_what_a_value_map_makes_is_in_the_picklist_that_takes_it_and_the_second_leg_knows_all_of_it():
    picked = 0
    for task in all_tasks(CDS):
        side = task.destination if task.leg == 1 else task.source
        columns = load_entities()[side.entity].columns
        for field in task.fields:
            if field.map != "value_map":
                continue
            entries = task.value_maps[field.value_map].entries
            column = columns.get(field.destination if task.leg == 1 else field.source)
            if not column.enum:
                continue
            picked += 1
            if task.leg == 1:
                assert set(entries.values()) <= set(column.enum), f"{task.name}.{field.destination}"
            else:
                assert {value.lower() for value in column.enum} <= set(entries), f"{task.name}.{field.destination}"
    assert picked == 14


def test_units_of_sales_come_through_the_store_as_they_would_directly():
    maps = {name: value_map.entries for task in all_tasks(BOTH) for name, value_map in task.value_maps.items()}
    assert {unit: maps["uom_sales_to_fo"].get(name.lower()) for unit, name in maps["uom_sales_to_cds"].items()} == maps[
        "uom_sales_to_fo"
    ]


def test_statuses_of_orders_come_through_the_store_as_they_would_directly():
    maps = {name: value_map.entries for task in all_tasks(BOTH) for name, value_map in task.value_maps.items()}
    through = {
        status: maps["cds_status_to_processing"][name.lower()]
        for status, name in maps["processing_status_to_cds"].items()
    }
    assert through == maps["processing_status"]


def test_a_row_waits_in_the_store_and_at_the_destination_for_the_legs_that_bring_what_it_points_to():
    known = {task.name: task for task in all_tasks(CDS)}
    waits = [(task, parent) for task in known.values() for f in task.fields for parent in f.parent]
    assert len(waits) == 28
    for task, parent in waits:
        if parent.task is not None:
            assert parent.entity == known[parent.task].destination.entity
            assert known[parent.task].leg == task.leg, f"{task.name} waits for {parent.task}"
            assert parent.column in {field.destination for field in known[parent.task].fields}


# --- for people -------------------------------------------------------------------------------------------------------


def test_the_list_names_all_fifteen_templates_with_their_way_and_legs():
    shown = CliRunner().invoke(app, ["templates", "list", "--json"])
    rows = json.loads(shown.stdout)
    assert len({row["title"] for row in rows}) == 15
    assert Counter(row["route"] for row in rows) == {"direct": 12, "cds 1": 10, "cds 2": 10}
    by_task = {row["task"]: row for row in rows}
    assert (by_task["accounts_to_cds"]["from"], by_task["accounts_to_cds"]["to"]) == ("sales.accounts", "cds.Account")


def test_a_template_through_cds_can_be_shown_field_by_field(monkeypatch):
    monkeypatch.setattr(cli.out_console, "width", 500)
    shown = CliRunner().invoke(app, ["templates", "show", "quotes_cds"])
    assert shown.exit_code == 0, shown.output
    assert all(field.destination in shown.stdout for task in CDS["quotes_cds"].tasks for field in task.fields)
    rows = {(row["task"], row["destination"]): row for row in describe(CDS["quotes_cds"])}
    assert rows["quote_lines_from_cds", "ProductName"]["compared"] == "not filled, not compared"
    assert (
        rows["quote_headers_to_cds", "Organization_OrganizationId"]["from"] == "always 'ORG001' (profile: organization)"
    )


def test_runs_of_today_see_the_direct_templates_alone():
    assert {template.generation for template in load_templates().values()} == {"direct"}


def test_an_overlay_reaches_a_leg_by_its_own_name(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("overlay: x\ntasks:\n  accounts_from_cds:\n    fields: {CustomerGroupId: {value: '30'}}\n")
    assert find_task("accounts_from_cds", load_templates((site,), route="cds")).field("CustomerGroupId").value == "30"
    assert find_task("accounts", load_templates((site,))).field("CustomerGroupId").value == "10"


LEG = """
template: t
title: T
generation: {generation}
direction: sales_to_fno
position: 1
tasks:
  - name: t_to_cds
    {more}
    source: {{system: {source}, entity: accounts}}
    destination: {{system: {destination}, entity: Account}}
    key: {{AccountId: accountnumber}}
    fields:
      - {{destination: AccountId, source: accountnumber}}
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(("cds", "leg: 1", "sales", "cds"), "tasks[0].of: must be given in a template of", id="of what"),
        pytest.param(("cds", "of: t_to_cds", "sales", "cds"), "tasks[0].leg: must be given in a template", id="no leg"),
        pytest.param(
            ("cds", "{of: t_to_cds, leg: 2}", "sales", "cds"),
            "tasks[0].source.system: goes sales_to_cds, but leg 2 of sales_to_fno goes cds_to_fno",
            id="other way",
        ),
        pytest.param(("cds", "{of: other, leg: 1}", "sales", "cds"), "tasks[0].of: no task 'other'", id="unknown"),
        pytest.param(("direct", "leg: 1", "sales", "fno"), "tasks[0].leg: belongs to templates of the", id="direct"),
        pytest.param(
            ("direct", "title: x", "sales", "cds"), "goes sales_to_cds, but the template's direction", id="into cds"
        ),
    ],
)
def test_a_leg_that_is_none_is_refused_with_its_place(text, words):
    generation, more, source, destination = text
    more = more.strip("{}").replace(", ", "\n    ")
    yaml_text = LEG.format(generation=generation, more=more, source=source, destination=destination)
    with pytest.raises(TemplateError) as caught:
        load_texts({"t.yaml": yaml_text})
    assert words in str(caught.value)


def test_a_setting_belongs_to_a_constant():
    text = LEG.format(generation="cds", more="of: t_to_cds\n    leg: 1", source="sales", destination="cds")
    with pytest.raises(TemplateError, match=r"fields\[0\]\.setting: takes the place of a constant"):
        load_texts({"t.yaml": text.replace("source: accountnumber}", "source: accountnumber, setting: organization}")})
