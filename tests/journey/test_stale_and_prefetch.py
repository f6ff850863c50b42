"""Stale answers (RFC 8767), and answers that are refreshed before the end of their TTL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from .support.client import ask, data, eventually, ttls
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream, in_turn, silence

STALE_ANSWER, STALE_NXDOMAIN = 3, 19
SHORT = "@ 1 IN A 192.0.2.1"
RENEWED = "@ 300 IN A 192.0.2.2"
GONE = "demo. 1 IN SOA ns.demo. hostmaster.demo. 1 7200 3600 1209600 1"
IMPATIENT = '[cache]\nstale_wait = "200ms"\n'

Start = Callable[..., Fastdns]


def ede(message: dns.message.Message) -> list[int]:
    return [int(option.code) for option in message.options if option.otype == dns.edns.EDE]


def refusing(asked: Asked) -> None:
    asked.answer(rcode="SERVFAIL")


def answering(*lines: str) -> Callable[[Asked], None]:
    return lambda asked: asked.answer(*lines)


def first_then(then: Callable[[Asked], None], first: str = SHORT) -> Callable[[Asked], None]:
    """The behaviour of answering once, and of doing this from then on."""
    return in_turn(answering(first), then)


def learn(daemon: Fastdns, name: str) -> float:
    """Ask for a name whose TTL is one second, and return when it will have expired."""
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    return time.monotonic() + 1.0


def after(moment: float) -> None:
    """Let a TTL pass: there is no event to wait for."""
    time.sleep(max(moment - time.monotonic(), 0) + 0.05)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, upstream: FalseUpstream) -> Iterator[Fastdns]:
    """One that waits for upstreams for 200 ms only."""
    directory = tmp_path_factory.mktemp("stale")
    with Fastdns(directory / "state", upstream=[upstream], config=IMPATIENT) as started:
        yield started


class TestStale:
    @pytest.mark.parametrize("then", [refusing, silence], ids=["answers an error", "is silent"])
    def test_answer_is_served_past_its_ttl_when_the_upstream(
        self, daemon: Fastdns, upstream: FalseUpstream, then: Callable[[Asked], None]
    ) -> None:
        name = upstream.new_name(first_then(then))
        after(learn(daemon, name))
        answer = ask(daemon, name)
        assert data(answer) == ["192.0.2.1"]
        assert ttls(answer) == [30]
        assert ede(answer) == [STALE_ANSWER]

    def test_upstream_is_asked_first_and_its_answer_told_when_it_comes_in_time(
        self, daemon: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(first_then(answering(RENEWED)))
        after(learn(daemon, name))
        answer = ask(daemon, name)
        assert (data(answer), ttls(answer), ede(answer)) == (["192.0.2.2"], [300], [])

    def test_client_waits_no_longer_than_stale_wait_and_the_late_answer_is_kept(
        self, daemon: Fastdns, upstream: FalseUpstream
    ) -> None:
        answer_now = threading.Event()

        def late(asked: Asked) -> None:
            assert answer_now.wait(5)
            asked.answer(RENEWED)

        name = upstream.new_name(first_then(late))
        after(learn(daemon, name))
        began = time.monotonic()
        assert ede(ask(daemon, name)) == [STALE_ANSWER]
        assert 0.19 < time.monotonic() - began < 1.4
        seconds = []
        for _ in range(5):  # the question is still under way
            began = time.monotonic()
            assert ede(ask(daemon, name)) == [STALE_ANSWER]
            seconds.append(time.monotonic() - began)
        assert min(seconds) < 0.19
        answer_now.set()
        eventually(lambda: data(ask(daemon, name)), lambda seen: seen == ["192.0.2.2"])

    def test_failed_upstream_is_not_asked_again_for_each_client(
        self, daemon: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(first_then(refusing))
        after(learn(daemon, name))
        ask(daemon, name)
        asked = len(upstream.asked(name))
        for _ in range(5):
            assert ede(ask(daemon, name)) == [STALE_ANSWER]
            assert ede(ask(daemon, name, tcp=True)) == [STALE_ANSWER]
        assert len(upstream.asked(name)) == asked

    def test_name_that_did_not_exist_says_that_this_is_stale(
        self, daemon: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(
            in_turn(lambda asked: asked.answer(rcode="NXDOMAIN", authority=[GONE]), refusing)
        )
        assert ask(daemon, name).rcode() == dns.rcode.NXDOMAIN
        after(time.monotonic() + 1)
        answer = ask(daemon, name)
        assert answer.rcode() == dns.rcode.NXDOMAIN
        assert ede(answer) == [STALE_NXDOMAIN]

    def test_client_without_edns_gets_the_stale_answer_alone(
        self, daemon: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(first_then(refusing))
        after(learn(daemon, name))
        for _ in range(2):  # from the question that has failed, and from memory
            answer = ask(daemon, name, edns=False)
            assert (data(answer), ttls(answer), answer.edns) == (["192.0.2.1"], [30], -1)

    def test_client_that_wants_no_recursion_is_refused(
        self, daemon: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(first_then(refusing))
        after(learn(daemon, name))
        ask(daemon, name)
        assert ask(daemon, name, rd=False).rcode() == dns.rcode.REFUSED

    def test_what_was_never_known_is_servfail(
        self, daemon: Fastdns, upstream: FalseUpstream
    ) -> None:
        assert ask(daemon, upstream.new_name(refusing)).rcode() == dns.rcode.SERVFAIL

    def test_stale_answers_are_counted(self, daemon: Fastdns, upstream: FalseUpstream) -> None:
        before = daemon.counter("cache_stale_total")
        name = upstream.new_name(first_then(refusing))
        after(learn(daemon, name))
        for _ in range(3):
            ask(daemon, name)
        assert daemon.counter("cache_stale_total") - before == 3


def test_stale_answers_can_be_turned_off(start_fastdns: Start, upstream: FalseUpstream) -> None:
    daemon = start_fastdns(upstream=[upstream], config='[cache]\nstale = "0s"\n')
    name = upstream.new_name(first_then(refusing))
    after(learn(daemon, name))
    assert ask(daemon, name).rcode() == dns.rcode.SERVFAIL


def test_stale_ttl_is_what_is_configured(start_fastdns: Start, upstream: FalseUpstream) -> None:
    daemon = start_fastdns(upstream=[upstream], config='[cache]\nstale_ttl = "7s"\n')
    name = upstream.new_name(first_then(refusing))
    after(learn(daemon, name))
    assert ttls(ask(daemon, name)) == [7]
    assert ttls(ask(daemon, name)) == [7]


def test_stale_wait_of_zero_answers_at_once_and_renews_behind(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config='[cache]\nstale_wait = "0s"\n')
    name = upstream.new_name(first_then(answering(RENEWED)))
    after(learn(daemon, name))
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    eventually(lambda: data(ask(daemon, name)), lambda seen: seen == ["192.0.2.2"])


class TestPrefetch:
    TEN = "@ 10 IN A 192.0.2.1"
    LAST_TENTH = 9.05

    def test_answer_asked_for_in_the_last_tenth_of_its_ttl_is_renewed_in_the_background(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        """And one that nobody asks for then is not; a failed renewal leaves the answer."""
        renewed = upstream.new_name(first_then(answering(RENEWED), self.TEN))
        left_alone = upstream.new_name(first_then(answering(RENEWED), self.TEN))
        broken = upstream.new_name(first_then(refusing, self.TEN))
        for name in (renewed, left_alone, broken):
            assert data(ask(forwarder, name)) == ["192.0.2.1"]
        began = time.monotonic()
        after(began + 8)
        for name in (renewed, left_alone, broken):
            ask(forwarder, name)  # not yet in the last tenth
        after(began + self.LAST_TENTH)
        for name in (renewed, broken):
            answer = ask(forwarder, name)
            assert (data(answer), ttls(answer)) == (["192.0.2.1"], [1])
        upstream.wait_for(renewed, 2)
        upstream.wait_for(broken, 2)
        eventually(lambda: data(ask(forwarder, renewed)), lambda seen: seen == ["192.0.2.2"])
        assert data(ask(forwarder, broken)) == ["192.0.2.1"]
        assert len(upstream.asked(left_alone)) == 1

    def test_prefetch_can_be_turned_off(
        self, start_fastdns: Start, upstream: FalseUpstream
    ) -> None:
        daemon = start_fastdns(upstream=[upstream], config="[cache]\nprefetch = false\n")
        name = upstream.new_name(
            first_then(lambda a: a.answer(RENEWED), first="@ 4 IN A 192.0.2.1")
        )
        ask(daemon, name)
        after(time.monotonic() + 3.65)
        ask(daemon, name)
        assert daemon.counter("prefetches_total") == 0
