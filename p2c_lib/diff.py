"""Two sides of a task, row by row and field by field: what agrees, what does not, what cannot be said.

Pure: frames in, frames out; no network, files or clock. A loop here runs over columns, never over rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from p2c_lib.cells import FIELD_OUTCOMES, compare_fields
from p2c_lib.errors import SchemaError
from p2c_lib.keys import key_text, match, share_a_key
from p2c_lib.model import Task
from p2c_lib.pull import MONEY

__all__ = ["FIELD_OUTCOMES", "ROW_OUTCOMES", "Outcomes", "compare"]

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
        return int((self.rows["outcome"] == outcome).sum())

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
    ours, theirs = source.select(list(task.key)), destination.select(list(task.key))
    flows = None if excluded is None else excluded.is_null()
    with ThreadPoolExecutor() as pool:  # the keys as texts are made while they are matched: Polars lets go of Python
        written = [pool.submit(side.select, key_text(ours.columns)) for side in (ours, theirs)]
        keys = match(ours, theirs, flows=flows, in_scope=in_scope)
        texts = [one.result().to_series() for one in written]

    cells = compare_fields(source, destination, task, keys.pairs, texts[0], unmapped)
    waits = _orphans(source, keys.alone_source, texts[0], parents or {})
    alone = [
        _missing(keys.alone_source, waits, texts[0]),
        _extra(keys.alone_destination, theirs, ours.filter(~flows) if flows is not None else ours.clear(), texts[1]),
        *([] if excluded is None else [_excluded(excluded, texts[0])]),
        _single("source", keys.bad_source["row"], texts[0], "blocked", keys.bad_source["reason"]),
        _single("destination", keys.bad_destination["row"], texts[1], "blocked", keys.bad_destination["reason"]),
    ]
    parts = _paired(keys.pairs, cells, texts[0]), pl.concat(alone, how="diagonal")
    rows = pl.concat([_worth(part, source, destination, task) for part in parts])
    return Outcomes(task.name, rows, cells, keys.out_of_scope, waits)


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


def _paired(pairs: pl.DataFrame, cells: pl.DataFrame, texts: pl.Series) -> pl.DataFrame:
    """Rows of both sides; ``amount`` is the sum of what differs."""
    per_pair = cells.group_by("source_row").agg(pl.col("amount").sum().cast(MONEY))
    differences = pl.repeat(None, texts.len(), dtype=MONEY, eager=True)
    differences = differences.scatter(per_pair["source_row"], per_pair["amount"]).gather(pairs["source_row"])
    outcome = pl.when(pl.lit(differences).is_null()).then(pl.lit("matched")).otherwise(pl.lit("mismatched"))
    return pairs.with_columns(
        key=texts.gather(pairs["source_row"]),
        side=pl.lit("both"),
        outcome=outcome,
        reason=pl.lit(None, pl.String),
        amount=differences.fill_null(0),
    )


def _single(side: str, numbers: pl.Series, texts: pl.Series, outcome: str, reasons: pl.Series | None) -> pl.DataFrame:
    """Rows of one side with one outcome; what they are worth is for `_worth` to say."""
    mine, other = ("source_row", "destination_row") if side == "source" else ("destination_row", "source_row")
    return pl.DataFrame({mine: numbers}).with_columns(
        pl.lit(None, pl.UInt32).alias(other),
        key=texts.gather(numbers),
        side=pl.lit(side),
        outcome=pl.lit(outcome),
        reason=pl.lit(None, pl.String) if reasons is None else reasons,
    )


def _missing(alone: pl.Series, waits: pl.DataFrame, texts: pl.Series) -> pl.DataFrame:
    waiting = pl.col("source_row").is_in(waits["source_row"].unique().implode())
    return _single("source", alone, texts, "missing", None).with_columns(
        outcome=pl.when(waiting).then(pl.lit("blocked")).otherwise(pl.lit("missing")),
        reason=pl.when(waiting).then(pl.lit("parent_missing")),
    )


def _extra(alone: pl.Series, destination: pl.DataFrame, kept_back: pl.DataFrame, texts: pl.Series) -> pl.DataFrame:
    once_sent = share_a_key(destination[alone], kept_back)
    reasons = pl.select(pl.when(once_sent).then(pl.lit("excluded_by_filter"))).to_series()
    return _single("destination", alone, texts, "extra", reasons)


def _excluded(excluded: pl.Series, texts: pl.Series) -> pl.DataFrame:
    numbers = excluded.is_not_null().arg_true().cast(pl.UInt32)
    return _single("source", numbers, texts, "excluded", excluded.gather(numbers))


def _orphans(
    source: pl.DataFrame, alone: pl.Series, texts: pl.Series, parents: Mapping[str, pl.Series]
) -> pl.DataFrame:
    """The parents that rows without a partner lack at the destination, columns of `_WAITS`; a row may lack several."""
    found = [_WAITS.to_frame()]
    for field, present in parents.items():
        values = pl.DataFrame({"source_row": alone, "key": texts.gather(alone), "value": source[field].gather(alone)})
        known = present.str.strip_chars().str.to_lowercase().drop_nulls().unique().implode()
        absent = pl.col("value").is_null() | ~pl.col("value").str.strip_chars().str.to_lowercase().is_in(known)
        found.append(values.filter(absent).select("source_row", "key", "value", field=pl.lit(field)).select(*_WAITS))
    return pl.concat(found)


def _worth(rows: pl.DataFrame, source: pl.DataFrame, destination: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Add the currency, and to rows that stand alone their amount: all of it."""

    def value(column: str | None, dtype: pl.DataType) -> pl.Expr:
        if column is None:
            return pl.lit(None, dtype)
        values = [pl.lit(source[column]).gather("source_row"), pl.lit(destination[column]).gather("destination_row")]
        return pl.coalesce(values).cast(dtype)

    if "amount" not in rows.columns:
        rows = rows.with_columns(amount=value(task.amount, MONEY).fill_null(0))
    return rows.with_columns(currency=value(task.currency, pl.String())).select(_ROWS.names()).cast(_ROWS)
