"""Keys of two sides, on lists short enough to check by eye; the hash of a key must never decide anything."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2c_lib import keys
from p2c_lib.keys import match, share_a_key


def side(*values: str | None) -> pl.DataFrame:
    return pl.DataFrame({"Account": pl.Series(values, dtype=pl.String)})


def lines(*values: tuple[str | None, int | None]) -> pl.DataFrame:
    return pl.DataFrame(values, schema={"row": pl.String, "form": pl.Int32}, orient="row")


def seen(found: keys.Match) -> dict[str, object]:
    """Everything that a match says, as plain values."""
    return {
        "pairs": found.pairs.rows(),
        "alone": (found.alone_source.to_list(), found.alone_destination.to_list()),
        "bad": (found.bad_source.rows(), found.bad_destination.rows()),
        "out": found.out_of_scope,
    }


def one_for_all(form: pl.DataFrame) -> pl.Series:
    return pl.repeat(0, form.height, dtype=pl.UInt64, eager=True)


def one_for_two(form: pl.DataFrame) -> pl.Series:
    """Hashes that keys share with about half of the others: neighbours that are none, beside those that are."""
    return form.select(pl.col(form.columns[0]).hash(1) % 2 * 2**63).to_series()


def test_two_keys_with_one_hash_neither_pair_nor_block(monkeypatch):
    monkeypatch.setattr(keys, "_hashes", one_for_all)
    assert seen(match(side("A"), side("B"))) == {"pairs": [], "alone": ([0], [0]), "bad": ([], []), "out": 0}
    assert seen(match(side("A", "B"), side("B", "C", "A"))) == {
        "pairs": [(0, 2), (1, 0)],
        "alone": ([], [1]),
        "bad": ([], []),
        "out": 0,
    }


def test_a_shared_hash_hides_no_repeated_key(monkeypatch):
    monkeypatch.setattr(keys, "_hashes", one_for_all)
    found = match(side("A", "B", "A"), side("B", "A"))
    assert found.pairs.rows() == [(1, 0)]
    assert found.bad_source.rows() == [(0, "repeated_key"), (2, "repeated_key")]
    assert found.bad_destination.rows() == [(1, "repeated_key")]


parts = st.one_of(st.none(), st.sampled_from(["", " ", "A", "a", "A ", " B", "B", "ß", "SS", "K", "\u212a", "é", "É"]))
plain = st.sampled_from(["A", "B", "C", "D", "E"])
numbers = st.one_of(st.none(), st.integers(1, 2))
rows = st.lists(st.tuples(st.one_of(parts, plain), numbers), max_size=10)
plain_rows = st.lists(st.tuples(plain, st.integers(1, 2)), max_size=10)


@pytest.mark.parametrize("hashes", [one_for_all, one_for_two])
@settings(deadline=None)
@given(st.one_of(rows, plain_rows), st.one_of(rows, plain_rows), st.data())
def test_no_answer_depends_on_the_hash(hashes, source, destination, data):
    flows = pl.Series(data.draw(st.lists(st.booleans(), min_size=len(source), max_size=len(source))), dtype=pl.Boolean)
    scope = data.draw(st.lists(st.booleans(), min_size=len(destination), max_size=len(destination)))
    arguments = {"flows": flows, "in_scope": pl.Series(scope, dtype=pl.Boolean)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(keys, "_hashes", hashes)
        shared = seen(match(lines(*source), lines(*destination), **arguments))
    assert shared == seen(match(lines(*source), lines(*destination), **arguments))


@settings(deadline=None)
@given(st.one_of(rows, plain_rows), st.one_of(rows, plain_rows))
def test_a_pair_has_one_key_that_no_other_row_of_either_side_has_in_any_case_or_padding(source, destination):
    def form(key):
        return (key[0] or "").strip().lower(), key[1]

    ours, theirs = [form(key) for key in source], [form(key) for key in destination]
    found = match(lines(*source), lines(*destination))
    for i, j in found.pairs.rows():
        assert source[i] == destination[j]
        assert source[i][0] == source[i][0].strip() != ""
        assert (ours.count(ours[i]), theirs.count(theirs[j])) == (1, 1)
    for i in found.alone_source.to_list():
        assert source[i] not in destination
        assert ours.count(ours[i]) == 1
    whole = [*found.pairs["source_row"], *found.alone_source, *found.bad_source["row"]]
    assert sorted(whole) == list(range(len(source)))
    whole = [*found.pairs["destination_row"], *found.alone_destination, *found.bad_destination["row"]]
    assert sorted(whole) == list(range(len(destination)))


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        pytest.param(["A", "a"], ["A"], "colliding_key", id="case, and the partner is there"),
        pytest.param(["A", "a"], ["A", "a"], "colliding_key", id="case on both sides, each with a partner"),
        pytest.param(["A "], ["A "], "padded_key", id="padded alike on both sides"),
        pytest.param(["\u00a0A"], ["A"], "padded_key", id="a blank that is not ASCII"),
        pytest.param(["É", "é"], ["É"], "colliding_key", id="case beyond ASCII"),
        pytest.param(["K", "\u212a"], ["K"], "colliding_key", id="a sign whose small letter is ASCII"),
        pytest.param(["A", "A"], ["a"], "repeated_key", id="repeated, in another case there"),
    ],
)
def test_what_is_bad_on_one_side_spoils_the_other(source, destination, reason):
    found = match(side(*source), side(*destination))
    assert found.pairs.is_empty()
    assert set(found.bad_source["reason"]) == set(found.bad_destination["reason"]) == {reason}
    assert (found.bad_source.height, found.bad_destination.height) == (len(source), len(destination))


def test_case_that_differs_between_the_sides_only_is_no_pair_and_no_fault():
    assert seen(match(side("A"), side("a"))) == {"pairs": [], "alone": ([0], [0]), "bad": ([], []), "out": 0}


def test_parts_that_read_alike_when_put_together_are_two_keys():
    both = pl.DataFrame({"a": ["D|E", "D"], "b": ["F", "E|F"]})
    assert match(both, both).pairs.rows() == [(0, 0), (1, 1)]


def test_a_row_out_of_scope_takes_part_where_a_source_row_has_its_key_in_any_case():
    scope = pl.Series([False, False, False])
    found = match(side("A", "b"), side("A", "B", "C"), in_scope=scope)
    assert seen(found) == {"pairs": [(0, 0)], "alone": ([1], [1]), "bad": ([], []), "out": 1}


def test_a_row_that_does_not_flow_is_nobodys_twin():
    found = match(side("A", "A", "B"), side("A"), flows=pl.Series([True, False, False]))
    assert seen(found) == {"pairs": [(0, 0)], "alone": ([], []), "bad": ([], []), "out": 0}


def test_a_key_is_shared_case_and_padding_aside_and_blank_ones_never_are():
    assert share_a_key(side("a ", None, "B"), side("A", None, " ")).to_list() == [True, False, False]
    assert share_a_key(side("A"), side()).to_list() == [False]
