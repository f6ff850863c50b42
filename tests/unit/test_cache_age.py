"""The effect of age on answers in memory and on disk: stale ones, wrong clocks, refresh in time."""

from __future__ import annotations

from pathlib import Path

import pytest
from environments import STALE, ago, fetch, front_on, value_of, write_disk
from messages import (
    EDE,
    EVERYBODY,
    REPLY,
    A,
    answer_from,
    good,
    key,
    opt,
    option,
    query,
    reply,
    soa,
    ttl_of,
)

from fastdns._answer import failure
from fastdns._clock import Moment
from fastdns._control import CHANGE_ALL
from fastdns._fastpath import FastPath

# ---- stale answers


def test_stale_answer_says_so_and_has_the_ttl_of_stale_answers(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    client = query(NAME_QUERIED := "www.example", A, 1, opt())
    assert front.ask(client) is None
    stale = front.cache.stale_answer(key(NAME_QUERIED), 30)
    assert stale is not None
    assert ttl_of(stale.message) == 30
    assert stale.edns_options == option(EDE, b"\0\3")
    assert stale.ttl == 0


def test_stale_nxdomain_says_so(place: Path) -> None:
    gone = answer_from(reply(authority=(soa(300, 300),), flags=REPLY | 3))
    write_disk(place, {key(): value_of(gone, ago(4000))})
    front = front_on(place)
    assert front.ask(query()) is None
    stale = front.cache.stale_answer(key(), 30)
    assert stale is not None
    assert (stale.rcode, stale.edns_options) == (3, option(EDE, b"\0\23"))


def test_nothing_is_stale_beyond_the_configured_time(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(300 + STALE))})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.cache.stale_answer(key(), 30) is None


def test_stale_answer_is_served_at_once_while_it_is_held(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    assert front.ask(query()) is None
    front.cache.hold_stale(key(), 30_000)
    response = front.ask(query("www.example", A, 1, opt()))
    assert response is not None
    assert ttl_of(response) == 30
    assert response.endswith(option(EDE, b"\0\3"))
    assert front.count("cache_stale_total") == 1
    front.cache.hold_stale(key(), 0)
    assert front.ask(query()) is None


def test_held_stale_answer_is_none_to_who_wants_no_recursion(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    assert front.ask(query()) is None
    front.cache.hold_stale(key(), 30_000)
    response = front.ask(query(flags=0))
    assert response is not None
    assert response[3] & 15 == 5


def test_failure_never_hides_a_stale_answer(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    assert front.ask(query()) is None
    front.learn(key(), failure(key(), 2, None, 5))
    assert front.cache.stale_answer(key(), 30) is not None


@pytest.mark.parametrize("age", [10, 4000], ids=["fresh", "stale"])
def test_failure_never_hides_a_good_answer_that_only_the_disk_holds(place: Path, age: int) -> None:
    write_disk(place, {key(): value_of(good(300), ago(age))})
    front = front_on(place)
    front.learn(key(), failure(key(), 2, None, 5))
    response = front.ask(query())
    if age < 300:
        assert response is not None
        assert response[3] & 15 == 0
    else:
        assert response is None
        assert front.cache.stale_answer(key(), 30) is not None


def test_failure_in_memory_does_not_keep_a_good_answer_on_disk(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    front.keep(failure(key(), 2, None, 5), age_ms=6000)  # of when the disk could not be read
    assert front.ask(query()) is None
    assert front.cache.stale_answer(key(), 30) is not None


def test_failure_in_memory_gives_way_to_what_a_thread_has_found(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    front = front_on(place, warm=False)
    front.keep(failure(key(), 2, None, 5))
    answer = fetch(front)
    assert answer is not None
    assert answer.rcode == 0


def test_stale_answer_is_found_on_disk_when_memory_has_lost_it(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    assert front.ask(query()) is None
    front.control.post(CHANGE_ALL)  # which has left the disk as it was
    assert front.ask(query("other")) is None
    assert front.cache.stale_answer(key(), 30) is not None


# ---- clocks


def test_entry_of_another_boot_is_as_old_as_the_wall_clock_says(place: Path) -> None:
    now = Moment.now()
    write_disk(place, {key(): value_of(good(300), Moment(now.wall_ms - 100_000, 5, 99))})
    response = front_on(place).ask(query())
    assert response is not None
    assert ttl_of(response) in (199, 200)


def test_entry_from_the_future_is_stale_and_never_fresh(place: Path) -> None:
    now = Moment.now()
    write_disk(place, {key(): value_of(good(300), Moment(now.wall_ms + 100_000, 5, 99))})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.cache.stale_answer(key(), 30) is not None


def test_wall_clock_that_jumps_changes_nothing_in_the_same_boot(place: Path) -> None:
    now = Moment.now()
    jumped = Moment(now.wall_ms + 10**9, now.boot_ms - 100_000, now.boot)
    write_disk(place, {key(): value_of(good(300), jumped)})
    response = front_on(place).ask(query())
    assert response is not None
    assert ttl_of(response) == 200


# ---- prefetch


def test_answer_asked_for_in_the_last_tenth_of_its_ttl_is_renewed_once(place: Path) -> None:
    front = front_on(place)
    front.keep(good(300), age_ms=271_000)
    assert front.ask(query()) is not None
    assert front.ask(query()) is not None
    assert front.refreshed == [key()]
    assert front.count("prefetches_total") == 1


def test_answer_asked_for_earlier_is_left_alone(place: Path) -> None:
    front = front_on(place)
    front.keep(good(300), age_ms=268_000)
    assert front.ask(query()) is not None
    assert front.refreshed == []


def test_answer_from_disk_is_renewed_in_its_last_tenth_too(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(280))})
    front = front_on(place)
    assert front.ask(query()) is not None
    assert front.refreshed == [key()]


def test_who_wants_no_recursion_has_nothing_renewed(place: Path) -> None:
    front = front_on(place)
    front.keep(good(300), age_ms=280_000)
    assert front.ask(query(flags=0)) is not None
    assert front.refreshed == []


def test_failure_is_not_renewed(place: Path) -> None:
    front = front_on(place)
    front.keep(failure(key(), 2, None, 5), age_ms=4900)
    assert front.ask(query()) is not None
    assert front.refreshed == []


def test_renewal_that_is_declined_is_not_counted(place: Path) -> None:
    front = front_on(place)
    front.fastpath = FastPath(front.forward, EVERYBODY, print, lambda key: False)
    front.keep(good(300), age_ms=280_000)
    assert front.ask(query()) is not None
    assert front.count("prefetches_total") == 0


# ---- a wall clock that is set


def test_wall_clock_that_is_set_has_answers_of_earlier_boots_judged_anew(place: Path) -> None:
    now = Moment.now()
    earlier = Moment(now.wall_ms - 10_000, 0, now.boot ^ 1)
    write_disk(place, {key(): value_of(good(300), earlier)})
    front = front_on(place)
    for _ in range(3):
        assert front.ask(query()) is not None
    assert front.count("disk_hits_total") == 1  # memory has it since
    front.cache.look_at_control(Moment(now.wall_ms + 60_000, now.boot_ms, now.boot))
    assert front.ask(query()) is not None
    assert front.count("disk_hits_total") == 2


def test_answer_of_an_earlier_boot_that_the_set_clock_shows_too_old_is_gone(place: Path) -> None:
    now = Moment.now()
    earlier = Moment(now.wall_ms - 10_000, 0, now.boot ^ 1)
    write_disk(place, {key(): value_of(good(300), earlier)})
    front = front_on(place)
    assert front.ask(query()) is not None
    outlived = Moment(now.wall_ms - (301 + STALE) * 1000, 0, now.boot ^ 1)
    write_disk(place, {key(): value_of(good(300), outlived)})  # as the set clock tells its age
    front.cache.look_at_control(Moment(now.wall_ms + 60_000, now.boot_ms, now.boot))
    assert front.ask(query()) is None
    assert front.cache.stale_answer(key(), 30) is None


def test_wall_clock_that_is_set_does_not_touch_answers_of_this_boot(place: Path) -> None:
    now = Moment.now()
    front = front_on(place)
    front.learn(key(), good())
    front.cache.look_at_control(Moment(now.wall_ms - 86_400_000, now.boot_ms, now.boot))
    assert front.ask(query()) is not None


def test_clock_that_is_slewed_has_nothing_judged_anew(place: Path) -> None:
    now = Moment.now()
    earlier = Moment(now.wall_ms - 10_000, 0, now.boot ^ 1)
    write_disk(place, {key(): value_of(good(300), earlier)})
    front = front_on(place)
    assert front.ask(query()) is not None
    front.cache.look_at_control(Moment(now.wall_ms + 500, now.boot_ms, now.boot))
    assert front.ask(query()) is not None
    assert front.count("disk_hits_total") == 1
