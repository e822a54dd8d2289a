"""Of all weighed pairs, those to propose: one for each row, and only where no other is nearly as good."""

from __future__ import annotations

import polars as pl

__all__ = ["LEAST", "MARGIN", "choose"]

LEAST = 6.0
"""Bits for it, prior included, from which a pair is proposed: odds of 64 to 1."""
MARGIN = 4.0
"""Bits by which a pair must be ahead of every other of either row."""
LISTED = LEAST - MARGIN
"""Bits from which a pair that is not certain is listed, for a person to decide."""


def choose(pairs: pl.DataFrame) -> pl.DataFrame:
    """Choose at most one pair for each row.

    Args:
        pairs: ``left``, ``right`` (UInt32), ``bits`` (Float64, prior included), ``is_doubtful`` (Boolean: it must not
            be proposed, however many bits speak for it).

    Returns:
        The pairs chosen, with ``status``: ``proposed``, or ``ambiguous`` where two are nearly as good, the pair is
        doubtful or not certain enough. No row stands twice.

    The best pair of both of its rows goes first; its rows are then out of the way of the others.
    """
    left = pairs.filter(pl.col("bits") >= LISTED).sort("bits", "left", "right", descending=[True, False, False])
    chosen = [left.clear().with_columns(status=pl.lit(None, pl.String))]
    while left.height:
        ranked = left.with_columns(
            rival=pl.max_horizontal(_next("left"), _next("right")),
            is_best=(pl.col("left").cum_count().over("left") == 1) & (pl.col("right").cum_count().over("right") == 1),
        )
        best = ranked.filter("is_best")
        clear = (pl.col("bits") >= LEAST) & ~pl.col("is_doubtful")
        clear &= (pl.col("bits") - pl.col("rival").fill_null(LISTED - MARGIN)) >= MARGIN
        chosen.append(
            best.with_columns(status=pl.when(clear).then(pl.lit("proposed")).otherwise(pl.lit("ambiguous"))).select(
                chosen[0].columns
            )
        )
        taken = best.select("left"), best.select("right")
        left = left.join(taken[0], on="left", how="anti", maintain_order="left")
        left = left.join(taken[1], on="right", how="anti", maintain_order="left")
    return pl.concat(chosen).sort("left")


def _next(side: str) -> pl.Expr:
    """The best bits of another pair of the same row."""
    best, second = pl.col("bits").first().over(side), pl.col("bits").get(1, null_on_oob=True).over(side)
    return pl.when(pl.col(side).cum_count().over(side) == 1).then(second).otherwise(best)
