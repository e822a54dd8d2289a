"""Where the parts of a run are kept.

A run's folder is made to be handed over: it holds what people read, with personal values masked. The frames that were
compared and the plan with its journal hold the values as they are, and stay on this machine, in a place that only its
user can read: ``.p2c/private/<run>`` at home. ``working`` of the run's ``run.json`` is the name of that place; a folder
without it (the buckets of a load, runs of earlier versions) keeps its working data inside.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from p2c_lib.config import home
from p2c_lib.errors import ParameterError

__all__ = ["forget", "make_private", "plan_folder", "private_root", "task_folder", "tasks_folder", "working_folder"]

_NAME = re.compile(r"[\w-]+(?:/undo/\d+)*")  # a name from a file must not lead anywhere else


def private_root() -> Path:
    """The folder of all working data, ``.p2c/private`` at home."""
    return home() / ".p2c" / "private"


def make_private(name: str) -> Path:
    """Make the place of a run's working data; only its owner can look into it.

    Args:
        name: The ``working`` of its ``run.json``.
    """
    root = private_root()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    place = root / name
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def working_folder(run_dir: Path) -> Path:
    """The folder of a run's working data: frames, plan and journal.

    Args:
        run_dir: The run's folder; without ``run.json``, or without ``working`` in it, it is that folder itself.

    Raises:
        ParameterError: The working data is not on this machine.
    """
    name = _working(run_dir)
    if name is None:
        return run_dir
    roots = [private_root(), *(above / ".p2c" / "private" for above in run_dir.resolve().parents)]
    found = next((root / name for root in roots if (root / name).is_dir()), None)
    if found is None:
        raise ParameterError(
            f"{run_dir}: the rows and the plan of this run are not here: they stay on the machine that made it, in "
            f".p2c/private/{name} at its home (or they were let go of by p2c forget); compare again in a new run"
        )
    return found


def _working(run_dir: Path) -> str | None:
    try:
        facts = json.loads((run_dir / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None  # who reads the run says what is wrong with it
    name = facts.get("working") if isinstance(facts, dict) else None
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ParameterError(f"{run_dir / 'run.json'}: working: {name!r} is no name of a run's working data")
    return name


def tasks_folder(run_dir: Path) -> Path:
    """The folder of the folders of a run's tasks."""
    return working_folder(run_dir) / "tasks"


def task_folder(run_dir: Path, task: str) -> Path:
    """The folder of the frames that a task of a run was compared by."""
    return tasks_folder(run_dir) / task


def plan_folder(run_dir: Path) -> Path:
    """The folder of a run's plan, its approval, its journal, and what became of it."""
    return working_folder(run_dir) / "plan"


def forget(run_dir: Path) -> int:
    """Remove a run's working data, ways back included; what may be handed over stays.

    Args:
        run_dir: The run's folder.

    Returns:
        How many bytes that freed.

    Raises:
        ParameterError: The run keeps its working data inside, or has none here.
    """
    place = working_folder(run_dir)
    if place == run_dir:
        raise ParameterError(f"{run_dir} keeps its working data inside; remove the folder itself")
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    shutil.rmtree(place)
    return size
