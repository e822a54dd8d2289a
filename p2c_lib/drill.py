"""One document looked into: its header and every line of it, field by field, and its totals against its lines.

Pure: frames in, frames out. What is looked at is one document, so a loop here may go over its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import polars as pl

from p2c_lib.cells import as_text
from p2c_lib.errors import ParameterError
from p2c_lib.masking import Masker, personal_fields, personal_sources
from p2c_lib.model import FieldMap, Task, TieOut
from p2c_lib.model.tables import rule_text
from p2c_lib.pull import MONEY
from p2c_lib.tieout import tie_out

__all__ = ["FIELD_COLUMNS", "Frames", "Row", "document_of", "find_document", "look_at", "look_into", "score", "totals"]

FIELD_COLUMNS = pl.Schema(
    dict.fromkeys(
        ("field", "source_value", "rule", "expected", "found", "outcome", "reason", "remedy"),
        pl.String(),
    )
)
"""A row a field: what stands at the source, what the template says of it, what that makes, what stands at the
destination, and what became of it."""

_COMPARED = {
    "trim": "blanks around it",
    "case": "upper or lower case",
    "blank": "blanks only",
    "date": "the time of day",
}
_NEAR = 3
_ONE_BY_ONE = 100


@dataclass(frozen=True)
class Frames:
    """What a run kept of a task; frames may be lazy, only the rows of one document are read.

    Attributes:
        task: The task.
        source: As pulled, row i is what ``source_row`` i points to.
        expected: What the mapping made of it, the same rows.
        found: The destination's rows, to which ``destination_row`` points.
        rows: Outcomes of rows, those of `diff.Outcomes.rows`.
        outcomes: The explained table of everything that is not matched.
        freight_tax: Freight Tax lines at the destination, of a task of lines that has them: ``document``, ``amount``.
        masker: Makes tokens of personal values; None shows them.
    """

    task: Task
    source: pl.LazyFrame
    expected: pl.LazyFrame
    found: pl.LazyFrame
    rows: pl.LazyFrame
    outcomes: pl.LazyFrame
    freight_tax: pl.LazyFrame | None = None
    masker: Masker | None = None


@dataclass(frozen=True)
class Row:
    """A header or a line of a document: its key, what became of it, and its fields (`FIELD_COLUMNS`).

    ``reason`` and ``remedy`` are of the row as a whole, empty where its fields tell.
    """

    key: str
    side: str
    outcome: str
    reason: str
    remedy: str
    fields: pl.DataFrame


def document_column(task: Task, how: TieOut) -> str:
    """The column of a task's rows that names the document: of a header, or of a line."""
    return how.document if task.name == how.header else how.line_document


def of_documents(frames: Frames, how: TieOut) -> pl.LazyFrame:
    """Say of each row that has an outcome which document it belongs to.

    Returns:
        The columns of ``frames.rows`` and ``document``: the source's number, else the destination's; null for none.
    """
    name = document_column(frames.task, how)
    ours = frames.expected.select(ours=pl.col(name)).with_row_index("source_row")
    theirs = frames.found.select(theirs=pl.col(name)).with_row_index("destination_row")
    joined = frames.rows.join(ours, on="source_row", how="left").join(theirs, on="destination_row", how="left")
    return joined.with_columns(document=pl.coalesce("ours", "theirs")).drop("ours", "theirs")


def score(parts: Sequence[Frames], how: TieOut) -> pl.DataFrame:
    """Count what differs in each document.

    Args:
        parts: The header's frames, the lines' frames, or both.
        how: How header and lines belong together.

    Returns:
        ``document``, ``is_paired`` (one of its rows is on both sides), ``fields`` that differ, but for known quirks,
        ``alone`` (rows on one side only), ``blocked`` (rows with a bad key or without a parent, which are not
        compared), ``stake`` (the largest amount that one of its rows is worth). Documents that are on both sides come
        first, of the others there is less to see; then those in which most fields differ, and so on. Rows that the
        filter leaves out do not count.
    """
    scored = []
    for frames in parts:
        differs = pl.col("field").is_not_null() & (pl.col("code") != "quirk")
        cells = frames.outcomes.filter(differs).group_by("key").agg(cells=pl.len())
        rows = of_documents(frames, how).filter(pl.col("outcome") != "excluded")
        scored.append(
            rows.join(cells, on="key", how="left").select(
                "document",
                fields=pl.when(pl.col("outcome") == "mismatched").then("cells").fill_null(0),
                alone=pl.col("outcome").is_in(["missing", "extra"]).cast(pl.UInt32),
                blocked=(pl.col("outcome") == "blocked").cast(pl.UInt32),
                is_paired=pl.col("side") == "both",
                stake=pl.when(pl.col("outcome") != "matched").then(pl.col("amount")).fill_null(0).cast(MONEY),
            )
        )
    return (
        pl.concat(scored)
        .filter(pl.col("document").is_not_null())
        .group_by("document")
        .agg(pl.col("is_paired").any(), pl.col("fields", "alone", "blocked").sum(), pl.col("stake").max())
        .sort("is_paired", "fields", "alone", "blocked", "stake", "document", descending=[*[True] * 5, False])
        .collect()
    )


def find_document(parts: Sequence[Frames], how: TieOut, document: str) -> str:
    """Find a document by its number, compared trimmed and without case; "" takes the one in which most fields
    differ.

    Returns:
        Its number as it stands; "" where there is no document at all.

    Raises:
        ParameterError: No document has that number; with the nearest ones.
    """
    known = score(parts, how)["document"]
    wanted = document.strip()
    if not wanted:
        return str(known[0]) if known.len() else ""
    same = known.filter(known.str.strip_chars().str.to_lowercase() == wanted.lower())
    if same.len():
        return str(same[0])
    near = get_close_matches(wanted, known.to_list(), n=_NEAR, cutoff=0.4)
    told = f"; near: {', '.join(near)}" if near else ""
    raise ParameterError(f"no document '{document}' among the {known.len():,} of {parts[-1].task.name}{told}")


def look_into(frames: Frames, how: TieOut, document: str) -> list[Row]:
    """Look into the rows of a task that belong to a document.

    Args:
        frames: What the run kept of the task.
        how: How header and lines belong together.
        document: As `find_document` gave it.

    Returns:
        The rows in the order of their keys, those that the filter leaves out last.
    """
    task = frames.task
    mine = _rows_of(frames, how, document)
    if mine.is_empty():
        return []
    number = how.number if task.name != how.header else how.document
    sides = _sides(frames, mine)
    order = [
        _cell(sides["expected"], ours, number) or _cell(sides["found"], theirs, number) or ""
        for ours, theirs in mine.select("source_row", "destination_row").iter_rows()
    ]
    mine = mine.with_columns(order=pl.Series(order, dtype=pl.String).str.zfill(20))
    table = frames.outcomes.filter(pl.col("key").is_in(mine["key"].drop_nulls().implode())).collect()
    shown = mine.sort(pl.col("outcome") == "excluded", "order", "side", nulls_last=True)
    return [_row(task, one, sides, table) for one in shown.iter_rows(named=True)]


def _rows_of(frames: Frames, how: TieOut, document: str) -> pl.DataFrame:
    """The rows of one document, as `of_documents` tells them; no others are put together with their numbers."""
    name = document_column(frames.task, how)
    near = []
    for frame, number in ((frames.expected, "source_row"), (frames.found, "destination_row")):
        named = (
            frame.select(pl.col(name)).with_row_index("row").filter(pl.col(name) == document).select("row").collect()
        )
        near.append(pl.col(number).is_in(named["row"].implode()))
    rows = frames.rows.filter(pl.any_horizontal(near).fill_null(False))
    return of_documents(replace(frames, rows=rows), how).filter(pl.col("document") == document).collect()


def look_at(frames: Frames, key: str | None) -> list[Row]:
    """Look at the rows of a task that have a key, whatever their outcome.

    Args:
        frames: What the run kept of the task.
        key: As the outcomes have it; None is the blank one.

    Returns:
        One row, or several where the key is used more than once; in the order of the outcomes.
    """
    mine = frames.rows.filter(pl.col("key").eq_missing(pl.lit(key, pl.String))).collect()
    table = frames.outcomes.filter(pl.col("key").eq_missing(pl.lit(key, pl.String))).collect()
    sides = _sides(frames, mine)
    return [_row(frames.task, one, sides, table) for one in mine.iter_rows(named=True)]


def document_of(frames: Frames, how: TieOut, key: str | None) -> str:
    """The number of the document that the rows with a key belong to; "" where there is none."""
    mine = frames.rows.filter(pl.col("key").eq_missing(pl.lit(key, pl.String))).head(1).collect()
    name = document_column(frames.task, how)
    sides = ((frames.expected, "source_row"), (frames.found, "destination_row"))
    told = [text for frame, number in sides for text in _picked(frame.select(name), mine[number])[name] if text]
    return told[0] if told else ""


def _sides(frames: Frames, rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The three sides of some rows of outcomes, every value as text."""
    sides = {
        "source": _picked(frames.source, rows["source_row"]),
        "expected": _picked(frames.expected, rows["source_row"]),
        "found": _picked(frames.found, rows["destination_row"]),
    }
    if frames.masker is None:
        return sides
    ours = {"source": personal_sources(frames.task)}
    hidden = ours | dict.fromkeys(("expected", "found"), personal_fields(frames.task))
    return {side: _masked(frame, hidden[side], frames.masker) for side, frame in sides.items()}


def _masked(frame: pl.DataFrame, columns: Sequence[str], masker: Masker) -> pl.DataFrame:
    return frame.with_columns(masker.series(frame[name]) for name in columns if name in frame.columns)


def _picked(frame: pl.LazyFrame, numbers: pl.Series) -> pl.DataFrame:
    """The rows of these numbers, every value as text, with the number in ``row``."""
    wanted = numbers.drop_nulls().unique().sort().cast(pl.UInt32)
    if wanted.len() <= _ONE_BY_ONE:  # a slice reads its own part of a file, a filter by number all of it
        parts = [frame.slice(number, 1) for number in wanted] or [frame.head(0)]
        picked = pl.concat(parts).collect().insert_column(0, wanted.alias("row"))
    else:
        picked = frame.with_row_index("row").filter(pl.col("row").is_in(wanted.implode())).collect()
    return picked.select("row", *[as_text(name, picked.schema[name]) for name in picked.columns if name != "row"])


def _cell(frame: pl.DataFrame, row: int | None, name: str) -> str | None:
    if row is None or name not in frame.columns:
        return None
    value: str | None = frame.filter(pl.col("row") == row)[name].item()
    return value


def _row(task: Task, row: dict[str, Any], sides: dict[str, pl.DataFrame], table: pl.DataFrame) -> Row:
    ours, theirs = row["source_row"], row["destination_row"]
    said = table.filter(pl.col("key").eq_missing(pl.lit(row["key"], pl.String)))
    is_this = (pl.col("side") == row["side"]) & (pl.col("outcome") == row["outcome"])
    whole = said.filter(pl.col("field").is_null() & is_this).head(1).to_dicts()
    cells = {one["field"]: one for one in said.filter(pl.col("field").is_not_null()).to_dicts()}
    is_pair = ours is not None and theirs is not None
    fields = [
        _field(field, task, sides, (ours, theirs), cells.get(field.destination, {}) if is_pair else {})
        for field in task.fields
    ]
    return Row(
        key=str(row["key"] or ""),
        side=str(row["side"]),
        outcome=str(row["outcome"]),
        reason=(whole[0]["reason"] or "") if whole else "",
        remedy=(whole[0]["remedy"] or "") if whole else "",
        fields=pl.DataFrame(fields, schema=FIELD_COLUMNS, orient="row"),
    )


def _field(
    field: FieldMap,
    task: Task,
    sides: dict[str, pl.DataFrame],
    rows: tuple[int | None, int | None],
    cell: dict[str, str],
) -> tuple[str | None, ...]:
    ours, theirs = rows
    raw: str | None = ""
    if ours is not None and field.sources:
        values = {name: _cell(sides["source"], ours, name) for name in field.sources}
        raw = values[field.sources[0]] if len(values) == 1 else ", ".join(f"{k} = {v or ''}" for k, v in values.items())
    is_pair = ours is not None and theirs is not None
    agrees = "not compared" if not field.is_compared else "agrees"
    return (
        field.destination + (" (key)" if field.destination in task.key else ""),
        raw,
        rule_words(field, task),
        _cell(sides["expected"], ours, field.destination) if ours is not None else "",
        _cell(sides["found"], theirs, field.destination) if theirs is not None else "",
        cell.get("outcome", agrees if is_pair else ""),
        cell.get("reason", ""),
        cell.get("remedy", ""),
    )


def rule_words(field: FieldMap, task: Task) -> str:
    """What the template says of a field, in words: where the value comes from, how it is compared, what to know.

    Args:
        field: The field map.
        task: Its task, which knows the quirks of its value maps.

    Returns:
        A line each: ``copied from billto_line2``, ``counts as representation: blanks around it``, and the note.
    """
    return "\n".join(_rule_lines(field, task))


def _rule_lines(field: FieldMap, task: Task) -> Iterator[str]:
    yield ("copied from " if field.map == "copy" else "") + rule_text(field)
    if field.role == "computed":
        yield "worked out by the destination, never sent"
    if field.lookup:
        yield "looked up, so blanks and case make no difference"
    if field.normalise:
        yield f"counts as representation: {', '.join(_COMPARED[name] for name in field.normalise)}"
    if field.tolerance:
        yield f"up to {field.tolerance} apart is equal"
    if field.also:
        yield f"{' or '.join(field.also)} is right as well"
    if field.without:
        yield f"found is without {' and '.join(field.without)}"
    if field.note:
        yield f"({field.note})"
    yield from (f"known quirk: {quirk.says}" for one, quirk in task.quirks() if one is field)


def totals(header: Frames, lines: Frames, how: TieOut, document: str) -> pl.DataFrame:
    """Hold the header of a document against its lines, on each side.

    Args:
        header: The header task's frames.
        lines: The line task's frames.
        how: How their amounts belong together.
        document: As `find_document` gave it.

    Returns:
        A row a side that has the header: ``side``, ``lines`` (count), ``sum_of_lines``, each column that is added or
        taken off, ``total``, ``difference`` (`MONEY`), ``currency``. Rows that the filter leaves out do not count.
        Where the destination has Freight Tax lines, ``freight_tax_line`` is what they come to (null at the source);
        they are added in place of the header's tax on charges.
    """
    frames = []
    made = lines.freight_tax.collect() if lines.freight_tax is not None and how.freight_tax else None
    for side, label in (("expected", "source"), ("found", "destination")):
        heads, own = (_kept(part, how, document, side) for part in (header, lines))
        there = made if side == "found" else None
        named = f"{getattr(header.task, label).system}, {side}"
        tied = tie_out(heads, own, how, named, header.task.currency, there)
        parts = heads.select(pl.col(name).fill_null(0) for name in (*how.plus, *how.minus))
        line = pl.lit(None, MONEY)
        if there is not None and how.freight_tax is not None:
            line = (pl.col(how.freight_tax.tax) - pl.col("freight_tax_off")).cast(MONEY)
        both = pl.concat([tied.drop("document", "plus", "minus"), parts], how="horizontal")
        frames.append(both.with_columns(freight_tax_line=line))
    extra = ["freight_tax_line"] if made is not None else []
    return pl.concat(frames).select(
        "side", "lines", "sum_of_lines", *how.plus, *extra, *how.minus, "total", "difference", "currency"
    )


def _kept(frames: Frames, how: TieOut, document: str, side: str) -> pl.DataFrame:
    number = "source_row" if side == "expected" else "destination_row"
    mine = of_documents(frames, how).filter((pl.col("document") == document) & (pl.col("outcome") != "excluded"))
    numbers = mine.select(pl.col(number).drop_nulls().sort()).collect().to_series().cast(pl.UInt32)
    frame = frames.expected if side == "expected" else frames.found
    return frame.with_row_index("row").filter(pl.col("row").is_in(numbers.implode())).drop("row").collect()
