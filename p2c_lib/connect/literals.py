"""Values and keys as OData text, and requests' queries and bodies: nothing here is sent before it is quoted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson

from p2c_lib.connect.metadata import Entity
from p2c_lib.errors import SchemaError

__all__ = ["body_json", "key_path", "literal", "query_string"]

_MEMBER = re.compile(r"[A-Za-z_]\w*\Z")
_PLAIN = "$(),:/'*@!"
"""Characters that mean something in a query option's text, and nothing to the URL around it."""
_INTEGERS = {
    "Edm.Byte": range(256),
    "Edm.SByte": range(-(2**7), 2**7),
    "Edm.Int16": range(-(2**15), 2**15),
    "Edm.Int32": range(-(2**31), 2**31),
    "Edm.Int64": range(-(2**63), 2**63),
}


def literal(value: Any, edm_type: str) -> str:
    """Write a value as an OData literal, not yet percent-encoded (`query_string` and `key_path` do that).

    Args:
        value: The value, or None for ``null``; text is accepted for every type and checked.
        edm_type: ``Edm.String``, ``Edm.Guid``, ``Edm.Decimal`` ... or the full name of an enum type.

    Returns:
        The literal: ``'O''Brien'``, ``0000...`` (a Guid, unquoted), ``Microsoft.Dynamics.DataEntities.NoYes'Yes'``.

    Raises:
        SchemaError: The value is none of that type, so that it cannot smuggle in other query text.
    """
    if value is None:
        return "null"
    try:
        return _literal(value, edm_type)
    except (ValueError, TypeError, InvalidOperation):
        raise SchemaError(f"{value!r} is not a value of {edm_type}") from None


def _literal(value: Any, edm_type: str) -> str:
    if edm_type == "Edm.String":
        return "'" + str(value).replace("'", "''") + "'"
    if edm_type == "Edm.Guid":
        return str(value if isinstance(value, UUID) else UUID(str(value)))
    if edm_type == "Edm.Boolean":
        text = str(value).lower()
        if text not in ("true", "false"):
            raise ValueError(text)
        return text
    if edm_type in _INTEGERS:
        if isinstance(value, (bool, float)):
            raise TypeError(edm_type)
        number = int(value)
        if number != Decimal(str(value)) or number not in _INTEGERS[edm_type]:
            raise ValueError(value)
        return str(number)
    if edm_type in ("Edm.Decimal", "Edm.Double", "Edm.Single"):
        if isinstance(value, bool):
            raise TypeError(edm_type)
        amount = Decimal(str(value))
        if not amount.is_finite():
            raise ValueError(value)
        return format(amount, "f")
    if edm_type == "Edm.Date":
        if isinstance(value, datetime):
            raise TypeError("a moment is no date")
        return (value if isinstance(value, date) else date.fromisoformat(str(value))).isoformat()
    if edm_type == "Edm.DateTimeOffset":
        return _moment(value)
    if edm_type.startswith(("Edm.", "Collection(")):
        raise TypeError(edm_type)
    if not _MEMBER.match(str(value)):  # what is left is an enum
        raise ValueError(value)
    return f"{edm_type}'{value}'"


def _moment(value: Any) -> str:
    """A moment in UTC; a plain date is noon of that day, as F&O writes its dates."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value) if "T" in value or " " in value else date.fromisoformat(value)
    if not isinstance(value, datetime):
        return f"{value.isoformat()}T12:00:00Z"
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def key_path(entity: Entity, key: Mapping[str, Any]) -> str:
    """Write the address of one row, percent-encoded.

    Args:
        entity: Its set.
        key: Column to value; all columns of the entity's key, or of one of its alternate keys.

    Returns:
        ``accounts(0000...)`` for one Guid, else ``CustomersV2(dataAreaId='usmf',CustomerAccount='A''B')``.

    Raises:
        SchemaError: The columns are no key of the entity, or a value is null or ill-typed.
    """
    keys = (entity.key, *entity.alternate_keys)
    order = next((names for names in keys if set(names) == set(key)), None)
    if order is None:
        wanted = " or ".join("(" + ", ".join(names) + ")" for names in keys)
        raise SchemaError(f"{entity.name}: ({', '.join(key)}) is no key; keys are {wanted}")
    parts: list[str] = []
    for name in order:
        if key[name] is None:
            raise SchemaError(f"{entity.name}: key column {name} is null")
        column = entity.column(name)
        # A dot or slash alone would be taken for a path segment; quoted text keeps it apart.
        text = quote(literal(key[name], column.edm_type), safe="'-:")
        parts.append(text if len(order) == 1 and column.edm_type == "Edm.Guid" else f"{name}={text}")
    return f"{entity.name}({','.join(parts)})"


def query_string(params: Mapping[str, str]) -> str:
    """Write query options, percent-encoded (a space as %20, never as a plus sign).

    Args:
        params: ``{"$filter": "name eq 'A & B'"}``.

    Returns:
        ``$filter=name%20eq%20'A%20%26%20B'``, an empty text for no options.
    """
    return "&".join(f"{name}={quote(text, safe=_PLAIN)}" for name, text in params.items())


def body_json(row: Mapping[str, Any], *, noon: bool = False) -> bytes:
    """Write a JSON body; decimals keep every digit, moments are UTC.

    Args:
        row: Property to value (text, numbers, Decimal, date, datetime, None, lists and mappings of these).
        noon: Write a plain date as noon UTC of that day (F&O's form of a date).

    Returns:
        UTF-8 JSON.

    Raises:
        SchemaError: A value has no JSON form, e.g. a Decimal that is not finite.
    """
    options = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
    if noon:
        options |= orjson.OPT_PASSTHROUGH_DATETIME
    try:
        return orjson.dumps(row, default=_wire, option=options)
    except orjson.JSONEncodeError as error:
        raise SchemaError(f"cannot be written as JSON: {error.__cause__ or error}") from None


def _wire(value: Any) -> Any:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is no amount")
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, (date, datetime)):
        return _moment(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
