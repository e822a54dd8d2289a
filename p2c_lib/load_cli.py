"""The command line of loads: plan, approve, carry out, go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from p2c_lib.errors import P2CError, ParameterError
from p2c_lib.sandbox_cli import err_console, out_console

if TYPE_CHECKING:  # a command that does not load does not wait for what loads
    import polars as pl

    from p2c_lib.load import Standing
    from p2c_lib.load_plan import Load
    from p2c_lib.model import Task, Template

__all__ = ["load"]


def load(
    tasks: Annotated[list[str] | None, typer.Argument(help="See `p2c templates list`.", metavar="[TASK]...")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every task of the direct route.")] = False,
    profile: Annotated[str, typer.Option("--profile", "-p", help="A profile of p2c.toml.")] = "",
    company: Annotated[str, typer.Option(help="F&O legal entity; default: the profile's.")] = "",
    folder: Annotated[
        Path | None, typer.Option("--dir", help="The load's folder.", show_default="loads/<time>-<id>")
    ] = None,
    by: Annotated[str, typer.Option(help="Who approves; default: the user of this machine.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Approve the plan as it is made, and send it.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Change rows that are there and differ, too.")] = False,
    resume: Annotated[Path | None, typer.Option(metavar="DIR", help="Go on with a load that was cut off.")] = None,
    bucket_rows: Annotated[int, typer.Option(min=1, help="About how many rows to hold in memory.")] = 15_000,
) -> None:
    """Load tasks in bulk, into an empty or partly filled destination: plan, approve, send, verify, go on when cut off.

    Without --yes the plan is shown and nothing is sent; --resume DIR --yes sends it then. Exit code 0: in step; 1: rows
    are left, or nothing was sent; 2: it failed, and --resume goes on.
    """
    from p2c_lib.load import run_load
    from p2c_lib.load_plan import approve, load_table, read_load, survey
    from p2c_lib.load_report import left_table, outcome_table
    from p2c_lib.model import all_tasks, load_templates
    from p2c_lib.parameters import profile_for
    from p2c_lib.sides import open_clients

    if resume is not None and (tasks or all_ or folder or update):
        raise ParameterError("--resume goes on with a load as it was planned: give no tasks, --dir or --update with it")
    chosen = profile_for(profile or _fact(resume, "profile"), company or _fact(resume, "company"))
    templates = load_templates(chosen.overlays, route="direct")
    with open_clients(chosen) as clients:
        if resume is not None:
            known = {task.name: task for task in all_tasks(templates)}
            planned = read_load(resume, known)
        else:
            with err_console.status("planning") as status:
                planned = survey(
                    chosen,
                    clients,
                    _wanted(tasks, all_, templates),
                    templates,
                    folder,
                    update=update,
                    bucket_rows=bucket_rows,
                    told=status.update,
                )
        _print(load_table(planned))
        _checks(planned)
        if not planned.approved and not yes:
            out_console.print(
                f"load {planned.hash[:12]}: nothing was sent; to send it: p2c load --resume {planned.folder} --yes",
                highlight=False,
            )
            raise typer.Exit(1)
        planned = approve(planned, by or _user())
        try:
            with _watching() as told:
                done = run_load(planned, chosen, clients, templates, progress=told)
        except P2CError:
            err_console.print(f"go on with: p2c load --resume {planned.folder}", highlight=False)
            raise
    _print(outcome_table(done))
    _print(left_table(done))
    left = done.facts["left"]
    out_console.print("both sides are in step" if not left else f"{left:,} rows are left", highlight=False)
    out_console.print(f"report: {done.folder / 'report.md'}", highlight=False)
    raise typer.Exit(done.facts["exit_code"])


def _wanted(names: list[str] | None, all_: bool, templates: Mapping[str, Template]) -> list[Task]:
    from p2c_lib.model import all_tasks

    known = all_tasks(templates)
    unknown = sorted(set(names or ()) - {task.name for task in known})
    if unknown or bool(names) == all_:
        wrong = f"no template has a task {', '.join(unknown)}" if unknown else "name the tasks to load, or give --all"
        raise ParameterError(f"{wrong}; known: {', '.join(task.name for task in known)}")
    return [task for task in known if all_ or task.name in (names or ())]


def _fact(resume: Path | None, name: str) -> str:
    """What a load that is resumed was planned with."""
    from p2c_lib.load_plan import read_load

    return str(read_load(resume).facts[name]) if resume else ""


def _user() -> str:
    import getpass

    return getpass.getuser()


def _checks(planned: Load) -> None:
    from p2c_lib.load_plan import unready

    out_console.print(planned.facts["verdict"], highlight=False)
    for check in unready(planned):
        words = f"{check['system']}: {check['name']}: {check['found']}; {check['remedy']}"
        err_console.print(f"[red]not ready[/red]: {escape(words)}", highlight=False)


@contextmanager
def _watching() -> Iterator[Callable[[Standing], None]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[more]}"),
    )
    with Progress(*columns, console=err_console, transient=True) as progress:
        bar = progress.add_task("loading", total=None, more="")

        def told(now: Standing) -> None:
            left = "" if now.left_s is None else f", {_clock(now.left_s)} left"
            errors = f", {now.errors:,} refused" if now.errors else ""
            progress.update(
                bar,
                description=f"{now.task} {now.bucket}/{now.buckets}: {now.step}",
                completed=now.settled,
                total=now.rows,
                more=f"{now.rate:,.0f} rows/s{left}{errors}",
            )

        yield told


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _print(frame: pl.DataFrame) -> None:
    if frame.is_empty():
        return
    table = Table()
    for name in frame.columns:
        is_number = frame.schema[name].is_numeric()
        table.add_column(name.replace("_", " "), justify="right" if is_number else "left", overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*(f"{value:,}" if isinstance(value, int | float) else escape(str(value or "")) for value in row))
    out_console.print(table)
