"""Rows that both systems need before there is any business: currencies, units, price lists, groups, sites.

Their guids come from their names alone, so they are the same in every sandbox.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from p2c_lib.sandbox.draw import MONEY

__all__ = ["FIRST_NUMBER", "PRICE_LIST", "UNITS", "USERS", "fno_reference", "guid", "sales_reference"]

START = datetime(2024, 1, 1, tzinfo=UTC)
FIRST_NUMBER = 1000  # ACC-01000-..., CON-01000-...
UNIT_GROUP = "Default Unit"

CURRENCIES = (
    ("USD", "US Dollar", "$", 2, "1"),
    ("EUR", "Euro", "€", 2, "0.92"),
    ("GBP", "Pound Sterling", "£", 2, "0.79"),
)
OTHER_CURRENCIES = (("JPY", "Japanese Yen", "¥", 0, "157.5"),)

# F&O symbol -> Sales unit, name in F&O, class, decimals. A roll is sold in F&O only.
UNITS = {"ea": "Each", "pcs": "Piece", "lb": "Pound", "kg": "Kilogram", "box": "Box"}
FNO_UNITS = (
    ("ea", "Each", "Quantity", "None", 0),
    ("pcs", "Pieces", "Quantity", "None", 0),
    ("lb", "Pounds", "Mass", "US", 2),
    ("kg", "Kilograms", "Mass", "Metric", 3),
    ("box", "Box", "Quantity", "None", 0),
    ("roll", "Roll", "Quantity", "None", 0),
)

# The first active one of a currency by name gets the items of products that come from F&O.
PRICE_LISTS = (
    ("A Clearance 2019", "USD", False),
    ("CRM Service USA (sample)", "USD", True),
    ("Wholesale USA", "USD", True),
    ("Europe Retail", "EUR", True),
    ("Europe Wholesale", "EUR", True),
    ("UK Retail", "GBP", True),
)
PRICE_LIST = "CRM Service USA (sample)"
USERS = ("Veronica Quek", "Spencer Low", "Allie Bellew", "Alan Steiner", "Dan Jump", "Christa Geller")


def guid(kind: str, name: str) -> str:
    """The guid of a reference row."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"p2c-sandbox/{kind}/{name}"))


def _frame(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    return pl.DataFrame([dict(zip(columns, row, strict=True)) for row in rows], infer_schema_length=None)


def sales_reference(accounts: int, contacts: int) -> dict[str, pl.DataFrame]:
    """Reference rows of Sales.

    Args:
        accounts: Accounts numbered so far; the number sequence goes on after them.
        contacts: Contacts numbered so far.

    Returns:
        Entity set -> frame with the columns that hold something.
    """
    stamp = [pl.lit(START).cast(pl.Datetime("us", "UTC")).alias(name) for name in ("createdon", "modifiedon")]
    unit, office = guid("unit", UNIT_GROUP), guid("businessunit", "Contoso")
    dollar = guid("currency", "USD")
    base = guid("uom", "Each")
    names = [*dict.fromkeys(UNITS.values())]
    frames = {
        "businessunits": _frame(["businessunitid", "name"], [(office, "Contoso")]).with_columns(stamp),
        "systemusers": _frame(
            [
                "systemuserid",
                "fullname",
                "firstname",
                "lastname",
                "domainname",
                "internalemailaddress",
                "isintegrationuser",
                "accessmode",
                "_businessunitid_value",
            ],
            [
                (guid("user", name), name, *name.split(" "), mail, mail, False, 0, office)
                for name in USERS
                for mail in [f"{name.lower().replace(' ', '.')}@contoso.example"]
            ]
            + [
                (
                    guid("user", "P2C Integration"),
                    "P2C Integration",
                    "P2C",
                    "Integration",
                    "p2c@contoso.example",
                    "p2c@contoso.example",
                    True,
                    4,
                    office,
                )
            ],
        ),
        "transactioncurrencies": _frame(
            [
                "transactioncurrencyid",
                "isocurrencycode",
                "currencyname",
                "currencysymbol",
                "currencyprecision",
                "exchangerate",
            ],
            [
                (guid("currency", iso), iso, name, symbol, places, Decimal(rate))
                for iso, name, symbol, places, rate in CURRENCIES + OTHER_CURRENCIES
            ],
        ).with_columns(pl.col("exchangerate").cast(MONEY), *stamp),
        "uomschedules": _frame(
            ["uomscheduleid", "name", "baseuomname"],
            [(unit, UNIT_GROUP, "Each"), (guid("unit", "Time"), "Time", "Hour")],
        ).with_columns(stamp),
        "uoms": _frame(
            ["uomid", "name", "_uomscheduleid_value", "_baseuom_value", "quantity", "isschedulebaseuom"],
            [
                (guid("uom", name), name, unit, None if name == "Each" else base, Decimal(1), name == "Each")
                for name in names
            ]
            + [(guid("uom", "Hour"), "Hour", guid("unit", "Time"), None, Decimal(1), True)],
        ).with_columns(pl.col("quantity").cast(MONEY), *stamp),
        "pricelevels": _frame(
            ["pricelevelid", "name", "_transactioncurrencyid_value", "statecode", "statuscode"],
            [
                (guid("pricelist", name), name, guid("currency", iso), 0 if on else 1, 100001 if on else 100002)
                for name, iso, on in PRICE_LISTS
            ],
        ).with_columns(stamp),
        "organizations": _frame(
            [
                "organizationid",
                "name",
                "_basecurrencyid_value",
                "basecurrencyprecision",
                "baseisocurrencycode",
                "currencydecimalprecision",
                "pricingdecimalprecision",
                "discountcalculationmethod",
                "oobpricecalculationenabled",
                "createproductswithoutparentinactivestate",
                "languagecode",
                "orderprefix",
                "quoteprefix",
                "invoiceprefix",
            ],
            [
                (
                    guid("organization", "Contoso"),
                    "Contoso",
                    dollar,
                    2,
                    "USD",
                    2,
                    2,
                    0,
                    True,
                    False,
                    1033,
                    "ORD",
                    "QUO",
                    "INV",
                )
            ],
        ),
        "solutions": _frame(
            ["solutionid", "uniquename", "friendlyname", "version", "ismanaged", "isvisible", "installedon"],
            [
                (
                    guid("solution", "P2C"),
                    "msdynce_ProspectToCashIntegration",
                    "Prospect to Cash",
                    "15.0.0.2",
                    True,
                    True,
                    START,
                )
            ],
        ).with_columns(pl.col("installedon").cast(pl.Datetime("us", "UTC"))),
        "msdynce_p2cautonumbers": _frame(
            [
                "msdynce_p2cautonumberid",
                "msdynce_entityname",
                "msdynce_name",
                "msdynce_prefix",
                "msdynce_numbersequence",
                "msdynce_suffixlength",
            ],
            [
                (guid("sequence", table), table, table, prefix, FIRST_NUMBER + rows, 6)
                for table, prefix, rows in (("account", "ACC", accounts), ("contact", "CON", contacts))
            ],
        ).with_columns(stamp),
    }
    whole = [pl.col(pl.Int64).cast(pl.Int32)]
    return {name: frame.with_columns(whole) for name, frame in frames.items()}


def fno_reference() -> dict[str, pl.DataFrame]:
    """Reference rows of F&O: what the templates' constants need in usmf, and demf with its own.

    Returns:
        Entity set -> frame with the columns that hold something.
    """
    frames = {
        "LegalEntities": _frame(
            [
                "LegalEntityId",
                "Name",
                "CompanyName",
                "LanguageId",
                "PartyNumber",
                "AddressCountryRegionId",
                "AddressCity",
            ],
            [
                ("usmf", "Contoso Entertainment System USA", "Contoso USA", "en-us", "000000001", "USA", "Redmond"),
                ("demf", "Contoso Entertainment System Germany", "Contoso DE", "de", "000000002", "DEU", "München"),
            ],
        ),
        "CustomerGroups": _frame(
            ["dataAreaId", "CustomerGroupId", "Description", "PaymentTermId"],
            [
                ("usmf", "10", "Wholesale customers", "Net30"),
                ("usmf", "20", "Major customers", "Net45"),
                ("usmf", "80", "Other customers", "Net30"),
                ("usmf", "90", "Intercompany customers", "Net30"),
                ("demf", "DE-10", "Großhandel", "Net14"),
                ("demf", "DE-30", "Einzelhandel", "Net10"),
            ],
        ),
        "OperationalSitesV2": _frame(
            ["dataAreaId", "SiteId", "SiteName"],
            [("usmf", "1", "Speaker production"), ("usmf", "2", "TV production"), ("demf", "7", "Werk München")],
        ),
        "Warehouses": _frame(
            ["dataAreaId", "WarehouseId", "WarehouseName", "OperationalSiteId"],
            [("usmf", "13", "Finished goods", "1"), ("usmf", "24", "Service parts", "2"), ("demf", "71", "Lager", "7")],
        ),
        "UnitsOfMeasure": _frame(
            ["UnitSymbol", "UnitDescription", "UnitClass", "SystemOfUnits", "DecimalPrecision"], FNO_UNITS
        ),
        "Currencies": _frame(
            ["CurrencyCode", "Name", "Symbol", "GeneralRoundingRule"],
            [
                (iso, name, symbol, Decimal(1).scaleb(-places))
                for iso, name, symbol, places, _ in CURRENCIES + OTHER_CURRENCIES
            ],
        ).with_columns(pl.col("GeneralRoundingRule").cast(MONEY)),
    }
    return {name: frame.with_columns(pl.col(pl.Int64).cast(pl.Int32)) for name, frame in frames.items()}
