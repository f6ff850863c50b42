"""The keeper's access to the environment: opens it, handles damage, loss and full disks."""

from __future__ import annotations

import logging
import math
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from .._control import Control
from .._counters import Counters
from ..errors import CutOff, Damaged, LmdbError, MapFull, ReadersFull
from ..store import files
from ..store.examine import Examination
from ..store.lock import LockHeld, writer_lock
from ..store.store import Store
from .writes import Writes

log = logging.getLogger(__name__)

LOCK_SECONDS = 0.5  # that a command may make us wait
PAUSE_SECONDS = 1.0  # after the first failure; doubled each time
PAUSE_MAX_SECONDS = 5.0
SAY_SECONDS = 60.0
REWRITE_SECONDS = 3600.0  # between two rewrites of a full file
COPY_SECONDS = 3600.0  # that a copy of the whole file may take, before the keeper counts as hung
HUNG = "made a look-up run in a loop"
KEPT_PAGES = (
    128  # that LMDB may keep in memory between two commits: a small network's commit has fewer
)
CRASHES = 2  # of the keeper, with an environment in which no damage is found
# Consecutive errors of LMDB itself, not of the system below it, after which the environment is
# examined, and after which it is replaced even if no damage was found.
ODDITIES_SUSPICIOUS = 3
ODDITIES_BORNE = 6
# Between two examinations, when one has found nothing, or could not look; doubled each time, until
# no error came for a while.
EXAMINE_PAUSE_SECONDS = 1.0
EXAMINE_PAUSE_MAX_SECONDS = 60.0
EXAMINE_QUIET_SECONDS = 300.0
NO_ODDITIES = (MapFull, ReadersFull)  # these errors end by themselves
TROUBLE = (OSError, LmdbError, Damaged, LockHeld)


class Trouble:
    """When to try again, and when to log it: one line a minute."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._pause = 0.0
        self._said_at = -SAY_SECONDS
        self._was_said = False
        self.is_on = False
        self.retry_at = math.inf  # when the next attempt is due, if one is

    def begin(self, error: Exception, now: float) -> None:
        self._pause = min(max(2 * self._pause, PAUSE_SECONDS), PAUSE_MAX_SECONDS)
        self.retry_at = now + self._pause
        # A command that changes many entries may hold the lock for a moment.
        is_usual = isinstance(error, LockHeld) and not self.is_on
        self.is_on = True
        if not is_usual and now - self._said_at >= SAY_SECONDS:
            self._said_at, self._was_said = now, True
            log.warning(
                "disk cache %s: %s; until this is fixed, new answers are kept in memory only",
                self._place,
                _text(files.cause_of(error, self._place)),
            )

    def is_waiting(self, now: float) -> bool:
        if now < self.retry_at < math.inf:
            return True
        self.retry_at = math.inf
        return False

    def end(self) -> None:
        """A commit of the waiting answers has succeeded."""
        if self._was_said:
            log.info("disk cache works again: %s", self._place)
        self._pause, self._was_said, self.is_on = 0.0, False, False


class ExaminationPause:
    """When the next examination may begin: each takes a process and reads the whole file."""

    def __init__(self) -> None:
        self._pause = 0.0
        self._at = -math.inf  # when the last one began
        self.next_at = -math.inf

    def begin(self, now: float) -> None:
        if now - self._at > self._pause + EXAMINE_QUIET_SECONDS:
            self._pause = 0.0
        self._at, self.next_at = now, now + self._pause
        self._pause = min(max(2 * self._pause, EXAMINE_PAUSE_SECONDS), EXAMINE_PAUSE_MAX_SECONDS)


class KeeperStore:
    """The environment while it is usable; this class handles and logs its failures.

    A damaged environment is moved away and a new one created. Without room or rights it tries
    again. Workers learn of a new environment by the generation on the control page.
    """

    def __init__(
        self,
        place: Path,
        size: int,
        control: Control,
        counters: Counters,
        *,
        crashes: int,
        readers: int = 0,
    ) -> None:
        """Let so many `readers` open it at once."""
        self._place = place
        self._size = size
        self._control = control
        self._counters = counters
        self._crashes = crashes
        self._readers = readers
        self._store: Store | None = None
        self._trouble = Trouble(place)
        self._oddities = 0
        self._examinations = ExaminationPause()
        self._told_damage_at = -SAY_SECONDS
        self._rewritten_at = -REWRITE_SECONDS
        self.examination: Examination | None = None
        self.wants_sweep = False  # damaged entries were found, and there may be more
        self.writes = Writes(counters)

    @property
    def is_open(self) -> bool:
        return self._store is not None

    @property
    def wants_commit(self) -> bool:
        """Whether only a commit can show that the failure is over."""
        return self._store is not None and self._trouble.is_on

    @property
    def next_at(self) -> float:
        """When to try `store` again; infinite if nothing has to be waited for."""
        if self._control.suspect and self.examination is None:
            waits_until = self._trouble.retry_at
            pause_until = self._examinations.next_at
            return pause_until if waits_until == math.inf else max(pause_until, waits_until)
        return self._trouble.retry_at

    def hurry(self) -> None:
        """Do not wait before the next attempt."""
        self._trouble.retry_at = math.inf

    def writing(self) -> AbstractContextManager[None]:
        """Hold the writer lock."""
        return writer_lock(self._place, LOCK_SECONDS)

    def store(self, now: float) -> Store | None:
        """Return the open environment; None: none is usable now."""
        if self.examination is not None or self._trouble.is_waiting(now):
            return None
        try:
            if self._control.condemned:
                self._renew(HUNG)
            elif self._control.suspect:
                self._examine(now)
            elif self._store is None:
                self._open()
        except TROUBLE as error:
            self.failed(error, now)
        return self._store

    def look(self, now: float) -> None:
        """Check that the files are still the ones that we opened, and intact."""
        try:
            if self._store is not None and not self._store.is_in_place():
                self._close_store()
                log.warning("%s was removed or replaced; opened the new one", self._place)
                self._open()
                self._control.advance_generation()
        except TROUBLE as error:
            self.failed(error, now)

    def failed(self, error: Exception, now: float) -> None:
        """Handle an attempt to use the environment that ended with this error."""
        try:
            if isinstance(error, CutOff) or self._is_suspicious(error):
                self._control.suspect = True
                self._examine(now)
                return
            if isinstance(error, Damaged) or self._oddities >= ODDITIES_BORNE:
                self._renew(str(error))
                return
        except TROUBLE as problem:
            error = problem
        self._wait(error, now)

    def relieve(self, now: float) -> None:
        """Reopen the environment after a large commit, to free the memory that LMDB keeps."""
        if self._store is None or self._store.kept_pages <= KEPT_PAGES:
            return
        try:
            self._close_store()
            self._open()
        except TROUBLE as error:
            self.failed(error, now)

    def grow(self, store: Store) -> bool:
        """Enlarge the map, so that a sweep can run; False: it is already enlarged."""
        try:
            if not store.grow():
                return False
        except LmdbError:
            return False
        self._control.advance_generation()  # workers reopen it, with the new size
        log.info("%s was full; its size limit was raised a little", self._place)
        return True

    def shrink(self, store: Store, now: float) -> None:
        """Shrink the file to the size of its map, once its content fits."""
        if store.is_oversized() and self._write_anew(store, now):
            log.info("%s was shrunk to the size of cache.disk", self._place)

    def rewrite(self, store: Store, now: float) -> bool:
        """Rewrite a file that is so full that nothing can be written; False: it was rewritten
        recently.

        Its free pages belong to transactions that cannot be read back.
        """
        if now < self._rewritten_at + REWRITE_SECONDS:
            return False
        self._rewritten_at = now
        if not self._write_anew(store, now):
            return False
        log.info("%s was full and was rewritten", self._place)
        return True

    def _write_anew(self, store: Store, now: float) -> bool:
        try:
            self._counters.heartbeat(ahead=COPY_SECONDS)
            with self.writing(), self.writes.counted():
                store.write_compact()
                self._close_store()
                files.put_in_place(self._place)
            self._open()
            self._control.advance_generation()
        except TROUBLE as error:
            self.failed(error, now)
            return False
        return True

    def found_damaged(self, entries: int, now: float) -> None:
        """Log that so many entries were removed, because they were not usable."""
        if not entries:
            return
        self.wants_sweep = True
        if now - self._told_damage_at >= SAY_SECONDS:
            self._told_damage_at = now
            log.warning(
                "%s: %d of its entries could not be read and were removed; the others stay",
                self._place,
                entries,
            )

    def succeeded(self) -> None:
        """Note that a commit has succeeded: its obstacle is gone."""
        self._oddities = 0
        self._trouble.end()

    def judge(self, now: float) -> None:
        """Act on the result of the examination."""
        assert self.examination is not None
        examination, self.examination = self.examination, None
        try:
            reason = examination.finish()
            if reason is None and self._crashes >= CRASHES:
                reason = "made the keeper crash repeatedly"
            if reason is None and self._control.condemned:
                reason = HUNG
            if reason is not None:
                self._renew(reason)
            else:
                self._clear_suspicion(examination.spoiled, now)
        except TROUBLE as error:
            self.failed(error, now)

    def close(self) -> None:
        """Close everything; an environment that was being examined stays suspect."""
        self._close_store()
        if self.examination is not None:
            self.examination.cancel()
            self.examination = None

    def _open(self, *, examined: bool = False) -> None:
        store = Store.open(self._place, self._size, examined=examined, readers=self._readers)
        try:
            self.writes.go_on_from(*store.written())
            if self._trouble.is_on:
                with self.writing(), self.writes.counted(), suppress(MapFull):
                    store.try_to_write(self.writes.since, self.writes.octets)
        except BaseException:
            store.close()
            raise
        self._store = store
        if store.is_new:
            self._control.advance_generation()

    def _examine(self, now: float) -> None:
        self._close_store()
        if now >= self._examinations.next_at:
            self._examinations.begin(now)
            self.examination = Examination(self._place)

    def _clear_suspicion(self, damaged: int, now: float) -> None:
        if damaged:
            self.wants_sweep = True
            log.warning("%s has %d damaged entries; they are removed", self._place, damaged)
        else:
            log.info("%s was checked for damage; it has none", self._place)
        self._open(examined=True)
        assert self._store is not None
        with self.writing():
            self._store.fill_up()
        self._control.advance_generation()
        self._control.suspect = False

    def _renew(self, reason: str) -> None:
        """Move the environment away, and start with an empty one."""
        self._close_store()
        if self._place.is_dir():
            with self.writing():
                aside = files.put_aside(self._place)
        else:
            aside = files.put_aside(self._place)
        log.error(
            "%s %s; moved to %s, which you may delete; the disk cache starts empty",
            *(self._place, reason, aside),
        )
        self._counters.add("disk_set_aside_total")
        self._crashes = self._oddities = 0
        self._control.advance_generation()  # no process may continue with the old one
        self._control.suspect = False
        self._open()

    def _is_suspicious(self, error: Exception) -> bool:
        """Return True once, when LMDB itself has failed several times in a row."""
        if not isinstance(error, LmdbError) or isinstance(error, NO_ODDITIES):
            return False
        self._oddities += 1
        return self._oddities == ODDITIES_SUSPICIOUS

    def _wait(self, error: Exception, now: float) -> None:
        self._counters.add("disk_errors_total")
        # A full map and another process's lock end by themselves; any other error may need a new
        # environment.
        if not isinstance(error, (LockHeld, MapFull)):
            self._close_store()
        self._trouble.begin(error, now)

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
