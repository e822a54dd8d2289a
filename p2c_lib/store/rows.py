"""Rows on their way into the store: of the declared shape, each with a key of its own, each value fit for its column.

Pure: frames in, frames out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from p2c_lib.connect.metadata import near
from p2c_lib.connect.pages import ETAG
from p2c_lib.errors import SchemaError, StoreError
from p2c_lib.store.entities import RUN_ID, STAGED_AT, Declared

_SHOWN = 3
_SEED = 1  # one for both sides, or nothing would meet


def etag() -> pl.Expr:
    """The mark of a row as it stands: it changes with every change of the row."""
    moment = pl.col(STAGED_AT).dt.epoch("us").cast(pl.String)
    return pl.concat_str(pl.lit('W/"'), moment, pl.lit("-"), pl.col(RUN_ID).fill_null(""), pl.lit('"')).alias(ETAG)


def conform(frame: pl.DataFrame, declared: Declared, organization: str) -> pl.DataFrame:
    """Hold rows against what the entity declares.

    Args:
        frame: The key columns and any others of the entity; ``@odata.etag`` may stand beside them. The organisation's
            column may be left out.
        declared: The entity.
        organization: Whose rows they are.

    Returns:
        As many rows, the organisation filled in, columns in the declared order.

    Raises:
        SchemaError: Columns are unknown, missing, or of another dtype than declared.
        StoreError: A row belongs to another organisation, or a value does not fit its column.
    """
    problems = list(_shape_problems(frame, declared))
    if problems:
        raise SchemaError("\n".join(f"{declared.name}: {problem}" for problem in problems))
    own = pl.lit(organization).alias(declared.organization)
    if declared.organization in frame.columns:
        strangers = frame.filter(pl.col(declared.organization).ne_missing(organization))
        if strangers.height:
            raise StoreError(
                f"{declared.name}: {strangers.height} of {frame.height} rows are not of organisation '{organization}'"
            )
    frame = frame.with_columns(own)
    faults = list(_value_problems(frame, declared))
    if faults:
        raise StoreError("\n".join(f"{declared.name}.{fault}" for fault in faults))
    order = [name for name in declared.columns if name in frame.columns]
    return frame.select(*order, *([ETAG] if ETAG in frame.columns else []))


def _shape_problems(frame: pl.DataFrame, declared: Declared) -> Iterator[str]:
    for name, have in frame.schema.items():
        want = declared.schema.get(name) if name in declared.columns else None
        if name == ETAG:
            continue
        if want is None:
            yield f"no column '{name}'{near(name, dict(declared.columns))}"
        elif have != want:
            yield f"column '{name}' is {have}, declared as {want}"
    for name in declared.key:
        if name not in frame.columns:
            yield f"the key column '{name}' is missing"


def _value_problems(frame: pl.DataFrame, declared: Declared) -> Iterator[str]:
    """Texts longer than their column, and values that a picklist does not have."""
    for name, column in declared.columns.items():
        if name not in frame.columns or frame.schema[name] != pl.String:
            continue
        value = pl.col(name)
        if column.enum:
            bad, what = ~value.is_in(column.enum), f"is none of {', '.join(column.enum)}"
        elif column.max_length:
            bad, what = value.str.len_chars() > column.max_length, f"is longer than {column.max_length} characters"
        else:
            continue
        wrong = frame.filter(bad.fill_null(False))[name]
        if wrong.len():
            shown = f": {_samples(wrong)} " if column.enum else ", which may be personal and are not shown: each "
            yield f"{name}: {wrong.len()} of {frame.height} values{shown}{what}"


def check_keys(frames: Sequence[pl.DataFrame], declared: Declared) -> None:
    """Refuse rows that no key tells apart.

    Args:
        frames: Rows of one merge, as `conform` gives them.
        declared: The entity.

    Raises:
        StoreError: A key is null, blank, or stands twice, in one frame or in two.
    """
    keys = pl.concat([frame.select(declared.key) for frame in frames])
    problems = []
    for name in declared.key:
        is_text = keys.schema[name] == pl.String
        blank = keys[name].is_null() | (keys[name].str.strip_chars() == "") if is_text else keys[name].is_null()
        if count := int(blank.fill_null(True).sum()):
            problems.append(f"{count} of {keys.height} rows have no {name}")
    hashes = keys.hash_rows(_SEED)  # far cheaper than the keys; where all differ, so do the keys
    again = keys.clear() if hashes.n_unique() == keys.height else keys.filter(keys.is_duplicated())
    again = again.unique(maintain_order=True)
    if again.height:
        shown = "; ".join(", ".join(map(str, row)) for row in again.head(_SHOWN).iter_rows())
        problems.append(f"{again.height} keys stand more than once: {shown}")
    if problems:
        raise StoreError("\n".join(f"{declared.name}: {problem}; nothing was merged" for problem in problems))


@dataclass(frozen=True)
class Change:
    """What a frame changes about stored rows.

    Attributes:
        new: Rows that are not there, the frame's own columns.
        taken: Numbers of the stored rows that change (UInt32).
        changed: These rows, whole, as they are to be.
        stale: Keys of rows that somebody else changed since they were seen, and that would be changed again.
    """

    new: pl.DataFrame
    taken: pl.Series
    changed: pl.DataFrame
    stale: pl.DataFrame


def difference(frame: pl.DataFrame, partner: pl.Series, stored: pl.DataFrame, declared: Declared) -> Change:
    """Tell rows to insert and rows to update from those that stand as they should.

    Args:
        frame: As `conform` gives it. A row with an etag in ``@odata.etag`` is changed only if the stored one still has
            that mark, one with a null there only if there is none; without the column nothing is asked.
        partner: Of each of its rows the number of the stored one with its key, null where there is none.
        stored: The stored rows, whole.
        declared: The entity.

    Returns:
        What changes; every cell is held against its partner, exactly.
    """
    names = [name for name in frame.columns if name != ETAG and name not in declared.entity.key]
    # By stored row: so one of the two sides is read in order, and no wide join is ever made.
    pairs = pl.DataFrame({"stored": partner}).with_row_index("row").drop_nulls().sort("stored")
    left, right = pl.lit(pairs["row"]), pl.lit(pairs["stored"])
    frame = frame.rechunk()  # gathering from many chunks takes twice as long
    cells = [pl.lit(frame[name]).gather(left).ne_missing(pl.lit(stored[name]).gather(right)) for name in names]
    changes = pl.select(pl.any_horizontal(pl.repeat(False, pairs.height), *cells)).to_series()
    is_new, moved = partner.is_null(), pl.repeat(False, frame.height, eager=True)
    if ETAG in frame.columns:
        marks = pl.repeat(None, frame.height, dtype=pl.String, eager=True)
        marks = marks.scatter(pairs["row"], stored[pairs["stored"]].select(etag()).to_series())
        moved = frame[ETAG].ne_missing(marks)
    pairs = pairs.filter(changes)
    acts = is_new | pl.repeat(False, frame.height, eager=True).scatter(pairs["row"], True)
    pairs = pairs.filter(~moved.gather(pairs["row"]))
    updates = frame.select(names)[pairs["row"]]
    return Change(
        new=frame.filter(is_new & ~moved).drop(ETAG, strict=False),
        taken=pairs["stored"],
        changed=stored[pairs["stored"]].with_columns(updates.get_columns()),
        stale=frame.filter(acts & moved).select(declared.key),
    )


def partners(keys: pl.DataFrame, stored: pl.DataFrame) -> pl.Series:
    """Find stored rows by key: the hash proposes, the keys themselves decide.

    Args:
        keys: The key columns, each key once, shape (n, k).
        stored: The same columns of the stored rows, shape (m, k).

    Returns:
        UInt32 (n): the number of the stored row with that key, null where there is none.

    Raises:
        StoreError: A key stands more than once among the stored rows: another program put it there.
    """
    sides = [pl.DataFrame({"hash": side.hash_rows(_SEED)}).with_row_index("row") for side in (stored, keys)]
    pairs = sides[0].join(sides[1], on="hash", how="inner").select(stored="row", row="row_right")
    left, right = pl.lit(pairs["row"]), pl.lit(pairs["stored"])
    same = [pl.lit(keys[name]).gather(left).eq_missing(pl.lit(stored[name]).gather(right)) for name in keys.columns]
    pairs = pairs.filter(pl.select(pl.all_horizontal(same)).to_series())
    found = pl.repeat(None, keys.height, dtype=pl.UInt32, eager=True).scatter(pairs["row"], pairs["stored"])
    if found.count() != pairs.height:
        twice = keys[pairs["row"].filter(pairs["row"].is_duplicated()).unique().sort()]
        shown = "; ".join(", ".join(map(str, row)) for row in twice.head(_SHOWN).iter_rows())
        raise StoreError(f"{twice.height} keys stand more than once in the table; another program wrote them: {shown}")
    return found


def _samples(values: pl.Series) -> str:
    return ", ".join(f"'{value}'" for value in values.unique(maintain_order=True)[:_SHOWN])
