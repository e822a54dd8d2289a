"""What an OData service says about its entity sets, read from its ``$metadata`` document.

Services declare hundreds to thousands of entity sets; each is turned into an `Entity` only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from lxml import etree

from p2c_lib.errors import SchemaError, ServiceError

__all__ = ["Column", "Entity", "Lookup", "Metadata", "near", "parse_csdl"]


@dataclass(frozen=True)
class Column:
    """One property of an entity.

    ``edm_type`` is ``Edm.String`` and so on, or the full name of an enum type; then ``enum`` holds the member names.
    ``attribute`` is the system's own word for the kind: AXType on F&O (``Date``, ``UtcDateTime``, ``Real``),
    AttributeType on Sales (``Money``, ``Picklist``); empty when the service did not say.
    """

    name: str
    edm_type: str = "Edm.String"
    nullable: bool = True
    max_length: int | None = None
    precision: int | None = None
    enum: tuple[str, ...] = ()
    is_key: bool = False
    allow_edit: bool = True
    allow_edit_on_create: bool = True
    required: bool = False
    attribute: str = ""


@dataclass(frozen=True)
class Lookup:
    """A reference to one other entity set: its Guid column, navigation property and target set."""

    column: str
    nav: str
    target: str
    target_type: str = ""
    target_key: str = ""


@dataclass(frozen=True)
class Entity:
    """One entity set: its key, columns and lookups, named as the service names them.

    ``alternate_keys`` are the active ones only. A polymorphic column stands in ``lookups`` once a target.
    ``metadata_id`` is Sales' MetadataId (None on F&O); ``label`` the entity's display name when known.
    """

    name: str
    type_name: str
    key: tuple[str, ...]
    columns: dict[str, Column]
    alternate_keys: tuple[tuple[str, ...], ...] = ()
    lookups: tuple[Lookup, ...] = ()
    metadata_id: str | None = None

    def column(self, name: str) -> Column:
        """Give a column by name.

        Args:
            name: Spelled as the service spells it.

        Returns:
            The column.

        Raises:
            SchemaError: There is no such column; the message names near matches.
        """
        try:
            return self.columns[name]
        except KeyError:
            raise SchemaError(f"{self.name}: no column '{name}'{near(name, self.columns)}") from None


@dataclass(frozen=True)
class Metadata:
    """All entity sets of one service; ``entities`` may fill itself as it is asked."""

    system: str
    entities: Mapping[str, Entity] = field(repr=False)

    def entity(self, name: str) -> Entity:
        """Give an entity set by name.

        Args:
            name: Name of the set (plural), spelled as the service spells it.

        Returns:
            The entity set.

        Raises:
            SchemaError: There is no such set; the message names near matches.
        """
        try:
            return self.entities[name]
        except KeyError:
            raise SchemaError(f"{self.system}: no entity set '{name}'{near(name, self.entities)}") from None


def near(name: str, known: Mapping[str, Any] | set[str]) -> str:
    """Say which known names look like a wrong one.

    Args:
        name: The name that is not known.
        known: Known names.

    Returns:
        ``"; near: a, b"``, or an empty text when nothing is near.
    """
    lowered = {item.lower(): item for item in known}
    found = get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    return f"; near: {', '.join(lowered[item] for item in found)}" if found else ""


Enrich = Callable[[Entity], Entity]


class _Entities(Mapping[str, Entity]):
    """Entity sets by name, built (and enriched by the service's own metadata tables) on first use."""

    def __init__(self, document: _Document, enrich: Enrich | None) -> None:
        self._document = document
        self._enrich = enrich
        self._built: dict[str, Entity] = {}

    def __getitem__(self, name: str) -> Entity:
        if name not in self._built:
            if name not in self._document.sets:
                raise KeyError(name)
            entity = self._document.entity(name)
            # Two threads may build the same one: equal values, the last stays.
            self._built[name] = self._enrich(entity) if self._enrich else entity
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in self._document.sets

    def __iter__(self) -> Iterator[str]:
        return iter(self._document.sets)

    def __len__(self) -> int:
        return len(self._document.sets)


def parse_csdl(body: bytes, system: str, enrich: Enrich | None = None) -> Metadata:
    """Read a CSDL document (OData 4.0 XML).

    Args:
        body: The document as the service sent it.
        system: ``"sales"`` or ``"fno"``.
        enrich: Adds what CSDL does not hold (lengths, keys) to an entity when it is first asked for.

    Returns:
        The metadata, its entities built on demand.

    Raises:
        ServiceError: The document is not CSDL.
    """
    # No entities, no network, no size limit: F&O's document runs to tens of megabytes.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True, load_dtd=False)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise ServiceError(f"{system}: $metadata is not XML: {error}") from None
    document = _Document(root)
    if not document.sets:
        raise ServiceError(f"{system}: $metadata declares no entity sets")
    return Metadata(system, _Entities(document, enrich))


class _Document:
    """Indexes over a CSDL tree."""

    def __init__(self, root: Any) -> None:
        self._types: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}
        self._enums: dict[str, tuple[str, ...]] = {}
        self._external: dict[str, list[Any]] = {}
        set_types: dict[str, str] = {}
        for schema in root.iter("{*}Schema"):
            space = schema.get("Namespace", "")
            if schema.get("Alias"):
                self._aliases[schema.get("Alias")] = space
            for node in schema:
                kind = etree.QName(node).localname if isinstance(node.tag, str) else ""
                if kind in ("EntityType", "ComplexType"):
                    self._types[f"{space}.{node.get('Name')}"] = node
                elif kind == "EnumType":
                    members = tuple(member.get("Name") for member in node.findall("{*}Member"))
                    self._enums[f"{space}.{node.get('Name')}"] = members
                elif kind == "Annotations":
                    self._external[node.get("Target", "")] = node.findall("{*}Annotation")
                elif kind == "EntityContainer":
                    for entry in node.findall("{*}EntitySet"):
                        set_types[entry.get("Name")] = entry.get("EntityType", "")
        self.sets = {name: self._full(kind) for name, kind in set_types.items()}

    @cached_property
    def _set_of(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, kind in self.sets.items():
            found.setdefault(kind, name)
        return found

    def _full(self, name: str) -> str:
        space, _, last = name.rpartition(".")
        return f"{self._aliases.get(space, space)}.{last}"

    def _lineage(self, kind: str) -> list[tuple[str, Any]]:
        """The type and its bases, the root first."""
        found: list[tuple[str, Any]] = []
        while kind in self._types and all(kind != seen for seen, _ in found):
            node = self._types[kind]
            found.insert(0, (kind, node))
            kind = self._full(node.get("BaseType", ""))
        return found

    def _key(self, kind: str) -> tuple[str, ...]:
        for _, node in reversed(self._lineage(kind)):
            refs = node.findall("{*}Key/{*}PropertyRef")
            if refs:
                return tuple(ref.get("Name") for ref in refs)
        return ()

    def entity(self, name: str) -> Entity:
        kind = self.sets[name]
        key = self._key(kind)
        columns: dict[str, Column] = {}
        lookups: list[Lookup] = []
        for owner, node in self._lineage(kind):
            for prop in node.findall("{*}Property"):
                column = self._column(owner, prop, key)
                columns[column.name] = column
            for nav in node.findall("{*}NavigationProperty"):
                target = self._full(nav.get("Type", ""))
                for constraint in nav.findall("{*}ReferentialConstraint"):
                    # Sales only: there the constrained column is the Guid behind the lookup. F&O's relations
                    # run over several columns and are no lookups in this sense.
                    if target in self._set_of and constraint.get("Property", "").startswith("_"):
                        lookups.append(
                            Lookup(
                                column=constraint.get("Property"),
                                nav=nav.get("Name"),
                                target=self._set_of[target],
                                target_type=target.rpartition(".")[2],
                                target_key=constraint.get("ReferencedProperty", ""),
                            )
                        )
        return Entity(name, kind.rpartition(".")[2], key, columns, lookups=tuple(lookups))

    def _column(self, owner: str, prop: Any, key: tuple[str, ...]) -> Column:
        name, edm_type = prop.get("Name"), prop.get("Type", "Edm.String")
        if not edm_type.startswith(("Edm.", "Collection(")):
            edm_type = self._full(edm_type)
        notes: dict[str, str] = {}
        for note in [*prop.findall("{*}Annotation"), *self._external.get(f"{owner}/{name}", [])]:
            value = next((note.get(form) for form in ("Bool", "String", "EnumMember") if note.get(form)), None)
            if value is None:  # the long form: <Annotation><EnumMember>..</EnumMember></Annotation>
                value = next((child.text or "" for child in note), "true")
            notes[note.get("Term", "").rpartition(".")[2]] = value
        computed = notes.get("Computed", "false") == "true" or notes.get("Permissions", "").endswith("Read")
        return Column(
            name=name,
            edm_type=edm_type,
            nullable=prop.get("Nullable", "true") != "false",
            max_length=_number(prop.get("MaxLength")),
            precision=_number(prop.get("Scale")),
            enum=self._enums.get(edm_type, ()),
            is_key=name in key,
            allow_edit=notes.get("AllowEdit", "true") == "true" and not computed,
            allow_edit_on_create=notes.get("AllowEditOnCreate", "true") == "true" and not computed,
            required=notes.get("IsRequired", "false") == "true",
            attribute=notes.get("AXType", "").rpartition("/")[2],
        )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def with_definitions(entity: Entity, tables: Mapping[str, list[dict[str, Any]]], metadata_id: str | None) -> Entity:
    """Add to a Sales entity what only its EntityDefinitions hold.

    Args:
        entity: As read from CSDL.
        tables: ``attributes``, ``lengths``, ``precisions``: one record a column, with ``LogicalName`` and
            ``AttributeType``, ``RequiredLevel``, ``IsValidForCreate``, ``IsValidForUpdate``, ``MaxLength``,
            ``Precision``; ``keys``: records with ``KeyAttributes`` and ``EntityKeyIndexStatus``.
        metadata_id: The entity's MetadataId.

    Returns:
        The entity with lengths, decimal places, required and editable marks, and its active alternate keys.
    """
    lengths = {row["LogicalName"]: row.get("MaxLength") for row in tables["lengths"]}
    precisions = {row["LogicalName"]: row.get("Precision") for row in tables["precisions"]}
    facts = {row["LogicalName"]: row for row in tables["attributes"]}
    columns = dict(entity.columns)
    for name, column in entity.columns.items():
        # A lookup stands in EntityDefinitions under its logical name, without the wrapping of the Guid column.
        logical = name[1:-6] if name.startswith("_") and name.endswith("_value") else name
        fact = facts.get(logical, {})
        level = fact.get("RequiredLevel")
        columns[name] = replace(
            column,
            max_length=lengths.get(logical) or column.max_length,
            precision=precisions[logical] if precisions.get(logical) is not None else column.precision,
            allow_edit=fact.get("IsValidForUpdate", column.allow_edit),
            allow_edit_on_create=fact.get("IsValidForCreate", column.allow_edit_on_create),
            required=(level.get("Value") if isinstance(level, dict) else level) == "SystemRequired",
            attribute=fact.get("AttributeType") or column.attribute,
        )
    names = {
        (logical[1:-6] if logical.startswith("_") and logical.endswith("_value") else logical): logical
        for logical in entity.columns
    }
    alternate = tuple(
        tuple(names.get(part, part) for part in row.get("KeyAttributes", ()))
        for row in tables["keys"]
        if row.get("EntityKeyIndexStatus") == "Active"
    )
    return replace(entity, columns=columns, alternate_keys=alternate, metadata_id=metadata_id)
