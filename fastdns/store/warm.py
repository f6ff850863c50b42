"""Which answers on disk are worth loading into memory after a start."""

from __future__ import annotations

import heapq

from .._disk import Disk

ENTRIES_AT_ONCE = 16384  # in one snapshot: a long one would stop the file from reusing its pages


def most_used(disk: Disk, limit: int) -> list[bytes] | None:
    """Return the disk keys of at most so many entries, those with the most hits first.

    Reads the whole file, so it is for a thread that may wait for the disk. Entries that were never
    asked for again are left out. None: the file is damaged.
    """
    best: list[tuple[int, bytes]] = []
    after: bytes | None = b""
    while after is not None:
        hits_min = best[0][0] + 1 if len(best) == limit else 1
        try:
            found, after = disk.scan(after, ENTRIES_AT_ONCE, hits_min)
        except ValueError:
            return None
        for entry in found:
            if len(best) < limit:
                heapq.heappush(best, entry)
            else:
                heapq.heappushpop(best, entry)
    # Not sorted(), which holds the interpreter's lock for a tenth of a second.
    chosen = [heapq.heappop(best)[1] for _ in range(len(best))]
    chosen.reverse()
    return chosen
