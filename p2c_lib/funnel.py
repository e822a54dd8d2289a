"""From quote to cash: how far the documents of both systems have come, and where the two sides stand apart.

Pure: frames in, frames out. What a stage is are rules of P2C (sections 2, 9 to 11 and 14), so entities are named here;
which statuses there are, and in which order an order goes through them, the templates say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import and_
from typing import Final

import polars as pl

from p2c_lib.model import Task, Template, all_tasks
from p2c_lib.pull import MONEY

__all__ = [
    "DOCUMENT_COLUMNS",
    "KINDS",
    "STANDINGS",
    "Place",
    "apart",
    "by_status",
    "conditions",
    "documents",
    "funnel",
    "lifecycle",
    "places_of",
]

DOCUMENT_COLUMNS = pl.Schema(
    {
        "kind": pl.String(),
        "system": pl.String(),
        "number": pl.String(),
        "status": pl.String(),
        "rank": pl.Int32(),
        "is_apart": pl.Boolean(),
        "currency": pl.String(),
        "amount": MONEY,
        "changed": pl.Datetime("us", "UTC"),
    }
)
"""A document of one side: its status in words, how far down its way that is (null where it is off the way, cancelled
for example: ``is_apart``), what it is worth in its currency, and when it last changed (null where nothing says)."""

STANDINGS = (
    "in step",
    "on both sides",
    "Sales behind",
    "Sales ahead",
    "cancelled on one side",
    "on one side only",
    "number blank or repeated",
)
"""How a document of Sales stands to the one of F&O: at the same status (``on both sides`` where statuses do not
travel), less or further far along, and so on."""


@dataclass(frozen=True)
class Place:
    """Where the documents of a kind stand on one side: a frame of a task, and its columns.

    Attributes:
        kind: One of `KINDS`.
        system: sales or fno.
        task: The task that reads them.
        side: source or found.
        ours: Names of the task's conditions that tell documents of Prospect to cash from others.
    """

    kind: str
    system: str
    task: str
    side: str
    number: str
    amount: str
    currency: str
    status: str | None = None
    changed: str | None = None
    ours: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns looked at, each once, without those of ``ours``."""
        named = (self.number, self.amount, self.currency, self.status, self.changed)
        return list(dict.fromkeys(name for name in named if name))


KINDS: Final = ("quotes", "orders", "invoices")

_CODE = "transactioncurrencyid.isocurrencycode"
_STATUS_TASK, _STATUS_FIELD = "order_headers_to_sales", "msdynce_processingstatus"
_FROM_SALES = ("ordering_customer_from_sales", "invoice_customer_from_sales")
_LEGS = {"source": "_to_cds", "found": "_from_cds"}
_DIRECT: Final = (
    Place("quotes", "sales", "quote_headers", "source", "quotenumber", "totalamount", _CODE, "statecode", "modifiedon"),
    Place("quotes", "fno", "quote_headers", "found", "SalesQuotationNumber", "QuotationTotalAmount", "CurrencyCode",
          "SalesQuotationStatus", ours=("made_from_sales",)),
    Place("orders", "sales", "order_headers_to_fno", "source", "ordernumber", "totalamount", _CODE, _STATUS_FIELD,
          "modifiedon"),
    Place("orders", "sales", _STATUS_TASK, "found", "ordernumber", "totalamount", _CODE, _STATUS_FIELD),
    Place("orders", "fno", _STATUS_TASK, "source", "SalesOrderNumber", "OrderTotalAmount", "CurrencyCode",
          "SalesOrderProcessingStatus", ours=_FROM_SALES),
    Place("invoices", "sales", "invoice_headers", "found", "invoicenumber", "totalamount", _CODE, "statuscode",
          "msdynce_invoicedate", ours=("came_from_fno",)),
    Place("invoices", "fno", "invoice_headers", "source", "InvoiceNumber", "TotalInvoiceAmount", "CurrencyCode",
          changed="InvoiceDate", ours=("has_an_order", "no_work_order")),
)  # fmt: skip
# Through the store the first leg reads the same source, and the second the same destination; orders go one way only.
_STAGED = (replace(place, task=place.task + _LEGS[place.side]) for place in _DIRECT if "_to_fno" not in place.task)
PLACES: Final = (*_DIRECT, *_STAGED)

# Names of the solution's processing statuses; their order is the template's.
_ORDER_NAMES: Final = {
    "647390011": "Draft",
    "647390000": "Active",
    "647390001": "Confirmed",
    "647390005": "Partially Picked",
    "647390004": "Picked",
    "647390006": "Partially Packed",
    "647390002": "Packing Slip",
    "647390008": "Partially Shipped",
    "647390007": "Shipped",
    "647390009": "Partially Invoiced",
    "647390003": "Invoiced",
    "647390010": "Cancelled",
}
# Of each value (in lower case) its status and rank. A closed quote was active once: a draft cannot be closed.
_FIXED: Final[dict[tuple[str, str], dict[str, tuple[str, int | None]]]] = {
    ("quotes", "sales"): {"0": ("Draft", 0), "1": ("Active", 1), "2": ("Won", 2), "3": ("Closed", 1)},
    ("quotes", "fno"): {
        **{"created": ("Active", 1), "sent": ("Active", 1), "confirmed": ("Won", 2)},
        **{"lost": ("Closed", 1), "cancelled": ("Closed", 1)},
    },
    ("invoices", "sales"): {
        **{"1": ("New", 0), "2": ("Partially shipped", 0), "4": ("Billed", 0), "5": ("Booked", 0)},
        **{"6": ("Installed", 0), "7": ("Paid in full (deprecated)", 0)},
        **{"100001": ("Paid", 0), "100002": ("Paid in part", 0), "100003": ("Cancelled", None)},
    },
    ("invoices", "fno"): {"": ("Billed", 0)},  # posted; F&O's invoices have no status
}
# Stage, kind, and the status from which on a document has reached it; None: it exists.
_STAGES: Final = (
    ("quotes made", "quotes", None),
    ("quotes activated", "quotes", "Active"),
    ("quotes won", "quotes", "Won"),
    ("orders made", "orders", None),
    ("orders activated", "orders", "Active"),
    ("orders confirmed", "orders", "Confirmed"),
    ("orders shipped, part or all", "orders", "Partially Packed"),
    ("orders invoiced, part or all", "orders", "Partially Invoiced"),
    ("invoices", "invoices", None),
)
_DAY_S = 86_400


def places_of(tasks: Sequence[str]) -> list[Place]:
    """The places that these tasks read, one for each kind and system, the one that tells most first."""
    chosen: dict[tuple[str, str], Place] = {}
    for place in PLACES:
        if place.task in tasks:
            chosen.setdefault((place.kind, place.system), place)
    return list(chosen.values())


def conditions(place: Place, task: Task) -> list[str]:
    """The columns by which a place's documents are told from others."""
    return [c.column for c in (*task.filter, *task.destination.scope) if c.name in place.ours]


def documents(place: Place, frame: pl.DataFrame, templates: Mapping[str, Template]) -> pl.DataFrame:
    """Bring the documents of one side into one form.

    Args:
        place: What the frame's columns mean.
        frame: Rows as pulled, with `Place.columns` (``changed`` may be lacking) and the columns of `conditions`.
        templates: As `load_templates` gives them, the direct ones among them; a site's overlay may drop a condition or
            order statuses anew.

    Returns:
        Columns of `DOCUMENT_COLUMNS`, a row for each document that is the business of Prospect to cash. A status that
        nothing knows stands as it is, without a rank.
    """
    task = next(task for task in all_tasks(templates) if task.name == place.task)
    ours = [c.expr() for c in (*task.filter, *task.destination.scope) if c.name in place.ours]
    words = _vocabulary(place.kind, templates).filter(pl.col("system") == place.system)
    value = pl.col(place.status).cast(pl.String).str.strip_chars().str.to_lowercase() if place.status else pl.lit("")
    has_clock = place.changed in frame.columns
    rows = frame.filter(reduce(and_, ours, pl.lit(True))).select(
        value=value.fill_null(""),
        number=pl.col(place.number),
        currency=pl.col(place.currency),
        amount=pl.col(place.amount).fill_null(0).cast(MONEY),
        changed=_moment(frame.schema[place.changed], place.changed) if has_clock and place.changed else pl.lit(None),
    )
    return (
        rows.join(words.drop("system"), on="value", how="left", maintain_order="left")
        .with_columns(
            kind=pl.lit(place.kind),
            system=pl.lit(place.system),
            status=pl.coalesce("status", pl.format("unknown: {}", "value")),
            is_apart=pl.col("is_apart").fill_null(False),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in DOCUMENT_COLUMNS.items())
    )


def _moment(dtype: pl.DataType, name: str) -> pl.Expr:
    moment = pl.col(name).cast(pl.Datetime("us")) if dtype == pl.Date else pl.col(name)
    return moment.dt.replace_time_zone("UTC") if dtype == pl.Date else moment


def _vocabulary(kind: str, templates: Mapping[str, Template]) -> pl.DataFrame:
    """What a status value of each system means: ``system``, ``value``, ``status``, ``rank``, ``is_apart``."""
    fixed = [(system, told) for (one, system), told in _FIXED.items() if one == kind]
    rows = [(system, value, status, rank) for system, told in fixed for value, (status, rank) in told.items()]
    apart = ["Cancelled"]
    if kind == "orders":
        task = next(task for task in all_tasks(templates) if task.name == _STATUS_TASK)
        field = task.field(_STATUS_FIELD)
        ranks = {code: rank for rank, code in enumerate(field.progress)} | dict.fromkeys(field.apart)
        apart = [_ORDER_NAMES.get(code, code) for code in field.apart]
        rows = [("sales", code, _ORDER_NAMES.get(code, code), rank) for code, rank in ranks.items()]
        entries = task.value_maps[field.value_map].entries if field.value_map else {}
        rows += [("fno", value, _ORDER_NAMES.get(code, code), ranks.get(code)) for value, code in entries.items()]
    schema = {"system": pl.String, "value": pl.String, "status": pl.String, "rank": pl.Int32}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(is_apart=pl.col("status").is_in(apart))


def funnel(told: pl.DataFrame, templates: Mapping[str, Template]) -> pl.DataFrame:
    """Count the documents that reached each stage, and add up what they are worth.

    Args:
        told: Columns of `DOCUMENT_COLUMNS`, of any kinds.
        templates: As for `documents`.

    Returns:
        ``stage`` (in order), ``kind``, ``system``, ``currency``, ``documents``, ``amount`` (`MONEY`, in that
        currency). A document counts in every stage up to the one it has reached; a cancelled one counts as made only.
        A stage that no document of a side reached has one row with 0 documents and no currency.
    """
    stages = []
    for place, (stage, kind, reached) in enumerate(_STAGES):
        mine = told.filter(pl.col("kind") == kind)
        if reached:
            words = _vocabulary(kind, templates)
            rank = words.filter((pl.col("status") == reached) & pl.col("rank").is_not_null())["rank"].min()
            mine = mine.filter(pl.col("rank") >= rank) if rank is not None else mine.clear()
        counted = mine.group_by("system", "currency").agg(documents=pl.len(), amount=pl.col("amount").sum())
        systems = told.filter(pl.col("kind") == kind).select("system").unique()
        whole = systems.join(counted, on="system", how="left").with_columns(
            pl.col("documents").fill_null(0), pl.col("amount").fill_null(0)
        )
        stages.append(whole.with_columns(place=pl.lit(place), stage=pl.lit(stage), kind=pl.lit(kind)))
    return (
        pl.concat(stages)
        .sort("place", pl.col("system") == "fno", "currency", nulls_last=True)
        .select("stage", "kind", "system", "currency", "documents", pl.col("amount").cast(MONEY))
    )


def lifecycle(told: pl.DataFrame, kind: str, templates: Mapping[str, Template]) -> pl.DataFrame:
    """Say of each document whether the two sides have come equally far.

    Args:
        told: Columns of `DOCUMENT_COLUMNS`.
        kind: One of `KINDS`.
        templates: As for `documents`.

    Returns:
        The documents of that kind, with ``standing`` (one of `STANDINGS`), ``status_there`` (on the other side, null
        where it is not) and ``place`` (of the status in its order).
        Numbers are compared trimmed and without case; a blank or repeated one is set apart before anything is paired.
        Only the status of an order travels: a quote or an invoice is on both sides or it is not.
        Source: rules of P2C, section 11: Sales behind F&O is a late run, Sales ahead of F&O an inconsistency.
    """
    mine = told.filter(pl.col("kind") == kind).with_columns(
        normal=pl.col("number").str.strip_chars().str.to_lowercase().fill_null("")
    )
    bad = mine.filter((pl.len().over("system", "normal") > 1) | (pl.col("normal") == ""))["normal"].unique()
    other = mine.select(
        "normal",
        pl.col("system").replace_strict({"sales": "fno", "fno": "sales"}, return_dtype=pl.String),
        status_there="status",
        rank_there=pl.col("rank"),
        apart_there=pl.col("is_apart"),
    ).filter(~pl.col("normal").is_in(bad.implode()))
    paired = mine.join(other, on=["system", "normal"], how="left", maintain_order="left", validate="m:1")
    is_sales, here, there = pl.col("system") == "sales", pl.col("rank"), pl.col("rank_there")
    ours, theirs = pl.when(is_sales).then(here).otherwise(there), pl.when(is_sales).then(there).otherwise(here)
    standing = (
        pl.when(pl.col("normal").is_in(bad.implode()))
        .then(pl.lit("number blank or repeated"))
        .when(pl.col("apart_there").is_null())
        .then(pl.lit("on one side only"))
        .when(pl.lit(kind != "orders"))
        .then(pl.lit("on both sides"))
        .when(pl.col("is_apart") & pl.col("apart_there"))
        .then(pl.lit("in step"))
        .when(pl.col("is_apart") | pl.col("apart_there"))
        .then(pl.lit("cancelled on one side"))
        .when(ours < theirs)
        .then(pl.lit("Sales behind"))
        .when(ours > theirs)
        .then(pl.lit("Sales ahead"))
        .otherwise(pl.lit("in step"))
    )
    statuses = _vocabulary(kind, templates)["status"].unique(maintain_order=True).to_list()
    place = pl.col("status").replace_strict(
        statuses, list(range(len(statuses))), default=len(statuses), return_dtype=pl.Int32
    )
    return paired.with_columns(standing=standing, place=place).select(
        *DOCUMENT_COLUMNS.names(), "standing", "status_there", "place"
    )


def by_status(standing: pl.DataFrame) -> pl.DataFrame:
    """Count documents by status and standing.

    Args:
        standing: What `lifecycle` gave.

    Returns:
        ``status`` (in its order), ``system``, ``standing``, ``documents``.
    """
    counted = standing.group_by("place", "status", "system", "standing").agg(documents=pl.len())
    return counted.sort("place", "status", pl.col("system") == "fno", _rank()).drop("place")


def apart(standing: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Count the documents that do not stand alike on both sides, and say how long ago they last changed.

    Args:
        standing: What `lifecycle` gave.
        at: When the documents were read, UTC.

    Returns:
        ``standing``, ``in_Sales`` and ``in_F&O`` (the status on each side, null where the document is not),
        ``documents``, ``median_days`` and ``oldest_days`` since the last change (Int32; null where nothing says). A
        pair counts once, with the days of its Sales document.
    """
    is_sales, is_pair = pl.col("system") == "sales", pl.col("status_there").is_not_null()
    days = ((pl.lit(at) - pl.col("changed")).dt.total_seconds() // _DAY_S).clip(lower_bound=0)
    return (
        standing.filter(~pl.col("standing").is_in(["in step", "on both sides"]) & (is_sales | ~is_pair))
        .with_columns(
            pl.when(is_sales).then("status").alias("in_Sales"),
            pl.when(is_sales).then("status_there").otherwise("status").alias("in_F&O"),
            days=days,
        )
        .group_by("standing", "place", "in_Sales", "in_F&O")
        .agg(
            documents=pl.len(),
            median_days=pl.col("days").median().cast(pl.Int32),
            oldest_days=pl.col("days").max().cast(pl.Int32),
        )
        .sort(_rank(), pl.col("in_Sales").is_null(), "place", "in_F&O")
        .drop("place")
    )


def _rank() -> pl.Expr:
    return pl.col("standing").replace_strict(list(STANDINGS), list(range(len(STANDINGS))), return_dtype=pl.Int32)
