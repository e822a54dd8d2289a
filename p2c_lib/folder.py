"""A run's folder: its files written, put together and read again.

It holds ``run.json`` (who, when, counts), ``outcomes.parquet`` (everything not matched), ``reasons.parquet`` (the main
reason of each row that differs), ``quirks.parquet`` (what templates are known to do oddly), ``blocked.parquet`` (what
holds rows up, each cause once), ``threeway.parquet`` (of a run through CDS: source, store and destination side by
side), ``migration.parquet`` (what the direct templates do otherwise), ``history.parquet`` (findings, and since when),
``ties.parquet``, ``unmapped.parquet`` and ``checks.json``. The frames that a plan is made from are working data and
stand elsewhere (`p2c_lib.places`), a folder ``tasks/<task>`` for each task.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import traceback
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib.chains import WAIT_COLUMNS, chains
from p2c_lib.config import Profile, home
from p2c_lib.errors import WITHHELD, P2CError, ParameterError, in_words
from p2c_lib.explain import BAD_KEYS, OUTCOME_COLUMNS, main_reasons
from p2c_lib.masking import site_masker
from p2c_lib.model import TieOut
from p2c_lib.places import make_private, task_folder, working_folder
from p2c_lib.pull import MONEY
from p2c_lib.quality import scores
from p2c_lib.quirks import QUIRK_COLUMNS
from p2c_lib.store import connect_store
from p2c_lib.sums import SUM_COLUMNS
from p2c_lib.threeway import Leg, three_way
from p2c_lib.tieout import ACROSS_COLUMNS, across, tie_out

UNMAPPED_COLUMNS = pl.Schema(
    {
        "task": pl.String(),
        "field": pl.String(),
        "value": pl.String(),
        "rows": pl.UInt32(),
        "amount": MONEY,
        "currency": pl.String(),
    }
)

_LIBRARY = str(Path(__file__).parent)
_HEAD = ("run_id", "started", "profile", "company", "threshold", "tasks")


def create(out: Path | None, profile: Profile, parameters: Mapping[str, Any], *, apart: bool = True) -> Path:
    """Make a run's folder with the head of its ``run.json``; an earlier run's files in it are replaced.

    Args:
        out: The folder; default ``runs/<time>-<id>`` at `home`. A plan of an earlier run in it is kept.
        profile: Its name, addresses and company are recorded, no secrets.
        parameters: What the run was asked for.
        apart: Its working data goes to a private place, so that the folder can be handed over; else into the folder.

    Raises:
        ParameterError: The folder holds something that is not a run, or cannot be made.
    """
    started = datetime.now(UTC)
    run_id = f"{started:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    folder = out or home() / "runs" / run_id
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / "run.json").exists()):
        raise ParameterError(f"{folder} is not empty and holds no run; name a new folder or one of an earlier run")
    try:
        if (folder / "run.json").exists():
            _clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        working = make_private(run_id) if apart else folder
        (working / "tasks").mkdir(exist_ok=True)
    except OSError as error:
        raise ParameterError(f"{folder}: no run can be kept there: {error.strerror}; name another folder") from None
    head = {
        "run_id": run_id,
        **({"working": run_id} if apart else {}),
        "started": started.isoformat(timespec="seconds"),
        "profile": profile.name,
        "company": profile.fno.company,
        "sales_url": profile.sales.url,
        "fno_url": profile.fno.url,
        **({"route": "cds", "cds_url": cds_url} if (cds_url := _store_url(profile, parameters)) else {}),
        "threshold": profile.threshold,
        **({"unmask": list(profile.unmask)} if profile.unmask else {}),
        "parameters": dict(parameters),
        "versions": {"p2c": version("p2c"), "polars": pl.__version__, "python": platform.python_version()},
        "tasks": [],
    }
    write_json(folder / "run.json", head)
    return folder


def _store_url(profile: Profile, parameters: Mapping[str, Any]) -> str:
    """Where the store of a run through CDS is; nothing for a direct one."""
    return connect_store(profile).root if parameters.get("route") == "cds" else ""


def _clear(folder: Path) -> None:
    earlier = read_run(folder)["run_id"]
    for name in ("plan", "undo"):  # a plan that stands apart stays where it is
        if (folder / name).exists():
            (folder / name).rename(folder / f"{name}-{earlier}")
    for name in ("docs", "notebooks"):
        shutil.rmtree(folder / name, ignore_errors=True)
    with contextlib.suppress(ParameterError):  # made on another machine
        for name in ("tasks", "readings"):
            shutil.rmtree(working_folder(folder) / name, ignore_errors=True)
    for name in (
        "outcomes.parquet",
        "unmapped.parquet",
        "blocked.parquet",
        "ties.parquet",
        "reasons.parquet",
        "quirks.parquet",
        "threeway.parquet",
        "migration.parquet",
        "history.parquet",
        "trend.parquet",
        "sums.parquet",
        "quality.parquet",
        "proposals.parquet",
        "checks.json",
        "report.html",
        "summary.md",
        "workbook.xlsx",
    ):
        (folder / name).unlink(missing_ok=True)


def save_failure(folder: Path, task: str, error: Exception) -> None:
    """Record that a task did not come to its end, and why; of what is no error of ours also where it arose."""
    place = task_folder(folder, task)
    place.mkdir(parents=True, exist_ok=True)
    where, said = "", str(error)
    kept = "\n".join(getattr(error, "__notes__", ()))  # of an error in a notebook's kernel
    if not isinstance(error, P2CError):
        frames = traceback.extract_tb(error.__traceback__)
        where = next(
            (f"line {f.lineno} of {Path(f.filename).name}" for f in reversed(frames) if _LIBRARY in f.filename), ""
        )
        kept = "".join(traceback.format_exception(error))
        where, said = f"{where} (all of it: {place / 'traceback.txt'})", WITHHELD
    elif kept:
        said += f" ({place / 'traceback.txt'})"
    if kept:
        (place / "traceback.txt").write_text(kept, "utf-8")
    write_json(place / "summary.json", {"task": task, "error": in_words(type(error).__name__, said, where)})


def finish(folder: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """Put the results of the tasks together into the files of the run's folder; give ``run.json``."""
    run = read_run(folder)
    outcomes, unmapped, checks, facts = [OUTCOME_COLUMNS.to_frame()], [UNMAPPED_COLUMNS.to_frame()], [], []
    waits, quirks, added_up = [WAIT_COLUMNS.to_frame()], [QUIRK_COLUMNS.to_frame()], [SUM_COLUMNS.to_frame()]
    for task in tasks:
        place = task_folder(folder, task)
        if not (place / "summary.json").exists():
            facts.append({"task": task, "error": "the task left no result; its executed notebook says why"})
            continue
        facts.append(json.loads((place / "summary.json").read_text("utf-8")))
        if (place / "outcomes.parquet").exists():
            outcomes.append(pl.read_parquet(place / "outcomes.parquet"))
            unmapped.append(pl.read_parquet(place / "unmapped.parquet"))
            waits.append(pl.read_parquet(place / "waits.parquet"))
            quirks.append(pl.read_parquet(place / "quirks.parquet"))
        if (place / "sums.parquet").exists():
            added_up.append(pl.read_parquet(place / "sums.parquet"))
        if (place / "checks.json").exists():
            checks.extend(json.loads((place / "checks.json").read_text("utf-8")))
    table = pl.concat(outcomes)
    table.write_parquet(folder / "outcomes.parquet")
    main_reasons(table.filter(pl.col("outcome") != "excluded")).write_parquet(folder / "reasons.parquet")
    pl.concat(quirks).write_parquet(folder / "quirks.parquet")
    pl.concat(unmapped).write_parquet(folder / "unmapped.parquet")
    chains(pl.concat(waits), table).write_parquet(folder / "blocked.parquet")
    pl.concat(added_up).write_parquet(folder / "sums.parquet")
    write_json(folder / "checks.json", checks)
    scores(checks).write_parquet(folder / "quality.parquet")
    staged = three_ways(folder, facts)
    if staged is not None:
        staged.write_parquet(folder / "threeway.parquet")
    ties = tied_out(folder, facts)
    ties.write_parquet(folder / "ties.parquet")
    finished = datetime.now(UTC)
    run |= {
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round((finished - datetime.fromisoformat(run["started"])).total_seconds(), 1),
        "tasks": facts,
    }
    run["documents"] = _documents(ties)
    run["differing_rows"] = sum(differing_rows(task) for task in facts)
    run["exit_code"] = exit_code(run)
    write_json(folder / "run.json", run)
    return run


def three_ways(folder: Path, facts: Sequence[Mapping[str, Any]]) -> pl.DataFrame | None:
    """Compare source, store and destination for every task whose two legs are in the run.

    Returns:
        Columns of `THREE_WAY`, personal values masked; None where the run has no such task.
    """
    legs: dict[str, dict[int, Mapping[str, Any]]] = {}
    for task in facts:
        if "error" not in task and task.get("of"):
            legs.setdefault(task["of"], {})[task["leg"]] = task
    at = datetime.fromisoformat(read_run(folder)["started"])
    found = [
        three_way(of, _leg(folder, both[1]), _leg(folder, both[2]), at) for of, both in legs.items() if len(both) == 2
    ]
    if not found:
        return None
    masked = {of: [name for facts in both.values() for name in facts.get("masked", ())] for of, both in legs.items()}
    return site_masker().cells(pl.concat(found), masked, "source", "staged", "expected", "found")


def _leg(folder: Path, facts: Mapping[str, Any]) -> Leg:
    place = task_folder(folder, facts["task"])
    names = ("rows", "cells", "source", "expected", "found", "outcomes")
    frames = {name: pl.read_parquet(place / f"{name}.parquet") for name in names}
    codes = frames.pop("outcomes").filter(pl.col("field").is_not_null()).select("key", "field", "code")
    cells = frames.pop("cells").join(
        codes.unique(["key", "field"]), on=["key", "field"], how="left", maintain_order="left"
    )
    return Leg(**frames, cells=cells, reads=facts["reads"])


def tied_out(folder: Path, facts: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Tie out the documents of all line tasks whose headers are in the run too.

    Args:
        folder: The run's.
        facts: The summaries of its tasks.

    Returns:
        Columns of `ACROSS_COLUMNS`: both sides of each document, each against its own lines; at the destination its
        Freight Tax line counts as it stands. A document with a bad key is blocked, and ties out with nothing.
    """
    known = {task["task"]: task for task in facts if "error" not in task}
    tied = [ACROSS_COLUMNS.to_frame()]
    for name, task in known.items():
        how = TieOut.model_validate(task["tie_out"]) if task.get("tie_out") else None
        if how is None or how.header not in known:
            continue
        currency = known[how.header]["currency_column"]
        made = task_folder(folder, name) / "freight_tax.parquet"
        lines = {"expected": None, "found": pl.read_parquet(made) if made.exists() else None}
        ours, theirs = (
            tie_out(
                _kept(folder, how.header, side, BAD_KEYS), _kept(folder, name, side), how, side, currency, lines[side]
            )
            for side in ("expected", "found")
        )
        tied.append(across(ours, theirs).select(pl.lit(name).alias("task"), pl.all()).cast(ACROSS_COLUMNS))
    return pl.concat(tied)


def _kept(folder: Path, task: str, side: str, without: Sequence[str] = ()) -> pl.DataFrame:
    """The compared rows of a side that flow or are in scope, less those with one of these reasons."""
    place = task_folder(folder, task)
    number = "source_row" if side == "expected" else "destination_row"
    rows = pl.read_parquet(place / "rows.parquet").filter(pl.col("outcome") != "excluded")
    kept = rows.filter(~pl.col("reason").is_in(without).fill_null(False))[number].drop_nulls()
    return pl.read_parquet(place / f"{side}.parquet")[kept.sort()]


def _documents(ties: pl.DataFrame) -> list[dict[str, Any]]:
    """For each line task: documents, those untied on a side, of other totals, with a wrong Freight Tax line."""
    counted = ties.group_by("task", maintain_order=True).agg(
        documents=pl.len(),
        untied_at_source=(pl.col("difference_expected").fill_null(0) != 0).sum(),
        untied_at_destination=(pl.col("difference_found").fill_null(0) != 0).sum(),
        totals_differ=pl.col("total_expected").ne_missing(pl.col("total_found")).sum(),
        freight_tax_wrong=pl.col("freight_tax").is_not_null().sum(),
    )
    return counted.to_dicts()


def differing_rows(facts: Mapping[str, Any]) -> int:
    """Rows of a task that keep the systems from being in step; excluded rows do not, nor do known template quirks."""
    differing = sum(facts.get(outcome, 0) for outcome in ("mismatched", "missing", "extra", "blocked"))
    return int(differing - facts.get("quirks", 0))


def exit_code(run: Mapping[str, Any]) -> int:
    """0: in step; 1: more differing rows than the threshold; 2: a task failed."""
    if any("error" in task for task in run["tasks"]):
        return 2
    return int(sum(differing_rows(task) for task in run["tasks"]) > run["threshold"])


def read_run(folder: Path) -> dict[str, Any]:
    """Read a run's ``run.json``.

    Raises:
        ParameterError: The folder holds no run, or its ``run.json`` is broken.
    """
    path = folder / "run.json"
    if not path.exists():
        raise ParameterError(f"{folder} holds no run (no run.json); give the folder that `p2c run` printed")
    try:
        facts = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ParameterError(f"{path}: not JSON: {error}; run again") from None
    if not isinstance(facts, dict) or not set(_HEAD) <= set(facts):
        raise ParameterError(f"{path}: not the file of a run; it must hold {', '.join(_HEAD)}")
    return facts


def write_json(path: Path, value: Any) -> None:
    """Write JSON that people can read; the file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", "utf-8")
    draft.replace(path)
