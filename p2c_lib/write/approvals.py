"""Who approved what of a plan: all of it, or chosen actions; the rest stays where it is and can be approved later.

``plan.json`` names who, when and what, with the hash of the plan; where not everything was approved,
``approved.parquet`` holds the chosen actions, and its hash stands in the approval. The approval has a hash of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from p2c_lib.errors import PlanError
from p2c_lib.formulas import unguarded
from p2c_lib.journal import Journal
from p2c_lib.places import task_folder

if TYPE_CHECKING:
    from p2c_lib.write.saved import Plan

__all__ = ["Wanted", "approved_orders", "check_seal", "choose", "given", "read_list"]

FILE = "approved.parquet"


@dataclass(frozen=True)
class Wanted:
    """Which actions are meant; one that is named in several ways must fit all of them, nothing named means all.

    Attributes:
        tasks: Names of tasks.
        reasons: Codes of reasons (``missing``, ``different``), as in the run's ``reasons.parquet``.
        keys: Keys of rows, as the plan writes them.
        fields: Only actions that send no other fields than these.
        max_amount: Only actions worth no more than this, each in its own currency.
        rows: Rows chosen one by one: columns ``task`` and ``key``.
    """

    tasks: Collection[str] = ()
    reasons: Collection[str] = ()
    keys: Collection[str] = ()
    fields: Collection[str] = ()
    max_amount: Decimal | None = None
    rows: pl.DataFrame | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing narrows it."""
        named = (self.tasks, self.reasons, self.keys, self.fields)
        return not any(named) and self.max_amount is None and self.rows is None

    def says(self) -> str:
        """The same in words."""
        parts = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("tasks", self.tasks),
                ("reasons", self.reasons),
                ("keys", self.keys),
                ("fields", self.fields),
            )
            if names
        ]
        parts += [f"worth up to {self.max_amount}"] if self.max_amount is not None else []
        parts += [f"{self.rows.height:,} rows of a list"] if self.rows is not None else []
        return "; ".join(parts) or "all"


def read_list(path: Path) -> pl.DataFrame:
    """Read a list of rows that were chosen one by one.

    Args:
        path: A CSV file with the columns ``task`` and ``key``, as `p2c` writes its own; others are left aside.

    Returns:
        ``task`` and ``key`` (String), each pair once.

    Raises:
        PlanError: It is not there, not CSV, or lacks a column.
    """
    try:
        rows = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise PlanError(f"{path} cannot be read as CSV: {str(error).partition(chr(10))[0]}") from None
    missing = [name for name in ("task", "key") if name not in rows.columns]
    if missing:
        raise PlanError(f"{path}: no column {' and '.join(missing)}; it must have the columns task and key")
    return unguarded(rows.select("task", "key")).unique(maintain_order=True)


def choose(plan: Plan, wanted: Wanted) -> pl.Series:
    """Find the actions that are meant, among those that the plan would send.

    Args:
        plan: The plan.
        wanted: Which.

    Returns:
        Their numbers (UInt32), ascending.

    Raises:
        PlanError: A task, key, field or reason is not in the plan, or nothing of it is meant.
    """
    sent = plan.rows.filter(pl.col("held").is_null())
    actions = sent.group_by("order", maintain_order=True).agg(
        pl.col("task", "key").first(), fields="field", amount=pl.col("amount").sum()
    )
    for name, asked in (("task", wanted.tasks), ("key", wanted.keys), ("field", wanted.fields)):
        known = sent[name].unique().to_list() if name != "key" else actions["key"].to_list()
        _check(name, asked, known)
    chosen = [pl.lit(True)]
    chosen += [pl.col("task").is_in(list(wanted.tasks))] if wanted.tasks else []
    chosen += [pl.col("key").is_in(list(wanted.keys))] if wanted.keys else []
    chosen += [pl.col("fields").list.set_difference(list(wanted.fields)).list.len() == 0] if wanted.fields else []
    chosen += [pl.col("amount").abs() <= wanted.max_amount] if wanted.max_amount is not None else []
    found = actions.filter(pl.all_horizontal(chosen))
    if wanted.reasons:
        reasons = _reasons(plan)
        _check("reason", wanted.reasons, reasons["code"].unique().to_list())
        mine = reasons.filter(pl.col("code").is_in(list(wanted.reasons)))
        found = found.join(mine, on=["task", "key"], how="semi")
    if wanted.rows is not None:
        strangers = wanted.rows.join(actions, on=["task", "key"], how="anti")
        if strangers.height:
            named = ", ".join(f"{task} {key}" for task, key in strangers.head(5).iter_rows())
            raise PlanError(f"{strangers.height} rows of the list are not in this plan, or held back in it: {named}")
        found = found.join(wanted.rows, on=["task", "key"], how="semi")
    if found.is_empty():
        raise PlanError(f"no action of the plan is meant by: {wanted.says()}")
    return found["order"].sort()


def _check(what: str, asked: Collection[str], known: Collection[str]) -> None:
    unknown = [one for one in asked if one not in set(known)]
    if unknown:
        near = [name for one in unknown for name in get_close_matches(one, known, 3)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(set(known))[:20])}"
        raise PlanError(f"nothing that this plan sends has the {what} {', '.join(unknown)}; {hint}")


def _reasons(plan: Plan) -> pl.DataFrame:
    """Why the rows of the plan differ: ``task``, ``key``, ``code``, one or several a row."""
    tasks = plan.rows["task"].unique().to_list()
    files = [(task, task_folder(plan.folder.parent, task) / "outcomes.parquet") for task in tasks]
    told = [pl.DataFrame(schema={"task": pl.String, "key": pl.String, "code": pl.String})]
    told += [
        pl.read_parquet(path, columns=["key", "code"]).select(pl.lit(task).alias("task"), "key", "code").drop_nulls()
        for task, path in files
        if path.exists()
    ]
    return pl.concat(told).unique(maintain_order=True)


def given(plan: Plan, by: str, wanted: Wanted) -> tuple[dict[str, Any], pl.Series | None]:
    """Work out an approval on top of those that were given before.

    Args:
        plan: The plan, with its earlier approval.
        by: Who approves.
        wanted: What.

    Returns:
        The approval as ``plan.json`` keeps it, and the actions that are approved by now (None: all).

    Raises:
        PlanError: Nothing is meant.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    earlier = plan.approved if plan.approved and plan.approved["hash"] == plan.hash else None
    orders = None if wanted.is_all or (earlier and plan.orders is None) else choose(plan, wanted)
    if orders is not None and plan.orders is not None and earlier:
        orders = pl.concat([orders, plan.orders]).unique().sort()
    known = plan.rows.filter(pl.col("held").is_null())["order"].n_unique()
    steps = [*(earlier["steps"] if earlier else []), {"by": by, "when": when, "what": wanted.says()}]
    stamp: dict[str, Any] = {
        "by": by,
        "when": when,
        "hash": plan.hash,
        "actions": known if orders is None else orders.len(),
        "of": known,
        "rows": None if orders is None else _hash(plan.hash, orders),
        "steps": steps,
    }
    return {**stamp, "seal": _seal(stamp)}, orders


def approved_orders(folder: Path, approved: Mapping[str, Any]) -> pl.Series | None:
    """Read which actions an approval is about.

    Args:
        folder: The plan's.
        approved: As ``plan.json`` keeps it.

    Returns:
        Numbers of actions (UInt32); None when all of them are approved.

    Raises:
        PlanError: The list is missing, or was changed since it was approved.
    """
    if approved.get("rows") is None:
        return None
    again = "approve the plan again"
    try:
        orders = pl.read_parquet(folder / FILE)["order"].cast(pl.UInt32)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise PlanError(f"{folder / FILE} cannot be read ({type(error).__name__}); {again}") from None
    if _hash(approved["hash"], orders) != approved["rows"]:
        raise PlanError(f"{folder / FILE} was changed after {approved['by']} approved it; {again}")
    return orders


def check_seal(folder: Path, approved: Mapping[str, Any]) -> None:
    """Raise `PlanError` when the approval is not as it was written."""
    if approved.get("seal") != _seal({name: value for name, value in approved.items() if name != "seal"}):
        raise PlanError(f"{folder / 'plan.json'}: the approval was changed after it was given; approve the plan again")


def is_being_sent(plan: Plan) -> bool:
    """Whether the journal has anything of this plan."""
    return bool(Journal.read(plan.folder / "journal.jsonl", plan.hash))


def _hash(plan: str, orders: pl.Series) -> str:
    return hashlib.sha256(plan.encode() + orders.cast(pl.UInt32).to_numpy().tobytes()).hexdigest()


def _seal(stamp: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(stamp, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
