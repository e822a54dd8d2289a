"""Outcomes to reasons, remedies and the table that people read: why two sides differ and what would put it right.

Pure: the time of the comparison comes in as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

import polars as pl
from babel.numbers import get_currency_precision

from p2c_lib.diff import Outcomes
from p2c_lib.model import FieldMap, System, Task
from p2c_lib.pull import MONEY

OUTCOME_COLUMNS = pl.Schema(
    {
        "task": pl.String(),
        "key": pl.String(),
        "field": pl.String(),
        "outcome": pl.String(),
        "reason": pl.String(),
        "code": pl.String(),
        "expected": pl.String(),
        "found": pl.String(),
        "amount": MONEY,
        "currency": pl.String(),
        "side": pl.String(),
        "remedy": pl.String(),
    }
)
"""Columns and dtypes of ``outcomes.parquet``: one row for each key and field of a mismatched row, one row with a null
field for every other row that is not matched. ``code`` is a key of `REASONS`, ``reason`` says it in words; of an
excluded row it is the name of the condition that stopped it. ``amount`` is what the row or the field is worth, in
``currency``."""


REASON_COLUMNS = pl.Schema(
    {
        "task": pl.String(),
        "key": pl.String(),
        "side": pl.String(),
        "outcome": pl.String(),
        "code": pl.String(),
        "severity": pl.String(),
        "reason": pl.String(),
        "remedy": pl.String(),
        "fields": pl.String(),
        "amount": MONEY,
        "currency": pl.String(),
    }
)
"""Columns and dtypes of ``reasons.parquet``: one row for each row that differs, with the one reason that comes first.
``fields`` are all that differ, that of the reason in front; null for a row that stands alone."""

Severity = Literal["error", "warning", "note"]
"""Error: the two sides are apart. Warning: they are not in step yet, or differ in form only. Note: nothing is wrong."""


@dataclass(frozen=True)
class Reason:
    """Why a row or field came out as it did, in business words, what to do about it, and how bad it is."""

    says: str
    remedy: str
    severity: Severity = "error"


REASONS: dict[str, Reason] = {
    "blank_key": Reason("the key is blank", "give the record a number; until then it cannot be sent"),
    "repeated_key": Reason("several records share this key", "merge or renumber them; the integrator would overwrite"),
    "colliding_key": Reason(
        "several records have keys that differ in case or padding only",
        "correct the keys; the systems read them as one",
    ),
    "padded_key": Reason("the key has blanks in front or behind", "remove the blanks from the key"),
    "parent_missing": Reason(
        "its parent is not at the destination", "send the parent first; a plan that creates it takes this row along"
    ),
    "missing": Reason("never arrived at the destination", "create it: plan and apply"),
    "recent": Reason("not sent yet: changed at the source within the lag window", "wait for the next run", "warning"),
    "extra": Reason(
        "only at the destination, though marked as coming from the source",
        "find out whether it was deleted at the source; deactivate or delete by hand",
    ),
    "excluded_by_filter": Reason(
        "the source row no longer passes the filter that once let it through",
        "decide whether the old destination row stays; deactivate or delete by hand",
    ),
    "different": Reason("stale, or edited at the destination", "update the destination: plan and apply"),
    "rounding": Reason(
        "differs by rounding only", "update the destination, or set a tolerance on the field", "warning"
    ),
    "representation": Reason("same content, written differently", "update the destination, or leave it", "warning"),
    "unmapped": Reason("the value map has no entry for the source value", "extend the value map in an overlay file"),
    "lost": Reason("a line of the document never arrived", "create it: plan and apply"),
    "orphan": Reason("a line that the document does not have at the source", "delete the line by hand"),
    "renumbered": Reason(
        "the same line stands under another number", "delete it under the old one, then plan and apply"
    ),
    "truncated": Reason("cut off at the destination", "update the destination, or declare truncate on the field"),
    "computed": Reason(
        "a total that the destination works out itself", "put right what it is worked out from, then recalculate"
    ),
    "status_apart": Reason("one side has cancelled the document", "cancel it on the other side too, or reopen it"),
    "status_ahead": Reason(
        "ahead of the source", "find out who set it; the source decides: plan and apply puts it back"
    ),
    "status_behind": Reason(
        "behind the source", "update the destination: plan and apply; see why the last run left it", "warning"
    ),
    "cross_reference": Reason(
        "the cross-reference pairs it with a row outside this range of keys",
        "none here: p2c run compares the pair",
        "note",
    ),
    "quirk": Reason("known template quirk", "none needed: the destination has what one would expect", "note"),
}

BAD_KEYS = ("blank_key", "repeated_key", "colliding_key", "padded_key")
"""Reasons of rows that no other row can be told to belong to."""

CAUSES_FIRST = (
    "status_apart",  # cancelled on one side: whatever else differs on the document matters no more
    "status_ahead",  # the destination has a paper that its master does not know: nothing else on it can be trusted
    "unmapped",  # nothing can be sent for it before a person has extended the value map
    "recent",  # not sent yet: all that differs will come with it
    "status_behind",  # a late run: all that differs is as old as the status
    "different",  # has to be sent, and what follows from it comes right by that
    "truncated",
    "computed",  # follows from what stands above it, on this row or on the lines of the document
    "rounding",  # of form only, and never the cause of anything else
    "representation",
    "quirk",  # no error at all
)
"""Codes of fields in the order in which they are the main reason of a row: the cause before what follows from it."""

_CANCELLED = {
    "source": Reason("cancelled at the source only", "cancel it at the destination too: plan and apply, or by hand"),
    "destination": Reason(
        "cancelled at the destination only",
        "find out who cancelled it; cancel it at the source too, or reopen it at the destination",
    ),
}
_RECALCULATE: dict[System, str] = {
    "fno": "put right what it is worked out from, then run Calculate sales totals in F&O",
    "sales": "put right what it is worked out from, then have Sales recalculate it: plan and apply",
    "cds": "the store works nothing out: plan and apply",
}
_IN_STORE = {
    "missing": Reason("not in the store", "stage it: plan and apply"),
    "lost": Reason("a line of the document is not in the store", "stage it: plan and apply"),
    "extra": Reason(
        "left over in the store: the source has it no more",
        "find out whether it was deleted at the source; take it out of the store by hand, or leave it",
    ),
    "orphan": Reason(
        "left over in the store: the document has no such line at the source",
        "take it out of the store by hand, or leave it",
    ),
    "different": Reason(
        "the staged row is not what the source has", "stage it anew: plan and apply, on to the destination"
    ),
}
_ITS_OWN = Reason("set by the destination itself, and not as the template has it", "change it there by hand")
_TOTAL = {"different": "computed", "rounding": "rounding:computed"}
_STATE = {"different": "different:own"}
_COMES_LATER = ("missing", "lost", "different", "truncated", "computed", "status_behind")


def explain(
    outcomes: Outcomes,
    task: Task,
    source: pl.DataFrame,
    *,
    at: datetime | None = None,
    lag: timedelta = timedelta(0),
    faults: pl.DataFrame | None = None,
    quirks: pl.Series | None = None,
) -> pl.DataFrame:
    """Turn outcomes into the table of everything that is not matched, each row with a reason and a remedy.

    Args:
        outcomes: What `compare` gave.
        task: The task, for the words of its filter conditions.
        source: The pulled source rows (n); ``modifiedon``, or of staged rows ``staged_at`` (Datetime UTC), is used
            when it is there.
        at: When the sides were read, UTC; with ``lag`` it tells what could not have arrived yet.
        lag: How long a change may take to arrive.
        faults: What `tieout.line_faults` says of the lines that stand alone.
        quirks: What `quirks.accounted` says of the cells: the name of the quirk that accounts for each, or null.

    Returns:
        Shape (rows, 12) with the columns of `OUTCOME_COLUMNS`.
    """
    rows = outcomes.rows.filter(~pl.col("outcome").is_in(["matched", "mismatched"]))
    whole = rows.select(
        "key",
        "outcome",
        "source_row",
        "amount",
        "currency",
        "side",
        field=pl.lit(None, pl.String),
        expected=pl.lit(None, pl.String),
        found=pl.lit(None, pl.String),
        code=pl.coalesce("reason", _fault_of(rows, faults), "outcome"),
    )
    cells = outcomes.cells.select(
        "key",
        "outcome",
        "source_row",
        "amount",
        "currency",
        "field",
        "expected",
        "found",
        side=pl.lit("both"),
        code=_field_code(task, quirks),
    )
    table = pl.concat([whole.select(cells.columns), cells])
    clock = next((name for name in ("modifiedon", "staged_at") if name in source.columns), None)
    if at is not None and lag > timedelta(0) and clock is not None:
        recent = source.with_row_index("source_row").filter(pl.col(clock) > at - lag)["source_row"]
        waits = _public("code").is_in(_COMES_LATER) & pl.col("source_row").is_in(recent.implode())
        table = table.with_columns(code=pl.when(waits).then(pl.lit("recent")).otherwise(pl.col("code")))
    says, remedies = _words(task)
    return table.select(
        task=pl.lit(task.name),
        key="key",
        field="field",
        outcome="outcome",
        reason=pl.col("code").replace_strict(says, default=pl.col("code"), return_dtype=pl.String),
        code=_public("code"),
        expected="expected",
        found="found",
        amount="amount",
        currency="currency",
        side="side",
        remedy=pl.col("code").replace_strict(remedies, default=None, return_dtype=pl.String),
    ).cast(OUTCOME_COLUMNS)


def _fault_of(rows: pl.DataFrame, faults: pl.DataFrame | None) -> pl.Series:
    """What is wrong with each line that stands alone: lost, orphan, renumbered; null for every other row."""
    if faults is None:
        return pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    joined = rows.select("source_row", "destination_row")
    for number in joined.columns:
        told = faults.filter(pl.col(number).is_not_null()).select(number, pl.col("fault").alias(f"fault_{number}"))
        joined = joined.join(told, on=number, how="left", maintain_order="left")
    return joined.select(pl.coalesce("fault_source_row", "fault_destination_row")).to_series()


def _public(column: str) -> pl.Expr:
    """A code without what it says more exactly: ``status_behind`` of ``status_behind:647390001:647390000``."""
    return pl.col(column).str.split(":").list.first()


def _field_code(task: Task, quirks: pl.Series | None) -> pl.Expr:
    """The code of a differing field: its outcome, unless more is known about it."""
    code = pl.col("outcome")
    for field in task.fields:
        here = pl.col("field") == field.destination
        if field.role == "computed":
            code = pl.when(here).then(code.replace(_TOTAL if field.money else _STATE)).otherwise(code)
        if field.progress or field.apart:
            code = pl.when(here & (pl.col("outcome") == "different")).then(_standing(field, code)).otherwise(code)
    if quirks is None:
        return code
    return pl.when(quirks.is_not_null()).then("quirk:" + quirks).otherwise(code)


def _standing(field: FieldMap, otherwise: pl.Expr) -> pl.Expr:
    """How far behind or ahead a document is that goes through stages, or that one side has left them.

    Source: rules of P2C, section 11: Sales behind F&O is a late run, Sales ahead of F&O an inconsistency; Cancelled
    is outside the order.
    """
    ranks = {value: rank for rank, value in enumerate(field.progress)}
    expected, found = (
        pl.col(side).replace_strict(ranks, default=None, return_dtype=pl.Int32) for side in ("expected", "found")
    )
    stages = [pl.col("expected"), pl.lit(":"), pl.col("found")]
    return (
        pl.when(pl.col("expected").is_in(list(field.apart)))
        .then(pl.lit("status_apart:source"))
        .when(pl.col("found").is_in(list(field.apart)))
        .then(pl.lit("status_apart:destination"))
        .when(expected > found)
        .then(pl.concat_str(pl.lit("status_behind:"), *stages))
        .when(expected < found)
        .then(pl.concat_str(pl.lit("status_ahead:"), *stages))
        .otherwise(otherwise)
    )


def _words(task: Task) -> tuple[dict[str, str], dict[str, str]]:
    """What each code of a task says, and its remedy."""
    told = dict(REASONS) | (_IN_STORE if task.destination.system == "cds" else {})
    again = _RECALCULATE[task.destination.system]
    told |= {"computed": Reason(told["computed"].says, again), "different:own": _ITS_OWN}
    told["rounding:computed"] = Reason(told["rounding"].says, again)
    told |= {f"status_apart:{side}": reason for side, reason in _CANCELLED.items()}
    for _, quirk in task.quirks():
        told[f"quirk:{quirk.name}"] = Reason(f"known template quirk: {quirk.says}", told["quirk"].remedy)
    for field in task.fields:
        papers = list(field.progress.items())
        for place, (later, paper) in enumerate(papers):
            for earlier, old in papers[:place]:
                behind = f"behind: {paper} at the source has not arrived, the destination stands at {old}"
                ahead = f"ahead: the destination stands at {paper}, the source at {old}"
                told[f"status_behind:{later}:{earlier}"] = Reason(behind, told["status_behind"].remedy)
                told[f"status_ahead:{earlier}:{later}"] = Reason(ahead, told["status_ahead"].remedy)
    for condition in (*task.filter, *task.destination.as_long_as):
        what = "nothing: the template leaves it out; change the record or the filter if not"
        told[condition.name] = Reason(condition.says, what)
    return {code: reason.says for code, reason in told.items()}, {code: reason.remedy for code, reason in told.items()}


def quirks_only(table: pl.DataFrame) -> pl.Series:
    """The keys of the pairs that differ in nothing but known template quirks; these are no error.

    Args:
        table: Columns of `OUTCOME_COLUMNS`, of one task.

    Returns:
        String, each key once.
    """
    cells = table.filter(pl.col("field").is_not_null())
    pairs = cells.group_by("key", maintain_order=True).agg(is_odd=(pl.col("code") == "quirk").all())
    return pairs.filter("is_odd")["key"]


def main_reasons(table: pl.DataFrame) -> pl.DataFrame:
    """Give every row that differs the one reason that comes first.

    Args:
        table: Columns of `OUTCOME_COLUMNS`, of any number of tasks.

    Returns:
        Columns of `REASON_COLUMNS`, in the order of the table: a row for each single row, and one for each pair that
        differs. Of a pair's fields the reason is that which comes first in `CAUSES_FIRST`, and of several such that of
        the first field; ``amount`` is what all of its fields are worth, less those that a quirk accounts for.
    """
    severities = {code: reason.severity for code, reason in REASONS.items()}
    severity = pl.when(pl.col("outcome") == "excluded").then(pl.lit("note")).otherwise(
        pl.col("code").replace_strict(severities, default="error", return_dtype=pl.String)
    )  # fmt: skip
    placed = table.with_row_index("place").with_columns(severity=severity)
    alone = placed.filter(pl.col("field").is_null()).rename({"field": "fields"})
    ranks = {code: rank for rank, code in enumerate(CAUSES_FIRST)}
    rank = pl.col("code").replace_strict(ranks, default=len(ranks), return_dtype=pl.Int32)
    worth = pl.when(pl.col("code") != "quirk").then("amount")
    first = ["side", "code", "severity", "reason", "remedy", "currency"]
    pairs = (
        placed.filter(pl.col("field").is_not_null())
        .sort(rank, "place")
        .group_by("task", "key")
        .agg(
            pl.col("place").min(),
            *[pl.col(name).first() for name in first],
            outcome=pl.lit("mismatched"),
            fields=pl.col("field").str.join(", "),
            amount=pl.when(worth.count() > 0).then(worth.sum()),
        )
    )
    both = pl.concat([part.select("place", *REASON_COLUMNS.names()) for part in (alone, pairs)])
    return both.sort("place").drop("place").cast(REASON_COLUMNS)


def money_text(amount: Decimal | None, currency: str | None) -> str:
    """An amount as people write it, exact: ``403,760.01 EUR``; no amount is the empty text.

    Args:
        amount: In ``currency``.
        currency: ISO 4217 code, whose number of digits is the least that is shown.

    Returns:
        The digits that the amount has, none rounded away, with thousands separators and the code.
    """
    if amount is None:
        return ""
    digits = len(f"{amount:f}".partition(".")[2].rstrip("0"))
    return f"{amount:,.{max(digits, get_currency_precision(currency or ''))}f} {currency or '(no currency)'}"
