"""The journal of a plan: one line before each call and one after it, on disk before anything depends on it.

A line is a JSON object. ``phase`` is ``intent`` (what is about to be sent, with before and after) or ``answer`` (what
became of it). Lines are only ever added; a process killed at any point leaves at most one half-written line, the last.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

from p2c_lib.errors import PlanError

__all__ = ["FINAL", "Journal", "Seen", "State"]

State = Literal["created", "updated", "already", "conflict", "failed", "held", "open", "doubt"]

FINAL: frozenset[str] = frozenset({"created", "updated", "already", "conflict", "failed"})
"""Outcomes after which an action is never sent again. ``held`` and ``open`` are asked again by the next apply; an
intent without an answer is ``doubt``: the service is asked what became of it before anything is sent."""


@dataclass(frozen=True)
class Seen:
    """What a journal says of one action: its last state and how often it was sent."""

    state: State
    attempt: int


@dataclass
class Journal:
    """An open journal; use `Journal.opened`.

    Attributes:
        path: The file, one JSON object a line.
        plan: Hash of the plan it belongs to.
        seen: Action number (``order``) -> what became of it so far; kept up to date with every line added.
    """

    path: Path
    plan: str
    seen: dict[int, Seen] = field(default_factory=dict)
    _file: BinaryIO | None = field(default=None, repr=False)

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
    def read(path: Path, plan: str) -> dict[int, Seen]:
        """Read a journal without opening it for adding.

        Args:
            path: The file; need not exist.
            plan: Hash of the plan it must belong to.

        Returns:
            Action number -> what became of it.

        Raises:
            PlanError: It belongs to another plan, or is broken before its last line.
        """
        return _read(path, plan)[0] if path.exists() else {}

    def intend(self, actions: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Say what is about to be sent; when this returns, the lines are on disk.

        Args:
            actions: Action number and what stands beside it in the line (task, key, before, after ...).
        """
        lines = []
        for order, facts in actions:
            attempt = self.seen[order].attempt + 1 if order in self.seen else 1
            self.seen[order] = Seen("doubt", attempt)
            lines.append(self._line("intent", order, attempt, facts))
        self._write(b"".join(lines))
        self.sync()

    def answer(self, order: int, state: State, **facts: Any) -> None:
        """Say what became of an action; with the system at once, on disk with the next `sync`.

        An answer that a power cut takes away leaves an intent behind, and that is looked up, not sent again.

        Args:
            order: Action number.
            state: What became of it; ``held`` and ``open`` count no attempt.
            **facts: What stands beside it in the line (etag, id, error ...).
        """
        attempt = self.seen[order].attempt if order in self.seen else 0
        self.seen[order] = Seen(state, attempt)
        self._write(self._line("answer", order, attempt, {"outcome": state, **facts}))

    def sync(self) -> None:
        """Force everything written so far onto the disk."""
        assert self._file is not None
        os.fsync(self._file.fileno())

    def _line(self, phase: str, order: int, attempt: int, facts: Mapping[str, Any]) -> bytes:
        head = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "plan": self.plan, "phase": phase}
        return orjson.dumps({**head, "order": order, "attempt": attempt, **facts}, default=str) + b"\n"

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        view = memoryview(data)
        while view:  # an unbuffered write may take less than it was given
            view = view[self._file.write(view) :]


def _read(path: Path, plan: str) -> tuple[dict[int, Seen], int]:
    """States by action, and how many bytes of the file are whole lines."""
    seen: dict[int, Seen] = {}
    whole = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = orjson.loads(line) if line.endswith(b"\n") else None
            except orjson.JSONDecodeError:
                entry = None
            if entry is None:
                if file.read(1):
                    raise PlanError(f"{path}: line {number} is not whole and others follow: restore it from a copy")
                break
            if entry["plan"] != plan:
                raise PlanError(f"{path}: line {number} belongs to another plan; a journal goes with one plan only")
            state: State = "doubt" if entry["phase"] == "intent" else entry["outcome"]
            seen[entry["order"]] = Seen(state, entry["attempt"])
            whole += len(line)
    return seen, whole


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
