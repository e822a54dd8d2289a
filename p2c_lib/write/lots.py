"""Parts of a plan as they go out: actions and cells of a task, cut into chunks, and what the journal says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from uuid import UUID, uuid5

import numpy as np
import polars as pl

from p2c_lib.channels import ACTIONS, CELLS, Chunk, Verb, json_object, json_text
from p2c_lib.connect import Client, Entity

__all__ = ["TOLD", "Lot", "Work", "answer_facts", "intent_facts", "own_ids", "works"]

_TEXTS = ("etag", "id", "error", "code", "reason")
_RAW = ("status", "version", "found")
TOLD = ("etag", "id", "status", "code")
"""Columns of a lot that the answers have as well."""
_VERBS: dict[str, Verb] = {
    "create": "create",
    "update": "update",
    "recalculate": "update",
    "deactivate": "update",
    "delete": "delete",
}


@dataclass(frozen=True)
class Lot:
    """Actions that are looked at and sent together.

    Attributes:
        actions: A row an action: ``order``, ``task``, ``action``, ``key``, ``target``, ``etag``, ``after_order``,
            ``staged_order``, ``start`` and ``size`` (its cells), ``id`` (that a new row is given), ``why`` (it is
            looked at, as `p2c_lib.write.standing` has it), ``said``, ``status`` and ``code`` (the error that it met).
    """

    actions: pl.DataFrame

    def only(self, orders: pl.Series) -> Lot:
        """These actions of it alone."""
        return Lot(self.actions.filter(pl.col("order").is_in(orders.implode())))


@dataclass(frozen=True)
class Work:
    """What a plan does to one set with one verb.

    Attributes:
        plan: Hash of the plan.
        verb: ``create``, ``update`` or ``delete``.
        client: Of the destination.
        entity: Its set.
        actions: As `Lot` has them but for ``id``, ``why`` and ``said``, in the order of sending.
        cells: ``order``, ``field``, ``property``, ``before``, ``after``, ``sent``, ``wire``, by ``order``.
    """

    plan: str
    verb: Verb
    client: Client
    entity: Entity
    actions: pl.DataFrame
    cells: pl.DataFrame

    @property
    def gives_ids(self) -> bool:
        """Whether new rows get their id from us: only where the key is one Guid that may be given (Sales)."""
        key = self.entity.key
        column = self.entity.columns.get(key[0]) if len(key) == 1 else None
        return column is not None and column.edm_type == "Edm.Guid" and column.allow_edit_on_create

    def lot(self, actions: pl.DataFrame, why: pl.Series) -> Lot:
        """Make a lot of some of the actions.

        Args:
            actions: Rows of ``actions``.
            why: Why each is looked at.

        Returns:
            The lot; a new row's id is always the same for the same row of the same plan: a create that reaches the
            service twice cannot make two rows.
        """
        is_given = self.verb == "create" and self.gives_ids
        ids = own_ids(self.plan, self.entity.name, actions["key"]) if is_given else pl.lit(None, pl.String)
        return Lot(
            actions.with_columns(
                id=ids,
                why=why.cast(pl.String),
                said=pl.lit(None, pl.String),
                status=pl.lit(None, pl.UInt16),
                code=pl.lit(None, pl.String),
            )
        )

    def cells_of(self, actions: pl.DataFrame) -> pl.DataFrame:
        """The cells of some actions."""
        if actions.is_empty():
            return self.cells.clear()
        low, high = actions["start"].min(), (actions["start"] + actions["size"]).max()
        near = self.cells.slice(low, high - low)  # type: ignore[operator, arg-type]
        if near.height == actions["size"].sum():
            return near
        return near.filter(pl.col("order").is_in(actions["order"].implode()))

    def judged(self, actions: pl.DataFrame) -> pl.DataFrame:
        """The cells that say whether a row stands as wanted: what the service works out is known for sure only when
        nothing else of its document is sent."""
        cells = self.cells_of(actions)
        if self.verb == "delete" or not (cells["wire"] == "computed").any():
            return cells
        sums = actions.filter(pl.col("action") == "recalculate")["order"]
        return cells.filter((pl.col("wire") != "computed") | pl.col("order").is_in(sums.implode()))

    def chunk(self, lot: Lot, attempts: pl.Series, number: int) -> Chunk:
        """Make a lot ready for its channel.

        Args:
            lot: The actions.
            attempts: How often each is sent, this time included.
            number: Of the batch.

        Returns:
            The chunk.
        """
        cells = self.cells_of(lot.actions).filter(pl.col("wire") != "computed").select(CELLS.names())
        made = cells.filter(pl.col("wire") == "made")["sent"].unique()
        if made.len():
            # A row that this plan made: its id is the one that it was given.
            sets = made.str.split_exact("/", 1).struct.field("field_0").to_list()
            known = {
                said: f"/{name}({uuid5(UUID(self.plan[:32]), said)})" for said, name in zip(made, sets, strict=True)
            }
            is_made = pl.col("wire") == "made"
            cells = cells.with_columns(
                sent=pl.when(is_made).then(pl.col("sent").replace_strict(known, default=None)).otherwise("sent"),
                wire=pl.when(is_made).then(pl.lit("bind")).otherwise("wire"),
            )
        # To a channel a row that is switched off is one that is updated.
        plain = pl.col("action").replace({"deactivate": "update"})
        actions = lot.actions.with_columns(plain, attempt=attempts).select(ACTIONS.names())
        return Chunk(self.entity, actions, cells, number, self.plan)


def own_ids(plan: str, entity: str, keys: Sequence[str] | pl.Series) -> pl.Series:
    """Give the ids of new rows, which the plan and their keys decide.

    Args:
        plan: Hash of the plan.
        entity: Their set.
        keys: Their keys.

    Returns:
        Guids, String.
    """
    # As `uuid.uuid5` makes them, the part that all have in common hashed once and their texts written at once.
    begun = sha1(UUID(plan[:32]).bytes + f"{entity}/".encode(), usedforsecurity=False)

    def digest(key: str) -> bytes:
        own = begun.copy()
        own.update(key.encode())
        return own.digest()[:16]

    raw = np.frombuffer(bytearray().join(map(digest, keys)), np.uint8).reshape(-1, 16)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x50
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    text = pl.Series("id", np.frombuffer(raw.tobytes().hex().encode(), "S32").tolist(), pl.Binary).cast(pl.String)
    parts = [text.str.slice(at, size) for at, size in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.select(pl.concat_str(parts, separator="-")).to_series()


def works(plan: str, rows: pl.DataFrame, client: Client) -> Iterator[Work]:
    """Cut a task's rows by what is done with them.

    Args:
        plan: Hash of the plan.
        rows: What is to be sent of one task (`PLAN_COLUMNS`), by ``order``.
        client: Of the destination.

    Yields:
        Works, in the order of their first action.
    """
    entity = client.entity(rows["entity"][0])
    verbs = rows.select(verb=pl.col("action").replace_strict(_VERBS))["verb"]
    for verb in verbs.unique(maintain_order=True):
        mine = rows.filter(verbs == verb)
        first = ["task", "action", "key", "target", "etag", "after_order", "staged_order"]
        actions = mine.group_by("order", maintain_order=True).agg(pl.col(first).first(), size=pl.len().cast(pl.Int64))
        actions = actions.with_columns(start=pl.col("size").cum_sum() - pl.col("size"))
        cells = mine.select("order", "field", "property", "before", "after", "sent", "wire")
        yield Work(plan, verb, client, entity, actions, cells)


def intent_facts(work: Work, lot: Lot) -> pl.DataFrame:
    """What the journal says of actions before they are sent.

    Args:
        work: Their work.
        lot: The actions.

    Returns:
        ``order`` and ``facts``: JSON members of a line.
    """
    cells = work.judged(lot.actions)
    before = cells.filter(pl.col("before").is_not_null()) if work.verb == "create" else cells
    joined = lot.actions.with_columns(before=pl.lit(None, pl.String))
    if before.height:
        joined = lot.actions.join(_named(before, "before"), on="order", how="left", maintain_order="left")
    joined = joined.join(_named(cells, "after"), on="order", how="left", maintain_order="left")
    members = [
        _member("task", json_text("task")),
        _member("entity", pl.lit(f'"{work.entity.name}"')),
        _member("action", json_text("action")),
        _member("key", json_text("key")),
        _member("target", pl.col("target")),
        _member("etag", json_text("etag")),
        _member("id", json_text("id")),
        _member("before", pl.concat_str(pl.lit("{"), pl.col("before").fill_null(""), pl.lit("}"))),
        _member("after", pl.concat_str(pl.lit("{"), pl.col("after").fill_null(""), pl.lit("}"))),
    ]
    return joined.select("order", facts=pl.concat_str(members, separator=","))


def _named(cells: pl.DataFrame, name: str) -> pl.DataFrame:
    return json_object(cells, "field", json_text(name)).rename({"json": name})


def _member(name: str, value: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit(f'"{name}":'), value)


def answer_facts(answers: pl.DataFrame) -> pl.DataFrame:
    """What the journal says of actions after they were sent or looked at.

    Args:
        answers: ``order``, ``state``, and any of ``etag``, ``id``, ``error``, ``status``, ``code``, ``reason``, and
            ``found`` (JSON), null where there is nothing to say.

    Returns:
        ``order``, ``state`` and ``facts``: JSON members of a line.
    """
    members = [
        pl.when(pl.col(name).is_not_null()).then(
            _member(name, json_text(name) if name in _TEXTS else pl.col(name).cast(pl.String))
        )
        for name in (*_TEXTS, *_RAW)
        if name in answers.columns
    ]
    facts = pl.concat_str(members, separator=",", ignore_nulls=True) if members else pl.lit("")
    return answers.select("order", "state", facts=facts)
