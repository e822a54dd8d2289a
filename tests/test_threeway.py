"""Source, store and destination side by side: which leg lost a record, which one changed a field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from p2c_lib.threeway import THREE_WAY, Leg, by_task, examples, three_way, worst

AT = datetime(2026, 1, 2, 12, tzinfo=UTC)
ROWS = {"key": pl.String, "side": pl.String, "outcome": pl.String, "reason": pl.String}
ROWS |= {"source_row": pl.UInt32, "destination_row": pl.UInt32}
CELLS = dict.fromkeys(("key", "field", "outcome", "code", "expected", "found"), pl.String)


def leg(source, found, rows, cells=(), *, name="N", reads="n"):
    """Frames of one column beside the key: values by key on each side, outcomes by key, cells that differ."""
    numbers = [list(side) for side in (source, found)]

    def row(key, outcome):
        mine, theirs = (side.index(key) if key in side else None for side in numbers)
        side = "both" if None not in (mine, theirs) else "source" if theirs is None else "destination"
        return key, side, outcome, None, mine, theirs

    return Leg(
        rows=pl.DataFrame([row(*one) for one in rows], schema=ROWS, orient="row"),
        cells=pl.DataFrame(
            [(k, name, "different", "different", e, f) for k, e, f in cells], schema=CELLS, orient="row"
        ),
        source=pl.DataFrame({reads: list(source.values())}, schema={reads: pl.String}).with_columns(
            staged_at=pl.lit(AT - timedelta(hours=3), pl.Datetime("us", "UTC"))
        ),
        expected=pl.DataFrame({name: list(source.values())}, schema={name: pl.String}),
        found=pl.DataFrame({name: list(found.values())}, schema={name: pl.String}),
        reads={name: reads},
    )


def both(source, store, destination, first, second, cells1=(), cells2=()):
    return three_way(
        "things",
        leg(source, store, first, cells1, name="Staged", reads="src"),
        leg(store, destination, second, cells2, name="dest", reads="Staged"),
        AT,
    )


def test_what_is_in_step_all_the_way_has_no_row():
    same = {"a": "1"}
    table = both(same, same, same, [("a", "matched")], [("a", "matched")])
    assert (table.rows(), table.schema) == ([], THREE_WAY)


@pytest.mark.parametrize(
    ("sides", "first", "second", "leg", "left_over"),
    [
        pytest.param("100", "missing", None, 1, False, id="never staged"),
        pytest.param("101", "missing", "extra", 1, False, id="lost in the store after it had gone on"),
        pytest.param("110", "matched", "missing", 2, False, id="never arrived"),
        pytest.param("011", "extra", "matched", None, True, id="left over in the store"),
        pytest.param("010", "extra", "missing", None, True, id="left over and never sent"),
        pytest.param("001", None, "extra", 2, False, id="at the destination alone"),
    ],
)
def test_the_leg_that_lost_a_record_is_named(sides, first, second, leg, left_over):
    places = [{"a": "1"} if there == "1" else {} for there in sides]
    outcomes = [[("a", outcome)] if outcome else [] for outcome in (first, second)]
    (row,) = both(*places, *outcomes).rows(named=True)
    assert (row["key"], row["first"], row["second"], row["leg"], row["left_over"]) == (
        "a",
        first,
        second,
        leg,
        left_over,
    )
    assert [row[name] for name in ("at_source", "in_store", "at_destination")] == [there == "1" for there in sides]
    assert row["age_hours"] == (3.0 if sides[1] == "1" else None)


def test_a_field_is_told_at_all_four_places_on_the_leg_that_changed_it():
    table = both(
        {"a": "new", "b": "1"},
        {"a": "old", "b": "1"},
        {"a": "old", "b": "bent"},
        [("a", "mismatched"), ("b", "matched")],
        [("a", "matched"), ("b", "mismatched")],
        [("a", "new", "old")],
        [("b", "1", "bent")],
    )
    wanted = ["key", "field", "leg", "source", "staged", "expected", "found"]
    assert table.filter(pl.col("field").is_not_null()).select(wanted).rows() == [
        ("a", "Staged", 1, "new", "old", "old", "old"),
        ("b", "dest", 2, "1", "1", "1", "bent"),
    ]
    assert table.filter(pl.col("field").is_null()).select("key", "leg", "first", "second").rows() == [
        ("a", 1, "mismatched", "matched"),
        ("b", 2, "matched", "mismatched"),
    ]
    assert worst(table).select("leg", "what", "field", "rows").sort("leg").rows() == [
        (1, "changed", "Staged", 1),
        (2, "changed", "dest", 1),
    ]
    assert examples(table, 1).select("leg", "what", *wanted[:2], "age_hours").rows() == [
        (1, "changed", "a", "Staged", 3.0),
        (2, "changed", "b", "dest", 3.0),
    ]


def test_each_task_is_counted_by_what_each_leg_did_and_known_quirks_are_not():
    table = both(
        {"lost": "1", "gone": "1", "new": "2", "odd": "1"},
        {"gone": "1", "left": "1", "new": "1", "odd": "1"},
        {"left": "1", "new": "1", "odd": "2", "added": "1"},
        [("lost", "missing"), ("gone", "matched"), ("left", "extra"), ("new", "mismatched"), ("odd", "matched")],
        [("gone", "missing"), ("left", "matched"), ("new", "matched"), ("odd", "mismatched"), ("added", "extra")],
        [("new", "2", "1")],
        [("odd", "1", "2")],
    )
    counts = {"lost_on_leg_1": 1, "fields_changed_on_leg_1": 1, "lost_on_leg_2": 1, "fields_changed_on_leg_2": 1}
    counts |= {"added_on_leg_2": 1, "left_over_in_store": 1}
    assert by_task(table).to_dicts() == [{"task": "things", **counts, "staged_hours_ago": 3.0}]
    known = table.with_columns(pl.when(pl.col("field") == "dest").then(pl.lit("quirk")).otherwise("code").alias("code"))
    assert by_task(known)["fields_changed_on_leg_2"].to_list() == [0]


def test_a_field_may_differ_on_one_leg_alone():
    same = {"a": "1"}
    table = both(same, same, {"a": "2"}, [("a", "matched")], [("a", "mismatched")], [], [("a", "1", "2")])
    assert table.select("field", "leg", "found").rows() == [(None, 2, None), ("dest", 2, "2")]


def test_rows_that_another_task_stages_in_the_same_entity_are_none_of_its_business():
    table = both({}, {"p": "1"}, {}, [], [("p", "excluded")])
    assert table.rows() == []
