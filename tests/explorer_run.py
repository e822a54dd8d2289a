"""Records and runs for the explorer's tests, small enough to be seen by eye."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import polars as pl

from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.explain import OUTCOME_COLUMNS, main_reasons
from p2c_lib.explorer.records import Records, put_together

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=HYPERLINK(1)",
    "שלום עולם",
    "📦" * 30,
    "x" * 10_000,
    "a, b",
    " ",
]


def row(key, field=None, outcome="missing", code=None, expected=None, found=None, amount=None, currency=None, task="t"):
    side = "both" if field else {"extra": "destination"}.get(outcome, "source")
    worth = None if amount is None else Decimal(amount)
    code = code or outcome
    return (task, key, field, outcome, f"why {code}", code, expected, found, worth, currency, side, f"mend {code}")


def told(*rows):
    return pl.DataFrame(rows, schema=OUTCOME_COLUMNS, orient="row")


def records_of(table, **more) -> Records:
    reasons = main_reasons(table.filter(pl.col("outcome") != "excluded"))
    everything = main_reasons(table)
    counts = {name: int((everything["outcome"] == name).sum()) for name in ROW_OUTCOMES} | {"matched": 7}
    return put_together(table.lazy(), reasons.lazy(), counts, "run-1", **more)


def a_run(folder: Path, table: pl.DataFrame) -> Path:
    """The files of a finished run that the explorer reads."""
    folder.mkdir(parents=True)
    table.write_parquet(folder / "outcomes.parquet")
    main_reasons(table.filter(pl.col("outcome") != "excluded")).write_parquet(folder / "reasons.parquet")
    facts = dict.fromkeys(ROW_OUTCOMES, 1)
    run = {"run_id": "run-1", "started": "2026-01-01T00:00:00+00:00", "profile": "sandbox", "company": "usmf"}
    run |= {"threshold": 0, "tasks": [{"task": task, **facts} for task in ("t", "u")]}
    (folder / "run.json").write_text(json.dumps(run))
    return folder
