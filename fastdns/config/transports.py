"""The ways to ask an upstream: each is a line here, and the class that it names.

The line has how the configuration, entries, `stats`, `top` and `doctor` spell it; what a class has
to do stands in upstream/transports.py.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Transport:
    """A way to ask an upstream, by its scheme: "tcp" in "tcp://9.9.9.9:53"."""

    scheme: str
    number: int  # of it in entries on disk, for ever
    channel: str  # the class that asks what C does not: "module:Class"
    is_stream: bool = True  # False: C asks over UDP, and the class only what UDP cannot carry
    port: int = 53  # where the configuration names none

    def spell(self, address: object) -> str:
        """Return the upstream at an address as people write and read it."""
        return str(address) if self is UDP else f"{self.scheme}://{address}"


UDP = Transport("udp", 1, "fastdns.upstream.tcp:TcpChannel", is_stream=False)
TRANSPORTS = {
    one.scheme: one
    for one in (
        UDP,  # what is meant when no scheme is named
        Transport("tcp", 2, "fastdns.upstream.tcp:TcpChannel"),
    )
}


def by_number(number: int) -> Transport | None:
    """Return the transport of an entry on disk; None: a version that knew more has written it."""
    return next((one for one in TRANSPORTS.values() if one.number == number), None)
