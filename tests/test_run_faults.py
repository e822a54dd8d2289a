"""Each fault of a service, over real HTTP: the same end as without it, or a failure in words that harms nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pytest
from pair import Pair
from polars.testing import assert_frame_equal

from p2c_lib import apply as applying
from p2c_lib import cli, write
from p2c_lib import folder as folders
from p2c_lib import run as runs
from p2c_lib.connect import Client
from p2c_lib.errors import WITHHELD, ConnectError, PermissionDenied, SignInError, Throttled
from p2c_lib.model import find_task, load_templates
from p2c_lib.places import task_folder
from p2c_lib.pull import pull
from p2c_lib.sandbox import lifecycle

TEMPLATES = load_templates()
COUNTS = {"accounts": 60, "contacts": 120, "products": 60}
LIMITS = {"page_rows": 40, "parallel": 4, "timeout_s": 5, "budget_s": 25}
HOPELESS = {"page_rows": 40, "parallel": 4, "timeout_s": 0.5, "budget_s": 1.5}
WRITTEN = (("sales", "products"), ("fno", "CustomersV2"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("pair"), push=LIMITS, drift=True, counts=COUNTS, page_rows=30)
    yield made
    lifecycle.stop(made.folder)


@pytest.fixture(autouse=True)
def no_faults(pair: Pair) -> Iterator[None]:
    yield
    pair.faults()


@pytest.fixture(scope="module")
def clients(pair: Pair) -> Iterator[dict[str, Client]]:
    with pair.clients() as both:
        yield both


def compared(clients: Mapping[str, Client]) -> dict[str, pl.DataFrame]:
    """The tables of outcomes of a task each way; the second one has parents."""
    tables = {}
    for name in ("products", "contacts"):
        task = find_task(name, TEMPLATES)
        sides = runs.read_sides(task, clients)
        tables[name] = runs.compare_sides(task, sides, {s: client.metadata() for s, client in clients.items()}).table
        for client in clients.values():
            client.cache.clear()
    return tables


@pytest.fixture(scope="module")
def undisturbed(clients: dict[str, Client]) -> dict[str, pl.DataFrame]:
    return compared(clients)


# reading ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "rules",
    [
        pytest.param([{"kind": "latency", "seconds": 0.1, "every": 3}], id="latency"),
        pytest.param([{"kind": "throttle", "retry_after": 1, "after": 3, "first": 2}], id="429 with Retry-After"),
        pytest.param(
            [{"kind": "throttle", "retry_after": None, "system": "sales", "first": 1}], id="429 without Retry-After"
        ),
        pytest.param([{"kind": "error", "status": 503, "every": 5}], id="503"),
        pytest.param([{"kind": "error", "status": 503, "retry_after": 1, "first": 1}], id="503 with Retry-After"),
        pytest.param([{"kind": "error", "status": 500, "every": 6}], id="500 now and then"),
        pytest.param([{"kind": "drop", "at": "body", "every": 5}], id="cut in the middle of a body"),
        pytest.param([{"kind": "drop", "at": "before", "every": 5}], id="cut before an answer"),
        pytest.param([{"kind": "html", "status": 502, "every": 5}], id="a gateway's page"),
        pytest.param(
            [{"kind": "expire", "after": 3, "first": 1}, {"kind": "expire", "after": 15, "first": 1}],
            id="tokens that end early",
        ),
    ],
)
def test_a_comparison_through_a_fault_ends_as_without_it(pair, clients, undisturbed, rules):
    pair.faults(*rules)
    through = compared(clients)
    assert pair.fired() > 0
    for name, table in undisturbed.items():
        assert_frame_equal(through[name], table)


def test_sign_in_and_metadata_go_through_faults_too(pair, undisturbed):
    pair.faults(
        {"kind": "latency", "seconds": 0.02, "every": 3},
        {"kind": "drop", "every": 11},
        {"kind": "html", "every": 23},
        {"kind": "expire", "every": 17},
        {"kind": "throttle", "after": 20, "first": 1},
    )
    with pair.clients() as fresh:
        through = compared(fresh)
    assert pair.fired() > 5
    for name, table in undisturbed.items():
        assert_frame_equal(through[name], table)


FNO_THEN_SALES = [
    [
        ({"kind": "throttle", "retry_after": 1}, ["Throttled", "limits.parallel", "limits.budget_s"]),
        ({"kind": "throttle", "retry_after": 3600}, ["Throttled", "asks to wait 3600 s", "1.5 s budget"]),
    ],
    [
        ({"kind": "error", "status": 503, "message": "Down today"}, ["ServiceError", "Down today", "503", "given up"]),
        ({"kind": "error", "status": 500, "message": "A bug"}, ["ServiceError", "A bug", "500", "the same 3 times"]),
    ],
    [
        ({"kind": "drop", "at": "body"}, ["no whole answer from http", "given up after"]),
        ({"kind": "latency", "seconds": 1.2}, ["ReadTimeout", "given up after"]),
    ],
    [
        ({"kind": "html", "status": 502}, ["services aren't available right now", "502"]),
        ({"kind": "html", "status": 200}, ["HTML instead of JSON", "200"]),
    ],
    [
        ({"kind": "expire"}, ["SignInError", "a fresh token was refused too"]),
        ({"kind": "error", "status": 403, "message": "No privilege"}, ["PermissionDenied", "grant that privilege"]),
    ],
]


@pytest.mark.parametrize("faults", FNO_THEN_SALES, ids=lambda faults: " and ".join(r["kind"] for r, _ in faults))
def test_a_fault_that_stays_fails_its_task_in_words_and_no_other(pair, tmp_path, monkeypatch, faults):
    monkeypatch.setattr(runs, "validate_task", lambda *_: [])  # takes its time and asks no service
    (fno_rule, fno_words), (sales_rule, sales_words) = faults
    pair.faults({**fno_rule, "path": "^/data/CDSContactPersons"}, {**sales_rule, "path": r"^/api/data/v9.2/products\b"})
    tasks = [find_task(name, TEMPLATES) for name in ("contacts", "products", "accounts")]
    folder = runs.execute(pair.profile(limits=HOPELESS), tasks, tmp_path / "run", {})
    run = folders.read_run(folder)
    contacts, products, accounts = run["tasks"]
    assert run["exit_code"] == 2
    assert [word for word in ["CDSContactPersons", *fno_words] if word not in contacts["error"]] == []
    assert [word for word in ["products", *sales_words] if word not in products["error"]] == []
    assert "error" not in accounts and accounts["matched"] > 0
    assert set(pl.read_parquet(folder / "outcomes.parquet")["task"]) == {"accounts"}


def test_the_command_line_tells_a_failed_task_and_finishes_the_other(pair, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "validate_task", lambda *_: [])
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(pair.folder))
    monkeypatch.setenv("P2C_LIMITS__BUDGET_S", "1")
    pair.faults({"kind": "error", "status": 503, "path": "^/data/CDSContactPersons"})
    folder = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["p2c", "run", "contacts", "products", "--no-notebooks", "--out", str(folder)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert "contacts failed: the service failed (ServiceError): " in err and "[HTTP 503]" in err and "products" in out
    products, contacts = folders.read_run(folder)["tasks"]  # in the order of running, not of asking
    assert "CDSContactPersons" in contacts["error"] and "error" not in products
    page = (folder / "report.html").read_text("utf-8")
    assert "contacts did not come to an end" in page and "[HTTP 503]" in page


def test_a_mistake_of_our_own_in_one_task_is_told_in_words_and_the_other_is_finished(pair, tmp_path, monkeypatch):
    def mistaken(task, *rest):
        assert task.name == "products" or {}["nowhere"]
        return []

    pair.faults()
    monkeypatch.setattr(runs, "validate_task", mistaken)
    folder = runs.execute(
        pair.profile(), [find_task(name, TEMPLATES) for name in ("contacts", "products")], tmp_path / "run", {}
    )
    run = folders.read_run(folder)
    contacts, products = run["tasks"]
    place = task_folder(folder, "contacts") / "traceback.txt"
    where = rf"line \d+ of run\.py \(all of it: {re.escape(str(place))}\)"
    words = rf"an error of this program \(KeyError\), {where}: {WITHHELD}"
    assert re.fullmatch(words, contacts["error"])
    assert "KeyError: 'nowhere'" in place.read_text()
    assert "error" not in products and run["exit_code"] == 2


@pytest.mark.slow
def test_a_notebook_that_fails_is_kept_and_its_error_is_the_runs(pair, tmp_path):
    pair.faults({"kind": "error", "status": 503, "path": "^/data/CDSContactPersons"})
    folder = tmp_path / "run"
    ended = subprocess.run(
        [sys.executable, "-c", "from p2c_lib.cli import main; main()", "run", "contacts", "--out", str(folder)],
        env={**os.environ, "P2C_SANDBOX_DIR": str(pair.folder), "P2C_LIMITS__BUDGET_S": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 2, ended.stderr
    words = (" of contacts.ipynb", "[HTTP 503]")
    assert all(word in ended.stderr for word in words) and "Traceback" not in ended.stderr, ended.stderr
    assert "[HTTP 503]" in folders.read_run(folder)["tasks"][0]["error"]
    assert "ServiceError" in (folder / "notebooks" / "contacts.ipynb").read_text("utf-8")


# writing ----------------------------------------------------------------------------------------------------------
class Planned:
    """A plan of a fresh comparison, and what both destinations hold."""

    def __init__(self, pair: Pair, place: Path) -> None:
        pair.ask("sales", "POST", "reset")
        self.pair = pair
        self.folder = pair.run(str(place), tasks=("products", "accounts"))
        with pair.clients() as clients:
            self.plan = write.plan(self.folder, templates=TEMPLATES, clients=clients)
        write.approve(self.folder, "ann")

    def apply(self, **limits: float) -> applying.Applied:
        profile = self.pair.profile(limits={**LIMITS, **limits})
        with runs.open_clients(profile) as clients:
            return applying.apply(self.folder, profile, clients)

    def held(self) -> dict[str, pl.DataFrame]:
        """The columns that the plan writes, of every row."""
        found = {}
        with self.pair.clients() as clients:
            for system, entity in WRITTEN:
                known = clients[system].entity(entity)
                mine = self.plan.rows.filter(pl.col("entity") == entity, pl.col("wire") != "bind")
                columns = sorted({name for name in mine["property"] if name in known.columns} - set(known.key))
                rows = pull(clients[system], entity, columns)
                found[entity] = rows.select(sorted({*columns, *known.key} - {"productid"})).sort(pl.all())
        return found

    def outcomes(self) -> dict[str, int]:
        table = applying.journal_table(self.folder)
        return dict(table["outcome"].value_counts().iter_rows())


@pytest.fixture(scope="module")
def written(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, pl.DataFrame], dict[str, int]]:
    """What stands at the destinations after the plan was applied without any fault, and what became of its actions."""
    planned = Planned(pair, tmp_path_factory.mktemp("written") / "run")
    done = planned.apply()
    assert (done.failed, done.conflicts, done.remaining) == (0, 0, 0) and done.created and done.updated
    return planned.held(), planned.outcomes()


def assert_same(planned: Planned, written: tuple[dict[str, pl.DataFrame], dict[str, int]]) -> None:
    """Nothing lost, nothing doubled, nothing left to send."""
    rows, outcomes = written
    now = planned.outcomes()
    # a call that was done and whose answer was lost may be found done later
    assert set(now) <= {"created", "updated", "already", "held"} and sum(now.values()) == sum(outcomes.values())
    assert now.get("held") == outcomes.get("held")
    for entity, frame in planned.held().items():
        assert_frame_equal(frame, rows[entity])
    assert planned.apply().sent == 0


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(
            [
                {"kind": "throttle", "retry_after": 1, "method": "POST", "after": 2, "first": 1},
                {"kind": "throttle", "retry_after": 1, "method": "PATCH", "after": 9, "first": 1},
                {"kind": "expire", "method": "POST", "after": 3, "first": 1},
                {"kind": "expire", "method": "PATCH", "after": 5, "first": 1},
                {"kind": "error", "status": 503, "retry_after": 1, "method": "PATCH", "after": 7, "first": 1},
            ],
            id="refused, to come again",
        ),
        pytest.param(
            [
                {"kind": "error", "status": 503, "method": "POST", "every": 3},
                {"kind": "error", "status": 500, "method": "PATCH", "every": 4},
            ],
            id="5xx, not done",
        ),
        pytest.param(
            [
                {"kind": "error", "status": 503, "done": True, "method": "POST", "every": 3},
                {"kind": "error", "status": 500, "done": True, "method": "PATCH", "every": 4},
            ],
            id="5xx, done all the same",
        ),
        pytest.param(
            [
                {"kind": "drop", "at": "answer", "method": "POST", "every": 2},
                {"kind": "drop", "at": "answer", "method": "PATCH", "every": 3},
            ],
            id="done, and the answer lost",
        ),
        pytest.param(
            [
                {"kind": "drop", "at": "before", "method": "POST", "every": 3},
                {"kind": "drop", "at": "body", "method": "PATCH", "every": 3},
                {"kind": "html", "done": True, "method": "POST", "every": 4},
                {"kind": "html", "method": "PATCH", "every": 5},
            ],
            id="cut connections and gateways' pages",
        ),
    ],
)
def test_a_plan_applied_through_faults_leaves_what_it_leaves_without_them(pair, written, tmp_path, rules):
    planned = Planned(pair, tmp_path / "run")
    pair.faults(*rules)
    first = planned.apply()
    assert pair.fired() > 0 and first.sent > 0
    pair.faults()
    if first.remaining:
        planned.apply()
    assert_same(planned, written)


def test_rows_that_change_under_the_client_are_left_alone_and_named(pair, written, tmp_path):
    planned = Planned(pair, tmp_path / "run")
    before = planned.held()["CustomersV2"]
    pair.faults({"kind": "etag", "method": "PATCH", "path": "CustomersV2", "after": 3, "first": 2})
    done = planned.apply()
    assert (done.conflicts, done.failed, done.remaining) == (2, 0, 0)
    left = applying.journal_table(planned.folder).filter(pl.col("outcome") == "conflict")
    key = pl.col("CustomerAccount").is_in(left["key"].to_list())
    assert_frame_equal(planned.held()["CustomersV2"].filter(key), before.filter(key))
    rows, _ = written
    assert_frame_equal(planned.held()["CustomersV2"].filter(~key), rows["CustomersV2"].filter(~key))


def test_an_apply_that_must_stop_says_why_and_goes_on_later(pair, written, tmp_path):
    planned = Planned(pair, tmp_path / "run")
    for rule, kind, words in (
        ({"kind": "throttle", "retry_after": 600}, Throttled, "lower limits.parallel"),
        ({"kind": "error", "status": 403, "message": "no privilege"}, PermissionDenied, "grant that privilege"),
        ({"kind": "expire"}, SignInError, "a fresh token was refused too"),
    ):
        before = planned.outcomes().get("updated", 0)
        pair.faults({**rule, "method": "PATCH", "after": 2})
        with pytest.raises(kind, match=words):
            planned.apply(budget_s=1.5)
        assert before <= planned.outcomes().get("updated", 0) <= before + 2
    pair.faults()
    planned.apply()
    assert_same(planned, written)


# https and real limits --------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Served over TLS, with a window of requests and few at a time for each user."""
    sizes = {"requests": 60, "concurrent": 3, "window_s": 1.5}
    folder = tmp_path_factory.mktemp("guarded")
    how = {"tls": True, "drift": True, "counts": COUNTS, "limits": {"sales": sizes, "fno": sizes}}
    made = Pair(folder, push={**LIMITS, "budget_s": 60}, **how)
    yield made
    lifecycle.stop(folder)


def test_real_windows_and_the_throw_away_certificate_change_no_outcome(guarded):
    with guarded.clients() as both:
        tables = compared(both)
        assert sum(client.stats.retries for client in both.values()) > 0
    truth = guarded.truth().filter(pl.col("task").is_in(list(tables)))
    seen = pl.concat(tables.values()).select(truth.columns).unique()
    assert_frame_equal(seen.sort(pl.all()), truth.sort(pl.all()))


@pytest.mark.parametrize(
    "auth", [{"kind": "sandbox"}, {"kind": "token", "token": "any"}], ids=lambda auth: auth["kind"]
)
def test_a_certificate_that_nobody_vouches_for_is_told_with_what_to_do(guarded, auth):
    profile = guarded.profile(ca_file=None, auth=auth)
    with runs.open_clients(profile) as both, pytest.raises(ConnectError) as caught:
        both["fno"].get("CustomersV2")
    assert "certificate" in str(caught.value).lower() and "ca_file" in str(caught.value)
    assert guarded.state["fno_url"] in str(caught.value)
