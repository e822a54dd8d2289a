"""The life of an order in Finance and Operations as its clerks would drive it: ``POST /sandbox/orders``."""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.fno_kinds import ORDER, mark_stale
from p2c_lib.sandbox.orders_invoice import invoice_date, post_invoice
from p2c_lib.sandbox.orders_state import (
    CONFIRMATION,
    INVOICE,
    PACKING_SLIP,
    PICKING_LIST,
    Progress,
    keep,
    latest_document,
    order_lines,
    progress,
    refresh,
)
from p2c_lib.sandbox.store import Store, Transaction, decimal_text

__all__ = ["STEPS", "act_on_order"]

STEPS = {"confirm": CONFIRMATION, "pick": PICKING_LIST, "ship": PACKING_SLIP, "invoice": INVOICE, "cancel": 0}
_WISHES = frozenset({"order", "company", "do", "lines", "date", "charges", "discount"})


def act_on_order(store: Store, company: str, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Take an order one step on; totals are out of date afterwards, as after each change.

    Args:
        store: Rows of F&O.
        company: Legal entity when the wish names none.
        wish: ``order`` (its number), ``do`` (``confirm``, ``pick``, ``ship``, ``invoice``, ``cancel``), and if wanted
            ``company``, ``lines`` (line number -> quantity; else all that can be), ``date`` (of the document,
            ``2026-01-31``), ``charges`` and ``discount`` (amounts of the header, in its currency).

    Returns:
        ``order``, ``status``, ``processing_status``, ``lines`` (line number -> status), ``invoice`` (its key and
        total; null unless one was posted).

    Raises:
        SandboxError: A wish that nobody knows, no such order or line, nothing left to do, or more than is left.
    """
    unknown = set(wish) - _WISHES
    if unknown:
        raise SandboxError(f"orders: no wish {sorted(unknown)[0]!r}; known: {', '.join(sorted(_WISHES))}")
    do = wish.get("do")
    if do not in STEPS:
        raise SandboxError(f"orders: do={do!r}; known: {', '.join(STEPS)}")
    key = {"dataAreaId": str(wish.get("company", company)), ORDER.number: str(wish.get("order", ""))}
    with store.transaction() as t:
        header = t.get(ORDER.headers, key)
        if header is None:
            raise SandboxError(f"no order {key[ORDER.number]!r} in {key['dataAreaId']}")
        if header["SalesOrderStatus"] in ORDER.closed:
            raise SandboxError(f"order {header[ORDER.number]} is {header['SalesOrderStatus']}: nothing left to {do}")
        lines = order_lines(t, header)
        before = progress(t, header, lines)
        wanted = _quantities(do, wish.get("lines"), lines, before)
        changes = _amounts(wish) | _dates(do, wish, header)
        after = {number: _step(do, state, wanted.get(number)) for number, state in before.items()}
        invoice = None
        if do == "invoice":
            day = _day(wish) or invoice_date(header)
            invoice = post_invoice(t, {**header, **changes}, lines, wanted, after, day)
        _write_lines(t, do, lines, wanted, before, after, changes)
        header = refresh(t, header, after, max(latest_document(header), STEPS[do]), changes)
        mark_stale(t, store.schema.entities[ORDER.headers], header)
    return {
        "order": header[ORDER.number],
        "status": header["SalesOrderStatus"],
        "processing_status": header["SalesOrderProcessingStatus"],
        "lines": {str(number): state.status for number, state in after.items()},
        "invoice": invoice,
    }


def _most(do: str, line: Mapping[str, Any], state: Progress) -> Decimal:
    """How much of a line a step can take."""
    if do == "pick":
        return max(state.open - Decimal(line["PickedQuantity"]), Decimal(0))
    if do == "invoice":
        return max(state.ordered - state.canceled - state.invoiced, Decimal(0))
    return state.open


def _quantities(
    do: str, wished: Mapping[str, Any] | None, lines: list[dict[str, Any]], states: Mapping[int, Progress]
) -> dict[int, Decimal]:
    """Quantities to post by line number, all above zero."""
    by_number = {line["LineCreationSequenceNumber"]: line for line in lines}
    if not lines:
        raise SandboxError(f"the order has no lines: nothing to {do}")
    if do == "confirm":
        if wished is not None:
            raise SandboxError("confirm takes the whole order: leave lines out")
        return {}
    most = {number: _most(do, line, states[number]) for number, line in by_number.items()}
    if wished is not None:
        found = {_line_number(text, by_number): _quantity(text, value) for text, value in wished.items()}
        for number, quantity in found.items():
            if quantity > most[number]:
                raise SandboxError(f"line {number}: {quantity} to {do}, but {most[number]:f} left")
        return found
    shipped = {number: state.delivered - state.invoiced for number, state in states.items()}
    if do == "invoice" and any(quantity > 0 for quantity in shipped.values()):
        most = shipped  # what is delivered comes first
    found = {number: quantity for number, quantity in most.items() if quantity > 0}
    if not found:
        raise SandboxError(f"nothing left to {do}")
    return found


def _line_number(text: str, lines: Mapping[int, Any]) -> int:
    if not re.fullmatch(r"\d+", str(text)) or int(text) not in lines:
        raise SandboxError(f"no line {text!r}; there are {', '.join(map(str, lines))}")
    return int(text)


def _quantity(line: str, value: Any) -> Decimal:
    quantity = _number(f"line {line}", value)
    if quantity <= 0:
        raise SandboxError(f"line {line}: {value!r} is not a quantity above zero")
    return quantity


def _number(what: str, value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise SandboxError(f"{what}: {value!r} is not a number") from error
    if not number.is_finite():
        raise SandboxError(f"{what}: {value!r} is not a number")
    return number


def _amounts(wish: Mapping[str, Any]) -> dict[str, str]:
    columns = {"charges": "OrderTotalChargesAmount", "discount": "TotalDiscountAmount"}
    return {to: decimal_text(_number(name, wish[name])) for name, to in columns.items() if name in wish}


def _day(wish: Mapping[str, Any]) -> str | None:
    if "date" not in wish:
        return None
    try:
        return f"{date.fromisoformat(str(wish['date'])).isoformat()}T12:00:00Z"
    except ValueError as error:
        raise SandboxError(f"date={wish['date']!r}: a day such as 2026-01-31 is meant") from error


def _dates(do: str, wish: Mapping[str, Any], header: Mapping[str, Any]) -> dict[str, str]:
    day = _day(wish)
    if do != "confirm":
        return {}
    return {
        "ConfirmedShippingDate": day or header["RequestedShippingDate"],
        "ConfirmedReceiptDate": header["RequestedReceiptDate"],
    }


def _step(do: str, state: Progress, quantity: Decimal | None) -> Progress:
    if quantity is None or do in ("confirm", "pick"):
        return state
    if do == "ship":
        return state.deliver(quantity)
    if do == "invoice":
        return state.invoice(quantity)
    return Progress(state.ordered, state.delivered, state.invoiced, state.canceled + quantity)


def _write_lines(
    t: Transaction,
    do: str,
    lines: list[dict[str, Any]],
    wanted: Mapping[int, Decimal],
    before: Mapping[int, Progress],
    after: Mapping[int, Progress],
    dates: Mapping[str, str],
) -> None:
    moved = {}
    for line in lines:
        number = line["LineCreationSequenceNumber"]
        picked = Decimal(line["PickedQuantity"])
        if do == "pick":
            picked += wanted.get(number, Decimal(0))
        elif number in wanted:
            moved[line["row_id"]] = after[number]
            picked = max(picked - (before[number].open - after[number].open), Decimal(0))
        values = {name: value for name, value in dates.items() if name.startswith("Confirmed")}
        values["PickedQuantity"] = decimal_text(picked)
        values = {name: value for name, value in values.items() if line[name] != value}
        if values:
            t.update(ORDER.lines, line["row_id"], values)
    keep(t, moved)
