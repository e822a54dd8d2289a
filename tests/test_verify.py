"""What was written is read back: each row ends in an outcome, whatever became of it after the call."""

from decimal import Decimal

import polars as pl
import pytest
from plan_world import TEMPLATES, World

from p2c_lib.apply import apply
from p2c_lib.errors import ConnectError, PlanError
from p2c_lib.verify import OUTCOMES, outcomes_table, read_verified, verify
from p2c_lib.write import approve, plan, read_plan


@pytest.fixture
def world():
    return World()


def applied(world, folder, *tasks):
    world.compare(folder, *tasks)
    plan(folder, templates=TEMPLATES, clients=world.clients)
    approve(folder, "ann")
    apply(folder, None, world.clients)
    return folder


def verified(world, folder):
    return verify(folder, templates=TEMPLATES, clients=world.clients)


def outcomes(world, folder):
    return dict(verified(world, folder).select("key", "outcome").unique().rows())


def test_rows_that_stand_as_wanted_are_verified_once_each(world, tmp_path):
    world.item("P1")
    world.item("P2", SalesPrice=Decimal("12"), SalesUnitSymbol="ea")
    world.product("P2", name="old")
    world.contact("C1", world.account("A1"))
    made = verified(world, applied(world, tmp_path, "products", "accounts", "contacts"))
    assert made.select("key", "outcome", "field").rows() == [
        (key, "verified", None) for key in ("P1", "P2", "A1", "C1")
    ]
    assert made["etag"].null_count() == made["address"].null_count() == 0


def test_only_the_columns_written_are_read_and_not_row_by_row(world, tmp_path):
    for number in range(30):
        world.item(f"P{number:02}", SalesPrice=Decimal("12"))
        world.product(f"P{number:02}")
    applied(world, tmp_path, "products")
    asked = []
    pages = world.sales.pages
    world.sales.pages = lambda entity, **how: (asked.append((entity, how["select"])), pages(entity, **how))[1]
    verified(world, tmp_path)
    assert [(entity, set(select)) for entity, select in asked if entity == "products"] == [
        ("products", {"productid", "price", "_transactioncurrencyid_value"})
    ]


def test_a_value_that_the_service_kept_otherwise_is_told_with_both(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"))
    product = world.product("P1")
    applied(world, tmp_path, "products")
    product["price"] = Decimal("12.01")
    (row,) = verified(world, tmp_path).to_dicts()
    told = ("outcome", "field", "how", "before", "wanted", "found")
    assert tuple(row[name] for name in told) == ("differs", "price", "rounding", "10.5", "12", "12.01")


def test_a_row_that_went_away_is_gone(world, tmp_path):
    world.item("P1")
    applied(world, tmp_path, "products")
    world.sales.rows["products"].clear()
    assert outcomes(world, tmp_path) == {"P1": "gone"}


def test_a_row_that_is_there_twice_is_not_called_verified(world, tmp_path):
    world.item("P1")
    applied(world, tmp_path, "products")
    world.product("P1")
    (row,) = verified(world, tmp_path).to_dicts()
    assert (row["outcome"], row["reason"]) == ("differs", "several rows have this key")


def test_a_row_changed_meanwhile_is_shown_as_it_was_is_and_was_to_be(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"), ProductName="New")
    product = world.product("P1")
    world.compare(tmp_path, "products")
    plan(tmp_path, templates=TEMPLATES, clients=world.clients)
    approve(tmp_path, "ann")
    world.sales.touch(product, price=Decimal("11"))
    apply(tmp_path, None, world.clients)
    rows = verified(world, tmp_path).select("outcome", "field", "before", "found", "wanted").rows()
    assert rows == [
        ("conflict", "name", "Name of P1", "Name of P1", "New"),
        ("conflict", "price", "10.5", "11", "12"),
    ]


def test_what_was_refused_says_so_and_counts_add_up(world, tmp_path):
    for number in ("P1", "P2"):
        world.item(number)
    world.sales.before = lambda verb, entity, row: (
        ConnectError("no price list", status=400) if row["productnumber"] == "P2" else None
    )
    made = verified(world, applied(world, tmp_path, "products"))
    refused = made.filter(pl.col("outcome") == "not_written")
    assert refused["key"].to_list() == ["P2"] and "no price list" in refused["reason"][0]
    (counts,) = outcomes_table(made).to_dicts()
    assert sum(counts[name] for name in OUTCOMES) == read_plan(tmp_path).actions().height


def test_nothing_is_told_of_a_plan_that_was_not_read_back(world, tmp_path):
    world.item("P1")
    applied(world, tmp_path, "products")
    with pytest.raises(PlanError, match="not read back yet"):
        read_verified(read_plan(tmp_path))
    verified(world, tmp_path)
    assert read_verified(read_plan(tmp_path))["outcome"].to_list() == ["verified"]
