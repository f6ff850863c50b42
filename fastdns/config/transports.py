"""The transports to upstreams: each is a line here, and the class that it names.

The line says how the configuration, entries, `stats`, `top` and `doctor` write it;
upstream/transports.py says what the class must do.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import attrs


@attrs.frozen
class Transport:
    """A transport, by its scheme: "tcp" in "tcp://9.9.9.9:53"."""

    scheme: str
    number: int  # its permanent number in entries on disk
    channel: str  # the class that does what C does not: "module:Class"
    is_stream: bool = True  # False: C asks over UDP, and the class does only what UDP cannot carry
    port: int = 53  # if the configuration names none

    def spell(self, address: object) -> str:
        """Return the upstream at an address as people write and read it."""
        return str(address) if self is UDP else f"{self.scheme}://{address}"


UDP = Transport("udp", 1, "fastdns.upstream.tcp:TcpChannel", is_stream=False)
TRANSPORTS = {
    one.scheme: one
    for one in (
        UDP,  # the default without a scheme
        Transport("tcp", 2, "fastdns.upstream.tcp:TcpChannel"),
    )
}


def by_number(number: int) -> Transport | None:
    """Return the transport of an entry on disk; None: a later version has written it."""
    return next((one for one in TRANSPORTS.values() if one.number == number), None)


def load_class(name: str) -> Any:
    """Return the class "module:Class". pkgutil can do that as well, and takes 140 KiB of memory."""
    module, _, its_name = name.partition(":")
    return getattr(import_module(module), its_name)
