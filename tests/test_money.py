"""The arithmetic of documents, held against decimals worked out one by one."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from p2c_lib.money import document_total, freight_tax, join_discount, smallest_unit, split_discount
from p2c_lib.pull import MONEY

EXACT = Context(prec=80)
discounts = st.decimals(min_value=-(10**8), max_value=10**8, places=6)
quantities = st.decimals(min_value=-(10**6), max_value=10**6, places=5)


def split(discount: str | Decimal | None, quantity: str | Decimal | None, places: int = 2):
    frame = pl.DataFrame(
        {"D": [discount and Decimal(discount)], "q": [quantity and Decimal(quantity)]}, schema={"D": MONEY, "q": MONEY}
    )
    both = split_discount(pl.col("D"), pl.col("q"), places)
    row = frame.select(u=both.per_unit, c=both.charge, q="q")
    assert row.schema == {"u": MONEY, "c": MONEY, "q": MONEY}
    back = row.select(D=join_discount(pl.col("u"), pl.col("q"), pl.col("c")))["D"][0]
    return row["u"][0], row["c"][0], back


@pytest.mark.parametrize(
    ("discount", "quantity", "places", "per_unit", "charge"),
    [
        pytest.param("10.00", "3", 2, "3.33", "-0.01", id="the published example"),
        pytest.param("20.00", "3", 2, "6.67", "0.01", id="rounded up"),
        pytest.param("10.00", "4", 2, "2.50", "0", id="no remainder"),
        pytest.param("0.01", "2", 2, "0.01", "0.01", id="half a cent goes up"),
        pytest.param("-0.01", "2", 2, "-0.01", "-0.01", id="half a cent of a credit goes down"),
        pytest.param("-10.00", "-3", 2, "3.33", "0.01", id="a return"),
        pytest.param("10.00", "-3", 2, "-3.33", "-0.01", id="a discount against a return"),
        pytest.param("0.01", "1000", 2, "0", "-0.01", id="too little for one unit: all of it is charge"),
        pytest.param("1.00", "0.33333", 2, "3.00", "-0.00001", id="part of a unit"),
        pytest.param("0", "7", 2, "0", "0", id="no discount"),
        pytest.param("5.00", "0", 2, "0", "-5.00", id="no quantity"),
        pytest.param("1000", "3", 0, "333", "-1", id="a currency without cents"),
        pytest.param("10.000", "3", 3, "3.333", "-0.001", id="a currency of three places"),
    ],
)
def test_a_discount_is_one_a_unit_and_a_charge(discount, quantity, places, per_unit, charge):
    u, c, back = split(discount, quantity, places)
    assert (u, c, back) == (Decimal(per_unit), Decimal(charge), Decimal(discount))


def test_a_quotient_just_below_a_half_is_not_rounded_up():
    # 0.0049999999999999975: with 12 places of it, it would be 0.005 and become a cent.
    quantity = Decimal("200000000000.0001")
    u, c, back = split("1000000000.00", quantity)
    assert (u, c, back) == (0, Decimal("-1000000000"), Decimal("1000000000"))


@settings(deadline=None)
@given(discounts, quantities, st.integers(0, 6))
@example(Decimal("0.00"), Decimal("0"), 2)
@example(Decimal("99999999.99"), Decimal("0.00001"), 2)
@example(Decimal("0.000001"), Decimal("0.66667"), 6)
@example(Decimal("0.01"), Decimal("-999999.99999"), 3)
def test_a_discount_comes_back_to_the_last_digit(discount, quantity, places):
    u, c, back = split(discount, quantity, places)
    assert back == discount
    if quantity:
        exact = EXACT.divide(discount, quantity)
        assert u == exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, EXACT)
        assert abs(c) <= abs(quantity) * Decimal("0.5").scaleb(-places)


@settings(deadline=None)
@given(discounts, quantities, st.integers(0, 6))
def test_a_credit_and_a_return_mirror_a_discount(discount, quantity, places):
    u, c, _ = split(discount, quantity, places)
    assert split(-discount, quantity, places)[:2] == (-u, -c)
    if quantity:
        assert split(discount, -quantity, places)[:2] == (-u, c)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.none() | discounts, st.none() | quantities), max_size=8), st.integers(0, 6))
def test_a_line_is_split_as_it_would_be_alone(lines, places):
    frame = pl.DataFrame(lines, schema={"D": MONEY, "q": MONEY}, orient="row")
    both = split_discount(pl.col("D"), pl.col("q"), places)
    back = join_discount(both.per_unit, pl.col("q"), both.charge)
    assert frame.select(both.per_unit.alias("u"), both.charge.alias("c"), back.alias("D")).rows() == [
        split(discount, quantity, places) for discount, quantity in lines
    ]


@pytest.mark.parametrize(("discount", "quantity"), [(None, "3"), ("3", None), (None, None), (None, "0")])
def test_what_is_not_known_stays_unknown(discount, quantity):
    assert split(discount, quantity) == (None, None, None)


widest = st.integers(0, 26).flatmap(lambda digits: st.decimals(-(10**digits), 10**digits, places=6))


@settings(deadline=None)
@given(widest, quantities, st.integers(0, 6))
@example(Decimal("99999999999999999999999999.999999"), Decimal("3"), 2)
@example(Decimal("99999999999999999999999999.99"), Decimal("0.5"), 2)
@example(Decimal("-99999999999999999999999999"), Decimal("999999.99999"), 0)
def test_what_38_digits_do_not_hold_is_refused_and_never_cut(discount, quantity, places):
    assume(abs(discount) < 10**26)
    try:
        u, _, back = split(discount, quantity, places)
    except pl.exceptions.ComputeError as refusal:
        assert "overflow in decimal" in str(refusal)
        assert abs(EXACT.divide(discount, quantity)) + 1 > 10**26
    else:
        assert back == discount
        assert not quantity or abs(EXACT.subtract(EXACT.multiply(u, quantity), discount)) <= abs(quantity)


@pytest.mark.parametrize("places", [-1, 7])
def test_places_that_no_discount_has_are_refused(places):
    with pytest.raises(ValueError, match=f"places={places}.*0 to 6"):
        split_discount(pl.col("D"), pl.col("q"), places)


amounts = st.decimals(min_value=-(10**9), max_value=10**9, places=2)


@settings(deadline=None)
@given(st.lists(amounts, max_size=6), amounts, amounts, st.none() | amounts)
def test_a_total_is_its_parts_whatever_is_left_out(lines, discount, freight, tax):
    frame = pl.DataFrame(
        {"lines": [sum(lines, Decimal(0))], "discount": [discount], "freight": [freight], "tax": [tax]},
        schema=dict.fromkeys(["lines", "discount", "freight", "tax"], MONEY),
    )
    total = frame.select(total=document_total(*(pl.col(name) for name in frame.columns)))["total"]
    assert total.dtype == MONEY
    assert total[0] == sum(lines, Decimal(0)) - discount + freight + (tax or 0)


def test_each_fault_of_a_freight_tax_line_has_a_name():
    headers = pl.DataFrame(
        {"document": ["ok", "none", "several", "missing", "left", "other"],
         "header_tax": [Decimal("1.50"), None, Decimal(2), Decimal(3), Decimal(0), Decimal(4)]},
        schema={"document": pl.String, "header_tax": MONEY},
    )  # fmt: skip
    lines = pl.DataFrame(
        {"document": ["ok", "several", "several", "left", "other"],
         "amount": [Decimal("1.5"), Decimal(1), Decimal(1), Decimal(5), Decimal("4.01")]},
        schema={"document": pl.String, "amount": MONEY},
    )  # fmt: skip
    held = freight_tax(headers, lines)
    assert dict(held.select("document", "fault").iter_rows()) == {
        "ok": None, "none": None, "several": "several", "missing": "missing", "left": "left_over", "other": "different"
    }  # fmt: skip
    assert held["difference"].to_list() == [0, 0, 0, 3, -5, Decimal("-0.01")]


cents = st.integers(-300, 300).map(lambda number: Decimal(number).scaleb(-2))


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | cents, st.lists(st.none() | cents, max_size=3)), max_size=6))
def test_only_one_freight_tax_line_of_the_right_amount_is_without_fault(documents):
    schema = {"document": pl.String, "header_tax": MONEY}
    headers = pl.DataFrame([(f"D{n}", tax) for n, (tax, _) in enumerate(documents)], schema=schema, orient="row")
    made = [(f"D{n}", amount) for n, (_, made) in enumerate(documents) for amount in made]
    lines = pl.DataFrame(made, schema={"document": pl.String, "amount": MONEY}, orient="row")
    held = freight_tax(headers, lines)
    assert held["document"].to_list() == headers["document"].to_list()
    for (tax, made), (_, count, expected, found, difference, fault) in zip(documents, held.iter_rows(), strict=True):
        amounts = [amount or Decimal(0) for amount in made]
        assert (count, expected, found) == (len(made), tax or 0, sum(amounts, Decimal(0)))
        assert difference == expected - found
        assert (fault is None) == ((not tax and not made) or (bool(tax) and amounts == [tax]))


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        ("USD", "0.01"),
        ("jpy", "1"),
        ("KWD", "0.001"),
        ("CLF", "0.0001"),
        ("", "0.01"),
        ("none", "0.01"),
        (None, "0.01"),
    ],
)
def test_the_smallest_unit_is_the_currencys(code, unit):
    assert smallest_unit(code) == Decimal(unit)
