"""Cached answers while no upstream answers, and the mark of an answer that must not be cached."""

from __future__ import annotations

from pathlib import Path

import pytest
from environments import ago, front_on, value_of, write_disk
from messages import (
    AD,
    REPLY,
    address,
    answer_from,
    good,
    key,
    name,
    query,
    record,
    reply,
    soa,
    ttl_of,
)

from fastdns._answer import Limits, failure
from fastdns._clock import Moment
from fastdns._entry import DiskEntry
from fastdns._intake import CHOOSE_ALL
from fastdns._key import disk_key
from fastdns._ring import RECORD_REMOVAL
from fastdns.store.intake import Intake
from fastdns.store.store import Store

RRSIG, NSEC = 46, 47


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


NOT_TO_BE_KEPT = {
    "TTL 0": lambda: answer_from(reply(address(0))),
    "NXDOMAIN without SOA": lambda: answer_from(reply(flags=REPLY | 3)),
    "NODATA without SOA": lambda: answer_from(reply()),
}


@pytest.mark.parametrize("kind", NOT_TO_BE_KEPT)
def test_what_must_not_be_kept_ends_what_memory_holds(place: Path, kind: str) -> None:
    front = front_on(place)
    front.learn(key(), good())
    front.learn(key(), NOT_TO_BE_KEPT[kind]())
    assert front.ask(query()) is None
    assert front.cache.stale_answer(key(), 30) is None


@pytest.mark.parametrize("kind", NOT_TO_BE_KEPT)
@pytest.mark.parametrize("age", [10, 400])
def test_what_must_not_be_kept_ends_what_the_disk_has_before_the_keeper_knows(
    place: Path, kind: str, age: int
) -> None:
    write_disk(place, {key(): value_of(good(300), ago(age))})
    front = front_on(place)
    front.learn(key(), NOT_TO_BE_KEPT[kind]())
    front.learn(key(), failure(key(), 2, None, 5))
    assert front.ask(query()) is None
    assert front.cache.stale_answer(key(), 30) is None


def test_failure_ends_nothing(place: Path) -> None:
    front = front_on(place)
    front.keep(good(300), age_ms=400_000)
    front.learn(key(), failure(key(), 2, None, 0))
    assert front.cache.stale_answer(key(), 30) is not None


def test_removal_is_told_to_the_keeper_once(place: Path) -> None:
    front = front_on(place)
    for _ in range(3):
        front.learn(key(), answer_from(reply(address(0))))
    assert [kind for kind, *_ in front.ring.records(1 << 20)] == [RECORD_REMOVAL]


@pytest.mark.parametrize("last_is_kept", [True, False])
def test_of_an_answer_and_a_removal_the_later_one_counts_on_disk(
    place: Path, *, last_is_kept: bool
) -> None:
    front = front_on(place)
    store = Store.open(place, 1 << 20)
    write(front, store, [good(300)])
    assert store.get(disk_key(key())) is not None
    ended = answer_from(reply(address(0)))
    later = [ended, good(200)] if last_is_kept else [good(200), ended]
    write(front, store, later)
    value = store.get(disk_key(key()))
    assert (value is not None) == last_is_kept
    assert value is None or DiskEntry.parse(value).ttl == 200
    store.close()


def write(front, store, answers):  # type: ignore[no-untyped-def]
    """Have these answers come one after another, and the keeper write them."""
    now = Moment.now()
    for step, answer in enumerate(answers):
        moment = Moment(now.wall_ms + step, now.boot_ms + step, now.boot)
        front.ring.put(key(), answer, 0, moment)
    intake = Intake([front.ring], front.control, 0.0)
    intake.take_in(0.0)
    intake.choose(store, now, CHOOSE_ALL)
    intake.commit(store, now, None, [])


def in_outage(place: Path):  # type: ignore[no-untyped-def]
    front = front_on(place)
    front.group.use([])
    return front


def test_in_an_outage_memory_tells_what_is_stale_at_once(place: Path) -> None:
    front = in_outage(place)
    front.keep(good(300), age_ms=400_000)
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 30
    assert front.missed() == []


def test_in_an_outage_the_disk_tells_what_is_stale_at_once(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(400))})
    front = in_outage(place)
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 30


def test_in_an_outage_one_stale_name_a_second_is_asked_for_all_the_same(place: Path) -> None:
    front = in_outage(place)
    front.keep(good(300), age_ms=400_000)
    for _ in range(50):
        assert front.ask(query()) is not None
    assert 1 <= len(front.refreshed) <= 2


def test_hold_of_an_outage_ends_with_it(place: Path) -> None:
    front = in_outage(place)
    front.keep(good(300), age_ms=400_000)
    front.cache.hold_stale(key(), 30)
    front.group.use([front.known])
    assert front.ask(query()) is None


def test_name_that_has_just_failed_is_held_while_upstreams_are_well(place: Path) -> None:
    front = front_on(place)
    front.keep(good(300), age_ms=400_000)
    front.cache.hold_stale(key(), 60)
    assert front.ask(query()) is not None


def signed(ttl: int = 300) -> bytes:
    """An answer with signatures in answer and authority, and AD set."""
    signature = b"\0\1\5\2" + bytes(12) + b"\0\1" + name("example") + b"sig"
    return reply(
        record(RRSIG, signature, ttl),
        address(ttl),
        authority=(
            soa(ttl, 60),
            record(RRSIG, signature, ttl, owner=name("example")),
            record(NSEC, name("example") + b"\0\1\x40", ttl, owner=name("example")),
        ),
        flags=REPLY | AD,
    )


@pytest.mark.parametrize("age_ms", [10_000, 400_000])
def test_in_an_outage_an_answer_of_another_do_serves_without_its_signatures(
    place: Path, age_ms: int
) -> None:
    front = front_on(place)
    front.keep(
        answer_from(signed(), Limits(0, 86400, 86400, 5, True), of=key(do=True)),
        key(do=True),
        age_ms=age_ms,
    )
    assert front.cache.stale_answer(key(), 30) is None
    answer = front.cache.stale_answer(key(), 30, True)
    assert answer is not None
    message = answer.message
    assert [message[7], message[9], message[11]] == [1, 1, 0]  # the address, the SOA
    assert message[3] & AD == 0
    assert b"sig" not in message


def test_in_an_outage_a_client_that_sets_do_gets_what_is_held_without(place: Path) -> None:
    front = front_on(place)
    front.keep(good(300), age_ms=400_000)
    assert front.cache.stale_answer(key(do=True), 30, True) is not None


def test_in_an_outage_nothing_of_another_type_or_name_serves(place: Path) -> None:
    front = front_on(place)
    front.keep(good(300), age_ms=400_000)
    assert front.cache.stale_answer(key(qtype=28), 30, True) is None
    assert front.cache.stale_answer(key("other.example"), 30, True) is None


def test_prefetch_that_brought_nothing_is_tried_again_but_not_with_each_hit(place: Path) -> None:
    front = front_on(place)
    front.keep(good(300), age_ms=290_000)
    for _ in range(100):
        assert front.ask(query()) is not None
    assert 1 <= len(front.refreshed) <= 2  # two, when a step of the clock lies between
