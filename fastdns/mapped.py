"""Files of run_dir that several processes map: opened if they are as expected, else created."""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from os import PathLike

FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def attach(path: str | PathLike[str], octets: int) -> mmap.mmap:
    """Map an existing file to read and write. OSError: impossible; ValueError: another size."""
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
    """Create a file that starts with `head`, with zeros after it, and move it to path as a whole.

    OSError: no room, or no permission. Processes that have mapped an older file there keep that.
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
    """Return memory without a file, which children of a fork share."""
    memory = mmap.mmap(-1, octets)
    memory[: len(head)] = head
    return memory
