import json
import ssl
import threading
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from types import SimpleNamespace

import httpx
import polars as pl
import pytest
import trustme
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from odata_fake import FNO_ROOT, SALES_ROOT, answer, client, error, page
from polars.testing import assert_frame_equal

from p2c_lib.config import Auth, Limits
from p2c_lib.connect import Client, key_path
from p2c_lib.connect.metadata import Column
from p2c_lib.connect.pages import ETAG, MONEY, dtype, rows
from p2c_lib.errors import Conflict, ConnectError, LostAnswer, NotFound, PermissionDenied, SchemaError, ServiceError
from p2c_lib.pull import pull
from p2c_lib.sandbox.data import generate
from p2c_lib.sandbox.knobs import settings
from p2c_lib.sandbox.loading import load
from p2c_lib.sandbox.serve import build_app
from serving import serve

SCHEMA = {"name": pl.String(), "credit": MONEY, "version": pl.Int64(), "state": pl.Int32(), "ok": pl.Boolean()}
ID = "00000000-0000-0000-0000-00000000000{}".format


def body(*texts, tail="", etag=True):
    head = '"@odata.etag":"W/\\"1\\"",' if etag else ""
    return (
        '{"@odata.context":"c","value":[' + ",".join("{" + head + text + "}" for text in texts) + f"]{tail}}}"
    ).encode()


def read(text, schema=None):
    return rows(text, schema or SCHEMA, "sales accounts")


# --- pages: every digit -------------------------------------------------------------------------------------------


NUMBERS = """
12345678901234567.89 9007199254740993 0.1 3.3300 1E-7 -0.000000000001 -12.5 0 null 123456789012.123456789012 1e3
99999999999999999999999999 440000.000000000
"""


@pytest.mark.parametrize("number", NUMBERS.split())
@pytest.mark.parametrize("form", ["cut", "pretty", "no etag"])
def test_a_number_arrives_with_every_digit(number, form):
    texts = [f'"name":"n","credit":{number}', '"credit":1.00']
    page_body = body(*texts, etag=form != "no etag")
    if form == "pretty":
        page_body = page_body.replace(b",", b" ,\n").replace(b":", b" : ").replace(b"[", b"[\n ")
    expected = None if number == "null" else Decimal(number)
    assert read(page_body)["credit"].to_list() == [expected, Decimal(1)]


AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25, places=12)


@profile(max_examples=200)
@given(st.lists(st.one_of(st.none(), AMOUNTS), max_size=5), st.booleans(), st.booleans(), st.booleans())
def test_decimals_in_are_decimals_out(amounts, plain, etag, scientific):
    def token(amount):
        if amount is None:
            return "null"
        amount = amount.normalize(Context(prec=60)) if plain else amount
        return f"{amount:E}" if scientific else f"{amount:f}"

    text = body(*[f'"name":"{i}","credit":{token(amount)}' for i, amount in enumerate(amounts)], etag=etag)
    assert read(text)["credit"].to_list() == amounts


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=5), st.booleans())
def test_large_integers_in_are_the_same_out(numbers, etag):
    text = body(*[f'"version":{json.dumps(number)}' for number in numbers], etag=etag)
    assert read(text)["version"].to_list() == numbers


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30), max_size=4), st.booleans())
def test_any_text_in_is_the_same_text_out(texts, is_ascii):
    page_body = body(*[f'"name":{json.dumps(text, ensure_ascii=is_ascii)}' for text in texts])
    assert read(page_body)["name"].to_list() == texts


@pytest.mark.parametrize(
    "text",
    [
        '},{"@odata.etag"',
        '}\n{"@odata.etag":1',
        '],"@odata.nextLink":"x"',
        '"value":[',
        '"credit":1.5',
        "O'Brien 😀 \u2028",
        "\x00\x1f\\",
        "x" * 10_000_000,
    ],
    ids=lambda text: text[:20],
)
@pytest.mark.parametrize("long", [False, True])
def test_texts_that_look_like_the_seams_of_a_page_stay_whole(text, long):
    number = "12345678901234567.89" if long else "1.5"
    tail = ',"@odata.nextLink":"https://x/?a=[]"'
    found = read(body(f'"name":{json.dumps(text)},"credit":{number}', '"name":"b"', tail=tail))
    assert found["name"].to_list() == [text, "b"] and found["credit"][0] == Decimal(number)


def test_rows_have_exactly_the_columns_asked_for():
    found = read(body('"other":[1,{"a":2}],"state":1,"ok":true', '"nested":{"@odata.etag":"e"},"state":2,"ok":null'))
    assert found.schema == pl.Schema(SCHEMA)
    assert found["state"].to_list() == [1, 2] and found["ok"].to_list() == [True, None]
    assert found["name"].null_count() == 2


def test_nested_lists_of_rows_with_etags_do_not_become_rows():
    nested = '"lines":[{"@odata.etag":"a"},{"@odata.etag":"b"}],"name":"n"'
    assert read(body(nested, nested))["name"].to_list() == ["n", "n"]


@pytest.mark.parametrize("text", [b'{"value":[]}', b'{"@odata.context":"c","value":[]}', b'{ "value" : [ ] }'])
def test_an_empty_page_is_an_empty_frame_of_the_right_types(text):
    assert_frame_equal(read(text), pl.DataFrame(schema=SCHEMA))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"state":1.5', "row 0 of a page: state"),
        ('"state":"1"', "row 0 of a page: state"),
        ('"ok":1', "row 0 of a page: ok"),
        ('"state":99999999999', "column state does not fit Int32"),
        ('"credit":1e99', "column credit does not fit"),
        ('"credit":"abc"', "column credit does not fit"),
        ('"credit":0.1234567890123', "0.1234567890123: more than 12 decimal places"),
        ('"credit":0.0000000000001', "more than 12 decimal places"),
        ('"credit":1E-13', "more than 12 decimal places"),
        ('"credit":0.1000000000000000055', "more than 12 decimal places"),  # the float next to it is 0.1
        ('"credit":10000000000000000.0000000000001', "more than 12 decimal places"),
        ('"credit":0.30000000000000004E1', "more than 12 decimal places"),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_never_bent(text, words):
    with pytest.raises(SchemaError) as caught:
        read(body(text))
    assert words in str(caught.value) and "sales accounts" in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"[]", b'{"a":1}', b'{"value":3}', b'{"value":[1]}', b'{"value":[{]}', b"\xff"])
def test_what_is_no_page_is_a_service_error(text):
    with pytest.raises(ServiceError, match="no page of rows"):
        read(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-31T12:00:00Z", datetime(2024, 1, 31, 12, tzinfo=UTC)),
        ("2024-01-31T12:00:00.1234567Z", datetime(2024, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2024-01-31T12:00:00+02:00", datetime(2024, 1, 31, 10, tzinfo=UTC)),
        ("2154-12-31T23:59:59Z", datetime(2154, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_moments_are_utc(text, moment):
    found = rows(body(f'"at":"{text}","day":"2024-02-29"'), {"at": pl.Datetime("us", "UTC"), "day": pl.Date()}, "x")
    assert found.row(0) == (moment, date(2024, 2, 29))


def test_collections_have_no_place_in_a_frame():
    with pytest.raises(SchemaError, match=r"column tags is Collection\(Edm.String\)"):
        dtype(Column("tags", "Collection(Edm.String)"))


# --- pull: columns, paths, companies ------------------------------------------------------------------------------


def test_a_pull_has_key_etag_and_the_columns_asked_for_in_their_dtypes():
    def handler(request):
        if request.url.path.endswith("/$count"):
            return answer(b"1")
        assert request.url.params["$filter"] == "statecode eq 0"
        return page(f'"accountid":"{ID(1)}","creditlimit":3.3300,"statecode":0,"birthdate":"2024-01-31","name":""')

    seen = []
    with client("sales", handler) as sales:
        names = ["creditlimit", "statecode", "birthdate", "name"]
        found = pull(sales, "accounts", names, filter="statecode eq 0", progress=seen.append)
    assert found.schema == pl.Schema(
        {
            "accountid": pl.String,
            ETAG: pl.String,
            "creditlimit": MONEY,
            "statecode": pl.Int32,
            "birthdate": pl.Date,
            "name": pl.String,
        }
    )
    assert found.row(0) == (ID(1), 'W/"1"', Decimal("3.33"), 0, date(2024, 1, 31), "")
    assert seen == [1]


def test_fno_pulls_stay_in_their_company_and_read_nothings_as_null():
    def handler(request):
        assert request.url.params["$filter"] == "(dataAreaId eq 'usmf') and (OnHold eq x)"
        if request.url.path.endswith("/$count"):
            return answer(b"2")
        assert request.url.params["cross-company"] == "true"
        return page(
            '"CustomerAccount":"A","OrganizationName":"","OnHold":"Yes","Since":"1900-01-01T12:00:00Z"',
            '"CustomerAccount":"B","OrganizationName":" ","OnHold":"","Since":"1900-01-02T12:00:00Z"',
        )

    with client("fno", handler) as fno:
        found = pull(fno, "CustomersV2", ["OrganizationName", "OnHold", "Since"], filter="OnHold eq x")
    assert found["OrganizationName"].to_list() == [None, " "]
    assert found["OnHold"].to_list() == ["Yes", None]
    assert found["Since"].to_list() == [None, datetime(1900, 1, 2, 12, tzinfo=UTC)]


def test_shared_entities_are_read_without_a_company():
    def handler(request):
        assert "$filter" not in request.url.params
        return answer(b"1") if request.url.path.endswith("/$count") else page('"CurrencyCode":"USD"')

    with client("fno", handler) as fno:
        assert pull(fno, "Currencies", [])["CurrencyCode"].to_list() == ["USD"]


def sales_with_lookups(log):
    def handler(request):
        name = request.url.path.rpartition("/")[2]
        if name == "$count":
            return answer(b"3")
        log.append(name)
        if name == "transactioncurrencies":
            return page(f'"transactioncurrencyid":"{ID(7)}","isocurrencycode":"USD"')
        if name == "contacts":
            return page(
                f'"contactid":"{ID(4)}","msdynce_contactnumber":"C4","_parentcustomerid_value":"{ID(1)}"',
                f'"contactid":"{ID(5)}","msdynce_contactnumber":"C5","_parentcustomerid_value":"{ID(4)}"',
                f'"contactid":"{ID(6)}","msdynce_contactnumber":"C6","_parentcustomerid_value":null',
                f'"contactid":"{ID(8)}","msdynce_contactnumber":"C8","_parentcustomerid_value":"{ID(9)}"',
            )
        return page(
            f'"accountid":"{ID(1)}","accountnumber":"A1","_transactioncurrencyid_value":"{ID(7)}"',
            f'"accountid":"{ID(2)}","accountnumber":"A2","_transactioncurrencyid_value":null',
        )

    return handler


def test_a_path_is_the_column_of_the_set_that_the_lookup_leads_to_read_once():
    log = []
    with client("sales", sales_with_lookups(log)) as sales:
        for _ in range(2):
            found = pull(sales, "accounts", ["transactioncurrencyid.isocurrencycode"])
    assert found["transactioncurrencyid.isocurrencycode"].to_list() == ["USD", None]
    assert "_transactioncurrencyid_value" not in found.columns
    assert log.count("transactioncurrencies") == 1


def test_a_polymorphic_path_takes_the_target_that_is_set():
    path = "parentcustomerid.Account(accountnumber).Contact(msdynce_contactnumber)"
    with client("sales", sales_with_lookups([])) as sales:
        found = pull(sales, "contacts", [path, "msdynce_contactnumber"])
    assert found[path].to_list() == ["A1", "C4", None, None]
    assert found.height == 4


def test_a_path_may_go_over_two_lookups():
    path = "parentcustomerid.Account(transactioncurrencyid.isocurrencycode)"
    with client("sales", sales_with_lookups([])) as sales:
        assert pull(sales, "contacts", [path])[path].to_list() == ["USD", None, None, None]


@pytest.mark.parametrize(
    ("entity", "column", "words"),
    [
        ("accounts", "credit_limit", "no column 'credit_limit'; near: creditlimit"),
        ("accounts", "transactioncurrencyid", "it is a lookup: read _transactioncurrencyid_value"),
        ("accounts", "currencyid.isocurrencycode", "no lookup 'currencyid'; near: transactioncurrencyid"),
        ("accounts", "transactioncurrencyid.isocode", "no column 'isocode'; near: isocurrencycode"),
        ("contacts", "parentcustomerid.accountnumber", "leads to several sets"),
        ("contacts", "parentcustomerid.Lead(x)", "does not lead to Lead; it leads to account, contact"),
        ("contacts", "parentcustomerid.Account(accountnumber", "write lookup.Target(column)"),
        ("accunts", "name", "no entity set 'accunts'; near: accounts"),
    ],
)
def test_a_column_that_is_not_there_is_answered_with_near_ones_before_reading(entity, column, words):
    log = []
    with client("sales", sales_with_lookups(log)) as sales, pytest.raises(SchemaError) as caught:
        pull(sales, entity, [column])
    assert words in str(caught.value) and log == []


def test_a_row_read_twice_because_it_moved_between_pages_is_one_row():
    link = f"{SALES_ROOT}/api/data/v9.2/accounts?p=2"

    def handler(request):
        if request.url.path.endswith("/$count"):
            return answer(b"3")
        if "p" in request.url.params:
            return page(f'"accountid":"{ID(2)}","name":"new"', f'"accountid":"{ID(3)}","name":"c"')
        return page(f'"accountid":"{ID(1)}","name":"a"', f'"accountid":"{ID(2)}","name":"old"', next_link=link)

    with client("sales", handler) as sales:
        assert sorted(pull(sales, "accounts", ["name"])["name"]) == ["a", "c", "new"]


def test_an_fno_entity_that_repeats_a_key_shows_both_rows_but_one_read_twice_is_one():
    def handler(request):
        if request.url.path.endswith("/$count"):
            return answer(b"3")
        row = '"CustomerAccount":"A","OrganizationName":"{}"'.format
        return page(row("one"), row("two"), row("two"))

    with client("fno", handler) as fno:
        assert pull(fno, "CustomersV2", ["OrganizationName"])["OrganizationName"].to_list() == ["one", "two"]


# --- parts side by side -------------------------------------------------------------------------------------------


class Customers:
    """F&O's customers C000.. with $filter lt/ge, $orderby of the key, $skip, $top and pages of two."""

    def __init__(self, names):
        self.names = sorted(names)
        self.reads = []

    def __call__(self, request):
        params = request.url.params
        low, high = None, None
        for word in params.get("$filter", "").replace("(", " ").replace(")", " ").split(" and "):
            column, verb, value = [*word.split(), "", "", ""][:3]
            if column == "CustomerAccount":
                low, high = (value.strip("'"), high) if verb == "ge" else (low, value.strip("'"))
        found = [name for name in self.names if (low is None or name >= low) and (high is None or name < high)]
        if request.url.path.endswith("/$count"):
            return answer(str(len(found)).encode())
        skip = int(params.get("$skip", 0))
        if "$top" in params:
            return page(*[f'"CustomerAccount":"{name}"' for name in found[skip : skip + 1]])
        self.reads.append((low, high, threading.current_thread().name))
        shown = [f'"dataAreaId":"usmf","CustomerAccount":"{name}"' for name in found[skip : skip + 2]]
        link = str(request.url.copy_merge_params({"$skip": skip + 2})) if skip + 2 < len(found) else None
        return page(*shown, next_link=link.replace(FNO_ROOT, "https://inner") if link else None)


@pytest.mark.parametrize("number", [0, 1, 4, 5, 13])
def test_a_large_set_is_read_in_key_ranges_that_lose_and_double_nothing(number):
    service = Customers([f"C{i:03}" for i in range(number)])
    seen = []
    with client("fno", service, page_rows=2, parallel=4) as fno:
        found = pull(fno, "CustomersV2", [], progress=seen.append)
    assert sorted(found["CustomerAccount"]) == service.names
    assert (seen[-1] if seen else 0) == number and seen == sorted(seen)
    assert len({(low, high) for low, high, _ in service.reads}) == (1 if number <= 4 else 3 if number == 5 else 4)


def test_an_error_in_one_part_ends_the_pull():
    service = Customers([f"C{i:03}" for i in range(20)])

    def handler(request):
        if "ge 'C010'" in request.url.params.get("$filter", "") and "$select" in request.url.params:
            return error(403, "", "no rights to customers")
        return service(request)

    with client("fno", handler, page_rows=2, parallel=4) as fno, pytest.raises(PermissionDenied, match="no rights"):
        pull(fno, "CustomersV2", [])


def test_sales_is_read_in_ranges_of_createdon_and_rows_without_one_are_not_lost():
    filters = []

    def handler(request):
        found = request.url.params.get("$filter", "")
        if request.url.path.endswith("/$count"):
            return answer(b"5000" if "createdon" not in found else b"10")
        if "$top" in request.url.params:
            day = 1 if "asc" in request.url.params["$orderby"] else 5
            return page(f'"accountid":"{ID(1)}","createdon":"2024-01-0{day}T00:00:00Z"')
        filters.append(found)
        return page(f'"accountid":"{len(filters):036}"')

    with client("sales", handler, parallel=4, page_rows=2) as sales:
        assert pull(sales, "accounts", []).height == 5
    assert sorted(filters) == [
        "createdon eq null",
        "createdon ge 2024-01-02T00:00:00Z and createdon lt 2024-01-03T00:00:00Z",
        "createdon ge 2024-01-03T00:00:00Z and createdon lt 2024-01-04T00:00:00Z",
        "createdon ge 2024-01-04T00:00:00Z",
        "createdon lt 2024-01-02T00:00:00Z",
    ]


def test_a_bulk_load_of_one_hour_in_four_years_is_split_within_that_hour():
    first, last = datetime(2020, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)
    moments = [first, *(datetime(2022, 6, 1, 9, second // 60, second % 60, tzinfo=UTC) for second in range(3600)), last]
    crowd = pl.Series([moment for moment in moments for _ in range(20)])
    filters = []

    def span(text):
        words = text.replace("(", "").replace(")", "").split()
        low = datetime.fromisoformat(words[words.index("ge") + 1]) if "ge" in words else first
        high = datetime.fromisoformat(words[words.index("lt") + 1]) if "lt" in words else last + timedelta(seconds=1)
        return crowd.is_between(low, high, closed="left").sum()

    def handler(request):
        text = request.url.params.get("$filter", "")
        if request.url.path.endswith("/$count"):
            return answer(str(min(5000, span(text))).encode())
        if "$top" in request.url.params:
            moment = first if "asc" in request.url.params["$orderby"] else last
            return page(f'"accountid":"{ID(1)}","createdon":"{moment.isoformat()}"')
        filters.append(text)
        return page(f'"accountid":"{len(filters):036}"')

    with client("sales", handler, parallel=8) as sales:
        pull(sales, "accounts", [])
    held = [span(text) for text in filters if "null" not in text]
    assert sum(held) == len(crowd) and max(held) <= len(crowd) / 4


# --- over real HTTP -----------------------------------------------------------------------------------------------

LINES = 60


@pytest.fixture(scope="module")
def world():
    return generate(counts={"accounts": LINES, "contacts": 20, "products": 5})


@pytest.fixture(params=["sales", "fno"])
def live(request, tmp_path, world):
    """One service of the sandbox on loopback with its rows, and a way to make clients of it."""
    system = request.param
    frames = world.sales if system == "sales" else world.fno
    store = load(system, tmp_path / "rows.db", frames)
    with serve(build_app(system, store, settings())) as url, ExitStack() as stack:

        def make(**limits):
            company = "usmf" if system == "fno" else None
            made = Client(system, url, Auth(kind="sandbox"), Limits(**{"budget_s": 20, **limits}), company=company)
            return stack.enter_context(made)

        def fault(*rules):
            httpx.post(f"{url}/sandbox/faults", json=list(rules)).raise_for_status()

        entity = "accounts" if system == "sales" else "CustomersV2"
        expected = frames[entity] if system == "sales" else frames[entity].filter(pl.col("dataAreaId") == "usmf")
        yield SimpleNamespace(system=system, make=make, fault=fault, entity=entity, expected=expected, url=url)


MONEY_OF = {"sales": ("accountid", "creditlimit"), "fno": ("CustomerAccount", "CreditLimit")}


def agrees(live, found):
    """Every row once, every amount to the last digit; absent amounts of F&O are 0."""
    key, money = MONEY_OF[live.system]
    amount = pl.col(money).fill_null(0) if live.system == "fno" else pl.col(money)
    assert_frame_equal(
        found.select(key, amount).sort(key), live.expected.select(key, amount).sort(key), check_row_order=True
    )


@pytest.mark.parametrize("limits", [{"parallel": 1}, {"page_rows": 7, "parallel": 1}, {"page_rows": 7, "parallel": 4}])
def test_a_live_pull_brings_every_row_once_and_every_digit(live, limits):
    agrees(live, pull(live.make(**limits), live.entity, [MONEY_OF[live.system][1]]))


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "throttle", "retry_after": 0, "path": r"(accounts|CustomersV2)", "every": 3},
        {"kind": "drop", "at": "body", "path": r"(accounts|CustomersV2)\?", "every": 3},
        {"kind": "html", "status": 503, "path": r"(accounts|CustomersV2)\?", "every": 4},
        {"kind": "expire", "path": r"(accounts|CustomersV2)\?", "every": 4},
    ],
    ids=lambda rule: rule["kind"],
)
def test_a_live_pull_through_faults_brings_the_same_rows(live, rule):
    service = live.make(page_rows=7, parallel=2)
    service.metadata()
    live.fault(rule)
    agrees(live, pull(service, live.entity, [MONEY_OF[live.system][1]]))
    assert service.stats.retries > 0 or rule["kind"] == "expire"


def test_a_live_row_is_created_changed_guarded_and_deleted(live):
    service = live.make()
    _, money = MONEY_OF[live.system]
    row = {money: Decimal("12345.67")}
    if live.system == "sales":
        row |= {"name": "O'Neill & Söhne 😀"}
    else:
        row |= {"dataAreaId": "usmf", "CustomerAccount": "N'1", "CustomerGroupId": "10", "OrganizationName": "N"}
        row |= {"PartyType": "Organization", "SalesCurrencyCode": "USD"}
    made = service.create(live.entity, row)
    changed = service.update(live.entity, made.key, {money: Decimal("0.1")}, made.etag)
    with pytest.raises(Conflict):
        service.update(live.entity, made.key, {money: 2}, made.etag)
    said = service.get(key_path(service.entity(live.entity), made.key))
    assert said[money] == Decimal("0.1") and changed.key == made.key
    service.delete(live.entity, made.key, said["@odata.etag"])
    with pytest.raises(NotFound):
        service.update(live.entity, made.key, {money: 3}, None)


def test_a_live_create_whose_answer_is_lost_was_sent_once(live):
    service = live.make()
    before = service.count(live.entity)
    live.fault({"kind": "drop", "at": "answer", "method": "POST", "path": live.entity})
    row = {"name": "lost"} if live.system == "sales" else {"dataAreaId": "usmf", "CustomerAccount": "LOST"}
    if live.system == "fno":
        row |= {
            "CustomerGroupId": "10",
            "OrganizationName": "N",
            "PartyType": "Organization",
            "SalesCurrencyCode": "USD",
        }
    with pytest.raises(LostAnswer):
        service.create(live.entity, row)
    assert service.count(live.entity) == before + 1


@pytest.mark.parametrize("live", ["sales"], indirect=True)
def test_live_lookups_lead_to_names(live):
    path = "parentcustomerid.Account(accountnumber).Contact(msdynce_contactnumber)"
    found = pull(live.make(), "contacts", [path, "_parentcustomerid_value"])
    numbers = live.expected.select(pl.col("accountid").alias("_parentcustomerid_value"), "accountnumber")
    joined = found.join(numbers, on="_parentcustomerid_value", how="inner")
    assert joined.height > 0 and joined[path].to_list() == joined["accountnumber"].to_list()


def test_a_live_wrong_address_says_what_would_be_right(live):
    token = Auth(kind="token", token="t")
    with (
        Client(live.system, live.url + "/elsewhere", token, Limits()) as lost,
        pytest.raises(ConnectError, match="must be the root of Dynamics 365"),
    ):
        lost.metadata()
    with (
        Client(live.system, "http://127.0.0.1:9", token, Limits()) as nobody,
        pytest.raises(ConnectError, match=r"cannot reach http://127.0.0.1:9"),
    ):
        nobody.metadata()


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_live_pull_over_tls_trusts_the_authorities_of_its_file_only(tmp_path, world, is_trusted):
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path / "ca.pem"
    (authority if is_trusted else other).cert_pem.write_to_path(file)
    app = build_app("fno", load("fno", tmp_path / "rows.db", world.fno), settings())
    with (
        serve(app, ssl=context) as url,
        Client("fno", url, Auth(kind="token", token="t"), Limits(budget_s=0), company="usmf", ca_file=file) as fno,
    ):
        if is_trusted:
            assert pull(fno, "CustomerGroups", []).height > 0
        else:
            with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                fno.metadata()
