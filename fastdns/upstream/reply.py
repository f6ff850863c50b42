"""From the octets that an upstream sent to an answer that may be used, or to nothing."""

from __future__ import annotations

import logging
import time
from typing import Any

from dnslib import QTYPE, DNSLabel, DNSRecord
from dnslib.dns import DNSError

from .._answer import Answer, Limits, Reading

log = logging.getLogger(__name__)

# Rewriting by dnslib takes milliseconds in which nobody is answered, and what needs it is rare or
# hostile: it gets this share of the time, and so many seconds of it at once.
REWRITING_SHARE = 0.05
REWRITING_AT_ONCE = 0.05
REWRITTEN_RECORDS_MAX = 64
CHAIN_MAX = 24  # names, as in _wire

# Types in whose data an upstream may compress names and that dnslib copies as they are: their
# pointers would lead elsewhere in another message.
UNMOVABLE = {3, 4, 7, 8, 9, 14, 17, 18, 21, 24, 26, 30, 36, 107}


class Reader:
    """Reads replies one at a time (RFC 5452)."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._reading = Reading()
        self._credit = REWRITING_AT_ONCE  # seconds
        self._last_rewrite = 0.0

    def read(
        self, wire: bytes | bytearray | memoryview, query_id: int, key: bytes
    ) -> Answer | None:
        """Return the answer to the question of this key, or None when the reply must not count."""
        reading = self._reading
        if not reading.read(wire, query_id, key):
            return None
        if reading.must_rewrite:
            rewritten = self._rewrite(bytes(wire))
            if rewritten is None or not reading.read(rewritten, query_id, key):
                return None
            if reading.must_rewrite:
                return None
            wire = rewritten
        return reading.answer(wire, self.limits)

    def _rewrite(self, wire: bytes) -> bytes | None:
        now = time.monotonic()
        saved = self._credit + (now - self._last_rewrite) * REWRITING_SHARE
        self._credit = min(saved, REWRITING_AT_ONCE)
        self._last_rewrite = now
        if self._credit <= 0:
            return None
        rewritten = without_strangers(wire)
        self._credit -= time.monotonic() - now
        return rewritten


def without_strangers(wire: bytes) -> bytes | None:
    """Return the message with only those answer records that are on the CNAME/DNAME chain.

    They come in the order of the chain; an OPT goes to the end. None when the message, that `_wire`
    has found to be well formed, has too many records or some that dnslib cannot move.
    """
    counts = wire[6:12]
    if sum(counts[1::2]) + 256 * sum(counts[::2]) > REWRITTEN_RECORDS_MAX:
        return None
    try:
        message = DNSRecord.parse(wire)
        if any(rr.rtype in UNMOVABLE for rr in (*message.rr, *message.auth, *message.ar)):
            return None
        message.rr = _in_order_of_the_chain(message)
        message.ar.sort(key=lambda rr: bool(rr.rtype == QTYPE.OPT))
        return bytes(message.pack())
    except (DNSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        log.debug("a reply with records that do not belong cannot be rewritten: %s", error)
        return None


def _in_order_of_the_chain(message: Any) -> list[Any]:
    """Return the answer records whose owners are the queried name or on its chain."""
    left = [rr for rr in message.rr if rr.rclass == message.q.qclass]
    kept: list[Any] = []
    names = [message.q.qname]
    for name in names:
        passed = [rr for rr in left if _leads_on(rr, name)] + [
            rr for rr in left if rr.rname == name
        ]
        left = [rr for rr in left if not any(rr is other for other in passed)]
        kept += passed
        targets = [rr.rdata.label for rr in passed if rr.rtype == QTYPE.CNAME]
        names += [label for label in targets if label not in names and len(names) < CHAIN_MAX]
    return kept


def _leads_on(rr: Any, name: DNSLabel) -> bool:
    """Return True for a DNAME above the name, and for its signature."""
    return (
        (rr.rtype == QTYPE.DNAME or (rr.rtype == QTYPE.RRSIG and rr.rdata.covered == QTYPE.DNAME))
        and rr.rname != name
        and bool(name.matchSuffix(rr.rname))
    )
