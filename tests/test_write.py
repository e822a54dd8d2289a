"""What a plan holds, what it holds back, and that nobody can change it after it was approved."""

import json
from decimal import Decimal

import plan_world
import polars as pl
import pytest
from plan_world import BOX, EACH, TEMPLATES, World

from p2c_lib import stale
from p2c_lib.apply import Applied, apply
from p2c_lib.errors import ConnectError, LostAnswer, PlanError
from p2c_lib.model import all_tasks, load_templates
from p2c_lib.places import plan_folder
from p2c_lib.undo import undo
from p2c_lib.verify import verify
from p2c_lib.write import Wanted, approve, costs, plan, plan_table, read_list, read_plan


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
    read_plan(tmp_path)  # that it was found whole once says nothing of what it is later
    file = plan_folder(tmp_path) / "plan.parquet"
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


def chosen(made):
    """Keys of what would be sent."""
    return made.sendable()["key"].unique(maintain_order=True).to_list()


@pytest.fixture
def many(world, tmp_path):
    """A plan of two products, an account and its contact, one product with a price alone."""
    world.item("P1", SalesPrice=Decimal("100"))
    world.item("P2", SalesPrice=Decimal("12"))
    world.product("P2")
    world.contact("C1", world.account("A1"))
    planned(world, tmp_path, "products", "accounts", "contacts")
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (Wanted(tasks=["products"]), ["P1", "P2"]),
        (Wanted(keys=["A1", "P2"]), ["P2", "A1"]),
        (Wanted(fields=["price"]), ["P2"]),
        (Wanted(max_amount=Decimal("1.5")), ["P2", "C1"]),
        (Wanted(max_amount=Decimal("1.49")), ["C1"]),
        (Wanted(reasons=["missing"], tasks=["products"]), ["P1"]),
        (Wanted(rows=pl.DataFrame({"task": ["accounts"], "key": ["A1"]})), ["A1"]),
    ],
    ids=lambda one: one.says() if isinstance(one, Wanted) else "",
)
def test_a_plan_is_approved_in_part_by_what_is_named(many, wanted, keys):
    made = approve(many, "ann", wanted)
    assert chosen(made) == chosen(read_plan(many)) == keys
    assert made.approved["steps"][-1]["what"] == wanted.says()


def test_what_was_not_approved_stays_visible_and_can_be_approved_later(many):
    approve(many, "ann", Wanted(tasks=["products"]))
    table = plan_table(read_plan(many)).select("task", "rows", "approved").rows()
    assert table == [("products", 1, 1), ("products", 1, 1), ("accounts", 1, 0), ("contacts", 1, 0)]
    made = approve(many, "bob", Wanted(tasks=["accounts"]))
    assert chosen(made) == ["P1", "P2", "A1"]
    assert [step["by"] for step in made.approved["steps"]] == ["ann", "bob"]
    assert chosen(approve(many, "bob")) == ["P1", "P2", "A1", "C1"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(tasks=["product"]), "the task product; did you mean products"),
        (Wanted(keys=["P9"]), "the key P9"),
        (Wanted(fields=["prise"]), "did you mean price"),
        (Wanted(reasons=["late"]), "the reason late"),
        (Wanted(tasks=["accounts"], fields=["price"]), "no action of the plan is meant"),
        (Wanted(rows=pl.DataFrame({"task": ["accounts"], "key": ["P1"]})), "1 rows of the list are not in this plan"),
    ],
)
def test_an_approval_of_what_is_not_there_is_refused(many, wanted, words):
    with pytest.raises(PlanError, match=words):
        approve(many, "ann", wanted)
    assert read_plan(many).approved is None


def test_a_list_without_the_columns_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("tasks,key\naccounts,A1\n")
    with pytest.raises(PlanError, match="no column task; it must have the columns task and key"):
        read_list(path)
    path.write_text("task,key,amount\naccounts,007,1\naccounts,007,2\n")
    assert read_list(path).rows() == [("accounts", "007")]


def test_a_changed_list_of_approved_actions_is_noticed(many):
    approve(many, "ann", Wanted(tasks=["products"]))
    orders = pl.DataFrame({"order": [0, 1, 2]}, schema={"order": pl.UInt32})
    orders.write_parquet(plan_folder(many) / "approved.parquet")
    with pytest.raises(PlanError, match="changed after ann approved it"):
        read_plan(many)
    (plan_folder(many) / "approved.parquet").unlink()
    with pytest.raises(PlanError, match="approve the plan again"):
        read_plan(many)
    assert chosen(approve(many, "bob", Wanted(tasks=["accounts"]))) == ["A1"]  # the approval that was changed is void


@pytest.mark.parametrize("change", [{"rows": None}, {"by": "bob"}, {"actions": 4}])
def test_a_changed_approval_is_noticed(many, change):
    approve(many, "ann", Wanted(tasks=["products"]))
    file = plan_folder(many) / "plan.json"
    saved = json.loads(file.read_text())
    saved["approved"] |= change
    file.write_text(json.dumps(saved))
    with pytest.raises(PlanError, match="approval was changed after it was given"):
        read_plan(many)


def test_only_approved_actions_are_sent_and_children_of_the_others_wait(world, many):
    approve(many, "ann", Wanted(tasks=["products", "contacts"]))
    done = apply(many, None, world.clients)
    assert (done.created, done.updated, done.held) == (1, 1, 2)
    assert world.fno.rows.get("CDSContactPersons", []) == [] and "CustomersV2" not in world.fno.rows
    assert "its parent is not approved" in (plan_folder(many) / "journal.jsonl").read_text()
    approve(many, "bob", Wanted(tasks=["accounts"]))
    assert apply(many, None, world.clients).created == 2


def test_extra_rows_are_deleted_only_when_their_task_is_named(world, tmp_path):
    world.customer("A9")
    world.compare(tmp_path, "accounts")
    made = plan(tmp_path, templates=TEMPLATES, clients=world.clients, delete=["accounts"])
    assert made.actions().select("action", "key", "held").rows() == [("delete", "A9", None)]
    assert made.left_out.is_empty()
    assert fields(made, "A9")["OrganizationName"]["before"] == "Firm A9"
    approve(tmp_path, "ann")
    assert apply(tmp_path, None, world.clients).deleted == 1
    assert world.fno.rows["CustomersV2"] == []
    intent = json.loads((plan_folder(tmp_path) / "journal.jsonl").read_text().splitlines()[0])
    assert intent["before"]["OrganizationName"] == "Firm A9"


def test_a_row_that_is_gone_already_needs_no_deletion_and_one_that_was_changed_is_left_alone(world, tmp_path):
    gone, changed = world.customer("A8"), world.customer("A9")
    world.compare(tmp_path, "accounts")
    plan(tmp_path, templates=TEMPLATES, clients=world.clients, delete=["accounts"])
    approve(tmp_path, "ann")
    world.fno.rows["CustomersV2"].remove(gone)
    world.fno.touch(changed, CreditRating="B")
    done = apply(tmp_path, None, world.clients)
    assert (done.already, done.conflicts, done.deleted) == (1, 1, 0)
    assert world.fno.rows["CustomersV2"] == [changed]


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_a_deletion_whose_answer_is_lost_is_looked_up(world, tmp_path, done):
    world.customer("A9")
    world.compare(tmp_path, "accounts")
    plan(tmp_path, templates=TEMPLATES, clients=world.clients, delete=["accounts"])
    approve(tmp_path, "ann")
    left = [LostAnswer("lost")]
    hook = lambda verb, entity, row: left.pop() if left else None  # noqa: E731
    world.fno.after, world.fno.before = (hook, world.fno.before) if done else (world.fno.after, hook)
    assert apply(tmp_path, None, world.clients) == Applied(sent=1 if done else 2, deleted=1)
    assert world.fno.rows["CustomersV2"] == []
    assert apply(tmp_path, None, world.clients) == Applied(already=1)


def test_children_are_deleted_before_their_parents_and_a_needed_parent_is_held(world, tmp_path):
    world.customer("A8")
    world.customer("A9")
    for number, party in (("C1", "A8"), ("C2", "A9")):
        world.fno.add(
            "CDSContactPersons", dataAreaId="usmf", ContactPersonPartyNumber=number, AssociatedPartyNumber=party,
            IsContactPersonExternallyMaintained="Yes" if number == "C1" else "No",
        )  # fmt: skip
    world.compare(tmp_path, "accounts", "contacts")
    made = plan(tmp_path, templates=TEMPLATES, clients=world.clients, delete=["accounts", "contacts"])
    told = made.actions().select("key", pl.col("held").str.slice(0, 34)).rows()
    assert told == [("C1", None), ("A8", None), ("A9", "rows of CDSContactPersons refer to")]


def test_rows_are_switched_off_where_their_set_has_a_switch_and_held_where_it_has_none(world, tmp_path):
    product = world.product("P9", statecode=0)
    world.customer("A9")
    world.compare(tmp_path, "products", "accounts")
    made = plan(tmp_path, templates=TEMPLATES, clients=world.clients, deactivate=["products", "accounts"])
    told = made.rows.select("key", "action", "field", "before", "after", pl.col("held").str.slice(0, 27)).rows()
    assert told == [
        ("A9", "deactivate", None, None, None, "rows of CustomersV2 have no"),
        ("P9", "deactivate", "statecode", "0", "1", None),
    ]
    approve(tmp_path, "ann")
    assert apply(tmp_path, None, world.clients).updated == 1
    assert product["statecode"] == 1


def test_a_name_that_is_no_task_of_the_plan_deletes_nothing(world, tmp_path):
    world.compare(tmp_path, "accounts")
    with pytest.raises(PlanError, match="--delete products: not among the tasks of this plan"):
        plan(tmp_path, templates=TEMPLATES, clients=world.clients, delete=["products"])


def test_a_plan_compared_by_other_rules_is_refused_with_what_was_changed(world, tmp_path):
    world.item("P1")
    made = planned(world, tmp_path, "products")
    stale.check_templates(tmp_path, made, TEMPLATES)
    text = "overlay: x\ntasks: {products: {fields: {price: {tolerance: '0.5'}, description: drop}}}\n"
    (tmp_path / "site.yaml").write_text(text)
    words = r'fields description was taken away; fields price\.tolerance was "0", is "0\.5"'
    with pytest.raises(PlanError, match=words):
        stale.check_templates(tmp_path, made, load_templates([tmp_path / "site.yaml"]))


def test_rows_changed_since_they_were_compared_are_named_when_asked_for(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"))
    world.item("P2")
    product = world.product("P1")
    made = planned(world, tmp_path, "products")
    stale.check_rows(tmp_path, made, world.clients)
    world.sales.touch(product, price=Decimal("11"))
    world.product("P2")
    words = r"P2: a row with this key.*P1: changed since it was compared \(price was 10\.5, is 11, was to be 12\)"
    with pytest.raises(PlanError, match=words):
        stale.check_rows(tmp_path, made, world.clients)
    assert pl.read_parquet(plan_folder(tmp_path) / "stale.parquet").height == 2


def test_a_plan_says_by_which_channel_in_how_many_calls_and_how_long(world, tmp_path):
    for number in range(120):
        world.item(f"P{number:03}")
    world.account("A1")
    made = planned(world, tmp_path, "products", "accounts")
    world.sales.said["sdkmessagefilters"] = {"value": [{"sdkmessagefilterid": "1"}]}
    table = plan_table(made, costs(made, world.clients))
    assert table.select("task", "rows", "channel").rows() == [
        ("products", 120, "multiple"), ("accounts", 1, "single")
    ]  # fmt: skip
    assert table["calls"].to_list() == [3, 1] and table["seconds"].null_count() == 0  # three at once, forty each
    forced = costs(made, world.clients, "single")
    assert forced["calls"].to_list() == [120, 1]


CYCLE = """overlay: x
tasks:
  accounts:
    fields:
      InvoiceAccount:
        add: true
        source: parentaccountid.accountnumber
        parent: {entity: CustomersV2, column: CustomerAccount, task: accounts}
"""


@pytest.fixture
def payers(world, tmp_path, monkeypatch):
    """Two accounts that pay for each other, and one whose payer nobody knows, by a site's own field."""
    (tmp_path / "site.yaml").write_text(CYCLE)
    templates = load_templates([tmp_path / "site.yaml"])
    monkeypatch.setattr(plan_world, "TEMPLATES", templates)
    one, two = world.account("A1"), world.account("A2")
    one["_parentaccountid_value"], two["_parentaccountid_value"] = two["accountid"], one["accountid"]
    world.account("A3", _parentaccountid_value=world.account("")["accountid"])
    world.compare(tmp_path, "accounts")
    plan(tmp_path, templates=templates, clients=world.clients)
    approve(tmp_path, "ann")
    return tmp_path


def test_lookups_that_form_a_cycle_are_given_in_a_second_pass(world, payers):
    made = read_plan(payers)
    assert made.actions().select("action", "key", "fields").rows() == [
        ("create", "A1", 30), ("create", "A2", 30), ("update", "A1", 1), ("update", "A2", 1)
    ]  # fmt: skip
    done = apply(payers, None, world.clients)
    assert (done.created, done.updated, done.conflicts, done.failed) == (2, 2, 0, 0)
    payers_of = {row["CustomerAccount"]: row["InvoiceAccount"] for row in world.fno.rows["CustomersV2"]}
    assert payers_of == {"A1": "A2", "A2": "A1"}
    assert apply(payers, None, world.clients).sent == 0
    assert set(verify(payers, templates=plan_world.TEMPLATES, clients=world.clients)["outcome"]) == {"verified"}
    back = undo(payers, templates=plan_world.TEMPLATES, clients=world.clients)
    assert back.plan.actions()["action"].to_list() == ["delete", "delete"]


def test_the_second_pass_waits_for_a_row_that_could_not_be_made(world, payers):
    world.fno.before = lambda verb, entity, row: (
        ConnectError("no", status=400) if verb == "create" and row["CustomerAccount"] == "A2" else None
    )
    done = apply(payers, None, world.clients)
    assert (done.created, done.failed, done.held, done.updated) == (1, 1, 2, 0)
    world.fno.before = lambda verb, entity, row: None
    done = apply(payers, None, world.clients, only=pl.Series([0, 1, 2, 3], dtype=pl.UInt32))
    assert (done.created, done.updated) == (1, 2)


def test_no_shipped_template_needs_a_second_pass():
    for route in ("direct", "cds"):
        tasks = all_tasks(load_templates(route=route))
        place = {task.name: number for number, task in enumerate(tasks)}
        for task in tasks:
            parents = {parent.task for field in task.fields for parent in field.parent if parent.task}
            assert all(place[parent] < place[task.name] for parent in parents if parent in place), task.name
