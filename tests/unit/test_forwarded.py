"""Which client a proxy names: addresses as proxies write them, and what is none."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address

import pytest

from fastdns._forwarded import client_of_forwarded
from fastdns.policy.access import compile_proxies


def client(addresses: str) -> str | None:
    proxies = compile_proxies([IPv4Network("127.0.0.0/8"), IPv4Network("192.0.2.1")])
    assert proxies is not None
    found = client_of_forwarded(addresses.encode("latin-1"), proxies)
    if found is None:
        return None
    address = IPv6Address(found)
    return str(address.ipv4_mapped or address)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        (" 2001:db8::7 ", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7, 192.0.2.1,127.0.0.1", "198.51.100.7"),
        ("unknown, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.2, 192.0.2.1", "127.0.0.2"),  # a client on a machine of a proxy
    ],
)
def test_client_is_the_last_address_that_is_no_proxy_s(addresses: str, expected: str) -> None:
    assert client(addresses) == expected


NOBODY = [
    *("", " ", ",", "unknown", "198.51.100.7,", "198.51.100.7, unknown", "198.51.100", "1:2", "["),
    *("[]", "x" * 255, "127.0.0.1, unknown, 192.0.2.1", "198.51.100.7%eth0", "\xff"),
]


@pytest.mark.parametrize("addresses", NOBODY)
def test_what_is_no_address_names_nobody(addresses: str) -> None:
    assert client(addresses) is None
