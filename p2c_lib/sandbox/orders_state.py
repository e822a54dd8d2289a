"""How far an order of Finance and Operations has come: quantities, statuses, and the processing status out of both.

Documented: the processing status follows from order status and latest document, and a later, lesser document does not
take it back. Inferred: which of the two partly-invoiced members stands for which case, and what quantities a loaded
order has when no posting of this sandbox tells (its lines' statuses and its invoices do).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.fno_kinds import ORDER, header_key, same
from p2c_lib.sandbox.store import Transaction, decimal_text

INVOICES = "ExternallyMaintainedCustomerSalesInvoiceHeaders"
INVOICE_LINES = "ExternallyMaintainedCustomerSalesInvoiceLines"
NONE, CONFIRMATION, PICKING_LIST, PACKING_SLIP, INVOICE = range(5)
_OPEN = ("Active", "Confirmed", "Picked", "PartiallyDelivered", "PartiallyInvoiced")
_LATEST = {
    **{name: document for document, name in enumerate(_OPEN)},
    "Delivered": PACKING_SLIP,
    "DeliveredPartiallyInvoiced": INVOICE,
    "Invoiced": INVOICE,
}
# Quantities that no entity shows. The trigger forgets them with their line, also when all data is made anew.
_POSTINGS = sa.Table(
    "row_postings",
    sa.MetaData(),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("delivered", sa.Text, nullable=False),
    sa.Column("invoiced", sa.Text, nullable=False),
    sa.Column("canceled", sa.Text, nullable=False),
)
_FORGET = f"""CREATE TRIGGER IF NOT EXISTS row_postings_of_line AFTER DELETE ON "{ORDER.lines}"
BEGIN DELETE FROM row_postings WHERE line = old.row_id; END"""


@dataclass(frozen=True)
class Progress:
    """Quantities of one order line; what is invoiced counts as delivered too."""

    ordered: Decimal
    delivered: Decimal = Decimal(0)
    invoiced: Decimal = Decimal(0)
    canceled: Decimal = Decimal(0)

    @property
    def open(self) -> Decimal:
        """What is still to be delivered."""
        return max(self.ordered - self.delivered - self.canceled, Decimal(0))

    @property
    def status(self) -> str:
        """Member of SalesStatus."""
        if self.open or not (self.delivered or self.canceled):
            return "Backorder"
        if not self.delivered:
            return "Canceled"
        return "Delivered" if self.invoiced < self.delivered else "Invoiced"

    def deliver(self, quantity: Decimal) -> "Progress":
        """Deliver some."""
        return replace(self, delivered=self.delivered + quantity)

    def invoice(self, quantity: Decimal) -> "Progress":
        """Invoice some, and deliver of it what is not delivered yet."""
        invoiced = self.invoiced + quantity
        return replace(self, invoiced=invoiced, delivered=max(self.delivered, invoiced))


def order_status(lines: Iterable[str]) -> str:
    """Status of an order from those of its lines: the least of those that are not cancelled."""
    alive = {status for status in lines if status != "Canceled"}
    if not alive:
        return "Canceled"
    return next(status for status in ("None", "Backorder", "Delivered", "Invoiced") if status in alive)


def processing_status(status: str, document: int) -> str:
    """Derive the processing status.

    Args:
        status: Member of SalesStatus.
        document: The latest document, ``NONE`` to ``INVOICE``.

    Returns:
        Member of SalesOrderProcessingStatus.
    """
    if status in ("Canceled", "Invoiced"):
        return status
    if status == "Delivered":
        return "DeliveredPartiallyInvoiced" if document == INVOICE else "Delivered"
    return _OPEN[document]


def latest_document(header: Mapping[str, Any]) -> int:
    """The latest document that an order's processing status tells of."""
    return _LATEST.get(header["SalesOrderProcessingStatus"], NONE)


def order_lines(t: Transaction, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lines of an order by number."""
    table = t.table(ORDER.lines)
    found = sa.select(table).where(*same(table, header_key(ORDER, header)))
    return t.rows(found.order_by(table.c.LineCreationSequenceNumber))


def order_invoices(t: Transaction, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Invoice headers of an order, the oldest first."""
    table = t.table(INVOICES)
    # Asked for the company too, or to sort, SQLite would walk through all invoices.
    found = t.rows(sa.select(table).where(table.c.SalesOrderNumber == header[ORDER.number]))
    own = (row for row in found if row["dataAreaId"].casefold() == header["dataAreaId"].casefold())
    return sorted(own, key=lambda row: int(row["row_id"]))


def invoiced_lines(t: Transaction, header: Mapping[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Invoice lines of an order by line number, the oldest first."""
    table = t.table(INVOICE_LINES)
    found: dict[int, list[dict[str, Any]]] = {}
    for invoice in order_invoices(t, header):
        key = {name: invoice[name] for name in t.store.schema.entities[INVOICES].key}
        for row in t.rows(sa.select(table).where(*same(table, key))):
            found.setdefault(row["LineCreationSequenceNumber"], []).append(row)
    return found


def progress(t: Transaction, header: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> dict[int, Progress]:
    """How far the lines of an order are, by line number."""
    lines = list(lines)
    ids = [line["row_id"] for line in lines]
    posted = {}
    if sa.inspect(t.connection).has_table(_POSTINGS.name):
        posted = {row["line"]: row for row in t.rows(sa.select(_POSTINGS).where(_POSTINGS.c.line.in_(ids)))}
    billed = invoiced_lines(t, header)
    found = {}
    for line in lines:
        number, ordered = line["LineCreationSequenceNumber"], Decimal(line[ORDER.quantity])
        known = posted.get(line["row_id"])
        if known:
            quantities = {name: Decimal(known[name]) for name in ("delivered", "invoiced", "canceled")}
            found[number] = Progress(ordered, **quantities)
            continue
        status = line["SalesOrderLineStatus"]
        invoiced = sum((Decimal(row["InvoicedQuantity"]) for row in billed.get(number, ())), Decimal(0))
        whole = status in ("Delivered", "Invoiced")
        found[number] = Progress(
            ordered,
            delivered=ordered if whole else invoiced,
            invoiced=ordered if status == "Invoiced" else invoiced,
            canceled=ordered - invoiced if status == "Canceled" else Decimal(0),
        )
    return found


def keep(t: Transaction, states: Mapping[int, Progress]) -> None:
    """Remember how far lines are, by their ``row_id``."""
    if not states:
        return
    _POSTINGS.create(t.connection, checkfirst=True)
    t.connection.exec_driver_sql(_FORGET)
    names = ("delivered", "invoiced", "canceled")
    rows = [{"line": line} | {name: decimal_text(getattr(states[line], name)) for name in names} for line in states]
    t.connection.execute(_POSTINGS.delete().where(_POSTINGS.c.line.in_(list(states))))
    t.connection.execute(_POSTINGS.insert(), rows)


def refresh(
    t: Transaction,
    header: Mapping[str, Any],
    states: Mapping[int, Progress],
    document: int,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write statuses of an order and its lines as they follow from quantities and documents.

    Args:
        t: The transaction.
        header: The order as it is.
        states: Progress by line number.
        document: The latest document.
        changes: Other columns of the header to write.

    Returns:
        The header as it is now.
    """
    status = order_status(state.status for state in states.values()) if states else header["SalesOrderStatus"]
    shown = processing_status(status, document)
    new = {"SalesOrderStatus": status, "SalesOrderProcessingStatus": shown, **(changes or {})}
    new = {name: value for name, value in new.items() if header[name] != value}
    if new:
        t.update(ORDER.headers, header["row_id"], new)
    for line in order_lines(t, header):
        mine = states[line["LineCreationSequenceNumber"]].status
        of_line = {"SalesOrderLineStatus": mine, "SalesOrderProcessingStatus": shown}
        of_line = {name: value for name, value in of_line.items() if line[name] != value}
        if of_line:
            t.update(ORDER.lines, line["row_id"], of_line)
    return {**header, **new}


def settle(t: Transaction, key: Mapping[str, str]) -> None:
    """Bring an order's statuses up to date after a line was added or removed (before a delivery they stay)."""
    header = t.get(ORDER.headers, key)
    if header and latest_document(header) >= PACKING_SLIP:
        refresh(t, header, progress(t, header, order_lines(t, header)), latest_document(header))
