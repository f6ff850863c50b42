"""What a daemon stands on: its directories, the account it runs under, the lock on its state."""

from __future__ import annotations

import fcntl
import logging
import os
import pwd
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

import attrs

from ..config.places import SYSTEM_ACCOUNT, Places, is_own_name
from ..errors import FastdnsError, StartError
from . import preload

log = logging.getLogger(__name__)

LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
LOCK_SECONDS = 0.1
LOCK_PAUSE_SECONDS = 0.02
# A daemon that was killed leaves children that hold its lock until they end, as they do soon: with
# rings and cache of theirs in use, another one must not begin.
ORPHANS_SECONDS = 6.0
NOBODY = 65534
CAP_CHOWN = 0
PROCESS_STATUS = Path("/proc/self/status")
ACCOUNTS = (SYSTEM_ACCOUNT, "nobody")  # for a daemon started by root: the first that exists


@attrs.frozen
class Account:
    """A user and its group."""

    uid: int
    gid: int


def prepare(places: Places) -> Account | None:
    """Make the directories; return the account to become, None to stay who we are.

    Root becomes the owner of state_dir, or, where that is root's own, the account of fastdns. A
    root that may not, in a container without capabilities, stays root, and a warning says so.
    """
    account = None
    if os.geteuid() == 0:
        account = owner(places.state_dir) or _own_account()
    if account is not None and (reason := obstacle(account)) is not None:
        log.warning("runs as root: it cannot become user %s (%s)", _name(account.uid), reason)
        account = None
    for directory in (places.state_dir, places.run_dir):
        if os.path.exists(directory) and not directory.is_dir():
            raise StartError(f"{directory} is no directory; choose another place with --state DIR")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if account is not None:
                _hand_over(directory, account)
        except OSError as error:
            raise StartError(
                f"{directory}: {error.strerror}; choose another place with --state DIR"
            ) from error
    return account


def check(places: Places) -> None:
    """Make sure that whoever we are now can use the directories; StartError when not.

    A user that root has become may be stopped by a directory above them.
    """
    for directory in (places.state_dir, places.run_dir):
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StartError(
                f"{directory}: user {_name(os.getuid())}, under whom fastdns runs, "
                f"cannot write there; choose another place with --state DIR"
            )


def lock(places: Places, account: Account | None) -> int:
    """Take the lock on state_dir; return its descriptor. StartError names who holds it.

    It is free again when all who have inherited the descriptor have ended.
    """
    try:
        descriptor = os.open(places.lock, LOCK_FLAGS, 0o644)
    except OSError as error:
        raise StartError(f"{places.lock}: {error.strerror}") from error
    # Whoever owns the directory may have put anything there, and we may still be root.
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
                f"or choose another place with --state DIR"
            )
    if account is not None:
        os.fchown(descriptor, account.uid, account.gid)
    sign(descriptor)
    return descriptor


def holder(lock: Path) -> int | None:
    """Return the pid of who holds the lock, 0: it has not said, None: nobody; creates nothing."""
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
    """Say in the locked file who holds the lock: we."""
    with suppress(OSError):  # the lock holds without the pid, too: the disk may be full
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _try_lock(descriptor: int, seconds: float = LOCK_SECONDS) -> bool:
    """Take the lock. A command that looks whether a daemon runs may hold it for a moment."""
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
    """Return True when there is no such process, or only what is left of it."""
    try:
        stat_line = Path(f"/proc/{int(pid)}/stat").read_text()
    except ValueError:
        return False
    except OSError:
        return True
    return stat_line.rpartition(") ")[2][:1] in ("Z", "X")


def obstacle(account: Account) -> str | None:
    """Return why root cannot become this account, None when it can.

    A root in a container may have no capabilities, or no other user may exist in its namespace. A
    child tries it: half of it done in this process could not be taken back.
    """
    if not _may_give_files_away():
        return "it lacks CAP_CHOWN"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(account)
            os.write(writer, b"0")
        except OSError as error:
            os.write(writer, b"%d" % (error.errno or 0))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        said = stream.read()
    with suppress(ChildProcessError):  # whoever has started us ignores its children, and so do we
        os.waitpid(child, 0)
    if said == b"0":
        return None
    return os.strerror(int(said)) if said else "the attempt did not end well"


def _may_give_files_away() -> bool:
    """Return whether this process has CAP_CHOWN, as far as /proc tells."""
    try:
        found = re.search(r"^CapEff:\s*([0-9a-f]+)$", PROCESS_STATUS.read_text(), re.M)
    except OSError:
        return True
    return found is None or bool(int(found[1], 16) & 1 << CAP_CHOWN)


def become(account: Account) -> None:
    """Give up root for good. What is loaded by now can be used; nothing else need be readable."""
    preload.import_late()
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def owner(directory: Path) -> Account | None:
    """Return whose directory it is; None when it is root's or not there."""
    try:
        found = directory.stat()
    except OSError:
        return None
    if found.st_uid == 0:
        return None
    try:
        return Account(found.st_uid, pwd.getpwuid(found.st_uid).pw_gid)
    except KeyError:
        return Account(found.st_uid, found.st_gid or NOBODY)  # never root's group


def _own_account() -> Account | None:
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _hand_over(directory: Path, account: Account) -> None:
    """Make the account the owner of a directory of ours; never of one that holds other things."""
    # By descriptor and no link followed: who owns the directory above may exchange what is there.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        uid = os.fstat(descriptor).st_uid
        if uid == account.uid:
            return
        if uid != 0 or not all(map(is_own_name, os.listdir(descriptor))):
            raise StartError(
                f"{directory} belongs to another user or holds other files; "
                f"choose an empty or a new directory with --state DIR"
            )
        os.fchown(descriptor, account.uid, account.gid)
    finally:
        os.close(descriptor)
