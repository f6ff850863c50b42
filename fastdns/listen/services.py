"""The services at a listen address: each is a line here, and a key of [listen]."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, cast

import attrs

from ..config.transports import load_class

if TYPE_CHECKING:
    from .._counters import Counters
    from .._fastpath import FastPath


class StreamServer(Protocol):
    """Serves the connections of some TCP sockets, from its creation on.

    Each socket comes with the number of its listener.
    """

    def __init__(
        self,
        listening: Iterable[tuple[int, socket.socket]],
        fastpath: FastPath,
        counters: Counters,
    ) -> None: ...

    @property
    def idle(self) -> bool:
        """Whether no query of a connection is being answered."""

    def stop(self) -> None:
        """Accept no more connections."""


@attrs.frozen
class Service:
    """The sockets of a listener, and the class that serves them; UDP is the fast path's."""

    name: str
    has_udp: bool  # each worker has its own socket
    streams: str | None  # "module:Class", which serves its TCP socket; None: there is none

    @property
    def kinds(self) -> list[socket.SocketKind]:
        """The kinds of sockets."""
        udp = [socket.SOCK_DGRAM] if self.has_udp else []
        return [*udp, *([socket.SOCK_STREAM] if self.streams else [])]

    @property
    def stream_server(self) -> type[StreamServer] | None:
        """The class that `streams` names; commands do not need it."""
        return (
            None if self.streams is None else cast("type[StreamServer]", load_class(self.streams))
        )


DNS = Service("dns", has_udp=True, streams="fastdns.listen.tcp:TcpListener")
SERVICES = {one.name: one for one in (DNS,)}
