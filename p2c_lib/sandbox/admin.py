"""The sandbox's own routes, on both services below ``/sandbox``: health, tokens, faults, rows and reset.

Finance and Operations has two more, for what its clerks and its batch do there: orders and totals.
"""

import json
import os
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.fault_rules import Rules
from p2c_lib.sandbox.schema import Column, Entity
from p2c_lib.sandbox.store import Store, decimal_text
from p2c_lib.sandbox.tokens import Tokens


def create_admin(
    store: Store, config: Mapping[str, Any], *, rules: Rules, tokens: Tokens, directory: Path | None = None
) -> Starlette:
    """Make the routes.

    Args:
        store: Rows of the system.
        config: Settings of the sandbox.
        rules: Fault rules in force.
        tokens: Tokens of the service.
        directory: Folder of the sandbox, for ``reset``; None has no reset.

    Returns:
        An app for paths that begin with ``/sandbox/``.
    """

    async def health(_: Request) -> Response:
        return JSONResponse({"system": store.schema.system, "pid": os.getpid(), "instance": config.get("instance", "")})

    async def token(request: Request) -> Response:
        wishes = await request.json() if await request.body() else {}
        issued, lifetime = tokens.issue(wishes.get("lifetime_s"), str(wishes.get("user", "user")))
        return JSONResponse({"access_token": issued, "token_type": "Bearer", "expires_in": int(lifetime)})

    async def faults(request: Request) -> Response:
        if request.method == "POST":
            rules.add(await request.json())
        elif request.method == "DELETE":
            rules.clear()
        answer = {"rules": rules.listing()}
        return JSONResponse(answer | ({"problem": rules.file_problem} if rules.file_problem else {}))

    async def rows(request: Request) -> Response:
        wish = await _json(request)
        return JSONResponse(await run_in_threadpool(change_rows, store, wish))

    async def orders(request: Request) -> Response:
        from p2c_lib.sandbox.orders import act_on_order

        wish = await _wish(request)
        return JSONResponse(await run_in_threadpool(act_on_order, store, str(config["company"]), wish))

    async def totals(request: Request) -> Response:
        from p2c_lib.sandbox.orders_totals import calculate_totals

        return JSONResponse(await run_in_threadpool(calculate_totals, store, await _wish(request)))

    async def reset(request: Request) -> Response:
        if directory is None:
            raise SandboxError("this service has no folder to reset")
        from p2c_lib.sandbox.lifecycle import reset as reset_data

        wishes = await _json(request) if await request.body() else {}
        return JSONResponse(await run_in_threadpool(lambda: reset_data(directory, **wishes)))

    async def refused(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    business = [
        Route("/sandbox/orders", orders, methods=["POST"]),
        Route("/sandbox/totals", totals, methods=["POST"]),
    ]
    return Starlette(
        routes=[
            *(business if store.schema.system == "fno" else []),
            Route("/sandbox/health", health),
            Route("/sandbox/token", token, methods=["POST"]),
            Route("/sandbox/faults", faults, methods=["GET", "POST", "DELETE"]),
            Route("/sandbox/rows", rows, methods=["POST"]),
            Route("/sandbox/reset", reset, methods=["POST"]),
        ],
        exception_handlers={SandboxError: refused, ValueError: refused, TypeError: refused},
    )


async def _json(request: Request) -> Any:
    return json.loads(await request.body(), parse_float=Decimal)


async def _wish(request: Request) -> Mapping[str, Any]:
    wish = await _json(request) if await request.body() else {}
    if not isinstance(wish, dict):
        raise SandboxError("the body must be one JSON object")
    return wish


def change_rows(store: Store, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Change data behind the API's back: no rule of the system is asked, versions and etags move on.

    Args:
        store: Rows of the system.
        wish: ``entity`` and one of: ``row`` (add it), ``key`` with ``changes``, ``key`` with ``"delete": true``. The
            key is any columns with their values, and means every row that has them.

    Returns:
        ``{"rows": n}``: how many rows were added, changed or removed.

    Raises:
        SandboxError: An unknown set or column, a value of the wrong type, no row with that key.
    """
    entity = store.schema.entities.get(wish.get("entity", ""))
    if entity is None:
        raise SandboxError(f"no entity set {wish.get('entity')!r}; known: {', '.join(store.schema.entities)}")
    if ("row" in wish) + ("changes" in wish) + bool(wish.get("delete")) != 1:
        raise SandboxError("rows: give one of row, changes or delete")
    if "row" in wish:
        with store.transaction() as t:
            t.insert(entity.name, _stored(store, entity, wish["row"]))
        return {"rows": 1}
    key, changes = _stored(store, entity, wish.get("key", {})), _stored(store, entity, wish.get("changes", {}))
    table = store.tables[entity.name]
    with store.transaction() as t:
        found = t.rows(table.select().where(*[table.c[name] == value for name, value in key.items()]))
        if not found:
            raise SandboxError(f"{entity.name}: no row with {dict(wish.get('key', {}))}")
        for row in found:
            if wish.get("delete"):
                t.delete(entity.name, row["row_id"])
            else:
                t.update(entity.name, row["row_id"], changes)
    return {"rows": len(found)}


def _stored(store: Store, entity: Entity, values: Mapping[str, Any]) -> dict[str, Any]:
    table = store.tables[entity.name]
    unknown = [name for name in values if name not in table.c]
    if unknown:
        raise SandboxError(f"{entity.name}: no column {unknown[0]!r}; known: {', '.join(entity.columns)}")
    return {name: _stored_value(store, entity.columns.get(name), value) for name, value in values.items()}


def _stored_value(store: Store, column: Column | None, value: Any) -> Any:
    if value is None:
        return column.default if column is not None and store.schema.system == "fno" else None
    if column is not None and column.is_decimal:
        try:
            return decimal_text(Decimal(str(value)))
        except InvalidOperation as error:
            raise SandboxError(f"{column.name}: {value!r} is not a number") from error
    if isinstance(value, bool):
        return int(value)
    if column is not None and column.kind in ("guid", "lookup"):
        return str(value).lower()
    return value
