"""How far sending has come: what was settled, at what rate, with how many errors."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

__all__ = ["Applied", "Progress", "Pulse", "Tally"]

Progress = Callable[[int, int], None]
"""Called with the actions that are settled so far and those that are to be sent in all."""

_LOOK_BACK_S = 30.0  # the rate is that of so many seconds


@dataclass(frozen=True)
class Applied:
    """What became of a plan's actions; each is counted once, and ``sent`` counts how often one was sent.

    ``created``, ``updated`` and ``deleted`` were done by this call of `apply`; ``already`` needed nothing, being done
    before or found as wanted; ``conflicts`` changed meanwhile and were left alone; ``failed`` were refused; ``held``
    are not sent, as the plan says or because their parent could not be made; ``remaining`` wait for the next `apply`.
    """

    sent: int = 0
    created: int = 0
    updated: int = 0
    conflicts: int = 0
    failed: int = 0
    already: int = 0
    held: int = 0
    remaining: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class Pulse:
    """How far sending has come.

    Attributes:
        settled: Actions that need nothing more.
        total: Actions that are to be sent in all.
        errors: Of the settled ones, those that failed or were changed meanwhile.
        rows_per_second: Of this call of `apply`, over the last seconds.
        seconds_left: At that rate; None as long as there is none.
        task: What is being sent.
        channel: How.
    """

    settled: int
    total: int
    errors: int
    rows_per_second: float
    seconds_left: float | None
    task: str
    channel: str


@dataclass
class Tally:
    """Counts what is settled and tells those who want to know.

    Attributes:
        settled: Actions that need nothing more, those of earlier calls of `apply` among them.
        total: Actions that are to be sent in all.
        errors: Of the settled ones, those that failed or were changed meanwhile.
        progress: Told the first two.
        watch: Told all.
        task: What is being sent.
        channel: How.
        done: What this call of `apply` created, updated and deleted.
    """

    settled: int
    total: int
    errors: int
    progress: Progress | None
    watch: Callable[[Pulse], None] | None
    task: str = ""
    channel: str = ""
    done: dict[str, int] = field(default_factory=lambda: {"created": 0, "updated": 0, "deleted": 0})

    def __post_init__(self) -> None:
        self._past: deque[tuple[float, int]] = deque([(time.monotonic(), self.settled)])

    def count(self, states: pl.Series) -> None:
        """Count actions that were settled.

        Args:
            states: What became of each.
        """
        for state, rows in states.value_counts().iter_rows():
            if state in self.done:
                self.done[state] += rows
            self.errors += rows if state in ("failed", "conflict") else 0
        self.settled += states.len()
        now = time.monotonic()
        self._past.append((now, self.settled))
        while len(self._past) > 2 and self._past[0][0] < now - _LOOK_BACK_S:
            self._past.popleft()
        if self.progress is not None:
            self.progress(self.settled, self.total)
        if self.watch is not None:
            since, before = self._past[0]
            rate = (self.settled - before) / (now - since) if now > since else 0.0
            left = (self.total - self.settled) / rate if rate else None
            self.watch(Pulse(self.settled, self.total, self.errors, rate, left, self.task, self.channel))
