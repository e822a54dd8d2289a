"""Known quirks of templates held against a task's rows: where they show, and which differences they account for.

Pure: a task and frames in, frames out. A loop here runs over fields, never over rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from p2c_lib import mapping
from p2c_lib.cells import as_text
from p2c_lib.model import FieldMap, Quirk, Task

if TYPE_CHECKING:
    from p2c_lib.connect.metadata import Entity

QUIRK_COLUMNS = pl.Schema(
    {
        "task": pl.String(),
        "quirk": pl.String(),
        "says": pl.String(),
        "fields": pl.String(),
        "rows": pl.UInt32(),
        "differing": pl.UInt32(),
    }
)
"""A row for each quirk of a task: ``rows`` it touches, and in how many of them (``differing``) the destination has what
one would expect instead of what the template gives."""

TOUCHED = pl.Schema({"row": pl.UInt32(), "field": pl.String(), "quirk": pl.String(), "instead": pl.String()})

EXCUSED = ("different", "rounding", "representation", "truncated")
"""Outcomes of fields that a quirk can account for; a value that no map knows is still nothing that can be sent."""


def touched(source: pl.DataFrame, expected: pl.DataFrame, task: Task, destination: Entity) -> pl.DataFrame:
    """Find the values that the template's quirks make other than one would expect.

    Args:
        source: Rows as pulled, shape (n, c), with the columns that the quirks name.
        expected: What `mapping.expected` made of them.
        task: The task.
        destination: Its destination entity, from the live metadata.

    Returns:
        Columns of `TOUCHED`, a row for each value: ``row`` (in ``source``), ``field``, ``quirk`` (its name) and
        ``instead``, what one would expect as text, null where that is nothing.

    Raises:
        SchemaError: A column that a quirk names is missing.
    """
    found = [TOUCHED.to_frame()]
    for field, quirk in task.quirks():
        if not _is_usual_known(quirk):
            continue
        name = field.destination
        usual = mapping.expected(source, _usual(task, field, quirk), destination).rows[name]
        both = pl.DataFrame({"expected": expected[name], "instead": usual}).with_row_index("row")
        differ = both.filter(pl.col("expected").ne_missing(pl.col("instead")))
        texts = differ.select(
            "row", field=pl.lit(name), quirk=pl.lit(quirk.name), instead=as_text("instead", usual.dtype)
        )
        found.append(texts.cast(TOUCHED))
    return pl.concat(found)


def _usual(task: Task, field: FieldMap, quirk: Quirk) -> Task:
    """The task cut down to one field, as it would be without the quirk."""
    value_maps = dict(task.value_maps)
    if quirk.instead is not None:
        field = FieldMap(destination=field.destination, source=quirk.instead)
    elif field.value_map is not None:
        usual = value_maps[field.value_map]
        value_maps[field.value_map] = usual.model_copy(update={"entries": {**usual.entries, **quirk.entries}})
        field = field.model_copy(update={"blank_default": quirk.entries.get("", field.blank_default)})
    return task.model_copy(update={"key": {}, "fields": (field,), "value_maps": value_maps})


def accounted(
    cells: pl.DataFrame, touched: pl.DataFrame, task: Task | None = None, source: pl.DataFrame | None = None
) -> pl.Series:
    """Say which differing fields a quirk accounts for: the destination has what one would expect, or its own.

    Args:
        cells: Field outcomes: ``source_row``, ``field``, ``outcome``, ``expected``, ``found``.
        touched: What `touched` gave.
        task: The task, for the quirks that leave a field to the destination; none are looked at without it.
        source: Rows as pulled, for the quirks that show only where a column is not 0; everywhere without them.

    Returns:
        String, one a cell: the quirk's name, null where none accounts for it. A blank proves nothing: it may as well
        never have been sent.
    """
    known = touched.filter(pl.col("instead").is_not_null()).select("field", "quirk", source_row="row", found="instead")
    by = ["source_row", "field", "found"]
    known = known.unique(by, keep="first", maintain_order=True)
    joined = cells.join(known, on=by, how="left", maintain_order="left")
    own = [
        pl.when((pl.col("field") == field.destination) & _is_own(quirk) & _is_there(quirk, source))
        .then(pl.lit(quirk.name))
        for field, quirk in (task.quirks() if task else ())
        if quirk.own
    ]  # fmt: skip
    return joined.select(quirk=pl.when(pl.col("outcome").is_in(EXCUSED)).then(pl.coalesce("quirk", *own))).to_series()


def _is_own(quirk: Quirk) -> pl.Expr:
    """Whether what the destination has can be its own: any value, where nothing is sent, or an amount nearer to 0."""
    if quirk.own == "blank":
        return pl.col("expected").is_null()
    if quirk.own == "less":
        theirs, ours = (pl.col(name).cast(pl.Decimal(38, 12), strict=False).abs() for name in ("found", "expected"))
        return (theirs < ours).fill_null(False)
    return pl.lit(True)


def _is_there(quirk: Quirk, source: pl.DataFrame | None) -> pl.Expr:
    """Whether the column without which a quirk does not show is there, and not 0."""
    if quirk.where is None or source is None or quirk.where not in source.columns:
        return pl.lit(True)
    amounts = source[quirk.where].fill_null(0) != 0
    return pl.lit(amounts).gather(pl.col("source_row")).fill_null(False)


def counted(
    task: Task, touched: pl.DataFrame, cells: pl.DataFrame, accounted: pl.Series, flowing: pl.Series
) -> pl.DataFrame:
    """Count what the quirks of a task do.

    Args:
        task: The task.
        touched: What `touched` gave.
        cells: Field outcomes, for their ``source_row``.
        accounted: What `accounted` gave for them.
        flowing: Numbers (UInt32) of the source rows that the filter lets through; no others count.

    Returns:
        Columns of `QUIRK_COLUMNS`, in the order of the fields. A quirk for which nothing else is known touches
        every row that flows.
    """
    quirks = pl.DataFrame(
        [(quirk.name, quirk.says, field.destination, _is_usual_known(quirk)) for field, quirk in task.quirks()],
        schema={"quirk": pl.String, "says": pl.String, "field": pl.String, "is_known": pl.Boolean},
        orient="row",
    )
    named = quirks.group_by("quirk", maintain_order=True).agg(
        pl.col("says").first(), fields=pl.col("field").str.join(", "), is_known=pl.col("is_known").any()
    )
    rows = touched.filter(pl.col("row").is_in(flowing.implode())).group_by("quirk").agg(rows=pl.col("row").n_unique())
    differing = cells.select("source_row", quirk=accounted).drop_nulls("quirk")
    differing = differing.group_by("quirk").agg(differing=pl.col("source_row").n_unique())
    joined = named.join(rows, on="quirk", how="left", maintain_order="left")
    joined = joined.join(differing, on="quirk", how="left", maintain_order="left")
    return joined.with_columns(
        task=pl.lit(task.name),
        rows=pl.when("is_known").then(pl.col("rows").fill_null(0)).otherwise(flowing.len()),
        differing=pl.col("differing").fill_null(0),
    ).select(pl.col(name).cast(dtype) for name, dtype in QUIRK_COLUMNS.items())


def _is_usual_known(quirk: Quirk) -> bool:
    return quirk.instead is not None or bool(quirk.entries)
