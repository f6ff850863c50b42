"""Finds upstreams that answer REFUSED or SERVFAIL to everything.

Such an upstream is alive, and the others answer instead or none does; only the log and the commands
can tell its owner why.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import gevent

from ..defects import report
from .endpoint import Endpoint
from .once import ROOT_NS, ask_server

ERRORS_MIN = 5  # in a row; fewer prove nothing
ASK_SECONDS = 2.0
PAUSE_SECONDS = 10.0  # until upstreams are asked again, longer each time
PAUSE_MAX_SECONDS = 600.0
AGAIN_SECONDS = 4.0  # until one that refuses is asked again, longer each time
AGAIN_MAX_SECONDS = 60.0


class Meaning(NamedTuple):
    """What an upstream means by an RCODE that is its only answer."""

    rcode: str
    what: str
    do: str


MEANINGS = {
    2: Meaning("SERVFAIL", "it cannot resolve", "see its own log"),
    5: Meaning("REFUSED", "it does not serve this address", "allow this machine there"),
}


class RefusalCheck:
    """Finds upstreams that answer only with errors, and asks them before it believes that."""

    def __init__(self) -> None:
        self._pause = PAUSE_SECONDS
        self._again = AGAIN_SECONDS
        self._due = 0.0
        self._check: gevent.Greenlet | None = None

    def look(self, upstreams: Iterable[Endpoint]) -> None:
        """Look at the new replies; to be called about once a second."""
        endpoints = list(upstreams)
        for one in endpoints:
            if one.known.errors_in_a_row == 0:
                one.refusal = 0  # it has answered a question well
        wanted = [one for one in endpoints if one.known.errors_in_a_row >= ERRORS_MIN]
        if not wanted:
            self._pause = PAUSE_SECONDS
        now = time.monotonic()
        if wanted and now >= self._due and (self._check is None or self._check.dead):
            self._check = gevent.spawn(self._ask_all, wanted)
            self._due = now + self._pause
            self._pause = min(2 * self._pause, PAUSE_MAX_SECONDS)

    def _ask_all(self, wanted: Iterable[Endpoint]) -> None:
        pool = gevent.get_hub().threadpool
        for one in wanted:
            if not one.known.alive:
                continue
            arguments = (one.server, ROOT_NS, ASK_SECONDS)
            try:
                rcode = pool.apply(ask_server, arguments, {"has_opt": one.known.has_edns})
            except OSError:
                continue
            except Exception as defect:  # a defect of ours: the next one is asked nevertheless
                report(defect)
                continue
            if one.known.errors_in_a_row >= ERRORS_MIN:  # still the same after the question
                one.refusal = rcode if rcode in MEANINGS else 0
        if any(one.refusal for one in wanted):
            self._due = time.monotonic() + self._again
            self._again = min(2 * self._again, AGAIN_MAX_SECONDS)
        else:
            self._again = AGAIN_SECONDS
