"""Which requests a fault is for: rules as JSON, read from a file or posted, and counted."""

import dataclasses
import json
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2c_lib.sandbox.windows import Limit

KINDS = ("latency", "throttle", "error", "html", "drop", "expire", "etag")
_LIMITS = ("requests", "execution", "concurrent", "resources")


@dataclass(frozen=True)
class Rule:
    """One rule; ``faults`` says what each field means."""

    kind: str
    system: str | None = None
    method: str | None = None
    path: str = ""
    after: int = 0
    first: int | None = None
    every: int | None = None
    probability: float | None = None
    seed: int = 0
    part: bool = False  # True: for single operations inside a $batch, not for whole requests
    seconds: float = 0.0
    row_seconds: float = 0.0
    retry_after: int | None = None
    limit: Limit = "requests"
    status: int | None = None
    code: str = ""
    message: str = "An error has occurred."
    done: bool = False
    at: str = "body"
    entity: str | None = None
    key: Mapping[str, Any] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_positive(value: object) -> bool:
    return _is_whole(value) and value != 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_NAMES: dict[Callable[[object], bool], str] = {
    _is_text: "a text",
    _is_whole: "a whole number from 0",
    _is_positive: "a whole number from 1",
    _is_number: "a number from 0",
    _is_flag: "true or false",
    _is_object: "an object",
}
_CHECKS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("after", "first", "seed", "retry_after", "status"), _is_whole),
    **dict.fromkeys(("probability", "seconds", "row_seconds"), _is_number),
    **dict.fromkeys(("part", "done"), _is_flag),
    **dict.fromkeys(("key", "changes"), _is_object),
    "every": _is_positive,
}


def parse_rules(raw: object) -> list[Rule]:
    """Read rules as JSON gives them.

    Args:
        raw: A list of objects, or one object.

    Returns:
        The rules in their order.

    Raises:
        ValueError: Unknown kinds, fields or values; all of them in one message.
    """
    known = {item.name: item for item in dataclasses.fields(Rule)}
    rules, problems = [], []
    for place, entry in enumerate(raw if isinstance(raw, list) else [raw]):
        if not isinstance(entry, dict):
            problems.append(f"[{place}]: a rule is an object, not {type(entry).__name__}")
            continue
        found = [f"no field {name!r}; known: {', '.join(known)}" for name in entry if name not in known]
        found += [
            f"{name}: {value!r} is not {_NAMES[check]}"
            for name, value in entry.items()
            if name in known and value is not None and not (check := _CHECKS.get(name, _is_text))(value)
        ]
        if entry.get("kind") not in KINDS:
            found.append(f"no kind {entry.get('kind')!r}; known: {', '.join(KINDS)}")
        if entry.get("limit", "requests") not in _LIMITS:
            found.append(f"no limit {entry['limit']!r}; known: {', '.join(_LIMITS)}")
        if entry.get("at", "body") not in ("before", "body", "answer"):
            found.append(f"no place {entry['at']!r} to drop at; known: before, body, answer")
        try:
            re.compile(str(entry.get("path") or ""))
        except re.error as error:
            found.append(f"path: {error}")
        problems += [f"[{place}]: {problem}" for problem in found]
        if not found:
            # A throttle waits a second unless it says otherwise; null asks for an answer without the header.
            defaults: dict[str, Any] = {"retry_after": 1} if entry["kind"] == "throttle" else {}
            given = {name: value for name, value in entry.items() if value is not None or name == "retry_after"}
            rules.append(Rule(**defaults | given))
    if problems:
        raise ValueError("; ".join(problems))
    return rules


class _Counted:
    """A rule with how often it matched and fired."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.matched, self.fired = rule, 0, 0
        self._random = random.Random(rule.seed)

    def fires(self, system: str, method: str, target: str) -> bool:
        rule = self.rule
        if (rule.system or system) != system or (rule.method or method).upper() != method:
            return False
        if not re.search(rule.path, target):
            return False
        self.matched += 1
        turn = self.matched - rule.after
        is_hit = turn > 0 and (rule.first is None or turn <= rule.first) and (not rule.every or turn % rule.every == 0)
        if is_hit and rule.probability is not None:
            is_hit = self._random.random() < rule.probability
        self.fired += is_hit
        return is_hit


class Rules:
    """The rules in force at one service."""

    def __init__(self, system: str, file: Path | None = None) -> None:
        """Watch a file of rules.

        Args:
            system: ``"sales"`` or ``"fno"``.
            file: JSON file of rules for both services; need not exist.
        """
        self.system = system
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._from_file: list[_Counted] = []
        self._posted: list[_Counted] = []
        self.file_problem = ""

    def add(self, raw: object) -> None:
        """Add rules; raises ``ValueError`` for bad ones and adds none of them then."""
        self._posted += [_Counted(rule) for rule in parse_rules(raw)]

    def clear(self) -> None:
        """Forget all rules; those of the file stay away until the file changes."""
        self._refresh()
        self._posted, self._from_file = [], []

    def listing(self) -> list[dict[str, Any]]:
        """List the rules in force with ``matched`` and ``fired`` counts."""
        self._refresh()
        defaults = {item.name: item.default for item in dataclasses.fields(Rule)}
        return [
            {name: value for name, value in dataclasses.asdict(one.rule).items() if value and value != defaults[name]}
            | {"matched": one.matched, "fired": one.fired}
            for one in (*self._from_file, *self._posted)
        ]

    def hits(self, method: str, target: str, *, is_part: bool = False) -> list[Rule]:
        """Count a request against every rule and give those that fire.

        Args:
            method: HTTP method, upper case.
            target: Path with query, percent-decoded.
            is_part: True for one operation inside a batch.

        Returns:
            The rules that fire, in their order.
        """
        self._refresh()
        counted = [one for one in (*self._from_file, *self._posted) if one.rule.part == is_part]
        return [one.rule for one in counted if one.fires(self.system, method, target)]

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            status = self._file.stat()
        except FileNotFoundError:
            self._stamp, self._from_file = None, []
            return
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return
        self._stamp, self.file_problem = stamp, ""
        try:
            self._from_file = [_Counted(rule) for rule in parse_rules(json.loads(self._file.read_text("utf-8")))]
        except ValueError as error:  # a half-written file comes right with the next change
            self._from_file, self.file_problem = [], f"{self._file.name}: {error}"


def part_refusal(rules: Iterable[Rule]) -> Rule | None:
    """Pick the first rule that answers for a batch operation: a throttle or an error."""
    return next((rule for rule in rules if rule.kind in ("throttle", "error")), None)
