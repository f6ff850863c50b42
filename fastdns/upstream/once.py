"""One question to one upstream over a separate socket, for callers that may wait."""

from __future__ import annotations

import os
import socket
import struct
import time

from ..config.values import Address, Server
from .transports import channel_class

ROOT_NS = b"\0" + struct.pack("!HH", 2, 1)  # ". IN NS": every resolver knows it
_HEADER = struct.Struct("!HHHHHH")
_OPT = b"\0" + struct.pack("!HHI", 41, 1232, 0)  # the length of the options follows
_RD = 0x0100
_QR = 0x8000


def ask_server(server: Server, question: bytes, timeout: float, *, has_opt: bool) -> int:
    """Return the RCODE of its reply; OSError: none came in time, or at all. Blocks."""
    is_stream = server.kind.is_stream
    dial = channel_class(server).dial if is_stream else dial_udp
    with dial(server.address, timeout) as connection:
        return ask_once(connection, question, timeout, is_framed=is_stream, has_opt=has_opt)


def ask_once(
    connection: socket.socket,
    question: bytes,
    timeout: float,
    *,
    is_framed: bool,
    has_opt: bool = False,
) -> int:
    """Return the RCODE of the reply to a question; OSError: none came in time, or at all."""
    reply = exchange(connection, question, timeout, is_framed=is_framed, has_opt=has_opt)
    return reply[3] & 0xF


def exchange(
    connection: socket.socket,
    question: bytes,
    timeout: float,
    *,
    is_framed: bool,
    has_opt: bool = False,
    options: bytes = b"",
) -> bytes:
    """Return the reply to a question, at least its header; OSError: there is none.

    `options` are those of the OPT record.
    """
    number = int.from_bytes(os.urandom(2), "big")
    query = _HEADER.pack(number, _RD, 1, 0, 0, int(has_opt)) + question
    if has_opt:
        query += _OPT + struct.pack("!H", len(options)) + options
    begun = time.monotonic()
    connection.sendall(struct.pack("!H", len(query)) + query if is_framed else query)
    while True:
        connection.settimeout(max(begun + timeout - time.monotonic(), 0.001))
        reply = _frame(connection) if is_framed else connection.recv(65535)
        if _answers(reply, number, question):
            return reply


def dial(address: Address, timeout: float, kind: socket.SocketKind) -> socket.socket:
    """Return a connected socket. OSError: impossible, or not in time."""
    connection = socket.socket(address.family, kind)
    try:
        connection.settimeout(timeout)
        connection.connect(address.sockaddr)
    except BaseException:
        connection.close()
        raise
    return connection


def dial_udp(address: Address, timeout: float) -> socket.socket:
    """Return a connected UDP socket."""
    return dial(address, timeout, socket.SOCK_DGRAM)


def _frame(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        length = stream.read(2)
        reply = stream.read(int.from_bytes(length, "big"))
    if not reply:
        raise ConnectionError("it closed the connection")
    return reply


def _answers(reply: bytes, number: int, question: bytes) -> bool:
    """Return True for a reply to this question."""
    if len(reply) < _HEADER.size:
        return False
    found, flags, questions, *_ = _HEADER.unpack_from(reply)
    if found != number or not flags & _QR:
        return False
    return not questions or reply[_HEADER.size :][: len(question)].lower() == question.lower()
