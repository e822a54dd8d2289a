"""Names to ids: what a lookup must be bound to, found by reading the rows it can point to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from p2c_lib.connect import Client, Entity, Metadata
from p2c_lib.pull import pull

__all__ = ["Resolved", "resolve"]


@dataclass(frozen=True)
class Resolved:
    """A lookup path over n rows: ``ids`` (``/uoms(<guid>)``, null where blank or not found) and ``problems`` (why
    a value that is there was not found, null where it was)."""

    ids: pl.Series
    problems: pl.Series


@dataclass(frozen=True)
class _Reference:
    """One path (``defaultuomid.name``), the set it points to, and that set's rows: ``id``, ``normal``, siblings."""

    path: str
    column: str
    target: str
    rows: pl.DataFrame
    siblings: dict[str, str]


def resolve(
    client: Client, metadata: Metadata, entity: Entity, paths: Sequence[str], wanted: pl.DataFrame
) -> dict[str, Resolved]:
    """Find the rows that lookups must point to.

    Args:
        client: Of the destination; read from.
        metadata: Of the destination.
        entity: The entity that has the lookups.
        paths: Destination columns of a task; those without a dot are passed over.
        wanted: Shape (n, ...), a String column for each path: the names to find.

    Returns:
        By path, in the row order of ``wanted``. Names are compared trimmed and without case. Where the found row
        itself points to a set that another path of the row points to (a unit to its unit group), both must agree.
    """
    dotted = [path for path in paths if "." in path]
    found: dict[str, Resolved] = {}
    references: list[_Reference] = []
    for path in dotted:
        lookups = [x for x in entity.lookups if x.column == f"_{path.split('.')[0]}_value"]
        if len(lookups) != 1 or "(" in path or path.count(".") > 1:
            many = "points to several kinds of rows" if len(lookups) > 1 or "(" in path else "is no lookup"
            problem = f"{path.split('.')[0]} of {entity.name} {many}; it cannot be set by name"
            nothing = pl.repeat(None, wanted.height, dtype=pl.String, eager=True)
            found[path] = Resolved(nothing, pl.repeat(problem, wanted.height, dtype=pl.String, eager=True))
    if wanted.is_empty():
        return found | {path: Resolved(_none(0), _none(0)) for path in dotted if path not in found}
    singles = {
        path: next(x for x in entity.lookups if x.column == f"_{path.split('.')[0]}_value")
        for path in dotted
        if path not in found
    }
    for path, lookup in singles.items():
        others = {x.target: other for other, x in singles.items() if other != path}
        references.append(_read(client, metadata.entities[lookup.target], path, others))
    normal = wanted.select(pl.col(path).cast(pl.String).str.strip_chars().str.to_lowercase() for path in singles)
    normal = normal.with_columns(pl.when(pl.all() != "").then(pl.all()))
    # First by name alone; then, knowing what the neighbours point to, among those that agree with them.
    alone = {ref.path: _match(ref, normal, {})["id"] for ref in references}
    for ref in references:
        table = _match(ref, normal, {column: alone[other] for column, other in ref.siblings.items()})
        found[ref.path] = Resolved(_address(ref, table), _problems(ref, table, wanted[ref.path]))
    return found


def _read(client: Client, target: Entity, path: str, others: dict[str, str]) -> _Reference:
    column = path.split(".")[1]
    # Only links that are part of what the row is: who made it, or whose it is, says nothing about a name.
    siblings = {
        x.column: others[x.target]
        for x in target.lookups
        if x.target in others and target.columns[x.column].allow_edit_on_create
    }
    rows = pull(client, target.name, [column, *siblings])
    key = target.key[0]
    rows = rows.select(
        *siblings, id=pl.col(key), normal=pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase()
    )
    return _Reference(path, column, target.name, rows.filter(pl.col("normal").is_not_null()), siblings)


def _match(ref: _Reference, normal: pl.DataFrame, neighbours: dict[str, pl.Series]) -> pl.DataFrame:
    """For each row: ``id`` (null unless exactly one fits), ``named`` and ``fits``: how many have the name, and fit."""
    asked = pl.DataFrame({"normal": normal[ref.path], **{f"{name}?": ids for name, ids in neighbours.items()}})
    distinct = asked.unique()
    pairs = distinct.join(ref.rows, on="normal", how="left")
    agrees = [
        pl.col(f"{name}?").is_null() | (pl.col(name) == pl.col(f"{name}?")).fill_null(False) for name in neighbours
    ]
    fits = pl.all_horizontal(pl.col("id").is_not_null(), *agrees)
    counted = pairs.group_by(asked.columns).agg(
        named=pl.col("id").drop_nulls().n_unique(),
        fits=pl.col("id").filter(fits).n_unique(),
        id=pl.col("id").filter(fits).first(),
    )
    table = asked.join(counted, on=asked.columns, how="left", nulls_equal=True, maintain_order="left")
    return table.with_columns(id=pl.when(pl.col("fits") == 1).then("id"))


def _address(ref: _Reference, table: pl.DataFrame) -> pl.Series:
    return table.select(pl.format("/{}({})", pl.lit(ref.target), pl.col("id")).alias("sent"))["sent"]


def _problems(ref: _Reference, table: pl.DataFrame, names: pl.Series) -> pl.Series:
    said = pl.format("'{}'", pl.col("name"))
    among = f" that its other columns ({', '.join(p.split('.')[0] for p in ref.siblings.values())}) allow"
    return table.with_columns(name=names).select(
        problem=pl.when(pl.col("normal").is_null() | (pl.col("fits") == 1))
        .then(None)
        .when(pl.col("named") == 0)
        .then(pl.format(f"no row of {ref.target} has the {ref.column} {{}}; make it, or correct the value map", said))
        .when(pl.col("fits") == 0)
        .then(pl.format(f"no row of {ref.target} has the {ref.column} {{}}{among}", said))
        .otherwise(
            pl.format(f"{{}} rows of {ref.target} have the {ref.column} {{}}; which one is meant?", "fits", said)
        )
    )["problem"]


def _none(height: int) -> pl.Series:
    return pl.repeat(None, height, dtype=pl.String, eager=True)
