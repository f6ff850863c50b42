"""What the keeper has taken from the rings and not yet written."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Sequence

from .._control import Control
from .._entry import newer
from .._key import disk_key
from .._ring import RECORD_ANSWER, RECORD_HITS, RECORD_REMOVAL, RECORD_SPOILED, Ring
from .changes import Changes
from .hits import Hits, Rates
from .store import Store, Update, is_removal

log = logging.getLogger(__name__)

LOOKED_AT = 4  # counts of which the disk's are looked up, for each that may be written
PIECE = 1024 * 1024  # octets of records in one go
SPOILED_LIMIT = 4096  # keys; a sweep finds the others


class Intake:
    """Answers, the last one of each key, and hit counts.

    An answer that must not be kept is one with a TTL of 0: it ends what the disk has of its key.

    The rings keep the answers until `settle`, so that a keeper that dies takes none along.
    """

    def __init__(self, rings: Sequence[Ring], now: float) -> None:
        self._rings = rings
        self._answers: dict[bytes, tuple[int, bytes]] = {}  # by cache key: epoch, value
        self._oldest_epoch = 0
        self._ended: set[bytes] = set()  # keys whose last answer must not be kept
        self.spoiled: set[bytes] = set()  # disk keys of entries that a worker could not use
        self.hits = Hits()
        self.rates = Rates(now)

    @property
    def presses(self) -> bool:
        """Whether a ring is so full that it should be emptied now."""
        return any(ring.used > ring.capacity // 2 for ring in self._rings)

    @property
    def has_ended(self) -> bool:
        """Whether something that the disk may have is over."""
        return bool(self._ended)

    @property
    def answer_count(self) -> int:
        """How many answers wait to be written."""
        return len(self._answers)

    def take(self, now: float) -> None:
        """Read the rings."""
        counts: Counter[bytes] = Counter()
        for ring in self._rings:
            while records := _read(ring):
                for kind, epoch, key, payload in records:
                    if kind in (RECORD_ANSWER, RECORD_REMOVAL):
                        self._note(key, epoch, payload)
                    elif kind == RECORD_HITS:
                        counts[key] += int.from_bytes(payload, sys.byteorder)
                    elif kind == RECORD_SPOILED and len(self.spoiled) < SPOILED_LIMIT:
                        self.spoiled.add(disk_key(key))
        if counts:
            self.rates.add_all(counts.items(), now)
            for key, count in counts.items():
                self.hits.add(key, count)
        if not self._answers:
            self._give_back()

    def answers(self, control: Control) -> list[Update]:
        """Return the answers to write, with the hits of their keys: those no change overtook."""
        if not self._answers:
            return []
        changes = Changes(control, self._oldest_epoch)
        return [
            Update(disk_key(key), value, self.hits.of(key), key)
            for key, (epoch, value) in self._answers.items()
            if not changes.overtook(key, epoch)
        ]

    def counts(self, store: Store, limit: int, *, only_doubled: bool) -> list[Update]:
        """Return the greatest hit counts to be written on top of what the disk has."""
        if only_doubled:
            candidates = self.hits.doubled(limit * LOOKED_AT)
        else:
            candidates = self.hits.greatest(limit)
        candidates = [(key, count) for key, count in candidates if key not in self._answers]
        keys = [disk_key(key) for key, _ in candidates]
        updates = []
        for place, (key, count), known in zip(keys, candidates, store.hits_of(keys), strict=True):
            self.hits.learn(key, known)
            if known is not None and not (only_doubled and count < known):
                updates.append(Update(place, None, count, key))
        return updates[:limit]

    def wrote(self, update: Update) -> None:
        """This one has been written: it is not to be written again, should the next one fail."""
        self.hits.settle(update.key, update.hits)
        known = self._answers.get(update.key)
        if known is not None and known[1] is update.value:
            del self._answers[update.key]

    def settle(self) -> None:
        """All answers have been written, or need not be: the rings have their room again."""
        self._answers.clear()
        self._ended.clear()
        self.spoiled.clear()
        self._give_back()

    def _note(self, key: bytes, epoch: int, value: bytes) -> None:
        if not self._answers or epoch < self._oldest_epoch:
            self._oldest_epoch = epoch
        before = self._answers.get(key)
        if before is None or not newer(before[1], value):  # two workers' rings know no order
            self._answers[key] = (epoch, value)
            if is_removal(value):
                self._ended.add(key)
            else:
                self._ended.discard(key)

    def _give_back(self) -> None:
        for ring in self._rings:
            ring.consume()


def _read(ring: Ring) -> list[tuple[int, int, bytes, bytes]]:
    try:
        return ring.records(PIECE)
    except ValueError as error:
        log.error("%s", error)
        return []
