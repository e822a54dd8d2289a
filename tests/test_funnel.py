"""How far documents have come: who counts where, what stands apart, and that no document is counted twice."""

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2c_lib import funnel
from p2c_lib.model import all_tasks, find_task, load_templates
from p2c_lib.pull import MONEY

TEMPLATES = load_templates()
NOW = datetime(2026, 3, 1, tzinfo=UTC)
ORDERS = {"Draft": 647390011, "Active": 647390000, "Confirmed": 647390001, "Shipped": 647390007, "Cancelled": 647390010}


def place(kind: str, system: str) -> funnel.Place:
    return next(p for p in funnel.PLACES if (p.kind, p.system) == (kind, system))


def sales_orders(*rows: tuple[str | None, int, str, str]) -> pl.DataFrame:
    """Orders of Sales: number, status, amount, currency; changed on 1 February 2026."""
    frame = pl.DataFrame(
        [(number, status, Decimal(amount), currency, datetime(2026, 2, 1, tzinfo=UTC))
         for number, status, amount, currency in rows],
        schema={"ordernumber": pl.String, "msdynce_processingstatus": pl.Int32, "totalamount": MONEY,
                "transactioncurrencyid.isocurrencycode": pl.String, "modifiedon": pl.Datetime("us", "UTC")},
        orient="row",
    )  # fmt: skip
    return funnel.documents(place("orders", "sales"), frame, TEMPLATES)


def fno_orders(*rows: tuple[str | None, str, str, str], customer: str = "Yes") -> pl.DataFrame:
    frame = pl.DataFrame(
        [(number, status, Decimal(amount), currency, customer, "Yes") for number, status, amount, currency in rows],
        schema={"SalesOrderNumber": pl.String, "SalesOrderProcessingStatus": pl.String, "OrderTotalAmount": MONEY,
                "CurrencyCode": pl.String, "OrderingCustomerIsExternallyMaintained": pl.String,
                "InvoiceCustomerIsExternallyMaintained": pl.String},
        orient="row",
    )  # fmt: skip
    return funnel.documents(place("orders", "fno"), frame, TEMPLATES)


def stages(told: pl.DataFrame) -> dict[tuple[str, str, str | None], tuple[int, str]]:
    return {
        (stage, system, currency): (count, f"{amount.normalize():f}")
        for stage, _, system, currency, count, amount in funnel.funnel(told, TEMPLATES).iter_rows()
    }


def standings(*sides: pl.DataFrame, kind: str = "orders") -> dict[tuple[str, str | None], str]:
    frame = funnel.lifecycle(pl.concat(sides), kind, TEMPLATES)
    return {(system, number): standing for system, number, standing in
            frame.select("system", "number", "standing").iter_rows()}  # fmt: skip


def test_an_order_counts_in_every_stage_up_to_its_own_and_currencies_are_never_added_up():
    told = sales_orders(
        ("A", ORDERS["Draft"], "1", "USD"),
        ("B", ORDERS["Confirmed"], "20", "USD"),
        ("C", ORDERS["Shipped"], "300", "EUR"),
    )
    assert stages(told) == {
        ("orders made", "sales", "EUR"): (1, "300"),
        ("orders made", "sales", "USD"): (2, "21"),
        ("orders activated", "sales", "EUR"): (1, "300"),
        ("orders activated", "sales", "USD"): (1, "20"),
        ("orders confirmed", "sales", "EUR"): (1, "300"),
        ("orders confirmed", "sales", "USD"): (1, "20"),
        ("orders shipped, part or all", "sales", "EUR"): (1, "300"),
        ("orders invoiced, part or all", "sales", None): (0, "0"),
    }


def test_a_cancelled_order_was_made_and_reached_nothing_that_can_be_told():
    counted = stages(sales_orders(("A", ORDERS["Cancelled"], "5", "USD")))
    assert counted["orders made", "sales", "USD"] == (1, "5")
    assert {count for (stage, *_), (count, _) in counted.items() if stage != "orders made"} == {0}


@pytest.mark.parametrize(
    ("status", "reached"),
    [("0", 1), ("1", 2), ("2", 3), ("3", 2)],
    ids=["draft", "active", "won", "closed, so it was active once"],
)
def test_a_quote_counts_as_activated_and_won_by_its_state(status, reached):
    frame = pl.DataFrame(
        {"quotenumber": ["Q"], "statecode": [int(status)], "totalamount": [Decimal("9.50")],
         "transactioncurrencyid.isocurrencycode": ["USD"]},
        schema_overrides={"totalamount": MONEY, "statecode": pl.Int32},
    )  # fmt: skip
    told = funnel.documents(place("quotes", "sales"), frame, TEMPLATES)
    counted = stages(told)
    made = [
        counted.get((stage, "sales", "USD"), (0,))[0] for stage in ("quotes made", "quotes activated", "quotes won")
    ]
    assert made == [1] * reached + [0] * (3 - reached)


def test_orders_of_customers_that_did_not_come_from_sales_are_none_of_the_funnels_business():
    assert fno_orders(("A", "Confirmed", "5", "USD"), customer="No").is_empty()
    assert fno_orders(("A", "Confirmed", "5", "USD"))["number"].to_list() == ["A"]


def test_a_status_of_f_and_o_is_read_through_the_value_map_that_a_site_may_change(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("overlay: Site\nvalue_maps:\n  processing_status: {entries: {delivered: '647390003'}}\n")
    frame = pl.DataFrame(
        {"SalesOrderNumber": ["A"], "SalesOrderProcessingStatus": ["Delivered"], "OrderTotalAmount": [Decimal(1)],
         "CurrencyCode": ["USD"], "OrderingCustomerIsExternallyMaintained": ["Yes"],
         "InvoiceCustomerIsExternallyMaintained": ["Yes"]},
        schema_overrides={"OrderTotalAmount": MONEY},
    )  # fmt: skip
    told = [funnel.documents(place("orders", "fno"), frame, templates)["status"][0]
            for templates in (TEMPLATES, load_templates((site,)))]  # fmt: skip
    assert told == ["Shipped", "Invoiced"]


def test_a_status_that_nothing_knows_is_shown_as_it_stands_and_counts_as_made():
    told = sales_orders(("A", 1, "5", "USD"))
    assert told.select("status", "rank").rows() == [("unknown: 1", None)]
    assert stages(told)["orders made", "sales", "USD"] == (1, "5")
    assert stages(told)["orders activated", "sales", None] == (0, "0")


@pytest.mark.parametrize(
    ("ours", "theirs", "standing"),
    [
        ("Active", "Active", "in step"),
        ("Active", "Confirmed", "Sales behind"),
        ("Shipped", "Confirmed", "Sales ahead"),
        ("Cancelled", "Canceled", "in step"),
        ("Cancelled", "Confirmed", "cancelled on one side"),
        ("Shipped", "Canceled", "cancelled on one side"),
        ("Draft", "Invoiced", "Sales behind"),
    ],
)
def test_an_order_stands_the_same_whichever_side_one_looks_from(ours, theirs, standing):
    told = standings(sales_orders(("A", ORDERS[ours], "1", "USD")), fno_orders((" a ", theirs, "1", "USD")))
    assert told == {("sales", "A"): standing, ("fno", " a "): standing}


def test_blank_and_repeated_numbers_are_set_apart_and_pair_with_nothing():
    told = standings(
        sales_orders(("A", ORDERS["Active"], "1", "USD"), ("A ", ORDERS["Draft"], "1", "USD"),
                     (None, ORDERS["Draft"], "1", "USD"), ("B", ORDERS["Active"], "1", "USD")),
        fno_orders(("A", "Confirmed", "1", "USD"), ("C", "Active", "1", "USD")),
    )  # fmt: skip
    assert told == {
        ("sales", "A"): "number blank or repeated",
        ("sales", "A "): "number blank or repeated",
        ("sales", None): "number blank or repeated",
        ("fno", "A"): "number blank or repeated",
        ("sales", "B"): "on one side only",
        ("fno", "C"): "on one side only",
    }


def test_the_status_of_an_invoice_does_not_travel_so_it_is_on_both_sides_or_not():
    schema = {"totalamount": MONEY, "TotalInvoiceAmount": MONEY}
    ours = pl.DataFrame({"invoicenumber": ["I"], "statuscode": [1], "totalamount": [Decimal(1)],
                         "transactioncurrencyid.isocurrencycode": ["USD"],
                         "msdynce_invoicedate": [date(2026, 2, 27)]}, schema_overrides=schema)  # fmt: skip
    theirs = pl.DataFrame({"InvoiceNumber": ["I"], "TotalInvoiceAmount": [Decimal(1)], "CurrencyCode": ["USD"],
                           "InvoiceDate": [datetime(2026, 2, 27, tzinfo=UTC)], "SalesOrderNumber": ["O"],
                           "SalesOrderOriginType": ["Manual"]}, schema_overrides=schema)  # fmt: skip
    sides = [funnel.documents(place("invoices", "sales"), ours, TEMPLATES),
             funnel.documents(place("invoices", "fno"), theirs, TEMPLATES)]  # fmt: skip
    assert set(standings(*sides, kind="invoices").values()) == {"on both sides"}
    assert pl.concat(sides)["changed"].to_list() == [datetime(2026, 2, 27, tzinfo=UTC)] * 2


def test_a_pair_that_stands_apart_counts_once_with_the_days_of_its_sales_document():
    told = pl.concat([
        sales_orders(("A", ORDERS["Active"], "1", "USD"), ("B", ORDERS["Draft"], "1", "USD")),
        fno_orders(("A", "Confirmed", "1", "USD"), ("C", "Invoiced", "1", "USD")),
    ])  # fmt: skip
    table = funnel.apart(funnel.lifecycle(told, "orders", TEMPLATES), NOW)
    assert table.rows() == [
        ("Sales behind", "Active", "Confirmed", 1, 28, 28),
        ("on one side only", "Draft", None, 1, 28, 28),
        ("on one side only", None, "Invoiced", 1, None, None),
    ]


STATUSES = st.sampled_from(sorted(ORDERS.values()))
NUMBERS = st.sampled_from(["A", "a", "B", "C ", "D", "", None])
OURS = st.lists(st.tuples(NUMBERS, STATUSES, st.sampled_from(["1", "0.01", "-3"]), st.sampled_from(["USD", "JPY"])))
THEIRS = st.lists(st.tuples(NUMBERS, st.sampled_from(["Active", "Confirmed", "Invoiced", "Canceled", "Odd"]),
                            st.just("2"), st.just("USD")))  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(OURS, THEIRS)
def test_every_document_has_one_standing_and_stages_never_grow(ours, theirs):
    told = pl.concat([sales_orders(*ours), fno_orders(*theirs)])
    standing = funnel.lifecycle(told, "orders", TEMPLATES)
    assert standing.height == told.height and set(standing["standing"]) <= set(funnel.STANDINGS)
    counted = funnel.by_status(standing)
    assert counted["documents"].sum() == told.height
    paired = standing.filter(pl.col("status_there").is_not_null())["system"].value_counts()
    assert paired["count"].n_unique() <= 1, "as many of one side as of the other"
    for system, rows in (("sales", ours), ("fno", theirs)):
        by_stage = funnel.funnel(told, TEMPLATES).filter(pl.col("system") == system)
        counts = by_stage.group_by("stage", maintain_order=True).agg(pl.col("documents").sum())["documents"].to_list()
        assert counts == sorted(counts, reverse=True) and (counts[:1] or [0]) == [len(rows)]


def test_every_place_is_a_column_of_its_task():
    templates = load_templates(route=None)
    for one in funnel.PLACES:
        task = find_task(one.task, templates)
        side = [
            *task.key.values(),
            *(name for f in task.fields for name in f.sources),
            *(c.column for c in task.filter),
        ]
        if one.side == "found":
            side = [*task.key, *(f.destination for f in task.fields), *(c.column for c in task.destination.scope)]
        assert set(one.columns) - {"modifiedon"} <= set(side), one
        assert set(one.ours) <= {c.name for c in (*task.filter, *task.destination.scope)}, one


def test_a_run_of_all_tasks_tells_every_kind_of_both_sides():
    places = funnel.places_of([task.name for task in all_tasks(TEMPLATES)])
    every = sorted((k, s) for k in funnel.KINDS for s in ("fno", "sales"))
    assert sorted((p.kind, p.system) for p in places) == every
    legs = funnel.places_of([task.name for task in all_tasks(load_templates(route="cds"))])
    assert sorted((p.kind, p.system) for p in legs) == every
