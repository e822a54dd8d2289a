"""Scores of the data: what passes by what was looked at, weighted; and how they changed since the last run."""

import polars as pl
import pytest

from p2c_lib.quality import ALL, compared, overall, scores, wide, worst_columns


def check(dimension, failing, looked_at, severity="critical", column="c", success=None, says="as it should be"):
    meta = {"dimension": dimension, "says": says}
    return {"expectation": "expect", "column": column, "severity": severity, "meta": meta, "unexpected_count": failing,
            "looked_at": looked_at, "success": failing == 0 if success is None else success}  # fmt: skip


def suite(*checks, name="accounts_source", rows=10):
    return [{"suite": name, "rows": rows, "checks": list(checks)}]


def score(checks, dimension=ALL):
    return scores(checks).filter(pl.col("dimension") == dimension)["score"].item()


@pytest.mark.parametrize(
    ("checks", "wanted"),
    [
        ([check("valid", 0, 10)], 100.0),
        ([check("valid", 1, 10)], 90.0),
        ([check("valid", 10, 10)], 0.0),
        ([check("valid", 1, 10_000)], 99.9),  # down: 100.0 says that nothing failed
        ([check("valid", 1, 3)], 66.6),
        ([check("valid", 4, 10), check("valid", 0, 10, "info")], 70.0),  # (3 * 6 + 1 * 10) / (3 * 10 + 1 * 10)
        ([check("valid", 0, 0)], None),  # nothing had a value
        ([], None),
        ([check("valid", 0, None, success=False)], 0.0),  # about the whole table: all of its rows
        ([check("valid", 0, None, success=False), check("valid", 0, 10)], 50.0),
        ([check("valid", 1, 10, success=True)], 90.0),  # let through, and counted all the same
    ],
)
def test_a_score_is_the_weighted_share_of_what_passes(checks, wanted):
    assert score(suite(check("unique", 0, 1), *checks), "valid") == wanted


def test_each_dimension_has_its_score_and_what_nothing_looked_at_has_none():
    found = scores(suite(check("complete", 5, 10), check("unique", 0, 10, "warning")))
    assert dict(found.select("dimension", "score").iter_rows()) == {
        "complete": 50.0, "unique": 100.0, "valid": None, "consistent": None, "timely": None, ALL: 70.0}  # fmt: skip
    assert overall(found) == 70.0 and overall(found.clear()) is None


def test_tasks_and_sides_stay_apart_and_in_order():
    both = suite(check("valid", 1, 2), name="order_lines_to_fno_source") + suite(name="accounts_destination")
    both += suite(check("valid", 0, 2), name="accounts_source")
    shown = wide(scores(both))
    assert shown.select("task", "side", ALL).rows() == [
        ("order_lines_to_fno", "source", 50.0), ("accounts", "source", 100.0)]  # fmt: skip


def test_the_change_is_that_since_the_run_before():
    before = scores(suite(check("valid", 1, 10), check("complete", 0, 10)))
    now = compared(scores(suite(check("valid", 2, 10), check("unique", 0, 10))), before)
    told = {row["dimension"]: (row["before"], row["change"]) for row in now.iter_rows(named=True)}
    assert told["valid"] == (90.0, -10.0) and told["unique"] == (None, None) and told["complete"] == (100.0, None)


def test_the_worst_columns_come_first_with_the_check_that_fails_most():
    checks = [
        check("valid", 1, 10, column="a"),
        check("complete", 3, 10, column="b", says="b is there"),
        check("valid", 1, 10, column="b"),
        check("valid", 0, 10, column="good"),
        check("valid", 0, None, column=None, success=False),
    ]
    found = worst_columns(suite(*checks))
    assert found.select("column", "score", "failing", "failed", "check").rows() == [
        ("b", 80.0, 3, 2, "b is there"), ("a", 90.0, 1, 1, "as it should be")]  # fmt: skip
    assert worst_columns(suite(check("valid", 0, 10))).is_empty()
