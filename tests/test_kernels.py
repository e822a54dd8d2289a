"""One kernel for several notebooks: none sees what another left, and a bad one takes nobody along."""

import os
from pathlib import Path

import nbformat
import pytest

from p2c_lib.errors import P2CError, ParameterError
from p2c_lib.kernels import Kernel


@pytest.fixture(scope="module")
def kernel():
    with Kernel(os.environ | {"P2C_MARK": "lane 1"}) as one:
        yield one


def book(place: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), place / "book.ipynb")
    return place / "book.ipynb"


def said(output: Path) -> str:
    cells = nbformat.read(output, as_version=4).cells
    return "".join(out.get("text", "") for cell in cells if cell.cell_type == "code" for out in cell.outputs)


def execute(kernel: Kernel, place: Path, *sources: str, timeout_s: int = 60) -> str:
    kernel.execute(book(place, *sources), place / "out.ipynb", {}, timeout_s)
    return said(place / "out.ipynb")


def test_notebooks_share_a_process_and_its_modules_but_no_variable(kernel, tmp_path):
    first = execute(kernel, tmp_path, "import os, json\njson.seen = 1\nleft = 1", "print(os.getpid())")
    second = execute(kernel, tmp_path, "import os, json", "print(os.getpid())", "print('left' in globals(), json.seen)")
    assert second == f"{first}False 1\n"
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3]


def test_the_environment_is_the_one_given(kernel, tmp_path):
    assert execute(kernel, tmp_path, "import os", "print(os.environ['P2C_MARK'])") == "lane 1\n"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param("raise KeyError('no such thing')", "no such thing", id="a cell that fails"),
        pytest.param("import time; time.sleep(60)", "ran longer than 3 s; give --timeout-s more", id="too long"),
        pytest.param("import os; os._exit(3)", "the kernel died", id="a kernel that dies"),
    ],
)
def test_after_a_notebook_that_failed_the_next_has_a_fresh_kernel(kernel, tmp_path, source, words):
    before = execute(kernel, tmp_path, "import os, json\njson.seen = 2", "print(os.getpid())")
    with pytest.raises(P2CError, match=words):
        execute(kernel, tmp_path, source, timeout_s=3)
    assert (tmp_path / "out.ipynb").exists()
    after = execute(kernel, tmp_path, "import os, json", "print(os.getpid())", "print(hasattr(json, 'seen'))")
    assert before.strip() not in after and after.endswith("\nFalse\n")


def test_a_parameter_that_is_not_declared_is_refused_before_a_kernel_starts(tmp_path):
    with Kernel(os.environ) as unused, pytest.raises(ParameterError, match=r"book\.ipynb has no parameter sampel"):
        unused.execute(book(tmp_path, "1"), tmp_path / "out.ipynb", {"sampel": 3}, 10)
    assert not (tmp_path / "out.ipynb").exists()
