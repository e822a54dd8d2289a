"""Data Docs that can be read without a network, and that show values of the data without obeying them."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest

from p2c_lib.datadocs import ASSETS, build_docs
from p2c_lib.errors import ParameterError
from p2c_lib.validate import SuiteResult, validate

HOSTILE = ['<img src="http://evil.example/x.png" onerror=alert(1)>', "<script>window.pwned=1</script>", "$v__0 $column"]
SHOWN = "url(https://shown.example)"  # an address in the data is a text like any other
# What a browser fetches by itself, and an address of another host in it.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|embed|object|video|audio|link|base)\b[^>]*?\b(?:src|href|data|srcset)\s*=\s*"
    r"[\"']?\s*((?:[a-z]+:)?//[^\"'\s>]+)",
    re.I,
)
CSS_FETCHED = re.compile(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", re.I)
EXPECTATIONS = [
    {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "v", "value_set": ["fine"]},
        "meta": {"says": "Values cost $5 & are <fine>", "severity": "warning"},
    },
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "k"}, "meta": {"says": "Keys are unique"}},
    {
        "type": "expect_column_values_to_not_be_null",
        "kwargs": {
            "column": "v",
            "row_condition": {"type": "comparison", "column": {"name": "n"}, "operator": ">=", "parameter": 1},
        },
        "meta": {"says": "Rows from the first on have a value"},
    },
]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[SuiteResult]:
    folder = tmp_path_factory.mktemp("suites")
    for name in ("first", "second"):
        (folder / f"{name}.json").write_text(json.dumps({"expectations": EXPECTATIONS}))
    frame = pl.DataFrame({"k": ["A&B", "<b>", "C", "D"], "v": [*HOSTILE[:2], f"{HOSTILE[2]} {SHOWN}", "fine"]})
    frame = frame.with_row_index("n")
    return [validate(frame, name, key=["k"], folder=folder) for name in ("first", "second")]


@pytest.fixture(scope="module")
def docs(results, tmp_path_factory) -> Path:
    return build_docs(results, tmp_path_factory.mktemp("run") / "docs").parent


def pages(folder: Path) -> dict[Path, str]:
    return {path: path.read_text("utf-8") for path in folder.rglob("*.html")}


def test_the_guard_would_see_what_a_browser_fetches():
    for line in (
        '<script src="https://cdn/x.js">',
        "<link rel=stylesheet href='//cdn/x.css'>",
        "<IMG class=a SRC=http://h/l.png>",
    ):
        assert FETCHED.search(line), line
    assert not FETCHED.search('<a href="https://greatexpectations.io">')
    assert CSS_FETCHED.search("@import 'https://fonts/x'")
    assert CSS_FETCHED.search("a{b:url(//h/x.png)}")


def test_there_is_an_index_and_a_page_for_each_suite_and_result(docs):
    names = sorted(path.relative_to(docs).parts[:2] for path in pages(docs))
    assert names == [
        ("expectations", "first.html"),
        ("expectations", "second.html"),
        ("index.html",),
        ("validations", "first"),
        ("validations", "second"),
    ]


def test_no_page_style_or_script_fetches_from_another_host(docs):
    for path, text in pages(docs).items():
        assert FETCHED.findall(text) == [], path
        assert CSS_FETCHED.findall(text.replace(SHOWN, "")) == [], path
        assert "data_context_id" not in text.lower()
    for path in docs.rglob("*.css"):
        assert CSS_FETCHED.findall(path.read_text("utf-8")) == [], path
    for path in [*docs.rglob("*.css"), *docs.rglob("*.js")]:
        assert "sourceMappingURL" not in path.read_text("utf-8"), path


def test_every_file_that_a_page_names_is_there(docs):
    for path, text in pages(docs).items():
        named = re.findall(r"\b(?:src|href)=[\"']([^\"'#]+)[\"']", text)
        local = [unquote(name.split("?")[0]) for name in named if "://" not in name]
        assert [name for name in local if not (path.parent / name).exists()] == [], path
        assert any(name.endswith("bootstrap.min.css") for name in local), "the page is styled"
        assert any(name.endswith("jquery.min.js") for name in local)


def test_scripts_come_in_the_order_in_which_they_need_each_other(docs):
    names = re.findall(r"<script src=\"[^\"]*/([^/\"]+)\.min\.js\"", (docs / "index.html").read_text("utf-8"))
    assert names == [
        "jquery",
        "popper",
        "bootstrap",
        "bootstrap-table",
        "bootstrap-table-filter-control",
        "bootstrap-datepicker",
    ]


def test_values_of_the_data_are_shown_and_not_obeyed(docs):
    text = "".join(pages(docs).values())
    assert "<img src=&quot;" not in text and '<img src="http://evil' not in text
    assert "<script>window.pwned" not in text
    assert "&lt;script&gt;window.pwned=1&lt;/script&gt;" in text
    assert f"&#36;v__0 &#36;column {SHOWN}" in text, "a dollar is data, not a placeholder"


def test_a_check_is_told_in_plain_words_with_severity_and_failing_keys(docs):
    (page,) = (text for path, text in pages(docs).items() if path.parts[-4] == "first")
    assert "Values cost &#36;5 &amp; are &lt;fine&gt; (warning) Keys: A&amp;B, &lt;b&gt;, C" in page
    assert "Keys are unique (critical)" in page


def test_a_suite_that_fails_by_warnings_alone_is_shown_as_met(docs, results):
    assert all(result.success and result.failed for result in results)
    (page,) = (text for path, text in pages(docs).items() if path.parts[-4] == "first")
    assert "Succeeded" in page


def test_the_results_are_left_as_they_were(docs, results):
    entry, *_ = results[0].result["results"]
    assert entry["result"]["partial_unexpected_list"][:2] == HOSTILE[:2]
    assert "description" not in entry["expectation_config"]


def test_a_rebuild_replaces_the_pages_and_leaves_other_files_alone(results, tmp_path):
    folder = tmp_path / "docs"
    build_docs(results, folder)
    (folder / "mine.txt").write_text("kept")
    index = build_docs(results[:1], folder)
    assert index == folder / "index.html"
    assert [path.name for path in (folder / "validations").iterdir()] == ["first"]
    assert "second.html" not in index.read_text("utf-8")
    assert sorted(path.name for path in folder.iterdir()) == [
        "expectations",
        "index.html",
        "mine.txt",
        "static",
        "validations",
    ]


def test_results_that_cannot_be_shown_are_refused_before_anything_is_written(results, tmp_path):
    bare = SuiteResult("third", 0, (), True, {})
    for given, words in (([], "no results"), ([results[0], bare], "keep_result=False: third")):
        with pytest.raises(ParameterError, match=words):
            build_docs(given, tmp_path / "docs")
    assert not (tmp_path / "docs").exists()


def test_every_vendored_file_has_its_licence_and_they_stay_small():
    licences = (ASSETS / "THIRD_PARTY.txt").read_text("utf-8")
    for path in ASSETS.iterdir():
        if path.name != "THIRD_PARTY.txt":
            stem = path.name.split(".min")[0]
            assert f"{stem}.min" in licences, path.name
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 1_000_000


def test_building_the_pages_opens_no_socket(results, tmp_path, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError(f"a socket was opened: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert build_docs(results, tmp_path / "docs").exists()


def test_the_index_keeps_the_order_of_the_results(results, tmp_path):
    text = build_docs([results[1], results[0], results[1]], tmp_path / "docs").read_text("utf-8")
    shown = re.findall(r"'_run_time_sort': ([\d.]+), 'run_name': '([^']+)'", text)
    newest_first = sorted(shown, key=lambda run: float(run[0]), reverse=True)
    assert [name for _, name in newest_first] == ["01-second", "02-first", "03-second"]
