"""The services at a listen address: each is a line here, and a key of [listen]."""

from __future__ import annotations

import socket

import attrs


@attrs.frozen
class Service:
    """The sockets of a listener: the fast path serves those of UDP, `streams` those of TCP."""

    name: str
    has_udp: bool  # each worker has its own socket
    streams: bool  # and all of them share one of TCP

    def spell(self, address: object) -> str:
        """Return the service at an address as the log and --listen write it."""
        return str(address) if self is DNS else f"{self.name}://{address}"

    @property
    def kinds(self) -> list[socket.SocketKind]:
        """The kinds of sockets."""
        udp = [socket.SOCK_DGRAM] if self.has_udp else []
        return [*udp, *([socket.SOCK_STREAM] if self.streams else [])]


DNS = Service("dns", has_udp=True, streams=True)
TLS = Service("tls", has_udp=False, streams=True)
HTTPS = Service("https", has_udp=False, streams=True)
SERVICES = {one.name: one for one in (DNS, TLS, HTTPS)}
