"""Proposals over a run: rows that one side alone has and that look like the same customer, and what a person decides.

What stands in the rows is personal: it is kept with the run's working data. The run's own folder has the keys, the
score and how many bits each piece of evidence is worth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from p2c_lib.crossref import ENTRIES, Crossref, carried_by, decide, entry_of, identities
from p2c_lib.errors import ParameterError
from p2c_lib.folder import read_run
from p2c_lib.keys import key_text
from p2c_lib.masking import Masker, personal_fields
from p2c_lib.model import Evidence, Task, Template, all_tasks
from p2c_lib.places import task_folder, tasks_folder
from p2c_lib.proposals import find
from p2c_lib.proposals.records import shown_parts

__all__ = ["PROPOSALS", "Chosen", "chosen_from", "propose", "propose_task", "read_proposals", "settle", "worded"]

PROPOSALS = pl.Schema(
    {
        "task": pl.String(),
        "source_key": pl.String(),
        "kind": pl.String(),
        "destination_key": pl.String(),
        "score": pl.Float64(),
        "status": pl.String(),
        "evidence": pl.String(),
    }
)
"""Columns of ``proposals.parquet``: a line for each pair. ``kind`` as in `crossref.ENTRIES`; ``score`` 0 to 100, the
probability in percent that both rows are the same; ``status`` proposed or ambiguous; ``evidence`` in bits."""


@dataclass(frozen=True)
class _Alone:
    """The rows of a task that only one side has: their place in the frames, and the frames."""

    task: Task
    names: tuple[pl.DataFrame, pl.DataFrame]
    frames: tuple[pl.DataFrame, pl.DataFrame]
    whole: pl.DataFrame


def propose(
    folder: Path, templates: Mapping[str, Template], crossref: Crossref, tasks: Sequence[str] = ()
) -> pl.DataFrame:
    """Look in a run for rows that lost their key, and keep what was found.

    Args:
        folder: The run's; ``proposals.parquet`` is written there, and beside the frames of each task one that also says
            what stands in the rows.
        templates: As loaded; tasks without ``evidence`` are passed over.
        crossref: What was decided before: accepted pairs are done with, rejected ones are not proposed again.
        tasks: These alone; default all of the run.

    Returns:
        Columns of `PROPOSALS`, proposed before ambiguous, most certain first.

    Raises:
        ParameterError: A task is not of this run, or declares no evidence.
    """
    done = [task["task"] for task in read_run(folder)["tasks"] if "error" not in task]
    known = {task.name: task for task in all_tasks(templates) if task.name in done and task.evidence}
    wrong = [name for name in tasks if name not in known]
    if wrong:
        raise ParameterError(
            f"{folder}: nothing can be proposed for {', '.join(wrong)}; for: {', '.join(known) or '-'}"
        )
    found = [propose_task(folder, known[name], crossref) for name in (tasks or known)]
    frame = pl.concat([PROPOSALS.to_frame(), *found])
    frame = frame.sort("status", "score", "task", "source_key", descending=[True, True, False, False])
    frame.write_parquet(folder / "proposals.parquet")
    return frame


def propose_task(folder: Path, task: Task, crossref: Crossref) -> pl.DataFrame:
    """The same of one task, columns of `PROPOSALS`; nothing is written into the run's folder, but beside the frames."""
    alone = _alone(folder, task, crossref)
    assert task.evidence is not None
    before = crossref.entries.filter((pl.col("task") == task.name) & (pl.col("decision") == "rejected"))
    ours, theirs = alone.names
    barred = (
        before.select("source_key", "destination_key")
        .join(ours.select("source_key").with_row_index("left"), on="source_key")
        .join(theirs.select("destination_key").with_row_index("right"), on="destination_key")
    )
    pairs = find(
        *alone.frames, task.evidence, population=alone.whole, barred=barred.select("left", "right").cast(pl.UInt32)
    )
    left, right = ours[pairs["source_row"]], theirs[pairs["destination_row"]]
    frame = pairs.with_columns(
        task=pl.lit(task.name), kind=left["kind"], source_key=left["source_key"],
        destination_key=right["destination_key"],
    ).select(PROPOSALS.names()).cast(PROPOSALS)  # fmt: skip
    sides = []
    for name, side in zip(("source", "destination"), alone.frames, strict=True):
        shown = shown_parts(side[pairs[f"{name}_row"]], task.evidence)
        sides.append(shown.rename({part: f"{part}_{name}" for part in shown.columns}))
    pl.concat([frame, *sides], how="horizontal").write_parquet(task_folder(folder, task.name) / "proposals.parquet")
    return frame


def _alone(folder: Path, task: Task, crossref: Crossref) -> _Alone:
    place = task_folder(folder, task.name)
    assert task.evidence is not None
    rows, source = (pl.read_parquet(place / f"{name}.parquet") for name in ("rows", "source"))
    expected, found = (pl.read_parquet(place / f"{name}.parquet") for name in ("expected", "found"))
    keyless = (pl.col("reason") == "blank_key") & (pl.col("side") == "source")
    lost = rows.filter((pl.col("outcome") == "missing") | (keyless & (pl.col("outcome") == "blocked")))["source_row"]
    extra = rows.filter((pl.col("outcome") == "extra") & pl.col("reason").is_null())["destination_row"]
    ours = identities(expected, source, task)[lost.sort()].with_columns(at=lost.sort())
    theirs = found.select(destination_key=key_text(list(task.key)))[extra.sort()].with_columns(at=extra.sort())
    settled = crossref.of(task)
    ours = ours.filter(
        pl.col("source_key").is_not_null() & ~pl.col("source_key").is_in(settled["source_key"].implode())
    )
    theirs = theirs.filter(~pl.col("destination_key").is_in(settled["destination_key"].implode()))
    columns = list(task.evidence.columns)
    flowing = rows.filter(pl.col("outcome") != "excluded")["source_row"].drop_nulls().sort()
    whole = pl.concat([expected[flowing].select(columns), found.select(columns)])
    frames = expected[ours["at"]].select(columns), found[theirs["at"]].select(columns)
    return _Alone(task, (ours, theirs), frames, whole)


def read_proposals(folder: Path) -> pl.DataFrame:
    """What `propose` kept.

    Raises:
        ParameterError: Nothing was proposed for this run yet.
    """
    path = folder / "proposals.parquet"
    if not path.exists():
        raise ParameterError(f"{folder}: nothing was proposed yet: p2c propose {folder}")
    return pl.read_parquet(path)


def worded(folder: Path, frame: pl.DataFrame, templates: Mapping[str, Template], masker: Masker) -> pl.DataFrame:
    """Proposals with what stands in both rows, ``name_source`` and ``name_destination`` and so on.

    Args:
        folder: The run's, after `propose`.
        frame: Columns of `PROPOSALS`, rows of that run.
        templates: As loaded, the mask taken off what was named; a part of which a column is personal is masked.
        masker: Of the site.
    """
    known = {task.name: task for task in all_tasks(templates)}
    parts = []
    for path in sorted(tasks_folder(folder).glob("*/proposals.parquet")):
        texts, task = pl.read_parquet(path), known[path.parent.name]
        hidden = [name for name in _personal_parts(task) if f"{name}_source" in texts.columns]
        sides = [f"{name}_{side}" for name in hidden for side in ("source", "destination")]
        parts.append(texts.with_columns(masker.series(texts[name]) for name in sides))
    if not parts:
        return frame
    told = pl.concat(parts, how="diagonal").drop("score", "status", "evidence", "kind")
    return frame.join(told, on=["task", "source_key", "destination_key"], how="left", maintain_order="left")


def _personal_parts(task: Task) -> list[str]:
    """The parts of a task's evidence that a personal column goes into."""
    personal = set(personal_fields(task))
    return [name for name in Evidence.model_fields if personal & set(getattr(task.evidence, name, ()))]


@dataclass(frozen=True)
class Chosen:
    """A pair that somebody decides on; without a destination's key the one that is proposed for the source's."""

    source_key: str
    destination_key: str = ""
    task: str = ""

    @classmethod
    def read(cls, text: str) -> Chosen:
        """Read ``SOURCE`` or ``SOURCE=DESTINATION``, with ``TASK:`` in front where two tasks have that key."""
        task, colon, rest = text.partition(":")
        key, _, other = (rest if colon else text).partition("=")
        return cls(key.strip(), other.strip(), task.strip() if colon else "")


def chosen_from(path: Path) -> list[Chosen]:
    """Read pairs from a CSV file with the columns ``task``, ``source_key`` and ``destination_key``.

    Raises:
        ParameterError: The file cannot be read, or lacks a column.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
        return [Chosen(*row) for row in frame.select("source_key", "destination_key", "task").fill_null("").iter_rows()]
    except (OSError, pl.exceptions.PolarsError) as error:
        why = str(error).splitlines()[0]
        raise ParameterError(f"{path}: needs the columns task, source_key and destination_key: {why}") from None


def settle(
    folder: Path,
    templates: Mapping[str, Template],
    file: Path,
    crossref: Crossref,
    chosen: Sequence[Chosen],
    decision: str,
    by: str,
) -> pl.DataFrame:
    """Write down what was decided about pairs of a run.

    Args:
        folder: The run's, after `propose`.
        templates: As loaded.
        file: The cross-reference.
        crossref: What stands in it.
        chosen: The pairs. One that was not proposed is taken too, when both of its rows stand alone in this run.
        decision: ``accepted`` or ``rejected``.
        by: Who decided.

    Returns:
        The entries written, columns of `ENTRIES`.

    Raises:
        ParameterError: A pair is not to be had, is ambiguous without the destination's key, or would give a row a
            second partner; every fault, and nothing was written.
    """
    known = read_proposals(folder)
    tasks = {task.name: task for task in all_tasks(templates)}
    problems, entries = [], []
    cache: dict[str, _Alone] = {}
    for one in dict.fromkeys(chosen):
        said = f"{one.source_key}={one.destination_key}" if one.destination_key else one.source_key
        mine = known.filter(
            (pl.col("source_key") == one.source_key) & (pl.lit(not one.task) | (pl.col("task") == one.task))
        )
        mine = mine.filter(pl.col("destination_key") == one.destination_key) if one.destination_key else mine
        names = [one.task] if one.task else mine["task"].unique(maintain_order=True).to_list()
        names = names or known["task"].unique(maintain_order=True).to_list()
        if len(names) > 1 and mine.height != 1:
            problems.append(f"{said}: of which task? write TASK:{said}, one of {', '.join(names)}")
            continue
        if not one.destination_key and (mine.height != 1 or (decision, mine["status"][0]) == ("accepted", "ambiguous")):
            why = "is ambiguous: say which, SOURCE=DESTINATION" if mine.height else "was not proposed"
            problems.append(f"{said}: {why}")
            continue
        if not names or names[0] not in tasks or tasks[names[0]].evidence is None:
            problems.append(f"{said}: no task '{one.task}' with proposals")
            continue
        task = tasks[names[0]]
        cache.setdefault(task.name, _alone(folder, task, crossref))
        other = one.destination_key or str(mine["destination_key"][0])
        entry = _entry(folder, cache[task.name], one.source_key, other, mine["score"][0] if mine.height else "")
        entries += [entry] if isinstance(entry, dict) else []
        problems += [] if isinstance(entry, dict) else [f"{said}: {entry}"]
    if problems:
        raise ParameterError("\n".join(problems))
    frame = pl.DataFrame(entries, schema={name: pl.String for name in ENTRIES if name not in ("decision", "by", "at")})
    return decide(file, frame, decision, by).entries.tail(frame.height)


def _entry(folder: Path, alone: _Alone, key: str, other: str, score: float | str) -> dict[str, str] | str:
    """The entry of a pair, or why there can be none."""
    ours = alone.names[0].filter(pl.col("source_key") == key)
    theirs = alone.names[1].filter(pl.col("destination_key") == other)
    if ours.is_empty() or theirs.is_empty():
        side, name = ("source", key) if ours.is_empty() else ("destination", other)
        return f"{name} stands not alone at the {side} in this run, or has a partner in the cross-reference"
    place = task_folder(folder, alone.task.name) / "found.parquet"
    carried = pl.read_parquet(place, columns=carried_by(alone.task))[theirs["at"]].row(0, named=True)
    facts = {"source_key": key, "kind": ours["kind"][0], "destination_key": other, "score": score}
    return entry_of(alone.task, facts, json.loads(json.dumps(carried, default=str)))
