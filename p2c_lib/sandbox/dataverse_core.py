"""What every part of the Dataverse service shares: calls, answers, failures, preferences and the work of one call."""

from __future__ import annotations

import fnmatch
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, NoReturn

import orjson

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.grammar import QueryError
from p2c_lib.sandbox.schema import Entity, Schema, without
from p2c_lib.sandbox.store import Store, Transaction

__all__ = ["Answer", "Call", "Config", "Failure", "Prefer", "Work", "failure_answer", "json_answer"]

JSON_TYPE = "application/json; odata.metadata=minimal"
NAMESPACE = uuid.UUID("5f0d8a3e-6f5b-4c41-9f0e-2f6f4f1d9b11")  # of guids derived from names (metadata ids)
SOLUTION_PREFIX = "msdynce_"
FIRST_USER = "00000000-0000-0000-0000-0000000000a1"  # WhoAmI of a store without users


@dataclass(frozen=True)
class Config:
    """Settings of the service.

    Attributes:
        solution: The Prospect to cash solution is installed: its tables, columns, keys and steps.
        account_number_key: The alternate key msdynce_AccountNumber is there, as before solution 15.0.0.2.
        denied: What the user may not do: ``{"system": "sales", "entity": "products", "verb": "create"}``.
        page_rows: Largest page.
        dop_hint: Advised degree of parallelism, told with every answer.
        seed: Seed of the random part of account and contact numbers.
        gzip: Answers are compressed for those who ask for it.
        version: What RetrieveVersion says.
    """

    solution: bool = True
    account_number_key: bool = False
    denied: tuple[Mapping[str, str], ...] = ()
    page_rows: int = 5000
    dop_hint: int = 16
    seed: int = 0
    gzip: bool = True
    version: str = "9.2.24044.00158"

    @classmethod
    def of(cls, settings: Mapping[str, Any] | Config | None) -> Config:
        """Settings of a sandbox; of the dictionary, those that are named below."""
        if isinstance(settings, Config):
            return settings
        given = settings or {}
        known: dict[str, Any] = {
            "solution": given.get("solution"),
            "denied": tuple(given.get("denied") or ()),
            "account_number_key": given.get("account_key"),
            "page_rows": given.get("sales_page_rows"),
            "dop_hint": given.get("dop_hint"),
            "seed": given.get("seed"),
            "gzip": given.get("gzip"),
        }
        return cls(**{name: value for name, value in known.items() if value is not None})


class Failure(SandboxError):
    """An error of the service: status, code and message of its JSON body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep status (HTTP), code (``0x80040217`` or empty) and the message for the client."""
        self.status, self.code, self.message = status, code, message
        super().__init__(message)


@dataclass(frozen=True)
class Call:
    """One request, alone or a part of a batch.

    Attributes:
        method: Upper case.
        path: Below the service root, decoded, without slash in front: ``accounts(...)/name``.
        query: Query options; the last of repeated ones.
        headers: By lower-case name; repeated ones joined with a comma.
        root: Service root without slash at its end: ``http://127.0.0.1:8101/api/data/v9.2``.
        url_query: The query as it was sent, for next links.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    root: str
    url_query: tuple[tuple[str, str], ...] = ()

    @cached_property
    def prefer(self) -> Prefer:
        """Its preferences."""
        return Prefer.parse(self.headers.get("prefer", ""))

    def header(self, name: str) -> str | None:
        """A conditional header; the word null means it is absent."""
        value = self.headers.get(name)
        return None if value is None or value.strip().lower() == "null" else value.strip()

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, numbers with a point exact (Decimal)."""
        try:
            value = json.loads(self.body, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, UnicodeDecodeError) as error:
            raise Failure(400, "0x80048d19", f"Error identified in Payload provided by the user: {error}") from error
        if not isinstance(value, dict):
            raise Failure(400, "0x80048d19", "Error identified in Payload provided by the user: an object is needed.")
        return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"'{name}' is not JSON")


@dataclass(frozen=True)
class Prefer:
    """Preferences of a request."""

    page_rows: int | None = None
    representation: bool = False
    track_changes: bool = False
    continue_on_error: bool = False
    annotations: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Prefer:
        """Read the Prefer header; what is not known is passed over."""
        found: dict[str, str] = {}
        for match in re.finditer(r'([\w.\-]+)\s*(?:=\s*("[^"]*"|[^,;\s]*))?', text):
            found[match[1].lower()] = (match[2] or "").strip('"')
        size = found.get("odata.maxpagesize", "")
        return cls(
            page_rows=int(size) if size.isdigit() and int(size) > 0 else None,
            representation=found.get("return") == "representation",
            track_changes="odata.track-changes" in found,
            continue_on_error="odata.continue-on-error" in found,
            annotations=tuple(part.strip() for part in found.get("odata.include-annotations", "").split(",") if part),
        )

    def wants(self, annotation: str) -> bool:
        """Whether an annotation is to be included; patterns may hold ``*``."""
        return any(fnmatch.fnmatchcase(annotation, pattern) for pattern in self.annotations)

    def applied(self) -> dict[str, str]:
        """The header that tells what was honoured."""
        parts = [f"odata.maxpagesize={self.page_rows}"] if self.page_rows else []
        if self.representation:
            parts.append("return=representation")
        if self.annotations:
            parts.append(f'odata.include-annotations="{",".join(self.annotations)}"')
        if self.track_changes:
            parts.append("odata.track-changes")
        return {"Preference-Applied": ",".join(parts)} if parts else {}


@dataclass(frozen=True)
class Answer:
    """One response, alone or a part of a batch."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, orjson.dumps(value), {"Content-Type": JSON_TYPE, **(headers or {})})


def failure_answer(failure: Failure, prefer: Prefer | None = None) -> Answer:
    """An answer that tells of a failure; all annotations wanted: with the extra members of the service."""
    error: dict[str, Any] = {"code": failure.code, "message": failure.message}
    if prefer is not None and "*" in prefer.annotations:
        error["@Microsoft.PowerApps.CDS.ErrorDetails.OperationStatus"] = "0"
        error["@Microsoft.PowerApps.CDS.ErrorDetails.SubErrorCode"] = "0"
        error["@Microsoft.PowerApps.CDS.HelpLink"] = (
            f"http://go.microsoft.com/fwlink/?LinkID=398563&error={failure.code}"
        )
        error["@Microsoft.PowerApps.CDS.TraceText"] = ""
        error["@Microsoft.PowerApps.CDS.InnerError.Message"] = failure.message
    return json_answer({"error": error}, failure.status)


class Work:
    """A call, or a change set of calls, inside one transaction; remembers what it has looked up."""

    def __init__(self, store: Store, transaction: Transaction, config: Config, now: str) -> None:
        """Work on `store` within `transaction`; `now` is the time of everything written."""
        self.store, self.t, self.config, self.now = store, transaction, config, now
        self.content_ids: dict[str, str] = {}  # "$1" -> "accounts(guid)"
        self._currencies: dict[str, dict[str, Any] | None] = {}
        self._owners: dict[str | None, dict[str, Any]] = {}

    @property
    def schema(self) -> Schema:
        """The entities served."""
        return self.store.schema if self.config.solution else without("sales", SOLUTION_PREFIX)

    def entity(self, name: str) -> Entity:
        """An entity set by name; unknown: 404."""
        if name not in self.schema.entities:
            raise Failure(404, "0x80060888", f"Resource not found for the segment '{name}'.")
        return self.schema.entities[name]

    def keys(self, entity: Entity) -> dict[str, tuple[str, ...]]:
        """Alternate keys of an entity, by name."""
        keys = dict(entity.alternate_keys)
        if entity.type == "account" and self.config.solution and self.config.account_number_key:
            keys["msdynce_AccountNumber"] = ("accountnumber",)
        return keys

    @cached_property
    def organization(self) -> dict[str, Any]:
        """The row of the organisation; empty when the store has none."""
        return self.t.first("organizations") or {}

    @cached_property
    def user(self) -> dict[str, Any]:
        """The user who calls: the first one."""
        return self.t.first("systemusers") or {"systemuserid": FIRST_USER, "_businessunitid_value": None}

    def owner(self, user_id: str | None) -> dict[str, Any]:
        """The row of a user; of the calling one where there is no such."""
        if user_id not in self._owners:
            self._owners[user_id] = self.t.get("systemusers", {"systemuserid": user_id}) or self.user
        return self._owners[user_id]

    def currency(self, currency_id: str | None) -> dict[str, Any] | None:
        """A currency's row."""
        if currency_id is None:
            return None
        if currency_id not in self._currencies:
            self._currencies[currency_id] = self.t.get("transactioncurrencies", {"transactioncurrencyid": currency_id})
        return self._currencies[currency_id]


def bad_query(error: QueryError) -> Failure:
    """A query option that cannot be understood, as the service puts it."""
    return Failure(400, "0x8006088a" if "Could not find a property" not in str(error) else "0x80060888", str(error))
