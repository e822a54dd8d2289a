"""Bodies of ``$batch``: read the requests, write the responses; both services use it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from p2c_lib.errors import SandboxError

__all__ = ["ChangeSet", "MultipartError", "Part", "Reply", "parse_batch", "write_batch"]


class MultipartError(SandboxError):
    """The body is not a batch; the message is for the client."""


@dataclass(frozen=True)
class Part:
    """One request of a batch.

    Attributes:
        method: Upper case.
        url: As written: absolute, from the host's root, or relative to the service.
        headers: Of the inner request, by lower-case name.
        body: Its body without the line end before the boundary.
        content_id: Content-ID of the part's or of the request's headers.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    content_id: str | None


@dataclass(frozen=True)
class ChangeSet:
    """Requests that succeed or fail together."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Reply:
    """One response of a batch."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_id: str | None = None


def _boundary(content_type: str) -> bytes:
    match = re.search(r'boundary=(?:"([^"]+)"|([^\s;,]+))', content_type, re.IGNORECASE)
    if not content_type.lower().startswith("multipart/mixed") or match is None:
        raise MultipartError(f"Content-Type must be multipart/mixed with a boundary, not '{content_type[:100]}'.")
    return (match[1] or match[2]).encode()


def _headers(block: bytes) -> dict[str, str]:
    headers = {}
    for line in block.decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers


def _halves(block: bytes) -> tuple[bytes, bytes]:
    """Cut at the first empty line; CRLF and bare LF are both taken."""
    pieces = re.split(rb"\r?\n\r?\n", block, maxsplit=1)
    return pieces[0], pieces[1] if len(pieces) > 1 else b""


def _pieces(body: bytes, boundary: bytes) -> list[tuple[dict[str, str], bytes]]:
    # a boundary stands on a line of its own; the line end before it is no part of the content
    line = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|$)")
    pieces: list[tuple[dict[str, str], bytes]] = []
    start: int | None = None
    for match in line.finditer(body):
        if start is not None:
            block = re.sub(rb"^\r?\n", b"", body[start : match.start()], count=1)
            if block.startswith((b"\r\n", b"\n")):  # a part without headers
                pieces.append(({}, block.lstrip(b"\r\n")))
            else:
                head, rest = _halves(block)
                pieces.append((_headers(head), rest))
        if match[1]:
            return pieces
        start = match.end()
    raise MultipartError(f"The closing boundary '--{boundary.decode('utf-8', 'replace')}--' is missing.")


def _part(headers: Mapping[str, str], block: bytes) -> Part:
    if not headers.get("content-type", "").lower().startswith("application/http"):
        raise MultipartError("A part of a batch needs Content-Type: application/http.")
    head, body = _halves(block.lstrip(b"\r\n"))
    line, _, rest = head.partition(b"\n")
    words = line.decode("utf-8", "replace").strip().split(" ")
    if words[-1].upper().startswith("HTTP/"):
        words = words[:-1]
    if len(words) < 2 or not words[0].isalpha():
        raise MultipartError(f"A part of a batch must begin with a request line, not {line[:100]!r}.")
    # a URL with spaces that were not encoded is put together again
    url = " ".join(words[1:])
    inner = _headers(rest)
    return Part(words[0].upper(), url, inner, body, headers.get("content-id") or inner.get("content-id"))


def parse_batch(body: bytes, content_type: str, limit: int = 1000) -> list[Part | ChangeSet]:
    """Read a batch.

    Args:
        body: The body of the request.
        content_type: Its Content-Type with the boundary.
        limit: How many requests it may hold.

    Returns:
        Requests and change sets in their order.

    Raises:
        MultipartError: Broken, too long, a batch inside a batch, or a change set that reads.
    """
    items: list[Part | ChangeSet] = []
    for headers, block in _pieces(body, _boundary(content_type)):
        inner_type = headers.get("content-type", "")
        if not inner_type.lower().startswith("multipart/mixed"):
            items.append(_part(headers, block))
            continue
        parts = [_part(*piece) for piece in _pieces(block, _boundary(inner_type))]
        if any(part.method == "GET" for part in parts):
            raise MultipartError("A change set must not hold GET requests.")
        items.append(ChangeSet(tuple(parts)))
    total = sum(len(item.parts) if isinstance(item, ChangeSet) else 1 for item in items)
    if total > limit:
        raise MultipartError(f"A batch can hold {limit} operations at most; this one has {total}.")
    if any(part.url.split("?")[0].rstrip("/").endswith("$batch") for part in items if isinstance(part, Part)):
        raise MultipartError("A batch cannot be nested in a batch.")
    return items


def _one(reply: Reply) -> bytes:
    lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    if reply.content_id is not None:
        lines.append(f"Content-ID: {reply.content_id}")
    phrase = HTTPStatus(reply.status).phrase if reply.status in set(HTTPStatus) else "Unknown"
    lines += ["", f"HTTP/1.1 {reply.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + reply.body


def _join(pieces: Sequence[bytes], boundary: str) -> bytes:
    opening = f"--{boundary}\r\n".encode()
    return b"".join(opening + piece + b"\r\n" for piece in pieces) + f"--{boundary}--\r\n".encode()


def write_batch(replies: Sequence[Reply | Sequence[Reply]]) -> tuple[bytes, str]:
    """Write the responses of a batch.

    Args:
        replies: In the order of the requests; a sequence is a change set that succeeded.

    Returns:
        The body, and its Content-Type.
    """
    pieces = []
    for reply in replies:
        if isinstance(reply, Reply):
            pieces.append(_one(reply))
            continue
        inner = f"changesetresponse_{uuid.uuid4()}"
        head = f'Content-Type: multipart/mixed; boundary="{inner}"\r\n\r\n'.encode()
        pieces.append(head + _join([_one(one) for one in reply], inner))
    boundary = f"batchresponse_{uuid.uuid4()}"
    return _join(pieces, boundary), f"multipart/mixed; boundary={boundary}"
