"""What a person has ticked: records and whole filters, step by step, saved with the run as soon as it is done.

The file stands beside the run's plan. A step is written before it is answered, in one piece: whoever ends the kernel,
by whatever means, finds every tick again that was shown as saved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from p2c_lib.errors import ParameterError
from p2c_lib.explorer.query import Finder, Mask, Query
from p2c_lib.places import plan_folder

__all__ = ["Ticks", "ticks_file"]

_revisions = count(1)


def ticks_file(folder: Path) -> Path | None:
    """Where the ticks of a run are kept; None where its working data is not on this machine."""
    try:
        return plan_folder(folder).with_name("ticks.json")
    except ParameterError:
        return None


class Ticks:
    """The ticks of a run.

    Attributes:
        mask: Which records are ticked (n).
        revision: Another number after each change, one that no other ticks have had.
    """

    def __init__(self, path: Path | None, finder: Finder) -> None:
        """Open the ticks of a run.

        Args:
            path: Their file, made with the first tick; None: nothing can be ticked.
            finder: Of the run's records.

        Raises:
            ParameterError: The file is broken.
        """
        self._path, self._finder = path, finder
        self._steps: list[dict[str, Any]] = []
        self._seen: tuple[int, int] | None = None
        self.mask: Mask = np.zeros(finder.height, dtype=np.bool_)
        self.revision = next(_revisions)
        self.fresh()

    def tick(self, records: npt.NDArray[Any], on: bool) -> None:
        """Tick records, or take their ticks away; records that share a key go together."""
        keys = self._finder.keys(records)
        rows = [list(row) for row in keys.iter_rows()]
        self._step({"on": on, "rows": rows})

    def tick_all(self, query: Query, on: bool) -> None:
        """Tick all that a query means, or take their ticks away; what is kept is the filter itself."""
        if query.ticked or query.now:  # what such a filter means does not stay: the records themselves are kept
            self.tick(np.flatnonzero(self._finder.mask(query, self.mask)), on)
        else:
            self._step({"on": on, "filter": query.filters.told()})

    def clear(self) -> None:
        """Take all ticks away."""
        self._steps = []
        self._save()
        self.mask = np.zeros(self._finder.height, dtype=np.bool_)
        self.revision = next(_revisions)

    def fresh(self) -> bool:
        """Read the file again where somebody else has written it since; says whether that was so."""
        stamp = _stamp(self._path) if self._path else None
        if self._path is None or stamp == self._seen:
            return False
        self._steps, self._seen = self._read(self._path) if stamp else [], stamp
        mask: Mask = np.zeros(self._finder.height, dtype=np.bool_)
        for step in self._steps:
            mask[self._meant(step)] = step["on"]
        self.mask = mask
        self.revision = next(_revisions)
        return True

    def _step(self, step: dict[str, Any]) -> None:
        self.fresh()  # the same run may be open in another window
        meant = self._meant(step)
        last = self._steps[-1] if self._steps else {}
        if "rows" in step and "rows" in last and step["on"] == last["on"]:
            known = {tuple(row) for row in last["rows"]}
            last["rows"] += [row for row in step["rows"] if tuple(row) not in known]
        else:
            self._steps.append(step)
        self._save()
        mask = self.mask.copy()
        mask[meant] = step["on"]
        self.mask = mask
        self.revision = next(_revisions)
        if not mask.any():
            self._steps = []  # saved as such with the next step

    def _meant(self, step: Mapping[str, Any]) -> npt.NDArray[Any]:
        if "filter" in step:
            return np.flatnonzero(self._finder.mask(Query.of(step["filter"])))
        schema = {"task": pl.String, "key": pl.String}
        return self._finder.places(pl.DataFrame(step["rows"], schema=schema, orient="row"))

    def _save(self) -> None:
        if self._path is None:
            raise ParameterError(
                "this run can be looked at here, but not planned from: the rows and the plan stay on the machine that "
                "made it; compare again in a new run"
            )
        document = {
            "run": self._finder.records.run_id,
            "saved": datetime.now(UTC).isoformat(timespec="seconds"),
            "steps": self._steps,
        }
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        draft.write_text(json.dumps(document, ensure_ascii=False) + "\n", "utf-8")
        draft.replace(self._path)
        self._seen = _stamp(self._path)

    def _read(self, path: Path) -> list[dict[str, Any]]:
        try:
            document = json.loads(path.read_text("utf-8"))
            steps: list[dict[str, Any]] = document["steps"]
            if document["run"] != self._finder.records.run_id:
                return []  # of an earlier run in the same folder
            for step in steps:
                self._meant(step)
        except (OSError, ValueError, KeyError, TypeError, ParameterError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ParameterError(f"{path}: no file of ticks ({reason}); move it away and tick again") from None
        return steps


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino
