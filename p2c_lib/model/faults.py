"""What is wrong with a template that each of its parts allows, in words, with the place of each fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from p2c_lib.model.overlays import Loc, suggest
from p2c_lib.model.parts import USES, Evidence, FieldMap, Task, Template
from p2c_lib.model.values import Condition, Quirk

__all__ = ["Fault", "entry_faults", "faults", "quirk_faults"]

_COLUMN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*(\([A-Za-z_]\w*\))?)*")
Fault = tuple[Loc, str]


def faults(template: Template, value_maps: Mapping[str, Any]) -> Iterator[Fault]:
    """What each part allows but the whole does not; ``value_maps`` has the raw ones, so that a broken one is known."""
    if not template.tasks:
        yield ("tasks",), "must have at least one entry"
    for number, task in enumerate(template.tasks):
        at: Loc = ("tasks", number)
        for entry in ("key", "fields"):
            if not getattr(task, entry):
                yield (*at, entry), "must have at least one entry"
        yield from _way_faults(at, task, template)
        for loc, conditions in (
            ((*at, "filter"), task.filter),
            ((*at, "destination", "scope"), task.destination.scope),
            ((*at, "destination", "only"), task.destination.only),
            ((*at, "destination", "as_long_as"), task.destination.as_long_as),
        ):
            yield from _condition_faults(loc, conditions)
        for entry in ("scope", "only", "as_long_as"):
            if getattr(task.source, entry):
                yield (*at, "source", entry), "belongs to the destination; what a source row must be is the filter"
        by_name: dict[str, FieldMap] = {}
        for index, field in enumerate(task.fields):
            loc = (*at, "fields", index)
            if field.destination in by_name:
                yield (*loc, "destination"), f"'{field.destination}' is filled twice; keep one of the two fields"
            by_name.setdefault(field.destination, field)
            yield from _field_faults(loc, field, value_maps)
            if field.personal and field.destination in task.key:
                yield (
                    (*loc, "personal"),
                    "is a key, by which rows are named; it cannot be masked: leave it out",
                )
            elif field.personal and field.source is not None and field.source in task.key.values():
                yield (*loc, "personal"), f"is made from the key '{field.source}', which cannot be masked: leave it out"
        names = list(by_name)
        for column, source in task.key.items():
            loc = (*at, "key", column)
            if column not in by_name:
                yield loc, f"'{column}' is not among the fields; {suggest(column, names)}"
            elif by_name[column].source != source:
                yield (
                    loc,
                    f"is '{source}' here but '{by_name[column].source}' in its field; both must be the same column",
                )
        for entry, column_or_none in (("amount", task.amount), ("currency", task.currency)):
            if column_or_none is not None and column_or_none not in by_name:
                yield (*at, entry), f"'{column_or_none}' is not among the fields; {suggest(column_or_none, names)}"
        yield from _evidence_faults((*at, "evidence"), task.evidence, names)
        if task.amount in by_name and not by_name[task.amount].money:
            yield (*at, "amount"), f"'{task.amount}' is not money; give its field 'money: true'"
        for index, field in enumerate(task.fields):
            if isinstance(field.money, str) and field.money not in by_name:
                loc = (*at, "fields", index, "money")
                yield loc, f"'{field.money}' is not among the fields; true, or {suggest(field.money, names)}"
        made, plus = (task.tie_out.freight_tax, task.tie_out.plus) if task.tie_out else (None, ())
        if made and made.tax not in plus:
            yield (*at, "tie_out", "freight_tax", "tax"), f"'{made.tax}' is not added to the lines; list it in plus"


def _evidence_faults(at: Loc, evidence: Evidence | None, names: list[str]) -> Iterator[Fault]:
    """Columns that no field fills are on one side only, and evidence of nothing."""
    for entry in Evidence.model_fields if evidence else ():
        for column in getattr(evidence, entry):
            if column not in names:
                yield (*at, entry), f"'{column}' is not among the fields; {suggest(column, names)}"


def _way_faults(at: Loc, task: Task, template: Template) -> Iterator[Fault]:
    """Where a task goes must be its template's direction, or the half of it that its leg is."""
    systems = f"{task.source.system}_to_{task.destination.system}"
    first, _, last = template.direction.partition("_to_")
    if template.generation == "direct":
        for entry in ("of", "leg"):
            if getattr(task, entry) is not None:
                yield (*at, entry), "belongs to templates of the generation cds; leave it out"
        if systems != template.direction:
            yield (*at, "source", "system"), f"goes {systems}, but the template's direction is {template.direction}"
        return
    for entry in ("of", "leg"):
        if getattr(task, entry) is None:
            yield (*at, entry), "must be given in a template of the generation cds"
    wanted = f"{first}_to_cds" if task.leg == 1 else f"cds_to_{last}"
    if task.leg is not None and systems != wanted:
        yield (*at, "source", "system"), f"goes {systems}, but leg {task.leg} of {template.direction} goes {wanted}"


def _condition_faults(loc: Loc, conditions: tuple[Condition, ...]) -> Iterator[Fault]:
    names: set[str] = set()
    for index, condition in enumerate(conditions):
        at = (*loc, index)
        if condition.name in names:
            yield (*at, "name"), f"'{condition.name}' stands twice; each condition needs a name of its own"
        names.add(condition.name)
        if not _COLUMN.fullmatch(condition.column):
            yield (*at, "column"), f"'{condition.column}' is not the name of a column"
        needs = {"is_blank": 0, "not_blank": 0}.get(condition.op, 1)
        if needs == 0 and condition.value is not None:
            yield (*at, "value"), f"{condition.op} has no value; leave it out"
        elif needs and not condition.values:
            yield (*at, "value"), f"{condition.op} needs a value; is_blank asks for an empty column"
        elif isinstance(condition.value, tuple) != (condition.op == "in"):
            yield (*at, "value"), "in takes a list, '[a, b]'; eq and ne take one value"


def _field_faults(loc: Loc, field: FieldMap, value_maps: Mapping[str, Any]) -> Iterator[Fault]:
    for entry in ("destination", "source"):
        column = getattr(field, entry)
        if column is not None and not _COLUMN.fullmatch(column):
            yield (*loc, entry), f"'{column}' is not the name of a column; a path is a.b, or a.Table(b).Other(c)"
    uses = USES[field.map]
    for entry in sorted(frozenset().union(*USES.values())):
        given = getattr(field, entry) not in (None, ())
        if given and entry not in uses:
            kinds = " or ".join(kind for kind, entries in USES.items() if entry in entries)
            yield (*loc, entry), f"map {field.map} has no use for it; leave it out, or write 'map: {kinds}'"
        elif not given and entry in uses and entry != "blank_default":
            yield (*loc, entry), f"map {field.map} needs it"
    if field.setting is not None and field.map != "default":
        yield (*loc, "setting"), "takes the place of a constant; it belongs to 'map: default'"
    if field.value_map is not None and field.value_map not in value_maps:
        yield (*loc, "value_map"), f"no value map '{field.value_map}'; {suggest(field.value_map, value_maps)}"
    yield from quirk_faults(loc, field.quirk, field.map)
    try:
        columns = [column for step in field.steps() for column in step.columns]
    except ValueError as error:
        yield (*loc, "transform"), str(error)
        return
    for column in columns:
        if not _COLUMN.fullmatch(column):
            yield (*loc, "transform"), f"'{column}' is not the name of a column; a path is a.b, or a.Table(b).Other(c)"


def entry_faults(loc: Loc, entries: Mapping[str, str]) -> Iterator[Fault]:
    """Keys of a value map that no source value ever equals."""
    for key in entries:
        right = key.strip().lower()
        if key != right:
            message = f"'{key}' never matches, source values are compared trimmed and in lower case; write '{right}'"
            yield (*loc, "entries", key), message


def quirk_faults(loc: Loc, quirks: tuple[Quirk, ...], of: str) -> Iterator[Fault]:
    """What is wrong with the quirks of a field with this kind of map; of a value map, with none."""
    for number, quirk in enumerate(quirks):
        at = (*loc, "quirk", number)
        yield from entry_faults(at, quirk.entries)
        if quirk.instead is not None and (of in ("", "default") or not _COLUMN.fullmatch(quirk.instead)):
            yield (*at, "instead"), f"'{quirk.instead}' is not the name of a source column that could be copied instead"
        if quirk.entries and of not in ("", "value_map"):
            yield (*at, "entries"), f"map {of} looks nothing up; name the column that one would expect, 'instead: ...'"
        if quirk.own and (quirk.entries or quirk.instead is not None):
            yield (
                (*at, "own"),
                "stands beside what one would expect; the destination's own value is not known from here",
            )
        if quirk.where is not None and (quirk.own is None or not _COLUMN.fullmatch(quirk.where)):
            yield (*at, "where"), f"'{quirk.where}' must be a source column, and stand beside 'own'"
        if quirk.entries and quirk.instead is not None:
            yield (*at, "instead"), "stands beside 'entries'; one would expect one of the two, not both"
