"""The app as an analyst uses it, in a real browser: from the list of runs to a difference that is put right."""

from __future__ import annotations

import subprocess

import polars as pl
import pytest
from app_server import MAIN, App, surroundings
from browser import START_TIMEOUT_S, needs_chromium, page, shot
from pair import Pair

from p2c_lib.sandbox import lifecycle

SMALL = {"accounts": 60, "contacts": 10, "products": 40, "orders": 40}
TASKS = ["accounts", "order_headers_to_sales"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    held = Pair(tmp_path_factory.mktemp("home") / "sandbox", counts=SMALL, drift=True)
    try:
        yield held
    finally:
        lifecycle.stop(held.folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_chromium
def test_an_analyst_finds_opens_ticks_plans_approves_and_applies_until_a_record_is_in_step(pair):
    home, sandbox = pair.folder.parent, str(pair.folder)
    command = [*MAIN, "run", *TASKS, "--no-notebooks", "--out", "runs/first"]
    done = subprocess.run(command, cwd=home, env=surroundings(home, P2C_SANDBOX_DIR=sandbox), text=True,
                          capture_output=True, timeout=250, check=False)  # fmt: skip
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    found = pl.read_parquet(home / "runs" / "first" / "outcomes.parquet")
    differing = found.filter(task="accounts", side="both").filter(pl.col("field").is_not_null())
    fields = differing.filter((pl.col("outcome") == "different").all().over("key"))
    key = fields["key"][0]
    wrong = fields.filter(key=key)
    app = App(home, "--port", "0", P2C_SANDBOX_DIR=sandbox)
    try:
        with page() as (tab, seen):
            tab.goto(f"{app.url}/?token={app.token}", wait_until="commit", timeout=START_TIMEOUT_S * 1000)
            tab.wait_for_selector(".p2c-runs td.bad", timeout=START_TIMEOUT_S * 1000)
            assert tab.title() == "p2c" and app.token not in tab.url
            shot(tab, "app-1-runs")
            tab.click('.p2c-runs a:text-is("first")')

            rows = tab.locator(".p2c-grid tbody tr")
            rows.nth(1).wait_for(timeout=START_TIMEOUT_S * 1000)
            tab.wait_for_selector("#reasons")
            assert tab.url == f"{app.url}/?run=first"
            shot(tab, "app-2-run")

            tab.fill(".p2c-search", key)
            tab.click("button[data-outcome=mismatched]")
            tab.wait_for_selector('.p2c-status:has-text("1 of ")')
            assert rows.count() == 1 and key in rows.inner_text()
            shot(tab, "app-3-filtered")

            rows.locator(".p2c-c-key").click()
            record = tab.locator(".p2c-record")
            record.locator("tr.p2c-differs").first.wait_for()
            shown = record.inner_text()
            for field, expected, is_there in wrong.select("field", "expected", "found").iter_rows():
                assert field in shown and (expected or "") in shown and (is_there or "") in shown
            shot(tab, "app-4-record")

            tab.click(".p2c-close")
            rows.locator("input[type=checkbox]").click()
            tab.wait_for_selector('.p2c-count:has-text("1 ticked")')
            tab.click('button:has-text("Plan the ticked")')
            tab.wait_for_selector(".p2c-approval")
            assert tab.locator(".p2c-apply").is_disabled()
            shot(tab, "app-5-plan")

            tab.fill(".p2c-by", "An Analyst")
            tab.click(".p2c-approve")
            tab.click(".p2c-apply:enabled")
            tab.wait_for_selector('.p2c-now.p2c-good:has-text("in step")')
            assert "1 updated" in tab.locator(".p2c-work").inner_text()
            shot(tab, "app-6-in-step")
            assert seen.errors == []
            assert len(app.kernels()) == 1  # that of the list has ended: its page was left

            app.stop()
            tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # else it looks every ten seconds
            tab.wait_for_selector('#p2c-lost:has-text("The app does not answer")')
            shot(tab, "app-7-ended")
    finally:
        app.stop()
    before = found.filter(task="accounts")["key"].n_unique()
    again = pl.read_parquet(pair.run("again", tasks=["accounts"]) / "outcomes.parquet")
    assert key not in again["key"] and again["key"].n_unique() == before - 1
