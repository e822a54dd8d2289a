"""The report says in people's words what the run's files hold, needs nothing but itself, and trusts no text in them."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import lxml.html
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_run import DIFFERING, HOSTILE, PROFILE, outcomes, written

from p2c_lib import folder as folders
from p2c_lib import report
from p2c_lib.chains import CHAIN_COLUMNS
from p2c_lib.errors import ParameterError
from p2c_lib.explain import REASON_COLUMNS, money_text
from p2c_lib.markup import html_table
from p2c_lib.places import task_folder
from p2c_lib.quality import compared
from p2c_lib.quirks import QUIRK_COLUMNS
from p2c_lib.sums import SUM_COLUMNS
from p2c_lib.tieout import ACROSS_COLUMNS


@pytest.fixture
def run(tmp_path):
    """A finished run of one task with differences, written by hand."""
    return written(tmp_path / "run")


def page(folder: Path) -> lxml.html.HtmlElement:
    return lxml.html.fromstring(report.write_report(folder).read_text("utf-8"))


def cells(tree: lxml.html.HtmlElement) -> list[list[str]]:
    return [[cell.text_content() for cell in row.iter("td", "th")] for row in tree.iter("tr")]


def test_money_has_separators_the_digits_of_its_currency_and_every_digit_of_its_own(run):
    words = [cell for row in cells(page(run)) for cell in row]
    assert "403,760.01 EUR1,244,031.70 USD5.00 (no currency)" in words  # at stake, one below the other
    assert {"403,760.01 EUR\n1.00 USD", "0.005 USD", "5.00 (no currency)", "7 JPY"} <= set(words)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("403760.01", "EUR", "403,760.01 EUR"),
        ("1244031.7", "USD", "1,244,031.70 USD"),
        ("0", "USD", "0.00 USD"),
        ("-1234.5", "GBP", "-1,234.50 GBP"),
        ("1500", "JPY", "1,500 JPY"),
        ("1500.5", "JPY", "1,500.5 JPY"),
        ("1", "KWD", "1.000 KWD"),
        ("0.005", "EUR", "0.005 EUR"),
        ("12345678901234567890123456.123456789012", "EUR", "12,345,678,901,234,567,890,123,456.123456789012 EUR"),
        ("2", None, "2.00 (no currency)"),
        (None, "EUR", ""),
    ],
)
def test_an_amount_is_written_as_people_write_it(amount, currency, text):
    assert money_text(amount if amount is None else Decimal(amount), currency) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**25), max_value=10**25))
def test_no_digit_of_an_amount_is_lost(amount):
    assert Decimal(money_text(amount, "EUR").removesuffix(" EUR").replace(",", "")) == amount


def test_counts_have_separators_and_add_up(run):
    head, row = (cells(page(run).get_element_by_id("outcomes"))[number] for number in (0, 1))
    shown = dict(zip(head, row, strict=True))
    assert (shown["source rows"], shown["matched"], shown["seconds"]) == ("12,345", "12,340", "1.2")
    assert page(run).findtext(".//h1") == "4 rows are not in step"


def test_reasons_count_each_row_once_by_frequency_with_each_currency_apart():
    table = pl.concat(
        [outcomes({"task": "zebra", "key": "Z1", "outcome": "missing", "amount": Decimal("0")}), DIFFERING]
    )
    found = report.reasons(table).select("task", "severity", "outcome", "count", "amount").rows()
    assert found[:2] == [
        ("zebra", "error", "missing", 1, ""),
        ("accounts", "error", "mismatched", 2, "403,760.01 EUR\n1.00 USD"),  # A2 differs in two fields
    ]
    assert found[-1][:3] == ("accounts", "note", "excluded")
    assert sum(count for *_, count, _ in found) == table["key"].n_unique()


def test_a_reason_is_told_once_over_all_tasks():
    both = pl.concat([DIFFERING, DIFFERING.with_columns(task=pl.lit("contacts"))])
    told = report.over_tasks(report.reasons(both))
    assert told.filter(reason="stale").select("where", "rows").rows() == [("accounts\u00a02, contacts\u00a02", 4)]


def test_errors_stand_before_warnings_and_these_before_notes():
    table = outcomes(*[{"key": f"K{n}", "field": "F", "code": code, "reason": code}
                       for n, code in enumerate(["rounding", "quirk", "different"])])  # fmt: skip
    assert report.reasons(table)["severity"].to_list() == ["error", "warning", "note"]


def chain(cause: str, way: str, rows: int, amount: str, currency: str | None) -> dict:
    said = {"cause": cause, "chain": way, "task": way.rpartition(" > ")[2], "rows": rows, "currency": currency}
    return dict.fromkeys(CHAIN_COLUMNS) | said | {"amount": Decimal(amount)}


def test_what_holds_rows_up_is_told_once_with_what_waits_for_it():
    held = [chain("S1 never arrived", "headers > lines", 2, "10.5", "EUR"),
            chain("S1 never arrived", "headers > lines", 1, "3", "USD"),
            chain("A1 never arrived", "accounts > headers > lines", 3, "0", None),
            chain("A1 never arrived", "accounts > headers", 1, "7", "JPY")]  # fmt: skip
    assert report.causes(pl.DataFrame(held, schema=CHAIN_COLUMNS)).rows() == [
        ("A1 never arrived", 4, "headers > lines: 3\nheaders: 1, 7 JPY"),
        ("S1 never arrived", 3, "lines: 3, 10.50 EUR, 3.00 USD"),
    ]


def test_documents_show_their_amounts_and_nothing_where_nothing_is_off():
    tie = dict.fromkeys(ACROSS_COLUMNS) | {"task": "lines", "document": "S1", "currency": "EUR", "lines_expected": 2}
    tie |= {"total_expected": Decimal(10), "difference_expected": Decimal(0), "at_stake": Decimal(10)}
    shown = report.document_table(pl.DataFrame([tie], schema=ACROSS_COLUMNS)).row(0, named=True)
    assert (shown["what_is_wrong"], shown["lines"]) == ("not at the destination", "2 / –")
    assert (shown["at_stake"], shown["source_total"], shown["found_total"]) == ("10.00 EUR", "10.00 EUR", "")
    assert (shown["off_at_source"], shown["off_at_destination"]) == ("", "")


def test_quirks_stand_apart_and_are_no_difference(run):
    summary = task_folder(run, "accounts") / "summary.json"
    folders.write_json(summary, json.loads(summary.read_text("utf-8")) | {"quirks": 2})
    odd = {"task": "accounts", "quirk": "q", "says": HOSTILE, "fields": "Country", "rows": 7, "differing": 2}
    frame = pl.DataFrame([odd, odd | {"quirk": "other", "says": "touches nothing", "rows": 0}], schema=QUIRK_COLUMNS)
    frame.write_parquet(task_folder(run, "accounts") / "quirks.parquet")
    facts = folders.finish(run, ["accounts"])
    tree = page(run)
    assert facts["differing_rows"] == 2  # 2 mismatched, 1 missing, 1 blocked; 2 of them by a quirk
    assert tree.findtext(".//h1") == "2 rows are not in step"
    assert ["accounts", "Country", HOSTILE, "7", "2"] in cells(tree)
    assert "touches nothing" not in tree.text_content()
    assert "2 (2 by quirk)" in [cell for row in cells(tree) for cell in row]


def test_the_report_says_what_holds_rows_up_and_which_documents_do_not_tie_out(run):
    held = [chain(HOSTILE, "headers > lines", 2, "10.5", "EUR")]
    pl.DataFrame(held, schema=CHAIN_COLUMNS).write_parquet(run / "blocked.parquet")
    tie = dict.fromkeys(ACROSS_COLUMNS) | {"task": "lines", "document": HOSTILE, "currency": "EUR"}
    tie |= {"total_expected": Decimal(10), "total_found": Decimal(9), "at_stake": Decimal(1)}
    pl.DataFrame([tie], schema=ACROSS_COLUMNS).write_parquet(run / "ties.parquet")
    tree = page(run)
    assert [HOSTILE, "2", "lines: 2, 10.50 EUR"] in cells(tree)
    assert ["lines", "EUR", "1", "0", "0", "0", "1", "0", "0", "1.00 EUR", "does not tie out"] in cells(tree)
    assert ["lines", HOSTILE, "the totals differ", "1.00 EUR", "10.00 EUR", "9.00 EUR", "– / –", "", ""] in cells(tree)
    assert list(tree.iter("script", "img", "iframe")) == []


def test_an_outcome_of_a_run_has_its_one_reason_in_a_file(run):
    main = pl.read_parquet(run / "reasons.parquet")
    assert main.schema == REASON_COLUMNS
    assert main["key"].to_list() == ["A1", "A2", " A3", "A4"]  # the excluded row does not differ


def test_no_text_of_the_data_becomes_markup(run):
    tree = page(run)
    assert list(tree.iter("script", "img", "iframe", "object", "embed", "base")) == []
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
    assert (
        sum(HOSTILE in cell for row in cells(tree) for cell in row) == 6
    )  # a field, a reason, a value, a check, its key, a parameter


def test_nothing_is_fetched_and_every_link_leads_to_a_file(run):
    (run / "notebooks").mkdir()
    (run / "notebooks" / "accounts.ipynb").touch()
    (run / "docs").mkdir()
    (run / "docs" / "index.html").touch()
    text = report.write_report(run).read_text("utf-8")
    tree = lxml.html.fromstring(text)
    links = [link for _, attribute, link, _ in tree.iterlinks() if attribute != "xmlns"]
    assert set(links) == {"notebooks/accounts.ipynb", "docs/index.html"}
    assert all((run / link).exists() for link in links)
    assert not re.findall(r"url\((?!#)[^)]*\)|@import", text)


def test_a_link_is_only_there_when_its_file_is(run):
    assert list(page(run).iterlinks()) == []


def test_blanks_around_a_text_are_seen_and_long_texts_say_how_long_they_are(run):
    words = {cell for row in cells(page(run)) for cell in row}
    assert "␣A3" in words
    assert f"{'x' * 200}… (900 characters)" in words
    assert f"' A3', {HOSTILE}" in words  # keys of a failed expectation


def test_null_and_the_empty_text_look_different():
    shown = cells(lxml.html.fromstring(html_table(pl.DataFrame({"found": [None, "", " "], "n": [1, 2, None]}))))
    assert shown[1:] == [["empty", "1"], ["", "2"], ["␣", ""]]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=190))
def test_a_table_shows_each_text_as_it_is(text):
    shown = lxml.html.fromstring(html_table(pl.DataFrame({"found": [text]}))).findall(".//td")[0].text_content()
    inner = text.strip()
    assert shown.replace("␣", "") == inner.replace("␣", "")


def test_a_failed_task_has_a_line_of_its_own_and_the_others_keep_theirs(run):
    folders.save_failure(run, "products", ParameterError(f"no such thing: {HOSTILE}"))
    folders.finish(run, ["accounts", "products"])
    rows = cells(page(run).get_element_by_id("outcomes"))
    assert rows[2] == ["products", f"a parameter is wrong (ParameterError): no such thing: {HOSTILE}"]
    assert rows[1][:2] == ["accounts", "12,345"]
    assert page(run).findtext(".//h1").startswith("Failed: products did not come to an end; of the others 4 rows")


def test_a_run_whose_only_task_failed_has_a_report(tmp_path):
    made = folders.create(tmp_path / "run", PROFILE, {})
    folders.save_failure(made, "accounts", ParameterError("no"))
    folders.finish(made, ["accounts"])
    assert page(made).findtext(".//h1") == "Failed: accounts did not come to an end"


@pytest.mark.parametrize(
    ("differing", "threshold", "words"),
    [
        (0, 0, "In step: 10 source rows, no difference"),
        (3, 0, "3 rows are not in step"),
        (3, 3, "3 rows are not in step (within the threshold)"),
        (4, 3, "4 rows are not in step"),
    ],
)
def test_the_verdict_knows_the_threshold(differing, threshold, words):
    assert report.verdict({"tasks": [{"source_rows": 10, "missing": differing}], "threshold": threshold}) == words


def test_many_unmapped_values_are_counted_not_all_listed(run):
    row = {"task": "accounts", "field": "Country", "rows": 1, "amount": Decimal("0"), "currency": "USD"}
    many = [row | {"value": f"land {number}"} for number in range(1234)]
    pl.DataFrame(many, schema=folders.UNMAPPED_COLUMNS).write_parquet(run / "unmapped.parquet")
    text = page(run).text_content()
    assert "1,184 more are in unmapped.parquet" in text and "land 49" in text and "land 50" not in text


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="holds no run"):
        report.write_report(tmp_path)


@pytest.mark.parametrize("name", ["checks.json", "reasons.parquet", "quirks.parquet"])
def test_a_run_that_lacks_a_file_is_refused(run, name):
    (run / name).unlink()
    with pytest.raises(ParameterError, match="did not come to its end; run again"):
        report.write_report(run)


def test_the_notebook_module_is_quick_to_import_and_leaves_no_trap_behind():
    code = (
        "import sys, time; began = time.process_time(); import p2c_lib.notebook; spent = time.process_time() - began;"
        "import json; heavy = {'altair', 'great_expectations', 'pandas', 'papermill', 'vl_convert'} & set(sys.modules);"
        "print(json.dumps([spent, sorted(heavy), 'rfc3987_syntax' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    spent, heavy, trap = json.loads(done.stdout)
    assert (heavy, trap) == ([], False)
    assert spent < 2.5  # 0.6 s on a quiet machine; with the grammar of addresses or Altair it is over 2.5 s


def test_a_controller_finds_sums_how_it_was_done_and_a_place_to_sign(run):
    summary = task_folder(run, "accounts") / "summary.json"
    how = {"title": HOSTILE, "key": ["Account = number"], "filter": [f"name = {HOSTILE}"], "scope": [], "fields": 3}
    how |= {"computed": [], "tolerances": {"Limit": "0.01"}, "normalised": {"trim": ["Name"]}, "value_maps": ["land"]}
    inputs = dict.fromkeys(("source", "destination", "rules"), "ab" * 32)
    more = {"how": how, "inputs": inputs, "source": "sales accounts", "destination": "fno Customers"}
    folders.write_json(summary, json.loads(summary.read_text("utf-8")) | more)
    counted = [
        ("source", "read", 2),
        ("source", "matched", 2),
        ("destination", "read", 2),
        ("destination", "matched", 1),
    ]
    added = [("accounts", side, outcome, "EUR", rows, Decimal("3")) for side, outcome, rows in counted]
    made = pl.DataFrame(added, SUM_COLUMNS, orient="row")
    made.write_parquet(task_folder(run, "accounts") / "sums.parquet")
    folders.finish(run, ["accounts"])
    tree = page(run)
    told = cells(tree.get_element_by_id("sums"))
    assert ["accounts", "source", "2", "2", "0", "0", "0", "0", "", "", "✓\u00a0ties"] in told
    assert ["accounts", "destination", "2", "1", "0", "", "", "0", "0", "0", "✗\u00a0does\u00a0not\u00a0tie"] in told
    assert "✗ not all" in tree.find(".//header").text_content()
    said = tree.get_element_by_id("how").text_content()
    for words in (
        "sales accounts → fno Customers",
        "Account = number",
        HOSTILE,
        "tolerance 0.01: Limit",
        "blanks around",
    ):
        assert words in said
    signed = tree.get_element_by_id("sign").text_content()
    assert "4 rows are not in step" in signed and report.Figures.of(run).fingerprint in signed
    assert [row[0] for row in cells(tree.get_element_by_id("sign"))] == [
        "", "Prepared by", "Reviewed by", "Approved by", "Remarks"]  # fmt: skip
    assert "ab" * 32 in tree.get_element_by_id("made").text_content()


def test_the_report_says_how_good_the_data_are_and_what_changed(run):
    quality = pl.read_parquet(run / "quality.parquet")
    before = quality.with_columns(score=pl.when(pl.col("score").is_not_null()).then(90.0))
    compared(quality, before).write_parquet(run / "quality.parquet")
    told = cells(page(run).get_element_by_id("quality"))
    assert told[1] == ["accounts", "source", "–", "–", "0.0", "–", "–", "0.0", "-90.0", "1", "1"]


def test_a_task_is_held_beside_the_last_run_that_compared_it(run):
    facts = json.loads((run / "run.json").read_text("utf-8"))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    runs = [("a", 7001, '{"EUR": "2.5"}', None), ("b", None, "{}", "failed")]
    runs.append((facts["run_id"], 4, '{"EUR": "1"}', None))
    schema = ["run", "differing", "at_stake", "error", "task", "source_rows", "started"]
    rows = [(*told, "accounts", 9, at + timedelta(days=day)) for day, told in enumerate(runs)]
    pl.DataFrame(rows, schema, orient="row").write_parquet(run / "trend.parquet")
    tree = page(run).get_element_by_id("trend")
    assert cells(tree)[1] == ["accounts", "2026-01-01 00:00", "7,001", "4", "-6,997", "2.50 EUR", "1.00 EUR"]
    drawn = [text.text for text in tree.iter("text") if text.text in ("7,001", "4")]
    assert drawn == ["7,001", "4"]  # the failed run says nothing
