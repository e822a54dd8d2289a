"""What a load came to: counts by task, what is left and why, in numbers and in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib.folder import differing_rows
from p2c_lib.formulas import guarded
from p2c_lib.load_plan import Load

__all__ = ["finish", "left", "left_table", "outcome_table", "words"]

_SENT = ("created", "updated", "already", "conflict", "failed", "held")
_AFTER = ("matched", "mismatched", "missing", "extra", "excluded", "blocked")


def finish(load: Load, buckets: Sequence[Mapping[str, Any]]) -> Load:
    """Sum up the buckets into ``load.json``, write what is left as ``left.parquet`` and ``left.csv``, and the report.

    Args:
        load: The load, all its buckets done.
        buckets: The last ``bucket.json`` of each.

    Returns:
        The load with ``outcome`` (a line a task), ``finished`` and ``exit_code``: 0 when both sides are in step, 1 when
        more rows are left than the threshold allows.
    """
    lines = [_line(load, plan["task"], buckets) for plan in load.tasks]
    rest = left(load.folder)
    rest.write_parquet(load.folder / "left.parquet")
    guarded(rest).write_csv(load.folder / "left.csv")
    finished = datetime.now(UTC)
    began = datetime.fromisoformat(load.facts["started"])
    differing = sum(line["left"] for line in lines)
    done = load.saved(
        finished=finished.isoformat(timespec="seconds"),
        seconds=round((finished - began).total_seconds(), 1),
        outcome=lines,
        left=differing,
        exit_code=int(differing > load.facts["threshold"]),
    )
    (load.folder / "report.md").write_text(words(done), "utf-8")
    return done


def _line(load: Load, task: str, buckets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [bucket for bucket in buckets if bucket["task"] == task]
    sent = dict.fromkeys(_SENT, 0)
    for path in sorted((load.folder / "tasks" / task).glob("*/bucket.json")):
        for name, rows in _facts(path)["sent"].items():
            if name in sent:
                sent[name] += rows
    seconds: dict[str, float] = {}
    for bucket in mine:
        for step, taken in bucket["seconds"].items():
            seconds[step] = round(seconds.get(step, 0.0) + taken, 1)
    after = {name: sum(bucket["summary"][name] for bucket in mine) for name in (*_AFTER, "quirks", "out_of_scope")}
    return {
        "task": task,
        "source_rows": sum(bucket["summary"]["source_rows"] for bucket in mine),
        "destination_rows": sum(bucket["summary"]["destination_rows"] for bucket in mine),
        **sent,
        **after,
        "left": differing_rows(after),
        "seconds": seconds,
    }


def _facts(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def left(folder: Path) -> pl.DataFrame:
    """Every row that is not in step: ``task``, ``key``, ``side``, ``outcome``, ``fields``, ``reason``, ``remedy``,
    ``amount``, ``currency``, ``sent`` (what became of it when it was sent) and ``said`` (the service's own words)."""
    last: dict[tuple[str, str], Path] = {}  # of a bucket that was gone through again, the last pass counts
    for path in sorted(folder.glob("tasks/*/*/left.parquet")):
        last[path.parent.parent.name, path.parent.name.partition("-")[0]] = path
    return pl.concat([pl.read_parquet(path) for path in last.values()]) if last else pl.DataFrame()


def outcome_table(load: Load) -> pl.DataFrame:
    """What became of a load, a row a task: rows of both sides, what was sent, what they are now, what is left."""
    names = ["task", "source_rows", "destination_rows", *_SENT, *_AFTER, "left"]
    return pl.DataFrame([{name: line[name] for name in names} for line in load.facts["outcome"]])


def left_table(load: Load) -> pl.DataFrame:
    """What is left by task, outcome and reason: ``rows``, and an example's ``key``."""
    rest = pl.read_parquet(load.folder / "left.parquet")
    if rest.is_empty():
        return pl.DataFrame()
    return (
        rest.with_columns(reason=pl.coalesce("said", "reason"))
        .group_by("task", "outcome", "reason", "remedy", maintain_order=True)
        .agg(rows=pl.len(), key=pl.col("key").first())
        .sort("rows", "task", descending=[True, False])
    )


def words(load: Load) -> str:
    """A finished load as a page of text (Markdown)."""
    facts = load.facts
    approved = load.approved or {"by": "nobody", "when": ""}
    lines = [
        f"# Load {facts['load_id']}",
        "",
        f"From {facts['started']} to {facts['finished']} ({facts['seconds']:,.0f} s), approved by {approved['by']} on "
        f"{approved['when']}, hash {load.hash[:12]}. {facts['verdict'].capitalize()}.",
        "",
        "Both sides are in step." if not facts["left"] else f"{facts['left']:,} rows are left; see left.csv.",
        "",
    ]
    for line in facts["outcome"]:
        said = [f"{line[name]:,} {name}" for name in _SENT if line[name]] or ["nothing sent"]
        now = [f"{line[name]:,} {name}" for name in _AFTER if line[name]] or ["no rows"]
        lines.append(f"- **{line['task']}**: {', '.join(said)}; now {', '.join(now)}.")
    rest = left_table(load)
    if rest.height:
        lines += ["", "## What is left", ""]
        for row in rest.head(50).iter_rows(named=True):
            remedy = f" {row['remedy']}" if row["remedy"] else ""
            lines.append(
                f"- {row['rows']:,} {row['outcome']} in {row['task']} (such as {row['key']}): {row['reason']}.{remedy}"
            )
    return "\n".join(lines) + "\n"
