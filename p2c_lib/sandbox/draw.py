"""Random columns from a seed: the same seed and name give the same values, on every machine."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

__all__ = ["MONEY", "Draw", "money", "plain_ascii"]

MONEY = pl.Decimal(38, 12)
ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", dtype=np.uint8)
HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
SECOND = 1_000_000  # microseconds
_SPELT = {
    "ä": "ae",
    "ö": "oe",
    "ü": "ue",
    "ß": "ss",
    "Ä": "ae",
    "Ö": "oe",
    "Ü": "ue",
    "ł": "l",
    "Ł": "l",
    "ø": "o",
    "Ø": "o",
}


def money(cents: pl.Series) -> pl.Series:
    """Hundredths (integers, null stays null) to exact amounts."""
    return cents.cast(MONEY) / pl.Series([100], dtype=MONEY)


def plain_ascii(text: pl.Expr) -> pl.Expr:
    """Lower-case letters and digits only, accents taken off; for mail and web addresses."""
    bare = text.str.replace_many(list(_SPELT), list(_SPELT.values())).str.normalize("NFKD")
    return bare.str.to_lowercase().str.replace_all(r"[^a-z0-9]+", "")


def _fixed_text(letters: npt.NDArray[np.uint8]) -> pl.Series:
    """Shape (n, width) of ASCII codes to n texts of that width, without a Python string in between."""
    rows, width = letters.shape
    ends = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    buffers = pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(letters))
    return pl.Series(pa.StringArray.from_buffers(rows, *buffers))


class Draw:
    """A stream of random columns, each of `n` rows."""

    def __init__(self, seed: int, name: str) -> None:
        """Start the stream `name`; what one stream draws does not move another."""
        self.rng = np.random.default_rng([seed, zlib.crc32(name.encode())])

    def guids(self, n: int) -> pl.Series:
        """Version 4 guids as text."""
        letters = np.full((n, 36), ord("-"), dtype=np.uint8)
        digits = HEX[self.rng.integers(0, 16, (n, 32), dtype=np.uint8)]
        places = [i for i in range(36) if i not in (8, 13, 18, 23)]
        letters[:, places] = digits
        letters[:, 14] = ord("4")
        letters[:, 19] = HEX[self.rng.integers(8, 12, n, dtype=np.uint8)]
        return _fixed_text(letters)

    def suffixes(self, n: int, length: int = 6) -> pl.Series:
        """Random ends of account and contact numbers, out of A-Z and 0-9."""
        return _fixed_text(ALPHABET[self.rng.integers(0, 36, (n, length), dtype=np.uint8)])

    def digits(self, n: int, length: int) -> pl.Series:
        """Digits as text, leading zeros kept."""
        return _fixed_text((ord("0") + self.rng.integers(0, 10, (n, length), dtype=np.uint8)).astype(np.uint8))

    def integers(self, n: int, low: int, high: int) -> npt.NDArray[np.int64]:
        """Whole numbers from `low` up to, not including, `high`."""
        return self.rng.integers(low, high, n)

    def within(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """For each row a number below its own count."""
        return np.floor(self.rng.random(len(counts)) * counts).astype(np.int64)

    def chance(self, n: int, share: float) -> pl.Series:
        """True for about `share` of the rows."""
        return pl.Series(self.rng.random(n) < share)

    def pick(self, words: Sequence[str | int | None], n: int, weights: Sequence[float] | None = None) -> pl.Series:
        """One of `words` for each row, by `weights` that add up to 1."""
        index = self.rng.choice(len(words), n, p=weights) if weights else self.rng.integers(0, len(words), n)
        return pl.Series(words).gather(index)

    def amounts(self, n: int, low: float, high: float, with_cents: float = 0.6) -> pl.Series:
        """Amounts spread evenly over their orders of magnitude; the others are whole tens."""
        cents = np.exp(self.rng.uniform(np.log(low * 100), np.log(high * 100), n)).astype(np.int64)
        whole = cents // 1000 * 1000
        return money(pl.Series(np.where(self.rng.random(n) < with_cents, cents, whole)))

    def moments(self, n: int, first: int, last: int) -> pl.Series:
        """Instants between two epoch seconds, to the second, ``Datetime("us", "UTC")``."""
        seconds = pl.Series(self.rng.integers(first, last, n))
        return (seconds * SECOND).cast(pl.Datetime("us", "UTC"))
