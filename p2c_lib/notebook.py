"""The calls that notebooks make, one a step; each gives something to look at, live and headless alike.

A notebook never writes to an ``ipywidgets.Output``: that hangs headless runs now and then. Progress is a plain
display that is updated; tables and charts are HTML and images, so an executed copy shows them anywhere.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Mapping
from datetime import timedelta
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl
from IPython.display import HTML, DisplayHandle, Markdown, display

from p2c_lib import apply as applying
from p2c_lib import charts, report, write
from p2c_lib import folder as folders
from p2c_lib import preflight as preflights
from p2c_lib import run as runs
from p2c_lib.config import FnoEndpoint, Profile, load_profile
from p2c_lib.connect import Client
from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.errors import ParameterError
from p2c_lib.explain import money_text
from p2c_lib.model import Task, Template, all_tasks, describe, find_task, load_templates

DOCUMENTS_SHOWN = 20
MODES = ("plan", "apply")
LARGEST = 1_000_000


def table(frame: pl.DataFrame, note: str = "", longest: int = report.TEXT_SHOWN) -> HTML:
    """A frame as the report shows it, with ``note`` below it; a text over ``longest`` characters is cut."""
    below = f"<p style='color:#5d6b78'>{escape(note)}</p>" if note else ""
    return HTML(report.html_table(frame, longest) + below)


def figure(chart: Any) -> str:
    """A chart as an image with all of it inside: JupyterLab strips SVG from the HTML of a notebook that it did not run
    itself, an executed copy for example, but not images."""
    drawn = charts.mimebundle(chart)
    data = base64.b64encode(drawn["image/svg+xml"].encode()).decode()
    return f'<img alt="{escape(drawn["text/plain"])}" src="data:image/svg+xml;base64,{data}" style="max-width:100%">'


class Progress:
    """A line that says how many rows have come; used as ``with Progress() as progress``."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._rows: dict[str, int] = {}
        self._shown = 0.0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, label: str, rows: int) -> None:
        """Take note of ``rows`` read of ``label``; shown at most five times a second."""
        self._rows[label] = rows
        if time.monotonic() - self._shown >= 0.2:
            self._show("reading")

    def _show(self, word: str) -> None:
        text = HTML(
            f"<code>{word} " + escape(" · ".join(f"{k}: {v:,} rows" for k, v in self._rows.items())) + "</code>"
        )
        self._shown = time.monotonic()
        if self._handle is None:
            self._handle = display(text, display_id=True)
        else:
            self._handle.update(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rows:
            self._show("stopped at" if error else "read")


def check_parameters(given: Mapping[str, Any], kinds: Mapping[str, type[str] | type[int]]) -> None:
    """Refuse parameters of another type than declared: papermill turns ``-p x false`` into text and ``007`` into 7.

    Raises:
        ParameterError: Naming each wrong parameter, what came and what would be right.
    """
    problems = []
    for name, value in given.items():
        kind = kinds[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            problems.append(f"{name}={value!r} is {type(value).__name__}; it must be {kind.__name__}")
        elif isinstance(value, int) and not 0 <= value <= LARGEST:
            problems.append(f"{name}={value} is out of range; it must be from 0 to {LARGEST:,}")
    if problems:
        raise ParameterError("; ".join(problems))


def check_mode(mode: str, approved_by: str) -> None:
    """Refuse any mode but plan and apply, and an apply that nobody approved."""
    if mode not in MODES:
        raise ParameterError(f"mode='{mode}' is not known; use 'plan' (nothing is written) or 'apply'")
    if mode == "apply" and not approved_by.strip():
        raise ParameterError("mode='apply' needs approved_by: the name of the person who approves the plan")


class Session:
    """One task looked at step by step. `start` makes it; each method is a cell of a notebook."""

    def __init__(self, task: Task, template: Template, profile: Profile, folder: Path, *, alone: bool, sample: int,
                 lag: timedelta, mode: str, approved_by: str) -> None:  # fmt: skip
        self.task, self.template, self.profile, self.folder = task, template, profile, folder
        self.sample, self.mode, self.approved_by, self.alone = sample, mode, approved_by, alone
        self._lag = lag
        self._stack = contextlib.ExitStack()
        self._clients: dict[str, Client] | None = None
        self._sides: runs.Sides | None = None
        self._compared: runs.Compared | None = None

    @property
    def clients(self) -> dict[str, Client]:
        """Both systems' clients, connected on first use."""
        if self._clients is None:
            self._clients = self._stack.enter_context(runs.open_clients(self.profile))
        return self._clients

    @property
    def sides(self) -> runs.Sides:
        """Both sides as pulled; pulled on first use."""
        if self._sides is None:
            also = runs.route_columns(self.task, load_templates(self.profile.overlays))
            with Progress() as progress:
                self._sides = runs.read_sides(self.task, self.clients, progress, also=also)
        return self._sides

    @property
    def compared(self) -> runs.Compared:
        """The comparison; made and saved on first use."""
        if self._compared is None:
            metadata = {system: client.metadata() for system, client in self.clients.items()}
            self._compared = runs.compare_sides(self.task, self.sides, metadata, lag=self._lag)
            runs.save(self.folder, self.task, self.sides, self._compared)
        return self._compared

    def rules(self) -> HTML:
        """What the template says: a row a field, with its map and how sure we are of it."""
        return table(pl.DataFrame(describe(self.template)), self.template.title)

    def pull(self) -> HTML:
        """Read both sides and say what came."""
        sides = self.sides
        ends = (("source", self.task.source, sides.source), ("destination", self.task.destination, sides.found))
        rows = [(name, side.system, side.entity, frame.height, frame.width) for name, side, frame in ends]
        frame = pl.DataFrame(rows, schema=["side", "system", "entity", "rows", "columns"], orient="row")
        return table(frame, f"read in {sides.seconds:.1f} s")

    def validate(self) -> HTML:
        """Hold source, expected and destination rows against their expectation suites; failing rows come with keys."""
        checks = runs.save_checks(self.folder, self.task, runs.validate_task(self.task, self.sides, self.compared))
        failed = report.failed_checks(checks)
        total = sum(len(suite["checks"]) for suite in checks)
        if failed.is_empty():
            return HTML(f"<p>All {total} expectations were met.</p>")
        return table(failed, f"{failed.height} of {total} expectations were not met")

    def outcomes(self) -> HTML:
        """What became of every row, as a chart and as numbers that add up to the rows pulled."""
        facts = runs.summary(self.task, self.sides, self.compared)
        frame = pl.DataFrame([{name: facts[name] for name in ("source_rows", "destination_rows", *ROW_OUTCOMES)}])
        chart = charts.outcome_bars(frame.with_columns(task=pl.lit(self.task.name)))
        return HTML(figure(chart) + table(frame).data)

    def reasons(self) -> HTML:
        """Why rows and fields differ and what would put them right, most frequent first."""
        return self._or_none(
            report.reasons(self.compared.table).drop("task"), "Nothing differs and nothing was left out."
        )

    def fields(self) -> HTML:
        """Which fields differ most."""
        frame = report.field_counts(self.compared.table)
        if frame.is_empty():
            return HTML("<p>No field differs.</p>")
        top = frame.head(self.sample)
        return HTML(figure(charts.field_bars(top)) + table(top.drop("task")).data)

    def examples(self) -> HTML:
        """Some differing fields with both sides, and some rows that stand alone; all are in the run's folder."""
        cells, alone = report.samples(self.compared.table, self.task.name, self.sample)
        shown = "".join(table(frame).data for frame in (cells, alone) if frame.height)
        return HTML(shown or "<p>Nothing to show: every row that flows is matched.</p>")

    def unmapped(self) -> HTML:
        """Source values that no value map knows, with the rows and the money behind them."""
        return self._or_none(
            report.with_money(self.compared.unmapped.drop("task")), "Every value has an entry in its value map."
        )

    def routes(self) -> HTML:
        """Where the rows of this source go: which task takes them, and why the others do not."""
        frame = runs.routes(self.sides.source, self.task, load_templates(self.profile.overlays))
        return HTML(figure(charts.routing(frame)) + table(frame.with_columns(pl.col("reason").fill_null(""))).data)

    def documents(self) -> HTML | Markdown:
        """Tie out documents: the lines of each against its header, on each side and across; worst first."""
        siblings = [task for task in self.template.tasks if task.tie_out or _heads(task, self.template)]
        if self.task not in siblings:
            return Markdown("The rows of this task are no documents.")
        if not self.alone:
            return Markdown("The overview of this run ties out its documents.")
        metadata = {system: client.metadata() for system, client in self.clients.items()}
        facts = [runs.summary(self.task, self.sides, self.compared)]
        for task in siblings:
            if task != self.task:
                with Progress() as progress:
                    sides = runs.read_sides(task, self.clients, progress)
                facts.append(runs.save(self.folder, task, sides, runs.compare_sides(task, sides, metadata)))
        return documents_table(folders.tied_out(self.folder, facts), self.sample)

    def plan(self) -> HTML | Markdown:
        """Say what a write would send; saved in the run's folder when the notebook runs on its own."""
        if not self.alone:
            return Markdown(f"This task is part of a larger run: `p2c plan {self.folder}` plans all of it at once.")
        self.finish()
        plan = write.plan(self.folder, templates=load_templates(self.profile.overlays), clients=self.clients)
        return table(write.plan_table(plan), f"plan {plan.hash[:12]} in {self.folder / 'plan'}; nothing was sent")

    def apply(self) -> HTML | Markdown:
        """With mode 'apply' approve the saved plan in the name given and send it; else nothing is sent."""
        if self.mode != "apply" or not self.alone:
            return Markdown("Nothing was written: `mode` is `plan`.")
        write.approve(self.folder, self.approved_by)
        done = applying.apply(self.folder, self.profile, self.clients)
        return table(pl.DataFrame([applying.counts(done)]), "run the notebook again to see both sides compared anew")

    def finish(self) -> Markdown:
        """What was found and where the files are."""
        facts = runs.summary(self.task, self.sides, self.compared)
        if self.alone:
            run = folders.finish(self.folder, [self.task.name])
            report.write_report(self.folder)
            head = report.verdict(run)
        else:
            head = f"{folders.differing_rows(facts):,} rows of {self.task.name} are not in step"
        self._stack.close()
        self._clients = None
        counts = ", ".join(f"{facts[name]:,} {name}" for name in ROW_OUTCOMES if facts[name])
        return Markdown(f"**{head}.** {facts['source_rows']:,} source rows: {counts}.\n\nFiles: `{self.folder}`")

    def _or_none(self, frame: pl.DataFrame, words: str) -> HTML:
        return table(frame) if frame.height else HTML(f"<p>{escape(words)}</p>")


def start(
    *,
    task: str,
    profile: str = "",
    company: str = "",
    mode: str = "plan",
    approved_by: str = "",
    out: str = "",
    sample: int = 10,
    lag_minutes: int = 0,
) -> Session:
    """Begin a notebook for one task; nothing is read yet.

    Args:
        task: A task of the templates.
        profile: A profile of ``p2c.toml``; "" for ``P2C_PROFILE`` or the sandbox.
        company: F&O legal entity; "" for the profile's.
        mode: ``plan`` writes nothing; ``apply`` sends the plan that this run saves and shows.
        approved_by: Who approves; needed by ``apply``.
        out: Folder of the run; "" makes a new one below ``runs``.
        sample: Rows shown in a table of examples.
        lag_minutes: How long a change may take to arrive before it counts as a difference to act on.

    Raises:
        ParameterError: A value is unknown or of another type, with what would be right.
    """
    given = {"task": task, "profile": profile, "company": company, "mode": mode, "approved_by": approved_by, "out": out}
    check_parameters(given | {"sample": sample, "lag_minutes": lag_minutes},
                     dict.fromkeys(given, str) | {"sample": int, "lag_minutes": int})  # fmt: skip
    check_mode(mode, approved_by)
    chosen = profile_for(profile, company)
    templates = load_templates(chosen.overlays)
    found = find_task(task, templates)
    shared = bool(out) and (Path(out) / "run.json").exists()
    folder = Path(out) if shared else folders.create(Path(out) if out else None, chosen, given)
    return Session(found, templates[found.template], chosen, folder, alone=not shared, sample=sample,
                   lag=timedelta(minutes=lag_minutes), mode=mode, approved_by=approved_by)  # fmt: skip


def profile_for(profile: str, company: str) -> Profile:
    """Load a profile, with another company when one is named.

    Raises:
        ConfigError: The profile is wrong.
        ParameterError: The company cannot be one.
    """
    chosen = load_profile(profile or None)
    if not company:
        return chosen
    try:
        fno = FnoEndpoint(url=chosen.fno.url, company=company)
    except ValueError:
        raise ParameterError(f"company='{company}' cannot be one; it has 1 to 4 letters, digits or _: usmf") from None
    return chosen.model_copy(update={"fno": fno})


def _heads(task: Task, template: Template) -> bool:
    return any(other.tie_out and other.tie_out.header == task.name for other in template.tasks)


def documents_table(ties: pl.DataFrame, sample: int) -> HTML:
    """The documents that do not tie out, worst first, with what of them is at stake."""
    off = ties.filter(
        pl.any_horizontal(
            pl.col(name).fill_null(0) != 0 for name in ("difference_expected", "difference_found", "at_stake")
        )
    )
    if off.is_empty():
        return HTML(f"<p>All {ties.height:,} documents tie out, on each side and across.</p>")
    worst = off.sort("at_stake", "document", descending=[True, False]).head(sample)
    amounts = [name for name, dtype in worst.schema.items() if dtype.is_decimal()]
    shown = [row | {name: money_text(row[name], row["currency"]) for name in amounts} for row in worst.to_dicts()]
    return table(
        pl.DataFrame(shown).drop("currency"),
        f"{off.height:,} of {ties.height:,} documents do not tie out; difference_ is the header less its own lines, "
        "charges, tax and discount",
    )


class Overview:
    """A whole run looked at: every task side by side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folders.read_run(folder)
        self._table = pl.read_parquet(folder / "outcomes.parquet")

    def outcomes(self) -> HTML:
        """What became of every row of every task."""
        frame = report.outcome_table(self.run)
        return HTML(figure(charts.outcome_bars(frame)) + table(frame).data)

    def money(self) -> HTML:
        """What is at stake, by task and currency."""
        frame = report.at_stake(self.run)
        if frame.is_empty():
            return HTML("<p>No amount is at stake.</p>")
        return HTML(figure(charts.amount_by_currency(frame)) + table(report.with_money(frame)).data)

    def documents(self) -> HTML:
        """Documents whose lines and header do not tie out, on a side or across; worst first."""
        return documents_table(pl.read_parquet(self.folder / "ties.parquet"), DOCUMENTS_SHOWN)

    def reasons(self) -> HTML:
        """Why rows and fields differ, over all tasks."""
        frame = report.reasons(self._table)
        return table(frame) if frame.height else HTML("<p>Nothing differs and nothing was left out.</p>")

    def finish(self) -> Markdown:
        """The verdict and where the files are."""
        path = report.write_report(self.folder)
        return Markdown(f"**{report.verdict(self.run)}.**\n\nReport: `{path}`")


def overview(*, run: str = "", profile: str = "", company: str = "") -> Overview:
    """Look at a run's folder, or, with none given, run every task now.

    Raises:
        ParameterError: A value is of another type, or the folder holds no run.
    """
    given = {"run": run, "profile": profile, "company": company}
    check_parameters(given, dict.fromkeys(given, str))
    if run:
        return Overview(Path(run))
    chosen = profile_for(profile, company)
    tasks = all_tasks(load_templates(chosen.overlays))
    with Progress() as progress:
        return Overview(runs.execute(chosen, tasks, None, given, progress=progress))


def preflight(*, profile: str = "", company: str = "") -> HTML:
    """Check both systems; a row a check with what was found, what is needed and what to do.

    Raises:
        ParameterError: A value is of another type.
    """
    given = {"profile": profile, "company": company}
    check_parameters(given, dict.fromkeys(given, str))
    chosen = profile_for(profile, company)
    with runs.open_clients(chosen) as clients:
        checks = preflights.check(chosen, clients, load_templates(chosen.overlays))
    return table(preflights.check_table(checks), preflights.verdict(checks), longest=5000)
