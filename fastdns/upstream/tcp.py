"""Asking an upstream over TCP: one kept connection, queries pipelined (RFC 7766 section 6.2.1)."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time

import gevent
from gevent.socket import wait_read, wait_write

from .._flights import Attempt
from ..config.values import Address, Server

log = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
CONNECT_SECONDS = 3.0
BAD_FRAMES_MAX = 16  # a connection with more of them is out of step
PENDING_MAX = 4096


class _Query:
    """One query on a connection; sent again on another one if that is lost."""

    __slots__ = ("attempt", "connection", "query_id", "sent_at", "was_resent")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.query_id = -1
        self.connection: _Connection | None = None
        self.sent_at = time.monotonic()
        self.was_resent = False  # after a connection that brought nothing


class TcpChannel:
    """The connection to one upstream: opened on demand, closed when idle, reopened when lost.

    One without any reply is replaced by a new one, and still read.
    """

    def __init__(self, server: Server) -> None:
        self.address = server.address
        self._pending: dict[int, _Query] = {}
        self._connections: set[_Connection] = set()
        self._connection: _Connection | None = None  # the one for new queries
        self._last_reply = 0.0
        self._closed = False

    def send(self, attempt: Attempt) -> None:
        """Send it, or send it again in another form."""
        query = _Query(attempt)
        # The earlier query may still be answered.
        attempt.query = [*(attempt.query or ()), query]
        self._send(query)

    def _send(self, query: _Query) -> None:
        if len(self._pending) >= PENDING_MAX:
            query.attempt.failed(errno.ENOBUFS)
            return
        query_id = int.from_bytes(os.urandom(2), "big")
        while query_id in self._pending:
            query_id = int.from_bytes(os.urandom(2), "big")
        self._pending[query_id] = query
        query.query_id = query_id
        if self._connection is None:
            self._connection = _Connection(self)
            self._connections.add(self._connection)
        query.connection = self._connection
        message = query.attempt.message(query_id)
        self._connection.write(len(message).to_bytes(2, "big") + message)

    def forget(self, attempt: Attempt) -> None:
        """No client waits for it any more."""
        for query in attempt.query or ():
            if self._leave(query) and query.connection is not None:
                query.connection.unheard += 1

    def _leave(self, query: _Query) -> bool:
        if self._pending.get(query.query_id) is not query:
            return False
        del self._pending[query.query_id]
        return True

    def late(self, attempt: Attempt) -> None:
        """It timed out: a connection without a byte since it was sent is dead."""
        query: _Query = attempt.query[-1]
        connection = query.connection
        if connection is None or connection.last_reply >= query.sent_at:
            return
        if not connection.is_open:
            connection.abandon(errno.ETIMEDOUT)
            return
        if connection is self._connection:
            self._connection = None
        self.send(attempt)  # over another one; this one is still read

    def close(self) -> None:
        self._closed = True
        for connection in list(self._connections):
            connection.abandon(errno.ECONNABORTED)

    @staticmethod
    def dial(address: Address, timeout: float) -> socket.socket:
        """Return a blocking connection. OSError: impossible, or not in time."""
        opened = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            opened.settimeout(timeout)
            opened.connect(address.sockaddr)
        except BaseException:
            opened.close()
            raise
        return opened

    def is_busy(self, connection: _Connection) -> bool:
        """Whether a reply is expected there."""
        return any(one.connection is connection for one in self._pending.values())

    def received(self, connection: _Connection, frame: bytes) -> bool:
        """Give a reply to its query; False if there is none."""
        query_id = int.from_bytes(frame[:2], "big")
        query = self._pending.get(query_id)
        if query is None or query.connection is not connection:
            return False
        if not query.attempt.received(frame, query_id):
            return False
        self._leave(query)
        self._last_reply = time.monotonic()
        return True

    def lost(self, connection: _Connection, number: int) -> None:
        """The connection is gone; its queries are asked again or have failed.

        They are asked again as long as each connection brings an answer: some servers close after
        each, and a kept connection may close just when it is used again.
        """
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        if connection is self._connection:
            self._connection = None
        unanswered = [one for one in self._pending.values() if one.connection is connection]
        for query in unanswered:
            self._leave(query)
        for query in unanswered:
            may_resend = connection.replies > 0
            if not may_resend and not query.was_resent:
                # Others have got answers since: this was bad luck.
                query.was_resent = may_resend = self._last_reply >= query.sent_at
            if may_resend and not self._closed:
                self._send(query)
            else:
                query.attempt.failed(number)


class _Connection:
    """One TCP connection with a greenlet for reading and one for writing."""

    def __init__(self, channel: TcpChannel) -> None:
        self.replies = 0
        self.unheard = 0  # queries that no client waits for any more
        self.last_reply = 0.0
        self._channel = channel
        self._outbox = bytearray()
        self._socket: socket.socket | None = None
        self._writer: gevent.Greenlet | None = None
        self._reader = gevent.spawn(self._run)

    def write(self, frame: bytes) -> None:
        self._outbox += frame
        self._start_writing()

    @property
    def is_open(self) -> bool:
        """Whether the upstream has accepted it."""
        return self._socket is not None

    def abandon(self, number: int) -> None:
        self._channel.lost(self, number)
        self._reader.kill(block=False)

    def _run(self) -> None:
        number = errno.ECONNRESET  # the upstream has closed it
        try:
            opened = self._connect()
            self._socket = opened
            self._start_writing()
            self._read(opened)
        except TimeoutError:
            number = errno.ETIMEDOUT
        except OSError as error:
            number = error.errno or number
        finally:
            if self._writer is not None:
                self._writer.kill(block=False)
            if self._socket is not None:
                self._socket.close()
            self._channel.lost(self, number)

    def _connect(self) -> socket.socket:
        address = self._channel.address
        opened = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                opened.connect(address.sockaddr)
            except BlockingIOError:
                wait_write(opened.fileno(), CONNECT_SECONDS, TimeoutError())
                number = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number:
                    raise OSError(number, os.strerror(number)) from None
        except BaseException:
            opened.close()
            raise
        return opened

    def _read(self, opened: socket.socket) -> None:
        """Read frames until the upstream closes, sends nonsense, or no reply is expected."""
        inbox = bytearray()
        bad = 0
        while bad < BAD_FRAMES_MAX:
            while len(inbox) >= 2 and len(inbox) >= 2 + (length := inbox[0] << 8 | inbox[1]):
                frame = bytes(inbox[2 : 2 + length])
                del inbox[: 2 + length]
                if self._channel.received(self, frame):
                    self.replies += 1
                    self.last_reply = time.monotonic()
                elif self.unheard:
                    self.unheard -= 1
                else:
                    bad += 1
            try:
                wait_read(opened.fileno(), IDLE_SECONDS, TimeoutError())
            except TimeoutError:
                if self._channel.is_busy(self):
                    continue
                return
            octets = opened.recv(65536)
            if not octets:
                return
            inbox += octets

    def _start_writing(self) -> None:
        if self._socket is not None and self._outbox and not self._writer:
            self._writer = gevent.spawn(self._write, self._socket)

    def _write(self, opened: socket.socket) -> None:
        try:
            while self._outbox:
                try:
                    sent = opened.send(self._outbox)
                except BlockingIOError:
                    wait_write(opened.fileno())
                else:
                    del self._outbox[:sent]
        except OSError as error:
            # Read the earlier answers first; then comes the end.
            log.debug("%s over TCP: %s", self._channel.address, error)
            self._outbox.clear()
        finally:
            self._writer = None
