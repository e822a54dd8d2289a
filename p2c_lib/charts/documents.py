"""Figures of documents: how far they have come from quote to cash, and how the two sides stand to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from p2c_lib.charts.base import (
    BAR,
    INK,
    ONE_COLOUR,
    SYSTEMS,
    colours,
    finished,
    plain_axis,
    require,
    room,
    system_column,
)

if TYPE_CHECKING:
    from p2c_lib.charts.base import AnyChart

STANDING_COLOURS: Final = {
    "in step": "#009E73",
    "on both sides": "#009E73",
    "Sales behind": "#E69F00",
    "Sales ahead": "#D55E00",
    "cancelled on one side": "#222222",
    "on one side only": "#BBBBBB",
    "number blank or repeated": "#0072B2",
}
_ROOM: Final = 1.2  # bars are wide here, and numbers short


def funnel_bars(stages: pl.DataFrame) -> AnyChart:
    """Show how many documents of each side have reached each stage from quote to cash.

    Args:
        stages: What `funnel.funnel` gives: `stage` (in order), `system`, `documents`, a row a currency.

    Returns:
        A column of bars for each system on one scale, a bar for each stage, with its number.

    Raises:
        SchemaError: A column is missing.
    """
    require(stages, ["stage", "system", "documents"])
    import altair as alt

    counts = stages.group_by("stage", "system", maintain_order=True).agg(pl.col("documents").cast(pl.Int64).sum())
    shown = counts.with_columns(
        pl.col("system").replace_strict(SYSTEMS, default=pl.col("system")),
        room=_ROOM * pl.col("documents").max().clip(lower_bound=1),
    )
    names = counts["stage"].unique(maintain_order=True).to_list()
    base = alt.Chart(shown, height=BAR * max(len(names), 1)).encode(
        y=alt.Y("stage:N", sort=names, title=None, axis=plain_axis()), x=alt.X("documents:Q", title=None, axis=None)
    )
    bars = base.mark_bar(size=BAR - 4, color=ONE_COLOUR)
    numbers = base.mark_text(align="left", dx=4, color=INK).encode(text=alt.Text("documents:Q", format=",d"))
    return finished(
        alt.layer(bars, numbers, room(base)).properties(width=260).facet(column=system_column(), spacing=16),
        "Documents of each side from quote to cash",
    )


def lifecycle_bars(ages: pl.DataFrame) -> AnyChart:
    """Show the documents of each side by status, and how they stand to the other side.

    Args:
        ages: What `funnel.ages` gives: `status` (in order), `system`, `standing`, `documents`.

    Returns:
        A column of bars for each system on one scale, a bar for each status, stacked by standing.

    Raises:
        SchemaError: A column is missing.
    """
    require(ages, ["status", "system", "standing", "documents"])
    import altair as alt

    named = ages.with_columns(
        pl.col("system").replace_strict(SYSTEMS, default=pl.col("system")), pl.col("documents").cast(pl.Int64)
    )
    totals = named.group_by("status", "system", maintain_order=True).agg(pl.col("documents").sum())
    ranks = {standing: rank for rank, standing in enumerate(STANDING_COLOURS)}
    nothing = pl.lit(None, pl.Int64)
    # one frame for all layers, as a facet needs: the totals have no standing
    data = pl.concat(
        [
            named.select("status", "system", "standing", "documents", total=nothing),
            totals.select("status", "system", standing=pl.lit(None, pl.String), documents=nothing, total="documents"),
        ]
    ).with_columns(
        room=_ROOM * pl.lit(totals["documents"]).max().clip(lower_bound=1),
        rank=pl.col("standing").replace_strict(ranks, default=None, return_dtype=pl.Int32),
    )
    names = named["status"].unique(maintain_order=True).to_list()
    present = {name: code for name, code in STANDING_COLOURS.items() if name in named["standing"]}
    base = alt.Chart(data, height=BAR * max(len(names), 1)).encode(
        y=alt.Y("status:N", sort=names, title=None, axis=plain_axis())
    )
    bars = (
        base.transform_filter("isValid(datum.documents)")
        .mark_bar(size=BAR - 6)
        .encode(
            x=alt.X("documents:Q", title=None, axis=None),
            color=colours("standing", present, legend=True),
            order=alt.Order("rank:Q"),
        )
    )
    numbers = (
        base.transform_filter("isValid(datum.total)")
        .mark_text(align="left", dx=4, color=INK)
        .encode(x=alt.X("total:Q", title=None, axis=None), text=alt.Text("total:Q", format=",d"))
    )
    return finished(
        alt.layer(bars, numbers, room(base)).properties(width=260).facet(column=system_column(), spacing=16),
        f"Documents of each side by {len(names)} statuses",
    )
