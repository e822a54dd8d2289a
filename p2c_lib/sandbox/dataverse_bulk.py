"""Bulk actions (CreateMultiple, UpdateMultiple, UpsertMultiple, BulkDelete) and change sets: all or nothing."""

from __future__ import annotations

from typing import Any

from p2c_lib.sandbox.dataverse_body import Target, parse_reference
from p2c_lib.sandbox.dataverse_core import Answer, Call, Failure, Work, json_answer
from p2c_lib.sandbox.dataverse_write import create_row, delete_row, update_row
from p2c_lib.sandbox.schema import Entity
from p2c_lib.sandbox.store import new_guid

__all__ = ["BULK_ACTIONS", "bulk_action", "bulk_delete"]

BULK_ACTIONS = ("CreateMultiple", "UpdateMultiple", "UpsertMultiple")


def bulk_action(work: Work, entity: Entity, action: str, call: Call) -> Answer:
    """Run a bulk action of an entity set; the caller's transaction makes it all or nothing.

    Raises:
        Failure: A target is wrong; the message does not tell which.
    """
    if action == "DeleteMultiple":
        raise Failure(400, "0x80040216", "DeleteMultiple has not yet been implemented.")
    if action not in BULK_ACTIONS:
        raise Failure(404, "0x80060888", f"Resource not found for the segment '{work.schema.namespace}.{action}'.")
    targets = _targets(work, entity, call)
    if action == "CreateMultiple":
        ids = [create_row(work, entity, target)[entity.id] for target in targets]
        context = f"{call.root}/$metadata#{work.schema.namespace}.CreateMultipleResponse"
        return json_answer({"@odata.context": context, "Ids": ids})
    seen: set[int] = set()
    for target in targets:
        found = _find(work, entity, target)
        body = {name: value for name, value in target.items() if name not in found.key and name != entity.id}
        if found.row is None:
            if action == "UpdateMultiple":
                label = entity.schema_name
                raise Failure(404, "0x80040217", f"{label} With Ids = {found.key.get(entity.id)} Do Not Exist")
            seen.add(int(create_row(work, entity, {**body, **_key_body(target, found)}, found.key)["row_id"]))
            continue
        if found.row["row_id"] in seen:  # the same row twice ends in a deadlock on the service
            raise Failure(
                500,
                "0x80044150",
                "Generic SQL error. Sql Number: 1205, Transaction was deadlocked on lock resources with another "
                "process and has been chosen as the deadlock victim. Rerun the transaction.",
            )
        seen.add(int(found.row["row_id"]))
        update_row(work, entity, found.row, body)
    return Answer(204)


def _key_body(target: dict[str, Any], found: Target) -> dict[str, Any]:
    """Key columns that the body has itself win over those of the reference when a row is created."""
    return {name: value for name, value in target.items() if name in found.key}


def _targets(work: Work, entity: Entity, call: Call) -> list[dict[str, Any]]:
    targets = call.json().get("Targets")
    if not isinstance(targets, list) or not all(isinstance(target, dict) for target in targets):
        raise Failure(400, "0x80048d19", "The parameter 'Targets' must be a collection of records.")
    if not targets:
        raise Failure(400, "0x80040203", "The Targets collection must not be empty.")
    expected = f"{work.schema.namespace}.{entity.type}"
    for target in targets:
        given = target.get("@odata.type")
        if given is None:
            raise Failure(
                400,
                "0x80048d19",
                "Error identified in Payload provided by the user, InnerException : A type named "
                f"'{work.schema.namespace}.crmbaseentity' is abstract: '@odata.type' is needed in every target.",
            )
        if str(given).lstrip("#") != expected:
            raise Failure(400, "0x80048d19", f"The target's type '{given}' is not '{expected}'.")
    return targets


def _find(work: Work, entity: Entity, target: dict[str, Any]) -> Target:
    if "@odata.id" in target:
        found = parse_reference(work, str(target["@odata.id"]))
        if found.entity is not entity:
            raise Failure(400, "0x80048d19", f"'{target['@odata.id']}' is not a row of {entity.name}.")
        return found
    row_id = target.get(entity.id)
    if row_id is None:
        raise Failure(400, "0x80040203", f"A target needs '@odata.id' or '{entity.id}'.")
    return parse_reference(work, f"{entity.name}({row_id})")


def bulk_delete(work: Work, call: Call) -> Answer:
    """Action BulkDelete: on the service an asynchronous job, here done at once. Queries by ``in`` on the id only."""
    for query in call.json().get("QuerySet") or []:
        entity = work.schema.by_type.get(str(query.get("EntityName")))
        if entity is None:
            raise Failure(404, "0x80040217", f"The entity with a name = '{query.get('EntityName')}' was not found.")
        for condition in (query.get("Criteria") or {}).get("Conditions") or []:
            if condition.get("AttributeName") != entity.id or str(condition.get("Operator")) not in ("In", "Equal"):
                raise Failure(501, "0x80040216", "The sandbox deletes in bulk by a list of ids only.")
            for value in condition.get("Values") or []:
                row = work.t.get(entity.name, {entity.id: str(_plain(value)).lower()})
                if row is not None:
                    delete_row(work, entity, row)
    context = f"{call.root}/$metadata#{work.schema.namespace}.BulkDeleteResponse"
    return json_answer({"@odata.context": context, "JobId": new_guid()})


def _plain(value: Any) -> Any:
    return value.get("Value") if isinstance(value, dict) else value
