"""What X++ checks and fills in when a quotation or an order, or a line of one, is written.

Documented: a header comes before its lines, foreign numbers are accepted, a line's discount is split (``fno_amounts``),
and totals are out of date after each change until the batch job ran (``orders_totals``); until then the total of a
header is the one that was sent. Inferred: every default below, the texts of refusals, that a line keeps its whole
discount when only its quantity changes, that an address on the header is not pushed to lines that are there, and which
documents are closed to changes.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.fno_addresses import ADDRESS, complete_addresses, customer_address
from p2c_lib.sandbox.fno_amounts import line_amounts, split_discount
from p2c_lib.sandbox.fno_kinds import BY_SET, ORDER, Kind, header_key, same
from p2c_lib.sandbox.fno_rules import next_number, rounding_rule
from p2c_lib.sandbox.schema import EMPTY_DATE, Entity
from p2c_lib.sandbox.store import Transaction, decimal_text, now

CUSTOMERS = "CustomersV2"
EXTERNAL = ("OrderingCustomerIsExternallyMaintained", "InvoiceCustomerIsExternallyMaintained")

_PLACE = tuple(f"DeliveryAddress{part}" for part in ADDRESS)
_PLACE_NAMES = ("DeliveryAddressName", "DeliveryAddressDescription", "IsDeliveryAddressOrderSpecific")
_INHERITED = ("DeliveryModeCode", "CurrencyCode", "RequestedShippingDate", "RequestedReceiptDate")
# What comes through these entities was made for P2C, so it says that it came from Sales.
_MADE_BY_SALES = {
    "SalesOrderOriginType": "SalesOrderIntegration",
    "SalesQuotationHeaderCreationMethod": "Dynamics365Sales",
}
_PARTS = frozenset({"LineDiscountAmount", "FixedPriceCharges", "LineDiscountPercentage"})
_OTHER_DISCOUNTS = ("LineDiscountPercentage", "MultilineDiscountAmount", "MultilineDiscountPercentage")


def fill_document(t: Transaction, entity: Entity, row: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Fill in what a new header or line gets when the client does not say; in place.

    Args:
        t: The transaction.
        entity: A set of ``BY_SET``.
        row: The whole row, type defaults already in it.
        given: What the client sent.
    """
    kind = BY_SET[entity.name]
    if entity.name == kind.headers:
        _fill_header(t, kind, row, given)
    else:
        _fill_line(t, kind, row, given)
        row |= _line_amounts(t, kind, row, given)
    row |= complete_addresses(entity, row, given)


def _fill_header(t: Transaction, kind: Kind, row: dict[str, Any], given: Mapping[str, Any]) -> None:
    if not row[kind.number]:
        row[kind.number] = next_number(t, kind.headers, kind.number, kind.form, row["dataAreaId"])
    buyer = customer(t, row["dataAreaId"], row[kind.customer])
    payer_account = row["InvoiceCustomerAccountNumber"] or buyer.get("InvoiceAccount") or row[kind.customer]
    payer = customer(t, row["dataAreaId"], payer_account)
    person = " ".join(filter(None, (buyer.get("PersonFirstName"), buyer.get("PersonLastName"))))
    defaults = {
        "InvoiceCustomerAccountNumber": payer_account,
        "CurrencyCode": buyer.get("SalesCurrencyCode"),
        "LanguageId": buyer.get("LanguageId"),
        kind.name: buyer.get("OrganizationName") or person,
        "DefaultShippingSiteId": buyer.get("SiteId"),
        "DefaultShippingWarehouseId": buyer.get("WarehouseId"),
        "PaymentTermsName": buyer.get("PaymentTerms"),
        "DeliveryTermsCode": buyer.get("DeliveryTerms"),
        "DeliveryModeCode": buyer.get("DeliveryMode"),
        **customer_address(payer, "InvoiceAddress", "InvoiceAddress"),
    }
    if not any(given.get(f"DeliveryAddress{part}") for part in ADDRESS):
        if given.get("IsDeliveryAddressOrderSpecific") != "Yes":
            defaults |= customer_address(buyer, "DeliveryAddress", "DeliveryAddress")
            defaults["DeliveryAddressName"] = defaults[kind.name]
    elif "IsDeliveryAddressOrderSpecific" not in given:
        row["IsDeliveryAddressOrderSpecific"] = "Yes"
    for name, value in defaults.items():
        if name in row and not row[name]:
            row[name] = value or ""
    today = f"{now()[:10]}T12:00:00Z"
    for name in ("RequestedShippingDate", "RequestedReceiptDate", "ReceiptDateRequested"):
        if row.get(name) == EMPTY_DATE:
            row[name] = today
    if kind is ORDER:
        row |= {"SalesOrderStatus": "Backorder", "OrderCreationDateTime": now()} | external_flags(t, row)
    for name, value in _MADE_BY_SALES.items():
        if name in row and name not in given:
            row[name] = value


def _fill_line(t: Transaction, kind: Kind, row: dict[str, Any], given: Mapping[str, Any]) -> None:
    header = t.get(kind.headers, header_key(kind, row)) or {}
    product = _product(t, row)
    buyer = customer(t, row["dataAreaId"], header.get(kind.customer, ""))
    if not row["LineCreationSequenceNumber"]:
        table = t.table(kind.lines)
        last = sa.select(sa.func.max(table.c.LineCreationSequenceNumber)).where(*same(table, header_key(kind, row)))
        row["LineCreationSequenceNumber"] = (t.scalar(last) or 0) + 1
    place = () if any(given.get(name) for name in _PLACE) else (*_PLACE, *_PLACE_NAMES)
    for name in (*place, *_INHERITED):
        if name in row and name in header and not given.get(name):
            row[name] = header[name]
    site = row["ShippingSiteId"] or header.get("DefaultShippingSiteId") or buyer.get("SiteId") or ""
    site = site or (_first(t, "OperationalSitesV2", "SiteId", dataAreaId=row["dataAreaId"]) if product else "")
    here = {"dataAreaId": row["dataAreaId"], "OperationalSiteId": site}
    warehouse = row["ShippingWarehouseId"]
    for one in (header.get("DefaultShippingWarehouseId"), buyer.get("WarehouseId")):
        warehouse = warehouse or (one if one and t.get("Warehouses", {**here, "WarehouseId": one}) else "")
    defaults = {
        "SalesUnitSymbol": product.get("SalesUnitSymbol"),
        "ProductName": product.get("ProductName"),
        "LineDescription": product.get("ProductName"),
        "ShippingSiteId": site,
        "ShippingWarehouseId": warehouse or (_first(t, "Warehouses", "WarehouseId", **here) if site else ""),
    }
    for name, value in defaults.items():
        row[name] = row[name] or value or ""
    if kind.quantity not in given:
        row[kind.quantity] = "1"
    if "SalesPrice" not in given:
        row["SalesPrice"] = product.get("SalesPrice", "0")
    if not Decimal(row["SalesPriceQuantity"]):
        row["SalesPriceQuantity"] = "1"
    if kind is ORDER:
        row |= {"SalesOrderLineStatus": "Backorder", "SalesOrderNumberHeader": row[kind.number]}
        shown = (*EXTERNAL, "SalesOrderProcessingStatus", "SalesOrderOriginType") if header else ()
        row |= {name: header[name] for name in shown}
        return
    row["SalesQuotationStatus"] = header.get("SalesQuotationStatus", "Created")
    if "SalesQuotationLineCreationMethod" not in given:
        row["SalesQuotationLineCreationMethod"] = header.get("SalesQuotationHeaderCreationMethod", "SCM")


def document_changes(
    t: Transaction, entity: Entity, row: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Compute what else changes when fields of a header or line are changed.

    Args:
        t: The transaction.
        entity: A set of ``BY_SET``.
        row: The row as it would be with what was sent.
        given: What was sent.

    Returns:
        Further columns with their values.
    """
    kind = BY_SET[entity.name]
    more: dict[str, Any] = {}
    if entity.name == kind.lines:
        if given.keys() & (_PARTS | {kind.quantity, "SalesPrice", "SalesPriceQuantity", "TotalDiscountAmount"}):
            more |= _line_amounts(t, kind, row, given)
    elif kind is ORDER and given.keys() & {kind.customer, "InvoiceCustomerAccountNumber"}:
        more |= external_flags(t, row)
    return more | complete_addresses(entity, row, given)


def _line_amounts(t: Transaction, kind: Kind, row: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Split the discount unless the client sent its parts, and compute the line's amounts."""
    more: dict[str, Any] = {}
    is_simple = not any(Decimal(row[name]) for name in _OTHER_DISCOUNTS) and not given.keys() & _PARTS
    if "TotalDiscountAmount" in given or is_simple:
        split = split_discount(Decimal(row["TotalDiscountAmount"]), Decimal(row[kind.quantity]))
        more |= {"LineDiscountAmount": decimal_text(split.per_unit), "FixedPriceCharges": decimal_text(split.charge)}
        more |= dict.fromkeys(_OTHER_DISCOUNTS, "0")
    discount, amount = line_amounts({**row, **more}, kind.quantity, rounding_rule(t, row["CurrencyCode"]))
    return more | {"TotalDiscountAmount": decimal_text(discount), "LineAmount": decimal_text(amount)}


def document_infolog(
    t: Transaction, entity: Entity, row: Mapping[str, Any], before: Mapping[str, Any] | None
) -> list[str]:
    """Run validateWrite of a header or line.

    Args:
        t: The transaction.
        entity: A set of ``BY_SET``.
        row: The row as it would be.
        before: The row as it is; None when it is new.

    Returns:
        Entries of the infolog; empty when the row may be written.
    """
    kind = BY_SET[entity.name]
    if entity.name == kind.headers:
        entries = [] if before is None else closed_infolog(kind, before)
        if not row[kind.customer] and not row.get("ProspectId"):
            entries.append("Error: Field 'Customer account' must be filled in")
        if not row["CurrencyCode"]:
            entries.append("Error: Field 'Currency' must be filled in")
        return entries
    header = t.get(kind.headers, header_key(kind, row))
    if header is None:
        return [
            f"Warning: The value '{row[kind.number]}' in field '{kind.label}' is not found in the related table "
            f"'{kind.table}'.",
            f"Warning: validateField failed on field '{entity.schema_name}.{kind.number}'",
        ]
    entries = closed_infolog(kind, header)
    if before is not None:
        entries += _line_closed(kind, before)
    if row["CurrencyCode"].casefold() != header["CurrencyCode"].casefold():
        entries.append(f"Error: The currency of a line is that of its {kind.label.lower()}, {header['CurrencyCode']}")
    if not row["ProductNumber"]:
        entries.append("Error: Field 'Product number' must be filled in")
    product = _product(t, row)
    if not product:
        return entries
    if before is None and product["IsSalesStopped"] == "Yes":
        entries.append(f"Error: Sales of item {row['ProductNumber']} are stopped")
    if not row["SalesUnitSymbol"]:
        entries.append("Error: Field 'Unit' must be filled in")
    if not row["ShippingSiteId"]:
        entries.append(f"Error: Site must be specified for item {row['ProductNumber']}")
    stock = {"dataAreaId": row["dataAreaId"], "WarehouseId": row["ShippingWarehouseId"]}
    warehouse = t.get("Warehouses", stock) if row["ShippingWarehouseId"] else None
    if warehouse and warehouse["OperationalSiteId"].casefold() != row["ShippingSiteId"].casefold():
        entries.append(f"Error: Warehouse {row['ShippingWarehouseId']} does not belong to site {row['ShippingSiteId']}")
    return entries


def closed_infolog(kind: Kind, header: Mapping[str, Any]) -> list[str]:
    """Tell that a document is closed, in entries of the infolog."""
    if header[kind.status] not in kind.closed:
        return []
    return [f"Error: {kind.label} {header[kind.number]} is {header[kind.status]} and cannot be changed"]


def _line_closed(kind: Kind, line: Mapping[str, Any]) -> list[str]:
    if kind is not ORDER or line["SalesOrderLineStatus"] in ("None", "Backorder"):
        return []
    number = line["LineCreationSequenceNumber"]
    return [f"Error: Line {number} of {kind.label.lower()} {line[kind.number]} is {line['SalesOrderLineStatus']}"]


def delete_document(t: Transaction, entity: Entity, row: Mapping[str, Any]) -> list[str]:
    """Check a deletion and delete the lines of a header.

    Returns:
        Entries of the infolog; when empty the lines are gone and the row itself may go.
    """
    kind = BY_SET[entity.name]
    if entity.name == kind.lines:
        header = t.get(kind.headers, header_key(kind, row))
        return (closed_infolog(kind, header) if header else []) + _line_closed(kind, row)
    posted = kind is ORDER and row["SalesOrderProcessingStatus"] not in ("Active", "Confirmed", "Picked", "Canceled")
    if posted:
        return [f"Error: {kind.label} {row[kind.number]} has postings and cannot be deleted"]
    entries = [] if row[kind.status] == "Canceled" else closed_infolog(kind, row)
    if not entries:
        table = t.table(kind.lines)
        for line in t.rows(sa.select(table.c.row_id).where(*same(table, header_key(kind, row)))):
            t.delete(kind.lines, line["row_id"])
    return entries


def customer(t: Transaction, company: str, account: str) -> dict[str, Any]:
    """The customer of an account; empty when there is none."""
    return (account and t.get(CUSTOMERS, {"dataAreaId": company, "CustomerAccount": account})) or {}


def external_flags(t: Transaction, row: Mapping[str, Any]) -> dict[str, str]:
    """Whether the two customers of an order came from Sales."""
    accounts = (row["OrderingCustomerAccountNumber"], row["InvoiceCustomerAccountNumber"])
    return {
        flag: customer(t, row["dataAreaId"], account).get("IsExternallyMaintained", "No")
        for flag, account in zip(EXTERNAL, accounts, strict=True)
    }


def customer_changed(t: Transaction, row: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Carry a customer's changed origin into its orders and their lines, which show it as a column (no etag moves)."""
    value = changes.get("IsExternallyMaintained", row["IsExternallyMaintained"])
    if value == row["IsExternallyMaintained"]:
        return
    headers, lines = t.table(ORDER.headers), t.table(ORDER.lines)
    columns = ("OrderingCustomerAccountNumber", "InvoiceCustomerAccountNumber")
    for flag, column in zip(EXTERNAL, columns, strict=True):
        mine = (headers.c.dataAreaId == row["dataAreaId"], headers.c[column] == row["CustomerAccount"])
        numbers = sa.select(headers.c.SalesOrderNumber).where(*mine)
        t.connection.execute(headers.update().where(*mine).values({flag: value}))
        of_mine = (lines.c.dataAreaId == row["dataAreaId"], lines.c.SalesOrderNumber.in_(numbers))
        t.connection.execute(lines.update().where(*of_mine).values({flag: value}))


def _product(t: Transaction, line: Mapping[str, Any]) -> dict[str, Any]:
    key = {"dataAreaId": line["dataAreaId"], "ProductNumber": line["ProductNumber"]}
    return t.get("SellableReleasedProducts", key) or {}


def _first(t: Transaction, entity: str, column: str, **where: str) -> str:
    table = t.table(entity)
    return str(t.scalar(sa.select(sa.func.min(table.c[column])).where(*same(table, where))) or "")
