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
from .._counters import Counters
from .._fastpath import FastPath
from .._query import Query

IDLE_SECONDS = 10.0  # without a query: RFC 7766 section 6.2.3 asks for a few seconds
FRAME_SECONDS = 5.0  # from the first octet of a message to its last
WRITE_SECONDS = 5.0  # for a client to take what is sent
LAST_ANSWERS_SECONDS = 5.0  # after a client has said that it sends no more
CONNECTIONS_MAX = 256
CONNECTIONS_A_CLIENT = 32
PIPELINE_MAX = 64  # queries of a connection that wait for an upstream
UNWRITTEN_MAX = 256 * 1024  # octets of a connection; more, and no further query is read
UNWRITTEN_MAX_IN_ALL = 8 * 1024 * 1024
# Of clients that may not ask: they are told so, but get no share of anything above.
STRANGERS_MAX = 16
STRANGER_SECONDS = 2.0  # in all
STRANGER_QUERIES = 8
STRANGER_OCTETS = 4096  # that are read of what one has sent


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
        self._strangers = 0  # who are being told that they may not ask
        self._counters = counters
        self._clients: Counter[str] = Counter()
        self._connections: set[Connection] = set()
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

    def owe(self, octets: int) -> None:
        """Count octets that clients have not taken yet; who owes most goes when it is too much."""
        self.unwritten += octets
        if self.unwritten > UNWRITTEN_MAX_IN_ALL:
            max(self._connections, key=lambda one: one.unwritten).close()

    def _serve(self, accepted: GeventSocket, address: tuple[str, int]) -> None:
        if not self.fastpath.access.admits_client(address):
            self._refuse(accepted)
            return
        client = address[0]
        if self._clients[client] >= CONNECTIONS_A_CLIENT or not self._has_room():
            self._counters.add("tcp_rejected_total")
            accepted.close()
            return
        connection = Connection(self, accepted)
        self._connections.add(connection)
        self._clients[client] += 1
        self._counters.set("tcp_connections", len(self._connections))
        try:
            connection.run()
        finally:
            accepted.close()
            self._connections.discard(connection)
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            self._counters.set("tcp_connections", len(self._connections))

    def _refuse(self, accepted: GeventSocket) -> None:
        """Tell a client that it may not ask, if it is to be told, and close."""
        self._counters.add("tcp_refused_total")
        if not self.fastpath.access.drops and self._strangers < STRANGERS_MAX:
            self._strangers += 1
            try:
                with gevent.Timeout(STRANGER_SECONDS, False), suppress(OSError):
                    turn_away(accepted, self.fastpath.refuse_stream)
            finally:
                self._strangers -= 1
        accepted.close()

    def _has_room(self) -> bool:
        """Make room for one more: whoever has been idle longest goes (RFC 7766 section 6.2.3)."""
        if len(self._connections) < CONNECTIONS_MAX:
            return True
        idle = [one for one in self._connections if not one.busy]
        if not idle:
            return False
        longest = min(idle, key=lambda one: one.last_query)
        longest.close()
        self._connections.discard(longest)
        return True


def turn_away(accepted: GeventSocket, refuse: Callable[[bytes], bytes | None]) -> None:
    """Answer the first queries of a connection with what `refuse` says of each, until its end."""
    inbox = b""
    queries = octets = 0
    while queries < STRANGER_QUERIES:
        while len(inbox) < 2 or len(inbox) < 2 + (inbox[0] << 8 | inbox[1]):
            piece = accepted.recv(STRANGER_OCTETS - octets)
            if not piece:
                return
            octets += len(piece)
            inbox += piece
        end = 2 + (inbox[0] << 8 | inbox[1])
        message, inbox = inbox[2:end], inbox[end:]
        queries += 1
        response = refuse(message)
        if response is None:
            return
        accepted.sendall(len(response).to_bytes(2, "big") + response)


class Connection:
    """One client's connection: this greenlet reads, another one writes when there is something."""

    def __init__(self, listener: TcpListener, accepted: GeventSocket) -> None:
        self._listener = listener
        self._socket = accepted
        self._inbox = bytearray()
        self._outbox: list[bytes] = []
        self.unwritten = 0
        self.last_query = time.monotonic()
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
            self._wait_while(lambda: self.busy, LAST_ANSWERS_SECONDS)
        except OSError:
            pass  # the client has gone, which is its right
        finally:
            self.close()

    @property
    def busy(self) -> bool:
        """True while an answer is to come or to be taken."""
        return self._waiting > 0 or self.unwritten > 0

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
        return self._waiting >= PIPELINE_MAX or self.unwritten >= UNWRITTEN_MAX

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
            # gevent's recv lets nobody else run while there is something to read.
            gevent.sleep(0)
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
        self.last_query = time.monotonic()
        message = bytes(inbox[2 : 2 + length])
        del inbox[: 2 + length]
        return message

    def _send(self, response: bytes) -> None:
        if not self._open:
            return
        self._outbox.append(len(response).to_bytes(2, "big") + response)
        self.unwritten += len(response) + 2
        if self._writer is None:
            self._writer = gevent.spawn(self._write)
        self._listener.owe(len(response) + 2)

    def _write(self) -> None:
        try:
            while self._outbox:
                octets = b"".join(self._outbox)
                self._outbox.clear()
                self._socket.settimeout(WRITE_SECONDS)
                self._socket.sendall(octets)
                self._taken(len(octets))
        except OSError:
            self.close()
        finally:
            self._writer = None

    def _taken(self, octets: int) -> None:
        self.unwritten -= octets
        self._listener.unwritten -= octets
        self._changed.set()

    def close(self) -> None:
        """End the connection now; its greenlets notice."""
        self._open = False
        self._outbox.clear()
        self._taken(self.unwritten)
        if self._writer is not None and self._writer is not gevent.getcurrent():
            self._writer.kill(block=False)
        with suppress(OSError):  # it may be gone already
            self._socket.shutdown(socket.SHUT_RDWR)
