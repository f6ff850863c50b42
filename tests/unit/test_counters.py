"""The pages of counters that the processes of a daemon share."""

from __future__ import annotations

import errno
import math
import os
import re
import resource
import signal
import struct
import time
from pathlib import Path

import pytest

from fastdns._counters import COUNTERS, LATENCY_BOUNDS, Counters, UpstreamState
from fastdns.counters import (
    WORKER_SLOT,
    AnotherVersion,
    Pages,
    is_of_another_version,
    quantile,
    wait_until_taken,
)
from fastdns.policy.block_lists.hits import ListHits

UPSTREAMS_AT = 8192 + 8 * 416 + 2 * 96 * 8 + 64  # in the file: the table of the first slot
CONTRACT = Path(__file__).parents[2] / "ext/fastdns/_counters.pxd"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters"


def test_new_pages_count_from_zero_and_name_every_counter(path: Path) -> None:
    totals = Pages.create(path, 2, 0.0).totals()
    assert totals == dict.fromkeys((name for name, *_ in COUNTERS), 0)


def test_totals_are_the_sum_over_all_processes(path: Path) -> None:
    pages = Pages.create(path, 3, 0.0)
    for slot, amount in enumerate((1, 20, 300)):
        pages.counters(slot).add("queries_udp_total", amount)
    assert pages.totals()["queries_udp_total"] == 321


def test_each_counter_has_a_place_of_its_own(path: Path) -> None:
    pages = Pages.create(path, 1, 0.0)
    counters = pages.counters(0)
    names = [name for name, *_ in COUNTERS]
    for number, name in enumerate(names, start=1):
        counters.add(name, number)
    assert list(pages.totals().items()) == list(zip(names, range(1, len(names) + 1), strict=True))


def test_compiled_code_knows_each_counter_by_its_name_and_place() -> None:
    listed = re.search(r"QUERIES_UDP = 0\n.*?COUNTER_COUNT", CONTRACT.read_text(), re.S)[0]
    names = re.findall(r"^ *([A-Z_]+)", listed, re.M)
    assert names == [
        *(name.removesuffix("_total").upper() for name, *_ in COUNTERS),
        "COUNTER_COUNT",
    ]


def test_total_is_that_of_one_counter_over_all_processes(path: Path) -> None:
    pages = Pages.create(path, 2, 0.0)
    for slot in range(2):
        pages.counters(slot).add("disk_hits_total", 4)
        pages.counters(slot).add("keeper_restarts_total", 9)
    assert (pages.total("disk_hits_total"), pages.total("keeper_restarts_total")) == (8, 18)
    with pytest.raises(KeyError):
        pages.total("disk_hit_total")


def test_gauge_shows_what_was_set_last(path: Path) -> None:
    pages = Pages.create(path, 1, 0.0)
    counters = pages.counters(0)
    counters.set("in_flight", 9)
    counters.set("in_flight", 4)
    assert pages.totals()["in_flight"] == 4


def test_reader_sees_what_the_writer_counts_after_it_attached(path: Path) -> None:
    counters = Pages.create(path, 1, 0.0).counters(0)
    reader = Pages.attach(path)
    counters.add("cache_hits_total")
    assert reader.totals()["cache_hits_total"] == 1


def test_forked_process_counts_in_the_same_pages(path: Path) -> None:
    pages = Pages.create(path, 1, 0.0)
    child = os.fork()
    if child == 0:
        pages.counters(0).add("cache_hits_total", 5)
        os._exit(0)
    os.waitpid(child, 0)
    assert pages.totals()["cache_hits_total"] == 5


def test_reader_learns_who_wrote_the_pages_and_since_when(path: Path) -> None:
    Pages.create(path, 2, 1234.5)
    reader = Pages.attach(path)
    assert (reader.pid, reader.started_at, reader.slots) == (os.getpid(), 1234.5, 2)


def test_reader_cannot_write(path: Path) -> None:
    Pages.create(path, 1, 0.0)
    reader = Pages.attach(path)
    with pytest.raises((BufferError, ValueError)):
        reader.counters(0)


def test_pages_are_readable_for_everybody_and_writable_for_their_owner(path: Path) -> None:
    Pages.create(path, 1, 0.0)
    assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_new_pages_take_the_place_of_old_ones_whose_readers_go_on(path: Path) -> None:
    Pages.create(path, 1, 0.0).counters(0).add("cache_hits_total", 7)
    reader = Pages.attach(path)
    Pages.create(path, 1, 1.0)
    assert reader.totals()["cache_hits_total"] == 7
    assert Pages.attach(path).totals()["cache_hits_total"] == 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("slot", [-1, 2, 1 << 30])
def test_slot_that_does_not_exist_is_refused(path: Path, slot: int) -> None:
    pages = Pages.create(path, 2, 0.0)
    with pytest.raises(IndexError):
        pages.counters(slot)


def test_counter_that_does_not_exist_is_refused(path: Path) -> None:
    counters: Counters = Pages.create(path, 1, 0.0).counters(0)
    with pytest.raises(KeyError):
        counters.add("cache_hit_total")
    with pytest.raises(KeyError):
        counters.set("cache_hit_total", 1)


def test_absent_file_is_an_os_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Pages.attach(path)


@pytest.mark.parametrize("octets", [0, 1, 31])
def test_file_too_short_for_a_page_is_refused(path: Path, octets: int) -> None:
    path.write_bytes(bytes(octets))
    with pytest.raises(ValueError, match="not a counters file of fastdns"):
        Pages.attach(path)


@pytest.mark.parametrize(
    ("offset", "octets"),
    [
        (0, b"fastdnS\0"),
        (12, struct.pack("=I", 2)),  # more slots than the file has room for
        (12, struct.pack("=I", 0xFFFFFFFF)),
    ],
)
def test_page_that_is_none_is_refused(path: Path, offset: int, octets: bytes) -> None:
    Pages.create(path, 1, 0.0)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(octets)
    with pytest.raises(ValueError, match=r"not a counters file|truncated"):
        Pages.attach(path)
    assert not is_of_another_version(path)


@pytest.mark.parametrize("version", [5, 7, 0xFFFFFFFF])
@pytest.mark.parametrize("octets", [4096, 3 * 8192])
def test_page_of_another_version_is_told_from_a_damaged_one(
    path: Path, version: int, octets: int
) -> None:
    path.write_bytes(struct.pack("=8sI", b"fastdns\0", version).ljust(octets, b"\0"))
    with pytest.raises(AnotherVersion, match="another version"):
        Pages.attach(path)
    assert is_of_another_version(path)
    Pages.create(path, 1, 0.0)
    assert not is_of_another_version(path)


def test_file_cut_short_is_refused(path: Path) -> None:
    Pages.create(path, 3, 0.0)
    os.truncate(path, 8192 * 3)
    with pytest.raises(ValueError, match="truncated"):
        Pages.attach(path)


def test_symbolic_link_in_the_place_of_the_new_file_is_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    path.with_name("counters.new").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        Pages.create(path, 1, 0.0)
    assert victim.read_bytes() == b"precious"


def test_file_that_finds_no_room_leaves_nothing_behind(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            Pages.create(path, 2, 0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(path.parent.iterdir()) == []


def test_pages_without_a_file_are_shared_with_children_and_lie_nowhere(path: Path) -> None:
    pages = Pages.create(None, 2, 12.5)
    child = os.fork()
    if child == 0:
        pages.counters(1).add("cache_hits_total", 5)
        pages.counters(1).observe_miss(0.25)
        os._exit(0)
    os.waitpid(child, 0)
    assert pages.total("cache_hits_total") == 5
    assert sum(pages.latency()[1]) == 1
    assert (pages.pid, pages.started_at) == (os.getpid(), 12.5)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("seconds", [1.1e-6, 3.7e-6, 42e-6, 999e-6, 1e-3, 0.0123, 0.25, 1.0, 7.9])
def test_latency_falls_into_a_bucket_at_most_a_quarter_wider_than_its_start(seconds: float) -> None:
    pages = Pages.create(None, 1, 0.0)
    pages.counters(0).observe_miss(seconds)
    bucket = pages.latency()[1].index(1)
    start, end = LATENCY_BOUNDS[bucket - 1] if bucket else 1.024e-6, LATENCY_BOUNDS[bucket]
    assert start <= seconds < end <= start * 1.25 + 1e-12


def test_each_boundary_begins_the_next_bucket() -> None:
    pages = Pages.create(None, 1, 0.0)
    counters = pages.counters(0)
    for end in LATENCY_BOUNDS:
        counters.observe_miss((round(end * 1e9) - 1) / 1e9 + 1e-10)
        counters.observe_hit((round(end * 1e9)) / 1e9 + 1e-10)
    hits, misses = pages.latency()
    assert misses == [1] * len(LATENCY_BOUNDS)
    assert hits == [0] + [1] * (len(LATENCY_BOUNDS) - 2) + [2]


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (-1.0, 0), (math.nan, 0), (1e-9, 0), (17.2, 95), (1e6, 95), (math.inf, 95)],
)
def test_latency_out_of_range_counts_in_the_outermost_bucket(seconds: float, bucket: int) -> None:
    pages = Pages.create(None, 1, 0.0)
    pages.counters(0).observe_miss(seconds)
    assert pages.latency()[1].index(1) == bucket
    assert sum(pages.latency()[1]) == 1


def test_latencies_of_all_processes_are_added_and_hits_are_apart_from_misses() -> None:
    pages = Pages.create(None, 3, 0.0)
    for slot in range(3):
        pages.counters(slot).observe_hit(5e-6, 10)
        pages.counters(slot).observe_miss(0.02)
    hits, misses = pages.latency()
    assert (sum(hits), max(hits)) == (30, 30)
    assert (sum(misses), max(misses)) == (3, 3)
    assert pages.totals() == dict.fromkeys((name for name, *_ in COUNTERS), 0)
    assert pages.upstreams() == []


def test_rules_are_taken_when_every_living_worker_shows_the_newest_version(path: Path) -> None:
    pages = Pages.create(path, WORKER_SLOT + 3, 0.0)
    first, second, _none = (pages.counters(WORKER_SLOT + number) for number in range(3))
    pages.counters(1).heartbeat()  # the keeper has no rules
    first.heartbeat()
    second.heartbeat()
    first.show_overrides(7)
    assert wait_until_taken(pages, lambda: 7, 0.01) == [os.getpid()]
    second.show_overrides(8)
    versions = iter((7, 7, 8, 8))  # another command changes them meanwhile

    def newest() -> int:
        first.show_overrides(8)
        return next(versions)

    assert wait_until_taken(Pages.attach(path), newest, 10) == []
    second.show_overrides(7)
    second.retire()
    assert wait_until_taken(pages, lambda: 8, 0.01) == []


def test_quantile_is_as_near_as_the_buckets_are_narrow() -> None:
    pages = Pages.create(None, 1, 0.0)
    counters = pages.counters(0)
    for number in range(1, 1001):
        counters.observe_miss(number / 1000)
    _, misses = pages.latency()
    for q in (0.01, 0.5, 0.95, 0.99):
        assert quantile(misses, q) == pytest.approx(q, rel=0.1)
    assert quantile(misses, 1.0) == pytest.approx(1.0, rel=0.25)


def test_quantile_of_a_difference_is_that_of_the_time_between() -> None:
    pages = Pages.create(None, 1, 0.0)
    counters = pages.counters(0)
    for _ in range(1000):
        counters.observe_miss(1.0)
    _, before = pages.latency()
    for _ in range(10):
        counters.observe_miss(0.001)
    _, after = pages.latency()
    between = [late - early for early, late in zip(before, after, strict=True)]
    assert quantile(between, 0.99) == pytest.approx(0.001, rel=0.25)


def test_quantile_of_nothing_is_none() -> None:
    assert quantile([0] * len(LATENCY_BOUNDS), 0.5) is None


def test_upstreams_are_shown_as_they_were_put_there(path: Path) -> None:
    counters = Pages.create(path, 1, 0.0).counters(0)
    states = [
        UpstreamState("127.0.0.1:5300", True, 0.0125, 1000, 7),
        UpstreamState("tcp://[2001:db8::1]:53", False, None, 2**40, 0),
    ]
    counters.show_upstreams(states)
    assert Pages.attach(path).upstreams() == counters.shown_upstreams() == states
    counters.show_upstreams(states[1:])
    assert Pages.attach(path).upstreams() == states[1:]


@pytest.mark.parametrize(("rtt", "shown"), [(0.0, 1e-6), (1e-9, 1e-6), (5000.0, (2**32 - 1) / 1e6)])
def test_round_trip_at_the_edges_is_still_known(rtt: float, shown: float) -> None:
    pages = Pages.create(None, 1, 0.0)
    pages.counters(0).show_upstreams([("u", True, rtt, 1, 0)])
    assert pages.upstreams() == [UpstreamState("u", True, shown, 1, 0, True)]


def test_more_upstreams_than_there_is_room_for_are_left_out() -> None:
    pages = Pages.create(None, 1, 0.0)
    pages.counters(0).show_upstreams([(f"u{number}", True, None, 0, 0) for number in range(40)])
    assert [state.name for state in pages.upstreams()] == [f"u{number}" for number in range(32)]


def test_long_name_of_an_upstream_is_cut_between_characters() -> None:
    pages = Pages.create(None, 1, 0.0)
    pages.counters(0).show_upstreams(
        [("a" * 63 + "ü", True, None, 0, 0), ("b" * 64, True, 1, 0, 0)]
    )
    assert [state.name for state in pages.upstreams()] == ["a" * 63, "b" * 64]


def test_upstream_that_several_workers_ask_is_one() -> None:
    pages = Pages.create(None, 3, 0.0)
    pages.counters(0).show_upstreams([("u", True, None, 10, 10)])
    pages.counters(1).show_upstreams([("v", False, 0.5, 1, 0), ("u", True, 0.02, 5, 1)])
    pages.counters(2).show_upstreams([("u", True, 0.03, 6, 2)])
    assert pages.upstreams() == [
        UpstreamState("u", True, 0.03, 21, 13),
        UpstreamState("v", False, 0.5, 1, 0),
    ]


@pytest.mark.parametrize(("replied_at", "alive"), [(0.0, False), (50.0, False), (70.0, True)])
def test_worker_that_was_asked_last_knows_whether_an_upstream_lives(
    replied_at: float, alive: bool
) -> None:
    pages = Pages.create(None, 2, 0.0)
    dead = UpstreamState("u", False, 0.01, 2, 2, since=60.0, error=errno.ECONNREFUSED)
    pages.counters(0).show_upstreams([dead])
    pages.counters(1).show_upstreams([UpstreamState("u", True, 0.02, 1, 0, since=replied_at)])
    [seen] = pages.upstreams()
    assert (seen.alive, seen.error) == (alive, errno.ECONNREFUSED)


def test_upstream_is_not_dead_before_others_can_have_shown_that_it_has_answered_them() -> None:
    pages = Pages.create(None, 2, 0.0)
    pages.counters(1).show_upstreams([UpstreamState("u", True, 0.02, 1, 0, since=50.0)])
    dead = UpstreamState("u", False, 0.01, 2, 2, since=time.monotonic(), just_died=True)
    pages.counters(0).show_upstreams([dead])
    assert [one.alive for one in pages.upstreams()] == [True]
    pages.counters(1).show_upstreams([UpstreamState("u", True, 0.02, 1, 0, since=50.0)])
    assert [one.alive for one in pages.upstreams()] == [False]


def test_dead_upstream_is_not_alive_because_it_was_tried_again_in_vain() -> None:
    pages = Pages.create(None, 3, 0.0)
    pages.counters(1).show_upstreams([UpstreamState("u", True, None, 0, 0)])
    again = UpstreamState("u", False, 0.01, 3, 3, since=time.monotonic())
    pages.counters(0).show_upstreams([again])
    assert [one.alive for one in pages.upstreams()] == [False]
    later = UpstreamState("u", False, 0.01, 2, 2, since=time.monotonic(), just_died=True)
    pages.counters(2).show_upstreams([later])
    assert [one.alive for one in pages.upstreams()] == [False]


def test_what_one_worker_finds_out_about_an_upstream_is_shown() -> None:
    pages = Pages.create(None, 2, 0.0)
    found = UpstreamState("u", True, 0.01, 2, 0, rcode=5, recurses=False, lacks_edns=True)
    pages.counters(0).show_upstreams([found])
    pages.counters(1).show_upstreams([("u", True, None, 0, 0)])
    assert pages.upstreams() == [found]


def test_each_process_says_when_it_has_shown_its_upstreams() -> None:
    pages = Pages.create(None, 2, 0.0)
    start = time.monotonic()
    pages.counters(1).show_upstreams([("u", True, None, 1, 0)])
    (never, nothing), (at, shown) = pages.upstream_tables()
    assert (never, nothing) == (0.0, [])
    assert start <= at <= time.monotonic()
    assert shown == [UpstreamState("u", True, None, 1, 0, True)]


def test_sign_of_life_is_a_word_of_its_own() -> None:
    pages = Pages.create(None, 2, 0.0)
    pages.counters(1).show_upstreams([("u", True, None, 1, 0)])
    assert (pages.alive_at(0), pages.alive_at(1)) == (0.0, 0.0)
    start = time.monotonic()
    pages.counters(1).heartbeat()
    never, at = pages.alive_at(0), pages.alive_at(1)
    assert never == 0.0
    assert start - 1e-6 <= at <= time.monotonic()
    assert pages.totals() == dict.fromkeys((name for name, *_ in COUNTERS), 0)
    pages.counters(1).heartbeat(ahead=100)
    assert pages.alive_at(1) >= start + 100
    pages.counters(1).retire()
    assert pages.alive_at(1) == 0.0


def test_slot_has_room_for_416_counters(path: Path) -> None:
    """Those of the last word and of the histograms beside it are apart."""
    counters = Pages.create(path, 1, 0.0).counters(0)
    counters.observe_hit(0.0, 3)
    words = memoryview(path.read_bytes()).cast("Q")[8192 // 8 :]
    assert words.tolist().index(3) == 416


def test_slot_of_a_process_that_is_gone_keeps_totals_and_nothing_of_how_things_stand() -> None:
    pages = Pages.create(None, 2, 0.0)
    gone, living = pages.counters(0), pages.counters(1)
    gauges = ["cache_entries", "cache_bytes", "in_flight"]
    gauges += [f"{transport}_connections" for transport in ("tcp", "tls", "https")]
    for name in gauges:
        gone.set(name, 7)
    gone.add("queries_udp_total", 5)
    gone.observe_hit(0.001)
    gone.show_upstreams([("u", True, 0.01, 10, 1), ("removed", True, 0.01, 20, 2)])
    living.show_upstreams([("u", False, 0.5, 4, 3)])
    gone.retire()
    totals = pages.totals()
    assert totals["queries_udp_total"] == 5
    assert sum(pages.latency()[0]) == 1
    assert not any(totals[name] for name in gauges)
    assert pages.upstreams() == [UpstreamState("u", False, 0.5, 14, 4, True)]


def test_upstreams_stay_to_be_seen_while_no_process_asks_any() -> None:
    pages = Pages.create(None, 1, 0.0)
    pages.counters(0).show_upstreams([("u", True, 0.01, 10, 1)])
    pages.counters(0).retire()
    assert pages.upstreams() == [UpstreamState("u", False, None, 10, 1, True)]
    assert pages.counters(0).shown_upstreams() == [UpstreamState("u", False, None, 10, 1, True)]


def test_slot_of_one_that_died_while_writing_its_table_can_be_read_at_once(path: Path) -> None:
    counters = Pages.create(path, 1, 0.0).counters(0)
    counters.show_upstreams([("u", True, None, 1, 0)])
    with path.open("r+b") as file:
        file.seek(UPSTREAMS_AT)
        file.write(struct.pack("=II", 7, 99))
    counters.retire()
    reader = Pages.attach(path)
    seconds = []
    for _ in range(5):  # each would wait
        start = time.monotonic()
        assert len(reader.upstream_tables()[0][1]) == 32
        seconds.append(time.monotonic() - start)
    assert path.read_bytes()[UPSTREAMS_AT] % 2 == 0
    assert min(seconds) < 0.02


def test_table_of_a_worker_that_died_while_writing_is_shown_and_then_mended(path: Path) -> None:
    counters = Pages.create(path, 1, 0.0).counters(0)
    counters.show_upstreams([("u", True, None, 1, 0)])
    with path.open("r+b") as file:
        file.seek(UPSTREAMS_AT)
        file.write(struct.pack("=II", 7, 99))  # being written, and more rows than there can be
    reader = Pages.attach(path)
    assert reader.upstreams()[0] == UpstreamState("u", True, None, 1, 0, True)
    counters.show_upstreams([("v", True, None, 2, 0)])
    assert reader.upstreams() == [UpstreamState("v", True, None, 2, 0, True)]
    assert path.read_bytes()[UPSTREAMS_AT] == 8


def test_reader_never_sees_half_of_a_table() -> None:
    pages = Pages.create(None, 1, 0.0)
    child = os.fork()
    if child == 0:
        counters = pages.counters(0)
        number = 0
        while True:
            number += 1
            counters.show_upstreams([(f"u{row}", True, None, number, number) for row in range(32)])
    try:
        limit = time.monotonic() + 60
        seen: set[int] = set()
        while len(seen) < 1000:
            assert time.monotonic() < limit
            counts = {count for state in pages.upstreams() for count in state[3:5]}
            assert len(counts) <= 1
            seen |= counts
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_counts_of_lists_that_find_no_room_are_an_error_and_not_a_defect(tmp_path: Path) -> None:
    """A full file system takes the first part of what is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="No space left"):
            ListHits(tmp_path, 0, 0.0).renew([f"https://list{one}.example/" for one in range(999)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
