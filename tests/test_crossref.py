"""The reviewed cross-reference: what it makes of rows, and a file in which no row has two partners."""

from __future__ import annotations

import json

import polars as pl
import pytest

from p2c_lib import crossref as crossrefs
from p2c_lib.crossref import ENTRIES, NONE, Crossref, decide, entry_of, read_crossref, resolve
from p2c_lib.errors import ParameterError, PlanError
from p2c_lib.model import find_task, load_templates

TEMPLATES = load_templates()
ACCOUNTS = find_task("accounts", TEMPLATES)


def entries(*pairs: tuple[str, str, str], kind: str = "key") -> pl.DataFrame:
    facts = [{"source_key": ours, "kind": kind, "destination_key": theirs, "score": 99.9} for ours, theirs, _ in pairs]
    carried = [{"CustomerAccount": theirs, "PartyNumber": party} for _, theirs, party in pairs]
    rows = [entry_of(ACCOUNTS, *one) for one in zip(facts, carried, strict=True)]
    return pl.DataFrame(rows, schema={name: pl.String for name in ENTRIES if name not in ("decision", "by", "at")})


def accepted(*pairs: tuple[str, str, str], kind: str = "key") -> Crossref:
    told = entries(*pairs, kind=kind).with_columns(decision=pl.lit("accepted"), by=pl.lit("Ada"), at=pl.lit("2026"))
    return Crossref(told.select(ENTRIES.names()))


def customers(*rows: tuple[str | None, str | None, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["CustomerAccount", "PartyNumber", "OrganizationName"], orient="row")


def test_a_row_takes_key_and_party_of_its_partner_and_nothing_else():
    rows, found = customers(("A1", "A1", "x"), ("A2", "A2", "y")), customers(("C9", "P9", "other"))
    made = resolve(rows, found, pl.DataFrame({"accountid": ["1", "2"]}), ACCOUNTS, accepted(("A1", "C9", "P9")))
    assert made.rows.rows() == [("C9", "P9", "x"), ("A2", "A2", "y")]
    assert made.pairs.rows() == [(0, "A1", "C9", True)]


def test_a_row_whose_partner_is_gone_keeps_its_own_key():
    rows = customers(("A1", "A1", "x"))
    made = resolve(rows, customers(("C8", "P8", "other")), pl.DataFrame({"accountid": ["1"]}), ACCOUNTS,
                   accepted(("A1", "C9", "P9")))  # fmt: skip
    assert made.rows.equals(rows) and made.pairs["is_there"].to_list() == [False]


def test_a_row_without_a_number_is_known_by_the_id_of_its_record():
    rows, source = customers((None, None, "x"), (" ", " ", "y")), {"accountid": ["1", "2"], "@odata.etag": ["", ""]}
    known = accepted(("2", "C9", "P9"), kind="id")
    made = resolve(rows, customers(("C9", "P9", "other")), pl.DataFrame(source), ACCOUNTS, known)
    assert made.rows.rows() == [(None, None, "x"), ("C9", "P9", "y")]


@pytest.mark.parametrize(
    ("task", "column", "value", "expected"),
    [
        pytest.param("contacts", "AssociatedPartyNumber", "A1", "P9", id="to F&O: by the party"),
        pytest.param("order_headers_to_fno", None, "A1", "C9", id="to F&O: by the customer"),
        pytest.param("order_headers_to_sales", None, "C9", "A1", id="to Sales: back to the account"),
        pytest.param("order_headers_to_sales", None, "A1", "A1", id="to Sales: the number of the account stays"),
    ],
)
def test_what_refers_to_a_paired_row_finds_it_on_the_other_side(task, column, value, expected):
    wanted = find_task(task, TEMPLATES)
    column = column or next(field.destination for field in wanted.fields if field.parent)
    columns = {name: ["1"] for name in wanted.key} | {column: [value]}
    rows = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    made = resolve(rows, rows.clear(), pl.DataFrame({"id": ["1"]}), wanted, accepted(("A1", "C9", "P9")))
    assert made.rows[column].to_list() == [expected]


def test_a_decision_is_kept_with_name_and_time_and_a_later_one_takes_its_place(tmp_path):
    path = tmp_path / "below" / "crossref.csv"
    assert read_crossref(path) == NONE
    decide(path, entries(("A1", "C9", "P9"), ('=HYPERLINK("x")', "C,8\n", "")), "accepted", "Ada")
    assert read_crossref(path).accepted()["source_key"].to_list() == ["A1", '=HYPERLINK("x")']
    decide(path, entries(("A1", "C9", "P9")), "rejected", "Grace")
    kept = read_crossref(path)
    assert kept.accepted()["destination_key"].to_list() == ["C,8\n"]
    assert kept.entries.filter(source_key="A1").select("decision", "by").rows() == [("rejected", "Grace")]
    assert [one.name for one in path.parent.iterdir()] == ["crossref.csv"]


@pytest.mark.parametrize("again", [("A1", "C7", "P7"), ("A7", "C9", "P9")], ids=["source", "destination"])
def test_no_row_gets_a_second_partner_and_the_file_stays_as_it_was(tmp_path, again):
    path = tmp_path / "crossref.csv"
    decide(path, entries(("A1", "C9", "P9")), "accepted", "Ada")
    before = path.read_bytes()
    with pytest.raises(ParameterError, match="stands in more than one accepted pair"):
        decide(path, entries(again), "accepted", "Ada")
    with pytest.raises(ParameterError, match="--by NAME"):
        decide(path, entries(again), "rejected", " ")
    assert path.read_bytes() == before


def test_a_file_that_is_no_cross_reference_is_refused(tmp_path):
    path = tmp_path / "crossref.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ParameterError, match="no cross-reference"):
        read_crossref(path)


@pytest.mark.parametrize(
    ("task", "facts", "words"),
    [
        pytest.param("accounts", {"task": "accounts"}, "compare again", id="direct"),
        pytest.param("back", {"task": "back", "of": "accounts", "leg": 2}, "on the direct route", id="through CDS"),
    ],
)
def test_a_run_that_would_create_a_paired_row_again_is_not_planned_from(tmp_path, task, facts, words):
    outcomes = {"task": [task, task], "key": ["A1", "A2"], "outcome": ["missing", "extra"]}
    pl.DataFrame(outcomes).write_parquet(tmp_path / "outcomes.parquet")
    (tmp_path / "run.json").write_text(json.dumps({"tasks": [facts]}))
    crossrefs.check_run(tmp_path, NONE)
    crossrefs.check_run(tmp_path, accepted(("A2", "C9", "P9")))
    with pytest.raises(PlanError, match=f"A1.*{words}"):
        crossrefs.check_run(tmp_path, accepted(("A1", "C9", "P9")))
