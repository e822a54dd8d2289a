"""What is inside of a data package: ``PackageHeader.xml``, ``Manifest.xml`` and one data file an entity.

Seen in real packages: names and namespace of both XML files, entities by their label, fields by their upper-case name,
the source formats, UTF-16 for ``CSV-Unicode``, CRLF line ends, and the words of the refusals for a missing header, an
unknown entity, line ends that are LF alone and a file that is not Unicode. The words of the others are inferred.
"""

import csv
import io
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from p2c_lib.sandbox.schema import Entity, Schema

NAMESPACE = "http://schemas.microsoft.com/dynamics/2015/01/DataManagement"
MANIFEST_TYPE = (
    "Microsoft.Dynamics.AX.Framework.Tools.DataManagement.Serialization.DataManagementPackageManifest"  # of the header
)
COMPANY = "dataAreaId"  # no field of a package: the whole import is for one legal entity
_FORMATS = frozenset({"CSV-UNICODE", "CSV", "XML-ELEMENT", "XML-ATTRIBUTE"})
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"


class PackageError(Exception):
    """The package as a whole cannot be imported."""


class FileError(Exception):
    """One entity's data file cannot be read; the package's other entities go on."""


@dataclass(frozen=True)
class Field:
    """One field of the map: its name in the file, its column, and whether a number sequence fills it."""

    source: str
    column: str
    is_generated: bool = False


@dataclass(frozen=True)
class Part:
    """One entity of a package."""

    entity: Entity
    fields: tuple[Field, ...]
    file: str
    format: str


@dataclass(frozen=True)
class Package:
    """What the manifest says: the data project's name, and its entities in the order of their execution."""

    group: str
    parts: tuple[Part, ...]


def entity_by_label(schema: Schema, label: str) -> Entity | None:
    """Find an entity by the name that data management has for it: its label, without case."""
    wanted = label.strip().casefold()
    return next((entity for entity in schema.entities.values() if entity.label.casefold() == wanted), None)


def fields_of(entity: Entity) -> dict[str, str]:
    """Names of an entity's fields in packages -> its columns."""
    return {name.upper(): name for name in entity.columns if name != COMPANY}


def read_package(path: Path, schema: Schema) -> Package:
    """Read the two XML files of a package and check them against the entities there are.

    Args:
        path: The zip.
        schema: Entities of the system.

    Returns:
        The package; entities without a field map are left out, as they are without a word in a real system.

    Raises:
        PackageError: It is no zip, a file is missing or of another namespace, an entity or a field is unknown.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            header = _read_xml(archive, "PackageHeader.xml", "DataManagementPackageHeader")
            manifest = _read_xml(archive, "Manifest.xml", "DataManagementPackageManifest")
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise PackageError(f"End of Central Directory record could not be found. ({error})") from None
    if _text(header, "PackageType") != "DefinitionGroup":
        raise PackageError(f"The package type '{_text(header, 'PackageType')}' is not valid.")
    found = [
        (
            tuple(int(_text(one, name) or 0) for name in ("ExecutionUnit", "LevelInExecutionUnit", "SequenceInLevel")),
            one,
        )
        for one in manifest.iterfind(f"{{{NAMESPACE}}}PackageEntityList/{{{NAMESPACE}}}DataManagementPackageEntityData")
        if _text(one, "Disable") != "true"
    ]
    parts = [_part(one, schema) for _, one in sorted(found, key=lambda pair: pair[0])]
    return Package(_text(manifest, "DefinitionGroupName"), tuple(part for part in parts if part.fields))


def _read_xml(archive: zipfile.ZipFile, name: str, root: str) -> ElementTree.Element:
    try:
        data = archive.read(name)
    except KeyError:
        raise PackageError(f"Could not find file '{name}'.") from None
    try:
        found = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise PackageError(f"There is an error in XML document '{name}': {error}") from None
    if found.tag != f"{{{NAMESPACE}}}{root}":
        raise PackageError(
            f"Error in line 1 position 1. Expecting element '{root}' from namespace '{NAMESPACE}'. "
            f"Encountered element with name '{found.tag}'."
        )
    return found


def _text(of: ElementTree.Element, name: str) -> str:
    return (of.findtext(f"{{{NAMESPACE}}}{name}") or "").strip()


def _part(data: ElementTree.Element, schema: Schema) -> Part:
    label = _text(data, "EntityName")
    entity = entity_by_label(schema, label)
    if entity is None:
        raise PackageError(f"Entity {label} does not exist in the target environment")
    known, fields = fields_of(entity), []
    for one in data.iterfind(f"{{{NAMESPACE}}}EntityMapList/{{{NAMESPACE}}}EntityMap"):
        name = _text(one, "EntityField")
        column = known.get(name.upper())
        if column is None:
            raise PackageError(f"The mapping is incorrect for entity {label} and field {name}")
        fields.append(Field(_text(one, "XMLField") or name, column, _text(one, "IsAutoGenerated") == "true"))
    kind = _text(data, "SourceFormat").upper() or "CSV-UNICODE"
    if kind not in _FORMATS:
        raise PackageError(f"The source data format '{_text(data, 'SourceFormat')}' does not exist")
    return Part(entity, tuple(fields), _text(data, "InputFilePath") or f"{label}.csv", kind)


def read_rows(path: Path, part: Part) -> Iterator[list[str | None]]:
    """Read the rows of a part's data file.

    Args:
        path: The zip.
        part: The entity and its field map.

    Yields:
        A value for each field of the map, in its order: text, or None where an XML file has no such element.

    Raises:
        FileError: There is no such file, or it is not of its format.
        PackageError: Its columns are not those of the map.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(part.file)
    except KeyError:
        raise FileError(f"Could not find file '{part.file}'.") from None
    except zipfile.BadZipFile as error:
        raise FileError(f"The file '{part.file}' of the package is corrupt: {error}") from None
    if part.format.startswith("XML"):
        return _xml_rows(data, part)
    return _csv_rows(_decoded(data, part.format), part)


def _decoded(data: bytes, kind: str) -> str:
    if kind == "CSV-UNICODE":
        if data[:2] != b"\xff\xfe":
            raise FileError("Selected file is not Unicode")
        return data[2:].decode("utf-16-le", "replace")
    return data.decode("utf-8-sig", "replace")


def _csv_rows(text: str, part: Part) -> Iterator[list[str | None]]:
    if "\n" in text and "\r\n" not in text:
        # What it says is misleading, and the guid is another one every time.
        raise PackageError(f"the mapping is incorrect for entity {part.entity.label} and field {{{uuid.uuid4()}}}")
    csv.field_size_limit(2**31 - 1)
    lines = csv.reader(io.StringIO(text, newline=""))
    head = {name.strip().upper(): place for place, name in enumerate(next(lines, []))}
    places = []
    for field in part.fields:
        if field.source.upper() not in head:
            raise PackageError(f"The mapping is incorrect for entity {part.entity.label} and field {field.source}")
        places.append(head[field.source.upper()])
    missing: list[str | None] = [None] * len(head)
    return ([[*line, *missing][place] for place in places] for line in lines if line)


def _xml_rows(data: bytes, part: Part) -> Iterator[list[str | None]]:
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise FileError(f"There is an error in XML document '{part.file}': {error}") from None
    names = [field.source.upper() for field in part.fields]
    for row in root:
        if part.format == "XML-ATTRIBUTE":
            given = {name.upper(): value for name, value in row.attrib.items()}
        else:
            given = {one.tag.upper(): one.text or "" for one in row if one.get(_NIL) != "true"}
        yield [given.get(name) for name in names]


# --- written by the service itself --------------------------------------------------------------------------------


def csv_bytes(names: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Write a file as data management does: UTF-16 with its mark, CRLF, a line of names first."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows(rows)
    return b"\xff\xfe" + text.getvalue().encode("utf-16-le")


def write_package(
    path: Path, group: str, parts: Mapping[str, tuple[Sequence[str], Iterable[Sequence[object]]]]
) -> None:
    """Write a package, as an export does.

    Args:
        path: The zip to make.
        group: The data project.
        parts: Label of an entity -> its fields and its rows.
    """
    entities = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for label, (names, rows) in parts.items():
            archive.writestr(f"{label}.csv", csv_bytes(names, rows))
            maps = "".join(
                f"<EntityMap><ArrayIndex>0</ArrayIndex><EntityField>{name}</EntityField><XMLField>{name}</XMLField>"
                "</EntityMap>"
                for name in names
            )
            entities.append(
                f"<DataManagementPackageEntityData><EntityMapList>{maps}</EntityMapList>"
                f"<EntityName>{escape(label)}</EntityName><InputFilePath>{escape(label)}.csv</InputFilePath>"
                "<SourceFormat>CSV-Unicode</SourceFormat></DataManagementPackageEntityData>"
            )
        manifest = (
            f"<DefinitionGroupName>{escape(group)}</DefinitionGroupName><PackageEntityList>{''.join(entities)}"
            "</PackageEntityList>"
        )
        header = (
            f"<Description>{escape(group)}</Description><ManifestType>{MANIFEST_TYPE}</ManifestType>"
            "<PackageType>DefinitionGroup</PackageType><PackageVersion>2</PackageVersion>"
        )
        for name, root, body in (
            ("Manifest.xml", "DataManagementPackageManifest", manifest),
            ("PackageHeader.xml", "DataManagementPackageHeader", header),
        ):
            text = f'<?xml version="1.0" encoding="utf-16"?><{root} xmlns="{NAMESPACE}">{body}</{root}>'
            archive.writestr(name, text.encode("utf-16"))
