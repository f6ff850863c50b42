"""How many bytes the keeper has written to disk."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .._counters import Counters

BLOCK = 512  # bytes, the unit of getrusage


class Writes:
    """The bytes written and since when; the environment keeps the sum over restarts."""

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
        """Add what the block writes, even if it fails."""
        before = octets_written()
        try:
            yield
        finally:
            written = octets_written() - before
            self.octets += written
            self._counters.add("disk_written_bytes_total", written)


def octets_written() -> int:
    """Return the bytes that this process has written."""
    try:
        with open("/proc/self/io", encoding="ascii") as io:
            found = re.search(r"^wchar: (\d+)", io.read(), re.M)
    except OSError:  # a process that has dropped root cannot read it
        found = None
    if found:
        return int(found[1])
    return BLOCK * resource.getrusage(resource.RUSAGE_SELF).ru_oublock
