"""Frames as tables of HTML, the same in the report and in notebooks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import polars as pl

__all__ = ["TEXT_SHOWN", "environment", "html_table"]

TEXT_SHOWN = 200
LONGEST_WORD = 40


@dataclass(frozen=True)
class _Cell:
    """What stands in one cell: the text in pieces between which a line may break; ``before`` and ``after`` are the
    blanks around it, which nobody would see; ``cut`` is the length of a text that is not shown in full."""

    pieces: tuple[str, ...]
    style: str
    is_null: bool = False
    before: str = ""
    after: str = ""
    cut: int = 0


def html_table(frame: pl.DataFrame, longest: int = TEXT_SHOWN, right: Sequence[str] = ("amount",)) -> str:
    """A frame as a table, the same in the report and in notebooks; everything in it is escaped.

    Args:
        frame: What to show, all of it. Numbers stand to the right; null is shown as *empty*, blanks around a text as a
            mark.
        longest: A longer text is cut, and its number of characters said.
        right: Texts that stand to the right too: amounts.

    Returns:
        A ``<div>`` that scrolls sideways when it must.
    """
    is_right = [dtype.is_numeric() or name in right for name, dtype in frame.schema.items()]
    columns = list(zip([name.replace("_", " ") for name in frame.columns], is_right, strict=True))
    rows = [[_cell(*one, longest) for one in zip(row, is_right, strict=True)] for row in frame.iter_rows()]
    return environment().get_template("table.html.j2").render(columns=columns, rows=rows)


def _cell(value: Any, is_right: bool, longest: int) -> _Cell:
    style = f"vertical-align:top;text-align:{'right' if is_right else 'left'};white-space:"
    if value is None:
        return _Cell((), style + "pre", is_null=not is_right)
    if not isinstance(value, str):
        return _Cell((f"{value:,}" if is_right else str(value),), style + "pre")
    text, cut = value[:longest], len(value) if len(value) > longest else 0
    inner = text.strip()
    before = text[: len(text) - len(text.lstrip())] if inner else text
    after = text[len(text.rstrip()) :] if inner and not cut else ""
    # One word, a key for example, is not broken at its hyphens; a very long one may be, lest the table run away.
    is_word = is_right or (len(inner) <= LONGEST_WORD and not re.search(r"\s", inner))
    pieces = re.sub(rf"(\S{{{LONGEST_WORD}}})(?=\S)", "\\1\0", inner).split("\0")
    return _Cell(tuple(pieces), style + ("pre" if is_word else "pre-wrap"), False, before, after, cut)


@cache
def environment() -> jinja2.Environment:
    """The templates of pages; what is put into them is escaped."""
    loader = jinja2.PackageLoader("p2c_lib", "assets")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["thousands"] = "{:,}".format
    environment.filters["score"] = lambda score: "–" if score is None else f"{score:.1f}"
    environment.filters["css_text"] = lambda text: re.sub(r"[^\w-]", "", text)
    return environment
