"""The value map workshop: values that no map knows, what they could mean, and what a new entry would change.

Nothing is read from either system: the values, the rows behind them and the two sides are those that a run has kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from babel import Locale
from babel.core import get_global
from pydantic import TypeAdapter
from rapidfuzz import fuzz, process

from p2c_lib import run as runs
from p2c_lib.connect import Column, Entity, Metadata
from p2c_lib.crossref import NONE, Crossref
from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.errors import ParameterError
from p2c_lib.folder import read_run
from p2c_lib.model import Task, Template, ValueMap, all_tasks
from p2c_lib.places import task_folder
from p2c_lib.sides import Sides
from p2c_lib.texts import plain

__all__ = [
    "CANDIDATES",
    "VALUES",
    "candidates",
    "columns_of",
    "effect",
    "kept_entity",
    "kept_sides",
    "newest",
    "unmapped_values",
    "with_candidates",
    "with_entries",
]

VALUES = pl.Schema(
    {
        "task": pl.String(),
        "field": pl.String(),
        "value_map": pl.String(),
        "value": pl.String(),
        "rows": pl.UInt32(),
        "amount": pl.Decimal(38, 12),
        "currency": pl.String(),
    }
)
CANDIDATES = pl.Schema(
    {
        "value_map": pl.String(),
        "value": pl.String(),
        "target": pl.String(),
        "score": pl.UInt8(),
        "like": pl.String(),
        "why": pl.String(),
    }
)
"""A line for each value and target that it could mean. ``score`` is 0 to 100, 100 for the same text but for case,
accents, punctuation and blanks; ``like`` is the text that it is like, ``why`` says where that stands."""

SHOWN = 3  # targets offered for a value
_LEAST = 75  # of the score: below it two names have a few letters in common and no more
_SHORT = 3  # characters: a code is right or wrong, never nearly right
_MOST = 2_000  # values for which candidates are looked for, those with most rows first
_LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt", "pl", "sv", "da", "nb", "fi", "cs", "hu", "tr", "ja", "zh")
_EFFECT = {"task": pl.String(), "what": pl.String(), "before": pl.Int64(), "after": pl.Int64()}


def unmapped_values(folder: Path, templates: Mapping[str, Template]) -> pl.DataFrame:
    """List the source values of a run that no value map knows.

    Args:
        folder: A finished run's.
        templates: As loaded, for the names of the value maps.

    Returns:
        Columns of `VALUES`, a line for each task, field, value and currency, most rows first; a value with two
        spellings, apart in case and blanks around it, is one. ``amount`` is what the rows are worth.

    Raises:
        ParameterError: The folder holds no finished run.
    """
    read_run(folder)
    path = folder / "unmapped.parquet"
    if not path.exists():
        raise ParameterError(f"{folder}: the run has not come to its end (no unmapped.parquet); run again")
    maps = [
        (task.name, field.destination, field.value_map)
        for task in all_tasks(templates)
        for field in task.fields
        if field.value_map
    ]
    named = pl.DataFrame(maps, schema=dict.fromkeys(("task", "field", "value_map"), pl.String), orient="row")
    return (
        pl.read_parquet(path)
        .join(named, on=["task", "field"], how="inner", maintain_order="left")
        .with_columns(pl.col("value").str.strip_chars().str.to_lowercase())
        .group_by("task", "field", "value_map", "value", "currency", maintain_order=True)
        .agg(pl.col("rows").sum(), pl.col("amount").sum())
        .select(VALUES.names())
        .cast(VALUES)
        .sort("rows", "task", "field", "value", descending=[True, False, False, False])
    )


def candidates(
    values: pl.DataFrame, templates: Mapping[str, Template], folder: Path | None = None, shown: int = SHOWN
) -> pl.DataFrame:
    """Find what unmapped values could mean.

    Args:
        values: Columns of `VALUES`; at most 2,000 values of a map are looked at, those with most rows.
        templates: As loaded: what the maps know, and whether they are of countries or currencies (``names``).
        folder: The run's, to see what stands at the destination where the value stands at the source.
        shown: Targets offered for a value.

    Returns:
        Columns of `CANDIDATES`, best first within each value; none for a value that is like nothing known.

    A value is held against the source values and the targets of its map, and where the map is of countries or
    currencies against ISO 3166 or 4217 and their names in 17 languages (Unicode CLDR). Texts of up to three characters
    are the same or nothing. What the destination holds in n of the N pairs with the value scores 100 n / (N + 1): one
    pair alone is no proof.
    """
    found = [CANDIDATES.to_frame()]
    for name, value_map in _value_maps(templates, values["value_map"].unique().to_list()).items():
        ranked = values.filter(pl.col("value_map") == name).group_by("value", maintain_order=True).agg(pl.sum("rows"))
        ranked = ranked.sort("rows", descending=True, maintain_order=True).head(_MOST)
        found.append(_alike(ranked["value"], _known(value_map)).with_columns(value_map=pl.lit(name)))
    parts = [part.select(CANDIDATES.names()).cast(CANDIDATES) for part in found]
    if folder is not None:
        parts.append(_standing(folder, values, templates))
    order = ["value_map", "value", "score", "target"]
    return (
        pl.concat(parts)
        .sort(order, descending=[False, False, True, False], maintain_order=True)
        .unique(["value_map", "value", "target"], keep="first", maintain_order=True)
        .group_by("value_map", "value", maintain_order=True)
        .head(shown)
    )


def with_candidates(values: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """`VALUES` with the best candidate of each (``target``, ``score``, ``why``) and the ``others`` in words."""
    best = found.group_by("value_map", "value", maintain_order=True).agg(
        pl.col("target", "score", "why").first(),
        others=pl.format("{} ({})", pl.col("target").slice(1), pl.col("score").slice(1)).str.join(", "),
    )
    return values.join(best, on=["value_map", "value"], how="left", maintain_order="left")


def _value_maps(templates: Mapping[str, Template], names: Iterable[str]) -> dict[str, ValueMap]:
    known = {name: one for task in all_tasks(templates) for name, one in task.value_maps.items()}
    return {name: known[name] for name in sorted(names) if name in known}


def _known(value_map: ValueMap) -> pl.DataFrame:
    """What a value of a map may be like: ``like``, ``target``, ``why``."""
    entries = [(key, target, "in the map") for key, target in value_map.entries.items() if key]
    targets = [(target, target, "a target of the map") for target in dict.fromkeys(value_map.entries.values())]
    schema = dict.fromkeys(("like", "target", "why"), pl.String)
    frame = pl.DataFrame([*entries, *targets], schema=schema, orient="row")
    if value_map.names is None:
        return frame
    names = _iso(value_map.names)
    if value_map.names == "countries" and {len(target) for target in value_map.entries.values()} == {3}:
        names = names.with_columns(pl.col("target").replace_strict(_three_letters(), default=None)).drop_nulls()
    return pl.concat([frame, names])


@cache
def _iso(names: str) -> pl.DataFrame:
    """Codes and names of countries (ISO 3166) or currencies (ISO 4217): ``like``, ``target``, ``why``."""
    rows: list[tuple[str, str, str]] = []
    if names == "countries":
        rows += [(three, two, "ISO 3166") for two, three in _three_letters().items()]
        rows += [(two, two, "ISO 3166") for two in _three_letters()]
    for language in _LANGUAGES:
        locale = Locale(language)
        known = locale.territories if names == "countries" else locale.currencies
        says = f"{'ISO 3166' if names == 'countries' else 'ISO 4217'}, {locale.english_name}"
        codes = set(_three_letters()) if names == "countries" else set(known)
        rows += [(str(name), str(code), says) for code, name in known.items() if code in codes]
        if names == "currencies":
            rows += [(str(code), str(code), "ISO 4217") for code in known]
            rows += [(sign, code, says) for code, sign in locale.currency_symbols.items() if sign not in ("$", "£")]
    schema = dict.fromkeys(("like", "target", "why"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row").unique(["like", "target"], keep="first", maintain_order=True)


@cache
def _three_letters() -> dict[str, str]:
    """Two letters of each country of ISO 3166 to three."""
    aliases: Mapping[str, Sequence[str]] = get_global("territory_aliases")
    known = Locale("en").territories
    pairs = [(now[0], old) for old, now in aliases.items() if len(old) == 3 and old.isalpha() and len(now) == 1]
    old = {"BUR", "DDR", "FXX", "TMP", "YMD", "ZAR"}  # of states that are no more, taken over by one that has its own
    return {two: three for two, three in sorted(pairs) if len(two) == 2 and two in known and three not in old}


def _alike(values: pl.Series, known: pl.DataFrame) -> pl.DataFrame:
    """Each value with the known texts that it is like: ``value``, ``target``, ``score``, ``like``, ``why``."""
    asked = values.to_frame("value").select("value", plain=plain(pl.col("value"))).filter(pl.col("plain") != "")
    known = known.with_columns(plain=plain(pl.col("like"))).filter(pl.col("plain") != "")
    if asked.is_empty() or known.is_empty():
        return CANDIDATES.to_frame().drop("value_map")
    scores = process.cdist(
        asked["plain"].to_list(),
        known["plain"].to_list(),
        scorer=fuzz.WRatio,
        score_cutoff=_LEAST,
        dtype=np.uint8,
        workers=2,
    )
    mine, theirs = np.nonzero(scores)
    pairs = pl.concat([asked[mine], known[theirs].rename({"plain": "known"})], how="horizontal")
    is_same = pl.col("plain") == pl.col("known")
    lengths = pl.min_horizontal(pl.col("plain").str.len_chars(), pl.col("known").str.len_chars())
    # Two texts that are not the same are never quite certain to mean the same.
    score = pl.when(is_same).then(100).otherwise(pl.min_horizontal(pl.lit(99), pl.lit(pl.Series(scores[mine, theirs]))))
    return (
        pairs.with_columns(score=score.cast(pl.UInt8))
        .filter(is_same | (lengths > _SHORT))
        .select("value", "target", "score", "like", "why")
    )


def _standing(folder: Path, values: pl.DataFrame, templates: Mapping[str, Template]) -> pl.DataFrame:
    """What the destination holds in the pairs whose source value is unmapped, columns of `CANDIDATES`."""
    tasks = {task.name: task for task in all_tasks(templates)}
    found = [CANDIDATES.to_frame()]
    for name in values["task"].unique(maintain_order=True):
        place = task_folder(folder, name)
        if not (place / "cells.parquet").exists():
            continue
        cells = pl.read_parquet(place / "cells.parquet").filter(pl.col("outcome") == "unmapped")
        for field in (field for field in tasks[name].fields if field.value_map and not field.personal):
            mine = cells.filter((pl.col("field") == field.destination) & pl.col("found").is_not_null())
            if mine.is_empty() or field.source is None:
                continue
            source = pl.read_parquet(place / "source.parquet", columns=[field.source])[field.source]
            text = source.gather(mine["source_row"]).cast(pl.String).str.strip_chars().str.to_lowercase()
            counted = mine.select("found").with_columns(value=text).group_by("value", "found").len("n")
            counted = counted.with_columns(total=pl.col("n").sum().over("value"))
            found.append(
                counted.select(
                    value_map=pl.lit(field.value_map),
                    value="value",
                    target="found",
                    score=100 * pl.col("n") // (pl.col("total") + 1),
                    like="found",
                    why=pl.format("stands at the destination in {} of {} such rows", "n", "total"),
                ).cast(CANDIDATES)
            )
    return pl.concat(found).sort("score", "target", descending=[True, False])


def effect(
    folder: Path, templates: Mapping[str, Template], maps: Iterable[str] | None = None, *, crossref: Crossref = NONE
) -> pl.DataFrame:
    """Compare the rows that a run has kept once more, by other templates, and say what becomes of them.

    Args:
        folder: The run's; nothing in it is changed.
        templates: As loaded, with what was accepted.
        maps: Value maps that have changed: only tasks with one of them are compared again. Default: every task of the
            run that had unmapped values.
        crossref: The reviewed cross-reference; what came into it after the run is left out, as the run left it out.

    Returns:
        ``task``, ``what`` (an outcome of rows; ``fields different``, ``fields unmapped``, ...; ``unmapped values``),
        ``before`` and ``after`` (Int64); only what there is any of.

    Raises:
        ParameterError: The run is of an earlier version and cannot be compared again.
    """
    run = read_run(folder)
    facts = {task["task"]: task for task in run["tasks"] if "error" not in task}
    crossref = crossref.as_of(run["started"])
    wanted = None if maps is None else set(maps)
    lines = []
    for task in all_tasks(templates):
        name = task.name
        is_meant = facts.get(name, {}).get("unmapped_values") if wanted is None else wanted & set(task.value_maps)
        if name not in facts or not is_meant:
            continue
        sides, metadata = kept_sides(folder, task)
        after = runs.summary(task, sides, runs.compare_sides(task, sides, metadata, crossref=crossref))
        lines += [(name, *line) for line in _changes(facts[name], after)]
    return pl.DataFrame(lines, schema=_EFFECT, orient="row")


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    pairs = [(outcome, before[outcome], after[outcome]) for outcome in ROW_OUTCOMES]
    kinds = dict.fromkeys([*before["fields"], *after["fields"]])
    pairs += [(f"fields {kind}", before["fields"].get(kind, 0), after["fields"].get(kind, 0)) for kind in kinds]
    pairs.append(("unmapped values", before["unmapped_values"], after["unmapped_values"]))
    return [pair for pair in pairs if pair[1] or pair[2]]


def kept_sides(folder: Path, task: Task) -> tuple[Sides, dict[str, Metadata]]:
    """Both sides of a task as a run has kept them, and what was known of the destination's entity.

    Args:
        folder: The run's.
        task: One that it compared.

    Returns:
        The sides, and metadata that holds the one entity; together what `run.compare_sides` needs.

    Raises:
        ParameterError: The run is of an earlier version and has not kept the entity.
    """
    place, entity = task_folder(folder, task.name), kept_entity(folder, task.name)
    frames = {name: pl.read_parquet(place / f"{name}.parquet") for name in ("source", "found", "expected", "waits")}
    found = frames["found"]
    for field in (field for field in task.fields if field.without):  # kept without what is taken off
        off = pl.sum_horizontal(pl.col(column).fill_null(0) for column in field.without)
        kind = found.schema[field.destination]
        found = found.with_columns((pl.col(field.destination) + off).cast(kind).alias(field.destination))
    parents = {field.destination: _present(frames["expected"], frames["waits"], field.destination)
               for field in task.fields if field.parent}  # fmt: skip
    read_at = datetime.fromisoformat(read_run(folder)["started"])
    sides = Sides(frames["source"], found, parents, read_at, 0.0)
    return sides, {task.destination.system: Metadata(task.destination.system, {task.destination.entity: entity})}


def kept_entity(folder: Path, task: str) -> Entity:
    """What was known of a task's destination when it was compared.

    Raises:
        ParameterError: The run has not kept it.
    """
    path = task_folder(folder, task) / "entity.json"
    if not path.exists():
        raise ParameterError(f"{path} is not there: the task failed, or the run is of an earlier version; run again")
    return TypeAdapter(Entity).validate_json(path.read_text("utf-8"))


def columns_of(folder: Path, templates: Mapping[str, Template]) -> dict[str, list[Column]]:
    """The destination columns that each value map fills in a run's tasks: its targets must fit them."""
    found: dict[str, list[Column]] = {}
    for task in all_tasks(templates):
        if not (task_folder(folder, task.name) / "entity.json").exists():
            continue
        entity = kept_entity(folder, task.name)
        for field in task.fields:
            column = entity.columns.get(field.destination)
            if field.value_map and column is not None:
                found.setdefault(field.value_map, []).append(column)
    return found


def with_entries(templates: Mapping[str, Template], entries: Iterable[tuple[str, str, str]]) -> dict[str, Template]:
    """Templates with more entries in their value maps, to see what they would do before they are written anywhere.

    Args:
        templates: As loaded.
        entries: Value map, source value, target; later ones count.
    """
    more: dict[str, dict[str, str]] = {}
    for name, value, target in entries:
        more.setdefault(name, {})[value.strip().lower()] = target

    def extended(task: Task) -> Task:
        maps = {
            name: one.model_copy(update={"entries": {**one.entries, **more.get(name, {})}})
            for name, one in task.value_maps.items()
        }
        return task.model_copy(update={"value_maps": maps})

    return {
        name: one.model_copy(update={"tasks": tuple(extended(task) for task in one.tasks)})
        for name, one in templates.items()
    }


def newest(runs_folder: Path) -> Path:
    """The run below a folder that finished last.

    Raises:
        ParameterError: There is none.
    """
    finished = []
    for path in runs_folder.glob("*/run.json"):
        with contextlib.suppress(ParameterError):
            finished.append((read_run(path.parent).get("finished", ""), path.parent))
    finished = [one for one in finished if one[0] and (one[1] / "unmapped.parquet").exists()]
    if not finished:
        raise ParameterError(f"no finished run below {runs_folder}; compare first (p2c run), or name a run's folder")
    return max(finished)[1]


def _present(expected: pl.DataFrame, waits: pl.DataFrame, field: str) -> pl.Series:
    """The parents that the destination has, of those that rows point to: all but those that rows wait for."""
    normal = pl.col("value").str.strip_chars().str.to_lowercase()
    absent = waits.filter(pl.col("field") == field).select(normal).drop_nulls()
    values = expected.select(pl.col(field).cast(pl.String).alias("value")).drop_nulls().unique()
    return values.filter(~normal.is_in(absent["value"].implode()))["value"]
