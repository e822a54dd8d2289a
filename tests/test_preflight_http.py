"""Preflight over real HTTP: each way to set the systems up wrongly fails its own check, and says what to do."""

import contextlib
import io
import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import polars as pl
import pytest

from p2c_lib.cli import main
from p2c_lib.config import Profile
from p2c_lib.model import load_templates
from p2c_lib.preflight import check, check_table, verdict
from p2c_lib.run import open_clients
from p2c_lib.sandbox import lifecycle
from p2c_lib.sandbox.knobs import WRONG


@dataclass(frozen=True)
class Expected:
    """The check that must catch one way: its name, and words of what was found, needed and to be done."""

    system: str
    name: str
    found: str
    needed: str
    remedy: str
    status: str = "failed"


EXPECTED = {
    "solution_absent": Expected("sales", "P2C solution", "not installed", "1.14 or later", "import the solution"),
    "solution_version": Expected("sales", "P2C solution", "1.13.0.0", "1.14 or later", "import the solution"),
    "account_key": Expected(
        "sales", "key of accounts", "unique on accountnumber", "none", "last build of the solution drops it", "warning"
    ),
    "pricing_calculation": Expected(
        "sales", "use system pricing calculation", "No", "Yes", "System Settings > Sales > Use system pricing"
    ),
    "discount_method": Expected(
        "sales", "discount calculation method", "Per unit", "Line item", "Discount calculation method: Line item"
    ),
    # customers buy in euro, no product is in euro: quotes and orders are refused, products are not
    "price_list": Expected("sales", "price list EUR", "no valid price list in EUR", "in EUR", "Price lists", "warning"),
    "duplicate_account_numbers": Expected(
        "sales", "no repeated accountnumber of accounts", "1 repeated: ACC-", "each number once", "merge or renumber"
    ),
    "application_version": Expected(
        "fno", "hotfix", "7.2.11792.56024 alone does not tell", "KB4045570", "look for it: Help & Support", "by_hand"
    ),
    "platform_version": Expected("fno", "platform version", "7.0.4641.16233", "7.0.4709 or later", "Lifecycle"),
    "customer_group": Expected(
        "fno", "CustomerGroupId 10", "not in CustomerGroups", "'10'", "Accounts receivable > Setup > Customer groups"
    ),
    "site": Expected("fno", "SiteId 1", "not in OperationalSitesV2", "'1'", "Inventory breakdown > Sites"),
    "warehouse": Expected("fno", "WarehouseId 13", "not in Warehouses", "'13'", "Inventory breakdown > Warehouses"),
    "sales_read": Expected("sales", "read accounts", "403", "read privilege", "role that can read accounts"),
    "sales_create": Expected("sales", "write products", "prvCreateProduct", "create and write", "Manage roles"),
    "sales_write": Expected("sales", "write products", "prvWriteProduct", "create and write", "Manage roles"),
    "fno_read": Expected("fno", "read CustomersV2", "403", "read privilege", "role that can read CustomersV2"),
    # F&O tells nobody what a user may write, and nothing is written to find out
    "fno_create": Expected("fno", "write CustomersV2", "does not tell", "create", "Assign roles", "by_hand"),
    "fno_write": Expected("fno", "write CustomersV2", "does not tell", "update", "Assign roles", "by_hand"),
}

# Without the solution its columns and keys are not there either, so nothing that needs them is in order.
FOLLOWS = {"solution_absent": r"columns of the solution: .*|template .*|no repeated msdynce_.*|P2C solution"}

# Ways that do not hide each other share a sandbox: each start costs seconds.
GROUPS = [
    ("solution_absent",),
    ("account_key", "pricing_calculation", "discount_method", "price_list", "customer_group",
     "site", "warehouse", "duplicate_account_numbers", "application_version", "sales_create", "fno_create"),
    ("solution_version", "platform_version", "sales_read", "sales_write", "fno_read", "fno_write"),
]  # fmt: skip


@dataclass
class Looked:
    """A sandbox set up in some wrong ways, what preflight said of it, and how to ask again."""

    folder: Path
    wrong: tuple[str, ...]
    table: pl.DataFrame = field(default_factory=pl.DataFrame)
    verdict: str = ""

    def command(self, *words: str) -> tuple[object, str]:
        """What the command line ends with, and prints."""
        out = io.StringIO()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("P2C_")}
        environment |= {"P2C_SANDBOX_DIR": str(self.folder), "P2C_HOME": str(self.folder)}
        with (
            mock.patch.object(sys, "argv", ["p2c", *words]),
            mock.patch.dict(os.environ, environment, clear=True),
            contextlib.redirect_stdout(out),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        return ended.value.code, out.getvalue()

    def row(self, system: str, name: str) -> dict[str, str]:
        return self.table.row(by_predicate=(pl.col("system") == system) & (pl.col("name") == name), named=True)


@pytest.fixture(
    scope="module", params=[(), *GROUPS], ids=["ready", "without the solution", "badly set up", "old and locked"]
)
def looked(request, tmp_path_factory):
    made = Looked(tmp_path_factory.mktemp("sandbox"), request.param)
    counts = {"accounts": 12, "contacts": 20, "products": 30}
    state = lifecycle.start(made.folder, counts=counts, wrong=made.wrong, detach=True)
    urls = {"sales": {"url": state["sales_url"]}, "fno": {"url": state["fno_url"]}}
    profile = Profile.model_validate({"name": "sandbox", **urls, "auth": {"kind": "sandbox"}})
    try:
        with open_clients(profile) as clients:
            checks = check(profile, clients, load_templates())
        made.table, made.verdict = check_table(checks), verdict(checks)
        yield made
    finally:
        lifecycle.stop(made.folder)


def test_every_way_to_be_wrong_is_tried():
    assert set(EXPECTED) == set(WRONG) == {name for group in GROUPS for name in group}


def test_each_wrong_setting_fails_its_check_in_words(looked):
    problems = []
    for name in looked.wrong:
        wanted = EXPECTED[name]
        row = looked.row(wanted.system, wanted.name)
        if row["status"] != wanted.status:
            problems.append((name, row))
        for column in ("found", "needed", "remedy"):
            if getattr(wanted, column) not in row[column]:
                problems.append((name, column, row[column]))
    assert problems == []


def test_nothing_else_fails_than_what_is_wrong(looked):
    failed = {(row["system"], row["name"]) for row in looked.table.filter(status="failed").to_dicts()}
    wanted = {(e.system, e.name) for name, e in EXPECTED.items() if name in looked.wrong and e.status == "failed"}
    follows = "|".join(FOLLOWS[name] for name in looked.wrong if name in FOLLOWS)
    # of what cannot be read nothing can be said: such a check fails too, in the service's words
    unread = {(row["system"], row["name"]) for row in looked.table.to_dicts() if "PermissionDenied" in row["found"]}
    others = {(system, name) for system, name in failed - wanted - unread if not re.fullmatch(follows, name)}
    assert (wanted - failed, others) == (set(), set())
    assert bool(unread) == ("sales_read" in looked.wrong)


def test_every_check_that_is_not_in_order_says_what_to_do(looked):
    for row in looked.table.filter(pl.col("status") != "ok").to_dicts():
        assert row["found"] and row["needed"] and row["remedy"], row
        if row["status"] == "by_hand" and row["name"] != "company":
            assert " > " in row["remedy"], row  # the place in the menu


def test_the_command_says_the_same_and_its_exit_code_tells(looked):
    code, printed = looked.command("preflight", "--json")
    as_json = pl.DataFrame(json.loads(printed))
    columns = ["status", "system", "name", "needed", "remedy"]
    assert as_json.select(columns).rows() == looked.table.select(columns).rows()
    assert looked.verdict.startswith("not ready: " if looked.wrong else "ready: ")
    assert code == int(bool(looked.wrong))
