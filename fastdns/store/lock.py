"""The lock that every writer of the cache takes first: it has a timeout and names its holder.

LMDB's own write lock has neither: a process waits for ever if the holder was stopped (SIGSTOP, a
debugger). With this lock before it, none of our processes ever waits there.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FastdnsError

PAUSE_SECONDS = 0.01
FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
FLOCK = struct.Struct("@hhqqi")  # type, whence, start, length, pid
WHOLE = (os.SEEK_SET, 0, 0, 0)


class LockHeld(FastdnsError):
    """Another process writes, and did not end in time; `pid` is 0 if it is unknown."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"the write lock of {path.parent} is held by pid {pid} (stopped?)")
        self.pid = pid


@contextmanager
def writer_lock(place: Path, timeout: float) -> Iterator[None]:
    """Hold the lock of the environment in this directory.

    LockHeld: it was not free in time. OSError: its file cannot be created there.
    """
    path = place / "writer"
    # A POSIX lock, because the kernel names its holder. It ends when this process closes any
    # descriptor of the file, so there is only one descriptor, and no process takes the lock twice.
    descriptor = os.open(path, FLAGS, 0o600)
    try:
        until = time.monotonic() + timeout
        while not _try(descriptor):
            if time.monotonic() >= until:
                raise LockHeld(path, _holder(descriptor))
            time.sleep(PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows both for a lock that is held
        return False
    return True


def _holder(descriptor: int) -> int:
    asked = FLOCK.pack(fcntl.F_WRLCK, *WHOLE)
    kind, *_, pid = FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return int(pid) if kind != fcntl.F_UNLCK else 0
