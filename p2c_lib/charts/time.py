"""Figures of runs over time: what is open, what came and went, what is at stake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from p2c_lib.charts.base import colours, finished, require

if TYPE_CHECKING:
    from p2c_lib.charts.base import AnyChart

# Of Okabe and Ito's colours, as everywhere.
STATE_COLOURS: Final = {"new": "#D55E00", "reopened": "#CC79A7", "open": "#E69F00", "fixed": "#009E73"}
_WIDTH, _HEIGHT = 560, 160


def findings_over_time(trend: pl.DataFrame) -> AnyChart:
    """Show how many findings each run left open, and of these the new and the reopened; below the line what was fixed.

    Args:
        trend: Columns run, started, findings, new, reopened, fixed; several tasks of a run add up.

    Raises:
        SchemaError: A column is missing.
    """
    require(trend, ["run", "started", "findings", "new", "reopened", "fixed"])
    import altair as alt

    names = ["findings", "new", "reopened", "fixed"]
    runs = trend.group_by("run", "started").agg(pl.col(name).sum().cast(pl.Int64) for name in names).sort("started")
    rest = pl.col("findings") - pl.col("new") - pl.col("reopened")
    parts = {"new": pl.col("new"), "reopened": pl.col("reopened"), "open": rest, "fixed": -pl.col("fixed")}
    long = runs.select(_run(), **parts).unpivot(index="at", variable_name="state", value_name="findings")
    chart = (
        alt.Chart(long, width=_WIDTH, height=_HEIGHT)
        .mark_bar()
        .encode(
            x=alt.X("at:N", title=None, sort=None, axis=alt.Axis(labelAngle=-45, labelOverlap=True)),
            y=alt.Y("findings:Q", title="findings", axis=alt.Axis(format=",d")),
            color=colours("state", STATE_COLOURS, legend=True),
        )
    )
    return finished(chart, "Findings of each run: new, reopened, open, and fixed since the run before (below zero)")


def money_over_time(money: pl.DataFrame) -> AnyChart:
    """Show what was at stake in each run, each currency with a scale of its own.

    Args:
        money: Columns run, started, currency, amount; several tasks of a run add up.

    Raises:
        SchemaError: A column is missing.
    """
    require(money, ["run", "started", "currency", "amount"])
    import altair as alt

    runs = money.group_by("run", "started", "currency").agg(pl.col("amount").sum()).sort("started", "currency")
    long = runs.select(_run(), pl.col("currency").fill_null("?"), pl.col("amount").cast(pl.Float64))
    base = alt.Chart(long, width=_WIDTH, height=_HEIGHT // 2).encode(
        x=alt.X("at:N", title=None, sort=None, axis=alt.Axis(labelAngle=-45, labelOverlap=True)),
        y=alt.Y("amount:Q", title=None, axis=alt.Axis(format="~s")),
    )
    rows = alt.Row("currency:N", title=None)
    chart = base.mark_line(point=True).facet(row=rows).resolve_scale(y="independent")
    return finished(chart, "Amount at stake in each run, by currency")


def _run() -> pl.Expr:
    return pl.col("started").dt.strftime("%Y-%m-%d %H:%M:%S").alias("at")
