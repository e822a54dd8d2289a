"""Loads that are killed while both services fail at random, and two writers at once; ``make chaos`` is longer."""

from __future__ import annotations

import os
import threading
import time

import httpx
import polars as pl
import pytest
from chaos import SHORT, TASKS, go_through
from pair import Pair

from p2c_lib.load import Standing, run_load
from p2c_lib.load_plan import approve, survey
from p2c_lib.model import find_task, load_templates
from p2c_lib.pull import pull
from p2c_lib.sandbox import lifecycle

TEMPLATES = load_templates()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_load_that_is_killed_and_failed_at_random_loses_and_doubles_nothing(tmp_path):
    seed = int(os.environ.get("P2C_CHAOS_SEED", "7"))  # the moments of the kills are another matter each time
    told = go_through(tmp_path, SHORT, seed=seed, kills=3, odds=0.006, bucket_rows=500, every_s=3.0)
    assert told.faults > 10, told
    assert told.left == dict.fromkeys(TASKS, 0), told
    assert (told.lost, told.doubled, told.unsettled) == ({}, 0, 0), told


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    made = Pair(tmp_path_factory.mktemp("writers"), counts={"accounts": 120, "contacts": 0, "products": 5})
    yield made
    lifecycle.stop(made.folder)


def test_a_change_that_another_writer_makes_meanwhile_is_told_and_not_overwritten(pair):
    """Every row differs; the other one writes some of them, over and over, from the moment that ours are sent."""
    accounts = found(pair)["CustomerAccount"].to_list()
    for account in accounts:
        pair.change("fno", "CustomersV2", key_of(account), {"SalesMemo": "before"})
    theirs, is_over = set(accounts[::2]), threading.Event()
    began = threading.Event()

    def write() -> None:
        with httpx.Client(base_url=pair.state["fno_url"], trust_env=False, timeout=60) as http:
            for account in [*theirs, *theirs]:
                address = f"/data/CustomersV2(dataAreaId='usmf',CustomerAccount='{account}')"
                http.patch(address, json={"SalesMemo": "theirs"}).raise_for_status()
        is_over.set()

    def told(now: Standing) -> None:
        if now.step == "sending" and not began.is_set():
            began.set()
            threading.Thread(target=write).start()
            time.sleep(0.05)

    with pair.clients() as clients:
        task = find_task("accounts", TEMPLATES)
        load = survey(pair.profile(), clients, [task], TEMPLATES, pair.folder / "ours", update=True)
        load = run_load(approve(load, "a tester"), pair.profile(), clients, TEMPLATES, progress=told)
    assert is_over.wait(60)
    memos = dict(found(pair).select("CustomerAccount", "SalesMemo").iter_rows())
    assert {memos[account] for account in theirs} == {"theirs"}
    assert "before" not in memos.values()
    (line,) = load.facts["outcome"]
    assert line["updated"] + line["conflict"] == len(accounts)
    assert line["updated"] >= len(accounts) - len(theirs)
    left = pl.read_parquet(load.folder / "left.parquet")
    conflicts = set(left.filter(pl.col("sent") == "conflict")["key"])
    assert conflicts <= theirs and len(conflicts) == line["conflict"] > 0


def test_two_loads_at_once_make_every_row_once(pair):
    accounts = found(pair)["CustomerAccount"].to_list()
    with httpx.Client(base_url=pair.state["fno_url"], trust_env=False, timeout=60) as http:
        for account in accounts:
            http.delete(f"/data/CustomersV2(dataAreaId='usmf',CustomerAccount='{account}')").raise_for_status()
    task, done = find_task("accounts", TEMPLATES), {}

    def one(name: str) -> None:
        with pair.clients() as clients:
            load = survey(pair.profile(), clients, [task], TEMPLATES, pair.folder / name, bucket_rows=60)
            done[name] = run_load(approve(load, name), pair.profile(), clients, TEMPLATES)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    lines = [load.facts["outcome"][0] for load in done.values()]
    assert sum(line["created"] for line in lines) == len(accounts)
    assert found(pair)["CustomerAccount"].sort().to_list() == sorted(accounts)
    assert [line["matched"] for line in lines] == [len(accounts)] * 2


def key_of(account: str) -> dict[str, str]:
    return {"dataAreaId": "usmf", "CustomerAccount": account}


def found(pair: Pair) -> pl.DataFrame:
    """The customers that Sales has sent."""
    with pair.clients() as clients:
        rows = pull(clients["fno"], "CustomersV2", ["CustomerAccount", "SalesMemo", "IsExternallyMaintained"])
    return rows.filter(pl.col("IsExternallyMaintained") == "Yes")
