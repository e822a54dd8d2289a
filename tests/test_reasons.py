"""Reasons of a whole run over HTTP: every row that differs has one, and what a template is known to do is no error."""

from __future__ import annotations

import json

import polars as pl
import pytest
from pair import DOCUMENTS, MASTERS, Pair

from p2c_lib.explain import REASON_COLUMNS
from p2c_lib.places import task_folder
from p2c_lib.quirks import QUIRK_COLUMNS
from p2c_lib.sandbox import lifecycle

KEY = "SalesQuotationNumber"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    made = Pair(tmp_path_factory.mktemp("reasons"), seed=5, drift=True, counts={"orders": 120})
    yield made
    lifecycle.stop(made.folder)


@pytest.fixture(scope="module")
def run(pair):
    return pair.run("first", tasks=[*MASTERS, *DOCUMENTS])


def facts(run, task: str) -> dict:
    return next(each for each in json.loads((run / "run.json").read_text("utf-8"))["tasks"] if each["task"] == task)


def test_every_row_that_differs_has_one_reason_with_a_remedy(run):
    main = pl.read_parquet(run / "reasons.parquet")
    assert main.schema == REASON_COLUMNS
    assert main.select("code", "severity", "reason", "remedy").null_count().row(0) == (0, 0, 0, 0)
    counts = dict(main.group_by("task").agg(pl.len()).iter_rows())
    for task in (*MASTERS, *DOCUMENTS):
        told = facts(run, task)
        differing = sum(told[outcome] for outcome in ("mismatched", "missing", "extra", "blocked"))
        assert counts[task] == differing, task


def test_status_drift_is_told_as_behind_or_ahead(run):
    status = pl.read_parquet(run / "outcomes.parquet").filter(field="msdynce_processingstatus", outcome="different")
    assert status.height
    assert set(status["code"]) <= {"status_behind", "status_ahead", "status_apart"}


def test_a_destination_that_has_what_one_would_expect_is_no_difference(pair, run):
    place = task_folder(run, "quote_headers")
    matched = pl.read_parquet(place / "rows.parquet").filter(outcome="matched")
    quotes = pl.read_parquet(place / "source.parquet")[matched["source_row"]].with_columns(key=matched["key"])
    one = quotes.filter(pl.col("shipto_postalcode") != pl.col("billto_postalcode")).row(0, named=True)
    code = {"DeliveryAddressZipCode": one["shipto_postalcode"]}
    pair.change("fno", "CDSSalesQuotationHeaders", {KEY: one["key"]}, code)
    again = pair.run("second", tasks=["quote_headers"])
    before, after = facts(run, "quote_headers"), facts(again, "quote_headers")
    assert (after["mismatched"], after["quirks"]) == (before["mismatched"] + 1, 1)
    earlier = pl.read_parquet(run / "reasons.parquet").filter(task="quote_headers")
    assert json.loads((again / "run.json").read_text("utf-8"))["differing_rows"] == earlier.height
    main = pl.read_parquet(again / "reasons.parquet").filter(key=one["key"])
    assert main.select("code", "severity", "fields").rows() == [("quirk", "note", "DeliveryAddressZipCode")]
    quirks = pl.read_parquet(again / "quirks.parquet")
    assert quirks.schema == QUIRK_COLUMNS
    assert quirks.filter(quirk="bill_to_in_delivery")["differing"].to_list() == [1]


def test_a_document_with_a_bad_key_ties_out_with_nothing(run):
    ties = pl.read_parquet(run / "ties.parquet")
    assert not ties.select("task", "document").is_duplicated().any()
    bad = pl.read_parquet(run / "reasons.parquet").filter(pl.col("code").str.ends_with("_key"), task="quote_headers")
    assert bad.height
    assert not set(bad["key"]) & set(ties.filter(task="quote_lines")["document"])
