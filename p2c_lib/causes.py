"""What a service refused, in words: its message, what is behind it, what to do, and whether to send it again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import polars as pl

from p2c_lib.errors import PlanError, TemplateError
from p2c_lib.formulas import guarded
from p2c_lib.masking import site_masker
from p2c_lib.model import System
from p2c_lib.model.overlays import Node, Sources, change_list, read, read_file, suggest
from p2c_lib.places import plan_folder
from p2c_lib.pull import MONEY
from p2c_lib.write import Plan, read_list, read_plan
from p2c_lib.write.answers import answers

__all__ = [
    "FAILED",
    "Cause",
    "causes_table",
    "explained",
    "failed_again",
    "failures",
    "load_causes",
    "masked_verified",
    "masked_words",
    "save_failures",
]

RETRY = ("now", "later", "never")
_ENTRIES = ("name", "match", "code", "system", "cause", "remedy", "retry", "source", "confidence", "note")
_UNKNOWN = "not known to p2c: see the service's words"
_READ_IT = "look the message up, put right what it names, then send the row again"

FAILED = pl.Schema(
    {
        "order": pl.UInt32(),
        "task": pl.String(),
        "entity": pl.String(),
        "action": pl.String(),
        "key": pl.String(),
        "fields": pl.String(),
        "sent": pl.String(),
        "message": pl.String(),
        "status": pl.Int64(),
        "code": pl.String(),
        "name": pl.String(),
        "cause": pl.String(),
        "remedy": pl.String(),
        "retry": pl.String(),
        "amount": MONEY,
        "currency": pl.String(),
    }
)
"""One row an action that was refused: its fields (names, with commas), what was ``sent`` (JSON), the service's
``message``, ``status`` and ``code``, the ``name`` of the cause (null where none is known), ``cause`` and ``remedy`` in
words, and ``retry``: ``now``, ``later`` (once the remedy was done) or ``never`` (compare again instead)."""


@dataclass(frozen=True)
class Cause:
    """One entry of the table of causes.

    Attributes:
        name: Of the entry.
        match: Regular expression over the message, without regard to case; empty where the code tells.
        code: The service's error code; empty where the message tells.
        system: Where it holds; empty for everywhere.
        cause: What is behind it; ``{name}`` stands for a named part of the match.
        remedy: What to do, likewise.
        retry: ``now``, ``later`` or ``never``.
        source: Where the entry is from.
        confidence: ``confirmed`` or ``inferred``.
    """

    name: str
    cause: str
    remedy: str
    retry: str
    source: str
    match: str = ""
    code: str = ""
    system: str = ""
    confidence: str = "inferred"


def load_causes(overlays: Sequence[Path] = ()) -> tuple[Cause, ...]:
    """Read the table of causes and lay a site's files over it.

    Args:
        overlays: Files in order; what they say under ``causes`` changes, drops (``drop``) or adds (``add: true``)
            entries by name. What a site adds is looked at first.

    Returns:
        The entries, in the order in which they are tried.

    Raises:
        TemplateError: With every problem of every file.
    """
    sources = Sources()
    shipped = read((files("p2c_lib") / "causes.yaml").read_text("utf-8"), "causes.yaml", sources, shipped=True)
    items: list[Any] = list(shipped["causes"]) if shipped else []
    known = {item["name"] for item in items}
    for node in (read_file(path, sources) for path in overlays):
        changes = node.get("causes") if node is not None else None
        if isinstance(changes, Node):
            items = change_list(sources, items, changes, "name", "cause")
        elif changes is not None and node is not None:
            sources.add(node.at("causes"), "must be entries by name, 'name: {...}'")
    items.sort(key=lambda item: item["name"] in known)
    causes = [cause for item in items for cause in _parse(sources, item)]
    if sources.problems:
        raise TemplateError(sources.problems)
    return tuple(causes)


def _parse(sources: Sources, item: Node) -> Iterator[Cause]:
    before = len(sources.problems)
    for key in item:
        if key not in _ENTRIES:
            sources.add(item.at(key), f"no such entry; {suggest(key, _ENTRIES)}")
    values = {key: str(item[key]) for key in _ENTRIES if item.get(key) is not None and key != "note"}
    for needed in ("cause", "remedy"):
        if needed not in values:
            sources.add(item.where, f"cause '{item['name']}': '{needed}' is missing")
    if not values.get("match") and not values.get("code"):
        sources.add(item.where, f"cause '{item['name']}': it must have a match or a code")
    choices = {"retry": RETRY, "system": get_args(System), "confidence": ("confirmed", "inferred")}
    values = {"retry": "later", "source": "site", **values}
    for name, allowed in choices.items():
        if values.get(name) and values[name] not in allowed:
            sources.add(item.at(name), f"'{values[name]}' is none of {', '.join(allowed)}")
    groups: set[str] = set()
    try:
        groups = set(re.compile(values.get("match", "")).groupindex)
        pl.Series([""]).str.contains(values.get("match", ""))  # Polars knows no look-around
    except (re.error, pl.exceptions.PolarsError) as error:
        sources.add(item.at("match"), f"is no regular expression: {str(error).partition(chr(10))[0]}")
    for name in ("cause", "remedy"):
        try:
            named = {part for _, part, _, _ in Formatter().parse(values.get(name, "")) if part is not None}
        except ValueError as error:
            sources.add(item.at(name), f"its braces do not fit: {error}")
            continue
        if named - groups and not sources.problems[before:]:
            sources.add(item.at(name), f"the match keeps no part '{', '.join(sorted(named - groups))}'")
    if len(sources.problems) == before:
        yield Cause(**values)


def explained(errors: pl.DataFrame, causes: Sequence[Cause]) -> pl.DataFrame:
    """Say what is behind errors.

    Args:
        errors: Columns ``message`` (String), ``code`` (String) and ``system``.
        causes: The table, as `load_causes` gives it.

    Returns:
        ``name``, ``cause``, ``remedy`` and ``retry``, a row a row; the first entry that fits is taken.
    """
    texts: dict[str, list[pl.Expr]] = {"name": [], "cause": [], "remedy": [], "retry": []}
    for entry in causes:
        pattern = f"(?is){entry.match}"
        fits = pl.lit(True)
        if entry.match and entry.code:
            fits = pl.col("message").str.contains(pattern) | (pl.col("code") == entry.code)
        elif entry.match:
            fits = pl.col("message").str.contains(pattern)
        else:
            fits = (pl.col("code") == entry.code) | pl.col("message").str.contains(entry.code, literal=True)
        if entry.system:
            fits &= pl.col("system") == entry.system
        fits = fits.fill_null(False)
        groups = re.compile(entry.match).groupindex
        said = {
            "name": pl.lit(entry.name),
            "cause": _worded(entry.cause, pattern, groups),
            "remedy": _worded(entry.remedy, pattern, groups),
            "retry": pl.lit(entry.retry),
        }
        for column, text in said.items():
            texts[column].append(pl.when(fits).then(text))
    rest = {"cause": _UNKNOWN, "remedy": _READ_IT, "retry": "later"}
    return errors.select(
        pl.coalesce(*parts, pl.lit(rest.get(column), pl.String)).alias(column) for column, parts in texts.items()
    )


def _worded(text: str, pattern: str, groups: Mapping[str, int]) -> pl.Expr:
    """A text with the parts of the message that its names stand for; a part that is not there is left blank."""
    parts = []
    for plain, name, _, _ in Formatter().parse(text):
        parts.append(pl.lit(plain))
        if name:
            parts.append(pl.col("message").str.extract(pattern, groups[name]).fill_null(""))
    return pl.concat_str(parts).str.replace_all(r" {2,}", " ") if len(parts) > 1 else pl.lit(text)


def failures(run_dir: Path, causes: Sequence[Cause]) -> pl.DataFrame:
    """Say of every action that was refused why, and what to do.

    Args:
        run_dir: The run's folder, its plan sent wholly or in part.
        causes: The table, as `load_causes` gives it.

    Returns:
        Columns of `FAILED`, by ``order``; personal values are masked in all of them.

    Raises:
        PlanError: There is no plan, or plan or journal are broken.
    """
    plan = read_plan(run_dir)
    refused = answers(plan).filter(pl.col("outcome") == "failed")
    refused = masked_words(plan, refused, "error")
    sent = plan.sendable().filter(pl.col("wire") != "computed")
    sent = site_masker().cells(sent, plan.head.get("masked", {}), "sent")
    actions = sent.group_by("order", maintain_order=True).agg(
        pl.col("task", "system", "entity", "action", "key", "currency").first(),
        fields=pl.col("field").str.join(", "),
        sent=pl.struct("property", pl.col("sent").alias("value")),
        amount=pl.col("amount").sum(),
    )
    rows = actions.join(refused, on="order", how="inner", maintain_order="left").with_columns(
        message=_message(), sent=_as_json(pl.col("sent"))
    )
    told = explained(rows.select("message", "code", "system"), causes)
    return pl.concat([rows, told], how="horizontal").select(FAILED.names()).cast(FAILED)


def masked_words(plan: Plan, rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Take the personal values of a plan's rows out of texts about them.

    Args:
        plan: The plan; its head names the personal fields.
        rows: With ``order`` and the columns: a service's words, why an action is held.
        columns: What to look through.

    Returns:
        The rows, with tokens in the place of their own values.
    """
    fields = [(task, name) for task, names in plan.head.get("masked", {}).items() for name in names]
    if not fields or rows.is_empty():
        return rows
    personal = pl.DataFrame(fields, schema={"task": pl.String, "field": pl.String}, orient="row")
    cells = plan.rows.join(rows.select("order"), on="order", how="semi").join(
        personal, on=["task", "field"], how="semi"
    )
    values = [cells.select("order", value=name) for name in ("before", "after", "was", "sent")]
    return site_masker().words(rows, pl.concat(values).drop_nulls(), *columns)


def masked_verified(plan: Plan, verified: pl.DataFrame) -> pl.DataFrame:
    """What became of actions (`verify.VERIFIED`), for people: personal values masked, also in the reasons."""
    cells = site_masker().cells(verified, plan.head.get("masked", {}), "before", "wanted", "found")
    return masked_words(plan, cells, "reason")


def _message() -> pl.Expr:
    """The service's own words: without our class in front, and without what we were doing."""
    words = (
        pl.col("error").str.replace(r"^\w+: ", "").str.replace(r"^(?:creating in|changing|deleting|calling) \S+: ", "")
    )
    return words.str.replace(r" \[HTTP \d+(?:, [^\]]*)?\]$", "")


def _as_json(values: pl.Expr) -> pl.Expr:
    """What was sent as one JSON object, every value as text."""
    one = pl.element().struct
    name, value = (pl.struct(v=one.field(part)).struct.json_encode().str.slice(5) for part in ("property", "value"))
    pair = pl.concat_str(name.str.strip_suffix("}"), pl.lit(": "), value.str.strip_suffix("}"))
    return pl.concat_str(pl.lit("{"), values.list.eval(pair).list.join(", "), pl.lit("}"))


def save_failures(run_dir: Path, causes: Sequence[Cause]) -> pl.DataFrame:
    """Keep what was refused as ``failed.csv`` in the run's folder, and as ``failed.parquet`` beside the plan; gone when
    nothing is.

    Args:
        run_dir: The run's folder.
        causes: The table.

    Returns:
        As `failures`.
    """
    rows = failures(run_dir, causes)
    for path in (plan_folder(run_dir) / "failed.parquet", run_dir / "failed.csv"):
        if rows.is_empty():
            path.unlink(missing_ok=True)
            continue
        draft = path.with_suffix(".tmp")
        if path.suffix == ".csv":
            guarded(rows.with_columns(pl.col("amount").cast(pl.String))).write_csv(draft, include_bom=True)
        else:
            rows.write_parquet(draft)
        draft.replace(path)
    return rows


def failed_again(run_dir: Path, only: str) -> pl.Series:
    """Find the actions that are to be sent again.

    Args:
        run_dir: The run's folder.
        only: ``failed`` for all that were refused, or a CSV file with the columns ``task`` and ``key``, such as
            ``failed.csv`` with rows taken out.

    Returns:
        Their numbers (UInt32).

    Raises:
        PlanError: Nothing was refused, or a row of the file was not.
    """
    plan = read_plan(run_dir)
    refused = answers(plan).filter(pl.col("outcome") == "failed").select("order")
    rows = plan.sendable().unique("order", maintain_order=True).join(refused, on="order", how="semi")
    if rows.is_empty():
        raise PlanError(f"{run_dir}: nothing of this plan was refused; there is nothing to send again")
    if only == "failed":
        return rows["order"]
    asked = read_list(Path(only))
    strangers = asked.join(rows, on=["task", "key"], how="anti")
    if strangers.height:
        named = ", ".join(f"{task} {key}" for task, key in strangers.head(5).iter_rows())
        raise PlanError(f"{only}: {strangers.height} of its rows were not refused: {named}; give rows of failed.csv")
    return rows.join(asked, on=["task", "key"], how="semi", maintain_order="left")["order"]


def causes_table(failed: pl.DataFrame) -> pl.DataFrame:
    """What was refused, for people: the causes, most rows first.

    Args:
        failed: Columns of `FAILED`.

    Returns:
        ``task``, ``cause``, ``remedy``, ``again`` (whether to send the rows again), ``rows`` and a ``key`` to look at.
    """
    again = {"now": "yes", "later": "when that is done", "never": "no: compare again"}
    return (
        failed.group_by("task", "cause", "remedy", "retry", maintain_order=True)
        .agg(rows=pl.len(), key=pl.col("key").first())
        .sort("rows", descending=True, maintain_order=True)
        .select("task", "rows", "cause", "remedy", again=pl.col("retry").replace_strict(again), key="key")
    )
