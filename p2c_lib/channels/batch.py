"""``$batch`` of both services: many rows a call, each of them done or refused on its own, updates with their ETag.

Sales takes single requests with ``Prefer: odata.continue-on-error``; F&O takes a change set for each row. Both answer
in the order of the requests, each with a status of its own.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import polars as pl

from p2c_lib.channels.base import ANSWERS, Channel, Chunk
from p2c_lib.channels.bodies import addresses, answered, bodies
from p2c_lib.channels.single import told
from p2c_lib.connect import Client, Problem, retry_after
from p2c_lib.errors import LostAnswer, ServiceError

__all__ = ["BATCH"]

_VERBS = {"create": "POST", "update": "PATCH", "recalculate": "PATCH", "delete": "DELETE"}
_DONE = {"create": "created", "update": "updated", "recalculate": "updated", "delete": "deleted"}
_ROLLED_BACK = ("0x80044150", "0x80044151")  # deadlock and timeout of the database: nothing was done
_STATUS = "\r\nHTTP/1.1 "  # begins a line, which no text of a JSON body can: line ends are escaped there


def _send(client: Client, chunk: Chunk) -> pl.DataFrame:
    boundary = f"batch_{uuid4()}"
    headers = {"Content-Type": f'multipart/mixed; boundary="{boundary}"'}
    if client.system == "sales":
        headers["Prefer"] = "odata.continue-on-error"
    rows = chunk.actions.height
    what = f"sending {rows:,} rows to {chunk.entity.name} in a batch"
    try:
        said = client.post_rows("$batch", _body(client, chunk, boundary), what=what, rows=rows, headers=headers)
    except (LostAnswer, ServiceError) as error:
        return answered(chunk, "doubt", again="look", **told(error))
    return _read(client, chunk, said)


def _body(client: Client, chunk: Chunk, boundary: str) -> bytes:
    """The whole batch as one text, a part a row."""
    base = urlsplit(client.base).path
    entity, is_sales = chunk.entity, client.system == "sales"
    if chunk.actions["action"][0] == "create":
        paths = pl.repeat(entity.name, chunk.actions.height, dtype=pl.String, eager=True)
    else:
        # F&O finds a row of another company than the user's own only when told to look there.
        query = "" if is_sales or "dataAreaId" not in entity.key else "?cross-company=true"
        paths = addresses(entity, chunk.actions) + query
    # A single request of Sales' stands in the batch by itself; F&O keeps rows apart by change sets.
    head, tail = f"--{boundary}\r\n", "\r\n"
    if not is_sales:
        head += 'Content-Type: multipart/mixed; boundary="cs"\r\n\r\n--cs\r\n'
        tail += "--cs--\r\n"
    head += "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: "
    kind = "application/json; type=entry" if is_sales else "application/json"
    verb = pl.col("action").replace_strict(_VERBS)
    match = pl.when(pl.col("action") != "create").then(pl.concat_str(pl.lit("\r\nIf-Match: "), "etag"))
    sent = pl.when(pl.col("action") != "delete").then(
        pl.concat_str(pl.lit(f"\r\nContent-Type: {kind}"), match.fill_null(""), pl.lit("\r\n\r\n"), "body")
    )
    part = pl.concat_str(
        pl.lit(head),
        pl.int_range(1, pl.len() + 1).cast(pl.String),
        pl.lit("\r\n\r\n"),
        verb,
        pl.lit(f" {base}/"),
        "path",
        pl.lit(" HTTP/1.1"),
        pl.coalesce(sent, pl.concat_str(match, pl.lit("\r\n\r\n"))),
        pl.lit(tail),
    )
    frame = chunk.actions.select("action", "etag", path=paths, body=bodies(client, chunk))
    text = frame.select(part.str.join("")).item()
    return f"{text}--{boundary}--\r\n".encode()


def _read(client: Client, chunk: Chunk, said: bytes) -> pl.DataFrame:
    """The answers of the parts, in the order of the actions."""
    parts = pl.Series("part", said.decode("utf-8", "replace").split(_STATUS)[1:], dtype=pl.String)
    rows = chunk.actions.height
    if parts.len() != rows:
        words = f"LostAnswer: the batch answers for {parts.len()} of {rows} rows"
        return answered(chunk, "doubt", again="look", error=words)
    status = pl.col("part").str.slice(0, 3).cast(pl.UInt16, strict=False)

    def header(name: str) -> pl.Expr:
        return pl.col("part").str.extract(rf"(?i)\r\n{name}: *([^\r\n]*)")

    frame = chunk.actions.select("order", "action", given="id").with_columns(parts)
    frame = frame.with_columns(
        status=status,
        etag=header("ETag"),
        address=pl.coalesce(header("OData-EntityId"), header("Location")),
    )
    is_done = pl.col("status").is_between(200, 299)
    id_ = pl.coalesce(
        pl.col("address").str.extract(r"\(([0-9a-fA-F-]{36})\)\s*$"), pl.col("address").str.extract(r"/data/(.*)$")
    )
    done = frame.filter(is_done).select(
        "order",
        state=pl.col("action").replace_strict(_DONE, return_dtype=pl.String),
        again=pl.lit(None, pl.String),
        etag=pl.col("etag"),
        id=pl.coalesce(id_, "given"),
        status=pl.lit(None, pl.UInt16),
        code=pl.lit(None, pl.String),
        error=pl.lit(None, pl.String),
    )
    refused = [_refused(client, row) for row in frame.filter(~is_done.fill_null(False)).iter_rows(named=True)]
    return pl.concat([done, pl.DataFrame(refused, schema=ANSWERS)])


def _refused(client: Client, row: dict[str, Any]) -> dict[str, Any]:
    """What a part that was not done means; these are few."""
    head, _, rest = row["part"].partition("\r\n\r\n")
    body = rest.partition("\r\n--")[0]
    problem = client.dialect.explain(body.encode())
    status, said = int(row["status"] or 0), problem or Problem(" ".join(body.split())[:160] or "no answer")
    action = row["action"]
    words = f"{said.message} [HTTP {status}{f', {said.code}' if said.code else ''}]"
    facts = {"order": row["order"], "status": status or None, "code": said.code or None, "error": words}
    wait = next((line for line in head.split("\r\n") if line.lower().startswith("retry-after:")), "")
    if status == 429 or (status == 503 and wait):
        if status == 429:
            client.put_off(retry_after(wait.partition(":")[2]), said)
        return {**facts, "state": "open", "again": "send"}
    if said.code in _ROLLED_BACK:
        return {**facts, "state": "open", "again": "send"}
    if status in (401, 403):
        return {**facts, "state": "open", "again": "stop"}
    if status == 412:
        return {**facts, "state": "conflict", "again": "look"}
    if status == 404 and action != "create":
        return {**facts, "state": "already" if action == "delete" else "conflict"}
    is_words = problem is not None and "Infolog" in said.message  # X++ refused it, whatever the status
    if not is_words and (status < 400 or status >= 500 or status == 408 or problem is None):
        return {**facts, "state": "doubt", "again": "look"}
    return {**facts, "state": "failed", "again": "look" if action == "create" else None}


BATCH = Channel(
    "batch", "$batch", ("create", "update", "recalculate", "delete"), rows_a_call=1000, atomic=False, send=_send
)
