"""What the log says of upstreams: once, by what all workers together know of them.

One process says it, from the pages that `stats`, `top` and `status` read: all say the same.
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
    """Tells of each upstream what has changed about it."""

    def __init__(self, told: Iterable[UpstreamState] = ()) -> None:
        """`told`: what whoever did this before has told of them."""
        self._told = {one.name: one for one in told}

    def look(self, upstreams: Iterable[UpstreamState]) -> None:
        """Take note of how they are now."""
        told = {}
        for one in upstreams:
            before = self._told.get(one.name, WELL)
            # A dead one answers nothing, neither well nor with errors.
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
