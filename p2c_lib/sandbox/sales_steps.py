"""Where writes of any table meet the rules of the sales documents: what runs before and after each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_core import Failure, Work
from p2c_lib.sandbox.sales_headers import complete_header, follow_header
from p2c_lib.sandbox.sales_kinds import HEADERS, LINES, header_of
from p2c_lib.sandbox.sales_lines import check_open, complete_line, settle_header
from p2c_lib.sandbox.sales_pricing import is_priced
from p2c_lib.sandbox.schema import Entity

__all__ = ["CASCADE", "after_delete", "after_document", "before_delete", "complete_document"]

NOT_DELETED = "0x80040228"  # the platform's code: cannot delete, it is read-only
CASCADE = {(kind.line, kind.parent) for kind in LINES.values()}  # lines go with their header
RESTRICT = {(kind.header, "_customerid_value") for kind in HEADERS.values()} | {
    (kind.line, "_productid_value") for kind in LINES.values()
}


def complete_document(
    work: Work, entity: Entity, old: Mapping[str, Any] | None, changes: dict[str, Any]
) -> dict[str, Any]:
    """Complete a header or line before it is created (`old` is None) or updated; other tables pass through.

    Raises:
        Failure: A rule of the documents forbids the write.
    """
    if entity.type in HEADERS:
        return complete_header(work, HEADERS[entity.type], old, changes)
    if entity.type in LINES:
        return complete_line(work, LINES[entity.type], old, changes)
    return changes


def after_document(work: Work, entity: Entity, row: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
    """Run what follows the create (`old` is None) or update of a header or line.

    Raises:
        Failure: A plug-in refuses; everything is rolled back by the caller.
    """
    if entity.type in HEADERS:
        follow_header(work, HEADERS[entity.type], row, old)
    elif entity.type in LINES:
        kind = LINES[entity.type]
        settle_header(
            work, kind, row[kind.parent], priced=is_priced(work, kind, row, "create" if old is None else "update")
        )


def before_delete(work: Work, entity: Entity, row: Mapping[str, Any]) -> None:
    """Refuse to delete a line of a closed document, and a customer or product that documents name.

    That customers and products of documents stay is inferred from the platform's own relationships.

    Raises:
        Failure: It must stay (405 where others refer to it).
    """
    if entity.type in LINES:
        kind = LINES[entity.type]
        check_open(kind, header_of(work, kind, row), NOT_DELETED)
    for name, column in RESTRICT:
        if entity.type not in dict(work.schema.entities[name].columns[column].binds):
            continue
        table = work.store.tables[name]
        if work.t.scalar(sa.select(table.c.row_id).where(table.c[column] == row[entity.id]).limit(1)) is not None:
            raise Failure(
                405,
                "0x80040227",
                f"The {entity.type} cannot be deleted because rows of {name} are associated with it.",
            )


def after_delete(work: Work, entity: Entity, row: Mapping[str, Any]) -> None:
    """Bring the header of a deleted line up to date."""
    if entity.type in LINES:
        settle_header(work, LINES[entity.type], row[LINES[entity.type].parent])
