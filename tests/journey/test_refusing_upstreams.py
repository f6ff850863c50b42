"""Upstreams that answer REFUSED or SERVFAIL to everything: the log says so, once."""

from __future__ import annotations

import re
from collections.abc import Callable

import dns.rcode
import pytest

from .support.client import ask, data
from .support.commands import fastdns
from .support.daemon import Fastdns
from .support.false_upstream import Asked, Behaviour, FalseUpstream, answer_a

Start = Callable[..., Fastdns]
QUESTIONS = 8


def say(rcode: str) -> Behaviour:
    def behave(asked: Asked) -> None:
        asked.answer(rcode=rcode)

    return behave


def lines(daemon: Fastdns, text: str) -> list[str]:
    return [line for line in daemon.log if text in line]


@pytest.mark.parametrize(("scheme", "rcode"), [("", "REFUSED"), ("tcp://", "SERVFAIL")])
def test_only_upstream_that_refuses_everything_is_named_once_and_again_when_that_ends(
    start_fastdns: Start, rcode: str, scheme: str
) -> None:
    with FalseUpstream(say(rcode)) as upstream:
        name = f"{scheme}{upstream.host}:{upstream.port}"
        daemon = start_fastdns(upstream=[name])
        for _ in range(QUESTIONS):
            assert ask(daemon, upstream.new_name()).rcode() == dns.rcode.from_text(rcode)
        told = daemon.wait_for_log(f"WARNING: upstream {name} answers {rcode} to everything: (.*)")
        assert "name another resolver" in told[1]
        for _ in range(QUESTIONS):
            ask(daemon, upstream.new_name())

        upstream.otherwise = answer_a
        daemon.wait_for_log(f"INFO: upstream {name} answers well again")

        assert len(lines(daemon, "to everything")) == 1


def test_upstream_that_refuses_beside_one_that_answers_is_named(start_fastdns: Start) -> None:
    with FalseUpstream(say("REFUSED")) as refusing, FalseUpstream() as good:
        daemon = start_fastdns(upstream=[refusing, good])
        for _ in range(QUESTIONS):
            assert data(ask(daemon, good.new_name())) == ["192.0.2.1"]

        daemon.wait_for_log(f"upstream 127.0.0.1:{refusing.port} answers REFUSED to everything")

        assert len(lines(daemon, "to everything")) == 1


def test_commands_say_so_whichever_worker_has_found_it(start_fastdns: Start) -> None:
    with FalseUpstream(say("REFUSED")) as refusing:
        daemon = start_fastdns(upstream=[refusing], workers=2)
        where = ("--state", str(daemon.state_dir))
        for _ in range(6 * QUESTIONS):  # each from a port of its own
            ask(daemon, refusing.new_name())
        daemon.wait_for_log("answers REFUSED to everything")
        name = f"127.0.0.1:{refusing.port}"

        seen = fastdns("status", *where).stdout
        assert f"{name}  answers REFUSED, " in seen
        assert f"warnings     upstream {name} answers REFUSED to everything" in seen
        assert "none of 1 upstream answers well" in seen
        drawn = fastdns("top", "--interval", "0.1", *where).stdout
        assert re.search(rf"^{name} +answers REFUSED ", drawn, re.M)

        refusing.otherwise = answer_a
        daemon.wait_for_log("answers well again")
        assert f"{name}  alive, " in fastdns("status", *where).stdout
        assert len(lines(daemon, "to everything")) == 1
        assert len(lines(daemon, "well again")) == 1


def test_names_that_nobody_can_resolve_are_no_fault_of_their_upstream(start_fastdns: Start) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        for _ in range(QUESTIONS):
            name = upstream.new_name(say("SERVFAIL"))
            assert ask(daemon, name).rcode() == dns.rcode.SERVFAIL

        upstream.wait_for(".")  # it has been asked itself

        assert not lines(daemon, "to everything")


def test_upstream_that_answers_is_asked_nothing_but_what_clients_ask(start_fastdns: Start) -> None:
    with FalseUpstream() as upstream, FalseUpstream(say("REFUSED")) as refusing:
        daemon = start_fastdns(upstream=[upstream])
        other = start_fastdns(upstream=[refusing])
        for _ in range(QUESTIONS):
            ask(daemon, upstream.new_name())
            ask(other, refusing.new_name())

        other.wait_for_log("to everything")  # by then the other one has looked, too

        assert not upstream.asked(".")
