"""The same run live, by papermill, by the command line, as page, workbook and Markdown: the same figures in each."""

import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import fastexcel
import lxml.html
import nbformat
import polars as pl
import pytest
from markdown_it import MarkdownIt
from polars.testing import assert_frame_equal

from p2c_lib import notebook, overview
from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.sandbox import lifecycle
from p2c_lib.validate import DIMENSIONS
from p2c_lib.workbook import write_workbook

TASKS = ["accounts", "order_headers_to_sales", "order_lines_to_sales"]
COUNTS = ["source_rows", "destination_rows", *ROW_OUTCOMES]
SCORES = [*DIMENSIONS, "all"]
SMALL = {"accounts": 60, "contacts": 60, "products": 40, "orders": 30}
MARKDOWN = MarkdownIt("commonmark").enable("table")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A sandbox with differences in it, and an environment that finds it; the tests here share what they run in it."""
    place = tmp_path_factory.mktemp("home")
    lifecycle.start(place / "sandbox", counts=SMALL, drift=True, detach=True)
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("P2C_")]:
        del os.environ[name]
    os.environ |= {"P2C_HOME": str(place), "P2C_SANDBOX_DIR": str(place / "sandbox"), "COLUMNS": "220"}
    try:
        yield place
    finally:
        os.environ.clear()
        os.environ |= before
        lifecycle.stop(place / "sandbox")


@pytest.fixture(scope="module")
def printed(home):
    """What ``p2c run`` prints, by the name of the run: through notebooks, and without."""

    def start(name, *options):
        code = "from p2c_lib.cli import main; main()"
        words = [sys.executable, "-c", code, "run", *TASKS, "--out", str(home / name), *options]
        return subprocess.Popen(words, cwd=home, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def told(running):
        out, errors = running.communicate(timeout=540)
        assert running.returncode == 1, f"{out}\n{errors}"
        return out

    both = {"papermill": start("papermill"), "plain": start("plain", "--no-notebooks")}
    return {name: told(running) for name, running in both.items()}


@pytest.fixture(scope="module")
def plain(home, printed):
    return home / "plain"


# --- what is read out of each form: the figures as plain texts, by task ------------------------------------------


def rows_of(tree):
    """A table's rows by the names in its head."""
    head, *body = ([cell.text_content().strip() for cell in row.iter("th", "td")] for row in tree.iter("tr"))
    return [dict(zip(head, row, strict=True)) for row in body if len(row) == len(head)]


def counts(rows, task=None):
    return {row.get("task", task): [row[name.replace("_", " ")].replace(",", "") for name in COUNTS] for row in rows}


def scores(rows):
    return {(row["task"], row["side"]): [row[name] if row[name] else "–" for name in SCORES] for row in rows}


def reasons(rows, task=None):
    found = {}
    for row in rows:
        name = (row.get("task", task), row["severity"], row["outcome"], row["reason"])
        found[name] = found.get(name, 0) + int((row.get("rows") or row["count"]).replace(",", ""))
    return {name: number for name, number in found.items() if name[2] != "excluded" and "quirk" not in name[3]}


def over_tasks(found):
    """Reasons by what they say alone."""
    summed = {}
    for (_, severity, _, reason), number in found.items():
        summed[severity, reason] = summed.get((severity, reason), 0) + number
    return summed


def stakes(texts):
    """Amounts by currency from ``1,234.50 EUR`` and the like."""
    told = re.findall(r"(-?[\d,]+(?:\.\d+)?) ([A-Z]{3}|\(no currency\))", texts)
    return {code: Decimal(amount.replace(",", "")) for amount, code in told}


def shown(path, call):
    cells = nbformat.read(path, as_version=4).cells
    outputs = next(cell.outputs for cell in cells if cell.cell_type == "code" and cell.source == call)
    return [lxml.html.fromstring(out.data["text/html"]) for out in outputs if "text/html" in out.data][-1]


def tables(html):
    return list(html.iter("table"))


def truth(folder: Path):
    """What the files of a run say, which everything is held against."""
    run = json.loads((folder / "run.json").read_text("utf-8"))
    main = pl.read_parquet(folder / "reasons.parquet").filter(pl.col("code") != "quirk")
    by = main.group_by("task", "severity", "outcome", "reason").len()
    quality = pl.read_parquet(folder / "quality.parquet")
    return {
        "counts": {task["task"]: [str(task[name]) for name in COUNTS] for task in run["tasks"]},
        "stakes": {task["task"]: {c or "(no currency)": Decimal(a) for c, a in task["amount_at_stake"].items()}
                   for task in run["tasks"]},
        "reasons": {row[:4]: row[4] for row in by.iter_rows()},
        "scores": {
            (task, side): ["–" if score is None else f"{score:.1f}" for score in mine["score"]]
            for (task, side), mine in quality.group_by("task", "side", maintain_order=True)
        },
        "inputs": {task["task"]: task["inputs"] for task in run["tasks"]},
    }  # fmt: skip


# --- the forms -----------------------------------------------------------------------------------------------------


def test_papermill_and_the_command_line_find_the_same(home, plain):
    assert truth(home / "papermill") == truth(plain)
    one, other = (pl.read_parquet(folder / "outcomes.parquet") for folder in (home / "papermill", plain))
    assert_frame_equal(one.sort(one.columns[:4]), other.sort(one.columns[:4]))
    for name in ("unmapped", "sums"):
        assert pl.read_parquet(plain / f"{name}.parquet").equals(
            pl.read_parquet(home / "papermill" / f"{name}.parquet")
        )
    assert min(len(found) for found in truth(plain).values()) >= len(TASKS)  # there is something to compare


def test_the_table_that_is_printed_says_it(printed, plain):
    for text in printed.values():
        cells = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines()]
        head, *body = [row for row in cells if len(row) == len(COUNTS) + 2]
        assert counts([dict(zip(head, row, strict=True)) for row in body]) == truth(plain)["counts"]


def test_the_executed_notebooks_and_the_overview_say_it(home, plain):
    wanted, books = truth(plain), home / "papermill" / "notebooks"
    found = {}
    for task in TASKS:
        (table,) = tables(shown(books / f"{task}.ipynb", "run.outcomes()"))
        assert counts(rows_of(table), task) == {task: wanted["counts"][task]}
        found |= reasons(rows_of(tables(shown(books / f"{task}.ipynb", "run.reasons()"))[0]), task)
        assert scores(rows_of(tables(shown(books / f"{task}.ipynb", "run.validate()"))[-1])) == {
            name: told for name, told in wanted["scores"].items() if name[0] == task}  # fmt: skip
    assert found == wanted["reasons"]
    whole = books / "overview.ipynb"
    assert counts(rows_of(tables(shown(whole, "whole.outcomes()"))[0])) == wanted["counts"]
    assert reasons(rows_of(tables(shown(whole, "whole.reasons()"))[0])) == wanted["reasons"]
    assert scores(rows_of(tables(shown(whole, "whole.quality()"))[0])) == wanted["scores"]
    money = rows_of(tables(shown(whole, "whole.money()"))[0])
    assert {row["task"]: stakes(row["amount"]) for row in money} == {k: v for k, v in wanted["stakes"].items() if v}


def test_a_session_that_is_looked_at_live_says_it(home, plain):
    wanted = truth(plain)
    session = notebook.start(task="accounts", out=str(home / "live"))
    (table,) = tables(lxml.html.fromstring(session.outcomes().data))
    assert counts(rows_of(table), "accounts") == {"accounts": wanted["counts"]["accounts"]}
    found = reasons(rows_of(tables(lxml.html.fromstring(session.reasons().data))[0]), "accounts")
    assert found == {name: number for name, number in wanted["reasons"].items() if name[0] == "accounts"}
    told = scores(rows_of(tables(lxml.html.fromstring(session.validate().data))[-1]))
    assert told == {name: score for name, score in wanted["scores"].items() if name[0] == "accounts"}
    session.finish()
    live = truth(home / "live")
    for name in ("counts", "stakes", "inputs"):
        assert live[name] == {"accounts": wanted[name]["accounts"]}
    whole = overview.look(run=str(plain))
    assert counts(rows_of(tables(lxml.html.fromstring(whole.outcomes().data))[0])) == wanted["counts"]


def test_the_page_says_it(home, plain):
    for folder in (plain, home / "papermill"):
        wanted, page = truth(plain), lxml.html.fromstring((folder / "report.html").read_text("utf-8"))
        rows = rows_of(page.get_element_by_id("outcomes"))
        assert {name: [n.split(" ")[0] for n in told] for name, told in counts(rows).items()} == wanted["counts"]
        assert {row["task"]: stakes(row["at stake"]) for row in rows} == wanted["stakes"]
        told = next(rows_of(t) for t in page.iter("table") if {"where", "remedy"} <= {c.text for c in t.iter("th")})
        assert {(row["severity"], row["reason"]): int(row["rows"]) for row in told} == over_tasks(wanted["reasons"])
        quality = next(iter(page.get_element_by_id("quality").iter("table")))
        assert scores(rows_of(quality)) == wanted["scores"]
        assert "✗" not in page.get_element_by_id("sums").text_content()


def test_the_workbook_says_it(plain):
    book, wanted = fastexcel.read_excel(write_workbook(plain)), truth(plain)
    sheet = {
        name: book.load_sheet(name, dtypes="string").to_polars().fill_null("").to_dicts() for name in book.sheet_names
    }
    assert counts(sheet["outcomes"]) == wanted["counts"]
    found = {task: {} for task in TASKS}
    for row in sheet["at stake"]:
        found[row["task"]][row["currency"] or "(no currency)"] = Decimal(row["amount"])
    assert found == wanted["stakes"]
    assert reasons(sheet["reasons"]) == wanted["reasons"]
    told = scores(sheet["quality"])
    assert {name: ["–" if n == "–" else f"{float(n):.1f}" for n in row] for name, row in told.items()} == wanted[
        "scores"
    ]
    listed = {
        (task, outcome): len({row["key"] for row in sheet[name]}) if outcome == "mismatched" else len(sheet[name])
        for task in TASKS for outcome in ROW_OUTCOMES
        for name in sheet if name.endswith(f" {outcome}") and task.startswith(name.removesuffix(f" {outcome}"))
    }  # fmt: skip
    assert listed == {
        (task, outcome): int(told[COUNTS.index(outcome)]) for task, told in wanted["counts"].items()
        for outcome in ROW_OUTCOMES if outcome != "matched" and told[COUNTS.index(outcome)] != "0"
    }  # fmt: skip


def test_the_markdown_says_it(plain):
    wanted = truth(plain)
    page = lxml.html.fromstring(MARKDOWN.render((plain / "summary.md").read_text("utf-8")))
    first, why, *_, quality = (rows_of(table) for table in page.iter("table"))
    assert counts(first) == wanted["counts"]
    assert {row["task"]: stakes(row["at stake"]) for row in first} == wanted["stakes"]
    every = over_tasks(wanted["reasons"])
    told = {(row["severity"], row["reason"]): int(row["rows"]) for row in why}
    assert told == {name: every[name] for name in told} and len(told) == min(len(every), 10)
    assert scores(quality) == wanted["scores"]
