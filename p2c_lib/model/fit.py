"""Whether a task fits the live systems: its columns, their types, lengths and the ones that must be filled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from p2c_lib.model.overlays import suggest
from p2c_lib.model.parts import FieldMap, Task
from p2c_lib.model.values import Condition

if TYPE_CHECKING:
    from p2c_lib.connect.metadata import Column, Entity

Constant = bool | int | str | Decimal | date | datetime
Kind = Literal["text", "whole", "amount", "bool", "date", "time"]

AMOUNT_TEXT = r"^[+-]?(?:0*\d{1,26}(?:\.\d{0,12}0*)?|\.\d{1,12}0*)$"
"""A text that is an amount of 26 digits and 12 decimals, exactly: more would be rounded without a word."""

_WHOLE_BITS = {"Edm.Byte": 8, "Edm.SByte": 7, "Edm.Int16": 15, "Edm.Int32": 31, "Edm.Int64": 63}
_COPIES = ("copy", "default_if_blank", "transform")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_GOES_INTO: dict[Kind, frozenset[Kind]] = {
    "text": frozenset({"text", "whole", "amount", "bool", "date", "time"}),  # read value by value, when mapped
    "whole": frozenset({"text", "whole", "amount", "bool"}),
    "amount": frozenset({"text", "whole", "amount"}),
    "bool": frozenset({"text", "bool", "whole"}),
    "date": frozenset({"text", "date", "time"}),
    "time": frozenset({"text", "date", "time"}),
}


def kind_of(edm_type: str) -> Kind:
    """What a column of an EDM type holds: text (enums and Guids too), whole, amount, bool, date or time."""
    if edm_type in _WHOLE_BITS:
        return "whole"
    kinds: dict[str, Kind] = {
        "Edm.Decimal": "amount",
        "Edm.Double": "amount",
        "Edm.Single": "amount",
        "Edm.Boolean": "bool",
        "Edm.Date": "date",
        "Edm.DateTimeOffset": "time",
    }
    return kinds.get(edm_type, "text")


def read_constant(text: str, edm_type: str) -> Constant:
    """Read a template's constant as a value of a column.

    Args:
        text: As it stands in the template.
        edm_type: Type of the destination column.

    Returns:
        The value; amounts as exact decimals, times in UTC.

    Raises:
        ValueError: The text is no such value; says what would be.
    """
    match kind_of(edm_type):
        case "text":
            return text
        case "bool":
            if text.strip().lower() not in _TRUTH:
                raise ValueError(f"'{text}' is neither true nor false")
            return _TRUTH[text.strip().lower()]
        case "whole":
            bits = _WHOLE_BITS[edm_type]
            if not re.fullmatch(r"[+-]?\d+", text.strip()) or not -(2**bits) <= int(text) < 2**bits:
                raise ValueError(f"'{text}' is no whole number of type {edm_type}")
            return int(text)
        case "amount":
            return _amount(text)
        case "date":
            try:
                return date.fromisoformat(text.strip())
            except ValueError:
                raise ValueError(f"'{text}' is no date; write 2020-01-31") from None
        case "time":
            try:
                value = datetime.fromisoformat(text.strip())
            except ValueError:
                raise ValueError(f"'{text}' is no time; write 2020-01-31T12:00:00Z") from None
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _amount(text: str) -> Decimal:
    if not re.fullmatch(AMOUNT_TEXT, text.strip()):
        raise ValueError(f"'{text}' is no amount of at most 26 digits before the point and 12 after it, like '0.01'")
    return Decimal(text.strip())


def check_against(task: Task, source: Entity, destination: Entity) -> list[str]:
    """Say why a task cannot run against the live systems.

    Args:
        task: The task.
        source: Its source entity, from the live metadata.
        destination: Its destination entity.

    Returns:
        One line a problem (columns missing or renamed, types that do not go together, constants that do not fit,
        required columns left empty), each with what would be right; empty when the task fits.
    """
    lines = []
    for where, name in _source_names(task):
        lines += [f"{task.name}: {where}: {problem}" for problem in _missing(name, source)]
    for field in task.fields:
        problems = _missing(field.destination, destination) or _field_problems(task, field, source, destination)
        problems += [f"without: {problem}" for name in field.without for problem in _missing(name, destination)]
        lines += [f"{task.name}: {field.destination}: {problem}" for problem in problems]
    made = task.tie_out.freight_tax if task.tie_out else None
    for name in (made.line, made.amount, made.document) if made else ():
        lines += [f"{task.name}: tie_out.freight_tax: {problem}" for problem in _missing(name, destination)]
    for side, entity, conditions in (
        ("filter", source, task.filter),
        ("source.scope", source, task.source.scope),
        ("destination.scope", destination, task.destination.scope),
        ("destination.only", destination, task.destination.only),
        ("destination.as_long_as", destination, task.destination.as_long_as),
    ):
        for condition in conditions:
            where = f"{task.name}: {side}.{condition.name}"
            missing = _missing(condition.column, entity) if side.startswith("destination.") else []
            problems = missing or _condition_problems(condition, entity)
            lines += [f"{where}: {problem}" for problem in problems]
    lines += [f"{task.name}: {problem}" for problem in _unfilled(task, destination)]
    return lines


def advise_against(task: Task, source: Entity, destination: Entity) -> list[str]:
    """Say where a task fits, but single values may not: texts that can be too long, columns that cannot be written.

    Args:
        task: The task.
        source: Its source entity, from the live metadata.
        destination: Its destination entity.

    Returns:
        One line each; none of them keeps the task from running.
    """
    lines = []
    for field in task.fields:
        ours, theirs = source.columns.get(field.source or ""), destination.columns.get(field.destination)
        if theirs is None:
            continue
        room, confidence = (theirs.max_length, "live") if theirs.max_length else (field.length, field.length_confidence)
        longest = ours.max_length if ours is not None else None
        where = f"{task.name}: {field.destination}"
        too_long = room and longest and min(longest, field.truncate or longest) > room
        if too_long and field.map in _COPIES:
            lines.append(
                f"{where}: holds {room} characters ({confidence}), {field.source} up to {longest}; "
                f"'truncate: {room}' would cut in the open"
            )
        if not theirs.allow_edit and not theirs.allow_edit_on_create and field.role == "sync":
            lines.append(f"{where}: the service takes no value for it; it is compared, and never written")
    return lines


def with_lengths(task: Task, destination: Entity) -> Task:
    """Fill in the lengths that the live metadata knows; they win over the template's.

    Args:
        task: The task.
        destination: Its destination entity, from the live metadata.

    Returns:
        The task, each field with the best known length of its destination column.
    """
    fields = []
    for field in task.fields:
        column = destination.columns.get(field.destination)
        if column is not None and column.max_length:
            field = field.model_copy(update={"length": column.max_length, "length_confidence": "confirmed"})
        fields.append(field)
    return task.model_copy(update={"fields": tuple(fields)})


def _source_names(task: Task) -> Iterator[tuple[str, str]]:
    seen = set()
    for field in task.fields:
        for name in field.sources:
            if name not in seen:
                seen.add(name)
                yield f"{field.destination}: source", name
        for quirk in field.quirk:
            for entry, column in (("instead", quirk.instead), ("where", quirk.where)):
                if column is not None:
                    yield f"{field.destination}: quirk.{quirk.name}.{entry}", column
    for condition in (*task.filter, *task.source.scope):
        yield f"filter.{condition.name}", condition.column


def _missing(name: str, entity: Entity) -> list[str]:
    head, dot, _ = name.partition(".")
    if not dot:
        if name in entity.columns:
            return []
        return [f"{entity.name} has no column '{name}'; {suggest(name, entity.columns)}"]
    lookups = {lookup.column.removeprefix("_").removesuffix("_value") for lookup in entity.lookups}
    if head in lookups or head in {lookup.nav for lookup in entity.lookups}:
        return []
    return [f"{entity.name} has no lookup '{head}'; {suggest(head, sorted(lookups))}"]


def _field_problems(task: Task, field: FieldMap, source: Entity, destination: Entity) -> list[str]:
    column = destination.columns.get(field.destination)  # a path over a lookup is text, found by the service
    edm_type = column.edm_type if column is not None else "Edm.String"
    problems = []
    ours = source.columns.get(field.source or "")
    clash = ours is not None and kind_of(edm_type) not in _GOES_INTO[kind_of(ours.edm_type)]
    if ours is not None and clash and field.map in _COPIES:
        problems.append(f"{field.source} is {ours.edm_type}, which does not go into {edm_type}; use a value map")
    constants = {"value": field.value, "blank_default": field.blank_default}
    if field.value_map in task.value_maps:
        entries = task.value_maps[field.value_map].entries
        constants |= {f"value_map.{key or '(blank)'}": value for key, value in entries.items()}
    for where, text in constants.items():
        if text is not None:
            problems += [f"{where}: {problem}" for problem in _constant_problems(text, column, edm_type, field)]
    if field.truncate and kind_of(edm_type) != "text":
        problems.append(f"is {edm_type}, no text; leave 'truncate' out")
    if field.money and kind_of(edm_type) != "amount":
        problems.append(f"is {edm_type}, no amount; 'money: true' belongs to amounts")
    return problems


def _constant_problems(text: str, column: Column | None, edm_type: str, field: FieldMap) -> list[str]:
    try:
        read_constant(text, edm_type)
    except ValueError as error:
        return [str(error)]
    if column is None:
        return []
    if column.enum and text not in column.enum:
        return [f"'{text}' is no member of {edm_type.rpartition('.')[2]}; {suggest(text, column.enum)}"]
    room = column.max_length or field.length
    if kind_of(edm_type) == "text" and not column.enum and room and len(text) > room:
        return [f"'{text}' is longer than the {room} characters that the column holds"]
    return []


def _condition_problems(condition: Condition, entity: Entity) -> list[str]:
    column = entity.columns.get(condition.column)
    if column is None:
        return []  # said already, or a path over a lookup
    kind = kind_of(column.edm_type)
    problems = []
    for value in condition.values:
        given: Kind = "bool" if isinstance(value, bool) else "whole" if isinstance(value, int) else "text"
        fits = given == kind or (given == "whole" and kind == "amount")
        if not fits:
            right = {"bool": "true or false", "whole": "a whole number", "amount": "a whole number"}.get(kind, "'text'")
            problems.append(f"{condition.column} is {column.edm_type}, and never {value!r}; write {right}")
        elif column.enum and str(value).lower() not in {member.lower() for member in column.enum}:
            problems.append(f"{condition.column} is never '{value}'; {suggest(value, column.enum)}")
    return problems


def _unfilled(task: Task, destination: Entity) -> Iterator[str]:
    """Columns that a new row needs and nothing fills; numbers and times start at nought, Guids are the service's."""
    filled = {field.destination.partition(".")[0] for field in task.fields}
    for name, column in destination.columns.items():
        needed = column.is_key or column.required or (task.destination.system == "fno" and not column.nullable)
        given = column.edm_type == "Edm.Guid" or name == "dataAreaId" or not column.allow_edit_on_create
        if needed and not given and kind_of(column.edm_type) == "text" and name not in filled:
            yield f"{destination.name}.{name} must be filled and no field does; add one, or a constant"
