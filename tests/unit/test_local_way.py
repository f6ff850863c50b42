"""The owner's own names on the way of a query: before upstreams, special names and groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest
from messages import Front, address, good, key, query, reply
from test_local import built

from fastdns._domains import DomainSet, DomainSetBuilder
from fastdns._local import local_answer
from fastdns._policy import ZONE_VERDICT, Policy, value_of_domain
from fastdns.config.names import parse_name

Use = Callable[..., None]


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(tmp_path, stale=1000)


@pytest.fixture
def use(front: Front) -> Use:
    """Give the front records, an own domain, and domains of groups."""

    def use_policy(*lines: str, domain: str = "", ask_upstream: str = "") -> None:
        builder = DomainSetBuilder()
        if domain:
            builder.add(parse_name(domain), value_of_domain(0, ZONE_VERDICT))
        if ask_upstream:
            builder.add(parse_name(ask_upstream), value_of_domain(0))
        domains = DomainSet(builder.compile()) if len(builder) else None
        front.cache.use_policy(Policy(domains=domains, local=built(*lines)))

    return use_policy


def asked(front: Front, name: str, rtype: int = 1, **knobs: int) -> dns.message.Message:
    wire = front.ask(query(name, rtype, **knobs))
    assert wire is not None
    return dns.message.from_wire(wire)


def told(message: dns.message.Message) -> list[str]:
    return [str(rdata) for rrset in message.answer for rdata in rrset]


def test_answer_is_authoritative_and_the_next_one_a_hit(front: Front, use: Use) -> None:
    use("nas.lan 300 A 192.0.2.1")
    for name in ("nas.lan", "NAS.lan", "nas.LAN"):
        answer = asked(front, name)
        assert told(answer) == ["192.0.2.1"]
        assert str(answer.question[0].name) == f"{name}."
        assert answer.flags == dns.flags.from_text("QR AA RD RA")
    assert front.count("cache_hits_total") == 2
    assert front.missed() == []
    assert front.ring.used == 0


def test_other_types_have_no_data_and_other_names_are_asked_for(front: Front, use: Use) -> None:
    use("nas.lan 300 A 192.0.2.1")
    answer = asked(front, "nas.lan", 28)
    assert (answer.rcode(), told(answer)) == (0, [])
    assert str(answer.authority[0].name) == "nas.lan."
    for name in ("lan", "other.lan", "x.nas.lan"):
        assert front.ask(query(name)) is None
        assert front.missed()[-1] == key(name)


def test_records_come_before_special_names_and_are_class_in(front: Front, use: Use) -> None:
    use("1.1.168.192.in-addr.arpa 60 PTR nas.lan.", "x.invalid 60 A 192.0.2.1")
    assert told(asked(front, "1.1.168.192.in-addr.arpa", 12)) == ["nas.lan."]
    assert told(asked(front, "x.invalid")) == ["192.0.2.1"]
    assert asked(front, "2.1.168.192.in-addr.arpa", 12).rcode() == dns.rcode.NXDOMAIN
    assert asked(front, "1.168.192.in-addr.arpa", 12).rcode() == 0  # RFC 8020
    assert asked(front, "invalid").rcode() == 0
    assert asked(front, "y.invalid").rcode() == dns.rcode.NXDOMAIN


def test_own_domain_never_leaves(front: Front, use: Use) -> None:
    use("nas.lan 300 A 192.0.2.1", "_http._tcp.nas.lan 60 SRV 0 0 80 nas.lan.", domain="lan")
    for name, rtype, rcode in (
        ("lan", 1, 0),
        ("nas.lan", 28, 0),
        ("_tcp.nas.lan", 33, 0),
        ("no.lan", 1, 3),
        ("x.nas.lan", 1, 3),
        ("no.lan", 43, 3),
    ):
        answer = asked(front, name, rtype)
        assert (answer.rcode(), told(answer)) == (rcode, []), name
        assert str(answer.authority[0].name) == "lan.", name
        assert answer.flags & dns.flags.AA
    assert front.missed() == []


def test_special_name_may_be_given_to_upstreams(front: Front, use: Use) -> None:
    use(ask_upstream="home.arpa")
    assert front.ask(query("nas.home.arpa")) is None
    assert front.missed() == [key("nas.home.arpa")]
    assert asked(front, "nas.local").rcode() == dns.rcode.NXDOMAIN


def test_cname_to_another_name_is_asked_for_and_the_whole_is_a_hit(front: Front, use: Use) -> None:
    use("safe.lan 60 CNAME www.example.", "www.lan 60 CNAME safe.lan.")
    assert front.ask(query("www.lan")) is None
    assert front.missed() == [key("www.example")]
    message = dns.message.from_wire(front.answered(reply(address(), qname="www.example")))
    assert told(message) == ["safe.lan.", "www.example.", "192.0.2.1"]
    assert message.flags & dns.flags.AA
    assert told(asked(front, "www.lan")) == told(message)
    assert front.count("cache_hits_total") == 1
    assert told(asked(front, "safe.lan")) == ["www.example.", "192.0.2.1"]
    assert front.missed() == []
    assert told(asked(front, "www.lan", flags=0)) == told(message)


def test_without_rd_a_cname_is_told_alone(front: Front, use: Use) -> None:
    use("safe.lan 60 CNAME www.example.")
    assert told(asked(front, "safe.lan", flags=0)) == ["www.example."]
    assert front.missed() == []
    assert front.ask(query("safe.lan")) is None  # what that one was told is not cached
    assert front.missed() == [key("www.example")]


def test_cname_to_what_cannot_be_asked_is_told_with_what_is_known(front: Front, use: Use) -> None:
    use("a.lan 60 CNAME nowhere.invalid.")
    assert told(asked(front, "a.lan")) == ["nowhere.invalid."]


def test_failure_behind_a_cname_is_told_and_remembered_for_a_while(front: Front, use: Use) -> None:
    use("safe.lan 60 CNAME www.example.")
    assert front.ask(query("safe.lan")) is None
    front.fail()
    wire = front.heard()
    assert wire is not None
    failure = dns.message.from_wire(wire)
    assert failure.rcode() == dns.rcode.SERVFAIL
    assert not failure.flags & dns.flags.AA
    assert front.ask(query("safe.lan")) == wire
    use("safe.lan 60 CNAME other.example.")
    assert front.ask(query("safe.lan")) is None


def test_stale_answer_about_the_target_is_told_with_the_cname_and_held(
    front: Front, use: Use
) -> None:
    use("safe.lan 60 CNAME www.example.")
    front.keep(good(300), age_ms=400_000)
    assert front.ask(query("safe.lan")) is None
    front.fail()
    wire = front.heard()
    assert wire is not None
    assert told(dns.message.from_wire(wire)) == ["www.example.", "192.0.2.1"]
    assert {rrset.ttl for rrset in dns.message.from_wire(wire).answer} == {30}
    assert front.missed() == []
    assert front.ask(query("safe.lan")) == wire
    assert front.missed() == []


def test_in_an_outage_what_is_stale_about_the_target_is_told_at_once(
    front: Front, use: Use
) -> None:
    use("safe.lan 60 CNAME www.example.")
    front.keep(good(300), age_ms=400_000)
    front.group.use([])
    assert told(asked(front, "safe.lan")) == ["www.example.", "192.0.2.1"]


def test_change_of_the_records_is_seen_at_once(front: Front, use: Use) -> None:
    use("nas.lan 300 A 192.0.2.1")
    assert told(asked(front, "nas.lan")) == ["192.0.2.1"]
    use("nas.lan 300 A 192.0.2.2", domain="lan")
    assert told(asked(front, "nas.lan")) == ["192.0.2.2"]
    use(domain="lan")
    assert asked(front, "nas.lan").rcode() == dns.rcode.NXDOMAIN
    use()
    assert front.ask(query("nas.lan")) is None


def test_record_takes_the_place_of_what_was_cached(front: Front, use: Use) -> None:
    use()
    assert front.ask(query("www.example")) is None
    front.answered(reply(address(), qname="www.example"))
    assert told(asked(front, "www.example")) == ["192.0.2.1"]
    use("www.example 60 A 10.0.0.1")
    assert told(asked(front, "www.example")) == ["10.0.0.1"]


def test_record_is_made_anew_and_never_stale(front: Front, use: Use) -> None:
    use("nas.lan 1 A 192.0.2.1")
    front.keep(
        local_answer(built("nas.lan 1 A 192.0.2.9"), key("nas.lan"), 2)[0],
        key("nas.lan"),
        age_ms=5000,
    )
    assert told(asked(front, "nas.lan")) == ["192.0.2.1"]
    assert front.count("cache_stale_total") == 0


def test_large_answer_is_whole_over_a_stream(front: Front, use: Use) -> None:
    use(*(f"many.lan 60 A 10.0.{number >> 8}.{number & 255}" for number in range(500)))
    assert len(told(asked(front, "many.lan"))) == 500
