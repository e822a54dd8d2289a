"""One row a call: the errors are each row's own, and the service tells its new ETag."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import polars as pl

from p2c_lib.channels.base import ANSWERS, Channel, Chunk
from p2c_lib.connect import Client
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
    """Send the rows of a chunk one after the other."""
    answers: list[dict[str, Any]] = []
    by_order = chunk.cells.select("order", "property", "sent", "wire").rows_by_key("order")
    rows = chunk.actions.to_dicts()
    for row in rows:
        body = {name: _value(sent, wire) for name, sent, wire in by_order.get(row["order"], [])}
        try:
            answers.append({"order": row["order"], **_one(client, chunk, row, body)})
        except (SignInError, PermissionDenied, Throttled, ConnectError) as error:
            if not answers:
                raise
            # What was done is told; the rest meets the same error at once when it is sent again.
            facts = {"state": "open", "again": "send", **told(error)}
            if not isinstance(error, (SignInError, PermissionDenied, Throttled)):
                facts = {"state": "doubt", "again": "look", **told(error)}
            answers.append({"order": row["order"], **facts})
            answers += [{"order": rest["order"], "state": "open", "again": "send"} for rest in rows[len(answers) :]]
            break
    return pl.DataFrame(answers, schema=ANSWERS)


def _value(sent: str | None, wire: str) -> Any:
    if sent is None or wire in ("string", "bind"):
        return sent
    return Decimal(sent) if wire == "number" else sent == "true"


def _one(client: Client, chunk: Chunk, row: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    entity, is_create = chunk.entity, row["action"] == "create"
    try:
        if is_create:
            own = {entity.key[0]: row["id"]} if row["id"] else {}
            if "dataAreaId" in entity.key and client.company:
                own = {"dataAreaId": client.company}
            written = client.create(entity.name, {**own, **body})
        elif row["action"] == "delete":
            client.delete(entity.name, orjson.loads(row["target"]), row["etag"])
            return {"state": "deleted"}
        else:
            written = client.update(entity.name, orjson.loads(row["target"]), body, row["etag"])
    except (SignInError, PermissionDenied, Throttled):
        raise  # refused at the door: nothing was done
    except LostAnswer as error:
        return {"state": "doubt", "again": "look", **told(error)}
    except Conflict as error:
        return {"state": "conflict", "again": "look", **told(error)}
    except NotFound as error:
        if row["action"] == "delete":
            return {"state": "already", **told(error)}
        return {"state": "failed" if is_create else "conflict", **told(error)}
    except ServiceError as error:
        # A row that X++ refuses was answered with 500 by older versions; the text tells it from a failure.
        if "Infolog" in str(error):
            return {"state": "failed", "again": "look" if is_create else None, **told(error)}
        return {"state": "doubt", **told(error)}
    except ConnectError as error:
        if error.status is None:
            raise
        return {"state": "failed", "again": "look" if is_create else None, **told(error)}
    except P2CError as error:
        return {"state": "failed", **told(error)}
    return {"state": _DONE[row["action"]], "etag": written.etag, "id": written.id}


SINGLE = Channel(
    "single", "one row a call", ("create", "update", "recalculate", "delete"), rows_a_call=1, atomic=True, send=_send
)
