"""The history on the command line and in its notebook: what is kept is what is shown."""

from __future__ import annotations

import json

import nbformat
import pytest
from test_history import made
from typer.testing import CliRunner

from p2c_lib import execution, past
from p2c_lib.cli import app
from p2c_lib.errors import ParameterError


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A home with a profile, and three runs that were added by hand."""
    text = '[profiles.site]\nsales = {url = "http://127.0.0.1:1"}\nfno = {url = "http://127.0.0.1:2"}\n'
    (tmp_path / "p2c.toml").write_text(text)
    monkeypatch.setenv("P2C_HOME", str(tmp_path))
    monkeypatch.setenv("P2C_PROFILE", "site")
    for number, found in enumerate([["A", ("B", "name")], ["A"], ["A", ("B", "name")]]):
        done = said("history", "add", str(made(tmp_path / "runs", number, found)))
        assert f"run00{number} is kept; findings that stand: {len(found)}" in done
    return tmp_path


def said(*words, code=0):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_tells_states_as_of_any_run(site):
    findings = {row["key"]: row for row in json.loads(said("history", "--json"))}
    assert {key: (row["state"], row["reopened"]) for key, row in findings.items()} == {
        "A": ("open", 0),
        "B": ("reopened", 1),
    }
    assert findings["B"]["amount"] == "1.500000000000"
    then = {row["key"]: row["state"] for row in json.loads(said("history", "--as-of", "run001", "--json"))}
    assert then == {"A": "open", "B": "fixed"}
    assert "open longest (2 of 2)" in said("history")
    assert [row["key"] for row in json.loads(said("history", "show", "run001", "--json"))] == ["A"]
    assert "1 outcomes" in said("history", "compact", "--keep-days", "0")
    assert {row["key"]: row["reopened"] for row in json.loads(said("history", "--json"))} == {"A": 0, "B": 1}


def test_the_notebook_shows_the_same_and_asks_neither_system(site, tmp_path):
    out = tmp_path / "history.ipynb"
    execution.execute_notebook("history", out, {"profile": "site", "run": "run002"}, 120)
    cells = nbformat.read(out, as_version=4).cells
    shown = {cell.source: str(cell.outputs) for cell in cells if cell.cell_type == "code"}
    assert "image/svg" in shown["back.trend()"]
    assert "3 runs; findings as of run run002: 0 new, 1 reopened, 1 open, 0 fixed" in shown["back.finish()"]
    assert "name" in shown["back.reopened()"]


def test_the_notebook_says_when_nothing_is_kept_and_refuses_wrong_types(tmp_path, monkeypatch):
    monkeypatch.setenv("P2C_HOME", str(tmp_path))
    for name in ("SALES__URL", "FNO__URL"):
        monkeypatch.setenv(f"P2C_{name}", "http://127.0.0.1:1")
    empty = past.look_back()
    assert "No run is kept yet" in empty.trend().data
    assert "Nothing is open" in empty.oldest().data
    with pytest.raises(ParameterError, match="task"):
        past.look_back(task=1)
