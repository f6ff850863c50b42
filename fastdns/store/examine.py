"""Reads a whole environment that may be damaged, in a separate process, which may die of it.

LMDB trusts its file: on a damaged page it reads unmapped memory, or aborts the process.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import lmdb

from ..errors import Damaged
from .damage import DAMAGE, check_share, is_sound
from .files import DATA, check_head

ENTRIES = b"entries"
ABOUT = b"about"
LIMIT_SECONDS = 300
TEXT_MAX = 1024
NO_FINDING = 2  # exit status: another error occurred
LOOK_AT_PARENT = 10_000  # entries


class Examination:
    """A child that reads everything; `descriptor` becomes readable when it has ended, in any way.

    When it is finished, `spoiled` is the number of damaged entries, if they are too few to condemn
    the rest.
    """

    spoiled = 0

    def __init__(self, place: Path) -> None:
        self.descriptor, told = os.pipe()
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self.descriptor)
            os.close(told)
            raise
        if self._pid == 0:
            _examine(place, told, parent)
        os.close(told)

    def finish(self) -> str | None:
        """Return what is wrong with the environment; None: it is intact. OSError: unknown."""
        finding = os.read(self.descriptor, TEXT_MAX).decode("utf-8", "replace")
        os.close(self.descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        if status == 0:
            self.spoiled = int(finding or 0)
            return None
        if status == NO_FINDING:
            raise OSError(finding)
        if status == -signal.SIGALRM:
            return f"could not be read within {LIMIT_SECONDS} s"
        if status < 0:
            return f"cannot be read: reading it ends with {signal.Signals(-status).name}"
        return finding or f"cannot be read: reading it ends with status {status}"

    def cancel(self) -> None:
        """End it without a result."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self.finish()


def _examine(place: Path, told: int, parent: int) -> None:
    """Run as that child; never returns."""
    status = 1
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # LMDB prints the cause of its death there
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT_SECONDS)
        os.write(told, str(read_all(place, parent)).encode())
        status = 0
    except (Damaged, *DAMAGE) as finding:
        os.write(told, str(finding).encode()[:TEXT_MAX])
    except BaseException as error:
        status = NO_FINDING
        os.write(told, str(error).encode()[:TEXT_MAX])
    finally:
        os._exit(status)


def read_all(place: Path, parent: int = 0) -> int:
    """Read every entry and return how many are damaged; Damaged: too many, or the whole file is.

    May end this process if the file is damaged.
    """
    if not (place / DATA).exists():
        return 0
    if (place / DATA).stat().st_size == 0:
        raise Damaged("is empty")  # LMDB would make it writable, although it may be new
    check_head(place)
    with (
        lmdb.open(
            os.fspath(place), map_size=0, max_dbs=2, readonly=True, create=False, readahead=True
        ) as env,
        env.begin(buffers=True) as transaction,
    ):
        try:
            return _read_databases(env, transaction, parent)
        except lmdb.Error as error:  # it could be opened, so the cause is in the file
            raise Damaged(f"cannot be read by LMDB: {error}") from error


def _read_databases(env: Any, transaction: Any, parent: int) -> int:
    if transaction.stat(env.open_db(None, txn=transaction))["entries"] == 0:
        return 0
    spoiled = 0
    for name in (ABOUT, ENTRIES):
        database = env.open_db(name, txn=transaction, create=False)
        spoiled += _read(transaction, database, name == ENTRIES, parent)
    return spoiled


def _read(transaction: Any, database: Any, holds_entries: bool, parent: int) -> int:
    count, spoiled, last = 0, 0, b""
    with transaction.cursor(db=database) as cursor:
        for key, value in cursor:
            if bytes(key) <= last:
                raise Damaged("has keys out of order")  # or in a loop
            if holds_entries and not is_sound(key, value):
                spoiled += 1
            last = bytes(key)
            count += 1
            if parent and count % LOOK_AT_PARENT == 0 and os.getppid() != parent:
                os._exit(1)  # the parent is gone
    counted = transaction.stat(database)["entries"]
    if count != counted:
        raise Damaged(f"holds {count} entries of {counted}")
    check_share(spoiled, count)
    return spoiled
