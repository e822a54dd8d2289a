"""Two sides of a task, row by row and field by field: what agrees, what does not, what cannot be said.

Pure: frames in, frames out; no network, files or clock. A loop here runs over columns, never over rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from p2c_lib.cells import FIELD_OUTCOMES, compare_fields
from p2c_lib.errors import SchemaError
from p2c_lib.model import Task
from p2c_lib.pull import MONEY

__all__ = ["FIELD_OUTCOMES", "ROW_OUTCOMES", "Outcomes", "compare", "key_text"]

ROW_OUTCOMES = ("matched", "mismatched", "missing", "extra", "excluded", "blocked")

_ROWS = pl.Schema(
    {
        "key": pl.String(),
        "side": pl.String(),
        "outcome": pl.String(),
        "reason": pl.String(),
        "source_row": pl.UInt32(),
        "destination_row": pl.UInt32(),
        "amount": MONEY,
        "currency": pl.String(),
    }
)
_WAITS = pl.Schema({"source_row": pl.UInt32(), "key": pl.String(), "field": pl.String(), "value": pl.String()})


@dataclass(frozen=True)
class Outcomes:
    """What became of every row of a task.

    Attributes:
        task: The task's name.
        rows: A row for each pair and each single row: ``key`` (text), ``side`` (both, source, destination),
            ``outcome`` (one of `ROW_OUTCOMES`), ``reason`` (a code, null where the outcome says it all),
            ``source_row`` and ``destination_row`` (UInt32, row numbers in the compared frames, null on the side
            that has none), ``amount`` (at stake, in the row's currency), ``currency``.
        cells: A row for each field of a mismatched pair that differs: ``field``, ``outcome`` (one of
            `FIELD_OUTCOMES`), ``expected`` and ``found`` as text, row numbers, ``amount`` and ``currency``.
        out_of_scope: Destination rows that are none of the task's business.
        waits: What each row that is blocked for want of a parent waits for: ``source_row``, ``key``, ``field`` (the
            destination column that points to the parent), ``value`` (null where it points nowhere).
    """

    task: str
    rows: pl.DataFrame
    cells: pl.DataFrame
    out_of_scope: int
    waits: pl.DataFrame

    def count(self, outcome: str) -> int:
        """Rows with an outcome; a pair counts once, each blocked row of each side once."""
        return self.rows.filter(pl.col("outcome") == outcome).height

    @property
    def source_rows(self) -> int:
        """Source rows that got an outcome: all that were pulled."""
        return self.rows["source_row"].count()

    @property
    def destination_rows(self) -> int:
        """Destination rows that got an outcome: all that were pulled less those out of scope."""
        return self.rows["destination_row"].count()


def compare(
    source: pl.DataFrame,
    destination: pl.DataFrame,
    task: Task,
    *,
    excluded: pl.Series | None = None,
    in_scope: pl.Series | None = None,
    unmapped: pl.DataFrame | None = None,
    parents: Mapping[str, pl.Series] | None = None,
) -> Outcomes:
    """Give every row of two sides one outcome.

    Args:
        source: Mapped rows, shape (n, k + f): the key columns and the fields, named as in the destination.
        destination: Rows as they stand, shape (m, k + f), same names and dtypes.
        task: Its key and, for each field, tolerance, normalisers, known length.
        excluded: String (n): the condition that keeps the row back, null where it flows. Default: all flow.
        in_scope: Boolean (m): whether the row is the task's business. Default: all are.
        unmapped: Columns ``row`` (UInt32), ``field``: source values that the value map does not know.
        parents: For a field with a parent, the values that exist at the destination.

    Returns:
        ``rows`` and ``cells``; matched + mismatched + missing + excluded + blocked source rows = n, and
        matched + mismatched + extra + blocked destination rows + out of scope = m.

    Raises:
        SchemaError: The sides differ in column names or dtypes, or lack a column of the task.

    Keys first: null, blank, padded, repeated or (by case or padding) colliding keys make their rows ``blocked`` on
    both sides before anything is joined. Null equals null and nothing else, not 0, not "".
    """
    _check_schemas(source, destination, task)
    keys = list(task.key)
    left = _keyed(source, keys).with_columns(
        excluded=excluded if excluded is not None else pl.lit(None, pl.String),
    )
    right = _keyed(destination, keys).with_columns(
        in_scope=in_scope if in_scope is not None else pl.lit(True),
    )
    kept_back = left.filter(pl.col("excluded").is_not_null())
    flowing = left.filter(pl.col("excluded").is_null())

    has_partner = pl.col("normal").is_in(flowing["normal"].drop_nulls().implode())
    relevant = right.filter(pl.col("in_scope") | has_partner.fill_null(False))

    flowing, relevant = _set_bad_keys_apart(flowing, relevant)
    blocked = _single_rows(flowing, relevant, pl.col("bad").is_not_null(), "blocked", "bad")
    good_left, good_right = flowing.filter(pl.col("bad").is_null()), relevant.filter(pl.col("bad").is_null())

    pairs = good_left.join(good_right, on=keys, how="inner", suffix="_r").select(
        "text", "source_row", "destination_row"
    )
    cells = compare_fields(source, destination, task, pairs, unmapped)
    alone_left = good_left.join(pairs, on="source_row", how="anti")
    alone_right = good_right.join(pairs, on="destination_row", how="anti")

    waits = _orphans(source, alone_left, parents or {})
    orphaned = waits["source_row"].unique()
    missing = _side(alone_left, "source").with_columns(
        outcome=pl.when(pl.col("source_row").is_in(orphaned.implode()))
        .then(pl.lit("blocked"))
        .otherwise(pl.lit("missing")),
        reason=pl.when(pl.col("source_row").is_in(orphaned.implode())).then(pl.lit("parent_missing")),
    )
    once_sent = pl.col("normal").is_in(kept_back["normal"].drop_nulls().implode())
    extra = _side(alone_right, "destination").with_columns(
        outcome=pl.lit("extra"),
        reason=pl.when(once_sent.fill_null(False)).then(pl.lit("excluded_by_filter")),
    )
    differing = cells["source_row"].unique()
    paired = pairs.select(
        key="text",
        side=pl.lit("both"),
        outcome=pl.when(pl.col("source_row").is_in(differing.implode()))
        .then(pl.lit("mismatched"))
        .otherwise(pl.lit("matched")),
        reason=pl.lit(None, pl.String),
        source_row="source_row",
        destination_row="destination_row",
    )
    kept = _side(kept_back, "source").with_columns(outcome=pl.lit("excluded"), reason=kept_back["excluded"])
    columns = ["key", "side", "outcome", "reason", "source_row", "destination_row"]
    rows = pl.concat([frame.select(columns) for frame in (paired, missing, extra, kept, blocked)])
    rows = _with_amounts(rows, cells, source, destination, task)
    return Outcomes(task.name, rows.cast(_ROWS), cells, right.height - relevant.height, waits)


def _check_schemas(source: pl.DataFrame, destination: pl.DataFrame, task: Task) -> None:
    needed = dict.fromkeys([*task.key, *(field.destination for field in task.fields)])
    problems = []
    for name in needed:
        ours, theirs = source.schema.get(name), destination.schema.get(name)
        if ours is None or theirs is None:
            sides = " and ".join(s for s, t in (("source", ours), ("destination", theirs)) if t is None)
            problems.append(f"column '{name}' is missing on the {sides} side")
        elif ours != theirs:
            problems.append(f"column '{name}' is {ours} on the source side and {theirs} on the destination side")
    if problems:
        raise SchemaError(f"{task.name}: the two sides cannot be compared: " + "; ".join(problems))


def key_text(keys: list[str]) -> pl.Expr:
    """The key as one text: its columns joined with ``|``, null as the empty text."""
    return pl.concat_str([pl.col(key).cast(pl.String).fill_null("") for key in keys], separator="|")


def _keyed(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Only what joining needs: key columns, key text, its normal form (null where a part is blank), row number."""
    side = "row"
    parts = [pl.col(key).cast(pl.String).str.strip_chars().str.to_lowercase() for key in keys]
    blank = pl.any_horizontal([part.is_null() | (part == "") for part in parts])
    padded = pl.any_horizontal(
        [(pl.col(k).cast(pl.String) != pl.col(k).cast(pl.String).str.strip_chars()).fill_null(False) for k in keys]
    )
    return frame.select(
        *keys,
        text=key_text(keys),
        normal=pl.when(~blank).then(pl.concat_str(parts, separator="\x1f")),
        padded=padded,
    ).with_row_index(side)


def _set_bad_keys_apart(left: pl.DataFrame, right: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add ``bad``, why a key cannot be joined, null when it can; what is bad on one side spoils the other."""
    left, right = left.rename({"row": "source_row"}), right.rename({"row": "destination_row"})
    left, right = left.with_columns(bad=_fault()), right.with_columns(bad=_fault())

    def spoil(mine: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
        faults = other.filter(pl.col("bad").is_not_null() & pl.col("normal").is_not_null())
        faults = faults.select("normal", spoilt="bad").unique("normal")
        return (
            mine.join(faults, on="normal", how="left", maintain_order="left")
            .with_columns(bad=pl.coalesce("bad", "spoilt"))
            .drop("spoilt")
        )

    return spoil(left, right), spoil(right, left)


def _fault() -> pl.Expr:
    return (
        pl.when(pl.col("normal").is_null())
        .then(pl.lit("blank_key"))
        .when(pl.col("text").is_duplicated())
        .then(pl.lit("repeated_key"))
        .when(pl.col("normal").is_duplicated())
        .then(pl.lit("colliding_key"))
        .when(pl.col("padded"))
        .then(pl.lit("padded_key"))
    )


def _side(frame: pl.DataFrame, side: str) -> pl.DataFrame:
    number = "source_row" if side == "source" else "destination_row"
    other = "destination_row" if side == "source" else "source_row"
    frame = frame.rename({"row": number}) if "row" in frame.columns else frame
    nothing = pl.lit(None, pl.UInt32).alias(other)
    return frame.select(number, nothing, "normal", key="text", side=pl.lit(side))


def _single_rows(left: pl.DataFrame, right: pl.DataFrame, which: pl.Expr, outcome: str, reason: str) -> pl.DataFrame:
    parts = []
    for frame, side in ((left, "source"), (right, "destination")):
        chosen = frame.filter(which)
        parts.append(_side(chosen, side).with_columns(outcome=pl.lit(outcome), reason=chosen[reason]))
    columns = ["key", "side", "outcome", "reason", "source_row", "destination_row"]
    return pl.concat([part.select(columns) for part in parts])


def _orphans(source: pl.DataFrame, alone: pl.DataFrame, parents: Mapping[str, pl.Series]) -> pl.DataFrame:
    """The parents that rows without a partner lack at the destination, columns of `_WAITS`; a row may lack several."""
    found = [_WAITS.to_frame()]
    for field, present in parents.items():
        values = alone.select("source_row", key="text", value=source[field].gather(alone["source_row"]))
        known = present.str.strip_chars().str.to_lowercase().drop_nulls().unique().implode()
        absent = pl.col("value").is_null() | ~pl.col("value").str.strip_chars().str.to_lowercase().is_in(known)
        found.append(values.filter(absent).select("source_row", "key", "value", field=pl.lit(field)).select(*_WAITS))
    return pl.concat(found)


def _with_amounts(
    rows: pl.DataFrame, cells: pl.DataFrame, source: pl.DataFrame, destination: pl.DataFrame, task: Task
) -> pl.DataFrame:
    """Add what a row is worth: all of its amount when it stands alone, the difference when it is paired."""
    rows = rows.with_columns(amount=pl.lit(None, MONEY), currency=pl.lit(None, pl.String))
    per_pair = cells.group_by("source_row").agg(difference=pl.col("amount").sum().cast(MONEY))

    def worth(frame: pl.DataFrame, column: str | None, dtype: pl.DataType, number: str, name: str) -> pl.DataFrame:
        values = frame[column] if column else pl.repeat(None, frame.height, dtype=dtype, eager=True)
        return pl.DataFrame({number: pl.int_range(frame.height, dtype=pl.UInt32, eager=True), name: values.cast(dtype)})

    for frame, number, tag in ((source, "source_row", "l"), (destination, "destination_row", "r")):
        amounts = worth(frame, task.amount, MONEY, number, f"amount_{tag}")
        codes = worth(frame, task.currency, pl.String(), number, f"currency_{tag}")
        rows = rows.join(amounts, on=number, how="left", maintain_order="left")
        rows = rows.join(codes, on=number, how="left", maintain_order="left")
    rows = rows.join(per_pair, on="source_row", how="left", maintain_order="left")
    alone = pl.coalesce("amount_l", "amount_r")
    return rows.with_columns(
        amount=pl.when(pl.col("side") == "both").then(pl.col("difference")).otherwise(alone).fill_null(0),
        currency=pl.coalesce("currency_l", "currency_r"),
    ).drop("amount_l", "amount_r", "currency_l", "currency_r", "difference")
