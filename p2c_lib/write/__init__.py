"""Outcomes to a plan: what would be sent, field by field, with before and after; nothing is sent here.

A plan is saved below the run as ``plan/plan.parquet`` and ``plan/plan.json``, carries a hash of its content, and waits
until someone approves it. `p2c_lib.apply` sends it.
"""

from p2c_lib.write.approvals import Wanted, read_list
from p2c_lib.write.cost import costs
from p2c_lib.write.planning import plan
from p2c_lib.write.saved import PLAN_COLUMNS, Plan, approve, check_addresses, plan_table, read_plan

__all__ = [
    "PLAN_COLUMNS",
    "Plan",
    "Wanted",
    "approve",
    "check_addresses",
    "costs",
    "plan",
    "plan_table",
    "read_list",
    "read_plan",
]
