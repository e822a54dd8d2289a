"""Runs over time: since when a finding stands, whether it came back, what stays when old runs are let go of."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from p2c_lib import report
from p2c_lib.errors import ParameterError, StoreError
from p2c_lib.explain import OUTCOME_COLUMNS
from p2c_lib.history import History, append
from p2c_lib.markup import html_table
from p2c_lib.store.tables import Store

ROOT = Path(__file__).resolve().parent.parent
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", "ORG001")


def made(place, number, found, *, day=None, failed=(), tasks=("accounts",)):
    """A finished run's folder: ``found`` are keys, or (key, field), of a task each; a day after the one before."""
    folder = place / f"run{number:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"task": task, "key": one[0], "field": one[1] or None, "outcome": "different" if one[1] else "missing",
         "code": one[2] if len(one) > 2 else "different", "amount": Decimal("1.5"), "currency": "EUR",
         "side": "both" if one[1] else "source"}
        for task in tasks for one in ((one, "") if isinstance(one, str) else one for one in found)
    ]  # fmt: skip
    pl.DataFrame(rows, schema=OUTCOME_COLUMNS).write_parquet(folder / "outcomes.parquet")
    counts = dict.fromkeys(["source_rows", "destination_rows", "matched", "missing", "extra", "excluded", "blocked"], 0)
    facts = [
        {"task": task, "error": "no such luck"}
        if task in failed
        else {"task": task, **counts, "mismatched": len(found), "quirks": 0, "amount_at_stake": {"EUR": "1.50"}}
        for task in tasks
    ]
    started = BEGAN + timedelta(days=number if day is None else day)
    head = {"run_id": folder.name, "started": started.isoformat(), "profile": "site", "company": "usmf"}
    (folder / "run.json").write_text(
        json.dumps({**head, "threshold": 0, "finished": started.isoformat(), "tasks": facts})
    )
    return folder


def told(store, *columns, **how):
    return History.within(store, "site", "usmf").findings(**how).select(*columns).rows()


def test_a_finding_is_new_then_open_then_fixed_then_reopened(store, tmp_path):
    history, states = History.within(store, "site", "usmf"), []
    for number, found in enumerate([["A", "B"], ["A", "B"], ["B"], ["A", "B"], ["A"]]):
        states.append(append(store, made(tmp_path, number, found)).select("key", "state", "reopened").rows())
    assert states == [
        [("A", "new", 0), ("B", "new", 0)],
        [("A", "open", 0), ("B", "open", 0)],
        [("A", "fixed", 0), ("B", "open", 0)],
        [("A", "reopened", 1), ("B", "open", 0)],
        [("A", "open", 1), ("B", "fixed", 0)],
    ]
    seen = history.findings().select("key", "first_run", "last_run", "runs", "age_days").rows()
    assert seen == [("A", "run000", "run004", 4, 1.0), ("B", "run000", "run003", 4, 4.0)]
    times = history.findings().select("open_since", "fixed_at").rows()
    assert times == [(BEGAN + timedelta(days=3), None), (BEGAN, BEGAN + timedelta(days=4))]
    trend = history.trend().select("findings", "new", "reopened", "fixed").rows()
    assert trend == [(2, 2, 0, 0), (2, 0, 0, 0), (1, 0, 0, 1), (2, 0, 1, 0), (1, 0, 0, 1)]


def test_a_run_is_looked_at_as_of_then(store, tmp_path):
    for number, found in enumerate([["A"], ["B", ("C", "name")], []]):
        append(store, made(tmp_path, number, found))
    assert told(store, "key", "state", as_of="run001") == [("A", "fixed"), ("B", "new"), ("C", "new")]
    assert told(store, "key", "state", as_of="run000") == [("A", "new")]
    kept = History.within(store, "site", "usmf").outcomes("run001")
    assert_frame_equal(kept, pl.read_parquet(tmp_path / "run001" / "outcomes.parquet"))
    with pytest.raises(ParameterError, match=r"no run 'run01'; near: run001"):
        told(store, "key", as_of="run01")


def test_a_run_appended_twice_is_there_once_and_a_shorter_end_of_it_takes_the_place_of_the_longer(store, tmp_path):
    first = append(store, made(tmp_path, 0, ["A", "B", "C"]))
    history = History.within(store, "site", "usmf")
    version = history.store.version("Outcome")
    assert_frame_equal(append(store, tmp_path / "run000"), first)
    assert history.store.version("Outcome") == version
    append(store, made(tmp_path, 0, ["A"]))
    assert told(store, "key", "runs") == [("A", 1)]


def test_a_task_that_failed_fixes_nothing_and_one_that_was_not_run_neither(store, tmp_path):
    append(store, made(tmp_path, 0, ["A"], tasks=("accounts", "contacts")))
    append(store, made(tmp_path, 1, [], tasks=("accounts",), failed=("accounts",)))
    append(store, made(tmp_path, 2, [], tasks=("contacts",)))
    assert told(store, "task", "state") == [("accounts", "new"), ("contacts", "fixed")]


def test_quirks_are_kept_and_are_no_findings(store, tmp_path):
    append(store, made(tmp_path, 0, [("A", "street", "quirk"), ("B", "street", "different")]))
    assert told(store, "key") == [("B",)]
    assert History.within(store, "site", "usmf").outcomes("run000").height == 2


def test_runs_of_another_profile_or_company_are_another_history(store, tmp_path):
    append(store, made(tmp_path, 0, ["A"]))
    assert History.within(store, "site", "usmf").runs().height == 1
    assert History.within(store, "site", "frrt").runs().height == 0
    assert History.within(store, "other", "usmf").findings().height == 0


def test_an_amount_of_a_key_that_stands_twice_adds_up(store, tmp_path):
    append(store, made(tmp_path, 0, ["A", "A"]))
    assert told(store, "key", "amount") == [("A", Decimal(3))]
    assert History.within(store, "site", "usmf").money().select("currency", "amount").rows() == [
        ("EUR", Decimal("1.5"))
    ]


def test_a_run_without_an_end_is_refused(store, tmp_path):
    folder = made(tmp_path, 0, ["A"])
    facts = json.loads((folder / "run.json").read_text())
    del facts["finished"]
    (folder / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ParameterError, match="did not come to its end"):
        append(store, folder)


LIVES = st.lists(st.sets(st.sampled_from("ABCD")), min_size=1, max_size=7)


@settings(max_examples=8, deadline=None)
@given(lives=LIVES, keep=st.integers(0, 8))
def test_letting_go_of_old_runs_changes_nothing_about_findings_seen_since(tmp_path_factory, lives, keep):
    place = tmp_path_factory.mktemp("law")
    store = Store.open(place / "store", "ORG001")
    for number, found in enumerate(lives):
        append(store, made(place, number, sorted(found)))
    history = History.within(store, "site", "usmf")
    before, runs = history.findings(), history.runs().drop("is_whole")
    now = BEGAN + timedelta(days=len(lives))
    history.compact(keep, now=now)
    first_kept = min(len(lives) - keep, len(lives) - 1)
    kept = {key for found in lives[max(first_kept, 0) :] for key in found}
    assert_frame_equal(history.findings(), before.filter(pl.col("key").is_in(list(kept))))
    assert_frame_equal(history.runs().drop("is_whole"), runs)
    for number in range(len(lives)):
        if number >= first_kept:
            assert history.outcomes(f"run{number:03d}").height == len(lives[number])
        else:
            with pytest.raises(StoreError, match="older than what is kept"):
                history.outcomes(f"run{number:03d}")
    assert history.compact(keep, now=now)["rows"] == 0


def test_several_append_at_once_and_none_is_lost(store, tmp_path):
    folders = [made(tmp_path, number, ["A", f"K{number}"]) for number in range(3)]
    code = "import sys; from pathlib import Path; from p2c_lib.history import append"
    code += "; from p2c_lib.store.tables import Store; append(Store.open(sys.argv[1], 'ORG001'), Path(sys.argv[2]))"
    jobs = [subprocess.Popen([sys.executable, "-c", code, store.url, str(folder)], cwd=ROOT) for folder in folders]
    assert [job.wait(timeout=200) for job in jobs] == [0, 0, 0]
    history = History.within(store, "site", "usmf")
    assert history.runs()["run"].to_list() == ["run000", "run001", "run002"]
    assert told(store, "key", "runs") == [("A", 3), ("K0", 1), ("K1", 1), ("K2", 1)]


def test_the_report_of_a_kept_run_says_since_when(store, tmp_path):
    for number, found in enumerate([["A"], ["A", "B"]]):
        append(store, made(tmp_path, number, found))
    page = html_table(report.since_when(tmp_path / "run001"))
    cells = [cell.strip() for cell in re.sub(r"<[^>]+>", "\n", page).split("\n") if cell.strip()]
    head = ["task", "new", "reopened", "open", "fixed", "oldest", "oldest age days"]
    assert cells == [*head, "accounts", "1", "0", "1", "0", "2026-01-01 00:00", "1.0"]
    assert report.since_when(tmp_path).is_empty(), "a run that is not kept says nothing"
