"""One execution: both sides of a task mapped, compared, explained, validated and saved in the run's folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from p2c_lib import mapping, quirks
from p2c_lib.cells import as_text
from p2c_lib.chains import waits
from p2c_lib.config import Profile
from p2c_lib.connect import Client, Entity, Metadata
from p2c_lib.crossref import NONE, Crossref, read_crossref, resolve
from p2c_lib.diff import FIELD_OUTCOMES, ROW_OUTCOMES, Outcomes, compare
from p2c_lib.digest import combined, digest
from p2c_lib.explain import explain, quirks_only
from p2c_lib.folder import UNMAPPED_COLUMNS, create, save_failure, write_json
from p2c_lib.history import conclude
from p2c_lib.legs import AHEAD, ahead, first_leg, templates_for
from p2c_lib.masking import personal_fields, personal_sources, site_masker
from p2c_lib.model import Route, Task, Template, with_lengths
from p2c_lib.places import task_folder, working_folder
from p2c_lib.pull import MONEY
from p2c_lib.readings import Asked, Readings
from p2c_lib.routing import route_columns
from p2c_lib.sides import (
    CLOCKS,
    Progress,
    Sides,
    check_company,
    check_template,
    open_clients,
    read_sides,
    template_problems,
)
from p2c_lib.sums import sums
from p2c_lib.tieout import line_faults
from p2c_lib.validate import Check, SuiteResult, masked, validate

__all__ = [
    "Compared",
    "Sides",
    "check_company",
    "check_template",
    "compare_sides",
    "execute",
    "execute_task",
    "execute_tasks",
    "open_clients",
    "read_sides",
    "read_validation",
    "save",
    "save_checks",
    "shared_readings",
    "summary",
    "template_problems",
    "validate_task",
]


@dataclass(frozen=True)
class Compared:
    """A task's comparison: mapped frames, outcomes, the explained table (`OUTCOME_COLUMNS`), quirks counted, the source
    rows that the cross-reference names (`crossref.Resolved`); and the destination's entity that it was made by."""

    expected: pl.DataFrame
    found: pl.DataFrame
    unmapped: pl.DataFrame
    outcomes: Outcomes
    table: pl.DataFrame
    quirks: pl.DataFrame
    seconds: float
    entity: Entity
    crossed: pl.DataFrame


def compare_sides(
    task: Task,
    sides: Sides,
    metadata: Mapping[str, Metadata],
    *,
    lag: timedelta = timedelta(0),
    crossref: Crossref = NONE,
    is_part: bool = False,
) -> Compared:
    """Map, compare and explain what was pulled.

    The explained table and the unmapped values have tokens in the place of personal values; the outcomes and frames,
    which are planned from, have the values.

    Args:
        task: The task.
        sides: Its rows.
        metadata: Of its destination.
        lag: How long a change may take to arrive.
        crossref: Rows that are the same although their keys are not.
        is_part: Whether these are not all rows of the sides: a row whose entry of the cross-reference leads to one that
            is not here is then left out, instead of missing.
    """
    clock = time.perf_counter()
    entity = metadata[task.destination.system].entities[task.destination.entity]
    task = with_lengths(task, entity)
    mapped = mapping.expected(sides.source, task, entity)
    found = mapping.project(sides.found, task, entity)
    resolved = resolve(mapped.rows, found, sides.source, task, crossref)
    mapped = replace(mapped, rows=resolved.rows)
    excluded = mapping.filter_outcome(sides.source, task)
    excluded = excluded.zip_with(excluded.is_not_null(), mapping.handed_over(mapped.rows, sides.found, task))
    if is_part:
        elsewhere = resolved.pairs.filter(~pl.col("is_there"))["row"]
        excluded = excluded.clone().scatter(elsewhere, "cross_reference") if elsewhere.len() else excluded
    outcomes = compare(
        mapped.rows,
        found,
        task,
        excluded=excluded,
        in_scope=_in_scope(sides.found, task),
        unmapped=mapped.unmapped,
        parents=sides.parents,
    )
    faults = line_faults(outcomes.rows, mapped.rows, found, task.tie_out) if task.tie_out else None
    odd = quirks.touched(sides.source, mapped.rows, task, entity)
    accounted = quirks.accounted(outcomes.cells, odd, task, sides.source)
    table = explain(outcomes, task, sides.source, at=sides.read_at, lag=lag, faults=faults, quirks=accounted)
    table = _by_crossref(table, outcomes.rows, resolved.pairs)
    unmapped = _unmapped(task, mapped, excluded)
    if personal := personal_fields(task):  # from here on these two go to everything that people are shown
        masker = site_masker()
        table = masker.cells(table, {task.name: personal}, "expected", "found")
        unmapped = masker.cells(unmapped, {task.name: personal}, "value")
    flowing = excluded.is_null().arg_true().cast(pl.UInt32)
    counted = quirks.counted(task, odd, outcomes.cells, accounted, flowing)
    seconds = time.perf_counter() - clock
    return Compared(mapped.rows, found, unmapped, outcomes, table, counted, seconds, entity, resolved.pairs)


def _by_crossref(table: pl.DataFrame, rows: pl.DataFrame, crossed: pl.DataFrame) -> pl.DataFrame:
    """Say of what differs in a pair that the cross-reference, and not its key, made it one."""
    if crossed.is_empty():
        return table
    pairs = rows.filter((pl.col("side") == "both") & pl.col("source_row").is_in(crossed["row"].implode()))["key"]
    is_one = (pl.col("side") == "both") & pl.col("key").is_in(pairs.implode())
    said = pl.concat_str("reason", pl.lit(" (paired by the cross-reference)"))
    return table.with_columns(reason=pl.when(is_one).then(said).otherwise("reason"))


def _in_scope(found: pl.DataFrame, task: Task) -> pl.Series:
    conditions = [condition.expr() for condition in (*task.destination.scope, *task.destination.as_long_as)]
    if not conditions:
        return pl.repeat(True, found.height, eager=True)
    return found.select(pl.all_horizontal(conditions).alias("in_scope"))["in_scope"]


def _unmapped(task: Task, mapped: mapping.Expected, excluded: pl.Series) -> pl.DataFrame:
    """Values without an entry, with the rows and the money behind them; rows that do not flow are left out."""
    rows = mapped.rows.select(
        amount=pl.col(task.amount) if task.amount else pl.lit(None, MONEY),
        currency=pl.col(task.currency) if task.currency else pl.lit(None, pl.String),
        excluded=excluded,
    ).with_row_index("row")
    joined = mapped.unmapped.with_columns(pl.col("row").cast(pl.UInt32)).join(rows, on="row", how="left")
    return (
        joined.filter(pl.col("excluded").is_null())
        .group_by("field", "value", "currency", maintain_order=True)
        .agg(rows=pl.len(), amount=pl.col("amount").fill_null(0).sum())
        .select(pl.lit(task.name).alias("task"), "field", "value", "rows", "amount", "currency")
        .cast(UNMAPPED_COLUMNS)
        .sort("rows", "value", descending=[True, False])
    )


def summary(task: Task, sides: Sides, compared: Compared) -> dict[str, Any]:
    """The task's line in ``run.json``: counts of rows by outcome, of fields by outcome, money at stake, seconds."""
    outcomes = compared.outcomes
    fields = dict(outcomes.cells["outcome"].value_counts().iter_rows())
    odd = quirks_only(compared.table)
    differing = outcomes.rows.filter(pl.col("outcome").is_in(["mismatched", "missing", "extra", "blocked"]))
    differing = differing.filter((pl.col("side") != "both") | ~pl.col("key").is_in(odd.implode()))
    money = differing.group_by("currency").agg(pl.col("amount").sum()).filter(pl.col("amount") != 0).sort("currency")
    return {
        "task": task.name,
        "template": task.template,
        "source": f"{task.source.system} {task.source.entity}",
        "destination": f"{task.destination.system} {task.destination.entity}",
        **_leg_facts(task),
        "source_rows": outcomes.source_rows,
        "destination_rows": outcomes.destination_rows,
        **{outcome: outcomes.count(outcome) for outcome in ROW_OUTCOMES},
        "out_of_scope": outcomes.out_of_scope,
        "cross_referenced": int(compared.crossed["is_there"].sum()),
        "quirks": odd.len(),
        "fields": {outcome: fields.get(outcome, 0) for outcome in FIELD_OUTCOMES},
        "unmapped_values": compared.unmapped.height,
        "masked": personal_fields(task),
        "currency_column": task.currency,
        "tie_out": task.tie_out.model_dump() if task.tie_out else None,
        "amount_at_stake": dict(money.select(pl.col("currency").fill_null(""), as_text("amount", MONEY)).iter_rows()),
        "seconds": round(sides.seconds + compared.seconds, 3),
        "seconds_reading": round(sides.seconds, 3),
    }


def _leg_facts(task: Task) -> dict[str, Any]:
    """What a comparison over three systems needs to know of a leg; nothing of a direct task."""
    if task.of is None:
        return {}
    return {"of": task.of, "leg": task.leg, "reads": {f.destination: f.source for f in task.fields if f.source}}


def save(folder: Path, task: Task, sides: Sides, compared: Compared) -> dict[str, Any]:
    """Write a task's frames, sums, summary and how it was compared to its folder (`task_folder`); give the summary."""
    place = task_folder(folder, task.name)
    _save_frames(place, task, sides, compared)
    added_up = sums(task, compared.expected, compared.found, compared.outcomes)
    added_up.write_parquet(place / "sums.parquet")
    facts = summary(task, sides, compared) | {"inputs": inputs(task, sides), "how": how(task)}
    write_json(place / "summary.json", facts)
    write_json(place / "task.json", task.model_dump(mode="json"))
    return facts


def inputs(task: Task, sides: Sides) -> dict[str, str]:
    """SHA-256 of what was compared (`digest.digest`): ``source`` and ``destination`` as read, in the columns that the
    task names, and ``rules``, the task as its template and overlays have it."""
    rules = json.dumps(task.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return {
        "source": digest(sides.source, mapping.source_columns(task)),
        "destination": digest(sides.found, mapping.destination_columns(task)),
        "rules": combined([rules]),
    }


def how(task: Task) -> dict[str, Any]:
    """How a task is compared, as a reader of its report wants to know it: texts, and lists of texts."""
    compared = [field for field in task.fields if field.is_compared]
    normalised: dict[str, list[str]] = {}
    for field in compared:
        for name in field.normalise:
            normalised.setdefault(name, []).append(field.destination)
    return {
        "title": task.title,
        "key": [f"{theirs} = {ours}" for theirs, ours in task.key.items()],
        "filter": [condition.words for condition in task.filter],
        "scope": [condition.words for condition in task.destination.conditions],
        "fields": len(compared),
        "computed": [field.destination for field in compared if field.role == "computed"],
        "tolerances": {f.destination: str(f.tolerance) for f in compared if f.tolerance},
        "normalised": normalised,
        "value_maps": sorted({field.value_map for field in compared if field.value_map}),
        "quirks": len(task.quirks()),
        "amount": task.amount,
    }


def save_ahead(
    folder: Path, task: Task, sides: Sides, metadata: Mapping[str, Metadata], *, lag: timedelta = timedelta(0)
) -> None:
    """Compare a second leg once more, as the store will be when its first leg is written, and keep that for the plan.

    Nothing is kept where the first leg was not compared in this run, or would change nothing.
    """
    first = first_leg(folder, task)
    if first is None:
        return
    source = ahead(first, sides.source, task)
    if not source.equals(sides.source):
        then = replace(sides, source=source)
        _save_frames(task_folder(folder, task.name) / AHEAD, task, then, compare_sides(task, then, metadata, lag=lag))


def _save_frames(place: Path, task: Task, sides: Sides, compared: Compared) -> None:
    place.mkdir(parents=True, exist_ok=True)
    found = sides.found.with_columns(compared.found.select(pl.exclude(sides.found.columns)).get_columns())
    frames = {
        "source": sides.source,
        "expected": compared.expected,
        "found": found.with_columns(compared.found.get_columns()),
        "rows": compared.outcomes.rows,
        "cells": compared.outcomes.cells,
        "waits": waits(compared.outcomes, task),
        "outcomes": compared.table,
        "unmapped": compared.unmapped,
        "quirks": compared.quirks,
        "crossed": compared.crossed,
        **({"freight_tax": sides.freight_tax} if sides.freight_tax is not None else {}),
    }
    for name, frame in frames.items():
        frame.write_parquet(place / f"{name}.parquet")
    (place / "entity.json").write_bytes(TypeAdapter(Entity).dump_json(compared.entity, indent=1))


def validate_task(task: Task, sides: Sides, compared: Compared, suites: Path | None = None) -> list[SuiteResult]:
    """Hold a task's source, expected and destination rows against their expectation suites.

    Rows that the task leaves out, and destination rows that are none of its business, are not held against anything.

    Raises:
        ValidationFailed: An expectation could not be evaluated.
    """
    rows = compared.outcomes.rows
    flowing = rows.filter(pl.col("outcome") != "excluded")["source_row"].drop_nulls().sort()
    in_scope = rows["destination_row"].drop_nulls().sort()
    parts = (
        ("source", sides.source, flowing, list(task.key.values())),
        ("expected", compared.expected, flowing, list(task.key)),
        ("destination", compared.found, in_scope, list(task.key)),
    )
    if task.of is None:
        made = [
            validate(frame[rows], f"{task.name}_{side}", key=key, folder=suites) for side, frame, rows, key in parts
        ]
    else:
        # a leg is held against the suites of the direct task, at the ends that it shares with it
        ends = ("source",) if task.leg == 1 else ("expected", "destination")
        made = [
            validate(frame[rows], f"{task.of}_{side}", key=key, folder=suites, name=f"{task.name}_{side}")
            for side, frame, rows, key in parts
            if side in ends
        ]
    personal = {*personal_fields(task), *personal_sources(task)}
    return [masked(result, personal, site_masker().plain) for result in made] if personal else made


def save_checks(folder: Path, task: Task, results: Sequence[SuiteResult]) -> list[dict[str, Any]]:
    """Write a task's ``checks.json``, and ``validation.json`` for the Data Docs; give the checks."""
    checks = [result.to_dict() for result in results]
    write_json(task_folder(folder, task.name) / "validation.json", [result.result for result in results])
    write_json(task_folder(folder, task.name) / "checks.json", checks)
    return checks


def read_validation(place: Path) -> list[SuiteResult]:
    """What `save_checks` kept in a task's folder, as results again; none when the task was not validated."""
    if not (place / "validation.json").exists():
        return []
    answers = json.loads((place / "validation.json").read_text("utf-8"))
    suites = json.loads((place / "checks.json").read_text("utf-8"))
    return [
        SuiteResult(
            suite=suite["suite"],
            rows=suite["rows"],
            checks=tuple(Check(**{f.name: check[f.name] for f in fields(Check)}) for check in suite["checks"]),
            success=suite["success"],
            statistics=suite["statistics"],
            result=answer,
        )
        for suite, answer in zip(suites, answers, strict=True)
    ]


@contextmanager
def shared_readings(folder: Path, tasks: Sequence[Task], templates: Mapping[str, Template]) -> Iterator[Path]:
    """Let the tasks of a run read once what several of them need.

    Args:
        folder: The run's.
        tasks: What will be run.
        templates: All of them, for the columns that notebooks read beside a task's own.

    Yields:
        The folder of the readings, for `read_sides`; gone when the run is over.
    """
    asked = []
    for task in tasks:
        source, destination = task.source, task.destination
        columns = [*mapping.source_columns(task), *CLOCKS, *route_columns(task, templates)]
        asked.append(Asked(f"{task.name} source", source.system, source.entity, columns))
        columns = mapping.destination_columns(task)
        asked.append(Asked(f"{task.name} destination", destination.system, destination.entity, columns))
        parents = [parent for field in task.fields for parent in field.parent]
        asked += [Asked(f"{task.name} parents", destination.system, p.entity, [p.column]) for p in parents]
    place = working_folder(folder) / "readings"
    try:
        Readings.prepare(place, [one for one in asked if one.system != "cds"])  # the store is read as it stands
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def execute_task(
    folder: Path,
    task: Task,
    clients: Mapping[str, Client],
    *,
    lag: timedelta,
    progress: Progress | None = None,
    readings: Path | None = None,
    crossref: Crossref = NONE,
) -> None:
    """Do a task from pull to saved result; whatever it stumbles over is recorded in the folder, in words."""
    try:
        sides = read_sides(task, clients, progress, readings=readings)
        metadata = {system: client.metadata() for system, client in clients.items()}
        compared = compare_sides(task, sides, metadata, lag=lag, crossref=crossref)
        save(folder, task, sides, compared)
        save_ahead(folder, task, sides, metadata, lag=lag)
        save_checks(folder, task, validate_task(task, sides, compared))
    except Exception as error:  # as in a notebook: whatever it was, the other tasks still tell what they can
        save_failure(folder, task.name, error)


def execute_tasks(
    folder: Path,
    profile: Profile,
    tasks: Sequence[Task],
    *,
    lag: timedelta,
    route: Route = "direct",
    progress: Progress | None = None,
    done: Callable[[str], None] = lambda name: None,
) -> None:
    """Do tasks one after the other in this process; a failed one is recorded and the others go on.

    Args:
        folder: The run's.
        profile: Where the systems are.
        tasks: What to do.
        route: Whose tasks these are.
        lag: How long a change may take to arrive.
        progress: Told how many rows have come.
        done: Told the name of each task that is over.
    """
    with (
        shared_readings(folder, tasks, templates_for(profile, route)) as readings,
        open_clients(profile, route) as clients,
    ):
        crossref = read_crossref(profile.crossref_file)
        for task in tasks:
            execute_task(folder, task, clients, lag=lag, progress=progress, readings=readings, crossref=crossref)
            done(task.name)


def execute(
    profile: Profile,
    tasks: Sequence[Task],
    out: Path | None,
    parameters: Mapping[str, Any],
    *,
    lag: timedelta = timedelta(0),
    progress: Progress | None = None,
) -> Path:
    """Do tasks one after the other in this process, in a folder of their own.

    Returns:
        The run's folder, finished and in the history, but without its report.
    """
    folder = create(out, profile, parameters)
    execute_tasks(folder, profile, tasks, lag=lag, progress=progress)
    conclude(profile, folder, [task.name for task in tasks])
    return folder
