"""Outcomes of rows and fields, on frames small enough to check by eye."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2c_lib.diff import compare
from p2c_lib.errors import SchemaError
from p2c_lib.model import FieldMap, Side, Task
from p2c_lib.pull import MONEY

CUSTOMERS = Task(
    name="customers",
    source=Side(system="sales", entity="accounts"),
    destination=Side(system="fno", entity="CustomersV2"),
    key={"Account": "accountnumber"},
    fields=(
        FieldMap(destination="Account", source="accountnumber"),
        FieldMap(destination="Name", source="name", normalise=("trim", "case"), length=12),
        FieldMap(destination="Limit", source="creditlimit", money=True, tolerance=Decimal("0")),
        FieldMap(destination="Staff", source="numberofemployees"),
        FieldMap(destination="Unit", source="unit", lookup=True),
    ),
    currency="Currency",
    amount="Limit",
)


def rows(*values: tuple) -> pl.DataFrame:
    """Rows of (Account, Name, Limit, Staff, Unit); shorter ones are filled up."""
    full = [(*value, *(None, "10.00", 1, "Each")[len(value) - 1 :]) for value in values]
    columns = list(zip(*full, strict=True)) if full else [[]] * 5
    return pl.DataFrame(
        {
            "Account": pl.Series(columns[0], dtype=pl.String),
            "Name": pl.Series(columns[1], dtype=pl.String),
            "Limit": pl.Series([None if v is None else Decimal(v) for v in columns[2]], dtype=MONEY),
            "Staff": pl.Series(columns[3], dtype=pl.Int32),
            "Unit": pl.Series(columns[4], dtype=pl.String),
            "Currency": pl.Series(["USD"] * len(full), dtype=pl.String),
        }
    )


def outcome(source: tuple, destination: tuple) -> list[tuple[str, str]]:
    found = compare(rows(source), rows(destination), CUSTOMERS)
    return found.cells.select("field", "outcome").rows()


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        pytest.param(("A", "x", "1.00"), ("A", "x", "1.00"), [], id="equal"),
        pytest.param(("A", "x", "1.00"), ("A", "x", "1.01"), [("Limit", "rounding")], id="one cent is rounding"),
        pytest.param(("A", "x", "1.00"), ("A", "x", "1.02"), [("Limit", "different")], id="two cents are not"),
        pytest.param(("A", "x", None), ("A", "x", "0"), [("Limit", "different")], id="null is not zero"),
        pytest.param(("A", None), ("A", ""), [("Name", "different")], id="null is not the empty text"),
        pytest.param(("A", "Contoso"), ("A", " CONTOSO "), [("Name", "representation")], id="trim and case declared"),
        pytest.param(("A", "Contoso Suites"), ("A", "Contoso Suit"), [("Name", "truncated")], id="cut at the length"),
        pytest.param(("A", "Contoso Suites"), ("A", "Contoso"), [("Name", "different")], id="a prefix is not a cut"),
        pytest.param(("A", "x" * 30), ("A", "x" * 20), [("Name", "truncated")], id="a prefix of 20 characters is"),
        pytest.param(("A", "x", "1", 5), ("A", "x", "1", 6), [("Staff", "different")], id="number"),
        pytest.param(("A", "x", "1", 1, "Each"), ("A", "x", "1", 1, "EACH "), [], id="a lookup is found all the same"),
        pytest.param(
            ("A", "x", "12345678901234567.89"), ("A", "x", "12345678901234567.87"), [("Limit", "different")],
            id="digits that a double loses",
        ),
    ],
)  # fmt: skip
def test_a_field_has_the_outcome_of_its_difference(source, destination, expected):
    assert outcome(source, destination) == expected


@pytest.mark.parametrize(("currency", "found"), [("JPY", "rounding"), ("USD", "different"), ("KWD", "different")])
def test_the_currency_decides_what_rounding_is(currency, found):
    ours, theirs = (rows(("A", "x", v)).with_columns(Currency=pl.lit(currency)) for v in ("10", "11"))
    assert compare(ours, theirs, CUSTOMERS).cells["outcome"].to_list() == [found]


@pytest.mark.parametrize(
    ("accounts", "reason"),
    [
        pytest.param([None], "blank_key", id="null"),
        pytest.param(["  "], "blank_key", id="blanks only"),
        pytest.param(["A", "A"], "repeated_key", id="repeated"),
        pytest.param(["A", "a"], "colliding_key", id="case"),
        pytest.param(["A", "A "], "colliding_key", id="padding"),
        pytest.param([" A"], "padded_key", id="padded"),
    ],
)
def test_a_bad_key_is_set_apart_on_both_sides(accounts, reason):
    found = compare(rows(*[(a, "x") for a in accounts], ("B", "x")), rows(("A", "x"), ("B", "x")), CUSTOMERS)
    blocked = found.rows.filter(pl.col("outcome") == "blocked")
    assert blocked.filter(pl.col("side") == "source")["reason"].to_list() == [reason] * len(accounts)
    spoilt = reason != "blank_key"
    assert blocked.filter(pl.col("side") == "destination").height == int(spoilt)
    assert found.count("matched") == 1
    assert found.count("extra") == int(not spoilt)


def test_a_repeated_key_at_the_destination_blocks_the_source_row():
    found = compare(rows(("A", "x")), rows(("A", "x"), ("A", "y")), CUSTOMERS)
    assert found.rows.select("side", "outcome", "reason").rows() == [
        ("source", "blocked", "repeated_key"),
        ("destination", "blocked", "repeated_key"),
        ("destination", "blocked", "repeated_key"),
    ]


def test_a_row_that_the_filter_leaves_out_is_excluded_whatever_its_key():
    left_out = pl.Series(["not_active", None, "not_active"])
    found = compare(
        rows((None, "x"), ("B", "x"), ("C", "x")), rows(("B", "x"), ("C", "x")), CUSTOMERS, excluded=left_out
    )
    assert found.rows.select("key", "outcome", "reason").sort("key", "outcome").rows() == [
        ("", "excluded", "not_active"),
        ("B", "matched", None),
        ("C", "excluded", "not_active"),
        ("C", "extra", "excluded_by_filter"),
    ]


def test_a_row_out_of_scope_counts_only_when_a_source_row_has_its_key():
    scope = pl.Series([False, False, True])
    found = compare(rows(("A", "x")), rows(("A", "y"), ("B", "x"), ("C", "x")), CUSTOMERS, in_scope=scope)
    assert found.rows.select("key", "outcome").rows() == [("A", "mismatched"), ("C", "extra")]
    assert (found.out_of_scope, found.destination_rows) == (1, 2)


def test_a_row_whose_parent_is_not_there_is_blocked_only_where_it_would_be_missing():
    ours = rows(("A", "P1"), ("B", "P2"), ("C", "P2"), ("D", None))
    theirs = rows(("B", "P2"))
    found = compare(ours, theirs, CUSTOMERS, parents={"Name": pl.Series(["p1 "])})
    assert found.rows.select("key", "outcome", "reason").sort("key").rows() == [
        ("A", "missing", None),
        ("B", "matched", None),
        ("C", "blocked", "parent_missing"),
        ("D", "blocked", "parent_missing"),
    ]


def test_an_unknown_value_is_unmapped_also_where_nothing_was_found():
    unknown = pl.DataFrame({"row": [0], "field": ["Name"], "value": ["Atlantis"]}, schema_overrides={"row": pl.UInt32})
    found = compare(rows(("A", None)), rows(("A", None)), CUSTOMERS, unmapped=unknown)
    assert found.cells.select("field", "outcome").rows() == [("Name", "unmapped")]
    assert found.count("mismatched") == 1


def test_a_row_alone_is_worth_all_of_its_amount_and_a_pair_its_difference():
    found = compare(rows(("A", "x", "5.50"), ("B", "x", "7")), rows(("B", "x", "4.25"), ("C", "x", None)), CUSTOMERS)
    assert found.rows.select("key", "amount", "currency").sort("key").rows() == [
        ("A", Decimal("5.5"), "USD"),
        ("B", Decimal("2.75"), "USD"),
        ("C", Decimal(0), "USD"),
    ]


def test_sides_with_other_columns_or_types_are_refused_together():
    theirs = rows(("A", "x")).drop("Name").with_columns(pl.col("Staff").cast(pl.Int64))
    with pytest.raises(SchemaError, match=r"'Name' is missing on the destination side.*'Staff' is Int32.*Int64"):
        compare(rows(("A", "x")), theirs, CUSTOMERS)


def test_empty_sides_give_no_rows():
    found = compare(rows(), rows(), CUSTOMERS)
    assert (found.rows.height, found.cells.height) == (0, 0)


keys = st.one_of(st.none(), st.sampled_from(["", " ", "A", "a", "A ", "B", "ß", "SS", "C'", "D|E"]))
side = st.lists(st.tuples(keys, st.sampled_from(["x", "y", None])), max_size=12)


@settings(deadline=None)
@given(side, side, st.data())
def test_every_row_of_both_sides_gets_exactly_one_outcome(source, destination, data):
    n, m = len(source), len(destination)
    conditions = data.draw(st.lists(st.sampled_from(["f", None]), min_size=n, max_size=n))
    left_out = pl.Series(conditions, dtype=pl.String)
    scope = pl.Series(data.draw(st.lists(st.booleans(), min_size=m, max_size=m)), dtype=pl.Boolean)
    found = compare(rows(*source), rows(*destination), CUSTOMERS, excluded=left_out, in_scope=scope)
    assert sorted(found.rows["source_row"].drop_nulls().to_list()) == list(range(n))
    numbers = found.rows["destination_row"].drop_nulls().to_list()
    assert len(set(numbers)) == len(numbers) == m - found.out_of_scope
    mismatched = found.rows.filter(pl.col("outcome") == "mismatched")["source_row"]
    assert set(mismatched) == set(found.cells["source_row"])
    paired = found.rows.filter(pl.col("side") == "both")
    assert paired["key"].is_unique().all()
    assert all(source[i][0] == destination[j][0] for i, j in paired.select("source_row", "destination_row").rows())


@settings(deadline=None)
@given(side)
def test_a_side_compared_with_itself_has_no_difference_but_bad_keys(values):
    found = compare(rows(*values), rows(*values), CUSTOMERS)
    assert set(found.rows["outcome"]) <= {"matched", "blocked"}
    assert found.cells.is_empty()


def test_no_input_is_changed():
    ours, theirs = rows(("A", "x")), rows(("A", "y"))
    copies = ours.clone(), theirs.clone()
    compare(ours, theirs, CUSTOMERS)
    assert ours.equals(copies[0])
    assert theirs.equals(copies[1])


def test_a_row_says_every_parent_that_it_waits_for():
    task = CUSTOMERS.model_copy(update={"key": {"Account": "accountnumber"}})
    source = rows(("A", "n", "1", 1, "Each"), ("B", "n", "1", 1, None), ("C", "n", "1", 1, "each "))
    parents = {"Unit": pl.Series(["EACH", None]), "Name": pl.Series(["m"])}
    found = compare(source, rows(("C", "n")), task, parents=parents)
    assert found.waits.rows() == [(1, "B", "Unit", None), (0, "A", "Name", "n"), (1, "B", "Name", "n")]
    assert found.count("blocked") == 2


def test_a_field_that_only_says_what_a_row_is_worth_is_not_compared():
    worth = tuple(f.model_copy(update={"role": "worth"}) if f.destination == "Limit" else f for f in CUSTOMERS.fields)
    task = CUSTOMERS.model_copy(update={"fields": worth})
    found = compare(rows(("A", "x", "5"), ("B", "x", "7")), rows(("A", "x", "6")), task)
    assert found.rows.select("key", "outcome", "amount").rows() == [
        ("A", "matched", 0),
        ("B", "missing", Decimal("7")),
    ]


@pytest.mark.parametrize(("found", "differ"), [(1, 0), (7, 0), (8, 1), (None, 1)])
def test_a_value_that_is_right_as_well_is_no_difference(found, differ):
    also = tuple(f.model_copy(update={"also": ("7",)}) if f.destination == "Staff" else f for f in CUSTOMERS.fields)
    task = CUSTOMERS.model_copy(update={"fields": also})
    assert compare(rows(("A",)), rows(("A", None, "10.00", found)), task).cells.height == differ
