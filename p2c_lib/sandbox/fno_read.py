"""Reading in Finance and Operations: query options, companies, pages that the server cuts."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from p2c_lib.sandbox.fno_wire import Answer, Call, bad_query, etag_of, json_answer, not_found, wire_rows
from p2c_lib.sandbox.query import FNO, QueryError, filter_clause, order_clauses, parse_expand, parse_select
from p2c_lib.sandbox.schema import Column, Entity
from p2c_lib.sandbox.store import Store, Transaction

MAX_PAGE = 10_000
INVOICES = "ExternallyMaintainedCustomerSalesInvoiceHeaders"
INVOICE_LINES = "ExternallyMaintainedCustomerSalesInvoiceLines"
_OPTIONS = frozenset({"$filter", "$count", "$orderby", "$skip", "$top", "$select", "$expand", "$format", "$skiptoken"})
_LITERAL_OR_DIVBY = re.compile(r"'(?:[^']|'')*'|\bdivby\b")
_ENUM_OR_TEXT = re.compile(r"(?P<enum>[A-Za-z_][\w.]*)'(?P<member>(?:[^']|'')*)'|'(?:[^']|'')*'")


def read_set(store: Store, config: Mapping[str, Any], entity: Entity, call: Call) -> Answer:
    """Serve a page of an entity set.

    Args:
        store: Where the rows are.
        config: Settings of the sandbox.
        entity: The set.
        call: The request.

    Returns:
        200 with rows, ``@odata.count`` when asked, ``@odata.nextLink`` when there are more.

    Raises:
        FnoError: 400 for options that this service does not know or cannot serve.
    """
    _check_options(entity, call.query, store.schema.namespace)
    columns = _columns(entity, call.query, store)
    table = store.tables[entity.name]
    where = _where(store, config, entity, call)
    start = _Start.read(call.query)
    size, applied = _page_size(config, call)
    wanted = size if start.left is None else min(size, start.left)
    order = _order(store, entity, call.query)
    statement = sa.select(*_shown(table, entity, columns)).where(*where)
    if order:
        statement = statement.order_by(*order, table.c.row_id).offset(start.offset)
    else:
        statement = statement.order_by(table.c.row_id).where(table.c.row_id > start.row_id).offset(start.offset)
    with store.read() as t:
        rows = t.rows(statement.limit(wanted + 1))
        total = t.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) if _is_counted(call) else None
    has_more, rows = len(rows) > wanted and wanted == size, rows[:wanted]
    level = call.metadata_level
    body: dict[str, Any] = {} if level == "none" else {"@odata.context": _context(entity, call)}
    if total is not None:
        body["@odata.count"] = total
    body["value"] = wire_rows(entity, rows, columns, level, call.root)
    if has_more and (start.left is None or start.left > wanted):
        left = None if start.left is None else start.left - wanted
        after = _Start(0, start.offset + wanted, left) if order else _Start(rows[-1]["row_id"], 0, left)
        body["@odata.nextLink"] = _next_link(entity, config, call, after)
    headers = {"Preference-Applied": applied} if applied else {}
    return json_answer(200, body, headers)


def read_count(store: Store, config: Mapping[str, Any], entity: Entity, call: Call) -> Answer:
    """Serve ``/$count``: a bare number."""
    _check_options(entity, call.query, store.schema.namespace)
    table = store.tables[entity.name]
    where = _where(store, config, entity, call)
    with store.read() as t:
        total = t.scalar(sa.select(sa.func.count()).select_from(table).where(*where))
    return Answer(200, str(total).encode(), {"Content-Type": "text/plain", "OData-Version": "4.0"})


def read_row(store: Store, config: Mapping[str, Any], entity: Entity, key: Mapping[str, Any], call: Call) -> Answer:
    """Serve one row; 404 when there is none, or when it is another company's and cross-company was not asked for."""
    _check_options(entity, call.query, store.schema.namespace)
    columns = _columns(entity, call.query, store)
    with store.read() as t:
        row = find(t, config, entity, key, call)
    return row_answer(200, entity, row, columns, call)


def row_answer(
    status: int,
    entity: Entity,
    row: Mapping[str, Any],
    columns: Sequence[Column],
    call: Call,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Make an answer that holds one row, with its etag as a header too."""
    level = call.metadata_level
    context = {} if level == "none" else {"@odata.context": f"{_context(entity, call)}/$entity"}
    shaped = wire_rows(entity, [row], columns, level, call.root)[0]
    return json_answer(status, {**context, **shaped}, {"ETag": etag_of(row), **(headers or {})})


def find(
    t: Transaction, config: Mapping[str, Any], entity: Entity, key: Mapping[str, Any], call: Call
) -> dict[str, Any]:
    """Find the row of a key URL.

    Raises:
        FnoError: 404 when there is none within the companies that the request may see.
    """
    is_hidden = (
        "dataAreaId" in key
        and not call.is_cross_company
        and str(key["dataAreaId"]).casefold() != str(config["company"]).casefold()
    )
    limits = _limits(t.store, entity)
    row = None if is_hidden else t.get(entity.name, key)
    if row and limits:
        table = t.table(entity.name)
        row = row if t.rows(sa.select(table.c.row_id).where(table.c.row_id == row["row_id"], *limits)) else None
    if row is None:
        raise not_found()
    return row


def _limits(store: Store, entity: Entity) -> list[sa.ColumnElement[bool]]:
    """What an entity itself leaves out: invoices of customers that did not come from Sales."""
    if entity.name not in (INVOICES, INVOICE_LINES):
        return []
    customers, headers = store.tables["CustomersV2"], store.tables[INVOICES]
    of_customer = (
        customers.c.dataAreaId == headers.c.dataAreaId,
        customers.c.CustomerAccount == headers.c.InvoiceCustomerAccountNumber,
        customers.c.IsExternallyMaintained == "Yes",
    )
    if entity.name == INVOICES:
        return [sa.exists(sa.select(customers.c.row_id).where(*of_customer).correlate(headers))]
    lines = store.tables[INVOICE_LINES]
    same = [lines.c[name] == headers.c[name] for name in store.schema.entities[INVOICES].key]
    joined = sa.select(headers.c.row_id).select_from(headers.join(customers, sa.and_(*of_customer))).where(*same)
    return [sa.exists(joined.correlate(lines))]


class _Start:
    """Where a page begins: after a row in the order of RecIds, or at an offset; and how many rows $top leaves."""

    def __init__(self, row_id: int, offset: int, left: int | None) -> None:
        self.row_id, self.offset, self.left = row_id, offset, left

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "_Start":
        if "$skiptoken" not in query:
            return cls(0, _whole(query, "$skip") or 0, _whole(query, "$top"))
        try:
            row_id, offset, left = base64.urlsafe_b64decode(query["$skiptoken"]).decode("ascii").split("/")
            return cls(int(row_id), int(offset), int(left) if left else None)
        except (binascii.Error, ValueError) as error:
            raise bad_query("The skip token is not one of this service.") from error

    def token(self) -> str:
        text = f"{self.row_id}/{self.offset}/{'' if self.left is None else self.left}"
        return base64.urlsafe_b64encode(text.encode()).decode()


def _whole(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise bad_query(f"Invalid value '{text}' for {name} query option found. A non-negative integer is expected.")
    return int(text)


def _check_options(entity: Entity, query: Mapping[str, str], namespace: str) -> None:
    unknown = [name for name in query if name.startswith("$") and name not in _OPTIONS]
    if unknown:
        raise bad_query(f"The query option '{unknown[0]}' is not supported.")
    if query.get("$count", "false").casefold() not in ("true", "false"):
        raise bad_query(f"Invalid value '{query['$count']}' for $count query option found; true or false is expected.")
    if "$expand" in query:
        try:
            expands = parse_expand(query["$expand"])
        except QueryError as error:
            raise bad_query(str(error)) from error
        if any("$expand" in one.options or "/" in one.nav for one in expands):
            raise bad_query("The $expand query option is limited to one level.")
        # None of the entities that are served here leads to another one.
        raise bad_query(f"Could not find a property named '{expands[0].nav}' on type '{namespace}.{entity.type}'.")


def _columns(entity: Entity, query: Mapping[str, str], store: Store) -> list[Column]:
    try:
        return parse_select(query.get("$select"), entity, store.schema.namespace)
    except QueryError as error:
        raise bad_query(str(error)) from error


def _shown(table: sa.Table, entity: Entity, columns: Sequence[Column]) -> list[Any]:
    names = dict.fromkeys(["row_id", "row_version", *entity.key, *(column.name for column in columns)])
    return [table.c[name] for name in names]


def _where(store: Store, config: Mapping[str, Any], entity: Entity, call: Call) -> list[sa.ColumnElement[bool]]:
    clauses: list[sa.ColumnElement[bool]] = []
    if "dataAreaId" in entity.key and not call.is_cross_company:
        clauses.append(store.tables[entity.name].c.dataAreaId == config["company"])
    clauses += _limits(store, entity)
    text = call.query.get("$filter")
    if text is not None:
        for found in _ENUM_OR_TEXT.finditer(text):
            if found["enum"]:
                _check_enum(store, found["enum"], found["member"])
        text = _LITERAL_OR_DIVBY.sub(lambda m: "div" if m[0] == "divby" else m[0], text)
        try:
            clauses.append(filter_clause(text, entity, store, FNO))
        except QueryError as error:
            raise bad_query(str(error)) from error
    return clauses


def _check_enum(store: Store, name: str, member: str) -> None:
    namespace, _, enum = name.rpartition(".")
    members = store.schema.enums.get(enum)
    if namespace != store.schema.namespace or members is None or member not in members:
        raise bad_query(f"The string '{name}'{member}'' is not a valid enumeration type constant.")


def _order(store: Store, entity: Entity, query: Mapping[str, str]) -> list[sa.ColumnElement[Any]]:
    try:
        return order_clauses(query["$orderby"], entity, store, FNO) if query.get("$orderby", "").strip() else []
    except QueryError as error:
        raise bad_query(str(error)) from error


def _is_counted(call: Call) -> bool:
    return call.query.get("$count", "").casefold() == "true"


def _page_size(config: Mapping[str, Any], call: Call) -> tuple[int, str]:
    limit = int(config.get("page_rows") or MAX_PAGE)
    found = re.search(r"\b(?:odata\.)?maxpagesize\s*=\s*(\d+)", call.headers.get("prefer", ""))
    if not found or int(found[1]) == 0:
        return limit, ""
    size = min(int(found[1]), limit)
    return size, f"odata.maxpagesize={size}"


def _context(entity: Entity, call: Call) -> str:
    select = call.query.get("$select", "").strip()
    names = ",".join(part.strip() for part in select.split(",")) if select and select != "*" else ""
    return f"{call.root}/data/$metadata#{entity.name}" + (f"({names})" if names else "")


def _next_link(entity: Entity, config: Mapping[str, Any], call: Call, after: _Start) -> str:
    kept = {name: value for name, value in call.query.items() if name not in ("$skip", "$top", "$skiptoken")}
    pairs = [f"{quote(name, safe='$')}={quote(value, safe='')}" for name, value in kept.items()]
    host = str(config.get("next_link_host") or call.root).rstrip("/")
    return f"{host}/data/{entity.name}?{'&'.join([*pairs, f'$skiptoken={quote(after.token())}'])}"
