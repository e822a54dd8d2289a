"""A staged store with differences on either leg: all of them are found, on the leg where they are, and no others."""

from __future__ import annotations

import polars as pl
import pytest
from pair import JOINED, Pair
from test_route import DOCUMENTS, MASTERS

from p2c_lib.sandbox import lifecycle


@pytest.fixture
def pair(tmp_path, request):
    made = Pair(tmp_path, size="small", staged=True, counts={"orders": 400}, **request.param)
    yield made
    lifecycle.stop(tmp_path)


def found(folder):
    table = pl.read_parquet(folder / "outcomes.parquet").filter(pl.col("code") != "quirk")
    return table.select(JOINED).unique()


@pytest.mark.parametrize("pair", [{"drift": False}], indirect=True, ids=["clean"])
def test_a_clean_store_is_in_step_on_both_legs(pair):
    folder = pair.run("run", tasks=MASTERS + DOCUMENTS, route="cds")
    seen = found(folder)
    assert seen.filter(pl.col("outcome") != "excluded").rows() == []
    assert seen.join(pair.truth(), on=JOINED, how="anti", nulls_equal=True).rows() == []


@pytest.mark.parametrize("pair", [{"drift": True, "seed": seed} for seed in (7, 20261)], indirect=True, ids=str)
def test_every_difference_is_found_on_its_leg_and_nothing_else_is(pair):
    folder = pair.run("run", tasks=MASTERS + DOCUMENTS, route="cds")
    truth, seen = pair.truth(), found(folder)
    assert truth.join(seen, on=JOINED, how="anti", nulls_equal=True).rows() == []
    assert seen.join(truth, on=JOINED, how="anti", nulls_equal=True).rows() == []
    differs = truth.filter(pl.col("outcome") != "excluded")
    assert differs["task"].n_unique() == 20, "each leg of each task has differences"
    blocked = set(truth.filter(outcome="blocked")["task"])
    keys = ("products", "accounts", "contacts", "contacts_to_customer", "quote_lines")
    lost = ("quote_lines", "order_lines_to_sales", "invoice_lines")
    assert blocked == {f"{task}_to_cds" for task in keys} | {f"{task}_from_cds" for task in lost}
