"""What the sandbox serves: entities and columns of both systems, read from ``schema/*.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from p2c_lib.errors import SandboxError

__all__ = ["Column", "Entity", "Schema", "load_schema"]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML was built so: a second less a start
FOLDER = Path(__file__).with_suffix("")  # schema.py and the folder schema/ stand side by side

EDM = {
    "string": "Edm.String",
    "memo": "Edm.String",
    "guid": "Edm.Guid",
    "lookup": "Edm.Guid",
    "int": "Edm.Int32",
    "picklist": "Edm.Int32",
    "state": "Edm.Int32",
    "status": "Edm.Int32",
    "long": "Edm.Int64",
    "decimal": "Edm.Decimal",
    "money": "Edm.Decimal",
    "boolean": "Edm.Boolean",
    "date": "Edm.Date",
    "datetime": "Edm.DateTimeOffset",
    "enum": "enum",
}
TEXT_KINDS = frozenset({"string", "memo", "guid", "lookup", "enum", "date", "datetime"})
DECIMAL_KINDS = frozenset({"decimal", "money"})
CHOICE_KINDS = frozenset({"picklist", "state", "status"})

# How X++ writes "no date": a date at noon, a date with time at midnight (both UTC).
EMPTY_DATE = "1900-01-01T12:00:00Z"
EMPTY_DATETIME = "1900-01-01T00:00:00Z"


@dataclass(frozen=True)
class Column:
    """One property of an entity.

    ``name`` is the property on the wire and the column in the store (a Sales lookup: ``_x_value``), ``logical`` the
    attribute's name. ``binds`` pairs a lookup's target types with the navigation property that writes it.
    ``default`` is what a new row holds when nothing is given; on F&O no column is ever null.
    """

    name: str
    logical: str
    kind: str
    nullable: bool = True
    length: int | None = None
    precision: int | None = None
    precision_from: Literal["currency", "organization"] | None = None
    minimum: int | None = None
    maximum: int | None = None
    required: Literal["system", "business"] | None = None
    create: bool = True
    update: bool = True
    default: Any = None
    options: Mapping[int, str] = field(default_factory=dict)
    state_of: Mapping[int, int] = field(default_factory=dict)
    binds: tuple[tuple[str, str], ...] = ()
    enum: str | None = None
    format: str | None = None
    schema_name: str = ""
    label: str = ""

    @property
    def edm_type(self) -> str:
        """Its EDM primitive type, or ``"enum"``."""
        return EDM[self.kind]

    @property
    def is_text(self) -> bool:
        """Whether the store holds it as text (compared without case)."""
        return self.kind in TEXT_KINDS

    @property
    def is_decimal(self) -> bool:
        """Whether it is an exact number, held as decimal text."""
        return self.kind in DECIMAL_KINDS

    @property
    def is_polymorphic(self) -> bool:
        """Whether the lookup has more than one target; the target type then stands in ``type_column``."""
        return len(self.binds) > 1

    @property
    def type_column(self) -> str:
        """Store column that holds the target type of a polymorphic lookup: ``_parentcustomerid_type``."""
        return f"_{self.logical}_type"


@dataclass(frozen=True)
class Entity:
    """One entity set; ``name`` is the set, ``type`` the entity type (Sales: the logical name)."""

    name: str
    type: str
    schema_name: str
    label: str
    key: tuple[str, ...]
    alternate_keys: Mapping[str, tuple[str, ...]]
    indexes: tuple[str, ...]
    columns: Mapping[str, Column]
    title: str | None = None
    code: int | None = None

    @property
    def id(self) -> str:
        """First key column; on Sales the primary id."""
        return self.key[0]

    @cached_property
    def lookups(self) -> Mapping[str, tuple[Column, str]]:
        """Navigation property -> (lookup column, target type)."""
        return {nav: (column, target) for column in self.columns.values() for target, nav in column.binds}

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Columns that must not be blank: those that are required, and the key."""
        return tuple(name for name, column in self.columns.items() if column.required or name in self.key)

    @cached_property
    def texts(self) -> Mapping[str, int]:
        """Longest length of every text column that has one."""
        return {name: c.length for name, c in self.columns.items() if c.kind == "string" and c.length}

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """What columns hold where nothing is given."""
        return {name: column.default for name, column in self.columns.items() if column.default is not None}

    @cached_property
    def given(self) -> tuple[Column, ...]:
        """Columns that the service itself wants of a new row."""
        return tuple(column for column in self.columns.values() if column.required == "system" and column.create)

    @cached_property
    def amounts(self) -> tuple[Column, ...]:
        """Money that is not worked out from other money: every one but those in the base currency."""
        return tuple(c for name, c in self.columns.items() if c.kind == "money" and not name.endswith("_base"))

    @cached_property
    def by_logical(self) -> Mapping[str, Column]:
        """Columns by attribute name (differs from the property name for Sales lookups)."""
        return {column.logical: column for column in self.columns.values()}


@dataclass(frozen=True)
class Schema:
    """All entities of one system."""

    system: Literal["sales", "fno"]
    namespace: str
    entities: Mapping[str, Entity]
    enums: Mapping[str, Mapping[str, int]]

    @cached_property
    def by_type(self) -> Mapping[str, Entity]:
        """Entities by type name."""
        return {entity.type: entity for entity in self.entities.values()}


@cache
def without(system: Literal["sales", "fno"], prefix: str) -> Schema:
    """The schema as it is where the solution of a publisher prefix is not installed: without its tables and columns."""
    schema = load_schema(system)
    entities = {
        entity.name: replace(
            entity,
            columns={name: column for name, column in entity.columns.items() if not name.startswith(prefix)},
            alternate_keys={
                name: columns
                for name, columns in entity.alternate_keys.items()
                if not any(column.startswith(prefix) for column in columns)
            },
        )
        for entity in schema.entities.values()
        if not entity.type.startswith(prefix)
    }
    return replace(schema, entities=entities)


def _column(name: str, raw: Mapping[str, Any], key: tuple[str, ...], system: str, enums: Mapping[str, Any]) -> Column:
    kind = raw["type"]
    if kind not in EDM:
        raise SandboxError(f"schema of {system}: column {name}: no type {kind!r}; known: {', '.join(EDM)}")
    default, nullable = raw.get("default"), name not in key
    if system == "fno":
        is_date = raw.get("format") == "DateOnly"
        default = {
            "string": "",
            "int": 0,
            "long": 0,
            "decimal": "0",
            "datetime": EMPTY_DATE if is_date else EMPTY_DATETIME,
        }.get(kind)
        if kind == "enum":
            default = min(enums[raw["enum"]], key=enums[raw["enum"]].__getitem__)
        nullable = nullable and kind in ("string", "enum")
    return Column(
        name=f"_{name}_value" if kind == "lookup" else name,
        logical=name,
        kind=kind,
        nullable=nullable,
        length=raw.get("length"),
        precision=raw.get("precision"),
        precision_from=raw.get("precision_from"),
        minimum=raw.get("min"),
        maximum=raw.get("max"),
        required=raw.get("required"),
        create=raw.get("create", True),
        update=raw.get("update", True),
        default=default,
        options=raw.get("options", {}),
        state_of=raw.get("state_of", {}),
        binds=tuple(raw.get("bind", {}).items()),
        enum=raw.get("enum"),
        format=raw.get("format"),
        schema_name=raw.get("schema_name", name),
        label=raw.get("label", name),
    )


@cache
def load_schema(system: Literal["sales", "fno"]) -> Schema:
    """Read the entities of a system.

    Args:
        system: ``"sales"`` or ``"fno"``.

    Returns:
        The schema, the same object at every call.

    Raises:
        SandboxError: No such system, or a column of a type nobody knows.
    """
    path = FOLDER / f"{system}.yaml"
    if not path.is_file():
        raise SandboxError(f"no schema for system {system!r}; known: sales, fno")
    raw = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    enums: dict[str, dict[str, int]] = raw.get("enums", {})
    entities = {}
    for name, body in raw["entities"].items():
        key = tuple(body["key"])
        columns = [_column(column, spec, key, raw["system"], enums) for column, spec in body["columns"].items()]
        entities[name] = Entity(
            name=name,
            type=body["type"],
            schema_name=body["schema_name"],
            label=body["label"],
            key=key,
            alternate_keys={key_name: tuple(parts) for key_name, parts in body.get("alternate_keys", {}).items()},
            indexes=tuple(body.get("indexes", ())),
            columns={column.name: column for column in columns},
            title=body.get("title"),
            code=body.get("code"),
        )
    return Schema(system=raw["system"], namespace=raw["namespace"], entities=entities, enums=enums)
