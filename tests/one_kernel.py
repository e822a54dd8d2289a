"""A plugin for nbval: one kernel for all notebooks, and each of them in it as if it had been started for it.

Between two notebooks everything of ours is forgotten, names and imported modules; what stays is what others' packages
have loaded, which takes a kernel some eight seconds.
"""

from __future__ import annotations

from typing import Any

import pytest
from nbval import plugin
from nbval.kernel import RunningKernel

FORGET = """
import sys
for name in [name for name in sys.modules if name.partition(".")[0] == "p2c_lib"]:
    del sys.modules[name]
get_ipython().reset()
"""
STARTED: list[Lasting] = []


class Lasting(RunningKernel):
    """A kernel that forgets when it should stop."""

    def stop(self) -> None:
        asked = self.execute_cell_input(FORGET)
        self.await_reply(asked, timeout=60)
        self.await_idle(asked, timeout=60)

    def end(self) -> None:
        super().stop()


def kernel(*of: Any, **how: Any) -> Lasting:
    """The kernel that runs; another one, when it has died."""
    if not STARTED or not STARTED[-1].is_alive():
        STARTED.append(Lasting(*of, **how))
    return STARTED[-1]


def pytest_configure() -> None:
    plugin.RunningKernel = kernel


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    for one in STARTED:
        if one.is_alive():
            one.end()
