"""Addresses on documents of Finance and Operations: taken from customers, completed, put into one text (inferred)."""

from collections.abc import Mapping
from typing import Any

from p2c_lib.sandbox.fno_amounts import REGIONS
from p2c_lib.sandbox.fno_kinds import BY_SET
from p2c_lib.sandbox.schema import Entity

# Column of a document's address, after its prefix -> column of a customer's.
ADDRESS = {
    "Street": "Street",
    "StreetNumber": "StreetNumber",
    "City": "City",
    "ZipCode": "ZipCode",
    "StateId": "State",
    "CountyId": "County",
    "DistrictName": "DistrictName",
    "CountryRegionISOCode": "CountryRegionISOCode",
    "CountryRegionId": "CountryRegionId",
}


def customer_address(row: Mapping[str, Any], prefix: str, own: str) -> dict[str, str]:
    """A customer's own address for a purpose, or its primary one, in the columns of a document."""
    if not any(row.get(f"{own}{part}") for part in ("Street", "City", "ZipCode")):
        own = "Address"
    return {f"{prefix}{part}": row.get(f"{own}{column}", "") for part, column in ADDRESS.items()}


def complete_addresses(entity: Entity, row: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Country from region and the other way round, and the formatted text.

    Args:
        entity: A set of ``BY_SET``.
        row: The row as it would be.
        given: What the client sent.

    Returns:
        Columns that change by that.
    """
    kind = BY_SET[entity.name]
    more: dict[str, Any] = {}
    is_header = entity.name == kind.headers
    for prefix, formatted in (
        ("DeliveryAddress", kind.formatted if is_header else "FormattedDeliveryAddress"),
        *([("InvoiceAddress", "FormattedInvoiceAddress")] if is_header else []),
    ):
        iso, region = f"{prefix}CountryRegionISOCode", f"{prefix}CountryRegionId"
        whole = dict(row)
        if given.get(region) and iso not in given:
            whole[iso] = next((code for code, long in REGIONS.items() if long == given[region].upper()), "")
        elif (given.get(iso) or not row[region]) and not given.get(region):
            code = row[iso].upper()
            whole[region] = code if code in REGIONS.values() else REGIONS.get(code, "")
        street = " ".join(filter(None, (row[f"{prefix}Street"], row.get(f"{prefix}StreetNumber", ""))))
        place = " ".join(filter(None, (row[f"{prefix}City"], row[f"{prefix}StateId"], row[f"{prefix}ZipCode"])))
        more |= {iso: whole[iso], region: whole[region]}
        more[formatted] = "\n".join(filter(None, (street, place, whole[region])))[:250]
    return {name: value for name, value in more.items() if value != row[name]}
