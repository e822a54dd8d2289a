"""One request to one service: token, patience with its limits, and its errors in words."""

from __future__ import annotations

import math
import random
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import unquote, urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay

from p2c_lib.config import Limits
from p2c_lib.connect.answers import Again, judge, retry_after, unreached
from p2c_lib.connect.auth import TokenCache
from p2c_lib.connect.dialects import Dialect, Problem, limit_of, named_of
from p2c_lib.errors import ConnectError, LostAnswer, Throttled
from p2c_lib.pace import Allowance, Limit, Named, Pace

__all__ = ["Sender", "Stats", "new_http"]

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


def new_http(
    limits: Limits, root: str, verify: bool | ssl.SSLContext, transport: httpx.BaseTransport | None
) -> httpx.Client:
    """Make the HTTP client of one service.

    Args:
        limits: Connections and seconds.
        root: Root URL; on loopback no proxy of the environment is used.
        verify: True, or an SSL context with the authorities to trust.
        transport: Stands in for the network in tests.

    Returns:
        A client without cookies (each server behind the balancer counts alone) that follows no redirects.
    """
    is_outside = urlsplit(root).hostname not in ("127.0.0.1", "localhost", "::1")
    return httpx.Client(
        verify=_usual_trust(is_outside) if verify is True else verify,
        transport=transport,
        trust_env=is_outside,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx.Timeout(limits.timeout_s),
        limits=httpx.Limits(max_connections=limits.parallel, max_keepalive_connections=limits.parallel),
        headers={"User-Agent": "p2c", "Accept-Encoding": "gzip, deflate"},
    )


@cache
def _usual_trust(trust_env: bool) -> ssl.SSLContext:
    """The authorities that httpx trusts by itself; read once a process, as that takes 25 ms."""
    return httpx.create_ssl_context(trust_env=trust_env)


class Sender:
    """Sends requests until they are answered or the budget is used up; from any thread, in that thread."""

    def __init__(self, http: httpx.Client, dialect: Dialect, root: str, tokens: TokenCache, limits: Limits):
        self._http = http
        self._dialect = dialect
        self._root = root
        self._tokens = tokens
        self._limits = limits
        # Built once: a look into httpx's headers takes 15 us, and a request would take a dozen of them.
        own = ("User-Agent", "Accept-Encoding")
        self._headers = {**{name: http.headers[name] for name in own}, **dialect.headers}
        self._timeout = {"timeout": http.timeout.as_dict()}
        self.pace = _pace(limits, dialect.allowance)
        self._turn = threading.Condition()  # guards what follows and the pace; told when a call has ended
        self._closed = threading.Event()
        self._running = 0
        self._is_reached = False
        self._calls, self._retries, self._waited_s, self._bytes = 0, 0, 0.0, 0

    @property
    def stats(self) -> Stats:
        """What was done so far."""
        with self._turn:
            return Stats(self._calls, self._retries, self._waited_s, self._bytes)

    def close(self) -> None:
        """End all waiting; the connections close when the last call under way has its answer."""
        with self._turn:
            self._closed.set()
            self._turn.notify_all()
            is_idle = not self._running
        if is_idle:
            self._http.close()

    @contextmanager
    def _open(self, what: str) -> Iterator[None]:
        """Keep the connections open for a call; one that is cut off under a call might read another's bytes."""
        with self._turn:
            if self._closed.is_set():
                raise ConnectError(f"{what}: this client is closed; connect again")
            self._running += 1
        try:
            yield
        finally:
            with self._turn:
                self._running -= 1
                is_last = not self._running and self._closed.is_set()
            if is_last:
                self._http.close()

    def send_signed(self, request: httpx.Request, what: str) -> httpx.Response:
        """Send one request as it is: without token, pace or repeats.

        Args:
            request: The request, to any host.
            what: The act in words, for error texts.

        Returns:
            The answer, whatever its status.

        Raises:
            ConnectError: This client is closed, or no whole answer came.
        """
        request.extensions |= self._timeout
        with self._open(what):
            try:
                return self._http.send(request)
            except httpx.HTTPError as error:
                raise ConnectError(f"{what}: no whole answer from {request.url.host}: {type(error).__name__}") from None

    def send(
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

        def pause(seconds: float) -> None:
            if self._closed.wait(seconds):
                raise ConnectError(f"{what}: this client was closed before it was sent again")

        retrying = Retrying(
            retry=retry_if_exception_type(Again),
            wait=self._pause,
            stop=self._is_enough,
            sleep=pause,
            before_sleep=self._note,
            reraise=True,
        )
        begun = time.monotonic()
        with self._open(what):
            try:
                return retrying(self._once, method, url, headers, content, what, is_safe, rows)
            except Again as last:
                raise self._final(last, time.monotonic() - begun) from None

    def _once(
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
            token = self._tokens.text(self._http)
            # build_request would do, but only `send` of a whole Request leaves the next link's text as it came.
            request = httpx.Request(
                method,
                url,
                headers={**self._headers, **headers, "Authorization": f"Bearer {token}"},
                content=content,
                extensions=dict(self._timeout),
            )
            response = self._paced(request, what, is_safe, rows)
            if response.status_code == 401 and not renewed:
                self._tokens.drop(token)
                continue
            break
        judge(response, self._dialect, self._root, what, is_safe=is_safe)
        return response

    def _paced(self, request: httpx.Request, what: str, is_safe: bool, rows: int) -> httpx.Response:
        """Wait for this call's turn, make it, and tell the pace what became of it."""
        began = self._turn_of(what, rows)
        refusal: tuple[float, Limit, Named | None] | None = None
        hint, size = None, 0
        try:
            response = self._exchange(request, what, is_safe)
            response.extensions["took_s"] = time.monotonic() - began
            size, refusal, hint = len(response.content), self._refusal(response), _hint(response)
        finally:
            kind = f"{request.method} {request.url.path.partition('(')[0]}"
            with self._turn:
                now = time.monotonic()
                self._bytes += size
                if refusal:
                    wait_s, limit, named = refusal
                    self.pace.refused(now, wait_s, limit, began=began, named=named)
                else:
                    self.pace.leave(now, now - began, kind=kind, rows=rows or 1, hint=hint)
                self._turn.notify()
        return response

    def _turn_of(self, what: str, rows: int) -> float:
        """Wait until a call may go; gives the moment."""
        asked = time.monotonic()
        with self._turn:
            while (wait_s := self.pace.wait_s(time.monotonic())) > 0:
                spent_s = time.monotonic() - asked
                if math.isfinite(wait_s) and spent_s + wait_s > max(self._limits.budget_s, 1.0):
                    raise Throttled(
                        f"{what}: not sent: what this user may spend is spent for {wait_s:.0f} s more; budget: "
                        f"{self._limits.budget_s:g} s; raise limits.budget_s, or run when fewer others do",
                        waited_s=spent_s,
                    )
                if self._closed.is_set():  # before each wait: nobody wakes who begins to wait later
                    raise ConnectError(f"{what}: this client was closed before it was sent")
                self._turn.wait(wait_s if math.isfinite(wait_s) else None)
            began = time.monotonic()
            self.pace.enter(began, rows)
            self._calls += 1
            self._turn.notify()  # there may be room for one more: each wakes the next, and not one all
        return began

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
        with self._turn:
            self.pace.refused(time.monotonic(), wait_s, limit_of(said), named=named_of(said))

    def _exchange(self, request: httpx.Request, what: str, is_safe: bool) -> httpx.Response:
        try:
            response = self._http.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            # Nothing was sent yet, so even a write may be tried again.
            raise Again(unreached(error, self._dialect, self._root, _path(request)), is_reached=False) from None
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise ConnectError(f"{what}: the request cannot be sent: {error}", url=_path(request)) from None
        except httpx.RequestError as error:
            reason = f"{type(error).__name__}{f' ({error})' if str(error) else ''}"
            if not is_safe:
                raise LostAnswer(
                    f"{what}: sent, but its answer was lost: {reason}; look the row up before sending it again",
                    url=_path(request),
                ) from None
            raise Again(
                ConnectError(f"{what}: no whole answer from {self._root}: {reason}", url=_path(request))
            ) from None
        self._is_reached = True
        return response

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
        with self._turn:
            self._retries += 1
            self._waited_s += state.upcoming_sleep

    def _final(self, last: Again, spent_s: float) -> ConnectError:
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


def _path(request: httpx.Request) -> str:
    return unquote(request.url.path)


def _hint(response: httpx.Response) -> int | None:
    """Calls at once that Sales advises with every answer."""
    text = response.headers.get("x-ms-dop-hint", "")
    return int(text) if text.isdigit() and int(text) > 0 else None


def _failure(state: RetryCallState) -> Again:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Again)  # the only class that is repeated
    return error
