"""What changes when a site moves from the way through CDS to the direct one: by its templates, and by its rows.

Both generations fill the same destinations, by other fields and other rules. A field through CDS is followed back over
both of its legs to the source. What the templates say is held against what they do: every source row is mapped both
ways, and what comes out is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from p2c_lib import mapping
from p2c_lib.config import Profile
from p2c_lib.connect import Metadata
from p2c_lib.connect.pages import dtype
from p2c_lib.folder import read_run
from p2c_lib.legs import templates_for
from p2c_lib.model import FieldMap, Task, Template, all_tasks, rule_text
from p2c_lib.pull import MONEY

if TYPE_CHECKING:
    from p2c_lib.connect.metadata import Entity

__all__ = ["CHANGES", "MIGRATION_COLUMNS", "Way", "by_data", "by_templates", "save_declared", "ways"]

CHANGES = ("gained", "lost", "default", "mapping", "filter", "rows_gained", "rows_lost")
MIGRATION_COLUMNS = pl.Schema(
    {
        "task": pl.String(),
        "field": pl.String(),
        "change": pl.String(),
        "through_cds": pl.String(),
        "direct": pl.String(),
        "rows": pl.UInt32(),
        "amount": MONEY,
        "currency": pl.String(),
    }
)
"""A row for each field or condition that the two ways treat otherwise. ``change`` is one of `CHANGES`: the direct way
alone fills it (gained), only that through CDS does (lost), they fall back on other values (default) or come by it
otherwise (mapping), let other rows pass (filter). ``rows`` and ``amount`` are null until they are counted on data: rows
whose value differs, and what these rows are worth."""
_FALLBACKS = ("default", "default_if_blank")


@dataclass(frozen=True)
class Way:
    """A direct task and the two legs that do the same through CDS."""

    direct: Task
    first: Task
    second: Task


def ways(templates: Mapping[str, Template]) -> list[Way]:
    """Find the tasks that both ways have.

    Args:
        templates: Of both routes.

    Returns:
        One for each, in the order of the direct tasks.
    """
    tasks = all_tasks(templates)
    legs = {(task.of, task.leg): task for task in tasks if task.of}
    return [Way(t, legs[t.name, 1], legs[t.name, 2]) for t in tasks if (t.name, 1) in legs and (t.name, 2) in legs]


def save_declared(folder: Path, profile: Profile) -> None:
    """Keep with a run through CDS what its templates and the direct ones declare otherwise: ``migration.parquet``.

    Args:
        folder: A finished run's; with a direct one nothing is kept.
        profile: That the run was made with.
    """
    run = read_run(folder)
    done = [task["of"] for task in run["tasks"] if task.get("of")]
    both = ways(templates_for(profile, None)) if done else []
    frames = [by_templates(way) for way in both if way.direct.name in done]
    if frames:
        pl.concat(frames).write_parquet(folder / "migration.parquet")


def by_templates(way: Way) -> pl.DataFrame:
    """Say what the templates treat otherwise.

    Args:
        way: Both ways of a task.

    Returns:
        Columns of `MIGRATION_COLUMNS`, fields in the order of the direct task, then those lost, then conditions;
        ``rows`` and ``amount`` are null.
    """
    direct = {field.destination: field for field in way.direct.fields if field.is_compared}
    second = {field.destination: field for field in way.second.fields if field.is_compared}
    rows = []
    for name in dict.fromkeys([*direct, *second]):
        ours, theirs = direct.get(name), second.get(name)
        chain = _chain(theirs, way) if theirs else []
        before, after = " then ".join(rule_text(field) for field in chain), rule_text(ours) if ours else ""
        if ours is None or theirs is None:
            change = "gained" if ours else "lost"
        elif _does(ours, way.direct) == _told(chain, way):
            continue
        else:
            falls_back = any(f.map in _FALLBACKS or f.blank_default is not None for f in (ours, *chain))
            change = "default" if falls_back else "mapping"
        rows.append((name, change, before, after))
    marks = {field.destination: field.value for field in way.first.fields if field.map == "default"}
    asked = [*way.first.filter, *(c for c in way.second.filter if c.column not in marks)]  # rows of its own pass
    through, straight = {c.name: c.says for c in asked}, {c.name: c.says for c in way.direct.filter}
    for name in sorted(through.keys() ^ straight.keys()):
        rows.append((name, "filter", through.get(name, ""), straight.get(name, "")))
    frame = pl.DataFrame(
        rows, schema=["field", "change", "through_cds", "direct"], orient="row", infer_schema_length=None
    )
    return _shaped(frame, way)


def by_data(way: Way, source: pl.DataFrame, metadata: Mapping[str, Metadata]) -> pl.DataFrame:
    """Map every source row both ways and count what comes out otherwise.

    Args:
        way: Both ways of a task.
        source: Rows as pulled, with the source columns of the direct task and of the first leg.
        metadata: Of both systems and of the store.

    Returns:
        Columns of `MIGRATION_COLUMNS`: what `by_templates` says, with rows and amounts, a line a currency; fields that
        come out otherwise although the templates read alike; and rows that only one of the ways lets pass. An amount is
        what the row is worth by the direct task.
    """
    entity = _entity(way.direct, metadata)
    store = metadata["cds"].entities[way.first.destination.entity]
    staged = mapping.expected(source, way.first, store).rows
    schema = {name: _dtype(name, store) for name in mapping.source_columns(way.second)}
    lacking = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in staged.columns]
    staged = staged.with_columns(lacking)
    old, new = mapping.expected(staged, way.second, entity).rows, mapping.expected(source, way.direct, entity).rows
    passes_new = mapping.filter_outcome(source, way.direct).is_null()
    passes_old = (
        mapping.filter_outcome(source, way.first).is_null() & mapping.filter_outcome(staged, way.second).is_null()
    )
    told, found = by_templates(way), []
    says = {row["field"]: row for row in told.iter_rows(named=True)}
    both = passes_new & passes_old
    for name in dict.fromkeys([*new.columns, *old.columns]):
        line = says.get(name)
        differs = _values(new, name, old).ne_missing(_values(old, name, new)) & both
        if line is None and not differs.any():
            continue
        line = line or {"field": name, "change": "mapping", "through_cds": "", "direct": ""}
        found.append(_counted(differs, new, way.direct, line))
    for change, which in (("rows_gained", passes_new & ~passes_old), ("rows_lost", passes_old & ~passes_new)):
        if which.any():
            line = {"field": None, "change": change, "through_cds": "", "direct": ""}
            found.append(_counted(which, new, way.direct, line))
    found.append(told.filter(pl.col("change") == "filter"))
    return pl.concat([_shaped(frame, way) for frame in found])


def _dtype(name: str, entity: Entity) -> pl.DataType:
    column = entity.columns.get(name)
    return dtype(column) if column else pl.String()


def _entity(task: Task, metadata: Mapping[str, Metadata]) -> Entity:
    return metadata[task.destination.system].entities[task.destination.entity]


def _values(side: pl.DataFrame, name: str, other: pl.DataFrame) -> pl.Series:
    """A column of one way; nulls where that way does not fill it."""
    if name in side.columns:
        return side[name]
    return pl.repeat(None, side.height, dtype=other.schema[name], eager=True)


def _counted(which: pl.Series, rows: pl.DataFrame, task: Task, line: Mapping[str, str | None]) -> pl.DataFrame:
    worth = rows.select(
        amount=pl.col(task.amount).cast(MONEY) if task.amount else pl.lit(None, MONEY),
        currency=pl.col(task.currency) if task.currency else pl.lit(None, pl.String),
    )
    worth = worth if worth.height == rows.height else pl.concat([worth] * rows.height) if rows.height else worth.clear()
    counted = (
        worth.filter(which).group_by("currency").agg(rows=pl.len(), amount=pl.col("amount").sum()).sort("currency")
    )
    if counted.is_empty():
        counted = pl.DataFrame({"rows": [0]}, schema={"rows": pl.UInt32})
    named = ("field", "change", "through_cds", "direct")
    return counted.with_columns(pl.lit(line[name], pl.String).alias(name) for name in named)


def _shaped(frame: pl.DataFrame, way: Way) -> pl.DataFrame:
    lacking = [pl.lit(None, MIGRATION_COLUMNS[n]).alias(n) for n in MIGRATION_COLUMNS if n not in frame.columns]
    named = frame.with_columns(lacking).with_columns(task=pl.lit(way.direct.name))
    return named.select(MIGRATION_COLUMNS.names()).cast(MIGRATION_COLUMNS)


def _chain(field: FieldMap, way: Way) -> list[FieldMap]:
    """A field of the second leg with that of the first which fills its source."""
    fills = {one.destination: one for one in way.first.fields}
    return [fills[field.source], field] if field.source in fills else [field]


def _does(field: FieldMap, task: Task) -> tuple[object, ...]:
    """What a field's rule does; equal for two that do the same."""
    entries = task.value_maps[field.value_map].entries if field.value_map else None
    told = tuple(sorted(entries.items())) if entries is not None else None
    return (field.source, field.map, field.value, told, field.blank_default, field.transform, field.truncate)


def _told(chain: list[FieldMap], way: Way) -> tuple[object, ...]:
    """What two legs do together, where one of them only copies; else something that no direct field does."""
    if len(chain) == 1:
        return _does(chain[0], way.second) if chain[0].source is None else (chain[0].source, "in the store only")
    first, second = chain
    if second.map == "copy" and second.truncate is None:
        return _does(first, way.first)
    if first.map == "copy" and first.truncate is None:
        return (first.source, *_does(second, way.second)[1:])
    return (_does(first, way.first), _does(second, way.second))
