"""The explorer as a person uses it: the orders notebook in JupyterLab, in a real browser, by mouse and by keyboard."""

import json
import re
import shutil
from base64 import b64encode
from pathlib import Path

import polars as pl
import pytest
from browser import lab, needs_chromium, page, run_all, shot
from explorer_run import HOSTILE, a_run, row, told
from pair import Pair

from p2c_lib import write
from p2c_lib.explorer import Explorer, explore
from p2c_lib.explorer.ticks import ticks_file
from p2c_lib.history import append
from p2c_lib.sandbox import lifecycle
from p2c_lib.store import connect_store

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "orders.ipynb"
TASK = "order_headers_to_sales"
SMALL = {"accounts": 60, "contacts": 60, "products": 40, "orders": 60}
ROWS = ".p2c-grid tbody tr[id]"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    held = Pair(tmp_path_factory.mktemp("pair"), counts=SMALL, drift=True)
    try:
        yield held
    finally:
        lifecycle.stop(held.folder)


def say(shown: Explorer, kind: str, **more) -> None:
    shown.tell({"kind": kind, **more})
    shown.wait()


def test_what_is_ticked_is_planned_approved_sent_and_read_back_and_nothing_else(pair):
    run = pair.run("products", tasks=["products"])
    shown = explore(run, profile=pair.profile())
    say(shown, "query", query={"outcome": ["mismatched", "extra"], "sort": "key"})
    picked = [one for one in shown.view["records"] if one["field"] == "description" or one["outcome"] == "extra"]
    say(shown, "tick", records=[one["record"] for one in picked], on=True)
    say(shown, "plan")
    plan = shown.work["plan"]
    keys = sorted(one["key"] for one in picked if one["outcome"] == "mismatched")
    assert (plan["ticked"], plan["sent"], plan["without"]) == (len(picked), len(keys), len(picked) - len(keys))
    say(shown, "apply", hash=plan["hash"])
    assert "nobody approved what is ticked" in shown.work["problem"]
    say(shown, "approve", hash=plan["hash"], by=" ")
    assert "give a name" in shown.work["problem"]
    say(shown, "approve", hash="another", by="Ann")
    assert "there is no such plan" in shown.work["problem"]
    say(shown, "tick", records=[picked[0]["record"]], on=False)
    assert shown.work["is_old"]
    say(shown, "approve", hash=plan["hash"], by="Ann")
    assert "other records are ticked than were planned" in shown.work["problem"]
    say(shown, "tick", records=[picked[0]["record"]], on=True)
    say(shown, "plan")
    say(shown, "approve", hash=plan["hash"], by="Ann")
    assert write.read_plan(run).approved["actions"] == len(keys)
    say(shown, "apply", hash=plan["hash"])
    assert shown.work["stage"] == "sent" and f"{len(keys)} updated" in shown.work["says"]
    say(shown, "query", query={"now": ["in step"], "sort": "key"})
    assert [one["key"] for one in shown.view["records"]] == keys
    assert explore(run, profile=pair.profile()).view["facets"]["now"] == shown.view["facets"]["now"]
    again = pl.read_parquet(pair.run("products-again", tasks=["products"]) / "reasons.parquet")
    assert set(pl.read_parquet(run / "reasons.parquet")["key"]) - set(again["key"]) == set(keys)


def test_a_record_shows_header_and_lines_with_both_sides_and_what_earlier_runs_said(pair):
    run = pair.run("orders", tasks=[TASK, "order_lines_to_sales"])
    append(connect_store(pair.profile()).store, run)
    shown = explore(run, profile=pair.profile())
    say(shown, "query", query={"task": [TASK], "outcome": ["mismatched"]})
    asked = shown.view["records"][0]
    say(shown, "open", record=asked["record"])
    told = shown.record
    assert told["problem"] == "" and [part["task"] for part in told["parts"]] == [TASK, "order_lines_to_sales"]
    (it,) = [row for part in told["parts"] for row in part["rows"] if row["is_it"]]
    assert told["parts"][1]["rows"] and not told["parts"][1]["left_out"]
    differing = {field[0]: field for field in it["fields"][: it["differ"]]}
    assert it["key"] == asked["key"] and next(iter(differing)) == asked["field"]
    assert differing[asked["field"]][3:5] == [asked["expected"], asked["found"]]
    assert [(one["run"], one["field"]) for one in told["earlier"]] == [(shown.view["run"], name) for name in differing]
    say(shown, "close")
    assert shown.record == {}


RENDER = """async ([code, state]) => {
  window.hits = 0;
  window.alert = () => { window.hits += 1; };
  const { default: widget } = await import("data:text/javascript;base64," + code);
  const model = { get: (name) => state[name], on() {}, off() {}, send() {} };
  widget.render({ model, el: document.body });
}"""


@needs_chromium
def test_hostile_values_are_text_wherever_the_page_shows_them(tmp_path):
    fields = [row(f"{one}{n}", "f", "different", expected=one, found=one) for n, one in enumerate(HOSTILE)]
    alone = [row(one, currency=f"{one}!") for one in HOSTILE[:5]]
    shown = explore(a_run(tmp_path / "run", told(*fields, *alone)))
    bad = HOSTILE[0] + HOSTILE[1]
    line = {"key": bad, "side": "both", "outcome": bad, "reason": bad, "remedy": bad, "is_it": True, "differ": 1}
    part = {"title": bad, "task": bad, "left_out": 0, "rows": [{**line, "fields": [[bad] * 8]}]}
    run = dict.fromkeys(("run", "started", "field", "outcome", "reason", "expected", "found", "amount"), bad)
    record = dict.fromkeys(("title", "outcome", "reason", "remedy"), bad) | {"record": 0, "is_loading": False}
    frame = {"columns": [bad], "rows": [[bad]]}
    plan = {
        "hash": bad,
        "ticked": 1,
        "sent": 1,
        "parents": 1,
        "approved": 1,
        "without": 1,
        "table": frame,
        "held": frame,
    }
    state = {
        "view": shown.view | {"problem": bad},
        "record": record | {"parts": [part], "earlier": [run], "problem": ""},
        "work": {"stage": "sent", "says": bad, "problem": bad, "plan": plan | {"held_rows": 1},
                 "result": {"table": frame, "off": frame, "off_rows": 1}},
    }  # fmt: skip
    code = b64encode(Explorer._esm.encode()).decode()
    with page() as (tab, seen):
        tab.set_content(f"<style>{Explorer._css}</style>")
        tab.evaluate(RENDER, [code, state])
        for box in tab.locator("details").all():
            box.evaluate("box => { box.open = true; }")
        text = tab.locator(".p2c-explorer").evaluate("root => root.textContent")
        assert all(one in text for one in HOSTILE[:5]) and text.count(bad) > 25
        assert tab.locator("body script, body img").count() == 0
        assert tab.evaluate("window.hits") == 0
        grid = tab.locator(f"{ROWS} td.p2c-c-expected")
        assert max(box["width"] for box in (cell.bounding_box() for cell in grid.all()) if box) < 200
        shot(tab, "explorer-hostile", whole=True)
    assert not seen.errors


def number(text: str) -> int:
    return int(re.sub(r"\D", "", text))


@needs_chromium
@pytest.mark.slow
def test_an_analyst_filters_opens_ticks_plans_approves_applies_and_sees_it_in_step(pair, tmp_path):
    home = tmp_path / "home"
    (tmp_path / "notebooks").mkdir()
    shutil.copy(NOTEBOOK, tmp_path / "notebooks" / "orders.ipynb")
    finds = {"P2C_HOME": str(home), "P2C_SANDBOX_DIR": str(pair.folder)}
    with lab(tmp_path / "notebooks", finds) as place, page(height=1200) as (tab, seen):
        place.open(tab, "orders.ipynb")
        run_all(tab)
        tab.wait_for_selector(ROWS)
        (run,) = (home / "runs").iterdir()
        facts = json.loads((run / "run.json").read_text())["tasks"][0]
        explorer = tab.locator(".p2c-explorer")
        explorer.scroll_into_view_if_needed()
        tiles = {tile.locator("span").inner_text(): number(tile.locator("b").inner_text())
                 for tile in explorer.locator(".p2c-tile").all()}  # fmt: skip
        assert tiles == {name: facts[name] for name in tiles} and len(tiles) == 6
        shot(tab, "explorer-all")

        # filter by an outcome, then by what stands in a value: as one types, without Enter
        explorer.locator("button.p2c-tile.p2c-mismatched").click()
        tab.wait_for_selector(f'.p2c-status:has-text("{facts["mismatched"]} of")')
        explorer.locator("[data-sort=key]").click()
        tab.wait_for_selector('th[aria-sort="ascending"]')
        shown = explorer.locator(f"{ROWS} td.p2c-c-key").all_inner_texts()
        assert len(shown) == facts["mismatched"] and shown == sorted(shown)
        explorer.locator("[data-sort=key]").click()
        tab.wait_for_selector('th[aria-sort="descending"]')
        assert explorer.locator(f"{ROWS} td.p2c-c-key").all_inner_texts() == shown[::-1]

        # by keyboard: the second record, ticked, opened, closed
        tab.focus(".p2c-grid")
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press(" ")
        tab.wait_for_selector(f'{ROWS}[aria-selected="true"]')
        key = shown[::-1][1]
        tab.keyboard.press("Enter")
        tab.wait_for_selector(".p2c-record .p2c-fields")
        tab.wait_for_selector(".p2c-record table[aria-label='Earlier runs']")
        record = explorer.locator(".p2c-record")
        assert record.locator("h3").inner_text() == key
        titles = record.locator("h4").all_inner_texts()
        assert titles[0].startswith("Header of") and re.match(r"\d+ lines? of", titles[1])
        heads = record.locator(".p2c-fields").first.locator("th").all_inner_texts()
        assert heads == ["Field", "At the source", "Rule", "Expected", "Found", "Outcome", "Reason", "Remedy"]
        shot(tab, "explorer-record")
        tab.keyboard.press("Escape")
        record.wait_for(state="hidden")

        # "/" searches, and what is typed there does not reach JupyterLab
        tab.keyboard.press("/")
        tab.keyboard.type(key[:-1])
        tab.wait_for_selector(".p2c-chip:has-text('Text')")
        tab.keyboard.press("Escape")
        assert tab.locator(".jp-Notebook .jp-Cell").count() == len(json.loads(NOTEBOOK.read_text())["cells"])
        assert json.loads(ticks_file(run).read_text())["steps"] == [{"on": True, "rows": [[TASK, key]]}]

        # plan, approve in a name, apply
        explorer.locator("button:text('Plan the ticked')").click()
        tab.wait_for_selector(".p2c-approval")
        approve, apply = explorer.locator(".p2c-approve"), explorer.locator(".p2c-apply")
        assert approve.is_disabled() and apply.is_disabled()
        assert write.read_plan(run).approved is None
        explorer.locator(".p2c-by").fill("Ann Analyst")
        explorer.locator(".p2c-work").scroll_into_view_if_needed()
        shot(tab, "explorer-plan")
        approve.click()
        tab.wait_for_selector(".p2c-apply:enabled")
        approved = write.read_plan(run).approved
        assert approved["by"] == "Ann Analyst" and approved["actions"] < approved["of"]
        apply.click()
        tab.wait_for_selector(".p2c-done")
        assert explorer.locator(f"{ROWS} .p2c-now").all_inner_texts() == ["in step"]
        shot(tab, "explorer-sent")
    assert not [error for error in seen.errors if "p2c" in error.lower()]

    again = pair.run("again", tasks=[TASK])
    before = pl.read_parquet(run / "outcomes.parquet").filter(pl.col("outcome") != "excluded")
    after = pl.read_parquet(again / "outcomes.parquet").filter(pl.col("outcome") != "excluded")
    assert set(before["key"].drop_nulls()) - set(after["key"].drop_nulls()) == {key}
