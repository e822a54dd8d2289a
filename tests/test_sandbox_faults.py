"""Every fault as a client sees it over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2c_lib.sandbox.fault_rules import Rules, parse_rules
from p2c_lib.sandbox.knobs import settings
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.serve import build_app
from p2c_lib.sandbox.store import Store
from p2c_lib.sandbox.tokens import Tokens
from p2c_lib.sandbox.windows import Windows, throttle_text
from serving import serve

GROUPS = "/data/CustomerGroups"
TEN = f"{GROUPS}(dataAreaId='usmf',CustomerGroupId='10')"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start F&O services over one customer group, each with settings of its own."""
    with ExitStack() as stack:

        def one(**knobs: Any) -> httpx.Client:
            store = Store(tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite", load_schema("fno"))
            stack.callback(store.close)
            store.load("LegalEntities", pl.DataFrame({"LegalEntityId": ["usmf"]}))
            store.load("CustomerGroups", pl.DataFrame({"dataAreaId": ["usmf"], "CustomerGroupId": ["10"]}))
            url = stack.enter_context(serve(build_app("fno", store, settings(**knobs), tmp_path)))
            return stack.enter_context(httpx.Client(base_url=url, timeout=20, trust_env=False))

        yield one


@pytest.fixture
def fno(start: Any) -> httpx.Client:
    return start()


def fault(client: httpx.Client, *rules: dict[str, Any]) -> None:
    answer = client.post("/sandbox/faults", json=list(rules))
    assert answer.status_code == 200, answer.text


def statuses(client: httpx.Client, times: int, path: str = GROUPS) -> list[int]:
    return [client.get(path).status_code for _ in range(times)]


# what happens -----------------------------------------------------------------------------------------------------
def test_latency_delays_and_serves(fno: httpx.Client) -> None:
    fault(fno, {"kind": "latency", "seconds": 0.3, "first": 1})
    started = time.monotonic()
    assert fno.get(GROUPS).status_code == 200
    assert time.monotonic() - started >= 0.3
    started = time.monotonic()
    fno.get(GROUPS)
    assert time.monotonic() - started < 0.3


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("requests", "Number of requests exeeded the limit of 6000 over the time window of 300 seconds."),
        ("execution", "Combined execution time of incoming requests exceeded limit of 1200 seconds"),
        ("concurrent", "Number of concurrent requests exceeded the limit of 52."),
        ("resources", "This request could not be processed at this time due to system experiencing high resource"),
    ],
)
def test_throttle_is_429_with_the_documented_text(fno: httpx.Client, limit: str, words: str) -> None:
    fault(fno, {"kind": "throttle", "limit": limit, "retry_after": 4})
    answer = fno.get(GROUPS)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "4")
    assert answer.json()["error"]["message"].startswith(words) and answer.json()["error"]["code"] == ""


def test_throttle_can_leave_retry_after_out(fno: httpx.Client) -> None:
    fault(fno, {"kind": "throttle", "retry_after": None})
    assert "retry-after" not in fno.get(GROUPS).headers


@pytest.mark.parametrize(
    ("limit", "code", "words"),
    [
        ("requests", "0x80072322", "Number of requests exceeded the limit of 6000 over time window of 300 seconds."),
        (
            "execution",
            "0x80072321",
            "Combined execution time of incoming requests exceeded limit of 1,200,000 milliseconds over time window "
            "of 300 seconds. Decrease number of concurrent requests or reduce the duration of requests and try again "
            "later.",
        ),
        ("concurrent", "0x80072326", "Number of concurrent requests exceeded the limit of 52."),
    ],
)
def test_sales_words_its_limits_in_its_own_way(limit: Any, code: str, words: str) -> None:
    assert throttle_text("sales", limit, {}) == (code, words)


@pytest.mark.parametrize("status", [500, 503])
def test_error_answers_with_its_status_and_does_not_do_the_work(fno: httpx.Client, status: int) -> None:
    fault(fno, {"kind": "error", "status": status, "message": "Out of order", "retry_after": 2, "method": "DELETE"})
    answer = fno.delete(TEN)
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "2")
    assert answer.json()["error"]["message"] == "Out of order"
    assert fno.get(TEN).status_code == 200


def test_html_is_a_page_where_json_was_due(fno: httpx.Client) -> None:
    fault(fno, {"kind": "html"})
    answer = fno.get(GROUPS)
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html") and "<html>" in answer.text


@pytest.mark.parametrize("kind", ["error", "html"])
def test_an_answer_can_be_spoilt_after_the_work_is_done(fno: httpx.Client, kind: str) -> None:
    fault(fno, {"kind": kind, "status": 504, "done": True, "method": "DELETE"})
    assert fno.delete(TEN).status_code == 504
    assert fno.get(TEN).status_code == 404


def test_drop_breaks_off_in_the_middle_of_the_body(fno: httpx.Client) -> None:
    fault(fno, {"kind": "drop", "first": 1})
    with (
        pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"),
        fno.stream("GET", GROUPS) as answer,
    ):
        assert answer.status_code == 200
        answer.read()
    assert fno.get(GROUPS).status_code == 200


def test_drop_of_an_answer_without_body_breaks_off_too(fno: httpx.Client) -> None:
    fault(fno, {"kind": "drop", "method": "DELETE"})
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        fno.delete(TEN)
    assert fno.get(TEN).status_code == 404


def test_drop_before_does_nothing_and_answers_nothing(fno: httpx.Client) -> None:
    fault(fno, {"kind": "drop", "at": "before", "method": "DELETE"})
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        fno.delete(TEN)
    assert fno.get(TEN).status_code == 200


def test_a_lost_answer_means_the_write_is_done_and_not_one_byte_arrives(fno: httpx.Client) -> None:
    fault(fno, {"kind": "drop", "at": "answer", "method": "POST", "path": "CustomerGroups", "first": 1})
    body = {"dataAreaId": "usmf", "CustomerGroupId": "20", "Description": "x" * 200_000}
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        fno.post(GROUPS, json=body)
    again = fno.post(GROUPS, json=body)
    assert "The record already exists." in again.json()["error"]["innererror"]["message"]


def test_expire_is_401_and_the_token_stays_dead(fno: httpx.Client) -> None:
    token = fno.post("/sandbox/token").json()["access_token"]
    head = {"Authorization": f"Bearer {token}"}
    assert fno.get(GROUPS, headers=head).status_code == 200
    fault(fno, {"kind": "expire", "first": 1})
    for _ in range(2):
        answer = fno.get(GROUPS, headers=head)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer ")
    fresh = fno.post("/sandbox/token").json()["access_token"]
    assert fno.get(GROUPS, headers={"Authorization": f"Bearer {fresh}"}).status_code == 200


def test_etag_changes_the_row_just_before_the_write(fno: httpx.Client) -> None:
    seen = fno.get(TEN).headers["etag"]
    fault(fno, {"kind": "etag", "method": "PATCH", "changes": {"Description": "theirs"}, "first": 1})
    assert fno.patch(TEN, json={"Description": "mine"}, headers={"If-Match": seen}).status_code == 412
    now = fno.get(TEN)
    assert now.json()["Description"] == "theirs" and now.headers["etag"] != seen
    head = {"If-Match": now.headers["etag"]}
    assert fno.patch(TEN, json={"Description": "mine"}, headers=head).status_code == 204


def test_etag_can_name_the_row_itself(fno: httpx.Client) -> None:
    seen = fno.get(TEN).headers["etag"]
    fault(fno, {"kind": "etag", "entity": "CustomerGroups", "key": {"CustomerGroupId": "10"}, "first": 1})
    fno.get("/data/Currencies")
    assert fno.get(TEN).headers["etag"] != seen


def test_etag_changes_rows_of_sales_too(tmp_path: Path) -> None:
    store, guid = Store(tmp_path / "sales.sqlite", load_schema("sales")), "11111111-2222-4333-8444-555555555555"
    store.load("accounts", pl.DataFrame({"accountid": [guid], "name": ["Ada"]}))
    with serve(build_app("sales", store, settings())) as url, httpx.Client(base_url=url, trust_env=False) as sales:
        path = f"/api/data/v9.2/accounts({guid})"
        seen = sales.get(path).json()["@odata.etag"]
        fault(sales, {"kind": "etag", "method": "PATCH", "changes": {"name": "Bob"}, "first": 1})
        assert sales.patch(path, json={"name": "Eve"}, headers={"If-Match": seen}).status_code == 412
        assert sales.get(path).json()["name"] == "Bob"
        fault(sales, {"kind": "throttle", "limit": "requests", "retry_after": 9})
        answer = sales.get(path)
    assert (answer.status_code, answer.json()["error"]["code"], answer.headers["retry-after"]) == (
        429,
        "0x80072322",
        "9",
    )
    store.close()


def test_a_large_body_that_is_refused_still_gets_its_answer(fno: httpx.Client) -> None:
    fault(fno, {"kind": "throttle"})
    answer = fno.post(GROUPS, json={"Description": "x" * 5_000_000})
    assert answer.status_code == 429


# which requests ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"every": 2}, [200, 503, 200, 503, 200]),
        ({"first": 2}, [503, 503, 200, 200, 200]),
        ({"after": 3}, [200, 200, 200, 503, 503]),
        ({"after": 1, "first": 2}, [200, 503, 503, 200, 200]),
        ({"method": "POST"}, [200] * 5),
        ({"path": "Currencies"}, [200] * 5),
        ({"path": r"\$top=1"}, [200] * 5),
        ({"system": "sales"}, [200] * 5),
        ({"system": "fno", "method": "get", "path": "^/data/CustomerGroups$"}, [503] * 5),
        ({"probability": 0.0}, [200] * 5),
        ({"probability": 1.0}, [503] * 5),
    ],
)
def test_rules_choose_their_requests(fno: httpx.Client, rule: dict[str, Any], expected: list[int]) -> None:
    fault(fno, {"kind": "error"} | rule)
    assert statuses(fno, 5) == expected


def test_path_sees_the_query_decoded(fno: httpx.Client) -> None:
    fault(fno, {"kind": "error", "path": r"\?\$filter=CustomerGroupId eq '10'"})
    assert fno.get(GROUPS, params={"$filter": "CustomerGroupId eq '10'"}).status_code == 503


@given(st.integers(0), st.floats(0.1, 0.9))
def test_equal_seeds_strike_equally(seed: int, probability: float) -> None:
    def struck() -> list[int]:
        rules = Rules("fno")
        rules.add({"kind": "error", "probability": probability, "seed": seed})
        return [len(rules.hits("GET", "/data")) for _ in range(50)]

    assert struck() == struck()


def test_latency_goes_together_with_other_rules(fno: httpx.Client) -> None:
    fault(fno, {"kind": "latency", "seconds": 0.2}, {"kind": "error", "status": 500})
    started = time.monotonic()
    assert fno.get(GROUPS).status_code == 500
    assert time.monotonic() - started >= 0.2


def test_the_list_tells_how_often_rules_fired_and_delete_ends_them(fno: httpx.Client) -> None:
    fault(fno, {"kind": "error", "every": 2})
    statuses(fno, 3)
    assert fno.get("/sandbox/faults").json()["rules"] == [{"kind": "error", "every": 2, "matched": 3, "fired": 1}]
    assert fno.delete("/sandbox/faults").json() == {"rules": []}
    assert statuses(fno, 2) == [200, 200]


def test_the_sandboxes_own_routes_never_fail(fno: httpx.Client) -> None:
    fault(fno, {"kind": "error", "path": ""})
    assert fno.get("/sandbox/health").status_code == 200


def test_rules_come_from_the_file_and_follow_it(fno: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text(json.dumps([{"kind": "error", "status": 500}]))
    assert statuses(fno, 1) == [500]
    file.write_text(json.dumps({"kind": "error", "status": 503, "first": 1}))
    assert statuses(fno, 2) == [503, 200]
    file.write_text("[{")
    assert statuses(fno, 1) == [200]
    assert "faults.json" in fno.get("/sandbox/faults").json()["problem"]
    file.write_text(json.dumps([{"kind": "html"}]))
    fno.delete("/sandbox/faults")
    assert statuses(fno, 1) == [200]
    file.unlink()
    assert statuses(fno, 1) == [200]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"kind": "explode"}, "no kind 'explode'; known: latency"),
        ({"kind": "error", "evry": 2}, "no field 'evry'"),
        ({"kind": "throttle", "limit": "patience"}, "no limit 'patience'"),
        ({"kind": "drop", "at": "noon"}, "no place 'noon'"),
        ({"kind": "error", "path": "("}, "path:"),
        (5, "is an object, not int"),
        ({"kind": "error", "every": 0}, "every"),
        ({"kind": "latency", "seconds": "long"}, "seconds"),
    ],
)
def test_bad_rules_are_refused_and_none_of_them_is_kept(fno: httpx.Client, rule: Any, words: str) -> None:
    answer = fno.post("/sandbox/faults", json=[{"kind": "error"}, rule])
    assert answer.status_code == 400 and words in answer.json()["error"] and "[1]" in answer.json()["error"]
    assert fno.get("/sandbox/faults").json() == {"rules": []}


def test_all_problems_of_rules_come_together() -> None:
    with pytest.raises(ValueError, match=r"(?s)\[0\].*explode.*\[1\].*nope"):
        parse_rules([{"kind": "explode"}, {"kind": "html", "nope": 1}])


# tokens -----------------------------------------------------------------------------------------------------------
def test_any_token_or_none_is_good_by_default(fno: httpx.Client) -> None:
    assert statuses(fno, 1) == [200]
    assert fno.get(GROUPS, headers={"Authorization": "Bearer from-elsewhere"}).status_code == 200


def test_a_required_token_must_be_known(start: Any) -> None:
    fno = start(require_token=True, token="fixed")
    assert statuses(fno, 1) == [401]
    for value, status in (("Bearer other", 401), ("Basic eDp5", 401), ("Bearer fixed", 200), ("bearer fixed", 200)):
        assert fno.get(GROUPS, headers={"Authorization": value}).status_code == status
    issued = fno.post("/sandbox/token").json()
    assert issued["expires_in"] == 3600 and issued["token_type"] == "Bearer"
    assert fno.get(GROUPS, headers={"Authorization": f"Bearer {issued['access_token']}"}).status_code == 200


def test_a_token_expires_after_its_life_even_where_none_is_required(start: Any) -> None:
    fno = start(token_lifetime_s=0.2)
    head = {"Authorization": f"Bearer {fno.post('/sandbox/token').json()['access_token']}"}
    assert fno.get(GROUPS, headers=head).status_code == 200
    time.sleep(0.25)
    answer = fno.get(GROUPS, headers=head)
    assert answer.status_code == 401 and "expired" in answer.headers["www-authenticate"]


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_token_lives_exactly_its_seconds(lifetime: float, later: float) -> None:
    clock = [0.0]
    tokens = Tokens(lifetime, clock=lambda: clock[0])
    token, _ = tokens.issue()
    clock[0] = later
    assert (tokens.check(f"Bearer {token}") == "good") == (later < lifetime)


# windows ----------------------------------------------------------------------------------------------------------
def test_limits_are_off_by_default_and_count_by_user_when_on(start: Any) -> None:
    fno = start(limits={"fno": {"requests": 2, "window_s": 300}})
    ada, bob = ({"Authorization": f"Bearer {name}"} for name in ("ada", "bob"))
    assert [fno.get(GROUPS, headers=ada).status_code for _ in range(3)] == [200, 200, 429]
    refused = fno.get(GROUPS, headers=ada)
    assert 299 <= int(refused.headers["retry-after"]) <= 302
    words = "Number of requests exeeded the limit of 2 over the time window of 300 seconds."
    assert refused.json()["error"]["message"] == words
    assert fno.get(GROUPS, headers=bob).status_code == 200


def test_a_new_token_of_the_same_user_does_not_reset_the_window(start: Any) -> None:
    fno = start(limits={"fno": {"requests": 1}})
    results = []
    for _ in range(2):
        token = fno.post("/sandbox/token", json={"user": "ada"}).json()["access_token"]
        results.append(fno.get(GROUPS, headers={"Authorization": f"Bearer {token}"}).status_code)
    assert results == [200, 429]


def test_too_many_at_a_time_are_refused_over_http(start: Any) -> None:
    fno = start(limits={"fno": {"concurrent": 2}})
    fault(fno, {"kind": "latency", "seconds": 0.5})
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(fno.get(GROUPS).status_code)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [200, 200, 429, 429]
    assert statuses(fno, 1) == [200]


def test_execution_time_counts_over_the_window_and_the_wait_grows_for_who_pushes() -> None:
    clock = [0.0]
    windows = Windows({"execution_s": 10, "window_s": 300}, lambda: clock[0])
    assert windows.enter("ada") is None
    clock[0] = 11
    windows.leave("ada", 11)
    waits = [refusal.retry_after for _ in range(3) if (refusal := windows.enter("ada"))]
    assert waits == [300, 301, 302]
    clock[0] = 311
    assert windows.enter("ada") is None


def test_documented_sizes_let_six_thousand_in() -> None:
    windows = Windows(settings(limits="documented")["limits"]["sales"], lambda: 0.0)
    for _ in range(6000):
        assert windows.enter("ada") is None
        windows.leave("ada", 0.0)
    refusal = windows.enter("ada")
    assert refusal is not None and (refusal.limit, refusal.retry_after) == ("requests", 300)
