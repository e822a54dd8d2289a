"""Which channel takes which rows, what it costs in calls, and how long that takes under the service's limits."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from p2c_lib.channels.base import Channel, Verb
from p2c_lib.channels.batch import BATCH
from p2c_lib.channels.multiple import MULTIPLE
from p2c_lib.channels.package import PACKAGE
from p2c_lib.channels.package import offered as takes_packages
from p2c_lib.channels.single import SINGLE
from p2c_lib.connect import Client, Entity
from p2c_lib.errors import NotFound, PlanError
from p2c_lib.pace import Allowance

__all__ = ["CHANNELS", "FEW", "Estimate", "check_name", "choose", "estimate", "offered"]

CHANNELS: dict[str, Channel] = {channel.name: channel for channel in (SINGLE, MULTIPLE, BATCH, PACKAGE)}
"""All channels by name."""

FEW = 100
"""Up to so many rows go one a call: each error is told at once and no batch has to be read for it."""
MANY = 10_000
"""From so many new rows on, F&O takes them in data packages: a package waits for its turn, but its rows cost less."""
_CALL_S, _ROW_S = 0.05, 0.01
"""What a call and a row are taken to cost the service as long as nothing was measured."""


@dataclass(frozen=True)
class Estimate:
    """What sending costs: the channel's name, calls, and seconds with the limits in force."""

    channel: str
    calls: int
    seconds: float


def check_name(name: str) -> None:
    """Raise `PlanError` for a channel that does not exist; it names those that do."""
    if name not in CHANNELS:
        raise PlanError(f"no channel '{name}'; known: {', '.join(CHANNELS)}")


def offered(client: Client, entity: Entity, sent: Collection[str] | None = None) -> tuple[str, ...]:
    """Ask a service which channels it has for a set; it is asked once.

    Args:
        client: Of the system; the store has none.
        entity: The set.
        sent: Properties that each new row brings, where they are known: a package needs the whole key of every row.

    Returns:
        Names of channels.

    Raises:
        ConnectError: Or a child of it.
    """
    known = client.cache.get(("channels", entity.name))
    if known is None:
        names = ["single", "batch"]
        if client.system == "sales" and _has_message(client, entity, "CreateMultiple"):
            names.append("multiple")
        if takes_packages(client, entity):
            names.append("package")
        known = client.cache[("channels", entity.name)] = tuple(names)
    is_whole = sent is None or set(entity.key) - {"dataAreaId"} <= set(sent)
    return tuple(name for name in known if name != "package" or is_whole)


def _has_message(client: Client, entity: Entity, message: str) -> bool:
    """Not every table of Dataverse has the bulk actions."""
    wanted = f"sdkmessageid/name eq '{message}' and primaryobjecttypecode eq '{entity.type_name}'"
    try:
        said = client.get("sdkmessagefilters", {"$select": "sdkmessagefilterid", "$filter": wanted})
    except NotFound:
        return False
    return bool(said.get("value"))


def choose(
    system: Literal["sales", "fno"], verb: Verb, rows: int, offers: Collection[str], forced: str | None = None
) -> str:
    """Choose the channel of a task's rows.

    Args:
        system: Where they go.
        verb: What is done with them.
        rows: How many they are.
        offers: Channels that the service has for the set (`offered`).
        forced: The user's choice. It holds wherever that channel is there and can carry the verb; what it cannot
            carry goes as if nothing was said: an update never goes by a channel that has no place for its ETag.

    Returns:
        Its name: few rows one by one, many new rows of Sales by CreateMultiple, very many of F&O in packages, else in
        batches.
    """
    fits = [name for name in offers if verb in CHANNELS[name].verbs]
    if forced in fits:
        return str(forced)
    if rows <= FEW:
        return "single"
    order = ("package", "multiple", "batch", "single")
    return next(name for name in order if name in fits and (name != "package" or rows >= MANY))


def estimate(
    rows: int,
    channel: str,
    *,
    parallel: int,
    allowance: Allowance | None = None,
    rows_per_second: float | None = None,
    call_s: float = _CALL_S,
    row_s: float = _ROW_S,
) -> Estimate:
    """Say what sending costs.

    Args:
        rows: How many.
        channel: Name of the channel.
        parallel: Calls at once.
        allowance: What the user may spend in a window; None for no limit.
        rows_per_second: The user's own ceiling.
        call_s: Seconds of a call beside its rows, as measured before, or a guess.
        row_s: Seconds of a row.

    Returns:
        Calls, and the seconds that the slowest of these takes: the calls side by side, the allowance of calls, the
        allowance of execution, the user's ceiling. The first window's allowance is there at once.
    """
    known = CHANNELS[channel]
    allowed = allowance or Allowance()
    # Packages go out full; what goes into calls is shared out over the lanes.
    size = known.rows_a_call if known.repeatable else min(known.rows_a_call, max(1, math.ceil(rows / max(1, parallel))))
    calls = math.ceil(rows / size) if rows else 0
    execution_s = calls * call_s + rows * row_s
    lanes = min(parallel, known.lanes or parallel, allowed.at_once)
    waits = [
        _over(calls, allowed.calls) * allowed.window_s,
        _over(execution_s, allowed.execution_s) * allowed.window_s,
        rows / rows_per_second if rows_per_second else 0.0,
    ]
    return Estimate(channel, calls, max(execution_s / lanes, *waits))


def _over(spent: float, allowed: float) -> float:
    """Whole windows that must pass before the last of it may be spent."""
    return 0.0 if not math.isfinite(allowed) else max(0.0, math.ceil(spent / allowed) - 1)
