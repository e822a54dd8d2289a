"""Lookups that form a cycle: rows are made without them in a first pass, and given them in a second.

A row whose parent is made by its own task or by a later one cannot wait for it. It is made without that field; when all
rows are there, an update gives it the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from p2c_lib.model import Task
from p2c_lib.places import task_folder
from p2c_lib.write.draft import Draft
from p2c_lib.write.saved import PLAN_COLUMNS

__all__ = ["coming", "second_pass"]


def coming(run_dir: Path, task: Task, tasks: Sequence[Task]) -> dict[tuple[str, str], pl.Series]:
    """Say which parents of a task's rows will only be made when these are there already.

    Args:
        run_dir: The run's folder.
        task: The task.
        tasks: Those of the plan, in the order of running.

    Returns:
        By the parent's task and column, the values (trimmed, lower case) of the rows that this task itself or a later
        one makes; empty for a task without such parents.
    """
    after = {one.name for one in tasks[[one.name for one in tasks].index(task.name) :]}
    found = {}
    for field in task.fields:
        for parent in field.parent:
            if parent.task is not None and parent.task in after:
                place = task_folder(run_dir, parent.task)
                rows = pl.read_parquet(place / "rows.parquet", columns=["outcome", "reason", "source_row"])
                is_new = (pl.col("outcome") == "missing") | (pl.col("reason") == "parent_missing").fill_null(False)
                values = pl.read_parquet(place / "expected.parquet", columns=[parent.column])[parent.column]
                made = values.gather(rows.filter(is_new)["source_row"].drop_nulls())
                found[parent.task, parent.column] = made.str.strip_chars().str.to_lowercase().drop_nulls().unique()
    return found


def second_pass(drafts: Sequence[Draft], parents: Mapping[tuple[str, str], pl.DataFrame], offset: int) -> pl.DataFrame:
    """Make the updates that give rows what they were made without.

    Args:
        drafts: The tasks of the plan, each built.
        parents: What they make, by task and column: ``value``, ``parent``, ``parent_order``, ``why`` (it is held back).
        offset: Number of the first action.

    Returns:
        Columns of `PLAN_COLUMNS`: an update a row, by the task's key and without an ETag, since the row is not there
        yet: both are looked up right before it is sent.
    """
    frames = [PLAN_COLUMNS.to_frame()]
    for draft in drafts:
        parts = [
            late.join(parents[place], on="value", how="left", maintain_order="left")
            for place, late in draft.late.items()
            if place in parents
        ]
        if not parts:
            continue
        rows = pl.concat(parts).join(draft.base.select("source_row", "order", "key", "target"), on="source_row")
        if rows.is_empty():
            continue
        rows = rows.sort("order", maintain_order=True).unique(["order", "field"], keep="first", maintain_order=True)
        held = draft.whole.rename({"why": "own"})
        rows = rows.join(held, on="order", how="left", maintain_order="left")
        numbers = rows.select(pl.col("order").rle_id().cast(pl.UInt32) + offset).to_series()
        offset += numbers.n_unique()
        frames.append(_updates(draft, rows.with_columns(numbers)))
    return pl.concat(frames)


def _updates(draft: Draft, rows: pl.DataFrame) -> pl.DataFrame:
    is_path = pl.col("field").str.contains(".", literal=True)
    column = pl.concat_str(pl.lit("_"), pl.col("field").str.split(".").list.first(), pl.lit("_value|"), "set")
    navs = {f"{one.column}|{one.target}": f"{one.nav}@odata.bind" for one in draft.entity.lookups}
    nav = column.replace_strict(navs, default=None, return_dtype=pl.String) if navs else pl.lit(None, pl.String)
    values = pl.concat(
        draft.expected.select(
            pl.int_range(pl.len(), dtype=pl.UInt32).alias("source_row"),
            field=pl.lit(name),
            after=pl.col(name).cast(pl.String),
        )
        for name in rows["field"].unique(maintain_order=True)
    )
    rows = rows.join(values, on=["source_row", "field"], how="left", maintain_order="left")
    blank = pl.lit("" if draft.system == "fno" else None, pl.String)
    return rows.select(
        "order",
        "key",
        "target",
        "field",
        "after",
        task=pl.lit(draft.task.name),
        system=pl.lit(draft.system),
        entity=pl.lit(draft.entity.name),
        action=pl.lit("update"),
        etag=pl.lit(None, pl.String),
        after_order="parent_order",
        staged_order=pl.lit(None, pl.UInt32),
        property=pl.when(is_path).then(nav).otherwise("field"),
        before=pl.lit(None, pl.String),
        was=pl.when(~is_path).then(blank),
        sent=pl.when(is_path).then(pl.concat_str("set", pl.lit("/"), "parent")).otherwise("after"),
        wire=pl.when(is_path).then(pl.lit("made")).otherwise(pl.lit("string")),
        amount=pl.lit(None, PLAN_COLUMNS["amount"]),
        currency=pl.lit(None, pl.String),
        held=pl.coalesce(
            pl.lit("the row is held back: ") + pl.col("own"), pl.lit("its parent is held back: ") + pl.col("why")
        ),
    ).select(PLAN_COLUMNS.names()).cast(PLAN_COLUMNS)  # fmt: skip
