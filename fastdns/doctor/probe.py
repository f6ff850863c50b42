"""One question to one server, over UDP or TCP: does it answer?"""

from __future__ import annotations

import os
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import attrs
import dns.edns
import dns.exception
import dns.message

from ..browse.names import spell_rcode
from ..config.values import Address, Server
from ..upstream.once import ROOT_NS, ask_server, dial, exchange

__all__ = [
    "ROOT_NS",
    "VERSION",
    "Reply",
    "ask",
    "ask_often",
    "ask_upstream",
    "cookie_of",
    "near",
    "resolves",
    "said",
]

REFUSED = 5
COOKIE = 10  # the EDNS option of RFC 7873
CLIENT_COOKIE_OCTETS = 8
PROHIBITED = 18  # an Extended DNS Error, RFC 8914: the client may not ask
VERSION = b"\7version\4bind\0" + struct.pack("!HH", 16, 3)  # CH TXT: fastdns answers it itself


@attrs.frozen
class Reply:
    """The reply."""

    rcode: int
    seconds: float
    extended_error: int | None = None  # RFC 8914

    @property
    def is_denial(self) -> bool:
        """Whether the server says that we may not ask it."""
        return self.rcode == REFUSED and self.extended_error == PROHIBITED

    @property
    def is_good(self) -> bool:
        """Whether the server resolves; some refuse the root itself, and resolve everything else."""
        return self.rcode in (0, 3)

    def __str__(self) -> str:
        return spell_rcode(self.rcode)


def ask_upstream(server: Server, question: bytes, timeout: float) -> tuple[Reply, bool]:
    """Return the reply of an upstream, and whether it supports EDNS; else its reply without EDNS.

    OSError: it answers neither.
    """

    def once(*, has_opt: bool) -> Reply:
        begun = time.monotonic()
        rcode = ask_server(server, question, timeout, has_opt=has_opt)
        return Reply(rcode, time.monotonic() - begun)

    failure: OSError | None = None
    try:
        reply = once(has_opt=True)
        if reply.is_good:
            return reply, True
    except OSError as error:
        failure = error
    plain = once(has_opt=False)
    if not plain.is_good and failure is None:
        return reply, True  # it is not the OPT
    try:  # again: a packet may have been lost
        return plain, once(has_opt=True).is_good
    except OSError:
        return plain, False


def ask(
    address: Address,
    question: bytes,
    *,
    tcp: bool,
    timeout: float,
    has_opt: bool = False,
    cookie: bytes = b"",
) -> Reply:
    """Return the reply to the question; OSError: none came in time, or at all."""
    options = _option(cookie) if cookie else b""
    with dial(address, timeout, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as connection:
        begun = time.monotonic()
        reply = exchange(
            connection, question, timeout, is_framed=tcp, has_opt=has_opt, options=options
        )
        return Reply(reply[3] & 0xF, time.monotonic() - begun, _extended_error(reply))


def cookie_of(address: Address, timeout: float) -> bytes:
    """Return a DNS cookie of the server, with which no limit holds for us; b"": it gives none.

    It is asked for over TCP, which has no limit.
    """
    option = _option(os.urandom(CLIENT_COOKIE_OCTETS))
    try:
        with dial(address, timeout, socket.SOCK_STREAM) as connection:
            reply = exchange(
                connection, VERSION, timeout, is_framed=True, has_opt=True, options=option
            )
        options = dns.message.from_wire(reply).options
    except (OSError, dns.exception.DNSException, ValueError):
        return b""
    found = (one.to_wire() for one in options if one.otype == COOKIE)
    return next((one for one in found if one is not None), b"")


def ask_often(
    address: Address, question: bytes, times: int, timeout: float, cookie: bytes = b""
) -> list[Reply | OSError]:
    """Ask over UDP from so many ports at once; return the result of each.

    The kernel chooses by the port which of several processes gets a query.
    """

    def once(_number: int) -> Reply | OSError:
        try:
            return ask(address, question, tcp=False, timeout=timeout, has_opt=True, cookie=cookie)
        except OSError as error:
            return error

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(once, range(times)))


def _option(cookie: bytes) -> bytes:
    return struct.pack("!HH", COOKIE, len(cookie)) + cookie


def _extended_error(reply: bytes) -> int | None:
    try:
        options = dns.message.from_wire(reply).options
    except (dns.exception.DNSException, ValueError):
        return None
    found = (one for one in options if isinstance(one, dns.edns.EDEOption))
    return next((int(one.code) for one in found), None)


def said(error: OSError) -> str:
    """Return in a few words why there was no reply."""
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)


def near(address: Address) -> Address:
    """Return where this machine reaches the server at this address."""
    if address == address.wildcard:
        return Address("::1" if ":" in address.host else "127.0.0.1", address.port)
    return address


def resolves(address: Address, timeout: float = 5.0) -> bool:
    """Return True if the server can get an answer that cannot be in its cache."""
    # A name of the root that does not exist: a resolver that now asks itself has `. NS` cached.
    name = f"fastdns-doctor-{os.urandom(8).hex()}".encode()
    question = bytes([len(name)]) + name + b"\0" + struct.pack("!HH", 1, 1)
    try:
        return ask(address, question, tcp=False, timeout=timeout).is_good
    except OSError:
        return False
