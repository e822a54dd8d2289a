"""Literals, keys and the grammar of OData expressions: odata-query's, and what it does not know.

Rewritten before parsing: enum literals (``Ns.NoYes'Yes'``), value arrays of query functions (``['a','b']``) and
parameter aliases (``@p1``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

from odata_query import ast, exceptions
from odata_query.grammar import ODataLexer, ODataParser

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.schema import CHOICE_KINDS, Column, Entity

__all__ = [
    "GUID",
    "QueryError",
    "edm_name",
    "full_name",
    "instant_text",
    "literal_value",
    "parse_expression",
    "parse_key",
    "split_outside",
]

GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_REWRITE = re.compile(
    r"(?P<enum>[A-Za-z_][\w.]*\.[A-Za-z_]\w*)'(?P<member>(?:[^']|'')*)'"
    r"|(?P<string>'(?:[^']|'')*')"
    r"""|\[(?P<array>(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\]"'])*)\]"""
    r"|(?P<alias>@\w+)"
)
_ITEM = re.compile(r""""(?P<double>(?:[^"\\]|\\.)*)"|(?P<single>'(?:[^']|'')*')|(?P<bare>[^\s,"']+)""")


class QueryError(SandboxError):
    """A query option cannot be understood or is not allowed; the message is for the client."""


_Rule = TypeVar("_Rule", bound=Callable[..., Any])


class _Lexer(ODataLexer):
    """odata-query's lexer, but a name may begin with any, all, null, true or false (AllowOnAccount)."""

    tokens = ODataLexer.tokens

    _: Callable[..., Callable[[_Rule], _Rule]]  # put there by the metaclass

    # rules defined anew keep their place in the order of rules
    @_(r"(?:true|false)(?!\w)")  # noqa: F821
    def BOOLEAN(self, t: Any) -> Any:  # noqa: N802
        t.value = ast.Boolean(t.value)
        return t

    @_(r"null(?!\w)")  # noqa: F821
    def NULL(self, t: Any) -> Any:  # noqa: N802
        t.value = ast.Null()
        return t

    @_(r"any(?!\w)")  # noqa: F821
    def ANY(self, t: Any) -> Any:  # noqa: N802
        t.value = ast.Any()
        return t

    @_(r"all(?!\w)")  # noqa: F821
    def ALL(self, t: Any) -> Any:  # noqa: N802
        t.value = ast.All()
        return t


def full_name(name: ast.Identifier) -> str:
    """A name with its namespace."""
    return ".".join((*name.namespace, name.name))


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _rewrite(text: str, aliases: Mapping[str, str]) -> str:
    def one(match: re.Match[str]) -> str:
        if match["enum"]:
            return f"{match['enum']}('{match['member']}')"
        if match["array"] is not None:
            items = [
                _quote(re.sub(r"\\(.)", r"\1", item["double"]))
                if item["double"] is not None
                else item["single"] or item["bare"]
                for item in _ITEM.finditer(match["array"])
            ]
            if not items:
                raise QueryError("A list of values must not be empty.")
            return "(" + ",".join(items) + (",)" if len(items) == 1 else ")")
        if match["alias"]:
            if match["alias"] not in aliases:
                raise QueryError(f"The parameter alias '{match['alias']}' has no value.")
            return _rewrite(aliases[match["alias"]], {})
        return match["string"]

    return _REWRITE.sub(one, text)


def parse_expression(text: str, aliases: Mapping[str, str] | None = None) -> Any:
    """Parse an expression, such as a filter or a literal, to odata-query's tree.

    Raises:
        QueryError: A syntax error, or an alias without a value.
    """
    return _parse(_rewrite(text.strip(), aliases or {}))


@lru_cache(maxsize=256)
def _parse(text: str) -> Any:
    try:
        return ODataParser().parse(_Lexer().tokenize(text))
    except exceptions.ODataException as error:
        raise QueryError(f"Syntax error in '{text[:200]}': {error}") from error


_EDM_OF: dict[type, str] = {
    ast.String: "Edm.String",
    ast.Integer: "Edm.Int32",
    ast.Float: "Edm.Decimal",
    ast.Boolean: "Edm.Boolean",
    ast.GUID: "Edm.Guid",
    ast.Date: "Edm.Date",
    ast.DateTime: "Edm.DateTimeOffset",
}


def edm_name(node: Any) -> str:
    """The EDM type of a parsed literal, for messages."""
    return _EDM_OF.get(type(node), type(node).__name__)


def instant_text(text: str) -> str:
    """An ISO 8601 instant in any zone as the store keeps it; raises ValueError when it is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def literal_value(column: Column, node: Any) -> Any:
    """A parsed literal in the store's form for `column`.

    Raises:
        ValueError: It has another type.
    """
    kind = column.kind
    if isinstance(node, ast.String):
        if kind in ("string", "memo"):
            return node.val
        if kind in ("guid", "lookup") and GUID.fullmatch(node.val):
            return node.val.lower()
    elif isinstance(node, ast.Call) and kind == "enum":
        if node.func.name != column.enum:
            raise ValueError(node.func.name)
        return str(getattr(node.args[0], "val", ""))
    elif isinstance(node, ast.GUID) and kind in ("guid", "lookup"):
        return node.val.lower()
    elif isinstance(node, ast.Boolean) and kind == "boolean":
        return int(node.py_val)
    elif isinstance(node, ast.Integer | ast.Float):
        if column.is_decimal:
            return f"{Decimal(node.val):f}"
        if kind in CHOICE_KINDS or kind in ("int", "long"):
            number = int(node.val) if isinstance(node, ast.Integer) else float(node.val)
            if abs(number) < 2**63:
                return number
    elif isinstance(node, ast.DateTime | ast.Date) and kind in ("date", "datetime"):
        return instant_text(node.val) if kind == "datetime" else node.val[:10]
    raise ValueError(type(node).__name__)


def split_outside(text: str, separator: str = ",") -> list[str]:
    """Cut text at separators that stand outside quotes and parentheses; parts are stripped, empty ones dropped."""
    parts, depth, quoted, start = [], 0, False, 0
    for i, char in enumerate(text):
        if char == "'":
            quoted = not quoted
        elif not quoted and char == "(":
            depth += 1
        elif not quoted and char == ")":
            depth -= 1
        elif char == separator and depth == 0 and not quoted:
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def parse_key(text: str, entity: Entity) -> dict[str, Any] | None:
    """Read the key of a URL: ``1111-...`` (the guid alone), ``'USD'``, ``dataAreaId='usmf',CustomerAccount='A''B'``.

    Returns:
        Column name to value in the store's form; None when names or literals do not fit (the service says how it
        likes to put that). Whether the columns are a key of the entity is for the caller to see.
    """
    parts = split_outside(text)
    if len(parts) == 1 and not re.match(r"[A-Za-z_]\w*\s*=", parts[0]):
        parts = [f"{entity.id}={parts[0]}"] if len(entity.key) == 1 else []
    key = {}
    for part in parts:
        name, _, literal = part.partition("=")
        column = entity.columns.get(name.strip())
        if column is None:
            return None
        try:
            key[column.name] = literal_value(column, parse_expression(literal))
        except (QueryError, ValueError):
            return None
    return key or None
