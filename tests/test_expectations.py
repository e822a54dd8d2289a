"""The suites that come with the project: sound rows meet all of a suite, and each expectation catches its own fault."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest

from p2c_lib.model import load_templates
from p2c_lib.validate import DIMENSIONS, EXPECTATIONS, SEVERITIES, load_suite, suite_names, validate
from p2c_lib.validate.suites import columns_of

MONEY = pl.Decimal(38, 12)
PARENT = "parentcustomerid.Account(accountnumber).Contact(msdynce_contactnumber)"
PRODUCT = {
    "productnumber": "D0001",
    "name": "Speaker",
    "transactioncurrencyid.isocurrencycode": "USD",
    "defaultuomid.name": "Each",
    "defaultuomscheduleid.name": "Default unit",
    "msdynce_ismaintainedexternally": True,
    "producttypecode": 1,
    "isstockitem": True,
    "price": Decimal("9.95"),
    "currentcost": Decimal("0"),
    "quantitydecimal": 0,
}
CUSTOMER = {
    "CustomerAccount": "ACC-01000-BVRCPS",
    "PartyNumber": "ACC-01000-BVRCPS",
    "OrganizationName": "Contoso",
    "SalesCurrencyCode": "USD",
    "AddressCountryRegionISOCode": "USA",
    "CreditLimit": Decimal("0"),
    "CustomerGroupId": "10",
    "SiteId": "1",
    "WarehouseId": "13",
    "LanguageId": "en-us",
    "PartyType": "Organization",
    "IsExternallyMaintained": "Yes",
}
PERSON = CUSTOMER | {
    "CustomerAccount": "CON-01000-BVRCPS",
    "PartyNumber": "CON-01000-BVRCPS",
    "OrganizationName": None,
    "PersonLastName": "Ek",
    "SiteId": None,
    "WarehouseId": None,
    "PartyType": "Person",
}
CONTACT = {
    "ContactPersonPartyNumber": "CON-01000-BVRCPS",
    "AssociatedPartyNumber": "ACC-01000-BVRCPS",
    "LastName": "Ek",
    "Gender": "Unknown",
    "MaritalStatus": "None",
    "IsReceivingDirectMail": "Yes",
    "IsInactive": "No",
    "PrimaryAddressCountryRegionISOCode": "JA",
    "ContactPersonPartyType": "Person",
    "IsContactPersonExternallyMaintained": "Yes",
    "PrimaryEmailAddress": "ek@example.com",
}
SALES_CONTACT = {
    "msdynce_contactnumber": "CON-01000-BVRCPS",
    "msdynce_isactivecustomer": False,
    "msdynce_iscompanyanaccount": True,
    PARENT: "ACC-01000-BVRCPS",
    "lastname": "Ek",
    "statecode": 0,
    "gendercode": 2,
    "familystatuscode": 4,
    "emailaddress1": "ek@example.com",
    "address1_city": "Lund",
    "address1_postalcode": "223 50",
    "address1_stateorprovince": "Skåne",
    "transactioncurrencyid.isocurrencycode": "EUR",
    "creditlimit": Decimal("100"),
}
CUSTOMER_OF = "customerid.Account(accountnumber).Contact(msdynce_contactnumber)"
CURRENCY = "transactioncurrencyid.isocurrencycode"
SALES_HEADER = {
    "name": "Chairs",
    CUSTOMER_OF: "ACC-01000-BVRCPS",
    CURRENCY: "EUR",
    "totalamount": Decimal("0"),
    "shipto_stateorprovince": "Skåne",
    "shipto_postalcode": "223 50",
    "billto_postalcode": "223 50",
}
FNO_HEADER = {
    "RequestingCustomerAccountNumber": "ACC-01000-BVRCPS",
    "OrderingCustomerAccountNumber": "ACC-01000-BVRCPS",
    "CurrencyCode": "EUR",
    "DeliveryAddressCountryRegionISOCode": "DE",
    "IsDeliveryAddressOrderSpecific": "Yes",
    "QuotationTotalAmount": Decimal("0"),
    "OrderTotalAmount": Decimal("0"),
}
SALES_LINE = {
    "sequencenumber": 1,
    "productid.productnumber": "D0001",
    "uomid.name": "Each",
    "quantity": Decimal("-0.5"),
    "priceperunit": Decimal("0"),
    "manualdiscountamount": None,
    "tax": Decimal("0"),
    "extendedamount": Decimal("-4.50"),
    CURRENCY: "EUR",
}
FNO_LINE = {
    "LineCreationSequenceNumber": 1,
    "ProductNumber": "D0001",
    "SalesUnitSymbol": "ea",
    "RequestedSalesQuantity": Decimal("0.00001"),
    "OrderedSalesQuantity": Decimal("0.00001"),
    "InvoicedQuantity": Decimal("0.00001"),
    "SalesPrice": Decimal("0"),
    "TotalDiscountAmount": Decimal("0"),
    "LineTotalDiscountAmount": Decimal("0"),
    "TotalTaxAmount": Decimal("0"),
    "LineTotalTaxAmount": Decimal("0"),
    "LineAmount": Decimal("0"),
    "AreSalesOrderTotalsUpdated": "Yes",
    "CurrencyCode": "EUR",
}
FNO_ORDER = {
    "OrderingCustomerAccountNumber": "ACC-01000-BVRCPS",
    "CurrencyCode": "EUR",
    "SalesOrderProcessingStatus": "DeliveredPartiallyInvoiced",
    "AreTotalsUpdated": "Yes",
    "OrderTotalAmount": Decimal("0"),
    "OrderTotalTaxAmount": Decimal("1.90"),
    "OrderHeaderTaxAmount": Decimal("1.90"),
    "OrderTotalChargesAmount": Decimal("10"),
    "TotalDiscountAmount": Decimal("0"),
}
SALES_ORDER = {
    CUSTOMER_OF: "ACC-01000-BVRCPS",
    CURRENCY: "EUR",
    "pricelevelid.name": "Europe Retail",
    "msdynce_processingstatus": 647390009,
    "msdynce_ismaintainedexternally": True,
    "statecode": 4,
    "statuscode": 100003,
    "totalamount": Decimal("0"),
    "totaltax": Decimal("0"),
    "freightamount": None,
    "msdynce_misctax": None,
}
FNO_INVOICE = {
    "InvoiceCustomerAccountNumber": "ACC-01000-BVRCPS",
    "SalesOrderNumber": "SO-1",
    "CurrencyCode": "EUR",
    "InvoiceDate": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "TotalInvoiceAmount": Decimal("0"),
    "TotalTaxAmount": Decimal("0"),
    "InvoiceHeaderTaxAmount": Decimal("0"),
    "TotalChargeAmount": Decimal("0"),
}
SALES_INVOICE = {
    CUSTOMER_OF: "ACC-01000-BVRCPS",
    "salesorderid.ordernumber": "SO-1",
    CURRENCY: "EUR",
    "msdynce_invoicedate": date(2026, 1, 31),
    "pricelevelid.name": "Europe Retail",
    "ispricelocked": True,
    "statuscode": 4,
    "totalamount": Decimal("0"),
    "discountamount": Decimal("1.50"),
    "totaldiscountamount": Decimal("1.50"),
    "msdynce_misctax": None,
}
BACK_LINE = SALES_LINE | {"ispriceoverridden": True, "msdynce_ismaintainedexternally": True, "producttypecode": 1}
ORDER_LINE = {"msdynce_ordernumber": "SO-1", "salesorderid.ordernumber": "SO-1"} | BACK_LINE
INVOICE_LINE = {"msdynce_invoicenumber": "IV-1", "invoiceid.invoicenumber": "IV-1"} | BACK_LINE
REPEATS = {
    "PartyNumber": {"accounts", "contacts_to_customer"},
    "name": {"invoice_headers"},
    "salesorderid.ordernumber": {"order_lines_to_sales"},
    "invoiceid.invoicenumber": {"invoice_lines"},
}
"""Columns that repeat the key, and in which tasks."""
# A sound row of each suite; its first column is the key.
SOUND = {
    "products_source": {
        "ProductNumber": "D0001",
        "ProductName": "Speaker",
        "ProductDescription": "x" * 2000,
        "CurrencyCode": "USD",
        "SalesUnitSymbol": "ea",
        "SalesPrice": Decimal("0"),
        "UnitCost": Decimal("0.000000000001"),
        "ProductType": "Item",
        "IsStockedProduct": "No",
        "SalesUnitDecimalPrecision": 5,
    },
    "products_expected": PRODUCT,
    "products_destination": PRODUCT | {"defaultuomscheduleid.name": "Default Unit"},
    "accounts_source": {
        "accountnumber": "ACC-01000-BVRCPS",
        "name": "x" * 100,
        "transactioncurrencyid.isocurrencycode": "EUR",
        "creditlimit": Decimal("100"),
        "numberofemployees": 0,
        "emailaddress1": "a.b@example.com",
        "address1_city": "Lund",
        "address1_postalcode": "223 50",
        "address1_stateorprovince": "Skåne",
        "address1_country": "Sweden",
    },
    "accounts_expected": CUSTOMER,
    "accounts_destination": CUSTOMER,
    "contacts_source": SALES_CONTACT,
    "contacts_expected": CONTACT,
    "contacts_destination": CONTACT,
    "contacts_to_customer_source": SALES_CONTACT | {"msdynce_isactivecustomer": True},
    "contacts_to_customer_expected": PERSON,
    "contacts_to_customer_destination": PERSON,
    "quote_headers_source": {"quotenumber": "QUO-1"} | SALES_HEADER,
    "quote_headers_expected": {"SalesQuotationNumber": "QUO-1"} | FNO_HEADER,
    "quote_headers_destination": {"SalesQuotationNumber": "QUO-1"} | FNO_HEADER,
    "quote_lines_source": {"quoteid.quotenumber": "QUO-1"} | SALES_LINE,
    "quote_lines_expected": {"SalesQuotationNumber": "QUO-1"} | FNO_LINE,
    "quote_lines_destination": {"SalesQuotationNumber": "QUO-1"} | FNO_LINE,
    "order_headers_to_fno_source": {"ordernumber": "SO-1"} | SALES_HEADER,
    "order_headers_to_fno_expected": {"SalesOrderNumber": "SO-1"} | FNO_HEADER,
    "order_headers_to_fno_destination": {"SalesOrderNumber": "SO-1"} | FNO_HEADER,
    "order_lines_to_fno_source": {"salesorderid.ordernumber": "SO-1"} | SALES_LINE,
    "order_lines_to_fno_expected": {"SalesOrderNumber": "SO-1"} | FNO_LINE,
    "order_lines_to_fno_destination": {"SalesOrderNumber": "SO-1"} | FNO_LINE,
    "order_headers_to_sales_source": {"SalesOrderNumber": "SO-1"} | FNO_ORDER,
    "order_headers_to_sales_expected": {"ordernumber": "SO-1"} | SALES_ORDER,
    "order_headers_to_sales_destination": {"ordernumber": "SO-1"} | SALES_ORDER,
    "order_lines_to_sales_source": {"SalesOrderNumber": "SO-1"} | FNO_LINE,
    "order_lines_to_sales_expected": ORDER_LINE,
    "order_lines_to_sales_destination": ORDER_LINE,
    "invoice_headers_source": {"InvoiceNumber": "IV-1"} | FNO_INVOICE,
    "invoice_headers_expected": {"invoicenumber": "IV-1", "name": "IV-1"} | SALES_INVOICE,
    "invoice_headers_destination": {"invoicenumber": "IV-1", "name": "IV-1"} | SALES_INVOICE,
    "invoice_lines_source": {"InvoiceNumber": "IV-1"} | FNO_LINE,
    "invoice_lines_expected": INVOICE_LINE,
    "invoice_lines_destination": INVOICE_LINE,
}
# Rows that were not made by P2C and are nobody's fault.
FOREIGN = {
    "products_destination": PRODUCT
    | {
        "productnumber": "OWN-1",
        "msdynce_ismaintainedexternally": False,
        "defaultuomid.name": None,
        "defaultuomscheduleid.name": "Hours",
        "producttypecode": 3,
    },
    "accounts_destination": CUSTOMER
    | {
        "CustomerAccount": "US-001",
        "PartyNumber": "000012",
        "IsExternallyMaintained": "No",
        "CustomerGroupId": "80",
        "OrganizationName": None,
        "SiteId": None,
    },
    "contacts_source": SALES_CONTACT
    | {"msdynce_contactnumber": "CON-01001-BVRCPS", "msdynce_iscompanyanaccount": False, PARENT: None},
    "contacts_destination": CONTACT
    | {
        "ContactPersonPartyNumber": "000034",
        "IsContactPersonExternallyMaintained": "No",
        "LastName": None,
    },
    "contacts_to_customer_source": SALES_CONTACT
    | {"msdynce_contactnumber": "CON-01001-BVRCPS", "lastname": None, "transactioncurrencyid.isocurrencycode": None},
    "contacts_to_customer_destination": PERSON | CUSTOMER | {"CustomerGroupId": "80", "PartyNumber": "000012"},
}
DTYPES = {
    **dict.fromkeys(
        ["price", "currentcost", "CreditLimit", "creditlimit", "SalesPrice", "UnitCost", "totalamount", "priceperunit"],
        MONEY,
    ),
    **dict.fromkeys(
        ["QuotationTotalAmount", "OrderTotalAmount", "OrderHeaderTaxAmount", "TotalDiscountAmount", "msdynce_misctax"],
        MONEY,
    ),
    **dict.fromkeys(
        ["TotalInvoiceAmount", "InvoiceHeaderTaxAmount", "LineTotalDiscountAmount", "manualdiscountamount"], MONEY
    ),
    **dict.fromkeys(["OrderTotalTaxAmount", "OrderTotalChargesAmount", "TotalTaxAmount", "TotalChargeAmount"], MONEY),
    **dict.fromkeys(["LineTotalTaxAmount", "LineAmount", "extendedamount", "tax", "totaltax", "freightamount"], MONEY),
    **dict.fromkeys(["discountamount", "totaldiscountamount"], MONEY),
    **dict.fromkeys(["quantity", "RequestedSalesQuantity", "OrderedSalesQuantity", "InvoicedQuantity"], MONEY),
    "InvoiceDate": pl.Datetime("us", "UTC"),
    "msdynce_invoicedate": pl.Date,
    **dict.fromkeys(
        [
            "statecode",
            "statuscode",
            "gendercode",
            "familystatuscode",
            "numberofemployees",
            "producttypecode",
            "quantitydecimal",
            "SalesUnitDecimalPrecision",
            "sequencenumber",
            "LineCreationSequenceNumber",
            "msdynce_processingstatus",
        ],
        pl.Int32,
    ),
    **dict.fromkeys(
        ["msdynce_ismaintainedexternally", "isstockitem", "msdynce_isactivecustomer", "msdynce_iscompanyanaccount"],
        pl.Boolean,
    ),
    **dict.fromkeys(["ispriceoverridden", "ispricelocked"], pl.Boolean),
}
SUITES = sorted(SOUND)


def frame(rows: list[dict]) -> pl.DataFrame:
    schema = {column: DTYPES.get(column, pl.String) for column in rows[0]}
    return pl.DataFrame([[row[column] for column in schema] for row in rows], schema=schema, orient="row")


def concerned(kwargs: dict) -> dict:
    """What makes a row the business of an expectation that is about some rows only."""
    condition = kwargs.get("row_condition", {"conditions": []})
    parts = condition.get("conditions", [condition])
    more = {part["column"]["name"]: part["parameter"] for part in parts if part["operator"] == "=="}
    return more | {part["column"]["name"]: Decimal(part["parameter"]) + 1 for part in parts if part["operator"] == ">"}


def spoilt(value: object, expectation: dict) -> object:
    """A value that the expectation must catch, where `value` is sound."""
    kwargs = expectation["kwargs"]
    match expectation["type"].removeprefix("expect_"):
        case "column_values_to_not_be_null":
            return None
        case "column_values_to_not_match_regex":
            return f"{value} "
        case "column_values_to_match_regex":
            return f"{value} ?".lower()
        case "column_value_lengths_to_be_between":
            return "x" * (kwargs["max_value"] + 1)
        case "column_values_to_be_between" if isinstance(value, Decimal) or value is None:
            return Decimal("-0.000000000001")
        case "column_values_to_be_between" if isinstance(value, date):
            return value.replace(year=1999)
        case "column_pair_values_a_to_be_greater_than_b":
            return value - Decimal("0.000000000001")
        case "column_pair_values_to_be_in_set":
            return 0 if value else 4
        case "column_values_to_be_between":
            return -1
        case "column_values_to_be_in_set" if isinstance(value, bool):
            return not value
        case "column_values_to_be_in_set":
            return 99 if isinstance(value, int) else "Other"
        case "column_values_to_not_be_in_set":
            return kwargs["value_set"][0]
        case "column_pair_values_to_be_equal":
            return "another"
    raise AssertionError(f"no fault is known for {expectation['type']}")


def test_there_is_a_suite_for_each_task_and_side_and_no_other():
    tasks = [task.name for template in load_templates().values() for task in template.tasks]
    wanted = {f"{task}_{side}" for task in tasks for side in ("source", "expected", "destination")}
    assert set(suite_names()) == wanted == set(SUITES)


@pytest.mark.parametrize("name", SUITES)
def test_every_expectation_says_what_it_wants_and_how_grave_it_is(name):
    suite = json.loads((EXPECTATIONS / f"{name}.json").read_text())
    assert suite["name"] == name
    assert 6 <= len(suite["expectations"]) <= 15
    for entry in suite["expectations"]:
        assert {"says", "severity", "dimension"} <= set(entry["meta"]), entry
        assert entry["meta"]["severity"] in SEVERITIES
        assert entry["meta"]["dimension"] in DIMENSIONS
        assert not {"id", "expectation_context"} & set(entry), "an id differs from run to run"
    says = [entry["meta"]["says"] for entry in suite["expectations"]]
    assert len(set(says)) == len(says), "two expectations of a suite cannot be told apart by what they say"


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_names_only_columns_of_its_task(name):
    task_name, side = name.rsplit("_", 1)
    (task,) = [t for template in load_templates().values() for t in template.tasks if t.name == task_name]
    if side == "source":
        known = {name for field in task.fields for name in field.sources} | {c.column for c in task.filter}
    else:
        known = {field.destination for field in task.fields}
    assert set(SOUND[name]) >= used(name)
    assert used(name) <= known


def used(name: str) -> set[str]:
    kwargs = [entry["kwargs"] for entry in load_suite(name)["expectations"]]
    conditions = [k["row_condition"] for k in kwargs if "row_condition" in k]
    parts = [part for c in conditions for part in c.get("conditions", [c])]
    columns = {column for k in kwargs for column in columns_of(k)}
    return columns | {part["column"]["name"] for part in parts}


@pytest.mark.parametrize("name", SUITES)
def test_sound_rows_meet_a_suite_and_each_fault_is_caught_by_name(name):
    sound = SOUND[name]
    key = next(iter(sound))
    repeats = [column for column, tasks in REPEATS.items() if name.rsplit("_", 1)[0] in tasks and column in sound]
    rows = [sound | dict.fromkeys(repeats, sound[key])]
    rows += [FOREIGN[name]] if name in FOREIGN else []
    clean = validate(frame(rows), name, key=[key])
    assert [check.says for check in clean.failed if check.severity != "info"] == []

    wanted = {}
    for number, entry in enumerate(load_suite(name)["expectations"]):
        # Each fault has a row of its own, under a number of its own.
        number_of_row = f"{sound[key][:4]}{number:05d}-FAULTY"
        row = dict(sound) | {key: number_of_row}
        row |= dict.fromkeys(repeats, number_of_row)
        row |= concerned(entry["kwargs"])
        column = next(iter(columns_of(entry["kwargs"])))
        if entry["type"].endswith("_to_be_unique"):
            rows.append(row)
        else:
            row[column] = spoilt(row[column], entry)
        rows.append(row)
        wanted[entry["meta"]["says"]] = row[key] or ""
    found = validate(frame(rows), name, key=[key])
    assert not found.success
    caught = {check.says: check.failing_keys for check in found.checks}
    assert {says: key for says, key in wanted.items() if key not in caught[says]} == {}
    assert not {sound[key]} & {k for check in found.checks if check.severity != "info" for k in check.failing_keys}
