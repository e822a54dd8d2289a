"""Documents of the sandbox against an oracle of their own: plain dicts, one row at a time, nothing of the library."""

from collections import Counter, defaultdict
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cache

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from p2c_lib.sandbox.data import World, generate
from p2c_lib.sandbox.schema import load_schema

UNKNOWN = object()  # what a value map without an entry gives
CENT = Decimal("0.01")
COUNTRIES = {
    **dict.fromkeys(("us", "usa", "united states", "united states of america"), "US"),
    **dict.fromkeys(("germany", "de", "deu"), "DE"),
    **dict.fromkeys(("france", "fr", "fra"), "FR"),
    **dict.fromkeys(("uk", "united kingdom"), "GB"),
    **dict.fromkeys(("ja", "jap", "japan"), "JA"),
    **dict.fromkeys(("india", "in", "ind"), "IN"),
    "au": "AU",
    "ca": "CA",
}
REGIONS = {"USA": "US", "DEU": "DE", "FRA": "FR", "GBR": "GB", "JPN": "JP", "IND": "IN", "AUS": "AU", "CAN": "CA"}
UNITS = {"ea": "Each", "pcs": "Piece", "lb": "Pound", "kg": "Kilogram", "box": "Box"}
SYMBOLS = {name: symbol for symbol, name in UNITS.items()}
PRICE_LISTS = {"USD": "CRM Service USA (sample)", "EUR": "Europe Retail", "GBP": "UK Retail"}
STATUSES = {
    "Active": 647390000,
    "Confirmed": 647390001,
    "Picked": 647390004,
    "PartiallyDelivered": 647390008,
    "Delivered": 647390007,
    "Invoiced": 647390003,
    "PartiallyInvoiced": 647390009,
    "DeliveredPartiallyInvoiced": 647390009,
    "Canceled": 647390010,
}
CUSTOMER = "customerid.Account(accountnumber).Contact(msdynce_contactnumber)"
ONLY = "msdynce_hasexternallymaintainedproductsonly"
EXTERNAL = "msdynce_ismaintainedexternally"
ACTIVE = 647390000


def text(value):
    return value if value and value.strip() else None


def number(value):
    return value or 0


def country(value):
    return COUNTRIES.get(value.strip().lower(), UNKNOWN) if text(value) else "US"


def looked_up(entries):
    return lambda value: entries.get(value, UNKNOWN)


def always(constant):
    return lambda _: constant


def out_heads(customer, name, total, second_line, zip_code):
    return {
        customer: (CUSTOMER, text),
        "DeliveryAddressCity": ("shipto_city", text),
        "DeliveryAddressCountryRegionISOCode": ("shipto_country", country),
        "CurrencyCode": ("currency", text),
        "DeliveryAddressStreet": ("shipto_line1", text),
        "DeliveryAddressStreetNumber": (second_line, text),
        "DeliveryAddressZipCode": (zip_code, text),
        "DeliveryAddressStateId": ("shipto_stateorprovince", text),
        total: ("totalamount", number),
        name: ("name", text),
        "DeliveryAddressName": ("name", text),
        "DeliveryAddressDescription": ("name", text),
        "IsDeliveryAddressOrderSpecific": (None, always("Yes")),
    }


def out_lines(quantity):
    return {
        "ProductNumber": ("productid.productnumber", text),
        quantity: ("quantity", number),
        "SalesUnitSymbol": ("uomid.name", looked_up(SYMBOLS)),
        "TotalDiscountAmount": ("manualdiscountamount", number),
        "SalesPrice": ("priceperunit", number),
    }


LINE_BACK = {
    "transactioncurrencyid.isocurrencycode": ("CurrencyCode", text),
    "description": ("ProductName", text),
    "productid.productnumber": ("ProductNumber", text),
    "uomid.name": ("SalesUnitSymbol", looked_up(UNITS)),
    "priceperunit": ("SalesPrice", number),
    "ispriceoverridden": (None, always(True)),
}
FIELDS = {
    "quote_headers": out_heads(
        "RequestingCustomerAccountNumber",
        "SalesQuotationName",
        "QuotationTotalAmount",
        "billto_line2",
        "billto_postalcode",
    ),
    "quote_lines": out_lines("RequestedSalesQuantity"),
    "order_headers_to_fno": out_heads(
        "OrderingCustomerAccountNumber",
        "CustomersOrderReference",
        "OrderTotalAmount",
        "shipto_line2",
        "shipto_postalcode",
    ),
    "order_lines_to_fno": out_lines("OrderedSalesQuantity"),
    "order_headers_to_sales": {
        "shipto_city": ("DeliveryAddressCity", text),
        "billto_city": ("InvoiceAddressCity", text),
        "shipto_country": ("DeliveryAddressCountryRegionISOCode", text),
        "billto_country": ("InvoiceAddressCountryRegionId", looked_up(REGIONS)),
        "description": ("CustomersOrderReference", text),
        "shipto_line2": ("DeliveryAddressStreetNumber", text),
        "msdynce_processingstatus": ("SalesOrderProcessingStatus", looked_up(STATUSES)),
        "shipto_postalcode": ("DeliveryAddressZipCode", text),
        "billto_postalcode": ("InvoiceAddressZipCode", text),
        "shipto_line1": ("DeliveryAddressStreet", text),
        "billto_line1": ("InvoiceAddressStreet", text),
        "shipto_stateorprovince": ("DeliveryAddressStateId", text),
        "billto_stateorprovince": ("InvoiceAddressStateId", text),
        "name": ("SalesOrderName", text),
        "transactioncurrencyid.isocurrencycode": ("CurrencyCode", text),
        "totalamount": ("OrderTotalAmount", number),
        "discountamount": ("TotalDiscountAmount", number),
        "totaltax": ("line_tax", number),
        "freightamount": ("OrderTotalChargesAmount", number),
        CUSTOMER: ("OrderingCustomerAccountNumber", text),
        EXTERNAL: (None, always(True)),
        "pricelevelid.name": ("CurrencyCode", looked_up(PRICE_LISTS)),
        "msdynce_misctax": ("OrderHeaderTaxAmount", number),
    },
    "order_lines_to_sales": LINE_BACK
    | {
        "shipto_city": ("DeliveryAddressCity", text),
        "shipto_country": ("DeliveryAddressCountryRegionISOCode", text),
        "shipto_stateorprovince": ("DeliveryAddressStateId", text),
        "shipto_line1": ("DeliveryAddressStreet", text),
        "shipto_line2": ("DeliveryAddressStreetNumber", text),
        "shipto_postalcode": ("DeliveryAddressZipCode", text),
        "extendedamount": ("with_tax", number),
        "quantity": ("OrderedSalesQuantity", number),
        "salesorderid.ordernumber": ("SalesOrderNumber", text),
        "manualdiscountamount": ("TotalDiscountAmount", number),
        "tax": ("TotalTaxAmount", number),
        EXTERNAL: (None, always(True)),
    },
    "invoice_headers": {
        CUSTOMER: ("InvoiceCustomerAccountNumber", text),
        "billto_line1": ("InvoiceAddressStreet", text),
        "billto_city": ("InvoiceAddressCity", text),
        "billto_country": ("InvoiceAddressCountryRegionISOCode", text),
        "billto_postalcode": ("InvoiceAddressZipCode", text),
        "billto_stateorprovince": ("InvoiceAddressState", text),
        "description": ("CustomersOrderReference", text),
        "discountamount": ("TotalDiscountCustomerGroupCode", number),
        "transactioncurrencyid.isocurrencycode": ("CurrencyCode", text),
        "msdynce_invoicedate": ("InvoiceDate", lambda moment: moment.date()),
        "name": ("InvoiceNumber", text),
        "salesorderid.ordernumber": ("SalesOrderNumber", text),
        "totalamount": ("TotalInvoiceAmount", number),
        "pricelevelid.name": ("CurrencyCode", looked_up(PRICE_LISTS)),
        "freightamount": ("TotalChargeAmount", number),
        "totaldiscountamount": ("TotalDiscountAmount", number),
        "totaltax": ("line_tax", number),
        "ispricelocked": (None, always(True)),
        "statuscode": (None, always(4)),
        "msdynce_misctax": ("InvoiceHeaderTaxAmount", number),
    },
    "invoice_lines": LINE_BACK
    | {
        "quantity": ("InvoicedQuantity", number),
        "manualdiscountamount": ("LineTotalDiscountAmount", number),
        "extendedamount": ("with_tax", number),
        "tax": ("LineTotalTaxAmount", number),
        "invoiceid.invoicenumber": ("InvoiceNumber", text),
        "producttypecode": (None, always(1)),
        "propertyconfigurationstatus": (None, always(2)),
    },
}
LOOSE = {
    *("name", "description", "SalesQuotationName", "CustomersOrderReference", "DeliveryAddressName"),
    *("DeliveryAddressDescription", "DeliveryAddressCity", "DeliveryAddressStreet", "DeliveryAddressStreetNumber"),
    *(f"{end}to_{part}" for end in ("ship", "bill") for part in ("city", "line1", "line2")),
}
QUANTITIES = {"quantity", "RequestedSalesQuantity", "OrderedSalesQuantity"}
INVOICES, INVOICE_LINES = (f"ExternallyMaintainedCustomerSalesInvoice{part}" for part in ("Headers", "Lines"))
HEADS = {
    "quotedetails": ("quote", "quotes", "quotenumber"),
    "salesorderdetails": ("salesorder", "salesorders", "ordernumber"),
    "invoicedetails": ("invoice", "invoices", "invoicenumber"),
}


@cache
def world(drift: bool, seed: int = 7) -> World:
    return generate(drift=drift, seed=seed, counts={"orders": 400})


class Sides:
    """All rows as dicts, lookups of Sales followed."""

    def __init__(self, found: World) -> None:
        self.sales = {name: frame.to_dicts() for name, frame in found.sales.items()}
        self.fno = {
            name: [row for row in frame.to_dicts() if row.get("dataAreaId", "usmf") == "usmf"]
            for name, frame in found.fno.items()
        }
        codes, lists, units = (
            {row[key]: row[name] for row in self.sales[entity]}
            for entity, key, name in (
                ("transactioncurrencies", "transactioncurrencyid", "isocurrencycode"),
                ("pricelevels", "pricelevelid", "name"),
                ("uoms", "uomid", "name"),
            )
        )
        self.customers = {row["accountid"]: row["accountnumber"] for row in self.sales["accounts"]}
        self.customers |= {row["contactid"]: row["msdynce_contactnumber"] for row in self.sales["contacts"]}
        self.products = {row["productid"]: row["productnumber"] for row in self.sales["products"]}
        self.orders = {row["salesorderid"]: row["ordernumber"] for row in self.sales["salesorders"]}
        for name, (table, heads, column) in HEADS.items():
            owners = {row[f"{table}id"]: row for row in self.sales[heads]}
            for row in self.sales[heads]:
                row |= {
                    "currency": codes[row["_transactioncurrencyid_value"]],
                    "transactioncurrencyid.isocurrencycode": codes[row["_transactioncurrencyid_value"]],
                    "pricelevelid.name": lists[row["_pricelevelid_value"]],
                    CUSTOMER: self.customers[row["_customerid_value"]],
                    "salesorderid.ordernumber": self.orders.get(row.get("_salesorderid_value")),
                }
                if row.get("msdynce_invoicedate"):
                    row["msdynce_invoicedate"] = date.fromisoformat(row["msdynce_invoicedate"])
            for row in self.sales[name]:
                row["head"] = owners[row[f"_{table}id_value"]]
                row["number"] = row[f"{table}id.{column}"] = row["head"][column]
                row["transactioncurrencyid.isocurrencycode"] = codes[row["_transactioncurrencyid_value"]]
                row["productid.productnumber"] = self.products.get(row["_productid_value"])
                row["uomid.name"] = units.get(row["_uomid_value"])
        for row in self.fno["CDSSalesOrderHeaders"]:
            row["line_tax"] = row["OrderTotalTaxAmount"] - row["OrderHeaderTaxAmount"]
        for row in self.fno[INVOICES]:
            row["line_tax"] = row["TotalTaxAmount"] - row["InvoiceHeaderTaxAmount"]
        for row in self.fno["CDSSalesOrderLines"]:
            row["with_tax"] = row["LineAmount"] + row["TotalTaxAmount"]
        for row in self.fno[INVOICE_LINES]:
            row["with_tax"] = row["LineAmount"] + row["LineTotalTaxAmount"]

    def numbers(self, entity, column):
        rows = self.sales.get(entity) or self.fno.get(entity) or []
        return {(row[column] or "").strip().casefold() for row in rows}

    def task(self, name):
        """Source rows (row, key, flows), destination rows (row, key, ours), a test: has a source row its parents?"""
        sales, fno = self.sales, self.fno
        out_customer = self.numbers("CustomersV2", "CustomerAccount")
        out_product = self.numbers("SellableReleasedProducts", "ProductNumber")
        back_customer = {(key or "").strip().casefold() for key in self.customers.values()}
        back_product = self.numbers("products", "productnumber")

        def key(column, sequence=None):
            return lambda row: (row[column], *([row[sequence]] if sequence else []))

        def has(column, present):
            return lambda row: (row[column] or "").strip().casefold() in present

        def both(*tests):
            return lambda row: all(test(row) for test in tests)

        def back(row, totals):
            return (
                row["OrderingCustomerIsExternallyMaintained"] == row["InvoiceCustomerIsExternallyMaintained"] == "Yes"
                and row[totals] == "Yes"
                and row["SalesOrderProcessingStatus"] != "Active"
            )

        confirmed = {
            row["SalesOrderNumber"].strip().casefold()
            for row in fno["CDSSalesOrderHeaders"]
            if row["SalesOrderProcessingStatus"] != "Active"
        }

        def sent(row):
            is_theirs = (row["ordernumber"] or "").strip().casefold() in confirmed
            return row["msdynce_processingstatus"] == ACTIVE and not row[EXTERNAL] and not is_theirs

        def open_order(row):
            return (
                row["SalesOrderProcessingStatus"] == "Active" and row["SalesOrderOriginType"] == "SalesOrderIntegration"
            )

        def open_quote(maker):
            return lambda row: row[maker] == "Dynamics365Sales" and row["SalesQuotationStatus"] in ("Created", "Sent")

        sides = {
            "quote_headers": (
                *(sales["quotes"], key("quotenumber"), lambda row: row["statecode"] == 1 and row[ONLY]),
                *(fno["CDSSalesQuotationHeaders"], key("SalesQuotationNumber")),
                open_quote("SalesQuotationHeaderCreationMethod"),
                has(CUSTOMER, out_customer),
            ),
            "quote_lines": (
                *(sales["quotedetails"], key("number", "sequencenumber")),
                lambda row: row["quotestatecode"] == 1 and row["msdynce_quotehasexternalmaintainedproductsonly"],
                *(fno["CDSSalesQuotationLines"], key("SalesQuotationNumber", "LineCreationSequenceNumber")),
                open_quote("SalesQuotationLineCreationMethod"),
                both(
                    has("productid.productnumber", out_product),
                    has("number", self.numbers("CDSSalesQuotationHeaders", "SalesQuotationNumber")),
                ),
            ),
            "order_headers_to_fno": (
                *(sales["salesorders"], key("ordernumber"), lambda row: sent(row) and row[ONLY]),
                *(fno["CDSSalesOrderHeaders"], key("SalesOrderNumber"), open_order),
                has(CUSTOMER, out_customer),
            ),
            "order_lines_to_fno": (
                *(sales["salesorderdetails"], key("number", "sequencenumber")),
                lambda row: (
                    sent(row["head"])
                    and row["msdynce_orderhasexternalmaintainedproductsonly"]
                    and row["msdynce_orderissubmitted"]
                ),
                *(fno["CDSSalesOrderLines"], key("SalesOrderNumber", "LineCreationSequenceNumber"), open_order),
                both(
                    has("productid.productnumber", out_product),
                    has("number", self.numbers("CDSSalesOrderHeaders", "SalesOrderNumber")),
                ),
            ),
            "order_headers_to_sales": (
                *(fno["CDSSalesOrderHeaders"], key("SalesOrderNumber"), lambda row: back(row, "AreTotalsUpdated")),
                *(sales["salesorders"], key("ordernumber"), lambda row: row[EXTERNAL]),
                has("OrderingCustomerAccountNumber", back_customer),
            ),
            "order_lines_to_sales": (
                *(fno["CDSSalesOrderLines"], key("SalesOrderNumber", "LineCreationSequenceNumber")),
                lambda row: back(row, "AreSalesOrderTotalsUpdated"),
                [row for row in sales["salesorderdetails"] if not row["msdynce_ismisctax"]],
                key("msdynce_ordernumber", "sequencenumber"),
                lambda row: row["head"][EXTERNAL],
                both(
                    has("ProductNumber", back_product),
                    has("SalesOrderNumber", self.numbers("salesorders", "ordernumber")),
                ),
            ),
            "invoice_headers": (
                *(fno[INVOICES], key("InvoiceNumber"), lambda row: True),
                *(sales["invoices"], key("invoicenumber"), lambda row: row["msdynce_invoicedate"] is not None),
                both(
                    has("InvoiceCustomerAccountNumber", back_customer),
                    has("SalesOrderNumber", self.numbers("salesorders", "ordernumber")),
                ),
            ),
            "invoice_lines": (
                *(fno[INVOICE_LINES], key("InvoiceNumber", "LineCreationSequenceNumber"), lambda row: True),
                [row for row in sales["invoicedetails"] if not row["msdynce_ismisctax"]],
                key("msdynce_invoicenumber", "sequencenumber"),
                lambda row: row["msdynce_invoicenumber"] is not None,
                both(
                    has("ProductNumber", back_product),
                    has("InvoiceNumber", self.numbers("invoices", "invoicenumber")),
                ),
            ),
        }
        source, source_key, flows, destination, destination_key, ours, whole = sides[name]
        return (
            [(row, source_key(row), flows(row)) for row in source],
            [(row, destination_key(row), ours(row)) for row in destination],
            whole,
        )


def key_text(key):
    return "|".join("" if part is None else str(part) for part in key)


def normal(key):
    parts = ["" if part is None else str(part).strip().casefold() for part in key]
    return tuple(parts) if all(parts) else None


def bad_keys(keys):
    """Normal form of every key that cannot be joined; None stands for the blank ones."""
    spellings = defaultdict(list)
    for key in keys:
        spellings[normal(key)].append(key)
    return {None} | {
        form
        for form, written in spellings.items()
        if len(written) > 1 or any(key_text(key) != "|".join(str(part).strip() for part in key) for key in written)
    }


def field_outcome(name, expected, found):
    if expected is UNKNOWN:
        return "unmapped"
    if isinstance(found, str):
        found = text(found)
    if expected == found:
        return None
    if isinstance(expected, Decimal) and found is not None and name not in QUANTITIES:
        return "rounding" if abs(expected - found) <= CENT else "different"
    if isinstance(expected, str) and isinstance(found, str):
        if name in LOOSE and expected.strip().lower() == found.strip().lower():
            return "representation"
        if len(found) >= 20 and len(found) < len(expected) and expected.startswith(found):
            return "truncated"
    return "different"


def oracle(found: World):
    """(task, key, field, outcome) of everything about documents that does not match."""
    outcomes = set()
    sides = Sides(found)
    for task, fields in FIELDS.items():
        source, destination, whole = sides.task(task)
        outcomes |= {(task, key_text(key), None, "excluded") for _, key, flows in source if not flows}
        source = [(row, key) for row, key, flows in source if flows]
        wanted = {normal(key) for _, key in source} - {None}
        destination = [(row, key) for row, key, ours in destination if ours or normal(key) in wanted]
        bad = bad_keys(key for _, key in source) | bad_keys(key for _, key in destination)
        partners = {}
        for row, key in destination:
            if normal(key) in bad:
                outcomes.add((task, key_text(key), None, "blocked"))
            else:
                partners[normal(key)] = (row, key)
        for row, key in source:
            if normal(key) in bad:
                outcomes.add((task, key_text(key), None, "blocked"))
                continue
            partner = partners.pop(normal(key), None)
            if partner is None:
                outcomes.add((task, key_text(key), None, "missing" if whole(row) else "blocked"))
                continue
            for name, (column, rule) in fields.items():
                outcome = field_outcome(name, rule(row[column] if column else None), partner[0][name])
                if outcome:
                    outcomes.add((task, key_text(key), name, outcome))
        outcomes |= {(task, key_text(key), None, "extra") for _, key in partners.values()}
    return outcomes


def told(found: World):
    rows = found.truth.filter(pl.col("task").is_in(list(FIELDS))).select("task", "key", "field", "outcome").rows()
    assert len(rows) == len(set(rows))
    return set(rows)


def test_without_drift_documents_differ_in_nothing():
    outcomes = oracle(world(False))
    assert {outcome for *_, outcome in outcomes} == {"excluded"}
    assert {task for task, *_ in outcomes} == set(FIELDS) - {"invoice_headers", "invoice_lines"}
    assert outcomes == told(world(False))


@pytest.mark.parametrize("seed", [7, 1, 2, 3])
def test_with_drift_the_oracle_finds_the_truth_and_nothing_else(seed):
    assert oracle(world(True, seed)) == told(world(True, seed))


@pytest.mark.parametrize("drift", [False, True])
@pytest.mark.parametrize("rows", [(1, 1, 1, 1), (1, 0, 1, 5), (0, 3, 40, 12), (5, 40, 2, 30), (60, 0, 60, 150)])
def test_worlds_of_a_few_documents_tell_the_truth_as_well(rows, drift):
    counts = dict(zip(("accounts", "contacts", "products", "orders"), rows, strict=True))
    found = generate(counts=counts, drift=drift)
    assert ("quotes" in found.sales) == ("CDSSalesOrderHeaders" in found.fno)
    if "quotes" in found.sales:
        assert oracle(found) == told(found)


@pytest.mark.parametrize("nothing", ["accounts", "products", "orders"])
def test_without_anybody_to_sell_to_or_anything_to_sell_there_are_no_documents(nothing):
    counts = {"orders": 400, nothing: 0} | ({"contacts": 0} if nothing == "accounts" else {})
    found = generate(counts=counts, drift=True)
    assert not {"quotes", "salesorders", "invoices"} & set(found.sales)
    assert not any(name.startswith("CDSSales") for name in found.fno)


def test_the_oracle_sees_a_difference_that_nobody_told_it():
    clean = world(False)
    lines = clean.fno[INVOICE_LINES]
    dearer = pl.when(pl.int_range(pl.len()) == 3).then(pl.col("SalesPrice") + 1).otherwise("SalesPrice")
    tampered = World(clean.sales, clean.fno | {INVOICE_LINES: lines.with_columns(SalesPrice=dearer)}, clean.truth)
    key = f"{lines['InvoiceNumber'][3]}|{lines['LineCreationSequenceNumber'][3]}"
    assert oracle(tampered) - told(clean) == {("invoice_lines", key, "priceperunit", "different")}


def test_every_kind_of_outcome_is_there_for_every_task():
    found = {(task, outcome) for task, _, _, outcome in told(world(True))}
    rows = ("missing", "extra", "blocked", "different", "rounding", "unmapped")
    wanted = {(task, outcome) for task in FIELDS for outcome in rows}
    texts = set(FIELDS) - {"quote_lines", "order_lines_to_fno"}  # those two have no text but codes
    wanted |= {(task, outcome) for task in texts for outcome in ("representation", "truncated")}
    wanted |= {(task, "excluded") for task in FIELDS if not task.startswith("invoice")}
    assert found == wanted


CURRENCY, PRICE_LIST = "transactioncurrencyid.isocurrencycode", "pricelevelid.name"
ADDRESS = {"DeliveryAddressCity", "DeliveryAddressName", "IsDeliveryAddressOrderSpecific", "CurrencyCode"}
PAPER = {
    "totalamount",
    "totaltax",
    "freightamount",
    "discountamount",
    "msdynce_misctax",
    CURRENCY,
    PRICE_LIST,
    CUSTOMER,
}
LINE = {"quantity", "priceperunit", "manualdiscountamount", "tax", "extendedamount", "uomid.name", "description"}
SENT_LINE = {"ProductNumber", "SalesPrice", "SalesUnitSymbol", "TotalDiscountAmount"}
KINDS = {
    "quote_headers": ADDRESS | {"QuotationTotalAmount", "RequestingCustomerAccountNumber", "SalesQuotationName"},
    "quote_lines": SENT_LINE | {"RequestedSalesQuantity"},
    "order_headers_to_fno": ADDRESS | {"OrderTotalAmount", "OrderingCustomerAccountNumber", "CustomersOrderReference"},
    "order_lines_to_fno": SENT_LINE | {"OrderedSalesQuantity"},
    "order_headers_to_sales": PAPER | {"msdynce_processingstatus", "msdynce_ismaintainedexternally", "name"},
    "order_lines_to_sales": LINE | {"productid.productnumber", CURRENCY},
    "invoice_headers": PAPER | {"msdynce_invoicedate", "statuscode", "salesorderid.ordernumber"},
    "invoice_lines": LINE | {"productid.productnumber", "invoiceid.invoicenumber"},
}  # money of every kind, dates, statuses, parties, goods, quantities and units


@pytest.mark.parametrize("seed", [7, 20261])
def test_small_data_have_a_difference_of_every_kind(seed):
    truth = world(True, seed).truth
    found = set(truth.filter(outcome="different").select("task", "field").rows())
    assert {(task, field) for task, fields in KINDS.items() for field in fields} - found == set()


def test_a_line_is_there_twice_without_number_and_under_another_number_for_every_kind_of_lines():
    found, told_of = world(True), told(world(True))
    for task, entity, head, number in (
        ("quote_lines", "quotedetails", ("quotes", "_quoteid_value", "quoteid"), "quotenumber"),
        (
            "order_lines_to_sales",
            "salesorderdetails",
            ("salesorders", "_salesorderid_value", "salesorderid"),
            "ordernumber",
        ),
        ("invoice_lines", "invoicedetails", ("invoices", "_invoiceid_value", "invoiceid"), "invoicenumber"),
    ):
        heads, lookup, id = head
        numbers = found.sales[heads].select(pl.col(id).alias(lookup), number)
        lines = found.sales[entity].join(numbers, on=lookup, how="inner")
        keys = lines.select(
            key=pl.concat_str(number, pl.col("sequencenumber").cast(pl.String).fill_null(""), separator="|")
        )
        blocked = {key for of, key, _, outcome in told_of if (of, outcome) == (task, "blocked")}
        twice = set(keys.filter(pl.col("key").is_duplicated())["key"]) & blocked
        assert len({key for key in twice if not key.endswith("|")}) >= 2, task
        assert len({key for key in blocked if key.endswith("|")}) >= 2, task
        moved = found.truth.filter(
            (pl.col("task") == task) & (pl.col("outcome") == "missing") & pl.col("after").is_not_null()
        )
        assert moved.height >= 2, task


def test_orders_are_cancelled_on_either_side_alone():
    fields = world(True).truth.filter(pl.col("field") == "msdynce_processingstatus")
    assert fields.filter(pl.col("after") == "647390010").height >= 1
    assert fields.filter(pl.col("after") == "Canceled").height >= 1


def test_lines_of_a_document_that_is_missing_are_blocked():
    found = told(world(True))
    for heads, lines in (("quote_headers", "quote_lines"), ("order_headers_to_sales", "order_lines_to_sales")):
        missing = {key for task, key, _, outcome in found if (task, outcome) == (heads, "missing")}
        blocked = {key.partition("|")[0] for task, key, _, outcome in found if (task, outcome) == (lines, "blocked")}
        assert missing
        assert missing <= blocked


def test_invoices_of_an_order_that_sales_lacks_are_blocked():
    found = world(True)
    told_of = told(found)
    missing = {key for task, key, _, outcome in told_of if (task, outcome) == ("order_headers_to_sales", "missing")}
    invoices = found.fno[INVOICES].filter(pl.col("SalesOrderNumber").is_in(list(missing)))["InvoiceNumber"].to_list()
    assert invoices
    assert {("invoice_headers", number, None, "blocked") for number in invoices} <= told_of


def test_orders_in_sales_are_behind_and_ahead_of_finance():
    fields = world(True).truth.filter(pl.col("field") == "msdynce_processingstatus")
    assert fields.height >= 4
    assert fields.filter(pl.col("after") == "647390001").height >= 2  # confirmed here, further there
    assert fields.filter(pl.col("after") == "647390003").height >= 2  # invoiced here, not there


def test_documents_refer_to_nothing_that_differs_itself():
    found = world(True)
    truth = found.truth.filter(pl.col("outcome") != "excluded")
    sides = Sides(found)
    odd = set(truth.filter(pl.col("task").is_in(["accounts", "contacts_to_customer"]))["key"])
    used = {row[CUSTOMER] for name in ("quotes", "salesorders", "invoices") for row in sides.sales[name]}
    used |= {row["OrderingCustomerAccountNumber"] for row in sides.fno["CDSSalesOrderHeaders"]}
    wrong = {number for number in used & odd if number}
    lost = set(truth.filter(pl.col("task").eq("accounts") & pl.col("outcome").is_in(["missing", "extra"]))["key"])
    assert wrong
    assert wrong <= lost  # deliberately: documents whose customer is missing
    goods = set(truth.filter(pl.col("task") == "products")["key"])
    sold = {row["productid.productnumber"] for name in HEADS for row in sides.sales[name]}
    sold |= {row["ProductNumber"] for name in ("CDSSalesOrderLines", INVOICE_LINES) for row in sides.fno[name]}
    gone = set(truth.filter(pl.col("task").eq("products") & pl.col("outcome").is_in(["missing", "extra"]))["key"])
    assert sold & goods <= gone


@pytest.mark.parametrize("entity", list(HEADS))
def test_amounts_of_sales_are_what_its_pricing_engine_would_work_out(entity):
    sides = Sides(world(False))
    table, heads, _ = HEADS[entity]
    lines = defaultdict(list)
    for line in sides.sales[entity]:
        lines[line[f"_{table}id_value"]].append(line)
        base = (line["priceperunit"] * line["quantity"]).quantize(CENT, ROUND_HALF_UP)
        assert line["baseamount"] == base
        assert line["extendedamount"] == base - (line["manualdiscountamount"] or 0) + (line.get("tax") or 0)
    for head in sides.sales[heads]:
        mine = lines[head[f"{table}id"]]
        assert mine
        net = sum(line["baseamount"] - (line["manualdiscountamount"] or 0) for line in mine)
        tax = sum(line.get("tax") or 0 for line in mine)
        less = net - (head.get("discountamount") or 0)
        assert (head["totallineitemamount"], head["totalamountlessfreight"]) == (net, less)
        assert (head["totaltax"] or 0) == tax
        assert head["totalamount"] == less + (head.get("freightamount") or 0) + tax
        freight_tax = [line["extendedamount"] for line in mine if line.get("msdynce_ismisctax")]
        assert freight_tax == ([head["msdynce_misctax"]] if head.get("msdynce_misctax") else [])


def test_amounts_of_finance_add_up_and_line_discounts_come_back_whole():
    sides = Sides(world(False))
    lines = defaultdict(list)
    for line in sides.fno["CDSSalesOrderLines"]:
        lines[line["SalesOrderNumber"]].append(line)
        quantity, per_unit = line["OrderedSalesQuantity"], line["LineDiscountAmount"]
        assert quantity * per_unit - line["FixedPriceCharges"] == line["TotalDiscountAmount"]
        assert per_unit == (line["TotalDiscountAmount"] / quantity).quantize(CENT, ROUND_HALF_UP)
        gross = (line["SalesPrice"] * quantity).quantize(CENT, ROUND_HALF_UP)
        assert line["LineAmount"] == gross - line["TotalDiscountAmount"]
    assert sum(line["FixedPriceCharges"] != 0 for group in lines.values() for line in group) > 50
    for head in sides.fno["CDSSalesOrderHeaders"]:
        if head["AreTotalsUpdated"] == "No":
            continue
        mine = lines[head["SalesOrderNumber"]]
        tax = sum(line["TotalTaxAmount"] for line in mine) + head["OrderHeaderTaxAmount"]
        assert head["OrderTotalTaxAmount"] == tax
        net = sum(line["LineAmount"] for line in mine)
        charges = head["OrderTotalChargesAmount"] - head["TotalDiscountAmount"]
        assert head["OrderTotalAmount"] == net + tax + charges


def test_invoices_of_an_order_share_its_lines_and_come_to_its_total():
    sides = Sides(world(False))
    orders = {row["SalesOrderNumber"]: row for row in sides.fno["CDSSalesOrderHeaders"]}
    ordered, billed, worth = Counter(), Counter(), Counter()
    for line in sides.fno["CDSSalesOrderLines"]:
        ordered[line["SalesOrderNumber"]] += 1
    of = {row["InvoiceNumber"]: row["SalesOrderNumber"] for row in sides.fno[INVOICES]}
    for line in sides.fno[INVOICE_LINES]:
        billed[of[line["InvoiceNumber"]]] += 1
    for row in sides.fno[INVOICES]:
        worth[row["SalesOrderNumber"]] += row["TotalInvoiceAmount"]
        assert row["InvoiceDate"].time() == datetime(2024, 1, 1, 12).time()
        assert row["InvoiceDate"] > orders[row["SalesOrderNumber"]]["OrderCreationDateTime"]
    assert len(of) > len(set(of.values()))  # some orders have two
    states = {row["ordernumber"]: (row["statecode"], row["statuscode"]) for row in sides.sales["salesorders"]}
    for number, amount in worth.items():
        whole = orders[number]["SalesOrderProcessingStatus"] == "Invoiced"
        assert (billed[number] == ordered[number]) == whole
        assert (amount == orders[number]["OrderTotalAmount"]) == whole
        assert states[number] == (4, 100003)
    returned = {row["ordernumber"] for row in sides.sales["salesorders"] if row[EXTERNAL]}
    assert {states[number] for number in returned - set(worth)} == {(0, 1)}


def test_customers_that_are_contacts_are_active_ones():
    sides = Sides(world(True))
    active = {row["contactid"] for row in sides.sales["contacts"] if row["msdynce_isactivecustomer"]}
    buyers = {
        row["_customerid_value"]
        for name in ("quotes", "salesorders", "invoices")
        for row in sides.sales[name]
        if row["_customerid_type"] == "contact"
    }
    assert buyers
    assert buyers <= active


def test_orders_are_at_all_stages_of_life_and_hard_cases_are_there():
    sides = Sides(world(False))
    assert set(STATUSES) == {row["SalesOrderProcessingStatus"] for row in sides.fno["CDSSalesOrderHeaders"]}
    assert {row["statecode"] for row in sides.sales["quotes"]} == {0, 1, 2, 3}
    assert {row["currency"] for row in sides.sales["salesorders"]} == {"USD", "EUR", "GBP"}
    assert {row["_customerid_type"] for row in sides.sales["invoices"]} == {"account", "contact"}
    assert any(row["quantity"] % 1 for row in sides.sales["salesorderdetails"])
    assert any(row["manualdiscountamount"] is None for row in sides.sales["quotedetails"])
    assert any(row["productdescription"] for row in sides.sales["quotedetails"])
    again = Counter(row["quotenumber"] for row in sides.sales["quotes"])
    assert max(again.values()) > 1  # a revised quote beside the one that took its place
    made = Counter((row["SalesOrderOriginType"], row["AreTotalsUpdated"]) for row in sides.fno["CDSSalesOrderHeaders"])
    assert set(made) == {
        (origin, flag) for origin in ("SalesOrderIntegration", "NotSpecified") for flag in ("Yes", "No")
    }


def test_equal_seeds_give_equal_documents():
    first, again = (generate(drift=True, seed=5, counts={"orders": 400}) for _ in range(2))
    for ours, theirs in ((first.sales, again.sales), (first.fno, again.fno)):
        for name, frame in ours.items():
            assert_frame_equal(frame, theirs[name])
    assert_frame_equal(first.truth, again.truth)


@pytest.mark.parametrize("drift", [False, True])
def test_lookups_of_documents_point_at_rows_that_exist(drift):
    found = world(drift).sales
    targets = {
        "_quoteid_value": ("quotes", "quoteid"),
        "_salesorderid_value": ("salesorders", "salesorderid"),
        "_invoiceid_value": ("invoices", "invoiceid"),
        "_productid_value": ("products", "productid"),
        "_uomid_value": ("uoms", "uomid"),
        "_pricelevelid_value": ("pricelevels", "pricelevelid"),
        "_transactioncurrencyid_value": ("transactioncurrencies", "transactioncurrencyid"),
        "_ownerid_value": ("systemusers", "systemuserid"),
        "_accountid_value": ("accounts", "accountid"),
        "_contactid_value": ("contacts", "contactid"),
    }
    for name in [*HEADS, *(heads for _, heads, _ in HEADS.values())]:
        for column in set(found[name].columns) & set(targets):
            entity, key = targets[column]
            assert set(found[name][column].drop_nulls()) <= set(found[entity][key]), (name, column)
    for name in ("quotes", "salesorders", "invoices"):
        for kind, entity in (("account", "accounts"), ("contact", "contacts")):
            ids = found[name].filter(pl.col("_customerid_type") == kind)["_customerid_value"]
            assert set(ids) <= set(found[entity][f"{kind}id"])


def test_texts_that_were_cut_fit_when_they_are_whole_again():
    lengths = load_schema("fno").entities["CDSSalesOrderHeaders"].columns
    cut = world(True).truth.filter((pl.col("outcome") == "truncated") & (pl.col("task") == "order_headers_to_fno"))
    assert cut.height
    for name, before, after in cut.select("field", "before", "after").rows():
        assert before.startswith(after)
        assert len(after) >= 20
        assert lengths[name].length is None or len(before) <= lengths[name].length
