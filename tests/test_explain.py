"""Reasons and remedies of everything that is not matched."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from test_diff import CUSTOMERS, rows

from p2c_lib.diff import FIELD_OUTCOMES, compare
from p2c_lib.explain import OUTCOME_COLUMNS, REASONS, explain
from p2c_lib.model import Condition

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def explained(source: pl.DataFrame, destination: pl.DataFrame, **how) -> pl.DataFrame:
    task = CUSTOMERS.model_copy(
        update={"filter": (Condition(name="is_active", column="statecode", value=0, says="the account is not active"),)}
    )
    pulled = how.pop("pulled", source)
    return explain(compare(source, destination, task, **how.pop("compared", {})), task, pulled, **how)


def test_matched_rows_need_no_words():
    assert explained(rows(("A", "x")), rows(("A", "x"))).is_empty()


def test_each_row_and_field_comes_once_with_its_columns():
    table = explained(rows(("A", "x", "1", 5), ("B", "x")), rows(("A", "y", "1", 6), ("C", "x")))
    assert table.schema == OUTCOME_COLUMNS
    assert table.select("key", "field", "outcome", "expected", "found").sort("key", "field").rows() == [
        ("A", "Name", "different", "x", "y"),
        ("A", "Staff", "different", "5", "6"),
        ("B", None, "missing", None, None),
        ("C", None, "extra", None, None),
    ]
    assert table["reason"].null_count() == table["remedy"].null_count() == 0


def test_an_excluded_row_gives_the_words_of_the_condition_that_stopped_it():
    table = explained(rows(("A", "x")), rows(), compared={"excluded": pl.Series(["is_active"])})
    assert table.select("outcome", "reason").rows() == [("excluded", "the account is not active")]


@pytest.mark.parametrize(
    ("minutes_ago", "says"),
    [pytest.param(5, "recent", id="inside the lag window"), pytest.param(90, "missing", id="before it")],
)
def test_what_could_not_have_arrived_yet_is_told_from_what_should_have(minutes_ago, says):
    source = rows(("A", "x"))
    pulled = source.with_columns(modifiedon=pl.lit(NOON - timedelta(minutes=minutes_ago)))
    table = explained(source, rows(), pulled=pulled, at=NOON, lag=timedelta(minutes=60))
    assert table.select("outcome", "code", "reason").rows() == [("missing", says, REASONS[says].says)]


def test_amounts_are_written_without_trailing_zeros_and_nothing_is_lost():
    table = explained(rows(("A", "x", "12345678901234567.89")), rows(("A", "x", "100")))
    assert table.select("expected", "found").rows() == [("12345678901234567.89", "100")]


def test_every_field_outcome_has_words():
    assert set(FIELD_OUTCOMES) <= set(REASONS)
