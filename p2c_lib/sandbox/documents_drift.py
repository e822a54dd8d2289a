"""Differences put into documents that agree: rows lost on one side, keys and parents broken, fields changed.

A document gets one injection, on its header or on one of its lines. What must happen to the lines of a header that is
gone is part of it: they are blocked, or left over, too.
"""

from __future__ import annotations

import polars as pl

from p2c_lib.sandbox.documents_changes import Known, changes
from p2c_lib.sandbox.documents_pools import BACK, BILLS, ONLY, OUT, QUOTES, Documents, Rows
from p2c_lib.sandbox.documents_truth import HEADS, line_key
from p2c_lib.sandbox.draw import MONEY
from p2c_lib.sandbox.edits import Drift, change_fields

__all__ = ["inject_documents"]

GONE = 50  # added to the number of a line that was numbered anew
NO = pl.lit("No")


def inject_documents(drift: Drift) -> None:
    """Put differences of every kind into documents; those of customers and products are there already.

    Args:
        drift: The frames; without documents nothing happens.
    """
    if ("sales", "quotes") not in drift.frames:
        return
    known = _known(drift)
    bills = Documents(drift, BILLS)
    back = Documents(drift, BACK)
    _lost_orders(drift, back, bills)
    for documents in (Documents(drift, QUOTES), Documents(drift, OUT), back, bills):
        heads, lines = Rows(documents, lines=False), Rows(documents, lines=True)
        # an order that was invoiced keeps its key: the invoice refers to it
        free = None
        if documents is back:
            invoiced = drift.frames["fno", BILLS.fno]["SalesOrderNumber"].unique().implode()
            free = ~pl.col("SalesOrderNumber").is_in(invoiced)
        _existence(drift, heads, free)
        _single_lines(drift, lines)
        _keys(drift, heads, free)
        _parents(drift, heads, lines, free, known)
        _filters(drift, heads)
        if documents is bills:
            _strange_currency(drift, heads)
        for pool in (heads, lines):
            for change in changes(pool.task, known):
                change_fields(drift, pool, change)
    _split_discounts(drift)


def _known(drift: Drift) -> Known:
    """Customers and products that one side lacks, and some rows that lookups can be turned to."""
    truth = pl.concat(
        [pl.DataFrame(schema=dict.fromkeys(("task", "key", "outcome"), pl.String))]
        + [part.select("task", "key", "outcome") for part in drift.truth]
    )

    def keys(task: str, outcome: str) -> pl.Series:
        return truth.filter(task=task, outcome=outcome)["key"].unique(maintain_order=True)

    def rows(entity: str, number: str, wanted: pl.Series | None, key: str) -> pl.DataFrame:
        frame = drift.frames["sales", entity].select(id=key, number=number).drop_nulls()
        return frame.filter(pl.col("number").is_in(wanted.implode())) if wanted is not None else frame

    used = drift.frames["sales", "salesorders"].filter(_customerid_type="account")["_customerid_value"]
    items = drift.frames["sales", "salesorderdetails"].filter("msdynce_orderissubmitted")["_productid_value"]
    accounts = rows("accounts", "accountnumber", None, "accountid")
    products = rows("products", "productnumber", None, "productid")
    return Known(
        lost_customers=rows("accounts", "accountnumber", keys("accounts", "missing"), "accountid"),
        gone_customers=keys("accounts", "extra"),
        lost_products=rows("products", "productnumber", keys("products", "extra"), "productid"),
        gone_products=keys("products", "missing"),
        customers=accounts.filter(pl.col("id").is_in(used.implode())).head(2),
        products=products.filter(pl.col("id").is_in(items.implode())).head(2),
        orders=rows("salesorders", "ordernumber", None, "salesorderid").head(2),
        invoices=rows("invoices", "invoicenumber", None, "invoiceid").head(2),
    )


def _lost_orders(drift: Drift, back: Documents, bills: Documents) -> None:
    """Orders that Sales lacks although they were invoiced: their invoices are blocked, and the lines of all of them."""
    order = drift.frames["fno", BILLS.fno]["SalesOrderNumber"]
    heads = Rows(back, lines=False)
    lost = heads.take(back.n, source=pl.col("SalesOrderNumber").is_in(order.unique().implode()))
    invoices = bills.heads.filter(order.gather(bills.heads["source_row"]).is_in(lost["key"].implode()))
    bills.use(invoices["doc"])
    for documents, rows in ((back, lost), (bills, invoices)):
        documents.drop(rows, documents.destination)
        drift.note(documents.flow.heads, rows["key"], "missing" if documents is back else "blocked", before=rows["key"])
        drift.note(documents.flow.lines, documents.lines_of(rows)["key"], "blocked")


def _existence(drift: Drift, pool: Rows, free: pl.Expr | None) -> None:
    """Documents that one side has lost, with their lines."""
    documents, flow = pool.documents, pool.documents.flow
    missing, extra = pool.take(pool.n, source=free), pool.take(pool.n, source=free)
    documents.drop(missing, documents.destination)
    drift.note(flow.heads, missing["key"], "missing", before=missing["key"])
    drift.note(flow.lines, documents.lines_of(missing)["key"], "blocked")
    documents.drop(extra, documents.source)
    drift.note(flow.heads, extra["key"], "extra", before=extra["key"])
    drift.note(flow.lines, documents.lines_of(extra)["key"], "extra")


def _single_lines(drift: Drift, pool: Rows) -> None:
    """Lines that one side has lost, that Sales has twice, under another number, or without one."""
    documents, flow = pool.documents, pool.documents.flow
    lost, orphans, moved = (pool.take(pool.n) for _ in range(3))
    drift.drop(pool.ends.destination, lost["destination_row"])
    drift.note(pool.task, lost["key"], "missing", before=lost["key"])
    drift.drop(pool.ends.source, orphans["source_row"])
    drift.note(pool.task, orphans["key"], "extra", before=orphans["key"])

    lines, mine = flow.sales_ends[1], "source_row" if flow.outbound else "destination_row"
    drift.put(lines, "sequencenumber", moved[mine], moved["sequencenumber"] + GONE)
    renamed = moved.with_columns(new=pl.col("sequencenumber") + GONE).select(line_key("number", "new")).to_series()
    here, there = (renamed, moved["key"]) if flow.outbound else (moved["key"], renamed)
    drift.note(pool.task, here, "missing", before=moved["key"], after=renamed)
    drift.note(pool.task, there, "extra", before=moved["key"], after=renamed)

    twice = pool.take(pool.n)
    drift.copy(lines, twice[mine], **{f"{documents.id.removesuffix('id')}detailid": drift.draw.guids(twice.height)})
    drift.note(pool.task, twice["key"], "blocked")

    blank = pool.take(pool.n)
    drift.put(lines, "sequencenumber", blank[mine], pl.Series([None], dtype=pl.Int32).new_from_index(0, blank.height))
    drift.note(pool.task, blank["number"] + "|", "blocked", before=blank["key"])
    if flow.outbound:
        drift.drop(pool.ends.destination, blank["destination_row"])
    else:
        drift.note(pool.task, blank["key"], "missing", before=blank["key"])


def _keys(drift: Drift, pool: Rows, free: pl.Expr | None) -> None:
    """Documents that Sales has twice, or under a number with a blank behind it; invoices with a second voucher."""
    documents, flow = pool.documents, pool.documents.flow
    heads, lines = flow.sales_ends
    mine = "source_row" if flow.outbound else "destination_row"
    detail = f"{documents.id.removesuffix('id')}detailid"

    twice = pool.take(pool.n, source=free)
    ids = drift.draw.guids(twice.height)
    drift.copy(heads, twice[mine], **{documents.id: ids})
    owned = documents.sales_lines.join(twice.select("doc", new=ids), on="doc", how="inner", maintain_order="left")
    lookup = HEADS[flow.sales_lines][0]
    drift.copy(lines, owned[mine], **{lookup: owned["new"], detail: drift.draw.guids(owned.height)})
    drift.note(flow.heads, twice["key"], "blocked")
    drift.note(flow.lines, documents.lines_of(twice)["key"], "blocked")

    padded = pool.take(pool.n, source=free)
    spelt = padded["key"] + " "
    drift.put(heads, documents.sales_number, padded[mine], spelt)
    owned = documents.sales_lines.filter(pl.col("doc").is_in(padded["doc"].implode()))
    if flow.mirror:
        drift.put(lines, flow.mirror, owned[mine], owned["number"] + " ")
    drift.note(flow.heads, spelt, "blocked", before=padded["key"], after=spelt)
    drift.note(flow.heads, padded["key"], "blocked")
    both = documents.lines_of(padded).with_columns(spelt=pl.col("number") + " ")
    drift.note(flow.lines, both.select(line_key("spelt", "sequencenumber")).to_series(), "blocked", before=both["key"])
    drift.note(flow.lines, both["key"], "blocked")

    if flow is BILLS:
        again = pool.take(pool.n)
        owned = documents.fno_lines.filter(pl.col("doc").is_in(again["doc"].implode()))
        for place, rows in ((documents.source[0], again["source_row"]), (documents.source[1], owned["source_row"])):
            drift.copy(place, rows, LedgerVoucher=pl.col("LedgerVoucher") + "-2")
        drift.note(flow.heads, again["key"], "blocked")
        drift.note(flow.lines, documents.lines_of(again)["key"], "blocked")


def _parents(drift: Drift, heads: Rows, lines: Rows, free: pl.Expr | None, known: Known) -> None:
    """Documents whose customer, and lines whose product, the destination lacks: blocked, not missing."""
    documents, flow = heads.documents, heads.documents.flow
    (sales, sales_lines), (fno, fno_lines) = flow.sales_ends, flow.fno_ends
    customers = known.lost_customers if flow.outbound else known.gone_customers.to_frame("number")
    products = known.lost_products if flow.outbound else known.gone_products.to_frame("number")
    if customers.height:
        rows = heads.take(heads.n, source=free)
        other = customers[[i % customers.height for i in range(rows.height)]]
        if flow.outbound:
            for column in ("_customerid_value", "_accountid_value"):
                drift.put(sales, column, rows["source_row"], other["id"])
            drift.put(sales, "_customerid_type", rows["source_row"], pl.lit("account"))
            drift.put(sales, "_contactid_value", rows["source_row"], pl.lit(None, pl.String))
        else:
            for column in ("OrderingCustomerAccountNumber", "InvoiceCustomerAccountNumber"):
                if column in drift.frames[fno].columns:
                    drift.put(fno, column, rows["source_row"], other["number"])
        documents.drop(rows, documents.destination)
        drift.note(flow.heads, rows["key"], "blocked", after=other["number"])
        drift.note(flow.lines, documents.lines_of(rows)["key"], "blocked")
    if products.height:
        rows = lines.take(lines.n)
        other = products[[i % products.height for i in range(rows.height)]]
        if flow.outbound:
            drift.put(sales_lines, "_productid_value", rows["source_row"], other["id"])
            drift.put(sales_lines, "productnumber", rows["source_row"], other["number"])
        else:
            drift.put(fno_lines, "ProductNumber", rows["source_row"], other["number"])
        drift.drop(lines.ends.destination, rows["destination_row"])
        drift.note(flow.lines, rows["key"], "blocked", after=other["number"])


def _filters(drift: Drift, pool: Rows) -> None:
    """Documents that were sent and no longer flow: left out now, while their destination rows remain."""
    documents, flow = pool.documents, pool.documents.flow
    if flow is BILLS:
        return
    rows = pool.take(pool.n)
    lines_there = documents.sales_lines if flow.outbound else documents.fno_lines
    owned = lines_there.filter(pl.col("doc").is_in(rows["doc"].implode()))["source_row"]
    heads, lines = documents.source
    if flow is QUOTES:  # lost
        for place, column, value, which in (
            (heads, "statecode", 3, rows["source_row"]),
            (heads, "statuscode", 5, rows["source_row"]),
            (lines, "quotestatecode", 3, owned),
        ):
            drift.put(place, column, which, pl.lit(value, pl.Int32))
    elif flow is OUT:  # given a product of Sales alone
        drift.put(heads, ONLY, rows["source_row"], pl.lit(False))
        drift.put(lines, "msdynce_orderhasexternalmaintainedproductsonly", owned, pl.lit(False))
    else:  # changed since its totals were calculated
        drift.put(heads, "AreTotalsUpdated", rows["source_row"], NO)
        drift.put(lines, "AreSalesOrderTotalsUpdated", owned, NO)
    drift.note(flow.heads, rows["key"], "extra", before=rows["key"], after=rows["key"])
    drift.note(flow.lines, documents.lines_of(rows)["key"], "extra")


def _strange_currency(drift: Drift, pool: Rows) -> None:
    """Invoices in a currency that no price list is mapped to."""
    rows = pool.take(pool.n)
    place, column = pool.ends.source, "CurrencyCode"
    before, after = drift.values(place, column, rows["source_row"]), pl.Series(["JPY"]).new_from_index(0, rows.height)
    drift.put(place, column, rows["source_row"], after)
    drift.note(pool.task, rows["key"], "unmapped", "pricelevelid.name", before, after)
    drift.note(pool.task, rows["key"], "different", "transactioncurrencyid.isocurrencycode", before, after)


def _split_discounts(drift: Drift) -> None:
    """F&O's parts of a line discount, where quantity or discount were changed."""
    for entity, quantity in ((QUOTES.fno_lines, "RequestedSalesQuantity"), (OUT.fno_lines, "OrderedSalesQuantity")):
        place = ("fno", entity)
        for column in (quantity, "TotalDiscountAmount"):
            drift.settle(place, column)
        charge = pl.col("LineDiscountAmount") * pl.col(quantity) - pl.col("TotalDiscountAmount")
        drift.frames[place] = drift.frames[place].with_columns(FixedPriceCharges=charge.cast(MONEY))
