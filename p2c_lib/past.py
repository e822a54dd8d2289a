"""The calls of the history notebook: runs over time, since when a finding stands, one run as it was."""

from __future__ import annotations

import polars as pl
from IPython.display import HTML, Markdown

from p2c_lib import charts
from p2c_lib.history import History, open_history
from p2c_lib.parameters import check_parameters, profile_for
from p2c_lib.report import with_money
from p2c_lib.show import figure, table, words

__all__ = ["Past", "look_back"]

SHOWN = 20
NOTHING = "No run is kept yet: every finished run is added by itself, an earlier one by `p2c history add DIR`."


class Past:
    """The runs of a profile. `look_back` makes it; each method is a cell of the notebook."""

    def __init__(self, history: History, task: str, run: str) -> None:
        self._history, self._task, self._run = history, task, run
        self._findings = history.findings(as_of=run, task=task)
        self._trend = history.trend(task)

    def trend(self) -> HTML:
        """How many findings each run left, and how many of these were new, reopened, or fixed since the run before."""
        whole = self._trend.filter(pl.col("findings").is_not_null())
        if whole.is_empty():
            return HTML(words(NOTHING))
        runs = whole.group_by("run", "started", maintain_order=True).agg(pl.col("differing", *_COUNTS).sum())
        return HTML(figure(charts.findings_over_time(whole)) + table(runs.tail(SHOWN).reverse()).data)

    def money(self) -> HTML:
        """What was at stake in each run, by currency."""
        money = self._history.money()
        money = money.filter(pl.col("task") == self._task) if self._task else money
        if money.is_empty():
            return HTML(words("No amount is at stake."))
        return HTML(figure(charts.money_over_time(money)))

    def states(self) -> HTML:
        """Findings by task: new, reopened, open, fixed."""
        counted = self._history.summary(self._findings)
        return table(counted) if counted.height else HTML(words("Nothing was ever found."))

    def oldest(self) -> HTML:
        """What stands open longest."""
        return self._listed(self._findings.filter(pl.col("state") != "fixed").sort("open_since"), "Nothing is open.")

    def reopened(self) -> HTML:
        """What came back after it had been gone, most often first."""
        back = self._findings.filter(pl.col("reopened") > 0).sort("reopened", descending=True, maintain_order=True)
        return self._listed(back, "Nothing came back.")

    def _listed(self, findings: pl.DataFrame, otherwise: str) -> HTML:
        if findings.is_empty():
            return HTML(words(otherwise))
        names = ["task", "key", "field", "state", "reason", "amount", "open_since", "age_days", "reopened", "runs"]
        shown = with_money(findings.head(SHOWN).select(*names, "currency"))
        more = f"{findings.height - SHOWN:,} more" if findings.height > SHOWN else ""
        return table(shown, more)

    def finish(self) -> Markdown:
        """The findings in one sentence."""
        counts = dict(self._findings["state"].value_counts().iter_rows())
        told = ", ".join(f"{counts.get(state, 0):,} {state}" for state in ("new", "reopened", "open", "fixed"))
        runs = self._history.runs()["run"].n_unique()
        when = f"as of run {self._run}" if self._run else "as of the newest run"
        return Markdown(f"**{runs:,} runs; findings {when}: {told}.**")


_COUNTS = ("findings", "new", "reopened", "fixed")


def look_back(*, task: str = "", run: str = "", profile: str = "", company: str = "") -> Past:
    """Look at the runs that are kept; nothing is read from either system.

    Args:
        task: One task alone; "" all of them.
        run: As of this run; "" as of the newest.
        profile: A profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox.
        company: F&O legal entity; "" takes the profile's.

    Raises:
        ParameterError: A value is of another type, or there is no such run.
    """
    given = {"task": task, "run": run, "profile": profile, "company": company}
    check_parameters(given, dict.fromkeys(given, str))
    return Past(open_history(profile_for(profile, company)), task, run)
