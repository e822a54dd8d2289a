"""The pricing engine of Sales: what a line costs and what a document comes to.

A line: ``baseamount = (priceperunit - volumediscountamount) * quantity``, ``extendedamount = baseamount -
manualdiscountamount + tax``. A document: ``totallineitemamount`` sums base amounts less line discounts,
``totalamountlessfreight`` is that less the header's discount, ``totalamount`` adds freight and the taxes of the lines.
The service works them out at writes of lines and when a header is read; the sandbox at every write of either, so rows
that were loaded keep the amounts they were loaded with until then.

Errors do not fail a call: they land in ``pricingerrorcode``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_core import Work
from p2c_lib.sandbox.sales_kinds import Kind

__all__ = ["document_totals", "header_amounts", "is_priced", "line_amounts", "line_prices"]

WIDE = Context(prec=60)
DETAIL_ERROR, MISSING_LIST, INACTIVE_LIST, MISSING_QUANTITY, MISSING_PRICE = 1, 2, 3, 4, 5
MISSING_PRODUCT, MISSING_UNIT, NOT_IN_LIST = 6, 10, 11
SKIPPED_ON = {"create": (1, 3), "update": (2, 3)}  # values of a line's skippricecalculation


def _money(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP, context=WIDE)


def _decimal(value: Any) -> Decimal:
    return Decimal(0) if value is None else Decimal(value)


def line_amounts(
    price: Decimal, quantity: Decimal, discount: Decimal, tax: Decimal, *, volume: Decimal = Decimal(0), places: int = 2
) -> tuple[Decimal, Decimal]:
    """Base and extended amount of a line.

    Args:
        price: Price of one unit.
        quantity: Units.
        discount: Manual discount of the whole line.
        tax: Tax of the line.
        volume: Volume discount of one unit.
        places: Decimals of the currency.

    Returns:
        ``(baseamount, extendedamount)``, rounded half up.
    """
    base = _money(WIDE.multiply(price - volume, quantity), places)
    return base, base - _money(discount, places) + _money(tax, places)


def document_totals(
    lines: Iterable[tuple[Decimal, Decimal, Decimal]],
    *,
    percent: Decimal,
    discount: Decimal,
    freight: Decimal,
    places: int = 2,
) -> dict[str, Decimal]:
    """Totals of a document.

    Args:
        lines: Base amount, discount and tax of each line, of the whole line.
        percent: Discount of the header in percent of the lines.
        discount: Discount of the header as an amount; both count.
        freight: Freight.
        places: Decimals of the currency.

    Returns:
        The totals by column of the header.
    """
    amount = reduced = taxes = Decimal(0)
    for base, less, tax in lines:
        amount, reduced, taxes = amount + base - less, reduced + less, taxes + tax
    off = _money(amount * percent / 100, places) + _money(discount, places)
    return {
        "totallineitemamount": amount,
        "totallineitemdiscountamount": reduced,
        "totaldiscountamount": off,
        "totalamountlessfreight": amount - off,
        "totaltax": taxes,
        "totalamount": amount - off + _money(freight, places) + taxes,
    }


def is_priced(work: Work, kind: Kind, row: Mapping[str, Any], verb: str) -> bool:
    """Whether the engine runs at this write of a line (`row` a line) or of a header.

    Off: the organisation's switch; ``skippricecalculation`` of the row; on orders and invoices an integration user in
    an organisation that has handed pricing to another system.
    """
    if not work.organization.get("oobpricecalculationenabled", 1):
        return False
    skip = row.get("skippricecalculation") or 0
    if skip in (SKIPPED_ON[verb] if kind.parent in row else (1,)):
        return False
    is_handed_over = work.organization.get("issopintegrationenabled") and work.user.get("isintegrationuser")
    return kind.header == "quotes" or not is_handed_over


def places_of(work: Work, currency_id: str | None) -> int:
    """Decimals of a currency's amounts."""
    currency = work.currency(currency_id)
    return 2 if currency is None or currency["currencyprecision"] is None else int(currency["currencyprecision"])


def is_per_unit(work: Work) -> bool:
    """Whether a line's manual discount counts for each unit (P2C needs it to count for the line)."""
    return work.organization.get("discountcalculationmethod") == 1


def line_prices(work: Work, header: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    """Price and amounts of a line.

    The price is the price list's unless it is overridden, a write-in, or the document's prices are locked.

    Args:
        work: The work at hand.
        header: Row of the document.
        line: Columns of the line, whole.

    Returns:
        Columns to set, decimals as text.
    """
    changes: dict[str, Any] = {}
    price, error = line.get("priceperunit"), 0
    is_write_in = bool(line.get("isproductoverridden"))
    is_locked = header.get("ispricelocked") and price is not None
    if not is_write_in and line.get("_productid_value") is None:
        error = MISSING_PRODUCT
    elif not (is_write_in or line.get("ispriceoverridden") or is_locked):
        listed, error = _list_price(work, header, line)
        if listed is not None:
            price = changes["priceperunit"] = listed
    if error == 0 and price is None:
        error = MISSING_PRICE
    if error == 0 and line.get("quantity") is None:
        error = MISSING_QUANTITY
    quantity = _decimal(line.get("quantity"))
    per_line = quantity if is_per_unit(work) else Decimal(1)
    pricing = work.organization.get("pricingdecimalprecision")
    base, extended = line_amounts(
        _money(_decimal(price), 2 if pricing is None else int(pricing)),
        quantity,
        WIDE.multiply(_decimal(line.get("manualdiscountamount")), per_line),
        _decimal(line.get("tax")),
        volume=_decimal(line.get("volumediscountamount")),
        places=places_of(work, header["_transactioncurrencyid_value"]),
    )
    return changes | {"baseamount": f"{base:f}", "extendedamount": f"{extended:f}", "pricingerrorcode": error}


def _list_price(work: Work, header: Mapping[str, Any], line: Mapping[str, Any]) -> tuple[str | None, int]:
    """Price of a product and unit in the document's price list, and the error when there is none."""
    price_list = work.t.get("pricelevels", {"pricelevelid": header.get("_pricelevelid_value")})
    if header.get("_pricelevelid_value") is None or price_list is None:
        return None, MISSING_LIST
    if price_list["statecode"] != 0:
        return None, INACTIVE_LIST
    if line.get("_uomid_value") is None:
        return None, MISSING_UNIT
    key = {"_productid_value": line["_productid_value"], "_pricelevelid_value": price_list["pricelevelid"]}
    item = work.t.get("productpricelevels", key | {"_uomid_value": line["_uomid_value"]})
    if item is None or item["amount"] is None:
        return None, NOT_IN_LIST
    return str(item["amount"]), 0


def header_amounts(work: Work, kind: Kind, header: Mapping[str, Any]) -> dict[str, Any]:
    """Totals of a document from its lines in the store.

    Args:
        work: The work at hand.
        kind: Its kind.
        header: Columns of the header, whole.

    Returns:
        Columns to set, decimals as text.
    """
    table = work.store.tables[kind.line]
    names = ("baseamount", "manualdiscountamount", "quantity", "tax", "pricingerrorcode")
    found = work.t.connection.execute(
        sa.select(*[table.c[name] for name in names]).where(table.c[kind.parent] == header[kind.id])
    ).all()
    places, per_unit = places_of(work, header.get("_transactioncurrencyid_value")), is_per_unit(work)
    lines = [
        (
            _decimal(base),
            _money(WIDE.multiply(_decimal(discount), _decimal(quantity) if per_unit else Decimal(1)), places),
            _decimal(tax),
        )
        for base, discount, quantity, tax, _ in found
    ]
    totals = document_totals(
        lines,
        percent=_decimal(header.get("discountpercentage")),
        discount=_decimal(header.get("discountamount")),
        freight=_decimal(header.get("freightamount")),
        places=places,
    )
    error = DETAIL_ERROR if any(line[-1] for line in found) else 0
    if error == 0 and header.get("_pricelevelid_value") is None and work.organization.get("ispricelistmandatory", 1):
        error = MISSING_LIST
    return {name: f"{value:f}" for name, value in totals.items()} | {"pricingerrorcode": error}
