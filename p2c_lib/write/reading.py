"""Rows of a service looked up by their keys, many at once: in filters of some keys each, or with all of their set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from p2c_lib.cells import as_text
from p2c_lib.connect import Client, Entity, literal
from p2c_lib.connect.pages import dtype
from p2c_lib.pull import ETAG, pull
from p2c_lib.store import StoreClient

__all__ = ["addressed", "bound_to", "keys_of", "read_rows"]

_AT_ONCE = {"sales": 50, "fno": 20}
"""Keys in one filter: F&O takes queries of 2,048 characters and filters of 100 nodes, Sales far longer ones."""
_FEW = 500  # so many keys are asked for by filter, whatever the set holds
_WORTH = 25  # a set of more rows than so many times the keys is not read whole for them


def keys_of(targets: pl.Series) -> pl.DataFrame:
    """Read keys as plans have them.

    Args:
        targets: JSON objects with the same columns, one a row.

    Returns:
        A String column for each column of the key.
    """
    if targets.is_empty():
        return pl.DataFrame()
    names = list(pl.Series([targets[0]]).str.json_decode().struct.fields)
    values = targets.str.json_path_match
    return pl.DataFrame([values(f"$['{name}']").alias(name) for name in names])


def read_rows(client: Client, entity: Entity, keys: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Look rows up by key.

    Args:
        client: Of their system; may be that of the store.
        entity: Their set.
        keys: Shape (n, 1 + k): ``order`` (UInt32), a number for each row asked for, and the columns of a key as text;
            the entity's own key, or columns that tell its rows apart.
        columns: Columns and paths wanted beside the entity's key and the ETag.

    Returns:
        ``order``, the entity's key, ``@odata.etag`` and the columns: a row for each row found, none where there is
        none, several where several have the key. Keys are compared trimmed and without case.

    Raises:
        ConnectError: Or a child of it.
    """
    names = [name for name in keys.columns if name != "order"]
    wanted = list(dict.fromkeys([*columns, *names]))
    keys = keys.drop_nulls()
    if not names or keys.is_empty():
        kept = dict.fromkeys([*entity.key, ETAG, *columns])
        kinds = {n: dtype(entity.column(n)) if n in entity.columns else pl.String() for n in kept}
        return pl.DataFrame(schema={"order": pl.UInt32(), **kinds})
    if isinstance(client, StoreClient) or (keys.height > _FEW and _is_small(client, entity, keys.height)):
        return _joined(keys, pull(client, entity.name, wanted), names, entity, columns)
    found = []
    if keys.height > _FEW and (within := _range(entity, keys, names)):
        found.append(_joined(keys, pull(client, entity.name, wanted, filter=within), names, entity, columns))
        # The service may sort otherwise than we do: what seems to be gone is asked for by name.
        keys = keys.join(found[0], on="order", how="anti", maintain_order="left")
    if keys.height or not found:
        parts = list(keys.iter_slices(_AT_ONCE[client.system]))
        with ThreadPoolExecutor(client.limits.parallel) as pool:
            frames = pool.map(lambda part: _by_name(client, entity, part, names, wanted), parts)
        found.append(_joined(keys, pl.concat(frames), names, entity, columns))
    return pl.concat(found)


def addressed(client: Client, entity: Entity, actions: pl.DataFrame) -> pl.DataFrame:
    """Find the rows of updates that a plan could not name, as it makes them itself.

    Args:
        client: Of their system.
        entity: Their set.
        actions: ``order``, ``target`` (JSON: the task's key) and ``etag``, among others.

    Returns:
        The actions whose row is there, once: ``target`` is the set's own key, ``etag`` the row's version.
    """
    keys = pl.concat([actions.select("order"), keys_of(actions["target"])], how="horizontal")
    found = read_rows(client, entity, keys, [])
    key = pl.struct(as_text(name, found.schema[name]).alias(name) for name in entity.key).struct.json_encode()
    told = found.select("order", target=key, etag=pl.col(ETAG)).unique("order", keep="none")
    rest = actions.drop("target", "etag").join(told, on="order", how="inner", maintain_order="left")
    return rest.select(actions.columns)


def bound_to(client: Client, entity: Entity, column: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Say what a lookup of rows points to.

    Args:
        client: Of Sales.
        entity: The rows' set.
        column: The lookup's column, ``_customerid_value``.
        rows: ``order`` and ``target`` (JSON: the set's key).

    Returns:
        ``order`` and ``bound``, ``/accounts(<guid>)``; null where it points nowhere, no row where there is none.
    """
    keys = pl.concat([rows.select("order"), keys_of(rows["target"])], how="horizontal")
    found = read_rows(client, entity, keys, [column]).select("order", id=column)
    sets = list(dict.fromkeys(lookup.target for lookup in entity.lookups if lookup.column == column))
    parts = []
    for name in sets:
        mine = found.drop_nulls()
        if len(sets) > 1:  # which of them has the row: an id is in one set only
            target = client.entity(name)
            there = read_rows(client, target, mine.rename({"id": target.key[0]}), [])
            mine = mine.join(there, on="order", how="semi")
        parts.append(mine.select("order", bound=pl.format("/{}({})", pl.lit(name), "id")))
    told = pl.concat(parts) if parts else pl.DataFrame(schema={"order": pl.UInt32, "bound": pl.String})
    return found.select("order").join(told, on="order", how="left", maintain_order="left")


def _by_name(client: Client, entity: Entity, part: pl.DataFrame, names: list[str], wanted: list[str]) -> pl.DataFrame:
    return pull(client, entity.name, wanted, filter=" or ".join(_clauses(entity, part, names)), few=True)


def _joined(
    keys: pl.DataFrame, rows: pl.DataFrame, names: Sequence[str], entity: Entity, columns: Sequence[str]
) -> pl.DataFrame:
    """The rows with the numbers of the keys that they have."""
    on = [f"{name}?" for name in names]
    kept = ["order", *dict.fromkeys([*entity.key, ETAG, *columns])]
    asked = keys.select("order", *_normal(keys, names))
    found = asked.join(rows.with_columns(_normal(rows, names)), on=on, how="inner", maintain_order="left")
    return found.select(kept)


def _normal(frame: pl.DataFrame, names: Sequence[str]) -> list[pl.Expr]:
    return [as_text(n, frame.schema[n]).str.strip_chars().str.to_lowercase().alias(f"{n}?") for n in names]


def _clauses(entity: Entity, part: pl.DataFrame, names: Sequence[str]) -> Iterator[str]:
    kinds = {name: entity.column(name).edm_type for name in names}
    for row in part.select(names).iter_rows(named=True):  # as many as go into one request
        said = " and ".join(f"{name} eq {literal(value, kinds[name])}" for name, value in row.items())
        yield f"({said})" if len(names) > 1 else said


def _is_small(client: Client, entity: Entity, keys: int) -> bool:
    """Whether a set is so small that reading all of it takes less than asking for the keys."""
    rows = client.count_capped(entity.name, client.company_filter(entity))
    if rows <= keys * _WORTH and client.system == "fno":
        return True
    return client.count(entity.name) <= keys * _WORTH if client.system == "sales" else False


def _range(entity: Entity, keys: pl.DataFrame, names: Sequence[str]) -> str | None:
    """A filter that lets all keys through and, of a load in ranges, little else; None where keys have no order."""
    for name in names:
        column = entity.columns[name]
        if name != "dataAreaId" and column.edm_type == "Edm.String" and not column.enum:
            low, high = (literal(value, column.edm_type) for value in (keys[name].min(), keys[name].max()))
            return f"{name} ge {low} and {name} le {high}"
    return None
