"""Single writes of the Dataverse service: create, update, upsert, delete, one column, one reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_body import Target, column_value, missing, parse_reference, read_body
from p2c_lib.sandbox.dataverse_core import Answer, Call, Failure, Work, json_answer
from p2c_lib.sandbox.dataverse_read import read_row, to_json
from p2c_lib.sandbox.dataverse_solution import after_write, before_create, before_update
from p2c_lib.sandbox.sales_steps import CASCADE, after_delete, after_document, before_delete, complete_document
from p2c_lib.sandbox.schema import Column, Entity
from p2c_lib.sandbox.store import DuplicateKey, new_guid

__all__ = [
    "create_row",
    "delete",
    "delete_row",
    "get_column",
    "insert_row",
    "patch",
    "post",
    "set_column",
    "set_reference",
]
__all__ += ["check_match", "update_row"]

EXISTS = "A record with matching key values already exists."
WITH_PARENT = CASCADE | {
    ("productpricelevels", "_productid_value"),
    ("productpricelevels", "_pricelevelid_value"),
    ("productpricelevels", "_uomid_value"),
}  # children that go with their parent; other lookups to a deleted row are cleared


def check_match(call: Call, row: Mapping[str, Any] | None) -> None:
    """Refuse a write whose If-Match names another version (412)."""
    tag = call.header("if-match")
    if tag is not None and tag != "*" and (row is None or tag != f'W/"{row["row_version"]}"'):
        raise Failure(
            412, "0x80060882", "The version of the existing record doesn't match the RowVersion property provided."
        )


def create_row(work: Work, entity: Entity, body: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Any:
    """Create a row from a JSON body.

    Args:
        work: The work at hand.
        entity: Its entity set.
        body: The JSON object.
        given: Column values from a URL key; those of the body win.

    Returns:
        The row as stored.

    Raises:
        Failure: The body is wrong, a plug-in refuses, or a key is taken (412).
    """
    row = dict(given or {}) | read_body(work, entity, body, "create")
    for nav in [name for name in row if name in entity.lookups]:
        column, target_type = entity.lookups[nav]
        child = create_row(work, work.schema.by_type[target_type], row.pop(nav))
        row[column.name] = child[work.schema.by_type[target_type].id]
        if column.is_polymorphic:
            row[column.type_column] = target_type
    row[entity.id] = row.get(entity.id) or new_guid()
    return insert_row(work, entity, row)


def insert_row(work: Work, entity: Entity, row: dict[str, Any]) -> dict[str, Any]:
    """Create a row from its columns, with the steps around it.

    Returns:
        The row as stored.

    Raises:
        Failure: A column is missing, a rule or plug-in refuses, or a key is taken (412).
    """
    row = complete_document(work, entity, None, row)
    for column in entity.given:
        if row.get(column.name, column.default) is None:
            raise Failure(
                400,
                "0x80040203",
                f"{entity.schema_name}: the required attribute '{column.logical}' is missing.",
            )
    row = before_create(work, entity, row)
    _check_account_number(work, entity, row, None)
    try:
        stored = work.t.insert(entity.name, row)
    except DuplicateKey as error:
        raise Failure(412, "0x80040237", EXISTS) from error
    after_write(work, entity, stored, None)
    after_document(work, entity, stored, None)
    return stored


def update_row(work: Work, entity: Entity, row: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Update a row from a JSON body; deep updates are refused.

    Raises:
        Failure: The body is wrong, a plug-in refuses, or a key is taken (412).
    """
    changes = read_body(work, entity, body, "update")
    nested = [name for name in changes if name in entity.lookups]
    if nested:
        raise Failure(400, "0x80048d19", f"Deep update is not supported: '{nested[0]}'.")
    change_row(work, entity, row, changes)


def change_row(work: Work, entity: Entity, row: Mapping[str, Any], changes: dict[str, Any]) -> None:
    """Apply checked changes to a row, with the steps around it."""
    changes = before_update(work, entity, row, complete_document(work, entity, row, changes))
    _check_account_number(work, entity, changes, row)
    try:
        work.t.update(entity.name, int(row["row_id"]), changes)
    except DuplicateKey as error:
        raise Failure(412, "0x80040237", EXISTS) from error
    after_write(work, entity, {**row, **changes}, changes)
    after_document(work, entity, {**row, **changes}, row)


def _check_account_number(work: Work, entity: Entity, row: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
    """With the alternate key of older solutions an account number must not repeat."""
    number = row.get("accountnumber")
    if entity.type != "account" or not work.config.account_number_key or number is None:
        return
    other = work.t.get(entity.name, {"accountnumber": number})
    if other is not None and (old is None or other["row_id"] != old["row_id"]):
        raise Failure(412, "0x80040237", EXISTS)


def delete_row(work: Work, entity: Entity, row: Mapping[str, Any]) -> None:
    """Delete a row; its price list items or lines go too, other lookups to it are cleared.

    Raises:
        Failure: It must stay.
    """
    before_delete(work, entity, row)
    for other in work.schema.entities.values():
        table = work.store.tables[other.name]
        for column in other.columns.values():
            if entity.type not in dict(column.binds) or column.name in ("_createdby_value", "_modifiedby_value"):
                continue
            where = table.c[column.name] == row[entity.id]
            for row_id in [found[0] for found in work.t.connection.execute(sa.select(table.c.row_id).where(where))]:
                if (other.name, column.name) in WITH_PARENT:
                    work.t.delete(other.name, row_id)
                else:
                    cleared = {column.name: None}
                    if column.is_polymorphic:
                        cleared[column.type_column] = None
                    work.t.update(other.name, row_id, cleared)
    work.t.delete(entity.name, int(row["row_id"]))
    after_delete(work, entity, row)


def _entity_id(call: Call, entity: Entity, row: Mapping[str, Any], key: str | None = None) -> dict[str, str]:
    url = f"{call.root}/{entity.name}({key or row[entity.id]})"
    return {"OData-EntityId": quote(url, safe=":/()=',-@$"), "Location": quote(url, safe=":/()=',-@$")}


def post(work: Work, entity: Entity, call: Call) -> Answer:
    """POST of an entity set: create."""
    stored = create_row(work, entity, call.json())
    content_id = call.headers.get("content-id")
    if content_id:
        work.content_ids[f"${content_id}"] = f"{entity.name}({stored[entity.id]})"
    headers = _entity_id(call, entity, stored)
    if call.prefer.representation:
        answer = read_row(work, entity, stored["row_id"], call, 201)
        return Answer(201, answer.body, {**answer.headers, **headers})
    return Answer(204, b"", headers)


def patch(work: Work, target: Target, key: str, call: Call) -> Answer:
    """PATCH of a row: update, or create where there is none (upsert), as If-Match and If-None-Match allow.

    Args:
        work: The work at hand.
        target: The row of the URL.
        key: The URL's key as it was written; OData-EntityId repeats it.
        call: The request.
    """
    entity, body = target.entity, call.json()
    is_create_only = call.header("if-none-match") == "*"
    if target.row is None:
        if call.header("if-match") is not None:
            raise missing(target)
        stored = create_row(work, entity, body, target.key)
        row_id, status = int(stored["row_id"]), 201
    else:
        if is_create_only:
            raise Failure(412, "0x80040237", EXISTS)
        check_match(call, target.row)
        body = {name: value for name, value in body.items() if name not in target.key and name != entity.id}
        update_row(work, entity, target.row, body)
        stored, row_id, status = target.row, int(target.row["row_id"]), 200
    headers = _entity_id(call, entity, stored, key)
    if call.prefer.representation:
        answer = read_row(work, entity, row_id, call, status)
        return Answer(status, answer.body, {**answer.headers, **headers})
    return Answer(204, b"", headers)


def delete(work: Work, target: Target, call: Call) -> Answer:
    """DELETE of a row."""
    row = target.found()
    check_match(call, row)
    delete_row(work, target.entity, row)
    return Answer(204)


def column_of(entity: Entity, name: str) -> Column:
    """A column named in a URL; unknown: 404."""
    if name not in entity.columns:
        raise Failure(404, "0x80060888", f"Resource not found for the segment '{name}'.")
    return entity.columns[name]


def get_column(target: Target, name: str, call: Call, *, is_raw: bool) -> Answer:
    """GET of one column, as JSON or (``/$value``) as text; null: 204."""
    column, row = column_of(target.entity, name), target.found()
    value = row["row_version"] if name == "versionnumber" else row[name]
    if value is None:
        return Answer(204)
    if is_raw:
        return Answer(200, str(value).encode(), {"Content-Type": "text/plain"})
    context = f"{call.root}/$metadata#{target.entity.name}({row[target.entity.id]})/{name}"
    return json_answer({"@odata.context": context, "value": to_json(column, value)})


def set_column(work: Work, target: Target, name: str, call: Call) -> Answer:
    """PUT (body ``{"value": ..}``) or DELETE of one column."""
    column, row = column_of(target.entity, name), target.found()
    check_match(call, row)
    if column.kind == "lookup" or not column.update:
        raise Failure(400, "0x80048d19", f"The property '{name}' cannot be set.")
    value = call.json().get("value") if call.method == "PUT" else None
    change_row(work, target.entity, row, {name: column_value(target.entity, column, value)})
    return Answer(204)


def set_reference(work: Work, target: Target, nav: str, call: Call) -> Answer:
    """PUT (body ``{"@odata.id": ..}``) or DELETE of ``set(id)/nav/$ref``."""
    row = target.found()
    check_match(call, row)
    value = call.json().get("@odata.id") if call.method == "PUT" else None
    if value is not None:
        parse_reference(work, str(value)).found()
    update_row(work, target.entity, row, {f"{nav}@odata.bind": value})
    return Answer(204)
