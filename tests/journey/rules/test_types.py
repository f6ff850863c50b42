"""[[rule]]: types that are not given, and IPv6 addresses that are taken out."""

from __future__ import annotations

import json

import dns.flags
import dns.rcode
import dns.rdatatype
import pytest

from ..support.client import ask, data, extended_errors, records
from ..support.daemon import address_of
from ..support.false_upstream import Asked, FalseUpstream, silence
from .conftest import Start

V4, V6 = "192.0.2.1", "2001:db8::1"
BOTH = f'1 . alpn="h2" ipv4hint="{V4}" ipv6hint="{V6}"'
ONLY_V6 = f'2 svc.example. ipv6hint="{V6}" port="8443"'
SOA = "example. 300 IN SOA ns.example. hostmaster.example. 1 7200 3600 1209600 300"


def rule(names: str, *settings: str) -> str:
    return "\n".join(["[[rule]]", f"names = {json.dumps(names.split())}", *settings, ""])


def answer_all(asked: Asked) -> None:
    """Answer as a name with both families and HTTPS; v6only… has no IPv4 address."""
    if asked.rdtype == dns.rdatatype.A and "v6only" not in str(asked.name):
        asked.answer(f"@ 300 IN A {V4}")
    elif asked.rdtype == dns.rdatatype.AAAA:
        asked.answer(f"@ 200 IN AAAA {V6}")
    elif asked.rdtype in (dns.rdatatype.HTTPS, dns.rdatatype.SVCB):
        kind = dns.rdatatype.to_text(asked.rdtype)
        asked.answer(f"@ 300 IN {kind} {BOTH}", f"@ 300 IN {kind} {ONLY_V6}")
    else:
        asked.answer(authority=[SOA])


@pytest.fixture
def upstream() -> object:
    with FalseUpstream(answer_all) as server:
        yield server


def asked_types(upstream: FalseUpstream, name: str) -> list[str]:
    """The types that it was asked for, in their order; a busy machine repeats a query."""
    types = [dns.rdatatype.to_text(one.rdtype) for one in upstream.asked(name)]
    return [one for one, before in zip(types, [None, *types], strict=False) if one != before]


def assert_no_data(answer: dns.message.Message) -> None:
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer
    assert [dns.rdatatype.to_text(one.rdtype) for one in answer.authority] == ["SOA"]


def test_blocked_types_are_answered_here_and_cached(start: Start, upstream: FalseUpstream) -> None:
    daemon = start(rule("*.example", 'block_types = ["HTTPS", "TYPE64", "mx"]'))
    for rdtype in ("HTTPS", "SVCB", "MX", "HTTPS"):
        answer = ask(daemon, "www.example", rdtype)
        assert_no_data(answer)
        assert extended_errors(answer) == [15]
    assert not upstream.asked()
    assert daemon.counter("cache_hits_total") == 1
    assert data(ask(daemon, "www.example", "AAAA")) == [V6]
    assert data(ask(daemon, "www.other.demo", "HTTPS"))


def test_aaaa_never_leaves_ipv4_alone(start: Start, upstream: FalseUpstream) -> None:
    daemon = start(rule("*", 'aaaa = "never"'))
    answer = ask(daemon, "www.example", "AAAA")
    assert_no_data(answer)
    assert extended_errors(answer) == [15]
    assert data(ask(daemon, "www.example")) == [V4]
    assert asked_types(upstream, "www.example") == ["A"]


@pytest.mark.parametrize("rdtype", ["HTTPS", "SVCB"])
@pytest.mark.parametrize(
    ("aaaa", "wanted"),
    [
        ("never", [f'1 . alpn="h2" ipv4hint="{V4}"', '2 svc.example. port="8443"']),
        (
            "if-no-a",
            [f'1 . alpn="h2" ipv4hint="{V4}"', f'2 svc.example. port="8443" ipv6hint="{V6}"'],
        ),
    ],
)
def test_ipv6_hints_are_taken_out(start: Start, rdtype: str, aaaa: str, wanted: list[str]) -> None:
    daemon = start(rule("*.example", f'aaaa = "{aaaa}"'))
    for _ in range(2):  # then from memory
        assert sorted(data(ask(daemon, "www.example", rdtype))) == wanted
        assert sorted(data(ask(daemon, "www.example", rdtype, tcp=True, do=True))) == wanted
    assert any("ipv6hint" in one for one in data(ask(daemon, "www.demo", rdtype)))


def test_records_beside_services_stay_as_they_are(start: Start, upstream: FalseUpstream) -> None:
    upstream.otherwise = lambda asked: asked.answer(
        "@ 300 IN CNAME svc.example.",
        f"svc.example. 300 IN HTTPS {BOTH}",
        additional=["svc.example. 300 IN A 192.0.2.7"],
    )
    daemon = start(rule("*.example", 'aaaa = "never"'))
    answer = ask(daemon, "www.example", "HTTPS")
    assert data(answer) == ["svc.example.", f'1 . alpn="h2" ipv4hint="{V4}"']
    assert [one[3] for one in records(answer.additional)] == ["192.0.2.7"]


def test_if_no_a_gives_ipv6_only_to_names_without_ipv4(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon = start(rule("*.example", 'aaaa = "if-no-a"'))
    for _ in range(2):
        answer = ask(daemon, "www.example", "AAAA")
        assert_no_data(answer)
        assert extended_errors(answer) == [15]
        assert data(ask(daemon, "v6only.example", "AAAA")) == [V6]
    assert asked_types(upstream, "www.example") == ["AAAA", "A"]
    assert asked_types(upstream, "v6only.example") == ["AAAA", "A"]
    assert data(ask(daemon, "www.example")) == [V4]  # cached meanwhile
    assert asked_types(upstream, "www.example") == ["AAAA", "A"]


def test_if_no_a_uses_what_is_cached(start: Start, upstream: FalseUpstream) -> None:
    daemon = start(rule("*.example", 'aaaa = "if-no-a"'))
    ask(daemon, "www.example")
    assert_no_data(ask(daemon, "www.example", "AAAA"))
    assert asked_types(upstream, "www.example") == ["A", "AAAA"]


def test_if_no_a_asks_nothing_more_about_a_name_without_ipv6(
    start: Start, upstream: FalseUpstream
) -> None:
    upstream.otherwise = lambda asked: asked.answer(authority=[SOA])
    daemon = start(rule("*.example", 'aaaa = "if-no-a"'))
    assert_no_data(ask(daemon, "www.example", "AAAA"))
    assert asked_types(upstream, "www.example") == ["AAAA"]


def test_if_no_a_fails_while_nothing_is_known_of_ipv4(
    start: Start, upstream: FalseUpstream
) -> None:
    def answer(asked: Asked) -> None:
        (silence if asked.rdtype == dns.rdatatype.A else answer_all)(asked)

    upstream.otherwise = answer
    daemon = start('[upstream]\ntimeout = "200ms"\n' + rule("*.example", 'aaaa = "if-no-a"'))
    assert ask(daemon, "www.example", "AAAA").rcode() == dns.rcode.SERVFAIL


def test_if_no_a_follows_a_chain_into_a_group(
    start_fastdns: object, upstream: FalseUpstream
) -> None:
    with FalseUpstream(answer_all) as corp:
        upstream.otherwise = lambda asked: asked.answer("@ 300 IN CNAME www.corp.demo.")
        daemon = start_fastdns(
            upstream=[upstream],
            config=rule("*.example", 'aaaa = "if-no-a"')
            + '[[forward]]\nname = "corp"\ndomains = ["corp.demo"]\n'
            + f'servers = ["{address_of(corp)}"]\n',
        )
        upstream.on(
            "both.example",
            lambda asked: asked.answer(
                f"@ 300 IN A {V4}"
                if asked.rdtype == dns.rdatatype.A
                else "@ 300 IN CNAME www.corp.demo."
            ),
        )
        assert_no_data(ask(daemon, "both.example", "AAAA"))
        assert_no_data(ask(daemon, "both.example", "AAAA"))
        assert_no_data(ask(daemon, "www.example", "AAAA"))  # the group has an IPv4 address
        upstream.otherwise = lambda asked: asked.answer("@ 300 IN CNAME v6only.corp.demo.")
        for _ in range(2):
            alone = ask(daemon, "other.example", "AAAA")
            assert data(alone) == ["v6only.corp.demo.", V6]


def test_change_of_aaaa_leaves_other_types_alone(start: Start, upstream: FalseUpstream) -> None:
    daemon = start("# no rules\n")
    for rdtype in ["A", "AAAA", "HTTPS", "MX"] * 2:
        ask(daemon, "www.example", rdtype)
    assert asked_types(upstream, "www.example") == ["A", "AAAA", "HTTPS", "MX"]
    daemon.configure(rule("*.example", 'aaaa = "never"'))
    assert daemon.reload().returncode == 0
    for rdtype in ("A", "AAAA", "HTTPS", "MX"):
        ask(daemon, "www.example", rdtype)
    assert asked_types(upstream, "www.example")[4:] == ["HTTPS"]


def test_any_is_answered_with_one_record(start: Start, upstream: FalseUpstream) -> None:
    daemon = start("")
    for edns in (True, False):
        answer = ask(daemon, "www.example", "ANY", edns=edns)
        assert [(str(one.name), one[0].to_text()) for one in answer.answer] == [
            ("www.example.", '"RFC8482" ""')
        ]
    assert not upstream.asked()


def test_any_is_sent_upstream_where_that_is_wanted(start: Start, upstream: FalseUpstream) -> None:
    upstream.otherwise = lambda asked: asked.answer("@ 300 IN A 192.0.2.1", '@ 300 IN TXT "x"')
    daemon = start("[protect]\nminimal_any = false\n")
    assert len(data(ask(daemon, "www.example", "ANY"))) == 2
    daemon.configure("")
    assert daemon.reload().returncode == 0
    assert data(ask(daemon, "www.example", "ANY")) == ['"RFC8482" ""']
