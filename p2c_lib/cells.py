"""Fields of paired rows: which of them differ, and in what way.

Pure: frames in, frames out. A loop here runs over fields, never over rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import polars as pl

from p2c_lib.model import FieldMap, Task
from p2c_lib.money import smallest_unit
from p2c_lib.pull import MONEY

FIELD_OUTCOMES = ("different", "rounding", "representation", "unmapped", "truncated")

PREFIX_CHARS = 20
"""A found text that is a whole prefix of the expected one counts as cut off from this many characters on,
also where nobody knows the column's length: so long a shared beginning is not a coincidence."""

_FEW = 10_000  # pairs: up to so many threads cost more than they gain

CELLS = pl.Schema(
    {
        "key": pl.String(),
        "field": pl.String(),
        "outcome": pl.String(),
        "expected": pl.String(),
        "found": pl.String(),
        "source_row": pl.UInt32(),
        "destination_row": pl.UInt32(),
        "amount": MONEY,
        "currency": pl.String(),
    }
)


def compare_fields(
    source: pl.DataFrame,
    destination: pl.DataFrame,
    task: Task,
    pairs: pl.DataFrame,
    keys: pl.Series,
    unmapped: pl.DataFrame | None,
) -> pl.DataFrame:
    """Give every field that differs in a pair of rows one outcome.

    Args:
        source: Mapped rows, shape (n, k + f).
        destination: Rows as they stand, shape (m, k + f), same names and dtypes.
        task: Its fields, each with tolerance, normalisers, known length.
        pairs: A row a pair, by source row: ``source_row``, ``destination_row`` (UInt32), each row in one pair at most.
        keys: The key of each source row as one text (n).
        unmapped: Columns ``row`` (UInt32), ``field``: source values that the value map does not know.

    Returns:
        Shape (differences, 9), the columns of `CELLS`; field by field, in the order of the pairs.

    Every cell is compared with its partner, exactly; only what is not the same is looked at any further.
    """
    fields = [field for field in task.fields if field.destination not in task.key and field.is_compared]
    if pairs.is_empty() or not fields:
        return CELLS.to_frame()
    # Pairs are in the order of the source: its half is a filter, which costs a third of gathering it.
    is_paired = pl.repeat(False, source.height, eager=True).scatter(pairs["source_row"], True)
    source, destination = source.rechunk(), destination.rechunk()  # gathering from many chunks takes twice as long

    unknowns = _unknown_rows(unmapped)

    def differing(field: FieldMap) -> pl.DataFrame | None:
        """No more of a column than its two gathered halves is in memory, and only while it is compared."""
        name, unknown = field.destination, unknowns.get(field.destination)
        which = source[name].filter(is_paired).ne_missing(destination[name].gather(pairs["destination_row"]))
        if unknown is not None:
            which |= pairs["source_row"].is_in(unknown.implode())
        if not which.any():
            return None
        rows = pairs[which.arg_true()]
        return _field_cells(_values(rows, source, destination, task, field), field, unknown)

    if pairs.height < _FEW:
        found = [differing(field) for field in fields]
    else:  # columns are compared side by side; Polars lets go of Python while it works
        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            found = list(pool.map(differing, fields))
    told = [cells for cells in found if cells is not None]
    if not told:
        return CELLS.to_frame()
    cells = pl.concat(told)
    return cells.with_columns(key=keys.gather(cells["source_row"])).select(CELLS.names()).cast(CELLS)


def _unknown_rows(unmapped: pl.DataFrame | None) -> dict[str, pl.Series]:
    """By field, the source rows whose value no map knows."""
    if unmapped is None or unmapped.is_empty():
        return {}
    return {str(field): rows["row"] for (field,), rows in unmapped.partition_by("field", as_dict=True).items()}


def _values(
    rows: pl.DataFrame, source: pl.DataFrame, destination: pl.DataFrame, task: Task, field: FieldMap
) -> pl.DataFrame:
    """Both values of a field in some pairs, and their currency."""
    code = field.money if isinstance(field.money, str) else task.currency
    left, right = rows["source_row"], rows["destination_row"]
    return rows.with_columns(
        expected=source[field.destination].gather(left),
        found=destination[field.destination].gather(right),
        currency=source[code].gather(left) if code else pl.lit(None, pl.String),
    )


def _field_cells(differ: pl.DataFrame, field: FieldMap, unknown: pl.Series | None) -> pl.DataFrame:
    """Outcomes of one field in the pairs whose values are not the same; those that count as the same are left out."""
    if field.also:
        differ = differ.filter(~pl.col("found").cast(pl.String).is_in(field.also).fill_null(False))
    dtype = differ["expected"].dtype
    if dtype.is_decimal():
        differ = differ.with_columns(unit=_units(differ["currency"]))
    outcome = _decimal_outcome(field) if dtype.is_decimal() else _plain_outcome(field, differ)
    is_unknown = pl.lit(False) if unknown is None else pl.col("source_row").is_in(unknown.implode())
    amount = pl.lit(None, MONEY)
    if field.money:
        amount = (pl.col("expected").fill_null(0) - pl.col("found").fill_null(0)).abs().cast(MONEY)
    return (
        differ.with_columns(outcome=pl.when(is_unknown).then(pl.lit("unmapped")).otherwise(outcome))
        .filter(pl.col("outcome").is_not_null())
        .select(
            "source_row",
            "destination_row",
            "outcome",
            field=pl.lit(field.destination),
            expected=as_text("expected", dtype),
            found=as_text("found", dtype),
            amount=amount,
            currency="currency",
        )
    )


def as_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """A value as people write it: decimals without trailing zeros, dates in ISO form; null stays null."""
    text = pl.col(column).cast(pl.String)
    if dtype.is_decimal():
        return text.str.replace(r"\.?0+$", "") if dtype.scale else text  # type: ignore[attr-defined]
    if dtype == pl.Datetime:
        return pl.col(column).dt.to_string("iso:strict")
    return text


def _decimal_outcome(field: FieldMap) -> pl.Expr:
    tolerance = pl.lit(field.tolerance or Decimal(0), MONEY)
    difference = (pl.col("expected") - pl.col("found")).abs()
    both = pl.col("expected").is_not_null() & pl.col("found").is_not_null()
    rounding = pl.when(both & (difference <= pl.col("unit"))).then(pl.lit("rounding")).otherwise(pl.lit("different"))
    plain = pl.lit("different")
    return pl.when(both & (difference <= tolerance)).then(None).otherwise(rounding if field.money else plain)


def _plain_outcome(field: FieldMap, differ: pl.DataFrame) -> pl.Expr:
    expected, found = pl.col("expected"), pl.col("found")
    if differ["expected"].dtype != pl.String:
        same = _same_day(differ, field)
        return pl.when(same).then(pl.lit("representation")).otherwise(pl.lit("different"))
    if field.lookup:
        ours, theirs = (side.str.strip_chars().str.to_lowercase() for side in (expected, found))
        return pl.when(ours.eq_missing(theirs)).then(None).otherwise(pl.lit("different"))
    ours, theirs = expected, found
    if "trim" in field.normalise:
        ours, theirs = ours.str.strip_chars(), theirs.str.strip_chars()
    if "case" in field.normalise:
        ours, theirs = ours.str.to_lowercase(), theirs.str.to_lowercase()
    if "blank" in field.normalise:
        ours, theirs = (pl.when(side.str.strip_chars() != "").then(side) for side in (ours, theirs))
    same = ours.eq_missing(theirs)
    length = found.str.len_chars()
    known = pl.lit(False) if field.length is None else length == field.length
    cut = (
        (found != "")
        & (length < expected.str.len_chars())
        & (expected.str.slice(0, length) == found)
        & (known | (length >= PREFIX_CHARS))
    )
    return (
        pl.when(same)
        .then(pl.lit("representation"))
        .when(cut.fill_null(False))
        .then(pl.lit("truncated"))
        .otherwise(pl.lit("different"))
    )


def _same_day(differ: pl.DataFrame, field: FieldMap) -> pl.Expr:
    """Whether two date-times fall on one day, asked only where the field declares the ``date`` normaliser."""
    if "date" not in field.normalise or differ["expected"].dtype != pl.Datetime:
        return pl.lit(False)
    return pl.col("expected").dt.date().eq_missing(pl.col("found").dt.date())


def _units(currency: pl.Series) -> pl.Series:
    codes = currency.unique()
    units = pl.Series([smallest_unit(code) for code in codes], dtype=MONEY)
    lookup = pl.DataFrame({"currency": codes, "unit": units})
    frame = currency.to_frame("currency").join(
        lookup, on="currency", how="left", nulls_equal=True, maintain_order="left"
    )
    return frame["unit"]
