"""Headers of quotes, orders and invoices: their life by plain writes, and the P2C steps that follow.

Confirmed: a quote is edited as a draft only and activated by a plain update; orders and quotes are closed by actions;
closed orders are read-only; activating an order for the sync needs status Draft, externally maintained products only
and an order of Sales' own, and marks its lines as submitted; a contact that becomes the customer of a document becomes
an active customer; ``msdynce_misctax`` stands in one write-in line named Freight Tax; an invoice sets its order to
Invoiced and takes its owner.

Inferred: the codes of refusals; a plain update that sets the state back to Active opens a closed order or invoice
again (the template of orders coming back sends that state with every row); the amount of the Freight Tax line is its
price, so that ``totaltax`` is the lines' tax alone; that line is written in the same call, where the solution writes it
a moment later; activation numbers lines that have no document number yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_core import Failure, Work
from p2c_lib.sandbox.dataverse_solution import before_update
from p2c_lib.sandbox.sales_kinds import INVOICE, ORDER, QUOTE, Kind, document_number, is_open, refuse
from p2c_lib.sandbox.sales_lines import READ_ONLY, change_line, lines_of, new_line, reprice, settle_header
from p2c_lib.sandbox.sales_pricing import header_amounts, is_priced

__all__ = ["complete_header", "follow_header", "set_state"]

PLUGIN = "0x80040265"
STATUS = "0x80048408"  # a status that does not go with the state
PROCESSING, DRAFT, ACTIVE = "msdynce_processingstatus", 647390011, 647390000
FREIGHT_TAX = "Freight Tax"
ASSIGNED = {"_ownerid_value"}  # a closed document can still be given to somebody
AMOUNTS = {
    "discountamount",
    "discountpercentage",
    "freightamount",
    "totalamount",
    "totalamountlessfreight",
    "totaldiscountamount",
    "totallineitemamount",
    "totallineitemdiscountamount",
    "totaltax",
    "pricingerrorcode",
    "skippricecalculation",
    "_pricelevelid_value",
    "_transactioncurrencyid_value",
}


def complete_header(work: Work, kind: Kind, old: Mapping[str, Any] | None, changes: dict[str, Any]) -> dict[str, Any]:
    """Complete a header that is about to be written.

    Args:
        work: The work at hand.
        kind: Kind of the document.
        old: The header as it stands; None: it is created.
        changes: Columns to write (of a new header: all it has).

    Returns:
        The columns to write, with all that follows from them.

    Raises:
        Failure: The document is closed, the step is not allowed, or a column is missing or wrong.
    """
    entity = work.schema.entities[kind.header]
    changes = dict(changes)
    if old is None:
        changes = {
            name: column.default for name, column in entity.columns.items() if column.default is not None
        } | changes
        _check_new_status(work, kind, changes)
        if changes.get(kind.number) is None:
            changes[kind.number] = document_number(work, entity, kind)
        changes.setdefault("_transactioncurrencyid_value", work.organization.get("_basecurrencyid_value"))
    else:
        _check_state(kind, old, changes)
    whole = {**(old or {}), **changes}
    _check_columns(work, kind, old, changes, whole)
    if "_customerid_value" in changes:
        for target in ("account", "contact"):
            is_it = whole["_customerid_type"] == target
            changes[f"_{target}id_value"] = whole["_customerid_value"] if is_it else None
    if work.config.solution and kind is ORDER and old is not None:
        _check_activation(old, changes)
    if (old is None or AMOUNTS & set(changes)) and is_priced(work, kind, whole, "update"):
        changes |= header_amounts(work, kind, whole)
    return changes


def _check_new_status(work: Work, kind: Kind, row: Mapping[str, Any]) -> None:
    """A new document is in its first state; its status must go with that."""
    status = work.schema.entities[kind.header].columns["statuscode"]
    if status.state_of.get(row["statuscode"]) != 0:
        raise refuse(f"{row['statuscode']} is not a valid status code for a new row of {kind.header}.", STATUS)


def _check_state(kind: Kind, old: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Refuse writes to a closed document and states that take an action."""
    before, after = old["statecode"], changes.get("statecode", old["statecode"])
    if after not in kind.patch_states[before]:
        raise refuse(f"State {after} of {kind.header} cannot be set by an update: use {kind.instead}.", STATUS)
    if is_open(kind, old) or after != before:
        return
    written = (
        {name for name, value in changes.items() if value != old.get(name)} - ASSIGNED - {"statecode", "statuscode"}
    )
    if written:
        raise refuse(f"The document '{old[kind.number]}' cannot be updated because it is read-only.", READ_ONLY)


def _check_columns(
    work: Work, kind: Kind, old: Mapping[str, Any] | None, changes: Mapping[str, Any], whole: Mapping[str, Any]
) -> None:
    """A document needs a customer; its price list must be in its currency; an order's number is its own (P2C)."""
    name = work.schema.entities[kind.header].schema_name
    if whole.get("_customerid_value") is None and (old is None or "_customerid_value" in changes):
        raise refuse(f"{name}: the required attribute 'customerid' is missing.")
    price_list, currency = whole.get("_pricelevelid_value"), whole.get("_transactioncurrencyid_value")
    if price_list is not None and {"_pricelevelid_value", "_transactioncurrencyid_value"} & set(changes):
        found = work.t.get("pricelevels", {"pricelevelid": price_list}) or {}
        if found.get("_transactioncurrencyid_value") not in (None, currency):
            raise refuse(f"The currency of the price list '{found['name']}' is not the currency of the {name}.")
    is_renamed = old is None or old[kind.number] != whole[kind.number]
    is_checked = kind is ORDER and work.config.solution and is_renamed
    if is_checked and work.t.get(kind.header, {kind.number: whole[kind.number]}) is not None:
        raise refuse("A sales order id must be unique", PLUGIN)


def _check_activation(old: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Refuse to activate an order that may not go to the other system."""
    if changes.get(PROCESSING) != ACTIVE or old[PROCESSING] == ACTIVE:
        return
    reason = None
    if old[PROCESSING] != DRAFT:
        reason = "its processing status is not Draft"
    elif old["statecode"] != 0:
        reason = "it is not active"
    elif not old["msdynce_hasexternallymaintainedproductsonly"]:
        reason = "it has products that are not externally maintained"
    elif changes.get("msdynce_ismaintainedexternally", old["msdynce_ismaintainedexternally"]):
        reason = "it is maintained externally"
    if reason is not None:
        raise refuse(f"The order '{old['ordernumber']}' cannot be activated: {reason}.", PLUGIN)


def follow_header(work: Work, kind: Kind, row: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
    """Run what follows the create (`old` is None) or update of a header.

    Raises:
        Failure: A plug-in refuses; everything is rolled back by the caller.
    """
    changed = {name for name, value in row.items() if old is None or value != old.get(name)}
    if old is not None:
        _mirror(work, kind, row, changed)
        if "_transactioncurrencyid_value" in changed or ("_pricelevelid_value" in changed and not _locked(row)):
            reprice(work, kind, row)
    if not work.config.solution:
        return
    if "_customerid_value" in changed and row["_customerid_type"] == "contact":
        _activate_contact(work, str(row["_customerid_value"]))
    if kind is ORDER and old is not None and PROCESSING in changed and row[PROCESSING] == ACTIVE:
        for line in lines_of(work, kind, row[kind.id]):
            number = line["msdynce_ordernumber"] or row[kind.number]
            change_line(work, kind, line, {"msdynce_orderissubmitted": 1, "msdynce_ordernumber": number})
        settle_header(work, kind, row[kind.id])  # the update has priced the lines again
    if kind is not QUOTE and "msdynce_misctax" in changed and (old is not None or row["msdynce_misctax"]):
        _freight_tax(work, kind, row)
    if kind is INVOICE and "_salesorderid_value" in changed and row["_salesorderid_value"] is not None:
        _invoice_order(work, row)


def _locked(row: Mapping[str, Any]) -> bool:
    return bool(row.get("ispricelocked"))


def _mirror(work: Work, kind: Kind, row: Mapping[str, Any], changed: set[str]) -> None:
    """Show the header's state, price lock and owner in its lines, which keep their versions."""
    values = {line: row[column] for line, column in kind.mirrors.items() if column in changed}
    if values:
        table = work.store.tables[kind.line]
        work.t.connection.execute(sa.update(table).where(table.c[kind.parent] == row[kind.id]).values(values))


def _activate_contact(work: Work, contact_id: str) -> None:
    contact = work.t.get("contacts", {"contactid": contact_id})
    if contact is not None and not contact["msdynce_isactivecustomer"]:
        entity = work.schema.entities["contacts"]
        changes = before_update(work, entity, contact, {"msdynce_isactivecustomer": 1})
        work.t.update(entity.name, contact["row_id"], changes)


def _freight_tax(work: Work, kind: Kind, header: Mapping[str, Any]) -> None:
    """Keep the one Freight Tax line in step with the header's tax: create, change or delete it."""
    amount = header.get("msdynce_misctax") or "0"
    found = [line for line in lines_of(work, kind, header[kind.id]) if line["msdynce_ismisctax"]]
    if len(found) > 1:
        what = "A sales order" if kind is ORDER else "An invoice"
        raise refuse(f"{what} can hold one Freight Tax line at most", PLUGIN)
    if Decimal(amount) == 0:
        for line in found:
            work.t.delete(kind.line, line["row_id"])
    elif found:
        change_line(work, kind, found[0], {"priceperunit": amount})
    else:
        new_line(
            work,
            kind,
            {
                kind.parent: header[kind.id],
                "isproductoverridden": 1,
                "ispriceoverridden": 1,
                "productdescription": FREIGHT_TAX,
                "quantity": "1",
                "priceperunit": amount,
                "msdynce_ismisctax": 1,
                "msdynce_ismaintainedexternally": header["msdynce_ismaintainedexternally"],
            },
        )
    settle_header(work, kind, header[kind.id])


def set_state(work: Work, kind: Kind, row: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Change a header from inside the server, as actions and plug-ins do, whatever its state.

    Returns:
        The header as it then stands.

    Raises:
        Failure: The status does not go with the state (0x80048408).
    """
    entity = work.schema.entities[kind.header]
    changes = before_update(work, entity, row, dict(values))
    version = work.t.update(kind.header, int(row["row_id"]), changes)
    after = {**row, **changes, "row_version": version}
    _mirror(work, kind, after, {name for name, value in changes.items() if value != row.get(name)})
    return after


def _invoice_order(work: Work, invoice: Mapping[str, Any]) -> None:
    """The related order becomes Invoiced, and the invoice goes to the order's owner."""
    order = work.t.get(ORDER.header, {ORDER.id: invoice["_salesorderid_value"]})
    if order is None:
        raise Failure(404, "0x80040217", f"salesorder With Id = {invoice['_salesorderid_value']} Does Not Exist")
    if order["statecode"] != 4:
        set_state(work, ORDER, order, {"statecode": 4, "statuscode": 100003})
    if order["_ownerid_value"] not in (None, invoice["_ownerid_value"]):
        set_state(work, INVOICE, invoice, {"_ownerid_value": order["_ownerid_value"]})
