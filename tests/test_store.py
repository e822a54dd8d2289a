"""The store: rows merged by key, whole or not at all, by several at once, and read back to the last digit."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.schema import PrimitiveType
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from store_world import SMALL, lines

from p2c_lib.connect.pages import ETAG, MONEY
from p2c_lib.errors import ParameterError, SchemaError, StoreError
from p2c_lib.store import commits
from p2c_lib.store.entities import load_entities, read_entities
from p2c_lib.store.tables import Store

ROOT = Path(__file__).resolve().parent.parent
LONG = Decimal("12345678901234567890123456.123456789012")


@pytest.fixture(params=["disk", "lake"])
def store(request, tmp_path, monkeypatch):
    """The same store, its commits written as on a disk and as in a lake."""
    if request.param == "lake":
        monkeypatch.setattr(commits, "_folder", lambda table: None)
    return Store.open(tmp_path / "store", "ORG001")


@pytest.fixture
def things(tmp_path):
    return Store.open(tmp_path / "things", "ORG001", entities=SMALL)


def accounts(**columns):
    types = {"CreditLimitAmount": MONEY, "Birthdate": pl.Date, "EmployeeCount": pl.Int32, "OrganizationName": pl.String}
    return pl.DataFrame(columns, schema_overrides={name: types[name] for name in columns if name in types})


def shown(store, *columns, **kwargs):
    return store.read("Account", ["AccountId", *columns], **kwargs).sort("AccountId").rows()


# --- merging ----------------------------------------------------------------------------------------------------------


def test_only_rows_that_change_are_written(store):
    first = store.merge("Account", accounts(AccountId=["A", "B"], OrganizationName=["a", "b"]), run_id="r1")
    assert (first.inserted, first.updated, first.unchanged) == (2, 0, 0)
    second = store.merge("Account", accounts(AccountId=["B", "C", "A"], OrganizationName=["x", "c", "a"]), run_id="r2")
    assert (second.inserted, second.updated, second.unchanged) == (1, 1, 1)
    assert second.version == first.version + 1
    assert shown(store, "OrganizationName", "run_id") == [("A", "a", "r1"), ("B", "x", "r2"), ("C", "c", "r2")]


def test_a_merge_that_changes_nothing_makes_no_version(store):
    rows = accounts(AccountId=["A"], OrganizationName=["a"])
    first = store.merge("Account", rows, run_id="r1")
    again = store.merge("Account", rows, run_id="r2")
    assert (again.inserted, again.updated, again.unchanged, again.version) == (0, 0, 1, first.version)
    assert shown(store, "run_id") == [("A", "r1")]


def test_a_column_that_is_not_given_keeps_what_is_stored_and_a_null_is_a_null(store):
    store.merge("Account", accounts(AccountId=["A"], OrganizationName=["a"], CreditLimitAmount=[LONG]), run_id="r1")
    store.merge("Account", accounts(AccountId=["A"], OrganizationName=[None]), run_id="r2")
    assert shown(store, "OrganizationName", "CreditLimitAmount") == [("A", None, LONG)]


def test_frames_with_columns_of_their_own_are_one_merge(store):
    store.merge("Account", accounts(AccountId=["A", "B"], OrganizationName=["a", "b"]), run_id="r1")
    before = store.version("Account")
    one, other = accounts(AccountId=["A"], OrganizationName=["x"]), accounts(AccountId=["B", "C"], EmployeeCount=[7, 8])
    merged = store.merge("Account", [one, other], run_id="r2")
    assert (merged.inserted, merged.updated, merged.version) == (1, 2, before + 1)
    assert shown(store, "OrganizationName", "EmployeeCount") == [("A", "x", None), ("B", "b", 7), ("C", None, 8)]


def test_no_digit_of_an_amount_is_lost(store):
    amounts = [LONG, -LONG, Decimal("0.000000000001"), Decimal("9007199254740993"), None]
    rows = accounts(AccountId=list("ABCDE"), CreditLimitAmount=amounts)
    store.merge("Account", rows, run_id="r1")
    assert [amount for _, amount in shown(store, "CreditLimitAmount")] == amounts
    nudged = rows.with_columns(pl.col("CreditLimitAmount") - pl.lit(Decimal("0.000000000001"), MONEY))
    assert store.merge("Account", nudged, run_id="r2").updated == 4
    assert str(shown(store, "CreditLimitAmount")[0][1]) == "12345678901234567890123456.123456789011"


def test_the_moment_of_the_change_is_kept_and_goes_with_the_mark_of_the_row(store):
    before = datetime.now(UTC)
    store.merge("Account", accounts(AccountId=["A"], OrganizationName=["a"]), run_id="r1")
    ((_, staged_at),) = shown(store, "staged_at")
    assert before <= staged_at <= datetime.now(UTC)
    assert staged_at.tzinfo is not None


def test_a_row_changed_since_it_was_seen_is_told_and_left_alone(store):
    from p2c_lib.store.client import StoreClient

    client = StoreClient(store)
    store.merge("Account", accounts(AccountId=["A", "B"], OrganizationName=["a", "b"]), run_id="r1")
    seen = client.pull("Account", ["AccountId"]).sort("AccountId")
    store.merge("Account", accounts(AccountId=["A"], OrganizationName=["theirs"]), run_id="r2")
    mine = accounts(AccountId=["A", "B", "C"], OrganizationName=["mine"] * 3).with_columns(
        pl.Series(ETAG, [*seen[ETAG], None], dtype=pl.String)
    )
    merged = store.merge("Account", mine, run_id="r3")
    assert merged.stale.rows() == [("A",)]
    assert (merged.inserted, merged.updated) == (1, 1)
    assert shown(store, "OrganizationName") == [("A", "theirs"), ("B", "mine"), ("C", "mine")]
    again = store.merge("Account", mine.filter(pl.col("AccountId") != "A"), run_id="r3")
    assert (again.stale.height, again.unchanged) == (0, 2), "a merge done twice is no conflict with itself"


def test_rows_of_another_organisation_are_neither_read_nor_touched(store):
    other = Store.open(store.url, "ORG002")
    store.merge("Account", accounts(AccountId=["A"], OrganizationName=["one"]), run_id="r1")
    other.merge("Account", accounts(AccountId=["A"], OrganizationName=["two"]), run_id="r2")
    store.merge("Account", accounts(AccountId=["A"], OrganizationName=["uno"]), run_id="r3")
    assert shown(store, "OrganizationName") == [("A", "uno")]
    assert shown(other, "OrganizationName", "Organization_OrganizationId") == [("A", "two", "ORG002")]
    assert other.delete_keys("Account", pl.DataFrame({"AccountId": ["A"]}), run_id="r4") == 1
    assert (other.read("Account").height, store.read("Account").height) == (0, 1)


def test_deleting_takes_what_is_there_and_says_how_many(store):
    store.merge("Account", accounts(AccountId=["A", "B"], OrganizationName=["a", "b"]), run_id="r1")
    before = store.version("Account")
    assert store.delete_keys("Account", pl.DataFrame({"AccountId": ["B", "Z", "B"]}), run_id="r2") == 1
    assert store.delete_keys("Account", pl.DataFrame({"AccountId": ["B"]}), run_id="r3") == 0
    assert shown(store) == [("A",)]
    assert store.version("Account") == before + 1
    assert shown(store, as_of=before) == [("A",), ("B",)]


def test_a_line_is_identified_by_its_document_and_number(things):
    things.merge("Thing", lines(("D", 1), ("D", 2), ("E", 1), Left=[1, 2, 3]), run_id="r1")
    merged = things.merge("Thing", lines(("D", 2), ("E", 2), Left=[20, 40]), run_id="r2")
    assert (merged.inserted, merged.updated) == (1, 1)
    rows = things.read("Thing", ["Id", "Line", "Left"]).sort("Id", "Line").rows()
    assert rows == [("D", 1, 1), ("D", 2, 20), ("E", 1, 3), ("E", 2, 40)]


def test_only_the_files_that_hold_a_changed_row_are_written_again(things, monkeypatch):
    monkeypatch.setattr(commits, "ROWS_PER_FILE", 10)
    things.merge("Thing", lines(*((f"D{n}", 1) for n in range(40)), Left=list(range(40))), run_id="r1")
    table = DeltaTable(f"{things.url}/Thing")
    before = set(table.file_uris())
    things.merge("Thing", lines(("D3", 1), Left=[99]), run_id="r2")
    after = set(DeltaTable(f"{things.url}/Thing").file_uris())
    assert (len(before), len(before & after), len(after)) == (4, 3, 4)


ROWS = st.dictionaries(
    st.tuples(st.sampled_from(["D", "E", "e", "F "]), st.integers(1, 4)),
    st.tuples(st.none() | st.integers(-9, 9), st.none() | st.decimals(-(10**9), 10**9, places=12)),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(merges=st.lists(ROWS, max_size=4))
def test_merges_end_in_the_state_of_a_dictionary(tmp_path_factory, merges):
    store = Store.open(tmp_path_factory.mktemp("law"), "ORG001", entities=SMALL)
    truth: dict[tuple[str, int], tuple[int | None, Decimal | None]] = {}
    for number, rows in enumerate(merges):
        left, amounts = [v[0] for v in rows.values()], [v[1] for v in rows.values()]
        merged = store.merge("Thing", lines(*rows, Left=left, Amount=amounts), run_id=str(number))
        assert merged.inserted == len(rows.keys() - truth.keys())
        assert merged.unchanged == sum(truth.get(key, "none") == value for key, value in rows.items())
        assert merged.inserted + merged.updated + merged.unchanged == len(rows)
        truth |= rows
    found = store.read("Thing", ["Id", "Line", "Left", "Amount"])
    assert {(i, n): (left, amount) for i, n, left, amount in found.rows()} == truth


def test_keys_whose_hashes_meet_are_told_apart_by_the_keys_themselves(things, monkeypatch):
    monkeypatch.setattr(pl.DataFrame, "hash_rows", lambda side, *seeds: pl.repeat(7, side.height, eager=True))
    things.merge("Thing", lines(("D", 1), ("D", 2), ("E", 1), Left=[1, 2, 3]), run_id="r1")
    merged = things.merge("Thing", lines(("E", 1), ("D", 2), ("F", 1), Left=[30, 2, 4]), run_id="r2")
    assert (merged.inserted, merged.updated, merged.unchanged) == (1, 1, 1)
    assert things.read("Thing", ["Id", "Line", "Left"]).sort("Id", "Line").rows() == [
        ("D", 1, 1),
        ("D", 2, 2),
        ("E", 1, 30),
        ("F", 1, 4),
    ]


def test_a_key_that_another_program_wrote_twice_is_named_and_nothing_is_merged(things):
    things.merge("Thing", lines(("D", 1), ("D", 2), Left=[1, 2]), run_id="r1")
    write_deltalake(f"{things.url}/Thing", things.read("Thing").filter(pl.col("Line") == 2), mode="append")
    version = things.version("Thing")
    with pytest.raises(StoreError, match=r"1 keys stand more than once in the table; .*: ORG001, D, 2"):
        things.merge("Thing", lines(("D", 2), ("D", 1), Left=[9, 9]), run_id="r2")
    assert things.version("Thing") == version
    assert things.merge("Thing", lines(("D", 1), Left=[9]), run_id="r3").updated == 1


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        pytest.param(lines((None, 1), ("D", 1)), "1 of 2 rows have no Id", id="null"),
        pytest.param(lines(("  ", 1)), "1 of 1 rows have no Id", id="blank"),
        pytest.param(lines(("D", None)), "1 of 1 rows have no Line", id="no number"),
        pytest.param(lines(("D", 1), ("D", 2), ("D", 1)), "1 keys stand more than once: D, 1", id="repeated"),
        pytest.param(
            lines(("D", 1), Kind=["Ugly"]), "Thing.Kind: 1 of 1 values: 'Ugly' is none of Good, Bad", id="pick"
        ),
        pytest.param(lines(("D" * 11, 1)), "is longer than 10 characters", id="length"),
        pytest.param(lines(("D", 1)).with_columns(Org=pl.lit("ORG009")), "1 of 1 rows are not of organ", id="stranger"),
    ],
)
def test_rows_without_a_sound_key_or_value_are_refused_whole(things, rows, words):
    with pytest.raises(StoreError, match=words):
        things.merge("Thing", rows, run_id="r1")
    assert things.version("Thing") is None


def test_a_key_that_stands_in_two_frames_of_a_merge_is_refused(things):
    with pytest.raises(StoreError, match="D, 1; nothing was merged"):
        things.merge("Thing", [lines(("D", 1), Left=[1]), lines(("D", 1), Right=[1])], run_id="r1")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        pytest.param(pl.DataFrame({"Id": ["D"]}), "the key column 'Line' is missing", id="no key"),
        pytest.param(lines(("D", 1)).with_columns(Lefd=1), "no column 'Lefd'; near: Left", id="unknown"),
        pytest.param(lines(("D", 1)).with_columns(Amount=1.5), r"'Amount' is Float64, declared as Decimal", id="float"),
        pytest.param(lines(("D", 1)).with_columns(run_id=pl.lit("x")), "no column 'run_id'", id="staging"),
    ],
)
def test_frames_of_another_shape_than_declared_are_refused(things, rows, words):
    with pytest.raises(SchemaError, match=words):
        things.merge("Thing", rows, run_id="r1")


def test_an_entity_or_column_that_is_not_declared_is_named_with_what_is_near(things):
    with pytest.raises(SchemaError, match="no entity 'Thin'; near: Thing"):
        things.read("Thin")
    with pytest.raises(SchemaError, match="no column 'Amont'; near: Amount"):
        things.read("Thing", ["Amont"])


# --- schemas ----------------------------------------------------------------------------------------------------------


def test_a_table_that_is_not_as_declared_is_an_error_that_names_the_columns(things):
    fields = [Field("Org", PrimitiveType("string")), Field("Id", PrimitiveType("string"))]
    fields += [Field("Line", PrimitiveType("long")), Field("Odd", PrimitiveType("string"))]
    DeltaTable.create(f"{things.url}/Thing", Schema(fields))
    with pytest.raises(SchemaError) as caught:
        things.read("Thing")
    text = str(caught.value)
    assert "Thing lacks column 'Amount'" in text
    assert "Thing has column 'Odd', which is not declared" in text
    assert "Thing.Line is long, declared as integer" in text
    with pytest.raises(SchemaError, match="Odd"):
        things.merge("Thing", lines(("D", 1)), run_id="r1")
    with pytest.raises(SchemaError, match="'Odd', which is not declared"):
        things.migrate()
    assert len(things.check()) == 8


def test_migrating_adds_declared_columns_and_keeps_the_rows(store, tmp_path):
    shorter = read_entities(
        "entities: {Thing: {organization: Org, key: [Id], columns: {Org: {type: text}, Id: {type: text}}}}"
    )
    longer = read_entities(
        "entities: {Thing: {organization: Org, key: [Id], columns: {Org: {type: text}, Id: {type: text},"
        " Amount: {type: amount}, On: {type: date}}}}"
    )
    old = Store.open(tmp_path / "m", "ORG001", entities=shorter)
    new = Store.open(tmp_path / "m", "ORG001", entities=longer)
    old.merge("Thing", pl.DataFrame({"Id": ["A", "B"]}), run_id="r1")
    with pytest.raises(SchemaError, match=r"lacks column 'Amount'.*migrate"):
        new.read("Thing")
    assert new.migrate() == ["Thing.Amount", "Thing.On"]
    assert new.migrate() == []
    rows = pl.DataFrame({"Id": ["B"], "Amount": [LONG], "On": [date(2020, 1, 1)]}, schema_overrides={"Amount": MONEY})
    assert new.merge("Thing", rows, run_id="r2").updated == 1
    assert new.read("Thing", ["Id", "Amount"]).sort("Id").rows() == [("A", None), ("B", LONG)]
    with pytest.raises(SchemaError, match="'Amount', which is not declared"):
        old.read("Thing")


def test_a_declaration_with_faults_names_all_of_them():
    text = "entities: {T: {organization: O, key: [K], columns: {K: {type: number}}}}"
    with pytest.raises(SchemaError) as caught:
        read_entities(text)
    assert str(caught.value).splitlines() == [
        "T.K: no type 'number'; known: text, whole, amount, flag, date, moment, picklist",
        "T: 'O' is of the key and no column",
    ]


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_table_can_be_read_as_of_a_version_and_a_moment(things):
    first = things.merge("Thing", lines(("D", 1), Left=[1]), run_id="r1")
    time.sleep(0.01)
    between = datetime.now(UTC)
    time.sleep(0.01)
    things.merge("Thing", lines(("D", 1), Left=[2]), run_id="r2")
    assert things.read("Thing", ["Left"]).item() == 2
    assert things.read("Thing", ["Left"], as_of=first.version).item() == 1
    assert things.read("Thing", ["Left"], as_of=between).item() == 1
    assert things.history("Thing")["run_id"].to_list() == ["r2", "r1", None]
    with pytest.raises(StoreError, match="Thing: no version as of 99"):
        things.read("Thing", as_of=99)


def test_a_table_that_nobody_wrote_is_empty_and_is_not_made_by_reading(things):
    assert things.read("Thing").schema == SMALL["Thing"].schema
    assert (things.version("Thing"), things.history("Thing").height, things.check()) == (None, 0, [])
    assert not Path(things.url).exists()


def test_compacting_keeps_rows_and_earlier_versions(things):
    for number in range(6):
        things.merge("Thing", lines((f"D{number}", 1), Left=[number]), run_id=f"r{number}")
    before, version = things.read("Thing").sort("Id"), things.version("Thing")
    assert things.compact("Thing")["numFilesRemoved"] == 6
    assert_frame_equal(things.read("Thing").sort("Id"), before)
    assert things.read("Thing", as_of=version - 1).height == 5


def test_a_vacuum_deletes_old_and_stray_files_and_leaves_what_is_current(things):
    things.merge("Thing", lines(("D", 1), Left=[1]), run_id="r1")
    first = things.version("Thing")
    things.merge("Thing", lines(("D", 1), Left=[2]), run_id="r2")
    folder = Path(things.url) / "Thing"
    (folder / "part-stray.parquet").write_bytes(b"what a killed process left")
    with pytest.raises(ParameterError, match="at least an hour"):
        things.vacuum(timedelta(minutes=59))
    assert things.vacuum(timedelta(hours=1)) == [], "all of it is younger than an hour"
    past = time.time() - 7200
    for file in folder.glob("*.parquet"):
        os.utime(file, (past, past))
    _age_log(folder, 7200)
    assert len(things.vacuum(timedelta(hours=1))) == 2
    assert things.read("Thing", ["Left"]).item() == 2
    with pytest.raises(StoreError, match="cannot be read"):
        things.read("Thing", ["Left"], as_of=first)


def _age_log(folder, seconds):
    """Make a table's log say that everything happened earlier."""
    for file in (folder / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in file.read_text().splitlines()]
        for action in actions:
            if "remove" in action:
                action["remove"]["deletionTimestamp"] -= seconds * 1000
        file.write_text("\n".join(map(json.dumps, actions)))


# --- several at once, and killed ones ---------------------------------------------------------------------------------


def writer(store, column, first, rounds):
    command = [sys.executable, str(ROOT / "tests" / "store_world.py"), store.url, column, str(first), str(rounds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)


def test_two_processes_that_change_the_same_rows_at_once_lose_nothing(things):
    both = [writer(things, column, 1, 15) for column in ("Left", "Right")]
    versions = [int(line) for process in both for line in process.communicate(timeout=200)[0].splitlines()]
    assert [process.returncode for process in both] == [0, 0]
    assert len(set(versions)) == 30, "each merge is a version of its own"
    documents = things.read("Thing", ["Id", "Left", "Right"])
    assert documents.filter(pl.col("Id") == "D").unique().rows() == [("D", 15, 15)]
    assert documents.group_by("Id").len().sort("Id").rows() == [("D", 20), ("Left", 15), ("Right", 15)]


def test_two_processes_that_insert_the_same_key_at_once_make_one_row(things):
    for number in range(3):
        both = [writer(things, column, number, 1) for column in ("Left", "Right")]
        assert [process.wait(timeout=200) for process in both] == [0, 0]
        for process in both:
            process.stdout.close()
    assert things.read("Thing").filter(pl.col("Id") == "D").height == 20


@pytest.mark.slow
def test_a_writer_killed_at_any_point_leaves_whole_versions_and_the_rerun_ends_in_the_same_state(things):
    draw = random.Random(4)
    things.merge("Thing", lines(("seed", 0)), run_id="seed")
    for _ in range(10):
        process = writer(things, "Left", 1, 400)
        process.stdout.readline()  # it works: now any point will do
        time.sleep(draw.uniform(0, 0.15))
        process.kill()
        process.communicate(timeout=60)
        rows = things.read("Thing").filter(pl.col("Id") == "D")
        assert rows.height == 20
        assert rows["Left"].n_unique() == 1, "a merge is there whole or not at all"
    reached = things.read("Thing")["Left"].max()
    again = writer(things, "Left", 1, int(reached))
    assert again.wait(timeout=200) == 0
    again.stdout.close()
    untouched = Store.open(Path(things.url).parent / "untouched", "ORG001", entities=SMALL)
    untouched.merge("Thing", lines(("seed", 0)), run_id="seed")
    alone = writer(untouched, "Left", 1, int(reached))
    assert alone.wait(timeout=200) == 0
    alone.stdout.close()
    found, wanted = (s.read("Thing").drop("staged_at", "run_id").sort("Id", "Line") for s in (things, untouched))
    assert_frame_equal(found, wanted)


def test_a_merge_gives_up_when_others_commit_before_it_for_longer_than_its_patience(tmp_path, monkeypatch):
    store = Store.open(tmp_path, "ORG001", entities=SMALL, patience_s=0.2)
    store.merge("Thing", lines(("D", 1), Left=[0]), run_id="r0")
    real, count = commits.commit, iter(range(1, 1000))

    def late(table, declared, new, changed, *rest, **more):
        monkeypatch.setattr(commits, "commit", real)
        store.merge("Thing", lines(("E", 1), Left=[next(count)]), run_id="other")
        monkeypatch.setattr(commits, "commit", late)
        real(table, declared, new, changed, *rest, **more)

    monkeypatch.setattr(commits, "commit", late)
    with pytest.raises(StoreError, match=r"Thing: others went on committing for 0\.2 s"):
        store.merge("Thing", lines(("D", 1), Left=[1]), run_id="r1")
    monkeypatch.setattr(commits, "commit", real)
    assert store.read("Thing").filter(pl.col("Id") == "D")["Left"].item() == 0


# --- other programs ---------------------------------------------------------------------------------------------------


def test_duckdb_and_polars_read_the_tables_to_the_last_digit(store):
    rows = accounts(AccountId=["A", "B"], CreditLimitAmount=[LONG, None], Birthdate=[date(1999, 12, 31), None])
    store.merge("Account", rows, run_id="r1")
    store.merge("Account", accounts(AccountId=["B"], CreditLimitAmount=[-LONG]), run_id="r2")
    place = f"{store.url}/Account"
    wanted = [("A", LONG, date(1999, 12, 31)), ("B", -LONG, None)]
    columns = ["AccountId", "CreditLimitAmount", "Birthdate"]
    assert pl.scan_delta(place).select(columns).sort("AccountId").collect().rows() == wanted
    with duckdb.connect() as database:
        database.register("account", DeltaTable(place).to_pyarrow_dataset())
        query = f"select {', '.join(columns)} from account order by 1"
        assert database.execute(query).fetchall() == wanted


def test_the_tables_ask_nothing_of_a_reader_but_delta_s_first_protocol(store):
    store.merge("Account", accounts(AccountId=["A"], Birthdate=[date(2000, 1, 1)]), run_id="r1")
    protocol = DeltaTable(f"{store.url}/Account").protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert not protocol.reader_features
    kinds = {column.type.type for column in DeltaTable(f"{store.url}/Account").schema().fields}
    assert kinds == {"string", "integer", "boolean", "date", "timestamp", "decimal(38,12)"}


def test_the_shipped_entities_are_those_of_cds_with_the_organisation_in_every_key():
    assert {name: declared.entity.key for name, declared in load_entities().items()} == {
        "Account": ("Organization_OrganizationId", "AccountId"),
        "Contact": ("Organization_OrganizationId", "ContactId"),
        "Product": ("Organization_OrganizationId", "ProductId"),
        "Quotation": ("Organization_OrganizationId", "QuotationId"),
        "QuotationLine": ("Organization_OrganizationId", "Quotation_QuotationId", "Sequence"),
        "SalesOrder": ("Organization_OrganizationId", "SalesOrderId"),
        "SalesOrderLine": ("SalesOrder_Organization_OrganizationId", "SalesOrder_SalesOrderId", "Sequence"),
        "SalesInvoice": ("Organization_OrganizationId", "SalesInvoiceId"),
        "SalesInvoiceLine": ("SalesInvoice_Organization_OrganizationId", "SalesInvoice_SalesInvoiceId", "Sequence"),
    }


def test_spark_reads_the_tables_to_the_last_digit(store):
    spark_sql = pytest.importorskip("pyspark.sql", reason="needs pyspark, which no one who compares here needs")
    jars = os.environ.get("P2C_SPARK_JARS")
    if not jars:
        pytest.skip("Delta's jars for Spark are on Maven only, not on PyPI: P2C_SPARK_JARS names a folder with them")
    store.merge("Account", accounts(AccountId=["A"], CreditLimitAmount=[LONG]), run_id="r1")
    builder = spark_sql.SparkSession.builder.master("local[1]").config(
        "spark.jars", ",".join(map(str, Path(jars).iterdir()))
    )
    builder = builder.config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    builder = builder.config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    spark = builder.getOrCreate()
    try:
        (row,) = (
            spark.read.format("delta").load(f"{store.url}/Account").select("AccountId", "CreditLimitAmount").collect()
        )
        assert tuple(row) == ("A", LONG)
    finally:
        spark.stop()
