"""What values that no map knows could mean."""

from __future__ import annotations

import json
from decimal import Decimal

import polars as pl
import pytest

from p2c_lib import workshop
from p2c_lib.model import load_templates

TEMPLATES = load_templates()


def listed(*pairs: tuple[str, str]) -> pl.DataFrame:
    rows = [("accounts", "AddressCountryRegionISOCode", name, value, 1, None, "EUR") for name, value in pairs]
    return pl.DataFrame(rows, schema=workshop.VALUES, orient="row")


@pytest.mark.parametrize(
    ("value", "target", "score"),
    [
        pytest.param("schweiz", "CH", 100, id="a name in German"),
        pytest.param("suisse", "CH", 100, id="a name in French"),
        pytest.param("osterreich", "AT", 100, id="without its accent"),
        pytest.param("u.s.a.", "US", 100, id="the map's own entry, with full stops"),
        pytest.param("che", "CH", 100, id="a code of three letters"),
        pytest.param("netherland", "NL", 95, id="a letter is missing"),
        pytest.param("untied states", "US", 92, id="letters are swapped"),
    ],
)
def test_the_best_candidate_of_a_country_is_what_a_person_would_take(value, target, score):
    best = workshop.candidates(listed(("country_to_iso", value)), TEMPLATES).row(0, named=True)
    assert (best["target"], best["score"] >= score) == (target, True), best


def test_short_codes_and_strange_words_are_never_nearly_right():
    found = workshop.candidates(listed(("country_to_iso", "xq"), ("country_to_iso", "qqqwwwzzz")), TEMPLATES)
    assert found.rows() == []


def test_a_currency_is_known_by_code_name_and_sign():
    pairs = [("currency_code", "jpy"), ("currency_code", "schweizer franken"), ("currency_code", "€")]
    best = workshop.candidates(listed(*pairs), TEMPLATES).group_by("value").agg(pl.first("target", "score"))
    assert dict(best.select("value", "target").rows()) == {"jpy": "JPY", "schweizer franken": "CHF"}


def test_what_stands_at_the_destination_counts_by_how_often_it_stands_there(tmp_path):
    place = tmp_path / "tasks" / "accounts"
    place.mkdir(parents=True)
    field = "AddressCountryRegionISOCode"
    found = ["MK", "MK", "MK", "GR"]
    cells = {"source_row": [0, 1, 2, 3], "field": [field] * 4, "outcome": ["unmapped"] * 4, "found": found}
    pl.DataFrame(cells, schema_overrides={"source_row": pl.UInt32}).write_parquet(place / "cells.parquet")
    pl.DataFrame({"address1_country": ["Fyrom", "fyrom ", "FYROM", "Fyrom"]}).write_parquet(place / "source.parquet")
    best = workshop.candidates(listed(("country_to_iso", "fyrom")), TEMPLATES, tmp_path)
    assert best.select("target", "score").rows() == [("MK", 60), ("GR", 20)]
    assert best["why"][0] == "stands at the destination in 3 of 4 such rows"


def test_values_are_listed_once_for_their_spellings_with_rows_and_money(tmp_path):
    head = {"run_id": "r", "started": "", "profile": "", "company": "", "threshold": 0, "tasks": []}
    (tmp_path / "run.json").write_text(json.dumps(head))
    field = "AddressCountryRegionISOCode"
    lines = [
        ("accounts", field, "Norge", 3, Decimal("10.50"), "NOK"),
        ("accounts", field, " norge", 1, Decimal("2"), "NOK"),
        ("accounts", field, "Norge", 1, None, None),
    ]
    schema = {"task": pl.String, "field": pl.String, "value": pl.String, "rows": pl.UInt32,
              "amount": pl.Decimal(38, 12), "currency": pl.String}  # fmt: skip
    pl.DataFrame(lines, schema=schema, orient="row").write_parquet(tmp_path / "unmapped.parquet")
    shown = workshop.unmapped_values(tmp_path, TEMPLATES)
    assert shown.select("value", "rows", "amount", "currency").rows() == [
        ("norge", 4, Decimal("12.50"), "NOK"),
        ("norge", 1, Decimal("0"), None),
    ]
