"""What a channel is: a way to send many actions of one entity set, each of which is answered for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from p2c_lib.connect import Client, Entity

__all__ = ["ACTIONS", "ANSWERS", "CELLS", "Channel", "Chunk", "Verb"]

Verb = Literal["create", "update", "recalculate", "delete"]

ACTIONS = pl.Schema(
    {
        "order": pl.UInt32,
        "action": pl.String,
        "key": pl.String,
        "target": pl.String,
        "etag": pl.String,
        "id": pl.String,
        "attempt": pl.UInt16,
    }
)
"""A row an action, by ``order``, its number in the plan. ``action`` is a `Verb`, the same in all rows of a chunk but
for ``recalculate`` among updates; ``key`` is the row's key as one text; ``target`` is JSON: the destination's key of
an update or delete, the task's key of a create; ``etag`` as seen when the difference was found, null for a create;
``id`` is the Guid that a new row of Sales is given, null where the service chooses; ``attempt`` counts the sendings of
the action, this one included."""

CELLS = pl.Schema({"order": pl.UInt32, "property": pl.String, "sent": pl.String, "wire": pl.String})
"""A row a property of a body, by ``order``, in the order in which they go into the body. ``sent`` is its value as text
(null: null), ``wire`` how it is written: ``string``, ``number``, ``boolean``, or ``bind`` (the address of a row)."""

ANSWERS = pl.Schema(
    {
        "order": pl.UInt32,
        "state": pl.String,
        "again": pl.String,
        "etag": pl.String,
        "id": pl.String,
        "status": pl.UInt16,
        "code": pl.String,
        "error": pl.String,
    }
)
"""A row an action. ``state``: created, updated, deleted, conflict (changed or gone meanwhile), failed (the service
refused it, its words in ``error``), open (not sent, or surely not done), doubt (not known whether it was done).
``again`` says what is to be done now, null for nothing: ``look`` (read the row, then decide), ``send`` (it was surely
not done and may be sent again). ``etag`` and ``id`` (of F&O the row's address) where the service tells, ``status`` and
``code`` of an error."""


@dataclass(frozen=True)
class Chunk:
    """Actions that go out together.

    Attributes:
        entity: The destination's set.
        actions: Columns of `ACTIONS`.
        cells: Columns of `CELLS`, for these actions alone.
        number: Counts the chunks of a journal: its ``batch``.
        plan: Hash of the plan; with ``number`` it names the chunk, so that the service can be asked for it again.
    """

    entity: Entity
    actions: pl.DataFrame
    cells: pl.DataFrame
    number: int
    plan: str = ""


@dataclass(frozen=True)
class Channel:
    """A way to send.

    Attributes:
        name: ``single``, ``multiple``, ``batch``, ``package``.
        title: In words, for tables.
        verbs: What it can carry without giving up the ETag: an update goes only where a changed row is refused.
        rows_a_call: The most rows of one call.
        atomic: Whether a call is done as a whole or not at all.
        lanes: How many calls may be under way at once; None: as many as the service and the user allow.
        send: Sends a chunk, blocking, in a thread of its own; gives `ANSWERS`, one for each action of the chunk.
        repeatable: Whether the same chunk (same actions, ``attempt``, ``number`` and ``plan``) may be given to ``send``
            again when it is not known whether it was sent: the service is then asked under the chunk's own name, and
            only what it has never seen is sent. After a kill such a chunk goes to ``send`` again, put together as the
            journal's intents say; its rows are not looked up one by one, as they may still be on their way.

    ``send`` raises `SignInError`, `PermissionDenied`, `Throttled` or `ConnectError` without status when the whole run
    must stop; then nothing of the chunk was done, except what it would find when it looks. All else it tells in its
    answers. It never sends a create again whose answer was lost: such an action is ``doubt``, ``look``.
    """

    name: str
    title: str
    verbs: tuple[Verb, ...]
    rows_a_call: int
    atomic: bool
    send: Callable[[Client, Chunk], pl.DataFrame]
    lanes: int | None = None
    repeatable: bool = False
