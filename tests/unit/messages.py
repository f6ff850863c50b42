"""DNS messages made by hand, and a fast path for them."""

from __future__ import annotations

import functools
import select
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from fastdns._answer import Answer, Limits, Reading, failure
from fastdns._cache import Cache
from fastdns._cache_settings import CacheSettings
from fastdns._clients import Access
from fastdns._control import Control
from fastdns._disk import Disk
from fastdns._entry import Source
from fastdns._fastpath import FastPath
from fastdns._flights import Flights
from fastdns._forward import Forward
from fastdns._groups import Group
from fastdns._hotcache import HotCache
from fastdns._ring import Ring
from fastdns._stream import PIPELINE_MAX
from fastdns._stream_listener import StreamListener
from fastdns._upstream import OPT as OPT_FORM
from fastdns._upstream import Upstream
from fastdns.config.values import Address
from fastdns.counters import Pages
from fastdns.upstream.endpoint import packed

A, NS, CNAME, SOA, TXT, AAAA, DNAME, OPT, RRSIG = 1, 2, 5, 6, 16, 28, 39, 41, 46
OPAQUE = 65280  # a type for private use: its RDATA may be anything
IN, CHAOS = 1, 3
RD, RA, AD, CD, TC, QR = 0x0100, 0x0080, 0x0020, 0x0010, 0x0200, 0x8000
REPLY = QR | RD | RA
DO = 0x8000  # in the TTL of an OPT
EDE = 15

ID = 0x1A2B
NAME = "www.example"
TO_QUESTION = b"\xc0\x0c"  # a compression pointer to the name of the question
HEADER = 12
SOURCE = Source("192.0.2.53:53")

GENEROUS = Limits(0, 2**31, 2**31, 5, False)


@functools.lru_cache(1000)
def name(text: str) -> bytes:
    """A name in wire form, uncompressed, its letters as they are."""
    labels = [label.encode() for label in text.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(qname: str = NAME, qtype: int = A, qclass: int = IN) -> bytes:
    return name(qname) + struct.pack("!HH", qtype, qclass)


@functools.lru_cache(1000)
def key(
    qname: str = NAME, qtype: int = A, qclass: int = IN, *, do: bool = False, cd: bool = False
) -> bytes:
    """The canonical key under which a question is kept."""
    return question(qname.lower(), qtype, qclass) + bytes((do | cd << 1, 0, 0))


def header(flags: int, *counts: int, message_id: int = ID) -> bytes:
    """QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT in counts; those left out are 0."""
    return struct.pack("!6H", message_id, flags, *counts, *[0] * (4 - len(counts)))


def record(
    rtype: int, rdata: bytes, ttl: int = 300, *, owner: bytes = TO_QUESTION, rclass: int = IN
) -> bytes:
    return owner + struct.pack("!HHIH", rtype, rclass, ttl, len(rdata)) + rdata


def address(ttl: int = 300, *, owner: bytes = TO_QUESTION) -> bytes:
    return record(A, bytes((192, 0, 2, 1)), ttl, owner=owner)


def soa(ttl: int, minimum: int) -> bytes:
    numbers = struct.pack("!5I", 1, 7200, 3600, 1209600, minimum)
    return record(SOA, name("ns.example") + name("host.example") + numbers, ttl, owner=name(""))


def option(code: int, value: bytes = b"") -> bytes:
    """An EDNS option."""
    return struct.pack("!HH", code, len(value)) + value


def opt(*options: bytes, size: int = 1232, ttl: int = 0) -> bytes:
    """An OPT record; its TTL holds the upper octet of the RCODE, the version and the flags."""
    return record(OPT, b"".join(options), ttl, owner=b"\0", rclass=size)


def query(
    qname: str = NAME,
    qtype: int = A,
    qclass: int = IN,
    *additional: bytes,
    flags: int = RD,
    message_id: int = ID,
) -> bytes:
    head = header(flags, 1, 0, 0, len(additional), message_id=message_id)
    return head + question(qname, qtype, qclass) + b"".join(additional)


def reply(
    *answers: bytes,
    authority: tuple[bytes, ...] = (),
    additional: tuple[bytes, ...] = (),
    flags: int = REPLY,
    qname: str = NAME,
    qtype: int = A,
) -> bytes:
    head = header(flags, 1, len(answers), len(authority), len(additional))
    return head + question(qname, qtype) + b"".join((*answers, *authority, *additional))


def answer_from(
    wire: bytes | bytearray, limits: Limits = GENEROUS, of: bytes | None = None
) -> Answer:
    """The answer that an upstream's reply becomes, which has to be a good one."""
    reading = Reading()
    assert reading.read(wire, ID, key() if of is None else of)
    return reading.answer(limits)


def good(ttl: int = 300) -> Answer:
    """An address, as the answer to NAME."""
    return answer_from(reply(address(ttl)))


def answer_for(qname: str, ttl: int = 300) -> Answer:
    """An address, as the answer to another name."""
    return answer_from(reply(address(ttl), qname=qname), of=key(qname))


def answer_of_size(octets: int, ttl: int = 300, *, qname: str = NAME, filler: int = 0) -> Answer:
    """An answer whose message has exactly that many octets."""
    empty = reply(record(OPAQUE, b""), qname=qname, qtype=OPAQUE)
    rdata = bytes([filler]) * (octets - len(empty))
    wire = reply(record(OPAQUE, rdata, ttl), qname=qname, qtype=OPAQUE)
    return answer_from(wire, of=key(qname, OPAQUE))


def ttl_of(response: bytes) -> int:
    """The TTL of the first record, whose owner is a pointer to the question."""
    at = response.index(TO_QUESTION, HEADER) + len(TO_QUESTION) + 4
    return int(struct.unpack_from("!I", response, at)[0])


def now_ms() -> int:
    """The time on the clock that the fast path reads."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


# Who may ask: every IPv4 and every IPv6 address.
EVERYBODY = Access([(0, 1)], [(0, 1)])


class StreamClient:
    """A client with a connection, and the end at which it is served, by a listener of its own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.ours, self._theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.host = host
        self.listener: StreamListener | None = None
        self.slot: int | None = None
        self.rest = b""

    def serve(self, fastpath: FastPath) -> None:
        """Let the listener read what has been said, once."""
        if self.listener is None:
            self.listener = StreamListener(fastpath)
            self.slot = self.listener.adopt(self._theirs.detach(), (self.host, 5353))
        self.listener.turn()

    def say(self, *packets: bytes) -> None:
        self.ours.sendall(b"".join(len(one).to_bytes(2, "big") + one for one in packets))

    def heard(self) -> list[bytes]:
        """The responses that have come since."""
        with suppress(BlockingIOError, ConnectionResetError):
            while piece := self.ours.recv(1 << 20):
                self.rest += piece
        found = []
        while len(self.rest) >= (end := 2 + int.from_bytes(self.rest[:2], "big")):
            found.append(self.rest[2:end])
            self.rest = self.rest[end:]
        return found

    @property
    def state(self) -> dict[str, int]:
        """What the listener knows of the connection; {} once it is closed."""
        assert self.listener is not None
        return {} if self.slot is None else self.listener.state_of(self.slot)

    @property
    def waiting(self) -> int:
        return 0 if self.listener is None else self.state.get("waiting", 0)

    @property
    def is_over(self) -> bool:
        """Whether the listener has closed the connection or is about to."""
        return not self.state or bool(self.state["has_ended"])

    def is_full(self) -> bool:
        return self.listener is not None and (self.waiting >= PIPELINE_MAX - 1 or self.is_over)

    def hang_up(self) -> None:
        self.ours.close()
        if self.listener is not None:
            self.listener.turn()


class Front:
    """A fast path with a cache of its own, and an upstream that says what the test says.

    There is no disk cache unless somebody makes one in the directory.
    """

    def __init__(
        self,
        directory: Path,
        capacity: int = 1 << 20,
        stale: int = 0,
        *,
        group: Group | None = None,
        stale_wait: float = 1.8,
        beside: Front | None = None,
    ) -> None:
        """`beside`: another worker of the same daemon."""
        self.memory = HotCache(capacity, stale * 1000)
        self.pages = Pages.create(directory / "counters", 1, 0.0)
        self.ring = Ring.open(None)
        self.rings = [self.ring] if beside is None else [beside.ring, self.ring]
        self.control = Control.open(None, directory) if beside is None else beside.control
        counters = self.pages.counters(0)
        self.cache = Cache(
            *(self.memory, counters, Disk(directory), self.ring, self.control),
            rings=self.rings,
            settings=CacheSettings(stale_wait=stale_wait),
        )
        self.clients: list[StreamClient] = []
        self.refreshed: list[bytes] = []
        self.cold: list[bytes] = []  # keys that a disk which has to be waited for may have
        self.upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.upstream.bind(("127.0.0.1", 0))
        self.group = group or Group(GENEROUS, attempts=1)
        self.known = Upstream(SOURCE, 5.0, peer_of(self.upstream), lambda: None)
        self.known.look_at_message(OPT_FORM, 0, has_opt=True)
        self.group.use([self.known])
        self._asked: list[tuple[bytes, object]] = []
        self.forward = Forward(
            self.cache,
            Flights(counters),
            self.group,
            self.cold.append,
            lambda: None,
        )
        self.fastpath = FastPath(self.forward, EVERYBODY, about_us, self.refreshed.append)

    def learn(self, name: bytes, answer: Answer) -> None:
        """Let an answer come from an upstream."""
        self.cache.keep(name, answer, self.cache.ticket(), SOURCE, 0.01)

    def ask(self, packet: bytes) -> bytes | None:
        """The response over a stream, or None when there is none or the client waits."""
        if not self.clients or self.clients[-1].is_full():
            self.clients.append(StreamClient())
        self.clients[-1].say(packet)
        for _piece in range(1 + len(packet) // 16384):
            self.clients[-1].serve(self.fastpath)
        return next(iter(self.clients[-1].heard()), None)

    def heard(self) -> bytes | None:
        """The response that a client of a stream has got since."""
        return next((one for client in self.clients for one in client.heard()), None)

    def missed(self) -> list[bytes]:
        """The keys of what the upstream has been asked, since the last answer of its."""
        with suppress(BlockingIOError):
            while True:
                self._asked.append(self.upstream.recvfrom(4096, socket.MSG_DONTWAIT))
        return [key_of(wire) for wire, _ in self._asked]

    def say(self, wire: bytes) -> None:
        """Let the upstream say this to the query that has waited longest."""
        self.missed()
        asked, peer = self._asked.pop(0)
        self.upstream.sendto(asked[:2] + wire[2:], peer)  # type: ignore[arg-type]
        poll = select.poll()  # select() would end at descriptor 1024
        poll.register(self.forward.flights.descriptor, select.POLLIN)
        assert poll.poll(5000)
        self.forward.read_replies()

    def fail(self) -> None:
        """Let the upstream say SERVFAIL to the query that has waited longest."""
        self.missed()
        asked, _ = self._asked[0]
        self.say(header(REPLY | 2, 1) + asked[HEADER : end_of_question(asked)])

    def answered(self, wire: bytes) -> bytes:
        """What a client of a stream is told when the upstream says this."""
        self.say(wire)
        response = self.heard()
        assert response is not None
        return response

    def keep(self, answer: Answer, under: bytes | None = None, *, age_ms: int = 0) -> None:
        """Let memory hold an answer that came that long ago."""
        assert self.memory.insert(key() if under is None else under, answer, now_ms() - age_ms)

    def count(self, name: str) -> int:
        return self.pages.totals()[name]


def peer_of(upstream: socket.socket) -> bytes:
    """The address of an upstream as C takes it."""
    host, port = upstream.getsockname()
    return packed(Address(host, port))


def end_of_question(wire: bytes) -> int:
    """Where the question of a query ends."""
    at = HEADER
    while wire[at]:
        at += 1 + wire[at]
    return at + 5


def key_of(wire: bytes) -> bytes:
    """The key of the question that an upstream is asked."""
    end = end_of_question(wire)
    do, cd = wire[-4] & 0x80, wire[3] & 0x10
    return wire[HEADER:end] + bytes((bool(do) | bool(cd) << 1, 0, 0))


def about_us(key: bytes) -> Answer:
    """Nothing is told of ourselves."""
    return failure(key, 5, None, 0)
