"""The way back from a plan that was sent: made from its journal, as a plan of its own, with the same approval.

What was created is deleted, or switched off where others refer to it by now; what was updated gets back what stood
there. A row that somebody changed since it was written is refused and listed, never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from p2c_lib.cells import as_text
from p2c_lib.connect import Client, Entity
from p2c_lib.errors import PlanError
from p2c_lib.model import Task, Template, all_tasks
from p2c_lib.places import plan_folder, working_folder
from p2c_lib.pull import ETAG, MONEY
from p2c_lib.verify import cells_of, fields_of, look, read_verified, verify
from p2c_lib.write import PLAN_COLUMNS, Plan, check_addresses, read_plan
from p2c_lib.write.answers import answers
from p2c_lib.write.removal import GONE, in_order, off_switch, removed
from p2c_lib.write.saved import LEFT_OUT, save

__all__ = ["REFUSED", "Undo", "undo"]

REFUSED = pl.Schema(
    {
        "task": pl.String(),
        "action": pl.String(),
        "key": pl.String(),
        "reason": pl.String(),
        "field": pl.String(),
        "before": pl.String(),
        "written": pl.String(),
        "now": pl.String(),
    }
)
"""Rows that are not undone: what the plan did to them, why they are left alone, and for each field that somebody
changed what stood there before the plan, what it wrote, and what stands there now."""

_DONE = ("created", "updated", "deleted", "already")
_CHANGED = "changed since it was written"
_COMPUTED = "the service works it out, it cannot be put back: it follows from what is"
_DELETED = "it was deleted, and only the columns of the template are known: make it again by hand, or from the source"
_WHOLE = "its document stays, and is not taken apart"
_CASCADE = "its lines were changed since they were written, and would go with it"
_UNTIED = "its total did not follow from its lines before: Sales works out another one from what is put back"
_FREIGHT = "its Freight Tax line did not follow from the header before: Sales makes or takes away that line by itself"


@dataclass(frozen=True)
class Undo:
    """A plan of the way back.

    Attributes:
        folder: Its own folder, below that of the run; `p2c apply` takes it like a run's.
        plan: The plan, not approved yet.
        refused: Columns of `REFUSED`; kept as ``refused.parquet`` beside the plan's folder.
    """

    folder: Path
    plan: Plan
    refused: pl.DataFrame


def undo(run_dir: Path, *, templates: Mapping[str, Template], clients: Mapping[str, Client]) -> Undo:
    """Plan the way back from what a plan has sent.

    Args:
        run_dir: The run's folder.
        templates: As loaded.
        clients: By system; read from, nothing is written.

    Returns:
        The plan in ``undo/<n>`` below the run: restored fields first, then deletions, children before their parents.
        Where nothing was changed since, applying it leaves both systems as they were.

    Raises:
        PlanError: There is no plan, nothing of it was sent, it belongs to other systems, or it is not known of some
            rows whether they were written.
        ConnectError: Rows could not be read.
    """
    plan = read_plan(run_dir)
    check_addresses(plan.head, clients)
    if not (plan.folder / "verified.parquet").exists():
        verify(run_dir, templates=templates, clients=clients)
    done = _done(run_dir, plan)
    if done.is_empty():
        raise PlanError(f"{run_dir}: nothing of this plan was sent; there is nothing to undo")
    tasks = all_tasks(templates)
    known = {task.name: task for task in tasks}
    sides = {name: _Side.read(rows, known.get(name), clients) for name, rows in _by_task(done)}
    refused = {name: side.refused() for name, side in sides.items()}
    frames, offset = [PLAN_COLUMNS.to_frame()], 0
    for name, side in sides.items():
        rows = side.restored(refused[name], offset)
        frames.append(rows)
        offset += side.orders
    leaving: dict[str, pl.Series] = {}
    staying: dict[str, pl.Series] = {}
    for task in in_order([known[name] for name in sides]):
        side = sides[task.name]
        held = pl.concat([_held_by_lines(task, tasks, sides, refused), _held_by_header(task, side, staying)])
        taken = side.taken(refused[task.name], held.unique("key"), offset, tasks, leaving)
        staying[task.name] = side.staying(taken)
        sent = taken.filter((pl.col("action") == "delete") & pl.col("held").is_null())["target"]
        earlier = leaving.get(side.entity.name, sent.clear())
        leaving[side.entity.name] = pl.concat([earlier, sent]).unique()
        frames.append(taken)
        offset += 2 * side.orders
    told = [side.listed(refused[name]) for name, side in sides.items()]
    told += [_worked_out(run_dir, task, sides) for task in tasks if task.destination.system == "sales"]
    return _saved(run_dir, plan, pl.concat(frames), pl.concat(told))


def _by_task(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [(str(name), part) for (name,), part in rows.group_by("task", maintain_order=True)]


def _done(run: Path, plan: Plan) -> pl.DataFrame:
    """The plan's rows of the actions that were done, with the ETag that was read after it."""
    told = answers(plan)
    doubts = told.filter(pl.col("outcome") == "doubt").height
    if doubts:
        raise PlanError(
            f"{run}: of {doubts:,} rows it is not known whether they were written; find out: p2c apply {run}"
        )
    # Found as wanted without ever being sent: somebody else's work, which is not ours to undo.
    foreign = pl.col("error").str.contains("(?i)already exist").fill_null(False) | (pl.col("attempt") == 0)
    told = told.filter(pl.col("outcome").is_in(_DONE) & ~((pl.col("outcome") == "already") & foreign))
    seen = (
        read_verified(plan)
        .group_by("order")
        .agg(pl.col("outcome").first().alias("verified"), pl.col("address", "etag").first())
    )
    rows = plan.sendable().drop("etag").join(told.select("order", wrote="etag"), on="order", how="inner")
    return rows.join(seen, on="order", how="left", maintain_order="left").sort("order", maintain_order=True)


@dataclass(frozen=True)
class _Side:
    """What was done to one task's rows, and how they stand now.

    Attributes:
        task: The task.
        entity: Its destination.
        client: Of the destination.
        rows: Of the plan, with ``verified``, ``address``, ``etag`` (as read back) and ``wrote`` (as the write gave it).
        now: ``order``, the set's key, the ETag and the fields, as they stand.
        stands: ``order``, ``field``, ``now`` and ``how``: every field that was written, as it stands, and how that is
            not what was written.
    """

    task: Task
    entity: Entity
    client: Client
    rows: pl.DataFrame
    now: pl.DataFrame
    stands: pl.DataFrame

    @classmethod
    def read(cls, rows: pl.DataFrame, task: Task | None, clients: Mapping[str, Client]) -> _Side:
        if task is None:
            raise PlanError(f"no template has the task {rows['task'][0]} any more: bring it back to undo what it wrote")
        client = clients[rows["system"][0]]
        entity = client.entity(rows["entity"][0])
        columns = fields_of(task, rows["field"].drop_nulls().unique(maintain_order=True).to_list())
        asked = rows.with_columns(target=pl.coalesce("address", "target"))
        now = look(client, entity, asked, columns, task)
        there = now.unique("order", keep="first", maintain_order=True)
        written = rows.filter(pl.col("field").is_not_null()).join(there, on="order", how="semi")
        stands = cells_of(written, there, task, entity).rename({"found": "now"})
        return cls(task, entity, client, rows, now, stands)

    @property
    def orders(self) -> int:
        return self.rows["order"].n_unique()

    def refused(self) -> pl.DataFrame:
        """``order`` and ``reason`` of the actions that are not undone."""
        etags = self.now.group_by("order").agg(now_etag=pl.col(ETAG).first(), times=pl.len())
        actions = self.rows.unique("order", maintain_order=True).join(etags, on="order", how="left")
        is_delete = pl.col("action") == "delete"
        # After the write others of our own actions may have given the row a new version: what counts is what was read
        # back, unless it was not as written even then.
        moved = pl.col("now_etag").ne_missing(pl.col("etag"))
        strange = (pl.col("verified") != "verified").fill_null(True) & pl.col("wrote").ne_missing(pl.col("now_etag"))
        reason = (
            pl.when(is_delete)
            .then(pl.lit(_DELETED))
            .when(pl.col("times").is_null())
            .then(pl.lit("the row is gone"))
            .when(pl.col("times") > 1)
            .then(pl.lit("several rows have this key"))
            .when(moved | strange)
            .then(pl.lit(_CHANGED))
        )
        return actions.select("order", reason=reason).filter(pl.col("reason").is_not_null())

    def listed(self, refused: pl.DataFrame) -> pl.DataFrame:
        """Columns of `REFUSED`."""
        rows = self.rows.join(refused, on="order", how="inner", maintain_order="left")
        rows = rows.join(self.stands, on=["order", "field"], how="left", maintain_order="left")
        is_changed = pl.col("how").is_not_null() & (pl.col("reason") == _CHANGED)
        first = pl.col("order").is_first_distinct()
        none_changed = ~is_changed.any().over("order") & first
        told = rows.filter(is_changed | none_changed)
        hidden = [pl.when(is_changed).then(pl.col(name)).alias(name) for name in ("field", "before", "after", "now")]
        return told.with_columns(hidden).select(
            "task", "action", "key", "reason", "field", "before", written="after", now="now"
        ).cast(REFUSED)  # fmt: skip

    def restored(self, refused: pl.DataFrame, offset: int) -> pl.DataFrame:
        """Updates that put back what stood there."""
        made = self.rows.filter(pl.col("action") == "create")["address"].drop_nulls().unique()
        rows = self.rows.filter(pl.col("action").is_in(["update", "recalculate", "deactivate"]))
        rows = rows.filter(
            ~pl.col("address").is_in(made.implode())
        )  # what was given in a second pass goes with the row
        rows = rows.join(refused, on="order", how="anti", maintain_order="left") if rows.height else rows
        rows = rows.join(self.stands, on=["order", "field"], how="left", maintain_order="left")
        numbers = rows.select(pl.col("order").rle_id().cast(pl.UInt32) + offset).to_series()
        is_touch = (pl.col("action") == "recalculate") & (pl.col("was") == pl.col("sent"))
        is_computed = pl.col("wire") == "computed"
        cured = is_computed.any().over("order")
        # An amount that was only touched has nothing to go back to.
        held = pl.when(is_computed).then(pl.lit(_COMPUTED)).when(is_touch & cured).then(pl.lit(_COMPUTED))
        home = pl.col("field").str.contains(".", literal=True)
        return rows.with_columns(
            numbers,
            action=pl.lit("update"),
            target=pl.col("address"),
            etag=pl.col("etag"),
            after_order=pl.lit(None, pl.UInt32),
            staged_order=pl.lit(None, pl.UInt32),
            property=pl.when(home).then(self._bind()).otherwise("property"),
            before="now",
            after="before",
            was="sent",
            sent="was",
            wire=pl.when(home).then(pl.lit("bind")).otherwise("wire"),
            held=held,
        ).select(PLAN_COLUMNS.names()).cast(PLAN_COLUMNS)  # fmt: skip

    def _bind(self) -> pl.Expr:
        """The property of a lookup by the set that it pointed to: of several kinds of rows each has its own."""
        column = pl.concat_str(pl.lit("_"), pl.col("field").str.split(".").list.first(), pl.lit("_value|"))
        place = pl.concat_str(column, pl.col("was").str.extract(r"^/(\w+)\("))
        known = {f"{one.column}|{one.target}": f"{one.nav}@odata.bind" for one in self.entity.lookups}
        if not known:
            return pl.col("property")
        return pl.coalesce(place.replace_strict(known, default=None, return_dtype=pl.String), "property")

    def staying(self, taken: pl.DataFrame) -> pl.Series:
        """Keys of created rows that are not deleted by these actions."""
        deleted = taken.filter((pl.col("action") == "delete") & pl.col("held").is_null())["key"].unique()
        made = self.rows.filter(pl.col("action") == "create")["key"].unique()
        return made.filter(~made.is_in(deleted.implode()))

    def taken(
        self,
        refused: pl.DataFrame,
        held: pl.DataFrame,
        offset: int,
        tasks: Sequence[Task],
        leaving: Mapping[str, pl.Series],
    ) -> pl.DataFrame:
        """Deletions of what was created; where others refer to it by now, it is switched off if that can be."""
        mine = self.rows.filter(pl.col("action") == "create")
        mine = mine.join(refused, on="order", how="anti", maintain_order="left") if mine.height else mine
        actions = mine.unique("order", maintain_order=True).join(held, on="key", how="left", maintain_order="left")
        gone = actions.with_columns(target="address").select(GONE.names())
        values = mine.join(self.stands, on=["order", "field"], how="left", maintain_order="left")
        values = values.select("key", "field", before="now")
        how = {"client": self.client, "tasks": tasks, "leaving": leaving}
        made = removed("delete", self.task, gone, values, offset=offset, held=actions["why"], **how)  # type: ignore[arg-type]
        stuck = made.filter(pl.col("held").str.contains("refer to it", literal=True).fill_null(False))["key"].unique()
        if stuck.is_empty() or off_switch(self.entity.name) is None:
            return made
        is_stuck = pl.col("key").is_in(stuck.implode())
        off = removed(
            "deactivate",
            self.task,
            gone.filter(is_stuck),
            values,
            offset=offset + gone.height,
            **how,  # type: ignore[arg-type]
        )
        return pl.concat([made.filter(~is_stuck), off])


def _held_by_lines(
    task: Task, tasks: Sequence[Task], sides: Mapping[str, _Side], refused: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Headers whose lines were changed since: they would go with the header. ``key`` (of the header) and ``why``."""
    nothing = pl.DataFrame(schema={"key": pl.String, "why": pl.String})
    lines = next((t for t in tasks if t.tie_out is not None and t.tie_out.header == task.name), None)
    if lines is None or lines.tie_out is None or lines.name not in sides:
        return nothing
    off = refused[lines.name].filter(pl.col("reason") == _CHANGED)
    rows = sides[lines.name].rows.join(off, on="order", how="semi")
    documents = rows.filter(pl.col("field") == lines.tie_out.line_document)["after"].drop_nulls().unique()
    return pl.DataFrame({"key": documents}).with_columns(why=pl.lit(_CASCADE)) if documents.len() else nothing


def _held_by_header(task: Task, side: _Side, staying: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Lines of a document that was made and stays: it stays whole. ``key`` (of the line) and ``why``."""
    how = task.tie_out
    if how is None or how.header not in staying:
        return pl.DataFrame(schema={"key": pl.String, "why": pl.String})
    document = (pl.col("field") == how.line_document) & pl.col("after").is_in(staying[how.header].implode())
    return side.rows.filter(document).select("key", why=pl.lit(_WHOLE)).unique("key")


def _worked_out(run_dir: Path, lines: Task, sides: Mapping[str, _Side]) -> pl.DataFrame:
    """Documents that the plan touched and that Sales had not worked out by its own rules before: nobody can write such
    a total or such a line, so they come out as Sales makes them. Columns of `REFUSED`."""
    how, ties = lines.tie_out, run_dir / "ties.parquet"
    if how is None or not ties.exists() or not {lines.name, how.header} & sides.keys():
        return REFUSED.to_frame()
    place = list(lines.key).index(how.line_document)
    touched = [REFUSED.to_frame()["key"]]
    if how.header in sides:
        touched.append(sides[how.header].rows["key"])
    if lines.name in sides:
        touched.append(sides[lines.name].rows["key"].str.split("|").list.get(place, null_on_oob=True))
    untied, freight = pl.col("difference_found").fill_null(0) != 0, pl.col("freight_tax").is_not_null()
    odd = pl.read_parquet(ties).filter((pl.col("task") == lines.name) & (untied | freight))
    odd = odd.filter(pl.col("document").is_in(pl.concat(touched).implode()) & pl.col("total_found").is_not_null())
    return odd.select(
        pl.lit(how.header).alias("task"),
        pl.lit("update").alias("action"),
        pl.col("document").alias("key"),
        pl.when(untied).then(pl.lit(_UNTIED)).otherwise(pl.lit(_FREIGHT)).alias("reason"),
        pl.lit(how.total).alias("field"),
        as_text("total_found", MONEY).alias("before"),
        pl.lit(None, pl.String).alias("written"),
        pl.lit(None, pl.String).alias("now"),
    ).cast(REFUSED)


def _saved(run_dir: Path, plan: Plan, rows: pl.DataFrame, refused: pl.DataFrame) -> Undo:
    place = run_dir / "undo"
    place.mkdir(exist_ok=True)
    numbers = [int(path.name) for path in place.iterdir() if path.name.isdigit()]
    last = place / str(max(numbers, default=0))
    # One that nobody has sent yet is made anew in its place.
    folder = (
        last
        if numbers and not (plan_folder(last) / "journal.jsonl").exists()
        else place / str(max(numbers, default=0) + 1)
    )
    folder.mkdir(exist_ok=True)
    facts = json.loads((run_dir / "run.json").read_text("utf-8"))
    facts |= {"undoes": {"run": str(run_dir), "plan": plan.hash}}
    if "working" in facts:
        facts["working"] = f"{facts['working']}/undo/{folder.name}"
        (working_folder(run_dir) / "undo" / folder.name).mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "utf-8")
    refused.write_parquet(working_folder(folder) / "refused.parquet")
    left = refused.unique(["task", "key"]).group_by("task", "reason").agg(rows=pl.len())
    rest = left.sort("task", "reason").select("task", outcome=pl.lit("not undone"), reason="reason", rows="rows")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = save(Plan(plan_folder(folder), rows, plan.head, "", now, None, rest.cast(LEFT_OUT)))
    return Undo(folder, made, refused)
