"""The calls of the quality notebook: the expectations of a run as scores."""

from __future__ import annotations

from pathlib import Path

from IPython.display import HTML, Markdown

from p2c_lib import charts
from p2c_lib.config import home
from p2c_lib.panels import QUALITY_NOTE
from p2c_lib.parameters import check_parameters
from p2c_lib.quality import overall, wide
from p2c_lib.report import Figures
from p2c_lib.show import figure, table, words

__all__ = ["Quality", "judge"]

NOTHING = "There is no finished run yet: `p2c run --all` makes one."


class Quality:
    """The expectations of a run. `judge` makes it; each method is a cell of the notebook."""

    def __init__(self, figures: Figures | None) -> None:
        self._figures = figures if figures is not None and figures.quality["checks"].sum() else None

    def scores(self) -> HTML:
        """Scores by task, side and dimension, with the change since the last run of the task."""
        if self._figures is None:
            return HTML(words(NOTHING))
        found = self._figures.quality
        return HTML(figure(charts.quality_heatmap(found)) + table(wide(found), QUALITY_NOTE).data)

    def worst(self) -> HTML:
        """The columns with the lowest scores, each with the expectation that most rows fail."""
        if self._figures is None or self._figures.worst.is_empty():
            return HTML(words("Nothing failed in any column."))
        return table(self._figures.worst)

    def failed(self) -> HTML:
        """Expectations that were not met, with keys."""
        if self._figures is None or self._figures.failed.is_empty():
            return HTML(words("Nothing failed."))
        return table(self._figures.failed)

    def finish(self) -> Markdown:
        """One score for the run, and where the pages of Great Expectations are."""
        if self._figures is None:
            return Markdown(NOTHING)
        index = self._figures.folder / "docs" / "index.html"
        docs = f"\n\nData Docs: `{index}`" if index.exists() else ""
        return Markdown(f"**Quality of the data: {overall(self._figures.quality):.1f} of 100.**{docs}")


def judge(*, run: str = "") -> Quality:
    """Look at the expectations of a run.

    Args:
        run: Its folder; "" takes the newest finished one below ``runs``.

    Raises:
        ParameterError: It is no text, or the folder holds no finished run.
    """
    check_parameters({"run": run}, {"run": str})
    folder = Path(run) if run else _newest()
    return Quality(Figures.of(folder) if folder else None)


def _newest() -> Path | None:
    finished = sorted(path.parent for path in (home() / "runs").glob("*/quality.parquet"))
    return finished[-1] if finished else None
