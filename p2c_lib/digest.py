"""A frame's content as one number, to be signed for: the same rows give the same number, in whatever order they came.

Pure, and worked out by means that anybody has: the rows as CSV, in order, through SHA-256.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import polars as pl

__all__ = ["combined", "digest"]


class _Sum(io.RawIOBase):
    """What is written goes through SHA-256, and is not kept."""

    def __init__(self) -> None:
        self.sum = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self.sum.update(part)
        return len(part)


def digest(frame: pl.DataFrame, columns: Sequence[str] = ()) -> str:
    """The SHA-256 of a frame's content.

    Args:
        frame: Columns of texts, numbers, decimals, booleans, dates, times.
        columns: Those that count, as far as the frame has them; default all.

    Returns:
        64 hexadecimal digits: of the CSV (UTF-8, ``,``, line ends ``\\n``, quotes where needed, a null as nothing, the
        empty text as ``""``, times as ``2026-11-30T23:59:59.000000``) of the columns by name and the rows sorted by
        them from left to right, nulls first. So neither the order of rows nor that of columns counts, and each
        repetition of a row does.
    """
    names = sorted(name for name in columns or frame.columns if name in frame.columns)
    chosen = frame.select(names)
    rows = chosen.sort(names, nulls_last=False) if names else chosen
    through = _Sum()
    rows.write_csv(
        io.BufferedWriter(through, 1 << 20),
        datetime_format="%Y-%m-%dT%H:%M:%S%.6f",
        quote_style="necessary",
        line_terminator="\n",
    )
    return through.sum.hexdigest()


def combined(digests: Sequence[str]) -> str:
    """One number for several: SHA-256 of them in order, each on a line of its own."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
