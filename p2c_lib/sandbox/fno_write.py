"""Writing in Finance and Operations: POST, PATCH, PUT and DELETE inside a transaction of the caller."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from json import JSONDecodeError, loads
from typing import Any

from p2c_lib.sandbox.fno_documents import (
    customer_changed,
    delete_document,
    document_changes,
    document_infolog,
    fill_document,
)
from p2c_lib.sandbox.fno_kinds import BY_SET, ORDER, header_key, mark_stale
from p2c_lib.sandbox.fno_read import find, row_answer
from p2c_lib.sandbox.fno_rules import UNCUT, add_party, delete_infolog, fill_defaults, infolog
from p2c_lib.sandbox.fno_wire import NAMESPACE, Answer, Call, FnoError, bad_body, etag_of, key_url, write_failure
from p2c_lib.sandbox.orders_state import settle
from p2c_lib.sandbox.schema import Column, Entity, Schema
from p2c_lib.sandbox.store import DuplicateKey, Transaction, decimal_text

_INT_BITS = {"int": 31, "long": 63}


def create(t: Transaction, config: Mapping[str, Any], entity: Entity, call: Call) -> Answer:
    """Add a row.

    Args:
        t: The transaction, which the caller ends.
        config: Settings of the sandbox.
        entity: The set.
        call: The request.

    Returns:
        201 with the whole row, its etag and its canonical URL.

    Raises:
        FnoError: The body cannot be read, or X++ refuses the row.
    """
    stored = add_row(t, config, entity, _values(t.store.schema, entity, call.body))
    location = f"{call.root}/data/{key_url(entity, stored)}"
    plain = Call(call.method, call.path, {}, call.headers, b"", call.root)
    return row_answer(201, entity, stored, list(entity.columns.values()), plain, {"Location": location})


def add_row(t: Transaction, config: Mapping[str, Any], entity: Entity, given: Mapping[str, Any]) -> dict[str, Any]:
    """Do what X++ does for a new row: defaults, number sequences, checks, the row itself and what hangs on it.

    Args:
        t: The transaction, which the caller ends.
        config: Settings of the sandbox.
        entity: The set.
        given: Stored values by column, only those that were sent.

    Returns:
        The row as it is stored.

    Raises:
        FnoError: X++ refuses the row; nothing of it was written.
    """
    status = int(config.get("write_failure_status") or 400)
    locked = [name for name in given if not entity.columns[name].create]
    if locked:
        raise write_failure(
            entity, "Write", [f"Error: Field '{locked[0]}' cannot be set when a row is created"], status
        )
    row: dict[str, Any] = {**{name: column.default for name, column in entity.columns.items()}, **given}
    if "dataAreaId" in entity.key:
        row["dataAreaId"] = (row["dataAreaId"] or str(config["company"])).lower()
    is_document = entity.name in BY_SET
    if is_document:
        _cut(entity, row)  # the number first: it finds the header
        fill_document(t, entity, row, given)
    else:
        fill_defaults(t, entity, row, given)
    _cut(entity, row)
    entries = infolog(t, entity, row, set(row))
    if is_document:
        entries += document_infolog(t, entity, row, None)
    if not entries and t.has(entity.name, {name: row[name] for name in entity.key}):
        entries = ["Error: The record already exists"]
    if entries:
        raise write_failure(entity, "Write", entries, status)
    try:
        stored = t.insert(entity.name, row)
    except DuplicateKey as error:
        raise write_failure(entity, "Write", ["Error: The record already exists"], status) from error
    add_party(t, entity, stored)
    if is_document:
        _after(t, entity, stored)
    return stored


def update(t: Transaction, config: Mapping[str, Any], entity: Entity, key: Mapping[str, Any], call: Call) -> Answer:
    """Change the fields that were sent (PATCH and PUT alike).

    Args:
        t: The transaction, which the caller ends.
        config: Settings of the sandbox.
        entity: The set.
        key: Key of the row.
        call: The request.

    Returns:
        204 with the new etag.

    Raises:
        FnoError: 404 when there is no such row, 412 when it has another etag, 400 when X++ refuses.
    """
    given = _values(t.store.schema, entity, call.body)
    row = find(t, config, entity, key, call)
    _match(row, call)
    version = change_row(t, config, entity, row, given)
    return Answer(204, b"", {"ETag": etag_of({**row, "row_version": version}), "OData-Version": "4.0"})


def change_row(
    t: Transaction, config: Mapping[str, Any], entity: Entity, row: Mapping[str, Any], given: Mapping[str, Any]
) -> int:
    """Do what X++ does for a row that is changed.

    Args:
        t: The transaction, which the caller ends.
        config: Settings of the sandbox.
        entity: The set.
        row: The row as it is stored.
        given: Stored values by column, only those that were sent.

    Returns:
        Its version afterwards.

    Raises:
        FnoError: X++ refuses the change; nothing of it was written.
    """
    status = int(config.get("write_failure_status") or 400)
    for name, value in given.items():
        if name in entity.key and str(value).casefold() != str(row[name]).casefold():
            raise write_failure(
                entity, "Write", [f"Error: Field '{name}' is part of the key and cannot change"], status
            )
        if not entity.columns[name].update and value != row[name]:
            raise write_failure(entity, "Write", [f"Error: Field '{name}' does not allow edits"], status)
    changes = {name: value for name, value in given.items() if name not in entity.key}
    _cut(entity, changes)
    is_document = entity.name in BY_SET and bool(changes)
    if is_document:
        changes |= document_changes(t, entity, {**row, **changes}, given)
    whole = {**row, **changes}
    entries = infolog(t, entity, whole, set(changes))
    if is_document:
        entries += document_infolog(t, entity, whole, row)
    if entries:
        raise write_failure(entity, "Write", entries, status)
    version = t.update(entity.name, row["row_id"], changes) if changes else row["row_version"]
    if is_document:
        _after(t, entity, whole)
    elif entity.name == "CustomersV2":
        customer_changed(t, row, changes)
    return version


def delete(t: Transaction, config: Mapping[str, Any], entity: Entity, key: Mapping[str, Any], call: Call) -> Answer:
    """Remove a row: 204; 404 and 412 as for updates, 400 when other rows depend on it."""
    row = find(t, config, entity, key, call)
    _match(row, call)
    is_document = entity.name in BY_SET
    entries = delete_infolog(t, entity, row) or (delete_document(t, entity, row) if is_document else [])
    if entries:
        raise write_failure(entity, "Delete", entries, int(config.get("write_failure_status") or 400))
    t.delete(entity.name, row["row_id"])
    if is_document:
        _after(t, entity, row)
    return Answer(204, b"", {"OData-Version": "4.0"})


def _after(t: Transaction, entity: Entity, row: Mapping[str, Any]) -> None:
    mark_stale(t, entity, row)
    if entity.name == ORDER.lines:
        settle(t, header_key(ORDER, row))


def _match(row: Mapping[str, Any], call: Call) -> None:
    wanted = call.headers.get("if-match", "*").strip()
    # Weak and strong forms of one text are equal here; the text alone says which version is meant.
    if wanted != "*" and etag_of(row).removeprefix("W/") not in [
        one.strip().removeprefix("W/") for one in wanted.split(",")
    ]:
        raise FnoError(
            412,
            "An error has occurred.",
            "The request has been rejected because If-Match does not match the current version of the row.",
            "Microsoft.Dynamics.Platform.Integration.Services.OData.ODataConcurrencyException",
        )


def _cut(entity: Entity, row: dict[str, Any]) -> None:
    # X++ strings have a fixed size: what is longer is cut without a word.
    for name, length in entity.texts.items():
        if len(row.get(name, "")) > length and not name.endswith(UNCUT):
            row[name] = row[name][:length]


def _values(schema: Schema, entity: Entity, body: bytes) -> dict[str, Any]:
    """Read a body into stored values; annotations are left aside."""
    try:
        raw = loads(body or b"", parse_float=Decimal)
    except (JSONDecodeError, UnicodeDecodeError) as error:
        raise bad_body(f"The payload is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise bad_body("The payload must be one JSON object.")
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if "@" in name:
            continue
        column = entity.columns.get(name)
        if column is None:
            raise bad_body(
                f"The property '{name}' does not exist on type '{NAMESPACE}.{entity.type}'. Make sure to only use "
                "property names that are defined by the type."
            )
        values[name] = stored_value(schema, column, value)
    return values


def stored_value(schema: Schema, column: Column, value: Any) -> Any:
    """Turn a value as JSON has it into the store's own form.

    Raises:
        FnoError: It is not of the column's type, or null where that is not allowed.
    """
    if value is None:
        if column.nullable:
            return column.default
        raise bad_body(
            f"A null value was found for the property named '{column.name}', which has the expected type "
            f"'{column.edm_type}[Nullable=False]'. The expected type does not allow null values."
        )
    if column.kind == "string" and isinstance(value, str):
        return value
    if column.kind == "enum" and isinstance(value, str) and value in schema.enums[column.enum or ""]:
        return value
    if column.kind in _INT_BITS and isinstance(value, int) and not isinstance(value, bool):
        if -(2 ** _INT_BITS[column.kind]) <= value < 2 ** _INT_BITS[column.kind]:
            return value
    elif column.is_decimal and isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
        if number.is_finite() and abs(number) < Decimal(10) ** 26:
            return decimal_text(number)
    elif column.kind == "datetime" and isinstance(value, str):
        moment = _moment(value)
        if moment is not None:
            return moment.strftime("%Y-%m-%dT12:00:00Z" if column.format == "DateOnly" else "%Y-%m-%dT%H:%M:%SZ")
    kind = f"{NAMESPACE}.{column.enum}" if column.kind == "enum" else column.edm_type
    raise bad_body(f"Cannot convert the literal '{value}' to the expected type '{kind}' of property '{column.name}'.")


def _moment(text: str) -> datetime | None:
    if not re.match(r"\d{4}-\d{2}-\d{2}(T|$)", text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
