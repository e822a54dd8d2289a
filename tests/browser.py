"""A real browser for tests: headless Chromium by Playwright, JupyterLab to point it at, screenshots to look at.

A test that uses it bears `needs_chromium`: it is skipped, with the reason, where there is no Chromium. Chromium is the
system's own: nothing is downloaded. No page of ours may ask for anything that is not on this machine: names outside do
not resolve in this browser, and `page` fails a test whose page has tried.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
NO_CHROMIUM = "no Chromium on PATH; apt-get install chromium"
TIMEOUT_S = 60
START_TIMEOUT_S = 120
_ARGUMENTS = (
    *("--no-sandbox", "--headless=new", "--disable-gpu", "--disable-background-networking", "--disable-quic"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_LOOPBACK = ("127.0.0.1", "localhost")
_NO_NEWS = '{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}'


def chromium() -> str | None:
    """The path of a Chromium: ``P2C_CHROMIUM``, else the first that is on PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    named = os.environ.get("P2C_CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, names)), None)


_skip = pytest.mark.skipif(chromium() is None, reason=NO_CHROMIUM)


def needs_chromium(test):
    """Mark a test as one of the browser's, skipped where there is none."""
    return pytest.mark.browser(_skip(test))


@dataclass
class Seen:
    """What a page did beside what was asked of it."""

    errors: list[str] = field(default_factory=list)  # of its console, and exceptions that nobody caught
    strays: list[str] = field(default_factory=list)  # addresses outside this machine that it asked for
    requests: list[str] = field(default_factory=list)

    def note(self, url: str) -> None:
        """Take note of a request."""
        self.requests.append(url)
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "about") and parts.hostname not in _LOOPBACK:
            self.strays.append(url)


@contextmanager
def page(width: int = 1400, height: int = 1000) -> Iterator[tuple[Page, Seen]]:
    """Open a page in a browser of its own; everything it waits for ends after `TIMEOUT_S`.

    Yields:
        The page and what it did. A test that fails leaves a screenshot ``failed-<test>``.

    Raises:
        AssertionError: At the end, where the page asked for anything outside this machine.
    """
    seen = Seen()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(_ARGUMENTS))
        try:
            # a spinner that turns would cost more than what it waits for: nothing here has a graphics card
            context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
            context.set_default_timeout(TIMEOUT_S * 1000)
            context.on("request", lambda request: seen.note(request.url))
            context.on("weberror", lambda error: seen.errors.append(str(error.error)))
            tab = context.new_page()
            tab.on("websocket", lambda socket: seen.note(socket.url))
            tab.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
            try:
                yield tab, seen
            except BaseException:
                name = os.environ.get("PYTEST_CURRENT_TEST", "page").partition(" ")[0].rpartition("::")[2]
                shot(tab, f"failed-{name}")
                raise
        finally:
            browser.close()
    assert not seen.strays, f"asked for what is not on this machine: {seen.strays}"


def shot(tab: Page, name: str, *, whole: bool = False) -> Path:
    """Keep a screenshot, of the ``whole`` page or of what is in sight, in ``P2C_SCREENSHOTS`` or build/screenshots."""
    folder = Path(os.environ.get("P2C_SCREENSHOTS") or ROOT / "build" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    tab.screenshot(path=path, full_page=whole)
    return path


def free_port() -> int:
    """A port of this machine that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(
    command: list[str], environment: Mapping[str, str], log: Path, url: str, cwd: Path | None = None
) -> Iterator[subprocess.Popen]:
    """Keep a server running: wait until ``url`` answers with anything, in the end stop it by its process id.

    Args:
        command: What starts it.
        environment: All of its environment.
        log: The file that takes what it prints.
        url: An address that answers once it is up.
        cwd: The folder that it starts in.
    """
    with log.open("w") as out:
        process = subprocess.Popen(command, env=dict(environment), cwd=cwd, stdout=out, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{command[0]} did not start ({process.poll()}):\n{log.read_text()[-4000:]}")
            time.sleep(0.1)
        yield process
    finally:
        end(process)


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


def end(process: subprocess.Popen) -> int:
    """Stop a process that we started, politely first (it takes its kernels along); gives its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait(timeout=20)


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that runs: its root address, and the token that it asks for."""

    url: str
    token: str

    def open(self, tab: Page, notebook: str) -> None:
        """Open a notebook of its folder, alone in the window, and wait until its kernel is ready."""
        tab.goto(f"{self.url}/doc/tree/{notebook}?token={self.token}&reset", timeout=START_TIMEOUT_S * 1000)
        # the indicator of the notebook says idle before there is any kernel
        tab.wait_for_selector('.jp-StatusBar-TextItem:has-text("| Idle")', timeout=START_TIMEOUT_S * 1000)


@contextmanager
def lab(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Lab]:
    """Start JupyterLab on the notebooks of a folder; it sees no settings of this machine's user and keeps none.

    Args:
        folder: Its root; a notebook that is saved is changed there, so give it a copy.
        environment: What its kernels find beside the environment of this process, less every ``P2C_`` of it.
    """
    port, token = free_port(), "token-of-a-test"
    with tempfile.TemporaryDirectory(prefix="p2c-lab-") as own:
        at = Path(own)
        places = {f"JUPYTER_{name}_DIR": str(at / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        places |= {f"JUPYTERLAB_{name}_DIR": str(at / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
        quiet = at / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        quiet.parent.mkdir(parents=True)
        quiet.write_text(_NO_NEWS)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("P2C_")}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
        command += [f"--ServerApp.root_dir={folder}"]
        kept = plain | places | {"IPYTHONDIR": str(at / "ipython")} | dict(environment or {})
        with server(command, kept, at / "lab.log", f"http://127.0.0.1:{port}/api"):
            yield Lab(f"http://127.0.0.1:{port}", token)


def run_all(tab: Page) -> None:
    """Run all cells of the notebook that is open, and wait until the last of them is done."""
    tab.click('.lm-MenuBar-itemLabel:text-is("Run")')
    tab.click('.lm-Menu-item[data-command="runmenu:run-all"]')
    tab.wait_for_function(
        """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]
             .every(prompt => /\\[\\d+\\]/.test(prompt.textContent))""",
        timeout=START_TIMEOUT_S * 1000,
    )
