"""What notebooks show: frames as tables, charts as images, parts that open, and progress; static HTML throughout.

A notebook never writes to an ``ipywidgets.Output``: that hangs headless runs now and then. Progress is a plain
display that is updated; tables and charts are HTML and images, so an executed copy shows them anywhere.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from html import escape
from types import TracebackType
from typing import Any

import polars as pl
from IPython.display import HTML, DisplayHandle, display

from p2c_lib import charts
from p2c_lib.markup import TEXT_SHOWN, html_table


def table(frame: pl.DataFrame, note: str = "", longest: int = TEXT_SHOWN, right: Sequence[str] = ("amount",)) -> HTML:
    """A frame as the report shows it, with ``note`` below it; ``longest`` and ``right`` as in `html_table`."""
    below = f"<p style='color:#5d6b78'>{escape(note)}</p>" if note else ""
    return HTML(html_table(frame, longest, right) + below)


def figure(chart: Any) -> str:
    """A chart as an image with all of it inside: JupyterLab strips SVG from the HTML of a notebook that it did not run
    itself, an executed copy for example, but not images."""
    drawn = charts.mimebundle(chart)
    data = base64.b64encode(drawn["image/svg+xml"].encode()).decode()
    return f'<img alt="{escape(drawn["text/plain"])}" src="data:image/svg+xml;base64,{data}" style="max-width:100%">'


class Progress:
    """A line that says how many rows have come; used as ``with Progress() as progress``."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._rows: dict[str, int] = {}
        self._shown = 0.0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, label: str, rows: int) -> None:
        """Take note of ``rows`` read of ``label``; shown at most five times a second."""
        self._rows[label] = rows
        if time.monotonic() - self._shown >= 0.2:
            self._show("reading")

    def _show(self, word: str) -> None:
        text = HTML(
            f"<code>{word} " + escape(" · ".join(f"{k}: {v:,} rows" for k, v in self._rows.items())) + "</code>"
        )
        self._shown = time.monotonic()
        if self._handle is None:
            self._handle = display(text, display_id=True)
        else:
            self._handle.update(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rows:
            self._show("stopped at" if error else "read")


def details(summary: str, inside: str, *, is_open: bool = False) -> str:
    """A part of a page that opens and closes; ``inside`` is HTML, ``summary`` plain text."""
    mark = " open" if is_open else ""
    return f"<details{mark}><summary>{escape(summary)}</summary>{inside}</details>"


def words(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"
