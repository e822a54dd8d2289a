"""A workbook has every row of a run, each text as a text and each amount to its last digit."""

import re
import zipfile
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import fastexcel
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_run import DIFFERING, HOSTILE, outcomes, written

from p2c_lib import workbook
from p2c_lib.errors import ParameterError
from p2c_lib.workbook import fitting, write_workbook

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
SIGNS = [
    *(
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        '=HYPERLINK("http://x","y")',
        "http://example.com",
        "mailto:a@b.c",
        "0012",
        "1e5",
    ),
    *("_x0041_", "TRUE", "#N/A", "\u202eevil\u202c", "\u200f\u0645\u0631\u062d\u0628\u0627", "\U0001f642 \u2728"),
    *("a\x01\x0b\x1fb", "\ufffe\uffff", "two\nlines\r\nx", " pad ", HOSTILE),
]


def sheets(path: Path) -> dict[str, pl.DataFrame]:
    book = fastexcel.read_excel(path)
    return {name: book.load_sheet(name, dtypes="string").to_polars() for name in book.sheet_names}


def parts(path: Path) -> dict[str, ElementTree.Element]:
    """The sheets of a workbook as they stand in the file, by name."""
    with zipfile.ZipFile(path) as packed:
        names = [s.get("name") for s in ElementTree.fromstring(packed.read("xl/workbook.xml")).iter(f"{MAIN}sheet")]
        return {
            name: ElementTree.fromstring(packed.read(f"xl/worksheets/sheet{number}.xml"))
            for number, name in enumerate(names, start=1)
        }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return written(tmp_path_factory.mktemp("workbook") / "run")


@pytest.fixture(scope="module")
def book(run):
    return write_workbook(run)


def test_every_row_that_is_not_matched_stands_on_the_sheet_of_its_task_and_outcome(book):
    found = sheets(book)
    rows = {name.removeprefix("accounts "): frame for name, frame in found.items() if name.startswith("accounts ")}
    assert {name: frame.height for name, frame in rows.items()} == {
        "mismatched": 3, "missing": 1, "excluded": 1, "blocked": 1}  # fmt: skip
    assert rows["mismatched"].select("key", "field", "expected").rows() == [
        ("A1", "CreditLimit", "403760.01"),
        ("A2", "CreditLimit", "1"),
        ("A2", "OrganizationName", HOSTILE),
    ]
    assert rows["blocked"]["key"].to_list() == [" A3"]


def test_the_front_says_what_the_report_says(book):
    found = sheets(book)
    assert dict(found["about"].rows())["verdict"] == "4 rows are not in step"
    assert found["outcomes"].row(0)[:4] == ("accounts", "12345", "12344", "12340")
    assert found["at stake"].rows() == [
        ("accounts", "EUR", "403760.01"), ("accounts", "USD", "1244031.7"), ("accounts", None, "5")]  # fmt: skip
    assert found["failed checks"]["check"].to_list() == [HOSTILE]
    assert found["reasons"].filter(pl.col("reason") == "stale").select("rows", "currency", "amount").rows() == [
        ("1", "EUR", "403760.01"), ("1", "USD", "1")]  # fmt: skip


def test_a_sheet_can_be_filtered_and_keeps_its_header_in_sight(book):
    for name, sheet in parts(book).items():
        pane = next(sheet.iter(f"{MAIN}pane"))
        assert (pane.get("ySplit"), pane.get("state")) == ("1", "frozen"), name
        assert name == "about" or next(sheet.iter(f"{MAIN}autoFilter")).get("ref").startswith("A1:"), name


def test_nothing_in_a_workbook_is_a_formula_or_a_link(tmp_path):
    rows = [{"key": f"K{n}", "field": "Name", "expected": sign, "found": sign} for n, sign in enumerate(SIGNS)]
    path = write_workbook(written(tmp_path / "run", outcomes(*rows)))
    sheet = parts(path)["accounts mismatched"]
    assert not list(sheet.iter(f"{MAIN}f")) and not list(sheet.iter(f"{MAIN}hyperlink"))
    assert not [name for name in zipfile.ZipFile(path).namelist() if "rels/sheet" in name]
    texts = [cell.get("t") for cell in sheet.iter(f"{MAIN}c") if re.match(r"[DE]\d", cell.get("r"))]
    assert texts == ["inlineStr"] * len(texts) and len(texts) == 2 * len(SIGNS) + 2
    shown = sheets(path)["accounts mismatched"]["found"].to_list()
    assert shown == [sign.replace("\ufffe\uffff", "\ufffd\ufffd") for sign in SIGNS]


@pytest.mark.parametrize(
    ("amount", "currency", "cell", "form"),
    [
        ("403760.01", "EUR", "403760.01", "#,##0.00"),
        ("-0.005", "EUR", "-0.005", "#,##0.000"),
        ("1500", "JPY", "1500", "#,##0"),
        ("1.5", "KWD", "1.5", "#,##0.000"),
        ("1.5", None, "1.5", "#,##0.00"),
        ("1.5", "=1+1", "1.5", "#,##0.00"),
        ("9999999999999.99", "EUR", "9999999999999.99", "#,##0.00"),
        ("99999999999999.99", "EUR", "99999999999999.99", "@"),  # 16 digits
        ("0.123456789012", "EUR", "0.123456789012", "#,##0.000000000000"),
        ("12345678901234567890123456.123456789012", "EUR", "12345678901234567890123456.123456789012", "@"),
    ],
)
def test_no_digit_of_an_amount_is_lost_and_its_currency_decides_its_form(tmp_path, amount, currency, cell, form):
    row = {"key": "A", "outcome": "missing", "amount": Decimal(amount), "currency": currency}
    path = write_workbook(written(tmp_path / "run", outcomes(row)))
    found = next(c for c in parts(path)["accounts missing"].iter(f"{MAIN}c") if c.get("r") == "C2")
    assert "".join(found.itertext()) == cell
    assert (found.get("t") == "inlineStr") == (form == "@")
    with zipfile.ZipFile(path) as packed:
        styles = ElementTree.fromstring(packed.read("xl/styles.xml"))
    custom = {f.get("numFmtId"): f.get("formatCode") for f in styles.iter(f"{MAIN}numFmt")}
    used = styles.find(f"{MAIN}cellXfs")[int(found.get("s"))].get("numFmtId")
    assert {"3": "#,##0", "4": "#,##0.00", "49": "@", **custom}[used] == form


def test_what_does_not_fit_into_a_sheet_goes_on_in_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "ROWS_A_SHEET", 4)
    keys = [f"K{n}" for n in range(10)]
    path = write_workbook(written(tmp_path / "run", outcomes(*[{"key": key, "field": "Name"} for key in keys])))
    found = {name: frame for name, frame in sheets(path).items() if "mismatched" in name}
    assert {name: frame.height for name, frame in found.items()} == {
        "accounts mismatched": 4, "accounts mismatched 2": 4, "accounts mismatched 3": 2}  # fmt: skip
    assert [key for frame in found.values() for key in frame["key"]] == keys


def test_sheets_of_tasks_with_long_names_are_told_apart():
    made, names = workbook._Sheets(_NoBook()), []
    for number in range(12):
        names.append(made._free(f"orders_of_a_very_long_name_{number} mismatched", "mismatched"))
        made._taken.add(names[-1].lower())
    assert names[:2] == ["orders_of_a_very_lon mismatched", "orders_of_a_very_l mismatched 2"]
    assert len(set(names)) == 12 and max(map(len, names)) == 31


class _NoBook:
    def add_format(self, how):
        return how


def test_a_text_longer_than_a_cell_says_how_long_it_is(tmp_path):
    long = ["x" * 32_767, "x" * 32_768, "🙂" * 16_383, "🙂" * 20_000, "y" * 10_000]
    rows = [{"key": f"K{n}", "field": "Name", "found": text} for n, text in enumerate(long)]
    path = write_workbook(written(tmp_path / "run", outcomes(*rows)))
    found = sheets(path)["accounts mismatched"]["found"].to_list()
    assert [found[0], found[2], found[4]] == [long[0], long[2], long[4]]
    assert found[1].endswith("x… (32,768 characters)") and found[3].endswith("🙂… (20,000 characters)")
    assert all(len(text.encode("utf-16-le")) <= 2 * workbook.LONGEST for text in found)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), min_size=1, max_size=30))
@settings(max_examples=5, deadline=None)
def test_a_workbook_gives_each_text_back(tmp_path_factory, texts):
    rows = [{"key": f"K{n}", "field": "Name", "found": text} for n, text in enumerate(texts)]
    path = write_workbook(written(tmp_path_factory.mktemp("texts") / "run", outcomes(*rows)))
    found = sheets(path)["accounts mismatched"].select(pl.col("found").fill_null(""))["found"].to_list()
    lines = [text.replace("\r\n", "\n").replace("\r", "\n") for text in fitting(pl.Series(texts))]
    assert [text.replace("\r\n", "\n").replace("\r", "\n") for text in found] == lines


def test_a_run_that_did_not_come_to_its_end_has_no_workbook(tmp_path):
    made = written(tmp_path / "run")
    (made / "reasons.parquet").unlink()
    with pytest.raises(ParameterError, match="did not come to its end"):
        write_workbook(made)
    assert not list(made.glob("workbook*"))


def test_the_table_that_is_exported_is_the_whole_table(run, book):
    listed = sum(frame.height for name, frame in sheets(book).items() if name.startswith("accounts "))
    assert listed == DIFFERING.height == pl.read_parquet(run / "outcomes.parquet").height
