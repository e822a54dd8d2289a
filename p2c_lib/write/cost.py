"""What sending a plan costs: the channel of each part, its calls, and seconds under the limits in force."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from p2c_lib.channels import FEW, choose, estimate, offered
from p2c_lib.channels.base import Verb
from p2c_lib.connect import Client
from p2c_lib.pace import Allowance
from p2c_lib.write.saved import Plan

__all__ = ["COST", "costs"]

COST = pl.Schema(
    {"task": pl.String, "action": pl.String, "channel": pl.String, "calls": pl.UInt32, "seconds": pl.Float64}
)
"""A row a task and action: how it goes out, in how many calls, and about how long that takes."""

_VERBS: dict[str, Verb] = {"create": "create", "delete": "delete"}  # all others are updates


def costs(plan: Plan, clients: Mapping[str, Client], channel: str | None = None) -> pl.DataFrame:
    """Estimate what sending a plan costs.

    Args:
        plan: The plan; of one that was approved in part only that part counts.
        clients: By system; asked what they have, once a set.
        channel: The channel that the user wants, where it can carry the rows.

    Returns:
        Columns of `COST`, in the order of sending; nothing for the store, which takes all in one merge.
    """
    rows = plan.sendable() if plan.approved else plan.rows.filter(pl.col("held").is_null())
    parts = rows.group_by("task", "action", maintain_order=True).agg(
        pl.col("system", "entity").first(), rows=pl.col("order").n_unique()
    )
    found = []
    for part in parts.iter_rows(named=True):  # a few, whatever the plan holds
        if part["system"] == "cds":
            found.append((part["task"], part["action"], "store", 1, 0.0))
            continue
        client = clients[part["system"]]
        is_asked = channel is not None or part["rows"] > FEW
        offers = offered(client, client.entity(part["entity"])) if is_asked else ("single",)
        verb = _VERBS.get(part["action"], "update")
        name = choose(part["system"], verb, part["rows"], offers, channel)
        limits, documented = client.limits, client.dialect.allowance
        allowance = Allowance(
            limits.window_calls or documented.calls,
            limits.window_execution_s or documented.execution_s,
            limits.window_s,
            documented.at_once,
        )
        cost = estimate(
            part["rows"],
            name,
            parallel=limits.parallel,
            allowance=allowance,
            rows_per_second=limits.rows_per_second,
        )
        found.append((part["task"], part["action"], cost.channel, cost.calls, round(cost.seconds, 1)))
    return pl.DataFrame(found, schema=COST, orient="row")
