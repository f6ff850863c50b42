"""What a daemon stands on: its directories, the account it runs under, the lock on its state."""

from __future__ import annotations

import fcntl
import os
import pwd
import time
from pathlib import Path

import attrs

from ..config.places import Places
from ..errors import StartError

LOCK_TRIES = 5
LOCK_PAUSE_SECONDS = 0.02
ACCOUNTS = ("fastdns", "nobody")  # for a daemon started by root: the first that exists


@attrs.frozen
class Account:
    """A user and its group."""

    uid: int
    gid: int


def prepare(places: Places) -> Account | None:
    """Make the directories; return the account to become, None to stay who we are.

    Root becomes the owner of state_dir, or, where that is root's own, the account of fastdns.
    """
    account = _account(places.state_dir) if os.geteuid() == 0 else None
    for directory in (places.state_dir, places.run_dir):
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
            user = pwd.getpwuid(os.getuid()).pw_name
            raise StartError(
                f"{directory}: user {user}, under whom fastdns runs, cannot write there; "
                f"choose another place with --state DIR"
            )


def lock(places: Places, account: Account | None) -> int:
    """Take the lock on state_dir; return its descriptor. StartError names who holds it."""
    try:
        descriptor = os.open(
            places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
    except OSError as error:
        raise StartError(f"{places.lock}: {error.strerror}") from error
    if not _try_lock(descriptor):
        pid = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StartError(
            f"{places.state_dir} is in use by another fastdns (pid {pid}); "
            f"stop that one, or choose another place with --state DIR"
        )
    if account is not None:
        os.fchown(descriptor, account.uid, account.gid)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _try_lock(descriptor: int) -> bool:
    """Take the lock. A command that looks whether a daemon runs may hold it for a moment."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return True
    return False


def become(account: Account) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def _account(state_dir: Path) -> Account | None:
    try:
        owner = state_dir.stat()
    except OSError:
        owner = None
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return None


def _hand_over(directory: Path, account: Account) -> None:
    """Make the account the owner of a directory of ours; never of one that holds other things."""
    owner = directory.stat()
    if owner.st_uid == account.uid:
        return
    strangers = {entry.name for entry in os.scandir(directory)} - {"lock", "run", "counters"}
    if owner.st_uid != 0 or strangers:
        raise StartError(
            f"{directory} belongs to another user or holds other files; "
            f"choose an empty or a new directory with --state DIR"
        )
    os.chown(directory, account.uid, account.gid)
