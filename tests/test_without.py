"""Amounts of the destination are compared without what the source cannot know."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from test_handed_over import TEMPLATES

from p2c_lib.errors import SchemaError
from p2c_lib.mapping import destination_columns, project
from p2c_lib.model import find_task
from p2c_lib.pull import MONEY

D = Decimal


@pytest.fixture
def task():
    order = find_task("order_headers_to_fno", TEMPLATES)
    fields = tuple(field for field in order.fields if field.destination in ("SalesOrderNumber", "OrderTotalAmount"))
    return order.model_copy(update={"fields": fields, "currency": None})


def found(*rows: tuple[str, str | None, str | None]) -> pl.DataFrame:
    amounts = [(number, *(None if text is None else D(text) for text in texts)) for number, *texts in rows]
    schema = {"SalesOrderNumber": pl.String, "OrderTotalAmount": MONEY, "OrderTotalTaxAmount": MONEY}
    return pl.DataFrame(amounts, schema=schema, orient="row")


def test_the_total_of_an_order_is_compared_without_the_tax_that_fno_added(task, fno_orders):
    rows = found(("A", "119.00", "19.00"), ("B", "100.00", "0"), ("C", "100.00", None), ("D", None, "1.00"))
    assert project(rows, task, fno_orders)["OrderTotalAmount"].to_list() == [D("100.00")] * 3 + [None]


def test_the_tax_is_read_with_the_total_and_its_absence_is_told(task, fno_orders):
    assert "OrderTotalTaxAmount" in destination_columns(task)
    with pytest.raises(SchemaError, match="OrderTotalTaxAmount"):
        project(found().drop("OrderTotalTaxAmount"), task, fno_orders)


@pytest.fixture
def fno_orders():
    from p2c_lib.connect import Column, Entity

    kinds = {"SalesOrderNumber": "Edm.String", "OrderTotalAmount": "Edm.Decimal", "OrderTotalTaxAmount": "Edm.Decimal"}
    columns = {name: Column(name, kind) for name, kind in kinds.items()}
    return Entity("CDSSalesOrderHeaders", "CDSSalesOrderHeader", ("SalesOrderNumber",), columns)
