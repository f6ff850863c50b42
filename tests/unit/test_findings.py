"""The data of a reply for policy: the names of its chain, and its addresses."""

from __future__ import annotations

from ipaddress import ip_address

from messages import (
    AAAA,
    CNAME,
    DNAME,
    ID,
    A,
    key,
    name,
    record,
    reply,
)

from fastdns._answer import Reading

ADDRESSES_MAX = 128


def found(wire: bytes, of: bytes | None = None) -> Reading:
    reading = Reading()
    assert reading.read(wire, ID, key() if of is None else of)
    return reading


def a(address: str, owner: bytes = b"\xc0\x0c") -> bytes:
    return record(A, ip_address(address).packed, owner=owner)


def aaaa(address: str, owner: bytes = b"\xc0\x0c") -> bytes:
    return record(AAAA, ip_address(address).packed, owner=owner)


def mapped(*addresses: str) -> list[bytes]:
    """The addresses as they are found: IPv4 as ::ffff:a.b.c.d."""
    return [
        one.packed if one.version == 6 else bytes(10) + b"\xff\xff" + one.packed
        for one in map(ip_address, addresses)
    ]


def test_plain_answer_has_its_name_and_its_addresses() -> None:
    reading = found(reply(a("192.0.2.1"), a("192.0.2.2")))
    assert reading.chain == [name("www.example")]
    assert reading.addresses == mapped("192.0.2.1", "192.0.2.2")


def test_chain_is_told_in_its_order_and_in_lower_case() -> None:
    reading = found(
        reply(
            record(CNAME, b"\5MIDDL\7eXample\0"),
            record(CNAME, name("last.example"), owner=name("middl.example")),
            a("192.0.2.3", name("last.example")),
        )
    )
    assert reading.chain == [name("www.example"), name("middl.example"), name("last.example")]
    assert reading.addresses == mapped("192.0.2.3")


def test_chain_that_came_in_another_order_is_found_as_it_is_told() -> None:
    reading = found(
        reply(
            a("192.0.2.3", name("last.example")),
            record(CNAME, name("last.example")),
        )
    )
    assert reading.chain == [name("www.example"), name("last.example")]
    assert reading.addresses == mapped("192.0.2.3")


def test_names_that_a_dname_makes_are_in_the_chain() -> None:
    reading = found(
        reply(
            record(DNAME, name("other"), owner=name("example")),
            record(CNAME, name("www.other")),
            a("192.0.2.4", name("www.other")),
        )
    )
    assert {name("www.example"), name("www.other")} <= set(reading.chain)


def test_addresses_of_both_families_are_found() -> None:
    reading = found(reply(aaaa("2001:db8::1"), qtype=AAAA), key(qtype=AAAA))
    assert reading.addresses == mapped("2001:db8::1")


def test_what_does_not_belong_is_not_found() -> None:
    reading = found(
        reply(a("192.0.2.1"), a("10.0.0.1", name("else.demo")), additional=(a("10.0.0.2"),))
    )
    assert reading.chain == [name("www.example")]
    assert reading.addresses == mapped("192.0.2.1")


def test_addresses_are_noted_up_to_a_number() -> None:
    reading = found(reply(*(a(f"192.0.{n // 256}.{n % 256}") for n in range(ADDRESSES_MAX + 50))))
    assert len(reading.addresses) == ADDRESSES_MAX


def test_error_has_the_queried_name_alone() -> None:
    reading = found(reply(flags=0x8183))
    assert (reading.chain, reading.addresses) == ([name("www.example")], [])
