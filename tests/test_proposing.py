"""Rows that lost their key, in running systems: proposed, accepted, paired, updated and not created a second time.

And beside it the value maps of the same run: what is accepted, and what it changes without another pull.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from pair import Pair
from typer.testing import CliRunner

from p2c_lib import folder as folders
from p2c_lib import proposing, values_notebook, workshop, write
from p2c_lib import run as runs
from p2c_lib.cli import app
from p2c_lib.crossref import check_run, read_crossref
from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.errors import ParameterError, PlanError
from p2c_lib.masking import site_masker, unmasked
from p2c_lib.model import all_tasks, load_templates
from p2c_lib.places import task_folder
from p2c_lib.proposing import Chosen
from p2c_lib.sandbox import lifecycle

TEMPLATES = load_templates()
TASKS = ["accounts", "contacts", "order_headers_to_fno", "order_headers_to_sales", "invoice_headers"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("match")
    made = Pair(folder, counts={"accounts": 80, "contacts": 60, "products": 40, "orders": 60}, drift=False)
    yield made
    lifecycle.stop(folder)


@pytest.fixture(scope="module")
def lost(pair):
    """Two customers with orders: of one the number in Sales was typed anew, of the other it was taken away."""
    clean = pair.run("clean", tasks=TASKS)
    orders = pl.read_parquet(task_folder(clean, "order_headers_to_sales") / "expected.parquet")
    source = pl.read_parquet(task_folder(clean, "accounts") / "source.parquet")
    told = source.filter(pl.col("emailaddress1").is_not_null() & pl.col("address1_line1").is_not_null())
    customer = next(f.destination for f in find("order_headers_to_sales").fields if f.parent)
    bought = told.filter(pl.col("accountnumber").is_in(orders[customer].implode()))
    other, blank = (
        bought.row(0, named=True),
        told.filter(pl.col("accountid") != bought["accountid"][0]).row(0, named=True),
    )
    name = f"{other['name'][:3]}x{other['name'][3:]}"  # and a slip in its name
    changes = {"accountnumber": "TYPED-ANEW", "name": name}
    pair.change("sales", "accounts", {"accountid": other["accountid"]}, changes)
    pair.change("sales", "accounts", {"accountid": blank["accountid"]}, {"accountnumber": None})
    return {"other": other, "blank": blank, "run": pair.run("lost", tasks=TASKS), "customer": customer}


def find(name):
    return next(task for task in all_tasks(TEMPLATES) if task.name == name)


def facts(folder: Path, task: str) -> dict:
    return next(one for one in folders.read_run(folder)["tasks"] if one["task"] == task)


def test_an_accepted_pair_is_updated_and_everything_that_refers_to_it_is_in_step(pair, lost):
    run, other, blank = lost["run"], lost["other"], lost["blank"]
    before = facts(run, "accounts")
    assert (before["missing"], before["extra"], before["blocked"]) == (1, 2, 1)
    profile, file = pair.profile(), pair.profile().crossref_file
    found = proposing.propose(run, TEMPLATES, read_crossref(file))
    expected = {("TYPED-ANEW", "key", other["accountnumber"]), (blank["accountid"], "id", blank["accountnumber"])}
    assert set(found.select("source_key", "kind", "destination_key").iter_rows()) == expected
    assert set(found["status"]) == {"proposed"} and found["score"].min() > 99
    stored = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file() and "tasks" not in path.parts)
    assert other["emailaddress1"].encode() not in stored  # what stands in the rows is no part of what is handed over
    assert "emailaddress1" not in found.columns

    with pytest.raises(ParameterError, match="was not proposed"):
        proposing.settle(run, TEMPLATES, file, read_crossref(file), [Chosen("NOBODY")], "accepted", "a tester")
    assert not file.exists()
    chosen = [Chosen("TYPED-ANEW"), Chosen(blank["accountid"])]
    written = proposing.settle(run, TEMPLATES, file, read_crossref(file), chosen, "accepted", "a tester")
    assert written["by"].to_list() == ["a tester"] * 2
    with pytest.raises(PlanError, match="would create them a second time"):
        check_run(run, read_crossref(file))

    paired = pair.run("paired", tasks=TASKS)
    after = facts(paired, "accounts")
    assert (after["missing"], after["extra"], after["blocked"], after["cross_referenced"]) == (0, 0, 0, 2)
    assert after["matched"] + after["mismatched"] == before["source_rows"]
    cells = pl.read_parquet(paired / "outcomes.parquet").filter(pl.col("task") == "accounts")
    assert set(cells["field"]) == {"OrganizationName", "AddressDescription", "DeliveryAddressDescription"}
    assert set(cells["key"]) == {other["accountnumber"]}
    assert all("(paired by the cross-reference)" in reason for reason in cells["reason"])
    for task in TASKS[1:]:  # contacts and orders point to the customer by either number
        assert facts(paired, task)["mismatched"] == facts(paired, task)["missing"] == 0, task
    assert facts(run, "order_headers_to_sales")["mismatched"] > 0  # without it they do not

    with pair.clients() as clients:
        plan = write.plan(paired, templates=TEMPLATES, clients=clients)
        accounts = plan.rows.filter(pl.col("task") == "accounts")
        assert set(accounts["action"]) == {"update"} and "CustomerAccount" not in accounts["field"].to_list()
    done = pair.apply(paired, "direct")
    assert (done.created, done.updated, done.failed) == (0, 1, 0)
    last = pair.run("last", tasks=TASKS)
    assert folders.read_run(last)["exit_code"] == 0
    assert facts(last, "accounts")["destination_rows"] == before["destination_rows"]
    assert proposing.propose(last, TEMPLATES, read_crossref(profile.crossref_file)).is_empty()


def test_a_range_of_keys_without_the_partner_leaves_the_row_out_and_does_not_create_it(pair, lost, tmp_path):
    file, other = tmp_path / "crossref.csv", lost["other"]["accountnumber"]
    proposing.propose(lost["run"], TEMPLATES, read_crossref(file), ["accounts"])
    proposing.settle(lost["run"], TEMPLATES, file, read_crossref(file), [Chosen("TYPED-ANEW")], "accepted", "a tester")
    task = find("accounts")
    sides, metadata = workshop.kept_sides(lost["run"], task)
    part = replace(sides, found=sides.found.filter(pl.col("CustomerAccount") != other))
    compared = runs.compare_sides(task, part, metadata, crossref=read_crossref(file), is_part=True)
    assert compared.outcomes.count("missing") == 0
    left_out = compared.table.filter(pl.col("outcome") == "excluded")
    assert left_out.select("key", "code").rows() == [("TYPED-ANEW", "cross_reference")]
    assert "outside this range" in left_out["reason"][0]


def test_a_pair_that_was_turned_down_is_not_proposed_again(pair, lost, tmp_path):
    file = tmp_path / "crossref.csv"
    proposing.propose(lost["run"], TEMPLATES, read_crossref(file), ["accounts"])
    pairs = [Chosen("TYPED-ANEW", lost["other"]["accountnumber"], "accounts")]
    proposing.settle(lost["run"], TEMPLATES, file, read_crossref(file), pairs, "rejected", "a tester")
    left = proposing.propose(lost["run"], TEMPLATES, read_crossref(file), ["accounts"])
    assert left["source_key"].to_list() == [lost["blank"]["accountid"]]


def test_the_command_proposes_accepts_and_says_who(pair, lost, monkeypatch, tmp_path):
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(pair.folder))
    monkeypatch.setenv("P2C_CROSSREF", str(tmp_path / "mine.csv"))
    shown = CliRunner().invoke(app, ["propose", str(lost["run"]), "--task", "accounts"])
    assert shown.exit_code == 0 and "2 pairs proposed" in shown.output and lost["other"]["name"] not in shown.output
    street = lost["other"]["address1_line1"]
    kept = proposing.read_proposals(lost["run"])
    masker = site_masker()
    both = [proposing.worded(lost["run"], kept, t, masker) for t in (TEMPLATES, unmasked(TEMPLATES, ["AddressStreet"]))]
    told, plain = (frame.filter(pl.col("source_key") == "TYPED-ANEW").to_dicts()[0] for frame in both)
    assert told["street_source"] == told["street_destination"] == masker.text(street) != street
    assert (
        plain["street_source"] == plain["street_destination"] == street and plain["mail_source"] == told["mail_source"]
    )
    assert told["name_destination"] == lost["other"]["name"] != told["name_source"]
    rows = CliRunner().invoke(app, ["propose", str(lost["run"]), "--task", "accounts", "--rows"])
    assert rows.exit_code == 0 and street not in rows.output
    done = CliRunner().invoke(app, ["propose", str(lost["run"]), "--accept", "all", "--by", "Ada"])
    assert "2 pairs accepted" in done.output
    assert read_crossref(tmp_path / "mine.csv").entries["by"].to_list() == ["Ada", "Ada"]
    refused = CliRunner().invoke(app, ["plan", str(lost["run"])])
    assert isinstance(refused.exception, PlanError)


def test_what_a_run_has_kept_compared_again_gives_the_same_numbers(pair, lost):
    for name in TASKS:
        task = find(name)
        sides, metadata = workshop.kept_sides(lost["run"], task)
        again = runs.summary(task, sides, runs.compare_sides(task, sides, metadata))
        was = facts(lost["run"], name)
        for entry in ("matched", "mismatched", "missing", "extra", "excluded", "blocked", "fields", "amount_at_stake"):
            assert again[entry] == was[entry], (name, entry)


def test_an_accepted_value_changes_what_the_kept_rows_come_to_as_a_new_run_would(pair, lost, tmp_path):
    account = lost["blank"]
    changes = {"accountnumber": account["accountnumber"], "address1_country": "Norwegen"}
    pair.change("sales", "accounts", {"accountid": account["accountid"]}, changes)
    run, site = pair.run("value", tasks=["accounts"]), tmp_path / "site.yaml"
    assert facts(run, "accounts")["unmapped_values"] == 1
    shop = values_notebook.Workshop(run, pair.profile(), str(site), "")
    shown = shop.values()._repr_mimebundle_()
    assert "norwegen" in shown["text/html"] and "application/vnd.jupyter.widget-view+json" in shown
    assert "unmapped values" in shop.preview().data and "Nothing was accepted" in shop.accept().data
    assert not site.exists()
    _, chooser, status = values_notebook._widget(shop).children
    (line,) = chooser.children
    _, box, button = line.children
    assert box.value == "NO"
    box.value = "  "
    button.click()
    assert "choose or type" in status.value and not site.exists()
    box.value = "NO"
    button.click()
    assert "1 entries written" in status.value and site.exists() and chooser.children == ()
    assert shop.values().data == shop._listed()  # nothing is left to accept
    known = read_crossref(pair.profile().crossref_file)
    told = workshop.effect(run, load_templates((site,)), ["country_to_iso"], crossref=known)
    anew = facts(pair.run("anew", overlays=(site,), tasks=["accounts"]), "accounts")
    counted = dict(told.select("what", "after").iter_rows())
    assert counted.pop("unmapped values") == 0
    fields = {f"fields {name}": count for name, count in anew["fields"].items() if count}
    rows = {name: anew[name] for name in ROW_OUTCOMES if anew[name]}
    assert {name: count for name, count in counted.items() if count} == rows | fields
