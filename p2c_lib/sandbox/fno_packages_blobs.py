"""The blob storage of data packages: write addresses with a signature that ends, block blobs, Azure's own refusals.

A real system hands out addresses of another host; here they are on the same port, below ``/dmf/``, without a token.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response

ROUTE = "/dmf/"
_VERSION = "2021-08-06"


class BlobError(Exception):
    """A refusal in Azure's words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep the HTTP status, Azure's error code, and a sentence."""
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message

    def response(self) -> Response:
        """Make the answer: XML, and the code in a header too."""
        body = (
            '\ufeff<?xml version="1.0" encoding="utf-8"?><Error>'
            f"<Code>{self.code}</Code><Message>{escape(self.message)}</Message></Error>"
        )
        return Response(body.encode(), self.status, {"x-ms-error-code": self.code}, "application/xml")


class Blobs:
    """Blobs by name, in a folder; who has a signed address may use it until it ends."""

    def __init__(self, folder: Path, lifetime_s: float, clock: Callable[[], float] = time.time) -> None:
        """Use a folder.

        Args:
            folder: Made when the first blob comes.
            lifetime_s: Seconds that an address is good for.
            clock: Seconds since 1970; tests set their own.
        """
        self.folder, self.lifetime_s, self.clock = folder, lifetime_s, clock
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()

    # --- addresses ------------------------------------------------------------------------------------------------

    def url(self, root: str, name: str, rights: str = "rw") -> str:
        """Sign an address.

        Args:
            root: ``https://host``.
            name: Name of the blob; need not exist.
            rights: ``r``, ``w`` or both.

        Returns:
            The address with its signature.
        """
        ends = self.clock() + self.lifetime_s
        query = {
            "sv": _VERSION,
            "se": datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "sr": "b",
            "sp": rights,
        }
        return (
            f"{root}{ROUTE}{quote(name, safe='')}?{urlencode({**query, 'sig': self._sign(name, query['se'], rights)})}"
        )

    def _sign(self, name: str, ends: str, rights: str) -> str:
        text = f"{rights}\n{ends}\n/dmf/{name}\n{_VERSION}".encode()
        return base64.b64encode(hmac.digest(self._secret, text, "sha256")).decode()

    def check(self, name: str, query: str, right: str) -> None:
        """Check the signature of an address.

        Args:
            name: Name of the blob.
            query: The address' query.
            right: ``r`` or ``w``.

        Raises:
            BlobError: 403: not signed, signed for something else, or ended.
        """
        said = {key: values[0] for key, values in parse_qs(query).items()}
        ends, rights = said.get("se", ""), said.get("sp", "")
        refused = "Server failed to authenticate the request. Make sure the value of Authorization header is formed "
        refused += "correctly including the signature."
        if not hmac.compare_digest(said.get("sig", ""), self._sign(name, ends, rights)):
            raise BlobError(403, "AuthenticationFailed", refused)
        if datetime.fromisoformat(ends).timestamp() < self.clock():
            raise BlobError(403, "AuthenticationFailed", f"{refused} Signature not valid: the time {ends} is over.")
        if right not in rights:
            message = "This request is not authorized to perform this operation using this permission."
            raise BlobError(403, "AuthorizationPermissionMismatch", message)

    def fetch(self, address: str) -> Path:
        """Find the blob of a signed address, as the service itself does when a package is imported.

        Args:
            address: As `url` made it.

        Returns:
            The blob's file.

        Raises:
            BlobError: 403 for the signature, 404 when there is no such blob or the address is not of this storage.
        """
        parts = urlsplit(address)
        name = unquote(parts.path.removeprefix(ROUTE))
        if not parts.path.startswith(ROUTE):
            raise BlobError(404, "ResourceNotFound", "The specified resource does not exist.")
        self.check(name, parts.query, "r")
        return self.find(name)

    # --- content --------------------------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        """The file of a blob, which need not exist; no name leads out of the folder."""
        return self.folder / hashlib.sha256(name.encode()).hexdigest()

    def find(self, name: str) -> Path:
        """The file of a blob that exists; raises `BlobError` 404."""
        path = self.path(name)
        if not path.is_file():
            raise BlobError(404, "BlobNotFound", "The specified blob does not exist.")
        return path

    def new_file(self) -> Path:
        """A name for a file that becomes a blob or a block when it is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{secrets.token_hex(16)}.part"

    def put(self, name: str, part: Path) -> None:
        """Make a whole file a blob, in the place of one of the same name."""
        part.replace(self.path(name))

    def put_block(self, name: str, block: str, part: Path) -> None:
        """Keep a block until a list names it."""
        part.replace(self._block(name, block))

    def put_list(self, name: str, listing: bytes) -> None:
        """Put blocks together to a blob, in the order of an XML list.

        Raises:
            BlobError: 400: no such list, or a block that was never sent.
        """
        try:
            blocks = [one.text or "" for one in ElementTree.fromstring(listing)]
        except ElementTree.ParseError as error:
            raise BlobError(
                400, "InvalidXmlDocument", f"The specified XML is not syntactically valid: {error}"
            ) from None
        files = [self._block(name, block) for block in blocks]
        if not all(file.is_file() for file in files):
            raise BlobError(400, "InvalidBlockList", "The specified block list is invalid.")
        whole = self.new_file()
        with self._lock, whole.open("wb") as to:
            for file in files:
                with file.open("rb") as source:
                    shutil.copyfileobj(source, to)
        self.put(name, whole)

    def _block(self, name: str, block: str) -> Path:
        return self.folder / hashlib.sha256(f"{name}\n{block}".encode()).hexdigest()

    # --- over HTTP ------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        """Answer a request for a blob: PUT (whole, a block, a list of blocks), GET and HEAD."""
        name = request.path_params["name"]
        query = request.scope["query_string"].decode("latin-1")
        is_write = request.method == "PUT"
        try:
            self.check(name, query, "w" if is_write else "r")
            if not is_write:
                return FileResponse(self.find(name), media_type="application/octet-stream")
            return await self._put(request, name)
        except BlobError as error:
            with suppress(ClientDisconnect):
                async for _ in request.stream():  # a body left unread would break the connection under the answer
                    pass
            return error.response()

    async def _put(self, request: Request, name: str) -> Response:
        what = request.query_params.get("comp", "")
        if what == "blocklist":
            await run_in_threadpool(self.put_list, name, await request.body())
        elif what == "block":
            block = request.query_params.get("blockid", "")
            if not re.fullmatch(r"[A-Za-z0-9+/=]{1,128}", block):
                raise BlobError(400, "InvalidQueryParameterValue", "The value of blockid is no base64 text.")
            self.put_block(name, block, await self._receive(request))
        elif request.headers.get("x-ms-blob-type") != "BlockBlob":
            message = "An HTTP header that's mandatory for this request is not specified: x-ms-blob-type."
            raise BlobError(400, "MissingRequiredHeader", message)
        else:
            self.put(name, await self._receive(request))
        return Response(
            status_code=201, headers={"ETag": f'"0x{secrets.token_hex(8).upper()}"', "x-ms-version": _VERSION}
        )

    async def _receive(self, request: Request) -> Path:
        part = self.new_file()
        try:
            with part.open("wb") as file:
                async for piece in request.stream():
                    file.write(piece)
        except ClientDisconnect:
            part.unlink()
            raise BlobError(400, "InvalidHeaderValue", "The body is shorter than its Content-Length.") from None
        return part


def write_url_answer(blobs: Blobs, root: str, name: str) -> str:
    """What ``GetAzureWriteUrl`` says: JSON inside of a text.

    Args:
        blobs: The storage.
        root: ``https://host``.
        name: The name that was asked for.

    Returns:
        ``{"BlobId": "{guid}", "BlobUrl": "https://..."}``.
    """
    digest = secrets.token_hex(16).upper()
    guid = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))
    return json.dumps({"BlobId": f"{{{guid}}}", "BlobUrl": blobs.url(root, name)})
