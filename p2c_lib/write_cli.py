"""The command line of writing: plan, approve, apply, resume, undo."""

from __future__ import annotations

import getpass
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from p2c_lib.config import Profile
from p2c_lib.errors import ParameterError
from p2c_lib.places import plan_folder, working_folder
from p2c_lib.sandbox_cli import err_console, out_console

if TYPE_CHECKING:
    from p2c_lib.model import Route

__all__ = ["ProfileOption", "RunFolder", "bar", "print_frame", "print_rows", "register"]

ProfileOption = Annotated[str, typer.Option("--profile", "-p", help="A profile of p2c.toml.")]
RunFolder = Annotated[Path, typer.Argument(help="The folder that `p2c run` printed.", metavar="DIR")]
ChannelOption = Annotated[
    str, typer.Option(help="single, multiple, batch or package wherever it can carry the rows; default: what fits.")
]
SHOWN = 20
# A value must not steer the terminal, nor turn the reading order of what stands beside it.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
By = Annotated[str, typer.Option(help="Who approves; default: the user of this machine.")]


def register(app: typer.Typer) -> None:
    """Add the commands of writing to an app.

    Args:
        app: The app.
    """
    for command in (plan, approve, apply, resume, undo, forget):
        app.command()(command)


def plan(
    folder: RunFolder,
    delete: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="Delete this task's extra rows; may be repeated.")
    ] = None,
    deactivate: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="Switch off this task's extra rows; may be repeated.")
    ] = None,
    channel: ChannelOption = "",
    profile: ProfileOption = "",
) -> None:
    """Say what a write would send for a run, and save it; nothing is sent. Extra rows stay unless a task is named."""
    from p2c_lib import legs, write
    from p2c_lib.crossref import check_run, read_crossref
    from p2c_lib.run import open_clients

    chosen, way = profile_of(folder, profile), route_of(folder)
    check_run(folder, read_crossref(chosen.crossref_file))
    with open_clients(chosen, way) as clients, err_console.status("planning"):
        made = write.plan(
            folder,
            templates=legs.templates_for(chosen, way),
            clients=clients,
            delete=delete or (),
            deactivate=deactivate or (),
        )
        costs = write.costs(made, clients, channel or None)
    print_frame(write.plan_table(made, costs))
    seconds, calls = float(costs["seconds"].sum()), costs["calls"].sum()
    out_console.print(f"about {_duration(seconds)} in {calls:,} calls, under the limits in force", highlight=False)
    out_console.print(f"plan {made.hash[:12]} in {made.folder}; nothing was sent", highlight=False)


def approve(
    folder: RunFolder,
    by: By = "",
    task: Annotated[list[str] | None, typer.Option(help="Only of this task; may be repeated.")] = None,
    reason: Annotated[list[str] | None, typer.Option(help="Only rows that differ for this reason (its code).")] = None,
    key: Annotated[list[str] | None, typer.Option(help="Only the row with this key; may be repeated.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="Only actions that send no other fields than this; may be repeated.")
    ] = None,
    max_amount: Annotated[str, typer.Option(metavar="AMOUNT", help="Only actions worth no more, in their money.")] = "",
    rows: Annotated[
        Path | None, typer.Option("--from", metavar="FILE.csv", help="Only rows listed: columns task and key.")
    ] = None,
) -> None:
    """Approve a saved plan: all of it, or what the options name. The rest stays and can be approved later."""
    from p2c_lib import write

    wanted = write.Wanted(
        task or (), reason or (), key or (), field or (), _amount(max_amount), write.read_list(rows) if rows else None
    )
    made = write.approve(folder, by or getpass.getuser(), wanted)
    print_frame(write.plan_table(made))
    stamp = made.approved or {}
    out_console.print(
        f"approved by {stamp['by']}: {stamp['actions']:,} of {stamp['of']:,} actions; send them: p2c apply {folder}",
        highlight=False,
    )


def _amount(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ParameterError(f"--max-amount '{text}' is no amount; write 1000 or 1000.50") from None
    if not amount.is_finite() or amount < 0:
        raise ParameterError(f"--max-amount '{text}' must be 0 or more")
    return amount


def apply(
    folder: RunFolder,
    yes: Annotated[bool, typer.Option("--yes", help="Approve the saved plan as it stands and send it.")] = False,
    by: By = "",
    only: Annotated[
        str, typer.Option(metavar="failed|FILE.csv", help="Send rows again that were refused: all, or those listed.")
    ] = "",
    check: Annotated[bool, typer.Option("--check", help="Refuse where any row was changed since it was compared.")] = (
        False
    ),
    channel: ChannelOption = "",
    profile: ProfileOption = "",
) -> None:
    """Send what was approved of a run's saved plan; where nothing was, and without --yes, it is only shown."""
    from p2c_lib import write

    saved = write.read_plan(folder)
    print_frame(write.plan_table(saved))
    if not yes and saved.approved is None:
        out_console.print("nothing was sent: give --yes to approve this plan and send it")
        raise typer.Exit(0)
    approver = (by or getpass.getuser()) if yes else ""
    raise typer.Exit(_send(folder, profile, saved, by=approver, only=only, check=check, channel=channel))


def resume(folder: RunFolder, profile: ProfileOption = "") -> None:
    """Go on sending an approved plan from where its journal ends; the same as apply."""
    apply(folder, profile=profile)


def undo(folder: RunFolder, profile: ProfileOption = "") -> None:
    """Plan the way back from what a run's plan has sent; it is approved and applied like any plan."""
    from p2c_lib import legs, undo, write
    from p2c_lib.masking import site_masker
    from p2c_lib.run import open_clients

    chosen, way = profile_of(folder, profile), route_of(folder)
    with open_clients(chosen, way) as clients, err_console.status("planning the way back"):
        made = undo.undo(folder, templates=legs.templates_for(chosen, way), clients=clients)
    print_frame(write.plan_table(made.plan))
    if made.refused.height:
        out_console.print(f"not undone ({made.refused['key'].n_unique():,} rows):")
        masked = made.plan.head.get("masked", {})
        print_frame(site_masker().cells(made.refused.head(SHOWN), masked, "before", "written", "now"))
        out_console.print(f"all of them: {working_folder(made.folder) / 'refused.parquet'}", highlight=False)
    out_console.print(
        f"plan {made.plan.hash[:12]}; nothing was sent; send it: p2c apply {made.folder} --yes", highlight=False
    )


def forget(folders: Annotated[list[Path], typer.Argument(help="Folders of runs.", metavar="DIR...")]) -> None:
    """Remove the rows, the plan and the journal of runs from this machine; reports and what else is shown stay."""
    from p2c_lib import places

    freed = sum(places.forget(folder) for folder in folders)
    out_console.print(f"{freed / 1e6:,.1f} MB are free again; nothing of these can be planned, sent or undone any more")


def _send(folder: Path, profile: str, saved: Any, *, by: str, only: str, check: bool, channel: str) -> int:
    """Send what is approved, read it back, say what was refused; gives the exit code."""
    from p2c_lib import apply as applying
    from p2c_lib import causes, legs, stale, write
    from p2c_lib import verify as verifying
    from p2c_lib.crossref import check_run, read_crossref
    from p2c_lib.run import open_clients

    chosen, way = profile_of(folder, profile), route_of(folder)
    check_run(folder, read_crossref(chosen.crossref_file))
    templates = legs.templates_for(chosen, way)
    table = causes.load_causes(chosen.overlays)
    with open_clients(chosen, way) as clients:
        write.check_addresses(saved.head, clients, chosen.name)
        stale.check_templates(folder, saved, templates)
        if check:
            stale.check_rows(folder, saved, clients)
        if by:
            write.approve(folder, by)
        again = causes.failed_again(folder, only) if only else None
        with _sending() as progress:
            shown = progress.add_task("sending", total=None, rate="", errors="")
            done = applying.apply(
                folder,
                chosen,
                clients,
                only=again,
                channel=channel or None,
                watch=lambda pulse: progress.update(
                    shown,
                    completed=pulse.settled,
                    total=pulse.total,
                    description=f"{pulse.task} ({pulse.channel})",
                    rate=f"{pulse.rows_per_second:,.0f} rows/s",
                    errors=f"{pulse.errors:,} not sent" if pulse.errors else "",
                ),
            )
        with err_console.status("reading back what was written"):
            outcomes = verifying.verify(folder, templates=templates, clients=clients)
    counts = applying.counts(done)
    out_console.print(", ".join(f"{name}: {count}" for name, count in counts.items()), highlight=False)
    _tell(folder, outcomes, causes.save_failures(folder, table), saved)
    if counts["remaining"]:
        err_console.print(f"{counts['remaining']} are not settled; go on with: p2c apply {folder}", highlight=False)
    is_good = set(outcomes["outcome"].unique()) <= {"verified"}
    return int(any(counts[name] for name in ("conflicts", "failed", "remaining")) or not is_good)


def _tell(folder: Path, outcomes: pl.DataFrame, failed: pl.DataFrame, saved: Any) -> None:
    """What a sending came to: outcomes, the rows that are not as wanted, and why rows were refused."""
    from p2c_lib import causes, verify

    print_frame(verify.outcomes_table(outcomes))
    off = outcomes.filter(pl.col("outcome").is_in(["differs", "gone", "conflict"]))
    if off.height:
        off = causes.masked_verified(saved, off)
        out_console.print(f"not as wanted ({off['order'].n_unique():,} rows, of which you see the first {SHOWN}):")
        print_frame(off.head(SHOWN).select("task", "key", "outcome", "field", "before", "wanted", "found", "reason"))
        out_console.print(f"all of them: {plan_folder(folder) / 'verified.parquet'}", highlight=False)
    if failed.height:
        out_console.print(f"refused ({failed.height:,} rows):")
        print_frame(causes.causes_table(failed))
        out_console.print(
            f"all of them: {folder / 'failed.csv'}; send them again: p2c apply {folder} --only failed",
            highlight=False,
        )


def _sending() -> Progress:
    """A progress bar with rate, time left and errors so far."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[errors]}"),
    )
    return Progress(*columns, console=err_console, transient=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def profile_of(folder: Path, profile: str) -> Profile:
    """The profile a run was made with, unless another is named."""
    from p2c_lib.folder import read_run
    from p2c_lib.parameters import profile_for

    facts = read_run(folder)
    return profile_for(profile or facts["profile"], facts["company"], facts.get("unmask", ()))


def route_of(folder: Path) -> Route:
    """The way a run went."""
    from p2c_lib.folder import read_run
    from p2c_lib.legs import check_route

    return check_route(read_run(folder).get("route", "direct"))


def bar(label: str) -> Progress:
    """A progress bar on stderr that goes away when it is done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=err_console, transient=True)


def print_frame(frame: pl.DataFrame) -> None:
    """Print a small frame as a table."""
    print_rows(frame.to_dicts())


def print_rows(rows: list[dict[str, Any]], whole: tuple[str, ...] = ()) -> None:
    """Print plain rows as a table; the columns in ``whole`` are never folded, so that their words can be copied."""
    if not rows:
        out_console.print("nothing")
        return
    table = Table()
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*(escape("" if value is None else _CONTROLS.sub("\ufffd", str(value))) for value in row.values()))
    out_console.print(table)
