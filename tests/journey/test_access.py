"""Who may ask, as [access] says it: clients on loopback, by their addresses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import dns.message
import dns.rcode
import pytest

from .support.client import eventually, extended_errors, make_query, read_answer, readable
from .support.daemon import Fastdns
from .support.dig import dig
from .support.false_upstream import FalseUpstream
from .support.sources import ask_from, connected, frames

CONFIG = """
[access]
allow = ["127.0.0.0/16", "127.0.0.6", "127.0.0.40/29"]
deny = ["127.0.0.4/30", "127.0.0.40/29", "127.0.0.41"]
"""
STRANGER = "127.0.0.4"


@pytest.fixture
def daemon(start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream) -> Fastdns:
    return start_fastdns(upstream=[upstream], config=CONFIG)


@pytest.fixture
def dropping(start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream) -> Fastdns:
    return start_fastdns(upstream=[upstream], config=CONFIG + 'refuse = "drop"\n')


def query(name: str = "www.false.demo.", **knobs: object) -> bytes:
    return make_query(name, **knobs).to_wire()


def ask(daemon: Fastdns, source: str, *queries: bytes, tcp: bool = False) -> dns.message.Message:
    """The answer to the first query."""
    answer = ask_from(source, daemon.host, *queries, port=daemon.port, tcp=tcp)
    assert answer is not None
    return read_answer(queries[0], answer)


def is_answered(daemon: Fastdns, source: str, *, tcp: bool = False) -> bool:
    """Whether this client gets an answer; if not, it is refused with the reason."""
    answer = ask(daemon, source, query(), tcp=tcp)
    if answer.rcode() == dns.rcode.REFUSED:
        assert extended_errors(answer) == [18]
        assert answer.answer == []
        return False
    assert answer.rcode() == dns.rcode.NOERROR
    return True


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_longest_prefix_decides_and_deny_at_equal_length(daemon: Fastdns, tcp: bool) -> None:
    served = [
        number
        for number in (1, 3, 4, 5, 6, 7, 8, 39, 40, 41, 47, 48)
        if is_answered(daemon, f"127.0.0.{number}", tcp=tcp)
    ]
    assert served == [1, 3, 6, 8, 39, 48]
    assert not is_answered(daemon, "127.1.0.1", tcp=tcp)


def test_nothing_is_asked_upstream_for_a_stranger(daemon: Fastdns, upstream: FalseUpstream) -> None:
    name = upstream.new_name()
    assert ask(daemon, STRANGER, query(name)).rcode() == dns.rcode.REFUSED
    assert upstream.asked(name) == []
    assert ask(daemon, "127.0.0.1", query(name)).rcode() == dns.rcode.NOERROR
    assert ask(daemon, STRANGER, query(name)).rcode() == dns.rcode.REFUSED
    assert len(upstream.asked(name)) == 1


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_stranger_does_not_learn_who_we_are(daemon: Fastdns, tcp: bool) -> None:
    about = query("version.bind", rdtype="TXT", rdclass="CH")
    assert ask(daemon, STRANGER, about, tcp=tcp).rcode() == dns.rcode.REFUSED


def test_dig_says_why(daemon: Fastdns) -> None:
    said = dig(daemon, "www.false.demo", "-b", STRANGER)
    assert said.status == "REFUSED"
    assert "EDE: 18 (Prohibited)" in said.text


def test_refused_connection_is_closed_after_a_few_queries(daemon: Fastdns) -> None:
    with connected(STRANGER, daemon.host, daemon.port, tcp=True) as sock:
        answers = frames(sock)
        count = 0
        while True:
            try:
                sock.sendall(len(query()).to_bytes(2, "big") + query())
            except OSError:
                break
            answer = next(answers, None)
            if answer is None:
                break
            assert answer[3] & 15 == dns.rcode.REFUSED
            count += 1
    assert count == 8
    assert daemon.counter("tcp_refused_total") == 1


@pytest.mark.parametrize("sent", [b"", b"\0", b"\x40\0", b"\xff\xff" + b"x" * 5000])
def test_refused_connection_that_says_nothing_useful_is_closed_soon(
    daemon: Fastdns, sent: bytes
) -> None:
    with connected(STRANGER, daemon.host, daemon.port, tcp=True) as sock:
        sock.sendall(sent)
        assert list(frames(sock)) == []


def test_refused_connections_take_nobody_s_place(daemon: Fastdns) -> None:
    sockets = []
    for _ in range(300):
        with connected(STRANGER, daemon.host, daemon.port, tcp=True) as sock:
            sockets.append(sock.dup())
    assert is_answered(daemon, "127.0.0.1", tcp=True)
    assert daemon.counter("tcp_connections") <= 1
    assert daemon.counter("tcp_rejected_total") == 0
    for sock in sockets:
        sock.close()


def test_refused_connections_that_say_nothing_are_few(daemon: Fastdns) -> None:
    with contextlib.ExitStack() as opened:
        silent = [
            opened.enter_context(connected(STRANGER, daemon.host, daemon.port, tcp=True))
            for _ in range(20)
        ]
        eventually(lambda: daemon.counter("tcp_refused_total"), (20).__eq__)
        closed = eventually(lambda: readable(silent), lambda seen: len(seen) > 3)
    assert len(closed) == 4


def test_strangers_get_silence_when_they_are_to_be_dropped(dropping: Fastdns) -> None:
    with connected(STRANGER, dropping.host, dropping.port, tcp=False, timeout=0.3) as sock:
        sock.send(query())
        sock.send(query("version.bind", rdtype="TXT", rdclass="CH"))
        eventually(lambda: dropping.counter("queries_refused_total"), (2).__eq__)
        with pytest.raises(TimeoutError):
            sock.recv(512)
    began = time.monotonic()
    with connected(STRANGER, dropping.host, dropping.port, tcp=True) as sock:
        assert list(frames(sock)) == []
    assert time.monotonic() - began < 5
    assert is_answered(dropping, "127.0.0.6")


def test_reload_changes_who_may_ask(daemon: Fastdns) -> None:
    assert not is_answered(daemon, STRANGER)
    daemon.configure(CONFIG.replace('deny = ["127.0.0.4/30", ', "deny = ["))
    assert daemon.reload().returncode == 0
    assert is_answered(daemon, STRANGER)
    daemon.configure('access.allow = ["127.0.0.1/8"]')
    refused = daemon.reload()
    assert refused.returncode != 0
    assert '"127.0.0.1/8" has bits beyond its prefix length (try "127.0.0.0/8")' in refused.stderr
    assert is_answered(daemon, STRANGER)


def test_refused_queries_are_counted(daemon: Fastdns) -> None:
    for tcp in (False, True):
        assert not is_answered(daemon, STRANGER, tcp=tcp)
    assert daemon.counter("queries_refused_total") == 2
    assert daemon.counter("responses_refused_total") == 2
    assert daemon.counter("queries_udp_total") == daemon.counter("queries_tcp_total") == 1
