"""A load: what it would send, what it sends, what it leaves alone, and that it sends nothing twice."""

from __future__ import annotations

import json
from dataclasses import replace

import nbformat
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import Pair
from typer.testing import CliRunner

from p2c_lib import apply as applying
from p2c_lib import execution, load_notebook, load_ranges
from p2c_lib.cli import app
from p2c_lib.connect import Client
from p2c_lib.errors import ConnectError, ParameterError, PlanError, SandboxError
from p2c_lib.load import run_load
from p2c_lib.load_plan import Load, approve, load_table, read_load, survey
from p2c_lib.load_ranges import parts_of
from p2c_lib.load_report import left_table, outcome_table, words
from p2c_lib.model import all_tasks, find_task, load_templates
from p2c_lib.places import tasks_folder
from p2c_lib.pull import pull
from p2c_lib.sandbox import lifecycle
from p2c_lib.sandbox.data import generate

TEMPLATES = load_templates()
TASKS = [
    *["products", "accounts", "contacts", "contacts_to_customer"],
    *["quote_headers", "quote_lines", "order_headers_to_fno", "order_lines_to_fno"],
]
COUNTS = {"accounts": 150, "contacts": 90, "products": 60, "orders": 24}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    made = Pair(tmp_path_factory.mktemp("load"), counts=COUNTS, to_load="both")
    yield made
    lifecycle.stop(made.folder)


@pytest.fixture(scope="module")
def loaded(pair):
    """Everything loaded, in buckets of 60 rows; every standing that was told on the way."""
    told = []
    with pair.clients() as clients:
        tasks = [find_task(name, TEMPLATES) for name in TASKS]
        load = survey(pair.profile(), clients, tasks, TEMPLATES, pair.folder / "whole", bucket_rows=60)
        before = load_table(load)
        load = run_load(approve(load, "a tester"), pair.profile(), clients, TEMPLATES, progress=told.append)
    return load, before, told


def planned(pair, name, tasks, **how) -> Load:
    with pair.clients() as clients:
        wanted = [find_task(task, TEMPLATES) for task in tasks]
        return survey(pair.profile(), clients, wanted, TEMPLATES, pair.folder / name, **how)


def carried_out(pair, load) -> Load:
    with pair.clients() as clients:
        return run_load(approve(load, "a tester"), pair.profile(), clients, TEMPLATES)


def test_a_plan_tells_rows_money_and_channel_and_a_load_makes_just_these_rows(loaded):
    load, before, told = loaded
    rows = {row["task"]: row for row in before.iter_rows(named=True)}
    assert (rows["accounts"]["source_rows"], rows["accounts"]["there"]) == (150, 0)
    assert rows["accounts"]["to_create"] == 150 and "USD" in rows["accounts"]["amount"]
    assert rows["accounts"]["buckets"] == 3 and rows["accounts"]["channel"] == "single"
    assert rows["contacts"]["flowing"] == rows["contacts"]["to_create"] < rows["contacts"]["source_rows"] == 90
    after = {row["task"]: row for row in outcome_table(load).iter_rows(named=True)}
    for task in TASKS:
        assert after[task]["created"] + after[task]["held"] == rows[task]["to_create"]
        assert after[task]["failed"] == after[task]["conflict"] == after[task]["extra"] == after[task]["blocked"] == 0
    assert told[-1].settled == told[-1].rows == before["to_create"].sum()
    assert {now.step.partition(" ")[0] for now in told} == {
        "reading",
        "comparing",
        "planning",
        "sending",
        "checking",
        "done",
    }


def test_what_is_left_waits_for_the_job_of_f_and_o_alone_and_then_both_sides_are_in_step(loaded, pair):
    load, *_ = loaded
    rest = left_table(load).filter(~pl.col("reason").str.contains("are stopped in F&O"))
    assert rest.filter(~pl.col("task").is_in(["quote_headers", "order_headers_to_fno"])).is_empty()
    assert "Calculate sales totals" in words(load)
    assert load.facts["exit_code"] == 1
    pair.ask("fno", "POST", "totals", {"quotations": True})
    again = carried_out(pair, planned(pair, "again", TASKS))
    held = sum(line["held"] for line in again.facts["outcome"])
    assert sum(line["created"] for line in again.facts["outcome"]) == 0
    lines = [line["missing"] for line in again.facts["outcome"]]
    assert sum(lines) == held, left_table(again)
    masters = [line for line in again.facts["outcome"] if line["task"] in TASKS[:4]]
    assert all(line["left"] == 0 for line in masters)


def test_a_finished_load_sends_nothing_when_it_is_carried_out_again(loaded, pair):
    load, *_ = loaded
    journals = {path: path.read_bytes() for path in load.folder.glob("tasks/*/*/plan/journal.jsonl")}
    assert journals
    carried_out(pair, read_load(load.folder))
    assert {path: path.read_bytes() for path in journals} == journals


def test_the_frames_of_a_bucket_are_gone_and_its_plan_is_approved_as_part_of_the_load(loaded):
    load, *_ = loaded
    plans = sorted(load.folder.glob("tasks/accounts/*/plan/plan.json"))
    assert len(plans) == 3
    for path in plans:
        assert json.loads(path.read_text())["approved"]["by"] == f"a tester, as part of load {load.hash[:12]}"
        assert not tasks_folder(path.parent.parent).exists()
        assert set(applying.journal_table(path.parent.parent)["outcome"]) == {"created"}


def test_a_plan_reads_a_set_once_for_preflight_and_counts(loaded, pair, monkeypatch):
    read, pages = [], Client.pages

    def counted(client, entity, **how):
        read.append(entity)
        return pages(client, entity, **how)

    monkeypatch.setattr(Client, "pages", counted)
    planned(pair, "once", ["accounts", "contacts", "contacts_to_customer"])
    sets = ("accounts", "contacts", "CustomersV2", "CDSContactPersons")
    assert {name: read.count(name) for name in sets} == dict.fromkeys(sets, 1)


def test_rows_that_differ_are_listed_and_changed_only_with_update(loaded, pair):
    with pair.clients() as clients:
        key = clients["fno"].get(
            "CustomersV2",
            {
                "$select": "CustomerAccount",
                "$top": "1",
                "$filter": "IsExternallyMaintained eq Microsoft.Dynamics."
                "DataEntities.NoYes'Yes' and PartyType eq 'Organization'",
            },
        )
    account = {"dataAreaId": "usmf", "CustomerAccount": key["value"][0]["CustomerAccount"]}
    pair.change("fno", "CustomersV2", account, {"SalesMemo": "changed by hand"})
    listed = carried_out(pair, planned(pair, "listed", ["accounts"]))
    (line,) = listed.facts["outcome"]
    assert (line["updated"], line["mismatched"], listed.facts["exit_code"]) == (0, 1, 1)
    assert pl.read_parquet(listed.folder / "left.parquet")["fields"].to_list() == ["SalesMemo"]
    changed = carried_out(pair, planned(pair, "changed", ["accounts"], update=True))
    (line,) = changed.facts["outcome"]
    assert (line["updated"], line["mismatched"], changed.facts["exit_code"]) == (1, 0, 0)
    assert "Both sides are in step" in words(changed)


def test_lookups_that_form_a_circle_are_filled_when_all_rows_are_there(tmp_path):
    overlay = tmp_path / "circle.yaml"
    overlay.write_text(
        "overlay: circle\ntasks:\n  accounts:\n    fields:\n      InvoiceAccount: {add: true, "
        "source: parentaccountid.accountnumber, parent: {entity: CustomersV2, column: CustomerAccount, "
        "task: accounts}}\n"
    )
    templates = load_templates((overlay,))
    pair = Pair(tmp_path / "pair", counts={"accounts": 6, "contacts": 0, "products": 1}, to_load="fno")
    try:
        with pair.clients() as clients:
            rows = pull(clients["sales"], "accounts", ["accountid", "accountnumber"]).sort("accountnumber")
            ids, numbers = rows["accountid"].to_list(), rows["accountnumber"].to_list()
            for mine, other in zip(
                ids, [*ids[1:], ids[0]], strict=True
            ):  # each belongs to the next, the last to the first
                pair.change("sales", "accounts", {"accountid": mine}, {"_parentaccountid_value": other})
            task = find_task("accounts", templates)
            load = survey(pair.profile(), clients, [task], templates, tmp_path / "circle", bucket_rows=3)
            load = run_load(approve(load, "a tester"), pair.profile(), clients, templates)
            found = pull(clients["fno"], "CustomersV2", ["CustomerAccount", "InvoiceAccount"])
    finally:
        lifecycle.stop(pair.folder)
    (line,) = load.facts["outcome"]
    assert (line["created"], line["updated"], line["matched"], line["left"]) == (6, 6, 6, 0)
    pays = dict(found.select("CustomerAccount", "InvoiceAccount").iter_rows())
    assert [pays[number] for number in numbers] == [*numbers[1:], numbers[0]]


def test_a_load_is_refused_unapproved_changed_unready_or_in_other_hands(loaded, pair):
    load = planned(pair, "refused", ["products"])
    with pair.clients() as clients, pytest.raises(PlanError, match="was not approved"):
        run_load(load, pair.profile(), clients, TEMPLATES)
    with pytest.raises(PlanError, match="give a name"):
        approve(load, " ")
    check = {"status": "failed", "system": "fno", "name": "customer group 10", "found": "missing", "remedy": "add it"}
    with pytest.raises(PlanError, match=r"not ready, nothing was sent: customer group 10: missing"):
        approve(replace(load, facts={**load.facts, "checks": [check]}), "a tester")
    known = {task.name: task for task in all_tasks(TEMPLATES)}
    other = known | {"products": known["products"].model_copy(update={"title": "another"})}
    with pytest.raises(PlanError, match="template of products is another one"):
        read_load(load.folder, other)
    with load_folder_held(load), pytest.raises(PlanError, match="another process is at this load"):
        carried_out(pair, load)
    facts = json.loads((load.folder / "load.json").read_text())
    (load.folder / "load.json").write_text(json.dumps(facts | {"update": True}))
    with pytest.raises(PlanError, match="changed after it was planned"):
        read_load(load.folder)
    with pytest.raises(ParameterError, match="not empty"):
        planned(pair, "refused", ["products"])
    with pytest.raises(PlanError, match="holds no load"):
        read_load(pair.folder)


def load_folder_held(load):
    from p2c_lib.load import _alone

    return _alone(load.folder)


def test_a_service_that_fails_for_good_stops_the_load_with_what_to_do_and_resume_goes_on(loaded, pair):
    load = planned(pair, "stopped", ["accounts"])
    pair.faults({"kind": "error", "status": 403, "path": "CustomersV2", "method": "GET"})
    try:
        with pytest.raises(ConnectError):
            carried_out(pair, load)
    finally:
        pair.faults()
    assert "PermissionDenied" in json.loads((load.folder / "load.json").read_text())["stopped"]
    assert carried_out(pair, read_load(load.folder)).facts["stopped"] is None


keys = st.lists(st.text("aAbB0 19-_*'é", max_size=4), max_size=40)


@given(ours=keys, theirs=keys, bucket_rows=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_every_key_of_either_side_is_in_exactly_one_range(ours, theirs, bucket_rows):
    order = pl.Series("o", ours, dtype=pl.String), pl.Series("t", theirs, dtype=pl.String)
    bounds = load_ranges.cut(*order, bucket_rows)
    assert sum(bound["rows"] for bound in bounds) == len(ours)
    lows = [bound["low"] for bound in bounds]
    assert lows[0] is None and all(low for low in lows[1:])
    folded = [low.lower() for low in lows[1:]]
    assert folded == sorted(set(folded))  # one after the other, for who compares without case as well
    assert [bound["bucket"] for bound in bounds] == sorted(bound["bucket"] for bound in bounds)


def test_ranges_are_said_in_each_services_words(pair):
    task = find_task("order_lines_to_fno", TEMPLATES)
    plan = {"bounds": [{"low": None, "rows": 3, "bucket": 1}, {"low": "ORD-2", "rows": 2, "bucket": 1}]}
    with pair.clients() as clients:
        (part,) = parts_of(task, plan, clients)
    assert part.rows == 5
    assert part.source == (
        "salesorderid/ordernumber lt 'ORD-2'",
        "salesorderid/ordernumber eq null",
        "salesorderid/ordernumber ge 'ORD-2'",
    )
    assert part.found == ("SalesOrderNumber lt 'ORD-2'", "SalesOrderNumber ge 'ORD-2'")


def test_the_command_shows_a_plan_sends_nothing_unasked_and_goes_on(loaded, pair, monkeypatch):
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(pair.folder))
    monkeypatch.setenv("P2C_HOME", str(pair.folder))
    place = str(pair.folder / "command")
    shown = CliRunner().invoke(app, ["load", "products", "--dir", place])
    assert shown.exit_code == 1 and "nothing was sent" in shown.output, shown.output
    assert not (pair.folder / "command" / "tasks").exists()
    done = CliRunner().invoke(app, ["load", "--resume", place, "--yes", "--by", "a tester"])
    assert done.exit_code == 0 and "both sides are in step" in done.output, done.output
    assert json.loads((pair.folder / "command" / "load.json").read_text())["approved"]["by"] == "a tester"
    wrong = CliRunner().invoke(app, ["load", "--resume", place, "--all"])
    assert isinstance(wrong.exception, ParameterError)
    assert "known: products" in str(CliRunner().invoke(app, ["load", "produts"]).exception)


def test_the_notebook_plans_without_a_name_and_sends_with_one(loaded, pair, monkeypatch, tmp_path):
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(pair.folder))
    monkeypatch.setenv("P2C_HOME", str(tmp_path))
    execution.execute_notebook("initial_load", tmp_path / "dry.ipynb", {"tasks": "products"}, 120)
    cells = [cell for cell in nbformat.read(tmp_path / "dry.ipynb", as_version=4).cells if cell.cell_type == "code"]
    shown = {cell.source: str(cell.outputs) for cell in cells}
    assert "there" in shown["loading.plan()"] and "Nothing was sent" in shown["loading.watch()"]
    (dry,) = (tmp_path / "loads").iterdir()
    sent = load_notebook.begin(resume=str(dry), approve_by="a tester")
    assert "created" in sent.watch().data
    assert "Both sides are in step" in sent.finish().data and "in step" in sent.left().data
    with pytest.raises(ParameterError, match="known: products"):
        load_notebook.begin(tasks="produts")
    with pytest.raises(ParameterError, match="yes or no"):
        load_notebook.begin(update="maybe")


def test_a_sandbox_to_load_lacks_just_what_the_other_side_would_bring():
    counts = {"accounts": 60, "contacts": 80, "products": 40, "orders": 60}
    whole, bare = generate("small", counts=counts), generate("small", counts=counts, to_load="both")
    assert set(bare.fno["CustomersV2"]["IsExternallyMaintained"]) == {"No"}
    assert set(bare.fno["CDSContactPersons"]["IsContactPersonExternallyMaintained"]) == {"No"}
    assert not [name for name in bare.fno if "Sales" in name]
    assert bare.fno["CustomerGroups"].equals(whole.fno["CustomerGroups"])
    assert bare.fno["SellableReleasedProducts"].equals(whole.fno["SellableReleasedProducts"])
    assert bare.sales["accounts"].equals(whole.sales["accounts"]) and "invoices" not in bare.sales
    named = pl.concat([bare.sales[lines]["_productid_value"] for lines in ("quotedetails", "salesorderdetails")])
    assert named.drop_nulls().is_in(bare.sales["products"]["productid"].implode()).all()
    assert 0 < bare.sales["products"].height < whole.sales["products"].height
    only = generate("small", counts=counts, to_load="fno")
    assert only.sales["products"].equals(whole.sales["products"])
    for wrong in ({"to_load": "f&o"}, {"to_load": "fno", "drift": True}):
        with pytest.raises(SandboxError):
            generate("small", counts=counts, **wrong)
