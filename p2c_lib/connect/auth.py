"""Signing in: one bearer token a service, kept until five minutes before it ends, and shown to nobody."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from p2c_lib.config import Auth
from p2c_lib.errors import SignInError

__all__ = ["Token", "TokenCache", "source_for"]

EARLY_S = 300.0
"""A token is renewed this long before its end (sooner for tokens that live less than half an hour)."""

UNTRUSTED = "name the PEM file of the authority that vouches for this certificate: ca_file of the profile"
"""What to do about a server's certificate that is not trusted."""


def is_untrusted(error: httpx.HTTPError) -> bool:
    """Tell whether a connection failed because the server's certificate is not trusted.

    Args:
        error: As httpx raises it; all it keeps of the cause is its text.

    Returns:
        True when that was it.
    """
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


@dataclass(frozen=True)
class Token:
    """A bearer token and the moments (epoch seconds) it was had and it ends; its text is in no repr."""

    text: str = field(repr=False)
    had: float
    ends: float

    def is_fresh(self, now: float) -> bool:
        """Tell whether the token will do for a request sent now.

        Args:
            now: Epoch seconds.

        Returns:
            False from five minutes before its end, or the last sixth of a short life.
        """
        return now < self.ends - min(EARLY_S, (self.ends - self.had) / 6)


class Source(Protocol):
    """Something that gives tokens."""

    def __call__(self, http: httpx.Client) -> Token:
        """Fetch a new token."""
        ...


class TokenCache:
    """The token of one service; fetched once however many requests wait for it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._token: Token | None = None
        self._lock = threading.Lock()

    def text(self, http: httpx.Client) -> str:
        """Give a token that is good for a request now, fetching one when needed.

        Args:
            http: Client for services that give their own tokens.

        Returns:
            The token's text.

        Raises:
            SignInError: No token could be had.
        """
        with self._lock:
            if self._token is None or not self._token.is_fresh(time.time()):
                self._token = self._source(http)
            return self._token.text

    def drop(self, refused: str) -> None:
        """Forget a token that the service refused, unless a newer one has taken its place.

        Args:
            refused: Text of the token that was sent.
        """
        with self._lock:
            if self._token is not None and self._token.text == refused:
                self._token = None


def source_for(auth: Auth, root: str) -> Source:
    """Choose where tokens come from.

    Args:
        auth: The profile's sign-in.
        root: Root URL of the service; the scope asked for is ``<root>/.default``.

    Returns:
        A function that fetches a token.
    """
    if auth.kind == "sandbox":
        return _Sandbox(root)
    if auth.kind == "token":
        return _Fixed(auth)
    return _Azure(auth, root)


class _Fixed:
    """A token that somebody else fetched; it cannot be renewed."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._given = False

    def __call__(self, http: httpx.Client) -> Token:
        if self._given:
            raise SignInError("the service refused P2C_AUTH__TOKEN (401); it has probably ended: fetch a new one")
        self._given = True
        assert self._auth.token is not None  # Auth holds it so
        return Token(self._auth.token.get_secret_value(), time.time(), float("inf"))


class _Sandbox:
    """The sandbox hands out its own tokens."""

    def __init__(self, root: str) -> None:
        self._url = f"{root}/sandbox/token"

    def __call__(self, http: httpx.Client) -> Token:
        try:
            response = http.post(self._url)
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}{f': {error}' if str(error) else ''}"
            hint = UNTRUSTED if is_untrusted(error) else "is it running? p2c sandbox status"
            raise SignInError(f"no token from the sandbox at {self._url}: {reason}; {hint}") from None
        if response.status_code != 200:
            raise SignInError(f"no token from the sandbox: HTTP {response.status_code}", status=response.status_code)
        try:
            said = json.loads(response.content)
            return Token(said["access_token"], time.time(), time.time() + float(said["expires_in"]))
        except (ValueError, KeyError, TypeError):
            raise SignInError("no token from the sandbox: its answer is not {access_token, expires_in}") from None


class _Azure:
    """A credential of azure-identity."""

    def __init__(self, auth: Auth, root: str) -> None:
        self._auth = auth
        self._scope = f"{root}/.default"
        self._credential: Any = None

    def __call__(self, http: httpx.Client) -> Token:
        from azure.core.exceptions import AzureError  # half a second to import, and the sandbox needs none of it

        # Its log lines name tenants, and at debug level hold whole requests.
        logging.getLogger("azure").setLevel(logging.WARNING)
        try:
            if self._credential is None:
                self._credential = credential_for(self._auth)
            had = self._credential.get_token(self._scope)
        except (AzureError, ValueError, OSError) as error:
            reason = str(error).strip().partition("\n")[0][:400]
            for secret in (self._auth.client_secret, self._auth.certificate_password):
                if secret is not None and secret.get_secret_value():
                    reason = reason.replace(secret.get_secret_value(), "***")
            raise SignInError(f"no token for {self._scope} by '{self._auth.kind}': {reason}") from None
        return Token(had.token, time.time(), float(had.expires_on))


def credential_for(auth: Auth) -> Any:
    """Make the azure-identity credential that a profile names.

    Args:
        auth: The profile's sign-in; its kind is one of azure-identity's.

    Returns:
        A credential with ``get_token(scope)``.
    """
    import azure.identity

    def secret() -> str:
        assert auth.client_secret is not None  # Auth holds it so
        return auth.client_secret.get_secret_value()

    password = auth.certificate_password.get_secret_value() if auth.certificate_password else None
    make: dict[str, Callable[[], Any]] = {
        "default": azure.identity.DefaultAzureCredential,
        "client_secret": lambda: azure.identity.ClientSecretCredential(
            str(auth.tenant_id), str(auth.client_id), secret()
        ),
        "certificate": lambda: azure.identity.CertificateCredential(
            str(auth.tenant_id), str(auth.client_id), str(auth.certificate_path), password=password
        ),
        "managed_identity": lambda: azure.identity.ManagedIdentityCredential(client_id=auth.client_id),
        "device_code": lambda: azure.identity.DeviceCodeCredential(
            client_id=str(auth.client_id), tenant_id=str(auth.tenant_id)
        ),
    }
    return make[auth.kind]()
