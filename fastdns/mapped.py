"""Files of run_dir that several processes map: opened when they are as expected, else made anew."""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from os import PathLike

FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def attach(path: str | PathLike[str], octets: int) -> mmap.mmap:
    """Map an existing file to read and write (OSError: it cannot be; ValueError: another size)."""
    descriptor = os.open(path, FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != octets:
            raise ValueError(f"{path} was written by another version of fastdns, or is damaged")
        # A hole in it would be a SIGBUS once the file system is full.
        os.posix_fallocate(descriptor, 0, octets)
        return mmap.mmap(descriptor, octets)
    finally:
        os.close(descriptor)


def create(path: str | PathLike[str], octets: int, head: bytes) -> mmap.mmap:
    """Make a file that starts with `head`, zero otherwise, and put it at path whole.

    OSError: no room, or no right. Who has mapped an older file there keeps what it has.
    """
    fresh = f"{path}.new"
    descriptor = os.open(fresh, FLAGS | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # Not ftruncate: on a full tmpfs the first write through the mapping would be a SIGBUS.
        os.posix_fallocate(descriptor, 0, octets)
        memory = mmap.mmap(descriptor, octets)
        memory[: len(head)] = head
        os.rename(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise
    finally:
        os.close(descriptor)
    return memory


def anonymous(octets: int, head: bytes) -> mmap.mmap:
    """Memory without a file, which children of a fork share."""
    memory = mmap.mmap(-1, octets)
    memory[: len(head)] = head
    return memory
