"""Asking an upstream over TCP: one kept connection, queries pipelined (RFC 7766 section 6.2.1)."""

from __future__ import annotations

import os
import socket
import time

import gevent
from gevent.socket import wait_read, wait_write

from ..config.schema import Address
from ..defects import guarded
from ..errors import UpstreamUnreachable
from .exchange import Arrivals, Asked, Desk, Exchange
from .request import Request

IDLE_SECONDS = 10.0
CONNECT_SECONDS = 3.0
BAD_FRAMES_MAX = 16  # a connection that brings more of them is out of step
PENDING_MAX = 4096


class TcpExchange(Exchange):
    """One query on the connection; sent again once when a kept connection turns out closed."""

    def __init__(
        self, upstream: Asked, channel: TcpChannel, request: Request, arrivals: Arrivals
    ) -> None:
        super().__init__(upstream, request, arrivals)
        self._timer = self.desk.loop.timer(upstream.timeout)
        self._timer.start(guarded(self.expired))
        self.channel = channel
        self.query_id = -1
        self.resent = False
        self.desk.counters.add("upstream_queries_total")
        self.desk.counters.add("upstream_queries_tcp_total")
        channel.send(self)

    def expired(self) -> None:
        self.desk.counters.add("upstream_timeouts_total")
        super().expired()
        self.channel.suspect(self.sent_at)

    def _end(self) -> None:
        self._timer.stop()
        self._timer.close()
        self.channel.forget(self)


class TcpChannel:
    """The connection to one upstream: opened when needed, closed when idle, reopened when lost."""

    def __init__(self, address: Address, desk: Desk) -> None:
        self.address = address
        self._desk = desk
        self._pending: dict[int, TcpExchange] = {}
        self._connection: _Connection | None = None

    def send(self, exchange: TcpExchange) -> None:
        if len(self._pending) >= PENDING_MAX:
            exchange.broken(UpstreamUnreachable("too many queries on the connection"))
            return
        query_id = int.from_bytes(os.urandom(2), "big")
        while query_id in self._pending:
            query_id = int.from_bytes(os.urandom(2), "big")
        self._pending[query_id] = exchange
        exchange.query_id = query_id
        if self._connection is None:
            self._connection = _Connection(self)
        message = exchange.request.message(query_id)
        self._connection.write(len(message).to_bytes(2, "big") + message)

    def forget(self, exchange: TcpExchange) -> None:
        if self._pending.get(exchange.query_id) is exchange:
            del self._pending[exchange.query_id]

    def suspect(self, sent_at: float) -> None:
        """A query ran out of time: a connection on which nothing came since it was sent is dead."""
        if self._connection is not None and self._connection.last_reply < sent_at:
            self._connection.abandon("no reply in time")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.abandon("closed")

    @property
    def busy(self) -> bool:
        return bool(self._pending)

    def received(self, frame: bytes) -> bool:
        """Bring a reply to the query that it belongs to; False when there is none."""
        query_id = int.from_bytes(frame[:2], "big")
        exchange = self._pending.get(query_id)
        if exchange is not None:
            answer = self._desk.reader.read(frame, query_id, exchange.request.key)
            if answer is not None and not answer.truncated:
                exchange.arrived(answer)
                return True
        self._desk.counters.add("upstream_bad_replies_total")
        return False

    def lost(self, connection: _Connection, reason: str) -> None:
        """The connection is gone; what was under way is asked again or has failed."""
        if connection is not self._connection:
            return
        self._connection = None
        unanswered = list(self._pending.values())
        self._pending.clear()
        for exchange in unanswered:
            # The upstream may close a kept connection in the moment in which it is used again.
            if connection.replies and not exchange.resent:
                exchange.resent = True
                self.send(exchange)
            else:
                exchange.broken(UpstreamUnreachable(f"TCP: {reason}"))


class _Connection:
    """One TCP connection with a greenlet that reads and one that writes."""

    def __init__(self, channel: TcpChannel) -> None:
        self.replies = 0
        self.last_reply = 0.0
        self._channel = channel
        self._outbox = bytearray()
        self._socket: socket.socket | None = None
        self._writer: gevent.Greenlet | None = None
        self._reader = gevent.spawn(self._run)

    def write(self, frame: bytes) -> None:
        self._outbox += frame
        self._start_writing()

    def abandon(self, reason: str) -> None:
        self._channel.lost(self, reason)
        self._reader.kill(block=False)

    def _run(self) -> None:
        reason = "connection closed"
        try:
            opened = self._connect()
            self._socket = opened
            self._start_writing()
            self._read(opened)
        except TimeoutError:
            reason = "no connection in time"
        except OSError as error:
            reason = str(error.strerror)
        finally:
            if self._writer is not None:
                self._writer.kill(block=False)
            if self._socket is not None:
                self._socket.close()
            self._channel.lost(self, reason)

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
        """Read frames until the upstream closes, talks nonsense, or nothing is to be done."""
        inbox = bytearray()
        bad = 0
        while bad < BAD_FRAMES_MAX:
            while len(inbox) >= 2 and len(inbox) >= 2 + (length := inbox[0] << 8 | inbox[1]):
                frame = bytes(inbox[2 : 2 + length])
                del inbox[: 2 + length]
                if self._channel.received(frame):
                    self.replies += 1
                    self.last_reply = time.monotonic()
                else:
                    bad += 1
            try:
                wait_read(opened.fileno(), IDLE_SECONDS, TimeoutError())
            except TimeoutError:
                if self._channel.busy:
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
            self._channel.lost(self, str(error.strerror))
            self._reader.kill(block=False)
        finally:
            self._writer = None
