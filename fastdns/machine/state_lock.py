"""The lock on state_dir: only one daemon works there at a time."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from ..config.places import Places
from ..errors import FastdnsError, StartError
from .accounts import Account

LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
LOCK_SECONDS = 0.1
LOCK_PAUSE_SECONDS = 0.02
# A daemon that was killed leaves children that hold its lock until they end, which is soon: another
# daemon must not begin while they use its rings and cache.
ORPHANS_SECONDS = 6.0


def lock(places: Places, account: Account | None) -> int:
    """Take the lock on state_dir; return its descriptor. StartError names its holder.

    It is free again when all processes that have inherited the descriptor have ended.
    """
    try:
        descriptor = os.open(places.lock, LOCK_FLAGS, 0o644)
    except OSError as error:
        raise StartError(f"{places.lock}: {error.strerror}") from error
    # The owner of the directory may have put anything there, and we may still be root.
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(descriptor)
        raise StartError(f"{places.lock}: is not a file of fastdns; remove it")
    if not _try_lock(descriptor):
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        if not (_is_gone(pid) and _try_lock(descriptor, ORPHANS_SECONDS)):
            os.close(descriptor)
            raise StartError(
                f"{places.state_dir} is in use by another fastdns (pid {pid}); "
                f"stop that one, take over from it with --takeover, "
                f"or choose another directory with --state DIR"
            )
    if account is not None:
        os.fchown(descriptor, account.uid, account.gid)
    sign(descriptor)
    return descriptor


def holder(lock: Path) -> int | None:
    """Return the pid of the lock's holder, 0: unknown, None: it is free; creates nothing."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FastdnsError(f"cannot read {lock}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.read(descriptor, 32).strip()
        return int(said) if said.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def sign(descriptor: int) -> None:
    """Write our pid into the locked file."""
    with suppress(OSError):  # the lock also holds without the pid: the disk may be full
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _try_lock(descriptor: int, seconds: float = LOCK_SECONDS) -> bool:
    """Take the lock. A command that checks whether a daemon runs may hold it for a moment."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return True


def _is_gone(pid: str) -> bool:
    """Return True if there is no such process, or only its zombie."""
    try:
        stat_line = Path(f"/proc/{int(pid)}/stat").read_text()
    except ValueError:
        return False
    except OSError:
        return True
    return stat_line.rpartition(") ")[2][:1] in ("Z", "X")
