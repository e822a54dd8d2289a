"""Outcomes to reasons, remedies and the table that people read: why two sides differ and what would put it right.

Pure: the time of the comparison comes in as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl
from babel.numbers import get_currency_precision

from p2c_lib.diff import Outcomes
from p2c_lib.model import Task
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


@dataclass(frozen=True)
class Reason:
    """Why a row or field came out as it did, in business words, and what to do about it."""

    says: str
    remedy: str


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
    "recent": Reason("not sent yet: changed at the source within the lag window", "wait for the next run"),
    "extra": Reason(
        "only at the destination, though marked as coming from the source",
        "find out whether it was deleted at the source; deactivate or delete by hand",
    ),
    "excluded_by_filter": Reason(
        "the source row no longer passes the filter that once let it through",
        "decide whether the old destination row stays; deactivate or delete by hand",
    ),
    "different": Reason("stale, or edited at the destination", "update the destination: plan and apply"),
    "rounding": Reason("differs by rounding only", "update the destination, or set a tolerance on the field"),
    "representation": Reason("same content, written differently", "update the destination, or leave it"),
    "unmapped": Reason("the value map has no entry for the source value", "extend the value map in an overlay file"),
    "lost": Reason("a line of the document never arrived", "create it: plan and apply"),
    "orphan": Reason("a line that the document does not have at the source", "delete the line by hand"),
    "renumbered": Reason(
        "the same line stands under another number", "delete it under the old one, then plan and apply"
    ),
    "status_apart": Reason("one side has cancelled the document", "cancel it on the other side too, or reopen it"),
    "truncated": Reason("cut off at the destination", "update the destination, or declare truncate on the field"),
}


def explain(
    outcomes: Outcomes,
    task: Task,
    source: pl.DataFrame,
    *,
    at: datetime | None = None,
    lag: timedelta = timedelta(0),
    faults: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Turn outcomes into the table of everything that is not matched, each row with a reason and a remedy.

    Args:
        outcomes: What `compare` gave.
        task: The task, for the words of its filter conditions.
        source: The pulled source rows (n); ``modifiedon`` (Datetime UTC) is used when it is there.
        at: When the sides were read, UTC; with ``lag`` it tells what could not have arrived yet.
        lag: How long a change may take to arrive.
        faults: What `tieout.line_faults` says of the lines that stand alone.

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
        code=_progress(task),
    )
    table = pl.concat([whole.select(cells.columns), cells])
    if at is not None and lag > timedelta(0) and "modifiedon" in source.columns:
        recent = source.with_row_index("source_row").filter(pl.col("modifiedon") > at - lag)["source_row"]
        waits = pl.col("code").is_in(["missing", "lost", "different"]) & pl.col("source_row").is_in(recent.implode())
        table = table.with_columns(code=pl.when(waits).then(pl.lit("recent")).otherwise(pl.col("code")))
    says, remedies = _words(task)
    return table.select(
        task=pl.lit(task.name),
        key="key",
        field="field",
        outcome="outcome",
        reason=pl.col("code").replace_strict(says, default=pl.col("code"), return_dtype=pl.String),
        code=pl.col("code").str.split(":").list.first(),
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


def _progress(task: Task) -> pl.Expr:
    """The code of a differing field: its outcome, or how far behind or ahead a document is that goes through stages.

    Source: rules of P2C, section 11: Sales behind F&O is a late run, Sales ahead of F&O an inconsistency.
    """
    code = pl.col("outcome")
    for field in task.fields:
        if not field.progress:
            continue
        ranks = {value: rank for rank, value in enumerate(field.progress)}
        expected, found = (
            pl.col(side).replace_strict(ranks, default=None, return_dtype=pl.Int32) for side in ("expected", "found")
        )
        apart = pl.col("expected").is_in(list(field.apart)) | pl.col("found").is_in(list(field.apart))
        way = (
            pl.when(apart)
            .then(pl.lit("status_apart"))
            .when(expected > found)
            .then(pl.format("status_behind:{}", "expected"))
            .when(expected < found)
            .then(pl.format("status_ahead:{}", "expected"))
            .otherwise(code)
        )
        is_status = (pl.col("field") == field.destination) & (pl.col("outcome") == "different")
        code = pl.when(is_status).then(way).otherwise(code)
    return code


def _words(task: Task) -> tuple[dict[str, str], dict[str, str]]:
    says = {code: reason.says for code, reason in REASONS.items()}
    remedies = {code: reason.remedy for code, reason in REASONS.items()}
    for field in task.fields:
        for value, paper in field.progress.items():
            says[f"status_behind:{value}"] = f"behind: {paper} at the source has not arrived"
            says[f"status_ahead:{value}"] = f"ahead of the source, which stands at {paper}"
            remedies[f"status_behind:{value}"] = "update the destination: plan and apply; see why the last run left it"
            remedies[f"status_ahead:{value}"] = "find out who set it; the source decides: plan and apply"
    for condition in task.filter:
        says[condition.name] = condition.says
        remedies[condition.name] = "nothing: the template leaves it out; change the record or the filter if not"
    return says, remedies


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
