"""Rows taken away: deleted or deactivated, what must stay held with the reason, children before their parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from p2c_lib.cells import as_text
from p2c_lib.connect import Client, Entity
from p2c_lib.errors import PlanError
from p2c_lib.model import Task
from p2c_lib.pull import ETAG, MONEY
from p2c_lib.write.documents import read_states, state_field
from p2c_lib.write.reading import keys_of, read_rows
from p2c_lib.write.saved import PLAN_COLUMNS

__all__ = ["GONE", "Off", "check_names", "extra_rows", "in_order", "off_switch", "removed"]

Kind = Literal["delete", "deactivate"]

GONE = pl.Schema(
    {"key": pl.String(), "target": pl.String(), "etag": pl.String(), "amount": MONEY, "currency": pl.String()}
)
"""Rows that are to be taken away: their key as one text, the set's own key as JSON, the ETag as seen."""


@dataclass(frozen=True)
class Off:
    """How rows of a set are switched off: the column, what it is when they are, how that is written."""

    column: str
    value: str
    wire: str


_OFF = {
    "accounts": Off("statecode", "1", "number"),
    "contacts": Off("statecode", "1", "number"),
    "products": Off("statecode", "1", "number"),  # retired
    "CDSContactPersons": Off("IsInactive", "Yes", "string"),
}
"""Documents are closed by what is done with them (cancel, lose), customers of F&O are put on hold by hand."""

_STORE = "the store keeps its rows: take it out by hand, or leave it"
_NO_ETAG = "the service gave no etag when the row was compared; compare again"


def off_switch(entity: str) -> Off | None:
    """How rows of a set are switched off; None where they are not by a plain update."""
    return _OFF.get(entity)


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """Put tasks in the order of removal.

    Args:
        tasks: In the order of running, parents first.

    Returns:
        Children first; but the lines of documents right after their headers: these take their lines along, and a line
        that goes before its header gives that header a new version.
    """
    names = {task.name for task in tasks}
    back = [task for task in reversed(tasks) if task.tie_out is None or task.tie_out.header not in names]
    lines = {task.tie_out.header: task for task in tasks if task.tie_out is not None}
    return [one for task in back for one in (task, lines.get(task.name)) if one is not None]


def extra_rows(place: Path, task: Task, entity: Entity) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that a task found at the destination alone.

    Args:
        place: The task's folder in the run.
        task: The task.
        entity: Its destination.

    Returns:
        Columns of `GONE`; and their fields as they stand: ``key``, ``field``, ``before``.
    """
    rows = pl.read_parquet(place / "rows.parquet").filter(pl.col("outcome") == "extra")
    found = pl.read_parquet(place / "found.parquet")[rows["destination_row"]]
    target = found.select(pl.struct(as_text(n, found.schema[n]).alias(n) for n in entity.key).struct.json_encode())
    gone = rows.select("key", "amount", "currency").with_columns(
        target=target.to_series(), etag=found[ETAG].cast(pl.String)
    )
    names = [field.destination for field in task.fields if field.is_compared]
    texts = found.select(rows["key"], *(as_text(n, found.schema[n]).alias(n) for n in dict.fromkeys(names)))
    values = texts.unpivot(index="key", variable_name="field", value_name="before")
    return gone.select(GONE.names()).cast(GONE), values


def removed(
    kind: Kind,
    task: Task,
    gone: pl.DataFrame,
    values: pl.DataFrame,
    *,
    offset: int,
    client: Client,
    tasks: Sequence[Task],
    leaving: Mapping[str, pl.Series],
    held: pl.Series | None = None,
) -> pl.DataFrame:
    """Make the actions that take rows away.

    Args:
        kind: What is done.
        task: Whose rows they are.
        gone: Columns of `GONE`.
        values: ``key``, ``field``, ``before``: their fields as they stand.
        offset: Number of the first action.
        client: Of the destination; read from.
        tasks: All that are known: their fields say what refers to what.
        leaving: By set, the targets of the rows that the same plan deletes before these.
        held: Why a row must stay whatever else, null where nothing is known yet.

    Returns:
        Columns of `PLAN_COLUMNS`. Held are rows of closed documents, those that others refer to, and those that cannot
        be switched off.
    """
    if gone.is_empty():
        return PLAN_COLUMNS.to_frame()
    entity = client.entity(task.destination.entity)
    gone = gone.with_row_index("order", offset)
    why = held if held is not None else pl.repeat(None, gone.height, dtype=pl.String, eager=True)
    if task.destination.system == "cds":
        why = why.fill_null(_STORE)
    else:
        why = _or(why, gone.select(pl.when(pl.col("etag").is_null()).then(pl.lit(_NO_ETAG))).to_series())
        why = _or(why, _closed(client, task, gone, values))
        if kind == "delete":
            why = _or(why, _needed(client, task, entity, gone, values, tasks, leaving))
    base = gone.with_columns(
        held=why,
        task=pl.lit(task.name),
        system=pl.lit(task.destination.system),
        entity=pl.lit(entity.name),
        action=pl.lit(kind),
    )
    if kind == "deactivate":
        return _switched(client, entity, base)
    fields = base.join(values, on="key", how="left", maintain_order="left")
    first = pl.col("order").is_first_distinct()  # a row's worth is counted once
    return _shaped(fields.with_columns(wire=pl.lit("computed"), amount=pl.when(first).then("amount")))


def _or(one: pl.Series, other: pl.Series) -> pl.Series:
    return one.zip_with(one.is_not_null(), other)


def _shaped(rows: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None, dtype).alias(n) for n, dtype in PLAN_COLUMNS.items() if n not in rows.columns]
    return rows.with_columns(missing).select(PLAN_COLUMNS.names()).cast(PLAN_COLUMNS)


def _switched(client: Client, entity: Entity, base: pl.DataFrame) -> pl.DataFrame:
    """Deactivations: one field each, its value as it stands looked up now; rows that are off already are left out."""
    off = _OFF.get(entity.name)
    if off is None:
        words = f"rows of {entity.name} have no state that a plan can switch off: delete them by name, or do it there"
        return _shaped(base.with_columns(held=pl.coalesce("held", pl.lit(words)), wire=pl.lit("string")))
    keys = pl.concat([base.select("order"), keys_of(base["target"])], how="horizontal")
    found = read_rows(client, entity, keys, [off.column])
    stands = found.select("order", before=as_text(off.column, found.schema[off.column]))
    rows = base.join(stands, on="order", how="left", maintain_order="left")
    rows = rows.filter(pl.col("before").ne_missing(off.value))
    return _shaped(
        rows.with_columns(
            field=pl.lit(off.column),
            property=pl.lit(off.column),
            after=pl.lit(off.value),
            was="before",
            sent=pl.lit(off.value),
            wire=pl.lit(off.wire),
        )
    )


def _closed(client: Client, task: Task, gone: pl.DataFrame, values: pl.DataFrame) -> pl.Series:
    """Why nothing of a document can be changed: it is closed, posted, or F&O's own by now."""
    where = state_field(task)
    if where is None:
        return pl.repeat(None, gone.height, dtype=pl.String, eager=True)
    field, entity, column = where
    numbers = values.filter(pl.col("field") == field).select("key", number="before")
    mine = gone.select("key").join(numbers, on="key", how="left", maintain_order="left")["number"]
    states = read_states(client, entity, column, mine)
    document = mine.str.strip_chars().str.to_lowercase().to_frame("document")
    return document.join(states, on="document", how="left", maintain_order="left")["closed"]


def _needed(
    client: Client,
    task: Task,
    entity: Entity,
    gone: pl.DataFrame,
    values: pl.DataFrame,
    tasks: Sequence[Task],
    leaving: Mapping[str, pl.Series],
) -> pl.Series:
    """Why a row must stay: rows that are not deleted with it refer to it, as the fields of the templates tell."""
    why = pl.repeat(None, gone.height, dtype=pl.String, eager=True)
    own = keys_of(gone["target"])
    for column, other, name in _references(task, tasks, client):
        there = client.entity(other)
        wanted = own[entity.key[0]] if column is None else _value(gone, values, column)
        asked = gone.select("order").with_columns(wanted.alias(name))
        found = read_rows(client, there, asked, there.key)
        target = pl.struct(as_text(n, found.schema[n]).alias(n) for n in there.key).struct.json_encode()
        left = found.with_columns(target=target)
        if other in leaving:
            left = left.filter(~pl.col("target").is_in(leaving[other].implode()))
        words = f"rows of {other} refer to it ({name}): delete them first, or deactivate it"
        hit = gone.select(pl.when(pl.col("order").is_in(left["order"].unique().implode())).then(pl.lit(words)))
        why = _or(why, hit.to_series())
    return why


def _references(task: Task, tasks: Sequence[Task], client: Client) -> list[tuple[str | None, str, str]]:
    """What can refer to rows of a task: the column referred to (None: the id), the set, and its column there."""
    found: dict[tuple[str | None, str, str], None] = {}
    mine = (task.destination.system, task.destination.entity)
    for other in tasks:
        if other.destination.system != mine[0] or (other.tie_out is not None and other.tie_out.header == task.name):
            continue  # lines go with their header
        columns = client.entity(other.destination.entity).columns
        for field in other.fields:
            for parent in field.parent:
                if parent.entity != mine[1]:
                    continue
                if "." not in field.destination:
                    found[parent.column, other.destination.entity, field.destination] = None
                elif (lookup := f"_{field.destination.split('.')[0]}_value") in columns:
                    found[None, other.destination.entity, lookup] = None
    return list(found)


def _value(gone: pl.DataFrame, values: pl.DataFrame, column: str) -> pl.Series:
    """A column of the rows as they stand; their key where it is not among the fields."""
    mine = values.filter(pl.col("field") == column).select("key", value="before").unique("key")
    joined = gone.select("key").join(mine, on="key", how="left", maintain_order="left")
    return joined["value"] if mine.height else gone["key"]


def check_names(what: str, names: Sequence[str], tasks: Sequence[Task]) -> None:
    """Raise `PlanError` for names of tasks that this plan does not have."""
    unknown = [name for name in names if name not in {task.name for task in tasks}]
    if unknown:
        known = ", ".join(task.name for task in tasks)
        raise PlanError(f"--{what} {', '.join(unknown)}: not among the tasks of this plan; they are {known}")
