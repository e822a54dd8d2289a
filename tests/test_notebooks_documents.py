"""What notebooks show of documents: the same on its own and in the overview, and nothing but what was compared."""

import re
from decimal import Decimal

import lxml.html
import polars as pl
import pytest
from pair import DOCUMENTS, Pair

from p2c_lib import folder as folders
from p2c_lib import notebook, overview, panels
from p2c_lib.errors import ParameterError
from p2c_lib.model import find_task, load_templates
from p2c_lib.places import task_folder
from p2c_lib.sandbox import lifecycle
from p2c_lib.tieout import ACROSS_COLUMNS

COUNTS = {"accounts": 120, "contacts": 200, "products": 80, "orders": 240}
TEMPLATES = load_templates()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    held = Pair(tmp_path_factory.mktemp("pair"), counts=COUNTS, drift=True)
    try:
        yield held
    finally:
        lifecycle.stop(held.folder)


@pytest.fixture(scope="module")
def run(pair):
    """A run of all document tasks."""
    return pair.run("run", tasks=DOCUMENTS)


@pytest.fixture
def begin(pair, monkeypatch):
    """Begins a notebook for the running pair; in its own folder unless it is given one."""
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(pair.folder))
    for name in ("P2C_SALES__URL", "P2C_FNO__URL", "P2C_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return notebook.start


@pytest.fixture
def whole(run):
    return overview.Overview(run, TEMPLATES)


def tables(html: str) -> list[list[dict[str, str]]]:
    """The tables of a page, each a list of rows by their heads."""
    found = []
    for tree in lxml.html.fromstring(f"<div>{html}</div>").iter("table"):
        head, *body = ([cell.text_content() for cell in row.iter("th", "td")] for row in tree.iter("tr"))
        found.append([dict(zip(head, row, strict=True)) for row in body])
    return found


def test_a_notebook_of_its_own_shows_what_the_overview_of_a_run_shows(begin, whole):
    alone = begin(task="order_headers_to_sales")
    assert tables(alone.funnel().data) == tables(whole.funnel().data)
    (mine,) = tables(alone.lifecycle().data)
    _, theirs, _ = tables(whole.lifecycle().data)
    common = ("standing", "in Sales", "in F&O", "documents")
    assert [[row[name] for name in common] for row in mine] == [[row[name] for name in common] for row in theirs]
    verdicts, _ = tables(alone.documents().data)
    assert verdicts == [row for row in tables(whole.documents().data)[0] if row["task"] == "order_lines_to_sales"]
    assert alone.drill().data == whole.drill("order_lines_to_sales").data
    alone.finish()


def test_the_funnel_counts_the_documents_that_were_read(run, whole):
    rows = {row["stage"]: row for row in tables(whole.funnel().data)[0]}
    quotes = pl.read_parquet(task_folder(run, "quote_headers") / "source.parquet")
    assert rows["quotes made"]["Sales documents"] == str(quotes.height)
    assert rows["quotes won"]["Sales documents"] == str((quotes["statecode"] == 2).sum())
    orders = pl.read_parquet(task_folder(run, "order_headers_to_sales") / "source.parquet")
    ours = orders.filter(pl.col("OrderingCustomerIsExternallyMaintained") == "Yes",
                         pl.col("InvoiceCustomerIsExternallyMaintained") == "Yes")  # fmt: skip
    assert 0 < ours.height < orders.height
    assert rows["orders made"]["F&O documents"] == str(ours.height)
    euros = quotes.filter(pl.col("transactioncurrencyid.isocurrencycode") == "EUR")["totalamount"].sum()
    assert f"{euros:,.2f} EUR" in rows["quotes made"]["amount in Sales"].split("\n")


def test_amounts_by_reason_add_up_to_what_is_at_stake(run, whole):
    shown = [text for row in tables(whole.amounts().data)[0] for text in row["amount"].split("\n")]
    by_reason: dict[str, Decimal] = {}
    for text in shown:
        amount, code = text.split(" ", 1)
        by_reason[code] = by_reason.get(code, Decimal(0)) + Decimal(amount.replace(",", ""))
    stakes: dict[str, Decimal] = {}
    for task in folders.read_run(run)["tasks"]:
        for code, amount in task["amount_at_stake"].items():
            stakes[code] = stakes.get(code, Decimal(0)) + Decimal(amount)
    assert by_reason == stakes and len(stakes) > 1


@pytest.mark.parametrize("lines", ["quote_lines", "order_lines_to_fno", "order_lines_to_sales", "invoice_lines"])
def test_a_document_shows_each_of_its_rows_and_each_field_that_differs_once(run, whole, lines):
    task = find_task(lines, TEMPLATES)
    header = task.tie_out.header
    html = whole.drill(lines).data
    tree = lxml.html.fromstring(f"<div>{html}</div>")
    number = tree.find(".//h3").text_content().split(",")[0]
    rows = [part for part in tree.iter("details") if part.getparent().tag != "details"]
    keys = [part.find("summary").text_content().split(":")[0] for part in rows]
    assert keys[0] == number and all(key.split("|")[0].strip() == number for key in keys[1:])
    expected = []
    for name in (header, lines):
        outcomes = pl.read_parquet(task_folder(run, name) / "outcomes.parquet")
        expected += outcomes.filter(pl.col("field").is_not_null() & pl.col("key").is_in(keys)).select(
            "field", "outcome", "expected", "found", "reason", "remedy"
        ).rows()  # fmt: skip
    told = [
        tuple(
            row[name] if row[name] != "empty" else None
            for name in ("field", "outcome", "expected", "found", "reason", "remedy")
        )
        for part in tables(html)
        for row in part
        if row.get("outcome") not in (None, "agrees", "not compared")
    ]
    assert sorted(told, key=str) == sorted(expected, key=str) and told
    sides = next(part for part in tables(html) if "sum of lines" in part[0])
    assert [row["side"].split(", ")[1] for row in sides] == ["expected", "found"]


def test_in_a_larger_run_a_notebook_shows_its_own_rows_and_points_to_the_overview(begin, run):
    lines = begin(task="order_lines_to_sales", out=str(run))
    pointer = "whose overview shows it over all tasks"
    assert all(pointer in shown.data for shown in (lines.funnel(), lines.lifecycle(), lines.documents()))
    html = lines.drill().data
    assert "(order_lines_to_sales)" in html and "(order_headers_to_sales)" not in html
    headers = begin(task="order_headers_to_sales", out=str(run))
    assert tables(headers.funnel().data)[0][0]["stage"] == "orders made"


@pytest.mark.parametrize("call", ["documents", "drill"])
def test_a_task_without_documents_says_so(begin, call):
    session = begin(task="accounts")
    assert getattr(session, call)().data == "The rows of this task are no documents."


@pytest.mark.parametrize(
    ("document", "words"),
    [("NONE-00000", "no document 'NONE-00000' among the"), (7, "document=7 is int; it must be str")],
    ids=["unknown", "no text"],
)
def test_a_document_that_cannot_be_looked_into_is_refused(begin, run, whole, document, words):
    with pytest.raises(ParameterError, match=re.escape(words)):
        begin(task="order_lines_to_sales", out=str(run)).drill(document)
    with pytest.raises(ParameterError, match=re.escape(words)):
        whole.drill("order_lines_to_sales", document)


@pytest.mark.parametrize(
    ("task", "document", "words"),
    [
        ("", "QUO-1", "document='QUO-1' is of which task? one of quote_headers, order_headers_to_fno"),
        ("accounts", "", "task='accounts' has no documents in this run"),
        ("order_lines", "", "task='order_lines' has no documents in this run"),
    ],
)
def test_the_overview_says_what_it_needs_to_find_a_document(whole, task, document, words):
    with pytest.raises(ParameterError, match=re.escape(words)):
        whole.drill(task, document)


def test_the_overview_of_a_run_without_documents_shows_none(tmp_path, pair):
    empty = overview.Overview(pair.run("masters", tasks=["products"]), TEMPLATES)
    assert "No quote, order or invoice was read." in empty.funnel().data
    assert "No document was compared" in empty.drill().data
    assert "No document was compared" in empty.documents().data
    assert "neither behind nor ahead" in empty.lifecycle().data


def test_documents_that_all_tie_out_are_counted_and_none_is_listed():
    tied = pl.DataFrame([["t", "A", 1, 1, Decimal(5), Decimal(5), Decimal(0), Decimal(0), "EUR", Decimal(0), None]],
                        schema=ACROSS_COLUMNS, orient="row")  # fmt: skip
    ((row,),) = tables(panels.ties(tied, 5))
    assert (row["documents"], row["tied"], row["verdict"]) == ("1", "1", "ties out")
