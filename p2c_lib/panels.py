"""What notebooks show of documents: the way from quote to cash, what is held up, what ties out, one of them in detail.

Each function reads what a run left in its folder, or is given it, and gives HTML; nothing is pulled here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

import polars as pl

from p2c_lib import charts, drill, funnel, report
from p2c_lib.explain import main_reasons, money_text
from p2c_lib.masking import site_masker
from p2c_lib.model import Task, Template, TieOut, all_tasks
from p2c_lib.places import task_folder
from p2c_lib.quality import wide
from p2c_lib.show import details, figure, table, words

CAUSES_SHOWN = 25
LINES_SHOWN = 200
SYSTEMS = charts.SYSTEMS
QUALITY_NOTE = (
    "The share of what the expectations looked at that is as it should be, from 0 to 100, rounded down; a critical one "
    "weighs 3, a warning 2, information 1. The change is that since the last run of the task."
)


def told(folder: Path, tasks: Sequence[str], templates: Mapping[str, Template]) -> pl.DataFrame:
    """The documents that the tasks of a run have read, in one form (`funnel.DOCUMENT_COLUMNS`)."""
    by_name = {task.name: task for task in all_tasks(templates)}
    frames = [funnel.DOCUMENT_COLUMNS.to_frame()]
    for place in funnel.places_of([task for task in tasks if task in by_name]):
        path = task_folder(folder, place.task) / f"{place.side}.parquet"
        wanted = [*place.columns, *funnel.conditions(place, by_name[place.task])]
        present = pl.read_parquet_schema(path)
        frame = pl.read_parquet(path, columns=[name for name in dict.fromkeys(wanted) if name in present])
        frames.append(funnel.documents(place, frame, templates))
    return pl.concat(frames)


def quote_to_cash(documents: pl.DataFrame, templates: Mapping[str, Template]) -> str:
    """How many documents of each side have come how far, and what they are worth."""
    if documents.is_empty():
        return words("No quote, order or invoice was read.")
    stages = funnel.funnel(documents, templates)
    drawn = charts.funnel_bars(stages)
    texts = stages.with_columns(
        amount=pl.Series(
            [money_text(amount, code) if count else "" for amount, code, count in
             stages.select("amount", "currency", "documents").iter_rows()], dtype=pl.String)
    )  # fmt: skip
    merged = texts.group_by("stage", "system", maintain_order=True).agg(
        pl.col("documents").sum(), amount=pl.col("amount").str.join("\n")
    )
    shown = merged["stage"].unique(maintain_order=True).to_frame()
    for system, name in SYSTEMS.items():
        side = merged.filter(pl.col("system") == system).select(
            "stage", pl.col("documents").alias(f"{name} documents"), pl.col("amount").alias(f"amount in {name}")
        )
        shown = shown.join(side, on="stage", how="left", maintain_order="left")
    note = (
        "Documents as they stand on each side, repeated numbers counted each; one that reached a stage counts in those "
        "before it, a cancelled order as made only. F&O has a quote once it was activated in Sales."
    )
    return figure(drawn) + _table(shown, note, [f"amount in {name}" for name in SYSTEMS.values()])


def lifecycles(documents: pl.DataFrame, templates: Mapping[str, Template], at: datetime) -> str:
    """The documents of each kind by status on both sides: in step, behind, ahead, cancelled apart; and their age."""
    parts = []
    for kind in funnel.KINDS:
        standing = funnel.lifecycle(documents, kind, templates)
        if standing["system"].n_unique() < len(SYSTEMS):
            continue  # one side alone is neither behind nor ahead
        drawn = charts.lifecycle_bars(funnel.by_status(standing))
        parts.append(f"<h3>{kind.capitalize()}</h3>" + figure(drawn) + _apart(funnel.apart(standing, at), kind))
    return "".join(parts) or words("The documents of one side alone are neither behind nor ahead.")


def _apart(apart: pl.DataFrame, kind: str) -> str:
    if apart.is_empty():
        return words("Every document stands alike on both sides.")
    shown = apart.with_columns(pl.col("in_Sales", "in_F&O").fill_null(""))
    if apart["oldest_days"].null_count() == apart.height:
        shown = shown.drop("median_days", "oldest_days")
    late = (
        "Sales behind is a late run, Sales ahead an error: F&O decides how far an order is. "
        if kind == "orders"
        else ""
    )
    return _table(shown, late + "Days are those since the last change, where its side tells.")


def amounts(table: pl.DataFrame) -> str:
    """What is at stake, by the main reason of each row that is not in step, and by currency.

    Args:
        table: Columns of `explain.OUTCOME_COLUMNS`.
    """
    differing = (pl.col("outcome") != "excluded") & (pl.col("code") != "quirk") & (pl.col("amount").fill_null(0) != 0)
    main = main_reasons(table).filter(differing)
    if main.is_empty():
        return words("No amount is at stake.")
    by = ["reason", "currency"]
    worth = main.group_by(by, maintain_order=True).agg(rows=pl.len(), amount=pl.col("amount").sum())
    worth = worth.sort(pl.col("rows").sum().over("reason"), *by, descending=[True, False, False], maintain_order=True)
    texts = report.with_money(worth).group_by("reason", maintain_order=True)
    drawn = charts.amount_by_currency(worth.select("reason", "currency", "amount"), by="reason")
    return figure(drawn) + _table(texts.agg(pl.col("rows").sum(), pl.col("amount").str.join("\n")))


def held_up(chains: pl.DataFrame) -> str:
    """What holds blocked rows up, back to the first cause, each cause once (`chains.CHAIN_COLUMNS`)."""
    if chains.is_empty():
        return words("No row waits for another one.")
    found = report.causes(chains)
    left = found.height - CAUSES_SHOWN
    return _table(found.head(CAUSES_SHOWN), f"{left:,} more causes are in blocked.parquet" if left > 0 else "")


def ties(tied: pl.DataFrame, sample: int) -> str:
    """Whether documents tie out, by task and currency, and those that do not, worst first (`tieout.ACROSS_COLUMNS`)."""
    if tied.is_empty():
        return words("No document was compared with its lines.")
    counted = _table(report.tie_table(tied), right=report.DOCUMENT_AMOUNTS)
    off = report.document_table(tied, sample)
    return counted + (_table(off, right=report.DOCUMENT_AMOUNTS) if off.height else "")


def odd(quirks: pl.DataFrame) -> str:
    """What templates do that one would not expect, known and no error (`quirks.QUIRK_COLUMNS`)."""
    shown = report.quirk_table(quirks)
    return _table(shown) if shown.height else words("No row is touched by a known quirk of a template.")


def kept(folder: Path, task: Task) -> drill.Frames:
    """What a run kept of a task, to be read where it is needed."""
    place = task_folder(folder, task.name)
    names = ("source", "expected", "found", "rows", "outcomes")
    made = place / "freight_tax.parquet"
    frames = {name: pl.scan_parquet(place / f"{name}.parquet") for name in names}
    lines = pl.scan_parquet(made) if made.exists() else None
    return drill.Frames(task, **frames, freight_tax=lines, masker=site_masker())


def family(task: Task, templates: Mapping[str, Template]) -> tuple[Task, Task, TieOut] | None:
    """The header task and the line task that a task belongs to, and how they tie out; None if it has no documents."""
    tasks = all_tasks(templates)
    for lines in tasks:
        if lines.tie_out and task.name in (lines.name, lines.tie_out.header):
            header = next(other for other in tasks if other.name == lines.tie_out.header)
            return header, lines, lines.tie_out
    return None


def document(folder: Path, parts: Sequence[Task], how: TieOut, number: str) -> str:
    """One document in detail: its header and every line, field by field, and its totals against its lines.

    Args:
        folder: A run's, which has the tasks.
        parts: The header's task, the lines', or both.
        how: How they tie out.
        number: The document's; "" takes the one in which most fields differ.

    Raises:
        ParameterError: No document has that number; with the nearest ones.
    """
    frames = [kept(folder, task) for task in parts]
    name = drill.find_document(frames, how, number)
    if not name:
        return words("There is no document to look into.")
    chosen = "" if number.strip() else ", the document in which most fields differ"
    shown = [f"<h3>{escape(name)}{chosen}</h3>"]
    for one in frames:
        is_header = one.task.name == how.header
        rows = drill.look_into(one, how, name)
        title = "Header" if is_header else f"{len(rows)} lines" if len(rows) != 1 else "1 line"
        shown.append(f"<h4>{title} ({escape(one.task.name)})</h4>")
        if not rows:
            shown.append(words("None on either side."))
        shown += [_row(row) for row in rows[:LINES_SHOWN]]
        if len(rows) > LINES_SHOWN:
            shown.append(words(f"{len(rows) - LINES_SHOWN:,} more lines are in the run's folder."))
        if is_header and len(frames) > 1:
            shown.append("<h4>The header's total against its lines</h4>" + _totals(frames, how, name))
    return "".join(shown)


def _totals(frames: Sequence[drill.Frames], how: TieOut, name: str) -> str:
    header, lines = sorted(frames, key=lambda one: one.task.name != how.header)
    sides = drill.totals(header, lines, how, name)
    if sides.is_empty():
        return words("Neither side has the header among the rows that flow.")
    money = [column for column, dtype in sides.schema.items() if dtype.is_decimal()]
    added, taken = " + ".join(["sum_of_lines", *how.plus]), "".join(f" - {column}" for column in how.minus)
    note = f"difference = {how.total} - ({added}{taken})"
    if "freight_tax_line" in sides.columns and how.freight_tax:
        note += f"; at the destination with freight_tax_line in place of {how.freight_tax.tax}"
    return _table(report.with_money(sides, *money), note, money)


def _row(row: drill.Row) -> str:
    """A header or a line that opens: what differs in sight, what agrees folded away."""
    differs = ~pl.col("outcome").is_in(["agrees", "not compared"])
    off, same = row.fields.filter(differs), row.fields.filter(~differs)
    summary = f"{row.key or '(blank key)'}: {row.outcome}"
    if row.side != "both":
        said = f": {row.reason} (remedy: {row.remedy or 'none'})" if row.reason else ""
        lone = ["outcome", "reason", "remedy", "found" if row.side == "source" else "expected"]
        return details(f"{summary}, at the {row.side} only{said}", _table(row.fields.drop(lone)))
    if off.is_empty():
        return details(summary, _table(same.drop("reason", "remedy")))
    agree = details(f"{same.height} fields that agree", _table(same.drop("reason", "remedy")))
    inside = _table(off) + agree
    return details(f"{summary}, {off.height} of {row.fields.height} fields differ", inside, is_open=True)


def _table(frame: pl.DataFrame, note: str = "", right: Sequence[str] = ("amount",)) -> str:
    shown: str = table(frame, note, right=right).data
    return shown


def data_quality(figures: report.Figures) -> str:
    """How good the data of a run are: scores as a chart and as numbers with the change, the worst columns."""
    scores = figures.quality
    if not scores["checks"].sum():
        return words("No expectations were evaluated in this run.")
    worst = figures.worst
    shown = figure(charts.quality_heatmap(scores)) + _table(wide(scores), QUALITY_NOTE)
    return shown + (f"<h4>Columns with the lowest scores</h4>{_table(worst)}" if worst.height else "")
