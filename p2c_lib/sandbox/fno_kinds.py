"""Quotations and orders of Finance and Operations side by side: how their columns are called."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.schema import Entity
from p2c_lib.sandbox.store import Transaction


@dataclass(frozen=True)
class Kind:
    """Names in which quotations and orders differ."""

    headers: str
    lines: str
    number: str
    form: str
    label: str
    table: str
    customer: str
    name: str
    quantity: str
    header_flag: str
    line_flags: tuple[str, ...]
    status: str
    closed: frozenset[str]
    formatted: str


QUOTATION = Kind(
    headers="CDSSalesQuotationHeaders",
    lines="CDSSalesQuotationLines",
    number="SalesQuotationNumber",
    form="{:06d}",
    label="Quotation",
    table="Quotations",
    customer="RequestingCustomerAccountNumber",
    name="SalesQuotationName",
    quantity="RequestedSalesQuantity",
    header_flag="AreTotalsCalculated",
    line_flags=("AreTotalsCalculated",),
    status="SalesQuotationStatus",
    closed=frozenset({"Confirmed", "Lost", "Cancelled"}),
    formatted="FormattedDeliveryAddress",
)
ORDER = Kind(
    headers="CDSSalesOrderHeaders",
    lines="CDSSalesOrderLines",
    number="SalesOrderNumber",
    form="{:06d}",
    label="Sales order",
    table="Sales orders",
    customer="OrderingCustomerAccountNumber",
    name="SalesOrderName",
    quantity="OrderedSalesQuantity",
    header_flag="AreTotalsUpdated",
    line_flags=("AreSalesOrderTotalsUpdated", "AreTotalsCalculated"),
    status="SalesOrderStatus",
    closed=frozenset({"Invoiced", "Canceled"}),
    formatted="FormattedDelveryAddress",
)
KINDS = (QUOTATION, ORDER)
BY_SET: Mapping[str, Kind] = {name: kind for kind in KINDS for name in (kind.headers, kind.lines)}


def header_key(kind: Kind, row: Mapping[str, Any]) -> dict[str, str]:
    """Key of the header that a header or line row belongs to."""
    return {"dataAreaId": row["dataAreaId"], kind.number: row[kind.number]}


def mark_stale(t: Transaction, entity: Entity, row: Mapping[str, Any]) -> None:
    """Say on a header and its lines that totals are out of date; these flags are computed, so no etag moves."""
    kind = BY_SET[entity.name]
    _flag(t, kind.headers, header_key(kind, row), (kind.header_flag,))
    _flag(t, kind.lines, header_key(kind, row), kind.line_flags)


def _flag(t: Transaction, name: str, key: Mapping[str, str], flags: Iterable[str]) -> None:
    table = t.table(name)
    flags = tuple(flags)
    is_set = sa.or_(*[table.c[flag] == "Yes" for flag in flags])
    t.connection.execute(table.update().where(*same(table, key), is_set).values(dict.fromkeys(flags, "No")))


def same(table: sa.Table, key: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """Clauses that find the rows with these column values."""
    return [table.c[name] == value for name, value in key.items()]
