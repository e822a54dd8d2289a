"""The command line of the sandbox: start, stop, status, advance, reset."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from p2c_lib.config import sandbox_dir
from p2c_lib.errors import ParameterError

# A table cut to 80 columns in a log or a pipe helps nobody.
out_console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err_console = Console(stderr=True, soft_wrap=True)

sandbox_app = typer.Typer(no_args_is_help=True, help="Both services on this machine, with data to try things on.")

SandboxDir = Annotated[
    Path | None, typer.Option("--dir", help="Folder of its data and addresses.", show_default=".p2c/sandbox")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON on standard output.")]
Size = Annotated[str | None, typer.Option(help="small (300 accounts), medium (20,000) or large (500,000).")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same data.")]
Counts = Annotated[
    list[str] | None,
    typer.Option(metavar="ENTITY=N", help="Rows of accounts, contacts, products or orders (none unless named)."),
]
Wrong = Annotated[list[str] | None, typer.Option(help="Set one thing up wrongly, for preflight; may be repeated.")]


@sandbox_app.command("start")
def sandbox_start(
    folder: SandboxDir = None,
    size: Size = None,
    seed: Seed = None,
    count: Counts = None,
    drift: Annotated[bool, typer.Option("--drift", help="Put differences of every kind in.")] = False,
    empty: Annotated[bool, typer.Option("--empty", help="Reference data only.")] = False,
    to_load: Annotated[
        str | None,
        typer.Option(metavar="fno|sales|both", help="Without what the other system would bring there, for p2c load."),
    ] = None,
    staged: Annotated[bool, typer.Option("--staged", help="With a store between them, its drift on its legs.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Leave both services running and come back.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="Serve https with a throw-away certificate.")] = False,
    wrong: Wrong = None,
) -> None:
    """Start both services; without --detach they run until Ctrl-C."""
    from p2c_lib.sandbox import lifecycle

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a supervisor's "stop" takes both services along
    with err_console.status("making data and starting both services") as spinner:

        def ready(started: dict[str, Any]) -> None:
            spinner.stop()
            for name in ("sales_url", "fno_url"):
                out_console.print(f"{name}: {started[name]}", highlight=False)
            if not detach:
                out_console.print("Ctrl-C stops both")

        lifecycle.start(
            folder or sandbox_dir(),
            size=size,
            seed=seed,
            counts=_counts(count),
            drift=drift or None,
            empty=empty or None,
            staged=staged or None,
            to_load=to_load,
            detach=detach,
            tls=tls,
            wrong=tuple(wrong or ()),
            on_ready=ready,
        )


@sandbox_app.command("stop")
def sandbox_stop(folder: SandboxDir = None) -> None:
    """Stop both services; the data stays."""
    from p2c_lib.sandbox import lifecycle

    out_console.print("stopped" if lifecycle.stop(folder or sandbox_dir()) else "no sandbox was running")


@sandbox_app.command("status")
def sandbox_status(folder: SandboxDir = None, as_json: AsJson = False) -> None:
    """Say whether the sandbox runs, where, and what data it holds."""
    from p2c_lib.sandbox import lifecycle

    facts = lifecycle.status(folder or sandbox_dir())
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2, default=str) + "\n")
    else:
        for name, value in facts.items():
            out_console.print(f"{name}: {escape(str(value))}", highlight=False)
    raise typer.Exit(0 if facts["running"] else 1)


@sandbox_app.command("advance")
def sandbox_advance(
    days: Annotated[int, typer.Option(min=1, help="Business days to live through.")] = 1,
    folder: SandboxDir = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same days; default: that of the data.")] = None,
) -> None:
    """Live through business days at both services, our own tasks copying each night; exit code 1 if rows differ."""
    from p2c_lib.advance import advance

    in_step = True
    for day in advance(folder or sandbox_dir(), days, seed):
        out_console.print(str(day), highlight=False, markup=False)
        in_step = in_step and not day.differing
    raise typer.Exit(0 if in_step else 1)


@sandbox_app.command("reset")
def sandbox_reset(
    folder: SandboxDir = None,
    size: Size = None,
    seed: Seed = None,
    count: Counts = None,
    drift: Annotated[bool | None, typer.Option("--drift/--no-drift", help="With differences, or without.")] = None,
    empty: Annotated[bool | None, typer.Option("--empty/--no-empty", help="Reference data only, or all.")] = None,
) -> None:
    """Make the data anew; what is not named stays as it was."""
    from p2c_lib.sandbox import lifecycle

    with err_console.status("making data"):
        lifecycle.reset(folder or sandbox_dir(), size=size, seed=seed, counts=_counts(count), drift=drift, empty=empty)
    out_console.print("data made anew")


def _counts(given: list[str] | None) -> dict[str, int] | None:
    """Read ``orders=400`` and the like; None where nothing was named."""
    counts: dict[str, int] = {}
    for text in given or ():
        name, _, number = text.partition("=")
        if not number.isdecimal():
            raise ParameterError(f"--count {text}: write an entity and its rows, e.g. --count orders=400")
        counts[name] = int(number)
    return counts or None
