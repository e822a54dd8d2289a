"""A page of JSON to a typed frame, with every digit of its numbers.

The fast way cuts the ``value`` array into one row a line for Polars' NDJSON reader. That reader takes numbers through
64-bit floats, exact up to 15 significant digits; a page that may hold longer ones has its decimals turned into JSON
texts first, which the reader leaves alone. A page that cannot be cut (pretty-printed, without etags, with nested lists)
is read by the standard library, slower and exact too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any

import polars as pl

from p2c_lib.connect.metadata import Column
from p2c_lib.errors import SchemaError, ServiceError

__all__ = ["ETAG", "MONEY", "dtype", "rows"]

MONEY = pl.Decimal(38, 12)
"""Every decimal column: 26 digits before the point, 12 after it."""
ETAG = "@odata.etag"

_MOMENT = pl.Datetime("us", "UTC")
_DTYPES: dict[str, pl.DataType] = {
    "Edm.String": pl.String(),
    "Edm.Guid": pl.String(),
    "Edm.Boolean": pl.Boolean(),
    "Edm.Byte": pl.Int32(),
    "Edm.SByte": pl.Int32(),
    "Edm.Int16": pl.Int32(),
    "Edm.Int32": pl.Int32(),
    "Edm.Int64": pl.Int64(),
    "Edm.Decimal": MONEY,
    "Edm.Double": pl.Float64(),
    "Edm.Single": pl.Float64(),
    "Edm.Date": pl.Date(),
    "Edm.DateTimeOffset": _MOMENT,
}
_HEAD, _ROW, _SPLIT = b'"value":[', b'},{"@odata.etag"', b'}\n{"@odata.etag"'
# A run of 14 digits and points, wherever it stands, may be a number that a float does not give back. Up to 13 digits
# are safe, with an exponent too. Translated first: a regular expression takes ten times as long, holding the GIL.
_RUNS = bytes(48 if chr(code) in "0123456789." else 32 for code in range(256))
_LONG = b"0" * 14
_NUMBER = rb"\s*:\s*(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"


def dtype(column: Column) -> pl.DataType:
    """Give the dtype that a column has in a frame.

    Args:
        column: Of the live metadata.

    Returns:
        String for texts, Guids and enums, `MONEY` for decimals, and so on.

    Raises:
        SchemaError: It is a collection or complex value, which has no place in a frame.
    """
    if column.enum:
        return pl.String()
    try:
        return _DTYPES[column.edm_type]
    except KeyError:
        raise SchemaError(f"column {column.name} is {column.edm_type}, which cannot be pulled into a frame") from None


def rows(body: bytes, schema: Mapping[str, pl.DataType], where: str) -> pl.DataFrame:
    """Read the rows of a page.

    Args:
        body: The page as sent, ``{"@odata.context":..., "value":[...]}``.
        schema: Columns and dtypes as `dtype` gives them; other properties are dropped, absent ones are null.
        where: What is read, for messages.

    Returns:
        A frame of exactly these columns and dtypes, a row an element of ``value``.

    Raises:
        SchemaError: A value does not fit its column, or holds more than 12 decimal places.
        ServiceError: The body is no such page.
    """
    wire = {name: _wire(kind) for name, kind in schema.items()}
    frame = _fast(body, schema, wire)
    if frame is None:
        frame = _slow(body, schema, wire, where)
    return _typed(frame, schema, where)


def _wire(kind: pl.DataType) -> pl.DataType:
    """Decimals and times travel as text until the page is cut."""
    if kind in (pl.Boolean(), pl.Float64()):
        return kind
    return pl.Int64() if kind.is_integer() else pl.String()


def _fast(body: bytes, schema: Mapping[str, pl.DataType], wire: Mapping[str, pl.DataType]) -> pl.DataFrame | None:
    """Read a page that can be cut; None for one that cannot."""
    head = body.find(_HEAD)
    end = len(body) - 2 if body.endswith(b"]}") else body.rfind(b'],"@')
    if head < 0 or end < head + len(_HEAD):
        return None
    cut = body[head + len(_HEAD) : end]
    if not cut:
        return pl.DataFrame(schema=dict(wire))
    if not cut.startswith(b'{"@odata.etag"'):
        return None
    lines = cut.replace(_ROW, _SPLIT)
    count = 1 + cut.count(_ROW)
    if _LONG in lines.translate(_RUNS):
        names = b"|".join(re.escape(name.encode()) for name, kind in schema.items() if kind.is_decimal())
        if names:
            lines = re.sub(rb'("(?:' + names + rb')")' + _NUMBER, rb'\1:"\2"', lines)
    try:
        frame = pl.read_ndjson(lines, schema=dict(wire))
    except pl.exceptions.PolarsError:
        return None
    # Texts may hold what looks like a cut, a row must not: any doubt goes the slow way.
    return frame if frame.height == count else None


def _slow(body: bytes, schema: Mapping[str, pl.DataType], wire: Mapping[str, pl.DataType], where: str) -> pl.DataFrame:
    try:
        said = json.loads(body, parse_float=Decimal)
        values = said["value"]
        if not isinstance(values, list) or not all(isinstance(row, dict) for row in values):
            raise TypeError("value is no list of objects")
    except (ValueError, KeyError, TypeError) as error:
        raise ServiceError(f"{where}: the answer is no page of rows ({type(error).__name__}: {error})") from None
    columns = [_column(name, [row.get(name) for row in values], kind, where) for name, kind in wire.items()]
    return pl.DataFrame(columns)


def _column(name: str, values: list[Any], kind: pl.DataType, where: str) -> pl.Series:
    expected: type | tuple[type, ...] = (str, bool, int, Decimal)
    if kind.is_integer():
        expected = int
    elif kind == pl.Boolean():
        expected = bool
    elif kind == pl.Float64():
        expected = (int, Decimal)
    for number, value in enumerate(values):
        if value is None:
            continue
        if not isinstance(value, expected) or (isinstance(value, bool) and kind not in (pl.Boolean(), pl.String())):
            shown = "a text" if isinstance(value, str) else f"{value!r:.60}"  # a text may be of a person
            raise SchemaError(f"{where}: row {number} of a page: {name} is {shown}, not {kind}")
    if kind == pl.String():
        values = [value if value is None or isinstance(value, str) else _text(value) for value in values]
    elif kind == pl.Float64():
        values = [None if value is None else float(value) for value in values]
    return pl.Series(name, values, dtype=kind)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(frame: pl.DataFrame, schema: Mapping[str, pl.DataType], where: str) -> pl.DataFrame:
    made: list[pl.Series] = []
    for name, kind in schema.items():
        series = frame[name]
        try:
            if kind.is_decimal():
                _check_places(series, where)
                series = series.cast(kind)
            elif kind == pl.Date():
                series = series.str.to_date("%Y-%m-%d")
            elif kind == _MOMENT:
                series = series.str.to_datetime("%+", time_unit="us", time_zone="UTC")
            elif kind != series.dtype:
                series = series.cast(kind)
        except pl.exceptions.PolarsError as error:
            said = str(error).splitlines()[0].partition(": [")[0]  # behind it come the values
            raise SchemaError(f"{where}: column {name} does not fit {kind}: {said}") from None
        made.append(series.alias(name))
    return pl.DataFrame(made, schema=dict(schema))


def _check_places(series: pl.Series, where: str) -> None:
    """A cast would round what stands behind the twelfth place without a word."""
    doubtful = series.filter(series.str.contains(r"\.\d{13}|[eE]"))
    for text in doubtful:
        try:
            amount = Decimal(text)
        except ArithmeticError:
            continue  # the cast will say so
        # The widest context: the usual one of 28 digits would itself drop what is looked for.
        exponent = amount.normalize(Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)).as_tuple().exponent
        if isinstance(exponent, int) and exponent < -12:
            raise SchemaError(f"{where}: {series.name} holds {text}: more than 12 decimal places")
