"""The frames of both systems while differences are put in, and the truth that is told about each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from p2c_lib.sandbox.changes import Change
from p2c_lib.sandbox.draw import Draw

__all__ = ["TRUTH", "Drift", "Ends", "Place", "Pool", "change_fields", "tidy"]

TRUTH = pl.Schema(dict.fromkeys(("task", "key", "field", "outcome", "before", "after"), pl.String))
JUST_NOW = "2026-01-02T08:30:00Z"  # when Sales rows were edited that were not sent yet
Place = tuple[str, str]  # system, entity set
CONTACTS, PRODUCTS, ITEMS = ("sales", "contacts"), ("sales", "products"), ("sales", "productpricelevels")


@dataclass(frozen=True)
class Ends:
    """Where a task reads and writes, and the key column of each side."""

    source: Place
    source_key: str
    destination: Place
    destination_key: str


def tidy(truth: pl.DataFrame) -> pl.DataFrame:
    """Each truth once, in order, with the columns `TRUTH`."""
    truth = truth.select(TRUTH.names()).cast(TRUTH)
    unique = truth.unique(["task", "key", "field", "outcome"], keep="first", maintain_order=True)
    return unique.sort("task", "key", "field", "outcome", nulls_last=True)


def _as_text(values: pl.Series) -> pl.Series:
    """Values as people write them, for the truth."""
    text = values.cast(pl.String)
    if values.dtype.is_decimal():
        text = text.str.replace(r"(\.\d\d\d*?)0+$", "${1}")
    return text


class Drift:
    """The frames while differences are put in. Row numbers and values stay as they were until `frames_now`."""

    def __init__(self, sales: dict[str, pl.DataFrame], fno: dict[str, pl.DataFrame], draw: Draw) -> None:
        self.frames = {("sales", name): frame for name, frame in sales.items()}
        self.frames |= {("fno", name): frame for name, frame in fno.items()}
        self.draw = draw
        self.gone: dict[Place, list[pl.Series]] = {}
        self.added: dict[Place, list[pl.DataFrame]] = {}
        self.truth: list[pl.DataFrame] = []
        self.used: dict[Place, list[pl.Series]] = {}
        self.edits: dict[tuple[Place, str], list[tuple[pl.Series, pl.Series]]] = {}

    def values(self, place: Place, column: str, rows: pl.Series) -> pl.Series:
        """Values of a column, without edits that are not settled."""
        return self.frames[place][column].gather(rows)

    def put(self, place: Place, column: str, rows: pl.Series, values: pl.Series | pl.Expr) -> None:
        """Set a column of some rows; a changed Sales row was modified just now. Kept until `frames_now`."""
        new = pl.select(values).to_series() if isinstance(values, pl.Expr) else values
        if new.len() == 1 != rows.len():
            new = new.new_from_index(0, rows.len())
        dtype = self.frames[place].schema[column]
        self.edits.setdefault((place, column), []).append((rows, new.cast(dtype)))
        if column != "modifiedon" and "modifiedon" in self.frames[place].columns:
            self.put(place, "modifiedon", rows, pl.lit(JUST_NOW).str.to_datetime(time_unit="us", time_zone="UTC"))

    def settle(self, place: Place, column: str) -> None:
        """Write the edits of a column into its frame, so that later rows are chosen by them."""
        edits = self.edits.pop((place, column), [])
        if edits:
            rows, values = (pl.concat(list(part)) for part in zip(*edits, strict=True))
            self.frames[place] = self.frames[place].with_columns(
                self.frames[place][column].clone().scatter(rows, values)
            )

    def drop(self, place: Place, rows: pl.Series) -> None:
        """Take rows away; a product takes its price list item along."""
        self.gone.setdefault(place, []).append(rows)
        if place == PRODUCTS:
            owners = self.values(PRODUCTS, "productid", rows)
            items = self.frames[ITEMS].select(pl.arg_where(pl.col("_productid_value").is_in(owners.implode())))
            self.drop(ITEMS, items.to_series())

    def copy(self, place: Place, rows: pl.Series, **changed: pl.Series | pl.Expr) -> None:
        """Add copies of rows, some columns changed."""
        self.added.setdefault(place, []).append(self.frames[place][rows].with_columns(**changed))

    def note(
        self,
        task: str,
        keys: pl.Series,
        outcome: str,
        field: str | None = None,
        before: pl.Series | None = None,
        after: pl.Series | None = None,
    ) -> None:
        """Tell the truth about rows, or about one field of them."""
        self.truth.append(
            pl.select(
                task=pl.lit(task),
                key=keys.fill_null(""),
                field=pl.lit(field, pl.String),
                outcome=pl.lit(outcome),
                before=pl.lit(None, pl.String) if before is None else _as_text(before),
                after=pl.lit(None, pl.String) if after is None else _as_text(after),
            )
        )

    def frames_now(self) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
        """Both systems with everything that was done; the frames here are given up."""
        for place, column in list(self.edits):
            self.settle(place, column)
        whole: dict[str, dict[str, pl.DataFrame]] = {"sales": {}, "fno": {}}
        for place in list(self.frames):
            kept = self.frames.pop(place)
            if place in self.gone:
                gone = pl.concat([rows.cast(pl.UInt32) for rows in self.gone[place]])
                kept = kept.filter(~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(gone.implode()))
            whole[place[0]][place[1]] = pl.concat([kept, *self.added.get(place, [])], rechunk=False)
        return whole["sales"], whole["fno"]


class Pool(Protocol):
    """Rows of a task that agree and are free to be changed."""

    task: str
    ends: Ends
    n: int

    def take(self, n: int, source: pl.Expr | None = None, destination: pl.Expr | None = None) -> pl.DataFrame:
        """Take up to `n` rows that meet a condition on either side: ``key``, ``source_row``, ``destination_row``."""


def change_fields(drift: Drift, pool: Pool, change: Change) -> None:
    """One kind of difference of fields, spread over the columns that it names."""
    place = pool.ends.source if change.at_source else pool.ends.destination
    number = "source_row" if change.at_source else "destination_row"
    for turn, edit in enumerate(change.edits):
        share = len(range(turn, pool.n, len(change.edits)))
        condition = edit.where if edit.where is not None else pl.col(edit.column).is_not_null()
        if not share:
            continue
        taken = pool.take(share, **{"source" if change.at_source else "destination": condition})
        if taken.is_empty():
            continue
        rows = taken[number]
        before = drift.values(place, edit.column, rows)
        after = before.to_frame("old").with_columns(new=edit.new)["new"]
        drift.put(place, edit.column, rows, after)
        for field in edit.fields:
            shown = [values.replace(edit.names) if edit.names else values for values in (before, after)]
            drift.note(pool.task, taken["key"], change.outcome, field, *shown)
        if edit.column == "lastname":
            _rename(drift, rows, after)


def _rename(drift: Drift, rows: pl.Series, last: pl.Series) -> None:
    """Full name as Sales builds it."""
    first = drift.values(CONTACTS, "firstname", rows)
    drift.put(CONTACTS, "fullname", rows, pl.concat_str(first, last, separator=" ", ignore_nulls=True))
