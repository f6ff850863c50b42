"""How the keeper handles errors: wait, examine, or start empty; and when it logs that."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from messages import answer_of_size
from scenes import readable
from test_store import MIB, fill

from fastdns._clock import Moment
from fastdns._control import Control
from fastdns._entry import pack
from fastdns.counters import Pages
from fastdns.errors import Damaged, LmdbError
from fastdns.server.keeper_store import (
    KEPT_PAGES,
    ODDITIES_BORNE,
    ODDITIES_SUSPICIOUS,
    KeeperStore,
)
from fastdns.store.lock import LockHeld
from fastdns.store.store import Update

NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
ODD = LmdbError("mdb_put: MDB_PROBLEM: something that should not be")


class Bench:
    """A disk of a keeper's, and what is seen of it from outside."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.control = Control.open(None, place)
        self.pages = Pages.create(None, slots=1, started_at=0.0)
        self.disk = KeeperStore(place, MIB, self.control, self.pages.counters(0), crashes=0)
        self.now = 100.0
        store = self.disk.store(self.now)
        assert store is not None
        fill(store, 100)

    def fail(self, error: Exception) -> None:
        """One more attempt that ends like this, when it is time for one."""
        self.now += 10
        self.disk.store(self.now)
        self.disk.failed(error, self.now)

    def examine(self) -> None:
        assert readable(10, self.disk.examination.descriptor)
        self.disk.judge(self.now)

    @property
    def entries(self) -> int:
        self.now += 10
        store = self.disk.store(self.now)
        assert store is not None
        return store.usage().entries


@pytest.fixture
def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Bench]:
    logger = logging.getLogger("fastdns")
    before = logger.propagate
    logger.propagate = True
    caplog.set_level(logging.INFO)
    made = Bench(tmp_path / "cache")
    yield made
    made.disk.close()
    logger.propagate = before


def test_attempts_get_rarer_up_to_five_seconds_apart(bench: Bench) -> None:
    pauses = []
    for _ in range(5):
        bench.disk.failed(NO_ROOM, bench.now)
        pauses.append(bench.disk.next_at - bench.now)
        assert bench.disk.store(bench.now + pauses[-1] - 0.01) is None
        bench.now += pauses[-1]
    assert pauses == [1, 2, 4, 5, 5]
    assert bench.entries == 100
    assert bench.pages.total("disk_errors_total") == 5


def test_trouble_is_told_once_a_minute_and_so_is_its_end(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(150):
        bench.disk.failed(NO_ROOM, 100.0 + second)
    assert len(caplog.messages) == 3
    assert all("No space left on device" in line for line in caplog.messages)
    bench.now = 250.0
    assert bench.entries == 100
    assert bench.disk.wants_commit
    assert len(caplog.messages) == 3  # until what waits is written
    bench.disk.succeeded()
    assert not bench.disk.wants_commit
    assert caplog.messages[3:] == [f"disk cache works again: {bench.place}"]
    bench.disk.failed(NO_ROOM, bench.now)  # within the minute
    assert bench.entries == 100
    bench.disk.succeeded()
    assert len(caplog.messages) == 4


def test_lock_of_a_command_that_takes_a_moment_is_not_worth_a_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    held = LockHeld(bench.place / "writer", 4711)
    bench.fail(held)
    bench.disk.succeeded()
    bench.fail(held)
    assert caplog.messages == []
    bench.fail(held)
    assert "pid 4711" in caplog.text


def test_errors_of_lmdb_s_own_are_looked_into_and_do_not_go_on_for_ever(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(ODDITIES_SUSPICIOUS):
        assert bench.disk.examination is None
        bench.fail(ODD)
    assert bench.control.suspect
    bench.examine()
    assert "it has none" in caplog.text
    assert not bench.control.suspect
    assert bench.entries == 100
    for _ in range(ODDITIES_BORNE - ODDITIES_SUSPICIOUS):
        assert bench.entries == 100
        bench.fail(ODD)
    assert bench.entries == 0
    assert (bench.place / "data.mdb.damaged").exists()
    assert bench.pages.total("disk_set_aside_total") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_errors_of_the_system_are_only_waited_for_however_many(bench: Bench, number: int) -> None:
    for _ in range(3 * ODDITIES_BORNE):
        bench.fail(OSError(number, os.strerror(number)))
    assert bench.disk.examination is None
    assert bench.entries == 100


def test_damage_makes_another_generation_and_an_empty_cache(bench: Bench) -> None:
    generation = bench.control.generation
    bench.fail(Damaged("holds an entry that cannot be read"))
    assert bench.control.generation > generation
    assert bench.entries == 0


def test_suspicion_closes_the_environment_until_it_has_been_examined(bench: Bench) -> None:
    generation = bench.control.generation
    bench.control.suspect = True
    assert bench.disk.store(bench.now) is None
    bench.examine()
    assert bench.entries == 100
    assert bench.control.generation > generation
    assert not bench.control.suspect


HOLD_ALL_SLOTS = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=0, max_dbs=2, readonly=True)
held = []
try:
    while True:
        held.append(env.begin())
except lmdb.ReadersFullError:
    print(len(held), flush=True)
sys.stdin.read()
"""


def test_environment_without_a_free_slot_is_examined_now_and_then_and_not_without_pause(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: (forks.append(bench.now), fork())[1])
    bench.disk.close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_ALL_SLOTS, str(bench.place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert int(holder.stdout.readline()) >= 250
        bench.control.suspect = True
        end = bench.now + 60
        while bench.now < end:  # as the keeper does
            bench.disk.store(bench.now)
            if bench.disk.examination is not None:
                bench.examine()
            assert bench.disk.next_at > bench.now  # it has something to wait for
            bench.now = min(bench.disk.next_at, bench.now + 1)
        holder.communicate()
    assert bench.control.suspect
    assert 3 <= len(forks) <= 10
    bench.now += 60
    assert bench.disk.store(bench.now) is None
    bench.examine()
    assert bench.entries == 100


def test_suspicion_that_comes_again_at_once_is_looked_into_more_and_more_seldom(
    bench: Bench,
) -> None:
    began = []
    end = bench.now + 600
    while bench.now < end:
        bench.control.suspect = True
        bench.disk.store(bench.now)
        if bench.disk.examination is not None:
            began.append(bench.now)
            bench.examine()
        bench.now += 0.5
    assert began[1] - began[0] <= 1
    assert 5 <= len(began) <= 20
    bench.now += 1000
    bench.disk.store(bench.now)
    bench.examine()
    assert bench.entries == 100


def test_environment_that_was_being_examined_at_the_end_stays_suspect(bench: Bench) -> None:
    bench.control.suspect = True
    assert bench.disk.store(bench.now) is None
    bench.disk.close()
    assert bench.control.suspect


def test_memory_of_a_large_commit_is_given_back(tmp_path: Path) -> None:
    control = Control.open(None, tmp_path)
    counters = Pages.create(None, slots=1, started_at=0.0).counters(0)
    disk = KeeperStore(tmp_path / "cache", 64 * MIB, control, counters, crashes=0)
    store = disk.store(0.0)
    assert store is not None
    generation = control.generation
    fill(store, 100)
    disk.relieve(0.0)
    assert disk.store(0.0) is store  # it was a small one
    large = pack(answer_of_size(2500), Moment.now())
    updates = [Update(b"large%d" % number, large) for number in range(KEPT_PAGES + 1)]
    assert len([*chain(*store.apply(updates, Moment.now()))]) == len(updates)

    disk.relieve(0.0)

    opened = disk.store(0.0)
    assert opened is not None
    assert opened is not store
    assert opened.kept_pages == 0
    assert opened.usage().entries == 100 + len(updates)
    assert control.generation == generation  # nothing for workers to open anew
    disk.close()
