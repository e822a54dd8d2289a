"""``$metadata`` of the Dataverse service (CSDL)."""

from __future__ import annotations

from typing import Any

from lxml import etree

from p2c_lib.sandbox.schema import Entity, Schema

__all__ = ["TRACKED", "csdl"]

EDMX = "http://docs.oasis-open.org/odata/ns/edmx"
EDM = "http://docs.oasis-open.org/odata/ns/edm"
TRACKED = {"account", "contact", "product", "pricelevel", "productpricelevel"}  # ChangeTrackingEnabled


def csdl(schema: Schema, with_annotations: bool = False) -> bytes:
    """The service description of Sales as XML."""
    root = etree.Element(f"{{{EDMX}}}Edmx", Version="4.0", nsmap={"edmx": EDMX})
    services = etree.SubElement(root, f"{{{EDMX}}}DataServices")
    body = etree.SubElement(services, f"{{{EDM}}}Schema", Namespace=schema.namespace, Alias="mscrm", nsmap={None: EDM})
    etree.SubElement(body, f"{{{EDM}}}EntityType", Name="crmbaseentity", Abstract="true")
    container = etree.Element(f"{{{EDM}}}EntityContainer", Name="System", nsmap={None: EDM})
    for entity in schema.entities.values():
        _entity_type(body, schema, entity, with_annotations)
        entity_set = etree.SubElement(
            container, f"{{{EDM}}}EntitySet", Name=entity.name, EntityType=f"{schema.namespace}.{entity.type}"
        )
        for nav, (_, target) in entity.lookups.items():
            etree.SubElement(
                entity_set, f"{{{EDM}}}NavigationPropertyBinding", Path=nav, Target=schema.by_type[target].name
            )
    body.append(container)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))


def _entity_type(body: Any, schema: Schema, entity: Entity, with_annotations: bool) -> None:
    node = etree.SubElement(body, f"{{{EDM}}}EntityType", Name=entity.type, BaseType="mscrm.crmbaseentity")
    key = etree.SubElement(node, f"{{{EDM}}}Key")
    etree.SubElement(key, f"{{{EDM}}}PropertyRef", Name=entity.id)
    for column in entity.columns.values():
        prop = etree.SubElement(node, f"{{{EDM}}}Property", Name=column.name, Type=column.edm_type)
        if column.name == entity.id:
            prop.set("Nullable", "false")
        elif column.edm_type == "Edm.String":
            prop.set("Unicode", "false")
        if column.is_decimal:
            prop.set("Scale", "Variable")
        if with_annotations and not (column.create or column.update):
            etree.SubElement(prop, f"{{{EDM}}}Annotation", Term="Org.OData.Core.V1.Computed", Bool="true")
    for nav, (column, target) in entity.lookups.items():
        link = etree.SubElement(
            node,
            f"{{{EDM}}}NavigationProperty",
            Name=nav,
            Type=f"mscrm.{target}",
            Nullable="false" if column.required == "system" else "true",
        )
        etree.SubElement(
            link,
            f"{{{EDM}}}ReferentialConstraint",
            Property=column.name,
            ReferencedProperty=schema.by_type[target].id,
        )
    if with_annotations and entity.type in TRACKED:
        etree.SubElement(node, f"{{{EDM}}}Annotation", Term="Org.OData.Capabilities.V1.ChangeTracking", Bool="true")
