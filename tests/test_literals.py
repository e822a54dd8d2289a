import json
from datetime import UTC, date, datetime
from decimal import Decimal
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2c_lib.connect import Column, Entity, key_path, literal
from p2c_lib.connect.literals import body_json, query_string
from p2c_lib.errors import SchemaError

GUID = "00000000-0000-0000-0000-0000000000ab"
CUSTOMERS = Entity(
    "CustomersV2",
    "CustomerV2",
    ("dataAreaId", "CustomerAccount"),
    {"dataAreaId": Column("dataAreaId"), "CustomerAccount": Column("CustomerAccount")},
)
ACCOUNTS = Entity(
    "accounts",
    "account",
    ("accountid",),
    {"accountid": Column("accountid", "Edm.Guid"), "accountnumber": Column("accountnumber")},
    alternate_keys=(("accountnumber",),),
)


@pytest.mark.parametrize(
    ("value", "edm_type", "text"),
    [
        ("O'Bryan's", "Edm.String", "'O''Bryan''s'"),
        (None, "Edm.String", "null"),
        (GUID.upper(), "Edm.Guid", GUID),
        (True, "Edm.Boolean", "true"),
        (5637144576, "Edm.Int64", "5637144576"),
        ("12", "Edm.Int32", "12"),
        (-128, "Edm.SByte", "-128"),
        (255, "Edm.Byte", "255"),
        (Decimal("1E-7"), "Edm.Decimal", "0.0000001"),
        (Decimal("12345678901234567.89"), "Edm.Decimal", "12345678901234567.89"),
        (date(2024, 1, 31), "Edm.Date", "2024-01-31"),
        (date(2024, 1, 31), "Edm.DateTimeOffset", "2024-01-31T12:00:00Z"),
        (datetime(2024, 1, 31, 8, 30, tzinfo=UTC), "Edm.DateTimeOffset", "2024-01-31T08:30:00Z"),
        ("2024-01-31T10:30:00+02:00", "Edm.DateTimeOffset", "2024-01-31T08:30:00Z"),
        ("Yes", "Microsoft.Dynamics.DataEntities.NoYes", "Microsoft.Dynamics.DataEntities.NoYes'Yes'"),
    ],
)
def test_a_literal_is_written_as_its_type_wants(value, edm_type, text):
    assert literal(value, edm_type) == text


@pytest.mark.parametrize(
    ("value", "edm_type"),
    [
        ("x) or (1 eq 1", "Edm.Guid"),
        ("1 or 1 eq 1", "Edm.Int32"),
        (2**31, "Edm.Int32"),
        (1.0, "Edm.Int64"),
        (True, "Edm.Int32"),
        ("yes", "Edm.Boolean"),
        (Decimal("NaN"), "Edm.Decimal"),
        ("1,5", "Edm.Decimal"),
        ("31.1.2024", "Edm.Date"),
        ("Yes' or '1", "Microsoft.Dynamics.DataEntities.NoYes"),
        ("x", "Collection(Edm.String)"),
    ],
)
def test_a_value_of_another_type_is_refused(value, edm_type):
    with pytest.raises(SchemaError, match="is not a value of"):
        literal(value, edm_type)


def test_key_paths_hold_all_parts_quoted_and_encoded():
    assert key_path(CUSTOMERS, {"CustomerAccount": "A'B/ä 1", "dataAreaId": "usmf"}) == (
        "CustomersV2(dataAreaId='usmf',CustomerAccount='A''B%2F%C3%A4%201')"
    )
    assert key_path(ACCOUNTS, {"accountid": GUID}) == f"accounts({GUID})"
    assert key_path(ACCOUNTS, {"accountnumber": "A1"}) == "accounts(accountnumber='A1')"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ({"CustomerAccount": "A"}, "is no key; keys are (dataAreaId, CustomerAccount)"),
        ({"CustomerAccount": None, "dataAreaId": "usmf"}, "CustomerAccount is null"),
    ],
)
def test_an_incomplete_key_is_refused_in_words(key, words):
    with pytest.raises(SchemaError) as caught:
        key_path(CUSTOMERS, key)
    assert words in str(caught.value)


@given(st.text(max_size=60).filter(lambda text: max(text, default="a") < "\ud800"))
def test_any_text_comes_back_from_a_query_and_a_key(text):
    query = query_string({"$filter": f"name eq {literal(text, 'Edm.String')}", "$top": "1"})
    assert dict(parse_qsl(query, strict_parsing=True))["$filter"] == "name eq '" + text.replace("'", "''") + "'"
    path = key_path(CUSTOMERS, {"dataAreaId": "usmf", "CustomerAccount": text})
    assert "/" not in path and "?" not in path and "#" not in path
    assert unquote(path).endswith("CustomerAccount='" + text.replace("'", "''") + "')")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**20), max_value=10**20))
def test_bodies_keep_every_digit(amount):
    assert json.loads(body_json({"a": amount}), parse_float=Decimal, parse_int=Decimal)["a"] == amount


def test_dates_in_bodies_take_the_form_of_their_system():
    row = {"day": date(2024, 1, 31), "at": datetime(2024, 1, 31, 8, tzinfo=UTC), "none": None}
    assert json.loads(body_json(row)) == {"day": "2024-01-31", "at": "2024-01-31T08:00:00Z", "none": None}
    assert json.loads(body_json(row, noon=True))["day"] == "2024-01-31T12:00:00Z"


def test_a_body_without_json_form_is_refused():
    with pytest.raises(SchemaError, match="no amount"):
        body_json({"a": Decimal("Infinity")})
