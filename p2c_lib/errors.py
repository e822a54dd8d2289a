"""Every error the library raises; each says what is wrong, where, and what would be right.

::

    P2CError
    ├── ConfigError          the profile file, the environment or a path is wrong
    ├── TemplateError        a template is wrong (.problems, all of them together)
    ├── SchemaError          columns or dtypes are not what they must be
    ├── ConnectError         a service could not be reached, or refused (.status, .code, .url)
    │   ├── SignInError      401, or no token to be had
    │   ├── PermissionDenied 403
    │   ├── NotFound         404
    │   ├── Conflict         412: the row changed meanwhile, or exists already
    │   ├── Throttled        429 for longer than the time budget (.waited_s)
    │   ├── ServiceError     5xx, or a page of HTML where JSON was due
    │   └── LostAnswer       a write was sent and no answer came: it may or may not have been done
    ├── StoreError           rows that the store does not take, or others kept changing it for too long
    ├── ValidationFailed     an expectation could not be evaluated (not: data did not meet it)
    ├── PlanError            a plan is stale, unapproved or broken
    ├── ParameterError       a notebook or command parameter is unknown or ill-typed
    └── SandboxError         the sandbox could not start, stop or load
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "OURS",
    "WITHHELD",
    "ConfigError",
    "Conflict",
    "ConnectError",
    "LostAnswer",
    "NotFound",
    "P2CError",
    "ParameterError",
    "PermissionDenied",
    "PlanError",
    "SandboxError",
    "SchemaError",
    "ServiceError",
    "SignInError",
    "StoreError",
    "TemplateError",
    "Throttled",
    "ValidationFailed",
    "in_words",
]

_CAUSES = {
    "ConfigError": "the configuration is wrong",
    "TemplateError": "a template is wrong",
    "SchemaError": "columns do not fit",
    "ConnectError": "a service could not be reached, or refused",
    "SignInError": "the sign-in failed",
    "PermissionDenied": "not permitted",
    "NotFound": "not found",
    "Conflict": "a row was changed meanwhile",
    "Throttled": "the service put us off for too long",
    "ServiceError": "the service failed",
    "LostAnswer": "no answer came",
    "StoreError": "the store between the systems failed",
    "ValidationFailed": "an expectation could not be evaluated",
    "PlanError": "the plan cannot be used",
    "ParameterError": "a parameter is wrong",
    "SandboxError": "the sandbox failed",
}


OURS = ("P2CError", *_CAUSES)
"""Names of our errors: what they say was written to be shown, with no personal value in it."""
WITHHELD = "what it said is kept apart, as it may hold values of rows"
"""In the place of the words of an error that is none of ours."""


def in_words(kind: str, message: str, where: str = "") -> str:
    """Say why something failed: ``the service failed (ServiceError): GET accounts answered 503``.

    Args:
        kind: The name of the error's class.
        message: The error's own words.
        where: Put behind the cause: ``cell 5 of contacts.ipynb``.

    Returns:
        Cause, class, place and message; the message alone, with its place, for the root of our errors.
    """
    place = f", {where}" if where else ""
    if kind == "P2CError":
        return f"{where}: {message}" if where else message
    return f"{_CAUSES.get(kind, 'an error of this program')} ({kind}){place}: {message}"


class P2CError(Exception):
    """Root of all errors raised on purpose by this library."""


class ConfigError(P2CError):
    """The configuration is wrong; the message lists every problem found, one a line."""


class TemplateError(P2CError):
    """One or more templates are wrong."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep all problems of all files.

        Args:
            problems: One line each, ``accounts.yaml: tasks[0].key: what is wrong; what would be right``.
        """
        self.problems: list[str] = list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[TemplateError], tuple[list[str]]]:
        """Pickle by the problems, so that the error survives a process pool."""
        return (type(self), (self.problems,))


class SchemaError(P2CError):
    """A frame or entity lacks columns, or has them in other types than declared."""


class ConnectError(P2CError):
    """A service could not be reached, or answered with an error."""

    def __init__(self, message: str, *, status: int | None = None, code: str = "", url: str = "") -> None:
        """Describe what the service said.

        Args:
            message: What is wrong, where, what would be right; never holds a token.
            status: HTTP status, None when there was no answer.
            code: The service's own error code, e.g. ``0x80040217``; empty when it gave none.
            url: Path below the host, without query (a query may hold data).
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.url = url


class SignInError(ConnectError):
    """Signing in failed, or the service refused the token (401)."""


class PermissionDenied(ConnectError):
    """The signed-in user may not do this (403)."""


class NotFound(ConnectError):
    """No such row, entity set or function (404)."""


class Throttled(ConnectError):
    """The service asked to wait (429) for longer than the time budget allows."""

    def __init__(
        self, message: str, *, waited_s: float = 0.0, status: int | None = 429, code: str = "", url: str = ""
    ) -> None:
        """Describe the limit that was hit.

        Args:
            message: What is wrong, where, what would be right.
            waited_s: Seconds waited in all before giving up.
            status: HTTP status.
            code: The service's own error code.
            url: Path below the host, without query.
        """
        super().__init__(message, status=status, code=code, url=url)
        self.waited_s = waited_s


class Conflict(ConnectError):
    """The row changed since it was read, or a row with the same key exists (412)."""


class ServiceError(ConnectError):
    """The service failed (5xx), or something in front of it answered with HTML."""


class LostAnswer(ConnectError):
    """A write was sent and its answer was lost: look the row up before sending it again."""


class StoreError(P2CError):
    """The store does not take rows as they are, or others went on changing it for too long; nothing was changed."""


class ValidationFailed(P2CError):
    """An expectation raised instead of giving an answer."""


class PlanError(P2CError):
    """A plan is stale, not approved, or does not belong to this system."""


class ParameterError(P2CError):
    """A parameter is unknown, ill-typed or out of range."""


class SandboxError(P2CError):
    """The sandbox could not be started, stopped or loaded."""
