"""Dynamics 365 Sales on loopback: the Dataverse Web API over the sandbox's store."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from p2c_lib.sandbox.dataverse_apply import aggregate
from p2c_lib.sandbox.dataverse_body import find_key
from p2c_lib.sandbox.dataverse_bulk import bulk_action, bulk_delete
from p2c_lib.sandbox.dataverse_core import (
    NAMESPACE,
    Answer,
    Call,
    Config,
    Failure,
    Work,
    bad_query,
    failure_answer,
    json_answer,
)
from p2c_lib.sandbox.dataverse_csdl import csdl
from p2c_lib.sandbox.dataverse_delta import read_changes, read_changes_count, refuse_options
from p2c_lib.sandbox.dataverse_metadata import definitions, message_filters, split_path
from p2c_lib.sandbox.dataverse_read import read_collection, read_count, read_row
from p2c_lib.sandbox.dataverse_write import delete, get_column, patch, post, set_column, set_reference
from p2c_lib.sandbox.grammar import QueryError
from p2c_lib.sandbox.multipart import ChangeSet, MultipartError, Part, Reply, parse_batch, write_batch
from p2c_lib.sandbox.sales_actions import ACTIONS, BOUND
from p2c_lib.sandbox.schema import Entity
from p2c_lib.sandbox.store import Store, now

__all__ = ["Config", "create_app"]

ROOT = re.compile(r"(?:https?://[^/]+)?/?api/data/v9\.\d+/")
METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]


def create_app(store: Store, *, config: Mapping[str, Any] | Config | None = None) -> Starlette:
    """Make the service.

    Args:
        store: Its rows; of the schema ``sales``.
        config: Settings, as a Config or as the sandbox's own (``account_key`` and so on); None takes the defaults.

    Returns:
        An ASGI app that answers below ``/api/data/v9.0`` to ``v9.2``.
    """
    service = _Service(store, Config.of(config))

    async def api(request: Request) -> Response:
        body = await request.body()
        root = f"{request.url.scheme}://{request.url.netloc}/api/data/{request.path_params['version']}"
        raw = request.scope.get("raw_path") or request.url.path.encode()
        path = raw.split(b"?")[0].decode("ascii", "replace").split("/", 4)[4:]
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        call = _call(request.method, path[0] if path else "", request.url.query, headers, body, root)
        answer = await run_in_threadpool(service.answer, call)
        return Response(answer.body, answer.status, {**service.fixed_headers(), **answer.headers})

    return Starlette(
        routes=[
            Route("/api/data/{version:str}", api, methods=METHODS),
            Route("/api/data/{version:str}/{path:path}", api, methods=METHODS),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)] if service.config.gzip else [],
    )


def _call(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, root: str) -> Call:
    pairs = tuple(parse_qsl(query, keep_blank_values=True))
    return Call(method, unquote(path).strip("/"), dict(pairs), headers, body, root, pairs)


class _Service:
    def __init__(self, store: Store, config: Config) -> None:
        self.store, self.config = store, config

    def fixed_headers(self) -> dict[str, str]:
        request_id = str(uuid.uuid4())
        return {
            "OData-Version": "4.0",
            "Cache-Control": "no-cache",
            "REQ_ID": request_id,
            "x-ms-service-request-id": request_id,
            "x-ms-dop-hint": str(self.config.dop_hint),
        }

    # calls -------------------------------------------------------------------------------------------------------
    def answer(self, call: Call) -> Answer:
        """Answer one call of the wire; failures are answers too."""
        try:
            if call.path == "$batch":
                return self._batch(call)
            return self._alone(call)
        except Failure as failure:
            return failure_answer(failure, call.prefer)

    def _alone(self, call: Call) -> Answer:
        """Answer a call in a transaction of its own."""
        try:
            if call.method == "GET":
                with self.store.read() as t:
                    return self._get(Work(self.store, t, self.config, now()), call)
            with self.store.transaction() as t:
                return self._change(Work(self.store, t, self.config, now()), call)
        except QueryError as error:
            raise bad_query(error) from error

    def _get(self, work: Work, call: Call) -> Answer:
        if not call.path:
            sets = [{"name": name, "kind": "EntitySet", "url": name} for name in work.schema.entities]
            return json_answer({"@odata.context": f"{call.root}/$metadata", "value": sets})
        if call.path == "$metadata":
            with_annotations = call.query.get("annotations") == "true"
            return Answer(200, csdl(work.schema, with_annotations), {"Content-Type": "application/xml"})
        segments = split_path(call.path)
        name, key = segments[0]
        if name in FUNCTIONS:
            return FUNCTIONS[name](work, call, key or "")
        if name == "EntityDefinitions":
            return definitions(work, call)
        if name == "sdkmessagefilters":
            return message_filters(work, call)
        entity = work.entity(name)
        rest = segments[1:]
        if key is None:
            return self._get_set(work, entity, [segment for segment, _ in rest], call)
        return self._get_row(work, entity, key, rest, call)

    def _get_set(self, work: Work, entity: Entity, rest: Sequence[str], call: Call) -> Answer:
        if rest == ["$count"]:
            return (read_changes_count if "$deltatoken" in call.query else read_count)(work, entity, call)
        if rest:
            raise Failure(404, "0x80060888", f"Resource not found for the segment '{rest[0]}'.")
        if "$deltatoken" in call.query:
            return read_changes(work, entity, call)
        if call.prefer.track_changes:
            refuse_options(call)
        if "$apply" in call.query:
            return aggregate(work, entity, call)
        return read_collection(work, entity, call)

    def _get_row(
        self, work: Work, entity: Entity, key: str, rest: Sequence[tuple[str, str | None]], call: Call
    ) -> Answer:
        target = find_key(work, entity, key)
        row = target.found()
        if not rest:
            tag = call.header("if-none-match")
            is_plain = "$expand" not in call.query and not call.prefer.annotations
            if tag is not None and is_plain and tag == f'W/"{row["row_version"]}"':
                return Answer(304, b"", {"ETag": tag})
            return read_row(work, entity, row["row_id"], call)
        name, tail = rest[0][0], [segment for segment, _ in rest[1:]]
        if entity.type == "systemuser" and name == f"{work.schema.namespace}.RetrieveUserPrivileges":
            return _privileges(work, call)
        if name not in entity.lookups:
            return get_column(target, name, call, is_raw=tail == ["$value"])
        column, target_type = entity.lookups[name]
        is_other = column.is_polymorphic and row[column.type_column] not in (None, target_type)
        if row[column.name] is None or is_other:
            return Answer(204)
        other = work.schema.by_type[target_type]
        if tail == ["$ref"]:
            url = f"{call.root}/{other.name}({row[column.name]})"
            return json_answer({"@odata.context": f"{call.root}/$metadata#$ref", "@odata.id": url})
        found = find_key(work, other, str(row[column.name])).found()
        return read_row(work, other, found["row_id"], call)

    def _change(self, work: Work, call: Call) -> Answer:
        segments = split_path(call.path) if call.path else [("", None)]
        (name, key), rest = segments[0], [segment for segment, _ in segments[1:]]
        if call.method == "POST" and name == "BulkDelete":
            return bulk_delete(work, call)
        if call.method == "POST" and name in ACTIONS and not rest:
            return ACTIONS[name](work, call)
        if name.startswith("$") and name in work.content_ids:
            (name, key), rest = split_path(work.content_ids[name])[0], rest
        entity = work.entity(name)
        prefix = f"{work.schema.namespace}."
        if call.method == "POST" and key is None:
            if rest and rest[0].startswith(prefix):
                return bulk_action(work, entity, rest[0].removeprefix(prefix), call)
            if not rest:
                return post(work, entity, call)
        if key is not None:
            target = find_key(work, entity, key)
            bound = BOUND.get((entity.name, rest[0].removeprefix(prefix))) if len(rest) == 1 else None
            if bound is not None and call.method == "POST":
                return bound(work, target)
            if not rest and call.method == "PATCH":
                return patch(work, target, key, call)
            if not rest and call.method == "DELETE":
                return delete(work, target, call)
            if len(rest) == 2 and rest[1] == "$ref" and call.method in ("PUT", "DELETE"):
                return set_reference(work, target, rest[0], call)
            if len(rest) == 1 and call.method in ("PUT", "DELETE"):
                return set_column(work, target, rest[0], call)
        raise Failure(405, "0x80060888", f"The requested resource does not support http method '{call.method}'.")

    # batches -----------------------------------------------------------------------------------------------------
    def _batch(self, call: Call) -> Answer:
        if call.method != "POST":
            raise Failure(405, "0x80060888", f"The requested resource does not support http method '{call.method}'.")
        try:
            items = parse_batch(call.body, call.headers.get("content-type", ""))
        except MultipartError as error:
            raise Failure(400, "0x80048d19", str(error)) from error
        replies: list[Reply | Sequence[Reply]] = []
        status = 200
        for item in items:
            reply = self._change_set(item, call) if isinstance(item, ChangeSet) else self._part(item, call)
            replies.append(reply)
            if isinstance(reply, Reply) and reply.status >= 400 and not call.prefer.continue_on_error:
                status = reply.status
                break
        body, content_type = write_batch(replies)
        return Answer(status, body, {"Content-Type": content_type})

    def _inner(self, part: Part, call: Call) -> Call:
        match = ROOT.match(part.url)
        path, query = urlsplit(part.url[match.end() if match else 0 :].lstrip("/"))[2:4]
        headers = dict(part.headers)
        if part.content_id is not None:
            headers["content-id"] = part.content_id
        return _call(part.method, path, query, headers, part.body, call.root)

    def _part(self, part: Part, call: Call) -> Reply:
        inner = self._inner(part, call)
        return _reply(self.answer(inner), part.content_id)

    def _change_set(self, item: ChangeSet, call: Call) -> Reply | Sequence[Reply]:
        replies = []
        try:
            with self.store.transaction() as t:
                work = Work(self.store, t, self.config, now())
                for part in item.parts:
                    inner = self._inner(part, call)
                    try:
                        answer = self._change(work, inner)
                    except QueryError as error:
                        raise _PartFailed(bad_query(error), part, inner) from error
                    except Failure as failure:
                        raise _PartFailed(failure, part, inner) from failure
                    replies.append(_reply(answer, part.content_id))
        except _PartFailed as failed:
            return _reply(failure_answer(failed.failure, failed.call.prefer), failed.part.content_id)
        return replies


class _PartFailed(Exception):
    """Ends a change set; its transaction is rolled back."""

    def __init__(self, failure: Failure, part: Part, call: Call) -> None:
        self.failure, self.part, self.call = failure, part, call
        super().__init__(str(failure))


def _reply(answer: Answer, content_id: str | None) -> Reply:
    return Reply(answer.status, {"OData-Version": "4.0", **answer.headers}, answer.body, content_id)


# functions ----------------------------------------------------------------------------------------------------------
def _who_am_i(work: Work, call: Call, _: str) -> Answer:
    return json_answer(
        {
            "@odata.context": f"{call.root}/$metadata#{work.schema.namespace}.WhoAmIResponse",
            "BusinessUnitId": work.user.get("_businessunitid_value") or str(uuid.UUID(int=0)),
            "UserId": work.user["systemuserid"],
            "OrganizationId": work.organization.get("organizationid") or str(uuid.UUID(int=0)),
        }
    )


def _version(work: Work, call: Call, _: str) -> Answer:
    context = f"{call.root}/$metadata#{work.schema.namespace}.RetrieveVersionResponse"
    return json_answer({"@odata.context": context, "Version": work.config.version})


_PRIVILEGE_OF = {"salesorder": "Order"}
_WITHOUT_PRIVILEGES = ("quotedetail", "salesorderdetail", "invoicedetail")  # their documents' hold for them


def _privileges(work: Work, call: Call) -> Answer:
    """What the calling user's roles allow: everything but what the sandbox was told to deny."""
    denied = {(rule["entity"], rule["verb"]) for rule in work.config.denied if rule["system"] == "sales"}
    granted = [
        {
            "Depth": "Deep",
            "PrivilegeId": str(uuid.uuid5(NAMESPACE, f"prv{verb}{entity.type}")),
            "BusinessUnitId": work.user.get("_businessunitid_value"),
            "PrivilegeName": f"prv{verb.capitalize()}{_PRIVILEGE_OF.get(entity.type, entity.schema_name)}",
        }
        for entity in work.schema.entities.values()
        if entity.type not in _WITHOUT_PRIVILEGES
        for verb in ("create", "read", "write", "delete")
        if (entity.name, verb) not in denied
    ]
    context = f"{call.root}/$metadata#{work.schema.namespace}.RetrieveUserPrivilegesResponse"
    return json_answer({"@odata.context": context, "RolePrivileges": granted})


def _total_record_count(work: Work, call: Call, arguments: str) -> Answer:
    for name, value in call.query.items():
        arguments = arguments.replace(name, value) if name.startswith("@") else arguments
    types = re.findall(r"""["'](\w+)["']""", arguments)
    counts = []
    for name in types:
        entity = work.schema.by_type.get(name)
        if entity is None:
            raise Failure(404, "0x80040217", f"The entity with a name = '{name}' was not found.")
        counts.append(int(work.t.scalar(sa.select(sa.func.count()).select_from(work.store.tables[entity.name]))))
    collection = {"Count": len(types), "IsReadOnly": False, "Keys": types, "Values": counts}
    context = f"{call.root}/$metadata#{work.schema.namespace}.RetrieveTotalRecordCountResponse"
    return json_answer({"@odata.context": context, "EntityRecordCountCollection": collection})


FUNCTIONS = {
    "WhoAmI": _who_am_i,
    "RetrieveVersion": _version,
    "RetrieveTotalRecordCount": _total_record_count,
}
