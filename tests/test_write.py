"""What a plan holds, what it holds back, and that nobody can change it after it was approved."""

import json
from decimal import Decimal

import polars as pl
import pytest
from plan_world import BOX, EACH, TEMPLATES, World

from p2c_lib.errors import PlanError
from p2c_lib.write import approve, plan, plan_table, read_plan


@pytest.fixture
def world():
    return World()


def planned(world, folder, *tasks):
    return plan(world.compare(folder, *tasks), templates=TEMPLATES, clients=world.clients)


def fields(made, key):
    return {row["field"]: row for row in made.rows.filter(pl.col("key") == key).to_dicts()}


def test_a_plan_of_sides_in_step_is_empty(world, tmp_path):
    world.item("P1")
    world.product("P1")
    world.account("A1")
    world.customer("A1")
    made = planned(world, tmp_path, "products", "accounts")
    assert made.rows.is_empty()


def test_a_missing_row_becomes_a_create_with_every_field(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("10.25"))
    made = planned(world, tmp_path, "products")
    sent = {row["property"]: (row["sent"], row["wire"]) for row in made.rows.to_dicts()}
    assert made.rows["action"].unique().to_list() == ["create"]
    assert made.rows["held"].null_count() == made.rows.height
    assert sent["price"] == ("10.25", "number")
    assert sent["isstockitem"] == ("true", "boolean")
    assert sent["defaultuomid@odata.bind"] == (f"/uoms({EACH})", "bind")
    assert sent["msdynce_ismaintainedexternally"] == ("true", "boolean")
    assert "description" not in sent  # null: nothing to say


def test_an_update_holds_only_the_fields_that_differ_with_before_and_after(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"))
    product = world.product("P1", name="NAME OF P1")
    made = planned(world, tmp_path, "products")
    assert [(r["field"], r["before"], r["after"]) for r in made.rows.to_dicts()] == [
        ("name", "NAME OF P1", "Name of P1"),  # representation: put in step all the same
        ("price", "10.5", "12"),
    ]
    assert made.rows["action"].unique().to_list() == ["update"]
    assert json.loads(made.rows["target"][0]) == {"productid": product["productid"]}
    assert made.rows["etag"][0] == product["@odata.etag"]


def test_blank_text_is_sent_to_fno_as_empty_text_and_to_sales_as_null(world, tmp_path):
    world.account("A1", description=None)
    world.customer("A1", SalesMemo="old")
    world.item("P1", ProductDescription="")
    world.product("P1", description="old")
    made = planned(world, tmp_path, "accounts", "products")
    assert fields(made, "A1")["SalesMemo"]["sent"] == ""
    assert fields(made, "P1")["description"]["sent"] is None


def test_a_unit_name_is_resolved_within_the_unit_group_of_the_row(world, tmp_path):
    world.item("P1")  # "Each" is in two unit groups
    made = planned(world, tmp_path, "products")
    assert fields(made, "P1")["defaultuomid.name"]["sent"] == f"/uoms({EACH})"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"SalesUnitSymbol": "box"}, "that its other columns (defaultuomscheduleid) allow", id="other group"
        ),
        pytest.param({"SalesUnitSymbol": "kg"}, "no row of uoms has the name 'Kilogram'", id="no such unit"),
        pytest.param({"SalesUnitSymbol": "dozen"}, "value map uom_fo_to_sales has no entry for 'dozen'", id="unmapped"),
        pytest.param(
            {"CurrencyCode": "EUR"}, "no row of transactioncurrencies has the isocurrencycode 'EUR'", id="currency"
        ),
        pytest.param({"ProductName": "x" * 101}, "101 characters, name holds 100", id="too long"),
        pytest.param({"ProductName": "x" * 99 + "😀"}, "101 characters, name holds 100", id="too long in UTF-16"),
    ],
)
def test_a_create_that_cannot_be_whole_is_held_back_whole(world, tmp_path, changes, words):
    world.item("P1", **changes)
    world.item("P2")
    made = planned(world, tmp_path, "products")
    held = made.rows.filter(pl.col("key") == "P1")["held"]
    assert held.null_count() == 0 and words in held[0]
    assert made.rows.filter(pl.col("key") == "P2")["held"].null_count() > 0
    assert plan_table(made).select("rows", "held_rows").rows() == [(1, 1)]
    assert BOX  # the unit that stands in the other group


def test_a_row_whose_number_fno_would_cut_is_held_back(world, tmp_path):
    world.account("A" * 20)
    world.account("A" * 21)
    made = planned(world, tmp_path, "accounts")
    assert made.rows.filter(pl.col("key") == "A" * 20)["held"].null_count() > 0
    held = made.rows.filter(pl.col("key") == "A" * 21)["held"]
    assert held.null_count() == 0 and "21 characters, the number CustomerAccount holds 20 and would be cut" in held[0]


def test_a_name_that_two_rows_have_is_held_back(world, tmp_path):
    world.sales.add("transactioncurrencies", isocurrencycode=" usd ")
    world.item("P1")
    made = planned(world, tmp_path, "products")
    assert "2 rows of transactioncurrencies have the isocurrencycode 'USD'" in made.rows["held"][0]


def test_an_update_goes_without_the_field_that_cannot_be_sent(world, tmp_path):
    world.item("P1", SalesUnitSymbol="dozen", SalesPrice=Decimal("12"))
    world.product("P1")
    found = fields(planned(world, tmp_path, "products"), "P1")
    assert "value map uom_fo_to_sales has no entry" in found["defaultuomid.name"]["held"]
    assert found["price"]["held"] is None


def test_a_key_column_of_the_destination_is_never_in_an_update(world, tmp_path):
    one, two = world.account("A1"), world.account("A2")
    for number in ("A1", "A2"):
        world.customer(number)
    world.contact("C1", two)
    world.fno.add(
        "CDSContactPersons",
        dataAreaId="usmf",
        ContactPersonPartyNumber="C1",
        AssociatedPartyNumber=one["accountnumber"],
        IsContactPersonExternallyMaintained="Yes",
    )
    found = fields(planned(world, tmp_path, "contacts"), "C1")
    assert "part of the key" in found["AssociatedPartyNumber"]["held"]
    assert found["LastName"]["held"] is None


def test_a_column_that_the_service_does_not_let_be_changed_is_held_back(tmp_path):
    world = World()
    column = world.sales.known.entities["products"].columns["price"]
    object.__setattr__(column, "allow_edit", False)
    world.item("P1", SalesPrice=Decimal("12"))
    world.product("P1")
    assert "cannot be changed" in fields(planned(world, tmp_path, "products"), "P1")["price"]["held"]


def test_a_child_comes_along_when_the_same_plan_creates_its_parent(world, tmp_path):
    account = world.account("A1")
    world.contact("C1", account)
    made = planned(world, tmp_path, "contacts", "accounts")
    actions = made.actions()
    assert actions.select("task", "key").rows() == [("accounts", "A1"), ("contacts", "C1")]
    child = made.rows.filter(pl.col("task") == "contacts")
    assert child["after_order"].unique().to_list() == [0]


def test_a_child_stays_blocked_when_nobody_creates_its_parent(world, tmp_path):
    world.contact("C1", world.account("A1"))
    made = planned(world, tmp_path, "contacts")
    assert made.rows.is_empty()
    assert made.left_out.rows() == [("contacts", "blocked", "parent_missing", 1)]


def test_a_child_is_held_back_with_its_parent(world, tmp_path):
    world.contact("C1", world.account("A1", address1_country="Narnia"))
    made = planned(world, tmp_path, "accounts", "contacts")
    held = made.rows.filter(pl.col("key") == "C1")["held"]
    assert held.null_count() == 0 and "its parent is held back" in held[0] and "Narnia" in held[0]


def test_extra_and_blocked_rows_are_counted_not_planned(world, tmp_path):
    world.customer("A9")
    world.account("")
    made = planned(world, tmp_path, "accounts")
    assert made.rows.is_empty()
    assert made.left_out.rows() == [("accounts", "blocked", "blank_key", 1), ("accounts", "extra", None, 1)]


def test_money_of_a_plan_is_summed_by_currency_without_what_is_held(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("10.25"))
    world.item("P2", SalesPrice=Decimal("0.10"))
    world.item("P3", SalesPrice=Decimal("99"), SalesUnitSymbol="dozen")
    world.item("P4", SalesPrice=Decimal("12"))
    world.product("P4")
    made = planned(world, tmp_path, "products")
    assert dict(plan_table(made).select("action", "amount").rows()) == {"create": "10.35 USD", "update": "1.50 USD"}


def test_the_same_run_gives_the_same_plan_and_keeps_its_approval(world, tmp_path):
    world.item("P1")
    first = planned(world, tmp_path, "products")
    approved = approve(tmp_path, "ann").approved
    again = plan(tmp_path, templates=TEMPLATES, clients=world.clients)
    assert again.hash == first.hash
    assert read_plan(tmp_path).approved == approved and approved["by"] == "ann"


def test_another_plan_takes_the_approval_away(world, tmp_path):
    world.item("P1")
    planned(world, tmp_path, "products")
    approve(tmp_path, "ann")
    world.item("P2")
    assert planned(world, tmp_path, "products").approved is None


def test_a_plan_changed_by_hand_is_refused(world, tmp_path):
    world.item("P1")
    planned(world, tmp_path, "products")
    file = tmp_path / "plan" / "plan.parquet"
    rows = pl.read_parquet(file)
    rows.with_columns(sent=pl.when(pl.col("property") == "price").then(pl.lit("1")).otherwise("sent")).write_parquet(
        file
    )
    with pytest.raises(PlanError, match="changed after it was made"):
        approve(tmp_path, "ann")


def test_a_plan_needs_a_name_to_be_approved(world, tmp_path):
    world.item("P1")
    planned(world, tmp_path, "products")
    with pytest.raises(PlanError, match="who approves"):
        approve(tmp_path, "  ")


@pytest.mark.parametrize(
    ("names", "words"),
    [(["produts"], "no template has a task produts"), (["accounts"], "accounts was not compared in this run")],
)
def test_a_task_that_was_not_compared_is_named(world, tmp_path, names, words):
    world.compare(tmp_path, "products")
    with pytest.raises(PlanError, match=words):
        plan(tmp_path, tasks=names, templates=TEMPLATES, clients=world.clients)


def test_a_run_of_another_service_is_refused(world, tmp_path):
    world.compare(tmp_path, "products")
    world.sales.root = "http://127.0.0.1/another"
    with pytest.raises(PlanError, match="compared other systems"):
        plan(tmp_path, templates=TEMPLATES, clients=world.clients)
