"""What is sent, what is not, and that nothing is lost or doubled however the sending ends."""

import json
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_world import EACH, TEMPLATES, World

from p2c_lib.apply import Applied, apply, counts, journal_table
from p2c_lib.errors import ConnectError, LostAnswer, PermissionDenied, PlanError, ServiceError, SignInError
from p2c_lib.places import plan_folder
from p2c_lib.write import approve, plan


@pytest.fixture
def world():
    return World()


def ready(world, folder, *tasks):
    """Compare, plan, approve."""
    world.compare(folder, *tasks)
    plan(folder, templates=TEMPLATES, clients=world.clients)
    approve(folder, "ann")
    return folder


def lines(folder):
    return [json.loads(line) for line in (plan_folder(folder) / "journal.jsonl").read_bytes().splitlines()]


def outcomes(folder):
    return dict(journal_table(folder).select("key", "outcome").rows())


def once(error, key):
    """A hook that raises an error for one row, the first time it is asked."""
    left = [error]

    def hook(verb, entity, row):
        return left.pop() if left and key in row.values() else None

    return hook


class Killed(BaseException):
    """The process ends here."""


def test_created_rows_hold_exact_numbers_binds_and_the_company(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12345678901234.56"))
    world.account("A1", creditlimit=Decimal("0.1"))
    done = apply(ready(world, tmp_path, "products", "accounts"), None, world.clients)
    assert done == Applied(sent=2, created=2)
    product = world.sales.find("products", productnumber="P1")[0]
    assert product["price"] == Decimal("12345678901234.56")
    assert product["_defaultuomid_value"] == EACH
    assert product["msdynce_ismaintainedexternally"] is True
    customer = world.fno.find("CustomersV2", CustomerAccount="A1")[0]
    assert (customer["dataAreaId"], customer["CreditLimit"], customer["SalesMemo"]) == ("usmf", Decimal("0.1"), "")


def test_an_applied_plan_leaves_nothing_to_plan(world, tmp_path):
    world.item("P1")
    world.item("P2", SalesPrice=Decimal("12"))
    world.product("P2", name="old")
    world.contact("C1", world.account("A1"))
    tasks = ("products", "accounts", "contacts")
    apply(ready(world, tmp_path / "one", *tasks), None, world.clients)
    world.compare(tmp_path / "two", *tasks)
    assert plan(tmp_path / "two", templates=TEMPLATES, clients=world.clients).rows.is_empty()


def test_a_second_apply_sends_nothing(world, tmp_path):
    world.item("P1")
    world.item("P2", SalesPrice=Decimal("12"))
    world.product("P2")
    ready(world, tmp_path, "products")
    assert apply(tmp_path, None, world.clients) == Applied(sent=2, created=1, updated=1)
    calls = len(world.sales.calls)
    assert apply(tmp_path, None, world.clients) == Applied(already=2)
    assert len(world.sales.calls) == calls


def test_a_plan_that_nobody_approved_is_not_sent(world, tmp_path):
    world.item("P1")
    plan(world.compare(tmp_path, "products"), templates=TEMPLATES, clients=world.clients)
    with pytest.raises(PlanError, match="not approved"):
        apply(tmp_path, None, world.clients)
    assert world.sales.calls == []


def test_an_approval_of_other_content_does_not_count(world, tmp_path):
    world.item("P1")
    ready(world, tmp_path, "products")
    file = plan_folder(tmp_path) / "plan.json"
    saved = json.loads(file.read_text())
    saved["approved"]["hash"] = "0" * 64
    file.write_text(json.dumps(saved))
    with pytest.raises(PlanError, match="changed after ann approved it"):
        apply(tmp_path, None, world.clients)
    assert world.sales.calls == []


def test_a_plan_of_another_service_or_company_is_not_sent(world, tmp_path):
    world.item("P1")
    ready(world, tmp_path, "products")
    world.fno.company = "demf"
    with pytest.raises(PlanError, match="the company was usmf, now it is demf"):
        apply(tmp_path, None, world.clients)
    assert world.sales.calls == []


def test_a_row_changed_since_the_comparison_is_reported_not_overwritten(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"))
    product = world.product("P1")
    ready(world, tmp_path, "products")
    world.sales.touch(product, price=Decimal("11"))
    assert apply(tmp_path, None, world.clients) == Applied(sent=1, conflicts=1)
    assert product["price"] == Decimal("11")
    assert lines(tmp_path)[-1]["reason"] == "changed meanwhile"


def test_what_waits_behind_many_rows_that_changed_is_sent_all_the_same(world, tmp_path):
    numbers = [f"P{n:03}" for n in range(100)]
    for number in numbers:
        world.item(number, SalesPrice=Decimal("12"))
        world.product(number)
    ready(world, tmp_path, "products")
    for number in numbers[:80]:
        world.sales.touch(world.sales.find("products", productnumber=number)[0], price=Decimal("13"))
    done = apply(tmp_path, None, world.clients)
    assert (done.updated, done.conflicts, done.remaining) == (20, 80, 0)


def test_a_row_that_someone_else_put_right_is_no_conflict(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"))
    product = world.product("P1")
    ready(world, tmp_path, "products")
    world.sales.touch(product, price=Decimal("12"))
    assert apply(tmp_path, None, world.clients) == Applied(sent=1, already=1)


def test_a_row_deleted_meanwhile_is_a_conflict(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"))
    world.product("P1")
    ready(world, tmp_path, "products")
    world.sales.rows["products"].clear()
    assert apply(tmp_path, None, world.clients) == Applied(sent=1, conflicts=1)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        pytest.param({}, Applied(already=1), id="just as wanted"),
        pytest.param({"name": "Another"}, Applied(conflicts=1), id="with other values"),
    ],
)
def test_a_product_made_meanwhile_is_not_made_twice(world, tmp_path, theirs, expected):
    world.item("P1")  # Sales keeps no key on the product number
    ready(world, tmp_path, "products")
    world.product("P1", **theirs)
    assert apply(tmp_path, None, world.clients) == expected
    assert len(world.sales.find("products", productnumber="P1")) == 1


def test_a_customer_made_meanwhile_is_a_conflict_although_the_service_only_says_400(world, tmp_path):
    world.account("A1")
    ready(world, tmp_path, "accounts")
    world.customer("A1", OrganizationName="Another")
    assert apply(tmp_path, None, world.clients) == Applied(sent=1, conflicts=1)


@pytest.mark.parametrize("system", ["sales", "fno"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_a_create_whose_answer_is_lost_is_made_exactly_once(world, tmp_path, system, done):
    world.item("P1")
    world.account("P1")
    task, entity = {"sales": ("products", "products"), "fno": ("accounts", "CustomersV2")}[system]
    ready(world, tmp_path, task)
    client = world.clients[system]
    hook = once(LostAnswer("lost"), "P1")
    client.after, client.before = (hook, client.before) if done else (client.after, hook)
    assert apply(tmp_path, None, world.clients) == Applied(sent=1 if done else 2, created=1)
    assert len(client.rows[entity]) == 1
    assert apply(tmp_path, None, world.clients) == Applied(already=1)


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_an_update_whose_answer_is_lost_is_read_again(world, tmp_path, done):
    world.item("P1", SalesPrice=Decimal("12"))
    product = world.product("P1")
    ready(world, tmp_path, "products")
    hook = once(LostAnswer("lost"), Decimal("12"))
    if done:
        world.sales.after = hook
    else:
        world.sales.before = hook
    assert apply(tmp_path, None, world.clients) == Applied(sent=1 if done else 2, updated=1)
    assert product["price"] == Decimal("12")


def test_a_text_that_was_cut_off_before_is_not_taken_for_one_that_was_written(world, tmp_path):
    memo = "a memo that the destination holds only in part"
    world.account("A1", description=memo)
    customer = world.customer("A1", SalesMemo=memo[:25])
    ready(world, tmp_path, "accounts")
    world.fno.before = once(LostAnswer("lost"), memo)
    assert apply(tmp_path, None, world.clients) == Applied(sent=2, updated=1)
    assert customer["SalesMemo"] == memo


def test_a_cut_text_in_a_row_that_someone_else_changed_is_still_a_conflict(world, tmp_path):
    memo = "a memo that the destination holds only in part"
    world.account("A1", description=memo)
    customer = world.customer("A1", SalesMemo=memo[:25])
    ready(world, tmp_path, "accounts")
    world.fno.touch(customer, CreditRating="B")
    assert apply(tmp_path, None, world.clients) == Applied(sent=1, conflicts=1)


def test_a_create_that_got_lost_late_is_not_doubled_by_its_repetition(world, tmp_path):
    """The first call arrives only after the look-up found nothing: its id is taken, so the second is refused."""
    world.item("P1")
    ready(world, tmp_path, "products")
    late = []

    def hook(verb, entity, row):
        if not late:
            late.append(row)
            return LostAnswer("lost")
        world.sales._create(entity, late[0])
        return None

    world.sales.before = hook
    assert apply(tmp_path, None, world.clients) == Applied(sent=2, created=1)
    assert len(world.sales.find("products", productnumber="P1")) == 1


def test_one_refused_row_does_not_stop_the_others(world, tmp_path):
    for number in ("P1", "P2", "P3"):
        world.item(number)
    ready(world, tmp_path, "products")
    world.sales.before = once(ConnectError("A validation error occurred.", status=400), "P2")
    assert apply(tmp_path, None, world.clients) == Applied(sent=3, created=2, failed=1)
    assert outcomes(tmp_path) == {"P1": "created", "P2": "failed", "P3": "created"}
    assert any("validation error" in line.get("error", "") for line in lines(tmp_path))


def test_a_row_that_the_service_could_not_take_waits_for_the_next_apply(world, tmp_path):
    world.item("P1")
    ready(world, tmp_path, "products")
    world.sales.before = once(ServiceError("unavailable", status=503), "P1")
    assert apply(tmp_path, None, world.clients) == Applied(sent=1, remaining=1)
    assert apply(tmp_path, None, world.clients) == Applied(sent=1, created=1)


@pytest.mark.parametrize("error", [PermissionDenied("no", status=403), SignInError("no", status=401)])
def test_a_refusal_at_the_door_stops_the_run_and_the_next_apply_goes_on(world, tmp_path, error):
    for number in range(60):
        world.item(f"P{number:02}")
    ready(world, tmp_path, "products")
    world.sales.before = lambda verb, entity, row: error
    with pytest.raises(type(error)):
        apply(tmp_path, None, world.clients)
    assert len(world.sales.calls) < 60
    world.sales.before = lambda verb, entity, row: None
    assert apply(tmp_path, None, world.clients).created == 60


def test_a_child_of_a_parent_that_failed_is_held_until_the_parent_is_there(world, tmp_path):
    world.contact("C1", world.account("A1"))
    ready(world, tmp_path, "accounts", "contacts")
    world.fno.before = once(ServiceError("unavailable", status=503), "A1")
    assert apply(tmp_path, None, world.clients) == Applied(sent=1, remaining=1, held=1)
    assert apply(tmp_path, None, world.clients) == Applied(sent=2, created=2)


def test_held_rows_are_counted(world, tmp_path):
    world.item("P1", SalesUnitSymbol="dozen")
    world.item("P2")
    assert apply(ready(world, tmp_path, "products"), None, world.clients) == Applied(sent=1, created=1, held=1)


def test_the_intent_is_on_disk_before_the_row_is_sent(world, tmp_path):
    world.item("P1")
    ready(world, tmp_path, "products")
    seen = []
    world.sales.before = lambda verb, entity, row: seen.extend(lines(tmp_path))
    apply(tmp_path, None, world.clients)
    (intent,) = seen
    assert (intent["phase"], intent["key"], intent["after"]["price"]) == ("intent", "P1", "10.5")
    after = lines(tmp_path)[-1]
    assert (after["phase"], after["outcome"], after["attempt"]) == ("answer", "created", 1)
    assert after["etag"]


def test_every_update_has_before_and_after_in_the_journal(world, tmp_path):
    world.item("P1", SalesPrice=Decimal("12"))
    world.product("P1")
    apply(ready(world, tmp_path, "products"), None, world.clients)
    intent = lines(tmp_path)[0]
    assert (intent["before"], intent["after"]) == ({"price": "10.5"}, {"price": "12"})


def test_a_half_written_last_line_is_cut_off(world, tmp_path):
    world.item("P1")
    ready(world, tmp_path, "products")
    apply(tmp_path, None, world.clients)
    journal = plan_folder(tmp_path) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])  # the answer is lost, the intent is whole
    assert apply(tmp_path, None, world.clients) == Applied(already=1)
    assert len(lines(tmp_path)) == 2
    assert len(world.sales.find("products", productnumber="P1")) == 1


@pytest.mark.parametrize("task", ["accounts", "products"])
def test_a_call_in_doubt_that_was_done_is_looked_up_and_not_sent_again(world, tmp_path, task):
    world.account("A1")  # a create
    world.item("P1", SalesPrice=Decimal("12"))  # an update
    world.product("P1")
    ready(world, tmp_path, task)
    apply(tmp_path, None, world.clients)
    journal = plan_folder(tmp_path) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    assert apply(tmp_path, None, world.clients) == Applied(already=1)


def test_a_lost_answer_has_its_own_line_and_the_repetition_counts_as_second_attempt(world, tmp_path):
    world.item("P1")
    ready(world, tmp_path, "products")
    world.sales.before = once(LostAnswer("lost"), "P1")
    apply(tmp_path, None, world.clients)
    told = [(line["phase"], line.get("outcome"), line["attempt"]) for line in lines(tmp_path)]
    assert told == [("intent", None, 1), ("answer", "doubt", 1), ("intent", None, 2), ("answer", "created", 2)]


def test_a_journal_broken_in_the_middle_is_refused(world, tmp_path):
    world.item("P1")
    apply(ready(world, tmp_path, "products"), None, world.clients)
    journal = plan_folder(tmp_path) / "journal.jsonl"
    journal.write_bytes(b'{"half": \n' + journal.read_bytes())
    with pytest.raises(PlanError, match="line 1 is not whole"):
        apply(tmp_path, None, world.clients)


def test_a_plan_that_is_being_sent_cannot_be_replaced(world, tmp_path):
    world.item("P1")
    apply(ready(world, tmp_path, "products"), None, world.clients)
    world.item("P2")
    world.compare(tmp_path, "products")
    with pytest.raises(PlanError, match="cannot be replaced"):
        plan(tmp_path, templates=TEMPLATES, clients=world.clients)


def test_two_processes_cannot_send_one_plan(world, tmp_path):
    world.item("P1")
    ready(world, tmp_path, "products")
    inner = []

    def hook(verb, entity, row):
        with pytest.raises(PlanError, match="another process") as caught:
            apply(tmp_path, None, world.clients)
        inner.append(caught)
        return None

    world.sales.before = hook
    assert apply(tmp_path, None, world.clients).created == 1
    assert len(inner) == 1


def test_progress_ends_at_the_number_of_actions(world, tmp_path):
    for number in ("P1", "P2"):
        world.item(number)
    seen = []
    apply(
        ready(world, tmp_path, "products"), None, world.clients, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (2, 2)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kills=st.lists(st.integers(0, 11), max_size=3),
    late=st.booleans(),
    cut=st.integers(0, 200),
)
def test_killed_anywhere_and_run_again_the_end_is_the_same(tmp_path_factory, kills, late, cut):
    """Kill: an error that nobody catches leaves the sender, before or after the work; then the journal's tail is torn
    off as far as a power cut may have taken it (answers only: intents are on disk before anything is sent)."""
    world, folder = World(), tmp_path_factory.mktemp("run")
    for number in range(6):
        world.item(f"P{number}")
        world.account(f"A{number}")
    world.item("Q", SalesPrice=Decimal("12"))
    changed = world.product("Q")
    ready(world, folder, "products", "accounts")
    for at in kills:
        state = {"left": at}

        def hook(verb, entity, row, state=state):
            state["left"] -= 1
            return Killed() if state["left"] == -1 else None

        for client in world.clients.values():
            client.before, client.after = (lambda *_: None, hook) if late else (hook, lambda *_: None)
        try:
            apply(folder, None, world.clients)
        except Killed:
            tear(plan_folder(folder) / "journal.jsonl", cut)
    for client in world.clients.values():
        client.before = client.after = lambda *_: None
    apply(folder, None, world.clients)
    assert sorted(row["productnumber"] for row in world.sales.rows["products"]) == [*(f"P{n}" for n in range(6)), "Q"]
    assert sorted(row["CustomerAccount"] for row in world.fno.rows["CustomersV2"]) == [f"A{n}" for n in range(6)]
    assert changed["price"] == Decimal("12")
    assert apply(folder, None, world.clients) == Applied(already=13)


def tear(journal, cut):
    text = journal.read_bytes()
    for _ in range(cut):
        if b'"phase":"intent"' in text[text.rfind(b"\n", 0, -1) + 1 :]:
            break
        text = text[:-1]
    journal.write_bytes(text)


def test_counts_name_every_figure():
    assert list(counts(Applied(sent=3))) == [
        "sent",
        "created",
        "updated",
        "conflicts",
        "failed",
        "already",
        "held",
        "remaining",
        "deleted",
    ]
