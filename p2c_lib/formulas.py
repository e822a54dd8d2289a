"""Texts that a spreadsheet program would take for a formula, made harmless in files that people open with one."""

from __future__ import annotations

import polars as pl

__all__ = ["guarded", "unguarded"]

_STARTS = r"^'*\s*[=+\-@\t\r]"  # what Excel, LibreOffice and Google Sheets read as the beginning of a formula
_NUMBER = r"^-?\d+(\.\d+)?$"
_GUARDED = r"^'('*\s*[=+\-@\t\r])"


def guarded(frame: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before every text that begins like a formula; a number as text stays a number.

    Args:
        frame: Any.

    Returns:
        The frame, its String columns guarded.

    Source: OWASP, CSV Injection.
    """
    names = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    return frame.with_columns(
        pl.when(_is_formula(name)).then(_quoted(name)).otherwise(name).alias(name) for name in names
    )


def _is_formula(name: str) -> pl.Expr:
    return pl.col(name).str.contains(_STARTS) & ~pl.col(name).str.contains(_NUMBER)


def _quoted(name: str) -> pl.Expr:
    return pl.concat_str(pl.lit("'"), name)


def unguarded(frame: pl.DataFrame) -> pl.DataFrame:
    """Take the apostrophes off again."""
    return frame.with_columns(pl.col(pl.String).str.replace(_GUARDED, "${1}"))
