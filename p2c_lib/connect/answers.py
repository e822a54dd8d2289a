"""What an answer of a service means: good, an error in words, or to be sent again."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

import httpx

from p2c_lib.connect.auth import UNTRUSTED, is_untrusted
from p2c_lib.connect.dialects import Dialect, Problem
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

__all__ = ["Again", "judge", "retry_after", "unreached"]


class Again(Exception):
    """This attempt may be repeated; ``error`` is what to raise when no time is left."""

    def __init__(
        self, error: ConnectError, wait_s: float | None = None, *, is_reached: bool = True, is_brief: bool = False
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_s = wait_s
        self.is_reached = is_reached
        self.is_brief = is_brief  # a few tries will do


def judge(response: httpx.Response, dialect: Dialect, root: str, what: str, *, is_safe: bool) -> None:
    """Raise what an answer means; return when it is good.

    Args:
        response: The answer.
        dialect: Of the service.
        root: Its root URL.
        what: The act in words, for error texts.
        is_safe: The request changes nothing.

    Raises:
        Again: It may be sent again.
        ConnectError: Or a child of it.
    """
    status, is_html = response.status_code, _is_html(response)
    if status < 300 and not is_html:
        return
    path = unquote(response.request.url.path)
    problem = None if is_html else dialect.explain(response.content)
    said = problem or Problem(_first_words(response))
    text = f"{what}: {said.message} [HTTP {status}{f', {said.code}' if said.code else ''}]"
    wait_s = retry_after(response.headers.get("Retry-After", ""))

    def fault(kind: type[ConnectError], words: str) -> ConnectError:
        return kind(words, status=status, code=said.code, url=path)

    if status == 429:
        wait = dialect.default_wait_s if wait_s is None else wait_s
        raise Again(fault(Throttled, text), wait)
    if not is_safe and (status == 503 and wait_s is not None):
        raise Again(fault(ServiceError, text), wait_s)  # it asks to come back, so it did nothing
    if not is_safe and (status in (408, 502, 504) or ((status >= 500 or status < 300) and problem is None)):
        lost = "; whether it was done is not known: look the row up before sending it again"
        raise fault(LostAnswer, text + lost)
    if status in (408, 502, 503, 504) or (is_safe and said.code in dialect.retried_codes):
        if is_safe:
            raise Again(fault(ServiceError, text), wait_s)
        raise fault(ServiceError, text)
    if is_safe and status == 500:
        # Mostly a mishap that is gone the next time; but a row that breaks the service does so always.
        raise Again(fault(ServiceError, text), wait_s, is_brief=True)
    if 300 <= status < 400:
        raise fault(
            ConnectError, f"{what}: the service answers with a redirect [HTTP {status}]; {right_url(dialect, root)}"
        )
    if status == 401:
        raise fault(SignInError, f"{text}; a fresh token was refused too: is this user known to {dialect.title}?")
    if is_html:
        words = f"{what}: HTML instead of JSON: {said.message} [HTTP {status}]"
        raise fault(ServiceError, f"{words}; {right_url(dialect, root)}")
    if status == 403:
        raise fault(PermissionDenied, f"{text}; grant that privilege to the signed-in user, or use another")
    if status == 404:
        hint = "" if problem else f"; {right_url(dialect, root)}"
        raise fault(NotFound, text + hint)
    if status == 412:
        raise fault(Conflict, text)
    raise fault(ServiceError if status >= 500 else ConnectError, text)


def unreached(error: httpx.TransportError, dialect: Dialect, root: str, path: str) -> ConnectError:
    """Say in words that nothing could be sent.

    Args:
        error: As httpx raises it.
        dialect: Of the service.
        root: Its root URL.
        path: What was asked for.

    Returns:
        The error, with what would be right.
    """
    reason = str(error) or type(error).__name__
    hint = UNTRUSTED if is_untrusted(error) else right_url(dialect, root)
    return ConnectError(f"{dialect.title}: cannot reach {root}: {reason}; {hint}", url=path)


def right_url(dialect: Dialect, root: str) -> str:
    """Ask in words whether the root URL is right."""
    example = "https://<org>.crm4.dynamics.com" if dialect.system == "sales" else "https://<env>.dynamics.com"
    return f"is {root} right? It must be the root of {dialect.title}, like {example}"


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
