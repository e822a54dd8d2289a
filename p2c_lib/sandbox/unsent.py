"""Data as it is before the first load: one system, or each of them, without what the other one would bring there."""

from __future__ import annotations

import polars as pl

from p2c_lib.errors import SandboxError

__all__ = ["SIDES", "Frames", "unsent"]

SIDES = ("fno", "sales", "both")
Frames = dict[str, pl.DataFrame]

_LINES = ("quotedetails", "salesorderdetails", "invoicedetails")
_INVOICES = ("invoices", "invoicedetails")


def unsent(sales: Frames, fno: Frames, side: str) -> tuple[Frames, Frames]:
    """Take out of a system what tasks bring there; its own rows and its reference rows stay.

    Args:
        sales: Frames of Sales by entity set.
        fno: Frames of F&O by entity set.
        side: ``fno`` loses the customers and contact persons that are maintained externally, and all documents; Sales
            then keeps those documents only that F&O has nothing to say about yet. ``sales`` loses the products of F&O
            that no document of its own names. ``both``: both.

    Returns:
        The frames that are left.

    Raises:
        SandboxError: No such side.
    """
    if side not in SIDES:
        raise SandboxError(f"nothing to load into {side!r}; known: {', '.join(SIDES)}")
    if side in ("fno", "both"):
        sales, fno = _without_answers(sales), _without_copies(fno)
    if side in ("sales", "both"):
        sales = _without_products(sales)
    return sales, fno


def _without_copies(fno: Frames) -> Frames:
    flags = {"CustomersV2": "IsExternallyMaintained", "CDSContactPersons": "IsContactPersonExternallyMaintained"}
    kept = {name: frame.filter(pl.col(flags[name]) == "No") if name in flags else frame for name, frame in fno.items()}
    documents = [name for name in kept if name.startswith(("CDSSales", "ExternallyMaintainedCustomerSales"))]
    return {name: frame for name, frame in kept.items() if name not in documents}


def _without_answers(sales: Frames) -> Frames:
    """Orders that came back from F&O, and invoices, are not there before the first order was sent."""
    kept = {name: frame for name, frame in sales.items() if name not in _INVOICES}
    if "salesorders" in kept:
        own = kept["salesorders"].filter(~pl.col("msdynce_ismaintainedexternally").fill_null(False))
        lines = kept["salesorderdetails"]
        kept["salesorders"] = own
        kept["salesorderdetails"] = lines.join(
            own, left_on="_salesorderid_value", right_on="salesorderid", how="semi", maintain_order="left"
        )
    return kept


def _without_products(sales: Frames) -> Frames:
    if "products" not in sales:
        return sales
    named = [sales[lines]["_productid_value"].drop_nulls() for lines in _LINES if lines in sales]
    used = pl.concat(named).unique() if named else pl.Series(dtype=pl.String)
    is_own = ~pl.col("msdynce_ismaintainedexternally").fill_null(False)
    products = sales["products"].filter(is_own | pl.col("productid").is_in(used.implode()))
    items = sales["productpricelevels"].join(
        products, left_on="_productid_value", right_on="productid", how="semi", maintain_order="left"
    )
    return sales | {"products": products, "productpricelevels": items}
