"""DNS over TCP for clients: pipelined, answered out of order, bounded everywhere (RFC 7766).

`_stream` and `_fastpath` carry the data of a connection, without a greenlet. This module accepts
connections, limits them, and watches for readable and writable ones.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import gevent
from gevent.server import StreamServer
from gevent.socket import socket as GeventSocket

from .._counters import Counters
from .._fastpath import FastPath
from .._stream import PIPELINE_MAX, UNWRITTEN_MAX_IN_ALL, Backlog, Stream
from ..defects import guarded

__all__ = ["CONNECTIONS_A_CLIENT", "FRAME_SECONDS", "IDLE_SECONDS", "PIPELINE_MAX", "TcpListener"]

IDLE_SECONDS = 10.0  # without a query: RFC 7766 section 6.2.3 asks for a few seconds
FRAME_SECONDS = 5.0  # from the first byte of a message to its last
WRITE_SECONDS = 5.0  # for a client to read its answers
LAST_ANSWERS_SECONDS = 5.0  # after a client has said that it sends no more
LOOK_SECONDS = 0.5  # between two checks for time-outs
CONNECTIONS_MAX = 256
CONNECTIONS_A_CLIENT = 32
# Of clients that may not ask: they get that answer, but no share of the limits above.
REFUSED_MAX = 16
STRANGER_SECONDS = 2.0  # in all
STRANGER_QUERIES = 8
STRANGER_OCTETS = 4096  # of what one client has sent, read at once

_READ, _WRITE = 1, 2


class _Server(StreamServer):  # type: ignore[misc]
    """Passes each connection to its handler, which keeps it."""

    def do_handle(self, accepted: GeventSocket, address: tuple[Any, ...]) -> None:
        self._handle(accepted, address)


class TcpListener:
    """The listening sockets of a worker, and all their connections."""

    def __init__(
        self, listening: Iterable[tuple[int, socket.socket]], fastpath: FastPath, counters: Counters
    ) -> None:
        """`listening`: sockets, each with the number of its listener."""
        self.fastpath = fastpath
        self.backlog = Backlog()
        self._counters = counters
        self._clients: Counter[str] = Counter()
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()  # clients that are being told that they may not ask
        self._counters.set("tcp_connections", 0)
        self._clock = gevent.get_hub().loop.timer(LOOK_SECONDS, LOOK_SECONDS)
        self._servers = []
        for number, one in listening:
            # Accepted sockets inherit it: no answer waits until another one is acknowledged.
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = _Server(
                GeventSocket(one.family, one.type, fileno=one.detach()),
                partial(self._serve, number),
            )
            server.start()
            self._servers.append(server)

    def stop(self) -> None:
        """Accept no more connections."""
        for server in self._servers:
            server.stop_accepting()

    @property
    def idle(self) -> bool:
        return self.backlog.unwritten == 0

    def drop_largest(self) -> None:
        """Disconnect the clients that have taken least while there is too much in all."""
        while self.backlog.unwritten > UNWRITTEN_MAX_IN_ALL:
            max(self._connections | self._refused, key=lambda one: one.unwritten).end()

    def forget(self, connection: Connection) -> None:
        """Count the end of a connection."""
        if connection in self._refused:
            self._refused.discard(connection)
        else:
            self._connections.discard(connection)
            client = connection.client
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            self._counters.set("tcp_connections", len(self._connections))
        if not (self._connections or self._refused):
            self._clock.stop()

    def _serve(self, number: int, accepted: GeventSocket, address: tuple[Any, ...]) -> None:
        client = address[0]
        if not self.fastpath.access.admits_client(address):
            self._counters.add("tcp_refused_total")
            if self.fastpath.access.drops or len(self._refused) >= REFUSED_MAX:
                accepted.close()
                return
            connection = Connection(self, accepted, address, number)
            connection.bound(queries=STRANGER_QUERIES, octets=STRANGER_OCTETS)
            self._refused.add(connection)
        elif self._clients[client] >= CONNECTIONS_A_CLIENT or not self._has_room():
            self._counters.add("tcp_rejected_total")
            accepted.close()
            return
        else:
            connection = Connection(self, accepted, address, number)
            self._connections.add(connection)
            self._clients[client] += 1
            self._counters.set("tcp_connections", len(self._connections))
        if not self._clock.active:
            self._clock.start(guarded(self._look_at_clock))
        connection.begin()

    def _has_room(self) -> bool:
        """Make room for one more: close the connection that was idle longest (RFC 7766 section
        6.2.3).
        """
        if len(self._connections) < CONNECTIONS_MAX:
            return True
        idle = [one for one in self._connections if not one.is_busy]
        if not idle:
            return False
        min(idle, key=lambda one: one.idle_since).end()
        return True

    def _look_at_clock(self) -> None:
        for one in [*self._connections, *self._refused]:
            if one.is_overdue(IDLE_SECONDS, FRAME_SECONDS, WRITE_SECONDS, LAST_ANSWERS_SECONDS):
                one.end()
        for one in list(self._refused):
            if one.age > STRANGER_SECONDS:
                one.end()


class Connection(Stream):
    """One client's connection, and the watchers for reading and writing."""

    def __init__(
        self, listener: TcpListener, accepted: GeventSocket, address: tuple[Any, ...], number: int
    ) -> None:
        self.client: str = address[0]
        self._listener = listener
        self._socket = accepted
        self._loop = gevent.get_hub().loop
        self._began = self._loop.now()
        self.open(accepted.fileno(), address, listener.backlog, listener=number)
        self._serve, self._look_soon = guarded(self._read), guarded(self._look)
        self._readable = self._loop.io(accepted.fileno(), _READ)
        self._writable = self._loop.io(accepted.fileno(), _WRITE)

    @property
    def age(self) -> float:
        return float(self._loop.now() - self._began)

    def begin(self) -> None:
        """Serve the client from now on."""
        self._readable.start(self._serve)

    def changed(self) -> None:
        """Look at the connection soon: the caller is in the middle of something."""
        self._loop.run_callback(self._look_soon)

    def _read(self) -> None:
        if self._listener.fastpath.serve_stream(self):
            self.changed()

    def _write(self) -> None:
        self.send_more()
        self._look()

    def _look(self) -> None:
        if not self.is_open:
            return
        may_send = self.look()
        if self.is_broken or (self.has_ended and not self.is_busy):
            self.end()
            return
        if self.unwritten:
            self._listener.drop_largest()
            if not self.is_open:
                return
            if not self._writable.active:
                self._writable.start(guarded(self._write))
        else:
            self._writable.stop()
        if not may_send:
            self._readable.stop()
            self.watch()
        elif not self._readable.active:
            self._readable.start(self._serve)
        if may_send and self.has_more:
            self._loop.run_callback(self._serve)

    def end(self) -> None:
        """Close the connection now."""
        if not self.is_open:
            return
        self._readable.stop()
        self._readable.close()
        self._writable.stop()
        self._writable.close()
        self.close()
        self._socket.close()
        self._listener.forget(self)
