"""A small Dataverse organisation for tests: two currencies, price lists, units, users, number sequences."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.store import Store


def guid(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012d}"


USD, EUR, JPY = guid(1), guid(2), guid(3)
USER, UNIT, ORG = guid(10), guid(11), guid(12)
GROUP, EACH = guid(20), guid(21)
LIST_B, LIST_A, LIST_OLD, LIST_EUR = guid(30), guid(31), guid(32), guid(33)


def new_store(folder: Path) -> Store:
    """Make a store with the reference rows and no accounts, contacts or products."""
    store = Store(folder / "sales.db", load_schema("sales"))
    rows: dict[str, list[dict[str, object]]] = {
        "transactioncurrencies": [
            {"transactioncurrencyid": USD, "currencyname": "US Dollar", "isocurrencycode": "USD",
             "currencyprecision": 2, "currencysymbol": "$", "exchangerate": "1"},
            {"transactioncurrencyid": EUR, "currencyname": "Euro", "isocurrencycode": "EUR", "currencyprecision": 2,
             "currencysymbol": "€", "exchangerate": "0.8"},
            {"transactioncurrencyid": JPY, "currencyname": "Yen", "isocurrencycode": "JPY", "currencyprecision": 0,
             "currencysymbol": "¥", "exchangerate": "150"},
        ],
        "businessunits": [{"businessunitid": UNIT, "name": "Contoso"}],
        "systemusers": [{"systemuserid": USER, "fullname": "Ada Byron", "_businessunitid_value": UNIT}],
        "organizations": [
            {"organizationid": ORG, "name": "contoso", "_basecurrencyid_value": USD, "pricingdecimalprecision": 2,
             "expirechangetrackingindays": 7}
        ],
        "uomschedules": [{"uomscheduleid": GROUP, "name": "Default Unit"}],
        "uoms": [{"uomid": EACH, "name": "Each", "_uomscheduleid_value": GROUP, "quantity": "1"}],
        "pricelevels": [
            {"pricelevelid": LIST_B, "name": "B list", "_transactioncurrencyid_value": USD, "statecode": 0},
            {"pricelevelid": LIST_A, "name": "A list", "_transactioncurrencyid_value": USD, "statecode": 0},
            {"pricelevelid": LIST_OLD, "name": "0 old", "_transactioncurrencyid_value": USD, "statecode": 1},
            {"pricelevelid": LIST_EUR, "name": "Euro", "_transactioncurrencyid_value": EUR, "statecode": 0},
        ],
        "msdynce_p2cautonumbers": [
            {"msdynce_p2cautonumberid": guid(40), "msdynce_entityname": "account", "msdynce_prefix": "ACC",
             "msdynce_numbersequence": 1000, "msdynce_suffixlength": 6},
            {"msdynce_p2cautonumberid": guid(41), "msdynce_entityname": "contact", "msdynce_prefix": "CON",
             "msdynce_numbersequence": 1000, "msdynce_suffixlength": 6},
        ],
        "solutions": [
            {"solutionid": guid(50), "uniquename": "msdynce_ProspectToCashIntegration", "version": "15.0.0.2",
             "friendlyname": "Prospect to Cash"}
        ],
    }  # fmt: skip
    for entity, records in rows.items():
        store.load(entity, pl.DataFrame(records))
    return store
