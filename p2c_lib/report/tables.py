"""The figures of a run as frames and sentences: every form that a run is shown in takes them from here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib import tieout
from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.explain import Severity, main_reasons, money_text
from p2c_lib.folder import differing_rows

SAMPLES_AN_OUTCOME = 5
SAMPLES_A_LEG = 3
TOP_FIELDS = 25
TOP_UNMAPPED = 50
TOP_CHAINS = 25
TOP_DOCUMENTS = 25
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
KEYS_SHOWN = 5
LONG_TEXT = 2_000
EXAMPLE_SHOWN = 60
DOCUMENT_AMOUNTS = ("at_stake", "source_total", "found_total", "off_at_source", "off_at_destination")


def with_money(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Amounts and their ``currency`` made one text, ``403,760.01 EUR``; for the few rows that people look at.

    Args:
        frame: With a column ``currency``.
        columns: The amounts; default ``amount``.

    Returns:
        The frame without ``currency``.
    """
    texts = {
        name: pl.Series([money_text(*one) for one in frame.select(name, "currency").iter_rows()], dtype=pl.String)
        for name in columns or ("amount",)
    }
    return frame.with_columns(**texts).drop("currency")


def outcome_table(run: dict[str, Any]) -> pl.DataFrame:
    """The table a run ends with: a row for each task that came to its end.

    Returns:
        Columns task, source_rows, destination_rows, one for each row outcome, seconds.
    """
    names = ["task", "source_rows", "destination_rows", *ROW_OUTCOMES, "seconds"]
    done = [[task[name] for name in names] for task in run["tasks"] if "error" not in task]
    return pl.DataFrame(done, schema=names, orient="row", infer_schema_length=None)


def at_stake(run: dict[str, Any]) -> pl.DataFrame:
    """The money at stake: task, currency (null when it is not known), amount (Decimal)."""
    rows = [
        (task["task"], code or None, amount)
        for task in run["tasks"]
        for code, amount in task.get("amount_at_stake", {}).items()
    ]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(("task", "currency", "amount"), pl.String), orient="row")
    return frame.with_columns(pl.col("amount").cast(pl.Decimal(38, 12)))


def verdict(run: dict[str, Any]) -> str:
    """The run in one sentence."""
    failed = [task["task"] for task in run["tasks"] if "error" in task]
    differing = sum(differing_rows(task) for task in run["tasks"])
    compared = sum(task["source_rows"] for task in run["tasks"] if "error" not in task)
    if failed:
        others = f"; of the others {differing:,} rows are not in step" if len(failed) < len(run["tasks"]) else ""
        return f"Failed: {', '.join(failed)} did not come to an end{others}"
    if not differing:
        return f"In step: {compared:,} source rows, no difference"
    within = " (within the threshold)" if differing <= run["threshold"] else ""
    return f"{differing:,} rows are not in step{within}"


def reasons(table: pl.DataFrame) -> pl.DataFrame:
    """Rows by their main reason: task, severity, outcome, reason, remedy, count (rows), amount (a line a currency).

    Args:
        table: Columns of `OUTCOME_COLUMNS`.

    Returns:
        Tasks in the order of the table, each with its errors first, then its most frequent reason.
    """
    return by_reason(main_reasons(table))


def by_reason(main: pl.DataFrame) -> pl.DataFrame:
    """What `reasons` gives, of main reasons that are there already (`REASON_COLUMNS`)."""
    counted = _summed(main, ["task", "severity", "outcome", "reason", "remedy"], "count").with_row_index("place")
    task, severity = pl.col("place").min().over("task"), pl.col("severity").cast(pl.Enum(SEVERITIES))
    return counted.sort(task, severity, "count", descending=[False, False, True], maintain_order=True).drop("place")


def over_tasks(reasons: pl.DataFrame) -> pl.DataFrame:
    """What `by_reason` gives, each reason once: severity, reason, remedy, where (rows by task), rows."""
    by = ["severity", "reason", "remedy"]
    tasks = reasons.group_by(*by, "task", maintain_order=True).agg(pl.col("count").sum())
    where = pl.format("{}\u00a0{}", "task", "count").str.join(", ")
    counted = tasks.group_by(by, maintain_order=True).agg(where=where, rows=pl.col("count").sum())
    severity = pl.col("severity").cast(pl.Enum(SEVERITIES))
    return counted.sort(severity, "rows", descending=[False, True], maintain_order=True)


def quirk_table(quirks: pl.DataFrame) -> pl.DataFrame:
    """Known quirks of templates that touch rows, as people read them.

    Args:
        quirks: Columns of `QUIRK_COLUMNS`.

    Returns:
        Columns task, fields, known_quirk, rows_touched, destination_differs.
    """
    touching = quirks.filter(pl.col("rows") > 0)
    return touching.select("task", "fields", known_quirk="says", rows_touched="rows", destination_differs="differing")


def causes(chains: pl.DataFrame) -> pl.DataFrame:
    """What holds rows up, each cause once, that with the most rows first.

    Args:
        chains: Columns of `CHAIN_COLUMNS`.

    Returns:
        Columns cause, rows, holds_up: a line for each way through the tasks, with the rows of the last of them and
        what those are worth.
    """
    ways = chains.group_by("cause", "chain", maintain_order=True).agg(
        pl.col("rows").sum(), amounts=pl.struct("amount", "currency")
    )
    worth = [", ".join(money_text(**one) for one in amounts if one["amount"]) for amounts in ways["amounts"].to_list()]
    way = pl.col("chain").str.splitn(" > ", 2).struct.field("field_1")  # its first step is the cause's own
    said = [pl.format("{}: {}", way, "rows"), pl.when(pl.col("worth") != "").then("worth")]
    told = ways.with_columns(worth=pl.Series(worth, dtype=pl.String)).with_columns(
        holds_up=pl.concat_str(said, separator=", ", ignore_nulls=True)
    )
    held = told.group_by("cause", maintain_order=True).agg(pl.col("rows").sum(), pl.col("holds_up").str.join("\n"))
    return held.sort("rows", "cause", descending=[True, False])


def tie_table(ties: pl.DataFrame) -> pl.DataFrame:
    """Whether documents tie out, by task and currency: `tieout.verdicts` with ``at_stake`` as text."""
    told = tieout.verdicts(ties)
    return with_money(told, "at_stake").insert_column(1, told["currency"])


def document_table(ties: pl.DataFrame, most: int = TOP_DOCUMENTS) -> pl.DataFrame:
    """The documents that do not tie out, worst first, as people read them.

    Args:
        ties: Columns of `ACROSS_COLUMNS`.
        most: How many to show.

    Returns:
        Columns task, document, what_is_wrong, the amounts of `DOCUMENT_AMOUNTS` (text), lines (source and found). What
        a side is off by within itself is blank where it is nothing.
    """
    amounts = ("total_expected", "total_found", "difference_expected", "difference_found", "at_stake")
    off = [pl.when(pl.col(name) != 0).then(name) for name in ("difference_expected", "difference_found")]
    worst = tieout.untied(ties).head(most).with_columns(off)
    count = [pl.col(name).cast(pl.String).fill_null("–") for name in ("lines_expected", "lines_found")]
    return (
        with_money(worst, *amounts)
        .select(
            "task",
            "document",
            "at_stake",
            what_is_wrong="says",
            source_total="total_expected",
            found_total="total_found",
            lines=pl.concat_str(count, separator=" / "),
            off_at_source="difference_expected",
            off_at_destination="difference_found",
        )
        .select("task", "document", "what_is_wrong", pl.exclude("task", "document", "what_is_wrong"))
    )


def field_counts(table: pl.DataFrame) -> pl.DataFrame:
    """Differing fields, most frequent first: task, field, outcome, rows, amount (text, a line a currency)."""
    cells = table.filter(pl.col("field").is_not_null())
    counted = _summed(cells, ["task", "field", "outcome"], "rows")
    return counted.sort("rows", "task", "field", descending=[True, False, False], maintain_order=True)


def _summed(table: pl.DataFrame, by: list[str], count: str) -> pl.DataFrame:
    """Rows counted and amounts added up, each currency apart; no amount where there is nothing to add."""
    sums = table.group_by(*by, "currency", maintain_order=True).agg(pl.len().alias(count), pl.col("amount").sum())
    amounts = sums.with_columns(pl.when(pl.col("amount") != 0).then("amount")).sort("currency", nulls_last=True)
    texts = with_money(amounts).group_by(by).agg(pl.col("amount").filter(pl.col("amount") != "").str.join("\n"))
    counts = sums.group_by(by, maintain_order=True).agg(pl.col(count).sum())
    return counts.join(texts, on=by, nulls_equal=True, maintain_order="left", validate="1:1")


def samples(table: pl.DataFrame, task: str, per_outcome: int = SAMPLES_AN_OUTCOME) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A few differing fields and a few single rows of a task, some of each outcome, for display only.

    Returns:
        Fields: key, field, outcome, expected, found, reason. Rows: key, side, outcome, reason, amount (text).
    """
    mine = table.filter(pl.col("task") == task)
    cells = mine.filter(pl.col("field").is_not_null()).group_by("outcome", maintain_order=True).head(per_outcome)
    alone = mine.filter(pl.col("field").is_null() & (pl.col("outcome") != "excluded"))
    alone = with_money(alone.group_by("outcome", maintain_order=True).head(per_outcome))
    return (
        cells.select("key", "field", "outcome", "expected", "found", "reason"),
        alone.select("key", "side", "outcome", "reason", "amount"),
    )


def failed_checks(checks: list[dict[str, Any]]) -> pl.DataFrame:
    """Expectations that were not met: suite, check in words, severity, rows that fail, first keys."""
    rows = [
        (
            suite["suite"],
            check["meta"].get("says") or f"{check['expectation']} {check['column'] or ''}",
            check["severity"],
            check["unexpected_count"],
            # blanks around a key are told by quotes
            ", ".join(key if key == key.strip() else f"'{key}'" for key in check["failing_keys"][:KEYS_SHOWN])
            + (" …" if len(check["failing_keys"]) > KEYS_SHOWN else ""),
        )
        for suite in checks
        for check in suite["checks"]
        if not check["success"]
    ]
    names = {"suite": pl.String, "check": pl.String, "severity": pl.String, "failing": pl.Int64, "keys": pl.String}
    return pl.DataFrame(rows, schema=names, orient="row")


def since_when(folder: Path) -> pl.DataFrame:
    """Findings of a run and its predecessors, by task.

    Args:
        folder: The run's.

    Returns:
        Columns task, new (not there in any run before), reopened (gone for a while), open (there before), fixed (gone),
        oldest (since when the oldest stands, UTC) and oldest_age_days; no row where the history lacks the run.
    """
    path = folder / "history.parquet"
    if not path.exists():
        return pl.DataFrame()
    findings = pl.read_parquet(path)
    stands = pl.col("state") != "fixed"
    counts = {name: (pl.col("state") == name).sum() for name in ("new", "reopened", "open", "fixed")}
    told = findings.group_by("task").agg(
        **counts,
        oldest=pl.col("open_since").filter(stands).min().dt.strftime("%Y-%m-%d %H:%M"),
        oldest_age_days=pl.col("age_days").filter(stands).max(),
    )
    return told.sort("task")


def trend(runs: pl.DataFrame, run: Mapping[str, Any]) -> pl.DataFrame:
    """Runs that compared the same tasks, by time, this one last.

    Args:
        runs: What `History.recent` gives.
        run: What stands in ``run.json``.

    Returns:
        Columns run, started (UTC), differing (rows not in step), source_rows; a run in which a task failed is left
        out, for its rows are too few.
    """
    names = sorted(task["task"] for task in run["tasks"])
    whole = runs.group_by("run", "started", maintain_order=True).agg(
        pl.col("differing", "source_rows").cast(pl.Int64).sum(),
        alike=pl.col("task").sort().str.join("|"),
        failed=pl.col("error").is_not_null().any(),
    )
    alike = (pl.col("alike") == "|".join(names)) & ~pl.col("failed")
    return whole.filter(alike).select("run", "started", "differing", "source_rows")


def since_last(runs: pl.DataFrame, run: Mapping[str, Any]) -> pl.DataFrame:
    """Each task of a run beside the last run before that compared it.

    Args:
        runs: What `History.recent` gives.
        run: What stands in ``run.json``.

    Returns:
        Columns task, last_run (when, UTC), before, now (rows not in step), change, at_stake_before, at_stake_now
        (text, a line a currency); what was null before is a task's first run.
    """
    done = runs.filter(pl.col("error").is_null())
    before = done.filter(pl.col("run") != run["run_id"]).group_by("task").agg(pl.all().last())
    now = done.filter(pl.col("run") == run["run_id"])
    both = now.join(before, on="task", how="left", suffix="_before", maintain_order="left")
    differing, earlier = pl.col("differing").cast(pl.Int64), pl.col("differing_before").cast(pl.Int64)
    money = {
        name: pl.Series([_stakes(told) for told in both[column]], dtype=pl.String)
        for name, column in (("at_stake_before", "at_stake_before"), ("at_stake_now", "at_stake"))
    }
    return both.select(
        "task",
        pl.col("started_before").dt.strftime("%Y-%m-%d %H:%M").alias("last_run"),
        earlier.alias("before"),
        differing.alias("now"),
        (differing - earlier).alias("change"),
        **money,
    )


def _stakes(told: str | None) -> str:
    amounts = json.loads(told or "{}")
    return "\n".join(money_text(Decimal(amount), code or None) for code, amount in amounts.items())


def how_table(run: Mapping[str, Any]) -> pl.DataFrame:
    """What was compared, and how: a row for each task that came to its end.

    Returns:
        Columns task, from_to, key, rows (which of each side are meant), compared (what, and what counts as equal);
        texts, a line each.
    """
    rows = []
    for task in run["tasks"]:
        how = task.get("how")
        if how is None:
            continue
        equal = [f"{_NORMALISERS.get(name, name)} ({len(fields)} fields)" for name, fields in how["normalised"].items()]
        said = [
            f"{how['fields']} fields",
            *([f"{len(how['computed'])} of them totals of the destination"] if how["computed"] else []),
            *([f"value maps: {', '.join(how['value_maps'])}"] if how["value_maps"] else []),
            *([f"tolerance {text}: {name}" for name, text in how["tolerances"].items()] or ["no tolerance"]),
            *([f"representation only: {', '.join(equal)}"] if equal else []),
        ]
        meant = [f"source: {text}" for text in how["filter"]] or ["source: all rows"]
        meant += [f"destination: {text}" for text in how["scope"]]
        from_to = f"{task['source']} \u2192 {task['destination']}"
        told = {"task": task["task"], "from_to": from_to, "key": "\n".join(how["key"])}
        rows.append(told | {"rows": "\n".join(meant), "compared": "\n".join(said)})
    names = ("task", "from_to", "key", "rows", "compared")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String))


_NORMALISERS = {
    "trim": "blanks around a text",
    "case": "upper and lower case",
    "blank": "blanks only and nothing",
    "date": "time of day",
}
