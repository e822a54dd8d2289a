"""Expectation suites: JSON files, found by name and checked for their form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from p2c_lib.errors import ValidationFailed

__all__ = ["DIMENSIONS", "EXPECTATIONS", "SEVERITIES", "columns_of", "load_suite", "suite_names"]

EXPECTATIONS: Final = Path(__file__).resolve().parents[2] / "expectations"
SEVERITIES: Final = ("critical", "warning", "info")
DIMENSIONS: Final = ("complete", "unique", "valid", "consistent", "timely")


def suite_names(folder: Path | None = None) -> list[str]:
    """List the suites of a folder.

    Args:
        folder: Where the suites are; the checkout's ``expectations`` when None.

    Returns:
        Names without ``.json``, sorted; empty when there is no such folder.
    """
    return sorted(path.stem for path in (folder or EXPECTATIONS).glob("*.json"))


def load_suite(suite: str | Path, folder: Path | None = None) -> dict[str, Any]:
    """Read a suite and check its form.

    Args:
        suite: A name such as ``accounts_source``, or the path of a JSON file.
        folder: Where named suites are; the checkout's ``expectations`` when None.

    Returns:
        ``name``, ``meta`` and ``expectations``, as `great_expectations.ExpectationSuite` takes them.

    Raises:
        ValidationFailed: There is no such suite, it is no JSON, or its form is wrong; all problems in one message.
    """
    folder = folder or EXPECTATIONS
    path = suite if isinstance(suite, Path) else folder / f"{suite}.json"
    try:
        text = path.read_text(encoding="utf-8")
        problems = list(_problems(json.loads(text, parse_float=Decimal)))
        loaded = json.loads(text)
    except FileNotFoundError:
        known = ", ".join(suite_names(path.parent)) or "none"
        raise ValidationFailed(f"no suite {path.stem!r} in {path.parent}; known: {known}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValidationFailed(f"{path.name}: not a JSON file: {error}") from error
    if problems:
        raise ValidationFailed("\n".join(f"{path.name}: {problem}" for problem in problems))
    return {"meta": {}, **loaded, "name": loaded.get("name") or path.stem}


def columns_of(kwargs: Mapping[str, Any]) -> list[str]:
    """Name the columns that an expectation is about.

    Args:
        kwargs: What it was given.

    Returns:
        One name, two of a pair, or a list; none for an expectation about the whole table.
    """
    single = [kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs]
    return [*single, *kwargs.get("column_list", ())]


def _problems(suite: Any) -> Iterator[str]:
    """Say what is wrong with the form of a suite."""
    if not isinstance(suite, dict) or not isinstance(suite.get("expectations"), list):
        yield "a suite is an object with a list named expectations"
        return
    if not re.fullmatch(r"[\w -]*", str(suite.get("name", ""))):
        yield f"name: {suite['name']!r} names a page of the documentation: letters, digits, blanks, - and _ only"
    for number, entry in enumerate(suite["expectations"]):
        at = f"expectations[{number}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            yield f"{at}: an expectation is an object with a type"
        elif not isinstance(entry.get("kwargs"), dict) or not isinstance(entry.get("meta", {}), dict):
            yield f"{at}: kwargs and meta are objects"
        else:
            for name, allowed in (("severity", SEVERITIES), ("dimension", DIMENSIONS)):
                value = entry.get("meta", {}).get(name, allowed[0])
                if value not in allowed:
                    yield f"{at}.meta.{name}: {value!r}; known: {', '.join(allowed)}"
            yield from (f"{at}.kwargs.{name}: {why}" for name, why in _inexact(entry["kwargs"]))


def _inexact(kwargs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find bounds that Great Expectations would turn into another number: it makes every bound a float."""
    for name in ("min_value", "max_value", "value_set"):
        bounds = kwargs.get(name)
        for bound in bounds if isinstance(bounds, list) else [bounds]:
            if isinstance(bound, int | Decimal) and Decimal(bound) != Decimal(float(bound)):
                yield name, f"{bound} is not exact as a float, and would judge an amount of just that wrongly"
