"""The Freight Tax line of Sales over HTTP: in step it ties out; a second, missing, left over or other one is found."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from pair import DOCUMENTS, Pair

from p2c_lib import panels
from p2c_lib.places import task_folder
from p2c_lib.report import document_table
from p2c_lib.sandbox import lifecycle
from p2c_lib.tieout import FREIGHT_TAX_FAULTS

BACK = DOCUMENTS[4:]  # orders and invoices of F&O, headers and lines
ORDERS, INVOICES = ("salesorders", "salesorderdetails"), ("invoices", "invoicedetails")
HEAD = {ORDERS: "salesorderid", INVOICES: "invoiceid"}
COPY = "00000000-0000-4000-8000-00000000f7a{}"  # id of a line that a hand copied


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    made = Pair(tmp_path_factory.mktemp("freight"), seed=11, counts={"orders": 60})
    yield made
    lifecycle.stop(made.folder)


@pytest.fixture(scope="module")
def clean(pair):
    return pair.run("clean", tasks=BACK)


def ties(run) -> pl.DataFrame:
    return pl.read_parquet(run / "ties.parquet")


def taxed(run, task: str, count: int) -> list[dict[str, Any]]:
    """Documents in Sales with tax on their charges, as they were found."""
    headers = pl.read_parquet(task_folder(run, task) / "found.parquet")
    return headers.filter(pl.col("msdynce_misctax") > 0).head(count).to_dicts()


def copied(pair: Pair, sets: tuple[str, str], header: dict[str, Any], number: int, **values: Any) -> None:
    """Add a Freight Tax line, as a hand would; the document's total follows, as Sales has it follow."""
    head = HEAD[sets]
    line = {
        f"{sets[1].removesuffix('s')}id": COPY.format(number), f"_{head}_value": header[head],
        "productdescription": "Freight Tax", "isproductoverridden": 1, "quantity": 1,
        "priceperunit": str(header["msdynce_misctax"]), "extendedamount": str(header["msdynce_misctax"]),
        "msdynce_ismisctax": 1, **values,
    }  # fmt: skip
    pair.ask("sales", "POST", "rows", {"entity": sets[1], "row": line})
    whole = str(header["totalamount"] + header["msdynce_misctax"])
    pair.change("sales", sets[0], {head: header[head]}, {"totalamount": whole})


def line_key(sets: tuple[str, str], header: dict[str, Any]) -> dict[str, Any]:
    return {f"_{HEAD[sets]}_value": header[HEAD[sets]], "msdynce_ismisctax": 1}


def test_a_clean_pair_has_freight_tax_lines_and_ties_out_with_them(clean):
    for task in ("order_lines_to_sales", "invoice_lines"):
        lines = pl.read_parquet(task_folder(clean, task) / "freight_tax.parquet")
        assert lines.height and lines["document"].null_count() == 0 and (lines["amount"] > 0).all()
        found = pl.read_parquet(task_folder(clean, task) / "found.parquet")
        assert not found["msdynce_ismisctax"].fill_null(False).any()
    tied = ties(clean)
    assert tied["freight_tax"].null_count() == tied.height > 0
    assert (tied["at_stake"] == 0).all()
    assert not (task_folder(clean, "order_headers_to_sales") / "freight_tax.parquet").exists()


def test_each_fault_of_a_freight_tax_line_is_found_with_its_remedy_and_that_remedy_helps(pair, clean):
    several, missing, other = taxed(clean, "order_headers_to_sales", 3)
    (invoice,) = taxed(clean, "invoice_headers", 1)
    plain = pl.read_parquet(task_folder(clean, "order_headers_to_sales") / "found.parquet")
    left = plain.filter(pl.col("msdynce_misctax").fill_null(0) == 0).to_dicts()[0]
    # the copy of a line takes the order's number and the number of one of its lines along
    copied(pair, ORDERS, several, 1, msdynce_ordernumber=several["ordernumber"], sequencenumber=1)
    copied(pair, INVOICES, invoice, 1)
    pair.ask("sales", "POST", "rows", {"entity": ORDERS[1], "key": line_key(ORDERS, missing), "delete": True})
    pair.change("sales", ORDERS[1], line_key(ORDERS, other), {"extendedamount": "0.01"})
    copied(pair, ORDERS, left | {"msdynce_misctax": Decimal("2.50")}, 2)

    run = pair.run("spoilt", tasks=BACK)
    wrong = ties(run).filter(pl.col("freight_tax").is_not_null())
    assert set(wrong.select("task", "document", "freight_tax").rows()) == {
        ("order_lines_to_sales", several["ordernumber"], "several"),
        ("order_lines_to_sales", missing["ordernumber"], "missing"),
        ("order_lines_to_sales", other["ordernumber"], "different"),
        ("order_lines_to_sales", left["ordernumber"], "left_over"),
        ("invoice_lines", invoice["invoicenumber"], "several"),
    }
    doubled = wrong.filter(document=several["ordernumber"]).row(0, named=True)
    assert doubled["difference_found"] == 0  # the total has the second line too: header and lines agree
    assert doubled["at_stake"] == several["msdynce_misctax"]
    counts = json.loads((run / "run.json").read_text("utf-8"))["documents"]
    assert {count["task"]: count["freight_tax_wrong"] for count in counts} == {
        "order_lines_to_sales": 4, "invoice_lines": 1,
    }  # fmt: skip
    lines = json.loads((task_folder(run, "order_lines_to_sales") / "summary.json").read_text("utf-8"))
    assert lines["mismatched"] == lines["extra"] == lines["blocked"] == 0  # it is none of the compared lines
    said = dict(document_table(ties(run), 99).select("document", "what_is_wrong").rows())
    assert FREIGHT_TAX_FAULTS["several"] in said[several["ordernumber"]]
    assert FREIGHT_TAX_FAULTS["missing"] in panels.ties(ties(run), 99)

    # what the remedies say: the extra line goes, the tax on charges goes to 0 and back
    for sets, header, number in ((ORDERS, several, 1), (ORDERS, left, 2), (INVOICES, invoice, 1)):
        copy = {f"{sets[1].removesuffix('s')}id": COPY.format(number)}
        pair.ask("sales", "POST", "rows", {"entity": sets[1], "key": copy, "delete": True})
        pair.change("sales", sets[0], {HEAD[sets]: header[HEAD[sets]]}, {"totalamount": str(header["totalamount"])})
    with pair.clients() as clients:
        for header in (missing, other):
            for tax in (Decimal(0), header["msdynce_misctax"]):
                key = {"salesorderid": header["salesorderid"]}
                clients["sales"].update(ORDERS[0], key, {"msdynce_misctax": tax}, None)
    healed = ties(pair.run("healed", tasks=BACK))
    assert healed["freight_tax"].null_count() == healed.height
    assert (healed["at_stake"] == 0).all()
