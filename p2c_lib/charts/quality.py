"""Figures of the quality of data, and of runs that are compared with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from p2c_lib.charts.base import INK, ONE_COLOUR, finished, plain_axis, require

if TYPE_CHECKING:
    from p2c_lib.charts.base import AnyChart

_SIDES: Final = {"source": "Source", "expected": "What it becomes", "destination": "Destination"}
_ROW, _CELL = 20, 74
_LOW: Final = 90  # what is worse than this is as dark as can be


def quality_heatmap(scores: pl.DataFrame) -> AnyChart:
    """Show the scores of the data, the lower the darker.

    Args:
        scores: Columns task, side, dimension, score (0 to 100, null where nothing was looked at).

    Returns:
        A block of cells for each side, a row for each task, a column for each dimension, each cell with its score.

    Raises:
        SchemaError: A column is missing.
    """
    require(scores, ["task", "side", "dimension", "score"])
    import altair as alt

    present = [side for side in _SIDES if side in scores["side"].to_list()]
    shown = scores.select(
        "task", "dimension", "score", side=pl.col("side").replace(_SIDES), text=pl.col("score").round(1).cast(pl.String)
    ).with_columns(pl.col("text").fill_null("–"))
    tasks = scores["task"].unique(maintain_order=True).to_list()
    names = scores["dimension"].unique(maintain_order=True).to_list()
    top = alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False)
    base = alt.Chart(shown, width=_CELL * max(len(names), 1), height=_ROW * max(len(tasks), 1)).encode(
        x=alt.X("dimension:N", sort=names, title=None, axis=top),
        y=alt.Y("task:N", sort=tasks, title=None, axis=plain_axis()),
    )
    scale = alt.Scale(domain=[_LOW, 100], range=["#D55E00", "#FFFFFF"], clamp=True, interpolate="rgb")
    cells = base.mark_rect(stroke="#D9E0E6").encode(
        color=alt.condition(
            "isValid(datum.score)", alt.Color("score:Q", scale=scale, legend=None), alt.value("#F0F0F0")
        )
    )
    numbers = base.mark_text(color=INK).encode(text="text:N")
    header = alt.Header(labelFontWeight="bold", labelFontSize=12)
    columns = alt.Row("side:N", sort=[_SIDES[side] for side in present], title=None, header=header)
    return finished(
        alt.layer(cells, numbers).facet(row=columns, spacing=14), f"Quality of the data of {len(tasks)} tasks, 0 to 100"
    )


def differing_over_time(runs: pl.DataFrame) -> AnyChart:
    """Show how many rows were not in step in each run.

    Args:
        runs: Columns run, started, differing.

    Raises:
        SchemaError: A column is missing.
    """
    require(runs, ["run", "started", "differing"])
    import altair as alt

    shown = runs.select(
        at=pl.col("started").dt.strftime("%Y-%m-%d %H:%M:%S"), differing=pl.col("differing").cast(pl.Int64)
    )
    counts = alt.Axis(format=",d", tickMinStep=1, gridColor="#E5E5E5")
    base = alt.Chart(shown, width=560, height=120).encode(
        x=alt.X("at:N", title=None, sort=None, axis=alt.Axis(labelAngle=-45, labelOverlap=True)),
        y=alt.Y("differing:Q", title="rows not in step", axis=counts),
    )
    bars = base.mark_bar(color=ONE_COLOUR, size=18)
    numbers = base.mark_text(dy=-7, color=INK).encode(text=alt.Text("differing:Q", format=",d"))
    return finished(alt.layer(bars, numbers), "Rows that were not in step in each run")
