"""From ticks to the systems: what of a run's plan is meant, approve that, send it, read it back.

The plan is always that of the whole run, the same as `p2c plan` makes; what is ticked narrows the approval alone.
Nothing is sent without a plan that was shown, a name, and a word for each of the two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from p2c_lib import apply as applying
from p2c_lib import causes, legs, stale, verify, write
from p2c_lib.apply import Applied, Pulse
from p2c_lib.config import Profile
from p2c_lib.connect import Client
from p2c_lib.errors import ParameterError, PlanError
from p2c_lib.folder import read_run
from p2c_lib.model import Template
from p2c_lib.places import plan_folder
from p2c_lib.run import open_clients
from p2c_lib.write import Plan, Wanted

__all__ = ["Meant", "Place", "approve_meant", "plan_ticked", "read_back", "send"]


@dataclass(frozen=True)
class Place:
    """Where a run's plan comes from and goes to.

    Attributes:
        folder: The run's.
        profile: That it was made with.
    """

    folder: Path
    profile: Profile

    @property
    def templates(self) -> dict[str, Template]:
        """Those of the run's route."""
        return legs.templates_for(self.profile, legs.check_route(read_run(self.folder).get("route", "direct")))

    @contextmanager
    def clients(self) -> Iterator[Mapping[str, Client]]:
        """Both systems, signed in as long as this lasts."""
        route = legs.check_route(read_run(self.folder).get("route", "direct"))
        with open_clients(self.profile, route) as clients:
            yield clients


@dataclass(frozen=True)
class Meant:
    """What of a plan is meant by the ticks.

    Attributes:
        plan: The whole plan.
        chosen: Rows that would be sent, ``task`` and ``key``: the ticked ones and those they wait for.
        parents: How many of the chosen were not ticked, but a ticked row waits for them.
        held: Ticked rows that the plan holds back: ``task``, ``key``, ``reason``.
        without: Ticked rows that need no action, or for which the plan has none: ``task``, ``key``.
        table: The chosen part for people, as `write.plan_table` with costs.
        approved: How many actions were approved before, by anyone; they go out with the rest.
    """

    plan: Plan = field(repr=False)
    chosen: pl.DataFrame
    parents: int
    held: pl.DataFrame
    without: pl.DataFrame
    table: pl.DataFrame
    approved: int


def plan_ticked(place: Place, ticked: pl.DataFrame) -> Meant:
    """Plan a run, or take the plan that it has, and find what of it is meant; nothing is sent.

    Args:
        place: The run.
        ticked: ``task`` and ``key``.

    Raises:
        PlanError: As `write.plan`.
        ConnectError: A system cannot be read.
    """
    with place.clients() as clients:
        meant = meant_by(_plan(place, clients), ticked)
        part = replace(meant.plan, rows=_of(meant.plan.rows, meant.chosen), approved=None, orders=None)
        return replace(meant, table=write.plan_table(part, write.costs(part, clients)))


def _plan(place: Place, clients: Mapping[str, Client]) -> Plan:
    """The run's plan as it is saved, which may name rows to delete or be sent in part; else a new one."""
    if (plan_folder(place.folder) / "plan.json").exists():
        return write.read_plan(place.folder)
    return write.plan(place.folder, templates=place.templates, clients=clients)


def meant_by(plan: Plan, ticked: pl.DataFrame) -> Meant:
    """Find what of a plan is meant by ticks, without the table."""
    on = ["task", "key"]
    actions = plan.actions()
    waits = plan.rows.group_by("order").agg(pl.col("after_order", "staged_order").first())
    actions = actions.join(waits, on="order", how="left", maintain_order="left")
    sent = actions.filter(pl.col("held").is_null())
    mine = sent.join(ticked, on=on, how="semi")
    chosen = mine
    while True:  # a line waits for its header, that for its customer: a few steps, whatever the plan holds
        parents = pl.concat([chosen["after_order"], chosen["staged_order"]]).drop_nulls().unique()
        known = sent.join(chosen, on=on, how="anti").filter(pl.col("order").is_in(parents.implode()))
        if known.is_empty():
            break
        chosen = pl.concat([chosen, sent.join(known, on=on, how="semi")])
    keys = chosen.select(on).unique(maintain_order=True)
    held = actions.filter(pl.col("held").is_not_null()).join(ticked, on=on, how="semi").join(keys, on=on, how="anti")
    held = causes.masked_words(plan, held, "held").select(*on, reason="held").unique(on, maintain_order=True)
    without = ticked.join(actions, on=on, how="anti").select(on)
    before = plan.sendable()["order"].n_unique() if plan.approved and plan.approved["hash"] == plan.hash else 0
    return Meant(plan, keys, keys.join(mine, on=on, how="anti").height, held, without, pl.DataFrame(), before)


def _of(rows: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    return rows.join(chosen, on=["task", "key"], how="semi", maintain_order="left")


def approve_meant(place: Place, meant: Meant, by: str) -> Plan:
    """Approve what is meant, in a name, beside what was approved before.

    Args:
        place: The run.
        meant: As it was shown.
        by: Who approves.

    Raises:
        PlanError: The saved plan is another one by now, nothing is meant, or the name is blank.
    """
    saved = write.read_plan(place.folder)
    if saved.hash != meant.plan.hash:
        raise PlanError("the plan was made again since it was shown; look at it anew")
    return write.approve(place.folder, by, Wanted(rows=meant.chosen))


def send(place: Place, watch: Callable[[Pulse], None], reading: Callable[[], None]) -> tuple[Applied, pl.DataFrame]:
    """Send what is approved of a run's plan, and read back what was written.

    Args:
        place: The run.
        watch: Told how far sending has come.
        reading: Told when sending is over and reading back begins.

    Returns:
        The counts, and what became of each action (`verify.VERIFIED`).

    Raises:
        PlanError: Nothing was approved, or the templates have changed since the comparison.
        ConnectError: A system had to be given up; what was sent is in the journal, and sending again goes on there.
    """
    saved, templates = write.read_plan(place.folder), place.templates
    with place.clients() as clients:
        write.check_addresses(saved.head, clients, place.profile.name)
        stale.check_templates(place.folder, saved, templates)
        done = applying.apply(place.folder, place.profile, clients, watch=watch)
        reading()
        verified = verify.verify(place.folder, templates=templates, clients=clients)
    causes.save_failures(place.folder, causes.load_causes(place.profile.overlays))
    return done, causes.masked_verified(saved, verified)


def read_back(folder: Path) -> pl.DataFrame:
    """What became of the rows that were sent, as it was read back last.

    Returns:
        ``task``, ``key``, ``outcome`` (the worst of its actions, of `verify.OUTCOMES`); no rows where nothing was sent.
    """
    try:
        verified = verify.read_verified(write.read_plan(folder))
    except (PlanError, ParameterError):  # none was made, or it is on another machine
        return pl.DataFrame(schema={"task": pl.String, "key": pl.String, "outcome": pl.String})
    worst = pl.col("outcome").replace_strict({name: rank for rank, name in enumerate(verify.OUTCOMES)})
    rows = verified.sort(worst, descending=True, maintain_order=True)
    return rows.group_by("task", "key", maintain_order=True).agg(pl.col("outcome").first())
