"""Where the rows of a source entity go: which of the tasks that read it takes them, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from p2c_lib import mapping
from p2c_lib.model import Task, Template

__all__ = ["route_columns", "routes"]


def routes(source: pl.DataFrame, task: Task, templates: Mapping[str, Template]) -> pl.DataFrame:
    """Where the rows of a source entity go, over all tasks that read it.

    Returns:
        Columns route (the destination's entity, or "not synchronised"), reason (the condition that keeps a row out of
        this task, in words), rows.
    """
    siblings = [t for tpl in templates.values() for t in tpl.tasks if _same_entity(t, task)]
    failed = {sibling.name: mapping.filter_outcome(source, sibling) for sibling in siblings}
    words = {condition.name: condition.says for sibling in siblings for condition in sibling.filter}
    route = pl.coalesce(
        *[
            pl.when(pl.col(sibling.name).is_null()).then(pl.lit(f"{sibling.destination.entity} ({sibling.name})"))
            for sibling in siblings
        ],
        pl.lit("not synchronised"),
    )
    return (
        pl.DataFrame(failed)
        .select(route=route, reason=pl.col(task.name).replace_strict(words, default=None, return_dtype=pl.String))
        .group_by("route", "reason")
        .agg(rows=pl.len())
        .sort("rows", "route", descending=[True, False])
    )


def route_columns(task: Task, templates: Mapping[str, Template]) -> list[str]:
    """The source columns that `routes` looks at: those of the filters of all tasks that read the same entity."""
    tasks = [t for template in templates.values() for t in template.tasks if _same_entity(t, task)]
    return list(dict.fromkeys(condition.column for t in tasks for condition in t.filter))


def _same_entity(one: Task, other: Task) -> bool:
    return (one.source.system, one.source.entity) == (other.source.system, other.source.entity)
