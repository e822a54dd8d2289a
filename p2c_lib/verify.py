"""What was written, read back and compared with what the plan wanted, by the same comparison as a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl

from p2c_lib import mapping
from p2c_lib.cells import as_text, compare_fields
from p2c_lib.connect import Client, Entity
from p2c_lib.errors import PlanError
from p2c_lib.model import FieldMap, Task, Template, all_tasks, with_lengths
from p2c_lib.pull import ETAG
from p2c_lib.write import Plan, read_plan
from p2c_lib.write.answers import answers
from p2c_lib.write.reading import keys_of, read_rows

__all__ = [
    "OUTCOMES",
    "VERIFIED",
    "cells_of",
    "fields_of",
    "look",
    "outcomes_table",
    "read_verified",
    "verify",
]

OUTCOMES = ("verified", "differs", "gone", "conflict", "not_written")

VERIFIED = pl.Schema(
    {
        "order": pl.UInt32(),
        "task": pl.String(),
        "action": pl.String(),
        "key": pl.String(),
        "outcome": pl.String(),
        "field": pl.String(),
        "how": pl.String(),
        "before": pl.String(),
        "wanted": pl.String(),
        "found": pl.String(),
        "reason": pl.String(),
        "address": pl.String(),
        "etag": pl.String(),
    }
)
"""What became of each approved action: a row for each field that is not as wanted, one row where all are.

``outcome``: verified; differs (it was written, and something else stands there now); gone (it was written, and is not
there); conflict (somebody else changed the row after it was compared: it was left alone, and its fields are shown as
they were then, are now and were to be); not_written (refused, or not sent yet, ``reason`` says which). ``how`` is a
field's outcome as in a run. ``address`` is the row's own key as JSON and ``etag`` its version as read."""

_DONE = ("created", "updated", "already", "deleted")


def verify(
    run_dir: Path,
    *,
    templates: Mapping[str, Template],
    clients: Mapping[str, Client],
) -> pl.DataFrame:
    """Read back what a plan has written, and compare it with what was wanted.

    Args:
        run_dir: The run's folder, its plan sent wholly or in part.
        templates: As loaded; they say how fields are compared.
        clients: By system; read from, by key and only the columns written.

    Returns:
        Columns of `VERIFIED`, every approved action at least once; kept as ``plan/verified.parquet``.

    Raises:
        PlanError: There is no plan, or plan or journal are broken.
        ConnectError: Rows could not be read.
    """
    plan = read_plan(run_dir)
    told = answers(plan)
    known = {task.name: task for task in all_tasks(templates)}
    frames = [VERIFIED.to_frame()]
    for (name,), rows in plan.sendable().group_by("task", maintain_order=True):
        rows = rows.join(told.rename({"etag": "told_etag"}), on="order", how="left", maintain_order="left")
        frames.append(_of_task(rows, known.get(str(name)), clients[rows["system"][0]]))
    made = pl.concat(frames).sort("order", maintain_order=True)
    draft = plan.folder / "verified.tmp"
    made.write_parquet(draft, metadata={"plan": plan.hash})
    draft.replace(plan.folder / "verified.parquet")
    return made


def read_verified(plan: Plan) -> pl.DataFrame:
    """Read what `verify` found last.

    Args:
        plan: The plan.

    Returns:
        Columns of `VERIFIED`.

    Raises:
        PlanError: Nothing was verified yet, or it was another plan.
    """
    path = plan.folder / "verified.parquet"
    if not path.exists():
        raise PlanError(f"{plan.folder}: what was written was not read back yet; p2c apply does that at its end")
    if pl.read_parquet_metadata(path).get("plan") != plan.hash:
        raise PlanError(f"{path} belongs to another plan; apply this one to its end first")
    return pl.read_parquet(path)


def outcomes_table(verified: pl.DataFrame) -> pl.DataFrame:
    """Counts for people.

    Args:
        verified: Columns of `VERIFIED`.

    Returns:
        A row a task and action: ``task``, ``action``, then how many actions ended in each of `OUTCOMES`.
    """
    actions = verified.unique("order", maintain_order=True)
    return actions.group_by("task", "action", maintain_order=True).agg(
        (pl.col("outcome") == outcome).sum().alias(outcome) for outcome in OUTCOMES
    )


def _of_task(rows: pl.DataFrame, task: Task | None, client: Client) -> pl.DataFrame:
    entity = client.entity(rows["entity"][0])
    is_done = pl.col("outcome").is_in(_DONE)
    rest = rows.filter(~(is_done | (pl.col("outcome") == "conflict")).fill_null(False)).unique(
        "order", maintain_order=True
    )
    said = pl.coalesce("error", "reason", pl.lit("it was not sent"))
    parts = [_shaped(rest.with_columns(outcome=pl.lit("not_written"), field=None, reason=said))]
    asked = rows.filter((is_done | (pl.col("outcome") == "conflict")).fill_null(False))
    if asked.height:
        found = look(client, entity, asked, fields_of(task, asked["field"].unique().to_list()), task)
        parts += [_of_deletes(asked.filter(pl.col("action") == "delete"), found, entity)]
        parts += [_of_writes(asked.filter(pl.col("action") != "delete"), found, task, entity)]
    return pl.concat(parts)


def look(
    client: Client, entity: Entity, rows: pl.DataFrame, fields: Collection[FieldMap], task: Task | None
) -> pl.DataFrame:
    """Read the rows that actions are about.

    Args:
        client: Of their system.
        entity: Their set.
        rows: Of a plan: ``order``, ``action``, ``target``.
        fields: What to read of them.
        task: Names the column with the currency of amounts.

    Returns:
        ``order``, the set's key, ``@odata.etag`` and the columns of the fields; see `read_rows`.
    """
    columns = [name for field in fields for name in (field.destination, *field.without)]
    codes = [field.money if isinstance(field.money, str) else task and task.currency for field in fields if field.money]
    wanted = list(dict.fromkeys([*columns, *(code for code in codes if code)]))
    targets = rows.select("order", "target").unique("order", maintain_order=True)
    shape = targets["target"].str.extract_all(r'"(?:[^"\\]|\\.)*"\s*:').list.join("")
    found = []
    for _, part in targets.group_by(shape, maintain_order=True):  # creates are named by the task's key
        keys = pl.concat([part.select("order"), keys_of(part["target"])], how="horizontal")
        found.append(read_rows(client, entity, keys, wanted))
    return pl.concat(found)


def fields_of(task: Task | None, names: Collection[str]) -> list[FieldMap]:
    """Say how fields are compared.

    Args:
        task: Their task.
        names: Destination columns.

    Returns:
        The task's fields; one that it does not have is compared exactly.
    """
    known = {field.destination: field for field in task.fields} if task else {}
    return [known.get(name, FieldMap(destination=name)) for name in names]


def _of_deletes(rows: pl.DataFrame, found: pl.DataFrame, entity: Entity) -> pl.DataFrame:
    actions = rows.unique("order", maintain_order=True)
    there = _addressed(found, entity).unique("order", keep="first")
    actions = actions.join(there, on="order", how="left", maintain_order="left")
    is_there, is_conflict = pl.col("found_etag").is_not_null(), pl.col("outcome") == "conflict"
    return _shaped(
        actions.with_columns(
            outcome=pl.when(is_conflict)
            .then(pl.lit("conflict"))
            .when(is_there)
            .then(pl.lit("differs"))
            .otherwise(pl.lit("verified")),
            field=pl.lit(None, pl.String),
            reason=pl.when(is_conflict).then("reason").when(is_there).then(pl.lit("the row is still there")),
        )
    )


def _of_writes(rows: pl.DataFrame, found: pl.DataFrame, task: Task | None, entity: Entity) -> pl.DataFrame:
    if rows.is_empty():
        return VERIFIED.to_frame()
    counts = found.group_by("order").agg(times=pl.len())
    rows = rows.join(counts, on="order", how="left", maintain_order="left")
    rows = rows.join(_addressed(found, entity).unique("order", keep="first"), on="order", how="left")
    rows = rows.sort("order", maintain_order=True)
    is_conflict, once = pl.col("outcome") == "conflict", pl.col("times") == 1
    cells = cells_of(rows.filter(once), found, task, entity)
    rows = rows.join(cells, on=["order", "field"], how="left", maintain_order="left")
    differs = pl.col("how").is_not_null()
    lone = [
        _only(rows.filter(pl.col("times").is_null() & ~is_conflict), "gone", "the row is not there"),
        _only(rows.filter((pl.col("times") > 1) & ~is_conflict), "differs", "several rows have this key"),
        _only(rows.filter(pl.col("times").is_null() & is_conflict), "conflict", "the row is gone"),
        _only(rows.filter((pl.col("times") > 1) & is_conflict), "conflict", "several rows have this key"),
    ]
    stale = rows.filter(is_conflict & once)
    # A conflict that left nothing to do is told all the same: a person may want to know.
    off = rows.filter(~is_conflict & once & differs).with_columns(outcome=pl.lit("differs"), reason=None)
    good = rows.filter(~is_conflict & once).join(off, on="order", how="anti")
    parts = [*lone, _shaped(stale), _shaped(off), _only(good, "verified", None)]
    return pl.concat(parts)


def _addressed(found: pl.DataFrame, entity: Entity) -> pl.DataFrame:
    key = pl.struct(as_text(name, found.schema[name]).alias(name) for name in entity.key)
    return found.select("order", address=key.struct.json_encode(), found_etag=pl.col(ETAG))


def _only(rows: pl.DataFrame, outcome: str, reason: str | None) -> pl.DataFrame:
    """One row an action, about no field of it."""
    rows = rows.unique("order", maintain_order=True)
    return _shaped(
        rows.with_columns(
            outcome=pl.lit(outcome),
            field=pl.lit(None, pl.String),
            how=pl.lit(None, pl.String),
            before=pl.lit(None, pl.String),
            after=pl.lit(None, pl.String),
            found=pl.lit(None, pl.String),
            reason=pl.lit(reason, pl.String),
        )
    )


def _shaped(rows: pl.DataFrame) -> pl.DataFrame:
    absent = {"how": None, "found": None, "address": None, "found_etag": None}
    rows = rows.with_columns(pl.lit(value, pl.String).alias(n) for n, value in absent.items() if n not in rows.columns)
    return rows.select(
        "order", "task", "action", "key", "outcome", "field", "how", "before",
        wanted="after", found="found", reason="reason", address="address", etag="found_etag",
    ).cast(VERIFIED)  # fmt: skip


def cells_of(rows: pl.DataFrame, found: pl.DataFrame, task: Task | None, entity: Entity) -> pl.DataFrame:
    """Compare what was wanted of rows with what was read, as a run does.

    Args:
        rows: Of a plan: ``order``, ``key``, ``field``, ``after``.
        found: As `look` gives it, one row an action.
        task: Its fields say how.
        entity: The destination.

    Returns:
        ``order``, ``field``, ``found`` (as text), and ``how`` it differs, null where it does not.
    """
    parts = [pl.DataFrame(schema={"order": pl.UInt32, "field": pl.String, "found": pl.String, "how": pl.String})]
    for field in fields_of(task, rows["field"].unique(maintain_order=True).to_list()):
        mine = rows.filter(pl.col("field") == field.destination).select("order", "key", "after")
        there = mine.select("order").join(found, on="order", how="left", maintain_order="left")
        code = field.money if isinstance(field.money, str) else task.currency if task and field.money else None
        one = _task_of(task, field, code, entity)
        stands = mapping.project(there, one, entity)
        wanted = mapping.project(
            mine.select(pl.col("after").alias(field.destination)),
            one.model_copy(update={"fields": (field.model_copy(update={"without": ()}),), "currency": None}),
            entity,
        )
        if code:
            wanted = wanted.with_columns(there[code])
        numbers = pl.int_range(mine.height, dtype=pl.UInt32, eager=True)
        pairs = pl.DataFrame({"source_row": numbers, "destination_row": numbers})
        cells = compare_fields(wanted, stands, one, pairs, mine["key"], None)
        how = pl.repeat(None, mine.height, dtype=pl.String, eager=True).scatter(cells["source_row"], cells["outcome"])
        text = stands.select(as_text(field.destination, stands.schema[field.destination]).alias("found"))["found"]
        parts.append(mine.select("order", field=pl.lit(field.destination), found=text, how=how).cast(parts[0].schema))
    return pl.concat(parts)


def _task_of(task: Task | None, field: FieldMap, code: str | None, entity: Entity) -> Task:
    """A task of this field alone, nothing of it a key, so that nothing is passed over."""
    if task is None:
        raise PlanError(f"no template has the task that wrote {field.destination} of {entity.name}")
    return with_lengths(task.model_copy(update={"key": {}, "fields": (field,), "currency": code}), entity)
