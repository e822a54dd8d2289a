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

    The best pair of both of its rows goes first; its rows are then out of the way of the others. A pair that is out of
    the way still speaks against others as long as what it lost to is only ambiguous.
    """
    left = pairs.filter(pl.col("bits") >= LISTED).sort("bits", "left", "right", descending=[True, False, False])
    left = left.with_columns(is_open=pl.lit(True))
    chosen = [left.drop("is_open").clear().with_columns(status=pl.lit(None, pl.String))]
    while left["is_open"].any():
        best = left.with_columns(rival=pl.max_horizontal(_next("left"), _next("right"))).filter(
            "is_open", *(pl.col("is_open").cum_sum().over(side) == 1 for side in ("left", "right"))
        )
        clear = (pl.col("bits") >= LEAST) & ~pl.col("is_doubtful")
        clear &= (pl.col("bits") - pl.col("rival").fill_null(LISTED - MARGIN)) >= MARGIN
        best = best.with_columns(status=pl.when(clear).then(pl.lit("proposed")).otherwise(pl.lit("ambiguous")))
        chosen.append(best.select(chosen[0].columns))
        sure = best.filter(pl.col("status") == "proposed")
        for side in ("left", "right"):
            left = left.filter(~pl.col(side).is_in(sure[side].implode()))
            left = left.with_columns(pl.col("is_open") & ~pl.col(side).is_in(best[side].implode()))
    return pl.concat(chosen).sort("left")


def _next(side: str) -> pl.Expr:
    """The best bits of another pair of the same row."""
    best, second = pl.col("bits").first().over(side), pl.col("bits").get(1, null_on_oob=True).over(side)
    return pl.when(pl.col(side).cum_count().over(side) == 1).then(second).otherwise(best)
