"""How figures are drawn: their colours, axes and fonts, and SVG that needs no network and no script."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from p2c_lib.errors import SchemaError

if TYPE_CHECKING:
    from altair import Chart, FacetChart, LayerChart

    AnyChart = Chart | FacetChart | LayerChart

ONE_COLOUR: Final = "#0072B2"
SYSTEMS: Final = {"sales": "Sales", "fno": "F&O"}
BAR: Final = 20
INK: Final = "#222222"
# How far a scale goes beyond its longest bar, so that there is room for the number beside it.
ROOM: Final = 2.0
_LINE: Final = 15
_LABEL_CHARS: Final = 44


def static_html(chart: AnyChart) -> str:
    """Draw a chart as inline SVG.

    Args:
        chart: Any Altair chart whose data is in it.

    Returns:
        One ``<svg>`` element: no script, no link, nothing loaded from anywhere; it shrinks to the page's width.
        Several of them can stand in one page. Equal charts give equal text.
    """
    return _fitted(_svg(chart))


def mimebundle(chart: AnyChart) -> dict[str, str]:
    """Give a chart in the forms that a notebook shows.

    Args:
        chart: Any Altair chart whose data is in it.

    Returns:
        ``text/html`` and ``image/svg+xml``, which need no script, and ``text/plain``; for
        ``IPython.display.display(..., raw=True)``.
    """
    described = getattr(chart, "description", None)
    drawn = _svg(chart)  # drawing is what takes the time
    return {
        "text/html": _fitted(drawn),
        "image/svg+xml": drawn,
        "text/plain": described if isinstance(described, str) else "chart",
    }


def _fitted(svg: str) -> str:
    return svg.replace("<svg ", '<svg style="max-width:100%;height:auto;overflow:visible" ', 1)


def _svg(chart: AnyChart) -> str:
    """Render a chart, with names inside it that no other chart of a page uses."""
    drawn = io.StringIO()
    chart.save(drawn, format="svg")
    text = drawn.getvalue()
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    # Every chart calls its clips and gradients clip0, gradient_0, ...: in one page the first would serve all.
    return re.sub(r'(\bid="|url\(#|href="#)((?:clip|gradient)\w*)', rf"\g<1>p2c-{mark}-\g<2>", text)


def require(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a frame that lacks columns."""
    lacking = [column for column in columns if column not in frame.columns]
    if lacking:
        raise SchemaError(f"chart: no column {', '.join(lacking)}; there are {', '.join(frame.columns) or 'none'}")


def room(base: AnyChart) -> AnyChart:
    """Draw nothing as far out as the numbers beside the bars go."""
    nothing: AnyChart = base.mark_point(opacity=0, size=1).encode(x="room:Q")
    return nothing


def plain_axis(label: str = "split(datum.label, '\\n')") -> Any:
    """Make an axis of names alone, none of them cut: a long one stands in several lines."""
    import altair as alt

    return alt.Axis(ticks=False, domain=False, labelLimit=0, labelPadding=6, labelColor=INK, labelExpr=label)


def in_lines(name: pl.Expr) -> pl.Expr:
    """Break a long name into lines, at its blanks and in front of its dots and brackets."""

    def broken(text: str) -> str:
        lines = [""]
        for piece in re.split(r"(?<=\s)|(?=[.(])", text):
            if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > _LABEL_CHARS:
                lines.append("")
            lines[-1] += piece
        return "\n".join(line.strip() for line in lines)

    return name.map_elements(broken, pl.String)


def step(names: Sequence[str]) -> int:
    """The height of a bar and of the space around it, enough for the name with the most lines."""
    return max(BAR, _LINE * max((name.count("\n") + 1 for name in names), default=1) + 2)


def system_column() -> Any:
    """A column for each system, Sales first."""
    import altair as alt

    header = alt.Header(labelFontWeight="bold", labelFontSize=12)
    return alt.Column("system:N", sort=list(SYSTEMS.values()), title=None, header=header)


def colours(field: str, colours: dict[str, str], *, legend: bool) -> Any:
    """Bind names to colours, always the same ones."""
    import altair as alt

    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", scale=scale, legend=alt.Legend(title=None, orient="top") if legend else None)


def finished(chart: AnyChart, description: str) -> AnyChart:
    """Give a chart its ground, its font and the words that a screen reader says."""
    finished: AnyChart = chart.properties(description=description, background="white", padding=16).configure(
        # Metrics that every system has a font for: the drawing measures texts here, the reader's browser draws them.
        font="Arial, Helvetica, sans-serif",
        view={"stroke": None},
        axis={"labelFontSize": 12},
        text={"fontSize": 12},
        header={"labelFontSize": 12, "labelColor": INK},
        legend={"labelFontSize": 12, "symbolType": "square"},
    )
    return finished
