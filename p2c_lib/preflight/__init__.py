"""Whether both systems are ready for Prospect to cash: versions, solution, settings, data, privileges, columns.

Nothing is written. What no interface tells comes back as ``by_hand``, with the menu path to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from p2c_lib.config import Profile
from p2c_lib.connect import Client
from p2c_lib.errors import P2CError
from p2c_lib.model import Task, Template
from p2c_lib.preflight import data, systems
from p2c_lib.preflight.check import Check, Context, check_table, facts, unread, verdict
from p2c_lib.readings import Asked, Readings

__all__ = ["Check", "asked", "check", "check_table", "verdict"]

_Question = Callable[[Context], Iterator[Check]]

_QUESTIONS: tuple[tuple[str, tuple[str, ...], _Question], ...] = (
    ("versions", ("fno",), systems.fno_versions),
    ("version", ("sales",), systems.sales_version),
    ("P2C solution", ("sales",), systems.solution),
    ("settings", ("sales",), systems.settings),
    ("templates", ("sales", "fno"), systems.templates),
    ("constants", ("fno", "sales"), data.constants),
    ("lookups", ("sales", "fno"), data.lookups),
    ("price lists", ("sales", "fno"), data.price_lists),
    ("decimals", ("sales",), data.decimals),
    ("keys", ("sales", "fno"), data.keys),
    ("read privileges", ("sales", "fno"), systems.read_privileges),
    ("write privileges", ("sales",), systems.sales_write_privileges),
    ("write privileges", ("fno",), systems.fno_write_privileges),
)


def check(
    profile: Profile,
    clients: Mapping[str, Client],
    templates: Mapping[str, Template],
    readings: Readings | None = None,
) -> list[Check]:
    """Ask both systems whether they are ready.

    Args:
        profile: The profile in use; names the company.
        clients: By system; only read from.
        templates: Whose constants, value maps, lookups and columns are to be there.
        readings: Sets that are read once for all who ask, prepared with what `asked` says; None reads them for each.

    Returns:
        A check each, in a fixed order. A question that could not be answered is ``failed`` with the service's words,
        and hides no other.
    """
    context = Context(profile, clients, _tasks(templates), readings)
    checks: list[Check] = []
    inside: set[str] = set()
    for system in ("sales", "fno"):
        answers = _ask("sign-in", (system,), lambda c, system=system: systems.sign_in(c, system), context)  # type: ignore[misc]
        checks += answers
        if answers[0].status != "failed":
            inside.add(system)

    def answer(question: tuple[str, tuple[str, ...], _Question]) -> list[Check]:
        name, needs, ask = question
        closed = [system for system in needs if system not in inside]
        if closed:
            remedy = "put sign-in right first"
            return [Check(name, needs[0], "failed", f"not asked: no way into {', '.join(closed)}", "an answer", remedy)]
        return _ask(name, needs, ask, context)

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(answer, _QUESTIONS):
            checks += answers
    return checks + [Check(**rule, status="by_hand", found="no interface tells") for rule in facts()["by_hand"]]


def asked(templates: Mapping[str, Template]) -> list[Asked]:
    """What the questions will read of the sets that tasks bring rows from or to."""
    return data.asked(_tasks(templates))


def _tasks(templates: Mapping[str, Template]) -> tuple[Task, ...]:
    return tuple(t for m in sorted(templates.values(), key=lambda m: m.position) for t in m.tasks)


def _ask(name: str, needs: tuple[str, ...], ask: _Question, context: Context) -> list[Check]:
    """The answers to one question; what came before an error stays."""
    answers: list[Check] = []
    try:
        for one in ask(context):
            answers.append(one)
    except P2CError as error:
        answers.append(unread(name, needs[0], error))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        said = f"an answer of unexpected form ({type(error).__name__}: {error})"
        answers.append(Check(name, needs[0], "failed", said, "an answer", "is the URL that of the right service?"))
    return answers
