"""What there is to explore: every record of a run that is not matched, with what is known of it, and its fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.errors import P2CError, ParameterError
from p2c_lib.explain import OUTCOME_COLUMNS, REASON_COLUMNS, main_reasons
from p2c_lib.folder import read_run
from p2c_lib.places import task_folder
from p2c_lib.pull import MONEY

__all__ = ["CELL_COLUMNS", "FEW", "RECORD_COLUMNS", "Records", "load_records", "put_together"]

FEW = ("task", "side", "outcome", "code", "severity", "reason", "remedy", "fields", "currency", "country", "state")
"""Columns with few values among many rows; each becomes an Enum of its own values, in the order of the alphabet."""

RECORD_COLUMNS = pl.Schema(
    {
        **{name: pl.String() for name in ("task", "key", "side", "outcome", "code", "severity")},
        **{name: pl.String() for name in ("reason", "remedy", "fields")},
        "amount": MONEY,
        **{name: pl.String() for name in ("currency", "country", "state")},
        "age_days": pl.Float64(),
    }
)
"""A row a record, those of `REASON_COLUMNS` and: ``country`` (the first that its template fills; a line has its
header's), ``state`` (new, open, reopened: of the finding that stands longest) and ``age_days`` (since when it has
stood; null where the history does not have it). The columns of `FEW` are Enums."""

CELL_COLUMNS = pl.Schema(
    {"record": pl.UInt32(), "field": pl.String(), "outcome": pl.String(), "expected": pl.String(), "found": pl.String()}
)
"""A row a field that differs, by ``record``, the number of its record; ``field`` and ``outcome`` are Enums."""


@dataclass(frozen=True)
class Records:
    """What there is to explore of a run.

    Attributes:
        rows: Columns of `RECORD_COLUMNS`, in the order of the run's tables; a record is known by its place here.
        cells: Columns of `CELL_COLUMNS`.
        counts: Rows of the tasks by outcome, all of `ROW_OUTCOMES`, as in ``run.json``.
        run_id: Of the run.
    """

    rows: pl.DataFrame
    cells: pl.DataFrame
    counts: Mapping[str, int]
    run_id: str


def load_records(folder: Path, tasks: Sequence[str] | None = None) -> Records:
    """Read what a run left.

    Args:
        folder: The run's; of one that is not finished, what its tasks have left so far is read.
        tasks: Names of the tasks that matter; by default all of the run.

    Raises:
        ParameterError: The folder holds no run, or the run has no such task.
    """
    run = read_run(folder)
    finished = (folder / "outcomes.parquet").exists()
    facts = {task["task"]: task for task in run["tasks"]} if finished else dict(_left_by(folder, tasks))
    unknown = sorted(set(tasks or ()) - set(facts))
    if unknown:
        raise ParameterError(
            f"{folder}: this run has no task {', '.join(unknown)}; it has {', '.join(facts) or 'none'}"
        )
    named = list(facts if tasks is None else tasks)
    if finished:
        table, reasons = (pl.scan_parquet(folder / f"{name}.parquet") for name in ("outcomes", "reasons"))
        table, reasons = (frame.filter(pl.col("task").is_in(named)) for frame in (table, reasons))
    else:
        paths = [task_folder(folder, name) / "outcomes.parquet" for name in named]
        left = [OUTCOME_COLUMNS.to_frame(), *(pl.read_parquet(path) for path in paths if path.exists())]
        table = pl.concat(left).lazy()
        reasons = main_reasons(table.filter(pl.col("outcome") != "excluded").collect()).lazy()
    counts = {outcome: sum(facts[name].get(outcome, 0) for name in named) for outcome in ROW_OUTCOMES}
    return put_together(
        table, reasons, counts, run["run_id"], history=_history(folder), countries=_countries(folder, facts, named)
    )


def put_together(
    table: pl.LazyFrame,
    reasons: pl.LazyFrame,
    counts: Mapping[str, int],
    run_id: str,
    *,
    history: pl.LazyFrame | None = None,
    countries: pl.DataFrame | None = None,
) -> Records:
    """Make records of a run's tables.

    Args:
        table: Columns of `OUTCOME_COLUMNS`.
        reasons: The same rows, less those that are excluded, one a record (`REASON_COLUMNS`).
        counts: Rows by outcome.
        run_id: Of the run.
        history: Findings with ``task``, ``key``, ``side``, ``state`` and ``age_days``.
        countries: ``task``, ``key``, ``side``, ``country``; each at most once.

    Returns:
        The records, those that are excluded last.
    """
    excluded = main_reasons(table.filter(pl.col("outcome") == "excluded").collect())
    both = pl.concat([reasons.select(REASON_COLUMNS.names()), excluded.lazy()])
    # Numbers for texts from the start, and one join at a time: the tables as they stand are several times as large.
    rows = both.with_columns(_numbered(name for name in FEW if name in REASON_COLUMNS)).collect()
    on = ["task", "key", "side"]
    known = countries.lazy() if countries is not None else None
    for frame, names in ((known, ["country"]), (history, ["state", "age_days"])):
        if frame is None:
            kinds = {name: RECORD_COLUMNS[name] for name in names}
            rows = rows.with_columns(pl.lit(None, kind).alias(name) for name, kind in kinds.items())
            continue
        few = _numbered(name for name in ("task", "side", *names) if name in FEW)
        told = frame.with_columns(few).select(*on, *names).collect()
        rows = rows.join(told, on=on, how="left", maintain_order="left", nulls_equal=True)
    rows = _few(rows.select(RECORD_COLUMNS.names()), FEW)
    return Records(rows, _cells(table, rows), counts, run_id)


def _cells(table: pl.LazyFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The fields of the records, task by task, since that is how keys are told apart."""
    fields = table.filter(pl.col("field").is_not_null()).with_columns(_numbered(["task", "field", "outcome"]))
    cells = fields.select("task", "key", "field", "outcome", "expected", "found").collect()
    pairs = rows.select("task", "key", "side").with_row_index("record").filter(pl.col("side") == "both")
    parts = [CELL_COLUMNS.to_frame().with_columns(_numbered(["field", "outcome"]))]
    for task in pairs["task"].unique(maintain_order=True):
        mine = pairs.filter(pl.col("task") == task).select("record", "key")
        joined = cells.filter(pl.col("task").cast(pl.String) == task).join(
            mine, on="key", nulls_equal=True, maintain_order="left"
        )
        parts.append(joined.select(CELL_COLUMNS.names()))
    made = pl.concat(parts)
    made = made if made["record"].is_sorted() else made.sort("record", maintain_order=True)
    return _few(made, ("field", "outcome"))


def _numbered(names: Iterable[str]) -> list[pl.Expr]:
    return [pl.col(name).cast(pl.Categorical) for name in names]


def _few(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Hold texts that repeat themselves as numbers in the order of the alphabet; a blank one is no value."""
    for name in names:
        values = frame[name].unique().cast(pl.String).drop_nulls()
        kind = pl.Enum(values.filter(values != "").sort())
        frame = frame.with_columns(pl.col(name).cast(pl.String).replace("", None).cast(kind))
    return frame


def _left_by(folder: Path, tasks: Sequence[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the tasks of a run that is under way have told so far."""
    for name in tasks or ():
        path = task_folder(folder, name) / "summary.json"
        if path.exists():
            yield name, json.loads(path.read_text("utf-8"))


def _history(folder: Path) -> pl.LazyFrame | None:
    """Since when records have stood: that of the finding which has stood longest."""
    path = folder / "history.parquet"
    if not path.exists():
        return None
    found = pl.scan_parquet(path).filter(pl.col("state") != "fixed")
    oldest = pl.col("state").sort_by("age_days", descending=True, nulls_last=True, maintain_order=True).first()
    return found.group_by("task", "key", "side").agg(oldest, pl.col("age_days").max().cast(pl.Float64))


def _countries(folder: Path, facts: Mapping[str, Mapping[str, Any]], tasks: Sequence[str]) -> pl.DataFrame | None:
    """The country of each record, where its frames are here and its template fills one."""
    schema = {"task": pl.String, "key": pl.String, "side": pl.String, "country": pl.String}
    found = [pl.DataFrame(schema=schema)]
    for name in tasks:
        try:
            found.append(_countries_of(folder, name, facts[name]).select(pl.lit(name).alias("task"), *[*schema][1:]))
        except (OSError, P2CError, pl.exceptions.PolarsError):
            continue  # the frames are working data: they may have been let go of, the run's tables tell all the same
    return pl.concat(found).unique(["task", "key", "side"])


def _countries_of(folder: Path, name: str, facts: Mapping[str, Any]) -> pl.DataFrame:
    how = facts.get("tie_out")
    own = _country_column(folder, name)
    wanted = own or (how or {}).get("line_document")
    if wanted is None:
        return pl.DataFrame(schema={"key": pl.String, "side": pl.String, "country": pl.String})
    rows = pl.scan_parquet(task_folder(folder, name) / "rows.parquet").filter(pl.col("outcome") != "matched")
    for side, number in (("expected", "source_row"), ("found", "destination_row")):
        frame = pl.scan_parquet(task_folder(folder, name) / f"{side}.parquet").select(
            pl.col(wanted).cast(pl.String).alias(side)
        )
        rows = rows.join(frame.with_row_index(number), on=number, how="left", maintain_order="left")
    told = rows.select("key", "side", value=pl.coalesce("expected", "found"))
    if own or how is None:
        return told.rename({"value": "country"}).collect()
    headers = _of_headers(folder, how["header"], how["document"])
    return told.join(headers, on="value", how="left", maintain_order="left").select("key", "side", "country").collect()


def _of_headers(folder: Path, task: str, document: str) -> pl.LazyFrame:
    """The country of each document: ``value`` (its number), ``country``."""
    column = _country_column(folder, task)
    if column is None:
        return pl.LazyFrame(schema={"value": pl.String, "country": pl.String})
    sides = [
        pl.scan_parquet(task_folder(folder, task) / f"{side}.parquet").select(
            value=pl.col(document).cast(pl.String), country=pl.col(column).cast(pl.String)
        )
        for side in ("expected", "found")
    ]
    return pl.concat(sides).drop_nulls().unique("value", keep="first", maintain_order=True)


def _country_column(folder: Path, task: str) -> str | None:
    """The destination column that says in which country a record is: the first one that is called so."""
    told = json.loads((task_folder(folder, task) / "task.json").read_text("utf-8"))
    names = [str(field["destination"]) for field in told["fields"] if not field.get("personal")]
    return next((name for name in names if "country" in name.lower()), None)
