"""Which upstreams answer REFUSED or SERVFAIL to everything: said once, and once when that ends.

Such an upstream is alive, and the others answer in its place or nobody does; without a line in the
log its owner has nothing to go by.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import NamedTuple

import gevent

from ..defects import report
from .endpoint import Endpoint
from .once import ROOT_NS, ask_server

log = logging.getLogger(__name__)

ERRORS_MIN = 5  # in a row; fewer say nothing
ASK_SECONDS = 2.0
PAUSE_SECONDS = 10.0  # until upstreams are asked again, longer each time
PAUSE_MAX_SECONDS = 600.0
AGAIN_SECONDS = 4.0  # until one that refuses is asked again, longer each time
AGAIN_MAX_SECONDS = 60.0


class Meaning(NamedTuple):
    """What an upstream says by an RCODE when it says nothing else."""

    rcode: str
    what: str
    do: str


MEANINGS = {
    2: Meaning("SERVFAIL", "it cannot resolve", "see what it says itself"),
    5: Meaning("REFUSED", "it does not serve this address", "allow this machine there"),
}


class RefusalCheck:
    """Sees who says nothing but errors, and asks it itself before it says anything of it."""

    def __init__(self) -> None:
        self._refusing: dict[str, int] = {}  # those that have been told of: their RCODE
        self._pause = PAUSE_SECONDS
        self._again = AGAIN_SECONDS
        self._due = 0.0
        self._check: gevent.Greenlet | None = None

    def look(self, upstreams: Iterable[Endpoint]) -> None:
        """Take note of what has come since; to be called about once a second."""
        endpoints = list(upstreams)
        for name in self._refusing.keys() - {str(one.server) for one in endpoints}:
            del self._refusing[name]
        for one in endpoints:
            if one.known.errors_in_a_row == 0 and str(one.server) in self._refusing:
                self._tell(str(one.server), 0)  # it has answered something well
        wanted = [one for one in endpoints if self._is_suspicious(one)]
        if not wanted:
            self._pause = PAUSE_SECONDS
        now = time.monotonic()
        if wanted and now >= self._due and (self._check is None or self._check.dead):
            self._check = gevent.spawn(self._ask_all, wanted)
            self._due = now + self._pause
            self._pause = min(2 * self._pause, PAUSE_MAX_SECONDS)

    def _is_suspicious(self, one: Endpoint) -> bool:
        return one.known.errors_in_a_row >= ERRORS_MIN or str(one.server) in self._refusing

    def _ask_all(self, wanted: Iterable[Endpoint]) -> None:
        pool = gevent.get_hub().threadpool
        for one in wanted:
            if not one.known.alive:
                continue  # that is told elsewhere
            arguments = (one.server, ROOT_NS, ASK_SECONDS)
            try:
                rcode = pool.apply(ask_server, arguments, {"has_opt": one.known.has_edns})
            except OSError:
                continue
            except Exception as defect:  # of ours: the next one is asked all the same
                report(defect)
                continue
            if one.known.errors_in_a_row >= ERRORS_MIN:  # still, while it was asked
                self._tell(str(one.server), rcode)
        if self._refusing:
            self._due = time.monotonic() + self._again
            self._again = min(2 * self._again, AGAIN_MAX_SECONDS)
        else:
            self._again = AGAIN_SECONDS

    def _tell(self, name: str, rcode: int) -> None:
        before = self._refusing.pop(name, None)
        if rcode in MEANINGS:
            self._refusing[name] = rcode
            if before is None:
                code, what, do = MEANINGS[rcode]
                log.warning(
                    "upstream %s answers %s to everything: %s; %s, or name another resolver",
                    *(name, code, what, do),
                )
        elif before is not None:
            log.info("upstream %s answers well again", name)
