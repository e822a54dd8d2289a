"""The calls of the notebook initial_load: choose, see the plan, watch it run, see what is left."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import polars as pl
from IPython.display import HTML, DisplayHandle, Markdown, display

from p2c_lib.errors import ParameterError
from p2c_lib.load import Standing, run_load
from p2c_lib.load_plan import BUCKET_ROWS, Load, approve, load_table, read_load, survey, unready
from p2c_lib.load_report import left_table, outcome_table
from p2c_lib.memory import settle
from p2c_lib.model import all_tasks, load_templates
from p2c_lib.parameters import check_parameters, profile_for
from p2c_lib.show import table, words
from p2c_lib.sides import open_clients

__all__ = ["Loading", "begin"]

NOT_SENT = "Nothing was sent: `approve_by` is empty."


class Loading:
    """A load in a notebook. `begin` makes it; each method is a cell."""

    def __init__(self, load: Load, profile: str, company: str, approve_by: str) -> None:
        self._load, self._profile, self._company, self._by = load, profile, company, approve_by.strip()

    def ready(self) -> HTML:
        """Whether both systems are ready; checks that are in order are left out."""
        verdict = str(self._load.facts["verdict"])
        checks = pl.DataFrame(self._load.facts["checks"])
        if checks.is_empty():
            return HTML(words(verdict))
        stop = f"{len(unready(self._load))} of these forbid a load; {verdict}"
        return table(checks, stop, longest=5000)

    def plan(self) -> HTML:
        """What would be sent, by task: rows of both sides, rows to make and what they are worth, channel, calls."""
        note = f"load {self._load.hash[:12]} in {self._load.folder}; nothing was sent"
        return table(load_table(self._load), note, right=("amount", "seconds", "calls"))

    def watch(self) -> HTML | Markdown:
        """With a name in ``approve_by`` send it, and say how far it has come; else nothing is sent.

        Raises:
            PlanError: A system is not ready, or another process is at this load.
            ConnectError: Or a child of it: it had to stop; run the notebook with ``resume`` to go on.
        """
        if not self._by:
            return Markdown(NOT_SENT)
        self._load = approve(self._load, self._by)
        chosen = profile_for(self._profile, self._company)
        with open_clients(chosen) as clients, _Line() as line:
            templates = load_templates(chosen.overlays, route="direct")
            self._load = run_load(self._load, chosen, clients, templates, progress=line)
        return table(outcome_table(self._load), f"{self._load.facts['seconds']:,.0f} s")

    def left(self) -> HTML | Markdown:
        """What is not in step after all, by reason; every row of it is in ``left.csv``."""
        if "outcome" not in self._load.facts:
            return Markdown(NOT_SENT)
        rest = left_table(self._load)
        if rest.is_empty():
            return HTML(words("Nothing: both sides are in step."))
        return table(rest, f"all rows: {self._load.folder / 'left.csv'}", longest=1000)

    def finish(self) -> Markdown:
        """What was done and where the files are."""
        if "outcome" not in self._load.facts:
            return Markdown(
                f"**{self._load.to_create:,} rows to make; nothing was sent.** Files: `{self._load.folder}`"
            )
        left = self._load.facts["left"]
        head = f"{left:,} rows are left" if left else "Both sides are in step"
        made = sum(line["created"] + line["updated"] for line in self._load.facts["outcome"])
        return Markdown(f"**{head}.** {made:,} rows were written. Files: `{self._load.folder}`")


class _Line(contextlib.AbstractContextManager["_Line"]):
    """A bar that a plain display keeps up to date, five times a second at most."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._shown = 0.0
        self._last: Standing | None = None

    def __call__(self, now: Standing) -> None:
        self._last = now
        if time.monotonic() - self._shown >= 0.2:
            self._show(now)

    def _show(self, now: Standing) -> None:
        share = 100 * now.settled / now.rows if now.rows else 100
        left = "" if now.left_s is None else f", {now.left_s:,.0f} s left"
        said = (
            f"{now.task} {now.bucket}/{now.buckets}, {now.step}: {now.settled:,} of {now.rows:,} rows, "
            f"{now.rate:,.0f} rows/s{left}, {now.errors:,} refused"
        )
        bar = f"<progress max='100' value='{share:.1f}' style='width:20em'></progress> <code>{said}</code>"
        self._shown = time.monotonic()
        if self._handle is None:
            self._handle = display(HTML(bar), display_id=True)
        else:
            self._handle.update(HTML(bar))

    def __exit__(self, *_: object) -> None:
        if self._last is not None:
            self._show(self._last)


def begin(
    *,
    tasks: str = "",
    profile: str = "",
    company: str = "",
    approve_by: str = "",
    resume: str = "",
    update: str = "no",
    bucket_rows: int = BUCKET_ROWS,
) -> Loading:
    """Plan a load, or take up one that was cut off; nothing is sent yet.

    Args:
        tasks: Names of tasks, with commas between them; "" all of the direct route.
        profile: A profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox.
        company: F&O legal entity; "" takes the profile's.
        approve_by: Who approves the plan; "" and nothing is sent.
        resume: Folder of the load to go on with; "" plans a new one.
        update: ``yes`` changes rows that are there and differ, ``no`` lists them.
        bucket_rows: About how many rows are held in memory at a time.

    Raises:
        ParameterError: A value is unknown or of another type.
    """
    given = {"tasks": tasks, "profile": profile, "company": company, "approve_by": approve_by, "resume": resume,
             "update": update}  # fmt: skip
    check_parameters(given | {"bucket_rows": bucket_rows}, dict.fromkeys(given, str) | {"bucket_rows": int})
    if update not in ("yes", "no") or bucket_rows == 0:
        raise ParameterError(f"update='{update}' must be yes or no, and bucket_rows={bucket_rows} at least 1")
    settle()  # Polars has begun already, unless `p2c run` started this kernel; C's allocator listens at any time
    chosen = profile_for(profile, company)
    templates = load_templates(chosen.overlays, route="direct")
    known = {task.name: task for task in all_tasks(templates)}
    wanted = [name.strip() for name in tasks.split(",") if name.strip()]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ParameterError(f"tasks: no template has {', '.join(unknown)}; known: {', '.join(known)}")
    if resume:
        return Loading(read_load(Path(resume), known), profile, company, approve_by)
    todo = [task for task in known.values() if not wanted or task.name in wanted]
    with open_clients(chosen) as clients:
        load = survey(chosen, clients, todo, templates, update=update == "yes", bucket_rows=bucket_rows)
    return Loading(load, profile, company, approve_by)
