"""Profiles: where the two systems are and how to sign in, from ``p2c.toml`` and the environment.

The environment wins over the file. Secrets come from the environment only and never reach a repr or a message.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from p2c_lib.errors import ConfigError

__all__ = ["Auth", "Endpoint", "FnoEndpoint", "Limits", "Profile", "StorePlace", "home", "load_profile", "sandbox_dir"]

SECRETS = ("client_secret", "certificate_password", "token")
SECRET_WORDS = ("key", "secret", "token", "password", "sas", "credential")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NO_SANDBOX = "no sandbox is running: p2c sandbox start --detach, or name a profile"

AuthKind = Literal["default", "client_secret", "certificate", "managed_identity", "device_code", "sandbox", "token"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Endpoint(_Frozen):
    """One service: the root of its URL, e.g. ``https://contoso.crm4.dynamics.com``."""

    url: str

    @field_validator("url")
    @classmethod
    def _root(cls, url: str) -> str:
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ValueError(f"not a URL ({error})") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("not a URL: write https://<host>, e.g. https://contoso.crm4.dynamics.com")
        if parts.username or parts.password:
            raise ValueError("a URL must not hold a user or password; sign-in is set under auth")
        if parts.scheme == "http" and host not in LOOPBACK:
            raise ValueError(f"http:// would send tokens in clear text to {host}: write https://")
        if parts.query or parts.fragment:
            raise ValueError("a URL must not hold a query or fragment: write the root alone")
        path = parts.path.rstrip("/")
        # People paste the address of the API; the root is what stands before it.
        for mark in ("/api/data", "/data"):
            head, found, tail = path.partition(mark)
            if found and (not tail or tail.startswith("/")):
                path = head
                break
        netloc = f"[{host}]" if ":" in host else host
        return urlunsplit((parts.scheme, f"{netloc}:{port}" if port else netloc, path, "", ""))


class FnoEndpoint(Endpoint):
    """The F&O service, and the company (``dataAreaId``, lower case) whose rows are meant."""

    company: str = Field("usmf", min_length=1, max_length=4, pattern=r"^[A-Za-z0-9_]+$")

    @field_validator("company")
    @classmethod
    def _lower(cls, company: str) -> str:
        return company.lower()


class Auth(_Frozen):
    """How to sign in. ``client_secret``, ``certificate_password`` and ``token`` come from the environment only."""

    kind: AuthKind = "default"
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    certificate_path: Path | None = None
    certificate_password: SecretStr | None = None
    token: SecretStr | None = None

    @model_validator(mode="after")
    def _complete(self) -> Auth:
        needs: dict[str, tuple[str, ...]] = {
            "client_secret": ("tenant_id", "client_id", "client_secret"),
            "certificate": ("tenant_id", "client_id", "certificate_path"),
            "device_code": ("tenant_id", "client_id"),
            "token": ("token",),
        }
        missing = [name for name in needs.get(self.kind, ()) if getattr(self, name) in (None, "")]
        if missing:
            how = [f"P2C_AUTH__{name.upper()}" if name in SECRETS else f"auth.{name}" for name in missing]
            raise ValueError(f"kind '{self.kind}' needs {', '.join(how)}")
        return self


class Limits(_Frozen):
    """How hard to push: rows a page, requests at once, seconds a request, seconds in all with its repeats.

    ``rows_per_second`` is the most rows that are written in a second, None for as many as the service takes.
    ``window_calls`` and ``window_execution_s`` are what this user may spend in ``window_s``: None takes what is
    documented (Sales: 6,000 calls and 1,200 s of execution in 300 s; F&O: no fixed counts).
    """

    page_rows: int = Field(5000, ge=1, le=10_000)
    parallel: int = Field(8, ge=1, le=52)
    timeout_s: float = Field(60, gt=0, le=3600)
    budget_s: float = Field(600, ge=0)
    rows_per_second: float | None = Field(None, gt=0)
    window_calls: int | None = Field(None, ge=1)
    window_execution_s: float | None = Field(None, gt=0)
    window_s: float = Field(300, gt=0)


class StorePlace(_Frozen):
    """Where staged rows are kept: a folder (by default ``.p2c/store``), or the address of a lake with its options."""

    url: str = ""
    options: dict[str, SecretStr] = {}


class Profile(_Frozen):
    """Two systems and how to reach them; equal profiles give equal runs.

    ``unmask`` names personal columns whose values are shown as they are.
    """

    name: str
    sales: Endpoint
    fno: FnoEndpoint
    auth: Auth = Auth()
    limits: Limits = Limits()
    organization: str = Field("ORG001", min_length=1, max_length=20, pattern=r"^\S+$")
    store: StorePlace = StorePlace()
    overlays: tuple[Path, ...] = ()
    threshold: int = Field(0, ge=0)
    unmask: tuple[str, ...] = ()
    verify: bool = True
    ca_file: Path | None = None
    crossref: Path | None = None

    @property
    def crossref_file(self) -> Path:
        """Where the reviewed cross-reference stands: ``crossref``, else ``.p2c/crossref/<profile>.csv`` at home."""
        return self.crossref or home() / ".p2c" / "crossref" / f"{self.name}.csv"


class _Environment(BaseSettings):
    """Fields of a profile in the environment: ``P2C_SALES__URL``, ``P2C_AUTH__KIND``, ``P2C_THRESHOLD`` ..."""

    model_config = SettingsConfigDict(env_prefix="P2C_", env_nested_delimiter="__", extra="ignore")

    sales: Endpoint | None = None
    fno: FnoEndpoint | None = None
    auth: Auth | None = None
    limits: Limits | None = None
    organization: str | None = None
    store: StorePlace | None = None
    overlays: tuple[Path, ...] | None = None
    threshold: int | None = None
    unmask: tuple[str, ...] | None = None
    verify: bool | None = None
    ca_file: Path | None = None
    crossref: Path | None = None


def home() -> Path:
    """The folder of ``p2c.toml``, of the sandbox and of the runs: the same for a notebook in a folder below it.

    ``P2C_HOME``, else the nearest folder from here upward that holds ``p2c.toml`` or ``.p2c``, else this one.
    """
    named = os.environ.get("P2C_HOME")
    if named:
        return Path(named)
    here = Path.cwd()
    marked = (
        folder for folder in (here, *here.parents) if (folder / "p2c.toml").exists() or (folder / ".p2c").is_dir()
    )
    return next(marked, here)


def sandbox_dir() -> Path:
    """Where the sandbox keeps its data and addresses: ``P2C_SANDBOX_DIR``, else ``.p2c/sandbox`` at home."""
    named = os.environ.get("P2C_SANDBOX_DIR")
    return Path(named) if named else home() / ".p2c" / "sandbox"


def load_profile(name: str | None = None, file: Path | None = None) -> Profile:
    """Read a profile from the file and the environment.

    Args:
        name: A table ``[profiles.<name>]`` of the file; by default ``P2C_PROFILE``, then the file's ``profile``, then
            the built-in ``sandbox``, whose URLs are those of the sandbox that runs.
        file: The TOML file, by default ``p2c.toml`` at `home`; it need not exist. Relative paths in it are read from
            its folder.

    Returns:
        The profile, checked.

    Raises:
        ConfigError: All problems together, one a line.
    """
    file = file or home() / "p2c.toml"
    document = _read(file)
    problems = _strangers(document, {"profile": None, "profiles": None}, f"{file}")
    profiles = document.get("profiles", {})
    if not isinstance(profiles, dict):
        raise ConfigError(f"{file}: profiles: must be tables, [profiles.<name>]")
    chosen = name or os.environ.get("P2C_PROFILE") or document.get("profile") or "sandbox"
    if chosen not in profiles and chosen != "sandbox" and not _set_in_environment():
        known = ", ".join(sorted({*profiles, "sandbox"}))
        raise ConfigError(f"{file}: no profile '{chosen}'; known: {known}")
    table = profiles.get(chosen, {})
    where = f"{file}: profiles.{chosen}"
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: must be a table")
    problems += _strangers(table, _known(Profile), where)
    problems += _secrets(table, where)
    if problems:
        raise ConfigError("\n".join(problems))
    values = _merge(_anchored(table, file.parent), _environment())
    if chosen == "sandbox":
        values = _merge(_sandbox(values), values)
    try:
        return Profile.model_validate({"name": chosen, **values})
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(error, where))) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None


def _known(model: type[BaseModel]) -> dict[str, Any]:
    """Names of a model's fields, each with those below it (None for a plain value)."""
    known: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        kind = info.annotation
        known[name] = _known(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    known.pop("name", None)
    return known


def _strangers(table: Mapping[str, Any], known: Mapping[str, Any], where: str) -> list[str]:
    problems: list[str] = []
    for key, value in table.items():
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            problems.append(f"{where}: unknown key '{key}'{hint}; known: {', '.join(sorted(known))}")
        elif isinstance(known[key], Mapping) and isinstance(value, Mapping):
            problems += _strangers(value, known[key], f"{where}.{key}")
    return problems


def _secrets(table: Mapping[str, Any], where: str) -> list[str]:
    auth = table.get("auth")
    store = table.get("store")
    options = store.get("options") if isinstance(store, Mapping) else None
    found = [("auth", name) for name in SECRETS if isinstance(auth, Mapping) and name in auth]
    if isinstance(options, Mapping):
        found += [("store.options", name) for name in options if any(word in name.lower() for word in SECRET_WORDS)]
    return [
        f"{where}.{place}.{name}: a secret must not stand in a file; set the environment variable "
        + f"P2C_{place.replace('.', '__')}__{name}".upper()
        for place, name in found
    ]


def _environment() -> dict[str, Any]:
    source = EnvSettingsSource(_Environment)
    try:
        return dict(source())
    except ValueError as error:  # a list or table that is not JSON
        raise ConfigError(
            f"environment: {error}; lists are written as JSON, e.g. P2C_OVERLAYS='[\"site.yaml\"]'"
        ) from None


def _set_in_environment() -> bool:
    return {"P2C_SALES__URL", "P2C_FNO__URL"} <= {name.upper() for name in os.environ}


def _anchored(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths of the file hang from the file's folder, not from where the command runs."""
    values = dict(table)
    if isinstance(values.get("overlays"), list):
        values["overlays"] = [folder / item if isinstance(item, str) else item for item in values["overlays"]]
    for name in ("ca_file", "crossref"):
        if isinstance(values.get(name), str):
            values[name] = folder / values[name]
    store = values.get("store")
    if isinstance(store, Mapping) and isinstance(store.get("url"), str) and store["url"] and "://" not in store["url"]:
        values["store"] = {**store, "url": str(folder / store["url"])}
    auth = values.get("auth")
    if isinstance(auth, Mapping) and isinstance(auth.get("certificate_path"), str):
        values["auth"] = {**auth, "certificate_path": folder / auth["certificate_path"]}
    return values


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _sandbox(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the running sandbox says of itself; nothing is needed of it when both URLs are given otherwise."""
    urls = [values.get(side, {}).get("url") for side in ("sales", "fno") if isinstance(values.get(side, {}), Mapping)]
    state = sandbox_dir() / "sandbox.json"
    try:
        said = json.loads(state.read_text(encoding="utf-8"))
        found: dict[str, Any] = {
            "sales": {"url": said["sales_url"]},
            "fno": {"url": said["fno_url"]},
            "auth": {"kind": "sandbox"},
            "store": {"url": str(sandbox_dir() / "store")},  # where a reset clears it
            "crossref": str(sandbox_dir() / "crossref.csv"),
        }
    except FileNotFoundError:
        if all(urls) and len(urls) == 2:
            return {"auth": {"kind": "sandbox"}}
        raise ConfigError(NO_SANDBOX) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(f"{state}: cannot be read ({error}); start the sandbox again") from None
    if said.get("ca_file"):
        found["ca_file"] = said["ca_file"]
    return found


def _lines(error: ValidationError, where: str) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            text = f"is missing; set it there or in P2C_{place.upper().replace('.', '__')}"
        elif problem["type"] == "extra_forbidden":
            text = "unknown key"
        lines.append(f"{where}.{place}: {text}")
    return lines
