"""Change tracking of the Dataverse service: what has changed since a delta token."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from p2c_lib.sandbox.dataverse_core import Answer, Call, Failure, Work, json_answer
from p2c_lib.sandbox.dataverse_read import Cookie, Reader, delta_link, next_link
from p2c_lib.sandbox.schema import Entity

__all__ = ["read_changes", "read_changes_count", "refuse_options"]

OPTIONS = ("$filter", "$orderby", "$expand", "$top")


def refuse_options(call: Call) -> None:
    """Refuse query options that do not go with change tracking."""
    for option in OPTIONS:
        if option in call.query:
            raise Failure(
                400,
                "0x80060888",
                f'The "{option}" query parameter isn\'t supported when Change Tracking is enabled.',
            )


def _since(work: Work, call: Call) -> int:
    token = call.query["$deltatoken"]
    version, mark, moment = token.partition("!")
    try:
        taken = datetime.strptime(moment, "%m/%d/%Y %H:%M:%S")
        number = int(version)
    except ValueError as error:
        raise Failure(400, "0x80040203", f"The delta token '{token[:100]}' is not valid.") from error
    days = int(work.organization.get("expirechangetrackingindays") or 7)
    if not mark or datetime.strptime(work.now, "%Y-%m-%dT%H:%M:%SZ") - taken > timedelta(days=days):
        raise Failure(
            400,
            "0x80044352",
            "Version stamp associated with the client has expired. Please perform a full sync.",
        )
    return number


def _deleted(work: Work, entity: Entity, since: int, until: int) -> list[tuple[str, int]]:
    """Ids deleted after `since` and not created anew, with the version of the deletion."""
    log, table = work.store.deletions, work.store.tables[entity.name]
    alive = sa.select(table.c.row_id).where(table.c[entity.id] == log.c.key).exists()
    statement = (
        sa.select(log.c.key, sa.func.max(log.c.version))
        .where(log.c.entity == entity.name, log.c.version > since, log.c.version <= until, ~alive)
        .group_by(log.c.key)
        .order_by(sa.func.max(log.c.version))
    )
    return [(row[0], int(row[1])) for row in work.t.connection.execute(statement)]


def read_changes_count(work: Work, entity: Entity, call: Call) -> Answer:
    """``set/$count?$deltatoken=..``: new, changed and deleted rows."""
    since, until = _since(work, call), work.t.version()
    table = work.store.tables[entity.name]
    changed = work.t.scalar(sa.select(sa.func.count()).select_from(table).where(table.c.row_version > since))
    total = int(changed) + len(_deleted(work, entity, since, until))
    return Answer(200, str(total).encode(), {"Content-Type": "text/plain"})


def read_changes(work: Work, entity: Entity, call: Call) -> Answer:
    """New and changed rows by version, then deletions, in pages; the last page has the next delta link.

    Raises:
        Failure: The token is broken or too old, or an option does not go with it.
    """
    refuse_options(call)
    since, cookie = _since(work, call), Cookie.parse(call.query.get("$skiptoken"))
    until = cookie.version or work.t.version()
    prefer, table = call.prefer, work.store.tables[entity.name]
    size = min(prefer.page_rows or work.config.page_rows, work.config.page_rows)
    start = (cookie.page - 1) * size
    reader = Reader(work, entity, call.query.get("$select"), None, prefer)
    # a row that changes while pages are read moves behind `until` and comes with the next token
    where = [table.c.row_version > since, table.c.row_version <= until]
    rows, _ = reader.rows(where, [table.c.row_version], size + 1, start)
    if len(rows) <= size:
        total = int(work.t.scalar(sa.select(sa.func.count()).select_from(table).where(*where)))
        context = f"{call.root}/$metadata#{entity.name}/$deletedEntity"
        gone: list[dict[str, Any]] = [
            {"@odata.context": context, "id": key, "reason": "deleted"}
            for key, _ in _deleted(work, entity, since, until)
        ]
        rows += gone[max(0, start - total) : max(0, start + size + 1 - total)]
    body: dict[str, Any] = {"@odata.context": f"{call.root}/$metadata#{entity.name}{reader.plan.context()}/$delta"}
    if len(rows) > size:
        token = Cookie(cookie.page + 1, 1, until).text(entity, "", "")
        body["@odata.nextLink"] = next_link(call, token)
    else:
        body["@odata.deltaLink"] = delta_link(call, work, until)
    body["value"] = rows[:size]
    return json_answer(body, headers=prefer.applied() | {"Preference-Applied": "odata.track-changes"})
