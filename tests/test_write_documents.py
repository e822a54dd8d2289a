"""What a plan does not send because it would be refused, and how totals come right that no plan can send."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from plan_world import OTHER_EACH, TEMPLATES, USD, Orders

from p2c_lib.apply import apply
from p2c_lib.places import task_folder
from p2c_lib.write import approve, plan

HEADERS, LINES = "order_headers_to_sales", "order_lines_to_sales"
OUT, OUT_LINES = "order_headers_to_fno", "order_lines_to_fno"
COMPUTED = {"totalamount": Decimal("9.5"), "totaltax": Decimal(1)}  # of an order with one line, as F&O has it


@pytest.fixture
def world():
    return Orders()


def planned(world, folder, *tasks):
    return plan(world.compare(folder, *tasks), templates=TEMPLATES, clients=world.clients)


def in_step(world, folder, *products):
    """Order S1 of customer A1 on both sides, the same in everything; gives its header and lines in Sales."""
    world.account("A1")
    world.order("S1", "A1", *products)
    run = world.compare(folder, HEADERS, LINES)
    plan(run, templates=TEMPLATES, clients=world.clients)
    approve(run, "tester")
    apply(run, None, world.clients)
    (header,) = world.sales.rows["salesorders"]
    lines = world.sales.rows.get("salesorderdetails", [])
    header |= {"statecode": 0, **COMPUTED}
    for line in lines:
        line["extendedamount"] = Decimal(9)
    return header, lines


def held(made) -> dict[str, str]:
    return dict(made.rows.filter(pl.col("held").is_not_null()).select("field", "held").rows())


def sent(made) -> list[tuple[str, str, str]]:
    return made.rows.filter(pl.col("held").is_null()).select("action", "field", "wire").rows()


def test_documents_in_step_need_nothing(world, tmp_path):
    in_step(world, tmp_path / "a", "P1")
    assert planned(world, tmp_path / "b", HEADERS, LINES).rows.height == 0


# --- what would be refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "external", "reason"),
    [
        pytest.param(0, True, None, id="active"),
        pytest.param(1, True, None, id="submitted"),
        pytest.param(4, True, None, id="invoiced, and F&O follows it up"),
        pytest.param(4, False, "it is invoiced in Sales: reopen it there first, or leave it", id="invoiced"),
        pytest.param(2, True, "it is cancelled in Sales: reopen it there first, or leave it", id="cancelled"),
        pytest.param(3, True, "it is fulfilled in Sales: reopen it there first, or leave it", id="fulfilled"),
    ],
)
def test_nothing_is_sent_to_a_document_that_is_closed(world, tmp_path, state, external, reason):
    header, (line,) = in_step(world, tmp_path / "a", "P1")
    header |= {"statecode": state, "msdynce_ismaintainedexternally": external, "name": "Tables"}
    line["quantity"] = Decimal(4)
    world.fno.add("CDSSalesOrderLines", **{**world.fno.rows["CDSSalesOrderLines"][0], "LineCreationSequenceNumber": 2})
    made = planned(world, tmp_path / "b", HEADERS, LINES).rows
    chosen = made.filter(pl.col("field").is_in(["name", "quantity"])).select("task", "action", "field", "held").rows()
    assert chosen == [
        (HEADERS, "update", "name", reason),
        (LINES, "create", "quantity", reason),
        (LINES, "update", "quantity", reason),
    ]


def test_an_order_that_fno_confirms_after_the_comparison_is_not_overwritten_with_what_sales_still_says(world, tmp_path):
    account = world.account("A1")
    world.customer("A1")
    world.sales.add(
        "salesorders", ordernumber="S1", name="Chairs", _customerid_value=account["accountid"], totalamount=Decimal(9),
        msdynce_processingstatus=647390000, msdynce_hasexternallymaintainedproductsonly=True,
        _transactioncurrencyid_value=USD, msdynce_ismaintainedexternally=False,
    )  # fmt: skip
    world.order("S1", "A1")
    (order,) = world.fno.rows["CDSSalesOrderHeaders"]
    active = {"SalesOrderOriginType": "SalesOrderIntegration", "SalesOrderProcessingStatus": "Active"}
    order |= {"CustomersOrderReference": "Tables", **active}
    run = world.compare(tmp_path, OUT, OUT_LINES)
    made = plan(run, templates=TEMPLATES, clients=world.clients)
    assert "CustomersOrderReference" in [field for _, field, _ in sent(made)]
    order["SalesOrderProcessingStatus"] = "Confirmed"
    made = plan(run, templates=TEMPLATES, clients=world.clients)
    assert sent(made) == []
    assert held(made)["CustomersOrderReference"] == (
        "the order is Confirmed in F&O, which is its master from the confirmation on"
    )


def test_a_quotation_that_was_lost_in_fno_takes_no_changes(world, tmp_path):
    account = world.account("A1")
    world.customer("A1")
    world.sales.add(
        "quotes", quotenumber="Q1", name="Chairs", _customerid_value=account["accountid"], statecode=1,
        msdynce_hasexternallymaintainedproductsonly=True, _transactioncurrencyid_value=USD, totalamount=Decimal(9),
    )  # fmt: skip
    world.fno.add(
        "CDSSalesQuotationHeaders", dataAreaId="usmf", SalesQuotationNumber="Q1", SalesQuotationStatus="Lost",
        RequestingCustomerAccountNumber="A1", AreTotalsCalculated="Yes", SalesQuotationName="Tables",
    )  # fmt: skip
    made = planned(world, tmp_path, "quote_headers", "quote_lines")
    assert sent(made) == []
    assert set(held(made).values()) == {"the quotation is Lost in F&O, and closed to changes"}


@pytest.mark.parametrize(("state", "sends"), [(0, True), (2, False), (1, False), (3, False), (None, True)])
def test_a_line_of_a_product_that_is_not_active_is_held(world, tmp_path, state, sends):
    world.sales.rows["products"][0]["statecode"] = state
    world.account("A1")
    world.order("S1", "A1", "P1")
    made = planned(world, tmp_path, HEADERS, LINES).rows.filter(pl.col("task") == LINES)
    reason = "product P1 is not active in Sales (a draft, retired or under revision): publish it there, then plan again"
    assert made["held"].unique().to_list() == ([None] if sends else [reason])


@pytest.mark.parametrize(("active", "sends"), [(True, True), (False, False), (None, True)])
def test_a_line_of_a_product_that_the_plan_makes_waits_where_new_products_are_drafts(world, tmp_path, active, sends):
    if active is not None:
        world.sales.add("organizations", createproductswithoutparentinactivestate=active)
    world.sales.rows["uoms"] = [unit for unit in world.sales.rows["uoms"] if unit["uomid"] != OTHER_EACH]
    world.account("A1")
    world.item("P2")
    world.order("S1", "A1", "P2")
    made = planned(world, tmp_path, "products", HEADERS, LINES).rows.filter(pl.col("task") == LINES)
    assert made.height > 0
    reasons = made["held"].unique().to_list()
    assert reasons == [None] if sends else reasons[0].startswith("product P2 is made by this plan, as a draft")


def test_a_line_of_a_product_whose_sales_are_stopped_is_held(world, tmp_path):
    account = world.account("A1")
    world.customer("A1")
    world.item("P1", IsSalesStopped="Yes")
    header = world.sales.add(
        "salesorders", ordernumber="S1", _customerid_value=account["accountid"], msdynce_processingstatus=647390000,
        msdynce_hasexternallymaintainedproductsonly=True, _transactioncurrencyid_value=USD,
        msdynce_ismaintainedexternally=False,
    )  # fmt: skip
    (product,) = world.sales.rows["products"]
    world.sales.add(
        "salesorderdetails", _salesorderid_value=header["salesorderid"], _productid_value=product["productid"],
        sequencenumber=1, quantity=Decimal(1), priceperunit=Decimal(1), msdynce_orderissubmitted=True,
        msdynce_orderhasexternalmaintainedproductsonly=True,
    )  # fmt: skip
    made = planned(world, tmp_path, OUT, OUT_LINES).rows.filter(pl.col("task") == OUT_LINES)
    assert made["held"].unique().to_list() == [
        "sales of product P1 are stopped in F&O: release it there, then plan again"
    ]


@pytest.mark.parametrize(
    ("places", "quantity", "sends"),
    [
        pytest.param(2, "3.25", True, id="as many"),
        pytest.param(2, "3.2500", True, id="zeros at the end are none"),
        pytest.param(0, "3", True, id="whole"),
        pytest.param(1, "3.25", False, id="one too many"),
        pytest.param(0, "-0.5", False, id="half of one that comes back"),
        pytest.param(None, "3.25", True, id="the product does not say"),
    ],
)
def test_a_line_with_more_decimals_than_its_product_supports_is_held(world, tmp_path, places, quantity, sends):
    world.sales.rows["products"][0]["quantitydecimal"] = places
    world.account("A1")
    world.order("S1", "A1", "P1")
    world.fno.rows["CDSSalesOrderLines"][0]["OrderedSalesQuantity"] = Decimal(quantity)
    made = planned(world, tmp_path, HEADERS, LINES).rows
    (reason,) = made.filter(pl.col("task") == LINES)["held"].unique().to_list()
    assert made.filter(pl.col("task") == HEADERS)["held"].null_count() > 0
    if sends:
        assert reason is None
    else:
        assert reason.startswith(f"the quantity {quantity} has more decimals than the {places} that product P1")
        assert "raise them on the product" in reason


def test_of_a_line_that_is_there_only_what_would_be_refused_is_held(world, tmp_path):
    header, (line,) = in_step(world, tmp_path / "a", "P1")
    world.sales.rows["products"][0]["quantitydecimal"] = 0
    world.fno.rows["CDSSalesOrderLines"][0]["OrderedSalesQuantity"] = Decimal("2.5")
    line["description"] = "Tables"
    made = planned(world, tmp_path / "b", HEADERS, LINES)
    assert held(made)["quantity"].startswith("the quantity 2.5 has more decimals than the 0")
    assert ("update", "description", "string") in sent(made)
    assert "description" not in held(made) and header["ordernumber"] == "S1"


def test_a_line_that_hangs_in_another_document_is_held_and_so_are_both_totals(world, tmp_path):
    header, (line,) = in_step(world, tmp_path / "a", "P1")
    world.order("S2", "A1")
    other = world.sales.add("salesorders", **{**header, "ordernumber": "S2", "salesorderid": "other"})
    line["_salesorderid_value"] = "other"
    header["totalamount"] = other["totalamount"] = Decimal(1)
    made = planned(world, tmp_path / "b", HEADERS, LINES)
    assert held(made)["salesorderid.ordernumber"] == (
        "a line of salesorderdetails cannot move to another document: delete it there, then plan again"
    )
    totals = made.rows.filter(pl.col("field") == "totalamount").select("key", "held").rows()
    assert totals == [
        ("S1", "Sales works it out from the lines: line 1 is held back (a line of salesorderdetails cannot move to "
               "another document: delete it there, then plan again)"),
        ("S2", "Sales works it out from the lines: line S1|1 of another document hangs in it"),
    ]  # fmt: skip


def test_the_tax_on_charges_is_held_beside_two_freight_tax_lines(world, tmp_path):
    header, _ = in_step(world, tmp_path / "a", "P1")
    header |= {"msdynce_misctax": Decimal(3), "name": "Tables"}
    tax = {"_salesorderid_value": header["salesorderid"], "msdynce_ismisctax": True}
    world.sales.add("salesorderdetails", **tax)
    assert held(planned(world, tmp_path / "b", HEADERS, LINES)) == {}
    world.sales.add("salesorderdetails", **tax)
    made = planned(world, tmp_path / "c", HEADERS, LINES)
    reason = "it has more than one Freight Tax line in Sales: delete the extra one there, then plan again"
    assert held(made) == {"msdynce_misctax": reason}
    assert ("update", "name", "string") in sent(made)


def test_a_line_that_stands_there_under_another_number_is_not_sent_a_second_time(world, tmp_path):
    _, (line,) = in_step(world, tmp_path / "a", "P1")
    line["sequencenumber"] = 7
    made = planned(world, tmp_path / "b", HEADERS, LINES)
    assert made.actions().filter(pl.col("held").is_null()).rows() == []
    assert set(held(made).values()) == {
        "the same line stands there under another number: delete that one by hand, then plan again"
    }


def test_a_line_that_stands_there_without_number_is_not_sent_a_second_time(world, tmp_path):
    _, (line,) = in_step(world, tmp_path / "a", "P1")
    line["sequencenumber"] = None
    reason = "the same line stands there without a number: give it this one's by hand, then compare again"
    assert set(held(planned(world, tmp_path / "b", HEADERS, LINES)).values()) == {reason}
    line["quantity"] = Decimal(8)  # another line, then
    made = planned(world, tmp_path / "c", HEADERS, LINES)
    assert held(made) == {}
    assert "quantity" in [field for _, field, _ in sent(made)]


def test_what_the_template_itself_makes_differ_is_held(world, tmp_path):
    header, _ = in_step(world, tmp_path / "a", "P1")
    header |= {"name": "Tables", "shipto_city": "Ulm"}
    run = world.compare(tmp_path / "b", HEADERS)
    path = task_folder(run, HEADERS) / "outcomes.parquet"
    told = pl.read_parquet(path)
    is_name = pl.col("field") == "name"
    told.with_columns(
        code=pl.when(is_name).then(pl.lit("quirk")).otherwise("code"),
        reason=pl.when(is_name).then(pl.lit("known template quirk: two names")).otherwise("reason"),
    ).write_parquet(path)
    made = plan(run, templates=TEMPLATES, clients=world.clients)
    assert held(made) == {"name": "known template quirk: two names"}
    assert [field for _, field, _ in sent(made)] == ["shipto_city"]


# --- totals of Sales ----------------------------------------------------------------------------------------------


def test_a_total_that_alone_is_wrong_is_calculated_again_by_an_amount_sent_as_it_stands(world, tmp_path):
    header, _ = in_step(world, tmp_path / "a", "P1")
    header["totalamount"] = Decimal("14.5")
    run = world.compare(tmp_path / "b", HEADERS, LINES)
    made = plan(run, templates=TEMPLATES, clients=world.clients)
    shown = made.rows.select("action", "field", "before", "after", "wire", "held").rows()
    assert shown == [
        ("recalculate", "totalamount", "14.5", "9.5", "computed", None),
        ("recalculate", "freightamount", "0", "0", "number", None),
    ]
    assert made.rows["etag"].unique().to_list() == [header["@odata.etag"]]
    assert made.money().select("action", "amount").rows() == [("recalculate", Decimal(5))]
    approve(run, "tester")
    world.sales.calls.clear()
    done = apply(run, None, world.clients)
    assert (done.updated, done.sent, done.failed) == (1, 1, 0)
    assert world.sales.calls == [("update", "salesorders", {"freightamount": Decimal(0)})]


def test_a_lines_own_amount_is_calculated_again_and_so_is_its_header(world, tmp_path):
    header, (line,) = in_step(world, tmp_path / "a", "P1")
    line["extendedamount"] = header["totalamount"] = Decimal(77)
    made = planned(world, tmp_path / "b", HEADERS, LINES)
    assert sent(made) == [("recalculate", "extendedamount", "computed"), ("recalculate", "priceperunit", "number")]
    assert held(made) == {
        "totalamount": "Sales works it out again when this plan's lines of the document are sent",
    }


def test_an_update_takes_an_amount_along_where_a_total_has_to_come_right_too(world, tmp_path):
    header, (line,) = in_step(world, tmp_path / "a", "P1")
    header |= {"totaltax": Decimal(3), "name": "Tables"}
    line |= {"extendedamount": Decimal(3), "tax": Decimal(0)}
    made = planned(world, tmp_path / "b", HEADERS, LINES)
    assert sent(made) == [
        ("update", "name", "string"),
        ("update", "totaltax", "computed"),
        ("update", "freightamount", "number"),
        ("update", "extendedamount", "computed"),
        ("update", "tax", "number"),
    ]


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        pytest.param(
            lambda w, lines: w.sales.add("salesorderdetails", **{**lines[0], "salesorderdetailid": "x",
                                                                 "sequencenumber": 9, "quantity": Decimal(8)}),
            "Sales works it out from the lines: line 9 is at the destination alone",
            id="a line too many",
        ),
        pytest.param(
            lambda w, lines: lines[0].update(sequencenumber=None),
            "Sales works it out from the lines: a line without number is blocked (the key is blank)",
            id="a line without number",
        ),
        pytest.param(
            lambda w, lines: w.fno.rows["CDSSalesOrderHeaders"][0].update(OrderTotalAmount=Decimal(8)),
            "Sales works it out to 9.5 from the lines and amounts of the source, which do not come to its total: "
            "calculate the totals there",
            id="the source does not add up",
        ),
        pytest.param(
            lambda w, lines: w.sales.add("organizations", oobpricecalculationenabled=False),
            "system pricing is off in Sales ('Use system pricing calculation'): switch it on, which P2C needs anyway",
            id="nobody calculates",
        ),
    ],
)  # fmt: skip
def test_a_total_is_held_where_calculating_it_again_would_not_help(world, tmp_path, break_it, reason):
    header, lines = in_step(world, tmp_path / "a", "P1")
    header["totalamount"] = Decimal("14.5")
    break_it(world, lines)
    made = planned(world, tmp_path / "b", HEADERS, LINES)
    assert made.rows.filter(pl.col("field") == "totalamount")["held"].to_list() == [reason]


def test_a_lines_amount_is_held_where_the_source_works_it_out_otherwise(world, tmp_path):
    in_step(world, tmp_path / "a", "P1")
    world.fno.rows["CDSSalesOrderLines"][0]["LineAmount"] = Decimal("80")  # a price for ten
    made = planned(world, tmp_path / "b", HEADERS, LINES)
    assert held(made)["extendedamount"] == (
        "Sales works it out to 9 from price, quantity, discount and tax: correct these at the source"
    )


def test_a_total_is_held_when_the_plan_knows_nothing_of_the_lines(world, tmp_path):
    header, _ = in_step(world, tmp_path / "a", "P1")
    header["totalamount"] = Decimal("14.5")
    made = planned(world, tmp_path / "b", HEADERS)
    assert held(made) == {
        "totalamount": "its lines (order_lines_to_sales) are not in this plan: compare and plan them together"
    }


# --- totals of F&O ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("updated", "name", "reason"),
    [
        pytest.param("No", "Chairs", "'Calculate sales totals' must run in F&O", id="not calculated yet"),
        pytest.param("Yes", "Tables", "'Calculate sales totals' must run in F&O after this plan was sent", id="sent"),
        pytest.param("Yes", "Chairs", "F&O works it out from the same lines, with its own tax and charges", id="own"),
    ],
)
def test_a_total_of_fno_waits_for_its_job_or_is_its_own(world, tmp_path, updated, name, reason):
    account = world.account("A1")
    world.customer("A1")
    world.sales.add(
        "salesorders", ordernumber="S1", name="Chairs", _customerid_value=account["accountid"], totalamount=Decimal(9),
        msdynce_processingstatus=647390000, msdynce_hasexternallymaintainedproductsonly=True,
        _transactioncurrencyid_value=USD, msdynce_ismaintainedexternally=False,
    )  # fmt: skip
    world.fno.add(
        "CDSSalesOrderHeaders", dataAreaId="usmf", SalesOrderNumber="S1", OrderingCustomerAccountNumber="A1",
        CurrencyCode="USD", SalesOrderProcessingStatus="Active", SalesOrderOriginType="SalesOrderIntegration",
        AreTotalsUpdated=updated, OrderTotalAmount=Decimal(5), CustomersOrderReference=name,
        DeliveryAddressName="Chairs", DeliveryAddressDescription="Chairs", IsDeliveryAddressOrderSpecific="Yes",
        DeliveryAddressCountryRegionISOCode="US",
    )  # fmt: skip
    made = planned(world, tmp_path, OUT, OUT_LINES)
    assert held(made)["OrderTotalAmount"].startswith(reason)
    assert [field for _, field, _ in sent(made)] == (["CustomersOrderReference"] if name == "Tables" else [])
