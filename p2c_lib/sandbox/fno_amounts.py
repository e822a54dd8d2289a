"""Amounts of document lines in Finance and Operations: the split discount, line amounts and taxes. Pure functions.

That a whole-line discount is kept per unit, at two places whatever the currency, with the rest as a charge is
documented. Inferred: that amounts are rounded by the currency's general rounding rule, gross and discount each by
itself, halves away from zero; that percentages come after amounts; and every tax rate.
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


def rounded(amount: Decimal, unit: Decimal = CENT) -> Decimal:
    """Round to a whole number of units (a currency's rounding rule: 0.01, 1, 0.05), halves away from zero."""
    count = EXACT.divide(amount, unit).quantize(Decimal(1), ROUND_HALF_UP, context=EXACT)
    return EXACT.multiply(count, unit)


def split_discount(discount: Decimal, quantity: Decimal, unit: Decimal = CENT) -> Discount:
    """Split the discount of a whole line.

    Args:
        discount: Of the whole line.
        quantity: Of the line; at zero all of it becomes a charge.
        unit: What a discount per unit is a whole number of; published is 0.01.

    Returns:
        Per unit u = round(discount / quantity, 2) and the charge u x quantity - discount: 10.00 over 3 is 3.33 and
        -0.01.
    """
    per_unit = rounded(EXACT.divide(discount, quantity), unit) if quantity else Decimal(0)
    return Discount(per_unit, EXACT.subtract(EXACT.multiply(per_unit, quantity), discount))


def whole_discount(split: Discount, quantity: Decimal) -> Decimal:
    """Put a split discount together again: u x quantity - charge."""
    return EXACT.subtract(EXACT.multiply(split.per_unit, quantity), split.charge)


def gross_amount(price: Decimal, quantity: Decimal, price_quantity: Decimal) -> Decimal:
    """Price of a quantity, unrounded; a price quantity of zero counts as one."""
    return EXACT.divide(EXACT.multiply(price, quantity), price_quantity or Decimal(1))


def line_amounts(row: Mapping[str, Any], quantity_column: str, unit: Decimal = CENT) -> tuple[Decimal, Decimal]:
    """Compute discount and amount of a stored line.

    Args:
        row: The line, amounts as decimal text.
        quantity_column: Column that holds the quantity.
        unit: Rounding rule of the currency.

    Returns:
        ``TotalDiscountAmount`` and ``LineAmount`` (price x quantity - discount, without tax).
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
        discount += rounded((gross - quantity * per_unit) * share, unit)
    return discount, net_amount(gross, discount, unit)


def net_amount(gross: Decimal, discount: Decimal, unit: Decimal = CENT) -> Decimal:
    """Gross less discount, each rounded by itself, as Sales does: of 0.005 less 1.00 they would differ otherwise."""
    return rounded(gross, unit) - rounded(discount, unit)


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


def tax_on(amount: Decimal, rate: Decimal, unit: Decimal = CENT) -> Decimal:
    """Tax on an amount, rounded by the currency's rule."""
    return rounded(amount * rate, unit)
