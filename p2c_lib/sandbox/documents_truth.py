"""Truth about documents that no task sends: which rows each filter leaves out."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

__all__ = ["excluded_documents", "in_use", "line_key", "numbered"]

ACTIVE = 647390000
Frames = Mapping[str, pl.DataFrame]
HEADS = {
    "quotedetails": ("_quoteid_value", "quotes", "quoteid", "quotenumber"),
    "salesorderdetails": ("_salesorderid_value", "salesorders", "salesorderid", "ordernumber"),
    "invoicedetails": ("_invoiceid_value", "invoices", "invoiceid", "invoicenumber"),
}


def line_key(number: str, sequence: str) -> pl.Expr:
    """Key of a line as text: number of its document and its own, joined with ``|``; null is the empty text."""
    parts = (pl.col(name).cast(pl.String).fill_null("") for name in (number, sequence))
    return pl.concat_str(*parts, separator="|")


def numbered(sales: Frames, entity: str, *more: str) -> pl.DataFrame:
    """Lines of Sales with the number of their document as ``number``, and further columns of it.

    Args:
        sales: Frames of Sales.
        entity: ``quotedetails``, ``salesorderdetails`` or ``invoicedetails``.
        more: Columns of the header, added as ``head_<name>``.

    Returns:
        The lines in their order.
    """
    lookup, heads, key, number = HEADS[entity]
    added = (pl.col(name).alias(f"head_{name}") for name in more)
    head = sales[heads].select(pl.col(key).alias(lookup), pl.col(number).alias("number"), *added)
    return sales[entity].join(head, on=lookup, how="left", maintain_order="left")


def excluded_documents(sales: Frames, fno: Frames) -> list[pl.DataFrame]:
    """What the filters of the tasks of documents leave out.

    Args:
        sales: Frames of Sales as they are in the end.
        fno: Frames of F&O.

    Returns:
        Frames of ``task`` and ``key``; every invoice flows, so there is none for invoices.
    """
    if "quotes" not in sales:
        return []
    quote = (pl.col("statecode") == 1) & pl.col("msdynce_hasexternallymaintainedproductsonly")
    quote_line = (pl.col("quotestatecode") == 1) & pl.col("msdynce_quotehasexternalmaintainedproductsonly")
    out = (
        (pl.col("msdynce_processingstatus") == ACTIVE)
        & pl.col("msdynce_hasexternallymaintainedproductsonly")
        & ~pl.col("msdynce_ismaintainedexternally")
    )
    out_line = (
        (pl.col("head_msdynce_processingstatus") == ACTIVE)
        & ~pl.col("head_msdynce_ismaintainedexternally")
        & pl.col("msdynce_orderhasexternalmaintainedproductsonly")
        & pl.col("msdynce_orderissubmitted")
    )
    # F&O is the master of what it has confirmed, also while Sales does not know it yet
    confirmed = fno["CDSSalesOrderHeaders"].filter(
        pl.col("dataAreaId") == "usmf", pl.col("SalesOrderProcessingStatus") != "Active"
    )
    confirmed = confirmed["SalesOrderNumber"].str.strip_chars().str.to_lowercase().drop_nulls().implode()
    customers = [pl.col(f"{name}CustomerIsExternallyMaintained") == "Yes" for name in ("Ordering", "Invoice")]
    back = customers[0] & customers[1] & (pl.col("SalesOrderProcessingStatus") != "Active")
    usmf = pl.col("dataAreaId") == "usmf"
    flags = ("msdynce_processingstatus", "msdynce_ismaintainedexternally")
    heads, lines = (fno[name].filter(usmf) for name in ("CDSSalesOrderHeaders", "CDSSalesOrderLines"))
    sources = {
        "quote_headers": (sales["quotes"], quote, pl.col("quotenumber")),
        "quote_lines": (numbered(sales, "quotedetails"), quote_line, line_key("number", "sequencenumber")),
        "order_headers_to_fno": (sales["salesorders"], out & _is_none("ordernumber", confirmed), pl.col("ordernumber")),
        "order_lines_to_fno": (
            numbered(sales, "salesorderdetails", *flags),
            out_line & _is_none("number", confirmed),
            line_key("number", "sequencenumber"),
        ),
        "order_headers_to_sales": (heads, back & (pl.col("AreTotalsUpdated") == "Yes"), pl.col("SalesOrderNumber")),
        "order_lines_to_sales": (
            lines,
            back & (pl.col("AreSalesOrderTotalsUpdated") == "Yes"),
            line_key("SalesOrderNumber", "LineCreationSequenceNumber"),
        ),
    }
    return [
        rows.filter(~flows.fill_null(False)).select(task=pl.lit(task), key=key.fill_null(""))
        for task, (rows, flows, key) in sources.items()
    ]


def _is_none(number: str, of: pl.Series) -> pl.Expr:
    return ~pl.col(number).str.strip_chars().str.to_lowercase().is_in(of).fill_null(False)


def in_use(sales: Frames, fno: Frames) -> tuple[pl.Series, pl.Series]:
    """What documents refer to.

    Args:
        sales: Frames of Sales.
        fno: Frames of F&O.

    Returns:
        Numbers of customers and of products, each once.
    """
    customers, products = [pl.Series([], dtype=pl.String)], [pl.Series([], dtype=pl.String)]
    owners = (("accounts", "accountid", "accountnumber"), ("contacts", "contactid", "msdynce_contactnumber"))
    for entity in ("quotes", "salesorders", "invoices"):
        if entity in sales:
            ids = sales[entity]["_customerid_value"].drop_nulls().unique().implode()
            customers += [sales[name].filter(pl.col(key).is_in(ids))[number] for name, key, number in owners]
    for entity in HEADS:
        if entity in sales:
            ids = sales[entity]["_productid_value"].drop_nulls().unique().implode()
            products.append(sales["products"].filter(pl.col("productid").is_in(ids))["productnumber"])
    for frame in fno.values():
        if "ProductNumber" in frame.columns and "LineCreationSequenceNumber" in frame.columns:
            products.append(frame["ProductNumber"].unique())
        named = ("RequestingCustomerAccountNumber", "OrderingCustomerAccountNumber", "InvoiceCustomerAccountNumber")
        customers += [frame[name].unique() for name in named if name in frame.columns]
    return pl.concat(customers).unique(maintain_order=True), pl.concat(products).unique(maintain_order=True)
