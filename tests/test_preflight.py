"""Each way to be badly prepared has its own check, and none of them hides another."""

from decimal import Decimal

import pytest
from fake_service import FakeClient
from hypothesis import given
from hypothesis import strategies as st
from plan_world import TEMPLATES, USD, World

from p2c_lib.config import Endpoint, FnoEndpoint, Profile
from p2c_lib.errors import ConnectError, NotFound, PermissionDenied, ServiceError, SignInError
from p2c_lib.preflight import Check, check, check_table, verdict
from p2c_lib.preflight.systems import at_least

PROFILE = Profile(
    name="here", sales=Endpoint(url="http://127.0.0.1:1"), fno=FnoEndpoint(url="http://127.0.0.1:2", company="usmf")
)
SOLUTION = "msdynce_ProspectToCashIntegration"


def ready() -> World:
    """A world in which every check is passed."""
    world = World()
    sales, fno = world.sales, world.fno
    for unit in ("Piece", "Pound", "Kilogram"):
        sales.add("uoms", name=unit, _uomscheduleid_value="00000000-0000-0000-0001-000000000001")
    sales.find("uoms", name="Box")[0]["_uomscheduleid_value"] = "00000000-0000-0000-0001-000000000001"
    sales.add("pricelevels", name="B", statecode=0, _transactioncurrencyid_value=USD)
    sales.add("pricelevels", name="A", statecode=0, _transactioncurrencyid_value=USD)
    for name in ("CRM Service USA (sample)", "Europe Retail", "UK Retail"):
        sales.add("pricelevels", name=name, statecode=0, _transactioncurrencyid_value=USD)
    sales.add(
        "organizations",
        oobpricecalculationenabled=True,
        discountcalculationmethod=0,
        createproductswithoutparentinactivestate=True,
    )
    sales.add("solutions", uniquename=SOLUTION, version="15.0.0.2")
    sales.said = {
        "WhoAmI": {"UserId": "u1"},
        "RetrieveVersion()": {"Version": "9.2.24044.158"},
        "systemusers(u1)/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()": {
            "RolePrivileges": [
                {"PrivilegeName": f"prv{verb}{kind}"}
                for kind in ("Product", "Order", "Invoice")
                for verb in ("Create", "Write")
            ]
        },
    }
    fno.said = {"GetApplicationVersion": "10.0.40.10", "GetPlatformBuildVersion": "7.0.7120.45"}
    fno.add("LegalEntities", LegalEntityId="usmf")
    fno.add("CustomerGroups", dataAreaId="usmf", CustomerGroupId="10")
    fno.add("OperationalSitesV2", dataAreaId="usmf", SiteId="1")
    fno.add("Warehouses", dataAreaId="usmf", WarehouseId="13")
    for code in ("USD", "EUR", "GBP"):
        fno.add("Currencies", CurrencyCode=code)
    for unit in ("ea", "pcs", "lb", "kg", "box"):
        fno.add("UnitsOfMeasure", UnitSymbol=unit)
    world.item("P1")
    world.product("P1")
    world.contact("C1", world.account("A1"))
    world.customer("A1")
    return world


def checked(world: World) -> list[Check]:
    return check(PROFILE, world.clients, TEMPLATES)


def bad(checks: list[Check]) -> dict[str, Check]:
    """What is neither ok nor the business of a person; templates' advice on lengths is not the matter here."""
    return {
        f"{c.system} {c.name}": c
        for c in checks
        if c.status in ("failed", "warning") and not c.name.startswith("template ")
    }


def test_systems_that_are_ready_pass_every_check():
    checks = checked(ready())
    assert bad(checks) == {}
    assert verdict(checks).startswith("ready: ")
    assert sum(c.status == "ok" for c in checks) > 25


def drop(client: FakeClient, entity: str, **values):
    client.rows[entity] = [row for row in client.rows[entity] if row not in client.find(entity, **values)]


def organisation(column, value):
    return lambda w: w.sales.rows["organizations"][0].update({column: value})


def solution(version):
    return lambda w: w.sales.rows["solutions"][0].update(version=version)


def without_column(entity, column):
    return lambda w: w.sales.known.entities[entity].columns.pop(column)


@pytest.mark.parametrize(
    ("spoil", "name", "status", "words"),
    [
        pytest.param(
            lambda w: w.fno.said.update(GetApplicationVersion="7.2.11792.56023"),
            "fno application version",
            "failed",
            "7.2.11792.56023",
            id="application",
        ),
        pytest.param(
            lambda w: w.fno.said.update(
                GetApplicationVersion="7.2.11792.56024", GetPlatformBuildVersion="7.0.4565.16211"
            ),
            "fno platform version",
            "failed",
            "7.0.4565.16211",
            id="platform before update 8",
        ),
        pytest.param(
            lambda w: w.fno.said.update(GetPlatformBuildVersion="7.0.4641.16233"),
            "fno platform version",
            "failed",
            "7.0.4641.16233",
            id="platform before update 12",
        ),
        pytest.param(
            lambda w: w.sales.said.update({"RetrieveVersion()": {"Version": "8.2.1.99"}}),
            "sales version",
            "failed",
            "8.2.1.99",
            id="sales",
        ),
        pytest.param(
            lambda w: drop(w.sales, "solutions"), "sales P2C solution", "failed", "not installed", id="no solution"
        ),
        pytest.param(solution("1.9.0.0"), "sales P2C solution", "failed", "1.9.0.0", id="old solution"),
        pytest.param(solution("1.14.0.0"), "sales P2C solution", "warning", "1.14.0.0", id="solution before direct"),
        pytest.param(
            without_column("accounts", "accountnumber"),
            "sales columns of the solution: accounts",
            "failed",
            "missing: accountnumber",
            id="column",
        ),
        pytest.param(
            lambda w: object.__setattr__(w.sales.known.entities["contacts"], "alternate_keys", ()),
            "sales key of contacts",
            "warning",
            "no active key",
            id="no key of contacts",
        ),
        pytest.param(
            lambda w: object.__setattr__(w.sales.known.entities["accounts"], "alternate_keys", (("accountnumber",),)),
            "sales key of accounts",
            "warning",
            "unique on accountnumber",
            id="key of accounts",
        ),
        pytest.param(
            organisation("oobpricecalculationenabled", False),
            "sales use system pricing calculation",
            "failed",
            "No",
            id="pricing",
        ),
        pytest.param(
            organisation("discountcalculationmethod", 1),
            "sales discount calculation method",
            "failed",
            "Per unit",
            id="discount",
        ),
        pytest.param(
            organisation("createproductswithoutparentinactivestate", None),
            "sales new products are active",
            "warning",
            "None",
            id="drafts",
        ),
        pytest.param(
            lambda w: drop(w.sales, "uomschedules", name="Default Unit"),
            "sales defaultuomscheduleid.name Default unit",
            "failed",
            "no row of uomschedules",
            id="unit group",
        ),
        pytest.param(
            lambda w: w.sales.find("uoms", name="Each")[0].update(name="Each one"),
            "sales defaultuomid.name Each",
            "failed",
            "that its other columns (defaultuomscheduleid) allow",
            id="unit in use",
        ),
        pytest.param(
            lambda w: drop(w.sales, "uoms", name="Pound"),
            "sales defaultuomid.name Pound",
            "warning",
            "no row of uoms",
            id="unit that no product has",
        ),
        pytest.param(
            lambda w: w.item("P2", SalesUnitSymbol="dozen"),
            "fno value map uom_fo_to_sales",
            "warning",
            "'dozen'",
            id="unit without an entry",
        ),
        pytest.param(
            lambda w: drop(w.fno, "UnitsOfMeasure", UnitSymbol="lb"),
            "fno UnitsOfMeasure of value map uom_fo_to_sales",
            "warning",
            "lb",
            id="F&O unit",
        ),
        pytest.param(
            lambda w: w.item("P2", CurrencyCode="CHF"),
            "sales price list CHF",
            "failed",
            "no valid price list in CHF",
            id="price list",
        ),
        pytest.param(
            lambda w: [row.update(enddate="2020-01-01T00:00:00Z") for row in w.sales.rows["pricelevels"]],
            "sales price list USD",
            "failed",
            "no valid price list in USD",
            id="price list of the past",
        ),
        pytest.param(
            lambda w: drop(w.fno, "CustomerGroups"),
            "fno CustomerGroupId 10",
            "failed",
            "not in CustomerGroups",
            id="group",
        ),
        pytest.param(
            lambda w: w.fno.rows["OperationalSitesV2"][0].update(dataAreaId="demf"),
            "fno SiteId 1",
            "failed",
            "not in OperationalSitesV2",
            id="site of another company",
        ),
        pytest.param(
            lambda w: drop(w.fno, "Warehouses"), "fno WarehouseId 13", "failed", "not in Warehouses", id="warehouse"
        ),
        pytest.param(
            lambda w: drop(w.fno, "Currencies", CurrencyCode="USD"),
            "fno SalesCurrencyCode USD",
            "failed",
            "not in Currencies",
            id="currency in use",
        ),
        pytest.param(
            lambda w: w.account(" a1"),
            "sales no repeated accountnumber of accounts",
            "failed",
            "1 repeated",
            id="account numbers that differ in case and blanks",
        ),
        pytest.param(
            lambda w: w.contact("C1", None),
            "sales no repeated msdynce_contactnumber of contacts",
            "failed",
            "1 repeated: C1",
            id="contact numbers",
        ),
        pytest.param(
            lambda w: w.account(None),
            "sales no blank accountnumber of accounts",
            "warning",
            "1 rows without",
            id="blank account number",
        ),
        pytest.param(
            lambda w: w.fno.said.update({"read CDSContactPersons": PermissionDenied("Access denied", status=403)}),
            "fno read CDSContactPersons",
            "failed",
            "Access denied",
            id="read privilege",
        ),
        pytest.param(
            lambda w: w.sales.said["systemusers(u1)/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"][
                "RolePrivileges"
            ].pop(0),
            "sales write products",
            "failed",
            "missing: prvCreateProduct",
            id="create privilege",
        ),
        pytest.param(
            lambda w: w.fno.rows["LegalEntities"][0].update(LegalEntityId="ussi"),
            "fno company",
            "failed",
            "no company usmf",
            id="company",
        ),
    ],
)
def test_a_wrong_setting_is_found_and_named(spoil, name, status, words):
    world = ready()
    spoil(world)
    found = bad(checked(world))
    assert name in found, sorted(found)
    assert found[name].status == status and words in found[name].found
    assert found[name].remedy and found[name].needed


def test_the_price_list_that_products_go_to_is_the_first_by_name_whatever_its_case():
    world = ready()
    world.sales.find("pricelevels", name="A")[0]["name"] = "a list of old"
    (check,) = [check for check in checked(world) if check.name == "price list USD"]
    assert (check.status, check.found) == ("ok", "first by name: a list of old")


def test_a_missing_template_column_fails_its_template_alone():
    world = ready()
    without_column("contacts", "jobtitle")(world)
    failed = {c.name: c.found for c in checked(world) if c.status == "failed"}
    assert "jobtitle" in failed["template contacts"] and "template accounts" not in failed


def test_an_old_release_leaves_the_hotfix_to_a_person_with_the_menu_path():
    world = ready()
    world.fno.said.update(GetApplicationVersion="7.2.11792.56024", GetPlatformBuildVersion="7.0.4565.16212")
    hotfix = next(c for c in checked(world) if c.name == "hotfix")
    assert hotfix.status == "by_hand" and "KB4045570" in hotfix.needed and "About" in hotfix.remedy
    assert bad(checked(world)) == {}


def test_write_privileges_are_left_to_a_person_when_the_service_does_not_tell():
    world = ready()
    world.sales.said["systemusers(u1)/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"] = NotFound("no", status=404)
    written = {c.name: c.status for c in checked(world) if c.name.startswith("write ")}
    entities = {task.destination.entity for template in TEMPLATES.values() for task in template.tasks}
    assert written == {f"write {entity}": "by_hand" for entity in entities}


def test_what_no_interface_tells_comes_with_a_menu_path():
    by_hand = {c.name: c.remedy for c in checked(ready()) if c.status == "by_hand"}
    for name in ("default team's role", "distinct product table", "calculate sales totals", "decimals of units"):
        assert " > " in by_hand[name]


def test_a_system_that_lets_nobody_in_leaves_the_other_one_checked():
    world = ready()
    world.sales.said["WhoAmI"] = SignInError("the token was refused", status=401)
    found = {(c.system, c.name): c for c in checked(world)}
    assert found["sales", "sign-in"].status == "failed"
    assert "no way into sales" in found["sales", "settings"].found
    assert found["fno", "application version"].status == "ok"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(ServiceError("HTML instead of JSON", status=502), id="html"),
        pytest.param(ConnectError("cannot reach it"), id="unreachable"),
        pytest.param({"unexpected": 1}, id="another form"),
    ],
)
def test_a_question_without_an_answer_hides_no_other(said):
    world = ready()
    before = len(checked(world))
    world.sales.said["RetrieveVersion()"] = said
    checks = checked(world)
    assert len(checks) == before
    assert [c.name for c in checks if c.status == "failed"] == ["version"]


def test_nothing_is_written_by_a_preflight():
    world = ready()
    world.item("P2", SalesPrice=Decimal("1"))
    checked(world)
    assert world.sales.calls == [] and world.fno.calls == []


def test_the_table_shows_what_failed_first():
    world = ready()
    drop(world.fno, "Warehouses")
    checks = checked(world)
    table = check_table(checks)
    assert table["status"][0] == "failed" and table["name"][0] == "WarehouseId 13"
    assert table.height == len(checks)
    assert verdict(checks).startswith("not ready: 1 failed")


@pytest.mark.parametrize(
    ("version", "minimum", "expected"),
    [
        ("10.0.40.10", "7.2.11792.56024", True),
        ("7.2.11792.56024", "7.2.11792.56024", True),
        ("7.10.0.0", "7.9", True),
        ("1.9", "1.14", False),
        ("1.14", "1.14.0.0", True),
        ("9.2.24044.00158", "8.2.1.207", True),
        ("", "1.0", False),
        ("unknown", "1.0", False),
    ],
)
def test_versions_compare_as_numbers(version, minimum, expected):
    assert at_least(version, minimum) is expected


@given(
    st.lists(st.integers(0, 99_999), min_size=4, max_size=4), st.lists(st.integers(0, 99_999), min_size=4, max_size=4)
)
def test_versions_are_ordered_as_their_numbers_are(one, other):
    texts = [".".join(map(str, parts)) for parts in (one, other)]
    assert at_least(*texts) == (one >= other)
