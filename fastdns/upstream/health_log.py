"""Log lines about upstreams: each event once, as all workers together know it.

One process logs, from the pages that `stats`, `top` and `status` read, so all agree.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from .._counters import UpstreamState
from .refusals import MEANINGS

log = logging.getLogger(__name__)

WELL = UpstreamState("", True, None, 0, 0)


class HealthLog:
    """Logs what has changed about each upstream."""

    def __init__(self, told: Iterable[UpstreamState] = ()) -> None:
        """`told`: the last state that the former process has logged."""
        self._told = {one.name: one for one in told}

    def look(self, upstreams: Iterable[UpstreamState]) -> None:
        """Compare with the current state."""
        told = {}
        for one in upstreams:
            before = self._told.get(one.name, WELL)
            # A dead one answers nothing, so its RCODE stays.
            now = one if one.alive else one._replace(rcode=before.rcode)
            told[one.name] = now
            _tell(before, now)
        self._told = told


def _tell(before: UpstreamState, now: UpstreamState) -> None:
    if before.alive and not now.alive:
        log.warning(
            "upstream %s does not answer (%s); fastdns tries it again in the background",
            *(now.name, os.strerror(now.error) if now.error else "no reply in time"),
        )
    elif now.alive and not before.alive:
        log.info("upstream %s answers again", now.name)
    if now.rcode and not before.rcode:
        rcode, what, do = MEANINGS[now.rcode]
        log.warning(
            "upstream %s answers %s to everything: %s; %s, or name another resolver",
            *(now.name, rcode, what, do),
        )
    elif before.rcode and not now.rcode:
        log.info("upstream %s answers well again", now.name)
    if before.recurses and not now.recurses:
        log.warning(
            "upstream %s does not recurse: its answers are referrals or empty; name a "
            "resolver in upstream.servers, or allow this machine recursion there",
            now.name,
        )
    if now.lacks_edns and not before.lacks_edns:
        log.warning(
            "upstream %s does not answer queries with EDNS (RFC 6891): fastdns asks it without "
            "and gets no DNSSEC data from it",
            now.name,
        )
    elif before.lacks_edns and not now.lacks_edns:
        log.info("upstream %s answers queries with EDNS", now.name)
