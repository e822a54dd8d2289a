"""A finished run as one self-contained HTML page: counts, charts, reasons, samples with both sides, failed checks."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from p2c_lib import charts, threeway, tieout
from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.markup import environment, html_table
from p2c_lib.quality import overall, wide
from p2c_lib.report.figures import Figures
from p2c_lib.report.summary import write_summary
from p2c_lib.report.tables import (
    DOCUMENT_AMOUNTS,
    EXAMPLE_SHOWN,
    LONG_TEXT,
    SAMPLES_A_LEG,
    SAMPLES_AN_OUTCOME,
    TOP_CHAINS,
    TOP_DOCUMENTS,
    TOP_FIELDS,
    TOP_UNMAPPED,
    document_table,
    field_counts,
    how_table,
    over_tasks,
    samples,
    tie_table,
    with_money,
)
from p2c_lib.validate import DIMENSIONS

SIGNERS = ("Prepared by", "Reviewed by", "Approved by")


def _import_jsonschema() -> None:
    """Import jsonschema without its grammar of international addresses, which nothing here is checked against.

    Altair, papermill and Great Expectations all import it, and that grammar alone takes 1.6 s of CPU in each process;
    jsonschema does without when it is not there.
    """
    grammar = "rfc3987_syntax"
    if grammar not in sys.modules and "jsonschema" not in sys.modules:
        sys.modules[grammar] = None  # type: ignore[assignment]  # the documented way to make an import fail
        try:
            importlib.import_module("jsonschema")
        finally:
            del sys.modules[grammar]


_import_jsonschema()


def write_report(folder: Path) -> Path:
    """Write ``report.html`` and ``summary.md`` into a run's folder from what the run left there; nothing is pulled.

    Raises:
        ParameterError: The folder holds no run, or one that did not come to its end or is an older version's.
    """
    figures = Figures.of(folder)
    run, held, untied, checks = figures.run, figures.held, tieout.untied(figures.ties).height, figures.checks
    why, left_out, unmapped, failed = figures.why, figures.left_out, figures.unmapped, figures.failed
    fields = field_counts(figures.differing).head(TOP_FIELDS)
    shown = [(task["task"], *samples(figures.differing, task["task"])) for task in run["tasks"]]
    notebooks = sorted((folder / "notebooks").glob("*.ipynb"))
    has_docs = (folder / "docs" / "index.html").exists()
    links = [{"href": f"notebooks/{path.name}", "text": path.stem} for path in notebooks]
    links += [{"href": "docs/index.html", "text": "Data Docs"}] if has_docs else []
    book = folder / "workbook.xlsx"
    links += [{"href": book.name, "text": "workbook"}] if book.exists() else []
    done = figures.outcomes
    legs, leg_examples = _by_leg(folder)
    stakes = with_money(figures.stakes).group_by("task").agg("amount")
    page = environment().get_template("report.html.j2").render(
        run=run,
        verdict=figures.verdict,
        in_step=run["exit_code"] == 0,
        outcomes=ROW_OUTCOMES,
        how=how_table(run).to_dicts(),
        sums=_ticked(figures.tied),
        bridge=_bridge(figures.bridge),
        sums_tie=bool(figures.tied["ties"].all() and figures.bridge["ties"].all()) if figures.tied.height else None,
        trend_chart=Markup(charts.static_html(charts.differing_over_time(figures.trend)))
        if figures.trend.height > 1
        else "",
        since_last=Markup(html_table(figures.since_last, right=("at_stake_before", "at_stake_now")))
        if figures.since_last.height and figures.since_last["last_run"].null_count() < figures.since_last.height
        else "",
        quality_chart=Markup(charts.static_html(charts.quality_heatmap(figures.quality)))
        if figures.quality["checks"].sum()
        else "",
        quality=_quality(figures),
        dimensions=DIMENSIONS,
        facts=_facts(figures),
        worst=_shown(figures.worst),
        inputs=figures.inputs.to_dicts(),
        fingerprint=figures.fingerprint,
        signers=SIGNERS,
        stakes=dict(stakes.iter_rows()),
        outcome_chart=Markup(charts.static_html(charts.outcome_bars(done))) if done.height else "",
        field_chart=Markup(charts.static_html(charts.field_bars(fields))) if fields.height else "",
        reasons=Markup(html_table(over_tasks(why), longest=LONG_TEXT)) if why.height else "",
        tasks=_by_task(why),
        left_out=Markup(html_table(left_out.select("task", "reason", rows="count"))) if left_out.height else "",
        quirks=_shown(figures.quirks),
        history=_shown(figures.since),
        legs=legs,
        leg_examples=leg_examples,
        declared=_declared(folder),
        chains=Markup(html_table(held.head(TOP_CHAINS), longest=LONG_TEXT)) if held.height else "",
        chains_left=max(held.height - TOP_CHAINS, 0),
        ties=Markup(html_table(tie_table(figures.ties), right=("at_stake",))) if figures.ties.height else "",
        documents=Markup(html_table(document_table(figures.ties), right=DOCUMENT_AMOUNTS)) if untied else "",
        documents_left=max(untied - TOP_DOCUMENTS, 0),
        fields=Markup(html_table(fields)) if fields.height else "",
        samples=[
            {"task": task, "cells": Markup(html_table(cells)) if cells.height else "",
             "rows": Markup(html_table(alone)) if alone.height else ""}
            for task, cells, alone in shown
            if cells.height or alone.height
        ],
        per_outcome=SAMPLES_AN_OUTCOME,
        unmapped=Markup(html_table(with_money(unmapped.head(TOP_UNMAPPED)))) if unmapped.height else "",
        unmapped_left=max(unmapped.height - TOP_UNMAPPED, 0),
        checks=Markup(html_table(failed)) if failed.height else "",
        checked=sum(len(suite["checks"]) for suite in checks),
        has_docs=has_docs,
        links=links,
    )  # fmt: skip
    path = folder / "report.html"
    path.write_text(page, "utf-8")
    write_summary(figures)
    return path


def _facts(figures: Figures) -> dict[str, Any]:
    """The figures at the top of the page."""
    done = [task for task in figures.run["tasks"] if "error" not in task]
    return {
        "compared": sum(task["source_rows"] for task in done),
        "differing": figures.run["differing_rows"],
        "failed": figures.failed.height,
        "score": overall(figures.quality),
    }


def _ticked(tied: pl.DataFrame) -> str:
    """Whether sums tie, with a tick or a cross for each side."""
    if tied.is_empty():
        return ""
    return Markup(html_table(tied.with_columns(ties=_mark(pl.col("ties")))))


def _mark(ties: pl.Expr) -> pl.Expr:
    return pl.when(ties).then(pl.lit("✓\u00a0ties")).otherwise(pl.lit("✗\u00a0does\u00a0not\u00a0tie"))


def _bridge(bridge: pl.DataFrame) -> str:
    """The way from the money of the source to that of the destination, steps of nothing left blank."""
    if bridge.is_empty():
        return ""
    steps = [name for name in bridge.columns if name not in ("task", "currency", "ties", "source", "destination")]
    shown = bridge.with_columns(pl.when(pl.col(name) != 0).then(name).alias(name) for name in steps)
    money = ["source", *steps, "destination"]
    texts = with_money(shown, *money).insert_column(1, shown["currency"].fill_null("none"))
    bare = texts.with_columns(pl.col(money).str.replace(r" [^ ]+$| \(no currency\)$", ""))
    return Markup(html_table(bare.with_columns(ties=_mark(pl.col("ties"))), right=money))


def _quality(figures: Figures) -> list[dict[str, Any]]:
    """Scores by task and side, each with the page of its suite in the Data Docs."""
    return [{**row, "docs": figures.docs(f"{row['task']}_{row['side']}")} for row in wide(figures.quality).to_dicts()]


def _shown(frame: pl.DataFrame) -> str:
    """A table; nothing of no rows."""
    return Markup(html_table(frame)) if frame.height else ""


def _by_leg(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """What was lost, changed or left over on which leg, by task, and some of it; of a run through CDS."""
    if not (folder / "threeway.parquet").exists():
        return "", []
    whole = pl.read_parquet(folder / "threeway.parquet")
    some = threeway.examples(whole, SAMPLES_A_LEG).rename({"age_hours": "staged_hours_ago"})
    tasks = some.partition_by("task", maintain_order=True)
    examples = [{"task": one["task"][0], "table": Markup(html_table(one.drop("task"), EXAMPLE_SHOWN))} for one in tasks]
    return _shown(threeway.by_task(whole)), examples


def _declared(folder: Path) -> list[dict[str, Any]]:
    """What the templates of both routes declare otherwise, a table for each task; of a run through CDS."""
    if not (folder / "migration.parquet").exists():
        return []
    told = pl.read_parquet(folder / "migration.parquet")
    counted = ["rows", "amount"] if told["rows"].null_count() < told.height else []
    shown = with_money(told).select("task", "field", "change", "through_cds", "direct", *counted)
    return [
        {"task": mine["task"][0], "count": mine.height, "table": Markup(html_table(mine.drop("task"), LONG_TEXT))}
        for mine in shown.partition_by("task", maintain_order=True)
    ]


def _by_task(reasons: pl.DataFrame) -> list[dict[str, Any]]:
    """What `by_reason` gives, a table for each task, with its rows counted and added up."""
    return [
        {
            "task": mine["task"][0],
            "rows": mine["count"].sum(),
            "table": Markup(html_table(mine.select("severity", "outcome", "reason", "remedy", "amount", rows="count"))),
        }
        for mine in reasons.partition_by("task", maintain_order=True)
    ]
