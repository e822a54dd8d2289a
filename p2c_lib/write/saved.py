"""A plan as it is kept: its rows, its hash, who approved it."""

from __future__ import annotations

import hashlib
import io
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib.cells import as_text
from p2c_lib.connect import Client
from p2c_lib.errors import PlanError
from p2c_lib.explain import money_text
from p2c_lib.places import plan_folder
from p2c_lib.pull import MONEY
from p2c_lib.write.approvals import FILE, Wanted, approved_orders, check_seal, given, is_being_sent

_TYPES: dict[str, pl.DataType] = {
    "order": pl.UInt32(),
    "task": pl.String(),
    "system": pl.String(),
    "entity": pl.String(),
    "action": pl.String(),
    "key": pl.String(),
    "target": pl.String(),
    "etag": pl.String(),
    "after_order": pl.UInt32(),
    "staged_order": pl.UInt32(),
    "field": pl.String(),
    "property": pl.String(),
    "before": pl.String(),
    "after": pl.String(),
    "was": pl.String(),
    "sent": pl.String(),
    "wire": pl.String(),
    "amount": MONEY,
    "currency": pl.String(),
    "held": pl.String(),
}
PLAN_COLUMNS = pl.Schema(_TYPES)
"""One row a field of an action. ``order`` numbers the actions in the order of sending; ``after_order`` is the action
that must be done first (the parent's create), ``staged_order`` the one that brings its
row into the store. ``target`` is JSON: the destination's key for an update, the task's key
for a create. ``action`` is create, update, recalculate (an amount is sent as it stands, for the service to work out
others), deactivate (an update of the state) or delete, whose rows have the fields as they stand and no property.
``before`` and ``after`` are for people; ``property``, ``sent`` and ``wire`` (string, number, boolean, bind, made: a row
that this plan makes first, as set and key) make the body; ``was`` is what stood there in the form of ``sent``, to be
put back; what has the wire ``computed`` is worked out by the service when the rest is sent. ``held`` says why a field
is not sent; an action whose fields are all held is not sent at all."""

_FOUND_TO_FIT: deque[tuple[bytes, str, str]] = deque(maxlen=8)  # the last few plans that this process has read
HEAD = ("run_id", "profile", "company", "sales_url", "fno_url", "cds_url", "masked")
_WHERE_GIVEN = ("cds_url", "masked")


def head_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a plan belongs to (`HEAD`), out of a run's or a plan's file; ``cds_url`` only of a run through CDS,
    ``masked``, the personal fields by task, only of a plan."""
    return {name: facts.get(name) for name in HEAD if name not in _WHERE_GIVEN or facts.get(name)}


LEFT_OUT = pl.Schema({"task": pl.String, "outcome": pl.String, "reason": pl.String, "rows": pl.UInt32})


@dataclass(frozen=True)
class Plan:
    """What would be sent, or what was.

    Attributes:
        folder: The run's ``plan`` folder.
        rows: Columns of `PLAN_COLUMNS`, by ``order``.
        head: Run, profile and addresses that it belongs to (`HEAD`).
        hash: SHA-256 (hex) over head and rows.
        created: UTC, ISO.
        approved: ``by``, ``when`` (UTC, ISO), ``hash``, how many ``actions`` ``of`` how many, and the ``steps`` in
            which it was given; or None.
        left_out: Columns ``task``, ``outcome``, ``reason``, ``rows``: what differs and has no action.
        orders: The actions that were approved (UInt32), None where all were, or none.
    """

    folder: Path
    rows: pl.DataFrame
    head: Mapping[str, Any]
    hash: str
    created: str
    approved: Mapping[str, Any] | None
    left_out: pl.DataFrame
    orders: pl.Series | None = None

    def sendable(self) -> pl.DataFrame:
        """The rows of the actions that were approved and are not held; none where nothing was approved."""
        if self.approved is None:
            return self.rows.clear()
        rows = self.rows.filter(pl.col("held").is_null())
        return rows if self.orders is None else rows.filter(pl.col("order").is_in(self.orders.implode()))

    def actions(self) -> pl.DataFrame:
        """One row an action: ``order``, ``task``, ``action``, ``key``, ``fields`` and ``held_fields`` (counts),
        ``amount``, ``currency``, ``held`` (the reason when nothing of it is sent, else null)."""
        is_held = pl.col("held").is_not_null()
        return self.rows.group_by("order", maintain_order=True).agg(
            pl.col("task", "action", "key").first(),
            fields=(~is_held).sum().cast(pl.UInt32),
            held_fields=is_held.sum().cast(pl.UInt32),
            amount=pl.col("amount").filter(~is_held).sum().cast(MONEY),
            currency=pl.col("currency").first(),
            held=pl.when(is_held.all()).then(pl.col("held").first()),
        )

    def counts(self) -> pl.DataFrame:
        """Columns ``task``, ``action``, ``rows`` (to be sent), ``held_rows``, ``fields``, ``held_fields``."""
        return (
            self.actions()
            .group_by("task", "action", maintain_order=True)
            .agg(
                rows=pl.col("held").is_null().sum().cast(pl.UInt32),
                held_rows=pl.col("held").is_not_null().sum().cast(pl.UInt32),
                fields=pl.col("fields").sum(),
                held_fields=pl.col("held_fields").sum(),
            )
        )

    def money(self) -> pl.DataFrame:
        """Columns ``task``, ``action``, ``currency``, ``amount``: what the rows to be sent are worth."""
        sent = self.actions().filter(pl.col("held").is_null() & (pl.col("amount") != 0))
        return sent.group_by("task", "action", "currency", maintain_order=True).agg(pl.col("amount").sum().cast(MONEY))


def check_addresses(head: Mapping[str, Any], clients: Mapping[str, Client], profile: str | None = None) -> None:
    """Raise `PlanError` when services, company or profile are others than those that were compared.

    Args:
        head: As in ``run.json``: ``profile``, ``company``, ``sales_url``, ``fno_url``.
        clients: By system.
        profile: Name of the profile in use, None when it does not matter.
    """
    wrong = []
    for system, client in clients.items():
        compared = (head.get(f"{system}_url") or client.root).rstrip("/")
        if compared != client.root.rstrip("/"):
            wrong.append(f"{system} was {compared}, now it is {client.root}")
        if client.company and head.get("company") and client.company.lower() != str(head["company"]).lower():
            wrong.append(f"the company was {head['company']}, now it is {client.company}")
    if profile is not None and head.get("profile") not in (None, profile):
        wrong.append(f"the profile was {head['profile']}, now it is {profile}")
    if wrong:
        raise PlanError(f"this run compared other systems: {'; '.join(wrong)}; run again with this profile")


def _hash(head: Mapping[str, Any], rows: pl.DataFrame) -> str:
    """SHA-256 over the head and the rows, each column's lengths and texts: the same however parquet packs them."""
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for piece in rows.select(PLAN_COLUMNS.names()).iter_slices(100_000):
        for column in piece.iter_columns():
            text = column.cast(pl.String)
            lengths = text.str.len_bytes().fill_null(2**32 - 1)  # a null is no empty text
            digest.update(lengths.to_numpy().astype("<u4").tobytes())
            digest.update(text.fill_null("").str.join("").item().encode())
    return digest.hexdigest()


def _fits(made: Plan, packed: bytes) -> bool:
    """Whether a plan's content has its hash. What was found so is known again by the hash of its file, a thousandth
    of the work: a plan is read at every step from its approval to its last answer."""
    known = hashlib.sha256(packed).digest(), json.dumps(made.head, sort_keys=True), made.hash
    if known in _FOUND_TO_FIT:
        return True
    is_same = _hash(made.head, made.rows) == made.hash
    if is_same:
        _FOUND_TO_FIT.append(known)
    return is_same


def save(made: Plan) -> Plan:
    """Save a new plan, its hash worked out here.

    Args:
        made: The plan; its hash is not looked at.

    Returns:
        The plan as saved, or the earlier one when it has the same content (its approval stays).

    Raises:
        PlanError: Another plan of this run has been sent, wholly or in part.
    """
    folder, digest = made.folder, _hash(made.head, made.rows)
    earlier = _as_approved(_stored(folder.parent)) if (folder / "plan.json").exists() else None
    if earlier and earlier.hash == digest:
        return earlier
    if earlier and is_being_sent(earlier):
        raise PlanError(
            f"{folder}: this plan has been sent, wholly or in part, and cannot be replaced by another; "
            "apply it to its end, or compare again in a new run"
        )
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "plan.parquet.tmp"
    made.rows.write_parquet(draft)
    # Between the two files the hash does not fit, and nothing can be applied.
    draft.replace(folder / "plan.parquet")
    saved = replace(made, hash=digest, approved=None)
    _write_json(saved)
    return saved


def _write_json(made: Plan) -> None:
    def text(frame: pl.DataFrame) -> list[dict[str, Any]]:
        return [{k: str(v) if k == "amount" else v for k, v in row.items()} for row in frame.to_dicts()]

    money = made.money().with_columns(amount=as_text("amount", MONEY))
    document = {
        **made.head,
        "created": made.created,
        "hash": made.hash,
        "counts": text(made.counts()),
        "money": text(money),
        "left_out": text(made.left_out),
        "approved": made.approved,
    }
    draft = made.folder / "plan.json.tmp"
    draft.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    draft.replace(made.folder / "plan.json")


def read_plan(run_dir: Path) -> Plan:
    """Read a saved plan.

    Args:
        run_dir: The run's folder.

    Returns:
        The plan as it was saved, and as it was approved.

    Raises:
        PlanError: There is none, it is broken, its content does not fit its hash, or the approval was changed after it
            was given.
    """
    return _with_orders(_stored(run_dir))


def _with_orders(made: Plan) -> Plan:
    """The plan with the actions that were approved; an approval of other content is for `apply` to refuse."""
    if not made.approved or made.approved["hash"] != made.hash:
        return made
    check_seal(made.folder, made.approved)
    return replace(made, orders=approved_orders(made.folder, made.approved))


def _as_approved(made: Plan) -> Plan:
    """The same; an approval that does not hold counts as none, so that another can be given."""
    try:
        return _with_orders(made)
    except PlanError:
        return replace(made, approved=None)


def _stored(run_dir: Path) -> Plan:
    folder = plan_folder(run_dir)
    again = "compare again in a new run, and plan that one"
    try:
        document = json.loads((folder / "plan.json").read_text("utf-8"))
        packed = (folder / "plan.parquet").read_bytes()
        rows = pl.read_parquet(io.BytesIO(packed))
        head = head_of(document)
        left_out = pl.DataFrame(document["left_out"], schema=LEFT_OUT)
        made = Plan(folder, rows, head, document["hash"], document["created"], document["approved"], left_out)
        is_same = rows.schema == PLAN_COLUMNS and _fits(made, packed)
    except FileNotFoundError:
        raise PlanError(f"{run_dir} holds no plan; make one first: p2c plan {run_dir}") from None
    except (ValueError, KeyError, TypeError, AttributeError, pl.exceptions.PolarsError) as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise PlanError(f"{folder}: the plan is broken ({reason}); {again}") from None
    if not is_same:
        raise PlanError(f"{folder}: the plan was changed after it was made; {again}")
    return made


def approve(run_dir: Path, by: str, wanted: Wanted | None = None) -> Plan:
    """Approve a saved plan as it stands, or actions of it; what is applied later must have the very same content.

    Args:
        run_dir: The run's folder.
        by: Who approves.
        wanted: Which actions, beside those approved before; all by default.

    Returns:
        The plan, approved; `Plan.orders` says what of it.

    Raises:
        PlanError: There is no plan, it was changed since it was made, nothing is meant, or ``by`` is blank.
    """
    if not by.strip():
        raise PlanError("who approves the plan? give a name")
    made, wanted = _as_approved(_stored(run_dir)), wanted or Wanted()
    is_whole = made.approved is not None and made.approved["hash"] == made.hash and made.orders is None
    if is_whole and is_being_sent(made):
        return made  # it is being sent: who approved that stays on record
    stamp, orders = given(made, by.strip(), wanted)
    if orders is not None:
        draft = made.folder / f"{FILE}.tmp"
        orders.to_frame("order").write_parquet(draft)
        # Between the two files the list does not fit the approval, and nothing can be applied.
        draft.replace(made.folder / FILE)
    approved = replace(made, approved=stamp, orders=orders)
    _write_json(approved)
    return approved


def plan_table(plan: Plan, costs: pl.DataFrame | None = None) -> pl.DataFrame:
    """A plan for people.

    Args:
        plan: The plan.
        costs: What sending it costs, as `p2c_lib.write.costs` estimates it.

    Returns:
        A row a task and action: ``rows`` and ``fields`` to be sent, ``held_rows`` and ``held_fields`` that are not, and
        ``amount``, what the rows to be sent are worth, a line a currency (``1,234.50 USD``); once it was approved how
        many rows are ``approved``; with costs ``channel``, ``calls`` and ``seconds``.
    """
    money = plan.money()
    texts = [money_text(*one) for one in money.select("amount", "currency").iter_rows()]
    worth = (
        money.with_columns(amount=pl.Series(texts, dtype=pl.String))
        .group_by("task", "action", maintain_order=True)
        .agg(pl.col("amount").str.join("\n"))
    )
    on = ["task", "action"]
    table = plan.counts().join(worth, on=on, how="left", maintain_order="left")
    table = table.select(*on, "rows", "fields", "held_rows", "held_fields", "amount")
    if plan.approved is not None:
        approved = plan.sendable().group_by(on).agg(approved=pl.col("order").n_unique())
        table = table.join(approved, on=on, how="left", maintain_order="left")
        table = table.with_columns(pl.col("approved").fill_null(0))
    return table if costs is None else table.join(costs, on=on, how="left", maintain_order="left")
