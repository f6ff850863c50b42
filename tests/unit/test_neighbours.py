"""The neighbour table of the kernel, and reverse names: what is read of hostile messages, too."""

from __future__ import annotations

import random
import socket
import struct
from ipaddress import IPv4Network, ip_address, ip_network

import gevent
import pytest
from messages import header, name, question, record

from fastdns._hosts import reverse_of
from fastdns._key import make_key
from fastdns.machine import neighbours
from fastdns.machine.lan import lan_of
from fastdns.machine.neighbours import Neighbour
from fastdns.machine.netlink import InterfaceAddress, Network
from fastdns.policy.views import wide
from fastdns.server.reverse_names import KNOWN_MAX, WANTED_MAX, ReverseNames, names_in

NEW, DEL = 28, 29
REACHABLE, STALE, FAILED, NOARP, PERMANENT = 0x02, 0x04, 0x20, 0x40, 0x80
MAC = bytes.fromhex("020000000001")
FOUR, SIX = socket.AF_INET, socket.AF_INET6
LAPTOP = wide(ip_address("192.0.2.1").packed)
PTR = 12


def told(
    family: int, address: str, mac: bytes = MAC, *, state: int = REACHABLE, link: int = 7, flags=0
) -> bytes:
    """The body of a message of the kernel."""
    body = struct.pack("=BxxxiHBB", family, link, state, flags, 1)
    for kind, octets in ((1, ip_address(address).packed), (2, mac)):
        if octets:
            body += struct.pack("=HH", 4 + len(octets), kind) + octets + bytes(-len(octets) % 4)
    return body


def test_neighbour_has_an_address_and_a_hardware_address() -> None:
    one = neighbours._neighbour(NEW, told(FOUR, "192.0.2.1"))
    assert one == Neighbour(LAPTOP, 0, MAC)
    one = neighbours._neighbour(NEW, told(SIX, "fe80::1", state=PERMANENT))
    assert one == Neighbour(ip_address("fe80::1").packed, 7, MAC)
    one = neighbours._neighbour(NEW, told(SIX, "2001:db8::1", state=STALE))
    assert one == Neighbour(ip_address("2001:db8::1").packed, 0, MAC)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (DEL, told(FOUR, "192.0.2.1")),
        (NEW, told(FOUR, "192.0.2.1", state=FAILED)),
        (NEW, told(FOUR, "192.0.2.1", state=NOARP)),
        (NEW, told(FOUR, "192.0.2.1", b"")),
        (NEW, told(FOUR, "192.0.2.1", bytes(6))),
        (NEW, told(FOUR, "192.0.2.1", MAC + MAC)),
    ],
)
def test_neighbour_that_is_gone_or_has_no_hardware_address_has_none(kind: int, body: bytes) -> None:
    assert neighbours._neighbour(kind, body) == Neighbour(LAPTOP, 0, None)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (24, told(FOUR, "192.0.2.1")),
        (NEW, told(SIX, "192.0.2.1")),
        (NEW, told(7, "192.0.2.1")),
        (NEW, told(FOUR, "192.0.2.1", flags=0x08)),
        (NEW, b""),
        (NEW, bytes(12)),
    ],
)
def test_other_messages_are_no_neighbours(kind: int, body: bytes) -> None:
    assert neighbours._neighbour(kind, body) is None


def test_cut_off_and_random_messages_are_read_to_their_end_only() -> None:
    chance = random.Random(5)
    whole = told(FOUR, "192.0.2.1")
    for length in range(len(whole)):
        neighbours._neighbour(NEW, whole[:length])
    for _ in range(2000):
        neighbours._neighbour(NEW, chance.randbytes(chance.randrange(60)))


def test_own_addresses_and_those_behind_tunnels_have_no_hardware_address() -> None:
    lan = lan_of(
        Network(
            frozenset({1, 2}),
            (
                InterfaceAddress(1, *[ip_address("192.168.1.1")] * 2, 24),
                InterfaceAddress(2, *[ip_address("10.8.0.1")] * 2, 24),
            ),
            frozenset(),
            without_arp=frozenset({2}),
        )
    )
    assert IPv4Network("10.8.0.0/24") in lan.prefixes
    assert lan.without_mac == {
        *(ip_network("192.168.1.1/32"), ip_network("10.8.0.1/32"), ip_network("10.8.0.0/24"))
    }


# ---- reverse names


def answer(*targets: str, qname: str = "1.2.0.192.in-addr.arpa") -> bytes:
    records = [record(PTR, name(one)) for one in targets]
    return header(0x8180, 1, len(records)) + question(qname, PTR) + b"".join(records)


def test_names_of_an_answer_are_read() -> None:
    assert list(names_in(answer("Laptop.Example", "nas.example"))) == [
        *("laptop.example", "nas.example")
    ]
    pointed = header(0x8180, 1, 1) + question("a.example", PTR) + record(PTR, b"\x01b\xc0\x0e")
    assert list(names_in(pointed)) == ["b.example"]
    assert list(names_in(answer())) == []


def test_answers_that_are_cut_off_or_lead_in_circles_have_no_names() -> None:
    whole = answer("laptop.example")
    for length in range(len(whole)):
        assert list(names_in(whole[:length])) in ([], ["laptop.example"])
    circle = header(0x8180, 1, 1) + question("a.example", PTR) + record(PTR, b"\xc0\x27")
    for at in range(len(circle)):
        list(names_in(circle[:-1] + bytes([at])))
    chance = random.Random(6)
    for _ in range(2000):
        list(names_in(header(0x8180, 1, 3) + chance.randbytes(chance.randrange(80))))


class Asked:
    """An upstream that answers at once, or never."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.keys: list[bytes] = []
        self.named: list[tuple[bytes, str]] = []
        self.names = ReverseNames(self.renew, self.look_up, self.note)

    def renew(self, key: bytes) -> bool:
        self.keys.append(key)
        return bool(self.answers)

    def look_up(self, key: bytes, _now_ms: int) -> tuple[bytes, int] | None:
        return (self.answers[0], 0) if key in self.keys else None

    def note(self, address: bytes, name: str) -> list[str]:
        self.named.append((address, name))
        return [name]

    def run(self) -> None:
        greenlet = gevent.spawn(self.names.run)
        gevent.sleep(0)
        while self.names._wanted:
            gevent.sleep(0.01)
        greenlet.kill()


def test_reverse_name_is_asked_for_once_and_kept() -> None:
    asked = Asked(answer("laptop.example"))
    asked.names.want(LAPTOP)
    asked.run()
    asked.names.want(LAPTOP)
    asked.run()
    reverse = reverse_of(ip_address("192.0.2.1").packed)
    assert asked.keys == [make_key(reverse, PTR)]
    assert asked.named == [(LAPTOP, "laptop.example")]
    assert asked.names.names_of(LAPTOP) == ("laptop.example",)
    assert list(asked.names.places) == [(LAPTOP, 0)]


def test_names_that_are_wanted_and_known_are_bounded() -> None:
    asked = Asked()
    for number in range(KNOWN_MAX + 300):
        asked.names.want(wide(number.to_bytes(4, "big")))
        if number % WANTED_MAX == WANTED_MAX - 1:
            asked.run()
    for number in range(1000):
        asked.names.want(wide((number + (1 << 20)).to_bytes(4, "big")))
    assert len(asked.names._wanted) == WANTED_MAX
    asked.run()
    assert len(asked.names._names) == KNOWN_MAX
