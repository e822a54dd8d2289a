"""What Finance and Operations says about itself: service document, EDMX, and the read-only ``/metadata`` service."""

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from p2c_lib.sandbox.fno_wire import (
    NAMESPACE,
    Answer,
    Call,
    FnoError,
    bad_query,
    json_answer,
    not_found,
    split_resource,
)
from p2c_lib.sandbox.schema import Column, Entity, Schema

READ_ONLY_SETS = frozenset(
    {
        "SellableReleasedProducts",
        "ExternallyMaintainedCustomerSalesInvoiceHeaders",
        "ExternallyMaintainedCustomerSalesInvoiceLines",
    }
)
_VOCABULARY = "Microsoft.Dynamics.OData.Core.V1"
_AX_TYPES = {"string": "String", "int": "Int32", "long": "Int64", "decimal": "Real", "enum": "Enum"}


def service_document(schema: Schema, call: Call) -> Answer:
    """List the entity sets."""
    sets = [{"name": name, "kind": "EntitySet", "url": name} for name in schema.entities]
    return json_answer(200, {"@odata.context": f"{call.root}/data/$metadata", "value": sets})


def edmx(schema: Schema) -> bytes:
    """Write ``$metadata``: EDMX 4.0 without lengths and precisions, with this service's own annotations."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">',
        f'<edmx:DataServices><Schema Namespace="{NAMESPACE}" xmlns="http://docs.oasis-open.org/odata/ns/edm">',
    ]
    for name, members in schema.enums.items():
        lines.append(f"<EnumType Name={quoteattr(name)}>")
        lines += [f'<Member Name={quoteattr(member)} Value="{value}" />' for member, value in members.items()]
        lines.append("</EnumType>")
    for entity in schema.entities.values():
        lines.append(f"<EntityType Name={quoteattr(entity.type)}><Key>")
        lines += [f"<PropertyRef Name={quoteattr(name)} />" for name in entity.key]
        lines.append("</Key>")
        for column in entity.columns.values():
            lines += _property(entity, column)
        lines.append(f'<Annotation Term="{_VOCABULARY}.LabelId" String={quoteattr(entity.label)} /></EntityType>')
    lines.append('<EntityContainer Name="Resources">')
    lines += [
        f'<EntitySet Name={quoteattr(entity.name)} EntityType="{NAMESPACE}.{entity.type}" />'
        for entity in schema.entities.values()
    ]
    lines.append("</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>")
    return "\n".join(lines).encode()


def _property(entity: Entity, column: Column) -> list[str]:
    kind = f"{NAMESPACE}.{column.enum}" if column.kind == "enum" else column.edm_type
    nullable = "" if column.nullable else ' Nullable="false"'
    facts = _facts(entity, column)
    return [
        f'<Property Name={quoteattr(column.name)} Type="{kind}"{nullable}>',
        f'<Annotation Term="{_VOCABULARY}.AXType"><EnumMember>{_VOCABULARY}.AXType/{ax_type(column)}</EnumMember>'
        "</Annotation>",
        *(
            f'<Annotation Term="{_VOCABULARY}.{term}" Bool="{str(value).lower()}" />'
            for term, value in (
                ("IsRequired", facts["IsMandatory"]),
                ("AllowEdit", facts["AllowEdit"]),
                ("AllowEditOnCreate", facts["AllowEditOnCreate"]),
            )
        ),
        "</Property>",
    ]


def ax_type(column: Column) -> str:
    """Name the X++ type behind a column."""
    if column.kind == "datetime":
        return "Date" if column.format == "DateOnly" else "UtcDateTime"
    return _AX_TYPES[column.kind]


def _facts(entity: Entity, column: Column) -> dict[str, bool]:
    is_read_only, is_key = entity.name in READ_ONLY_SETS, column.name in entity.key
    return {
        "IsKey": is_key,
        "IsMandatory": column.required is not None or is_key,
        "AllowEdit": column.update and not is_key and not is_read_only,
        "AllowEditOnCreate": column.create and not is_read_only,
    }


def public_entity(entity: Entity, schema: Schema) -> dict[str, Any]:
    """Describe an entity as ``/metadata/PublicEntities`` does."""
    return {
        "Name": entity.type,
        "EntitySetName": entity.name,
        "LabelId": entity.label,
        "IsReadOnly": entity.name in READ_ONLY_SETS,
        "ConfigurationEnabled": True,
        "Properties": [
            {
                "Name": column.name,
                "TypeName": f"{NAMESPACE}.{column.enum}" if column.kind == "enum" else column.edm_type,
                "DataType": ax_type(column),
                "LabelId": column.label,
                **_facts(entity, column),
                "IsDimension": False,
            }
            for column in entity.columns.values()
        ],
        "NavigationProperties": [],
        "PropertyGroups": [],
        "Actions": [],
    }


def _data_entity(entity: Entity, schema: Schema) -> dict[str, Any]:
    return {
        "Name": entity.schema_name,
        "PublicEntityName": entity.type,
        "PublicCollectionName": entity.name,
        "LabelId": entity.label,
        "DataServiceEnabled": True,
        "DataManagementEnabled": True,
        "IsReadOnly": entity.name in READ_ONLY_SETS,
    }


def metadata_service(schema: Schema, call: Call) -> Answer:
    """Serve ``/metadata``: PublicEntities, DataEntities and PublicEnumerations, one row by name or all of them.

    Raises:
        FnoError: 405 for anything but GET, 404 for unknown sets and names, 400 for filters it does not know.
    """
    if call.method != "GET":
        raise FnoError(405, "The metadata service is read-only.")
    name, key, rest = split_resource(call.path)
    rows: list[dict[str, Any]]
    if name == "PublicEntities":
        rows = [public_entity(entity, schema) for entity in schema.entities.values()]
    elif name == "DataEntities":
        rows = [_data_entity(entity, schema) for entity in schema.entities.values()]
    elif name == "PublicEnumerations":
        rows = [
            {"Name": enum, "LabelId": enum, "Members": [{"Name": m, "Value": v} for m, v in members.items()]}
            for enum, members in schema.enums.items()
        ]
    else:
        raise not_found(f"No HTTP resource was found that matches the request URI '{call.root}/metadata/{name}'.")
    context = f"{call.root}/metadata/$metadata#{name}"
    if key is not None:
        wanted = key.removeprefix("Name=").strip("'")
        found = next((row for row in rows if row["Name"].casefold() == wanted.casefold()), None)
        if found is None or rest:
            raise not_found("No resource matches the key.")
        return json_answer(200, {"@odata.context": f"{context}/$entity", **found})
    rows = [row for row in rows if _passes(row, call.query)]
    if "$select" in call.query:
        shown = [part.strip() for part in call.query["$select"].split(",")]
        rows = [{column: row[column] for column in shown if column in row} for row in rows]
    return json_answer(200, {"@odata.context": context, "value": rows})


def _passes(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    text = query.get("$filter", "").strip()
    if not text:
        return True
    found = re.fullmatch(r"contains\(tolower\((\w+)\),\s*'([^']*)'\)", text)
    if found and isinstance(row.get(found[1]), str):
        return found[2] in row[found[1]].lower()
    found = re.fullmatch(r"(\w+) eq '([^']*)'", text)
    if found and isinstance(row.get(found[1]), str):
        return bool(row[found[1]].casefold() == found[2].casefold())
    raise bad_query(f"The filter '{text}' is not understood here.")
