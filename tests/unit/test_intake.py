"""What the keeper makes of rings: one answer a name, none that a change overtook, hit counts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from messages import key, name
from test_store import earlier, hits, update, value_of

from fastdns._clock import Moment
from fastdns._control import (
    CHANGE_ALL,
    CHANGE_NAME,
    CHANGE_REFRESH,
    CHANGE_UNDER,
    Control,
    change_covers,
)
from fastdns._entry import Entry
from fastdns._ring import Ring
from fastdns.cache.changes import Changes
from fastdns.cache.hits import DECAY_SECONDS, PENDING_LIMIT, RATES_LIMIT, Hits, Rates
from fastdns.cache.intake import Intake
from fastdns.cache.store import Store

START = 1000.0


@pytest.fixture
def control() -> Control:
    return Control.open(None, "/nowhere")


@pytest.fixture
def ring() -> Ring:
    return Ring.open(None, 1 << 20)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "cache", 1 << 20)
    yield opened
    opened.close()


def put(ring: Ring, qname: str, stored: Moment | None = None, epoch: int = 0) -> None:
    answer = Entry.parse(value_of(qname)).answer()
    assert ring.put(key(qname), answer, epoch, stored or Moment.now())


def taken(*rings: Ring) -> Intake:
    intake = Intake(rings, START)
    intake.take(START)
    return intake


# ---- answers


def test_newest_of_two_workers_answers_counts_whichever_ring_it_came_through() -> None:
    one, other = Ring.open(None, 1 << 16), Ring.open(None, 1 << 16)
    put(one, "a.test", earlier(1))
    put(other, "a.test", earlier(5))
    put(one, "b.test", earlier(5))
    put(other, "b.test", earlier(1))
    updates = taken(one, other).answers(Control.open(None, "/nowhere"))
    assert [Entry.parse(one.value).stored_wall_ms for one in updates] == [earlier(1).wall_ms] * 2


def test_ring_has_its_room_again_when_all_is_settled_and_not_before(
    ring: Ring, control: Control
) -> None:
    put(ring, "a.test")
    intake = taken(ring)
    assert len(intake.answers(control)) == 1
    assert ring.used > 0
    assert len(taken(Ring.open(None), ring).answers(control)) == 0  # already read, in this process
    intake.settle()
    assert ring.used == 0
    assert intake.answers(control) == []


def test_hit_counts_alone_do_not_stay_in_the_ring(ring: Ring) -> None:
    assert ring.put_hits_of(key("a.test"), 3)
    intake = taken(ring)
    assert ring.used == 0
    assert intake.hits.of(key("a.test")) == 3


def test_hits_are_counted_once_though_their_ring_waits_for_a_commit(
    ring: Ring, control: Control
) -> None:
    put(ring, "a.test")
    assert ring.put_hits_of(key("a.test"), 3)
    intake = taken(ring)
    intake.take(START + 1)
    assert [one.hits for one in intake.answers(control)] == [3]


def test_ring_more_than_half_full_presses() -> None:
    ring = Ring.open(None, 1 << 14)
    intake = Intake([ring], START)
    for number in range(1000):
        was_full = ring.used > ring.capacity // 2
        assert intake.presses == was_full
        if was_full:
            break
        put(ring, f"n{number}.test")
    assert intake.presses


# ---- changes


def test_answers_asked_for_before_a_change_are_dropped_by_name_and_type(
    ring: Ring, control: Control
) -> None:
    put(ring, "a.test", epoch=0)
    put(ring, "b.test", epoch=0)
    control.post(CHANGE_NAME, name("a.test"), 28)  # AAAA: another entry
    control.post(CHANGE_NAME, name("b.test"), 1)
    assert [one.key for one in taken(ring).answers(control)] == [key("a.test")]


def test_request_for_a_refresh_overtakes_nothing(control: Control) -> None:
    control.post(CHANGE_REFRESH, name("a.test"), 1)
    assert not Changes(control, 0).overtook(key("a.test"), 0)


def test_changes_sorted_by_name_say_the_same_as_one_by_one(control: Control) -> None:
    rng = random.Random(7)
    labels = ["a", "b", "test", "xa"]
    names = [".".join(rng.choices(labels, k=rng.randrange(4))) for _ in range(200)]
    posted = []
    for one in names:
        kind = rng.choice([CHANGE_NAME, CHANGE_UNDER, CHANGE_REFRESH])
        qtype = rng.choice([0, 1, 28])
        change = (kind, qtype, name(one))
        if rng.random() < 0.01:
            change = (CHANGE_ALL, 0, b"")
        posted.append((*change, control.post(change[0], change[2], change[1])))
    for one in names:
        for epoch in range(0, 201, 10):
            expected = any(
                counter > epoch and change_covers(kind, qtype, changed, key(one))
                for kind, qtype, changed, counter in posted
            )
            assert Changes(control, epoch).overtook(key(one), epoch) == expected


# ---- hit counts


def test_counts_are_written_on_top_of_what_the_disk_has(store: Store, control: Control) -> None:
    list(store.apply([update("a.test", hits=10)], Moment.now()))
    ring = Ring.open(None, 1 << 16)
    assert ring.put_hits_of(key("a.test"), 9)
    assert ring.put_hits_of(key("absent.test"), 9)
    intake = taken(ring)
    assert intake.counts(store, 100, only_doubled=True) == []
    assert intake.hits.of(key("absent.test")) == 0  # nowhere to keep it
    (count,) = intake.counts(store, 100, only_doubled=False)
    list(store.apply([count], Moment.now()))
    assert hits(store, "a.test") == 19
    intake.hits.settle(count.key, count.hits)
    assert intake.counts(store, 100, only_doubled=False) == []


def test_count_that_has_not_doubled_is_not_looked_up_again() -> None:
    counted = Hits()
    counted.add(b"a", 3)
    counted.learn(b"a", 10)
    assert counted.doubled(10) == []
    counted.add(b"a", 7)
    assert counted.doubled(10) == [(b"a", 10)]


def test_greatest_counts_come_first() -> None:
    counted = Hits()
    for number in range(100):
        counted.add(b"%d" % number, number)
    assert counted.greatest(3) == [(b"99", 99), (b"98", 98), (b"97", 97)]
    assert counted.doubled(2) == [(b"99", 99), (b"98", 98)]


def test_hits_that_came_while_others_were_written_stay() -> None:
    counted = Hits()
    counted.add(b"a", 3)
    counted.add(b"a", 2)
    counted.settle(b"a", 3)
    assert counted.of(b"a") == 2
    counted.settle(b"a", 2)
    assert len(counted) == 0


def test_counts_that_wait_are_bounded_and_the_least_go() -> None:
    counted = Hits()
    for number in range(PENDING_LIMIT + 1):
        counted.add(b"%d" % number, 1 + (number == 5))
    assert len(counted) <= PENDING_LIMIT
    assert counted.of(b"5") == 2


def test_rate_of_a_steady_name_is_told_from_the_first_minute_on() -> None:
    rates = Rates(START)
    for second in range(5, 300, 5):
        rates.add_all([(b"a", 50), (b"b", 5)], START + second)
        (a, rate_a), (b, rate_b) = rates.busiest(10)
        assert (a, b) == (b"a", b"b")
        assert rate_a == pytest.approx(10, rel=0.05)
        assert rate_b == pytest.approx(1, rel=0.05)


def test_rate_of_a_name_that_nobody_asks_any_more_falls() -> None:
    rates = Rates(START)
    rates.add_all([(b"a", 100)], START + 10)
    rates.add_all([(b"b", 10)], START + 10 + 5 * DECAY_SECONDS)
    assert [key for key, _ in rates.busiest(10)] == [b"b", b"a"]


def test_rates_are_bounded() -> None:
    rates = Rates(START)
    rates.add_all([(b"%d" % n, 1 + (n == 7)) for n in range(3 * RATES_LIMIT)], START + 1)
    assert len(rates.busiest(3 * RATES_LIMIT)) <= RATES_LIMIT
    assert rates.busiest(1)[0][0] == b"7"
