import asyncio
import gc
import gzip
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from odata_fake import FNO_ROOT, SALES_ROOT, TOKEN, answer, client, error, page

from p2c_lib.config import Auth
from p2c_lib.connect import Write, Written
from p2c_lib.connect.auth import Token
from p2c_lib.errors import (
    Conflict,
    ConnectError,
    LostAnswer,
    NotFound,
    PermissionDenied,
    SchemaError,
    ServiceError,
    SignInError,
    Throttled,
)

GUID = "00000000-0000-0000-0000-0000000000ab"
ROW = {"name": "A"}
RETRY = {"Retry-After": "0"}


class Script:
    """Answers one request after the other from a list; an exception in it is raised; the last one stays."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found(request) if callable(found) else found


def bodies(service, entity="accounts", select=("accountid",), **more):
    return list(service.pages(entity, select=list(select), **more))


# --- headers, sign-in ---------------------------------------------------------------------------------------------


def test_a_read_carries_token_versions_and_page_size_and_no_cookie():
    script = Script(
        lambda r: answer({"value": [], "@odata.nextLink": str(r.url) + "&$skiptoken=2"}, **{"Set-Cookie": "ARR=1"}),
        answer({"value": []}, **{"Set-Cookie": "ARRAffinity=abc; Path=/"}),
    )
    with client("sales", script, page_rows=3) as sales:
        bodies(sales)
        bodies(sales)
    for request in script.requests:
        assert request.headers["Authorization"] == "Bearer secret-bearer"
        assert request.headers["OData-Version"] == "4.0" and request.headers["Accept"] == "application/json"
        assert request.headers["Prefer"] == "odata.maxpagesize=3"
        assert "Cookie" not in request.headers
    assert script.requests[0].url.params["$orderby"] == "accountid"


def test_fno_reads_ask_across_companies():
    script = Script(answer({"value": []}))
    with client("fno", script) as fno:
        bodies(fno, "CustomersV2", ["CustomerAccount"], filter="dataAreaId eq 'usmf'")
    assert script.requests[0].url.params["cross-company"] == "true"
    assert script.requests[0].url.params["$orderby"] == "dataAreaId,CustomerAccount"


def test_401_fetches_one_fresh_token_and_repeats_even_a_create():
    tokens = iter(["stale", "fresh"])
    seen = []

    def handler(request):
        if request.url.path == "/sandbox/token":
            return answer({"access_token": next(tokens), "expires_in": 3600})
        seen.append(request.headers["Authorization"])
        return error(401, "", "expired") if "stale" in seen[-1] else answer({"accountid": GUID}, 201)

    with client("sales", handler, auth=Auth(kind="sandbox")) as sales:
        assert sales.create("accounts", ROW).key == {"accountid": GUID}
    assert "Bearer fresh" in seen


def test_a_second_401_is_a_sign_in_error():
    def handler(request):
        if request.url.path == "/sandbox/token":
            return answer({"access_token": "t", "expires_in": 3600})
        return error(401, "0x80048306", "no such user")

    with client("sales", handler, auth=Auth(kind="sandbox")) as sales, pytest.raises(SignInError) as caught:
        sales.get("WhoAmI")
    assert caught.value.status == 401 and "no such user" in str(caught.value)


def test_a_fixed_token_that_is_refused_says_where_it_came_from():
    with client("sales", Script(error(401, "", "x"))) as sales, pytest.raises(SignInError, match="P2C_AUTH__TOKEN"):
        sales.get("WhoAmI")


def test_one_token_serves_requests_side_by_side_until_five_minutes_before_its_end():
    fetched = []

    def handler(request):
        if request.url.path == "/sandbox/token":
            fetched.append(1)
            time.sleep(0.02)
            return answer({"access_token": "t", "expires_in": 3600})
        return answer({"n": 1})

    with client("sales", handler, auth=Auth(kind="sandbox"), parallel=8) as sales, ThreadPoolExecutor(8) as pool:
        assert [r["n"] for r in pool.map(lambda _: sales.get("WhoAmI"), range(20))] == [1] * 20
    assert len(fetched) == 1
    token = Token("t", had=0, ends=3600)
    assert token.is_fresh(3299) and not token.is_fresh(3300)
    assert Token("t", had=0, ends=60).is_fresh(49) and not Token("t", had=0, ends=60).is_fresh(51)


def test_a_token_stands_in_no_repr_and_no_error(caplog):
    caplog.set_level("DEBUG")
    script = Script(error(403, "0x80040220", "missing prvReadAccount"))
    with client("sales", script) as sales:
        shown = repr(sales) + repr(vars(sales)) + repr(sales.stats) + repr(TOKEN)
        with pytest.raises(ConnectError) as caught:
            sales.get("WhoAmI")
    shown += repr(caught.value) + repr(Token("secret-bearer", 0, 1)) + caplog.text
    assert "secret-bearer" not in shown


def test_azure_credentials_are_asked_for_the_roots_default_scope_and_their_errors_are_words(monkeypatch):
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import ClientSecretCredential

    asked = []

    def get_token(self, *scopes, **_):
        asked.append(scopes)
        raise ClientAuthenticationError("AADSTS7000215: Invalid client secret s3cret provided.\nTrace ID: 1")

    monkeypatch.setattr(ClientSecretCredential, "get_token", get_token)
    tenant = "11111111-1111-1111-1111-111111111111"
    auth = Auth(kind="client_secret", tenant_id=tenant, client_id="app", client_secret="s3cret")
    with client("sales", Script(answer({})), auth=auth) as sales, pytest.raises(SignInError) as caught:
        sales.get("WhoAmI")
    assert asked == [(f"{SALES_ROOT}/.default",)]
    assert "AADSTS7000215" in str(caught.value) and "s3cret" not in str(caught.value)


# --- paging -------------------------------------------------------------------------------------------------------


def test_next_links_of_sales_are_called_unchanged():
    cookie = "%253ccookie%2520pagenumber%253d%25222%2522%2520/%253e"
    link = f"{SALES_ROOT}/api/data/v9.2/accounts?$select=accountid&$skiptoken={cookie}"
    script = Script(page('"accountid":"1"', next_link=link), page('"accountid":"2"'))
    with client("sales", script) as sales:
        assert len(bodies(sales)) == 2
    assert str(script.requests[1].url) == link


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/api/data/v9.2/accounts?$skiptoken=1",
        "http://contoso.crm4.dynamics.com/api/data/v9.2/accounts?x=1",
        "https://contoso.crm4.dynamics.com:8443/api/data/v9.2/accounts",
        "https://contoso.crm4.dynamics.com@evil.example/api/data/v9.2/accounts",
        "//evil.example/api/data/v9.2/accounts",
        "https://contoso.crm4.dynamics.com/other/accounts",
        "https://contoso.crm4.dynamics.com/api/data/v9.2/../../other",
        "https://[::1/api",
    ],
)
def test_a_next_link_that_leads_away_is_refused_before_anything_is_sent(link):
    script = Script(page('"accountid":"1"', next_link=link))
    with client("sales", script) as sales, pytest.raises(ConnectError, match="leads away"):
        bodies(sales)
    assert len(script.requests) == 1


def test_next_links_of_fno_keep_the_part_behind_data_on_our_own_base():
    link = "https://inner-aos-7.local:444/data/CustomersV2?$skiptoken=5&cross-company=true"
    script = Script(page('"CustomerAccount":"1"', next_link=link), page('"CustomerAccount":"2"'))
    with client("fno", script) as fno:
        assert len(bodies(fno, "CustomersV2", ["CustomerAccount"])) == 2
    assert str(script.requests[1].url) == f"{FNO_ROOT}/data/CustomersV2?$skiptoken=5&cross-company=true"
    assert script.requests[1].headers["Authorization"]


@pytest.mark.parametrize("link", ["https://evil.example/other", "https://x/database/y", "https://x/data/../admin"])
def test_a_next_link_of_fno_without_data_is_refused(link):
    script = Script(page('"CustomerAccount":"1"', next_link=link))
    with client("fno", script) as fno, pytest.raises(ConnectError, match="next link"):
        bodies(fno, "CustomersV2", ["CustomerAccount"])
    assert len(script.requests) == 1


def test_a_text_that_looks_like_a_next_link_is_none():
    row = '"name":"@odata.nextLink","accountnumber":"\\"@odata.nextLink\\":\\"https://evil/\\""'
    script = Script(page(row))
    with client("sales", script) as sales:
        assert len(bodies(sales)) == 1
    later = Script(page(row, next_link=f"{SALES_ROOT}/api/data/v9.2/accounts?p=2"), page(row))
    with client("sales", later) as sales:
        assert len(bodies(sales)) == 2


def test_a_page_that_names_itself_ends_in_an_error_not_in_a_loop():
    script = Script(lambda request: page('"accountid":"1"', next_link=str(request.url)))
    with client("sales", script) as sales, pytest.raises(ServiceError, match="names itself"):
        bodies(sales)


def test_the_next_page_is_fetched_while_the_caller_works_and_no_further_one():
    script = Script(
        lambda r: page('"a":"1"', next_link=f"{SALES_ROOT}/api/data/v9.2/accounts?p={len(script.requests)}")
    )
    with client("sales", script) as sales:
        pages = sales.pages("accounts", select=["accountid"])
        next(pages)
        deadline = time.monotonic() + 5
        while len(script.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(script.requests) == 2
        pages.close()


@pytest.mark.parametrize(
    "broken",
    [
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx.ReadError("reset"),
        httpx.ReadTimeout("slow"),
        error(503, "", "busy", **RETRY),
        error(429, "0x80072322", "Number of requests exceeded", **RETRY),
        httpx.Response(502, content=b"<html><body>Bad gateway</body></html>"),
        error(500, "0x80044150", "Generic SQL error: deadlock 1205"),
        error(500, "", "An unexpected error"),
    ],
    ids=repr,
)
def test_a_broken_second_page_is_read_again_from_the_same_link(broken):
    link = f"{SALES_ROOT}/api/data/v9.2/accounts?$skiptoken=2"
    script = Script(page('"accountid":"1"', next_link=link), broken, page('"accountid":"2"'))
    with client("sales", script) as sales:
        found = bodies(sales)
        assert sales.stats.retries == 1 and sales.stats.calls >= 3
    assert [b'"2"' in body for body in found] == [False, True]
    assert [str(request.url) for request in script.requests[1:]] == [link, link]


def test_a_read_that_breaks_the_service_is_told_after_a_few_tries_and_a_write_is_not_repeated():
    script = Script(error(500, "", "boom"))
    with client("sales", script) as sales:
        with pytest.raises(ServiceError, match=r"boom.*the same 3 times"):
            sales.get("accounts")
        assert len(script.requests) == 3
        with pytest.raises(ServiceError, match="boom"):
            sales.post_action("WinQuote", {})
        assert len(script.requests) == 4
        with pytest.raises(ServiceError, match="the same 3 times"):  # an action that only tells something is a read
            sales.post_action("WhatVersion", {}, is_safe=True)
        assert len(script.requests) == 7


def test_gzip_is_asked_for_and_undone():
    packed = httpx.Response(200, content=gzip.compress(b'{"n": 0.1}'), headers={"Content-Encoding": "gzip"})
    script = Script(packed)
    with client("sales", script) as sales:
        assert str(sales.get("WhoAmI")["n"]) == "0.1"
    assert "gzip" in script.requests[0].headers["Accept-Encoding"]


# --- patience -----------------------------------------------------------------------------------------------------


def test_retry_after_in_seconds_and_as_a_date_are_waited_for():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    script = Script(
        error(429, "", "slow down", **{"Retry-After": "0.3"}), error(429, "", "x", **{"Retry-After": soon}), answer({})
    )
    begun = time.monotonic()
    with client("sales", script) as sales:
        sales.get("WhoAmI")
        assert sales.stats.retries == 2 and sales.stats.waited_s >= 0.8
    assert time.monotonic() - begun >= 0.8


def test_a_wait_past_the_budget_is_not_begun_and_says_so():
    script = Script(error(429, "0x80072322", "Number of requests exceeded the limit", **{"Retry-After": "900"}))
    begun = time.monotonic()
    with client("sales", script) as sales, pytest.raises(Throttled) as caught:
        sales.get("WhoAmI")
    assert time.monotonic() - begun < 2 and caught.value.status == 429 and caught.value.code == "0x80072322"
    assert "asks to wait 900 s more" in str(caught.value) and "budget" in str(caught.value)


def test_throttled_tells_how_long_it_waited():
    script = Script(error(429, "", "no", **{"Retry-After": "0.2"}))
    with client("sales", script, budget_s=0.6) as sales, pytest.raises(Throttled) as caught:
        sales.get("WhoAmI")
    assert 0.2 <= caught.value.waited_s <= 0.6 and 2 <= len(script.requests) <= 3


def test_when_one_request_is_told_to_wait_all_do():
    times = []

    def handler(request):
        times.append(time.monotonic())
        return error(429, "", "no", **{"Retry-After": "0.4"}) if len(times) == 1 else answer({})

    with client("sales", handler, parallel=4) as sales, ThreadPoolExecutor(2) as pool:
        first = pool.submit(sales.get, "WhoAmI")
        while sales.stats.retries == 0:
            time.sleep(0.005)
        sales.get("WhoAmI")
        first.result()
    assert min(times[1:]) - times[0] >= 0.35


def test_no_more_requests_than_the_limit_are_under_way():
    now, most, lock = 0, 0, threading.Lock()

    def handler(request):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return answer({})

    with client("sales", handler, parallel=3) as sales, ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: sales.get("WhoAmI"), range(12)))
    assert most == 3


# --- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lost",
    [
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.Response(502, content=b"<html>Bad gateway</html>"),
        httpx.Response(504, content=b""),
        httpx.Response(503, content=b"upstream"),
        httpx.Response(500, content=b"<html>oops</html>"),
        httpx.Response(200, content=b"<html>sign in</html>"),
        httpx.Response(201, content=b"not json"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("system", ["sales", "fno"])
def test_a_create_whose_answer_is_lost_is_not_sent_again(system, lost):
    script = Script(lost)
    with client(system, script) as service, pytest.raises(LostAnswer):
        service.create("accounts" if system == "sales" else "CustomersV2", ROW)
    assert len(script.requests) == 1


def test_a_create_refused_in_the_services_own_words_is_an_answer_not_a_lost_one():
    with client("sales", Script(error(503, "", "in maintenance"))) as sales, pytest.raises(ServiceError) as caught:
        sales.create("accounts", ROW)
    assert not isinstance(caught.value, LostAnswer)


@pytest.mark.parametrize(
    "refused",
    [
        error(429, "", "no", **RETRY),
        error(503, "", "no", **RETRY),
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
    ],
    ids=repr,
)
def test_a_create_that_was_surely_not_done_is_sent_again(refused):
    script = Script(refused, answer({"accountid": GUID, "@odata.etag": 'W/"7"'}, 201))
    with client("sales", script) as sales:
        written = sales.create("accounts", ROW)
    assert (written.key, written.etag, written.id) == ({"accountid": GUID}, 'W/"7"', GUID)
    assert len(script.requests) == 2


def test_a_create_answered_without_body_is_known_by_its_entity_id():
    url = f"{SALES_ROOT}/api/data/v9.2/accounts({GUID})"
    script = Script(httpx.Response(204, headers={"OData-EntityId": url}))
    with client("sales", script) as sales:
        assert sales.create("accounts", ROW).key == {"accountid": GUID}


def test_a_create_in_fno_gives_key_and_address():
    said = {"dataAreaId": "usmf", "CustomerAccount": "A'1", "@odata.etag": 'W/"x"'}
    script = Script(answer(said, 201))
    with client("fno", script) as fno:
        written = fno.create("CustomersV2", ROW)
    assert written.id == "CustomersV2(dataAreaId='usmf',CustomerAccount='A''1')" and written.etag == 'W/"x"'


@pytest.mark.parametrize(("etag", "sent"), [('W/"5"', 'W/"5"'), (None, "*")])
def test_an_update_never_creates_and_names_the_etag_it_saw(etag, sent):
    script = Script(answer({"accountid": GUID, "@odata.etag": 'W/"6"'}))
    with client("sales", script) as sales:
        written = sales.update("accounts", {"accountid": GUID}, {"name": "B"}, etag)
    request = script.requests[0]
    assert (request.method, request.headers["If-Match"]) == ("PATCH", sent)
    assert json.loads(request.content) == {"name": "B"} and written.etag == 'W/"6"'


def test_fno_updates_and_deletes_look_in_other_companies_too():
    script = Script(httpx.Response(204))
    key = {"dataAreaId": "usmf", "CustomerAccount": "A"}
    with client("fno", script) as fno:
        assert fno.update("CustomersV2", key, {"CreditLimit": 1}, None).key == key
        fno.delete("CustomersV2", key, 'W/"1"')
    assert [r.url.params["cross-company"] for r in script.requests] == ["true", "true"]
    assert script.requests[1].headers["If-Match"] == 'W/"1"'


# --- errors in words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (error(403, "0x80040220", "user is missing prvReadAccount privilege"), PermissionDenied, "prvReadAccount"),
        (error(404, "0x80040217", "account With Id = 1 Does Not Exist"), NotFound, "Does Not Exist"),
        (error(412, "0x80060882", "The version does not match"), Conflict, "version does not match"),
        (error(400, "0x80044331", "exceeded the maximum allowed length of '5'"), ConnectError, "allowed length"),
        (error(500, "", "boom"), ServiceError, "boom"),
        (
            httpx.Response(200, content=b"<!DOCTYPE html><title>Sign in</title>"),
            ServiceError,
            "HTML instead of JSON: Sign in",
        ),
        (httpx.Response(302, headers={"Location": "https://login/"}), ConnectError, "is https://contoso.crm4"),
        (httpx.Response(404, content=b"nothing here"), NotFound, "is https://contoso.crm4.dynamics.com right?"),
        (answer([1, 2]), ServiceError, "no JSON object"),
        (answer(b"{cut"), ServiceError, "no JSON object"),
    ],
    ids=lambda value: str(getattr(value, "status_code", value)),
)
def test_answers_become_errors_in_words(response, kind, words):
    with client("sales", Script(response)) as sales, pytest.raises(kind) as caught:
        sales.get("accounts")
    assert type(caught.value) is kind and words in str(caught.value) and "accounts" in str(caught.value)
    assert caught.value.status == response.status_code


def test_fno_reasons_come_from_the_inner_error():
    inner = {"message": "Write failed for table row of type 'CustCustomerV3Entity'. Infolog: Error: no such group."}
    body = {"error": {"code": "", "message": "An error has occurred.", "innererror": inner}}
    with client("fno", Script(answer(body, 500))) as fno, pytest.raises(ServiceError, match="no such group"):
        fno.create("CustomersV2", ROW)


def test_html_in_place_of_a_page_is_a_service_error_with_status_and_first_words():
    html = httpx.Response(503, content=b"<html><head><style>p{}</style></head><h1>Service Unavailable</h1></html>")
    with (
        client("sales", Script(html), budget_s=0) as sales,
        pytest.raises(ServiceError, match="Service Unavailable") as e,
    ):
        bodies(sales)
    assert e.value.status == 503


def test_a_wrong_address_is_told_after_a_few_tries_not_after_the_budget():
    script = Script(httpx.ConnectError("[Errno -2] Name or service not known"))
    begun = time.monotonic()
    with client("sales", script, budget_s=600) as sales, pytest.raises(ConnectError) as caught:
        sales.get("WhoAmI")
    assert time.monotonic() - begun < 5 and len(script.requests) == 3
    assert "Name or service not known" in str(caught.value) and "must be the root" in str(caught.value)


def test_counts_go_past_the_cap_of_5000():
    def handler(request):
        if request.url.path.endswith("/$count"):
            return httpx.Response(200, content=b"\xef\xbb\xbf5000")
        assert request.url.params["$apply"] == "filter(name eq 'A')/aggregate($count as n)"
        return answer({"value": [{"n": 12345}]})

    with client("sales", handler) as sales:
        assert sales.count("accounts", "name eq 'A'") == 12345


def test_counts_past_the_limit_of_aggregates_are_counted_row_by_row():
    def handler(request):
        if request.url.path.endswith("/$count"):
            return answer(b"5000")
        if "$apply" in request.url.params:
            return error(400, "0x8004E023", "AggregateQueryRecordLimit exceeded")
        return page('"accountid":"1"', '"accountid":"2"')

    with client("sales", handler) as sales:
        assert sales.count("accounts") == 2


def test_each_row_is_answered_for_and_one_that_fails_holds_nothing_up():
    script = Script(
        answer({"accountid": GUID, "@odata.etag": 'W/"7"'}, 201),
        error(412, "0x80060882", "changed"),
        httpx.ReadTimeout("slow"),
        httpx.Response(204),
    )
    writes = [
        Write("create", {}, b'{"name":"A"}'),
        Write("update", {"accountid": GUID}, b'{"name":"B"}', 'W/"1"'),
        Write("update", {"accountid": "no guid"}, b'{"name":"B"}'),
        Write("create", {}, b'{"name":"C"}'),
        Write("delete", {"accountid": GUID}, etag='W/"2"'),
    ]
    with client("sales", script, parallel=1) as sales:
        said = sales.write_each("accounts", writes)
    assert [type(one) for one in said] == [Written, Conflict, SchemaError, LostAnswer, Written]
    assert said[0] == Written({"accountid": GUID}, 'W/"7"', GUID)
    assert [request.method for request in script.requests] == ["POST", "PATCH", "POST", "DELETE"]


def test_rows_go_on_all_lanes_and_each_gets_its_own_answer():
    now, most, lock = 0, 0, threading.Lock()

    def handler(request):
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        time.sleep(0.01)
        with lock:
            now -= 1
        return answer({"accountid": json.loads(request.content)["name"]}, 201)

    with client("sales", handler, parallel=4) as sales:
        assert sales.write_each("accounts", []) == []
        said = sales.write_each("accounts", [Write("create", {}, b'{"name":"%d"}' % n) for n in range(40)])
        assert sales.take_seconds() >= 0.1
    assert [one.id for one in said] == [str(n) for n in range(40)] and most == 4


@pytest.mark.parametrize(
    ("out", "kind"),
    [
        (error(403, "", "no"), PermissionDenied),
        (error(401, "", "no"), SignInError),
        (httpx.ConnectError("down"), ConnectError),
    ],
    ids=["forbidden", "signed out", "down"],
)
def test_what_every_call_would_meet_is_met_once(out, kind):
    script = Script(answer({"accountid": GUID}, 201), out)
    with client("sales", script, budget_s=1, parallel=1) as sales:
        said = sales.write_each("accounts", [Write("create", {}, b"{}")] * 5)
    assert [type(one) for one in said] == [Written, kind, *[type(None)] * 3]


# --- threads, loops, ends -----------------------------------------------------------------------------------------


def test_the_plain_functions_work_inside_a_running_event_loop():
    async def cell():
        with client("sales", Script(answer({"n": 1}))) as sales:
            return sales.get("WhoAmI")["n"]

    assert asyncio.run(cell()) == 1


def test_a_closed_client_says_so_and_leaves_no_thread():
    before = threading.active_count()
    sales = client("sales", Script(answer({})))
    sales.get("WhoAmI")
    sales.close()
    sales.close()
    assert threading.active_count() == before
    with pytest.raises(ConnectError, match="closed"):
        sales.get("WhoAmI")


@pytest.mark.parametrize("left", ["open", "asked", "waiting", "session"])
def test_a_script_that_closes_nothing_ends_all_the_same(left, tmp_path):
    (tmp_path / "script.py").write_text(OPEN_ENDED)
    (tmp_path / "p2c.toml").write_text(TWO_SYSTEMS)
    script = [sys.executable, "script.py", left]
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    done = subprocess.run(
        script,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "P2C_HOME": str(tmp_path)},
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the last line\n", "")


TWO_SYSTEMS = """
profile = "live"
[profiles.live.sales]
url = "https://contoso.crm4.dynamics.com"
[profiles.live.fno]
url = "https://contoso.operations.dynamics.com"
"""
OPEN_ENDED = """
import contextlib, sys, threading
from odata_fake import answer, client
from p2c_lib.errors import ConnectError

def handler(request):
    return answer({}, 429, **{"Retry-After": "300"}) if sys.argv[1] == "waiting" else answer({})

def ask():
    with contextlib.suppress(ConnectError):
        service.get("WhoAmI")

if sys.argv[1] == "session":
    from p2c_lib import notebook
    session = notebook.start(task="accounts")
    session.clients
else:
    service = client("sales", handler, budget_s=600)
    if sys.argv[1] == "asked":
        ask()
    elif sys.argv[1] == "waiting":
        threading.Thread(target=ask, daemon=True).start()
        while not service.stats.calls:
            pass
print("the last line", flush=True)
"""


def test_a_client_that_nobody_knows_any_more_leaves_no_thread():
    before = threading.active_count()
    sales = client("sales", Script(answer({})))
    sales.get("WhoAmI")
    del sales
    gc.collect()
    assert threading.active_count() == before


def test_closing_ends_what_waits():
    begun = threading.Event()

    def handler(request):
        begun.set()
        return answer({}, 429, **{"Retry-After": "300"})

    sales = client("sales", handler, budget_s=600)
    with ThreadPoolExecutor(2) as pool:
        read = pool.submit(sales.get, "WhoAmI")
        written = pool.submit(sales.create, "accounts", ROW)
        assert begun.wait(10)
        sales.close()
        with pytest.raises(ConnectError, match="reading WhoAmI: this client "):
            read.result(10)
        with pytest.raises(ConnectError, match="this client "):
            written.result(10)


def test_who_comes_to_wait_for_a_closed_client_does_not_wait(monkeypatch):
    script = Script(answer({}, 429, **{"Retry-After": "300"}))
    sales = client("sales", script, budget_s=600)
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(sales.get, "WhoAmI")
        while not sales.stats.retries:
            time.sleep(0.005)
        taken = sales._sender._tokens.text

        def slow(http):
            text = taken(http)
            sales.close()  # between the door and the queue
            return text

        monkeypatch.setattr(sales._sender._tokens, "text", slow)
        with pytest.raises(ConnectError, match="this client was closed"):
            sales.get("WhoAmI")
        with pytest.raises(ConnectError, match="this client was closed"):
            refused.result(10)


def test_what_is_on_its_way_when_a_client_is_closed_has_its_answer_and_then_the_connections_close():
    begun, may_end = threading.Event(), threading.Event()

    def handler(request):
        begun.set()
        assert may_end.wait(10)
        return answer({"n": 1})

    sales = client("sales", handler)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(sales.get, "WhoAmI")
        assert begun.wait(10)
        sales.close()
        assert not sales._sender._http.is_closed
        may_end.set()
        assert read.result(10) == {"n": 1}
    assert sales._sender._http.is_closed


def test_stats_are_a_frozen_snapshot():
    with client("sales", Script(answer({"a": 1}))) as sales:
        before = sales.stats
        sales.get("WhoAmI")
        after = sales.stats
    assert (before.calls, after.calls, after.bytes) == (0, 1, 8)
    with pytest.raises(AttributeError):
        after.calls = 3


def test_an_unknown_entity_set_is_named_before_anything_is_sent():
    script = Script(answer({}))
    with client("sales", script) as sales, pytest.raises(SchemaError, match="near: accounts"):
        sales.create("acounts", ROW)
    assert script.requests == []
