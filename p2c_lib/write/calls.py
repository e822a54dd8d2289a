"""One action of a plan as one call: what is sent, what the answer means, and what became of a row in doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from p2c_lib.connect import Client, Entity
from p2c_lib.errors import (
    Conflict,
    ConnectError,
    LostAnswer,
    NotFound,
    P2CError,
    PermissionDenied,
    ServiceError,
    SignInError,
    Throttled,
)
from p2c_lib.journal import State
from p2c_lib.write.standing import Standing

__all__ = ["Action", "Answer", "Why", "facts_of", "is_unique", "judge", "send", "wire_value"]

Why = Literal["new", "doubt", "lost", "refused", "changed"]
"""Why a row is looked at: it was never sent, its fate is not known, its answer got lost, it was refused, or changed."""


@dataclass(frozen=True)
class Action:
    """One row to send.

    Attributes:
        order: Its number in the plan.
        task: Its task; likewise ``system`` and ``entity``, the destination.
        action: create, update, or recalculate: an update that changes nothing but what the service works out.
        key: The row's key as one text.
        target: The destination's key of an update, the task's key of a create.
        etag: As seen when the difference was found; None for a create.
        after_order: The action that must be done first.
        staged_order: The action that brings the row into the store, on the second leg through CDS.
        before: What stood in each field; likewise ``after``, what is to stand there.
        body: What is sent.
        new_id: The id that a new row is given, where it may be.
    """

    order: int
    task: str
    system: str
    entity: str
    action: Literal["create", "update", "recalculate"]
    key: str
    target: dict[str, Any]
    etag: str | None
    after_order: int | None
    staged_order: int | None
    before: dict[str, str | None]
    after: dict[str, str | None]
    body: dict[str, Any]
    new_id: dict[str, str]

    @property
    def is_create(self) -> bool:
        """Whether it makes a row."""
        return self.action == "create"


@dataclass(frozen=True)
class Answer:
    """What became of an action.

    Attributes:
        state: As the journal has it.
        facts: What stands beside it in the journal.
        why: Why the row must be looked at, None when it is settled.
        stop: The error that ends the whole run.
    """

    state: State
    facts: dict[str, Any] = field(default_factory=dict)
    why: Why | None = None
    stop: P2CError | None = None


def is_unique(entity: Entity) -> Callable[[Mapping[str, Any]], bool]:
    """Whether the service itself refuses a second row with these key columns; if not, it is asked first."""
    keys = [set(key) - {"dataAreaId"} for key in (entity.key, *entity.alternate_keys)]
    return lambda target: any(key and key <= set(target) for key in keys)


def facts_of(action: Action) -> dict[str, Any]:
    """What the journal says of an action before it is sent."""
    facts = {name: getattr(action, name) for name in ("task", "entity", "action", "key", "target", "etag")}
    return {**facts, "id": next(iter(action.new_id.values()), None), "before": action.before, "after": action.after}


def wire_value(sent: str | None, wire: str) -> Any:
    """A value of the plan as it goes into the body."""
    if sent is None or wire in ("string", "bind"):
        return sent
    return Decimal(sent) if wire == "number" else sent == "true"


def send(client: Client, action: Action) -> Answer:
    """One call; runs in a thread and touches nothing but the client."""
    try:
        if action.is_create:
            written = client.create(action.entity, action.body)
        else:
            written = client.update(action.entity, action.target, action.body, action.etag)
    except (SignInError, PermissionDenied, Throttled) as error:
        return Answer("open", _said(error), stop=error)  # refused at the door: nothing was done
    except LostAnswer as error:
        return Answer("doubt", _said(error), "lost")
    except Conflict as error:
        return Answer("conflict", _said(error), "changed")
    except NotFound as error:
        if action.is_create:
            return Answer("failed", _said(error))
        return Answer("conflict", {**_said(error), "reason": "the row is gone"})
    except ServiceError as error:
        # A row that X++ refuses was answered with 500 by older versions; the text tells it from a failure.
        if "Infolog" in str(error):
            return Answer("failed", _said(error), "refused" if action.is_create else None)
        return Answer("doubt", _said(error))
    except ConnectError as error:
        if error.status is None:
            return Answer("doubt", _said(error), stop=error)
        return Answer("failed", _said(error), "refused" if action.is_create else None)
    except P2CError as error:
        return Answer("failed", _said(error))
    facts = {"etag": written.etag, "id": written.id}
    return Answer("created" if action.is_create else "updated", facts)


def _said(error: P2CError) -> dict[str, Any]:
    facts: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"}
    if isinstance(error, ConnectError):
        facts |= {"status": error.status, "code": error.code}
    return facts


def judge(action: Action, why: Why, error: str, standing: Standing) -> Answer | None:
    """Say what became of a row by what stands at the service; None: send it."""
    note = {"error": error} if error else {}
    facts = {"etag": standing.etag, "found": standing.values, **note}
    if action.is_create:
        if standing.rows == 0:
            return Answer("failed", note) if why in ("refused", "changed") else None
        if standing.rows > 1:
            return Answer("conflict", {**facts, "reason": f"{standing.rows} rows have this key"})
        ours = bool(action.new_id) and standing.has(action.new_id)
        if ours or standing.agrees:
            return Answer("already", facts)
        return Answer("conflict", {**facts, "reason": "a row with this key is there, with other values"})
    if standing.rows == 0:
        return Answer("conflict", {**note, "reason": "the row is gone"})
    if why in ("doubt", "lost") and standing.etag == action.etag:
        return None
    # What the service cut or rounded counts as written, but not what stood there before.
    values = standing.values or {}
    is_untouched = any(values[name] == old != action.after[name] for name, old in action.before.items())
    if standing.agrees and not is_untouched:
        return Answer("already", facts)
    return Answer("conflict", {**facts, "reason": "changed meanwhile"})
