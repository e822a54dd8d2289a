"""A finished run as one self-contained HTML page: counts, charts, reasons, samples with both sides, failed checks."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from p2c_lib import charts
from p2c_lib.diff import ROW_OUTCOMES, as_text
from p2c_lib.folder import differing_rows, read_run

SAMPLES_AN_OUTCOME = 5
TOP_FIELDS = 25
KEYS_SHOWN = 5


def outcome_table(run: dict[str, Any]) -> pl.DataFrame:
    """The table a run ends with: a row for each task that came to its end.

    Returns:
        Columns task, source_rows, destination_rows, one for each row outcome, seconds.
    """
    names = ["task", "source_rows", "destination_rows", *ROW_OUTCOMES, "seconds"]
    done = [[task[name] for name in names] for task in run["tasks"] if "error" not in task]
    return pl.DataFrame(done, schema=names, orient="row", infer_schema_length=None)


def verdict(run: dict[str, Any]) -> str:
    """The run in one sentence."""
    failed = [task["task"] for task in run["tasks"] if "error" in task]
    if failed:
        return f"Failed: {', '.join(failed)} did not come to an end"
    differing = sum(differing_rows(task) for task in run["tasks"])
    compared = sum(task["source_rows"] for task in run["tasks"])
    if not differing:
        return f"In step: {compared:,} source rows, no difference"
    within = " (within the threshold)" if differing <= run["threshold"] else ""
    return f"{differing:,} rows are not in step{within}"


def reasons(table: pl.DataFrame) -> pl.DataFrame:
    """Outcomes by reason: task, outcome, reason, remedy, count (rows or fields), amount (text, each currency apart)."""
    return (
        table.group_by("task", "outcome", "reason", "remedy", "currency", maintain_order=True)
        .agg(count=pl.len(), amount=pl.col("amount").sum())
        .group_by("task", "outcome", "reason", "remedy", maintain_order=True)
        .agg(
            pl.col("count").sum(),
            amount=pl.concat_str(as_text("amount", table.schema["amount"]), pl.lit(" "), pl.col("currency"))
            .filter(pl.col("amount") != 0)
            .sort()
            .str.join(", "),
        )
        .sort("task", "count", descending=[False, True], maintain_order=True)
    )


def field_counts(table: pl.DataFrame) -> pl.DataFrame:
    """Differing fields, most frequent first: task, field, outcome, rows, amount (text by currency)."""
    cells = table.filter(pl.col("field").is_not_null())
    by_currency = cells.group_by("task", "field", "outcome", "currency", maintain_order=True).agg(
        rows=pl.len(), amount=pl.col("amount").sum()
    )
    return (
        by_currency.group_by("task", "field", "outcome", maintain_order=True)
        .agg(
            pl.col("rows").sum(),
            amount=pl.concat_str(as_text("amount", table.schema["amount"]), pl.lit(" "), pl.col("currency"))
            .filter(pl.col("amount") != 0)
            .sort()
            .str.join(", "),
        )
        .sort("rows", "task", "field", descending=[True, False, False], maintain_order=True)
    )


def samples(table: pl.DataFrame, task: str, per_outcome: int = SAMPLES_AN_OUTCOME) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A few differing fields and a few single rows of a task, some of each outcome, for display only."""
    mine = table.filter(pl.col("task") == task).with_columns(as_text("amount", table.schema["amount"]).alias("amount"))
    cells = mine.filter(pl.col("field").is_not_null()).group_by("outcome", maintain_order=True).head(per_outcome)
    alone = mine.filter(pl.col("field").is_null() & (pl.col("outcome") != "excluded"))
    return cells, alone.group_by("outcome", maintain_order=True).head(per_outcome)


def failed_checks(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Expectations that were not met: suite, check in words, severity, rows that fail, first keys."""
    return [
        {
            "suite": suite["suite"],
            "check": check["meta"].get("says") or f"{check['expectation']} {check['column'] or ''}",
            "severity": check["severity"],
            "failing": check["unexpected_count"],
            "keys": ", ".join(check["failing_keys"][:KEYS_SHOWN])
            + (" …" if len(check["failing_keys"]) > KEYS_SHOWN else ""),
        }
        for suite in checks
        for check in suite["checks"]
        if not check["success"]
    ]


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a run's folder from what the run left there; nothing is pulled again.

    Raises:
        ParameterError: The folder holds no run.
    """
    run = read_run(folder)
    table = pl.read_parquet(folder / "outcomes.parquet")
    unmapped = pl.read_parquet(folder / "unmapped.parquet")
    checks = json.loads((folder / "checks.json").read_text("utf-8"))
    fields = field_counts(table)
    shown = []
    for task in run["tasks"]:
        cells, alone = samples(table, task["task"])
        if cells.height or alone.height:
            shown.append({"task": task["task"], "cells": cells.to_dicts(), "rows": alone.to_dicts()})
    notebooks = sorted((folder / "notebooks").glob("*.ipynb")) if (folder / "notebooks").exists() else []
    has_docs = (folder / "docs" / "index.html").exists()
    links = [{"href": f"notebooks/{path.name}", "text": path.stem} for path in notebooks]
    links += [{"href": "docs/index.html", "text": "Data Docs"}] if has_docs else []
    done = outcome_table(run)
    page = _template().render(
        run=run,
        verdict=verdict(run),
        in_step=run["exit_code"] == 0,
        outcomes=ROW_OUTCOMES,
        outcome_chart=charts.static_html(charts.outcome_bars(done)) if done.height else "",
        field_chart=charts.static_html(charts.field_bars(fields.head(TOP_FIELDS))) if fields.height else "",
        reasons=reasons(table).to_dicts(),
        fields=fields.head(TOP_FIELDS).to_dicts(),
        samples=shown,
        per_outcome=SAMPLES_AN_OUTCOME,
        unmapped=unmapped.with_columns(as_text("amount", unmapped.schema["amount"]).alias("amount")).to_dicts(),
        checks=failed_checks(checks),
        checked=sum(len(suite["checks"]) for suite in checks),
        has_docs=has_docs,
        links=links,
    )
    path = folder / "report.html"
    path.write_text(page, "utf-8")
    return path


def _template() -> jinja2.Template:
    text = files("p2c_lib").joinpath("assets/report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(text)
