"""What the tasks of a run read once for all of them, and what they still read anew."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import unquote

import polars as pl
import pytest
from fake_service import FakeClient
from odata_fake import client, page
from polars.testing import assert_frame_equal

from p2c_lib import run as runs
from p2c_lib.errors import ServiceError
from p2c_lib.model import all_tasks, load_templates
from p2c_lib.pull import pull
from p2c_lib.readings import Asked, Readings, shared

A, B, EUR, USD = (f"00000000-0000-0000-0000-00000000000{n}" for n in range(4))
FRAME = pl.DataFrame({"accountid": [A, B], "name": ["Adatum", "Fabrikam"], "@odata.etag": ["1", "2"]})
SETS = {("sales", "accounts"): ["accountid", "name"]}


def test_a_shared_set_is_read_once_however_many_ask_at_the_same_time(tmp_path):
    read, gate = [], threading.Barrier(4)

    def service() -> pl.DataFrame:
        read.append(1)
        return FRAME

    def ask(_: int) -> pl.DataFrame:
        gate.wait()
        return Readings(tmp_path, SETS).take("sales", "accounts", ["name", "@odata.etag"], service)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert len(read) == 1
    for answer in answers:
        assert_frame_equal(answer, FRAME.select("name", "@odata.etag"))


def test_a_reading_that_failed_is_tried_again_by_the_next(tmp_path):
    def broken() -> pl.DataFrame:
        raise ServiceError("down")

    readings = Readings(tmp_path, SETS)
    with pytest.raises(ServiceError):
        readings.take("sales", "accounts", ["name"], broken)
    assert readings.take("sales", "accounts", ["name"], lambda: FRAME)["name"].to_list() == ["Adatum", "Fabrikam"]


def test_who_takes_a_reading_knows_when_it_was_made(tmp_path):
    before = datetime.now(UTC)
    first, second, idle = (Readings(tmp_path, SETS) for _ in range(3))
    first.take("sales", "accounts", ["name"], lambda: FRAME)
    after = datetime.now(UTC)
    second.take("sales", "accounts", ["name"], lambda: FRAME)
    assert first.earliest == second.earliest and idle.earliest is None
    assert first.earliest and before <= first.earliest <= after


def test_sets_are_shared_that_more_than_one_asks_for_lookups_followed_and_unknown_names_left_out():
    clients = {"sales": FakeClient("sales"), "fno": FakeClient("fno", "usmf")}
    asked = [
        Asked("one", "sales", "accounts", ["name", "nmae", "transactioncurrencyid.isocurrencycode"]),
        Asked("two", "sales", "contacts", ["firstname", "transactioncurrencyid.isocurrencycode", "nowhere.name"]),
        Asked("two", "sales", "contacts", ["lastname"]),
        Asked("three", "fno", "Nothing", ["x"]),
        Asked("four", "fno", "Nothing", ["x"]),
    ]
    assert shared(asked, clients) == {("sales", "transactioncurrencies"): ["transactioncurrencyid", "isocurrencycode"]}
    both = [*asked, Asked("five", "sales", "contacts", ["accountid", "emailaddress1"])]
    lookup = "_transactioncurrencyid_value"
    assert shared(both, clients)["sales", "contacts"] == ["contactid", "firstname", lookup, "lastname", "emailaddress1"]


class Service:
    """Two accounts, one of which may come to be in dollars, a currency that may come to be known."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.currency, self.known = EUR, [(EUR, "EUR")]
        self.client = client("sales", self.answer, parallel=1)

    def answer(self, request):
        path = unquote(request.url.path).rpartition("/")[2]
        self.asked.append(path)
        if path == "transactioncurrencies":
            return page(*(f'"transactioncurrencyid":"{id}","isocurrencycode":"{code}"' for id, code in self.known))
        return page(
            f'"accountid":"{A}","name":"Adatum","_transactioncurrencyid_value":"{EUR}","statecode":0',
            f'"accountid":"{B}","name":"Fabrikam","_transactioncurrencyid_value":"{self.currency}","statecode":1',
        )

    def pull(self, readings: Readings | None, *columns: str, **how: str) -> list[tuple]:
        self.asked.clear()
        self.client.cache.clear()
        return pull(self.client, "accounts", columns, readings=readings, **how).select(columns).rows()


PATH = "transactioncurrencyid.isocurrencycode"
ASKED = [Asked("one", "sales", "accounts", ["name", PATH]), Asked("two", "sales", "accounts", ["statecode", PATH])]


@pytest.fixture
def service():
    made = Service()
    yield made
    made.client.close()


@pytest.fixture
def readings(tmp_path, service):
    Readings.prepare(tmp_path / "readings", ASKED)
    return Readings.of(tmp_path / "readings", {"sales": service.client})


def test_the_second_task_asks_the_service_for_nothing(service, readings):
    assert service.pull(readings, "name", PATH) == [("Adatum", "EUR"), ("Fabrikam", "EUR")]
    assert sorted(set(service.asked)) == ["accounts", "transactioncurrencies"]
    assert service.pull(readings, "statecode", PATH) == [(0, "EUR"), (1, "EUR")]
    assert service.asked == []


def test_what_the_run_does_not_share_is_read_anew(service, readings):
    service.pull(readings, "name", PATH)
    assert service.pull(readings, "accountnumber") == [(None,), (None,)] and service.asked == ["accounts"]
    service.pull(readings, "name", filter="statecode eq 0")
    assert "accounts" in service.asked
    service.pull(None, "name")
    assert service.asked == ["accounts"]


def test_a_row_that_came_after_the_reading_is_looked_up_at_the_service(service, tmp_path):
    sets = {("sales", "transactioncurrencies"): ["transactioncurrencyid", "isocurrencycode"]}
    readings = Readings(tmp_path, sets)
    assert service.pull(readings, "name", PATH) == [("Adatum", "EUR"), ("Fabrikam", "EUR")]
    service.currency, service.known = USD, [(EUR, "EUR"), (USD, "USD")]
    assert service.pull(readings, "name", PATH) == [("Adatum", "EUR"), ("Fabrikam", "USD")]


def test_the_folder_of_the_readings_is_gone_when_the_run_is_over(tmp_path):
    templates = load_templates()
    with runs.shared_readings(tmp_path, all_tasks(templates), templates) as place:
        assert (place / "asked.json").exists()
    assert not place.exists()
    with pytest.raises(ServiceError), runs.shared_readings(tmp_path, [], templates):
        raise ServiceError("down")
    assert not place.exists()


def test_orders_and_their_lines_are_each_read_once_for_both_directions(tmp_path):
    templates = load_templates()
    clients = {"sales": FakeClient("sales"), "fno": FakeClient("fno", "usmf")}
    with runs.shared_readings(tmp_path, all_tasks(templates), templates) as place:
        readings = Readings.of(place, clients)
    assert readings is not None
    for task in all_tasks(templates):
        if task.name.startswith("order_"):
            assert readings.columns(task.source.system, task.source.entity)
            assert readings.columns(task.destination.system, task.destination.entity)
