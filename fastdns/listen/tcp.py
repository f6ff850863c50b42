"""DNS over TCP for clients: pipelined, answered out of order, bounded everywhere (RFC 7766)."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress

import gevent
from gevent.event import Event
from gevent.server import StreamServer
from gevent.socket import socket as GeventSocket

from .._answer import Answer
from .._fastpath import FastPath, Query
from .._shared import Counters

IDLE_SECONDS = 10.0  # without a query: RFC 7766 section 6.2.3 asks for a few seconds
FRAME_SECONDS = 5.0  # from the first octet of a message to its last
WRITE_SECONDS = 5.0  # for a client to take what is sent
LAST_ANSWERS_SECONDS = 5.0  # after a client has said that it sends no more
CONNECTIONS_MAX = 256
CONNECTIONS_A_CLIENT = 32
PIPELINE_MAX = 64  # queries of a connection that wait for an upstream
UNWRITTEN_MAX = 256 * 1024  # octets of a connection; more, and no further query is read
UNWRITTEN_MAX_IN_ALL = 8 * 1024 * 1024


class TcpQuery(Query):
    """A query that came over TCP."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def reply(self, answer: Answer) -> None:
        self.connection.answered(self.render(answer))

    def drop(self) -> None:
        self.connection.answered(b"")


class TcpListener:
    """The listening sockets of a worker, and the connections of them all."""

    def __init__(
        self, listening: Iterable[socket.socket], fastpath: FastPath, counters: Counters
    ) -> None:
        self.fastpath = fastpath
        self.unwritten = 0
        self._counters = counters
        self._clients: Counter[str] = Counter()
        self._counters.set("tcp_connections", 0)
        self._servers = [
            StreamServer(GeventSocket(one.family, one.type, fileno=one.detach()), self._serve)
            for one in listening
        ]
        for server in self._servers:
            server.start()

    def stop(self) -> None:
        """Accept no more connections."""
        for server in self._servers:
            server.stop_accepting()

    @property
    def idle(self) -> bool:
        return self.unwritten == 0

    def _serve(self, accepted: GeventSocket, address: tuple[str, int]) -> None:
        client = address[0]
        full = self._clients.total() >= CONNECTIONS_MAX
        if full or self._clients[client] >= CONNECTIONS_A_CLIENT:
            self._counters.add("tcp_rejected_total")
            accepted.close()
            return
        self._clients[client] += 1
        self._counters.set("tcp_connections", self._clients.total())
        try:
            Connection(self, accepted).run()
        finally:
            accepted.close()
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            self._counters.set("tcp_connections", self._clients.total())


class Connection:
    """One client's connection: this greenlet reads, another one writes when there is something."""

    def __init__(self, listener: TcpListener, accepted: GeventSocket) -> None:
        self._listener = listener
        self._socket = accepted
        self._inbox = bytearray()
        self._outbox: list[bytes] = []
        self._unwritten = 0
        self._waiting = 0  # queries whose answer is still to come
        self._changed = Event()
        self._writer: gevent.Greenlet | None = None
        self._open = True

    def run(self) -> None:
        """Serve the connection to its end."""
        try:
            while self._open and (message := self._read_message()) is not None:
                response = self._listener.fastpath.answer_stream(message, self._query)
                if response is not None:
                    self._send(response)
                self._wait_while(self._is_full, WRITE_SECONDS)
            self._wait_while(self._is_busy, LAST_ANSWERS_SECONDS)
        except OSError:
            pass  # the client has gone, which is its right
        finally:
            self._close()

    def answered(self, response: bytes) -> None:
        """Send the answer to a query that waited; empty: it was dropped."""
        self._waiting -= 1
        self._changed.set()
        if response:
            self._send(response)

    def _query(self) -> TcpQuery:
        self._waiting += 1
        return TcpQuery(self)

    def _is_full(self) -> bool:
        return self._waiting >= PIPELINE_MAX or self._unwritten >= UNWRITTEN_MAX

    def _is_busy(self) -> bool:
        return self._waiting > 0 or self._unwritten > 0

    def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._open and condition():
            self._changed.clear()
            if not self._changed.wait(max(until - time.monotonic(), 0)):
                self._open = False

    def _read_message(self) -> bytes | None:
        """Return the next message, or None at the end: closed, idle, too slow, or out of step."""
        inbox = self._inbox
        until = time.monotonic() + (FRAME_SECONDS if inbox else IDLE_SECONDS)
        while len(inbox) < 2 or len(inbox) < 2 + (inbox[0] << 8 | inbox[1]):
            self._socket.settimeout(max(until - time.monotonic(), 0.001))
            try:
                octets = self._socket.recv(16384)
            except TimeoutError:
                if inbox or not self._waiting:
                    return None
                until = time.monotonic() + IDLE_SECONDS
                continue
            if not octets:
                return None
            if not inbox:
                until = time.monotonic() + FRAME_SECONDS
            inbox += octets
        length = inbox[0] << 8 | inbox[1]
        if length == 0:
            return None
        message = bytes(inbox[2 : 2 + length])
        del inbox[: 2 + length]
        return message

    def _send(self, response: bytes) -> None:
        if not self._open:
            return
        if self._listener.unwritten + len(response) > UNWRITTEN_MAX_IN_ALL:
            self._close()  # rather one greedy client less than no memory for the others
            return
        self._outbox.append(len(response).to_bytes(2, "big") + response)
        self._unwritten += len(response) + 2
        self._listener.unwritten += len(response) + 2
        if self._writer is None:
            self._writer = gevent.spawn(self._write)

    def _write(self) -> None:
        try:
            while self._outbox:
                octets = b"".join(self._outbox)
                self._outbox.clear()
                self._socket.settimeout(WRITE_SECONDS)
                self._socket.sendall(octets)
                self._taken(len(octets))
        except OSError:
            self._close()
        finally:
            self._writer = None

    def _taken(self, octets: int) -> None:
        self._unwritten -= octets
        self._listener.unwritten -= octets
        self._changed.set()

    def _close(self) -> None:
        self._open = False
        self._outbox.clear()
        self._taken(self._unwritten)
        if self._writer is not None and self._writer is not gevent.getcurrent():
            self._writer.kill(block=False)
        with suppress(OSError):  # it may be gone already
            self._socket.shutdown(socket.SHUT_RDWR)
