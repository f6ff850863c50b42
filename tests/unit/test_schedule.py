"""The hours of views: by the wall clock of the machine, over midnight and changes of the clocks."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fastdns.config.filters import View
from fastdns.config.hours import parse_hours
from fastdns.config.view_clients import parse_view_client
from fastdns.policy.schedule import Clock, LocalTime, Schedule, in_force, next_change

PLACE = ZoneInfo("Europe/Berlin")
ZONES = Path("/usr/share/zoneinfo")
# 2026: 29 March and 25 October are the Sundays on which the clocks change in Europe.


def clock_in(zone: ZoneInfo) -> Clock:
    def clock(now: float) -> LocalTime:
        shown = datetime.fromtimestamp(now, zone)
        offset = shown.utcoffset()
        assert offset is not None
        minute = shown.weekday() * 24 * 60 + shown.hour * 60 + shown.minute
        return LocalTime(minute, int(offset.total_seconds()))

    return clock


BERLIN = clock_in(PLACE)


def view(when: str) -> View:
    return View(name="kids", clients=(parse_view_client("tablet"),), when=parse_hours(when))


def at(text: str, zone: ZoneInfo = PLACE, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def is_on(when: str, text: str, fold: int = 0) -> bool:
    return in_force([view(when)], at(text, fold=fold), BERLIN) == (1,)


@pytest.mark.parametrize(
    ("when", "on", "off"),
    [
        ("", ["2026-11-28 12:00", "2026-11-29 00:00"], []),
        (
            "Mon-Fri 20:00-07:00",
            ["2026-11-23 20:00", "2026-11-24 06:59", "2026-11-28 06:59"],  # from Friday to Saturday
            ["2026-11-23 19:59", "2026-11-24 07:00", "2026-11-28 20:00", "2026-11-23 06:00"],
        ),
        (
            "Sun 22:00-08:00",
            ["2026-11-29 22:00", "2026-11-29 23:59", "2026-11-30 00:00", "2026-11-30 07:59"],
            ["2026-11-29 21:59", "2026-11-30 08:00", "2026-11-30 22:00"],
        ),
        ("Sat-Sun", ["2026-11-28 00:00", "2026-11-29 23:59"], ["2026-11-27 23:59", "2026-11-30"]),
        ("12:00-13:00", ["2026-11-28 12:00", "2026-11-25 12:59"], ["2026-11-28 13:00"]),
        (
            "Mon 08:00-09:00, Tue",
            ["2026-11-23 08:30", "2026-11-24 23:00"],
            ["2026-11-23 09:00", "2026-11-25 00:00"],
        ),
    ],
)
def test_hours_are_those_of_the_wall_clock(when: str, on: list[str], off: list[str]) -> None:
    assert [is_on(when, text) for text in on] == [True] * len(on)
    assert [is_on(when, text) for text in off] == [False] * len(off)


def test_hours_are_the_same_in_summer_and_in_winter() -> None:
    for text in ("2026-03-28", "2026-03-29", "2026-10-24", "2026-10-25", "2026-10-26"):
        assert not is_on("20:00-21:00", f"{text} 19:59")
        assert is_on("20:00-21:00", f"{text} 20:00")
        assert not is_on("20:00-21:00", f"{text} 21:00")


def test_next_change_is_the_next_beginning_or_end_of_hours() -> None:
    views = [view("Mon-Fri 20:00-07:00"), view("Sat 12:00-13:00")]
    seen = [at("2026-11-27 12:00")]
    for _ in range(5):
        found = next_change(views, seen[-1], BERLIN)
        assert found is not None
        seen.append(found)
    assert seen[1:] == [
        at("2026-11-27 20:00"),
        at("2026-11-28 07:00"),
        at("2026-11-28 12:00"),
        at("2026-11-28 13:00"),
        at("2026-11-30 20:00"),
    ]


def test_hour_that_is_left_out_makes_hours_begin_when_the_clocks_change() -> None:
    began = next_change([view("Sun 02:30-04:00")], at("2026-03-29 00:00"), BERLIN)
    assert began == at("2026-03-29 03:00")
    assert next_change([view("Sun 02:00-03:00")], at("2026-03-29 00:00"), BERLIN) == at(
        "2026-04-05 02:00"
    )


def test_hour_that_comes_twice_is_in_force_twice() -> None:
    views = [view("Sun 02:00-02:30")]
    changes = [at("2026-10-25 00:00")]
    for _ in range(4):
        found = next_change(views, changes[-1], BERLIN)
        assert found is not None
        changes.append(found)
    first = at("2026-10-25 02:00")
    assert [one - first for one in changes[1:]] == [0, 1800, 3600, 5400]


def test_nothing_changes_without_hours_or_with_all_of_them() -> None:
    assert next_change([view("")], at("2026-11-27 12:00"), BERLIN) is None
    assert next_change([view("Mon-Sun")], at("2026-11-27 12:00"), BERLIN) is None
    assert next_change([], 0.0, BERLIN) is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"])
def test_between_two_changes_nothing_changes(zone: str) -> None:
    chance = random.Random(zone)
    place = ZoneInfo(zone)
    clock = clock_in(place)
    for _ in range(4):
        first, end = (f"{chance.randrange(24):02}:{chance.randrange(60):02}" for _ in range(2))
        if first == end:
            continue
        views = [view(f"{first}-{end}"), view(f"Fri-Mon {end}-{first}")]
        now = at(f"2026-{chance.randrange(1, 13):02}-0{chance.randrange(1, 10)} 00:00", place)
        due = next_change(views, now, clock)
        assert due is not None
        before = in_force(views, now, clock)
        for minute in itertools.count(0, 7):
            if now + 60 * minute >= due:
                break
            assert in_force(views, now + 60 * minute, clock) == before
        assert in_force(views, due - 1, clock) == before
        assert in_force(views, due, clock) != before


# ---- as a worker follows it


def test_day_of_a_household() -> None:
    """Two views, of which one is in force at night and one on the afternoons of school days."""
    views = [view("Sun-Thu 20:00-07:00"), view("Mon-Fri 14:00-16:00")]
    now = at("2026-11-23 12:00")
    schedule = Schedule(views, now, BERLIN)
    seen = {}
    for minutes in range(0, 24 * 60, 10):
        schedule.refresh(now + 60 * minutes)
        shown = datetime.fromtimestamp(now + 60 * minutes, PLACE).strftime("%H:%M")
        seen[shown] = schedule.numbers
    former = [(), *seen.values()]
    changes = [shown for shown, one in zip(seen, former, strict=False) if seen[shown] != one]
    assert changes == ["14:00", "16:00", "20:00", "07:00"]
    assert (seen["15:00"], seen["16:00"], seen["23:50"], seen["07:00"]) == ((2,), (), (1,), ())


def test_clock_that_was_set_back_or_forward_is_noticed() -> None:
    schedule = Schedule([view("20:00-21:00")], at("2026-11-23 20:30"), BERLIN)
    assert schedule.numbers == (1,)
    assert not schedule.refresh(at("2026-11-23 20:31"))
    assert schedule.refresh(at("2026-11-23 12:00"))
    assert schedule.numbers == ()
    assert schedule.refresh(at("2026-12-24 20:00"))
    assert schedule.numbers == (1,)


@pytest.fixture
def localtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that says in which time zone this machine is: Berlin's."""
    file = tmp_path / "localtime"
    file.symlink_to(ZONES / "Europe/Berlin")
    with monkeypatch.context() as patched:
        patched.setenv("TZ", f":{file}")
        time.tzset()
        yield file
    time.tzset()


def test_another_time_zone_of_the_machine_counts_at_once(localtime: Path) -> None:
    now = at("2026-11-23 20:30")
    schedule = Schedule([view("20:00-21:00")], now)
    assert schedule.numbers == (1,)
    other = localtime.with_name("new")
    other.symlink_to(ZONES / "America/New_York")
    other.rename(localtime)
    assert schedule.refresh(now + 1)
    assert schedule.numbers == ()
    assert schedule.due == at("2026-11-23 20:00", ZoneInfo("America/New_York"))


def test_machine_without_a_time_zone_has_utc(localtime: Path) -> None:
    now = at("2026-11-23 20:30", ZoneInfo("UTC"))
    schedule = Schedule([view("20:00-21:00")], now)
    assert schedule.numbers == ()
    localtime.unlink()
    assert schedule.refresh(now)
    assert schedule.numbers == (1,)
