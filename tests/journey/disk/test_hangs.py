"""Files on which a process would hang: it is noticed, and the files are replaced."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from fastdns.store.warm import ENTRIES_AT_ONCE

from ..support import impatient
from ..support.cache import Disk
from ..support.client import ask, data, eventually
from ..support.daemon import Fastdns
from ..support.false_upstream import FalseUpstream
from ..test_keeper import SELDOM, counter, is_gone, names
from .damage import PAGE, Again, Start, ask_twice, assert_works, send_round

WARM_LOOK_UPS = 32  # after which a worker looks itself, and has no thread look


def test_keys_out_of_order_are_found_at_the_start(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    with disk.data.open("r+b") as file:
        at = disk.data.stat().st_size // 2 // PAGE * PAGE + 10
        while not (flags := os.pread(file.fileno(), 1, at)[0]) & 2:
            at += PAGE
        os.pwrite(file.fileno(), bytes([flags | 0x20]), at)
    with again() as daemon:
        daemon.wait_for_log("moved to")
        assert not any("defect" in line for line in daemon.log)
        assert_works(daemon, disk, upstream)


HANG_SECONDS = 60.0  # until a hang is seen: others may leave the keeper a tenth of a processor


def impatient_daemon(disk: Disk, upstream: FalseUpstream) -> Fastdns:
    daemon = Fastdns(disk.place.parent, upstream=[upstream], config=SELDOM)
    at = daemon.command.index("-m")
    daemon.command[at : at + 2] = [impatient.__file__]
    return daemon


@pytest.mark.parametrize("who", ["worker", "keeper"])
def test_file_that_sends_look_ups_round_in_a_circle_is_put_aside_at_the_first_hang(
    disk: Disk, upstream: FalseUpstream, who: str
) -> None:
    with impatient_daemon(disk, upstream) as daemon:
        for name in names(WARM_LOOK_UPS):
            ask(daemon, name)
        send_round(disk.data)
        if who == "worker":
            with suppress(TimeoutError):
                ask(daemon, "n1000.example.demo", timeout=0.5)
        else:
            disk.put("new.example.demo")
            disk.take_in(0.5)
        daemon.wait_for_log(f"{who}.* hangs", HANG_SECONDS)
        daemon.wait_for_log("run in a loop; moved to")
        eventually(lambda: ask_twice(daemon, "n7.example.demo"), bool)
        assert_works(daemon, disk, upstream)
        assert sum(f"{who} (pid" in line and "hangs for" in line for line in daemon.log) == 1
        assert counter(daemon, "disk_set_aside_total") == 1
        assert (disk.place / "data.mdb.damaged").exists()


def test_thread_that_goes_round_in_a_circle_ends_with_its_worker(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon, disk = start(SELDOM)
    for part in range(3):  # more than are looked at in one go after a start, in order
        disk.put(*names(ENTRIES_AT_ONCE // 2, f"part{part}.demo"))
        assert disk.take_in()
    daemon.stop()
    send_round(disk.data, only_top=True)
    with impatient_daemon(disk, upstream) as again:
        first = again.worker
        # By a sweep of the keeper's:
        again.wait_for_log("run in a loop; moved to", HANG_SECONDS)
        again.wait_for_log("runs in a loop", HANG_SECONDS)
        assert data(ask(again, upstream.new_name())) == ["192.0.2.1"]
        again.wait_for_log(rf"worker \(pid {first}\) hangs")
        eventually(lambda: is_gone(first), bool)
        assert_works(again, disk, upstream)
        assert counter(again, "disk_set_aside_total") == 1, again.tail()
