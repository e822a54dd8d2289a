"""Two applies on one store at once, and applies killed anywhere: the store is whole, the rerun ends in one state."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time

import polars as pl
import pytest
from pair import Pair

from p2c_lib import folder as folders
from p2c_lib import legs, write
from p2c_lib.places import plan_folder, working_folder
from p2c_lib.sandbox import lifecycle
from p2c_lib.store import connect_store

MASTERS = ["products", "accounts", "contacts", "contacts_to_customer"]
KILLS = int(os.environ.get("P2C_KILLS", "4"))  # `make chaos` asks for ten
COMMAND = [sys.executable, "-c", "from p2c_lib.cli import main; main()"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    made = Pair(tmp_path_factory.mktemp("kills"), size="small", drift=False)
    yield made
    lifecycle.stop(made.folder)


def planned(pair, name):
    """A run whose plan is approved and not sent."""
    run = pair.run(name, tasks=MASTERS, route="cds")
    with pair.clients("cds") as clients:
        write.plan(run, templates=legs.templates_for(pair.profile(), "cds"), clients=clients)
    return run


def applying(pair, run):
    environment = {**os.environ, "P2C_SANDBOX_DIR": str(pair.folder)}  # home is where the run was made, by our own
    return subprocess.Popen(
        [*COMMAND, "apply", str(run), "--yes"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def content(pair):
    """Every staged row, without who wrote it when."""
    store = connect_store(pair.profile()).store
    tables = {name: store.read(name).drop("staged_at", "run_id") for name in ("Account", "Contact", "Product")}
    return {name: frame.sort(store.declared(name).key) for name, frame in tables.items()}


@pytest.mark.slow
@pytest.mark.timeout(300 + 60 * KILLS)
def test_an_apply_that_is_killed_anywhere_leaves_a_whole_store_and_the_next_ends_in_the_same_state(pair):
    run = planned(pair, "killed")
    places = {"shown": run, "working": working_folder(run)}
    for name, place in places.items():
        shutil.copytree(place, pair.folder / "plan-only" / name)
    journal = plan_folder(run) / "journal.jsonl"
    whole = applying(pair, run)
    while not journal.exists() and whole.poll() is None:
        time.sleep(0.005)
    began = time.monotonic()
    assert whole.wait(120) == 0, whole.stderr.read()
    took = time.monotonic() - began
    wanted = content(pair)
    assert {name: frame.height for name, frame in wanted.items()} == {"Account": 458, "Contact": 200, "Product": 120}

    moments, kinds = random.Random(7), set()
    for number in range(KILLS):
        shutil.rmtree(pair.folder / "store")
        for name, place in places.items():
            shutil.rmtree(place)
            shutil.copytree(pair.folder / "plan-only" / name, place)
        process = applying(pair, run)
        while not journal.exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, took * 0.8))
        process.kill()
        process.wait()
        process.stderr.close()
        store = connect_store(pair.profile()).store
        rows = {name: store.read(name).height for name in ("Account", "Contact", "Product")}
        assert rows["Account"] in (0, 300, 458), "a merge is whole or not there"
        assert (rows["Contact"], rows["Product"]) in {(0, 0), (0, 120), (200, 120)}
        kinds.add(tuple(rows.values()))
        done = pair.apply(run)
        assert (done.failed, done.conflicts, done.remaining, done.held) == (0, 0, 0, 0), f"kill {number}"
        for name, frame in content(pair).items():
            assert frame.equals(wanted[name]), name
        assert pair.apply(run).sent == 0
    assert len(kinds) > 1, "the kills fell at different points"
    whole.stderr.close()


def test_two_applies_at_once_lose_nothing_and_write_no_row_twice(pair):
    shutil.rmtree(pair.folder / "store", ignore_errors=True)
    runs = [planned(pair, name) for name in ("one", "other")]
    processes = [applying(pair, run) for run in runs]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    tables = content(pair)
    assert {name: frame.height for name, frame in tables.items()} == {"Account": 458, "Contact": 200, "Product": 120}
    assert not tables["Account"]["AccountId"].is_duplicated().any()
    after = pair.run("after", tasks=MASTERS, route="cds")
    table = pl.read_parquet(after / "outcomes.parquet")
    assert table.filter((pl.col("outcome") != "excluded") & (pl.col("task").str.ends_with("_to_cds"))).rows() == []
    assert folders.read_run(after)["route"] == "cds"
