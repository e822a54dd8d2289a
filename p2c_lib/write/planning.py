"""Compared tasks to one plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from p2c_lib.connect import Client, Metadata
from p2c_lib.errors import PlanError
from p2c_lib.legs import AHEAD, first_leg
from p2c_lib.model import Task, Template, all_tasks
from p2c_lib.write.draft import Draft
from p2c_lib.write.saved import LEFT_OUT, PLAN_COLUMNS, Plan, check_addresses, head_of, save
from p2c_lib.write.staging import staged_by
from p2c_lib.write.totals import settle


def plan(
    run_dir: Path,
    *,
    tasks: Sequence[str] | None = None,
    templates: Mapping[str, Template],
    clients: Mapping[str, Client],
    metadata: Mapping[str, Metadata] | None = None,
) -> Plan:
    """Make the plan that puts the destination in step, and save it below the run.

    Args:
        run_dir: A run's folder, its tasks compared.
        tasks: Names of tasks; default all that the run compared.
        templates: As loaded.
        clients: By system; read from (referenced rows such as units), never written to.
        metadata: Live metadata by system; default that of the clients.

    Returns:
        The plan: a create for every missing row, an update with the differing fields for every mismatched one.
        An update of computed fields alone is a recalculate: it has the service work them out again.
        Nothing for extra, excluded and blocked rows, except children whose parent this same plan creates.

    Raises:
        PlanError: A task was not compared, the run belongs to other services, or another plan of this run has been
            sent in part.

    Making it again from the same run gives the same hash; then an approval and a journal stay as they are.
    """
    run = json.loads((run_dir / "run.json").read_text("utf-8"))
    head = head_of(run)
    check_addresses(head, clients)
    frames, left_out = [PLAN_COLUMNS.to_frame()], [LEFT_OUT.to_frame()]
    parents: dict[tuple[str, str], pl.DataFrame] = {}
    drafts = []
    for task in _chosen(run_dir, tasks, templates):
        client = clients[task.destination.system]
        known = metadata[task.destination.system] if metadata else client.metadata()
        entity = known.entity(task.destination.entity)
        offset = sum(_actions(frame) for frame in frames)
        staged = staged_by(first_leg(run_dir, task), frames)
        draft = Draft(_place(run_dir, task), task, entity, offset, parents, staged)
        drafts.append(draft)
        fields, rest = draft.build(client, known)
        frames.append(fields)
        left_out.append(rest)
    made = Plan(
        run_dir / "plan",
        settle(drafts, pl.concat(frames), all_tasks(templates), clients),
        head,
        "",
        datetime.now(UTC).isoformat(timespec="seconds"),
        None,
        pl.concat(left_out),
    )
    return save(made)


def _place(run_dir: Path, task: Task) -> Path:
    """Where the frames to plan from are: of a second leg, those that hold once the first has been written."""
    place = run_dir / "tasks" / task.name
    return place / AHEAD if (place / AHEAD).is_dir() else place


def _actions(frame: pl.DataFrame) -> int:
    return frame["order"].n_unique()


def _chosen(run_dir: Path, names: Sequence[str] | None, templates: Mapping[str, Template]) -> list[Task]:
    known = all_tasks(templates)
    compared = {path.parent.name for path in run_dir.glob("tasks/*/rows.parquet")}
    unknown = sorted(set(names or compared) - {task.name for task in known})
    absent = sorted(set(names or ()) - compared - set(unknown))
    if unknown:
        raise PlanError(f"no template has a task {', '.join(unknown)}; known: {', '.join(t.name for t in known)}")
    if absent:
        raise PlanError(f"{run_dir}: {', '.join(absent)} was not compared in this run; run it first")
    if not compared:
        raise PlanError(f"{run_dir}: nothing was compared in this run; there is nothing to plan from")
    return [task for task in known if task.name in compared and (names is None or task.name in names)]
