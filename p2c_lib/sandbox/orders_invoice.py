"""Posting an invoice in Finance and Operations: its number, its date at noon, its voucher, its lines.

All inferred but the form of the entities: the first invoice of an order carries all header charges, the header
discount is shared by amount, the last invoice takes what rounding left, and only quantities above zero are posted.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from p2c_lib.sandbox.fno_amounts import gross_amount, net_amount, rounded, tax_on
from p2c_lib.sandbox.fno_kinds import ORDER
from p2c_lib.sandbox.fno_rules import next_number, rounding_rule
from p2c_lib.sandbox.orders_state import INVOICE_LINES, INVOICES, Progress, invoiced_lines, order_invoices
from p2c_lib.sandbox.orders_totals import rate_of
from p2c_lib.sandbox.schema import EMPTY_DATE
from p2c_lib.sandbox.store import Transaction, decimal_text

NUMBER, VOUCHER = "CIV-{:06d}", "ARI{:>08}"
# Column of the order -> column of the invoice.
_COPIED = {
    "dataAreaId": "dataAreaId",
    "SalesOrderNumber": "SalesOrderNumber",
    "SalesOrderOriginType": "SalesOrderOriginType",
    "CurrencyCode": "CurrencyCode",
    "InvoiceCustomerAccountNumber": "InvoiceCustomerAccountNumber",
    "CustomersOrderReference": "CustomersOrderReference",
    "ContactPersonId": "ContactPersonId",
    "OrderResponsiblePersonnelNumber": "SalesOrderResponsiblePersonnelNumber",
    "PaymentTermsName": "PaymentTermsName",
    "DeliveryTermsCode": "DeliveryTermsCode",
    "DeliveryModeCode": "DeliveryModeCode",
    "InvoiceAddressStreet": "InvoiceAddressStreet",
    "InvoiceAddressStreetNumber": "InvoiceAddressStreetNumber",
    "InvoiceAddressCity": "InvoiceAddressCity",
    "InvoiceAddressZipCode": "InvoiceAddressZipCode",
    "InvoiceAddressStateId": "InvoiceAddressState",
    "InvoiceAddressCountryRegionId": "InvoiceAddressCountryRegionId",
    "InvoiceAddressCountryRegionISOCode": "InvoiceAddressCountryRegionISOCode",
}


def invoice_date(header: Mapping[str, Any]) -> str:
    """Day on which an order is invoiced unless somebody says: that of shipping, not before the order was made."""
    shipping, made = header["RequestedShippingDate"], header["OrderCreationDateTime"]
    return f"{max(shipping if shipping != EMPTY_DATE else '', made)[:10]}T12:00:00Z"


def post_invoice(
    t: Transaction,
    header: Mapping[str, Any],
    lines: list[dict[str, Any]],
    quantities: Mapping[int, Decimal],
    after: Mapping[int, Progress],
    date: str,
) -> dict[str, str]:
    """Write an invoice; the entities show it while its customer is externally maintained.

    Args:
        t: The transaction.
        header: The order.
        lines: Its lines.
        quantities: What is invoiced, by line number.
        after: Progress of the lines with this invoice.
        date: Its date, at noon.

    Returns:
        ``InvoiceNumber``, ``InvoiceDate``, ``LedgerVoucher`` and ``TotalInvoiceAmount``.
    """
    number = next_number(t, INVOICES, "InvoiceNumber", NUMBER, header["dataAreaId"])
    voucher = VOUCHER.format(number.rpartition("-")[2])
    key = {"dataAreaId": header["dataAreaId"], "InvoiceNumber": number, "InvoiceDate": date, "LedgerVoucher": voucher}
    before, earlier = invoiced_lines(t, header), order_invoices(t, header)
    rate, unit = rate_of(t, header), rounding_rule(t, header["CurrencyCode"])
    amounts = tax = Decimal(0)
    for line in lines:
        sequence = line["LineCreationSequenceNumber"]
        if sequence not in quantities:
            continue
        discount, amount = _line(line, quantities[sequence], before.get(sequence, []), after[sequence], unit)
        mine = tax_on(amount, rate, unit)
        amounts, tax = amounts + amount, tax + mine
        row = {
            "LineCreationSequenceNumber": sequence,
            "InvoicedQuantity": decimal_text(quantities[sequence]),
            "CurrencyCode": header["CurrencyCode"],
            "LineTotalDiscountAmount": decimal_text(discount),
            "LineTotalTaxAmount": decimal_text(mine),
            "LineAmount": decimal_text(amount),
            "ProductDescription": line["LineDescription"],
        }
        same = ("ProductNumber", "ProductName", "SalesUnitSymbol", "SalesPrice", "ConfirmedShippingDate")
        t.insert(INVOICE_LINES, {**key, **row, **{name: line[name] for name in same}})
    charges = Decimal(0) if earlier else Decimal(header["OrderTotalChargesAmount"])
    discount = _header_discount(header, lines, amounts, earlier, after, unit)
    header_tax = tax_on(charges, rate, unit)
    total = amounts - discount + charges + tax + header_tax
    worth = {
        "TotalDiscountCustomerGroupCode": discount,
        "TotalDiscountAmount": discount,
        "TotalChargeAmount": charges,
        "InvoiceHeaderTaxAmount": header_tax,
        "TotalTaxAmount": tax + header_tax,
        "TotalInvoiceAmount": total,
    }
    shown = {name: decimal_text(value) for name, value in worth.items()}
    t.insert(INVOICES, {**key, **{to: header[name] for name, to in _COPIED.items()}, **shown})
    return {
        "InvoiceNumber": number,
        "InvoiceDate": date,
        "LedgerVoucher": voucher,
        "TotalInvoiceAmount": decimal_text(total),
    }


def _line(
    line: Mapping[str, Any], quantity: Decimal, before: list[dict[str, Any]], after: Progress, unit: Decimal
) -> tuple[Decimal, Decimal]:
    ordered, whole = Decimal(line[ORDER.quantity]), Decimal(line["TotalDiscountAmount"])
    if quantity == ordered:
        return whole, Decimal(line["LineAmount"])
    discount = rounded(whole * quantity / ordered, unit)
    if after.invoiced >= ordered:
        discount = whole - sum((Decimal(row["LineTotalDiscountAmount"]) for row in before), Decimal(0))
    gross = gross_amount(Decimal(line["SalesPrice"]), quantity, Decimal(line["SalesPriceQuantity"]))
    return discount, net_amount(gross, discount, unit)


def _header_discount(
    header: Mapping[str, Any],
    lines: list[dict[str, Any]],
    amounts: Decimal,
    earlier: list[dict[str, Any]],
    after: Mapping[int, Progress],
    unit: Decimal,
) -> Decimal:
    whole = Decimal(header["TotalDiscountAmount"])
    ordered = sum((Decimal(line["LineAmount"]) for line in lines), Decimal(0))
    given = sum((Decimal(row["TotalDiscountCustomerGroupCode"]) for row in earlier), Decimal(0))
    if all(state.invoiced >= state.ordered for state in after.values()) or not ordered:
        return whole - given
    return rounded(whole * amounts / ordered, unit)
