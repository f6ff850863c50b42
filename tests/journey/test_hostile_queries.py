"""Queries that are broken, odd or forbidden: each gets its answer, and others are not harmed."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from .support import raw
from .support.client import (
    TcpClient,
    ask,
    data,
    exchange_tcp,
    exchange_udp,
    make_query,
    readable,
    udp_socket,
)
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream

MIB = 1 << 20
ID = 0x5E5E
GOOD = raw.question("good.demo")


def query(body: bytes, *counts: int, flags: int = raw.QUERY_RD) -> bytes:
    return raw.header(ID, flags, *counts) + body


BROKEN = {
    "no question at all": query(b"", 0),
    "question announced, nothing there": query(b"", 1),
    "question without type and class": query(raw.name("cut.demo"), 1),
    "question without class": query(raw.question("cut.demo")[:-2], 1),
    "question without the last octet": query(GOOD[:-1], 1),
    "name without its end": query(b"\x03cut\x04demo", 1),
    "label longer than the packet": query(b"\x03cut\x3ftest\0\0\1\0\1", 1),
    "label type 01": query(b"\x03bad\x41label\0\0\1\0\1", 1),
    "label type 10": query(b"\x03bad\x81label\0\0\1\0\1", 1),
    "label of 64 octets": query(bytes([64]) + b"x" * 64 + b"\0\0\1\0\1", 1),
    "name of 256 octets": query((b"\x3f" + b"x" * 63) * 3 + b"\x3e" + b"x" * 62 + b"\0\0\1\0\1", 1),
    "name that is a pointer to itself": query(b"\xc0\x0c\0\1\0\1", 1),
    "name that points forward": query(b"\xc0\x12\0\1\0\1\x03fwd\0", 1),
    "name that points into the header": query(b"\x03ptr\xc0\x00\0\1\0\1", 1),
    "name that points past the end": query(b"\xff\xff\0\1\0\1", 1),
    "half a pointer": query(b"\x03ptr\xc0", 1),
    "two questions": query(GOOD + raw.question("other.demo"), 2),
    "the same question twice": query(GOOD * 2, 2),
    "two questions announced, one there": query(GOOD, 2),
    "65,535 questions announced": query(GOOD, 65535),
    "an answer announced, none there": query(GOOD, 1, 1),
    "an authority record announced, none there": query(GOOD, 1, 0, 1),
    "an additional record announced, none there": query(GOOD, 1, 0, 0, 1),
    "65,535 additional records announced": query(GOOD + raw.opt(), 1, 0, 0, 65535),
    "OPT without its length": query(GOOD + raw.opt()[:-2], 1, 0, 0, 1),
    "OPT with data past the end": query(GOOD + raw.rr(b"\0", raw.OPT, b"", rdlength=4), 1, 0, 0, 1),
    "OPT option past the end of OPT": query(GOOD + raw.opt(rdata=b"\0\x0a\0\x08abcd"), 1, 0, 0, 1),
    "OPT option cut in its header": query(GOOD + raw.opt(rdata=b"\0\x0a\0"), 1, 0, 0, 1),
    "cookie of three octets": query(GOOD + raw.opt(rdata=b"\0\x0a\0\3abc"), 1, 0, 0, 1),
    "two OPTs": query(GOOD + raw.opt() * 2, 1, 0, 0, 2),
    "record with an endless name": query(GOOD + b"\xc0\x1b\0\1\0\1\0\0\0\0\0\0", 1, 0, 0, 1),
}
UNREADABLE = {
    "nothing": b"",
    "one octet": b"\x5e",
    "an id": struct.pack("!H", ID),
    "eleven octets": query(b"", 1)[:11],
}
RESPONSES = {
    "a response": query(GOOD + raw.a_record("192.0.2.1"), 1, 1, flags=raw.REPLY),
    "a query with QR=1": query(GOOD, 1, flags=raw.QUERY_RD | 0x8000),
    "a broken query with QR=1": query(b"\xc0\x0c", 1, flags=0x8000),
    "a FORMERR": query(b"", 0, flags=0x8001),
    "a NOTIFY response": query(GOOD, 1, flags=0xA000),
    "a header of ones": b"\xff" * 12,
}
EXCHANGES = pytest.mark.parametrize("exchange", [exchange_udp, exchange_tcp], ids=["udp", "tcp"])


@pytest.fixture(autouse=True)
def upstream_asked_nothing_unreadable(upstream: FalseUpstream) -> Iterator[None]:
    """Whatever comes in, what goes out is well-formed."""
    yield
    assert upstream.unreadable == []


class TestBrokenQuery:
    @EXCHANGES
    @pytest.mark.parametrize("packet", BROKEN.values(), ids=BROKEN)
    def test_is_formerr_and_goes_no_further(
        self,
        forwarder: Fastdns,
        upstream: FalseUpstream,
        packet: bytes,
        exchange: Callable[[Fastdns, bytes], bytes],
    ) -> None:
        asked = len(upstream.asked())
        answer = exchange(forwarder, packet)
        assert_error(answer, dns.rcode.FORMERR)
        assert len(upstream.asked()) == asked

    @pytest.mark.parametrize("packet", UNREADABLE.values(), ids=UNREADABLE)
    def test_without_a_whole_header_is_dropped(
        self, forwarder: Fastdns, upstream: FalseUpstream, packet: bytes
    ) -> None:
        assert_only_the_next_is_answered(forwarder, upstream, packet)


class TestResponse:
    @pytest.mark.parametrize("packet", RESPONSES.values(), ids=RESPONSES)
    def test_to_a_listener_is_dropped_over_udp(
        self, forwarder: Fastdns, upstream: FalseUpstream, packet: bytes
    ) -> None:
        assert_only_the_next_is_answered(forwarder, upstream, packet)

    @pytest.mark.parametrize("packet", RESPONSES.values(), ids=RESPONSES)
    def test_to_a_listener_is_dropped_over_tcp(
        self, forwarder: Fastdns, upstream: FalseUpstream, packet: bytes
    ) -> None:
        good = make_query(upstream.new_name())
        with TcpClient(forwarder) as connection:
            connection.send(packet)
            connection.send(good.to_wire())
            answer = connection.receive()
        assert answer is None or raw.id_of(answer) == good.id  # hanging up is silence, too


def assert_only_the_next_is_answered(
    forwarder: Fastdns, upstream: FalseUpstream, packet: bytes
) -> None:
    """Silence, shown without waiting for it: later queries of the same socket are answered."""
    with udp_socket(forwarder) as sock:
        sock.send(packet)
        for good in (make_query(upstream.new_name()), make_query(upstream.new_name())):
            sock.send(good.to_wire())
            assert raw.id_of(sock.recv(65535)) == good.id


def assert_error(answer: bytes, rcode: int) -> None:
    """A header with our id, QR=1, RA=1, AA=0 and this code, and no records; a question at most."""
    id_, flags, qdcount, ancount, nscount, arcount = struct.unpack_from("!6H", answer)
    assert id_ == ID
    assert flags & 0x8480 == 0x8080
    assert flags & 0xF == rcode
    assert qdcount <= 1
    assert (ancount, nscount) == (0, 0)
    assert arcount <= 1  # an OPT
    if flags & 0x7800 == 0:  # dnspython 2.3 knows only opcodes with names
        dns.message.from_wire(answer)


class TestOddButLegalQuery:
    @staticmethod
    def assert_answered(forwarder: Fastdns, packet: bytes, question: bytes) -> None:
        for exchange in (exchange_udp, exchange_udp, exchange_tcp):
            answer = exchange(forwarder, packet)
            id_, flags, qdcount, ancount = struct.unpack_from("!4H", answer)
            assert id_ == ID
            assert flags & 0x848F == 0x8080, "QR and RA, neither AA nor an error"
            assert flags & 0x0240 == 0, "neither TC nor the reserved bit"
            assert (qdcount, ancount) == (1, 1)
            assert answer[12:].startswith(question)

    @pytest.mark.parametrize(
        "flags",
        [
            pytest.param(raw.QUERY_RD | bit, id=title)
            for title, bit in {
                "Z": 0x0040,
                "AD": 0x0020,
                "CD": 0x0010,
                "AA": 0x0400,
                "TC": 0x0200,
                "RA": 0x0080,
                "RCODE": 0x000F,
                "all": 0x07FF,
            }.items()
        ],
    )
    def test_flag_is_no_obstacle(
        self, forwarder: Fastdns, upstream: FalseUpstream, flags: int
    ) -> None:
        question = raw.question(upstream.new_name())
        self.assert_answered(forwarder, query(question, 1, flags=flags), question)

    @pytest.mark.parametrize("octets", [b"\0", b"trailing octets", bytes(1000)])
    @pytest.mark.parametrize("edns", [False, True])
    def test_trailing_octets_are_ignored(
        self, forwarder: Fastdns, upstream: FalseUpstream, octets: bytes, edns: bool
    ) -> None:
        question = raw.question(upstream.new_name())
        opt = raw.opt() if edns else b""
        packet = query(question + opt + octets, 1, 0, 0, int(edns))
        self.assert_answered(forwarder, packet, question)

    @pytest.mark.parametrize(
        "opt",
        [
            raw.opt(0),
            raw.opt(1),
            raw.opt(511),
            raw.opt(65535),
            raw.opt(flags=0x7FFF),
            raw.opt(extended_rcode=255),
            raw.opt(rdata=b"\xff\xfe\0\0"),
            raw.opt(rdata=b"\xff\xfe\0\4abcd\xff\xfe\0\4abcd"),
            raw.opt(rdata=b"\0\x0a\0\x08abcdefgh"),
        ],
        ids=[
            *("size 0", "size 1", "size 511", "size 65535", "Z bits", "extended RCODE"),
            *("empty unknown option", "unknown option twice", "cookie"),
        ],
    )
    def test_opt_is_no_obstacle(
        self, forwarder: Fastdns, upstream: FalseUpstream, opt: bytes
    ) -> None:
        question = raw.question(upstream.new_name())
        self.assert_answered(forwarder, query(question + opt, 1, 0, 0, 1), question)

    @pytest.mark.parametrize(
        "name",
        [
            b"\5a\0b\0c\3odd\0",
            b"\5a.b.c\3odd\0",
            b"\4\xc0\x0c\xff\x80\3odd\0",
            b"\3 \t\n\3odd\0",
            b"\1*\3odd\0",
            b"\1_\1-\3odd\0",
            b'\3\\"$\3odd\0',
            b"\x3f" + b"x" * 63 + b"\3odd\0",
            (b"\x3f" + b"y" * 63) * 3 + b"\x39" + b"y" * 57 + b"\3odd\0",
            b"\1z" * 125 + b"\3odd\0",
            b"\3odd\0",
        ],
        ids=[
            *("NUL", "dot", "octets above 127", "white space", "asterisk", "underscore and hyphen"),
            *("quotes", "label of 63", "name of 255", "127 labels", "one label"),
        ],
    )
    def test_name_is_no_obstacle(
        self, forwarder: Fastdns, upstream: FalseUpstream, name: bytes
    ) -> None:
        assert len(name) <= 255
        question = name + b"\0\1\0\1"
        self.assert_answered(forwarder, query(question, 1), question)
        (asked,) = (asked for asked in upstream.asked() if raw.question_of(asked.wire) == question)
        assert asked.wire[12:].startswith(question)

    def test_root_is_a_name(self, forwarder: Fastdns, upstream: FalseUpstream) -> None:
        upstream.on(".", lambda asked: asked.answer(". 300 IN NS a.root-servers.demo."))
        for _ in range(2):
            assert data(ask(forwarder, ".", "NS")) == ["a.root-servers.demo."]


class TestForbiddenQuery:
    @EXCHANGES
    @pytest.mark.parametrize("opcode", range(1, 16))
    @pytest.mark.parametrize("body", [GOOD, b""], ids=["with question", "bare header"])
    def test_of_another_opcode_is_notimp(
        self,
        forwarder: Fastdns,
        upstream: FalseUpstream,
        opcode: int,
        body: bytes,
        exchange: Callable[[Fastdns, bytes], bytes],
    ) -> None:
        asked = len(upstream.asked())
        answer = exchange(forwarder, query(body, int(bool(body)), flags=opcode << 11))
        assert_error(answer, dns.rcode.NOTIMP)
        assert answer[2] >> 3 & 0xF == opcode
        assert len(upstream.asked()) == asked

    @EXCHANGES
    @pytest.mark.parametrize(
        ("rdtype", "rdclass"),
        [
            pytest.param(252, 1, id="AXFR"),
            pytest.param(251, 1, id="IXFR"),
            pytest.param(41, 1, id="OPT"),
            pytest.param(249, 1, id="TKEY"),
            pytest.param(250, 1, id="TSIG"),
            pytest.param(128, 1, id="NXNAME"),
            pytest.param(1, 254, id="class NONE"),
            pytest.param(1, 255, id="class ANY"),
            pytest.param(255, 255, id="type and class ANY"),
        ],
    )
    def test_is_refused_and_not_forwarded(
        self,
        forwarder: Fastdns,
        upstream: FalseUpstream,
        rdtype: int,
        rdclass: int,
        exchange: Callable[[Fastdns, bytes], bytes],
    ) -> None:
        asked = len(upstream.asked())
        answer = exchange(forwarder, query(raw.question("zone.demo", rdtype, rdclass), 1))
        assert answer[3] & 0xF in (dns.rcode.REFUSED, dns.rcode.FORMERR)
        assert_error(answer, answer[3] & 0xF)
        assert len(upstream.asked()) == asked


class TestFuzz:
    """Seeded, so that a failure comes back; every batch is followed by a good query."""

    SEED = 20261123
    BATCHES, BATCH = 100, 40

    def mutant(self, chance: random.Random, name: str) -> bytes:
        """A query with some octets changed, cut off, doubled or inserted, or only noise."""
        if chance.random() < 0.1:
            return chance.randbytes(chance.choice([0, 5, 12, 13, 40, 512, 1400, 9000]))
        packet = bytearray(raw.header(chance.getrandbits(16), raw.QUERY_RD, 1, 0, 0, 1))
        packet += raw.question(name, chance.choice([1, 16, 28, 257])) + raw.opt(1232)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(packet) + 1)
            match chance.randrange(6):
                case 0:
                    packet[place : place + 1] = chance.randbytes(1)
                case 1:
                    packet[place : place + 1] = chance.choice(
                        [b"\xc0\x0c", b"\xff", b"\0", b"\x3f"]
                    )
                case 2:
                    del packet[place:]
                case 3:
                    packet[place:place] = chance.randbytes(chance.randint(1, 30))
                case 4:
                    packet[place:place] = packet[12:place]
                case 5:
                    count = 4 + 2 * chance.randrange(4)
                    packet[count : count + 2] = struct.pack("!H", chance.choice([0, 2, 9, 65535]))
        return bytes(packet[:9000])

    def test_of_udp_harms_nobody(
        self, start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
    ) -> None:
        daemon = start_fastdns(upstream=[upstream], is_forked=False)
        chance = random.Random(self.SEED)
        self.run_udp(daemon, upstream, chance, batches=20)
        processes, memory, log = daemon.process_ids(), daemon.memory(), len(daemon.log)
        self.run_udp(daemon, upstream, chance, batches=self.BATCHES)
        assert daemon.process_ids() == processes, "a process was replaced"
        assert daemon.memory() - memory < 8 * MIB
        assert len(daemon.log) - log < 30, daemon.tail()
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]

    def run_udp(
        self, daemon: Fastdns, upstream: FalseUpstream, chance: random.Random, batches: int
    ) -> None:
        for _ in range(batches):
            packets = [self.mutant(chance, upstream.new_name()) for _ in range(self.BATCH)]
            ids = {packet[:2] for packet in packets}
            good = make_query(upstream.new_name())
            with udp_socket(daemon) as sock:
                for packet in packets:
                    sock.send(packet)
                sock.send(good.to_wire())
                while (answer := sock.recv(65535))[:2] != good.to_wire()[:2]:
                    self.assert_answers_one_of(ids, answer)
                while readable([sock]):
                    self.assert_answers_one_of(ids, sock.recv(65535))

    @staticmethod
    def assert_answers_one_of(ids: set[bytes], answer: bytes) -> None:
        assert answer[:2] in ids
        assert answer[2] & 0x80, "QR is not set"
        assert len(answer) <= 1232

    def test_of_tcp_harms_nobody(
        self, start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
    ) -> None:
        daemon = start_fastdns(upstream=[upstream])
        chance = random.Random(self.SEED)
        processes, log = daemon.process_ids(), len(daemon.log)
        for _ in range(150):
            packet = self.mutant(chance, upstream.new_name())
            with TcpClient(daemon) as connection:
                if chance.random() < 0.2:
                    connection.sock.sendall(packet)  # noise instead of a length
                else:
                    connection.send(packet)
                connection.sock.shutdown(socket.SHUT_WR)
                while (answer := connection.receive()) is not None:
                    assert answer[2] & 0x80
            good = make_query(upstream.new_name()).to_wire()
            assert exchange_tcp(daemon, good)[:2] == good[:2]
        assert daemon.process_ids() == processes
        assert len(daemon.log) - log < 30, daemon.tail()


def test_broken_queries_leave_no_trace_in_the_log(
    forwarder: Fastdns, upstream: FalseUpstream
) -> None:
    before = len(forwarder.log)
    for _ in range(20):
        for packet in BROKEN.values():
            exchange_udp(forwarder, packet)
    ask(forwarder, upstream.new_name())
    assert len(forwarder.log) - before < 20, forwarder.tail()


def test_broken_query_is_answered_without_the_question_it_broke(forwarder: Fastdns) -> None:
    answer = exchange_udp(forwarder, BROKEN["name that is a pointer to itself"])
    assert len(answer) == 12
    assert not dns.message.from_wire(answer).flags & dns.flags.AA
