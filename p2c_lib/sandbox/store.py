"""Rows of one system in one SQLite file: exact decimals, a version for every write, all-or-nothing transactions.

A table an entity set. Besides the columns of the schema each has ``row_id`` (order of creation; F&O's RecId) and
``row_version`` (the database-wide version of the last write; etags and delta tokens). Values are kept as follows:
text without case (NOCASE), decimals as text with the collation DECIMAL so that no digit is lost, booleans 0 / 1, guids
lower case, dates ``2024-01-31``, instants ``2024-01-31T10:00:00Z``. On Sales an absent value is NULL, on F&O never.
"""

from __future__ import annotations

import secrets
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.schema import DECIMAL_KINDS, Column, Entity, Schema

__all__ = ["DuplicateKey", "Store", "Transaction", "decimal_text", "new_guid", "now"]

LOAD_ROWS = 20_000  # rows turned into Python values at a time


class DuplicateKey(SandboxError):
    """A row with the same key is there already; ``columns`` names the key."""

    def __init__(self, entity: str, columns: Sequence[str]) -> None:
        """Keep the entity set and the columns of the key that was hit."""
        self.entity, self.columns = entity, tuple(columns)
        super().__init__(f"{entity}: a row with the same {', '.join(columns)} exists")


def now() -> str:
    """The time in UTC as the store keeps it, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_guid() -> str:
    """A guid that no one can foresee, lower case."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def decimal_text(value: Decimal, places: int = 0) -> str:
    """Write a decimal without exponent and trailing zeros, with at least `places` digits after the point.

    Examples: ``1E+2`` -> ``"100"``, ``5.5000`` -> ``"5.5"``, ``5.5`` with two places -> ``"5.50"``.
    """
    text = f"{value:f}"
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0").ljust(places, "0")
    return f"{whole}.{fraction}" if fraction else whole


def _compare_decimals(left: str, right: str) -> int:
    if left == right:
        return 0
    try:
        a, b = Decimal(left), Decimal(right)
    except InvalidOperation:
        return (left > right) - (left < right)
    return (a > b) - (a < b)


class _DecimalSum:
    """SQL aggregate ``decimal_sum``: SQLite's own sum would go through floats."""

    def __init__(self) -> None:
        self.total: Decimal | None = None

    def step(self, value: str | int | None) -> None:
        if value is not None:
            self.total = (self.total or Decimal(0)) + Decimal(value)

    def finalize(self) -> str | None:
        return None if self.total is None else f"{self.total:f}"


def _on_connect(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # BEGIN is ours: see _on_begin
    connection.create_collation("DECIMAL", _compare_decimals)
    connection.create_aggregate("decimal_sum", 1, _DecimalSum)
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")


def _sql_type(column: Column) -> sa.types.TypeEngine[Any]:
    if column.kind in DECIMAL_KINDS:
        return sa.Text(collation="DECIMAL")
    if column.is_text:
        return sa.Text(collation="NOCASE")
    return sa.Integer()


class Transaction:
    """Reads and writes of one SQLite transaction. Rows are dicts by column name, in the store's own value forms."""

    def __init__(self, store: Store, connection: sa.Connection) -> None:
        """Use `connection`, whose transaction somebody else ends."""
        self.store, self.connection = store, connection
        self._driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        self._version: int | None = None  # the counter, once this transaction has moved it

    def table(self, entity: str) -> sa.Table:
        """The table of an entity set."""
        return self.store.tables[entity]

    def rows(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        """Run a select and return its rows as dicts."""
        result = self.connection.execute(statement)
        names = list(result.keys())
        return [dict(zip(names, row, strict=True)) for row in result]

    def scalar(self, statement: sa.Select[Any]) -> Any:
        """Run a select and return the first column of its first row, or None."""
        return self.connection.execute(statement).scalar()

    def get(self, entity: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """Find the one row with these column values (text without case), or None."""
        found = self.run(self.store.select_by(entity, tuple(key)), tuple(key.values())).fetchone()
        return None if found is None else dict(zip(self.store.names[entity], found, strict=True))

    def has(self, entity: str, key: Mapping[str, Any]) -> bool:
        """Tell whether `get` would find a row, without reading it."""
        statement = self.store.select_by(entity, tuple(key), only="1")
        return self.run(statement, tuple(key.values())).fetchone() is not None

    def first(self, entity: str) -> dict[str, Any] | None:
        """Give the row that was added first, or None."""
        found = self.run(f'SELECT * FROM "{entity}" ORDER BY row_id LIMIT 1').fetchone()
        return None if found is None else dict(zip(self.store.names[entity], found, strict=True))

    def run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run SQL on the driver's own connection: of many small statements SQLAlchemy takes most of the time."""
        return self._driver.execute(statement, values)

    def next_version(self) -> int:
        """Take the next version of the database (nobody else can: the transaction holds the write lock)."""
        self._version = self.version() + 1
        return self._version

    def insert(self, entity: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Add one row; columns left out take their default.

        Returns:
            The whole row with ``row_id`` and ``row_version``.

        Raises:
            DuplicateKey: Its key, or an alternate key, is taken.
        """
        whole = self.store.defaults[entity] | dict(row)
        whole["row_version"] = self.next_version()
        whole.pop("row_id", None)
        with self.store.duplicates(entity):
            cursor = self.run(self.store.inserts[entity], [whole.get(name) for name in self.store.names[entity][1:]])
        return {"row_id": cursor.lastrowid, **whole}

    def update(self, entity: str, row_id: int, changes: Mapping[str, Any]) -> int:
        """Change columns of one row and give it a new version, which is returned.

        Raises:
            DuplicateKey: A changed key is taken by another row.
        """
        version = self.next_version()
        whole = {**changes, "row_version": version}
        changed = ", ".join(f'"{name}" = ?' for name in whole)
        with self.store.duplicates(entity):
            self.run(f'UPDATE "{entity}" SET {changed} WHERE row_id = ?', [*whole.values(), row_id])
        return version

    def delete(self, entity: str, row_id: int) -> None:
        """Remove one row and log its key in ``deletions``."""
        table, schema = self.table(entity), self.store.schema.entities[entity]
        where = table.c.row_id == row_id
        found = self.rows(sa.select(*[table.c[name] for name in schema.key]).where(where))
        if not found:
            return
        self.connection.execute(table.delete().where(where))
        self.connection.execute(
            self.store.deletions.insert(),
            {
                "entity": entity,
                "key": "|".join(map(str, found[0].values())),
                "version": self.next_version(),
                "deleted_on": now(),
            },
        )

    def version(self) -> int:
        """Version of the last write to the database."""
        if self._version is not None:
            return self._version
        return int(self.run("SELECT version FROM row_counter").fetchone()[0])

    def flush(self) -> None:
        """Write the version counter back; the store does it just before it commits."""
        if self._version is not None:
            self.run("UPDATE row_counter SET version = ?", (self._version,))


class Store:
    """The database of one system."""

    def __init__(self, path: Path | str, schema: Schema) -> None:
        """Open the database, making file and tables when they are not there.

        Args:
            path: File of the database; its folder is made.
            schema: Entities to hold.
        """
        self.path, self.schema = Path(path), schema
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(
            f"sqlite:///{self.path}",
            connect_args={"check_same_thread": False, "timeout": 30},
            pool_size=8,
            max_overflow=64,
        )
        sa.event.listen(self.engine, "connect", _on_connect)
        meta = sa.MetaData()
        self.counter = sa.Table("row_counter", meta, sa.Column("version", sa.Integer, nullable=False))
        self.deletions = sa.Table(
            "row_deletions",
            meta,
            sa.Column("entity", sa.Text, index=True),
            sa.Column("key", sa.Text),
            sa.Column("version", sa.Integer),
            sa.Column("deleted_on", sa.Text),
        )
        self.tables = {name: self._table(entity, meta) for name, entity in schema.entities.items()}
        self.names = {name: [column.name for column in table.columns] for name, table in self.tables.items()}
        self.defaults = {
            name: dict.fromkeys(self.names[name][1:])
            | {column.name: column.default for column in entity.columns.values()}
            for name, entity in schema.entities.items()
        }
        self.inserts = {name: _insert(name, columns[1:]) for name, columns in self.names.items()}  # row_id is given
        self._selects: dict[tuple[str, tuple[str, ...], str], str] = {}
        meta.create_all(self.engine)
        with self.transaction() as t:
            if t.scalar(sa.select(sa.func.count()).select_from(self.counter)) == 0:
                t.connection.execute(self.counter.insert(), {"version": 1_000_000})

    @staticmethod
    def _table(entity: Entity, meta: sa.MetaData) -> sa.Table:
        columns: list[sa.Column[Any]] = [
            sa.Column("row_id", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("row_version", sa.Integer, nullable=False, index=True),
        ]
        for column in entity.columns.values():
            columns.append(sa.Column(column.name, _sql_type(column)))
            if column.is_polymorphic:
                columns.append(sa.Column(column.type_column, sa.Text))
        uniques = [("key", entity.key), *entity.alternate_keys.items()]
        indexes = [sa.Index(f"{entity.name}_{name}", *parts, unique=True) for name, parts in uniques]
        indexes += [sa.Index(f"{entity.name}_by_{name}", name) for name in entity.indexes]
        return sa.Table(entity.name, meta, *columns, *indexes, sqlite_autoincrement=True)

    def select_by(self, entity: str, names: tuple[str, ...], only: str = "*") -> str:
        """SQL that finds the first row with these columns; a null finds a null."""
        place = entity, names, only
        if place not in self._selects:
            unknown = set(names) - set(self.names[entity])
            if unknown:
                raise SandboxError(f"{entity}: no columns {', '.join(sorted(unknown))}")
            where = " AND ".join(f'"{name}" IS ?' for name in names)
            self._selects[place] = f'SELECT {only} FROM "{entity}" WHERE {where} LIMIT 1'
        return self._selects[place]

    @contextmanager
    def duplicates(self, entity: str) -> Iterator[None]:
        """Turn a breach of a unique index into DuplicateKey."""
        try:
            yield
        except (sa.exc.IntegrityError, sqlite3.IntegrityError) as error:
            message = str(error.orig if isinstance(error, sa.exc.IntegrityError) else error)
            if not message.startswith("UNIQUE constraint failed: "):
                raise
            names = [part.rsplit(".", 1)[1] for part in message.split(": ", 1)[1].split(", ")]
            raise DuplicateKey(entity, names) from error

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Write: BEGIN IMMEDIATE, commit at the end, nothing kept when the block raises."""
        with self.engine.connect() as connection:
            transaction = Transaction(self, connection)
            transaction.run("BEGIN IMMEDIATE")
            with ExitStack() as undo:
                undo.callback(transaction.run, "ROLLBACK")
                yield transaction
                transaction.flush()
                undo.pop_all()
            transaction.run("COMMIT")

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Read: every select of the block sees the same state of the database."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield Transaction(self, connection)
            finally:
                connection.exec_driver_sql("ROLLBACK")

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Load much into a fresh database: indexes are made at the end, at once, instead of row by row.

        Raises:
            DuplicateKey: Two rows share a key; told at the end.
        """
        indexes = [(name, index) for name, table in self.tables.items() for index in table.indexes]
        with self.transaction() as t:
            for _, index in indexes:
                index.drop(t.connection)
        yield
        with self.transaction() as t:
            for name, index in indexes:
                with self.duplicates(name):
                    index.create(t.connection)

    def load(self, entity: str, frame: pl.DataFrame) -> int:
        """Add many rows at once, as they are: no plug-in runs, nothing is checked but the keys.

        Args:
            entity: Entity set.
            frame: Shape (n, any of the entity's columns, named as on the wire). A polymorphic lookup may be
                accompanied by its target type (``_parentcustomerid_type``: ``account`` or ``contact``), else the first
                target is meant. Absent columns take their default; on F&O null values do too.

        Returns:
            Rows added: n.

        Raises:
            SandboxError: No such entity set or column.
            DuplicateKey: Two rows share a key, or one shares it with a row of the store.
        """
        if entity not in self.tables:
            raise SandboxError(f"no entity set {entity!r}; known: {', '.join(self.tables)}")
        if frame.is_empty():
            return 0
        table, (frame, constants) = self.tables[entity], self._stored(self.schema.entities[entity], frame)
        with self.transaction() as t:
            last = t.version()
            frame = frame.with_columns(pl.int_range(last + 1, last + frame.height + 1).alias("row_version"))
            quoted = ", ".join(f'"{name}"' for name in [*frame.columns, *constants])
            values = ", ".join(["?"] * frame.width + [_quoted(value) for value in constants.values()])
            statement = f'INSERT INTO "{table.name}" ({quoted}) VALUES ({values})'
            with self.duplicates(entity):
                for part in frame.iter_slices(LOAD_ROWS):
                    t.connection.exec_driver_sql(statement, part.rows())
            t.connection.execute(self.counter.update().values(version=last + frame.height))
        return frame.height

    def _stored(self, entity: Entity, frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
        """Bring a frame's columns into the store's value forms; beside it the defaults of absent columns."""
        types = {column.type_column: column for column in entity.columns.values() if column.is_polymorphic}
        unknown = set(frame.columns) - set(entity.columns) - set(types)
        if unknown:
            raise SandboxError(f"{entity.name}: no columns {', '.join(sorted(unknown))}")
        whole, constants = [], {}
        for column in entity.columns.values():
            if column.name not in frame.columns:
                if column.default is not None:
                    constants[column.name] = _plain(column.default)
                continue
            stored = _stored_expr(column, frame.schema[column.name])
            whole.append(stored.fill_null(column.default) if self.schema.system == "fno" else stored)
        for name, column in types.items():
            if name in frame.columns:
                whole.append(pl.col(name).cast(pl.String))
            elif column.name in frame.columns:
                first = pl.lit(column.binds[0][0])
                whole.append(pl.when(pl.col(column.name).is_not_null()).then(first).alias(name))
        return frame.select(whole), constants

    def close(self) -> None:
        """Give back the file."""
        self.engine.dispose()


def _insert(table: str, names: Sequence[str]) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f'INSERT INTO "{table}" ({quoted}) VALUES ({", ".join("?" * len(names))})'


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _quoted(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def _stored_expr(column: Column, dtype: pl.DataType) -> pl.Expr:
    expr = pl.col(column.name)
    if column.is_decimal:
        text = expr.cast(pl.String)
        if not dtype.is_integer():
            # 5.500000 -> 5.5; a number without point keeps its zeros
            text = (
                pl.when(text.str.contains(".", literal=True))
                .then(text.str.strip_chars_end("0").str.strip_chars_end("."))
                .otherwise(text)
            )
        if column.precision and column.kind == "money":
            places = min(column.precision, 2)
            short = text.str.replace(r"^(-?\d+)$", f"${{1}}.{'0' * places}")
            text = short.str.replace(r"\.(\d)$", ".${1}0") if places == 2 else short
        return text.alias(column.name)
    if column.kind == "datetime" and dtype != pl.String:
        return expr.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    if column.kind in ("guid", "lookup"):
        return expr.cast(pl.String).str.to_lowercase()
    if column.is_text:
        return expr.cast(pl.String)
    return expr.cast(pl.Int64)
