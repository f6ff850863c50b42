"""Upstreams that do not support OPT (RFC 6891 section 7): asked again without, and remembered."""

from __future__ import annotations

import time
from collections.abc import Callable

import dns.rcode
import pytest

from fastdns.config.places import Places
from fastdns.counters import Pages

from .support.client import ask, data, eventually
from .support.daemon import Fastdns
from .support.false_upstream import Asked, Behaviour, FalseUpstream, answer_a, silence
from .support.raw import opt, reply_to

Start = Callable[..., Fastdns]
RCODES = {"FORMERR": 1, "SERVFAIL": 2, "NOTIMP": 4, "REFUSED": 5}


def has_opt(asked: Asked) -> bool:
    return asked.message.edns >= 0


def bare(rcode: str) -> Behaviour:
    """An error that is no more than a header."""
    return lambda asked: asked.send(asked.wire[:2] + bytes((0x81, 0x80 | RCODES[rcode])) + bytes(8))


def plain_error(rcode: str) -> Behaviour:
    """An error with its question and without an OPT."""
    return lambda asked: asked.send(reply_to(asked.wire, flags=0x8180 | RCODES[rcode]))


def echo(asked: Asked) -> None:
    asked.send(asked.wire)


def opt_in_answer(asked: Asked) -> None:
    asked.send(reply_to(asked.wire, opt(), counts=(1, 1, 0, 0)))


def hang_up(asked: Asked) -> None:
    asked.close()


def without_edns(to_opt: Behaviour) -> Behaviour:
    """Does this to any query with OPT, and answers those without."""
    return lambda asked: to_opt(asked) if has_opt(asked) else answer_a(asked)


WAYS = {
    **{f"{rcode}, header alone": bare(rcode) for rcode in RCODES},
    **{f"{rcode}, with question": plain_error(rcode) for rcode in RCODES},
    "the query sent back": echo,
    "OPT among the answers": opt_in_answer,
    "silence": silence,
}


def edns_flags(daemon: Fastdns) -> list[bool]:
    pages = Pages.attach(Places(daemon.state_dir, daemon.state_dir / "run").counters)
    return [one.edns for one in pages.upstreams()]


@pytest.mark.parametrize("scheme", ["", "tcp://"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_upstream_without_edns_is_asked_without_and_that_is_remembered(
    start_fastdns: Start, way: Behaviour, scheme: str
) -> None:
    with FalseUpstream(without_edns(way)) as upstream:
        daemon = start_fastdns(upstream=[f"{scheme}{upstream.host}:{upstream.port}"])
        started = time.monotonic()
        first = ask(daemon, upstream.new_name(), do=True)
        assert data(first) == ["192.0.2.1"]
        assert time.monotonic() - started < 1.0
        names = [upstream.new_name() for _ in range(5)]
        started = time.monotonic()
        assert [data(ask(daemon, name, do=True)) for name in names] == [["192.0.2.1"]] * 5
        assert time.monotonic() - started < 0.5
        assert [has_opt(one) for name in names for one in upstream.asked(name)] == [False] * 5
        assert eventually(lambda: edns_flags(daemon), lambda flags: flags == [False])


def test_tcp_upstream_that_hangs_up_on_an_opt_is_asked_without(start_fastdns: Start) -> None:
    with FalseUpstream(without_edns(hang_up)) as upstream:
        daemon = start_fastdns(upstream=[f"tcp://{upstream.host}:{upstream.port}"])
        for _ in range(3):
            assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_two_upstreams_without_edns_are_both_asked_without(start_fastdns: Start) -> None:
    behaviour = without_edns(silence)
    with FalseUpstream(behaviour) as first, FalseUpstream(behaviour) as second:
        daemon = start_fastdns(upstream=[first, second])
        for _ in range(5):
            started = time.monotonic()
            assert data(ask(daemon, first.new_name())) == ["192.0.2.1"]
            assert time.monotonic() - started < 2.0


def test_upstream_over_ipv6_without_edns_is_asked_without(start_fastdns: Start) -> None:
    with FalseUpstream(without_edns(bare("FORMERR")), host="::1") as upstream:
        daemon = start_fastdns(upstream=[f"[::1]:{upstream.port}"])
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_verdict_of_a_lost_packet_is_taken_back_in_the_background(start_fastdns: Start) -> None:
    with FalseUpstream() as upstream:
        lost: list[Asked] = []

        def lose_the_first(asked: Asked) -> None:
            if lost:
                answer_a(asked)
            else:
                lost.append(asked)

        upstream.otherwise = lose_the_first
        daemon = start_fastdns(upstream=[upstream])
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        # The probe is a query with OPT that no client has asked for.
        eventually(lambda: upstream.asked("."), lambda probes: any(map(has_opt, probes)))

        def goes_with_opt() -> bool:
            name = upstream.new_name()
            ask(daemon, name)
            return has_opt(upstream.asked(name)[0])

        assert eventually(goes_with_opt, bool)


def test_upstream_that_comes_back_at_a_probe_without_opt_is_not_taken_for_one_without_edns(
    start_fastdns: Start,
) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        ask(daemon, upstream.new_name())

        def wake_up(asked: Asked) -> None:
            if has_opt(asked):
                return
            upstream.otherwise = answer_a
            answer_a(asked)

        upstream.otherwise = silence
        while "does not answer (" not in daemon.tail():
            ask(daemon, upstream.new_name())
        upstream.otherwise = wake_up
        daemon.wait_for_log("answers again")
        name = upstream.new_name()
        ask(daemon, name)
        assert has_opt(upstream.asked(name)[0])
        assert not any("EDNS" in line for line in daemon.log)


def test_upstream_that_comes_back_without_edns_is_asked_without(start_fastdns: Start) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        ask(daemon, upstream.new_name())
        upstream.otherwise = silence
        while "does not answer (" not in daemon.tail():
            ask(daemon, upstream.new_name())
        upstream.otherwise = without_edns(silence)
        daemon.wait_for_log("answers again")
        for _ in range(2):
            assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        daemon.wait_for_log("does not answer queries with EDNS")
        assert sum("answers again" in line for line in daemon.log) == 1


def test_failure_of_one_name_is_no_sign_of_an_upstream_without_edns(start_fastdns: Start) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        ask(daemon, upstream.new_name())
        broken = upstream.new_name(lambda asked: asked.answer(rcode="SERVFAIL"))
        assert ask(daemon, broken).rcode() == dns.rcode.SERVFAIL
        assert [has_opt(one) for one in upstream.asked(broken)] == [True]
        name = upstream.new_name()
        ask(daemon, name)
        assert [has_opt(one) for one in upstream.asked(name)] == [True]


@pytest.mark.parametrize("scheme", ["", "tcp://"])
@pytest.mark.parametrize("others", [0, 1])
def test_refusal_without_a_question_is_relayed_at_once_and_no_sign_of_death(
    start_fastdns: Start, scheme: str, others: int
) -> None:
    with FalseUpstream(bare("REFUSED")) as upstream, FalseUpstream(bare("REFUSED")) as other:
        servers = [f"{scheme}{one.host}:{one.port}" for one in (upstream, other)]
        daemon = start_fastdns(upstream=servers[: 1 + others])
        for _ in range(5):
            started = time.monotonic()
            answer = ask(daemon, upstream.new_name())
            assert answer.rcode() == dns.rcode.REFUSED
            assert time.monotonic() - started < 0.25
        assert not any("does not answer" in line for line in daemon.log)
