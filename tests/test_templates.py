"""The shipped templates, held against a second transcription of the published ones."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from p2c_lib.model import Task, all_tasks, find_task, load_templates, load_texts
from p2c_lib.model.overlays import Sources, read

TEMPLATES = load_templates()
FACTS = [
    tuple(part.strip() for part in line.split("|"))
    for line in (Path(__file__).parent / "data" / "direct_fields.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
OWN_CONSTANTS = {("contacts", "IsReceivingDirectMail"): "No"}
OWN_RULES = {
    ("quote_headers", "DeliveryAddressName"): ("name", "copy", "-", "-"),
    ("quote_headers", "DeliveryAddressDescription"): ("name", "copy", "-", "-"),
    ("order_headers_to_fno", "DeliveryAddressName"): ("name", "copy", "-", "-"),
    ("order_headers_to_fno", "DeliveryAddressDescription"): ("name", "copy", "-", "-"),
    ("order_headers_to_sales", "pricelevelid.name"): ("CurrencyCode", "value_map", "currency_to_price_list", "-"),
    ("order_headers_to_sales", "totaltax"): ("OrderTotalTaxAmount", "transform", "-", "-"),
    ("invoice_headers", "totaltax"): ("TotalTaxAmount", "transform", "-", "-"),
    ("invoice_lines", "extendedamount"): ("LineAmount", "transform", "-", "-"),
}
OWN_FIELDS = {
    (task, field) for task in ("quote_lines", "order_lines_to_fno") for field in ("LineAmount", "CurrencyCode")
}
"""What our templates say otherwise than the published ones, or beside them, each with a note in the YAML."""
ORDER = """products accounts contacts contacts_to_customer quote_headers quote_lines order_headers_to_fno
order_lines_to_fno order_headers_to_sales order_lines_to_sales invoice_headers invoice_lines""".split()  # noqa: SIM905


def tasks() -> list[Task]:
    return all_tasks(TEMPLATES)


def test_the_templates_come_in_their_order_of_running():
    assert list(TEMPLATES) == [
        *("products", "accounts", "contacts", "contacts_to_customer"),
        *("quotes", "orders_to_fno", "orders_to_sales", "invoices"),
    ]
    assert [template.position for template in TEMPLATES.values()] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [task.name for task in tasks()] == ORDER


def test_what_is_shipped_says_the_same_read_the_fast_way_and_as_a_sites_files_are():
    shipped = [*files("p2c_lib.templates").iterdir(), files("p2c_lib") / "causes.yaml"]
    texts = {entry.name: entry.read_text("utf-8") for entry in shipped if entry.name.endswith(".yaml")}
    for file, text in texts.items():
        sources = Sources()
        assert read(text, file, sources, shipped=True) == read(text, file, sources) is not None
        assert sources.problems == [], "an alias or a key that stands twice, say"
    del texts["causes.yaml"]
    assert load_texts(texts) == load_templates(route=None)


@pytest.mark.parametrize("name", ORDER)
def test_every_published_field_is_there_and_no_other(name):
    published = {
        (destination, *OWN_RULES.get((name, destination), (source, kind, value_map, constant)))
        for template, destination, source, kind, value_map, constant, *_ in FACTS
        if template == name
    }
    ours = {
        (f.destination, f.source or "-", f.map, f.value_map or "-", f.value or f.blank_default or "-")
        for f in find_task(name, TEMPLATES).fields
        if (name, f.destination) not in OWN_FIELDS
    }
    added = {(n, d): constant for (n, d), constant in OWN_CONSTANTS.items() if n == name}
    assert {field for field in ours if (name, field[0]) not in added} == {
        field for field in published if (name, field[0]) not in added
    }
    assert {(name, d): constant for d, *_, constant in ours if (name, d) in added} == added


@pytest.mark.parametrize("name", ORDER)
def test_confidence_is_that_of_the_published_facts(name):
    published = {d: (sure, of_map) for template, d, *_, sure, of_map in FACTS if template == name}
    for field in find_task(name, TEMPLATES).fields:
        if (name, field.destination) in OWN_FIELDS:
            assert (field.confidence, field.role) == ("inferred", "worth")
            continue
        sure, of_map = published[field.destination]
        assert field.confidence == sure
        if (name, field.destination) in OWN_RULES:
            assert field.transform_confidence == "inferred"
        else:
            assert field.transform_confidence == ("confirmed" if of_map == "-" else of_map), field.destination


@pytest.mark.parametrize(("task", "field"), sorted([*OWN_RULES, *OWN_CONSTANTS, *OWN_FIELDS]))
def test_what_is_ours_has_a_note_that_says_so(task, field):
    assert find_task(task, TEMPLATES).field(field).note


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
        (
            "quote_headers",
            {"SalesQuotationNumber": "quotenumber"},
            ["active", "products_from_fno_only"],
            ["made_from_sales", "open"],
        ),
        (
            "quote_lines",
            {"SalesQuotationNumber": "quoteid.quotenumber", "LineCreationSequenceNumber": "sequencenumber"},
            ["quote_active", "products_from_fno_only"],
            ["made_from_sales", "open"],
        ),
        (
            "order_headers_to_fno",
            {"SalesOrderNumber": "ordernumber"},
            ["active", "products_from_fno_only", "not_from_fno"],
            ["made_from_sales", "not_confirmed"],
        ),
        (
            "order_lines_to_fno",
            {"SalesOrderNumber": "salesorderid.ordernumber", "LineCreationSequenceNumber": "sequencenumber"},
            ["order_active", "products_from_fno_only", "submitted", "order_not_from_fno"],
            ["made_from_sales", "not_confirmed"],
        ),
        (
            "order_headers_to_sales",
            {"ordernumber": "SalesOrderNumber"},
            [
                "ordering_customer_from_sales",
                "invoice_customer_from_sales",
                *["no_work_order", "totals_updated", "confirmed"],
            ],
            ["came_from_fno"],
        ),
        (
            "order_lines_to_sales",
            {"msdynce_ordernumber": "SalesOrderNumber", "sequencenumber": "LineCreationSequenceNumber"},
            [
                "ordering_customer_from_sales",
                "invoice_customer_from_sales",
                *["no_work_order", "totals_updated", "confirmed"],
            ],
            ["order_came_from_fno"],
        ),
        ("invoice_headers", {"invoicenumber": "InvoiceNumber"}, ["has_an_order", "no_work_order"], ["came_from_fno"]),
        (
            "invoice_lines",
            {"msdynce_invoicenumber": "InvoiceNumber", "sequencenumber": "LineCreationSequenceNumber"},
            [],
            ["came_from_fno"],
        ),
    ],
)
def test_keys_filters_and_scopes_are_those_of_prospect_to_cash(name, key, filters, scope):
    task = find_task(name, TEMPLATES)
    assert task.key == key
    assert [condition.name for condition in task.filter] == filters
    theirs = (*task.destination.scope, *task.destination.as_long_as)
    assert [condition.name for condition in theirs] == scope
    assert all(condition.says for condition in (*task.filter, *task.destination.scope))


def test_scopes_and_filter_conditions_say_that_they_are_inferred():
    conditions = [c for task in tasks() for c in (*task.filter, *task.destination.scope, *task.destination.only)]
    assert {condition.confidence for condition in conditions} == {"inferred"}


@pytest.mark.parametrize(
    ("name", "amount", "currency"),
    [
        ("products", "price", "transactioncurrencyid.isocurrencycode"),
        ("accounts", "CreditLimit", "SalesCurrencyCode"),
        ("contacts", None, None),
        ("contacts_to_customer", "CreditLimit", "SalesCurrencyCode"),
        ("quote_headers", "QuotationTotalAmount", "CurrencyCode"),
        ("quote_lines", "LineAmount", "CurrencyCode"),
        ("order_headers_to_fno", "OrderTotalAmount", "CurrencyCode"),
        ("order_lines_to_fno", "LineAmount", "CurrencyCode"),
        ("order_headers_to_sales", "totalamount", "transactioncurrencyid.isocurrencycode"),
        ("order_lines_to_sales", "extendedamount", "transactioncurrencyid.isocurrencycode"),
        ("invoice_headers", "totalamount", "transactioncurrencyid.isocurrencycode"),
        ("invoice_lines", "extendedamount", "transactioncurrencyid.isocurrencycode"),
    ],
)
def test_the_money_at_stake_and_its_currency_are_named_as_at_the_destination(name, amount, currency):
    task = find_task(name, TEMPLATES)
    assert (task.amount, task.currency) == (amount, currency)


def test_amounts_have_no_tolerance_unless_a_site_gives_one():
    money = [(task.name, field) for task in tasks() for field in task.fields if field.money]
    assert [field.destination for _, field in money[:4]] == ["price", "currentcost", "CreditLimit", "CreditLimit"]
    assert {field.tolerance for _, field in money if field.role != "worth"} == {0}
    named = ("amount", "Amount", "price", "Price", "tax", "cost", "Limit", "limit")
    for task in tasks():
        for field in task.fields:
            if field.destination.endswith(named):
                assert field.money, f"{task.name}.{field.destination} is an amount"


def test_keys_and_codes_have_no_normaliser():
    codes = ("Id", "Code", "Number", "Account", "ISOCode", "State", "ZipCode", "Type", "Maintained", "Roles")
    for task in tasks():
        for field in task.fields:
            is_code = field.destination in task.key or field.destination.endswith(codes)
            if is_code and not field.destination.endswith(("PhoneNumber", "StreetNumber")):
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
    for task in tasks():
        assert {field.destination for field in task.fields if field.lookup} == {
            field.destination for field in task.fields if "." in field.destination
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


def test_a_row_waits_for_the_rows_that_it_points_to():
    customers = [
        ("CustomersV2", "CustomerAccount", "accounts"),
        ("CustomersV2", "CustomerAccount", "contacts_to_customer"),
    ]
    buyers = [("accounts", "accountnumber", None), ("contacts", "msdynce_contactnumber", None)]
    customer = "customerid.Account(accountnumber).Contact(msdynce_contactnumber)"
    product = [("SellableReleasedProducts", "ProductNumber", None)]
    parents = {
        (task.name, f.destination): [(p.entity, p.column, p.task) for p in f.parent]
        for task in tasks()
        for f in task.fields
        if f.parent
    }
    assert parents == {
        ("contacts", "AssociatedPartyNumber"): [("CustomersV2", "PartyNumber", "accounts")],
        ("quote_headers", "RequestingCustomerAccountNumber"): customers,
        ("quote_lines", "ProductNumber"): product,
        ("quote_lines", "SalesQuotationNumber"): [
            ("CDSSalesQuotationHeaders", "SalesQuotationNumber", "quote_headers")
        ],
        ("order_headers_to_fno", "OrderingCustomerAccountNumber"): customers,
        ("order_lines_to_fno", "ProductNumber"): product,
        ("order_lines_to_fno", "SalesOrderNumber"): [
            ("CDSSalesOrderHeaders", "SalesOrderNumber", "order_headers_to_fno")
        ],
        ("order_headers_to_sales", customer): buyers,
        ("order_lines_to_sales", "productid.productnumber"): [("products", "productnumber", "products")],
        ("order_lines_to_sales", "salesorderid.ordernumber"): [
            ("salesorders", "ordernumber", "order_headers_to_sales")
        ],
        ("invoice_headers", customer): buyers,
        ("invoice_headers", "salesorderid.ordernumber"): [("salesorders", "ordernumber", "order_headers_to_sales")],
        ("invoice_lines", "productid.productnumber"): [("products", "productnumber", "products")],
        ("invoice_lines", "invoiceid.invoicenumber"): [("invoices", "invoicenumber", "invoice_headers")],
    }


def test_a_parent_is_brought_by_a_task_that_runs_before_its_children():
    place = {task.name: number for number, task in enumerate(tasks())}
    for task in tasks():
        for parent in (p for f in task.fields for p in f.parent if p.task):
            assert place[parent.task] < place[task.name]
            assert find_task(parent.task, TEMPLATES).destination.entity == parent.entity


def test_the_line_that_sales_makes_for_tax_on_charges_is_never_read():
    only = {task.name: [(c.column, c.op, c.value) for c in task.destination.only] for task in tasks()}
    freight_tax = [("msdynce_ismisctax", "ne", True)]
    assert {name: conditions for name, conditions in only.items() if conditions} == {
        "order_lines_to_sales": freight_tax,
        "invoice_lines": freight_tax,
    }


def test_totals_are_compared_and_never_sent():
    computed = {(task.name, f.destination) for task in tasks() for f in task.fields if f.role == "computed"}
    assert computed == {
        ("quote_headers", "QuotationTotalAmount"),
        ("order_headers_to_fno", "OrderTotalAmount"),
        ("order_headers_to_sales", "totalamount"),
        ("order_headers_to_sales", "totaltax"),
        ("order_headers_to_sales", "statecode"),
        ("order_lines_to_sales", "extendedamount"),
        ("invoice_headers", "totalamount"),
        ("invoice_headers", "totaldiscountamount"),
        ("invoice_headers", "totaltax"),
        ("invoice_lines", "extendedamount"),
    }


def test_known_quirks_stand_on_the_fields_that_they_concern():
    known = {(task.name, quirk.name, field.destination) for task in tasks() for field, quirk in task.quirks()}
    country = {("accounts", "AddressCountryRegionISOCode"), ("accounts", "DeliveryAddressCountryRegionISOCode"),
               ("contacts", "PrimaryAddressCountryRegionISOCode"),
               ("contacts_to_customer", "AddressCountryRegionISOCode")}  # fmt: skip
    sent = {("quote_headers", "DeliveryAddressCountryRegionISOCode"),
            ("order_headers_to_fno", "DeliveryAddressCountryRegionISOCode")}  # fmt: skip
    expected = {(task, "japan_is_ja", field) for task, field in country | sent}
    expected |= {(task, "three_letter_country", field) for task, field in country}
    expected |= {("quote_headers", "bill_to_in_delivery", field)
                 for field in ("DeliveryAddressStreetNumber", "DeliveryAddressZipCode")}  # fmt: skip
    expected |= {
        ("order_headers_to_fno", "name_comes_back_as_description", "CustomersOrderReference"),
        ("order_headers_to_sales", "name_comes_back_as_description", "description"),
        ("order_headers_to_sales", "name_comes_back_as_description", "name"),
        ("order_headers_to_sales", "billing_country_by_region_id", "billto_country"),
        ("invoice_headers", "discount_by_group_code", "discountamount"),
    }
    computed = {(t.name, f.destination) for t in tasks() for f in t.fields if f.role == "computed" and f.money}
    expected |= {(task, "totals_copied", field) for task, field in computed}
    assert known == expected


def test_what_one_would_expect_instead_of_a_quirk_is_named_where_it_is_known():
    instead = {(task.name, field.destination): quirk.instead for task in tasks() for field, quirk in task.quirks()}
    assert {place: column for place, column in instead.items() if column} == {
        ("quote_headers", "DeliveryAddressStreetNumber"): "shipto_line2",
        ("quote_headers", "DeliveryAddressZipCode"): "shipto_postalcode",
        ("order_headers_to_sales", "billto_country"): "InvoiceAddressCountryRegionISOCode",
        ("invoice_headers", "discountamount"): "TotalDiscountAmount",
    }
    entries = {quirk.name: quirk.entries for task in tasks() for _, quirk in task.quirks() if quirk.entries}
    assert entries == {"japan_is_ja": {"ja": "JP", "jap": "JP", "japan": "JP"}, "three_letter_country": {"": "US"}}


def test_every_template_says_where_its_facts_are_from_and_what_is_odd():
    for template in TEMPLATES.values():
        assert template.title.endswith("- Direct")
        assert template.facts
        assert template.quirks
