"""New rows of F&O in data packages: what is made of a chunk, what comes back, and what a kill or a lost answer does."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_world import TEMPLATES
from plan_world import World as Sides
from test_sandbox_fno import reference

from p2c_lib.apply import apply
from p2c_lib.channels import ACTIONS, ANSWERS, CELLS, Chunk
from p2c_lib.channels import package as packages
from p2c_lib.channels.package import PACKAGE, offered
from p2c_lib.channels.package_zip import data_file, read_table
from p2c_lib.config import Auth, Limits
from p2c_lib.connect import Client
from p2c_lib.errors import ConnectError, PermissionDenied
from p2c_lib.sandbox.knobs import settings
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.serve import build_app
from p2c_lib.sandbox.store import Store
from p2c_lib.write import approve, plan
from serving import serve

Row = Mapping[str, str | None]

BASE = {"CustomerGroupId": "10", "SalesCurrencyCode": "USD", "OrganizationName": "Mill"}
TEXTS = [
    'quo"ted, "" twice',
    "two\nlines",
    "two\r\nlines",
    "a\rb",
    "comma, semi; tab\tend",
    "שלום עולם",
    "007",
    " padded ",
    "=1+1",
    "naïve 🏭 Ünï",
    "'",
    '"',
    "<a>&amp;</a>",
]
NUMBERS = count()


def client_of(url: str) -> Client:
    return Client("fno", url, Auth(kind="sandbox"), Limits(timeout_s=20, budget_s=5), company="usmf")


def chunk_of(client: Client, rows: Sequence[Row], *, plan: str = "", attempt: int = 1) -> Chunk:
    """Creates of customers, numbered from 0; values as the plan has them."""
    actions = [{"order": at, "action": "create", "target": "{}", "attempt": attempt} for at in range(len(rows))]
    cells = [
        {"order": at, "property": name, "sent": value, "wire": "number" if name == "CreditLimit" else "string"}
        for at, row in enumerate(rows)
        for name, value in {**BASE, **row}.items()
    ]
    return Chunk(
        client.entity("CustomersV2"),
        pl.DataFrame(actions, schema=ACTIONS),
        pl.DataFrame(cells, schema=CELLS),
        number=1,
        plan=plan or f"plan{next(NUMBERS)}",
    )


def some(rows: int, letter: str = "C") -> list[Row]:
    return [{"CustomerAccount": f"{letter}{at:05}"} for at in range(rows)]


class World:
    """One service, and a client of it."""

    def __init__(self, url: str, store: Store) -> None:
        self.url, self.store, self.client = url, store, client_of(url)
        self.http = httpx.Client(base_url=url, timeout=20, trust_env=False)

    def rows(self) -> dict[str, dict[str, Any]]:
        with self.store.read() as t:
            return {row["CustomerAccount"]: row for row in t.rows(t.table("CustomersV2").select())}

    def clear(self) -> None:
        with self.store.transaction() as t:
            for entity in ("CustomersV2", "CDSParties"):
                t.connection.execute(t.table(entity).delete())

    def faults(self, *rules: dict[str, Any]) -> None:
        self.http.delete("/sandbox/faults")
        if rules:
            self.http.post("/sandbox/faults", json=list(rules)).raise_for_status()

    def fired(self) -> int:
        return sum(rule["fired"] for rule in self.http.get("/sandbox/faults").json()["rules"])

    def executions(self) -> list[dict[str, Any]]:
        return list(self.http.get("/data/DataManagementExecutionJobDetails").json()["value"])

    def send(self, rows: Sequence[Row]) -> pl.DataFrame:
        answers = PACKAGE.send(self.client, chunk_of(self.client, rows))
        assert answers.schema == ANSWERS
        assert answers["order"].to_list() == list(range(len(rows)))
        return answers


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    store = Store(tmp_path_factory.mktemp("fno") / "fno.sqlite", load_schema("fno"))
    reference(store)
    with serve(build_app("fno", store, settings(package_row_s=0.0001))) as url:
        world = World(url, store)
        with world.client, world.http:
            yield world
    store.close()


@pytest.fixture
def world(service: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The service without customers and faults, and little patience with lost calls."""
    monkeypatch.setattr(packages, "_APPEARS_S", 0.4)
    service.faults()
    service.clear()
    return service


# --- the file ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), min_size=1))
def test_every_text_comes_out_of_a_file_as_it_went_in(texts: list[str]) -> None:
    rows = pl.DataFrame({"Key": [str(at) for at in range(len(texts))], "Text": texts})
    data = data_file(rows)
    assert data.startswith(b"\xff\xfe")
    assert [text or "" for text in read_table(data)["TEXT"]] == texts


def test_texts_and_decimals_arrive_as_they_were(world: World) -> None:
    rows: list[Row] = [{"CustomerAccount": f"C{at}", "OrganizationName": text} for at, text in enumerate(TEXTS)]
    exact: Row = {"CustomerAccount": "007", "CreditLimit": "12345678901234567.890123", "AddressValidTo": "2026-02-28"}
    rows += [exact, {"CustomerAccount": "L-1", "PrimaryContactLinkedInDescription": "\u05d0x" * 5000}]
    assert world.send(rows)["state"].unique().to_list() == ["created"]
    found = world.rows()
    assert [found[f"C{at}"]["OrganizationName"] for at in range(len(TEXTS))] == TEXTS
    assert found["007"]["CreditLimit"] == "12345678901234567.890123"
    assert found["007"]["AddressValidTo"] == "2026-02-28T00:00:00Z"
    assert found["L-1"]["PrimaryContactLinkedInDescription"] == "\u05d0x" * 5000
    assert all(row["dataAreaId"] == "usmf" and row["PartyNumber"] for row in found.values())


def test_rows_that_say_other_properties_go_in_another_package(world: World) -> None:
    before = len(world.executions())
    rows = [{"CustomerAccount": "C-1"}, {"CustomerAccount": "C-2", "CreditLimit": "5"}, {"CustomerAccount": "C-3"}]
    assert world.send(rows)["state"].to_list() == ["created"] * 3
    made = [one["TargetRecordsCreatedCount"] for one in world.executions()[before:]]
    assert sorted(made) == [1, 2]


def test_only_entities_with_data_management_that_can_be_written_are_offered(world: World) -> None:
    assert offered(world.client, world.client.entity("CustomersV2"))
    assert not offered(world.client, world.client.entity("SellableReleasedProducts"))
    assert PACKAGE.verbs == ("create",)  # an update has an ETag, which a package cannot carry


# --- rows that fail ---------------------------------------------------------------------------------------------------


def test_each_refusal_comes_back_to_its_own_row_with_the_words_of_the_service(world: World) -> None:
    rows: list[Row] = [
        {"CustomerAccount": "C-1"},
        {"CustomerAccount": "C-2", "CustomerGroupId": "77"},
        {"CustomerAccount": 'C,"3"', "SiteId": "none"},
        {"CustomerAccount": "C-4", "SiteId": "1"},
        {"CustomerAccount": "c-2b", "PartyType": "Cat"},
        {"CustomerAccount": "C-6", "IsFuelSurchargeApplied": "Perhaps"},
        {"CustomerAccount": "C-7", "IsFuelSurchargeApplied": "Yes"},
        {"CustomerAccount": None},
    ]
    answers = world.send(rows)
    states = ["created", "failed", "failed", "created", "failed", "failed", "created", "failed"]
    assert answers["state"].to_list() == states
    said = answers["error"].to_list()
    assert "The value '77' in field 'Customer group' is not found" in said[1]
    assert "The value 'none' in field 'Site' is not found" in said[2]
    assert "'Cat'" in said[4] and "'Perhaps'" in said[5] and "whole key" in said[7]
    assert set(world.rows()) == {"C-1", "C-4", "C-7"}


def test_a_package_that_is_refused_fails_all_its_rows_with_the_reason(world: World) -> None:
    chunk = chunk_of(world.client, some(2))
    with Client("fno", world.url, Auth(kind="sandbox"), Limits(budget_s=5), company="zzzz") as elsewhere:
        answers = PACKAGE.send(elsewhere, chunk)
    assert answers["state"].to_list() == ["failed", "failed"]
    assert "Legal entity 'ZZZZ' does not exist" in answers["error"][0]


def test_a_row_without_its_key_is_not_sent(world: World) -> None:
    chunk = chunk_of(world.client, [{}])
    answers = PACKAGE.send(world.client, chunk)
    assert answers["state"].to_list() == ["failed"] and "whole key" in answers["error"][0]
    assert world.rows() == {}


@pytest.mark.parametrize("others", [0, 200], ids=["few in its range", "many in its range"])
def test_a_row_that_is_there_by_now_is_looked_at_and_not_overwritten(world: World, others: int) -> None:
    with world.store.transaction() as t:
        for name in ("b-2", *(f"B-{at:04}x" for at in range(others))):
            t.insert("CustomersV2", {"dataAreaId": "usmf", "CustomerAccount": name, "OrganizationName": "theirs"})
    answers = world.send([{"CustomerAccount": "A-1"}, {"CustomerAccount": "B-2"}, {"CustomerAccount": "c-3"}])
    assert answers.select("state", "again").rows() == [("open", "send"), ("doubt", "look"), ("open", "send")]
    assert world.rows()["b-2"]["OrganizationName"] == "theirs" and len(world.rows()) == others + 1


def test_the_answers_say_so_when_a_row_was_made_in_between_and_overwritten(world: World) -> None:
    world.faults({"kind": "latency", "seconds": 0.4, "path": "ImportFromPackage"})

    def meanwhile() -> None:
        time.sleep(0.25)
        with world.store.transaction() as t:
            t.insert("CustomersV2", {"dataAreaId": "usmf", "CustomerAccount": "C00001", "PartyType": "Organization"})

    other = threading.Thread(target=meanwhile)
    other.start()
    answers = world.send(some(3))
    other.join()
    assert answers["state"].to_list() == ["created"] * 3
    assert answers["error"].str.contains("1 rows of this package .* were overwritten").all()


# --- lost answers, faults, kills --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "drop", "at": "answer", "path": "ImportFromPackage"},
        {"kind": "drop", "at": "before", "path": "ImportFromPackage"},
        {"kind": "error", "status": 503, "done": True, "path": "ImportFromPackage"},
        {"kind": "html", "path": "ImportFromPackage"},
        {"kind": "throttle", "path": "ImportFromPackage"},
        {"kind": "expire", "path": "ImportFromPackage"},
        {"kind": "drop", "at": "answer", "path": "GetAzureWriteUrl"},
        {"kind": "drop", "at": "before", "path": "/dmf/"},
        {"kind": "error", "status": 500, "path": "/dmf/"},
        {"kind": "drop", "path": "GetExecutionSummaryStatus", "first": 3},
        {"kind": "error", "status": 503, "path": "GetExecutionErrors"},
        {"kind": "html", "path": "ErrorKeysFile", "first": 2},
    ],
    ids=lambda rule: f"{rule['kind']} {rule.get('at', '')} {rule['path']}".replace("/", ""),
)
def test_a_fault_at_any_call_neither_loses_nor_doubles_a_row(world: World, rule: dict[str, Any]) -> None:
    world.faults({"first": 1, **rule})
    before = len(world.executions())
    bad: Row = {"CustomerAccount": "bad", "CustomerGroupId": "77"}
    answers = world.send([*some(4), bad])
    assert world.fired() >= 1
    assert answers["state"].to_list() == ["created"] * 4 + ["failed"]
    assert len(world.rows()) == 4
    made = world.executions()[before:]
    assert [(one["TargetRecordsCreatedCount"], one["TargetRecordsUpdatedCount"]) for one in made] == [(4, 0)]


def test_an_address_that_has_ended_is_asked_for_anew(tmp_path: Path) -> None:
    store = Store(tmp_path / "fno.sqlite", load_schema("fno"))
    reference(store)
    with serve(build_app("fno", store, settings(blob_lifetime_s=1.0))) as url:
        world = World(url, store)
        with world.client, world.http:
            world.faults({"kind": "latency", "seconds": 1.2, "path": "ImportFromPackage", "first": 1})
            assert world.send(some(2))["state"].to_list() == ["created"] * 2
            assert world.fired() == 1
    store.close()


def test_a_run_that_must_stop_is_told_by_an_error(world: World) -> None:
    world.faults({"kind": "error", "status": 403, "path": "ImportFromPackage"})
    with pytest.raises(PermissionDenied):
        world.send(some(1))
    world.faults({"kind": "drop", "at": "before", "path": "GetExecutionSummaryStatus"})
    with Client("fno", world.url, Auth(kind="sandbox"), Limits(timeout_s=5, budget_s=0.5), company="usmf") as hasty:
        chunk = chunk_of(world.client, some(1))
        with pytest.raises(ConnectError) as stopped:
            PACKAGE.send(hasty, chunk)
    assert stopped.value.status is None
    assert world.rows() == {}


def test_a_chunk_that_is_given_again_is_not_imported_again(world: World) -> None:
    chunk = chunk_of(world.client, [*some(3), {"CustomerAccount": "bad", "CustomerGroupId": "77"}])
    first = PACKAGE.send(world.client, chunk)
    before = len(world.executions())
    with world.store.transaction() as t:  # somebody changes a row: nothing may write over it
        t.update("CustomersV2", t.get("CustomersV2", {"CustomerAccount": "C00001"})["row_id"], {"NameAlias": "theirs"})
    assert PACKAGE.send(world.client, chunk).equals(first)
    assert world.rows()["C00001"]["NameAlias"] == "theirs"
    assert len(world.executions()) == before


_KILLED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_channel_package import apply, client_of
with client_of(sys.argv[1]) as client:
    apply(Path(sys.argv[2]), None, {"fno": client}, channel="package")
"""


@pytest.mark.parametrize("rule", [{"path": "/dmf/"}, {"path": "GetExecutionSummaryStatus", "after": 1}], ids=str)
def test_an_apply_that_is_killed_goes_on_with_what_it_had_sent(
    world: World, tmp_path: Path, rule: dict[str, Any]
) -> None:
    before, sides = len(world.executions()), Sides()
    sides.fno.root = world.url
    for at in range(1200):
        sides.account(f"{before}-{at:05}")  # another plan each time: its hash names the import
    run = sides.compare(tmp_path, "accounts")
    plan(run, templates=TEMPLATES, clients=sides.clients)
    approve(run, "ann")
    world.faults({"kind": "latency", "seconds": 4, "method": "POST" if "after" in rule else "PUT", **rule})
    process = subprocess.Popen([sys.executable, "-c", _KILLED, world.url, str(run), *sys.path])
    deadline = time.monotonic() + 60
    while not world.fired():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    world.faults()
    assert len(world.executions()) - before == ("after" in rule)  # at the blob nothing had been imported yet
    done = apply(run, None, {"fno": world.client}, channel="package")
    assert (done.created, done.remaining, len(world.rows())) == (1200, 0, 1200)
    made = world.executions()[before:]
    assert [(one["TargetRecordsCreatedCount"], one["TargetRecordsUpdatedCount"]) for one in made] == [(1200, 0)]
    assert apply(run, None, {"fno": world.client}).sent == 0


def test_a_canceled_execution_leaves_its_rows_in_doubt(world: World) -> None:
    chunk = chunk_of(world.client, some(3000), plan="canceled")
    answers: list[pl.DataFrame] = []
    sending = threading.Thread(target=lambda: answers.append(PACKAGE.send(world.client, chunk)))
    before = len(world.executions())
    sending.start()
    while len(world.executions()) == before or not world.executions()[-1]["TargetRecordsCreatedCount"]:
        time.sleep(0.02)
    name = world.executions()[-1]["JobId"]
    world.http.post("/sandbox/packages", json={"cancel": name}).raise_for_status()
    sending.join()
    assert 0 < len(world.rows()) < 3000
    assert answers[0].select("state", "again").unique().rows() == [("doubt", "look")]
    assert name in answers[0]["error"][0]


def test_two_packages_at_once_do_not_get_into_each_others_way(world: World) -> None:
    with client_of(world.url) as second:
        jobs = [(world.client, "A"), (second, "B"), (world.client, "C")]
        chunks = [(client, chunk_of(client, some(700, letter))) for client, letter in jobs]
        answers: list[pl.DataFrame] = []
        threads = [threading.Thread(target=lambda c=c, k=k: answers.append(PACKAGE.send(c, k))) for c, k in chunks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert pl.concat(answers)["state"].to_list() == ["created"] * 2100
    assert len(world.rows()) == 2100
