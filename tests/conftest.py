"""The order of files: one worker takes a whole file, so the longest go first and nobody waits for the last."""

import pytest

LONGEST = (
    *("test_story", "test_notebooks", "test_advance", "test_end_to_end", "test_run_faults", "test_sandbox_lifecycle"),
    *("test_route_kills", "test_cli", "test_preflight_http", "test_notebooks_documents"),
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
