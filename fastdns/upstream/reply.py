"""From the octets that an upstream sent to an answer that may be used, or to nothing."""

from __future__ import annotations

import logging

from dnslib import QTYPE, DNSRecord
from dnslib.dns import DNSError

from .._answer import Answer, Limits, Reading

log = logging.getLogger(__name__)


class Reader:
    """Reads replies one at a time (DESIGN "Anti-spoofing")."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._reading = Reading()

    def read(
        self, wire: bytes | bytearray | memoryview, query_id: int, key: bytes
    ) -> Answer | None:
        """Return the answer to the question of this key, or None when the reply must not count."""
        reading = self._reading
        if not reading.read(wire, query_id, key):
            return None
        if reading.must_rewrite:
            rewritten = without_strangers(bytes(wire))
            if rewritten is None or not reading.read(rewritten, query_id, key):
                return None
            if reading.must_rewrite:
                return None
            wire = rewritten
        return reading.answer(wire, self.limits)


def without_strangers(wire: bytes) -> bytes | None:
    """Return the message with only those answer records that are on the CNAME/DNAME chain.

    They come in the order of the chain; an OPT goes to the end. None when dnslib cannot read the
    message, which `_wire` has already found to be well formed.
    """
    try:
        message = DNSRecord.parse(wire)
        left = list(message.rr)
        kept = []
        names = [message.q.qname]
        for name in names:
            mine = [rr for rr in left if rr.rname == name]
            redirections = [
                rr
                for rr in left
                if rr.rtype == QTYPE.DNAME and name.matchSuffix(rr.rname) and name != rr.rname
            ]
            for rr in redirections:
                mine = [
                    rr,
                    *(s for s in left if s.rname == rr.rname and s.rtype == QTYPE.RRSIG),
                    *mine,
                ]
            for rr in mine:
                if rr in kept:
                    continue
                kept.append(rr)
                if rr.rtype == QTYPE.CNAME and rr.rdata.label not in names:
                    names.append(rr.rdata.label)
        message.rr = [rr for rr in kept if rr.rclass == message.q.qclass]
        message.ar.sort(key=lambda rr: bool(rr.rtype == QTYPE.OPT))
        return bytes(message.pack())
    except (DNSError, ValueError, TypeError, AttributeError, LookupError) as error:
        log.debug("a reply with records that do not belong cannot be rewritten: %s", error)
        return None
