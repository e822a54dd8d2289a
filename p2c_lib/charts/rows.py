"""Figures of rows and fields: outcomes, differences, money at stake, where rows go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from p2c_lib.charts.base import BAR, INK, ONE_COLOUR, ROOM, colours, finished, in_lines, plain_axis, require, room, step
from p2c_lib.errors import SchemaError
from p2c_lib.explain import money_text

if TYPE_CHECKING:
    from p2c_lib.charts.base import AnyChart

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
    require(rows, ["task"])
    import altair as alt

    outcomes = [name for name in ROW_COLOURS if name in rows.columns]
    long = rows.select("task", *(pl.col(name).cast(pl.Int64) for name in outcomes)).unpivot(
        index="task", variable_name="outcome", value_name="rows"
    )
    long = long.with_columns(room=ROOM * pl.col("rows").max().over("outcome").clip(lower_bound=1))
    tasks = rows["task"].unique(maintain_order=True).to_list()
    base = alt.Chart(long, height=BAR * max(len(tasks), 1)).encode(
        y=alt.Y("task:N", sort=tasks, title=None, axis=plain_axis()),
        x=alt.X("rows:Q", title=None, axis=None),
    )
    bars = base.mark_bar(size=BAR - 6).encode(color=colours("outcome", ROW_COLOURS, legend=False))
    numbers = base.mark_text(align="left", dx=4, color=INK).encode(text=alt.Text("rows:Q", format=",d"))
    return finished(
        alt.layer(bars, numbers, room(base))
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
    require(cells, ["field", "outcome", "rows"])
    import altair as alt

    several = "task" in cells.columns and cells["task"].n_unique() > 1
    name = pl.concat_str("task", pl.lit(": "), "field") if several else pl.col("field")
    counts = (
        cells.select(in_lines(name).alias("name"), "outcome", pl.col("rows").cast(pl.Int64))
        .group_by("name", "outcome", maintain_order=True)
        .agg(pl.col("rows").sum())
    )
    totals = counts.group_by("name").agg(pl.col("rows").sum()).sort("rows", "name", descending=[True, False])
    order = totals["name"].to_list()
    axis = alt.Y("name:N", sort=order, title=None, axis=plain_axis())
    height = step(order) * max(len(order), 1)
    bars = (
        alt.Chart(counts, height=height, width=460)
        .mark_bar(size=BAR - 6)
        .encode(
            y=axis,
            x=alt.X("rows:Q", title="rows", axis=alt.Axis(format=",d", tickMinStep=1, gridColor="#E5E5E5")),
            color=colours("outcome", FIELD_COLOURS, legend=True),
        )
    )
    numbers = (
        alt.Chart(totals)
        .mark_text(align="left", dx=4, color=INK)
        .encode(y=axis, x=alt.X("rows:Q", axis=None), text=alt.Text("rows:Q", format=",d"))
    )
    return finished(alt.layer(bars, numbers), f"Differing rows of {len(order)} fields by outcome")


def amount_by_currency(amounts: pl.DataFrame, by: str = "task") -> AnyChart:
    """Show the money at stake; currencies are never added up.

    Args:
        amounts: `currency` and `amount` (Decimal, or its text, in that currency), with ``by`` when there is one.
        by: The column that has a bar for each of its values: task, or reason.

    Returns:
        A panel for each currency with a scale of its own, a bar for each task. The length of a bar is a float; the
        number beside it is exact.

    Raises:
        SchemaError: A column is missing, or an amount is no number.
    """
    require(amounts, ["currency", "amount"])
    import altair as alt

    named = amounts if by in amounts.columns else amounts.with_columns(pl.lit("all").alias(by))
    try:
        exact = named.select(
            in_lines(pl.col(by)).alias("name"),
            pl.col("currency").fill_null("no currency"),
            pl.col("amount").cast(pl.Decimal(38, 12)),
        )
    except pl.exceptions.InvalidOperationError as error:
        raise SchemaError(f"amount_by_currency: column 'amount' holds something that is no amount: {error}") from error
    sums = exact.group_by("name", "currency", maintain_order=True).agg(pl.col("amount").sum())
    shown = sums.with_columns(
        pl.col("amount").cast(pl.Float64),
        room=ROOM * pl.col("amount").cast(pl.Float64).abs().max().over("currency"),
        label=pl.Series([money_text(*one) for one in sums.select("amount", "currency").iter_rows()], dtype=pl.String),
    )
    names = exact["name"].unique(maintain_order=True).to_list()
    base = alt.Chart(shown, height=step(names) * max(len(names), 1)).encode(
        y=alt.Y("name:N", sort=names, title=None, axis=plain_axis()),
        x=alt.X("amount:Q", title=None, axis=None),
    )
    bars = base.mark_bar(size=BAR - 6, color=ONE_COLOUR)
    numbers = base.mark_text(align="left", dx=4, color=INK).encode(text="label:N")
    return finished(
        alt.layer(bars, numbers, room(base))
        .properties(width=230)
        .facet(facet=alt.Facet("currency:N", title=None, header=alt.Header(labelFontWeight="bold")), columns=3)
        .resolve_scale(x="independent"),
        f"Amount at stake by {by} and currency",
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
    require(contacts, ["route", "reason", "rows"])
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
    base = alt.Chart(counts, height=(BAR + 6) * max(counts.height, 1), width=220).encode(
        y=alt.Y(
            "place:N",
            sort=counts["place"].to_list(),
            title=None,
            axis=plain_axis("split(datum.label, '\\n')[0]"),
        ),
        x=alt.X("rows:Q", title=None, axis=None),
    )
    bars = base.mark_bar(size=BAR - 4).encode(
        color=colours("taken", {"this task": ROW_COLOURS["matched"], "not this task": "#BBBBBB"}, legend=True)
    )
    numbers = base.mark_text(align="left", dx=4, color=INK, limit=0).encode(text="label:N")
    return finished(alt.layer(bars, numbers), "Rows by route")
