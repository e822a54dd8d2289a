"""Names to ids: what a lookup must be bound to, found by reading the rows it can point to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from p2c_lib.connect import Client, Entity, Lookup, Metadata
from p2c_lib.errors import SchemaError
from p2c_lib.pull import lookup_path, pull

__all__ = ["Resolved", "resolve"]

_AGREE = (
    ("uoms", "_uomscheduleid_value", "uomschedules", "id"),
    ("uoms", "_uomscheduleid_value", "products", "_defaultuomscheduleid_value"),
    ("pricelevels", "_transactioncurrencyid_value", "transactioncurrencies", "id"),
)
"""What the platform insists on: a unit is of the row's unit group, or of its product's; a price list of the row's
currency. Set, column, the other set that the row points to, column there. Nothing else has to agree: a product may
be sold in another currency than its own, and in another unit."""


@dataclass(frozen=True)
class Resolved:
    """A lookup path over n rows.

    Attributes:
        ids: ``/uoms(<guid>)``, null where blank or not found.
        problems: Why a value that is there was not found, null where it was.
        navs: The navigation property to bind, null where not found.
        several: Whether more than one row fits.
    """

    ids: pl.Series
    problems: pl.Series
    navs: pl.Series
    several: pl.Series


@dataclass(frozen=True)
class _Reference:
    """One set that a path can point to: its rows as ``id``, ``normal`` and the columns that tell namesakes apart.

    Attributes:
        path: ``defaultuomid.name``.
        lookup: The lookup that points to this set.
        column: The column of the set that holds the name.
        rows: The set's rows.
        agrees: Column of ``rows`` to the (path, column) of the row's other reference that it must agree with.
    """

    path: str
    lookup: Lookup
    column: str
    rows: pl.DataFrame
    agrees: Mapping[str, tuple[str, str]]


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
        By path, in the row order of ``wanted``. Names are compared trimmed and without case. A path to several kinds
        of rows (``customerid.Account(accountnumber).Contact(msdynce_contactnumber)``) is looked for among all of
        them. What the found row points to must agree with the row's other lookups where the platform says so.
    """
    found: dict[str, Resolved] = {}
    chosen: dict[str, list[tuple[Lookup, str]]] = {}
    for path in (path for path in paths if "." in path):
        steps = _steps(client, entity, path)
        if isinstance(steps, str):
            problem = pl.repeat(steps, wanted.height, dtype=pl.String, eager=True)
            nothing = pl.repeat(None, wanted.height, dtype=pl.String, eager=True)
            found[path] = Resolved(nothing, problem, nothing, problem.is_null())
        elif wanted.is_empty():
            nothing = pl.Series([], dtype=pl.String)
            found[path] = Resolved(nothing, nothing, nothing, nothing.is_null())
        else:
            chosen[path] = steps
    singles = {path: steps[0][0] for path, steps in chosen.items() if len(steps) == 1}
    references = [
        _read(client, metadata.entities[lookup.target], path, lookup, column, singles)
        for path, steps in chosen.items()
        for lookup, column in steps
    ]
    normal = wanted.select(pl.col(path).cast(pl.String).str.strip_chars().str.to_lowercase() for path in chosen)
    normal = normal.with_columns(pl.when(pl.all() != "").then(pl.all()))
    # First by name alone; then, knowing what the neighbours point to, among those that agree with them.
    alone = {ref.path: (ref, _match(ref, normal, {})["id"]) for ref in references if ref.path in singles}
    for path in chosen:
        tables = []
        for ref in (ref for ref in references if ref.path == path):
            neighbours = {column: _told(*alone[other], theirs) for column, (other, theirs) in ref.agrees.items()}
            tables.append((ref, _match(ref, normal, neighbours)))
        found[path] = _together(tables, wanted[path])
    return found


def _steps(client: Client, entity: Entity, path: str) -> list[tuple[Lookup, str]] | str:
    """The sets that a path can point to and the column of each, or why it cannot be set by name."""
    try:
        read = lookup_path(client, entity, path)
    except SchemaError as error:
        return f"it cannot be set by name: {error}"
    if any("." in column for column in read.columns):
        return f"{path} of {entity.name} leads over two lookups; it cannot be set by name"
    return list(zip(read.lookups, read.columns, strict=True))


def _read(
    client: Client, target: Entity, path: str, lookup: Lookup, column: str, singles: Mapping[str, Lookup]
) -> _Reference:
    others = {x.target: other for other, x in singles.items() if other != path}
    rules = [rule for rule in _AGREE if rule[0] == target.name and rule[2] in others and rule[1] in target.columns]
    agrees = {mine: (others[other], theirs) for _, mine, other, theirs in rules}
    told = [theirs for name, _, other, theirs in _AGREE if other == target.name and theirs != "id"]
    columns = [name for name in dict.fromkeys([*agrees, *told]) if name in target.columns]
    rows = pull(client, target.name, [column, *columns])
    rows = rows.select(
        *columns, id=pl.col(target.key[0]), normal=pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase()
    )
    return _Reference(path, lookup, column, rows.filter(pl.col("normal").is_not_null()), agrees)


def _told(ref: _Reference, ids: pl.Series, column: str) -> pl.Series:
    """A column of the rows that were found, null where none was."""
    if column == "id":
        return ids
    rows = ref.rows.select("id", column).unique("id")
    return ids.to_frame("id").join(rows, on="id", how="left", maintain_order="left")[column]


def _match(ref: _Reference, normal: pl.DataFrame, neighbours: Mapping[str, pl.Series]) -> pl.DataFrame:
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


def _together(tables: Sequence[tuple[_Reference, pl.DataFrame]], names: pl.Series) -> Resolved:
    """One answer of all sets that a path can point to: only one row of one of them may be meant."""
    ids, navs, named, fits = [], [], [], []
    for ref, table in tables:
        ids.append(table.select(pl.format("/{}({})", pl.lit(ref.lookup.target), pl.col("id")).alias("id"))["id"])
        navs.append(table.select(nav=pl.when(pl.col("id").is_not_null()).then(pl.lit(ref.lookup.nav)))["nav"])
        named.append(table["named"].fill_null(0))
        fits.append(table["fits"].fill_null(0))
    frame = pl.DataFrame(
        {
            "id": pl.select(pl.coalesce(ids)).to_series(),
            "nav": pl.select(pl.coalesce(navs)).to_series(),
            "named": pl.select(pl.sum_horizontal(named)).to_series(),
            "fits": pl.select(pl.sum_horizontal(fits)).to_series(),
            "normal": tables[0][1]["normal"],
            "name": names,
        }
    )
    one = pl.col("fits") == 1
    answers = frame.select(id=pl.when(one).then("id"), nav=pl.when(one).then("nav"))
    return Resolved(answers["id"], _problems([ref for ref, _ in tables], frame), answers["nav"], frame["fits"] > 1)


def _problems(refs: Sequence[_Reference], frame: pl.DataFrame) -> pl.Series:
    said = pl.format("'{}'", pl.col("name"))
    where = " or ".join(f"{ref.lookup.target} has the {ref.column}" for ref in refs)
    have = " or ".join(f"{ref.lookup.target} have the {ref.column}" for ref in refs)
    others = dict.fromkeys(other.split(".")[0] for ref in refs for other, _ in ref.agrees.values())
    among = f" that its other columns ({', '.join(others)}) allow"
    return frame.select(
        problem=pl.when(pl.col("normal").is_null() | (pl.col("fits") == 1))
        .then(None)
        .when(pl.col("named") == 0)
        .then(pl.format(f"no row of {where} {{}}; make it, or correct the value map", said))
        .when(pl.col("fits") == 0)
        .then(pl.format(f"no row of {where} {{}}{among}", said))
        .otherwise(pl.format(f"{{}} rows of {have} {{}}; which one is meant?", "fits", said))
    )["problem"]
