"""What happens on the server around a write: the platform's own columns, and the steps of the P2C solution.

Steps of the solution (Prospect to cash 15.0.0.2): account and contact numbers, is-company-an-account, and the price
list item of an externally maintained product.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_core import Failure, Work
from p2c_lib.sandbox.schema import Column, Entity
from p2c_lib.sandbox.store import decimal_text, new_guid, now

__all__ = ["after_write", "before_create", "before_update"]

NUMBERED = {"account": "accountnumber", "contact": "msdynce_contactnumber"}
SUFFIX_LETTERS = string.ascii_uppercase + string.digits
WIDE = Context(prec=60)  # base amounts of weak currencies pass the default of 28 digits
PRICED = ("_transactioncurrencyid_value", "_pricelevelid_value", "_defaultuomid_value", "price")


def before_create(work: Work, entity: Entity, row: dict[str, Any]) -> dict[str, Any]:
    """Complete a row that is about to be created.

    Raises:
        Failure: A plug-in refuses (0x80040265).
    """
    row = {**entity.defaults, **row}
    if work.config.solution and entity.type in NUMBERED and row.get(NUMBERED[entity.type]) is None:
        row[NUMBERED[entity.type]] = next_number(work, entity.type)
    if entity.type == "product" and work.organization.get("createproductswithoutparentinactivestate"):
        row |= {"statecode": 0, "statuscode": 1}
    if entity.type == "productpricelevel":
        _take_from_parents(work, row)
    for name, value in {
        "createdon": row.get("overriddencreatedon") or work.now,
        "modifiedon": work.now,
        "_createdby_value": work.user["systemuserid"],
        "_modifiedby_value": work.user["systemuserid"],
        "_organizationid_value": work.organization.get("organizationid"),
        "organizationid": work.organization.get("organizationid"),
    }.items():
        if name in entity.columns and name != entity.id:
            row[name] = value
    if "_ownerid_value" in entity.columns:
        row["_ownerid_value"] = row.get("_ownerid_value") or work.user["systemuserid"]
    if "exchangerate" in entity.columns and "_transactioncurrencyid_value" in entity.columns:
        currency = row.get("_transactioncurrencyid_value") or work.organization.get("_basecurrencyid_value")
        row["_transactioncurrencyid_value"] = currency
    _derive(work, entity, row, row)
    return row


def before_update(work: Work, entity: Entity, old: Mapping[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Complete the changes of a row that is about to be updated.

    Raises:
        Failure: The status does not go with the state (0x80048408).
    """
    changes = dict(changes)
    for name, value in {"modifiedon": work.now, "_modifiedby_value": work.user["systemuserid"]}.items():
        if name in entity.columns:
            changes[name] = value
    _keep_status_in_state(entity, old, changes)
    _derive(work, entity, {**old, **changes}, changes)
    return changes


def after_write(work: Work, entity: Entity, row: Mapping[str, Any], changed: Mapping[str, Any] | None) -> None:
    """Run the steps that follow a create (`changed` is None) or an update.

    Raises:
        Failure: A plug-in refuses (0x80040265); everything is rolled back by the caller.
    """
    is_external = work.config.solution and row.get("msdynce_ismaintainedexternally")
    if entity.type != "product" or not is_external:
        return
    if changed is None or any(name in changed for name in PRICED):
        _price_list_item(work, row)


def next_number(work: Work, table: str) -> str:
    """Take the next number of a table's sequence: ``ACC-01000-BVRCPS``.

    Raises:
        Failure: The table has no sequence row.
    """
    row = work.t.get("msdynce_p2cautonumbers", {"msdynce_entityname": table})
    if row is None:
        raise Failure(400, "0x80040265", f"No number sequence row exists for the table '{table}'")
    number = int(row["msdynce_numbersequence"])
    work.t.update("msdynce_p2cautonumbers", row["row_id"], {"msdynce_numbersequence": number + 1})
    # seeded: a sandbox of the same seed hands out the same numbers
    letters = random.Random(f"{work.config.seed}/{table}/{number}")
    suffix = "".join(letters.choices(SUFFIX_LETTERS, k=int(row["msdynce_suffixlength"] or 6)))
    return f"{row['msdynce_prefix']}-{number:05d}-{suffix}"


def _derive(work: Work, entity: Entity, whole: Mapping[str, Any], into: dict[str, Any]) -> None:
    """Columns that follow from others: names, parents, exchange rate, rounded money and its base amount."""
    if entity.type == "contact":
        parts = [whole.get("firstname"), whole.get("middlename"), whole.get("lastname")]
        into["fullname"] = " ".join(part for part in parts if part) or None
        if "_parentcustomerid_value" in into or "row_id" not in whole:
            kind = whole.get("_parentcustomerid_type") if whole.get("_parentcustomerid_value") else None
            parent = whole.get("_parentcustomerid_value")
            into["_accountid_value"] = parent if kind == "account" else None
            into["_parentcontactid_value"] = parent if kind == "contact" else None
            if work.config.solution:
                into["msdynce_iscompanyanaccount"] = int(kind == "account")
    if "_ownerid_value" in into and "_owninguser_value" in entity.columns:
        into["_owninguser_value"] = into["_ownerid_value"]
        into["_owningbusinessunit_value"] = work.owner(into["_ownerid_value"]).get("_businessunitid_value")
    if "_transactioncurrencyid_value" not in entity.columns:
        return
    currency = work.currency(whole.get("_transactioncurrencyid_value"))
    if "_transactioncurrencyid_value" in into and "exchangerate" in entity.columns:
        into["exchangerate"] = currency["exchangerate"] if currency else None
    rate = into.get("exchangerate", whole.get("exchangerate"))
    for column in entity.amounts:
        name = column.name
        if name not in into and "_transactioncurrencyid_value" not in into:
            continue
        amount = whole.get(name)
        rounded = None if amount is None else round_money(work, column, Decimal(amount), currency)
        into[name] = None if rounded is None else decimal_text(rounded, 2)
        if f"{name}_base" in entity.columns:
            into[f"{name}_base"] = None
            if rounded is not None and rate is not None and Decimal(rate) != 0:
                into[f"{name}_base"] = decimal_text(_round(rounded / Decimal(rate), 4), 2)


def _round(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP, context=WIDE)


def round_money(work: Work, column: Column, value: Decimal, currency: Mapping[str, Any] | None) -> Decimal:
    """Round an amount as it is saved: by its currency, the organisation's pricing precision, or the column's own."""
    places = column.precision or 2
    if column.precision_from == "currency" and currency is not None and currency["currencyprecision"] is not None:
        places = int(currency["currencyprecision"])
    elif column.precision_from == "organization":
        pricing = work.organization.get("pricingdecimalprecision")
        places = places if pricing is None else int(pricing)
    return _round(value, places)


def _keep_status_in_state(entity: Entity, old: Mapping[str, Any], changes: dict[str, Any]) -> None:
    status_column = entity.columns.get("statuscode")
    if status_column is None or not ({"statecode", "statuscode"} & set(changes)):
        return
    state = changes.get("statecode", old["statecode"])
    if changes.get("statuscode") is None:
        fitting = [status for status, of in status_column.state_of.items() if of == state]
        changes["statuscode"] = old["statuscode"] if old["statuscode"] in fitting else fitting[0]
    elif status_column.state_of.get(changes["statuscode"]) != state:
        label = entity.columns["statecode"].options.get(state, state)
        raise Failure(
            400,
            "0x80048408",
            f"{changes['statuscode']} is not a valid status code for state code {entity.schema_name}State.{label} on "
            f"{entity.type} with Id {old[entity.id]}.",
        )


def _take_from_parents(work: Work, row: dict[str, Any]) -> None:
    """A price list item takes its currency from the price list and its number from the product."""
    price_list = work.t.get("pricelevels", {"pricelevelid": row.get("_pricelevelid_value")}) or {}
    product = work.t.get("products", {"productid": row.get("_productid_value")}) or {}
    row["_transactioncurrencyid_value"] = price_list.get("_transactioncurrencyid_value")
    row["productnumber"] = product.get("productnumber")
    row.setdefault("_uomscheduleid_value", product.get("_defaultuomscheduleid_value"))


def _price_list_item(work: Work, product: Mapping[str, Any]) -> None:
    """Make or refresh the item in the product's own price list, else the first valid one of its currency by name."""
    lists, items = work.store.tables["pricelevels"], work.store.tables["productpricelevels"]
    price_list = product.get("_pricelevelid_value")
    if price_list is None:
        begins, ends = (sa.func.substr(lists.c[name], 1, 10) for name in ("begindate", "enddate"))
        today = now()[:10]
        price_list = work.t.scalar(
            sa.select(lists.c.pricelevelid)
            .where(lists.c.statecode == 0)
            .where(sa.or_(begins.is_(None), begins <= today), sa.or_(ends.is_(None), ends >= today))
            .where(lists.c._transactioncurrencyid_value == product["_transactioncurrencyid_value"])
            .order_by(lists.c.name)
            .limit(1)
        )
    if price_list is None:
        raise Failure(
            400, "0x80040265", "No active price list exists in the currency of the externally maintained product"
        )
    entity = work.schema.entities["productpricelevels"]
    values = {
        "amount": product.get("price") or "0",
        "_uomid_value": product.get("_defaultuomid_value"),
        "_uomscheduleid_value": product.get("_defaultuomscheduleid_value"),
    }
    found = work.t.rows(
        sa.select(items)
        .where(items.c._productid_value == product["productid"], items.c._pricelevelid_value == price_list)
        .limit(1)
    )
    if found:
        work.t.update(entity.name, found[0]["row_id"], before_update(work, entity, found[0], values))
        return
    values |= {
        entity.id: new_guid(),
        "_productid_value": product["productid"],
        "_pricelevelid_value": price_list,
        "pricingmethodcode": 1,
        "quantitysellingcode": 1,
        "roundingpolicycode": 1,
    }
    work.t.insert(entity.name, before_create(work, entity, values))
