"""The account that a daemon runs under, and how root becomes it."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import attrs

from ..config.places import SYSTEM_ACCOUNT
from . import preload

NOBODY = 65534
CAP_CHOWN = 0
PROCESS_STATUS = Path("/proc/self/status")
ACCOUNTS = (SYSTEM_ACCOUNT, "nobody")  # for a daemon started by root: the first that exists


@attrs.frozen
class Account:
    """A user and its group."""

    uid: int
    gid: int


def own_account() -> Account | None:
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return None


def obstacle(account: Account) -> str | None:
    """Return why root cannot become this account, None if it can.

    A root in a container may have no capabilities, or no other user may exist in its namespace. A
    child tries it, because this process could not undo half of it.
    """
    if not _may_give_files_away():
        return "it lacks CAP_CHOWN"
    return _tried(account, lambda: None)


def may_read(account: Account, files: Iterable[str]) -> bool:
    """Return whether this account, which root can become, may read these files."""

    def read_all() -> None:
        for one in files:
            os.close(os.open(one, os.O_RDONLY | os.O_CLOEXEC))

    return _tried(account, read_all) is None


def _tried(account: Account, work: Callable[[], None]) -> str | None:
    """Return why this account cannot do the work, None if it can. A child tries it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(account)
            work()
            os.write(writer, b"0")
        except OSError as error:
            os.write(writer, b"%d" % (error.errno or 0))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        said = stream.read()
    with suppress(ChildProcessError):  # our parent process ignores its children, and so do we
        os.waitpid(child, 0)
    if said == b"0":
        return None
    return os.strerror(int(said)) if said else "the attempt failed"


def _may_give_files_away() -> bool:
    """Return whether this process has CAP_CHOWN, as far as /proc tells."""
    try:
        found = re.search(r"^CapEff:\s*([0-9a-f]+)$", PROCESS_STATUS.read_text(), re.M)
    except OSError:
        return True
    return found is None or bool(int(found[1], 16) & 1 << CAP_CHOWN)


def become(account: Account) -> None:
    """Drop root for good. Loaded modules still work; nothing else must be readable."""
    preload.import_late()
    drop_root(account)


def drop_root(account: Account) -> None:
    """The same where everything that is needed later has been imported."""
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def owner(directory: Path) -> Account | None:
    """Return the owner of the directory; None if that is root, or it does not exist."""
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


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
