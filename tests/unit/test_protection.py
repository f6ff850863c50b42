"""Forged and private addresses are found in any answer, as a plain search finds them."""

from __future__ import annotations

import ipaddress
import random

from messages import AAAA, CNAME, A, key, name, record, reply

from fastdns._domains import DomainSet, DomainSetBuilder
from fastdns._policy import Policy
from fastdns._protection import Protection
from fastdns.policy.protection import spans

HTTPS = 65
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PRIVATE_V4 = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16"
)
PRIVATE_V6 = "fc00::/7 fe80::/10 fec0::/10"
HOLDERS = ("::", "::ffff:0:0", "64:ff9b::")  # of an IPv4 address in the last 32 bits
PRIVATE = [ipaddress.ip_network(one) for one in (PRIVATE_V4 + " " + PRIVATE_V6).split()]


def some_address(chance: random.Random) -> Address:
    """One at the edge of a private network, in another form, or anywhere."""
    network = chance.choice(PRIVATE)
    edges = (
        network[0],
        network[-1],
        network[0] - 1 if int(network[0]) else network[0],
        network[-1] + 1,
    )
    found = chance.choice(edges)
    if found.version == 4 and chance.random() < 0.4:
        holder = int(ipaddress.IPv6Address(chance.choice((*HOLDERS, "2001:db8::"))))
        return ipaddress.IPv6Address(holder + int(found))
    if chance.random() < 0.3:
        return ipaddress.IPv4Address(chance.randbytes(4))
    return found


def is_private(address: Address) -> bool:
    if address.version == 6:
        for holder in HOLDERS:
            if int(address) >> 32 == int(ipaddress.IPv6Address(holder)) >> 32:
                address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
                break
    return any(address in network for network in PRIVATE)


def told(address: Address) -> bytes:
    """A record that has the address: of its own, or as a hint."""
    return record(A if address.version == 4 else AAAA, address.packed, owner=name("last.example"))


def hint(address: Address) -> bytes:
    number = 4 if address.version == 4 else 6
    return number.to_bytes(2, "big") + len(address.packed).to_bytes(2, "big") + address.packed


def test_any_answer_is_judged_as_by_a_plain_search() -> None:
    chance = random.Random(1918)
    allow = DomainSetBuilder()
    allow.add(name("ok.example"), 1)
    allowed = DomainSet(allow.compile())
    verdicts = set()
    for _ in range(2500):
        bogus: list[Network] = [
            ipaddress.ip_network((some_address(chance), chance.randrange(20, 33)), strict=False)
            for _ in range(chance.randrange(3))
        ]
        policy = Policy(
            protection=Protection(
                rebind=chance.random() < 0.7, rebind_allow=allowed, bogus=spans(bogus)
            )
        )
        qname = chance.choice(("www.example", "ok.example", "a.ok.example"))
        found = [some_address(chance) for _ in range(chance.randrange(1, 4))]
        if chance.random() < 0.3:
            rdata = b"\0\1\0" + b"".join(map(hint, sorted(found, key=lambda one: one.version)))
            wire, asked = reply(record(HTTPS, rdata), qname=qname, qtype=HTTPS), HTTPS
        else:
            records = (record(CNAME, name("last.example")), *map(told, found))
            wire, asked = reply(*records, qname=qname), A
        result = policy.inspect(key(qname, asked), wire)
        wanted = None
        if any(number(net[0]) <= number(one) <= number(net[-1]) for one in found for net in bogus):
            wanted = "ignore"
        elif policy.protection.rebind and "ok" not in qname and any(map(is_private, found)):
            wanted = "nodata"
        assert (result and result.verdict) == wanted, (found, bogus)
        verdicts.add(wanted)
    assert verdicts == {None, "ignore", "nodata"}


def number(address: Address) -> int:
    """As all addresses are compared: IPv4 as ::ffff:a.b.c.d."""
    return int(address) | (0xFFFF << 32 if address.version == 4 else 0)
