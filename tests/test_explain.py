"""Reasons and remedies of everything that is not matched."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import polars as pl
import pytest
from test_diff import CUSTOMERS, rows

from p2c_lib.diff import FIELD_OUTCOMES, compare
from p2c_lib.explain import CAUSES_FIRST, OUTCOME_COLUMNS, REASON_COLUMNS, REASONS, explain, main_reasons
from p2c_lib.model import Condition, FieldMap, Task, find_task, load_templates
from p2c_lib.pull import MONEY

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


# --- totals that the destination works out ------------------------------------------------------------------------


def totals(system: str) -> Task:
    """One total that the destination works out, and one state that it sets."""
    fields = (
        FieldMap(destination="Key", source="key"),
        FieldMap(destination="Total", source="total", money=True, role="computed"),
        FieldMap(destination="State", map="default", value="0", role="computed"),
    )
    sides = {"source": {"system": "fno", "entity": "a"}, "destination": {"system": system, "entity": "b"}}
    return Task.model_validate({"name": "orders", **sides, "key": {"Key": "key"}, "fields": fields})


def one(total: str, state: str) -> pl.DataFrame:
    return pl.DataFrame({"Key": ["S1"], "Total": pl.Series([Decimal(total)], dtype=MONEY), "State": [state]})


@pytest.mark.parametrize(
    ("system", "found", "code", "remedy"),
    [
        pytest.param("fno", "12", "computed", "Calculate sales totals in F&O", id="F&O: a batch job"),
        pytest.param("sales", "12", "computed", "have Sales recalculate it", id="Sales: its own pricing"),
        pytest.param("fno", "10.01", "rounding", "Calculate sales totals in F&O", id="a cent off is not sent either"),
    ],
)
def test_a_total_that_the_destination_works_out_is_put_right_there(system, found, code, remedy):
    table = explain(compare(one("10", "0"), one(found, "0"), totals(system)), totals(system), one("10", "0"))
    assert table.select("field", "code").rows() == [("Total", code)]
    assert remedy in table["remedy"][0]
    assert "update the destination" not in table["remedy"][0]


def test_a_state_that_the_destination_sets_itself_is_changed_by_hand():
    table = explain(compare(one("10", "0"), one("10", "3"), totals("sales")), totals("sales"), one("10", "0"))
    assert table.select("field", "code", "remedy").rows() == [("State", "different", "change it there by hand")]


# --- status: rules of P2C, section 11 -----------------------------------------------------------------------------

BACK = find_task("order_headers_to_sales", load_templates())
STAGES = {
    "Draft": "647390011",
    "Active": "647390000",
    "Confirmed": "647390001",
    "Partially Picked": "647390005",
    "Picked": "647390004",
    "Partially Packed": "647390006",
    "Packing Slip": "647390002",
    "Partially Shipped": "647390008",
    "Shipped": "647390007",
    "Partially Invoiced": "647390009",
    "Invoiced": "647390003",
}
CANCELLED = "647390010"
FROM_FNO = {
    "Active": "Active",
    "Confirmed": "Confirmed",
    "Picked": "Picked",
    "PartiallyDelivered": "Partially Shipped",
    "Delivered": "Shipped",
    "PartiallyInvoiced": "Partially Invoiced",
    "DeliveredPartiallyInvoiced": "Partially Invoiced",
    "Invoiced": "Invoiced",
}


def standing(expected: str, found: str, column: str = "msdynce_processingstatus") -> pl.DataFrame:
    """What is said of one order that stands at another value than expected."""
    status = BACK.field(column)
    fields = (FieldMap(destination="ordernumber", source="SalesOrderNumber"), status)
    only = BACK.model_copy(update={"fields": fields, "amount": None, "currency": None})
    ours, theirs = (
        pl.DataFrame({"ordernumber": ["S1"], column: pl.Series([int(value)], dtype=pl.Int32)})
        for value in (expected, found)
    )
    return explain(compare(ours, theirs, only), only, ours)


def severity(table: pl.DataFrame) -> str:
    return main_reasons(table)["severity"][0]


def test_all_values_of_sales_have_a_place_in_the_order_of_progress():
    status = BACK.field("msdynce_processingstatus")
    assert list(status.progress) == list(STAGES.values())
    assert status.apart == (CANCELLED,)


def test_all_values_of_fno_become_one_of_sales():
    entries = BACK.value_maps["processing_status"].entries
    expected = {name.lower(): STAGES[stage] for name, stage in FROM_FNO.items()}
    assert entries == {**expected, "canceled": CANCELLED}


@pytest.mark.parametrize(("earlier", "later"), list(pairwise(STAGES)))
def test_sales_behind_fno_is_a_warning_and_ahead_of_it_an_error(earlier, later):
    behind, ahead = standing(STAGES[later], STAGES[earlier]), standing(STAGES[earlier], STAGES[later])
    assert (behind["code"][0], severity(behind)) == ("status_behind", "warning")
    assert (ahead["code"][0], severity(ahead)) == ("status_ahead", "error")


@pytest.mark.parametrize(
    ("expected", "found", "words"),
    [
        ("Shipped", "Confirmed", "behind: the packing slip at the source has not arrived, the destination stands at "
         "the order confirmation"),
        ("Picked", "Invoiced", "ahead: the destination stands at the invoice, the source at the picking list"),
        ("Confirmed", "Active", "behind: the order confirmation at the source has not arrived, the destination stands "
         "at the activation"),
    ],
)  # fmt: skip
def test_the_paper_that_decides_is_named(expected, found, words):
    assert standing(STAGES[expected], STAGES[found])["reason"].to_list() == [words]


@pytest.mark.parametrize("stage", STAGES)
def test_a_cancelled_document_is_neither_behind_nor_ahead(stage):
    by_fno, by_sales = standing(CANCELLED, STAGES[stage]), standing(STAGES[stage], CANCELLED)
    assert by_fno.select("code", "reason").rows() == [("status_apart", "cancelled at the source only")]
    assert by_sales.select("code", "reason").rows() == [("status_apart", "cancelled at the destination only")]
    assert (severity(by_fno), severity(by_sales)) == ("error", "error")


@pytest.mark.parametrize(("column", "value"), [("statecode", "2"), ("statuscode", "4")])
def test_an_order_whose_record_is_cancelled_in_sales_is_cancelled_on_one_side(column, value):
    assert standing({"statecode": "0", "statuscode": "1"}[column], value, column)["code"].to_list() == ["status_apart"]


def test_a_status_that_nobody_knows_is_just_different():
    assert standing(STAGES["Confirmed"], "5")["code"].to_list() == ["different"]


def test_a_status_changed_within_the_lag_window_is_on_its_way():
    both = [FieldMap(destination="K", source="k"), FieldMap(destination="S", source="s", progress={"1": "a", "2": "b"})]
    sides = {"source": {"system": "sales", "entity": "a"}, "destination": {"system": "fno", "entity": "b"}}
    task = Task.model_validate({"name": "t", **sides, "key": {"K": "k"}, "fields": both})
    ours, theirs = (pl.DataFrame({"K": ["A"], "S": [value]}) for value in ("2", "1"))
    pulled = ours.with_columns(modifiedon=pl.lit(NOON - timedelta(minutes=5)))
    table = explain(compare(ours, theirs, task), task, pulled, at=NOON, lag=timedelta(minutes=60))
    assert table.select("code", "reason").rows() == [("recent", REASONS["recent"].says)]


# --- one reason a row ---------------------------------------------------------------------------------------------


def outcomes(*cells: tuple[str, str | None, str, str | None]) -> pl.DataFrame:
    """Cells of (key, field, code, amount); a row that stands alone has no field."""
    blank = dict.fromkeys(OUTCOME_COLUMNS) | {"task": "t", "currency": "EUR"}
    made = [
        blank | {"key": key, "field": field, "code": code, "amount": amount and Decimal(amount),
                 "outcome": "different" if field else code, "side": "both" if field else "source", "reason": code}
        for key, field, code, amount in cells
    ]  # fmt: skip
    return pl.DataFrame(made, schema=OUTCOME_COLUMNS)


def test_each_row_has_one_reason_and_all_that_it_is_worth():
    main = main_reasons(
        outcomes(
            ("A", "Name", "representation", None),
            ("A", "Total", "computed", "3.50"),
            ("A", "Price", "different", "1.25"),
            ("B", None, "missing", "7"),
            ("C", "Name", "truncated", None),
        )
    )
    assert main.schema == REASON_COLUMNS
    assert main.select("key", "outcome", "code", "fields", "amount").rows() == [
        ("A", "mismatched", "different", "Price, Total, Name", Decimal("4.75")),
        ("B", "missing", "missing", None, Decimal(7)),
        ("C", "mismatched", "truncated", "Name", None),
    ]


@pytest.mark.parametrize(("first", "then"), list(pairwise(CAUSES_FIRST)))
def test_the_cause_comes_before_what_follows_from_it(first, then):
    for cells in ((first, then), (then, first)):
        main = main_reasons(outcomes(*[("A", f"F{n}", code, None) for n, code in enumerate(cells)]))
        assert main["code"].to_list() == [first]


def test_every_code_of_a_field_has_a_rank_and_words():
    fields = {"status_apart", "status_ahead", "status_behind", "recent", "computed", "quirk", *FIELD_OUTCOMES}
    assert set(CAUSES_FIRST) == fields
    assert len(CAUSES_FIRST) == len(fields)
    assert fields <= set(REASONS)


def test_what_a_quirk_accounts_for_is_not_at_stake():
    main = main_reasons(outcomes(("A", "Discount", "quirk", "5"), ("B", "Discount", "quirk", "5"),
                                 ("B", "Price", "different", "2")))  # fmt: skip
    assert main.select("key", "severity", "amount").rows() == [("A", "note", None), ("B", "error", Decimal(2))]


def test_two_tasks_with_one_key_are_two_rows():
    one, other = (outcomes(("A", "Name", "different", None)).with_columns(task=pl.lit(name)) for name in "xy")
    assert main_reasons(pl.concat([one, other])).select("task", "key").rows() == [("x", "A"), ("y", "A")]


def test_nothing_that_differs_has_no_reasons():
    assert main_reasons(OUTCOME_COLUMNS.to_frame()).is_empty()
