"""Templates from their files: shipped ones, a site's changes over them, and every fault of all of them at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from p2c_lib.errors import ParameterError, TemplateError
from p2c_lib.model.faults import entry_faults, faults, quirk_faults
from p2c_lib.model.overlays import Loc, Node, Sources, lay_over, locate, read, read_file, suggest
from p2c_lib.model.parts import Evidence, FieldMap, FreightTax, Parent, Route, Side, Task, Template, TieOut
from p2c_lib.model.values import Condition, Quirk, ValueMap

_SHAPES: Mapping[str, type[BaseModel]] = {
    "": Template,
    "tasks": Task,
    "source": Side,
    "destination": Side,
    "filter": Condition,
    "scope": Condition,
    "only": Condition,
    "as_long_as": Condition,
    "fields": FieldMap,
    "parent": Parent,
    "quirk": Quirk,
    "tie_out": TieOut,
    "freight_tax": FreightTax,
    "evidence": Evidence,
    "value_maps": ValueMap,
}
_INJECTED = ("template", "value_maps")  # of a task: set on load, never written in a file


def load_templates(
    overlays: Sequence[Path] = (), *, route: Route | None = "direct", settings: Mapping[str, str] | None = None
) -> dict[str, Template]:
    """Read the shipped templates and lay a site's files over them.

    Args:
        overlays: Files in order: one that begins with ``template:`` is a template of its own, any other changes what
            is there.
        route: The templates of this way alone; None for all of them.
        settings: Values of the profile that take the place of constants, by the name of the setting.

    Returns:
        Templates by name, in their order of running.

    Raises:
        TemplateError: With every problem of every file, each as ``file: path: what is wrong; what would be right``.
    """
    # An overlay may name tasks of both ways, and a leg names its direct task; without either half the files will do.
    if overlays:
        templates: Mapping[str, Template] = _assembled(_shipped(with_cds=True), overlays, shipped=True)
    else:
        templates = _known(with_cds=route != "direct")
    return {
        name: with_settings(template, settings or {})
        for name, template in templates.items()
        if route in (None, template.generation)
    }


def _shipped(*, with_cds: bool) -> dict[str, str]:
    entries = sorted(files("p2c_lib.templates").iterdir(), key=lambda entry: entry.name)
    return {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in entries
        if entry.name.endswith(".yaml") and (with_cds or not entry.name.endswith("_cds.yaml"))
    }


@cache
def _known(*, with_cds: bool) -> Mapping[str, Template]:
    """The shipped templates; they are frozen, so once a process will do."""
    return _assembled(_shipped(with_cds=with_cds), shipped=True)


def with_settings(template: Template, settings: Mapping[str, str]) -> Template:
    """Put a profile's values in the place of the constants that name a setting.

    Args:
        template: The template.
        settings: Values by the name of the setting; a setting that is not among them leaves the constant.

    Returns:
        The template.
    """
    tasks = []
    for task in template.tasks:
        fields = [
            field.model_copy(update={"value": settings.get(field.setting, field.value)}) if field.setting else field
            for field in task.fields
        ]
        tasks.append(task.model_copy(update={"fields": tuple(fields)}))
    return template.model_copy(update={"tasks": tuple(tasks)})


def load_texts(texts: Mapping[str, str], overlays: Sequence[Path] = ()) -> dict[str, Template]:
    """Read templates from texts; `load_templates` does it with the shipped ones.

    Args:
        texts: YAML by file name; a text with ``value_maps:`` at the top holds value maps.
        overlays: As in `load_templates`.

    Returns:
        Templates by name, in their order of running.

    Raises:
        TemplateError: As `load_templates`.
    """
    return _assembled(texts, overlays)


def _assembled(
    texts: Mapping[str, str], overlays: Sequence[Path] = (), *, shipped: bool = False
) -> dict[str, Template]:
    sources = Sources()
    for file, text in texts.items():
        _take(sources, read(text, file, sources, shipped=shipped))
    changes = [read_file(path, sources) for path in overlays]
    for node in changes:
        if node is not None and "template" in node:
            _take(sources, node)
        elif node is not None:
            lay_over(sources, node)
    value_maps = dict(_parse_value_maps(sources))
    templates = dict(_parse_templates(sources, value_maps))
    _check_across(sources, templates)
    if sources.problems:
        raise TemplateError(sources.problems)
    return dict(sorted(templates.items(), key=lambda item: (item[1].position, item[0])))


def find_task(name: str, templates: Mapping[str, Template]) -> Task:
    """Find a task among templates.

    Args:
        name: The task's name.
        templates: As `load_templates` gives them.

    Returns:
        The task.

    Raises:
        ParameterError: There is none; the message names near matches.
    """
    tasks = {task.name: task for template in templates.values() for task in template.tasks}
    if name not in tasks:
        raise ParameterError(f"no task '{name}'; {suggest(name, tasks)}")
    return tasks[name]


def _take(sources: Sources, node: Node | None) -> None:
    if node is None:
        return
    if "template" in node:
        name = str(node["template"])
        if name in sources.templates:
            other = sources.templates[name].where[0]
            sources.add(node.at("template"), f"template '{name}' is in {other} already; rename it, or write an overlay")
            return
        sources.templates[name] = node
    elif isinstance(node.get("value_maps"), Node):
        maps = node["value_maps"]
        for name, value_map in maps.items():
            if not isinstance(value_map, Node):
                sources.add(maps.at(name), "must be '{entries: {...}}'")
            sources.value_maps[name] = (
                value_map if isinstance(value_map, Node) else Node({"entries": {}}, maps.at(name))
            )
    else:
        sources.add(node.where, "is neither a template ('template: name') nor value maps ('value_maps: {...}')")


def _parse_value_maps(sources: Sources) -> Iterator[tuple[str, ValueMap]]:
    for name, node in sources.value_maps.items():
        try:
            value_map = ValueMap.model_validate({"name": name, **node})
        except ValidationError as error:
            for detail in error.errors():
                sources.add(locate(node, detail["loc"]), _message(detail, ValueMap))
            continue
        for loc, message in (*entry_faults((), value_map.entries), *quirk_faults((), value_map.quirk, "")):
            sources.add(locate(node, loc), message)
        yield name, value_map


def _parse_templates(sources: Sources, value_maps: Mapping[str, ValueMap]) -> Iterator[tuple[str, Template]]:
    for name, node in sources.templates.items():
        data = _with_names(sources, node)
        try:
            template = Template.model_validate(data)
        except ValidationError as error:
            details = _plain(error.errors())
            for detail in details:
                sources.add(locate(node, detail["loc"]), _message(detail, _shape(detail["loc"])))
            rest = _without(node, details)
            told = {detail["loc"][:-1] for detail in details if detail["type"] != "extra_forbidden"}
            for loc, message in faults(rest, sources.value_maps) if rest is not None else ():
                if loc[:-1] not in told:
                    sources.add(locate(node, loc), message)
            continue
        for loc, message in faults(template, sources.value_maps):
            sources.add(locate(node, loc), message)
        tasks = []
        for task in template.tasks:
            used = {field.value_map for field in task.fields} & set(value_maps)
            maps = {each: value_maps[each] for each in sorted(filter(None, used))}
            tasks.append(task.model_copy(update={"template": template.name, "value_maps": maps}))
        yield name, template.model_copy(update={"tasks": tuple(tasks)})


def _with_names(sources: Sources, node: Node) -> Node:
    """Refuse in files what only loading sets."""
    for index, task in enumerate(node.get("tasks") or []):
        for key in _INJECTED:
            if isinstance(task, Node) and key in task:
                where = locate(node, ("tasks", index, key))
                sources.add(where, f"'{key}' is not written in a task; value maps stand in a file of value maps")
    return node


def _without(node: Node, errors: list[ErrorDetails]) -> Template | None:
    """The template less what is wrong in it, to go on and look for other faults; None when too little is left."""
    data = _copied(node)
    for detail in errors:
        parent: Any = data
        for step in detail["loc"][:-1]:
            if isinstance(parent, dict):
                parent = parent.get(step)
            else:
                parent = parent[step] if isinstance(parent, list) and isinstance(step, int) else None
        if not isinstance(parent, dict) or detail["loc"][-1] not in parent:
            return None
        del parent[detail["loc"][-1]]
    try:
        return Template.model_validate(data)
    except ValidationError:
        return None


def _copied(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(value) for value in data] if isinstance(data, list) else data


def _plain(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """One error a place: a value that fits no member of a union is reported once a member."""
    seen: dict[Loc, ErrorDetails] = {}
    for detail in errors:
        loc = tuple(step for step in detail["loc"] if step not in _UNION_TAGS)
        if "value" in loc:
            loc = loc[: loc.index("value") + 1]
        seen.setdefault(loc, {**detail, "loc": loc})
    return list(seen.values())


_UNION_TAGS = frozenset({"bool", "int", "str", "tuple[union[bool,int,str],...]", "function-before[_as_text(), str]"})


def _shape(loc: Loc) -> type[BaseModel]:
    names = [step for step in loc[:-1] if isinstance(step, str)]
    return _SHAPES.get(names[-1] if names else "", Template)


def _message(detail: ErrorDetails, shape: type[BaseModel]) -> str:
    given, last = detail.get("input"), detail["loc"][-1] if detail["loc"] else ""
    shown = f"'{given}'" if isinstance(given, str | int | float) else "a list" if isinstance(given, list) else "entries"
    shown = "nothing" if given is None else str(given).lower() if isinstance(given, bool) else shown
    match detail["type"]:
        case "extra_forbidden":
            known = [info.alias or name for name, info in shape.model_fields.items() if name not in _INJECTED]
            return f"no such entry; {suggest(last, known)}"
        case "missing":
            return "must be given"
        case "literal_error":
            known = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
            return f"{shown} is not one of its values; {suggest(given, known)}"
        case "tuple_type":
            return f"must be a list, '[a, b]', not {shown}"
        case "dict_type" | "model_type":
            return f"must be entries, '{{name: value}}', not {shown}"
        case "string_type":
            return f"must be text, not {shown}"
        case "value_error":
            return detail["msg"].removeprefix("Value error, ")
        case "decimal_parsing" | "decimal_type" | "finite_number":
            return f"{shown} is not an amount; write it as '0.01'"
        case kind if kind.startswith("int_"):
            return f"{shown} is not a whole number"
        case kind if kind.startswith("bool_"):
            return f"{shown} is neither true nor false"
    return f"{detail['msg']}, not {shown}"


def _check_across(sources: Sources, templates: Mapping[str, Template]) -> None:
    """What only all templates together can tell: unknown prerequisites and parents, a task's name given twice."""
    tasks: dict[str, str] = {}
    known = list(sources.templates)  # also those with faults of their own: not reported a second time
    for template in templates.values():
        node = sources.templates[template.name]
        for index, name in enumerate(template.prerequisites):
            if name not in known:
                where = locate(node, ("prerequisites", index))
                sources.add(where, f"no template '{name}'; {suggest(name, known)}")
        for index, task in enumerate(template.tasks):
            if task.name in tasks:
                where = locate(node, ("tasks", index, "name"))
                sources.add(where, f"'{task.name}' is a task of template '{tasks[task.name]}' already")
            tasks[task.name] = template.name
    if len(templates) < len(sources.templates):
        return
    for template in templates.values():
        node = sources.templates[template.name]
        for index, task in enumerate(template.tasks):
            if task.of is not None and task.of not in tasks:
                sources.add(locate(node, ("tasks", index, "of")), f"no task '{task.of}'; {suggest(task.of, tasks)}")
            for number, field in enumerate(task.fields):
                for place, parent in enumerate(field.parent):
                    if parent.task is not None and parent.task not in tasks:
                        loc: Loc = ("tasks", index, "fields", number, "parent")
                        raw = node["tasks"][index]["fields"][number]["parent"]
                        where = locate(node, (*loc, "task") if isinstance(raw, Node) else (*loc, place, "task"))
                        sources.add(where, f"no task '{parent.task}'; {suggest(parent.task, tasks)}")
