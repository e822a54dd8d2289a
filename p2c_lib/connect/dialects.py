"""What differs between the two services: paths, headers, page limits, next links and error texts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from p2c_lib.errors import ConnectError
from p2c_lib.pace import Allowance, Limit, Named

__all__ = ["FNO", "SALES", "Dialect", "Problem", "dialect", "limit_of", "named_of"]

System = Literal["sales", "fno"]
_SIZE = re.compile(r"limit of ([\d.,\s]*\d)\s*(milliseconds|seconds)?\s*over (?:the )?time window of (\d+) seconds")
_WHOLE = re.compile(r"\d+|\d{1,3}(?:[.,\s]\d{3})+")


@dataclass(frozen=True)
class Problem:
    """An error answer in the service's own words; ``code`` is empty when it gave none."""

    message: str
    code: str = ""


@dataclass(frozen=True)
class Dialect:
    """Constants and functions of one service.

    ``follow`` turns a next link into the address to call, or refuses it: a token goes to its own host only.
    ``explain`` reads an error body, None when it is not the service's own. ``allowance`` is what a user may spend as
    far as it is documented.
    """

    system: System
    title: str
    api: str
    headers: Mapping[str, str]
    max_page_rows: int
    default_wait_s: float
    follow: Callable[[str, str, str], str]
    explain: Callable[[bytes], Problem | None]
    retried_codes: frozenset[str] = frozenset()
    params: Mapping[str, str] = field(default_factory=dict)
    allowance: Allowance = field(default_factory=Allowance)


def _error(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except ValueError:  # UnicodeDecodeError is one
        return None
    error = said.get("error") if isinstance(said, dict) else None
    return error if isinstance(error, dict) else None


def _explain_sales(body: bytes) -> Problem | None:
    error = _error(body)
    return None if error is None else Problem(str(error.get("message") or "no message"), str(error.get("code") or ""))


def _explain_fno(body: bytes) -> Problem | None:
    """F&O's outer message only says that an error has occurred; the reason is inside."""
    error = _error(body)
    if error is None:
        return None
    inner = error.get("innererror")
    while isinstance(inner, dict) and isinstance(inner.get("internalexception"), dict):
        inner = inner["internalexception"]
    reason = inner.get("message") if isinstance(inner, dict) else None
    return Problem(str(reason or error.get("message") or "no message"), str(error.get("code") or ""))


def _joined(link: str, current: str) -> httpx.URL | None:
    """Resolve a link with the parser that will send it, so that both see one host; None for what is no address."""
    try:
        url = httpx.URL(current).join(link)
    except (httpx.InvalidURL, ValueError):
        return None
    return url if not url.userinfo and ".." not in url.path.split("/") else None


def _follow_same_host(link: str, current: str, base: str) -> str:
    """Dataverse repeats its own address; anything else is refused."""
    url, own = _joined(link, current), httpx.URL(base)
    same = url is not None and (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port)
    if url is None or not same or not url.path.startswith(f"{own.path}/"):
        raise ConnectError(
            f"a next link leads away from {base}, so it was not followed and no token was sent there; "
            "set the profile's URL to the address that the service gives in its next links"
        )
    return str(url)


def _follow_own_base(link: str, current: str, base: str) -> str:
    """F&O may name an inner host in its links: the part behind /data/ is kept, our own base stands in front."""
    url = _joined(link, current)
    before, found, tail = str(url or "").partition("/data/")
    if not found or not tail or "?" in before:
        raise ConnectError(f"a next link holds no /data/ path, so it was not followed (expected {base}/...)")
    return f"{base}/{tail}"


SALES = Dialect(
    system="sales",
    title="Dynamics 365 Sales (Dataverse)",
    api="/api/data/v9.2",
    headers={"Accept": "application/json", "OData-MaxVersion": "4.0", "OData-Version": "4.0"},
    max_page_rows=5000,
    default_wait_s=2.0,
    follow=_follow_same_host,
    explain=_explain_sales,
    # SQL deadlock and timeout: the transaction was rolled back, a read may be sent again.
    retried_codes=frozenset({"0x80044150", "0x80044151"}),
    params={},
    allowance=Allowance(calls=6000, execution_s=1200),
)

FNO = Dialect(
    system="fno",
    title="Dynamics 365 Finance & Operations",
    api="/data",
    headers={"Accept": "application/json", "OData-MaxVersion": "4.0", "OData-Version": "4.0"},
    max_page_rows=10_000,
    default_wait_s=30.0,
    follow=_follow_own_base,
    explain=_explain_fno,
    params={"cross-company": "true"},
)


def limit_of(said: Problem) -> Limit:
    """Tell which count was full, by the words of a 429.

    Args:
        said: What the service said.

    Returns:
        ``resources`` where it does not name one of the others.
    """
    words = said.message.casefold()
    if "number of requests" in words:
        return "requests"
    if "execution time" in words:
        return "execution"
    return "concurrent" if "concurrent requests" in words else "resources"


def named_of(said: Problem) -> Named | None:
    """Read how large the count is that was full, as both services name it in a 429.

    Args:
        said: What the service said: ``... exceeded limit of 1,200,000 milliseconds over time window of 300 seconds``.

    Returns:
        Calls or seconds, and the seconds of the window; None where it names none.
    """
    found = _SIZE.search(said.message.casefold())
    if found is None or not _WHOLE.fullmatch(found[1]):
        return None
    size = int(re.sub(r"\D", "", found[1])) / (1000 if found[2] == "milliseconds" else 1)
    return Named(size, float(found[3])) if size and int(found[3]) else None


def dialect(system: System) -> Dialect:
    """Give the dialect of a system.

    Args:
        system: ``"sales"`` or ``"fno"``.

    Returns:
        Its dialect.
    """
    return {"sales": SALES, "fno": FNO}[system]
