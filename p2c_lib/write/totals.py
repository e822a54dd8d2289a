"""Fields that the destination works out itself: whether this plan makes them right, and how, or why it cannot.

They are never sent. Sales prices a line again when an amount of it is written, and a document when an amount of it or
of a line is; so a document whose total alone is wrong gets an action ``recalculate``: one of its amounts is sent as it
stands. F&O has its totals after the job "Calculate sales totals". Both work from what they hold: where a line is lost,
left over or held back, no calculation helps, and the line is named instead.
Source: rules of P2C, sections 10, 12 and 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from p2c_lib.connect import Client
from p2c_lib.explain import REASONS
from p2c_lib.model import Task, TieOut
from p2c_lib.money import decimal_places
from p2c_lib.pull import MONEY, pull
from p2c_lib.tieout import tie_out
from p2c_lib.write.documents import state_field
from p2c_lib.write.draft import Draft
from p2c_lib.write.saved import PLAN_COLUMNS

__all__ = ["settle"]

PRICE, QUANTITY, DISCOUNT, TAX = "priceperunit", "quantity", "manualdiscountamount", "tax"
_OFF = "system pricing is off in Sales ('Use system pricing calculation'): switch it on, which P2C needs anyway"
_WHY = pl.Schema({"order": pl.UInt32(), "field": pl.String(), "why": pl.String()})


@dataclass(frozen=True)
class _Priced:
    """What Sales works out of a row: the fields, the amounts it takes, and the one that is sent to make it do so."""

    fields: frozenset[str]
    inputs: tuple[str, ...]
    touch: str


_LINE = _Priced(frozenset({"extendedamount"}), (PRICE, QUANTITY, DISCOUNT, TAX), PRICE)
_HEADER = _Priced(
    frozenset({"totalamount", "totaltax", "totaldiscountamount"}),
    ("freightamount", "discountamount", "msdynce_misctax"),
    "freightamount",
)
_PRICED = {"salesorders": _HEADER, "invoices": _HEADER, "salesorderdetails": _LINE, "invoicedetails": _LINE}


def settle(
    drafts: Sequence[Draft], rows: pl.DataFrame, tasks: Sequence[Task], clients: Mapping[str, Client]
) -> pl.DataFrame:
    """Say of every computed field that differs whether this plan makes it right.

    Args:
        drafts: The tasks of the plan, each built, in order.
        rows: Columns of `PLAN_COLUMNS`; computed fields are held only where something else holds their row.
        tasks: All tasks that are known, to tell which lines a header has.
        clients: By system.

    Returns:
        The same rows. A computed field is held with the reason, or it has the ``wire`` ``computed``: the service works
        it out when the rest of the action is sent. An action of nothing else is a ``recalculate``, and has one more row
        for the amount that is sent as it stands.
    """
    by_task = {draft.task.name: draft for draft in drafts}
    for draft in sorted(drafts, key=lambda one: one.task.tie_out is None):  # lines first: headers add them up
        open_ = _open(draft, rows)
        if open_.is_empty():
            continue
        lines = next((t for t in tasks if t.tie_out is not None and t.tie_out.header == draft.task.name), None)
        if lines is None:
            why = _lines_why(draft, open_, rows, clients)
        elif lines.name not in by_task:
            said = f"its lines ({lines.name}) are not in this plan: compare and plan them together"
            why = open_.select("order", "field", why=pl.lit(said)).cast(_WHY)
        else:
            why = _header_why(draft, by_task[lines.name], open_, rows, clients)
        rows = _told(draft, rows, why)
    return rows


def _open(draft: Draft, rows: pl.DataFrame) -> pl.DataFrame:
    """Computed fields that nothing holds yet: ``order``, ``field``, ``source_row``."""
    computed = [field.destination for field in draft.task.fields if field.role == "computed"]
    mine = pl.col("task").eq(draft.task.name) & pl.col("action").eq("update") & pl.col("held").is_null()
    found = rows.filter(mine & pl.col("field").is_in(computed)).select("order", "field")
    return found.join(draft.base.select("order", "source_row"), on="order", how="left", maintain_order="left")


def _lines_why(draft: Draft, open_: pl.DataFrame, rows: pl.DataFrame, clients: Mapping[str, Client]) -> pl.DataFrame:
    """Why a line's computed amounts stay wrong; null where the plan makes them right."""
    priced = _PRICED.get(draft.entity.name)
    if priced is None:
        return open_.select("order", "field", why=_by_itself(draft)).cast(_WHY)
    amounts = draft.expected[open_["source_row"]].select(
        *(pl.col(name).cast(MONEY).fill_null(0) for name in (*priced.inputs, *priced.fields)),
        currency=pl.col(draft.task.currency) if draft.task.currency else pl.lit(None, pl.String),
    )
    worked = _rounded((amounts[PRICE] * amounts[QUANTITY]).cast(MONEY), amounts["currency"])
    worked = (worked - amounts[DISCOUNT] + amounts[TAX]).cast(MONEY)
    told = open_.with_columns(worked=worked, wanted=amounts["extendedamount"]).join(
        _held(rows, priced.inputs), on="order", how="left", maintain_order="left"
    )
    return told.select(
        "order",
        "field",
        why=pl.when(~pl.col("field").is_in(list(priced.fields)))
        .then(_by_itself(draft))
        .when(pl.lit(_is_off(clients)))
        .then(pl.lit(_OFF))
        .when(pl.col("input").is_not_null())
        .then(pl.format("it comes from {}, which is held back", "input"))
        .when(pl.col("worked") != pl.col("wanted"))
        .then(
            pl.format(
                "Sales works it out to {} from price, quantity, discount and tax: correct these at the source",
                _amount("worked"),
            )
        ),
    ).cast(_WHY)


def _header_why(
    draft: Draft, lines: Draft, open_: pl.DataFrame, rows: pl.DataFrame, clients: Mapping[str, Client]
) -> pl.DataFrame:
    """Why a header's computed amounts stay wrong; null where the plan makes them right by what it sends."""
    how = lines.task.tie_out
    assert how is not None
    number = draft.expected[how.document]
    named = open_.with_columns(document=_normal(number.gather(open_["source_row"])))
    of_lines = _lines_of(lines, rows, named["document"].unique())
    is_open = pl.col("field").is_in(open_["field"].unique().implode())
    sent = rows.filter((pl.col("task") == draft.task.name) & pl.col("held").is_null() & ~is_open)["order"].unique()
    named = named.join(of_lines, on="document", how="left", maintain_order="left").with_columns(
        header_sent=pl.col("order").is_in(sent.implode())
    )
    priced = _PRICED.get(draft.entity.name)
    if priced is None:
        return named.select("order", "field", why=_of_fno(draft, named)).cast(_WHY)
    told = (
        named.join(_held(rows, priced.inputs), on="order", how="left", maintain_order="left")
        .with_columns(wanted=_wanted(draft, named))
        .join(_worked(draft, lines, how), on=["document", "field"], how="left", maintain_order="left")
    )
    return told.select(
        "order",
        "field",
        why=pl.when(~pl.col("field").is_in(list(priced.fields)))
        .then(_by_itself(draft))
        .when(pl.lit(_is_off(clients)))
        .then(pl.lit(_OFF))
        .when(pl.col("input").is_not_null())
        .then(pl.format("it comes from {}, which is held back", "input"))
        .when(pl.col("wrong").is_not_null())
        .then(pl.format("Sales works it out from the lines: {}", "wrong"))
        .when(pl.col("worked") != pl.col("wanted"))
        .then(
            pl.format(
                "Sales works it out to {} from the lines and amounts of the source, which do not come to its total: "
                "calculate the totals there",
                _amount("worked"),
            )
        )
        .when(pl.col("lines_sent") & ~pl.col("header_sent"))
        .then(pl.lit("Sales works it out again when this plan's lines of the document are sent")),
    ).cast(_WHY)


def _of_fno(draft: Draft, named: pl.DataFrame) -> pl.Series:
    """F&O's totals: what must be put right first, or that the job must run, or that F&O comes to another amount."""
    states = draft.states if draft.states is not None else pl.DataFrame({"document": [], "is_stale": []})
    stale = named.join(states, on="document", how="left", maintain_order="left")["is_stale"].fill_null(False)
    job = "'Calculate sales totals' must run in F&O"
    return named.with_columns(stale=stale).select(
        why=pl.when(pl.col("wrong").is_not_null())
        .then(pl.format("F&O works it out from the lines: {}", "wrong"))
        .when(pl.col("lines_sent").fill_null(False) | pl.col("header_sent"))
        .then(pl.lit(f"{job} after this plan was sent"))
        .when("stale")
        .then(pl.lit(job))
        .otherwise(
            pl.lit(
                "F&O works it out from the same lines, with its own tax and charges: hold the customer's tax group and "
                "invoice address there against those of Sales"
            )
        )
    )["why"]


def _by_itself(draft: Draft) -> pl.Expr:
    return pl.lit(f"{draft.entity.name} sets it by what is done with the row there: do that, or correct it by hand")


def _held(rows: pl.DataFrame, inputs: Sequence[str]) -> pl.DataFrame:
    """The first amount of an action that is not sent although it differs: ``order``, ``input``."""
    held = rows.filter(pl.col("held").is_not_null() & pl.col("field").is_in(list(inputs)))
    return held.group_by("order").agg(input=pl.col("field").first())


def _lines_of(draft: Draft, rows: pl.DataFrame, documents: pl.Series) -> pl.DataFrame:
    """What is wrong with the lines of documents: ``document``, ``wrong`` (the first, in words), ``lines_sent``."""
    how = draft.task.tie_out
    assert how is not None
    home = state_field(draft.task)
    counts = {field.destination for field in draft.task.fields if field.tolerance is not None or field.money}
    counts |= {home[0]} if home else set()
    is_held = pl.col("held").is_not_null()
    mine = rows.filter(pl.col("task") == draft.task.name).join(draft.base.select("order", "source_row"), on="order")
    actions = mine.group_by("source_row").agg(
        sent=(~is_held).any(), held=pl.col("held").filter(is_held & pl.col("field").is_in(list(counts))).first()
    )
    differ = draft.rows.filter(pl.col("outcome") != "matched")
    ours, theirs = (
        _normal(frame[how.line_document].gather(differ[number]))
        for frame, number in ((draft.expected, "source_row"), (draft.found, "destination_row"))
    )
    differ = differ.with_columns(document=ours.fill_null(theirs)).filter(pl.col("document").is_in(documents.implode()))
    differ = differ.join(actions, on="source_row", how="left", maintain_order="left")
    number = pl.col("key").str.split("|").list.last()
    line = pl.when(number == "").then(pl.lit("a line without number")).otherwise(pl.format("line {}", number))
    words = {code: reason.says for code, reason in REASONS.items()} | {c.name: c.says for c in draft.task.filter}
    says = pl.col("reason").replace_strict(words, default=pl.col("reason"), return_dtype=pl.String)
    wrong = (
        pl.when(pl.col("held").is_not_null())
        .then(pl.format("{} is held back ({})", line, "held"))
        .when(pl.col("sent").is_not_null())
        .then(None)
        .when(pl.col("outcome") == "extra")
        .then(pl.format("{} is at the destination alone", line))
        .otherwise(pl.format("{} is {} ({})", line, "outcome", says.fill_null("no reason")))
    )
    stray = _stray(draft, home[0] if home else None, documents)
    told = pl.concat([differ.select("document", "key", "sent", wrong=wrong), stray])
    return (
        told.sort("key", maintain_order=True)
        .group_by("document")
        .agg(wrong=pl.col("wrong").drop_nulls().first(), lines_sent=pl.col("sent").fill_null(False).any())
    )


def _stray(draft: Draft, home: str | None, documents: pl.Series) -> pl.DataFrame:
    """Lines that hang in one document and carry the number of another: the first adds them up."""
    cells = draft.cells.filter(pl.col("field") == home) if home else draft.cells.clear()
    return cells.select(
        document=_normal(cells["found"]),
        key="key",
        sent=pl.lit(False),
        wrong=pl.format("line {} of another document hangs in it", "key"),
    ).filter(pl.col("document").is_in(documents.implode()))


def _wanted(draft: Draft, named: pl.DataFrame) -> pl.Series:
    """The expected value of each row's computed field."""
    whole = draft.expected[named["source_row"]]
    priced = [name for name in _HEADER.fields if name in whole.columns]
    picks = pl.DataFrame({"field": named["field"], **{name: whole[name].cast(MONEY) for name in priced}})
    return picks.select(
        wanted=pl.coalesce(pl.when(pl.col("field") == name).then(pl.col(name)) for name in priced).fill_null(0)
    )["wanted"]


def _worked(draft: Draft, lines: Draft, how: TieOut) -> pl.DataFrame:
    """What Sales comes to when it holds what the source says: ``document``, ``field``, ``worked``."""
    flowing = lines.rows.filter(pl.col("outcome") != "excluded")["source_row"].drop_nulls()
    whole = lines.expected[flowing]
    taxes = whole.group_by(document=_norm(how.line_document)).agg(tax=pl.col(TAX).fill_null(0).sum().cast(MONEY))
    tied = tie_out(draft.expected, whole, how, "expected").select(
        document=_norm("document"), worked=(pl.col("total") - pl.col("difference")).cast(MONEY)
    )
    heads = draft.expected.select(document=_norm(how.document), discount=pl.col("discountamount").fill_null(0))
    parts = [
        tied.select("document", field=pl.lit(how.total), worked="worked"),
        heads.join(taxes, on="document", how="left").select(
            "document", field=pl.lit("totaltax"), worked=pl.col("tax").fill_null(0)
        ),
        heads.select("document", field=pl.lit("totaldiscountamount"), worked="discount"),
    ]
    cast = [part.with_columns(pl.col("worked").cast(MONEY)) for part in parts]
    return pl.concat(cast).unique(["document", "field"], keep="none")


def _rounded(amounts: pl.Series, currency: pl.Series) -> pl.Series:
    """Amounts rounded half away from zero to the smallest unit of their currency."""
    frame = pl.DataFrame({"amount": amounts, "currency": currency.fill_null("")})
    rounded = pl.col("amount")
    for code in currency.fill_null("").unique():
        places = decimal_places(code)
        one = pl.col("amount").round(places, mode="half_away_from_zero").cast(MONEY)
        rounded = pl.when(pl.col("currency") == code).then(one).otherwise(rounded)
    return frame.select(rounded)["amount"]


def _amount(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).str.replace(r"0+$", "").str.replace(r"\.$", "")


def _normal(numbers: pl.Series) -> pl.Series:
    return numbers.str.strip_chars().str.to_lowercase()


def _norm(column: str) -> pl.Expr:
    return pl.col(column).str.strip_chars().str.to_lowercase()


def _is_off(clients: Mapping[str, Client]) -> bool:
    """Whether Sales does not price documents itself."""
    client, column = clients["sales"], "oobpricecalculationenabled"
    if column not in client.entity("organizations").columns:
        return False
    return pull(client, "organizations", [column])[column].to_list() == [False]


def _told(draft: Draft, rows: pl.DataFrame, why: pl.DataFrame) -> pl.DataFrame:
    """The plan's rows with what was found out: held, or worked out by the service with what the action sends."""
    cured = why.filter(pl.col("why").is_null()).select("order", "field", is_cured=pl.lit(True))
    rows = rows.join(why, on=["order", "field"], how="left", maintain_order="left")
    rows = rows.join(cured, on=["order", "field"], how="left", maintain_order="left").with_columns(
        held=pl.coalesce("held", "why"),
        wire=pl.when(pl.col("is_cured")).then(pl.lit("computed")).otherwise("wire"),
    )
    priced = _PRICED.get(draft.entity.name)
    if cured.is_empty() or priced is None:
        return rows.select(PLAN_COLUMNS.names())
    orders = cured["order"].unique()
    mine = rows.filter(pl.col("order").is_in(orders.implode()))
    is_sent = pl.col("held").is_null() & (pl.col("wire") != "computed")
    sends = mine.group_by("order").agg(
        any=is_sent.any(), priced=(is_sent & pl.col("field").is_in(list(priced.inputs))).any()
    )
    alone = sends.filter(~pl.col("any"))["order"]
    rows = rows.with_columns(
        action=pl.when(pl.col("order").is_in(alone.implode())).then(pl.lit("recalculate")).otherwise("action")
    )
    touched = sends.filter(~pl.col("priced"))["order"]
    return pl.concat([rows.select(PLAN_COLUMNS.names()), _touches(draft, rows, touched, priced.touch)]).sort(
        "order", maintain_order=True
    )


def _touches(draft: Draft, rows: pl.DataFrame, orders: pl.Series, field: str) -> pl.DataFrame:
    """A row for each of these actions: an amount that is right already, sent as it stands."""
    firsts = rows.filter(pl.col("order").is_in(orders.implode())).unique("order", keep="first", maintain_order=True)
    numbers = firsts.select("order").join(draft.base.select("order", "source_row"), on="order", how="left")
    stands = draft.expected[field].gather(numbers["source_row"]).cast(MONEY)
    return (
        firsts.with_columns(
            field=pl.lit(field),
            property=pl.lit(field),
            before=stands.cast(pl.String),
            wire=pl.lit("number"),
            amount=pl.lit(None, MONEY),
            held=pl.lit(None, pl.String),
        )
        .with_columns(before=_amount("before"))
        .with_columns(after="before", was="before", sent="before")
        .select(PLAN_COLUMNS.names())
    )
