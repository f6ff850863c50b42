"""Which upstreams answer REFUSED or SERVFAIL to everything: said once, and once when that ends.

Such an upstream is alive, and the others answer in its place or nobody does; without a line in the
log its owner has nothing to go by.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import gevent

from .._counters import Counters
from ..counters import ANSWERED_WORDS
from ..defects import report
from ..upstream.endpoint import Endpoint
from ..upstream.once import ROOT_NS, ask_server

log = logging.getLogger(__name__)

REPLIES_MIN = 5  # fewer say nothing
GOOD_SHARE = 0.75  # of replies; with fewer good answers than that, somebody may be refusing
ASK_SECONDS = 2.0
PAUSE_SECONDS = (
    10.0  # until upstreams are asked again whether they refuse, longer each time in vain
)
PAUSE_MAX_SECONDS = 600.0
AGAIN_SECONDS = 4.0  # until one that refuses is asked again, longer each time
AGAIN_MAX_SECONDS = 60.0
MEANINGS = {
    2: ("SERVFAIL", "it cannot resolve; see what it says itself, or name another resolver"),
    5: ("REFUSED", "it does not serve this address; allow it there, or name another resolver"),
}


class RefusalCheck:
    """Looks at what the counters say, and asks an upstream itself before it says anything of it."""

    def __init__(self, counters: Counters, upstreams: Iterable[Endpoint]) -> None:
        self._counters = counters
        self._replies = _replies_of(upstreams)  # totals go on when a worker is replaced
        self._good = counters.words(ANSWERED_WORDS)
        self._asked: dict[str, int] = {}  # how many queries each had been sent at the last check
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
        is_suspicious = self._is_suspicious(endpoints)
        now = time.monotonic()
        if now < self._due or not (is_suspicious or self._refusing):
            return
        if self._check is None or self._check.dead:
            wanted = [one for one in endpoints if self._has_been_asked(one)]
            self._asked = {str(one.server): one.known.queries for one in endpoints}
            self._check = gevent.spawn(self._ask_all, wanted)
            self._due = now + self._pause
            self._pause = min(2 * self._pause, PAUSE_MAX_SECONDS)

    def _is_suspicious(self, endpoints: Iterable[Endpoint]) -> bool:
        """Return whether clients got few good answers out of what the upstreams have replied."""
        replies = _replies_of(endpoints)
        if 0 <= replies - self._replies < REPLIES_MIN:
            return False
        good = self._counters.words(ANSWERED_WORDS)
        share = (good - self._good) / max(replies - self._replies, 1)
        self._replies, self._good = replies, good
        if share > GOOD_SHARE:
            self._pause = PAUSE_SECONDS
        return share <= GOOD_SHARE

    def _has_been_asked(self, one: Endpoint) -> bool:
        name = str(one.server)
        return name in self._refusing or one.known.queries > self._asked.get(name, 0)

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
                code, meaning = MEANINGS[rcode]
                log.warning("upstream %s answers %s to everything: %s", name, code, meaning)
        elif before is not None:
            log.info("upstream %s answers well again", name)


def _replies_of(endpoints: Iterable[Endpoint]) -> int:
    return sum(max(one.known.queries - one.known.failures, 0) for one in endpoints)
