"""The Finance and Operations service over HTTP, against each fact of its OData that is confirmed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from lxml import etree

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.knobs import settings
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.serve import build_app
from p2c_lib.sandbox.store import Store
from serving import serve

EDM = "{http://docs.oasis-open.org/odata/ns/edm}"
YES = "Microsoft.Dynamics.DataEntities.NoYes'Yes'"
ADA = {"CustomerAccount": "C-1", "PartyNumber": "P-1", "PartyType": "Organization", "OrganizationName": "Ada's Mill"}
TEXT_AS_NUMBER = {"Content-Type": "application/json"}


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)


def reference(store: Store) -> None:
    store.load("LegalEntities", frame([{"LegalEntityId": "usmf"}, {"LegalEntityId": "demf"}]))
    store.load("Currencies", frame([{"CurrencyCode": "USD"}, {"CurrencyCode": "EUR"}]))
    for company in ("usmf", "demf"):
        store.load(
            "CustomerGroups", frame([{"dataAreaId": company, "CustomerGroupId": "10", "Description": "Wholesale"}])
        )
    store.load("OperationalSitesV2", frame([{"dataAreaId": "usmf", "SiteId": "1"}]))
    store.load("Warehouses", frame([{"dataAreaId": "usmf", "WarehouseId": "13", "OperationalSiteId": "1"}]))


def customers(store: Store) -> None:
    base = {"dataAreaId": "usmf", "CustomerGroupId": "10", "SalesCurrencyCode": "USD", "PartyType": "Organization"}
    rows = [
        {"CustomerAccount": "US-001", "OrganizationName": "Contoso Retail", "CreditLimit": Decimal("100.25"), "n": 3},
        {"CustomerAccount": "US-002", "OrganizationName": "Fabrikam", "CreditLimit": Decimal("0"), "n": 0},
        {"CustomerAccount": "US-003", "OrganizationName": "O'Neil retail", "CreditLimit": Decimal("7.1"), "n": 10},
        {
            "CustomerAccount": "DE-001",
            "OrganizationName": "Contoso DE",
            "CreditLimit": Decimal("9"),
            "dataAreaId": "demf",
        },
    ]
    table = [
        base
        | {"OrganizationNumberOfEmployees": row.pop("n", 0), "IsExternallyMaintained": "Yes", "PartyNumber": f"P{i}"}
        | row
        for i, row in enumerate(rows)
    ]
    table[1] |= {"IsExternallyMaintained": "No", "AddressCity": "Oslo"}
    store.load("CustomersV2", frame(table))
    store.load(
        "SellableReleasedProducts",
        frame([{"dataAreaId": "usmf", "ProductNumber": "D0001", "SalesPrice": Decimal("12345678901234.123456")}]),
    )


class Fno:
    """A client of one service."""

    def __init__(self, url: str, store: Store) -> None:
        self.url, self.store = url, store
        self.http = httpx.Client(base_url=url, timeout=20, trust_env=False)

    def get(self, path: str, params: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        return self.http.get(f"/data{path}", params=params, headers=headers)

    def names(self, **params: str) -> list[str]:
        query = {key.replace("_", "$", 1) if key.startswith("_") else key: value for key, value in params.items()}
        answer = self.get("/CustomersV2", query)
        assert answer.status_code == 200, answer.text
        return [row["CustomerAccount"] for row in answer.json()["value"]]

    def filtered(self, text: str) -> list[str]:
        return sorted(self.names(_filter=text))

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        return self.http.post(f"/data{path}", json=body, headers=headers)

    def patch(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        return self.http.patch(f"/data{path}", json=body, headers=headers)

    def refusal(self, answer: httpx.Response, status: int) -> str:
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert error["code"] == ""
        return error.get("innererror", {}).get("message", "") or error["message"]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    """Start services with settings of their own; all stop at the end of the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(**knobs: Any) -> Fno:
            store = Store(tmp_path / f"fno{len(knobs)}.sqlite", load_schema("fno"))
            reference(store)
            customers(store)
            url = stack.enter_context(serve(build_app("fno", store, settings(**knobs))))
            client = Fno(url, store)
            stack.callback(store.close)
            stack.callback(client.http.close)
            return client

        yield start


@pytest.fixture
def fno(make: Any) -> Fno:
    return make()


def key(account: str, company: str = "usmf") -> str:
    return f"/CustomersV2(dataAreaId='{company}',CustomerAccount='{account}')"


# what the service says about itself -------------------------------------------------------------------------------
def test_service_document_lists_entity_sets(fno: Fno) -> None:
    answer = fno.get("/").json()
    assert answer["@odata.context"] == f"{fno.url}/data/$metadata"
    assert {"name": "CustomersV2", "kind": "EntitySet", "url": "CustomersV2"} in answer["value"]
    assert fno.get("").json() == answer


def test_metadata_is_edmx_4_with_nullability_and_annotations_but_no_lengths(fno: Fno) -> None:
    answer = fno.get("/$metadata")
    assert answer.headers["content-type"].startswith("application/xml")
    root = etree.fromstring(answer.content)
    assert root.get("Version") == "4.0"
    schema = root.find(f".//{EDM}Schema")
    assert schema is not None and schema.get("Namespace") == "Microsoft.Dynamics.DataEntities"
    assert (
        b"MaxLength" not in answer.content and b"Precision=" not in answer.content and b"Scale=" not in answer.content
    )
    customer = schema.find(f"{EDM}EntityType[@Name='CustomerV2']")
    assert customer is not None
    assert [ref.get("Name") for ref in customer.iter(f"{EDM}PropertyRef")] == ["dataAreaId", "CustomerAccount"]
    columns = {one.get("Name"): one for one in customer.iter(f"{EDM}Property")}
    nullable = {name: columns[name].get("Nullable", "true") for name in columns}
    assert nullable["CustomerAccount"] == nullable["CreditLimit"] == nullable["AddressValidTo"] == "false"
    assert nullable["OrganizationName"] == nullable["IsExternallyMaintained"] == "true"
    assert columns["IsExternallyMaintained"].get("Type") == "Microsoft.Dynamics.DataEntities.NoYes"
    notes = {one.get("Term"): one for one in columns["CreditLimit"].iter(f"{EDM}Annotation")}
    assert notes["Microsoft.Dynamics.OData.Core.V1.AllowEdit"].get("Bool") == "true"
    assert "Real" in notes["Microsoft.Dynamics.OData.Core.V1.AXType"][0].text
    assert "Microsoft.Dynamics.OData.Core.V1.IsRequired" in notes
    product = schema.find(f"{EDM}EntityType[@Name='SellableReleasedProduct']/{EDM}Property[@Name='SalesPrice']")
    assert product is not None
    edits = {one.get("Term"): one.get("Bool") for one in product.iter(f"{EDM}Annotation")}
    assert edits["Microsoft.Dynamics.OData.Core.V1.AllowEdit"] == "false"
    members = schema.find(f"{EDM}EnumType[@Name='NoYes']")
    assert members is not None
    assert [(one.get("Name"), one.get("Value")) for one in members] == [("No", "0"), ("Yes", "1")]
    sets = {one.get("Name"): one.get("EntityType") for one in schema.iter(f"{EDM}EntitySet")}
    assert sets["CustomersV2"] == "Microsoft.Dynamics.DataEntities.CustomerV2"


def test_public_entities_tell_keys_and_take_only_get(fno: Fno) -> None:
    rows = fno.http.get("/metadata/PublicEntities").json()["value"]
    product = next(row for row in rows if row["EntitySetName"] == "SellableReleasedProducts")
    assert product["IsReadOnly"] is True
    one = fno.http.get("/metadata/PublicEntities('CustomerV2')").json()
    keys = [prop["Name"] for prop in one["Properties"] if prop["IsKey"]]
    assert keys == ["dataAreaId", "CustomerAccount"]
    found = fno.http.get("/metadata/PublicEntities", params={"$filter": "contains(tolower(Name),'customerg')"}).json()
    assert [row["Name"] for row in found["value"]] == ["CustomerGroup"]
    assert fno.http.post("/metadata/PublicEntities", json={}).status_code == 405
    assert fno.http.get("/metadata/PublicEntities('Nothing')").status_code == 404
    members = fno.http.get("/metadata/PublicEnumerations('NoYes')").json()["Members"]
    assert members == [{"Name": "No", "Value": 0}, {"Name": "Yes", "Value": 1}]


def test_versions_come_from_the_settings(make: Any) -> None:
    fno = make(application_version="10.0.99.1", platform_version="7.0.1.2", kbs=["KB4045570"])
    actions = "/DataManagementEntities/Microsoft.Dynamics.DataEntities."
    answer = fno.post(f"{actions}GetApplicationVersion", {})
    assert (answer.status_code, answer.json()["value"]) == (200, "10.0.99.1")
    assert fno.post(f"{actions}GetPlatformBuildVersion", {}).json()["value"] == "7.0.1.2"
    assert fno.post(f"{actions}GetApplicationBuildVersion", {}).json()["value"] == "10.34.2105.34092"
    modules = fno.post("/SystemNotifications/Microsoft.Dynamics.DataEntities.GetInstalledModules", {}).json()["value"]
    shape = re.compile(r"Name: .+ \| Version: .+ \| Module: .+ \| Publisher: .+ \| DisplayName: .+")
    assert all(shape.fullmatch(one) for one in modules) and any("KB4045570" in one for one in modules)
    assert fno.post(f"{actions}GetNothing", {}).status_code == 404


# companies and keys -----------------------------------------------------------------------------------------------
def test_reads_stay_in_the_default_company_unless_cross_company(fno: Fno) -> None:
    assert fno.names() == ["US-001", "US-002", "US-003"]
    assert len(fno.names(**{"cross-company": "true"})) == 4
    assert fno.names(_filter="dataAreaId eq 'demf'") == []
    assert fno.names(_filter="dataAreaId eq 'DEMF'", **{"cross-company": "true"}) == ["DE-001"]
    assert fno.get("/CustomersV2/$count").text == "3"
    assert fno.get("/CustomersV2/$count", {"cross-company": "true"}).text == "4"


def test_sets_without_company_are_shared(fno: Fno) -> None:
    assert len(fno.get("/Currencies").json()["value"]) == 2


def test_key_url_of_another_company_is_404_without_cross_company(fno: Fno) -> None:
    assert fno.get(key("DE-001", "demf")).status_code == 404
    assert fno.get(key("DE-001", "demf"), {"cross-company": "true"}).json()["OrganizationName"] == "Contoso DE"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/CustomersV2(dataAreaId='usmf',CustomerAccount='US-001')", id="as declared"),
        pytest.param("/CustomersV2(CustomerAccount='US-001',dataAreaId='USMF')", id="order and case do not matter"),
        pytest.param("/CustomersV2(dataAreaId=%27usmf%27,%20CustomerAccount=%27US-001%27)", id="percent-encoded"),
    ],
)
def test_key_url_finds_one_row(fno: Fno, path: str) -> None:
    answer = fno.get(path)
    assert answer.status_code == 200
    assert answer.json()["@odata.context"] == f"{fno.url}/data/$metadata#CustomersV2/$entity"
    assert answer.json()["CustomerAccount"] == "US-001" and "value" not in answer.json()
    assert answer.headers["etag"] == answer.json()["@odata.etag"]


def test_a_single_key_goes_by_value_or_by_name(fno: Fno) -> None:
    assert fno.get("/Currencies('USD')").json()["CurrencyCode"] == "USD"
    assert fno.get("/Currencies(CurrencyCode='USD')").json()["CurrencyCode"] == "USD"
    assert fno.get("/Currencies('XXX')").status_code == 404


@pytest.mark.parametrize("text", ["dataAreaId='usmf'", "'US-001'", "dataAreaId='usmf',Nope='1'", "dataAreaId=usmf", ""])
def test_an_incomplete_or_strange_key_is_400(fno: Fno, text: str) -> None:
    assert "key" in fno.refusal(fno.get(f"/CustomersV2({text})"), 400).lower()


def test_quotes_and_slashes_in_keys_survive(fno: Fno) -> None:
    body = {"dataAreaId": "usmf", "CustomerGroupId": "A'/B"}
    made = fno.post("/CustomerGroups", body)
    assert made.status_code == 201
    assert made.headers["location"] == f"{fno.url}/data/CustomerGroups(dataAreaId='usmf',CustomerGroupId='A''%2FB')"
    assert fno.http.get(made.headers["location"]).json()["CustomerGroupId"] == "A'/B"


# filters ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"IsExternallyMaintained eq {YES}", ["US-001", "US-003"]),
        (f"IsExternallyMaintained ne {YES}", ["US-002"]),
        ("OrganizationName eq '*retail*'", ["US-001", "US-003"]),
        ("OrganizationName eq '*retail'", ["US-001", "US-003"]),
        ("CustomerAccount eq 'US*' and CreditLimit gt 7.05", ["US-001", "US-003"]),
        ("OrganizationName eq 'FABRIKAM'", ["US-002"]),
        ("OrganizationName eq 'O''Neil retail'", ["US-003"]),
        ("AddressCity eq ''", ["US-001", "US-003"]),
        ("AddressCity ne ''", ["US-002"]),
        ("AddressCity eq null", []),
        ("CreditLimit eq 7.10", ["US-003"]),
        ("CreditLimit ge 7.1 and CreditLimit lt 100.25", ["US-003"]),
        ("not (CreditLimit le 7.1)", ["US-001"]),
        ("CreditLimit gt 50 or OrganizationName eq 'Fabrikam'", ["US-001", "US-002"]),
        ("OrganizationNumberOfEmployees add 1 eq 4", ["US-001"]),
        ("OrganizationNumberOfEmployees sub 1 eq 2", ["US-001"]),
        ("OrganizationNumberOfEmployees mul 2 eq 20", ["US-003"]),
        ("OrganizationNumberOfEmployees div 2 eq 5", ["US-003"]),
        ("OrganizationNumberOfEmployees divby 4 eq 2.5", ["US-003"]),
        ("OrganizationNumberOfEmployees mod 7 eq 3", ["US-001", "US-003"]),
        ("OrganizationName eq 'no divby here'", []),
    ],
)
def test_filters_find(fno: Fno, text: str, found: list[str]) -> None:
    assert fno.filtered(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "contains(OrganizationName,'retail')",
        "startswith(CustomerAccount,'US')",
        "endswith(CustomerAccount,'1')",
        "CustomerAccount in ('US-001','US-002')",
        f"IsExternallyMaintained has {YES}",
        f"IsExternallyMaintained gt {YES}",
        "IsExternallyMaintained eq 'Yes'",
        "IsExternallyMaintained eq Microsoft.Dynamics.DataEntities.NoYes'Maybe'",
        "IsExternallyMaintained eq NoYes'Yes'",
        "Nope eq 'x'",
        "CreditLimit eq 'x'",
        "CustomerAccount eq",
    ],
)
def test_filters_that_this_service_refuses_are_400(fno: Fno, text: str) -> None:
    assert fno.refusal(fno.get("/CustomersV2", {"$filter": text}), 400)


@pytest.mark.parametrize(
    "params",
    [
        {"$apply": "aggregate($count as n)"},
        {"$search": "x"},
        {"$compute": "1 as x"},
        {"$select": "Nope"},
        {"$orderby": "Nope"},
        {"$top": "-1"},
        {"$skip": "x"},
        {"$expand": "Nope"},
        {"$expand": "A($expand=B)"},
        {"$skiptoken": "made up"},
        {"$count": "maybe"},
    ],
)
def test_options_that_this_service_refuses_are_400(fno: Fno, params: dict[str, str]) -> None:
    assert fno.refusal(fno.get("/CustomersV2", params), 400)


def test_two_levels_of_expand_are_named_as_the_reason(fno: Fno) -> None:
    assert "one level" in fno.refusal(fno.get("/CustomersV2", {"$expand": "A($expand=B)"}), 400)


def test_unknown_sets_are_404(fno: Fno) -> None:
    assert fno.get("/Nothing").status_code == fno.get("/Nothing/$count").status_code == 404
    assert fno.get("/CustomersV2/Nope").status_code == 404


# options, pages, shapes -------------------------------------------------------------------------------------------
def test_select_orderby_skip_top_and_count(fno: Fno) -> None:
    params = {
        "$select": "OrganizationName",
        "$orderby": "CreditLimit desc",
        "$skip": "1",
        "$top": "1",
        "$count": "true",
    }
    answer = fno.get("/CustomersV2", params).json()
    assert answer["@odata.context"] == f"{fno.url}/data/$metadata#CustomersV2(OrganizationName)"
    assert answer["@odata.count"] == 3
    assert [list(row) for row in answer["value"]] == [["@odata.etag", "OrganizationName"]]
    assert answer["value"][0]["OrganizationName"] == "O'Neil retail"
    assert "@odata.nextLink" not in answer


def test_top_zero_is_an_empty_page(fno: Fno) -> None:
    assert fno.get("/CustomersV2", {"$top": "0"}).json()["value"] == []


def follow(fno: Fno, params: dict[str, str], **headers: str) -> list[list[str]]:
    pages, answer = [], fno.get("/CustomersV2", params, **headers)
    while True:
        page = answer.json()
        pages.append([row["CustomerAccount"] for row in page["value"]])
        if "@odata.nextLink" not in page:
            return pages
        answer = fno.http.get(page["@odata.nextLink"], headers=headers)


def test_server_cuts_pages_and_links_keep_the_query(make: Any) -> None:
    fno = make(page_rows=2)
    query = {"cross-company": "true", "$select": "CustomerAccount", "$filter": "CustomerAccount ne 'x & y'"}
    assert follow(fno, query) == [["US-001", "US-002"], ["US-003", "DE-001"]]
    assert follow(fno, query | {"$orderby": "CustomerAccount"}) == [["DE-001", "US-001"], ["US-002", "US-003"]]
    assert follow(fno, query | {"$top": "3"}) == [["US-001", "US-002"], ["US-003"]]
    assert follow(fno, query | {"$skip": "1"}) == [["US-002", "US-003"], ["DE-001"]]
    assert follow(fno, query | {"$orderby": "CustomerAccount", "$skip": "1", "$top": "3"}) == [
        ["US-001", "US-002"],
        ["US-003"],
    ]


def test_maxpagesize_lowers_the_page_and_is_confirmed(fno: Fno) -> None:
    answer = fno.get("/CustomersV2", Prefer="odata.maxpagesize=2")
    assert answer.headers["preference-applied"] == "odata.maxpagesize=2"
    assert len(answer.json()["value"]) == 2
    assert follow(fno, {}, Prefer="odata.maxpagesize=1") == [["US-001"], ["US-002"], ["US-003"]]
    assert "preference-applied" not in fno.get("/CustomersV2").headers


def test_page_limit_is_ten_thousand(fno: Fno) -> None:
    rows = [{"dataAreaId": "usmf", "ProductNumber": f"N{i:05d}"} for i in range(10_001)]
    fno.store.load("SellableReleasedProducts", frame(rows))
    first = fno.get("/SellableReleasedProducts", {"$select": "ProductNumber", "$top": "10001"}).json()
    rest = fno.http.get(first["@odata.nextLink"]).json()
    assert (len(first["value"]), len(rest["value"])) == (10_000, 1)


def test_a_row_deleted_between_pages_hides_no_other_row(make: Any) -> None:
    fno = make(page_rows=2)
    page = fno.get("/CustomersV2").json()
    assert fno.http.delete(f"/data{key('US-001')}").status_code == 204
    rest = fno.http.get(page["@odata.nextLink"]).json()["value"]
    assert [row["CustomerAccount"] for row in rest] == ["US-003"]


def test_next_links_may_name_another_host(make: Any) -> None:
    fno = make(page_rows=2, next_link_host="https://other.example")
    assert fno.get("/CustomersV2").json()["@odata.nextLink"].startswith("https://other.example/data/CustomersV2?")


def test_absent_values_are_empty_texts_zeros_and_empty_dates(fno: Fno) -> None:
    row = fno.get(key("US-001")).json()
    assert (row["AddressCity"], row["AddressLatitude"], row["AddressValidTo"]) == ("", 0, "1900-01-01T00:00:00Z")
    assert None not in row.values()
    assert fno.get("/LegalEntities('usmf')").json()["StartDateOfBusiness"] == "1900-01-01T12:00:00Z"


def test_decimals_keep_every_digit(fno: Fno) -> None:
    assert '"SalesPrice":12345678901234.123456' in fno.get("/SellableReleasedProducts").text


def test_dates_are_at_noon(fno: Fno) -> None:
    fno.patch("/LegalEntities('usmf')", {"StartDateOfBusiness": "2024-01-31T22:15:00Z"})
    assert fno.get("/LegalEntities('usmf')").json()["StartDateOfBusiness"] == "2024-01-31T12:00:00Z"
    fno.patch("/LegalEntities('usmf')", {"AddressValidFrom": "2024-01-31T23:15:00+02:00"})
    assert fno.get("/LegalEntities('usmf')").json()["AddressValidFrom"] == "2024-01-31T21:15:00Z"


def test_etag_is_recversion_and_recid_in_base64_and_moves_with_each_write(fno: Fno) -> None:
    def version() -> tuple[str, str]:
        tag = fno.get(key("US-001")).json()["@odata.etag"]
        found = re.fullmatch(r'W/"(.+)"', tag)
        assert found
        pair = re.fullmatch(r"'(\d+),(\d+)'", base64.b64decode(found[1]).decode())
        assert pair
        return pair[1], pair[2]

    before = version()
    assert fno.patch(key("US-001"), {"AddressCity": "Rome"}).status_code == 204
    after = version()
    assert before[0] != after[0] and before[1] == after[1]


def test_full_metadata_adds_types_and_links(fno: Fno) -> None:
    row = fno.get(key("US-001"), Accept="application/json;odata.metadata=full").json()
    assert row["@odata.type"] == "#Microsoft.Dynamics.DataEntities.CustomerV2"
    assert row["@odata.editLink"] == "CustomersV2(dataAreaId='usmf',CustomerAccount='US-001')"
    assert row["@odata.id"] == f"{fno.url}/data/{row['@odata.editLink']}"
    assert row["CreditLimit@odata.type"] == "#Decimal"
    assert row["IsExternallyMaintained@odata.type"] == "#Microsoft.Dynamics.DataEntities.NoYes"
    bare = fno.get(key("US-001"), Accept="application/json;odata.metadata=none").json()
    assert not [name for name in bare if "@" in name]


# writes -----------------------------------------------------------------------------------------------------------
def test_post_answers_with_the_whole_row_its_address_and_etag(fno: Fno) -> None:
    body = {"dataAreaId": "USMF", "CustomerGroupId": "10", "SalesCurrencyCode": "USD", "CreditLimit": 12.5} | ADA
    answer = fno.post("/CustomersV2", body)
    row = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{fno.url}/data/CustomersV2(dataAreaId='usmf',CustomerAccount='C-1')"
    assert answer.headers["etag"] == row["@odata.etag"]
    assert row["@odata.context"] == f"{fno.url}/data/$metadata#CustomersV2/$entity"
    assert (row["dataAreaId"], row["OrganizationName"], row["LanguageId"]) == ("usmf", "Ada's Mill", "en-us")
    assert row == fno.get(key("C-1")).json()


def test_post_without_company_goes_to_the_default_one_and_any_company_can_be_named(fno: Fno) -> None:
    assert fno.post("/CustomersV2", {"CustomerGroupId": "10"} | ADA).json()["dataAreaId"] == "usmf"
    other = fno.post("/CustomersV2", {"CustomerGroupId": "10", "dataAreaId": "demf"} | ADA).json()
    assert (other["dataAreaId"], other["SalesCurrencyCode"]) == ("demf", "EUR")
    text = fno.refusal(fno.post("/CustomersV2", {"CustomerGroupId": "10", "dataAreaId": "zzzz"} | ADA), 400)
    assert "Legal entity 'zzzz'" in text


def test_post_of_an_existing_key_says_so_in_the_infolog(fno: Fno) -> None:
    body = {"CustomerGroupId": "10"} | ADA | {"CustomerAccount": "us-001"}
    answer = fno.post("/CustomersV2", body)
    assert fno.refusal(answer, 400) == (
        "Write failed for table row of type 'CustCustomerV2Entity'. Infolog: Error: The record already exists."
    )
    error = answer.json()["error"]
    assert error["message"] == "An error has occurred."
    assert error["innererror"]["type"].endswith("AxODataWriteException") and "stacktrace" in error["innererror"]


@pytest.mark.parametrize(
    ("column", "value", "label", "table"),
    [
        ("CustomerGroupId", "X", "Customer group", "Customer groups"),
        ("SiteId", "9", "Site", "Sites"),
        ("WarehouseId", "9", "Warehouse", "Warehouses"),
        ("SalesCurrencyCode", "XXX", "Currency", "Currencies"),
    ],
)
def test_values_must_exist_in_their_related_table(fno: Fno, column: str, value: str, label: str, table: str) -> None:
    words = (
        f"Write failed for table row of type 'CustCustomerV2Entity'. Infolog: Warning: The value '{value}' in field "
        f"'{label}' is not found in the related table '{table}'.; Warning: validateField failed on field "
        f"'CustCustomerV2Entity.{column}'."
    )
    created = fno.post("/CustomersV2", {"CustomerGroupId": "10"} | ADA | {column: value})
    assert fno.refusal(created, 400) == words
    assert fno.refusal(fno.patch(key("US-001"), {column: value}), 400) == words
    assert fno.get(key("C-1")).status_code == 404


def test_a_value_of_another_company_does_not_count(fno: Fno) -> None:
    body = {"CustomerGroupId": "10", "dataAreaId": "demf", "SiteId": "1"} | ADA
    assert "field 'Site'" in fno.refusal(fno.post("/CustomersV2", body), 400)


def test_write_failures_can_be_500_as_in_older_versions(make: Any) -> None:
    fno = make(write_failure_status=500)
    assert "not found in the related" in fno.refusal(fno.patch(key("US-001"), {"SiteId": "9"}), 500)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"PartyType": "Person", "PersonLastName": "Byron"}, "First name"),
        ({"PartyType": "Person", "PersonFirstName": "Ada"}, "Last name"),
        ({"PartyType": "Organization"}, "'Name'"),
        ({"PartyType": "Robot"}, "party type"),
        ({"PartyType": "Organization", "OrganizationName": "x", "CustomerGroupId": ""}, "Customer group"),
    ],
)
def test_a_customer_needs_its_names_and_group(fno: Fno, body: dict[str, str], words: str) -> None:
    assert words in fno.refusal(fno.post("/CustomersV2", {"CustomerAccount": "C", "CustomerGroupId": "10"} | body), 400)


def test_a_person_needs_no_organisation_name_and_blank_numbers_are_drawn(fno: Fno) -> None:
    body = {"CustomerGroupId": "10", "PartyType": "Person", "PersonFirstName": "Ada", "PersonLastName": "Byron"}
    row = fno.post("/CustomersV2", body).json()
    assert row["CustomerAccount"] and row["PartyNumber"] and row["OrganizationName"] == ""


def test_a_contact_needs_a_party_and_a_customers_party_number_makes_one(fno: Fno) -> None:
    contact = {"dataAreaId": "usmf", "ContactPersonPartyNumber": "CON-1", "AssociatedPartyNumber": "P-1"}
    refused = fno.refusal(fno.post("/CDSContactPersons", contact), 400)
    assert "The value 'P-1'" in refused and "smmContactPersonCDSEntity.AssociatedPartyNumber" in refused
    assert fno.post("/CustomersV2", {"CustomerGroupId": "10"} | ADA).status_code == 201
    made = fno.post("/CDSContactPersons", contact)
    assert (made.status_code, made.json()["ContactPersonPartyType"]) == (201, "Person")
    assert fno.get("/CDSParties('P-1')").json()["OrganizationName"] == "Ada's Mill"
    assert fno.get("/CDSParties('CON-1')").json()["PartyType"] == "Person"
    assert fno.http.delete(f"/data{key('C-1')}").status_code == 204
    again = contact | {"ContactPersonPartyNumber": "CON-2"}
    assert fno.post("/CDSContactPersons", again).status_code == 201  # the party outlives the customer


def test_patch_and_put_change_what_was_sent_and_nothing_else(fno: Fno) -> None:
    answer = fno.patch(key("US-002"), {"CreditLimit": 5.25})
    assert (answer.status_code, answer.content) == (204, b"")
    assert fno.http.put(f"/data{key('US-002')}", json={"AddressStreet": "Way 1"}).status_code == 204
    row = fno.get(key("US-002")).json()
    assert (row["CreditLimit"], row["AddressStreet"], row["AddressCity"]) == (5.25, "Way 1", "Oslo")


def test_patch_of_a_missing_key_is_404_and_makes_nothing(fno: Fno) -> None:
    assert fno.patch(key("US-999"), {"AddressCity": "Rome"}).status_code == 404
    assert fno.patch(key("DE-001", "demf"), {"AddressCity": "Rome"}).status_code == 404
    assert fno.get("/CustomersV2/$count", {"cross-company": "true"}).text == "4"
    assert fno.patch(key("DE-001", "demf") + "?cross-company=true", {"AddressCity": "Rome"}).status_code == 204


def test_delete_is_204_and_then_404(fno: Fno) -> None:
    assert fno.http.delete(f"/data{key('US-002')}").status_code == 204
    assert fno.http.delete(f"/data{key('US-002')}").status_code == 404
    text = fno.refusal(fno.http.delete("/data/CustomerGroups(dataAreaId='usmf',CustomerGroupId='10')"), 400)
    assert text.startswith("Delete failed for table row") and "dependent Customers V2" in text


def test_if_match_guards_patch_put_and_delete(fno: Fno) -> None:
    old = fno.get(key("US-001")).headers["etag"]
    assert fno.patch(key("US-001"), {"AddressCity": "Rome"}, **{"If-Match": old}).status_code == 204
    assert fno.patch(key("US-001"), {"AddressCity": "Bern"}, **{"If-Match": old}).status_code == 412
    assert fno.http.put(f"/data{key('US-001')}", json={}, headers={"If-Match": old}).status_code == 412
    assert fno.http.delete(f"/data{key('US-001')}", headers={"If-Match": old}).status_code == 412
    assert fno.get(key("US-001")).json()["AddressCity"] == "Rome"
    assert fno.patch(key("US-001"), {"AddressCity": "Bern"}, **{"If-Match": "*"}).status_code == 204


def test_a_patch_returns_the_etag_that_the_next_read_shows(fno: Fno) -> None:
    answer = fno.patch(key("US-001"), {"AddressCity": "Rome"})
    assert answer.headers["etag"] == fno.get(key("US-001")).headers["etag"]


def test_key_columns_cannot_be_changed(fno: Fno) -> None:
    assert "CustomerAccount" in fno.refusal(fno.patch(key("US-001"), {"CustomerAccount": "US-9"}), 400)
    assert fno.patch(key("US-001"), {"CustomerAccount": "us-001", "dataAreaId": "usmf"}).status_code == 204
    assert fno.get(key("US-001")).json()["CustomerAccount"] == "US-001"


def test_overlong_text_is_cut_without_a_word(fno: Fno) -> None:
    assert (
        fno.patch(key("US-001"), {"OrganizationName": "x" * 101, "AddressCountryRegionISOCode": "USA"}).status_code
        == 204
    )
    row = fno.get(key("US-001")).json()
    assert row["OrganizationName"] == "x" * 100
    assert row["AddressCountryRegionISOCode"] == "USA"  # stored as given: the template sends three letters


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_sellable_released_products_are_read_only(fno: Fno, method: str) -> None:
    path = "" if method == "POST" else "(dataAreaId='usmf',ProductNumber='D0001')"
    answer = fno.http.request(method, f"/data/SellableReleasedProducts{path}", json={})
    assert "read-only" in fno.refusal(answer, 405)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'{"Nope": 1}', "Nope"),
        (b'{"CreditLimit": null}', "null value"),
        (b'{"CreditLimit": "1"}', "CreditLimit"),
        (b'{"CreditLimit": NaN}', "CreditLimit"),
        (b'{"OrganizationNumberOfEmployees": 2147483648}', "OrganizationNumberOfEmployees"),
        (b'{"OrganizationNumberOfEmployees": true}', "OrganizationNumberOfEmployees"),
        (b'{"IsExternallyMaintained": 1}', "NoYes"),
        (b'{"IsExternallyMaintained": "Maybe"}', "NoYes"),
        (b'{"AddressCity": 5}', "AddressCity"),
        (b'{"AddressValidTo": "tomorrow"}', "AddressValidTo"),
    ],
)
def test_bodies_that_cannot_be_read_are_400(fno: Fno, body: bytes, words: str) -> None:
    answer = fno.http.patch(f"/data{key('US-001')}", content=body, headers=TEXT_AS_NUMBER)
    assert words in fno.refusal(answer, 400)


def test_exact_decimals_are_stored_and_null_clears_a_text(fno: Fno) -> None:
    body = b'{"CreditLimit": 123456789012345678.123456, "AddressCity": null, "@odata.type": "x"}'
    assert fno.http.patch(f"/data{key('US-002')}", content=body, headers=TEXT_AS_NUMBER).status_code == 204
    answer = fno.get(key("US-002"))
    assert '"CreditLimit":123456789012345678.123456' in answer.text and answer.json()["AddressCity"] == ""


def test_missing_privileges_are_403(make: Any) -> None:
    fno = make(denied=[{"system": "fno", "entity": "CustomersV2", "verb": "write"}])
    assert "Customers V2" in fno.refusal(fno.patch(key("US-001"), {}), 403)
    assert fno.get(key("US-001")).status_code == 200


# batches ----------------------------------------------------------------------------------------------------------
def operation(method: str, url: str, body: str = "", number: int | None = None, inside: bool = False) -> str:
    note = f"Content-ID: {number}\r\n" if number is not None else ""
    head = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
    outer, inner = ("", note) if inside else (note, "")
    return f"{head}{outer}\r\n{method} {url} HTTP/1.1\r\nContent-Type: application/json\r\n{inner}\r\n{body}\r\n"


def change_set(*operations: str) -> str:
    parts = "".join(f"--changeset_1\r\n{one}" for one in operations)
    return f"Content-Type: multipart/mixed; boundary=changeset_1\r\n\r\n{parts}--changeset_1--\r\n"


def batch(fno: Fno, *items: str) -> httpx.Response:
    body = "".join(f"--batch_1\r\n{one}" for one in items) + "--batch_1--\r\n"
    head = {"Content-Type": "multipart/mixed; boundary=batch_1"}
    return fno.http.post("/data/$batch", content=body.encode(), headers=head)


def statuses(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return re.findall(r"^HTTP/1\.1 (\d+)", answer.text, re.M)


GROUP = '{"dataAreaId":"usmf","CustomerGroupId":"%s"}'


def test_a_batch_answers_each_operation_with_its_content_id(fno: Fno) -> None:
    answer = batch(
        fno,
        change_set(
            operation("POST", f"{fno.url}/data/CustomerGroups", GROUP % "20", 1),
            operation("POST", "CustomerGroups", GROUP % "21", 2, inside=True),
        ),
        operation("GET", "CustomerGroups?$select=CustomerGroupId"),
        operation("PATCH", "Nothing('x')", "{}", 7),
    )
    assert statuses(answer) == ["201", "201", "200", "404"]
    assert answer.headers["content-type"].startswith("multipart/mixed; boundary=batchresponse_")
    assert "changesetresponse_" in answer.text
    assert re.findall(r"Content-ID: (\d+)", answer.text) == ["1", "2", "7"]
    assert f"Location: {fno.url}/data/CustomerGroups(dataAreaId='usmf',CustomerGroupId='20')" in answer.text
    assert answer.text.count("ETag: ") == 2
    assert '"CustomerGroupId":"21"' in answer.text.split("changesetresponse_")[-1]


def test_a_change_set_that_fails_keeps_nothing_and_tells_its_one_error(fno: Fno) -> None:
    answer = batch(
        fno,
        change_set(
            operation("POST", "CustomerGroups", GROUP % "20", 1),
            operation("POST", "CustomerGroups", GROUP % "10", 2),
            operation("POST", "CustomerGroups", GROUP % "30", 3),
        ),
    )
    assert statuses(answer) == ["400"]
    assert "The record already exists." in answer.text and "Content-ID: 2" in answer.text
    assert fno.get("/CustomerGroups/$count").text == "1"


def test_a_batch_holds_five_thousand_operations_and_no_more(fno: Fno) -> None:
    many = [operation("GET", "Nothing")] * 5_000
    assert len(statuses(batch(fno, *many))) == 5_000
    assert "5000" in fno.refusal(batch(fno, *many, many[0]), 400)


def test_a_json_batch_is_400(fno: Fno) -> None:
    assert "multipart/mixed" in fno.refusal(fno.post("/$batch", {"requests": []}), 400)


@pytest.mark.parametrize("in_change_set", [True, False])
def test_one_operation_of_a_batch_can_be_throttled(fno: Fno, in_change_set: bool) -> None:
    rule = {"kind": "throttle", "part": True, "path": "CustomerGroups", "after": 1, "first": 1, "retry_after": 7}
    assert fno.http.post("/sandbox/faults", json=rule).status_code == 200
    operations = [operation("POST", "CustomerGroups", GROUP % name, n) for n, name in enumerate(("20", "21", "22"))]
    answer = batch(fno, *([change_set(*operations)] if in_change_set else operations))
    assert statuses(answer) == (["429"] if in_change_set else ["201", "429", "201"])
    assert "Retry-After: 7" in answer.text and "Content-ID: 1" in answer.text
    assert fno.get("/CustomerGroups/$count").text == ("1" if in_change_set else "3")


# the sandbox's own routes ---------------------------------------------------------------------------------------
def admin(fno: Fno, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    answer = fno.http.post("/sandbox/rows", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_rows_change_behind_the_back_of_the_api(fno: Fno) -> None:
    which = {"dataAreaId": "usmf", "ProductNumber": "D0001"}
    before = fno.get("/SellableReleasedProducts").json()["value"][0]
    assert admin(fno, {"entity": "SellableReleasedProducts", "key": which, "changes": {"SalesPrice": "1.10"}}) == {
        "rows": 1
    }
    after = fno.get("/SellableReleasedProducts").json()["value"][0]
    assert (after["SalesPrice"], after["@odata.etag"] != before["@odata.etag"]) == (1.1, True)
    admin(fno, {"entity": "SellableReleasedProducts", "row": which | {"ProductNumber": "D0002"}})
    admin(fno, {"entity": "SellableReleasedProducts", "key": which, "delete": True})
    rows = fno.get("/SellableReleasedProducts").json()["value"]
    assert [row["ProductNumber"] for row in rows] == ["D0002"]
    # no rule of the system is asked
    admin(fno, {"entity": "CustomersV2", "key": {"CustomerAccount": "US-001"}, "changes": {"CustomerGroupId": "zzz"}})


@pytest.mark.parametrize(
    "body",
    [
        {"entity": "Nope", "row": {}},
        {"entity": "CustomersV2"},
        {"entity": "CustomersV2", "row": {"Nope": 1}},
        {"entity": "CustomersV2", "key": {"CustomerAccount": "none"}, "delete": True},
        {"entity": "CustomersV2", "key": {}, "changes": {"CreditLimit": "much"}},
    ],
)
def test_bad_row_changes_are_told(fno: Fno, body: dict[str, Any]) -> None:
    assert admin(fno, body, 400)["error"]


def test_unknown_settings_and_ways_are_refused_together() -> None:
    with pytest.raises(SandboxError, match=r"(?s)'nope'.*page_row:.*page_rows"):
        settings(("nope",), page_row=5)
