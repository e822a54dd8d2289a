"""Expectation suites over frames: what must hold for the rows of one side."""

from p2c_lib.validate.engine import great_expectations, validate
from p2c_lib.validate.results import Check, SuiteResult, masked
from p2c_lib.validate.suites import DIMENSIONS, EXPECTATIONS, SEVERITIES, load_suite, suite_names

__all__ = [
    "DIMENSIONS",
    "EXPECTATIONS",
    "SEVERITIES",
    "Check",
    "SuiteResult",
    "great_expectations",
    "load_suite",
    "masked",
    "suite_names",
    "validate",
]
