"""Who may ask: prefixes, and what happens to the packets of other clients."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

import dns.message
import pytest
from messages import (
    CHAOS,
    EDE,
    IN,
    NAME,
    A,
    Front,
    StreamClient,
    address,
    answer_from,
    header,
    opt,
    option,
    query,
    question,
    reply,
)

from fastdns._clients import Access
from fastdns.config import schema
from fastdns.config.clients import parse_clients
from fastdns.policy.access import Lan, compile_access, turning_points

NOBODY = Access([], [])
REFUSED = 0x8185  # QR, RD, RA and the RCODE
PROHIBITED = 18  # RFC 8914 section 4.19
WITH_OPT = query("wWw.example", A, IN, opt())


def access(
    allow: list[str], deny: tuple[str, ...] | list[str] = (), lan: Lan | None = None
) -> Access:
    section = schema.Access(
        allow=tuple(map(parse_clients, allow)), deny=tuple(map(parse_clients, deny))
    )
    return compile_access(section, lan or Lan())


def may_ask(rules: Access, host: str, link: int = 0) -> bool:
    return rules.admits_client((host, 5353, 0, link) if ":" in host else (host, 5353))


# ---- prefixes


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.0", True),
        ("127.255.255.255", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("126.255.255.255", False),
        ("128.0.0.0", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::2", False),
        ("::7f00:1", False),
        ("fe80::1", False),
    ],
)
def test_loopback_is_that_and_nothing_beside_it(host: str, expected: bool) -> None:
    assert may_ask(access(["loopback"]), host) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.1.255", False),
        ("192.0.2.0", True),
        ("192.0.2.127", True),
        ("192.0.2.128", False),
        ("192.0.2.200", True),
        ("192.0.2.201", False),
        ("192.0.3.0", False),
        ("2001:db8::", True),
        ("2001:db8:1::", False),
        ("2001:db8:1::1", True),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db9::", False),
    ],
)
def test_longest_prefix_decides(host: str, expected: bool) -> None:
    rules = access(
        ["192.0.2.0/24", "192.0.2.200", "2001:db8::/32", "2001:db8:1::1"],
        ["192.0.2.128/25", "2001:db8:1::/48"],
    )
    assert may_ask(rules, host) is expected


def test_deny_wins_over_allow_of_the_same_prefix() -> None:
    rules = access(["192.0.2.0/24", "lan"], ["192.0.2.0/24"], Lan((IPv4Network("192.0.2.0/24"),)))
    assert not may_ask(rules, "192.0.2.1")


def test_all_addresses_are_a_prefix_of_one_family() -> None:
    rules = access(["0.0.0.0/0"])
    assert may_ask(rules, "0.0.0.0")
    assert may_ask(rules, "255.255.255.255")
    assert may_ask(rules, "::ffff:255.255.255.255")
    assert not may_ask(rules, "::")
    rules = access(["::/0"], ["8000::/1"])
    assert may_ask(rules, "7fff::")
    assert not may_ask(rules, "8000::")
    assert not may_ask(rules, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    assert not may_ask(rules, "1.2.3.4")
    assert not may_ask(rules, "::ffff:1.2.3.4")


def test_link_local_clients_belong_to_the_lan_on_its_interfaces_only() -> None:
    lan = Lan((IPv6Network("2001:db8::/64"),), (2, 7))
    rules = access(["lan"], lan=lan)
    assert [link for link in (0, 1, 2, 3, 7, 8) if may_ask(rules, "fe80::1", link)] == [2, 7]
    assert may_ask(rules, "fe80::1%eth0", 2)
    assert not may_ask(rules, "fec0::1", 2)
    assert may_ask(rules, "2001:db8::5", 3)
    assert not may_ask(access(["lan"], ["fe80::/10"], lan), "fe80::1", 2)
    assert not may_ask(access(["fe80::/10"], ["lan"], lan), "fe80::1", 2)
    assert may_ask(access(["fe80::/10"], ["lan"], lan), "fe80::1", 3)
    assert not may_ask(access(["lan"], ["fe80::bad/128"], lan), "fe80::bad", 2)


def random_network(chance: random.Random, bits: int) -> IPv4Network | IPv6Network:
    """Few addresses and lengths, so that they lie inside and beside each other."""
    length = chance.choice([0, 1, 2, 7, 8, 9, 15, 16, bits - 1, bits])
    start = chance.choice([0, 1, (1 << bits) - 1, chance.getrandbits(8) << bits - 8])
    host = ip_address(start.to_bytes(bits // 8, "big"))
    return ip_network((host, length), strict=False)


@pytest.mark.parametrize("bits", [32, 128])
def test_verdict_is_that_of_the_longest_prefix_whatever_the_prefixes(bits: int) -> None:
    chance = random.Random(bits)
    family = IPv4Network if bits == 32 else IPv6Network
    for _ in range(200):
        verdicts = {random_network(chance, bits): chance.random() < 0.5 for _ in range(12)}
        points = turning_points(verdicts, family)
        rules = Access(points, []) if bits == 32 else Access([], points)
        for network in verdicts:
            first, last = int(network[0]), int(network[-1])
            for number in {first, last, max(first - 1, 0), min(last + 1, (1 << bits) - 1)}:
                host = ip_address(number.to_bytes(bits // 8, "big"))
                around = [one for one in verdicts if host in one]
                longest = max(around, key=lambda one: one.prefixlen, default=None)
                expected = verdicts[longest] if longest is not None else False
                if bits == 32 or host.ipv4_mapped is None:
                    assert may_ask(rules, str(host)) is expected, (host, verdicts)


def test_ten_thousand_prefixes_are_held_apart() -> None:
    networks = [ip_network((f"10.{n >> 8}.{n & 255}.0", 25)) for n in range(10_000)]
    rules = access([str(network) for network in networks])
    for network in networks:
        assert may_ask(rules, str(network[-1]))
        assert not may_ask(rules, str(network[-1] + 1))


@pytest.mark.parametrize("wrong", [([2, 1], []), ([], [2, 2]), ([], [1 << 128]), ([-1], [])])
def test_lists_that_do_not_rise_or_fit_are_refused(wrong: tuple[list[int], list[int]]) -> None:
    narrow, wide = ([(at, 1) for at in one] for one in wrong)
    with pytest.raises((ValueError, OverflowError)):
        Access(narrow, wide)


# ---- packets


class Wire:
    """A client and the socket of the fast path, which answers when told to."""

    def __init__(self, front: Front, family: socket.AddressFamily, host: str) -> None:
        self.front = front
        self.server = socket.socket(family, socket.SOCK_DGRAM)
        self.client = socket.socket(family, socket.SOCK_DGRAM)
        self.server.bind((host, 0))
        self.client.connect(self.server.getsockname())

    def ask(self, *packets: bytes) -> list[bytes]:
        for packet in packets:
            self.client.send(packet)
        self.front.fastpath.drain(self.server.fileno())
        received = []
        while True:
            try:
                received.append(self.client.recv(65535, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return received


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids="46")
def wire(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Wire]:
    front = Front(tmp_path)
    front.keep(answer_from(reply(address())))
    try:
        made = Wire(front, *request.param)
    except OSError:
        pytest.skip("this machine has no such address")
    yield made
    made.server.close()
    made.client.close()


def reason(response: bytes) -> bytes:
    """What stands in the Extended DNS Error of a response."""
    message = dns.message.from_wire(response)
    (error,) = (one for one in message.options if one.otype == EDE)
    return error.to_wire()


def test_stranger_is_refused_with_its_id_and_question_and_the_reason(wire: Wire) -> None:
    wire.front.fastpath.admit_by(NOBODY)
    (response,) = wire.ask(WITH_OPT)
    error = opt(option(EDE, bytes((0, PROHIBITED))))
    assert response == header(REFUSED, 1, 0, 0, 1) + question("wWw.example") + error
    assert reason(response) == bytes((0, PROHIBITED))
    assert wire.front.count("queries_refused_total") == 1
    assert wire.front.count("responses_refused_total") == 1
    assert wire.front.count("cache_hits_total") == 0


def test_stranger_without_edns_is_told_nothing_more_than_refused(wire: Wire) -> None:
    wire.front.fastpath.admit_by(NOBODY)
    assert wire.ask(query("wWw.example")) == [header(REFUSED, 1, 0, 0, 0) + question("wWw.example")]


@pytest.mark.parametrize(
    "packet",
    [
        query(NAME, A, IN, opt(size=4096)),
        query(NAME, A, IN, opt(option(10, b"cookies!"))),
        query(NAME, A, IN, opt(ttl=1 << 16)),
        query(".".join(["a" * 60] * 4), 255),
        query("version.bind", 16, CHAOS),
        query(NAME, 252),
        query(NAME, flags=0),
        query(NAME, flags=0x2800),
    ],
    ids=["edns", "options", "edns1", "any", "chaos", "transfer", "no rd", "update"],
)
def test_refusal_is_hardly_longer_than_what_was_asked(wire: Wire, packet: bytes) -> None:
    wire.front.fastpath.admit_by(NOBODY)
    (response,) = wire.ask(packet)
    assert response[:2] == packet[:2]
    assert response[3] & 15 == 5
    assert len(response) <= len(packet) + len(option(EDE, b"xx"))


@pytest.mark.parametrize(
    "packet",
    [b"x" * 11, query()[:-1], query()[:20], reply(address())],
    ids=["short", "cut type", "cut name", "response"],
)
def test_what_cannot_be_read_of_a_stranger_gets_no_answer(wire: Wire, packet: bytes) -> None:
    wire.front.fastpath.admit_by(NOBODY)
    assert wire.ask(packet) == []
    assert wire.front.count("queries_refused_total") == 1


def test_stranger_gets_no_answer_at_all_when_such_are_dropped(wire: Wire) -> None:
    wire.front.fastpath.admit_by(Access([], [], drops=True))
    assert wire.ask(query(), WITH_OPT) == []
    assert wire.front.count("queries_refused_total") == 2
    assert wire.front.count("queries_dropped_total") == 0


def test_those_who_may_ask_are_answered_beside_strangers(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.keep(answer_from(reply(address())))
    front.fastpath.admit_by(access(["127.0.0.2", "127.0.0.4"]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
        for number, client in enumerate(clients, start=1):
            client.bind((f"127.0.0.{number}", 0))
            client.sendto(query(), server.getsockname())
        front.fastpath.drain(server.fileno())
        answers = [client.recv(512, socket.MSG_DONTWAIT) for client in clients]
    assert [answer[3] & 15 for answer in answers] == [5, 0, 5, 0]
    for client in clients:
        client.close()


def test_query_of_a_stranger_over_a_stream_is_refused_or_not_answered(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.fastpath.admit_by(NOBODY)
    told = front.ask(WITH_OPT)
    assert told is not None
    assert reason(told) == bytes((0, PROHIBITED))
    assert front.ask(query()[:-1]) is None
    assert front.ask(reply(address())) is None
    front.fastpath.admit_by(Access([], [], drops=True))
    assert front.ask(WITH_OPT) is None
    assert front.count("queries_refused_total") == 3
    assert front.count("tcp_refused_total") == 3


def test_stranger_of_a_stream_is_told_so_only_so_often(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.fastpath.admit_by(NOBODY)
    client = StreamClient()
    client.say(*[WITH_OPT] * 12)
    client.serve(front.fastpath)
    assert len(client.heard()) == 8
    assert client.is_over
    client.hang_up()


def test_stranger_of_a_stream_that_sends_no_query_is_not_listened_to(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.fastpath.admit_by(NOBODY)
    client = StreamClient()
    client.say(reply(address()))
    client.serve(front.fastpath)
    assert (client.heard(), client.is_over) == ([], True)
    client.hang_up()


def test_stranger_of_a_stream_is_read_only_so_far(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.fastpath.admit_by(NOBODY)
    client = StreamClient()
    client.ours.send(b"\x20\0" + bytes(5000))  # the beginning of a long message
    for _ in range(2):
        client.serve(front.fastpath)
    assert (client.heard(), client.is_over) == ([], True)
    client.hang_up()
