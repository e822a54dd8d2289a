"""Rows without their key: which of one side look like which of the other, as proposals that a person decides on."""

from p2c_lib.proposals.find import PAIRS, find

__all__ = ["PAIRS", "find"]
