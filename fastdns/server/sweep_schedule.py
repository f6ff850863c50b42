"""When the keeper sweeps: in slices between other work, on a schedule or when it must."""

from __future__ import annotations

from collections.abc import Iterator

from .._counters import Counters
from .._writer import FULL
from ..errors import MapFull
from ..store.store import Store
from ..store.sweep import Sweeper
from .keeper_store import TROUBLE, KeeperStore

EXPIRE_SECONDS = 3600.0
FIRST_EXPIRE_SECONDS = 2.0  # the start of the workers comes first
# After a sweep, until the next one for damaged entries: at least so long, and so many times as long
# as that sweep took.
DAMAGE_PAUSE_SECONDS = 5.0
DAMAGE_PAUSE_TIMES = 10
PAUSE_SECONDS = 0.01  # between two slices of a sweep that is not urgent
IN_VAIN_SECONDS = 5.0  # until the next try, if no room could be made


class SweepSchedule:
    """Does one slice of a sweep when it is due."""

    def __init__(self, disk: KeeperStore, stale: int, counters: Counters, now: float) -> None:
        self._disk = disk
        self._stale = stale
        self._counters = counters
        self._store: Store | None = None
        self._sweeper: Sweeper | None = None
        self._sweep: Iterator[int] | None = None
        self._makes_room = False
        self._map_was_full = False
        self._commit_waits = False
        self._expire_at = self.next_at = now + FIRST_EXPIRE_SECONDS
        self._began_at = self._not_before = now

    @property
    def is_idle(self) -> bool:
        """Whether no sweep is running: one continues where it is in the open environment."""
        return self._sweep is None

    def look(self, now: float) -> None:
        """Begin soon, because damaged entries were found: there may be more."""
        if self._disk.wants_sweep:
            self._disk.wants_sweep = False
            self._expire_at = min(self._expire_at, max(now, self._not_before))
            if self._sweep is None:
                self.next_at = min(self.next_at, self._expire_at)

    def comes_first(self, store: Store) -> bool:
        """Whether a commit would fail until there is more room."""
        waits = self._map_was_full or self._commit_waits
        return store is self._store and waits and self._makes_room

    def see(self, store: Store, now: float, *, is_cut_short: bool) -> None:
        """After a commit: report how full the environment is; begin to make room if it is too full.

        An interrupted sweep continues when there is room.
        """
        self._map_was_full, self._commit_waits = False, is_cut_short
        if self._show(store) >= FULL:
            self._begin(store, now, makes_room=True)

    def make_room(self, store: Store, error: Exception, now: float) -> None:
        """After a commit for which the map had no room: sweep. If that fails, the disk is to blame.

        That is so while a stopped reader keeps old pages alive.
        """
        if self._map_was_full and not self._disk.grow(store):
            self._map_was_full = False
            if not self._disk.rewrite(store, now):
                self._disk.failed(error, now)
            return
        self._map_was_full = True
        self._begin(store, now, makes_room=True)

    def sweep(self, store: Store, now: float) -> None:
        """Do one slice."""
        if self._sweep is None or store is not self._store:
            self._begin(store, now, makes_room=False)
        assert self._sweep is not None
        try:
            with self._disk.writes.counted():
                freed = next(self._sweep, None)
            if freed is None:
                self._end(store, now)
            else:
                self._counters.add("disk_swept_total", freed)
                self.next_at = now if self._makes_room else now + PAUSE_SECONDS
        except MapFull as error:
            self._forget(now)
            self.make_room(store, error, now)
        except TROUBLE as error:
            self._forget(now)
            self._disk.failed(error, now)

    def _begin(self, store: Store, now: float, *, makes_room: bool) -> None:
        if store is not self._store:
            self._store = store
            self._sweeper = Sweeper(store, self._stale, self._disk.writing)
            self._sweep = None
        assert self._sweeper is not None
        if self._sweep is None or (makes_room and not self._makes_room):
            self._sweep = self._sweeper.make_room() if makes_room else self._sweeper.expire()
            self._makes_room = makes_room
            self.next_at = self._began_at = now

    def _end(self, store: Store, now: float) -> None:
        made_room = self._makes_room
        damaged = self._sweeper.spoiled if self._sweeper is not None and not made_room else 0
        self._forget(now)
        if not made_room:
            self._expire_at = self.next_at = now + EXPIRE_SECONDS
            pause = DAMAGE_PAUSE_TIMES * (now - self._began_at)
            self._not_before = now + max(pause, DAMAGE_PAUSE_SECONDS)
            self._counters.add("disk_damaged_total", damaged)
            self._disk.found_damaged(damaged, now)
            self._disk.wants_sweep = False  # a sweep has just ended
        if self._show(store) < FULL:
            self._disk.shrink(store, now)
        elif made_room:
            self.next_at = now + IN_VAIN_SECONDS
        else:
            self._begin(store, now, makes_room=True)

    def _forget(self, now: float) -> None:
        self._sweep, self._makes_room = None, False
        self.next_at = max(self._expire_at, now)

    def _show(self, store: Store) -> float:
        usage = store.usage()
        self._counters.set("disk_entries", usage.entries)
        self._counters.set("disk_bytes", usage.octets)
        return usage.share
