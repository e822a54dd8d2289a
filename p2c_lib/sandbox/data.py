"""The data of a sandbox: both systems in agreement, or with differences put in, and the truth about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox import born, facts
from p2c_lib.sandbox.documents import documents, masters, with_tax_groups
from p2c_lib.sandbox.draw import Draw
from p2c_lib.sandbox.drift import TRUTH, excluded, inject
from p2c_lib.sandbox.reference import fno_reference, sales_reference
from p2c_lib.sandbox.traits import as_fno
from p2c_lib.sandbox.unsent import unsent

__all__ = ["SIZES", "World", "generate"]

# Documents are made when they are asked for: they take most of the time, and master data is in step without them.
SIZES: Mapping[str, Mapping[str, int]] = {
    "small": {"accounts": 300, "contacts": 450, "products": 120, "orders": 0},
    "medium": {"accounts": 20_000, "contacts": 30_000, "products": 5_000, "orders": 0},
    "large": {"accounts": 500_000, "contacts": 750_000, "products": 50_000, "orders": 0},
}


@dataclass(frozen=True)
class World:
    """Everything both systems hold, by entity set, and what a comparison has to find.

    Attributes:
        sales: Frames of Sales; lookups are ``_<name>_value`` guids, ``_parentcustomerid_type`` says account or contact.
        fno: Frames of F&O, ``dataAreaId`` among the columns; enums are member names, absent texts "".
        truth: Columns ``task``, ``key``, ``field``, ``outcome``, ``before``, ``after`` (text): one row for each row and
            field that does not match. ``key`` is as it stands on its side, "" where it is null; ``field`` is null for
            outcomes of rows. A row that both sides hold under bad keys has a line for each text of the key.
    """

    sales: dict[str, pl.DataFrame]
    fno: dict[str, pl.DataFrame]
    truth: pl.DataFrame


def generate(
    size: Literal["small", "medium", "large"] = "small",
    *,
    counts: Mapping[str, int] | None = None,
    seed: int = 7,
    drift: bool = False,
    empty: bool = False,
    to_load: str | None = None,
) -> World:
    """Make the rows of both systems.

    Args:
        size: About how much: 300, 20,000 or 500,000 accounts, half as many contacts again, fewer products.
        counts: Rows of ``accounts``, ``contacts``, ``products`` instead of those of the size.
        seed: Equal seeds give equal frames.
        drift: Put differences of every kind into the data.
        empty: Reference rows only (currencies, units, groups, ...), no business yet.
        to_load: ``fno``, ``sales`` or ``both``: without what the other system would bring there (`unsent`).

    Returns:
        The frames, each with the columns that hold something; amounts are ``Decimal(38, 12)``, instants
        ``Datetime("us", "UTC")``. Without drift the truth holds the contacts that no task sends, nothing else; with
        something to load it says nothing.

    Raises:
        SandboxError: No such size or side, drift in what is not there, a count of something unknown or below zero.
    """
    rows = _rows(size, counts)
    if empty:
        return World(sales_reference(0, 0), fno_reference(), TRUTH.to_frame())
    if to_load is not None:
        if drift:
            raise SandboxError("drift goes into rows that both systems have: not together with to_load")
        return World(*unsent(*_agreeing(rows, seed), to_load), TRUTH.to_frame())
    if drift:
        return World(*inject(*_agreeing(rows, seed), Draw(seed, "drift")))
    sales, fno = _agreeing(rows, seed)
    return World(sales, fno, excluded(sales, fno))


def _agreeing(rows: Mapping[str, int], seed: int) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Both systems without any difference."""
    accounts, organisations = facts.accounts(Draw(seed, "accounts"), rows["accounts"])
    contacts, persons_of, persons = facts.contacts(Draw(seed, "contacts"), rows["contacts"], accounts)
    goods, products, items = facts.products(Draw(seed, "products"), rows["products"])
    own = born.fno_born(Draw(seed, "fno"), 3 + rows["accounts"] // 40)
    own_products = born.sales_born(Draw(seed, "sales"), 3 + rows["products"] // 40)
    sales = sales_reference(rows["accounts"], rows["contacts"]) | {
        "accounts": accounts,
        "contacts": contacts,
        "products": pl.concat([products, own_products]),
        "productpricelevels": items,
    }
    fno = fno_reference() | {
        "CustomersV2": as_fno(pl.concat([organisations, persons, own["CustomersV2"]], how="diagonal")),
        "CDSContactPersons": as_fno(pl.concat([persons_of, own["CDSContactPersons"]], how="diagonal")),
        "SellableReleasedProducts": pl.concat([goods, own["SellableReleasedProducts"]]),
    }
    buying = masters(sales, fno, persons.height)
    fno["CustomersV2"] = with_tax_groups(fno["CustomersV2"], buying)
    sales_documents, fno_documents = documents(Draw(seed, "documents"), rows["orders"], buying)
    return sales | sales_documents, fno | fno_documents


def _rows(size: str, counts: Mapping[str, int] | None) -> dict[str, int]:
    if size not in SIZES:
        raise SandboxError(f"no size {size!r}; known: {', '.join(SIZES)}")
    rows = dict(SIZES[size]) | dict(counts or {})
    unknown = sorted(set(rows) - set(SIZES[size]))
    if unknown:
        raise SandboxError(f"counts: nothing is called {', '.join(unknown)}; known: {', '.join(SIZES[size])}")
    below = sorted(name for name, n in rows.items() if n < 0)
    if below:
        raise SandboxError(f"counts: {', '.join(below)} must be 0 or more")
    return rows
