"""Rows of a data package: out of the file into staging, and from there into the entity, each by itself.

A row is created, or changed when its key is there already: a package has no etags, so it overwrites. What X++ checks
and fills in is the same as for a row that comes over OData (``fno_write``); a row that is refused keeps no other back.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

from p2c_lib.sandbox.fno_metadata import READ_ONLY_SETS, ax_type
from p2c_lib.sandbox.fno_packages_files import COMPANY, Field, Part
from p2c_lib.sandbox.fno_wire import FnoError
from p2c_lib.sandbox.fno_write import add_row, change_row, stored_value
from p2c_lib.sandbox.knobs import is_denied
from p2c_lib.sandbox.schema import Column, Schema
from p2c_lib.sandbox.store import Store, Transaction

ROWS_A_COMMIT = 500  # other writers get their turn in between


@dataclass(frozen=True)
class Problem:
    """Why a row was refused: its key as ``A+B``, the field where one is to blame, and words."""

    record: str
    field: str
    message: str


@dataclass
class Progress:
    """How far one entity of an execution is.

    Attributes:
        part: The entity and its field map.
        rows: Rows in staging, as far as they wait to be written: field values by column.
        staging_status: NotRun, Executing, Ended, or Error; likewise ``target_status``.
        staged: Rows that reached staging.
        created: Rows of the entity that are new; likewise ``updated``, rows that were there and were overwritten.
        staging_errors: Rows that did not reach staging: their texts, and why.
        target_errors: Rows that the entity refused: their key, and why.
    """

    part: Part
    rows: list[dict[str, Any]] = field(default_factory=list)
    staging_status: str = "NotRun"
    target_status: str = "NotRun"
    staged: int = 0
    created: int = 0
    updated: int = 0
    staging_errors: list[tuple[list[str | None], Problem]] = field(default_factory=list)
    target_errors: list[tuple[list[Any], Problem]] = field(default_factory=list)

    @property
    def key(self) -> list[str]:
        """Columns of the key that stand in the file."""
        mapped = {one.column for one in self.part.fields}
        return [name for name in self.part.entity.key if name in mapped]

    def fail(self, message: str) -> None:
        """Note that the whole file could not be read."""
        self.staging_status, self.target_status = "Error", "NotRun"
        self.staging_errors.append(([], Problem("", "", message)))


def stage(progress: Progress, rows: Iterable[list[str | None]], schema: Schema) -> None:
    """Read rows into staging; those that cannot be read, or repeat a key, stay behind with the reason.

    Args:
        progress: Of the entity; changed in place.
        rows: Texts in the order of the field map.
        schema: Entities and enums of the system.
    """
    part = progress.part
    readers = [_reader(schema, part.entity.columns[one.column]) for one in part.fields]
    key, seen = progress.key, set()
    for texts in rows:
        given: dict[str, Any] = {}
        problem: tuple[str, str] | None = None
        for one, read, text in zip(part.fields, readers, texts, strict=True):
            if text is None or (text == "" and one.is_generated):
                continue
            try:
                given[one.column] = read(text)
            except ValueError as error:
                problem = problem or (one.source, str(error))
        record = "+".join(str(given.get(name, "")) for name in key)
        if problem is None and record.strip("+"):
            if record.casefold() in seen:
                problem = ("", f"Cannot create a record in {part.entity.label} staging. The record already exists.")
            seen.add(record.casefold())
        if problem is None:
            progress.rows.append(given)
        else:
            progress.staging_errors.append((texts, Problem(record, *problem)))
    progress.staged = len(progress.rows)
    progress.staging_status = "Error" if progress.staging_errors else "Ended"


def _reader(schema: Schema, column: Column) -> Callable[[str], Any]:
    """How the texts of a column are read; the function raises ValueError with data management's own sentence."""
    members = {name.casefold(): name for name in schema.enums[column.enum]} if column.enum else {}

    def read(text: str) -> Any:
        value: Any = text
        try:
            if text == "" and not column.is_decimal and column.kind != "string":
                return column.default
            if column.kind in ("int", "long"):
                value = int(text) if re.fullmatch(r"[+-]?\d+", text) else text
            elif column.is_decimal:
                value = Decimal(text or "0") if re.fullmatch(r"[+-]?\d*\.?\d*", text) else text
            elif column.enum:
                value = members.get(text.casefold(), text)
            return stored_value(schema, column, value)
        except (FnoError, InvalidOperation):
            raise ValueError(f"The value '{text}' of field '{column.name}' is not a {ax_type(column)}") from None

    return (lambda text: text) if column.kind == "string" else read


@dataclass(frozen=True)
class Target:
    """Where rows go: the store, its settings, the legal entity, and the lock that lets one writer in at a time."""

    store: Store
    config: Mapping[str, Any]
    company: str
    lock: threading.Lock

    def write(self, progress: Progress, stop: threading.Event) -> None:
        """Write the rows of an entity's staging, a few hundred at a time.

        Args:
            progress: Of the entity; its staged rows are taken away.
            stop: Ends the work before the next few hundred rows.
        """
        progress.target_status = "Executing"
        entity, waiting = progress.part.entity, iter(progress.rows)
        progress.rows = []
        if entity.name in READ_ONLY_SETS:
            return self._refuse(progress, waiting, f"The entity '{entity.label}' is read-only")
        if is_denied(self.config, "fno", entity.name, "create"):
            return self._refuse(progress, waiting, f"Access denied: data entity '{entity.label}'")
        blank = [one for one in progress.part.fields if one.column in entity.key and not one.is_generated]
        pause = float(self.config["package_row_s"])
        while rows := list(islice(waiting, ROWS_A_COMMIT)):
            if stop.is_set():
                progress.target_status = "Canceled"
                return None
            until = time.monotonic() + pause * len(rows)
            with self.lock, self.store.transaction() as t:
                for row in rows:
                    self._one(t, progress, row, blank)
            time.sleep(max(0.0, until - time.monotonic()))
        progress.target_status = "Error" if progress.target_errors else "Ended"
        return None

    def _refuse(self, progress: Progress, rows: Iterator[dict[str, Any]], message: str) -> None:
        progress.target_errors += [(self._key(progress, row), self._problem(progress, row, message)) for row in rows]
        progress.target_status = "Error"

    def _one(self, t: Transaction, progress: Progress, given: dict[str, Any], blank: Sequence[Field]) -> None:
        entity = progress.part.entity
        row = {COMPANY: self.company, **given} if COMPANY in entity.key else given
        key = {name: row[name] for name in entity.key if row.get(name) not in (None, "")}
        try:
            # A number sequence fills a blank key only where the field map says so.
            for one in blank:
                if not row.get(one.column):
                    label = entity.columns[one.column].label
                    raise FnoError(400, f"Error: Field '{label}' must be filled in")
            found = t.get(entity.name, key) if len(key) == len(entity.key) else None
            if found is None:
                add_row(t, self.config, entity, row)
                progress.created += 1
            else:
                change_row(t, self.config, entity, found, row)
                progress.updated += 1
        except FnoError as error:
            problem = self._problem(progress, given, error.inner or error.message)
            progress.target_errors.append((self._key(progress, given), problem))

    @staticmethod
    def _key(progress: Progress, row: Mapping[str, Any]) -> list[Any]:
        return [row.get(name, "") for name in progress.key]

    @staticmethod
    def _problem(progress: Progress, row: Mapping[str, Any], message: str) -> Problem:
        return Problem("+".join(str(row.get(name, "")) for name in progress.key), "", message)
