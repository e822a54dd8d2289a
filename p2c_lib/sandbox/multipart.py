"""Bodies of ``$batch``: read the requests, write the responses; both services use it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from p2c_lib.errors import SandboxError

__all__ = ["ChangeSet", "MultipartError", "Part", "Reply", "parse_batch", "write_batch"]


_PHRASES = {int(status): status.phrase for status in HTTPStatus}
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")


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
    pieces = _EMPTY_LINE.split(block, maxsplit=1)
    return pieces[0], pieces[1] if len(pieces) > 1 else b""


_REST = re.compile(rb"(--)?[ \t]*(?=\r?\n|\Z)")
_LINE_END = re.compile(rb"\r?\n")


def _borders(body: bytes, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
    """Where boundaries begin and end, and whether they are the last one. One stands on a line of its own; the line end
    before it is no part of the content. (A pattern for each boundary would be compiled for each change set.)"""
    mark, at = b"--" + boundary, 0
    while (found := body.find(mark, at)) >= 0:
        at = found + len(mark)
        rest = _REST.match(body, at)
        if rest is None or (found and body[found - 1] != 10):  # a line end
            continue
        begin = max(found - 1, 0)
        yield begin - (body[begin - 1 : begin] == b"\r"), rest.end(), rest[1] is not None


def _pieces(body: bytes, boundary: bytes) -> list[tuple[dict[str, str], bytes]]:
    pieces: list[tuple[dict[str, str], bytes]] = []
    start: int | None = None
    for begin, end, is_last in _borders(body, boundary):
        if start is not None:
            first = _LINE_END.match(body, start, begin)
            block = body[first.end() if first else start : begin]
            if block.startswith((b"\r\n", b"\n")):  # a part without headers
                pieces.append(({}, block.lstrip(b"\r\n")))
            else:
                head, rest = _halves(block)
                pieces.append((_headers(head), rest))
        if is_last:
            return pieces
        start = end
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
    lines += ["", f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unknown')}"]
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
