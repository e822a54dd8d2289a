"""Finance and Operations: the OData service of the sandbox as a Starlette app."""

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from p2c_lib.sandbox.fault_rules import Rules
from p2c_lib.sandbox.fno_batch import batch_answer
from p2c_lib.sandbox.fno_metadata import READ_ONLY_SETS, edmx, metadata_service, service_document
from p2c_lib.sandbox.fno_packages import DETAILS, GROUPS, Packages
from p2c_lib.sandbox.fno_packages_blobs import ROUTE
from p2c_lib.sandbox.fno_read import read_count, read_row, read_set
from p2c_lib.sandbox.fno_wire import NAMESPACE, Answer, Call, FnoError, json_answer, not_found, read_key, split_resource
from p2c_lib.sandbox.fno_write import create, delete, update
from p2c_lib.sandbox.knobs import is_denied
from p2c_lib.sandbox.schema import Entity
from p2c_lib.sandbox.store import Store, Transaction

_VERBS = {"GET": "read", "POST": "create", "PATCH": "write", "PUT": "write", "DELETE": "delete"}


class Service:
    """Serves one request after the other over a store; whole requests and single batch operations alike."""

    def __init__(self, store: Store, config: Mapping[str, Any]) -> None:
        """Serve a store.

        Args:
            store: The rows.
            config: Settings of the sandbox.
        """
        self.store, self.config = store, config
        # SQLite has one writer at a time; waiting here is fairer than its busy handler, which sleeps and tries again.
        self._writing = threading.Lock()
        self.packages = Packages(store, config, self._writing)

    @cached_property
    def _edmx(self) -> bytes:
        return edmx(self.store.schema)

    def serve(self, call: Call, rules: Rules | None = None) -> Answer:
        """Answer one request below ``/data``.

        Args:
            call: The request.
            rules: Fault rules that may strike single operations of a batch.

        Returns:
            The answer; refusals are answers too.
        """
        try:
            if call.path.strip("/") == "$batch":
                if call.method != "POST":
                    raise FnoError(405, "The batch resource only takes POST.")
                return batch_answer(call, self.serve, self.write_all, rules)
            if call.method == "GET":
                return self._get(call)
            if call.method == "POST" and (action := _package_action(call)):
                return self.packages.action(call, action)
            return self.write_all([call])[0]
        except FnoError as error:
            return error.answer()

    def write_all(self, calls: list[Call], before: Callable[[Call], None] | None = None) -> list[Answer]:
        """Do writes in one transaction.

        Args:
            calls: POST, PATCH, PUT and DELETE requests.
            before: Called before each of them; may raise to stop it.

        Returns:
            An answer for each, in order; nothing is kept unless all of them succeed.

        Raises:
            FnoError: The first that was refused.
        """
        answers = []
        with self._writing, self.store.transaction() as t:
            for call in calls:
                if before is not None:
                    before(call)
                answers.append(self._write(t, call))
        return answers

    def _get(self, call: Call) -> Answer:
        path = call.path.strip("/")
        if path == "":
            return service_document(self.store.schema, call)
        if path == "$metadata":
            return Answer(200, self._edmx, {"Content-Type": "application/xml; charset=utf-8", "OData-Version": "4.0"})
        name, key, rest = split_resource(call.path)
        if name == DETAILS and key is None and not rest:
            return self.packages.details(call)
        entity = self._entity(call, name)
        self._check_privilege(call, entity)
        if key is not None and not rest:
            return read_row(self.store, self.config, entity, read_key(entity, key), call)
        if key is None and rest == ["$count"]:
            return read_count(self.store, self.config, entity, call)
        if rest:
            raise not_found(f"No HTTP resource was found that matches the request URI '{call.root}/data/{path}'.")
        return read_set(self.store, self.config, entity, call)

    def _write(self, t: Transaction, call: Call) -> Answer:
        name, key, rest = split_resource(call.path)
        if call.method == "POST" and rest and rest[0].startswith(f"{NAMESPACE}."):
            return self._action(call, name, rest[0].removeprefix(f"{NAMESPACE}."))
        entity = self._entity(call, name)
        if call.method not in _VERBS or (call.method == "POST") != (key is None) or rest:
            raise FnoError(405, f"The requested resource does not support http method '{call.method}'.")
        if name in READ_ONLY_SETS:
            raise FnoError(405, f"The entity set '{name}' is read-only: no {call.method}.")
        self._check_privilege(call, entity)
        if key is None:
            return create(t, self.config, entity, call)
        if call.method == "DELETE":
            return delete(t, self.config, entity, read_key(entity, key), call)
        return update(t, self.config, entity, read_key(entity, key), call)

    def _entity(self, call: Call, name: str) -> Entity:
        entity = self.store.schema.entities.get(name)
        if entity is None:
            raise not_found(f"No HTTP resource was found that matches the request URI '{call.root}/data/{name}'.")
        return entity

    def _check_privilege(self, call: Call, entity: Entity) -> None:
        if is_denied(self.config, "fno", entity.name, _VERBS.get(call.method, "write")):
            reason = f"Access denied: the user has no {_VERBS[call.method]} permission on data entity '{entity.label}'."
            raise FnoError(403, "Forbidden", reason, "System.UnauthorizedAccessException")

    def _action(self, call: Call, name: str, action: str) -> Answer:
        versions = {
            "GetApplicationVersion": "application_version",
            "GetPlatformBuildVersion": "platform_version",
            "GetApplicationBuildVersion": "application_build",
        }
        if name == "DataManagementEntities" and action in versions:
            context = f"{call.root}/data/$metadata#Edm.String"
            return json_answer(200, {"@odata.context": context, "value": self.config[versions[action]]})
        if name == "SystemNotifications" and action == "GetInstalledModules":
            context = f"{call.root}/data/$metadata#Collection(Edm.String)"
            return json_answer(200, {"@odata.context": context, "value": installed_modules(self.config)})
        raise not_found(f"No HTTP resource was found that matches the request URI '{call.root}/data/{name}/{action}'.")


def _package_action(call: Call) -> str:
    """Name of the data management action that is called; empty when it is another request."""
    name, _, rest = split_resource(call.path)
    is_one = name == GROUPS and len(rest) == 1 and rest[0].startswith(f"{NAMESPACE}.")
    return rest[0].removeprefix(f"{NAMESPACE}.") if is_one else ""


def installed_modules(config: Mapping[str, Any]) -> list[str]:
    """List modules and hotfixes, a text each: ``Name: X | Version: Y | Module: Z | Publisher: P | DisplayName: D``."""
    build = config["application_build"]
    modules = [("ApplicationSuite", "Application Suite"), ("ApplicationFoundation", "Application Foundation")]
    rows = [(name, build, name, label) for name, label in modules]
    rows += [("ApplicationPlatform", config["platform_version"], "ApplicationPlatform", "Application Platform")]
    rows += [(kb, build, "ApplicationSuite", f"Hotfix {kb}") for kb in config.get("kbs", ())]
    return [f"Name: {n} | Version: {v} | Module: {m} | Publisher: Microsoft | DisplayName: {d}" for n, v, m, d in rows]


def create_app(store: Store, *, config: Mapping[str, Any]) -> Starlette:
    """Make the service.

    Args:
        store: Rows of the ``fno`` schema.
        config: Settings as ``knobs.settings`` makes them.

    Returns:
        An app that serves ``/data``, ``/metadata``, the blobs of data packages below ``/dmf/``, and
        ``/sandbox/packages``, which cancels an execution.
    """
    service = Service(store, config)

    async def data(request: Request) -> Response:
        started = time.monotonic()
        call = await _call(request, "/data")
        answer = await run_in_threadpool(service.serve, call, request.scope.get("sandbox.rules"))
        return _response(answer, started)

    async def metadata(request: Request) -> Response:
        started = time.monotonic()
        call = await _call(request, "/metadata")
        try:
            answer = metadata_service(store.schema, call)
        except FnoError as error:
            answer = error.answer()
        return _response(answer, started)

    async def cancel(request: Request) -> Response:
        found = service.packages.cancel(str((await request.json()).get("cancel", "")))
        return JSONResponse({"canceled": found}, 200 if found else 404)

    methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
    return Starlette(
        routes=[
            Route("/data", data, methods=methods),
            Route("/data/{path:path}", data, methods=methods),
            Route("/metadata/{path:path}", metadata, methods=methods),
            Route(ROUTE + "{name:path}", service.packages.blobs.answer, methods=["GET", "PUT"]),
            Route("/sandbox/packages", cancel, methods=["POST"]),
        ]
    )


async def _call(request: Request, prefix: str) -> Call:
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    query = request.scope["query_string"].decode("latin-1")
    url = request.url
    return Call(
        method="GET" if request.method == "HEAD" else request.method,
        path=path[path.find(prefix) + len(prefix) :],
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.body(),
        root=f"{url.scheme}://{url.netloc}",
    )


def _response(answer: Answer, started: float) -> Response:
    taken = round((time.monotonic() - started) * 1000)
    extra = {"ms-dyn-aid": str(uuid.uuid4()), "server-timing": f"dur={taken}"}
    return Response(answer.body, answer.status, {**answer.headers, **extra})
