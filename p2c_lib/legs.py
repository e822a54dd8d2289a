"""The way through CDS: which legs do a task's work, and what the second will find once the first has been written.

Pure but for reading the first leg's frames of a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

import polars as pl

from p2c_lib.config import Profile
from p2c_lib.errors import ParameterError
from p2c_lib.masking import unmasked
from p2c_lib.model import Route, Task, Template, all_tasks, find_task, load_templates
from p2c_lib.places import tasks_folder

__all__ = ["AHEAD", "ahead", "check_route", "chosen", "first_leg", "templates_for"]

AHEAD = "ahead"
"""Folder of a second leg's frames as they will be once the first leg has been written; a plan is made from them."""


def check_route(route: str) -> Route:
    """Take the name of a route; ParameterError for any other word."""
    for known in get_args(Route):
        if route == known:
            return known  # type: ignore[no-any-return]
    raise ParameterError(f"route='{route}' is not known; use 'direct' or 'cds'")


def templates_for(profile: Profile, route: Route | None = "direct") -> dict[str, Template]:
    """Load a route's templates (None: of both) with the overlays, the organisation and the unmasked columns
    of a profile."""
    settings = {"organization": profile.organization}
    wanted = load_templates(profile.overlays, route=route, settings=settings)
    if not profile.unmask:
        return wanted
    return unmasked(wanted, profile.unmask, load_templates(profile.overlays, route=None).values())


def chosen(names: Iterable[str], templates: Mapping[str, Template]) -> list[Task]:
    """Find tasks by name; the name of a direct task stands for its legs where these are what is loaded.

    Args:
        names: Tasks.
        templates: Of one route.

    Returns:
        The tasks, each once, in the order of running: the second leg after its first.

    Raises:
        ParameterError: The route has no such task; the message names near matches.
    """
    known = all_tasks(templates)
    wanted: set[str] = set()
    for name in names:
        legs = [task.name for task in known if task.of == name]
        wanted |= set(legs or [find_task(name, templates).name])
    return [task for task in known if task.name in wanted]


def first_leg(folder: Path, task: Task) -> Path | None:
    """Find the compared first leg of a second leg in a run.

    Args:
        folder: The run's.
        task: Any task.

    Returns:
        The first leg's folder; None where the task is no second leg, or its first was not compared in this run.
    """
    if task.leg != 2:
        return None
    for path in sorted(tasks_folder(folder).glob("*/summary.json")):
        facts = json.loads(path.read_text("utf-8"))
        if (facts.get("of"), facts.get("leg")) == (task.of, 1) and (path.parent / "rows.parquet").exists():
            return path.parent
    return None


def ahead(first: Path, staged: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Say what the store will hold once the first leg has been written.

    Args:
        first: The first leg's folder in the run.
        staged: The store's rows as the second leg read them, with the columns that it reads.
        task: The second leg.

    Returns:
        The staged rows with what the first leg would change in them, then the rows that it would add. What it cannot
        send (a value that no map knows, a known quirk) stays as it is staged.
    """
    names = list(task.key.values())
    expected, found = (pl.read_parquet(first / f"{side}.parquet") for side in ("expected", "found"))
    rows, cells = (pl.read_parquet(first / f"{name}.parquet") for name in ("rows", "cells"))
    odd = pl.read_parquet(first / "outcomes.parquet").filter(pl.col("code") == "quirk").select("key", "field")
    cells = cells.filter(pl.col("outcome") != "unmapped").join(odd, on=["key", "field"], how="anti")
    numbered = staged.with_row_index("at")
    pairs = rows.filter(pl.col("outcome") == "mismatched").select("source_row", "destination_row")
    keys = pairs.with_columns(found[pairs["destination_row"]].select(names).get_columns())
    places = keys.join(numbered.select("at", *names), on=names, how="inner").select("source_row", "at")
    for name in (name for name in staged.columns if name in expected.columns and name not in names):
        edits = cells.filter(pl.col("field") == name).select("source_row").join(places, on="source_row", how="inner")
        if edits.height:
            values = expected[name].gather(edits["source_row"]).cast(staged.schema[name])
            numbered = numbered.with_columns(numbered[name].clone().scatter(edits["at"], values))
    new = (pl.col("outcome") == "missing") | (pl.col("reason") == "parent_missing")
    added = expected[rows.filter(new.fill_null(False))["source_row"]]
    added = added.select(pl.col(n).cast(d) for n, d in staged.schema.items() if n in added.columns)
    return pl.concat([numbered.drop("at"), added], how="diagonal")
