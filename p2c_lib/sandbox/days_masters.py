"""Master data over a day: products and prices in F&O, accounts and contacts in Sales, what the other side does then."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

from p2c_lib.sandbox.days_office import Office
from p2c_lib.sandbox.fno_amounts import EXEMPT
from p2c_lib.sandbox.people import (
    BRANDS,
    DEPARTMENTS,
    FIRST_NAMES,
    JOB_TITLES,
    LAST_NAMES,
    PRODUCT_ADJECTIVES,
    PRODUCT_NOUNS,
    PRODUCT_REMARKS,
    REGIONS,
    REMARKS,
    TRADES,
    Region,
)

__all__ = ["live"]

_UNITS = {"ea": 0, "pcs": 0, "box": 0, "lb": 2, "kg": 3}
_CURRENCIES = ("USD", "USD", "USD", "EUR", "GBP")
_OWN = "US-{:03d}"  # customers that F&O enters itself


def live(office: Office) -> None:
    """Live through the day's master data."""
    _take_up(office)
    is_first = office.day == 1
    for _ in range(8 if is_first else int(office.chance(0.15))):
        _release(office)
    _change_products(office)
    for _ in range(6 if is_first else office.dice.choice((0, 0, 1, 2))):
        _account(office)
    accounts = sorted(row["accountnumber"] for row in office.sales.rows("accounts", "", "accountnumber"))
    for _ in range(5 if is_first else office.dice.choice((0, 0, 1, 2))):
        _contact(office, accounts)
    _change_accounts(office)
    _change_contacts(office)


def _take_up(office: Office) -> None:
    """Work with what arrived overnight: new products go on sale, new customers are looked at for tax."""
    sales, fno = office.sales, office.fno
    drafts = sales.rows("products", "statecode eq 2 and msdynce_ismaintainedexternally eq true", "productnumber")
    for number in sorted(row["productnumber"] for row in drafts):
        sales.sell(number)
        office.done["products put on sale"] += 1
    said = f"dataAreaId eq '{fno.company}' and SalesTaxGroup eq ''"
    for row in sorted(fno.rows("CustomersV2", said), key=lambda row: str(row["CustomerAccount"])):
        if row["IsExternallyMaintained"] != "Yes":
            continue
        account = row["CustomerAccount"]
        # persons pay none, so that the quote that made a contact a customer can go over
        is_taxed = row["PartyType"] != "Person" and Random(f"{office.seed}/{account}").random() < 0.5
        fno.tax_group(account, "FULL" if is_taxed else EXEMPT)
        office.done["tax groups decided"] += 1


def _release(office: Office) -> None:
    fno, dice = office.fno, office.dice
    count = len(fno.rows("SellableReleasedProducts", f"dataAreaId eq '{fno.company}'", "ProductNumber"))
    unit = dice.choice(sorted(_UNITS))
    fno.product(
        f"D{count + 1:05d}",
        ProductName=f"{dice.choice(PRODUCT_ADJECTIVES)} {dice.choice(PRODUCT_NOUNS)}",
        ProductDescription=dice.choice(PRODUCT_REMARKS),
        CurrencyCode=dice.choice(_CURRENCIES),
        SalesUnitSymbol=unit,
        InventoryUnitSymbol=unit,
        SalesUnitDecimalPrecision=_UNITS[unit],
        SalesPrice=office.amount(1, 900),
        UnitCost=office.amount(1, 400),
        ProductType="Item" if office.chance(0.9) else "Service",
    )
    office.done["products released"] += 1


def _change_products(office: Office) -> None:
    said = f"dataAreaId eq '{office.fno.company}'"
    products = sorted(
        row["ProductNumber"] for row in office.fno.rows("SellableReleasedProducts", said, "ProductNumber")
    )
    for number in office.some(products, 2):
        office.fno.change_product(number, SalesPrice=office.amount(1, 900))
        office.done["prices changed"] += 1
    if office.chance(0.1):
        office.fno.change_product(office.dice.choice(products), ProductDescription=office.dice.choice(PRODUCT_REMARKS))
        office.done["products changed"] += 1


def _address(office: Office, region: Region, prefix: str) -> dict[str, Any]:
    dice = office.dice
    city, state, code = dice.choice(region.places)
    return {
        f"{prefix}_line1": dice.choice(region.streets).format(dice.randint(1, 199)),
        f"{prefix}_city": city,
        f"{prefix}_stateorprovince": state,
        f"{prefix}_postalcode": code,
        f"{prefix}_country": dice.choice(region.written),
    }


def _account(office: Office) -> None:
    dice = office.dice
    region = dice.choice(REGIONS)
    office.sales.account(
        dice.choice(_CURRENCIES),
        name=f"{dice.choice(BRANDS)} {dice.choice(TRADES)} {dice.choice(region.legal_forms)}",
        creditlimit=Decimal(dice.randint(0, 500) * 1000),
        telephone1=f"{region.phone} {dice.randint(100, 999)} {dice.randint(1000, 9999)}",
        description=dice.choice((None, *REMARKS)),
        **_address(office, region, "address1"),
        **(_address(office, region, "address2") if office.chance(0.3) else {}),
    )
    office.done["accounts made"] += 1


def _contact(office: Office, accounts: list[str]) -> None:
    dice = office.dice
    region = dice.choice(REGIONS)
    office.sales.contact(
        dice.choice(accounts) if accounts and office.chance(0.8) else None,
        dice.choice(_CURRENCIES),
        firstname=dice.choice(FIRST_NAMES),
        lastname=dice.choice(LAST_NAMES),
        jobtitle=dice.choice(JOB_TITLES),
        emailaddress1=f"contact{office.day}.{office.done['contacts made']}@example.com",
        **_address(office, region, "address1"),
    )
    office.done["contacts made"] += 1


def _change_accounts(office: Office) -> None:
    rows = sorted(office.sales.rows("accounts", "", "accountnumber,accountid"), key=lambda row: row["accountnumber"])
    for row in office.some(rows, 2):
        changes = office.dice.choice(
            (
                {"telephone1": f"+1 555 {office.dice.randint(1000, 9999)}"},
                {"creditlimit": Decimal(office.dice.randint(0, 500) * 1000)},
                {"description": office.dice.choice((None, *REMARKS))},
                _address(office, office.dice.choice(REGIONS), "address1"),
                _address(office, office.dice.choice(REGIONS), "address2"),
            )
        )
        office.sales.change("accounts", row["accountid"], changes)
        office.done["accounts changed"] += 1


def _change_contacts(office: Office) -> None:
    names = "msdynce_contactnumber,contactid"
    rows = sorted(office.sales.rows("contacts", "", names), key=lambda row: row["msdynce_contactnumber"])
    for row in office.some(rows, 2):
        changes = office.dice.choice(
            (
                {"telephone1": f"+1 555 {office.dice.randint(1000, 9999)}"},
                {"jobtitle": office.dice.choice(JOB_TITLES), "department": office.dice.choice(DEPARTMENTS)},
                {"lastname": office.dice.choice(LAST_NAMES)},
            )
        )
        office.sales.change("contacts", row["contactid"], changes)
        office.done["contacts changed"] += 1


def own_customer(office: Office) -> str:
    """The customer that F&O entered itself, made on first use; nothing of it goes to Sales."""
    number = _OWN.format(1)
    said = f"dataAreaId eq '{office.fno.company}' and CustomerAccount eq '{number}'"
    if not office.fno.rows("CustomersV2", said, "CustomerAccount"):
        row = {"CustomerAccount": number, "OrganizationName": "Walk-in trade", "CustomerGroupId": "10",
               "SalesCurrencyCode": "USD", "SiteId": "1", "WarehouseId": "13",
               "AddressCountryRegionISOCode": "US"}  # fmt: skip
        office.fno.create("CustomersV2", row)
    return number
