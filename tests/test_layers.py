"""Imports go one way: a module imports only from those left of it."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parent.parent / "p2c_lib"
LAYERS = """
errors pace config places parameters connect store model masking formulas paths readings pull money mapping validate
datadocs quality digest keys cells diff chains tieout sums quirks explain legs routing funnel drill charts journal
channels write apply causes verify stale undo preflight threeway folder history migration texts crossref sides run
proposals proposing overlay_file workshop markup memory load_ranges load_plan load_report load report workbook show
panels explorer notebook load_notebook overview past values_notebook quality_notebook kernels execution app app_page
sandbox advance sandbox_cli history_cli write_cli report_cli load_cli match_cli app_cli cli __main__
""".split()  # noqa: SIM905 - read as a line of the README, not as a list
SANDBOX_MAY_USE = {"errors", "sandbox"}


def module_of(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "p2c_lib":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("p2c_lib."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("p2c_lib.")}
    return names


FILES = [p for p in sorted(LIBRARY.rglob("*.py")) if p.name != "__init__.py" or p.parent != LIBRARY]
FILES = [p for p in FILES if module_of(p) not in ("templates", "assets")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_module_imports_only_from_its_left(path):
    here = module_of(path)
    assert here in LAYERS, f"{here} has no place among the layers"
    allowed = SANDBOX_MAY_USE if here == "sandbox" else {*LAYERS[: LAYERS.index(here)], here, "templates"} - {"sandbox"}
    if here in ("advance", "cli", "sandbox_cli"):
        allowed |= {"sandbox"}
    assert imported(path) <= allowed


PURE = [
    "mapping",
    "keys",
    "cells",
    "diff",
    "chains",
    "tieout",
    "sums",
    "quality",
    "quirks",
    "explain",
    "funnel",
    "drill",
]


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_touch_no_network_file_or_clock(name):
    roots = set()
    for node in ast.walk(ast.parse((LIBRARY / f"{name}.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    assert not roots & {"httpx", "anyio", "os", "pathlib", "io", "time", "random", "sqlite3", "requests"}
