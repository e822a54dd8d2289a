"""Whether a plan still fits what it was made from: the rules that rows were compared by, and the rows themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib.cells import as_text
from p2c_lib.connect import Client
from p2c_lib.errors import PlanError
from p2c_lib.journal import FINAL
from p2c_lib.masking import site_masker
from p2c_lib.model import FieldMap, Template, all_tasks
from p2c_lib.places import plan_folder, task_folder
from p2c_lib.pull import ETAG
from p2c_lib.verify import look
from p2c_lib.write import Plan
from p2c_lib.write.answers import answers

__all__ = ["CHANGED", "changed_rows", "check_rows", "check_templates"]

CHANGED = pl.Schema(
    {
        "task": pl.String(),
        "action": pl.String(),
        "key": pl.String(),
        "reason": pl.String(),
        "field": pl.String(),
        "before": pl.String(),
        "now": pl.String(),
        "wanted": pl.String(),
    }
)
"""Rows that are not as they were compared: why, and for each field that the plan would write what stood there then,
what stands there now, and what was wanted; one row without a field where others of its columns were changed."""

_SHOWN = 10
_BY = {"fields": "destination", "filter": "name", "scope": "name", "only": "name", "as_long_as": "name"}
_AGAIN = "compare again in a new run, and plan that one"


def check_templates(folder: Path, plan: Plan, templates: Mapping[str, Template]) -> None:
    """Raise `PlanError` when the rules of a task are others than those that its rows were compared by.

    Args:
        folder: The run's; what was compared by is in ``tasks/<task>/task.json``.
        plan: Its plan.
        templates: As loaded now, overlays and all.

    The message names what was changed: fields, conditions, value maps, and what of them.
    """
    known = {task.name: task for task in all_tasks(templates)}
    problems = []
    for name in plan.rows["task"].unique(maintain_order=True):
        path = task_folder(folder, name) / "task.json"
        if not path.exists():
            continue
        if name not in known:
            problems.append(f"{name} is in no template any more")
            continue
        then, now = json.loads(path.read_text("utf-8")), json.loads(known[name].model_dump_json())
        told = list(_differences(then, now))
        if told:
            more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
            problems.append(f"{name}: {'; '.join(told[:_SHOWN])}{more}")
    if problems:
        raise PlanError(f"the templates were changed since the rows were compared: {' | '.join(problems)}; {_AGAIN}")


def _differences(then: Any, now: Any, where: str = "") -> Iterator[str]:
    """Where two tasks differ, in words."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            if key != "personal" and then.get(key) != now.get(key):  # what is masked changes nothing that is sent
                yield from _differences(then.get(key), now.get(key), f"{where}.{key}" if where else key)
        return
    label = _BY.get(where.rpartition(".")[2])
    if label and isinstance(then, list) and isinstance(now, list):
        old, new = ({piece[label]: piece for piece in pieces} for pieces in (then, now))
        for name in dict.fromkeys([*old, *new]):
            if name not in new:
                yield f"{where} {name} was taken away"
            elif name not in old:
                yield f"{where} {name} is new"
            elif old[name] != new[name]:
                yield from _differences(old[name], new[name], f"{where} {name}")
        return
    yield f"{where} was {_short(then)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def changed_rows(plan: Plan, clients: Mapping[str, Client]) -> pl.DataFrame:
    """Look at every row that is still to be written, and say which are not as they were compared.

    Args:
        plan: The plan.
        clients: By system; rows are read by key, many at once.

    Returns:
        Columns of `CHANGED`.

    Raises:
        ConnectError: Or a child of it.
    """
    told = answers(plan).filter(pl.col("outcome").is_in(list(FINAL)))
    rows = plan.rows.filter(pl.col("held").is_null()).join(told, on="order", how="anti", maintain_order="left")
    frames = [CHANGED.to_frame()]
    for (_, _), part in rows.group_by("task", pl.col("action") == "create", maintain_order=True):
        client = clients[part["system"][0]]
        entity = client.entity(part["entity"][0])
        fields = [FieldMap(destination=name) for name in part["field"].drop_nulls().unique(maintain_order=True)]
        found = look(client, entity, part, fields, None).unique("order", keep="first", maintain_order=True)
        texts = found.select("order", *(as_text(f.destination, found.schema[f.destination]) for f in fields))
        cells = texts.unpivot(index="order", variable_name="field", value_name="now").cast({"order": pl.UInt32})
        stands = part.join(found.select("order", now_etag=ETAG), on="order", how="left", maintain_order="left")
        stands = stands.join(cells, on=["order", "field"], how="left", maintain_order="left")
        frames.append(_off(stands))
    return pl.concat(frames)


def _off(rows: pl.DataFrame) -> pl.DataFrame:
    is_create, is_there = pl.col("action") == "create", pl.col("now_etag").is_not_null()
    reason = (
        pl.when(is_create & is_there)
        .then(pl.lit("a row with this key is there by now"))
        .when(~is_create & ~is_there)
        .then(pl.lit("the row is gone"))
        .when(~is_create & (pl.col("now_etag") != pl.col("etag")))
        .then(pl.lit("changed since it was compared"))
    )
    rows = rows.with_columns(reason=reason).filter(pl.col("reason").is_not_null())
    shown = is_there & ~is_create & pl.col("now").ne_missing(pl.col("before"))
    lone = ~shown.any().over("order") & pl.col("order").is_first_distinct()
    hidden = [pl.when(shown).then(pl.col(name)).alias(name) for name in ("field", "before", "now", "after")]
    told = rows.filter(shown | lone).with_columns(hidden)
    return told.select("task", "action", "key", "reason", "field", "before", "now", wanted="after").cast(CHANGED)


def check_rows(folder: Path, plan: Plan, clients: Mapping[str, Client]) -> None:
    """Raise `PlanError` when any row that is still to be written is not as it was compared.

    Args:
        folder: The run's; the rows are kept as ``plan/stale.parquet``.
        plan: Its plan.
        clients: By system.
    """
    rows = changed_rows(plan, clients)
    path = plan_folder(folder) / "stale.parquet"
    if rows.is_empty():
        path.unlink(missing_ok=True)
        return
    rows.write_parquet(path)
    rows = site_masker().cells(rows, plan.head.get("masked", {}), "before", "now", "wanted")
    lines = [
        f"{task} {key}: {reason}" + (f" ({field} was {before}, is {now}, was to be {wanted})" if field else "")
        for task, _, key, reason, field, before, now, wanted in rows.head(_SHOWN).iter_rows()
    ]
    count = rows.unique(["task", "key", "action"]).height
    raise PlanError(
        f"{count:,} rows of this plan are not as they were compared: {'; '.join(lines)}"
        f"{' ...' if count > _SHOWN else ''}; all of them: {path}; {_AGAIN}, or apply without --check: "
        "then they are left alone and the others are sent"
    )
