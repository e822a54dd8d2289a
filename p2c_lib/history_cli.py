"""The command line of the history and of the migration check."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.markup import escape
from rich.table import Table

from p2c_lib.errors import ParameterError
from p2c_lib.sandbox_cli import AsJson, out_console

history_app = typer.Typer(help="Runs over time: since when a finding stands, what came back, what was put right.")

ProfileOption = Annotated[str, typer.Option("--profile", "-p", help="A profile of p2c.toml.")]
CompanyOption = Annotated[str, typer.Option(help="F&O legal entity; default: the profile's.")]
SHOWN = 20


@history_app.callback(invoke_without_command=True)
def history(
    context: typer.Context,
    task: Annotated[str, typer.Option(help="One task alone.")] = "",
    run: Annotated[str, typer.Option("--as-of", metavar="RUN", help="As one could see it after that run.")] = "",
    as_json: AsJson = False,
    profile: ProfileOption = "",
    company: CompanyOption = "",
) -> None:
    """Say what is new, open, fixed and back again over the runs that are kept. With --json every finding."""
    if context.invoked_subcommand is not None:
        return
    from p2c_lib.history import open_history
    from p2c_lib.parameters import profile_for

    kept = open_history(profile_for(profile, company))
    findings = kept.findings(as_of=run, task=task)
    if as_json:
        _json(findings)
        return
    runs = kept.trend(task)
    counts = ["differing", "findings", "new", "reopened", "fixed"]
    summed = runs.group_by("run", "started", maintain_order=True).agg(pl.col(counts).sum())
    _table(summed.tail(SHOWN).reverse())
    _table(kept.summary(findings))
    names = ["task", "key", "field", "state", "reason", "open_since", "age_days", "reopened"]
    oldest = findings.filter(pl.col("state") != "fixed").sort("open_since").select(names)
    if oldest.height:
        out_console.print(f"open longest ({min(SHOWN, oldest.height)} of {oldest.height:,}):")
        _table(oldest.head(SHOWN))


@history_app.command("add")
def history_add(folder: Annotated[Path, typer.Argument(help="A run's folder.", metavar="DIR")]) -> None:
    """Add an earlier run by hand; one that is there already changes nothing."""
    from p2c_lib.folder import read_run
    from p2c_lib.history import append
    from p2c_lib.parameters import profile_for
    from p2c_lib.store import connect_store

    facts = read_run(folder)
    found = append(connect_store(profile_for(facts["profile"], facts["company"])).store, folder)
    left = found.filter(pl.col("state") != "fixed").height
    out_console.print(f"{facts['run_id']} is kept; findings that stand: {left:,}", highlight=False)


@history_app.command("show")
def history_show(
    run: Annotated[str, typer.Argument(help="A run's id.", metavar="RUN")],
    as_json: AsJson = False,
    profile: ProfileOption = "",
    company: CompanyOption = "",
) -> None:
    """Show a run as it was: its counts, and with --json every outcome but the excluded rows."""
    from p2c_lib.history import open_history
    from p2c_lib.parameters import profile_for

    kept = open_history(profile_for(profile, company))
    outcomes = kept.outcomes(run)
    if as_json:
        _json(outcomes)
        return
    _table(kept.runs().filter(pl.col("run") == run).drop("run", "started", "at_stake", "is_whole"))
    by = ["task", "outcome", "reason"]
    _table(outcomes.group_by(by, maintain_order=True).agg(count=pl.len()).sort("count", descending=True))


@history_app.command("compact")
def history_compact(
    keep_days: Annotated[int, typer.Option(min=0, help="Days of runs that stay whole; older ones keep their counts.")],
    profile: ProfileOption = "",
    company: CompanyOption = "",
) -> None:
    """Let go of the outcomes of old runs and put small files together; first seen and age stay what they are."""
    from p2c_lib.history import open_history
    from p2c_lib.parameters import profile_for

    done = open_history(profile_for(profile, company)).compact(keep_days)
    told = (
        f"{done['runs']:,} runs kept in counts from now on, {done['rows']:,} outcomes and {done['files']:,} files gone"
    )
    out_console.print(told, highlight=False)


def migration_check(
    task: Annotated[str, typer.Option(help="One task alone.")] = "",
    data: Annotated[bool, typer.Option("--data/--no-data", help="Count on the source rows, or from templates.")] = True,
    as_json: AsJson = False,
    profile: ProfileOption = "",
    company: CompanyOption = "",
) -> None:
    """Say what would change when a site goes from CDS to direct: fields, defaults, conditions, rows and money.

    Reads the source side only, and writes nothing.
    """
    from p2c_lib import mapping, migration
    from p2c_lib.model import load_templates
    from p2c_lib.parameters import profile_for
    from p2c_lib.pull import pull
    from p2c_lib.run import open_clients

    chosen = profile_for(profile, company)
    settings = {"organization": chosen.organization}
    both = migration.ways(load_templates(chosen.overlays, route=None, settings=settings))
    wanted = [way for way in both if task in ("", way.direct.name)]
    if not wanted:
        known = ", ".join(way.direct.name for way in both)
        raise ParameterError(f"task='{task}' does not go through CDS; those that do: {known}")
    if data:
        found = []
        with open_clients(chosen, "cds") as clients:
            metadata = {system: client.metadata() for system, client in clients.items()}
            for way in wanted:
                columns = dict.fromkeys([*mapping.source_columns(way.direct), *mapping.source_columns(way.first)])
                side = way.direct.source
                source = pull(clients[side.system], side.entity, list(columns))
                found.append(migration.by_data(way, source, metadata))
    else:
        found = [migration.by_templates(way) for way in wanted]
    table = pl.concat(found)
    _json(table) if as_json else _table(table)


def _json(frame: pl.DataFrame) -> None:
    texts = frame.with_columns(
        *[pl.col(name).cast(pl.String) for name, dtype in frame.schema.items() if dtype.is_decimal()],
        *[pl.col(name).dt.to_string("iso:strict") for name, dtype in frame.schema.items() if dtype.is_temporal()],
    )
    sys.stdout.write(texts.write_json() + "\n")


def _table(frame: pl.DataFrame) -> None:
    if frame.is_empty():
        out_console.print("nothing")
        return
    shown = Table()
    for name, dtype in frame.schema.items():
        shown.add_column(name.replace("_", " "), overflow="fold", justify="right" if dtype.is_numeric() else "left")
    for row in frame.iter_rows():
        shown.add_row(*(_text(value) for value in row))
    out_console.print(shown)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,}" if isinstance(value, int | float) else escape("" if value is None else str(value))
