"""Plans made by hand, of any size: new rows and changes of one set, approved and ready to be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from pair import Pair

from p2c_lib import write
from p2c_lib.places import plan_folder
from p2c_lib.write.saved import LEFT_OUT, PLAN_COLUMNS, Plan, save

SYSTEMS = {"contacts": "sales", "accounts": "sales", "products": "sales", "CustomersV2": "fno"}


def plan_of(folder: Path, pair: Pair, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Save and approve a plan.

    Args:
        folder: Of the run; made here.
        pair: The sandbox that it is for.
        rows: One a field: at least ``order``, ``entity``, ``key``, ``target``, ``field``, ``after``.
    """
    full = []
    for row in rows:
        given = {
            "task": row["entity"].lower(),
            "system": SYSTEMS[row["entity"]],
            "action": "create",
            "property": row["field"],
            "sent": row["after"],
            "wire": "string",
            **row,
        }
        full.append({name: given.get(name) for name in PLAN_COLUMNS})
    profile = pair.profile()
    head = {
        "run_id": folder.name,
        "profile": profile.name,
        "company": profile.fno.company,
        "sales_url": profile.sales.url,
        "fno_url": profile.fno.url,
    }
    folder.mkdir(parents=True)
    frame = pl.DataFrame(full, schema=PLAN_COLUMNS)
    save(Plan(plan_folder(folder), frame, head, "", "2026-01-01T00:00:00+00:00", None, LEFT_OUT.to_frame()))
    write.approve(folder, "a tester")
    return folder


def contacts(numbers: Sequence[str], start: int = 0, **fields: str) -> list[dict[str, Any]]:
    """New contacts of Sales with these numbers."""
    rows = []
    for order, number in enumerate(numbers, start):
        values = {"msdynce_contactnumber": number, "lastname": f"Person {number}", **fields}
        head = {
            "order": order,
            "entity": "contacts",
            "key": number,
            "target": f'{{"msdynce_contactnumber":"{number}"}}',
        }
        rows += [{**head, "field": name, "after": value} for name, value in values.items()]
    return rows


def customers(numbers: Sequence[str], start: int = 0, **fields: str) -> list[dict[str, Any]]:
    """New customers of F&O with these numbers."""
    rows = []
    for order, number in enumerate(numbers, start):
        values = {"CustomerAccount": number, "OrganizationName": f"Firm {number}", "CustomerGroupId": "10"}
        values |= {"SalesCurrencyCode": "USD", **fields}
        head = {"order": order, "entity": "CustomersV2", "key": number, "target": f'{{"CustomerAccount":"{number}"}}'}
        rows += [{**head, "field": name, "after": value} for name, value in values.items()]
    return rows
