"""Compared tasks to one plan."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl

from p2c_lib.connect import Client, Metadata
from p2c_lib.errors import PlanError
from p2c_lib.legs import AHEAD, first_leg
from p2c_lib.masking import personal_fields
from p2c_lib.model import Task, Template, all_tasks
from p2c_lib.places import plan_folder, task_folder, tasks_folder
from p2c_lib.write.draft import Draft
from p2c_lib.write.removal import check_names, extra_rows, in_order, removed
from p2c_lib.write.saved import LEFT_OUT, PLAN_COLUMNS, Plan, check_addresses, head_of, save
from p2c_lib.write.second import coming, second_pass
from p2c_lib.write.staging import staged_by
from p2c_lib.write.totals import settle


def plan(
    run_dir: Path,
    *,
    tasks: Sequence[str] | None = None,
    templates: Mapping[str, Template],
    clients: Mapping[str, Client],
    metadata: Mapping[str, Metadata] | None = None,
    delete: Sequence[str] = (),
    deactivate: Sequence[str] = (),
) -> Plan:
    """Make the plan that puts the destination in step, and save it below the run.

    Args:
        run_dir: A run's folder, its tasks compared.
        tasks: Names of tasks; default all that the run compared.
        templates: As loaded.
        clients: By system; read from (referenced rows such as units), never written to.
        metadata: Live metadata by system; default that of the clients.
        delete: Names of tasks whose extra rows are to be deleted at the destination; none by default.
        deactivate: Names of tasks whose extra rows are to be switched off there; none by default.

    Returns:
        The plan: a create for every missing row, an update with the differing fields for every mismatched one.
        An update of computed fields alone is a recalculate: it has the service work them out again.
        Nothing for extra, excluded and blocked rows, except children whose parent this same plan creates, and extra
        rows of the tasks that were named: they go last, children before their parents.

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
    chosen = _chosen(run_dir, tasks, templates)
    if masked := {task.name: names for task in chosen if (names := personal_fields(task))}:
        head["masked"] = masked
    check_names("delete", delete, chosen)
    check_names("deactivate", deactivate, chosen)
    for task in chosen:
        client = clients[task.destination.system]
        known = metadata[task.destination.system] if metadata else client.metadata()
        entity = known.entity(task.destination.entity)
        offset = sum(_actions(frame) for frame in frames)
        staged = staged_by(first_leg(run_dir, task), frames)
        draft = Draft(_place(run_dir, task), task, entity, offset, parents, staged, coming(run_dir, task, chosen))
        drafts.append(draft)
        fields, rest = draft.build(client, known)
        frames.append(fields)
        left_out.append(rest)
    rows = settle(drafts, pl.concat(frames), all_tasks(templates), clients)
    rows = pl.concat([rows, second_pass(drafts, parents, sum(_actions(frame) for frame in frames))])
    going = [task for task in chosen if task.name in (*delete, *deactivate)]
    rows = _with_removals(run_dir, rows, going, set(delete), all_tasks(templates), clients)
    rest = pl.concat(left_out)
    if going:
        is_named = (pl.col("outcome") == "extra") & pl.col("task").is_in([task.name for task in going])
        rest = rest.filter(~is_named)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return save(Plan(plan_folder(run_dir), rows, head, "", now, None, rest))


def _with_removals(
    run_dir: Path,
    rows: pl.DataFrame,
    going: Sequence[Task],
    delete: Collection[str],
    tasks: Sequence[Task],
    clients: Mapping[str, Client],
) -> pl.DataFrame:
    """A plan's rows, and behind them the deletions and deactivations that were asked for by name."""
    leaving: dict[str, pl.Series] = {}
    offset = 1 + int(rows["order"].max()) if rows.height else 0  # type: ignore[arg-type]
    for task in in_order(going):
        client = clients[task.destination.system]
        gone, values = extra_rows(_place(run_dir, task), task, client.entity(task.destination.entity))
        kind: Literal["delete", "deactivate"] = "delete" if task.name in delete else "deactivate"
        made = removed(kind, task, gone, values, offset=offset, client=client, tasks=tasks, leaving=leaving)
        sent = made.filter((pl.col("action") == "delete") & pl.col("held").is_null())["target"]
        earlier = leaving.get(task.destination.entity, sent.clear())
        leaving[task.destination.entity] = pl.concat([earlier, sent]).unique()
        offset += gone.height
        rows = pl.concat([rows, made])
    return rows


def _place(run_dir: Path, task: Task) -> Path:
    """Where the frames to plan from are: of a second leg, those that hold once the first has been written."""
    place = task_folder(run_dir, task.name)
    return place / AHEAD if (place / AHEAD).is_dir() else place


def _actions(frame: pl.DataFrame) -> int:
    return frame["order"].n_unique()


def _chosen(run_dir: Path, names: Sequence[str] | None, templates: Mapping[str, Template]) -> list[Task]:
    known = all_tasks(templates)
    compared = {path.parent.name for path in tasks_folder(run_dir).glob("*/rows.parquet")}
    unknown = sorted(set(names or compared) - {task.name for task in known})
    absent = sorted(set(names or ()) - compared - set(unknown))
    if unknown:
        raise PlanError(f"no template has a task {', '.join(unknown)}; known: {', '.join(t.name for t in known)}")
    if absent:
        raise PlanError(f"{run_dir}: {', '.join(absent)} was not compared in this run; run it first")
    if not compared:
        raise PlanError(f"{run_dir}: nothing was compared in this run; there is nothing to plan from")
    return [task for task in known if task.name in compared and (names is None or task.name in names)]
