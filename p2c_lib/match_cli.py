"""The command line of the analyst's matching: values that no map knows, and rows that lost their key."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from p2c_lib.config import home
from p2c_lib.sandbox_cli import out_console
from p2c_lib.write_cli import SHOWN, ProfileOption, RunFolder, print_frame, profile_of, route_of

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to an app.

    Args:
        app: The app.
    """
    app.command()(values)
    app.command()(propose)


def values(
    folder: RunFolder,
    accept: Annotated[
        list[str] | None, typer.Option(metavar="MAP:VALUE=TARGET", help="An entry to write; may be repeated.")
    ] = None,
    accept_from: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Entries to write: columns value_map, value and target.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; default: the profile's last, else value_maps.yaml.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Entries may take the place of other ones.")] = False,
    profile: ProfileOption = "",
) -> None:
    """List the values that no value map knows, with what they could mean; write what is accepted into the overlay.

    What the new entries change is told at once, from the rows that the run has kept; nothing is read from a system.
    """
    from p2c_lib import overlay_file, workshop
    from p2c_lib.crossref import read_crossref
    from p2c_lib.legs import templates_for
    from p2c_lib.report import with_money

    chosen, way = profile_of(folder, profile), route_of(folder)
    templates = templates_for(chosen, way)
    entries = [overlay_file.entry_of(text) for text in accept or []]
    entries += overlay_file.entries_from(accept_from) if accept_from else []
    if not entries:
        found = workshop.unmapped_values(folder, templates)
        told = workshop.with_candidates(found, workshop.candidates(found, templates, folder))
        print_frame(with_money(told.head(SHOWN)))
        if told.height > SHOWN:
            out_console.print(f"{told.height - SHOWN:,} more", highlight=False)
        out_console.print("write one: p2c values RUN --accept MAP:VALUE=TARGET", highlight=False, markup=False)
        return
    file = overlay or overlay_file.overlay_for(chosen.overlays, home())
    columns = workshop.columns_of(folder, templates)
    done = overlay_file.accept(entries, file, chosen.overlays, replace=replace, columns=columns)
    out_console.print(done.says(), highlight=False, markup=False)
    overlays = chosen.overlays if done.is_named else (*chosen.overlays, file)
    after = templates_for(chosen.model_copy(update={"overlays": overlays}), way)
    maps, known = {entry.value_map for entry in entries}, read_crossref(chosen.crossref_file)
    told = workshop.effect(folder, after, maps, crossref=known)
    print_frame(told.filter(pl.col("before") != pl.col("after")))


def propose(
    folder: RunFolder,
    task: Annotated[list[str] | None, typer.Option(help="Only rows of this task; may be repeated.")] = None,
    min_score: Annotated[float, typer.Option(min=0, max=100, help="Only pairs this certain, in percent.")] = 0,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE[=DESTINATION]", help="A pair that is the same; 'all': all proposed; repeatable."),
    ] = None,
    accept_from: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Pairs: columns task, source_key and destination_key.")
    ] = None,
    reject: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE[=DESTINATION]", help="A pair that is not; may be repeated.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who decides; default: the user of this machine.")] = "",
    rows: Annotated[bool, typer.Option("--rows", help="Show both rows; personal columns as tokens.")] = False,
    unmask: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="With --rows: a personal column to show as it is.")
    ] = None,
    profile: ProfileOption = "",
) -> None:
    """Propose which rows that one side alone has are the same; write down what is decided in the cross-reference.

    Later runs join on what was accepted: such a pair is compared and updated, not created a second time.
    """
    from p2c_lib import proposing
    from p2c_lib.crossref import read_crossref
    from p2c_lib.legs import templates_for
    from p2c_lib.masking import site_masker

    chosen = profile_of(folder, profile)
    chosen = chosen.model_copy(update={"unmask": tuple(dict.fromkeys([*chosen.unmask, *(unmask or ())]))})
    file, templates = chosen.crossref_file, templates_for(chosen, route_of(folder))
    wanted = [proposing.Chosen.read(text) for text in accept or [] if text != "all"]
    wanted += proposing.chosen_from(accept_from) if accept_from else []
    refused = [proposing.Chosen.read(text) for text in reject or []]
    if "all" in (accept or []):
        sure = proposing.read_proposals(folder).filter(
            (pl.col("status") == "proposed") & (pl.col("score") >= min_score)
        )
        sure = sure.filter(pl.col("task").is_in(task)) if task else sure
        wanted += [proposing.Chosen(*row) for row in sure.select("source_key", "destination_key", "task").iter_rows()]
    for pairs, decision in ((wanted, "accepted"), (refused, "rejected")):
        if pairs:
            known = read_crossref(file)
            done = proposing.settle(folder, templates, file, known, pairs, decision, by or getpass.getuser())
            out_console.print(
                f"{done.height} pairs {decision}: {file}; they count from the next run on", highlight=False
            )
    if wanted or refused:
        return
    found = proposing.propose(folder, templates, read_crossref(file), task or ())
    found = found.filter(pl.col("score") >= min_score)
    counts = dict(found["status"].value_counts().iter_rows())
    out_console.print(
        f"{counts.get('proposed', 0)} pairs proposed, {counts.get('ambiguous', 0)} for a person to decide"
    )
    shown = found.head(SHOWN)
    print_frame(proposing.worded(folder, shown, templates, site_masker()) if rows else shown)
    out_console.print(f"all of them: {folder / 'proposals.parquet'}; take one: p2c propose RUN --accept KEY",
                      highlight=False, markup=False)  # fmt: skip
