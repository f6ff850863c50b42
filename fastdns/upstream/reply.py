"""From the octets that an upstream sent to an answer that may be used, or to nothing."""

from __future__ import annotations

from .._answer import Answer, Limits, Reading


class Reader:
    """Reads replies one at a time (RFC 5452)."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._reading = Reading()

    def read(
        self, wire: bytes | bytearray | memoryview, query_id: int, key: bytes
    ) -> Answer | None:
        """Return the answer to the question of this key, or None when the reply must not count."""
        if not self._reading.read(wire, query_id, key):
            return None
        return self._reading.answer(self.limits)

    @property
    def is_spoiled(self) -> bool:
        """True when what was read last was a reply to the question, but must not be used."""
        return self._reading.is_spoiled

    @property
    def is_odd(self) -> bool:
        """True when what was read last shows that the upstream knows no OPT."""
        return self._reading.is_odd

    @property
    def rcode(self) -> int:
        """The RCODE of what was read last."""
        return self._reading.rcode

    @property
    def has_opt(self) -> bool:
        """True when what was read last had an OPT."""
        return self._reading.has_opt
