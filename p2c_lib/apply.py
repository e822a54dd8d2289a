"""An approved plan to calls, each with a line in the journal before and after it; killed anywhere, it goes on there.

What is in doubt (a call whose answer is not known) is looked up at the service before anything is sent again, and a
row that someone else changed since it was compared is reported, never overwritten. How rows go out is a channel's
affair (`p2c_lib.channels`), how many calls at once the client's (`p2c_lib.pace`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import polars as pl

from p2c_lib.channels import check_name
from p2c_lib.config import Profile
from p2c_lib.connect import Client
from p2c_lib.errors import PlanError
from p2c_lib.journal import Journal
from p2c_lib.write import check_addresses, read_plan
from p2c_lib.write.sender import Sender
from p2c_lib.write.tally import Applied, Progress, Pulse

__all__ = ["Applied", "Pulse", "apply", "counts", "journal_table"]


def apply(
    run_dir: Path,
    profile: Profile | None,
    clients: Mapping[str, Client],
    *,
    progress: Progress | None = None,
    watch: Callable[[Pulse], None] | None = None,
    channel: str | None = None,
    only: pl.Series | None = None,
) -> Applied:
    """Send what was approved of a plan, from where the journal ends.

    Args:
        run_dir: The run's folder, with a plan that was approved as it stands.
        profile: The profile in use, its name held against the one that was compared; None to leave that out.
        clients: By system; several calls go out at once (``limits.parallel``).
        progress: Called as actions are settled.
        watch: The same with rate, time left and errors.
        channel: Name of the channel to use wherever it can carry the rows; by default `choose` decides.
        only: Numbers of the actions that are meant (``order``); of these, what failed before is tried again.

    Returns:
        Every action of the plan, counted once; a finished plan sends nothing.

    Raises:
        PlanError: No plan, not approved, changed since, made for other systems, or being sent by another process; or
            there is no such channel.
        SignInError, PermissionDenied, Throttled, ConnectError: The run had to stop; what was sent is in the
            journal, and the next `apply` goes on.
    """
    if channel is not None:
        check_name(channel)
    plan = read_plan(run_dir)
    if plan.approved is None:
        raise PlanError(f"{run_dir}: the plan was not approved; look at it and approve it first")
    if plan.approved["hash"] != plan.hash:
        raise PlanError(f"{run_dir}: the plan was changed after {plan.approved['by']} approved it; approve it again")
    check_addresses(plan.head, clients, profile.name if profile else None)
    with Journal.opened(plan.folder / "journal.jsonl", plan.hash) as journal:
        return Sender(plan, clients, journal, progress, watch, channel, only).run()


def counts(done: Applied) -> dict[str, int]:
    """The figures of an apply by name, in the order in which they are read."""
    return asdict(done)


def journal_table(run_dir: Path) -> pl.DataFrame:
    """What became of every action of a plan.

    Args:
        run_dir: The run's folder.

    Returns:
        Columns of `Plan.actions` and ``outcome``: created, updated, deleted, already, conflict, failed, held, open, or
        doubt (sent, and the answer is not known yet).

    Raises:
        PlanError: There is no plan, or plan or journal are broken.
    """
    plan = read_plan(run_dir)
    states = Journal.read(plan.folder / "journal.jsonl", plan.hash).frame().select("order", "outcome")
    return (
        plan.actions()
        .join(states, on="order", how="left", maintain_order="left")
        .with_columns(
            outcome=pl.when(pl.col("held").is_not_null())
            .then(pl.lit("held"))
            .otherwise(pl.col("outcome").fill_null("open"))
        )
    )
