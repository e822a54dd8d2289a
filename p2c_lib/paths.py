"""Paths over lookups: a column of another set, by way of the lookups that lead there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from p2c_lib.connect.client import Client
from p2c_lib.connect.metadata import Entity, Lookup, near
from p2c_lib.errors import SchemaError

__all__ = ["LookupPath", "lookup_path"]

_TARGET = re.compile(r"\.(\w+)\(([\w@.]+)\)")


@dataclass(frozen=True)
class LookupPath:
    """A column of another set: the lookups that lead there (one a target) and the column to take from each."""

    name: str
    lookups: tuple[Lookup, ...]
    columns: tuple[str, ...]


def lookup_path(client: Client, known: Entity, name: str) -> LookupPath:
    """Read a path over a lookup.

    Args:
        client: Of the entity's system, for the metadata of the sets it leads to.
        known: The entity that has the lookup.
        name: ``lookup.column``, ``lookup.Target(column).Other(column)``, or a longer path ``lookup.lookup.column``.

    Returns:
        The lookups and columns, in the order named.

    Raises:
        SchemaError: There is no such lookup, target or column; the message names near matches.
    """
    head, _, tail = name.partition(".")
    found = [lookup for lookup in known.lookups if lookup.column == f"_{head}_value"]
    found = found or [lookup for lookup in known.lookups if lookup.nav.lower() == head.lower()]
    if not found:
        heads = {lookup.column[1:-6] for lookup in known.lookups}
        raise SchemaError(f"{known.name}: '{name}': no lookup '{head}'{near(head, heads)}")
    chosen: list[tuple[Lookup, str]] = []
    is_longer = "." in tail and "(" not in tail.partition(".")[0]  # the targets named belong to a lookup further on
    targets = _TARGET.findall(f".{tail}") if "(" in tail and not is_longer else []
    if "(" in tail and not is_longer and "".join(f".{kind}({column})" for kind, column in targets) != f".{tail}":
        raise SchemaError(f"{known.name}: '{name}': write lookup.Target(column).Other(column)")
    for kind, column in targets:
        match = [lookup for lookup in found if lookup.target_type.lower() == kind.lower()]
        if not match:
            kinds = ", ".join(sorted(lookup.target_type for lookup in found))
            raise SchemaError(f"{known.name}: '{name}': {head} does not lead to {kind}; it leads to {kinds}")
        chosen.append((match[0], column))
    if not targets:
        if len(found) > 1:
            forms = ".".join(f"{lookup.target_type}(column)" for lookup in found)
            raise SchemaError(f"{known.name}: '{name}': {head} leads to several sets; write {head}.{forms}")
        chosen.append((found[0], tail))
    for lookup, column in chosen:
        if "." in column:
            lookup_path(client, client.entity(lookup.target), column)
        else:
            client.entity(lookup.target).column(column)
    return LookupPath(name, tuple(lookup for lookup, _ in chosen), tuple(column for _, column in chosen))
