"""The keeper: answers of workers reach the disk, once, in time, and whichever process dies.

The tests give it answers as a worker does, through the ring, and read the disk as a command does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import lmdb

from fastdns._clock import Moment
from fastdns._control import CHANGE_ALL, CHANGE_NAME, CHANGE_UNDER
from fastdns._key import disk_key
from fastdns.machine import keeper_requests
from fastdns.store.lock import writer_lock

from .support.cache import Disk, answer, cache_key
from .support.client import ask, data, eventually
from .support.commands import fastdns
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream

Start = Callable[..., Fastdns]
SELDOM = '[cache]\ncommit_interval = "1h"\n'
OFTEN = '[cache]\ncommit_interval = "1s"\n'


def counter(daemon: Fastdns, name: str) -> int:
    done = fastdns("stats", "--json", "--state", str(daemon.state_dir))
    found: int = json.loads(done.stdout)[name]
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX"
    except OSError:
        return True


def names(count: int, domain: str = "example.demo") -> list[str]:
    return [f"n{number}.{domain}" for number in range(count)]


# Commits


def test_answer_that_was_asked_for_twice_is_on_disk_after_the_commit_interval(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config=OFTEN)
    disk = Disk(daemon)
    upstream_says = "@ 3600 IN A 192.0.2.1"
    once, twice = (upstream.new_name(lambda asked: asked.answer(upstream_says)) for _ in "12")
    for name in (once, twice, twice):
        assert data(ask(daemon, name)) == ["192.0.2.1"]
    eventually(lambda: disk.holds(twice), bool)
    assert not disk.holds(once)
    assert disk.take_in()
    assert disk.holds(once)
    assert disk.ring().used == 0


def test_keeper_that_is_asked_to_has_written_when_it_answers(start_fastdns: Start) -> None:
    disk = Disk(start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM))
    disk.put(*names(50))
    assert not disk.holds("n0.example.demo")
    assert disk.take_in()
    assert disk.holds(*names(50))


def test_nothing_new_is_no_commit(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=OFTEN)
    disk = Disk(daemon)
    disk.put("www.example.demo")
    assert disk.take_in()
    assert disk.holds("www.example.demo")
    before = disk.data.stat().st_mtime_ns, counter(daemon, "disk_commits_total")
    time.sleep(2.5)  # two intervals, in which nothing happens
    assert disk.take_in()
    assert (disk.data.stat().st_mtime_ns, counter(daemon, "disk_commits_total")) == before


def test_last_answer_of_a_name_is_the_one_on_disk(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM)
    disk = Disk(daemon)
    now = Moment.now()
    earlier = Moment(now.wall_ms - 1, now.boot_ms - 1, now.boot)
    disk.put("www.example.demo", address="192.0.2.1", stored=earlier)
    disk.put("www.example.demo", address="192.0.2.2", stored=now)
    assert disk.take_in()
    assert bytes((192, 0, 2, 2)) in disk.get("www.example.demo").message


def test_older_answer_does_not_replace_a_newer_one(start_fastdns: Start) -> None:
    disk = Disk(start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM))
    now = Moment.now()
    earlier = Moment(now.wall_ms - 5000, now.boot_ms - 5000, now.boot)
    disk.put("www.example.demo", address="192.0.2.2", stored=now)
    assert disk.take_in()
    disk.put("www.example.demo", address="192.0.2.1", stored=earlier)
    assert disk.take_in()
    assert bytes((192, 0, 2, 2)) in disk.get("www.example.demo").message


def test_entry_from_the_future_is_replaced_by_one_of_now(start_fastdns: Start) -> None:
    disk = Disk(start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM))
    now = Moment.now()
    wrong = Moment(now.wall_ms + 10**10, 1000, now.boot ^ 1)  # of a boot whose clock was wrong
    disk.put("www.example.demo", address="192.0.2.1", stored=wrong)
    assert disk.take_in()
    disk.put("www.example.demo", address="192.0.2.2")
    assert disk.take_in()
    assert bytes((192, 0, 2, 2)) in disk.get("www.example.demo").message


def test_of_more_answers_than_a_ring_holds_none_is_lost_by_chance(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=OFTEN)
    disk = Disk(daemon)
    ring, control, now = disk.ring(), disk.control(), Moment.now()
    for name in names(30_000):
        eventually(
            lambda name=name: ring.put(cache_key(name), answer(name), control.epoch, now), bool, 10
        )
    assert disk.take_in(10)
    assert len(disk.entries()) >= 5_000
    assert len(disk.entries()) + counter(daemon, "disk_spared_total") == 30_000


def test_cache_without_a_disk_lies_in_the_run_directory(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config='[cache]\ndisk = "0"\n')
    disk = Disk(daemon, small=True)
    disk.put("www.example.demo")
    assert disk.take_in()
    assert disk.holds("www.example.demo")
    assert not (daemon.state_dir / "cache").exists()
    assert disk.control().cache_path == disk.place


# Hit counts


def test_hits_are_added_up_and_kept_over_a_refresh(start_fastdns: Start) -> None:
    disk = Disk(start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM))
    name, key = "www.example.demo", cache_key("www.example.demo")
    disk.put(name)
    assert disk.ring().put_hits_of(key, 5)
    assert disk.take_in()
    assert disk.get(name).hits == 5
    assert disk.ring().put_hits_of(key, 2)
    disk.put(name, address="192.0.2.2")
    assert disk.take_in()
    assert disk.get(name).hits == 7
    assert bytes((192, 0, 2, 2)) in disk.get(name).message


def test_hits_alone_are_written_when_they_have_doubled(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=OFTEN)
    disk = Disk(daemon)
    name, key = "www.example.demo", cache_key("www.example.demo")
    disk.put(name)
    assert disk.ring().put_hits_of(key, 8)
    assert disk.take_in()
    assert disk.get(name).hits == 8
    commits = counter(daemon, "disk_commits_total")
    assert disk.ring().put_hits_of(key, 7)
    time.sleep(2.5)  # two intervals
    assert disk.get(name).hits == 8
    assert counter(daemon, "disk_commits_total") == commits
    assert disk.ring().put_hits_of(key, 1)
    eventually(lambda: disk.get(name).hits, lambda hits: hits == 16)


def test_hits_of_a_name_that_is_not_on_disk_cost_nothing(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=OFTEN)
    disk = Disk(daemon)
    assert disk.ring().put_hits_of(cache_key("www.example.demo"), 8)
    eventually(lambda: disk.ring().used, lambda used: used == 0)
    assert disk.take_in()
    assert counter(daemon, "disk_commits_total") == 0


def test_busiest_names_are_told_by_their_rate(start_fastdns: Start) -> None:
    disk = Disk(start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM))
    ring, often, seldom = disk.ring(), cache_key("often.demo"), cache_key("seldom.demo")
    socket_path = disk.run_dir / "keeper"
    time.sleep(1)  # a rate takes time
    for _ in range(10):
        assert ring.put_hits_of(often, 10)
    assert ring.put_hits_of(seldom, 10)
    found = keeper_requests.busiest(socket_path, 10, 5.0)
    assert [key for key, _ in found] == [often, seldom]
    assert found[0][1] > found[1][1] * 9 > 0
    assert [key for key, _ in keeper_requests.busiest(socket_path, 1, 5.0)] == [often]


# Invalidation


def test_change_drops_what_was_asked_before_it_and_nothing_else(start_fastdns: Start) -> None:
    disk = Disk(start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM))
    control = disk.control()
    control.post(CHANGE_NAME, cache_key("removed.demo")[:-7])
    control.post(CHANGE_UNDER, cache_key("flushed.demo")[:-7])
    before = 0
    disk.put("removed.demo", "a.flushed.demo", "flushed.demo", epoch=before)
    disk.put("other.demo", "notflushed.demo", "sub.removed.demo", epoch=before)
    disk.put("again.removed.demo", epoch=control.epoch)
    assert disk.take_in()
    assert set(disk.entries()) == {
        disk_key(cache_key(name))
        for name in ("other.demo", "notflushed.demo", "sub.removed.demo", "again.removed.demo")
    }
    disk.put("removed.demo", "a.flushed.demo", epoch=control.epoch)
    assert disk.take_in()
    assert disk.holds("removed.demo", "a.flushed.demo")


def test_flush_of_all_drops_all_that_was_under_way(start_fastdns: Start) -> None:
    disk = Disk(start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM))
    disk.put(*names(10))
    disk.control().post(CHANGE_ALL)
    disk.put("new.demo")
    assert disk.take_in()
    assert set(disk.entries()) == {disk_key(cache_key("new.demo"))}


def test_more_changes_than_are_remembered_drop_all_that_was_under_way(
    start_fastdns: Start,
) -> None:
    disk = Disk(start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM))
    disk.put(*names(10))
    control = disk.control()
    for number in range(1100):
        control.post(CHANGE_NAME, cache_key(f"x{number}.demo")[:-7])
    assert disk.take_in()
    assert disk.entries() == {}
    assert disk.ring().used == 0


# Who dies


def test_killed_keeper_is_replaced_and_counted_and_the_worker_stays(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config=OFTEN)
    disk, keeper, worker = Disk(daemon), daemon.keeper, daemon.worker
    os.kill(keeper, signal.SIGKILL)
    disk.put("www.example.demo")
    eventually(lambda: disk.holds("www.example.demo"), bool)
    assert daemon.keeper != keeper
    assert daemon.worker == worker
    assert counter(daemon, "keeper_restarts_total") == 1
    assert counter(daemon, "worker_restarts_total") == 0
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_answers_are_given_while_the_keeper_hangs(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config=OFTEN)
    keeper = daemon.keeper
    os.kill(keeper, signal.SIGSTOP)
    try:
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        assert not keeper_requests.take_in(Disk(daemon).run_dir / "keeper", 0.1)
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_kill_of_the_whole_tree_loses_nothing_that_was_in_a_ring(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config=SELDOM)
    disk = Disk(daemon)
    disk.put(*names(1000))
    daemon.kill()
    assert not disk.holds("n0.example.demo")
    with Fastdns(daemon.state_dir, upstream=[upstream], config=SELDOM) as fresh:
        # When it says that it is ready, not some time later.
        assert disk.holds(*names(1000))
        assert data(ask(fresh, upstream.new_name())) == ["192.0.2.1"]


def test_kill_of_the_supervisor_alone_lets_the_next_one_begin_when_all_is_quiet(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config=SELDOM)
    disk, keeper = Disk(daemon), daemon.keeper
    disk.put(*names(100))
    daemon.process.kill()
    daemon.process.wait()
    with Fastdns(daemon.state_dir, upstream=[upstream], config=SELDOM) as fresh:
        assert is_gone(keeper)
        assert disk.holds(*names(100))
        assert data(ask(fresh, upstream.new_name())) == ["192.0.2.1"]
    daemon.kill()


def test_change_made_while_no_daemon_runs_holds_for_what_was_left_in_a_ring(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config=SELDOM)
    disk = Disk(daemon)
    disk.put("removed.demo", "kept.demo")
    daemon.kill()
    disk.control().post(CHANGE_NAME, cache_key("removed.demo")[:-7])
    with Fastdns(daemon.state_dir, upstream=[upstream], config=SELDOM):
        assert disk.holds("kept.demo")
        assert not disk.holds("removed.demo")


def test_damaged_ring_is_emptied_and_used_again(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM)
    disk = Disk(daemon)
    disk.put(*names(100))
    with (disk.run_dir / "ring.0").open("r+b") as ring:
        ring.seek(4096)
        ring.write(b"\xff" * 4096)
    disk.take_in()
    daemon.wait_for_log("ring")
    disk.put("www.example.demo")
    assert disk.take_in()
    assert disk.holds("www.example.demo")


# The end


def test_stop_writes_what_was_still_in_the_ring(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM)
    disk = Disk(daemon)
    disk.put(*names(1000))
    assert disk.ring().put_hits_of(cache_key("n7.example.demo"), 3)
    daemon.stop()
    assert disk.holds(*names(1000))
    assert disk.get("n7.example.demo").hits == 3
    assert not (disk.run_dir / "keeper").exists()


def test_sigterm_to_all_processes_at_once_writes_everything_too(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM)
    disk = Disk(daemon)
    disk.put(*names(1000))
    os.killpg(daemon.pid, signal.SIGTERM)  # as systemd does
    assert daemon.process.wait(5) == 0
    assert disk.holds(*names(1000))


def test_keeper_that_hangs_does_not_hold_up_the_end(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM)
    keeper = daemon.keeper
    os.kill(keeper, signal.SIGSTOP)
    start = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(30) == 0
    assert time.monotonic() - start < 18  # the unit gives it 20
    assert is_gone(keeper)


# Who else reads and writes


def test_every_process_that_may_read_has_a_slot(start_fastdns: Start) -> None:
    """A worker and each thread of its pool; also on the lock file of an older version."""
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM, workers=20)
    disk = Disk(daemon)
    with lmdb.open(str(disk.place), map_size=0, max_dbs=2, readonly=True) as env:
        assert env.info()["max_readers"] >= 11 * 20 + 64
    daemon.stop()
    os.truncate(disk.place / "lock.mdb", 8192)
    with Fastdns(daemon.state_dir, upstream=["127.0.0.1:9"], workers=20):
        assert (disk.place / "lock.mdb").stat().st_size >= 64 * (11 * 20 + 64)


def test_commit_waits_for_the_command_that_holds_the_lock(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=OFTEN)
    disk = Disk(daemon)
    disk.put("first.example.demo")
    assert disk.take_in()  # makes the file of the lock, which has to be the daemon's own
    with writer_lock(disk.place, 2.0):
        disk.put("www.example.demo")
        assert not disk.take_in()
        assert not disk.holds("www.example.demo")
    eventually(lambda: disk.take_in() and disk.holds("www.example.demo"), bool, 10)


def test_octets_written_are_counted_over_restarts(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM)
    disk = Disk(daemon)
    start = time.time()
    for number in range(3):
        disk.put(f"n{number}.demo")
        assert disk.take_in()
    since, first = disk.written()
    assert start - 60 < since <= time.time()
    assert first > 4096
    daemon.stop()
    with Fastdns(daemon.state_dir, upstream=["127.0.0.1:9"], config=SELDOM):
        for number in range(3, 6):
            disk.put(f"n{number}.demo")
            assert disk.take_in()
        assert disk.written()[0] == since
        assert disk.written()[1] > first


# The socket


def test_socket_is_its_users_alone_and_takes_no_nonsense(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM)
    path = Disk(daemon).run_dir / "keeper"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for request in (b"nonsense\n", b"busiest many\n", b"\xff\xfe\n", b"\n"):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(5)
            caller.connect(str(path))
            caller.sendall(request)
            assert caller.recv(256).startswith(b"error ")
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(5)
        caller.connect(str(path))
        caller.sendall(b"x" * 256)  # a line without an end
        assert caller.recv(256) == b""


def test_silent_visitors_do_not_keep_others_out(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM)
    path = Disk(daemon).run_dir / "keeper"
    silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    try:
        for caller in silent:
            caller.settimeout(5)
            caller.connect(str(path))
        assert keeper_requests.take_in(path, 5.0)
        assert keeper_requests.wake_workers(path, 5.0)
    finally:
        for caller in silent:
            caller.close()


def test_socket_that_somebody_removed_comes_back(start_fastdns: Start) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config=SELDOM)
    path = Disk(daemon).run_dir / "keeper"
    path.unlink()
    assert not keeper_requests.take_in(path, 0.1)
    eventually(lambda: keeper_requests.take_in(path, 1.0), bool, 15)
