"""One question to one server, over UDP or TCP: does it answer?"""

from __future__ import annotations

import os
import socket
import struct
import time

import attrs

from ..cache.keys import spell_rcode
from ..config.schema import Address, Server
from ..upstream.transports import channel_class

ROOT_NS = b"\0" + struct.pack("!HH", 2, 1)  # ". IN NS": every resolver knows it
VERSION = b"\7version\4bind\0" + struct.pack("!HH", 16, 3)  # CH TXT: fastdns knows it by itself
_HEADER = struct.Struct("!HHHHHH")
_OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
_RD = 0x0100
_QR = 0x8000


@attrs.frozen
class Reply:
    """What came back."""

    rcode: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether the server does its work; some deny the root itself, and resolve all else."""
        return self.rcode in (0, 3)

    def __str__(self) -> str:
        return spell_rcode(self.rcode)


def ask_upstream(server: Server, question: bytes, timeout: float) -> tuple[Reply, bool]:
    """Return the reply of an upstream, and whether it takes EDNS; else that to a query without.

    OSError: it answers neither.
    """

    def once(*, has_opt: bool) -> Reply:
        with dial(server.address, timeout) as connection:
            return _ask(connection, question, timeout, is_framed=is_stream, has_opt=has_opt)

    is_stream = server.kind.is_stream
    dial = channel_class(server).dial if is_stream else _dial_udp
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
    try:  # once more: a packet may have been lost
        return plain, once(has_opt=True).is_good
    except OSError:
        return plain, False


def ask(address: Address, question: bytes, *, tcp: bool, timeout: float) -> Reply:
    """Return the reply to the question; OSError: there is none, in time or at all."""
    with _dial(address, timeout, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as connection:
        return _ask(connection, question, timeout, is_framed=tcp)


def said(error: OSError) -> str:
    """Return in a few words why there was no reply."""
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)


def _dial(address: Address, timeout: float, kind: socket.SocketKind) -> socket.socket:
    connection = socket.socket(address.family, kind)
    try:
        connection.settimeout(timeout)
        connection.connect(address.sockaddr)
    except BaseException:
        connection.close()
        raise
    return connection


def _dial_udp(address: Address, timeout: float) -> socket.socket:
    return _dial(address, timeout, socket.SOCK_DGRAM)


def _ask(
    connection: socket.socket,
    question: bytes,
    timeout: float,
    *,
    is_framed: bool,
    has_opt: bool = False,
) -> Reply:
    number = int.from_bytes(os.urandom(2), "big")
    query = _HEADER.pack(number, _RD, 1, 0, 0, int(has_opt)) + question + _OPT * has_opt
    begun = time.monotonic()
    connection.sendall(struct.pack("!H", len(query)) + query if is_framed else query)
    while True:
        connection.settimeout(max(begun + timeout - time.monotonic(), 0.001))
        reply = _frame(connection) if is_framed else connection.recv(65535)
        if (rcode := _read(reply, number, question)) is not None:
            return Reply(rcode, time.monotonic() - begun)


def resolves(address: Address, timeout: float = 5.0) -> bool:
    """Return True when the server is told by others what nobody can have in a cache."""
    # A name of the root that does not exist: a resolver that has come to ask itself knows `. NS`.
    name = f"fastdns-doctor-{os.urandom(8).hex()}".encode()
    question = bytes([len(name)]) + name + b"\0" + struct.pack("!HH", 1, 1)
    try:
        return ask(address, question, tcp=False, timeout=timeout).is_good
    except OSError:
        return False


def _frame(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        length = stream.read(2)
        reply = stream.read(int.from_bytes(length, "big"))
    if not reply:
        raise ConnectionError("it hung up")
    return reply


def _read(reply: bytes, number: int, question: bytes) -> int | None:
    """Return the RCODE; None: this is no reply to what was asked."""
    if len(reply) < _HEADER.size:
        return None
    found, flags, questions, *_ = _HEADER.unpack_from(reply)
    if found != number or not flags & _QR:
        return None
    if questions and reply[_HEADER.size :][: len(question)].lower() != question.lower():
        return None
    return int(flags & 0xF)
