"""Asking an upstream over UDP: what `_forward` leaves to Python, and the sockets of both."""

from __future__ import annotations

import errno
import os
import socket
import struct

from .._flights import Sent
from .._upstream import Upstream
from ..config.schema import Address
from ..errors import (
    LocalShortage,
    NetworkDown,
    UpstreamError,
    UpstreamUnreachable,
    UpstreamUnusable,
)
from .exchange import Arrivals, Asked, Exchange
from .request import Request

PORT_MIN = (
    16384  # below stand the ports of services, which may want them while a query is under way
)
BIND_TRIES = 16
# EAGAIN: the kernel's queue towards the network stays full.
SHORTAGES = {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# No route, no address of ours, the interface is gone; a router's ICMP message says the same.
NO_NETWORK = {
    *(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN),
    *(errno.EADDRNOTAVAIL, errno.ENODEV, errno.EINVAL, errno.ENONET),
}


class UdpExchange(Exchange):
    """One query under way; `_flights` has matched what it is told."""

    def __init__(
        self,
        upstream: Asked,
        request: Request,
        arrivals: Arrivals,
        sent: Sent,
        seconds: float = 0.0,
    ) -> None:
        """Wait for what was sent so many seconds ago."""
        super().__init__(upstream, request, arrivals, seconds)
        self._sent = sent
        sent.listen(self)

    def received(self, wire: bytes) -> None:
        """Take a reply with the right id and question: it ends the wait if it may be used."""
        answer = self.desk.reader.read(wire, self._sent.id, self.request.key)
        if answer is not None:
            self.arrived(answer)

    def failed(self, number: int) -> None:
        """Take the errno of what became of it."""
        if number == errno.ETIMEDOUT:
            self.expired()
        elif number == errno.EBADMSG:
            self.broken(UpstreamUnusable("its reply cannot be used"))
        else:
            self.broken(failure_of(OSError(number, os.strerror(number))))

    def _end(self) -> None:
        self._sent.cancel()


def send(
    upstream: Asked,
    wire_upstream: Upstream,
    request: Request,
    arrivals: Arrivals,
    *,
    is_trial: bool = False,
    is_probe: bool = False,
) -> UdpExchange:
    """Send the request. UpstreamUnreachable: the network does not take it."""
    flights = upstream.desk.flights
    try:
        sent = flights.ask(wire_upstream, request.key, is_trial=is_trial, is_probe=is_probe)
    except OSError as error:
        raise failure_of(error) from error
    return UdpExchange(upstream, request, arrivals, sent)


def packed(address: Address) -> bytes:
    """Return the address as a sockaddr; empty for one of an interface, which may come and go."""
    if "%" in address.host:
        return b""
    family = struct.pack("=H", address.family) + struct.pack("!H", address.port)
    host = socket.inet_pton(address.family, address.host)
    return family + (
        host + bytes(8) if address.family is socket.AF_INET else bytes(4) + host + bytes(4)
    )


def open_socket(address: Address) -> int:
    """Return a socket connected to the address from a port that nobody can guess.

    For addresses that are not `packed`; `_ports` opens those for others by itself.
    """
    opened = socket.socket(address.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
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
    except OSError:
        opened.close()
        raise
    return opened.detach()


def failure_of(error: OSError) -> UpstreamError:
    if error.errno in SHORTAGES:
        return LocalShortage(str(error.strerror))
    kind = NetworkDown if error.errno in NO_NETWORK else UpstreamUnreachable
    return kind(str(error.strerror))


def _random_port() -> int:
    count = 65536 - PORT_MIN
    while True:
        # Rejection keeps the choice even: 65536 is no multiple of count.
        number = int.from_bytes(os.urandom(2), "big")
        if number < count:
            return PORT_MIN + number
