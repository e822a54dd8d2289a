"""What a bulk load costs: accounts into an empty F&O, end to end, in one command. ``python bench/load.py [--help]``

Starts a sandbox whose F&O lacks what Sales would bring there (or takes a running one with ``--dir``), runs
``p2c load``, and reports rows a second, where the time went (our steps by wall time; our CPU beside that of each
service), and memory: the most that our processes held, in all and in each quarter of the time, which tells whether it
is flat.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from p2c_lib.sandbox import lifecycle

MB = 10**6


def main() -> None:
    """Load once and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="accounts (default: %(default)s)")
    parser.add_argument("--dir", type=Path, help="a sandbox that runs already, left running; default: one of its own")
    parser.add_argument("--out", type=Path, help="folder of the load, kept; default: one that is removed")
    parser.add_argument("options", nargs="*", help="for p2c load, after --: --bucket-rows 10000, ...")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="p2c-bench-") as scratch:
        place = asked.dir or Path(scratch) / "sandbox"
        if asked.dir is None:
            clock = time.perf_counter()
            counts = {"accounts": asked.rows, "contacts": 0, "products": 100}
            lifecycle.start(place, size="large", counts=counts, to_load="fno", detach=True)
            print(f"sandbox made and started in {time.perf_counter() - clock:.0f} s", flush=True)
        try:
            code = measure(place.resolve(), asked.out or Path(scratch) / "load", asked.options)
        finally:
            if asked.dir is None:
                lifecycle.stop(place)
    sys.exit(code)


def measure(sandbox: Path, out: Path, options: list[str]) -> int:
    """Run the command against a running sandbox, print what it cost, give its exit code.

    Args:
        sandbox: Folder of the sandbox.
        out: Folder of the load.
        options: More options of the command.
    """
    pids = json.loads((sandbox / "sandbox.json").read_text())["pids"]
    services = {system: psutil.Process(pid) for system, pid in pids.items()}
    theirs = {system: _cpu(process) for system, process in services.items()}
    command = [sys.executable, "-m", "p2c_lib", "load", "accounts", "--dir", str(out)]
    clock = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--yes", "--by", "the benchmark", *options],
        env=os.environ | {"P2C_SANDBOX_DIR": str(sandbox), "P2C_PROFILE": "sandbox"},
        stdout=subprocess.DEVNULL,
    )
    ours, held = 0.0, [(0, 0)]
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):  # ended between two looks
            tree = [watched, *watched.children(recursive=True)]
            held.append((sum(one.memory_info().rss for one in tree), len(tree)))
            ours = _cpu(watched)
        time.sleep(0.1)
    code, wall = process.wait(), time.perf_counter() - clock
    load = json.loads((out / "load.json").read_text())
    (line,), (planned,) = load["outcome"], load["tasks"]
    made = line["created"]
    print(f"exit code {code}; {made:,} rows made, {line['matched']:,} matched, {load['left']:,} left")
    print(f"wall {wall:,.0f} s on {os.cpu_count()} cores: {made / wall:,.0f} rows/s from end to end")
    planning = wall - load["seconds"]
    print(
        f"  keys, checks and plan {planning:,.0f} s, "
        + ", ".join(f"{k} {v:,.0f} s" for k, v in line["seconds"].items())
    )
    spent = {system: _cpu(process) - theirs[system] for system, process in services.items()}
    told = ", ".join(f"{system} {seconds:,.0f} s" for system, seconds in spent.items())
    print(f"CPU: ours {ours:,.0f} s ({1e6 * ours / made:,.0f} us a row), {told}; planned channel: {planned['channel']}")
    most, processes = max(held)
    quarters = [max(held[len(held) * i // 4 : len(held) * (i + 1) // 4] or [(0, 0)])[0] / MB for i in range(4)]
    told = ", ".join(f"{quarter:,.0f}" for quarter in quarters)
    print(f"peak memory {most / MB:,.0f} MB in {processes} processes; by quarters of the time: {told} MB")
    return code


def _cpu(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


if __name__ == "__main__":
    main()
