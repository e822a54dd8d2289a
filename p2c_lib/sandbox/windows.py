"""Service protection limits: requests, execution time and concurrency of each user over a sliding window."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Limit = Literal["requests", "execution", "concurrent", "resources"]


@dataclass(frozen=True)
class Refusal:
    """Why a request was not let in.

    Attributes:
        limit: The limit that was reached.
        retry_after: Whole seconds to wait.
    """

    limit: Limit
    retry_after: int


@dataclass
class _User:
    starts: deque[float] = field(default_factory=deque)
    spent: deque[tuple[float, float]] = field(default_factory=deque)  # (when it ended, seconds it took)
    running: int = 0
    refused: int = 0


@dataclass
class Windows:
    """The three limits, counted by user.

    Attributes:
        limits: ``requests``, ``execution_s``, ``concurrent`` and ``window_s``; a missing one does not limit.
        clock: Seconds, growing; tests set their own.
    """

    limits: Mapping[str, float]
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._users: defaultdict[str, _User] = defaultdict(_User)

    def enter(self, user: str) -> Refusal | None:
        """Let a request in, or say why not; who was let in must ``leave``.

        Args:
            user: Whose request it is.

        Returns:
            None when it may run. The wait grows by a second with each further try, as a pushing client sees it.
        """
        window, state, now = self.limits.get("window_s", 300), self._users[user], self.clock()
        while state.starts and state.starts[0] <= now - window:
            state.starts.popleft()
        while state.spent and state.spent[0][0] <= now - window:
            state.spent.popleft()
        limit: Limit | None = None
        wait = 0.0
        if len(state.starts) >= self.limits.get("requests", float("inf")):
            limit, wait = "requests", state.starts[0] + window - now
        elif sum(seconds for _, seconds in state.spent) >= self.limits.get("execution_s", float("inf")):
            limit, wait = "execution", state.spent[0][0] + window - now
        elif state.running >= self.limits.get("concurrent", float("inf")):
            limit = "concurrent"
        if limit is not None:
            state.refused += 1
            return Refusal(limit, max(1, int(-(-wait // 1))) + state.refused - 1)
        state.refused = 0
        state.running += 1
        state.starts.append(now)
        return None

    def leave(self, user: str, seconds: float) -> None:
        """Note that a request which was let in has ended, ``seconds`` after it came in."""
        state = self._users[user]
        state.running -= 1
        state.spent.append((self.clock(), seconds))


def throttle_text(system: str, limit: Limit, limits: Mapping[str, float]) -> tuple[str, str]:
    """Word a refusal as the two services do.

    Args:
        system: ``"sales"`` or ``"fno"``.
        limit: The limit that was reached.
        limits: The sizes to name; missing ones are the documented sizes.

    Returns:
        Error code (empty for Finance and Operations) and message.
    """
    requests, window = int(limits.get("requests", 6000)), int(limits.get("window_s", 300))
    seconds, concurrent = limits.get("execution_s", 1200), int(limits.get("concurrent", 52))
    if system == "sales":
        return {
            "requests": (
                "0x80072322",
                f"Number of requests exceeded the limit of {requests} over time window of {window} seconds.",
            ),
            "execution": (
                "0x80072321",
                f"Combined execution time of incoming requests exceeded limit of {seconds * 1000:,.0f} milliseconds "
                f"over time window of {window} seconds. Decrease number of concurrent requests or reduce the duration "
                "of requests and try again later.",
            ),
            "concurrent": ("0x80072326", f"Number of concurrent requests exceeded the limit of {concurrent}."),
            "resources": ("0x80072322", "The server is busy. Try again later."),
        }[limit]
    return "", {
        # "exeeded" is how the service itself writes it.
        "requests": f"Number of requests exeeded the limit of {requests} over the time window of {window} seconds.",
        "execution": f"Combined execution time of incoming requests exceeded limit of {seconds:g} seconds "
        f"over time window of {window} seconds. Decrease number of concurrent requests or reduce the duration of "
        "requests and try again later.",
        "concurrent": f"Number of concurrent requests exceeded the limit of {concurrent}.",
        "resources": "This request could not be processed at this time due to system experiencing "
        "high resource utilization.",
    }[limit]
