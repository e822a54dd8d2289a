"""Faults on demand: an ASGI layer around a service that delays, refuses, breaks or loses what matches a rule.

A rule is a JSON object. It says which requests it is for (``system``, ``method``, ``path``: a regular expression
searched in path and query), which of those (``after`` n, only the ``first`` n, ``every`` n-th, with ``probability`` and
``seed``), and what happens (``kind`` and its own fields):

========  ==============================================================================================
latency   ``seconds`` of delay; further rules still apply. With ``row_seconds`` the request takes ``seconds`` and as
          much again for each row that it writes, the service's own work included
throttle  429, ``retry_after`` seconds (null: no such header), ``limit`` requests|execution|concurrent|resources
error     ``status`` (503), ``code``, ``message``, ``retry_after``; ``done``: the work is done all the same
html      a gateway's HTML page with ``status`` (502); ``done`` as above
drop      the connection is closed ``at`` "before" the work, in the middle of the "body" of the answer
          (default), or at the "answer": the work is done and not one byte arrives, nor does it for
          "body" when the answer has none
expire    401, and the token that was used stays expired
etag      the row of the URL (or ``entity`` and ``key``) changes just before the request is served
========  ==============================================================================================

Rules come from ``faults.json`` (read again when it changes) and from ``POST /sandbox/faults``.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2c_lib.sandbox.fault_rules import Rule, Rules
from p2c_lib.sandbox.tokens import Tokens
from p2c_lib.sandbox.windows import Limit, Windows, throttle_text

# What each row has once in a body that holds several: in a bulk action, or in a part of a batch.
_ROW = re.compile(rb'"@odata\.type" *:|HTTP/1\.1\r?\n')
_LONGEST = 20
_HTML = (
    "<!DOCTYPE html>\n<html><head><title>{status} - Bad gateway</title></head>\n"
    "<body><h2>Our services aren't available right now</h2>"
    "<p>We're working to restore all services as soon as possible. Please check back soon.</p></body></html>"
)


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
            if rule.kind == "latency" and rule.row_seconds:
                receive, send = _timed(rule, receive, send)
            elif rule.kind == "latency":
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
        if rule.at == "body" and answer.start is not None and answer.body:
            headers = [(name, value) for name, value in answer.start["headers"] if name != b"content-length"]
            length = (b"content-length", str(len(answer.body)).encode())
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


def _timed(rule: Rule, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Hold an answer back until the request has taken its time: a service as slow as the rule says, not slower."""
    began, rows, tail = time.monotonic(), 0, b""

    async def counting() -> Message:
        nonlocal rows, tail
        message = await receive()
        body = tail + message.get("body", b"")
        rows += len(_ROW.findall(body))
        tail = body[-_LONGEST:]  # a mark may be cut in two; one that is not cut is no longer in there
        for found in _ROW.finditer(body):
            tail = body[max(found.end(), len(body) - _LONGEST) :]
        return message

    async def late(message: Message) -> None:
        if message["type"] == "http.response.start":
            until = began + rule.seconds + max(rows, 1) * rule.row_seconds
            await asyncio.sleep(max(0.0, until - time.monotonic()))
        await send(message)

    return counting, late


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
