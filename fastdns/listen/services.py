"""What clients find at a listen address: a service is a line here, and a key of [listen]."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import attrs

from .._counters import Counters
from .._fastpath import FastPath
from .tcp import TcpListener


class StreamServer(Protocol):
    """Serves the connections that come to some TCP sockets, from its creation on."""

    @property
    def idle(self) -> bool:
        """Whether no query of a connection is being answered."""

    def stop(self) -> None:
        """Take no more connections."""


@attrs.frozen
class Service:
    """Which sockets a listener of it has, and who serves them; UDP is the fast path's."""

    name: str
    has_udp: bool  # each worker has a socket of its own
    serve_streams: Callable[[Iterable[socket.socket], FastPath, Counters], StreamServer] | None

    @property
    def kinds(self) -> list[socket.SocketKind]:
        """The kinds of sockets."""
        udp = [socket.SOCK_DGRAM] if self.has_udp else []
        return [*udp, *([socket.SOCK_STREAM] if self.serve_streams else [])]


DNS = Service("dns", has_udp=True, serve_streams=TcpListener)
SERVICES = {one.name: one for one in (DNS,)}
