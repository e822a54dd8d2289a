"""The migration check: what the two generations of templates do otherwise, said by them and counted on rows."""

from __future__ import annotations

import json

import polars as pl
import pytest
from pair import Pair
from typer.testing import CliRunner

from p2c_lib.cli import app
from p2c_lib.migration import CHANGES, by_templates, ways
from p2c_lib.model import load_templates
from p2c_lib.sandbox import lifecycle

WAYS = {way.direct.name: way for way in ways(load_templates(route=None))}


def test_every_task_that_goes_through_cds_has_both_ways():
    direct = [task.name for template in load_templates().values() for task in template.tasks]
    assert list(WAYS) == [name for name in direct if name not in ("order_headers_to_fno", "order_lines_to_fno")]


@pytest.mark.parametrize("name", WAYS)
def test_gained_and_lost_are_what_one_of_the_two_templates_alone_compares(name):
    way = WAYS[name]
    told = by_templates(way)
    direct, second = ({f.destination for f in task.fields if f.is_compared} for task in (way.direct, way.second))
    assert set(told.filter(change="gained")["field"]) == direct - second
    assert set(told.filter(change="lost")["field"]) == second - direct
    assert set(told["change"]) <= set(CHANGES)


def test_a_constant_that_an_overlay_changes_on_one_way_alone_is_told(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text('overlay: X\ntasks: {accounts: {fields: {CustomerGroupId: {value: "99"}}}}\n')
    way = {w.direct.name: w for w in ways(load_templates([site], route=None))}["accounts"]
    assert "CustomerGroupId" not in by_templates(WAYS["accounts"])["field"]
    (line,) = by_templates(way).filter(field="CustomerGroupId").rows(named=True)
    assert (line["change"], line["direct"]) == ("default", "always '99'")


@pytest.mark.slow
def test_rows_and_money_are_counted_on_what_the_source_has(tmp_path, monkeypatch):
    pair = Pair(tmp_path / "pair", size="small", counts={"orders": 60})
    try:
        monkeypatch.setenv("P2C_HOME", str(tmp_path))
        monkeypatch.setenv("P2C_SANDBOX_DIR", str(tmp_path / "pair"))
        profile = pair.profile()
        monkeypatch.setenv("P2C_SALES__URL", profile.sales.url)
        monkeypatch.setenv("P2C_FNO__URL", profile.fno.url)
        result = CliRunner().invoke(app, ["migration-check", "--json"])
    finally:
        lifecycle.stop(pair.folder)
    assert result.exit_code == 0, result.output
    found = pl.DataFrame(json.loads(result.stdout), infer_schema_length=None)
    told = pl.concat(by_templates(way) for way in WAYS.values()).filter(pl.col("change") != "filter")
    assert told.join(found, on=["task", "field", "change"], how="anti").is_empty(), "what templates say is all there"
    counted = found.filter(pl.col("change").is_in(["gained", "lost"]))
    assert counted["rows"].max() > 0
