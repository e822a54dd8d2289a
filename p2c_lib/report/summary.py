"""A finished run in a few lines of Markdown, for a chat or a pull request; no text of the data is obeyed there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.quality import ALL, overall, wide
from p2c_lib.report.figures import Figures
from p2c_lib.report.tables import LONG_TEXT, over_tasks, with_money
from p2c_lib.validate import DIMENSIONS

REASONS_SHOWN = 10
LONGEST = 200

_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "$": "&#36;"})
_BACKSLASHED = re.compile(r"([\\`*\[\]~]|(?<![^\W_])_|_(?![^\W_]))")  # one within a word is no markup
_JOINER = "\u2060"  # nobody sees it, and no renderer takes the text around it for one word
_LINKED = re.compile(
    r"(?i)(?<=@)|(?<=[a-z]:)(?=//)|(?<=www)(?=\.)|(?<=#)(?=\w)|(?<=\bgh)(?=-\d)|(?<=\bmailto)(?=:)|(?<=\bxmpp)(?=:)"
)
_PLAIN = re.compile(r"[\w./: -]+", re.ASCII)


def inline(text: str, longest: int = LONGEST) -> str:
    """A text as Markdown that shows it and obeys nothing in it: no table, link, mention, markup or reference.

    Args:
        text: Any text.
        longest: A longer one is cut, and its number of characters said.

    Returns:
        One line. What nobody would see, and signs that turn the direction of writing, are named (``[U+202E]``).
    """
    cut = f"… ({len(text):,} characters)" if len(text) > longest else ""
    seen = "".join(_visible(sign) for sign in text[:longest])
    apart = _LINKED.sub(_JOINER, seen)
    return _BACKSLASHED.sub(r"\\\1", apart.translate(_ENTITIES)) + cut


def _visible(sign: str) -> str:
    if sign.isspace():
        return " "
    category = unicodedata.category(sign)
    return f"[U+{ord(sign):04X}]" if category in ("Cc", "Cf", "Cs", "Co", "Cn") and sign != "\u200d" else sign


def code(text: str) -> str:
    """A name of ours in a typewriter's face, where it is plain; else as `inline` has it."""
    return f"`{text}`" if _PLAIN.fullmatch(text) else inline(text)


def markdown(figures: Figures) -> str:
    """The verdict, what became of every row, what is at stake, the first reasons with remedies, what is new.

    Args:
        figures: Of a finished run.

    Returns:
        GitHub-flavoured Markdown, which chats and plain readers show as well.
    """
    run = figures.run
    mark = {0: "✅", 1: "⚠️"}.get(run["exit_code"], "❌")
    said = (run["started"], f"profile {run['profile']}", f"company {run['company']}")
    head = ", ".join([f"run {code(run['run_id'])}", *map(inline, said)])
    parts = [f"## {mark} {inline(figures.verdict)}", head, _outcomes(figures)]
    parts += [f"- {code(task)} failed: {inline(error, 500)}" for task, error in figures.failed_tasks.items()]
    parts += [*_reasons(figures), *_since(figures), *_quality(figures)]
    parts.append(f"Report: {code((figures.folder / 'report.html').as_posix())}")
    return "\n\n".join(part for part in parts if part) + "\n"


def write_summary(figures: Figures) -> Path:
    """Write ``summary.md`` into the run's folder."""
    path = figures.folder / "summary.md"
    path.write_text(markdown(figures), "utf-8")
    return path


def _outcomes(figures: Figures) -> str:
    if figures.outcomes.is_empty():
        return ""
    stakes = dict(with_money(figures.stakes).group_by("task").agg("amount").iter_rows())
    counts = ("source_rows", "destination_rows", *ROW_OUTCOMES)
    rows = [
        [code(row["task"]), *(f"{row[name]:,}" for name in counts), inline(", ".join(stakes.get(row["task"], [])))]
        for row in figures.outcomes.iter_rows(named=True)
    ]
    return _table(["task", *(name.replace("_", " ") for name in counts), "at stake"], rows, left=("task",))


def _reasons(figures: Figures) -> list[str]:
    told = over_tasks(figures.why)
    if told.is_empty():
        return []
    rows = [
        [
            f"{row['rows']:,}",
            row["severity"],
            inline(row["reason"]),
            inline(row["remedy"] or ""),
            inline(row["where"], LONG_TEXT),
        ]
        for row in told.head(REASONS_SHOWN).iter_rows(named=True)
    ]
    names = ["rows", "severity", "reason", "what puts it right", "where"]
    left = told.height - REASONS_SHOWN
    return [
        "### Why, and what puts it right",
        _table(names, rows, left=names[1:]) + (f"\n\n{left:,} more reasons are in the report." if left > 0 else ""),
    ]


def _since(figures: Figures) -> list[str]:
    lacks = figures.run.get("not_in_history")
    if lacks:
        return [inline(lacks, 500)]
    if figures.since.is_empty():
        return []
    counts = ["new", "reopened", "open", "fixed"]
    rows = [
        [code(row["task"]), *(f"{row[name]:,}" for name in counts), inline(row["oldest"] or "")]
        for row in figures.since.iter_rows(named=True)
    ]
    total = figures.since.select(pl.col(counts).sum()).row(0, named=True)
    said = ", ".join(f"{total[name]:,} {name}" for name in counts)
    names = ["task", *counts, "oldest since"]
    return ["### Since the last run", f"Rows and fields that differ: {said}.", _table(names, rows, left=names[:1])]


def _quality(figures: Figures) -> list[str]:
    whole = overall(figures.quality)
    if whole is None:
        return []
    names = [*DIMENSIONS, ALL]
    rows = []
    for row in wide(figures.quality).iter_rows(named=True):
        told = ["–" if row[name] is None else f"{row[name]:.1f}" for name in names]
        rows.append(
            [code(row["task"]), code(row["side"]), *told, "" if row["change"] is None else f"{row['change']:+.1f}"]
        )
    return [
        f"### Quality of the data: {whole:.1f} of 100",
        _table(["task", "side", *names, "change"], rows, left=("task", "side")),
    ]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]) -> str:
    """A table of cells that are Markdown already; columns that are not ``left`` stand to the right."""
    rule = ["---" if name in left else "---:" for name in names]
    return "\n".join("| " + " | ".join(row) + " |" for row in (names, rule, *rows))
