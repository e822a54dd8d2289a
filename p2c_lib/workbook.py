"""A finished run as a workbook: what people sort, filter and hand on; written in streams, however many rows differ.

The first sheets say what the report says. Then comes a sheet for each task and outcome with every row of
``outcomes.parquet``: nothing is left out, and what does not fit into a sheet goes on in the next one. A text stays a
text, whatever it looks like; an amount is a number unless a digit would be lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from babel.numbers import get_currency_precision

from p2c_lib.cells import FIELD_OUTCOMES, as_text
from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.quality import wide
from p2c_lib.report import Figures

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.worksheet import Worksheet

__all__ = ["ROWS_A_SHEET", "write_workbook"]

ROWS_A_SHEET = 1_048_575
"""Rows below the header: Excel's limit."""

LONGEST = 32_767
"""UTF-16 units that a cell holds: Excel's limit."""

EXACT_DIGITS = 15
"""Significant digits of a number that Excel keeps."""

_CHUNK = 20_000
_NAME = 31
_FORBIDDEN = str.maketrans("[]:*?/\\", "_" * 7)
_WIDTHS = {"task": 24, "key": 26, "field": 30, "outcome": 15, "reason": 44, "remedy": 48, "expected": 34, "found": 34}
_WIDTHS |= {"amount": 18, "currency": 10, "side": 12, "code": 18, "check": 60, "suite": 34, "value": 34, "keys": 50}
_WIDTHS |= {"what it is": 24, "says": 80, "known_quirk": 70, "cause": 60, "holds_up": 50, "document": 26}
_NOT_XML = r"[\x{FFFE}\x{FFFF}]"
_NOTE = (
    "Amounts are numbers, shown with all the digits they have. One of more than 15 digits would lose some as a number: "
    "it stands as a text, to the right of its cell. A text longer than 32,767 signs is cut, and says so."
)


def write_workbook(folder: Path, path: Path | None = None) -> Path:
    """Write a run as a workbook.

    Args:
        folder: Of a finished run.
        path: Where the workbook goes; default ``workbook.xlsx`` in the run's folder.

    Returns:
        Its path. It is whole or not there.

    Raises:
        ParameterError: The folder holds no run, or one that did not come to its end.

    A sheet holds a slice of rows in memory at a time. Rows that match are counted, and have no sheet.
    """
    import xlsxwriter

    figures = Figures.of(folder)
    target = path or folder / "workbook.xlsx"
    draft = target.with_name(target.name + ".tmp")
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
        "default_date_format": "yyyy-mm-dd hh:mm",
        "tmpdir": str(target.parent),  # rows wait on disk; a small /tmp would not hold them
    }
    try:
        with xlsxwriter.Workbook(str(draft), options) as book:
            sheets = _Sheets(book)
            _front(sheets, figures)
            for task in figures.outcomes["task"]:
                for outcome in (name for name in ROW_OUTCOMES if name != "matched"):
                    _rows(sheets, folder, task, outcome)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def _front(sheets: _Sheets, figures: Figures) -> None:
    """The sheets that say what the report says."""
    run = figures.run
    about = {
        "verdict": figures.verdict,
        "run": run["run_id"],
        "started (UTC)": datetime.fromisoformat(run["started"]).replace(tzinfo=None),
        "finished (UTC)": datetime.fromisoformat(run["finished"]).replace(tzinfo=None),
        "profile": run["profile"],
        "company": run["company"],
        "Sales": run.get("sales_url", ""),
        "F&O": run.get("fno_url", ""),
        **{f"version of {name}": text for name, text in run.get("versions", {}).items()},
        "SHA-256 of all that was compared": figures.fingerprint,
        **{f"failed: {task}": error for task, error in figures.failed_tasks.items()},
        "amounts and texts": _NOTE,
        "sheets": "One for each task and outcome, with every row; a mismatched row has a line for each field that "
        "differs. Rows that match are counted under outcomes.",
    }
    sheets.pairs("about", about)
    sheets.frame("outcomes", figures.outcomes)
    sheets.frame("at stake", figures.stakes)
    sheets.frame("sums", figures.sums)
    sheets.frame("do sums tie", figures.tied.with_columns(pl.col("ties").replace_strict({True: "yes", False: "no"})))
    sheets.frame("source to destination", figures.bridge.drop("ties"))
    sheets.frame("reasons", figures.reason_sums)
    sheets.frame("quality", wide(figures.quality))
    sheets.frame("worst columns", figures.worst)
    sheets.frame("since when", figures.since)
    sheets.frame("failed checks", figures.failed)
    sheets.frame("unmapped values", figures.unmapped)
    sheets.frame("held up", figures.held)
    sheets.frame("known quirks", figures.quirks)


def _rows(sheets: _Sheets, folder: Path, task: str, outcome: str) -> None:
    """Every row of a task with an outcome; of a mismatched row every field that differs."""
    wanted = pl.col("outcome").is_in(FIELD_OUTCOMES) if outcome == "mismatched" else pl.col("outcome") == outcome
    names = ["key", "field", "outcome", "expected", "found"] if outcome == "mismatched" else ["key", "side"]
    names += ["amount", "currency", "reason", "remedy", "code"]
    found = pl.scan_parquet(folder / "outcomes.parquet").filter(pl.col("task") == task, wanted).select(names)
    chunks = found.collect_batches(chunk_size=_CHUNK, maintain_order=True)
    sheets.stream(f"{task} {outcome}", outcome, names, chunks)


class _Sheets:
    """The sheets of a workbook, written one after the other from top to bottom."""

    def __init__(self, book: Workbook) -> None:
        self._book = book
        self._taken: set[str] = set()
        head = {"bold": True, "bg_color": "#E8EDF2", "bottom": 1, "text_wrap": True, "valign": "top"}
        self._head = book.add_format(head)
        self._text = book.add_format({"num_format": "@", "valign": "top"})
        self._wrapped = book.add_format({"num_format": "@", "text_wrap": True, "valign": "top"})
        self._right = book.add_format({"num_format": "@", "align": "right"})
        self._whole = book.add_format({"num_format": "#,##0"})
        self._moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm", "align": "left"})
        self._number = cache(
            lambda places: book.add_format({"num_format": "#,##0" + "." * (places > 0) + "0" * places})
        )

    def pairs(self, name: str, facts: dict[str, Any]) -> None:
        """A sheet of names and what is to be said of them."""
        sheet = self._sheet(name, ["what it is", "says"])
        for row, (what, says) in enumerate(facts.items(), start=1):
            sheet.write_string(row, 0, what, self._text)
            if isinstance(says, datetime):
                sheet.write_datetime(row, 1, says, self._moment)
            else:
                sheet.write_string(row, 1, fitting(pl.Series([says]))[0], self._wrapped)

    def frame(self, name: str, frame: pl.DataFrame) -> None:
        """A sheet of a small frame; none of a frame without rows."""
        if frame.height:
            self.stream(name, "", frame.columns, iter([frame]))

    def stream(self, name: str, suffix: str, names: Sequence[str], chunks: Iterator[pl.DataFrame]) -> None:
        """A sheet of frames that come one after the other, and more of them where one cannot hold all; none of none."""
        sheet, row = None, 0
        for chunk in chunks:
            rest = chunk
            while rest.height:
                if sheet is None or row == ROWS_A_SHEET:
                    self._close(sheet, row, names)
                    sheet, row = self._sheet(self._free(name, suffix), names), 0
                part, rest = rest.head(ROWS_A_SHEET - row), rest.slice(ROWS_A_SHEET - row)
                self._write(sheet, row + 1, part)
                row += part.height
        self._close(sheet, row, names)

    def _sheet(self, name: str, names: Sequence[str]) -> Worksheet:
        sheet = self._book.add_worksheet(name)
        self._taken.add(name.lower())
        for column, title in enumerate(names):
            sheet.write_string(0, column, title.replace("_", " "), self._head)
            sheet.set_column(column, column, _WIDTHS.get(title, 14))
        sheet.freeze_panes(1, 1)
        sheet.set_landscape()
        sheet.set_paper(9)
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(0)
        sheet.set_footer("&L&A&R&P / &N")
        return sheet

    def _close(self, sheet: Worksheet | None, rows: int, names: Sequence[str]) -> None:
        if sheet is not None:
            sheet.autofilter(0, 0, rows, len(names) - 1)

    def _free(self, name: str, suffix: str) -> str:
        """A name that no sheet has yet, no longer than Excel allows; its last word, the outcome, is kept."""
        stem = name.removesuffix(suffix).translate(_FORBIDDEN).strip().strip("'")
        for number in range(1, len(self._taken) + 2):
            tail = (f" {suffix}" if suffix else "") + (f" {number}" if number > 1 else "")
            free = stem[: _NAME - len(tail)] + tail
            if free.lower() not in self._taken:
                return free
        raise AssertionError("one number more than there are sheets is always free")

    def _write(self, sheet: Worksheet, first: int, frame: pl.DataFrame) -> None:
        """Write rows: an export to a format that takes one cell after the other."""
        writers = [self._writer(sheet, column, series, frame) for column, series in enumerate(frame.get_columns())]
        for row in range(frame.height):
            for write in writers:
                write(first + row, row)

    def _writer(self, sheet: Worksheet, column: int, series: pl.Series, frame: pl.DataFrame) -> Any:
        """What writes one value of a column; nothing is written of null."""
        dtype = series.dtype
        if dtype.is_decimal():
            return self._amount_writer(sheet, column, series, frame)
        if dtype.is_temporal():
            moments = series.dt.replace_time_zone(None).to_list() if dtype == pl.Datetime else series.to_list()
            return _each(moments, lambda row, value: sheet.write_datetime(row, column, value, self._moment))
        if dtype.is_integer():
            return _each(series.to_list(), lambda row, value: sheet.write_number(row, column, value, self._whole))
        if dtype.is_float():
            number = self._number(1)
            return _each(series.to_list(), lambda row, value: sheet.write_number(row, column, value, number))
        texts = fitting(series.cast(pl.String)).to_list()
        return _each(texts, lambda row, value: sheet.write_string(row, column, value, self._text))

    def _amount_writer(self, sheet: Worksheet, column: int, series: pl.Series, frame: pl.DataFrame) -> Any:
        """Amounts as numbers in the form of their currency; as texts where a number would not hold every digit."""
        codes = frame["currency"] if "currency" in frame.columns else pl.Series([None] * frame.height, dtype=pl.String)
        known = {code: get_currency_precision(code or "") for code in codes.unique()}
        text = series.to_frame("amount").select(as_text("amount", dtype=series.dtype))["amount"]
        digits = text.str.replace_all(r"[-.]", "").str.strip_chars_start("0").str.len_chars()
        # 1000 has four digits here, though one is all that counts: never too few
        decimals = text.str.split(".").list.get(1, null_on_oob=True).str.len_chars().fill_null(0)
        least = codes.replace_strict(known, return_dtype=pl.UInt32)
        places = pl.select(pl.max_horizontal(decimals.cast(pl.UInt32), least)).to_series().to_list()
        exact = (digits <= EXACT_DIGITS).to_list()
        numbers = text.cast(pl.Float64).to_list()

        def write(row: int, at: int) -> None:
            if numbers[at] is None:
                return
            if exact[at]:
                sheet.write_number(row, column, numbers[at], self._number(places[at]))
            else:
                sheet.write_string(row, column, text[at], self._right)

        return write


def _each(values: list[Any], write: Any) -> Any:
    def one(row: int, at: int) -> None:
        value = values[at]
        if value is not None:
            write(row, value)

    return one


def fitting(texts: pl.Series) -> pl.Series:
    """Texts as a cell can hold them.

    Args:
        texts: String.

    Returns:
        The same, but for one longer than Excel's 32,767 UTF-16 units: its beginning, and how many signs it has. Two
        signs that XML knows not become U+FFFD.
    """
    if texts.str.contains(_NOT_XML).any():
        texts = texts.str.replace_all(_NOT_XML, "\ufffd")
    if (texts.str.len_chars() * 2 > LONGEST).any():  # a sign has at most two units
        return texts.map_elements(_cut, pl.String)
    return texts


def _cut(text: str) -> str:
    units = text.encode("utf-16-le")
    if len(units) <= 2 * LONGEST:
        return text
    mark = f"… ({len(text):,} characters)"
    return units[: 2 * (LONGEST - len(mark))].decode("utf-16-le", "ignore") + mark
