"""What comparing costs, ours beside others, and who sees what; ``make bench`` or ``python bench/compare.py --help``.

Two sides of document lines: 30 columns, a key of two parts, seven columns of exact decimals, texts, dates; 1 % of the
cells changed, 0.5 % of the rows missing on each side, 0.1 % of the keys repeated on each side, both sides shuffled. One
of the decimal columns holds amounts of 19 digits, and what is changed there is the last one.

All are asked the same: how many rows matched, mismatched, missing, extra, set aside for a repeated key, and a long
table of the differing cells (key, column, both values as text). What they answer is held against what was put in.
Each way runs in a process of its own, one after the other, round by round; the clock starts when both frames are in
memory. Peak memory is the high-water mark of that process, which is set back once the inputs are there, and is given
whole and less what the inputs hold. Times of a machine shared with others are noisy: read the ratios.

DataComPy asks for an older Polars and pandas than ours: it has a lock of its own (`datacompy.lock`) and runs in an
environment of its own, `--datacompy PYTHON`.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEYS = ["SalesOrderNumber", "LineCreationSequenceNumber"]
LONG = "ContractAmount"
MONEYS = ["SalesPrice", "Quantity", "LineAmount", "LineDiscountAmount", "TotalTaxAmount", "TotalChargeAmount", LONG]
DATES = ["RequestedShippingDate", "RequestedReceiptDate", "ConfirmedShippingDate", "ConfirmedReceiptDate"]
MOMENTS = ["CreatedDateTime", "ModifiedDateTime"]
WHOLES = ["SalesLineStatus", "DeliveryModeNumber", "SkipCreateAutoCharges"]
TEXTS = ["ItemNumber", "ProductName", "LineDescription", "SalesUnitSymbol", "ShippingSiteId", "ShippingWarehouseId",
         "DeliveryTermsId", "DeliveryAddressName", "DeliveryAddressStreet", "DeliveryAddressCity",
         "CustomerReference"]  # fmt: skip
FIELDS = [*MONEYS, *DATES, *MOMENTS, *WHOLES, *TEXTS, "CurrencyCode"]
COUNTS = ("matched", "mismatched", "missing", "extra", "repeated", "cells")


def make(folder: Path, height: int, seed: int) -> dict[str, int]:
    """Write both sides to ``folder``; give what a comparison must find: `COUNTS`, and ``long``, the cells of `LONG`."""
    import polars as pl

    pl.set_random_seed(seed)
    number = pl.int_range(height, dtype=pl.Int64)
    money = pl.Decimal(38, 12)

    def drawn(below: int, salt: int) -> pl.Expr:
        return (number.hash(seed + salt) % below).cast(pl.Int64)

    def cents(salt: int) -> pl.Expr:
        return (drawn(100_000_00, salt).cast(money) / 100).cast(money)

    columns = {
        "SalesOrderNumber": pl.format("SO-{}", (number // 4 + 100_000_000)),
        "LineCreationSequenceNumber": (number % 4 + 1).cast(pl.Int32),
        **{name: cents(salt) for salt, name in enumerate(MONEYS, 10)},
        LONG: (cents(30) + pl.lit(12_345_678_900_000_000).cast(money)).cast(money),
        **{name: pl.date(2024, 1, 1) + pl.duration(days=drawn(900, salt)) for salt, name in enumerate(DATES, 40)},
        **{
            name: (pl.datetime(2024, 1, 1, time_zone="UTC") + pl.duration(seconds=drawn(10**8, salt)))
            for salt, name in enumerate(MOMENTS, 50)
        },
        **{name: drawn(9, salt).cast(pl.Int32) for salt, name in enumerate(WHOLES, 60)},
        **{
            name: pl.when(drawn(10, salt) > 0).then(pl.format(f"{name[:9]} {{}}", drawn(10**length, salt + 1)))
            for salt, (name, length) in enumerate(zip(TEXTS, [6, 5, 9, 1, 1, 1, 1, 7, 8, 3, 9], strict=True), 70)
        },
        "CurrencyCode": pl.lit("USD"),
    }
    source = pl.select(**columns).select(*KEYS, *FIELDS)

    def changed(name: str, dtype: pl.DataType) -> pl.Expr:
        value = pl.col(name)
        if dtype.is_decimal():
            step = pl.lit("0.01").cast(money)
            return value + (step if name == LONG else pl.when(drawn(2, 90) == 0).then(step).otherwise(step * 500))
        if dtype == pl.String:
            return pl.coalesce(value, pl.lit("")) + "x"
        return value.dt.offset_by("1d") if dtype.is_temporal() else value + 1

    salts = {name: 1000 + at for at, name in enumerate(FIELDS)}
    strikes = {name: drawn(100, salt) == 0 for name, salt in salts.items()}
    destination = source.with_columns(
        pl.when(strikes[name]).then(changed(name, source[name].dtype)).otherwise(pl.col(name)).cast(source[name].dtype)
        for name in FIELDS
    )
    marks = source.select(drawn(1000, 5).alias("fate"), *(strike.alias(name) for name, strike in strikes.items()))
    fate = marks["fate"]  # 0-4 missing, 5-9 extra, 10 repeated at the source, 11 repeated at the destination
    gone, new, twice, doubled = (fate < 5, fate.is_between(5, 9), fate == 10, fate == 11)
    sides = {
        "source": pl.concat([source.filter(~new), source.filter(twice)]),
        "destination": pl.concat([destination.filter(~gone), destination.filter(doubled)]),
    }
    for name, frame in sides.items():
        frame.sample(fraction=1, shuffle=True, seed=seed).rechunk().write_parquet(folder / f"{name}.parquet")
    paired = marks.filter(fate > 11)
    struck = paired.select(pl.any_horizontal(FIELDS).sum()).item()
    return {
        "matched": paired.height - struck,
        "mismatched": struck,
        "missing": gone.sum(),
        "extra": new.sum(),
        "repeated": 3 * (twice.sum() + doubled.sum()),
        "cells": paired.select(pl.sum_horizontal(pl.col(FIELDS).sum())).item(),
        "long": paired[LONG].sum(),
    }


def ours(source: Any, destination: Any) -> dict[str, int]:
    """Our public `compare`: keys checked first, exact decimals, outcomes, amounts at stake."""
    import polars as pl

    from p2c_lib.diff import compare

    found = compare(source, destination, our_task())
    return {
        **{outcome: found.count(outcome) for outcome in ("matched", "mismatched", "missing", "extra")},
        "repeated": found.count("blocked"),
        "cells": found.cells.height,
        "long": found.cells.filter(pl.col("field") == LONG).height,
    }


def our_task() -> Any:
    """The task that says what is compared: every column exact, no tolerance, no normaliser."""
    from p2c_lib.model import FieldMap, Side, Task

    return Task(
        name="lines",
        source=Side(system="sales", entity="salesorderdetails"),
        destination=Side(system="fno", entity="SalesOrderLinesV2"),
        key={name: name for name in KEYS},
        fields=tuple(FieldMap(destination=name, source=name, money=name in MONEYS) for name in [*KEYS, *FIELDS]),
        currency="CurrencyCode",
        amount="LineAmount",
    )


def without_repeated(source: Any, destination: Any) -> tuple[Any, Any, int]:
    """The check of the keys that the other ways lack: both sides without repeated keys, and the rows set aside."""
    import polars as pl

    sides = [source.lazy(), destination.lazy()]
    counted = [side.group_by(KEYS).len().filter(pl.col("len") > 1) for side in sides]
    repeated = pl.concat(counted).select(KEYS).unique()
    left, right = pl.collect_all([side.join(repeated, on=KEYS, how="anti") for side in sides])
    return left, right, source.height + destination.height - left.height - right.height


def bare_join(source: Any, destination: Any) -> dict[str, int]:
    """Polars: a full join on the key, then column by column, nothing else: repeated keys multiply."""
    return joined(source, destination) | {"repeated": 0}


def plain_join(source: Any, destination: Any) -> dict[str, int]:
    """The same, repeated keys looked for before."""
    left, right, repeated = without_repeated(source, destination)
    return joined(left, right) | {"repeated": repeated}


def joined(left: Any, right: Any) -> dict[str, int]:
    import polars as pl

    mark = pl.lit(True).alias("is_there")
    both = (
        left.lazy()
        .with_columns(mark)
        .join(right.lazy().with_columns(mark), on=KEYS, how="full", suffix="_found")
        .collect(engine="streaming")
    )
    paired = both.lazy().filter(pl.col("is_there") & pl.col("is_there_found")).with_row_index("row")
    differ = [
        paired.filter(pl.col(name).ne_missing(pl.col(f"{name}_found"))).select(
            "row",
            *KEYS,
            pl.lit(name).alias("field"),
            pl.col(name).cast(pl.String).alias("expected"),
            pl.col(f"{name}_found").cast(pl.String).alias("found"),
        )
        for name in FIELDS
    ]
    cells = pl.concat(pl.collect_all(differ))
    missing, extra = both["is_there_found"].null_count(), both["is_there"].null_count()
    mismatched = cells["row"].n_unique()
    return {
        "matched": both.height - missing - extra - mismatched,
        "mismatched": mismatched,
        "missing": missing,
        "extra": extra,
        "cells": cells.height,
        "long": cells.filter(pl.col("field") == LONG).height,
    }


def datacompy(source: Any, destination: Any) -> dict[str, int]:
    """DataComPy on Polars, exact tolerances; repeated keys looked for before, else every count is off."""
    import polars as pl
    from datacompy import PolarsCompare

    left, right, repeated = without_repeated(source, destination)
    report = PolarsCompare(left, right, join_columns=KEYS, abs_tol=0, rel_tol=0, cast_column_names_lower=False)
    rows = report.intersect_rows
    differ = [
        rows.filter(~pl.col(f"{name}_match")).select(
            *KEYS,
            pl.lit(name).alias("field"),
            pl.col(f"{name}_df1").cast(pl.String).alias("expected"),
            pl.col(f"{name}_df2").cast(pl.String).alias("found"),
        )
        for name in FIELDS
    ]
    cells = pl.concat(differ)
    matched = report.count_matching_rows()
    return {
        "matched": matched,
        "mismatched": rows.height - matched,
        "missing": report.df1_unq_rows.height,
        "extra": report.df2_unq_rows.height,
        "repeated": repeated,
        "cells": cells.height,
        "long": cells.filter(pl.col("field") == LONG).height,
    }


def pandas_merge(source: Any, destination: Any) -> dict[str, int]:
    """pandas: an outer merge with indicator, then column by column."""
    left, right, repeated = without_repeated_pandas(source, destination)
    both = left.merge(right, on=KEYS, how="outer", suffixes=("", "_found"), indicator=True)
    paired = both[both["_merge"] == "both"]
    cells, long = 0, 0
    struck = paired["_merge"] != "both"
    for name in FIELDS:
        expected, found = paired[name], paired[f"{name}_found"]
        differ = (expected != found) & ~(expected.isna() & found.isna())
        table = paired.loc[differ, [*KEYS, name, f"{name}_found"]].astype(str)
        struck |= differ
        cells += len(table)
        long += len(table) if name == LONG else 0
    counts = both["_merge"].value_counts()
    return {
        "matched": int((~struck).sum()),
        "mismatched": int(struck.sum()),
        "missing": int(counts["left_only"]),
        "extra": int(counts["right_only"]),
        "repeated": repeated,
        "cells": cells,
        "long": long,
    }


def pandas_compare(source: Any, destination: Any) -> dict[str, int]:
    """pandas: both sides by a sorted index of the keys they share, then `DataFrame.compare`; amounts in doubles."""
    left, right, repeated = without_repeated_pandas(source, destination)
    left, right = left.set_index(KEYS).sort_index(), right.set_index(KEYS).sort_index()
    shared = left.index.intersection(right.index)
    differ = left.loc[shared].compare(right.loc[shared])
    cells = differ.stack(level=0)
    present = cells["self"].notna() | cells["other"].notna()
    cells = cells[present].astype(str)
    return {
        "matched": len(shared) - len(differ),
        "mismatched": len(differ),
        "missing": len(left) - len(shared),
        "extra": len(right) - len(shared),
        "repeated": repeated,
        "cells": len(cells),
        "long": int((cells.index.get_level_values(-1) == LONG).sum()),
    }


def without_repeated_pandas(source: Any, destination: Any) -> tuple[Any, Any, int]:
    import pandas as pd

    twice = [side.loc[side.duplicated(KEYS), KEYS] for side in (source, destination)]
    repeated = pd.MultiIndex.from_frame(pd.concat(twice).drop_duplicates())
    left, right = (side[~pd.MultiIndex.from_frame(side[KEYS]).isin(repeated)] for side in (source, destination))
    return left, right, len(source) + len(destination) - len(left) - len(right)


WAYS: dict[str, tuple[str, Callable[[Any, Any], dict[str, int]]]] = {
    "ours": ("p2c compare: keys, decimals, outcomes", ours),
    "bare_join": ("Polars full join, column by column", bare_join),
    "plain_join": ("the same, repeated keys looked for", plain_join),
    "datacompy": ("DataComPy on Polars", datacompy),
    "pandas_compare": ("pandas compare, amounts as doubles", pandas_compare),
    "pandas_merge": ("pandas merge, amounts as doubles", pandas_merge),
    "pandas_exact": ("pandas merge, amounts as Decimal", pandas_merge),
}


def status_mb(name: str) -> float:
    """A line of ``/proc/self/status``, in MB (10^6 bytes)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


def measure(way: str, folder: Path) -> dict[str, Any]:
    """Run one way in this process: what it found, its seconds, its memory before and at its peak, in MB."""
    import polars as pl

    frames = [pl.read_parquet(folder / f"{side}.parquet").rechunk() for side in ("source", "destination")]
    if way.startswith("pandas"):
        money = [] if way == "pandas_exact" else [pl.col(name).cast(pl.Float64) for name in MONEYS]
        frames = [frame.with_columns(money).to_pandas() for frame in frames]
    WAYS[way][1](*(frame.head(1000) for frame in frames))  # imports and first uses are not what is measured
    gc.collect()
    before = status_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark is what is there now
    clock, cpu = time.perf_counter(), time.process_time()
    found = WAYS[way][1](*frames)
    seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    peak = max(status_mb("VmHWM"), before)
    return {"found": found, "seconds": seconds, "cpu": cpu, "inputs": before, "peak": peak}


def child(python: Path, *words: str) -> Any:
    """This file in a process of its own; what it prints, read."""
    done = subprocess.run([str(python), __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = [
        "| "
        + " | ".join(
            cell.ljust(w) if at == 0 else cell.rjust(w) for at, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    ]
    return "\n".join([body[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *body[1:]])


def medians(runs: list[dict[str, Any]]) -> list[float]:
    """Seconds, CPU seconds, memory over the inputs and in all."""
    over = [run["peak"] - run["inputs"] for run in runs]
    columns = [[run["seconds"] for run in runs], [run["cpu"] for run in runs], over, [run["peak"] for run in runs]]
    return [statistics.median(column) for column in columns]


def report(truth: dict[str, int], results: dict[str, list[dict[str, Any]]]) -> str:
    """Both tables: what each way costs, and what it answers beside what is there."""
    base, base_cpu, room, _ = medians(results["bare_join"])
    costs = [["way", "s", "ratio", "CPU s", "ratio", "MB over the inputs", "ratio", "peak MB, inputs and all"]]
    answers = [["way", *COUNTS, "in 19 digits", "misses past 15 digits"]]
    answers.append(["what is there", *(f"{truth[name]:,}" for name in COUNTS), f"{truth['long']:,}", ""])
    for way, runs in results.items():
        seconds, cpu, over, peak = medians(runs)
        label = WAYS[way][0]
        times = [f"{seconds:.2f}", f"{seconds / base:.2f}", f"{cpu:.2f}", f"{cpu / base_cpu:.2f}"]
        costs.append([label, *times, f"{over:,.0f}", f"{over / room:.2f}", f"{peak:,.0f}"])
        found = runs[0]["found"]
        missed = max(truth["long"] - found["long"], 0)
        answers.append([label, *(f"{found[n]:,}" for n in COUNTS), f"{found['long']:,}", f"{missed:,}"])
    return f"{table(costs)}\n\n{table(answers)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="lines before any are dropped or repeated")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way; the median is shown")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), help="bare_join is 1 and always among them"
    )
    parser.add_argument("--datacompy", type=Path, default=Path(".venv/datacompy/bin/python"), metavar="PYTHON")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
        return
    if options.make:
        print(json.dumps(make(options.make, options.rows, options.seed)))
        return
    ways = [way for way in WAYS if way in options.ways or way == "bare_join"]
    if "datacompy" in ways and not options.datacompy.exists():
        parser.error(f"DataComPy has an environment of its own, and {options.datacompy} is not there: make bench")
    this = Path(sys.executable)
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        truth = child(this, "--make", folder, "--rows", str(options.rows), "--seed", str(options.seed))
        for _ in range(options.rounds):
            for way in ways:
                results[way].append(child(options.datacompy if way == "datacompy" else this, "--measure", way, folder))
    print(f"{options.rows:,} lines x {len(KEYS) + len(FIELDS)} columns, median of {options.rounds}\n")
    print(report(truth, results))
    wrong = {name for name in (*COUNTS, "long") if any(run["found"][name] != truth[name] for run in results["ours"])}
    if wrong:
        sys.exit(f"ours is off in {', '.join(sorted(wrong))}")


if __name__ == "__main__":
    main()
