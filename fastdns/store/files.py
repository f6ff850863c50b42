"""The files of the LMDB environment: checks, replaces and moves them away.

Looks at the outside of the files only. Readers find damage further inside.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from pathlib import Path

from .._database import Database
from ..errors import CutOff, Damaged

DATA = "data.mdb"
LOCK = "lock.mdb"
FRESH = "data.mdb.new"
PROBE = "data.mdb.probe"
PROBE_OCTETS = 1 << 20  # about as much as a commit writes
NOT_TO_BE_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
LOCK_OCTETS = 16 * 1024  # at least: 254 reader slots
SLOT_OCTETS = 64  # bytes of LMDB's lock file for each reader; the head takes less than three
PAGE = 4096
COMMIT_SECONDS = 1.0  # for which another process may see the end of a commit
COMMIT_LOOK_SECONDS = 0.01
# The head of each of LMDB's first two pages, in the machine's own sizes: page number, two shorts,
# bounds; magic, version, address, size of the map, size of a page.
META = struct.Struct("@NHHIIIPNI")
META_PAGES = 2
GAP_PAGES = 8  # that LMDB may have allocated and freed at the end of the file, at most
META_MAGIC = 0xBEEFC0DE
META_VERSION = 1
PAGE_SIZES = {512 << shift for shift in range(8)}


def put_aside(place: Path) -> Path:
    """Rename the files of the environment, which no process of ours may write now; return the new
    name.

    Removes an older damaged file, so that they do not fill the disk.
    """
    if not place.is_dir():
        return _rename(place)
    aside = _rename(place / DATA)  # first: no process opens the other one without it
    _rename(place / LOCK)
    return aside


def put_in_place(place: Path) -> None:
    """Put the fresh copy in place of the file; under the writer lock, with none of it open here."""
    (place / LOCK).unlink(missing_ok=True)  # it counts the old file's transactions
    (place / FRESH).replace(place / DATA)


def _rename(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged")
    if not os.path.lexists(path):
        return aside
    if aside.is_dir() and not aside.is_symlink():
        _remove_tree(aside)
    elif path.is_dir():
        aside.unlink(missing_ok=True)
    return path.replace(aside)


def _remove_tree(top: Path) -> None:
    """Remove a directory that was put there, without following links out of it.

    Not shutil.rmtree: a daemon does not load shutil (with bz2 and lzma), and after it has dropped
    root it may be unable to load it. os.fwalk is also safe from links that are exchanged.
    """
    for _, folders, names, folder in os.fwalk(top, topdown=False):
        for name in names:
            os.unlink(name, dir_fd=folder)
        for name in folders:
            try:
                os.rmdir(name, dir_fd=folder)
            except NotADirectoryError:  # a link to one
                os.unlink(name, dir_fd=folder)
    os.rmdir(top)


def cause_of(error: Exception, place: Path) -> Exception:
    """Return why nothing can be written there: LMDB also reports EIO when a disk is full.

    If the last page fits in part, write(2) returns a short length, not an error.
    """
    if not isinstance(error, OSError) or error.errno != errno.EIO:
        return error
    path = place / PROBE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            path.unlink()
            os.posix_fallocate(descriptor, 0, PROBE_OCTETS)
        finally:
            os.close(descriptor)
    except OSError as found:
        if found.errno in NOT_TO_BE_WRITTEN:
            return OSError(found.errno, os.strerror(found.errno))
    return error


def check_length(env: Database, place: Path) -> None:
    """CutOff: the file is shorter than the pages that LMDB has allocated."""
    length = (place / DATA).stat().st_size
    if length < env.wanted_length:
        raise CutOff(f"is truncated: it has {length} bytes of {env.wanted_length}")


def close_gap(env: Database, place: Path) -> None:
    """Extend a file that lacks a few pages, because its writer was killed earlier (see CutOff).

    If they did hold data, the first look at them finds damage.
    """
    missing = env.wanted_length - (place / DATA).stat().st_size
    if 0 < missing <= GAP_PAGES * env.page_octets:
        env.fill_up()


def check_head(place: Path) -> None:
    """Damaged: LMDB would refuse the file or fail, as far as its first pages show."""
    path = place / DATA
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Damaged("is not a file")
        if found.st_size == 0:
            return  # LMDB was killed right after it created the file: it starts again there
        page_size = 0
        for number in range(META_PAGES):
            head = os.pread(descriptor, META.size, number * page_size)
            if len(head) < META.size:
                raise Damaged(f"is truncated: it has {found.st_size} bytes")
            *_, magic, version, _, _, page_size = META.unpack(head)
            if magic != META_MAGIC:
                raise Damaged("is not an LMDB file")
            if version != META_VERSION:
                raise Damaged(f"is of another version of LMDB ({version})")
            if page_size not in PAGE_SIZES:
                raise Damaged(f"has pages of {page_size} bytes")
            if found.st_size < META_PAGES * page_size:
                raise Damaged(f"is truncated: it has {found.st_size} bytes")
    finally:
        os.close(descriptor)


def allocate_lock(path: Path, readers: int = 0) -> None:
    """Allocate LMDB's lock file on disk: a hole in it is a SIGBUS once the disk is full.

    Its length decides how many processes may read at once. It is extended for so many `readers`
    while no process has it open, because such a process would not map the new end but read there.
    """
    if path.is_dir():
        _rename(path)
    octets = max(LOCK_OCTETS, -(-SLOT_OCTETS * (readers + 2) // PAGE) * PAGE)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        length = os.fstat(descriptor).st_size
        if length < octets and not _take_alone(descriptor):
            octets = length or octets
        os.posix_fallocate(descriptor, 0, octets)
    finally:
        os.close(descriptor)


def _take_alone(descriptor: int) -> bool:
    """Lock the byte by which LMDB knows whether other processes have its lock file open."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
    except OSError:
        return False
    return True


def counts_for_another(env: Database) -> bool:
    """Return True if the lock file counts the transactions of another data file.

    One of them was exchanged while other processes had both open. By the lock's count LMDB chooses
    which of a file's two states to read and to continue, which may be the older one.
    """
    until = time.monotonic() + COMMIT_SECONDS
    while True:
        counted = env.seen_transaction()
        ahead = env.last_transaction - counted
        # While another process commits, the file is ahead by that one transaction.
        if ahead != 1 or time.monotonic() >= until:
            return bool(ahead)
        time.sleep(COMMIT_LOOK_SECONDS)


def identity(place: Path) -> list[tuple[int, int]]:
    """The identity of the files: another file under the same name is another environment."""
    files = [(place / name).stat() for name in (DATA, LOCK)]
    return [(found.st_dev, found.st_ino) for found in files]
