"""Blocked rows followed to their first cause: small runs of several tasks, seen by eye."""

from __future__ import annotations

from decimal import Decimal

import polars as pl

from p2c_lib.chains import CHAIN_COLUMNS, WAIT_COLUMNS, chains
from p2c_lib.pull import MONEY


def waiting(*rows: tuple[str, str, str, str | None, str, str | None]) -> pl.DataFrame:
    names = ["task", "key", "field", "value", "entity", "parent_task"]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return frame.with_row_index("source_row").select(WAIT_COLUMNS.names()).cast(WAIT_COLUMNS)


def told(*rows: tuple[str, str, str, str], amount: str | None = "10") -> pl.DataFrame:
    frame = pl.DataFrame(
        rows, schema=dict.fromkeys(["task", "key", "outcome", "reason"], pl.String), orient="row"
    ).with_columns(field=pl.lit(None, pl.String), side=pl.lit("source"), currency=pl.lit("USD"))
    return frame.with_columns(amount=pl.lit(amount and Decimal(amount), MONEY))


def held(frame: pl.DataFrame) -> list[tuple]:
    return frame.select("cause", "chain", "task", "rows", "amount").rows()


def line(number: str) -> tuple[str, str, str, str, str, str]:
    return ("lines", f"{number}|1", "OrderNumber", number, "Orders", "headers")


def test_lines_lead_over_their_header_to_the_customer_that_is_missing():
    customers = [("headers", "S1", "Customer", "A1", "CustomersV2", task) for task in ("accounts", "persons")]
    found = chains(
        waiting(line("S1"), ("lines", "S1|2", "OrderNumber", "s1 ", "Orders", "headers"), *customers),
        told(
            ("accounts", "A1", "missing", "never arrived"),
            ("headers", "S1", "blocked", "its parent is not there"),
            ("lines", "S1|1", "blocked", "its parent is not there"),
            ("lines", "S1|2", "blocked", "its parent is not there"),
        ),
    )
    assert held(found) == [
        ("A1 of accounts: never arrived", "accounts > headers > lines", "lines", 2, 20),
        ("A1 of accounts: never arrived", "accounts > headers", "headers", 1, 10),
    ]
    assert found.schema == CHAIN_COLUMNS
    assert found["cause_outcome"].to_list() == ["missing", "missing"]


def test_a_header_that_is_only_missing_is_the_cause_itself():
    found = chains(
        waiting(line("S1")),
        told(("headers", "S1", "missing", "never arrived"), ("lines", "S1|1", "blocked", "its parent is not there")),
    )
    assert held(found) == [("S1 of headers: never arrived", "headers > lines", "lines", 1, 10)]


def test_a_number_that_stands_nowhere_is_said_to_be_in_none_of_its_sets():
    buyers = [("headers", "S1", "customer", "X", entity, None) for entity in ("accounts", "contacts")]
    nobody = ("headers", "S2", "customer", None, "accounts", None)
    found = chains(
        waiting(*buyers, nobody),
        told(("headers", "S1", "blocked", "its parent"), ("headers", "S2", "blocked", "its parent")),
    )
    assert sorted(row[0] for row in held(found)) == ["(blank) is not in accounts", "X is not in accounts or contacts"]


def test_a_task_that_was_not_run_leaves_its_row_as_the_cause():
    found = chains(waiting(line("S1")), told(("lines", "S1|1", "blocked", "its parent is not there")))
    assert held(found) == [("S1 is not in Orders", "headers > lines", "lines", 1, 10)]


def test_a_row_that_waits_for_two_parents_is_counted_under_both():
    product = ("lines", "S1|1", "Product", "P1", "Products", None)
    found = chains(
        waiting(line("S1"), product),
        told(
            ("headers", "S1", "blocked", "several records share this key"), ("lines", "S1|1", "blocked", "its parent")
        ),
    )
    assert sorted(row[0] for row in held(found)) == [
        "P1 is not in Products",
        "S1 of headers: several records share this key",
    ]


def test_two_ways_to_one_cause_count_the_row_once():
    other = ("lines", "S1|1", "Invoice", "S1", "Orders", "headers")
    found = chains(
        waiting(line("S1"), other),
        told(("headers", "S1", "missing", "never arrived"), ("lines", "S1|1", "blocked", "its parent")),
    )
    assert found["rows"].to_list() == [1]


def test_a_ring_of_parents_comes_to_an_end():
    ring = [("a", "1", "f", "2", "B", "b"), ("b", "2", "f", "1", "A", "a")]
    found = chains(waiting(*ring), told(("a", "1", "blocked", "x"), ("b", "2", "blocked", "x")))
    assert found.height <= 2


def test_nothing_blocked_is_no_chain():
    found = chains(waiting(), told())
    assert found.is_empty()
    assert found.schema == CHAIN_COLUMNS
