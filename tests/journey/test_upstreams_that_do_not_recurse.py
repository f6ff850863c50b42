"""Upstreams that answer with a referral, or an empty answer: they do not recurse for us."""

from __future__ import annotations

from collections.abc import Callable

import dns.flags
import dns.rcode
import pytest

from .support.client import ask, data, extended_errors
from .support.daemon import Fastdns
from .support.false_upstream import SOA, Asked, Behaviour, FalseUpstream

Start = Callable[..., Fastdns]


def say(*answer: str, authority: tuple[str, ...] = (), flags: int = 0) -> Behaviour:
    """Say this with RA=0."""

    def behave(asked: Asked) -> None:
        response = asked.response(*answer, authority=authority, flags=flags)
        response.flags &= ~dns.flags.RA
        asked.send(response.to_wire())

    return behave


REFERRAL = say(authority=("demo. 300 IN NS ns.demo.",))
NOTHING = say()


@pytest.mark.parametrize("scheme", ["", "tcp://"])
@pytest.mark.parametrize("behaviour", [REFERRAL, NOTHING], ids=["referral", "nothing"])
def test_next_upstream_is_asked_and_the_log_says_it_once(
    start_fastdns: Start, behaviour: Behaviour, scheme: str
) -> None:
    with FalseUpstream(behaviour) as lame, FalseUpstream() as good:
        daemon = start_fastdns(upstream=[f"{scheme}{lame.host}:{lame.port}", good])
        for _ in range(3):
            assert data(ask(daemon, good.new_name())) == ["192.0.2.1"]
        daemon.wait_for_log("does not recurse")
        assert sum("does not recurse" in line for line in daemon.log) == 1


def test_when_none_recurses_that_is_an_error(start_fastdns: Start) -> None:
    with FalseUpstream(REFERRAL) as one, FalseUpstream(NOTHING) as other:
        for servers in ([one], [one, other]):
            answer = ask(start_fastdns(upstream=servers), one.new_name())
            assert (answer.rcode(), extended_errors(answer)) == (dns.rcode.SERVFAIL, [22])


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (say("@ 300 IN A 192.0.2.9", flags=dns.flags.AA), ["192.0.2.9"]),
        (say("@ 300 IN A 192.0.2.9"), ["192.0.2.9"]),
        (say(authority=(SOA,), flags=dns.flags.AA), []),
        (say(authority=(SOA,)), []),
        (say(flags=dns.flags.AA), []),
    ],
    ids=["authority", "answer", "no data", "no data, not authoritative", "nothing at all"],
)
def test_authority_that_is_asked_for_its_own_zone_is_taken_at_its_word(
    start_fastdns: Start, behaviour: Behaviour, expected: list[str]
) -> None:
    with FalseUpstream(behaviour) as upstream:
        answer = ask(start_fastdns(upstream=[upstream]), upstream.new_name())
        assert (answer.rcode(), data(answer)) == (dns.rcode.NOERROR, expected)
