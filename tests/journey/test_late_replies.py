"""Late and missing replies: a slow line is not a dead one, and lost packets are sent again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import dns.name
import dns.rcode
import pytest

from .support.client import ask, data, extended_errors
from .support.daemon import Fastdns
from .support.false_upstream import Asked, Behaviour, FalseUpstream, answer_a
from .support.raw import a_record, opt, reply_to

Start = Callable[..., Fastdns]
BUDGET = 3.5


def after(seconds: float) -> Behaviour:
    def behave(asked: Asked) -> None:
        time.sleep(seconds)
        answer_a(asked)

    return behave


def lossy(every: int = 1) -> Behaviour:
    """Loses the first packet of each name, or of each so many."""
    seen: Counter[dns.name.Name] = Counter()
    lock = threading.Lock()

    def behave(asked: Asked) -> None:
        with lock:
            seen[asked.name] += 1
            is_lost = seen[asked.name] == 1 and len(seen) % every == 0
        if not is_lost:
            answer_a(asked)

    return behave


def timed(daemon: Fastdns, name: str) -> tuple[float, list[str]]:
    started = time.monotonic()
    answer = ask(daemon, name, timeout=10)
    return time.monotonic() - started, data(answer)


@pytest.mark.parametrize("scheme", ["", "tcp://"])
@pytest.mark.parametrize("count", [1, 2])
def test_answer_that_takes_two_seconds_comes_at_two_seconds(
    start_fastdns: Start, scheme: str, count: int
) -> None:
    with FalseUpstream(after(2)) as one, FalseUpstream(after(2)) as other:
        servers = [f"{scheme}{each.host}:{each.port}" for each in (one, other)][:count]
        daemon = start_fastdns(upstream=servers)
        with ThreadPoolExecutor(30) as clients:
            for _ in range(2):
                names = [one.new_name() for _ in range(30)]
                for seconds, addresses in clients.map(lambda name: timed(daemon, name), names):
                    assert addresses == ["192.0.2.1"]
                    assert seconds < 3.4
        # Once it may be taken for dead: before anything has come from it.
        assert sum("does not answer (" in line for line in daemon.log) <= count


@pytest.mark.parametrize("strategy", ["failover", "round-robin"])
def test_slow_upstream_beside_a_good_one_costs_the_first_names_only(
    start_fastdns: Start, strategy: str
) -> None:
    with FalseUpstream(after(2)) as slow, FalseUpstream() as good:
        daemon = start_fastdns(
            upstream=[slow, good], config=f'[upstream]\nstrategy = "{strategy}"\n'
        )
        until = time.monotonic() + 8
        while "does not answer (" not in daemon.tail() and time.monotonic() < until:
            ask(daemon, good.new_name())
        daemon.wait_for_log(r"does not answer \(")
        took = [timed(daemon, good.new_name())[0] for _ in range(60)]
    assert sum(seconds > 0.25 for seconds in took) <= 2
    assert not any("answers again" in line for line in daemon.log)


@pytest.mark.parametrize("count", [1, 2])
def test_what_comes_after_the_client_has_given_up_is_kept(start_fastdns: Start, count: int) -> None:
    with FalseUpstream(after(4)) as one, FalseUpstream(after(4)) as other:
        daemon = start_fastdns(upstream=[one, other][:count])
        name = one.new_name()
        started = time.monotonic()
        assert ask(daemon, name, timeout=10).rcode() == dns.rcode.SERVFAIL
        assert BUDGET - 0.1 < time.monotonic() - started < 4
        time.sleep(max(started + 4.5 - time.monotonic(), 0))  # nothing says that it has come
        seconds, addresses = timed(daemon, name)
        assert addresses == ["192.0.2.1"]
        assert seconds < 0.2


def test_lost_packet_is_sent_again_long_before_the_timeout(start_fastdns: Start) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        ask(daemon, upstream.new_name())
        upstream.otherwise = lossy()
        for _ in range(5):
            seconds, addresses = timed(daemon, upstream.new_name())
            assert addresses == ["192.0.2.1"]
            assert seconds < 1.2  # of 1.5


def test_loss_of_a_twentieth_is_not_noticed(start_fastdns: Start) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        ask(daemon, upstream.new_name())
        upstream.otherwise = lossy(20)
        with ThreadPoolExecutor(8) as clients:
            names = [upstream.new_name() for _ in range(300)]
            answers = list(clients.map(lambda name: timed(daemon, name), names))
        assert [addresses for _, addresses in answers] == [["192.0.2.1"]] * 300
        assert max(seconds for seconds, _ in answers) < 1.4  # of 1.5
        assert not any("does not answer" in line for line in daemon.log)


def spoiled(asked: Asked) -> None:
    """A reply that matches, with an address of three octets."""
    bad = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\3\1\2\3"
    asked.send(reply_to(asked.wire, bad, opt(), counts=(1, 1, 0, 1)))


@pytest.mark.parametrize("scheme", ["", "tcp://"])
def test_reply_that_cannot_be_used_is_an_error_soon_and_no_sign_of_death(
    start_fastdns: Start, scheme: str
) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[f"{scheme}{upstream.host}:{upstream.port}"])
        ask(daemon, upstream.new_name())
        for _ in range(4):
            started = time.monotonic()
            answer = ask(daemon, upstream.new_name(spoiled))
            assert time.monotonic() - started < 1
            assert (answer.rcode(), extended_errors(answer)) == (dns.rcode.SERVFAIL, [23])
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        assert not any("does not answer" in line for line in daemon.log)


def test_after_a_reply_that_cannot_be_used_the_next_upstream_is_asked(start_fastdns: Start) -> None:
    with FalseUpstream(spoiled) as bad, FalseUpstream() as good:
        daemon = start_fastdns(upstream=[bad, good])
        for _ in range(3):
            seconds, addresses = timed(daemon, good.new_name())
            assert addresses == ["192.0.2.1"]
            assert seconds < 1


def test_true_reply_after_one_that_cannot_be_used_counts(start_fastdns: Start) -> None:
    def behave(asked: Asked) -> None:
        spoiled(asked)
        asked.send(reply_to(asked.wire, a_record("192.0.2.7"), opt(), counts=(1, 1, 0, 1)))

    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        ask(daemon, upstream.new_name())
        assert data(ask(daemon, upstream.new_name(behave))) == ["192.0.2.7"]
