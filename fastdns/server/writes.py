"""How many octets the keeper has written to disk."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .._counters import Counters

BLOCK = 512  # octets, the unit of getrusage


class Writes:
    """Octets written, since when: the sum outlives the process, in the environment itself."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.since, self.octets = 0.0, 0

    def go_on_from(self, since: float, octets: int) -> None:
        """Continue the sum that was found on disk; a new environment continues ours."""
        if since:
            self.since, self.octets = since, max(octets, self.octets)
        elif not self.since:
            self.since = time.time()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Add what is written inside of the block, also if it fails."""
        before = octets_written()
        try:
            yield
        finally:
            written = octets_written() - before
            self.octets += written
            self._counters.add("disk_written_bytes_total", written)


def octets_written() -> int:
    """Return what this process has written so far."""
    try:
        with open("/proc/self/io", encoding="ascii") as io:
            found = re.search(r"^wchar: (\d+)", io.read(), re.M)
    except OSError:  # who has given up root is not shown it
        found = None
    if found:
        return int(found[1])
    return BLOCK * resource.getrusage(resource.RUSAGE_SELF).ru_oublock
