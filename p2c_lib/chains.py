"""Why rows are blocked, back to the first cause: a line waits for its header, the header for its customer.

Pure: frames in, frames out. A loop here climbs one parent at a time, over all rows at once.
"""

from __future__ import annotations

import polars as pl

from p2c_lib.diff import Outcomes
from p2c_lib.model import Task
from p2c_lib.pull import MONEY

__all__ = ["CHAIN_COLUMNS", "WAIT_COLUMNS", "chains", "waits"]

WAIT_COLUMNS = pl.Schema(
    {
        "source_row": pl.UInt32(),
        "task": pl.String(),
        "key": pl.String(),
        "field": pl.String(),
        "value": pl.String(),
        "entity": pl.String(),
        "parent_task": pl.String(),
    }
)
"""A row for each parent that a blocked row waits for, and for each set that the parent could stand in: ``value`` is
the parent's number, ``parent_task`` the task that brings it, null where none does."""

CHAIN_COLUMNS = pl.Schema(
    {
        "cause": pl.String(),
        "cause_task": pl.String(),
        "cause_key": pl.String(),
        "cause_outcome": pl.String(),
        "cause_reason": pl.String(),
        "chain": pl.String(),
        "task": pl.String(),
        "rows": pl.UInt32(),
        "amount": MONEY,
        "currency": pl.String(),
    }
)
"""A row for each cause, chain of tasks and currency: how many rows of ``task`` it holds up, and what they are worth."""

_DEPTH = 8  # a chain has as many links as there are kinds of rows: line, header, order, customer, company


def waits(outcomes: Outcomes, task: Task) -> pl.DataFrame:
    """What the blocked rows of a task wait for, with the tasks that could bring it.

    Args:
        outcomes: What `compare` gave.
        task: The task.

    Returns:
        Columns of `WAIT_COLUMNS`.
    """
    schema = {"field": pl.String, "entity": pl.String, "parent_task": pl.String}
    known = [(field.destination, parent.entity, parent.task) for field in task.fields for parent in field.parent]
    joined = outcomes.waits.join(pl.DataFrame(known, schema=schema, orient="row"), on="field", how="left")
    return joined.with_columns(task=pl.lit(task.name)).select(WAIT_COLUMNS.names()).cast(WAIT_COLUMNS)


def chains(waits: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Follow what blocked rows wait for to the first cause, and report each cause once.

    Args:
        waits: Columns of `WAIT_COLUMNS`, of all tasks of a run.
        outcomes: The table of everything that is not matched, of the same tasks: ``task``, ``key``, ``field``,
            ``outcome``, ``reason``, ``amount``, ``currency``.

    Returns:
        Columns of `CHAIN_COLUMNS`, most rows first. A cause is a row of a task that ran (``cause_outcome`` says what
        became of it there), or a number that stands nowhere: nothing brings it, or the task that does was not run or
        has no such row. A row that waits for two parents is counted under both.

    A parent is found by its key; numbers are compared trimmed and without case.
    """
    links = _links(waits, outcomes)
    at = links.rename({"task": "leaf_task", "key": "leaf_key"}).with_columns(
        chain=pl.concat_str(_name(), pl.lit(" > "), pl.col("leaf_task"))
    )
    up = links.select(
        "value", "normal", "entity", "outcome", "reason", upper="parent_task", parent_task="task", normal_of="mine"
    )
    ends = []
    for _ in range(_DEPTH):
        step = at.join(
            up, left_on=["parent_task", "normal"], right_on=["parent_task", "normal_of"], how="left", suffix="_up"
        )
        is_end = pl.col("value_up").is_null() & pl.col("entity_up").is_null()
        ends.append(step.filter(is_end).select(at.columns))
        step = step.filter(~is_end)
        if step.is_empty():
            break
        at = step.select(
            "leaf_task",
            "leaf_key",
            "mine",
            "amount",
            "currency",
            "field",
            *[pl.col(f"{name}_up").alias(name) for name in ("value", "normal", "entity", "outcome", "reason")],
            chain="chain",
            parent_task="upper",
        ).with_columns(chain=pl.concat_str(_name(), pl.lit(" > "), pl.col("chain")))
        at = at.select(ends[0].columns)
    found = pl.concat(ends).unique(["leaf_task", "leaf_key", "parent_task", "entity", "normal"], maintain_order=True)
    is_row = pl.col("outcome").is_not_null()
    said = pl.col("value").fill_null("(blank)")
    return (
        found.select(
            "chain",
            "amount",
            "currency",
            task="leaf_task",
            cause=pl.when(is_row)
            .then(pl.format("{} of {}: {}", said, "parent_task", "reason"))
            .otherwise(pl.format("{} is not in {}", said, "entity")),
            cause_task="parent_task",
            cause_key="value",
            cause_outcome="outcome",
            cause_reason="reason",
        )
        .group_by(["cause", "cause_task", "cause_key", "cause_outcome", "cause_reason", "chain", "task", "currency"])
        .agg(rows=pl.len(), amount=pl.col("amount").fill_null(0).sum())
        .select(pl.col(name).cast(dtype) for name, dtype in CHAIN_COLUMNS.items())
        .sort("rows", "cause", "chain", "currency", descending=[True, False, False, False])
    )


def _links(waits: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """From each blocked row to its parents; of the sets a parent could stand in, those where it does, else all."""
    rows = outcomes.filter(pl.col("field").is_null() & (pl.col("side") != "destination"))
    rows = rows.with_columns(normal=_normal("key")).unique(["task", "normal"], keep="first", maintain_order=True)
    worth = rows.select("task", "amount", "currency", mine="normal")
    states = rows.select("outcome", "reason", "normal", parent_task="task")
    links = waits.drop("source_row").with_columns(normal=_normal("value"), mine=_normal("key"))
    links = links.join(worth, on=["task", "mine"], how="left", maintain_order="left")
    links = links.join(states, on=["parent_task", "normal"], how="left", maintain_order="left")
    row = ["task", "mine", "field"]
    has_state = pl.col("outcome").is_not_null()
    links = links.filter(has_state | ~has_state.any().over(row))
    # a number that stands nowhere is one cause, whichever of the sets it could have stood in
    sets = pl.col("entity").unique(maintain_order=True).str.join(" or ").over(row)
    links = links.with_columns(entity=pl.when(has_state).then("entity").otherwise(sets))
    return links.unique([*row, "normal", "entity"], keep="first", maintain_order=True)


def _normal(column: str) -> pl.Expr:
    return pl.col(column).str.strip_chars().str.to_lowercase()


def _name() -> pl.Expr:
    return pl.coalesce("parent_task", "entity")
