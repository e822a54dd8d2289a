"""What sending costs: rows per second of each way to write, on one service. ``python bench/write.py [--help]``

Every way writes new rows of the same columns into the same sandbox over TLS. The service takes 20 ms a request and 1 ms
a row, its own work included, so one lane can write 980 rows/s in calls of 1,000 and 8 lanes 7,840, as long as the
sandbox itself keeps up: what it can take is measured by a bare httpx client that posts bodies made beforehand.

- httpx: the ceiling; bodies are ready, answers are not looked at.
- ours: the public `apply` of an approved plan: journal on disk before and after each call, bodies, answers.
- SDK: Microsoft's client for Python, its bulk upsert as its documentation shows it, 1,000 rows a call.

Rows per second count from the first request to the last answer; what `apply` takes around that (reading and checking
the plan) is the column ``start s``. ``of limit`` holds them against the service's own time. ``us/row`` and ``service``
are the CPU that client and service take for a row, ``busy`` what of all cores both took: client and service share one
machine here, so where that is near 100 % the cores are the limit and not the service's time.

With throttling on, Sales counts as it does, by execution and by requests, in shorter windows: what of the allowance was
spent in whole windows, and how often it answered 429, once for a client that is told the limits and once for one that
must find them out.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import orjson
import polars as pl

from p2c_lib import write
from p2c_lib.apply import apply
from p2c_lib.channels import Chunk
from p2c_lib.channels.base import ACTIONS, CELLS
from p2c_lib.channels.bodies import bodies
from p2c_lib.channels.package_zip import package
from p2c_lib.config import Profile
from p2c_lib.connect import Client, connect
from p2c_lib.places import plan_folder
from p2c_lib.run import open_clients
from p2c_lib.sandbox import lifecycle
from p2c_lib.write.lots import own_ids
from p2c_lib.write.saved import LEFT_OUT, PLAN_COLUMNS, Plan, save

ROWS_A_CALL = 1000
CALL_S, ROW_S = 0.02, 0.001
_SLOW_ROW_S = 0.005  # where limits are measured: the sandbox itself must not be what slows us down
PLENTY = {"parallel": 8, "window_calls": 10**9, "window_execution_s": 1e9}
_TOLD = {"window_calls": "requests", "window_execution_s": "execution_s", "window_s": "window_s"}
TITLES = (
    *("who", "system", "channel", "lanes", "rows", "rows/s", "of httpx", "of limit", "x SDK", "start s"),
    *("us/row", "service", "busy"),
)
LINE = "{:6}{:8}{:10}{:>6}{:>9}{:>9}{:>10}{:>10}{:>7}{:>9}{:>8}{:>9}{:>6}"
CORES = os.cpu_count() or 1
PACKAGE_ROWS = 20_000
SETS = {
    "sales": ("contacts", "msdynce_contactnumber"),
    "fno": ("CustomersV2", "CustomerAccount"),
}


@dataclass(frozen=True)
class Way:
    """One line of the table: who writes, where, how, and with how many lanes."""

    who: str
    system: str
    channel: str
    lanes: int
    rows: int


@dataclass(frozen=True)
class Result:
    """What came out: seconds from the first request to the last answer, those before and after; CPU seconds, the
    client's and the service's."""

    way: Way
    seconds: float
    start_s: float
    cpu_s: float
    served_s: float

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.way.rows / self.seconds


def columns(system: str, name: str, rows: int) -> pl.DataFrame:
    """New rows as they are sent: ``key`` and the columns of a contact or customer, all texts."""
    number = pl.int_range(rows).cast(pl.String)
    key = pl.concat_str(pl.lit(f"{name}-"), number)
    if system == "sales":
        said = {
            "msdynce_contactnumber": key,
            "firstname": pl.lit("Ann"),
            "lastname": pl.concat_str(pl.lit("Person "), number),
            "emailaddress1": pl.concat_str(pl.lit("p"), number, pl.lit("@example.com")),
            "telephone1": pl.lit("+39 011 1234"),
            "jobtitle": pl.lit("Buyer"),
            "address1_line1": pl.concat_str(pl.lit("Street "), number),
            "address1_city": pl.lit("Turin"),
        }
    else:
        said = {
            "CustomerAccount": key,
            "OrganizationName": pl.concat_str(pl.lit("Firm "), number),
            "CustomerGroupId": pl.lit("10"),
            "SalesCurrencyCode": pl.lit("USD"),
            "LanguageId": pl.lit("en-us"),
            "SalesMemo": pl.concat_str(pl.lit("memo "), number),
        }
    return pl.select(key=key, **said)


def planned(folder: Path, profile: Profile, way: Way, name: str) -> Path:
    """An approved plan that creates the rows of a way."""
    entity, key = SETS[way.system]
    frame = columns(way.system, name, way.rows).with_row_index("order")
    long = frame.unpivot(index=["order", "key"], variable_name="field", value_name="after").sort("order")
    target = pl.concat_str(pl.lit(f'{{"{key}":"'), "key", pl.lit('"}'))
    known = {
        "task": pl.lit(f"bench_{way.system}"),
        "system": pl.lit(way.system),
        "entity": pl.lit(entity),
        "action": pl.lit("create"),
        "target": target,
        "property": pl.col("field"),
        "sent": pl.col("after"),
        "wire": pl.lit("string"),
    }
    rows = long.with_columns(**known)
    rows = rows.with_columns(pl.lit(None, t).alias(n) for n, t in PLAN_COLUMNS.items() if n not in rows.columns)
    head = {
        "run_id": name,
        "profile": profile.name,
        "company": profile.fno.company,
        "sales_url": profile.sales.url,
        "fno_url": profile.fno.url,
    }
    made = Plan(
        plan_folder(folder),
        rows.select(pl.col(n).cast(t) for n, t in PLAN_COLUMNS.items()),
        head,
        "",
        "2026-01-01T00:00:00+00:00",
        None,
        LEFT_OUT.to_frame(),
    )
    folder.mkdir()
    save(made)
    write.approve(folder, "bench")
    return folder


def load_package(http: httpx.Client, base: str, data: bytes, name: str) -> None:
    """Load a data package with no more than it takes: bring it up, have it imported, wait for its end."""

    def act(action: str, **given: Any) -> Any:
        answer = http.post(
            f"{base}/DataManagementDefinitionGroups/Microsoft.Dynamics.DataEntities.{action}", json=given
        )
        return answer.raise_for_status().json()["value"]

    url = json.loads(act("GetAzureWriteUrl", uniqueFileName=name))["BlobUrl"]
    http.put(url, content=data, headers={"x-ms-blob-type": "BlockBlob"}).raise_for_status()
    more = {
        "packageUrl": url,
        "definitionGroupId": "bench",
        "execute": True,
        "overwrite": True,
        "legalEntityId": "usmf",
    }
    act("ImportFromPackage", executionId=name, **more)
    while (state := act("GetExecutionSummaryStatus", executionId=name)) in ("NotRun", "Executing"):
        time.sleep(0.05)
    if state != "Succeeded":
        raise SystemExit(f"the bare package ended as {state}")


def ready_bodies(client: Client, way: Way, name: str) -> list[bytes]:
    """Bodies of ``ROWS_A_CALL`` rows (one for the channel ``single``), made by the same pieces as ours."""
    from p2c_lib.channels.batch import _body

    entity = client.entity(SETS[way.system][0])
    frame = columns(way.system, name, way.rows).with_row_index("order")
    size = 1 if way.channel == "single" else ROWS_A_CALL
    found = []
    for part in frame.iter_slices(size):
        cells = part.unpivot(index=["order", "key"], variable_name="property", value_name="sent").sort("order")
        cells = cells.with_columns(wire=pl.lit("string")).select(pl.col(n).cast(t) for n, t in CELLS.items())
        ids = own_ids("0" * 32, entity.name, part["key"]) if way.system == "sales" else pl.lit(None, pl.String)
        actions = part.select("order", "key", action=pl.lit("create"), id=ids)
        actions = actions.with_columns(pl.lit(None, t).alias(n) for n, t in ACTIONS.items() if n not in actions.columns)
        chunk = Chunk(entity, actions.select(pl.col(n).cast(t) for n, t in ACTIONS.items()), cells, 1)
        if way.channel == "batch":
            found.append(_body(client, chunk, "batch_bench"))
        elif way.channel == "single":
            found.append(bodies(client, chunk)[0].encode())
        else:
            kind = f'{{"@odata.type":"Microsoft.Dynamics.CRM.{entity.type_name}",'
            targets = bodies(client, chunk).str.slice(1).str.join(f",{kind}").item()
            found.append(f'{{"Targets":[{kind}{targets}]}}'.encode())
    return found


class Bench:
    """A sandbox and the ways to write into it."""

    def __init__(self, folder: Path, **config: Any) -> None:
        """Start it, over TLS, slow by rule."""
        self.folder = folder
        config = {"package_row_s": ROW_S, **config}
        counts = {"accounts": 20, "contacts": 20, "products": 20}
        folder.mkdir(parents=True, exist_ok=True)
        self.state = lifecycle.start(folder / "sandbox", counts=counts, detach=True, tls=True, **config)
        self.ca = str(self.state["ca_file"])
        self.trust = ssl.create_default_context(cafile=self.ca)
        self.slow(ROW_S)
        self.names = iter(range(10**6))

    def slow(self, row_s: float) -> None:
        """Let a row take so long."""
        rule = {"kind": "latency", "seconds": CALL_S, "row_seconds": row_s, "method": "POST"}
        for system in SETS:
            self.ask(system, "DELETE", "faults")
            self.ask(system, "POST", "faults", [{**rule, "path": r"\$batch|contacts|CustomersV2"}])

    def stop(self) -> None:
        """Stop the sandbox."""
        lifecycle.stop(self.folder / "sandbox")

    def ask(self, system: str, method: str, path: str, body: Any = None) -> Any:
        """Call one of the sandbox's own routes."""
        with httpx.Client(verify=self.trust, trust_env=False, timeout=60) as http:
            answer = http.request(method, f"{self.state[f'{system}_url']}/sandbox/{path}", json=body)
            answer.raise_for_status()
            return answer.json()

    def profile(self, **limits: Any) -> Profile:
        """The profile of the sandbox."""
        plain = {
            "name": "sandbox",
            "sales": {"url": self.state["sales_url"]},
            "fno": {"url": self.state["fno_url"]},
            "auth": {"kind": "sandbox"},
            "limits": {**PLENTY, **limits},
            "ca_file": self.ca,
            "store": {"url": str(self.folder / "store")},
        }
        return Profile.model_validate(plain)

    def measure(self, way: Way, **limits: Any) -> Result:
        """Run one way."""
        name = f"B{next(self.names)}"
        begin = {"httpx": self._httpx, "ours": self._ours, "SDK": self._sdk}[way.who]
        with begin(way, name, limits) as go:
            served, cpu, clock = self.served_s(way.system), time.process_time(), time.perf_counter()
            sending = go()
            spent = time.perf_counter() - clock
            seconds = spent if sending is None else sending
            cpu = time.process_time() - cpu
            return Result(way, seconds, spent - seconds, cpu, self.served_s(way.system) - served)

    def served_s(self, system: str) -> float:
        """CPU seconds of a service so far; 0 where the system does not tell."""
        stat = Path(f"/proc/{self.state['pids'][system]}/stat")
        if not stat.exists():
            return 0.0
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def _httpx(self, way: Way, name: str, limits: Any) -> Iterator[Callable[[], float | None]]:
        with connect(self.profile(**limits), way.system) as client:  # type: ignore[arg-type]
            is_package = way.channel == "package"
            ready = [] if is_package else ready_bodies(client, way, name)
            base = client.base
        entity = SETS[way.system][0]
        path = {"batch": "$batch", "multiple": f"{entity}/Microsoft.Dynamics.CRM.CreateMultiple", "single": entity}
        kind = 'multipart/mixed; boundary="batch_bench"' if way.channel == "batch" else "application/json"
        headers = {"Content-Type": kind, "Prefer": "odata.continue-on-error", "Accept-Encoding": "gzip, deflate"}
        with (
            httpx.Client(verify=self.trust, trust_env=False, timeout=120, headers=headers) as http,
            ThreadPoolExecutor(way.lanes) as pool,
        ):
            http.get(f"{base}/$metadata")

            if is_package:
                frame = columns("fno", name, way.rows).drop("key")
                data = [package("Customers V2", "bench", part) for part in frame.iter_slices(PACKAGE_ROWS)]

                def load() -> None:
                    for number, part in enumerate(data):
                        load_package(http, base, part, f"{name}-{number}")

                yield load
                return

            def post(body: bytes) -> None:
                http.post(f"{base}/{path[way.channel]}", content=body).raise_for_status()

            def go() -> None:
                list(pool.map(post, ready))

            yield go

    @contextmanager
    def _ours(self, way: Way, name: str, limits: Any) -> Iterator[Callable[[], float | None]]:
        profile = self.profile(**{**limits, "parallel": way.lanes})
        run = planned(self.folder / name, profile, way, name)
        with open_clients(profile) as clients:
            clients[way.system].entity(SETS[way.system][0])

            def go() -> float:
                done = apply(run, profile, clients, channel=way.channel)
                if done.created != way.rows:
                    raise SystemExit(f"{way}: {done}")
                lines = (plan_folder(run) / "journal.jsonl").read_bytes().splitlines()
                first, last = (datetime.fromisoformat(orjson.loads(line)["at"]) for line in (lines[0], lines[-1]))
                return (last - first).total_seconds()

            yield go

    @contextmanager
    def _sdk(self, way: Way, name: str, limits: Any) -> Iterator[Callable[[], float | None]]:
        from azure.core.credentials import AccessToken
        from PowerPlatform.Dataverse.client import DataverseClient
        from PowerPlatform.Dataverse.models.upsert import UpsertItem

        class Credential:
            def get_token(self, *scopes: str, **_: Any) -> AccessToken:
                return AccessToken("sandbox", int(time.time()) + 3600)

        os.environ["REQUESTS_CA_BUNDLE"] = self.ca
        key = SETS["sales"][1]
        rows = columns("sales", name, way.rows).drop("key").to_dicts()
        items = [UpsertItem(alternate_key={key: row.pop(key)}, record=row) for row in rows]
        with DataverseClient(self.state["sales_url"], Credential()) as client:
            client.records.upsert("contact", items[:1])

            def go() -> None:
                for at in range(0, len(items), ROWS_A_CALL):
                    client.records.upsert("contact", items[at : at + ROWS_A_CALL])

            yield go

    def spend(self, channel: str, counts: dict[str, Any], rate: float, windows: int, is_told: bool) -> str:
        """Send for some windows and say what of the allowance was spent.

        Args:
            channel: The channel.
            counts: The service's allowance.
            rate: What of it may be spent in a second: seconds of execution, or requests.
            windows: How many windows.
            is_told: Whether the client knows the allowance beforehand; else it knows what is documented, which is far
                more, and a window of 300 seconds.
        """
        seconds = counts["window_s"] * windows
        is_calls = channel == "single"
        self.slow(_SLOW_ROW_S)
        rows = int((seconds + counts["window_s"]) * rate * (1.0 if is_calls else 1 / _SLOW_ROW_S))
        known = {name: counts[ours] for name, ours in _TOLD.items()} if is_told else {}
        way = Way("ours", "sales", channel, 8, rows)
        profile = self.profile(parallel=8, **{**dict.fromkeys(_TOLD), "window_s": 300, **known})
        run = planned(self.folder / "run", profile, way, "T")
        with open_clients(profile) as clients:
            calls: list[tuple[float, float]] = []
            refusals: list[tuple[float, float, float]] = []  # when it came, the time named, when the call went out
            pace = clients["sales"]._sender.pace
            leave, refused = pace.leave, pace.refused

            def noted(now: float, spent: float, **more: Any) -> None:
                calls.append((now, spent))
                leave(now, spent, **more)

            def put_off(now: float, wait_s: float, *more: Any, began: float, **named: Any) -> None:
                refusals.append((now, now + wait_s, began))
                refused(now, wait_s, *more, began=began, **named)

            pace.leave, pace.refused = noted, put_off  # type: ignore[method-assign, assignment]
            began = time.monotonic()
            apply(run, profile, clients, channel=channel)
        shares = []
        for at in (began + counts["window_s"] * n for n in range(1, windows)):
            mine = [spent for now, spent in calls if at < now <= at + counts["window_s"]]
            if at + counts["window_s"] <= calls[-1][0]:
                shares.append((len(mine) / counts["requests"]) if is_calls else sum(mine) / counts["execution_s"])
        return f"{' '.join(f'{share:.0%}' for share in shares)}; {refused_words(refusals, counts['window_s'])}"


def refused_words(answers: list[tuple[float, float, float]], window_s: float) -> str:
    """What came of the limits: calls that were under way when the first of them was refused belong to one refusal.

    Args:
        answers: Of each answer with 429 when it came, the time that it named, and when its call went out.
        window_s: The service's window.
    """
    closed: list[tuple[float, float]] = []
    early = 0
    for at, until, began in sorted(answers):
        if closed and began < closed[-1][0]:
            closed[-1] = closed[-1][0], max(closed[-1][1], until)
            continue
        early += bool(closed) and began < closed[-1][1]
        closed.append((at, until))
    second = sum(later - at < window_s for (at, _), (later, _) in pairwise(closed))
    return (
        f"{len(closed)} refusals ({len(answers)} answers with 429), {second} a second one for the same window, "
        f"{early} of a call sent before the time that was named"
    )


def limit(way: Way) -> float:
    """Rows per second that the service's own time allows; a package is written in one go, whatever the lanes."""
    if way.channel == "package":
        return 1 / ROW_S
    rows = 1 if way.channel == "single" else ROWS_A_CALL
    return way.lanes * rows / (CALL_S + rows * ROW_S)


def compare(bench: Bench, rows: int, only: str, rounds: int) -> None:
    """Print the table without throttling."""
    few = max(100, rows // 40)
    pairs = [("sales", "upsert", 1, rows)]
    for system, channels in (("sales", ("single", "multiple", "batch")), ("fno", ("single", "batch", "package"))):
        for channel in channels:
            for lanes in (1, 8):
                size = few if channel == "single" else rows // (1 if system == "sales" else 2)
                times = 1 if lanes == 1 else 8 if channel == "single" else 4
                pairs.append((system, channel, lanes, size * times))
    print(LINE.format(*TITLES))
    sdk = 0.0
    for system, channel, lanes, many in pairs:
        if only and not any(text in f"{system} {channel} {lanes}" for text in only.split(",")):
            continue
        found: dict[str, list[Result]] = {}
        for _ in range(rounds):  # one after the other, so that what slows the machine slows both
            for who in ("SDK",) if channel == "upsert" else ("httpx", "ours"):
                found.setdefault(who, []).append(bench.measure(Way(who, system, channel, lanes, many)))
        for who, results in found.items():
            result = sorted(results, key=lambda one: one.rate)[len(results) // 2]
            sdk = result.rate if who == "SDK" else sdk
            ratios = [mine.rate / bare.rate for mine, bare in zip(results, found.get("httpx", ()), strict=False)]
            told = (
                *(who, system, channel, lanes, f"{many:,}", f"{result.rate:,.0f}"),
                f"{median(ratios):.1%}" if who == "ours" else "",
                f"{result.rate / limit(result.way):.1%}",
                f"{result.rate / sdk:.1f}" if who == "ours" and sdk else "",
                f"{result.start_s:.2f}" if who == "ours" else "",
                f"{result.cpu_s / many * 1e6:,.0f}",
                f"{result.served_s / many * 1e6:,.0f}",
                f"{(result.cpu_s + result.served_s) / (result.seconds + result.start_s) / CORES:.0%}",
            )
            print(LINE.format(*told), flush=True)


def throttled(folder: Path, windows: int) -> None:
    """Print what of the allowance is spent, and how often the service said 429."""
    print("\nSales throttled: what of the allowance is spent in each window after the first; answers with 429")
    cases = (
        ("execution", "multiple", {"requests": 600, "execution_s": 120.0, "concurrent": 52, "window_s": 30}, 120 / 30),
        ("requests", "single", {"requests": 120, "execution_s": 120.0, "concurrent": 52, "window_s": 10}, 120 / 10),
    )
    for kind, channel, counts, rate in cases:
        for is_told in (True, False):
            words = "told" if is_told else "not told"
            bench = Bench(folder / f"{kind}-{int(is_told)}", limits={"sales": counts, "fno": None})
            try:
                print(f"{kind:10}{words:10}{bench.spend(channel, counts, rate, windows, is_told)}", flush=True)
            finally:
                bench.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000, help="of a way with one lane (default: %(default)s)")
    parser.add_argument("--windows", type=int, default=0, help="throttled as well, for so many windows a case")
    parser.add_argument("--only", default="", help="ways that have one of these texts in 'system channel lanes'")
    parser.add_argument("--rounds", type=int, default=1, help="of each way, of which the median is told")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="p2c-bench-") as scratch:
        bench = Bench(Path(scratch))
        try:
            compare(bench, asked.rows, asked.only, asked.rounds)
        finally:
            bench.stop()
        if asked.windows:
            throttled(Path(scratch), asked.windows)


if __name__ == "__main__":
    main()
