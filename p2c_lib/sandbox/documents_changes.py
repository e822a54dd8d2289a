"""Which fields of documents drift changes, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from p2c_lib.sandbox.changes import OLD, Change, Edit, by_a_cent, cut, flips, other, plus, texts, written
from p2c_lib.sandbox.documents_parts import PRICE_LISTS
from p2c_lib.sandbox.reference import UNITS, guid

__all__ = ["Known", "changes"]

CUSTOMER = "customerid.Account(accountnumber).Contact(msdynce_contactnumber)"
CITY, STREET, ZIP, STATE = (
    ("Springfield", "Shelbyville"),
    ("1 Old Mill Road", "2 Old Mill Road"),
    ("99999", "11111"),
    ("XX", "YY"),
)
ANNEX, NAME, ISO = ("Building 9", "Building 8"), ("Changed by phone", "Changed by mail"), ("BR", "CN")
CURRENCIES = {guid("currency", iso): iso for iso in ("USD", "EUR", "GBP", "JPY")}
LISTS = {guid("pricelist", name): name for name in ("Europe Wholesale", "Wholesale USA", *PRICE_LISTS.values())}
UNIT_NAMES = {guid("uom", name): name for name in UNITS.values()} | {guid("uom", "Hour"): "Hour"}
CONFIRMED, SHIPPED, INVOICED, CANCELED = 647390001, 647390007, 647390003, 647390010


@dataclass(frozen=True)
class Known:
    """Rows to refer to. Frames have ``id`` and ``number``.

    Attributes:
        lost_customers: Accounts that F&O lacks.
        gone_customers: Numbers of customers that Sales lacks.
        lost_products: Products of Sales that F&O lacks.
        gone_products: Numbers of products that Sales lacks.
        customers: Accounts that both systems have; likewise products, orders, invoices.
    """

    lost_customers: pl.DataFrame
    gone_customers: pl.Series
    lost_products: pl.DataFrame
    gone_products: pl.Series
    customers: pl.DataFrame
    products: pl.DataFrame
    orders: pl.DataFrame
    invoices: pl.DataFrame


def _turned(column: str, field: str, to: pl.DataFrame, where: pl.Expr | None = None) -> tuple[Edit, ...]:
    """A lookup of Sales turned to another row."""
    if to.height < 2:
        return ()
    names = dict(zip(to["id"], to["number"], strict=True))
    return (Edit(column, other(*to["id"].to_list()), (field,), where=where, names=names),)


def _named(column: str, to: pl.DataFrame) -> tuple[Edit, ...]:
    """The same for a number in F&O."""
    return (Edit(column, other(*to["number"].to_list())),) if to.height > 1 else ()


def _amounts(columns: Sequence[str]) -> tuple[Edit, ...]:
    return tuple(Edit(name, plus("5.00")) for name in columns)


def _guids(column: str, field: str, first: str, second: str, names: Mapping[str, str]) -> Edit:
    return Edit(column, other(first, second), (field,), names=names)


CURRENCY = _guids(
    "_transactioncurrencyid_value",
    "transactioncurrencyid.isocurrencycode",
    guid("currency", "EUR"),
    guid("currency", "GBP"),
    CURRENCIES,
)
PRICE_LIST = _guids(
    "_pricelevelid_value",
    "pricelevelid.name",
    guid("pricelist", "Europe Wholesale"),
    guid("pricelist", "Wholesale USA"),
    LISTS,
)
UNIT = _guids("_uomid_value", "uomid.name", guid("uom", "Box"), guid("uom", "Each"), UNIT_NAMES)


def _no_more(columns: tuple[str, ...]) -> tuple[Edit, ...]:
    """True to false."""
    return tuple(Edit(name, pl.lit(False), where=pl.col(name)) for name in columns)


def changes(task: str, known: Known) -> tuple[Change, ...]:
    """The kinds of differences of a task's fields.

    Args:
        task: A task of documents.
        known: Rows that lookups can be turned to.

    Returns:
        Changes in order; each is spread over its columns, of which small data meet the first two alone: so what must
        not be missing anywhere (money, status, dates, parties) has a change of its own.
    """
    return {
        "quote_headers": lambda: _out_heads(
            known, "SalesQuotationName", "QuotationTotalAmount", "RequestingCustomerAccountNumber"
        ),
        "quote_lines": lambda: _out_lines(known, "RequestedSalesQuantity"),
        "order_headers_to_fno": lambda: _out_heads(
            known, "CustomersOrderReference", "OrderTotalAmount", "OrderingCustomerAccountNumber"
        ),
        "order_lines_to_fno": lambda: _out_lines(known, "OrderedSalesQuantity"),
        "order_headers_to_sales": lambda: _back_heads(known),
        "order_lines_to_sales": lambda: _back_lines(known),
        "invoice_headers": lambda: _bills(known),
        "invoice_lines": lambda: _bill_lines(known),
    }[task]()


def _out_heads(known: Known, name: str, total: str, customer: str) -> tuple[Change, ...]:
    shown = (name, "DeliveryAddressName", "DeliveryAddressDescription")
    return (
        Change(
            "different",
            texts(
                {
                    name: NAME,
                    "DeliveryAddressCity": CITY,
                    "DeliveryAddressStreet": STREET,
                    "DeliveryAddressZipCode": ZIP,
                    "DeliveryAddressStateId": STATE,
                    "DeliveryAddressStreetNumber": ANNEX,
                    "DeliveryAddressName": NAME,
                    "DeliveryAddressDescription": NAME,
                }
            ),
        ),
        Change(
            "different",
            (*_amounts([total]), *texts({"CurrencyCode": ("EUR", "GBP"), "DeliveryAddressCountryRegionISOCode": ISO})),
        ),
        Change("different", (*_named(customer, known.customers), *flips(("IsDeliveryAddressOrderSpecific",)))),
        Change(
            "different",
            (
                Edit("name", other(*NAME), shown),
                Edit("shipto_city", other(*CITY), ("DeliveryAddressCity",)),
            ),
            at_source=True,
        ),
        by_a_cent([total]),
        written((name, "DeliveryAddressCity", "DeliveryAddressStreet")),
        cut((name, "DeliveryAddressStreet", "DeliveryAddressName")),
        Change(
            "unmapped",
            (Edit("shipto_country", other("Atlantis", "El Dorado"), ("DeliveryAddressCountryRegionISOCode",)),),
            at_source=True,
        ),
    )


def _out_lines(known: Known, quantity: str) -> tuple[Change, ...]:
    return (
        Change("different", (*_amounts(["TotalDiscountAmount"]), Edit("SalesPrice", plus("1.50")))),
        Change("different", (Edit(quantity, plus("1")), *texts({"SalesUnitSymbol": ("box", "ea")}))),
        Change("different", _named("ProductNumber", known.products)),
        by_a_cent(["SalesPrice", "TotalDiscountAmount"]),
        Change(
            "unmapped",
            (Edit("_uomid_value", pl.lit(guid("uom", "Hour")), ("SalesUnitSymbol",), names=UNIT_NAMES),),
            at_source=True,
        ),
    )


def _back_heads(known: Known) -> tuple[Change, ...]:
    status = "msdynce_processingstatus"
    behind = ~pl.col(status).is_in([CONFIRMED, CANCELED])
    account = pl.col("_customerid_type") == "account"
    early = pl.col(status).is_in([CONFIRMED, SHIPPED])
    is_confirmed = pl.col("SalesOrderProcessingStatus") == "Confirmed"
    cancelled = Edit("SalesOrderProcessingStatus", pl.lit("Canceled"), (status,), where=is_confirmed)
    return (
        Change("different", (Edit(status, pl.lit(CONFIRMED), where=behind),)),
        Change("different", (Edit(status, pl.lit(INVOICED), where=early),)),
        Change("different", (Edit(status, pl.lit(CANCELED), where=early),)),
        Change("different", (cancelled,), at_source=True),
        Change("different", _amounts(["totalamount", "totaltax"])),
        Change("different", _amounts(["freightamount", "discountamount"])),
        Change("different", _amounts(["msdynce_misctax"])),
        Change(
            "different",
            texts(
                {
                    "shipto_city": CITY,
                    "name": NAME,
                    "description": NAME,
                    "billto_city": CITY,
                    "shipto_line1": STREET,
                    "billto_line1": STREET,
                    "shipto_postalcode": ZIP,
                    "billto_postalcode": ZIP,
                    "shipto_stateorprovince": STATE,
                    "billto_stateorprovince": STATE,
                    "shipto_line2": ANNEX,
                    "shipto_country": ISO,
                    "billto_country": ISO,
                }
            ),
        ),
        Change("different", (*_turned("_customerid_value", CUSTOMER, known.customers, account), CURRENCY)),
        Change("different", (PRICE_LIST, *_no_more(("msdynce_ismaintainedexternally",)))),
        Change(
            "different",
            (
                Edit("SalesOrderName", other(*NAME), ("name",)),
                Edit("DeliveryAddressCity", other(*CITY), ("shipto_city",)),
            ),
            at_source=True,
        ),
        by_a_cent(["totalamount", "totaltax", "freightamount"]),
        written(("description", "shipto_city", "name", "billto_line1")),
        cut(("description", "name", "shipto_line1")),
        Change(
            "unmapped", (Edit("InvoiceAddressCountryRegionId", pl.lit("BRA"), ("billto_country",)),), at_source=True
        ),
    )


def _back_lines(known: Known) -> tuple[Change, ...]:
    return (
        Change("different", _amounts(["tax", "manualdiscountamount"])),
        Change("different", _amounts(["extendedamount", "priceperunit"])),
        Change("different", (Edit("quantity", plus("1")), UNIT)),
        Change(
            "different",
            texts(
                {
                    "description": NAME,
                    "shipto_city": CITY,
                    "shipto_line1": STREET,
                    "shipto_line2": ANNEX,
                    "shipto_postalcode": ZIP,
                    "shipto_stateorprovince": STATE,
                    "shipto_country": ISO,
                }
            ),
        ),
        Change(
            "different",
            (
                *_turned("_productid_value", "productid.productnumber", known.products),
                CURRENCY,
                *_no_more(("ispriceoverridden", "msdynce_ismaintainedexternally")),
            ),
        ),
        Change("different", (Edit("ProductName", other(*NAME), ("description",)),), at_source=True),
        by_a_cent(["extendedamount", "tax", "priceperunit"]),
        written(("description", "shipto_city")),
        cut(("description", "shipto_line1")),
        Change("unmapped", (Edit("SalesUnitSymbol", pl.lit("roll"), ("uomid.name",)),), at_source=True),
    )


def _bills(known: Known) -> tuple[Change, ...]:
    account = pl.col("_customerid_type") == "account"
    later = OLD.str.to_date().dt.offset_by("1d").cast(pl.String)
    return (
        Change("different", _amounts(["totalamount", "totaltax", "totaldiscountamount"])),
        Change("different", _amounts(["freightamount", "discountamount"])),
        Change("different", _amounts(["msdynce_misctax"])),
        Change("different", (Edit("msdynce_invoicedate", later), Edit("statuscode", pl.lit(1)))),
        Change(
            "different",
            texts(
                {
                    "description": NAME,
                    "billto_city": CITY,
                    "name": NAME,
                    "billto_line1": STREET,
                    "billto_postalcode": ZIP,
                    "billto_stateorprovince": STATE,
                    "billto_country": ISO,
                }
            ),
        ),
        Change(
            "different",
            (
                *_turned("_salesorderid_value", "salesorderid.ordernumber", known.orders),
                *_turned("_customerid_value", CUSTOMER, known.customers, account),
            ),
        ),
        Change("different", (CURRENCY, PRICE_LIST, *_no_more(("ispricelocked",)))),
        Change("different", (Edit("InvoiceAddressCity", other(*CITY), ("billto_city",)),), at_source=True),
        by_a_cent(["totalamount", "totaltax"]),
        written(("description", "billto_city", "billto_line1")),
        cut(("description", "billto_line1")),
    )


def _bill_lines(known: Known) -> tuple[Change, ...]:
    return (
        Change("different", _amounts(["tax", "extendedamount"])),
        Change("different", _amounts(["manualdiscountamount", "priceperunit"])),
        Change("different", (Edit("quantity", plus("1")), UNIT)),
        Change("different", texts({"description": NAME})),
        Change(
            "different",
            (
                *_turned("_productid_value", "productid.productnumber", known.products),
                *_turned("_invoiceid_value", "invoiceid.invoicenumber", known.invoices),
                Edit("producttypecode", pl.lit(5)),
                Edit("propertyconfigurationstatus", pl.lit(0)),
                *_no_more(("ispriceoverridden",)),
                CURRENCY,
            ),
        ),
        by_a_cent(["extendedamount", "tax"]),
        written(("description",)),
        cut(("description",)),
        Change("unmapped", (Edit("SalesUnitSymbol", pl.lit("roll"), ("uomid.name",)),), at_source=True),
    )
