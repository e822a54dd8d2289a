"""One service of the sandbox as a process: ``python -m p2c_lib.sandbox.serve --system fno --dir DIR --port N``."""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.admin import change_rows, create_admin
from p2c_lib.sandbox.fault_rules import Rule, Rules
from p2c_lib.sandbox.faults import Faults, error_response
from p2c_lib.sandbox.fno_wire import FnoError, read_key, split_resource
from p2c_lib.sandbox.knobs import is_denied
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.store import Store
from p2c_lib.sandbox.tokens import Tokens

System = Literal["sales", "fno"]
_SALES_ROW = re.compile(r"/api/data/v9\.\d+/(\w+)\(([0-9A-Fa-f-]{36})\)")
_SALES_SET = re.compile(r"/api/data/v9\.\d+/(\w+)")
_OF_PACKAGES = ("/dmf/", "/data/DataManagementDefinition", "/data/DataManagementExecution", "/sandbox/packages")
_VERBS = {"GET": "read", "POST": "create", "PATCH": "write", "PUT": "write", "DELETE": "delete"}
_PRIVILEGES = {"read": "Read", "create": "Create", "write": "Write", "delete": "Delete"}


def build_app(system: System, store: Store, config: Mapping[str, Any], directory: Path | None = None) -> ASGIApp:
    """Put a whole service together: its API behind tokens, limits and faults, and the routes below ``/sandbox``.

    Args:
        system: ``"sales"`` or ``"fno"``.
        store: Its rows.
        config: Settings as ``knobs.settings`` makes them.
        directory: Folder of the sandbox: ``faults.json`` is looked for there.

    Returns:
        The ASGI app.
    """
    service: ASGIApp
    if system == "sales":
        from p2c_lib.sandbox import dataverse

        service = dataverse.create_app(store, config=config)
    else:
        from p2c_lib.sandbox import fno

        service = fno.create_app(store, config=config)
    rules = Rules(system, None if directory is None else directory / "faults.json")
    tokens = Tokens(config["token_lifetime_s"], config["require_token"], config.get("token"))
    admin = create_admin(store, config, rules=rules, tokens=tokens, directory=directory)
    inner: ASGIApp = _privileges(service, config) if system == "sales" and config["denied"] else service
    if system == "fno" and config["gzip"]:  # the other one does it itself
        from starlette.middleware.gzip import GZipMiddleware

        inner = GZipMiddleware(inner, minimum_size=1000, compresslevel=1)
    api = Faults(inner, rules, tokens=tokens, limits=(config.get("limits") or {}).get(system), touch=_touch(store))
    # Data packages do not count against a user's limits, and their blobs carry a signature in the place of a token.
    packages, blobs = Faults(inner, rules, tokens=tokens), Faults(inner, rules)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        chosen: ASGIApp = api
        if system == "fno" and path.startswith(_OF_PACKAGES):
            chosen = blobs if path.startswith("/dmf/") else packages if path.startswith("/data/") else service
        elif path.startswith("/sandbox/"):
            chosen = admin
        await chosen(scope, receive, send)

    return app


def _privileges(service: ASGIApp, config: Mapping[str, Any]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found = _SALES_SET.match(scope["path"]) if scope["type"] == "http" else None
        verb = _VERBS.get(scope.get("method", ""), "")
        if found and is_denied(config, "sales", found[1], verb):
            message = (
                f"Principal user is missing prv{_PRIVILEGES[verb]}{found[1].removesuffix('s').capitalize()} privilege"
            )
            await error_response(403, "0x80040220", message)(scope, receive, send)
            return
        await service(scope, receive, send)

    return app


def _touch(store: Store) -> Any:
    """Make the function that gives the row of a URL a new version, for ``etag`` faults."""

    def touch(path: str, rule: Rule) -> None:
        entity, key = rule.entity, rule.key
        if entity is None or key is None:
            located = _located(store, path)
            if located is None:
                return
            entity, key = located
        try:
            change_rows(store, {"entity": entity, "key": key, "changes": dict(rule.changes)})
        except SandboxError:
            return  # the row is not there: the request itself will say so

    return touch


def _located(store: Store, path: str) -> tuple[str, Mapping[str, Any]] | None:
    if store.schema.system == "sales":
        found = _SALES_ROW.match(path)
        entity = store.schema.entities.get(found[1]) if found else None
        return (entity.name, {entity.id: found[2]}) if found and entity else None
    name, text, _ = split_resource(path.removeprefix("/data/"))
    if text is None or name not in store.schema.entities:
        return None
    try:
        return name, read_key(store.schema.entities[name], text)
    except FnoError:
        return None


def wait_for_data(directory: Path, instance: str | None, patience_s: float = 3600.0) -> dict[str, Any]:
    """Wait until the data of a sandbox is there, and read its settings.

    Args:
        directory: Folder of the sandbox; ``data.json`` is the last file that is written there.
        instance: Settings of this start are meant, not those of one before; None takes what is there.
        patience_s: Seconds to wait.

    Returns:
        The settings.

    Raises:
        SandboxError: It did not come in time.
    """
    file = directory / "data.json"
    deadline = time.monotonic() + patience_s
    parent = os.getppid()
    while True:
        if file.exists():
            found: dict[str, Any] = json.loads(file.read_text("utf-8"))["config"]
            if instance in (None, found.get("instance")):
                return found
        if time.monotonic() > deadline or os.getppid() != parent:
            raise SandboxError(f"{file}: did not come; is the sandbox still being made?")
        time.sleep(0.01)


def main(arguments: list[str] | None = None) -> None:
    """Serve one system until a signal ends the process."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="python -m p2c_lib.sandbox.serve", description=__doc__)
    parser.add_argument("--system", choices=("sales", "fno"), required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--instance", help="wait for the settings of this start")
    parser.add_argument("--tls", action="store_true", help="serve https with DIR/server.pem")
    options = parser.parse_args(arguments)
    # The imports of a service take longest; they go on while the data is still being made.
    if options.system == "sales":
        import p2c_lib.sandbox.dataverse
    else:
        import p2c_lib.sandbox.fno  # noqa: F401
    schema = load_schema(options.system)
    try:
        config = wait_for_data(options.dir, options.instance)
    except SandboxError as error:
        sys.exit(str(error))
    store = Store(options.dir / f"{options.system}.sqlite", schema)
    certificate = str(options.dir / "server.pem") if options.tls else None
    uvicorn.run(
        build_app(options.system, store, config, options.dir),
        host="127.0.0.1",
        port=options.port,
        log_level="warning",
        lifespan="off",
        ws="none",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
        ssl_certfile=certificate,
    )


if __name__ == "__main__":
    main()
