"""What Delta must say of a table, by its declaration, and where a table is another."""

from __future__ import annotations

import polars as pl
from deltalake import DeltaTable, Field, Schema
from deltalake.schema import PrimitiveType

from p2c_lib.store.entities import Declared

__all__ = ["delta_schema", "schema_problems"]

_DELTA = {pl.String(): "string", pl.Int32(): "integer", pl.Boolean(): "boolean", pl.Date(): "date"}


def delta_schema(declared: Declared) -> Schema:
    """The columns of an entity's table, as Delta writes them."""
    return Schema([Field(name, PrimitiveType(_delta_type(want))) for name, want in declared.schema.items()])


def schema_problems(declared: Declared, table: DeltaTable) -> list[str]:
    """Say where a table is not as declared; empty when it is."""
    if table.protocol().min_reader_version > 1:
        return [f"{declared.name}: the table asks for a newer reader than Delta's first; another program changed it"]
    have = {column.name: column.type for column in table.schema().fields}
    want = {column.name: column.type for column in delta_schema(declared).fields}
    problems = [f"{declared.name} lacks column '{name}'" for name in want if name not in have]
    problems += [f"{declared.name} has column '{name}', which is not declared" for name in have if name not in want]
    problems += [
        f"{declared.name}.{name} is {have[name].type}, declared as {kind.type}"
        for name, kind in want.items()
        if name in have and have[name] != kind
    ]
    return problems


def _delta_type(want: pl.DataType) -> str:
    if isinstance(want, pl.Decimal):
        return f"decimal({want.precision},{want.scale})"
    return "timestamp" if isinstance(want, pl.Datetime) else _DELTA[want]
