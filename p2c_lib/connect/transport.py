"""One request to one service: token, patience with its limits, and its errors in words."""

from __future__ import annotations

import math
import random
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import unquote, urlsplit

import anyio
import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay

from p2c_lib.config import Limits
from p2c_lib.connect.auth import UNTRUSTED, TokenCache, is_untrusted
from p2c_lib.connect.dialects import Dialect, Problem, limit_of, named_of
from p2c_lib.errors import (
    Conflict,
    ConnectError,
    LostAnswer,
    NotFound,
    PermissionDenied,
    ServiceError,
    SignInError,
    Throttled,
)
from p2c_lib.pace import Allowance, Limit, Named, Pace

__all__ = ["Sender", "Stats", "new_http", "retry_after"]

FIRST_TRIES = 3
"""Tries to reach a service that never answered yet, and tries of a read that is answered with 500: a wrong address or
a broken row should be told soon, not after the budget."""
LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class Stats:
    """What a client did so far: requests sent, of these repeats, seconds waited to repeat, bytes of answers."""

    calls: int = 0
    retries: int = 0
    waited_s: float = 0.0
    bytes: int = 0


class _Again(Exception):
    """This attempt may be repeated; ``error`` is what to raise when no time is left."""

    def __init__(
        self, error: ConnectError, wait_s: float | None = None, *, is_reached: bool = True, is_brief: bool = False
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_s = wait_s
        self.is_reached = is_reached
        self.is_brief = is_brief  # a few tries will do


def new_http(
    limits: Limits, root: str, verify: bool | ssl.SSLContext, transport: httpx.AsyncBaseTransport | None
) -> httpx.AsyncClient:
    """Make the HTTP client of one service.

    Args:
        limits: Connections and seconds.
        root: Root URL; on loopback no proxy of the environment is used.
        verify: True, or an SSL context with the authorities to trust.
        transport: Stands in for the network in tests.

    Returns:
        A client without cookies (each server behind the balancer counts alone) that follows no redirects.
    """
    host = urlsplit(root).hostname or ""
    return httpx.AsyncClient(
        verify=verify,
        transport=transport,
        trust_env=host not in ("127.0.0.1", "localhost", "::1"),
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx.Timeout(limits.timeout_s),
        limits=httpx.Limits(max_connections=limits.parallel, max_keepalive_connections=limits.parallel),
        headers={"User-Agent": "p2c", "Accept-Encoding": "gzip, deflate"},
    )


class Sender:
    """Sends requests until they are answered or the budget is used up. Lives in one event loop."""

    def __init__(self, http: httpx.AsyncClient, dialect: Dialect, root: str, tokens: TokenCache, limits: Limits):
        self._http = http
        self._dialect = dialect
        self._root = root
        self._tokens = tokens
        self._limits = limits
        self.pace = _pace(limits, dialect.allowance)
        self._turn = anyio.Event()  # set, and made anew, when a call has ended
        self._is_reached = False
        self.stats = Stats()

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        *,
        what: str,
        is_safe: bool,
        rows: int = 0,
    ) -> httpx.Response:
        """Send a request, repeating it where that cannot do harm.

        Args:
            method: HTTP verb.
            url: Absolute address on the service's own host.
            headers: Headers beside the dialect's.
            content: Body.
            what: Entity and act in words, for error texts.
            is_safe: Sending it twice is the same as sending it once (a read).
            rows: Rows that it writes.

        Returns:
            The answer, its status below 300 and its body whole.

        Raises:
            ConnectError: Or a child of it that says what went wrong.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            wait=self._pause,
            stop=self._is_enough,
            sleep=anyio.sleep,
            before_sleep=self._note,
            reraise=True,
        )
        begun = time.monotonic()
        try:
            async for attempt in retrying:
                with attempt:
                    return await self._once(method, url, headers, content, what, is_safe, rows)
        except _Again as last:
            raise self._final(last, time.monotonic() - begun) from None
        raise AssertionError("tenacity always tries once")

    async def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        what: str,
        is_safe: bool,
        rows: int,
    ) -> httpx.Response:
        for renewed in (False, True):
            token = await self._tokens.text(self._http)
            request = httpx.Request(
                method,
                url,
                headers={**self._dialect.headers, **headers, "Authorization": f"Bearer {token}"},
                content=content,
                extensions={"timeout": self._http.timeout.as_dict()},
            )
            response = await self._paced(request, what, is_safe, rows)
            if response.status_code == 401 and not renewed:
                await self._tokens.drop(token)
                continue
            break
        self._judge(response, what, is_safe)
        return response

    async def _paced(self, request: httpx.Request, what: str, is_safe: bool, rows: int) -> httpx.Response:
        """Wait for this call's turn, make it, and tell the pace what became of it."""
        asked = time.monotonic()
        while (wait_s := self.pace.wait_s(time.monotonic())) > 0:
            spent_s = time.monotonic() - asked
            if math.isfinite(wait_s) and spent_s + wait_s > max(self._limits.budget_s, 1.0):
                raise Throttled(
                    f"{what}: not sent: what this user may spend is spent for {wait_s:.0f} s more; budget: "
                    f"{self._limits.budget_s:g} s; raise limits.budget_s, or run when fewer others do",
                    waited_s=spent_s,
                )
            with anyio.move_on_after(wait_s if math.isfinite(wait_s) else None):
                await self._turn.wait()
        began = time.monotonic()
        self.pace.enter(began, rows)
        refusal: tuple[float, Limit, Named | None] | None = None
        hint: int | None = None
        try:
            response = await self._exchange(request, what, is_safe)
            response.extensions["took_s"] = time.monotonic() - began
            refusal, hint = self._refusal(response), _hint(response)
        finally:
            now = time.monotonic()
            if refusal:
                wait_s, limit, named = refusal
                self.pace.refused(now, wait_s, limit, began=began, named=named)
            else:
                kind = f"{request.method} {request.url.path.partition('(')[0]}"
                self.pace.leave(now, now - began, kind=kind, rows=rows or 1, hint=hint)
            self._turn.set()
            self._turn = anyio.Event()
        return response

    def _refusal(self, response: httpx.Response) -> tuple[float, Limit, Named | None] | None:
        """Seconds to stay away, the count that was full and its size, where the answer is a 429."""
        if response.status_code != 429:
            return None
        said = self._dialect.explain(response.content) or Problem("")
        wait_s = retry_after(response.headers.get("Retry-After", ""))
        wait_s = self._dialect.default_wait_s if wait_s is None else wait_s
        # Nobody waits for longer than the budget: this call fails, and who comes after it may try.
        return wait_s if wait_s <= self._limits.budget_s else 0.0, limit_of(said), named_of(said)

    def put_off(self, wait_s: float | None, said: Problem) -> None:
        """Close the door for all: a part of a batch was answered with 429.

        Args:
            wait_s: Its Retry-After.
            said: What it said.
        """
        wait_s = self._dialect.default_wait_s if wait_s is None else wait_s
        self.pace.refused(time.monotonic(), wait_s, limit_of(said), named=named_of(said))

    async def _exchange(self, request: httpx.Request, what: str, is_safe: bool) -> httpx.Response:
        path = unquote(request.url.path)
        self.stats = _plus(self.stats, calls=1)
        # build_request would do, but only `send` of a whole Request leaves the next link's text as it came.
        request.headers.setdefault("User-Agent", self._http.headers["User-Agent"])
        request.headers.setdefault("Accept-Encoding", self._http.headers["Accept-Encoding"])
        try:
            response = await self._http.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            # Nothing was sent yet, so even a write may be tried again.
            raise _Again(self._unreached(error, path), is_reached=False) from None
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise ConnectError(f"{what}: the request cannot be sent: {error}", url=path) from None
        except httpx.RequestError as error:
            reason = f"{type(error).__name__}{f' ({error})' if str(error) else ''}"
            if not is_safe:
                raise LostAnswer(
                    f"{what}: sent, but its answer was lost: {reason}; look the row up before sending it again",
                    url=path,
                ) from None
            raise _Again(ConnectError(f"{what}: no whole answer from {self._root}: {reason}", url=path)) from None
        self._is_reached = True
        self.stats = _plus(self.stats, bytes=len(response.content))
        return response

    def _judge(self, response: httpx.Response, what: str, is_safe: bool) -> None:
        """Raise what an answer means; return when it is good."""
        status, path = response.status_code, unquote(response.request.url.path)
        is_html = _is_html(response)
        if status < 300 and not is_html:
            return
        problem = None if is_html else self._dialect.explain(response.content)
        said = problem or Problem(_first_words(response))
        text = f"{what}: {said.message} [HTTP {status}{f', {said.code}' if said.code else ''}]"
        wait_s = retry_after(response.headers.get("Retry-After", ""))

        def fault(kind: type[ConnectError], words: str) -> ConnectError:
            return kind(words, status=status, code=said.code, url=path)

        if status == 429:
            wait = self._dialect.default_wait_s if wait_s is None else wait_s
            raise _Again(fault(Throttled, text), wait)
        if not is_safe and (status == 503 and wait_s is not None):
            raise _Again(fault(ServiceError, text), wait_s)  # it asks to come back, so it did nothing
        if not is_safe and (status in (408, 502, 504) or ((status >= 500 or status < 300) and problem is None)):
            lost = "; whether it was done is not known: look the row up before sending it again"
            raise fault(LostAnswer, text + lost)
        if status in (408, 502, 503, 504) or (is_safe and said.code in self._dialect.retried_codes):
            if is_safe:
                raise _Again(fault(ServiceError, text), wait_s)
            raise fault(ServiceError, text)
        if is_safe and status == 500:
            # Mostly a mishap that is gone the next time; but a row that breaks the service does so always.
            raise _Again(fault(ServiceError, text), wait_s, is_brief=True)
        if 300 <= status < 400:
            raise fault(
                ConnectError, f"{what}: the service answers with a redirect [HTTP {status}]; {self._right_url()}"
            )
        if status == 401:
            raise fault(
                SignInError, f"{text}; a fresh token was refused too: is this user known to {self._dialect.title}?"
            )
        if is_html:
            words = f"{what}: HTML instead of JSON: {said.message} [HTTP {status}]"
            raise fault(ServiceError, f"{words}; {self._right_url()}")
        if status == 403:
            raise fault(PermissionDenied, f"{text}; grant that privilege to the signed-in user, or use another")
        if status == 404:
            hint = "" if problem else f"; {self._right_url()}"
            raise fault(NotFound, text + hint)
        if status == 412:
            raise fault(Conflict, text)
        raise fault(ServiceError if status >= 500 else ConnectError, text)

    def _unreached(self, error: httpx.TransportError, path: str) -> ConnectError:
        reason = str(error) or type(error).__name__
        hint = UNTRUSTED if is_untrusted(error) else self._right_url()
        return ConnectError(f"{self._dialect.title}: cannot reach {self._root}: {reason}; {hint}", url=path)

    def _right_url(self) -> str:
        example = "https://<org>.crm4.dynamics.com" if self._dialect.system == "sales" else "https://<env>.dynamics.com"
        return f"is {self._root} right? It must be the root of {self._dialect.title}, like {example}"

    # --- patience ---------------------------------------------------------------------------------------------

    def _pause(self, state: RetryCallState) -> float:
        again = _failure(state)
        if again.wait_s is not None:
            # A little apart, so that requests told to wait together do not come back together.
            return again.wait_s + random.uniform(0, min(1.0, 0.1 * again.wait_s))
        return random.uniform(0.5, 1.0) * min(LONGEST_PAUSE_S, 0.5 * 2.0 ** (state.attempt_number - 1))

    def _is_enough(self, state: RetryCallState) -> bool:
        again = _failure(state)
        is_brief = again.is_brief or not (again.is_reached or self._is_reached)
        if is_brief and state.attempt_number >= FIRST_TRIES:
            return True
        return stop_before_delay(self._limits.budget_s)(state)

    def _note(self, state: RetryCallState) -> None:
        self.stats = _plus(self.stats, retries=1, waited_s=state.upcoming_sleep)

    def _final(self, last: _Again, spent_s: float) -> ConnectError:
        error = last.error
        if isinstance(error, Throttled):
            asked = f"it asks to wait {last.wait_s:g} s more" if last.wait_s is not None else "it still refuses"
            error.waited_s = spent_s
            error.args = (
                f"{error}; waited {spent_s:.1f} s of the {self._limits.budget_s:g} s budget, {asked}: "
                "lower limits.parallel, raise limits.budget_s, or run when fewer others do",
            )
        elif last.is_brief:
            error.args = (f"{error}; the same {FIRST_TRIES} times",)
        elif last.is_reached:
            error.args = (f"{error}; given up after {spent_s:.1f} s (limits.budget_s = {self._limits.budget_s:g})",)
        return error


def _pace(limits: Limits, documented: Allowance) -> Pace:
    given = Allowance(
        limits.window_calls or documented.calls,
        limits.window_execution_s or documented.execution_s,
        limits.window_s,
        documented.at_once,
    )
    return Pace(limits.parallel, given, limits.rows_per_second)


def _hint(response: httpx.Response) -> int | None:
    """Calls at once that Sales advises with every answer."""
    text = response.headers.get("x-ms-dop-hint", "")
    return int(text) if text.isdigit() and int(text) > 0 else None


def _failure(state: RetryCallState) -> _Again:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _Again)  # the only class that is repeated
    return error


def _plus(stats: Stats, *, calls: int = 0, retries: int = 0, waited_s: float = 0.0, bytes: int = 0) -> Stats:
    return Stats(stats.calls + calls, stats.retries + retries, stats.waited_s + waited_s, stats.bytes + bytes)


def retry_after(text: str) -> float | None:
    """Read a Retry-After header.

    Args:
        text: A number of seconds or an HTTP date.

    Returns:
        Seconds from now; None for a text that is neither.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _is_html(response: httpx.Response) -> bool:
    head = response.content[:200].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    kind = response.headers.get("Content-Type", "").lower()
    return "text/html" in kind or head.startswith((b"<!doctype html", b"<html"))


def _first_words(response: httpx.Response) -> str:
    """The first words of a body that is not the service's own JSON, tags taken out."""
    text = response.content[:4000].decode("utf-8", "replace")
    text = re.sub(r"(?is)<(script|style).*?(</\1>|\Z)|<[^>]*>", " ", text)
    return " ".join(text.split())[:160] or response.reason_phrase or "empty answer"
