"""Files that are replaced as a whole: after a crash or on a full disk, the former one is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SAFELY = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


@contextmanager
def replaced(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Yield a stream for the new content, which is on disk and in its place afterwards.

    OSError: it could not be written. After any exception the former file is as before.
    """
    fresh = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        os.unlink(fresh)  # a crash has left it
    descriptor = os.open(fresh, SAFELY, mode)
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        os.rename(fresh, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(fresh)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
