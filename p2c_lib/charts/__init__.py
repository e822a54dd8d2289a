"""Figures of a run: frames to Altair charts, and charts to inline SVG that needs no network and no script."""

from p2c_lib.charts.base import SYSTEMS, mimebundle, static_html
from p2c_lib.charts.documents import STANDING_COLOURS, funnel_bars, lifecycle_bars
from p2c_lib.charts.rows import FIELD_COLOURS, ROW_COLOURS, amount_by_currency, field_bars, outcome_bars, routing

__all__ = [
    "FIELD_COLOURS",
    "ROW_COLOURS",
    "STANDING_COLOURS",
    "SYSTEMS",
    "amount_by_currency",
    "field_bars",
    "funnel_bars",
    "lifecycle_bars",
    "mimebundle",
    "outcome_bars",
    "routing",
    "static_html",
]
