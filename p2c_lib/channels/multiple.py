"""Sales' bulk action CreateMultiple: a thousand rows in one transaction, all of them or none.

Only new rows go this way. An update must carry the ETag that was seen, so that a row that somebody else changed is
refused; UpdateMultiple has no place for one, and UpsertMultiple would write over a row that somebody else made under
the same key. Updates go by ``$batch``, where each has its If-Match.
"""

from __future__ import annotations

from dataclasses import replace

import orjson
import polars as pl

from p2c_lib.channels.base import ANSWERS, Channel, Chunk
from p2c_lib.channels.bodies import answered, bodies
from p2c_lib.channels.single import told
from p2c_lib.connect import Client
from p2c_lib.errors import ConnectError, LostAnswer, PermissionDenied, ServiceError, SignInError, Throttled

__all__ = ["MULTIPLE"]

_NAMESPACE = "Microsoft.Dynamics.CRM"
_ROLLED_BACK = ("0x80044150", "0x80044151")  # deadlock and timeout of the database: nothing was done


def _send(client: Client, chunk: Chunk) -> pl.DataFrame:
    """Send all; what is refused is halved until the bad row stands alone."""
    texts = chunk.actions.select("order", body=bodies(client, chunk))
    waiting, answers = [chunk.actions], []
    while waiting:
        part = replace(chunk, actions=waiting.pop())
        try:
            answers.append(_call(client, part, texts))
        except (SignInError, PermissionDenied, Throttled, ConnectError) as error:
            if _must_stop(error):
                if not answers:
                    raise
                # What was done is told; the rest meets the same error at once when it is sent again.
                rest = pl.concat([part.actions, *waiting])
                answers.append(answered(replace(chunk, actions=rest), "open", again="send", **told(error)))
                break
            if part.actions.height == 1 or isinstance(error, LostAnswer) or _is_service(error):
                answers.append(_judged(part, error))
                continue
            half = part.actions.height // 2
            waiting += [part.actions[half:], part.actions[:half]]
    return pl.concat(answers)


def _call(client: Client, part: Chunk, texts: pl.DataFrame) -> pl.DataFrame:
    entity = part.entity
    mine = part.actions.select("order").join(texts, on="order", how="left", maintain_order="left")["body"]
    kind = f'"@odata.type":"{_NAMESPACE}.{entity.type_name}"'
    inner = mine.str.slice(1).to_frame("inner")  # the closing brace alone where a row says nothing
    comma = pl.when(pl.col("inner") != "}").then(pl.lit(",")).otherwise(pl.lit(""))
    targets = inner.select(pl.concat_str(pl.lit(f"{{{kind}"), comma, "inner").str.join(",\n")).item()
    said = client.post_rows(
        f"{entity.name}/{_NAMESPACE}.CreateMultiple",
        f'{{"Targets":[{targets}]}}'.encode(),
        what=f"creating {part.actions.height:,} rows in {entity.name}",
        rows=part.actions.height,
    )
    try:
        ids = orjson.loads(said)["Ids"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        ids = []
    if len(ids) != part.actions.height:
        words = f"creating in {entity.name}: the answer names {len(ids)} of {part.actions.height} rows"
        return answered(part, "doubt", again="look", error=f"LostAnswer: {words}")
    return answered(part, "created").with_columns(id=pl.Series(ids, dtype=pl.String)).select(ANSWERS.names())


def _must_stop(error: ConnectError) -> bool:
    is_unreached = error.status is None and not isinstance(error, LostAnswer)
    return is_unreached or isinstance(error, (SignInError, PermissionDenied, Throttled))


def _is_service(error: ConnectError) -> bool:
    return isinstance(error, ServiceError) and error.code not in _ROLLED_BACK


def _judged(part: Chunk, error: ConnectError) -> pl.DataFrame:
    if isinstance(error, LostAnswer) or _is_service(error):
        return answered(part, "doubt", again="look", **told(error))
    if error.code in _ROLLED_BACK:
        return answered(part, "open", again="send", **told(error))
    return answered(part, "failed", again="look", **told(error))


MULTIPLE = Channel("multiple", "CreateMultiple", ("create",), rows_a_call=1000, atomic=True, send=_send)
