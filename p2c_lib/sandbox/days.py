"""A business day at both services: what people do in it, drawn from a seed, through the services' own doors.

The same start, seed and day give the same deeds: who acts on what goes by business numbers, never by ids or clocks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox import days_fno, days_masters, days_sales
from p2c_lib.sandbox.days_clerks import Fno, Sales
from p2c_lib.sandbox.days_office import Office

__all__ = ["business_day", "day_reached", "keep_day", "live"]

CALENDAR = "calendar.json"
_FIRST = date(2026, 1, 5)  # a Monday


def business_day(number: int) -> date:
    """The date of a business day: 1 is Monday 2026-01-05, 6 the Monday after."""
    weeks, days = divmod(number - 1, 5)
    return _FIRST + timedelta(days=7 * weeks + days)


def day_reached(folder: Path) -> int:
    """The last business day that a sandbox has lived through, 0 before the first.

    Raises:
        SandboxError: The file is broken.
    """
    file = folder / CALENDAR
    if not file.exists():
        return 0
    try:
        return int(json.loads(file.read_text("utf-8"))["day"])
    except (ValueError, KeyError, TypeError) as error:
        raise SandboxError(f"{file}: not a calendar ({error}); make the data anew: p2c sandbox reset") from None


def keep_day(folder: Path, day: int) -> None:
    """Note that a day is over."""
    draft = folder / f"{CALENDAR}.part"
    draft.write_text(json.dumps({"day": day, "date": business_day(day).isoformat()}) + "\n", "utf-8")
    draft.replace(folder / CALENDAR)


def live(state: Mapping[str, Any], day: int, seed: int, company: str = "usmf") -> Counter[str]:
    """Live through one day at both services, up to the totals job; nothing is copied.

    Args:
        state: What ``sandbox.json`` holds, of services that are running.
        day: Number of the day, from 1.
        seed: Of what happens.
        company: Legal entity of F&O.

    Returns:
        What happened: deed -> how often.

    Raises:
        SandboxError: A service refused what its people wanted.
    """
    with Sales(state) as sales, Fno(state, company) as fno:
        office = Office(sales, fno, Random(f"{seed}/{day}"), business_day(day), day, seed)
        # F&O first: its people act on what arrived overnight, not on what is being entered now.
        days_masters.live(office)
        days_fno.live(office)
        days_sales.live(office)
        fno.totals()
    return office.done
