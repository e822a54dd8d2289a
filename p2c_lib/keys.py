"""Keys of two sides: which rows pair, which keys cannot be joined, which rows stand alone.

One sort of the 64-bit hashes of all keys, each with its row number in the low bits, brings equal keys side by side:
repeated ones are seen and rows that may be a pair are found in half the time of a join. The hash only proposes.
Each pair is verified on the keys themselves, and whatever is not a plain pair or a plain single row is decided on the
keys themselves, so that two keys with one hash neither pair nor block. Pure: frames in, frames out.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

__all__ = ["Match", "key_text", "match", "share_a_key"]

_SEED = 1  # one for both sides, or nothing would meet
_NOT_PLAIN = r"^\s|\s$|^$|[a-z]|[^\x00-\x7F]"
"""A key part that is not its own normal form but for ASCII capitals, which stand for their small letters one to one."""
_PAIRS = pl.Schema({"source_row": pl.UInt32(), "destination_row": pl.UInt32()})
_BAD = pl.Schema({"row": pl.UInt32(), "reason": pl.String()})


@dataclass(frozen=True)
class Match:
    """What became of the keys of both sides; each row that takes part is in exactly one place.

    Attributes:
        pairs: ``source_row``, ``destination_row`` (UInt32), by source row.
        alone_source: Row numbers (UInt32) of source rows with a sound key and no partner, ascending.
        alone_destination: The same of the destination.
        bad_source: ``row`` (UInt32) and ``reason``: blank_key, repeated_key, colliding_key or padded_key.
        bad_destination: The same of the destination.
        out_of_scope: Destination rows that are out of scope and whose key no source row has.
    """

    pairs: pl.DataFrame
    alone_source: pl.Series
    alone_destination: pl.Series
    bad_source: pl.DataFrame
    bad_destination: pl.DataFrame
    out_of_scope: int


def match(
    source: pl.DataFrame,
    destination: pl.DataFrame,
    *,
    flows: pl.Series | None = None,
    in_scope: pl.Series | None = None,
) -> Match:
    """Bring the keys of two sides together.

    Args:
        source: The key columns alone, shape (n, k).
        destination: The same of the destination, shape (m, k), same names and dtypes.
        flows: Boolean (n), which source rows take part. Default: all.
        in_scope: Boolean (m): a row that is not takes part only where a source row that flows has its key, in whatever
            case and padding. Default: all are.

    Returns:
        The pairs, the rows alone, the rows whose key cannot be joined.

    A key is blank when a part of it is null or has nothing but blanks; repeated when another row of its side has the
    same; colliding when another differs in case or padding only; padded when blanks stand before or after a part. What
    is bad on one side spoils the rows of the same key, case and padding aside, on the other.
    """
    source, destination = _numbered_columns(source), _numbered_columns(destination)
    n, m = source.height, destination.height
    shift = (n + m).bit_length()
    with ThreadPoolExecutor(2) as pool:  # both sides at once: Polars lets go of Python while it works
        is_plain = all(pool.map(_is_plain, (source, destination)))
        forms = (source, destination) if is_plain else tuple(pool.map(_normal, (source, destination)))
        ours, theirs = pool.map(_numbered, forms, (0, n), (shift, shift))
    ordered = _neighbours(pl.concat([ours if flows is None else ours.filter(flows), theirs]).sort(), n, shift)

    found = _proposed(ordered, n)
    sound = _same_keys(source, destination, found)
    odd = [pl.Series([], dtype=pl.UInt32)] * 2 if is_plain else [_odd_rows(side) for side in (source, destination)]
    if odd[0].len() or odd[1].len():
        sound &= ~found["source_row"].is_in(odd[0].implode())
    pairs, doubtful = found.filter(sound), found.filter(~sound)

    crowded = ordered.filter("is_crowded")["row"]
    left = pl.concat([crowded.filter(crowded < n).cast(pl.UInt32), doubtful["source_row"], odd[0]]).unique()
    right = (crowded.filter(crowded >= n) - n).cast(pl.UInt32)
    right = pl.concat([right, doubtful["destination_row"], odd[1]]).unique()
    if flows is not None:
        left = left.filter(flows.gather(left))
    settled = _decide(_chosen(source, left), _chosen(destination, right), in_scope)

    pairs = pl.concat([pairs, settled.pairs]).sort("source_row") if settled.pairs.height else pairs
    free_left = _others(n, [pairs["source_row"], settled.bad_source["row"]])
    free_right = _others(m, [pairs["destination_row"], settled.bad_destination["row"]])
    if flows is not None:
        free_left &= flows
    if in_scope is not None:
        free_right = (free_right & in_scope).scatter(settled.alone_destination, True)
    alone_left, alone_right = (free.arg_true().cast(pl.UInt32) for free in (free_left, free_right))
    out = m - pairs.height - alone_right.len() - settled.bad_destination.height
    return Match(pairs, alone_left, alone_right, settled.bad_source, settled.bad_destination, out)


def key_text(keys: Sequence[str]) -> pl.Expr:
    """The key as one text: its columns joined with ``|``, null as the empty text."""
    parts = [pl.col(key).cast(pl.String).fill_null("") for key in keys]
    return parts[0] if len(parts) == 1 else pl.concat_str(parts, separator="|")


def share_a_key(frame: pl.DataFrame, other: pl.DataFrame) -> pl.Series:
    """Which rows have a key that is in the other frame, case and padding aside; both of key columns alone.

    Returns:
        Boolean, one a row of ``frame``; False where the key is blank.
    """
    if frame.is_empty() or other.is_empty():
        return pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    mine, theirs = _normal(_numbered_columns(frame)), _normal(_numbered_columns(other))
    rows = mine.with_row_index("row").join(theirs, on=mine.columns, how="semi")["row"]
    return ~_others(frame.height, [rows])


def _numbered_columns(side: pl.DataFrame) -> pl.DataFrame:
    """The key columns under names of our own, which none of the helper columns has."""
    return side.rename({name: f"key{at}" for at, name in enumerate(side.columns)})


def _is_plain(side: pl.DataFrame) -> bool:
    """Whether it is plain to see that no key of the side is blank or padded, nor can differ from another by case."""
    texts = [name for name, dtype in side.schema.items() if dtype == pl.String]
    faults = [pl.col(name).str.contains(_NOT_PLAIN).any() for name in texts]
    return sum(side.null_count().row(0)) == 0 and not (faults and side.select(pl.any_horizontal(faults)).item())


def _normal(side: pl.DataFrame) -> pl.DataFrame:
    """Each part trimmed and in small letters; a part that is blank is null."""
    parts = {
        name: pl.col(name).str.strip_chars().str.to_lowercase() for name, t in side.schema.items() if t == pl.String
    }
    return side.with_columns(**{name: pl.when(part != "").then(part) for name, part in parts.items()})


def _odd_rows(side: pl.DataFrame) -> pl.Series:
    """Rows whose key is bad by itself: a part of it is blank or padded."""
    faults = [pl.col(name).is_null() for name in side.columns]
    for name in (name for name, dtype in side.schema.items() if dtype == pl.String):
        stripped = pl.col(name).str.strip_chars()
        faults += [stripped == "", stripped.str.len_bytes() != pl.col(name).str.len_bytes()]
    return side.select(pl.any_horizontal([f.fill_null(False) for f in faults]).arg_true().cast(pl.UInt32)).to_series()


def _hashes(side: pl.DataFrame) -> pl.Series:
    """A 64-bit hash a row (UInt64); equal keys of either side have the same."""
    return side.hash_rows(_SEED)


def _numbered(form: pl.DataFrame, start: int, shift: int) -> pl.Series:
    """The upper bits of each row's hash, its number from ``start`` on in the lower ``shift`` bits (UInt64)."""
    number = pl.int_range(start, start + form.height, dtype=pl.UInt64)
    return pl.select((pl.lit(_hashes(form)) & _upper(shift)) | number).to_series()


def _upper(shift: int) -> pl.Expr:
    return pl.lit((1 << 64) - (1 << shift), dtype=pl.UInt64)


def _neighbours(ordered: pl.Series, n: int, shift: int) -> pl.DataFrame:
    """Rows in the order of their hashes, and how each stands to those beside it.

    Returns:
        ``row`` (source rows below n), ``next``, ``is_pair`` (it and the next have a hash that nobody else has, and
        they are of two sides), ``is_crowded`` (it shares its hash and is of no such pair).
    """
    code = pl.col("code")
    same = ((code & _upper(shift)) == (code & _upper(shift)).shift(-1)).fill_null(False)
    row = code & pl.lit((1 << shift) - 1, dtype=pl.UInt64)
    after, before = pl.col("same"), pl.col("same").shift(1, fill_value=False)
    alone_both = after & ~before & ~after.shift(-1, fill_value=False)
    return (
        ordered.to_frame("code")
        .lazy()
        .select(row=row, same=same)
        .with_columns(next=pl.col("row").shift(-1))
        .with_columns(is_pair=alone_both & (pl.col("row") < n) & (pl.col("next") >= n))
        .select(
            "row",
            "next",
            "is_pair",
            is_crowded=(after | before) & ~pl.col("is_pair") & ~pl.col("is_pair").shift(1, fill_value=False),
        )
        .collect()
    )


def _proposed(ordered: pl.DataFrame, n: int) -> pl.DataFrame:
    """The pairs by their hashes, by source row; columns of `_PAIRS`."""
    found = ordered.filter("is_pair").select("row", next=pl.col("next") - n)
    partner = pl.repeat(None, n, dtype=pl.UInt32, eager=True).scatter(found["row"], found["next"].cast(pl.UInt32))
    rows = partner.is_not_null().arg_true().cast(pl.UInt32)
    return pl.DataFrame({"source_row": rows, "destination_row": partner.drop_nulls()}, schema=_PAIRS)


def _same_keys(source: pl.DataFrame, destination: pl.DataFrame, pairs: pl.DataFrame) -> pl.Series:
    """Whether the keys of each pair are the same, to the letter."""
    left, right = pl.lit(pairs["source_row"]), pl.lit(pairs["destination_row"])
    same = [pl.lit(source[key]).gather(left) == pl.lit(destination[key]).gather(right) for key in source.columns]
    return pl.select(pl.all_horizontal(same).fill_null(False)).to_series()


def _chosen(side: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    return side[rows].with_columns(row=rows)


def _others(height: int, taken: list[pl.Series]) -> pl.Series:
    """Boolean, one a row: False for those whose numbers are among ``taken``."""
    return pl.repeat(True, height, dtype=pl.Boolean, eager=True).scatter(pl.concat(taken), False)


def _decide(left: pl.DataFrame, right: pl.DataFrame, in_scope: pl.Series | None) -> Match:
    """Match a few rows on the keys themselves; every row that shares a normal form with one of them is among them."""
    if left.is_empty() and right.is_empty():
        none = left["row"]
        return Match(_PAIRS.to_frame(), none, none, _BAD.to_frame(), _BAD.to_frame(), 0)
    keys = [name for name in left.columns if name != "row"]
    left, right = _formed(left, keys), _formed(right, keys)
    if in_scope is not None:
        wanted = right.join(left.filter(~pl.col("is_blank")), on="form", how="semi")["row"]
        right = right.filter(pl.lit(in_scope.gather(right["row"])) | pl.col("row").is_in(wanted.implode()))
    left, right = left.with_columns(reason=_fault(keys)), right.with_columns(reason=_fault(keys))
    left, right = _spoil(left, right), _spoil(right, left)
    good_left, good_right = (side.filter(pl.col("reason").is_null()) for side in (left, right))
    pairs = good_left.join(good_right, on=keys, how="inner").select(source_row="row", destination_row="row_right")
    bad = [side.filter(pl.col("reason").is_not_null()).select("row", "reason").sort("row") for side in (left, right)]
    alone_left = good_left.filter(~pl.col("row").is_in(pairs["source_row"].implode()))["row"]
    alone_right = good_right.filter(~pl.col("row").is_in(pairs["destination_row"].implode()))["row"]
    return Match(pairs.cast(_PAIRS), alone_left, alone_right, bad[0].cast(_BAD), bad[1].cast(_BAD), 0)


def _formed(side: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Add ``form``, the normal form of the key as one value, and what is wrong with the key by itself."""
    normal = _normal(side.select(keys))
    padded = [
        (pl.col(key).str.strip_chars() != pl.col(key)).fill_null(False) for key in keys if side[key].dtype == pl.String
    ]
    return side.with_columns(
        form=normal.to_struct(),
        is_blank=normal.select(pl.any_horizontal(pl.all().is_null())).to_series(),
        is_padded=pl.any_horizontal(padded) if padded else pl.lit(False),
    )


def _fault(keys: list[str]) -> pl.Expr:
    return (
        pl.when(pl.col("is_blank"))
        .then(pl.lit("blank_key"))
        .when(pl.struct(keys).is_duplicated())
        .then(pl.lit("repeated_key"))
        .when(pl.col("form").is_duplicated())
        .then(pl.lit("colliding_key"))
        .when(pl.col("is_padded"))
        .then(pl.lit("padded_key"))
    )


def _spoil(mine: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Hand what is wrong with a key on the other side on to the rows of the same key on this side."""
    faults = other.filter(pl.col("reason").is_not_null() & ~pl.col("is_blank"))
    faults = faults.sort("row").unique("form", keep="first").select("form", spoilt="reason")
    return (
        mine.join(faults, on="form", how="left", maintain_order="left")
        .with_columns(reason=pl.coalesce("reason", "spoilt"))
        .drop("spoilt")
    )
