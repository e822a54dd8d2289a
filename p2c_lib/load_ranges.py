"""Ranges of keys: where a task's rows are cut, and the filters that read a range from both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from p2c_lib.connect import Client, Entity, literal
from p2c_lib.model import Task

__all__ = ["PART_ROWS", "Part", "bounds", "cut", "parts_of"]

PART_ROWS = 5_000  # a page of Sales: parts of a bucket are read side by side
_RANGED = ("Edm.String", "Edm.Int32", "Edm.Int64")


@dataclass(frozen=True)
class Part:
    """A range of a task's keys.

    Attributes:
        number: From 1, in the order of the keys.
        source: Filters in the words of the source's service; each row of the range is in exactly one. None: all rows.
        found: The same for the destination.
        rows: Source rows when the keys were read.
    """

    number: int
    source: tuple[str, ...]
    found: tuple[str, ...]
    rows: int


def bounds(
    task: Task, source: Client, found: Client, ours: pl.Series, theirs: pl.Series, bucket_rows: int
) -> list[dict[str, Any]]:
    """Say where the key ranges of a task begin; one range where a service could not tell them apart.

    Args:
        task: The task.
        source: Client of its source.
        found: That of its destination.
        ours: The first key column of the source, a row a row.
        theirs: That of the destination.
        bucket_rows: About how many rows of either side go into a bucket.

    Returns:
        As `cut`.
    """
    whole = [{"low": None, "rows": ours.len(), "bucket": 1}]
    types = {
        _edm(source.entity(task.source.entity), next(iter(task.key.values()))),
        _edm(found.entity(task.destination.entity), next(iter(task.key))),
    }
    field = task.field(next(iter(task.key)))
    is_plain = field.map == "copy" and not field.transform and not field.truncate
    if (
        len(types) > 1
        or not types <= {*_RANGED}
        or not is_plain
        or ours.len() + theirs.len() <= min(PART_ROWS, bucket_rows)
    ):
        return whole
    return cut(ours, theirs, bucket_rows)


def cut(ours: pl.Series, theirs: pl.Series, bucket_rows: int) -> list[dict[str, Any]]:
    """Cut the keys of both sides into ranges of about a page, and these into buckets.

    Args:
        ours: The first key column of the source, a row a row; text or whole numbers.
        theirs: That of the destination.
        bucket_rows: About how many rows of either side go into a bucket.

    Returns:
        A range each, in the order of the keys without case: ``low`` (None: at the very beginning), ``rows`` of the
        source, ``bucket`` (from 1). Rows of one key are in one range.
    """
    part_rows = min(PART_ROWS, bucket_rows)
    is_text = ours.dtype == pl.String
    folded = pl.col("value").str.to_lowercase() if is_text else pl.col("value")
    sides = [
        side.to_frame("value").drop_nulls().group_by(folded.alias("same")).agg(pl.col("value").min(), rows=pl.len())
        for side in (ours, theirs)
    ]
    both = sides[0].join(sides[1], on="same", how="full", coalesce=True).sort("same")
    seen = [pl.col(name).fill_null(0).cum_sum().cast(pl.Int64) for name in ("rows", "rows_right")]
    both = both.select(low=pl.coalesce("value", "value_right"), before=seen[0], number=pl.max_horizontal(seen))
    both = both.with_columns(pl.col("before").shift(1, fill_value=0), (pl.col("number") - 1) // part_rows)
    if is_text:  # blanks, stars and quotes at a border mean other things to one service than to the other
        both = both.filter(pl.col("low").str.contains(r"^[0-9A-Za-z][0-9A-Za-z_-]*$"))
    starts = both.unique("number", keep="first", maintain_order=True)
    if starts.is_empty():
        return [{"low": None, "rows": ours.len(), "bucket": 1}]
    lows: list[Any] = [None, *starts["low"].to_list()[1:]]
    befores = [0, *starts["before"].to_list()[1:], ours.len()]
    buckets = (starts["number"] // (bucket_rows // part_rows)).rle_id().to_list()
    return [
        {"low": low, "rows": befores[i + 1] - befores[i], "bucket": int(bucket) + 1}
        for i, (low, bucket) in enumerate(zip(lows, buckets, strict=True))
    ]


def _edm(entity: Entity, name: str) -> str:
    """The type of a key column; of one over a lookup, text."""
    if "(" in name:
        return "polymorphic"
    return "Edm.String" if "." in name else entity.column(name).edm_type


def parts_of(task: Task, plan: Mapping[str, Any], clients: Mapping[str, Client]) -> list[Part]:
    """The buckets of a task, each with the filters that read it from both sides.

    Args:
        task: The task.
        plan: Its entry in ``load.json``.
        clients: By system.
    """
    ranges = plan["bounds"]
    if len(ranges) == 1:
        return [Part(1, (), (), ranges[0]["rows"])]
    columns = []
    for side, name in ((task.source, next(iter(task.key.values()))), (task.destination, next(iter(task.key)))):
        entity = clients[side.system].entity(side.entity)
        columns.append((side.system, name.replace(".", "/"), _edm(entity, name)))
    lows = [bound["low"] for bound in ranges]
    found: dict[int, Part] = {}
    for i, bound in enumerate(ranges):
        high = lows[i + 1] if i + 1 < len(lows) else None
        ours, theirs = (_filters(*column, bound["low"], high) for column in columns)
        part = found.get(bound["bucket"], Part(bound["bucket"], (), (), 0))
        found[part.number] = Part(part.number, (*part.source, *ours), (*part.found, *theirs), part.rows + bound["rows"])
    return list(found.values())


def _filters(system: str, column: str, edm: str, low: Any, high: Any) -> tuple[str, ...]:
    """A range, half open, so that no key is in two of them and none between them; the first one with rows without a
    key. F&O knows no null: its empty text comes before all others."""
    begin = None if low is None else f"{column} ge {literal(low, edm)}"
    end = None if high is None else f"{column} lt {literal(high, edm)}"
    both = " and ".join(text for text in (begin, end) if text)
    return (both, f"{column} eq null") if low is None and system == "sales" else (both,)
