"""Business days of a running sandbox: people work at both services, then our own tasks copy, and both must agree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2c_lib import apply as applying
from p2c_lib import folder as folders
from p2c_lib import history, write
from p2c_lib import run as runs
from p2c_lib.config import Profile
from p2c_lib.connect import Client
from p2c_lib.errors import SandboxError
from p2c_lib.model import Task, Template, all_tasks, load_templates
from p2c_lib.sandbox import days as sandbox_days
from p2c_lib.sandbox import lifecycle
from p2c_lib.sandbox.days_clerks import Fno
from p2c_lib.store import connect_store

__all__ = ["Day", "advance", "compare", "copy_over"]

BY = "sandbox advance"
RUNS = "days"  # folder of the runs, below the sandbox's


@dataclass(frozen=True)
class Day:
    """What became of a business day.

    Attributes:
        day: Its number, from 1.
        date: ISO.
        events: What people did: deed -> how often.
        copied: What our tasks sent.
        differing: Rows that still differ after it, and documents that do not tie out.
        run: The folder of the comparison after it; None when everything agreed.
    """

    day: int
    date: str
    events: Mapping[str, int]
    copied: applying.Applied
    differing: int
    run: Path | None

    def __str__(self) -> str:
        """One line for people."""
        done = ", ".join(f"{count} {deed}" for deed, count in self.events.items()) or "nothing happened"
        copied = f"{self.copied.created} created, {self.copied.updated} updated"
        bad = {name: getattr(self.copied, name) for name in ("failed", "conflicts", "remaining")}
        copied += "".join(f", {count} {name}" for name, count in bad.items() if count)
        left = f"{self.differing} differ: {self.run}" if self.run else "in step"
        return f"day {self.day}, {self.date}: {done}; {copied}; {left}"


def advance(folder: Path, days: int, seed: int | None = None) -> Iterator[Day]:
    """Live through business days of a running sandbox, one after the other.

    Args:
        folder: The sandbox's.
        days: How many.
        seed: Of what happens; default that of the sandbox's data. Same start, seed and days: the same rows, but for
            ids and moments.

    Yields:
        Each day when it is over; the calendar in the folder goes on with it.

    Raises:
        SandboxError: It does not run, or a service refused what its people wanted.
        P2CError: Copying could not go on.
    """
    state = _running(folder)
    profile = _profile(folder, state)
    templates = load_templates()
    tasks = all_tasks(templates)
    seed = int(state["seed"]) if seed is None else seed
    first = sandbox_days.day_reached(folder) + 1
    with runs.open_clients(profile) as clients, Fno(state) as batch:
        for day in range(first, first + days):
            events = sandbox_days.live(state, day, seed, profile.fno.company)
            place = folder / RUNS / f"{day:04d}"
            done = copy_over(profile, place, tasks, templates, clients)
            batch.totals()
            after = place.with_name(f"{day:04d}-after")
            left = _left(compare(profile, after, tasks, clients))
            history.append(connect_store(profile).store, after)
            sandbox_days.keep_day(folder, day)
            if not left:
                for finished in (place, after):
                    shutil.rmtree(finished)
            date = sandbox_days.business_day(day).isoformat()
            yield Day(day, date, dict(events), done, left, after if left else None)


def _running(folder: Path) -> dict[str, Any]:
    if not lifecycle.status(folder)["running"]:
        raise SandboxError(f"{folder}: no sandbox runs here; start it: p2c sandbox start --detach --dir {folder}")
    state: dict[str, Any] = json.loads((folder / "sandbox.json").read_text("utf-8"))
    return state


def _profile(folder: Path, state: Mapping[str, Any]) -> Profile:
    """The profile of this very sandbox, whatever folder the environment names.

    One call at a time: lines are numbered as they arrive, and the same days must give the same rows.
    """
    sides = {system: {"url": state[f"{system}_url"]} for system in ("sales", "fno")}
    ca_file = {"ca_file": state["ca_file"]} if "ca_file" in state else {}
    how = {"auth": {"kind": "sandbox"}, "limits": {"parallel": 1}, "store": {"url": str(folder / "store")}}
    return Profile.model_validate({"name": "sandbox", **sides, **how, **ca_file})


def _left(facts: Mapping[str, Any]) -> int:
    """Rows that differ, and documents that do not tie out on a side or across."""
    untied = ("untied_at_source", "untied_at_destination", "totals_differ", "freight_tax_wrong")
    return int(facts["differing_rows"] + sum(document[name] for document in facts["documents"] for name in untied))


def compare(profile: Profile, folder: Path, tasks: Sequence[Task], clients: Mapping[str, Client]) -> dict[str, Any]:
    """Compare tasks in order, in this process, with neither suites nor report nor history; give ``run.json``.

    Raises:
        P2CError: A task failed.
    """
    for client in clients.values():
        client.cache.clear()  # referenced rows as they stood in an earlier comparison
    names = [task.name for task in tasks]
    folders.create(folder, profile, {"tasks": names})
    metadata = {system: client.metadata() for system, client in clients.items()}
    for task in tasks:
        sides = runs.read_sides(task, clients)
        runs.save(folder, task, sides, runs.compare_sides(task, sides, metadata))
    return folders.finish(folder, names)


def copy_over(
    profile: Profile,
    folder: Path,
    tasks: Sequence[Task],
    templates: Mapping[str, Template],
    clients: Mapping[str, Client],
) -> applying.Applied:
    """Bring both systems in step: compare tasks, plan, approve, send.

    Args:
        profile: Of both systems.
        folder: Of the run that is made for it.
        tasks: What to bring over, in order.
        templates: As loaded.
        clients: By system.

    Returns:
        What was sent.

    Raises:
        P2CError: A task failed, or sending had to stop.
    """
    compare(profile, folder, tasks, clients)
    write.plan(folder, templates=templates, clients=clients)
    write.approve(folder, BY)
    return applying.apply(folder, profile, clients)
