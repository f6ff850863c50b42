"""Memory and disk as one cache: what is found where, what is learned, what commands take away."""

from __future__ import annotations

import os
import resource
import select
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from environments import ago, open_here, value_of, write_disk, write_raw
from messages import (
    AAAA,
    DO,
    EDE,
    RD,
    REPLY,
    SOURCE,
    A,
    Front,
    address,
    answer_from,
    answer_of_size,
    key,
    name,
    opt,
    option,
    query,
    reply,
    soa,
)

from fastdns._answer import Answer, failure
from fastdns._control import CHANGE_ALL, CHANGE_NAME, CHANGE_REFRESH, CHANGE_UNDER
from fastdns._disk import Disk
from fastdns._entry import Entry, Moment
from fastdns._fastpath import FastPath
from fastdns._keys import disk_key
from fastdns._ring import RECORD_ANSWER as ANSWER
from fastdns._ring import RECORD_HITS as HITS
from fastdns._tiers import Tiers
from fastdns.cache.warm import most_used

STALE = 86400
WARM_LOOK_UPS = 32


def ttl_of(response: bytes) -> int:
    """The TTL of the first record, whose owner is a pointer to the question."""
    at = response.index(b"\xc0\x0c", 12) + 6
    return int(struct.unpack_from("!I", response, at)[0])


def good(ttl: int = 300) -> Answer:
    return answer_from(reply(address(ttl)))


def answer_for(qname: str, ttl: int = 300) -> Answer:
    return answer_from(reply(address(ttl), qname=qname), of=key(qname))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


def front_on(
    place: Path, *, stale: int = STALE, warm: bool = True, capacity: int = 1 << 20
) -> Front:
    """A fast path that reads the disk cache of the directory, which lies in memory."""
    front = Front(place, capacity, stale=stale)
    if warm and front.tiers.disk.is_open:
        for _ in range(WARM_LOOK_UPS):
            front.tiers.disk.fetch(key("nothing"))
        assert not front.tiers.disk.is_cold
    return front


def fetch(front: Front, of: bytes | None = None) -> Answer | None:
    """What is fresh on a disk that may have to be waited for."""
    wanted = key() if of is None else of
    ticket = front.tiers.ticket()
    return front.tiers.adopt(wanted, front.tiers.fetch(wanted), ticket)


def in_a_child(do: Callable[[], None]) -> int:
    """The status of a process in which this was done: a SIGBUS ends that one only."""
    child = os.fork()
    if child == 0:
        try:
            do()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


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
    assert front.cache.count == 1


def test_client_that_wants_no_recursion_is_answered_from_disk_too(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    response = front_on(place).ask(query(flags=0))
    assert response is not None
    assert ttl_of(response) == 200


def test_answer_on_disk_at_its_ttl_is_asked_for_again(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(300))})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.uncommon[0].key == key()


def test_answer_of_other_upstreams_is_a_miss_and_no_stale_material(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(10), origin=1)})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.tiers.stale_answer(key(), 30) is None


def test_answer_of_the_very_upstreams_counts(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(10), origin=7)})
    front = front_on(place)
    front.tiers.change_origin(7)
    assert front.ask(query()) is not None


def test_other_upstreams_make_what_memory_holds_a_miss(place: Path) -> None:
    front = front_on(place)
    front.learn(key(), good())
    front.tiers.change_origin(8)
    assert front.ask(query()) is None
    assert front.tiers.stale_answer(key(), 30) is None


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
    assert front.ask(query()) is not None  # memory's has expired, the disk's has not
    front = front_on(place)
    front.keep(good(50), age_ms=100)
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 50


def test_cold_disk_is_left_to_another_thread(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    front = front_on(place, warm=False)
    assert front.tiers.disk.is_cold
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


# ---- stale answers


def test_stale_answer_says_so_and_has_the_ttl_of_stale_answers(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    client = query(NAME_QUERIED := "www.example", A, 1, opt())
    assert front.ask(client) is None
    stale = front.tiers.stale_answer(key(NAME_QUERIED), 30)
    assert stale is not None
    assert ttl_of(stale.message) == 30
    assert stale.edns_options == option(EDE, b"\0\3")
    assert stale.ttl == 0


def test_stale_nxdomain_says_so(place: Path) -> None:
    gone = answer_from(reply(authority=(soa(300, 300),), flags=REPLY | 3))
    write_disk(place, {key(): value_of(gone, ago(4000))})
    front = front_on(place)
    assert front.ask(query()) is None
    stale = front.tiers.stale_answer(key(), 30)
    assert stale is not None
    assert (stale.rcode, stale.edns_options) == (3, option(EDE, b"\0\23"))


def test_nothing_is_stale_beyond_the_configured_time(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(300 + STALE))})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.tiers.stale_answer(key(), 30) is None


def test_stale_answer_is_served_at_once_while_it_is_held(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    assert front.ask(query()) is None
    front.tiers.hold_stale(key(), 30_000)
    response = front.ask(query("www.example", A, 1, opt()))
    assert response is not None
    assert ttl_of(response) == 30
    assert response.endswith(option(EDE, b"\0\3"))
    assert front.count("cache_stale_total") == 1
    front.tiers.hold_stale(key(), 0)
    assert front.ask(query()) is None


def test_held_stale_answer_is_none_to_who_wants_no_recursion(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    assert front.ask(query()) is None
    front.tiers.hold_stale(key(), 30_000)
    response = front.ask(query(flags=0))
    assert response is not None
    assert response[3] & 15 == 5


def test_failure_never_hides_a_stale_answer(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    assert front.ask(query()) is None
    front.learn(key(), failure(key(), 2, None, 5))
    assert front.tiers.stale_answer(key(), 30) is not None


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
        assert front.tiers.stale_answer(key(), 30) is not None


def test_failure_in_memory_does_not_keep_a_good_answer_on_disk(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(4000))})
    front = front_on(place)
    front.keep(failure(key(), 2, None, 5), age_ms=6000)  # of when the disk could not be read
    assert front.ask(query()) is None
    assert front.tiers.stale_answer(key(), 30) is not None


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
    front.tiers.clear_memory()
    assert front.tiers.stale_answer(key(), 30) is not None


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
    assert front.tiers.stale_answer(key(), 30) is not None


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
    front.fastpath = FastPath(front.forward, print, lambda key: False)
    front.keep(good(300), age_ms=280_000)
    assert front.ask(query()) is not None
    assert front.count("prefetches_total") == 0


# ---- learning


def test_what_is_learned_goes_towards_the_disk(place: Path) -> None:
    front = front_on(place)
    front.tiers.change_origin(77)
    front.learn(key(), good(300))
    ((kind, epoch, name_and_type, value),) = front.ring.records(1 << 20)
    entry = Entry.parse(value)
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
        front.tiers.keep(key(qtype=65280), answer, front.tiers.ticket(), SOURCE, 0.0)
    assert front.ask(query(qtype=65280)) is not None


def test_keeper_is_told_once_when_the_ring_is_half_full(place: Path) -> None:
    front = front_on(place)
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    tiers = Tiers(
        front.cache,
        front.pages.counters(0),
        front.tiers.disk,
        front.ring,
        front.control,
        keeper_bell=bell,
    )
    answer = answer_of_size(60_000)
    while front.ring.used <= front.ring.capacity // 2:
        assert not select.select([bell], [], [], 0)[0]
        tiers.keep(key(qtype=65280), answer, tiers.ticket(), SOURCE, 0.0)
    tiers.keep(key(qtype=65280), answer, tiers.ticket(), SOURCE, 0.0)
    assert os.eventfd_read(bell) == 1
    os.close(bell)


def test_hits_are_reported_once_with_their_number(place: Path) -> None:
    front = front_on(place)
    front.keep(good())
    front.keep(answer_for("other"), key("other"))
    for _ in range(3):
        front.ask(query())
    assert front.tiers.report_hits(100)
    assert front.tiers.report_hits(100)
    records = front.ring.records(1 << 20)
    assert [(kind, key_) for kind, _, key_, _ in records] == [(HITS, key())]
    assert struct.unpack("=I", records[0][3]) == (3,)


def test_renewed_answer_keeps_its_unreported_hits(place: Path) -> None:
    front = front_on(place)
    front.keep(good())
    front.ask(query())
    front.keep(good())
    front.ask(query())
    front.tiers.report_hits(100)
    assert [record[3] for record in front.ring.records(1 << 20)] == [struct.pack("=I", 2)]


def test_hits_of_evicted_entries_are_no_trouble(tmp_path: Path) -> None:
    front = Front(tmp_path, 65536)
    for number in range(1000):
        qname = f"n{number}"
        front.keep(answer_for(qname), key(qname))
        front.ask(query(qname))
    assert front.cache.evictions > 100
    while not front.tiers.report_hits(10):
        pass
    reported = {record[2] for record in front.ring.records(1 << 20)}
    assert len(reported) == front.cache.count


# ---- what commands change


@pytest.mark.parametrize(
    ("kind", "where", "qtype", "gone"),
    [
        (CHANGE_NAME, "www.example", 0, {"www.example A", "www.example AAAA"}),
        (CHANGE_NAME, "www.example", AAAA, {"www.example AAAA"}),
        (CHANGE_UNDER, "example", 0, {"www.example A", "www.example AAAA", "example A"}),
        (CHANGE_ALL, "", 0, {"www.example A", "www.example AAAA", "example A", "wwwexample A"}),
    ],
)
def test_change_by_a_command_takes_from_memory_what_it_names(
    place: Path, kind: int, where: str, qtype: int, gone: set[str]
) -> None:
    front = front_on(place)
    held = {
        "www.example A": ("www.example", A),
        "www.example AAAA": ("www.example", AAAA),
        "example A": ("example", A),
        "wwwexample A": ("wwwexample", A),
    }
    for qname, of_type in held.values():
        front.keep(good(), key(qname, of_type))
    front.control.post(kind, name(where) if kind != CHANGE_ALL else b"", qtype)
    missing = {text for text, (qname, t) in held.items() if front.ask(query(qname, t)) is None}
    assert missing == gone
    assert front.count("invalidations_total") == 1


def test_more_changes_than_are_kept_take_everything(place: Path) -> None:
    front = front_on(place)
    front.keep(good())
    for _ in range(1025):
        front.control.post(CHANGE_NAME, name("other"))
    assert front.ask(query()) is None


def test_answer_that_was_under_way_when_a_command_removed_it_is_not_kept(place: Path) -> None:
    front = front_on(place)
    ticket = front.tiers.ticket()
    front.control.post(CHANGE_UNDER, name("example"))
    front.tiers.keep(key(), good(), ticket, SOURCE, 0.0)
    front.tiers.keep(key("other"), answer_for("other"), ticket, SOURCE, 0.0)
    assert front.ask(query()) is None
    assert front.ask(query("other")) is not None
    assert [record[2] for record in front.ring.records(1 << 20)] == [key("other")]


def test_answer_asked_for_after_the_change_is_kept(place: Path) -> None:
    front = front_on(place)
    front.control.post(CHANGE_ALL)
    assert front.ask(query()) is None
    front.learn(key(), good())
    assert front.ask(query()) is not None
    assert [record[1] for record in front.ring.records(1 << 20)] == [1]


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "posted"])
def test_value_that_a_thread_read_before_a_command_removed_it_is_not_adopted(
    place: Path, *, applied: bool
) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place, warm=False)
    ticket = front.tiers.ticket()
    value = front.tiers.fetch(key())
    front.control.post(CHANGE_NAME, name("www.example"))
    if applied:
        front.tiers.look_at_control()
    assert front.tiers.adopt(key(), value, ticket) is None
    assert front.cache.count == 0


def test_value_that_a_thread_read_for_former_upstreams_is_not_adopted(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1), origin=7)})
    front = front_on(place, warm=False)
    ticket = front.tiers.ticket()
    value = front.tiers.fetch(key())
    front.tiers.change_origin(7)
    assert front.tiers.adopt(key(), value, ticket) is None
    assert fetch(front) is not None


def test_answer_of_former_upstreams_that_comes_late_is_not_kept(place: Path) -> None:
    front = front_on(place)
    ticket = front.tiers.ticket()
    front.tiers.change_origin(9)
    front.tiers.keep(key(), good(), ticket, SOURCE, 0.0)
    assert front.ask(query()) is None
    assert front.ring.records(1 << 20) == []


def test_command_that_wants_a_name_renewed_has_all_its_variants_renewed(place: Path) -> None:
    write_disk(place, {key(do=True): value_of(good(), ago(1))})
    front = front_on(place)
    front.keep(good())
    front.control.post(CHANGE_REFRESH, name("www.example"), A)
    front.control.post(CHANGE_REFRESH, name("unknown"), AAAA)
    assert set(front.tiers.look_at_control()) == {key(), key(do=True), key("unknown", AAAA)}
    assert front.ask(query()) is not None  # nothing has been removed


# ---- damage


def damaged(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


def test_damaged_entry_is_a_miss_and_the_keeper_is_told(place: Path) -> None:
    write_disk(place, {key(): damaged(value_of(good(), ago(1)))})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.control.suspect
    assert front.count("disk_damaged_total") == 1


def test_answer_to_another_question_than_its_key_is_damage(place: Path) -> None:
    write_raw(place, {disk_key(key("other")): value_of(good(), ago(1))})
    front = front_on(place)
    assert front.ask(query("other")) is None
    assert front.control.suspect


def test_suspected_disk_is_not_read_until_the_keeper_has_looked(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    front.control.suspect = True
    assert front.ask(query()) is None
    front.control.suspect = False
    front.control.advance_generation()
    assert front.ask(query()) is not None


def test_file_that_somebody_cuts_is_no_crash(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    os.truncate(place / "data.mdb", 100)
    assert front.ask(query()) is None
    assert front.control.suspect


def grown(place: Path) -> Front:
    """A fast path whose file has grown since it was opened."""
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    values = {key(f"n{n}"): value_of(answer_for(f"n{n}"), ago(1)) for n in range(5000)}
    write_disk(place, values)
    assert front.ask(query("n0")) is not None
    os.truncate(place / "data.mdb", (place / "data.mdb").stat().st_size // 2)
    return front


def test_file_that_is_cut_after_it_grew_is_no_crash(place: Path) -> None:
    front = grown(place)

    def ask() -> None:
        for n in range(1, 5000):
            assert front.ask(query(f"n{n}")) is None
        assert front.control.suspect

    assert in_a_child(ask) == 0


@pytest.mark.parametrize("how", ["fetch", "scan", "touch"])
def test_file_that_is_cut_is_no_crash_for_threads_either(place: Path, how: str) -> None:
    disk = grown(place).tiers.disk

    def read() -> None:
        keys = [key(f"n{n}") for n in range(1, 5000)]
        if how == "fetch":
            for wanted in keys:
                with pytest.raises(ValueError, match="truncated"):
                    disk.fetch(wanted)
        elif how == "scan":
            assert disk.scan(b"", 5000, 0) == ([], None)
        else:
            disk.touch([disk_key(wanted) for wanted in keys])

    assert in_a_child(read) == 0


def test_threads_leave_a_suspected_disk_alone_too(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1), hits=3)})
    disk = front_on(place).tiers.disk
    disk.suspend()
    assert disk.fetch(key()) is None
    assert disk.scan(b"", 10, 0) == ([], None)
    disk.touch([disk_key(key())])


def test_file_whose_map_was_enlarged_is_opened_again(place: Path) -> None:
    write_raw(place, {disk_key(key()): value_of(good(), ago(1))}, map_octets=1 << 20)
    front = front_on(place)
    write_raw(place, {b"%d" % n: bytes(1500) for n in range(2000)})
    assert front.ask(query()) is None
    assert not front.control.suspect
    front.tiers.look_at_control()
    assert front.ask(query()) is not None


def test_change_made_in_a_file_that_is_not_yet_announced_counts(
    tmp_path: Path, place: Path
) -> None:
    """The keeper has exchanged the file, and a command was faster than its word of that."""
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    place.rename(tmp_path / "former")
    place.mkdir()
    write_disk(place, {})
    front.control.post(CHANGE_NAME, name("www.example"))
    assert front.ask(query()) is None
    front.control.advance_generation()
    assert front.ask(query()) is None


def test_thread_that_finds_the_map_enlarged_has_the_file_opened_again(place: Path) -> None:
    write_raw(place, {disk_key(key()): value_of(good(), ago(1))}, map_octets=1 << 20)
    front = front_on(place, warm=False)
    write_raw(place, {b"%d" % n: bytes(1500) for n in range(2000)})
    assert fetch(front) is None
    front.tiers.look_at_control()
    assert fetch(front) is not None


def test_reader_that_was_given_up_for_dead_reads_again(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    with open_here(place):  # at its end LMDB clears what this process has in lock.mdb
        pass
    assert front.ask(query()) is None
    front.control.advance_generation()  # the keeper finds nothing wrong
    front.control.suspect = False
    assert front.ask(query()) is not None
    assert not front.control.suspect


def test_reader_is_where_writers_look_for_it_when_the_lock_file_is_another(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    (place / "lock.mdb").unlink()
    write_disk(place, {})
    front.control.advance_generation()
    assert front.ask(query()) is not None
    us = os.getpid()

    def look() -> None:
        with open_here(place) as environment:
            assert str(us) in environment.readers()

    assert in_a_child(look) == 0


def test_disk_that_could_not_be_opened_is_tried_again(place: Path) -> None:
    front = Front(place)
    write_disk(place, {key(): value_of(good(), ago(1))})
    front.tiers.look_at_control()
    assert front.tiers.disk.is_open


@pytest.mark.parametrize("octets", [0, 100, 8192])
def test_file_that_is_cut_already_is_not_opened(place: Path, octets: int) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    os.truncate(place / "data.mdb", octets)
    assert not Front(place).tiers.disk.is_open


def test_file_that_is_no_database_is_not_opened(place: Path) -> None:
    (place / "data.mdb").write_bytes(bytes(65536))
    (place / "lock.mdb").write_bytes(bytes(8192))
    assert not Front(place).tiers.disk.is_open


def test_reading_creates_no_file(place: Path) -> None:
    with pytest.raises(OSError, match=r"data\.mdb"):
        Disk(place).open()
    assert [path.name for path in place.iterdir()] == []


def test_new_file_in_its_place_is_read_at_the_next_generation(tmp_path: Path, place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(1))})
    front = front_on(place)
    place.rename(tmp_path / "aside")
    place.mkdir()
    write_disk(place, {key("other"): value_of(answer_for("other"), ago(1))})
    front.control.advance_generation()
    assert front.ask(query("other")) is not None
    assert front.ask(query()) is None


# ---- warming up


def test_most_used_are_chosen_most_used_first(place: Path) -> None:
    hits = {f"n{number}": number for number in range(50)}
    write_disk(place, {key(n): value_of(answer_for(n), ago(1), hits=h) for n, h in hits.items()})
    front = front_on(place)
    chosen = most_used(front.tiers.disk, 5)
    assert chosen == [disk_key(key(f"n{number}")) for number in (49, 48, 47, 46, 45)]


def test_what_nobody_has_asked_for_again_is_not_brought_into_memory(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1), hits=0)})
    assert most_used(front_on(place).tiers.disk, 5) == []


def test_choosing_goes_through_more_entries_than_one_look_takes(place: Path) -> None:
    count = 3000
    write_disk(
        place,
        {key(f"n{n}"): value_of(answer_for(f"n{n}"), ago(1), hits=1 + n % 7) for n in range(count)},
    )
    assert len(most_used(front_on(place).tiers.disk, 10_000)) == count


def test_warmed_answers_are_memory_hits(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100), hits=5)})
    front = front_on(place)
    assert front.tiers.warm(most_used(front.tiers.disk, 10))
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 200
    assert (front.count("cache_hits_total"), front.count("warmed_total")) == (1, 1)


def test_key_that_is_none_does_not_end_the_warming_up(place: Path) -> None:
    value = value_of(good(), ago(1), hits=5)
    write_raw(place, {b"no key": value, disk_key(key()): value})
    front = front_on(place)
    chosen = most_used(front.tiers.disk, 10)
    assert b"no key" in chosen
    front.tiers.warm(chosen)
    assert front.count("warmed_total") == 1
    assert front.control.suspect
    front.control.advance_generation()
    front.control.suspect = False
    front.tiers.clear_memory()
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
    front.tiers.disk.touch([b"no key", *chosen])
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
    front.tiers.warm(chosen)
    assert front.count("warmed_total") == 200
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_majflt == before


def test_do_and_cd_are_answered_each_from_its_own_entry(place: Path) -> None:
    write_disk(place, {key(do=True): value_of(good(), ago(1))})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.ask(query("www.example", A, 1, opt(ttl=DO), flags=RD)) is not None
