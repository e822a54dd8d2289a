"""What a page of the app shows: the runs to choose from, or one run, its overview and the explorer on it.

The page comes from a notebook, ``notebooks/app.ipynb``, whose cells are the calls of a `Page`. What cannot be shown is
said in words, never by a traceback.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import polars as pl
from IPython.display import HTML, display

from p2c_lib import overview, report
from p2c_lib.config import home
from p2c_lib.errors import P2CError, ParameterError
from p2c_lib.explorer import Explorer, explore
from p2c_lib.folder import differing_rows, read_run
from p2c_lib.markup import environment
from p2c_lib.model import load_templates
from p2c_lib.parameters import check_parameters
from p2c_lib.show import words

__all__ = ["PROFILE", "RUNS_FOLDER", "RUN_FOLDER", "Listed", "Page", "check_run", "list_runs", "open_page"]

RUN_FOLDER = "P2C_APP_RUN"  # in the environment of a page: the one run that it may show
RUNS_FOLDER = "P2C_APP_RUNS"  # the folder of those that it may show
PROFILE = "P2C_APP_PROFILE"
RUNS_SHOWN = 100
PARTS = {
    "explorer": "Records",
    "outcomes": "Outcomes",
    "money": "Money",
    "reasons": "Reasons",
    "since": "Since when",
    "quality": "Quality",
}


@dataclass(frozen=True)
class Listed:
    """A run as the list shows it."""

    name: str
    says: str  # its verdict, or why there is none
    is_good: bool | None = None  # None: it has no verdict
    can_open: bool = False
    started: datetime | None = None
    place: str = ""  # profile and company
    tasks: int = 0
    compared: int = 0  # source rows
    differing: int = 0


def list_runs(folder: Path, most: int = RUNS_SHOWN) -> tuple[list[Listed], int]:
    """The runs of a folder, newest first.

    Args:
        folder: Holds a folder for each run.
        most: How many to read; the newest by when their ``run.json`` was written.

    Returns:
        The runs, and how many more there are.
    """
    if not folder.is_dir():
        return [], 0
    known = [path for path in folder.iterdir() if (path / "run.json").is_file()]
    known.sort(key=lambda path: (path / "run.json").stat().st_mtime, reverse=True)
    read = [_listed(path) for path in known[:most]]
    never = datetime.min.replace(tzinfo=UTC)
    return sorted(read, key=lambda one: (one.started or never, one.name), reverse=True), len(known) - len(read)


def _listed(folder: Path) -> Listed:
    try:
        run = read_run(folder)
        started, place = datetime.fromisoformat(run["started"]), f"{run['profile']}, {run['company']}"
        if "finished" not in run:
            return Listed(folder.name, "did not come to its end, or is still running", None, False, started, place)
        done = [task for task in run["tasks"] if "error" not in task]
        return Listed(
            name=folder.name,
            says=report.verdict(run),
            is_good=run["exit_code"] == 0,
            can_open=True,
            started=started,
            place=place,
            tasks=len(run["tasks"]),
            compared=sum(task["source_rows"] for task in done),
            differing=sum(differing_rows(task) for task in done),
        )
    except P2CError as error:
        return Listed(folder.name, str(error))
    except (OSError, KeyError, TypeError, ValueError):
        return Listed(folder.name, "its run.json cannot be read")


def check_run(folder: Path) -> dict[str, Any]:
    """Read what a run says of itself, of one that can be shown.

    Raises:
        ParameterError: The folder holds no run, or one that did not come to its end.
    """
    run = read_run(folder)
    if "finished" not in run:
        raise ParameterError(
            f"{folder.name} did not come to its end, or is still running; there is nothing to show yet"
        )
    return run


def open_page(*, run: str = "", profile: str = "") -> Page:
    """Open what was asked for: one run, or the list of all.

    Args:
        run: Folder of a run; "" takes the one that ``p2c app`` was given, else the ``run=`` of the page's address.
        profile: A profile of p2c.toml; "" takes that of the app, else the run's own.
    """
    given = {"run": run, "profile": profile}
    runs = Path(os.environ.get(RUNS_FOLDER) or home() / "runs")
    try:
        check_parameters(given, dict.fromkeys(given, str))
        only = run or os.environ.get(RUN_FOLDER, "")
        named = profile or os.environ.get(PROFILE, "")
        if only:
            return _open(Path(only), named, runs, is_alone=True)
        asked = parse_qs(os.environ.get("QUERY_STRING", "")).get("run", [""])[0]
        if not asked:
            return Page(runs)
        # by the names that are there, so that no path leads anywhere else
        if asked not in ({path.name for path in runs.iterdir()} if runs.is_dir() else ()):
            raise ParameterError(f"there is no run '{asked}' in {runs}")
        return _open(runs / asked, named, runs, is_alone=False)
    except P2CError as error:
        return Page(runs, problem=str(error))


def _open(folder: Path, profile: str, runs: Path, *, is_alone: bool) -> Page:
    run = check_run(folder)
    chosen, lacks = profile or run["profile"], ""
    try:
        whole = overview.look(run=str(folder), profile=chosen, company=run["company"])
    except P2CError as error:
        # what was found can be looked at without the systems and their settings
        lacks = f"Nothing can be sent from here: {error}"
        whole = overview.Overview(folder, load_templates(route=None))
    return Page(runs, whole, chosen, is_alone=is_alone, problem=lacks)


_LACKS = (P2CError, OSError, KeyError, pl.exceptions.PolarsError)  # also what a run of an older version lacks


def _section(says: str) -> Callable[[Callable[[Page], HTML]], Callable[[Page], HTML | None]]:
    """Put a part of a run's page below its heading; nothing where no run is open, words where it fails."""

    def decorate(step: Callable[[Page], HTML]) -> Callable[[Page], HTML | None]:
        @wraps(step)
        def shown(page: Page) -> HTML | None:
            if page.whole is None:
                return None
            try:
                inside = step(page).data
            except _LACKS as error:
                inside = _in_words(error)
            return HTML(_heading(step.__name__, says) + inside)

        return shown

    return decorate


def _heading(name: str, says: str) -> str:
    return f'<h2 id="{name}">{escape(says)}</h2>'


def _in_words(error: Exception) -> str:
    if isinstance(error, P2CError):
        return words(str(error))
    return words(
        f"The run lacks what this needs ({type(error).__name__}: {error}); an older version made it: run again."
    )


class Page:
    """One page of the app. `open_page` makes it; each method is a cell of its notebook."""

    def __init__(
        self,
        runs: Path,
        whole: overview.Overview | None = None,
        profile: str = "",
        *,
        is_alone: bool = False,
        problem: str = "",
    ) -> None:
        self.runs, self.whole, self.profile, self.is_alone, self.problem = runs, whole, profile, is_alone, problem

    @property
    def opened(self) -> overview.Overview:
        """The run that is open."""
        assert self.whole is not None
        return self.whole

    def top(self) -> HTML:
        """The verdict of the run that is open and the way about its page; else the runs to choose from."""
        template = environment().get_template("app/top.html.j2")
        if self.whole is None:
            runs, more = list_runs(self.runs)
            return HTML(template.render(run=None, runs=runs, more=more, folder=self.runs, problem=self.problem))
        run = self.whole.run
        return HTML(
            template.render(
                run=run,
                started=datetime.fromisoformat(run["started"]),
                verdict=report.verdict(run),
                in_step=run["exit_code"] == 0,
                is_alone=self.is_alone,
                parts=PARTS,
                problem=self.problem,
            )
        )

    def explorer(self) -> Explorer | HTML | None:
        """The records that differ: filter, open, tick, plan, approve, apply."""
        if self.whole is None:
            return None
        display(HTML(_heading("explorer", "Which records differ?")))
        try:
            return explore(self.whole.folder, profile=self.profile)
        except _LACKS as error:
            return HTML(_in_words(error))

    @_section("What became of every row?")
    def outcomes(self) -> HTML:
        """The outcomes of every task, as a chart and in numbers."""
        return self.opened.outcomes()

    @_section("What is at stake?")
    def money(self) -> HTML:
        """The money behind what differs, by task, then by reason."""
        return HTML(self.opened.money().data + "<h3>By reason</h3>" + self.opened.amounts().data)

    @_section("Why do rows and fields differ, and what puts them right?")
    def reasons(self) -> HTML:
        """The reasons over all tasks."""
        return self.opened.reasons()

    @_section("Since when?")
    def since(self) -> HTML:
        """What is new, what came back, what stands since when."""
        return self.opened.since()

    @_section("How good are the data?")
    def quality(self) -> HTML:
        """Scores of the data by task, side and dimension, and what changed since the last run."""
        return self.opened.quality()
