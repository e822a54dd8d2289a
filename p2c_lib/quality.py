"""How good the data of each side is: expectation results as scores, by task, side and dimension.

Pure. A score is the share of what was looked at that is as it should be, from 0 to 100:

    100 * sum(weight * rows that pass) / sum(weight * rows looked at)

over the checks of a dimension, with a weight of 3 for a critical check, 2 for a warning, 1 for information. Rows looked
at are those with a value, unless the check is about missing values. A check of a whole table or column counts for all
of its rows: they pass together, or none does. A score is rounded down to one decimal, so that 100.0 says that nothing
failed; where nothing was looked at there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from p2c_lib.validate import DIMENSIONS

__all__ = ["ALL", "QUALITY_COLUMNS", "WEIGHTS", "compared", "overall", "scored", "scores", "wide", "worst_columns"]

WEIGHTS: Mapping[str, int] = {"critical": 3, "warning": 2, "info": 1}
ALL = "all"
QUALITY_COLUMNS = pl.Schema(
    {
        "task": pl.String(),
        "side": pl.String(),
        "dimension": pl.String(),
        "checks": pl.Int64(),
        "failed": pl.Int64(),
        "looked_at": pl.Decimal(38, 0),
        "passed": pl.Decimal(38, 0),
        "score": pl.Float64(),
        "before": pl.Float64(),
        "change": pl.Float64(),
    }
)
"""A row for each task, side (source, expected, destination) and dimension, and one for all of them. ``looked_at`` and
``passed`` are weighted rows; ``before`` is the score of the last earlier run of the task, null where there is none."""

_CHECKS = pl.Schema(
    {
        "task": pl.String(),
        "side": pl.String(),
        "column": pl.String(),
        "dimension": pl.String(),
        "says": pl.String(),
        "severity": pl.String(),
        "success": pl.Boolean(),
        "rows": pl.Int64(),
        "failing": pl.Int64(),
    }
)


def scores(checks: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The scores of a run's suites.

    Args:
        checks: As they stand in ``checks.json``: suites, each with its rows and checks.

    Returns:
        Columns of `QUALITY_COLUMNS`, tasks and sides in the order of the suites; ``before`` and ``change`` are null.
    """
    each = _each(checks)
    weight = pl.col("severity").replace_strict(WEIGHTS, default=1, return_dtype=pl.Int64)
    weighed = each.with_columns(
        looked_at=(weight * pl.col("rows")), passed=(weight * (pl.col("rows") - pl.col("failing")))
    )
    by = ["task", "side", "dimension"]
    both = pl.concat([weighed, weighed.with_columns(dimension=pl.lit(ALL))])
    summed = both.group_by(by).agg(
        checks=pl.len(),
        failed=(~pl.col("success")).sum(),
        looked_at=pl.col("looked_at").sum(),
        passed=pl.col("passed").sum(),
    )
    grid = each.select("task", "side").unique(maintain_order=True).with_row_index("place")
    names = pl.DataFrame({"dimension": [*DIMENSIONS, ALL]})
    whole = grid.join(names, how="cross").join(summed, on=by, how="left", maintain_order="left")
    return scored(whole.with_columns(pl.col("checks", "failed", "looked_at", "passed").fill_null(0)))


def scored(frame: pl.DataFrame) -> pl.DataFrame:
    """Work out the scores of weighted rows that are counted already; ``before`` and ``change`` are null."""
    looked = pl.col("looked_at").cast(pl.Int64)
    tenths = pl.when(looked > 0).then(pl.col("passed").cast(pl.Int64) * 1000 // looked)
    nothing = pl.lit(None, pl.Float64)
    return (
        frame.with_columns(score=(tenths / 10).round(1), before=nothing, change=nothing)
        .select(QUALITY_COLUMNS.names())
        .cast(QUALITY_COLUMNS)
    )


def compared(now: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Scores beside those of an earlier run, with the change.

    Args:
        now: Columns of `QUALITY_COLUMNS`.
        before: Columns task, side, dimension, score.
    """
    by = ["task", "side", "dimension"]
    earlier = before.select(*by, pl.col("score").alias("before"))
    joined = now.drop("before", "change").join(earlier, on=by, how="left", maintain_order="left", validate="1:1")
    change = (pl.col("score") - pl.col("before")).round(1)
    return joined.with_columns(change=change).select(QUALITY_COLUMNS.names())


def wide(found: pl.DataFrame) -> pl.DataFrame:
    """Scores as people read them: task, side, a column for each dimension, all, change, checks, failed."""
    by = ["task", "side"]
    cells = [pl.col("score").filter(pl.col("dimension") == name).first().alias(name) for name in (*DIMENSIONS, ALL)]
    whole = pl.col("dimension") == ALL
    rest = [pl.col(name).filter(whole).first() for name in ("change", "checks", "failed")]
    return found.group_by(by, maintain_order=True).agg(*cells, *rest)


def overall(found: pl.DataFrame) -> float | None:
    """One score for a whole run; None where nothing was looked at."""
    whole = found.filter(pl.col("dimension") == ALL)
    looked, passed = (int(whole[name].sum() or 0) for name in ("looked_at", "passed"))
    return passed * 1000 // looked / 10 if looked else None


def worst_columns(checks: Sequence[Mapping[str, Any]], most: int = 15) -> pl.DataFrame:
    """The columns with the lowest scores.

    Args:
        checks: As in `scores`.
        most: How many.

    Returns:
        Columns task, side, column, score, failing (rows, of its check that most fail), failed (checks), check (that
        one, in words), dimension; those in which nothing fails are left out.
    """
    each = _each(checks).filter(pl.col("column").is_not_null())
    weight = pl.col("severity").replace_strict(WEIGHTS, default=1, return_dtype=pl.Int64)
    looked, failing = (weight * pl.col("rows")).sum(), (weight * pl.col("failing")).sum()
    first = pl.col("failing").arg_max()
    found = each.group_by("task", "side", "column", maintain_order=True).agg(
        score=pl.when(looked > 0).then((looked - failing) * 1000 // looked).truediv(10).round(1),
        failing=pl.col("failing").max(),
        failed=(~pl.col("success")).sum(),
        check=pl.col("says").get(first),
        dimension=pl.col("dimension").get(first),
    )
    bad = found.filter(pl.col("failing") > 0)
    return bad.sort("score", "failing", descending=[False, True], maintain_order=True).head(most)


def _each(checks: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Every check as a row: what it is about, how many rows it looked at, how many of these fail."""
    rows = []
    for suite in checks:
        task, _, side = suite["suite"].rpartition("_")
        for check in suite["checks"]:
            looked, failing = check.get("looked_at"), check["unexpected_count"]
            if looked is None:  # about a whole table or column
                looked = max(suite.get("rows") or 0, failing, 1)
                failing = 0 if check["success"] else looked
            says = check["meta"].get("says") or check["expectation"]
            dimension = check["meta"].get("dimension", "valid")
            rows.append(
                (task, side, check["column"], dimension, says, check["severity"], check["success"], looked, failing)
            )
    return pl.DataFrame(rows, schema=_CHECKS, orient="row")
