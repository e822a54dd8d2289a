"""Documents tied out: the lines of a document against its header, on each side and across.

Pure: frames in, frames out. Amounts are exact decimals in the document's own currency.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from p2c_lib.model import TieOut
from p2c_lib.pull import MONEY

LINE_FAULTS = ("lost", "orphan", "renumbered")
"""Lost: at the source only. Orphan: at the destination only. Renumbered: the same line under another number."""

_DOCUMENTS = pl.Schema(
    {
        "document": pl.String(),
        "currency": pl.String(),
        "side": pl.String(),
        "lines": pl.UInt32(),
        "sum_of_lines": MONEY,
        "plus": MONEY,
        "minus": MONEY,
        "total": MONEY,
        "difference": MONEY,
    }
)


ACROSS_COLUMNS = pl.Schema(
    {
        "task": pl.String(),
        "document": pl.String(),
        "lines_expected": pl.UInt32(),
        "lines_found": pl.UInt32(),
        "total_expected": MONEY,
        "total_found": MONEY,
        "difference_expected": MONEY,
        "difference_found": MONEY,
        "currency": pl.String(),
        "at_stake": MONEY,
    }
)
"""Columns and dtypes of ``ties.parquet``: `across` with the line task in front."""

VERDICT_COLUMNS = pl.Schema(
    {
        "task": pl.String(),
        "currency": pl.String(),
        "documents": pl.UInt32(),
        "tied": pl.UInt32(),
        "off_at_source": pl.UInt32(),
        "off_at_destination": pl.UInt32(),
        "totals_differ": pl.UInt32(),
        "one_side_only": pl.UInt32(),
        "at_stake": MONEY,
        "verdict": pl.String(),
    }
)
"""A row a line task and currency. ``tied``: documents that are on both sides, with one total to which the lines of each
side add up; a document that is not may count under several of the four that follow."""

_OFF_AT_SOURCE = pl.col("difference_expected").fill_null(0) != 0
_OFF_AT_DESTINATION = pl.col("difference_found").fill_null(0) != 0
_LOST = pl.col("total_found").is_null()
_FOREIGN = pl.col("total_expected").is_null()
_DIFFER = (pl.col("total_expected") != pl.col("total_found")).fill_null(False)


def tie_out(
    headers: pl.DataFrame, lines: pl.DataFrame, how: TieOut, side: str, currency: str | None = None
) -> pl.DataFrame:
    """Hold each document's header total against its lines.

    Args:
        headers: A row a document, with the header columns of ``how`` (amounts `MONEY`, null counts as 0).
        lines: A row a line, with ``line_document`` and ``line_amount``; lines of no header are left out here.
        how: How the amounts belong together.
        side: What to write into ``side``.
        currency: The header's currency column.

    Returns:
        A row a document: ``lines`` (count), ``sum_of_lines``, ``plus``, ``minus``, ``total`` and ``difference`` =
        total - (sum_of_lines + plus - minus), all in ``currency``. A document without lines ties out at its charges.
    """
    sums = lines.group_by(pl.col(how.line_document).alias("document")).agg(
        lines=pl.len(), sum_of_lines=pl.col(how.line_amount).fill_null(0).sum().cast(MONEY)
    )
    documents = headers.select(
        document=pl.col(how.document),
        currency=pl.col(currency) if currency else pl.lit(None, pl.String),
        side=pl.lit(side),
        total=pl.col(how.total).fill_null(0).cast(MONEY),
        plus=_sum(how.plus),
        minus=_sum(how.minus),
    )
    joined = documents.join(sums, on="document", how="left", maintain_order="left").with_columns(
        pl.col("lines").fill_null(0), pl.col("sum_of_lines").fill_null(0)
    )
    owed = (pl.col("sum_of_lines") + pl.col("plus") - pl.col("minus")).cast(MONEY)
    tied = joined.with_columns(difference=(pl.col("total") - owed).cast(MONEY))
    return tied.select(_DOCUMENTS.names()).cast(_DOCUMENTS)


def _sum(columns: Sequence[str]) -> pl.Expr:
    total = pl.lit(0, MONEY)
    for column in columns:
        total = (total + pl.col(column).fill_null(0)).cast(MONEY)
    return total


def across(source: pl.DataFrame, destination: pl.DataFrame) -> pl.DataFrame:
    """Put both sides of each document beside each other.

    Args:
        source: What `tie_out` gave for the expected side.
        destination: The same for the found side.

    Returns:
        Columns ``document``, ``currency``, ``lines_expected``, ``lines_found``, ``total_expected``, ``total_found``,
        ``difference_expected``, ``difference_found`` (each side against its own lines) and ``at_stake``, the most that
        is wrong with it: the largest of |total_expected - total_found| and the two differences. A document on one side
        only has nulls on the other, and all of its total is at stake.
    """
    columns = ("lines", "total", "difference", "currency")
    ours = source.select("document", *[pl.col(name).alias(f"{name}_expected") for name in columns])
    theirs = destination.select("document", *[pl.col(name).alias(f"{name}_found") for name in columns])
    both = ours.join(theirs, on="document", how="full", coalesce=True, maintain_order="left_right")
    apart = (pl.col("total_expected").fill_null(0) - pl.col("total_found").fill_null(0)).abs().cast(MONEY)
    stake = pl.max_horizontal(apart, pl.col("difference_expected").abs(), pl.col("difference_found").abs())
    return both.select(
        "document",
        "lines_expected",
        "lines_found",
        "total_expected",
        "total_found",
        "difference_expected",
        "difference_found",
        currency=pl.coalesce("currency_expected", "currency_found"),
        at_stake=stake,
    )


def verdicts(ties: pl.DataFrame) -> pl.DataFrame:
    """Say for each line task and currency whether its documents tie out.

    Args:
        ties: Columns of `ACROSS_COLUMNS`.

    Returns:
        Columns of `VERDICT_COLUMNS`, in the order of the tasks, currencies by name.
    """
    off = _OFF_AT_SOURCE | _OFF_AT_DESTINATION | _LOST | _FOREIGN | _DIFFER
    counted = (
        ties.group_by("task", "currency", maintain_order=True)
        .agg(
            documents=pl.len(),
            tied=(~off).sum(),
            off_at_source=_OFF_AT_SOURCE.sum(),
            off_at_destination=_OFF_AT_DESTINATION.sum(),
            totals_differ=_DIFFER.sum(),
            one_side_only=(_LOST | _FOREIGN).sum(),
            at_stake=pl.col("at_stake").sum(),
        )
        .with_columns(
            verdict=pl.when(pl.col("tied") == pl.col("documents"))
            .then(pl.lit("ties out"))
            .otherwise(pl.lit("does not tie out"))
        )
    )
    first = counted.with_row_index("place").with_columns(pl.col("place").min().over("task"))
    return first.sort("place", "currency").select(pl.col(name).cast(dtype) for name, dtype in VERDICT_COLUMNS.items())


def untied(ties: pl.DataFrame) -> pl.DataFrame:
    """The documents that do not tie out, with what is wrong in words, worst first.

    Args:
        ties: Columns of `ACROSS_COLUMNS`.

    Returns:
        The same columns and ``says``.
    """
    said = [
        pl.when(_LOST).then(pl.lit("not at the destination")),
        pl.when(_FOREIGN).then(pl.lit("not at the source")),
        pl.when(_DIFFER).then(pl.lit("the totals differ")),
        pl.when(_OFF_AT_SOURCE).then(pl.lit("its lines do not add up at the source")),
        pl.when(_OFF_AT_DESTINATION).then(pl.lit("its lines do not add up at the destination")),
    ]
    told = ties.with_columns(says=pl.concat_str(said, separator="; ", ignore_nulls=True))
    return told.filter(pl.col("says") != "").sort("at_stake", "task", "document", descending=[True, False, False])


def line_faults(rows: pl.DataFrame, expected: pl.DataFrame, found: pl.DataFrame, how: TieOut) -> pl.DataFrame:
    """Say of each line that stands alone whether it was lost, is an orphan, or only changed its number.

    Args:
        rows: Row outcomes of the line task: ``outcome``, ``source_row``, ``destination_row``.
        expected: The compared source lines; ``source_row`` numbers its rows.
        found: The compared destination lines; ``destination_row`` numbers its rows.
        how: ``same_line`` says what makes two lines the same line.

    Returns:
        Columns ``source_row``, ``destination_row`` (one of them null, or both set for ``renumbered``), ``fault``
        (one of `LINE_FAULTS`). Lines alike in everything are paired in the order of their numbers.
    """
    by = [how.line_document, *how.same_line]
    lost = _alone(rows, "missing", "source_row", expected, by, how.number)
    extra = _alone(rows, "extra", "destination_row", found, by, how.number)
    # a line is renumbered only when it has all it is told by; the nth of several alike goes with the nth
    pairs = lost.join(extra, on=[*by, "nth"], how="inner") if how.same_line else lost.clear().with_columns(
        destination_row=pl.lit(None, pl.UInt32)
    )  # fmt: skip
    renumbered = pairs.select("source_row", "destination_row", fault=pl.lit("renumbered"))
    nothing = pl.lit(None, pl.UInt32)
    left = lost.join(pairs, on="source_row", how="anti")
    right = extra.join(pairs, on="destination_row", how="anti")
    return pl.concat(
        [
            renumbered,
            left.select("source_row", destination_row=nothing, fault=pl.lit("lost")),
            right.select(source_row=nothing, destination_row="destination_row", fault=pl.lit("orphan")),
        ]
    )


def _alone(
    rows: pl.DataFrame, outcome: str, number: str, frame: pl.DataFrame, by: Sequence[str], order: str
) -> pl.DataFrame:
    chosen = rows.filter(pl.col("outcome") == outcome)[number].drop_nulls().cast(pl.UInt32)
    lines = frame[chosen].select(*by, order).with_columns(chosen.alias(number)).sort(*by, order)
    return lines.with_columns(nth=pl.int_range(pl.len()).over(by)).drop(order)
