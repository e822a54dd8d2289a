"""Quotes, orders and invoices of the Sales sandbox: prices, totals, P2C steps and the life of a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sales_world import EACH, EUR, GROUP, JPY, LIST_A, LIST_EUR, LIST_OLD, ORG, USER, guid, new_store
from starlette.applications import Starlette
from test_sandbox_dataverse import API, Api, Stand

from p2c_lib.sandbox.dataverse import Config, create_app
from p2c_lib.sandbox.sales_pricing import document_totals, line_amounts
from serving import serve

NS = "Microsoft.Dynamics.CRM"
ACCOUNT, CONTACT, OTHER_USER = guid(300), guid(301), guid(302)
WIDGET, GADGET, DRAFT_PRODUCT, OWN = guid(310), guid(311), guid(312), guid(313)
GRAMS, OTHER_GROUP = guid(320), guid(321)
ACTIVE, DRAFT, CONFIRMED = 647390000, 647390011, 647390001
D = Decimal


@pytest.fixture(scope="module")
def stand() -> Iterator[tuple[Stand, httpx.Client]]:
    stand = Stand()
    stand.app = Starlette()
    with serve(stand) as url, httpx.Client(base_url=url) as client:
        yield stand, client


@pytest.fixture
def api(tmp_path: Any, stand: tuple[Stand, httpx.Client]) -> Iterator[Api]:
    """An account, a contact, two products of F&O (10.00 and 2.50 a piece, USD), one of Sales' own, one draft."""
    store = new_store(tmp_path)
    rows: dict[str, list[dict[str, Any]]] = {
        "accounts": [{"accountid": ACCOUNT, "name": "Alpine", "accountnumber": "ACC-1"}],
        "contacts": [{"contactid": CONTACT, "lastname": "Ada", "msdynce_contactnumber": "CON-1"}],
        "systemusers": [{"systemuserid": OTHER_USER, "fullname": "Bob"}],
        "uomschedules": [{"uomscheduleid": OTHER_GROUP, "name": "Weights"}],
        "uoms": [{"uomid": GRAMS, "name": "Gram", "_uomscheduleid_value": OTHER_GROUP, "quantity": "1"}],
        "products": [
            {"productid": key, "name": name, "productnumber": number, "statecode": state, "quantitydecimal": places,
             "_defaultuomscheduleid_value": GROUP, "_defaultuomid_value": EACH,
             "msdynce_ismaintainedexternally": is_external}
            for key, name, number, state, places, is_external in [
                (WIDGET, "Widget", "P1", 0, 2, True), (GADGET, "Gadget", "P2", 0, 0, True),
                (DRAFT_PRODUCT, "Draft", "P3", 2, 0, True), (OWN, "Own thing", "P4", 0, 0, False),
            ]
        ],
        "productpricelevels": [
            {"productpricelevelid": guid(330 + i), "_productid_value": product, "_pricelevelid_value": LIST_A,
             "_uomid_value": EACH, "amount": amount}
            for i, (product, amount) in enumerate([(WIDGET, "10.00"), (GADGET, "2.50"), (OWN, "1.00")])
        ],
    }  # fmt: skip
    for entity, records in rows.items():
        store.load(entity, pl.DataFrame(records))
    stand[0].app = create_app(store)
    yield Api(store, stand[1])
    store.close()


SETS = {"quote": "quotes", "salesorder": "salesorders", "invoice": "invoices"}


def document(api: Api, kind: str, **more: Any) -> str:
    """Create a document for the account, priced by list A."""
    body = {"customerid_account@odata.bind": f"/accounts({ACCOUNT})", "name": "Doc"}
    if "pricelevelid@odata.bind" not in more:
        body["pricelevelid@odata.bind"] = f"/pricelevels({LIST_A})"
    return api.create(SETS[kind], {name: value for name, value in (body | more).items() if value is not None})


def line_body(kind: str, header: str, product: str | None = WIDGET, quantity: Any = 3, **more: Any) -> dict[str, Any]:
    body = {f"{kind}id@odata.bind": f"/{SETS[kind]}({header})", "quantity": quantity, **more}
    if product is not None:
        body |= {"productid@odata.bind": f"/products({product})", "uomid@odata.bind": f"/uoms({EACH})"}
    return body


def line(api: Api, kind: str, header: str, product: str | None = WIDGET, quantity: Any = 3, **more: Any) -> str:
    return api.create(f"{kind}details", line_body(kind, header, product, quantity, **more))


def lines(api: Api, kind: str, header: str) -> list[dict[str, Any]]:
    rows = api.get(f"{kind}details?$filter=_{kind}id_value eq {header}&$orderby=sequencenumber asc")
    return list(rows["value"])


def tax_lines(api: Api, kind: str, header: str) -> list[dict[str, Any]]:
    return [row for row in lines(api, kind, header) if row["msdynce_ismisctax"]]


def settle(api: Api, **organization: Any) -> None:
    with api.store.transaction() as t:
        t.update("organizations", t.get("organizations", {"organizationid": ORG})["row_id"], organization)


def act(api: Api, name: str, body: dict[str, Any]) -> None:
    answer = api.call("POST", name, body)
    assert answer.status_code == 204, answer.text


def close(kind: str, row: str, status: int = -1) -> dict[str, Any]:
    part = "QuoteClose" if kind == "quote" else "OrderClose"
    return {"Status": status, part: {"subject": "done", f"{kind}id@odata.bind": f"/{SETS[kind]}({row})"}}


def patch(api: Api, path: str, body: dict[str, Any]) -> None:
    answer = api.call("PATCH", path, body)
    assert answer.status_code == 204, answer.text


# prices and totals ----------------------------------------------------------------------------------------------------
amounts = st.decimals(min_value=-10_000, max_value=10_000, places=2)


@given(amounts, st.decimals(min_value=0, max_value=1000, places=5), amounts, amounts, st.sampled_from([0, 2, 3]))
def test_extended_amount_is_base_less_discount_plus_tax(
    price: Decimal, quantity: Decimal, discount: Decimal, tax: Decimal, places: int
) -> None:
    base, extended = line_amounts(price, quantity, discount, tax, places=places)
    unit = D(1).scaleb(-places)
    assert abs(base - price * quantity) <= unit / 2
    assert abs(extended - (base - discount + tax)) <= unit
    assert extended == extended.quantize(unit)


@given(st.lists(st.tuples(amounts, amounts, amounts), max_size=6), st.integers(0, 100), amounts, amounts)
def test_total_is_extended_amounts_less_header_discount_plus_freight(
    rows: list[tuple[Decimal, Decimal, Decimal]], percent: int, discount: Decimal, freight: Decimal
) -> None:
    totals = document_totals(rows, percent=D(percent), discount=discount, freight=freight)
    extended = sum((base - less + tax for base, less, tax in rows), D(0))
    assert totals["totalamount"] == extended - totals["totaldiscountamount"] + freight
    assert totals["totalamount"] == totals["totalamountlessfreight"] + freight + totals["totaltax"]


@pytest.mark.parametrize("kind", ["quote", "salesorder", "invoice"])
def test_line_takes_the_list_price_and_the_header_adds_up(api: Api, kind: str) -> None:
    header = document(api, kind, freightamount=5, discountamount=1, discountpercentage=10)
    line(api, kind, header, quantity=1.25, manualdiscountamount=0.5, tax=2, priceperunit=99)
    line(api, kind, header, GADGET, 4)
    first, second = lines(api, kind, header)
    assert [first[name] for name in ("priceperunit", "baseamount", "extendedamount")] == [D("10"), D("12.5"), D("14")]
    assert second["extendedamount"] == D("10")
    assert (first["productname"], first["productnumber"], first[f"{kind}detailname"]) == ("Widget", "P1", "Widget")
    assert [row["sequencenumber"] for row in (first, second)] == [1, 2]
    found = api.get(f"{SETS[kind]}({header})")
    assert {name: found[name] for name in found if name.startswith("total") and not name.endswith("_base")} == {
        "totallineitemamount": D("22"),
        "totallineitemdiscountamount": D("0.5"),
        "totaldiscountamount": D("3.2"),
        "totalamountlessfreight": D("18.8"),
        "totaltax": D("2"),
        "totalamount": D("25.8"),
    }
    assert found["pricingerrorcode"] == 0


def test_header_follows_changed_and_deleted_lines_and_its_own_discount(api: Api) -> None:
    order = document(api, "salesorder")
    first, second = line(api, "salesorder", order), line(api, "salesorder", order, GADGET, 2)
    patch(api, f"salesorderdetails({first})", {"quantity": 5})
    assert api.get(f"salesorders({order})")["totalamount"] == D("55")
    assert api.call("DELETE", f"salesorderdetails({second})").status_code == 204
    assert api.get(f"salesorders({order})")["totalamount"] == D("50")
    patch(api, f"salesorders({order})", {"discountamount": 7, "totalamount": 1})
    assert api.get(f"salesorders({order})")["totalamount"] == D("43")


def test_header_keeps_its_version_when_nothing_of_it_changes(api: Api) -> None:
    order = document(api, "salesorder")
    row = line(api, "salesorder", order)
    before = api.get(f"salesorders({order})")["@odata.etag"]
    patch(api, f"salesorderdetails({row})", {"description": "blue"})
    assert api.get(f"salesorders({order})")["@odata.etag"] == before


def test_overridden_price_and_write_in_stand_against_the_price_list(api: Api) -> None:
    order = document(api, "salesorder")
    line(api, "salesorder", order, ispriceoverridden=True, priceperunit=7.25)
    line(api, "salesorder", order, None, 2, isproductoverridden=True, productdescription="Care", priceperunit=1.5)
    first, second = lines(api, "salesorder", order)
    assert first["extendedamount"] == D("21.75")
    assert (second["extendedamount"], second["salesorderdetailname"]) == (D("3"), "Care")


def test_discount_per_unit_counts_for_every_piece(api: Api) -> None:
    settle(api, discountcalculationmethod=1)
    order = document(api, "salesorder")
    line(api, "salesorder", order, manualdiscountamount=2)
    assert lines(api, "salesorder", order)[0]["extendedamount"] == D("24")
    assert api.get(f"salesorders({order})")["totalamount"] == D("24")


def test_engine_that_is_off_or_skipped_leaves_amounts_as_sent(api: Api) -> None:
    order = document(api, "salesorder")
    row = line(api, "salesorder", order)
    patch(api, f"salesorderdetails({row})", {"skippricecalculation": 2, "quantity": 9, "extendedamount": 1})
    assert lines(api, "salesorder", order)[0]["extendedamount"] == D("1")
    assert api.get(f"salesorders({order})")["totalamount"] == D("30")
    settle(api, oobpricecalculationenabled=0)
    patch(api, f"salesorderdetails({row})", {"skippricecalculation": 0, "quantity": 2})
    assert lines(api, "salesorder", order)[0]["extendedamount"] == D("1")
    patch(api, f"salesorders({order})", {"totalamount": 12.34})
    assert api.get(f"salesorders({order})")["totalamount"] == D("12.34")


def test_integration_user_prices_orders_itself_but_not_quotes(api: Api) -> None:
    settle(api, issopintegrationenabled=1)
    with api.store.transaction() as t:
        t.update("systemusers", t.get("systemusers", {"systemuserid": USER})["row_id"], {"isintegrationuser": 1})
    order, quote = document(api, "salesorder"), document(api, "quote")
    line(api, "salesorder", order)
    line(api, "quote", quote)
    assert lines(api, "salesorder", order)[0]["extendedamount"] is None
    assert lines(api, "quote", quote)[0]["extendedamount"] == D("30")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"uomid@odata.bind": None}, 10),
        ({"quantity": None}, 4),
        ({"ispriceoverridden": True}, 5),
        ({"productid@odata.bind": None}, 6),
    ],
)
def test_what_lacks_for_a_price_is_told_not_refused(api: Api, change: dict[str, Any], code: int) -> None:
    order = document(api, "salesorder")
    api.create(
        "salesorderdetails", {k: v for k, v in (line_body("salesorder", order) | change).items() if v is not None}
    )
    assert lines(api, "salesorder", order)[0]["pricingerrorcode"] == code
    assert api.get(f"salesorders({order})")["pricingerrorcode"] == 1


def test_price_list_without_the_product_is_told(api: Api) -> None:
    order = document(
        api,
        "salesorder",
        **{
            "pricelevelid@odata.bind": f"/pricelevels({LIST_EUR})",
            "transactioncurrencyid@odata.bind": f"/transactioncurrencies({EUR})",
        },
    )
    line(api, "salesorder", order)
    row = lines(api, "salesorder", order)[0]
    assert (row["pricingerrorcode"], row["_transactioncurrencyid_value"]) == (11, EUR)
    patch(api, f"salesorderdetails({row['salesorderdetailid']})", {"ispriceoverridden": True, "priceperunit": 8})
    row = lines(api, "salesorder", order)[0]
    assert (row["pricingerrorcode"], row["extendedamount"], row["extendedamount_base"]) == (0, D("24"), D("30"))


def test_inactive_price_list_is_told(api: Api) -> None:
    order = document(api, "salesorder", **{"pricelevelid@odata.bind": f"/pricelevels({LIST_OLD})"})
    line(api, "salesorder", order)
    assert lines(api, "salesorder", order)[0]["pricingerrorcode"] == 3


def test_amounts_in_yen_have_no_decimals(api: Api) -> None:
    currency = {"transactioncurrencyid@odata.bind": f"/transactioncurrencies({JPY})", "pricelevelid@odata.bind": None}
    settle(api, ispricelistmandatory=0)
    order = document(api, "salesorder", **currency)
    line(api, "salesorder", order, quantity=1.25, ispriceoverridden=True, priceperunit=10.5)
    assert lines(api, "salesorder", order)[0]["baseamount"] == D("13")
    assert api.get(f"salesorders({order})")["totalamount"] == D("13")


def test_locked_prices_outlive_a_change_of_the_price_list(api: Api) -> None:
    order = document(api, "salesorder")
    row = line(api, "salesorder", order)
    act(api, f"salesorders({order})/{NS}.LockSalesOrderPricing", {})
    with api.store.transaction() as t:
        item = t.get("productpricelevels", {"_productid_value": WIDGET})
        t.update("productpricelevels", item["row_id"], {"amount": "11.00"})
    patch(api, f"salesorderdetails({row})", {"quantity": 4})
    found = lines(api, "salesorder", order)[0]
    assert (found["priceperunit"], found["salesorderispricelocked"]) == (D("10"), True)
    act(api, "UnlockSalesOrderPricing", {"SalesOrderId": order})
    patch(api, f"salesorderdetails({row})", {"quantity": 3})
    assert lines(api, "salesorder", order)[0]["priceperunit"] == D("11")


def test_an_order_that_is_activated_after_prices_rose_comes_to_the_sum_of_its_lines(api: Api) -> None:
    order = document(api, "salesorder")
    line(api, "salesorder", order)
    with api.store.transaction() as t:
        item = t.get("productpricelevels", {"_productid_value": WIDGET})
        t.update("productpricelevels", item["row_id"], {"amount": "11.00"})
    patch(api, f"salesorders({order})", {"msdynce_processingstatus": ACTIVE})
    assert lines(api, "salesorder", order)[0]["extendedamount"] == D("33")
    assert api.get(f"salesorders({order})")["totalamount"] == D("33")


def test_another_price_list_of_a_quote_prices_its_lines_again(api: Api) -> None:
    quote = document(api, "quote")
    line(api, "quote", quote)
    cheap = api.create(
        "productpricelevels",
        {
            "pricelevelid@odata.bind": f"/pricelevels({guid(30)})",
            "productid@odata.bind": f"/products({WIDGET})",
            "uomid@odata.bind": f"/uoms({EACH})",
            "amount": 4,
        },
    )
    assert cheap
    patch(api, f"quotes({quote})", {"pricelevelid@odata.bind": f"/pricelevels({guid(30)})"})
    assert api.get(f"quotes({quote})")["totalamount"] == D("12")


# what a document and a line must have ---------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["quote", "salesorder", "invoice"])
def test_missing_number_is_filled_and_a_given_one_kept(api: Api, kind: str) -> None:
    column = {"quote": "quotenumber", "salesorder": "ordernumber", "invoice": "invoicenumber"}[kind]
    first, second = (api.get(f"{SETS[kind]}({document(api, kind)})")[column] for _ in range(2))
    assert first != second
    assert first.startswith({"quote": "QUO-01000-", "salesorder": "ORD-01000-", "invoice": "INV-01000-"}[kind])
    own = document(api, kind, **{column: "X-7"})
    assert api.get(f"{SETS[kind]}({own})")[column] == "X-7"


def test_orders_never_share_a_number(api: Api) -> None:
    first = document(api, "salesorder", ordernumber="S-1")
    body = {"customerid_account@odata.bind": f"/accounts({ACCOUNT})", "ordernumber": "S-1"}
    assert api.refused("POST", "salesorders", body) == (400, "0x80040265", "A sales order id must be unique")
    patch(api, f"salesorders({first})", {"ordernumber": "S-1"})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "x"}, "'customerid' is missing"),
        ({"customerid_account@odata.bind": f"/accounts({ACCOUNT})", "statuscode": 4}, "valid status code"),
        (
            {
                "customerid_account@odata.bind": f"/accounts({ACCOUNT})",
                "pricelevelid@odata.bind": f"/pricelevels({LIST_EUR})",
            },
            "currency of the price list 'Euro'",
        ),
    ],
)
def test_header_that_cannot_be_is_refused(api: Api, body: dict[str, Any], words: str) -> None:
    status, _, message = api.refused("POST", "salesorders", body)
    assert status == 400
    assert words in message
    assert api.get("salesorders")["value"] == []


@pytest.mark.parametrize(
    ("product", "more", "words"),
    [
        (DRAFT_PRODUCT, {}, "'P3' is not active"),
        (WIDGET, {"quantity": 1.255}, "more than the 2 decimals"),
        (WIDGET, {"uomid@odata.bind": f"/uoms({GRAMS})"}, "not in the unit group"),
        (WIDGET, {"productdescription": "Widget"}, "not valid together"),
        (WIDGET, {"isproductoverridden": True}, "write-in line has no product"),
    ],
)
def test_line_that_cannot_be_is_refused(api: Api, product: str, more: dict[str, Any], words: str) -> None:
    order = document(api, "salesorder")
    status, _, message = api.refused("POST", "salesorderdetails", line_body("salesorder", order, product) | more)
    assert status == 400
    assert words in message
    assert lines(api, "salesorder", order) == []


def test_line_without_header_write_in_by_update_and_product_without_price_list_are_refused(api: Api) -> None:
    order = document(api, "salesorder", **{"pricelevelid@odata.bind": None})
    assert "select a price list" in api.refused("POST", "salesorderdetails", line_body("salesorder", order))[2]
    body = {name: value for name, value in line_body("salesorder", order).items() if "salesorderid" not in name}
    assert "'salesorderid' is missing" in api.refused("POST", "salesorderdetails", body)[2]
    row = line(api, "salesorder", order, None, isproductoverridden=True, productdescription="Care", priceperunit=1)
    assert "cannot become" in api.refused("PATCH", f"salesorderdetails({row})", {"isproductoverridden": False})[2]
    other = document(api, "salesorder")
    move = {"salesorderid@odata.bind": f"/salesorders({other})"}
    assert "cannot move" in api.refused("PATCH", f"salesorderdetails({row})", move)[2]


def test_write_ins_can_be_forbidden(api: Api) -> None:
    settle(api, iswriteinproductsallowed=0)
    order = document(api, "salesorder", msdynce_misctax=2)
    assert len(tax_lines(api, "salesorder", order)) == 1
    body = line_body("salesorder", order, None, isproductoverridden=True, productdescription="x", priceperunit=1)
    assert "not allowed" in api.refused("POST", "salesorderdetails", body)[2]


def test_customer_is_account_or_contact_and_cannot_be_taken_away(api: Api) -> None:
    quote = document(api, "quote")
    found = api.get(f"quotes({quote})")
    assert (found["_customerid_value"], found["_accountid_value"], found["_contactid_value"]) == (
        ACCOUNT,
        ACCOUNT,
        None,
    )
    patch(api, f"quotes({quote})", {"customerid_contact@odata.bind": f"/contacts({CONTACT})"})
    found = api.get(f"quotes({quote})?$expand=customerid_contact($select=fullname)")
    assert (found["_accountid_value"], found["customerid_contact"]["fullname"]) == (None, "Ada")
    assert "customerid" in api.refused("PATCH", f"quotes({quote})", {"customerid_contact@odata.bind": None})[2]


def test_deleting_a_document_takes_its_lines_and_keeps_its_customer_and_products(api: Api) -> None:
    order = document(api, "salesorder")
    line(api, "salesorder", order)
    assert api.refused("DELETE", f"accounts({ACCOUNT})")[:2] == (405, "0x80040227")
    assert api.refused("DELETE", f"products({WIDGET})")[:2] == (405, "0x80040227")
    assert api.call("DELETE", f"salesorders({order})").status_code == 204
    assert api.get("salesorderdetails")["value"] == []
    assert api.call("DELETE", f"accounts({ACCOUNT})").status_code == 204


def test_lines_show_the_headers_owner_and_state_and_keep_their_version(api: Api) -> None:
    order = document(api, "salesorder")
    line(api, "salesorder", order)
    tag = lines(api, "salesorder", order)[0]["@odata.etag"]
    patch(api, f"salesorders({order})", {"ownerid@odata.bind": f"/systemusers({OTHER_USER})"})
    act(api, "CancelSalesOrder", close("salesorder", order, 4))
    row = lines(api, "salesorder", order)[0]
    assert (row["_ownerid_value"], row["salesorderstatecode"], row["@odata.etag"]) == (OTHER_USER, 2, tag)


# steps of the solution ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "copy"),
    [
        ("quote", "msdynce_quotehasexternalmaintainedproductsonly"),
        ("salesorder", "msdynce_orderhasexternalmaintainedproductsonly"),
    ],
)
def test_header_tells_whether_all_products_are_external_and_lines_repeat_it(api: Api, kind: str, copy: str) -> None:
    flag = "msdynce_hasexternallymaintainedproductsonly"
    header = document(api, kind)
    assert api.get(f"{SETS[kind]}({header})")[flag] is True
    line(api, kind, header)
    own = line(api, kind, header, OWN, 1)
    assert api.get(f"{SETS[kind]}({header})")[flag] is False
    assert [(row["msdynce_ismaintainedexternally"], row[copy]) for row in lines(api, kind, header)] == [
        (True, False),
        (False, False),
    ]
    patch(api, f"{kind}details({own})", {"productid@odata.bind": f"/products({GADGET})"})
    assert api.get(f"{SETS[kind]}({header})")[flag] is True
    assert [row[copy] for row in lines(api, kind, header)] == [True, True]
    patch(api, f"{kind}details({own})", {"productid@odata.bind": f"/products({OWN})"})
    assert api.call("DELETE", f"{kind}details({own})").status_code == 204
    assert [row[copy] for row in lines(api, kind, header)] == [True]


def test_activated_order_marks_and_numbers_its_lines(api: Api) -> None:
    order = document(api, "salesorder", ordernumber="S-9")
    line(api, "salesorder", order)
    line(api, "salesorder", order, GADGET)
    assert api.get(f"salesorders({order})")["msdynce_processingstatus"] == DRAFT
    patch(api, f"salesorders({order})", {"msdynce_processingstatus": ACTIVE})
    for row in lines(api, "salesorder", order):
        assert (row["msdynce_orderissubmitted"], row["msdynce_ordernumber"]) == (True, "S-9")


@pytest.mark.parametrize(
    ("change", "product", "words"),
    [
        ({}, OWN, "not externally maintained"),
        ({"msdynce_ismaintainedexternally": True}, WIDGET, "maintained externally"),
        ({"msdynce_processingstatus": CONFIRMED}, WIDGET, "not Draft"),
    ],
)
def test_order_that_must_not_go_out_cannot_be_activated(
    api: Api, change: dict[str, Any], product: str, words: str
) -> None:
    order = document(api, "salesorder", **change)
    line(api, "salesorder", order, product)
    status, code, message = api.refused("PATCH", f"salesorders({order})", {"msdynce_processingstatus": ACTIVE})
    assert (status, code) == (400, "0x80040265")
    assert words in message
    assert lines(api, "salesorder", order)[0]["msdynce_orderissubmitted"] is False


@pytest.mark.parametrize("kind", ["salesorder", "invoice"])
def test_freight_tax_line_comes_changes_and_goes_with_the_headers_amount(api: Api, kind: str) -> None:
    header = document(api, kind, msdynce_misctax=2.5, freightamount=10)
    line(api, kind, header, tax=3)
    row = tax_lines(api, kind, header)[0]
    assert (row["productdescription"], row["isproductoverridden"], row["extendedamount"]) == (
        "Freight Tax",
        True,
        D("2.5"),
    )
    assert (row.get("msdynce_ordernumber"), row.get("msdynce_invoicenumber")) == (None, None)
    found = api.get(f"{SETS[kind]}({header})")
    assert (found["totalamount"], found["totaltax"]) == (D("45.5"), D("3"))
    assert found["msdynce_hasexternallymaintainedproductsonly"] is True
    patch(api, f"{SETS[kind]}({header})", {"msdynce_misctax": 4})
    assert [row["extendedamount"] for row in tax_lines(api, kind, header)] == [D("4")]
    assert api.get(f"{SETS[kind]}({header})")["totalamount"] == D("47")
    patch(api, f"{SETS[kind]}({header})", {"msdynce_misctax": 0})
    assert tax_lines(api, kind, header) == []
    assert api.get(f"{SETS[kind]}({header})")["totalamount"] == D("43")


def test_second_freight_tax_line_stops_the_plugin(api: Api) -> None:
    order = document(api, "salesorder", msdynce_misctax=2.5)
    more = {
        "isproductoverridden": True,
        "productdescription": "Freight Tax",
        "priceperunit": 1,
        "msdynce_ismisctax": True,
    }
    line(api, "salesorder", order, None, 1, **more)
    refused = api.refused("PATCH", f"salesorders({order})", {"msdynce_misctax": 3})
    assert refused == (400, "0x80040265", "A sales order can hold one Freight Tax line at most")
    assert api.get(f"salesorders({order})")["msdynce_misctax"] == D("2.5")
    patch(api, f"salesorders({order})", {"name": "other things can change"})


@pytest.mark.parametrize("kind", ["quote", "salesorder", "invoice"])
def test_contact_becomes_an_active_customer_with_its_first_document(api: Api, kind: str) -> None:
    header = document(api, kind)
    assert api.get(f"contacts({CONTACT})")["msdynce_isactivecustomer"] is False
    patch(api, f"{SETS[kind]}({header})", {"customerid_contact@odata.bind": f"/contacts({CONTACT})"})
    assert api.get(f"contacts({CONTACT})")["msdynce_isactivecustomer"] is True
    patch(api, f"{SETS[kind]}({header})", {"customerid_account@odata.bind": f"/accounts({ACCOUNT})"})
    assert api.get(f"contacts({CONTACT})")["msdynce_isactivecustomer"] is True


def test_invoice_sets_its_order_to_invoiced_and_takes_its_owner(api: Api) -> None:
    owner = {"ownerid@odata.bind": f"/systemusers({OTHER_USER})"}
    order = document(api, "salesorder", **owner)
    line(api, "salesorder", order)
    invoice = document(api, "invoice", statuscode=4, invoicenumber="CIV-1", msdynce_invoicedate="2024-05-06")
    assert api.get(f"invoices({invoice})")["_ownerid_value"] == USER
    line(api, "invoice", invoice)
    patch(api, f"invoices({invoice})", {"salesorderid@odata.bind": f"/salesorders({order})"})
    assert api.get(f"invoices({invoice})")["_ownerid_value"] == OTHER_USER
    found = api.get(f"salesorders({order})")
    assert (found["statecode"], found["statuscode"]) == (4, 100003)
    row = lines(api, "invoice", invoice)[0]
    assert (row["_ownerid_value"], row["msdynce_invoicenumber"]) == (OTHER_USER, "CIV-1")
    assert row["msdynce_invoicedate"] == "2024-05-06"
    assert lines(api, "salesorder", order)[0]["salesorderstatecode"] == 4


def test_without_the_solution_nothing_of_p2c_happens(api: Api, stand: tuple[Stand, httpx.Client]) -> None:
    stand[0].app = create_app(api.store, config=Config(solution=False))
    order = document(api, "salesorder", **{"customerid_account@odata.bind": None},
                     **{"customerid_contact@odata.bind": f"/contacts({CONTACT})"})  # fmt: skip
    line(api, "salesorder", order, OWN, 1)
    document(api, "invoice", **{"salesorderid@odata.bind": f"/salesorders({order})"})
    assert api.get(f"salesorders({order})")["statecode"] == 0
    stand[0].app = create_app(api.store)
    assert api.get(f"contacts({CONTACT})")["msdynce_isactivecustomer"] is False
    assert lines(api, "salesorder", order)[0]["msdynce_ordernumber"] is None


# life of a document ---------------------------------------------------------------------------------------------------
def test_quote_is_edited_as_a_draft_and_no_more_when_active(api: Api) -> None:
    quote = document(api, "quote")
    row = line(api, "quote", quote)
    patch(api, f"quotes({quote})", {"statecode": 1, "statuscode": 2})
    assert lines(api, "quote", quote)[0]["quotestatecode"] == 1
    assert api.refused("PATCH", f"quotes({quote})", {"name": "New"})[:2] == (400, "0x8004022e")
    assert api.refused("PATCH", f"quotedetails({row})", {"quantity": 9})[:2] == (400, "0x8004022e")
    assert api.refused("POST", "quotedetails", line_body("quote", quote))[0] == 400
    assert api.refused("DELETE", f"quotedetails({row})")[:2] == (400, "0x80040228")
    assert "WinQuote" in api.refused("PATCH", f"quotes({quote})", {"statecode": 0, "statuscode": 1})[2]
    patch(api, f"quotes({quote})", {"ownerid@odata.bind": f"/systemusers({OTHER_USER})", "statuscode": 3})
    assert api.get(f"quotes({quote})")["name"] == "Doc"


@pytest.mark.parametrize(
    ("action", "status", "state"), [("WinQuote", 4, 2), ("CloseQuote", 5, 3), ("CloseQuote", 647390000, 3)]
)
def test_quote_is_won_lost_and_submitted_by_actions(api: Api, action: str, status: int, state: int) -> None:
    quote = document(api, "quote")
    patch(api, f"quotes({quote})", {"statecode": 1, "statuscode": 3})
    refused = api.refused("PATCH", f"quotes({quote})", {"statecode": state, "statuscode": status})
    assert action in refused[2]
    act(api, action, close("quote", quote, status))
    found = api.get(f"quotes({quote})")
    assert (found["statecode"], found["statuscode"]) == (state, status)
    assert found["closedon"] is not None
    assert api.refused("POST", action, close("quote", quote, status))[:2] == (400, "0x80048408")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "QuoteClose"),
        ({"QuoteClose": {}}, "quoteid@odata.bind"),
        ({"Status": "4", "QuoteClose": {"quoteid@odata.bind": "Q"}}, "whole number"),
        ({"Status": 4, "QuoteClose": {"quoteid@odata.bind": f"/accounts({ACCOUNT})"}}, "not a row of quotes"),
        ({"Status": 4, "QuoteClose": {"quoteid@odata.bind": f"/quotes({guid(1)})"}}, "Does Not Exist"),
        ({"Status": 5, "QuoteClose": {"quoteid@odata.bind": "Q"}}, "not a valid status code"),
    ],
)
def test_closing_action_with_a_wrong_body_is_refused(api: Api, body: dict[str, Any], words: str) -> None:
    quote = document(api, "quote")
    patch(api, f"quotes({quote})", {"statecode": 1})
    text = json.dumps(body).replace('"Q"', f'"/quotes({quote})"')
    assert words in api.refused("POST", "WinQuote", json.loads(text))[2]
    assert api.get(f"quotes({quote})")["statecode"] == 1


def test_revised_quote_is_a_new_draft_with_the_same_number(api: Api) -> None:
    quote = document(api, "quote", quotenumber="Q-1", freightamount=2)
    line(api, "quote", quote, manualdiscountamount=1)
    everything = {"QuoteId": quote, "ColumnSet": {"AllColumns": True}}
    assert api.refused("POST", "ReviseQuote", everything)[1] == "0x80048408"
    patch(api, f"quotes({quote})", {"statecode": 1})
    new = json.loads(api.call("POST", "ReviseQuote", everything).text, parse_float=Decimal)
    assert (new["quotenumber"], new["revisionnumber"], new["statecode"], new["totalamount"]) == ("Q-1", 1, 0, D("31"))
    old = api.get(f"quotes({quote})")
    assert (old["statecode"], old["statuscode"], old["revisionnumber"]) == (3, 7, 0)
    assert lines(api, "quote", new["quoteid"])[0]["msdynce_quoterevisionnumber"] == 1
    assert "already exists another quote" in api.refused("POST", "ReviseQuote", everything)[2]


def test_quote_becomes_an_order_and_that_an_invoice(api: Api) -> None:
    quote = document(api, "quote", freightamount=5, shipto_city="Ulm")
    line(api, "quote", quote, manualdiscountamount=1, tax=2)
    patch(api, f"quotes({quote})", {"statecode": 1})
    act(api, "WinQuote", close("quote", quote, 4))
    made = api.call("POST", "ConvertQuoteToSalesOrder", {"QuoteId": quote, "ColumnSet": {"AllColumns": True}})
    order = json.loads(made.text, parse_float=Decimal)
    assert (order["_quoteid_value"], order["totalamount"], order["shipto_city"]) == (quote, D("36"), "Ulm")
    assert order["ordernumber"].startswith("ORD-")
    assert (order["msdynce_processingstatus"], order["ispricelocked"]) == (DRAFT, True)
    row = lines(api, "salesorder", order["salesorderid"])[0]
    assert row["_quotedetailid_value"] == lines(api, "quote", quote)[0]["quotedetailid"]
    made = api.call("POST", "ConvertSalesOrderToInvoice", {"SalesOrderId": order["salesorderid"], "ColumnSet": {}})
    invoice = json.loads(made.text, parse_float=Decimal)
    assert (invoice["_salesorderid_value"], invoice["totalamount"]) == (order["salesorderid"], D("36"))
    assert lines(api, "invoice", invoice["invoiceid"])[0]["_salesorderdetailid_value"] == row["salesorderdetailid"]
    assert api.get(f"salesorders({order['salesorderid']})")["statecode"] == 4


def test_fulfilled_order_is_read_only_until_it_is_set_active_again(api: Api) -> None:
    order = document(api, "salesorder")
    row = line(api, "salesorder", order)
    assert "FulfillSalesOrder" in api.refused("PATCH", f"salesorders({order})", {"statecode": 3})[2]
    act(api, "FulfillSalesOrder", close("salesorder", order, 100001))
    assert api.get(f"salesorders({order})")["statuscode"] == 100001
    assert api.refused("PATCH", f"salesorders({order})", {"shipto_city": "Ulm"})[1] == "0x8004022e"
    assert api.refused("PATCH", f"salesorderdetails({row})", {"quantity": 1})[1] == "0x8004022e"
    assert api.refused("POST", "CancelSalesOrder", close("salesorder", order, 4))[1] == "0x80048408"
    patch(api, f"salesorders({order})", {"statecode": 0, "statuscode": 1, "shipto_city": "Ulm"})
    assert api.get(f"salesorders({order})")["shipto_city"] == "Ulm"


def test_invoiced_order_takes_updates_only_while_it_is_maintained_externally(api: Api) -> None:
    ours, theirs = document(api, "salesorder"), document(api, "salesorder", msdynce_ismaintainedexternally=True)
    rows = [line(api, "salesorder", order) for order in (ours, theirs)]
    for order in (ours, theirs):
        document(api, "invoice", **{"salesorderid@odata.bind": f"/salesorders({order})"})
    assert api.refused("PATCH", f"salesorders({ours})", {"name": "x"})[1] == "0x8004022e"
    assert api.refused("PATCH", f"salesorderdetails({rows[0]})", {"tax": 1})[1] == "0x8004022e"
    patch(api, f"salesorders({theirs})", {"name": "x"})
    patch(api, f"salesorderdetails({rows[1]})", {"tax": 1})
    assert api.get(f"salesorders({theirs})")["statecode"] == 4


def test_paid_invoice_is_read_only(api: Api) -> None:
    invoice = document(api, "invoice")
    row = line(api, "invoice", invoice)
    patch(api, f"invoices({invoice})", {"statecode": 2, "statuscode": 100001})
    assert api.refused("PATCH", f"invoices({invoice})", {"name": "x"})[1] == "0x8004022e"
    assert api.refused("DELETE", f"invoicedetails({row})")[1] == "0x80040228"


# documents in bulk ----------------------------------------------------------------------------------------------------
def test_bulk_actions_price_lines_and_undo_everything_when_one_is_refused(api: Api) -> None:
    order = document(api, "salesorder")
    targets = [{"@odata.type": f"{NS}.salesorderdetail"} | line_body("salesorder", order, quantity=n) for n in (1, 2)]
    answer = api.call("POST", f"salesorderdetails/{NS}.CreateMultiple", {"Targets": targets})
    assert len(answer.json()["Ids"]) == 2
    assert api.get(f"salesorders({order})")["totalamount"] == D("30")
    bad = [*targets, {"@odata.type": f"{NS}.salesorderdetail"} | line_body("salesorder", order, DRAFT_PRODUCT)]
    assert api.refused("POST", f"salesorderdetails/{NS}.CreateMultiple", {"Targets": bad})[0] == 400
    assert len(lines(api, "salesorder", order)) == 2


def test_change_set_makes_an_order_with_its_line(api: Api) -> None:
    header = {
        "customerid_account@odata.bind": f"/accounts({ACCOUNT})",
        "pricelevelid@odata.bind": f"/pricelevels({LIST_A})",
    }
    child = line_body("salesorder", "x") | {"salesorderid@odata.bind": "$1"}

    def part(number: int, path: str, body: dict[str, Any]) -> str:
        return (
            "--c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
            f"Content-ID: {number}\r\n\r\n"
            f"POST {API}/{path} HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{json.dumps(body)}\r\n"
        )

    body = (
        "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"
        f"{part(1, 'salesorders', header)}{part(2, 'salesorderdetails', child)}--c--\r\n--b--\r\n"
    )
    answer = api.client.post(f"{API}/$batch", content=body, headers={"Content-Type": "multipart/mixed; boundary=b"})
    assert answer.status_code == 200, answer.text
    assert api.get("salesorders")["value"][0]["totalamount"] == D("30")
