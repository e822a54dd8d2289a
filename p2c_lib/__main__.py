"""The command ``p2c``, also as ``python -m p2c_lib``: the allocators are set, then everything else is imported."""

from __future__ import annotations

from p2c_lib.memory import settle

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    settle()
    from p2c_lib.cli import main as command

    command()


if __name__ == "__main__":
    main()
