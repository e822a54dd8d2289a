"""Loads made-up data into a store, spoils it in the ways of ``knobs.WRONG``, and swaps the rows of a running one.

As a process, ``python -m p2c_lib.sandbox.loading SYSTEM FILE FOLDER``, it loads the frames that stand in a folder.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import polars as pl
import sqlalchemy as sa

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.fno_rules import PARTY_COLUMNS
from p2c_lib.sandbox.knobs import WRONG
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.store import Store

System = Literal["sales", "fno"]
SYSTEMS: tuple[System, System] = ("sales", "fno")
APART_ROWS = 200_000  # from here on a process of its own is worth its start


def load(system: System, file: Path, frames: Mapping[str, pl.DataFrame]) -> Store:
    """Make a database and load frames into it.

    Args:
        system: Whose rows.
        file: File of the database; must not exist.
        frames: Frame by entity set, columns as on the wire.

    Returns:
        The open store.
    """
    store = Store(file, load_schema(system))
    with store.filling():
        for entity, frame in frames.items():
            store.load(entity, frame)
        if system == "fno" and "CDSParties" not in frames:
            store.load("CDSParties", _parties(frames))
    return store


def load_both(files: Mapping[System, Path], frames: Mapping[System, Mapping[str, pl.DataFrame]]) -> None:
    """Make the databases of both systems, large ones at the same time: F&O's in a process of its own.

    Args:
        files: By system: the file of its database; must not exist.
        frames: By system: its frames by entity set.

    Raises:
        SandboxError: F&O's rows could not be loaded.
    """
    if sum(frame.height for part in frames.values() for frame in part.values()) < APART_ROWS:
        for system in SYSTEMS:
            load(system, files[system], frames[system]).close()
        return
    with tempfile.TemporaryDirectory(prefix=".rows-", dir=files["fno"].parent) as handed:
        for entity, frame in frames["fno"].items():
            frame.write_ipc(Path(handed) / f"{entity}.arrow")
        command = [sys.executable, "-m", "p2c_lib.sandbox.loading", "fno", str(files["fno"]), handed]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as other:
            try:
                load("sales", files["sales"], frames["sales"]).close()
                _, said = other.communicate()
            finally:
                other.kill()  # no effect when it has ended
        if other.returncode:
            raise SandboxError(f"the rows of fno could not be loaded: {said.strip().splitlines()[-1:]}")


def _parties(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The parties behind customers and contact persons, once each (numbers are compared without case)."""
    parts = [
        frames[entity].select(
            pl.col(column).alias(name) for name, column in columns.items() if column in frames[entity].columns
        )
        for entity, columns in PARTY_COLUMNS.items()
        if columns["PartyNumber"] in frames.get(entity, pl.DataFrame()).columns
    ]
    if not parts:
        return pl.DataFrame()
    parties = pl.concat(parts, how="diagonal").filter(pl.col("PartyNumber") != "")
    return (
        parties.with_columns(pl.col("PartyNumber").str.to_lowercase().alias("folded"))
        .unique("folded", keep="first", maintain_order=True)
        .drop("folded")
    )


def replace(system: System, old: Path, new: Path) -> None:
    """Exchange all rows of a database that a service may have open, in one transaction.

    Args:
        system: Whose rows.
        old: The database in use.
        new: The database with the rows to be; nobody has it open.
    """
    store = Store(old, load_schema(system))
    with store.engine.connect() as connection:
        run = connection.exec_driver_sql
        run("ATTACH ? AS fresh", (str(new),))
        run("BEGIN IMMEDIATE")
        with ExitStack() as undo:
            undo.callback(run, "ROLLBACK")
            # Etags of before must not fit rows of now, so versions go on from where they were.
            version = run("SELECT max(version) FROM main.row_counter").scalar()
            for name, table in store.tables.items():
                columns = ", ".join(f'"{column.name}"' for column in table.columns)
                shifted = columns.replace('"row_version"', '"row_version" + ?')
                run(f'DELETE FROM main."{name}"')
                run(f'INSERT INTO main."{name}" ({columns}) SELECT {shifted} FROM fresh."{name}"', (version,))
            run("DELETE FROM main.row_deletions")
            run("UPDATE main.row_counter SET version = ? + (SELECT max(version) FROM fresh.row_counter)", (version,))
            undo.pop_all()
        run("COMMIT")
        run("DETACH fresh")
    store.close()


def spoil(store: Store, wrong: Sequence[str]) -> None:
    """Change rows as the named ways ask for.

    Args:
        store: Rows of one system; ways of the other one are left aside.
        wrong: Names out of ``WRONG``.

    Raises:
        SandboxError: The data has no row that could be spoilt so.
    """
    for name in wrong:
        if name == "duplicate_account_numbers" and store.schema.system == "sales":
            _repeat_account_number(store)
        for system, entity, which, changes in WRONG[name].rows:
            if system == store.schema.system:
                _change(store, name, entity, which, changes)


def _change(store: Store, name: str, entity: str, which: Mapping[str, Any], changes: Mapping[str, Any] | None) -> None:
    table = store.tables[entity]
    with store.transaction() as t:
        wanted = dict(which)
        if "_transactioncurrencyid_value" in wanted:  # named by its code; the id is made up anew with every seed
            currency = t.get("transactioncurrencies", {"isocurrencycode": wanted["_transactioncurrencyid_value"]})
            wanted["_transactioncurrencyid_value"] = currency["transactioncurrencyid"] if currency else None
        rows = t.rows(sa.select(table.c.row_id).where(*[table.c[column] == value for column, value in wanted.items()]))
        if not rows:
            raise SandboxError(f"wrong={name!r}: {entity} has no row with {dict(which)}")
        for row in rows:
            if changes is None:
                t.delete(entity, row["row_id"])
            else:
                t.update(entity, row["row_id"], changes)


def _repeat_account_number(store: Store) -> None:
    table = store.tables["accounts"]
    with store.transaction() as t:
        rows = t.rows(
            sa.select(table.c.row_id, table.c.accountnumber)
            .where(table.c.accountnumber.is_not(None))
            .order_by(table.c.row_id)
            .limit(2)
        )
        if len(rows) < 2:
            raise SandboxError("wrong='duplicate_account_numbers': there are no two accounts with a number")
        t.update("accounts", rows[1]["row_id"], {"accountnumber": rows[0]["accountnumber"]})


if __name__ == "__main__":
    which, database, place = sys.argv[1:]
    held = {path.stem: pl.read_ipc(path) for path in sorted(Path(place).glob("*.arrow"))}
    load("sales" if which == "sales" else "fno", Path(database), held).close()
