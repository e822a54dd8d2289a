"""Lines against their header, each side and across, to the cent."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2c_lib.model import TieOut
from p2c_lib.pull import MONEY
from p2c_lib.tieout import ACROSS_COLUMNS, VERDICT_COLUMNS, across, line_faults, tie_out, untied, verdicts

ORDERS = TieOut(
    header="order_headers",
    document="ordernumber",
    line_document="msdynce_ordernumber",
    number="sequencenumber",
    total="totalamount",
    line_amount="extendedamount",
    plus=("freightamount", "msdynce_misctax"),
    minus=("discountamount",),
    same_line=("product", "quantity"),
)


def headers(*rows: tuple) -> pl.DataFrame:
    names = ["ordernumber", "totalamount", "freightamount", "msdynce_misctax", "discountamount"]
    schema = {name: pl.String() if name == "ordernumber" else MONEY for name in names}
    data = [(row[0], *(None if v is None else Decimal(v) for v in row[1:])) for row in rows]
    return pl.DataFrame(data, schema=schema, orient="row").with_columns(currency=pl.lit("EUR"))


def lines(*rows: tuple) -> pl.DataFrame:
    schema = {
        "msdynce_ordernumber": pl.String(),
        "sequencenumber": pl.Int32(),
        "product": pl.String(),
        "quantity": MONEY,
        "extendedamount": MONEY,
    }
    data = [(document, number, product, Decimal(1), Decimal(amount)) for document, number, product, amount in rows]
    return pl.DataFrame(data, schema=schema, orient="row")


def test_a_total_is_its_lines_with_charges_and_less_the_discount():
    tied = tie_out(
        headers(("SO1", "16.00", "5.00", "1.00", "0.50"), ("SO2", "9.99", None, None, None)),
        lines(("SO1", 1, "A", "3.33"), ("SO1", 2, "B", "7.17"), ("SO2", 1, "A", "10.00"), ("SO9", 1, "A", "1")),
        ORDERS,
        "source",
        "currency",
    )
    assert tied.select("document", "lines", "sum_of_lines", "difference").rows() == [
        ("SO1", 2, Decimal("10.5"), Decimal(0)),
        ("SO2", 1, Decimal(10), Decimal("-0.01")),
    ]


def test_digits_that_a_double_loses_are_kept():
    tied = tie_out(
        headers(("SO1", "90071992547409.93", "0", "0", "0")),
        lines(("SO1", 1, "A", "90071992547409.92")),
        ORDERS,
        "source",
        "currency",
    )
    assert tied["difference"].to_list() == [Decimal("0.01")]


def test_a_document_without_lines_ties_out_at_its_charges():
    tied = tie_out(headers(("SO1", "5", "5", None, None)), lines(), ORDERS, "source", "currency")
    assert tied.select("lines", "difference").rows() == [(0, Decimal(0))]


def test_both_sides_stand_beside_each_other_and_one_side_alone_is_all_at_stake():
    ours = tie_out(
        headers(("SO1", "10", None, None, None), ("SO2", "7", None, None, None)),
        lines(("SO1", 1, "A", "10"), ("SO2", 1, "A", "7")), ORDERS, "source", "currency",
    )  # fmt: skip
    theirs = tie_out(
        headers(("SO1", "10.02", None, None, None), ("SO3", "1", None, None, None)),
        lines(("SO1", 1, "A", "10.02"), ("SO3", 1, "A", "1")), ORDERS, "x", "currency",
    )  # fmt: skip
    table = across(ours, theirs).select("document", "total_expected", "total_found", "at_stake", "currency")
    assert table.sort("document").rows() == [
        ("SO1", Decimal(10), Decimal("10.02"), Decimal("0.02"), "EUR"),
        ("SO2", Decimal(7), None, Decimal(7), "EUR"),
        ("SO3", None, Decimal(1), Decimal(1), "EUR"),
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "faults"),
    [
        pytest.param([("SO1", 1, "A")], [], [(0, None, "lost")], id="lost"),
        pytest.param([], [("SO1", 1, "A")], [(None, 0, "orphan")], id="orphan"),
        pytest.param([("SO1", 1, "A")], [("SO1", 5, "A")], [(0, 0, "renumbered")], id="renumbered"),
        pytest.param(
            [("SO1", 1, "A")], [("SO2", 1, "A")], [(0, None, "lost"), (None, 0, "orphan")], id="other document"
        ),
        pytest.param(
            [("SO1", 1, "A")], [("SO1", 2, "B")], [(0, None, "lost"), (None, 0, "orphan")], id="other product"
        ),
        pytest.param(
            [("SO1", 2, "A"), ("SO1", 1, "A")],
            [("SO1", 7, "A")],
            [(1, 0, "renumbered"), (0, None, "lost")],
            id="two alike go in the order of their numbers",
        ),
    ],
)
def test_a_line_alone_is_lost_or_orphan_or_renumbered(ours, theirs, faults):
    expected = lines(*[(*line, "1") for line in ours])
    found = lines(*[(*line, "1") for line in theirs])
    rows = pl.DataFrame(
        {
            "outcome": ["missing"] * len(ours) + ["extra"] * len(theirs),
            "source_row": [*range(len(ours)), *[None] * len(theirs)],
            "destination_row": [*[None] * len(ours), *range(len(theirs))],
        },
        schema={"outcome": pl.String, "source_row": pl.UInt32, "destination_row": pl.UInt32},
    )
    assert line_faults(rows, expected, found, ORDERS).rows() == faults


cents = st.integers(-(10**12), 10**12).map(lambda number: Decimal(number).scaleb(-2))


@given(st.lists(cents, max_size=8), cents, cents, cents)
def test_a_document_made_of_its_parts_ties_out_exactly(amounts, freight, tax, discount):
    total = sum(amounts, Decimal(0)) + freight + tax - discount
    tied = tie_out(
        headers(("SO1", total, freight, tax, discount)),
        lines(*[("SO1", number, "A", amount) for number, amount in enumerate(amounts)]),
        ORDERS,
        "source",
        "currency",
    )
    assert tied["difference"].to_list() == [Decimal(0)]


def test_what_is_wrong_within_one_side_is_at_stake_too():
    header = headers(("SO1", "10", None, None, None))
    ours = tie_out(header, lines(("SO1", 1, "A", "4"), ("SO1", 2, "B", "6")), ORDERS, "source", "currency")
    theirs = tie_out(
        header, lines(("SO1", 1, "A", "4")), ORDERS, "found", "currency"
    )  # the totals agree, a line is lost
    both = across(ours, theirs)
    assert both.select("difference_expected", "difference_found", "at_stake").rows() == [
        (Decimal(0), Decimal(6), Decimal(6))
    ]


def documents(*rows: tuple[str, str, str | None, str | None, str, str]) -> pl.DataFrame:
    """(document, currency, total expected, total found, off at the source, off at the destination)."""
    amount = lambda text: None if text is None else Decimal(text)  # noqa: E731
    blank = dict.fromkeys(ACROSS_COLUMNS) | {"task": "order_lines"}
    made = [
        blank | {
            "document": document, "currency": currency, "total_expected": amount(ours), "total_found": amount(theirs),
            "difference_expected": amount(off), "difference_found": amount(away),
            "at_stake": max(abs((amount(ours) or 0) - (amount(theirs) or 0)), abs(amount(off)), abs(amount(away))),
        }
        for document, currency, ours, theirs, off, away in rows
    ]  # fmt: skip
    return pl.DataFrame(made, schema=ACROSS_COLUMNS)


TIES = documents(
    ("S1", "USD", "10", "10", "0", "0"),
    ("S2", "USD", "10", "12.50", "0", "2.50"),
    ("S3", "EUR", "5", "5", "0", "0"),
    ("S4", "USD", "7", None, "0", "0"),
    ("S5", "USD", None, "8", "0", "0"),
    ("S6", "USD", "3", "3", "-1", "0"),
)


def test_the_verdict_is_given_for_each_currency():
    table = verdicts(TIES)
    assert table.schema == VERDICT_COLUMNS
    assert table.drop("task").rows() == [
        ("EUR", 1, 1, 0, 0, 0, 0, Decimal(0), "ties out"),
        ("USD", 5, 1, 1, 1, 1, 2, Decimal("18.5"), "does not tie out"),
    ]


def test_tasks_stand_in_the_order_of_the_run():
    later, earlier = (TIES.with_columns(task=pl.lit(name)) for name in ("quotes", "invoices"))
    assert verdicts(pl.concat([later, earlier, later]))["task"].unique(maintain_order=True).to_list() == [
        "quotes",
        "invoices",
    ]


def test_documents_that_do_not_tie_out_come_worst_first_with_what_is_wrong():
    assert untied(TIES).select("document", "says").rows() == [
        ("S5", "not at the source"),
        ("S4", "not at the destination"),
        ("S2", "the totals differ; its lines do not add up at the destination"),
        ("S6", "its lines do not add up at the source"),
    ]


def test_documents_that_all_tie_out_leave_nothing_to_list():
    assert untied(TIES.filter(document="S1")).is_empty()
    assert verdicts(ACROSS_COLUMNS.to_frame()).is_empty()
