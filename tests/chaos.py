"""A load under random faults, killed again and again; ``python tests/chaos.py`` is the long form.

Both sides begin without what tasks bring there. A process of its own loads every task; it is killed (SIGKILL) at random
moments and started again with ``--resume``, while both services fail in every way that they can. At the end nothing may
be lost, doubled, or missing from the journals.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pair import Pair

from p2c_lib import apply as applying
from p2c_lib import folder as folders
from p2c_lib.load_plan import read_load
from p2c_lib.pull import pull
from p2c_lib.sandbox import lifecycle

COMMAND = [sys.executable, "-c", "from p2c_lib.cli import main; main()", "load"]
TASKS = [
    *["products", "accounts", "contacts", "contacts_to_customer"],
    *["quote_headers", "quote_lines", "order_headers_to_fno", "order_lines_to_fno"],
]
SHORT = {"accounts": 400, "contacts": 500, "products": 150, "orders": 150}
LONG = {"accounts": 16_000, "contacts": 20_000, "products": 6_000, "orders": 8_000}
DONE = ["created", "updated", "already", "conflict", "failed", "held"]


def every_fault(seed: int, odds: float) -> list[dict[str, object]]:
    """A rule of every kind that makes sense for creates; each strikes with these odds."""
    kinds: list[dict[str, object]] = [
        {"kind": "latency", "seconds": 0.05},
        {"kind": "throttle", "retry_after": 1},
        {"kind": "throttle", "retry_after": 1, "limit": "concurrent", "method": "POST"},
        {"kind": "error", "status": 503},
        {"kind": "error", "status": 500, "done": True, "method": "POST"},
        {"kind": "html", "status": 502},
        {"kind": "html", "status": 504, "done": True, "method": "POST"},
        {"kind": "drop", "at": "before"},
        {"kind": "drop", "at": "body"},
        {"kind": "drop", "at": "answer", "method": "POST"},
        {"kind": "expire"},
        {"kind": "error", "status": 503, "part": True, "method": "POST"},
        {"kind": "throttle", "retry_after": 1, "part": True, "method": "POST"},
    ]
    return [{**kind, "probability": odds, "seed": seed + place} for place, kind in enumerate(kinds)]


@dataclass(frozen=True)
class Told:
    """What a load went through, and what it came to."""

    seed: int
    kills: int
    starts: int
    faults: int
    rows: int
    seconds: float
    left: dict[str, int]
    lost: dict[str, int]
    doubled: int
    unsettled: int
    faults_by_kind: dict[str, int]


def go_through(
    folder: Path, counts: dict[str, int], *, seed: int, kills: int, odds: float, bucket_rows: int, every_s: float
) -> Told:
    """Load everything under faults and kills, then hold both sides and the journals against each other."""
    chance = random.Random(seed)
    pair = Pair(folder / "sandbox", counts=counts, to_load="both", seed=seed, require_token=True, token_lifetime_s=30)
    try:
        began, place = time.monotonic(), folder / "load"
        _release(pair)
        pair.faults(*every_fault(seed, odds))
        words = [*TASKS, "--dir", str(place), "--bucket-rows", str(bucket_rows), "--yes", "--by", "a tester"]
        starts = killed = 0
        while True:
            with (folder / "said.txt").open("ab") as said:
                environment = {**os.environ, "P2C_SANDBOX_DIR": str(pair.folder), "P2C_HOME": str(folder)}
                process = subprocess.Popen(
                    [*COMMAND, *words], env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL
                )
            starts += 1
            code = _wait(process, place, chance.uniform(0.2, every_s) if killed < kills else None)
            killed += code is None
            if (place / "load.json").exists():
                words = ["--resume", str(place), "--yes", "--by", "a tester"]
            if code in (0, 1) and read_load(place).facts.get("finished"):
                break
            if code not in (None, 2) or starts > kills + 200:
                raise AssertionError(f"seed {seed}: ended with {code}\n{(folder / 'said.txt').read_text()[-4000:]}")
        kinds = _fired(pair)
        pair.faults()
        pair.ask("fno", "POST", "totals", {"quotations": True})
        left = _left(pair)
        lost, doubled, unsettled = _journals(place)
        rows = read_load(place).to_create
        seconds = round(time.monotonic() - began, 1)
        return Told(seed, killed, starts, sum(kinds.values()), rows, seconds, left, lost, doubled, unsettled, kinds)
    finally:
        lifecycle.stop(pair.folder)


def _release(pair: Pair) -> None:
    """F&O takes no line with a product whose sales are stopped: here there is none, so that all rows can go."""
    with pair.clients() as clients:
        goods = pull(clients["fno"], "SellableReleasedProducts", ["ProductNumber", "IsSalesStopped"])
    for number in goods.filter(pl.col("IsSalesStopped") == "Yes")["ProductNumber"]:
        key = {"dataAreaId": "usmf", "ProductNumber": number}
        pair.change("fno", "SellableReleasedProducts", key, {"IsSalesStopped": "No"})


def _wait(process: subprocess.Popen[bytes], place: Path, kill_after: float | None) -> int | None:
    """Wait for a load; kill it so many seconds after it has begun to do something. None when it was killed."""
    if kill_after is None:
        return process.wait(1800)
    while process.poll() is None and not place.exists():
        time.sleep(0.02)
    try:
        return process.wait(1.0 + kill_after)  # it takes about a second until the program is loaded
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _fired(pair: Pair) -> dict[str, int]:
    fired: dict[str, int] = {}
    for system in ("sales", "fno"):
        for rule in pair.ask(system, "GET", "faults")["rules"]:
            fired[rule["kind"]] = fired.get(rule["kind"], 0) + rule["fired"]
    return fired


def _left(pair: Pair) -> dict[str, int]:
    """Rows of each task that a fresh comparison does not find in step."""
    run = pair.run("compared", tasks=TASKS)
    return {task["task"]: folders.differing_rows(task) for task in folders.read_run(run)["tasks"]}


def _journals(place: Path) -> tuple[dict[str, int], int, int]:
    """Rows that no journal tells of, by task; rows that more than one bucket made; actions without an end."""
    told = [
        applying.journal_table(path.parent.parent).with_columns(bucket=pl.lit(str(path.parent.parent)))
        for path in sorted(place.glob("tasks/*/*/plan/plan.json"))
    ]
    table = pl.concat(told)
    made = table.filter((pl.col("action") == "create") & pl.col("outcome").is_in(["created", "already"]))
    doubled = made.group_by("task", "key").len().filter(pl.col("len") > 1).height
    unsettled = table.filter(~pl.col("outcome").is_in(DONE)).height
    counted = dict(made.group_by("task").agg(pl.col("key").n_unique()).iter_rows())
    wanted = {plan["task"]: plan["to_create"] for plan in read_load(place).tasks}
    lost = {task: rows - counted.get(task, 0) for task, rows in wanted.items() if rows != counted.get(task, 0)}
    return lost, doubled, unsettled


def main() -> None:
    """The long form: 50,000 rows and 20 kills; prints what came of it, exit code 1 when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--odds", type=float, default=0.01)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        told = go_through(
            Path(folder),
            LONG,
            seed=options.seed,
            kills=options.kills,
            odds=options.odds,
            bucket_rows=5_000,
            every_s=12.0,
        )
    print(told)
    sys.exit(int(any(told.left.values()) or bool(told.lost) or told.doubled > 0 or told.unsettled > 0))


if __name__ == "__main__":
    main()
