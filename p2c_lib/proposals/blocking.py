"""Which pairs of records are looked at at all: those that share something few others have.

n times m pairs are too many to compare. A pair is looked at when both records give the same key in one of several ways,
so that a slip in one place (a name, a postal code, a telephone number) leaves the other ways open. Keys that very many
records share say nothing and are left out. Joins and counts over columns, no loop over rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

__all__ = ["candidate_pairs"]

PAIRS_OF_A_KEY = 400  # a key that would make more is left out: the other ways find what is in it
_TELLING = 4  # of the rarest three-letter pieces of a name that two records must share, out of
_PIECES = 9
_NEAR_PAIRS = 60  # times the larger side: the most pairs that pieces of names may give


def candidate_pairs(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Find the pairs worth a closer look.

    Args:
        left: Records of one side.
        right: Of the other.

    Returns:
        ``left`` and ``right`` (UInt32, row numbers), each pair once, in their order.
    """
    if left.is_empty() or right.is_empty():
        return pl.DataFrame(schema={"left": pl.UInt32, "right": pl.UInt32})
    ours, theirs = left.with_row_index("left"), right.with_row_index("right")
    found = [_sharing(ours, theirs, key) for key in _keys()]
    found.append(_near_names(ours, theirs))
    return pl.concat(found).unique().sort("left", "right")


def _keys() -> Iterator[pl.Expr]:
    """One key a record and way; null where the record lacks what the key is made of."""
    skeleton = pl.col("name").str.replace_all(r"[aeiouyh ]", "").str.slice(0, 8)
    first, last = pl.col("name").str.split(" ").list.first(), pl.col("name").str.split(" ").list.last()

    def key(*parts: pl.Expr | str) -> pl.Expr:
        columns = [pl.col(part) if isinstance(part, str) else part for part in parts]
        has_all = pl.all_horizontal(column != "" for column in columns)
        return pl.when(has_all).then(pl.concat_str(columns, separator="\0"))

    yield key("mail")
    yield key("phone")
    yield key("name", "postcode")
    yield key("name", "city")
    yield key("name", "street")
    yield key(skeleton, "postcode")
    yield key("postcode", "street", "number")
    yield key("postcode", "number", pl.col("name").str.slice(0, 2))
    yield key("city", "street", "number")
    yield key("street", "number", first)
    yield key("street", "number", last)
    yield key("host", "mailbox", "city")
    yield key("host", first)
    yield key("name")


def _sharing(left: pl.DataFrame, right: pl.DataFrame, key: pl.Expr) -> pl.DataFrame:
    """The pairs with the same key, but for keys that too many share."""
    ours, theirs = (
        side.select(number, key=key.hash(7)).filter(side.select(key.is_not_null()).to_series())
        for side, number in ((left, "left"), (right, "right"))
    )
    counts = ours.group_by("key").len("a").join(theirs.group_by("key").len("b"), on="key")
    few = counts.filter(pl.col("a").cast(pl.UInt64) * pl.col("b") <= PAIRS_OF_A_KEY).select("key")
    return ours.join(few, on="key").join(theirs, on="key").select("left", "right")


def _near_names(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """The pairs whose names share several of their rarest three-letter pieces, wherever these stand."""
    ours, theirs = _pieces(left, "left"), _pieces(right, "right")
    counts = pl.concat([ours.select("piece"), theirs.select("piece")]).group_by("piece").len("n")
    ours, theirs = (_rarest(side, counts, name) for side, name in ((ours, "left"), (theirs, "right")))
    most = _NEAR_PAIRS * max(left.height, right.height)
    sizes = ours.group_by("piece").len("a").join(theirs.group_by("piece").len("b"), on="piece")
    sizes = sizes.with_columns(pairs=pl.col("a").cast(pl.UInt64) * pl.col("b")).sort("pairs", "piece")
    few = sizes.filter(pl.col("pairs").cum_sum() <= most).select("piece")
    shared = ours.join(few, on="piece").join(theirs, on="piece").group_by("left", "right").len("shared")
    return shared.filter(pl.col("shared") >= _TELLING).select("left", "right")


def _pieces(side: pl.DataFrame, number: str) -> pl.DataFrame:
    """Each record's three-letter pieces of its name, each once: number, ``piece``."""
    padded = side.select(number, name=pl.concat_str(pl.lit(" "), pl.col("name"), pl.lit(" "))).filter(
        pl.col("name") != "  "
    )
    longest = padded.select(pl.col("name").str.len_chars().max().fill_null(0)).item()
    parts = [
        padded.select(number, piece=pl.col("name").str.slice(at, 3)).filter(pl.col("piece").str.len_chars() == 3)
        for at in range(min(max(longest - 2, 0), 60))
    ]
    empty = pl.DataFrame(schema={number: pl.UInt32, "piece": pl.String})
    return pl.concat([empty, *parts]).unique()


def _rarest(side: pl.DataFrame, counts: pl.DataFrame, number: str) -> pl.DataFrame:
    ordered = side.join(counts, on="piece").sort(number, "n", "piece")
    return ordered.group_by(number, maintain_order=True).head(_PIECES).select(number, "piece")
