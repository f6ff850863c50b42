"""How many answers a client prefix gets over UDP, and which clients have no limit."""

from __future__ import annotations

import itertools
import mmap
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from pathlib import Path

import dns.message
import pytest
from messages import (
    HEADER,
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
from fastdns._cookies import Cookies
from fastdns._rate_limit import BUCKETS, RATE_MAX, RATE_OCTETS, RateLimit
from fastdns.config import schema
from fastdns.config.clients import parse_clients
from fastdns.policy.access import Lan, compile_exempt

NOBODY = Access([], [])
SECOND = 1_000_000_000
NOW = 5000 * SECOND
CLIENT = ("198.51.100.7", 5353)
COOKIE = 10
TRUNCATED = 0x8380  # QR, RD, RA, TC


def taken(limit: RateLimit, client: tuple[object, ...], now: int, tries: int) -> int:
    """How many answers a client gets that asks so often at this moment."""
    return sum(limit.takes(client, now) for _ in range(tries))


# ---- the bucket


@pytest.mark.parametrize("rate", [1, 2, 7, 20, 1000, 30_000])
def test_second_s_worth_of_answers_may_come_at_once_and_then_the_rate(rate: int) -> None:
    limit = RateLimit(None, rate, NOBODY)
    assert rate <= taken(limit, CLIENT, NOW, 2 * rate) <= 1.002 * rate + 1
    seconds = [taken(limit, CLIENT, NOW + n * SECOND, 2 * rate) for n in (1, 2, 3)]
    assert all(rate - 1 <= one <= 1.002 * rate + 1 for one in seconds)


def test_client_above_its_limit_gets_the_rate_however_much_it_asks() -> None:
    limit = RateLimit(None, 10, NOBODY)
    asked = range(0, 20 * SECOND, SECOND // 100)
    assert 200 <= sum(limit.takes(CLIENT, NOW + at) for at in asked) <= 212


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ("198.51.100.7", True),
        ("::ffff:198.51.100.7", True),
        ("198.51.100.6", False),
        ("2001:db8:0:1::1", False),
    ],
)
def test_ipv4_address_has_a_bucket(other: str, is_same: bool) -> None:
    limit = RateLimit(None, 5, NOBODY)
    taken(limit, CLIENT, NOW, 9)
    assert taken(limit, (other, 1), NOW, 9) == (0 if is_same else 5)


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ("2001:db8:1:ff01:2:3:4:5", True),
        ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:fe00::1", False),
        ("2001:db8:2:ff00::1", False),
        ("::1", False),
    ],
)
def test_ipv6_prefix_of_56_bits_has_a_bucket(other: str, is_same: bool) -> None:
    limit = RateLimit(None, 5, NOBODY)
    taken(limit, ("2001:db8:1:ff00::1", 1, 0, 0), NOW, 9)
    assert taken(limit, (other, 1, 0, 0), NOW, 9) == (0 if is_same else 5)


def test_workers_count_together() -> None:
    memory = mmap.mmap(-1, RATE_OCTETS)
    workers = [RateLimit(memory, 10, NOBODY) for _ in range(3)]
    assert sum(taken(worker, CLIENT, NOW, 9) for worker in workers) == 10


def test_worker_whose_clock_is_behind_does_not_begin_anew() -> None:
    memory = mmap.mmap(-1, RATE_OCTETS)
    ahead, behind = (RateLimit(memory, 10, NOBODY) for _ in range(2))
    taken(ahead, CLIENT, NOW + SECOND // 10, 20)
    assert taken(behind, CLIENT, NOW, 20) == 0


@pytest.mark.parametrize("hours", [1, 9, 10, 19, 20, 24, 1000])
def test_client_that_comes_back_after_a_long_time_is_not_limited(hours: int) -> None:
    limit = RateLimit(None, 10, NOBODY)
    taken(limit, CLIENT, NOW, 20)
    assert taken(limit, CLIENT, NOW + hours * 3600 * SECOND, 10) == 10


def test_flood_of_forged_prefixes_limits_no_other_client_and_takes_no_memory() -> None:
    limit = RateLimit(None, 20, NOBODY)
    forged = itertools.count()
    refused = 0
    for step in range(100):  # an honest client asks now and then: within its limit
        now = NOW + step * SECOND // 10
        refused += not limit.takes(CLIENT, now)
        for _ in range(BUCKETS // 50):
            number = next(forged)
            limit.takes((f"100.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1), now)
    assert next(forged) > BUCKETS
    assert refused == 0


def test_client_above_its_limit_stays_so_in_a_flood_of_forged_prefixes() -> None:
    limit = RateLimit(None, 20, NOBODY)
    got = 0
    for number in range(2 * BUCKETS):
        limit.takes((f"100.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1), NOW)
        got += limit.takes(CLIENT, NOW)
    assert got == 20


@pytest.mark.parametrize("rate", [-1, RATE_MAX + 1])
def test_rate_that_cannot_be_counted_is_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="cannot be counted"):
        RateLimit(None, rate, NOBODY)


def test_highest_rate_of_the_configuration_can_be_counted() -> None:
    assert schema.RATE_MAX <= RATE_MAX
    assert RateLimit(None, RATE_MAX, NOBODY).takes(CLIENT, NOW)


# ---- who has no limit


def exempt(entries: Sequence[str], lan: Lan | None = None) -> Access:
    section = schema.Access(rate_exempt=tuple(parse_clients(one) for one in entries))
    return compile_exempt(section, lan or Lan())


@pytest.mark.parametrize(
    ("host", "link", "expected"),
    [
        ("127.0.0.1", 0, True),
        ("::1", 0, True),
        ("192.168.7.200", 0, True),
        ("fe80::5", 3, True),
        ("fe80::5", 4, False),
        ("192.168.8.1", 0, False),
        ("203.0.113.9", 0, True),
        ("203.0.113.10", 0, False),
    ],
)
def test_loopback_lan_and_prefixes_are_exempt(host: str, link: int, expected: bool) -> None:
    lan = Lan((IPv4Network("192.168.7.0/24"),), (3,))
    rules = exempt(["loopback", "lan", "203.0.113.9"], lan)
    limit = RateLimit(None, 1, rules)
    assert (taken(limit, (host, 1, 0, link), NOW, 9) == 9) is expected


def test_lan_is_limited_if_it_is_not_named() -> None:
    lan = Lan((IPv4Network("192.168.7.0/24"),), (3,))
    limit = RateLimit(None, 1, exempt(["loopback"], lan))
    assert taken(limit, ("192.168.7.1", 1), NOW, 9) == 1
    assert taken(limit, ("fe80::5", 1, 0, 3), NOW, 9) == 1
    limit.exempt_by(exempt(["lan"], lan))
    assert taken(limit, ("192.168.7.1", 1), NOW, 9) == 9


# ---- what a client sees


class Wire:
    """A client over UDP and the fast path that answers it."""

    def __init__(self, directory: Path) -> None:
        self.front = Front(directory)
        self.front.keep(answer_from(reply(address())))
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.client.connect(self.server.getsockname())

    def limit(self, rate: int, exempt: Access = NOBODY, *, dry_run: bool = False) -> None:
        self.front.fastpath.limit_by(RateLimit(None, rate, exempt, dry_run=dry_run))

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


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(tmp_path)
    yield made
    made.server.close()
    made.client.close()


def is_truncated(response: bytes) -> bool:
    return bool(response[2] & 2)


def test_every_second_query_above_the_limit_is_told_to_use_tcp(wire: Wire) -> None:
    wire.limit(1)
    answered, *others = wire.ask(*[query()] * 9)
    assert not is_truncated(answered)
    assert others == [header(TRUNCATED, 1) + question()] * 4
    count = wire.front.count
    assert (count("queries_limited_total"), count("responses_limited_total")) == (8, 4)
    assert count("responses_truncated_total") == count("queries_dropped_total") == 0
    assert count("shed_total") == 0
    assert wire.front.pages.outcomes() == {
        ("udp", "memory", "NOERROR"): 1,
        ("udp", "limit", "NOERROR"): 4,
        ("udp", "limit", "none"): 4,
    }


def test_repeated_question_is_told_so_whatever_others_ask_between(wire: Wire) -> None:
    wire.limit(1)
    wire.ask(query("flood.example"))
    flood = [query(f"n{number}.flood.example") for number in range(40)]
    for name in ("one.example", "two.example", "three.example"):
        told = [wire.ask(query(name), *flood) for _ in range(2)]
        about_us = [
            response[HEADER:] == question(name) for one in told for response in one if len(one) < 60
        ]
        assert about_us.count(True) == 1


def test_every_one_of_many_repeated_questions_is_told_so_in_a_few_tries(wire: Wire) -> None:
    """Some of so many share their turns, and must not stay in each other's way."""
    wire.limit(1)
    wire.ask(query("first.example"))
    left = [f"n{number}.example" for number in range(3000)]
    rounds = 0
    while left and rounds < 6:
        rounds += 1
        told = set()
        for start in range(0, len(left), 50):
            for response in wire.ask(*(query(one) for one in left[start : start + 50])):
                told.add(response[HEADER:])
        left = [one for one in left if question(one) not in told]
    assert (left, rounds) in (([], 2), ([], 3), ([], 4))


def test_answer_above_the_limit_has_an_opt_and_a_cookie_for_the_next_query(wire: Wire) -> None:
    cookies = Cookies()
    cookies.use(bytes(16), bytes(16))
    wire.front.fastpath.use_cookies(cookies)
    wire.limit(1)
    packet = query("wWw.example", A, IN, opt(option(COOKIE, bytes(8))))
    _, response = wire.ask(packet, packet, packet)
    message = dns.message.from_wire(response)
    assert is_truncated(response)
    assert (message.edns, message.answer) == (0, [])
    (cookie,) = message.options
    allowed = query(NAME, A, IN, opt(option(COOKIE, cookie.to_wire())))
    assert [is_truncated(one) for one in wire.ask(*[allowed] * 20)] == [False] * 20
    assert wire.front.count("cookies_valid_total") == 20


def test_wrong_cookie_exempts_nobody(wire: Wire) -> None:
    cookies = Cookies()
    cookies.use(bytes(16), bytes(16))
    wire.front.fastpath.use_cookies(cookies)
    wire.limit(1)
    packet = query(NAME, A, IN, opt(option(COOKIE, bytes(24))))
    assert [is_truncated(one) for one in wire.ask(*[packet] * 5)] == [False, True, True]


def test_clients_of_a_connection_have_no_limit(wire: Wire) -> None:
    wire.limit(1)
    client = StreamClient()
    client.say(*[query()] * 20)
    client.serve(wire.front.fastpath)
    assert [is_truncated(one) for one in client.heard()] == [False] * 20
    client.hang_up()


def test_exempt_client_has_no_limit(wire: Wire) -> None:
    wire.limit(1, exempt(["loopback"]))
    assert [is_truncated(one) for one in wire.ask(*[query()] * 20)] == [False] * 20


def test_malformed_queries_count_as_well(wire: Wire) -> None:
    wire.limit(2)
    broken = header(0x0100, 2) + question()
    assert [one[3] & 15 for one in wire.ask(*[broken] * 6)] == [1, 1, 0, 0]
    assert wire.front.count("queries_limited_total") == 4


def test_what_would_not_be_answered_takes_nothing(wire: Wire) -> None:
    wire.limit(1)
    assert wire.ask(*[reply(address())] * 5, query()) != []
    assert wire.front.count("queries_limited_total") == 0


def test_refused_client_has_no_bucket(wire: Wire) -> None:
    wire.limit(1)
    wire.front.fastpath.admit_by(NOBODY)
    assert [one[3] & 15 for one in wire.ask(*[query()] * 5)] == [5] * 5


def test_dry_run_answers_and_counts(wire: Wire) -> None:
    wire.limit(2, dry_run=True)
    assert [is_truncated(one) for one in wire.ask(*[query()] * 10)] == [False] * 10
    count = wire.front.count
    assert (count("queries_over_limit_total"), count("queries_limited_total")) == (8, 0)


def test_without_a_limit_nothing_is_counted(wire: Wire) -> None:
    wire.limit(0)
    assert len(wire.ask(*[query()] * 60)) == 60
    assert wire.front.count("queries_over_limit_total") == 0
