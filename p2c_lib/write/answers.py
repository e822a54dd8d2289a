"""What the journal of a plan says of each action, as a frame."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from p2c_lib.errors import PlanError
from p2c_lib.write.saved import Plan

__all__ = ["ANSWERED", "answers"]

_BLOCK = 1 << 25  # bytes
_LINE = pl.Schema(
    {
        "phase": pl.String,
        "plan": pl.String,
        "order": pl.Int64,
        "attempt": pl.Int64,
        "outcome": pl.String,
        "etag": pl.String,
        "id": pl.String,
        "error": pl.String,
        "code": pl.String,
        "status": pl.Int64,
        "reason": pl.String,
    }
)
ANSWERED = pl.Schema(
    {name: kind for name, kind in _LINE.items() if name not in ("phase", "plan")} | {"order": pl.UInt32()}
)
"""One row an action that the journal knows: its number, how often it was sent, what became of it (``doubt`` when its
last line is an intent), the ETag and id that the service gave, and its words where it refused."""


def answers(plan: Plan) -> pl.DataFrame:
    """Read the journal of a plan.

    Args:
        plan: The plan.

    Returns:
        Columns of `ANSWERED`, the last that is known of each action.

    Raises:
        PlanError: The journal is broken or belongs to another plan.
    """
    path = plan.folder / "journal.jsonl"
    if not path.exists() or not path.stat().st_size:
        return ANSWERED.to_frame()
    lines = _lines(path)
    if lines.filter(pl.col("plan") != plan.hash).height:
        raise PlanError(f"{path} belongs to another plan; a journal goes with one plan only")
    # The id that a new row is to have stands in the intent, and holds until the service names another.
    last = lines.group_by("order").agg(
        pl.col("phase", "attempt", "outcome", "error", "code", "status", "reason").last(),
        pl.col("etag").filter(pl.col("phase") == "answer").last(),
        pl.col("id").drop_nulls().last(),
    )
    state = pl.when(pl.col("phase") == "intent").then(pl.lit("doubt")).otherwise("outcome")
    return last.with_columns(outcome=state).select(ANSWERED.names()).cast(ANSWERED).sort("order")


def _lines(path: Path) -> pl.DataFrame:
    """All whole lines, read a block at a time: what stands beside a few columns is far more than they are."""
    frames, rest = [_LINE.to_frame()], b""
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                cut = (rest + block).rfind(b"\n") + 1  # what a kill left half-written says nothing
                whole, rest = (rest + block)[:cut], (rest + block)[cut:]
                if whole:
                    frames.append(pl.read_ndjson(whole, schema=_LINE))
    except pl.exceptions.PolarsError as error:
        raise PlanError(f"{path}: a line is not whole and others follow ({error}): restore it from a copy") from None
    return pl.concat(frames)
