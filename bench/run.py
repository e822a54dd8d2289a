"""What a whole run costs: ``p2c run --all`` on medium data with differences. ``python bench/run.py [--help]``

Starts a sandbox (or takes a running one with ``--dir``), runs the real command with its notebooks, and reports wall
time, our CPU beside that of the services, the most memory that all of our processes held, and the seconds of each
task. Memory is the sum of the resident sets of the command and its kernels, ten times a second: pages that they share
are counted in each, so it errs upwards.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from p2c_lib.sandbox import lifecycle


def main() -> None:
    """Measure one run and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, help="a sandbox that runs already, left running; default: one of its own")
    parser.add_argument("--size", default="medium", help="of the sandbox that is started (default: %(default)s)")
    parser.add_argument("--orders", type=int, default=100_000, help="its orders (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the run, kept; default: one that is removed")
    parser.add_argument("--cells", action="store_true", help="also the seconds of each cell of the notebooks")
    parser.add_argument("options", nargs="*", help="for p2c run, after --: --no-notebooks, --jobs 1, ...")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="p2c-bench-") as scratch:
        place = asked.dir or Path(scratch) / "sandbox"
        if asked.dir is None:
            clock = time.perf_counter()
            lifecycle.start(place, size=asked.size, counts={"orders": asked.orders}, drift=True, detach=True)
            print(f"sandbox made and started in {time.perf_counter() - clock:.0f} s")
        try:
            measure(place.resolve(), asked.out or Path(scratch) / "run", asked.options, with_cells=asked.cells)
        finally:
            if asked.dir is None:
                lifecycle.stop(place)


def measure(sandbox: Path, out: Path, options: Sequence[str], *, with_cells: bool) -> None:
    """Run the command against a running sandbox and print what it cost.

    Args:
        sandbox: Folder of the sandbox.
        out: Folder of the run.
        options: More options of the command.
        with_cells: Print the cells of the notebooks too.
    """
    services = [psutil.Process(pid) for pid in json.loads((sandbox / "sandbox.json").read_text())["pids"].values()]
    theirs, ours, clock = _cpu_of(services), _cpu_of_children(), time.perf_counter()
    command = [
        sys.executable,
        "-c",
        "from p2c_lib.cli import main; main()",
        "run",
        "--all",
        "--out",
        str(out),
        *options,
    ]
    process = subprocess.Popen(
        [*command, *options],
        env=os.environ | {"P2C_HOME": str(out.parent), "P2C_SANDBOX_DIR": str(sandbox), "P2C_PROFILE": "sandbox"},
        stdout=subprocess.DEVNULL,
    )
    peak = Peak(process.pid)
    code = process.wait()
    wall = time.perf_counter() - clock
    peak.stop()
    run = json.loads((out / "run.json").read_text())
    print(
        f"{'task':26}{'source':>9}{'destination':>13}{'differing':>11}{'read s':>8}{'compare s':>11}{'notebook s':>12}"
    )
    for task in run["tasks"]:
        if "error" in task:
            print(f"{task['task']:26} {task['error']}")
            continue
        differing = sum(task[name] for name in ("mismatched", "missing", "extra", "blocked"))
        compared = task["seconds"] - task["seconds_reading"]
        whole = _seconds(out / "notebooks" / f"{task['task']}.ipynb")
        print(
            f"{task['task']:26}{task['source_rows']:9,}{task['destination_rows']:13,}{differing:11,}"
            f"{task['seconds_reading']:8.1f}{compared:11.1f}{whole:12.1f}"
        )
    theirs, ours = _cpu_of(services) - theirs, _cpu_of_children() - ours
    print(f"overview notebook {_seconds(out / 'notebooks' / 'overview.ipynb'):.1f} s; exit code {code}")
    print(f"wall {wall:.0f} s on {os.cpu_count()} cores; CPU: ours {ours:.0f} s, services {theirs:.0f} s")
    print(f"peak memory of {peak.processes} processes of ours: {peak.bytes / 2**20:,.0f} MiB")
    if with_cells:
        for notebook in sorted((out / "notebooks").glob("*.ipynb")):
            print(notebook.stem, *_cells(notebook), sep="\n  ")


class Peak:
    """The most that a process and all below it held at one time."""

    def __init__(self, pid: int) -> None:
        """Watch until `stop`."""
        self.bytes, self.processes = 0, 0
        self._root, self._over = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            held = []
            try:
                for process in [self._root, *self._root.children(recursive=True)]:
                    held.append(process.memory_info().rss)
            except psutil.NoSuchProcess:  # ended between the list and the look
                continue
            if sum(held) > self.bytes:
                self.bytes, self.processes = sum(held), len(held)

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()
        self._thread.join()


def _cpu_of(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _cpu_of_children() -> float:
    """Of all processes that ended and were waited for, below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds(notebook: Path) -> float:
    """How long a notebook took, with the start of its kernel; 0 where there is none."""
    return float(_read(notebook)["metadata"]["papermill"]["duration"] or 0) if notebook.exists() else 0.0


def _cells(notebook: Path) -> list[str]:
    cells = [cell for cell in _read(notebook)["cells"] if cell["cell_type"] == "code"]
    return [
        f"{cell['metadata']['papermill'].get('duration') or 0:7.2f}  {''.join(cell['source']).splitlines()[0]}"
        for cell in cells
    ]


def _read(notebook: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(notebook.read_text("utf-8"))
    return found


if __name__ == "__main__":
    main()
