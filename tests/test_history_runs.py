"""Finished runs go into the history by themselves: what came, went and came back between them; at once; killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import lxml.html
import polars as pl
import pytest
from pair import Pair
from polars.testing import assert_frame_equal
from test_history import made
from typer.testing import CliRunner

from p2c_lib import execution, report, run
from p2c_lib.cli import app
from p2c_lib.folder import read_run
from p2c_lib.history import History, append, open_history
from p2c_lib.model import find_task, load_templates
from p2c_lib.overview import Overview
from p2c_lib.places import task_folder
from p2c_lib.sandbox import lifecycle
from p2c_lib.store.tables import Store

ACCOUNTS = [find_task("accounts", load_templates())]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    counts = {"accounts": 30, "contacts": 5, "products": 5}
    made = Pair(tmp_path_factory.mktemp("history"), drift=False, counts=counts)
    yield made
    lifecycle.stop(made.folder)


def test_what_came_went_and_came_back_between_runs_stands_in_history_and_report(pair, tmp_path):
    def ran(name, **memos):
        for key, memo in memos.items():
            row = {"dataAreaId": "usmf", "CustomerAccount": keys[key]}
            pair.change("fno", "CustomersV2", row, {"SalesMemo": memo})
        return run.execute(profile, ACCOUNTS, tmp_path / name, {})

    profile, keys = pair.profile(), {}
    rows = pl.read_parquet(task_folder(ran("clean"), "accounts") / "found.parquet").head(2)
    keys = dict(zip("AB", rows["CustomerAccount"], strict=True))
    memos = dict(zip("AB", rows["SalesMemo"].fill_null(""), strict=True))
    last = [ran("1", A="by hand", B="by hand"), ran("2", B=memos["B"]), ran("3", A=memos["A"], B="by hand")][-1]
    ids = [read_run(tmp_path / name)["run_id"] for name in ("1", "2", "3")]
    states = [dict(open_history(profile).findings(as_of=one).select("key", "state").rows()) for one in ids]
    names = {key: name for name, key in keys.items()}
    assert [{names[key]: state for key, state in one.items()} for one in states] == [
        {"A": "new", "B": "new"},
        {"A": "open", "B": "fixed"},
        {"A": "fixed", "B": "reopened"},
    ]
    page = lxml.html.fromstring(report.write_report(last).read_text("utf-8"))
    section = next(one for one in page.iter("section") if one.findtext("h2") == "Since when?")
    head, row = ([cell.text_content().strip() for cell in line.iter("th", "td")] for line in section.iter("tr"))
    counts = {"task": "accounts", "new": "0", "reopened": "1", "open": "0", "fixed": "1"}
    assert dict(zip(head, row, strict=True)).items() >= counts.items()
    shown = lxml.html.fromstring(Overview(last, load_templates()).since().data)
    assert [cell.text_content().strip() for cell in shown.iter("td")] == row


def test_a_run_keeps_its_results_when_the_history_cannot_take_it_and_is_added_later(pair, tmp_path, monkeypatch):
    (tmp_path / "store").write_text("no folder")
    profile = pair.profile(store={"url": str(tmp_path / "store")})
    folder, facts = execution.run_tasks(profile, ACCOUNTS, tmp_path / "run", notebooks=False)
    words = facts["not_in_history"]
    assert words.startswith("The history lacks this run: Outcome: the store cannot be read or written: ")
    assert words.endswith(f"To bring it in: p2c history add {folder}")
    assert words in lxml.html.fromstring((folder / "report.html").read_text("utf-8")).text_content()
    assert words in Overview(folder, load_templates()).since().data.replace("&#x27;", "'")
    assert facts["tasks"][0]["source_rows"] > 0 and "error" not in facts["tasks"][0]

    (tmp_path / "store").unlink()
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(pair.folder))
    monkeypatch.setenv("P2C_STORE__URL", str(tmp_path / "store"))
    done = CliRunner().invoke(app, ["history", "add", str(folder)])
    assert done.exit_code == 0, done.output
    assert "not_in_history" not in read_run(folder)
    assert (folder / "history.parquet").exists()
    assert open_history(profile).runs()["run"].to_list() == [facts["run_id"]]


def test_runs_that_end_at_once_are_all_kept(pair, tmp_path):
    before = set(open_history(pair.profile()).runs()["run"])
    code = "import sys; from pathlib import Path; from p2c_lib import run; from p2c_lib.config import load_profile"
    code += "; from p2c_lib.model import find_task, load_templates"
    code += "; run.execute(load_profile(), [find_task('accounts', load_templates())], Path(sys.argv[1]), {})"
    environment = {**os.environ, "P2C_SANDBOX_DIR": str(pair.folder), "P2C_HOME": str(pair.folder)}
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], env=environment) for name in "ab"]
    assert [job.wait(timeout=200) for job in jobs] == [0, 0]
    runs = [read_run(tmp_path / name) for name in "ab"]
    assert not any("not_in_history" in one for one in runs)
    assert set(open_history(pair.profile()).runs()["run"]) == before | {one["run_id"] for one in runs}


def test_a_run_killed_while_it_was_kept_is_there_whole_or_not_and_adding_it_again_is_the_whole_of_it(tmp_path):
    store = Store.open(tmp_path / "store", "ORG001")
    wanted = [f"K{number:04d}" for number in range(2_000)]
    folders = [made(tmp_path, number, wanted) for number in range(4)]
    code = "import sys; from pathlib import Path; from p2c_lib.history import append; import deltalake"
    code += "; from p2c_lib.store.tables import Store; store = Store.open(sys.argv[1], 'ORG001')"
    code += "; print(1, flush=True); [append(store, Path(folder)) for folder in sys.argv[2:]]"
    moments = random.Random(3)
    for share in (0.1, 0.4, 0.7):
        command = [sys.executable, "-c", code, store.url, *map(str, folders)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as job:
            job.stdout.readline()
            time.sleep(share * moments.uniform(0.6, 1.4))
            job.kill()
        history = History.within(store, "site", "usmf")
        kept = history.runs()["run"].to_list()
        assert kept == [folder.name for folder in folders][: len(kept)]
        assert all(history.outcomes(name).height == len(wanted) for name in kept)
    whole = Store.open(tmp_path / "whole", "ORG001")
    for folder in folders:
        append(store, folder)
        append(whole, folder)
    one, other = (History.within(each, "site", "usmf") for each in (store, whole))
    assert_frame_equal(one.findings(), other.findings())
    assert_frame_equal(one.runs(), other.runs())
