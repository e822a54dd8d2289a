"""What a journal keeps: any number of lines, whatever was cut off, and that it tells another plan's from its own."""

import json
import os
from functools import partial

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2c_lib.channels import Channel, Chunk
from p2c_lib.errors import PlanError
from p2c_lib.journal import FINAL, Journal, States
from p2c_lib.write.lanes import call

PLAN = "ab" * 32
STATES = ["created", "updated", "deleted", "already", "conflict", "failed", "held", "open", "doubt"]


def intents(*orders):
    facts = [f'"key":{json.dumps(f"K{order}")},"after":{{"name":"a"}}' for order in orders]
    return pl.DataFrame({"order": orders, "facts": facts}, schema={"order": pl.UInt32, "facts": pl.String})


def answers(*told):
    rows = [(order, state, f'"error":{json.dumps(error)}' if error else "") for order, state, error in told]
    return pl.DataFrame(rows, schema={"order": pl.UInt32, "state": pl.String, "facts": pl.String}, orient="row")


def known(path):
    return {order: (state, attempt) for order, state, attempt in Journal.read(path, PLAN).frame().iter_rows()}


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_each_action_has_a_line_before_and_one_after_with_attempt_batch_and_channel(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal.opened(path, PLAN) as journal:
        journal.intend(intents(3, 5), batch=1, channel="multiple")
        journal.answer(answers((3, "created", ""), (5, "doubt", 'it said "no"\nand more')))
        journal.intend(intents(5), batch=2, channel="multiple")
    told = [(x["phase"], x["order"], x["attempt"], x.get("batch"), x.get("outcome")) for x in lines(path)]
    assert told == [
        ("intent", 3, 1, 1, None),
        ("intent", 5, 1, 1, None),
        ("answer", 3, 1, None, "created"),
        ("answer", 5, 1, None, "doubt"),
        ("intent", 5, 2, 2, None),
    ]
    assert lines(path)[3]["error"] == 'it said "no"\nand more'
    assert known(path) == {3: ("created", 1), 5: ("doubt", 2)}
    seen = Journal.read(path, PLAN)
    assert seen.channels[2] == "multiple" and seen.batches == 2
    assert seen.in_batch(pl.Series([3, 5], dtype=pl.UInt32)).to_list() == [1, 2]


def test_nothing_is_known_of_actions_without_a_line(tmp_path):
    seen = Journal.read(tmp_path / "none.jsonl", PLAN)
    orders = pl.Series([0, 7, 1_000_000], dtype=pl.UInt32)
    assert not seen and seen.states(orders).to_list() == [None] * 3 and seen.attempts(orders).to_list() == [0] * 3


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(STATES), st.text(max_size=8)), max_size=30),
    st.integers(0, 400),
)
def test_a_tail_that_was_torn_off_takes_only_what_it_held(tmp_path_factory, told, cut):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    with Journal.opened(path, PLAN) as journal:
        for number, (order, state, error) in enumerate(told, 1):
            journal.intend(intents(order), batch=number, channel="single")
            journal.answer(answers((order, state, error)))
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    expected = {}
    for line in path.read_bytes().split(b"\n")[:-1]:
        entry = json.loads(line)
        expected[entry["order"]] = (entry.get("outcome", "doubt"), entry["attempt"])
    with Journal.opened(path, PLAN) as journal:
        assert {o: (s, a) for o, s, a in journal.seen.frame().iter_rows()} == expected
        journal.intend(intents(41), batch=journal.seen.batches + 1, channel="single")
    assert known(path) == {**expected, 41: ("doubt", 1)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda text: b'{"half": \n' + text, "line 1 is not whole", id="broken at the start"),
        pytest.param(lambda text: text.replace(b'"a"}}\n', b"\n", 1), "line 1 is not whole", id="cut in the middle"),
        pytest.param(lambda text: text.replace(PLAN.encode(), b"cd" * 32, 1), "another plan", id="another plan's line"),
    ],
)
def test_a_journal_that_is_not_its_own_is_refused(tmp_path, change, words):
    path = tmp_path / "journal.jsonl"
    with Journal.opened(path, PLAN) as journal:
        journal.intend(intents(1, 2), batch=1, channel="single")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(PlanError, match=words):
        Journal.read(path, PLAN)


def test_a_million_actions_take_a_few_bytes_each():
    seen = States()
    orders = pl.int_range(1_000_000, dtype=pl.UInt32, eager=True)
    names = pl.repeat("created", orders.len(), eager=True)
    once = pl.repeat(1, orders.len(), dtype=pl.UInt32, eager=True)
    seen.note(orders, names, once, once)
    assert len(seen) == 1_000_000
    assert sum(array.nbytes for array in seen._arrays.values()) <= 8 * 1_000_000
    assert seen.states(pl.Series([999_999], dtype=pl.UInt32)).to_list() == ["created"]


def test_final_outcomes_are_not_sent_again_and_the_others_are():
    assert set(STATES) - set(FINAL) == {"held", "open", "doubt"}


def test_lines_are_on_disk_before_a_chunk_goes_out_and_one_forcing_serves_several(tmp_path, monkeypatch):
    forced = []
    monkeypatch.setattr("os.fsync", lambda file: forced.append(os.fstat(file).st_size))
    told = []
    channel = Channel("slow", "", ("create",), 1, True, lambda client, chunk: told.append(len(forced)) or NOTHING)
    with Journal.opened(tmp_path / "journal.jsonl", PLAN) as journal:
        first = journal.intend(intents(1), batch=1, channel="slow")
        second = journal.intend(intents(2), batch=2, channel="slow")
        assert forced == [], "intending does not wait for the disk"
        for mark in (second, first):
            call(Nobody(), channel, Chunk(None, NOTHING, NOTHING, 1), partial(journal.sync, mark))
    assert told == [1, 1], "each was forced before it went out, both of them at once"
    assert forced == [(tmp_path / "journal.jsonl").stat().st_size]


class Nobody:
    """A client that is asked for nothing but the time."""

    def take_seconds(self):
        return 0.0


NOTHING = pl.DataFrame(schema={"state": pl.String})
