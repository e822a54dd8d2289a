"""Figures of a run: frames to Altair charts, and charts to inline SVG that needs no network and no script."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from p2c_lib.errors import SchemaError
from p2c_lib.explain import money_text

if TYPE_CHECKING:
    from altair import Chart, FacetChart, LayerChart

    AnyChart = Chart | FacetChart | LayerChart

__all__ = ["amount_by_currency", "field_bars", "mimebundle", "outcome_bars", "routing", "static_html"]

# Okabe and Ito's colours, which stay apart for every kind of colour blindness; grey for what is none of a task's
# business. Fields and rows share no outcome, so a colour never means two things in one figure.
ROW_COLOURS: Final = {
    "matched": "#009E73",
    "mismatched": "#E69F00",
    "missing": "#0072B2",
    "extra": "#56B4E9",
    "excluded": "#BBBBBB",
    "blocked": "#D55E00",
}
FIELD_COLOURS: Final = {
    "different": "#D55E00",
    "rounding": "#56B4E9",
    "representation": "#BBBBBB",
    "unmapped": "#E69F00",
    "truncated": "#0072B2",
}
ONE_COLOUR: Final = "#0072B2"
_BAR: Final = 20
_INK: Final = "#222222"
# How far a scale goes beyond its longest bar, so that there is room for the number beside it.
_ROOM: Final = 2.0


def outcome_bars(rows: pl.DataFrame) -> AnyChart:
    """Show what became of the rows of each task.

    Args:
        rows: A row for each task: `task` and a count for each row outcome (columns of other names are left alone).

    Returns:
        A column of bars for each outcome, a bar for each task. Each column has a scale of its own and each bar its
        number, so that three missing rows are seen beside a million that match.

    Raises:
        SchemaError: There is no column `task`.
    """
    _require(rows, ["task"])
    import altair as alt

    outcomes = [name for name in ROW_COLOURS if name in rows.columns]
    long = rows.select("task", *(pl.col(name).cast(pl.Int64) for name in outcomes)).unpivot(
        index="task", variable_name="outcome", value_name="rows"
    )
    long = long.with_columns(room=_ROOM * pl.col("rows").max().over("outcome").clip(lower_bound=1))
    tasks = rows["task"].unique(maintain_order=True).to_list()
    base = alt.Chart(long, height=_BAR * max(len(tasks), 1)).encode(
        y=alt.Y("task:N", sort=tasks, title=None, axis=_plain_axis()),
        x=alt.X("rows:Q", title=None, axis=None),
    )
    bars = base.mark_bar(size=_BAR - 6).encode(color=_colours("outcome", ROW_COLOURS, legend=False))
    numbers = base.mark_text(align="left", dx=4, color=_INK).encode(text=alt.Text("rows:Q", format=",d"))
    return _finished(
        alt.layer(bars, numbers, _room(base))
        .properties(width=112)
        .facet(
            column=alt.Column("outcome:N", sort=list(outcomes), title=None, header=alt.Header(labelFontWeight="bold")),
            spacing=8,
        )
        .resolve_scale(x="independent"),
        f"Rows of {len(tasks)} tasks by outcome",
    )


def field_bars(cells: pl.DataFrame) -> AnyChart:
    """Show which fields differ, and how.

    Args:
        cells: Counts: `field`, `outcome` (of a field), `rows`; with `task` when there is more than one. A field may
            have several outcomes.

    Returns:
        A bar for each field, the one with most differences on top, stacked by outcome.

    Raises:
        SchemaError: A column is missing.
    """
    _require(cells, ["field", "outcome", "rows"])
    import altair as alt

    several = "task" in cells.columns and cells["task"].n_unique() > 1
    name = pl.concat_str("task", pl.lit(": "), "field") if several else pl.col("field")
    counts = (
        cells.select(name.alias("name"), "outcome", pl.col("rows").cast(pl.Int64))
        .group_by("name", "outcome", maintain_order=True)
        .agg(pl.col("rows").sum())
    )
    totals = counts.group_by("name").agg(pl.col("rows").sum()).sort("rows", "name", descending=[True, False])
    order = totals["name"].to_list()
    axis = alt.Y("name:N", sort=order, title=None, axis=_plain_axis())
    height = _BAR * max(len(order), 1)
    bars = (
        alt.Chart(counts, height=height, width=460)
        .mark_bar(size=_BAR - 6)
        .encode(
            y=axis,
            x=alt.X("rows:Q", title="rows", axis=alt.Axis(format=",d", tickMinStep=1, gridColor="#E5E5E5")),
            color=_colours("outcome", FIELD_COLOURS, legend=True),
        )
    )
    numbers = (
        alt.Chart(totals)
        .mark_text(align="left", dx=4, color=_INK)
        .encode(y=axis, x=alt.X("rows:Q", axis=None), text=alt.Text("rows:Q", format=",d"))
    )
    return _finished(alt.layer(bars, numbers), f"Differing rows of {len(order)} fields by outcome")


def amount_by_currency(amounts: pl.DataFrame) -> AnyChart:
    """Show the money at stake; currencies are never added up.

    Args:
        amounts: `currency` and `amount` (Decimal, or its text, in that currency), with `task` when there is one.

    Returns:
        A panel for each currency with a scale of its own, a bar for each task. The length of a bar is a float; the
        number beside it is exact.

    Raises:
        SchemaError: A column is missing, or an amount is no number.
    """
    _require(amounts, ["currency", "amount"])
    import altair as alt

    named = amounts if "task" in amounts.columns else amounts.with_columns(task=pl.lit("all tasks"))
    try:
        exact = named.select(
            "task", pl.col("currency").fill_null("no currency"), pl.col("amount").cast(pl.Decimal(38, 12))
        )
    except pl.exceptions.InvalidOperationError as error:
        raise SchemaError(f"amount_by_currency: column 'amount' holds something that is no amount: {error}") from error
    sums = exact.group_by("task", "currency", maintain_order=True).agg(pl.col("amount").sum())
    shown = sums.with_columns(
        pl.col("amount").cast(pl.Float64),
        room=_ROOM * pl.col("amount").cast(pl.Float64).abs().max().over("currency"),
        label=pl.Series([money_text(*one) for one in sums.select("amount", "currency").iter_rows()], dtype=pl.String),
    )
    tasks = named["task"].unique(maintain_order=True).to_list()
    base = alt.Chart(shown, height=_BAR * max(len(tasks), 1)).encode(
        y=alt.Y("task:N", sort=tasks, title=None, axis=_plain_axis()),
        x=alt.X("amount:Q", title=None, axis=None),
    )
    bars = base.mark_bar(size=_BAR - 6, color=ONE_COLOUR)
    numbers = base.mark_text(align="left", dx=4, color=_INK).encode(text="label:N")
    return _finished(
        alt.layer(bars, numbers, _room(base))
        .properties(width=230)
        .facet(facet=alt.Facet("currency:N", title=None, header=alt.Header(labelFontWeight="bold")), columns=3)
        .resolve_scale(x="independent"),
        "Amount at stake by task and currency",
    )


def routing(contacts: pl.DataFrame) -> AnyChart:
    """Show where the rows of a source go.

    Args:
        contacts: Counts: `route` (where to), `reason` (why not to the task looked at; null where it is taken), `rows`.

    Returns:
        A bar for each route and reason, most rows on top; the reason stands beside it.

    Raises:
        SchemaError: A column is missing.
    """
    _require(contacts, ["route", "reason", "rows"])
    import altair as alt

    flows = pl.col("reason").is_null()
    counts = (
        contacts.select(
            "route",
            pl.when(flows).then(pl.lit("this task")).otherwise(pl.lit("not this task")).alias("taken"),
            pl.col("reason").fill_null("taken by this task"),
            pl.col("rows").cast(pl.Int64),
        )
        .sort("rows", descending=True, maintain_order=True)
        .with_columns(
            place=pl.concat_str("route", "reason", separator="\n"),
            label=pl.concat_str(pl.col("rows").map_elements("{:,}".format, pl.String), pl.lit("  "), pl.col("reason")),
        )
    )
    base = alt.Chart(counts, height=(_BAR + 6) * max(counts.height, 1), width=220).encode(
        y=alt.Y(
            "place:N",
            sort=counts["place"].to_list(),
            title=None,
            axis=_plain_axis(labelExpr="split(datum.label, '\\n')[0]"),
        ),
        x=alt.X("rows:Q", title=None, axis=None),
    )
    bars = base.mark_bar(size=_BAR - 4).encode(
        color=_colours("taken", {"this task": ROW_COLOURS["matched"], "not this task": "#BBBBBB"}, legend=True)
    )
    numbers = base.mark_text(align="left", dx=4, color=_INK, limit=0).encode(text="label:N")
    return _finished(alt.layer(bars, numbers), "Rows by route")


def static_html(chart: AnyChart) -> str:
    """Draw a chart as inline SVG.

    Args:
        chart: Any Altair chart whose data is in it.

    Returns:
        One ``<svg>`` element: no script, no link, nothing loaded from anywhere; it shrinks to the page's width.
        Several of them can stand in one page. Equal charts give equal text.
    """
    return _svg(chart).replace("<svg ", '<svg style="max-width:100%;height:auto;overflow:visible" ', 1)


def mimebundle(chart: AnyChart) -> dict[str, str]:
    """Give a chart in the forms that a notebook shows.

    Args:
        chart: Any Altair chart whose data is in it.

    Returns:
        ``text/html`` and ``image/svg+xml``, which need no script, and ``text/plain``; for
        ``IPython.display.display(..., raw=True)``.
    """
    described = getattr(chart, "description", None)
    return {
        "text/html": static_html(chart),
        "image/svg+xml": _svg(chart),
        "text/plain": described if isinstance(described, str) else "chart",
    }


def _svg(chart: AnyChart) -> str:
    """Render a chart, with names inside it that no other chart of a page uses."""
    drawn = io.StringIO()
    chart.save(drawn, format="svg")
    text = drawn.getvalue()
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    # Every chart calls its clips and gradients clip0, gradient_0, ...: in one page the first would serve all.
    return re.sub(r'(\bid="|url\(#|href="#)((?:clip|gradient)\w*)', rf"\g<1>p2c-{mark}-\g<2>", text)


def _require(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a frame that lacks columns."""
    lacking = [column for column in columns if column not in frame.columns]
    if lacking:
        raise SchemaError(f"chart: no column {', '.join(lacking)}; there are {', '.join(frame.columns) or 'none'}")


def _room(base: AnyChart) -> AnyChart:
    """Draw nothing as far out as the numbers beside the bars go."""
    nothing: AnyChart = base.mark_point(opacity=0, size=1).encode(x="room:Q")
    return nothing


def _plain_axis(**more: Any) -> Any:
    """Make an axis of names alone."""
    import altair as alt

    return alt.Axis(ticks=False, domain=False, labelLimit=320, labelPadding=6, labelColor=_INK, **more)


def _colours(field: str, colours: dict[str, str], *, legend: bool) -> Any:
    """Bind names to colours, always the same ones."""
    import altair as alt

    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", scale=scale, legend=alt.Legend(title=None, orient="top") if legend else None)


def _finished(chart: AnyChart, description: str) -> AnyChart:
    """Give a chart its ground, its font and the words that a screen reader says."""
    finished: AnyChart = chart.properties(description=description, background="white", padding=16).configure(
        # Metrics that every system has a font for: the drawing measures texts here, the reader's browser draws them.
        font="Arial, Helvetica, sans-serif",
        view={"stroke": None},
        axis={"labelFontSize": 12},
        text={"fontSize": 12},
        header={"labelFontSize": 12, "labelColor": _INK},
        legend={"labelFontSize": 12, "symbolType": "square"},
    )
    return finished
