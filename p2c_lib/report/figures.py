"""A run's files, each read once: the one source of the figures that its page, summary and workbook show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib.digest import combined
from p2c_lib.errors import ParameterError
from p2c_lib.explain import main_reasons
from p2c_lib.folder import read_run
from p2c_lib.quality import QUALITY_COLUMNS, worst_columns
from p2c_lib.report import tables
from p2c_lib.sums import SUM_COLUMNS, bridge, tied

_NEEDED = ("checks.json", "outcomes.parquet", "reasons.parquet", "quirks.parquet")


@dataclass(frozen=True)
class Figures:
    """A finished run. `of` opens its folder; each frame is read or worked out when it is first asked for.

    Attributes:
        folder: The run's.
        run: What stands in its ``run.json``.
    """

    folder: Path
    run: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Figures:
        """Open a run's folder.

        Raises:
            ParameterError: It holds no run, or one that did not come to its end or is an older version's.
        """
        run = read_run(folder)
        if "finished" not in run or not all((folder / name).exists() for name in _NEEDED):
            raise ParameterError(
                f"{folder}: this run did not come to its end; run again, also if an older version made it"
            )
        return cls(folder, run)

    @cached_property
    def verdict(self) -> str:
        """The run in one sentence."""
        return tables.verdict(self.run)

    @cached_property
    def outcomes(self) -> pl.DataFrame:
        """What became of every row: `tables.outcome_table`."""
        return tables.outcome_table(self.run)

    @cached_property
    def stakes(self) -> pl.DataFrame:
        """The money at stake: task, currency, amount (Decimal)."""
        return tables.at_stake(self.run)

    @cached_property
    def failed_tasks(self) -> dict[str, str]:
        """Tasks that did not come to their end, and why."""
        return {task["task"]: task["error"] for task in self.run["tasks"] if "error" in task}

    @cached_property
    def differing(self) -> pl.DataFrame:
        """Columns of `explain.OUTCOME_COLUMNS`: all that is not matched."""
        return self._read("outcomes")

    @cached_property
    def main(self) -> pl.DataFrame:
        """Each row that differs with its main reason (`explain.REASON_COLUMNS`); known quirks are left out."""
        return self._read("reasons").filter(pl.col("code") != "quirk")

    @cached_property
    def why(self) -> pl.DataFrame:
        """Rows that differ by their main reason, task by task: `tables.by_reason`."""
        return tables.by_reason(self.main)

    @cached_property
    def reason_sums(self) -> pl.DataFrame:
        """What `why` says, each currency apart: task, severity, outcome, reason, remedy, rows, currency, amount."""
        by = ["task", "severity", "outcome", "reason", "remedy"]
        sums = self.main.group_by(*by, "currency").agg(rows=pl.len(), amount=pl.col("amount").sum())
        order = self.why.select(by).with_row_index("place")
        placed = sums.join(order, on=by, nulls_equal=True).sort("place", "currency", nulls_last=True)
        return placed.select(*by, "rows", "currency", "amount")

    @cached_property
    def left_out(self) -> pl.DataFrame:
        """Rows that filters leave out, by condition: `tables.by_reason`."""
        path = self.folder / "outcomes.parquet"
        return tables.by_reason(main_reasons(pl.scan_parquet(path).filter(pl.col("outcome") == "excluded").collect()))

    @cached_property
    def checks(self) -> list[dict[str, Any]]:
        """The expectations of all suites, as they stand in ``checks.json``."""
        found: list[dict[str, Any]] = json.loads((self.folder / "checks.json").read_text("utf-8"))
        return found

    @cached_property
    def failed(self) -> pl.DataFrame:
        """Expectations that were not met: `tables.failed_checks`."""
        return tables.failed_checks(self.checks)

    @cached_property
    def since(self) -> pl.DataFrame:
        """What is new, back, open and fixed, by task: `tables.since_when`."""
        return tables.since_when(self.folder)

    @cached_property
    def ties(self) -> pl.DataFrame:
        """Documents on both sides, each against its lines (`tieout.ACROSS_COLUMNS`)."""
        return self._read("ties")

    @cached_property
    def held(self) -> pl.DataFrame:
        """What holds rows up, each cause once: `tables.causes`."""
        return tables.causes(self._read("blocked"))

    @cached_property
    def quirks(self) -> pl.DataFrame:
        """Known quirks of templates that touch rows: `tables.quirk_table`."""
        return tables.quirk_table(self._read("quirks"))

    @cached_property
    def unmapped(self) -> pl.DataFrame:
        """Source values that no value map knows (`folder.UNMAPPED_COLUMNS`)."""
        return self._read("unmapped")

    @cached_property
    def sums(self) -> pl.DataFrame:
        """Rows and money of both sides by outcome (`sums.SUM_COLUMNS`); no row where an older version made the run."""
        return self._read("sums") if self._has("sums") else SUM_COLUMNS.to_frame()

    @cached_property
    def tied(self) -> pl.DataFrame:
        """Whether the outcomes of each side come to what was read of it: `sums.tied`."""
        return tied(self.sums)

    @cached_property
    def bridge(self) -> pl.DataFrame:
        """From the money of the source to that of the destination: `sums.bridge`."""
        return bridge(self.sums)

    @cached_property
    def quality(self) -> pl.DataFrame:
        """Scores of the data (`quality.QUALITY_COLUMNS`); no row where nothing was validated."""
        return self._read("quality") if self._has("quality") else QUALITY_COLUMNS.to_frame()

    @cached_property
    def worst(self) -> pl.DataFrame:
        """The columns with the lowest scores: `quality.worst_columns`."""
        return worst_columns(self.checks)

    @cached_property
    def trend(self) -> pl.DataFrame:
        """This run beside earlier ones of the same tasks: `tables.trend`."""
        return tables.trend(self._read("trend"), self.run) if self._has("trend") else pl.DataFrame()

    @cached_property
    def since_last(self) -> pl.DataFrame:
        """Each task beside the last run that compared it: `tables.since_last`."""
        return tables.since_last(self._read("trend"), self.run) if self._has("trend") else pl.DataFrame()

    @cached_property
    def inputs(self) -> pl.DataFrame:
        """SHA-256 of what was compared: task, source, destination, rules."""
        rows = [{"task": task["task"], **task["inputs"]} for task in self.run["tasks"] if "inputs" in task]
        return pl.DataFrame(rows, schema=dict.fromkeys(("task", "source", "destination", "rules"), pl.String))

    @cached_property
    def fingerprint(self) -> str:
        """One SHA-256 for all that was compared, by name of the task; "" where an older version made the run."""
        told = self.inputs.sort("task")
        return combined([part for row in told.iter_rows() for part in row]) if told.height else ""

    def docs(self, suite: str) -> str:
        """The page of a suite in the Data Docs, relative to the folder; "" where there is none."""
        found = sorted((self.folder / "docs" / "validations" / suite).glob(f"*/*/{suite}.html"))
        return found[-1].relative_to(self.folder).as_posix() if found else ""

    def _has(self, name: str) -> bool:
        return (self.folder / f"{name}.parquet").exists()

    def _read(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / f"{name}.parquet")
