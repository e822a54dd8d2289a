"""EntityDefinitions of the Dataverse service, with attributes, keys and relationships."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from odata_query import ast

from p2c_lib.sandbox.dataverse_bulk import BULK_ACTIONS
from p2c_lib.sandbox.dataverse_core import NAMESPACE, Answer, Call, Failure, Work, json_answer
from p2c_lib.sandbox.dataverse_csdl import TRACKED
from p2c_lib.sandbox.grammar import QueryError, full_name, parse_expression
from p2c_lib.sandbox.query import parse_expand, split_outside
from p2c_lib.sandbox.schema import CHOICE_KINDS, Column, Entity, Schema

__all__ = ["definitions", "message_filters"]

# kind -> (AttributeType, name of the metadata type, AttributeTypeName)
ATTRIBUTE_TYPES = {
    "string": ("String", "StringAttributeMetadata", "StringType"),
    "memo": ("Memo", "MemoAttributeMetadata", "MemoType"),
    "guid": ("Uniqueidentifier", "UniqueIdentifierAttributeMetadata", "UniqueidentifierType"),
    "lookup": ("Lookup", "LookupAttributeMetadata", "LookupType"),
    "int": ("Integer", "IntegerAttributeMetadata", "IntegerType"),
    "long": ("BigInt", "BigIntAttributeMetadata", "BigIntType"),
    "picklist": ("Picklist", "PicklistAttributeMetadata", "PicklistType"),
    "state": ("State", "StateAttributeMetadata", "StateType"),
    "status": ("Status", "StatusAttributeMetadata", "StatusType"),
    "decimal": ("Decimal", "DecimalAttributeMetadata", "DecimalType"),
    "money": ("Money", "MoneyAttributeMetadata", "MoneyType"),
    "boolean": ("Boolean", "BooleanAttributeMetadata", "BooleanType"),
    "date": ("DateTime", "DateTimeAttributeMetadata", "DateTimeType"),
    "datetime": ("DateTime", "DateTimeAttributeMetadata", "DateTimeType"),
}
PRECISION_SOURCE = {None: 0, "organization": 1, "currency": 2}
REQUIRED = {None: "None", "system": "SystemRequired", "business": "ApplicationRequired"}
CUSTOMER = {"account", "contact"}


def _id(*names: str) -> str:
    return str(uuid.uuid5(NAMESPACE, "/".join(names)))


def _label(text: str) -> dict[str, Any]:
    one = {
        "Label": text,
        "LanguageCode": 1033,
        "IsManaged": True,
        "MetadataId": _id("label", text),
        "HasChanged": None,
    }
    return {"LocalizedLabels": [one], "UserLocalizedLabel": one}


def _managed(value: bool) -> dict[str, Any]:
    return {"Value": value, "CanBeChanged": False, "ManagedPropertyLogicalName": "canmodifyadditionalsettings"}


def entity_json(entity: Entity) -> dict[str, Any]:
    """The definition of a table, without its attributes, keys and relationships."""
    return {
        "MetadataId": _id(entity.type),
        "LogicalName": entity.type,
        "SchemaName": entity.schema_name,
        "EntitySetName": entity.name,
        "LogicalCollectionName": entity.name,
        "CollectionSchemaName": entity.name,
        "PrimaryIdAttribute": entity.id,
        "PrimaryNameAttribute": entity.title,
        "ObjectTypeCode": entity.code,
        "DisplayName": _label(entity.label),
        "DisplayCollectionName": _label(f"{entity.label}s"),
        "Description": _label(entity.label),
        "OwnershipType": "UserOwned" if "_ownerid_value" in entity.columns else "OrganizationOwned",
        "ChangeTrackingEnabled": entity.type in TRACKED,
        "CanCreateAttributes": _managed(True),
        "IsPrivate": False,
        "IsIntersect": False,
        "IsActivity": False,
        "IsLogicalEntity": False,
        "IsCustomEntity": entity.type.startswith("msdynce_"),
        "IsManaged": True,
        "IsOptimisticConcurrencyEnabled": True,
        "TableType": "Standard",
    }


def attribute_json(schema: Schema, entity: Entity, column: Column) -> dict[str, Any]:
    """The definition of a column, with what its type adds."""
    kind, type_name, type_value = ATTRIBUTE_TYPES[column.kind]
    if column.kind == "lookup":
        targets = [target for target, _ in column.binds]
        if set(targets) == CUSTOMER:
            kind, type_value = "Customer", "CustomerType"
        elif column.logical == "ownerid":
            kind, type_value = "Owner", "OwnerType"
    definition: dict[str, Any] = {
        "@odata.type": f"#{schema.namespace}.{type_name}",
        "MetadataId": _id(entity.type, column.logical),
        "LogicalName": column.logical,
        "SchemaName": column.schema_name,
        "EntityLogicalName": entity.type,
        "AttributeType": kind,
        "AttributeTypeName": {"Value": type_value},
        "AttributeOf": None,
        "DisplayName": _label(column.label),
        "RequiredLevel": {"Value": REQUIRED[column.required], "CanBeChanged": True},
        "IsValidForCreate": column.create,
        "IsValidForUpdate": column.update,
        "IsValidForRead": True,
        "IsPrimaryId": column.name == entity.id,
        "IsPrimaryName": column.name == entity.title,
        "IsCustomAttribute": column.logical.startswith("msdynce_"),
        "IsLogical": False,
        "IsManaged": True,
    }
    return definition | _typed(schema, entity, column)


def _typed(schema: Schema, entity: Entity, column: Column) -> dict[str, Any]:
    if column.kind in ("string", "memo"):
        return {"MaxLength": column.length, "Format": "Text" if column.kind == "string" else "TextArea"}
    if column.kind == "money":
        return {
            "Precision": column.precision,
            "PrecisionSource": PRECISION_SOURCE[column.precision_from],
            "MinValue": -922337203685477,
            "MaxValue": 922337203685477,
            "IsBaseCurrency": column.name.endswith("_base"),
            "CalculationOf": column.name.removesuffix("_base") if column.name.endswith("_base") else None,
        }
    if column.kind == "decimal":
        return {"Precision": column.precision, "MinValue": -100000000000, "MaxValue": 100000000000}
    if column.kind == "int":
        low, high = column.minimum, column.maximum
        return {"MinValue": -2147483648 if low is None else low, "MaxValue": 2147483647 if high is None else high}
    if column.kind == "lookup":
        return {"Targets": [target for target, _ in column.binds]}
    if column.kind in ("date", "datetime"):
        behavior = "DateOnly" if column.kind == "date" else "UserLocal"
        only = column.kind == "date" or column.format == "DateOnly"
        return {"Format": "DateOnly" if only else "DateAndTime", "DateTimeBehavior": {"Value": behavior}}
    if column.kind == "boolean":
        labels = {0: "No", 1: "Yes"} | dict(column.options)
        options = {
            f"{name}Option": _option(column, value, labels[value]) for value, name in ((0, "False"), (1, "True"))
        }
        return {
            "DefaultValue": bool(column.default),
            "OptionSet": {"MetadataId": _id(entity.type, column.logical, "options"), "Name": None, **options},
            "GlobalOptionSet": None,
        }
    if column.kind in CHOICE_KINDS:
        return {
            "OptionSet": {
                "MetadataId": _id(entity.type, column.logical, "options"),
                "Name": f"{entity.type}_{column.logical}",
                "IsGlobal": False,
                "OptionSetType": ATTRIBUTE_TYPES[column.kind][0],
                "Options": [_option(column, value, text) for value, text in column.options.items()],
            },
            "GlobalOptionSet": None,
        }
    return {}


def _option(column: Column, value: int, text: str) -> dict[str, Any]:
    option = {"Value": value, "Label": _label(text), "Color": None, "IsManaged": True, "ExternalValue": ""}
    return option | ({"State": column.state_of[value]} if value in column.state_of and column.kind == "status" else {})


def key_json(entity: Entity, name: str, columns: Sequence[str]) -> dict[str, Any]:
    """The definition of an alternate key."""
    return {
        "MetadataId": _id(entity.type, "key", name),
        "LogicalName": name.lower(),
        "SchemaName": name,
        "EntityLogicalName": entity.type,
        "DisplayName": _label(name),
        "KeyAttributes": list(columns),
        "EntityKeyIndexStatus": "Active",
        "IsManaged": True,
    }


def relationships_json(schema: Schema, entity: Entity) -> list[dict[str, Any]]:
    """Many-to-one relationships: which navigation property writes which lookup."""
    return [
        {
            "MetadataId": _id(entity.type, "n1", nav),
            "SchemaName": f"{target}_{entity.name}_{nav}",
            "RelationshipType": "OneToManyRelationship",
            "ReferencingEntity": entity.type,
            "ReferencingAttribute": column.logical,
            "ReferencingEntityNavigationPropertyName": nav,
            "ReferencedEntity": target,
            "ReferencedAttribute": schema.by_type[target].id,
            "ReferencedEntityNavigationPropertyName": f"{target}_{entity.name}_{nav}",
        }
        for nav, (column, target) in entity.lookups.items()
    ]


# filters over definitions -------------------------------------------------------------------------------------------
def _operand(node: Any, row: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Identifier):
        if node.name not in row:
            raise QueryError(f"Could not find a property named '{full_name(node)}'.")
        return row[node.name]
    if isinstance(node, ast.Attribute):
        owner = _operand(node.owner, row)
        return owner.get(node.attr) if isinstance(owner, Mapping) else None
    if isinstance(node, ast.Call) and len(node.args) == 1:  # an enum literal
        return getattr(node.args[0], "val", None)
    value = getattr(node, "py_val", node)
    return str(value) if isinstance(value, uuid.UUID) else value


def meets(text: str, row: Mapping[str, Any]) -> bool:
    """Whether a definition meets a filter of eq, ne, and, or, not, contains, startswith, endswith."""

    def truth(node: Any) -> bool:
        if isinstance(node, ast.BoolOp):
            both = truth(node.left), truth(node.right)
            return all(both) if isinstance(node.op, ast.And) else any(both)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return not truth(node.operand)
        if isinstance(node, ast.Compare) and isinstance(node.comparator, ast.Eq | ast.NotEq):
            left, right = (_fold(_operand(side, row)) for side in (node.left, node.right))
            return bool((left == right) is isinstance(node.comparator, ast.Eq))
        if isinstance(node, ast.Call) and node.func.name in TEXT_TESTS:
            left, right = (str(_fold(_operand(arg, row)) or "") for arg in node.args)
            return TEXT_TESTS[node.func.name](left, right)
        raise QueryError("This filter is not supported on metadata.")

    return truth(parse_expression(text))


TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": lambda text, part: text.startswith(part),
    "endswith": lambda text, part: text.endswith(part),
}


def _fold(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _shown(
    rows: Sequence[dict[str, Any]], query: Mapping[str, str], always: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Apply ``$filter``, ``$select``, ``$expand`` and ``$top`` to definitions; MetadataId is always there."""
    chosen = [row for row in rows if "$filter" not in query or meets(query["$filter"], row)]
    if query.get("$top", "").isdigit():
        chosen = chosen[: int(query["$top"])]
    expands = {item.nav: item.options for item in parse_expand(query.get("$expand", ""))}
    names = split_outside(query["$select"]) if query.get("$select") else None
    shown = []
    for row in chosen:
        if names is not None:
            unknown = [name for name in names if name not in row and not _is_other_type(name)]
            if unknown:
                raise QueryError(f"Could not find a property named '{unknown[0]}' on the metadata type.")
        keep = [
            name
            for name in row
            if name.startswith("@") or name == "MetadataId" or name in always or names is None or name in names
        ]
        out = {name: row[name] for name in keep if name not in EXPANDABLE or name in expands}
        for nav, options in expands.items():
            if nav in row:
                value = row[nav]
                inner = split_outside(options.get("$select", ""))
                if inner and isinstance(value, dict):
                    value = {k: v for k, v in value.items() if k in inner or k == "MetadataId"}
                elif isinstance(value, list):
                    value = _shown(value, options)
                out[nav] = value
        shown.append(out)
    return shown


EXPANDABLE = {"OptionSet", "GlobalOptionSet", "Attributes", "Keys", "ManyToOneRelationships"}


def _is_other_type(name: str) -> bool:
    """Properties that only other attribute types have may be selected on the plain collection of all of them."""
    return name in {"MaxLength", "Precision", "PrecisionSource", "Targets", "Format", "MinValue", "MaxValue"}


def definitions(work: Work, call: Call) -> Answer:
    """``EntityDefinitions`` in all its forms.

    Raises:
        Failure: The path leads nowhere (404).
        QueryError: A query option is wrong.
    """
    segments = split_path(call.path)
    schema = work.schema
    key = segments[0][1]
    if key is None:
        rows = [_whole(work, entity, call) for entity in schema.entities.values()]
        return _collection(call, "EntityDefinitions", _shown(rows, call.query))
    entity = _by_key(key, {_id(e.type): e for e in schema.entities.values()}, schema.by_type, "LogicalName")
    if len(segments) == 1:
        row = _shown([_whole(work, entity, call)], {k: v for k, v in call.query.items() if k != "$filter"})[0]
        return json_answer({"@odata.context": f"{call.root}/$metadata#EntityDefinitions/$entity"} | row)
    part, part_key = segments[1]
    context = f"EntityDefinitions('{entity.type}')/{part}"
    if part == "Keys":
        rows = [key_json(entity, key_name, columns) for key_name, columns in work.keys(entity).items()]
    elif part in ("ManyToOneRelationships", "OneToManyRelationships", "ManyToManyRelationships"):
        rows = relationships_json(schema, entity) if part == "ManyToOneRelationships" else []
    elif part == "Attributes":
        rows = [attribute_json(schema, entity, column) for column in entity.columns.values()]
    else:
        raise Failure(404, "0x80060888", f"Resource not found for the segment '{part}'.")
    casts = [segment for segment, _ in segments[2:] if segment.startswith(schema.namespace)]
    if casts:
        rows = [row for row in rows if row.get("@odata.type") == f"#{casts[0]}"]
    if part_key is not None:
        row = _by_key(part_key, {r["MetadataId"]: r for r in rows}, {r["LogicalName"]: r for r in rows}, "LogicalName")
        return json_answer(
            {"@odata.context": f"{call.root}/$metadata#{context}/$entity"} | _shown([row], call.query)[0]
        )
    if casts:
        rows = [{name: value for name, value in row.items() if name != "@odata.type"} for row in rows]
    return _collection(call, context, _shown(rows, call.query))


def _whole(work: Work, entity: Entity, call: Call) -> dict[str, Any]:
    """A table's definition, with the collections that are to be expanded."""
    row = entity_json(entity)
    expands = {item.nav for item in parse_expand(call.query.get("$expand", ""))}
    if "Attributes" in expands:
        row["Attributes"] = [attribute_json(work.schema, entity, column) for column in entity.columns.values()]
    if "Keys" in expands:
        row["Keys"] = [key_json(entity, name, columns) for name, columns in work.keys(entity).items()]
    if "ManyToOneRelationships" in expands:
        row["ManyToOneRelationships"] = relationships_json(work.schema, entity)
    return row


def _collection(call: Call, context: str, rows: list[dict[str, Any]]) -> Answer:
    body: dict[str, Any] = {"@odata.context": f"{call.root}/$metadata#{context}"}
    if call.query.get("$count", "").lower() == "true":
        body["@odata.count"] = len(rows)
    return json_answer(body | {"value": rows})


def _by_key(key: str, by_id: Mapping[str, Any], by_name: Mapping[str, Any], name: str) -> Any:
    match = re.fullmatch(rf"\s*{name}\s*=\s*'((?:[^']|'')*)'\s*", key)
    found = by_name.get(match[1]) if match else by_id.get(key.strip().lower())
    if found is None:
        raise Failure(404, "0x80060888", f"Could not find a metadata record with the key ({key}).")
    return found


def split_path(path: str) -> list[tuple[str, str | None]]:
    """Cut a path into segments and their keys: ``accounts(1)/name`` -> ``[("accounts", "1"), ("name", None)]``."""
    segments: list[tuple[str, str | None]] = []
    for part in split_outside(path, "/"):
        match = re.fullmatch(r"([^()]+)(?:\((.*)\))?", part, re.DOTALL)
        if match is None:
            raise Failure(400, "0x80060888", f"Bad Request - Error in query syntax: '{part[:100]}'.")
        segments.append((match[1], match[2]))
    return segments


def message_filters(work: Work, call: Call) -> Answer:
    """``sdkmessagefilters``: which bulk actions a table has (all of them, here)."""
    rows = [
        {
            "sdkmessagefilterid": _id(entity.type, "message", message),
            "primaryobjecttypecode": entity.type,
            "secondaryobjecttypecode": "none",
            "sdkmessageid": {"name": message},
        }
        for entity in work.schema.entities.values()
        for message in ("Create", "Update", "Delete", *BULK_ACTIONS)
    ]
    query = {name: value for name, value in call.query.items() if name != "$expand"}
    shown = _shown(rows, query, always=("sdkmessagefilterid",))
    shown = [{name: value for name, value in row.items() if name != "sdkmessageid"} for row in shown]
    return _collection(call, "sdkmessagefilters", shown)
