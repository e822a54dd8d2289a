"""Tasks run in their notebooks through papermill, or in this process; ends with the run's folder complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.progress import Progress

from p2c_lib import folder as folders
from p2c_lib import history, migration
from p2c_lib import run as runs
from p2c_lib.config import Profile
from p2c_lib.datadocs import build_docs
from p2c_lib.errors import P2CError, ParameterError
from p2c_lib.kernels import Kernel
from p2c_lib.legs import templates_for
from p2c_lib.model import Route, Task
from p2c_lib.places import task_folder
from p2c_lib.readings import FOLDER_VARIABLE
from p2c_lib.report import write_report
from p2c_lib.workbook import write_workbook

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
DOCUMENT_NOTEBOOKS = {
    "quotedetails": "quotes",
    "salesorders": "orders",
    "salesorderdetails": "orders",
    "invoicedetails": "invoices",
}


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
    workbook: bool = False,
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
        workbook: Write the run as a workbook too; it takes a minute for 500,000 rows that differ.

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
            _in_notebooks(profile, tasks, folder, jobs, timeout_s, lag, route, done)
        else:
            runs.execute_tasks(folder, profile, tasks, lag=lag, route=route, done=done)
        facts = history.conclude(profile, folder, names)
        migration.save_declared(folder, profile)
        _docs(folder, names)
        if notebooks and not all("error" in task for task in facts["tasks"]):
            parameters = {"run": str(folder.resolve()), "profile": profile.name, "company": profile.fno.company}
            execute_notebook("overview", folder / "notebooks" / "overview.ipynb", parameters, timeout_s)
        if workbook:
            write_workbook(folder)
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


def _in_notebooks(
    profile: Profile,
    tasks: Sequence[Task],
    folder: Path,
    jobs: int,
    timeout_s: int,
    lag: timedelta,
    route: Route,
    done: Callable[[str], None],
) -> None:
    """Run tasks in their notebooks, ``jobs`` at once, each lane in a kernel of its own; failures are recorded."""
    waiting = iter(_together(tasks))  # one for all lanes: each takes the next that nobody has taken

    def lane(environment: Mapping[str, str]) -> None:
        with Kernel(environment) as kernel:
            for legs in waiting:
                name = legs[0].name if len(legs) == 1 else legs[0].of
                parameters = {
                    "task": name,
                    "route": route,
                    "profile": profile.name,
                    "company": profile.fno.company,
                    "out": str(folder.resolve()),
                    "lag_minutes": int(lag.total_seconds() // 60),
                    "unmask": ", ".join(profile.unmask),
                }
                output = folder / "notebooks" / f"{name}.ipynb"
                try:
                    execute_notebook(notebook_of(legs[0]), output, parameters, timeout_s, kernel)
                except P2CError as error:
                    for task in legs:
                        if len(legs) == 1 or not (task_folder(folder, task.name) / "checks.json").exists():
                            folders.save_failure(folder, task.name, error)
                for task in legs:
                    done(task.name)

    with runs.shared_readings(folder, tasks, templates_for(profile, route)) as readings:
        environment = os.environ | {FOLDER_VARIABLE: str(readings.resolve())}
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lane, [environment] * jobs))


def execute_notebook(
    name: str, output: Path, parameters: dict[str, Any], timeout_s: int, kernel: Kernel | None = None
) -> None:
    """Execute a notebook with checked parameters; the executed copy stands at ``output`` also when it fails.

    Args:
        name: Of the notebook.
        output: Where the executed copy goes.
        parameters: Values for its cell of parameters.
        timeout_s: Longest time for one cell, seconds.
        kernel: Runs it; default one of its own.

    Raises:
        ParameterError: There is no such notebook, or it does not declare a parameter (papermill only warns).
        P2CError: A cell failed, took too long, or the kernel died; with the cell's error in words.
    """
    path = NOTEBOOKS / f"{name}.ipynb"
    if not path.exists():
        raise ParameterError(f"no notebook {path}; run with --no-notebooks, or from a checkout that has them")
    with contextlib.nullcontext(kernel) if kernel else Kernel(os.environ) as chosen:
        chosen.execute(path, output, parameters, timeout_s)


def _docs(folder: Path, tasks: Sequence[str]) -> None:
    """Build Data Docs over the validations that the tasks left; none, no docs."""
    results = [result for task in tasks for result in runs.read_validation(task_folder(folder, task))]
    if results:
        build_docs(results, folder / "docs")
