"""Business days of a sandbox: believable, the same for the same seed, and in step each evening."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from p2c_lib.advance import Day, advance
from p2c_lib.cli import app
from p2c_lib.errors import SandboxError
from p2c_lib.sandbox import lifecycle
from p2c_lib.sandbox.days import business_day, day_reached, keep_day
from p2c_lib.sandbox.schema import load_schema

DEEDS = {
    *("products released", "products put on sale", "prices changed", "accounts made", "accounts changed"),
    *("contacts made", "contacts changed", "tax groups decided", "quotes made", "quotes activated", "quotes won"),
    *("orders made in Sales", "orders activated", "orders entered in F&O", "confirmed", "shipped", "invoiced"),
}


@pytest.fixture
def folder(tmp_path: Path):
    lifecycle.start(tmp_path, empty=True, detach=True)
    yield tmp_path
    lifecycle.stop(tmp_path)


def facts(folder: Path) -> dict[str, Counter[tuple[object, ...]]]:
    """All rows of both systems without ids, versions and moments, which no seed decides."""
    found = {}
    for system in ("sales", "fno"):
        with closing(sqlite3.connect(folder / f"{system}.sqlite")) as connection:
            for entity in load_schema(system).entities.values():
                told = [
                    column.name
                    for column in entity.columns.values()
                    if column.kind not in ("guid", "lookup", "datetime") and column.name not in ("versionnumber",)
                ]
                names = ", ".join(f'"{name}"' for name in told)
                found[entity.name] = Counter(connection.execute(f'SELECT {names} FROM "{entity.name}"').fetchall())
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_six_business_days_from_empty_are_in_step_each_and_two_and_one_are_three(folder, tmp_path_factory):
    done: Counter[str] = Counter()
    for day in advance(folder, 6):
        assert (day.differing, day.run) == (0, None), str(day)
        assert (day.copied.failed, day.copied.conflicts, day.copied.remaining) == (0, 0, 0), str(day)
        done.update(day.events)
        if day.day == 3:
            three = facts(folder)
    assert set(done) >= DEEDS
    assert "refused" not in done
    assert day_reached(folder) == 6

    other = tmp_path_factory.mktemp("other")
    lifecycle.start(other, empty=True, detach=True)
    try:
        assert [day.day for days in (2, 1) for day in advance(other, days)] == [1, 2, 3]
        again = facts(other)
    finally:
        lifecycle.stop(other)
    assert three["salesorders"].total() > 0
    assert {name: three[name] - again[name] for name in three if three[name] != again[name]} == {}


def test_another_seed_makes_another_day_and_a_reset_begins_at_the_first(folder):
    first = next(advance(folder, 1, seed=1))
    before = facts(folder)
    lifecycle.reset(folder)
    assert day_reached(folder) == 0
    second = next(advance(folder, 1, seed=2))
    assert (first.day, second.day) == (1, 1)
    assert facts(folder)["accounts"] != before["accounts"]


def test_business_days_leave_weekends_out():
    days = [business_day(number) for number in range(1, 261)]
    assert days[0] == date(2026, 1, 5)
    assert {day.weekday() for day in days} == set(range(5))
    assert days == sorted(set(days))


def test_a_sandbox_that_does_not_run_cannot_go_on(tmp_path):
    with pytest.raises(SandboxError, match=r"no sandbox runs here; start it: p2c sandbox start"):
        next(advance(tmp_path, 1))
    assert CliRunner().invoke(app, ["sandbox", "advance", "--days", "0"]).exit_code == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"day": "x"}', '{"date": "2026-01-05"}'])
def test_a_broken_calendar_is_told(tmp_path, text):
    keep_day(tmp_path, 7)
    assert day_reached(tmp_path) == 7
    (tmp_path / "calendar.json").write_text(text)
    with pytest.raises(SandboxError, match=r"calendar\.json: not a calendar"):
        day_reached(tmp_path)


def test_a_day_is_told_in_one_line():
    from p2c_lib.apply import Applied

    copied = Applied(created=3, updated=2)
    day = Day(4, "2026-01-08", {"quotes made": 2, "confirmed": 1}, copied, 0, None)
    assert str(day) == "day 4, 2026-01-08: 2 quotes made, 1 confirmed; 3 created, 2 updated; in step"
    left = Day(5, "2026-01-09", {}, Applied(failed=1), 2, Path("x/0005-after"))
    assert str(left) == ("day 5, 2026-01-09: nothing happened; 0 created, 0 updated, 1 failed; 2 differ: x/0005-after")
