"""The header in which a proxy says whose connection it passes on: PROXY protocol, version 2."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address

import pytest

from fastdns._proxy_protocol import read_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, UDP4, TCP6, UNIX, UNSAID = 0x11, 0x12, 0x21, 0x31, 0x00
V4 = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack("!HH", 40000, 853)
V6_CLIENT = ip_address("2001:db8::7").packed
V6 = V6_CLIENT + ip_address("2001:db8::1").packed + struct.pack("!HH", 40001, 443)
MAPPED = bytes(10) + b"\xff\xff" + V4[:4]
TLV = b"\x04\0\x03\0\0\0"  # NOOP, to align what follows


def header(command: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    size = len(rest) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + rest


@pytest.mark.parametrize(
    ("octets", "address", "port"),
    [
        (header(PROXY, TCP4, V4), MAPPED, 40000),
        (header(PROXY, UDP4, V4), MAPPED, 40000),
        (header(PROXY, TCP6, V6), V6_CLIENT, 40001),
        (header(PROXY, TCP4, V4 + TLV), MAPPED, 40000),
        (header(PROXY, TCP6, V6 + bytes(520 - 36)), V6_CLIENT, 40001),
    ],
)
def test_header_says_who_the_client_is(octets: bytes, address: bytes, port: int) -> None:
    for more in (b"", b"\x16\x03\x01 what the client says"):
        assert read_proxy_header(octets + more) == (len(octets), address, port)


@pytest.mark.parametrize(
    "octets",
    [
        header(LOCAL, UNSAID, b""),
        header(LOCAL, TCP4, V4),  # the proxy's own connection, whatever it says of addresses
        header(LOCAL, 0xFF, b"x"),
        header(PROXY, UNSAID, b""),
        header(PROXY, UNSAID, TLV),
        header(PROXY, TCP4 & 0xF0, V4),
        header(PROXY, UNIX, bytes(216)),
    ],
)
def test_proxy_that_does_not_say_who_it_is_for_is_the_client(octets: bytes) -> None:
    assert read_proxy_header(octets) == (len(octets), None, 0)


@pytest.mark.parametrize("rest", [V4, V4 + TLV * 5])
def test_header_is_waited_for_until_it_is_whole(rest: bytes) -> None:
    whole = header(PROXY, TCP4, rest)
    assert {read_proxy_header(whole[:length])[0] for length in range(len(whole))} == {0}


@pytest.mark.parametrize(
    "octets",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 853\r\n",  # version 1
        b"\x16\x03\x01",
        b"\0",
        SIGNATURE[:-1] + b"\r",
        header(0x11, TCP4, V4),
        header(0x31, TCP4, V4),
        header(0x22, TCP4, V4),
        header(PROXY, 0x41, V6),
        header(PROXY, 0x13, V4),
        header(PROXY, TCP4, V4[:-1]),
        header(PROXY, TCP6, V6[:-1]),
        header(PROXY, TCP6, V4),
        header(PROXY, TCP4, b"", length=521),
        header(PROXY, TCP4, V4, length=65535),
        header(LOCAL, UNSAID, b"", length=521),
    ],
)
def test_anything_else_is_refused_as_soon_as_it_is_seen(octets: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY protocol"):
        read_proxy_header(octets)


def test_no_mutation_of_a_header_is_read_beyond_its_end() -> None:
    chance = random.Random(16)
    for _ in range(3000):
        octets = bytearray(header(PROXY, chance.choice((TCP4, TCP6, UNSAID)), V6 + TLV))
        for _ in range(chance.randrange(4)):
            octets[chance.randrange(12, len(octets))] = chance.randrange(256)
        del octets[chance.randrange(len(octets) + 1) :]
        try:
            used, address, _ = read_proxy_header(bytes(octets))
        except ValueError:
            continue
        assert used <= len(octets)
        assert used or address is None
