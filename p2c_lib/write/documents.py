"""What a document's own state forbids: closed documents, products that are not for sale, doubled Freight Tax lines.

All of it is known before anything is sent: a call that must fail is not made, its rows are held with the reason.
Source: rules of P2C, sections 8 to 10, and the states that the documents of both systems have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from p2c_lib.connect import Client, literal
from p2c_lib.model import FieldMap, Task
from p2c_lib.pull import pull

__all__ = ["doubled_freight_tax", "read_states", "state_field", "unsold"]

_AT_ONCE = 20  # documents in one filter; see `standing`
_FEW = 500  # up to so many documents are asked for by number, more by reading the whole set


@dataclass(frozen=True)
class _Document:
    """A set of headers: the columns to read, and over them why a document is closed, and whether its totals wait."""

    columns: tuple[str, ...]
    closed: pl.Expr
    stale: pl.Expr


def _state(column: str, closed: Mapping[int, str], unless: pl.Expr | None = None) -> pl.Expr:
    words = {state: f"it is {word} in Sales: reopen it there first, or leave it" for state, word in closed.items()}
    says = pl.col(column).replace_strict(words, default=None, return_dtype=pl.String)
    return says if unless is None else pl.when(~unless.fill_null(False)).then(says)


_IS_FOLLOWED = (pl.col("statecode") == 4) & pl.col("msdynce_ismaintainedexternally")
_DOCUMENTS = {
    # An invoiced order of F&O still takes updates: later deliveries of it come back as well.
    "salesorders": _Document(
        ("statecode", "msdynce_ismaintainedexternally"),
        _state("statecode", {2: "cancelled", 3: "fulfilled", 4: "invoiced"}, _IS_FOLLOWED),
        pl.lit(False),
    ),
    "invoices": _Document(("statecode",), _state("statecode", {1: "closed", 2: "paid", 3: "cancelled"}), pl.lit(False)),
    "CDSSalesQuotationHeaders": _Document(
        ("SalesQuotationStatus", "AreTotalsCalculated"),
        pl.when(pl.col("SalesQuotationStatus").is_in(["Confirmed", "Lost", "Cancelled"])).then(
            pl.format("the quotation is {} in F&O, and closed to changes", pl.col("SalesQuotationStatus"))
        ),
        pl.col("AreTotalsCalculated") != "Yes",
    ),
    # From the confirmation on F&O is the order's master; older values of Sales would overwrite what was agreed. An
    # order that was confirmed when it was compared is left out there (`as_long_as`); this looks again.
    "CDSSalesOrderHeaders": _Document(
        ("SalesOrderProcessingStatus", "AreTotalsUpdated"),
        pl.when(pl.col("SalesOrderProcessingStatus") != "Active").then(
            pl.format(
                "the order is {} in F&O, which is its master from the confirmation on",
                pl.col("SalesOrderProcessingStatus"),
            )
        ),
        pl.col("AreTotalsUpdated") != "Yes",
    ),
}

_GOODS = {
    "products": (
        "statecode",
        pl.col("statecode") != 0,
        "product {} is not active in Sales (a draft, retired or under revision): publish it there, then plan again",
    ),
    "SellableReleasedProducts": (
        "IsSalesStopped",
        pl.col("IsSalesStopped") == "Yes",
        "sales of product {} are stopped in F&O: release it there, then plan again",
    ),
}
"""By the set of products: the column that says whether one is for sale, when it is not, and what to do."""

_NEW_ARE_DRAFTS = (
    "product {} is made by this plan, as a draft (the setting 'Create products in active state' is off in Sales): "
    "publish it, then plan again"
)


def state_field(task: Task) -> tuple[str, str, str] | None:
    """Where a task's rows say which document they are of, if documents of that kind have states that matter.

    Args:
        task: A task of headers or of lines.

    Returns:
        The field of the task that holds the document's number, the set of the headers, and its column with the
        number; None for other tasks.
    """
    if task.tie_out is not None:
        parents = ((field, parent) for field in task.fields for parent in field.parent)
        for field, parent in parents:
            if parent.task == task.tie_out.header and parent.entity in _DOCUMENTS:
                return field.destination, parent.entity, parent.column
        return None
    number = next(iter(task.key))
    return (number, task.destination.entity, number) if task.destination.entity in _DOCUMENTS else None


def read_states(client: Client, entity: str, column: str, numbers: pl.Series) -> pl.DataFrame:
    """Read how documents stand at the destination right now.

    Args:
        client: Of the destination.
        entity: Set of headers.
        column: Its column with the number.
        numbers: String, numbers of the documents asked for.

    Returns:
        A row a document that is there: ``document`` (number, trimmed, lower case), ``closed`` (why nothing of it can
        be written, null: it can) and ``is_stale`` (its totals wait for F&O's job). A number that several have is left
        out.
    """
    kind, known = _DOCUMENTS[entity], client.entity(entity)
    columns = [name for name in kind.columns if name in known.columns]
    wanted = numbers.drop_nulls().unique().sort()
    nothing = pl.DataFrame(schema={"document": pl.String, "closed": pl.String, "is_stale": pl.Boolean})
    if wanted.is_empty() or len(columns) < len(kind.columns):
        return nothing
    edm = known.column(column).edm_type
    filters: list[str | None] = [None]
    if wanted.len() <= _FEW:
        asked = [f"{column} eq {literal(number, edm)}" for number in wanted]
        filters = [" or ".join(asked[at : at + _AT_ONCE]) for at in range(0, len(asked), _AT_ONCE)]
    rows = pl.concat([pull(client, entity, [column, *columns], filter=one) for one in filters])
    rows = rows.select(
        document=pl.col(column).str.strip_chars().str.to_lowercase(),
        closed=kind.closed.cast(pl.String),
        is_stale=kind.stale.fill_null(False),
    )
    return rows.unique("document", keep="none", maintain_order=True)


def unsold(client: Client, field: FieldMap, numbers: pl.Series, is_made: pl.Series) -> pl.Series | None:
    """Say of each line's product why it cannot be put on a line.

    Args:
        client: Of the destination.
        field: The field with the product's number.
        numbers: String, of each line, in its field's spelling.
        is_made: Whether the product is not there yet, because the same plan makes it.

    Returns:
        Why not, null where it can; None where the field points to no products.
    """
    kinds = [(parent, _GOODS[parent.entity]) for parent in field.parent if parent.entity in _GOODS]
    if not kinds:
        return None
    parent, (column, is_off, says) = kinds[0]
    if column not in client.entity(parent.entity).columns or numbers.is_empty():
        return pl.repeat(None, numbers.len(), dtype=pl.String, eager=True)
    rows = pull(client, parent.entity, [parent.column, column])
    off = rows.filter(is_off)[parent.column].str.strip_chars().str.to_lowercase()
    normal = pl.col("number").str.strip_chars().str.to_lowercase()
    drafts = pl.lit(_new_are_drafts(client)) if is_made.any() else pl.lit(False)
    return pl.DataFrame({"number": numbers, "is_made": is_made}).select(
        why=pl.when(normal.is_in(off.implode()))
        .then(pl.format(says, "number"))
        .when(pl.col("is_made") & drafts)
        .then(pl.format(_NEW_ARE_DRAFTS, "number"))
    )["why"]


def _new_are_drafts(client: Client) -> bool:
    column = "createproductswithoutparentinactivestate"
    if client.system != "sales" or column not in client.entity("organizations").columns:
        return False
    return pull(client, "organizations", [column])[column].to_list() == [False]


def doubled_freight_tax(client: Client, entity: str, field: str, ids: pl.Series) -> pl.Series | None:
    """Say of each document why its tax on charges cannot be written: Sales refuses it beside two Freight Tax lines.

    Args:
        client: Of Sales.
        entity: Set of headers.
        field: The field that is to be written.
        ids: String, the ids of the documents.

    Returns:
        Why not, null where it can; None where the field is no tax on charges. Source: rules of P2C, section 17.
    """
    lines, parent = {"salesorders": ("salesorderdetails", "_salesorderid_value"),
                     "invoices": ("invoicedetails", "_invoiceid_value")}.get(entity, ("", ""))  # fmt: skip
    if field != "msdynce_misctax" or not lines:
        return None
    wanted = ids.drop_nulls().unique().sort()
    asked = [f"{parent} eq {number}" for number in wanted] if wanted.len() <= _FEW else []
    chunks = [f" and ({' or '.join(asked[at : at + _AT_ONCE])})" for at in range(0, len(asked), _AT_ONCE)]
    if wanted.len() > _FEW:
        chunks = [""]
    found = [pull(client, lines, [parent], filter=f"msdynce_ismisctax eq true{chunk}") for chunk in chunks]
    several = pl.concat(found)[parent].value_counts().filter(pl.col("count") > 1)[parent] if found else ids.clear()
    why = "it has more than one Freight Tax line in Sales: delete the extra one there, then plan again"
    return ids.to_frame("id").select(why=pl.when(pl.col("id").is_in(several.implode())).then(pl.lit(why)))["why"]
