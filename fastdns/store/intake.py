"""What workers send to the keeper: answers, from which `_intake` chooses, and hit counts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from .. import _intake
from .._clock import Moment
from .._control import Control
from .._key import disk_key
from .._ring import Ring
from .changes import Changes
from .hits import Hits, Rates
from .store import Store

log = logging.getLogger(__name__)

LOOKED_AT = 4  # counts that are compared with those on disk, for each that may be written
SPOILED_LIMIT = 4096  # keys; a sweep finds the others


class Intake(_intake.Intake):
    """The content of the rings, and the hit counts of the keys.

    An answer that must not be cached has a TTL of 0: it replaces the entry on disk by nothing.
    """

    def __init__(self, rings: Sequence[Ring], control: Control, now: float) -> None:
        self._control = control
        self._spoiled: set[bytes] = set()  # keys of entries that a worker found unusable
        self.hits = Hits()
        self.rates = Rates(now)

    @property
    def has_ended(self) -> bool:
        """Whether an entry that the disk may have is outdated."""
        return self.removals > 0

    @property
    def spoiled(self) -> set[bytes]:
        """Disk keys of entries that a worker found unusable."""
        return set(map(disk_key, self._spoiled))

    def take_in(self, now: float) -> None:
        """Read the rings."""
        missed: list[bytes] = []
        try:
            told = self.take(self._spoiled, missed)
        except ValueError as error:
            log.error("%s", error)
            return
        if len(self._spoiled) > SPOILED_LIMIT:
            self._spoiled = set(sorted(self._spoiled)[:SPOILED_LIMIT])
        counts = Counter[bytes]()
        for key, count in told:
            counts[key] += count
        for key, count in counts.items():
            self.hits.add(key, count)
        if told or missed:
            counts.update(missed)
            self.rates.add_all(counts.items(), now)

    def counts(self, store: Store, limit: int, *, only_doubled: bool) -> list[tuple[bytes, int]]:
        """Return the greatest hit counts to be added to those on disk."""
        if only_doubled:
            candidates = self.hits.doubled(limit * LOOKED_AT)
        else:
            candidates = self.hits.greatest(limit)
        candidates = [(key, count) for key, count in candidates if not self.waits(key)]
        counts = []
        known_counts = store.hits_of([disk_key(key) for key, _ in candidates])
        for (key, count), known in zip(candidates, known_counts, strict=True):
            self.hits.learn(key, known)
            if known is not None and not (only_doubled and count < known):
                counts.append((key, count))
        return counts[:limit]

    def commit(
        self, store: Store, now: Moment, record: bytes | None, counts: list[tuple[bytes, int]]
    ) -> int:
        """Write the chosen answers and these counts; return how many answers were written."""
        written = self.write(store, now, record, counts, self.hits)
        self._spoiled.clear()
        return written

    def changes_after(self, epoch: int) -> Changes:
        return Changes(self._control, epoch)
