"""The command line of the app: serve overview and explorer in a browser, without code."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from p2c_lib.config import home, load_profile
from p2c_lib.errors import ConfigError
from p2c_lib.sandbox_cli import err_console, out_console
from p2c_lib.write_cli import ProfileOption

__all__ = ["app"]

Run = Annotated[
    Path | None, typer.Argument(help="The folder that `p2c run` printed; none: all, to choose from.", metavar="[DIR]")
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Of this machine; default: a free one from 8866.")]


def app(
    run: Run = None,
    port: Port = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    profile: ProfileOption = "",
) -> None:
    """Serve overview and explorer to the browsers of this machine, without code, until Ctrl-C."""
    if find_spec("voila") is None:
        raise ConfigError("the app needs the package voila, which is not installed: make env, or pip install voila")
    if profile:
        load_profile(profile)
    with err_console.status("starting the app") as spinner:
        from p2c_lib import app_page  # before Jupyter's server: with it, jsonschema's grammar is not built (2 s of CPU)

        place = home().resolve()
        os.environ |= {"P2C_HOME": str(place), app_page.RUNS_FOLDER: str(place / "runs"), app_page.PROFILE: profile}
        os.environ.pop(app_page.RUN_FOLDER, None)
        if run is not None:
            app_page.check_run(run)
            os.environ[app_page.RUN_FOLDER] = str(run.resolve())

        from p2c_lib import app as serving
        from p2c_lib.execution import NOTEBOOKS

        def ready(address: str) -> None:
            spinner.stop()
            out_console.print(f"the app: {address}", highlight=False, soft_wrap=True)
            out_console.print("it opens with this address only; Ctrl-C ends it, with all its pages")
            if browser:
                stack.enter_context(_opened(address))

        with contextlib.ExitStack() as stack:
            serving.serve(NOTEBOOKS / "app.ipynb", port, ready)
    out_console.print("ended")


@contextlib.contextmanager
def _opened(address: str) -> Iterator[None]:
    """Open a page in the user's browser, by a file that no other user can read: a command line is for all to see."""
    with tempfile.TemporaryDirectory(prefix="p2c-app-") as own:
        page = Path(own) / "open.html"
        page.write_text(f'<meta http-equiv="refresh" content="0; url={escape(address)}">', "utf-8")
        threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
        yield
