"""Both sides of a task, read at the same time from services that its template was held against."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import polars as pl

from p2c_lib import mapping
from p2c_lib.config import Profile
from p2c_lib.connect import Client, Metadata, connect, literal
from p2c_lib.errors import ConfigError, NotFound, PermissionDenied, SchemaError
from p2c_lib.model import Route, Task, check_against
from p2c_lib.pull import pull
from p2c_lib.readings import Readings
from p2c_lib.store import STAGED_AT, connect_store
from p2c_lib.tieout import freight_tax_lines

CLOCKS = ("modifiedon", STAGED_AT)  # of a row in Sales and in the store, for the reasons

Progress = Callable[[str, int], None]
"""Called with what is being read and how many rows have come so far."""


@dataclass(frozen=True)
class Sides:
    """A task's rows as pulled.

    Attributes:
        source: Shape (n, c): the source columns the task names.
        found: Shape (m, d): the destination columns, ``@odata.etag`` and the entity's own key.
        parents: For each field with a parent, the values present at the destination (String).
        read_at: When reading began, UTC.
        seconds: How long reading took.
        freight_tax: The Freight Tax lines of the destination (`tieout.freight_tax_lines`), which are not in ``found``.
    """

    source: pl.DataFrame
    found: pl.DataFrame
    parents: dict[str, pl.Series]
    read_at: datetime
    seconds: float
    freight_tax: pl.DataFrame | None = None


@dataclass(frozen=True)
class Within:
    """A part of a task's rows.

    Attributes:
        source: Filters in the words of the source's service, each wanted row in exactly one of them; none: all rows.
        found: The same for the destination.
        parents: What the destination holds of parents, as in `Sides`; None: it is read.
        rows: The source's rows, where they have been read before; None: they are read.
    """

    source: Sequence[str] = ()
    found: Sequence[str] = ()
    parents: dict[str, pl.Series] | None = None
    rows: pl.DataFrame | None = None


@contextmanager
def open_clients(profile: Profile, route: Route = "direct") -> Iterator[dict[str, Client]]:
    """Connect to both systems, and on the route through CDS to the store between them; closed on the way out."""
    clients: dict[str, Client] = {}
    try:
        for system in ("sales", "fno"):
            clients[system] = connect(profile, system)
        if route == "cds":  # the store answers what tasks ask of a client
            clients["cds"] = cast(Client, connect_store(profile))
        yield clients
    finally:
        for client in clients.values():
            client.close()


def read_sides(
    task: Task,
    clients: Mapping[str, Client],
    progress: Progress | None = None,
    *,
    also: Sequence[str] = (),
    readings: Path | None = None,
    within: Within | None = None,
) -> Sides:
    """Pull both sides of a task, at the same time, after its template was held against the live metadata.

    Args:
        task: What to read.
        clients: Both systems.
        progress: Told how many rows have come.
        also: Source columns to read beside those the task names.
        readings: Folder of what the run shares; in a kernel that a run started, that of this run. Sets that the run
            does not share, and all sets where nobody runs, are read anew.
        within: Only this part of the rows.

    Raises:
        ConfigError: F&O has no such company.
        SchemaError: The template names columns that a service does not have.
        ConnectError: A service could not be read.
    """
    began, clock = datetime.now(UTC), time.perf_counter()
    check_company(clients["fno"])
    source_client, destination_client = clients[task.source.system], clients[task.destination.system]
    check_template(task, clients)
    note = progress or (lambda label, rows: None)
    shared, part = Readings.of(readings, clients), within or Within()

    known = source_client.metadata().entities[task.source.entity].columns
    clock_column = [name for name in CLOCKS if name in known]
    columns = list(dict.fromkeys([*mapping.source_columns(task), *clock_column, *also]))

    def pull_source() -> pl.DataFrame:
        if part.rows is not None:
            return part.rows
        label, entity = f"{task.source.system} {task.source.entity}", task.source.entity
        return pull(
            source_client,
            entity,
            columns,
            parts=part.source,
            progress=lambda rows: note(label, rows),
            readings=shared,
        )

    def pull_found() -> tuple[pl.DataFrame, pl.DataFrame | None]:
        label = f"{task.destination.system} {task.destination.entity}"
        wanted, entity, only = mapping.destination_columns(task), task.destination.entity, task.destination.only
        known = destination_client.entity(entity).columns
        apart = task.tie_out.freight_tax.line if task.tie_out and task.tie_out.freight_tax else None
        asked = [c for c in only if c.column in known and c.column != apart]
        said = [c.odata(known[c.column], task.destination.system) for c in asked]
        filter = " and ".join(f"({text})" for text in said if text) or None
        if shared and shared.columns(task.destination.system, entity):
            filter = None  # others need the rest of the set too; its rows are narrowed below all the same
        rows = pull(
            destination_client,
            entity,
            wanted,
            filter=filter,
            parts=part.found,
            progress=lambda rows: note(label, rows),
            readings=shared,
        )
        kept = rows.filter(pl.all_horizontal([pl.lit(True), *(condition.expr() for condition in only)]))
        return kept, freight_tax_lines(rows, task.tie_out)

    def pull_parents() -> dict[str, pl.Series]:
        if part.parents is not None:
            return part.parents
        asked = dict.fromkeys((p.entity, p.column) for field in task.fields for p in field.parent)
        present = {place: pull(destination_client, place[0], [place[1]], readings=shared)[place[1]] for place in asked}
        return {
            field.destination: pl.concat([present[p.entity, p.column] for p in field.parent])
            for field in task.fields
            if field.parent
        }

    with ThreadPoolExecutor(3) as pool:
        source, found, parents = pool.submit(pull_source), pool.submit(pull_found), pool.submit(pull_parents)
        rows, made = found.result()
        frames = source.result(), rows, parents.result()
    earliest = shared.earliest if shared else None
    return Sides(*frames, min(began, earliest or began), time.perf_counter() - clock, made)


def check_company(client: Client) -> None:
    """Raise `ConfigError` for a company that F&O does not have: to a read it is one without rows, so all would differ.

    Where the user sees no legal entities at all, the company is taken as it is.
    """
    if client.company is None or "company" in client.cache or "LegalEntities" not in client.metadata().entities:
        return
    asked = {"$select": "LegalEntityId"}
    try:
        wanted = f"LegalEntityId eq {literal(client.company, 'Edm.String')}"
        if not client.get("LegalEntities", {**asked, "$filter": wanted})["value"]:
            known = sorted(row["LegalEntityId"] for row in client.get("LegalEntities", asked)["value"])
            if known:
                raise ConfigError(f"F&O at {client.root} has no company '{client.company}'; known: {', '.join(known)}")
    except (PermissionDenied, NotFound):
        pass
    client.cache["company"] = client.company


def check_template(task: Task, clients: Mapping[str, Client]) -> None:
    """Raise `SchemaError` with every column of the task that the live services lack or type otherwise."""
    problems = template_problems(task, {system: client.metadata() for system, client in clients.items()})
    if problems:
        raise SchemaError(f"{task.name} does not fit the services: " + "; ".join(problems))


def template_problems(task: Task, metadata: Mapping[str, Metadata]) -> list[str]:
    """Everything of a task that the live metadata of its two systems does not bear out."""
    sides = []
    for side in (task.source, task.destination):
        entities = metadata[side.system].entities
        if side.entity not in entities:
            return [f"{side.system} has no entity set '{side.entity}'; is its solution installed?"]
        sides.append(entities[side.entity])
    return check_against(task, *sides)
