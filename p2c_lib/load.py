"""A load: tasks in the order in which rows depend on each other, in ranges of keys, cut off anywhere and resumed.

A range (a bucket) is read from both sides, compared, planned, sent and read again; its folder is like that of a run,
its plan is approved as part of the load. Then its frames are dropped, so that memory does not grow with the rows.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib import apply as applying
from p2c_lib import folder as folders
from p2c_lib import run as runs
from p2c_lib import write
from p2c_lib.causes import load_causes, masked_words, save_failures
from p2c_lib.config import Profile
from p2c_lib.connect import Client
from p2c_lib.crossref import read_crossref
from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.errors import P2CError, PlanError
from p2c_lib.explain import main_reasons
from p2c_lib.load_plan import Load, check_systems
from p2c_lib.load_ranges import Part, parts_of
from p2c_lib.load_report import finish
from p2c_lib.memory import give_back
from p2c_lib.model import Task, Template, all_tasks
from p2c_lib.places import plan_folder, task_folder, tasks_folder
from p2c_lib.sides import Sides, Within, read_sides

__all__ = ["Standing", "run_load"]


@dataclass(frozen=True)
class Standing:
    """How far a load has come.

    Attributes:
        task: What is being loaded; likewise ``step``: reading, comparing, planning, sending, checking, done.
        bucket: Which of the task's ``buckets``.
        settled: Rows that are done with, of ``rows`` that were to be made; ``errors`` of them were refused or changed.
        seconds: Since this process began with the load.
        rate: Rows a second since then; ``left_s``: seconds that the rest takes at that rate, None before it is known.
    """

    task: str
    step: str
    bucket: int
    buckets: int
    settled: int
    rows: int
    errors: int
    seconds: float
    rate: float
    left_s: float | None


Progress = Callable[[Standing], None]
_PAUSES = (1, 5, 20, 60)  # seconds before rows whose fate is not known are looked at again
_TOLD = pl.Schema(dict.fromkeys(("task", "key", "outcome", "cause", "to_do", "said"), pl.String))
_SETTLED = ("created", "already", "failed", "conflict", "held")


@dataclass
class _Tally:
    """What the progress says, kept over the buckets."""

    rows: int
    told: Progress | None
    began: float = field(default_factory=time.monotonic)
    settled: int = 0
    before: int = 0  # by processes before this one
    errors: int = 0

    def say(self, task: str, part: Part, buckets: int, step: str, more: int = 0, errors: int = 0) -> None:
        if self.told is None:
            return
        seconds = time.monotonic() - self.began
        settled = self.settled + more
        rate = (settled - self.before) / seconds if seconds > 0 else 0.0
        left = max(self.rows - settled, 0) / rate if rate > 0 else None
        self.told(Standing(task, step, part.number, buckets, settled, self.rows, self.errors, seconds, rate, left))


def run_load(
    load: Load,
    profile: Profile,
    clients: Mapping[str, Client],
    templates: Mapping[str, Template],
    *,
    progress: Progress | None = None,
) -> Load:
    """Carry out an approved load, from where it was left.

    Args:
        load: As planned, and approved.
        profile: The profile that it was planned with.
        clients: By system.
        templates: As loaded.
        progress: Told how far it has come.

    Returns:
        The load, finished: ``outcome`` holds what became of every row; `load_report` says it in words.

    Raises:
        PlanError: It is not approved, was planned for other systems, or another process is at it.
        ConnectError: Or a child of it: the load had to stop; call it again to go on.
    """
    if load.approved is None:
        raise PlanError(f"{load.folder}: the load was not approved; look at it and approve it first")
    check_systems(load, clients, profile)
    with _alone(load.folder):
        load = load.saved(
            started=load.facts.get("started") or datetime.now(UTC).isoformat(timespec="seconds"), stopped=None
        )
        loader = _Loader(load, profile, clients, templates, progress)
        try:
            loader.run()
        except P2CError as error:
            load.saved(stopped=f"{type(error).__name__}: {error}")
            raise
        return finish(load, list(loader.done.values()))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the lock ends with who holds it, however that ends."""
    with closing(sqlite3.connect(folder / "load.lock", timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise PlanError(f"{folder}: another process is at this load; wait for it to end") from None
        yield


class _Loader:
    def __init__(
        self,
        load: Load,
        profile: Profile,
        clients: Mapping[str, Client],
        templates: Mapping[str, Template],
        progress: Progress | None,
    ) -> None:
        self.load, self.profile, self.clients, self.templates = load, profile, clients, templates
        self.metadata = {system: client.metadata() for system, client in clients.items()}
        self.crossref = read_crossref(profile.crossref_file)
        self.tally = _Tally(load.to_create, progress)
        self.done: dict[tuple[str, int], dict[str, Any]] = {}
        self.round: dict[str, list[str]] = {}
        self.parents: dict[str, pl.Series] | None = None

    def run(self) -> None:
        known = {task.name: task for task in all_tasks(self.templates)}
        plans = [(known[plan["task"]], parts_of(known[plan["task"]], plan, self.clients)) for plan in self.load.tasks]
        self.tally.before = self.tally.settled = sum(
            _settled(facts) for path in self.load.folder.glob("tasks/*/*/bucket.json") if (facts := _read(path))
        )
        for number, (task, parts) in enumerate(plans):
            round_ = self._round([other.name for other, _ in plans[number:]], task)
            self._pass(_without(task, round_), parts)
            self.round[task.name] = round_
        for task, parts in plans:
            if self.round[task.name]:
                self._pass(task, parts, second=True)
        for task, parts in plans:
            self._look_again(task, parts)

    @staticmethod
    def _round(later: Sequence[str], task: Task) -> list[str]:
        """Fields that lead to rows of this task itself or of one that comes later: what they point to may not be there
        when a row is made, so they are filled in a second pass."""
        return [
            field.destination
            for field in task.fields
            if field.destination not in task.key and any(parent.task in later for parent in field.parent)
        ]

    def _pass(self, task: Task, parts: Sequence[Part], *, second: bool = False) -> None:
        self.parents = None  # what earlier tasks have made is to be seen
        for part in parts:
            place = self._place(task, part, second)
            facts = _read(place / "bucket.json") or self._bucket(task, part, len(parts), place, second)
            self.done[task.name, part.number] = facts

    def _bucket(self, task: Task, part: Part, buckets: int, place: Path, second: bool) -> dict[str, Any]:
        seconds: dict[str, float] = {}

        @contextmanager
        def step(name: str) -> Iterator[None]:
            self.tally.say(task.name, part, buckets, name)
            clock = time.perf_counter()
            yield
            seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - clock, 3)

        sides, before = None, None
        if not _is_approved(place):
            with step("reading"):
                sides = self._read(task, part)
            with step("comparing"):
                compared = self._compare(task, sides)
                before = _counts(compared)
                compared = self._to_send(task, part, compared, second)
                self._keep(place, task, part, sides, compared)
            with step("planning"):
                self._plan(place, task)
            del compared
        give_back()
        if _is_approved(place):
            with step("sending"):
                self._send(place, task, part, buckets)
            give_back()
        with step("checking"):
            told = _told(place)
            sent = dict(told["outcome"].value_counts().iter_rows())
            fresh = self._read(task, part, sides) if sent or sides is None else sides
            first = [_told(self._place(task, part))] if second else []
            summary = self._checked(task, place, fresh, [*first, told])
        facts = {
            "task": task.name,
            "bucket": part.number,
            "before": before,
            "sent": sent,
            "summary": summary,
            "seconds": seconds,
        }
        shutil.rmtree(tasks_folder(place), ignore_errors=True)  # plan and journal stay
        self.tally.settled += _settled(facts)
        self.tally.errors += sent.get("failed", 0) + sent.get("conflict", 0)
        folders.write_json(place / "bucket.json", facts)
        self.tally.say(task.name, part, buckets, "done")
        del sides, fresh
        give_back()
        return facts

    def _compare(self, task: Task, sides: Sides) -> runs.Compared:
        return runs.compare_sides(task, sides, self.metadata, crossref=self.crossref, is_part=True)

    def _place(self, task: Task, part: Part, second: bool = False) -> Path:
        return self.load.folder / "tasks" / task.name / f"{part.number:05d}{'-2' if second else ''}"

    def _checked(self, task: Task, place: Path, sides: Sides, told: Sequence[pl.DataFrame]) -> dict[str, Any]:
        """Compare a bucket as it stands now, keep what is left of it, and give its summary."""
        checked = self._compare(task, sides)
        _left(checked, pl.concat(told)).write_parquet(place / "left.parquet")
        return runs.summary(task, sides, checked)

    def _look_again(self, task: Task, parts: Sequence[Part]) -> None:
        """Totals of documents are right when their lines are there, which come after them."""
        self.parents = None
        for part in parts:
            facts = self.done[task.name, part.number]
            if facts["sent"] and facts["summary"]["mismatched"]:
                self.tally.say(task.name, part, len(parts), "checking")
                places = [self._place(task, part), *([self._place(task, part, True)] if self.round[task.name] else [])]
                told = [_told(place) for place in places]
                facts |= {"summary": self._checked(task, places[-1], self._read(task, part), told)}
                self.done[task.name, part.number] = facts
                folders.write_json(places[-1] / "bucket.json", facts)

    def _send(self, place: Path, task: Task, part: Part, buckets: int) -> None:
        def watch(pulse: applying.Pulse) -> None:
            self.tally.say(task.name, part, buckets, f"sending ({pulse.channel})", pulse.settled, pulse.errors)

        for pause in (*_PAUSES, None):
            done = applying.apply(place, self.profile, self.clients, watch=watch)
            if not done.remaining:
                return
            if pause is None:
                raise PlanError(f"{place}: what became of {done.remaining} rows is not known yet; go on with --resume")
            time.sleep(pause)

    def _read(self, task: Task, part: Part, known: Sides | None = None) -> Sides:
        """Both sides of a bucket; with what is known already, the destination alone."""
        rows = known.source if known else None
        within = Within(part.source, part.found, self.parents, rows)
        sides = read_sides(task, self.clients, within=within)
        self.parents = sides.parents
        return sides

    def _keep(self, place: Path, task: Task, part: Part, sides: Sides, compared: runs.Compared) -> None:
        """Save what the bucket's plan is made from, in the place of what an earlier process left half done."""
        shutil.rmtree(place, ignore_errors=True)
        folders.create(place, self.profile, {"load": self.load.facts["load_id"], "bucket": part.number}, apart=False)
        runs.save(place, task, sides, compared)

    def _to_send(self, task: Task, part: Part, compared: runs.Compared, second: bool) -> runs.Compared:
        """The comparison as the plan is to see it: rows that are there and differ are listed and not changed, unless
        that is asked for; the second pass fills the round fields of rows that this load has made, and makes none."""
        rows, cells = compared.outcomes.rows, compared.outcomes.cells
        if second:
            told = _told(self._place(task, part))
            made = told.filter(pl.col("outcome").is_in(["created", "already"]))["key"]
            rows = rows.filter((pl.col("outcome") == "mismatched") & pl.col("key").is_in(made.implode()))
            cells = cells.filter(pl.col("field").is_in(self.round[task.name]))
        elif not self.load.facts["update"]:
            rows = rows.filter(pl.col("outcome") != "mismatched")
        return replace(compared, outcomes=replace(compared.outcomes, rows=rows, cells=cells))

    def _plan(self, place: Path, task: Task) -> None:
        wanted = pl.read_parquet(task_folder(place, task.name) / "rows.parquet", columns=["outcome"])["outcome"]
        if not wanted.is_in(["missing", "mismatched"]).any():
            return
        known = self.templates[task.template]
        mine = known.model_copy(update={"tasks": tuple(task if t.name == task.name else t for t in known.tasks)})
        templates = {**self.templates, task.template: mine}
        write.plan(place, tasks=[task.name], templates=templates, clients=self.clients, metadata=self.metadata)
        approved = self.load.approved
        assert approved is not None
        write.approve(place, f"{approved['by']}, as part of load {self.load.hash[:12]}")


def _without(task: Task, fields: Sequence[str]) -> Task:
    return task.model_copy(update={"fields": tuple(f for f in task.fields if f.destination not in fields)})


def _is_approved(place: Path) -> bool:
    """Whether a bucket was planned to its end: from then on its plan is what is sent, whatever the rows are by now."""
    plan = _read(plan_folder(place) / "plan.json")
    return plan is not None and plan["approved"] is not None


def _counts(compared: runs.Compared) -> dict[str, int]:
    return {outcome: compared.outcomes.count(outcome) for outcome in ROW_OUTCOMES}


def _settled(facts: Mapping[str, Any]) -> int:
    """Rows of a bucket that were to be made and are done with."""
    return sum(facts["sent"].get(name, 0) for name in _SETTLED)


def _told(place: Path) -> pl.DataFrame:
    """What became of a bucket's actions: ``task``, ``key``, ``outcome``, and of those that were not done ``cause``,
    ``to_do`` and ``said`` (the service's own words, or why it was held)."""
    if not _is_approved(place):
        return pl.DataFrame(schema=_TOLD)
    table = applying.journal_table(place)
    if table["held"].is_not_null().any():
        table = masked_words(write.read_plan(place), table, "held")
    if (table["outcome"] == "failed").any():
        refused = save_failures(place, load_causes()).select("order", "message", "cause", to_do="remedy")
        table = table.join(refused, on="order", how="left", maintain_order="left")
    else:
        table = table.with_columns(pl.lit(None, pl.String).alias(name) for name in ("message", "cause", "to_do"))
    return table.select("task", "key", "outcome", "cause", "to_do", said=pl.coalesce("held", "message")).cast(_TOLD)


def _left(checked: runs.Compared, told: pl.DataFrame) -> pl.DataFrame:
    """Rows that are not in step after all, each with its main reason, and what a service said to those it refused."""
    left = main_reasons(checked.table.filter(pl.col("outcome") != "excluded"))
    left = left.select("task", "key", "side", "outcome", "fields", "reason", "remedy", "amount", "currency")
    told = told.filter(~pl.col("outcome").is_in(["created", "updated", "already"])).rename({"outcome": "sent"})
    last = told.unique(["task", "key"], keep="last", maintain_order=True)
    left = left.join(last, on=["task", "key"], how="left", maintain_order="left")
    reasons = {"reason": pl.coalesce("cause", "reason"), "remedy": pl.coalesce("to_do", "remedy")}
    return left.with_columns(**reasons).drop("cause", "to_do")


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return facts
