"""The cache at its limit (`cache.disk`): the most used entries stay, and there is always room."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import lmdb
import pytest

from fastdns._clock import Moment

from ..support import raw
from ..support.cache import Disk, answer, cache_key
from ..support.client import ask, data, eventually, exchange_tcp, make_query
from ..support.daemon import Fastdns
from ..support.false_upstream import Asked, FalseUpstream
from ..test_keeper import SELDOM, counter, names
from .damage import Start, assert_works


def test_cache_at_its_limit_keeps_what_is_used_most(start: Start, upstream: FalseUpstream) -> None:
    daemon, disk = start('[cache]\ndisk = "1MiB"\n')
    used = names(50, "used.demo")
    disk.put(*used)
    for name in used:
        assert disk.ring().put_hits_of(cache_key(name), 5)
    assert disk.take_in()
    ring, control = disk.ring(), disk.control()
    for batch in range(30):
        for name in names(300, f"batch{batch}.demo"):
            assert ring.put(cache_key(name), answer(name), control.epoch, Moment.now())
        eventually(disk.take_in, bool, 10)
    eventually(lambda: counter(daemon, "disk_bytes"), lambda octets: octets <= 0.8 * 2**20)
    assert disk.data.stat().st_size <= 2**20
    assert counter(daemon, "disk_swept_total") > 3000
    assert counter(daemon, "disk_entries") == len(disk.entries())
    assert disk.holds(*used)
    assert disk.holds("n299.batch29.demo")
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    assert not any("kept in memory only" in line for line in daemon.log)


def test_smallest_cache_is_used_as_far_as_a_large_one(start: Start) -> None:
    """A thousand answers are as much as it holds, and the sweep must not take them all at once."""
    daemon, disk = start('[cache]\ndisk = "1MiB"\n')
    ring, control = disk.ring(), disk.control()
    for _ in range(3):
        for name in names(1000, "padded.demo"):
            ring.put(cache_key(name), answer(name, padding=750), control.epoch, Moment.now())
        eventually(disk.take_in, bool, 10)
        eventually(lambda: ring.used, lambda used: used == 0, 10)
        eventually(lambda: counter(daemon, "disk_bytes"), lambda octets: octets <= 0.8 * 2**20)
        assert counter(daemon, "disk_bytes") > 0.65 * 2**20


def ask_giants(daemon: Fastdns, disk: Disk, upstream: FalseUpstream, count: int) -> None:
    """Have the keeper take in so many answers of 60,000 octets."""
    giant = raw.rr(raw.TO_QUESTION, raw.TXT, (b"\xff" + b"x" * 255) * 234, ttl=3600)

    def behave(asked: Asked) -> None:
        if asked.tcp:
            asked.send(raw.reply_to(asked.wire, giant, raw.opt(), counts=(1, 1, 0, 1)))
        else:
            asked.answer(flags=dns.flags.TC)

    for number in range(count):
        query = make_query(upstream.new_name(behave), "TXT").to_wire()
        assert len(exchange_tcp(daemon, query)) > len(giant)
        if number % 10 == 9:  # the ring has not room for all
            eventually(disk.take_in, bool)


@pytest.mark.parametrize(("size", "refuses"), [(4, True), (16, False)])
def test_cache_that_giant_answers_have_filled_goes_on_also_after_a_restart(
    start: Start, upstream: FalseUpstream, size: int, refuses: bool
) -> None:
    """Of a map, one value may have a 256th: of 4 MiB, 16 KiB."""
    config = f'[cache]\ndisk = "{size}MiB"\n'
    daemon, disk = start(config)
    ask_giants(daemon, disk, upstream, 300)
    assert_works(daemon, disk, upstream)
    assert (counter(daemon, "disk_refused_total") == 300) == refuses
    daemon.stop()
    with Fastdns(daemon.state_dir, upstream=[upstream], config=config) as again:
        assert_works(again, disk, upstream)
        ask_giants(again, disk, upstream, 100)
        assert_works(again, disk, upstream)
        assert counter(again, "disk_set_aside_total") == 0
        assert disk.data.stat().st_size <= 1.1 * size * 2**20


def test_smaller_cache_is_brought_down_to_its_size(start: Start, upstream: FalseUpstream) -> None:
    daemon, disk = start(SELDOM)
    for batch in range(4):
        disk.put(*names(2000, f"batch{batch}.demo"), padding=500)
        assert disk.take_in()
    disk.put("used.demo")
    assert disk.ring().put_hits_of(cache_key("used.demo"), 100)
    daemon.stop()
    assert disk.data.stat().st_size > 4 * 2**20
    with Fastdns(daemon.state_dir, upstream=[upstream], config='[cache]\ndisk = "2MiB"\n') as fresh:
        eventually(lambda: disk.data.stat().st_size, lambda octets: octets <= 2 * 2**20, 20)
        assert_works(fresh, disk, upstream)
        assert disk.holds("used.demo")
        assert len(disk.entries()) > 500
        assert counter(fresh, "disk_set_aside_total") == 0
        assert not (disk.place / "data.mdb.new").exists()


def fill_while_somebody_reads(daemon: Fastdns, disk: Disk, domain: str, until: str) -> None:
    """Fill the map while a reader that was stopped keeps the old pages, until the log says that."""
    with lmdb.open(str(disk.place), map_size=0, max_dbs=2, readonly=True) as env, env.begin():
        for batch in range(20):
            for name in names(200, f"batch{batch}.{domain}"):
                disk.ring().put(cache_key(name), answer(name), 0, Moment.now())
            disk.take_in()
            if any(until in line for line in daemon.log):
                break
        daemon.wait_for_log(until)


def test_map_that_a_stopped_reader_keeps_full_is_written_anew_and_used_again(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon, disk = start('[cache]\ndisk = "1MiB"\n')
    disk.put(*names(500))
    assert disk.take_in()
    fill_while_somebody_reads(daemon, disk, "first.demo", "was rewritten")
    assert_works(daemon, disk, upstream)
    # Not twice within an hour: that would wear the disk.
    fill_while_somebody_reads(daemon, disk, "again.demo", "MAP_FULL")
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    daemon.wait_for_log("works again", 15)
    assert_works(daemon, disk, upstream)
