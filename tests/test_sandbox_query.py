from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from p2c_lib.sandbox.grammar import QueryError, instant_text, parse_key, split_outside
from p2c_lib.sandbox.query import FNO, SALES, Dialect, Expand, filter_clause, order_clauses, parse_expand, parse_select
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.store import Store, new_guid

CUSTOMERS = load_schema("fno").entities["CustomersV2"]
CONTACTS = load_schema("sales").entities["contacts"]
YES = "Microsoft.Dynamics.DataEntities.NoYes'Yes'"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Store]]:
    folder: Path = tmp_path_factory.mktemp("query")
    made = {name: Store(folder / f"{name}.db", load_schema(name)) for name in ("sales", "fno")}  # type: ignore[arg-type]
    made["fno"].load(
        "CustomersV2",
        pl.DataFrame(
            {
                "dataAreaId": ["usmf", "usmf", "demf", "usmf"],
                "CustomerAccount": ["C1", "C2", "C3", "C*4"],
                "OrganizationName": ["Retail One", "The retail shop", "Other_50%", None],
                "IsExternallyMaintained": ["Yes", "No", "Yes", "No"],
                "CreditLimit": ["10", "2.5", "100", "12345678901234567.89"],
            }
        ),
    )
    made["sales"].load("accounts", pl.DataFrame({"accountid": [new_guid() for _ in range(3)], "name": ["a", "b", "c"]}))
    yield made
    for store in made.values():
        store.close()


def found(store: Store, entity: str, text: str, dialect: Dialect, column: str) -> list[str]:
    table = store.tables[entity]
    clause = filter_clause(text, store.schema.entities[entity], store, dialect)
    with store.read() as t:
        return [row[column] for row in t.rows(sa.select(table).where(clause).order_by(table.c.row_id))]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (f"IsExternallyMaintained eq {YES}", "C1 C3"),
        (f"IsExternallyMaintained ne {YES} and dataAreaId eq 'USMF'", "C2 C*4"),
        ("OrganizationName eq '*RETAIL*'", "C1 C2"),
        ("OrganizationName eq 'retail*'", "C1"),
        ("OrganizationName eq '*_50%'", "C3"),
        ("OrganizationName eq '*5__'", ""),
        ("OrganizationName ne '*retail*'", "C3 C*4"),
        ("OrganizationName eq ''", "C*4"),
        ("OrganizationName eq null", ""),
        ("CreditLimit gt 9", "C1 C3 C*4"),
        ("CreditLimit eq 12345678901234567.89", "C*4"),
        ("CreditLimit add 1 eq 3.5", "C2"),
        ("CreditLimit mul 2 gt 19 and CreditLimit lt 50", "C1"),
        ("not (CreditLimit lt 100)", "C3 C*4"),
        ("100 le CreditLimit and dataAreaId ne 'usmf'", "C3"),
    ],
)
def test_finance_filter_finds_these_customers(stores: dict[str, Store], text: str, keys: str) -> None:
    assert " ".join(found(stores["fno"], "CustomersV2", text, FNO, "CustomerAccount")) == keys


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("contains(OrganizationName,'x')", "unknown function"),
        ("CustomerAccount in ('C1','C2')", "'in' is not supported"),
        ("IsExternallyMaintained eq 'Yes'", "incompatible types"),
        ("IsExternallyMaintained eq Microsoft.Dynamics.DataEntities.Gender'Male'", "incompatible types"),
        (f"IsExternallyMaintained gt {YES}", "eq and ne"),
        ("CreditLimit eq '10'", "incompatible types"),
        ("customeraccount eq 'C1'", "property named 'customeraccount'"),
        ("row_id eq 1", "property named 'row_id'"),
        ("Contact/Name eq 'x'", "Paths"),
        ("1 eq 1", "needs a property"),
        ("CreditLimit", "boolean"),
        ("CustomerAccount eq 'C1", "Syntax error"),
        ("CustomerAccount eq 'C1' and", "Syntax error"),
        ("PersonAnniversaryYear eq 99999999999999999999", "incompatible types"),
        ("-'a' eq CustomerAccount", "minus"),
        ("A/any(x:x/B eq 1)", "not supported"),
        ("(" * 3000 + "CustomerAccount eq 'C1'" + ")" * 2999, "Syntax error"),
        ("not " * 5000 + "(CustomerAccount eq 'C1')", "nested too deeply"),
    ],
)
def test_wrong_filter_is_refused_in_words(stores: dict[str, Store], text: str, words: str) -> None:
    with pytest.raises(QueryError, match=re.escape(words)):
        filter_clause(text, CUSTOMERS, stores["fno"], FNO)


def test_filter_of_thousands_of_terms_works(stores: dict[str, Store]) -> None:
    text = " or ".join(f"name eq '{name}'" for name in ["a", *map(str, range(3000)), "c"])
    assert found(stores["sales"], "accounts", text, SALES, "name") == ["a", "c"]
    assert found(stores["sales"], "accounts", f"not ({text})", SALES, "name") == ["b"]


def test_name_may_begin_with_a_keyword(stores: dict[str, Store]) -> None:
    for word in ("allX", "anything", "nullable", "trueName", "falseName", "notes"):
        with pytest.raises(QueryError, match=f"property named '{word}'"):
            filter_clause(f"{word} eq 'x'", CUSTOMERS, stores["fno"], FNO)


@given(st.text(min_size=1))
def test_any_text_is_found_again_as_a_quoted_key(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    assert parse_key(f"dataAreaId='usmf',CustomerAccount={quoted}", CUSTOMERS) == {
        "dataAreaId": "usmf",
        "CustomerAccount": text,
    }


@given(st.text(alphabet="ab'(),/;@[]\" =", max_size=30))
def test_no_filter_text_breaks_the_parser(text: str) -> None:
    store = Store.__new__(Store)
    store.schema, store.tables = load_schema("fno"), {"CustomersV2": sa.table("CustomersV2")}  # type: ignore[dict-item]
    with pytest.raises(QueryError):
        filter_clause(text, CUSTOMERS, store, FNO)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("00000000-0000-0000-0000-0000000000AB", {"contactid": "00000000-0000-0000-0000-0000000000ab"}),
        ("msdynce_contactnumber='A''B'", {"msdynce_contactnumber": "A'B"}),
        ("'text'", None),
        ("1", None),
        ("nix='1'", None),
        ("", None),
        ("contactid=", None),
    ],
)
def test_key_of_a_url(text: str, key: dict[str, str] | None) -> None:
    assert parse_key(text, CONTACTS) == key


def test_key_of_two_parts_needs_names_and_one_part_does_not() -> None:
    assert parse_key("'usmf','C1'", CUSTOMERS) is None
    assert parse_key("'USD'", load_schema("fno").entities["Currencies"]) == {"CurrencyCode": "USD"}


def test_split_leaves_quotes_and_parentheses_whole() -> None:
    assert split_outside("a, b('x,y',(c,d)) ,'it''s, one',") == ["a", "b('x,y',(c,d))", "'it''s, one'"]


def test_expand_keeps_nested_options() -> None:
    assert parse_expand("a($select=x,y;$expand=b($select=z)),c") == [
        Expand("a", {"$select": "x,y", "$expand": "b($select=z)"}),
        Expand("c"),
    ]
    for text in ("a($select=x", "a($select)"):
        with pytest.raises(QueryError, match="Syntax error"):
            parse_expand(text)


def test_select_takes_each_column_once_and_refuses_others() -> None:
    names = [column.name for column in parse_select("lastname,parentcustomerid,lastname", CONTACTS, "ns")]
    assert names == ["lastname", "_parentcustomerid_value"]
    assert len(parse_select(None, CONTACTS, "ns")) == len(CONTACTS.columns)
    with pytest.raises(QueryError, match=re.escape("'LastName' on type 'ns.contact'")):
        parse_select("LastName", CONTACTS, "ns")


def test_order_by_path_only_where_the_service_has_paths(stores: dict[str, Store]) -> None:
    assert len(order_clauses("parentcustomerid_account/name desc, fullname", CONTACTS, stores["sales"], SALES)) == 2
    with pytest.raises(QueryError, match="Paths"):
        order_clauses("A/B", CUSTOMERS, stores["fno"], FNO)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("2024-01-31", "2024-01-31T00:00:00Z"),
        ("2024-01-31T10:00:00.1234567Z", "2024-01-31T10:00:00Z"),
        ("2024-01-31T01:00:00+02:00", "2024-01-30T23:00:00Z"),
        ("2024-01-31T10:00:00", "2024-01-31T10:00:00Z"),
    ],
)
def test_instants_are_kept_in_utc(text: str, kept: str) -> None:
    assert instant_text(text) == kept
