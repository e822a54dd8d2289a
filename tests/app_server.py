"""The app in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
from browser import end

MAIN = (sys.executable, "-c", "from p2c_lib.cli import main; main()")


def surroundings(home: Path, **more: str) -> dict[str, str]:
    """An environment with no ``P2C_`` in it but what is named here."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("P2C_")}
    return plain | {"P2C_HOME": str(home)} | more


class App:
    """``p2c app`` in a process of its own."""

    def __init__(self, home: Path, *words: object, **more: str) -> None:
        command = [*MAIN, "app", "--no-browser", *map(str, words)]
        self.process = subprocess.Popen(command, cwd=home, env=surroundings(home, **more), text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        said = self.process.stdout.readline()
        found = re.fullmatch(r"the app: (http://127\.0\.0\.1:(\d+))/\?token=(\S{32})\n", said)
        assert found, said
        self.url, self.port, self.token = found[1], int(found[2]), found[3]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=90, trust_env=False)

    def stop(self) -> None:
        end(self.process)
        self.process.stdout.close()

    def kernels(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}
