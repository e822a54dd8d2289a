"""The command line of what is handed over: report, summary, workbook, quality."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from p2c_lib.sandbox_cli import AsJson, err_console, out_console
from p2c_lib.write_cli import RunFolder, print_frame

__all__ = ["near", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands to an app.

    Args:
        app: The app.
    """
    for command in (report, workbook, quality):
        app.command()(command)


def report(
    folder: RunFolder,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the summary for a chat or a pull request.")] = (
        False
    ),
) -> None:
    """Write a run's report and summary anew from its files and print where it is; or print the summary itself."""
    from p2c_lib import report as reports

    path = reports.write_report(folder)
    if markdown:
        sys.stdout.write(reports.markdown(reports.Figures.of(folder)))
    else:
        out_console.print(near(path), highlight=False)


def workbook(
    folder: RunFolder,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: workbook.xlsx in the run's folder.")] = (
        None
    ),
) -> None:
    """Write a run as a workbook: a sheet for each task and outcome, with every row, to sort, filter and hand on."""
    from p2c_lib import report as reports
    from p2c_lib.workbook import write_workbook

    with err_console.status("writing the workbook"):
        path = write_workbook(folder, out)
        if out is None:
            reports.write_report(folder)  # it has a link now
    out_console.print(near(path), highlight=False)


def quality(folder: RunFolder, as_json: AsJson = False) -> None:
    """Show how good the data of a run are: a score for each task, side and dimension, and the worst columns."""
    from p2c_lib.quality import overall, wide
    from p2c_lib.report import Figures

    figures = Figures.of(folder)
    scores = wide(figures.quality)
    if as_json:
        sys.stdout.write(scores.write_json() + "\n")
        return
    print_frame(scores)
    if figures.worst.height:
        out_console.print("columns with the lowest scores:")
        print_frame(figures.worst)
    whole = overall(figures.quality)
    out_console.print(f"quality of the data: {'none' if whole is None else f'{whole:.1f} of 100'}", highlight=False)


def near(path: Path) -> Path:
    """A path as one would type it here: relative where it lies below this folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
