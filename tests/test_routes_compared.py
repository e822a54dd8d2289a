"""The same data over both routes: the destinations differ in what the two templates declare, and in nothing else."""

from __future__ import annotations

import lxml.html
import polars as pl
import pytest
from pair import Pair
from polars.testing import assert_frame_equal
from test_route import DOCUMENTS, MASTERS

from p2c_lib import panels, report
from p2c_lib.folder import read_run
from p2c_lib.migration import by_templates, save_declared, ways
from p2c_lib.model import load_templates
from p2c_lib.places import task_folder
from p2c_lib.sandbox import lifecycle


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path, size="small", drift=False, counts={"orders": 120})
    yield made
    lifecycle.stop(tmp_path)


SHOWN = {
    ("contacts_to_customer", "AddressLocationRoles"),
    ("contacts_to_customer", "OrganizationName"),
    ("invoice_headers", "description"),
    ("invoice_headers", "totaltax"),
    ("order_headers_to_sales", "totaltax"),
    *(("quote_headers", f"DeliveryAddress{part}") for part in ("Street", "StreetNumber", "Name", "Description")),
    *(("quote_headers", f"DeliveryAddress{part}") for part in ("ZipCode", "CountryRegionISOCode")),
    ("quote_headers", "RequestedShippingDate"),
    *(("quote_lines", f"DeliveryAddress{part}") for part in ("Street", "StreetNumber", "City", "Description")),
    *(("quote_lines", f"DeliveryAddress{part}") for part in ("ZipCode", "CountryRegionISOCode", "StateId")),
    ("quote_lines", "LineDiscountAmount"),
    ("quote_lines", "RequestedReceiptDate"),
}


def test_the_destination_differs_between_the_routes_in_what_the_templates_declare_and_nothing_else(pair):
    direct = pair.run("direct", tasks=MASTERS + DOCUMENTS)
    table = pl.read_parquet(direct / "outcomes.parquet")
    assert table.filter(pl.col("outcome") != "excluded").rows() == [], "it stands as the direct route leaves it"

    routed = pair.run("cds", tasks=MASTERS + DOCUMENTS, route="cds")
    differs, rows = set(), set()
    for task in MASTERS + DOCUMENTS:
        place = task_folder(routed, f"{task}_from_cds") / "ahead"  # as it would be once everything is staged
        differs |= {(task, field) for field in pl.read_parquet(place / "cells.parquet")["field"].unique()}
        rows |= set(pl.read_parquet(place / "rows.parquet")["outcome"].unique())
    assert rows <= {"matched", "mismatched", "excluded"}
    declared = {
        (row["task"], row["field"])
        for way in ways(load_templates(route=None))
        for row in by_templates(way).rows(named=True)
    }
    assert differs == SHOWN
    assert differs - declared == set()

    save_declared(routed, pair.profile())
    page = lxml.html.fromstring(report.write_report(routed).read_text("utf-8"))
    (section,) = [one for one in page.iter("section") if one.findtext("h2") == "What the direct route does otherwise"]
    listed = {
        (part.findtext("summary").split()[0], row.findtext("td").strip())
        for part in section.iter("details")
        for row in part.iter("tr")
        if row.find("td") is not None
    }
    assert listed == declared

    told = [
        panels.told(folder, [task["task"] for task in read_run(folder)["tasks"]], load_templates(route=None))
        for folder in (direct, routed)
    ]
    one, other = (frame.drop("changed").sort("kind", "system", "number") for frame in told)
    assert one["kind"].n_unique() == 3, "documents have come equally far, whichever route one looks along"
    assert_frame_equal(one, other)
