"""The journal of a plan: one line before each call and one after it, on disk before anything depends on it.

A line is a JSON object. ``phase`` is ``intent`` (what is about to be sent, with before and after) or ``answer`` (what
became of it). Lines are only ever added; a process killed at any point leaves at most one half-written line, the last.
A line begins with ``at``, ``plan``, ``phase``, ``order``, ``attempt``, ``batch`` and, of an answer, ``outcome``, in
just this order, so that a million of them are read in seconds.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from p2c_lib.errors import PlanError

__all__ = ["FINAL", "SETTLED", "Journal", "State", "States"]

State = Literal["created", "updated", "deleted", "already", "conflict", "failed", "held", "open", "doubt"]

FINAL: tuple[State, ...] = ("created", "updated", "deleted", "already", "conflict", "failed")
"""Outcomes after which an action is not sent again. ``held`` and ``open`` are asked again by the next apply; an intent
without an answer is ``doubt``: the service is asked what became of it before anything is sent."""
SETTLED: tuple[State, ...] = ("created", "updated", "deleted", "already")
"""Outcomes of an action that stands as wanted."""

_NAMES: tuple[str, ...] = ("", *get_args(State))
_CODES = {name: code for code, name in enumerate(_NAMES)}
_DTYPES = {"state": pl.UInt8, "attempt": pl.UInt16, "batch": pl.UInt32}
_BLOCK = 1 << 25  # bytes that are read at a time
_LINE = (
    r'^\{"at":"[^"]*","plan":"(?<plan>[^"]*)","phase":"(?<phase>intent|answer)","order":(?<order>\d+),'
    r'"attempt":(?<attempt>\d+)(?:,"batch":(?<batch>\d+))?(?:,"channel":"(?<channel>\w+)")?'
    r'(?:,"outcome":"(?<outcome>\w+)")?.*\}$'
)


class States:
    """What a journal says of each action, a few bytes an action.

    Attributes:
        batches: Number of the last batch.
        channels: Number of a batch -> the channel it went by.
    """

    def __init__(self, size: int = 0) -> None:
        """Know nothing yet.

        Args:
            size: Numbers of actions to make room for; more are taken as they come.
        """
        self._arrays: dict[str, npt.NDArray[Any]] = {
            "state": np.zeros(size, np.uint8),
            "attempt": np.zeros(size, np.uint16),
            "batch": np.zeros(size, np.uint32),
        }
        self.batches = 0
        self.channels: dict[int, str] = {}

    def __len__(self) -> int:
        """Actions that something is known of."""
        return int(np.count_nonzero(self._arrays["state"]))

    def states(self, orders: pl.Series) -> pl.Series:
        """Give the last state of actions.

        Args:
            orders: Their numbers, UInt32.

        Returns:
            Names of `State`, null where nothing is known.
        """
        return self._get("state", orders).replace_strict(
            range(1, len(_NAMES)), _NAMES[1:], default=None, return_dtype=pl.String
        )

    def are(self, orders: pl.Series, *states: str) -> pl.Series:
        """Say whether the last state of actions is one of some.

        Args:
            orders: Their numbers, UInt32.
            states: Names of `State`.

        Returns:
            Boolean, false where nothing is known.
        """
        asked = np.zeros(256, np.bool_)
        asked[[_CODES[state] for state in states]] = True
        return pl.Series(asked[self._get("state", orders).to_numpy()])

    def attempts(self, orders: pl.Series) -> pl.Series:
        """Say how often actions were sent (UInt16)."""
        return self._get("attempt", orders)

    def in_batch(self, orders: pl.Series) -> pl.Series:
        """Say in which batch actions were sent last (UInt32), 0 for none."""
        return self._get("batch", orders)

    def frame(self) -> pl.DataFrame:
        """Give all that is known: ``order``, ``outcome``, ``attempt``."""
        orders = pl.Series("order", np.flatnonzero(self._arrays["state"]), dtype=pl.UInt32)
        return pl.DataFrame([orders, self.states(orders).alias("outcome"), self.attempts(orders).alias("attempt")])

    def note(self, orders: pl.Series, states: pl.Series, attempts: pl.Series, batches: pl.Series | None) -> None:
        """Take over what a line says, the last one of an action being what holds.

        Args:
            orders: Numbers of actions.
            states: Names of `State`.
            attempts: How often each was sent by now.
            batches: By what batch; None leaves it.
        """
        if orders.is_empty():
            return
        self._grow(int(orders.max()) + 1)  # type: ignore[arg-type]
        numbers = orders.to_numpy()
        self._arrays["state"][numbers] = states.replace_strict(_CODES, return_dtype=pl.UInt8).to_numpy()
        self._arrays["attempt"][numbers] = attempts.to_numpy()
        if batches is not None:
            self._arrays["batch"][numbers] = batches.to_numpy()
            self.batches = max(self.batches, int(batches.max()))  # type: ignore[arg-type]

    def _get(self, name: str, orders: pl.Series) -> pl.Series:
        if orders.is_empty():
            return pl.Series([], dtype=_DTYPES[name])
        self._grow(int(orders.max()) + 1)  # type: ignore[arg-type]
        return pl.Series(self._arrays[name][orders.to_numpy()], dtype=_DTYPES[name])

    def _grow(self, size: int) -> None:
        more = size - self._arrays["state"].size
        if more > 0:
            more = max(more, self._arrays["state"].size)  # doubled, so that growing costs little
            for name, old in self._arrays.items():
                self._arrays[name] = np.concatenate([old, np.zeros(more, old.dtype)])


@dataclass
class Journal:
    """An open journal; use `Journal.opened`.

    Attributes:
        path: The file, one JSON object a line.
        plan: Hash of the plan it belongs to.
        seen: What became of the actions so far; kept up to date with every line added.
    """

    path: Path
    plan: str
    seen: States = field(default_factory=States)
    _file: BinaryIO | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _written: int = field(default=0, repr=False)
    _synced: int = field(default=0, repr=False)

    @classmethod
    @contextmanager
    def opened(cls, path: Path, plan: str) -> Iterator[Journal]:
        """Open a journal for adding, read what it says, and keep every other process out until it is closed.

        Args:
            path: The file; made when it is not there.
            plan: Hash of the plan that is being sent.

        Yields:
            The journal; a half-written last line is cut off.

        Raises:
            PlanError: It belongs to another plan, is broken before its last line, or another process holds it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b", buffering=0) as file:  # noqa: PTH123 - unbuffered: a line is with the system at once
            _lock(file, path)
            seen, whole = _read(path, plan)
            if whole < path.stat().st_size:
                file.truncate(whole)
            yield cls(path, plan, seen, file)

    @staticmethod
    def read(path: Path, plan: str) -> States:
        """Read a journal without opening it for adding.

        Args:
            path: The file; need not exist.
            plan: Hash of the plan it must belong to.

        Returns:
            What became of the actions; empty (and false) where nothing was sent.

        Raises:
            PlanError: It belongs to another plan, or is broken before its last line.
        """
        return _read(path, plan)[0] if path.exists() else States()

    def intend(self, actions: pl.DataFrame, *, batch: int, channel: str) -> int:
        """Say what is about to be sent; it must not be sent before `sync` has come back.

        Args:
            actions: ``order`` and ``facts``: JSON members of the line, without braces (task, key, before, after ...).
            batch: Number of the chunk that they go out in.
            channel: How they go.

        Returns:
            What to give to `sync`.
        """
        orders = actions["order"]
        attempts = self.seen.attempts(orders) + 1
        batches = pl.repeat(batch, orders.len(), dtype=pl.UInt32, eager=True)
        self.seen.note(orders, pl.repeat("doubt", orders.len(), eager=True), attempts, batches)
        self.seen.channels[batch] = channel
        tail = pl.concat_str(pl.lit(f',"batch":{batch},"channel":"{channel}",'), "facts")
        self._write("intent", actions.with_columns(attempt=attempts, tail=tail))
        return self._written

    def answer(self, answers: pl.DataFrame) -> None:
        """Say what became of actions; with the system at once, on disk with the next `sync`.

        An answer that a power cut takes away leaves an intent behind, and that is looked up, not sent again.

        Args:
            answers: ``order``, ``state`` (of `State`) and ``facts``: JSON members of the line, may be empty. ``held``
                and ``open`` count no attempt.
        """
        if answers.is_empty():
            return
        orders = answers["order"]
        attempts = self.seen.attempts(orders)
        self.seen.note(orders, answers["state"], attempts, None)
        facts = pl.when(pl.col("facts") != "").then(pl.concat_str(pl.lit(","), "facts")).otherwise(pl.lit(""))
        tail = pl.concat_str(pl.lit(',"outcome":"'), "state", pl.lit('"'), facts)
        self._write("answer", answers.with_columns(attempt=attempts, tail=tail))

    def sync(self, upto: int | None = None) -> None:
        """Force what was written onto the disk; from any thread, and one forcing serves all who wait for it.

        Args:
            upto: As `intend` gave it: no more than that is needed; None for everything written so far.
        """
        assert self._file is not None
        needed = self._written if upto is None else upto
        with self._lock:
            if self._synced < needed:
                written = self._written
                os.fsync(self._file.fileno())
                self._synced = written

    def _write(self, phase: str, rows: pl.DataFrame) -> None:
        """Write a line a row: ``order``, ``attempt``, ``tail``."""
        assert self._file is not None
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        head = pl.lit(f'{{"at":"{at}","plan":"{self.plan}","phase":"{phase}","order":')
        line = pl.concat_str(head, pl.col("order"), pl.lit(',"attempt":'), pl.col("attempt"), "tail", pl.lit("}"))
        view = memoryview(f"{rows.select(line.str.join(chr(10))).item()}\n".encode())
        while view:  # an unbuffered write may take less than it was given
            done = self._file.write(view)
            self._written += done
            view = view[done:]


def _read(path: Path, plan: str) -> tuple[States, int]:
    """States by action, and how many bytes of the file are whole lines."""
    seen, whole, number, rest = States(), 0, 0, b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if not cut:
                continue
            lines = pl.Series(block[: cut - 1].decode("utf-8", "replace").split("\n"))
            told = lines.str.extract_groups(_LINE).struct.unnest()
            broken = told["plan"].is_null().arg_true()
            if broken.len():
                first = int(broken[0])
                if first < lines.len() - 1 or rest or file.read(1):
                    words = f"line {number + first + 1} is not whole and others follow: restore it from a copy"
                    raise PlanError(f"{path}: {words}")
                told = told.head(first)
                cut = len(b"\n".join(block[:cut].split(b"\n")[:first]) + b"\n") if first else 0
            strange = (told["plan"] != plan).arg_true()
            if strange.len():
                words = (
                    f"line {number + int(strange[0]) + 1} belongs to another plan; a journal goes with one plan only"
                )
                raise PlanError(f"{path}: {words}")
            _take(seen, told)
            whole, number = whole + cut, number + lines.len()
    return seen, whole


def _take(seen: States, told: pl.DataFrame) -> None:
    is_intent = pl.col("phase") == "intent"
    told = told.select(
        pl.col("order", "batch").cast(pl.UInt32),
        pl.col("attempt").cast(pl.UInt16),
        "channel",
        state=pl.when(is_intent).then(pl.lit("doubt")).otherwise("outcome"),
    )
    intents = told.filter(pl.col("batch").is_not_null())
    if intents.height:
        seen.note(intents["order"], intents["state"], intents["attempt"], intents["batch"])
        seen.channels |= dict(intents.select("batch", "channel").unique().drop_nulls().iter_rows())
    seen.note(told["order"], told["state"], told["attempt"], None)


def _lock(file: BinaryIO, path: Path) -> None:
    """Hold the file alone; the system lets go of it when the process ends, however it ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise PlanError(f"{path}: another process is sending this plan; wait for it to end") from None
