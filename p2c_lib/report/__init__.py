"""A finished run as people read it: figures as frames, and from them a page, a summary for chats and pull requests."""

from p2c_lib.report.figures import Figures
from p2c_lib.report.page import write_report
from p2c_lib.report.summary import markdown, write_summary
from p2c_lib.report.tables import (
    DOCUMENT_AMOUNTS,
    at_stake,
    by_reason,
    causes,
    document_table,
    failed_checks,
    field_counts,
    outcome_table,
    over_tasks,
    quirk_table,
    reasons,
    samples,
    since_when,
    tie_table,
    verdict,
    with_money,
)

__all__ = [
    "DOCUMENT_AMOUNTS",
    "Figures",
    "at_stake",
    "by_reason",
    "causes",
    "document_table",
    "failed_checks",
    "field_counts",
    "markdown",
    "outcome_table",
    "over_tasks",
    "quirk_table",
    "reasons",
    "samples",
    "since_when",
    "tie_table",
    "verdict",
    "with_money",
    "write_report",
    "write_summary",
]
