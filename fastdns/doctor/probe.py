"""One question to one server, over UDP or TCP: does it answer?"""

from __future__ import annotations

import os
import socket
import struct
import time

import attrs

from ..browse.names import spell_rcode
from ..config.schema import Address, Server
from ..upstream.once import ROOT_NS, ask_once, ask_server, dial

__all__ = ["ROOT_NS", "VERSION", "Reply", "ask", "ask_upstream", "resolves", "said"]

VERSION = b"\7version\4bind\0" + struct.pack("!HH", 16, 3)  # CH TXT: fastdns knows it by itself


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
    try:  # once more: a packet may have been lost
        return plain, once(has_opt=True).is_good
    except OSError:
        return plain, False


def ask(address: Address, question: bytes, *, tcp: bool, timeout: float) -> Reply:
    """Return the reply to the question; OSError: there is none, in time or at all."""
    with dial(address, timeout, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as connection:
        begun = time.monotonic()
        rcode = ask_once(connection, question, timeout, is_framed=tcp)
        return Reply(rcode, time.monotonic() - begun)


def said(error: OSError) -> str:
    """Return in a few words why there was no reply."""
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)


def resolves(address: Address, timeout: float = 5.0) -> bool:
    """Return True when the server is told by others what nobody can have in a cache."""
    # A name of the root that does not exist: a resolver that has come to ask itself knows `. NS`.
    name = f"fastdns-doctor-{os.urandom(8).hex()}".encode()
    question = bytes([len(name)]) + name + b"\0" + struct.pack("!HH", 1, 1)
    try:
        return ask(address, question, tcp=False, timeout=timeout).is_good
    except OSError:
        return False
