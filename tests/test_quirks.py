"""Known quirks of templates: what they touch, what they account for, and that they keep nothing from being in step."""

import polars as pl
import pytest
from test_mapping import ENTITY, task

from p2c_lib import mapping
from p2c_lib.diff import Outcomes, compare
from p2c_lib.explain import explain, main_reasons, quirks_only
from p2c_lib.model import FieldMap, Quirk, Task, ValueMap, find_task, load_templates
from p2c_lib.quirks import QUIRK_COLUMNS, TOUCHED, accounted, counted, touched

BILL_TO = Quirk(name="bill_to", says="the bill-to address feeds the delivery address", instead="shipto")
ADDRESS = FieldMap(destination="Text", source="billto", quirk=(BILL_TO,))
JAPAN = Quirk(name="japan", says="Japan is JA", entries={"japan": "JP"})
USA = Quirk(name="usa", says="a blank country becomes USA", entries={"": "US"})
LANDS = ValueMap(name="country", entries={"japan": "JA", "germany": "DE"}, quirk=(JAPAN,))
COUNTRY = FieldMap(
    destination="Text", source="land", map="value_map", value_map="country", blank_default="USA", quirk=(USA,)
)
TOTAL = FieldMap(destination="MaybeAmount", source="total", money=True, quirk=(Quirk(name="copied", says="copied"),))


def source(**columns: list) -> pl.DataFrame:
    height = len(next(iter(columns.values())))
    return pl.DataFrame({"key": [f"K{number}" for number in range(height)], **columns})


def looked_at(task: Task, pulled: pl.DataFrame, found: list[str | None]) -> tuple[Outcomes, pl.DataFrame, pl.Series]:
    """What becomes of rows whose text the destination has as given."""
    rows = mapping.expected(pulled, task, ENTITY).rows
    outcomes = compare(rows, rows.with_columns(Text=pl.Series(found, dtype=pl.String)), task)
    odd = touched(pulled, rows, task, ENTITY)
    return outcomes, odd, accounted(outcomes.cells, odd)


def test_a_quirk_touches_the_rows_where_it_makes_a_difference_and_no_others():
    pulled = source(billto=["8001", "8002", None], shipto=["9001", "8002", "9003"])
    rows = mapping.expected(pulled, task(ADDRESS), ENTITY).rows
    assert touched(pulled, rows, task(ADDRESS), ENTITY).rows() == [
        (0, "Text", "bill_to", "9001"),
        (2, "Text", "bill_to", "9003"),
    ]


@pytest.mark.parametrize(
    ("shipto", "found", "name"),
    [
        pytest.param("9001", "9001", "bill_to", id="the destination has what one would expect"),
        pytest.param("9001", "9009", None, id="it has something else"),
        pytest.param("9001", None, None, id="it has nothing"),
        pytest.param(None, None, None, id="a blank proves nothing: it may never have been sent"),
    ],
)
def test_a_quirk_accounts_for_what_one_would_expect_and_for_nothing_else(shipto, found, name):
    pulled = source(billto=["8001"], shipto=pl.Series([shipto], dtype=pl.String))
    outcomes, _, names = looked_at(task(ADDRESS), pulled, [found])
    assert outcomes.cells.height == 1
    assert names.to_list() == [name]


@pytest.mark.parametrize(
    ("land", "found", "name"),
    [
        pytest.param("Japan", "JP", "japan", id="the entry that one would expect"),
        pytest.param(None, "US", "usa", id="what one would expect for a blank"),
        pytest.param("Germany", "JP", None, id="another entry"),
        pytest.param("Narnia", "JP", None, id="no entry: still nothing that can be sent"),
    ],
)
def test_a_quirk_of_a_value_map_is_one_of_the_fields_that_use_it(land, found, name):
    mapped = task(COUNTRY, value_maps={"country": LANDS})
    pulled = source(land=pl.Series([land], dtype=pl.String))
    made = mapping.expected(pulled, mapped, ENTITY)
    outcomes = compare(made.rows, made.rows.with_columns(Text=pl.lit(found)), mapped, unmapped=made.unmapped)
    assert accounted(outcomes.cells, touched(pulled, made.rows, mapped, ENTITY)).to_list() == [name]


def test_a_value_that_no_map_knows_stays_unmapped_whatever_the_destination_has():
    odd = FieldMap(destination="Text", source="land", map="value_map", value_map="country", quirk=(
        Quirk(name="by_id", says="the region's id feeds the country", instead="iso"),))  # fmt: skip
    pulled = source(land=["Brazil"], iso=["BR"])
    made = mapping.expected(pulled, task(odd), ENTITY)
    outcomes = compare(made.rows, made.rows.with_columns(Text=pl.lit("BR")), task(odd), unmapped=made.unmapped)
    assert outcomes.cells["outcome"].to_list() == ["unmapped"]
    assert accounted(outcomes.cells, touched(pulled, made.rows, task(odd), ENTITY)).to_list() == [None]


def test_what_a_quirk_accounts_for_is_told_apart_and_a_row_of_nothing_else_is_no_error():
    both = task(ADDRESS, FieldMap(destination="Whole", source="number"))
    pulled = source(billto=["1", "1", "1"], shipto=["2", "2", "2"], number=[7, 7, 7])
    rows = mapping.expected(pulled, both, ENTITY).rows
    found = rows.with_columns(
        Text=pl.Series(["2", "2", "3"]), Whole=pl.Series([7, 8, 7], dtype=pl.Int32)
    )  # only the quirk; the quirk and a number; another text
    outcomes = compare(rows, found, both)
    names = accounted(outcomes.cells, touched(pulled, rows, both, ENTITY))
    table = explain(outcomes, both, pulled, quirks=names).sort("key", "field")
    assert table.select("key", "code").rows() == [
        ("K0", "quirk"), ("K1", "quirk"), ("K1", "different"), ("K2", "different"),
    ]  # fmt: skip
    assert table["reason"][0] == "known template quirk: the bill-to address feeds the delivery address"
    assert quirks_only(table).to_list() == ["K0"]
    main = main_reasons(table).select("key", "code", "severity", "fields").rows()
    assert main == [("K0", "quirk", "note", "Text"), ("K1", "different", "error", "Whole, Text"),
                    ("K2", "different", "error", "Text")]  # fmt: skip


def test_quirks_are_counted_by_the_rows_that_flow():
    mapped = task(ADDRESS, TOTAL)
    pulled = source(billto=["1", "1", "1", "1"], shipto=["2", "2", "1", "2"], total=[None] * 4)
    outcomes, odd, names = looked_at(mapped, pulled, ["2", "1", "1", "1"])
    flowing = pl.Series([0, 1, 2], dtype=pl.UInt32)  # the fourth row is left out by the filter
    table = counted(mapped, odd, outcomes.cells, names, flowing)
    assert table.schema == QUIRK_COLUMNS
    assert table.select("quirk", "fields", "rows", "differing").rows() == [
        ("bill_to", "Text", 2, 1),
        ("copied", "MaybeAmount", 3, 0),
    ]


def test_a_task_without_quirks_has_none_counted():
    plain = task(FieldMap(destination="Text", source="x"))
    outcomes, odd, names = looked_at(plain, source(x=["a"]), ["b"])
    assert odd.is_empty() and names.to_list() == [None]
    assert counted(plain, odd, outcomes.cells, names, pl.Series([0], dtype=pl.UInt32)).is_empty()


def test_the_column_that_one_would_expect_is_read_and_is_no_part_of_the_rule():
    assert "shipto" in mapping.source_columns(task(ADDRESS))
    assert ADDRESS.sources == ("billto",)


def test_what_a_quirk_leaves_to_the_destination_is_its_doing_always_or_where_the_template_gives_nothing():
    templates = load_templates(route="cds")
    total = find_task("quote_headers_from_cds", templates), "QuotationTotalAmount"
    city = find_task("quote_lines_from_cds", templates), "DeliveryAddressCity"
    told = {}
    for (leg, field), expected in ((total, "1"), (city, None), (city, "Rome")):
        cell = {"source_row": 0, "field": field, "outcome": "different", "expected": expected, "found": "2"}
        cells = pl.DataFrame([cell], schema_overrides={"source_row": pl.UInt32, "expected": pl.String})
        told[field, expected] = accounted(cells, TOUCHED.to_frame(), leg).item()
    assert told == {
        ("QuotationTotalAmount", "1"): "quote_discounts_end_in_cds",
        ("DeliveryAddressCity", None): "address_of_the_header",
        ("DeliveryAddressCity", "Rome"): None,
    }


def test_a_total_is_the_quirks_doing_only_where_there_are_charges_and_sales_has_less_not_where_somebody_raised_it():
    leg = find_task("invoice_headers_from_cds", load_templates(route="cds"))
    pulled = pl.DataFrame({"TotalChargeAmount": pl.Series(["10", "0", None, "10", "-10"]).cast(pl.Decimal(20, 4))})
    cells = pl.DataFrame(
        [(0, "115", "112"), (1, "115", "112"), (2, "115", "112"), (3, "115", "118"), (4, "-115", "-112")],
        schema={"source_row": pl.UInt32, "expected": pl.String, "found": pl.String},
        orient="row",
    ).with_columns(field=pl.lit("totalamount"), outcome=pl.lit("different"))
    name = "header_charge_tax_ends_in_cds"
    assert accounted(cells, TOUCHED.to_frame(), leg, pulled).to_list() == [name, None, None, None, name]
    assert "TotalChargeAmount" in mapping.source_columns(leg)
