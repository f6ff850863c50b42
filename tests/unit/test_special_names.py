"""Names that fastdns answers itself: RFC 6761, RFC 6303, RFC 7686, RFC 7793, RFC 9462."""

from __future__ import annotations

import socket
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import pytest
from messages import Front, key, query

from fastdns._special_names import special_answer

NODATA, NXDOMAIN = "NODATA", "NXDOMAIN"
ZERO = ".".join("0" * 32) + ".ip6.arpa"
ONE = "1." + ".".join("0" * 31) + ".ip6.arpa"


def told(qname: str, qtype: str = "A") -> list[str] | str | None:
    """What is answered: RDATA in the answer section, NODATA, NXDOMAIN; None: it is forwarded."""
    answer = special_answer(key(qname, dns.rdatatype.from_text(qtype)))
    if answer is None:
        return None
    message = dns.message.from_wire(answer.message)
    if message.answer:
        assert not message.authority
        return [str(rdata) for rrset in message.answer for rdata in rrset]
    (soa,) = message.authority
    assert soa.rdtype == dns.rdatatype.SOA
    assert soa.ttl == answer.ttl == 10800
    assert dns.name.from_text(qname).is_subdomain(soa.name)
    assert str(soa[0]) == f"{soa.name} nobody.invalid. 1 3600 1200 604800 10800"
    return NXDOMAIN if message.rcode() == dns.rcode.NXDOMAIN else NODATA


@pytest.mark.parametrize("qname", ["localhost", "LocalHost", "www.localhost", "a.b.c.localhost"])
def test_localhost_and_what_is_under_it_is_this_machine(qname: str) -> None:
    assert told(qname) == ["127.0.0.1"]
    assert told(qname, "AAAA") == ["::1"]
    assert told(qname, "ANY")[:2] == ["127.0.0.1", "::1"]
    for qtype in ("TXT", "MX", "HTTPS", "DS", "CNAME", "TYPE65280"):
        assert told(qname, qtype) == NODATA


@pytest.mark.parametrize(
    "qname", ["invalid", "a.invalid", "onion", "x.y.onion", "test", "a.TEST", "local", "x.local"]
)
@pytest.mark.parametrize("qtype", ["A", "AAAA", "SOA", "NS", "DS", "ANY", "TXT"])
def test_names_that_cannot_exist_do_not_exist(qname: str, qtype: str) -> None:
    assert told(qname, qtype) == NXDOMAIN


PRIVATE = [
    *("10.in-addr.arpa", "16.172.in-addr.arpa", "31.172.in-addr.arpa", "168.192.in-addr.arpa"),
    *("0.in-addr.arpa", "254.169.in-addr.arpa", "255.255.255.255.in-addr.arpa"),
    *("2.0.192.in-addr.arpa", "100.51.198.in-addr.arpa", "113.0.203.in-addr.arpa"),
    *("64.100.in-addr.arpa", "127.100.in-addr.arpa", "d.f.ip6.arpa", ZERO),
    *("8.e.f.ip6.arpa", "9.e.f.ip6.arpa", "a.e.f.ip6.arpa", "b.e.f.ip6.arpa"),
    *("8.b.d.0.1.0.0.2.ip6.arpa", "home.arpa"),
]


@pytest.mark.parametrize("zone", PRIVATE)
def test_private_reverse_zones_are_empty_zones(zone: str) -> None:
    soa = f"{zone}. nobody.invalid. 1 3600 1200 604800 10800"
    assert told(zone, "SOA") == [soa]
    assert told(zone, "NS") == [f"{zone}."]
    assert told(zone, "ANY") == [soa, f"{zone}."]
    for qtype in ("PTR", "A", "DNSKEY", "TXT"):
        assert told(zone, qtype) == NODATA
    assert told(zone, "DS") == (None if zone == "home.arpa" else NODATA)
    for below in ("1", "4.3", "no-number", "x.y.z.0.0.0.0.0"):
        for qtype in ("PTR", "SOA", "NS", "DS", "ANY", "A"):
            assert told(f"{below}.{zone}", qtype) == NXDOMAIN


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "172.16.0.1", "172.31.255.254", "192.168.1.1", "169.254.9.9", "100.64.0.1"]
)
def test_private_addresses_have_no_names(host: str) -> None:
    assert told(str(dns.reversename.from_address(host)), "PTR") == NXDOMAIN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.0", "127.53.1.255", "::1"])
def test_addresses_of_loopback_are_localhost(host: str) -> None:
    qname = str(dns.reversename.from_address(host))
    assert told(qname, "PTR") == ["localhost."]
    assert "localhost." in told(qname, "ANY")
    assert told(qname, "A") == NODATA
    assert told(f"x.{qname}", "PTR") == NXDOMAIN


def test_names_above_an_address_of_loopback_exist() -> None:
    """RFC 8020: a resolver would conclude that there is nothing below."""
    for qname in ("127.in-addr.arpa", "0.127.in-addr.arpa", "0.0.127.in-addr.arpa"):
        assert told(qname, "PTR") == NODATA
    for qname in ("256.127.in-addr.arpa", "00.127.in-addr.arpa", "x.0.127.in-addr.arpa"):
        assert told(qname, "PTR") == NXDOMAIN


@pytest.mark.parametrize("qname", ["resolver.arpa", "_dns.resolver.arpa"])
def test_there_is_no_designated_resolver(qname: str) -> None:
    assert told(qname, "SVCB") == NODATA


@pytest.mark.parametrize(
    "qname",
    [
        *(".", "example.com", "x1.testing", "example", "localdomain", "onion.example", "nas.lan"),
        *("xtest", "tes", "locals", "xhome.arpa", "arpa", "in-addr.arpa", "ip6.arpa", "uri.arpa"),
        *("localhost.example", "localhost.localdomain", "xlocalhost", "myinvalid", "onions"),
        *("8.8.8.8.in-addr.arpa", "1.0.0.11.in-addr.arpa", "15.172.in-addr.arpa", "a.in-addr.arpa"),
        *("32.172.in-addr.arpa", "172.in-addr.arpa", "192.in-addr.arpa", "167.192.in-addr.arpa"),
        *("63.100.in-addr.arpa", "128.100.in-addr.arpa", "010.in-addr.arpa"),
        *("254.255.in-addr.arpa", "255.255.255.in-addr.arpa", "3.0.192.in-addr.arpa"),
        *("0.192.in-addr.arpa", "x10.in-addr.arpa"),
        *("10.in-addr.arpa.example", "10.ip6.arpa", "f.ip6.arpa", "c.f.ip6.arpa", "c.e.f.ip6.arpa"),
        *("7.e.f.ip6.arpa", "1.0.0.2.ip6.arpa", "9.b.d.0.1.0.0.2.ip6.arpa", "0.0.ip6.arpa"),
        "2." + ".".join("0" * 31) + ".ip6.arpa",
    ],
)
@pytest.mark.parametrize("qtype", ["A", "PTR", "DS"])
def test_ordinary_names_are_forwarded(qname: str, qtype: str) -> None:
    assert told(qname, qtype) is None


def test_a_label_that_holds_what_looks_like_a_name_is_no_special_name() -> None:
    tail = b"\0\1\0\1\0\0\0"
    assert special_answer(b"\x0bx\x09localhost\0" + tail) is None
    assert special_answer(b"\x0bx\x09localhost\x09localhost\0" + tail) is not None
    assert special_answer(b"\x06x\x04arpa\0" + tail) is None


def test_other_classes_are_forwarded() -> None:
    assert special_answer(key("localhost", 1, 4)) is None


def test_the_longest_names_fit() -> None:
    for end in ("localhost", "onion", "10.in-addr.arpa", "resolver.arpa"):
        labels, room = [], 253 - len(end) - 1
        while room > 0:
            labels.append("x" * min(63, room))
            room -= len(labels[-1]) + 1
        for qname in (".".join([*labels, end]), ".".join([*["x"] * ((253 - len(end)) // 2), end])):
            for qtype in ("A", "ANY", "TXT", "PTR"):
                assert told(qname, qtype) is not None


@pytest.mark.parametrize("octets", range(0, 25))
def test_keys_of_any_length_are_judged(octets: int) -> None:
    special_answer(b"\x09localhost\0\0\1\0\1\0\0\0"[:octets])
    special_answer(bytes(octets))
    special_answer(b"\xff" * octets)
    special_answer(b"t" * octets)


# ---- on their way


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(tmp_path)


def test_second_query_is_a_hit_with_its_own_spelling(front: Front) -> None:
    front.ask(query("localhost"))
    answer = dns.message.from_wire(front.ask(query("LOCALhost", message_id=7)))

    assert (answer.id, str(answer.question[0].name)) == (7, "LOCALhost.")
    assert front.count("cache_hits_total") == 1
    assert front.missed() == []


def test_it_is_our_own_word_and_no_upstreams(front: Front) -> None:
    for _ in range(2):
        answer = dns.message.from_wire(front.ask(query("localhost")))
        assert answer.flags == dns.flags.from_text("QR AA RD RA")


def test_it_is_told_to_clients_that_want_no_recursion(front: Front) -> None:
    answer = dns.message.from_wire(front.ask(query("localhost", flags=0)))
    assert answer.flags == dns.flags.from_text("QR AA RA")


def test_it_never_goes_towards_the_disk_and_is_never_renewed(front: Front) -> None:
    front.ask(query("localhost"))
    answer = special_answer(key("localhost"))
    front.keep(answer, key("localhost"), age_ms=10_799_000)

    response = dns.message.from_wire(front.ask(query("localhost")))

    assert response.answer[0].ttl in (0, 1)
    assert front.refreshed == []
    assert front.ring.used == 0


def test_over_udp_a_batch_mixes_with_ordinary_names(front: Front) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        for qname in ("localhost", "www.example", "a.onion", "other.example"):
            client.send(query(qname))
        front.fastpath.drain(server.fileno())
        first = dns.message.from_wire(client.recv(512, socket.MSG_DONTWAIT))
        second = dns.message.from_wire(client.recv(512, socket.MSG_DONTWAIT))
    assert str(first.answer[0][0]) == "127.0.0.1"
    assert second.rcode() == dns.rcode.NXDOMAIN
    assert len(front.missed()) == 2
