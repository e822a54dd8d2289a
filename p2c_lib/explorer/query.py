"""What was asked of the records, and the answer: which are meant, in what order, one page of them, and all counts.

Pure: records in, plain values out. An answer is of the whole, never of a sample; only the page leaves the kernel.
Columns with few values are compared by their numbers, an order is worked out once a column, and what was worked out
for the last filters is kept, so that turning a page or sorting anew costs next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from functools import lru_cache
from threading import RLock
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.errors import ParameterError
from p2c_lib.explain import REASONS, money_text
from p2c_lib.explorer.records import FEW, Records
from p2c_lib.pull import MONEY

__all__ = ["FACETS", "NOW", "PAGE_ROWS", "SORTS", "Finder", "Found", "Mask", "Query"]

Mask: TypeAlias = npt.NDArray[np.bool_]
Order: TypeAlias = npt.NDArray[np.uint32]

FACETS = ("task", "outcome", "code", "field", "country", "currency", "state", "now")
"""What can be chosen from lists; "" is the value of records that have none."""
SORTS = ("key", "task", "outcome", "reason", "fields", "amount", "currency", "country", "age_days", "state")
NOW = ("", "in step", "differs", "gone", "conflict", "not written")
"""What became of a record that was sent from here: nothing yet, or as it was read back."""
PAGE_ROWS = 25
VALUES_SHOWN = 500
TEXT_SHOWN = 160
_PLACES = Decimal(1).scaleb(-12)  # those of MONEY
_LARGEST = Decimal(10) ** 25


@dataclass(frozen=True)
class Query:
    """What is asked; whatever is left empty leaves nothing out.

    Attributes:
        task: Names of tasks; as with every list, one of them is enough.
        outcome: Outcomes of rows.
        code: Codes of main reasons.
        field: Fields that differ.
        country: Of the record.
        currency: Of its amount.
        state: new, open, reopened.
        now: What became of it (`NOW`).
        amount_from: Worth at least this, whatever the sign, in its own currency.
        amount_to: Worth at most this.
        age_from: Has stood for at least so many days.
        age_to: For at most so many days.
        text: Stands in the key, in a value on either side, in a name or in the words of the reason; case does not
        matter. ticked: Only what is ticked.
        sort: One of `SORTS`; "" the order of the run.
        descending: From the other end; what has no value comes last either way.
        page: From 0.
    """

    task: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    field: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    currency: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    now: tuple[str, ...] = ()
    amount_from: Decimal | None = None
    amount_to: Decimal | None = None
    age_from: float | None = None
    age_to: float | None = None
    text: str = ""
    ticked: bool = False
    sort: str = ""
    descending: bool = False
    page: int = 0

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Query:
        """Read a query as a browser or a file tells it (JSON); amounts and ages are texts or numbers, "" is none.

        Raises:
            ParameterError: Something of it cannot be meant, with what would be right.
        """
        unknown = sorted(set(told) - {field.name for field in fields(cls)})
        if unknown:
            raise ParameterError(f"no filter {', '.join(unknown)}; known: {', '.join(f.name for f in fields(cls))}")
        made: dict[str, Any] = {}
        for name, value in told.items():
            if name in FACETS:
                made[name] = tuple(sorted({str(one) for one in value}))
            elif name.startswith("amount"):
                made[name] = _amount(name, value)
            elif name.startswith("age"):
                made[name] = _days(name, value)
            elif name in ("ticked", "descending"):
                made[name] = bool(value)
            else:
                made[name] = max(int(value), 0) if name == "page" else str(value)
        if made.get("sort", "") not in ("", *SORTS):
            raise ParameterError(f"no column '{made['sort']}' to sort by; known: {', '.join(SORTS)}")
        return cls(**{**made, "text": made.get("text", "").strip()})

    def told(self) -> dict[str, Any]:
        """The same as JSON holds it; what leaves nothing out is left out."""
        made = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: str(value) if isinstance(value, Decimal) else value for name, value in made.items()}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()
            if value not in (None, "", (), False) and not (name == "page" and value == 0)
        }

    @property
    def filters(self) -> Query:
        """The same but for order and page."""
        return replace(self, sort="", descending=False, page=0)


def _amount(name: str, value: Any) -> Decimal | None:
    if value in (None, ""):
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        raise ParameterError(f"'{value}' is no amount; write 1000 or 1000.50") from None
    if not amount.is_finite() or not 0 <= amount < _LARGEST:
        raise ParameterError(f"'{value}' is no amount to filter by; write 0 or more")
    return amount.quantize(_PLACES, ROUND_CEILING if name == "amount_from" else ROUND_FLOOR)


def _days(name: str, value: Any) -> float | None:
    if value in (None, ""):
        return None
    try:
        days = float(str(value).strip())
    except ValueError:
        days = math.nan
    if not 0 <= days < math.inf:
        raise ParameterError(f"'{value}' is no number of days; write 7 or 0.5")
    return days


@dataclass(frozen=True)
class Coded:
    """A column of few values: ``codes`` (n) are places in ``values``, of which the last, "", is that of no value."""

    values: tuple[str, ...]
    codes: npt.NDArray[np.unsignedinteger[Any]]

    @classmethod
    def of(cls, column: pl.Series) -> Coded:
        """Take a column of Enum apart."""
        assert isinstance(column.dtype, pl.Enum)
        values = (*column.dtype.categories.to_list(), "")
        kind = np.uint16 if len(values) < 2**16 else np.uint32
        return cls(values, column.to_physical().fill_null(len(values) - 1).to_numpy().astype(kind))

    def where(self, chosen: tuple[str, ...]) -> Mask:
        """Which rows have one of these values."""
        wanted = np.isin(np.array(self.values, dtype=object), list(chosen))
        mask: Mask = wanted[self.codes]
        return mask


@dataclass(frozen=True)
class Found:
    """The records that are meant.

    Attributes:
        mask: Which they are (n).
        rows: How many.
        facets: For each of `FACETS` the values with their counts, were nothing chosen of that facet itself, most first.
        stake: What the records are worth that keep the systems apart, exact, one text a currency.
    """

    mask: Mask
    rows: int
    facets: Mapping[str, list[tuple[str, int]]]
    stake: list[str]


class Finder:
    """Answers queries about records; made once for them, it keeps what it has worked out.

    Attributes:
        records: What it answers about.
        lock: To be held while it is asked, where several threads do.
    """

    def __init__(self, records: Records) -> None:
        self.lock = RLock()
        self.records = records
        self.height = records.rows.height
        self._few = {name: Coded.of(records.rows[name]) for name in FEW}
        self._fields = Coded.of(records.cells["field"])
        self._of_cell = records.cells["record"].to_numpy()
        self._now: npt.NDArray[np.uint8] = np.zeros(self.height, dtype=np.uint8)
        lowered = [pl.col(name).fill_null("").str.to_lowercase() for name in ("expected", "found")]
        self._values = records.cells.select(text=pl.concat_str(lowered, separator="\n"))["text"]
        self._keys = records.rows.select(pl.col("key").str.to_lowercase())["key"]
        apart = ~(pl.col("outcome").eq("excluded") | pl.col("code").eq_missing("quirk")) & (pl.col("amount") != 0)
        self._stake = records.rows.select("currency", amount=pl.when(apart).then("amount"))
        self.labels = _labels(records.rows)
        self._chosen = lru_cache(maxsize=48)(self._choose)
        self._in_range = lru_cache(maxsize=16)(self._range)
        self._with_text = lru_cache(maxsize=16)(self._text)
        self._order_of = lru_cache(maxsize=None)(self._order)
        self._kept: tuple[Any, Found] | None = None
        self._ordered: tuple[Any, npt.NDArray[Any]] | None = None

    # --- what became of records --------------------------------------------------------------------------------

    def settle(self, now: npt.NDArray[np.uint8]) -> None:
        """Say what became of the records, each a place in `NOW`."""
        self._now = now
        self._chosen.cache_clear()
        self._kept = self._ordered = None

    def places(self, keys: pl.DataFrame) -> npt.NDArray[np.uint32]:
        """The records with these keys.

        Args:
            keys: Columns ``task`` and ``key`` (String; null for a blank key); what is unknown is passed over.

        Returns:
            Their numbers, ascending; a key that is used several times gives several.
        """
        known = self.records.rows.lazy().select(pl.col("task").cast(pl.String), "key").with_row_index("record")
        wanted = keys.lazy().select("task", "key").cast(pl.String)
        found = known.join(wanted, on=["task", "key"], how="semi", nulls_equal=True).select("record").collect()
        return np.sort(found["record"].to_numpy())

    def keys(self, records: npt.NDArray[Any]) -> pl.DataFrame:
        """Columns ``task`` and ``key`` of records, each pair once."""
        picked = self.records.rows.select(pl.col("task").cast(pl.String), "key")[records]
        return picked.unique(maintain_order=True)

    # --- filters -----------------------------------------------------------------------------------------------

    def find(self, query: Query, ticked: Mask | None = None, revision: int = 0) -> Found:
        """Find what is meant.

        Args:
            query: What is asked.
            ticked: Which records are ticked (n); none by default.
            revision: Another number for each other ``ticked``, whoever asks.
        """
        known = (query.filters, revision if query.ticked else -1)
        if self._kept is None or self._kept[0] != known:
            self._kept = (known, self._find(query, ticked))
        return self._kept[1]

    def mask(self, query: Query, ticked: Mask | None = None) -> Mask:
        """Which records are meant (n)."""
        return self._narrowed(self._beside_lists(query, ticked), query, FACETS)

    def _find(self, query: Query, ticked: Mask | None) -> Found:
        rest = self._beside_lists(query, ticked)
        mask = self._narrowed(rest, query, FACETS)
        facets = {}
        for facet in FACETS:
            others = [name for name in FACETS if name != facet]
            among = self._narrowed(rest, query, others) if getattr(query, facet) else mask
            facets[facet] = self._counted(facet, among, getattr(query, facet))
        return Found(mask, int(np.count_nonzero(mask)), facets, self._worth(mask))

    def _beside_lists(self, query: Query, ticked: Mask | None) -> Mask:
        """What is left by ranges, text and ticks."""
        mask = np.ones(self.height, dtype=np.bool_)
        for name, low, high in (
            ("amount", query.amount_from, query.amount_to),
            ("age_days", query.age_from, query.age_to),
        ):
            if low is not None or high is not None:
                mask &= self._in_range(name, low, high)
        if query.text:
            mask &= self._with_text(query.text)
        if query.ticked:
            mask &= ticked if ticked is not None else np.zeros_like(mask)
        return mask

    def _narrowed(self, mask: Mask, query: Query, facets: tuple[str, ...] | list[str]) -> Mask:
        for facet in facets:
            if chosen := getattr(query, facet):
                mask = mask & self._chosen(facet, chosen)
        return mask

    def _coded(self, facet: str) -> Coded:
        return Coded(NOW, self._now) if facet == "now" else self._few[facet]

    def _choose(self, facet: str, chosen: tuple[str, ...]) -> Mask:
        if facet == "field":
            return self._records_of(self._fields.where(chosen))
        return self._coded(facet).where(chosen)

    def _records_of(self, cells: Mask) -> Mask:
        mask = np.zeros(self.height, dtype=np.bool_)
        mask[self._of_cell[cells]] = True
        return mask

    def _range(self, name: str, low: Any, high: Any) -> Mask:
        column, dtype = pl.col(name).abs() if name == "amount" else pl.col(name), self.records.rows.schema[name]
        bounds = [column >= pl.lit(low, dtype)] if low is not None else []
        bounds += [column <= pl.lit(high, dtype)] if high is not None else []
        return self.records.rows.select(pl.all_horizontal(bounds).fill_null(False)).to_series().to_numpy()

    def _text(self, text: str) -> Mask:
        wanted = text.lower()
        mask = self._keys.str.contains(wanted, literal=True).fill_null(False).to_numpy().copy()
        for coded in self._few.values():
            hit = np.array([wanted in value.lower() for value in coded.values])
            if hit.any():
                mask |= hit[coded.codes]
        return mask | self._records_of(self._values.str.contains(wanted, literal=True).to_numpy())

    def _counted(self, facet: str, mask: Mask, chosen: tuple[str, ...]) -> list[tuple[str, int]]:
        coded = self._fields if facet == "field" else self._coded(facet)
        among = coded.codes[mask[self._of_cell] if facet == "field" else mask]
        counts = np.bincount(among, minlength=len(coded.values))
        most = np.argsort(-counts, kind="stable")[:VALUES_SHOWN]
        shown = [(coded.values[place], int(counts[place])) for place in most if counts[place]]
        told = {value for value, _ in shown}
        return shown + [(value, 0) for value in chosen if value not in told]

    def _worth(self, mask: Mask) -> list[str]:
        found = (
            self._stake.lazy()
            .filter(pl.Series(mask))
            .drop_nulls("amount")
            .group_by("currency")
            .agg(pl.col("amount").sum(), rows=pl.len())
            .sort("rows", "currency", descending=[True, False])
            .select(pl.col("amount").cast(MONEY), pl.col("currency").cast(pl.String))
            .collect()
        )
        return [money_text(*one) for one in found.iter_rows()]

    # --- order and pages ---------------------------------------------------------------------------------------

    def warm(self) -> None:
        """Work out every order, so that nobody waits for one."""
        for name in SORTS:
            self._order_of(name)

    def _order(self, name: str) -> tuple[Order, int]:
        """The order of a column, and how many rows at its end have no value."""
        order = self.records.rows.select(pl.arg_sort_by(name, nulls_last=True, maintain_order=True)).to_series()
        return order.cast(pl.UInt32).to_numpy(), self.records.rows[name].null_count()

    def ordered(self, query: Query, ticked: Mask | None = None, revision: int = 0) -> npt.NDArray[Any]:
        """The numbers of all records that are meant, in the order that is asked for."""
        known = (query.filters, revision if query.ticked else -1, query.sort, query.descending)
        if self._ordered is None or self._ordered[0] != known:
            mask = self.find(query, ticked, revision).mask
            order: npt.NDArray[Any] = np.flatnonzero(mask)
            if not query.sort:
                order = order[::-1] if query.descending else order
            else:
                order, nulls = self._order_of(query.sort)
                if query.descending:
                    end = len(order) - nulls
                    order = np.concatenate([order[:end][::-1], order[end:]])
                order = order[mask[order]]
            self._ordered = (known, order)
        return self._ordered[1]

    def view(self, query: Query, ticked: Mask | None = None, revision: int = 0) -> dict[str, Any]:
        """Answer a query with what a page shows.

        Args:
            query: What is asked; a page beyond the last gives the last.
            ticked: Which records are ticked (n).
            revision: Another number for each other ``ticked``.

        Returns:
            Plain values for JSON: ``query``, ``rows`` (meant) ``of`` (all), ``page``, ``pages``, ``page_rows``,
            ``records`` (this page), ``tiles`` (each outcome: rows meant, rows of the run), ``facets`` (value, label,
            rows), ``stake``, ``ticked`` (in all) and ``ticked_here`` (of those that are meant).
        """
        found = self.find(query, ticked, revision)
        pages = max(-(-found.rows // PAGE_ROWS), 1)
        page = min(query.page, pages - 1)
        records = self.ordered(query, ticked, revision)[page * PAGE_ROWS : (page + 1) * PAGE_ROWS]
        among = dict(found.facets["outcome"])
        return {
            "query": replace(query, page=page).told(),
            "rows": found.rows,
            "of": self.height,
            "page": page,
            "pages": pages,
            "page_rows": PAGE_ROWS,
            "records": self._shown(records, ticked),
            "tiles": [
                {"outcome": name, "rows": among.get(name, 0), "of": self.records.counts[name]} for name in ROW_OUTCOMES
            ],
            "facets": {
                name: [
                    [value, self.labels.get(value, value) if name == "code" else value, rows] for value, rows in told
                ]
                for name, told in found.facets.items()
            },
            "stake": found.stake,
            "ticked": int(np.count_nonzero(ticked)) if ticked is not None else 0,
            "ticked_here": int(np.count_nonzero(ticked & found.mask)) if ticked is not None else 0,
        }

    def _shown(self, records: npt.NDArray[Any], ticked: Mask | None) -> list[dict[str, Any]]:
        """A page of records; a long text is cut, and its length told."""
        if not len(records):
            return []
        rows = self.records.rows[records].with_columns(pl.col(FEW).cast(pl.String))
        shown = []
        for number, row in zip(records.tolist(), rows.iter_rows(named=True), strict=True):
            names = (row["fields"] or "").split(", ")
            start, end = np.searchsorted(self._of_cell, [number, number + 1])
            cells = {cell["field"]: cell for cell in self.records.cells[int(start) : int(end)].iter_rows(named=True)}
            main = cells.get(names[0], {})
            shown.append(
                {
                    "record": number,
                    **{name: row[name] or "" for name in FEW if name != "fields"},
                    "key": cut(row["key"]),
                    "field": names[0],
                    "more": len(names) - 1,
                    "expected": cut(main.get("expected")),
                    "found": cut(main.get("found")),
                    "amount": money_text(row["amount"], row["currency"]),
                    "age_days": row["age_days"],
                    "now": NOW[self._now[number]],
                    "ticked": bool(ticked[number]) if ticked is not None else False,
                }
            )
        return shown


def cut(text: str | None, longest: int = TEXT_SHOWN) -> str:
    """A text as far as it is shown, with its length where it goes on; none is the empty text."""
    told = text or ""
    return told if len(told) <= longest else f"{told[:longest]}… ({len(told):,} characters)"


def _labels(rows: pl.DataFrame) -> dict[str, str]:
    """What each code says: its reason where it has only one, else what such reasons have in common."""
    told = rows.group_by("code").agg(pl.col("reason").cast(pl.String).first(), several=pl.col("reason").n_unique() > 1)
    return {
        code: REASONS[code].says if several and code in REASONS else reason or code
        for code, reason, several in told.cast({"code": pl.String}).iter_rows()
        if code is not None
    }
