"""What "lan" is: which of the prefixes that this machine is connected to."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface

import pytest

from fastdns.machine import netlink
from fastdns.machine.lan import lan_of
from fastdns.machine.netlink import InterfaceAddress, Network
from fastdns.machine.own_addresses import addresses_of

PUBLIC, PRIVATE, SHARED = "203.0.113.5/24", "192.168.1.5/24", "100.64.3.4/10"
GLOBAL, LINK = "2001:db8:1:2::5/64", "fe80::5/64"


def network(*interfaces: tuple[str, ...], uplinks: tuple[int, ...] = (), down: int = 0) -> Network:
    """That of a machine whose interfaces, from 1 on, have these addresses."""
    addresses = []
    for link, texts in enumerate(interfaces, start=1):
        for text in texts:
            own, _, peer = text.partition(" ")
            local, other = ip_interface(own), ip_interface(peer or own)
            length = other.network.prefixlen
            addresses.append(InterfaceAddress(link, local.ip, other.ip, length))
    links = frozenset(range(1, len(interfaces) + 1)) - {down}
    return Network(links, tuple(addresses), frozenset(uplinks))


def lan(*interfaces: tuple[str, ...], uplinks: tuple[int, ...] = (), down: int = 0) -> str:
    """What the LAN of such a machine is."""
    return str(lan_of(network(*interfaces, uplinks=uplinks, down=down)))


def test_own_addresses_are_those_that_others_can_use_the_lan_first() -> None:
    found = addresses_of(
        network(
            (PUBLIC, GLOBAL, LINK), ("192.168.1.1/24", LINK), ("10.8.0.1/24",), uplinks=(1,), down=3
        )
    )
    assert list(map(str, found)) == ["192.168.1.1", "203.0.113.5", "2001:db8:1:2::5"]


@pytest.mark.parametrize(
    ("address", "flags", "is_lasting"),
    [
        ("192.0.2.1", 0, True),
        ("192.0.2.1", 0x01, True),  # a second one of IPv4
        ("2001:db8::1", 0x80, True),  # permanent
        ("2001:db8::1", 0x01, False),  # temporary, RFC 8981
        ("2001:db8::1", 0x08, False),  # another machine has it, too
        ("2001:db8::1", 0x20, False),  # deprecated
        ("2001:db8::1", 0x40, False),  # tentative
    ],
)
def test_address_that_soon_gives_way_is_not_lasting(
    address: str, flags: int, is_lasting: bool
) -> None:
    octets = ip_address(address).packed
    body = struct.pack("=BBBBIHH", 2, 24, flags, 0, 7, 4 + len(octets), 1) + octets
    (found,) = netlink._addresses(iter([body]))
    assert (str(found.local), found.link, found.is_lasting) == (address, 7, is_lasting)


def test_router_serves_the_side_without_the_default_route() -> None:
    assert lan((PUBLIC, GLOBAL, LINK), (PRIVATE, "2001:db8:1:3::1/64", LINK), uplinks=(1,)) == (
        "192.168.1.0/24, 203.0.113.5/32, 2001:db8:1:2::5/128, 2001:db8:1:3::/64, fe80::/10"
    )


def test_server_in_a_data_centre_serves_itself_only() -> None:
    assert lan((PUBLIC, GLOBAL, LINK), uplinks=(1,)) == "203.0.113.5/32, 2001:db8:1:2::5/128"


def test_box_at_home_with_one_interface_serves_its_ipv6_clients() -> None:
    assert lan((PRIVATE, GLOBAL, LINK), uplinks=(1,)) == (
        "192.168.1.0/24, 2001:db8:1:2::/64, fe80::/10"
    )


@pytest.mark.parametrize("private", ["10.1.2.3/8", "172.31.255.1/16", "192.168.255.1/30"])
def test_each_range_of_private_addresses_marks_a_box_at_home(private: str) -> None:
    assert "2001:db8:1:2::/64" in lan((private, GLOBAL), uplinks=(1,))


@pytest.mark.parametrize("other", [SHARED, "172.32.0.1/16", "169.254.1.2/16", "192.0.2.1/24"])
def test_other_addresses_on_an_uplink_do_not(other: str) -> None:
    own = other.partition("/")[0]
    expected = "2001:db8:1:2::5/128"
    if not own.startswith("169.254"):
        expected = f"{own}/32, {expected}"
    assert lan((other, GLOBAL, LINK), uplinks=(1,)) == expected


def test_of_an_uplink_with_both_kinds_of_addresses_only_the_private_prefix_counts() -> None:
    assert lan((PUBLIC, "10.19.0.5/16", GLOBAL, LINK), uplinks=(1,)) == (
        "10.19.0.0/16, 203.0.113.5/32, 2001:db8:1:2::5/128"
    )


def test_line_to_a_single_other_end_is_no_lan_but_a_prefix_behind_it_is() -> None:
    assert lan(("10.8.0.1/32 10.8.0.2/32",)) == "10.8.0.1/32"
    assert lan(("10.8.0.1/32 10.9.0.0/24",)) == "10.8.0.1/32, 10.9.0.0/24"


def test_prefixes_wider_than_any_lan_are_left_out() -> None:
    assert lan(("1.2.3.4/7", "2002:102:304::1/16", "10.0.0.1/8")) == (
        "1.2.3.4/32, 10.0.0.0/8, 2002:102:304::1/128"
    )


def test_interface_that_is_down_is_no_lan_though_its_address_is_ours() -> None:
    assert lan((PRIVATE, LINK), down=1) == "192.168.1.5/32"


def test_no_network_is_nothing() -> None:
    assert lan() == "nothing"
    assert lan(("127.0.0.1/8", "::1/128"), down=1) == "nothing"


# ---- messages of the kernel


def message(kind: int, body: bytes, length: int | None = None) -> bytes:
    whole = 16 + len(body) if length is None else length
    return struct.pack("=IHHII", whole, kind, 0, 0, 0) + body


def attribute(kind: int, value: bytes, length: int | None = None) -> bytes:
    head = struct.pack("=HH", 4 + len(value) if length is None else length, kind)
    return head + value + bytes(-len(value) % 4)


def route(length: int = 0, *, family: int = 2, kind: int = 1) -> bytes:
    return struct.pack("=BBBBBBBBI", family, length, 0, 0, 254, 3, 0, kind, 0)


def uplinks(body: bytes) -> list[int]:
    return list(netlink._uplinks(iter([body])))


def test_default_route_by_several_gateways_leads_to_all_of_them() -> None:
    hops = b"".join(struct.pack("=HBBi", 8, 0, 0, link) for link in (3, 5))
    assert uplinks(route() + attribute(9, hops)) == [3, 5]
    assert uplinks(route() + attribute(4, struct.pack("=i", 4))) == [4]


@pytest.mark.parametrize(
    ("family", "length", "kind", "counts"),
    [
        (2, 0, 1, True),
        (2, 1, 1, True),
        (2, 2, 1, False),
        (2, 0, 7, False),  # unreachable
        (10, 0, 1, True),
        (10, 3, 1, True),
        (10, 4, 1, False),
        (28, 0, 1, False),  # MPLS
    ],
)
def test_default_route_is_one_to_half_of_all_addresses(
    family: int, length: int, kind: int, counts: bool
) -> None:
    body = route(length, family=family, kind=kind) + attribute(4, struct.pack("=i", 4))
    assert uplinks(body) == [4] * counts


@pytest.mark.parametrize(
    "body",
    [
        b"",
        route()[:-1],
        route() + b"\x08",
        route() + attribute(4, b"\x04\0\0\0", 200),
        route() + attribute(4, b"\x04\0\0\0", 3),
        route() + attribute(4, b"\x04\0\0\0", 0),
        route() + attribute(4, b"\x04\0"),
        route() + attribute(9, struct.pack("=HBBi", 0, 0, 0, 3)),
        route() + attribute(9, struct.pack("=HBBi", 9, 0, 0, 3)),
        route() + attribute(9, struct.pack("=HBBi", 8, 0, 0, 3)[:7]),
    ],
)
def test_route_that_is_cut_or_lies_about_its_lengths_is_left_alone(body: bytes) -> None:
    assert uplinks(body) == []


@pytest.mark.parametrize("length", [0, 15, 200, 0xFFFFFFFF])
def test_message_that_lies_about_its_length_ends_the_reading(length: int) -> None:
    good = message(24, route())
    octets = good + message(24, route(), length) + good
    assert [kind for kind, _, _ in netlink.messages(octets)] == [24]


def test_address_of_no_known_length_is_left_out() -> None:
    head = struct.pack("=BBBBI", 2, 24, 0, 0, 3)
    for body in (head[:-1], head, head + attribute(1, b"\1\2\3"), head + attribute(1, b"")):
        assert list(netlink._addresses(iter([body]))) == []
    (found,) = netlink._addresses(iter([head + attribute(1, b"\x0a\0\0\1")]))
    assert str(found.local) == str(found.peer) == "10.0.0.1"


def test_only_changes_that_may_matter_are_news() -> None:
    assert netlink._matters(24, 0, route(1))
    assert netlink._matters(25, 0, route(1))
    assert not netlink._matters(24, 0, route(24))
    assert not netlink._matters(24, 0, b"")
    assert netlink._matters(20, 0, b"")
    assert not netlink._matters(99, 0, route(1))


def test_this_machine_s_network_can_be_read() -> None:
    netlink.read_network()
    changes = netlink.Changes()
    changes.take()
    changes.close()
