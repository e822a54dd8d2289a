"""What became of the rows of a data package: states and error files of an execution, row by row."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import polars as pl

from p2c_lib.channels.base import ANSWERS
from p2c_lib.channels.package_calls import LONGEST_PAUSE_S, Counts, ask, counts_of, download
from p2c_lib.channels.package_zip import read_table
from p2c_lib.connect import Client

__all__ = ["alike", "key_text", "outcome"]


def key_text(names: Sequence[str]) -> pl.Expr:
    """Write a key as one text, as data management names rows: its parts with a plus between, without case."""
    return pl.concat_str(
        [pl.col(name).cast(pl.String).fill_null("") for name in names], separator="+"
    ).str.to_lowercase()


def alike(
    rows: pl.DataFrame, state: str, *, again: str | None = None, error: str | None = None, status: int | None = None
) -> pl.DataFrame:
    """Answer all rows alike.

    Args:
        rows: With ``order``.
        state: Columns of `ANSWERS`, like what follows.
        again: What is to be done now.
        error: Words.
        status: HTTP status.

    Returns:
        Columns of `ANSWERS`.
    """
    said: dict[str, str | int | None] = dict.fromkeys(ANSWERS.names()[1:])
    said |= {"state": state, "again": again, "error": error, "status": status}
    return rows.select("order", **{name: pl.lit(value, ANSWERS[name]) for name, value in said.items()})


def outcome(
    client: Client, label: str, execution: str, status: str, rows: pl.DataFrame, key: Sequence[str]
) -> pl.DataFrame:
    """Say what became of each row of an execution that has ended.

    Args:
        client: Of F&O.
        label: The entity's name in data management.
        execution: Its name.
        status: Its state.
        rows: What was in the package: ``order``, and a String column a property.
        key: The entity's key without its company.

    Returns:
        Columns of `ANSWERS`. Rows that the service names as refused are ``failed`` with its words. The others are
        ``created`` where the service's own counts bear it out, else they are in doubt and are looked at.

    Raises:
        ConnectError: Or a child of it.
    """
    seen = f"see execution {execution} in Data management, Job history"
    if status == "Unknown":
        return alike(rows, "doubt", again="look", error=f"the service has forgotten the package; {seen}")
    keys = rows.select("order", key=key_text(key))
    refused, whole = pl.DataFrame(schema={"key": pl.String, "error": pl.String}), ""
    if status != "Succeeded":
        refused, whole = _refusals(client, label, execution, key)
    failed = keys.join(refused, on="key", how="inner", maintain_order="left")
    others = keys.join(failed, on="order", how="anti", maintain_order="left")
    counts = counts_of(client, execution)
    written = None if counts is None else counts.created + counts.updated
    silent = pl.lit(whole or f"the service gave no reason; {seen}")
    bad = alike(failed, "failed", status=400).with_columns(error=pl.Series(failed["error"]))
    bad = bad.with_columns(pl.coalesce("error", silent))
    if written == others.height or (written is None and status in ("Succeeded", "PartiallySucceeded")):
        rest = alike(others, "created", error=_overwritten(counts))
    elif written == 0 and status == "Failed":
        rest = alike(others, "failed", status=400, error=whole or f"the package failed; {seen}")
    else:
        rest = alike(others, "doubt", again="look", error=whole or f"the package ended as {status}; {seen}")
    return pl.concat([bad, rest])


def _overwritten(counts: Counts | None) -> str | None:
    if counts is None or not counts.updated:
        return None
    return f"{counts.updated:,} rows of this package were made by others meanwhile, and were overwritten"


def _refusals(client: Client, label: str, execution: str, key: Sequence[str]) -> tuple[pl.DataFrame, str]:
    """``key`` and ``error`` of the rows that were refused, and what was said of the package as a whole."""
    of = {"executionId": execution, "entityName": label}
    words = _words(ask(client, "GetExecutionErrors", {"executionId": execution}))
    whole = "; ".join(words.filter(pl.col("key") == "")["error"])
    keys = [words.filter(pl.col("key") != "").select("key")]
    names = [name.upper() for name in key]
    for url in filter(None, (ask(client, "GetImportStagingErrorFileUrl", of), _target_file(client, of))):
        table = read_table(download(client, str(url)))
        if set(names) <= set(table.columns):
            keys.append(table.select(key=key_text(names)))
    named = pl.concat(keys).unique(maintain_order=True)
    return named.join(words, on="key", how="left", maintain_order="left"), whole


def _words(said: object) -> pl.DataFrame:
    """``key`` and ``error``: all that was said of a row in one text; an empty key means the whole package."""
    entries = json.loads(said or "[]") if isinstance(said, str) else said
    errors = pl.DataFrame(
        [
            [str(one.get(name) or "") for name in ("RecordId", "Field", "ErrorMessage")]
            for one in (entries if isinstance(entries, list) else [])
            if isinstance(one, dict)
        ],
        schema={"key": pl.String, "field": pl.String, "text": pl.String},
        orient="row",
    )
    word = pl.when(pl.col("field") == "").then("text").otherwise(pl.concat_str("field", "text", separator=": "))
    return errors.group_by(pl.col("key").str.to_lowercase(), maintain_order=True).agg(error=word.str.join("; "))


def _target_file(client: Client, of: dict[str, str]) -> str:
    """Address of the file with the keys of the rows that the entity refused; empty when it refused none."""
    if not ask(client, "GenerateImportTargetErrorKeysFile", of):
        return ""
    pause_s, deadline = 0.05, time.monotonic() + client.limits.budget_s
    while not (url := ask(client, "GetImportTargetErrorKeysFileUrl", of)) and time.monotonic() < deadline:
        time.sleep(pause_s)  # it is being made
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
    return str(url or "")
