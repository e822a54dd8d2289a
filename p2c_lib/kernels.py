"""A Jupyter kernel that runs one notebook after the other, so that what they import is imported once.

Every notebook begins with an empty namespace. After one that failed the kernel is thrown away and the next begins in a
fresh one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyter_client.client import KernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

from p2c_lib.errors import OURS, WITHHELD, P2CError, ParameterError, in_words
from p2c_lib.memory import ENVIRONMENT

__all__ = ["Kernel"]

START_TIMEOUT_S = 120
# A warning about TCP on loopback, for every kernel, helps nobody; nor do our cells in the user's own history.
ARGUMENTS = ["--log-level=40", "--HistoryManager.hist_file=:memory:"]


class _Manager(AsyncKernelManager):
    """Remembers its last client: papermill leaves the connection of a kernel that is not its own open."""

    last: KernelClient | None = None

    def client(self, **kwargs: Any) -> Any:
        """Make a client as the parent does."""
        self.last = super().client(**kwargs)
        return self.last


class Kernel:
    """A kernel, started when it is needed; use it from one thread."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Keep what the kernel's process will find in its environment."""
        self._environment = ENVIRONMENT | dict(environment)
        self._manager: _Manager | None = None

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def execute(self, notebook: Path, output: Path, parameters: Mapping[str, Any], timeout_s: int) -> None:
        """Execute a notebook with checked parameters; the executed copy stands at ``output`` also when it fails.

        Args:
            notebook: The file.
            output: Where the executed copy goes.
            parameters: Values for its cell of parameters.
            timeout_s: Longest time for one cell, seconds.

        Raises:
            ParameterError: It does not declare a parameter (papermill only warns).
            P2CError: A cell failed, took too long, or the kernel died; with the cell's error in words.
        """
        import papermill
        from nbclient.exceptions import CellTimeoutError, DeadKernelError

        declared = papermill.inspect_notebook(str(notebook))
        unknown = sorted(set(parameters) - set(declared))
        if unknown:
            raise ParameterError(f"{notebook.name} has no parameter {', '.join(unknown)}; known: {', '.join(declared)}")
        output.parent.mkdir(parents=True, exist_ok=True)
        may_die = True
        while True:
            is_fresh = not self._is_running()
            try:
                self._execute(notebook, output, parameters, timeout_s)
                self._forget()
                return
            except papermill.PapermillExecutionError as error:
                self.stop()
                where = f"cell {error.exec_count} of {output.name}"
                if error.ename in OURS:
                    raise P2CError(in_words(error.ename, error.evalue, where)) from None
                _withhold(output)
                told = P2CError(in_words(error.ename, WITHHELD, where))
                told.add_note("\n".join(error.traceback))
                raise told from None
            except CellTimeoutError:
                self.stop()
                raise P2CError(f"{output.name}: a cell ran longer than {timeout_s} s; give --timeout-s more") from None
            except (DeadKernelError, RuntimeError) as error:
                self.stop()
                # a kernel now and then dies before its first answer (about 1 start in 80); nothing has run then
                if may_die and is_fresh and "died" in str(error).lower():
                    may_die = False
                    continue
                raise P2CError(f"{output.name}: the kernel died: {error}") from error

    def _is_running(self) -> bool:
        return self._manager is not None and run_sync(self._manager.is_alive)()

    def _execute(self, notebook: Path, output: Path, parameters: Mapping[str, Any], timeout_s: int) -> None:
        import papermill

        if not self._is_running():
            self.stop()
            self._manager = _Manager(kernel_name="python3")
            run_sync(self._manager.start_kernel)(extra_arguments=ARGUMENTS, env=self._environment)
        manager = self._manager
        try:
            papermill.execute_notebook(
                str(notebook),
                str(output),
                dict(parameters),
                kernel_name="python3",
                progress_bar=False,
                start_timeout=START_TIMEOUT_S,
                execution_timeout=timeout_s,
                km=manager,
            )
        finally:
            if manager is not None and manager.last is not None:
                manager.last.stop_channels()

    def _forget(self) -> None:
        """Empty the namespace, so that the next notebook begins like the first and rows held by this one are let go."""
        assert self._manager is not None
        client = self._manager.blocking_client()
        client.start_channels(stdin=False, hb=False)
        try:
            client.execute("get_ipython().reset()", silent=True, reply=True, timeout=START_TIMEOUT_S)
        except TimeoutError:
            self.stop()
        finally:
            client.stop_channels()

    def stop(self) -> None:
        """End the kernel, whatever it does; the next notebook gets a fresh one."""
        manager, self._manager = self._manager, None
        if manager is not None:
            run_sync(manager.shutdown_kernel)(now=True)
            run_sync(manager.cleanup_resources)()


def _withhold(output: Path) -> None:
    """Take out of a saved notebook what an error that is none of ours said: nobody wrote it with values in mind."""
    notebook = json.loads(output.read_text("utf-8"))
    for cell in notebook["cells"]:
        for shown in cell.get("outputs", ()):
            if shown["output_type"] == "error" and shown["ename"] not in OURS:
                shown |= {"evalue": WITHHELD, "traceback": [f"{shown['ename']}: {WITHHELD}"]}
    output.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
