"""Orders from F&O to Sales through comparison and plan: kinds of customers, lines after their header, Freight Tax."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from plan_world import EACH, GROUP, OTHER_EACH, OTHER_GROUP, TEMPLATES, USD, Orders

from p2c_lib.apply import apply
from p2c_lib.places import task_folder
from p2c_lib.pull import pull
from p2c_lib.write import approve, plan

HEADERS, LINES = "order_headers_to_sales", "order_lines_to_sales"
CUSTOMER = "customerid.Account(accountnumber).Contact(msdynce_contactnumber)"


@pytest.fixture
def world():
    return Orders()


def planned(world, folder, *tasks):
    return plan(world.compare(folder, *tasks), templates=TEMPLATES, clients=world.clients)


def sent(made: pl.DataFrame, key: str) -> dict[str, str]:
    return {row["property"]: row["sent"] for row in made.filter(pl.col("key") == key).to_dicts()}


def outcomes(folder, task):
    frame = pl.read_parquet(task_folder(folder, task) / "rows.parquet")
    return sorted(frame.select("key", "outcome", "reason").rows())


def test_a_customer_is_an_account_or_a_contact_whichever_has_the_number(world, tmp_path):
    account = world.account("A1")
    contact = world.contact("C1", None)
    world.order("S1", "A1")
    world.order("S2", " c1")
    made = planned(world, tmp_path, HEADERS).rows
    assert sent(made, "S1")["customerid_account@odata.bind"] == f"/accounts({account['accountid']})"
    assert sent(made, "S2")["customerid_contact@odata.bind"] == f"/contacts({contact['contactid']})"
    assert made["held"].null_count() == made.height


def test_a_number_of_an_account_and_a_contact_says_which_is_meant_to_nobody(world, tmp_path):
    world.account("X1")
    world.contact("X1", None)
    world.order("S1", "X1")
    made = planned(world, tmp_path, HEADERS).rows
    assert made["held"].unique().to_list() == [
        "2 rows of accounts have the accountnumber or contacts have the msdynce_contactnumber 'X1'; which one is meant?"
    ]


def test_what_the_destination_works_out_is_never_sent(world, tmp_path):
    world.account("A1")
    world.order("S1", "A1", "P1")
    made = planned(world, tmp_path, HEADERS, LINES).rows
    properties = set(made["property"])
    assert {"msdynce_misctax", "freightamount", "manualdiscountamount", "tax"} <= properties
    assert not {"totalamount", "totaltax", "statecode", "extendedamount"} & properties


def test_lines_go_after_the_header_that_the_same_plan_makes_and_point_to_it(world, tmp_path):
    world.account("A1")
    world.order("S1", "A1", "P1", "P1")
    run = world.compare(tmp_path, HEADERS, LINES)
    assert outcomes(run, LINES) == [("S1|1", "blocked", "parent_missing"), ("S1|2", "blocked", "parent_missing")]
    made = plan(run, templates=TEMPLATES, clients=world.clients)
    assert made.rows["held"].null_count() == made.rows.height
    assert sent(made.rows, "S1|2")["salesorderid@odata.bind"] == "salesorders/S1"
    approve(run, "tester")
    applied = apply(run, None, world.clients)
    assert (applied.created, applied.failed, applied.held) == (3, 0, 0)
    (header,) = world.sales.rows["salesorders"]
    lines = world.sales.rows["salesorderdetails"]
    assert [line["_salesorderid_value"] for line in lines] == [header["salesorderid"]] * 2
    assert [line["sequencenumber"] for line in lines] == [1, 2]


def test_a_line_waits_when_one_of_its_parents_is_made_and_the_other_is_nowhere(world, tmp_path):
    world.account("A1")
    world.order("S1", "A1", "P1", "P9")
    run = world.compare(tmp_path, HEADERS, LINES)
    waits = pl.read_parquet(task_folder(run, LINES) / "waits.parquet").sort("key", "field")
    assert waits.select("key", "field", "value", "parent_task").rows() == [
        ("S1|1", "salesorderid.ordernumber", "S1", HEADERS),
        ("S1|2", "productid.productnumber", "P9", "products"),
        ("S1|2", "salesorderid.ordernumber", "S1", HEADERS),
    ]
    made = plan(run, templates=TEMPLATES, clients=world.clients)
    assert set(made.rows["key"]) == {"S1", "S1|1"}


def test_a_line_is_held_when_its_header_is(world, tmp_path):
    world.account("X1")
    world.contact("X1", None)
    world.order("S1", "X1", "P1")
    made = planned(world, tmp_path, HEADERS, LINES).rows
    held = made.filter(pl.col("key") == "S1|1")["held"].unique().to_list()
    assert len(held) == 1
    assert held[0].startswith("its parent is held back: 2 rows of accounts")


@pytest.mark.parametrize(("group", "unit"), [(GROUP, EACH), (OTHER_GROUP, OTHER_EACH)])
def test_the_unit_of_a_line_is_of_its_products_group_and_its_currency_its_own(world, tmp_path, group, unit):
    world.product("P2", _defaultuomscheduleid_value=group, _transactioncurrencyid_value=None)
    world.account("A1")
    world.order("S1", "A1", "P2")
    made = planned(world, tmp_path, HEADERS, LINES).rows
    assert sent(made, "S1|1")["uomid@odata.bind"] == f"/uoms({unit})"


def test_the_freight_tax_line_is_nobodys_partner(world, tmp_path):
    account = world.account("A1")
    world.order("S1", "A1", "P1")
    header = world.sales.add(
        "salesorders", ordernumber="S1", _customerid_value=account["accountid"], msdynce_ismaintainedexternally=True,
    )  # fmt: skip
    line = {"_salesorderid_value": header["salesorderid"], "msdynce_ordernumber": "S1", "sequencenumber": 1}
    world.sales.add("salesorderdetails", msdynce_ismisctax=True, **line)
    run = world.compare(tmp_path, LINES)
    assert outcomes(run, LINES) == [("S1|1", "missing", None)]


def test_an_order_that_its_invoice_made_invoiced_is_still_in_step(world, tmp_path):
    account = world.account("A1")
    world.order("S1", "A1")
    row = {
        "ordernumber": "S1", "name": "Chairs", "_customerid_value": account["accountid"], "statecode": 4,
        "statuscode": 100003, "msdynce_ismaintainedexternally": True, "msdynce_processingstatus": 647390001,
        "_transactioncurrencyid_value": USD, "totalamount": Decimal("9.5"), "totaltax": Decimal(1),
        "msdynce_misctax": Decimal("0.5"), "discountamount": Decimal(0), "freightamount": Decimal(0),
        "_pricelevelid_value": world.sales.find("pricelevels")[0]["pricelevelid"],
    }  # fmt: skip
    found = world.sales.add("salesorders", **row)
    assert outcomes(world.compare(tmp_path / "a", HEADERS), HEADERS) == [("S1", "matched", None)]
    found["statecode"] = 2
    run = world.compare(tmp_path / "b", HEADERS)
    cells = pl.read_parquet(task_folder(run, HEADERS) / "cells.parquet")
    assert cells.select("field", "expected", "found").rows() == [("statecode", "0", "2")]
    made = plan(run, templates=TEMPLATES, clients=world.clients)
    assert made.rows["held"].to_list() == ["it is cancelled in Sales: reopen it there first, or leave it"]


def test_a_name_made_since_the_set_was_read_is_found(world):
    first = world.account("A1")
    world.sales.add("salesorders", ordernumber="S1", _customerid_value=first["accountid"])
    assert pull(world.sales, "salesorders", [CUSTOMER])[CUSTOMER].to_list() == ["A1"]
    second = world.account("A2")
    world.sales.add("salesorders", ordernumber="S2", _customerid_value=second["accountid"])
    assert pull(world.sales, "salesorders", [CUSTOMER])[CUSTOMER].to_list() == ["A1", "A2"]


def test_columns_of_one_set_are_read_in_one_go(world):
    header = world.sales.add("salesorders", ordernumber="S1", msdynce_processingstatus=647390000)
    world.sales.add("salesorderdetails", _salesorderid_value=header["salesorderid"])
    before = world.sales.reads
    paths = ["salesorderid.ordernumber", "salesorderid.msdynce_processingstatus"]
    assert pull(world.sales, "salesorderdetails", paths).select(paths).rows() == [("S1", 647390000)]
    assert world.sales.reads - before == 2


def test_a_path_over_two_lookups_ends_at_whichever_target_is_set(world):
    header = world.sales.add("salesorders", ordernumber="S1", _customerid_value=world.account("A1")["accountid"])
    world.sales.add("salesorderdetails", _salesorderid_value=header["salesorderid"])
    path = f"salesorderid.{CUSTOMER}"
    assert pull(world.sales, "salesorderdetails", [path])[path].to_list() == ["A1"]
