"""Tasks run in their notebooks through papermill, or in this process; ends with the run's folder complete."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.progress import Progress

from p2c_lib import folder as folders
from p2c_lib import run as runs
from p2c_lib.config import Profile
from p2c_lib.datadocs import build_docs
from p2c_lib.errors import P2CError, ParameterError, in_words
from p2c_lib.model import Route, Task
from p2c_lib.report import write_report

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
DOCUMENT_NOTEBOOKS = {
    "quotedetails": "quotes",
    "salesorders": "orders",
    "salesorderdetails": "orders",
    "invoicedetails": "invoices",
}
START_TIMEOUT_S = 120


def run_tasks(
    profile: Profile,
    tasks: Sequence[Task],
    out: Path | None,
    *,
    notebooks: bool = True,
    jobs: int = 2,
    timeout_s: int = 3600,
    lag: timedelta = timedelta(0),
    progress: Progress | None = None,
    route: Route = "direct",
) -> tuple[Path, dict[str, Any]]:
    """Run tasks and leave the run's folder complete: results, executed notebooks, Data Docs, report.

    Args:
        profile: Where the systems are; the notebooks load it again by its name.
        tasks: What to run.
        out: The run's folder; default a new one below ``runs``.
        notebooks: Through ``notebooks/<entity>.ipynb``, or in this process without them.
        jobs: Notebooks at once.
        timeout_s: Longest time for one cell, seconds.
        lag: How long a change may take to arrive.
        progress: Shows how many tasks are done.
        route: Whose tasks these are. Of a task through CDS both legs go into one notebook, the first before the second.

    Returns:
        The folder and what stands in its ``run.json``. A failed task is recorded there, not raised.
    """
    asked = {"tasks": [task.name for task in tasks], "notebooks": notebooks, "lag_minutes": lag.total_seconds() / 60}
    asked["route"] = route
    folder = folders.create(out, profile, asked)
    names = [task.name for task in tasks]
    with progress or contextlib.nullcontext():
        bar = progress.add_task("running", total=len(tasks) + 1) if progress else None

        def done(label: str) -> None:
            if progress and bar is not None:
                progress.update(bar, advance=1, description=label)

        if notebooks:
            with ThreadPoolExecutor(jobs) as pool:
                how = (profile, folder, timeout_s, lag, route)
                running = [pool.submit(_in_notebook, legs_of, *how) for legs_of in _together(tasks)]
                for job in running:
                    for name in job.result():
                        done(name)
        else:
            with runs.open_clients(profile, route) as clients:
                for task in tasks:
                    with contextlib.suppress(P2CError):  # recorded in the folder; the other tasks go on
                        runs.execute_task(folder, task, clients, lag=lag)
                    done(task.name)
        facts = folders.finish(folder, names)
        _docs(folder, names)
        if notebooks and not all("error" in task for task in facts["tasks"]):
            parameters = {"run": str(folder.resolve()), "profile": profile.name, "company": profile.fno.company}
            execute_notebook("overview", folder / "notebooks" / "overview.ipynb", parameters, timeout_s)
        write_report(folder)
        done("report")
    return folder, facts


def _together(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks by notebook: both legs of a task through CDS in one."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.of or task.name, []).append(task)
    return list(found.values())


def notebook_of(task: Task) -> str:
    """The notebook of a task: one an entity, named as the entity set in Sales; a document's lines are in its own."""
    if task.of:  # order_lines_to_sales: orders
        return task.of.partition("_")[0].removesuffix("s") + "s"
    entity = task.source.entity if task.source.system == "sales" else task.destination.entity
    return DOCUMENT_NOTEBOOKS.get(entity, entity)


def _in_notebook(
    tasks: Sequence[Task], profile: Profile, folder: Path, timeout_s: int, lag: timedelta, route: Route
) -> list[str]:
    names = [task.name for task in tasks]
    name = tasks[0].name if len(tasks) == 1 else tasks[0].of
    parameters = {
        "task": name,
        "route": route,
        "profile": profile.name,
        "company": profile.fno.company,
        "out": str(folder.resolve()),
        "lag_minutes": int(lag.total_seconds() // 60),
    }
    try:
        execute_notebook(notebook_of(tasks[0]), folder / "notebooks" / f"{name}.ipynb", parameters, timeout_s)
    except P2CError as error:
        for one in names:
            if not (folder / "tasks" / one / "checks.json").exists():
                folders.save_failure(folder, one, error)
    return names


def execute_notebook(name: str, output: Path, parameters: dict[str, Any], timeout_s: int) -> None:
    """Execute a notebook with checked parameters; the executed copy stands at ``output`` also when it fails.

    Raises:
        ParameterError: There is no such notebook, or it does not declare a parameter (papermill only warns).
        P2CError: A cell failed, took too long, or the kernel died; with the cell's error in words.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    path = NOTEBOOKS / f"{name}.ipynb"
    if not path.exists():
        raise ParameterError(f"no notebook {path}; run with --no-notebooks, or from a checkout that has them")
    declared = papermill.inspect_notebook(str(path))
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        raise ParameterError(f"{path.name} has no parameter {', '.join(unknown)}; known: {', '.join(declared)}")
    output.parent.mkdir(parents=True, exist_ok=True)
    for attempt in (1, 2):
        try:
            papermill.execute_notebook(
                str(path),
                str(output),
                parameters,
                kernel_name="python3",
                progress_bar=False,
                start_timeout=START_TIMEOUT_S,
                execution_timeout=timeout_s,
                extra_arguments=["--log-level=40"],  # a warning about TCP on loopback, for every kernel, helps nobody
                cwd=str(Path.cwd()),
            )
            return
        except papermill.PapermillExecutionError as error:
            where = f"cell {error.exec_count} of {output.name}"
            raise P2CError(in_words(error.ename, error.evalue, where)) from None
        except CellTimeoutError:
            raise P2CError(f"{output.name}: a cell ran longer than {timeout_s} s; give --timeout-s more") from None
        except (DeadKernelError, RuntimeError) as error:
            # a kernel now and then dies before its first answer (about 1 start in 80); nothing has run then
            if attempt == 2 or "died" not in str(error).lower():
                raise P2CError(f"{output.name}: the kernel died: {error}") from error


def _docs(folder: Path, tasks: Sequence[str]) -> None:
    """Build Data Docs over the validations that the tasks left; none, no docs."""
    results = [result for task in tasks for result in runs.read_validation(folder / "tasks" / task)]
    if results:
        build_docs(results, folder / "docs")
