"""Asking an upstream over UDP: a socket, a random port and a random id a query (RFC 5452)."""

from __future__ import annotations

import errno
import os
import socket

from ..config.schema import Address
from ..errors import LocalShortage, UpstreamError, UpstreamUnreachable
from .exchange import Arrivals, Asked, Exchange
from .request import Request

PORT_MIN = (
    16384  # below stand the ports of services, which may want them while a query is under way
)
BIND_TRIES = 16
SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
REPLIES_A_WAKEUP = 16  # so that a flood of forged ones leaves time for other work

_room = memoryview(bytearray(65535))


class UdpExchange(Exchange):
    """One query over a connected socket of its own, so that the kernel holds off other senders."""

    def __init__(self, upstream: Asked, request: Request, arrivals: Arrivals) -> None:
        """Send the query. UpstreamUnreachable: the network does not take it."""
        self._id = int.from_bytes(os.urandom(2), "big")
        self._socket = _open(upstream.address)
        try:
            self._socket.send(request.message(self._id))
        except OSError as error:
            self._socket.close()
            raise _failure(error) from error
        super().__init__(upstream, request, arrivals)
        self.desk.counters.add("upstream_queries_total")
        self._watcher = self.desk.loop.io(self._socket.fileno(), 1)
        self._watcher.start(self._readable)

    def _end(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(REPLIES_A_WAKEUP):
            try:
                length = self._socket.recv_into(_room)
            except BlockingIOError:
                return
            except OSError as error:
                self.broken(_failure(error))
                return
            answer = self.desk.reader.read(_room[:length], self._id, self.request.key)
            if answer is not None:
                self.arrived(answer)
                return
            # The true reply may still come: only a matching one ends the wait.
            self.desk.counters.add("upstream_bad_replies_total")


def _open(address: Address) -> socket.socket:
    """Return a socket connected to the address from a port that nobody can guess."""
    try:
        opened = socket.socket(address.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _failure(error) from error
    anywhere = "::" if address.family is socket.AF_INET6 else "0.0.0.0"
    try:
        for _ in range(BIND_TRIES):
            try:
                opened.bind((anywhere, _random_port()))
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        opened.connect(address.sockaddr)  # after BIND_TRIES ports in use the kernel chooses one
    except OSError as error:
        opened.close()
        raise _failure(error) from error
    return opened


def _failure(error: OSError) -> UpstreamError:
    kind = LocalShortage if error.errno in SHORTAGES else UpstreamUnreachable
    return kind(str(error.strerror))


def _random_port() -> int:
    count = 65536 - PORT_MIN
    while True:
        # Rejection keeps the choice even: 65536 is no multiple of count.
        number = int.from_bytes(os.urandom(2), "big")
        if number < count:
            return PORT_MIN + number
