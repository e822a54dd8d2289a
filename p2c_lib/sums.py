"""Sums that tie: every row of a side, and its money, under exactly one outcome, added up against what was read.

Pure: what a comparison left, frames out.
"""

from __future__ import annotations

import polars as pl

from p2c_lib.diff import Outcomes
from p2c_lib.model import Task
from p2c_lib.pull import MONEY

__all__ = ["OUT_OF_SCOPE", "SUM_COLUMNS", "bridge", "sums", "tied"]

OUT_OF_SCOPE = "out of scope"
SUM_COLUMNS = pl.Schema(
    {
        "task": pl.String(),
        "side": pl.String(),
        "outcome": pl.String(),
        "currency": pl.String(),
        "rows": pl.Int64(),
        "amount": MONEY,
    }
)
"""Rows and money of a task by side (source, destination), outcome and currency (null: the row has none, or the task no
money). ``read`` are all rows of the side, counted before any outcome was given; ``out of scope`` are destination rows
that are none of the task's business. Money of the source is what the destination should hold by it; null where a task
has none."""

READ = "read"
_PARTS = {
    "source": ("matched", "mismatched", "missing", "excluded", "blocked"),
    "destination": ("matched", "mismatched", "extra", "blocked", OUT_OF_SCOPE),
}


def sums(task: Task, expected: pl.DataFrame, found: pl.DataFrame, outcomes: Outcomes) -> pl.DataFrame:
    """Add up both sides of a comparison.

    Args:
        task: With the columns of amount and currency, if it has them.
        expected: Every source row, as the destination should hold it.
        found: Every destination row that was read.
        outcomes: What became of them.

    Returns:
        Columns of `SUM_COLUMNS`. What was read is counted on the frames, what became of it on the outcomes: a row
        without an outcome, or with two, makes a side that does not tie.
    """
    parts = []
    for side, frame in (("source", expected), ("destination", found)):
        money = pl.col(task.amount).cast(MONEY) if task.amount in frame.columns else pl.lit(None, MONEY)
        code = pl.col(task.currency) if task.currency in frame.columns else pl.lit(None, pl.String)
        row = f"{side}_row"
        worth = frame.with_row_index(row).select(row, amount=money, currency=code)
        given = outcomes.rows.select(row, "outcome").drop_nulls(row)
        told = [worth.with_columns(outcome=pl.lit(READ)), given.join(worth, on=row, how="left")]
        if side == "destination":
            rest = worth.join(given, on=row, how="anti").with_columns(outcome=pl.lit(OUT_OF_SCOPE))
            told.append(rest)
            off = outcomes.out_of_scope - rest.height
            if off:  # whoever wrote `compare` has lost rows: said, not hidden
                parts.append(
                    pl.DataFrame([(task.name, side, OUT_OF_SCOPE, None, off, None)], SUM_COLUMNS, orient="row")
                )
        summed = (
            pl.concat([one.lazy().select("outcome", "currency", "amount") for one in told])
            .group_by("outcome", "currency")
            .agg(rows=pl.len(), amount=pl.when(pl.col("amount").count() > 0).then(pl.col("amount").sum()))
            .select(pl.lit(task.name).alias("task"), pl.lit(side).alias("side"), pl.all())
            .collect()
        )
        parts.append(summed)
    order = [READ, *dict.fromkeys(name for names in _PARTS.values() for name in names)]
    place = pl.col("outcome").replace_strict({name: at for at, name in enumerate(order)}, return_dtype=pl.Int32)
    made = pl.concat([part.select(SUM_COLUMNS.names()).cast(SUM_COLUMNS) for part in parts])
    return made.sort(pl.col("side") == "destination", place, "currency", nulls_last=True)


def tied(found: pl.DataFrame) -> pl.DataFrame:
    """Hold the outcomes of each side against what was read of it.

    Args:
        found: Columns of `SUM_COLUMNS`.

    Returns:
        A row for each task and side, in order: task, side, read, a column for each outcome of either side (null where
        a side cannot have it), ties (rows and the money of every currency come to what was read).
    """
    is_read = pl.col("outcome") == READ
    by = ["task", "side", "currency"]
    amount = pl.col("amount").fill_null(0)
    each = found.group_by(by, maintain_order=True).agg(
        off_rows=pl.col("rows").filter(is_read).sum() - pl.col("rows").filter(~is_read).sum(),
        off_amount=amount.filter(is_read).sum() - amount.filter(~is_read).sum(),
    )
    ties = each.group_by("task", "side", maintain_order=True).agg(
        ties=((pl.col("off_rows") == 0) & (pl.col("off_amount") == 0)).all()
    )
    sides: dict[str, list[str]] = {}
    for side, names in _PARTS.items():
        for name in names:
            sides.setdefault(name, []).append(side)
    counts = {name: pl.col("rows").filter(pl.col("outcome") == name).sum() for name in (READ, *sides)}
    summed = found.group_by("task", "side", maintain_order=True).agg(**counts)
    shown = [pl.when(pl.col("side").is_in(where)).then(name).alias(name) for name, where in sides.items()]
    return summed.with_columns(shown).join(ties, on=["task", "side"], maintain_order="left")


def bridge(found: pl.DataFrame) -> pl.DataFrame:
    """From the money of the source to that of the destination, for each task and currency.

    Args:
        found: Columns of `SUM_COLUMNS`.

    Returns:
        Columns task, currency, source (read), excluded, missing, blocked_at_source (each what is taken off),
        differences (destination less source of the pairs), extra, blocked_at_destination, out_of_scope (each what
        comes on), destination (read), ties (the way ends at what was read). Tasks without money have no row.
    """
    by = ["task", "currency"]

    def of(side: str, *outcomes: str) -> pl.Expr:
        here = (pl.col("side") == side) & pl.col("outcome").is_in(outcomes)
        return pl.col("amount").filter(here).sum()

    pairs = ("matched", "mismatched")
    steps = found.filter(pl.col("amount").count().over("task") > 0).group_by(by, maintain_order=True)
    told = steps.agg(
        source=of("source", READ),
        excluded=-of("source", "excluded"),
        missing=-of("source", "missing"),
        blocked_at_source=-of("source", "blocked"),
        differences=of("destination", *pairs) - of("source", *pairs),
        extra=of("destination", "extra"),
        blocked_at_destination=of("destination", "blocked"),
        out_of_scope=of("destination", OUT_OF_SCOPE),
        destination=of("destination", READ),
    )
    way = pl.sum_horizontal(told.columns[2:-1])
    return told.with_columns(ties=way == pl.col("destination")).sort(
        pl.col("task").cast(pl.Enum(found["task"].unique(maintain_order=True))), "currency", nulls_last=True
    )
