"""What goes over the wire of Finance and Operations: requests, answers, error payloads, key URLs, etags, row shapes."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import orjson

from p2c_lib.sandbox.query import parse_key
from p2c_lib.sandbox.schema import DECIMAL_KINDS, Column, Entity

NAMESPACE = "Microsoft.Dynamics.DataEntities"
FIRST_RECID = 5637144576  # where RecIds of a table begin
_EDM_SHORT = {"decimal": "Decimal", "money": "Decimal", "long": "Int64", "datetime": "DateTimeOffset", "int": "Int32"}


@dataclass(frozen=True)
class Call:
    """One request, from HTTP or out of a batch.

    Attributes:
        method: Upper case.
        path: Path below the service root, still percent-encoded: ``CustomersV2(...)``.
        query: Query options, decoded.
        headers: Lower-case names.
        body: Raw body.
        root: ``https://host``, without a slash at its end.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    root: str

    @property
    def metadata_level(self) -> str:
        """``none``, ``minimal`` or ``full``, as the Accept header asks."""
        found = re.search(r"odata\.metadata=(none|minimal|full)", self.headers.get("accept", ""))
        return found[1] if found else "minimal"

    @property
    def is_cross_company(self) -> bool:
        """Whether rows of every company are asked for."""
        return self.query.get("cross-company", "").casefold() == "true"


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(status: int, content: object, headers: Mapping[str, str] | None = None) -> Answer:
    """Make an answer with a JSON body; decimals are ``orjson.Fragment`` and come out digit by digit."""
    kind = "application/json; odata.metadata=minimal; odata.streaming=true"
    return Answer(status, orjson.dumps(content), {"Content-Type": kind, "OData-Version": "4.0", **(headers or {})})


class FnoError(Exception):
    """A refusal, with the payload of this service."""

    def __init__(self, status: int, message: str, inner: str | None = None, kind: str = "") -> None:
        """Keep what the payload says.

        Args:
            status: HTTP status.
            message: Outer message.
            inner: Inner message; None leaves ``innererror`` out.
            kind: .NET type named in ``innererror``.
        """
        super().__init__(inner or message)
        self.status, self.message, self.inner, self.kind = status, message, inner, kind

    def answer(self) -> Answer:
        """Make the answer: an empty code, and the reason inside ``innererror``."""
        error: dict[str, Any] = {"code": "", "message": self.message}
        if self.inner is not None:
            error["innererror"] = {"message": self.inner, "type": self.kind, "stacktrace": ""}
        headers = {"Allow": "GET"} if self.status == 405 else {}
        return json_answer(self.status, {"error": error}, headers)


def bad_query(reason: str) -> FnoError:
    """400 for a URL that the service cannot serve."""
    message = f"The query specified in the URI is not valid. {reason}"
    return FnoError(400, message, reason, "Microsoft.OData.ODataException")


def bad_body(reason: str) -> FnoError:
    """400 for a body that the service cannot read."""
    return FnoError(400, "An error has occurred.", reason, "Microsoft.OData.ODataException")


def not_found(what: str = "No resources were found when selecting for update.") -> FnoError:
    """404: no such set or row."""
    return FnoError(404, what)


def write_failure(entity: Entity, verb: str, infolog: Sequence[str], status: int) -> FnoError:
    """A write that X++ refused; the infolog tells why.

    Args:
        entity: What was written.
        verb: ``Write`` or ``Delete``.
        infolog: Entries such as ``Warning: The value ...``.
        status: 400, or 500 as older versions have it.

    Returns:
        The error with the outer message that never varies.
    """
    inner = f"{verb} failed for table row of type '{entity.schema_name}'. Infolog: {'; '.join(infolog)}."
    kind = f"Microsoft.Dynamics.Platform.Integration.Services.OData.AxOData{verb}Exception"
    return FnoError(status, "An error has occurred.", inner, kind)


def split_resource(path: str) -> tuple[str, str | None, list[str]]:
    """Take a resource path apart.

    Args:
        path: ``CustomersV2(dataAreaId='usmf',CustomerAccount='A%2FB')/$count``, still percent-encoded.

    Returns:
        Name, the decoded text between the key's parentheses (None without), and the segments that follow.
    """
    segments = [unquote(segment) for segment in path.strip("/").split("/")]
    found = re.fullmatch(r"([^(]*)\((.*)\)", segments[0], re.S)
    name, key = (found[1], found[2]) if found else (segments[0], None)
    return name, key, segments[1:]


def read_key(entity: Entity, text: str) -> dict[str, Any]:
    """Read a key: ``dataAreaId='usmf',CustomerAccount='A''B'``, in any order, or the bare value of a single key.

    Args:
        entity: Whose key.
        text: Decoded text between the parentheses.

    Returns:
        Value by key column.

    Raises:
        FnoError: 400 when parts are missing, unknown or not literals of the right type.
    """
    key = parse_key(text, entity)
    if key is None or set(key) != set(entity.key):
        raise bad_query(
            f"The key in the request URI is not valid for resource '{NAMESPACE}.{entity.type}'. Ensure that the names "
            f"and number of key properties match: {', '.join(entity.key)}."
        )
    return key


def key_url(entity: Entity, row: Mapping[str, Any]) -> str:
    """Write the canonical key of a row: ``CustomersV2(dataAreaId='usmf',CustomerAccount='US%20001')``."""
    parts = []
    for name in entity.key:
        column = entity.columns[name]
        value = str(wire_value(column, row[name]))
        if column.is_text and column.kind != "datetime":
            value = f"'{quote(value.replace(chr(39), chr(39) * 2), safe=chr(39))}'"
        parts.append(f"{name}={value}")
    return f"{entity.name}({','.join(parts)})"


def etag_of(row: Mapping[str, Any]) -> str:
    """Make a row's etag: the base64 of ``'RecVersion,RecId'``, quotes included."""
    pair = f"'{row['row_version']},{FIRST_RECID + row['row_id']}'"
    return f'W/"{base64.b64encode(pair.encode()).decode()}"'


def wire_value(column: Column, value: Any) -> Any:
    """Give a stored value the form it has in JSON."""
    if column.is_decimal:
        return orjson.Fragment(value)
    if column.kind == "datetime" and column.format == "DateOnly":
        return f"{value[:10]}T12:00:00Z"
    if column.name == "dataAreaId":
        return value.lower()
    return value


def wire_rows(
    entity: Entity, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], level: str, root: str
) -> list[dict[str, Any]]:
    """Give stored rows the form they have in JSON.

    Args:
        entity: What they are.
        rows: Stored rows with ``row_id``, ``row_version``, the key and the columns.
        columns: Properties to show, in their order.
        level: ``none``, ``minimal`` or ``full``.
        root: ``https://host``.

    Returns:
        A dict for each row; etag first unless the level is none.
    """
    special = [c for c in columns if c.kind in DECIMAL_KINDS or c.name == "dataAreaId" or c.format == "DateOnly"]
    names = [column.name for column in columns]
    shaped = []
    for row in rows:
        one: dict[str, Any] = {} if level == "none" else {"@odata.etag": etag_of(row)}
        if level == "full":
            link = key_url(entity, row)
            one |= {
                "@odata.type": f"#{NAMESPACE}.{entity.type}",
                "@odata.id": f"{root}/data/{link}",
                "@odata.editLink": link,
            }
            one |= {f"{c.name}@odata.type": f"#{kind}" for c in columns if (kind := _type_note(c))}
        one |= {name: row[name] for name in names}
        for column in special:
            one[column.name] = wire_value(column, row[column.name])
        shaped.append(one)
    return shaped


def _type_note(column: Column) -> str | None:
    return f"{NAMESPACE}.{column.enum}" if column.kind == "enum" else _EDM_SHORT.get(column.kind)
