"""The pages of counters that the processes of a daemon share."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from fastdns._shared import COUNTERS, Counters, Pages


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters"


def test_new_pages_count_from_zero_and_name_every_counter(path: Path) -> None:
    totals = Pages.create(path, 2, 0.0).totals()
    assert totals == dict.fromkeys((name for name, _ in COUNTERS), 0)


def test_totals_are_the_sum_over_all_processes(path: Path) -> None:
    pages = Pages.create(path, 3, 0.0)
    for slot, amount in enumerate((1, 20, 300)):
        pages.counters(slot).add("queries_udp_total", amount)
    assert pages.totals()["queries_udp_total"] == 321


def test_each_counter_has_a_place_of_its_own(path: Path) -> None:
    pages = Pages.create(path, 1, 0.0)
    counters = pages.counters(0)
    names = [name for name, _ in COUNTERS]
    for number, name in enumerate(names, start=1):
        counters.add(name, number)
    assert list(pages.totals().items()) == list(zip(names, range(1, len(names) + 1), strict=True))


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


@pytest.mark.parametrize("octets", [0, 1, 4095])
def test_file_too_short_for_a_page_is_refused(path: Path, octets: int) -> None:
    path.write_bytes(bytes(octets))
    with pytest.raises(ValueError, match="not a page of fastdns counters"):
        Pages.attach(path)


@pytest.mark.parametrize(
    ("offset", "octets"),
    [
        (0, b"fastdnS\0"),
        (8, struct.pack("=I", 2)),  # the version
        (12, struct.pack("=I", 2)),  # more slots than the file has room for
        (12, struct.pack("=I", 0xFFFFFFFF)),
    ],
)
def test_page_of_another_version_is_refused(path: Path, offset: int, octets: bytes) -> None:
    Pages.create(path, 1, 0.0)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(octets)
    with pytest.raises(ValueError, match="another version"):
        Pages.attach(path)


def test_file_cut_short_is_refused(path: Path) -> None:
    Pages.create(path, 3, 0.0)
    os.truncate(path, 4096 * 3)
    with pytest.raises(ValueError, match="another version"):
        Pages.attach(path)


def test_symbolic_link_in_the_place_of_the_new_file_is_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    path.with_name("counters.new").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        Pages.create(path, 1, 0.0)
    assert victim.read_bytes() == b"precious"
