"""Databases made all at once: the same rows and indexes in one process or two, and bad rows told."""

from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox import loading
from p2c_lib.sandbox.data import generate
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.store import DuplicateKey, Store

WORLD = generate("small", counts={"accounts": 12, "contacts": 9, "products": 8, "orders": 6})
FRAMES = {"sales": WORLD.sales, "fno": WORLD.fno}


def held(place: Path) -> dict[str, list]:
    """Every row of both databases, and the names of their indexes."""
    found = {}
    for system in loading.SYSTEMS:
        store = Store(place / system, load_schema(system))
        with store.read() as t:
            for name, table in store.tables.items():
                found[f"{system} {name}"] = t.rows(sa.select(table).order_by(table.c.row_id))
            indexes = sa.text("SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name")
            found[f"{system} indexes"] = [row[0] for row in t.connection.execute(indexes)]
        store.close()
    return found


def files(place: Path) -> dict[loading.System, Path]:
    place.mkdir()
    return {system: place / system for system in loading.SYSTEMS}


def test_two_processes_make_the_same_databases_as_one(tmp_path, monkeypatch):
    loading.load_both(files(tmp_path / "one"), FRAMES)
    monkeypatch.setattr(loading, "APART_ROWS", 0)
    loading.load_both(files(tmp_path / "two"), FRAMES)
    one, two = held(tmp_path / "one"), held(tmp_path / "two")
    assert sum(map(len, one.values())) > 100 and one.keys() == two.keys()
    for name in one:  # rows of F&O come in the order of their sets' names, so versions differ
        assert [{**row, "row_version": 0} if isinstance(row, dict) else row for row in one[name]] == [
            {**row, "row_version": 0} if isinstance(row, dict) else row for row in two[name]
        ], name
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["fno", "sales"]


def test_a_database_filled_at_once_has_every_index_of_an_empty_one(tmp_path):
    loading.load_both(files(tmp_path / "full"), FRAMES)
    for system in loading.SYSTEMS:
        (tmp_path / "empty").mkdir(exist_ok=True)
        Store(tmp_path / "empty" / system, load_schema(system)).close()
    full, empty = held(tmp_path / "full"), held(tmp_path / "empty")
    assert full["sales indexes"] == empty["sales indexes"] and full["fno indexes"] == empty["fno indexes"]


@pytest.mark.parametrize("apart", [0, 10**9], ids=["two processes", "one"])
def test_a_repeated_key_is_told_whoever_loads_it(tmp_path, monkeypatch, apart):
    monkeypatch.setattr(loading, "APART_ROWS", apart)
    customers = WORLD.fno["CustomersV2"]
    twice = {**WORLD.fno, "CustomersV2": pl.concat([customers, customers.head(1)])}
    with pytest.raises(SandboxError, match="CustomersV2: a row with the same dataAreaId, CustomerAccount exists"):
        loading.load_both(files(tmp_path / "bad"), {"sales": WORLD.sales, "fno": twice})


def test_constants_are_stored_as_they_are_with_quotes_and_all(tmp_path, monkeypatch):
    schema = load_schema("fno")
    column = schema.entities["CustomersV2"].columns["OrganizationName"]
    monkeypatch.setitem(schema.entities["CustomersV2"].columns, column.name, column.__class__(
        **{**vars(column), "default": "d'Artagnan ? :x"}))  # fmt: skip
    store = Store(tmp_path / "fno", schema)
    store.load("CustomersV2", pl.DataFrame({"dataAreaId": ["usmf"], "CustomerAccount": ["C1"]}))
    with store.read() as t:
        row = t.get("CustomersV2", {"CustomerAccount": "C1"})
    store.close()
    assert row is not None and row["OrganizationName"] == "d'Artagnan ? :x"


def test_a_store_that_was_not_filled_keeps_refusing_repeated_keys(tmp_path):
    store = loading.load("fno", tmp_path / "fno", WORLD.fno)
    with pytest.raises(DuplicateKey):
        store.load("CustomersV2", WORLD.fno["CustomersV2"].head(1))
    store.close()
