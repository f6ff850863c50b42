"""Garbage in the files of the cache, and crashes by it: answers continue, the cache recovers."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastdns._clock import Moment

from ..support.cache import Disk, answer, cache_key
from ..support.client import ask, data, eventually
from ..support.daemon import Fastdns
from ..support.false_upstream import FalseUpstream
from ..test_keeper import OFTEN, SELDOM, counter, is_gone, names
from .damage import PAGE, Again, Start, assert_works, flip_a_bit, overwrite, replace_by, shorten


@pytest.mark.parametrize("where", ["start", "middle", "end", "all", "cut"])
def test_damaged_file_is_put_aside_at_the_start(
    disk: Disk, again: Again, upstream: FalseUpstream, where: str
) -> None:
    overwrite(disk.data, where)
    damaged = disk.data.read_bytes()
    with again() as fresh:
        told = fresh.wait_for_log("moved to", 10)
        assert f"{disk.data}.damaged" in told.string
        assert Path(f"{disk.data}.damaged").read_bytes()[:PAGE] == damaged[:PAGE]
        assert_works(fresh, disk, upstream)
        assert len([line for line in fresh.log if "moved to" in line]) == 1
        assert counter(fresh, "disk_set_aside_total") == 1
        assert not disk.control().suspect


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("directory", "is not a file"),
        ("text", "not"),
        ("few octets", "truncated"),
        ("another format", "another format"),
        ("another program's", "belongs to another program"),
    ],
)
def test_what_is_no_cache_of_ours_is_put_aside_at_the_start(
    disk: Disk, again: Again, upstream: FalseUpstream, what: str, reason: str
) -> None:
    replace_by(disk.data, what)
    with again() as fresh:
        assert reason in fresh.wait_for_log("moved to").string
        assert Path(f"{disk.data}.damaged").exists()
        assert_works(fresh, disk, upstream)
        assert counter(fresh, "disk_set_aside_total") == 1


def test_file_in_place_of_the_directory_is_put_aside(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    shutil.rmtree(disk.place)
    disk.place.write_text("a file")
    with again() as fresh:
        fresh.wait_for_log("moved to")
        assert_works(fresh, disk, upstream)


@pytest.mark.parametrize("where", ["start", "middle", "end", "all", "cut"])
def test_damage_while_running_ends_in_a_new_cache(
    start_filled: Start, upstream: FalseUpstream, where: str
) -> None:
    daemon, disk = start_filled(OFTEN)
    generation = disk.control().generation
    overwrite(disk.data, where)
    for name in names(2000, "again.demo"):  # touches every page
        disk.put(name)
    disk.take_in()
    disk.put(*names(2000))
    daemon.wait_for_log("moved to", 15)
    assert_works(daemon, disk, upstream)
    assert disk.control().generation > generation
    assert counter(daemon, "disk_set_aside_total") == 1


def test_only_the_newest_damaged_file_is_kept(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    for content in ("first", "second"):
        replace_by(disk.data, "text")
        disk.data.write_text(content * 2000)
        with again() as fresh:
            fresh.wait_for_log("moved to")
    assert Path(f"{disk.data}.damaged").read_text().startswith("second")
    assert sorted(path.name for path in disk.place.iterdir()) == [
        "data.mdb",
        "data.mdb.damaged",
        "lock.mdb",
        "lock.mdb.damaged",
        "writer",
    ]


def test_suspicion_of_a_worker_is_looked_into(start_filled: Start, upstream: FalseUpstream) -> None:
    """A sound cache stays, one whose entries fail their checksums goes."""
    daemon, disk = start_filled(SELDOM)
    control, generation = disk.control(), disk.control().generation
    control.suspect = True
    disk.take_in()
    daemon.wait_for_log("has none")
    eventually(lambda: control.suspect, lambda suspect: not suspect)
    assert control.generation > generation
    assert disk.holds(*names(2000))
    assert counter(daemon, "disk_set_aside_total") == 0
    with disk.data.open("r+b") as file:  # another address in every answer
        content = file.read().replace(bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)))
        file.seek(0)
        file.write(content)
    control.suspect = True
    disk.take_in()
    daemon.wait_for_log("moved to")
    eventually(lambda: control.suspect, lambda suspect: not suspect)
    assert_works(daemon, disk, upstream)


@pytest.mark.parametrize("dies", ["the worker", "the daemon"])
def test_flipped_bit_is_one_entry_lost(start: Start, upstream: FalseUpstream, dies: str) -> None:
    """It is asked for again and written anew; everything else stays."""
    daemon, disk = start(OFTEN)
    names = [upstream.new_name() for _ in range(40)]
    for name in names:
        assert data(ask(daemon, name)) == ["192.0.2.1"]
    assert disk.take_in()
    with ExitStack() as stack:
        if dies == "the worker":
            flip_a_bit(disk, names[7])
            before = daemon.worker
            os.kill(before, signal.SIGKILL)
            eventually(lambda: daemon.worker != before, bool)
        else:
            daemon.stop()
            flip_a_bit(disk, names[7])
            daemon = Fastdns(daemon.state_dir, upstream=[upstream], config=OFTEN)
            stack.enter_context(daemon)
        asked = len(upstream.queries)
        for name in names:
            assert data(ask(daemon, name)) == ["192.0.2.1"]
        assert [str(one.name) for one in upstream.queries[asked:]] == [names[7]]
        eventually(lambda: disk.take_in() and disk.holds(*names), bool)
        assert counter(daemon, "disk_damaged_total") == 1
        assert counter(daemon, "disk_set_aside_total") == 0
        assert not disk.control().suspect
        assert not any("moved to" in line for line in daemon.log)


def test_cache_over_which_a_worker_crashed_is_looked_into(
    start_filled: Start, upstream: FalseUpstream
) -> None:
    daemon, disk = start_filled(SELDOM)
    os.kill(daemon.worker, signal.SIGBUS)
    daemon.wait_for_log("has none")
    assert disk.holds(*names(2000))
    assert_works(daemon, disk, upstream)


def test_cache_over_which_keepers_crash_again_and_again_is_put_aside(
    start_filled: Start, upstream: FalseUpstream
) -> None:
    """Though nothing is found in it: LMDB's list of free pages is not shown to anybody."""
    daemon, disk = start_filled(SELDOM)
    os.kill(daemon.keeper, signal.SIGSEGV)
    daemon.wait_for_log("has none")
    assert disk.holds(*names(2000))
    os.kill(daemon.keeper, signal.SIGSEGV)
    daemon.wait_for_log("moved to")
    assert_works(daemon, disk, upstream)


def test_file_that_is_shorter_than_lmdb_has_given_out_pages_is_no_damage(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    """LMDB does not write pages that one transaction took and gave back."""
    reached = shorten(disk)
    assert disk.data.stat().st_size < reached
    with again() as fresh:
        eventually(lambda: disk.data.stat().st_size >= reached, bool)
        assert_works(fresh, disk, upstream)
        assert disk.holds(*names(2000))
        assert counter(fresh, "disk_set_aside_total") == 0


def test_keeper_killed_at_random_moments_loses_nothing_and_damages_nothing(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon, disk = start(OFTEN)
    ring, control, rng = disk.ring(), disk.control(), random.Random(3)
    put = []
    for round_ in range(7):
        keeper = daemon.keeper
        for name in names(300, f"round{round_}.demo"):
            ring.put(cache_key(name), answer(name), control.epoch, Moment.now())
            put.append(name)
        time.sleep(rng.uniform(0, 0.02))
        asker = os.fork()
        if asker == 0:
            disk.take_in(1.0)
            os._exit(0)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(asker, 0)
        eventually(lambda keeper=keeper: is_gone(keeper), bool)
    eventually(lambda: disk.take_in(1.0), bool, 15)
    assert disk.holds(*put)
    assert len(disk.entries()) == len(put)
    assert counter(daemon, "disk_set_aside_total") == 0
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
