"""Pages that show validation results to people: Great Expectations' Data Docs, readable without any network."""

from __future__ import annotations

import copy
import html
import re
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from p2c_lib.errors import ParameterError
from p2c_lib.validate import Check, SuiteResult, great_expectations

__all__ = ["build_docs"]

ASSETS: Final = Path(__file__).resolve().parent / "assets" / "datadocs"

# What Data Docs load from public hosts, by a word of the address, and the file here that does the same.
# Anything else from a host is taken out of the pages: charts (vega), which no suite here draws, and dark colours.
_VENDORED: Final = (
    ("bootstrap-table-filter-control", "bootstrap-table-filter-control.min"),
    ("bootstrap-table", "bootstrap-table.min"),
    ("bootstrap-datepicker", "bootstrap-datepicker.min"),
    ("font-awesome", "fontawesome-solid.min"),
    ("jquery", "jquery.min"),
    ("popper", "popper.min"),
    ("/bootstrap.min.", "bootstrap.min"),
)
_LOGO: Final = "logo-long.png"
_SHOWN_KEYS: Final = 10
_KEPT_IMAGES: Final = frozenset({_LOGO, "favicon.ico"})
_OURS: Final = ("expectations", "validations", "static", "index.html")

_SCRIPT: Final = re.compile(r"<script\b[^>]*\bsrc=[\"'](?P<url>(?:https?:)?//[^\"']*)[\"'][^>]*>\s*</script>", re.I)
_LINK: Final = re.compile(r"<link\b[^>]*\bhref=[\"'](?P<url>(?:https?:)?//[^\"']*)[\"'][^>]*>", re.I)
_IMAGE: Final = re.compile(r"(?P<before><img\b[^>]*\bsrc=[\"'])(?:https?:)?//[^\"']*(?P<after>[\"'])", re.I)
_STYLE: Final = re.compile(r"<style\b.*?</style>", re.I | re.S)
_STYLE_URL: Final = re.compile(r"url\(\s*[\"']?(?:https?:)?//[^)]*\)", re.I)
_ICON: Final = re.compile(r"(?P<before><link\b[^>]*\bhref=[\"'])[./]*static/images/favicon\.ico", re.I)
_FOOTER: Final = re.compile(r"<footer>.*?newsletter.*?</footer>", re.I | re.S)


def build_docs(results: Sequence[SuiteResult], folder: Path) -> Path:
    """Write the pages of some results: an index, a page for each suite and one for each result.

    Args:
        results: As `validate` gives them, with ``keep_result=True``; a suite may occur more than once.
        folder: Where the pages go. Pages of an earlier build are replaced, other files there are left alone.

    Returns:
        The path of ``index.html``.

    Raises:
        ParameterError: There are no results, or one was made with ``keep_result=False``.

    The pages load nothing from any host: styles, scripts and icons lie in ``static`` beside them. Values of the data
    are escaped, so that a name such as ``<img src=...>`` is shown and not obeyed.
    """
    if not results:
        raise ParameterError("build_docs: no results to show")
    bare = [result.suite for result in results if result.result is None]
    if bare:
        raise ParameterError(f"build_docs: made with keep_result=False: {', '.join(bare)}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".docs-", dir=folder) as scratch:
        site = Path(scratch).absolute()  # Great Expectations takes no relative one
        _render(results, site)
        _take_offline(site)
        for name in _OURS:
            _replace(site / name, folder / name)
    return folder / "index.html"


def _render(results: Sequence[SuiteResult], site: Path) -> None:
    """Let Great Expectations write its pages into a folder."""
    gx = great_expectations()
    from great_expectations.core import ExpectationSuiteValidationResult, RunIdentifier
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.data_docs_sites = {
        "p2c": {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
    }
    now = datetime.now(UTC)
    for number, result in enumerate(results):
        kept = _escaped(copy.deepcopy(dict(result.result or {})))
        told = (result.result or {}).get("results", [])
        for entry, check, plain in zip(kept["results"], result.checks, told, strict=True):
            entry["expectation_config"]["description"] = _described(check)
            condition = plain["expectation_config"]["kwargs"].get("row_condition")
            if condition is not None:  # it is read again, and > is an operator there
                entry["expectation_config"]["kwargs"]["row_condition"] = condition
        # The index puts the newest first: so it keeps the order of the results.
        run = RunIdentifier(run_name=f"{number + 1:02d}-{result.suite}", run_time=now - timedelta(microseconds=number))
        entries = [
            ExpectationValidationResult(
                success=entry["success"],
                expectation_config=ExpectationConfiguration(**entry["expectation_config"]),
                result=entry["result"],
                meta=entry["meta"],
                exception_info=entry["exception_info"],
            )
            for entry in kept["results"]
        ]
        suite = gx.ExpectationSuite(name=result.suite, expectations=[e["expectation_config"] for e in kept["results"]])
        context.suites.add_or_update(suite)
        answer = ExpectationSuiteValidationResult(
            success=result.success,
            results=entries,
            suite_name=result.suite,
            statistics=kept["statistics"],
            meta={**kept["meta"], "run_id": run, "batch_spec": {"data_asset_name": f"{result.rows} rows"}},
        )
        identifier = ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(result.suite),
            run_id=run,
            batch_identifier=result.suite,
        )
        context.validation_results_store.set(identifier, answer)
    context.build_data_docs()


def _described(check: Check) -> str:
    """Say what an expectation is, how grave it is and whom it hit, in place of the rule in technical terms."""
    text = f"{check.says} ({check.severity})"
    if check.failing_keys:
        more = ", ..." if check.unexpected_count > len(check.failing_keys[:_SHOWN_KEYS]) else ""
        text += f" Keys: {', '.join(check.failing_keys[:_SHOWN_KEYS])}{more}"
    return _escape(text)


def _escape(text: str) -> str:
    # A dollar would start the name of a placeholder in the pages' own templates.
    return html.escape(text).replace("$", "&#36;")


def _escaped(value: Any) -> Any:
    """Escape every text in an answer: Great Expectations puts values of the data into its pages as they are."""
    if isinstance(value, dict):
        # An operator is one of a few signs that a suite may use; made into &gt; it would be none of them.
        return {name: part if name == "operator" else _escaped(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    return _escape(value) if isinstance(value, str) else value


def _take_offline(site: Path) -> None:
    """Point the pages of a site at files of its own, and drop what they do not need."""
    for unused in ("fonts", "styles"):  # the pages carry their style in themselves
        shutil.rmtree(site / "static" / unused, ignore_errors=True)
    for image in (site / "static" / "images").iterdir():
        if image.name not in _KEPT_IMAGES:
            image.unlink()
    shutil.copytree(ASSETS, site / "static" / "vendor")
    for page in site.rglob("*.html"):
        up = "../" * (len(page.relative_to(site).parts) - 1)
        page.write_text(_offline(page.read_text(encoding="utf-8"), f"{up}static/"), encoding="utf-8")


def _offline(text: str, static: str) -> str:
    """Rewrite a page so that it loads from the folder `static`, a relative address, alone."""

    def vendored(url: str, suffix: str) -> str | None:
        name = next((name for word, name in _VENDORED if word in url), None)
        return f"{static}vendor/{name}{suffix}" if name and (ASSETS / f"{name}{suffix}").exists() else None

    def script(match: re.Match[str]) -> str:
        source = vendored(match["url"], ".js")
        return f'<script src="{source}"></script>' if source else ""

    def link(match: re.Match[str]) -> str:
        source = vendored(match["url"], ".css")
        return f'<link rel="stylesheet" href="{source}">' if source else ""

    text = _LINK.sub(link, _SCRIPT.sub(script, text))
    # The logo's address would tell a host which project is being looked at.
    text = _IMAGE.sub(rf"\g<before>{static}images/{_LOGO}\g<after>", text)
    text = _STYLE.sub(lambda match: _STYLE_URL.sub("none", match[0]), text)
    # Great Expectations' own address of the icon is one folder short.
    text = _ICON.sub(rf"\g<before>{static}images/favicon.ico", text)
    return _FOOTER.sub("", text).replace("(prefers-color-scheme: dark)", "not all")


def _replace(new: Path, old: Path) -> None:
    """Put a file or folder in the place of another, if there is one."""
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)
    if new.exists():
        new.rename(old)
