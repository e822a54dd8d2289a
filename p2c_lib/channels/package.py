"""Data packages of F&O: thousands of new rows in one file, written by the service in its own time.

A package knows no ETag and overwrites a row whose key is there already, so it carries creates alone, of rows that the
comparison found absent. Right before it is sent the service is asked once more, and rows that are there by then stay
out and are looked at. What comes in between is overwritten all the same; the answers say so.

An import is called under a name made of plan, chunk and rows, and the service takes a name once. So a chunk whose
answer was lost, or whose process was killed, is not sent again: the service is asked by that name what became of it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from p2c_lib.channels.base import ANSWERS, Channel, Chunk
from p2c_lib.channels.package_calls import LONGEST_PAUSE_S, act, label_of, status_of, upload
from p2c_lib.channels.package_results import alike, key_text, outcome
from p2c_lib.channels.package_zip import package
from p2c_lib.connect import Client, Entity, literal
from p2c_lib.errors import ConnectError, LostAnswer, PermissionDenied, ServiceError, SignInError, Throttled
from p2c_lib.pull import pull

__all__ = ["PACKAGE", "offered"]

_COMPANY = "dataAreaId"  # an import is for one company as a whole; its files do not name it
_UNDER_WAY = frozenset({"NotRun", "Executing"})
_PATIENCE_S = 6 * 3600.0  # for one execution; after that the next resume asks for it
_APPEARS_S = 6.0  # so long after a lost call an import may still come to light
_TRIES = 5  # of one import
_WORTH = 25  # rows of a range are read for the rows of a package if they are at most so many times as many
_AT_ONCE = 20  # keys in one filter, for F&O's limits of a query's length
_calling = threading.Lock()  # F&O takes one ImportFromPackage at a time


@dataclass(frozen=True)
class _Part:
    """Rows of a chunk that fit into one file.

    Attributes:
        name: Of the execution.
        rows: ``order``, then a String column a property, without the company.
        key: The entity's key without its company.
    """

    name: str
    rows: pl.DataFrame
    key: list[str]


def offered(client: Client, entity: Entity) -> bool:
    """Say whether rows of a set can come in packages.

    Args:
        client: Of any system; only F&O has packages.
        entity: The set.

    Returns:
        True where the metadata says that data management is on for the entity and that it can be written.

    Raises:
        ConnectError: Or a child of it.
    """
    return client.system == "fno" and label_of(client, entity) is not None


def _send(client: Client, chunk: Chunk) -> pl.DataFrame:
    label = label_of(client, chunk.entity)
    if label is None:
        return alike(chunk.actions, "failed", error=f"{chunk.entity.name}: data management is not on for this entity")
    known = pl.concat([ANSWERS.to_frame(), *(_send_part(client, chunk.entity, label, part) for part in _parts(chunk))])
    keyless = chunk.actions.join(known, on="order", how="anti")
    missing = f"a row of a package needs its whole key ({', '.join(chunk.entity.key)}); send it another way"
    return pl.concat([known, alike(keyless, "failed", error=missing)]).sort("order")


PACKAGE = Channel(
    "package",
    "data packages",
    ("create",),
    rows_a_call=20_000,
    atomic=False,
    send=_send,
    lanes=2,  # one is on its way up while the service writes the other
    repeatable=True,
)


def _parts(chunk: Chunk) -> Iterator[_Part]:
    """A part for each set of properties: in a file a blank says something else than a property that is left out."""
    key = [name for name in chunk.entity.key if name != _COMPANY]
    cells = chunk.cells.filter(pl.col("property") != _COMPANY)
    dates = [name for name, column in chunk.entity.columns.items() if column.attribute == "Date"]
    said = cells.group_by("order").agg(said=pl.col("property").sort().str.join(","))
    attempts = chunk.actions.select("order", "attempt").join(said, on="order")
    for _, orders in sorted(attempts.partition_by("said", as_dict=True).items(), key=lambda one: str(one[0])):
        orders = orders.select("order", "attempt").sort("order")
        own = cells.join(orders, on="order", how="semi", maintain_order="left")
        rows = own.pivot(on="property", index="order", values="sent", aggregate_function="first").sort("order")
        if not set(key) <= set(rows.columns):
            continue
        rows = rows.filter(pl.all_horizontal(pl.col(name).fill_null("") != "" for name in key))
        rows = rows.with_columns(pl.col(name).str.slice(0, 10) for name in dates if name in rows.columns)
        digest = hashlib.sha256(orders.write_csv().encode()).hexdigest()
        if rows.height:
            yield _Part(f"p2c-{chunk.plan[:12]}-{chunk.number}-{digest[:12]}", rows, key)


def _send_part(client: Client, entity: Entity, label: str, part: _Part) -> pl.DataFrame:
    if status_of(client, part.name) is None:
        there = _standing(client, entity, part)
        if there.height:
            # A package is whole: what is there by now is looked at, and the others go out without it.
            others = part.rows.join(there, on="order", how="anti")
            return pl.concat([alike(there, "doubt", again="look"), alike(others, "open", again="send")])
        refusal = _import(client, label, part)
        if refusal is not None:
            return alike(part.rows, "failed", error=refusal, status=400)
    status = _wait(client, part.name)
    if status in _UNDER_WAY:
        return alike(part.rows, "doubt", error=f"execution {part.name} is {status} for hours; resume asks for it again")
    try:
        return outcome(client, label, part.name, status, part.rows, part.key)
    except (SignInError, PermissionDenied, Throttled):
        raise
    except ConnectError as error:
        if error.status is None:
            raise
        return alike(part.rows, "doubt", again="look", error=str(error), status=error.status)


def _import(client: Client, label: str, part: _Part) -> str | None:
    """Bring a package up and have it imported; the service's words when it refuses, None when it has taken it."""
    group = f"p2c {label}"[:60]
    data = package(label, group, part.rows.drop("order"))
    last = ""
    for attempt in range(_TRIES):
        wishes = {
            "packageUrl": upload(client, f"{part.name}.zip", data),
            "definitionGroupId": group,
            "executionId": part.name,
            "execute": True,
            "overwrite": True,
            "legalEntityId": (client.company or "").upper(),
        }
        try:
            with _calling:
                act(client, "ImportFromPackage", wishes)
            return None
        except (LostAnswer, ServiceError) as error:
            last = str(error)
            if _appears(client, part.name):
                return None
        except ConnectError as error:
            if error.status != 400:
                raise
            last = str(error)
            if status_of(client, part.name) is not None:
                return None  # the name is taken: by this very package
            if "update conflict" in last:  # somebody else's import was called at the same time
                time.sleep(0.2 * 2**attempt)
            elif "(403)" not in last:  # else the address has ended, and the package is brought up again
                return last
    raise ConnectError(f"importing {label}: tried {_TRIES} times; the last answer was: {last}")


def _appears(client: Client, name: str) -> bool:
    """Whether an import whose answer was lost has begun; it may take a moment until the service knows of it."""
    pause_s, deadline = 0.1, time.monotonic() + _APPEARS_S
    while status_of(client, name) is None:
        if time.monotonic() + pause_s > deadline:
            return False
        time.sleep(pause_s)
        pause_s *= 2
    return True


def _wait(client: Client, name: str) -> str:
    begun = time.monotonic()
    while (status := status_of(client, name) or "Unknown") in _UNDER_WAY:
        spent_s = time.monotonic() - begun
        if spent_s > _PATIENCE_S:
            break
        time.sleep(min(LONGEST_PAUSE_S, max(0.05, spent_s / 40)))  # what is found out late costs little of the whole
    return status


def _standing(client: Client, entity: Entity, part: _Part) -> pl.DataFrame:
    """``order`` of the rows whose key is taken."""
    keys = part.rows.select("order", *part.key)
    texts = [n for n in part.key if entity.column(n).edm_type == "Edm.String"]
    if not texts:
        return _taken(client, entity, keys, part.key, ())
    first = texts[0]
    # The service may sort with or without case; these ends hold the keys between them either way.
    ends = keys[first].str.to_uppercase().min(), keys[first].str.to_lowercase().max()
    low, high = (literal(value, "Edm.String") for value in ends)
    within = f"{first} ge {low} and {first} le {high}"
    own = client.company_filter(entity)
    rows = client.count(entity.name, f"{own} and {within}" if own else within)
    if not rows:
        return keys.select("order").clear()
    if rows <= _WORTH * keys.height:
        return _taken(client, entity, keys, part.key, (within,))
    # Their range holds too much of a large set, as when keys come in no order: they are asked for by name.
    clauses = [f"{first} eq {literal(text, 'Edm.String')}" for text in keys[first].unique(maintain_order=True)]
    filters = [" or ".join(clauses[at : at + _AT_ONCE]) for at in range(0, len(clauses), _AT_ONCE)]
    return _taken(client, entity, keys, part.key, tuple(filters))


def _taken(
    client: Client, entity: Entity, keys: pl.DataFrame, names: list[str], filters: tuple[str, ...]
) -> pl.DataFrame:
    if len(filters) > 1:
        found = pull(client, entity.name, names, parts=filters)
    else:
        found = pull(client, entity.name, names, filter=next(iter(filters), None))
    there = found.select(key=key_text(names)).unique()
    return keys.select("order", key=key_text(names)).join(there, on="key", how="semi").select("order")
