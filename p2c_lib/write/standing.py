"""How rows stand at the service right now, and so what became of actions whose fate is in question."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import orjson
import polars as pl

from p2c_lib.cells import as_text
from p2c_lib.connect import Client, Entity
from p2c_lib.pull import ETAG
from p2c_lib.write.reading import keys_of, read_rows

__all__ = ["LOOKED", "Why", "is_unique", "look"]

Why = Literal["new", "doubt", "lost", "refused", "changed"]
"""Why a row is looked at: it was never sent, its fate is not known, its answer got lost, it was refused, or changed."""

LOOKED = pl.Schema({"order": pl.UInt32, "state": pl.String, "etag": pl.String, "found": pl.String, "reason": pl.String})
"""A row an action: ``state`` is null where it is to be sent; ``found`` is a JSON object of what stands there."""


def is_unique(entity: Entity, names: tuple[str, ...]) -> bool:
    """Say whether the service itself refuses a second row with these key columns; if not, it is asked first.

    Args:
        entity: The set.
        names: Columns of the key.

    Returns:
        True when they hold a key of the set.
    """
    keys = [set(key) - {"dataAreaId"} for key in (entity.key, *entity.alternate_keys)]
    return any(key and key <= set(names) for key in keys)


def look(client: Client, entity: Entity, actions: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Read the rows of actions and say what became of each.

    Args:
        client: Of their system.
        entity: Their set.
        actions: All creates, or all others: ``order``, ``action``, ``target``, ``etag``, ``id`` and ``why`` (`Why`).
        cells: Of these actions: ``order``, ``field``, ``before``, ``after``, what is to be judged alone.

    Returns:
        Columns of `LOOKED`, a row an action. Keys are compared trimmed and without case, values as the service keeps
        them: money to its decimal places, names of referenced rows without case, and on F&O texts up to where they
        were cut off.

    Raises:
        ConnectError: Or a child of it.
    """
    keys = keys_of(actions["target"])
    columns = cells["field"].unique(maintain_order=True).to_list()
    rows = read_rows(client, entity, keys.with_columns(order=actions["order"]), columns)
    texts = rows.select("order", *(as_text(n, t).alias(n) for n, t in rows.schema.items() if n != "order"))
    by_order: dict[int, list[dict[str, Any]]] = {}
    for row in texts.iter_rows(named=True):
        by_order.setdefault(row["order"], []).append(row)
    wanted = cells.filter(pl.col("order").is_in(list(by_order)))
    told = wanted.select("order", "field", "before", "after").rows_by_key("order")
    looked = []
    for action in actions.iter_rows(named=True):
        same = by_order.get(action["order"], [])
        pairs = told.get(action["order"], [])
        state, reason = _judged(entity, action, same, pairs, rows.schema)
        seen = same[0] if len(same) == 1 and state else None
        found = orjson.dumps({name: seen[name] for name, *_ in pairs}).decode() if seen else None
        looked.append((action["order"], state, seen and seen[ETAG], found, reason))
    return pl.DataFrame(looked, schema=LOOKED, orient="row")


def _judged(
    entity: Entity,
    action: Mapping[str, Any],
    same: list[dict[str, Any]],
    pairs: list[tuple[str, str | None, str | None]],
    schema: pl.Schema,
) -> tuple[str | None, str | None]:
    """The state of an action by what stands at the service, with a reason; no state: send it."""
    why: Why = action["why"]
    if action["action"] == "delete":
        if not same:
            return "already", None
        if why in ("doubt", "lost", "refused") and same[0][ETAG] == action["etag"]:
            return ("failed" if why == "refused" else None), None
        return "conflict", "changed meanwhile"
    is_create = action["action"] == "create"
    if not same:
        if is_create:
            return ("failed" if why in ("refused", "changed") else None), None
        return "conflict", "the row is gone"
    if is_create and len(same) > 1:
        return "conflict", f"{len(same)} rows have this key"
    row = same[0]
    agrees = all(_agrees(entity, name, after, row[name], schema[name]) for name, _, after in pairs)
    if is_create:
        is_ours = action["id"] is not None and _normal(row[entity.key[0]]) == _normal(action["id"])
        if is_ours or agrees:
            return "already", None
        return "conflict", "a row with this key is there, with other values"
    if why in ("doubt", "lost") and row[ETAG] == action["etag"]:
        return None, None
    # What the service cut or rounded counts as written, but not what stood there before.
    is_untouched = any(row[name] == before != after for name, before, after in pairs)
    return ("already", None) if agrees and not is_untouched else ("conflict", "changed meanwhile")


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
