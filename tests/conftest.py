"""A home of the tests' own, and the order of files: one worker takes a whole file, so the longest go first."""

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes to be made says something of the machine, and nothing of the law.
settings.register_profile("p2c", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("p2c")

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # small frames, and as many workers as cores
HOME = tempfile.mkdtemp(prefix="p2c-home-")
os.environ["P2C_HOME"] = HOME  # working data of runs would else stay in the checkout

LONGEST = (
    *("test_story", "test_notebooks", "test_advance", "test_bad_input", "test_chaos", "test_end_to_end"),
    *("test_run_faults", "test_apply_http", "test_sandbox_lifecycle", "test_cli", "test_history_runs"),
    *("test_explorer_browser", "test_route_kills", "test_preflight_http", "test_notebooks_documents", "test_apply"),
    *(
        "test_staged",
        "test_undo",
        "test_masking",
        "test_same_figures",
        "test_app_browser",
        "test_load",
        "test_proposing",
    ),
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
