"""`[access] rate_limit` and DNS cookies: floods, honest clients of one address, real clients."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import pytest

from .support import raw
from .support.client import data, eventually, make_query, send
from .support.daemon import Fastdns
from .support.dig import dig
from .support.false_upstream import FalseUpstream
from .support.sources import ask_from

CONFIG = """
[local]
domain = ""
records = ["*.honest.demo. 60 A 192.0.2.1", "*.flood.demo. 60 A 192.0.2.2"]

[access]
rate_limit = 100
rate_exempt = []
"""
LIMIT = 100
FLOOD = 10 * LIMIT  # queries a second
NAMES = 1000
PATIENCE = 0.5  # seconds; a stub resolver waits longer
TRIES = 4
COOKIE = 10
CLIENT_COOKIE = bytes(range(1, 9))


@pytest.fixture
def daemon(start_fastdns: Callable[..., Fastdns]) -> Fastdns:
    return start_fastdns(upstream=["192.0.2.53"], config=CONFIG, workers=2)


def question(number: int, cookie: bytes = b"") -> bytes:
    """A query of an honest client, whose number is its id."""
    options = struct.pack("!HH", COOKIE, len(cookie)) + cookie if cookie else b""
    opt = raw.rr(b"\0", raw.OPT, options, 0, rdclass=1232)
    head = raw.header(number, raw.QUERY_RD, 1, 0, 0, 1)
    return head + raw.question(f"n{number}.honest.demo") + opt


@contextlib.contextmanager
def flood(daemon: Fastdns) -> Iterator[None]:
    """Another client of this address asks ten times as much as it may, always for new names."""
    has_ended = threading.Event()
    begun = threading.Event()

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((daemon.host, daemon.port))
            began = time.monotonic()
            for number in itertools.count():
                packet = raw.header(number & 0xFFFF, raw.QUERY_RD, 1)
                sock.send(packet + raw.question(f"n{number}.flood.demo"))
                if number == 2 * LIMIT:  # by now it is above the limit
                    begun.set()
                if has_ended.wait(max(began + number / FLOOD - time.monotonic(), 0.0)):
                    return

    thread = threading.Thread(target=ask)
    thread.start()
    begun.wait(30)
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


class Honest:
    """Resolves many names as a stub resolver does: repeats, uses TCP when told so."""

    def __init__(self, daemon: Fastdns, cookie: bytes = b"") -> None:
        self._daemon = daemon
        self._cookie = cookie
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sock.connect((daemon.host, daemon.port))
        self.resolved: set[int] = set()
        self.over_tcp = 0

    def resolve(self, count: int) -> None:
        """Ask for so many names, 500 a second; each again when it is due."""
        began = time.monotonic()
        due = [(began + number / 500, 1, number) for number in range(count)]
        while due:
            if due[0][0] <= time.monotonic():
                _, tries, number = heapq.heappop(due)
                if number not in self.resolved and tries <= TRIES:
                    self._sock.send(question(number, self._cookie))
                    heapq.heappush(due, (time.monotonic() + PATIENCE, tries + 1, number))
            self._read(max(due[0][0] - time.monotonic(), 0.0) if due else 0.0)
        self._sock.close()

    def _read(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while poll.poll(1000 * seconds):
            seconds = 0.0
            answer = self._sock.recv(4096)
            number = int.from_bytes(answer[:2], "big")
            if number in self.resolved:
                continue
            if answer[2] & 2:
                self.over_tcp += 1
                reply = ask_from(
                    "127.0.0.1",
                    self._daemon.host,
                    question(number, self._cookie),
                    port=self._daemon.port,
                    tcp=True,
                )
                assert reply is not None
                answer = reply
            if data(dns.message.from_wire(answer)) == ["192.0.2.1"]:
                self.resolved.add(number)


def cookie_of(daemon: Fastdns, cookie: bytes = CLIENT_COOKIE) -> bytes:
    """The cookie that a client gets for its own; over TCP, where there is no limit."""
    query = make_query("a.honest.demo.", options=[dns.edns.GenericOption(COOKIE, cookie)])
    (found,) = [one for one in send(daemon, query, tcp=True).options if one.otype == COOKIE]
    return bytes(found.to_wire())


def test_client_that_repeats_and_uses_tcp_resolves_beside_a_flood_of_its_address(
    daemon: Fastdns,
) -> None:
    client = Honest(daemon)
    with flood(daemon):
        client.resolve(NAMES)
    assert len(client.resolved) >= 0.999 * NAMES
    assert client.over_tcp > NAMES / 2
    limited = daemon.counter("queries_limited_total")
    assert limited > 2 * NAMES
    assert 0.4 < daemon.counter("responses_limited_total") / limited < 0.6


def test_client_with_a_cookie_resolves_over_udp_beside_a_flood_of_its_address(
    daemon: Fastdns,
) -> None:
    client = Honest(daemon, cookie_of(daemon))
    with flood(daemon):
        client.resolve(NAMES)
    assert len(client.resolved) >= 0.999 * NAMES
    assert client.over_tcp == 0
    assert daemon.counter("cookies_valid_total") >= NAMES


def test_cookie_of_a_real_client_is_answered_and_recognized(daemon: Fastdns) -> None:
    shown = dig(daemon, "+cookie=0102030405060708", "a.honest.demo", program="kdig").text
    found = re.search(r"COOKIE: 0102030405060708(\w{32})\b", shown, re.IGNORECASE)
    assert found, shown
    cookie = f"0102030405060708{found[1]}"
    assert "(good)" in dig(daemon, f"+cookie={cookie}", "a.honest.demo").text
    assert daemon.counter("cookies_valid_total") == 1
    assert daemon.counter("cookies_bad_total") == 0


def test_cookie_is_good_after_a_restart_and_for_every_worker(tmp_path: Path) -> None:
    with Fastdns(tmp_path / "state", upstream=["192.0.2.53"], config=CONFIG) as daemon:
        mine = cookie_of(daemon)
    with Fastdns(tmp_path / "state", upstream=["192.0.2.53"], config=CONFIG, workers=2) as daemon:
        for _ in range(20):  # each from another port, so that both workers get some
            cookie_of(daemon, mine)
        assert daemon.counter("cookies_valid_total") == 20


def test_upstream_is_not_sent_the_cookie_of_a_client(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name()
    send(daemon, make_query(name, options=[dns.edns.GenericOption(COOKIE, CLIENT_COOKIE)]))
    (asked,) = upstream.asked(name)
    assert COOKIE not in [one.otype for one in asked.message.options]


def test_reload_changes_the_limit(daemon: Fastdns) -> None:
    packets = [question(number) for number in range(LIMIT)]
    for packet in packets[:50] * 4:
        with contextlib.suppress(TimeoutError):
            ask_from("127.0.0.1", daemon.host, packet, port=daemon.port, timeout=0.001)
    eventually(lambda: daemon.counter("queries_limited_total"), lambda count: count > 0)
    daemon.configure(CONFIG.replace("rate_exempt = []", 'rate_exempt = ["loopback"]'))
    assert daemon.reload().returncode == 0
    before = daemon.counter("queries_limited_total")
    for packet in packets * 3:
        answer = ask_from("127.0.0.1", daemon.host, packet, port=daemon.port)
        assert answer is not None
        assert not answer[2] & 2
    assert daemon.counter("queries_limited_total") == before


def test_dry_run_tells_what_would_be_limited(start_fastdns: Callable[..., Fastdns]) -> None:
    daemon = start_fastdns(upstream=["192.0.2.53"], config=CONFIG + "rate_dry_run = true\n")
    for number in range(3 * LIMIT):
        answer = ask_from("127.0.0.1", daemon.host, question(number), port=daemon.port)
        assert answer is not None
        assert not answer[2] & 2
    assert daemon.counter("queries_over_limit_total") > LIMIT
    assert daemon.counter("queries_limited_total") == 0
