"""What a check is, what checks have in common, and how results are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import polars as pl
import yaml

from p2c_lib.config import Profile
from p2c_lib.connect import Client
from p2c_lib.errors import P2CError
from p2c_lib.model import Task
from p2c_lib.readings import Readings

Status = Literal["ok", "warning", "failed", "by_hand"]

_WORDS: dict[Status, str] = {
    "failed": "failed",
    "warning": "to look at",
    "by_hand": "to check by hand",
    "ok": "in order",
}


@dataclass(frozen=True)
class Check:
    """One question to a system and its answer.

    Attributes:
        name: What was asked.
        system: ``sales`` or ``fno``.
        status: ``ok``; ``warning``: works, with a drawback; ``failed``: rows will be lost or wrong; ``by_hand``: no
            interface tells, someone must look.
        found: What is there.
        needed: What must be there.
        remedy: What to do, with the menu path; empty when all is well.
    """

    name: str
    system: str
    status: Status
    found: str
    needed: str
    remedy: str = ""


@dataclass(frozen=True)
class Context:
    """What every check may look at."""

    profile: Profile
    clients: Mapping[str, Client]
    tasks: tuple[Task, ...]
    readings: Readings | None = None  # sets that the caller reads as well; None: every question reads for itself

    @property
    def company(self) -> str:
        """The company of F&O, as the profile names it."""
        return self.profile.fno.company


@cache
def facts() -> dict[str, Any]:
    """What Prospect to cash needs, as ``facts.yaml`` says it."""
    loaded: dict[str, Any] = yaml.safe_load((files(__package__) / "facts.yaml").read_text("utf-8"))
    return loaded


def judged(
    good: bool, name: str, system: str, found: str, needed: str, remedy: str, status: Status = "failed"
) -> Check:
    """A check that is ``ok`` when good, else of the given status with the remedy."""
    return Check(name, system, "ok" if good else status, found, needed, "" if good else remedy)


def unread(name: str, system: str, error: P2CError) -> Check:
    """A question that the service did not answer."""
    remedy = "see what was found; the service may be down, or the user may lack a privilege"
    return Check(name, system, "failed", f"{type(error).__name__}: {error}", "an answer", remedy)


def listed(items: Sequence[str], shown: int = 5) -> str:
    """The first few of many, and how many more there are."""
    rest = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {rest} more" if rest > 0 else "")


def check_table(checks: Sequence[Check]) -> pl.DataFrame:
    """Checks for people.

    Args:
        checks: As `check` gave them.

    Returns:
        A row a check, failed ones first: ``status``, ``system``, ``name``, ``found``, ``needed``, ``remedy``.
    """
    names = ["name", "system", "status", "found", "needed", "remedy"]
    order = {status: number for number, status in enumerate(_WORDS)}
    rows = [astuple(check) for check in sorted(checks, key=lambda check: order[check.status])]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return frame.select("status", "system", "name", "found", "needed", "remedy")


def verdict(checks: Sequence[Check]) -> str:
    """One sentence: whether both systems are ready.

    Args:
        checks: As `check` gave them.

    Returns:
        ``not ready: 2 failed, 1 to look at, 5 to check by hand, 20 in order``.
    """
    counts = {word: sum(check.status == status for check in checks) for status, word in _WORDS.items()}
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{'not ready' if counts['failed'] else 'ready'}: {said}"
