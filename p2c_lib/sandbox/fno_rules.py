"""What X++ checks and fills in when a customer, a contact person or a set-up row is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from p2c_lib.sandbox.fno_amounts import CENT
from p2c_lib.sandbox.schema import Entity
from p2c_lib.sandbox.store import Transaction

LEGAL_ENTITY_CURRENCY = {"usmf": "USD", "demf": "EUR"}
# Read as two characters in a real system; but a template's own constant for them has three and is accepted there.
UNCUT = ("CountryRegionISOCode",)


@dataclass(frozen=True)
class Relation:
    """A column whose value must exist in another set: its labels are those of the error texts."""

    column: str
    label: str
    target: str
    target_column: str
    target_label: str


_CUSTOMER = (
    Relation("CustomerGroupId", "Customer group", "CustomerGroups", "CustomerGroupId", "Customer groups"),
    Relation("SiteId", "Site", "OperationalSitesV2", "SiteId", "Sites"),
    Relation("WarehouseId", "Warehouse", "Warehouses", "WarehouseId", "Warehouses"),
    Relation("SalesCurrencyCode", "Currency", "Currencies", "CurrencyCode", "Currencies"),
)
_PAYER = Relation("InvoiceCustomerAccountNumber", "Invoice account", "CustomersV2", "CustomerAccount", "Customers")
_STOCK = (
    Relation("DefaultShippingSiteId", "Site", "OperationalSitesV2", "SiteId", "Sites"),
    Relation("DefaultShippingWarehouseId", "Warehouse", "Warehouses", "WarehouseId", "Warehouses"),
    Relation("CurrencyCode", "Currency", "Currencies", "CurrencyCode", "Currencies"),
)
_LINE = (
    Relation("ProductNumber", "Product number", "SellableReleasedProducts", "ProductNumber", "Released products"),
    Relation("SalesUnitSymbol", "Unit", "UnitsOfMeasure", "UnitSymbol", "Units"),
    Relation("ShippingSiteId", "Site", "OperationalSitesV2", "SiteId", "Sites"),
    Relation("ShippingWarehouseId", "Warehouse", "Warehouses", "WarehouseId", "Warehouses"),
)


def _buyer(column: str) -> Relation:
    return Relation(column, "Customer account", "CustomersV2", "CustomerAccount", "Customers")


RELATIONS: dict[str, tuple[Relation, ...]] = {
    "CustomersV2": _CUSTOMER,
    "CDSSalesQuotationHeaders": (_buyer("RequestingCustomerAccountNumber"), _PAYER, *_STOCK),
    "CDSSalesOrderHeaders": (_buyer("OrderingCustomerAccountNumber"), _PAYER, *_STOCK),
    "CDSSalesQuotationLines": _LINE,
    "CDSSalesOrderLines": _LINE,
    "Warehouses": (Relation("OperationalSiteId", "Site", "OperationalSitesV2", "SiteId", "Sites"),),
}
# Columns of a party, and where customers and contact persons have them.
PARTY_COLUMNS: dict[str, dict[str, str]] = {
    "CustomersV2": {
        name: name
        for name in ("PartyNumber", "PartyType", "OrganizationName", "PersonFirstName", "PersonMiddleName",
                     "PersonLastName", "NameAlias", "LanguageId")
    },
    "CDSContactPersons": {
        "PartyNumber": "ContactPersonPartyNumber",
        "PartyType": "ContactPersonPartyType",
        "PersonFirstName": "FirstName",
        "PersonMiddleName": "MiddleName",
        "PersonLastName": "LastName",
    },
}  # fmt: skip


def fill_defaults(t: Transaction, entity: Entity, row: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Do what initValue, the number sequences and defaultRow do, in place.

    Args:
        t: The transaction.
        entity: What is created.
        row: The whole row, defaults already in it.
        given: What the client sent.
    """
    if entity.name == "CustomersV2":
        row["CustomerAccount"] = row["CustomerAccount"] or next_number(
            t, "CustomersV2", "CustomerAccount", "CUS-{:09d}"
        )
        row["PartyNumber"] = row["PartyNumber"] or next_number(t, "CustomersV2", "PartyNumber", "{:09d}")
        row["PartyType"] = row["PartyType"] or "Organization"
        row["LanguageId"] = row["LanguageId"] or "en-us"
        row["SalesCurrencyCode"] = row["SalesCurrencyCode"] or LEGAL_ENTITY_CURRENCY.get(row["dataAreaId"].lower(), "")
        if row["PartyType"] == "Person" and not row["OrganizationName"]:
            names = (row["PersonFirstName"], row["PersonMiddleName"], row["PersonLastName"])
            row["NameAlias"] = row["NameAlias"] or " ".join(filter(None, names))[:20]
        else:
            row["NameAlias"] = row["NameAlias"] or row["OrganizationName"][:20]
    elif entity.name == "CDSContactPersons":
        number = "ContactPersonPartyNumber"
        row[number] = row[number] or next_number(t, entity.name, number, "{:09d}")
        row["ContactPersonPartyType"] = row["ContactPersonPartyType"] or "Person"


def next_number(t: Transaction, entity: str, column: str, form: str, company: str | None = None) -> str:
    """Take the next number of a sequence that nobody uses.

    Args:
        t: The transaction.
        entity: The set.
        column: Column that holds the number.
        form: How it is written: ``"{:06d}"``.
        company: Where it must be free; None: everywhere.

    Returns:
        The number.
    """
    where = {} if company is None else {"dataAreaId": company}
    count = (t.run(f'SELECT max(row_id) FROM "{entity}"').fetchone()[0] or 0) + 1
    while t.has(entity, {**where, column: form.format(count)}):
        count += 1
    return form.format(count)


def rounding_rule(t: Transaction, currency: str) -> Decimal:
    """What amounts of a currency are whole numbers of: its general rounding rule, 0.01 where it has none."""
    row = t.get("Currencies", {"CurrencyCode": currency})
    return Decimal(row["GeneralRoundingRule"] if row else 0) or CENT


def infolog(t: Transaction, entity: Entity, row: Mapping[str, Any], changed: set[str]) -> list[str]:
    """Run validateField and validateWrite.

    Args:
        t: The transaction.
        entity: What is written.
        row: The row as it would be.
        changed: Columns that were sent or defaulted.

    Returns:
        Entries of the infolog; empty when the row may be written.
    """
    entries: list[str] = []
    for relation in RELATIONS.get(entity.name, ()):
        value = row[relation.column]
        if value and relation.column in changed and not _exists(t, relation, row):
            entries += [
                f"Warning: The value '{value}' in field '{relation.label}' is not found in the related table "
                f"'{relation.target_label}'.",
                f"Warning: validateField failed on field '{entity.schema_name}.{relation.column}'",
            ]
    if (
        "dataAreaId" in entity.key
        and "dataAreaId" in changed
        and not t.has("LegalEntities", {"LegalEntityId": row["dataAreaId"]})
    ):
        entries.append(f"Error: Legal entity '{row['dataAreaId']}' does not exist")
    if entity.name == "CustomersV2":
        entries += _customer(row)
    elif entity.name == "CDSContactPersons":
        party = row["AssociatedPartyNumber"]
        if party and "AssociatedPartyNumber" in changed and not has_party(t, party):
            entries += [
                f"Warning: The value '{party}' in field 'Party ID' is not found in the related table 'Parties'.",
                f"Warning: validateField failed on field '{entity.schema_name}.AssociatedPartyNumber'",
            ]
    missing = [name for name in entity.needed if not row[name]]
    entries += [f"Error: Field '{entity.columns[name].label}' must be filled in" for name in missing]
    return entries


def _customer(row: Mapping[str, Any]) -> list[str]:
    kind = row["PartyType"]
    if kind == "Person":
        needed = {"PersonFirstName": "First name", "PersonLastName": "Last name"}
    elif kind == "Organization":
        needed = {"OrganizationName": "Name"}
    else:
        return [f"Error: The party type '{kind}' is not valid; it is Organization or Person"]
    needed |= {"CustomerGroupId": "Customer group", "SalesCurrencyCode": "Currency"}
    return [f"Error: Field '{label}' must be filled in" for name, label in needed.items() if not row[name]]


def _exists(t: Transaction, relation: Relation, row: Mapping[str, Any]) -> bool:
    key = {relation.target_column: row[relation.column]}
    if "dataAreaId" in t.store.schema.entities[relation.target].key:
        key["dataAreaId"] = row["dataAreaId"]
    return t.has(relation.target, key)


def has_party(t: Transaction, number: str) -> bool:
    """Tell whether there is a party of that number; customers put in behind the API's back count too."""
    sets = ("CDSParties", "CustomersV2", "LegalEntities")
    return any(t.has(entity, {"PartyNumber": number}) for entity in sets)


def add_party(t: Transaction, entity: Entity, row: Mapping[str, Any]) -> None:
    """Make the party of a new customer or contact person, unless there is one; it outlives them."""
    columns = PARTY_COLUMNS.get(entity.name)
    if columns and not t.has("CDSParties", {"PartyNumber": row[columns["PartyNumber"]]}):
        t.insert("CDSParties", {name: row[column] for name, column in columns.items()})


def delete_infolog(t: Transaction, entity: Entity, row: Mapping[str, Any]) -> list[str]:
    """Run validateDelete: a row that others refer to stays.

    Args:
        t: The transaction.
        entity: What is to be deleted.
        row: The row.

    Returns:
        Entries of the infolog; empty when it may go.
    """
    entries = []
    for name, relations in RELATIONS.items():
        for relation in relations:
            if relation.target != entity.name:
                continue
            key = {relation.column: row[relation.target_column]}
            if "dataAreaId" in entity.key:
                key["dataAreaId"] = row["dataAreaId"]
            if t.has(name, key):
                label = t.store.schema.entities[name].label
                entries.append(f"Error: The record cannot be deleted because dependent {label} exist")
    return entries
