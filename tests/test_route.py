"""The route through CDS over real HTTP and a real store: run, plan, apply, and what a second leg waits for."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from pair import Pair

from p2c_lib import folder as folders
from p2c_lib.sandbox import data, lifecycle

MASTERS = ["products", "accounts", "contacts", "contacts_to_customer"]
DOCUMENTS = [
    *("quote_headers", "quote_lines", "order_headers_to_sales", "order_lines_to_sales"),
    *("invoice_headers", "invoice_lines"),
]


def counts(folder, *outcomes):
    """By task: its rows with one of these outcomes, where there are any."""
    found = {task["task"]: sum(task[name] for name in outcomes) for task in folders.read_run(folder)["tasks"]}
    return {task: n for task, n in found.items() if n}


def emptied(world):
    """The same sources, and destinations to which nothing has come yet."""
    sales, fno = dict(world.sales), dict(world.fno)
    fno["CustomersV2"] = fno["CustomersV2"].filter(IsExternallyMaintained="No")
    persons = pl.col("IsContactPersonExternallyMaintained") == "No"
    fno["CDSContactPersons"] = fno["CDSContactPersons"].filter(persons)
    for name in ("CDSSalesQuotationHeaders", "CDSSalesQuotationLines"):
        fno[name] = fno[name].clear()
    back = sales["salesorders"].filter("msdynce_ismaintainedexternally")["salesorderid"]
    sales["salesorders"] = sales["salesorders"].filter(~pl.col("salesorderid").is_in(back.implode()))
    lines = sales["salesorderdetails"]
    sales["salesorderdetails"] = lines.filter(~pl.col("_salesorderid_value").is_in(back.implode()))
    for name in ("invoices", "invoicedetails"):
        sales[name] = sales[name].clear()
    return replace(world, sales=sales, fno=fno)


@pytest.fixture
def cleared(tmp_path, monkeypatch):
    generate = data.generate
    monkeypatch.setattr(data, "generate", lambda *args, **how: emptied(generate(*args, **how)))
    made = Pair(tmp_path, size="small", drift=False, counts={"orders": 120})
    yield made
    lifecycle.stop(made.folder)


def left(folder):
    """What differs in a run: rows that keep the systems from being in step, and fields that no quirk accounts for."""
    table = pl.read_parquet(folder / "outcomes.parquet").filter(pl.col("outcome") != "excluded")
    return table.filter(pl.col("code") != "quirk").select("task", "key", "field", "outcome").rows()


def test_everything_comes_over_in_one_plan_and_a_second_sends_nothing(cleared):
    masters = cleared.run("masters", tasks=MASTERS, route="cds")
    into = {name: n for name, n in counts(masters, "missing").items() if name.endswith("_to_cds")}
    assert into == {"products_to_cds": 120, "accounts_to_cds": 300, "contacts_to_customer_to_cds": 158}
    assert counts(masters, "blocked") == {"contacts_to_cds": 200}  # their companies come by the same plan
    done = cleared.apply(masters)
    assert (done.failed, done.conflicts, done.held, done.remaining) == (0, 0, 0, 0)
    assert done.created == 2 * (300 + 200 + 158) + 120  # all but the products, which quotes use in Sales already
    cleared.ask("fno", "POST", "totals", {"quotations": True})  # the customers of its orders are there now

    documents = cleared.run("documents", tasks=MASTERS + DOCUMENTS, route="cds")
    assert {task for task, *_ in left(documents)}.isdisjoint(f"{task}_from_cds" for task in MASTERS)
    done = cleared.apply(documents)
    assert (done.failed, done.conflicts, done.held, done.remaining) == (0, 0, 0, 0)
    cleared.ask("fno", "POST", "totals", {"quotations": True})

    last = cleared.run("last", tasks=MASTERS + DOCUMENTS, route="cds")
    assert left(last) == []
    assert folders.read_run(last)["exit_code"] == 0
    assert all(n > 10 for n in counts(last, "matched", *(["quirks"])).values())
    assert len(folders.read_run(last)["tasks"]) == 20
    assert cleared.apply(last).sent == 0
