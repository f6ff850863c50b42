"""An upstream that does what a test tells it, over UDP and TCP, and remembers all it was asked."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from .ports import bind_pair

WAIT_SECONDS = 8.0
SOA = "demo. 300 IN SOA ns.demo. hostmaster.demo. 1 7200 3600 1209600 300"


@dataclass
class Asked:
    """One query as it arrived, and the means to reply: as often, late and wrongly as wanted."""

    wire: bytes
    client: tuple
    tcp: bool
    send: Callable[[bytes], None] = field(repr=False)
    close: Callable[[], None] = field(repr=False)
    at: float = field(default_factory=time.monotonic)
    is_repeat: bool = False  # the same datagram again: this machine was too slow to answer in time

    def __post_init__(self) -> None:
        self.message = dns.message.from_wire(self.wire)
        self.name: dns.name.Name = self.message.question[0].name
        self.rdtype = self.message.question[0].rdtype
        self.port: int = self.client[1]

    def response(
        self,
        *answer: str,
        authority: Sequence[str] = (),
        additional: Sequence[str] = (),
        rcode: str = "NOERROR",
        flags: int = 0,
        options: Sequence[dns.edns.Option] = (),
    ) -> dns.message.Message:
        """A true response; a record is a line like "@ 300 IN A 192.0.2.1" (@: the asked name)."""
        message = dns.message.make_response(self.message, recursion_available=True)
        message.flags |= flags
        message.set_rcode(dns.rcode.from_text(rcode))
        if options:
            message.use_edns(0, payload=1232, options=list(options))
        sections = (message.answer, message.authority, message.additional)
        for section, lines in zip(sections, (answer, authority, additional), strict=True):
            section += [self.record(line) for line in lines]
        return message

    def record(self, line: str) -> dns.rrset.RRset:
        owner, ttl, rdclass, rdtype, rdata = line.split(maxsplit=4)
        name = self.name if owner == "@" else dns.name.from_text(owner)
        # Not by from_text: dnspython 2.3 refuses a TTL with the top bit set.
        rrset = dns.rrset.from_text(name, 0, rdclass, rdtype, rdata)
        rrset.ttl = int(ttl)
        return rrset

    def answer(self, *lines: str, **parts: object) -> None:
        """Reply with `response(...)`; what is larger than was asked for goes as TC=1 over UDP."""
        response = self.response(*lines, **parts)
        wire = response.to_wire(max_size=65535)
        if not self.tcp and len(wire) > max(512, self.message.payload):
            response.flags |= dns.flags.TC
            response.answer, response.authority, response.additional = [], [], []
            wire = response.to_wire()
        self.send(wire)

    def send_from(self, host: str, wire: bytes) -> None:
        """Send to the asker from another address, or, if host is ours, from another port."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as stranger:
            stranger.bind((host, 0))
            stranger.sendto(wire, self.client)


Behaviour = Callable[[Asked], None]


def answer_a(asked: Asked) -> None:
    """What is done for names without a behaviour of their own: A 192.0.2.1, else NODATA; 300 s."""
    if asked.rdtype == dns.rdatatype.A:
        asked.answer("@ 300 IN A 192.0.2.1")
    else:
        asked.answer(authority=[SOA])


def answer_private(asked: Asked) -> None:
    """The behaviour of a resolver that knows names of its own."""
    asked.answer("@ 300 IN A 10.0.0.7")


def silence(_: Asked) -> None:
    """The behaviour of an upstream that is dead, but whose port is open."""


def held(release: threading.Event) -> Behaviour:
    """A behaviour that answers when the test says so."""

    def behave(asked: Asked) -> None:
        if release.wait(WAIT_SECONDS):
            answer_a(asked)

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The behaviour of doing each of these once, then the last one for ever."""
    left = list(behaviours)

    def behave(asked: Asked) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(asked)

    return behave


class FalseUpstream:
    """Runs in a `with` block; `host` and `port` are the same for UDP and TCP.

    A behaviour is a function of one `Asked`, run in a thread of its own, so that it may wait. It is
    chosen by the asked name (`on`), else it is `self.otherwise`. Names without a behaviour of their
    own make it possible to share one upstream, and the fastdns in front of it, by many tests.
    """

    def __init__(self, otherwise: Behaviour = answer_a, host: str = "127.0.0.1") -> None:
        self.host = host
        self.otherwise = otherwise
        self.queries: list[Asked] = []
        self.unreadable: list[bytes] = []
        self.problems: list[str] = []
        self._behaviours: dict[dns.name.Name, Behaviour] = {}
        self._seen: set[tuple[bytes, tuple]] = set()
        self._arrived = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._numbers = itertools.count(1)

    def on(self, name: str, behaviour: Behaviour) -> None:
        """From now on, do this when asked about exactly name, in any spelling and of any type."""
        self._behaviours[dns.name.from_text(name)] = behaviour

    def new_name(self, behaviour: Behaviour | None = None, label: str = "n") -> str:
        """A name that nobody has asked yet, with a behaviour of its own if one is given."""
        name = f"{label}{next(self._numbers)}.false.demo."
        if behaviour:
            self.on(name, behaviour)
        return name

    def asked(self, name: str | None = None, *, repeats: bool = False) -> list[Asked]:
        """What was asked so far, all of it or about name, without the repeats or with them."""
        wanted = name and dns.name.from_text(name)
        return [
            asked
            for asked in self.queries
            if (repeats or not asked.is_repeat) and (not wanted or asked.name == wanted)
        ]

    def wait_for(
        self, name: str | None = None, count: int = 1, timeout: float = WAIT_SECONDS
    ) -> list[Asked]:
        """Wait until count queries (about name) have arrived; return them."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: len(self.asked(name)) >= count, timeout)
            assert came, f"{len(self.asked(name))} of {count} queries for {name or 'anything'} came"
            return self.asked(name)

    def __enter__(self) -> FalseUpstream:
        self._udp, self._tcp = bind_pair(self.host)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.port = self._udp.getsockname()[1]
        for loop in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=loop, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._udp, self._tcp, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it
            sock.close()
        assert not self.problems, "\n".join(self.problems)

    def close_connections(self) -> None:
        """Hang up on every TCP client, as a restarting server does."""
        for sock in list(self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _serve_udp(self) -> None:
        while True:
            try:
                wire, client = self._udp.recvfrom(65535)
            except OSError:
                return
            if not wire and self._udp.fileno() < 0:
                return

            def reply(octets: bytes, client: tuple = client) -> None:
                with contextlib.suppress(OSError):  # the test is over
                    self._udp.sendto(octets, client)

            self._take(wire, client, tcp=False, reply=reply, close=lambda: None)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, client = self._tcp.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(
                target=self._serve_connection, args=(connection, client), daemon=True
            ).start()

    def _serve_connection(self, connection: socket.socket, client: tuple) -> None:
        sending = threading.Lock()

        def reply(octets: bytes) -> None:
            with sending, contextlib.suppress(OSError):
                connection.sendall(struct.pack("!H", len(octets)) + octets)

        def close() -> None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while len(length := stream.read(2)) == 2:
                wire = stream.read(struct.unpack("!H", length)[0])
                self._take(wire, client, tcp=True, reply=reply, close=close)
        self._connections.discard(connection)

    def _take(
        self,
        wire: bytes,
        client: tuple,
        *,
        tcp: bool,
        reply: Callable[[bytes], None],
        close: Callable[[], None],
    ) -> None:
        try:
            asked = Asked(wire, client, tcp, reply, close)
        except Exception:  # whatever dnspython makes of it, a forwarder should not have sent it
            self.unreadable.append(wire)
            return
        with self._arrived:
            asked.is_repeat = not tcp and (wire, client) in self._seen
            self._seen.add((wire, client))
            self.queries.append(asked)
            self._arrived.notify_all()
        behaviour = self._behaviours.get(asked.name, self.otherwise)
        threading.Thread(target=self._behave, args=(behaviour, asked), daemon=True).start()

    def _behave(self, behaviour: Behaviour, asked: Asked) -> None:
        try:
            behaviour(asked)
        except Exception as error:  # a broken test must fail, not time out in a thread
            self.problems.append(f"behaviour for {asked.name} {asked.rdtype!r}: {error!r}")
