"""Sets that several tasks of one run need: each is read once, by who needs it first, and kept until the run is over.

All tasks of a run see such a set as it stood at one moment. What a row refers to and is not in it has come since then
and is looked up at the service; who reads alone, outside of a run, always reads anew.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from p2c_lib.connect.client import Client
from p2c_lib.connect.metadata import Entity
from p2c_lib.connect.pages import dtype
from p2c_lib.errors import SchemaError
from p2c_lib.paths import lookup_path

__all__ = ["FOLDER_VARIABLE", "Asked", "Readings"]

FOLDER_VARIABLE = "P2C_RUN_READINGS"
"""Environment of a run's kernels: the folder of its readings. It ends with them, so that nobody reads old rows."""
_PATIENCE_S = 24 * 3600


@dataclass(frozen=True)
class Asked:
    """Columns that somebody will ask of a set; ``by`` names who, and who asks once has one name."""

    by: str
    system: str
    entity: str
    columns: Sequence[str]


class Readings:
    """What the tasks of one run have read of the sets that they share."""

    def __init__(self, folder: Path, sets: Mapping[tuple[str, str], Sequence[str]]) -> None:
        """Use a folder, in which other processes may be at work too.

        Args:
            folder: Where the readings are.
            sets: By system and entity set: the columns that are read of it.
        """
        self._folder, self._sets = folder, sets
        self._began: list[datetime] = []

    @staticmethod
    def prepare(folder: Path, asked: Iterable[Asked]) -> None:
        """Make the folder of a run that is about to begin, and keep in it what its tasks will ask for."""
        folder.mkdir(parents=True)
        lines = [[a.by, a.system, a.entity, list(a.columns)] for a in asked]
        (folder / "asked.json").write_text(json.dumps(lines), "utf-8")

    @staticmethod
    def of(folder: Path | None, clients: Mapping[str, Client]) -> Readings | None:
        """Open the readings of a run.

        Args:
            folder: Made by `prepare`; None for those of the run that started this process, if one did.
            clients: Both systems: their metadata says where lookups lead.
        """
        place = folder or os.environ.get(FOLDER_VARIABLE)
        if not place:
            return None
        lines = json.loads(Path(place, "asked.json").read_text("utf-8"))
        return Readings(Path(place), shared([Asked(*line) for line in lines], clients))

    @property
    def earliest(self) -> datetime | None:
        """When the oldest reading that was taken from here began, UTC."""
        return min(self._began, default=None)

    def columns(self, system: str, entity: str) -> Sequence[str]:
        """The columns that are read of a set; none when it is not shared."""
        return self._sets.get((system, entity), ())

    def take(self, system: str, entity: str, columns: Sequence[str], read: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """Give columns of a shared set.

        Args:
            system: Of the set.
            entity: Its name.
            columns: Those wanted, etag included.
            read: Reads all its shared columns from the service; called when nobody has.
        """
        file = self._folder / f"{system}.{entity}.parquet"
        with _alone(file.with_suffix(".lock")):
            if not file.exists():
                began = datetime.now(UTC)
                frame = read()
                draft = file.with_suffix(".part")
                frame.write_parquet(draft, compression="lz4", statistics=False, metadata={"began": began.isoformat()})
                draft.replace(file)
                self._began.append(began)
                return frame.select(columns)
        self._began.append(datetime.fromisoformat(pl.read_parquet_metadata(file)["began"]))
        return pl.read_parquet(file, columns=list(columns))


def shared(asked: Sequence[Asked], clients: Mapping[str, Client]) -> dict[tuple[str, str], list[str]]:
    """Say which sets more than one asks for, lookups followed, and which of their columns.

    Args:
        asked: By the tasks of a run, paths over lookups among the columns.
        clients: Both systems. What their metadata does not know is left out: who asked for it will be told.

    Returns:
        By system and set: columns, each once.
    """
    columns: dict[tuple[str, str], dict[str, None]] = {}
    askers: dict[tuple[str, str], set[str]] = {}

    def note(system: str, entity: str, names: Iterable[str], by: str) -> None:
        client = clients[system]
        known = client.metadata().entities.get(entity)
        if known is None:
            return
        mine = columns.setdefault((system, entity), dict.fromkeys(known.key))
        askers.setdefault((system, entity), set()).add(by)
        for name in names:
            if "." not in name:
                if _is_readable(known, name):
                    mine[name] = None
                continue
            try:
                path = lookup_path(client, known, name)
            except SchemaError:
                continue
            for lookup, column in zip(path.lookups, path.columns, strict=True):
                mine[lookup.column] = None
                key = lookup.target_key or client.entity(lookup.target).key[0]
                note(system, lookup.target, [key, column], f"{by} looking up")

    for one in asked:
        note(one.system, one.entity, one.columns, one.by)
    return {place: list(names) for place, names in columns.items() if len(askers[place]) > 1}


def _is_readable(known: Entity, name: str) -> bool:
    try:
        dtype(known.column(name))
    except SchemaError:
        return False
    return True


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process and thread at a time: SQLite's file locks are the same everywhere and end with who holds them."""
    with closing(sqlite3.connect(lock, timeout=_PATIENCE_S, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
