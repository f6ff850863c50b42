"""A client of DNS over TLS that trusts any certificate, and looks at it."""

from __future__ import annotations

import socket
import ssl
import struct

from fastdns._certificate import read_certificate

TIMEOUT = 5.0


def trusting(*protocols: str) -> ssl.SSLContext:
    """Return what a client needs that offers these protocols."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    return context


class TlsClient:
    """One connection, for one query after the other. `session`: one of before, to be resumed."""

    context = trusting("dot")

    def __init__(self, place: tuple[str, int], session: ssl.SSLSession | None = None) -> None:
        plain = socket.create_connection(place, TIMEOUT)
        self.sock = self.context.wrap_socket(plain, session=session, server_hostname="dns.demo")

    @property
    def names(self) -> tuple[str, ...]:
        """For whom the server's certificate is; nothing where a session is resumed."""
        given = self.sock.getpeercert(binary_form=True) or b""
        return read_certificate(ssl.DER_cert_to_PEM_cert(given).encode()).names if given else ()

    @property
    def session(self) -> ssl.SSLSession | None:
        """With TLS 1.3 there is one when an answer has come."""
        return self.sock.session

    @property
    def is_resumed(self) -> bool:
        return bool(self.sock.session_reused)

    def ask(self, message: bytes) -> bytes:
        """Return the answer; b"" if the server ends the connection as it should."""
        self.send(message)
        return self.receive()

    def send(self, message: bytes) -> None:
        self.sock.sendall(struct.pack("!H", len(message)) + message)

    def receive(self) -> bytes:
        head = self._read(2)
        return self._read(struct.unpack("!H", head)[0]) if head else b""

    def _read(self, length: int) -> bytes:
        octets = b""
        while len(octets) < length:
            piece = self.sock.recv(length - len(octets))  # SSLEOFError: an end without close_notify
            if not piece:
                return b""
            octets += piece
        return octets

    def __enter__(self) -> TlsClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()
