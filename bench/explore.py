"""Time the explorer on a million mismatches; run as ``python bench/explore.py [records]`` or ``make bench-explore``.

The run is made here: four tasks, most records with one field that differs, some with two or three, missing and extra
ones, twelve currencies, amounts of every size, ages. It is opened as a notebook opens it, then asked what people ask:
every message goes the way that the page's messages go, up to the JSON that would be shipped. Prints medians and 95th
percentiles, the size of an answer, and the memory above that of the table of outcomes; fails beyond 1 GB of it.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.explain import OUTCOME_COLUMNS, REASONS, main_reasons
from p2c_lib.explorer import Explorer, explore

LIMIT_MB = 1_000
ROUNDS = 12
TASKS = ("accounts", "order_headers_to_sales", "order_lines_to_sales", "invoice_lines")
CODES = ("different", "rounding", "representation", "unmapped", "truncated", "computed", "status_behind")
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CHF", "SEK", "PLN", "KWD", "INR", "AUD", "CAD", "BRL")
COUNTRIES = ("US", "DE", "GB", "JP", "CH", "SE", "PL", "KW", "IN", "AU", "CA", "BR", "FR", "IT", "ES")
FIELDS = tuple(f"{name}{number}" for name in ("Address", "Amount", "Name", "Status") for number in range(15))
WORDS = ("Contoso", "Fabrikam", "Northwind", "Müller & Söhne", "Straße", "Ltd", "Gmbh", "Housing 19", "Pump", "Valve")


def outcomes(height: int, seed: int = 1) -> pl.DataFrame:
    """A table of outcomes with as many records; a third more fields than mismatched records."""
    draw = np.random.default_rng(seed)
    number = pl.int_range(height, eager=True, dtype=pl.UInt32)
    kind = draw.choice(["mismatched", "missing", "extra"], size=height, p=[0.9, 0.07, 0.03])
    base = pl.DataFrame({"number": number, "kind": kind}).with_columns(
        task=pl.Series(draw.choice(TASKS, size=height)),
        key=pl.format("ORD-{}-{}", pl.lit(pl.Series(draw.permutation(height))), (number * 7919) % 100_003),
        currency=pl.Series(draw.choice(CURRENCIES, size=height)),
        amount=pl.Series(np.round(draw.lognormal(5, 3, size=height), 2)).cast(pl.Decimal(38, 12)),
        parts=pl.Series(draw.choice([1, 2, 3], size=height, p=[0.75, 0.2, 0.05])),
    )
    pairs = base.filter(pl.col("kind") == "mismatched").select(
        "number", "task", "key", "currency", "amount", field=pl.int_ranges("parts")
    )
    pairs = pairs.explode("field")
    code = pl.Series(draw.choice(CODES, size=pairs.height))
    first, second = (pl.Series(draw.choice(WORDS, size=pairs.height)) for _ in range(2))
    names = pl.Series(FIELDS).gather((pairs["number"] * 13 + pairs["field"] * 7) % len(FIELDS))
    pairs = pairs.with_columns(
        field=names,
        outcome=code.replace({"computed": "different", "status_behind": "different"}),
        code=code,
        expected=pl.format("{} {}", first, pairs["number"] % 5003),
        found=pl.format("{} {}", second, pairs["number"] % 5003),
        side=pl.lit("both"),
    )
    alone = base.filter(pl.col("kind") != "mismatched").with_columns(
        outcome="kind",
        code="kind",
        side=pl.when(pl.col("kind") == "missing").then(pl.lit("source")).otherwise(pl.lit("destination")),
        **{name: pl.lit(None, pl.String) for name in ("field", "expected", "found")},
    )
    says = {code: reason.says for code, reason in REASONS.items()}
    remedies = {code: reason.remedy for code, reason in REASONS.items()}
    table = pl.concat([part.select(set(OUTCOME_COLUMNS) - {"reason", "remedy"}) for part in (alone, pairs)])
    table = table.with_columns(
        reason=pl.col("code").replace_strict(says), remedy=pl.col("code").replace_strict(remedies)
    )
    return table.select(OUTCOME_COLUMNS.names()).cast(OUTCOME_COLUMNS)


def a_run(folder: Path, height: int) -> Path:
    """The files of such a run that the explorer reads."""
    table = outcomes(height)
    table.write_parquet(folder / "outcomes.parquet")
    reasons = main_reasons(table)
    reasons.write_parquet(folder / "reasons.parquet")
    ages = np.random.default_rng(2).integers(0, 90, size=reasons.height).astype(float)
    history = reasons.select("task", "key", "side", state=pl.lit("open"), age_days=pl.Series(ages))
    history.write_parquet(folder / "history.parquet")
    run = {"run_id": "bench", "started": "2026-01-01T00:00:00+00:00", "profile": "sandbox", "company": "usmf"}
    facts = [{"task": task, **dict.fromkeys(ROW_OUTCOMES, 0)} for task in TASKS]
    for outcome, rows in reasons["outcome"].value_counts().iter_rows():
        facts[0][outcome] = rows
    (folder / "run.json").write_text(json.dumps({**run, "threshold": 0, "tasks": facts}))
    for number, task in enumerate(TASKS):  # where countries come from
        place = folder / "tasks" / task
        place.mkdir(parents=True)
        mine = reasons.filter(pl.col("task") == task).with_row_index("source_row")
        codes = pl.Series(COUNTRIES).gather((mine["source_row"] * 31 + number) % len(COUNTRIES))
        codes.to_frame("shipto_country").write_parquet(place / "expected.parquet")
        codes.clear().to_frame("shipto_country").write_parquet(place / "found.parquet")
        rows = mine.select("key", "side", "outcome", "source_row", destination_row=pl.lit(None, pl.UInt32))
        rows.write_parquet(place / "rows.parquet")
        (place / "task.json").write_text(json.dumps({"fields": [{"destination": "shipto_country"}]}))
    return folder


def memory_mb(name: str) -> float:
    """Memory of this process: VmRSS as it stands, VmHWM at its highest since `forget_the_highest`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def forget_the_highest() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def series(draw: random.Random) -> list[tuple[str, list[dict]]]:
    """What is asked, by kind; no two messages of a kind are the same, so that nothing is answered from memory alone."""

    def filters() -> dict:
        chosen = {
            "outcome": [["mismatched"], ["missing", "extra"], []],
            "code": [[draw.choice(CODES)], draw.sample(CODES, 2), []],
            "field": [[draw.choice(FIELDS)], draw.sample(FIELDS, 3), []],
            "country": [draw.sample(COUNTRIES, 2), []],
            "currency": [draw.sample(CURRENCIES, 2), []],
            "amount_from": [round(draw.lognormvariate(4, 2), 2), ""],
            "age_from": [draw.randrange(60), ""],
        }
        picked = draw.sample(sorted(chosen), 3)
        return {name: draw.choice(chosen[name]) for name in picked}

    sorts = ["key", "amount", "reason", "fields", "country", "age_days", "task", "outcome"]
    texts = [f"{word[: draw.randint(2, 6)]}{number}" for number, word in enumerate(WORDS)] + ["ORD-77", "söhne 12", "9"]
    ask = {
        "filter": [filters() for _ in range(ROUNDS)],
        "one list, all records": [{"field": [field]} for field in draw.sample(FIELDS, ROUNDS)],
        "sort all": [{"sort": sorts[n % 8], "descending": n >= 8} for n in range(16)],
        "filter and sort": [{**filters(), "sort": draw.choice(sorts)} for _ in range(ROUNDS)],
        "text": [{"text": text} for text in texts],
        "page": [{"sort": "amount", "page": draw.randrange(40_000)} for _ in range(ROUNDS)],
    }
    return [(kind, [{"kind": "query", "query": query} for query in asked]) for kind, asked in ask.items()]


def timed(shown: Explorer, message: dict) -> tuple[float, int]:
    """Seconds from the message to the JSON of the answer, and the bytes of that."""
    clock = time.perf_counter()
    shown.tell(message)
    size = len(json.dumps(shown.view))
    seconds = time.perf_counter() - clock
    assert not shown.view["problem"], shown.view["problem"]
    return seconds, size


def main(height: int) -> int:
    with tempfile.TemporaryDirectory() as place:
        # made by another process: what making it takes must not hide what exploring it takes
        folder = Path(place)
        subprocess.run([sys.executable, __file__, str(height), "--make", place], check=True)
        table = pl.read_parquet(folder / "outcomes.parquet")
        before = memory_mb("VmRSS")
        print(f"{height:,} records, {table['field'].count():,} fields; the table alone: {before:,.0f} MB of process")
        forget_the_highest()
        clock = time.perf_counter()
        shown = explore(folder)
        opened = time.perf_counter() - clock
        shown.wait()  # the orders that are worked out beside
        print(f"opened in {opened:.1f} s; all orders after {time.perf_counter() - clock:.1f} s\n")
        print(f"| {'asked':24} | times | median ms | p95 ms | largest answer KB |\n|---|---|---|---|---|")
        everything: list[float] = []
        jobs: list[tuple[str, list[dict]]] = series(random.Random(3))
        jobs.append(
            ("tick a page", [{"kind": "tick", "records": list(range(n, n + 25)), "on": True} for n in range(8)])
        )
        jobs.append(("tick all of a filter", [{"kind": "tick_all", "on": n % 2 == 0} for n in range(8)]))
        for kind, messages in jobs:
            told = [timed(shown, message) for message in messages]
            seconds = sorted(one for one, _ in told)
            if not kind.startswith("tick"):
                everything += seconds
            print(row(kind, seconds, max(size for _, size in told)))
        print(row("filter, sort, text, page", sorted(everything), 0))
        highest, now = memory_mb("VmHWM") - before, memory_mb("VmRSS") - before
        print(f"\nmemory above the table: {now:,.0f} MB, at its highest {highest:,.0f} MB (limit {LIMIT_MB:,} MB)")
        del table
        return int(highest > LIMIT_MB)


def row(kind: str, seconds: list[float], size: int) -> str:
    late = seconds[min(int(0.95 * len(seconds)), len(seconds) - 1)]
    shown = f"{size / 1000:,.1f}" if size else ""
    median = statistics.median(seconds)
    return f"| {kind:24} | {len(seconds)} | {median * 1000:,.0f} | {late * 1000:,.0f} | {shown} |"


if __name__ == "__main__":
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if "--make" in sys.argv:
        a_run(Path(sys.argv[-1]), rows)
    else:
        sys.exit(main(rows))
