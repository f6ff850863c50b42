"""Files that are removed, exchanged or forbidden: answers continue, and the cache recovers."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from ..support.cache import Disk
from ..support.client import ask, data, eventually
from ..support.false_upstream import FalseUpstream
from ..test_keeper import OFTEN, counter
from .damage import ROOT, Again, Start, assert_works


@pytest.mark.parametrize("what", ["data.mdb", "lock.mdb", "everything", "the directory"])
def test_files_that_somebody_removed_come_back(
    start_filled: Start, upstream: FalseUpstream, what: str
) -> None:
    daemon, disk = start_filled(OFTEN)
    generation = disk.control().generation
    if what == "the directory":
        shutil.rmtree(disk.place)
    elif what == "everything":
        for path in disk.place.iterdir():
            path.unlink()
    else:
        (disk.place / what).unlink()
    eventually(lambda: disk.control().generation, lambda seen: seen > generation, 15)
    assert_works(daemon, disk, upstream)
    assert disk.holds("n0.example.demo") == (what == "lock.mdb")


def test_file_that_somebody_exchanged_is_used(
    start: Start, start_filled: Start, upstream: FalseUpstream
) -> None:
    other, theirs = start(OFTEN)
    theirs.put("theirs.demo")
    other.stop()
    daemon, disk = start_filled(OFTEN)
    os.replace(theirs.data, disk.data)
    eventually(lambda: disk.holds("theirs.demo"), bool)
    eventually(lambda: disk.take_in() and any("replaced" in line for line in daemon.log), bool, 15)
    assert_works(daemon, disk, upstream)
    assert disk.holds("theirs.demo")


def forbid(directory: Path) -> None:
    if ROOT:
        os.chown(directory, 0, 0)
    directory.chmod(0o555)


def allow(directory: Path, owner: os.stat_result) -> None:
    directory.chmod(0o700)
    if ROOT:
        os.chown(directory, owner.st_uid, owner.st_gid)


def test_directory_that_cannot_be_written_is_waited_for(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    owner = disk.place.stat()
    for path in disk.place.iterdir():
        path.unlink()
    forbid(disk.place)
    with again(OFTEN) as fresh:
        told = fresh.wait_for_log("kept in memory only")
        assert str(disk.place) in told.string
        assert data(ask(fresh, upstream.new_name())) == ["192.0.2.1"]
        disk.put("meanwhile.demo")
        time.sleep(2.5)  # more tries, of which nothing is said
        assert len([line for line in fresh.log if "kept in memory only" in line]) == 1
        assert counter(fresh, "disk_errors_total") > 1
        allow(disk.place, owner)
        fresh.wait_for_log("works again", 10)
        assert disk.holds("meanwhile.demo") or disk.take_in()
        assert disk.holds("meanwhile.demo")
        assert_works(fresh, disk, upstream)
