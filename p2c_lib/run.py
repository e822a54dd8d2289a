"""One execution: both sides of a task read, mapped, compared, explained, validated and saved in the run's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import polars as pl

from p2c_lib import mapping, quirks
from p2c_lib.cells import as_text
from p2c_lib.chains import waits
from p2c_lib.config import Profile
from p2c_lib.connect import Client, Metadata, connect, literal
from p2c_lib.diff import FIELD_OUTCOMES, ROW_OUTCOMES, Outcomes, compare
from p2c_lib.errors import ConfigError, NotFound, P2CError, PermissionDenied, SchemaError
from p2c_lib.explain import explain, quirks_only
from p2c_lib.folder import UNMAPPED_COLUMNS, create, finish, save_failure, write_json
from p2c_lib.legs import AHEAD, ahead, first_leg
from p2c_lib.model import Route, Task, Template, check_against, with_lengths
from p2c_lib.pull import MONEY, pull
from p2c_lib.store import STAGED_AT, connect_store
from p2c_lib.tieout import line_faults
from p2c_lib.validate import Check, SuiteResult, validate

Progress = Callable[[str, int], None]
"""Called with what is being read and how many rows have come so far."""


@dataclass(frozen=True)
class Sides:
    """A task's rows as pulled.

    Attributes:
        source: Shape (n, c): the source columns the task names.
        found: Shape (m, d): the destination columns, ``@odata.etag`` and the entity's own key.
        parents: For each field with a parent, the values present at the destination (String).
        read_at: When reading began, UTC.
        seconds: How long reading took.
    """

    source: pl.DataFrame
    found: pl.DataFrame
    parents: dict[str, pl.Series]
    read_at: datetime
    seconds: float


@dataclass(frozen=True)
class Compared:
    """A task's comparison: mapped frames, outcomes, the explained table (`OUTCOME_COLUMNS`), quirks counted."""

    expected: pl.DataFrame
    found: pl.DataFrame
    unmapped: pl.DataFrame
    outcomes: Outcomes
    table: pl.DataFrame
    quirks: pl.DataFrame
    seconds: float


@contextmanager
def open_clients(profile: Profile, route: Route = "direct") -> Iterator[dict[str, Client]]:
    """Connect to both systems, and on the route through CDS to the store between them; closed on the way out."""
    clients: dict[str, Client] = {}
    try:
        for system in ("sales", "fno"):
            clients[system] = connect(profile, system)
        if route == "cds":  # the store answers what tasks ask of a client
            clients["cds"] = cast(Client, connect_store(profile))
        yield clients
    finally:
        for client in clients.values():
            client.close()


def read_sides(
    task: Task, clients: Mapping[str, Client], progress: Progress | None = None, *, also: Sequence[str] = ()
) -> Sides:
    """Pull both sides of a task, at the same time, after its template was held against the live metadata.

    Args:
        task: What to read.
        clients: Both systems.
        progress: Told how many rows have come.
        also: Source columns to read beside those the task names.

    Raises:
        ConfigError: F&O has no such company.
        SchemaError: The template names columns that a service does not have.
        ConnectError: A service could not be read.
    """
    began, clock = datetime.now(UTC), time.perf_counter()
    check_company(clients["fno"])
    source_client, destination_client = clients[task.source.system], clients[task.destination.system]
    check_template(task, clients)
    note = progress or (lambda label, rows: None)

    known = source_client.metadata().entities[task.source.entity].columns
    clock_column = [name for name in ("modifiedon", STAGED_AT) if name in known]
    columns = list(dict.fromkeys([*mapping.source_columns(task), *clock_column, *also]))

    def pull_source() -> pl.DataFrame:
        label = f"{task.source.system} {task.source.entity}"
        return pull(source_client, task.source.entity, columns, progress=lambda rows: note(label, rows))

    def pull_found() -> pl.DataFrame:
        label = f"{task.destination.system} {task.destination.entity}"
        wanted, entity, only = mapping.destination_columns(task), task.destination.entity, task.destination.only
        known = destination_client.entity(entity).columns
        said = [c.odata(known[c.column], task.destination.system) for c in only if c.column in known]
        filter = " and ".join(f"({text})" for text in said if text) or None
        rows = pull(destination_client, entity, wanted, filter=filter, progress=lambda rows: note(label, rows))
        return rows.filter(pl.all_horizontal([pl.lit(True), *(condition.expr() for condition in only)]))

    def pull_parents() -> dict[str, pl.Series]:
        asked = dict.fromkeys((p.entity, p.column) for field in task.fields for p in field.parent)
        present = {place: pull(destination_client, place[0], [place[1]])[place[1]] for place in asked}
        return {
            field.destination: pl.concat([present[p.entity, p.column] for p in field.parent])
            for field in task.fields
            if field.parent
        }

    with ThreadPoolExecutor(3) as pool:
        source, found, parents = pool.submit(pull_source), pool.submit(pull_found), pool.submit(pull_parents)
        return Sides(source.result(), found.result(), parents.result(), began, time.perf_counter() - clock)


def check_company(client: Client) -> None:
    """Raise `ConfigError` for a company that F&O does not have: to a read it is one without rows, so all would differ.

    Where the user sees no legal entities at all, the company is taken as it is.
    """
    if client.company is None or "company" in client.cache or "LegalEntities" not in client.metadata().entities:
        return
    asked = {"$select": "LegalEntityId"}
    try:
        wanted = f"LegalEntityId eq {literal(client.company, 'Edm.String')}"
        if not client.get("LegalEntities", {**asked, "$filter": wanted})["value"]:
            known = sorted(row["LegalEntityId"] for row in client.get("LegalEntities", asked)["value"])
            if known:
                raise ConfigError(f"F&O at {client.root} has no company '{client.company}'; known: {', '.join(known)}")
    except (PermissionDenied, NotFound):
        pass
    client.cache["company"] = client.company


def check_template(task: Task, clients: Mapping[str, Client]) -> None:
    """Raise `SchemaError` with every column of the task that the live services lack or type otherwise."""
    problems = template_problems(task, {system: client.metadata() for system, client in clients.items()})
    if problems:
        raise SchemaError(f"{task.name} does not fit the services: " + "; ".join(problems))


def template_problems(task: Task, metadata: Mapping[str, Metadata]) -> list[str]:
    """Everything of a task that the live metadata of its two systems does not bear out."""
    sides = []
    for side in (task.source, task.destination):
        entities = metadata[side.system].entities
        if side.entity not in entities:
            return [f"{side.system} has no entity set '{side.entity}'; is its solution installed?"]
        sides.append(entities[side.entity])
    return check_against(task, *sides)


def compare_sides(
    task: Task, sides: Sides, metadata: Mapping[str, Metadata], *, lag: timedelta = timedelta(0)
) -> Compared:
    """Map, compare and explain what was pulled; pure but for the clock that times it."""
    clock = time.perf_counter()
    entity = metadata[task.destination.system].entities[task.destination.entity]
    task = with_lengths(task, entity)
    mapped = mapping.expected(sides.source, task, entity)
    found = mapping.project(sides.found, task, entity)
    excluded = mapping.filter_outcome(sides.source, task)
    excluded = excluded.zip_with(excluded.is_not_null(), mapping.handed_over(mapped.rows, sides.found, task))
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
    accounted = quirks.accounted(outcomes.cells, odd, task)
    table = explain(outcomes, task, sides.source, at=sides.read_at, lag=lag, faults=faults, quirks=accounted)
    unmapped = _unmapped(task, mapped, excluded)
    flowing = excluded.is_null().arg_true().cast(pl.UInt32)
    counted = quirks.counted(task, odd, outcomes.cells, accounted, flowing)
    return Compared(mapped.rows, found, unmapped, outcomes, table, counted, time.perf_counter() - clock)


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
        "quirks": odd.len(),
        "fields": {outcome: fields.get(outcome, 0) for outcome in FIELD_OUTCOMES},
        "unmapped_values": compared.unmapped.height,
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
    """Write a task's frames and its summary below ``tasks/<task>``; give the summary."""
    place = folder / "tasks" / task.name
    _save_frames(place, task, sides, compared)
    facts = summary(task, sides, compared)
    write_json(place / "summary.json", facts)
    return facts


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
        _save_frames(folder / "tasks" / task.name / AHEAD, task, then, compare_sides(task, then, metadata, lag=lag))


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
    }
    for name, frame in frames.items():
        frame.write_parquet(place / f"{name}.parquet")


def validate_task(task: Task, sides: Sides, compared: Compared, suites: Path | None = None) -> list[SuiteResult]:
    """Hold a task's source, expected and destination rows against their expectation suites.

    Rows that the task leaves out, and destination rows that are none of its business, are not held against anything.

    Raises:
        ValidationFailed: An expectation could not be evaluated.
    """
    rows = compared.outcomes.rows
    flowing = rows.filter(pl.col("outcome") != "excluded")["source_row"].drop_nulls().sort()
    in_scope = rows["destination_row"].drop_nulls().sort()
    frames = (
        ("source", sides.source[flowing], list(task.key.values())),
        ("expected", compared.expected[flowing], list(task.key)),
        ("destination", compared.found[in_scope], list(task.key)),
    )
    if task.of is None:
        return [validate(frame, f"{task.name}_{side}", key=key, folder=suites) for side, frame, key in frames]
    # a leg is held against the suites of the direct task, at the ends that it shares with it
    ends = ("source",) if task.leg == 1 else ("expected", "destination")
    return [
        validate(frame, f"{task.of}_{side}", key=key, folder=suites, name=f"{task.name}_{side}")
        for side, frame, key in frames
        if side in ends
    ]


def save_checks(folder: Path, task: Task, results: Sequence[SuiteResult]) -> list[dict[str, Any]]:
    """Write a task's ``checks.json``, and ``validation.json`` for the Data Docs; give the checks."""
    checks = [result.to_dict() for result in results]
    write_json(folder / "tasks" / task.name / "validation.json", [result.result for result in results])
    write_json(folder / "tasks" / task.name / "checks.json", checks)
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


def routes(source: pl.DataFrame, task: Task, templates: Mapping[str, Template]) -> pl.DataFrame:
    """Where the rows of a source entity go, over all tasks that read it.

    Returns:
        Columns route (the destination's entity, or "not synchronised"), reason (the condition that keeps a row out of
        this task, in words), rows.
    """
    siblings = [t for tpl in templates.values() for t in tpl.tasks if _same_entity(t, task)]
    failed = {sibling.name: mapping.filter_outcome(source, sibling) for sibling in siblings}
    words = {condition.name: condition.says for sibling in siblings for condition in sibling.filter}
    route = pl.coalesce(
        *[
            pl.when(pl.col(sibling.name).is_null()).then(pl.lit(f"{sibling.destination.entity} ({sibling.name})"))
            for sibling in siblings
        ],
        pl.lit("not synchronised"),
    )
    return (
        pl.DataFrame(failed)
        .select(route=route, reason=pl.col(task.name).replace_strict(words, default=None, return_dtype=pl.String))
        .group_by("route", "reason")
        .agg(rows=pl.len())
        .sort("rows", "route", descending=[True, False])
    )


def route_columns(task: Task, templates: Mapping[str, Template]) -> list[str]:
    """The source columns that `routes` looks at: those of the filters of all tasks that read the same entity."""
    tasks = [t for template in templates.values() for t in template.tasks if _same_entity(t, task)]
    return list(dict.fromkeys(condition.column for t in tasks for condition in t.filter))


def _same_entity(one: Task, other: Task) -> bool:
    return (one.source.system, one.source.entity) == (other.source.system, other.source.entity)


def execute_task(
    folder: Path, task: Task, clients: Mapping[str, Client], *, lag: timedelta, progress: Progress | None = None
) -> None:
    """Do a task from pull to saved result; a failure is recorded in the folder and raised."""
    try:
        sides = read_sides(task, clients, progress)
        metadata = {system: client.metadata() for system, client in clients.items()}
        compared = compare_sides(task, sides, metadata, lag=lag)
        save(folder, task, sides, compared)
        save_ahead(folder, task, sides, metadata, lag=lag)
        save_checks(folder, task, validate_task(task, sides, compared))
    except P2CError as error:
        save_failure(folder, task.name, error)
        raise


def execute(
    profile: Profile,
    tasks: Sequence[Task],
    out: Path | None,
    parameters: Mapping[str, Any],
    *,
    lag: timedelta = timedelta(0),
    progress: Progress | None = None,
) -> Path:
    """Do tasks one after the other in this process; a failed one is recorded and the others go on.

    Returns:
        The run's folder, finished but without its report.
    """
    folder = create(out, profile, parameters)
    with open_clients(profile) as clients:
        for task in tasks:
            with suppress(P2CError):  # recorded by execute_task; the other tasks still tell what they can
                execute_task(folder, task, clients, lag=lag, progress=progress)
    finish(folder, [task.name for task in tasks])
    return folder
