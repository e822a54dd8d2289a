"""The way back: what was created goes, what was updated gets back what stood there, what others changed stays."""

from decimal import Decimal

import polars as pl
import pytest
from pair import DOCUMENTS, MASTERS, Pair
from plan_world import TEMPLATES, World
from polars.testing import assert_frame_equal

from p2c_lib.apply import apply
from p2c_lib.errors import PlanError
from p2c_lib.model import find_task
from p2c_lib.places import plan_folder, working_folder
from p2c_lib.pull import pull
from p2c_lib.sandbox import lifecycle
from p2c_lib.undo import undo
from p2c_lib.verify import verify
from p2c_lib.write import approve, plan, read_plan


@pytest.fixture
def world():
    return World()


def applied(world, folder, *tasks):
    world.compare(folder, *tasks)
    plan(folder, templates=TEMPLATES, clients=world.clients)
    return sent(world, folder)


def sent(world, folder):
    approve(folder, "ann")
    done = apply(folder, None, world.clients)
    verify(folder, templates=TEMPLATES, clients=world.clients)
    return done


def undone(world, folder):
    return undo(folder, templates=TEMPLATES, clients=world.clients)


def test_updates_get_back_what_stood_there_and_creates_go(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"), ProductName="New")
    product = world.product("P1", description="old")
    before = {name: value for name, value in product.items() if name != "@odata.etag"}
    world.item("P2")
    applied(world, tmp_path, "products")
    assert product["price"] == Decimal("12") and len(world.sales.rows["products"]) == 2
    made = undone(world, tmp_path)
    assert made.refused.is_empty()
    assert made.plan.actions().select("action", "key").rows() == [("update", "P1"), ("delete", "P2")]
    assert read_plan(made.folder).approved is None
    done = sent(world, made.folder)
    assert (done.updated, done.deleted, done.conflicts) == (1, 1, 0)
    (left,) = world.sales.rows["products"]
    assert {name: value for name, value in left.items() if name != "@odata.etag"} == before


def test_nothing_is_undone_without_an_approval_of_its_own(world, tmp_path):
    world.item("P1")
    applied(world, tmp_path, "products")
    made = undone(world, tmp_path)
    with pytest.raises(PlanError, match="not approved"):
        apply(made.folder, None, world.clients)
    assert len(world.sales.rows["products"]) == 1


def test_a_row_changed_since_is_left_alone_and_listed_with_all_three_values(world, tmp_path):
    for number in ("P1", "P2"):
        world.item(number, SalesPrice=Decimal("12"))
        world.product(number)
    applied(world, tmp_path, "products")
    mine = world.sales.find("products", productnumber="P1")[0]
    world.sales.touch(mine, price=Decimal("13"))
    made = undone(world, tmp_path)
    assert made.refused.rows() == [
        ("products", "update", "P1", "changed since it was written", "price", "10.5", "12", "13")
    ]
    assert made.plan.actions()["key"].to_list() == ["P2"]
    assert made.plan.left_out.rows() == [("products", "not undone", "changed since it was written", 1)]


def test_a_created_row_that_somebody_went_on_with_is_not_deleted(world, tmp_path):
    world.item("P1")
    applied(world, tmp_path, "products")
    world.sales.touch(world.sales.find("products", productnumber="P1")[0], vendorname="Ann's")
    made = undone(world, tmp_path)
    assert made.plan.rows.is_empty()
    assert made.refused.select("key", "reason", "field").rows() == [("P1", "changed since it was written", None)]


def test_a_row_that_somebody_else_made_is_not_deleted(world, tmp_path):
    world.item("P1")
    world.compare(tmp_path, "products")
    plan(tmp_path, templates=TEMPLATES, clients=world.clients)
    world.product("P1")  # just as wanted
    world.item("P2")
    sent(world, tmp_path)
    with pytest.raises(PlanError, match="nothing of this plan was sent"):
        undone(world, tmp_path)


def test_children_go_before_their_parents_and_a_parent_that_is_needed_stays(world, tmp_path):
    world.contact("C1", world.account("A1"))
    world.account("A2")
    applied(world, tmp_path, "accounts", "contacts")
    world.fno.add("CDSContactPersons", dataAreaId="usmf", ContactPersonPartyNumber="X", AssociatedPartyNumber="A2")
    made = undone(world, tmp_path)
    told = made.plan.actions().select("action", "key", pl.col("held").str.contains("refer to it").fill_null(False))
    assert told.rows() == [("delete", "C1", False), ("delete", "A1", False), ("delete", "A2", True)]
    sent(world, made.folder)
    assert [row["CustomerAccount"] for row in world.fno.rows["CustomersV2"]] == ["A2"]


def test_a_lookup_goes_back_to_the_row_it_pointed_to_and_not_to_its_namesake(world, tmp_path):
    other = world.sales.add("transactioncurrencies", isocurrencycode="EUR", currencyprecision=2)
    world.item("P1")
    product = world.product("P1", _transactioncurrencyid_value=other["transactioncurrencyid"])
    applied(world, tmp_path, "products")
    assert product["_transactioncurrencyid_value"] != other["transactioncurrencyid"]
    world.sales.add("transactioncurrencies", isocurrencycode="EUR", currencyprecision=2)  # now there are two of it
    sent(world, undone(world, tmp_path).folder)
    assert product["_transactioncurrencyid_value"] == other["transactioncurrencyid"]


def test_nothing_is_undone_as_long_as_rows_are_in_doubt(world, tmp_path):
    world.item("P1")
    applied(world, tmp_path, "products")
    journal = plan_folder(tmp_path) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(PlanError, match="of 1 rows it is not known whether they were written; find out: p2c apply"):
        undone(world, tmp_path)
    sent(world, tmp_path)
    assert undone(world, tmp_path).plan.actions()["action"].to_list() == ["delete"]


def test_an_undo_can_be_undone(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"))
    product = world.product("P1")
    applied(world, tmp_path, "products")
    first = undone(world, tmp_path).folder
    sent(world, first)
    assert product["price"] == Decimal("10.5")
    sent(world, undone(world, first).folder)
    assert product["price"] == Decimal("12")


def test_a_plan_of_the_way_back_that_was_not_sent_is_made_anew(world, tmp_path):
    world.item("P1")
    applied(world, tmp_path, "products")
    assert undone(world, tmp_path).folder == undone(world, tmp_path).folder == tmp_path / "undo" / "1"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    counts = {"accounts": 60, "contacts": 50, "products": 30, "orders": 20}
    with_drift = Pair(tmp_path_factory.mktemp("undo"), drift=True, counts=counts)
    yield with_drift
    lifecycle.stop(with_drift.folder)


def snapshot(clients):
    """Every column that a template writes or compares, of every row of every set that one writes to."""
    found = {}
    for task in (find_task(name, TEMPLATES) for name in [*MASTERS, *DOCUMENTS]):
        columns = [f.destination for f in task.fields if f.is_compared]
        freight = ["msdynce_ismisctax"] if task.name in LINES else []
        rows = pull(clients[task.destination.system], task.destination.entity, [*columns, *freight])
        found[task.name] = rows.drop("@odata.etag").sort(pl.all())
    return found


# Lines that come to Sales, and the column that leads a Freight Tax line of Sales' own to its document.
LINES = {"order_lines_to_sales": "salesorderid.ordernumber", "invoice_lines": "invoiceid.invoicenumber"}
# What Sales works out by itself, of a document that it had not worked out by its own rules before.
WORKED_OUT = ["totalamount", "totaltax", "totaldiscountamount"]


def test_undoing_a_mixed_plan_restores_both_systems_but_for_what_it_lists(pair):
    run = pair.run("run", tasks=[*MASTERS, *DOCUMENTS])
    with pair.clients() as clients:
        before = snapshot(clients)
        made = plan(run, templates=TEMPLATES, clients=clients)
        approve(run, "ann")
        assert apply(run, None, clients).remaining == 0
        written = verify(run, templates=TEMPLATES, clients=clients)
        assert set(written["outcome"]) == {"verified"}
        changed = made.rows.filter((pl.col("task") == "accounts") & (pl.col("action") == "update")).row(0, named=True)
        held = made.rows.filter((pl.col("task") == "accounts") & (pl.col("action") == "create")).row(0, named=True)
        for row in (changed, held):
            key = {"dataAreaId": "usmf", "CustomerAccount": row["key"]}
            clients["fno"].update("CustomersV2", key, {"CreditRating": "B"}, None)
        back = undo(run, templates=TEMPLATES, clients=clients)
        listed = back.refused.filter(pl.col("reason") == "changed since it was written")
        assert set(listed.select("task", "key").rows()) == {("accounts", changed["key"]), ("accounts", held["key"])}
        approve(back.folder, "ann")
        done = apply(back.folder, None, clients)
        assert (done.conflicts, done.failed, done.remaining) == (0, 0, 0)
        assert set(verify(back.folder, templates=TEMPLATES, clients=clients)["outcome"]) == {"verified"}
        after = snapshot(clients)

    assert {name: after[name].height - rows.height for name, rows in before.items() if name not in LINES} == {
        name: int("CustomerAccount" in rows.columns)  # accounts and contacts that buy stand in one set
        for name, rows in before.items()
        if name not in LINES
    }
    others = back.refused.filter(pl.col("reason") != "changed since it was written")
    assert set(others["task"]) <= {"order_headers_to_sales", "invoice_headers"} and others["key"].is_not_null().all()
    for name, rows in before.items():
        there = after[name]
        if "CustomerAccount" in rows.columns:
            mine = ~pl.col("CustomerAccount").is_in([changed["key"], held["key"]])
            rows, there = rows.filter(mine), there.filter(mine)
        if name in ("order_headers_to_sales", "invoice_headers"):
            number = "ordernumber" if name == "order_headers_to_sales" else "invoicenumber"
            odd = pl.col(number).is_in(others.filter(pl.col("task") == name)["key"].implode())
            rows, there = (
                side.with_columns(
                    pl.when(~odd).then(column).alias(column) for column in WORKED_OUT if column in rows.columns
                ).sort(pl.all())
                for side in (rows, there)
            )
        if name in LINES:
            odd = pl.col(LINES[name]).is_in(others["key"].implode()).fill_null(False) & pl.col("msdynce_ismisctax")
            rows, there = (side.filter(~odd.fill_null(False)) for side in (rows, there))
        assert_frame_equal(there, rows)


def test_documents_that_sales_had_not_worked_out_are_listed_with_their_totals(pair):
    """The test above leaves out of its comparison what is listed: here is that this is little, and told with why."""
    ties = pl.read_parquet(pair.folder / "run" / "ties.parquet")
    told = pl.read_parquet(working_folder(pair.folder / "run" / "undo" / "1") / "refused.parquet")
    told = told.filter(pl.col("reason") != "changed since it was written")
    off = ties.filter(pl.col("task").is_in(list(LINES)) & ~pl.col("difference_found").is_in([0]).fill_null(True))
    freight = ties.filter(pl.col("freight_tax").is_not_null())
    assert 0 < told.height <= off.height + freight.height < ties.height / 2
    totals = dict(ties.filter(pl.col("task").is_in(list(LINES))).select("document", "total_found").iter_rows())
    assert [Decimal(row["before"]) for row in told.iter_rows(named=True)] == [totals[key] for key in told["key"]]
    assert told["reason"].str.contains("did not follow from").all()
