"""The laws of the pace, held against a service that counts as the real one does, on a clock of its own."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2c_lib.connect import Problem
from p2c_lib.connect.dialects import named_of
from p2c_lib.pace import Allowance, Named, Pace, next_rows
from p2c_lib.sandbox.windows import Windows, throttle_text


@dataclass
class Life:
    """Calls made one after the other as the pace allows, each taking some seconds."""

    pace: Pace
    limits: dict[str, float]
    seconds: list[float]
    rows: int = 1
    is_named: bool = False  # the service names the size of what is full
    now: float = 0.0
    most: int = 0
    started: list[float] = field(default_factory=list)
    refusals: list[tuple[float, float]] = field(default_factory=list)  # when, until when
    done: list[tuple[float, float]] = field(default_factory=list)  # when it ended, its seconds

    def live(self, until: float) -> Life:
        windows = Windows(self.limits, clock=lambda: self.now)
        running: list[tuple[float, float, float]] = []
        calls = 0
        while self.now < until:
            wait_s = self.pace.wait_s(self.now)
            if wait_s == 0:
                self.pace.enter(self.now, self.rows)
                refusal = windows.enter("me")
                if refusal is None:
                    seconds = self.seconds[calls % len(self.seconds)]
                    calls += 1
                    self.started.append(self.now)
                    heapq.heappush(running, (self.now + seconds, self.now, seconds))
                    self.most = max(self.most, len(running))
                else:
                    kind = {"execution": "execution", "requests": "requests", "concurrent": "concurrent"}[refusal.limit]
                    size = self.limits.get({"execution": "execution_s"}.get(kind, kind), 0)
                    named = Named(size, self.limits["window_s"]) if self.is_named and kind != "concurrent" else None
                    self.pace.refused(self.now, refusal.retry_after, kind, began=self.now, named=named)
                    self.refusals.append((self.now, self.now + refusal.retry_after))
                continue
            ends = running[0][0] if running else math.inf
            assert ends < math.inf or wait_s < math.inf, "nobody runs, and nobody may"
            if self.now + wait_s < ends:
                self.now += wait_s
                continue
            self.now, began, seconds = heapq.heappop(running)
            windows.leave("me", seconds)
            self.done.append((self.now, seconds))
            self.pace.leave(self.now, self.now - began, kind="POST", rows=self.rows)
        return self


SECONDS = st.lists(st.floats(0.3, 1.5), min_size=1, max_size=5)
WINDOW = 30.0


@settings(max_examples=25, deadline=None)
@given(parallel=st.integers(1, 60), hint=st.none() | st.integers(1, 60), at_once=st.integers(1, 52), seconds=SECONDS)
def test_no_more_calls_are_under_way_than_user_service_and_hint_allow(parallel, hint, at_once, seconds):
    pace = Pace(parallel, Allowance(at_once=at_once))
    pace.enter(0.0)
    pace.leave(0.1, 0.1, hint=hint)
    life = Life(pace, {}, seconds, now=0.1).live(20)
    assert 1 <= life.most <= min(parallel, at_once, hint or parallel)


@settings(max_examples=25, deadline=None)
@given(calls=st.integers(5, 200), execution=st.floats(5, 60), parallel=st.integers(1, 8), seconds=SECONDS)
def test_known_counts_are_never_run_over_and_nine_tenths_of_them_are_spent(calls, execution, parallel, seconds):
    limits = {"requests": calls, "execution_s": execution, "window_s": WINDOW}
    life = Life(Pace(parallel, Allowance(calls, execution, WINDOW)), limits, seconds).live(7 * WINDOW)
    assert life.refusals == []
    spent = [(len(part) / calls, sum(part) / execution) for part in windows_of(life)]
    used = sum(sum(part) for part in windows_of(life)) / len(windows_of(life))
    lanes_full = used >= 0.9 * parallel * WINDOW
    mean = sum(seconds) / len(seconds)
    crumbs = (parallel * max(seconds) + mean) / execution + mean * parallel / WINDOW  # what no whole call fits into
    best = max(max(share) for share in spent)
    assert lanes_full or best >= 0.9 - crumbs


def windows_of(life):
    """Seconds of the calls that ended in each whole window but the first."""
    return [
        [seconds for at, seconds in life.done if start < at <= start + WINDOW]
        for start in [WINDOW * n for n in range(1, int(life.now // WINDOW) - 1)]
    ]


@settings(max_examples=25, deadline=None)
@example(limits={"execution_s": 20.0}, parallel=3, seconds=[1.0, 0.75, 0.96875], is_named=False)
@given(
    limits=st.sampled_from([{"requests": 40}, {"execution_s": 20.0}, {"concurrent": 3}]),
    parallel=st.integers(2, 8),
    seconds=st.lists(st.floats(0.2, 1.0), min_size=1, max_size=4),
    is_named=st.booleans(),
)
def test_counts_that_nobody_told_are_learned_by_one_refusal(limits, parallel, seconds, is_named):
    pace = Pace(parallel, Allowance(window_s=300.0 if is_named else WINDOW))
    life = Life(pace, {**limits, "window_s": WINDOW}, seconds, is_named=is_named).live(6 * WINDOW)
    for (_, until), (again, _) in zip(life.refusals, life.refusals[1:], strict=False):
        assert again >= until, "a second refusal before the time that the first one named"
    if "concurrent" not in limits:
        assert len(life.refusals) <= 1
    lanes = min(parallel, limits.get("concurrent", parallel))
    allowed = min(limits.get("execution_s", math.inf), lanes * WINDOW)
    if "requests" in limits:
        allowed = min(allowed, limits["requests"] * sum(seconds) / len(seconds))
    used = sum(s for at, s in life.done if at > 2 * WINDOW) / (life.now / WINDOW - 2)
    assert used >= 0.9 * allowed - 2 * max(seconds)


@pytest.mark.parametrize("seconds", [1.3, 5.0, 7.4])
def test_long_calls_lose_nothing_of_a_short_window(seconds):
    limits = {"execution_s": 120.0, "window_s": WINDOW}
    life = Life(Pace(8, Allowance(execution_s=120.0, window_s=WINDOW)), limits, [seconds]).live(8 * WINDOW)
    assert life.refusals == []
    assert all(sum(part) >= 120 - seconds for part in windows_of(life)[1:])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(throttle_text("sales", "requests", {})[1], Named(6000, 300), id="calls of Sales"),
        pytest.param(throttle_text("sales", "execution", {})[1], Named(1200, 300), id="milliseconds of Sales"),
        pytest.param(throttle_text("fno", "execution", {})[1], Named(1200, 300), id="seconds of F&O"),
        pytest.param("limit of 1.200.000 milliseconds over time window of 300 seconds", Named(1200, 300), id="points"),
        pytest.param("limit of 1,2 seconds over time window of 300 seconds", None, id="no whole number"),
        pytest.param(throttle_text("sales", "concurrent", {})[1], None, id="has no window"),
        pytest.param(throttle_text("fno", "resources", {})[1], None, id="names none"),
    ],
)
def test_the_size_of_a_full_count_is_read_as_the_services_write_it(message, expected):
    assert named_of(Problem(message)) == expected


def test_a_size_that_is_named_is_kept_to_only_when_our_own_calls_filled_it():
    pace = Pace(2, Allowance(calls=6000))
    for now in range(10):
        pace.enter(float(now))
        pace.leave(now + 0.5, 0.5)
    pace.refused(10.0, 1.0, "requests", named=Named(100, 30.0))
    assert pace.wait_s(12.0) == 0, "others filled it: what is left of it for us is not known"
    pace.refused(13.0, 1.0, "requests", named=Named(10, 30.0))
    pace.enter(14.5)
    pace.leave(15.0, 0.5)
    assert pace.wait_s(15.0) == pytest.approx(15.6), "the first of ten calls is forgotten after 30 seconds"


def test_a_refusal_closes_the_door_for_all_lanes_and_one_call_goes_first():
    pace = Pace(4)
    for _ in range(4):
        pace.enter(10.0)
    pace.refused(11.0, 5.0, "resources", began=10.0)
    pace.refused(11.1, 5.0, "resources", began=10.0)  # was on its way already
    assert pace.refusals == 1
    assert pace.wait_s(12.0) == pytest.approx(4.1)
    pace.leave(12.0, 2.0)
    pace.leave(12.0, 2.0)
    assert pace.wait_s(16.05) > 0
    pace.refused(16.0, 0.0, "resources", began=None)
    assert pace.wait_s(16.2) == 0
    pace.enter(16.2)
    assert pace.wait_s(16.2) == math.inf, "the others wait for what becomes of the first"
    pace.leave(16.4, 0.2)
    assert pace.wait_s(16.4) == 0


def test_a_refusal_that_our_own_calls_do_not_explain_teaches_no_count():
    pace = Pace(8, Allowance(calls=6000, execution_s=1200))
    pace.enter(0.0)
    pace.leave(0.1, 0.1)
    pace.enter(0.2)
    pace.refused(0.3, 1.0, "requests", began=0.2)
    assert pace.wait_s(1.4) == 0, "others have spent it: after the time that was named all is well"
    assert pace.lanes == 4


@settings(max_examples=20, deadline=None)
@given(rate=st.floats(1, 500), rows=st.integers(1, 100), parallel=st.integers(1, 8), seconds=SECONDS)
def test_no_more_rows_a_second_than_the_user_wants(rate, rows, parallel, seconds):
    life = Life(Pace(parallel, rows_per_second=rate), {}, seconds, rows=rows).live(60)
    assert (len(life.started) - 1) * rows <= rate * life.started[-1] * 1.000001 + 1e-6
    floor = min(rate, parallel * rows / max(seconds))
    assert len(life.started) * rows >= 0.8 * floor * 60 - rows * (parallel + 1)


def test_slow_calls_cost_lanes_and_quick_ones_bring_them_back():
    pace = Pace(8)

    def calls(count, seconds, start):
        for n in range(count):
            pace.enter(start + n)
            pace.leave(start + n + seconds, seconds, kind="POST", rows=100)

    calls(20, 0.1, 0.0)
    assert pace.lanes == 8
    calls(60, 0.9, 100.0)
    assert pace.lanes < 4
    calls(100, 0.1, 200.0)
    assert pace.lanes == 8


@pytest.mark.parametrize(
    ("rows", "sent", "seconds", "expected"),
    [
        pytest.param(200, 200, 0.3, 800, id="quick calls grow"),
        pytest.param(200, 200, 4.0, 400, id="with care where the time aimed at is near"),
        pytest.param(800, 800, 0.9, 1000, id="not past what a call may hold"),
        pytest.param(500, 100, 0.1, 500, id="a part of a call says nothing of whole ones"),
        pytest.param(1000, 1000, 40.0, 250, id="slow calls shrink to the time aimed at"),
        pytest.param(1000, 1000, 7.0, 1000, id="in between it stays"),
        pytest.param(1000, 1000, math.inf, 500, id="a lost answer halves"),
        pytest.param(1, 1, math.inf, 1, id="one row is the least"),
        pytest.param(3, 3, 1000.0, 1, id="one row, however slow"),
    ],
)
def test_rows_of_a_call_follow_its_time(rows, sent, seconds, expected):
    assert next_rows(rows, sent, seconds, 1000, 10.0) == expected
