"""Asking over UDP and TCP with dnspython's messages and plain sockets, and reading the answers."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Protocol, TypeVar

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype

TIMEOUT = 8.0
T = TypeVar("T")


class Place(Protocol):
    """Anything that has an address: a Fastdns, an Nsd, a FalseUpstream."""

    host: str
    port: int


def make_query(
    name: str | dns.name.Name,
    rdtype: str | int = "A",
    rdclass: str | int = "IN",
    *,
    edns: bool = True,
    size: int = 1232,
    do: bool = False,
    rd: bool = True,
    cd: bool = False,
    ad: bool = False,
    options: Sequence[dns.edns.Option] = (),
) -> dns.message.QueryMessage:
    """A query as a stub resolver sends it, each knob with its usual value; the id is random."""
    query = dns.message.make_query(
        name,
        rdtype,
        rdclass,
        use_edns=0 if edns else -1,
        want_dnssec=do,
        payload=size,
        options=list(options),
    )
    query.flags = rd * dns.flags.RD | cd * dns.flags.CD | ad * dns.flags.AD
    return query


def ask(
    server: Place,
    name: str | dns.name.Name,
    rdtype: str | int = "A",
    rdclass: str | int = "IN",
    *,
    tcp: bool = False,
    timeout: float = TIMEOUT,
    **knobs: object,
) -> dns.message.Message:
    """The answer, checked to be one to this very query: QR, id, the question in its spelling."""
    return send(server, make_query(name, rdtype, rdclass, **knobs), tcp=tcp, timeout=timeout)


def send(
    server: Place, query: dns.message.Message, *, tcp: bool = False, timeout: float = TIMEOUT
) -> dns.message.Message:
    exchange = exchange_tcp if tcp else exchange_udp
    wire = query.to_wire()
    return read_answer(wire, exchange(server, wire, timeout=timeout))


def read_answer(query: bytes, answer: bytes) -> dns.message.Message:
    """Parse an answer, one RR a set so that nothing is merged; check that it is one to query."""
    message = dns.message.from_wire(answer, one_rr_per_rrset=True)
    asked = dns.message.from_wire(query)
    assert message.flags & dns.flags.QR
    assert message.id == asked.id
    assert spelling(message) == spelling(asked)
    return message


def spelling(message: dns.message.Message) -> list[tuple[tuple[bytes, ...], int, int]]:
    """The questions, letter by letter: dnspython's own comparison is blind to case."""
    return [(rr.name.labels, int(rr.rdtype), int(rr.rdclass)) for rr in message.question]


@contextlib.contextmanager
def udp_socket(server: Place, timeout: float = TIMEOUT) -> Iterator[socket.socket]:
    """A connected UDP socket: it sees only what comes from the very address that was asked."""
    with UdpClient(server, timeout) as client:
        yield client.sock


def exchange_udp(server: Place, query: bytes, *, timeout: float = TIMEOUT) -> bytes:
    with udp_socket(server, timeout) as sock:
        sock.send(query)
        return sock.recv(65535)


def exchange_tcp(server: Place, query: bytes, *, timeout: float = TIMEOUT) -> bytes:
    with TcpClient(server, timeout) as connection:
        connection.send(query)
        answer = connection.receive()
        assert answer is not None, "the connection was closed without an answer"
        return answer


class TcpClient:
    """One connection; frames go out and come in separately, so that queries can be pipelined."""

    def __init__(self, server: Place, timeout: float = TIMEOUT) -> None:
        self.sock = socket.create_connection((server.host, server.port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: bytes) -> None:
        self.sock.sendall(struct.pack("!H", len(message)) + message)

    def receive(self) -> bytes | None:
        """The next message; None when the other side has closed."""
        length = self._read(2)
        return None if length is None else self._read(struct.unpack("!H", length)[0])

    def _read(self, wanted: int) -> bytes | None:
        octets = b""
        while len(octets) < wanted:
            try:
                piece = self.sock.recv(wanted - len(octets))
            except ConnectionResetError:
                return None
            if not piece:
                return None
            octets += piece
        return octets

    def __enter__(self) -> TcpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


class UdpClient:
    """One connected UDP socket with the face of TcpClient."""

    def __init__(self, server: Place, timeout: float = TIMEOUT) -> None:
        self.sock = socket.socket(
            socket.AF_INET6 if ":" in server.host else socket.AF_INET, socket.SOCK_DGRAM
        )
        self.sock.settimeout(timeout)
        self.sock.connect((server.host, server.port))

    def send(self, message: bytes) -> None:
        self.sock.send(message)

    def receive(self) -> bytes:
        return self.sock.recv(65535)

    def __enter__(self) -> UdpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def records(section: Sequence[dns.rrset.RRset]) -> list[tuple[str, str, str, str]]:
    """The records of a section without their TTLs, sorted: what two servers must agree on."""
    return sorted(
        (
            rr.name.to_text().lower(),
            dns.rdataclass.to_text(rr.rdclass),
            dns.rdatatype.to_text(rr.rdtype),
            rr[0].to_text(),
        )
        for rr in section
    )


def data(message: dns.message.Message) -> list[str]:
    """The data of the answer section, in its order: ["192.0.2.1"]."""
    return [rr[0].to_text() for rr in message.answer]


def ttls(message: dns.message.Message) -> list[int]:
    """The TTLs of all records but OPT, in their order."""
    sections = (message.answer, message.authority, message.additional)
    return [rr.ttl for section in sections for rr in section]


def extended_errors(message: dns.message.Message) -> list[int]:
    """The info codes of the Extended DNS Errors (RFC 8914) of an answer."""
    return [option.code for option in message.options if option.otype == dns.edns.OptionType.EDE]


def readable(
    which: Sequence[socket.socket | IO[str]], seconds: float = 0.0
) -> list[socket.socket | IO[str]]:
    """Those that can be read within so many seconds. select() would end at descriptor 1024."""
    poll = select.poll()
    for one in which:
        poll.register(one, select.POLLIN)
    found = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
    return [one for one in which if one.fileno() in found]


def eventually(look: Callable[[], T], holds: Callable[[T], bool], timeout: float = 15.0) -> T:
    """Look until it holds, for what only time brings about; return the last look."""
    end = time.monotonic() + timeout
    while not holds(seen := look()):
        assert time.monotonic() < end, f"still {seen!r} after {timeout} s"
        time.sleep(0.02)
    return seen
