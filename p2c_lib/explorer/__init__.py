"""A run to look into: filter its records, open one, tick some into a plan, approve and apply it."""

from p2c_lib.explorer.widget import Explorer, explore

__all__ = ["Explorer", "explore"]
