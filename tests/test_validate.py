"""Hold small frames against small suites: what fails, whom it names, and what is an error instead."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2c_lib.errors import SchemaError, ValidationFailed
from p2c_lib.validate import load_suite, suite_names, validate

MONEY = pl.Decimal(38, 12)


def expectation(kind: str, /, severity: str = "critical", says: str = "", **kwargs) -> dict:
    return {"type": f"expect_{kind}", "kwargs": kwargs, "meta": {"severity": severity, "says": says}}


@pytest.fixture
def suite(tmp_path):
    def write(*expectations: dict, name: str = "s") -> Path:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"expectations": expectations}))
        return path

    return write


def only(frame: pl.DataFrame, path: Path, key=("k",)):
    (check,) = validate(frame, path, key=key).checks
    return check


def test_importing_the_library_does_not_import_great_expectations_or_pandas():
    code = "import sys, p2c_lib.validate, p2c_lib.datadocs; print({'great_expectations', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("kind", "column", "values", "kwargs", "failing"),
    [
        pytest.param("column_values_to_not_be_null", pl.String, ["x", None, "y"], {}, ["b"], id="null"),
        pytest.param("column_values_to_be_unique", pl.String, ["x", "y", "x"], {}, ["a", "c"], id="every twin"),
        pytest.param(
            "column_values_to_not_match_regex",
            pl.String,
            ["x\n", "x y", "\u00a0x"],
            {"regex": r"^\s|\s$"},
            ["a", "c"],
            id="any white space pads",
        ),
        pytest.param(
            "column_values_to_match_regex",
            pl.String,
            ["DE", "USA", "de"],
            {"regex": "^([A-Z]{2}|USA)$"},
            ["c"],
            id="group",
        ),
        pytest.param(
            "column_values_to_be_in_set", pl.Boolean, [True, False, None], {"value_set": [True]}, ["b"], id="boolean"
        ),
        pytest.param(
            "column_values_to_be_in_set", pl.Int64, [2**53 + 1, None, 1], {"value_set": [1]}, ["a"], id="large integer"
        ),
        pytest.param(
            "column_value_lengths_to_be_between", pl.String, ["123", "1234", None], {"max_value": 3}, ["b"], id="length"
        ),
        pytest.param(
            "column_values_to_be_in_set", pl.Enum(["u", "v"]), ["u", "v", None], {"value_set": ["u"]}, ["b"], id="enum"
        ),
    ],
)
def test_a_failing_row_is_named_by_its_key(suite, kind, column, values, kwargs, failing):
    frame = pl.DataFrame({"k": ["a", "b", "c"], "v": pl.Series(values, dtype=column)})
    check = only(frame, suite(expectation(kind, column="v", **kwargs)))
    assert (check.success, list(check.failing_keys)) == (False, failing)
    assert check.unexpected_count == len(failing)


def test_amounts_are_compared_to_the_last_digit(suite):
    amounts = ["0", "-0.000000000001", "9007199254740992", "9007199254740992.000000000001", None]
    frame = pl.DataFrame({"k": list("abcde"), "v": pl.Series([a and Decimal(a) for a in amounts], dtype=MONEY)})
    check = only(frame, suite(expectation("column_values_to_be_between", column="v", min_value=0, max_value=2**53)))
    assert check.failing_keys == ("b", "d")


@pytest.mark.parametrize("bound", ["0.01", "9007199254740993"])
def test_a_bound_that_is_no_exact_float_is_refused(tmp_path, bound):
    path = tmp_path / "s.json"
    text = json.dumps({"expectations": [expectation("column_values_to_be_between", column="v", min_value="BOUND")]})
    path.write_text(text.replace('"BOUND"', bound))
    with pytest.raises(ValidationFailed, match=rf"expectations\[0\].kwargs.min_value: {bound} is not exact"):
        load_suite(path)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.decimals("-100", "100", places=12, allow_nan=False), min_size=1, max_size=20))
def test_rows_counted_as_failed_are_those_below_the_bound(suite, values):
    frame = pl.DataFrame({"k": [str(n) for n in range(len(values))], "v": pl.Series(values, dtype=MONEY)})
    check = only(frame, suite(expectation("column_values_to_be_between", column="v", min_value=0)))
    assert list(check.failing_keys) == [str(n) for n, v in enumerate(values) if v is not None and v < 0]


def test_an_empty_frame_meets_expectations_about_values_but_not_about_rows(suite):
    frame = pl.DataFrame(schema={"k": pl.String, "v": MONEY, "i": pl.Int32, "t": pl.Datetime("us", "UTC")})
    path = suite(
        expectation("column_values_to_be_unique", column="k"),
        expectation("column_values_to_be_between", column="v", min_value=0),
        expectation("column_values_to_be_in_set", column="i", value_set=[1]),
        expectation("column_values_to_not_be_null", column="t"),
        expectation("table_row_count_to_be_between", min_value=1),
    )
    result = validate(frame, path, key=["k"])
    assert [check.success for check in result.checks] == [True, True, True, True, False]
    assert (result.rows, result.checks[-1].observed, result.checks[0].unexpected_percent) == (0, 0, 0.0)


def test_a_column_of_nulls_alone_fails_only_where_nulls_matter(suite):
    frame = pl.DataFrame({"k": ["a"], "v": pl.Series([None], dtype=MONEY), "s": pl.Series([None], dtype=pl.String)})
    path = suite(
        expectation("column_values_to_be_between", column="v", min_value=0),
        expectation("column_values_to_match_regex", column="s", regex="x"),
        expectation("column_values_to_not_be_null", column="v"),
    )
    assert [check.success for check in validate(frame, path, key=["k"]).checks] == [True, True, False]


def test_checks_keep_the_order_of_the_suite_and_count_by_severity(suite):
    frame = pl.DataFrame({"k": ["a", "b"], "v": [1, None], "w": [None, None]}, schema_overrides={"w": pl.Int32})
    path = suite(
        expectation("column_values_to_not_be_null", "info", column="w"),
        expectation("column_values_to_be_in_set", column="v", value_set=[1]),
        expectation("column_values_to_not_be_null", "warning", column="v"),
    )
    result = validate(frame, path, key=["k"])
    assert [(c.column, c.severity, c.success) for c in result.checks] == [
        ("w", "info", False),
        ("v", "critical", True),
        ("v", "warning", False),
    ]
    assert result.success, "a failed warning does not fail a suite"
    assert [c.severity for c in result.failed] == ["warning", "info"]
    assert result.statistics == {
        "evaluated": 3,
        "passed": 1,
        "failed": 2,
        "failed_critical": 0,
        "failed_warning": 1,
        "failed_info": 1,
        "failing_rows": 2,
    }


def test_a_failed_critical_check_fails_the_suite(suite):
    frame = pl.DataFrame({"k": ["a"], "v": [None]}, schema={"k": pl.String, "v": pl.Int32})
    assert not validate(frame, suite(expectation("column_values_to_not_be_null", column="v")), key=["k"]).success


def test_a_key_of_two_columns_is_joined_and_its_null_is_empty(suite):
    frame = pl.DataFrame({"a": ["x", None], "b": [1, 2], "v": [None, None]}, schema_overrides={"v": pl.String})
    check = only(frame, suite(expectation("column_values_to_not_be_null", column="v")), key=["a", "b"])
    assert check.failing_keys == ("x|1", "|2")


def test_keys_are_capped_at_a_thousand_but_all_rows_are_counted(suite):
    frame = pl.DataFrame({"k": [str(n) for n in range(2500)], "v": [None] * 2500}, schema_overrides={"v": pl.String})
    result = validate(frame, suite(expectation("column_values_to_not_be_null", column="v")), key=["k"])
    (check,) = result.checks
    assert (check.unexpected_count, len(check.failing_keys), check.failing_keys[-1]) == (2500, 1000, "999")
    assert len(json.dumps(result.result)) < 5000, "what is kept for the pages does not grow with the rows"


def test_rows_of_a_condition_are_named_by_their_place_in_the_whole_frame(suite):
    frame = pl.DataFrame({"k": ["a", "b", "c"], "side": ["x", None, "y"], "v": [0, 0, 0], "o.p(q)": [1, 1, 1]})
    condition = {"type": "comparison", "column": {"name": "side"}, "operator": "==", "parameter": "y"}
    path = suite(expectation("column_values_to_be_in_set", column="v", value_set=[1], row_condition=condition))
    assert only(frame, path).failing_keys == ("c",)


def test_paths_with_dots_and_brackets_are_columns_like_any_other(suite):
    path = "parentcustomerid.Account(accountnumber).Contact(msdynce_contactnumber)"
    frame = pl.DataFrame({"k": ["a", "b"], path: ["x", None]})
    assert only(frame, suite(expectation("column_values_to_not_be_null", column=path))).failing_keys == ("b",)


@pytest.mark.parametrize(
    ("column", "kwargs"),
    [
        pytest.param(pl.Series(["x"]), {"min_value": 0}, id="text against a number"),
        pytest.param(pl.Series([1.5]), {"min_value": "2020-01-01"}, id="a date as text against a number"),
    ],
)
def test_an_expectation_that_cannot_be_worked_out_is_an_error_and_not_a_failed_check(suite, column, kwargs):
    frame = pl.DataFrame({"k": ["a"], "v": column})
    with pytest.raises(
        ValidationFailed, match=r"^s: expect_column_values_to_be_between on v could not be worked out: .+"
    ):
        validate(frame, suite(expectation("column_values_to_be_between", column="v", **kwargs)), key=["k"])


def test_all_missing_columns_are_named_with_near_ones(suite):
    frame = pl.DataFrame({"accountnumber": ["a"], "creditlimit": [1]})
    path = suite(
        expectation("column_values_to_not_be_null", column="credit_limit"),
        expectation("compound_columns_to_be_unique", column_list=["accountnumber", "company"]),
    )
    with pytest.raises(SchemaError) as refused:
        validate(frame, path, key=["accountnumer"])
    text = str(refused.value)
    assert (
        "s: no column 'credit_limit' in the frame, asked for by expect_column_values_to_not_be_null; near: creditlimit"
        in text
    )
    assert "no column 'company'" in text
    assert "no column 'accountnumer' in the frame, asked for by the key; near: accountnumber" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("{", "not a JSON file", id="no json"),
        pytest.param("[]", "a list named expectations", id="a list"),
        pytest.param('{"expectations": [{"kwargs": {}}]}', "an expectation is an object with a type", id="no type"),
        pytest.param('{"expectations": [{"type": "x"}]}', "kwargs and meta are objects", id="no kwargs"),
        pytest.param(
            '{"expectations": [{"type": "x", "kwargs": {}, "meta": {"severity": "fatal"}}]}',
            "meta.severity: 'fatal'; known: critical, warning, info",
            id="severity",
        ),
        pytest.param('{"name": "a/../b", "expectations": []}', "letters, digits, blanks, - and _ only", id="name"),
    ],
)
def test_a_broken_suite_is_refused_with_its_place(tmp_path, content, words):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValidationFailed) as refused:
        load_suite("bad", tmp_path)
    assert words in str(refused.value)
    assert "bad.json" in str(refused.value)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"type": "expect_the_unexpected", "kwargs": {}}, id="unknown expectation"),
        pytest.param({"type": "expect_column_values_to_be_unique", "kwargs": {"colum": "k"}}, id="unknown argument"),
    ],
)
def test_an_expectation_that_does_not_exist_is_an_error(suite, bad):
    with pytest.raises(ValidationFailed, match=r"^s: expectations\[1\], "):
        validate(
            pl.DataFrame({"k": ["a"]}), suite(expectation("column_values_to_be_unique", column="k"), bad), key=["k"]
        )


def test_an_unknown_suite_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "mine.json").write_text('{"expectations": []}')
    with pytest.raises(ValidationFailed, match=r"no suite 'yours' in .*; known: mine"):
        validate(pl.DataFrame({"k": ["a"]}), "yours", key=["k"], folder=tmp_path)
    assert suite_names(tmp_path) == ["mine"]


def test_a_result_is_fit_for_json_with_its_digits(suite):
    frame = pl.DataFrame({"k": ["a"], "v": pl.Series([Decimal("-1.000000000001")], dtype=MONEY)})
    result = validate(
        frame, suite(expectation("column_values_to_be_between", says="No debt", column="v", min_value=0)), key=["k"]
    )
    (check,) = json.loads(json.dumps(result.to_dict()))["checks"]
    assert (check["says"], check["failing_keys"], check["unexpected_count"]) == ("No debt", ["a"], 1)
    assert result.result["results"][0]["result"]["partial_unexpected_list"] == ["-1.000000000001"]


def test_nothing_is_kept_for_the_pages_when_told_not_to(suite):
    path = suite(expectation("column_values_to_be_unique", column="k"))
    assert validate(pl.DataFrame({"k": ["a"]}), path, key=["k"], keep_result=False).result is None


def test_a_frame_is_left_as_it_was_and_threads_do_not_mix_results(suite):
    frames = [pl.DataFrame({"k": [str(n)] * n}) for n in (1, 2, 3, 4)]
    path = suite(expectation("column_values_to_be_unique", column="k"))
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda frame: only(frame, path).unexpected_count, frames))
    assert counts == [0, 2, 3, 4]
    assert [frame.columns for frame in frames] == [["k"]] * 4


def test_great_expectations_does_without_distributions_and_azure_until_they_are_asked_for(suite):
    path = suite(expectation("column_values_to_not_be_null", column="k"))
    code = """
import sys
from pathlib import Path
import polars as pl
from p2c_lib.validate import validate
print(validate(pl.DataFrame({"k": ["a"]}), Path(sys.argv[1]), key=["k"]).success, end=" ")
print({"scipy.stats._stats_py", "azure.identity"} & set(sys.modules), end=" ")
from great_expectations.expectations.core import expect_column_kl_divergence_to_be_less_than as rare
print(rare.stats.norm.cdf(0))
import azure.identity
from scipy import stats
assert rare.stats is stats
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("True set() 0.5\n", 0), done.stderr
