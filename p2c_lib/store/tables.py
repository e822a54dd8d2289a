"""The tables of the store: read at any version, merged into by key, atomically, by several processes at once.

A merge reads the table at one version, works out which rows change, and commits the next version only if nobody else
has committed it meanwhile; otherwise it reads again and works it out again. So no update is lost, whoever else writes.
A process that is killed leaves the last version as it was, and at most files that no version names (`Store.vacuum`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from p2c_lib.connect.metadata import near
from p2c_lib.errors import ParameterError, SchemaError, StoreError
from p2c_lib.store import commits
from p2c_lib.store.entities import RUN_ID, STAGED_AT, Declared, load_entities
from p2c_lib.store.rows import check_keys, conform, difference
from p2c_lib.store.schema import delta_schema, schema_problems

__all__ = ["Merged", "Store"]

T = TypeVar("T")
AsOf = int | datetime | None

# The log is kept, so that any earlier version can be named; how long its rows stay readable is up to `vacuum`.
_CONFIGURATION = {"delta.logRetentionDuration": "interval 3650 days"}
_SHORTEST_KEEP = timedelta(hours=1)


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Attributes:
        entity: Into which table.
        inserted: Rows that were not there.
        updated: Rows that were there with other values.
        unchanged: Rows that stood as they should; they are not written.
        stale: Keys of rows that somebody else changed since they were seen; they are left as they are.
        version: Of the table afterwards; None where there is no table, because there is no row.
    """

    entity: str
    inserted: int
    updated: int
    unchanged: int
    stale: pl.DataFrame = field(repr=False)
    version: int | None


@dataclass(frozen=True)
class Store:
    """Delta tables of one organisation's rows, one table an entity; several organisations may share them.

    Attributes:
        url: A folder, or the address of a lake (``abfss://...``, ``s3://...``); each table lies in a folder below.
        organization: Whose rows are read and written.
        entities: What is kept.
        options: Of the lake: account, key, region, as object stores name them.
        patience_s: How long a merge tries against others who commit before it.
        clock: Gives the time of a change, UTC.
    """

    url: str
    organization: str
    entities: Mapping[str, Declared] = field(repr=False)
    options: Mapping[str, str] = field(repr=False)
    patience_s: float = 120.0
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)

    @classmethod
    def open(
        cls,
        url: str | Path,
        organization: str,
        *,
        options: Mapping[str, str] | None = None,
        entities: Mapping[str, Declared] | None = None,
        patience_s: float = 120.0,
    ) -> Store:
        """Name a store; nothing is read or made until it is used.

        Args:
            url: A folder, or the address of a lake.
            organization: Whose rows are meant, e.g. ``ORG001``.
            options: Of the lake.
            entities: What is kept; by default the entities of CDS.
            patience_s: How long a merge tries against others who commit before it.
        """
        where = str(url) if "://" in str(url) else str(Path(url).absolute())
        return cls(where.rstrip("/"), organization, entities or load_entities(), dict(options or {}), patience_s)

    # --- reading ----------------------------------------------------------------------------------------------

    def declared(self, entity: str) -> Declared:
        """Give an entity's declaration; SchemaError where there is none."""
        try:
            return self.entities[entity]
        except KeyError:
            raise SchemaError(f"cds: no entity '{entity}'{near(entity, dict(self.entities))}") from None

    def scan(self, entity: str, as_of: AsOf = None) -> pl.LazyFrame:
        """Look at a table without reading it; filters and columns are pushed down to its files.

        Args:
            entity: Of the organisation's rows only.
            as_of: A version of the table, or a moment; the newest by default.

        Returns:
            The declared columns, ``staged_at`` and ``run_id``.

        Raises:
            SchemaError: There is no such entity, or its table is not as declared.
            StoreError: The table does not reach back to that version, or cannot be read.
        """
        declared = self.declared(entity)
        table = self._table(declared)
        if table is None:
            return declared.schema.to_frame().lazy()
        if as_of is not None:
            try:
                table.load_as_version(as_of)
            except DeltaError as error:
                raise StoreError(f"{entity}: no version as of {as_of}: {error}") from None
        self._check(declared, table)
        rows = pl.scan_delta(table, storage_options=dict(self.options) or None)
        return rows.filter(pl.col(declared.organization) == self.organization).select(declared.schema.names())

    def read(
        self, entity: str, columns: Sequence[str] | None = None, *, where: pl.Expr | None = None, as_of: AsOf = None
    ) -> pl.DataFrame:
        """Read rows of the organisation.

        Args:
            entity: Which.
            columns: Those wanted; all by default.
            where: Rows wanted, over the entity's columns.
            as_of: As in `scan`.

        Returns:
            The rows, in no order; amounts are exact.

        Raises:
            SchemaError: As `scan`, or there is no such column.
            StoreError: As `scan`.
        """
        known = self.declared(entity).entity
        for name in columns or ():
            known.column(name)
        rows = self.scan(entity, as_of)
        rows = rows if where is None else rows.filter(where)
        with _in_words(entity):
            return (rows if columns is None else rows.select(columns)).collect()

    def version(self, entity: str) -> int | None:
        """The newest version of an entity's table; None where there is no table yet."""
        table = self._table(self.declared(entity))
        return None if table is None else table.version()

    def history(self, entity: str) -> pl.DataFrame:
        """What was done to a table, newest first.

        Returns:
            Columns ``version`` (Int64), ``at`` (UTC), ``operation``, ``run_id`` (null where none was told).
        """
        table = self._table(self.declared(entity))
        rows = [] if table is None else table.history()
        return pl.DataFrame(
            [
                {
                    "version": row["version"],
                    "at": datetime.fromtimestamp(row["timestamp"] / 1000, UTC),
                    "operation": row.get("operation"),
                    "run_id": row.get(RUN_ID),
                }
                for row in rows
            ],
            schema={"version": pl.Int64, "at": pl.Datetime("us", "UTC"), "operation": pl.String, "run_id": pl.String},
        )

    # --- writing ----------------------------------------------------------------------------------------------

    def merge(self, entity: str, frames: pl.DataFrame | Sequence[pl.DataFrame], *, run_id: str) -> Merged:
        """Bring rows into the store by key, all of them or none.

        Args:
            entity: Into which table.
            frames: Rows by key. A column that a frame does not have keeps what is stored; a null in one that it has
                is a null. Several frames, each with columns of its own, are one merge. With ``@odata.etag`` a row is
                changed only as long as the stored one has that mark (null: as long as there is none).
            run_id: Which run brings them; it is kept with every row that changes.

        Returns:
            Counts of the rows. Where nothing changes, nothing is written and the version stays.

        Raises:
            SchemaError: The frames or the table are not as declared.
            StoreError: Keys are null, blank or repeated; a value does not fit its column; or others went on committing
                for longer than the patience lasts. Nothing was merged.
        """
        declared = self.declared(entity)
        given = [frames] if isinstance(frames, pl.DataFrame) else list(frames)
        parts = [conform(frame, declared, self.organization) for frame in given if frame.height]
        if not parts:
            return Merged(entity, 0, 0, 0, pl.DataFrame(schema=self._key_schema(declared)), self.version(entity))
        check_keys(parts, declared)

        def attempt() -> Merged:
            table = self._table(declared, make=True)
            assert table is not None
            self._check(declared, table)
            key = list(declared.entity.key)
            keys = pl.concat([part.select(key) for part in parts])
            seen = commits.look(table, declared, keys, self.options)
            found, start = [], 0
            for part in parts:
                found.append(difference(part, seen.partner.slice(start, part.height), seen.rows, declared))
                start += part.height
            stamp = {STAGED_AT: pl.lit(self.clock(), pl.Datetime("us", "UTC")), RUN_ID: pl.lit(run_id)}
            empty = declared.schema.to_frame()
            new = pl.concat([empty, *(change.new for change in found)], how="diagonal").with_columns(**stamp)
            changed = pl.concat([empty, *(change.changed for change in found)]).with_columns(**stamp)
            if new.height or changed.height:
                taken = pl.concat([change.taken for change in found])
                commits.commit(table, declared, seen, new, changed, taken, self._properties(run_id))
            stale = pl.concat([change.stale for change in found])
            return Merged(
                entity=entity,
                inserted=new.height,
                updated=changed.height,
                unchanged=keys.height - new.height - changed.height - stale.height,
                stale=stale,
                version=table.version(),
            )

        return self._until_first(entity, attempt)

    def delete_keys(self, entity: str, keys: pl.DataFrame, *, run_id: str) -> int:
        """Take rows out of the store, all of them or none.

        Args:
            entity: Out of which table.
            keys: The key columns.
            run_id: Which run takes them out.

        Returns:
            How many of them were there.

        Raises:
            SchemaError: As `merge`.
            StoreError: As `merge`.
        """
        declared = self.declared(entity)
        wanted = conform(keys.select(declared.key), declared, self.organization).unique()

        def attempt() -> int:
            table = self._table(declared)
            if table is None:
                return 0
            self._check(declared, table)
            seen = commits.look(table, declared, wanted.select(declared.entity.key), self.options)
            gone = seen.partner.drop_nulls()
            if gone.len():
                nothing = declared.schema.to_frame()
                commits.commit(table, declared, seen, nothing, nothing, gone, self._properties(run_id))
            return gone.len()

        return self._until_first(entity, attempt)

    # --- upkeep -----------------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """Say where tables are not as declared; empty when all are."""
        problems = []
        for declared in self.entities.values():
            table = self._table(declared)
            problems += [] if table is None else schema_problems(declared, table)
        return problems

    def migrate(self) -> list[str]:
        """Add declared columns that tables lack; nothing else is ever changed about a table.

        Returns:
            The columns added, ``Account.Birthdate``.

        Raises:
            SchemaError: A table has columns that are not declared, or others than declared; nothing was added.
        """
        opened = {name: self._table(declared) for name, declared in self.entities.items()}
        tables = {name: table for name, table in opened.items() if table is not None}
        others = [
            problem
            for name, table in tables.items()
            for problem in schema_problems(self.entities[name], table)
            if "lacks" not in problem
        ]
        if others:
            raise SchemaError("\n".join(others))
        added = []
        for name, table in tables.items():
            have = {column.name for column in table.schema().fields}
            new = [column for column in delta_schema(self.entities[name]).fields if column.name not in have]
            if new:
                table.alter.add_columns(new, commit_properties=self._properties("migrate"))
                added += [f"{name}.{column.name}" for column in new]
        return added

    def compact(self, entity: str) -> dict[str, Any]:
        """Put many small files of a table together; rows and older versions stay as they are.

        Returns:
            What was done, as Delta tells it.
        """

        def attempt() -> dict[str, Any]:
            table = self._table(self.declared(entity))
            return {} if table is None else dict(table.optimize.compact())

        return self._until_first(entity, attempt)

    def vacuum(self, keep: timedelta) -> list[str]:
        """Delete files that no version of the last time needs; versions before it can be read no more.

        Args:
            keep: How far back versions stay readable; at least an hour, so that no other's merge under way is hit.

        Returns:
            The files deleted.

        Raises:
            ParameterError: ``keep`` is less than an hour.
        """
        if keep < _SHORTEST_KEEP:
            raise ParameterError(f"keep is {keep}; at least an hour, or a merge under way may lose its files")
        hours, gone = int(keep / timedelta(hours=1)), []
        for declared in self.entities.values():
            table = self._table(declared)
            if table is not None:
                found = table.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
                gone += [f"{declared.name}/{file}" for file in found]
        return gone

    # --- tables -----------------------------------------------------------------------------------------------

    def _table(self, declared: Declared, *, make: bool = False) -> DeltaTable | None:
        where, options = f"{self.url}/{declared.name}", dict(self.options) or None
        with _in_words(declared.name):
            try:
                return DeltaTable(where, storage_options=options)
            except TableNotFoundError:
                if not make:
                    return None
            return DeltaTable.create(
                where,
                delta_schema(declared),
                mode="ignore",
                configuration=_CONFIGURATION,
                storage_options=options,
                commit_properties=self._properties(""),
            )

    def _check(self, declared: Declared, table: DeltaTable) -> None:
        problems = schema_problems(declared, table)
        if problems:
            raise SchemaError("; ".join(problems) + "; declare them in entities.yaml, or add the new ones by migrate")

    def _properties(self, run_id: str) -> CommitProperties:
        # No repeats by Delta itself: it would commit on top of what this merge has not seen.
        return CommitProperties(custom_metadata={RUN_ID: run_id} if run_id else None, max_commit_retries=0)

    def _until_first(self, entity: str, attempt: Callable[[], T]) -> T:
        again = Retrying(
            retry=retry_if_exception_type(CommitFailedError),
            wait=wait_random_exponential(multiplier=0.01, max=1.0),
            stop=stop_after_delay(self.patience_s),
            reraise=True,
        )
        try:
            with _in_words(entity):
                return again(attempt)
        except CommitFailedError:
            raise StoreError(
                f"{entity}: others went on committing for {self.patience_s:g} s; nothing was changed, run it again"
            ) from None

    def _key_schema(self, declared: Declared) -> dict[str, pl.DataType]:
        return {name: declared.schema[name] for name in declared.key}


@contextmanager
def _in_words(entity: str) -> Iterator[None]:
    """Say what a disk or a lake refused; that somebody else committed first is for the caller."""
    try:
        yield
    except CommitFailedError:
        raise
    except (DeltaError, OSError, pl.exceptions.ComputeError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise StoreError(f"{entity}: the store cannot be read or written: {said[0]}") from error
