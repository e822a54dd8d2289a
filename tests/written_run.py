"""A finished run of one task with differences and hostile texts, written by hand."""

from decimal import Decimal
from pathlib import Path

import polars as pl

from p2c_lib import folder as folders
from p2c_lib.chains import WAIT_COLUMNS
from p2c_lib.config import Profile
from p2c_lib.explain import OUTCOME_COLUMNS
from p2c_lib.places import task_folder
from p2c_lib.quirks import QUIRK_COLUMNS

PROFILE = Profile.model_validate(
    {"name": "here", "sales": {"url": "http://127.0.0.1:1"}, "fno": {"url": "http://127.0.0.1:2"}}
)
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">"\'</td></table>'
COUNTS = {
    "source_rows": 12_345,
    "destination_rows": 12_344,
    "matched": 12_340,
    "mismatched": 2,
    "missing": 1,
    "extra": 0,
    "excluded": 1,
    "blocked": 1,
    "seconds": 1.234,
    "amount_at_stake": {"EUR": "403760.01", "USD": "1244031.7", "": "5"},
}


def outcomes(*rows: dict) -> pl.DataFrame:
    blank = dict.fromkeys(OUTCOME_COLUMNS) | {"task": "accounts", "outcome": "different", "reason": "stale"}
    made = [blank | row for row in rows]
    return pl.DataFrame([{**row, "code": row["code"] or row["outcome"]} for row in made], schema=OUTCOME_COLUMNS)


DIFFERING = outcomes(
    {"key": "A1", "field": "CreditLimit", "expected": "403760.01", "found": "0", "amount": Decimal("403760.01"),
     "currency": "EUR"},
    {"key": "A2", "field": "CreditLimit", "expected": "1", "found": None, "amount": Decimal("1"), "currency": "USD"},
    {"key": "A2", "field": "OrganizationName", "expected": HOSTILE, "found": "x" * 900},
    {"key": " A3", "outcome": "blocked", "reason": "padded", "side": "source", "amount": Decimal("0.005"),
     "currency": "USD"},
    {"key": "A4", "outcome": "missing", "reason": "never", "side": "source", "amount": Decimal("5"), "currency": None},
    {"key": "A5", "outcome": "excluded", "reason": HOSTILE, "side": "source"},
)  # fmt: skip


def written(folder: Path, table: pl.DataFrame = DIFFERING) -> Path:
    """Write the run; its table of what is not matched may be another one."""
    made = folders.create(folder, PROFILE, {"tasks": [HOSTILE]})
    place = task_folder(made, "accounts")
    folders.write_json(place / "summary.json", {"task": "accounts", **COUNTS})
    table.write_parquet(place / "outcomes.parquet")
    WAIT_COLUMNS.to_frame().write_parquet(place / "waits.parquet")
    QUIRK_COLUMNS.to_frame().write_parquet(place / "quirks.parquet")
    lost = {
        "task": "accounts",
        "field": "Country",
        "value": HOSTILE,
        "rows": 3,
        "amount": Decimal("7"),
        "currency": "JPY",
    }
    pl.DataFrame([lost], schema=folders.UNMAPPED_COLUMNS).write_parquet(place / "unmapped.parquet")
    check = {"expectation": "expect_x", "column": "c", "success": False, "unexpected_count": 2, "severity": "critical"}
    check |= {"meta": {"says": HOSTILE}, "failing_keys": [" A3", HOSTILE]}
    folders.write_json(place / "checks.json", [{"suite": "accounts_source", "checks": [check]}])
    folders.finish(made, ["accounts"])
    return made
