"""One document looked into: which one, what stands in each field and why, and what its header adds up to."""

from decimal import Decimal

import polars as pl
import pytest

from p2c_lib import drill
from p2c_lib.diff import compare
from p2c_lib.errors import ParameterError
from p2c_lib.explain import explain
from p2c_lib.model import FieldMap, Side, Task, TieOut, find_task, load_templates
from p2c_lib.pull import MONEY

HOW = TieOut(header="heads", document="Number", line_document="Of", number="Line", total="Total", line_amount="Amount",
             plus=("Freight",), minus=("Off",))  # fmt: skip
HEADS = Task(
    name="heads",
    source=Side(system="sales", entity="orders"),
    destination=Side(system="fno", entity="Orders"),
    key={"Number": "number"},
    currency="Currency",
    amount="Total",
    fields=(
        FieldMap(destination="Number", source="number"),
        FieldMap(destination="City", source="city", normalise=("trim", "case")),
        FieldMap(destination="Currency", source="currency"),
        FieldMap(destination="Total", source="total", money=True, role="computed", note="worked out"),
        FieldMap(destination="Freight", map="default", value="0", money=True),
        FieldMap(destination="Off", map="default", value="0", money=True),
    ),
)
LINES = Task(
    name="lines",
    source=Side(system="sales", entity="lines"),
    destination=Side(system="fno", entity="Lines"),
    key={"Of": "of", "Line": "line"},
    currency="Currency",
    amount="Amount",
    tie_out=HOW,
    fields=(
        FieldMap(destination="Of", source="of"),
        FieldMap(destination="Line", source="line"),
        FieldMap(
            destination="Amount", source="gross", map="transform", transform=("difference(gross, tax)",), money=True
        ),
        FieldMap(destination="Currency", source="currency", role="worth"),
    ),
)
AMOUNTS = dict.fromkeys(("total", "Total", "Freight", "Off", "gross", "tax", "Amount"), MONEY)


def frame(columns: str, *rows: tuple) -> pl.DataFrame:
    names = columns.split()
    kinds = {name: AMOUNTS.get(name, pl.Int32 if name.lower() == "line" else pl.String) for name in names}
    exact = [[Decimal(v) if kinds[n] == MONEY and v is not None else v for n, v in zip(names, row, strict=True)]
             for row in rows]  # fmt: skip
    return pl.DataFrame(exact, schema=kinds, orient="row")


def kept(task: Task, source: pl.DataFrame, expected: pl.DataFrame, found: pl.DataFrame, excluded=None) -> drill.Frames:
    outcomes = compare(expected, found, task, excluded=excluded)
    table = explain(outcomes, task, source)
    return drill.Frames(task, *(part.lazy() for part in (source, expected, found, outcomes.rows, table)))


@pytest.fixture
def parts() -> list[drill.Frames]:
    """A is in step but for blanks at its city; B has another city, an amount apart, one line lost, one too many."""
    city = frame("number city currency total", ("A", "Bonn ", "EUR", "10"), ("B", "Kiel", "USD", "30"))
    header = kept(
        HEADS,
        city,
        frame("Number City Currency Total Freight Off", ("A", "Bonn ", "EUR", "10", "0", "0"),
              ("B", "Kiel", "USD", "30", "0", "0")),
        frame("Number City Currency Total Freight Off", ("A", "Bonn", "EUR", "10", "0", "0"),
              ("B", "Köln", "USD", "30", "1.5", "0.5")),
    )  # fmt: skip
    lines = kept(
        LINES,
        frame("of line gross tax currency", ("A", 1, "12", "2", "EUR"), ("B", 1, "11", "1", "USD"),
              ("B", 2, "20.50", None, "USD")),
        frame("Of Line Amount Currency", ("A", 1, "10", "EUR"), ("B", 1, "10", "USD"), ("B", 2, "20.50", "USD")),
        frame("Of Line Amount Currency", ("A", 1, "10", "EUR"), ("B", 1, "9.99", "USD"), ("B", 10, "19.01", "USD")),
    )  # fmt: skip
    return [header, lines]


def test_without_a_number_it_is_the_document_in_which_most_fields_differ(parts):
    assert drill.score(parts, HOW).select("document", "fields", "alone", "blocked").rows() == [
        ("B", 4, 2, 0),
        ("A", 1, 0, 0),
    ]
    assert drill.find_document(parts, HOW, "") == "B"


def test_a_number_is_found_whatever_its_case_and_blanks_and_an_unknown_one_is_refused_with_near_ones(parts):
    assert drill.find_document(parts, HOW, " b ") == "B"
    with pytest.raises(ParameterError, match=r"no document 'C' among the 2 of lines$"):
        drill.find_document(parts, HOW, "C")
    with pytest.raises(ParameterError, match="no document 'Ab' among the 2 of lines; near: A"):
        drill.find_document(parts, HOW, "Ab")


def test_without_any_document_there_is_none_to_look_into():
    empty = frame("Number City Currency Total Freight Off")
    assert drill.find_document([kept(HEADS, frame("number city currency total"), empty, empty)], HOW, "") == ""


def test_a_header_shows_source_value_rule_expected_found_and_what_to_do(parts):
    (row,) = drill.look_into(parts[0], HOW, "B")
    assert (row.key, row.side, row.outcome, row.reason) == ("B", "both", "mismatched", "")
    told = {one["field"]: one for one in row.fields.to_dicts()}
    assert list(told) == ["Number (key)", "City", "Currency", "Total", "Freight", "Off"]
    city = told["City"]
    assert (city["source_value"], city["expected"], city["found"], city["outcome"]) == (
        "Kiel",
        "Kiel",
        "Köln",
        "different",
    )
    assert city["rule"] == "copied from city\ncounts as representation: blanks around it, upper or lower case"
    assert city["reason"] and city["remedy"]
    assert told["Freight"]["rule"] == "always '0'" and told["Freight"]["source_value"] == ""
    assert told["Total"]["rule"] == "copied from total\nworked out by the destination, never sent\n(worked out)"
    assert (told["Currency"]["outcome"], told["Currency"]["reason"]) == ("agrees", "")


@pytest.mark.parametrize(
    ("task", "field", "lines"),
    [
        ("quote_headers", "DeliveryAddressCountryRegionISOCode",
         ["shipto_country by country_to_iso, blank: 'US'", "known quirk: "]),
        ("order_headers_to_sales", "pricelevelid.name",
         ["CurrencyCode by currency_to_price_list", "looked up, so blanks and case make no difference", "("]),
        ("order_headers_to_sales", "statuscode", ["always '1'", "100003 is right as well", "(New"]),
        ("quote_lines", "LineAmount", ["difference(extendedamount, tax)", "("]),
    ],
)  # fmt: skip
def test_a_rule_of_the_templates_is_said_in_words(task, field, lines):
    chosen = find_task(task, load_templates())
    told = drill.rule_words(chosen.field(field), chosen).split("\n")
    assert all(one.startswith(line) for one, line in zip(told, lines, strict=False)) and len(told) >= len(lines)


def test_every_line_of_the_document_is_there_once_in_the_order_of_its_number(parts):
    rows = drill.look_into(parts[1], HOW, "B")
    assert [(row.key, row.side, row.outcome) for row in rows] == [
        ("B|1", "both", "mismatched"),
        ("B|2", "source", "missing"),
        ("B|10", "destination", "extra"),
    ]
    assert all(row.reason and row.remedy for row in rows[1:])


def test_a_rule_over_several_columns_shows_each_and_a_column_for_worth_alone_is_not_compared(parts):
    fields = {row["field"]: row for row in drill.look_into(parts[1], HOW, "B")[0].fields.to_dicts()}
    assert fields["Amount"]["source_value"] == "gross = 11, tax = 1"
    assert (fields["Amount"]["expected"], fields["Amount"]["found"]) == ("10", "9.99")
    assert fields["Currency"]["outcome"] == "not compared"


def test_a_row_on_one_side_shows_that_side_alone(parts):
    _, lost, orphan = drill.look_into(parts[1], HOW, "B")
    assert lost.fields.select("expected", "found").rows()[2] == ("20.5", "")
    assert orphan.fields.select("source_value", "expected", "found").rows()[2] == ("", "", "19.01")
    assert set(lost.fields["outcome"]) == {""}


def test_header_and_lines_add_up_on_each_side_by_itself(parts):
    assert drill.totals(*parts, HOW, "B").rows() == [
        ("sales, expected", 2, Decimal("30.5"), Decimal(0), Decimal(0), Decimal(30), Decimal("-0.5"), "USD"),
        ("fno, found", 2, Decimal(29), Decimal("1.5"), Decimal("0.5"), Decimal(30), Decimal(0), "USD"),
    ]


def test_rows_that_the_filter_leaves_out_come_last_with_their_reason_and_do_not_count():
    source = frame("of line gross tax currency", ("B", 1, "5", None, "USD"), ("B", 2, "7", None, "USD"))
    expected = frame("Of Line Amount Currency", ("B", 1, "5", "USD"), ("B", 2, "7", "USD"))
    lines = kept(LINES, source, expected, expected.tail(1), pl.Series([None, None], dtype=pl.String))
    assert drill.score([lines], HOW)["alone"].to_list() == [1]
    left_out = kept(LINES, source, expected, expected.tail(1), pl.Series(["draft", None], dtype=pl.String))
    assert drill.score([left_out], HOW)["alone"].to_list() == [0]
    assert [(row.key, row.outcome) for row in drill.look_into(left_out, HOW, "B")] == [
        ("B|2", "matched"),
        ("B|1", "excluded"),
    ]


def test_a_repeated_line_is_told_from_one_of_the_same_key_that_is_left_out():
    source = frame("of line gross tax currency", *[("B", 1, "5", None, "USD")] * 3)
    expected = frame("Of Line Amount Currency", *[("B", 1, "5", "USD")] * 3)
    lines = kept(LINES, source, expected, expected.clear(), pl.Series(["draft", None, None], dtype=pl.String))
    rows = drill.look_into(lines, HOW, "B")
    assert [(row.outcome, row.reason) for row in rows] == [
        ("blocked", "several records share this key"),
        ("blocked", "several records share this key"),
        ("excluded", "draft"),
    ]


def test_a_document_that_is_on_both_sides_is_looked_into_before_one_that_is_on_one_side_only():
    source = frame("of line gross tax currency", *[("A", n, "900", None, "USD") for n in range(9)],
                   ("B", 1, "5", None, "USD"))  # fmt: skip
    expected = frame("Of Line Amount Currency", *[("A", n, "900", "USD") for n in range(9)], ("B", 1, "5", "USD"))
    lines = kept(LINES, source, expected, expected.tail(1))
    assert drill.find_document([lines], HOW, "") == "B"
