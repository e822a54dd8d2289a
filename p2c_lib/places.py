"""Where the parts of a run are kept: a folder for each task's frames, one for the plan with its journal."""

from __future__ import annotations

from pathlib import Path

__all__ = ["plan_folder", "task_folder", "tasks_folder"]


def tasks_folder(run_dir: Path) -> Path:
    """The folder of the folders of a run's tasks."""
    return run_dir / "tasks"


def task_folder(run_dir: Path, task: str) -> Path:
    """The folder of the frames that a task of a run was compared by."""
    return tasks_folder(run_dir) / task


def plan_folder(run_dir: Path) -> Path:
    """The folder of a run's plan, its approval, its journal, and what became of it."""
    return run_dir / "plan"
