"""OData query options to SQLAlchemy: ``$filter``, ``$orderby``, ``$select`` and ``$expand``.

Both services use it; a Dialect says what each of them refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from odata_query import ast
from odata_query.visitor import NodeVisitor

from p2c_lib.sandbox.grammar import (
    QueryError,
    edm_name,
    full_name,
    literal_value,
    parse_expression,
    parse_key,
    split_outside,
)
from p2c_lib.sandbox.schema import Column, Entity
from p2c_lib.sandbox.store import Store

__all__ = [
    "FNO",
    "SALES",
    "Dialect",
    "Expand",
    "QueryError",
    "filter_clause",
    "order_clauses",
    "parse_expand",
    "parse_key",
    "parse_select",
    "split_outside",
    "stored_column",
]

_OR_TERMS = 200  # SQLite stops at an expression depth of 1,000: long or-chains are nested by so many


@dataclass(frozen=True)
class Dialect:
    """What one service allows in a filter.

    Attributes:
        functions: Names of functions that may be called, lower case, namespaces left out.
        arithmetic: Whether ``add``, ``sub``, ``mul``, ``div``, ``mod`` are known.
        wildcards: Whether ``eq 'US*'`` searches.
        paths: Whether ``nav/column`` may be used.
    """

    name: str
    functions: frozenset[str]
    arithmetic: bool = False
    wildcards: bool = False
    paths: bool = False


_DATE_FUNCTIONS = {"on", "onorafter", "onorbefore", "lastxdays", "lastxhours", "today", "yesterday"}
SALES = Dialect(
    "sales",
    frozenset({"contains", "startswith", "endswith", "in", "notin", "between", "notbetween"} | _DATE_FUNCTIONS),
    paths=True,
)
FNO = Dialect("fno", frozenset(), arithmetic=True, wildcards=True)


def filter_clause(
    text: str,
    entity: Entity,
    store: Store,
    dialect: Dialect,
    aliases: Mapping[str, str] | None = None,
    table: sa.FromClause | None = None,
) -> sa.ColumnElement[bool]:
    """Turn a ``$filter`` into a where-clause.

    Args:
        text: The filter, URL-decoded.
        entity: Its entity set.
        store: Where the tables are.
        dialect: What the service allows.
        aliases: Values of parameter aliases, by name with ``@``.
        table: The table, or alias of it, to filter; by default that of the entity.

    Returns:
        The clause over the entity's table.

    Raises:
        QueryError: Syntax, an unknown column, types that do not go together, or something the service refuses.
    """
    tree = parse_expression(text, aliases)
    visitor = _Visitor(entity, store, dialect, store.tables[entity.name] if table is None else table)
    try:
        return _truth(visitor.visit(tree))
    except RecursionError as error:
        raise QueryError("The $filter expression is nested too deeply.") from error


class _Typed:
    """An operand: its SQL, and the column it comes from (None: a literal or a result)."""

    def __init__(self, sql: Any, column: Column | None = None, literal: ast._Node | None = None) -> None:
        self.sql, self.column, self.literal = sql, column, literal


class _Visitor(NodeVisitor):
    def __init__(self, entity: Entity, store: Store, dialect: Dialect, table: sa.FromClause) -> None:
        self.entity, self.store, self.dialect, self.table = entity, store, dialect, table

    def generic_visit(self, node: ast._Node) -> Any:
        if isinstance(node, ast._Literal):
            return _Typed(None, literal=node)
        raise QueryError(f"'{type(node).__name__}' is not supported in $filter.")

    # operands ----------------------------------------------------------------------------------------------------
    def visit_Identifier(self, node: ast.Identifier) -> _Typed:  # noqa: N802
        return self.operand(full_name(node))

    def operand(self, name: str) -> _Typed:
        column = self.entity.columns.get(name)
        if column is None:
            raise QueryError(
                f"Could not find a property named '{name}' on type '{self.store.schema.namespace}.{self.entity.type}'."
            )
        return _Typed(stored_column(column, self.table), column)

    def visit_Attribute(self, node: ast.Attribute) -> _Typed:  # noqa: N802
        if not self.dialect.paths:
            raise QueryError("Paths over navigation properties are not supported in $filter.")
        names: list[str] = [node.attr]
        owner: Any = node.owner
        while isinstance(owner, ast.Attribute):
            names.insert(0, owner.attr)
            owner = owner.owner
        return self.path([full_name(owner), *names])

    def path(self, names: Sequence[str]) -> _Typed:
        if len(names) == 1:
            return self.operand(names[0])
        lookup = self.entity.lookups.get(names[0])
        if lookup is None:
            raise QueryError(
                f"Could not find a property named '{names[0]}' on type "
                f"'{self.store.schema.namespace}.{self.entity.type}'."
            )
        column, target_type = lookup
        target = self.store.schema.by_type[target_type]
        table = self.store.tables[target.name].alias()
        inner = _Visitor(target, self.store, self.dialect, table).path(names[1:])
        # ids are unique over all tables, so the target type of a polymorphic lookup need not be compared
        sql = (
            sa.select(inner.sql)
            .where(table.c[target.id] == self.table.c[column.name])
            .correlate(self.table)
            .scalar_subquery()
        )
        collation = _collation(inner.column) if inner.column is not None else None
        return _Typed(sql.collate(collation) if collation else sql, inner.column)

    # comparisons -------------------------------------------------------------------------------------------------
    def visit_Compare(self, node: ast.Compare) -> sa.ColumnElement[bool]:  # noqa: N802
        operator = type(node.comparator).__name__
        if operator == "In":
            raise QueryError("The operator 'in' is not supported.")
        left, right = self.visit(node.left), self.visit(node.right)
        if not isinstance(left, _Typed) or not isinstance(right, _Typed):
            raise QueryError("A comparison needs a property and a value.")
        if left.column is None and left.literal is not None and right.literal is None:
            left, right = right, left
            operator = {"Lt": "Gt", "Gt": "Lt", "LtE": "GtE", "GtE": "LtE"}.get(operator, operator)
        if left.literal is not None:
            raise QueryError("A comparison needs a property.")
        if isinstance(right.literal, ast.Null):
            if operator not in ("Eq", "NotEq"):
                return sa.false()
            is_null: sa.ColumnElement[bool] = left.sql.is_(None)
            return is_null if operator == "Eq" else sa.not_(is_null)
        if right.literal is None:
            value = right.sql
        elif left.column is None:
            value = _number(right.literal)
        else:
            value = self.value(left.column, right.literal)
            if left.column.kind in ("enum", "boolean") and operator not in ("Eq", "NotEq"):
                raise QueryError(f"'{left.column.name}' can only be compared with eq and ne.")
            if self.dialect.wildcards and left.column.kind == "string" and "*" in str(value):
                pattern = re.sub(r"([%_\\])", r"\\\1", str(value)).replace("*", "%")
                like: sa.ColumnElement[bool] = left.sql.like(pattern, escape="\\")
                return like if operator == "Eq" else sa.not_(like)
        comparisons: dict[str, Callable[[], sa.ColumnElement[bool]]] = {
            "Eq": lambda: left.sql == value,
            "NotEq": lambda: left.sql != value,
            "Lt": lambda: left.sql < value,
            "LtE": lambda: left.sql <= value,
            "Gt": lambda: left.sql > value,
            "GtE": lambda: left.sql >= value,
        }
        return comparisons[operator]()

    def value(self, column: Column, node: ast._Node) -> Any:
        """A literal in the store's form for `column`; a type that does not fit is refused."""
        try:
            return literal_value(column, node)
        except ValueError as error:
            raise QueryError(
                "A binary operator with incompatible types was detected. Found operand types "
                f"'{column.enum or column.edm_type}' and '{edm_name(node)}' for operator kind 'Equal'."
            ) from error

    def visit_Call(self, node: ast.Call) -> Any:  # noqa: N802
        name = node.func.name.lower()
        if node.func.namespace and len(node.args) == 1 and isinstance(node.args[0], ast.String):
            return _Typed(None, literal=node)  # an enum literal; see _rewrite
        if name not in self.dialect.functions:
            raise QueryError(f"An unknown function with name '{full_name(node.func)}' was found.")
        if node.func.namespace:
            return self.query_function(name, node)
        operand, text = self.visit(node.args[0]), node.args[1]
        if operand.column is None or not operand.column.is_text or not isinstance(text, ast.String):
            raise QueryError(f"The function '{name}' takes a text property and a text.")
        return getattr(operand.sql, name)(text.val, autoescape=True)

    def query_function(self, name: str, node: Any) -> sa.ColumnElement[bool]:
        named = {arg.name.name: arg.param for arg in node.args if isinstance(arg, ast.NamedParam)}
        prop = named.get("PropertyName")
        if not isinstance(prop, ast.String):
            raise QueryError(f"The function '{full_name(node.func)}' needs PropertyName.")
        operand = self.operand(prop.val if prop.val in self.entity.columns else f"_{prop.val}_value")
        column, sql = operand.column, operand.sql
        assert column is not None
        nodes = named.get("PropertyValues", named.get("PropertyValue"))
        if name in _DATE_FUNCTIONS:
            return _date_function(name, sql, str(getattr(nodes, "val", "0")))
        if not isinstance(nodes, ast.List):
            raise QueryError(f"The function '{full_name(node.func)}' needs PropertyValues.")
        values = [self.value(column, _bare(column, item)) for item in nodes.val]
        if name in ("in", "notin"):
            return sql.in_(values) if name == "in" else sql.not_in(values)  # type: ignore[no-any-return]
        if len(values) != 2:
            raise QueryError(f"The function '{full_name(node.func)}' needs two values.")
        clause = sa.and_(sql >= values[0], sql <= values[1])
        return clause if name == "between" else sa.not_(clause)

    # logic and arithmetic ----------------------------------------------------------------------------------------
    def visit_BoolOp(self, node: ast.BoolOp) -> sa.ColumnElement[bool]:  # noqa: N802
        # a chain leans to the left: walked without recursion, since it may have thousands of terms
        kind, terms, left = type(node.op), [node.right], node.left
        while isinstance(left, ast.BoolOp) and type(left.op) is kind:
            terms.append(left.right)
            left = left.left
        clauses = [_truth(self.visit(term)) for term in [left, *reversed(terms)]]
        combine = sa.and_ if kind is ast.And else sa.or_
        while len(clauses) > _OR_TERMS:
            groups = [clauses[i : i + _OR_TERMS] for i in range(0, len(clauses), _OR_TERMS)]
            clauses = [sa.func.likely(combine(*group)) for group in groups]  # likely(x) is x
        return combine(*clauses)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:  # noqa: N802
        if isinstance(node.op, ast.Not):
            return sa.not_(_truth(self.visit(node.operand)))
        if isinstance(node.operand, ast.Integer | ast.Float):
            return _Typed(None, literal=type(node.operand)(f"-{node.operand.val}"))
        raise QueryError("A minus sign needs a number.")

    def visit_BinOp(self, node: ast.BinOp) -> _Typed:  # noqa: N802
        if not self.dialect.arithmetic:
            raise QueryError("Arithmetic operators are not supported.")
        left, right = (self._numeric(self.visit(side)) for side in (node.left, node.right))
        operations: dict[type, Callable[[], Any]] = {
            ast.Add: lambda: left + right,
            ast.Sub: lambda: left - right,
            ast.Mult: lambda: left * right,
            ast.Div: lambda: left / right,
            ast.Mod: lambda: left % right,
        }
        return _Typed(operations[type(node.op)]())

    def _numeric(self, operand: _Typed) -> Any:
        if operand.literal is not None:
            return sa.literal(_number(operand.literal))
        return sa.cast(operand.sql, sa.Float)


def _truth(clause: Any) -> sa.ColumnElement[bool]:
    if isinstance(clause, _Typed):
        if clause.column is not None and clause.column.kind == "boolean":
            return clause.sql == 1  # type: ignore[no-any-return]
        raise QueryError("The $filter expression must evaluate to a single boolean value.")
    return clause  # type: ignore[no-any-return]


def _number(node: ast._Node) -> float:
    if not isinstance(node, ast.Integer | ast.Float):
        raise QueryError("Arithmetic needs numbers.")
    return float(node.val)


def _bare(column: Column, node: ast._Node) -> ast._Node:
    """Values of a query function come quoted whatever their type: give them the type of the column."""
    if not isinstance(node, ast.String) or column.kind in ("string", "memo"):
        return node
    if column.edm_type in ("Edm.Int32", "Edm.Int64", "Edm.Decimal"):
        return ast.Float(node.val) if re.fullmatch(r"[+-]?\d+(\.\d+)?", node.val) else node
    if column.kind == "boolean":
        return ast.Boolean({"1": "true", "0": "false"}.get(node.val, node.val))
    if column.kind in ("date", "datetime"):
        return ast.DateTime(node.val) if "T" in node.val else ast.Date(node.val)
    return node


def _date_function(name: str, sql: Any, text: str) -> sa.ColumnElement[bool]:
    today = datetime.now(UTC).date()
    if name.startswith("lastx"):
        if not text.isdigit():
            raise QueryError("PropertyValue must be a whole number.")
        span = timedelta(days=int(text)) if name == "lastxdays" else timedelta(hours=int(text))
        start = datetime.now(UTC) - span
        return sql.between(start.strftime("%Y-%m-%dT%H:%M:%SZ"), "9999")  # type: ignore[no-any-return]
    try:
        day = {"today": today, "yesterday": today - timedelta(days=1)}.get(name) or date.fromisoformat(text[:10])
    except ValueError as error:
        raise QueryError(f"'{text}' is not a date.") from error
    after = (day + timedelta(days=1)).isoformat()
    if name == "onorafter":
        return sql >= day.isoformat()  # type: ignore[no-any-return]
    if name == "onorbefore":
        return sql < after  # type: ignore[no-any-return]
    return sa.and_(sql >= day.isoformat(), sql < after)


def _collation(column: Column) -> str | None:
    return "DECIMAL" if column.is_decimal else "NOCASE" if column.is_text else None


def stored_column(column: Column, table: sa.FromClause) -> sa.ColumnElement[Any]:
    """The SQL column behind a property; ``versionnumber`` is the row's version."""
    return table.c["row_version" if column.name == "versionnumber" else column.name]


# other options ------------------------------------------------------------------------------------------------------
def parse_select(text: str | None, entity: Entity, namespace: str) -> list[Column]:
    """Columns of a ``$select``; all of them when it is absent.

    Raises:
        QueryError: A name is not a property.
    """
    if text is None or text.strip() in ("", "*"):
        return list(entity.columns.values())
    columns = []
    for name in split_outside(text):
        # a Sales lookup may be selected by the name of its navigation property
        column = entity.columns.get(name) or entity.columns.get(f"_{name}_value")
        if column is None:
            raise QueryError(f"Could not find a property named '{name}' on type '{namespace}.{entity.type}'.")
        columns.append(column)
    return list({column.name: column for column in columns}.values())


def order_clauses(text: str, entity: Entity, store: Store, dialect: Dialect) -> list[sa.ColumnElement[Any]]:
    """Turn an ``$orderby`` into order-by clauses.

    Raises:
        QueryError: A name is not a property, or a direction is neither asc nor desc.
    """
    visitor = _Visitor(entity, store, dialect, store.tables[entity.name])
    clauses = []
    for part in split_outside(text):
        name, _, direction = part.partition(" ")
        names = name.split("/")
        if len(names) > 1 and not dialect.paths:
            raise QueryError("Paths over navigation properties are not supported in $orderby.")
        sql = visitor.path(names).sql
        if direction.strip().lower() not in ("", "asc", "desc"):
            raise QueryError(f"Syntax error at '{part}' in $orderby.")
        clauses.append(sql.desc() if direction.strip().lower() == "desc" else sql.asc())
    return clauses


@dataclass(frozen=True)
class Expand:
    """One navigation property of an ``$expand`` with the options in its parentheses."""

    nav: str
    options: Mapping[str, str] = field(default_factory=dict)


def parse_expand(text: str) -> list[Expand]:
    """Cut an ``$expand`` into navigation properties and their nested options.

    Raises:
        QueryError: Parentheses do not match, or an option has no value.
    """
    expands = []
    for part in split_outside(text):
        nav, bracket, rest = part.partition("(")
        options = {}
        if bracket:
            if not rest.endswith(")"):
                raise QueryError(f"Syntax error at '{part}' in $expand.")
            for option in split_outside(rest[:-1], ";"):
                name, equals, value = option.partition("=")
                if not equals:
                    raise QueryError(f"Syntax error at '{option}' in $expand.")
                options[name.strip()] = value.strip()
        expands.append(Expand(nav.strip(), options))
    return expands
