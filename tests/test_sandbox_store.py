from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.store import DuplicateKey, Store, decimal_text, new_guid

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25, places=9)


@pytest.fixture
def sales(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "sales.db", load_schema("sales"))
    yield store
    store.close()


@pytest.fixture
def fno(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "fno.db", load_schema("fno"))
    yield store
    store.close()


def account(name: str, **columns: object) -> dict[str, object]:
    return {"accountid": new_guid(), "name": name, **columns}


def all_rows(store: Store, entity: str) -> list[dict[str, object]]:
    with store.read() as t:
        return t.rows(sa.select(store.tables[entity]).order_by(store.tables[entity].c.row_id))


def test_schema_knows_both_systems_and_no_other() -> None:
    contact = load_schema("sales").entities["contacts"]
    assert contact.lookups["parentcustomerid_contact"][1] == "contact"
    assert contact.alternate_keys == {"msdynce_contactnumber": ("msdynce_contactnumber",)}
    customer = load_schema("fno").entities["CustomersV2"]
    assert customer.key == ("dataAreaId", "CustomerAccount")
    assert customer.columns["IsExternallyMaintained"].default == "No"
    with pytest.raises(SandboxError, match="known: sales, fno"):
        load_schema("crm")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [("1E+2", 0, "100"), ("5.5000", 0, "5.5"), ("5.5", 2, "5.50"), ("0E-12", 2, "0.00"), ("-0.10", 0, "-0.1")],
)
def test_decimal_text_has_no_exponent_and_no_needless_zeros(value: str, places: int, text: str) -> None:
    assert decimal_text(Decimal(value), places) == text


@given(DECIMALS, st.integers(0, 4))
def test_decimal_text_keeps_the_value(value: Decimal, places: int) -> None:
    text = decimal_text(value, places)
    assert Decimal(text) == value
    assert "E" not in text
    assert len(text.partition(".")[2]) >= places


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(DECIMALS, min_size=2, max_size=8))
def test_decimals_sort_and_sum_as_numbers_to_the_last_digit(sales: Store, values: list[Decimal]) -> None:
    with sales.transaction() as t:
        t.connection.execute(sa.delete(t.table("accounts")))
        for value in values:
            t.insert("accounts", account("A", creditlimit=f"{value:f}"))
        column = t.table("accounts").c.creditlimit
        found = [Decimal(row["creditlimit"]) for row in t.rows(sa.select(column).order_by(column))]
        assert found == sorted(values)
        assert Decimal(t.scalar(sa.select(sa.func.decimal_sum(column)))) == sum(values)
        above = t.rows(sa.select(column).where(column > f"{values[0]:f}"))
        assert len(above) == sum(value > values[0] for value in values)


def test_load_fills_defaults_and_keeps_every_digit(sales: Store) -> None:
    frame = pl.DataFrame(
        {
            "accountid": [new_guid().upper(), new_guid(), new_guid()],
            "creditlimit": pl.Series(
                [Decimal("12345678901234567890123.45"), Decimal("100.5"), None], dtype=pl.Decimal(38, 12)
            ),
            "donotfax": [True, None, False],
            "createdon": pl.Series(["2024-01-31T10:00:00"] * 3).str.to_datetime(time_zone="UTC"),
        }
    )
    assert sales.load("accounts", frame) == 3
    rows = all_rows(sales, "accounts")
    assert [row["creditlimit"] for row in rows] == ["12345678901234567890123.45", "100.50", None]
    assert [row["donotfax"] for row in rows] == [1, None, 0]  # null stays null on Sales, only absent is default
    assert [row["statecode"] for row in rows] == [0, 0, 0]
    assert rows[0]["createdon"] == "2024-01-31T10:00:00Z"
    assert rows[0]["accountid"] == frame["accountid"][0].lower()
    assert [row["row_version"] for row in rows] == sorted({row["row_version"] for row in rows})


def test_finance_holds_no_null(fno: Store) -> None:
    frame = pl.DataFrame(
        {"dataAreaId": ["usmf"], "CustomerAccount": ["C1"], "CreditLimit": [None], "OrganizationName": [None]},
        schema_overrides={"CreditLimit": pl.Decimal(38, 12), "OrganizationName": pl.String},
    )
    fno.load("CustomersV2", frame)
    row = all_rows(fno, "CustomersV2")[0]
    assert None not in row.values()
    assert (row["CreditLimit"], row["OrganizationName"], row["OnHoldStatus"]) == ("0", "", "No")
    assert row["AddressValidFrom"] == "1900-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("entity", "columns", "words"),
    [("acounts", {"name": ["A"]}, "no entity set 'acounts'; known: accounts"), ("accounts", {"nix": [1]}, "nix")],
)
def test_load_refuses_what_is_not_there(
    sales: Store, entity: str, columns: dict[str, list[object]], words: str
) -> None:
    with pytest.raises(SandboxError, match=words):
        sales.load(entity, pl.DataFrame(columns))


def test_load_is_all_or_nothing(sales: Store) -> None:
    same = new_guid()
    with pytest.raises(DuplicateKey) as caught:
        sales.load("accounts", pl.DataFrame({"accountid": [new_guid(), same, same.upper()]}))
    assert caught.value.columns == ("accountid",)
    assert all_rows(sales, "accounts") == []
    assert sales.load("accounts", pl.DataFrame({"accountid": pl.Series([], dtype=pl.String)})) == 0


def test_polymorphic_lookup_takes_its_type_or_the_first(sales: Store) -> None:
    parent = new_guid()
    base = {"contactid": [new_guid(), new_guid()], "_parentcustomerid_value": [parent, None]}
    sales.load("contacts", pl.DataFrame(base))
    sales.load(
        "contacts",
        pl.DataFrame({**base, "contactid": [new_guid(), new_guid()], "_parentcustomerid_type": ["contact", None]}),
    )
    assert [row["_parentcustomerid_type"] for row in all_rows(sales, "contacts")] == ["account", None, "contact", None]


def test_transaction_that_raises_keeps_nothing_not_even_versions(sales: Store) -> None:
    with sales.read() as t:
        before = t.version()
    with pytest.raises(RuntimeError), sales.transaction() as t:
        t.insert("accounts", account("A"))
        raise RuntimeError
    with sales.read() as t:
        assert t.version() == before
    assert all_rows(sales, "accounts") == []


def test_every_write_takes_a_new_version_of_the_database(sales: Store) -> None:
    with sales.transaction() as t:
        first = t.insert("accounts", account("A"))
        second = t.insert("contacts", {"contactid": new_guid()})
    with sales.transaction() as t:
        third = t.update("accounts", first["row_id"], {"name": "B"})
        t.delete("contacts", second["row_id"])
        assert first["row_version"] < second["row_version"] < third < t.version()
        last = t.version()
    with sales.read() as t:
        assert t.version() == last
        log = t.rows(sa.select(sales.deletions))
    assert [(row["entity"], row["key"], row["version"]) for row in log] == [("contacts", second["contactid"], last)]


def test_keys_are_compared_without_case_and_null_repeats(sales: Store) -> None:
    with sales.transaction() as t:
        for _ in range(2):
            t.insert("contacts", {"contactid": new_guid()})  # no number twice: allowed
        row = t.insert("contacts", {"contactid": new_guid(), "msdynce_contactnumber": "con-1"})
        assert t.get("contacts", {"msdynce_contactnumber": "CON-1"}) == row
        with pytest.raises(DuplicateKey) as caught:
            t.insert("contacts", {"contactid": new_guid(), "msdynce_contactnumber": "CON-1"})
        other = t.insert("contacts", {"contactid": new_guid(), "msdynce_contactnumber": "CON-2"})
        with pytest.raises(DuplicateKey):
            t.update("contacts", other["row_id"], {"msdynce_contactnumber": "Con-1"})
    assert caught.value.columns == ("msdynce_contactnumber",)


def test_rows_survive_reopening_and_ids_are_never_used_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "sales.db", load_schema("sales"))
    with store.transaction() as t:
        row = t.insert("accounts", account("A"))
        t.delete("accounts", row["row_id"])
    store.close()
    store = Store(tmp_path / "deep" / "sales.db", load_schema("sales"))
    with store.transaction() as t:
        again = t.insert("accounts", account("B"))
    assert again["row_id"] > row["row_id"]
    assert again["row_version"] > row["row_version"]
    store.close()


def test_readers_see_one_state_while_others_write(sales: Store) -> None:
    sales.load("accounts", pl.DataFrame({"accountid": [new_guid()]}))
    count = sa.select(sa.func.count()).select_from(sales.tables["accounts"])
    with sales.read() as t:
        assert t.scalar(count) == 1
        with sales.transaction() as writer:
            writer.insert("accounts", account("B"))
        assert t.scalar(count) == 1
    with sales.read() as t:
        assert t.scalar(count) == 2


def test_parallel_writers_lose_no_update(sales: Store) -> None:
    with sales.transaction() as t:
        row = t.insert("accounts", account("A", numberofemployees=0))

    def add() -> None:
        for _ in range(20):
            with sales.transaction() as t:
                found = t.get("accounts", {"accountid": row["accountid"]})
                assert found is not None
                t.update("accounts", found["row_id"], {"numberofemployees": found["numberofemployees"] + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sales.read() as t:
        found = t.get("accounts", {"accountid": row["accountid"]})
        assert found is not None
        assert found["numberofemployees"] == 80
        assert t.version() == row["row_version"] + 80
