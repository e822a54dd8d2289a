"""Rows sent in bulk to both services over HTTP: what fails alone, what got lost, what others changed."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from bulk_plan import contacts, customers, plan_of
from pair import Pair

from p2c_lib.apply import Applied, apply, journal_table
from p2c_lib.channels import CHANNELS, Chunk, choose, estimate, offered
from p2c_lib.channels.base import ACTIONS, CELLS
from p2c_lib.channels.bodies import addresses, bodies
from p2c_lib.connect import key_path
from p2c_lib.errors import PlanError
from p2c_lib.pace import Allowance
from p2c_lib.places import plan_folder
from p2c_lib.pull import pull
from p2c_lib.run import open_clients


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    pair = Pair(
        tmp_path_factory.mktemp("bulk"), counts={"accounts": 5, "contacts": 5, "products": 5}, push={"budget_s": 20}
    )
    yield pair
    from p2c_lib.sandbox import lifecycle

    lifecycle.stop(pair.folder)


@pytest.fixture
def send(pair, tmp_path):
    """Send rows by a channel, through faults if there are any; gives what became of them and what it took."""

    def sent(rows, channel, *faults, name="run", **limits) -> tuple[Applied, dict[str, str], Any]:
        run = tmp_path / name
        if rows is not None:
            plan_of(run, pair, rows)
        pair.faults(*faults)
        profile = pair.profile(limits={"budget_s": 20, **limits})
        with open_clients(profile) as clients:
            before = {name: client.stats.calls for name, client in clients.items()}
            done = apply(run, profile, clients, channel=channel)
            calls = sum(client.stats.calls - before[name] for name, client in clients.items())
        pair.faults()
        return done, dict(journal_table(run).select("key", "outcome").iter_rows()), calls

    return sent


def held(pair, system, entity, column, prefix):
    """How often each number is there."""
    with pair.clients() as clients:
        numbers = pull(clients[system], entity, [column])[column]
    return dict(numbers.filter(numbers.str.starts_with(prefix).fill_null(False)).value_counts().iter_rows())


def numbers(prefix, count):
    return [f"{prefix}{n:03}" for n in range(count)]


def lines(run):
    return [json.loads(line) for line in (plan_folder(run) / "journal.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize("channel", ["multiple", "batch"])
def test_bad_rows_of_a_call_stand_alone_and_the_others_are_made(pair, send, tmp_path, channel):
    mine = numbers(f"H{channel[0]}", 64)
    rows = contacts(mine)
    for row in rows:
        if row["key"] in (mine[5], mine[40]) and row["field"] == "lastname":
            row["after"] = row["sent"] = "x" * 200
    done, outcomes, calls = send(rows, channel)
    assert (done.created, done.failed) == (62, 2)
    assert {key for key, outcome in outcomes.items() if outcome == "failed"} == {mine[5], mine[40]}
    assert set(held(pair, "sales", "contacts", "msdynce_contactnumber", mine[0][:2])) == set(outcomes) - {
        mine[5],
        mine[40],
    }
    told = [line for line in lines(tmp_path / "run") if line.get("outcome") == "failed"]
    assert all("maximum allowed length" in line["error"] and line["code"] == "0x80044331" for line in told)
    assert calls < 45  # two ways down to the bad rows, not a call a row


def test_a_row_that_fno_refuses_does_not_take_others_of_its_batch_along(pair, send, tmp_path):
    mine = numbers("FB", 60)
    rows = customers(mine)
    for row in rows:
        if row["key"] == mine[7] and row["field"] == "CustomerGroupId":
            row["after"] = row["sent"] = "nix"
    done, outcomes, calls = send(rows, "batch")
    assert (done.created, done.failed, outcomes[mine[7]]) == (59, 1, "failed")
    assert "'nix'" in next(line["error"] for line in lines(tmp_path / "run") if line.get("outcome") == "failed")
    assert set(held(pair, "fno", "CustomersV2", "CustomerAccount", "FB").values()) == {1}
    assert calls < 12


LOST = [
    ("sales", "multiple", {"kind": "drop", "at": "answer", "path": "CreateMultiple", "first": 1}),
    ("sales", "multiple", {"kind": "drop", "at": "before", "path": "CreateMultiple", "first": 1}),
    ("sales", "multiple", {"kind": "html", "done": True, "path": "CreateMultiple", "first": 1}),
    ("sales", "multiple", {"kind": "error", "status": 503, "path": "CreateMultiple", "first": 1}),
    ("sales", "batch", {"kind": "drop", "at": "answer", "path": r"\$batch", "first": 1}),
    ("fno", "batch", {"kind": "drop", "at": "body", "path": r"\$batch", "first": 1}),
    ("fno", "batch", {"kind": "drop", "at": "answer", "path": r"\$batch", "first": 1}),
    ("fno", "batch", {"kind": "throttle", "retry_after": 1, "path": r"\$batch", "first": 1}),
]


@pytest.mark.parametrize(
    ("system", "channel", "fault"),
    [pytest.param(*case, id=f"{case[0]} {case[1]} {case[2]['kind']} {case[2].get('at', '')}") for case in LOST],
)
def test_an_answer_that_is_lost_loses_and_doubles_no_row(pair, send, system, channel, fault):
    name = f"L{LOST.index((system, channel, fault))}-"
    mine = numbers(name, 60)
    done, outcomes, calls = send(contacts(mine) if system == "sales" else customers(mine), channel, fault)
    assert (done.created, set(outcomes.values())) == (60, {"created"})
    where = ("contacts", "msdynce_contactnumber") if system == "sales" else ("CustomersV2", "CustomerAccount")
    assert held(pair, system, *where, name) == dict.fromkeys(mine, 1)
    assert calls < 20
    again, _, _ = send(None, channel)
    assert again == Applied(already=60)


@pytest.mark.parametrize(("system", "entity"), [("sales", "contacts"), ("fno", "CustomersV2")])
def test_updates_go_with_their_etag_and_what_others_changed_is_left_alone(pair, send, system, entity):
    number, field = {
        "contacts": ("msdynce_contactnumber", "jobtitle"),
        "CustomersV2": ("CustomerAccount", "SalesMemo"),
    }[entity]
    mine = numbers(f"U{system[0]}", 30)
    made = contacts(mine) if system == "sales" else customers(mine)
    assert send(made, "batch", name="made")[0].created == 30
    with pair.clients() as clients:
        client = clients[system]
        rows = pull(client, entity, [number, field]).filter(pl.col(number).is_in(mine)).sort(number)
        changes = [
            {
                "order": order,
                "entity": entity,
                "action": "update",
                "key": row[number],
                "target": json.dumps({key: row[key] for key in client.entity(entity).key}),
                "etag": row["@odata.etag"],
                "field": field,
                "after": "wanted here",
            }
            for order, row in enumerate(rows.to_dicts())
        ]
        client.update(entity, json.loads(changes[3]["target"]), {field: "theirs"}, None)
    done, outcomes, calls = send(changes, "batch", name="changed")
    assert (done.updated, done.conflicts, outcomes[mine[3]]) == (29, 1, "conflict")
    with pair.clients() as clients:
        now = pull(clients[system], entity, [number, field]).filter(pl.col(number).is_in(mine))
    assert dict(now.select(number, field).iter_rows()) == {**dict.fromkeys(mine, "wanted here"), mine[3]: "theirs"}
    assert calls < 16
    # The channel of bulk actions has no place for an ETag, so it is not taken for updates, even when it is asked for.
    assert choose("sales", "update", 5000, ("single", "multiple", "batch"), "multiple") == "batch"


def test_a_part_that_is_put_off_waits_for_all_and_goes_again(pair, send):
    mine = numbers("TP", 40)
    fault = {"kind": "throttle", "part": True, "retry_after": 1, "path": "CustomersV2", "after": 5, "first": 3}
    done, _, _ = send(customers(mine), "batch", {**fault, "system": "fno"})
    assert done.created == 40
    assert held(pair, "fno", "CustomersV2", "CustomerAccount", "TP") == dict.fromkeys(mine, 1)


def test_rows_are_deleted_in_a_batch_unless_somebody_changed_them(pair, send):
    mine = numbers("DX", 20)
    send(contacts(mine), "multiple", name="made")
    with pair.clients() as clients:
        sales = clients["sales"]
        rows = pull(sales, "contacts", ["msdynce_contactnumber"]).filter(pl.col("msdynce_contactnumber").is_in(mine))
        rows = rows.sort("msdynce_contactnumber")
        sales.update("contacts", {"contactid": rows["contactid"][0]}, {"jobtitle": "kept"}, None)
    gone = [
        {
            "order": order,
            "entity": "contacts",
            "action": "delete",
            "key": row["msdynce_contactnumber"],
            "target": json.dumps({"contactid": row["contactid"]}),
            "etag": row["@odata.etag"],
            "field": "msdynce_contactnumber",
            "after": None,
        }
        for order, row in enumerate(rows.to_dicts())
    ]
    done, outcomes, _ = send(gone, "batch", name="gone")
    assert (done.deleted, done.conflicts, outcomes[mine[0]]) == (19, 1, "conflict")
    assert held(pair, "sales", "contacts", "msdynce_contactnumber", "DX") == {mine[0]: 1}


def test_no_more_rows_a_second_than_the_user_wants(pair, send):
    import time

    begun = time.monotonic()
    done, _, _ = send(contacts(numbers("RS", 150)), "multiple", rows_per_second=50)
    assert done.created == 150 and time.monotonic() - begun >= 1.5  # the first call of 50 or more goes at once


def test_a_channel_that_does_not_exist_is_refused_before_anything_is_sent(send):
    with pytest.raises(PlanError, match="no channel 'fast'; known: single, multiple, batch"):
        send(contacts(numbers("NC", 2)), "fast")


def test_channels_are_asked_from_the_service_and_chosen_by_volume(pair):
    with pair.clients() as clients:
        sales = offered(clients["sales"], clients["sales"].entity("contacts"))
        fno = offered(clients["fno"], clients["fno"].entity("CustomersV2"))
    assert set(sales) == {"single", "batch", "multiple"} and {"single", "batch"} <= set(fno)
    told = [choose("sales", "create", rows, sales) for rows in (1, 100, 101, 10**6)]
    assert told == ["single", "single", "multiple", "multiple"]
    assert choose("sales", "update", 5000, sales) == "batch"
    assert choose("fno", "create", 5000, fno) == "batch"
    assert choose("sales", "create", 5000, sales, "batch") == "batch"
    assert choose("sales", "create", 5000, ("single", "batch")) == "batch"  # a table without bulk actions


@pytest.mark.parametrize(
    ("rows", "channel", "given", "calls", "seconds"),
    [
        pytest.param(1000, "single", {"parallel": 1}, 1000, 60.0, id="one lane: 50 ms a call and 10 ms a row"),
        pytest.param(1000, "single", {"parallel": 10}, 1000, 6.0, id="ten lanes"),
        pytest.param(8000, "multiple", {"parallel": 8}, 8, 10.05, id="a call a lane"),
        pytest.param(
            12_001,
            "single",
            {"parallel": 52, "allowance": Allowance(6000, 1200)},
            12_001,
            600.0,
            id="6,000 calls a window",
        ),
        pytest.param(
            300_000, "batch", {"parallel": 50, "allowance": Allowance(6000, 1200)}, 300, 600.0, id="execution a window"
        ),
        pytest.param(1000, "batch", {"parallel": 8, "rows_per_second": 2}, 8, 500.0, id="the user's own ceiling"),
        pytest.param(0, "batch", {"parallel": 8}, 0, 0.0, id="nothing"),
    ],
)
def test_an_estimate_is_what_the_narrowest_limit_takes(rows, channel, given, calls, seconds):
    found = estimate(rows, channel, **given)
    assert (found.calls, round(found.seconds, 2)) == (calls, seconds)


def test_bodies_keep_every_digit_and_escape_what_must_be(pair):
    with pair.clients() as clients:
        sales, entity = clients["sales"], clients["sales"].entity("contacts")
        cells = [
            ("lastname", 'O\'Neil "x"\\\n\t\u0001 Größe 漢', "string"),
            ("creditlimit", "12345678901234567.8900", "number"),
            ("donotemail", "true", "boolean"),
            ("jobtitle", None, "string"),
            ("parentcustomerid_account@odata.bind", "/accounts(1)", "bind"),
        ]
        frame = pl.DataFrame([(7, *cell) for cell in cells], schema=CELLS, orient="row")
        action = {"order": 7, "action": "create", "id": "0000", "attempt": 1}
        actions = pl.DataFrame([{name: action.get(name) for name in ACTIONS}], schema=ACTIONS)
        (body,) = bodies(sales, Chunk(entity, actions, frame, 1))
    assert '"creditlimit":12345678901234567.8900' in body
    assert json.loads(body) == {
        "contactid": "0000",
        "lastname": cells[0][1],
        "creditlimit": 12345678901234567.89,
        "donotemail": True,
        "jobtitle": None,
        "parentcustomerid_account@odata.bind": "/accounts(1)",
    }


@pytest.mark.parametrize("number", ["A1", "A'B", "Ä 1", "a/b?c#d%", "x" * 20, "a,b=c)"])
def test_addresses_of_many_rows_are_those_of_one(pair, number):
    key = {"dataAreaId": "usmf", "CustomerAccount": number}
    with pair.clients() as clients:
        entity = clients["fno"].entity("CustomersV2")
        targets = [json.dumps(key), json.dumps({**key, "CustomerAccount": "P"})]
        found = addresses(entity, pl.DataFrame({"target": targets}))
        assert found.to_list() == [key_path(entity, key), key_path(entity, {**key, "CustomerAccount": "P"})]


def test_only_channels_that_can_refuse_a_changed_row_carry_updates():
    assert [name for name, channel in CHANNELS.items() if "update" in channel.verbs] == ["single", "batch"]
