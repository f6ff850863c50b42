"""No upstream answers: cached answers are served at once, and names resolve when one is back."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import dns.message
import dns.rcode
import pytest

from .support.client import ask, data, eventually, ttls
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream, in_turn, silence

Start = Callable[..., Fastdns]
SHORT = "@ 1 IN A 192.0.2.1"


class Line:
    """The way to an upstream, which can be cut, for probes too."""

    def __init__(self) -> None:
        self.is_cut = False

    def __call__(self, asked: Asked) -> None:
        if not self.is_cut:
            asked.answer(SHORT)


def cut_off(daemon: Fastdns, upstream: FalseUpstream, line: Line) -> None:
    """Have the daemon find out that its upstream is dead."""
    line.is_cut = True
    seen = len(daemon.log)
    for _ in range(3):
        ask(daemon, upstream.new_name(), timeout=10)
    daemon.wait_for_log("does not answer", after=seen)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def upstream(line: Line) -> Iterator[FalseUpstream]:
    with FalseUpstream(line) as started:
        yield started


@pytest.fixture
def daemon(start_fastdns: Start, upstream: FalseUpstream) -> Fastdns:
    return start_fastdns(
        upstream=[upstream], config='[upstream]\ntimeout = "300ms"\nattempts = 2\n', workers=1
    )


@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
def test_each_name_that_is_held_is_told_at_once(
    daemon: Fastdns, upstream: FalseUpstream, line: Line, *, tcp: bool
) -> None:
    names = [upstream.new_name() for _ in range(100)]
    for name in names:  # a busy machine may be later than the time that upstreams have
        eventually(lambda name=name: data(ask(daemon, name)), lambda told: told == ["192.0.2.1"])
    time.sleep(1.1)  # until their TTL is over
    cut_off(daemon, upstream, line)
    began = time.monotonic()
    for name in names:
        answer = ask(daemon, name, tcp=tcp)
        assert (data(answer), ttls(answer)) == (["192.0.2.1"], [30])
    assert time.monotonic() - began < 18  # a tenth of what stale_wait for each would take


def test_many_names_that_are_not_held_hear_of_it_within_4_seconds(
    daemon: Fastdns, upstream: FalseUpstream, line: Line
) -> None:
    cut_off(daemon, upstream, line)
    host, port = daemon.host, daemon.port
    queries = [dns.message.make_query(f"n{i}.outage.demo", "A") for i in range(1500)]
    heard = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        client.connect((host, port))
        client.settimeout(4)
        for at, query in enumerate(queries):
            client.send(query.to_wire())
            if at % 50 == 49:
                time.sleep(0.01)  # sockets have room for a few hundred
        while len(heard) < len(queries):
            reply = dns.message.from_wire(client.recv(4096))
            assert reply.rcode() == dns.rcode.SERVFAIL
            heard.add(str(reply.question[0].name))


def test_names_resolve_soon_after_the_upstream_is_back(
    daemon: Fastdns, upstream: FalseUpstream, line: Line
) -> None:
    name = upstream.new_name()
    ask(daemon, name)
    time.sleep(1.1)
    cut_off(daemon, upstream, line)
    assert ttls(ask(daemon, name)) == [30]
    line.is_cut = False
    eventually(lambda: ttls(ask(daemon, name)), lambda found: found == [1], timeout=4)


def test_answer_that_is_held_with_do_serves_who_did_not_set_it(
    daemon: Fastdns, upstream: FalseUpstream, line: Line
) -> None:
    name = upstream.new_name()
    ask(daemon, name, do=True)
    cut_off(daemon, upstream, line)
    assert data(ask(daemon, name, timeout=10)) == ["192.0.2.1"]


def test_address_that_was_replaced_by_one_of_ttl_0_never_comes_back(
    upstream: FalseUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("ended") / "state"
    config = '[upstream]\ntimeout = "1s"\nattempts = 1\n[cache]\ncommit_interval = "1h"\n'
    name = upstream.new_name(
        in_turn(
            lambda asked: asked.answer(SHORT),
            lambda asked: asked.answer("@ 0 IN A 192.0.2.9"),
            silence,
        )
    )
    with Fastdns(state, upstream=[upstream], config=config) as first:
        assert data(ask(first, name)) == ["192.0.2.1"]
    second = Fastdns(state, upstream=[upstream], config=config).start()
    time.sleep(1.1)
    assert data(ask(second, name)) == ["192.0.2.9"]
    assert ask(second, name, timeout=10).rcode() == dns.rcode.SERVFAIL
    second.kill()
    with Fastdns(state, upstream=[upstream], config=config) as third:
        assert ask(third, name, timeout=10).rcode() == dns.rcode.SERVFAIL
