"""Faults on demand: an ASGI layer around a service that delays, refuses, breaks or loses what matches a rule.

A rule is a JSON object. It says which requests it is for (``system``, ``method``, ``path``: a regular expression
searched in path and query), which of those (``after`` n, only the ``first`` n, ``every`` n-th, with ``probability`` and
``seed``), and what happens (``kind`` and its own fields):

========  ==============================================================================================
latency   ``seconds`` of delay; further rules still apply
throttle  429, ``retry_after`` seconds (null: no such header), ``limit`` requests|execution|concurrent|resources
error     ``status`` (503), ``code``, ``message``, ``retry_after``; ``done``: the work is done all the same
html      a gateway's HTML page with ``status`` (502); ``done`` as above
drop      the connection is closed ``at`` "before" the work, in the "body" of the answer (default), or
          at the "answer": the work is done and not one byte of the answer arrives
expire    401, and the token that was used stays expired
etag      the row of the URL (or ``entity`` and ``key``) changes just before the request is served
========  ==============================================================================================

Rules come from ``faults.json`` (read again when it changes) and from ``POST /sandbox/faults``.
"""

import asyncio
import dataclasses
import json
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2c_lib.sandbox.tokens import Tokens
from p2c_lib.sandbox.windows import Limit, Windows, throttle_text

__all__ = ["KINDS", "Faults", "Rule", "Rules", "cut", "error_response", "parse_rules", "part_refusal", "unauthorized"]

KINDS = ("latency", "throttle", "error", "html", "drop", "expire", "etag")
_LIMITS = ("requests", "execution", "concurrent", "resources")
_HTML = (
    "<!DOCTYPE html>\n<html><head><title>{status} - Bad gateway</title></head>\n"
    "<body><h2>Our services aren't available right now</h2>"
    "<p>We're working to restore all services as soon as possible. Please check back soon.</p></body></html>"
)


@dataclass(frozen=True)
class Rule:
    """One rule; the module says what each field means."""

    kind: str
    system: str | None = None
    method: str | None = None
    path: str = ""
    after: int = 0
    first: int | None = None
    every: int | None = None
    probability: float | None = None
    seed: int = 0
    part: bool = False  # True: for single operations inside a $batch, not for whole requests
    seconds: float = 0.0
    retry_after: int | None = None
    limit: Limit = "requests"
    status: int | None = None
    code: str = ""
    message: str = "An error has occurred."
    done: bool = False
    at: str = "body"
    entity: str | None = None
    key: Mapping[str, Any] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def parse_rules(raw: object) -> list[Rule]:
    """Read rules as JSON gives them.

    Args:
        raw: A list of objects, or one object.

    Returns:
        The rules in their order.

    Raises:
        ValueError: Unknown kinds, fields or values; all of them in one message.
    """
    known = {item.name: item for item in dataclasses.fields(Rule)}
    rules, problems = [], []
    for place, entry in enumerate(raw if isinstance(raw, list) else [raw]):
        if not isinstance(entry, dict):
            problems.append(f"[{place}]: a rule is an object, not {type(entry).__name__}")
            continue
        found = [f"no field {name!r}; known: {', '.join(known)}" for name in entry if name not in known]
        if entry.get("kind") not in KINDS:
            found.append(f"no kind {entry.get('kind')!r}; known: {', '.join(KINDS)}")
        if entry.get("limit", "requests") not in _LIMITS:
            found.append(f"no limit {entry['limit']!r}; known: {', '.join(_LIMITS)}")
        if entry.get("at", "body") not in ("before", "body", "answer"):
            found.append(f"no place {entry['at']!r} to drop at; known: before, body, answer")
        try:
            re.compile(str(entry.get("path", "")))
        except re.error as error:
            found.append(f"path: {error}")
        problems += [f"[{place}]: {problem}" for problem in found]
        if not found:
            # A throttle waits a second unless it says otherwise; null asks for an answer without the header.
            defaults: dict[str, Any] = {"retry_after": 1} if entry["kind"] == "throttle" else {}
            rules.append(Rule(**defaults | entry))
    if problems:
        raise ValueError("; ".join(problems))
    return rules


class _Counted:
    """A rule with how often it matched and fired."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.matched, self.fired = rule, 0, 0
        self._random = random.Random(rule.seed)

    def fires(self, system: str, method: str, target: str) -> bool:
        rule = self.rule
        if (rule.system or system) != system or (rule.method or method).upper() != method:
            return False
        if not re.search(rule.path, target):
            return False
        self.matched += 1
        turn = self.matched - rule.after
        is_hit = turn > 0 and (rule.first is None or turn <= rule.first) and (not rule.every or turn % rule.every == 0)
        if is_hit and rule.probability is not None:
            is_hit = self._random.random() < rule.probability
        self.fired += is_hit
        return is_hit


class Rules:
    """The rules in force at one service."""

    def __init__(self, system: str, file: Path | None = None) -> None:
        """Watch a file of rules.

        Args:
            system: ``"sales"`` or ``"fno"``.
            file: JSON file of rules for both services; need not exist.
        """
        self.system = system
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._from_file: list[_Counted] = []
        self._posted: list[_Counted] = []
        self.file_problem = ""

    def add(self, raw: object) -> None:
        """Add rules; raises ``ValueError`` for bad ones and adds none of them then."""
        self._posted += [_Counted(rule) for rule in parse_rules(raw)]

    def clear(self) -> None:
        """Forget all rules; those of the file stay away until the file changes."""
        self._refresh()
        self._posted, self._from_file = [], []

    def listing(self) -> list[dict[str, Any]]:
        """List the rules in force with ``matched`` and ``fired`` counts."""
        self._refresh()
        defaults = {item.name: item.default for item in dataclasses.fields(Rule)}
        return [
            {name: value for name, value in dataclasses.asdict(one.rule).items() if value and value != defaults[name]}
            | {"matched": one.matched, "fired": one.fired}
            for one in (*self._from_file, *self._posted)
        ]

    def hits(self, method: str, target: str, *, is_part: bool = False) -> list[Rule]:
        """Count a request against every rule and give those that fire.

        Args:
            method: HTTP method, upper case.
            target: Path with query, percent-decoded.
            is_part: True for one operation inside a batch.

        Returns:
            The rules that fire, in their order.
        """
        self._refresh()
        counted = [one for one in (*self._from_file, *self._posted) if one.rule.part == is_part]
        return [one.rule for one in counted if one.fires(self.system, method, target)]

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            status = self._file.stat()
        except FileNotFoundError:
            self._stamp, self._from_file = None, []
            return
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return
        self._stamp, self.file_problem = stamp, ""
        try:
            self._from_file = [_Counted(rule) for rule in parse_rules(json.loads(self._file.read_text("utf-8")))]
        except ValueError as error:  # a half-written file comes right with the next change
            self._from_file, self.file_problem = [], f"{self._file.name}: {error}"


class Faults:
    """The layer around a service: its tokens, its limits and the rules."""

    def __init__(
        self,
        app: ASGIApp,
        rules: Rules,
        *,
        tokens: Tokens | None = None,
        limits: Mapping[str, float] | None = None,
        touch: Callable[[str, Rule], None] | None = None,
    ) -> None:
        """Put the layer around an app.

        Args:
            app: The service.
            rules: Rules in force.
            tokens: Its tokens; None accepts everything.
            limits: Sizes of the per-user windows; None means no windows.
            touch: Changes the row of a URL path behind the client's back (for ``etag`` rules).
        """
        self.app, self.rules, self.tokens, self.limits = app, rules, tokens or Tokens(), limits
        self.windows = Windows(limits) if limits else None
        self._touch = touch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or spoil it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1") or None
        verdict = self.tokens.check(authorization)
        if verdict != "good":
            await _refuse(unauthorized(verdict), scope, receive, send)
            return
        if self.windows is None:
            await self._serve(scope, receive, send, authorization)
            return
        user = self.tokens.user(authorization)
        refusal = self.windows.enter(user)
        if refusal is not None:
            await _refuse(self._throttled(refusal.limit, refusal.retry_after), scope, receive, send)
            return
        started = time.monotonic()
        try:
            await self._serve(scope, receive, send, authorization)
        finally:
            self.windows.leave(user, time.monotonic() - started)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, authorization: str | None) -> None:
        query = scope.get("query_string", b"").decode("latin-1")
        target = unquote(scope["path"] + ("?" + query.replace("+", " ") if query else ""))
        scope["sandbox.rules"] = self.rules
        for rule in self.rules.hits(scope["method"], target):
            if rule.kind == "latency":
                await asyncio.sleep(rule.seconds)
            elif rule.kind == "etag":
                if self._touch is not None:
                    self._touch(scope["path"], rule)
            elif rule.kind == "drop":
                await self._drop(rule, scope, receive, send)
                return
            else:
                if rule.kind == "expire":
                    self.tokens.revoke(authorization)
                if rule.done:
                    await self.app(scope, receive, _Swallow())
                else:
                    await _drain(receive)
                await self.response(rule)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _drop(self, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        if rule.at == "before":
            await _drain(receive)
            await cut(send, is_flushed=False)
            return
        answer = _Swallow()
        await self.app(scope, receive, answer)
        if rule.at == "body" and answer.start is not None:
            headers = [(name, value) for name, value in answer.start["headers"] if name != b"content-length"]
            length = (b"content-length", str(max(len(answer.body), 1)).encode())  # an empty answer is cut short as well
            await send({**answer.start, "headers": [*headers, length]})
            await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
        await cut(send, is_flushed=rule.at == "body")

    def response(self, rule: Rule) -> Response:
        """Make the answer of a throttle, error, html or expire rule."""
        if rule.kind == "throttle":
            return self._throttled(rule.limit, rule.retry_after)
        if rule.kind == "expire":
            return unauthorized("expired")
        headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
        if rule.kind == "html":
            status = rule.status or 502
            return HTMLResponse(_HTML.format(status=status), status, headers)
        return error_response(rule.status or 503, rule.code, rule.message, headers)

    def _throttled(self, limit: Limit, retry_after: int | None) -> Response:
        code, message = throttle_text(self.rules.system, limit, self.limits or {})
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return error_response(429, code, message, headers)


class _Swallow:
    """A ``send`` that keeps an answer instead of sending it."""

    def __init__(self) -> None:
        self.start: Message | None = None
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message.get("body", b"")


def error_response(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Make an OData error answer: ``{"error": {"code", "message"}}``."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def unauthorized(verdict: str) -> Response:
    """Make a 401 without a body, as a gateway gives it."""
    detail = "" if verdict == "missing" else f', error="invalid_token", error_description="The token is {verdict}"'
    return Response(status_code=401, headers={"WWW-Authenticate": f'Bearer authorization_uri="/sandbox/token"{detail}'})


async def cut(send: Send, *, is_flushed: bool) -> None:
    """Close the connection under a running answer.

    Args:
        send: The server's own ``send``. ASGI has no way to hang up, but uvicorn's is a method of the object that
            holds the connection.
        is_flushed: True lets what was sent arrive first; False throws it away.

    Raises:
        ConnectionResetError: The server is another one; its answer breaks off too.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("cut by a fault rule")
    if is_flushed:
        transport.close()
    else:
        transport.abort()
    await asyncio.sleep(0.01)  # until the server has noticed; it would complain about an unfinished answer


async def _drain(receive: Receive) -> None:
    # A body left unread makes the server close the connection, and the client may never see the answer.
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            return


async def _refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    await _drain(receive)
    await response(scope, receive, send)


def part_refusal(rules: Iterable[Rule]) -> Rule | None:
    """Pick the first rule that answers for a batch operation: a throttle or an error."""
    return next((rule for rule in rules if rule.kind in ("throttle", "error")), None)
