"""Asking an upstream over TCP: one kept connection, queries pipelined (RFC 7766 section 6.2.1)."""

from __future__ import annotations

import logging
import os
import socket
import time

import gevent
from gevent.socket import wait_read, wait_write

from .._answer import Answer
from .._upstream import OPT, PROBE, TRIAL, Upstream
from ..config.schema import Address
from ..defects import guarded
from ..errors import (
    LocalShortage,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUnusable,
)
from .exchange import LISTEN_SECONDS, Arrivals, Asked, Desk, Exchange
from .request import Request
from .udp import SHORTAGES

log = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
CONNECT_SECONDS = 3.0
BAD_FRAMES_MAX = 16  # a connection that brings more of them is out of step
PENDING_MAX = 4096


class TcpExchange(Exchange):
    """One query on a connection; sent again on another one when that is lost."""

    def __init__(
        self,
        upstream: Asked,
        channel: TcpChannel,
        request: Request,
        arrivals: Arrivals,
        *,
        known: Upstream,
        form: int,
    ) -> None:
        super().__init__(upstream, request, arrivals)
        self.known = known
        self.form = form
        self.channel = channel
        self.query_id = -1
        self.connection: _Connection | None = None
        self.was_resent = False  # after a connection that brought nothing
        self._timer = self.desk.loop.timer(self.known.time_limit)
        self._timer.start(guarded(self.late))
        self.desk.counters.add("upstream_queries_total")
        self.desk.counters.add("upstream_queries_tcp_total")
        channel.send(self)

    def arrived(self, answer: Answer) -> None:
        if not self.done:
            self.known.answered(self.seconds)
        super().arrived(answer)

    def late(self) -> None:
        super().late()
        self.desk.counters.add("upstream_timeouts_total")
        if self.form != PROBE:
            self.upstream.failed(self.seconds, UpstreamTimeout("no reply in time"))
        self.channel.suspect(self)
        if not self.done:
            self._timer.stop()
            self._timer.close()
            self._timer = self.desk.loop.timer(max(LISTEN_SECONDS - self.seconds, 0.1))
            self._timer.start(guarded(self.expired))

    def broken(self, error: UpstreamError) -> None:
        if self.form == PROBE:  # it says nothing of queries without OPT
            self.close()
        else:
            super().broken(error)

    def _end(self) -> None:
        self._timer.stop()
        self._timer.close()
        self.channel.forget(self)


class TcpChannel:
    """The connection to one upstream: opened when needed, closed when idle, reopened when lost.

    One on which nothing comes is left for a new one, and still listened to.
    """

    def __init__(self, address: Address, desk: Desk) -> None:
        self.address = address
        self._desk = desk
        self._pending: dict[int, TcpExchange] = {}
        self._connections: set[_Connection] = set()
        self._connection: _Connection | None = None  # that takes new queries
        self._last_reply = 0.0
        self._closed = False

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
            self._connections.add(self._connection)
        exchange.connection = self._connection
        message = exchange.request.message(query_id, has_opt=exchange.form in (OPT, PROBE))
        self._connection.write(len(message).to_bytes(2, "big") + message)

    def forget(self, exchange: TcpExchange) -> None:
        if self._pending.get(exchange.query_id) is exchange:
            del self._pending[exchange.query_id]

    def suspect(self, exchange: TcpExchange) -> None:
        """A query ran out of time: a connection on which nothing came since it was sent is dead."""
        connection = exchange.connection
        if connection is None or connection.last_reply >= exchange.sent_at:
            return
        if not connection.is_open:
            connection.abandon("no connection in time")
        elif connection is self._connection:
            self._connection = None

    def close(self) -> None:
        self._closed = True
        for connection in list(self._connections):
            connection.abandon("closed")

    def is_busy(self, connection: _Connection) -> bool:
        """Whether something is waited for there."""
        return any(one.connection is connection for one in self._pending.values())

    def received(self, connection: _Connection, frame: bytes) -> bool:
        """Bring a reply to the query that it belongs to; False when there is none."""
        query_id = int.from_bytes(frame[:2], "big")
        exchange = self._pending.get(query_id)
        reader = self._desk.reader
        if exchange is None or exchange.connection is not connection:
            self._desk.counters.add("upstream_bad_replies_total")
            return False
        answer = reader.read(frame, query_id, exchange.request.key)
        if answer is None and not reader.is_spoiled:
            self._desk.counters.add("upstream_bad_replies_total")
            return False
        self._last_reply = time.monotonic()
        if exchange.known.look_at_message(
            exchange.form,
            reader.rcode,
            has_opt=reader.has_opt,
            is_odd=reader.is_odd,
            is_spoiled=reader.is_spoiled,
        ):
            self.forget(exchange)
            exchange.form = TRIAL
            self.send(exchange)
        elif answer is None or answer.truncated:
            self._desk.counters.add("upstream_bad_replies_total")
            exchange.broken(UpstreamUnusable("its reply cannot be used"))
        else:
            exchange.arrived(answer)
        return True

    def lost(self, connection: _Connection, reason: str, number: int | None = None) -> None:
        """The connection is gone; what was under way is asked again or has failed.

        It is asked again for as long as each connection brings an answer: some servers close after
        each, and a kept connection may be closed in the moment in which it is used again.
        """
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        if connection is self._connection:
            self._connection = None
        unanswered = [one for one in self._pending.values() if one.connection is connection]
        for exchange in unanswered:
            self.forget(exchange)
        for exchange in unanswered:
            may_resend = connection.replies > 0
            if not may_resend and not exchange.was_resent:
                # Others have got answers since: this connection has had bad luck.
                exchange.was_resent = may_resend = self._last_reply >= exchange.sent_at
            if exchange.done:
                continue
            if may_resend and not self._closed:
                self.send(exchange)
            else:
                kind = LocalShortage if number in SHORTAGES else UpstreamUnreachable
                exchange.broken(kind(f"TCP: {reason}"))


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

    @property
    def is_open(self) -> bool:
        """Whether the upstream has taken it."""
        return self._socket is not None

    def abandon(self, reason: str) -> None:
        self._channel.lost(self, reason)
        self._reader.kill(block=False)

    def _run(self) -> None:
        reason, number = "connection closed", None
        try:
            opened = self._connect()
            self._socket = opened
            self._start_writing()
            self._read(opened)
        except TimeoutError:
            reason = "no connection in time"
        except OSError as error:
            reason, number = str(error.strerror), error.errno
        finally:
            if self._writer is not None:
                self._writer.kill(block=False)
            if self._socket is not None:
                self._socket.close()
            self._channel.lost(self, reason, number)

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
                if self._channel.received(self, frame):
                    self.replies += 1
                    self.last_reply = time.monotonic()
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
            # The answers that came before are still to be read; what follows them is the end.
            log.debug("%s over TCP: %s", self._channel.address, error)
            self._outbox.clear()
        finally:
            self._writer = None
