"""What reading costs: ratios within one run, best of three. ``python bench/pull.py [pages]``

Pages of 5,000 rows x 30 columns, six of them money. Parsing stands against ``orjson.loads`` alone, which gives floats
and no frame; pulling stands against one chain of pages, with 100 ms of latency a page.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from decimal import Decimal

import httpx
import orjson
import polars as pl

from p2c_lib.config import Auth, Limits
from p2c_lib.connect import Client
from p2c_lib.connect.pages import MONEY, rows
from p2c_lib.pull import pull

ROWS = 5000
MONIES = [f"amount{i}" for i in range(6)]
TEXTS = [f"text{i}" for i in range(21)]
SCHEMA: dict[str, pl.DataType] = {
    "CustomerAccount": pl.String(),
    **dict.fromkeys(MONIES, MONEY),
    **{name: pl.String() for name in TEXTS},
    "day": pl.Datetime("us", "UTC"),
    "count": pl.Int32(),
}


def row(number: int, digits: str = "") -> str:
    """One row as the service writes it."""
    monies = ",".join(f'"{name}":{number * 37 % 100000}{digits}.{number % 100:02}' for name in MONIES)
    texts = ",".join(f'"{name}":"some text {number} of {name}"' for name in TEXTS)
    return (
        f'{{"@odata.etag":"W/\\"JzEsNTYzNzE0NDU3Nic=\\"","CustomerAccount":"C{number:08}",{monies},{texts},'
        f'"day":"2024-01-31T12:00:00Z","count":{number % 1000}}}'
    )


def page(start: int, digits: str = "", count: int = ROWS) -> bytes:
    """One page."""
    return f'{{"@odata.context":"c","value":[{",".join(row(start + i, digits) for i in range(count))}]}}'.encode()


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of three."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def slow(body: bytes) -> pl.DataFrame:
    """What one would write without a thought: exact, row by row."""
    found = json.loads(body, parse_float=Decimal)["value"]
    return pl.DataFrame(found, schema_overrides=dict.fromkeys(MONIES, MONEY))


def parsing(pages: int) -> None:
    """Compare ways to read pages."""
    short = [page(i * ROWS) for i in range(pages)]
    long = [page(i * ROWS, "0123456789") for i in range(pages)]
    pretty = [json.dumps(json.loads(short[0]), indent=1).encode()]
    base = best(lambda: [orjson.loads(body) for body in short])
    ways: dict[str, Callable[[], object]] = {
        "short amounts (floats are exact)": lambda: [rows(body, SCHEMA, "x") for body in short],
        "long amounts (made texts first)": lambda: [rows(body, SCHEMA, "x") for body in long],
        "json.loads with Decimal + frame": lambda: [slow(body) for body in short],
    }
    print(f"{pages} pages x {ROWS} rows x {len(SCHEMA)} columns; orjson.loads alone = 1")
    for name, work in ways.items():
        print(f"  {name:36} {best(work) / base:5.2f}")
    one = best(lambda: orjson.loads(short[0]))
    print(f"  {'pretty-printed page (not cut)':36} {best(lambda: rows(pretty[0], SCHEMA, 'x')) / one:5.2f}")


CSDL = (
    '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>'
    '<Schema Namespace="D" xmlns="http://docs.oasis-open.org/odata/ns/edm"><EntityType Name="C"><Key>'
    '<PropertyRef Name="CustomerAccount"/></Key><Property Name="CustomerAccount" Type="Edm.String"/>'
    + "".join(f'<Property Name="{name}" Type="Edm.Decimal"/>' for name in MONIES)
    + "".join(f'<Property Name="{name}" Type="Edm.String"/>' for name in TEXTS)
    + '</EntityType><EntityContainer Name="R"><EntitySet Name="Cs" EntityType="D.C"/></EntityContainer></Schema>'
    "</edmx:DataServices></edmx:Edmx>"
).encode()


def pulling(pages: int, latency_s: float = 0.1) -> None:
    """Compare numbers of chains read side by side."""
    total = pages * ROWS
    ready = {start: page(start) for start in range(0, total, ROWS)}

    def handler(request: httpx.Request) -> httpx.Response:
        path, params = request.url.path, request.url.params
        if path.endswith("$metadata"):
            return httpx.Response(200, content=CSDL)
        if path.endswith("$count"):
            return httpx.Response(200, content=str(total).encode())
        time.sleep(latency_s)
        if "$top" in params:
            return httpx.Response(200, content=page(int(params["$skip"]) // ROWS * ROWS, count=1))
        words = params.get("$filter", "").replace("'", "").split()
        low = int(words[words.index("ge") + 1][1:]) if "ge" in words else 0
        high = int(words[words.index("lt") + 1][1:]) if "lt" in words else total
        at = low + int(params.get("at", 0))
        body = ready[at]
        if at + ROWS < high:
            link = str(request.url.copy_set_param("at", at + ROWS - low))
            body = body[:-1] + f',"@odata.nextLink":"{link}"}}'.encode()
        return httpx.Response(200, content=body)

    print(f"{pages} pages of {ROWS} rows, {latency_s * 1000:.0f} ms each; one chain = 1")
    base = 0.0
    for parallel in (1, 2, 4, 8):
        with Client(
            "fno",
            "https://bench.invalid",
            Auth(kind="token", token="t"),
            Limits(page_rows=ROWS, parallel=parallel),
            transport=httpx.MockTransport(handler),
        ) as client:
            spent = best(lambda: pull(client, "Cs", [*MONIES, *TEXTS]))
            assert pull(client, "Cs", []).height == total
        base = base or spent
        print(f"  {parallel} at once {spent / base:21.2f}   {total / spent:10,.0f} rows/s")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    parsing(min(count, 8))
    pulling(count)
