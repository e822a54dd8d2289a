"""Figures of a run: frames to Altair charts, and charts to inline SVG that needs no network and no script."""

from p2c_lib.charts.base import SYSTEMS, mimebundle, static_html
from p2c_lib.charts.documents import STANDING_COLOURS, funnel_bars, lifecycle_bars
from p2c_lib.charts.quality import differing_over_time, quality_heatmap
from p2c_lib.charts.rows import FIELD_COLOURS, ROW_COLOURS, amount_by_currency, field_bars, outcome_bars, routing
from p2c_lib.charts.time import STATE_COLOURS, findings_over_time, money_over_time

__all__ = [
    "FIELD_COLOURS",
    "ROW_COLOURS",
    "STANDING_COLOURS",
    "STATE_COLOURS",
    "SYSTEMS",
    "amount_by_currency",
    "differing_over_time",
    "field_bars",
    "findings_over_time",
    "funnel_bars",
    "lifecycle_bars",
    "mimebundle",
    "money_over_time",
    "outcome_bars",
    "quality_heatmap",
    "routing",
    "static_html",
]
