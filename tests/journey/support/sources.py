"""Asking from an address of one's choice."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT = 5.0


def ask_from(
    source: str,
    server: str,
    *queries: bytes,
    port: int = 53,
    tcp: bool = False,
    timeout: float = TIMEOUT,
) -> bytes | None:
    """The answer to the first of these queries; None: the connection is closed without one.

    TimeoutError: over UDP there is none.
    """
    with connected(source, server, port, tcp=tcp, timeout=timeout) as sock:
        if not tcp:
            sock.send(queries[0])
            return sock.recv(65535)
        sock.sendall(b"".join(struct.pack("!H", len(one)) + one for one in queries))
        return next(frames(sock), None)


@contextmanager
def connected(
    source: str, server: str, port: int, *, tcp: bool, timeout: float = TIMEOUT
) -> Iterator[socket.socket]:
    """A socket from one address to another."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.bind(_sockaddr(source, 0))
        sock.connect(_sockaddr(server, port))
        yield sock


def frames(sock: socket.socket) -> Iterator[bytes]:
    """The messages that come over a connection, to its end."""
    stream = b""
    while True:
        while len(stream) >= 2 and len(stream) >= 2 + (length := int.from_bytes(stream[:2], "big")):
            yield stream[2 : 2 + length]
            stream = stream[2 + length :]
        try:
            piece = sock.recv(65535)
        except ConnectionResetError:
            return
        if not piece:
            return
        stream += piece


def _sockaddr(host: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    host, _, device = host.partition("%")
    if ":" not in host:
        return host, port
    return host, port, 0, socket.if_nametoindex(device) if device else 0
