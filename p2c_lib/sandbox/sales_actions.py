"""Actions on quotes, orders and invoices: win, close, revise, convert, fulfil, cancel, lock prices.

Confirmed: names, parameters and what they do to the document's state; a quote is won from Active only, revised into a
new draft with the same number and the next revision. Inferred: a draft may be closed; converting an active quote wins
it; the new document takes all columns that both tables have; an order made of a quote keeps the quote's prices.
The closing activities (QuoteClose, OrderClose) are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_body import Target, find_key, parse_reference
from p2c_lib.sandbox.dataverse_core import Answer, Call, Failure, Work
from p2c_lib.sandbox.dataverse_read import read_row
from p2c_lib.sandbox.dataverse_write import insert_row
from p2c_lib.sandbox.sales_headers import set_state
from p2c_lib.sandbox.sales_kinds import INVOICE, ORDER, QUOTE, Kind, refuse
from p2c_lib.sandbox.sales_lines import lines_of
from p2c_lib.sandbox.store import new_guid

__all__ = ["ACTIONS", "BOUND"]

REVISE = (
    "Quote cannot be revised as there already exists another quote in Draft/Active state and with same quote number."
)
REVISED = 7
OWN = {  # columns that a copied document works out for itself
    "importsequencenumber",
    "lineitemnumber",
    "overriddencreatedon",
    "statuscode",
    "pricingerrorcode",
    "quotecreationmethod",
    "ordercreationmethod",
    "msdynce_ismaintainedexternally",
    "msdynce_hasexternallymaintainedproductsonly",
    "msdynce_processingstatus",
    "msdynce_orderissubmitted",
    "msdynce_misctax",
    "msdynce_ordernumber",
    "msdynce_quoterevisionnumber",
}


def _bad(message: str) -> Failure:
    return refuse(message, "0x80048d19")


def _closed(work: Work, call: Call, part: str, kind: Kind) -> tuple[dict[str, Any], int]:
    """Document and status of a closing action: ``{"Status": 4, part: {"quoteid@odata.bind": "/quotes(..)"}}``."""
    body = call.json()
    close, status = body.get(part), body.get("Status", -1)
    reference = close.get(f"{kind.id}@odata.bind") if isinstance(close, dict) else None
    if not isinstance(reference, str):
        raise _bad(f"The parameter '{part}' needs '{kind.id}@odata.bind'.")
    if isinstance(status, bool) or not isinstance(status, int):
        raise _bad("The parameter 'Status' must be a whole number.")
    target = parse_reference(work, reference)
    if target.entity.name != kind.header:
        raise _bad(f"'{reference}' is not a row of {kind.header}.")
    return target.found(), status


def _named(work: Work, call: Call, name: str, kind: Kind) -> dict[str, Any]:
    """Document that a parameter names by its id."""
    value = call.json().get(name)
    if not isinstance(value, str):
        raise _bad(f"The parameter '{name}' must be an id.")
    return find_key(work, work.schema.entities[kind.header], value).found()


def _to_state(work: Work, kind: Kind, row: Mapping[str, Any], state: int, status: int, **more: Any) -> dict[str, Any]:
    """Set state and status (-1: the state's first)."""
    statuses = work.schema.entities[kind.header].columns["statuscode"].state_of
    if status == -1:
        status = next(known for known, of in statuses.items() if of == state)
    elif statuses.get(status) != state:
        raise refuse(f"{status} is not a valid status code for state code {state} on {kind.header}.", "0x80048408")
    return set_state(work, kind, row, {"statecode": state, "statuscode": status, **more})


def _must_be(kind: Kind, row: Mapping[str, Any], states: tuple[int, ...], action: str) -> None:
    if row["statecode"] not in states:
        raise refuse(f"{action} is not allowed for '{row[kind.number]}' in state {row['statecode']}.", "0x80048408")


def win_quote(work: Work, call: Call) -> Answer:
    """WinQuote: an active quote is won."""
    quote, status = _closed(work, call, "QuoteClose", QUOTE)
    _must_be(QUOTE, quote, (1,), "WinQuote")
    _to_state(work, QUOTE, quote, 2, status, closedon=work.now[:10])
    return Answer(204)


def close_quote(work: Work, call: Call) -> Answer:
    """CloseQuote: lost, cancelled, revised, or (P2C) submitted with 647390000."""
    quote, status = _closed(work, call, "QuoteClose", QUOTE)
    _must_be(QUOTE, quote, (0, 1), "CloseQuote")
    _to_state(work, QUOTE, quote, 3, status, closedon=work.now[:10])
    return Answer(204)


def revise_quote(work: Work, call: Call) -> Answer:
    """ReviseQuote: closes the quote as Revised where it is still open, and answers a new draft of the next revision."""
    quote = _named(work, call, "QuoteId", QUOTE)
    _must_be(QUOTE, quote, (1, 3), "ReviseQuote")
    table = work.store.tables[QUOTE.header]
    same = sa.select(table.c.row_id).where(table.c.quotenumber == quote["quotenumber"], table.c.statecode.in_((0, 1)))
    if work.t.scalar(same.where(table.c.row_id != quote["row_id"]).limit(1)) is not None:
        raise refuse(REVISE)
    if quote["statecode"] == 1:
        _to_state(work, QUOTE, quote, 3, REVISED, closedon=work.now[:10])
    revision = work.t.scalar(
        sa.select(sa.func.max(table.c.revisionnumber)).where(table.c.quotenumber == quote["quotenumber"])
    )
    own = {"revisionnumber": int(revision or 0) + 1, "quotecreationmethod": 776160001}
    draft = _copy(work, QUOTE, quote, QUOTE, {"quotenumber": quote["quotenumber"], **own}, None)
    return read_row(work, work.schema.entities[QUOTE.header], draft["row_id"], call)


def convert_quote(work: Work, call: Call) -> Answer:
    """ConvertQuoteToSalesOrder: an order with the quote's columns and lines."""
    quote = _named(work, call, "QuoteId", QUOTE)
    _must_be(QUOTE, quote, (1, 2), "ConvertQuoteToSalesOrder")
    if quote["statecode"] == 1:
        _to_state(work, QUOTE, quote, 2, -1, closedon=work.now[:10])
    own = {"_quoteid_value": quote["quoteid"], "ordercreationmethod": 776160001, "ispricelocked": 1}
    order = _copy(work, QUOTE, quote, ORDER, own, "_quotedetailid_value")
    return read_row(work, work.schema.entities[ORDER.header], order["row_id"], call)


def convert_order(work: Work, call: Call) -> Answer:
    """ConvertSalesOrderToInvoice: an invoice with the order's columns and lines."""
    order = _named(work, call, "SalesOrderId", ORDER)
    _must_be(ORDER, order, (0, 1, 3), "ConvertSalesOrderToInvoice")
    invoice = _copy(
        work, ORDER, order, INVOICE, {"_salesorderid_value": order["salesorderid"]}, "_salesorderdetailid_value"
    )
    return read_row(work, work.schema.entities[INVOICE.header], invoice["row_id"], call)


def fulfill_order(work: Work, call: Call) -> Answer:
    """FulfillSalesOrder: one order is fulfilled."""
    order, status = _closed(work, call, "OrderClose", ORDER)
    _must_be(ORDER, order, (0, 1), "FulfillSalesOrder")
    _to_state(work, ORDER, order, 3, status, datefulfilled=work.now)
    return Answer(204)


def cancel_order(work: Work, call: Call) -> Answer:
    """CancelSalesOrder: one order is cancelled."""
    order, status = _closed(work, call, "OrderClose", ORDER)
    _must_be(ORDER, order, (0, 1), "CancelSalesOrder")
    _to_state(work, ORDER, order, 2, status)
    return Answer(204)


def unlock_prices(work: Work, call: Call) -> Answer:
    """UnlockSalesOrderPricing: price list changes reach the order again."""
    set_state(work, ORDER, _named(work, call, "SalesOrderId", ORDER), {"ispricelocked": 0})
    return Answer(204)


def lock_prices(work: Work, target: Target) -> Answer:
    """LockSalesOrderPricing, bound to the order: price list changes do not reach it any more."""
    set_state(work, ORDER, target.found(), {"ispricelocked": 1})
    return Answer(204)


def _copy(
    work: Work, kind: Kind, row: Mapping[str, Any], to: Kind, own: Mapping[str, Any], link: str | None
) -> dict[str, Any]:
    """Make a document out of another one: its header, then its lines, each with the steps of a create."""
    header = insert_row(
        work, work.schema.entities[to.header], {**_shared(work, kind.header, to.header, row), to.id: new_guid(), **own}
    )
    entity, source = work.schema.entities[to.line], work.schema.entities[kind.line]
    for line in lines_of(work, kind, row[kind.id]):
        values = _shared(work, kind.line, to.line, line) | {entity.id: new_guid(), to.parent: header[to.id]}
        if link is not None:
            values[link] = line[source.id]
        insert_row(work, entity, values)
    return work.t.get(to.header, {to.id: header[to.id]}) or header


def _shared(work: Work, source: str, target: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that two tables share and a create may set."""
    shared: dict[str, Any] = {}
    entity = work.schema.entities[target]
    for name, column in entity.columns.items():
        is_known = name in work.schema.entities[source].columns and row[name] is not None
        if is_known and column.create and name not in OWN and name not in entity.key and name != "quotenumber":
            shared[name] = row[name]
            if column.is_polymorphic:
                shared[column.type_column] = row[column.type_column]
    return shared


ACTIONS: Mapping[str, Callable[[Work, Call], Answer]] = {
    "WinQuote": win_quote,
    "CloseQuote": close_quote,
    "ReviseQuote": revise_quote,
    "ConvertQuoteToSalesOrder": convert_quote,
    "ConvertSalesOrderToInvoice": convert_order,
    "FulfillSalesOrder": fulfill_order,
    "CancelSalesOrder": cancel_order,
    "UnlockSalesOrderPricing": unlock_prices,
}
BOUND: Mapping[tuple[str, str], Callable[[Work, Target], Answer]] = {
    ("salesorders", "LockSalesOrderPricing"): lock_prices,
}
