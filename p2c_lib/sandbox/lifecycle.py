"""Start, stop, ask and reset a sandbox: two processes on loopback over one folder.

The folder holds ``sales.sqlite`` and ``fno.sqlite`` (the rows), ``truth.parquet`` (what a comparison has to find),
``data.json`` (how the data was made; written last, so that it stands for whole data), ``sandbox.json`` (where the
services are), ``faults.json`` if somebody writes one, logs, and with TLS ``ca.pem`` and ``server.pem``.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any, Literal

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.knobs import WRONG, settings

__all__ = ["DEFAULT_DIR", "reset", "start", "status", "stop"]

DEFAULT_DIR = Path(".p2c/sandbox")
System = Literal["sales", "fno"]
SYSTEMS: tuple[System, System] = ("sales", "fno")
_MADE = ("size", "seed", "drift", "empty", "counts", "staged", "to_load")
_DEFAULT_MADE: dict[str, Any] = {"size": "small", "seed": 7, "drift": False, "empty": False, "counts": None}
_DEFAULT_MADE |= {"staged": False, "to_load": None}
_READY_S = 60.0  # on top of the time that making the data takes
_PORTS = range(20_000, 32_000)
_children: dict[int, subprocess.Popen[bytes]] = {}  # services that this very process has started and left running


def start(
    directory: Path | str = DEFAULT_DIR,
    *,
    size: str | None = None,
    seed: int | None = None,
    drift: bool | None = None,
    empty: bool | None = None,
    counts: Mapping[str, int] | None = None,
    staged: bool | None = None,
    to_load: str | None = None,
    detach: bool = False,
    tls: bool = False,
    ports: Mapping[str, int] | None = None,
    wrong: Sequence[str] = (),
    on_ready: Callable[[dict[str, Any]], None] | None = None,
    **config: Any,
) -> dict[str, Any]:
    """Start both services, making the data first when the folder has none.

    Args:
        directory: Folder of the sandbox; made when it is not there.
        size: ``small`` (default), ``medium`` or ``large``. None takes what is there.
        seed: Of the made-up data, 7 by default.
        drift: True puts differences between the systems into the data.
        empty: True makes reference data only.
        counts: Rows of ``accounts``, ``contacts``, ``products``, instead of those of the size, and of ``orders`` (with
            their quotes and invoices), of which no size has any.
        staged: True makes a store between the two as well, both legs of every task through it done; with ``drift`` the
            differences are then on those legs.
        to_load: ``fno``, ``sales`` or ``both``: rows that the other system would bring there are left out, for a load.
        detach: True returns when both are healthy and leaves them running; False waits until Ctrl-C and stops them.
        tls: True serves https with a certificate signed by ``ca.pem`` in the folder.
        ports: ``sales`` and ``fno``; free ones by default.
        wrong: Ways to be badly prepared, by name (``knobs.WRONG``).
        on_ready: Called with what is returned as soon as both are healthy, before the wait for Ctrl-C.
        **config: Settings (``knobs.DEFAULTS``).

    Returns:
        What ``sandbox.json`` holds: ``sales_url``, ``fno_url``, ``pids``, ``size``, ``seed``, ``drift``, ...

    Raises:
        SandboxError: It runs already, its data was made in another way than asked for, or a service did not come up.
    """
    folder = Path(directory).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if status(folder)["running"]:
        raise SandboxError(f"{folder}: this sandbox is running; stop it first: p2c sandbox stop")
    asked = {"size": size, "seed": seed, "drift": drift, "empty": empty, "counts": counts, "staged": staged}
    asked["to_load"] = to_load
    knobs = settings(wrong, **{"token": secrets.token_urlsafe(24), **config}) | {"instance": secrets.token_hex(8)}
    made = _check_made(folder, asked, wrong)
    if tls:
        _certify(folder)
    chosen = {system: (ports or {}).get(system) or _free_port() for system in SYSTEMS}
    # Services take longest to import; meanwhile the data is made. They wait for the settings of this very start.
    processes = {
        system: _spawn(folder, system, chosen[system], instance=knobs["instance"], tls=tls) for system in SYSTEMS
    }
    with ExitStack() as undo:
        undo.callback(_give_up, folder, processes.values())
        if made is None:
            made = {name: _DEFAULT_MADE[name] if value is None else value for name, value in asked.items()}
            _make(folder, made, wrong)
        _write_json(folder / "data.json", {**made, "wrong": list(wrong), "config": knobs})
        scheme = "https" if tls else "http"
        urls = {system: f"{scheme}://127.0.0.1:{chosen[system]}" for system in SYSTEMS}
        state: dict[str, Any] = {
            "sales_url": urls["sales"],
            "fno_url": urls["fno"],
            "pids": {system: process.pid for system, process in processes.items()},
            **{name: made[name] for name in _MADE},
            "wrong": list(wrong),
            "token": knobs["token"],
            "instance": knobs["instance"],
        }
        if tls:
            state["ca_file"] = str(folder / "ca.pem")
        _wait_healthy(folder, state, processes)
        _write_json(folder / "sandbox.json", state)
        if on_ready is not None:
            on_ready(state)
        undo.pop_all()
    if detach:
        _children.update({process.pid: process for process in processes.values()})
    else:
        _wait_for_interrupt(folder, processes)
    return state


def _give_up(folder: Path, processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()
    (folder / "sandbox.json").unlink(missing_ok=True)


def stop(directory: Path | str = DEFAULT_DIR) -> bool:
    """Stop the services of a folder.

    Args:
        directory: Folder of the sandbox.

    Returns:
        True when something was running. Processes that are not this sandbox's are left alone.
    """
    folder = Path(directory).resolve()
    state = _read_json(folder / "sandbox.json")
    if state is None:
        return False
    ours = [pid for system, pid in state["pids"].items() if _is_ours(folder, state, system)]
    for pid in ours:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while any(_is_alive(pid) for pid in ours) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in filter(_is_alive, ours):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    (folder / "sandbox.json").unlink(missing_ok=True)
    return bool(ours)


def status(directory: Path | str = DEFAULT_DIR) -> dict[str, Any]:
    """Tell how a sandbox is.

    Args:
        directory: Folder of the sandbox.

    Returns:
        ``running`` (both services answer), ``services`` (the same for each), ``sales_url`` and ``fno_url`` (None when
        stopped), ``size``, ``seed``, ``drift``, ``empty``, ``wrong`` (None without data) and ``rows``: row counts
        ``{"sales": {"accounts": 300, ...}, "fno": {...}}``.
    """
    folder = Path(directory).resolve()
    state, made = _read_json(folder / "sandbox.json"), _read_json(folder / "data.json") or {}
    services = {system: state is not None and _health(state, system) is not None for system in SYSTEMS}
    is_running = all(services.values())
    return {
        "running": is_running,
        "services": services,
        "sales_url": state["sales_url"] if state and is_running else None,
        "fno_url": state["fno_url"] if state and is_running else None,
        **{name: made.get(name) for name in (*_MADE, "wrong")},
        "rows": {system: _row_counts(folder / f"{system}.sqlite") for system in SYSTEMS},
    }


def reset(
    directory: Path | str = DEFAULT_DIR,
    *,
    size: str | None = None,
    seed: int | None = None,
    drift: bool | None = None,
    empty: bool | None = None,
    counts: Mapping[str, int] | None = None,
    wrong: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Make the data anew; running services go on at the same addresses and serve it from one moment to the next.

    Args:
        directory: Folder of the sandbox.
        size: As for ``start``; what is None stays as it was.
        seed: As for ``start``.
        drift: As for ``start``.
        empty: As for ``start``.
        counts: As for ``start``; forgotten when a size is given.
        wrong: Rows to set up wrongly, by name. Settings of running services do not change.

    Returns:
        The status afterwards.

    Raises:
        SandboxError: Nothing is there to reset, or the data cannot be made.
    """
    folder = Path(directory).resolve()
    before = _read_json(folder / "data.json")
    if before is None:
        raise SandboxError(f"{folder}: no sandbox to reset; make one: p2c sandbox start")
    asked = {"size": size, "seed": seed, "drift": drift, "empty": empty, "counts": counts}
    made = {name: before[name] if value is None else value for name, value in asked.items()}
    made["staged"], made["to_load"] = before.get("staged", False), before.get("to_load")
    if size is not None and counts is None:
        made["counts"] = None
    ways = before["wrong"] if wrong is None else list(wrong)
    settings(ways)  # refuses unknown names
    _make(folder, made, ways)
    _write_json(folder / "data.json", {**made, "wrong": ways, "config": before["config"]})
    state = _read_json(folder / "sandbox.json")
    if state is not None:
        _write_json(folder / "sandbox.json", state | made | {"wrong": ways})
    return status(folder)


def _check_made(folder: Path, asked: Mapping[str, Any], wrong: Sequence[str]) -> dict[str, Any] | None:
    made = _read_json(folder / "data.json")
    if made is None:
        return None
    made.pop("config", None)
    others = [
        f"{name} is {made.get(name)}, not {value}"
        for name, value in asked.items()
        if value not in (None, made.get(name, _DEFAULT_MADE[name]))
    ]
    if any(WRONG[name].rows or name == "duplicate_account_numbers" for name in set(wrong) ^ set(made["wrong"])):
        others.append(f"wrong is {made['wrong']}, not {list(wrong)}")
    if others:
        raise SandboxError(f"{folder} holds other data: {'; '.join(others)}; make it anew: p2c sandbox reset")
    return made


def _make(folder: Path, made: Mapping[str, Any], wrong: Sequence[str]) -> None:
    """Generate both systems into new files and put them in the place of the old rows."""
    from p2c_lib.sandbox.data import generate  # brings in Polars, which the other functions do without
    from p2c_lib.sandbox.loading import load_both, replace, spoil
    from p2c_lib.sandbox.schema import load_schema
    from p2c_lib.sandbox.store import Store

    how: dict[str, Any] = {name: made.get(name) for name in ("counts", "seed", "empty", "to_load")}
    staged = made.get("staged", False)  # of a store, the differences are on its legs
    world = generate(made["size"], drift=made["drift"] and not staged, **how)
    tables: dict[str, Any] = {}
    if staged:
        from p2c_lib.sandbox.draw import Draw
        from p2c_lib.sandbox.staged import stage, write

        draw = Draw(made["seed"], "staged")
        sales, fno, tables, truth = stage(world.sales, world.fno, world.truth, draw, drift=made["drift"])
        world = replace_fields(world, sales=sales, fno=fno, truth=truth)
    fresh = {system: folder / f"{system}.new.sqlite" for system in SYSTEMS}
    for file in fresh.values():
        _remove_database(file)
    load_both(fresh, {"sales": world.sales, "fno": world.fno})
    for system in SYSTEMS if wrong else ():
        store = Store(fresh[system], load_schema(system))
        spoil(store, wrong)
        store.close()
    # From here to the end the folder's data is not whole; without data.json the next start makes it anew.
    (folder / "data.json").unlink(missing_ok=True)
    (folder / "calendar.json").unlink(missing_ok=True)  # the new rows have lived through no day
    shutil.rmtree(folder / "store", ignore_errors=True)  # what was staged of the old rows
    if tables:
        write(folder / "store", tables)
    world.truth.write_parquet(folder / "truth.parquet")
    for system in SYSTEMS:
        database = folder / f"{system}.sqlite"
        if (folder / "sandbox.json").exists() and database.exists():  # a service has it open
            replace(system, database, fresh[system])
            _remove_database(fresh[system])
        else:
            _remove_database(database)
            fresh[system].replace(database)


def _remove_database(file: Path) -> None:
    for tail in ("", "-wal", "-shm"):
        file.with_name(file.name + tail).unlink(missing_ok=True)


def _row_counts(file: Path) -> dict[str, int]:
    if not file.exists():
        return {}
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'row_%'"
        ).fetchall()
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in sorted(names)}


def _certify(folder: Path) -> None:
    import trustme

    authority = trustme.CA(organization_name="p2c sandbox")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server = folder / "server.pem"
    server.touch(mode=0o600)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(server))


def _free_port() -> int:
    """A port that nobody listens on, and below those that a system hands out to connections: the service binds it only
    some seconds later, and one that was merely free by then belongs to somebody's connection now and then."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port := _PORTS[secrets.randbelow(len(_PORTS))]))
            return port


def _spawn(folder: Path, system: System, port: int, *, instance: str, tls: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "p2c_lib.sandbox.serve", "--system", system, "--dir", str(folder)]
    command += ["--port", str(port), "--instance", instance, *(["--tls"] if tls else [])]
    with (folder / f"{system}.log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C and the end of the terminal do not reach it.
            start_new_session=True,
        )


def _wait_healthy(folder: Path, state: Mapping[str, Any], processes: Mapping[System, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _READY_S
    for system, process in processes.items():
        while True:
            has_ended = process.poll() is not None
            if not has_ended and _health(state, system) is not None:
                break
            if has_ended or time.monotonic() > deadline:
                log = (folder / f"{system}.log").read_text("utf-8", errors="replace").strip()
                reason = log.splitlines()[-1] if log else "it gave no reason"
                raise SandboxError(f"the {system} service did not come up: {reason} ({folder / f'{system}.log'})")
            time.sleep(0.02)


def _wait_for_interrupt(folder: Path, processes: Mapping[System, subprocess.Popen[bytes]]) -> None:
    try:
        while all(process.poll() is None for process in processes.values()):
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait()
        (folder / "sandbox.json").unlink(missing_ok=True)


def _health(state: Mapping[str, Any], system: str) -> dict[str, Any] | None:
    """Ask a service who it is; None when nobody answers or somebody else does."""
    url = f"{state[f'{system}_url']}/sandbox/health"
    try:
        context = ssl.create_default_context(cafile=state["ca_file"]) if "ca_file" in state else None
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
        )
        with opener.open(url, timeout=5) as answer:
            found: dict[str, Any] = json.loads(answer.read())
    except (OSError, ValueError):
        return None
    is_it = found.get("system") == system and found.get("instance") == state["instance"]
    return found if is_it and found.get("pid") == state["pids"][system] else None


def _is_ours(folder: Path, state: Mapping[str, Any], system: str) -> bool:
    """Whether the pid in the file is still the service: it says so itself, or its command line does."""
    if _health(state, system) is not None:
        return True
    pid = state["pids"][system]
    command = Path(f"/proc/{pid}/cmdline")
    try:
        words = command.read_bytes().decode("utf-8", errors="replace").split("\0")
    except OSError:
        return False
    return "p2c_lib.sandbox.serve" in words and str(folder) in words


def _is_alive(pid: int) -> bool:
    if pid in _children:
        if _children[pid].poll() is None:
            return True
        del _children[pid]
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise SandboxError(f"{file}: not JSON: {error}; delete the folder and start anew") from error
    return content


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    # Whole or not at all, whatever ends this process.
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.touch(mode=0o600)
    part.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    part.replace(file)
