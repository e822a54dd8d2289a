"""The store in a plan: what a second leg must wait for, and a first leg's rows merged into the store, all in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib.connect.pages import ETAG
from p2c_lib.journal import State
from p2c_lib.store import RUN_ID, STAGED_AT, StoreClient

__all__ = ["Staged", "merge", "staged_by"]

_LEFT_OVER = "the staged row is left over, the source sends it no more: take it out of the store by hand, or leave it"
_WAITS = "its row is not in the store: what it points to is not there, and no task of this plan brings it"


def _normal(key: str) -> pl.Expr:
    return pl.col(key).str.strip_chars().str.to_lowercase()


@dataclass(frozen=True)
class Staged:
    """What a plan does to the rows that a second leg reads.

    Attributes:
        rows: ``normal`` (the row's key, trimmed, lower case), ``staged_order`` (the action that writes it, null where
            none does), ``unstaged`` (why the row must not go on, null where it may).
        cells: ``normal``, ``column`` (of the store), ``why``: single columns that cannot be written.
    """

    rows: pl.DataFrame
    cells: pl.DataFrame

    def told(self, base: pl.DataFrame) -> pl.DataFrame:
        """Add ``staged_order`` to a second leg's actions, and to ``stuck`` why a row must not go on."""
        joined = base.with_columns(normal=_normal("key")).join(
            self.rows, on="normal", how="left", maintain_order="left"
        )
        return joined.with_columns(stuck=pl.coalesce("stuck", "unstaged")).drop("unstaged")

    def unstaged(self, part: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
        """Say of each action why one of these columns of the store does not hold what the source has; null: it does."""
        mine = self.cells.filter(pl.col("column").is_in(list(columns))).unique("normal", keep="first")
        return part.select("normal").join(mine, on="normal", how="left", maintain_order="left")["why"]


def staged_by(first: Path | None, frames: Sequence[pl.DataFrame]) -> Staged | None:
    """Gather what a plan does to the store for a second leg.

    Args:
        first: The first leg's folder in the run; None where there is none.
        frames: The plan's rows so far, the first leg's among them.

    Returns:
        None where there is no first leg.
    """
    if first is None:
        return None
    plan = pl.concat([frame.filter(pl.col("task") == first.name) for frame in frames])
    plan = plan.with_columns(normal=_normal("key"))
    actions = plan.group_by("order", maintain_order=True).agg(
        pl.col("normal").first(),
        unstaged=pl.when(pl.col("held").is_not_null().all()).then(
            pl.lit("its staged row is held back: ") + pl.col("held").first()
        ),
        # a row that stands in the store goes on with what it has; only a new one has nothing to go on with
        is_new=(pl.col("action") == "create").first(),
    )
    known = actions.select(
        "normal",
        staged_order=pl.when(pl.col("unstaged").is_null()).then("order"),
        unstaged=pl.when("is_new").then("unstaged"),
    )
    rows = pl.read_parquet(first / "rows.parquet").with_columns(normal=_normal("key"))
    is_new = (pl.col("outcome") == "missing") | (pl.col("reason") == "parent_missing").fill_null(False)
    waiting = rows.filter(is_new).join(known, on="normal", how="anti").select("normal", unstaged=pl.lit(_WAITS))
    left = rows.filter(pl.col("outcome") == "extra").select("normal", unstaged=pl.lit(_LEFT_OVER))
    stuck = pl.concat([waiting, left]).with_columns(staged_order=pl.lit(None, pl.UInt32))
    held = plan.filter(pl.col("held").is_not_null())
    return Staged(
        pl.concat([known, stuck.select(known.columns)]).unique("normal", keep="first", maintain_order=True),
        held.select("normal", column="field", why=pl.lit("not in the store: ") + pl.col("held")),
    )


def merge(client: StoreClient, rows: pl.DataFrame, run_id: str) -> dict[int, tuple[State, dict[str, Any]]]:
    """Merge a first leg's actions into the store: all of them, or none.

    Args:
        client: Of the store.
        rows: What is to be sent of one task (`PLAN_COLUMNS`).
        run_id: The run that the plan was made from.

    Returns:
        By action: created or updated, already (the row stands as wanted), or conflict (somebody else changed it since
        it was compared, and it was left as it is), with what the journal says of it.

    Raises:
        SchemaError, StoreError: Nothing was merged.
    """
    store, entity = client.store, rows["entity"][0]
    declared = store.declared(entity)
    began = store.clock()
    actions = rows.group_by("order", maintain_order=True).agg(
        pl.col("action", "target", "etag").first(), columns=pl.col("field").sort().str.join("\n")
    )
    kinds = pl.Struct({name: declared.schema[name] for name in declared.key})
    actions = actions.with_columns(pl.col("target").str.json_decode(kinds)).unnest("target")
    # A new row has null where nothing is said of a column; a row that stands keeps what it has.
    groups = actions.with_columns(columns=pl.when(pl.col("action") != "create").then("columns"))
    frames = []
    for _, group in groups.group_by("columns", maintain_order=True):
        frame = group.select("order", *declared.key, pl.col("etag").alias(ETAG))
        mine = rows.filter(pl.col("order").is_in(group["order"].implode()) & ~pl.col("field").is_in(declared.key))
        for (name,), cells in mine.group_by("field", maintain_order=True):
            values = cells.select("order", _typed(declared.schema[str(name)]).alias(str(name)))
            frame = frame.join(values, on="order", how="left", maintain_order="left")
        frames.append(frame.drop("order"))
    merged = store.merge(entity, frames, run_id=run_id)
    ours = (pl.col(RUN_ID) == run_id) & (pl.col(STAGED_AT) >= began)
    written = store.read(entity, declared.key, where=ours).with_columns(is_written=pl.lit(True))
    stale = merged.stale.with_columns(is_stale=pl.lit(True))
    keys = list(declared.key)
    told = actions.join(stale, on=keys, how="left").join(written, on=keys, how="left")
    states = told.select(
        "order",
        pl.when("is_stale")
        .then(pl.lit("conflict"))
        .when(pl.col("is_written").is_null())
        .then(pl.lit("already"))
        .when(pl.col("action") == "create")
        .then(pl.lit("created"))
        .otherwise(pl.lit("updated")),
    )
    facts: dict[str, dict[str, Any]] = {"conflict": {"reason": "the staged row was changed meanwhile"}}
    return {order: (state, facts.get(state, {"version": merged.version})) for order, state in states.iter_rows()}


def _typed(want: pl.DataType) -> pl.Expr:
    """What a plan says would be sent, in the dtype of its column."""
    sent = pl.col("sent")
    if want == pl.Boolean:
        return sent == "true"
    if want == pl.Date:
        return sent.str.to_date("%Y-%m-%d")
    if isinstance(want, pl.Datetime):
        return sent.str.to_datetime("%+", time_unit="us").cast(want)
    return sent.cast(want)
