"""``$apply`` of the Dataverse service: filter, groupby and aggregate, with exact sums."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import orjson
import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_core import Answer, Call, Failure, Work, json_answer
from p2c_lib.sandbox.dataverse_read import aliases, where_of
from p2c_lib.sandbox.dataverse_read import to_json as value_json
from p2c_lib.sandbox.grammar import QueryError, split_outside
from p2c_lib.sandbox.query import SALES, filter_clause, stored_column
from p2c_lib.sandbox.schema import Column, Entity
from p2c_lib.sandbox.store import decimal_text

__all__ = ["aggregate"]

LIMIT = 50_000  # rows an aggregate may look at
AGGREGATE = re.compile(r"(\w+)\s+with\s+(sum|average|min|max|countdistinct)\s+as\s+(\w+)", re.IGNORECASE)
COUNT = re.compile(r"\$count\s+as\s+(\w+)")


def _inside(step: str, name: str) -> str | None:
    return step[len(name) + 1 : -1] if step.startswith(f"{name}(") and step.endswith(")") else None


def aggregate(work: Work, entity: Entity, call: Call) -> Answer:
    """Answer a collection call with ``$apply``.

    Raises:
        QueryError: It cannot be understood.
        Failure: It looks at too many rows (0x8004e023).
    """
    if "$orderby" in call.query:
        raise QueryError("$orderby is not supported together with $apply in the sandbox.")
    where, groups, shown = where_of(work, entity, call), [], []
    for step in split_outside(call.query["$apply"], "/"):
        if (text := _inside(step, "filter")) is not None:
            where.append(filter_clause(text, entity, work.store, SALES, aliases(call)))
        elif (text := _inside(step, "groupby")) is not None:
            parts = split_outside(text)
            groups = [_column(entity, name) for name in split_outside(parts[0].strip("()"))]
            for part in parts[1:]:
                shown += _aggregates(work, entity, _inside(part, "aggregate") or "")
        elif (text := _inside(step, "aggregate")) is not None:
            shown += _aggregates(work, entity, text)
        else:
            raise QueryError(f"The transformation '{step}' is not supported in $apply.")
    table = work.store.tables[entity.name]
    looked_at = sa.select(table.c.row_id).where(*where).limit(LIMIT + 1).subquery()
    if int(work.t.scalar(sa.select(sa.func.count()).select_from(looked_at))) > LIMIT:
        raise Failure(400, "0x8004e023", "AggregateQueryRecordLimit exceeded. Cannot perform this operation.")
    if any(column.kind == "datetime" for column in groups):
        raise QueryError("Grouping by a date and time is not supported.")
    by = [stored_column(column, table) for column in groups]
    statement = sa.select(*by, *[sql for _, sql, _ in shown]).select_from(table).where(*where).group_by(*by)
    rows = []
    for record in work.t.connection.execute(statement):
        row: dict[str, Any] = {}
        for column, value in zip(groups, record[: len(groups)], strict=True):
            if value is not None:
                row[column.name] = value_json(column, value)
        for (name, _, show), value in zip(shown, record[len(groups) :], strict=True):
            row[name] = None if value is None else show(value)
        rows.append(row)
    return json_answer({"@odata.context": f"{call.root}/$metadata#{entity.name}", "value": rows})


def _column(entity: Entity, name: str) -> Column:
    column = entity.columns.get(name)
    if column is None:
        raise QueryError(f"Could not find a property named '{name}' on type '{entity.type}'.")
    return column


def _mean(value: str) -> orjson.Fragment:
    total, _, number = value.partition("/")
    return orjson.Fragment(decimal_text(Decimal(total) / int(number)))


def _aggregates(work: Work, entity: Entity, text: str) -> list[tuple[str, Any, Any]]:
    """(name, SQL, how JSON shows it) of each aggregate of a list."""
    table = work.store.tables[entity.name]
    found: list[tuple[str, Any, Any]] = []
    for part in split_outside(text):
        if (count := COUNT.fullmatch(part)) is not None:
            found.append((count[1], sa.func.count(), int))
            continue
        match = AGGREGATE.fullmatch(part)
        if match is None:
            raise QueryError(f"The aggregate '{part}' is not supported.")
        column, how = _column(entity, match[1]), match[2].lower()
        sql = stored_column(column, table)
        is_number = column.edm_type in ("Edm.Decimal", "Edm.Int32", "Edm.Int64")
        if how in ("sum", "average") and not is_number:
            raise QueryError(f"'{column.name}' cannot be summed up.")
        if how == "sum":
            found.append((match[3], sa.func.decimal_sum(sql), orjson.Fragment))
        elif how == "average":
            pair = sa.func.decimal_sum(sql).op("||")("/").op("||")(sa.func.count(sql))
            found.append((match[3], pair, _mean))
        elif how == "countdistinct":
            found.append((match[3], sa.func.count(sa.distinct(sql)), int))
        else:
            extreme = sa.func.min(sql) if how == "min" else sa.func.max(sql)
            found.append((match[3], extreme, lambda value, column=column: value_json(column, value)))
    if not found:
        raise QueryError("An aggregate needs at least one expression.")
    return found
