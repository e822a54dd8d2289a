"""The calls that notebooks make about a task, one a step; each gives something to look at, live and headless alike."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import polars as pl
from IPython.display import HTML, Markdown

from p2c_lib import apply as applying
from p2c_lib import charts, history, migration, panels, proposing, quality, report, threeway, write
from p2c_lib import folder as folders
from p2c_lib import funnel as funnels
from p2c_lib import preflight as preflights
from p2c_lib import run as runs
from p2c_lib import verify as verifying
from p2c_lib.chains import chains
from p2c_lib.config import Profile
from p2c_lib.connect import Client
from p2c_lib.crossref import check_run, read_crossref
from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.legs import check_route, templates_for
from p2c_lib.legs import chosen as chosen_tasks
from p2c_lib.masking import names_of
from p2c_lib.model import Task, Template, TieOut, all_tasks, describe, find_task, load_templates
from p2c_lib.parameters import check_mode, check_parameters, profile_for
from p2c_lib.places import task_folder
from p2c_lib.pull import pull
from p2c_lib.routing import route_columns, routes
from p2c_lib.show import Progress, figure, table, words

if TYPE_CHECKING:
    from p2c_lib.explorer import Explorer

_NO_DOCUMENTS = Markdown("The rows of this task are no documents.")
_DIRECT = Markdown("The direct route has one leg: there is no store between the two systems.")
_IN_OVERVIEW = Markdown("This task is part of a larger run, whose overview shows it over all tasks.")


P = ParamSpec("P")


def _each_leg(step: Callable[P, HTML]) -> Callable[P, HTML]:
    """Show a step of both legs, one below the other, where a session has two."""

    @functools.wraps(step)
    def shown(*args: P.args, **kwargs: P.kwargs) -> HTML:
        session = args[0]
        assert isinstance(session, Session)
        own = step(*args, **kwargs)
        if session.first is None:
            return own
        before = step(session.first)  # type: ignore[call-arg, arg-type]
        parts = (("Leg 1", session.first.task, before), ("Leg 2", session.task, own))
        return HTML("".join(f"<h4>{leg}: {task.source.label} to {task.destination.label}</h4>{html.data}"
                            for leg, task, html in parts))  # fmt: skip

    return shown


class Session:
    """One task looked at step by step. `start` makes it; each method is a cell of a notebook."""

    def __init__(self, task: Task, template: Template, profile: Profile, folder: Path, *, alone: bool, sample: int,
                 lag: timedelta, mode: str, approved_by: str, first: Session | None = None) -> None:  # fmt: skip
        self.first = first  # of the second leg through CDS: the session of the first
        self.task, self.template, self.profile, self.folder = task, template, profile, folder
        self.sample, self.mode, self.approved_by, self.alone = sample, mode, approved_by, alone
        self._lag = lag
        self._stack = contextlib.ExitStack()
        self._clients: dict[str, Client] | None = None
        self._sides: runs.Sides | None = None
        self._compared: runs.Compared | None = None
        self._told: pl.DataFrame | None = None

    @property
    def clients(self) -> dict[str, Client]:
        """Both systems' clients, connected on first use."""
        if self._clients is None:
            route = self.template.generation
            self._clients = (
                self.first.clients if self.first else self._stack.enter_context(runs.open_clients(self.profile, route))
            )
        return self._clients

    @property
    def sides(self) -> runs.Sides:
        """Both sides as pulled; pulled on first use."""
        if self._sides is None:
            also = route_columns(self.task, self._templates)
            with Progress() as progress:
                self._sides = runs.read_sides(self.task, self.clients, progress, also=also)
        return self._sides

    @property
    def compared(self) -> runs.Compared:
        """The comparison; made and saved on first use."""
        if self._compared is None:
            if self.first is not None:
                _ = self.first.compared  # the second leg is planned from what the first will write
            metadata = {system: client.metadata() for system, client in self.clients.items()}
            known = read_crossref(self.profile.crossref_file)
            self._compared = runs.compare_sides(self.task, self.sides, metadata, lag=self._lag, crossref=known)
            runs.save(self.folder, self.task, self.sides, self._compared)
            runs.save_ahead(self.folder, self.task, self.sides, metadata, lag=self._lag)
        return self._compared

    def rules(self) -> HTML:
        """What the template says: a row a field, with its map and how sure we are of it."""
        return table(pl.DataFrame(describe(self.template)), self.template.title)

    @_each_leg
    def pull(self) -> HTML:
        """Read both sides and say what came."""
        sides = self.sides
        ends = (("source", self.task.source, sides.source), ("destination", self.task.destination, sides.found))
        rows = [(name, side.system, side.entity, frame.height, frame.width) for name, side, frame in ends]
        frame = pl.DataFrame(rows, schema=["side", "system", "entity", "rows", "columns"], orient="row")
        return table(frame, f"read in {sides.seconds:.1f} s")

    @_each_leg
    def validate(self) -> HTML:
        """Hold source, expected and destination rows against their expectation suites; failing rows come with keys."""
        checks = runs.save_checks(self.folder, self.task, runs.validate_task(self.task, self.sides, self.compared))
        failed = report.failed_checks(checks)
        total = sum(len(suite["checks"]) for suite in checks)
        scored = table(quality.wide(quality.scores(checks)).drop("change"), panels.QUALITY_NOTE).data
        if failed.is_empty():
            return HTML(words(f"All {total} expectations were met.") + scored)
        return HTML(table(failed, f"{failed.height} of {total} expectations were not met").data + scored)

    @_each_leg
    def outcomes(self) -> HTML:
        """What became of every row, as a chart and as numbers that add up to the rows pulled."""
        facts = runs.summary(self.task, self.sides, self.compared)
        frame = pl.DataFrame([{name: facts[name] for name in ("source_rows", "destination_rows", *ROW_OUTCOMES)}])
        chart = charts.outcome_bars(frame.with_columns(task=pl.lit(self.task.name)))
        return HTML(figure(chart) + table(frame).data)

    @_each_leg
    def reasons(self) -> HTML:
        """Why rows and fields differ and what would put them right, most frequent first."""
        return self._or_none(
            report.reasons(self.compared.table).drop("task"), "Nothing differs and nothing was left out."
        )

    @_each_leg
    def fields(self) -> HTML:
        """Which fields differ most."""
        frame = report.field_counts(self.compared.table)
        if frame.is_empty():
            return HTML(words("No field differs."))
        top = frame.head(self.sample)
        return HTML(figure(charts.field_bars(top)) + table(top.drop("task")).data)

    @_each_leg
    def examples(self) -> HTML:
        """Some differing fields with both sides, and some rows that stand alone; all are in the run's folder."""
        cells, alone = report.samples(self.compared.table, self.task.name, self.sample)
        shown = "".join(table(frame).data for frame in (cells, alone) if frame.height)
        return HTML(shown or words("Nothing to show: every row that flows is matched."))

    def three_way(self) -> HTML | Markdown:
        """Source, store and destination side by side: what each leg lost or changed, and some of it in full."""
        if self.first is None:
            return _DIRECT
        _ = self.compared
        facts = [runs.summary(one.task, one.sides, one.compared) for one in (self.first, self)]
        whole = folders.three_ways(self.folder, facts)
        if whole is None or whole.is_empty():
            return HTML(words("Every record is in step all the way."))
        return HTML(table(threeway.worst(whole)).data + table(whole.drop("task", "staged_at").head(self.sample)).data)

    @_each_leg
    def unmapped(self) -> HTML:
        """Source values that no value map knows, with the rows and the money behind them."""
        return self._or_none(
            report.with_money(self.compared.unmapped.drop("task")), "Every value has an entry in its value map."
        )

    def routes(self) -> HTML:
        """Where the rows of this source go: which task takes them, and why the others do not."""
        frame = routes(self.sides.source, self.task, self._templates)
        return HTML(figure(charts.routing(frame)) + table(frame.with_columns(pl.col("reason").fill_null(""))).data)

    @_each_leg
    def money(self) -> HTML:
        """What is at stake, by reason and currency."""
        return HTML(panels.amounts(self.compared.table))

    def blocked(self) -> HTML:
        """What holds blocked rows up, back to the first cause; in a larger run the overview goes through all tasks."""
        names = [task.name for task in self._read]
        found = [pl.read_parquet(task_folder(self.folder, name) / "waits.parquet") for name in names]
        tables = [pl.read_parquet(task_folder(self.folder, name) / "outcomes.parquet") for name in names]
        return HTML(panels.held_up(chains(pl.concat(found), pl.concat(tables))))

    def funnel(self) -> HTML | Markdown:
        """The way from quote to cash: documents and money of each side by the stage that they have reached."""
        shown = self._documents
        if shown.is_empty():
            return _IN_OVERVIEW
        return HTML(panels.quote_to_cash(shown, self._all_templates))

    def lifecycle(self) -> HTML | Markdown:
        """The documents by status on both sides: in step, behind, ahead, cancelled apart; and how old they are."""
        kinds = {place.kind for place in funnels.places_of([task.name for task in self._read])}
        mine = self._documents.filter(pl.col("kind").is_in(list(kinds)))
        if mine.is_empty():
            return _IN_OVERVIEW
        return HTML(panels.lifecycles(mine, self._all_templates, datetime.now(UTC)))

    def documents(self) -> HTML | Markdown:
        """Tie out documents: the lines of each against its header, on each side and across; worst first."""
        if self._family is None:
            return _NO_DOCUMENTS
        if not self.alone:
            return _IN_OVERVIEW
        facts = [json.loads((task_folder(self.folder, task.name) / "summary.json").read_text("utf-8"))
                 for task in self._read]  # fmt: skip
        return HTML(panels.ties(folders.tied_out(self.folder, facts), self.sample))

    def drill(self, document: str = "") -> HTML | Markdown:
        """Look into one document: header and lines field by field, with source value, rule, expected and found.

        In a larger run this shows the rows of this task alone; the overview shows header and lines together.

        Args:
            document: Its number; "" takes the one in which most fields differ.

        Raises:
            ParameterError: It is no text, or no document has that number.
        """
        check_parameters({"document": document}, {"document": str})
        if self._family is None:
            return _NO_DOCUMENTS
        *_, how = self._family
        more = "" if self.alone else words("The overview of this run shows header and lines together.")
        return HTML(panels.document(self.folder, self._read, how, document) + more)

    @functools.cached_property
    def _templates(self) -> dict[str, Template]:
        return templates_for(self.profile, self.template.generation)

    @functools.cached_property
    def _all_templates(self) -> dict[str, Template]:
        """Of both routes: what the statuses of documents mean is in the direct ones."""
        return templates_for(self.profile, None)

    @property
    def _family(self) -> tuple[Task, Task, TieOut] | None:
        return panels.family(self.task, self._templates)

    @property
    def _read(self) -> list[Task]:
        """The tasks whose frames are in the folder: this one, and on its own also the other half of its documents."""
        _ = self.compared
        if self._family is None or not self.alone:
            return [self.task]
        header, lines, _ = self._family
        for task in (header, lines):
            if not (task_folder(self.folder, task.name) / "summary.json").exists():
                metadata = {system: client.metadata() for system, client in self.clients.items()}
                with Progress() as progress:
                    sides = runs.read_sides(task, self.clients, progress)
                known = read_crossref(self.profile.crossref_file)
                compared = runs.compare_sides(task, sides, metadata, lag=self._lag, crossref=known)
                runs.save(self.folder, task, sides, compared)
        return [header, lines]

    @property
    def _documents(self) -> pl.DataFrame:
        """Documents of all kinds when the notebook is on its own, else those that this task has read."""
        if self._told is None:
            read = [*self._read, *([self.first.task] if self.first else [])]
            names = [task.name for task in read]
            told = panels.told(self.folder, names, self._all_templates)
            if self.alone:
                known = {(place.kind, place.system) for place in funnels.places_of(names)}
                places = funnels.places_of([task.name for task in all_tasks(self._templates)])
                rest = [place for place in places if (place.kind, place.system) not in known]
                told = pl.concat([told, *self._pulled(rest)])
            self._told = told
        return self._told

    def _pulled(self, places: Sequence[funnels.Place]) -> Iterator[pl.DataFrame]:
        """The few columns of other documents that say how far they have come."""
        with Progress() as progress:
            for place in places:
                task = find_task(place.task, self._templates)
                side = task.source if place.side == "source" else task.destination
                label, wanted = f"{side.system} {side.entity}", [*place.columns, *funnels.conditions(place, task)]
                told = functools.partial(progress, label)
                frame = pull(self.clients[side.system], side.entity, list(dict.fromkeys(wanted)), progress=told)
                yield funnels.documents(place, frame, self._all_templates)

    def proposals(self) -> HTML:
        """Rows that one side alone has and that look like the same: pairs for a person to decide on."""
        if self.task.evidence is None or self.first is not None:
            return HTML(words("Nothing is proposed for this task."))
        _ = self.compared
        found = proposing.propose_task(self.folder, self.task, read_crossref(self.profile.crossref_file))
        if found.is_empty():
            return HTML(words("No row that one side alone has looks like one of the other."))
        note = f"{found.height:,} pairs; p2c propose {self.folder} --rows shows both rows, --accept KEY takes a pair"
        return table(found.drop("task", "kind").head(self.sample), note)

    def plan(self) -> HTML | Markdown:
        """Say what a write would send; saved in the run's folder when the notebook runs on its own."""
        if not self.alone:
            return Markdown(f"This task is part of a larger run: `p2c plan {self.folder}` plans all of it at once.")
        self.finish()
        check_run(self.folder, read_crossref(self.profile.crossref_file))
        plan = write.plan(self.folder, templates=self._templates, clients=self.clients)
        told = write.plan_table(plan, write.costs(plan, self.clients))
        return table(told, f"plan {plan.hash[:12]} in {plan.folder}; nothing was sent")

    def apply(self) -> HTML | Markdown:
        """With mode 'apply' approve the saved plan in the name given, send it, read it back; else nothing is sent."""
        if self.mode != "apply" or not self.alone:
            return Markdown("Nothing was written: `mode` is `plan`.")
        write.approve(self.folder, self.approved_by)
        done = applying.apply(self.folder, self.profile, self.clients)
        verified = verifying.verify(self.folder, templates=self._templates, clients=self.clients)
        counts = ", ".join(f"{name}: {count}" for name, count in applying.counts(done).items())
        note = f"{counts}; run the notebook again to see both sides compared anew"
        return table(verifying.outcomes_table(verified), note)

    def explore(self) -> Explorer:
        """Look into all that is not matched: filter, open, tick, plan, approve, apply; headless its first page."""
        from p2c_lib.explorer import explore  # takes a second to import, which a notebook without it need not wait

        if self.alone and not (self.folder / "outcomes.parquet").exists():
            self.finish()
        _ = self.compared
        names = [one.task.name for one in (self.first, self) if one is not None]
        return explore(self.folder, profile=self.profile, tasks=names)

    def finish(self) -> Markdown:
        """What was found and where the files are."""
        facts = runs.summary(self.task, self.sides, self.compared)
        if self.alone:
            names = [self.task.name] if self.first is None else [self.first.task.name, self.task.name]
            run = history.conclude(self.profile, self.folder, names)
            migration.save_declared(self.folder, self.profile)
            report.write_report(self.folder)
            head, more = report.verdict(run), run.get("not_in_history", "")
        else:
            head, more = f"{folders.differing_rows(facts):,} rows of {self.task.name} are not in step", ""
        (self.first or self)._stack.close()
        self._clients = None
        if self.first is not None:
            self.first._clients = None
        counts = ", ".join(f"{facts[name]:,} {name}" for name in ROW_OUTCOMES if facts[name])
        said = f"**{head}.** {facts['source_rows']:,} source rows: {counts}.\n\nFiles: `{self.folder}`"
        return Markdown(f"{said}\n\n{more}" if more else said)

    def _or_none(self, frame: pl.DataFrame, text: str) -> HTML:
        return table(frame) if frame.height else HTML(words(text))


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
    route: str = "direct",
    unmask: str = "",
) -> Session:
    """Begin a notebook for one task; nothing is read yet.

    Args:
        task: A task of the templates; on the route ``cds`` the name of a direct one stands for both of its legs.
        profile: A profile of ``p2c.toml``; "" for ``P2C_PROFILE`` or the sandbox.
        company: F&O legal entity; "" for the profile's.
        mode: ``plan`` writes nothing; ``apply`` sends the plan that this run saves and shows.
        approved_by: Who approves; needed by ``apply``.
        out: Folder of the run; "" makes a new one below ``runs``.
        sample: Rows shown in a table of examples.
        lag_minutes: How long a change may take to arrive before it counts as a difference to act on.
        route: ``direct``, or ``cds`` by way of the store between the systems.
        unmask: Names of personal columns, commas between, whose values are shown as they are.

    Raises:
        ParameterError: A value is unknown or of another type, with what would be right.
    """
    given = {"task": task, "profile": profile, "company": company, "mode": mode, "approved_by": approved_by, "out": out,
             "route": route, "unmask": unmask}  # fmt: skip
    check_parameters(given | {"sample": sample, "lag_minutes": lag_minutes},
                     dict.fromkeys(given, str) | {"sample": int, "lag_minutes": int})  # fmt: skip
    check_mode(mode, approved_by)
    chosen = profile_for(profile, company, names_of(unmask))
    templates = templates_for(chosen, check_route(route))
    found = chosen_tasks([task], templates)
    shared = bool(out) and (Path(out) / "run.json").exists()
    folder = Path(out) if shared else folders.create(Path(out) if out else None, chosen, given)
    session = None
    for leg in found:
        session = Session(leg, templates[leg.template], chosen, folder, alone=not shared, sample=sample, mode=mode,
                          lag=timedelta(minutes=lag_minutes), approved_by=approved_by, first=session)  # fmt: skip
    assert session is not None
    return session


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
