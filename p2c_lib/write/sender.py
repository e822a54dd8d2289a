"""The loop that sends an approved plan: what is looked up first, what goes out together, what each answer means."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import cast

import polars as pl

from p2c_lib.channels import CHANNELS, FEW, choose, offered, told
from p2c_lib.connect import Client
from p2c_lib.errors import ConnectError, P2CError, PermissionDenied, SignInError, Throttled
from p2c_lib.journal import FINAL, SETTLED, Journal
from p2c_lib.store import StoreClient
from p2c_lib.write.lanes import Lane, Sent, call
from p2c_lib.write.lots import TOLD, Lot, Work, answer_facts, intent_facts, works
from p2c_lib.write.reading import addressed
from p2c_lib.write.saved import Plan
from p2c_lib.write.staging import merge
from p2c_lib.write.standing import is_unique, look
from p2c_lib.write.tally import Applied, Progress, Pulse, Tally

__all__ = ["Sender"]

_ATTEMPTS = 3  # how often one action of one run is sent when its answers keep getting lost
_PATIENCE = 20  # and when the service keeps putting it off


class Sender:
    """Sends one plan; `run` does it all."""

    def __init__(
        self,
        plan: Plan,
        clients: Mapping[str, Client],
        journal: Journal,
        progress: Progress | None,
        watch: Callable[[Pulse], None] | None,
        channel: str | None,
        only: pl.Series | None,
    ) -> None:
        """Take stock; nothing is sent yet. The arguments are those of `p2c_lib.apply.apply`."""
        self.plan, self.clients, self.journal = plan, clients, journal
        self.seen, self.forced, self.is_again = journal.seen, channel, only is not None
        self.rows = plan.sendable()
        self.orders = self.rows["order"].unique()
        if only is not None:
            self.rows = self.rows.filter(pl.col("order").is_in(only.cast(pl.UInt32).implode()))
        states = self.seen.states(self.rows["order"].unique())
        settled = int(states.is_in(self._final).sum())
        errors = int(states.is_in([state for state in ("failed", "conflict") if state in self._final]).sum())
        self.tally = Tally(settled, states.len(), errors, progress, watch)
        self.attempts_before = self.seen.attempts(self.orders)
        self.sent = 0
        self.lost: set[int] = set()  # actions whose answer was lost here
        self.stop: P2CError | None = None

    @property
    def _final(self) -> list[str]:
        return [state for state in FINAL if state != "failed" or not self.is_again]

    def run(self) -> Applied:
        """Send what is open.

        Returns:
            Every action of the plan, counted once.

        Raises:
            P2CError: The run had to stop.
        """
        # What a plan takes away stands at its end, so a task may come twice.
        for _, rows in self.rows.group_by(pl.col("task").rle_id(), maintain_order=True):
            states = self.seen.states(rows["order"])
            open_ = rows.filter(~states.is_in(self._final).fill_null(False))
            if open_.is_empty() or self.stop is not None:
                continue
            self.tally.task, self.tally.channel = open_["task"][0], ""
            client = self.clients[open_["system"][0]]
            todo = list(works(self.plan.hash, open_, client))
            if open_["system"][0] == "cds":
                self._merge(todo, open_)
            else:
                for work in todo:
                    self._send_all(work)
        self.journal.sync()
        if self.stop is not None:
            raise self.stop
        return self._count()

    # --- a task -----------------------------------------------------------------------------------------------

    def _merge(self, todo: list[Work], rows: pl.DataFrame) -> None:
        """A first leg goes into the store in one merge, with its lines in the journal before and after."""
        number = self.seen.batches + 1
        ready = []
        for work in todo:
            lot = self._held_back(work.lot(work.actions, pl.repeat("new", work.actions.height, eager=True)))
            if lot.actions.height:
                self.journal.intend(intent_facts(work, lot), batch=number, channel="store")
                ready.append(lot.actions)
        if not ready:
            return
        self.journal.sync()
        actions = pl.concat(ready)
        going = rows.filter(pl.col("order").is_in(actions["order"].implode()))
        try:
            answers = merge(cast(StoreClient, self.clients["cds"]), going, self.plan.head["run_id"])
        except P2CError as error:  # a merge is whole or not at all
            self._note(actions.with_columns(state=pl.lit("open"), error=pl.lit(f"{type(error).__name__}: {error}")))
            self.stop = error
            return
        told_ = pl.DataFrame(
            [(order, state, facts.get("version"), facts.get("reason")) for order, (state, facts) in answers.items()],
            schema={"order": pl.UInt32, "state": pl.String, "version": pl.Int64, "reason": pl.String},
            orient="row",
        )
        self.sent += int(told_["state"].is_in(["created", "updated"]).sum())
        self._note(actions.drop(*TOLD).join(told_, on="order"))

    def _send_all(self, work: Work) -> None:
        """Send one work, what others of it wait for first."""
        work = self._addressed(work)
        if work.actions.is_empty():
            return
        client, rows = work.client, work.actions.height
        is_asked = self.forced is not None or rows > FEW
        offers = offered(client, work.entity, _whole(work)) if is_asked else ("single",)
        channel = CHANNELS[choose(client.system, work.verb, rows, offers, self.forced)]
        self.tally.channel = channel.name
        pending = self._again_whole(work)
        while pending.height and self.stop is None:
            waits = pending["after_order"].is_in(pending["order"].implode()).fill_null(False)
            ready = pending.filter(~waits)
            if ready.is_empty():
                break  # they wait for each other
            self._drain(Lane(work, channel), ready)
            pending = pending.filter(waits)

    def _addressed(self, work: Work) -> Work:
        """Updates of rows that this plan has made itself get key and ETag now; where there is no row they wait."""
        unknown = (work.actions["etag"].is_null()) & (work.verb == "update")
        if not unknown.any():
            return work
        asked = work.actions.filter(unknown)
        try:
            there = addressed(work.client, work.entity, asked)
        except P2CError as error:
            self.stop = error
            return replace(work, actions=work.actions.clear())
        gone = asked.join(there, on="order", how="anti")
        reason = pl.lit("its row could not be made")
        self._note(gone.drop("etag").with_columns(why=pl.lit("new"), state=pl.lit("held"), reason=reason))
        return replace(work, actions=pl.concat([work.actions.filter(~unknown), there]).sort("order"))

    def _again_whole(self, work: Work) -> pl.DataFrame:
        """Chunks whose fate is not known go to a channel that can say it for the chunk as a whole; gives the rest."""
        actions, orders = work.actions, work.actions["order"]
        is_open = self.seen.states(orders) == "doubt"
        batches = self.seen.in_batch(orders)
        for number in batches.filter(is_open.fill_null(False)).unique().sort():
            channel = CHANNELS.get(self.seen.channels.get(number, ""))
            if channel is None or not channel.repeatable or self.stop is not None:
                continue
            mine = (batches == number) & is_open.fill_null(False)
            lot = work.lot(work.actions.filter(mine), pl.repeat("doubt", int(mine.sum()), eager=True))
            chunk = work.chunk(lot, self.seen.attempts(lot.actions["order"]), number)
            self._drain(Lane(work, channel, deque([(lot, chunk, self.journal.sync)])), actions.clear())
            actions = actions.filter(~pl.col("order").is_in(lot.actions["order"].implode()))
        return actions

    # --- the loop ---------------------------------------------------------------------------------------------

    def _drain(self, lane: Lane, actions: pl.DataFrame) -> None:
        """Send chunks, some at once, until nothing of these actions and of what must be sent again is left."""
        work, channel = lane.work, lane.channel
        again: deque[Lot] = deque()
        at = 0
        pool = ThreadPoolExecutor(lane.threads)
        try:
            while at < actions.height or again or lane.ready or lane.running:
                while self.stop is None and len(lane.running) <= lane.threads:
                    if not lane.ready and again:
                        self._prepare(lane, again.popleft())
                    elif not lane.ready and at < actions.height:
                        part = actions.slice(at, lane.take(actions.height - at))
                        at += part.height
                        self._prepare(lane, work.lot(part, self._why(part["order"])))
                    elif not lane.ready:
                        break
                    if lane.ready:
                        lot, chunk, sync = lane.ready.popleft()
                        lane.running[pool.submit(call, work.client, channel, chunk, sync)] = lot
                if self.stop is not None:
                    at = actions.height
                    again.clear()
                    self._take_back(lane)
                if lane.running:
                    done, _ = wait(lane.running, return_when=FIRST_COMPLETED)
                    again += self._answered(lane, {future: lane.running.pop(future) for future in done})
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, lane: Lane, lot: Lot) -> None:
        """Answer what needs no call (parent missing, done already, conflicts); note the rest as about to be sent."""
        work = lane.work
        lot = self._looked(work, self._held_back(lot))
        if lot.actions.is_empty():
            return
        number = self.seen.batches + 1
        mark = self.journal.intend(intent_facts(work, lot), batch=number, channel=lane.channel.name)
        chunk = work.chunk(lot, self.seen.attempts(lot.actions["order"]), number)
        lane.ready.append((lot, chunk, partial(self.journal.sync, mark)))

    def _why(self, orders: pl.Series) -> pl.Series:
        """Why actions are looked at that were not sent by this call yet."""
        doubt = self.seen.are(orders, "doubt")
        return pl.select(pl.when(doubt).then(pl.lit("doubt")).otherwise(pl.lit("new"))).to_series()

    def _held_back(self, lot: Lot) -> Lot:
        """Leave out, and note, what waits for a row that could not be made."""
        actions = lot.actions
        if actions["staged_order"].null_count() == actions["after_order"].null_count() == actions.height:
            return lot
        is_new = actions["why"] == "new"
        staged = actions["staged_order"].is_null() | self._stands(actions["staged_order"], SETTLED)
        # A parent that someone else made in the meantime is there as well.
        parent = actions["after_order"].is_null() | self._stands(actions["after_order"], (*SETTLED, "conflict"))
        held = is_new & ~(staged & parent)
        if not held.any():
            return lot
        is_approved = actions["after_order"].is_in(self.orders.implode())
        reasons = pl.select(
            pl.when(staged & ~is_approved)
            .then(pl.lit("its parent is not approved"))
            .when(staged)
            .then(pl.lit("its parent could not be made"))
            .otherwise(pl.lit("its row could not be brought into the store"))
        ).to_series()
        self._note(actions.with_columns(state=pl.lit("held"), reason=reasons).filter(held).drop(*TOLD))
        return Lot(actions.filter(~held))

    def _stands(self, orders: pl.Series, states: tuple[str, ...]) -> pl.Series:
        return self.seen.are(orders.fill_null(0), *states)

    def _looked(self, work: Work, lot: Lot) -> Lot:
        """Look up what is in question; note what became of it, give what is to be sent."""
        actions = lot.actions
        if actions.is_empty():
            return lot
        names = tuple(pl.Series([actions["target"][0]]).str.json_decode().struct.fields)
        is_asked = actions["why"] != "new"
        if work.verb == "create" and not is_unique(work.entity, names):
            is_asked = pl.repeat(True, actions.height, eager=True)
        if not is_asked.any():
            return lot
        asked = actions.filter(is_asked)
        try:
            seen = look(work.client, work.entity, asked, work.judged(asked))
        except P2CError as error:
            self.stop = error
            return Lot(actions.clear())
        asked = asked.drop("etag", "id").join(seen, on="order", how="left", maintain_order="left")
        asked = asked.with_columns(error=pl.col("said"), tries=self._tried(asked["order"]))
        lost = pl.col("state").is_null() & (pl.col("why") == "lost") & (pl.col("tries") >= _ATTEMPTS)
        words = f"the answer was lost {_ATTEMPTS} times"
        asked = asked.with_columns(
            state=pl.when(lost).then(pl.lit("doubt")).otherwise("state"),
            error=pl.when(lost).then(pl.lit(words)).otherwise("error"),
        )
        settled = asked.filter(pl.col("state").is_not_null())
        self._note(settled)
        return Lot(actions.filter(~pl.col("order").is_in(settled["order"].implode())))

    def _tried(self, orders: pl.Series) -> pl.Series:
        """How often actions were sent by this call of `apply`."""
        before = pl.DataFrame({"order": self.orders, "before": self.attempts_before})
        known = orders.to_frame("order").join(before, on="order", how="left", maintain_order="left")["before"]
        return self.seen.attempts(orders).cast(pl.Int32) - known.cast(pl.Int32)

    def _answered(self, lane: Lane, done: Mapping[Future[Sent], Lot]) -> list[Lot]:
        """Note what was settled; give what must be looked at or sent again."""
        parts, again = [], list[Lot]()
        for future, lot in done.items():
            self.sent += lot.actions.height
            try:
                sent = future.result()
            except (SignInError, PermissionDenied, Throttled, ConnectError) as error:
                self.stop = self.stop or error
                is_out = isinstance(error, (SignInError, PermissionDenied, Throttled))  # refused at the door
                facts = {name: pl.lit(value) for name, value in told(error).items()}
                state = pl.lit("open" if is_out else "doubt")
                self._note(lot.actions.drop(*TOLD).with_columns(state=state, **facts))
                continue
            lane.learn(lot.actions.height, sent.seconds)
            parts.append(lot.actions.drop(*TOLD).join(sent.answers, on="order"))
        if not parts:
            return again
        answers = pl.concat(parts)
        self._note(answers.filter(pl.col("again").is_null()))
        for kind, rows_ in answers.filter(pl.col("again").is_not_null()).partition_by("again", as_dict=True).items():
            again += self._again(lane, str(kind[0]), rows_)
        return [lot for lot in again if self.stop is None]

    def _again(self, lane: Lane, kind: str, answers: pl.DataFrame) -> list[Lot]:
        work = lane.work
        if kind == "stop":
            self.stop = self.stop or PermissionDenied(
                f"{answers['error'][0]}; grant that privilege to the signed-in user, or use another",
                status=answers["status"][0],
                code=answers["code"][0] or "",
            )
        if self.stop is not None:
            self._note(answers)
            return []
        known = work.actions.join(answers.select("order", "state", "error", "status", "code"), on="order", how="inner")
        if kind == "send":
            tired = self._tried(known["order"]) >= _PATIENCE
            self._note(answers.filter(tired))
            self._write(answers.filter(~tired))
            known = known.filter(~tired)
            why = pl.repeat("new", known.height, eager=True)
        else:
            lost = answers.filter(pl.col("state") == "doubt")
            self.lost |= set(lost["order"])
            self._write(lost)
            why = known["state"].replace_strict({"doubt": "lost", "conflict": "changed", "failed": "refused"})
        lot = work.lot(known.drop("state", "error", "status", "code"), why)
        met = lot.actions.with_columns(said=known["error"], status=known["status"], code=known["code"])
        return [Lot(part) for part in met.iter_slices(lane.rows) if part.height]

    # --- what became of it ------------------------------------------------------------------------------------

    def _note(self, answers: pl.DataFrame) -> None:
        """Settle actions, for this call of `apply` at least."""
        if answers.is_empty():
            return
        verbs = {"create": "created", "delete": "deleted"}
        if self.lost:  # found done, and it was this call that did it
            mine = pl.col("order").is_in(list(self.lost)) & (pl.col("state") == "already")
            mine &= pl.col("why").is_in(["lost", "changed"])
            done = pl.col("action").replace_strict(verbs, default="updated", return_dtype=pl.String)
            answers = answers.with_columns(state=pl.when(mine).then(done).otherwise("state"))
        self._write(answers)
        self.tally.count(answers["state"])

    def _write(self, answers: pl.DataFrame) -> None:
        self.journal.answer(answer_facts(answers))

    def _take_back(self, lane: Lane) -> None:
        """Calls that have not begun are not made; the journal says so, lest they be looked up for nothing."""
        idle = [lane.running.pop(future) for future in list(lane.running) if future.cancel()]
        idle += [lot for lot, _, _ in lane.ready]
        lane.ready.clear()
        if idle:
            orders = pl.concat([lot.actions.select("order") for lot in idle])
            reason = pl.lit("not sent: the run was stopped")
            self._write(orders.with_columns(state=pl.lit("open"), reason=reason))

    def _count(self) -> Applied:
        states = self.seen.states(self.orders).fill_null("open")
        found = dict(states.value_counts().iter_rows())
        done, total = self.tally.done, self.plan.rows["order"].n_unique()
        standing = sum(found.get(state, 0) for state in SETTLED)
        return Applied(
            sent=self.sent,
            **done,
            conflicts=found.get("conflict", 0),
            failed=found.get("failed", 0),
            already=standing - sum(done.values()),
            held=found.get("held", 0) + total - self.orders.len(),
            remaining=found.get("open", 0) + found.get("doubt", 0),
        )


def _whole(work: Work) -> set[str]:
    """Properties that every action of a work brings."""
    if work.verb != "create":
        return set()
    said = work.cells.filter(pl.col("sent").fill_null("") != "").group_by("property").agg(rows=pl.len())
    return set(said.filter(pl.col("rows") == work.actions.height)["property"])
