"""Data packages of Finance and Operations: ``DataManagementDefinitionGroups`` and its actions.

``ImportFromPackage`` answers when the package is read into staging; the rows are written later, one execution after
the other. ``ImportFromPackageAsync`` answers at once and reads the package later too. A caller may name an execution; a
name is good for one import. Seen in real systems: shapes and states, 400 for an execution that is not known, the form
of the errors, and that an import must not be called while another call is under way. Inferred: what is said then, what
the error files look like (CSV as in a package), and that a repeated execution id is refused.
"""

import json
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2c_lib.sandbox.fno_packages_blobs import BlobError, Blobs, write_url_answer
from p2c_lib.sandbox.fno_packages_files import (
    COMPANY,
    FileError,
    PackageError,
    csv_bytes,
    entity_by_label,
    fields_of,
    read_package,
    read_rows,
    write_package,
)
from p2c_lib.sandbox.fno_packages_rows import Progress, Target, stage
from p2c_lib.sandbox.fno_wire import NAMESPACE, Answer, Call, FnoError, bad_body, bad_query, json_answer, wire_value
from p2c_lib.sandbox.schema import Entity
from p2c_lib.sandbox.store import Store

GROUPS = "DataManagementDefinitionGroups"
DETAILS = "DataManagementExecutionJobDetails"
_IMPORT = ("packageUrl", "definitionGroupId", "executionId", "execute", "overwrite", "legalEntityId")
_EXPORT = ("definitionGroupId", "packageName", "executionId", "reExecute", "legalEntityId")
_OF_ENTITY = ("executionId", "entityName")
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "GetAzureWriteUrl": ("uniqueFileName",),
    "ImportFromPackage": _IMPORT,
    "ImportFromPackageAsync": _IMPORT,
    "ExportToPackage": _EXPORT,
    "ExportToPackageAsync": _EXPORT,
    "GetExportedPackageUrl": ("executionId",),
    "GetExecutionSummaryStatus": ("executionId",),
    "GetExecutionErrors": ("executionId",),
    "GetImportStagingErrorFileUrl": _OF_ENTITY,
    "GenerateImportTargetErrorKeysFile": _OF_ENTITY,
    "GetImportTargetErrorKeysFileUrl": _OF_ENTITY,
}
_FLAGS = frozenset({"execute", "overwrite", "reExecute"})


@dataclass
class Execution:
    """One import or export.

    Attributes:
        id: Its name.
        group: The data project.
        status: NotRun, Executing, Succeeded, PartiallySucceeded, Failed or Canceled.
        entities: How far each entity is, by label.
        problem: Why the package as a whole failed.
        package: Name of the blob that an export made.
        keys_files: Error keys files that were asked for, by label: how often the address was asked for since.
        stop: Set to cancel it.
    """

    id: str
    group: str
    status: str = "NotRun"
    entities: dict[str, Progress] = field(default_factory=dict)
    problem: str = ""
    package: str = ""
    keys_files: dict[str, int] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)


class Packages:
    """The data management of one service: its executions and the data projects they belong to."""

    def __init__(self, store: Store, config: Mapping[str, Any], writing: threading.Lock) -> None:
        """Serve a store.

        Args:
            store: The rows.
            config: Settings of the sandbox.
            writing: Held while rows are written, by every writer of the service.
        """
        self.store, self.config, self._writing = store, config, writing
        self.blobs = Blobs(Path(f"{store.path}.blobs"), float(config["blob_lifetime_s"]))
        self.executions: dict[str, Execution] = {}
        self._groups: dict[str, list[str]] = {}  # data project -> labels of its entities
        self._lock = threading.Lock()
        self._calling = threading.Lock()  # one ImportFromPackage at a time
        self._turn = threading.Lock()  # one execution at a time

    def action(self, call: Call, name: str) -> Answer:
        """Answer a POST of one of the actions.

        Args:
            call: The request.
            name: The action.

        Returns:
            200 with ``value``.

        Raises:
            FnoError: 400: a parameter is missing or of the wrong type, or the action refuses; 404: no such action.
        """
        if name not in _PARAMETERS:
            raise FnoError(404, f"No HTTP resource was found that matches the request URI '{GROUPS}/{name}'.")
        given = _parameters(call.body, name)
        value = self._act(call, name, given)
        kind = "Edm.Boolean" if isinstance(value, bool) else "Edm.String"
        if name == "GetExecutionSummaryStatus":
            kind = f"{NAMESPACE}.DMFExecutionSummaryStatus"
        return json_answer(200, {"@odata.context": f"{call.root}/data/$metadata#{kind}", "value": value})

    def _act(self, call: Call, name: str, given: Mapping[str, Any]) -> str | bool:
        if name == "GetAzureWriteUrl":
            return write_url_answer(self.blobs, call.root, given["uniqueFileName"] or f"{uuid.uuid4()}")
        if name.startswith("ImportFromPackage"):
            return self._import(name, given, is_async=name.endswith("Async"))
        if name.startswith("ExportToPackage"):
            return self._export(name, given)
        execution = self._execution(name, given["executionId"])
        if name == "GetExecutionSummaryStatus":
            return execution.status
        if name == "GetExecutionErrors":
            return _errors(execution)
        if name == "GetExportedPackageUrl":
            return self.blobs.url(call.root, execution.package, "r") if execution.package else ""
        progress = execution.entities.get(str(given["entityName"]).casefold())
        if progress is None:
            raise _refused(name, f"Entity {given['entityName']} is not part of execution '{execution.id}'")
        if name == "GetImportStagingErrorFileUrl":
            return self._staging_file(call, execution, progress)
        return self._keys_file(call, execution, progress, is_asked=name.startswith("Generate"))

    def _execution(self, action: str, name: str) -> Execution:
        with self._lock:
            found = self.executions.get(name.casefold())
        if found is None:
            raise _refused(action, f"Execution details for execution ID '{name}' were not found")
        return found

    # --- import ---------------------------------------------------------------------------------------------------

    def _import(self, action: str, given: Mapping[str, Any], *, is_async: bool) -> str:
        company = str(given["legalEntityId"] or self.config["company"]).lower()
        with self.store.read() as t:
            if t.get("LegalEntities", {"LegalEntityId": company}) is None:
                raise _refused(action, f"Legal entity '{given['legalEntityId']}' does not exist")
        if not self._calling.acquire(blocking=False):
            raise _refused(
                action,
                "An update conflict occurred due to another user process deleting the record or changing one or more "
                "fields in the record.",
            )
        try:
            execution = self._begin(action, given["executionId"], given["definitionGroupId"])
            run = self._reader(execution, given, company)
            if is_async:
                threading.Thread(target=self._later, args=(execution, run), daemon=True).start()
            else:
                try:
                    write = run()
                except (PackageError, BlobError) as error:
                    with self._lock:
                        del self.executions[execution.id.casefold()]
                    raise _refused(action, _words(error)) from None
                if given["execute"]:
                    threading.Thread(target=write, daemon=True).start()
        finally:
            self._calling.release()
        return execution.id

    def _begin(self, action: str, name: str, group: str) -> Execution:
        if not group:
            raise _refused(action, "The definition group must be specified")
        name = name or f"{group}-{secrets.token_hex(8).upper()}"
        with self._lock:
            if name.casefold() in self.executions:
                raise _refused(action, f"The execution ID '{name}' is already in use")
            execution = self.executions[name.casefold()] = Execution(name, group)
        return execution

    def _reader(self, execution: Execution, given: Mapping[str, Any], company: str) -> Callable[[], Callable[[], None]]:
        """What reads the package into staging, and gives what then writes the rows."""

        def read() -> Callable[[], None]:
            path = self.blobs.fetch(given["packageUrl"])
            package = read_package(path, self.store.schema)
            labels = [part.entity.label for part in package.parts]
            with self._lock:
                known = self._groups.get(execution.group.casefold(), [])
                if not given["overwrite"] and set(known) & set(labels):
                    raise PackageError(
                        "Cannot create a record in Definition group entities (DMFDefinitionGroupEntity). "
                        "The record already exists."
                    )
                self._groups[execution.group.casefold()] = labels
            for part in package.parts:
                progress = execution.entities[part.entity.label.casefold()] = Progress(part, staging_status="Executing")
                try:
                    stage(progress, read_rows(path, part), self.store.schema)
                except FileError as error:
                    progress.fail(str(error))
            return lambda: self._write(execution, company)

        return read

    def _later(self, execution: Execution, read: Callable[[], Callable[[], None]]) -> None:
        try:
            write = read()
        except (PackageError, BlobError) as error:
            execution.problem = _words(error)
            execution.status = "Failed"
            return
        write()

    def _write(self, execution: Execution, company: str) -> None:
        with self._turn:
            execution.stop.wait(float(self.config["package_start_s"]))
            execution.status = "Executing"
            target = Target(self.store, self.config, company, self._writing)
            for progress in execution.entities.values():
                if progress.rows and not execution.stop.is_set():
                    target.write(progress, execution.stop)
        execution.status = "Canceled" if execution.stop.is_set() else _outcome(execution)

    def cancel(self, name: str) -> bool:
        """End an execution before its next few hundred rows, as a clerk does; False when there is none of that name."""
        with self._lock:
            found = self.executions.get(name.casefold())
        if found is not None:
            found.stop.set()
        return found is not None

    # --- files ----------------------------------------------------------------------------------------------------

    def _staging_file(self, call: Call, execution: Execution, progress: Progress) -> str:
        rows = [[*texts, problem.message] for texts, problem in progress.staging_errors if texts]
        if not rows:
            return ""
        names = [one.source for one in progress.part.fields]
        return self._file(
            call, f"{execution.id}-staging-{progress.part.entity.type}.csv", [*names, "ERRORMESSAGE"], rows
        )

    def _keys_file(self, call: Call, execution: Execution, progress: Progress, *, is_asked: bool) -> str | bool:
        label = progress.part.entity.label
        if is_asked:
            execution.keys_files.setdefault(label, 0)
            return bool(progress.target_errors)
        if label not in execution.keys_files or not progress.target_errors:
            return ""
        execution.keys_files[label] += 1
        if execution.keys_files[label] < 2:  # it is being made
            return ""
        names = [name.upper() for name in progress.key]
        rows = [key for key, _ in progress.target_errors]
        return self._file(call, f"{execution.id}-keys-{progress.part.entity.type}.csv", names, rows)

    def _file(self, call: Call, name: str, names: list[str], rows: list[Any]) -> str:
        part = self.blobs.new_file()
        part.write_bytes(csv_bytes(names, rows))
        self.blobs.put(name, part)
        return self.blobs.url(call.root, name, "r")

    # --- export ---------------------------------------------------------------------------------------------------

    def _export(self, action: str, given: Mapping[str, Any]) -> str:
        with self._lock:
            labels = self._groups.get(str(given["definitionGroupId"]).casefold())
        if labels is None:
            raise _refused(action, f"The definition group '{given['definitionGroupId']}' does not exist")
        company = str(given["legalEntityId"] or self.config["company"]).lower()
        execution = self._begin(action, given["executionId"], given["definitionGroupId"])
        entities = [entity for label in labels if (entity := entity_by_label(self.store.schema, label))]
        name = f"{execution.id}-{given['packageName'] or 'package'}.zip"
        part = self.blobs.new_file()
        parts = {entity.label: (list(fields_of(entity)), self._rows(entity, company)) for entity in entities}
        write_package(part, execution.group, parts)
        self.blobs.put(name, part)
        execution.package, execution.status = name, "Succeeded"
        return execution.id

    def _rows(self, entity: Entity, company: str) -> list[list[Any]]:
        table = self.store.tables[entity.name]
        query = table.select().order_by(table.c.row_id)
        if COMPANY in entity.key:
            query = query.where(table.c[COMPANY] == company)
        columns = [entity.columns[name] for name in fields_of(entity).values()]
        with self.store.read() as t:
            return [
                [row[one.name] if one.is_decimal else wire_value(one, row[one.name]) for one in columns]
                for row in t.rows(query)
            ]

    # --- what can be read -----------------------------------------------------------------------------------------

    def details(self, call: Call) -> Answer:
        """Answer a GET of ``DataManagementExecutionJobDetails``: a row an entity of an execution, by ``JobId``.

        Raises:
            FnoError: 400 for any other filter than ``JobId eq '...'`` or ``DefinitionGroupId eq '...'``.
        """
        text = call.query.get("$filter", "").strip()
        name, _, value = text.partition(" eq ")
        if text and (name not in ("JobId", "DefinitionGroupId") or value[:1] + value[-1:] != "''"):
            raise bad_query(f"The filter '{text}' is not understood here.")
        wanted = value[1:-1].replace("''", "'").casefold()
        with self._lock:
            executions = list(self.executions.values())
        rows = [
            {
                "JobId": one.id,
                "DefinitionGroupId": one.group,
                "EntityName": progress.part.entity.label,
                "StagingStatus": progress.staging_status,
                "TargetStatus": progress.target_status,
                "StagingRecordsCreatedCount": progress.staged,
                "TargetRecordsCreatedCount": progress.created,
                "TargetRecordsUpdatedCount": progress.updated,
                "TargetRecordsErrorCount": len(progress.target_errors),
            }
            for one in executions
            for progress in list(one.entities.values())
        ]
        rows = [row for row in rows if not text or str(row[name]).casefold() == wanted]
        return json_answer(200, {"@odata.context": f"{call.root}/data/$metadata#{DETAILS}", "value": rows})


def _parameters(body: bytes, action: str) -> dict[str, Any]:
    try:
        given = json.loads(body or b"{}")
    except ValueError as error:
        raise bad_body(f"The payload is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise bad_body("The payload must be one JSON object.")
    for name in _PARAMETERS[action]:
        if name not in given:
            raise bad_body(f"The parameter '{name}' of the operation '{action}' is missing in the request payload.")
        wanted = bool if name in _FLAGS else str
        if not isinstance(given[name], wanted):
            raise bad_body(
                f"Cannot convert the value of parameter '{name}' to the expected type 'Edm.{wanted.__name__}'."
            )
    unknown = [name for name in given if name not in _PARAMETERS[action]]
    if unknown:
        raise bad_body(f"The parameter '{unknown[0]}' in the request payload is not a valid parameter for '{action}'.")
    return given


def _refused(action: str, reason: str) -> FnoError:
    inner = f"Exception occurred while executing action {action} on Entity DataManagementDefinitionGroup: {reason}"
    return FnoError(400, "An error has occurred.", inner, "System.InvalidOperationException")


def _words(error: PackageError | BlobError) -> str:
    if isinstance(error, BlobError):
        names = {403: "Forbidden", 404: "Not Found"}
        return f"The remote server returned an error: ({error.status}) {names.get(error.status, error.code)}."
    return str(error)


def _outcome(execution: Execution) -> str:
    written = sum(one.created + one.updated for one in execution.entities.values())
    errors = sum(len(one.target_errors) + len(one.staging_errors) for one in execution.entities.values())
    if not errors:
        return "Succeeded"
    return "PartiallySucceeded" if written else "Failed"


def _errors(execution: Execution) -> str:
    whole = [{"RecordId": "", "Field": "", "ErrorMessage": execution.problem}] if execution.problem else []
    rows = [
        {"RecordId": problem.record, "Field": problem.field, "ErrorMessage": problem.message}
        for progress in execution.entities.values()
        for _, problem in (*progress.staging_errors, *progress.target_errors)
    ]
    return json.dumps(whole + rows)
