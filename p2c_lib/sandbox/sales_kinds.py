"""The three documents of Sales - quotes, orders, invoices - and what the platform does the same way with each."""

from __future__ import annotations

import random
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_core import Failure, Work
from p2c_lib.sandbox.dataverse_solution import SUFFIX_LETTERS
from p2c_lib.sandbox.schema import Entity

__all__ = ["HEADERS", "INVOICE", "LINES", "ORDER", "QUOTE", "Kind", "document_number", "header_of", "is_open", "refuse"]


@dataclass(frozen=True)
class Kind:
    """One kind of document: the tables and columns of its header and its lines.

    Attributes:
        header: Entity set of the header.
        line: Entity set of the lines.
        id: Primary id of the header.
        parent: Column of a line that names its header.
        number: Column of the document's number.
        prefix: Column of the organisation with the prefix of new numbers, and the prefix when that is empty.
        title: Primary name of a line.
        mirrors: Columns of a line that show one of the header (line -> header); on the service they are joined, so
            that a change of the header gives its lines no new version (inferred).
        flag_copy: P2C column of a line that repeats the header's "only externally maintained products".
        copies: P2C columns of a line that are filled from the header when they are empty (line -> header).
        open_states: States in which the document can be written.
        patch_states: States a plain update may lead to, by the state it comes from.
        instead: What is to be used to reach the other states.
    """

    header: str
    line: str
    id: str
    parent: str
    number: str
    prefix: tuple[str, str]
    title: str
    mirrors: Mapping[str, str]
    flag_copy: str | None
    copies: Mapping[str, str]
    open_states: Set[int]
    patch_states: Mapping[int, Set[int]]
    instead: str


OWNER = {name: name for name in ("_ownerid_value", "_owninguser_value", "_owningbusinessunit_value")}

QUOTE = Kind(
    header="quotes",
    line="quotedetails",
    id="quoteid",
    parent="_quoteid_value",
    number="quotenumber",
    prefix=("quoteprefix", "QUO"),
    title="quotedetailname",
    mirrors=OWNER | {"quotestatecode": "statecode"},
    flag_copy="msdynce_quotehasexternalmaintainedproductsonly",
    copies={"msdynce_quoterevisionnumber": "revisionnumber"},
    open_states={0},
    patch_states={0: {0, 1}, 1: {1}, 2: {2}, 3: {3}},
    instead="the actions WinQuote, CloseQuote and ReviseQuote",
)
ORDER = Kind(
    header="salesorders",
    line="salesorderdetails",
    id="salesorderid",
    parent="_salesorderid_value",
    number="ordernumber",
    prefix=("orderprefix", "ORD"),
    title="salesorderdetailname",
    mirrors=OWNER | {"salesorderstatecode": "statecode", "salesorderispricelocked": "ispricelocked"},
    flag_copy="msdynce_orderhasexternalmaintainedproductsonly",
    copies={"msdynce_ordernumber": "ordernumber"},
    open_states={0, 1},
    patch_states={0: {0, 1}, 1: {0, 1}, 2: {0, 2}, 3: {0, 3}, 4: {0, 4}},
    instead="the actions FulfillSalesOrder and CancelSalesOrder",
)
INVOICE = Kind(
    header="invoices",
    line="invoicedetails",
    id="invoiceid",
    parent="_invoiceid_value",
    number="invoicenumber",
    prefix=("invoiceprefix", "INV"),
    title="invoicedetailname",
    mirrors=OWNER | {"invoicestatecode": "statecode", "invoiceispricelocked": "ispricelocked"},
    flag_copy=None,
    copies={"msdynce_invoicenumber": "invoicenumber", "msdynce_invoicedate": "msdynce_invoicedate"},
    open_states={0},
    patch_states={0: {0, 2, 3}, 1: {0, 1}, 2: {0, 2}, 3: {0, 3}},
    instead="state Paid or Canceled",
)
HEADERS = {"quote": QUOTE, "salesorder": ORDER, "invoice": INVOICE}
LINES = {"quotedetail": QUOTE, "salesorderdetail": ORDER, "invoicedetail": INVOICE}


def refuse(message: str, code: str = "0x80040203") -> Failure:
    """A write that the platform's rules or a plug-in (code 0x80040265) forbid; the texts are the sandbox's own."""
    return Failure(400, code, message)


def header_of(work: Work, kind: Kind, line: Mapping[str, Any]) -> dict[str, Any]:
    """The header of a line.

    Raises:
        Failure: It names none.
    """
    header = work.t.get(kind.header, {kind.id: line.get(kind.parent)}) if line.get(kind.parent) else None
    if header is None:
        name = kind.parent.strip("_").removesuffix("_value")
        raise refuse(f"{work.schema.entities[kind.line].schema_name}: the required attribute '{name}' is missing.")
    return header


def is_open(kind: Kind, header: Mapping[str, Any]) -> bool:
    """Whether a document and its lines can be written.

    An invoiced order that P2C maintains takes updates still (inferred): its first invoice sets it to Invoiced while
    later deliveries of the same order go on coming back.
    """
    is_followed = kind is ORDER and header["statecode"] == 4 and header.get("msdynce_ismaintainedexternally")
    return header["statecode"] in kind.open_states or bool(is_followed)


def document_number(work: Work, entity: Entity, kind: Kind) -> str:
    """The next number of a document: ``ORD-01000-K7ZQ2M``.

    The platform fills numbers that are left out (confirmed); prefix, running number and six random letters follow the
    form of the account numbers (inferred).
    """
    last = work.t.connection.execute(
        sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": entity.name}
    ).scalar()
    number = 1000 + int(last or 0)
    # seeded: a sandbox of the same seed hands out the same numbers
    letters = random.Random(f"{work.config.seed}/{entity.type}/{number}")
    prefix = work.organization.get(kind.prefix[0]) or kind.prefix[1]
    return f"{prefix}-{number:05d}-{''.join(letters.choices(SUFFIX_LETTERS, k=6))}"
