"""The app: one notebook served without its code, by Voila, on this machine only and with a token.

Voila by itself checks neither the name that it is called by nor, for its static files, who calls. Here every handler
stands behind a gate: a request must name this machine and this port, must not come from a page of another origin, and
must bear the token, once in the address and from then on in a cookie that scripts cannot read. The page may load
nothing from anywhere else. Of what a browser may send to a kernel, Voila passes on what widgets say, and no code.
"""

from __future__ import annotations

import errno
import hmac
import logging
import os
import secrets
import socket
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler
from traitlets.config import Config
from voila.app import Voila

from p2c_lib.errors import ParameterError
from p2c_lib.kernels import ARGUMENTS
from p2c_lib.memory import ENVIRONMENT

__all__ = ["ADDRESS", "serve"]

ADDRESS = "127.0.0.1"
FIRST_PORT = 8866
PORTS_TRIED = 50
TEMPLATES = Path(__file__).parent / "assets" / "app"
# A kernel whose page is gone without a word (a crash, a lid that was shut) is let go after this time.
IDLE_S = 600
COOKIE_DAYS = 1
NO_TOKEN = "This page opens with the address that `p2c app` printed, which holds its token."
# What the page needs of what other packages add to JupyterLab; a user's own additions stay out.
WIDGETS = ("@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget")
FORMULAS = "@jupyterlab/mathjax2-extension"  # would be fetched from outside, and `$` is money here
_SOURCES = {
    "default-src": "'self'",
    # a widget's own script comes through its kernel's connection, as a blob
    "script-src": "'self' 'unsafe-inline' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


class _Gate(RequestHandler):
    """Goes before a handler: lets through what calls this machine by its name and has the token, and nothing else."""

    is_let_in = False

    def set_default_headers(self) -> None:
        """Keep the page to itself; a web socket has no use for headers."""
        super().set_default_headers()
        if self.request.headers.get("Upgrade"):
            return
        host = self.request.headers.get("Host", "")
        connect = f"'self' ws://{host} blob: data:" if host in self._names() else "'none'"
        policy = "; ".join(f"{name} {value}" for name, value in _SOURCES.items()) + f"; connect-src {connect}"
        for name, value in (
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            self.set_header(name, value)

    async def prepare(self) -> None:
        """Refuse, or let the handler itself prepare."""
        refused = self._refused()
        if refused:
            self._say(HTTPStatus.FORBIDDEN, refused)
        elif self._has_token_in_address():
            self._remember()
        else:
            self.is_let_in = True
            prepared = super().prepare()
            if prepared is not None:
                await prepared

    def _names(self) -> tuple[str, ...]:
        port = self.settings["p2c_port"]
        return f"{ADDRESS}:{port}", f"localhost:{port}"

    def _refused(self) -> str:
        """Why a request is refused, in words; nothing where it is let in."""
        if self.request.headers.get("Host", "") not in self._names():
            return "This machine is called by another name here. " + NO_TOKEN
        origin = self.request.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self._names():
            return "A page of another origin has no business here."
        kind, _, given = self.request.headers.get("Authorization", "").partition(" ")
        if kind.lower() in ("token", "bearer") and self._is_token(given.strip()):
            return ""
        return "" if self._has_token_in_address() or self._has_cookie() else NO_TOKEN

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.settings["p2c_token"].encode())

    def _has_token_in_address(self) -> bool:
        return self.request.method == "GET" and self._is_token(self.get_query_argument("token", ""))

    def _has_cookie(self) -> bool:
        return self.get_signed_cookie(self.settings["p2c_cookie"], max_age_days=COOKIE_DAYS) is not None

    def _remember(self) -> None:
        """Put the token away in a cookie, and the address without it into the browser's line and history."""
        kept = urlencode([(name, value) for name, value in parse_qsl(self.request.query) if name != "token"])
        self.set_signed_cookie(self.settings["p2c_cookie"], "1", expires_days=None, httponly=True, samesite="Lax")
        self.redirect("/" + self.request.path.lstrip("/") + (f"?{kept}" if kept else ""))

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say what is wrong in words, and nothing of what is inside."""
        self._say(status_code, "There is nothing here." if status_code < 500 else "That failed.")

    def _say(self, status: int, text: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(f"<!doctype html><title>p2c</title><h1>{HTTPStatus(status).phrase}</h1><p>{escape(text)}</p>\n")


class _LetIn(IdentityProvider):
    """Whoever the gate let in is the analyst; there is no page to sign in by."""

    def get_user(self, handler: Any) -> User | None:
        """Give the user where the gate let the request in."""
        return User("analyst") if getattr(handler, "is_let_in", False) else None

    def get_handlers(self) -> list[tuple[str, object]]:
        """Give none: no page to sign in or out by."""
        return []


class Kernels(AsyncMappingKernelManager):
    """Kernels of pages, started as those of runs are."""

    async def start_kernel(self, **how: Any) -> str:  # type: ignore[override]
        """Start one, quiet, that gives memory back and keeps no history of its cells."""
        how["extra_arguments"] = [*how.get("extra_arguments", []), *ARGUMENTS]
        how["env"] = ENVIRONMENT | how.get("env", dict(os.environ))
        return await super().start_kernel(**how)


class _Seat(Voila):  # type: ignore[misc]
    """Voila behind a gate, on a socket of ours, with settings of ours alone."""

    ready: Callable[[str], None]
    held: socket.socket
    secret: str
    template_paths: Any

    def _config_file_paths_default(self) -> list[str]:
        return []  # a voila.py in the folder that one happens to be in is not for us to run

    def setup_template_dirs(self) -> None:
        """Look for templates in our folder first."""
        super().setup_template_dirs()
        self.template_paths = [str(TEMPLATES), *self.template_paths]

    def init_settings(self) -> dict[str, Any]:
        """Give Voila's settings, the doors that it leaves open shut."""
        settings: dict[str, Any] = super().init_settings()
        return settings | {
            "allow_remote_access": False,
            "local_hostnames": ["localhost"],
            "cookie_secret": secrets.token_bytes(32),
            "disable_check_xsrf": True,  # the gate takes nothing from another origin
            "log_function": self._log,
            "p2c_token": self.secret,
            "p2c_port": self.port,
            "p2c_cookie": f"p2c-app-{self.port}",
        }

    def _log(self, handler: Any) -> None:
        """Tell what failed on our side, without the query: it may hold the token."""
        if handler.get_status() >= 500:
            self.log.error("%s %s: %s", handler.request.method, handler.request.path, handler.get_status())

    def init_handlers(self) -> list[Any]:
        """Give Voila's handlers, each behind the gate."""
        return [(url, type(kind.__name__, (_Gate, kind), {}), *rest) for url, kind, *rest in super().init_handlers()]

    def listen(self) -> None:
        """Answer on our socket until somebody stops it."""
        server = HTTPServer(self.app)
        server.add_sockets([self.held])
        self.ioloop = IOLoop.current()
        self.ioloop.add_callback(self.ready, f"http://{ADDRESS}:{self.port}/?token={self.secret}")
        try:
            self.ioloop.start()
        finally:
            server.stop()
            self.stop()


def serve(notebook: Path, port: int | None, ready: Callable[[str], None]) -> None:
    """Serve a notebook without its code until the process is interrupted or told to end.

    Args:
        notebook: What each page runs, in a kernel of its own that ends with the page.
        port: On loopback; 0 takes any that is free, None the first that is free from `FIRST_PORT`.
        ready: Called with the address, which holds the token, once it answers.

    Raises:
        ParameterError: The port cannot be had.
    """
    logging.getLogger("tornado.general").setLevel(logging.ERROR)  # it finds fault with how Jupyter sets its pings
    held = _bind(port)
    seat = _Seat(config=_settings(held.getsockname()[1]))
    seat.ready, seat.held, seat.secret = ready, held, secrets.token_urlsafe(24)
    seat.initialize([str(notebook)])
    try:
        seat.start()
    except KeyboardInterrupt:
        return


def _bind(port: int | None) -> socket.socket:
    tried = range(FIRST_PORT, FIRST_PORT + PORTS_TRIED) if port is None else [port]
    for number in tried:
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name != "nt":  # there it would share a port that is in use
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((ADDRESS, number))
            held.listen(128)
            held.setblocking(False)
        except OSError as error:
            held.close()
            if port is None and error.errno == errno.EADDRINUSE:
                continue
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
            raise ParameterError(f"port {number} {why}; name another with --port, or none at all") from None
        return held
    raise ParameterError(f"no port from {tried[0]} to {tried[-1]} is free; name one with --port")


def _without_formulas(page: dict[str, Any], **_: Any) -> dict[str, Any]:
    return page | {"disabledExtensions": [*page.get("disabledExtensions", []), FORMULAS]}


def _settings(port: int) -> Config:
    return Config(
        {
            "Voila": {
                "port": port,
                "ip": ADDRESS,
                "open_browser": False,
                "log_level": "ERROR",
                "identity_provider_class": _LetIn,
            },
            "VoilaConfiguration": {
                "template": "lab",
                "theme": "light",
                "allow_template_override": "NO",
                "allow_theme_override": "NO",
                "strip_sources": True,
                "show_tracebacks": False,
                "file_allowlist": [],  # no file beside the notebook is anybody's business
                "file_denylist": [".*"],
                "multi_kernel_manager_class": Kernels,
                "extension_allowlist": list(WIDGETS),
                "page_config_hook": _without_formulas,
                "http_keep_alive_timeout": 5,
                "resources": {"metadata": {"name": "p2c"}},
            },
            "VoilaExecutor": {
                "timeout": 600,
                "cell_error_instruction": "The window in which `p2c app` runs says more.",
            },
            "MappingKernelManager": {"cull_idle_timeout": IDLE_S, "cull_interval": 60, "cull_connected": False},
        }
    )
