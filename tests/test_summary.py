"""The summary of a run says what the report says, and nothing in the data becomes markup of a chat or a page."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html
from markdown_it import MarkdownIt
from written_run import HOSTILE, outcomes, written

from p2c_lib import folder as folders
from p2c_lib import report
from p2c_lib.errors import ParameterError
from p2c_lib.report.summary import inline

RENDER = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render  # HTML is let through, as on GitHub
ATTACKS = ["| a | b |", "a|b", "[x](http://evil.example)", "![x](http://evil.example/p.png)", "http://evil.example",
           "www.evil.example", "@everyone", "a@evil.example", "<script>alert(1)</script>", "<!channel>", "`code`",
           "``` \n# head", "**bold**", "__bold__", "~~gone~~", "<http://evil.example>", "&lt;b&gt;", "\\| \\", "#123",
           "[^1]", "$x$", "line\nbreak\r\n\r\n# head", "\u202egnp.exe", "\x00\x07", "🙂 emoji", "x" * 10_000,
           HOSTILE]  # fmt: skip


def text_of(markdown: str) -> str:
    """What people see of one cell, rendered."""
    page = html.fromstring(RENDER(f"| a | b |\n| --- | --- |\n| {markdown} | end |\n"))
    cells = page.findall(".//td")
    assert [cell.text_content() for cell in cells[1:]] == ["end"], markdown
    assert not list(cells[0].iterchildren()), markdown
    return cells[0].text_content()


@pytest.mark.parametrize("text", ATTACKS, ids=[text[:12].strip() for text in ATTACKS])
def test_a_hostile_text_is_one_cell_of_plain_text(text):
    told = inline(text)
    shown = text_of(told)
    assert "\n" not in told and len(told) < 1_500
    # what GitHub and chats make links and mentions of, they look for in what is shown
    assert not re.search(r"@\w|://|www\.|#\w|[\u202a-\u202e\u2066-\u2069]", shown)
    shown = shown.replace("\u2060", "")
    kept = re.sub(r"[\s\x00-\x1f\u202e]", "", text[:150])
    assert re.sub(r"\s|\[U\+\w+\]", "", shown).startswith(kept)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_is_one_cell_of_plain_text(text):
    text_of("x" + inline(text) + "x")


@pytest.fixture
def run(tmp_path):
    return written(tmp_path / "run")


def tables(folder):
    page = html.fromstring(RENDER(report.markdown(report.Figures.of(folder))))
    rows = [list(table.iter("tr")) for table in page.iter("table")]
    return page, [[[cell.text_content() for cell in row.iter("td", "th")] for row in table] for table in rows]


def test_the_summary_says_the_verdict_the_counts_the_money_and_why(run):
    page, (counts, reasons, quality) = tables(run)
    assert page.findtext(".//h2") == "⚠️ 4 rows are not in step"
    assert counts[1] == ["accounts", "12,345", "12,344", "12,340", "2", "1", "0", "1", "1",
                         "403,760.01 EUR, 1,244,031.70 USD, 5.00 (no currency)"]  # fmt: skip
    assert [row[:3] for row in reasons[1:]] == [
        ["2", "error", "stale"],
        ["1", "error", "padded"],
        ["1", "error", "never"],
    ]
    assert quality[1] == ["accounts", "source", "–", "–", "0.0", "–", "–", "0.0", ""]
    assert page.xpath("//a | //img | //script") == []
    assert str(run / "report.html") in page.text_content()


def test_the_summary_lies_beside_the_report(run):
    report.write_report(run)
    assert (run / "summary.md").read_text("utf-8") == report.markdown(report.Figures.of(run))


def test_a_failed_task_says_why_in_plain_text(run):
    folders.save_failure(run, "products", ParameterError(f"no such thing: {HOSTILE}"))
    folders.finish(run, ["accounts", "products"])
    page, _ = tables(run)
    assert page.findtext(".//h2").startswith("❌ Failed: products did not come to an end")
    assert HOSTILE in page.find(".//li").text_content()
    assert page.xpath("//a | //img | //script") == []


def test_reasons_past_the_first_are_counted(tmp_path):
    many = [{"key": f"K{n}", "field": "Name", "reason": f"reason {n}"} for n in range(13)]
    text = report.markdown(report.Figures.of(written(tmp_path / "run", outcomes(*many))))
    assert "3 more reasons are in the report." in text and text.count("reason 1") + text.count("reason 9") >= 2


def test_a_run_in_step_has_no_reasons(tmp_path):
    made = written(tmp_path / "run", outcomes({}).clear())
    assert "### Why" not in report.markdown(report.Figures.of(made))
