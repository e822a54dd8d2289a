"""An expectation suite over a frame; with `datadocs` the only modules that know Great Expectations and pandas."""

from __future__ import annotations

import difflib
import gc
import importlib.util
import json
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from p2c_lib.errors import SchemaError, ValidationFailed
from p2c_lib.validate.results import Check, SuiteResult, plain
from p2c_lib.validate.suites import SEVERITIES, columns_of, load_suite

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["great_expectations", "validate"]

MAX_KEYS: Final = 1000
_MANY: Final = 50_000
_POSITION: Final = "p2c_position"
_IN_CONDITION = re.compile(r'"column": {"name": "([^"]+)"')
# Great Expectations keeps the current project in a module global: one validation at a time.
_LOCK: Final = threading.Lock()
# As long as the rows that failed; the keys say the same, and a report wants neither a million times.
_BULKY: Final = ("unexpected_list", "unexpected_index_list", "unexpected_index_query", "partial_unexpected_index_list")


def validate(
    frame: pl.DataFrame,
    suite: str | Path,
    *,
    key: Sequence[str],
    keep_result: bool = True,
    folder: Path | None = None,
    name: str | None = None,
) -> SuiteResult:
    """Hold a frame against an expectation suite.

    Args:
        frame: Rows of one side, shape (n, c). Only the columns that the suite names are handed on.
        suite: The name of a suite in `folder`, or the path of one.
        key: The columns that name a failing row; they need not be unique or free of nulls.
        keep_result: Keep what `build_docs` needs.
        folder: Where named suites are; the checkout's ``expectations`` when None.
        name: What the result is called where the suite is that of another task. Then expectations about columns that
            the frame lacks are left out.

    Returns:
        One check for each expectation, in the order of the suite.

    Raises:
        SchemaError: The suite or `key` names columns that the frame lacks.
        ValidationFailed: The suite is broken, or an expectation could not be worked out, which is not a failed check.

    Amounts stay exact: decimals are handed over as Python `Decimal` objects and integers with nulls as Python `int`,
    never as floats, and Python compares both exactly with the bounds of a suite (integers or floats).
    """
    loaded = load_suite(suite, folder)
    if name is not None:
        loaded = {**loaded, "name": name, "expectations": list(_about(frame, loaded["expectations"]))}
    _require_columns(frame, loaded, key)
    with _LOCK:
        answer = _run(great_expectations(), loaded, _to_pandas(frame, _columns_used(loaded, frame.columns)))
    if frame.height >= _MANY:
        gc.collect()  # the context refers to itself, and with it to the rows and all that was worked out of them
    order = {id(entry): entry.expectation_config.meta.pop(_POSITION) for entry in answer.results}
    entries = sorted(answer.results, key=lambda entry: order[id(entry)])
    _refuse_raised(entries, loaded["name"])
    failing = pl.Series("row", [], pl.UInt32)
    checks = []
    for entry in entries:
        rows = pl.Series("row", entry.result.get("unexpected_index_list") or [], pl.UInt32)
        failing = failing.append(rows)
        checks.append(_check(entry, _keys(frame, rows, key)))
    return SuiteResult(
        suite=loaded["name"],
        rows=frame.height,
        checks=tuple(checks),
        success=not any(not check.success and check.severity == "critical" for check in checks),
        statistics=_statistics(checks, failing.n_unique()),
        result=_kept(answer, entries) if keep_result else None,
    )


def great_expectations() -> Any:
    """Import Great Expectations, at first use only: it takes some seconds.

    Returns:
        The module.
    """
    if "great_expectations" in sys.modules:
        return sys.modules["great_expectations"]
    # What nothing here needs and most of the import's time goes to: jsonschema would build a grammar for IRI formats,
    # and Azure's sign-in is for rows in its blob storage.
    spared = [name for name in ("rfc3987_syntax", "azure.identity") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(spared))  # type: ignore[arg-type]  # the documented way to make an import fail
    _put_off("scipy", "stats")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="module 'sre_", category=DeprecationWarning)
            import great_expectations as gx
            from great_expectations.execution_engine import pandas_execution_engine
            from great_expectations.expectations.expectation import Expectation
        # A fingerprint of every cell of tables up to this size, as dear as the checks, and nobody asks for it.
        pandas_execution_engine.HASH_THRESHOLD = 0
        _ask_once(Expectation)
    finally:
        for name in spared:
            del sys.modules[name]
    return gx


def _put_off(package: str, name: str) -> None:
    """Have a module loaded when something of it is asked for: few expectations of distributions do, all import it."""
    full = f"{package}.{name}"
    spec = importlib.util.find_spec(full) if full not in sys.modules else None
    if spec is not None and spec.loader is not None:
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules[full] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        setattr(sys.modules[package], name, module)  # an import would look into the module, and so load it


def _ask_once(expectation: Any) -> None:
    """Let expectations make their configuration once for all their keys.

    Great Expectations makes it anew for each key, 130 times an expectation, which is a fifth of a validation's time.
    """

    def told(self: Any, keys: Iterable[str]) -> dict[str, Any]:
        given = self.configuration.kwargs
        return {key: given.get(key, self._get_default_value(key)) for key in keys}

    def success_kwargs(self: Any) -> dict[str, Any]:
        return {**told(self, self.success_keys), **self._get_domain_kwargs()}

    expectation._get_domain_kwargs = lambda self: told(self, self.domain_keys)
    expectation._get_success_kwargs = success_kwargs


def _about(frame: pl.DataFrame, entries: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The expectations that can be asked of a frame's columns."""
    for entry in entries:
        condition = json.dumps(entry["kwargs"].get("row_condition"), ensure_ascii=False)
        named = {*columns_of(entry["kwargs"]), *_IN_CONDITION.findall(condition)}
        if named <= set(frame.columns) and not entry["type"].startswith("expect_table_column"):
            yield entry


def _columns_used(suite: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Name the columns of a frame that a suite needs; all of them where it asks what columns there are."""
    entries = suite["expectations"]
    if any(entry["type"].startswith("expect_table_column") for entry in entries):
        return list(columns)
    named = {column for entry in entries for column in columns_of(entry["kwargs"])}
    # A condition that narrows the rows names its columns somewhere inside: a column too many does no harm.
    conditions = json.dumps([entry["kwargs"].get("row_condition") for entry in entries], ensure_ascii=False)
    return [column for column in columns if column in named or column in conditions]


def _require_columns(frame: pl.DataFrame, suite: Mapping[str, Any], key: Sequence[str]) -> None:
    """Refuse a suite or key that names columns which the frame lacks, all of them in one message."""
    wanted = [(column, entry["type"]) for entry in suite["expectations"] for column in columns_of(entry["kwargs"])]
    wanted += [(column, "the key") for column in key]
    lacking: dict[str, list[str]] = {}
    for column, user in wanted:
        if column not in frame.columns:
            lacking.setdefault(column, []).append(user)
    if not lacking:
        return
    lines = []
    for column, users in lacking.items():
        near = difflib.get_close_matches(column, frame.columns, n=3)
        hint = f"; near: {', '.join(near)}" if near else ""
        lines.append(f"{suite['name']}: no column {column!r} in the frame, asked for by {', '.join(users)}{hint}")
    raise SchemaError("\n".join(lines))


def _to_pandas(frame: pl.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Convert the columns asked for, exactly: decimals to `Decimal`, integers with nulls to `int` objects."""
    import pandas as pd

    if not columns:
        return pd.DataFrame(index=pd.RangeIndex(frame.height))
    chosen = frame.select(columns)
    chosen = chosen.with_columns(
        pl.col(name).cast(pl.String)
        for name, dtype in chosen.schema.items()
        if isinstance(dtype, pl.Categorical | pl.Enum)
    )
    converted = chosen.to_pandas()
    for name in columns:
        series = chosen[name]
        # pandas would turn these into floats: 5 would show as 5.0, and a large Int64 would lose digits.
        if series.dtype.is_integer() and series.null_count():
            converted[name] = pd.Series(series.to_list(), dtype=object)
    return converted


def _run(gx: Any, suite: Mapping[str, Any], rows: pd.DataFrame) -> Any:
    """Run a suite in a context of its own that leaves nothing behind, and give its answer."""
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    built = gx.ExpectationSuite(name=suite["name"], meta=suite["meta"], expectations=_built(gx, suite))
    asset = context.data_sources.add_pandas("p2c").add_dataframe_asset(suite["name"])
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    # Positions of the failing rows, not id columns: those are looked up row by row, at 125 microseconds each.
    result_format = {"result_format": "COMPLETE", "return_unexpected_index_query": False}
    with warnings.catch_warnings():
        # pandas wonders whether a pattern with a group was meant to extract it.
        warnings.filterwarnings("ignore", message="This pattern is interpreted as a regular expression")
        return batch.validate(built, result_format=result_format)


def _built(gx: Any, suite: Mapping[str, Any]) -> list[Any]:
    """Make the expectations one by one: a suite made as a whole leaves out those that it does not understand."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    built, problems = [], []
    for number, entry in enumerate(suite["expectations"]):
        meta = {**entry.get("meta", {}), _POSITION: number}
        severity = meta.get("severity", "critical")
        try:
            built.append(ExpectationConfiguration(**{**entry, "meta": meta, "severity": severity}).to_domain_obj())
        except (gx.exceptions.GreatExpectationsError, ValueError, TypeError) as error:
            problems.append(f"{suite['name']}: expectations[{number}], {entry['type']}: {error}")
    if problems:
        raise ValidationFailed("\n".join(problems))
    return built


def _refuse_raised(entries: Iterable[Any], suite: str) -> None:
    """Refuse an answer in which an expectation could not be worked out."""
    lines = []
    for entry in entries:
        info = entry.exception_info or {}
        # One record for the expectation, or one for each of its metrics.
        records = [info] if "raised_exception" in info else [r for r in info.values() if isinstance(r, Mapping)]
        causes = [str(record.get("exception_message")) for record in records if record.get("raised_exception")]
        if causes:
            config = entry.expectation_config
            about = ", ".join(columns_of(config.kwargs)) or "the table"
            lines.append(f"{suite}: {config.type} on {about} could not be worked out: {'; '.join(causes)}")
    if lines:
        raise ValidationFailed("\n".join(lines))


def _keys(frame: pl.DataFrame, rows: pl.Series, key: Sequence[str]) -> tuple[str, ...]:
    """Name the rows at the positions given: distinct keys in the order of the frame, the first 1,000."""
    if rows.is_empty() or not key:
        return ()
    texts = pl.concat_str([pl.col(column).cast(pl.String).fill_null("") for column in key], separator="|")
    return tuple(frame[rows.sort()].select(texts.alias("key"))["key"].unique(maintain_order=True).head(MAX_KEYS))


def _check(entry: Any, failing_keys: tuple[str, ...]) -> Check:
    """Make a check of Great Expectations' answer to one expectation."""
    config, found = entry.expectation_config, entry.result
    columns = columns_of(config.kwargs)
    meta = dict(config.meta or {})
    return Check(
        expectation=config.type,
        column=", ".join(columns) or None,
        kwargs={name: value for name, value in config.kwargs.items() if name != "batch_id"},
        success=bool(entry.success),
        unexpected_count=int(found.get("unexpected_count") or 0),
        unexpected_percent=float(found.get("unexpected_percent") or 0.0),
        failing_keys=failing_keys,
        severity=str(meta.get("severity", "critical")),
        meta=meta,
        observed=found.get("observed_value"),
        looked_at=_looked_at(found),
    )


def _looked_at(found: Mapping[str, Any]) -> int | None:
    """How many rows were looked at: all but those without a value, where the check is not about these."""
    rows = found.get("element_count")
    return None if rows is None else int(rows) - int(found.get("missing_count") or 0)


def _statistics(checks: Sequence[Check], failing_rows: int) -> dict[str, int]:
    """Count the checks by outcome and severity."""
    failed = [check.severity for check in checks if not check.success]
    return {
        "evaluated": len(checks),
        "passed": len(checks) - len(failed),
        "failed": len(failed),
        **{f"failed_{severity}": failed.count(severity) for severity in SEVERITIES},
        "failing_rows": failing_rows,
    }


def _kept(answer: Any, entries: list[Any]) -> dict[str, Any]:
    """Give the answer as JSON values, in the order of the suite and without its bulky lists."""
    for entry in entries:
        entry.result = {name: plain(value) for name, value in entry.result.items() if name not in _BULKY}
    answer.results = entries
    kept: dict[str, Any] = answer.to_json_dict()
    return kept
