"""One record looked at: its document, each row field by field on both sides, and what earlier runs said of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib import drill, panels
from p2c_lib.config import Profile
from p2c_lib.errors import P2CError
from p2c_lib.explain import money_text
from p2c_lib.explorer.query import cut
from p2c_lib.history import open_history
from p2c_lib.model import Task, Template, all_tasks

__all__ = ["LINES_SHOWN", "VALUE_SHOWN", "earlier", "open_record"]

LINES_SHOWN = 100
VALUE_SHOWN = 2_000
_RUNS_SHOWN = 50


def open_record(folder: Path, task: str, key: str | None, templates: Mapping[str, Template]) -> list[dict[str, Any]]:
    """Look at a record of a run.

    Args:
        folder: The run's.
        task: The record's task.
        key: Its key; None is the blank one.
        templates: All of them.

    Returns:
        The parts to show, plain values for JSON: of a document its header and its lines, as far as the run compared
        them, else the record alone. Each part has ``title``, ``task``, ``left_out`` (rows beyond `LINES_SHOWN`) and
        ``rows``; a row its key, side, outcome, reason, remedy, whether it is the record (``is_it``), and ``fields`` in
        the columns of `drill.FIELD_COLUMNS`, those that differ first.

    Raises:
        ParameterError: The run's frames are not on this machine.
        P2CError: No template has the task.
    """
    known = {one.name: one for one in all_tasks(templates)}
    if task not in known:
        raise P2CError(f"no template has a task {task}; was the run made with another overlay?")
    mine = panels.kept(folder, known[task])
    family = panels.family(known[task], templates)
    if family is None:
        return [_part("Record", known[task], drill.look_at(mine, key), key)]
    header, lines, how = family
    parts = [mine if one.name == task else panels.kept(folder, one) for one in (header, lines)]
    parts = [one for one in parts if one.task.name == task or _is_there(one)]
    number = drill.document_of(mine, how, key)
    if not number:
        return [_part("Record", known[task], drill.look_at(mine, key), key)]
    shown = []
    for one in parts:
        rows = drill.look_into(one, how, number)
        title = "Header" if one.task.name == how.header else "1 line" if len(rows) == 1 else f"{len(rows)} lines"
        shown.append(_part(f"{title} of {number}", one.task, rows, key if one.task.name == task else ""))
    return shown


def _is_there(frames: drill.Frames) -> bool:
    """Whether the run compared the other half of a document too."""
    try:
        frames.rows.collect_schema()
    except (OSError, pl.exceptions.PolarsError):
        return False
    return True


def _part(title: str, task: Task, rows: list[drill.Row], key: str | None) -> dict[str, Any]:
    rows = sorted(rows, key=lambda row: row.key != (key or ""))  # the record first, the others as they stand
    return {
        "title": title,
        "task": task.name,
        "left_out": max(len(rows) - LINES_SHOWN, 0),
        "rows": [_row(row, is_it=row.key == (key or "") and key != "") for row in rows[:LINES_SHOWN]],
    }


def _row(row: drill.Row, *, is_it: bool) -> dict[str, Any]:
    same = pl.col("outcome").is_in(["agrees", "not compared", ""])
    fields = row.fields.with_columns(pl.all().fill_null("")).sort(same, maintain_order=True)
    return {
        "key": cut(row.key),
        "side": row.side,
        "outcome": row.outcome,
        "reason": row.reason,
        "remedy": row.remedy,
        "is_it": is_it,
        "differ": int((~row.fields["outcome"].is_in(["agrees", "not compared", ""])).sum()),
        "fields": [[cut(value, VALUE_SHOWN) for value in one] for one in fields.iter_rows()],
    }


def earlier(profile: Profile, task: str, key: str | None) -> list[dict[str, Any]]:
    """What the runs of a profile said of a record, newest first.

    Args:
        profile: Whose history.
        task: The record's task.
        key: Its key.

    Returns:
        A row a finding of a run (at most 50): ``run``, ``started`` (UTC), ``field`` ("" of a row that stands alone),
        ``outcome``, ``reason``, ``expected``, ``found``, ``amount``. Runs in which it was in step, or whose outcomes
        are kept in number only, have none.

    Raises:
        StoreError: The history cannot be read.
    """
    history = open_history(profile)
    names = ["run", "number", "field", "outcome", "reason", "expected", "found", "amount", "currency"]
    mine = (pl.col("task") == task) & pl.col("key").eq_missing(pl.lit(key, pl.String))
    found = history.store.read("Outcome", names, where=mine)
    started = history.runs().select("run", "started").unique("run")
    told = found.join(started, on="run", how="inner").sort("started", "number", descending=[True, False])
    return [
        {
            "run": row["run"],
            "started": f"{row['started']:%Y-%m-%d %H:%M}",
            **{name: cut(row[name]) for name in ("field", "outcome", "reason", "expected", "found")},
            "amount": money_text(row["amount"], row["currency"]),
        }
        for row in told.head(_RUNS_SHOWN).iter_rows(named=True)
    ]
