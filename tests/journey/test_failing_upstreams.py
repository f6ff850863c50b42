"""Upstreams that are dead, slow or unwilling, and their small effect on clients."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import dns.edns
import dns.message
import dns.rcode
import pytest

from fastdns._questions import IN_FLIGHT_MAX
from fastdns.config.places import Places
from fastdns.counters import Pages

from .support.client import (
    ask,
    data,
    eventually,
    extended_errors,
    make_query,
    read_answer,
    udp_socket,
)
from .support.daemon import Fastdns
from .support.false_upstream import Asked, Behaviour, FalseUpstream, answer_a, silence
from .support.ports import free_port
from .support.raw import a_record, reply_to

TIMEOUT = 1.5  # the default of upstream.timeout
NO_ANSWER_AT_ALL = 4.0  # resolvers in libc give up at 5
UNWILLING = ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"]

Start = Callable[..., Fastdns]


def counters(daemon: Fastdns) -> dict[str, int]:
    return Pages.attach(Places(daemon.state_dir, daemon.state_dir / "run").counters).totals()


def second_answer(asked: Asked) -> None:
    """What the second upstream says, so that a client can tell who answered."""
    asked.answer("@ 300 IN A 192.0.2.2")


def unwilling(rcode: str, ede: int) -> Behaviour:
    """Always this RCODE, with an Extended DNS Error of its own."""
    return lambda asked: asked.answer(rcode=rcode, options=[dns.edns.EDEOption(ede)])


def timed(daemon: Fastdns, name: str) -> tuple[float, dns.message.Message]:
    start = time.monotonic()
    answer = ask(daemon, name)
    return time.monotonic() - start, answer


@contextmanager
def dead_place(kind: str) -> Iterator[object]:
    """An upstream that is dead in one of two ways: nobody reads its port, or the port is closed."""
    if kind == "closed":
        yield f"127.0.0.1:{free_port()}"
    else:
        with FalseUpstream(silence) as upstream:
            yield upstream


# One of two


@pytest.mark.parametrize("strategy", ["failover", "round-robin"])
@pytest.mark.parametrize("kind", ["silent", "closed"])
def test_one_dead_upstream_of_two_costs_no_client_a_time_out(
    start_fastdns: Start, kind: str, strategy: str
) -> None:
    with dead_place(kind) as dead, FalseUpstream() as good:
        config = f'[upstream]\nstrategy = "{strategy}"'
        daemon = start_fastdns(upstream=[dead, good], config=config)
        answers = [timed(daemon, good.new_name()) for _ in range(30)]
        assert [data(answer) for _, answer in answers] == [["192.0.2.1"]] * 30
        assert max(seconds for seconds, _ in answers) < TIMEOUT * 0.9
        if isinstance(dead, FalseUpstream):
            found_out = len(dead.queries)
            for _ in range(20):
                ask(daemon, good.new_name())
            assert len(dead.queries) <= found_out + 2


def test_many_clients_at_once_do_not_wait_for_a_dead_first_upstream(start_fastdns: Start) -> None:
    with dead_place("silent") as dead, FalseUpstream() as good, ThreadPoolExecutor(30) as clients:
        daemon = start_fastdns(upstream=[dead, good])
        names = [good.new_name() for _ in range(30)]
        answers = list(clients.map(lambda name: timed(daemon, name), names))
    assert [data(answer) for _, answer in answers] == [["192.0.2.1"]] * 30
    assert max(seconds for seconds, _ in answers) < TIMEOUT * 0.9


def test_upstream_that_dies_later_costs_no_client_a_time_out(start_fastdns: Start) -> None:
    with FalseUpstream() as first, FalseUpstream(second_answer) as second:
        daemon = start_fastdns(upstream=[first, second])
        assert data(ask(daemon, first.new_name())) == ["192.0.2.1"]
        first.otherwise = silence
        answers = [timed(daemon, f"later{number}.false.demo") for number in range(20)]
    assert [data(answer) for _, answer in answers] == [["192.0.2.2"]] * 20
    assert max(seconds for seconds, _ in answers) < TIMEOUT * 0.9


def test_upstream_that_comes_back_is_the_first_again(start_fastdns: Start) -> None:
    with FalseUpstream(silence) as first, FalseUpstream(second_answer) as second:
        daemon = start_fastdns(upstream=[first, second])
        for _ in range(5):
            assert data(ask(daemon, second.new_name())) == ["192.0.2.2"]
        first.otherwise = answer_a
        eventually(
            lambda: data(ask(daemon, second.new_name())), lambda got: got == ["192.0.2.1"], 12
        )
        for _ in range(5):
            assert data(ask(daemon, second.new_name())) == ["192.0.2.1"]


# All of them


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("closed", ""),
        ("silent", ""),
        ("silent", '[upstream]\ntimeout = "3s"\nattempts = 5'),
    ],
    ids=["closed", "silent", "silent_and_patient"],
)
def test_with_all_upstreams_dead_clients_hear_so_in_time(
    start_fastdns: Start, kind: str, config: str
) -> None:
    with dead_place(kind) as one, dead_place(kind) as other, ThreadPoolExecutor() as clients:
        daemon = start_fastdns(upstream=[one, other], config=config)
        start = time.monotonic()
        over_udp = clients.submit(ask, daemon, "udp.false.demo")
        over_tcp = clients.submit(ask, daemon, "tcp.false.demo", tcp=True)
        plain = clients.submit(ask, daemon, "plain.false.demo", edns=False)
        for answer in (over_udp.result(), over_tcp.result()):
            assert answer.rcode() == dns.rcode.SERVFAIL
            assert extended_errors(answer) in ([22], [23])
        assert plain.result().rcode() == dns.rcode.SERVFAIL
        assert plain.result().edns == -1
        assert time.monotonic() - start < NO_ANSWER_AT_ALL


def test_upstreams_that_come_back_from_a_total_failure_are_used_again(
    start_fastdns: Start,
) -> None:
    with FalseUpstream(silence) as only:
        daemon = start_fastdns(upstream=[only], config='[upstream]\ntimeout = "0.2s"')
        assert ask(daemon, only.new_name()).rcode() == dns.rcode.SERVFAIL
        only.otherwise = answer_a
        eventually(
            lambda: ask(daemon, only.new_name()).rcode(), lambda rcode: rcode == dns.rcode.NOERROR
        )


# Unwilling ones


@pytest.mark.parametrize("rcode", UNWILLING)
def test_when_the_first_is_unwilling_the_second_is_asked(start_fastdns: Start, rcode: str) -> None:
    with FalseUpstream(unwilling(rcode, 18)) as first, FalseUpstream(second_answer) as second:
        daemon = start_fastdns(upstream=[first, second])
        name = second.new_name()
        seconds, answer = timed(daemon, name)
        assert data(answer) == ["192.0.2.2"]
        assert extended_errors(answer) == []
        assert seconds < 1.4
        assert len(first.asked(name)) >= 1


@pytest.mark.parametrize("rcode", UNWILLING)
def test_when_all_are_unwilling_the_last_answer_is_relayed(
    start_fastdns: Start, rcode: str
) -> None:
    with (
        FalseUpstream(unwilling("SERVFAIL", 15)) as first,
        FalseUpstream(unwilling(rcode, 18)) as last,
    ):
        daemon = start_fastdns(upstream=[first, last], config="[upstream]\nattempts = 2")
        with_edns = ask(daemon, last.new_name())
        assert dns.rcode.to_text(with_edns.rcode()) == rcode
        assert extended_errors(with_edns) == [18]
        without = ask(daemon, last.new_name(), edns=False)
        assert dns.rcode.to_text(without.rcode()) == rcode
        assert without.edns == -1


def test_nxdomain_is_an_answer_and_nobody_else_is_asked(start_fastdns: Start) -> None:
    with (
        FalseUpstream(lambda asked: asked.answer(rcode="NXDOMAIN")) as first,
        FalseUpstream(second_answer) as second,
    ):
        daemon = start_fastdns(upstream=[first, second])
        assert ask(daemon, first.new_name()).rcode() == dns.rcode.NXDOMAIN
        assert second.queries == []


# Attempts, order and patience


@pytest.mark.parametrize("attempts", [1, 3])
def test_single_silent_upstream_is_asked_as_often_as_attempts_says(
    start_fastdns: Start, attempts: int
) -> None:
    with FalseUpstream(silence) as upstream:
        config = f'[upstream]\nattempts = {attempts}\ntimeout = "0.3s"'
        daemon = start_fastdns(upstream=[upstream], config=config)
        name = upstream.new_name()
        seconds, answer = timed(daemon, name)
        assert answer.rcode() == dns.rcode.SERVFAIL
        assert len(upstream.asked(name, repeats=True)) == attempts
        assert attempts * 0.3 - 0.1 < seconds < attempts * 0.3 + 1.5


def test_round_robin_uses_all_upstreams_in_turn(start_fastdns: Start) -> None:
    with FalseUpstream() as one, FalseUpstream() as two, FalseUpstream() as three:
        daemon = start_fastdns(
            upstream=[one, two, three], config='[upstream]\nstrategy = "round-robin"'
        )
        for _ in range(9):
            ask(daemon, one.new_name())
        assert [len(each.asked()) for each in (one, two, three)] == [3, 3, 3]


def test_failover_stays_with_the_first_upstream(start_fastdns: Start) -> None:
    with FalseUpstream() as first, FalseUpstream() as second:
        daemon = start_fastdns(upstream=[first, second])
        for _ in range(10):
            ask(daemon, first.new_name())
        assert len(first.asked()) == 10
        assert second.queries == []


def test_slow_answer_within_the_time_out_is_waited_for(start_fastdns: Start) -> None:
    def slow(asked: Asked) -> None:
        threading.Event().wait(TIMEOUT - 0.5)
        answer_a(asked)

    with FalseUpstream(slow) as upstream:
        daemon = start_fastdns(upstream=[upstream])
        seconds, answer = timed(daemon, upstream.new_name())
        assert data(answer) == ["192.0.2.1"]
        assert seconds < TIMEOUT


def test_answer_of_the_slow_first_upstream_still_counts_when_the_second_is_worse(
    start_fastdns: Start,
) -> None:
    def slow(asked: Asked) -> None:
        threading.Event().wait(TIMEOUT - 0.5)
        answer_a(asked)

    with FalseUpstream(slow) as first, FalseUpstream(silence) as second:
        daemon = start_fastdns(upstream=[first, second])
        seconds, answer = timed(daemon, first.new_name())
        assert data(answer) == ["192.0.2.1"]
        assert seconds < NO_ANSWER_AT_ALL


# More than can wait


def test_flood_of_names_that_nobody_answers_is_shed_and_cached_names_are_answered(
    start_fastdns: Start,
) -> None:
    # Not a FalseUpstream: a thread for each of so many queries would be the bottleneck.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.settimeout(8)
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        daemon = start_fastdns(upstream=[address], is_forked=False)
        with udp_socket(daemon) as client:
            query = make_query("cached.demo").to_wire()
            client.send(query)
            asked, address = mute.recvfrom(4096)
            mute.sendto(reply_to(asked, a_record("192.0.2.1")), address)
            read_answer(query, client.recv(4096))
        before = daemon.memory()
        worst = 0.0
        with udp_socket(daemon) as flood:
            # Distinct names by patching a label: the client has to be faster than what it floods.
            wire = make_query("x00000.flood.demo").to_wire()
            at = wire.index(b"00000")
            for number in range(20_000):
                flood.send(wire[:at] + b"%05d" % number + wire[at + 5 :])
                if number % 500 == 0:
                    seconds, answer = timed(daemon, "cached.demo")
                    assert data(answer) == ["192.0.2.1"]
                    worst = max(worst, seconds)
            assert worst < 2
            assert daemon.memory() < before + (96 << 20)  # 62 MiB with Python 3.13, 31 with 3.11
            during = counters(daemon)
            assert during["shed_total"] > 0
            # Once the upstream is known to be dead, the others are told so.
            told = during["responses_servfail_total"]
            assert during["shed_total"] + during["in_flight"] + told > 19_000
            assert during["in_flight"] <= IN_FLIGHT_MAX
            # Those that were not shed hear of the failure.
            assert dns.message.from_wire(flood.recv(4096)).rcode() == dns.rcode.SERVFAIL
        eventually(lambda: counters(daemon)["in_flight"], lambda waiting: waiting == 0, 8)


def test_identical_queries_share_the_wait_and_the_failure(start_fastdns: Start) -> None:
    with FalseUpstream(silence) as upstream:
        daemon = start_fastdns(
            upstream=[upstream], config='[upstream]\nattempts = 1\ntimeout = "0.3s"'
        )
        name = upstream.new_name()
        queries = [make_query(name) for _ in range(20)]
        with udp_socket(daemon) as client:
            for query in queries:
                client.send(query.to_wire())
            answers = [client.recv(4096) for _ in queries]
        by_id = {dns.message.from_wire(answer).id: answer for answer in answers}
        for query in queries:
            answer = read_answer(query.to_wire(), by_id[query.id])
            assert answer.rcode() == dns.rcode.SERVFAIL
        assert len(upstream.asked(name)) == 1
