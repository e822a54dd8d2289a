"""What people give to notebooks and commands, refused in words where it cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from p2c_lib.config import FnoEndpoint, Profile, load_profile
from p2c_lib.errors import ParameterError

__all__ = ["check_mode", "check_parameters", "profile_for"]

MODES = ("plan", "apply")
LARGEST = 1_000_000


def check_parameters(given: Mapping[str, Any], kinds: Mapping[str, type[str] | type[int]]) -> None:
    """Refuse parameters of another type than declared: papermill turns ``-p x false`` into text and ``007`` into 7.

    Raises:
        ParameterError: Naming each wrong parameter, what came and what would be right.
    """
    problems = []
    for name, value in given.items():
        kind = kinds[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            problems.append(f"{name}={value!r} is {type(value).__name__}; it must be {kind.__name__}")
        elif isinstance(value, int) and not 0 <= value <= LARGEST:
            problems.append(f"{name}={value} is out of range; it must be from 0 to {LARGEST:,}")
    if problems:
        raise ParameterError("; ".join(problems))


def check_mode(mode: str, approved_by: str) -> None:
    """Refuse any mode but plan and apply, and an apply that nobody approved."""
    if mode not in MODES:
        raise ParameterError(f"mode='{mode}' is not known; use 'plan' (nothing is written) or 'apply'")
    if mode == "apply" and not approved_by.strip():
        raise ParameterError("mode='apply' needs approved_by: the name of the person who approves the plan")


def profile_for(profile: str, company: str, unmask: Iterable[str] = ()) -> Profile:
    """Load a profile, with another company when one is named, and with more personal columns unmasked.

    Raises:
        ConfigError: The profile is wrong.
        ParameterError: The company cannot be one.
    """
    chosen = load_profile(profile or None)
    chosen = chosen.model_copy(update={"unmask": tuple(dict.fromkeys([*chosen.unmask, *unmask]))})
    if not company:
        return chosen
    try:
        fno = FnoEndpoint(url=chosen.fno.url, company=company)
    except ValueError:
        raise ParameterError(f"company='{company}' cannot be one; it has 1 to 4 letters, digits or _: usmf") from None
    return chosen.model_copy(update={"fno": fno})
