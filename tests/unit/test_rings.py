"""An answer that one worker has learned is known to all, before the keeper has written it."""

from __future__ import annotations

import itertools
import os
import random
import struct
import time
from pathlib import Path

import pytest
from environments import STALE, WARM_LOOK_UPS, ago, front_on, value_of, write_disk
from messages import (
    Front,
    address,
    answer_from,
    answer_of_size,
    good,
    key,
    query,
    reply,
    ttl_of,
)
from test_ring import HEAD_PAGE, at_work, child, drained, number_key, page

from fastdns._answer import Answer
from fastdns._clock import Moment
from fastdns._control import CHANGE_ALL
from fastdns._entry import DiskEntry
from fastdns._ring import Ring
from fastdns._rings import Rings

SMALL = 1 << 14
NOW = Moment(1_760_000_000_000, 77_000, 5)
NOT_KEPT = answer_from(reply(address(0)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ring.0"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


@pytest.fixture
def one(place: Path) -> Front:
    return Front(place, stale=STALE)


@pytest.fixture
def other(place: Path, one: Front) -> Front:
    """Another worker of the same daemon."""
    return Front(place, stale=STALE, beside=one)


def put(ring: Ring, under: bytes, answer: Answer, age: float = 0.0, epoch: int = 0) -> None:
    assert ring.put(under, answer, epoch, ago(age))


# ---- a ring, looked up


def test_newest_answer_of_a_key_is_found_while_it_is_in_the_ring() -> None:
    ring = Ring.open(None, SMALL)
    for number in range(20):
        put(ring, number_key(number % 10), good(100 + number), epoch=number)
    rings = Rings([ring])
    for number in range(10):
        epoch, value = rings.look(number_key(number)) or (0, b"")
        assert (epoch, DiskEntry.parse(value).ttl) == (10 + number, 110 + number)
    assert rings.look(number_key(10)) is None
    drained(ring)
    assert rings.look(number_key(3)) is None


def test_newest_of_several_rings_wins_wherever_it_stands() -> None:
    rings = [Ring.open(None, SMALL) for _ in range(3)]
    for ages in itertools.permutations((10, 20, 30)):
        for ring, age in zip(rings, ages, strict=True):
            put(ring, key(), good(age), age)
        _, value = Rings(rings).look(key()) or (0, b"")
        assert DiskEntry.parse(value).ttl == 10


def test_ring_that_was_left_by_a_former_run_is_looked_up_too(path: Path) -> None:
    ring = Ring.open(path, SMALL)
    for number in range(30):
        put(ring, number_key(number), answer_of_size(200), epoch=number)
    again = Rings([Ring.open(path, SMALL)])
    for number in range(30):
        epoch, _ = again.look(number_key(number)) or (-1, b"")
        assert epoch == number


def test_ring_that_went_round_many_times_gives_what_it_has_and_nothing_else() -> None:
    rng = random.Random(8)
    ring = Ring.open(None, SMALL)
    rings = Rings([ring])
    kept: dict[int, int] = {}
    for number in range(20_000):
        name = rng.randrange(300)
        if not ring.put(number_key(name), answer_of_size(rng.randrange(60, 900)), number, NOW):
            drained(ring)
            kept.clear()
            continue
        kept[name] = number
        asked = rng.randrange(300)
        found = rings.look(number_key(asked))
        assert found is None or kept[asked] == found[0]
        assert rings.look(number_key(name)) is not None


def test_more_names_than_the_index_has_room_for_cost_the_oldest_and_no_wrong_answer() -> None:
    ring = Ring.open(None, 1 << 18)
    answer = answer_of_size(60)
    count = 0
    while ring.put(number_key(count), answer, count, NOW):
        count += 1
    rings = Rings([ring])
    found = [rings.look(number_key(number)) for number in range(count)]
    assert all(one is None or one[0] == number for number, one in enumerate(found))
    assert sum(one is not None for one in found) > count * 9 // 10


@pytest.mark.parametrize("seed", range(3))
def test_damage_is_a_miss_and_no_more(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    ring = Ring.open(path, SMALL)
    rings = Rings([ring])
    keys = [number_key(number) for number in range(50)]
    answers = [answer_of_size(octets) for octets in range(60, 300)]
    number = 0
    with page(path) as memory:
        for _ in range(3000):
            while ring.put(keys[number % 50], rng.choice(answers), 0, NOW):
                number += 1
            for _damage in range(3):
                memory[rng.randrange(64, HEAD_PAGE + SMALL)] = rng.randrange(256)
            for asked in keys:
                found = rings.look(asked)
                assert found is None or DiskEntry.parse(found[1])
            memory[64:72] = memory[128:136] = struct.pack("=Q", 8 * rng.randrange(1 << 40))


def test_record_that_is_written_over_while_it_is_copied_is_never_believed(path: Path) -> None:
    """A producer and a consumer at full speed beside who looks up."""
    answers = [answer_of_size(size) for size in (100, 3000, 9000, 61)]
    ring = Ring.open(path, 1 << 16)
    rings = Rings([ring])

    def produce() -> None:
        for number in itertools.count():
            while not ring.put(number_key(number % 100), answers[number % 4], number, NOW):
                drained(ring)

    found = 0
    with child(produce) as pid:
        for asked in itertools.count():
            known = rings.look(number_key(asked % 100))
            if known is not None:
                epoch, value = known
                assert epoch % 100 == asked % 100
                assert DiskEntry.parse(value).message == answers[epoch % 4].message
                found += 1
            if found == 20_000:
                break
            assert asked % 1000 or at_work(pid)
            if not asked % 50:
                os.sched_yield()


# ---- two workers


def test_what_one_worker_has_learned_the_other_answers_without_asking(
    one: Front, other: Front
) -> None:
    one.learn(key(), good(300))
    assert other.ask(query()) is not None
    assert other.ask(query()) is not None
    assert other.missed() == []
    assert (other.count("disk_hits_total"), other.count("cache_hits_total")) == (1, 1)
    assert other.ring.used == 0  # it is on its way to the disk already


def test_what_another_worker_has_learned_keeps_its_age(one: Front, other: Front) -> None:
    put(one.ring, key(), good(300), 100)
    response = other.ask(query())
    assert response is not None
    assert ttl_of(response) in (199, 200)


def test_what_memory_had_no_room_for_is_found_in_the_workers_own_ring(place: Path) -> None:
    front = Front(place, 1 << 16)
    for number in range(600):
        front.learn(number_key(number), answer_of_size(200))
    assert front.memory.count < 300
    front.learn(key(), good(300))
    for number in range(600):
        front.learn(number_key(600 + number), answer_of_size(200))
    assert front.memory.look_up(key(), Moment.now().boot_ms) is None
    assert front.ask(query()) is not None


def test_newer_answer_of_another_worker_takes_the_place_of_an_older_one(
    one: Front, other: Front
) -> None:
    put(other.ring, key(), good(50), 100)
    assert other.ask(query()) is None  # its TTL is over
    put(one.ring, key(), good(300), 10)
    response = other.ask(query())
    assert response is not None
    assert ttl_of(response) in (289, 290)


def test_older_answer_in_a_ring_does_not_replace_a_newer_one_on_disk(
    place: Path, one: Front
) -> None:
    write_disk(place, {key(): value_of(good(300), ago(10))})
    other = Front(place, stale=STALE, beside=one)
    for _ in range(32):
        other.cache.disk.fetch(key("nothing"))
    put(one.ring, key(), good(60), 100)
    response = other.ask(query())
    assert response is not None
    assert ttl_of(response) in (289, 290)


def test_what_a_command_has_removed_is_not_found_in_a_ring(one: Front, other: Front) -> None:
    one.learn(key(), good(300))
    one.control.post(CHANGE_ALL)
    assert other.ask(query()) is None
    assert other.missed() == [key()]


def test_what_was_learned_after_the_command_is_found(one: Front, other: Front) -> None:
    one.control.post(CHANGE_ALL)
    one.cache.look_at_control()
    one.learn(key(), good(300))
    assert other.ask(query()) is not None


def test_what_another_group_of_upstreams_said_is_asked_again(one: Front, other: Front) -> None:
    one.learn(key(), good(300))
    other.cache.set_group(0, 99)
    assert other.ask(query()) is None
    assert ttl_of(other.cache.stale_answer(key(), 30).message) == 30


@pytest.mark.parametrize("age", [10.0, 400.0])
def test_what_one_worker_may_not_keep_ends_what_the_other_finds_on_disk(
    place: Path, one: Front, age: float
) -> None:
    write_disk(place, {key(): value_of(good(300), ago(age))})
    other = Front(place, stale=STALE, beside=one)
    for _ in range(32):
        other.cache.disk.fetch(key("nothing"))
    one.learn(key(), NOT_KEPT)
    assert other.ask(query()) is None
    assert other.cache.stale_answer(key(), 30) is None


def test_what_was_learned_after_an_answer_that_may_not_be_kept_counts(
    one: Front, other: Front
) -> None:
    put(other.ring, key(), NOT_KEPT, 20)
    put(one.ring, key(), good(300), 10)
    assert other.ask(query()) is not None


@pytest.mark.parametrize("do", [False, True])
def test_in_an_outage_another_workers_answer_is_told_past_its_ttl(
    one: Front, other: Front, *, do: bool
) -> None:
    put(one.ring, key(do=do), good(60), 100)
    other.group.use([])
    response = other.ask(query())
    assert response is not None
    assert ttl_of(response) == 30


def test_answer_beside_a_cold_disk_needs_no_thread(place: Path, one: Front) -> None:
    write_disk(place, {key("elsewhere"): value_of(good(300), ago(10))})
    other = Front(place, stale=STALE, beside=one)
    assert other.cache.disk.is_cold
    one.learn(key(), good(300))
    assert other.ask(query()) is not None
    assert other.cold == []


def test_what_a_newer_answer_has_replaced_is_no_other_worker_s_when_that_has_expired(
    place: Path,
) -> None:
    write_disk(place, {key(): value_of(good(300), ago(50))})
    one = front_on(place, warm=True)
    other = Front(place, stale=STALE, beside=one)
    for _ in range(WARM_LOOK_UPS):
        other.cache.disk.fetch(key("nothing"))
    one.learn(key(), good(1))
    response = other.ask(query())
    assert response is not None
    assert ttl_of(response) <= 1
    began = time.monotonic()
    while (told := other.ask(query())) is not None:
        assert ttl_of(told) <= 1
        assert time.monotonic() < began + 5
        time.sleep(0.05)  # until its TTL is over
