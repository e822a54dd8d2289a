"""Requests to one system, as plain functions that work from several threads and inside a notebook's running loop."""

from __future__ import annotations

import json
import ssl
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import httpx

from p2c_lib.config import Auth, Limits
from p2c_lib.connect.auth import Source, TokenCache, source_for
from p2c_lib.connect.dialects import Problem, dialect
from p2c_lib.connect.literals import query_string
from p2c_lib.connect.metadata import Metadata
from p2c_lib.connect.transport import Sender, Stats, new_http
from p2c_lib.errors import (
    ConfigError,
    ConnectError,
    LostAnswer,
    P2CError,
    PermissionDenied,
    ServiceError,
    SignInError,
    Throttled,
)

__all__ = ["Session", "is_for_all"]


def is_for_all(error: P2CError) -> bool:
    """Tell whether the next call would fare no better.

    Args:
        error: What a call met.

    Returns:
        True when nobody may in (no sign-in, no privilege, no allowance), or nobody answers.
    """
    is_out = isinstance(error, (SignInError, PermissionDenied, Throttled))
    return is_out or (isinstance(error, ConnectError) and error.status is None and not isinstance(error, LostAnswer))


class Session:
    """Requests to one system, from any thread. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        system: Literal["sales", "fno"],
        root: str,
        auth: Auth | None = None,
        limits: Limits | None = None,
        *,
        company: str | None = None,
        verify: bool = True,
        ca_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
        token_source: Source | None = None,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            system: ``"sales"`` or ``"fno"``.
            root: Root URL, without ``/api/data/v9.2`` or ``/data``.
            auth: How to sign in; azure-identity's default chain when None.
            limits: Page size, parallel requests, seconds.
            company: ``dataAreaId`` of F&O rows; None on Sales.
            verify: False trusts any certificate.
            ca_file: PEM file of the authorities to trust instead of the usual ones.
            transport: Stands in for the network (``httpx.MockTransport``).
            token_source: Stands in for sign-in.

        Raises:
            ConfigError: The authorities' file cannot be read.
        """
        self.system: Literal["sales", "fno"] = system
        self.dialect = dialect(system)
        self.root = root.rstrip("/")
        self.base = self.root + self.dialect.api
        self.company = company
        self.limits = limits or Limits()
        self.page_rows = min(self.limits.page_rows, self.dialect.max_page_rows)
        self.cache: dict[Any, Any] = {}
        """Small frames of referenced sets, kept by `pull` for the life of the client."""
        self._took = threading.local()
        self._metadata: Metadata | None = None
        self._metadata_lock = threading.Lock()
        trust = _trust(verify, ca_file)
        source = token_source or source_for(auth or Auth(), self.root)
        http = new_http(self.limits, self.root, trust, transport)
        self._sender = Sender(http, self.dialect, self.root, TokenCache(source), self.limits)
        self._end = weakref.finalize(self, self._sender.close)  # a client that nobody closes ends when it is collected

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.system!r}, {self.root!r}, company={self.company!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what still waits and close the connections, once what is on its way has its answer; may be repeated."""
        self._end()

    @property
    def stats(self) -> Stats:
        """Calls, repeats, seconds waited and bytes so far: a frozen snapshot."""
        return self._sender.stats

    # --- sending ----------------------------------------------------------------------------------------------

    def send_signed(
        self,
        method: str,
        url: str,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """Send one request to an address that the service signed itself (a blob); no token goes there.

        Args:
            method: HTTP verb.
            url: The address with its signature; kept out of error texts.
            what: The act in words, for error texts.
            headers: All headers beside the client's own.
            content: Body.

        Returns:
            The answer, whatever its status; it is not repeated.

        Raises:
            ConnectError: It could not be reached, or no whole answer came.
        """
        return self._sender.send_signed(httpx.Request(method, url, headers=headers, content=content), what)

    def post_rows(
        self, path: str, body: bytes, *, what: str, rows: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Post a body that is made already and holds many rows; it is not repeated when its answer is lost.

        Args:
            path: Below the API's root: ``$batch``, ``accounts/Microsoft.Dynamics.CRM.CreateMultiple``.
            body: As it goes out.
            what: What is done, in words, for error texts.
            rows: How many rows it writes, which the user's ceiling counts.
            headers: Headers beside the usual ones; JSON unless they say otherwise.

        Returns:
            The answer's body.

        Raises:
            LostAnswer: It was sent, and what of it was done is not known.
            ConnectError: Or a child of it.
        """
        return self._send("POST", path, what=what, headers=headers, body=body, rows=rows).content

    def take_seconds(self) -> float:
        """Give the seconds that this thread's calls took since it last asked, without those they waited to be sent."""
        seconds: float = getattr(self._took, "seconds", 0.0)
        self._took.seconds = 0.0
        return seconds

    def put_off(self, wait_s: float | None, said: Problem) -> None:
        """Keep all calls of this client back: a part of a batch was answered with 429.

        Args:
            wait_s: Seconds that it asks to wait (its Retry-After), None when it did not say.
            said: What it said.
        """
        self._sender.put_off(wait_s, said)

    def _send(
        self,
        method: str,
        path: str,
        *,
        what: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        rows: int | None = None,
        is_safe: bool = False,
    ) -> httpx.Response:
        rows = int(method != "GET") if rows is None else rows
        response = self._sender.send(
            method,
            self._url(path, params),
            _headers(headers, body),
            body,
            what=what,
            is_safe=is_safe or method == "GET",
            rows=rows,
        )
        self._add_seconds(response.extensions["took_s"])
        return response

    def _add_seconds(self, seconds: float) -> None:
        self._took.seconds = getattr(self._took, "seconds", 0.0) + seconds

    def _url(self, path: str, params: Mapping[str, str] | None) -> str:
        query = query_string(params or {})
        return f"{self.base}/{path}{'&' if '?' in path else '?'}{query}" if query else f"{self.base}/{path}"

    def _ask(self, url: str, what: str, headers: Mapping[str, str] | None = None) -> Future[httpx.Response]:
        """Read an address while the caller does other things."""
        future: Future[httpx.Response] = Future()
        sender = self._sender  # and not the client, which could not be collected while the answer is on its way

        def read() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(sender.send("GET", url, dict(headers or {}), None, what=what, is_safe=True))
            except BaseException as error:
                future.set_exception(error)

        # A daemon: an answer that nobody waits for any more must not keep the process from ending.
        threading.Thread(target=read, name=f"p2c-{self.system}", daemon=True).start()
        return future

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            said = json.loads(response.content, parse_float=Decimal)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            kind = ServiceError if response.request.method == "GET" else LostAnswer
            raise kind(
                f"{urlsplit(str(response.request.url)).path}: the answer is no JSON object; is {self.root} "
                f"the root of {self.dialect.title}?",
                status=response.status_code,
            )
        return said


def _headers(own: Mapping[str, str] | None, body: bytes | None) -> dict[str, str]:
    return {**({"Content-Type": "application/json"} if body is not None else {}), **(own or {})}


def _trust(verify: bool, ca_file: Path | None) -> bool | ssl.SSLContext:
    if not verify or ca_file is None:
        return verify
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:  # SSLError is one
        raise ConfigError(f"ca_file {ca_file}: cannot be read as PEM certificates: {error}") from None
