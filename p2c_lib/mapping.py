"""What a task expects at the destination: its field maps as Polars expressions, over all rows at once.

Pure: a task and frames in, frames out; no network, files or clock. A loop here runs over fields, never over rows.
A path over a lookup (``defaultuomid.name``) is a column of that name: reading resolved it, writing will.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from operator import add, sub
from typing import TYPE_CHECKING

import polars as pl

from p2c_lib.connect.pages import MONEY, dtype
from p2c_lib.errors import SchemaError
from p2c_lib.model import FieldMap, Step, Task, read_constant
from p2c_lib.model.fit import AMOUNT_TEXT
from p2c_lib.model.parts import COMBINING

if TYPE_CHECKING:
    from p2c_lib.connect.metadata import Column, Entity

__all__ = ["Expected", "destination_columns", "expected", "filter_outcome", "handed_over", "project", "source_columns"]

UNMAPPED = pl.Schema({"row": pl.UInt32, "field": pl.String, "value": pl.String})
_TIME = pl.Datetime("us", "UTC")
_SHOWN = 3  # values quoted in an error
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Expected:
    """What the destination should hold.

    Attributes:
        rows: Row i is what source row i becomes: the key columns, then the other fields, named as in the
            destination, with the dtypes of its columns (`MONEY` for amounts).
        unmapped: Source values that a value map has no entry for: ``row`` (UInt32, number in ``rows``), ``field``
            (destination column), ``value`` (as it stands in the source); in ``rows`` such a cell is null.
    """

    rows: pl.DataFrame
    unmapped: pl.DataFrame


def source_columns(task: Task) -> list[str]:
    """The source columns that a task reads, paths included.

    Args:
        task: The task.

    Returns:
        Each once: those of the key, of the fields, of the filter.
    """
    fields = [name for field in task.fields for name in field.reads]
    return list(dict.fromkeys([*task.key.values(), *fields, *(condition.column for condition in task.filter)]))


def destination_columns(task: Task) -> list[str]:
    """The destination columns that a task compares, paths included.

    Args:
        task: The task.

    Returns:
        Each once: those of the key, of the fields, those to be taken off, those of the destination's conditions, those
        of the line that stands for tax on charges.
    """
    off = (column for field in task.fields for column in field.without)
    conditions = (condition.column for condition in task.destination.conditions)
    made = task.tie_out.freight_tax if task.tie_out else None
    extra = (made.line, made.amount, made.document) if made else ()
    return list(dict.fromkeys([*_columns(task), *off, *conditions, *extra]))


def expected(source: pl.DataFrame, task: Task, destination: Entity) -> Expected:
    """Map source rows to what the destination should hold.

    Args:
        source: Rows as pulled, with `source_columns`.
        task: The task.
        destination: Its destination entity, from the live metadata: decides dtypes, and where null is 0.

    Returns:
        As many rows as the source, in its order.

    Raises:
        SchemaError: Columns are missing, or values cannot become what the destination column holds (a text in a
            number column); names the column, how many rows, and the first values.
    """
    needed = dict.fromkeys([*task.key.values(), *(name for field in task.fields for name in field.sources)])
    _require(source, needed, f"{task.name}: the source rows")
    fields = {field.destination: field for field in task.fields}
    expressions = [_expression(fields[name], task, source, destination).alias(name) for name in _columns(task)]
    rows = source.select(expressions)

    unmapped = [UNMAPPED.to_frame()]
    problems = []
    for field in task.fields:
        if field.source is None:
            continue
        lost = _lost(source, field.source, rows[field.destination], always=field.map == "value_map")
        if field.map == "value_map":
            unmapped.append(lost.select("row", field=pl.lit(field.destination), value="value"))
        elif lost.height:
            where = f"{task.name}: {field.source} -> {field.destination}"
            problems.append(_told(where, lost, source.height, rows.schema[field.destination], field.personal))
    if problems:
        raise SchemaError("\n".join(problems))
    return Expected(rows, pl.concat(unmapped))


def project(found: pl.DataFrame, task: Task, destination: Entity) -> pl.DataFrame:
    """Bring destination rows into the form of `Expected.rows`.

    Args:
        found: Rows as pulled, with `destination_columns`.
        task: The task.
        destination: Its destination entity, from the live metadata.

    Returns:
        As many rows, in their order, with the names and dtypes of `Expected.rows`; the empty text is null.

    Raises:
        SchemaError: Columns are missing, or hold values of another kind than the metadata says.
    """
    names = _columns(task)
    off = [column for field in task.fields for column in field.without]
    _require(found, [*names, *off], f"{task.name}: the destination rows")
    casts = [_cast(pl.col(name), found.schema[name], _dtype(name, destination), name).alias(name) for name in names]
    rows = found.select(casts)
    lost = {name: _lost(found, name, rows[name]) for name in names}
    personal = {field.destination for field in task.fields if field.personal}
    problems = [
        _told(f"{task.name}: {destination.name}.{name}", cells, found.height, rows.schema[name], name in personal)
        for name, cells in lost.items()
        if cells.height
    ]
    if problems:
        raise SchemaError("\n".join(problems))
    return rows.with_columns(_net(rows, found, field) for field in task.fields if field.without)


def _net(rows: pl.DataFrame, found: pl.DataFrame, field: FieldMap) -> pl.Series:
    """An amount of the destination without what the source cannot know."""
    off = found.select(pl.sum_horizontal(pl.col(column).fill_null(0) for column in field.without)).to_series()
    return (rows[field.destination] - off).cast(rows.schema[field.destination]).alias(field.destination)


def filter_outcome(source: pl.DataFrame, task: Task) -> pl.Series:
    """Say which condition of the task's filter keeps each row back.

    Args:
        source: Rows as pulled.
        task: The task.

    Returns:
        String, one a row: the name of the first condition that does not hold, null where the row flows.

    Raises:
        SchemaError: A column of the filter is missing, or is of another kind than the condition's value.
    """
    if not task.filter:
        return pl.repeat(None, source.height, dtype=pl.String, eager=True).alias("excluded")
    _require(source, [condition.column for condition in task.filter], f"{task.name}: the source rows")
    for condition in task.filter:
        have = source.schema[condition.column]
        for value in condition.values:
            # Polars would compare a text with a flag by the flag's text form, and no row would flow.
            wants = "text" if isinstance(value, str) else "flag" if isinstance(value, bool) else "number"
            if not {"text": have == pl.String, "flag": have == pl.Boolean, "number": have.is_numeric()}[wants]:
                where = f"{task.name}: filter.{condition.name}"
                raise SchemaError(f"{where}: {condition.column} is {have}, and never equals the {wants} {value!r}")
    failed = [pl.when(~condition.expr()).then(pl.lit(condition.name)) for condition in task.filter]
    return source.select(excluded=pl.coalesce(failed)).to_series()


def handed_over(rows: pl.DataFrame, found: pl.DataFrame, task: Task) -> pl.Series:
    """Say which source rows the destination has become the master of.

    Args:
        rows: Mapped source rows, shape (n, ...).
        found: Destination rows with the columns of the task's key and of its conditions.
        task: The task.

    Returns:
        String (n): the condition of ``as_long_as`` that the destination's row no longer meets (of a line: a row of its
        document, so that a line which the destination took out does not come again), null where the source is master.
    """
    keys = [task.tie_out.line_document] if task.tie_out else list(task.key)
    normal = [pl.col(key).cast(pl.String).str.strip_chars().str.to_lowercase() for key in keys]
    failed = [pl.when(~condition.expr()).then(pl.lit(condition.name)) for condition in task.destination.as_long_as]
    if not failed:
        return pl.repeat(None, rows.height, dtype=pl.String, eager=True).alias("handed_over")
    theirs = found.select(*normal, handed_over=pl.coalesce(failed)).drop_nulls().unique(keys, keep="first")
    return rows.select(normal).join(theirs, on=keys, how="left", maintain_order="left")["handed_over"]


def _lost(before: pl.DataFrame, name: str, after: pl.Series, *, always: bool = False) -> pl.DataFrame:
    """Cells that were not blank and became null: ``row`` (UInt32) and ``value`` as text, as it stood."""
    unchanged = before.schema[name] == after.dtype and not always
    if unchanged or not after.null_count():
        return pl.DataFrame(schema={"row": pl.UInt32, "value": pl.String})
    lost = after.is_null() & ~before.select(_is_blank(name, before)).to_series()
    numbers = lost.arg_true().cast(pl.UInt32)
    values = before[name].gather(numbers).to_frame("value").select(_text(pl.col("value"), before.schema[name]))
    return values.select(row=numbers, value="value")


def _told(where: str, lost: pl.DataFrame, height: int, dtype: pl.DataType, is_personal: bool) -> str:
    shown = ", ".join(f"'{value}'" for value in lost["value"].unique(maintain_order=True)[:_SHOWN])
    if is_personal:
        shown = "not shown, as they are personal"
    return f"{where}: {lost.height} of {height} rows have a value that is no {dtype}: {shown}"


def _columns(task: Task) -> list[str]:
    return list(dict.fromkeys([*task.key, *(field.destination for field in task.fields)]))


def _require(frame: pl.DataFrame, names: Sequence[str] | dict[str, None], what: str) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        near = {name: get_close_matches(name, frame.columns, n=2) for name in missing}
        told = [f"'{name}'" + (f" (near: {', '.join(near[name])})" if near[name] else "") for name in missing]
        raise SchemaError(f"{what} lack {', '.join(told)}")


def _column(name: str, entity: Entity) -> Column | None:
    """The column, None for a path over a lookup: that is text, and null where the lookup is empty."""
    return None if "." in name else entity.column(name)


def _dtype(name: str, entity: Entity) -> pl.DataType:
    column = _column(name, entity)
    return pl.String() if column is None else dtype(column)


def _expression(field: FieldMap, task: Task, source: pl.DataFrame, destination: Entity) -> pl.Expr:
    """One field; where the source is blank it is the field's own constant, else 0 in a number that cannot be null."""
    column, want = _column(field.destination, destination), _dtype(field.destination, destination)
    edm_type = column.edm_type if column is not None else "Edm.String"
    where = f"{task.name}: {field.destination}"
    if field.source is None:
        return _cut(_constant(field.value, edm_type, want, where), field, want)
    have = source.schema[field.source]
    if field.map == "value_map":
        value, blank = _looked_up(field, task, have, edm_type, want)
    else:
        changed, have = _transformed(field, source.schema, where)
        value, blank = _cast(changed, have, want, where), field.value
        if have == pl.Date and want == _TIME and task.destination.system == "fno":
            value = value.dt.offset_by("12h")  # a date of F&O is shown as its noon
    is_number = column is not None and not column.nullable and want.is_numeric()
    if blank is None and is_number and field.destination not in task.key:
        blank = "0"  # F&O's numbers are never null: what is not sent is 0 there; but a blank key is no key
    if blank is not None:
        constant = _constant(blank, edm_type, want, where)
        empty = pl.all_horizontal([_is_blank(name, source) for name in field.sources])
        value = pl.when(empty).then(constant).otherwise(value)
    return _cut(value, field, want)


def _constant(text: str | None, edm_type: str, want: pl.DataType, where: str) -> pl.Expr:
    if text is None:
        return pl.lit(None, want)
    try:
        return pl.lit(read_constant(text, edm_type), want)
    except ValueError as error:
        raise SchemaError(f"{where}: {error}") from None


def _cut(value: pl.Expr, field: FieldMap, want: pl.DataType) -> pl.Expr:
    return value.str.slice(0, field.truncate) if field.truncate is not None and want == pl.String else value


def _is_blank(name: str, frame: pl.DataFrame) -> pl.Expr:
    """Null, or a text of nothing but blanks."""
    column = pl.col(name)
    return (column.str.strip_chars() == "").fill_null(True) if frame.schema[name] == pl.String else column.is_null()


def _text(value: pl.Expr, have: pl.DataType) -> pl.Expr:
    """A value as the integrator writes it: ``true``, ``0``, an amount without trailing zeros, a time in ISO form."""
    if isinstance(have, pl.Decimal) and have.scale:
        return value.cast(pl.String).str.replace(r"\.?0+$", "")
    return value.dt.to_string("iso:strict") if have == pl.Datetime else value.cast(pl.String)


def _looked_up(
    field: FieldMap, task: Task, have: pl.DataType, edm_type: str, want: pl.DataType
) -> tuple[pl.Expr, str | None]:
    """A value map, and what it makes of a blank source; no entry gives null."""
    if field.source is None or field.value_map is None or field.value_map not in task.value_maps:
        raise SchemaError(f"{task.name}: {field.destination}: value map '{field.value_map}' is not among the task's")
    entries = dict(task.value_maps[field.value_map].entries)
    blank = entries.pop("", None)
    blank = blank if field.blank_default is None else field.blank_default
    where = f"{task.name}: {field.destination}: value map '{field.value_map}'"
    try:
        values = pl.Series([read_constant(value, edm_type) for value in entries.values()], dtype=want)
    except ValueError as error:
        raise SchemaError(f"{where}: {error}") from None
    text = _text(pl.col(field.source), have).str.strip_chars().str.to_lowercase()
    keys = pl.Series(list(entries), dtype=pl.String)
    return text.replace_strict(keys, values, default=None, return_dtype=want), blank


def _transformed(field: FieldMap, schema: pl.Schema, where: str) -> tuple[pl.Expr, pl.DataType]:
    value, have = pl.col(field.source or ""), schema[field.source or ""]
    for step in field.steps():
        if step.name in COMBINING:
            value, have = _combined(step, schema, where), MONEY
            continue
        if step.name == "round_half_away":
            if not have.is_numeric():
                raise SchemaError(f"{where}: round_half_away needs a number, {field.source} is {have}")
            value = value.round(step.places, mode="half_away_from_zero")
            continue
        if have != pl.String:
            value, have = _cast(value, have, pl.String(), where), pl.String()
        match step.name:
            case "upper":
                value = value.str.to_uppercase()
            case "lower":
                value = value.str.to_lowercase()
            case "strip":
                value = value.str.strip_chars()
    return value, have


def _combined(step: Step, schema: pl.Schema, where: str) -> pl.Expr:
    """Amounts of one row in one; null only where all of them are."""
    for name in step.columns:
        if not (schema[name].is_integer() or schema[name].is_decimal()):
            raise SchemaError(f"{where}: {step.name} needs amounts, {name} is {schema[name]}")
    first, *others = (pl.col(name).cast(MONEY).fill_null(0) for name in step.columns)
    total = reduce(add if step.name == "sum" else sub, others, first)
    blank = pl.all_horizontal(pl.col(name).is_null() for name in step.columns)
    return pl.when(~blank).then(total.cast(MONEY))


def _cast(value: pl.Expr, have: pl.DataType, want: pl.DataType, where: str) -> pl.Expr:
    """A value in another dtype; null where it cannot be, so that the caller can count and name what was lost."""
    if have == pl.Null:
        return value.cast(want)
    if want == pl.String:
        return pl.when(value != "").then(value) if have == pl.String else _text(value, have)  # F&O's null is ""
    if have == want:
        return value
    if have == pl.String:
        return _from_text(value.str.strip_chars(), want)
    if want == pl.Boolean and have.is_integer():
        return pl.when(value.is_in([0, 1])).then(value == 1)
    if want.is_integer() and (have.is_integer() or have.is_decimal()):
        limit = 2**63 if want == pl.Int64 else 2**31
        # A cast out of range raises even when it is told not to, so nothing out of range may reach it.
        fits = value.is_between(pl.lit(-limit), pl.lit(limit - 1)) if have != pl.Int32 else pl.lit(True)
        if have.is_decimal():
            fits &= value.round(0, mode="half_away_from_zero") == value
        return pl.when(fits).then(value).cast(want)
    if want == MONEY and (have.is_integer() or have.is_decimal()):
        return value.cast(MONEY)
    if want == pl.Float64 and have.is_numeric():
        return value.cast(pl.Float64)
    if want.is_integer() and have == pl.Boolean:
        return value.cast(want)
    if want == pl.Date and have == pl.Datetime:
        return value.dt.date()
    if want == _TIME and have == pl.Date:
        return value.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if want == _TIME and have == pl.Datetime:
        zoned = have.time_zone is not None  # type: ignore[attr-defined]
        return (value.dt.convert_time_zone("UTC") if zoned else value.dt.replace_time_zone("UTC")).cast(_TIME)
    raise SchemaError(f"{where}: {have} does not become {want} without loss; use a value map")


def _from_text(value: pl.Expr, want: pl.DataType) -> pl.Expr:
    if want == pl.Boolean:
        return value.str.to_lowercase().replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
    if want.is_integer():
        whole = pl.when(value.str.contains(r"^[+-]?\d{1,19}$")).then(value.str.strip_prefix("+"))
        return whole.cast(pl.Int64, strict=False).cast(want, strict=False)
    if want == MONEY:  # what goes past 26 or 12 digits would raise, or be rounded without a word
        amount = value.str.contains(AMOUNT_TEXT)
        return pl.when(amount).then(value.str.strip_prefix("+")).cast(MONEY)
    if want == pl.Date:
        return value.str.to_date("%Y-%m-%d", strict=False)
    if want == _TIME:
        return value.str.to_datetime("%+", time_unit="us", strict=False).cast(_TIME)
    return value.cast(want, strict=False)
