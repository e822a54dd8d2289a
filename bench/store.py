"""What the store costs: staged lines merged and compared, beside a plain scan and join; `make bench-store` or `--help`.

A table of sales order lines is staged, 28 columns, six of them exact decimals. Leg one brings the lines as they are now
at the source: 1 % of them changed, wherever they lie, 0.5 % new. Leg two reads the store again and compares it with a
destination in which another 1 % differs and 0.5 % is missing. All are shuffled.

- ours: the merge (columns, lengths, picklists and keys checked, only what changes written, one commit), then the read
  and our public `compare` (keys checked, every cell, amounts exact, outcomes).
- plain: for each of the two legs Polars scans the same two tables, joins them on the key and keeps the result: nothing
  is checked, nothing is compared, nothing is written.

Each runs in a process of its own, round by round, on a copy of the table of its own; both read their files from disk.
CPU is of all threads and says more than seconds on a machine that is shared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ENTITY = "SalesOrderLine"
LIMIT, LIMIT_GB = 2.0, 3.0
WAYS = ("ours", "plain")


def make(folder: Path, height: int, seed: int) -> dict[str, int]:
    """Stage the table and write what each leg meets there; give what must be found."""
    import polars as pl

    from p2c_lib.store.entities import RUN_ID, STAGED_AT, load_entities
    from p2c_lib.store.tables import Store

    declared = load_entities()[ENTITY]
    number, money = pl.int_range(height, dtype=pl.Int64), pl.Decimal(38, 12)

    def drawn(below: int, salt: int) -> pl.Expr:
        return (number.hash(seed + salt) % below).cast(pl.Int64)

    columns = {}
    for salt, (name, dtype) in enumerate(declared.schema.items(), 10):
        length = declared.entity.columns[name].max_length or 100
        if name in (STAGED_AT, RUN_ID, declared.organization):
            continue
        if name.endswith("OrganizationId"):
            columns[name] = pl.lit("ORG001")
        elif name.endswith("CurrencyCode"):
            columns[name] = pl.lit("USD")
        elif dtype == money:
            columns[name] = (drawn(100_000_00, salt).cast(money) / 100).cast(money)
        elif dtype == pl.Date:
            columns[name] = pl.date(2024, 1, 1) + pl.duration(days=drawn(900, salt))
        else:
            text = pl.format(f"{name.rsplit('_', 1)[-1]} {{}}", drawn(100_000, salt)).str.slice(0, length)
            columns[name] = pl.when(drawn(10, salt + 100) > 0).then(text)
    columns["SalesOrder_SalesOrderId"] = pl.format("SO-{}", number // 4 + 100_000_000)
    columns["Sequence"] = (number % 4 + 1).cast(pl.Int32)
    whole = pl.select(**columns, fate=drawn(1000, 5)).sample(fraction=1, shuffle=True, seed=seed)
    is_new, is_changed, is_lost, is_bent = (
        pl.col("fate").is_between(a, b) for a, b in ((0, 4), (5, 14), (15, 19), (20, 29))
    )
    more = (pl.col("UnitPrice") + pl.lit("0.01").cast(money)).cast(money)
    staged = whole.filter(~is_new)
    source = whole.with_columns(UnitPrice=pl.when(is_changed).then(more).otherwise("UnitPrice"))
    destination = source.filter(~is_lost).with_columns(UnitPrice=pl.when(is_bent).then(more).otherwise("UnitPrice"))
    Store.open(folder / "store", "ORG001").merge(ENTITY, staged.drop("fate"), run_id="before")
    source.drop("fate").sample(fraction=1, shuffle=True, seed=seed + 1).write_parquet(folder / "source.parquet")
    destination.drop("fate").sample(fraction=1, shuffle=True, seed=seed + 2).write_parquet(
        folder / "destination.parquet"
    )
    new, changed, lost, bent = (whole.filter(mark).height for mark in (is_new, is_changed, is_lost, is_bent))
    unchanged = height - new - changed
    return {"inserted": new, "updated": changed, "unchanged": unchanged, "missing": lost, "mismatched": bent}


def task() -> Any:
    """The task that says what leg two compares: every column, exact."""
    from p2c_lib.model import FieldMap, Side, Task
    from p2c_lib.store.entities import load_entities

    declared = load_entities()[ENTITY]
    return Task(
        name="lines",
        source=Side(system="cds", entity=ENTITY),
        destination=Side(system="sales", entity="salesorderdetails"),
        key={name: name for name in declared.key},
        fields=tuple(
            FieldMap(destination=name, source=name) for name in declared.columns if name != declared.organization
        ),
        currency="UnitPrice_CurrencyCode",
        amount="LineAmount",
    )


def ours(folder: Path) -> tuple[list[float], dict[str, int]]:
    """Merge, read again, compare; seconds and CPU seconds of both legs, and what was found."""
    import polars as pl

    from p2c_lib.diff import compare
    from p2c_lib.store.tables import Store

    store = Store.open(folder / "store", "ORG001")
    marks = [stamp()]
    merged = store.merge(ENTITY, pl.read_parquet(folder / "source.parquet"), run_id="now")
    marks.append(stamp())
    destination = pl.read_parquet(folder / "destination.parquet")
    found = compare(store.read(ENTITY, destination.columns), destination, task())
    marks.append(stamp())
    counts = {name: getattr(merged, name) for name in ("inserted", "updated", "unchanged")}
    return spent(marks), counts | {name: found.count(name) for name in ("missing", "mismatched")}


def plain(folder: Path) -> tuple[list[float], dict[str, int]]:
    """Scan and join the same tables, leg by leg."""
    import polars as pl

    from p2c_lib.store.entities import load_entities

    key = list(load_entities()[ENTITY].key)
    marks = [stamp()]
    for side in ("source", "destination"):
        staged, other = pl.scan_delta(str(folder / "store" / ENTITY)), pl.scan_parquet(folder / f"{side}.parquet")
        staged.join(other, on=key, how="full").collect()
        marks.append(stamp())
    return spent(marks), {}


def stamp() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def spent(marks: list[tuple[float, float]]) -> list[float]:
    """Seconds and CPU seconds of each leg, then of both."""
    pairs = [*pairwise(marks), (marks[0], marks[-1])]
    return [round(after[at] - before[at], 3) for before, after in pairs for at in (0, 1)]


def measure(way: str, folder: Path) -> dict[str, Any]:
    """Run a way in this process on a copy of the staged table; the peak is that of the whole process."""
    import resource

    own = folder / way
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(folder / "store", own / "store")
    for side in ("source", "destination"):
        (own / f"{side}.parquet").hardlink_to(folder / f"{side}.parquet")
    times, found = {"ours": ours, "plain": plain}[way](own)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6 / 1.024)
    shutil.rmtree(own)
    return {"times": times, "found": found, "peak": peak}


def child(*words: str) -> Any:
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(results: dict[str, list[dict[str, Any]]]) -> tuple[str, float, float]:
    """A table; the ratio of CPU seconds over both legs, and our peak in GB."""
    told = {
        way: [statistics.median(c) for c in zip(*(r["times"] for r in runs), strict=True)]
        for way, runs in results.items()
    }
    peaks = {way: statistics.median(run["peak"] for run in runs) for way, runs in results.items()}
    lines = ["| | merge s | CPU s | compare s | CPU s | both s | CPU s | peak GB |", "|---|" + "---:|" * 7]
    for way in WAYS:
        lines.append(f"| {way} | " + " | ".join(f"{value:.2f}" for value in [*told[way], peaks[way]]) + " |")
    ratios = [a / b for a, b in zip(told["ours"], told["plain"], strict=True)]
    lines.append("| ratio | " + " | ".join(f"{value:.2f}" for value in ratios) + " | |")
    return "\n".join(lines), ratios[-1], peaks["ours"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="staged lines, and new ones")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way; the median is shown")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
        return
    if options.make:
        print(json.dumps(make(options.make, options.rows, options.seed)))
        return
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        truth = child("--make", folder, "--rows", str(options.rows), "--seed", str(options.seed))
        for _ in range(options.rounds):
            for way in WAYS:
                results[way].append(child("--measure", way, folder))
    shown, ratio, peak = report(results)
    print(f"{options.rows:,} lines, median of {options.rounds}\n\n{shown}")
    wrong = [
        f"{name}: {run['found'][name]}, not {count}"
        for run in results["ours"]
        for name, count in truth.items()
        if run["found"][name] != count
    ]
    if wrong:
        sys.exit("ours is off: " + "; ".join(wrong))
    if options.rows >= 1_000_000:
        verdict = "kept" if ratio <= LIMIT and peak <= LIMIT_GB else "NOT kept"
        print(f"\nlimits {verdict}: {ratio:.2f} of {LIMIT:g} times the plain way's CPU, {peak:.2f} of {LIMIT_GB:g} GB")


if __name__ == "__main__":
    main()
