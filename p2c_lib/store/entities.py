"""What the store keeps: its entities, their keys and columns, declared in YAML and never guessed from data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import polars as pl
import yaml

from p2c_lib.connect.metadata import Column, Entity
from p2c_lib.connect.pages import dtype
from p2c_lib.errors import SchemaError

__all__ = ["RUN_ID", "STAGED_AT", "Declared", "load_entities", "read_entities"]

STAGED_AT, RUN_ID = "staged_at", "run_id"
_TYPES = {
    "text": "Edm.String",
    "whole": "Edm.Int32",
    "amount": "Edm.Decimal",
    "flag": "Edm.Boolean",
    "date": "Edm.Date",
    "moment": "Edm.DateTimeOffset",
}


@dataclass(frozen=True)
class Declared:
    """An entity of the store.

    Attributes:
        name: As the templates name it.
        organization: The column that holds the organisation a row belongs to.
        key: With the organisation, the columns that identify a row.
        columns: Every column that templates fill or read.
    """

    name: str
    organization: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]

    @cached_property
    def entity(self) -> Entity:
        """The entity as `connect` describes those of a service; the two columns of the staging cannot be written."""
        staging = {
            STAGED_AT: Column(STAGED_AT, "Edm.DateTimeOffset", allow_edit=False, allow_edit_on_create=False),
            RUN_ID: Column(RUN_ID, "Edm.String", allow_edit=False, allow_edit_on_create=False),
        }
        return Entity(self.name, self.name, (self.organization, *self.key), {**self.columns, **staging})

    @cached_property
    def schema(self) -> pl.Schema:
        """Columns and dtypes of the entity's table: the declared ones, ``staged_at`` and ``run_id``."""
        return pl.Schema({name: dtype(column) for name, column in self.entity.columns.items()})


@cache
def load_entities() -> Mapping[str, Declared]:
    """Read the shipped declarations.

    Returns:
        Entities by name.
    """
    return read_entities(files("p2c_lib.store").joinpath("entities.yaml").read_text(encoding="utf-8"))


def read_entities(text: str) -> Mapping[str, Declared]:
    """Read declarations of entities.

    Args:
        text: YAML, as ``entities.yaml`` explains it.

    Returns:
        Entities by name.

    Raises:
        SchemaError: With every fault: a type that is not known, a key or organisation that is no column.
    """
    found, problems = {}, []
    # All scalars as text: a column may be called On, a member of a picklist No.
    for name, said in yaml.load(text, Loader=yaml.BaseLoader)["entities"].items():
        key, organization = tuple(said["key"]), said["organization"]
        columns = {}
        for column, facts in said["columns"].items():
            if facts["type"] not in (*_TYPES, "picklist"):
                known = ", ".join((*_TYPES, "picklist"))
                problems.append(f"{name}.{column}: no type '{facts['type']}'; known: {known}")
                continue
            columns[column] = _column(name, column, facts, column in (organization, *key))
        lost = [column for column in (organization, *key) if column not in said["columns"]]
        problems += [f"{name}: '{column}' is of the key and no column" for column in lost]
        found[name] = Declared(name, organization, key, columns)
    if problems:
        raise SchemaError("\n".join(problems))
    return found


def _column(entity: str, name: str, facts: Mapping[str, Any], is_key: bool) -> Column:
    members = tuple(facts.get("values", ()))
    edm_type = f"CDS.{entity}_{name}" if members else _TYPES[facts["type"]]
    return Column(
        name,
        edm_type,
        nullable=not is_key,
        max_length=int(facts["length"]) if "length" in facts else None,
        enum=members,
        is_key=is_key,
        required=is_key,
    )
