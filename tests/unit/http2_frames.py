"""Frames of HTTP/2 made by hand (RFC 9113), and a client that reads the other side's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fastdns._http2 import Http2Server

MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(
    10
)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, CALM = 0, 1, 7, 8, 11
MESSAGE = b"\0\0\1\0\0\1\0\0\0\0\0\0\4name\4demo\0\0\1\0\1"


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error(self) -> int:
        """The code of a RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8])


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4)
    return head + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field without a place in the table (RFC 7541 section 6.2.2)."""
    return b"\0" + text(name) + text(value)


def text(octets: bytes) -> bytes:
    return integer(len(octets), 7) + octets


def integer(number: int, bits: int) -> bytes:
    """RFC 7541 section 5.1, with nothing in the other bits of the first octet."""
    if number < (1 << bits) - 1:
        return bytes([number])
    out, number = [(1 << bits) - 1], number - (1 << bits) + 1
    while number > 127:
        out.append(128 | number & 127)
        number >>= 7
    return bytes([*out, number])


def get(path: bytes = b"/dns-query?dns=AAABAAABAAAAAAAABG5hbWUEZGVtbwAAAQAB") -> bytes:
    return b"\x82\x87" + literal(b":path", path) + literal(b":authority", b"dns.demo")


def post(length: int | None = None, *, path: bytes = b"/dns-query", more: bytes = b"") -> bytes:
    block = b"\x83\x87" + literal(b":path", path) + literal(b":authority", b"dns.demo")
    block += literal(b"content-type", b"application/dns-message")
    if length is not None:
        block += literal(b"content-length", b"%d" % length)
    return block + more


def ask(stream: int) -> bytes:
    """A whole query."""
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, get())


@dataclass
class Connection:
    """A server's session, and the frames that it has sent."""

    server: Http2Server
    sent: list[Frame]
    now: float = 1000.0
    is_welcome: bool = True
    unread: bytes = b""

    @classmethod
    def opened(cls, settings: bytes = b"") -> Connection:
        connection = cls(Http2Server(), [])
        connection.feed(MAGIC + frame(SETTINGS, payload=settings))
        connection.feed(frame(SETTINGS, ACK))
        return connection

    def feed(self, octets: bytes, *, after: float = 0.0) -> None:
        """Send this, so many seconds later, and read what comes back at once."""
        self.now += after
        self.is_welcome = self.server.feed(octets, now=self.now)
        self.drain()

    def drain(self) -> list[list[Frame]]:
        """Return the frames, in the portions in which they came."""
        portions = []
        more = True
        while more:
            octets, more = self.server.drain()
            portions.append(self.read(octets))
        return portions

    def read(self, octets: bytes) -> list[Frame]:
        self.unread += octets
        found = []
        while len(self.unread) >= 9:
            length = 9 + int.from_bytes(self.unread[:3])
            if len(self.unread) < length:
                break
            head, payload = self.unread[:9], self.unread[9:length]
            found.append(Frame(head[3], head[4], int.from_bytes(head[5:]), payload))
            self.unread = self.unread[length:]
        self.sent += found
        return found

    def of(self, kind: int) -> list[Frame]:
        return [frame for frame in self.sent if frame.kind == kind]

    def body(self, stream: int) -> bytes:
        """Return what has come of a response."""
        return b"".join(frame.payload for frame in self.of(DATA) if frame.stream == stream)

    def requests(self) -> list[tuple[int, int]]:
        """Take what is complete: (stream, problem)."""
        found = []
        while request := self.server.next():
            found.append((request[0], request[1]))
        return found

    def answer(self, octets: bytes = b"an answer") -> int:
        """Answer all that is complete; return how many."""
        requests = self.requests()
        for stream, problem in requests:
            if problem:
                self.server.respond(stream, status=problem)
            else:
                self.server.respond(stream, octets)
        self.drain()
        return len(requests)

    @property
    def is_ended(self) -> bool:
        """True if the server wants the connection closed."""
        return not self.is_welcome or self.server.is_over
