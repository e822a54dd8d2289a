"""Keep Dynamics 365 Sales and Finance & Operations in step: compare, explain, plan, send, verify, load, undo.

Exit codes: 0 in step (or done), 1 differences past the threshold, 2 failed.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from p2c_lib.app_cli import app as serve_app
from p2c_lib.config import home, load_profile
from p2c_lib.errors import P2CError, ParameterError
from p2c_lib.history_cli import history_app, migration_check
from p2c_lib.load_cli import load
from p2c_lib.match_cli import register as register_matching
from p2c_lib.report_cli import near
from p2c_lib.report_cli import register as register_reports
from p2c_lib.sandbox_cli import AsJson, err_console, out_console, sandbox_app
from p2c_lib.write_cli import ProfileOption, bar, print_frame, print_rows
from p2c_lib.write_cli import register as register_writing

DEMO_ORDERS = 400

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
templates_app = typer.Typer(no_args_is_help=True, help="What the templates say, and whether they fit the services.")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(history_app, name="history")
app.command("migration-check")(migration_check)
app.command("load")(load)
app.command("app")(serve_app)
app.add_typer(templates_app, name="templates")


CompanyOption = Annotated[str, typer.Option(help="F&O legal entity; default: the profile's.")]
TaskNames = Annotated[list[str] | None, typer.Argument(help="See `p2c templates list`.", metavar="[TASK]...")]
Notebooks = Annotated[bool, typer.Option("--notebooks/--no-notebooks", help="In notebooks that are kept, or without.")]
RouteOption = Annotated[str, typer.Option(help="direct, or cds: by way of the store between the systems.")]
Threshold = Annotated[int | None, typer.Option(min=0, help="Differing rows still called in step.")]


def main() -> None:
    """Run the command line; an error of ours becomes a message on stderr and exit code 2."""
    try:
        app()
    except P2CError as error:
        err_console.print(f"[red]{type(error).__name__}[/red]: {escape(str(error))}", highlight=False)
        sys.exit(2)


@app.command()
def version() -> None:
    """Print the version."""
    out_console.print(installed_version("p2c"))


@app.command()
def run(
    tasks: TaskNames = None,
    all_: Annotated[bool, typer.Option("--all", help="Every task of every template.")] = False,
    profile: ProfileOption = "",
    company: CompanyOption = "",
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/<time>-<id>.")] = None,
    notebooks: Notebooks = True,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at once.")] = 2,
    timeout_s: Annotated[int, typer.Option(min=1, help="Longest time for one cell, seconds.")] = 3600,
    lag_minutes: Annotated[int, typer.Option(min=0, max=1_000_000, help="How long a change may take to arrive.")] = 0,
    threshold: Threshold = None,
    route: RouteOption = "direct",
    workbook: Annotated[bool, typer.Option("--workbook", help="Write workbook.xlsx with every row too.")] = False,
    unmask: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Show this personal column's values as they are; may be repeated."),
    ] = None,
) -> None:
    """Compare tasks of both systems: outcomes, reasons, report. Nothing is written to either system."""
    from p2c_lib import execution, legs
    from p2c_lib.model import all_tasks
    from p2c_lib.parameters import profile_for

    way = legs.check_route(route)
    chosen = profile_for(profile, company, unmask or ())
    if threshold is not None:
        chosen = chosen.model_copy(update={"threshold": threshold})
    templates = legs.templates_for(chosen, way)
    if bool(tasks) == all_:
        raise ParameterError(
            "name the tasks to run, or give --all; known: " + ", ".join(t.name for t in all_tasks(templates))
        )
    wanted = all_tasks(templates) if all_ else legs.chosen(tasks or [], templates)
    folder, facts = execution.run_tasks(
        chosen,
        wanted,
        out,
        notebooks=notebooks,
        jobs=jobs,
        timeout_s=timeout_s,
        lag=timedelta(minutes=lag_minutes),
        progress=_tasks_bar(),
        route=way,
        workbook=workbook,
    )
    _print_outcomes(facts)
    out_console.print(f"report: {near(folder / 'report.html')}", highlight=False)
    raise typer.Exit(facts["exit_code"])


register_writing(app)
register_reports(app)
register_matching(app)


@app.command()
def preflight(profile: ProfileOption = "", company: CompanyOption = "", as_json: AsJson = False) -> None:
    """Check that both systems are ready: versions, solution, settings, reference data, privileges, columns."""
    from p2c_lib import preflight as preflights
    from p2c_lib.model import load_templates
    from p2c_lib.parameters import profile_for
    from p2c_lib.run import open_clients

    chosen = profile_for(profile, company)
    with open_clients(chosen) as clients, err_console.status("checking both systems"):
        checks = preflights.check(chosen, clients, load_templates(chosen.overlays))
    frame = preflights.check_table(checks)
    if as_json:
        sys.stdout.write(json.dumps(frame.to_dicts(), indent=2) + "\n")
    else:
        print_frame(frame)
        out_console.print(preflights.verdict(checks), highlight=False)
    raise typer.Exit(1 if any(check.status == "failed" for check in checks) else 0)


@app.command()
def demo(route: RouteOption = "direct") -> None:
    """Start a sandbox with differences in it, run every task through its notebook, stop the sandbox."""
    from p2c_lib import execution, legs
    from p2c_lib.model import all_tasks
    from p2c_lib.sandbox import lifecycle

    way = legs.check_route(route)
    place = home() / ".p2c" / "demo"
    lifecycle.stop(place)
    out_console.print("starting both services with a small data set that has differences in it ...")
    started = lifecycle.start(place, size="small", counts={"orders": DEMO_ORDERS}, drift=True, detach=True)
    out_console.print(f"Sales {started['sales_url']}, F&O {started['fno_url']}", highlight=False)
    os.environ["P2C_SANDBOX_DIR"] = str(place.resolve())  # the notebooks load the profile again
    try:
        profile = load_profile("sandbox")
        wanted = all_tasks(legs.templates_for(profile, way))
        folder, facts = execution.run_tasks(profile, wanted, None, progress=_tasks_bar(), route=way)
    finally:
        lifecycle.stop(place)
    _print_outcomes(facts)
    out_console.print(f"report: {near(folder / 'report.html')}", highlight=False)
    raise typer.Exit(2 if facts["exit_code"] == 2 else 0)


@templates_app.command("list")
def templates_list(
    as_json: AsJson = False,
    profile: ProfileOption = "",
    route: Annotated[str, typer.Option(help="Those of one route only: direct, cds.")] = "",
) -> None:
    """List the templates and their tasks in the order they run."""
    from p2c_lib.legs import check_route
    from p2c_lib.model import list_rows, load_templates

    rows = list_rows(load_templates(_overlays(profile), route=check_route(route) if route else None))
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        print_rows(rows, whole=("task",))


@templates_app.command("show")
def templates_show(name: str, profile: ProfileOption = "") -> None:
    """Show every field of a template: source, map, constants, how sure we are."""
    from p2c_lib.model import describe, load_templates

    templates = load_templates(_overlays(profile), route=None)
    if name not in templates:
        raise ParameterError(f"no template '{name}'; known: {', '.join(templates)}")
    out_console.print(templates[name].title, style="bold")
    print_rows(describe(templates[name]), whole=("task", "destination"))


@templates_app.command("check")
def templates_check(profile: ProfileOption = "", company: CompanyOption = "") -> None:
    """Hold every template against the live metadata of both systems, and of the store between them."""
    from p2c_lib.model import all_tasks, load_templates
    from p2c_lib.parameters import profile_for
    from p2c_lib.run import open_clients, template_problems
    from p2c_lib.store import connect_store

    chosen = profile_for(profile, company)
    problems = 0
    with open_clients(chosen) as clients:
        described = {system: client.metadata() for system, client in clients.items()}
        described["cds"] = connect_store(chosen).metadata()
        for task in all_tasks(load_templates(chosen.overlays, route=None)):
            found = template_problems(task, described)
            problems += len(found)
            out_console.print(f"{task.name}: {'fits' if not found else f'{len(found)} problems'}", highlight=False)
            for problem in found:
                out_console.print(f"  {escape(problem)}", highlight=False)
    raise typer.Exit(int(problems > 0))


def _overlays(profile: str) -> tuple[Path, ...]:
    """A named profile's overlay files; the templates can be looked at with no system in reach."""
    return load_profile(profile).overlays if profile else ()


def _tasks_bar() -> Progress:
    return bar("running")


def _print_outcomes(facts: dict[str, Any]) -> None:
    from p2c_lib.diff import ROW_OUTCOMES

    table = Table(title=None)
    table.add_column("task")
    for name in ("source_rows", "destination_rows", *ROW_OUTCOMES, "seconds"):
        table.add_column(name.replace("_", " "), justify="right")
    for task in facts["tasks"]:
        if "error" in task:
            err_console.print(f"[red]{escape(task['task'])} failed[/red]: {escape(task['error'])}", highlight=False)
            continue
        table.add_row(
            task["task"],
            *(f"{task[name]:,}" for name in ("source_rows", "destination_rows", *ROW_OUTCOMES)),
            f"{task['seconds']:.1f}",
        )
    if table.row_count:
        out_console.print(table)
    if "not_in_history" in facts:
        err_console.print(facts["not_in_history"], highlight=False, markup=False)
