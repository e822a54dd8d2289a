"""Each notebook has a percent-script pair that says the same, and is committed without outputs."""

from pathlib import Path

import jupytext
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


def test_each_script_has_its_notebook():
    scripts = {path.stem for path in NOTEBOOKS[0].parent.glob("*.py")}
    assert scripts == {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_and_script_say_the_same(path):
    ours = jupytext.read(path)
    theirs = jupytext.read(path.with_suffix(".py"))
    assert [(cell.cell_type, cell.source) for cell in ours.cells] == [(c.cell_type, c.source) for c in theirs.cells]
    tags = [cell.metadata.get("tags", []) for cell in ours.cells]
    assert tags == [cell.metadata.get("tags", []) for cell in theirs.cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs_and_is_thin(path):
    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert not any("def " in cell.source for cell in code)
    assert [cell.metadata.get("tags", []) for cell in code].count(["parameters"]) == 1
