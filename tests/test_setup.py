"""What a fresh machine relies on: one list of dependencies, locked, with no address in it."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from rattler import MatchSpec

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
WANTED = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]


def squeezed(requirement: str) -> str:
    return requirement.replace(" ", "").lower().replace("_", "-")


def test_environment_yml_names_the_dependencies_of_pyproject():
    pip = next(entry["pip"] for entry in CONDA if isinstance(entry, dict))
    conda = [entry for entry in CONDA if isinstance(entry, str) and entry not in ("pip", "python >=3.11")]
    assert sorted(map(squeezed, conda + pip[:-1])) == sorted(map(squeezed, WANTED))
    assert pip[-1] == "-e ."


@pytest.mark.parametrize("entry", [entry for entry in CONDA if isinstance(entry, str)])
def test_conda_can_read_each_entry(entry):
    assert MatchSpec(entry).name is not None


@pytest.mark.parametrize("requirement", WANTED)
def test_each_dependency_is_locked_with_hashes(requirement):
    name = re.match(r"[A-Za-z0-9._-]+", requirement).group(0).lower().replace(".", "-")
    lock = (ROOT / "requirements.lock").read_text()
    assert re.search(rf"^{re.escape(name)}==\S+.*\\\n\s+--hash=sha256:", lock, re.MULTILINE), name


def test_no_committed_set_up_file_names_an_address():
    for name in (
        "requirements.lock",
        "bootstrap.lock",
        "bench/datacompy.lock",
        "environment.yml",
        "Makefile",
        ".ci/run",
        "pyproject.toml",
    ):
        assert not re.search(r"https?://", (ROOT / name).read_text()), name


def test_make_help_explains_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE).group(1).split())
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == set(re.findall(r"^  make (\S+)", shown, re.MULTILINE))
