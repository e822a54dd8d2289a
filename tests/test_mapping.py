from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from p2c_lib.connect.metadata import Column, Entity
from p2c_lib.errors import SchemaError
from p2c_lib.mapping import destination_columns, expected, filter_outcome, project, source_columns
from p2c_lib.model import FieldMap, Task, ValueMap, find_task, load_templates
from p2c_lib.pull import MONEY

COLUMNS = {
    "Key": Column("Key", nullable=False, is_key=True),
    "Text": Column("Text"),
    "Whole": Column("Whole", "Edm.Int32", nullable=False),
    "MaybeWhole": Column("MaybeWhole", "Edm.Int32"),
    "Big": Column("Big", "Edm.Int64", nullable=False),
    "Amount": Column("Amount", "Edm.Decimal", nullable=False),
    "MaybeAmount": Column("MaybeAmount", "Edm.Decimal"),
    "Flag": Column("Flag", "Edm.Boolean"),
    "NoYes": Column("NoYes", "Microsoft.Dynamics.DataEntities.NoYes", enum=("No", "Yes")),
    "Day": Column("Day", "Edm.Date"),
    "Moment": Column("Moment", "Edm.DateTimeOffset"),
}
ENTITY = Entity("Things", "Thing", ("Key",), COLUMNS)
COUNTRY = ValueMap(name="country", entries={"germany": "DE", "de": "DE", "usa": "US"})
# The four separators are left out: white space to Python, which says here what is right, but not to Unicode.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00\x1c\x1d\x1e\x1f"), max_size=12)


def task(*fields: FieldMap, **more: object) -> Task:
    keyed = (FieldMap(destination="Key", source="key"), *fields)
    sides = {"source": {"system": "sales", "entity": "things"}, "destination": {"system": "fno", "entity": "Things"}}
    maps = {"value_maps": {"country": COUNTRY}}
    return Task.model_validate({"name": "things", **sides, "key": {"Key": "key"}, "fields": keyed, **maps, **more})


def rows(values: Sequence[object], dtype: pl.DataType | type[pl.DataType] | None = None) -> pl.DataFrame:
    keys = pl.Series("key", [f"K{number}" for number in range(len(values))], pl.String)
    return pl.DataFrame([keys, pl.Series("x", values, dtype, strict=False)])


def one(source: pl.DataFrame, **field: object) -> pl.Series:
    """The column that a field map over ``x`` gives."""
    mapped = FieldMap.model_validate({"source": "x", **field})
    return expected(source, task(mapped), ENTITY).rows[mapped.destination]


# --- copy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "have", "destination", "becomes"),
    [
        pytest.param("a ", pl.String, "Text", "a ", id="a text keeps its blanks"),
        pytest.param("", pl.String, "Text", None, id="the empty text is null"),
        pytest.param("  ", pl.String, "Text", "  ", id="blanks alone are a text"),
        pytest.param(7, pl.Int32, "Text", "7", id="a number as text"),
        pytest.param(True, pl.Boolean, "Text", "true", id="a flag as text"),
        pytest.param(Decimal("10.50"), MONEY, "Text", "10.5", id="an amount as text has no zeros behind"),
        pytest.param(Decimal(100), MONEY, "Text", "100", id="an amount as text keeps zeros in front"),
        pytest.param(7, pl.Int32, "Amount", Decimal(7), id="a whole number as amount"),
        pytest.param(None, MONEY, "Amount", Decimal(0), id="null is 0 where the column cannot be null"),
        pytest.param(None, MONEY, "MaybeAmount", None, id="null stays where the column can be null"),
        pytest.param(None, pl.Int32, "Whole", 0, id="a missing whole number is 0"),
        pytest.param(None, pl.Int32, "MaybeWhole", None, id="a missing whole number stays null"),
        pytest.param("  ", pl.String, "Whole", 0, id="a blank text is no whole number, so 0"),
        pytest.param("+12", pl.String, "Whole", 12, id="a text as whole number"),
        pytest.param("0012.50", pl.String, "Amount", Decimal("12.5"), id="a text as amount"),
        pytest.param("1.0050000000000000000", pl.String, "Amount", Decimal("1.005"), id="zeros past the 12th place"),
        pytest.param(Decimal("3.000"), MONEY, "Whole", 3, id="an amount without a fraction as whole number"),
        pytest.param(" Yes ", pl.String, "Flag", True, id="Yes is true"),
        pytest.param(1, pl.Int32, "Flag", True, id="1 is true"),
        pytest.param("2024-02-29", pl.String, "Day", date(2024, 2, 29), id="a text as day"),
        pytest.param(
            datetime(2024, 2, 29, 23, tzinfo=UTC), pl.Datetime("us", "UTC"), "Day", date(2024, 2, 29), id="day"
        ),
        pytest.param(
            date(2024, 2, 29), pl.Date, "Moment", datetime(2024, 2, 29, 12, tzinfo=UTC), id="a day is its noon in F&O"
        ),
    ],
)
def test_copy_gives_the_value_in_the_type_of_the_destination(value, have, destination, becomes):
    assert one(rows([value], have), destination=destination).to_list() == [becomes]


@pytest.mark.parametrize(
    ("values", "have", "destination", "words"),
    [
        pytest.param(
            ["1", "abc", "x", "2"], pl.String, "Whole", ["x -> Whole", "2 of 4 rows", "'abc', 'x'"], id="text"
        ),
        pytest.param(["2147483648"], pl.String, "Whole", ["'2147483648'"], id="text out of range"),
        pytest.param([2**31], pl.Int64, "Whole", ["'2147483648'"], id="whole number out of range"),
        pytest.param([Decimal("1.5")], MONEY, "Whole", ["'1.5'"], id="amount with a fraction"),
        pytest.param(["1,50"], pl.String, "Amount", ["'1,50'"], id="decimal comma"),
        pytest.param(["1e5"], pl.String, "Amount", ["'1e5'"], id="exponent"),
        pytest.param(["0.0000000000001"], pl.String, "Amount", ["'0.0000000000001'"], id="a digit past the 12th place"),
        pytest.param(["1" * 27], pl.String, "Amount", ["1111"], id="too many digits in front"),
        pytest.param(["maybe"], pl.String, "Flag", ["'maybe'"], id="neither true nor false"),
        pytest.param([2], pl.Int32, "Flag", ["'2'"], id="2 is no flag"),
        pytest.param(["30.2.2024"], pl.String, "Day", ["'30.2.2024'"], id="no such day"),
        pytest.param(["yesterday"], pl.String, "Moment", ["'yesterday'"], id="no moment"),
        pytest.param([1.5], pl.Float64, "Amount", ["Float64", "without loss"], id="a binary number is no amount"),
        pytest.param([True], pl.Boolean, "Amount", ["Boolean"], id="a flag is no amount"),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_nothing_is_mapped(values, have, destination, words):
    with pytest.raises(SchemaError) as caught:
        one(rows(values, have), destination=destination)
    assert all(word in str(caught.value) for word in words)


def test_all_fields_that_do_not_fit_are_named_together():
    fields = (FieldMap(destination="Whole", source="x"), FieldMap(destination="Amount", source="x"))
    with pytest.raises(SchemaError, match=r"(?s)x -> Whole.*x -> Amount"):
        expected(rows(["a"]), task(*fields), ENTITY)


def test_a_missing_source_column_is_named_with_what_is_near():
    with pytest.raises(SchemaError, match=r"lack 'xx' \(near: x\)"):
        expected(rows(["a"]), task(FieldMap(destination="Text", source="xx")), ENTITY)


def test_a_destination_column_that_does_not_exist_is_named():
    with pytest.raises(SchemaError, match="no column 'Texd'; near: Text"):
        one(rows(["a"]), destination="Texd")


# --- constants ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "value", "becomes"),
    [("Text", "10", "10"), ("Whole", "10", 10), ("Amount", "0.10", Decimal("0.10")), ("Flag", "true", True)],
)
def test_a_constant_is_read_in_the_type_of_the_destination(destination, value, becomes):
    mapped = expected(rows(["a", None]), task(FieldMap(destination=destination, map="default", value=value)), ENTITY)
    assert mapped.rows[destination].to_list() == [becomes, becomes]


def test_a_constant_has_no_rows_where_the_source_has_none():
    mapped = expected(rows([]), task(FieldMap(destination="Text", map="default", value="10")), ENTITY)
    assert mapped.rows.height == 0


def test_a_constant_that_does_not_fit_the_column_is_named():
    with pytest.raises(SchemaError, match="things: Whole: 'ten' is no whole number"):
        expected(rows(["a"]), task(FieldMap(destination="Whole", map="default", value="ten")), ENTITY)


def test_a_default_takes_the_place_of_null_and_of_blanks_only():
    source = rows(["a", None, "", "  ", "0"])
    assert one(source, destination="Text", map="default_if_blank", value="-").to_list() == ["a", "-", "-", "-", "0"]
    assert one(rows([0, None], pl.Int32), destination="Whole", map="default_if_blank", value="2").to_list() == [0, 2]


# --- value maps ---------------------------------------------------------------------------------------------------


def test_value_map_keys_are_compared_trimmed_and_in_lower_case():
    source = rows([" Germany", "DE ", "uSa", None, "", " "])
    found = one(source, destination="Text", map="value_map", value_map="country")
    assert found.to_list() == ["DE", "DE", "US", None, None, None]


def test_a_blank_source_becomes_the_fields_blank_default():
    source = rows(["usa", None, " "])
    found = one(source, destination="Text", map="value_map", value_map="country", blank_default="USA")
    assert found.to_list() == ["US", "USA", "USA"]


@pytest.mark.parametrize(("own", "becomes"), [(None, "Unknown"), ("Male", "Male")])
def test_the_blank_entry_of_a_map_gives_way_to_the_fields_own(own, becomes):
    maps = {"gender": ValueMap(name="gender", entries={"1": "Male", "": "Unknown"})}
    field = FieldMap(destination="Text", source="x", map="value_map", value_map="gender", blank_default=own)
    mapped = expected(rows([1, None], pl.Int32), task(field, value_maps=maps), ENTITY)
    assert mapped.rows["Text"].to_list() == ["Male", becomes]
    assert mapped.unmapped.is_empty()


@pytest.mark.parametrize(
    ("values", "have", "entries", "destination", "becomes"),
    [
        pytest.param(
            [True, False], pl.Boolean, {"true": "No", "false": "Yes"}, "NoYes", ["No", "Yes"], id="flag to enum"
        ),
        pytest.param([0, 1], pl.Int32, {"0": "No", "1": "Yes"}, "NoYes", ["No", "Yes"], id="code to enum"),
        pytest.param(
            ["Yes", "No"], pl.String, {"yes": "true", "no": "false"}, "Flag", [True, False], id="enum to flag"
        ),
        pytest.param(["Item"], pl.String, {"item": "1"}, "Whole", [1], id="enum to code"),
        pytest.param(["a"], pl.String, {"a": "0.10"}, "Amount", [Decimal("0.10")], id="text to amount"),
        pytest.param([Decimal("2.50")], MONEY, {"2.5": "half"}, "Text", ["half"], id="amount to text"),
    ],
)
def test_value_maps_go_by_the_text_form_of_choices_flags_and_enums(values, have, entries, destination, becomes):
    maps = {"m": ValueMap(name="m", entries=entries)}
    field = FieldMap(destination=destination, source="x", map="value_map", value_map="m")
    assert expected(rows(values, have), task(field, value_maps=maps), ENTITY).rows[destination].to_list() == becomes


def test_unmapped_values_are_listed_row_by_row_as_they_stand():
    source = rows(["usa", "Italia ", None, "Italia ", "Peru"])
    mapped = expected(
        source, task(FieldMap(destination="Text", source="x", map="value_map", value_map="country")), ENTITY
    )
    assert mapped.unmapped.rows() == [(1, "Text", "Italia "), (3, "Text", "Italia "), (4, "Text", "Peru")]
    assert mapped.unmapped.schema == {"row": pl.UInt32, "field": pl.String, "value": pl.String}
    assert mapped.rows["Text"].to_list() == ["US", None, None, None, None]


def test_an_unmapped_number_stays_null_and_does_not_become_0():
    maps = {"m": ValueMap(name="m", entries={"item": "1"})}
    field = FieldMap(destination="Whole", source="x", map="value_map", value_map="m")
    mapped = expected(rows(["service", None]), task(field, value_maps=maps), ENTITY)
    assert mapped.rows["Whole"].to_list() == [None, 0]
    assert mapped.unmapped["row"].to_list() == [0]


# --- transforms and cutting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "value", "becomes"),
    [(["upper"], "aß", "ASS"), (["strip", "lower"], "  AB ", "ab"), (["strip"], "   ", None)],
)
def test_text_transforms_apply_in_order(steps, value, becomes):
    assert one(rows([value]), destination="Text", map="transform", transform=steps).to_list() == [becomes]


@pytest.mark.parametrize(("value", "becomes"), [("1.005", "1.01"), ("-1.005", "-1.01"), ("2.665", "2.67"), ("1", "1")])
def test_rounding_goes_away_from_zero_and_not_to_even(value, becomes):
    source = rows([Decimal(value)], MONEY)
    found = one(source, destination="Amount", map="transform", transform=["round_half_away(2)"])
    assert found.to_list() == [Decimal(becomes)]


def test_rounding_a_text_is_refused():
    with pytest.raises(SchemaError, match="round_half_away needs a number, x is String"):
        one(rows(["1.5"]), destination="Amount", map="transform", transform=["round_half_away(2)"])


# --- shape --------------------------------------------------------------------------------------------------------


def test_paths_over_lookups_are_plain_columns_of_that_name():
    source = rows(["usd"]).rename({"x": "currency.iso"})
    field = FieldMap(destination="unit.name", source="currency.iso", map="transform", transform=("upper",))
    assert expected(source, task(field), ENTITY).rows.to_dict(as_series=False) == {"Key": ["K0"], "unit.name": ["USD"]}


def test_columns_of_both_sides_are_named_once_with_filter_and_scope():
    contacts = find_task("contacts", load_templates())
    read, compared = source_columns(contacts), destination_columns(contacts)
    assert "parentcustomerid.Account(accountnumber).Contact(msdynce_contactnumber)" in read
    assert {"msdynce_isactivecustomer", "msdynce_iscompanyanaccount"} <= set(read)
    assert compared[0] == "ContactPersonPartyNumber"
    assert "IsContactPersonExternallyMaintained" in compared
    assert len(set(read)) == len(read)
    assert len(set(compared)) == len(compared)


def test_project_gives_names_and_dtypes_of_expected_and_turns_empty_texts_to_null():
    found = pl.DataFrame(
        {"Text": ["", "a"], "other": [1, 2], "Key": ["K0", "K1"], "Whole": pl.Series([1, 2], dtype=pl.Int64)}
    )
    fields = (FieldMap(destination="Text", source="x"), FieldMap(destination="Whole", source="x"))
    wanted = {"Key": ["K0", "K1"], "Text": [None, "a"], "Whole": pl.Series([1, 2], dtype=pl.Int32)}
    assert_frame_equal(project(found, task(*fields), ENTITY), pl.DataFrame(wanted))


def test_project_names_columns_that_the_service_did_not_send():
    with pytest.raises(SchemaError, match="destination rows lack 'Text'"):
        project(pl.DataFrame({"Key": ["K0"]}), task(FieldMap(destination="Text", source="x")), ENTITY)


def test_project_refuses_values_of_another_kind_than_the_metadata_says():
    found = pl.DataFrame({"Key": ["K0", "K1"], "Whole": ["1", "one"]})
    with pytest.raises(SchemaError, match=r"things: Things\.Whole: 1 of 2 rows have a value that is no Int32: 'one'"):
        project(found, task(FieldMap(destination="Whole", source="x")), ENTITY)


def test_the_filter_names_the_first_condition_that_keeps_a_row_back():
    contacts = find_task("contacts", load_templates())
    source = pl.DataFrame(
        {
            "msdynce_isactivecustomer": [False, True, False, None, True],
            "msdynce_iscompanyanaccount": [True, True, False, True, None],
        }
    )
    found = filter_outcome(source, contacts)
    assert found.to_list() == [
        None,
        "not_active_customer",
        "company_is_an_account",
        "not_active_customer",
        "not_active_customer",
    ]


def test_without_a_filter_every_row_flows():
    found = filter_outcome(rows(["a", "b"]), task(FieldMap(destination="Text", source="x")))
    assert (found.dtype, found.to_list()) == (pl.String, [None, None])


@pytest.mark.parametrize(("column", "value"), [("missing", True), ("x", True)])
def test_a_filter_that_does_not_fit_the_columns_is_refused(column, value):
    filters = ({"name": "f", "column": column, "value": value},)
    with pytest.raises(SchemaError, match=r"filter.f: x is String, and never equals the flag True|lack 'missing'"):
        filter_outcome(rows(["a"]), task(FieldMap(destination="Text", source="x"), filter=filters))


# --- laws ---------------------------------------------------------------------------------------------------------

amounts = st.decimals(min_value=-(10**20), max_value=10**20, allow_nan=False, allow_infinity=False, places=12)


@settings(deadline=None)
@given(st.lists(st.none() | amounts))
def test_law_amounts_are_copied_without_losing_a_digit(values):
    found = one(rows(values, MONEY), destination="MaybeAmount")
    assert found.dtype == MONEY
    assert found.to_list() == values


@settings(deadline=None)
@given(st.lists(st.none() | texts))
def test_law_rows_keep_count_and_order_under_every_map(values):
    fields = (
        FieldMap(destination="Text", source="x"),
        FieldMap(destination="a.b", source="x", map="value_map", value_map="country"),
        FieldMap(destination="a.c", source="x", map="default_if_blank", value="-"),
        FieldMap(destination="a.d", map="default", value="1"),
    )
    source = rows(values, pl.String)
    mapped = expected(source, task(*fields), ENTITY)
    assert mapped.rows["Key"].to_list() == source["key"].to_list()
    assert mapped.rows["Text"].to_list() == [value or None for value in values]


@settings(deadline=None)
@given(st.lists(st.none() | texts | st.sampled_from(["usa", " DE", "GERMANY"])))
def test_law_every_value_is_mapped_blank_or_listed_once_as_unmapped(values):
    field = FieldMap(destination="Text", source="x", map="value_map", value_map="country", blank_default="?")
    mapped = expected(rows(values, pl.String), task(field), ENTITY)
    listed = dict(mapped.unmapped.select("row", "value").iter_rows())
    assert len(listed) == mapped.unmapped.height == mapped.rows["Text"].null_count()
    for number, value in enumerate(values):
        key = (value or "").strip().lower()
        wanted = "?" if not key else COUNTRY.entries.get(key)
        assert mapped.rows["Text"][number] == wanted
        assert (number in listed) == (wanted is None)
        assert listed.get(number, value) == value


@settings(deadline=None)
@given(st.lists(st.none() | texts), st.integers(1, 8))
def test_law_truncate_never_lengthens_and_keeps_a_prefix(values, size):
    for value, cut in zip(values, one(rows(values, pl.String), destination="Text", truncate=size), strict=True):
        assert cut == (value[:size] if value else None)


@settings(deadline=None)
@given(st.lists(st.none() | texts))
def test_law_a_default_replaces_blanks_and_nothing_else(values):
    found = one(rows(values, pl.String), destination="Text", map="default_if_blank", value="-")
    for value, became in zip(values, found, strict=True):
        assert became == (value if value and value.strip() else "-")


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | texts, st.none() | amounts, st.none() | st.booleans())))
def test_law_what_is_written_as_expected_projects_to_itself(values):
    keys = pl.Series("key", [f"K{number}" for number in range(len(values))], pl.String)
    source = pl.DataFrame([keys, *(pl.Series(n, [v[i] for v in values], t) for i, (n, t) in enumerate(SIDES))])
    fields = (
        FieldMap(destination="Text", source="t"),
        FieldMap(destination="Amount", source="m"),
        FieldMap(destination="MaybeAmount", source="m"),
        FieldMap(destination="Flag", source="b"),
        FieldMap(destination="unit.name", source="t"),
    )
    mapped = expected(source, task(*fields), ENTITY).rows
    assert_frame_equal(project(mapped, task(*fields), ENTITY), mapped)


SIDES = (("t", pl.String), ("m", MONEY), ("b", pl.Boolean))


# --- amounts of one row in one ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transform", "x", "y", "becomes"),
    [
        pytest.param("sum(x, y)", "10.10", "1.20", "11.30", id="sum"),
        pytest.param("difference(x, y)", "10.10", "1.20", "8.90", id="difference"),
        pytest.param("difference(x, y)", "10.10", None, "10.10", id="a blank beside an amount is 0"),
        pytest.param("sum(x, y)", None, "1.20", "1.20", id="also the first"),
        pytest.param("difference(x, y)", None, "1.20", "-1.20", id="which may be taken from"),
        pytest.param("sum(x, y)", None, None, None, id="all blank is blank"),
        pytest.param("sum(x, y)", "99999999999999999999.000000000001", "0.000000000002",
                     "99999999999999999999.000000000003", id="every digit"),
    ],
)  # fmt: skip
def test_amounts_of_a_row_are_added_or_taken_off(transform, x, y, becomes):
    source = pl.DataFrame(
        {"key": ["K"], "x": [x and Decimal(x)], "y": [y and Decimal(y)]},
        schema={"key": pl.String, "x": MONEY, "y": MONEY},
    )
    field = FieldMap(destination="MaybeAmount", source="x", map="transform", transform=(transform,))
    assert source_columns(task(field)) == ["key", "x", "y"]
    assert expected(source, task(field), ENTITY).rows["MaybeAmount"].to_list() == [becomes and Decimal(becomes)]


def test_a_text_is_no_amount_to_add():
    source = pl.DataFrame({"key": ["K"], "x": [1], "y": ["1"]})
    field = FieldMap(destination="Amount", source="x", map="transform", transform=("sum(x, y)",))
    with pytest.raises(SchemaError, match=r"sum needs amounts, y is String"):
        expected(source, task(field), ENTITY)


def test_a_blank_number_in_a_key_stays_blank_where_the_column_cannot_be():
    source = pl.DataFrame({"key": ["K", "K"], "x": [1, None]}, schema={"key": pl.String, "x": pl.Int32})
    line = FieldMap(destination="Whole", source="x")
    assert expected(source, task(line), ENTITY).rows["Whole"].to_list() == [1, 0]
    keyed = task(line, key={"Key": "key", "Whole": "x"})
    assert expected(source, keyed, ENTITY).rows["Whole"].to_list() == [1, None]
