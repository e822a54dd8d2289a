"""Run an ASGI app on a free loopback port for the length of a test."""

from __future__ import annotations

import atexit
import ssl as ssl_module
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import uvicorn

_ends_with_the_process = ExitStack()
atexit.register(_ends_with_the_process.close)


class _Stage:
    """One server; who plays on it changes, which takes no time."""

    app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


_free: list[tuple[_Stage, str]] = []  # servers of this process that wait for their next app


@contextmanager
def serve(app: Any, *, ssl: ssl_module.SSLContext | None = None) -> Iterator[str]:
    """Serve `app` from a thread; without TLS on a server that one before it has left.

    Args:
        app: An ASGI app without a lifespan of its own.
        ssl: A server context (of trustme, say) for https.

    Yields:
        The base URL, without a slash at its end.
    """
    if ssl is not None:
        with _started(app, ssl) as url:
            yield url
        return
    if not _free:
        stage = _Stage()
        _free.append((stage, _ends_with_the_process.enter_context(_started(stage, None))))
    stage, url = _free.pop()
    stage.app = app
    try:
        yield url
    finally:
        stage.app = None
        _free.append((stage, url))


@contextmanager
def _started(app: Any, ssl: ssl_module.SSLContext | None) -> Iterator[str]:
    """Start a server for `app`.

    Args:
        app: An ASGI app.
        ssl: A server context (of trustme, say) for https.

    Yields:
        The base URL, without a slash at its end.
    """
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off", ws="none")
    config.load()
    config.ssl = ssl
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the test server did not start")
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"{'https' if ssl else 'http'}://127.0.0.1:{port}"
    finally:
        # a TLS client that keeps its connection would be waited for
        for connection in list(server.server_state.connections):
            server.servers[0].get_loop().call_soon_threadsafe(connection.transport.abort)
        server.should_exit = True
        thread.join(timeout=20)
