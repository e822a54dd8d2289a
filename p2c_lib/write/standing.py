"""How rows stand at the service right now, held against what was, or is to be, sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from p2c_lib.cells import as_text
from p2c_lib.connect import Client, Entity, literal
from p2c_lib.pull import ETAG, pull

__all__ = ["Standing", "read_standing"]

_AT_ONCE = 20  # keys in one filter: long enough to save requests, short enough for every URL limit


@dataclass(frozen=True)
class Standing:
    """One key at the service.

    Attributes:
        rows: Rows that have the key: 0, 1, or more where the service does not keep it unique.
        etag: Etag of the one row.
        key: The entity's own key of the one row.
        values: The asked columns of the one row as text.
        agrees: Whether every one of them is what was asked for.
    """

    rows: int
    etag: str | None = None
    key: Mapping[str, Any] | None = None
    values: Mapping[str, str | None] | None = None
    agrees: bool = False

    def has(self, key: Mapping[str, str]) -> bool:
        """Whether the one row has this key."""
        mine = self.key or {}
        return all(_normal(mine.get(name)) == _normal(value) for name, value in key.items())


def read_standing(
    client: Client, entity: Entity, asked: Sequence[tuple[int, Mapping[str, Any], Mapping[str, str | None]]]
) -> dict[int, Standing]:
    """Look rows up by key.

    Args:
        client: Of their system.
        entity: Their entity set.
        asked: Number, key (columns to values) and wanted values (columns or paths to text) of each.

    Returns:
        By number. Keys are compared trimmed and without case, values as the service keeps them: money to its
        decimal places, names of referenced rows without case, and on F&O texts up to where they were cut off.

    Raises:
        ConnectError: Or a child of it.
    """
    found: dict[int, Standing] = {}
    for at in range(0, len(asked), _AT_ONCE):
        found |= _read(client, entity, asked[at : at + _AT_ONCE])
    return found


def _read(
    client: Client, entity: Entity, asked: Sequence[tuple[int, Mapping[str, Any], Mapping[str, str | None]]]
) -> dict[int, Standing]:
    columns = list(dict.fromkeys(name for _, target, wanted in asked for name in (*target, *wanted)))
    clauses = dict.fromkeys(
        "(" + " and ".join(f"{n} eq {literal(v, entity.column(n).edm_type)}" for n, v in target.items()) + ")"
        for _, target, _ in asked
    )
    frame = pull(client, entity.name, columns, filter=" or ".join(clauses))
    # At most a few rows: those whose fate is in question.
    rows = frame.select(as_text(name, dtype).alias(name) for name, dtype in frame.schema.items()).to_dicts()
    found = {}
    for number, target, wanted in asked:
        same = [row for row in rows if all(_normal(row[name]) == _normal(value) for name, value in target.items())]
        if len(same) != 1:
            found[number] = Standing(len(same))
            continue
        row = same[0]
        found[number] = Standing(
            1,
            row[ETAG],
            {name: row[name] for name in entity.key},
            {name: row[name] for name in wanted},
            all(_agrees(entity, name, value, row[name], frame.schema[name]) for name, value in wanted.items()),
        )
    return found


def _normal(value: Any) -> str:
    return str("" if value is None else value).strip().casefold()


def _agrees(entity: Entity, name: str, wanted: str | None, found: str | None, dtype: pl.DataType) -> bool:
    if wanted == found:
        return True
    if wanted is None or found is None:
        return False
    if "." in name:
        return _normal(wanted) == _normal(found)
    column = entity.column(name)
    if dtype.is_decimal():
        if column.precision is None:
            return False
        return abs(Decimal(wanted) - Decimal(found)) <= Decimal("0.5").scaleb(-column.precision)
    # Only F&O's metadata knows no lengths, and only F&O cuts.
    return dtype == pl.String and column.max_length is None and len(found) >= 10 and wanted.startswith(found)
