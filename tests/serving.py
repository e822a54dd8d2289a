"""Run an ASGI app on a free loopback port for the length of a test."""

from __future__ import annotations

import ssl as ssl_module
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


@contextmanager
def serve(app: Any, *, ssl: ssl_module.SSLContext | None = None) -> Iterator[str]:
    """Serve `app` from a thread.

    Args:
        app: An ASGI app.
        ssl: A server context (of trustme, say) for https.

    Yields:
        The base URL, without a slash at its end.
    """
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="auto", ws="none")
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
