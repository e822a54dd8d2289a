"""The batch job "Calculate sales totals": until it ran, the totals of a document are out of date.

Documented: the job and what waits for it. Inferred: taxes (a rate by country/region of the invoice address, see
``fno_amounts``), that header charges are taxed like lines, and that total tax holds the tax on header charges too.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.fno_amounts import tax_on, tax_rate
from p2c_lib.sandbox.fno_documents import customer
from p2c_lib.sandbox.fno_kinds import ORDER, QUOTATION, Kind, same
from p2c_lib.sandbox.store import Store, Transaction, decimal_text

_AT_ONCE = 500
# What the totals of a header are called: lines and header together, tax of both, tax on header charges, charges,
# header discount.
_TOTALS = {
    ORDER.headers: {
        "amount": "OrderTotalAmount",
        "tax": "OrderTotalTaxAmount",
        "header_tax": "OrderHeaderTaxAmount",
        "charges": "OrderTotalChargesAmount",
        "all_discount": "OrderTotalDiscountAmount",
    },
    QUOTATION.headers: {
        "amount": "QuotationTotalAmount",
        "tax": "QuotationTotalTaxAmount",
        "header_tax": "QuotationHeaderTaxAmount",
        "charges": "QuotationTotalChargesAmount",
        "all_discount": "QuotationTotalDiscountAmount",
    },
}


def rate_of(t: Transaction, header: Mapping[str, Any]) -> Decimal:
    """Tax rate of a quotation or an order."""
    region = header["InvoiceAddressCountryRegionId"] or header["InvoiceAddressCountryRegionISOCode"]
    payer = customer(t, header["dataAreaId"], header["InvoiceCustomerAccountNumber"])
    return tax_rate(region, payer.get("SalesTaxGroup", ""))


def calculate_totals(store: Store, wish: Mapping[str, Any]) -> dict[str, int]:
    """Run the job.

    Args:
        store: Rows of F&O.
        wish: ``order``: this one alone, also when its totals are up to date. ``company``: in this one, else in all.
            ``quotations``: true has it do quotations as well.

    Returns:
        ``{"orders": n, "quotations": m}``: documents whose totals were calculated.

    Raises:
        SandboxError: Another wish, or no such order.
    """
    unknown = set(wish) - {"order", "company", "quotations"}
    if unknown:
        raise SandboxError(f"totals: no wish {sorted(unknown)[0]!r}; known: order, company, quotations")
    done = {"orders": 0, "quotations": 0}
    kinds = {"orders": ORDER} | ({"quotations": QUOTATION} if wish.get("quotations") else {})
    with store.transaction() as t:
        for name, kind in kinds.items():
            done[name] = _calculate(t, kind, _stale(t, kind, wish))
    if "order" in wish and not done["orders"]:
        raise SandboxError(f"no order {wish['order']!r}" + (f" in {wish['company']}" if "company" in wish else ""))
    return done


def _stale(t: Transaction, kind: Kind, wish: Mapping[str, Any]) -> list[dict[str, Any]]:
    table = t.table(kind.headers)
    where = same(table, {"dataAreaId": wish["company"]} if "company" in wish else {})
    if "order" in wish and kind is ORDER:
        where += [table.c[kind.number] == wish["order"]]
    else:
        where += [table.c[kind.header_flag] == "No"]
    return t.rows(sa.select(table).where(*where).order_by(table.c.dataAreaId, table.c[kind.number]))


def _calculate(t: Transaction, kind: Kind, headers: Iterable[Mapping[str, Any]]) -> int:
    done = 0
    lines = t.table(kind.lines)
    for company, group in groupby(headers, key=lambda header: str(header["dataAreaId"])):
        same_company = list(group)
        for start in range(0, len(same_company), _AT_ONCE):
            part = same_company[start : start + _AT_ONCE]
            numbers = [header[kind.number] for header in part]
            where = (lines.c.dataAreaId == company, lines.c[kind.number].in_(numbers))
            found: dict[str, list[dict[str, Any]]] = {}
            for line in t.rows(sa.select(lines).where(*where)):
                found.setdefault(line[kind.number].casefold(), []).append(line)
            for header in part:
                _total(t, kind, header, found.get(header[kind.number].casefold(), []))
                done += 1
    return done


def _total(t: Transaction, kind: Kind, header: Mapping[str, Any], lines: list[dict[str, Any]]) -> None:
    """Totals of one document. They are computed columns, so no etag moves."""
    rate, names = rate_of(t, header), _TOTALS[kind.headers]
    tax = Decimal(0)
    for line in lines:
        mine = tax_on(Decimal(line["LineAmount"]), rate)
        tax += mine
        _set(t, kind.lines, line, {"TotalTaxAmount": decimal_text(mine)} | dict.fromkeys(kind.line_flags, "Yes"))
    charges, discount = Decimal(header[names["charges"]]), Decimal(header["TotalDiscountAmount"])
    header_tax = tax_on(charges, rate)
    amount = sum((Decimal(line["LineAmount"]) for line in lines), Decimal(0)) - discount + charges + tax + header_tax
    values = {"amount": amount, "tax": tax + header_tax, "header_tax": header_tax, "all_discount": discount}
    shown = {names[name]: decimal_text(value) for name, value in values.items()}
    _set(t, kind.headers, header, {**shown, kind.header_flag: "Yes"})


def _set(t: Transaction, entity: str, row: Mapping[str, Any], values: Mapping[str, str]) -> None:
    table = t.table(entity)
    t.connection.execute(table.update().where(table.c.row_id == row["row_id"]).values(values))
