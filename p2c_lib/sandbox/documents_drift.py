"""Differences put into documents that agree: rows lost on one side, keys and parents broken, fields changed.

A document gets one injection, on its header or on one of its lines. What must happen to the lines of a header that is
gone is part of it: they are blocked, or left over, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from p2c_lib.sandbox.documents_changes import Known, changes
from p2c_lib.sandbox.documents_truth import ACTIVE, HEADS, line_key
from p2c_lib.sandbox.draw import MONEY
from p2c_lib.sandbox.edits import Drift, Ends, Place, change_fields

__all__ = ["inject_documents"]

SHARE = 0.002  # of a flow's documents, for each kind of difference
LEAST = 2
GONE = 50  # added to the number of a line that was numbered anew
NO = pl.lit("No")


@dataclass(frozen=True)
class Flow:
    """One way of documents: a task of headers and one of lines, between the same four sets."""

    heads: str
    lines: str
    sales: str
    sales_lines: str
    fno: str
    fno_lines: str
    number: str  # column of F&O
    outbound: bool
    mirror: str | None = None  # column of Sales lines with the number of the document

    @property
    def fno_ends(self) -> tuple[Place, Place]:
        return ("fno", self.fno), ("fno", self.fno_lines)

    @property
    def sales_ends(self) -> tuple[Place, Place]:
        return ("sales", self.sales), ("sales", self.sales_lines)


ORDERS = ("salesorders", "salesorderdetails", "CDSSalesOrderHeaders", "CDSSalesOrderLines", "SalesOrderNumber")
INVOICES = [f"ExternallyMaintainedCustomerSalesInvoice{part}" for part in ("Headers", "Lines")]
QUOTES = Flow(
    *("quote_headers", "quote_lines", "quotes", "quotedetails", "CDSSalesQuotationHeaders", "CDSSalesQuotationLines"),
    number="SalesQuotationNumber",
    outbound=True,
)
OUT = Flow("order_headers_to_fno", "order_lines_to_fno", *ORDERS, outbound=True, mirror="msdynce_ordernumber")
BACK = Flow("order_headers_to_sales", "order_lines_to_sales", *ORDERS, outbound=False, mirror="msdynce_ordernumber")
BILLS = Flow(
    *("invoice_headers", "invoice_lines", "invoices", "invoicedetails", *INVOICES, "InvoiceNumber"),
    outbound=False,
    mirror="msdynce_invoicenumber",
)
ONLY = "msdynce_hasexternallymaintainedproductsonly"
FLOWING = {  # of both sides, the latter also in scope
    QUOTES: (
        (pl.col("statecode") == 1) & pl.col(ONLY),
        (pl.col("SalesQuotationHeaderCreationMethod") == "Dynamics365Sales") & (pl.col("SalesQuotationStatus") == "Created"),
    ),
    OUT: (
        (pl.col("msdynce_processingstatus") == ACTIVE) & pl.col(ONLY) & ~pl.col("msdynce_ismaintainedexternally"),
        pl.col("SalesOrderProcessingStatus") == "Active",
    ),
    BACK: (
        pl.col("msdynce_ismaintainedexternally"),
        (pl.col("SalesOrderProcessingStatus") != "Active") & (pl.col("AreTotalsUpdated") == "Yes"),
    ),
    BILLS: (pl.col("msdynce_invoicedate").is_not_null(), pl.lit(True)),
}


class _Documents:
    """Documents of a flow that agree and are free to be changed, in random order; each is taken once.

    ``heads`` and ``lines`` have ``doc`` (row of the header in Sales), ``key``, ``source_row``, ``destination_row``.
    """

    def __init__(self, drift: Drift, flow: Flow) -> None:
        self.drift, self.flow = drift, flow
        (sales, sales_lines), (fno, fno_lines) = flow.sales_ends, flow.fno_ends
        lookup, _, self.id, self.sales_number = HEADS[flow.sales_lines]
        ours, theirs = FLOWING[flow]
        left = drift.frames[sales].with_row_index("doc").filter(ours)
        left = left.select("doc", key=self.sales_number, id=self.id)
        right = drift.frames[fno].with_row_index("fno_row").filter(theirs & (pl.col("dataAreaId") == "usmf"))
        heads = left.join(right.select("fno_row", key=flow.number), on="key", how="inner", maintain_order="left")
        heads = heads.with_columns(sales_row="doc")
        self.sales_lines = (
            drift.frames[sales_lines]
            .with_row_index("sales_row")
            .select("sales_row", "sequencenumber", id=lookup)
            .join(heads.select("doc", "id", number="key"), on="id", how="inner", maintain_order="left")
        )
        self.fno_lines = (
            drift.frames[fno_lines]
            .with_row_index("fno_row")
            .select("fno_row", sequencenumber="LineCreationSequenceNumber", number=flow.number)
            .join(heads.select("doc", number="key"), on="number", how="inner", maintain_order="left")
        )
        lines = self.sales_lines.join(
            self.fno_lines.drop("number"), on=["doc", "sequencenumber"], how="inner", maintain_order="left"
        ).with_columns(key=line_key("number", "sequencenumber"))
        sides = ("sales_row", "fno_row") if flow.outbound else ("fno_row", "sales_row")
        names = {sides[0]: "source_row", sides[1]: "destination_row"}
        self.sales_lines, self.fno_lines = (
            frame.rename(names, strict=False) for frame in (self.sales_lines, self.fno_lines)
        )
        rng = drift.draw.rng
        self.heads = heads.rename(names)[pl.Series(rng.permutation(heads.height))]
        self.lines = lines.rename(names)[pl.Series(rng.permutation(lines.height))]
        self.all_lines = self.lines
        self.n = max(LEAST, round(heads.height * SHARE))
        self.source, self.destination = (flow.sales_ends, flow.fno_ends) if flow.outbound else (flow.fno_ends, flow.sales_ends)

    def use(self, docs: pl.Series) -> None:
        """Give documents away."""
        self.heads = self.heads.filter(~pl.col("doc").is_in(docs.implode()))
        self.lines = self.lines.filter(~pl.col("doc").is_in(docs.implode()))

    def lines_of(self, heads: pl.DataFrame) -> pl.DataFrame:
        """The lines of documents that both systems have, ordered by key."""
        return self.all_lines.filter(pl.col("doc").is_in(heads["doc"].implode())).sort("key")

    def drop(self, heads: pl.DataFrame, place: tuple[Place, Place]) -> None:
        """Take documents away from one system, with all their lines."""
        is_sales = place[0][0] == "sales"
        mine = "source_row" if is_sales == self.flow.outbound else "destination_row"
        lines = self.sales_lines if is_sales else self.fno_lines
        self.drift.drop(place[0], heads[mine])
        self.drift.drop(place[1], lines.filter(pl.col("doc").is_in(heads["doc"].implode()))[mine])


class _Rows:
    """The headers, or the lines, of documents as a pool: of lines one a document is taken."""

    def __init__(self, documents: _Documents, lines: bool) -> None:
        flow, number = documents.flow, 1 if lines else 0
        self.documents, self.is_lines, self.n = documents, lines, documents.n
        self.task = flow.lines if lines else flow.heads
        self.ends = Ends(documents.source[number], "", documents.destination[number], "")

    def take(self, n: int, source: pl.Expr | None = None, destination: pl.Expr | None = None) -> pl.DataFrame:
        rows = self.documents.lines if self.is_lines else self.documents.heads
        fit = pl.repeat(True, rows.height, eager=True)
        for place, number, condition in (
            (self.ends.source, "source_row", source),
            (self.ends.destination, "destination_row", destination),
        ):
            if condition is not None:
                holds = self.documents.drift.frames[place].select(condition).to_series().fill_null(False)
                fit = fit & holds.gather(rows[number])
        taken = rows.filter(fit).unique("doc", keep="first", maintain_order=True).head(n)
        self.documents.use(taken["doc"])
        return taken


def inject_documents(drift: Drift) -> None:
    """Put differences of every kind into documents; those of customers and products are there already.

    Args:
        drift: The frames; without documents nothing happens.
    """
    if ("sales", "quotes") not in drift.frames:
        return
    known = _known(drift)
    bills = _Documents(drift, BILLS)
    back = _Documents(drift, BACK)
    _lost_orders(drift, back, bills)
    for documents in (_Documents(drift, QUOTES), _Documents(drift, OUT), back, bills):
        heads, lines = _Rows(documents, lines=False), _Rows(documents, lines=True)
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
    truth = pl.concat([pl.DataFrame(schema=dict.fromkeys(("task", "key", "outcome"), pl.String))]
                      + [part.select("task", "key", "outcome") for part in drift.truth])

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


def _lost_orders(drift: Drift, back: _Documents, bills: _Documents) -> None:
    """Orders that Sales lacks although they were invoiced: their invoices are blocked, and the lines of all of them."""
    order = drift.frames["fno", BILLS.fno]["SalesOrderNumber"]
    heads = _Rows(back, lines=False)
    lost = heads.take(back.n, source=pl.col("SalesOrderNumber").is_in(order.unique().implode()))
    invoices = bills.heads.filter(order.gather(bills.heads["source_row"]).is_in(lost["key"].implode()))
    bills.use(invoices["doc"])
    for documents, rows in ((back, lost), (bills, invoices)):
        documents.drop(rows, documents.destination)
        drift.note(documents.flow.heads, rows["key"], "missing" if documents is back else "blocked", before=rows["key"])
        drift.note(documents.flow.lines, documents.lines_of(rows)["key"], "blocked")


def _existence(drift: Drift, pool: _Rows, free: pl.Expr | None) -> None:
    """Documents that one side has lost, with their lines."""
    documents, flow = pool.documents, pool.documents.flow
    missing, extra = pool.take(pool.n, source=free), pool.take(pool.n, source=free)
    documents.drop(missing, documents.destination)
    drift.note(flow.heads, missing["key"], "missing", before=missing["key"])
    drift.note(flow.lines, documents.lines_of(missing)["key"], "blocked")
    documents.drop(extra, documents.source)
    drift.note(flow.heads, extra["key"], "extra", before=extra["key"])
    drift.note(flow.lines, documents.lines_of(extra)["key"], "extra")


def _single_lines(drift: Drift, pool: _Rows) -> None:
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


def _keys(drift: Drift, pool: _Rows, free: pl.Expr | None) -> None:
    """Documents that Sales has twice, or under a number with a blank behind it; invoices with a second voucher."""
    documents, flow = pool.documents, pool.documents.flow
    heads, lines = flow.sales_ends
    mine = "source_row" if flow.outbound else "destination_row"
    detail = f"{documents.id.removesuffix('id')}detailid"

    twice = pool.take(pool.n, source=free)
    ids = drift.draw.guids(twice.height)
    drift.copy(heads, twice[mine], **{documents.id: ids})
    owned = documents.sales_lines.join(
        twice.select("doc", new=ids), on="doc", how="inner", maintain_order="left"
    )
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


def _parents(drift: Drift, heads: _Rows, lines: _Rows, free: pl.Expr | None, known: Known) -> None:
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


def _filters(drift: Drift, pool: _Rows) -> None:
    """Documents that were sent and no longer flow: left out now, while their destination rows remain."""
    documents, flow = pool.documents, pool.documents.flow
    if flow is BILLS:
        return
    rows = pool.take(pool.n)
    owned = documents.sales_lines if flow.outbound else documents.fno_lines
    owned = owned.filter(pl.col("doc").is_in(rows["doc"].implode()))["source_row"]
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


def _strange_currency(drift: Drift, pool: _Rows) -> None:
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
