"""A day of quotes and orders in Sales: made, activated, won, lost, turned into orders, released for F&O."""

from __future__ import annotations

from typing import Any

from p2c_lib.sandbox.days_office import Goods, Office
from p2c_lib.sandbox.people import REGIONS

__all__ = ["live"]

_EXTERNAL = "msdynce_hasexternallymaintainedproductsonly"


def live(office: Office) -> None:
    """Live through the day: first what lies on the desk, then what is new."""
    _quotes(office)
    _orders(office)
    goods = office.goods()
    if not goods:
        return
    for _ in range(office.dice.randint(1, 3)):
        _new_quote(office, goods)
    for _ in range(office.dice.randint(0, 2)):
        _new_order(office, goods)


def _quotes(office: Office) -> None:
    sales, done = office.sales, office.done
    names = f"quotenumber,statecode,{_EXTERNAL}"
    buyers = {row["CustomerAccount"] for row in office.customers(exempt=True)}
    said = "statecode eq 0 or statecode eq 1"
    for quote in sorted(sales.rows("quotes", said, names), key=lambda row: row["quotenumber"]):
        number, is_ours = quote["quotenumber"], quote[_EXTERNAL]
        if quote["statecode"] == 0:
            if office.chance(0.8) and _customer_of(office, "quotes", "quotenumber", number) in buyers:
                sales.activate_quote(number)
                done["quotes activated"] += 1
            continue
        fate = office.dice.random()
        if fate < 0.35:
            sales.close_quote(number, won=True)
            sales.order_of_quote(number)
            done["quotes won"] += 1
        elif fate < 0.5:
            sales.close_quote(number, won=False)
            done["quotes lost"] += 1
        else:
            continue
        if is_ours:
            office.fno.close_quotation(number, "Confirmed" if fate < 0.35 else "Lost")


def _orders(office: Office) -> None:
    sales, done = office.sales, office.done
    said = "msdynce_processingstatus eq 647390011 and statecode eq 0"
    names = f"ordernumber,salesorderid,{_EXTERNAL}"
    for order in sorted(sales.rows("salesorders", said, names), key=lambda row: row["ordernumber"]):
        fate = office.dice.random()
        if fate < 0.05:
            _close(office, "CancelSalesOrder", order, 4)
            done["draft orders cancelled"] += 1
        elif not order[_EXTERNAL]:
            if fate < 0.5:  # F&O does not sell what is on it: Sales delivers it itself
                _close(office, "FulfillSalesOrder", order, 100001)
                done["orders fulfilled in Sales"] += 1
        elif fate < 0.85:
            sales.activate_order(order["ordernumber"])
            done["orders activated"] += 1


def _close(office: Office, action: str, order: dict[str, Any], status: int) -> None:
    close = {"subject": "done", "salesorderid@odata.bind": f"/salesorders({order['salesorderid']})"}
    office.sales.ask("POST", f"{office.sales.api}/{action}", {"Status": status, "OrderClose": close})


def _customer_of(office: Office, entity: str, column: str, number: str) -> str:
    row = office.sales.row(entity, f"{column} eq '{number}' and statecode eq 0", "_customerid_value")
    for kind, name, text in (("accounts", "accountid", "accountnumber"),
                             ("contacts", "contactid", "msdynce_contactnumber")):  # fmt: skip
        found = office.sales.rows(kind, f"{name} eq {row['_customerid_value']}", text)
        if found:
            return str(found[0][text])
    return ""


def _ship_to(office: Office) -> dict[str, Any]:
    region = office.dice.choice(REGIONS)
    city, state, code = office.dice.choice(region.places)
    street = office.dice.choice(region.streets).format(office.dice.randint(1, 199))
    return {
        "shipto_line1": street,
        "shipto_city": city,
        "shipto_stateorprovince": state,
        "shipto_postalcode": code,
        "shipto_country": office.dice.choice(region.written),
        "billto_line2": office.dice.choice((None, "Gate B")),
        "billto_postalcode": code,
    }


def _new_quote(office: Office, goods: list[Goods]) -> None:
    """A quote for a customer, or for a contact, who is one from then on."""
    said = "msdynce_isactivecustomer eq false and msdynce_iscompanyanaccount eq true"
    names = "msdynce_contactnumber,_transactioncurrencyid_value"
    prospects = sorted(office.sales.rows("contacts", said, names), key=lambda row: row["msdynce_contactnumber"])
    buyers = office.customers(exempt=True)
    if prospects and (not buyers or office.chance(0.15)):
        customer, currency = office.dice.choice(prospects)["msdynce_contactnumber"], "USD"
        office.fno.drop_contact(customer)
        office.done["contacts become customers"] += 1
    elif buyers:
        buyer = office.dice.choice(buyers)
        customer, currency = buyer["CustomerAccount"], buyer["SalesCurrencyCode"]
    else:
        return
    lines = office.lines(goods, currency)
    number = office.sales.quote(customer, lines, currency, name=f"Offer of {office.date}", **_ship_to(office))
    if office.chance(0.1):
        _write_in(office, "quotes", "quoteid", "quotenumber", number)
    office.done["quotes made"] += 1


def _new_order(office: Office, goods: list[Goods]) -> None:
    buyers = office.customers(exempt=True)
    if not buyers:
        return
    buyer = office.dice.choice(buyers)
    currency = buyer["SalesCurrencyCode"]
    lines = office.lines(goods, currency)
    number = office.sales.order(
        buyer["CustomerAccount"], lines, currency, name=f"Call of {office.date}", **_ship_to(office)
    )
    if office.chance(0.1):
        _write_in(office, "salesorders", "salesorderid", "ordernumber", number)
    office.done["orders made in Sales"] += 1


def _write_in(office: Office, entity: str, parent: str, column: str, number: str) -> None:
    """A line that no product stands behind: such a document stays in Sales."""
    header = office.sales.row(entity, f"{column} eq '{number}'", parent)[parent]
    body = {
        f"{parent}@odata.bind": f"/{entity}({header})",
        "isproductoverridden": True,
        "productdescription": "Installation on site",
        "quantity": 1,
        "priceperunit": office.amount(50, 500),
    }
    office.sales.create({"quotes": "quotedetails", "salesorders": "salesorderdetails"}[entity], body)
