"""Amounts of document lines in Finance and Operations: the split discount, line amounts and taxes. Pure functions.

That a whole-line discount is kept per unit with the rest as a charge is documented; that percentages come after
amounts, that halves are rounded away from zero, and every tax rate, is inferred.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

CENT = Decimal("0.01")
EXACT = Context(prec=60)
# Percent by ISO code of the invoice address's country; one that is not here has no tax.
TAX_RATES = {"US": 8, "DE": 19, "FR": 20, "GB": 20, "JP": 10, "JA": 10, "IN": 18, "AU": 10, "CA": 5}
EXEMPT = "EXEMPT"  # sales tax group of customers that pay none
# JA is what the templates write for Japan.
REGIONS = {"US": "USA", "DE": "DEU", "FR": "FRA", "GB": "GBR", "JP": "JPN", "JA": "JPN", "IN": "IND", "AU": "AUS",
           "CA": "CAN"}  # fmt: skip


@dataclass(frozen=True)
class Discount:
    """A line discount as it is stored: per unit, and what rounding left as a charge."""

    per_unit: Decimal
    charge: Decimal


def cents(amount: Decimal) -> Decimal:
    """Round to two decimals, halves away from zero."""
    return amount.quantize(CENT, ROUND_HALF_UP, context=EXACT)


def split_discount(discount: Decimal, quantity: Decimal) -> Discount:
    """Split the discount of a whole line.

    Args:
        discount: Of the whole line.
        quantity: Of the line; at zero all of it becomes a charge.

    Returns:
        Per unit u = round(discount / quantity, 2) and the charge u x quantity - discount: 10.00 over 3 is 3.33 and
        -0.01.
    """
    per_unit = cents(EXACT.divide(discount, quantity)) if quantity else Decimal(0)
    return Discount(per_unit, EXACT.subtract(EXACT.multiply(per_unit, quantity), discount))


def whole_discount(split: Discount, quantity: Decimal) -> Decimal:
    """Put a split discount together again: u x quantity - charge."""
    return EXACT.subtract(EXACT.multiply(split.per_unit, quantity), split.charge)


def gross_amount(price: Decimal, quantity: Decimal, price_quantity: Decimal) -> Decimal:
    """Price of a quantity, unrounded; a price quantity of zero counts as one."""
    return EXACT.divide(EXACT.multiply(price, quantity), price_quantity or Decimal(1))


def line_amounts(row: Mapping[str, Any], quantity_column: str) -> tuple[Decimal, Decimal]:
    """Compute discount and amount of a stored line.

    Args:
        row: The line, amounts as decimal text.
        quantity_column: Column that holds the quantity.

    Returns:
        ``TotalDiscountAmount`` and ``LineAmount`` (price x quantity - discount, without tax, two decimals).
    """
    value = {
        name: Decimal(row[name])
        for name in (quantity_column, "SalesPrice", "SalesPriceQuantity", "LineDiscountAmount", "FixedPriceCharges",
                     "LineDiscountPercentage", "MultilineDiscountAmount", "MultilineDiscountPercentage")
    }  # fmt: skip
    quantity = value[quantity_column]
    gross = gross_amount(value["SalesPrice"], quantity, value["SalesPriceQuantity"])
    per_unit = value["LineDiscountAmount"] + value["MultilineDiscountAmount"]
    discount = whole_discount(Discount(per_unit, value["FixedPriceCharges"]), quantity)
    share = 1 - (1 - value["LineDiscountPercentage"] / 100) * (1 - value["MultilineDiscountPercentage"] / 100)
    if share:
        discount += cents((gross - quantity * per_unit) * share)
    return discount, cents(gross - discount)


def tax_rate(region: str, tax_group: str = "") -> Decimal:
    """Tax rate as a fraction.

    Args:
        region: Country/region of the invoice address, three letters, or its ISO code.
        tax_group: Sales tax group of the customer; ``EXEMPT`` pays none.

    Returns:
        0.19 for ``DEU``; 0 for countries that are not in ``TAX_RATES``.
    """
    code = region.strip().upper()
    if tax_group.upper() == EXEMPT:
        return Decimal(0)
    iso = next((iso for iso, long in REGIONS.items() if long == code), code)
    return Decimal(TAX_RATES.get(iso, 0)) / 100


def tax_on(amount: Decimal, rate: Decimal) -> Decimal:
    """Tax on an amount, two decimals."""
    return cents(amount * rate)
