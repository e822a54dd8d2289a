"""Source, store and destination side by side: on which leg a record was lost, or a field became another.

Pure: what the comparison of both legs left in, one frame out. A loop here runs over fields, never over rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from p2c_lib.cells import as_text
from p2c_lib.store import STAGED_AT

__all__ = ["THREE_WAY", "Leg", "by_task", "examples", "three_way", "worst"]

THREE_WAY = pl.Schema(
    {
        "task": pl.String(),
        "key": pl.String(),
        "field": pl.String(),
        "at_source": pl.Boolean(),
        "in_store": pl.Boolean(),
        "at_destination": pl.Boolean(),
        "first": pl.String(),
        "second": pl.String(),
        "leg": pl.Int8(),
        "code": pl.String(),
        "source": pl.String(),
        "staged": pl.String(),
        "expected": pl.String(),
        "found": pl.String(),
        "left_over": pl.Boolean(),
        "staged_at": pl.Datetime("us", "UTC"),
        "age_hours": pl.Float64(),
    }
)
"""A row for each record that is not in step all the way (``field`` null), and one for each of its fields that differs.

``task`` is the direct task that the two legs stand for; ``first`` and ``second`` are the outcomes of the legs (of the
row, or of the field), null where a leg has nothing to say of it; ``leg`` is the one that lost or changed it, null for a
row that is merely left over. ``source`` is what the source would have in the store, ``staged`` what stands there,
``expected`` what the destination should have by that, ``found`` what it has. ``left_over``: in the store, and no more
at the source. ``age_hours``: how long ago the staged row was last changed."""

_STANDS = ("matched", "mismatched")


@dataclass(frozen=True)
class Leg:
    """What the comparison of one leg left.

    Attributes:
        rows: Rows of `diff.Outcomes`; likewise ``cells``, with ``code`` (`explain`).
        cells: The fields that differ.
        source: Rows as read; of the second leg the staged rows with ``staged_at``.
        expected: What the leg made of them, as many rows.
        found: Rows at its end.
        reads: Each field and the column that it is made from, if it is made from one.
    """

    rows: pl.DataFrame
    cells: pl.DataFrame
    source: pl.DataFrame
    expected: pl.DataFrame
    found: pl.DataFrame
    reads: Mapping[str, str]


def _normal(column: str = "key") -> pl.Expr:
    return pl.col(column).str.strip_chars().str.to_lowercase()


def three_way(task: str, first: Leg, second: Leg, at: datetime) -> pl.DataFrame:
    """Put the comparisons of two legs together.

    Args:
        task: The direct task that they stand for.
        first: Source to store.
        second: Store to destination.
        at: When they were read, UTC.

    Returns:
        Columns of `THREE_WAY`, by key, each record before its fields.
    """
    one, two = (_placed(leg, mark) for leg, mark in ((first, "1"), (second, "2")))
    both = one.join(two, on="normal", how="full", coalesce=True).with_columns(
        at_source=pl.col("source_row1").is_not_null(),
        in_store=pl.col("destination_row1").is_not_null() | pl.col("source_row2").is_not_null(),
        at_destination=pl.col("destination_row2").is_not_null(),
        left_over=(pl.col("outcome1") == "extra").fill_null(False),
        key=pl.coalesce("key1", "key2"),
    )
    # what the filter of the second leg leaves out is another task's, and of what no leg speaks there is nothing to say
    mine = (pl.col("outcome1") != "excluded").fill_null(pl.col("outcome2") != "excluded")
    both = both.filter(mine).with_columns(age=_age(second, at), staged_at=_clock(second))
    lost_first = pl.col("at_source") & ~pl.col("outcome1").is_in(_STANDS)
    lost_second = pl.col("in_store") & pl.col("outcome2").is_in(["missing", "blocked"])
    added = pl.col("outcome2") == "extra"
    records = both.with_columns(
        leg=pl.when(lost_first.fill_null(False))
        .then(1)
        .when(lost_second.fill_null(False) | added.fill_null(False))
        .then(pl.when(pl.col("left_over")).then(None).otherwise(2))
        .when(pl.col("outcome1") == "mismatched")
        .then(1)
        .when(pl.col("outcome2") == "mismatched")
        .then(2),
        code=pl.coalesce("reason1", "reason2"),
    ).filter((pl.col("outcome1").ne_missing("matched")) | (pl.col("outcome2").ne_missing("matched")))
    records = records.rename({"outcome1": "first", "outcome2": "second"})
    fields = (_changed(first, both, 1, second), _changed(second, both, 2, first))
    table = pl.concat([_shaped(part, task) for part in (records, *fields)])
    return table.sort("key", "leg", "field", nulls_last=False, maintain_order=True)


def by_task(table: pl.DataFrame) -> pl.DataFrame:
    """Count what each leg did to the records of a task.

    Args:
        table: Columns of `THREE_WAY`.

    Returns:
        A row a task: task, lost_on_leg_1, fields_changed_on_leg_1, lost_on_leg_2, fields_changed_on_leg_2,
        added_on_leg_2, left_over_in_store, staged_hours_ago (of the row staged longest ago).
    """
    rows, leg, what = _told(table), pl.col("leg"), pl.col("what")
    is_field = pl.col("field").is_not_null()
    counts = {}
    for number in (1, 2):
        counts[f"lost_on_leg_{number}"] = ((leg == number) & (what == "lost") & ~is_field).sum()
        counts[f"fields_changed_on_leg_{number}"] = ((leg == number) & is_field).sum()
    counts["added_on_leg_2"] = ((what == "added") & ~is_field).sum()
    counts["left_over_in_store"] = ((what == "left over") & ~is_field).sum()
    oldest = pl.col("age_hours").max().round(1)
    return rows.group_by("task", maintain_order=True).agg(**counts, staged_hours_ago=oldest)


def worst(table: pl.DataFrame) -> pl.DataFrame:
    """Count what each leg did: ``task``, ``leg``, ``what`` (lost, changed, added, left over), ``field``, ``rows``."""
    rows = _told(table).filter(pl.col("field").is_not_null() | (pl.col("what") != "changed"))
    counted = rows.group_by("task", "leg", "what", "field", maintain_order=True).agg(
        rows=pl.len(), oldest_hours=pl.col("age_hours").max().round(1)
    )
    return counted.sort("rows", descending=True, maintain_order=True)


def examples(table: pl.DataFrame, most: int) -> pl.DataFrame:
    """Some of what each leg did, with the value at all four places.

    Args:
        table: Columns of `THREE_WAY`.
        most: How many of each task, leg and kind.

    Returns:
        Columns task, leg, what, key, field, source, staged, expected, found, age_hours.
    """
    rows = _told(table).filter(pl.col("field").is_not_null() | (pl.col("what") != "changed"))
    some = rows.group_by("task", "leg", "what", maintain_order=True).head(most)
    shown = some.with_columns(pl.col("age_hours").round(1))
    return shown.select("task", "leg", "what", "key", "field", "source", "staged", "expected", "found", "age_hours")


def _told(table: pl.DataFrame) -> pl.DataFrame:
    """What the rows of a comparison tell (``what``), without known quirks of templates."""
    what = (
        pl.when(pl.col("field").is_not_null())
        .then(pl.lit("changed"))
        .when(pl.col("left_over"))
        .then(pl.lit("left over"))
        .when(pl.col("second") == "extra")
        .then(pl.when(pl.col("at_source")).then(pl.lit("lost")).otherwise(pl.lit("added")))
        .when((pl.col("first") == "mismatched") | (pl.col("second") == "mismatched"))
        .then(pl.lit("changed"))
        .otherwise(pl.lit("lost"))
    )
    return table.filter(pl.col("code").ne_missing("quirk")).with_columns(what=what)


def _placed(leg: Leg, mark: str) -> pl.DataFrame:
    """Each key once, with its outcome and row numbers; a pair before what stands alone."""
    rows = leg.rows.with_columns(normal=_normal()).sort(pl.col("side") != "both", maintain_order=True)
    names = ["key", "outcome", "reason", "source_row", "destination_row"]
    return rows.group_by("normal", maintain_order=True).agg(
        pl.col("key", "outcome", "reason").first(), pl.col("source_row", "destination_row").drop_nulls().first()
    ).rename({name: f"{name}{mark}" for name in names})  # fmt: skip


def _clock(second: Leg) -> pl.Expr:
    return pl.lit(second.source[STAGED_AT]).gather(pl.col("source_row2"))


def _age(second: Leg, at: datetime) -> pl.Expr:
    return (pl.lit(at) - _clock(second)).dt.total_seconds() / 3600


def _changed(leg: Leg, both: pl.DataFrame, number: int, other: Leg) -> pl.DataFrame:
    """The fields that one leg changed, with what the other leg has of the same value."""
    cells = leg.cells.with_columns(normal=_normal()).rename({"expected": "should", "found": "stands"})
    parts = []
    for (name,), part in cells.group_by("field", maintain_order=True):
        field = str(name)
        rows = part.select("normal", "field", "outcome", "code", "should", "stands").join(
            both, on="normal", how="inner"
        )
        if number == 1:  # the destination's field that is made from this column of the store
            reader = next((one for one, column in other.reads.items() if column == field), None)
            rows = rows.with_columns(
                source="should",
                staged="stands",
                expected=_value(other.expected, reader, "source_row2"),
                found=_value(other.found, reader, "destination_row2"),
            )
        else:
            column = leg.reads.get(field)
            rows = rows.with_columns(
                source=_value(other.expected, column, "source_row1"),
                staged=_value(leg.source, column, "source_row2"),
                expected="should",
                found="stands",
            )
        parts.append(
            rows.with_columns(
                pl.lit(number).alias("leg"),
                first=pl.col("outcome") if number == 1 else pl.lit(None, pl.String),
                second=pl.col("outcome") if number == 2 else pl.lit(None, pl.String),
            )
        )
    return pl.concat(parts) if parts else both.clear()


def _value(frame: pl.DataFrame, column: str | None, row: str) -> pl.Expr:
    """A column's value of each row, as text; null where there is no such column or row."""
    if column is None or column not in frame.columns or frame.is_empty():
        return pl.lit(None, pl.String)
    texts = frame.select(as_text(column, frame.schema[column]).alias("text"))["text"]
    return pl.lit(texts).gather(pl.col(row))


def _shaped(frame: pl.DataFrame, task: str) -> pl.DataFrame:
    frame = frame.with_columns(task=pl.lit(task)).rename({"age": "age_hours"}, strict=False)
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in THREE_WAY.items() if name not in frame.columns]
    return frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in THREE_WAY.items())
