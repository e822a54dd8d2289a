"""Bearer tokens of the sandbox: issued by ``POST /sandbox/token``, valid for a while, revoked by a fault."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "missing", "unknown", "expired"]


@dataclass
class Tokens:
    """The tokens one service has issued.

    Any token, or none, is good unless ``is_required``; but a token that was issued here and has expired is never good.

    Attributes:
        lifetime_s: Seconds that a new token lives.
        is_required: True refuses requests without a token of this service.
        fixed: A token that is always good, or None.
        clock: Seconds, growing; tests set their own.
    """

    lifetime_s: float = 3600
    is_required: bool = False
    fixed: str | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._expires: dict[str, float] = {}
        self._users: dict[str, str] = {}

    def issue(self, lifetime_s: float | None = None, user: str = "user") -> tuple[str, float]:
        """Make a new token.

        Args:
            lifetime_s: Seconds it lives; None takes the service's own.
            user: Whose token it is; limits are counted by user, so a new token does not reset them.

        Returns:
            The token and the seconds it lives.
        """
        lifetime = self.lifetime_s if lifetime_s is None else lifetime_s
        token = f"sandbox-{secrets.token_urlsafe(24)}"
        self._expires[token] = self.clock() + lifetime
        self._users[token] = user
        return token, lifetime

    def check(self, authorization: str | None) -> Verdict:
        """Judge an ``Authorization`` header.

        Args:
            authorization: The header's text, or None when it was not sent.

        Returns:
            ``"good"`` or the reason why not.
        """
        token = bearer(authorization)
        if token is None:
            return "missing" if self.is_required else "good"
        if token == self.fixed:
            return "good"
        expires = self._expires.get(token)
        if expires is None:
            return "unknown" if self.is_required else "good"
        return "good" if self.clock() < expires else "expired"

    def user(self, authorization: str | None) -> str:
        """Tell whose token an ``Authorization`` header holds; a token from elsewhere is a user of its own."""
        token = bearer(authorization)
        return "" if token is None else self._users.get(token, token)

    def revoke(self, authorization: str | None) -> None:
        """Let the token of an ``Authorization`` header expire now; a token from elsewhere is remembered as expired."""
        token = bearer(authorization)
        if token is not None and token != self.fixed:
            self._expires[token] = self.clock()


def bearer(authorization: str | None) -> str | None:
    """Take the token out of an ``Authorization`` header; None when there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.casefold() == "bearer" else None
