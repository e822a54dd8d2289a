"""Template files as plain data: read without surprises, a site's changes laid over, every piece knowing its file.

YAML is read so that a consultant gets what is typed: all but ``true``, ``false``, ``null`` and whole numbers is text.
``Yes``, ``NO``, ``0.01``, ``007`` and ``1/1/2020`` stay as they are (Norway does not become ``false``, nor an amount
a binary number), and a key that stands twice is reported instead of the last one winning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from p2c_lib.model.parts import USES

Loc = tuple[str | int, ...]
Where = tuple[str, Loc]


class Node(dict[Any, Any]):
    """A YAML mapping that knows where it stands, and which of its keys came from another file."""

    where: Where
    origins: Mapping[Any, Where]

    def __init__(self, data: Mapping[Any, Any], where: Where, origins: Mapping[Any, Where] | None = None) -> None:
        super().__init__(data)
        self.where = where
        self.origins = origins or {}

    def at(self, key: Any) -> Where:
        """Where a key of this mapping was written."""
        return self.origins.get(key, (self.where[0], (*self.where[1], key)))


@dataclass
class Sources:
    """Raw templates and value maps by name, and the problems met so far."""

    templates: dict[str, Node] = field(default_factory=dict)
    value_maps: dict[str, Node] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, where: Where, message: str) -> None:
        """Note a problem as ``file: path: message``."""
        self.problems.append(": ".join(part for part in (where[0], path_text(where[1]), message) if part))


def path_text(loc: Loc) -> str:
    """A path as people write it: ``tasks[0].fields[1].value_map``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return text.removeprefix(".")


def suggest(name: object, known: Iterable[str]) -> str:
    """What would be right instead of an unknown name: near matches, then all that is known if that is short."""
    names = list(dict.fromkeys(known))
    if not names:
        return "none is known"
    by_lower = {item.lower(): item for item in names}
    near = [by_lower[item] for item in get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.6)]
    guess = f"did you mean {' or '.join(repr(item) for item in near)}?" if near else ""
    listed = f"known: {', '.join(names)}" if len(names) <= 25 and not (near and len(names) > 12) else ""
    return "; ".join(part for part in (guess, listed) if part) or "nothing like it is known"


# In C where PyYAML was built so, and then ten times as fast; it gives no way to refuse aliases, and has other words.
_IN_C: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Words(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """YAML where all scalars but true, false, null and whole numbers are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own protocol
    repeated: list[str]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be one word", key_node.start_mark)
            key = self.construct_object(key_node)
            if key in keys:
                self.repeated.append(f"line {key_node.start_mark.line + 1}: '{key}' stands twice; keep one of them")
            keys.add(key)
        return super().construct_mapping(node, deep)


class _Loader(_Words, yaml.SafeLoader):
    """Reads what people write."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.repeated = []

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few of them nested are a bomb, and one can hold itself
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "no aliases (*name) here; write it out", mark)
        return super().compose_node(parent, index)


class _Shipped(_Words, _IN_C):  # type: ignore[misc]
    """Reads what comes with the library."""

    def __init__(self, stream: str) -> None:
        _IN_C.__init__(self, stream)
        self.repeated = []


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"~|null|", ["~", "n", ""]),
    ("int", r"-?(?:0|[1-9][0-9]*)", "-0123456789"),
):
    _Words.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def read(text: str, file: str, sources: Sources, *, shipped: bool = False) -> Node | None:
    """Read a YAML text.

    Args:
        text: The file's text.
        file: Its name, for messages.
        sources: Takes the problems.
        shipped: It comes with the library: read the fast way, which says less well what is wrong.

    Returns:
        The mapping at the top, every mapping in it knowing its place; None when it cannot be read.
    """
    loader: _Loader | _Shipped = _Shipped(text) if shipped else _Loader(text)
    try:
        data = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        sources.add((file, ()), f"{line}not YAML: {error.problem}")
        return None
    except yaml.YAMLError as error:
        sources.add((file, ()), f"not YAML: {error}")
        return None
    finally:
        loader.dispose()
    for repeated in loader.repeated:
        sources.add((file, ()), repeated)
    if not isinstance(data, dict):
        sources.add((file, ()), "holds no entries; a template begins with 'template:', an overlay with 'overlay:'")
        return None
    node: Node = _placed(data, (file, ()))
    return node


def _placed(data: Any, where: Where) -> Any:
    file, path = where
    if isinstance(data, dict):
        return Node({key: _placed(value, (file, (*path, key))) for key, value in data.items()}, where)
    if isinstance(data, list):
        return [_placed(value, (file, (*path, index))) for index, value in enumerate(data)]
    return data


def locate(node: Any, loc: Loc) -> Where:
    """Find where a piece of merged data was written.

    Args:
        node: Merged data.
        loc: Path in it; it may lead past what is there (an entry that is missing).

    Returns:
        The file and the path in that file.
    """
    where: Where = node.where if isinstance(node, Node) else ("", ())
    for step in loc:
        if isinstance(node, Node):
            where, node = node.at(step), node.get(step)
        else:
            where = (where[0], (*where[1], step))
            node = node[step] if isinstance(node, list) and isinstance(step, int) and step < len(node) else None
        if isinstance(node, Node):
            where = node.where
    return where


def read_file(path: Path, sources: Sources) -> Node | None:
    """Read a YAML file of a site.

    Args:
        path: The file.
        sources: Takes the problems; a file that is not there is one.

    Returns:
        As `read`.
    """
    try:
        return read(path.read_text(encoding="utf-8"), str(path), sources)
    except OSError as error:
        sources.add((str(path), ()), f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        sources.add((str(path), ()), f"is not UTF-8 text (byte {error.start}); save it as UTF-8")
    return None


def lay_over(sources: Sources, overlay: Node) -> None:
    """Change templates and value maps as an overlay says.

    Args:
        sources: Raw templates and value maps, changed in place.
        overlay: ``value_maps`` and ``tasks``, both by name; a task has ``fields``, ``filter`` and ``scope`` by name.

    A piece is changed entry by entry (null takes an entry away), left out with ``drop``, and new with ``add: true``;
    without that an unknown name is a problem, so that a typing slip never passes as an addition.
    """
    _known(sources, overlay, ("overlay", "note", "value_maps", "tasks", "causes"))  # causes: see `p2c_lib.causes`
    for name, changes in _mapping(sources, overlay, "value_maps").items():
        _change_value_map(sources, overlay["value_maps"], name, changes)
    places = {
        task.get("name"): (template, index)
        for template in sources.templates.values()
        for index, task in enumerate(template.get("tasks") or [])
        if isinstance(task, Node)
    }
    for name, changes in _mapping(sources, overlay, "tasks").items():
        where = overlay["tasks"].at(name)
        if name not in places:
            sources.add(where, f"no task '{name}'; {suggest(name, map(str, places))}")
        elif not isinstance(changes, Node):
            sources.add(where, "must be a list of changes by name: fields, filter, scope, key, amount, currency")
        else:
            template, index = places[name]
            template["tasks"][index] = _change_task(sources, template["tasks"][index], changes)


def _known(sources: Sources, node: Node, known: tuple[str, ...]) -> None:
    for key in node:
        if key not in known:
            sources.add(node.at(key), f"no such entry; {suggest(key, known)}")


def _mapping(sources: Sources, node: Node, key: str) -> Node:
    value = node.get(key)
    if isinstance(value, Node):
        return value
    if value is not None:
        sources.add(node.at(key), "must be entries by name, 'name: {...}'")
    return Node({}, node.at(key))


def _change_value_map(sources: Sources, node: Node, name: str, changes: Any) -> None:
    where = node.at(name)
    if not isinstance(changes, Node):
        sources.add(where, "must be '{entries: {...}}'")
        return
    old = sources.value_maps.get(name)
    if old is None:
        if changes.pop("add", None) is not True:
            sources.add(
                where, f"no value map '{name}'; {suggest(name, sources.value_maps)}; 'add: true' makes a new one"
            )
            return
        sources.value_maps[name] = changes
        return
    changes.pop("add", None)
    new, entries = changed(old, changes), changes.get("entries")
    if isinstance(entries, Node) and isinstance(old.get("entries"), Node):
        new["entries"] = changed(old["entries"], entries)
    sources.value_maps[name] = new


def _change_task(sources: Sources, task: Node, changes: Node) -> Node:
    of_destination = ("scope", "only", "as_long_as")
    _known(
        sources,
        changes,
        ("fields", "filter", *of_destination, "key", "amount", "currency", "evidence", "title", "note"),
    )
    plain = {key: changes[key] for key in ("key", "amount", "currency", "evidence", "title", "note") if key in changes}
    new = changed(task, Node(plain, changes.where))
    new["fields"] = change_list(sources, task.get("fields"), _mapping(sources, changes, "fields"), "destination")
    if "filter" in changes:
        new["filter"] = change_list(sources, task.get("filter"), _mapping(sources, changes, "filter"), "name")
    for entry in of_destination:
        side = new.get("destination")
        if entry in changes and isinstance(side, Node):
            conditions = change_list(sources, side.get(entry), _mapping(sources, changes, entry), "name")
            new["destination"] = Node({**side, entry: conditions}, side.where, side.origins)
    return new


def change_list(sources: Sources, old: Any, changes: Node, label: str, kind: str = "") -> list[Any]:
    """A list of pieces, changed by their names.

    Args:
        sources: Takes the problems.
        old: The pieces as they stand.
        changes: By name: entries to set, ``drop``, or with ``add: true`` a new piece.
        label: The entry that holds the name.
        kind: What a piece is called; by default a field, or a condition.

    Returns:
        The pieces, each knowing its file.
    """
    items = list(old) if isinstance(old, list) else []
    kind = kind or ("field" if label == "destination" else "condition")
    for name, change in changes.items():
        where = changes.at(name)
        found = [i for i, item in enumerate(items) if isinstance(item, Node) and item.get(label) == name]
        is_new = isinstance(change, Node) and change.get("add") is True
        if not found and not is_new:
            names = [str(item.get(label)) for item in items if isinstance(item, Node)]
            sources.add(where, f"no {kind} '{name}'; {suggest(name, names)}; 'add: true' makes a new one")
        elif change == "drop":
            items = [item for i, item in enumerate(items) if i not in found]
        elif not isinstance(change, Node):
            sources.add(where, "must be '{entry: value}' with what changes, or 'drop'")
        else:
            change = Node({k: v for k, v in change.items() if k != "add"}, change.where, change.origins)
            if found:
                items[found[0]] = changed(items[found[0]], change)
            else:
                items.append(Node({label: name, **change}, change.where, change.origins))
    return items


def changed(old: Node, changes: Node) -> Node:
    """One mapping over another.

    Args:
        old: What stands.
        changes: Entries to set; null takes an entry away. A new ``map`` also takes away what only the old map used.

    Returns:
        A new mapping, each entry knowing its file.
    """
    used = frozenset().union(*USES.values()) - USES[changes["map"]] if changes.get("map") in USES else frozenset()
    data = {key: value for key, value in old.items() if key not in used or key in changes}
    data |= changes
    data = {key: value for key, value in data.items() if key not in changes or value is not None}
    return Node(data, old.where, {**old.origins, **{key: changes.at(key) for key in changes}})
