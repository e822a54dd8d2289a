"""Chunks on their way: how many rows the next one takes, and the call that sends it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import polars as pl

from p2c_lib.channels import Channel, Chunk
from p2c_lib.connect import Client
from p2c_lib.pace import next_rows
from p2c_lib.write.lots import Lot, Work

__all__ = ["Lane", "Sent", "call"]

_FIRST_ROWS = 250  # of a call, until its time is known
_AIM_S = 10.0  # seconds that a call should take at most: what a timeout cuts off must be looked up
_ONE_BY_ONE, _MOST_ONE_BY_ONE = 8, 64  # rows a lane of a chunk whose calls take one each: at first, and at most
_CHUNK_AIM_S = 1.5  # seconds that such a chunk should take: what became of its rows is told when it ends


@dataclass(frozen=True)
class Sent:
    """A chunk's answers, and how long its calls took; infinity when an answer was lost."""

    answers: pl.DataFrame
    seconds: float


@dataclass
class Lane:
    """Chunks of one work on their way.

    Attributes:
        work: What is being sent.
        channel: How.
        ready: Chunks that the journal has as about to be sent, and what brings its lines onto the disk.
        running: Chunks that were given to a thread.
        rows: Of the next chunk.
    """

    work: Work
    channel: Channel
    ready: deque[tuple[Lot, Chunk, Callable[[], None]]] = field(default_factory=deque)
    running: dict[Future[Sent], Lot] = field(default_factory=dict)
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        most = self.channel.rows_a_call
        alone = self.work.client.limits.parallel * _ONE_BY_ONE
        self.rows = alone if self._is_single else most if self.channel.repeatable else min(_FIRST_ROWS, most)

    @property
    def _is_single(self) -> bool:
        return self.channel.rows_a_call == 1

    @property
    def parallel(self) -> int:
        """Chunks that may be under way at once; of rows that go one by one a chunk takes all lanes by itself."""
        if self._is_single:
            return 1
        parallel = self.work.client.limits.parallel
        return min(parallel, self.channel.lanes or parallel)

    @property
    def threads(self) -> int:
        """Chunks at work at once.

        One more than calls, which the pace holds back: its body is there when a call ends, and no lane waits for it.
        A channel that counts its own lanes is not held back, so it gets none.
        """
        return self.parallel + (self.channel.lanes is None)

    def take(self, left: int) -> int:
        """Say how many rows to take next.

        Args:
            left: Rows that are still to be sent.

        Returns:
            A call's worth, or some that go one by one; the last ones are shared out.
        """
        if self._is_single:
            return min(self.rows, left)
        if self.channel.repeatable:
            return self.rows
        ceiling = self.work.client.limits.rows_per_second
        most = self.rows if ceiling is None else min(self.rows, math.ceil(ceiling))
        return min(most, max(_FIRST_ROWS, math.ceil(left / self.parallel)))

    def learn(self, rows: int, seconds: float) -> None:
        """Fit the next chunks to how long one took.

        Args:
            rows: Its rows.
            seconds: What its calls took; infinity when an answer was lost.
        """
        if self._is_single:
            most = self.work.client.limits.parallel * _MOST_ONE_BY_ONE
            self.rows = next_rows(self.rows, rows, seconds, most, _CHUNK_AIM_S)
        elif not self.channel.repeatable:
            self.rows = next_rows(self.rows, rows, seconds, self.channel.rows_a_call, _AIM_S)


def call(client: Client, channel: Channel, chunk: Chunk, sync: Callable[[], None]) -> Sent:
    """Send a chunk; runs in a thread and touches nothing but the client and the disk.

    Args:
        client: Of the destination.
        channel: How.
        chunk: The actions.
        sync: Comes back when the journal's lines of the chunk are on disk; nothing goes out before.

    Returns:
        What became of them.

    Raises:
        ConnectError: Or a child of it: the whole run must stop.
    """
    sync()
    client.take_seconds()
    answers = channel.send(client, chunk)
    is_lost = chunk.actions.height > 1 and (answers["state"] == "doubt").all()
    return Sent(answers, math.inf if is_lost else client.take_seconds())
