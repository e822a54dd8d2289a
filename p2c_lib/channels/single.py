"""One row a call: the errors are each row's own, and the service tells its new ETag."""

from __future__ import annotations

from typing import Any, cast

import orjson
import polars as pl

from p2c_lib.channels.base import ANSWERS, Channel, Chunk
from p2c_lib.channels.bodies import bodies
from p2c_lib.connect import Client, Write, Written, is_for_all
from p2c_lib.errors import (
    Conflict,
    ConnectError,
    LostAnswer,
    NotFound,
    P2CError,
    PermissionDenied,
    ServiceError,
    SignInError,
    Throttled,
)

__all__ = ["SINGLE", "told"]

_DONE = {"create": "created", "update": "updated", "recalculate": "updated", "delete": "deleted"}


def told(error: P2CError) -> dict[str, Any]:
    """An error as columns of `ANSWERS`.

    Args:
        error: What was raised.

    Returns:
        ``error`` (its class and words), ``status`` and ``code``.
    """
    facts: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"}
    if isinstance(error, ConnectError):
        facts |= {"status": error.status, "code": error.code or None}
    return facts


def _send(client: Client, chunk: Chunk) -> pl.DataFrame:
    """Send the rows of a chunk, a call each."""
    rows = chunk.actions.select("order", "action", "target", "etag").with_columns(body=bodies(client, chunk)).to_dicts()
    said = client.write_each(chunk.entity.name, [_write(row) for row in rows])
    tried = [one for one in said if one is not None]
    if all(isinstance(one, P2CError) and is_for_all(one) for one in tried):
        raise cast(P2CError, tried[0])
    # What was done is told; the rest meets the same error at once when it is sent again.
    return pl.DataFrame([_told(row, of) for row, of in zip(rows, said, strict=True)], schema=ANSWERS)


def _write(row: dict[str, Any]) -> Write:
    if row["action"] == "create":
        return Write("create", {}, row["body"].encode())
    if row["action"] == "delete":
        return Write("delete", orjson.loads(row["target"]), etag=row["etag"])
    return Write("update", orjson.loads(row["target"]), row["body"].encode(), row["etag"])


def _told(row: dict[str, Any], said: Written | P2CError | None) -> dict[str, Any]:
    if said is None:
        return {"order": row["order"], "state": "open", "again": "send"}
    if isinstance(said, P2CError):
        state, again = _fate(row["action"], said)
        return {"order": row["order"], "state": state, "again": again, **told(said)}
    facts = {} if row["action"] == "delete" else {"etag": said.etag, "id": said.id}
    return {"order": row["order"], "state": _DONE[row["action"]], "again": None, **facts}


def _fate(action: str, error: P2CError) -> tuple[str, str | None]:
    match error:
        case SignInError() | PermissionDenied() | Throttled():
            return "open", "send"  # refused at the door: nothing was done
        case LostAnswer():
            return "doubt", "look"
        case Conflict():
            return "conflict", "look"
        case NotFound():
            return {"create": "failed", "delete": "already"}.get(action, "conflict"), None
        # A row that X++ refuses was answered with 500 by older versions; the text tells it from a failure.
        case ServiceError() if "Infolog" not in str(error):
            return "doubt", None
        case ConnectError(status=None):
            return "doubt", "look"
        case ConnectError() if action == "create":
            return "failed", "look"
        case _:
            return "failed", None


SINGLE = Channel(
    "single", "one row a call", ("create", "update", "recalculate", "delete"), rows_a_call=1, atomic=True, send=_send
)
