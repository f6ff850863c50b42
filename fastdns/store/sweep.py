"""Makes room: removes expired entries first, then those used least.

A sweep is a generator that reads a slice, deletes entries of it, and yields, so that its caller can
do urgent work between two slices. LMDB joins pages only when they are nearly empty. So going from
80 % of the pages down to 70 % removes about half of the entries; then as many new ones fit before a
page has to be split again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager

from .._clock import Moment, age_of
from .._entry import peek
from .._writer import ROOMY
from .damage import check_share, is_sound
from .lock import LockHeld
from .store import Item, Store

PART = 3  # a round removes the least used entries: one in so many bytes
AGE_STEP_MS = 600_000  # entries this close in age count as equal
AGES = 1 << 16
EXPIRED = -1
Writing = Callable[[], AbstractContextManager[None]]


class Sweeper:
    """Makes room in one environment; its sweeps yield after each slice how many they removed."""

    def __init__(self, store: Store, stale: int, writing: Writing) -> None:
        self._store = store
        self._stale_ms = stale * 1000
        self._writing = writing
        self._position = b""
        self.spoiled = 0  # damaged entries that the last sweep has found and removed

    def expire(self) -> Iterator[int]:
        """Remove expired and damaged entries; Damaged: there are too many damaged ones."""
        self.spoiled = 0
        entries = self._store.usage().entries
        for found in self._store.slices():
            spoiled = [item for item in found if not is_sound(*item)]
            self.spoiled += len(spoiled)
            check_share(self.spoiled, entries)
            self._remove(spoiled)
            now = Moment.now()
            yield self._remove(item for item in found if self._rank(item[1], now) == EXPIRED)

    def make_room(self) -> Iterator[int]:
        """Remove expired entries, then the least used, until there is enough room."""
        ranks, limit = Counter[int](), EXPIRED
        while True:
            for found in self._slices_around():
                ranks += yield from self._sweep(found, limit)
                if self._excess() <= 0:
                    return
            if not ranks:
                return
            ranks, limit = Counter(), _limit_of(ranks)

    def _sweep(self, found: list[Item], limit: int) -> Generator[int, None, Counter[int]]:
        """Remove the entries up to this rank; return the bytes of the others, by rank."""
        now = Moment.now()
        victims, ranks = [], Counter[int]()
        for item in found:
            rank = self._rank(item[1], now)
            if rank <= limit:
                victims.append(item)
            else:
                ranks[rank] += len(item[0]) + len(item[1])
        if limit == EXPIRED:
            yield self._remove(victims)
            return ranks
        yield from self._remove_until_roomy(victims)
        return ranks

    def _remove_until_roomy(self, victims: list[Item]) -> Iterator[int]:
        """Remove these in order, no more than needed: a slice may be the whole content of a small
        map.

        Removing an entry may free twice its size, because a page is half full at times.
        """
        first = 0
        while True:
            octets = max(self._excess() // 2, self._store.page_octets)
            end = first
            while end < len(victims) and octets > 0:
                octets -= len(victims[end][0]) + len(victims[end][1])
                end += 1
            yield self._remove(victims[first:end])
            if end:
                self._position = victims[end - 1][0] + b"\0"
            if end == len(victims) or self._excess() <= 0:
                return
            first = end

    def _excess(self) -> int:
        """Surplus bytes of live pages."""
        return self._store.usage().octets - int(self._store.size * ROOMY)

    def _slices_around(self) -> Iterator[list[Item]]:
        """Yield all entries once, from where the last sweep stopped.

        Else the first entries would always be removed where all have the same rank.
        """
        start = self._position
        for found in self._store.slices(start):
            self._position = found[-1][0] + b"\0"
            yield found
        for found in self._store.slices():
            before = [item for item in found if item[0] < start]
            if not before:
                return
            self._position = before[-1][0] + b"\0"
            yield before

    def _rank(self, value: bytes, now: Moment) -> int:
        """Return the place in the order of removal: expired, fewest hits, oldest."""
        try:
            wall, boot_clock, boot, ttl, hits, _ = peek(value)
        except ValueError:  # usable by no one
            return EXPIRED
        age = age_of(wall, boot_clock, boot, now)
        if age is None:  # cannot be judged; counts as old
            return hits * AGES
        if age >= ttl * 1000 + self._stale_ms:
            return EXPIRED
        return hits * AGES + max(AGES - 1 - age // AGE_STEP_MS, 0)

    def _remove(self, items: Iterable[Item]) -> int:
        doomed = list(items)
        if not doomed:
            return 0
        try:
            with self._writing():
                return self._store.delete_unchanged(doomed)
        except LockHeld:  # by a command; they go another time
            return 0


def _limit_of(ranks: Counter[int]) -> int:
    """Return the rank that separates one part of the bytes."""
    wanted = ranks.total() / PART
    for rank in sorted(ranks):
        wanted -= ranks[rank]
        if wanted <= 0:
            return rank
    return EXPIRED
