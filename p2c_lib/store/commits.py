"""One commit of a table: rows that come, change and go, written as one new version or not at all.

On disk, Polars writes the files and Delta commits them: several times faster than Delta's own merge. In a lake, where
only Delta knows how to write and what was written, its merge does both. The version committed is the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from p2c_lib.store.entities import Declared
from p2c_lib.store.rows import partners

ROWS_PER_FILE = 250_000


@dataclass(frozen=True)
class Snapshot:
    """What a merge has to know of a table at one version.

    Attributes:
        rows: The stored rows of the keys asked for; on disk with all others of the files that hold one of them.
        partner: Of each key asked for the number of its row, null where there is none (UInt32).
        files: On disk the file of each row, its number in ``actions``; None in a lake.
        actions: What Delta says of the files.
    """

    rows: pl.DataFrame
    partner: pl.Series
    files: pl.Series | None
    actions: list[dict[str, Any]]


def look(table: DeltaTable, declared: Declared, keys: pl.DataFrame, options: Mapping[str, str]) -> Snapshot:
    """Read what a table has of some keys, at the version that it was opened at.

    Args:
        table: Which.
        declared: Its entity.
        keys: The key columns with the organisation, each key once.
        options: Of the lake.

    Raises:
        StoreError: The table holds a key more than once.
    """
    folder = _folder(table)
    if folder is None:
        stored = pl.scan_delta(table, storage_options=dict(options) or None).select(declared.schema.names())
        rows = stored.join(keys.lazy(), on=keys.columns, how="semi").collect()
        return Snapshot(rows, partners(keys, rows.select(keys.columns)), None, [])
    actions = pl.DataFrame(table.get_add_actions()).to_dicts()
    scans = [
        pl.scan_parquet(folder / unquote(action["path"]), schema=declared.schema, missing_columns="insert")
        for action in actions
    ]
    if not scans:
        return Snapshot(declared.schema.to_frame(), pl.repeat(None, keys.height, dtype=pl.UInt32, eager=True), None, [])
    heads = pl.collect_all([scan.select(keys.columns) for scan in scans])
    files = pl.concat([pl.repeat(at, head.height, dtype=pl.UInt32, eager=True) for at, head in enumerate(heads)])
    partner = partners(keys, pl.concat(heads))
    # The keys say which files matter; only these are read whole, and rows are counted anew.
    holds = pl.repeat(False, len(scans), eager=True).scatter(files.gather(partner.drop_nulls()).unique(), True)
    is_read = holds.gather(files)
    number = is_read.cast(pl.UInt32).cum_sum() - 1
    parts = [scan for scan, held in zip(scans, holds, strict=True) if held]
    rows = pl.concat([declared.schema.to_frame(), *pl.collect_all(parts)]).rechunk()
    return Snapshot(rows, number.gather(partner), files.filter(is_read), actions)


def commit(
    table: DeltaTable,
    declared: Declared,
    seen: Snapshot,
    new: pl.DataFrame,
    changed: pl.DataFrame,
    taken: pl.Series,
    properties: CommitProperties,
) -> None:
    """Commit the next version of a table.

    Args:
        table: At the version that was looked at; at the new one afterwards.
        declared: Its entity.
        seen: What was seen of it.
        new: Whole rows that come.
        changed: Whole rows as they are to be; each is there already.
        taken: Numbers of the seen rows that change or go.
        properties: Of the commit; without repeats, so that it fails when there is a newer version.

    Raises:
        CommitFailedError: Somebody else committed first; nothing was changed.
    """
    folder = _folder(table)
    if folder is None:
        gone = seen.rows[taken].join(changed, on=list(declared.entity.key), how="anti")
        _merge(table, declared, new, changed, gone, properties)
    else:
        _write(table, folder, declared, seen, pl.concat([changed, new]), taken, properties)
    table.update_incremental()


def _folder(table: DeltaTable) -> Path | None:
    """Where a table lies, when it is on this machine's disk."""
    parts = urlsplit(table.table_uri)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else table.table_uri)


def _merge(
    table: DeltaTable,
    declared: Declared,
    new: pl.DataFrame,
    changed: pl.DataFrame,
    gone: pl.DataFrame,
    properties: CommitProperties,
) -> None:
    rows = pl.concat([new, changed, gone]).with_columns(
        _is_gone=pl.concat(
            [pl.repeat(False, new.height + changed.height, eager=True), pl.repeat(True, gone.height, eager=True)]
        )
    )
    key = " AND ".join(f'target."{name}" = source."{name}"' for name in declared.entity.key)
    (
        table.merge(rows, key, source_alias="source", target_alias="target", commit_properties=properties)
        .when_matched_delete("source._is_gone")
        .when_matched_update({f'"{name}"': f'source."{name}"' for name in declared.schema})
        .when_not_matched_insert({f'"{name}"': f'source."{name}"' for name in declared.schema})
        .execute()
    )


def _write(
    table: DeltaTable,
    folder: Path,
    declared: Declared,
    seen: Snapshot,
    rows: pl.DataFrame,
    taken: pl.Series,
    properties: CommitProperties,
) -> None:
    """Write the files that hold a row taken once more, without it; files without one stay as they are."""
    removed = []
    if seen.files is not None and taken.len():
        hit = seen.files.gather(taken).unique()
        stays = pl.repeat(True, seen.rows.height, eager=True).scatter(taken, False)
        rows = pl.concat([seen.rows.filter(stays & seen.files.is_in(hit.implode())), rows])
        removed = [_removal(seen.actions[file]) for file in hit]
    added = [_added(folder, part, declared) for part in rows.iter_slices(ROWS_PER_FILE)] if rows.height else []
    table.create_write_transaction(
        [*added, *removed], mode="append", schema=table.schema(), commit_properties=properties
    )


def _added(folder: Path, rows: pl.DataFrame, declared: Declared) -> AddAction:
    name = f"part-{uuid4()}.parquet"
    with (folder / name).open("xb") as file:
        rows.write_parquet(file, compression="snappy")
        file.flush()
        os.fsync(file.fileno())
    facts = rows.select(declared.entity.key)
    stats = {
        "numRecords": rows.height,
        "minValues": facts.min().row(0, named=True),
        "maxValues": facts.max().row(0, named=True),
        "nullCount": dict.fromkeys(declared.entity.key, 0),
    }
    return AddAction(name, (folder / name).stat().st_size, {}, int(time.time() * 1000), True, json.dumps(stats))


def _removal(action: Mapping[str, Any]) -> RemoveAction:
    return RemoveAction(action["path"], True, int(time.time() * 1000), action["size_bytes"], {})
