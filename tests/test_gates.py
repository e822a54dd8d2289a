"""Each gate of the shipped templates, with the rows that it stops and those that it lets through."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from p2c_lib.diff import compare
from p2c_lib.explain import explain
from p2c_lib.mapping import filter_outcome
from p2c_lib.model import Task, all_tasks, load_templates
from p2c_lib.pull import MONEY

TASKS = {task.name: task for task in all_tasks(load_templates())}
ACTIVE, DRAFT, CONFIRMED = 647390000, 647390011, 647390001
FNO_STATUSES = ("Active", "Confirmed", "Picked", "PartiallyDelivered", "Delivered", "Invoiced", "PartiallyInvoiced",
                "Canceled", "DeliveredPartiallyInvoiced")  # fmt: skip
FLOWS: dict[str, dict[str, Any]] = {
    "contacts": {"msdynce_isactivecustomer": False, "msdynce_iscompanyanaccount": True},
    "contacts_to_customer": {"msdynce_isactivecustomer": True},
    "quote_headers": {"statecode": 1, "msdynce_hasexternallymaintainedproductsonly": True},
    "quote_lines": {"quotestatecode": 1, "msdynce_quotehasexternalmaintainedproductsonly": True},
    "order_headers_to_fno": {
        "msdynce_processingstatus": ACTIVE,
        "msdynce_hasexternallymaintainedproductsonly": True,
        "msdynce_ismaintainedexternally": False,
    },
    "order_lines_to_fno": {
        "salesorderid.msdynce_processingstatus": ACTIVE,
        "msdynce_orderhasexternalmaintainedproductsonly": True,
        "msdynce_orderissubmitted": True,
        "salesorderid.msdynce_ismaintainedexternally": False,
    },
    "order_headers_to_sales": {
        "OrderingCustomerIsExternallyMaintained": "Yes",
        "InvoiceCustomerIsExternallyMaintained": "Yes",
        "SalesOrderOriginType": "SalesOrderIntegration",
        "AreTotalsUpdated": "Yes",
        "SalesOrderProcessingStatus": "Confirmed",
    },
    "order_lines_to_sales": {
        "OrderingCustomerIsExternallyMaintained": "Yes",
        "InvoiceCustomerIsExternallyMaintained": "Yes",
        "SalesOrderOriginType": "NotSpecified",
        "AreSalesOrderTotalsUpdated": "Yes",
        "SalesOrderProcessingStatus": "Invoiced",
    },
    "invoice_headers": {"SalesOrderNumber": "SO-1", "SalesOrderOriginType": "NotSpecified"},
}
"""A row of each task that has gates, which all of them let through."""
STOPPED: dict[tuple[str, str], list[Any]] = {
    ("contacts", "not_active_customer"): [True, None],
    ("contacts", "company_is_an_account"): [False, None],
    ("contacts_to_customer", "is_active_customer"): [False, None],
    ("quote_headers", "active"): [0, 2, 3, None],
    ("quote_headers", "products_from_fno_only"): [False, None],
    ("quote_lines", "quote_active"): [0, 2, 3, None],
    ("quote_lines", "products_from_fno_only"): [False, None],
    ("order_headers_to_fno", "active"): [DRAFT, CONFIRMED, None],
    ("order_headers_to_fno", "products_from_fno_only"): [False, None],
    ("order_headers_to_fno", "not_from_fno"): [True],
    ("order_lines_to_fno", "order_active"): [DRAFT, CONFIRMED, None],
    ("order_lines_to_fno", "products_from_fno_only"): [False, None],
    ("order_lines_to_fno", "submitted"): [False, None],
    ("order_lines_to_fno", "order_not_from_fno"): [True],
    **{
        (task, gate): [*stops, *nothing]
        for task in ("order_headers_to_sales", "order_lines_to_sales")
        for gate, stops, nothing in (
            ("ordering_customer_from_sales", ["No"], [None, ""]),
            ("invoice_customer_from_sales", ["No"], [None, ""]),
            ("no_work_order", ["WorkOrderIntegration"], []),
            ("totals_updated", ["No"], [None, ""]),
            ("confirmed", ["Active"], []),
        )
    },
    ("invoice_headers", "has_an_order"): [None, "", "  "],
    ("invoice_headers", "no_work_order"): ["WorkOrderIntegration"],
}
"""Values of a gate's column that it stops; all else of the row flows."""
PASSES: dict[tuple[str, str], list[Any]] = {
    ("order_headers_to_fno", "not_from_fno"): [False, None],
    ("order_lines_to_fno", "order_not_from_fno"): [False, None],
    ("order_headers_to_sales", "confirmed"): [status for status in FNO_STATUSES if status != "Active"],
    ("order_lines_to_sales", "confirmed"): [status for status in FNO_STATUSES if status != "Active"],
    ("order_headers_to_sales", "no_work_order"): ["NotSpecified", "SalesOrderIntegration", "", None],
    ("order_headers_to_sales", "totals_updated"): ["Yes", "yes", "Yes  "],
    ("invoice_headers", "no_work_order"): ["NotSpecified", "SalesOrderIntegration", "", None],
}
"""Other values that it lets through: a blank flag is no 'came from F&O', and texts go without case."""


def column(task: Task, gate: str) -> str:
    return next(condition.column for condition in task.filter if condition.name == gate)


def outcome(name: str, changes: dict[str, Any]) -> str | None:
    schema = {key: pl.Int32 if type(value) is int else pl.Boolean if isinstance(value, bool) else pl.String
              for key, value in FLOWS[name].items()}  # fmt: skip
    return filter_outcome(pl.DataFrame([FLOWS[name] | changes], schema=schema), TASKS[name])[0]


def test_every_gate_of_every_template_is_tried_here():
    gates = {(task.name, condition.name) for task in TASKS.values() for condition in task.filter}
    assert gates == set(STOPPED)
    assert {name for name, _ in gates} == set(FLOWS)


@pytest.mark.parametrize("name", FLOWS)
def test_a_row_that_meets_all_gates_flows(name):
    assert outcome(name, {}) is None


@pytest.mark.parametrize(
    ("name", "gate", "value"), [(*where, value) for where, values in STOPPED.items() for value in values]
)
def test_a_row_that_fails_one_gate_is_stopped_by_that_one(name, gate, value):
    assert outcome(name, {column(TASKS[name], gate): value}) == gate


@pytest.mark.parametrize(
    ("name", "gate", "value"), [(*where, value) for where, values in PASSES.items() for value in values]
)
def test_a_gate_lets_everything_else_through(name, gate, value):
    assert outcome(name, {column(TASKS[name], gate): value}) is None


@pytest.mark.parametrize(("name", "gate"), STOPPED)
def test_what_a_gate_stops_is_excluded_and_told_in_its_words(name, gate):
    task = TASKS[name]
    dtypes = {field.destination: MONEY if field.money else pl.String for field in task.fields}
    row = pl.DataFrame([dict.fromkeys(dtypes) | dict.fromkeys(task.key, "1")], schema=dtypes)
    outcomes = compare(row, row.clear(), task, excluded=pl.Series([gate]))
    told = explain(outcomes, task, pl.DataFrame({"x": [1]})).row(0, named=True)
    says = next(condition.says for condition in task.filter if condition.name == gate)
    assert (told["outcome"], told["code"], told["reason"]) == ("excluded", gate, says)


def test_of_several_gates_the_first_one_that_is_shut_is_named():
    changes = {"InvoiceCustomerIsExternallyMaintained": "No", "AreTotalsUpdated": "No"}
    assert outcome("order_headers_to_sales", changes | {"SalesOrderProcessingStatus": "Active"}) == (
        "invoice_customer_from_sales"
    )
    assert outcome("quote_headers", {"statecode": 0, "msdynce_hasexternallymaintainedproductsonly": False}) == "active"
