"""The calls of the overview notebook: a whole run looked at, every task side by side."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from IPython.display import HTML, Markdown

from p2c_lib import charts, panels, report
from p2c_lib import folder as folders
from p2c_lib import run as runs
from p2c_lib.config import Profile
from p2c_lib.errors import ParameterError
from p2c_lib.folder import read_run
from p2c_lib.legs import templates_for
from p2c_lib.model import Template, all_tasks
from p2c_lib.parameters import check_parameters, profile_for
from p2c_lib.show import Progress, figure, table, words

if TYPE_CHECKING:
    from p2c_lib.explorer import Explorer

__all__ = ["Overview", "look"]

DOCUMENTS_SHOWN = 20


class Overview:
    """A run that came to its end. `look` makes it; each method is a cell of the notebook."""

    def __init__(self, folder: Path, templates: dict[str, Template], profile: str | Profile = "") -> None:
        self.folder, self._profile = folder, profile
        self.run = folders.read_run(folder)
        self._templates = templates
        self._table = pl.read_parquet(folder / "outcomes.parquet")
        self._done = [task["task"] for task in self.run["tasks"] if "error" not in task]

    @cached_property
    def _documents(self) -> pl.DataFrame:
        return panels.told(self.folder, self._done, self._templates)

    def outcomes(self) -> HTML:
        """What became of every row of every task; why a task failed."""
        frame = report.outcome_table(self.run)
        failed = [words(f"{task['task']} failed: {task['error']}") for task in self.run["tasks"] if "error" in task]
        return HTML(figure(charts.outcome_bars(frame)) + table(frame).data + "".join(failed))

    def funnel(self) -> HTML:
        """The way from quote to cash: documents and money of each side by the stage that they have reached."""
        return HTML(panels.quote_to_cash(self._documents, self._templates))

    def lifecycle(self) -> HTML:
        """The documents by status on both sides: in step, behind, ahead, cancelled apart; and how old they are."""
        at = datetime.fromisoformat(self.run["started"])
        return HTML(panels.lifecycles(self._documents, self._templates, at))

    def money(self) -> HTML:
        """What is at stake, by task and currency."""
        frame = report.at_stake(self.run)
        if frame.is_empty():
            return HTML(words("No amount is at stake."))
        texts = report.with_money(frame).group_by("task", maintain_order=True).agg(pl.col("amount").str.join("\n"))
        return HTML(figure(charts.amount_by_currency(frame)) + table(texts).data)

    def amounts(self) -> HTML:
        """What is at stake, by reason and currency."""
        return HTML(panels.amounts(self._table))

    def documents(self) -> HTML:
        """Documents whose lines and header do not tie out, on a side or across; worst first."""
        return HTML(panels.ties(pl.read_parquet(self.folder / "ties.parquet"), DOCUMENTS_SHOWN))

    def blocked(self) -> HTML:
        """What holds blocked rows up, back to the first cause, each cause once."""
        return HTML(panels.held_up(pl.read_parquet(self.folder / "blocked.parquet")))

    def drill(self, task: str = "", document: str = "") -> HTML:
        """Look into one document: header and lines field by field, with source value, rule, expected and found.

        Args:
            task: A header or line task of the run; "" takes each kind of document.
            document: Its number; "" takes the one in which most fields differ.

        Raises:
            ParameterError: A value is of another type, the run has no such documents, or none has that number.
        """
        given = {"task": task, "document": document}
        check_parameters(given, dict.fromkeys(given, str))
        families = {}
        for one in all_tasks(self._templates):
            family = panels.family(one, self._templates)
            if family and {part.name for part in family[:2]} <= set(self._done) and task in ("", one.name):
                families[family[0].name] = family
        if not families and task:
            raise ParameterError(f"task='{task}' has no documents in this run, with header and lines")
        if document and len(families) != 1:
            raise ParameterError(f"document='{document}' is of which task? one of {', '.join(families) or 'none'}")
        parts = [panels.document(self.folder, [head, lines], how, document) for head, lines, how in families.values()]
        return HTML("<hr>".join(parts) or words("No document was compared with its lines."))

    def reasons(self) -> HTML:
        """Why rows and fields differ, over all tasks."""
        frame = report.reasons(self._table)
        return table(frame) if frame.height else HTML(words("Nothing differs and nothing was left out."))

    def since(self) -> HTML:
        """What is new in this run, what came back, what stands open since when, and what is gone."""
        lacks = self.run.get("not_in_history")
        frame = report.since_when(self.folder)
        if lacks or frame.is_empty():
            return HTML(words(lacks or "Nothing differs in this run, nor did in an earlier one."))
        return table(frame)

    def quirks(self) -> HTML:
        """What the templates do that one would not expect, known and no error; counted apart."""
        return HTML(panels.odd(pl.read_parquet(self.folder / "quirks.parquet")))

    def explore(self) -> Explorer:
        """Look into the run: filter all that is not matched, open a record, tick, plan, approve, apply."""
        from p2c_lib.explorer import explore  # takes a second to import

        return explore(self.folder, profile=self._profile)

    def quality(self) -> HTML:
        """How good the data are, by task, side and dimension, and what changed since the last run."""
        return HTML(panels.data_quality(report.Figures.of(self.folder)))

    def finish(self) -> Markdown:
        """The verdict and where the files are."""
        path = report.write_report(self.folder)
        return Markdown(f"**{report.verdict(self.run)}.**\n\nReport: `{path}`")


def look(*, run: str = "", profile: str = "", company: str = "") -> Overview:
    """Look at a run's folder, or, with none given, run every task now.

    Raises:
        ParameterError: A value is of another type, or the folder holds no run.
    """
    given = {"run": run, "profile": profile, "company": company}
    check_parameters(given, dict.fromkeys(given, str))
    chosen = profile_for(profile, company, read_run(Path(run)).get("unmask", ()) if run else ())
    templates = templates_for(chosen)
    if run:
        is_direct = read_run(Path(run)).get("route", "direct") == "direct"
        # the words for the statuses of documents stand in the direct templates
        return Overview(Path(run), templates if is_direct else templates_for(chosen, None), chosen)
    with Progress() as progress:
        return Overview(runs.execute(chosen, all_tasks(templates), None, given, progress=progress), templates, chosen)
