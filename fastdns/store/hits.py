"""Hit counts between the workers, who count, and the disk, where they survive restarts.

Writing a count costs a page. So a count is written together with an answer, or when it has doubled:
an entry that is asked for a million times is written twenty times for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import nlargest
from operator import itemgetter

PENDING_LIMIT = 65_536  # keys
RATES_LIMIT = 8_192
DECAY_SECONDS = 30.0


class Hits:
    """Answers served that the disk does not count yet, by cache key; bounded."""

    def __init__(self) -> None:
        self._pending: dict[bytes, int] = {}
        self._on_disk: dict[bytes, int] = {}  # the counts on disk, as far as known

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, key: bytes, count: int) -> None:
        pending = self._pending
        if key in pending:
            pending[key] += count
            return
        if len(pending) >= PENDING_LIMIT:
            self._drop_least()
        pending[key] = count

    def of(self, key: bytes) -> int:
        return self._pending.get(key, 0)

    def doubled(self, limit: int) -> list[tuple[bytes, int]]:
        """Return the greatest counts that are at least those on disk, as far as known."""
        known = self._on_disk
        items = (item for item in self._pending.items() if item[1] >= known.get(item[0], 0))
        return nlargest(limit, items, key=itemgetter(1))

    def greatest(self, limit: int) -> list[tuple[bytes, int]]:
        return nlargest(limit, self._pending.items(), key=itemgetter(1))

    def settle(self, key: bytes, count: int) -> None:
        """Subtract what was written to disk."""
        if key in self._pending:
            self._pending[key] -= count
            if self._pending[key] <= 0:
                del self._pending[key]
        self._on_disk.pop(key, None)

    def learn(self, key: bytes, on_disk: int | None) -> None:
        """Note the count on disk; None: there is no such entry."""
        if on_disk is None:
            self._pending.pop(key, None)
            self._on_disk.pop(key, None)
        elif key in self._pending:
            self._on_disk[key] = on_disk

    def _drop_least(self) -> None:
        self._pending = dict(self.greatest(PENDING_LIMIT // 2))
        self._on_disk = {k: v for k, v in self._on_disk.items() if k in self._pending}


class Rates:
    """How often keys were asked for recently: older counts weigh less and less."""

    def __init__(self, now: float) -> None:
        self._counts: dict[bytes, float] = {}
        self._start = self._last = now

    def add_all(self, counts: Iterable[tuple[bytes, int]], now: float) -> None:
        """Add what was counted since the last call."""
        passed = max(now - self._last, 0.001)
        self._last = now
        faded = math.exp(-passed / DECAY_SECONDS)
        for key in self._counts:
            self._counts[key] *= faded
        # As far as we know they were spread evenly, and did not all come now.
        weight = DECAY_SECONDS * (1 - faded) / passed
        for key, count in counts:
            self._counts[key] = self._counts.get(key, 0.0) + count * weight
        if len(self._counts) > RATES_LIMIT:
            self._counts = dict(self._most(RATES_LIMIT // 2))

    def busiest(self, limit: int) -> list[tuple[bytes, float]]:
        """Return the keys asked for most, with hits a second."""
        # Time before we began to count must not count as time without hits.
        seconds = DECAY_SECONDS * (1 - math.exp(-(self._last - self._start) / DECAY_SECONDS))
        return [(key, count / max(seconds, 0.001)) for key, count in self._most(limit)]

    def _most(self, limit: int) -> list[tuple[bytes, float]]:
        return nlargest(limit, self._counts.items(), key=itemgetter(1))
