"""The explorer as it stands where nothing answers: in an executed copy, a page of HTML. Tiles and first page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import polars as pl

from p2c_lib.charts.rows import ROW_COLOURS
from p2c_lib.show import table, words

__all__ = ["page"]

_COLUMNS = ("key", "task", "outcome", "reason", "field", "expected", "found", "amount", "country", "age_days")
_TILE = (
    "display:inline-block;min-width:88px;margin:0 8px 8px 0;padding:6px 12px;"
    "border:1px solid #d9e0e6;border-radius:4px;border-left:5px solid {colour}"
)


def page(view: Mapping[str, Any]) -> str:
    """Show an answer as HTML, everything in it escaped.

    Args:
        view: As `Finder.view` gives it.

    Returns:
        A tile an outcome with the rows of the run, what is at stake, and the records of the page as a table.
    """
    tiles = "".join(
        f'<div style="{_TILE.format(colour=ROW_COLOURS[tile["outcome"]])}">'
        f"<b>{tile['of']:,}</b><br>{escape(tile['outcome'])}</div>"
        for tile in view["tiles"]
    )
    records = view["records"]
    if not records:
        return tiles + words("Nothing to explore: every row that flows is matched.")
    kinds = {name: pl.Float64() if name == "age_days" else pl.String() for name in _COLUMNS}
    rows = pl.DataFrame([[record[name] for name in _COLUMNS] for record in records], schema=kinds, orient="row")
    rows = rows.rename({"age_days": "days"}).with_columns(pl.col(pl.String).replace("", None).fill_null(""))
    stake = f"At stake: {'; '.join(view['stake'])}. " if view["stake"] else ""
    said = f"{stake}{len(records):,} of {view['rows']:,} records; run the notebook to filter, open and send them."
    shown: str = table(rows, said).data
    return tiles + shown
