from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from sales_world import EACH, EUR, GROUP, JPY, LIST_A, LIST_EUR, ORG, UNIT, USD, USER, guid, new_store
from starlette.applications import Starlette

from p2c_lib.sandbox.dataverse import Config, create_app
from p2c_lib.sandbox.store import Store, new_guid
from serving import serve

API = "/api/data/v9.2"
ANNOTATE = {"Prefer": 'odata.include-annotations="*"'}


class Api:
    """The service under test with paths below its root and exact numbers."""

    def __init__(self, store: Store, client: httpx.Client) -> None:
        self.store, self.client = store, client

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Content-Type"] = "application/json"
        return self.client.request(method, f"{API}/{path}", content=content, headers=named)

    def get(self, path: str, **headers: str) -> Any:
        answer = self.call("GET", path, **headers)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text, parse_float=Decimal)

    def create(self, entity: str, body: dict[str, Any], **headers: str) -> str:
        answer = self.call("POST", entity, body, **headers)
        assert answer.status_code == 204, answer.text
        return answer.headers["OData-EntityId"].split("(")[1].rstrip(")")

    def refused(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, str]:
        answer = self.call(method, path, body, **headers)
        error = answer.json()["error"]
        return answer.status_code, error["code"], error["message"]


class Stand:
    """One server for all tests of this file; each test puts its own service behind it."""

    app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def stand() -> Iterator[tuple[Stand, httpx.Client]]:
    stand = Stand()
    stand.app = Starlette()  # answers the server's start-up
    with serve(stand) as url, httpx.Client(base_url=url) as client:
        yield stand, client


@pytest.fixture
def api(tmp_path: Any, stand: tuple[Stand, httpx.Client]) -> Iterator[Api]:
    store = new_store(tmp_path)
    stand[0].app = create_app(store)
    yield Api(store, stand[1])
    store.close()


@contextmanager
def _served(store: Store, **config: Any) -> Iterator[Api]:
    with serve(create_app(store, config=Config(**config))) as url, httpx.Client(base_url=url) as client:
        yield Api(store, client)
    store.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: Any) -> Iterator[Api]:
    """Seven accounts that no test changes."""
    store = new_store(tmp_path_factory.mktemp("shared"))
    store.load(
        "accounts",
        pl.DataFrame(
            {
                "accountid": [guid(100 + i) for i in range(7)],
                "name": ["Alpha", "beta", "Gamma", "O'Neil", "50% off", "Zeta", None],
                "accountnumber": ["A1", "A2", "A3", "A4", "A5", "A6", "a1"],
                "creditlimit": ["100.00", "9.50", None, "12345678901234567.89", "100.00", "-3.00", "0.00"],
                "_transactioncurrencyid_value": [USD, EUR, USD, USD, EUR, USD, USD],
                "_primarycontactid_value": [guid(200), None, None, None, None, None, None],
                "accountcategorycode": [1, 2, 1, None, None, None, None],
                "numberofemployees": [5, 50, 500, None, None, None, None],
                "donotemail": [True, False, False, False, False, False, False],
                "createdon": [f"2024-01-0{i + 1}T10:00:00Z" for i in range(7)],
            }
        ),
    )
    store.load(
        "contacts",
        pl.DataFrame(
            {
                "contactid": [guid(200), guid(201)],
                "fullname": ["Grace Hopper", "Kid Hopper"],
                "_parentcustomerid_value": [guid(100), guid(200)],
                "_parentcustomerid_type": ["account", "contact"],
            }
        ),
    )
    with _served(store) as served:
        yield served


# reading --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name eq 'ALPHA'", "A1"),
        ("name eq 'O''Neil'", "A4"),
        ("contains(name,'50%')", "A5"),
        ("contains(name,'_')", ""),
        ("startswith(name,'z')", "A6"),
        ("endswith(name,'A') and not (name eq 'alpha')", "A2 A3 A6"),
        ("name eq null", "a1"),
        ("name ne null and creditlimit eq null", "A3"),
        ("creditlimit eq 100", "A1 A5"),
        ("creditlimit gt 9.5 and creditlimit lt 1000", "A1 A5"),
        ("creditlimit eq 12345678901234567.89", "A4"),
        ("creditlimit eq 12345678901234567.9", ""),
        ("creditlimit lt 0", "A6"),
        ("creditlimit eq -3.000", "A6"),
        ("_transactioncurrencyid_value eq " + EUR, "A2 A5"),
        ("_transactioncurrencyid_value eq '" + EUR + "'", "A2 A5"),
        ("transactioncurrencyid/isocurrencycode eq 'eur'", "A2 A5"),
        ("primarycontactid/fullname eq 'grace hopper'", "A1"),
        ("donotemail eq true", "A1"),
        ("createdon ge 2024-01-06T12:00:00+02:00", "A6 a1"),
        ("createdon lt 2024-01-02", "A1"),
        ("accountcategorycode eq 1 or numberofemployees gt 40", "A1 A2 A3"),
        ("5 ge numberofemployees", "A1"),
        ("Microsoft.Dynamics.CRM.In(PropertyName='accountnumber',PropertyValues=['A2','a4'])", "A2 A4"),
        ("Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=[\"O'Neil\"])", "A4"),
        ("Microsoft.Dynamics.CRM.NotIn(PropertyName='accountcategorycode',PropertyValues=[\"1\"])", "A2"),
        ('Microsoft.Dynamics.CRM.Between(PropertyName=\'numberofemployees\',PropertyValues=["5","50"])', "A1 A2"),
        ("Microsoft.Dynamics.CRM.On(PropertyName='createdon',PropertyValue='2024-01-03')", "A3"),
        ("accountnumber eq name", ""),
    ],
)
def test_filter_finds_these_accounts(shared: Api, text: str, found: str) -> None:
    rows = shared.client.get(f"{API}/accounts", params={"$filter": text, "$select": "accountnumber"}).json()
    assert " ".join(row["accountnumber"] for row in rows["value"]) == found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("$filter=Name eq 'x'", "property named 'Name'"),
        ("$filter=name eq 1", "incompatible types"),
        ("$filter=name in ('a','b')", "'in' is not supported"),
        ("$filter=creditlimit add 1 eq 2", "Arithmetic"),
        ("$filter=substring(name,1) eq 'x'", "unknown function"),
        ("$filter=name eq", "Syntax error"),
        ("$filter=name", "single boolean"),
        ("$skip=1", "Skip Clause is not supported"),
        ("$search=x", "$search is not supported"),
        ("$select=nix", "property named 'nix'"),
        ("$orderby=nix", "property named 'nix'"),
        ("$orderby=name up", "Syntax error"),
        ("$expand=nix", "property named 'nix'"),
        ("$top=-1", "$top"),
        ("$filter=name eq @p1", "alias '@p1'"),
        ("$skiptoken=abc", "Paging Cookie"),
    ],
)
def test_bad_query_option_is_refused_in_words(shared: Api, options: str, words: str) -> None:
    status, _, message = shared.refused("GET", f"accounts?{options}")
    assert status == 400
    assert words in message


def test_unknown_set_path_and_verb_are_refused(shared: Api) -> None:
    assert shared.refused("GET", "acounts")[0] == 404
    assert shared.refused("GET", "accounts/nix")[0] == 404
    assert shared.refused("DELETE", "accounts")[0] == 405
    assert shared.refused("GET", f"accounts({guid(999)})")[:2] == (404, "0x80040217")


def test_select_shows_id_etag_and_null_but_nothing_else(shared: Api) -> None:
    page = shared.get("accounts?$select=name,creditlimit&$top=3&$orderby=accountnumber desc")
    assert page["@odata.context"].endswith("/api/data/v9.2/$metadata#accounts(name,creditlimit)")
    assert [set(row) for row in page["value"]] == [{"@odata.etag", "accountid", "name", "creditlimit"}] * 3
    assert re.fullmatch(r'W/"\d+"', page["value"][0]["@odata.etag"])
    assert [row["name"] for row in page["value"]] == ["Zeta", "50% off", "O'Neil"]


def test_money_keeps_every_digit(shared: Api) -> None:
    assert '"creditlimit":12345678901234567.89' in shared.call("GET", "accounts?$select=creditlimit").text


def test_alias_stands_for_its_value(shared: Api) -> None:
    rows = shared.get("accounts?$select=name&$filter=name eq @p1&@p1='O''Neil'")["value"]
    assert [row["name"] for row in rows] == ["O'Neil"]


def test_annotations_are_given_when_asked_for(shared: Api) -> None:
    path = f"contacts({guid(201)})?$select=_parentcustomerid_value"
    assert set(shared.get(path)) == {"@odata.context", "@odata.etag", "contactid", "_parentcustomerid_value"}
    row = shared.get(path, **ANNOTATE)
    assert row["_parentcustomerid_value@OData.Community.Display.V1.FormattedValue"] == "Grace Hopper"
    assert row["_parentcustomerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "contact"
    assert (
        row["_parentcustomerid_value@Microsoft.Dynamics.CRM.associatednavigationproperty"] == "parentcustomerid_contact"
    )
    only = 'odata.include-annotations="OData.Community.Display.V1.*"'
    page = shared.get("accounts?$select=accountcategorycode,donotemail,creditlimit&$top=1", Prefer=only)
    labels = {k.split("@")[0]: v for k, v in page["value"][0].items() if "FormattedValue" in k}
    assert labels == {
        "accountcategorycode": "Preferred Customer",
        "donotemail": "Do Not Allow",
        "creditlimit": "100.00",
    }
    assert "lookuplogicalname" not in json.dumps(page, default=str)


def test_expand_brings_the_related_row_by_type(shared: Api) -> None:
    rows = shared.get(
        "contacts?$select=fullname&$expand=parentcustomerid_account($select=name;$expand=transactioncurrencyid"
        "($select=isocurrencycode)),parentcustomerid_contact($select=fullname)"
    )["value"]
    assert rows[0]["parentcustomerid_account"]["name"] == "Alpha"
    assert rows[0]["parentcustomerid_account"]["transactioncurrencyid"]["isocurrencycode"] == "USD"
    assert rows[0]["parentcustomerid_contact"] is None
    assert rows[1]["parentcustomerid_contact"]["fullname"] == "Grace Hopper"
    assert "_parentcustomerid_value" not in rows[0]


def test_navigation_column_and_raw_value_have_their_own_paths(shared: Api) -> None:
    assert shared.get(f"contacts({guid(200)})/parentcustomerid_account?$select=name")["name"] == "Alpha"
    assert shared.call("GET", f"contacts({guid(200)})/parentcustomerid_contact").status_code == 204
    assert shared.get(f"accounts({guid(100)})/creditlimit")["value"] == Decimal("100.00")
    assert shared.call("GET", f"accounts({guid(100)})/name/$value").text == "Alpha"
    assert shared.call("GET", f"accounts({guid(102)})/creditlimit").status_code == 204
    ref = shared.get(f"contacts({guid(200)})/parentcustomerid_account/$ref")
    assert ref["@odata.id"].endswith(f"/accounts({guid(100)})")


def test_pages_hold_every_row_once_with_and_without_an_order(shared: Api) -> None:
    for order in ("", "&$orderby=creditlimit"):
        path, seen, pages = f"accounts?$select=accountnumber{order}", [], 0
        while path:
            page = shared.get(path, Prefer="odata.maxpagesize=3")
            seen += [row["accountnumber"] for row in page["value"]]
            pages += 1
            link = page.get("@odata.nextLink")
            path = link.split(f"{API}/")[1] if link else None
        assert (pages, sorted(seen)) == (3, sorted(["A1", "A2", "A3", "A4", "A5", "A6", "a1"]))


def test_next_link_holds_a_twice_encoded_cookie(shared: Api) -> None:
    answer = shared.call("GET", "accounts?$select=name", Prefer="odata.maxpagesize=3")
    assert answer.headers["Preference-Applied"] == "odata.maxpagesize=3"
    token = unquote(answer.json()["@odata.nextLink"].split("$skiptoken=")[1])
    assert token.startswith('<cookie pagenumber="2" pagingcookie="%253Ccookie%2520page')
    assert token.endswith('istracking="False" />')
    assert f'<accountid last="{{{guid(102)}}}"' in unquote(unquote(token))


def test_top_is_ignored_beside_a_page_size(shared: Api) -> None:
    assert len(shared.get("accounts?$top=2")["value"]) == 2
    assert "@odata.nextLink" not in shared.get("accounts?$top=2")
    page = shared.get("accounts?$top=2", Prefer="odata.maxpagesize=4")
    assert len(page["value"]) == 4
    assert "@odata.nextLink" in page


def test_counts(shared: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared.call("GET", "accounts/$count").text == "7"
    assert shared.call("GET", "accounts/$count?$filter=donotemail eq true").text == "1"
    page = shared.get("accounts?$count=true&$top=1", **ANNOTATE)
    assert page["@odata.count"] == page["@Microsoft.Dynamics.CRM.totalrecordcount"] == 7
    assert shared.get("accounts?$top=1", **ANNOTATE)["@Microsoft.Dynamics.CRM.totalrecordcount"] == -1
    monkeypatch.setattr("p2c_lib.sandbox.dataverse_read.COUNT_CAP", 5)
    page = shared.get("accounts?$count=true", **ANNOTATE)
    assert page["@odata.count"] == 5
    assert page["@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"] is True
    total = shared.get("RetrieveTotalRecordCount(EntityNames=['account','contact'])")["EntityRecordCountCollection"]
    assert total["Values"] == [7, 2]


def test_apply_sums_exactly(shared: Api) -> None:
    text = "groupby((_transactioncurrencyid_value),aggregate(creditlimit with sum as total,$count as n))"
    rows = {r["_transactioncurrencyid_value"]: r for r in shared.get(f"accounts?$apply={text}")["value"]}
    assert rows[USD]["total"] == Decimal("12345678901234664.89")  # 100 + 12345678901234567.89 - 3 + 0
    assert rows[EUR]["n"] == 2
    text = "filter(creditlimit gt 0)/aggregate(creditlimit with min as low,creditlimit with average as mean)"
    assert shared.get(f"accounts?$apply={text}")["value"] == [
        {"low": Decimal("9.5"), "mean": Decimal("3086419725308694.3475")}
    ]


def test_unchanged_row_is_not_sent_again(shared: Api) -> None:
    path = f"accounts({guid(100)})?$select=name"
    tag = shared.call("GET", path).headers["ETag"]
    assert shared.call("GET", path, If_None_Match=tag).status_code == 304
    assert shared.call("GET", path, If_None_Match="null").status_code == 200
    assert shared.call("GET", path, If_None_Match='W/"1"').status_code == 200


def test_fixed_headers_and_functions(shared: Api) -> None:
    answer = shared.call("GET", "WhoAmI")
    assert answer.json()["UserId"] == USER
    assert (answer.json()["OrganizationId"], answer.json()["BusinessUnitId"]) == (ORG, UNIT)
    assert answer.headers["OData-Version"] == "4.0"
    assert answer.headers["x-ms-dop-hint"] == "16"
    assert shared.get("RetrieveVersion()")["Version"].startswith("9.2.")
    assert {row["name"] for row in shared.get("")["value"]} >= {"accounts", "contacts", "products"}


def test_answers_are_compressed_on_request(shared: Api) -> None:
    assert shared.call("GET", "accounts", Accept_Encoding="gzip").headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in shared.call("GET", "accounts", Accept_Encoding="identity").headers


# single writes --------------------------------------------------------------------------------------------------------
def test_create_answers_204_or_201_with_the_row(api: Api) -> None:
    answer = api.call("POST", "accounts?$select=name", {"name": "A"}, Prefer="return=representation")
    assert answer.status_code == 201
    assert answer.json()["name"] == "A"
    assert answer.headers["Preference-Applied"] == "return=representation"
    row_id = api.create("accounts", {"name": "B", "accountid": guid(5).upper()})
    assert row_id == guid(5)
    assert api.refused("POST", "accounts", {"name": "C", "accountid": guid(5)})[:2] == (412, "0x80040237")


def test_new_row_gets_the_platforms_columns(api: Api) -> None:
    row = api.get(f"accounts({api.create('accounts', {'name': 'A', 'createdon': '2001-01-01T00:00:00Z'})})")
    assert row["_ownerid_value"] == row["_owninguser_value"] == row["_createdby_value"] == USER
    assert row["_owningbusinessunit_value"] == UNIT
    assert row["_transactioncurrencyid_value"] == USD
    assert (row["statecode"], row["statuscode"], row["donotfax"]) == (0, 1, False)
    assert row["createdon"] == row["modifiedon"] > "2020"
    assert row["@odata.etag"] == f'W/"{row["versionnumber"]}"'
    old = api.create("accounts", {"name": "B", "overriddencreatedon": "2001-01-01T00:00:00Z"})
    assert api.get(f"accounts({old})")["createdon"] == "2001-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({"accountnumber": "x" * 21}, 400, "0x80044331", "exceeded the maximum allowed length of '20'"),
        ({"accountcategorycode": 9}, 400, "0x8004431a", "Accepted Values: 1,2"),
        ({"creditlimit": 10**15}, 400, "0x80044330", "outside the valid range"),
        ({"numberofemployees": 2**31}, 400, "0x8004432f", "outside the valid range"),
        ({"creditlimit": "5"}, 400, "0x80048d19", "Edm.Decimal"),
        ({"numberofemployees": 1.5}, 400, "0x80048d19", "Edm.Int32"),
        ({"donotfax": "true"}, 400, "0x80048d19", "Edm.Boolean"),
        ({"donotfax": 1}, 400, "0x80048d19", "Edm.Boolean"),
        ({"name": 5}, 400, "0x80048d19", "Edm.String"),
        ({"name": "\ud800"}, 400, "0x80048d19", "Edm.String"),
        ({"Name": "x"}, 400, "0x80048d19", "'Name' does not exist"),
        ({"accountid": "x"}, 400, "0x80048d19", "Edm.Guid"),
        ({"overriddencreatedon": "soon"}, 400, "0x80048d19", "Edm.DateTimeOffset"),
        ({"_parentaccountid_value": guid(1)}, 400, "0x80048d19", "direct update of Entity Reference"),
        ({"parentAccountid@odata.bind": None}, 400, "0x80048d19", "undeclared property 'parentAccountid'"),
        ({"parentaccountid@odata.bind": f"/accounts({guid(9)})"}, 404, "0x80040217", "Does Not Exist"),
        ({"parentaccountid@odata.bind": f"/contacts({guid(9)})"}, 400, "0x80048d19", "takes a 'account'"),
        ({"parentaccountid@odata.bind": "rubbish"}, 400, "0x80048d19", "not a reference"),
        ({"parentaccountid@odata.bind": "/accounts(name='x')"}, 400, "0x80060888", "key in the request URI"),
        ({"primarycontactid@odata.bind": "/contacts(msdynce_contactnumber='x')"}, 404, "0x80060891", "key values"),
    ],
)
def test_wrong_body_is_refused_and_nothing_is_kept(
    api: Api, body: dict[str, Any], status: int, code: str, words: str
) -> None:
    answer = api.refused("POST", "accounts", {"name": "A"} | body)
    assert answer[:2] == (status, code)
    assert words in answer[2]
    assert api.call("GET", "accounts/$count").text == "0"
    assert (
        api.get("msdynce_p2cautonumbers?$select=msdynce_numbersequence")["value"][0]["msdynce_numbersequence"] == 1000
    )


@pytest.mark.parametrize("content", ["", "[]", '{"name":', '{"creditlimit": NaN}', "\xff"])
def test_body_that_is_no_object_is_refused(api: Api, content: str) -> None:
    answer = api.client.post(f"{API}/accounts", content=content.encode("latin-1"))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "0x80048d19"


def test_all_annotations_bring_more_of_an_error(api: Api) -> None:
    error = api.call("GET", f"accounts({guid(9)})", **ANNOTATE).json()["error"]
    assert error["@Microsoft.PowerApps.CDS.InnerError.Message"] == error["message"]


def test_text_is_kept_and_empty_text_is_null(api: Api) -> None:
    row_id = api.create("accounts", {"name": 'Ünï\'€ "x"\n', "address1_city": ""})
    row = api.get(f"accounts({row_id})")
    assert (row["name"], row["address1_city"]) == ('Ünï\'€ "x"\n', None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.decimals(min_value=-(10**14), max_value=10**14, places=2))
def test_money_of_two_digits_comes_back_as_it_was_sent(api: Api, value: Decimal) -> None:
    content = f'{{"name":"A","creditlimit":{value:f}}}'
    answer = api.client.post(f"{API}/accounts", content=content, headers={"Content-Type": "application/json"})
    row_id = answer.headers["OData-EntityId"].split("(")[1].rstrip(")")
    assert api.get(f"accounts({row_id})?$select=creditlimit")["creditlimit"] == value


@pytest.mark.parametrize(
    ("currency", "sent", "kept", "base"),
    [
        pytest.param(USD, "1.005", "1.01", "1.01", id="half goes up"),
        pytest.param(USD, "-1.005", "-1.01", "-1.01", id="away from zero"),
        pytest.param(EUR, "10.00", "10.00", "12.50", id="base is amount by rate"),
        pytest.param(JPY, "10.5", "11", "0.0733", id="yen has no decimals"),
    ],
)
def test_money_is_rounded_by_its_currency(api: Api, currency: str, sent: str, kept: str, base: str) -> None:
    bind = f"/transactioncurrencies({currency})"
    content = f'{{"name":"A","creditlimit":{sent},"transactioncurrencyid@odata.bind":"{bind}"}}'
    answer = api.client.post(f"{API}/accounts", content=content)
    row = api.get(answer.headers["OData-EntityId"].split(f"{API}/")[1])
    assert (row["creditlimit"], row["creditlimit_base"]) == (Decimal(kept), Decimal(base))


def test_changed_currency_rounds_and_converts_anew(api: Api) -> None:
    row_id = api.create("accounts", {"name": "A", "creditlimit": 10})
    api.call("PATCH", f"accounts({row_id})", {"transactioncurrencyid@odata.bind": f"/transactioncurrencies({EUR})"})
    row = api.get(f"accounts({row_id})")
    assert (row["creditlimit"], row["creditlimit_base"], row["exchangerate"]) == (10, Decimal("12.5"), Decimal("0.8"))


def test_update_upsert_and_their_conditions(api: Api) -> None:
    path = f"accounts({guid(7)})"
    assert api.refused("PATCH", path, {"name": "A"}, If_Match="*")[:2] == (404, "0x80040217")
    assert api.call("PATCH", path, {"name": "A"}).status_code == 204
    assert api.refused("PATCH", path, {"name": "B"}, If_None_Match="*")[:2] == (412, "0x80040237")
    first = api.get(path)["@odata.etag"]
    answer = api.call("PATCH", path, {"name": "B"}, Prefer="return=representation", If_Match=first)
    assert (answer.status_code, answer.json()["name"]) == (200, "B")
    assert answer.headers["ETag"] != first
    assert api.refused("PATCH", path, {"name": "C"}, If_Match=first)[:2] == (412, "0x80060882")
    assert api.refused("DELETE", path, If_Match=first)[:2] == (412, "0x80060882")
    assert api.get(path)["name"] == "B"
    assert api.call("DELETE", path).status_code == 204
    assert api.refused("DELETE", path)[:2] == (404, "0x80040217")
    answer = api.call("PATCH", f"accounts({guid(8)})", {"name": "D"}, Prefer="return=representation")
    assert (answer.status_code, answer.json()["accountid"]) == (201, guid(8))


def test_upsert_by_alternate_key(api: Api) -> None:
    path = "contacts(msdynce_contactnumber='C''1')"
    answer = api.call("PATCH", path, {"lastname": "One"})
    assert answer.status_code == 204
    assert unquote(answer.headers["OData-EntityId"]).endswith(path)
    assert api.get(path)["msdynce_contactnumber"] == "C'1"
    # an existing row keeps its key whatever the body says
    api.call("PATCH", path, {"lastname": "Two", "msdynce_contactnumber": "OTHER"})
    assert [(r["lastname"], r["msdynce_contactnumber"]) for r in api.get("contacts")["value"]] == [("Two", "C'1")]
    # a new row takes the body's value over the URL's
    api.call("PATCH", "contacts(msdynce_contactnumber='C2')", {"msdynce_contactnumber": "C3"})
    assert api.refused("GET", "contacts(msdynce_contactnumber='C2')")[:2] == (404, "0x80060891")
    assert api.get("contacts(msdynce_contactnumber='c3')")["msdynce_contactnumber"] == "C3"
    assert api.refused("PATCH", "contacts(msdynce_contactnumber='C9')", {}, If_Match="*")[0] == 404


def test_key_that_is_not_declared_is_refused(api: Api) -> None:
    api.create("accounts", {"name": "A", "accountnumber": "A1"})
    status, _, message = api.refused("GET", "accounts(accountnumber='A1')")
    assert status == 400
    assert "Ensure that the names and number of key properties match" in message


def test_account_numbers_repeat_unless_the_old_key_is_there(api: Api, tmp_path: Any) -> None:
    for _ in range(2):
        api.create("accounts", {"name": "A", "accountnumber": "A1"})
    with _served(new_store(tmp_path / "old"), account_number_key=True) as old:
        first = old.create("accounts", {"name": "A", "accountnumber": "A1"})
        assert old.refused("POST", "accounts", {"name": "B", "accountnumber": "a1"})[:2] == (412, "0x80040237")
        assert old.get("accounts(accountnumber='A1')")["accountid"] == first
        assert old.call("PATCH", f"accounts({first})", {"accountnumber": "A1", "name": "C"}).status_code == 204
        keys = old.get("EntityDefinitions(LogicalName='account')/Keys?$select=KeyAttributes")["value"]
        assert [key["KeyAttributes"] for key in keys] == [["accountnumber"]]


def test_one_column_can_be_set_and_cleared(api: Api) -> None:
    row_id = api.create("accounts", {"name": "A", "telephone1": "1"})
    assert api.call("PUT", f"accounts({row_id})/telephone1", {"value": "2"}).status_code == 204
    assert api.get(f"accounts({row_id})")["telephone1"] == "2"
    assert api.call("DELETE", f"accounts({row_id})/telephone1").status_code == 204
    assert api.get(f"accounts({row_id})")["telephone1"] is None
    assert api.refused("PUT", f"accounts({row_id})/sic", {"value": "x" * 21})[1] == "0x80044331"
    assert api.refused("PUT", f"accounts({row_id})/nix", {"value": "2"})[0] == 404


def test_lookups_are_bound_by_key_url_and_cleared(api: Api) -> None:
    account = api.create("accounts", {"name": "A"})
    parent = api.create("contacts", {"lastname": "P", "msdynce_contactnumber": "C1"})
    child = api.create("contacts", {"parentcustomerid_contact@odata.bind": "contacts(msdynce_contactnumber='C1')"})
    assert api.get(f"contacts({child})")["_parentcustomerid_value"] == parent
    url = f"https://any.example{API}/accounts({account})"
    api.call("PATCH", f"contacts({child})", {"parentcustomerid_account@odata.bind": url})
    assert api.get(f"contacts({child})?$expand=parentcustomerid_account")["parentcustomerid_account"]["name"] == "A"
    api.call("PATCH", f"contacts({child})", {"parentcustomerid_account@odata.bind": None})
    assert api.get(f"contacts({child})")["_parentcustomerid_value"] is None
    ref = f"contacts({child})/parentcustomerid_account/$ref"
    assert api.call("PUT", ref, {"@odata.id": url}).status_code == 204
    assert api.get(f"contacts({child})")["_accountid_value"] == account
    assert api.call("DELETE", ref).status_code == 204
    assert api.get(f"contacts({child})")["_accountid_value"] is None


def test_deep_insert_creates_both_rows_or_none(api: Api) -> None:
    account = api.create("accounts", {"name": "A", "primarycontactid": {"lastname": "Boss"}})
    assert api.get(f"accounts({account})?$expand=primarycontactid")["primarycontactid"]["fullname"] == "Boss"
    assert api.refused("POST", "accounts", {"name": "x" * 161, "primarycontactid": {"lastname": "Other"}})[0] == 400
    assert api.call("GET", "contacts/$count").text == "1"


def test_deleted_row_is_unlinked(api: Api) -> None:
    account = api.create("accounts", {"name": "A"})
    child = api.create("contacts", {"lastname": "B", "parentcustomerid_account@odata.bind": f"/accounts({account})"})
    api.call("DELETE", f"accounts({account})")
    assert api.get(f"contacts({child})")["_parentcustomerid_value"] is None


def test_state_and_status_go_together(api: Api) -> None:
    row_id = api.create("accounts", {"name": "A"})
    api.call("PATCH", f"accounts({row_id})", {"statecode": 1})
    assert api.get(f"accounts({row_id})")["statuscode"] == 2
    status, code, message = api.refused("PATCH", f"accounts({row_id})", {"statuscode": 1})
    assert (status, code) == (400, "0x80048408")
    assert "AccountState.Inactive" in message


# the solution ---------------------------------------------------------------------------------------------------------
def test_numbers_are_drawn_for_rows_without_one(api: Api) -> None:
    numbers = [api.get(f"accounts({api.create('accounts', {'name': 'A'})})")["accountnumber"] for _ in range(2)]
    assert [re.fullmatch(r"ACC-(\d{5})-[A-Z0-9]{6}", n)[1] for n in numbers] == ["01000", "01001"]  # type: ignore[index]
    own = api.create("contacts", {"lastname": "A", "msdynce_contactnumber": "MINE"})
    assert api.get(f"contacts({own})")["msdynce_contactnumber"] == "MINE"
    drawn = api.get(f"contacts({api.create('contacts', {'lastname': 'B'})})")["msdynce_contactnumber"]
    assert re.fullmatch(r"CON-01000-[A-Z0-9]{6}", drawn)


def test_missing_sequence_fails_the_create(api: Api) -> None:
    api.call("DELETE", f"msdynce_p2cautonumbers({guid(40)})")
    status, code, message = api.refused("POST", "accounts", {"name": "A"})
    assert (status, code) == (400, "0x80040265")
    assert "No number sequence row exists for the table" in message


def test_company_is_an_account_follows_the_parent(api: Api) -> None:
    account = api.create("accounts", {"name": "A"})
    bind = {"parentcustomerid_account@odata.bind": f"/accounts({account})"}
    flag = "msdynce_iscompanyanaccount"
    child = api.create("contacts", {"firstname": "Ann", "lastname": "Lee", flag: False} | bind)
    row = api.get(f"contacts({child})")
    assert (row[flag], row["fullname"]) == (True, "Ann Lee")
    api.call("PATCH", f"contacts({child})", {"lastname": "Ray"})
    row = api.get(f"contacts({child})")
    assert (row[flag], row["fullname"], row["_accountid_value"]) == (True, "Ann Ray", account)
    api.call("PATCH", f"contacts({child})", {"parentcustomerid_account@odata.bind": None})
    assert api.get(f"contacts({child})")[flag] is False


PRODUCT = {
    "name": "Bolt",
    "productnumber": "P1",
    "price": 9.99,
    "msdynce_ismaintainedexternally": True,
    "defaultuomid@odata.bind": f"/uoms({EACH})",
    "defaultuomscheduleid@odata.bind": f"/uomschedules({GROUP})",
}


def _items(api: Api) -> list[tuple[Any, ...]]:
    rows = api.get("productpricelevels")["value"]
    return [(r["_pricelevelid_value"], r["amount"], r["_uomid_value"], r["productnumber"]) for r in rows]


def test_external_product_gets_an_item_in_the_first_active_list(api: Api) -> None:
    product = api.create("products", PRODUCT)
    assert _items(api) == [(LIST_A, Decimal("9.99"), EACH, "P1")]
    api.call("PATCH", f"products({product})", {"price": 12.5})
    assert _items(api) == [(LIST_A, Decimal("12.5"), EACH, "P1")]
    row = api.get(f"products({product})")
    assert (row["statecode"], row["statuscode"], row["_organizationid_value"]) == (2, 0, ORG)
    api.create("products", PRODUCT | {"productnumber": "P2", "msdynce_ismaintainedexternally": False})
    euro = {"transactioncurrencyid@odata.bind": f"/transactioncurrencies({EUR})"}
    api.create("products", PRODUCT | {"productnumber": "P3"} | euro)
    assert [item[::3] for item in _items(api)] == [(LIST_A, "P1"), (LIST_EUR, "P3")]
    api.call("DELETE", f"products({product})")
    assert [item[3] for item in _items(api)] == ["P3"]


@pytest.mark.parametrize(
    ("begins", "ends", "is_taken"),
    [
        ("2020-01-01", None, True),
        (None, "2999-12-31", True),
        (None, "2020-12-31", False),
        ("2999-01-01", None, False),
    ],
)
def test_only_a_price_list_that_is_valid_today_is_the_first_by_name(
    api: Api, begins: str | None, ends: str | None, is_taken: bool
) -> None:
    dates = {name: day for name, day in (("begindate", begins), ("enddate", ends)) if day}
    dollar = {"transactioncurrencyid@odata.bind": f"/transactioncurrencies({USD})"}
    earlier = api.create("pricelevels", {"name": "a first"} | dates | dollar)
    api.create("products", PRODUCT)
    assert [item[0] for item in _items(api)] == [earlier if is_taken else LIST_A]


def test_no_price_list_in_the_currency_fails_the_product(api: Api) -> None:
    yen = {"transactioncurrencyid@odata.bind": f"/transactioncurrencies({JPY})"}
    status, code, message = api.refused("POST", "products", PRODUCT | yen)
    assert (status, code) == (400, "0x80040265")
    assert "price list" in message
    assert api.call("GET", "products/$count").text == "0"


def test_products_are_active_when_the_organisation_says_so(api: Api) -> None:
    api.call("PATCH", f"organizations({ORG})", {"createproductswithoutparentinactivestate": True})
    row = api.get(f"products({api.create('products', PRODUCT)})")
    assert (row["statecode"], row["statuscode"]) == (0, 1)


# bulk actions ---------------------------------------------------------------------------------------------------------
def _targets(entity_type: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"Targets": [{"@odata.type": f"Microsoft.Dynamics.CRM.{entity_type}", **row} for row in rows]}


def test_bulk_create_update_and_upsert(api: Api) -> None:
    bulk = "accounts/Microsoft.Dynamics.CRM."
    answer = api.call("POST", f"{bulk}CreateMultiple", _targets("account", {"name": "A"}, {"name": "B"}))
    first, second = answer.json()["Ids"]
    assert [api.get(f"accounts({i})")["name"] for i in (first, second)] == ["A", "B"]
    rows = [{"accountid": first, "name": "A2"}, {"accountid": second, "name": "B2"}]
    answer = api.call("POST", f"{bulk}UpdateMultiple", _targets("account", *rows))
    assert (answer.status_code, answer.content) == (204, b"")
    contact = {"@odata.id": "contacts(msdynce_contactnumber='C1')"}
    upsert = "contacts/Microsoft.Dynamics.CRM.UpsertMultiple"
    for name in ("One", "Two"):
        assert api.call("POST", upsert, _targets("contact", contact | {"lastname": name})).status_code == 204
    rows = api.get("contacts?$select=lastname,msdynce_contactnumber")["value"]
    assert [(r["lastname"], r["msdynce_contactnumber"]) for r in rows] == [("Two", "C1")]


@pytest.mark.parametrize(
    ("action", "rows", "status", "words"),
    [
        ("CreateMultiple", [{"name": "A"}, {"name": "x" * 161}], 400, "maximum allowed length"),
        ("CreateMultiple", [{"accountid": guid(1)}, {"accountid": guid(1)}], 412, "matching key values"),
        ("UpdateMultiple", [{"accountid": guid(60), "name": "Z"}, {"accountid": guid(9)}], 404, "Do Not Exist"),
        ("UpdateMultiple", [{"accountid": guid(60)}, {"accountid": guid(60)}], 500, "deadlock"),
        ("UpdateMultiple", [{"name": "A"}], 400, "'@odata.id'"),
        ("UpsertMultiple", [{"@odata.id": f"contacts({guid(1)})"}], 400, "not a row of accounts"),
        ("DeleteMultiple", [{}], 400, "DeleteMultiple has not yet been implemented."),
        ("Nix", [{}], 404, "Resource not found"),
    ],
)
def test_failing_bulk_action_keeps_nothing(
    api: Api, action: str, rows: list[dict[str, Any]], status: int, words: str
) -> None:
    api.create("accounts", {"name": "A", "accountid": guid(60)})
    answer = api.refused("POST", f"accounts/Microsoft.Dynamics.CRM.{action}", _targets("account", *rows))
    assert (answer[0], words in answer[2]) == (status, True)
    assert [row["name"] for row in api.get("accounts")["value"]] == ["A"]


def test_bulk_target_needs_its_type(api: Api) -> None:
    path = "accounts/Microsoft.Dynamics.CRM.CreateMultiple"
    assert "@odata.type" in api.refused("POST", path, {"Targets": [{"name": "A"}]})[2]
    assert "is not" in api.refused("POST", path, _targets("contact", {}))[2]
    assert api.refused("POST", path, {"Targets": []})[0] == 400
    assert api.refused("POST", path, {})[0] == 400


# $batch ---------------------------------------------------------------------------------------------------------------
def _part(request: str, body: Any = None, content_id: int | None = None, headers: str = "") -> str:
    cid = f"Content-ID: {content_id}\r\n" if content_id else ""
    head = f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{cid}\r\n{request} HTTP/1.1\r\n"
    json_type = "Content-Type: application/json; type=entry\r\n" if body is not None else ""
    return head + headers + json_type + "\r\n" + ("" if body is None else json.dumps(body)) + "\r\n"


def _wrap(parts: list[str], boundary: str) -> str:
    return "".join(f"--{boundary}\r\n{part}" for part in parts) + f"--{boundary}--\r\n"


def _change_set(*parts: str) -> str:
    return 'Content-Type: multipart/mixed; boundary="cs"\r\n\r\n' + _wrap(list(parts), "cs")


def _batch(api: Api, *parts: str, **headers: str) -> httpx.Response:
    return api.client.post(
        f"{API}/$batch",
        content=_wrap(list(parts), "b").encode(),
        headers={"Content-Type": 'multipart/mixed; boundary="b"', **headers},
    )


def _statuses(answer: httpx.Response) -> list[int]:
    return [int(status) for status in re.findall(r"^HTTP/1\.1 (\d+)", answer.text, re.MULTILINE)]


def test_batch_answers_in_order_and_change_set_sees_its_own_rows(api: Api) -> None:
    change = _change_set(
        _part(f"POST {API}/accounts", {"name": "A"}, 1),
        _part(f"POST {API}/contacts", {"lastname": "B", "parentcustomerid_account@odata.bind": "$1"}, 2),
        _part("PATCH $1", {"name": "A2"}, 3),
    )
    answer = _batch(api, change, _part(f"GET https://any.example{API}/contacts?$expand=parentcustomerid_account"))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("multipart/mixed; boundary=batchresponse_")
    assert _statuses(answer) == [204, 204, 204, 200]
    assert re.findall(r"Content-ID: (\d)", answer.text) == ["1", "2", "3"]
    assert '"name":"A2"' in answer.text


def test_failing_change_set_keeps_nothing_and_answers_once(api: Api) -> None:
    change = _change_set(
        _part(f"POST {API}/accounts", {"name": "A"}, 1), _part(f"PATCH {API}/accounts({guid(9)})", {"nix": 1}, 2)
    )
    answer = _batch(api, change)
    assert (answer.status_code, _statuses(answer)) == (400, [400])
    assert "Content-ID: 2" in answer.text
    assert api.call("GET", "accounts/$count").text == "0"


def test_batch_stops_at_a_failure_unless_told_to_go_on(api: Api) -> None:
    parts = [_part(f"GET {API}/nix"), _part(f"POST {API}/accounts", {"name": "A"})]
    answer = _batch(api, *parts)
    assert (answer.status_code, _statuses(answer)) == (404, [404])
    answer = _batch(api, *parts, Prefer="odata.continue-on-error")
    assert (answer.status_code, _statuses(answer)) == (200, [404, 204])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_wrap([_change_set(_part(f"GET {API}/accounts"))], "b"), "must not hold GET"),
        (_wrap([_part(f"POST {API}/$batch")], "b"), "nested"),
        (_wrap(["\r\nGET / HTTP/1.1\r\n\r\n"], "b"), "application/http"),
        (_wrap([_part("rubbish")], "b"), "request line"),
        (_wrap([_part(f"GET {API}/accounts")] * 1001, "b"), "1000 operations"),
        ("--b\r\n", "closing boundary"),
        ("", "closing boundary"),
    ],
)
def test_broken_batch_is_refused(api: Api, content: str, words: str) -> None:
    answer = api.client.post(
        f"{API}/$batch", content=content.encode(), headers={"Content-Type": "multipart/mixed; boundary=b"}
    )
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


# change tracking ------------------------------------------------------------------------------------------------------
def _delta(api: Api, link: str, **headers: str) -> Any:
    return api.get(link.split(f"{API}/")[1], **headers)


def test_delta_tells_of_new_changed_and_deleted_rows(api: Api) -> None:
    ids = [api.create("accounts", {"name": name}) for name in "ABC"]
    page = api.get("accounts?$select=name", Prefer="odata.track-changes")
    assert len(page["value"]) == 3
    nothing = _delta(api, page["@odata.deltaLink"])
    assert nothing["value"] == []
    assert nothing["@odata.context"].endswith("#accounts(name)/$delta")
    api.call("DELETE", f"accounts({ids[0]})")
    api.call("PATCH", f"accounts({ids[1]})", {"name": "B2"})
    new = api.create("accounts", {"name": "D"})
    gone = api.create("accounts", {"name": "E"})
    api.call("DELETE", f"accounts({gone})")
    changes = _delta(api, page["@odata.deltaLink"])
    assert [row.get("name") for row in changes["value"]] == ["B2", "D", None, None]
    assert changes["value"][1]["accountid"] == new
    assert [(row["id"], row["reason"]) for row in changes["value"][2:]] == [(ids[0], "deleted"), (gone, "deleted")]
    assert changes["value"][2]["@odata.context"].endswith("#accounts/$deletedEntity")
    token = page["@odata.deltaLink"].split("$deltatoken=")[1]
    assert api.call("GET", f"accounts/$count?$deltatoken={token}").text == "4"
    assert _delta(api, changes["@odata.deltaLink"])["value"] == []


def test_delta_is_paged_and_a_tracked_read_too(api: Api) -> None:
    ids = [api.create("accounts", {"name": name}) for name in "ABCDE"]
    page, path = {}, "accounts?$select=name"
    while path:
        page = api.get(path, Prefer="odata.track-changes,odata.maxpagesize=2")
        path = page["@odata.nextLink"].split(f"{API}/")[1] if "@odata.nextLink" in page else ""
    for row_id in ids[:3]:
        api.call("PATCH", f"accounts({row_id})", {"name": "new"})
    api.call("DELETE", f"accounts({ids[4]})")
    seen, link = [], page["@odata.deltaLink"]
    while link:
        page = _delta(api, link, Prefer="odata.maxpagesize=2")
        seen += [row.get("accountid") or row["id"] for row in page["value"]]
        link = page.get("@odata.nextLink")
    assert seen == [*ids[:3], ids[4]]


def test_old_or_broken_token_and_options_are_refused(api: Api) -> None:
    for option in ("filter=name eq 'A'", "orderby=name", "expand=ownerid", "top=1"):
        message = api.refused("GET", f"accounts?${option}", Prefer="odata.track-changes")[2]
        assert "isn't supported when Change Tracking is enabled" in message
    assert "expired" in api.refused("GET", "accounts?$deltatoken=1!01/01/2020 00:00:00")[2]
    assert "not valid" in api.refused("GET", "accounts?$deltatoken=rubbish")[2]


# metadata -------------------------------------------------------------------------------------------------------------
def test_csdl_tells_keys_types_and_lookups(shared: Api) -> None:
    answer = shared.call("GET", "$metadata")
    assert answer.headers["Content-Type"].startswith("application/xml")
    root = etree.fromstring(answer.content)
    names = {"e": "http://docs.oasis-open.org/odata/ns/edm"}
    contact = root.xpath("//e:EntityType[@Name='contact']", namespaces=names)[0]
    assert contact.xpath("e:Key/e:PropertyRef/@Name", namespaces=names) == ["contactid"]
    types = {p.get("Name"): p.get("Type") for p in contact.xpath("e:Property", namespaces=names)}
    assert types["creditlimit"] == "Edm.Decimal"
    assert types["_parentcustomerid_value"] == "Edm.Guid"
    nav = contact.xpath("e:NavigationProperty[@Name='parentcustomerid_account']", namespaces=names)[0]
    assert nav.get("Type") == "mscrm.account"
    constraint = nav.xpath("e:ReferentialConstraint", namespaces=names)[0]
    assert (constraint.get("Property"), constraint.get("ReferencedProperty")) == (
        "_parentcustomerid_value",
        "accountid",
    )
    target = "//e:EntitySet[@Name='contacts']/e:NavigationPropertyBinding[@Path='parentcustomerid_account']/@Target"
    assert root.xpath(target, namespaces=names) == ["accounts"]
    assert b"ChangeTracking" not in answer.content
    assert b"ChangeTracking" in shared.call("GET", "$metadata?annotations=true").content


def test_definitions_by_filter_key_and_cast(shared: Api) -> None:
    rows = shared.get(
        "EntityDefinitions?$select=LogicalName,EntitySetName,PrimaryIdAttribute&$filter=LogicalName eq 'account'"
    )["value"]
    assert [(r["EntitySetName"], r["PrimaryIdAttribute"]) for r in rows] == [("accounts", "accountid")]
    assert set(rows[0]) == {"MetadataId", "LogicalName", "EntitySetName", "PrimaryIdAttribute"}
    by_id = shared.get(f"EntityDefinitions({rows[0]['MetadataId']})?$select=SchemaName")
    assert by_id["SchemaName"] == "Account"
    base = "EntityDefinitions(LogicalName='contact')"
    cast = f"{base}/Attributes/Microsoft.Dynamics.CRM."
    lengths = shared.get(f"{cast}StringAttributeMetadata?$select=LogicalName,MaxLength")["value"]
    assert {r["LogicalName"]: r["MaxLength"] for r in lengths}["msdynce_contactnumber"] == 20
    money = shared.get(f"{cast}MoneyAttributeMetadata?$select=LogicalName,Precision,PrecisionSource")["value"]
    assert {r["LogicalName"]: r["PrecisionSource"] for r in money}["creditlimit"] == 2
    lookups = shared.get(f"{cast}LookupAttributeMetadata?$select=LogicalName,Targets")["value"]
    assert {r["LogicalName"]: r["Targets"] for r in lookups}["parentcustomerid"] == ["account", "contact"]
    options = shared.get(f"{cast}StatusAttributeMetadata?$select=LogicalName&$expand=OptionSet($select=Options)")
    assert [(o["Value"], o["State"]) for o in options["value"][0]["OptionSet"]["Options"]] == [(1, 0), (2, 1)]
    keys = shared.get(f"{base}/Keys?$select=SchemaName,KeyAttributes,EntityKeyIndexStatus")["value"]
    assert keys[0]["KeyAttributes"] == ["msdynce_contactnumber"]
    relations = shared.get(f"{base}/ManyToOneRelationships?$filter=ReferencingAttribute eq 'parentcustomerid'")["value"]
    assert {(r["ReferencedEntity"], r["ReferencingEntityNavigationPropertyName"]) for r in relations} == {
        ("account", "parentcustomerid_account"),
        ("contact", "parentcustomerid_contact"),
    }
    assert shared.get("EntityDefinitions(LogicalName='account')/Keys")["value"] == []
    enum = "AttributeType eq Microsoft.Dynamics.CRM.AttributeTypeCode'Picklist'"
    picklists = shared.get(f"{base}/Attributes?$select=LogicalName&$filter={enum}")["value"]
    assert "paymenttermscode" in {r["LogicalName"] for r in picklists}
    assert "OptionSet" not in picklists[0]
    one = shared.get(f"{base}/Attributes(LogicalName='fullname')?$select=IsValidForUpdate,LogicalName")
    assert one["IsValidForUpdate"] is False
    tracked = shared.get("EntityDefinitions?$select=LogicalName&$filter=ChangeTrackingEnabled eq true")["value"]
    assert {"account", "contact", "product"} <= {r["LogicalName"] for r in tracked}
    assert shared.refused("GET", "EntityDefinitions(LogicalName='nix')")[0] == 404
    assert shared.refused("GET", "EntityDefinitions?$filter=Nix eq 1")[0] == 400
    assert shared.refused("GET", "EntityDefinitions?$select=Nix")[0] == 400


def test_message_filters_tell_which_tables_have_bulk_actions(shared: Api) -> None:
    path = "sdkmessagefilters?$select=sdkmessagefilterid&$filter=sdkmessageid/name eq 'CreateMultiple' and "
    assert len(shared.get(path + "primaryobjecttypecode eq 'account'")["value"]) == 1
    assert shared.get(path + "primaryobjecttypecode eq 'nix'")["value"] == []


# speed ----------------------------------------------------------------------------------------------------------------
def test_page_of_5000_rows_and_30_columns_takes_well_under_a_second(api: Api) -> None:
    n = 6000
    api.store.load(
        "accounts",
        pl.DataFrame({"accountid": [new_guid() for _ in range(n)]}).with_columns(
            pl.lit("Some name of a customer").alias("name"), pl.lit("1234.50").alias("creditlimit")
        ),
    )
    names = [name for name in api.store.schema.entities["accounts"].columns if name not in ("name", "creditlimit")]
    select = ",".join(["name", "creditlimit", *names[:28]])
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        page = api.call("GET", f"accounts?$select={select}", Accept_Encoding="identity")
        spent.append(time.perf_counter() - start)
    assert len(page.json()["value"]) == 5000
    assert min(spent) < 1.0


@contextmanager
def service(folder: Path, **config: Any) -> Iterator[httpx.Client]:
    with (
        serve(create_app(new_store(folder), config=config)) as url,
        httpx.Client(base_url=f"{url}{API}/") as client,
    ):
        yield client


def test_without_the_solution_nothing_of_it_is_there(tmp_path):
    with service(tmp_path, solution=False) as client:
        assert "msdynce_" not in client.get("$metadata").text
        assert client.get("msdynce_p2cautonumbers").status_code == 404
        assert client.get("contacts?$select=msdynce_contactnumber").status_code == 400
        assert client.get("EntityDefinitions(LogicalName='contact')/Keys").json()["value"] == []
        assert client.post("contacts", json={"lastname": "Plain"}).status_code == 204
        assert client.post("accounts", json={"name": "No number"}).status_code == 204
        assert client.get("accounts?$filter=name eq 'No number'").json()["value"][0]["accountnumber"] is None


def test_an_aggregate_that_only_counts_counts_the_rows(tmp_path):
    with service(tmp_path) as client:
        for name in "abc":
            client.post("accounts", json={"name": name})
        number = int(client.get("accounts/$count").text)
        assert number >= 3
        assert client.get("accounts?$apply=aggregate($count as n)").json()["value"] == [{"n": number}]


def test_the_privileges_of_a_user_lack_what_is_denied(tmp_path):
    denied = [{"system": "sales", "entity": "products", "verb": "create"}]
    with service(tmp_path, denied=denied) as client:
        user = client.get("WhoAmI").json()["UserId"]
        said = client.get(f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()").json()
        names = {entry["PrivilegeName"] for entry in said["RolePrivileges"]}
        assert "prvWriteProduct" in names
        assert "prvCreateProduct" not in names
