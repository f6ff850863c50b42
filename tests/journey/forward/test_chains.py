"""An answer of one group that ends in a CNAME to a name of another: that group has the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset
import pytest

from ..support.client import ask
from ..support.daemon import Fastdns, address_of
from ..support.false_upstream import SOA, FalseUpstream, silence

Start = Callable[..., Fastdns]


@pytest.fixture
def corp() -> Iterator[FalseUpstream]:
    with FalseUpstream() as upstream:
        yield upstream


@pytest.fixture
def daemon(start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream) -> Fastdns:
    """One for which names under corp.demo, and no others, belong to a group."""
    return start_fastdns(upstream=[default], config=config(corp))


def config(corp: FalseUpstream) -> str:
    return (
        '[[forward]]\nname = "corp"\ndomains = ["corp.demo"]\ntimeout = "0.2s"\n'
        f'servers = ["{address_of(corp)}"]\n[cache]\nfailure_ttl = "1s"\n'
    )


def records(answer: dns.message.Message) -> list[tuple[str, int, str]]:
    """Each record of the answer section: owner, TTL, data."""
    return [(str(rrset.name), rrset.ttl, str(rdata)) for rrset in answer.answer for rdata in rrset]


def cname(to: str, ttl: int = 60) -> Callable[..., None]:
    return lambda asked: asked.answer(f"@ {ttl} IN CNAME {to}")


def test_target_is_asked_for_in_its_own_group_and_the_chain_is_joined_and_kept(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.on("www.corp.demo", cname("cdn.example."))
    for _ in range(2):
        answer = ask(daemon, "WWW.corp.demo")
        assert answer.rcode() == dns.rcode.NOERROR
        assert [(name.lower(), data) for name, _, data in records(answer)] == [
            ("www.corp.demo.", "cdn.example."),
            ("cdn.example.", "192.0.2.1"),
        ]
        assert {ttl for _, ttl, _ in records(answer)} <= {60, 59, 300, 299}
    assert len(corp.asked("www.corp.demo")) == len(default.asked("cdn.example")) == 1
    assert not corp.asked("cdn.example")
    assert not default.asked("www.corp.demo")


def test_target_in_a_group_is_asked_for_there_when_the_default_group_lacks_it(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    default.on(
        "www.example",
        lambda asked: asked.answer(
            "@ 60 IN CNAME app.corp.demo.", authority=[SOA], rcode="NXDOMAIN"
        ),
    )
    answer = ask(daemon, "www.example")
    assert answer.rcode() == dns.rcode.NOERROR
    assert [data for *_, data in records(answer)] == ["app.corp.demo.", "192.0.2.1"]
    assert not answer.authority
    assert not default.asked("app.corp.demo")


def test_answer_that_has_the_records_of_its_target_is_told_as_it_is(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.on(
        "www.corp.demo",
        lambda asked: asked.answer("@ 60 IN CNAME cdn.example.", "cdn.example. 60 IN A 192.0.2.77"),
    )
    assert records(ask(daemon, "www.corp.demo"))[-1][2] == "192.0.2.77"
    assert not default.asked("cdn.example")


def test_question_for_the_cname_itself_is_not_followed(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.on("www.corp.demo", cname("cdn.example."))
    assert [data for *_, data in records(ask(daemon, "www.corp.demo", "CNAME"))] == ["cdn.example."]
    assert not default.asked("cdn.example")


@pytest.mark.parametrize("rcode", ["NOERROR", "NXDOMAIN"])
def test_denial_of_the_target_is_the_end_of_the_answer(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream, rcode: str
) -> None:
    corp.on("www.corp.demo", cname("gone.example."))
    soa = SOA.replace("demo.", "example.", 1)
    default.on("gone.example", lambda asked: asked.answer(authority=[soa], rcode=rcode))
    for _ in range(2):
        answer = ask(daemon, "www.corp.demo")
        assert dns.rcode.to_text(answer.rcode()) == rcode
        assert [data for *_, data in records(answer)] == ["gone.example."]
        assert [str(one.name) for one in answer.authority] == ["example."]
    assert len(corp.asked("www.corp.demo")) == len(default.asked("gone.example")) == 1


def test_target_that_memory_has_is_taken_from_there_with_its_age(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    ask(daemon, "cdn.example")
    corp.on("www.corp.demo", cname("cdn.example.", 3600))
    answer = ask(daemon, "www.corp.demo")
    assert records(answer)[1][1] <= 300
    assert len(default.asked("cdn.example")) == 1
    assert [data for *_, data in records(ask(daemon, "www.corp.demo"))] == [
        *("cdn.example.", "192.0.2.1")
    ]
    assert len(corp.asked("www.corp.demo")) == 1


def test_chain_that_goes_back_and_forth_is_followed_and_a_loop_is_a_failure(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.on("a.corp.demo", cname("b.example."))
    default.on("b.example", cname("c.corp.demo."))
    corp.on("c.corp.demo", cname("d.example."))
    answer = ask(daemon, "a.corp.demo")
    assert [data for *_, data in records(answer)] == [
        *("b.example.", "c.corp.demo.", "d.example.", "192.0.2.1")
    ]
    corp.on("x.corp.demo", cname("y.example."))
    default.on("y.example", cname("x.corp.demo."))
    assert ask(daemon, "x.corp.demo").rcode() == dns.rcode.SERVFAIL
    assert len(corp.asked("x.corp.demo")) == 1


def test_chain_without_an_end_is_a_failure_after_eight_names(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    for number in range(0, 40, 2):
        corp.on(f"n{number}.corp.demo", cname(f"n{number + 1}.example."))
        default.on(f"n{number + 1}.example", cname(f"n{number + 2}.corp.demo."))
    assert ask(daemon, "n0.corp.demo").rcode() == dns.rcode.SERVFAIL
    assert not default.asked("n11.example")


def test_dead_group_of_the_target_is_a_failure_in_time_and_later_it_is_answered(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    default.on("www.example", cname("app.corp.demo."))
    corp.on("app.corp.demo", silence)
    answer = ask(daemon, "www.example")
    assert (answer.rcode(), records(answer)) == (dns.rcode.SERVFAIL, [])
    assert answer.question[0].name.to_text() == "www.example."
    corp.on("app.corp.demo", lambda asked: asked.answer("@ 300 IN A 10.0.0.7"))
    for _ in range(40):
        answer = ask(daemon, "www.example")
        if answer.rcode() == dns.rcode.NOERROR:
            break
    assert ask(daemon, "www.other.example").rcode() == dns.rcode.NOERROR


def test_error_about_the_target_is_told_as_a_failure_of_what_was_asked(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.on("www.corp.demo", cname("bad.example."))
    default.on("bad.example", lambda asked: asked.answer(rcode="REFUSED"))
    answer = ask(daemon, "www.corp.demo")
    assert answer.rcode() == dns.rcode.SERVFAIL
    assert answer.question[0].name.to_text() == "www.corp.demo."


def test_large_rest_comes_over_tcp(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.on("www.corp.demo", cname("large.example."))
    lines = [f'@ 300 IN TXT "{number:0200}"' for number in range(20)]
    default.on("large.example", lambda asked: asked.answer(*lines))
    answer = ask(daemon, "www.corp.demo", "TXT", tcp=True)
    assert len(records(answer)) == 21


def test_joined_answer_survives_a_restart(
    tmp_path: Path, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.on("www.corp.demo", cname("cdn.example.", 3600))
    for _ in range(2):
        with Fastdns(tmp_path / "state", upstream=[default], config=config(corp)) as daemon:
            for _ in range(3):
                assert len(records(ask(daemon, "www.corp.demo"))) == 2
    assert len(corp.asked("www.corp.demo")) == 1
