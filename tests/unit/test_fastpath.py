"""The path of a query through the fast path, over UDP with real sockets and over a stream."""

from __future__ import annotations

import gc
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import pytest
from messages import (
    CHAOS,
    DO,
    EDE,
    EVERYBODY,
    HEADER,
    IN,
    NS,
    OPAQUE,
    RD,
    REPLY,
    TC,
    A,
    Front,
    StreamClient,
    about_us,
    address,
    answer_from,
    answer_of_size,
    header,
    key,
    name,
    opt,
    option,
    query,
    question,
    record,
    reply,
    soa,
)

from fastdns._answer import Answer, failure
from fastdns._clients import Access
from fastdns._fastpath import FastPath
from fastdns._stream import PIPELINE_MAX

BATCH = 64
OPT_LENGTH = len(opt())
IP_PKTINFO = 8  # Python's socket module has no name for it before 3.14
TRUNCATED = HEADER + len(question())


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(tmp_path, stale=86_400)


class Wire:
    """A client and the socket of the fast path, which answers when told to."""

    def __init__(self, front: Front, family: socket.AddressFamily, host: str) -> None:
        self.front = front
        self.server = socket.socket(family, socket.SOCK_DGRAM)
        self.client = socket.socket(family, socket.SOCK_DGRAM)
        self.server.bind((host, 0))
        self.client.connect(self.server.getsockname())

    def close(self) -> None:
        self.server.close()
        self.client.close()

    def send(self, *packets: bytes) -> None:
        for packet in packets:
            self.client.send(packet)
        self.front.fastpath.drain(self.server.fileno())

    def received(self) -> list[bytes]:
        packets = []
        while True:
            try:
                packets.append(self.client.recv(65535, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return packets

    def ask(self, packet: bytes) -> bytes:
        """The one response to a packet."""
        self.send(packet)
        (response,) = self.received()
        return response


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids="46")
def wire(front: Front, request: pytest.FixtureRequest) -> Iterator[Wire]:
    try:
        wire = Wire(front, *request.param)
    except OSError:
        pytest.skip("this machine has no such address")
    yield wire
    wire.close()


# ---- over UDP


def test_hit_is_answered_without_anybody_s_help(front: Front, wire: Wire) -> None:
    front.keep(answer_from(reply(address())))
    assert wire.ask(query("wWw.example")) == reply(address(), qname="wWw.example")
    assert front.missed() == []


def test_miss_waits_and_is_answered_later(front: Front, wire: Wire) -> None:
    wire.send(query("wWw.example", message_id=99))
    assert wire.received() == []
    front.say(reply(address()))
    assert wire.received() == [b"\0\x63" + reply(address(), qname="wWw.example")[2:]]


def test_answers_go_to_those_who_asked(front: Front, wire: Wire) -> None:
    front.keep(answer_from(reply(address())))
    others = [socket.socket(wire.client.family, socket.SOCK_DGRAM) for _ in range(20)]
    for number, other in enumerate(others):
        other.connect(wire.server.getsockname())
        other.send(query(message_id=number) if number % 2 else query("miss", message_id=number))
    front.fastpath.drain(wire.server.fileno())
    front.fail()
    for number, other in enumerate(others):
        response = other.recv(512, socket.MSG_DONTWAIT)
        assert response[:4] == number.to_bytes(2, "big") + (
            b"\x81\x80" if number % 2 else b"\x81\x82"
        )
        other.close()


def test_answers_leave_from_the_address_that_was_asked(front: Front, wire: Wire) -> None:
    """On a wildcard address, and whatever another socket's packets left in the buffers."""
    front.keep(answer_from(reply(address())))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        server.bind(("0.0.0.0", 0))
        for number, host in enumerate(("127.0.0.2", "127.0.0.3", "127.0.0.2")):
            there = (host, server.getsockname()[1])
            assert wire.ask(query()) == reply(address())
            client.sendto(query(), there)
            client.sendto(query(str(number)), there)
            front.fastpath.drain(server.fileno())
            front.fail()
            assert client.recvfrom(512, socket.MSG_DONTWAIT) == (reply(address()), there)
            assert client.recvfrom(512, socket.MSG_DONTWAIT)[1] == there


def test_more_than_one_batch_is_answered_in_one_go(front: Front, wire: Wire) -> None:
    front.keep(answer_from(reply(address())))
    wire.send(*(query(message_id=number) for number in range(2 * BATCH + 10)))
    ids = [int.from_bytes(response[:2], "big") for response in wire.received()]
    assert ids == list(range(2 * BATCH + 10))


def test_flood_is_read_in_portions(front: Front, wire: Wire) -> None:
    wire.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    wire.send(*[b"x"] * (8 * BATCH + 1))
    first = front.count("queries_udp_total")
    wire.send()
    if front.count("queries_udp_total") <= 8 * BATCH:
        pytest.skip("the kernel allows no receive buffer that is large enough")
    assert first == 8 * BATCH


def test_hits_leave_before_any_miss_is_looked_at(tmp_path: Path) -> None:
    seen = []
    front = Front(tmp_path)
    front.keep(answer_from(reply(address())))
    wire = Wire(front, socket.AF_INET, "127.0.0.1")

    def see(key: bytes) -> Answer:
        seen.append(wire.received())
        return about_us(key)

    front.fastpath = FastPath(front.forward, EVERYBODY, see, print)
    wire.send(query("miss", A, CHAOS), query(message_id=5))
    assert [response[:2] for response in seen[0]] == [b"\0\5"]
    wire.close()


def test_empty_socket_is_no_trouble(front: Front, wire: Wire) -> None:
    wire.send()
    assert wire.received() == []
    assert front.count("queries_udp_total") == 0


def test_socket_that_is_none_is_no_trouble(front: Front) -> None:
    front.fastpath.drain(-1)
    with Path("/dev/null").open("rb") as no_socket:
        front.fastpath.drain(no_socket.fileno())
    assert front.count("queries_udp_total") == 0


def test_empty_datagram_is_dropped_and_the_next_one_answered(front: Front, wire: Wire) -> None:
    front.keep(answer_from(reply(address())))
    wire.send(b"", b"\1", query(flags=REPLY), query())
    assert wire.received() == [reply(address())]
    assert front.count("queries_dropped_total") == 3


def test_datagram_of_any_length_is_survived(front: Front, wire: Wire) -> None:
    """What is beyond 2,112 octets is not read: harmless after the message, not inside its OPT."""
    front.keep(answer_from(reply(address())))
    for length in (2111, 2112, 2113, 4096, 60_000):
        assert wire.ask(query().ljust(length, b"x")) == reply(address())
    assert wire.ask(query("www.example", A, IN, opt(option(12, bytes(5000)))))[3] & 15 == 1


def test_answer_that_nobody_takes_is_counted(front: Front, wire: Wire) -> None:
    wire.send(query())
    wire.server.close()
    front.fail()
    assert front.count("send_errors_total") == 1


# ---- size over UDP


@pytest.mark.parametrize(
    ("edns", "limit"),
    [
        ((), 512),
        ((opt(size=0),), 512),
        ((opt(size=511),), 512),
        ((opt(size=512),), 512),
        ((opt(size=513),), 513),
        ((opt(size=1231),), 1231),
        ((opt(size=1232),), 1232),
        ((opt(size=1233),), 1232),
        ((opt(size=4096),), 1232),
        ((opt(size=65535),), 1232),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["from memory", "from an upstream"])
def test_answer_as_large_as_the_client_takes_is_whole_and_one_octet_more_is_cut(
    front: Front, edns: tuple[bytes, ...], limit: int, how: str
) -> None:
    wire = Wire(front, socket.AF_INET, "127.0.0.1")
    extra = OPT_LENGTH if edns else 0
    for excess in (0, 1):
        qname = f"ww{excess}.example"
        answer = answer_of_size(limit - extra + excess, qname=qname)
        if how == "from memory":
            front.keep(answer, key(qname))
            response = wire.ask(query(qname, A, IN, *edns))
        else:
            wire.send(query(qname, OPAQUE, IN, *edns))
            front.say(answer.message)
            (response,) = wire.received()
        cut = bool(int.from_bytes(response[2:4], "big") & TC)
        assert cut is bool(excess)
        assert len(response) == (TRUNCATED + extra if excess else limit)
    wire.close()


def test_cut_answer_holds_the_question_alone(front: Front, wire: Wire) -> None:
    front.keep(answer_of_size(5000))
    response = wire.ask(query("WWW.example"))
    assert response == header(REPLY | TC, 1) + question("WWW.example")
    response = wire.ask(query("WWW.example", A, IN, opt(size=4096)))
    assert response == header(REPLY | TC, 1, 0, 0, 1) + question("WWW.example") + opt()


def test_cut_answer_keeps_its_rcode_and_its_extended_error(front: Front, wire: Wire) -> None:
    error = opt(option(EDE, b"\0\x06bogus"))
    large = answer_of_size(1300).message[HEADER + len(question()) :]
    front.keep(answer_from(reply(large, flags=REPLY | 2, additional=(error,))))
    response = wire.ask(query("www.example", A, IN, opt()))
    assert response == header(REPLY | TC | 2, 1, 0, 0, 1) + question() + error


SERVERS = tuple(record(NS, name(f"ns{number}.{'x' * 40}.demo")) for number in range(15))
GLUE = tuple(address(owner=name(f"ns{number}.{'x' * 40}.demo")) for number in range(len(SERVERS)))


@pytest.mark.parametrize("state", ["fresh", "stale"])
@pytest.mark.parametrize(
    ("size", "sections"),
    [(None, (1, 0, 0)), (512, (1, 0, 1)), (1231, (1, 15, 1)), (1232, (1, 15, 1))],
    ids=str,
)
def test_what_is_said_beside_an_answer_is_left_out_where_it_does_not_fit(
    front: Front, wire: Wire, size: int | None, sections: tuple[int, int, int], state: str
) -> None:
    """RFC 2181 section 9: the additional section first, then authority, and no TC=1."""
    edns = () if size is None else (opt(size=size),)
    age_ms = 0 if state == "fresh" else 400_000
    front.keep(answer_from(reply(address(), authority=SERVERS, additional=GLUE)), age_ms=age_ms)
    front.fastpath.cache.hold_stale(key(), 60_000)
    response = wire.ask(query("www.example", A, IN, *edns))
    assert struct.unpack_from("!3H", response, 6) == sections
    assert not int.from_bytes(response[2:4], "big") & TC
    shown = dns.message.from_wire(response)
    assert {rrset.ttl for rrset in shown.answer} == {300 if state == "fresh" else 30}


def test_over_a_stream_an_answer_has_all_of_its_sections(front: Front) -> None:
    front.keep(answer_from(reply(address(), authority=SERVERS, additional=GLUE)))
    response = front.ask(query())
    assert response is not None
    assert struct.unpack_from("!3H", response, 6) == (1, 15, 15)


def test_extended_error_that_makes_an_answer_too_large_is_left_out(
    front: Front, wire: Wire
) -> None:
    error = option(EDE, b"\0\x03" + b"x" * 100)
    plain = answer_of_size(1232 - OPT_LENGTH - len(error))
    for filler in (0, 1):
        message = plain.message[:-4] + bytes(4 + filler)
        length = int.from_bytes(message[39:41], "big") + filler
        full = message[:39] + length.to_bytes(2, "big") + message[41:]
        full = full[:10] + b"\0\1" + full[12:] + opt(error)
        front.keep(answer_from(full, of=key(qtype=65280)))
        response = wire.ask(query("www.example", A, IN, opt()))
        assert response.endswith(opt() if filler else opt(error))
        assert len(response) == (1232 - len(error) + 1 if filler else 1232)


# ---- over a stream


def test_hit_over_a_stream_is_returned_at_once(front: Front) -> None:
    front.keep(answer_from(reply(address())))
    assert front.ask(query()) == reply(address())


def test_messages_of_a_stream_that_came_together_are_answered_in_one_go(front: Front) -> None:
    client = StreamClient()
    front.keep(answer_from(reply(address())))
    client.say(query(), query("miss", message_id=7), query(flags=REPLY), query(message_id=8))
    client.serve(front.fastpath)
    assert client.heard() == [reply(address()), b"\0\x08" + reply(address())[2:]]
    assert (front.missed(), client.waiting) == ([key("miss")], 1)
    front.say(reply(address(), qname="miss"))
    assert client.heard() == [b"\0\x07" + reply(address(), qname="miss")[2:]]
    assert client.waiting == 0
    client.hang_up()


def test_message_of_a_stream_may_come_octet_by_octet(front: Front) -> None:
    client = StreamClient()
    front.keep(answer_from(reply(address())))
    frames = b"".join(len(one).to_bytes(2, "big") + one for one in [query(), query()])
    for octet in frames:
        client.ours.send(bytes((octet,)))
        client.serve(front.fastpath)
    assert client.state["held"] == 0
    assert client.heard() == [reply(address())] * 2
    client.hang_up()


def test_frame_without_a_message_ends_the_stream_after_what_came_before(front: Front) -> None:
    client = StreamClient()
    front.keep(answer_from(reply(address())))
    client.say(query(), b"", query())
    client.serve(front.fastpath)
    assert client.heard() == [reply(address())]
    assert client.is_over
    client.hang_up()


def test_stream_with_as_many_waiting_as_it_may_have_is_not_read(front: Front) -> None:
    client = StreamClient()
    client.say(*(query(str(number)) for number in range(PIPELINE_MAX + 5)))
    client.serve(front.fastpath)
    assert (client.waiting, client.state["reads"]) == (PIPELINE_MAX, False)
    assert client.state["held"] > 0
    for _ in range(3):
        front.fail()
    client.serve(front.fastpath)
    assert client.waiting == PIPELINE_MAX
    client.hang_up()


def test_stream_whose_client_reads_nothing_is_not_read_either(front: Front) -> None:
    client = StreamClient()
    front.learn(key("large", OPAQUE), answer_of_size(60_000, qname="large"))
    client.say(*[query("large", OPAQUE)] * 64)
    for _ in range(64):
        client.serve(front.fastpath)
    assert client.listener is not None
    assert 256 * 1024 <= client.state["unwritten"] == client.listener.unwritten < 400_000
    assert (client.state["held"] > 0, client.state["reads"]) == (True, False)
    told = 0
    while client.state["unwritten"] or client.state["held"]:
        told += len(client.heard())
        client.serve(front.fastpath)
    assert told + len(client.heard()) == 64
    assert front.count("queries_tcp_total") == sum(front.pages.outcomes().values()) == 64
    client.hang_up()
    assert client.listener.unwritten == 0


def test_client_of_a_stream_that_has_left_harms_nobody(front: Front) -> None:
    client = StreamClient()
    client.say(query())
    client.serve(front.fastpath)
    client.ours.close()
    front.say(reply(address()))
    assert client.state == {}
    client.hang_up()


def test_answer_for_a_stream_that_was_closed_meanwhile_goes_nowhere(front: Front) -> None:
    client = StreamClient()
    client.say(query())
    client.serve(front.fastpath)
    client.hang_up()
    front.say(reply(address()))
    assert client.state == {}


# ---- what is kept, and what is asked


def test_answer_that_came_is_the_next_client_s_hit(front: Front) -> None:
    assert front.ask(query()) is None
    front.learn(front.missed()[0], answer_from(reply(address())))
    assert front.ask(query()) == reply(address())


def test_answer_at_its_ttl_is_asked_for_again(front: Front) -> None:
    front.keep(answer_from(reply(address(300))), age_ms=300_000)
    assert front.ask(query()) is None
    assert len(front.missed()) == 1


@pytest.mark.parametrize(
    "other",
    [
        query("www.example", 28),
        query("www.example", A + 256),
        query("www.example", A, 4),
        query("www.example", A, 257),
        query("www.example", A, IN, opt(ttl=DO)),
        query(flags=RD | 0x10),
        query("ww.example"),
        query("wwww.example"),
    ],
    ids=lambda packet: packet[HEADER:].hex(),
)
def test_other_question_is_another_entry(front: Front, other: bytes) -> None:
    front.keep(answer_from(reply(address())))
    assert front.ask(other) is None
    assert len(front.missed()) == 1


def test_rd_0_and_nothing_in_memory_is_refused(front: Front) -> None:
    response = front.ask(query(flags=0))
    assert response == header((REPLY & ~RD) | 5, 1) + question()
    assert front.missed() == []


def test_rd_0_gets_no_expired_answer(front: Front) -> None:
    front.keep(answer_from(reply(address(300))), age_ms=300_000)
    response = front.ask(query(flags=0))
    assert response is not None
    assert dns.message.from_wire(response).rcode() == dns.rcode.REFUSED


def test_class_chaos_is_never_looked_up(front: Front) -> None:
    front.keep(answer_from(reply(address())), key(qclass=CHAOS))
    response = front.ask(query("www.example", A, CHAOS))
    assert response == header(REPLY | 5, 1) + question(qclass=CHAOS)
    assert front.missed() == []


def test_what_is_told_of_ourselves_is_bounded(front: Front, wire: Wire) -> None:
    wire.send(*(query(str(number), A, CHAOS) for number in range(3 * BATCH)))
    assert len(wire.received()) == BATCH
    wire.send()
    wire.send()
    assert len(wire.received()) == 2 * BATCH


def test_defect_of_what_is_told_of_ourselves_costs_nobody_else_an_answer(
    front: Front, wire: Wire
) -> None:
    front.fastpath = FastPath(front.forward, EVERYBODY, lambda _: 1 / 0, front.refreshed.append)
    wire.send(query("one", A, CHAOS), query("localhost"))
    assert [response[3] & 15 for response in wire.received()] == [2, 0]


# ---- counters


def test_every_outcome_is_counted(front: Front, wire: Wire) -> None:
    nxdomain = answer_from(reply(authority=(soa(300, 60),), flags=REPLY | 3))
    front.learn(key(), answer_from(reply(address())))
    front.learn(key("nx"), nxdomain)
    front.learn(key("broken"), failure(key("broken"), 2, None, 5))
    front.learn(key("odd"), failure(key("odd"), 9, None, 5))
    front.learn(key("large"), answer_of_size(600))
    names = ("www.example", "www.example", "nx", "broken", "odd", "large", "miss")
    wire.send(*map(query, names), query(flags=0x1000), query("x", 0), query("x", 252), b"")
    counted = {name: number for name, number in front.pages.totals().items() if number}
    octets = counted.pop("cache_bytes")
    assert octets == front.memory.octets
    assert counted == {
        "queries_udp_total": 11,
        "queries_dropped_total": 1,
        "cache_hits_total": 6,
        "cache_misses_total": 1,
        "cache_inserts_total": 5,
        "cache_entries": 5,
        "responses_noerror_total": 3,
        "responses_nxdomain_total": 1,
        "responses_servfail_total": 1,
        "responses_formerr_total": 1,
        "responses_notimp_total": 1,
        "responses_refused_total": 1,
        "responses_other_total": 1,
        "responses_truncated_total": 1,
        "upstream_queries_total": 1,
        "in_flight": 1,
    }
    assert front.pages.outcomes() == {
        ("udp", "memory", "NOERROR"): 3,
        ("udp", "memory", "NXDOMAIN"): 1,
        ("udp", "memory", "SERVFAIL"): 1,
        ("udp", "memory", "other"): 1,
        ("udp", "wire", "FORMERR"): 1,
        ("udp", "wire", "NOTIMP"): 1,
        ("udp", "wire", "REFUSED"): 1,
        ("udp", "wire", "none"): 1,
    }


def test_queries_of_streams_and_late_answers_are_counted(front: Front) -> None:
    front.ask(query())
    front.answered(reply(address()))
    totals = front.pages.totals()
    assert (totals["queries_tcp_total"], totals["queries_udp_total"]) == (1, 0)
    assert (totals["cache_misses_total"], totals["responses_noerror_total"]) == (1, 1)
    assert front.pages.outcomes() == {("tcp", "upstream", "NOERROR"): 1}


def test_every_query_that_came_is_an_outcome_however_it_ended(tmp_path: Path) -> None:
    front = Front(tmp_path, stale=3600)
    wire = Wire(front, socket.AF_INET, "127.0.0.1")
    for ask in (front.ask, wire.send):
        ask(query("localhost"))
        ask(query("www.example", A, CHAOS))
        ask(query("none.example", flags=0))
        ask(reply())
    front.keep(answer_from(reply(address(300))), age_ms=400_000)
    front.group.use([])
    wire.send(query())
    front.fastpath.admit_by(Access([], []))
    wire.send(query())
    front.ask(query())
    wire.close()
    assert front.pages.outcomes() == {
        ("udp", "none", "REFUSED"): 1,
        ("udp", "access", "REFUSED"): 1,
        ("udp", "wire", "none"): 1,
        ("udp", "memory", "NOERROR"): 1,  # the first one has been kept
        ("udp", "stale", "NOERROR"): 1,
        ("udp", "local", "REFUSED"): 1,
        ("tcp", "none", "REFUSED"): 1,
        ("tcp", "access", "REFUSED"): 1,
        ("tcp", "wire", "none"): 1,
        ("tcp", "local", "NOERROR"): 1,
        ("tcp", "local", "REFUSED"): 1,
    }
    assert sum(front.pages.outcomes().values()) == (
        front.count("queries_udp_total") + front.count("queries_tcp_total")
    )


def test_what_is_not_to_be_kept_is_neither_taken_in_nor_counted(front: Front) -> None:
    front.learn(key(), answer_from(reply(address(0))))
    totals = front.pages.totals()
    assert totals["cache_inserts_total"] == totals["cache_refused_total"] == 0
    assert front.ask(query()) is None


def test_answer_that_finds_no_room_and_failure_beside_a_good_one_are_counted(
    tmp_path: Path,
) -> None:
    front = Front(tmp_path, 65536)
    front.learn(key(), answer_from(reply(address())))
    front.learn(key(), failure(key(), 2, None, 5))
    front.learn(key("large"), answer_of_size(65_535))
    assert front.count("cache_refused_total") == 2
    assert front.count("cache_inserts_total") == 1


def test_evictions_are_counted(tmp_path: Path) -> None:
    front = Front(tmp_path, 65536)
    answer = answer_from(reply(address()))
    for number in range(1000):
        front.learn(key(str(number)), answer)
    assert front.count("cache_evictions_total") == front.memory.evictions > 500
    assert front.count("cache_entries") == front.memory.count


# ---- lifetimes


def test_fast_path_keeps_what_it_needs_alive(tmp_path: Path) -> None:
    front = Front(tmp_path)
    client = StreamClient()
    fastpath, cache = front.fastpath, front.cache
    del front
    gc.collect()
    client.say(query())
    client.serve(fastpath)
    cache.keep(key(), answer_from(reply(address())), cache.ticket(), None, 0.0)
    del cache
    client.say(query())
    client.serve(fastpath)
    assert client.heard() == [reply(address())]
    client.hang_up()


def test_waiter_keeps_its_spelling_when_the_packet_is_gone(front: Front) -> None:
    front.ask(query("wWw.example"))
    front.ask(query("xxx.xxxxxxx"))
    assert front.answered(reply(address()))[HEADER:TRUNCATED] == question("wWw.example")


def test_clients_of_one_question_are_answered_in_one_go_by_either_transport(
    front: Front, wire: Wire
) -> None:
    wire.send(query(message_id=1), query("WWW.example", message_id=2))
    for number in (3, 4):
        front.ask(query(message_id=number))
    front.say(reply(address()))
    assert {one[:2] for one in wire.received()} == {b"\0\1", b"\0\2"}
    assert [one[:2] for one in front.clients[0].heard()] == [b"\0\3", b"\0\4"]
    assert front.clients[0].waiting == 0
    assert front.count("responses_noerror_total") == 4
