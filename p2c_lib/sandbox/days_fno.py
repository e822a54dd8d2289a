"""A day of orders in F&O: entered, confirmed, picked, shipped and invoiced in part or in whole, cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from p2c_lib.sandbox.days_masters import own_customer
from p2c_lib.sandbox.days_office import Goods, Office

__all__ = ["live"]

_SET = "CDSSalesOrderHeaders"
_DONE = {"confirm": "confirmed", "pick": "picked", "ship": "shipped", "invoice": "invoiced", "cancel": "cancelled"}
_STATUS = "Microsoft.Dynamics.DataEntities.SalesOrderProcessingStatus"


def live(office: Office) -> None:
    """Live through the day: first the orders that are open, then those that are entered today."""
    company = office.fno.company
    said = " and ".join(
        (
            f"dataAreaId eq '{company}'",
            *(f"SalesOrderProcessingStatus ne {_STATUS}'{one}'" for one in ("Invoiced", "Canceled")),
        )
    )
    names = "SalesOrderNumber,SalesOrderProcessingStatus"
    for order in sorted(office.fno.rows(_SET, said, names), key=lambda row: str(row["SalesOrderNumber"])):
        if office.chance(0.6):
            _go_on(office, order["SalesOrderNumber"], order["SalesOrderProcessingStatus"])
    goods = office.goods()
    for _ in range(office.dice.randint(0, 2) if goods else 0):
        _enter(office, goods)


def _go_on(office: Office, number: str, status: str) -> None:
    """Take an order a step on."""
    said = f"dataAreaId eq '{office.fno.company}' and SalesOrderNumber eq '{number}'"
    lines = sorted(office.fno.rows("CDSSalesOrderLines", said), key=lambda row: int(row["LineCreationSequenceNumber"]))
    if not lines:
        return
    if status not in ("Delivered", "DeliveredPartiallyInvoiced") and office.chance(0.04):
        _do(office, "cancel", number)
    elif status == "Active":
        _confirm(office, number, lines)
    elif status in ("Confirmed", "Picked"):
        if status == "Confirmed" and office.chance(0.3):
            _do(office, "pick", number)
        elif office.chance(0.2):
            _do(office, "invoice", number, lines=_part(office, lines))  # invoiced before it is shipped: posts both
        else:
            _do(office, "ship", number, lines=_part(office, lines) if office.chance(0.5) else None)
    elif status == "Delivered":
        _do(office, "invoice", number, lines=_part(office, lines) if office.chance(0.3) else None)
    elif any(line["SalesOrderLineStatus"] == "Backorder" for line in lines) and office.chance(0.6):
        _do(office, "ship", number)
    else:
        _do(office, "invoice", number)


def _confirm(office: Office, number: str, lines: Sequence[dict[str, Any]]) -> None:
    """Confirm an order, with what was agreed on the telephone: quantities, freight, a discount."""
    if office.chance(0.15):
        line = office.dice.choice(lines)
        quantity = Decimal(line["OrderedSalesQuantity"]) + 1
        office.fno.change_line(number, int(line["LineCreationSequenceNumber"]), OrderedSalesQuantity=quantity)
        office.done["lines changed in F&O"] += 1
    worth = sum((Decimal(line["LineAmount"]) for line in lines), Decimal(0))
    more: dict[str, Any] = {}
    if office.chance(0.4):
        more["charges"] = office.amount(5, 90)
    if worth > 100 and office.chance(0.2):
        more["discount"] = office.amount(1, 40)
    _do(office, "confirm", number, **more)


def _do(office: Office, step: str, number: str, **wish: Any) -> None:
    said = {name: value for name, value in wish.items() if value is not None}
    office.fno.do(step, number, date=office.date.isoformat(), **said)
    part = " in part" if "lines" in said else ""
    office.done[f"{_DONE[step]}{part}"] += 1


def _part(office: Office, lines: Sequence[dict[str, Any]]) -> dict[str, Decimal]:
    """Some lines, of each a part; the whole of the only line where it cannot be divided."""
    chosen = office.dice.sample(lines, office.dice.randint(1, len(lines)))
    found = {}
    for line in chosen:
        ordered = Decimal(line["OrderedSalesQuantity"])
        part = (ordered * office.dice.randint(1, 3) / 4).quantize(Decimal(1), ROUND_HALF_UP)
        found[str(line["LineCreationSequenceNumber"])] = part if 0 < part < ordered else ordered
    return found


def _enter(office: Office, goods: Sequence[Goods]) -> None:
    """An order that a customer gives to F&O itself."""
    customers = office.customers()
    if not customers:
        return
    account, currency = own_customer(office), "USD"
    if office.chance(0.85):
        buyer = office.dice.choice(customers)
        account, currency = buyer["CustomerAccount"], buyer["SalesCurrencyCode"]
    day = f"{office.date.isoformat()}T12:00:00Z"
    dates = {"RequestedShippingDate": day, "RequestedReceiptDate": day, "CurrencyCode": currency}
    reference = f"PO {office.dice.randint(1000, 9999)}"
    site = {"DefaultShippingSiteId": "1", "DefaultShippingWarehouseId": "13"}
    office.fno.order(account, office.lines(goods, currency), CustomersOrderReference=reference, **dates, **site)
    office.done["orders entered in F&O"] += 1
