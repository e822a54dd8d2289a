"""How hard to push one service: how many calls at once, when the next may go, how many rows a call takes.

A plain state machine: the clock comes in with every call, nothing here sleeps or asks the time, so its laws can be
tested. `p2c_lib.connect` asks it before each request and tells it what became of it.

The services count by user over a sliding window (requests, seconds of execution, requests at once) and answer 429 with
Retry-After where a count is full. What is known of these counts is kept to beforehand. A refusal all the same, because
others use the same user or the counts are smaller, closes the door for all lanes until the time that was named; then
one call goes ahead of the others. If our own calls explain the refusal, the size that the service names with it is the
allowance from then on, or what they had spent where it names none.

A call is let go when what is spent is below the allowance now, and will not be above it when the call has ended: what
the window forgets in the meantime is free by then. So long calls lose nothing of a window that is only some calls long.
Source: service protection limits of Dataverse; resource limits of Finance and Operations, which have no fixed counts.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["Allowance", "Limit", "Named", "Pace", "next_rows"]

Limit = Literal["requests", "execution", "concurrent", "resources"]
"""Which count was full, as far as a refusal tells."""

_CRUMB_S = 1e-6
_SLACK_S = 0.1  # the clocks of the service and ours do not run quite alike
_ARRIVAL_S = 0.5  # a request that is answered later than that has arrived long before
_SLOW, _STEADY = 4.0, 2.0  # calls this many times slower than the fastest of their kind: a lane less, no lane more
_LEARNED = 0.97  # of the seconds that were spent when a refusal came: our clock and the service's are not the same
_LEAST_LEARNED = 0.9  # of them: long calls that end together must not make an allowance look like none
_FIRST_CALLS = 10
_EXPLAINED = 0.9  # of a size that was named: as much of it must be our own before it is taken for ours
_GROWTH, _GROWS_AFTER = 1.02, 6.0  # of an allowance that no one named; tried after so many windows without a refusal


@dataclass(frozen=True)
class Allowance:
    """What a user may spend in a sliding window: calls, seconds of execution, and calls at once."""

    calls: float = math.inf
    execution_s: float = math.inf
    window_s: float = 300.0
    at_once: int = 52


@dataclass(frozen=True)
class Named:
    """The size that a service names when it refuses: calls or seconds of execution, in so many seconds."""

    size: float
    window_s: float


@dataclass
class Pace:
    """The state of one service.

    Attributes:
        parallel: The user's ceiling of calls at once; never exceeded.
        allowance: What the service is known to allow; lowered by what its refusals teach.
        rows_per_second: The user's ceiling of rows written; None for none.
        lanes: Calls at once that are good just now.
        running: Calls under way.
        refusals: Windows that were closed by a 429.
    """

    parallel: int
    allowance: Allowance = field(default_factory=Allowance)
    rows_per_second: float | None = None
    lanes: float = field(init=False)
    running: int = field(default=0, init=False)
    refusals: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._hint: int | None = None
        self._known = self.allowance  # what it was told, or has learned, to be
        self.lanes = float(self._ceiling)
        self._closed_until = -math.inf
        self._learned_at = -math.inf
        self._is_counted = False  # the calls allowed are those that had been let in when the refusal came
        self._is_probing = False
        self._begun: deque[float] = deque()  # by when the calls of the window had arrived, those under way left out
        self._spent: deque[tuple[float, float]] = deque()  # when calls ended, and their seconds
        self._spent_s = 0.0
        self._entered: deque[tuple[float, float]] = deque(maxlen=64)  # when the last calls went out, and what was spent
        self._mean_s = 0.0
        self._next_row_at = -math.inf
        self._fastest: dict[str, float] = {}
        self._recent: dict[str, float] = {}
        self._known_calls: dict[str, int] = {}
        self._since_change = 0

    @property
    def _ceiling(self) -> int:
        return max(1, min(self.parallel, self._hint or self.parallel, self._known.at_once))

    def wait_s(self, now: float) -> float:
        """Say when the next call may go.

        Args:
            now: The clock, in seconds, never going back.

        Returns:
            0 for at once; seconds to wait and ask again; infinity: ask again when a call has ended.
        """
        if now < self._closed_until:
            return self._closed_until - now
        if self.running >= (1 if self._is_probing else max(1, min(int(self.lanes), self._ceiling))):
            return math.inf
        self._forget(now)
        waits = [0.0, self._next_row_at - now]
        window = self._known.window_s + _SLACK_S
        if len(self._begun) + self.running >= self._known.calls:
            waits.append(self._begun[0] + window - now if self._begun else math.inf)
        waits.append(self._until_affordable(now))
        wait = max(waits)
        return max(wait, _CRUMB_S) if wait > 0 else 0.0  # so much that the clock moves on

    def _until_affordable(self, now: float) -> float:
        """Seconds until the execution that one more call takes is there; infinity: not before another has ended."""
        # Just below the allowance: at it the service lets nobody in, and many subtractions leave crumbs.
        known, window = self._known.execution_s - _CRUMB_S, self._known.window_s + _SLACK_S
        over = self._spent_s + (self.running + 1) * self._mean_s - known
        wait = self._spent[0][0] + window - now if self._spent and self._spent_s >= known else 0.0
        ahead = now + self._mean_s  # when it will have ended
        for at, seconds in self._spent:
            if over <= 0:
                break
            over -= seconds
            wait = max(wait, at + window - ahead)
        return wait if over <= 0 or not self.running else math.inf

    def enter(self, now: float, rows: int = 0) -> None:
        """Note that a call goes out, `wait_s` having said 0.

        Args:
            now: The clock.
            rows: Rows that it writes.
        """
        self.running += 1
        self._entered.append((now, self._spent_s))
        if self.rows_per_second:
            self._next_row_at = max(now, self._next_row_at) + rows / self.rows_per_second

    def leave(self, now: float, seconds: float, *, kind: str = "", rows: int = 1, hint: int | None = None) -> None:
        """Note that a call has ended, answered or not, but not refused with 429.

        Args:
            now: The clock.
            seconds: How long it took.
            kind: What sort of call, to hold its time against others of its sort.
            rows: Rows that it wrote or 1, to tell long calls from large ones.
            hint: Calls at once that the service advises, when it does.
        """
        self.running -= 1
        self._begun.append(min(now, now - seconds + _ARRIVAL_S))
        self._spent.append((now, seconds))
        self._spent_s += seconds
        self._mean_s = max(seconds, 0.8 * self._mean_s + 0.2 * seconds)  # calls that grow must not be taken for short
        if hint:
            self._hint = hint
        if self._is_counted and now - seconds <= self._learned_at + _CRUMB_S:  # let in before the refusal came
            self._known = replace(self._known, calls=min(self.allowance.calls, self._known.calls + 1))
        if now - seconds >= self._closed_until - _CRUMB_S:  # it went out when the door was open again
            self._is_probing = False
        self._watch(f"{kind}/{max(1, rows).bit_length()}", seconds / max(1, rows))
        self._grow(now)

    def refused(
        self,
        now: float,
        wait_s: float,
        limit: Limit = "resources",
        *,
        began: float | None = None,
        named: Named | None = None,
    ) -> None:
        """Note that a call was answered with 429.

        Args:
            now: The clock.
            wait_s: Seconds that the service asks to wait, or that are usual.
            limit: Which count was full, as far as it tells.
            began: When the call went out; None: it ended before, and only a part of it was refused.
            named: The size of that count, where the service names it.

        A call that went out before the door was closed belongs to the same refusal: it closes the door no longer than
        its own answer says, and teaches nothing.
        """
        is_same = now < self._closed_until or (began is not None and began < self._learned_at)
        if began is not None:
            self.running -= 1
        self._closed_until = max(self._closed_until, now + wait_s)
        if is_same:
            return
        self.refusals += 1
        self._is_probing = True
        self._forget(now)
        if limit == "concurrent":
            at_once = max(1, min(self._known.at_once, self.running))
            self._known = replace(self._known, at_once=at_once)
            self.lanes = min(self.lanes, self._ceiling)
        elif not self._learn(limit, now if began is None else began, now + wait_s, named):
            self.lanes = max(1.0, self.lanes / 2)
        self._since_change, self._learned_at = 0, now

    def _learn(self, limit: Limit, began: float, until: float, named: Named | None) -> bool:
        """Take the count that was full for what our own calls come to, if they explain that it was."""
        known, told = self._known, self.allowance
        self._is_counted = False
        calls = len(self._begun) + self.running
        ours = {"requests": float(calls), "execution": self._spent_s}.get(limit, 0.0)
        if named is not None and ours >= _EXPLAINED * named.size:
            # The service knows best, but a user who wants to spend less than it allows has a reason.
            size = {"calls": named.size} if limit == "requests" else {"execution_s": named.size}
            smaller = {name: min(value, getattr(told, name)) for name, value in size.items()}
            self.allowance = replace(told, window_s=named.window_s, **smaller)
            self._known = replace(known, window_s=named.window_s, **smaller)
            return True
        # Does it name the time at which our oldest call is forgotten? Then our calls are what it counts.
        since = until + 1.0 - known.window_s
        if limit == "requests" and self._begun and self._begun[0] <= since:
            self._known = replace(known, calls=min(known.calls, max(1, len(self._begun))))
            self._is_counted = True
        elif limit == "execution" and self._spent and self._spent[0][0] <= since:
            # The count is full between what was spent when a call was let in last and what is spent now.
            let_in = [spent for at, spent in self._entered if at < began]
            least, most = _LEAST_LEARNED * self._spent_s, _LEARNED * self._spent_s
            learned = min(most, max(least, let_in[-1])) if let_in else most
            self._known = replace(known, execution_s=min(known.execution_s, learned))
        else:
            return False
        return True

    def _forget(self, now: float) -> None:
        window = self._known.window_s + _SLACK_S
        while self._begun and self._begun[0] + window <= now:
            self._begun.popleft()
        while self._spent and self._spent[0][0] + window <= now:
            self._spent_s -= self._spent.popleft()[1]
        if not self._spent:
            self._spent_s = 0.0  # no crumbs of many subtractions

    def _watch(self, kind: str, seconds: float) -> None:
        """Fewer lanes where calls take far longer than they need, one more a round where they do not."""
        recent = self._recent[kind] = 0.7 * self._recent.get(kind, seconds) + 0.3 * seconds
        self._known_calls[kind] = self._known_calls.get(kind, 0) + 1
        # The first to end are the shortest, which says nothing yet.
        fastest = min(self._fastest[kind], recent) if self._known_calls[kind] > _FIRST_CALLS else recent
        self._fastest[kind] = fastest * 1.001  # what was fast at night is not so for ever
        self._since_change += 1
        if self._since_change < self.lanes:
            return
        if recent > _SLOW * fastest and self.lanes >= 2:
            self.lanes, self._since_change = self.lanes - 1, 0
        elif recent <= _STEADY * fastest and self.lanes < self._ceiling:
            self.lanes, self._since_change = min(self.lanes + 1, self._ceiling), 0
        self.lanes = min(self.lanes, self._ceiling)

    def _grow(self, now: float) -> None:
        known, told = self._known, self.allowance
        if known == told or now - self._learned_at < _GROWS_AFTER * known.window_s:
            return
        self._learned_at = now
        self._known = replace(
            known,
            calls=min(told.calls, max(known.calls + 1, known.calls * _GROWTH)),
            execution_s=min(told.execution_s, known.execution_s * _GROWTH),
            at_once=min(told.at_once, known.at_once + 1),
        )


def next_rows(rows: int, sent: int, seconds: float, most: int, aim_s: float) -> int:
    """Say how many rows the next call should take.

    Args:
        rows: How many were to be sent in a call so far.
        sent: How many the last call held.
        seconds: How long it took; infinity when no answer came.
        most: How many a call may hold.
        aim_s: How long a call should take at most: long calls end in timeouts, and what they did must be looked up.

    Returns:
        At least 1, at most ``most``: up to four times as many after a quick call, fewer after a slow one.
    """
    if not math.isfinite(seconds):
        return max(1, rows // 2)
    if seconds > aim_s:
        return max(1, min(rows, most, int(sent * aim_s / seconds)))
    if sent >= rows and seconds * 2 <= aim_s:
        return min(most, rows * (4 if seconds * 4 <= aim_s else 2))
    return min(rows, most)
