"""Rows on their way into the store: of the declared shape, each with a key of its own, each value fit for its column.

Pure: frames in, frames out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from p2c_lib.connect.metadata import near
from p2c_lib.connect.pages import ETAG
from p2c_lib.errors import SchemaError, StoreError
from p2c_lib.store.entities import RUN_ID, STAGED_AT, Declared

_SHOWN = 3


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
            yield f"{name}: {wrong.len()} of {frame.height} values: {_samples(wrong)} {what}"


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
    again = keys.filter(keys.is_duplicated()).unique(maintain_order=True)
    if again.height:
        shown = "; ".join(", ".join(map(str, row)) for row in again.head(_SHOWN).iter_rows())
        problems.append(f"{again.height} keys stand more than once: {shown}")
    if problems:
        raise StoreError("\n".join(f"{declared.name}: {problem}; nothing was merged" for problem in problems))


def difference(
    frame: pl.DataFrame, stored: pl.DataFrame, declared: Declared
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Tell rows to insert and rows to update from those that stand as they should.

    Args:
        frame: As `conform` gives it. A row with an etag in ``@odata.etag`` is changed only if the stored one still has
            that mark, one with a null there only if there is none; without the column nothing is asked.
        stored: The stored rows of these keys: the frame's columns, ``staged_at`` and ``run_id``.
        declared: The entity.

    Returns:
        Rows to insert, rows to update (both with the frame's own columns), and the keys of rows that were changed by
        somebody else since they were seen and would be changed again.
    """
    values = [name for name in frame.columns if name != ETAG]
    key, names = list(declared.key), [name for name in values if name not in declared.key]
    right = stored.select(*values, etag().alias("_etag"), pl.lit(True).alias("_is_stored"))
    joined = frame.join(right, on=key, how="left", suffix="_stored", maintain_order="left")
    is_new = pl.col("_is_stored").is_null()
    changes = pl.any_horizontal(pl.lit(False), *(pl.col(n).ne_missing(pl.col(f"{n}_stored")) for n in names))
    moved = pl.col(ETAG).ne_missing(pl.col("_etag")) if ETAG in frame.columns else pl.lit(False)
    acts = joined.select(insert=is_new & ~moved, update=~is_new & changes & ~moved, stale=moved & (is_new | changes))
    rows = joined.select(values)
    return rows.filter(acts["insert"]), rows.filter(acts["update"]), rows.filter(acts["stale"]).select(key)


def _samples(values: pl.Series) -> str:
    return ", ".join(f"'{value}'" for value in values.unique(maintain_order=True)[:_SHOWN])
