"""The arithmetic of documents: discounts split over units, totals of a header, tax on its charges.

Pure: expressions and frames in and out. Amounts are exact decimals (`MONEY`) in the document's own currency.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import polars as pl
from babel.numbers import get_currency_precision

from p2c_lib.pull import MONEY

__all__ = ["Split", "document_total", "freight_tax", "join_discount", "smallest_unit", "split_discount"]

PLACES = 2
"""Decimal places that a discount for one unit is rounded to. Published as 2 without a word about the currency; that it
holds for yen and dinar too is inferred. The charge takes up whatever is left, so a discount comes back either way."""
MOST_PLACES = 6
"""With these and the 5 places of a quantity a product is still exact in the 12 places of `MONEY`."""

_FREIGHT_TAX = pl.Schema(
    {
        "document": pl.String(),
        "lines": pl.UInt32(),
        "expected": MONEY,
        "found": MONEY,
        "difference": MONEY,
        "fault": pl.String(),
    }
)


@dataclass(frozen=True)
class Split:
    """A line's discount as F&O keeps it: ``per_unit`` (the line discount) and ``charge`` (the sales charge)."""

    per_unit: pl.Expr
    charge: pl.Expr


def split_discount(discount: pl.Expr, quantity: pl.Expr, places: int = PLACES) -> Split:
    """Split a discount on a whole line into one for each unit and a charge that takes up the rounding.

    Args:
        discount: Of the whole line, D; `MONEY`, in the document's currency, at most 6 decimal places.
        quantity: Of the line, q; a decimal of at most 5 places, negative for a return.
        places: Decimal places of the discount for one unit, 0 to 6; another number than the published 2 for a site
            whose F&O rounds it by the currency.

    Returns:
        ``per_unit`` u = D / q, rounded half away from zero, and ``charge`` c = u q - D; so D = u q - c, always.
        On a line of no quantity there is nothing to spread over: u = 0, c = -D (inferred). Null where D or q is.
        What does not fit 26 digits before the point is refused by Polars (ComputeError), never cut.

    Raises:
        ValueError: ``places`` is out of range.

    Source: the pages of the quote and order templates, 10.00 over 3 is 3.33 and -0.01; halves away from zero and
    other signs are inferred. The quotient is rounded from its exact value: 12 places of it would not do where it lies
    next to a half.
    """
    if not 0 <= places <= MOST_PLACES:
        raise ValueError(f"places={places}: a discount for one unit has 0 to {MOST_PLACES} decimal places")
    amount, count = discount.cast(MONEY), quantity.cast(MONEY)
    is_none = count == 0
    divisor = pl.when(is_none).then(pl.lit(1, MONEY)).otherwise(count).cast(MONEY)
    near = (amount / divisor).cast(MONEY).round(places, mode="half_away_from_zero").cast(MONEY)
    unit = pl.lit(Decimal(1).scaleb(-places), MONEY)
    # What is left over may be half a unit at most; at just that half, the larger of the two goes.
    left = (amount.abs() - near.abs() * divisor.abs()).cast(MONEY)
    half = (divisor.abs() * unit * pl.lit(Decimal("0.5"), MONEY)).cast(MONEY)
    step = pl.when(left >= half).then(unit).when(left < -half).then(-unit).otherwise(pl.lit(0, MONEY))
    size = (near.abs() + step).cast(MONEY)
    is_negative = (amount < 0) != (divisor < 0)
    per_unit = pl.when(is_none).then(pl.lit(0, MONEY)).when(is_negative).then(-size).otherwise(size)
    per_unit = pl.when(amount.is_not_null() & count.is_not_null()).then(per_unit).cast(MONEY)
    return Split(per_unit, (per_unit * count - amount).cast(MONEY))


def join_discount(per_unit: pl.Expr, quantity: pl.Expr, charge: pl.Expr) -> pl.Expr:
    """Put a split discount together again.

    Args:
        per_unit: Discount for one unit, u.
        quantity: Of the line, q.
        charge: The sales charge that takes up the rounding, c.

    Returns:
        The discount of the whole line, D = u q - c.
    """
    return (per_unit.cast(MONEY) * quantity.cast(MONEY) - charge.cast(MONEY)).cast(MONEY)


def document_total(lines: pl.Expr, discount: pl.Expr, freight: pl.Expr, header_tax: pl.Expr) -> pl.Expr:
    """Work out a document's total from its parts.

    Args:
        lines: Sum of the lines' extended amounts, tax included, the Freight Tax line left out.
        discount: On the header.
        freight: Charges on the header.
        header_tax: Tax on these charges; in Sales the amount of the Freight Tax line.

    Returns:
        lines - discount + freight + tax on charges; a part that is null counts as 0.
    """
    first, less, *more = (part.cast(MONEY).fill_null(0) for part in (lines, discount, freight, header_tax))
    return (first - less + more[0] + more[1]).cast(MONEY)


def freight_tax(headers: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Hold each document's Freight Tax line against the tax on its charges.

    Args:
        headers: A row a document: ``document``, ``header_tax`` (`MONEY`; null counts as 0).
        lines: The lines that Sales made for it, and no others: ``document``, ``amount`` (`MONEY`).

    Returns:
        A row a document, in the order of ``headers``: ``lines`` (count), ``expected``, ``found``, ``difference`` =
        expected - found, and ``fault``: ``several`` (the solution stops at the second), ``missing``, ``left_over``
        (there is no tax any more), ``different``; null where all is well.
    """
    made = lines.group_by("document").agg(lines=pl.len(), found=pl.col("amount").fill_null(0).sum().cast(MONEY))
    held = headers.select("document", expected=pl.col("header_tax").cast(MONEY).fill_null(0))
    held = held.join(made, on="document", how="left", maintain_order="left").with_columns(
        pl.col("lines").fill_null(0), pl.col("found").fill_null(0)
    )
    fault = (
        pl.when(pl.col("lines") > 1)
        .then(pl.lit("several"))
        .when((pl.col("lines") == 0) & (pl.col("expected") != 0))
        .then(pl.lit("missing"))
        .when((pl.col("lines") == 1) & (pl.col("expected") == 0))
        .then(pl.lit("left_over"))
        .when(pl.col("expected") != pl.col("found"))
        .then(pl.lit("different"))
    )
    difference = (pl.col("expected") - pl.col("found")).cast(MONEY)
    return held.with_columns(difference=difference, fault=fault).select(_FREIGHT_TAX.names()).cast(_FREIGHT_TAX)


@lru_cache(maxsize=512)
def smallest_unit(currency: str | None) -> Decimal:
    """The smallest amount of a currency (ISO 4217 by way of CLDR); 0.01 where the code is not known."""
    return Decimal(1).scaleb(-get_currency_precision((currency or "").upper()))
