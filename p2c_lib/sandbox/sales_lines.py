"""Lines of quotes, orders and invoices: what a write of a line must hold to, and what it sets off in its header.

Confirmed: owner, state, currency and price lock of a line are the header's; only active products; the unit is one of
the product's unit group; a product's number of decimals binds the quantity; a line takes the product's
externally-maintained flag (quotes and orders), the header tells whether all its lines have such products, and the
lines repeat what the header tells. Inferred: the codes of refusals; a line that names no document number gets its
header's, without which an order that was born in Sales could not be matched when it comes back; the Freight Tax line
does not count as a product that is not externally maintained, and carries no document number.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_core import Work
from p2c_lib.sandbox.dataverse_solution import before_create, before_update
from p2c_lib.sandbox.sales_kinds import Kind, header_of, is_open, refuse
from p2c_lib.sandbox.sales_pricing import header_amounts, is_priced, line_prices
from p2c_lib.sandbox.store import new_guid

__all__ = ["change_line", "check_open", "complete_line", "lines_of", "new_line", "reprice", "settle_header"]

FLAG, EXTERNAL = "msdynce_hasexternallymaintainedproductsonly", "msdynce_ismaintainedexternally"
READ_ONLY = "0x8004022e"  # the platform's code of a record that is read-only
CATALOGUE = ("_productid_value", "_uomid_value", "quantity", "isproductoverridden", "productdescription")


def lines_of(work: Work, kind: Kind, header_id: str) -> list[dict[str, Any]]:
    """All lines of a document, in order of creation."""
    table = work.store.tables[kind.line]
    return work.t.rows(sa.select(table).where(table.c[kind.parent] == header_id).order_by(table.c.row_id))


def check_open(kind: Kind, header: Mapping[str, Any], code: str = READ_ONLY) -> None:
    """Refuse a write to a line of a document that is closed (quotes: that is not a draft)."""
    if not is_open(kind, header):
        raise refuse(
            f"The lines of the document '{header[kind.number]}' cannot be changed: it is read-only in its state.", code
        )


def complete_line(work: Work, kind: Kind, old: Mapping[str, Any] | None, changes: dict[str, Any]) -> dict[str, Any]:
    """Complete a line that is about to be written.

    Args:
        work: The work at hand.
        kind: Kind of its document.
        old: The line as it stands; None: it is created.
        changes: Columns to write (of a new line: all it has).

    Returns:
        The columns to write, with all that follows from them.

    Raises:
        Failure: The line cannot be, or its document is closed.
    """
    whole = {**(old or {}), **changes}
    header = header_of(work, kind, whole)
    if old is not None and old[kind.parent] != header[kind.id]:
        raise refuse("A line cannot move to another document.")
    check_open(kind, header)
    changes = dict(changes)
    product = work.t.get("products", {"productid": whole.get("_productid_value")})
    if old is None:
        changes |= _given_by_header(work, kind, header, changes)
    if old is None or any(changes.get(name, old.get(name)) != old.get(name) for name in CATALOGUE):
        _check_product(work, kind, old, whole, header, product)
    if old is None or "_productid_value" in changes or "productdescription" in changes:
        changes |= _named(kind, whole, product)
        if work.config.solution and kind.flag_copy is not None:
            changes[EXTERNAL] = int(bool(product and product[EXTERNAL]))
    if is_priced(work, kind, {**whole, kind.parent: header[kind.id]}, "create" if old is None else "update"):
        changes |= line_prices(work, header, {**whole, **changes})
    return changes


def _given_by_header(work: Work, kind: Kind, header: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a new line that come from its header: mirrors, currency, numbers."""
    filled: dict[str, Any] = {line: header[column] for line, column in kind.mirrors.items()}
    filled["_transactioncurrencyid_value"] = header["_transactioncurrencyid_value"]
    if work.config.solution:
        # The Freight Tax line is no line of F&O's document: it must not take the number of one that is still to come.
        copies = {} if given.get("msdynce_ismisctax") else kind.copies
        filled |= {line: header[column] for line, column in copies.items() if given.get(line) is None}
        if kind.flag_copy is not None:
            filled[kind.flag_copy] = header[FLAG]
    table = work.store.tables[kind.line]
    for name in ("sequencenumber", "lineitemnumber"):
        if given.get(name) is None:
            last = work.t.scalar(sa.select(sa.func.max(table.c[name])).where(table.c[kind.parent] == header[kind.id]))
            filled[name] = int(last or 0) + 1
    return filled


def _check_product(
    work: Work,
    kind: Kind,
    old: Mapping[str, Any] | None,
    line: Mapping[str, Any],
    header: Mapping[str, Any],
    product: Mapping[str, Any] | None,
) -> None:
    """Refuse a write-in with a product, a product that is not for sale, a wrong unit, a quantity too fine."""
    is_write_in = bool(line.get("isproductoverridden"))
    if old is not None and is_write_in != bool(old["isproductoverridden"]):
        raise refuse("A line of an existing product cannot become a write-in, nor a write-in a line of a product.")
    if is_write_in:
        if product is not None:
            raise refuse("A write-in line has no product: 'productid' must be empty.")
        if not work.organization.get("iswriteinproductsallowed", 1) and not line.get("msdynce_ismisctax"):
            raise refuse("Write-in products are not allowed in this organization.")
        return
    if product is None:
        return  # pricing error 6, not a refusal
    if header["_pricelevelid_value"] is None and work.organization.get("ispricelistmandatory", 1):
        raise refuse("You must select a price list before attempting to add a product.")
    if old is None or old["_productid_value"] != product["productid"]:
        if product["statecode"] != 0:
            raise refuse(f"Only active products can be added: '{product['productnumber']}' is not active.")
        if line.get("productdescription"):
            raise refuse("'productdescription' is not valid together with 'productid'.")
    unit = work.t.get("uoms", {"uomid": line.get("_uomid_value")}) if line.get("_uomid_value") else None
    group = product["_defaultuomscheduleid_value"]
    if unit is not None and group is not None and unit["_uomscheduleid_value"] != group:
        raise refuse(f"The unit '{unit['name']}' is not in the unit group of the product.")
    places, quantity = product["quantitydecimal"], line.get("quantity")
    if places is not None and quantity is not None and round(Decimal(quantity), int(places)) != Decimal(quantity):
        raise refuse(f"The quantity {quantity} has more than the {places} decimals of the product.")


def _named(kind: Kind, line: Mapping[str, Any], product: Mapping[str, Any] | None) -> dict[str, Any]:
    """Name, product name and number of a line."""
    if product is None:
        return {kind.title: line.get("productdescription"), "productname": None, "productnumber": None}
    name, number = product["name"], product["productnumber"]
    return {kind.title: name, "productname": name, "productnumber": number}


def settle_header(work: Work, kind: Kind, header_id: str, *, priced: bool = True) -> None:
    """After a line was written or deleted: totals and P2C flag of its header, and the lines' copies of the flag.

    The header is written only when something of it changes.
    """
    entity = work.schema.entities[kind.header]
    header = work.t.get(kind.header, {kind.id: header_id})
    if header is None:
        return  # the whole document is being deleted
    wanted = header_amounts(work, kind, header) if priced and is_priced(work, kind, header, "update") else {}
    if work.config.solution and kind.flag_copy is not None:
        wanted[FLAG] = _only_external(work, kind, header_id)
    changes = {name: value for name, value in wanted.items() if not _same(header[name], value)}
    if changes:
        work.t.update(kind.header, header["row_id"], before_update(work, entity, header, changes))
    if FLAG in wanted and kind.flag_copy is not None:
        table = work.store.tables[kind.line]
        stale = sa.and_(table.c[kind.parent] == header_id, table.c[kind.flag_copy].is_distinct_from(wanted[FLAG]))
        for row_id in work.t.connection.execute(sa.select(table.c.row_id).where(stale)).scalars().all():
            work.t.update(kind.line, row_id, {kind.flag_copy: wanted[FLAG], "modifiedon": work.now})


def _same(left: Any, right: Any) -> bool:
    if isinstance(right, str) and left is not None:
        return Decimal(left) == Decimal(right)
    return bool(left == right)


def _only_external(work: Work, kind: Kind, header_id: str) -> int:
    """Whether every line has an externally maintained product; a document without lines: yes."""
    lines, products = work.store.tables[kind.line], work.store.tables["products"]
    own = sa.select(sa.literal(1)).select_from(
        lines.outerjoin(products, lines.c["_productid_value"] == products.c["productid"])
    )
    own = own.where(lines.c[kind.parent] == header_id, sa.func.coalesce(products.c[EXTERNAL], 0) == 0)
    if "msdynce_ismisctax" in lines.c:
        own = own.where(sa.func.coalesce(lines.c["msdynce_ismisctax"], 0) == 0)
    return int(work.t.scalar(own.limit(1)) is None)


def new_line(work: Work, kind: Kind, values: Mapping[str, Any]) -> None:
    """Add a line from inside the server: without the checks that a client's line goes through."""
    entity = work.schema.entities[kind.line]
    header = header_of(work, kind, values)
    row = dict(values) | {entity.id: new_guid()}
    row |= _given_by_header(work, kind, header, row) | {kind.title: row.get("productdescription")}
    if is_priced(work, kind, row, "create"):
        row |= line_prices(work, header, row)
    work.t.insert(entity.name, before_create(work, entity, row))


def change_line(work: Work, kind: Kind, line: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Change a line from inside the server and price it again; its header is left to the caller."""
    entity = work.schema.entities[kind.line]
    whole = {**line, **changes}
    changes = dict(changes)
    if is_priced(work, kind, whole, "update"):
        changes |= line_prices(work, header_of(work, kind, whole), whole)
    work.t.update(entity.name, line["row_id"], before_update(work, entity, line, changes))


def reprice(work: Work, kind: Kind, header: Mapping[str, Any]) -> None:
    """Bring all lines of a document to its currency and price list."""
    for line in lines_of(work, kind, header[kind.id]):
        change_line(work, kind, line, {"_transactioncurrencyid_value": header["_transactioncurrencyid_value"]})
    settle_header(work, kind, header[kind.id])
