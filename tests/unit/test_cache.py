"""Memory and disk as one cache: where answers are found and stored, and what a start warms up."""

from __future__ import annotations

import os
import resource
import struct
from pathlib import Path

from environments import ago, fetch, front_on, value_of, write_disk, write_raw
from messages import (
    DO,
    RD,
    SOURCE,
    A,
    Front,
    address,
    answer_for,
    answer_of_size,
    good,
    key,
    opt,
    query,
    reply,
    ttl_of,
)
from scenes import readable

from fastdns._answer import failure
from fastdns._cache import Cache
from fastdns._control import CHANGE_ALL
from fastdns._entry import DiskEntry
from fastdns._key import disk_key
from fastdns._ring import RECORD_ANSWER as ANSWER
from fastdns._ring import RECORD_HITS as HITS
from fastdns.store.warm import most_used

# ---- looking up


def test_what_the_disk_holds_is_answered_with_the_ttl_that_is_left(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    front = front_on(place)
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 200
    assert front.count("disk_hits_total") == 1


def test_disk_hit_is_a_memory_hit_the_next_time(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    front = front_on(place)
    assert front.ask(query()) == front.ask(query())
    assert (front.count("disk_hits_total"), front.count("cache_hits_total")) == (1, 1)
    assert front.memory.count == 1


def test_client_that_wants_no_recursion_is_answered_from_disk_too(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    response = front_on(place).ask(query(flags=0))
    assert response is not None
    assert ttl_of(response) == 200


def test_answer_on_disk_at_its_ttl_is_asked_for_again(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(300))})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.missed() == [key()]


def test_answer_of_other_upstreams_on_disk_is_a_miss_and_good_for_a_stale_answer(
    place: Path,
) -> None:
    write_disk(place, {key(): value_of(good(300), ago(10), origin=1)})
    front = front_on(place)
    assert front.ask(query()) is None
    assert ttl_of(front.cache.stale_answer(key(), 30).message) == 30
    assert front.ask(query()) is None  # nor is it fresh now that memory has it


def test_answer_of_the_very_upstreams_counts(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(10), origin=7)})
    front = front_on(place)
    front.cache.set_group(0, 7)
    assert front.ask(query()) is not None


def test_other_upstreams_make_what_memory_holds_a_miss_and_stale_material(place: Path) -> None:
    front = front_on(place)
    front.learn(key(), good())
    front.cache.set_group(0, 8)
    assert front.ask(query()) is None
    assert ttl_of(front.cache.stale_answer(key(), 30).message) == 30
    front.cache.set_group(0, 0)
    assert front.ask(query()) is not None  # the former ones are back


def test_answer_larger_than_memory_is_served_from_disk(place: Path) -> None:
    large = answer_of_size(60_000)
    write_disk(place, {key(qtype=65280): value_of(large, ago(50))})
    small = front_on(place, capacity=65536)
    response = small.ask(query(qtype=65280))
    assert response is not None
    assert ttl_of(response) == 250


def test_newer_answer_in_memory_is_not_replaced_by_an_older_on_disk(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(200))})
    front = front_on(place, warm=True)
    front.keep(good(20), age_ms=20_500)
    assert front.ask(query()) is None  # it has expired; what it has replaced does not come back
    front = front_on(place)
    front.keep(good(50), age_ms=100)
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 50


def test_cold_disk_is_left_to_another_thread(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    front = front_on(place, warm=False)
    assert front.cache.disk.is_cold
    assert front.ask(query()) is None
    answer = fetch(front)
    assert answer is not None
    assert ttl_of(answer.message) == 200
    assert front.count("disk_cold_total") == 1


def test_miss_on_a_cold_disk_is_counted_as_one(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(400))})
    front = front_on(place, warm=False)
    assert fetch(front, key("nothing")) is None
    assert fetch(front) is None  # it is stale
    assert (front.count("disk_hits_total"), front.count("disk_misses_total")) == (0, 2)


def test_disk_is_warm_after_a_row_of_look_ups_that_did_not_wait(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    front = front_on(place)
    assert front.ask(query()) is not None


def test_do_and_cd_are_answered_each_from_its_own_entry(place: Path) -> None:
    write_disk(place, {key(do=True): value_of(good(), ago(1))})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.ask(query("www.example", A, 1, opt(ttl=DO), flags=RD)) is not None


# ---- learning


def test_what_is_learned_goes_towards_the_disk(place: Path) -> None:
    front = front_on(place)
    front.cache.set_group(0, 77)
    front.learn(key(), good(300))
    ((kind, epoch, name_and_type, value),) = front.ring.records(1 << 20)
    entry = DiskEntry.parse(value)
    assert (kind, epoch, name_and_type) == (ANSWER, 0, key())
    assert (entry.ttl, entry.origin, entry.rtt_us) == (300, 77, 10_000)
    assert entry.upstream == "192.0.2.53:53"
    assert entry.message == reply(address(300))


def test_failures_stay_in_memory(place: Path) -> None:
    front = front_on(place)
    front.learn(key(), failure(key(), 2, None, 5))
    assert front.ring.records(1 << 20) == []


def test_full_ring_costs_the_disk_an_answer_and_nobody_else(place: Path) -> None:
    front = front_on(place)
    answer = answer_of_size(60_000)
    while front.count("ring_shed_total") == 0:
        front.cache.keep(key(qtype=65280), answer, front.cache.ticket(), SOURCE, 0.0)
    assert front.ask(query(qtype=65280)) is not None


def test_keeper_is_told_once_when_the_ring_is_half_full(place: Path) -> None:
    front = front_on(place)
    wakeup = os.eventfd(0, os.EFD_NONBLOCK)
    cache = Cache(
        front.memory,
        front.pages.counters(0),
        front.cache.disk,
        front.ring,
        front.control,
        keeper_wakeup=wakeup,
    )
    answer = answer_of_size(60_000)
    while front.ring.used <= front.ring.capacity // 2:
        assert not readable(0, wakeup)
        cache.keep(key(qtype=65280), answer, cache.ticket(), SOURCE, 0.0)
    cache.keep(key(qtype=65280), answer, cache.ticket(), SOURCE, 0.0)
    assert os.eventfd_read(wakeup) == 1
    os.close(wakeup)


def test_hits_are_reported_once_with_their_number(place: Path) -> None:
    front = front_on(place)
    front.keep(good())
    front.keep(answer_for("other"), key("other"))
    for _ in range(3):
        front.ask(query())
    assert front.cache.report_hits(100)
    assert front.cache.report_hits(100)
    records = front.ring.records(1 << 20)
    assert [(kind, key_) for kind, _, key_, _ in records] == [(HITS, key())]
    assert struct.unpack("=I", records[0][3]) == (3,)


def test_renewed_answer_keeps_its_unreported_hits(place: Path) -> None:
    front = front_on(place)
    front.keep(good())
    front.ask(query())
    front.keep(good())
    front.ask(query())
    front.cache.report_hits(100)
    assert [record[3] for record in front.ring.records(1 << 20)] == [struct.pack("=I", 2)]


def test_hits_of_evicted_entries_are_no_trouble(tmp_path: Path) -> None:
    front = Front(tmp_path, 65536)
    for number in range(1000):
        qname = f"n{number}"
        front.keep(answer_for(qname), key(qname))
        front.ask(query(qname))
    assert front.memory.evictions > 100
    while not front.cache.report_hits(10):
        pass
    reported = {record[2] for record in front.ring.records(1 << 20)}
    assert len(reported) == front.memory.count


# ---- warming up


def test_most_used_are_chosen_most_used_first(place: Path) -> None:
    hits = {f"n{number}": number for number in range(50)}
    write_disk(place, {key(n): value_of(answer_for(n), ago(1), hits=h) for n, h in hits.items()})
    front = front_on(place)
    chosen = most_used(front.cache.disk, 5)
    assert chosen == [disk_key(key(f"n{number}")) for number in (49, 48, 47, 46, 45)]


def test_what_nobody_has_asked_for_again_is_not_brought_into_memory(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1), hits=0)})
    assert most_used(front_on(place).cache.disk, 5) == []


def test_choosing_goes_through_more_entries_than_one_look_takes(place: Path) -> None:
    count = 3000
    write_disk(
        place,
        {key(f"n{n}"): value_of(answer_for(f"n{n}"), ago(1), hits=1 + n % 7) for n in range(count)},
    )
    assert len(most_used(front_on(place).cache.disk, 10_000)) == count


def test_warmed_answers_are_memory_hits(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100), hits=5)})
    front = front_on(place)
    assert front.cache.warm(most_used(front.cache.disk, 10))
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 200
    assert (front.count("cache_hits_total"), front.count("warmed_total")) == (1, 1)


def test_key_that_is_none_does_not_end_the_warming_up(place: Path) -> None:
    value = value_of(good(), ago(1), hits=5)
    write_raw(place, {b"no key": value, disk_key(key()): value})
    front = front_on(place)
    chosen = most_used(front.cache.disk, 10)
    assert b"no key" in chosen
    front.cache.warm(chosen)
    assert front.count("warmed_total") == 1
    assert front.count("disk_damaged_total") == 1
    front.control.post(CHANGE_ALL)  # in memory, and not on disk
    assert front.ask(query()) is not None
    assert not front.control.suspect


def test_what_was_touched_does_not_have_to_be_waited_for(place: Path) -> None:
    names = [f"n{n}" for n in range(200)]
    values = {n: value_of(answer_of_size(3000, qname=n), ago(1), hits=1) for n in names}
    write_disk(place, {key(n, 65280): value for n, value in values.items()})
    with (place / "data.mdb").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    front = front_on(place)
    chosen = [disk_key(key(n, 65280)) for n in names]
    front.cache.disk.touch([b"no key", *chosen])
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
    front.cache.warm(chosen)
    assert front.count("warmed_total") == 200
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_majflt == before
