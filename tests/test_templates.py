"""The shipped templates, held against a second transcription of the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2c_lib.model import Task, all_tasks, find_task, load_templates

TEMPLATES = load_templates()
FACTS = [
    tuple(part.strip() for part in line.split("|"))
    for line in (Path(__file__).parent / "data" / "direct_fields.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
OWN_ADDITIONS = {("contacts", "IsReceivingDirectMail"): "No"}
"""What our templates say beyond the published ones, each with a note in the YAML."""


def tasks() -> list[Task]:
    return all_tasks(TEMPLATES)


def test_the_templates_come_in_their_order_of_running():
    assert list(TEMPLATES) == ["products", "accounts", "contacts", "contacts_to_customer"]
    assert [template.position for template in TEMPLATES.values()] == [1, 2, 3, 4]
    assert [task.name for task in tasks()] == list(TEMPLATES)


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_every_published_field_is_there_and_no_other(name):
    published = {
        (destination, source, kind, value_map, OWN_ADDITIONS.get((name, destination), constant))
        for template, destination, source, kind, value_map, constant, *_ in FACTS
        if template == name
    }
    ours = {
        (f.destination, f.source or "-", f.map, f.value_map or "-", f.value or f.blank_default or "-")
        for f in find_task(name, TEMPLATES).fields
    }
    assert ours == published


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_confidence_is_that_of_the_published_facts(name):
    published = {d: (sure, of_map) for template, d, *_, sure, of_map in FACTS if template == name}
    for field in find_task(name, TEMPLATES).fields:
        sure, of_map = published[field.destination]
        assert field.confidence == sure
        assert field.transform_confidence == ("confirmed" if of_map == "-" else of_map)


@pytest.mark.parametrize(
    ("name", "key", "filters", "scope"),
    [
        ("products", {"productnumber": "ProductNumber"}, [], ["maintained_externally"]),
        ("accounts", {"CustomerAccount": "accountnumber"}, [], ["organization", "externally_maintained"]),
        (
            "contacts",
            {"ContactPersonPartyNumber": "msdynce_contactnumber"},
            ["not_active_customer", "company_is_an_account"],
            ["externally_maintained"],
        ),
        (
            "contacts_to_customer",
            {"CustomerAccount": "msdynce_contactnumber"},
            ["is_active_customer"],
            ["person", "externally_maintained"],
        ),
    ],
)
def test_keys_filters_and_scopes_are_those_of_prospect_to_cash(name, key, filters, scope):
    task = find_task(name, TEMPLATES)
    assert task.key == key
    assert [condition.name for condition in task.filter] == filters
    assert [condition.name for condition in task.destination.scope] == scope
    assert all(condition.says for condition in (*task.filter, *task.destination.scope))


def test_scopes_and_filter_conditions_say_that_they_are_inferred():
    conditions = [c for task in tasks() for c in (*task.filter, *task.destination.scope)]
    assert {condition.confidence for condition in conditions} == {"inferred"}


@pytest.mark.parametrize(
    ("name", "amount", "currency"),
    [
        ("products", "price", "transactioncurrencyid.isocurrencycode"),
        ("accounts", "CreditLimit", "SalesCurrencyCode"),
        ("contacts", None, None),
        ("contacts_to_customer", "CreditLimit", "SalesCurrencyCode"),
    ],
)
def test_the_money_at_stake_and_its_currency_are_named_as_at_the_destination(name, amount, currency):
    task = find_task(name, TEMPLATES)
    assert (task.amount, task.currency) == (amount, currency)


def test_amounts_have_no_tolerance_unless_a_site_gives_one():
    money = [field for task in tasks() for field in task.fields if field.money]
    assert [field.destination for field in money] == ["price", "currentcost", "CreditLimit", "CreditLimit"]
    assert {field.tolerance for field in money} == {0}


def test_keys_and_codes_have_no_normaliser():
    codes = ("Id", "Code", "Number", "Account", "ISOCode", "State", "ZipCode", "Type", "Maintained", "Roles")
    for task in tasks():
        for field in task.fields:
            is_code = field.destination in task.key or field.destination.endswith(codes)
            if is_code and field.destination != "PrimaryPhoneNumber":
                assert field.normalise == (), f"{task.name}.{field.destination}"


def test_texts_that_people_type_are_compared_with_trim_and_case():
    wanted = {
        "accounts": ["OrganizationName", "AddressCity", "AddressStreet", "PrimaryContactEmail"],
        "contacts": ["FirstName", "LastName"],
        "contacts_to_customer": ["PersonFirstName"],
        "products": ["name", "description"],
    }
    for name, columns in wanted.items():
        for column in columns:
            assert find_task(name, TEMPLATES).field(column).normalise == ("trim", "case")


def test_paths_over_lookups_are_found_by_text_whatever_its_case():
    fields = find_task("products", TEMPLATES).fields
    assert {field.destination for field in fields if field.lookup} == {
        field.destination for field in fields if "." in field.destination
    }


def test_the_country_map_keeps_the_published_entries_with_its_mistake():
    entries = find_task("accounts", TEMPLATES).value_maps["country_to_iso"].entries
    assert len(entries) == 20
    assert (entries["japan"], entries["uk"], entries["united states of america"]) == ("JA", "GB", "US")
    assert "jp" not in entries


def test_yes_and_no_are_texts_and_not_flags():
    maps = {name: vm.entries for task in tasks() for name, vm in task.value_maps.items()}
    assert maps["noyes_to_bool"] == {"yes": "true", "no": "false"}
    assert maps["bool_to_noyes_inverted"] == {"true": "No", "false": "Yes"}
    assert maps["state_to_inactive"] == {"0": "No", "1": "Yes"}
    assert maps["gender"] == {"1": "Male", "2": "Female", "": "Unknown"}
    assert maps["marital_status"][""] == "None"


def test_a_contact_waits_for_the_customer_of_its_company():
    parents = [(task.name, f.destination, f.parent) for task in tasks() for f in task.fields if f.parent]
    assert [(name, column) for name, column, _ in parents] == [("contacts", "AssociatedPartyNumber")]
    parent = parents[0][2]
    assert parent is not None
    assert (parent.entity, parent.column, parent.task) == ("CustomersV2", "PartyNumber", "accounts")


def test_every_template_says_where_its_facts_are_from_and_what_is_odd():
    for template in TEMPLATES.values():
        assert template.title.endswith("- Direct")
        assert template.facts
        assert template.quirks
