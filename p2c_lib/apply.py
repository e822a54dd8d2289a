"""An approved plan to calls, each with a line in the journal before and after it; killed anywhere, it goes on there.

What is in doubt (a call whose answer is not known) is looked up at the service before anything is sent again, and a
row that someone else changed since it was compared is reported, never overwritten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from uuid import UUID, uuid5

import orjson
import polars as pl

from p2c_lib.config import Profile
from p2c_lib.connect import Client, Entity
from p2c_lib.errors import P2CError, PlanError
from p2c_lib.journal import FINAL, Journal, Seen, State
from p2c_lib.write import Plan, check_addresses, read_plan
from p2c_lib.write.calls import Action, Answer, Why, facts_of, is_unique, judge, send, wire_value
from p2c_lib.write.standing import read_standing

__all__ = ["Applied", "apply", "counts", "journal_table"]

Progress = Callable[[int, int], None]
"""Called with the actions that are settled so far and those that are to be sent in all."""

_ATTEMPTS = 3  # how often one call of one run is sent when its answers keep getting lost


@dataclass(frozen=True)
class Applied:
    """What became of a plan's actions; each is counted once, and ``sent`` counts calls.

    ``created`` and ``updated`` were done by this call of `apply`; ``already`` needed nothing, being done before or
    found as wanted; ``conflicts`` changed meanwhile and were left alone; ``failed`` were refused; ``held`` are not
    sent, as the plan says or because their parent could not be made; ``remaining`` wait for the next `apply`.
    """

    sent: int = 0
    created: int = 0
    updated: int = 0
    conflicts: int = 0
    failed: int = 0
    already: int = 0
    held: int = 0
    remaining: int = 0


def apply(
    run_dir: Path,
    profile: Profile | None,
    clients: Mapping[str, Client],
    *,
    progress: Progress | None = None,
) -> Applied:
    """Send an approved plan, from where the journal ends.

    Args:
        run_dir: The run's folder, with a plan that was approved as it stands.
        profile: The profile in use, its name held against the one that was compared; None to leave that out.
        clients: By system; several calls go out at once (``limits.parallel``).
        progress: Called as actions are settled.

    Returns:
        Every action of the plan, counted once; a finished plan sends nothing.

    Raises:
        PlanError: No plan, not approved, changed since, made for other systems, or being sent by another process.
        SignInError, PermissionDenied, Throttled, ConnectError: The run had to stop; what was sent is in the
            journal, and the next `apply` goes on.
    """
    plan = read_plan(run_dir)
    if plan.approved is None:
        raise PlanError(f"{run_dir}: the plan was not approved; look at it and approve it first")
    if plan.approved["hash"] != plan.hash:
        raise PlanError(f"{run_dir}: the plan was changed after {plan.approved['by']} approved it; approve it again")
    check_addresses(plan.head, clients, profile.name if profile else None)
    with Journal.opened(plan.folder / "journal.jsonl", plan.hash) as journal:
        return _Sender(plan, clients, journal, progress).run()


def counts(done: Applied) -> dict[str, int]:
    """The figures of an apply by name, in the order in which they are read."""
    return asdict(done)


class _Sender:
    def __init__(self, plan: Plan, clients: Mapping[str, Client], journal: Journal, progress: Progress | None) -> None:
        self.plan, self.clients, self.journal, self.progress = plan, clients, journal, progress
        self.seen = journal.seen
        self.rows = plan.rows.filter(pl.col("held").is_null())
        self.total = plan.rows["order"].n_unique()
        self.to_send = self.rows["order"].n_unique()
        self.settled = sum(seen.state in FINAL for seen in self.seen.values())
        self.before = dict(self.seen)
        self.sent = 0
        self.fresh: set[int] = set()  # actions that this call brought to an end by sending
        self.lost_here: set[int] = set()
        self.stop: P2CError | None = None

    def run(self) -> Applied:
        for (task,), rows in self.rows.group_by("task", maintain_order=True):
            open_ = self._open(rows, str(task))
            if open_.height and self.stop is None:
                self._send_all(open_)
        self.journal.sync()
        if self.stop is not None:
            raise self.stop
        return self._count()

    def _open(self, rows: pl.DataFrame, task: str) -> pl.DataFrame:
        final = pl.Series([order for order, seen in self.seen.items() if seen.state in FINAL], dtype=pl.UInt32)
        return rows.filter(~pl.col("order").is_in(final.implode()))

    def _send_all(self, rows: pl.DataFrame) -> None:
        first = rows.row(0, named=True)
        client = self.clients[first["system"]]
        entity = client.entity(first["entity"])
        actions = self._actions(rows, client, entity)
        again: deque[tuple[Action, Why, str]] = deque()
        running: dict[Future[Answer], Action] = {}
        parallel = client.limits.parallel
        pool = ThreadPoolExecutor(parallel)
        try:
            more = True
            while more or again or running:
                while (more or again) and self.stop is None and len(running) <= parallel:
                    batch = [again.popleft() for _ in range(min(len(again), 4 * parallel))]
                    room = 4 * parallel - len(batch)
                    new = list(islice(actions, room))
                    more = more and (bool(new) or not room)
                    batch += [(action, "doubt" if self._state(action) == "doubt" else "new", "") for action in new]
                    for action in self._settle(client, entity, batch):
                        running[pool.submit(send, client, action)] = action
                if self.stop is not None:
                    more = False
                    again.clear()
                    self._take_back(running)
                if running:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._answered(running.pop(future), future.result(), again)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _state(self, action: Action) -> State | None:
        seen = self.seen.get(action.order)
        return seen.state if seen else None

    def _settle(self, client: Client, entity: Entity, batch: list[tuple[Action, Why, str]]) -> list[Action]:
        """Answer what needs no call (parent missing, done already, conflicts); note the rest as about to be sent."""
        unique = is_unique(entity)
        asked = [a for a, why, _ in batch if why != "new" or (a.is_create and not unique(a.target))]
        standing = read_standing(client, entity, [(a.order, a.target, a.after) for a in asked]) if asked else {}
        ready = []
        for action, why, error in batch:
            answer = self._orphaned(action) if why == "new" else None
            if answer is None and action.order in standing:
                answer = judge(action, why, error, standing[action.order])
            if answer is None and self._tried(action) >= _ATTEMPTS and why == "lost":
                answer = Answer("doubt", {"error": f"the answer was lost {_ATTEMPTS} times"})
            if answer is None:
                ready.append(action)
            else:
                self._note(action, answer, sent=action.order in self.lost_here and why in ("lost", "changed"))
        if ready:
            self.journal.intend((action.order, facts_of(action)) for action in ready)
        return ready

    def _tried(self, action: Action) -> int:
        before = self.before.get(action.order, Seen("open", 0)).attempt
        return self.seen[action.order].attempt - before if action.order in self.seen else 0

    def _orphaned(self, action: Action) -> Answer | None:
        if action.after_order is None:
            return None
        parent = self.seen.get(action.after_order)
        if parent is not None and parent.state in ("created", "already", "conflict"):
            return None  # a parent that someone else made in the meantime is there as well
        return Answer("held", {"reason": "its parent could not be made"})

    def _answered(self, action: Action, answer: Answer, again: deque[tuple[Action, Why, str]]) -> None:
        self.sent += 1
        if answer.why == "lost":
            self.lost_here.add(action.order)
        if answer.stop is not None:
            self.stop = self.stop or answer.stop
        if answer.why is not None and self.stop is None:
            if answer.why == "lost":
                self.journal.answer(action.order, "doubt", **answer.facts)
            again.append((action, answer.why, answer.facts.get("error", "")))
            return
        self._note(action, answer, sent=True)

    def _note(self, action: Action, answer: Answer, *, sent: bool) -> None:
        state = answer.state
        if sent and state == "already" and action.order in self.lost_here:
            state = "created" if action.is_create else "updated"
        if state in ("created", "updated"):
            self.fresh.add(action.order)
        self.journal.answer(action.order, state, **answer.facts)
        self.settled += 1
        if self.progress is not None:
            self.progress(self.settled, self.to_send)

    def _take_back(self, running: dict[Future[Answer], Action]) -> None:
        """Calls that have not begun are not made; the journal says so, lest they be looked up for nothing."""
        for future, action in list(running.items()):
            if future.cancel():
                del running[future]
                self.journal.answer(action.order, "open", reason="not sent: the run was stopped")

    def _actions(self, rows: pl.DataFrame, client: Client, entity: Entity) -> Iterator[Action]:
        names = ["task", "system", "entity", "action", "key", "target", "etag", "after_order"]
        lists = ["field", "property", "before", "after", "sent", "wire"]
        grouped = rows.group_by("order", maintain_order=True).agg(pl.col(names).first(), pl.col(lists))
        for row in grouped.iter_rows(named=True):
            body = {
                name: f"/{sent.split('/')[0]}({self._id_of(sent)})" if wire == "made" else wire_value(sent, wire)
                for name, sent, wire in zip(row["property"], row["sent"], row["wire"], strict=True)
                if wire != "computed"
            }
            # What the service works out is known for sure only when nothing else of its document is sent.
            is_judged = [wire != "computed" or row["action"] == "recalculate" for wire in row["wire"]]
            before, after = (
                {name: value for name, value, judged in zip(row["field"], row[side], is_judged, strict=True) if judged}
                for side in ("before", "after")
            )
            new_id: dict[str, str] = {}
            if row["action"] == "create":
                if entity.key and entity.key[0] == "dataAreaId" and client.company:
                    body = {"dataAreaId": client.company, **body}
                new_id = self._own_id(entity, row["key"])
            yield Action(
                order=row["order"],
                **{name: row[name] for name in names if name != "target"},
                target=orjson.loads(row["target"]),
                before=before,
                after=after,
                body={**new_id, **body},
                new_id=new_id,
            )

    def _own_id(self, entity: Entity, key: str) -> dict[str, str]:
        """The id a new row gets, always the same for the same row of the same plan: a create that reaches the
        service twice cannot make two rows. Only where the key is one Guid that may be given (Sales)."""
        column = entity.columns.get(entity.key[0]) if len(entity.key) == 1 else None
        if column is None or column.edm_type != "Edm.Guid" or not column.allow_edit_on_create:
            return {}
        return {column.name: self._id_of(f"{entity.name}/{key}")}

    def _id_of(self, row: str) -> str:
        return str(uuid5(UUID(self.plan.hash[:32]), row))

    def _count(self) -> Applied:
        states: dict[str, int] = {}
        for order in self.rows["order"].unique():
            seen = self.seen.get(order)
            state = seen.state if seen else "open"
            if state in ("created", "updated") and order not in self.fresh:
                state = "already"
            states[state] = states.get(state, 0) + 1
        return Applied(
            sent=self.sent,
            created=states.get("created", 0),
            updated=states.get("updated", 0),
            conflicts=states.get("conflict", 0),
            failed=states.get("failed", 0),
            already=states.get("already", 0),
            held=states.get("held", 0) + self.total - self.to_send,
            remaining=states.get("open", 0) + states.get("doubt", 0),
        )


def journal_table(run_dir: Path) -> pl.DataFrame:
    """What became of every action of a plan.

    Args:
        run_dir: The run's folder.

    Returns:
        Columns of `Plan.actions` and ``outcome``: created, updated, already, conflict, failed, held, open, or doubt
        (sent, and the answer is not known yet).

    Raises:
        PlanError: There is no plan, or plan or journal are broken.
    """
    plan = read_plan(run_dir)
    seen = Journal.read(plan.folder / "journal.jsonl", plan.hash)
    states = pl.DataFrame(
        {"order": list(seen), "outcome": [entry.state for entry in seen.values()]},
        schema={"order": pl.UInt32, "outcome": pl.String},
    )
    return (
        plan.actions()
        .join(states, on="order", how="left", maintain_order="left")
        .with_columns(
            outcome=pl.when(pl.col("held").is_not_null())
            .then(pl.lit("held"))
            .otherwise(pl.col("outcome").fill_null("open"))
        )
    )
