"""A file that is replaced when the new one is complete, or stays as it is."""

from __future__ import annotations

import errno
import os
import signal
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

_ALL_IS_THERE = b"1"
# The terminal sends them to all processes; only ours acts on one, and tells the other.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class InPlace:
    """A device or a pipe, written directly; written data stays in any case."""

    def __init__(self, file: str) -> None:
        # Appended: standard output may be a file with content.
        self.stream: BinaryIO = open(file, "ab")  # noqa: SIM115 - `close` does

    def finish(self) -> None:
        self.stream.flush()

    def close(self) -> None:
        with suppress(OSError):  # told by what came before
            self.stream.close()


class Replacement:
    """A new file that replaces the old one when it is complete; else it is removed.

    A separate process does both. It survives ours if a damaged cache kills that, and it can still
    rename the file after we have dropped root.
    """

    def __init__(self, file: str) -> None:
        if not os.path.basename(file):
            number = errno.EISDIR if file else errno.ENOENT
            raise OSError(number, os.strerror(number))
        target = os.path.realpath(file)
        if os.path.exists(target) and not os.access(target, os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        # A signal waits until the process that removes the file runs.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            descriptor, temporary = tempfile.mkstemp(
                prefix=".fastdns-export-", suffix=".tmp", dir=os.path.dirname(target)
            )
            self.stream: BinaryIO = os.fdopen(descriptor, "wb")
            try:
                self._pipe, self._child = _start(temporary, target)
            except OSError:
                Path(temporary).unlink()
                raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def finish(self) -> None:
        """Sync the file and rename it; OSError: that failed."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        os.write(self._pipe, _ALL_IS_THERE)
        if failed := self._end():
            raise OSError(failed, os.strerror(failed))

    def close(self) -> None:
        """Remove the new file, unless it was completed."""
        if self._child:
            self._end()
        with suppress(OSError):  # the rest, which no longer fits
            self.stream.close()

    def _end(self) -> int:
        os.close(self._pipe)
        child, self._child = self._child, 0
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_written_in_place(file: str) -> bool:
    """Return True for what cannot be replaced: devices, pipes, names of descriptors."""
    try:
        found = os.stat(file)
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode):
        return True
    while os.path.islink(file):  # /dev/stdout leads to /proc/self/fd/1, and that to any file
        directory = os.path.dirname(file)
        if os.path.realpath(directory).startswith("/proc/"):
            return True
        file = os.path.join(directory, os.readlink(file))
    return False


def _start(temporary: str, target: str) -> tuple[int, int]:
    """Start the process that renames the file once it is complete; return pipe and pid."""
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if child == 0:
        _replace(temporary, target, reading, writing)
    os.close(reading)
    return writing, child


def _replace(temporary: str, target: str, reading: int, writing: int) -> NoReturn:
    status = errno.EIO
    try:
        for number in _ENDING:  # blocked since before we were forked
            signal.signal(number, signal.SIG_IGN)
        os.close(writing)
        if os.read(reading, 1) == _ALL_IS_THERE:
            os.replace(temporary, target)
        else:
            os.unlink(temporary)
        status = 0
    except OSError as error:
        status = error.errno or status
        with suppress(OSError):
            os.unlink(temporary)
    finally:
        os._exit(status)
