"""What a load would do, found out from the keys of both sides before a row is sent, and kept with its approval."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from p2c_lib import mapping, preflight
from p2c_lib.cells import as_text
from p2c_lib.channels import choose, estimate, offered
from p2c_lib.config import Limits, Profile, home
from p2c_lib.connect import Client, Entity
from p2c_lib.errors import ParameterError, PlanError
from p2c_lib.explain import money_text
from p2c_lib.folder import write_json
from p2c_lib.load_ranges import bounds
from p2c_lib.memory import give_back
from p2c_lib.model import Task, Template
from p2c_lib.pull import MONEY, pull
from p2c_lib.readings import Asked, Readings
from p2c_lib.sides import check_company, check_template
from p2c_lib.write import check_addresses

__all__ = ["BUCKET_ROWS", "Load", "approve", "check_systems", "load_table", "read_load", "survey", "unready"]

BUCKET_ROWS = 15_000  # of thirty fields: 0.6 GB while they are planned and sent, beside the process itself
_HEAD = ("load_id", "profile", "company", "sales_url", "fno_url")

Told = Callable[[str], None]
"""Called with what is being done, in words."""


@dataclass(frozen=True)
class Load:
    """A load as its ``load.json`` has it.

    Attributes:
        folder: Where it is kept.
        facts: What stands in the file: head, tasks (with counts and key ranges), checks, hash, approval, outcome.
    """

    folder: Path
    facts: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over systems, parameters, templates and the keys of the source."""
        return str(self.facts["hash"])

    @property
    def approved(self) -> Mapping[str, str] | None:
        """Who approved it and when; None where nobody has, or something else was approved."""
        stamp: Mapping[str, str] | None = self.facts["approved"]
        return stamp if stamp and stamp["hash"] == self.hash else None

    @property
    def tasks(self) -> Sequence[Mapping[str, Any]]:
        """The tasks in the order in which they are loaded."""
        found: Sequence[Mapping[str, Any]] = self.facts["tasks"]
        return found

    @property
    def to_create(self) -> int:
        """Rows that the destinations lacked when the keys were read."""
        return sum(task["to_create"] for task in self.tasks)

    def saved(self, **changes: Any) -> Load:
        """The load with changes, as it now stands in its file."""
        facts = {**self.facts, **changes}
        write_json(self.folder / "load.json", facts)
        self.folder.chmod(0o700)  # its plans hold the values of rows as they are
        return replace(self, facts=facts)


def survey(
    profile: Profile,
    clients: Mapping[str, Client],
    tasks: Sequence[Task],
    templates: Mapping[str, Template],
    out: Path | None = None,
    *,
    update: bool = False,
    bucket_rows: int = BUCKET_ROWS,
    told: Told = lambda words: None,
) -> Load:
    """Read the keys of both sides, ask whether both systems are ready, and say what a load would send.

    Args:
        profile: Where the systems are.
        clients: By system; only read from.
        tasks: What to load, in the order of `all_tasks`: parents before children.
        templates: As loaded; those of the tasks are held against both systems.
        out: Folder of the load; default a new one below ``loads``.
        update: Rows that are there and differ are to be changed, not only listed.
        bucket_rows: About how many rows are held in memory at a time.
        told: Called with what is being done.

    Returns:
        The load, saved and not approved.

    Raises:
        ParameterError: The folder is in use.
        SchemaError: A template does not fit the services.
        ConnectError: A service could not be read.
    """
    now = datetime.now(UTC)
    load_id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    folder = out or home() / "loads" / load_id
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ParameterError(f"{folder} is not empty; name a new folder, or go on with a load: --resume {folder}")
    check_company(clients["fno"])
    for task in tasks:
        check_template(task, clients)
    told("asking whether both systems are ready")
    names = {task.name for task in tasks}
    mine = {
        name: template.model_copy(update={"tasks": tuple(task for task in template.tasks if task.name in names)})
        for name, template in templates.items()
        if any(task.name in names for task in template.tasks)
    }
    plans = []
    with TemporaryDirectory(prefix="p2c-keys-") as scratch:  # preflight asks for much of what the counts need too
        keys = [one for task in tasks for one in _asked(task)]
        Readings.prepare(Path(scratch, "readings"), [*preflight.asked(mine), *keys])
        readings = Readings.of(Path(scratch, "readings"), clients)
        checks = preflight.check(profile, clients, mine, readings)
        for task in tasks:
            told(f"reading the keys of {task.name}")
            plans.append(_survey_task(task, clients, profile, bucket_rows, readings))
            give_back()
    facts: dict[str, Any] = {
        "load_id": load_id,
        "created": now.isoformat(timespec="seconds"),
        "profile": profile.name,
        "company": profile.fno.company,
        "sales_url": profile.sales.url,
        "fno_url": profile.fno.url,
        "threshold": profile.threshold,
        "update": update,
        "bucket_rows": bucket_rows,
        "verdict": preflight.verdict(checks),
        "checks": preflight.check_table(checks).filter(pl.col("status") != "ok").to_dicts(),
        "tasks": plans,
        "approved": None,
    }
    return Load(folder, {}).saved(**facts, hash=_hash(facts))


def _short(task: Task) -> Task:
    """A task with no more than its keys and money."""
    kept = {*task.key, task.amount, task.currency}
    return task.model_copy(update={"fields": tuple(field for field in task.fields if field.destination in kept)})


def _asked(task: Task) -> list[Asked]:
    ours, theirs = mapping.source_columns(_short(task)), list(task.key)
    return [
        Asked(f"count of {task.name}", task.source.system, task.source.entity, ours),
        Asked(f"count of what {task.name} finds", task.destination.system, task.destination.entity, theirs),
    ]


def _survey_task(
    task: Task, clients: Mapping[str, Client], profile: Profile, bucket_rows: int, readings: Readings | None
) -> dict[str, Any]:
    source_client, client = clients[task.source.system], clients[task.destination.system]
    entity = client.entity(task.destination.entity)
    short = _short(task)
    source = pull(source_client, task.source.entity, mapping.source_columns(short), readings=readings)
    flows = mapping.filter_outcome(source, short).is_null()
    rows = mapping.expected(source, short, entity).rows.select(
        key=_one_text(list(task.key)),
        amount=pl.col(task.amount) if task.amount else pl.lit(None, MONEY),
        currency=pl.col(task.currency) if task.currency else pl.lit(None, pl.String),
    )
    first, other = next(iter(task.key.values())), next(iter(task.key))
    found = pull(client, task.destination.entity, list(task.key), readings=readings).select(
        key=_one_text(list(task.key)), first=other
    )
    flowing = rows.filter(flows & rows["key"].is_not_null())
    new = flowing.join(found, on="key", how="anti")
    money = new.group_by("currency").agg(pl.col("amount").sum()).filter(pl.col("amount") != 0).sort("currency")
    ahead = _ahead(client, entity, new.height, bucket_rows, profile.limits)
    return {
        "task": task.name,
        "source": f"{task.source.system} {task.source.entity}",
        "destination": f"{task.destination.system} {task.destination.entity}",
        "source_rows": source.height,
        "flowing": int(flows.sum()),
        "destination_rows": found.height,
        "there": flowing.height - new.height,
        "to_create": new.height,
        "money": dict(money.select(pl.col("currency").fill_null(""), as_text("amount", MONEY)).iter_rows()),
        **ahead,
        "keys": _digest(flowing["key"]),
        "template": hashlib.sha256(task.model_dump_json().encode()).hexdigest(),
        "bounds": bounds(task, source_client, client, source[first], found["first"], bucket_rows),
    }


def _ahead(client: Client, entity: Entity, rows: int, bucket_rows: int, limits: Limits) -> dict[str, Any]:
    """What sending new rows costs: ``channel``, ``calls``, ``seconds``."""
    if not rows:
        return {"channel": "", "calls": 0, "seconds": 0.0}
    channel = choose(client.system, "create", min(rows, bucket_rows), offered(client, entity))
    told = estimate(
        rows,
        channel,
        parallel=limits.parallel,
        allowance=client.dialect.allowance,
        rows_per_second=limits.rows_per_second,
    )
    return {"channel": told.channel, "calls": told.calls, "seconds": round(told.seconds, 1)}


def _one_text(names: Sequence[str]) -> pl.Expr:
    """A key as one text, as services compare keys: without case and blanks around it; null where a part is."""
    parts = [pl.col(name).cast(pl.String).str.strip_chars().str.to_lowercase() for name in names]
    return pl.concat_str(parts, separator="\x1f")


def _digest(keys: pl.Series) -> str:
    digest = hashlib.sha256()
    for piece in keys.sort().to_frame().iter_slices(100_000):
        digest.update(piece.write_ndjson().encode())
    return digest.hexdigest()


def _hash(facts: Mapping[str, Any]) -> str:
    head = {name: facts[name] for name in (*_HEAD, "update", "bucket_rows")}
    tasks = [{name: task[name] for name in ("task", "template", "keys", "bounds")} for task in facts["tasks"]]
    return hashlib.sha256(json.dumps([head, tasks], sort_keys=True).encode()).hexdigest()


def read_load(folder: Path, tasks: Mapping[str, Task] | None = None) -> Load:
    """Read a load.

    Args:
        folder: Where it is kept.
        tasks: The tasks as they are now, held against those that were approved.

    Raises:
        PlanError: There is none, it is broken, or it was changed since; likewise its templates.
    """
    try:
        facts = json.loads((folder / "load.json").read_text("utf-8"))
        is_same = _hash(facts) == facts["hash"]
    except FileNotFoundError:
        raise PlanError(f"{folder} holds no load (no load.json); give the folder that `p2c load` printed") from None
    except (ValueError, KeyError, TypeError) as error:
        raise PlanError(f"{folder}/load.json is broken ({type(error).__name__}: {error}); load anew") from None
    if not is_same:
        raise PlanError(f"{folder}: the load was changed after it was planned; load anew")
    for plan in facts["tasks"] if tasks is not None else ():
        known = tasks.get(plan["task"]) if tasks else None
        if known is None or hashlib.sha256(known.model_dump_json().encode()).hexdigest() != plan["template"]:
            raise PlanError(f"{folder}: the template of {plan['task']} is another one than was approved; load anew")
    return Load(folder, facts)


def unready(load: Load) -> list[Mapping[str, Any]]:
    """The checks that forbid a load. Repeated keys do not: their rows are held back one by one, and told."""
    checks: Sequence[Mapping[str, Any]] = load.facts["checks"]
    return [check for check in checks if check["status"] == "failed" and not check["name"].startswith("no repeated")]


def approve(load: Load, by: str) -> Load:
    """Approve a load as it stands.

    Raises:
        PlanError: ``by`` is blank, or a system is not ready.
    """
    if not by.strip():
        raise PlanError("who approves the load? give a name")
    failed = [f"{check['name']}: {check['found']}" for check in unready(load)]
    if failed:
        raise PlanError(f"the systems are not ready, nothing was sent: {'; '.join(failed)}; see p2c preflight")
    if load.approved:
        return load  # who approved it first stays on record
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return load.saved(approved={"by": by.strip(), "when": when, "hash": load.hash})


def check_systems(load: Load, clients: Mapping[str, Client], profile: Profile) -> None:
    """Raise `PlanError` when the load was planned for other systems, another company or profile."""
    check_addresses(load.facts, clients, profile.name)


def load_table(load: Load) -> pl.DataFrame:
    """A load for people, a row a task.

    Returns:
        ``task``, ``source_rows``, ``flowing``, ``destination_rows``, ``there``, ``to_create``, ``amount`` (of these, a
        line a currency), ``buckets``, ``channel``, ``calls``, ``seconds`` (at least, by the services' limits).
    """
    names = ["task", "source_rows", "flowing", "destination_rows", "there", "to_create"]
    lines = [
        {name: task[name] for name in names}
        | {
            "amount": "\n".join(money_text(Decimal(amount), currency) for currency, amount in task["money"].items()),
            "buckets": max(bound["bucket"] for bound in task["bounds"]),
            "channel": task["channel"],
            "calls": task["calls"],
            "seconds": task["seconds"],
        }
        for task in load.tasks
    ]
    return pl.DataFrame(lines, infer_schema_length=None)
