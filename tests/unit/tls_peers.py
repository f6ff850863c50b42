"""Clients of TLS without a socket: Python's ssl, and libssl by ctypes for what that cannot do."""

from __future__ import annotations

import ctypes
import ssl
from collections.abc import Iterable

from fastdns._certificate import make_self_signed
from fastdns._ticket_keys import TicketKeys
from fastdns._tls import ServerContext, ServerTls

NAME = "dns.demo"
CHAIN, KEY = make_self_signed([NAME, "kids.dns.demo"], 30)
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def left_error() -> int:
    """Return the first error in OpenSSL's queue of this thread, which Python's ssl would tell."""
    peek = ctypes.CDLL("libcrypto.so.3").ERR_peek_error
    peek.restype = ctypes.c_ulong
    return int(peek())


def server_context(kind: str = "dot", tickets: TicketKeys | None = None) -> ServerContext:
    return ServerContext(CHAIN, KEY, tickets or TicketKeys(), kind)


def client_context(
    version: ssl.TLSVersion = TLS13, offers: Iterable[str] = (), chain: bytes = CHAIN
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=chain.decode())
    context.maximum_version = version
    if offers:
        context.set_alpn_protocols(list(offers))
    return context


class Client:
    """A client of Python's ssl, and the server's side that it talks to."""

    def __init__(
        self,
        server: ServerContext,
        context: ssl.SSLContext | None = None,
        *,
        session: ssl.SSLSession | None = None,
        name: str | None = NAME,
    ) -> None:
        self.server = ServerTls(server)
        self.received, self.to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(
            self.received, self.to_send, server_hostname=name, session=session
        )

    def connect(self, *, at_once: int = 1 << 20) -> Client:
        """Finish the handshake; the server gets so many octets at once."""
        for _ in range(4):
            is_done = True
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                is_done = False
            self.send_on(at_once)
            self.received.write(self.server.take_output())
            if is_done and self.server.is_open:
                return self
        raise AssertionError("the handshake does not end")

    def send_on(self, at_once: int = 1 << 20) -> None:
        octets = self.to_send.read()
        for start in range(0, len(octets), at_once):
            self.server.feed(octets[start : start + at_once])
            self.server.handshake()

    def ask(self, plain: bytes) -> bytes:
        """Return what the server reads of it."""
        self.tls.write(plain)
        self.server.feed(self.to_send.read())
        return b"".join(iter(self.server.read, b""))

    def answer(self, plain: bytes) -> bytes:
        """Return what the client reads when the server has written it."""
        self.server.write(plain)
        self.received.write(self.server.take_output())
        return self.read()

    def read(self) -> bytes:
        parts = []
        try:
            while part := self.tls.read(1 << 16):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        return b"".join(parts)

    def session(self) -> ssl.SSLSession:
        """Return what the client can come back with."""
        assert self.answer(b"ticket") == b"ticket"  # TLS 1.3 sends it behind the handshake
        assert self.tls.session is not None
        return self.tls.session


class RawClient:
    """A client by libssl itself, which Python's ssl has loaded."""

    SET_MAX_PROTO_VERSION = 124

    def __init__(self, server: ServerContext, version: int = 0x304) -> None:
        self.ssl, self.crypto = ctypes.CDLL("libssl.so.3"), ctypes.CDLL("libcrypto.so.3")
        for library, names in (
            (self.ssl, ("TLS_client_method", "SSL_CTX_new", "SSL_new")),
            (self.crypto, ("BIO_new", "BIO_s_mem")),
        ):
            for name in names:
                getattr(library, name).restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(
            self.ssl.SSL_CTX_new(ctypes.c_void_p(self.ssl.TLS_client_method()))
        )
        self.at = ctypes.c_void_p(self.ssl.SSL_new(self.context))
        self.ssl.SSL_ctrl(self.at, self.SET_MAX_PROTO_VERSION, ctypes.c_long(version), None)
        memory = ctypes.c_void_p(self.crypto.BIO_s_mem())
        self.received = ctypes.c_void_p(self.crypto.BIO_new(memory))
        self.to_send = ctypes.c_void_p(self.crypto.BIO_new(memory))
        self.ssl.SSL_set_bio(self.at, self.received, self.to_send)
        self.ssl.SSL_set_connect_state(self.at)
        self.server = ServerTls(server)
        for _ in range(3):
            self.handshake()
            self.server.feed(self.take())
            self.server.handshake()
            self.give(self.server.take_output())

    def handshake(self) -> bool:
        return self.ssl.SSL_do_handshake(self.at) == 1

    def take(self) -> bytes:
        room = ctypes.create_string_buffer(1 << 20)
        length = self.crypto.BIO_read(self.to_send, room, len(room))
        return room.raw[: max(length, 0)]

    def give(self, octets: bytes) -> None:
        self.crypto.BIO_write(self.received, octets, len(octets))

    def update_key(self, *, and_servers: bool) -> None:
        assert self.ssl.SSL_key_update(self.at, int(and_servers)) == 1
        assert self.handshake()

    def close(self) -> None:
        self.crypto.ERR_clear_error()
        self.ssl.SSL_free(self.at)
        self.ssl.SSL_CTX_free(self.context)
