"""Runs over time: what each one found, kept in tables of the store; since when a finding stands, whether it came back.

A finding is a row that stands alone or a field that differs: task, key, field, side. Three tables lie in ``history``
below the store: ``Outcome`` (what a run found, but for what is excluded), ``Quality`` (how good its data was) and
``Run`` (a row for each task of a run). A run counts only once its ``Run`` rows are there, and they are written last; so
a run that was killed while it was appended has not happened, and appending it again is the whole of it. A task that
failed says nothing: its findings stay as they were. Known quirks of templates are kept and are no findings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from p2c_lib import quality
from p2c_lib.config import Profile
from p2c_lib.connect.metadata import near
from p2c_lib.errors import P2CError, ParameterError, StoreError
from p2c_lib.explain import OUTCOME_COLUMNS
from p2c_lib.folder import differing_rows, finish, read_run, write_json
from p2c_lib.store import Declared, connect_store
from p2c_lib.store.entities import read_entities

if TYPE_CHECKING:
    from p2c_lib.store.tables import Store

__all__ = ["FINDING", "STATES", "History", "append", "conclude", "open_history"]

FINDING = ["task", "key", "field", "side"]
STATES = ("new", "reopened", "open", "fixed")
_LACKS = "not_in_history"
_FILES = 32
RECENT = 30
_COUNTS = ("source_rows", "destination_rows", "matched", "mismatched", "missing", "extra", "excluded", "blocked")
_TABLES: Mapping[str, Declared] = read_entities(files("p2c_lib.store").joinpath("history.yaml").read_text("utf-8"))


def conclude(profile: Profile, folder: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """End a run: put the results of its tasks together, and add it to the history of its profile.

    A history that cannot take the run keeps nobody from its results: ``not_in_history`` of ``run.json`` then says why.

    Args:
        profile: That the run was made with; its store has the history.
        folder: The run's.
        tasks: Names of its tasks, in order.

    Returns:
        What stands in ``run.json``.
    """
    facts = finish(folder, tasks)
    try:
        append(connect_store(profile).store, folder)
    except P2CError as error:
        facts[_LACKS] = f"The history lacks this run: {error}. To bring it in: p2c history add {folder}"
        write_json(folder / "run.json", facts)
    return facts


def append(store: Store, folder: Path) -> pl.DataFrame:
    """Add a finished run to the history; done twice, it is there once.

    Args:
        store: That of the run's profile.
        folder: The run's; ``history.parquet`` is written there: what `History.findings` gives as of this run; so are
            ``trend.parquet``, the newest runs up to this one, and in ``quality.parquet`` the scores of the run before.

    Returns:
        These findings.

    Raises:
        ParameterError: The folder holds no run, one that did not come to its end, or one of an older version.
        SchemaError: The tables of the history are other ones.
        StoreError: The store cannot be written, or others went on writing for longer than the patience lasts.
    """
    facts = read_run(folder)
    if "finished" not in facts:
        raise ParameterError(f"{folder}: this run did not come to its end; run again")
    history, run = History.within(store, facts["profile"], facts["company"]), facts["run_id"]
    table = pl.read_parquet(folder / "outcomes.parquet").filter(pl.col("outcome") != "excluded")
    if not set(OUTCOME_COLUMNS) <= set(table.columns):
        raise ParameterError(f"{folder}: an older version made this run; run again")
    number = pl.int_range(pl.len(), dtype=pl.Int32)
    rows = table.select(pl.lit(run).alias("run"), number.alias("number"), *OUTCOME_COLUMNS)
    mine = history.store.read("Outcome", ["run", "number"], where=pl.col("run") == run)
    left = mine.filter(pl.col("number") >= rows.height)  # of an earlier end of the same run
    if left.height:
        history.store.delete_keys("Outcome", left, run_id=run)
    for name, part in (("Outcome", rows), *_quality_rows(folder, run), ("Run", _run_rows(facts))):
        version = history.store.merge(name, part, run_id=run).version
        if version and version % _FILES == 0:  # each run leaves a file, and each file costs 3 ms to look at
            history.store.compact(name)
    findings = history.findings(as_of=run)
    findings.write_parquet(folder / "history.parquet")
    history.recent(run).write_parquet(folder / "trend.parquet")
    if (folder / "quality.parquet").exists():
        now = pl.read_parquet(folder / "quality.parquet")
        quality.compared(now, history.quality_before(run)).write_parquet(folder / "quality.parquet")
    if facts.pop(_LACKS, None):
        write_json(folder / "run.json", facts)
    return findings


def _quality_rows(folder: Path, run: str) -> list[tuple[str, pl.DataFrame]]:
    """What a run says of the quality of its data, as it is kept; nothing of a run that an older version made."""
    if not (folder / "quality.parquet").exists():
        return []
    told = pl.read_parquet(folder / "quality.parquet").filter(pl.col("checks") > 0)
    names = ["task", "side", "dimension", "checks", "failed", "looked_at", "passed"]
    kept = told.select(pl.lit(run).alias("run"), *names)
    return [("Quality", kept.cast({name: _TABLES["Quality"].schema[name] for name in kept.columns}))]


def _run_rows(facts: Mapping[str, Any]) -> pl.DataFrame:
    rows = [
        {
            "run": facts["run_id"],
            "task": task["task"],
            "started": datetime.fromisoformat(facts["started"]),
            "route": facts.get("parameters", {}).get("route", "direct"),
            **{name: task.get(name) for name in _COUNTS},
            "differing": None if "error" in task else differing_rows(task),
            "at_stake": json.dumps(task.get("amount_at_stake", {})),
            "error": task.get("error"),
            "is_whole": True,
        }
        for task in facts["tasks"]
    ]
    names = [name for name in _TABLES["Run"].columns if name != "scope"]
    return pl.DataFrame(rows, schema={name: _TABLES["Run"].schema[name] for name in names})


@dataclass(frozen=True)
class History:
    """The runs of one profile and company.

    Attributes:
        store: Its tables.
    """

    store: Store

    @classmethod
    def within(cls, store: Store, profile: str, company: str) -> History:
        """The history that lies in a store.

        Args:
            store: Of staged rows.
            profile: Whose runs are meant.
            company: In which company of F&O.
        """
        return cls(replace(store, url=f"{store.url}/history", organization=f"{profile} {company}", entities=_TABLES))

    def runs(self) -> pl.DataFrame:
        """Every task of every run, by time.

        Returns:
            Columns run, task, started (UTC), route, the counts of rows, differing (rows not in step), at_stake (JSON:
            text of the amount by currency), error (null where the task came to its end), is_whole (its outcomes are
            kept one by one).
        """
        names = [name for name in _TABLES["Run"].columns if name != "scope"]
        return self.store.read("Run", names).sort("started", "run", "task")

    def outcomes(self, run: str) -> pl.DataFrame:
        """What a run found.

        Args:
            run: Its id.

        Returns:
            Columns of `OUTCOME_COLUMNS`, in the order of the run; excluded rows are kept in number only (`runs`).

        Raises:
            ParameterError: There is no such run.
            StoreError: The run is older than what is kept.
        """
        told = self.runs().filter(pl.col("run") == self._known(run))
        if not told["is_whole"].all():
            raise StoreError(f"run {run} is older than what is kept one by one; its counts are among the runs")
        rows = self.store.read("Outcome", ["number", *OUTCOME_COLUMNS], where=pl.col("run") == run)
        return rows.sort("number").select(OUTCOME_COLUMNS.names())

    def findings(self, as_of: str = "", task: str = "") -> pl.DataFrame:
        """What was found and what became of it.

        Args:
            as_of: Look as one could after that run; "" after the newest.
            task: One task alone; "" all of them.

        Returns:
            A row a finding: task, key, field (null: a row that stands alone), side, state (one of `STATES`), the
            outcome, code, reason, amount and currency of when it was last seen, first_run, first_seen, last_run,
            last_seen, open_since (when it came last), fixed_at (null where it is there), reopened (how often it came
            back), runs (in which it was seen), age_days (from open_since to its end or the last look).

        Raises:
            ParameterError: There is no such run.
        """
        looks = self._looks(as_of, task)
        streaks = self._streaks(looks)
        newest = looks.group_by("task").agg(newest=pl.col("place").max(), now=pl.col("started").last())
        last = ["outcome", "code", "reason", "amount", "currency"]
        found = (
            streaks.group_by(FINDING)
            .agg(
                first=pl.col("first").min(),
                since=pl.col("first").last(),
                last=pl.col("last").max(),
                reopened=pl.len() - 1,
                runs=pl.col("runs").sum(),
                **{name: pl.col(name).last() for name in last},
            )
            .join(newest, on="task")
        )
        for name in ("first", "since", "last"):
            at = looks.select("task", pl.col("place").alias(name), pl.col("run").alias(f"{name}_run"),
                              pl.col("started").alias(f"{name}_seen"))  # fmt: skip
            found = found.join(at, on=["task", name], how="left")
        gone = looks.select("task", (pl.col("place") - 1).alias("last"), fixed_at="started")
        found = found.join(gone, on=["task", "last"], how="left")
        is_there, is_fresh = pl.col("fixed_at").is_null(), pl.col("since") == pl.col("newest")
        state = (
            pl.when(~is_there)
            .then(pl.lit("fixed"))
            .when(is_fresh & (pl.col("reopened") > 0))
            .then(pl.lit("reopened"))
            .when(is_fresh)
            .then(pl.lit("new"))
            .otherwise(pl.lit("open"))
        )
        age = (pl.coalesce("fixed_at", "now") - pl.col("since_seen")).dt.total_seconds() / 86_400
        return found.select(
            *FINDING,
            state.alias("state"),
            *last,
            "first_run",
            "first_seen",
            "last_run",
            "last_seen",
            pl.col("since_seen").alias("open_since"),
            "fixed_at",
            "reopened",
            "runs",
            age.round(1).alias("age_days"),
        ).sort(*FINDING, nulls_last=False)

    def trend(self, task: str = "") -> pl.DataFrame:
        """How runs stand to the one before.

        Returns:
            A row for each task that came to its end in a run, by time: run, started, task, differing (rows), findings,
            and of these new, reopened; and fixed, those of the run before that are gone. Before the first run that is
            kept one by one there are no findings, and these columns are null.
        """
        looks = self._looks("", task)
        streaks = self._streaks(looks)
        start = pl.col("first").min().over(FINDING)
        begun = streaks.with_columns(is_first=pl.col("first") == start)
        begun = begun.group_by("task", place="first").agg(
            new=pl.col("is_first").sum(), reopened=(~pl.col("is_first")).sum()
        )
        ended = streaks.group_by("task", place=pl.col("last") + 1).agg(fixed=pl.len())
        told = looks
        for frame in (begun, ended):
            told = told.join(frame, on=["task", "place"], how="left", maintain_order="left")
        names = ["new", "reopened", "fixed"]
        counts = told.with_columns(pl.col(name).fill_null(0).cast(pl.Int64) for name in names)
        standing = (pl.col("new") + pl.col("reopened") - pl.col("fixed")).cum_sum().over("task")
        kept = counts.with_columns(findings=standing)
        shown = [pl.when("is_whole").then(name).alias(name) for name in ("findings", *names)]
        return kept.select("run", "started", "task", "differing", *shown)

    def money(self) -> pl.DataFrame:
        """What was at stake.

        Returns:
            Columns run, started, task, currency, amount (Decimal), by time; nothing where nothing was at stake.
        """
        rows = [
            (run, started, task, currency or None, amount)
            for run, started, task, told in self.runs().select("run", "started", "task", "at_stake").iter_rows()
            for currency, amount in json.loads(told).items()
        ]
        texts = dict.fromkeys(("task", "currency", "amount"), pl.String())
        schema = pl.Schema({"run": pl.String(), "started": pl.Datetime("us", "UTC"), **texts})
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame.with_columns(pl.col("amount").cast(OUTCOME_COLUMNS["amount"]))

    def recent(self, as_of: str, most: int = RECENT) -> pl.DataFrame:
        """The newest runs up to one, by time.

        Args:
            as_of: The last of them.
            most: How many.

        Returns:
            The columns of `runs` but for ``is_whole``.
        """
        runs = self.runs().drop("is_whole")
        order = runs["run"].unique(maintain_order=True)
        until = (order.index_of(self._known(as_of)) or 0) + 1
        return runs.filter(pl.col("run").is_in(order.head(until).tail(most).implode()))

    def quality(self) -> pl.DataFrame:
        """How good the data of each run was.

        Returns:
            Columns run, started, then those of `quality.QUALITY_COLUMNS` (``before`` and ``change`` null), by time.
        """
        names = ["run", "task", "side", "dimension", "checks", "failed", "looked_at", "passed"]
        kept = self.store.read("Quality", names)
        runs = self.runs().select("run", "started").unique()
        told = quality.scored(kept).with_columns(run=kept["run"])
        return (
            told.join(runs, on="run")
            .select("run", "started", pl.exclude("run", "started"))
            .sort("started", "run", "task", "side", "dimension")
        )

    def quality_before(self, run: str) -> pl.DataFrame:
        """The scores of each task when it was last validated before a run: task, side, dimension, score."""
        told = self.quality()
        order = self.runs()["run"].unique(maintain_order=True)
        earlier = order.head(order.index_of(run) or 0)
        here = told.filter(pl.col("run").is_in(earlier.implode()))
        last = here.group_by("task").agg(pl.col("run").last())
        return here.join(last, on=["task", "run"]).select("task", "side", "dimension", "score")

    def summary(self, findings: pl.DataFrame) -> pl.DataFrame:
        """Findings counted by task and state, as people read them: task, one column for each of `STATES`, came_back."""
        counts = [(pl.col("state") == state).sum().alias(state) for state in STATES]
        back = ((pl.col("reopened") > 0) & (pl.col("state") != "fixed")).sum()
        return findings.group_by("task").agg(*counts, came_back=back).sort("task")

    def compact(self, keep_days: int, *, now: datetime | None = None) -> dict[str, int]:
        """Let go of what is old, and put small files together.

        Of runs before that, the counts stay, and of a finding that was seen since, when it was there: its first seen,
        its coming back and its age stay what they are. The newest run of each task stays whole, however old.

        Args:
            keep_days: How many days of runs stay whole.
            now: The time to count from; by default now.

        Returns:
            Counts: ``runs`` kept in counts from now on, ``rows`` of outcomes deleted, ``files`` deleted.

        Raises:
            ParameterError: ``keep_days`` is below 0.
        """
        if keep_days < 0:
            raise ParameterError(f"keep_days is {keep_days}; give 0 or more")
        before = (now or datetime.now(UTC)) - timedelta(days=keep_days)
        looks = self._looks("", "")
        runs = self.runs()
        newest = looks.group_by("task").agg(pl.col("run").last())
        past = runs.filter(pl.col("started") < before).join(newest, on=["run", "task"], how="anti")
        closing = past.filter("is_whole").select("run", "task", pl.lit(False).alias("is_whole"))
        self.store.merge("Run", closing, run_id="compact")
        rows = self.store.read("Outcome", ["run", "number", "until", "code", *FINDING])
        old = rows.join(past.select("run", "task"), on=["run", "task"], how="semi")
        young = rows.join(past.select("run", "task"), on=["run", "task"], how="anti")
        lasting = old.join(young.select(FINDING).unique(), on=FINDING, how="semi", nulls_equal=True)
        stays = self._streaks(looks.join(past, on=["run", "task"], how="semi"), lasting)
        ends = looks.select("task", pl.col("place").alias("last"), until="run")
        stays = stays.join(ends, on=["task", "last"]).select("run", "number", "until")
        self.store.merge("Outcome", stays, run_id="compact")
        gone = old.join(stays, on=["run", "number"], how="anti").select("run", "number")
        deleted = self.store.delete_keys("Outcome", gone, run_id="compact") if gone.height else 0
        for table in _TABLES:
            self.store.compact(table)
        files = self.store.vacuum(timedelta(hours=1))
        return {"runs": closing["run"].n_unique(), "rows": deleted, "files": len(files)}

    # --- looks and streaks ------------------------------------------------------------------------------------

    def _known(self, run: str) -> str:
        known = self.runs()["run"].unique(maintain_order=True)
        if run not in known:
            hint = near(run, dict.fromkeys(known, None)) or f"; the newest: {', '.join(known.tail(3)) or 'none'}"
            raise ParameterError(f"the history has no run '{run}'{hint}")
        return run

    def _looks(self, as_of: str, task: str) -> pl.DataFrame:
        """The runs of each task that came to its end, numbered by time (``place``)."""
        looks = self.runs().filter(pl.col("error").is_null())
        if as_of:
            self._known(as_of)
            order = self.runs().select("started", "run").unique(maintain_order=True)["run"]
            until = order.index_of(as_of)
            looks = looks.filter(pl.col("run").is_in(order[: (until or 0) + 1].implode()))
        if task:
            looks = looks.filter(pl.col("task") == task)
        return looks.with_columns(place=pl.int_range(pl.len()).over("task"))

    def _streaks(self, looks: pl.DataFrame, rows: pl.DataFrame | None = None) -> pl.DataFrame:
        """For each finding the looks in a row that saw it: ``first``, ``last`` (places), ``runs``, and its last words.

        A stored row tells of one look, or, where old runs were let go of, of all looks from its run up to ``until``.
        """
        last = ["outcome", "code", "reason", "amount", "currency"]
        if rows is None:
            rows = self.store.read("Outcome", ["run", "number", "until", *FINDING, *last])
        words = [name for name in last if name in rows.columns and name != "amount"]
        rows = rows.filter(pl.col("code").ne_missing("quirk"))
        places = looks.select("run", "task", "place")
        until = places.select("task", until="run", last="place")
        seen = (
            rows.join(places.rename({"place": "first"}), on=["run", "task"])
            .join(until, on=["until", "task"], how="left")
            .with_columns(last=pl.max_horizontal("first", "last"))
        )
        # A key that stands twice on a side is one finding; what its rows are worth adds up.
        worth = [pl.col("amount").sum()] if "amount" in seen.columns else []
        once = (
            seen.sort("run", "number")
            .group_by(*FINDING, "first", maintain_order=True)
            .agg(pl.col("last").max(), *worth, *[pl.col(name).first() for name in ("run", "number", *words)])
            .sort(*FINDING, "first")
        )
        reached = pl.col("last").cum_max().shift(1).over(FINDING)
        comes = (pl.col("first") > reached + 1).fill_null(True)
        ends = [pl.col(name).last() for name in [*words, *(["amount"] if worth else [])]]
        return (
            once.with_columns(streak=comes.cum_sum().over(FINDING))
            .group_by(*FINDING, "streak", maintain_order=True)
            .agg(
                pl.col("first").min(),
                pl.col("last").max(),
                pl.col("run").first(),
                pl.col("number").first(),
                *ends,
            )
            .with_columns(runs=pl.col("last") - pl.col("first") + 1)
        )


def open_history(profile: Profile) -> History:
    """The history of a profile and its company, in its store.

    Args:
        profile: Which.

    Returns:
        The history; nothing is read or made until it is used.
    """
    return History.within(connect_store(profile).store, profile.name, profile.fno.company)
