"""Rows that look like the same: what is proposed, what is left to a person, and how often it is right."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2c_lib.errors import TemplateError
from p2c_lib.model import find_task, load_templates
from p2c_lib.proposals import find
from p2c_lib.proposals.choice import LEAST, MARGIN, choose
from p2c_lib.proposals.records import records
from p2c_lib.texts import plain

sys.path.append(str(Path(__file__).resolve().parent.parent / "bench"))

from labelled import KINDS, labelled
from proposals import judged

TEMPLATES = load_templates()
EVIDENCE = {name: find_task(name, TEMPLATES).evidence for name in KINDS}


def company(name="Contoso Maschinenbau GmbH", street="Hauptstraße 12", city="München", postcode="80331", country="DE",
            mail="info@contoso.example", phone="+49 89 123456"):  # fmt: skip
    return dict(
        zip(KINDS["accounts"].columns.values(), (name, street, city, postcode, country, mail, phone), strict=True)
    )


def person(given="Anna", family="Müller", street="Hauptstraße 12", city="München", postcode="80331", country="DE",
           mail="anna.mueller@post.example", phone="+49 89 123456"):  # fmt: skip
    values = (given, family, street, city, postcode, country, mail, phone)
    return dict(zip(KINDS["contacts"].columns.values(), values, strict=True))


def statuses(task, ours, theirs, population=None):
    frames = [
        pl.DataFrame(side, schema=dict.fromkeys(KINDS[task].columns.values(), pl.String)) for side in (ours, theirs)
    ]
    people = None if population is None else pl.DataFrame(population, schema=frames[0].schema)
    return find(*frames, EVIDENCE[task], population=people).select("source_row", "destination_row", "status").rows()


CASES = {
    "abbreviated, in capitals, with a slip, without mail": (
        company(), company(name="CONTOSO MASCHIENBAU", street="Hauptstr. 12", mail=None), "proposed"),
    "a telephone number written otherwise": (
        company(), company(phone="0049 (0)89/12 34 56", mail=None, postcode=None), "proposed"),
    "the same company somewhere else: moved, or a branch": (
        company(), company(street="High Street 3", city="Leeds", postcode="LS1 4DY", country="GB"), "ambiguous"),
    "another company in the same house": (company(), company(name="Fabrikam Foods", mail=None, phone=None), None),
    "given and family name in each other's place": (
        person(), person(given="Müler", family="Anna", phone=None), "proposed"),
    "an initial": (person(), person(given="A.", mail=None), "proposed"),
    "a person who has moved takes mailbox and telephone along": (
        person(), person(street="12 Elm Rd", city="Boston", postcode="02110", country="US"), "proposed"),
    "family: all the same but the given name": (person(), person(given="Peter"), "ambiguous"),
    "family, by address alone": (person(), person(given="Peter", mail=None, phone=None), None),
}  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "status"), CASES.values(), ids=CASES.keys())
def test_a_pair_is_proposed_where_it_is_certain(ours, theirs, status):
    task = "accounts" if "OrganizationName" in ours else "contacts"
    assert statuses(task, [ours], [theirs]) == ([] if status is None else [(0, 0, status)])


def test_two_rows_that_are_equally_like_one_are_left_to_a_person():
    assert statuses("accounts", [company()], [company(), company()]) == [(0, 0, "ambiguous")]


def test_a_name_that_many_share_says_less_than_one_that_nobody_else_has():
    ours, theirs = company(phone=None, mail=None, street=None), company(phone=None, mail=None, street=None)
    chain = [company(phone=str(number)) for number in range(500)]
    others = [company(name=f"Nobody {number}", phone=None, mail=None) for number in range(500)]
    assert statuses("accounts", [ours], [theirs], others) == [(0, 0, "proposed")]
    assert statuses("accounts", [ours], [theirs], chain) != [(0, 0, "proposed")]


def test_evidence_that_no_field_fills_is_refused_and_a_site_may_name_its_own(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("overlay: x\ntasks: {accounts: {evidence: {name: OrganisationName, mail: [PrimaryContactURL]}}}\n")
    with pytest.raises(TemplateError, match=r"evidence.name: 'OrganisationName' is not among .* 'OrganizationName'"):
        load_templates((site,))
    site.write_text(site.read_text().replace("OrganisationName", "OrganizationName"))
    assert find_task("accounts", load_templates((site,))).evidence.columns == ("OrganizationName", "PrimaryContactURL")


def test_no_rows_no_proposals():
    assert statuses("accounts", [], [company()]) == statuses("accounts", [company()], []) == []
    nothing = dict.fromkeys(company())
    assert statuses("accounts", [nothing], [nothing]) == []


def test_what_a_name_is_made_of_is_the_same_for_both_spellings():
    names = ["Müller & Söhne GmbH", "MUELLER und Soehne Gesellschaft mbH", "S.A. L'Électronique", "Ltd"]
    made = records(pl.DataFrame({"OrganizationName": names}), EVIDENCE["accounts"])
    assert made["name"].to_list() == ["muller sohne", "mueller soehne", "lelectronique", "ltd"]
    assert pl.select(plain(pl.lit("  Łódź—Straße, 5 "))).item() == "lodz strasse 5"


BITS = st.integers(-10, 40).map(float)


@settings(max_examples=200, deadline=None)
@example({(0, 0): (6.0, False), (0, 1): (6.0, False), (1, 1): (6.0, False)})
@given(st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 5)), st.tuples(BITS, st.booleans()), max_size=20))
def test_no_row_is_chosen_twice_and_a_proposal_is_certain_and_ahead_of_its_rivals(pairs):
    rows = [(*pair, bits, doubtful) for pair, (bits, doubtful) in pairs.items()]
    schema = {"left": pl.UInt32, "right": pl.UInt32, "bits": pl.Float64, "is_doubtful": pl.Boolean}
    chosen = choose(pl.DataFrame(rows, schema=schema, orient="row"))
    assert chosen["left"].n_unique() == chosen["right"].n_unique() == chosen.height
    sure = chosen.filter(pl.col("status") == "proposed")
    taken = {(left, right): bits for left, right, bits in sure.select("left", "right", "bits").rows()}
    for left, right, bits, doubtful, status in chosen.rows():
        # a rival counts unless one of its rows has surely gone to a better pair
        better = [pair for pair, other in taken.items() if other > bits]
        rivals = [
            other for (a, b), (other, _) in pairs.items()
            if (a == left) != (b == right) and not any(a == c or b == d for c, d in better)
        ]  # fmt: skip
        if status == "proposed":
            assert bits >= LEAST and not doubtful and all(bits - other >= MARGIN for other in rivals)


@pytest.mark.parametrize("task", list(KINDS))
def test_of_two_thousand_rows_typed_twice_at_least_99_in_100_are_right_and_90_in_100_are_found(task):
    lists = labelled(task, 2_000, seed=77)
    proposed, right = judged(find(lists.source, lists.destination, EVIDENCE[task]), lists)
    assert right >= 0.99 * proposed and right >= 0.90 * lists.truth.height == 1080
