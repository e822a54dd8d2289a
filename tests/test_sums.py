"""Every row and all its money stands under one outcome; what does not come to what was read is said."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2c_lib.diff import Outcomes
from p2c_lib.digest import combined, digest
from p2c_lib.model import Task
from p2c_lib.pull import MONEY
from p2c_lib.sums import SUM_COLUMNS, bridge, sums, tied

TASK = Task.model_validate(
    {
        "name": "orders",
        "source": {"system": "sales", "entity": "salesorders"},
        "destination": {"system": "fno", "entity": "Orders"},
        "key": {"Number": "number"},
        "fields": [{"destination": "Number", "source": "number"}],
        "amount": "Total",
        "currency": "Currency",
    }
)
EXPECTED = [("10.10", "EUR"), ("20", "EUR"), ("5", "USD"), ("7", "EUR"), ("1", None)]
FOUND = [("10.10", "EUR"), ("19.99", "EUR"), ("4", "USD"), ("100", "EUR")]
ROWS = [("matched", 0, 0), ("mismatched", 1, 1), ("missing", 2, None), ("excluded", 3, None), ("blocked", 4, None),
        ("extra", None, 2)]  # fmt: skip


def side(rows):
    return pl.DataFrame(
        [(Decimal(a), c) for a, c in rows], schema={"Total": MONEY, "Currency": pl.String}, orient="row"
    )


def outcomes(rows, out_of_scope=1):
    schema = {"outcome": pl.String, "source_row": pl.UInt32, "destination_row": pl.UInt32}
    return Outcomes(
        "orders", pl.DataFrame(rows, schema=schema, orient="row"), pl.DataFrame(), out_of_scope, pl.DataFrame()
    )


def added(rows=ROWS, out_of_scope=1, task=TASK):
    return sums(task, side(EXPECTED), side(FOUND), outcomes(rows, out_of_scope))


def test_each_side_adds_up_to_what_was_read():
    found = added()
    assert found.schema == SUM_COLUMNS
    assert tied(found).rows() == [
        ("orders", "source", 5, 1, 1, 1, 1, 1, None, None, True),
        ("orders", "destination", 4, 1, 1, None, None, 0, 1, 1, True),
    ]


@pytest.mark.parametrize(
    ("rows", "out_of_scope", "ties"),
    [
        (ROWS[:2] + ROWS[3:], 1, [False, True]),  # a source row without an outcome
        ([*ROWS, ROWS[4]], 1, [False, True]),  # one with two
        (ROWS[:5], 1, [True, False]),  # a destination row of the task that became nothing
        (ROWS, 0, [True, False]),  # one too many out of scope
    ],
)
def test_a_row_that_is_lost_or_counted_twice_does_not_tie(rows, out_of_scope, ties):
    assert tied(added(rows, out_of_scope))["ties"].to_list() == ties


def test_the_way_from_source_money_to_destination_money_is_whole_for_each_currency():
    eur, usd, none = bridge(added()).rows(named=True)
    assert [str(eur[name].normalize()) for name in bridge(added()).columns[2:-1]] == [
        *("37.1", "-7", "0", "0", "-0.01"),  # source, excluded, missing, blocked there, differences of the pairs
        *("0", "0", "1E+2", "130.09"),  # extra, blocked there, out of scope, destination
    ]
    assert (usd["missing"], usd["extra"], usd["destination"]) == (-5, 4, 4)
    assert none["currency"] is None and none["blocked_at_source"] == -1
    assert [row["ties"] for row in (eur, usd, none)] == [True] * 3


def test_a_task_without_money_adds_up_its_rows():
    found = added(task=TASK.model_copy(update={"amount": None, "currency": None}))
    assert tied(found)["ties"].all() and tied(found)["read"].to_list() == [5, 4]
    assert bridge(found).is_empty()


FRAME = pl.DataFrame({"b": ["x", "", None], "a": [Decimal("1.50"), None, Decimal("1.50")]})


def test_the_number_of_a_frame_does_not_depend_on_the_order_of_rows_or_columns():
    assert digest(FRAME) == digest(FRAME.reverse()) == digest(FRAME.select("a", "b"))
    assert digest(FRAME, ["a"]) == digest(FRAME.select("a")) == digest(FRAME, ["a", "not there"])


@pytest.mark.parametrize(
    "other",
    [
        FRAME.with_columns(b=pl.Series(["x", None, None])),  # null is not the empty text
        FRAME.with_columns(a=pl.Series([Decimal("1.50"), None, Decimal("1.51")])),
        FRAME.rename({"a": "c"}),
        pl.concat([FRAME, FRAME.head(1)]),  # a row twice
        FRAME.head(2),
        FRAME.clear(),
    ],
)
def test_the_number_of_another_content_is_another(other):
    assert digest(other) != digest(FRAME)


def test_the_number_is_one_that_anybody_can_work_out():
    text = 'a,b\n,""\n1.50,\n1.50,x\n'
    assert digest(FRAME) == __import__("hashlib").sha256(text.encode()).hexdigest()
    assert combined(["1", "2"]) != combined(["2", "1"])


@given(st.lists(st.tuples(st.text(max_size=5), st.none() | st.integers(-9, 9)), max_size=20), st.randoms())
def test_any_order_of_any_rows_gives_one_number(rows, random):
    schema = {"text": pl.String, "n": pl.Int64}
    mixed = rows.copy()
    random.shuffle(mixed)
    assert digest(pl.DataFrame(rows, schema, orient="row")) == digest(pl.DataFrame(mixed, schema, orient="row"))
