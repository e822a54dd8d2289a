"""Bad input on purpose: settings, overlays, addresses, parameters, commands, and data that means harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from pair import Pair

from p2c_lib import apply as applying
from p2c_lib import cli, execution, notebook, write
from p2c_lib import folder as folders
from p2c_lib import run as runs
from p2c_lib.errors import ConfigError, ParameterError
from p2c_lib.model import find_task, load_templates
from p2c_lib.places import plan_folder, task_folder
from p2c_lib.pull import pull
from p2c_lib.sandbox import lifecycle

TEMPLATES = load_templates()
COUNTS = {"accounts": 40, "contacts": 40, "products": 20}
KEYS = [
    "O'Brien''s",
    "a|b",
    '"quoted"',
    "😀 key",
    "مرحبا-1",
    "<b>&amp;",
    "50% #1?x=1&y",
    "a/b\\c",
    "k+1 x",
    "(x)='1'",
    "a,b;c",
    "$filter eq 1",
    "st*r",
    "L" * 300,  # longer than any number of F&O: compared, never made
]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("pair"), push={"budget_s": 10}, counts=COUNTS)
    yield made
    lifecycle.stop(made.folder)


@pytest.fixture
def home(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with the sandbox at hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("P2C_HOME", str(tmp_path))
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(pair.folder))
    monkeypatch.setenv("P2C_LIMITS__BUDGET_S", "5")
    return tmp_path


@pytest.fixture
def p2c(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process: exit code, standard output, standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["p2c", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


# words of the command line ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "acounts"], "no task 'acounts'; did you mean 'accounts' or 'contacts'?"),
        (["run"], "name the tasks to run, or give --all; known: products, accounts"),
        (["run", "accounts", "--all"], "name the tasks to run, or give --all"),
        (["run", "accounts", "--company", "far too long"], "company='far too long' cannot be one"),
        (["run", "accounts", "--lag-minutes", 10**15], "--lag-minutes"),
        (["run", "accounts", "--profile", "contso"], "no profile 'contso'; known: sandbox"),
        (["run", "accounts", "--no-notebooks", "--out", "/proc/none"], "/proc/none: no run can be kept there"),
        (["plan", "nowhere"], "nowhere holds no run (no run.json)"),
        (["apply", "nowhere", "--yes"], "nowhere holds no plan; make one first"),
        (["report", "nowhere"], "nowhere holds no run"),
        (["templates", "show", "acounts"], "no template 'acounts'; known: products, accounts"),
        (["sandbox", "reset", "--dir", "nowhere"], "no sandbox to reset"),
        (["sandbox", "start", "--dir", "sb", "--size", "huge"], "huge"),
        (["sandbox", "start", "--dir", "sb", "--wrong", "everything"], "'everything': not a known way"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_wrong_command_ends_with_2_and_says_what_would_be_right(p2c, words, said):
    code, out, err = p2c(*words)
    assert code == 2
    assert said in err and out == ""


def test_a_sandbox_that_runs_is_not_started_twice(p2c, pair):
    code, _, err = p2c("sandbox", "start", "--detach", "--dir", pair.folder)
    assert code == 2
    assert "this sandbox is running; stop it first: p2c sandbox stop" in err
    assert lifecycle.status(pair.folder)["running"]


def test_an_error_is_a_message_and_no_traceback_in_a_process_of_its_own(home):
    ended = subprocess.run(
        [sys.executable, "-c", "from p2c_lib.cli import main; main()", "run", "acounts"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("ParameterError: no task 'acounts'") and "Traceback" not in ended.stderr


def test_a_company_that_fno_does_not_have_is_not_taken_for_an_empty_one(p2c, home):
    code, _, err = p2c("run", "products", "--no-notebooks", "--company", "usmx", "--out", "run")
    assert code == 2
    assert "has no company 'usmx'; known: demf, usmf" in err
    assert "no company 'usmx'" in folders.read_run(home / "run")["tasks"][0]["error"]


def test_a_run_in_a_folder_named_from_here_is_complete(p2c, home):
    code, out, _ = p2c("run", "products", "--no-notebooks", "--out", "here")
    assert code == 0
    assert (home / "here" / "docs" / "index.html").exists() and "report.html" in out


# settings ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('profile = "contoso"\n[profiles.contso]\n', "no profile 'contoso'; known: contso, sandbox"),
        ('profile = "x"\n[profiles.x]\nsalse = {}\n', "unknown key 'salse' (did you mean 'sales'?)"),
        ('profile = "x"\n[profiles.x.fno]\nurl = "http://fno.example"\n', "write https://"),
        ('profile = "x"\n[profiles.x.auth]\nclient_secret = "s3cret"\n', "P2C_AUTH__CLIENT_SECRET"),
        ('profile = "x\n', "not TOML"),
    ],
)
def test_a_wrong_profile_file_is_named_with_the_place(p2c, home, toml, said):
    (home / "p2c.toml").write_text(toml)
    code, _, err = p2c("run", "accounts", "--no-notebooks")
    assert code == 2
    assert "p2c.toml" in err and said in err and "s3cret" not in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("overlay: x\ntasks:\n  accounts: {fields: [\n", "line 4, column 1: not YAML"),
        (
            "overlay: x\ntasks:\n  accounts:\n    fields:\n      SalesMmo: drop\n",
            "tasks.accounts.fields.SalesMmo: no field 'SalesMmo'; did you mean 'SalesMemo'?",
        ),
        ("overlay: x\ntasks:\n  acounts: {fields: {}}\n", "tasks.acounts: no task 'acounts'; did you mean 'accounts'"),
        ("overlay: x\ntemplate_x: {}\n", "template_x: no such entry; known: overlay, note, value_maps, tasks"),
        ("- a\n- b\n", "holds no entries"),
        ("overlay: x\nvalue_maps: {contry: {entries: {a: b}}}\n", "contry"),
    ],
    ids=["broken", "field", "task", "entry", "a list", "value map"],
)
def test_a_wrong_overlay_is_named_with_file_place_and_near_match(p2c, home, monkeypatch, text, said):
    (home / "site.yaml").write_text(text)
    monkeypatch.setenv("P2C_OVERLAYS", '["site.yaml"]')
    code, _, err = p2c("run", "accounts", "--no-notebooks", "--out", "run")
    assert code == 2
    assert "site.yaml: " in err and said in err
    assert not (home / "run").exists()


# addresses and rights ---------------------------------------------------------------------------------------------
@pytest.fixture
def stranger() -> Iterator[Callable[[int, str, bytes], str]]:
    """Serve one answer to every request; give the address."""
    servers = []

    def serve(status: int, kind: str, body: bytes) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (404, "text/html", b"<html><h1>Not here</h1></html>", "Not here"),
        (200, "text/html", b"<html><title>Welcome</title></html>", "HTML instead of JSON: Welcome"),
        (200, "application/json", b'{"hello": "world"}', "$metadata"),
        (200, "application/xml", b"<feed><entry/></feed>", "$metadata"),
        (200, "application/xml", b"<cut", "$metadata"),
        (200, "text/plain", b"", "$metadata"),
        (302, "text/plain", b"", "redirect"),
    ],
    ids=["404 page", "a site", "other JSON", "other XML", "broken XML", "nothing", "redirect"],
)
def test_an_address_that_is_no_odata_service_is_named(pair, tmp_path, stranger, status, kind, body, said):
    url = stranger(status, kind, body)
    auth = {"kind": "token", "token": "any"}
    profile = pair.profile(fno={"url": url}, auth=auth)
    folder = runs.execute(profile, [find_task("accounts", TEMPLATES)], tmp_path / "run", {})
    run = folders.read_run(folder)
    assert run["exit_code"] == 2
    assert said in run["tasks"][0]["error"] and url in run["tasks"][0]["error"]


def test_a_port_where_nobody_listens_is_named_soon(pair, tmp_path):
    profile = pair.profile(sales={"url": "http://127.0.0.1:9"}, auth={"kind": "token", "token": "any"})
    folder = runs.execute(profile, [find_task("accounts", TEMPLATES)], tmp_path / "run", {})
    error = folders.read_run(folder)["tasks"][0]["error"]
    assert "cannot reach http://127.0.0.1:9" in error and "is http://127.0.0.1:9 right?" in error
    assert folders.read_run(folder)["seconds"] < 8


def test_systems_that_were_mixed_up_are_told(pair, tmp_path):
    urls = {"sales": {"url": pair.state["fno_url"]}, "fno": {"url": pair.state["sales_url"]}}
    folder = runs.execute(pair.profile(**urls), [find_task("accounts", TEMPLATES)], tmp_path / "run", {})
    assert "It must be the root of Dynamics 365" in folders.read_run(folder)["tasks"][0]["error"]


@pytest.mark.slow
def test_what_the_user_may_not_read_fails_its_tasks_with_the_privilege(tmp_path):
    guarded = Pair(tmp_path / "sb", counts=COUNTS, wrong=("fno_read",), require_token=True)
    try:
        tasks = [find_task(name, TEMPLATES) for name in ("accounts", "products")]
        run = folders.read_run(runs.execute(guarded.profile(), tasks, tmp_path / "run", {}))
        accounts, products = run["tasks"]
        assert accounts["error"].startswith("not permitted (PermissionDenied): ") and "CustomersV2" in accounts["error"]
        assert "grant that privilege" in accounts["error"] and "error" not in products
        assert run["exit_code"] == 2
        strange = guarded.profile(auth={"kind": "token", "token": "of another service"})
        run = folders.read_run(runs.execute(strange, tasks, tmp_path / "strange", {}))
        assert all("P2C_AUTH__TOKEN" in task["error"] for task in run["tasks"])
        assert "of another service" not in json.dumps(run)
    finally:
        lifecycle.stop(guarded.folder)


# parameters of notebooks ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"task": 5}, "task=5 is int; it must be str"),
        ({"task": None}, "task=None is NoneType"),
        ({"task": "acounts"}, "did you mean 'accounts'"),
        ({"mode": "aply"}, "mode='aply' is not known; use 'plan' (nothing is written) or 'apply'"),
        ({"mode": "apply"}, "needs approved_by"),
        ({"mode": "apply", "approved_by": "  "}, "needs approved_by"),
        ({"sample": "3"}, "sample='3' is str; it must be int"),
        ({"sample": -1}, "sample=-1 is out of range"),
        ({"lag_minutes": True}, "lag_minutes=True is bool; it must be int"),
        ({"lag_minutes": 10**15}, "it must be from 0 to 1,000,000"),
        ({"company": "us mf!"}, "company='us mf!' cannot be one"),
        ({"profile": False}, "profile=False is bool; it must be str"),
        ({"profile": "contso"}, "no profile 'contso'"),
        ({"mode": 1, "sample": "x"}, "mode=1 is int; it must be str; sample='x' is str"),
    ],
    ids=str,
)
def test_a_wrong_parameter_of_a_notebook_is_refused_before_anything_is_made(home, wrong, said):
    with pytest.raises((ParameterError, ConfigError)) as caught:
        notebook.start(**{"task": "accounts", **wrong})
    assert said in str(caught.value)
    assert not (home / "runs").exists()


# plans ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def differing(pair: Pair, home: Path) -> Iterator[Path]:
    """A run in which one customer's memo differs; put right again behind everybody's back."""
    rows = task_folder(pair.run(str(home / "look"), tasks=("accounts",)), "accounts")
    key = pl.read_parquet(rows / "expected.parquet")["CustomerAccount"].sort()[0]
    memo = pl.read_parquet(rows / "found.parquet").filter(CustomerAccount=key)["SalesMemo"].item() or ""
    row = {"dataAreaId": "usmf", "CustomerAccount": key}
    pair.change("fno", "CustomersV2", row, {"SalesMemo": "changed by hand"})
    yield pair.run(str(home / "run"), tasks=("accounts",))
    pair.change("fno", "CustomersV2", row, {"SalesMemo": memo})


def memos(pair: Pair) -> list[str]:
    with pair.clients() as clients:
        return pull(clients["fno"], "CustomersV2", ["SalesMemo"])["SalesMemo"].drop_nulls().to_list()


def test_a_plan_is_shown_and_not_sent_without_yes(p2c, pair, differing):
    code, _, err = p2c("apply", differing)
    assert code == 2 and "holds no plan; make one first: p2c plan" in err
    code, out, _ = p2c("plan", differing)
    assert code == 0 and "nothing was sent" in out
    code, out, _ = p2c("apply", differing)
    assert code == 0 and "nothing was sent: give --yes" in out
    assert "changed by hand" in memos(pair) and not (plan_folder(differing) / "journal.jsonl").exists()


def spoil_value(plan: Path) -> None:
    frame = pl.read_parquet(plan / "plan.parquet")
    frame.with_columns(sent=pl.lit("something else")).write_parquet(plan / "plan.parquet")


def spoil_address(plan: Path) -> None:
    document = json.loads((plan / "plan.json").read_text("utf-8"))
    (plan / "plan.json").write_text(json.dumps({**document, "fno_url": "http://127.0.0.1:1"}), "utf-8")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_value, "the plan was changed after it was made"),
        (spoil_address, "the plan was changed after it was made"),
        (lambda plan: (plan / "plan.parquet").write_bytes(b"PAR1 junk"), "the plan is broken"),
        (lambda plan: (plan / "plan.json").write_text('{"hash'), "the plan is broken"),
        (lambda plan: (plan / "plan.json").write_text("{}"), "the plan is broken"),
        (lambda plan: (plan / "plan.json").write_text("[]"), "the plan is broken"),
        (lambda plan: (plan / "plan.parquet").unlink(), "holds no plan"),
    ],
    ids=["a value", "an address", "rows", "JSON", "no facts", "a list", "no rows"],
)
def test_a_plan_that_was_tampered_with_is_not_sent(p2c, pair, differing, spoil, said):
    assert p2c("plan", differing)[0] == 0
    spoil(plan_folder(differing))
    code, _, err = p2c("apply", differing, "--yes")
    assert code == 2 and said in err
    assert "changed by hand" in memos(pair)


def test_a_plan_made_for_another_address_is_neither_approved_nor_sent(p2c, differing, stranger, monkeypatch):
    assert p2c("plan", differing)[0] == 0
    monkeypatch.setenv("P2C_FNO__URL", stranger(404, "text/plain", b""))
    code, _, err = p2c("apply", differing, "--yes")
    assert code == 2 and "this run compared other systems: fno was http://127.0.0.1" in err
    assert json.loads((plan_folder(differing) / "plan.json").read_text("utf-8"))["approved"] is None


def test_an_apply_that_leaves_something_unsettled_does_not_end_with_0(p2c, pair, differing):
    assert p2c("plan", differing)[0] == 0
    pair.faults({"kind": "error", "status": 503, "method": "PATCH"})
    try:
        code, _, err = p2c("apply", differing, "--yes")
    finally:
        pair.faults()
    assert code == 1 and "1 are not settled; go on with: p2c apply" in err
    assert p2c("apply", differing, "--yes")[0] == 0
    assert "changed by hand" not in memos(pair)


@pytest.mark.parametrize("text", ['{"a":', "{}", "[]"])
def test_a_broken_run_file_is_named(p2c, home, text):
    (home / "run").mkdir()
    (home / "run" / "run.json").write_text(text)
    code, _, err = p2c("plan", "run")
    assert code == 2 and "run.json: not " in err


def test_a_run_that_did_not_come_to_its_end_has_no_report(p2c, pair, home):
    folders.create(home / "run", pair.profile(), {})
    code, _, err = p2c("report", "run")
    assert code == 2 and "did not come to its end; run again" in err


def test_an_entity_without_rows_gives_an_empty_frame_and_a_run_in_step(tmp_path):
    bare = Pair(tmp_path / "sb", empty=True)
    try:
        tasks = [find_task("accounts", TEMPLATES)]
        folder, facts = execution.run_tasks(bare.profile(), tasks, tmp_path / "run", notebooks=False)
        assert facts["exit_code"] == 0 and facts["tasks"][0]["source_rows"] == 0
        assert "In step: 0 source rows" in (folder / "report.html").read_text("utf-8")
        with bare.clients() as clients:
            assert write.plan(folder, templates=TEMPLATES, clients=clients).rows.height == 0
            write.approve(folder, "ann")
            assert applying.apply(folder, bare.profile(), clients).sent == 0
    finally:
        lifecycle.stop(bare.folder)


# data that means harm ---------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Accounts under strange keys on both sides: half of them with another city, half of them without a customer."""
    made = Pair(tmp_path_factory.mktemp("hostile"), push={"budget_s": 20}, counts={**COUNTS, "accounts": 60})
    rows = task_folder(made.run("look", tasks=("accounts",)), "accounts")
    matched = pl.read_parquet(rows / "rows.parquet").filter(outcome="matched")["source_row"].sort()
    known = pl.read_parquet(rows / "expected.parquet")[matched]["CustomerAccount"].to_list()
    for number, (old, new) in enumerate(zip(known, KEYS, strict=False)):
        customer = {"dataAreaId": "usmf", "CustomerAccount": old}
        made.change("sales", "accounts", {"accountnumber": old}, {"accountnumber": new})
        if number % 2:
            changes = {"CustomerAccount": new, "PartyNumber": new, "AddressCity": SCRIPT}
            made.change("fno", "CustomersV2", customer, changes)
        else:
            made.ask("fno", "POST", "rows", {"entity": "CustomersV2", "key": customer, "delete": True})
    yield made
    lifecycle.stop(made.folder)


def test_strange_keys_are_compared_planned_written_and_then_in_step(hostile):
    run = hostile.run("run", tasks=("accounts",))
    outcomes = pl.read_parquet(run / "outcomes.parquet")
    assert sorted(outcomes.filter(outcome="missing")["key"]) == sorted(KEYS[::2])
    cells = outcomes.filter(pl.col("field").is_not_null())
    assert sorted(cells["key"]) == sorted(KEYS[1::2])
    with hostile.clients() as clients:
        made = write.plan(run, templates=TEMPLATES, clients=clients)
        write.approve(run, "ann")
        done = applying.apply(run, hostile.profile(), clients)
    assert made.actions()["held"].null_count() == len(KEYS)
    assert (done.created, done.updated) == (len(KEYS[::2]), len(KEYS[1::2]))
    assert (done.failed, done.conflicts, done.remaining) == (0, 0, 0)
    again = folders.read_run(hostile.run("again", tasks=("accounts",)))
    assert again["differing_rows"] == 0 and again["tasks"][0]["matched"] > len(KEYS)


SCRIPT = "<script>alert(1)</script>"
LONG = "lorem ipsum " * 900_000  # over 10 MB


@pytest.mark.slow
def test_ten_megabytes_and_scripts_in_a_row_reach_the_run_and_not_its_pages(hostile, tmp_path):
    rows = task_folder(hostile.run("look again", tasks=("accounts",)), "accounts")
    keys = pl.read_parquet(rows / "expected.parquet")["CustomerAccount"].sort()
    first, second = keys.filter(keys.str.starts_with("ACC-"))[:2]
    hostile.change("sales", "accounts", {"accountnumber": first}, {"description": LONG})
    hostile.change("sales", "accounts", {"accountnumber": second}, {"name": SCRIPT, "address1_country": SCRIPT})
    facts = execution.run_tasks(
        hostile.profile(), [find_task("accounts", TEMPLATES)], tmp_path / "run", notebooks=False
    )[1]
    assert facts["exit_code"] == 1 and "error" not in facts["tasks"][0]
    cells = pl.read_parquet(tmp_path / "run" / "outcomes.parquet").filter(field="SalesMemo")
    assert cells["expected"].str.len_chars().to_list() == [len(LONG.strip())] or cells["expected"].to_list() == [LONG]
    pages = [tmp_path / "run" / "report.html", *(tmp_path / "run" / "docs").rglob("*.html")]
    for page in pages:
        text = page.read_text("utf-8")
        assert SCRIPT not in text and len(text) < 3_000_000, page
    assert "&lt;script&gt;alert(1)" in pages[0].read_text("utf-8")
    assert (tmp_path / "run" / "checks.json").stat().st_size < 1_000_000
    with hostile.clients() as clients:
        write.plan(tmp_path / "run", templates=TEMPLATES, clients=clients)
        write.approve(tmp_path / "run", "ann")
        done = applying.apply(tmp_path / "run", hostile.profile(), clients)
    assert (done.conflicts, done.remaining) == (0, 0)


def test_a_number_too_long_for_fno_is_held_back_and_no_other_row_is_made_of_it(hostile):
    long = "N" * 21
    rows = task_folder(hostile.run("before", tasks=("accounts",)), "accounts")
    keys = pl.read_parquet(rows / "expected.parquet")["CustomerAccount"].sort()
    old = keys.filter(keys.str.starts_with("ACC-"))[5]
    hostile.change("sales", "accounts", {"accountnumber": old}, {"accountnumber": long})
    run = hostile.run("long", tasks=("accounts",))
    with hostile.clients() as clients:
        made = write.plan(run, templates=TEMPLATES, clients=clients)
        write.approve(run, "ann")
        applying.apply(run, hostile.profile(), clients)
        customers = pull(clients["fno"], "CustomersV2", ["CustomerAccount"])["CustomerAccount"]
    assert "would be cut" in made.actions().filter(key=long)["held"].item()
    assert customers.str.starts_with("NNNN").sum() == 0


def test_hostile_data_is_shown_as_text_in_a_notebooks_tables():
    shown = notebook.table(pl.DataFrame({SCRIPT: [SCRIPT], "key": ["<img src=x onerror=alert(1)>"]}), SCRIPT).data
    assert "<script" not in shown and "<img" not in shown and "&lt;script&gt;" in shown
