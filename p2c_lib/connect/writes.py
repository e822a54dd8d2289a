"""Writes of single rows: the request of each, and what its answer says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from p2c_lib.connect.dialects import Dialect
from p2c_lib.connect.literals import key_path
from p2c_lib.connect.metadata import Entity

__all__ = ["Call", "Write", "Written", "call_of", "written"]

_ROW_ID = re.compile(r"\(([0-9a-fA-F-]{36})\)\s*$")


@dataclass(frozen=True)
class Write:
    """A row that is to be written.

    Attributes:
        verb: What is done with it.
        key: Its key, on Sales also an alternate one; of a create what is known of it.
        body: JSON of what is sent; None of a delete.
        etag: As seen when it was decided; None writes whatever became of the row.
    """

    verb: Literal["create", "update", "delete"]
    key: Mapping[str, Any]
    body: bytes | None = None
    etag: str | None = None


@dataclass(frozen=True)
class Call:
    """The request of a write, but for its body.

    Attributes:
        method: HTTP verb.
        path: Below the API's root, percent-encoded.
        what: The act in words, for error texts.
        params: Query options, not yet percent-encoded.
        headers: Headers beside the usual ones.
    """

    method: str
    path: str
    what: str
    params: Mapping[str, str] | None
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Written:
    """A row that was written: its key, its new etag when told, and its address within the service.

    ``id`` is the row's Guid on Sales, its address (``CustomersV2(dataAreaId='usmf',...)``) on F&O.
    """

    key: dict[str, Any]
    etag: str | None
    id: str | None


def call_of(dialect: Dialect, entity: Entity, write: Write) -> Call:
    """Make the request of a write.

    Args:
        dialect: Of the service.
        entity: The row's set.
        write: What is written.

    Returns:
        The request; Sales is asked to tell the key and the new etag.

    Raises:
        SchemaError: The key is none of the set's.
    """
    is_told = dialect.system == "sales" and write.verb != "delete"
    params: Mapping[str, str] | None = {"$select": ",".join(entity.key)} if is_told else None
    headers = {"Prefer": "return=representation"} if is_told else {}
    if write.verb == "create":
        return Call("POST", entity.name, f"creating in {entity.name}", params, headers)
    address = key_path(entity, write.key)
    method, act = ("PATCH", "changing") if write.verb == "update" else ("DELETE", "deleting")
    # F&O finds a row of another company than the user's own only when told to look there.
    params = params or (dialect.params if "dataAreaId" in entity.key else None)
    headers["If-Match"] = write.etag or "*"
    return Call(method, address, f"{act} {address}", params, headers)


def written(
    dialect: Dialect, entity: Entity, write: Write, said: Mapping[str, Any], headers: Mapping[str, str]
) -> Written:
    """Read what an answer says of the row that was written.

    Args:
        dialect: Of the service.
        entity: The row's set.
        write: What was written.
        said: Its JSON object; empty where it has none.
        headers: Its headers, found whatever their case.

    Returns:
        The row.
    """
    etag = said.get("@odata.etag") or headers.get("ETag")
    key = {name: said.get(name, write.key.get(name)) for name in entity.key}
    if dialect.system == "sales":
        found = _ROW_ID.search(headers.get("OData-EntityId", ""))
        if found and key[entity.key[0]] is None:
            key[entity.key[0]] = found[1]
        return Written(key, etag, key[entity.key[0]])
    is_whole = all(value is not None for value in key.values())
    return Written(key, etag, key_path(entity, key) if is_whole else headers.get("Location"))
