"""A running sandbox of both services, and ways to compare what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from p2c_lib import apply as applying
from p2c_lib import folder as folders
from p2c_lib import legs, write
from p2c_lib import run as runs
from p2c_lib.apply import Applied
from p2c_lib.config import Profile
from p2c_lib.connect import Client, connect
from p2c_lib.crossref import read_crossref
from p2c_lib.model import Route
from p2c_lib.sandbox import lifecycle

JOINED = ["task", "key", "field", "outcome"]
MASTERS = ["products", "accounts", "contacts", "contacts_to_customer"]
DOCUMENTS = [
    "quote_headers",
    "quote_lines",
    "order_headers_to_fno",
    "order_lines_to_fno",
    "order_headers_to_sales",
    "order_lines_to_sales",
    "invoice_headers",
    "invoice_lines",
]


class Pair:
    """A running sandbox and ways to compare it."""

    def __init__(self, folder: Path, *, push: Mapping[str, float] | None = None, **how: Any) -> None:
        self.folder = folder
        self.limits = dict(push or {})  # of the profile
        self._knowing: dict[str, Client] = {}  # what they know of the services' metadata is read once
        self.state = lifecycle.start(folder, detach=True, **how)

    def profile(self, **changes: Any) -> Profile:
        urls = {"sales": {"url": self.state["sales_url"]}, "fno": {"url": self.state["fno_url"]}}
        plain = {"name": "sandbox", **urls, "auth": {"kind": "sandbox"}, "limits": self.limits}
        plain["store"] = {"url": str(self.folder / "store")}
        plain["crossref"] = str(self.folder / "crossref.csv")
        if "ca_file" in self.state:
            plain["ca_file"] = self.state["ca_file"]
        return Profile.model_validate({**plain, **changes})

    def run(
        self, name: str, overlays: tuple[Path, ...] = (), tasks: Sequence[str] = MASTERS, route: Route = "direct"
    ) -> Path:
        profile = self.profile().model_copy(update={"overlays": overlays})
        folder = folders.create(self.folder / name, profile, {"route": route})
        wanted = legs.chosen(tasks, legs.templates_for(profile, route))
        with self._opened(profile, route) as clients:
            metadata = {system: client.metadata() for system, client in clients.items()}
            for task in wanted:
                sides = runs.read_sides(task, clients)
                compared = runs.compare_sides(task, sides, metadata, crossref=read_crossref(profile.crossref_file))
                runs.save(folder, task, sides, compared)
                runs.save_ahead(folder, task, sides, metadata)
        folders.finish(folder, [task.name for task in wanted])
        return folder

    def clients(self, route: Route = "direct", **changes: Any) -> AbstractContextManager[dict[str, Client]]:
        profile = self.profile(**changes)
        return runs.open_clients(profile, route) if changes else self._opened(profile, route)

    @contextmanager
    def _opened(self, profile: Profile, route: Route) -> Iterator[dict[str, Client]]:
        """New clients that know the metadata already: some eighty requests less."""
        with runs.open_clients(profile, route) as clients:
            for system in ("sales", "fno"):
                if system not in self._knowing:
                    self._knowing[system] = connect(profile, system)
                clients[system]._metadata = self._knowing[system].metadata()
            yield clients

    def apply(self, run: Path, route: Route = "cds") -> Applied:
        """Plan a run, approve the plan, and send it."""
        profile = self.profile()
        with self._opened(profile, route) as clients:
            write.plan(run, templates=legs.templates_for(profile, route), clients=clients)
            write.approve(run, "a tester")
            return applying.apply(run, profile, clients)

    def truth(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "truth.parquet").select(JOINED).unique()

    # --- behind the services' backs -------------------------------------------------------------------------------

    def ask(self, system: str, method: str, path: str, body: Any = None) -> Any:
        """Call one of the sandbox's own routes."""
        verify: Any = True
        if "ca_file" in self.state:
            import ssl

            verify = ssl.create_default_context(cafile=self.state["ca_file"])
        with httpx.Client(trust_env=False, timeout=60, verify=verify) as http:
            answer = http.request(method, f"{self.state[f'{system}_url']}/sandbox/{path}", json=body)
            answer.raise_for_status()
            return answer.json()

    def faults(self, *rules: dict[str, Any]) -> None:
        """Switch these faults on at both services, and all others off."""
        for system in ("sales", "fno"):
            self.ask(system, "DELETE", "faults")
            if rules:
                self.ask(system, "POST", "faults", list(rules))

    def fired(self) -> int:
        """How often the faults struck since they were switched on."""
        return sum(rule["fired"] for system in ("sales", "fno") for rule in self.ask(system, "GET", "faults")["rules"])

    def change(self, system: str, entity: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Change a row."""
        self.ask(system, "POST", "rows", {"entity": entity, "key": dict(key), "changes": dict(changes)})
