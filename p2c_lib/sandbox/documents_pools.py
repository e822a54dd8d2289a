"""The ways documents go, and the documents of each that agree and may be made different."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from p2c_lib.sandbox.documents_truth import ACTIVE, HEADS, line_key
from p2c_lib.sandbox.edits import Drift, Ends, Place

__all__ = ["BACK", "BILLS", "ONLY", "OUT", "QUOTES", "Documents", "Flow", "Rows"]

SHARE = 0.002  # of a flow's documents, for each kind of difference
LEAST = 2


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
        """Headers and lines of F&O."""
        return ("fno", self.fno), ("fno", self.fno_lines)

    @property
    def sales_ends(self) -> tuple[Place, Place]:
        """Headers and lines of Sales."""
        return ("sales", self.sales), ("sales", self.sales_lines)


ORDERS = ("salesorders", "salesorderdetails", "CDSSalesOrderHeaders", "CDSSalesOrderLines")
ORDER_NUMBER = "SalesOrderNumber"
QUOTES = Flow(
    "quote_headers",
    "quote_lines",
    "quotes",
    "quotedetails",
    "CDSSalesQuotationHeaders",
    "CDSSalesQuotationLines",
    "SalesQuotationNumber",
    outbound=True,
)
OUT = Flow("order_headers_to_fno", "order_lines_to_fno", *ORDERS, ORDER_NUMBER, True, "msdynce_ordernumber")
BACK = Flow("order_headers_to_sales", "order_lines_to_sales", *ORDERS, ORDER_NUMBER, False, "msdynce_ordernumber")
BILLS = Flow(
    "invoice_headers",
    "invoice_lines",
    "invoices",
    "invoicedetails",
    "ExternallyMaintainedCustomerSalesInvoiceHeaders",
    "ExternallyMaintainedCustomerSalesInvoiceLines",
    "InvoiceNumber",
    outbound=False,
    mirror="msdynce_invoicenumber",
)
ONLY = "msdynce_hasexternallymaintainedproductsonly"
FLOWING = {  # of both sides, the latter also in scope
    QUOTES: (
        (pl.col("statecode") == 1) & pl.col(ONLY),
        (pl.col("SalesQuotationHeaderCreationMethod") == "Dynamics365Sales")
        & (pl.col("SalesQuotationStatus") == "Created"),
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


class Documents:
    """Documents of a flow that agree and are free to be changed, in random order; each is taken once.

    ``heads`` and ``lines`` have ``doc`` (row of the header in Sales), ``key``, ``source_row``, ``destination_row``.
    """

    def __init__(self, drift: Drift, flow: Flow) -> None:
        """Pair the documents that both systems have."""
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
        self.source, self.destination = (
            (flow.sales_ends, flow.fno_ends) if flow.outbound else (flow.fno_ends, flow.sales_ends)
        )

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


class Rows:
    """The headers, or the lines, of documents as a pool: of lines one a document is taken."""

    def __init__(self, documents: Documents, lines: bool) -> None:
        """Offer the headers, or the lines, of documents."""
        flow, number = documents.flow, 1 if lines else 0
        self.documents, self.is_lines, self.n = documents, lines, documents.n
        self.task = flow.lines if lines else flow.heads
        self.ends = Ends(documents.source[number], "", documents.destination[number], "")

    def take(self, n: int, source: pl.Expr | None = None, destination: pl.Expr | None = None) -> pl.DataFrame:
        """Take up to `n` rows, one a document, that meet a condition on either side."""
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
