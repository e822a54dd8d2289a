"""What the destination has become the master of: its rows are left alone."""

from __future__ import annotations

import polars as pl
import pytest

from p2c_lib.mapping import handed_over
from p2c_lib.model import find_task, load_templates

TEMPLATES = load_templates()


def orders(*rows: tuple[str, int, str]) -> pl.DataFrame:
    schema = {
        "SalesOrderNumber": pl.String,
        "LineCreationSequenceNumber": pl.Int32,
        "SalesOrderProcessingStatus": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def lines(*rows: tuple[str | None, int]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={"SalesOrderNumber": pl.String, "LineCreationSequenceNumber": pl.Int32}, orient="row"
    )


@pytest.mark.parametrize("status", ["Confirmed", "PartiallyDelivered", "Invoiced", "Canceled"])
def test_an_order_that_went_on_in_fno_is_no_longer_sent_there(status):
    task = find_task("order_headers_to_fno", TEMPLATES)
    found = orders(("B", 0, status), ("c", 0, "Active"))
    assert handed_over(lines(("A", 0), (" b", 0), ("C", 0), (None, 0)), found, task).to_list() == [
        None,
        "not_confirmed",
        None,
        None,
    ]


def test_a_line_that_fno_took_out_of_its_confirmed_order_does_not_come_again():
    task = find_task("order_lines_to_fno", TEMPLATES)
    found = orders(("B", 1, "Confirmed"), ("C", 1, "Active"))
    assert handed_over(lines(("B", 1), ("B", 2), ("C", 2)), found, task).to_list() == ["not_confirmed"] * 2 + [None]


def test_a_task_whose_destination_never_becomes_the_master_sends_all():
    assert handed_over(
        orders(("A", 1, "Invoiced")), orders(("A", 1, "Invoiced")), find_task("accounts", TEMPLATES)
    ).to_list() == [None]
