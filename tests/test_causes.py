"""What services refuse, in words: which cause fits which message, and what of it can be sent again."""

import json

import polars as pl
import pytest
from plan_world import TEMPLATES, World

from p2c_lib.apply import apply
from p2c_lib.causes import causes_table, explained, failed_again, failures, load_causes, save_failures
from p2c_lib.errors import ConnectError, PlanError, TemplateError
from p2c_lib.write import Wanted, approve, plan

LOG = "Write failed for table row of type 'CustCustomerV3Entity'. Infolog: "


def related(value, field, table):
    return f"{LOG}Warning: The value '{value}' in field '{field}' is not found in the related table '{table}'."


EXAMPLES = [
    ("team_privilege", "sales", None, "Principal team (Id=1) is missing prvReadAccount privilege", "prvReadAccount"),
    ("privilege", "sales", "0x80040220", "SecLib::AccessCheckEx failed.", "lacks a privilege"),
    ("price_list", "sales", "0x80040265", "No active price list exists in the currency of the product", "currency"),
    ("number_sequence", "sales", "0x80040265", "No number sequence row exists for the table 'account'", "account"),
    ("freight_tax_twice", "sales", "0x80040265", "More than one Freight Tax line", "by hand"),
    ("not_from_fno", "sales", None, "The order cannot be activated", "externally maintained"),
    ("unit_not_of_product", "sales", None, "The unit does not belong to the product's group", "unit group"),
    ("product_draft", "sales", None, "Product P1 is not active", "draft"),
    ("document_closed", "fno", None, f"{LOG}Error: Quotation Q1 is Lost and cannot be changed", "closed"),
    ("has_postings", "fno", None, f"{LOG}Error: Sales order 1 has postings and cannot be deleted", "invoiced"),
    ("dependent_rows", "fno", None, f"{LOG}Error: The record cannot be deleted because dependent Lines exist", "refer"),
    ("sales_stopped", "fno", None, f"{LOG}Error: Sales of item P1 are stopped", "item P1"),
    ("site_or_warehouse", "fno", None, "Inventory dimension Site is mandatory and must be specified.", "warehouse"),
    ("quotation_date", "fno", None, f"{LOG}Error: Requested ship date cannot be blank", "delivery date control"),
    ("customer_group", "fno", None, related("10", "Customer group", "Customer groups"), "customer group 10"),
    ("country", "fno", None, f"{LOG}Error: Field 'Country/region' must be filled in", "country is blank"),
    ("price_list_name", "sales", None, "The price list 'Retail' was not found", "does not match"),
    ("unit_unknown", "fno", None, related("pcs", "Unit", "Units"), "'pcs'"),
    ("customer_unknown", "fno", None, related("A1", "Customer account", "Customers"), "customer A1"),
    ("product_unknown", "fno", None, related("P1", "Product number", "Released products"), "product P1"),
    ("value_unknown", "fno", None, related("XYZ", "Currency", "Currencies"), "'XYZ' of Currency"),
    ("must_be_filled", "fno", None, f"{LOG}Error: Field 'Name' must be filled in", "Name is mandatory"),
    ("not_editable", "fno", None, f"{LOG}Error: Field 'PartyType' does not allow edits", "PartyType"),
    ("legal_entity", "fno", None, f"{LOG}Error: Legal entity 'xx' does not exist", "entity xx"),
    ("update_conflict", "fno", None, "An update conflict occurred due to another user process", "same moment"),
    ("duplicate_key", "sales", "0x80040237", "A record with matching key values already exists.", "number already"),
    ("duplicate_rule", "sales", "0x80040333", "A record was not created.", "detection rule"),
    ("parent_gone", "sales", None, "account With Id = 00000000-0000-0000-0000-000000000001 Does Not Exist", "account"),
    ("parent_key_gone", "sales", "0x80060891", "A record with the specified key values does not exist", "not there"),
    ("too_long", "sales", None, "The length of the 'name' attribute of the 'account' entity exceeded the maximum "
     "allowed length of '160'.", "name holds 160"),
    ("choice", "sales", None, "The value 9 of 'statecode' on record of type 'account' is outside the valid range.",
     "no choice 9"),
    ("out_of_range", "sales", None, "The value is outside the permitted range", "outside"),
    ("undeclared_column", "fno", None, "The property 'Foo' does not exist on type 'X'", "not at the service"),
    ("ill_typed", "sales", None, "Cannot convert the literal 'x' to the expected type", "no such value"),
    ("integration_key", "", None, "DIPV1014: no key", "integration key"),
    ("organisation_pair", "", None, "DIPV1016", "renamed"),
    ("mandatory_unmapped", "", None, "DIPV1031", "mandatory"),
    ("schema_stale", "", None, "DIPV1025", "schema"),
    ("mapping_types", "", None, "DIPV1029", "types"),
    ("sql", "sales", None, "Generic SQL error: deadlock victim", "too busy"),
    ("plug_in", "sales", "0x80040265", "Our own plug-in says no", "plug-in"),
    ("infolog", "fno", None, f"{LOG}Error: something of our own", "own words"),
]  # fmt: skip


def told(message, causes, system="sales", code=None):
    errors = pl.DataFrame({"message": [message], "code": [code], "system": [system]}, schema_overrides={"code": str})
    return explained(errors, causes).row(0, named=True)


@pytest.mark.parametrize(("name", "system", "code", "message", "words"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_a_message_finds_its_cause(name, system, code, message, words):
    found = told(message, load_causes(), system, code)
    assert (found["name"], words in found["cause"]) == (name, True), found


def test_every_shipped_cause_has_a_message_that_reaches_it_and_says_where_it_is_from():
    causes = load_causes()
    assert {cause.name for cause in causes} == {example[0] for example in EXAMPLES}
    assert all(cause.source and cause.confidence in ("confirmed", "inferred") for cause in causes)


def test_what_nobody_knows_is_said_to_be_unknown():
    assert told("boo", load_causes())["name"] is None
    assert told("boo", load_causes())["retry"] == "later"


def overlay(tmp_path, text):
    path = tmp_path / "site.yaml"
    path.write_text(f"overlay: Contoso\ncauses:\n{text}")
    return [path]


def test_a_site_changes_adds_and_drops_causes_and_its_own_come_first(tmp_path):
    text = (
        "  price_list: {remedy: ask Ann}\n  freight_tax_twice: drop\n"
        "  ours: {add: true, match: 'no active price list of (?P<what>\\w+)', cause: 'ours {what}', remedy: go}\n"
    )
    causes = load_causes(overlay(tmp_path, text))
    assert told("No active price list at all", causes)["remedy"] == "ask Ann"
    assert told("No active price list of yen", causes)["cause"] == "ours yen"
    assert told("More than one Freight Tax line", causes)["name"] is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  pricelist: {remedy: x}\n", "no cause 'pricelist'; did you mean 'price_list'"),
        ("  price_list: {retry: perhaps}\n", "'perhaps' is none of now, later, never"),
        ("  price_list: {match: '('}\n", "is no regular expression"),
        ("  price_list: {match: 'a(?=b)'}\n", "is no regular expression"),
        ("  price_list: {cause: 'no {what}'}\n", "the match keeps no part 'what'"),
        ("  mine: {add: true, cause: a, remedy: b}\n", "must have a match or a code"),
        ("  price_list: {reemdy: a}\n", "no such entry; did you mean 'remedy'"),
    ],
)
def test_a_fault_in_a_sites_causes_is_named_with_its_place(tmp_path, text, words):
    with pytest.raises(TemplateError) as caught:
        load_causes(overlay(tmp_path, text))
    assert words in str(caught.value) and "site.yaml: causes." in str(caught.value)


def test_refused_rows_are_kept_with_what_was_sent_and_go_away_when_nothing_is_refused(tmp_path):
    world = World()
    for number in ("P1", "P2"):
        world.item(number, ProductName='a "quoted" name, with comma')
    world.compare(tmp_path, "products")
    plan(tmp_path, templates=TEMPLATES, clients=world.clients)
    approve(tmp_path, "ann")
    world.sales.before = lambda verb, entity, row: (
        ConnectError("creating in products: No active price list [HTTP 400, 0x80040265]", status=400, code="0x80040265")
        if row["productnumber"] == "P2"
        else None
    )
    apply(tmp_path, None, world.clients)
    (row,) = save_failures(tmp_path, load_causes()).to_dicts()
    assert (row["key"], row["name"], row["retry"]) == ("P2", "price_list", "later")
    assert row["message"] == "No active price list"
    assert json.loads(row["sent"])["name"] == 'a "quoted" name, with comma'
    kept = pl.read_csv(tmp_path / "failed.csv", infer_schema=False)
    assert kept["key"].to_list() == ["P2"] and json.loads(kept["sent"][0]) == json.loads(row["sent"])
    (line,) = causes_table(failures(tmp_path, load_causes())).to_dicts()
    assert (line["rows"], line["again"]) == (1, "when that is done")


def test_refused_rows_are_sent_again_alone_all_of_them_or_those_of_a_list(tmp_path):
    world = World()
    for number in ("P1", "P2", "P3", "P4"):
        world.item(number)
    world.compare(tmp_path, "products")
    plan(tmp_path, templates=TEMPLATES, clients=world.clients)
    approve(tmp_path, "ann", Wanted(keys=["P1", "P2", "P3"]))
    with pytest.raises(PlanError, match="nothing of this plan was refused"):
        failed_again(tmp_path, "failed")
    world.sales.before = lambda verb, entity, row: (
        None if row["productnumber"] == "P1" else ConnectError("No active price list", status=400)
    )
    assert apply(tmp_path, None, world.clients).failed == 2
    assert apply(tmp_path, None, world.clients).sent == 0  # not by itself
    save_failures(tmp_path, load_causes())
    world.sales.before = lambda verb, entity, row: None
    some = tmp_path / "some.csv"
    pl.read_csv(tmp_path / "failed.csv").filter(pl.col("key") == "P3").write_csv(some)
    assert apply(tmp_path, None, world.clients, only=failed_again(tmp_path, str(some))).created == 1
    some.write_text("task,key\nproducts,P1\n")
    with pytest.raises(PlanError, match="1 of its rows were not refused: products P1"):
        failed_again(tmp_path, str(some))
    assert apply(tmp_path, None, world.clients, only=failed_again(tmp_path, "failed")).created == 1
    assert sorted(row["productnumber"] for row in world.sales.rows["products"]) == ["P1", "P2", "P3"]
    assert save_failures(tmp_path, load_causes()).is_empty()
    assert not (tmp_path / "failed.csv").exists()
