"""Reads of the Dataverse service: rows with annotations and expands, pages, counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

import orjson
import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_core import Answer, Call, Failure, Prefer, Work, json_answer
from p2c_lib.sandbox.grammar import QueryError
from p2c_lib.sandbox.query import (
    SALES,
    Expand,
    filter_clause,
    order_clauses,
    parse_expand,
    parse_select,
    stored_column,
)
from p2c_lib.sandbox.schema import CHOICE_KINDS, Column, Entity

__all__ = ["COUNT_CAP", "Reader", "read_collection", "read_count", "read_row", "to_json"]

COUNT_CAP = 5000  # counts stop here
IN_LIST = 500  # ids looked up at a time
FORMATTED = "OData.Community.Display.V1.FormattedValue"
LOGICAL_NAME = "Microsoft.Dynamics.CRM.lookuplogicalname"
NAVIGATION = "Microsoft.Dynamics.CRM.associatednavigationproperty"
TOTAL = "Microsoft.Dynamics.CRM.totalrecordcount"
EXCEEDED = "Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"
ALLOWED = {"$select", "$filter", "$expand", "$orderby", "$top", "$count", "$apply", "$skiptoken", "$deltatoken"}


def _etag(version: int) -> str:
    return f'W/"{version}"'


def _converter(column: Column) -> Callable[[Any], Any] | None:
    if column.is_decimal:
        return orjson.Fragment  # the digits as they stand
    return bool if column.kind == "boolean" else None


def to_json(column: Column, value: Any) -> Any:
    """A stored value as JSON shows it."""
    convert = _converter(column)
    return value if convert is None or value is None else convert(value)


@dataclass(frozen=True)
class _Plan:
    """What to read of an entity: the columns that are shown, and lookups that an expand needs beside them."""

    entity: Entity
    columns: tuple[Column, ...]
    hidden: tuple[Column, ...]
    expands: tuple[tuple[Expand, Column, Entity, _Plan], ...]
    names: tuple[str, ...]  # as the client selected them; none: all columns

    def context(self) -> str:
        """The part of the context URL in parentheses, or nothing."""
        inner = [nav.nav + (plan.context() or "()") for nav, _, _, plan in self.expands]
        parts = [*self.names, *inner]
        return f"({','.join(parts)})" if parts else ""


class Reader:
    """Reads rows of one entity as the wire shows them."""

    def __init__(self, work: Work, entity: Entity, select: str | None, expand: str | None, prefer: Prefer) -> None:
        """Prepare; `select` and `expand` are the texts of the options.

        Raises:
            QueryError: An option names what is not there.
        """
        self.work, self.prefer = work, prefer
        self.plan = self._make(entity, select, expand)

    def _make(self, entity: Entity, select: str | None, expand: str | None) -> _Plan:
        columns = parse_select(select, entity, self.work.schema.namespace)
        expands, hidden = [], []
        for item in parse_expand(expand or ""):
            if item.nav not in entity.lookups:
                raise QueryError(
                    f"Could not find a property named '{item.nav}' on type "
                    f"'{self.work.schema.namespace}.{entity.type}'."
                )
            column, target_type = entity.lookups[item.nav]
            target = self.work.schema.by_type[target_type]
            unknown = set(item.options) - {"$select", "$expand"}
            if unknown:
                raise QueryError(f"The option '{sorted(unknown)[0]}' is not supported in $expand.")
            nested = self._make(target, item.options.get("$select"), item.options.get("$expand"))
            expands.append((item, column, target, nested))
            hidden.append(column)
        names = () if select is None else tuple(column.name for column in columns)
        shown = {column.name for column in columns}
        if entity.id not in shown:
            columns.append(entity.columns[entity.id])
        return _Plan(entity, tuple(columns), tuple(c for c in hidden if c.name not in shown), tuple(expands), names)

    def rows(self, where: Sequence[Any], order: Sequence[Any] = (), limit: int | None = None, offset: int = 0) -> Any:
        """Rows as dicts for JSON, and the ``row_id`` of the last one (None: no rows)."""
        return self._rows(self.plan, where, order, limit, offset)

    def row(self, row_id: int) -> dict[str, Any]:
        """One row by its place in the store; every write that is told of ends here."""
        columns, types = self._columns(self.plan)
        stored = ["row_version" if c.name == "versionnumber" else c.name for c in columns]
        names = ", ".join(f'"{name}"' for name in ["row_version", *stored, *(c.type_column for c in types), "row_id"])
        # SQLAlchemy would take longer to write this statement than SQLite to run it.
        found = self.work.t.run(f'SELECT {names} FROM "{self.plan.entity.name}" WHERE row_id = ?', (row_id,))
        return self._shaped(self.plan, found.fetchall())[0]

    @staticmethod
    def _columns(plan: _Plan) -> tuple[list[Column], list[Column]]:
        """Columns to read, and those of them whose row is of a type that stands beside them."""
        columns = [*plan.columns, *plan.hidden]
        return columns, [c for c in columns if c.is_polymorphic]

    def _rows(
        self, plan: _Plan, where: Sequence[Any], order: Sequence[Any], limit: int | None, offset: int
    ) -> tuple[list[dict[str, Any]], int | None]:
        table = self.work.store.tables[plan.entity.name]
        columns, types = self._columns(plan)
        statement = sa.select(
            table.c.row_version,
            *[stored_column(c, table).label(c.name) for c in columns],
            *[table.c[c.type_column] for c in types],
            table.c.row_id,
        )
        statement = statement.where(*where).order_by(*order)
        if limit is not None:
            statement = statement.limit(limit).offset(offset)
        fetched = self.work.t.connection.execute(statement).fetchall()
        return (self._shaped(plan, fetched), int(fetched[-1][-1])) if fetched else ([], None)

    def _shaped(self, plan: _Plan, fetched: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows as dicts for JSON: what was read is the version, the columns, the types of some, and the ``row_id``."""
        columns, types = self._columns(plan)
        names = ["@odata.etag", *[c.name for c in plan.columns]]
        converters = [(i + 1, convert) for i, c in enumerate(plan.columns) if (convert := _converter(c)) is not None]
        width = len(names)
        rows = []
        for record in fetched:
            values = list(record[:width])
            values[0] = _etag(values[0])
            for i, convert in converters:
                if values[i] is not None:
                    values[i] = convert(values[i])
            rows.append(dict(zip(names, values, strict=True)))
        raw = _Columns(columns, types, fetched)
        if self.prefer.annotations:
            self._annotate(plan, raw, rows)
        for item, column, target, nested in plan.expands:
            self._expand(item, column, target, nested, raw, rows)
        return rows

    def _expand(
        self, item: Expand, column: Column, target: Entity, nested: _Plan, raw: _Columns, rows: list[dict[str, Any]]
    ) -> None:
        ids, kinds = raw.values(column), raw.types(column)
        wanted = [i for i, kind in zip(ids, kinds, strict=True) if i is not None and kind in (None, target.type)]
        found: dict[str, dict[str, Any]] = {}
        table = self.work.store.tables[target.name]
        for part in _chunks(sorted(set(wanted))):
            for row in self._rows(nested, [table.c[target.id].in_(part)], [], None, 0)[0]:
                found[row[target.id]] = row
        for row, value, kind in zip(rows, ids, kinds, strict=True):
            row[item.nav] = found.get(value) if kind in (None, target.type) else None

    def _annotate(self, plan: _Plan, raw: _Columns, rows: list[dict[str, Any]]) -> None:
        formatted = self.prefer.wants(FORMATTED)
        for column in plan.columns:
            values = raw.values(column)
            if column.kind == "lookup":
                self._annotate_lookup(column, values, raw.types(column), rows, formatted)
            elif formatted and (show := self._formatter(plan.entity, column)) is not None:
                name = f"{column.name}@{FORMATTED}"
                for row, value in zip(rows, values, strict=True):
                    if value is not None:
                        row[name] = show(value)

    def _formatter(self, entity: Entity, column: Column) -> Callable[[Any], str] | None:
        if column.kind in CHOICE_KINDS:
            return lambda value: column.options.get(value, str(value))
        if column.kind == "boolean":
            labels = {0: "No", 1: "Yes"} | dict(column.options)
            return lambda value: labels[int(value)]
        if column.is_decimal:
            places = 2 if column.kind == "money" else (column.precision or 0)
            return lambda value: f"{Decimal(value):,.{places}f}"
        if column.kind in ("int", "long"):
            return lambda value: f"{value:,}"
        if column.kind == "datetime":
            return lambda value: f"{int(value[5:7])}/{int(value[8:10])}/{value[:4]} {value[11:16]}"
        if column.kind == "date":
            return lambda value: f"{int(value[5:7])}/{int(value[8:10])}/{value[:4]}"
        return None

    def _annotate_lookup(
        self, column: Column, ids: list[Any], kinds: list[Any], rows: list[dict[str, Any]], formatted: bool
    ) -> None:
        navs = dict(column.binds)
        titles: dict[str, str] = {}
        first = column.binds[0][0] if column.binds else None
        targets = [kind or first for kind in kinds]
        if formatted:
            for kind in {k for k in targets if k}:
                wanted = {i for i, k in zip(ids, targets, strict=True) if i is not None and k == kind}
                titles |= self._titles(self.work.schema.by_type[kind], wanted)
        by_name, by_nav = self.prefer.wants(LOGICAL_NAME), self.prefer.wants(NAVIGATION)
        for row, value, kind in zip(rows, ids, targets, strict=True):
            if value is None or kind is None:
                continue
            if value in titles:
                row[f"{column.name}@{FORMATTED}"] = titles[value]
            if by_nav:
                row[f"{column.name}@{NAVIGATION}"] = navs[kind]
            if by_name:
                row[f"{column.name}@{LOGICAL_NAME}"] = kind

    def _titles(self, entity: Entity, ids: set[str]) -> dict[str, str]:
        table = self.work.store.tables[entity.name]
        titles: dict[str, str] = {}
        for part in _chunks(sorted(ids)):
            statement = sa.select(table.c[entity.id], table.c[entity.title or entity.id]).where(
                table.c[entity.id].in_(part)
            )
            titles |= {row[0]: row[1] for row in self.work.t.connection.execute(statement) if row[1] is not None}
        return titles


class _Columns:
    """Raw values of fetched rows by column."""

    def __init__(self, columns: Sequence[Column], types: Sequence[Column], fetched: Sequence[Any]) -> None:
        self.places = {c.name: i + 1 for i, c in enumerate(columns)}
        self.type_places = {c.name: len(columns) + 1 + i for i, c in enumerate(types)}
        self.fetched = fetched

    def values(self, column: Column) -> list[Any]:
        place = self.places[column.name]
        return [row[place] for row in self.fetched]

    def types(self, column: Column) -> list[Any]:
        """Target types of a polymorphic lookup; None for another."""
        place = self.type_places.get(column.name)
        return [None if place is None else row[place] for row in self.fetched]


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[i : i + IN_LIST] for i in range(0, len(ids), IN_LIST)]


# collections --------------------------------------------------------------------------------------------------------
def _number(call: Call, name: str) -> int | None:
    text = call.query.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise QueryError(f"Invalid value '{text}' for {name} query option found. It needs a whole number, 0 or more.")
    return int(text)


def check_options(call: Call) -> None:
    """Refuse query options that the service does not have."""
    for name in call.query:
        if name == "$skip":
            raise Failure(400, "0x80060888", "Skip Clause is not supported in CRM")
        if name.startswith("$") and name not in ALLOWED:
            raise Failure(400, "0x80060888", f"The query parameter {name} is not supported")


def aliases(call: Call) -> dict[str, str]:
    """Values of parameter aliases."""
    return {name: value for name, value in call.query.items() if name.startswith("@")}


def where_of(work: Work, entity: Entity, call: Call) -> list[Any]:
    """The where-clauses of a call's ``$filter``."""
    text = call.query.get("$filter")
    return [filter_clause(text, entity, work.store, SALES, aliases(call))] if text else []


def count_rows(work: Work, entity: Entity, where: Sequence[Any]) -> int:
    """How many rows meet the clauses, not more than the cap + 1."""
    table = work.store.tables[entity.name]
    inner = sa.select(table.c.row_id).where(*where).limit(COUNT_CAP + 1).subquery()
    return int(work.t.scalar(sa.select(sa.func.count()).select_from(inner)))


def read_count(work: Work, entity: Entity, call: Call) -> Answer:
    """``/set/$count``: plain text, 5,000 at most."""
    total = min(count_rows(work, entity, where_of(work, entity, call)), COUNT_CAP)
    return Answer(200, str(total).encode(), {"Content-Type": "text/plain"})


@dataclass(frozen=True)
class Cookie:
    """Where the next page begins."""

    page: int = 1
    row_id: int = 0
    version: int | None = None  # change tracking: version of the database when the first page was read

    def text(self, entity: Entity, first: str, last: str) -> str:
        """The cookie for a next link; its inner part is URL-encoded twice."""
        inner = f'<cookie page="{self.page - 1}"><{entity.id} last="{{{last}}}" first="{{{first}}}" />'
        inner += f'<row last="{self.row_id}" version="{self.version or 0}" /></cookie>'
        tracking = self.version is not None
        return f'<cookie pagenumber="{self.page}" pagingcookie="{quote(quote(inner))}" istracking="{tracking}" />'

    @classmethod
    def parse(cls, text: str | None) -> Cookie:
        """Read a cookie back; None is the first page."""
        if text is None:
            return cls()
        outer = re.search(r'pagenumber="(\d+)" pagingcookie="([^"]*)" istracking="(True|False)"', text)
        inner = re.search(r'<row last="(\d+)" version="(\d+)" />', unquote(unquote(outer[2]))) if outer else None
        if outer is None or inner is None:
            raise Failure(400, "0x80040203", "Malformed XML in the Paging Cookie")
        return cls(int(outer[1]), int(inner[1]), int(inner[2]) if outer[3] == "True" else None)


def next_link(call: Call, token: str) -> str:
    """The call's own URL with the cookie in place of an older one."""
    pairs = [(name, value) for name, value in call.url_query if name != "$skiptoken"]
    pairs.append(("$skiptoken", token))
    options = "&".join(f"{quote(name, safe='$@')}={quote(value, safe='')}" for name, value in pairs)
    return f"{call.root}/{quote(call.path, safe='/()')}?{options}"


def delta_link(call: Call, work: Work, version: int) -> str:
    """Where to ask for what has changed since `version`; only ``$select`` is carried over."""
    moment = datetime.strptime(work.now, "%Y-%m-%dT%H:%M:%SZ").strftime("%m/%d/%Y %H:%M:%S")
    pairs = [(name, value) for name, value in call.url_query if name == "$select"]
    pairs.append(("$deltatoken", f"{version}!{moment}"))
    options = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
    return f"{call.root}/{quote(call.path, safe='/()')}?{options}"


def read_collection(work: Work, entity: Entity, call: Call) -> Answer:
    """A page of an entity set.

    Raises:
        QueryError: A query option is wrong.
        Failure: An option is not supported, or the cookie is broken.
    """
    check_options(call)
    prefer, table = call.prefer, work.store.tables[entity.name]
    reader = Reader(work, entity, call.query.get("$select"), call.query.get("$expand"), prefer)
    where = where_of(work, entity, call)
    cookie = Cookie.parse(call.query.get("$skiptoken"))
    top = _number(call, "$top")
    size = min(prefer.page_rows or work.config.page_rows, work.config.page_rows)
    limit = size if prefer.page_rows or top is None else min(top, size)
    order = order_clauses(call.query["$orderby"], entity, work.store, SALES) if call.query.get("$orderby") else []
    page_where, offset = list(where), 0
    if order:
        offset = (cookie.page - 1) * size
    elif cookie.row_id:
        page_where.append(table.c.row_id > cookie.row_id)
    version = cookie.version
    if prefer.track_changes and version is None:
        version = work.t.version()
    rows, last = reader.rows(page_where, [*order, table.c.row_id], limit + 1, offset)
    is_more = len(rows) > limit and (top is None or prefer.page_rows is not None)
    rows = rows[:limit]
    body: dict[str, Any] = {"@odata.context": f"{call.root}/$metadata#{entity.name}{reader.plan.context()}"}
    total = -1
    if call.query.get("$count", "").lower() == "true":
        total = count_rows(work, entity, where)
        body["@odata.count"] = min(total, COUNT_CAP)
    if prefer.wants(TOTAL):
        body[f"@{TOTAL}"] = min(total, COUNT_CAP)
        body[f"@{EXCEEDED}"] = total > COUNT_CAP
    body["value"] = rows
    if is_more:
        token = Cookie(cookie.page + 1, (last or 1) - 1, version)  # `last` is the first row of the next page
        body["@odata.nextLink"] = next_link(call, token.text(entity, rows[0][entity.id], rows[-1][entity.id]))
    elif version is not None:
        body["@odata.deltaLink"] = delta_link(call, work, version)
    return json_answer(body, headers=prefer.applied())


def read_row(work: Work, entity: Entity, row_id: int, call: Call, status: int = 200) -> Answer:
    """One row by its place in the store, with its etag in a header too."""
    reader = Reader(work, entity, call.query.get("$select"), call.query.get("$expand"), call.prefer)
    row = reader.row(row_id)
    context = f"{call.root}/$metadata#{entity.name}{reader.plan.context()}/$entity"
    return json_answer({"@odata.context": context} | row, status, {"ETag": row["@odata.etag"], **call.prefer.applied()})
