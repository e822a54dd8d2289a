"""The reviewed cross-reference: rows of both sides that are the same although their keys are not.

Somebody has looked at each entry and said so. A comparison joins on it: the source row takes the key of its entry
before keys are matched, and what refers to it at the source resolves to the same row. A pair that was turned down is
kept too, so that it is not proposed again. Applying it is pure; the file is read and written here alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib.errors import ParameterError, PlanError
from p2c_lib.keys import key_text
from p2c_lib.model import Task

__all__ = [
    "ENTRIES",
    "NONE",
    "Crossref",
    "Resolved",
    "carried_by",
    "check_run",
    "decide",
    "entry_of",
    "identities",
    "read_crossref",
    "resolve",
]

ENTRIES = pl.Schema(
    dict.fromkeys(
        ("task", "source_entity", "source_column", "destination_entity", "source_key", "kind", "destination_key",
         "carried", "decision", "score", "by", "at"),
        pl.String,
    )
)  # fmt: skip
"""Columns of the file, all text. ``kind`` is ``key``, or ``id`` where the source row has no key and ``source_key`` is
the id of its record; ``carried`` is a JSON object: what the destination row has in the columns that carry the source's
key (``{"CustomerAccount": "C1", "PartyNumber": "P9"}``); ``decision`` is accepted or rejected, ``by`` whom and ``at``
when (UTC)."""


@dataclass(frozen=True)
class Crossref:
    """Entries, columns of `ENTRIES`; no accepted one has a source row or a destination row that another has too."""

    entries: pl.DataFrame

    def accepted(self) -> pl.DataFrame:
        """The entries to join on."""
        return self.entries.filter(pl.col("decision") == "accepted")

    def as_of(self, moment: str) -> Crossref:
        """The entries that were there at a time, in ISO 8601 and UTC: what a run of then has joined on."""
        return Crossref(self.entries.filter(pl.col("at") <= moment))

    def of(self, task: Task) -> pl.DataFrame:
        """The entries to join the rows of a task on; a leg through CDS has none."""
        return self.accepted().filter((pl.col("task") == task.name) & (task.of is None))


NONE = Crossref(ENTRIES.to_frame())


@dataclass(frozen=True)
class Resolved:
    """What the cross-reference makes of mapped rows.

    Attributes:
        rows: The rows, with the destination's key where an entry gives it, and references to such rows likewise.
        pairs: The source rows that an entry names: ``row`` (UInt32), ``source_key``, ``key`` (as the destination writes
            it), ``is_there`` (whether the destination row is among those compared; where not, nothing was changed).
    """

    rows: pl.DataFrame
    pairs: pl.DataFrame


def identities(rows: pl.DataFrame, source: pl.DataFrame, task: Task) -> pl.DataFrame:
    """How each source row is called: ``source_key`` and ``kind``: its key, or where that is blank the id of its record.

    Args:
        rows: Mapped rows (n).
        source: As pulled (n): the columns before ``@odata.etag`` are the record's own id.
        task: The task.
    """
    names = list(task.key)
    blank = pl.any_horizontal(pl.col(name).cast(pl.String).str.strip_chars().fill_null("") == "" for name in names)
    keyed = rows.select(text=key_text(names), blank=blank)
    own = source.columns[: source.columns.index("@odata.etag")] if "@odata.etag" in source.columns else []
    record = source.select(id=key_text(own)) if own else pl.DataFrame({"id": [None] * rows.height}, {"id": pl.String})
    is_blank = pl.col("blank")
    return keyed.hstack(record).select(
        source_key=pl.when(is_blank).then("id").otherwise("text"),
        kind=pl.when(is_blank).then(pl.lit("id")).otherwise(pl.lit("key")),
    )


def carried_by(task: Task) -> list[str]:
    """The destination columns that say the source's key and nothing else: those of the key, and plain copies of it."""
    copies = [
        f.destination for f in task.fields if f.map == "copy" and f.source in task.key.values() and not f.truncate
    ]
    return list(dict.fromkeys([*task.key, *copies]))


def resolve(rows: pl.DataFrame, found: pl.DataFrame, source: pl.DataFrame, task: Task, crossref: Crossref) -> Resolved:
    """Put the destination's keys into mapped rows.

    Args:
        rows: Mapped rows (n).
        found: Destination rows in the same form.
        source: Source rows as pulled (n).
        task: The task.
        crossref: What was accepted.

    Returns:
        The rows and the pairs. An entry whose destination row is not among ``found`` changes nothing of its own row.
    """
    nothing = pl.DataFrame(schema={"row": pl.UInt32, "source_key": pl.String, "key": pl.String, "is_there": pl.Boolean})
    if crossref.accepted().is_empty():
        return Resolved(rows, nothing)
    rows = _with_references(rows, task, crossref)
    entries = crossref.of(task)
    if entries.is_empty():
        return Resolved(rows, nothing)
    there = found.select(destination_key=key_text(list(task.key))).with_row_index("at").unique("destination_key")
    named = identities(rows, source, task).with_row_index("row")
    pairs = named.join(entries.select("source_key", "kind", "destination_key"), on=["source_key", "kind"], how="inner")
    pairs = pairs.join(there, on="destination_key", how="left").sort("row")
    known = pairs.filter(pl.col("at").is_not_null())
    changed = {name: _scattered(rows[name], known["row"], found[name].gather(known["at"])) for name in carried_by(task)}
    told = pairs.select("row", "source_key", key="destination_key", is_there=pl.col("at").is_not_null())
    return Resolved(rows.with_columns(**changed) if known.height else rows, told.cast(nothing.schema))


def _scattered(column: pl.Series, rows: pl.Series, values: pl.Series) -> pl.Series:
    return column.clone().scatter(rows, values.cast(column.dtype))


def _with_references(rows: pl.DataFrame, task: Task, crossref: Crossref) -> pl.DataFrame:
    """References to rows with an entry: to the destination's key on the way there, to the source's on the way back."""
    entries, changed = crossref.accepted(), {}
    for field in task.fields:
        known: dict[str, str] = {}
        for parent in field.parent:
            there = entries.filter(pl.col("destination_entity") == parent.entity).select(
                "source_key", value=pl.col("carried").str.json_path_match(f"$.{parent.column}")
            )
            back = entries.filter(
                (pl.col("source_entity") == parent.entity)
                & (pl.col("source_column") == parent.column)
                & (pl.col("kind") == "key")
            ).select("destination_key", value="source_key")
            known |= dict(there.drop_nulls().iter_rows()) | dict(back.drop_nulls().iter_rows())
        if known:
            name = field.destination
            column = pl.col(name).cast(pl.String)
            changed[name] = column.replace(list(known), list(known.values())).cast(rows.schema[name])
    return rows.with_columns(**changed) if changed else rows


def read_crossref(path: Path) -> Crossref:
    """Read the file; one that is not there has no entries.

    Raises:
        ParameterError: It is no such file, or two accepted entries of a task share a row.
    """
    try:
        frame = pl.read_csv(path, schema=ENTRIES).fill_null("")
    except FileNotFoundError:
        return NONE
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ParameterError(f"{path}: no cross-reference: {error}; its columns are {', '.join(ENTRIES)}") from None
    _check(frame, path)
    return Crossref(frame)


def _check(frame: pl.DataFrame, path: Path) -> None:
    problems = []
    wrong = frame.filter(~pl.col("decision").is_in(["accepted", "rejected"]))["decision"].unique().sort()
    problems += [f"decision '{value}' is neither accepted nor rejected" for value in wrong]
    accepted = frame.filter(pl.col("decision") == "accepted")
    for side in ("source_key", "destination_key"):
        twice = (
            accepted.filter(pl.struct("task", side).is_duplicated()).select("task", side).unique().sort("task", side)
        )
        problems += [f"{task}: {side} '{key}' stands in more than one accepted pair" for task, key in twice.iter_rows()]
    if problems:
        raise ParameterError("\n".join(f"{path}: {problem}" for problem in problems))


def decide(path: Path, pairs: pl.DataFrame, decision: str, by: str) -> Crossref:
    """Write down what somebody decided about pairs; the file is whole or as it was.

    Args:
        path: The file; made when it is not there.
        pairs: Columns of `ENTRIES` but for the last five; a pair decided before gets the new decision.
        decision: ``accepted`` or ``rejected``.
        by: Who decided.

    Returns:
        All entries.

    Raises:
        ParameterError: No name was given, a row would stand in two accepted pairs, or the file cannot be written.
    """
    if not by.strip():
        raise ParameterError("say who decides: --by NAME")
    before = _text(path)
    known = read_crossref(path).entries
    now = datetime.now(UTC).isoformat(timespec="seconds")
    new = pairs.with_columns(decision=pl.lit(decision), by=pl.lit(by.strip()), at=pl.lit(now))
    new = new.select(pl.col(name).cast(pl.String).fill_null("") for name in ENTRIES)
    pair = ["task", "source_key", "destination_key"]
    frame = pl.concat([known.join(new, on=pair, how="anti", maintain_order="left"), new])
    _check(frame, path)
    _write(path, frame, before)
    return Crossref(frame)


def _text(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _write(path: Path, frame: pl.DataFrame, before: bytes | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".csv")
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                frame.write_csv(out, quote_style="always")
                out.flush()
                os.fsync(out.fileno())
            if _text(path) != before:
                raise ParameterError(f"{path}: was changed by somebody else just now; nothing was written, try again")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ParameterError(f"{path}: cannot be written: {error.strerror}") from None


def check_run(folder: Path, crossref: Crossref) -> None:
    """Refuse to plan from a run that still calls rows missing which the cross-reference has paired since.

    Args:
        folder: The run's, finished.
        crossref: As it stands now.

    Raises:
        PlanError: The plan would create rows that are there; says which.
    """
    path = folder / "outcomes.parquet"
    if crossref.accepted().is_empty() or not path.exists():
        return
    missing = pl.read_parquet(path, columns=["task", "key", "outcome"]).filter(pl.col("outcome") == "missing")
    facts = json.loads((folder / "run.json").read_text("utf-8"))["tasks"]
    legs = {task["task"]: task["of"] for task in facts if task.get("leg") == 2}
    missing = missing.with_columns(pl.col("task").replace(legs))
    entries = crossref.accepted().select("task", key="source_key")
    twice = missing.join(entries, on=["task", "key"], how="semi").unique().sort("task", "key")
    if twice.height:
        first = ", ".join(twice["key"].head(5))
        what = "through CDS keys alone are joined on: plan these tasks on the direct route, or turn the pairs down"
        raise PlanError(
            f"{folder}: {twice.height} rows ({first}) have a partner in the cross-reference, and a plan would create "
            f"them a second time; {what if legs else 'compare again (p2c run)'}"
        )


def entry_of(task: Task, facts: Mapping[str, Any], carried: Mapping[str, Any]) -> dict[str, str]:
    """A pair as an entry of the file, without the decision.

    Args:
        task: The task.
        facts: ``source_key``, ``kind``, ``destination_key``, ``score``.
        carried: What the destination row has in the columns of `carried_by`.
    """
    return {
        "task": task.name,
        "source_entity": task.source.entity,
        "source_column": next(iter(task.key.values())),
        "destination_entity": task.destination.entity,
        "carried": json.dumps(carried, ensure_ascii=False, default=str),
        **{name: str(facts[name]) for name in ("source_key", "kind", "destination_key", "score")},
    }
