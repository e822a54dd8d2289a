"""A task over the store: pulled, mapped, compared and merged as over any other system."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import polars as pl
import pytest

from p2c_lib import mapping
from p2c_lib.config import load_profile
from p2c_lib.connect import Column, Entity
from p2c_lib.connect.pages import ETAG, MONEY
from p2c_lib.diff import compare
from p2c_lib.errors import ConfigError, SchemaError
from p2c_lib.model import find_task, load_templates, with_lengths
from p2c_lib.pull import pull
from p2c_lib.store import StoreClient, connect_store
from p2c_lib.store.tables import Store

LEGS = load_templates(route="cds")
INTO, OUT = find_task("accounts_to_cds", LEGS), find_task("accounts_from_cds", LEGS)
SENT = Decimal("12345678901234567.89")


@pytest.fixture
def client(tmp_path):
    with StoreClient(Store.open(tmp_path / "store", "ORG001")) as client:
        yield client


def sales(*rows):
    """Accounts of Sales with every column that the first leg reads; what is not given is null."""
    flags, numbers = ("donotemail", "donotphone"), ("numberofemployees", "statecode")
    kinds = dict.fromkeys(flags, pl.Boolean) | dict.fromkeys(numbers, pl.Int32) | {"creditlimit": MONEY}
    schema = {name: kinds.get(name, pl.String) for name in mapping.source_columns(INTO)}
    return pl.DataFrame([{**dict.fromkeys(schema), "statecode": 0, **row} for row in rows], schema=schema)


def stage(client, source, run_id="r1"):
    """What a run and its apply do with the first leg: the mapped rows, merged."""
    rows = mapping.expected(source, INTO, client.entity("Account")).rows
    return client.store.merge("Account", rows, run_id=run_id)


def compared(client, source):
    """The first leg, as a run compares it."""
    entity = client.entity("Account")
    task = with_lengths(INTO, entity)
    mapped = mapping.expected(source, task, entity)
    found = pull(client, "Account", mapping.destination_columns(task))
    in_scope = found.select(pl.all_horizontal(c.expr() for c in task.destination.scope)).to_series()
    projected = mapping.project(found, task, entity)
    return compare(mapped.rows, projected, task, in_scope=in_scope, unmapped=mapped.unmapped)


ACME = {"accountnumber": "ACC-1", "name": "Acme", "creditlimit": SENT, "address1_country": "Germany"}
BOLT = {"accountnumber": "ACC-2", "name": "Bolt", "donotemail": True, "numberofemployees": 7}


def test_what_was_merged_is_in_step_and_what_was_not_is_missing(client):
    source = sales(ACME, BOLT)
    before = compared(client, source)
    assert (before.count("missing"), before.count("matched")) == (2, 0)
    assert stage(client, source).inserted == 2
    after = compared(client, source)
    assert (after.count("matched"), after.rows.height) == (2, 2)
    assert stage(client, source, "r2").unchanged == 2


def test_a_change_at_the_source_is_a_difference_until_it_is_merged_and_a_row_gone_is_left_over(client):
    stage(client, sales(ACME, BOLT))
    source = sales({**ACME, "creditlimit": SENT + Decimal("0.01"), "name": "ACME "})
    outcomes = compared(client, source)
    assert (outcomes.count("mismatched"), outcomes.count("extra")) == (1, 1)
    cells = {field: (outcome, found) for field, outcome, found in outcomes.cells["field", "outcome", "found"].rows()}
    assert cells == {
        "CreditLimitAmount": ("rounding", "12345678901234567.89"),
        "OrganizationName": ("representation", "Acme"),
    }
    assert stage(client, source).updated == 1
    assert compared(client, source).count("matched") == 1


def test_the_persons_in_the_shared_entity_are_not_the_business_of_accounts(client):
    person = {"AccountId": ["CON-1"], "PartyType": ["Person"], "OrganizationName": ["Ann"]}
    client.store.merge("Account", pl.DataFrame(person), run_id="r0")
    stage(client, sales(ACME))
    outcomes = compared(client, sales(ACME))
    assert (outcomes.count("matched"), outcomes.count("extra"), outcomes.out_of_scope) == (1, 0, 1)
    flows = mapping.filter_outcome(pull(client, "Account", mapping.source_columns(OUT)).sort("AccountId"), OUT)
    assert flows.to_list() == [None, "organization"]


def test_a_value_that_the_map_does_not_know_is_unmapped_on_the_first_leg(client):
    source = sales({**ACME, "address1_country": "Atlantis"})
    stage(client, source)
    cells = compared(client, source).cells["field", "outcome"].rows()
    assert cells == [("MailingPostalAddress_Country", "unmapped")]


def test_the_second_leg_reads_what_the_first_one_wrote(client):
    stage(client, sales(ACME, BOLT))
    columns = {field.destination: Column(field.destination) for field in OUT.fields}
    columns |= {"CreditLimit": Column("CreditLimit", "Edm.Decimal", nullable=False)}
    columns |= {"OrganizationNumberOfEmployees": Column("OrganizationNumberOfEmployees", "Edm.Int32", nullable=False)}
    staged = pull(client, "Account", mapping.source_columns(OUT)).sort("AccountId")
    rows = mapping.expected(staged, OUT, Entity("CustomersV2", "CustomersV2", (), columns)).rows
    wanted = ["CustomerAccount", "PartyNumber", "CreditLimit", "AddressCountryRegionISOCode", "PartyType", "SiteId"]
    assert rows.select(wanted).rows() == [
        ("ACC-1", "ACC-1", SENT, "DE", "Organization", "1"),
        ("ACC-2", "ACC-2", Decimal(0), "USA", "Organization", "1"),
    ]


def test_lines_are_staged_with_their_dates_constants_and_amounts(client):
    task = find_task("quote_lines_to_cds", LEGS)
    numbers = ("extendedamount", "manualdiscountamount", "priceperunit", "quantity")
    kinds = dict.fromkeys(numbers, MONEY) | {"sequencenumber": pl.Int32, "quotestatecode": pl.Int32}
    kinds |= {
        "requestdeliveryby": pl.Datetime("us", "UTC"),
        "msdynce_quotehasexternalmaintainedproductsonly": pl.Boolean,
    }
    schema = {name: kinds.get(name, pl.String) for name in mapping.source_columns(task)}
    line = {"quoteid.quotenumber": "QUO-1", "quantity": Decimal(3), "priceperunit": SENT, "uomid.name": "Piece"}
    rows = [{**dict.fromkeys(schema), **line, "sequencenumber": number} for number in (1, 2)]
    entity = client.entity("QuotationLine")
    mapped = mapping.expected(pl.DataFrame(rows, schema=schema), task, entity)
    assert mapped.unmapped.height == 0
    assert client.store.merge("QuotationLine", mapped.rows, run_id="r1").inserted == 2
    found = pull(client, "QuotationLine", ["RequestedDeliveryDate", "DiscountAmount", "UnitPrice", "Quantity_UOM"])
    assert found.drop(ETAG).sort("Sequence").row(1) == (
        *("ORG001", "QUO-1", 2, date(2020, 1, 1), Decimal(0), SENT, "Piece"),
    )


# --- the client -------------------------------------------------------------------------------------------------------


def test_a_pull_gives_key_and_mark_and_what_was_asked_for(client):
    assert pull(client, "Account", ["OrganizationName"]).schema.names() == [
        *("Organization_OrganizationId", "AccountId", ETAG, "OrganizationName"),
    ]
    stage(client, sales(ACME, BOLT))
    first = pull(client, "Account", ["AccountId"]).sort("AccountId")
    stage(client, sales(ACME, {**BOLT, "name": "Bolts"}), "r2")
    second = pull(client, "Account", ["AccountId"]).sort("AccountId")
    assert (first[ETAG] == second[ETAG]).to_list() == [True, False]


def test_a_pull_says_how_many_rows_came_and_can_be_narrowed(client):
    stage(client, sales(ACME, BOLT))
    told = []
    rows = client.pull("Account", ["EmployeeCount"], where=pl.col("OrganizationName") == "Bolt", progress=told.append)
    assert (rows["EmployeeCount"].to_list(), told) == ([7], [1])


def test_a_filter_in_the_words_of_odata_is_refused_and_not_ignored(client):
    with pytest.raises(SchemaError, match="the store takes no OData filter, AccountId eq 'A'"):
        pull(client, "Account", ["AccountId"], filter="AccountId eq 'A'")
    condition = INTO.destination.scope[0]
    assert condition.odata(client.entity("Account").column("PartyType"), "cds") is None


def test_a_column_that_the_store_has_not_is_named_with_what_is_near(client):
    with pytest.raises(SchemaError, match="Account: no column 'OrganisationName'; near: OrganizationName"):
        pull(client, "Account", ["OrganisationName"])


def test_the_metadata_tells_picklists_lengths_and_what_cannot_be_written(client):
    columns = client.metadata().entity("Account").columns
    assert columns["Status"].enum == ("Active", "Inactive")
    assert (columns["OrganizationName"].max_length, columns["AccountId"].required) == (160, True)
    assert not columns["staged_at"].allow_edit_on_create


# --- the profile ------------------------------------------------------------------------------------------------------

URLS = '[profiles.p]\n{more}\nsales = {{url = "http://localhost:1"}}\nfno = {{url = "http://localhost:2"}}\n'


def profile(tmp_path, more=""):
    file = tmp_path / "p2c.toml"
    file.write_text(URLS.format(more=more))
    return load_profile("p", file)


def test_the_store_lies_at_home_unless_the_profile_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("P2C_HOME", str(tmp_path))
    client = connect_store(profile(tmp_path))
    assert (client.store.url, client.store.organization) == (str(tmp_path / ".p2c" / "store"), "ORG001")
    more = 'organization = "ACME"\nstore = {url = "lake", options = {region = "eu"}}'
    client = connect_store(profile(tmp_path, more))
    assert (client.store.url, client.store.organization) == (str(tmp_path / "lake"), "ACME")
    assert client.store.options == {"region": "eu"}
    assert connect_store(profile(tmp_path, 'store = {url = "s3://b/x/"}')).store.url == "s3://b/x"


def test_a_secret_of_the_lake_comes_from_the_environment_and_is_never_shown(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="P2C_STORE__OPTIONS__ACCOUNT_KEY") as caught:
        profile(tmp_path, 'store = {options = {account_key = "hush-hush"}}')
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("P2C_STORE__OPTIONS__ACCOUNT_KEY", "hush-hush")
    chosen = profile(tmp_path, 'store = {url = "az://c/x", options = {account_name = "n"}}')
    store = connect_store(chosen).store
    assert store.options == {"account_name": "n", "account_key": "hush-hush"}
    assert "hush" not in repr(chosen) + repr(store) + repr(StoreClient(store))
