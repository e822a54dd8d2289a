"""What a validation found: a check for each expectation, and the whole of a suite."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from p2c_lib.validate.suites import SEVERITIES, columns_of

__all__ = ["Check", "SuiteResult", "masked", "plain"]


@dataclass(frozen=True)
class Check:
    """What one expectation found.

    `unexpected_count` counts all rows that failed; `failing_keys` names the first 1,000 distinct ones, in the order
    of the frame, a key of several columns joined with ``|`` and a null as the empty text. A check of a whole table
    or column (row count, maximum) has no failing rows; what it saw is in `observed`.
    `unexpected_percent` is of the rows that were looked at (`looked_at`): those not null, unless the check is about
    nulls; None where a check is of a whole table or column.
    """

    expectation: str
    column: str | None
    kwargs: Mapping[str, Any]
    success: bool
    unexpected_count: int
    unexpected_percent: float
    failing_keys: tuple[str, ...]
    severity: str
    meta: Mapping[str, Any]
    observed: Any = None
    looked_at: int | None = None

    @property
    def says(self) -> str:
        """The expectation in plain words, as the suite's author put them."""
        return str(self.meta.get("says") or self.expectation)

    @property
    def dimension(self) -> str:
        """What quality the check is about: complete, unique, valid, consistent or timely."""
        return str(self.meta.get("dimension", "valid"))

    def to_dict(self) -> dict[str, Any]:
        """Give the check as values that `json.dumps` takes.

        Returns:
            The fields of the check, with `says` and `dimension` beside them.
        """
        return {
            "expectation": self.expectation,
            "column": self.column,
            "says": self.says,
            "severity": self.severity,
            "dimension": self.dimension,
            "success": self.success,
            "looked_at": self.looked_at,
            "unexpected_count": self.unexpected_count,
            "unexpected_percent": self.unexpected_percent,
            "observed": plain(self.observed),
            "failing_keys": list(self.failing_keys),
            "kwargs": plain(dict(self.kwargs)),
            "meta": plain(dict(self.meta)),
        }


@dataclass(frozen=True)
class SuiteResult:
    """What a suite found in a frame.

    `success` is true when no critical check failed; a failed warning is in `checks` and does not make a run fail.
    `statistics` counts checks (`evaluated`, `passed`, `failed`, and failed by severity) and distinct `failing_rows`.
    `result` is Great Expectations' own answer as plain JSON values, without the lists that are as long as the rows
    that failed; `build_docs` reads it.
    """

    suite: str
    rows: int
    checks: tuple[Check, ...]
    success: bool
    statistics: Mapping[str, int]
    result: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed, critical ones first, in the order of the suite."""
        return tuple(sorted((c for c in self.checks if not c.success), key=lambda c: SEVERITIES.index(c.severity)))

    def to_dict(self) -> dict[str, Any]:
        """Give the result as values that `json.dumps` takes, as they stand in ``checks.json``.

        Returns:
            `suite`, `rows`, `success`, `statistics` and `checks`; not `result`.
        """
        return {
            "suite": self.suite,
            "rows": self.rows,
            "success": self.success,
            "statistics": dict(self.statistics),
            "checks": [check.to_dict() for check in self.checks],
        }


def masked(result: SuiteResult, columns: Collection[str], mask: Callable[[Any], Any]) -> SuiteResult:
    """Take the values of some columns out of a result.

    Args:
        result: What a suite found.
        columns: Whose values nobody is to see.
        mask: Makes a token of every value within a JSON value.

    Returns:
        The result, with tokens for the examples of failing values of these columns, and without what was observed of
        them (maximum, distinct values and the like). Counts of rows and keys stay, as does what the suite asks for.
    """
    checks = tuple(
        replace(check, observed=None) if _is_about(check.kwargs, columns) else check for check in result.checks
    )
    answer = result.result
    if answer is not None:
        entries = [
            {**entry, "result": _hidden(entry["result"], mask)}
            if _is_about(entry["expectation_config"]["kwargs"], columns)
            else entry
            for entry in answer["results"]
        ]
        answer = {**answer, "results": entries}
    return replace(result, checks=checks, result=answer)


def _is_about(kwargs: Mapping[str, Any], columns: Collection[str]) -> bool:
    return any(column in columns for column in columns_of(kwargs))


def _hidden(found: Mapping[str, Any], mask: Callable[[Any], Any]) -> dict[str, Any]:
    """The result of one expectation without values: lists of them as tokens, and of the rest only what counts rows."""
    kept: dict[str, Any] = {}
    for name, value in found.items():
        if name == "partial_unexpected_counts":
            kept[name] = [{**one, "value": mask(one.get("value"))} for one in value]
        elif name.endswith("_list"):
            kept[name] = mask(value)
        elif name.endswith(("_count", "_percent", "_percent_total", "_percent_nonmissing")):
            kept[name] = value
    return kept


def plain(value: Any) -> Any:
    """Make a value fit for JSON.

    Args:
        value: Anything that a result holds: texts, numbers of Python or numpy, decimals, dates, nested in lists.

    Returns:
        The same of dicts, lists, texts, numbers, booleans and None; a decimal becomes the text of its digits, as a
        float would not hold them.
    """
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if isinstance(value, Decimal):
        return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"
    if value is None or isinstance(value, str | bool | int | float):
        return None if value != value else value
    if hasattr(value, "item"):  # a numpy scalar
        return plain(value.item())
    return str(value)
