"""Plans sent to both services over HTTP: answers lost on the way, rows changed meanwhile, the sender killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import polars as pl
import pytest

from p2c_lib import folder as folders
from p2c_lib import run as runs
from p2c_lib.apply import apply, journal_table
from p2c_lib.config import load_profile
from p2c_lib.model import all_tasks, load_templates
from p2c_lib.places import plan_folder
from p2c_lib.pull import pull
from p2c_lib.sandbox import lifecycle
from p2c_lib.write import approve, plan

TEMPLATES = load_templates()
KEYS = {
    ("sales", "products"): "productnumber",
    ("fno", "CustomersV2"): "CustomerAccount",
    ("fno", "CDSContactPersons"): "ContactPersonPartyNumber",
}


@pytest.fixture
def profile(tmp_path, monkeypatch):
    place = tmp_path / "sandbox"
    state = lifecycle.start(place, drift=True, detach=True, counts={"accounts": 120, "contacts": 160, "products": 90})
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(place))
    monkeypatch.setenv("P2C_LIMITS__BUDGET_S", "20")
    yield load_profile("sandbox", Path("nowhere.toml"))
    assert state["pids"]
    lifecycle.stop(place)


def faults(profile, *rules):
    for url in (profile.sales.url, profile.fno.url):
        httpx.delete(f"{url}/sandbox/faults").raise_for_status()
        if rules:
            httpx.post(f"{url}/sandbox/faults", json=list(rules)).raise_for_status()


def compare(profile, clients, place):
    folder = folders.create(place, profile, {})
    metadata = {system: client.metadata() for system, client in clients.items()}
    for task in all_tasks(TEMPLATES):
        sides = runs.read_sides(task, clients)
        runs.save(folder, task, sides, runs.compare_sides(task, sides, metadata))
    return folder


def keys_at(clients):
    """Every key at the destinations with how often it is there, as it was and as it becomes."""
    found = {}
    for (system, entity), column in KEYS.items():
        frame = pull(clients[system], entity, [column])
        found |= {(entity, key): rows for key, rows in frame[column].value_counts().iter_rows()}
    return found


def still_to_send(profile, clients, place):
    """What a fresh comparison would send: task and key."""
    again = plan(compare(profile, clients, place), templates=TEMPLATES, clients=clients)
    return set(again.actions().filter(pl.col("held").is_null()).select("task", "key").rows())


def test_lost_answers_broken_connections_and_502_pages_lose_and_double_nothing(profile, tmp_path):
    with runs.open_clients(profile) as clients:
        run = compare(profile, clients, tmp_path / "run")
        made = plan(run, templates=TEMPLATES, clients=clients)
        approve(run, "ann")
        before = keys_at(clients)
        faults(
            profile,
            {"kind": "drop", "at": "answer", "method": "POST", "path": "(products|CustomersV2|Persons)", "every": 2},
            {"kind": "drop", "at": "answer", "method": "PATCH", "every": 3},
            {"kind": "html", "done": True, "method": "PATCH", "every": 5},
            {"kind": "drop", "at": "before", "method": "PATCH", "every": 4},
        )
        first = apply(run, profile, clients)
        faults(profile)
        done = apply(run, profile, clients)
        assert first.sent > 0 and first.created > 0 and first.updated > 0
        assert (done.remaining, done.conflicts) == (0, 0)
        assert apply(run, profile, clients).sent == 0

        creates = made.actions().filter((pl.col("action") == "create") & pl.col("held").is_null())
        after = keys_at(clients)
        new = {key: rows for key, rows in after.items() if before.get(key) != rows}
        outcome = dict(journal_table(run).select("order", "outcome").rows())
        made_keys = [key for order, key in creates.select("order", "key").rows() if outcome[order] != "failed"]
        assert sorted(key for _, key in new) == sorted(made_keys)
        assert set(new.values()) == {1}

        refused = set(journal_table(run).filter(pl.col("outcome") == "failed").select("task", "key").rows())
        assert still_to_send(profile, clients, tmp_path / "again") == refused


def test_rows_changed_between_comparison_and_apply_are_left_alone(profile, tmp_path):
    with runs.open_clients(profile) as clients:
        run = compare(profile, clients, tmp_path / "run")
        made = plan(run, templates=TEMPLATES, clients=clients)
        approve(run, "ann")
        update = made.rows.filter(
            (pl.col("action") == "update") & (pl.col("task") == "accounts") & pl.col("held").is_null()
        )
        victim = update.row(0, named=True)
        target = json.loads(victim["target"])
        clients["fno"].update("CustomersV2", target, {"SalesMemo": "edited meanwhile"}, None)
        done = apply(run, profile, clients)
        assert done.conflicts == 1
        assert journal_table(run).filter(pl.col("outcome") == "conflict")["key"].to_list() == [victim["key"]]
        wanted = f"CustomerAccount eq '{target['CustomerAccount']}'"
        row = pull(clients["fno"], "CustomersV2", ["SalesMemo"], filter=wanted)
        assert row["SalesMemo"].to_list() == ["edited meanwhile"]


APPLY = """
import sys
from pathlib import Path
from p2c_lib.apply import apply
from p2c_lib.config import load_profile
from p2c_lib.run import open_clients
profile = load_profile("sandbox", Path("nowhere.toml"))
with open_clients(profile) as clients:
    apply(Path(sys.argv[1]), profile, clients)
"""


def test_a_sender_that_is_killed_again_and_again_comes_to_the_same_end(profile, tmp_path):
    with runs.open_clients(profile) as clients:
        run = compare(profile, clients, tmp_path / "run")
        made = plan(run, templates=TEMPLATES, clients=clients)
        approve(run, "ann")
        before = keys_at(clients)
        faults(
            profile,
            {"kind": "latency", "seconds": 0.1, "method": "POST"},
            {"kind": "latency", "seconds": 0.1, "method": "PATCH"},
        )
        journal = plan_folder(run) / "journal.jsonl"
        kills = 0
        for answers in (3, 12, 25):
            sender = subprocess.Popen([sys.executable, "-c", APPLY, str(run)], env=dict(os.environ))
            deadline = time.monotonic() + 60
            while sender.poll() is None and time.monotonic() < deadline:
                if journal.exists() and journal.read_bytes().count(b'"phase":"answer"') >= answers:
                    sender.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.005)
            kills += sender.wait() == -signal.SIGKILL
        assert kills >= 2
        faults(profile)
        done = apply(run, profile, clients)
        assert (done.remaining, done.conflicts) == (0, 0)
        table = journal_table(run)
        creates = table.filter((pl.col("action") == "create") & pl.col("outcome").is_in(["created", "already"]))
        new = {key: rows for key, rows in keys_at(clients).items() if before.get(key) != rows}
        assert sorted(key for _, key in new) == sorted(creates["key"])
        assert set(new.values()) == {1}
        refused = set(table.filter(pl.col("outcome") == "failed").select("task", "key").rows())
        assert still_to_send(profile, clients, tmp_path / "again") == refused
        assert table.height == made.actions().height
