"""The explorer itself: it takes what the page says, answers with one page of records, and lets long work run beside.

What the page shows is state of this object (``view``, ``record``, ``work``); what is done there comes as a message.
Filters are answered at once; opening a record, planning and sending run in a thread of their own and tell how far they
are, so that the kernel is free. Headless, and where no kernel is left, the tiles and the first page stand as a plain
table.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import anywidget
import numpy as np
import polars as pl
import traitlets

from p2c_lib.config import Profile
from p2c_lib.errors import P2CError
from p2c_lib.explorer.actions import Meant, Place, approve_meant, plan_ticked, read_back, send
from p2c_lib.explorer.query import NOW, Finder, Query
from p2c_lib.explorer.record import earlier, open_record
from p2c_lib.explorer.records import load_records
from p2c_lib.explorer.static import page
from p2c_lib.explorer.ticks import Ticks, ticks_file
from p2c_lib.folder import read_run
from p2c_lib.parameters import profile_for
from p2c_lib.verify import OUTCOMES, outcomes_table

__all__ = ["Explorer", "explore"]

_LISTED = 20
_AFTER = dict(zip(OUTCOMES, NOW[1:], strict=True))
_ASSETS = files("p2c_lib.explorer")
_finders: WeakValueDictionary[tuple[Any, ...], Finder] = WeakValueDictionary()
_log = logging.getLogger(__name__)


class Explorer(anywidget.AnyWidget):
    """A run to look into; `explore` makes it.

    Attributes:
        view: The answer to the last query (`Finder.view`), with ``run``, ``problem`` (what was wrong with the query)
            and ``asked`` (the number of the query).
        record: The record that is open: ``title``, ``parts`` (`open_record`), ``earlier`` (of earlier runs),
            ``problem``, ``is_loading``; empty when none is.
        work: What is planned or sent: ``stage`` ("", planning, planned, approving, approved, sending, reading, sent,
            failed), ``says``, ``done`` of ``total``, ``plan`` and ``result`` to be shown, ``is_approved``, ``is_old``
            (ticked otherwise since).
    """

    _esm = _ASSETS.joinpath("widget.js").read_text("utf-8")
    _css = _ASSETS.joinpath("widget.css").read_text("utf-8")
    view = traitlets.Dict().tag(sync=True)
    record = traitlets.Dict().tag(sync=True)
    work = traitlets.Dict().tag(sync=True)

    def __init__(self, folder: Path, *, profile: str | Profile = "", tasks: Sequence[str] | None = None) -> None:
        self._folder, self._profile = folder, profile
        self._threads: list[threading.Thread] = []
        self._is_busy = False
        self._opened = 0
        self._meant: tuple[int, Meant] | None = None
        self._finder, is_new = _finder_of(folder, tasks)
        self._lock = self._finder.lock
        self._query, self._asked = Query(), 0
        with self._lock:
            self._ticks = Ticks(ticks_file(folder), self._finder)
            self._settle()
            view = self._seen()
        super().__init__(view=view, work={"stage": ""})
        self.on_msg(self._told)
        if is_new:
            self._beside(self._finder.warm)

    # --- what the page says ------------------------------------------------------------------------------------

    def _told(self, _: Any, message: Mapping[str, Any], __: Any) -> None:
        self.tell(message)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Do what the page says.

        Args:
            message: ``kind`` and what it needs: hello, query (``query``, ``asked``), tick (``records``, ``on``),
                tick_all (``on``), untick (all), open (``record``), close, plan, approve (``hash`` as shown, ``by``),
                apply (``hash``). One with an ``id`` is answered with ``saved`` and that id.
        """
        try:
            self._do(str(message.get("kind")), message)
        except P2CError as error:
            self._answer(problem=str(error))
        except Exception as error:  # the page shows it; a lost message would leave it waiting
            _log.exception("explorer: %s", message.get("kind"))
            self._answer(problem=f"{type(error).__name__}: {error}")
        if "id" in message:
            self.send({"kind": "saved", "id": message["id"]})

    def _do(self, kind: str, message: Mapping[str, Any]) -> None:
        if kind == "query":
            with self._lock:
                self._asked = int(message.get("asked", 0))
                self._query = Query.of(message["query"])
                self._ticks.fresh()
            self._answer()
        elif kind in ("tick", "tick_all", "untick"):
            with self._lock:
                if kind == "tick":
                    known = [int(one) for one in message["records"] if 0 <= int(one) < self._finder.height]
                    self._ticks.tick(np.array(known, dtype=np.uint32), bool(message["on"]))
                elif kind == "tick_all":
                    self._ticks.tick_all(self._query, bool(message["on"]))
                else:
                    self._ticks.clear()
            self._answer()
            self._outdate()
        elif kind == "open":
            self._open(int(message["record"]))
        elif kind == "close":
            self._opened += 1
            self.record = {}
        elif kind == "plan":
            self._work("planning", "comparing ticks with the plan of the run", self._plan)
        elif kind == "approve":
            self._work("approving", "approving", lambda: self._approve(str(message["hash"]), str(message["by"])))
        elif kind == "apply":
            self._work("sending", "signing in", lambda: self._apply(str(message["hash"])))

    def _answer(self, problem: str = "") -> None:
        with self._lock:
            self.view = self._seen(problem)

    def _seen(self, problem: str = "") -> dict[str, Any]:
        answer = self._finder.view(self._query, self._ticks.mask, self._ticks.revision)
        return {**answer, "run": self._finder.records.run_id, "problem": problem, "asked": self._asked}

    # --- beside ------------------------------------------------------------------------------------------------

    def _beside(self, job: Callable[[], None]) -> None:
        thread = threading.Thread(target=job, daemon=True, name="p2c-explorer")
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        thread.start()

    def wait(self, timeout_s: float = 60.0) -> None:
        """Wait until everything that runs beside is done; for scripts and tests."""
        for thread in self._threads:
            thread.join(timeout_s)

    @cached_property
    def _place(self) -> Place:
        facts = read_run(self._folder)
        given = self._profile
        named = given if isinstance(given, Profile) else profile_for(given or facts["profile"], facts["company"])
        return Place(self._folder, named)

    # --- a record ----------------------------------------------------------------------------------------------

    def _open(self, number: int) -> None:
        rows = self._finder.records.rows
        if not 0 <= number < rows.height:
            return
        row = rows.row(number, named=True)
        self._opened += 1
        opened, title = self._opened, row["key"] or "(blank key)"
        head = {
            "record": number,
            "title": title[:200],
            **{n: row[n] or "" for n in ("task", "outcome", "reason", "remedy")},
        }
        self.record = {**head, "is_loading": True, "parts": [], "earlier": [], "problem": ""}

        def look() -> None:
            told: dict[str, Any] = {"parts": [], "earlier": [], "problem": ""}
            try:
                told["parts"] = open_record(self._folder, row["task"], row["key"], self._place.templates)
                told["earlier"] = earlier(self._place.profile, row["task"], row["key"])
            except (P2CError, OSError, pl.exceptions.PolarsError) as error:
                told["problem"] = str(error).partition("\n")[0]
            if opened == self._opened:  # none was opened after it
                self.record = {**head, "is_loading": False, **told}

        self._beside(look)

    # --- plan, approve, apply ----------------------------------------------------------------------------------

    def _work(self, stage: str, says: str, job: Callable[[], None]) -> None:
        with self._lock:
            if self._is_busy:
                return
            self._is_busy = True
        self._tell(stage, says=says, done=0, total=0, problem="")

        def whole() -> None:
            try:
                job()
            except P2CError as error:
                self._tell("failed", says="", problem=str(error))
            except Exception as error:  # a thread that dies in silence would leave the page waiting
                _log.exception("explorer: %s", stage)
                self._tell("failed", says="", problem=f"{type(error).__name__}: {error}")
            finally:
                self._is_busy = False

        self._beside(whole)

    def _tell(self, stage: str, **more: Any) -> None:
        self.work = {**self.work, "stage": stage, **more}

    def _outdate(self) -> None:
        """What was planned before the last tick is not what is meant now."""
        if self._meant is not None and not self._is_busy and self.work.get("stage") != "sent":
            self._tell(str(self.work["stage"]), is_old=self._meant[0] != self._ticks.revision)

    def _plan(self) -> None:
        with self._lock:
            self._ticks.fresh()
            revision, ticked = self._ticks.revision, self._finder.keys(np.flatnonzero(self._ticks.mask))
        if ticked.is_empty():
            raise P2CError("nothing is ticked; tick records, or all that a filter finds, and plan again")
        meant = plan_ticked(self._place, ticked)
        self._meant = (revision, meant)
        self._tell(
            "planned", says="", plan=_plan_shown(meant, ticked.height), result={}, is_old=False, is_approved=False
        )

    def _known(self, shown: str) -> Meant:
        """The plan that was shown, as long as it is what is ticked."""
        if self._meant is None or self._meant[1].plan.hash != shown:
            raise P2CError("there is no such plan; plan again, and look at it")
        revision, meant = self._meant
        if revision != self._ticks.revision:
            raise P2CError("other records are ticked than were planned; plan again, and look at it")
        return meant

    def _approve(self, shown: str, by: str) -> None:
        meant = self._known(shown)
        approved = dict(approve_meant(self._place, meant, by).approved or {})
        said = f"approved by {approved['by']}: {approved['actions']:,} of {approved['of']:,} actions of the run's plan"
        self._tell("approved", says=said, is_approved=True)

    def _apply(self, shown: str) -> None:
        self._known(shown)
        if not self.work.get("is_approved"):
            raise P2CError("nobody approved what is ticked; give a name and approve it first")
        done, verified = send(
            self._place,
            lambda pulse: self._tell(
                "sending",
                says=f"{pulse.task} ({pulse.channel}), {pulse.rows_per_second:,.0f} rows/s",
                done=pulse.settled,
                total=pulse.total,
                errors=pulse.errors,
            ),
            lambda: self._tell("reading", says="reading back what was written"),
        )
        with self._lock:
            self._settle()
        table = outcomes_table(verified)
        off = verified.filter(~pl.col("outcome").is_in(["verified"])).select(
            "task", "key", "outcome", "field", "wanted", "found", "reason"
        )
        result = {"table": _texts(table), "off": _texts(off.head(_LISTED)), "off_rows": off.height}
        said = f"sent {done.sent:,}: {done.created:,} created, {done.updated:,} updated, {done.failed:,} refused"
        self._tell("sent", says=said, result=result)
        self._answer()

    def _settle(self) -> None:
        """Mark what was sent with what became of it."""
        told = read_back(self._folder)
        now = np.zeros(self._finder.height, dtype=np.uint8)
        for (outcome,), rows in told.group_by("outcome"):
            now[self._finder.places(rows)] = NOW.index(_AFTER[str(outcome)])
        self._finder.settle(now)

    # --- without a kernel --------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        made = super()._repr_mimebundle_(**kwargs)
        data, metadata = made if isinstance(made, tuple) else (made or {}, {})
        return {**data, "text/html": page(self.view), "text/plain": f"Explorer of run {self.view['run']}"}, metadata


def _finder_of(folder: Path, tasks: Sequence[str] | None) -> tuple[Finder, bool]:
    """The finder of a run, and whether it is new; a cell that runs again does not hold the same records once more."""
    try:
        stat = (folder / "outcomes.parquet").stat()
    except OSError:  # a run under way: it changes
        return Finder(load_records(folder, tasks)), True
    known = (folder.resolve(), None if tasks is None else tuple(tasks), stat.st_mtime_ns, stat.st_ino)
    finder = _finders.get(known)
    if finder is not None:
        return finder, False
    finder = _finders[known] = Finder(load_records(folder, tasks))
    return finder, True


def _plan_shown(meant: Meant, ticked: int) -> dict[str, Any]:
    return {
        "hash": meant.plan.hash,
        "ticked": ticked,
        "sent": meant.chosen.height,
        "parents": meant.parents,
        "approved": meant.approved,
        "table": _texts(meant.table),
        "held": _texts(meant.held.head(_LISTED)),
        "held_rows": meant.held.height,
        "without": meant.without.height,
    }


def _texts(frame: pl.DataFrame) -> dict[str, Any]:
    """A small frame for the page: names, and rows of texts."""
    rows = [
        ["" if one is None else f"{one:,}" if isinstance(one, int) else str(one) for one in row]
        for row in frame.iter_rows()
    ]
    return {"columns": [name.replace("_", " ") for name in frame.columns], "rows": rows}


def explore(folder: Path, *, profile: str | Profile = "", tasks: Sequence[str] | None = None) -> Explorer:
    """Look into a run: filter, open, tick, plan, approve, apply.

    Args:
        folder: The run's.
        profile: A profile of ``p2c.toml``; "" is that which the run was made with.
        tasks: Names of the tasks that matter; by default all of the run.

    Returns:
        A widget; as the last word of a cell it shows itself.

    Raises:
        ParameterError: The folder holds no run, the run has no such task, or its file of ticks is broken.
    """
    return Explorer(Path(folder), profile=profile, tasks=tasks)
