"""The command line from start to finish: what it prints can be piped and parsed, its exit codes can be relied on."""

import contextlib
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import httpx
import polars as pl
import pytest

from p2c_lib.cli import main
from p2c_lib.explain import OUTCOME_COLUMNS
from p2c_lib.model import all_tasks, load_templates
from p2c_lib.places import plan_folder
from p2c_lib.sandbox import lifecycle

P2C = [sys.executable, "-c", "from p2c_lib.cli import main; main()"]
TASKS = ("products", "accounts")
RUN_OPTIONS = ("--no-notebooks", "--out")
COUNTS = ("source_rows", "destination_rows", "matched", "mismatched", "missing", "extra", "excluded", "blocked")


class Shell:
    """The command line in a folder and with an environment of its own, its output caught as a pipe would."""

    def __init__(self, home: Path) -> None:
        self.home = home
        plain = {name: value for name, value in os.environ.items() if not name.startswith("P2C_")}
        self.environment = plain | {"P2C_HOME": str(home), "P2C_SANDBOX_DIR": str(home / "sandbox")}

    def __call__(self, *words: object, code: int = 0, environment: dict[str, str] | None = None) -> str:
        """Run `main` in this process: Great Expectations and Altair are imported once, not for each command."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.object(sys, "argv", ["p2c", *map(str, words)]),
            mock.patch.dict(os.environ, self.environment if environment is None else environment, clear=True),
            contextlib.chdir(self.home),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
            sys.exit(0)
        self.errors = err.getvalue()
        assert (ended.value.code or 0) == code, f"{words}: {ended.value.code}\n{out.getvalue()}\n{self.errors}"
        return out.getvalue()

    def process(self, *words: object, code: int = 0, environment: dict[str, str] | None = None) -> str:
        """Run the command in a process of its own, piped."""
        used = self.environment | (environment or {})
        done = subprocess.run([*P2C, *map(str, words)], cwd=self.home, env=used, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=200, check=False)  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """A sandbox with differences, started and stopped by the command line itself."""
    made = Shell(tmp_path_factory.mktemp("home"))
    made.process("sandbox", "start", "--detach", "--drift", "--seed", 11)
    yield made
    lifecycle.stop(made.home / "sandbox")


@pytest.fixture(scope="module")
def first(shell):
    """A run over two tasks and what it printed."""
    folder = shell.home / "first"
    return folder, shell("run", *TASKS, *RUN_OPTIONS, folder, code=1)


def facts(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def urls(shell: Shell) -> dict[str, str]:
    state = json.loads((shell.home / "sandbox" / "sandbox.json").read_text())
    return {"P2C_SALES__URL": state["sales_url"], "P2C_FNO__URL": state["fno_url"]}


def bare(shell: Shell) -> dict[str, str]:
    """The environment without a word of a sandbox in it."""
    return {name: value for name, value in shell.environment.items() if name != "P2C_SANDBOX_DIR"}


def wire(shell: Shell) -> int:
    """How many rows both services have ever written: the highest versions they gave out."""
    total = 0
    for system in ("sales", "fno"):
        with sqlite3.connect(f"file:{shell.home}/sandbox/{system}.sqlite?mode=ro", uri=True) as connection:
            total += connection.execute("SELECT max(version) FROM row_counter").fetchone()[0]
    return total


def test_the_sandbox_is_started_told_reset_and_stopped(tmp_path):
    shell, folder = Shell(tmp_path), tmp_path / "elsewhere"
    assert json.loads(shell("sandbox", "status", "--dir", folder, "--json", code=1))["running"] is False
    assert shell("sandbox", "stop", "--dir", folder).strip() == "no sandbox was running"
    shell("sandbox", "reset", "--dir", folder, code=2)
    assert "no sandbox to reset" in shell.errors
    try:
        printed = shell("sandbox", "start", "--dir", folder, "--empty", "--detach")
        told = json.loads(shell("sandbox", "status", "--dir", folder, "--json"))
        assert told["running"] and told["empty"] and told["rows"]["sales"]["accounts"] == 0
        assert {told["sales_url"], told["fno_url"]} == set(re.findall(r"http://\S+", printed))
        assert httpx.get(told["sales_url"] + "/sandbox/health", trust_env=False).status_code == 200
        shell("sandbox", "start", "--dir", folder, "--detach", code=2)
        assert "is running; stop it first" in shell.errors
        shell("sandbox", "reset", "--dir", folder, "--no-empty", "--size", "small")
        again = json.loads(shell("sandbox", "status", "--dir", folder, "--json"))
        assert (again["sales_url"], again["rows"]["sales"]["accounts"] > 100) == (told["sales_url"], True)
        assert shell("sandbox", "stop", "--dir", folder).strip() == "stopped"
        assert "running: False" in shell("sandbox", "status", "--dir", folder, code=1)
    finally:
        lifecycle.stop(folder)


def test_without_detach_the_sandbox_ends_with_the_command(tmp_path):
    shell = Shell(tmp_path)
    process = subprocess.Popen(
        [*P2C, "sandbox", "start", "--empty"], cwd=tmp_path, env=shell.environment, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "sandbox" / "sandbox.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert lifecycle.status(tmp_path / "sandbox")["running"]
        process.send_signal(2)
        assert process.wait(30) in (0, 130)
        assert not lifecycle.status(tmp_path / "sandbox")["running"]
    finally:
        process.kill()
        lifecycle.stop(tmp_path / "sandbox")


def test_templates_are_listed_shown_and_fit_the_services(shell):
    names = [task.name for task in all_tasks(load_templates(route=None))]
    assert [row["task"] for row in json.loads(shell("templates", "list", "--json"))] == names
    listed = shell("templates", "list")
    assert all(name in listed for name in names)
    shown = shell("templates", "show", "accounts")
    assert all(field.destination in shown for field in load_templates()["accounts"].tasks[0].fields)
    assert shell("templates", "check").splitlines() == [f"{name}: fits" for name in names]
    shell("templates", "show", "acounts", code=2)
    assert "no template 'acounts'; known:" in shell.errors


def test_a_run_leaves_its_files_and_tells_their_numbers(first):
    folder, printed = first
    assert f"report: {(folder / 'report.html').relative_to(folder.parent)}" in printed.splitlines()
    table = pl.read_parquet(folder / "outcomes.parquet")
    assert table.schema == OUTCOME_COLUMNS
    rows = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in printed.splitlines() if line.startswith("│")}
    for task in facts(folder)["tasks"]:
        assert [int(cell.replace(",", "")) for cell in rows[task["task"]][:-1]] == [task[name] for name in COUNTS]
        differing = table.filter(task=task["task"])
        assert differing.filter(outcome="missing").height == task["missing"]
        assert differing.filter(pl.col("field").is_not_null())["key"].n_unique() == task["mismatched"]
    assert facts(folder)["exit_code"] == 1


def test_output_that_is_piped_is_not_cut_off(shell, first):
    _, printed = first
    assert "…" not in printed and max(map(len, printed.splitlines())) > 80
    narrow = shell.process("templates", "show", "accounts", environment={"COLUMNS": "40"})
    assert "DeliveryAddressCountryRegionISOCode" in narrow


@pytest.mark.parametrize(("more", "code"), [(0, 0), (-1, 1)], ids=["as many as allowed", "one more than allowed"])
def test_the_threshold_decides_the_exit_code(shell, first, more, code):
    products = next(task for task in facts(first[0])["tasks"] if task["task"] == "products")
    threshold = sum(products[outcome] for outcome in ("mismatched", "missing", "extra", "blocked")) + more
    folder = shell.home / f"threshold-{code}"
    shell("run", "products", "--threshold", threshold, *RUN_OPTIONS, folder, code=code)
    assert facts(folder)["threshold"] == threshold


def test_two_addresses_in_the_environment_are_enough(shell):
    folder = shell.home / "by-address"
    named = bare(shell) | urls(shell) | {"P2C_AUTH__KIND": "sandbox"}
    shell("run", "products", *RUN_OPTIONS, folder, code=1, environment=named)
    assert facts(folder)["sales_url"] == named["P2C_SALES__URL"]
    assert "fits" in shell("templates", "check", environment=bare(shell) | urls(shell))


def test_a_report_is_written_anew_from_the_files(shell, first):
    folder, _ = first
    was = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert shell.home / shell("report", folder).strip() == folder / "report.html"
    assert (folder / "report.html").read_text() == was


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "name the tasks to run, or give --all; known: products, accounts"),
        (["run", "--all", "accounts"], "name the tasks to run, or give --all"),
        (["run", "acounts"], "acounts"),
        (["run", "accounts", "--profile", "prod"], "no profile 'prod'; known: sandbox"),
        (["run", "accounts", "--jobs", "0"], "--jobs"),
        (["run", "accounts", "--threshold", "-1"], "--threshold"),
        (["plan", "nowhere"], "holds no run"),
        (["apply", "nowhere", "--yes"], "nowhere"),
        (["report", "nowhere"], "holds no run"),
        (["sandbox", "start", "--wrong", "weather", "--dir", "w"], "not a known way"),
        (["sandbox", "start", "--size", "huge", "--dir", "s"], "huge"),
        (["nonsense"], "No such command"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else None,
)
def test_what_cannot_be_done_is_refused_with_words_and_code_2(shell, words, message):
    assert shell(*words, code=2) == ""
    assert message in " ".join(shell.errors.replace("│", " ").split())


def test_no_sandbox_and_no_address_says_what_to_do(tmp_path):
    shell = Shell(tmp_path)
    shell("run", "accounts", code=2)
    assert "p2c sandbox start" in shell.errors


def test_a_service_that_is_not_there_fails_the_task_and_is_named(shell):
    folder = shell.home / "unreachable"
    named = shell.environment | {"P2C_SALES__URL": "http://127.0.0.1:9", "P2C_LIMITS__BUDGET_S": "2"}
    printed = shell("run", "accounts", *RUN_OPTIONS, folder, code=2, environment=named)
    assert "accounts failed" in shell.errors and "127.0.0.1:9" in shell.errors
    assert "report:" in printed and facts(folder)["exit_code"] == 2


def test_the_version_is_that_of_the_package(shell):
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", shell.process("version"))


def test_a_plan_is_shown_approved_and_sent_once(shell, first):
    folder, _ = first
    shell("apply", folder, code=2)
    assert "plan" in shell.errors  # there is none yet
    before = wire(shell)
    planned = shell("plan", folder)
    assert "nothing was sent" in planned and (plan_folder(folder) / "plan.parquet").exists()
    assert re.search(r"about \d+ s in [\d,]+ calls", planned)
    assert "nothing was sent: give --yes" in shell("apply", folder)
    assert wire(shell) == before
    part = shell("approve", folder, "--by", "bob", "--task", "products")
    assert re.search(r"approved by bob: (\d+) of (?!\1 )\d+ actions", part) and wire(shell) == before
    shell("apply", folder)
    some = wire(shell)
    assert some > before
    sent = shell("apply", folder, "--yes", "--by", "ann", "--check")
    assert "failed: 0" in sent and "conflicts: 0" in sent and "verified" in sent
    assert wire(shell) > some
    approved = json.loads((plan_folder(folder) / "plan.json").read_text())["approved"]
    assert [step["by"] for step in approved["steps"]] == ["bob", "ann"]
    after = wire(shell)
    shell("apply", folder, "--yes")
    assert wire(shell) == after

    second = shell.home / "second"
    shell("run", *TASKS, *RUN_OPTIONS, second, code=1)
    left = pl.read_parquet(second / "outcomes.parquet")
    assert set(left["outcome"]) == {"unmapped", "extra", "blocked"}  # what no write may cure
    shell("plan", second)
    shell("apply", second, "--yes")
    assert wire(shell) == after

    back = shell("undo", folder)
    assert "nothing was sent; send it: p2c apply" in back and wire(shell) == after
    undone = shell("apply", folder / "undo" / "1", "--yes")
    assert "conflicts: 0" in undone and wire(shell) > after
