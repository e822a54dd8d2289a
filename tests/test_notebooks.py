"""The notebooks themselves: on their defaults under nbval, and through ``p2c run``."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import lxml.html
import nbformat
import polars as pl
import pytest
from pair import DOCUMENTS

from p2c_lib import execution, notebook, overview
from p2c_lib.config import Profile
from p2c_lib.errors import ConfigError, P2CError, ParameterError
from p2c_lib.explain import OUTCOME_COLUMNS
from p2c_lib.model import find_task, load_templates
from p2c_lib.sandbox import lifecycle

ROOT = Path(__file__).resolve().parent.parent
MASTERS = ["products", "accounts", "contacts"]
NAMES = ["preflight", *MASTERS, "quotes", "orders", "invoices", "initial_load", "overview", "history"]
NAMES += ["quality", "app"]
NAMES += ["value_maps"]  # looks at the run before
TASKS = ["products", "accounts", "contacts", "contacts_to_customer"]
HEADERS = ["quote_headers", "order_headers_to_sales", "invoice_headers"]
DONE = ["accounts", "contacts_to_customer"]
SMALL = {"accounts": 120, "contacts": 200, "products": 80, "orders": 60}


class Place:
    """A running sandbox with differences, a home for runs, and commands that find both by the environment alone."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = lifecycle.start(home / "sandbox", counts=SMALL, drift=True, detach=True)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("P2C_")}
        self.environment = plain | {"P2C_HOME": str(home), "P2C_SANDBOX_DIR": str(home / "sandbox")}

    def __call__(self, *command: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, *map(str, command)], cwd=self.home, env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=540, check=False)  # fmt: skip
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, name: str, *words: str, code: int = 1) -> Path:
        self("-c", "from p2c_lib.cli import main; main()", "run", *words, "--out", self.home / name, code=code)
        return self.home / name

    def profile(self) -> Profile:
        urls = {"sales": {"url": self.state["sales_url"]}, "fno": {"url": self.state["fno_url"]}}
        return Profile.model_validate({"name": "sandbox", **urls, "auth": {"kind": "sandbox"}})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    try:
        yield Place(home)
    finally:
        lifecycle.stop(home / "sandbox")


@pytest.fixture(scope="module")
def whole(place):
    """A run of three tasks through their notebooks, one of which may not read what it needs."""
    rule = {"kind": "error", "status": 403, "path": "SellableReleasedProducts"}
    with httpx.Client(base_url=place.state["fno_url"], trust_env=False) as http:
        http.post("/sandbox/faults", json=[rule]).raise_for_status()
        try:
            return place.run("whole", "products", *DONE, code=2)
        finally:
            http.delete("/sandbox/faults").raise_for_status()


def facts(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def shown(path: Path, call: str) -> list[lxml.html.HtmlElement]:
    """The HTML that an executed notebook shows for a call."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and cell.source == call:
            return [lxml.html.fromstring(out.data["text/html"]) for out in cell.outputs if "text/html" in out.data]
    raise AssertionError(f"{path.name} has no cell {call}")


def rows(tree: lxml.html.HtmlElement) -> list[dict[str, str]]:
    """A table's rows; the line of a failed task, which has fewer cells, left out."""
    head, *body = ([cell.text_content() for cell in row.iter("th", "td")] for row in tree.iter("tr"))
    return [dict(zip(head, row, strict=True)) for row in body if len(row) == len(head)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_notebook_runs_on_its_defaults(place):
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == set(NAMES)
    books = [ROOT / "notebooks" / f"{name}.ipynb" for name in NAMES]
    options = ["--nbval-lax", "--nbval-cell-timeout=120", "-p", "no:cacheprovider", "-c", os.devnull, "-q"]
    options += ["-W", "ignore"]  # ours are errors elsewhere; here the kernel's own would be counted
    options += ["-p", "one_kernel", "-o", f"pythonpath={ROOT / 'tests'}"]
    printed = place("-m", "pytest", *options, *books).stdout
    cells = sum(cell.cell_type == "code" for book in books for cell in nbformat.read(book, as_version=4).cells)
    assert f"{cells} passed" in printed
    assert not list((ROOT / "notebooks").glob("runs")) and not list((ROOT / "notebooks").glob(".p2c"))
    runs = [facts(path.parent) for path in (place.home / "runs").glob("*/run.json")]
    assert sorted([task["task"] for task in run["tasks"]] for run in runs) == sorted(
        [["products"], ["accounts"], ["contacts"], *([name] for name in HEADERS), [*TASKS, *DOCUMENTS]]
    )
    assert {run["exit_code"] for run in runs} == {1}
    assert all((path / "report.html").exists() for path in (place.home / "runs").iterdir())


def test_a_run_leaves_executed_notebooks_docs_report_and_the_documented_table(whole):
    assert {path.stem for path in (whole / "notebooks").iterdir()} == {"products", *DONE, "overview"}
    for path in (whole / "notebooks" / f"{name}.ipynb" for name in (*DONE, "overview")):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in cells)
        outputs = [out for cell in cells for out in cell.outputs]
        assert {out.output_type for out in outputs} <= {"display_data", "execute_result"}, path  # no error, no stderr
    table = pl.read_parquet(whole / "outcomes.parquet")
    assert table.schema == OUTCOME_COLUMNS
    assert table.columns == ["task", "key", "field", "outcome", "reason", "code", "expected", "found", "amount",
                             "currency", "side", "remedy"]  # fmt: skip
    assert (whole / "docs" / "index.html").exists() and (whole / "unmapped.parquet").exists()
    report = lxml.html.fromstring((whole / "report.html").read_text("utf-8"))
    links = [link for _, _, link, _ in report.iterlinks()]
    pages = {link for link in links if link.startswith("docs/validations/")}
    assert {Path(page).stem for page in pages} == {
        f"{t}_{s}" for t in DONE for s in ("source", "expected", "destination")
    }
    notebooks = {f"notebooks/{name}.ipynb" for name in ["products", *DONE, "overview"]}
    assert set(links) - pages == notebooks | {"docs/index.html"}
    assert all((whole / link).exists() for link in links)
    assert {suite["suite"] for suite in json.loads((whole / "checks.json").read_text())} == {
        f"{task}_{side}" for task in DONE for side in ("source", "expected", "destination")
    }


def test_a_figure_is_an_image_that_needs_nothing_from_outside(whole):
    for task in DONE:
        for call in ("run.outcomes()", "run.fields()"):
            images = [
                image for tree in shown(whole / "notebooks" / f"{task}.ipynb", call) for image in tree.iter("img")
            ]
            assert [image.get("src").split(",")[0] for image in images] == ["data:image/svg+xml;base64"]
    for path in (whole / "notebooks").iterdir():
        text = path.read_text("utf-8")
        assert not re.findall(r"<script|<link|<iframe|src=.{0,2}https?:", text)


def test_a_notebook_that_fails_keeps_its_copy_and_lets_the_others_finish(whole):
    failed, *done = facts(whole)["tasks"]
    assert failed["task"] == "products"
    assert re.match(r"not permitted \(PermissionDenied\), cell \d+ of products\.ipynb: ", failed["error"])
    overview_says = shown(whole / "notebooks" / "overview.ipynb", "whole.outcomes()")[0].text_content()
    assert f"products failed: {failed['error']}" in overview_says
    assert [(task["task"], task["source_rows"] > 0) for task in done] == [(name, True) for name in DONE]
    book = nbformat.read(whole / "notebooks" / "products.ipynb", as_version=4)
    errors = [out for cell in book.cells if cell.cell_type == "code" for out in cell.outputs if "ename" in out]
    assert [error.ename for error in errors] == ["PermissionDenied"]
    assert set(pl.read_parquet(whole / "outcomes.parquet")["task"]) == set(DONE)
    report = lxml.html.fromstring((whole / "report.html").read_text("utf-8"))
    assert report.findtext(".//h1").startswith("Failed: products did not come to an end; of the others")
    assert "PermissionDenied" in report.get_element_by_id("outcomes").text_content()


def test_a_cell_that_takes_too_long_is_ended_and_told(place, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "NOTEBOOKS", tmp_path)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import time; time.sleep(60)")])
    nbformat.write(book, tmp_path / "slow.ipynb")
    with pytest.raises(P2CError, match=r"out\.ipynb: a cell ran longer than 1 s; give --timeout-s more"):
        execution.execute_notebook("slow", tmp_path / "out" / "out.ipynb", {}, 1)
    assert (tmp_path / "out" / "out.ipynb").exists()


def test_a_notebook_refuses_parameters_that_it_does_not_declare(tmp_path):
    with pytest.raises(ParameterError, match=r"accounts\.ipynb has no parameter sampel; known: task, profile, company"):
        execution.execute_notebook("accounts", tmp_path / "a.ipynb", {"sampel": 3}, 10)
    with pytest.raises(ParameterError, match=r"no notebook .*returns\.ipynb"):
        execution.execute_notebook("returns", tmp_path / "a.ipynb", {}, 10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sample": "10"}, "sample='10' is str; it must be int"),
        ({"sample": True}, "sample=True is bool; it must be int"),
        ({"sample": 2.0}, "sample=2.0 is float; it must be int"),
        ({"sample": -1}, "sample=-1"),
        ({"lag_minutes": None}, "lag_minutes=None is NoneType; it must be int"),
        ({"task": 7}, "task=7 is int; it must be str"),
        ({"company": False, "sample": "x"}, "company=False is bool; it must be str; sample='x' is str"),
        ({"mode": "aply"}, "mode='aply' is not known; use 'plan' (nothing is written) or 'apply'"),
        ({"mode": "Apply"}, "mode='Apply' is not known"),
        ({"mode": "apply"}, "mode='apply' needs approved_by"),
        ({"mode": "apply", "approved_by": "  "}, "mode='apply' needs approved_by"),
        ({"task": "acounts"}, "acounts"),
        ({"profile": "prod"}, "no profile 'prod'"),
    ],
    ids=str,
)
def test_start_refuses_wrong_parameters_before_anything_is_made(place, monkeypatch, tmp_path, given, words):
    for name in ("P2C_SALES__URL", "P2C_FNO__URL", "P2C_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("P2C_HOME", str(tmp_path))
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(place.home / "sandbox"))
    with pytest.raises((P2CError, ConfigError)) as refused:
        notebook.start(**{"task": "accounts", **given})
    assert words in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [overview.look, notebook.preflight], ids=["overview", "preflight"])
def test_the_other_notebooks_refuse_wrong_types_too(call):
    with pytest.raises(ParameterError, match="company=7 is int; it must be str"):
        call(company=7)


def test_every_parameter_has_a_plain_type_a_default_and_a_comment():
    import papermill

    for name in NAMES:
        for parameter in papermill.inspect_notebook(str(ROOT / "notebooks" / f"{name}.ipynb")).values():
            assert parameter["inferred_type_name"] in ("str", "int", "bool"), (name, parameter)
            assert parameter["default"] and parameter["help"], (name, parameter)


def test_every_task_has_a_notebook():
    for name in TASKS:
        task = find_task(name, load_templates())
        assert (ROOT / "notebooks" / f"{execution.notebook_of(task)}.ipynb").exists()
