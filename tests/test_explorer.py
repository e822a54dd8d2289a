"""What the explorer answers: each record once, counts that add up, orders of the whole, ticks that outlive a kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import lxml.html
import numpy as np
import polars as pl
import pytest
from explorer_run import HOSTILE, a_run, records_of, row, told
from hypothesis import given, settings
from hypothesis import strategies as st

from p2c_lib.diff import ROW_OUTCOMES
from p2c_lib.errors import ParameterError
from p2c_lib.explain import main_reasons
from p2c_lib.explorer import explore
from p2c_lib.explorer.actions import meant_by
from p2c_lib.explorer.query import FACETS, PAGE_ROWS, SORTS, Finder, Query
from p2c_lib.explorer.records import put_together
from p2c_lib.explorer.static import page
from p2c_lib.explorer.ticks import Ticks, ticks_file
from p2c_lib.explorer.widget import Explorer
from p2c_lib.write import PLAN_COLUMNS, Plan

EXAMPLE = told(
    row("A-1", amount="10.00", currency="EUR"),
    row("A-2", "name", "different", expected="Müller", found="Muller", currency="EUR"),
    row("A-2", "city", "truncated", expected="Straßburg am Rhein", found="Straßburg", amount="3", currency="EUR"),
    row("A-3", "name", "different", expected="x", found="y", amount="-250.005", currency="KWD", task="u"),
    row("B-1", outcome="extra", amount="99.99", currency="USD"),
    row("B-2", outcome="excluded", code="is_active"),
    row("", outcome="blocked", code="blank_key"),
)


def keys(finder, **asked):
    shown = finder.view(Query.of(asked))
    assert shown["rows"] == len(shown["records"])
    return [one["key"] for one in shown["records"]]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param({"outcome": ["missing", "extra"]}, ["A-1", "B-1"], id="either of two outcomes"),
        pytest.param({"field": ["city"]}, ["A-2"], id="a field that is not the first to differ"),
        pytest.param({"code": ["different"], "task": ["u"]}, ["A-3"], id="all of several lists"),
        pytest.param({"currency": [""]}, ["", "B-2"], id="those without a currency"),
        pytest.param({"amount_from": "99.99"}, ["A-3", "B-1"], id="worth at least, to the cent, whatever the sign"),
        pytest.param({"amount_from": "99.990000000001"}, ["A-3"], id="a trillionth more leaves it out"),
        pytest.param({"amount_to": "10"}, ["A-1", "A-2"], id="worth at most"),
        pytest.param({"text": "MÜLLER"}, ["A-2"], id="a value, case apart"),
        pytest.param({"text": "am rhein"}, ["A-2"], id="a value of the second field"),
        pytest.param({"text": "a-"}, ["A-1", "A-2", "A-3"], id="part of a key"),
        pytest.param({"text": "mend extra"}, ["B-1"], id="words of the remedy"),
        pytest.param({"text": ".*"}, [], id="a text is no pattern"),
        pytest.param({"country": ["DE"]}, ["A-1"], id="a country"),
        pytest.param({"age_from": 3, "age_to": "3.5"}, ["A-1"], id="for how long"),
        pytest.param({"task": ["no such task"]}, [], id="a value that nothing has"),
    ],
)
def test_a_filter_finds_what_it_says_and_nothing_else(asked, found):
    at = {"task": ["t"], "key": ["A-1"], "side": ["source"]}
    history = pl.DataFrame({**at, "state": ["open"], "age_days": [3.0]}).lazy()
    finder = Finder(records_of(EXAMPLE, history=history, countries=pl.DataFrame({**at, "country": ["DE"]})))
    assert sorted(keys(finder, **asked)) == found


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"amount_from": "1,000"}, "'1,000' is no amount; write 1000 or 1000.50"),
        ({"amount_to": "-1"}, "'-1' is no amount to filter by"),
        ({"age_from": "nan"}, "'nan' is no number of days"),
        ({"sort": "no such"}, "no column 'no such' to sort by; known: key, task"),
        ({"colour": ["red"]}, "no filter colour; known: task, outcome"),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused_in_words(asked, words):
    with pytest.raises(ParameterError, match=words.replace("(", r"\(")):
        Query.of(asked)


def test_a_query_comes_back_from_a_file_as_it_was():
    asked = Query.of(
        {"outcome": ["missing"], "amount_from": "0.1", "age_to": 2, "text": " x ", "sort": "key", "page": 3}
    )
    assert Query.of(json.loads(json.dumps(asked.told()))) == asked


def test_counts_of_a_list_are_those_that_each_choice_would_find():
    finder = Finder(records_of(EXAMPLE))
    chosen = finder.view(Query.of({"outcome": ["extra"], "text": "a"}))
    assert {tile["outcome"]: (tile["rows"], tile["of"]) for tile in chosen["tiles"]} == {
        "matched": (0, 7), "mismatched": (2, 2), "missing": (1, 1),
        "extra": (1, 1), "excluded": (1, 1), "blocked": (1, 1),
    }  # fmt: skip
    counts = {value: rows for value, _, rows in chosen["facets"]["outcome"]}
    for outcome in ("mismatched", "missing", "extra"):
        assert finder.view(Query.of({"outcome": [outcome], "text": "a"}))["rows"] == counts[outcome]
    assert chosen["stake"] == ["99.99 USD"]
    assert finder.view(Query.of({}))["stake"] == ["13.00 EUR", "-250.005 KWD", "99.99 USD"]


WORDS = st.sampled_from(["A", "B", "b ", "Ä", "", *HOSTILE[:5]])
AMOUNTS = st.none() | st.decimals("-9999999999", "9999999999", places=12)
LONE = st.tuples(
    st.sampled_from(["missing", "extra", "blocked", "excluded"]), AMOUNTS, st.sampled_from(["EUR", "USD", None])
)
PAIR = st.lists(
    st.tuples(st.sampled_from(["f1", "f2", "f3"]), WORDS, WORDS), min_size=1, max_size=3, unique_by=lambda t: t[0]
)


@st.composite
def tables(draw):
    rows = []
    for number, made in enumerate(draw(st.lists(LONE | PAIR, max_size=70))):
        key, task = f"{draw(WORDS)}{number}", draw(st.sampled_from(["t", "u"]))
        if isinstance(made, tuple):
            outcome, amount, currency = made
            rows.append(row(key, outcome=outcome, amount=amount, currency=currency, task=task))
        else:
            rows += [row(key, field, "different", expected=a, found=b, task=task) for field, a, b in made]
    return told(*rows)


@settings(max_examples=60, deadline=timedelta(seconds=5))
@given(
    table=tables(),
    sort=st.sampled_from(["", *SORTS]),
    down=st.booleans(),
    outcome=st.sets(st.sampled_from(ROW_OUTCOMES)),
)
def test_pages_show_each_record_once_in_the_order_of_the_whole(table, sort, down, outcome):
    records = records_of(table)
    finder = Finder(records)
    asked = {"sort": sort, "descending": down, "outcome": list(outcome)}
    first = finder.view(Query.of(asked))
    shown = [one for at in range(first["pages"]) for one in finder.view(Query.of({**asked, "page": at}))["records"]]
    numbers = [one["record"] for one in shown]
    meant = records.rows.with_row_index("n")
    if outcome:
        meant = meant.filter(pl.col("outcome").cast(pl.String).is_in(list(outcome)))
    assert sorted(numbers) == meant["n"].to_list() and first["rows"] == meant.height
    for facet in FACETS:
        if facet != "field":  # a record has several
            chosen = (
                first["facets"][facet]
                if facet != "outcome"
                else [[value, "", rows] for value, _, rows in first["facets"][facet] if not outcome or value in outcome]
            )
            assert sum(rows for *_, rows in chosen) == meant.height
    if sort:
        values = records.rows[sort].cast(records.rows.schema[sort] if sort in ("amount", "age_days") else pl.String)[
            numbers
        ]
        present = values.drop_nulls()
        assert values.tail(values.null_count()).null_count() == values.null_count()
        assert present.to_list() == present.sort(descending=down).to_list()


def test_only_the_page_leaves_the_kernel():
    many = told(*(row(f"K{number:05}", "name", "different", expected="v" * 10_000, found="w") for number in range(400)))
    shown = Finder(records_of(many)).view(Query.of({"page": 3}))
    assert [one["key"] for one in shown["records"]] == [f"K{n:05}" for n in range(3 * PAGE_ROWS, 4 * PAGE_ROWS)]
    assert len(json.dumps(shown)) < 25_000
    assert shown["records"][0]["expected"] == "v" * 160 + "… (10,000 characters)"


# --- ticks -------------------------------------------------------------------------------------------------------


def test_ticks_of_rows_and_filters_follow_one_another_and_are_there_when_opened_again(tmp_path):
    finder = Finder(records_of(EXAMPLE))
    ticks = Ticks(tmp_path / "ticks.json", finder)
    ticks.tick_all(Query.of({"text": "a-", "sort": "amount", "page": 0}), True)
    ticks.tick(finder.places(pl.DataFrame({"task": ["t"], "key": ["A-2"]})), False)
    ticks.tick(np.array([3]), True)
    ticks.tick(finder.places(pl.DataFrame({"task": ["t"], "key": [""]})), True)
    names = finder.records.rows["key"].filter(pl.Series(ticks.mask)).to_list()
    again = Ticks(tmp_path / "ticks.json", finder)
    assert finder.records.rows["key"].filter(pl.Series(again.mask)).to_list() == names
    assert "A-2" not in names and {"A-1", "A-3", ""} <= set(names)
    assert "filter" in json.loads((tmp_path / "ticks.json").read_text())["steps"][0]  # not each of its records
    assert [path.name for path in tmp_path.iterdir()] == ["ticks.json"]


def test_ticks_of_two_windows_on_one_run_add_up(tmp_path):
    finder = Finder(records_of(EXAMPLE))
    one, other = (Ticks(tmp_path / "ticks.json", finder) for _ in range(2))
    one.tick(np.array([0]), True)
    other.tick(np.array([2]), True)
    assert one.fresh() and np.flatnonzero(one.mask).tolist() == [0, 2] == np.flatnonzero(other.mask).tolist()


def test_ticks_of_an_earlier_run_in_the_same_folder_mean_nothing(tmp_path):
    Ticks(tmp_path / "ticks.json", Finder(records_of(EXAMPLE))).tick(np.array([0]), True)
    reasons = main_reasons(EXAMPLE.filter(pl.col("outcome") != "excluded"))
    later = put_together(EXAMPLE.lazy(), reasons.lazy(), dict.fromkeys(ROW_OUTCOMES, 0), "run-2")
    assert not Ticks(tmp_path / "ticks.json", Finder(later)).mask.any()


def test_a_broken_file_of_ticks_is_named(tmp_path):
    (tmp_path / "ticks.json").write_text("{")
    with pytest.raises(ParameterError, match=r"ticks\.json: no file of ticks .*move it away"):
        Ticks(tmp_path / "ticks.json", Finder(records_of(EXAMPLE)))


KILLED = """
import os, signal, sys
from pathlib import Path
from p2c_lib.explorer import explore
from p2c_lib.explorer.actions import meant_by
shown = explore(Path(sys.argv[1]))
for number in range(200):
    shown.tell({"kind": "tick", "records": [number], "on": True})
    print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kernel_that_is_killed_loses_no_tick_that_was_answered(tmp_path):
    folder = a_run(tmp_path / "run", told(*(row(f"K{number}") for number in range(300))))
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    answered = -1
    for line in child.stdout:
        answered = int(line)
        if answered == 60:
            os.kill(child.pid, signal.SIGKILL)  # in the midst of what comes next
    child.stdout.close()
    assert child.wait(30) == -signal.SIGKILL and answered >= 60
    ticked = set(np.flatnonzero(explore(folder)._ticks.mask).tolist())
    assert set(range(answered + 1)) <= ticked <= set(range(answered + 2))


# --- what is shown -----------------------------------------------------------------------------------------------


def test_hostile_values_are_text_in_the_page_and_in_what_stays_without_a_kernel(tmp_path):
    table = told(
        *(row(f"{one}{n}", "f", "different", expected=one, found=one, currency="EUR") for n, one in enumerate(HOSTILE))
    )
    shown = explore(a_run(tmp_path / "run", table))
    data, _ = shown._repr_mimebundle_()
    tree = lxml.html.fromstring(data["text/html"])
    assert not list(tree.iter("script", "img"))
    plain = {"div", "b", "br", "p", "table", "thead", "tbody", "tr", "th", "td", "wbr", "span", "i"}
    assert {one.tag for one in tree.iter()} <= plain
    text = tree.text_content()
    assert all(one in text for one in HOSTILE[:5])
    assert "application/vnd.jupyter.widget-view+json" in data
    assert [one["expected"] for one in shown.view["records"]][:5] == HOSTILE[:5]


def test_the_script_of_the_page_sets_no_markup():
    assert not any(
        word in Explorer._esm for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(")
    )
    assert "http" not in Explorer._esm + Explorer._css


def test_what_stays_without_a_kernel_has_the_counts_of_the_run_and_the_first_page():
    finder = Finder(records_of(EXAMPLE))
    tree = lxml.html.fromstring(f"<div>{page(finder.view(Query()))}</div>")
    tiles = [(tile.findtext("b"), tile.find("br").tail) for tile in tree.findall("div") if tile.find("b") is not None]
    assert tiles == [(str(finder.records.counts[name]), name) for name in ROW_OUTCOMES]
    head, *body = ([cell.text_content() for cell in line.iter("th", "td")] for line in tree.iter("tr"))
    assert [dict(zip(head, line, strict=True))["key"].replace("empty", "") for line in body] == finder.records.rows[
        "key"
    ].fill_null("").to_list()
    assert "At stake: 13.00 EUR; -250.005 KWD; 99.99 USD." in tree.text_content()


def test_what_is_wrong_with_a_query_is_said_and_the_last_answer_stays(tmp_path):
    shown = explore(a_run(tmp_path / "run", EXAMPLE))
    shown.tell({"kind": "query", "query": {"outcome": ["extra"]}, "asked": 1})
    shown.tell({"kind": "query", "query": {"amount_from": "much"}, "asked": 2})
    assert shown.view["problem"] == "'much' is no amount; write 1000 or 1000.50" and shown.view["asked"] == 2
    assert [one["key"] for one in shown.view["records"]] == ["B-1"]


def test_a_run_is_looked_at_by_the_tasks_that_are_named(tmp_path):
    folder = a_run(tmp_path / "run", EXAMPLE)
    assert [one["key"] for one in explore(folder, tasks=["u"]).view["records"]] == ["A-3"]
    with pytest.raises(ParameterError, match="this run has no task v; it has t, u"):
        explore(folder, tasks=["v"])
    with pytest.raises(ParameterError, match="holds no run"):
        explore(tmp_path)


def test_two_explorers_of_one_run_share_its_records_and_ticks_but_not_their_filters(tmp_path):
    folder = a_run(tmp_path / "run", EXAMPLE)
    one, other = explore(folder), explore(folder)
    assert one._finder is other._finder and explore(folder, tasks=["u"])._finder is not one._finder
    one.tell({"kind": "tick", "records": [0], "on": True})
    other.tell({"kind": "query", "query": {"ticked": True}, "asked": 1})
    assert [row["record"] for row in other.view["records"]] == [0] and one.view["rows"] == EXAMPLE["key"].n_unique()
    other.tell({"kind": "tick", "records": [2], "on": True})
    one.tell({"kind": "query", "query": {"ticked": True}, "asked": 1})
    assert [row["record"] for row in one.view["records"]] == [0, 2] == [row["record"] for row in other.view["records"]]


def test_a_run_that_was_handed_over_is_looked_at_and_nothing_more(tmp_path):
    folder = a_run(tmp_path / "run", EXAMPLE)
    facts = json.loads((folder / "run.json").read_text()) | {"working": "on-another-machine"}
    (folder / "run.json").write_text(json.dumps(facts))
    shown = explore(folder)
    shown.tell({"kind": "query", "query": {"outcome": ["extra"]}, "asked": 1})
    assert [one["key"] for one in shown.view["records"]] == ["B-1"]
    shown.tell({"kind": "tick", "records": [0], "on": True})
    assert "but not planned from" in shown.view["problem"] and shown.view["ticked"] == 0


def test_nothing_is_approved_or_sent_but_what_was_planned_and_shown(tmp_path):
    shown = explore(a_run(tmp_path / "run", EXAMPLE))
    for message, words in (
        ({"kind": "plan"}, "nothing is ticked"),
        ({"kind": "approve", "hash": "", "by": "Ann"}, "there is no such plan"),
        ({"kind": "apply", "hash": ""}, "there is no such plan"),
    ):
        shown.tell(message)
        shown.wait()
        assert shown.work["stage"] == "failed" and words in shown.work["problem"]
    assert not (tmp_path / "run" / "plan").exists() and not ticks_file(tmp_path / "run").exists()


# --- what of a plan is meant -------------------------------------------------------------------------------------


def action(order, task, key, *, after=None, held=None):
    told = {"order": order, "task": task, "action": "create", "key": key, "field": "f", "amount": Decimal(1)}
    return {**told, "currency": "EUR", "after_order": after, "held": held}


def test_ticks_mean_their_actions_and_those_that_these_wait_for():
    rows = [
        action(0, "accounts", "A"),
        action(1, "headers", "H", after=0),
        action(2, "headers", "K", held="closed"),
        action(3, "lines", "H|1", after=1),
        action(4, "lines", "H|2", after=1),
    ]
    frame = pl.DataFrame(rows, schema={name: PLAN_COLUMNS[name] for name in rows[0]})
    whole = frame.select(pl.col(n) if n in frame.columns else pl.lit(None, t).alias(n) for n, t in PLAN_COLUMNS.items())
    plan = Plan(Path("plan"), whole, {}, "hash", "", None, pl.DataFrame())
    ticked = pl.DataFrame({"task": ["lines", "headers", "lines"], "key": ["H|1", "K", "X"]})
    meant = meant_by(plan, ticked)
    assert sorted(meant.chosen.rows()) == [("accounts", "A"), ("headers", "H"), ("lines", "H|1")]
    assert meant.parents == 2
    assert meant.held.rows() == [("headers", "K", "closed")] and meant.without.rows() == [("lines", "X")]
