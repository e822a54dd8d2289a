"""Differences put into two systems that agree, of every kind of outcome and for every task, and the truth about them.

A row gets one injection. Rows whose key is broken, or that are taken away, have no children, except where a missing
parent is what is wanted; so no difference causes another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from p2c_lib.sandbox.changes import FIELDS
from p2c_lib.sandbox.documents_drift import inject_documents
from p2c_lib.sandbox.documents_truth import excluded_documents, in_use
from p2c_lib.sandbox.draw import Draw
from p2c_lib.sandbox.edits import TRUTH, Drift, Ends, change_fields, tidy

__all__ = ["TRUTH", "excluded", "inject"]

SHARE = 0.002  # of a task's rows, for each kind of difference
LEAST = 2

ACCOUNTS, CONTACTS, PRODUCTS = ("sales", "accounts"), ("sales", "contacts"), ("sales", "products")
CUSTOMERS, PERSONS, GOODS = ("fno", "CustomersV2"), ("fno", "CDSContactPersons"), ("fno", "SellableReleasedProducts")
ITEMS = ("sales", "productpricelevels")

IS_ACTIVE, OF_ACCOUNT = pl.col("msdynce_isactivecustomer"), pl.col("msdynce_iscompanyanaccount")
FLOWS = {"contacts": ~IS_ACTIVE & OF_ACCOUNT, "contacts_to_customer": IS_ACTIVE}


TASKS = {
    "products": Ends(GOODS, "ProductNumber", PRODUCTS, "productnumber"),
    "accounts": Ends(ACCOUNTS, "accountnumber", CUSTOMERS, "CustomerAccount"),
    "contacts": Ends(CONTACTS, "msdynce_contactnumber", PERSONS, "ContactPersonPartyNumber"),
    "contacts_to_customer": Ends(CONTACTS, "msdynce_contactnumber", CUSTOMERS, "CustomerAccount"),
}


def excluded(sales: Mapping[str, pl.DataFrame], fno: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Truth about the rows that a task's filter leaves out: one row for each text of a key."""
    contacts = sales["contacts"]
    parts = [
        contacts.filter(~flows).select(task=pl.lit(task), key=pl.col("msdynce_contactnumber").fill_null(""))
        for task, flows in FLOWS.items()
    ]
    parts += excluded_documents(sales, fno)
    return tidy(pl.concat(parts).with_columns(field=None, before=None, after=None, outcome=pl.lit("excluded")))


class _Pool:
    """Rows of a task that agree and are free to be changed, in random order; each is taken once."""

    def __init__(self, drift: Drift, task: str, in_use: pl.Series) -> None:
        self.drift, self.task, self.ends = drift, task, TASKS[task]
        ends = self.ends
        left = drift.frames[ends.source].with_row_index("source_row")
        left = left.filter(FLOWS.get(task, pl.lit(True)) if ends.source == CONTACTS else pl.lit(True))
        left = left.select("source_row", key=ends.source_key)
        right = drift.frames[ends.destination].with_row_index("destination_row")
        right = right.select("destination_row", key=ends.destination_key)
        pairs = left.join(right, on="key", how="inner", maintain_order="left")
        pairs = pairs.filter(
            ~pl.col("source_row").is_in(self._bound().implode()) & ~pl.col("key").is_in(in_use.implode())
        )
        self.rows = pairs[pl.Series(drift.draw.rng.permutation(pairs.height))]
        self.n = max(LEAST, round(left.height * SHARE))

    def _bound(self) -> pl.Series:
        """Source rows others depend on (companies of contacts), or changed before."""
        place, drift = self.ends.source, self.drift
        bound = [rows.cast(pl.UInt32) for rows in drift.used.get(place, [])]
        if place in (ACCOUNTS, CONTACTS):
            own = "accountid" if place == ACCOUNTS else "contactid"
            companies = drift.frames[CONTACTS]["_parentcustomerid_value"].drop_nulls().unique().implode()
            bound.append(drift.frames[place].select(pl.arg_where(pl.col(own).is_in(companies))).to_series())
        return pl.concat([pl.Series([], dtype=pl.UInt32), *bound])

    def take(self, n: int, source: pl.Expr | None = None, destination: pl.Expr | None = None) -> pl.DataFrame:
        """Take up to `n` rows that meet a condition on either side: ``key``, ``source_row``, ``destination_row``."""
        fit = pl.repeat(True, self.rows.height, eager=True)
        sides = ((self.ends.source, "source_row", source), (self.ends.destination, "destination_row", destination))
        for place, number, condition in sides:
            if condition is not None:
                holds = self.drift.frames[place].select(condition).to_series().fill_null(False)
                fit = fit & holds.gather(self.rows[number])
        taken = self.rows.filter(fit).head(n)
        self.rows = self.rows.filter(~pl.col("source_row").is_in(taken["source_row"].implode()))
        return taken


def inject(
    sales: dict[str, pl.DataFrame], fno: dict[str, pl.DataFrame], draw: Draw
) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame], pl.DataFrame]:
    """Put differences of every kind into two sides that agree.

    Args:
        sales: Frames of Sales by entity set.
        fno: Frames of F&O by entity set.
        draw: Stream to choose rows from.

    Returns:
        Both sides with the differences, and the truth: columns `TRUTH`, one row for each task, key, field and outcome.
        Small data may have too few fitting rows for some kinds.
    """
    customers, products = in_use(sales, fno)
    drift = Drift(sales, fno, draw)
    del sales, fno  # a frame is given up as soon as its changed copy is there
    _orphans(drift, customers)
    for task in TASKS:
        pool = _Pool(drift, task, products if task == "products" else customers)
        _rows(drift, pool)
        _keys(drift, pool)
        if task in FLOWS:
            _filters(drift, pool)
        for change in FIELDS[task]:
            change_fields(drift, pool, change)
    inject_documents(drift)
    both = drift.frames_now()
    truth = pl.concat([*drift.truth, excluded(*both)])
    return *both, tidy(truth)


def _orphans(drift: Drift, in_use: pl.Series) -> None:
    """Companies that are missing at the destination, and with them their contacts: blocked, not missing."""
    people = drift.frames[CONTACTS].with_row_index("row").filter(FLOWS["contacts"])
    companies = drift.frames[ACCOUNTS].with_row_index("row")
    bound = companies.filter(pl.col("accountnumber").is_in(in_use.implode()))["accountid"]
    people = people.filter(~pl.col("_parentcustomerid_value").is_in(bound.implode()))
    children = people["_parentcustomerid_value"].unique(maintain_order=True)
    some = children.gather(
        drift.draw.rng.permutation(children.len())[: max(LEAST, round(companies.height * SHARE / 4))]
    )
    parents = companies.filter(pl.col("accountid").is_in(some.implode()))
    orphans = people.filter(pl.col("_parentcustomerid_value").is_in(some.implode()))
    for task, rows, number in (("accounts", parents, "accountnumber"), ("contacts", orphans, "msdynce_contactnumber")):
        ends = TASKS[task]
        at = pl.arg_where(pl.col(ends.destination_key).is_in(rows[number].implode()))
        drift.drop(ends.destination, drift.frames[ends.destination].select(at).to_series())
        drift.note(task, rows[number], "missing" if task == "accounts" else "blocked", before=rows[number])
        drift.used.setdefault(ends.source, []).append(rows["row"])


def _rows(drift: Drift, pool: _Pool) -> None:
    """Rows that one side has lost."""
    missing, extra = pool.take(pool.n), pool.take(pool.n)
    drift.drop(pool.ends.destination, missing["destination_row"])
    drift.note(pool.task, missing["key"], "missing", before=missing["key"])
    drift.drop(pool.ends.source, extra["source_row"])
    drift.note(pool.task, extra["key"], "extra", before=extra["key"])


def _keys(drift: Drift, pool: _Pool) -> None:
    """Keys that cannot be joined. What each system can store decides which faults it can have."""
    task, ends = pool.task, pool.ends

    def spoil(rows: pl.DataFrame, keys: pl.Series, lost: bool, also: Sequence[pl.Series] = ()) -> None:
        """Give source rows other keys; with `lost`, their destination rows were never made."""
        drift.put(ends.source, ends.source_key, rows["source_row"], keys)
        drift.note(task, keys, "blocked", before=rows["key"], after=keys)
        if lost:
            drift.drop(ends.destination, rows["destination_row"])
        for other in also:
            drift.note(task, other, "blocked")

    def pairs() -> tuple[pl.DataFrame, pl.DataFrame]:
        rows = pool.take(2 * pool.n)
        half = rows.height // 2
        return rows.head(half), rows.slice(half, half)

    blank = pool.take(1 if task == "products" else pool.n)
    nothing = pl.Series([""] if task == "products" else [None], dtype=pl.String)
    spoil(blank, nothing.new_from_index(0, blank.height), lost=True)
    padded = pool.take(pool.n)
    spoil(padded, padded["key"] + " ", lost=False, also=[padded["key"]])
    one, other = pairs()
    spoil(other, " " + one["key"], lost=True, also=[one["key"]])
    if task == "accounts":  # the one source that may repeat a key
        one, other = pairs()
        spoil(other, one["key"], lost=True)
        one, other = pairs()
        spoil(other, one["key"].str.to_lowercase(), lost=True, also=[one["key"]])
    if task == "products":  # Sales does not mind two products of one number
        for lower in (False, True):
            rows = pool.take(pool.n)
            keys = rows["key"].str.to_lowercase() if lower else rows["key"]
            drift.copy(PRODUCTS, rows["destination_row"], productid=drift.draw.guids(rows.height), productnumber=keys)
            drift.note(task, rows["key"], "blocked")
            drift.note(task, keys, "blocked", after=keys)
        return
    if task == "contacts":  # a contact of two parties
        for lower in (False, True):
            rows = pool.take(pool.n)
            keys = rows["key"].str.to_lowercase() if lower else rows["key"]
            party = drift.frames[CUSTOMERS].filter(pl.col("IsExternallyMaintained") == "No")["PartyNumber"].head(1)
            second = party.new_from_index(0, rows.height)
            changed = {ends.destination_key: keys, "AssociatedPartyNumber": second}
            drift.copy(PERSONS, rows["destination_row"], **changed)
            drift.note(task, rows["key"], "blocked")
            drift.note(task, keys, "blocked", after=keys)
    rows = pool.take(pool.n)
    drift.put(ends.destination, ends.destination_key, rows["destination_row"], " " + rows["key"])
    drift.note(task, " " + rows["key"], "blocked", before=rows["key"], after=" " + rows["key"])
    drift.note(task, rows["key"], "blocked")


def _filters(drift: Drift, pool: _Pool) -> None:
    """Contacts whose route changed after they had been sent: left out now, their destination rows remain."""
    flag, company = "msdynce_isactivecustomer", "msdynce_iscompanyanaccount"

    def leave_out(rows: pl.DataFrame, column: str, value: bool) -> None:
        drift.put(CONTACTS, column, rows["source_row"], pl.lit(value))
        drift.settle(CONTACTS, column)
        text = pl.Series([value]).cast(pl.String).new_from_index(0, rows.height)
        before = pl.Series([not value]).cast(pl.String).new_from_index(0, rows.height)
        drift.note(pool.task, rows["key"], "excluded", before=before, after=text)
        drift.note(pool.task, rows["key"], "extra", before=rows["key"], after=rows["key"])

    if pool.task == "contacts_to_customer":
        leave_out(pool.take(pool.n, source=~OF_ACCOUNT), flag, False)
        return
    left = pool.take(pool.n)  # left the company
    for column in ("_parentcustomerid_value", "_parentcustomerid_type"):
        drift.put(CONTACTS, column, left["source_row"], pl.lit(None, pl.String))
    leave_out(left, company, False)
    sold = pool.take(pool.n)  # first quote: a customer from now on, not sent as one yet
    leave_out(sold, flag, True)
    drift.note("contacts_to_customer", sold["key"], "missing")
    drift.used.setdefault(CONTACTS, []).append(sold["source_row"])
