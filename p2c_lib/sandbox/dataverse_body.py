"""From the JSON of a write to the columns of a row: names, types, lengths, ranges, options and lookups checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from p2c_lib.sandbox.dataverse_core import Failure, Work
from p2c_lib.sandbox.grammar import GUID, instant_text, parse_key
from p2c_lib.sandbox.schema import CHOICE_KINDS, Column, Entity

__all__ = ["Target", "find_key", "missing", "parse_reference", "read_body"]

MONEY_LIMIT = Decimal("922337203685477")
DECIMAL_LIMIT = Decimal("100000000000")
INT_LIMITS = (-2147483648, 2147483647)


class Target:
    """A row named by a key: its entity, the key given, and the row itself (None: there is none)."""

    def __init__(self, entity: Entity, key: Mapping[str, Any], row: dict[str, Any] | None) -> None:
        """Keep what was asked for and what was found."""
        self.entity, self.key, self.row = entity, dict(key), row

    @property
    def by_id(self) -> bool:
        """Whether the key is the primary id."""
        return set(self.key) == {self.entity.id}

    def found(self) -> dict[str, Any]:
        """The row; none: 404 as the service puts it."""
        if self.row is None:
            raise missing(self)
        return self.row


def missing(target: Target) -> Failure:
    """There is no such row."""
    if target.by_id:
        return Failure(
            404, "0x80040217", f"{target.entity.type} With Id = {target.key[target.entity.id]} Does Not Exist"
        )
    return Failure(
        404, "0x80060891", f"A record with the specified key values does not exist in {target.entity.type} entity"
    )


def find_key(work: Work, entity: Entity, text: str) -> Target:
    """Find the row of a URL key (the text in parentheses).

    Raises:
        Failure: The columns are neither the primary id nor a declared alternate key.
    """
    key = parse_key(text, entity)
    declared = [entity.key, *work.keys(entity).values()]
    if key is None or not any(set(key) == set(columns) for columns in declared):
        raise Failure(
            400,
            "0x80060888",
            f"The key in the request URI is not valid for resource '{work.schema.namespace}.{entity.type}'. Ensure "
            "that the names and number of key properties match the declared or alternate key properties for the "
            f"resource '{work.schema.namespace}.{entity.type}'.",
        )
    return Target(entity, key, work.t.get(entity.name, key))


def parse_reference(work: Work, text: str) -> Target:
    """The row that an ``@odata.bind`` or ``@odata.id`` value names: ``/accounts(<guid>)``, absolute, or ``$1``."""
    path = re.sub(r"^https?://[^/]+", "", text.strip())
    path = re.sub(r"^/?api/data/v\d+\.\d+/", "", path).lstrip("/")
    if path.startswith("$"):
        if path not in work.content_ids:
            raise Failure(400, "0x80048d19", f"The Content-ID reference '{path}' is not known in this change set.")
        path = work.content_ids[path]
    match = re.fullmatch(r"(\w+)\((.*)\)", path, re.DOTALL)
    if match is None or match[1] not in work.schema.entities:
        raise Failure(400, "0x80048d19", f"The URI '{text}' is not a reference to a record.")
    return find_key(work, work.schema.entities[match[1]], match[2])


def read_body(work: Work, entity: Entity, body: Mapping[str, Any], verb: str) -> dict[str, Any]:
    """Read the columns to write.

    Args:
        work: The work at hand.
        entity: What is written.
        body: The JSON object.
        verb: ``"create"`` or ``"update"``: columns not valid for it are passed over without a word.

    Returns:
        Store column to value in the store's form; a row given for a single-valued navigation property (deep insert)
        stands under the name of that property.

    Raises:
        Failure: A name, type, length, range, option or reference is wrong.
    """
    changes: dict[str, Any] = {}
    for name, value in body.items():
        nav, at, annotation = name.partition("@")
        if annotation == "odata.bind":
            _bind(work, entity, nav, value, verb, changes)
        elif at:
            continue
        elif name in entity.lookups and isinstance(value, dict):
            changes[name] = value
        else:
            column = entity.columns.get(name)
            if column is None:
                raise _undeclared(work, entity, name)
            if column.kind == "lookup":
                raise Failure(
                    400,
                    "0x80048d19",
                    "CRM do not support direct update of Entity Reference properties, Use Navigation properties "
                    f"instead. ('{name}')",
                )
            if column.create if verb == "create" else column.update:
                changes[name] = column_value(entity, column, value)
    return changes


def _undeclared(work: Work, entity: Entity, name: str) -> Failure:
    return Failure(
        400,
        "0x80048d19",
        f"Error identified in Payload provided by the user for Entity :'{entity.name}', InnerException : The property "
        f"'{name}' does not exist on type '{work.schema.namespace}.{entity.type}'. Make sure to only use property "
        "names that are defined by the type.",
    )


def _bind(work: Work, entity: Entity, nav: str, value: Any, verb: str, changes: dict[str, Any]) -> None:
    if nav not in entity.lookups:
        raise Failure(
            400,
            "0x80048d19",
            f"Error identified in Payload provided by the user for Entity :'{entity.name}', InnerException : An "
            f"undeclared property '{nav}' which only has property annotations in the payload but no property value was "
            "found in the payload. In OData, only declared navigation properties and declared named streams can be "
            "represented as properties without values.",
        )
    column, target_type = entity.lookups[nav]
    if not (column.create if verb == "create" else column.update):
        return
    if value is None:
        if column.required == "system":
            raise _cannot_be_null(column)
        changes[column.name] = None
        if column.is_polymorphic:
            changes[column.type_column] = None
        return
    if not isinstance(value, str):
        raise _wrong_type(column, value, "Edm.String")
    target = parse_reference(work, value)
    if target.entity.type != target_type:
        raise Failure(
            400,
            "0x80048d19",
            f"The navigation property '{nav}' takes a '{target_type}', not a '{target.entity.type}'.",
        )
    changes[column.name] = target.found()[target.entity.id]
    if column.is_polymorphic:
        changes[column.type_column] = target_type


def _cannot_be_null(column: Column) -> Failure:
    return Failure(400, "0x80040203", f"Attribute '{column.logical}' cannot be set to NULL")


def _wrong_type(column: Column, value: Any, expected: str) -> Failure:
    shown = value if isinstance(value, str) else repr(value)
    return Failure(
        400,
        "0x80048d19",
        "Error identified in Payload provided by the user, InnerException : Cannot convert the literal "
        f"'{str(shown)[:100]}' to the expected type '{expected}'. (property '{column.name}')",
    )


def column_value(entity: Entity, column: Column, value: Any) -> Any:
    """A JSON value in the store's form for `column`.

    Raises:
        Failure: Its type, length, range or option is wrong.
    """
    if value is None or (value == "" and column.kind in ("string", "memo")):
        if column.required == "system" and column.kind not in CHOICE_KINDS:
            raise _cannot_be_null(column)
        return None
    if column.kind in ("string", "memo"):
        return _text(entity, column, value)
    if column.is_decimal:
        return _decimal(entity, column, value)
    if column.kind == "boolean":
        if not isinstance(value, bool):
            raise _wrong_type(column, value, "Edm.Boolean")
        return int(value)
    if column.edm_type in ("Edm.Int32", "Edm.Int64"):
        return _whole(entity, column, value)
    if not isinstance(value, str):
        raise _wrong_type(column, value, column.edm_type)
    if column.kind == "guid":
        if not GUID.fullmatch(value):
            raise _wrong_type(column, value, "Edm.Guid")
        return value.lower()
    try:
        return instant_text(value) if column.kind == "datetime" else date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise _wrong_type(column, value, column.edm_type) from error


def _text(entity: Entity, column: Column, value: Any) -> str:
    if not isinstance(value, str) or (not value.isprintable() and any("\ud800" <= char <= "\udfff" for char in value)):
        raise _wrong_type(column, ascii(value), "Edm.String")  # half a surrogate pair is no text
    if column.length is not None and len(value) > column.length:
        raise Failure(
            400,
            "0x80044331",
            f"A validation error occurred. The length of the '{column.logical}' attribute of the '{entity.type}' "
            f"entity exceeded the maximum allowed length of '{column.length}'.",
        )
    return value


def _decimal(entity: Entity, column: Column, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _wrong_type(column, value, "Edm.Decimal")
    number = Decimal(value)
    limit = MONEY_LIMIT if column.kind == "money" else DECIMAL_LIMIT
    if abs(number) > limit:
        raise _out_of_range(entity, column, value, f"{-limit}..{limit}", "0x80044330")
    if column.kind == "decimal":  # money is rounded by its currency, when that is known
        number = number.quantize(Decimal(1).scaleb(-(column.precision or 0)), rounding=ROUND_HALF_UP)
    return f"{number:f}"


def _whole(entity: Entity, column: Column, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(column, value, column.edm_type)
    if column.kind in CHOICE_KINDS:
        if value not in column.options:
            raise Failure(
                400,
                "0x8004431a",
                f"A validation error occurred. The value {value} of '{column.logical}' on record of type "
                f"'{entity.type}' is outside the valid range. Accepted Values: "
                f"{','.join(map(str, column.options))}",
            )
        return value
    low = column.minimum if column.minimum is not None else INT_LIMITS[0]
    high = column.maximum if column.maximum is not None else INT_LIMITS[1]
    if not low <= value <= high:
        raise _out_of_range(entity, column, value, f"{low}..{high}", "0x8004432f")
    return value


def _out_of_range(entity: Entity, column: Column, value: Any, accepted: str, code: str) -> Failure:
    return Failure(
        400,
        code,
        f"A validation error occurred. The value {value} of '{column.logical}' on record of type '{entity.type}' is "
        f"outside the valid range. Accepted Values: {accepted}",
    )
