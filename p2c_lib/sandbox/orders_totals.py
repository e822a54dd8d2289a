"""The batch job "Calculate sales totals": until it ran, the totals of a document are out of date.

Documented: the job and what waits for it. Inferred: taxes (a rate by country/region of the invoice address, see
``fno_amounts``), that header charges are taxed like lines, and that total tax holds the tax on header charges too.
"""

from collections.abc import Mapping
from decimal import Decimal
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.fno_amounts import tax_on, tax_rate
from p2c_lib.sandbox.fno_kinds import ORDER, QUOTATION, Kind
from p2c_lib.sandbox.fno_rules import rounding_rule
from p2c_lib.sandbox.store import Store, Transaction, decimal_text

_AT_ONCE = 500
_PAYER = ("InvoiceCustomerAccountNumber", "InvoiceAddressCountryRegionId", "InvoiceAddressCountryRegionISOCode")
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
    customers = t.table("CustomersV2")
    payer = (customers.c.dataAreaId == header["dataAreaId"]) & (
        customers.c.CustomerAccount == header["InvoiceCustomerAccountNumber"]
    )
    return tax_rate(region, t.scalar(sa.select(customers.c.SalesTaxGroup).where(payer)) or "")


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
    for name, kind in kinds.items():
        with store.read() as reader:
            headers = _stale(reader, kind, wish)
        done[name] = len(headers)
        for company, group in groupby(headers, key=lambda header: str(header["dataAreaId"])):
            same_company = list(group)
            for start in range(0, len(same_company), _AT_ONCE):
                with store.transaction() as t:  # not one for all: others want to write meanwhile
                    _calculate(t, kind, company, same_company[start : start + _AT_ONCE])
    if "order" in wish and not done["orders"]:
        raise SandboxError(f"no order {wish['order']!r}" + (f" in {wish['company']}" if "company" in wish else ""))
    return done


def _stale(t: Transaction, kind: Kind, wish: Mapping[str, Any]) -> list[dict[str, Any]]:
    table = t.table(kind.headers)
    companies = [str(wish["company"])] if "company" in wish else sa.select(t.table("LegalEntities").c.LegalEntityId)
    where: list[sa.ColumnElement[bool]] = [table.c.dataAreaId.in_(companies)]
    if "order" in wish and kind is ORDER:
        where += [table.c[kind.number] == wish["order"]]
    else:
        where += [table.c[kind.header_flag] == "No"]
    names = (
        "row_id",
        "dataAreaId",
        kind.number,
        "CurrencyCode",
        _TOTALS[kind.headers]["charges"],
        "TotalDiscountAmount",
        *_PAYER,
    )
    columns = [table.c[name] for name in names]
    return t.rows(sa.select(*columns).where(*where).order_by(table.c.dataAreaId, table.c[kind.number]))


def _calculate(t: Transaction, kind: Kind, company: str, headers: list[dict[str, Any]]) -> None:
    lines = t.table(kind.lines)
    numbers = [header[kind.number] for header in headers]
    where = (lines.c.dataAreaId == company, lines.c[kind.number].in_(numbers))
    found: dict[str, list[dict[str, Any]]] = {}
    for line in t.rows(sa.select(lines.c.row_id, lines.c[kind.number], lines.c.LineAmount).where(*where)):
        found.setdefault(line[kind.number].casefold(), []).append(line)
    of_headers, of_lines = [], []
    for header in headers:
        mine = found.get(header[kind.number].casefold(), [])
        totals, taxes = _totals(kind, header, mine, rate_of(t, header), rounding_rule(t, header["CurrencyCode"]))
        of_headers.append(totals)
        of_lines += taxes
    _write(t, kind.headers, of_headers)
    _write(t, kind.lines, of_lines)


def _totals(
    kind: Kind, header: Mapping[str, Any], lines: list[dict[str, Any]], rate: Decimal, unit: Decimal
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Columns of a header and of its lines that the job writes, each with its ``row_id``."""
    names, taxes = _TOTALS[kind.headers], []
    net = tax = Decimal(0)
    for line in lines:
        amount = Decimal(line["LineAmount"])
        mine = tax_on(amount, rate, unit)
        net, tax = net + amount, tax + mine
        flags = dict.fromkeys(kind.line_flags, "Yes")
        taxes.append({"row": line["row_id"], "TotalTaxAmount": decimal_text(mine), **flags})
    charges, discount = Decimal(header[names["charges"]]), Decimal(header["TotalDiscountAmount"])
    header_tax = tax_on(charges, rate, unit)
    values = {
        "amount": net - discount + charges + tax + header_tax,
        "tax": tax + header_tax,
        "header_tax": header_tax,
        "all_discount": discount,
    }
    shown = {names[name]: decimal_text(value) for name, value in values.items()}
    return {"row": header["row_id"], **shown, kind.header_flag: "Yes"}, taxes


def _write(t: Transaction, entity: str, rows: list[dict[str, Any]]) -> None:
    """Write computed columns, so no etag moves."""
    table = t.table(entity)
    if rows:
        t.connection.execute(table.update().where(table.c.row_id == sa.bindparam("row")), rows)
