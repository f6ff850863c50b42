"""What "lan" in [access] means: the prefixes to which this machine is directly connected.

Not all of them. An interface with a default route may lead to the Internet itself: that of a server
in a data centre, or the outer side of a router, whose neighbours are strangers. A private IPv4
address (RFC 1918) shows that it is the only interface of a box at home instead: then its IPv6
prefixes also belong to the LAN. Shared addresses of providers (100.64.0.0/10, RFC 6598) and
link-local ones do not show that. With a public IPv4 address beside the private one, only the
private prefix counts.

This machine's own addresses always count, and prefixes wider than any LAN never.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, ip_network

from ..config import values
from ..policy.access import LINK_LOCAL, Lan
from .netlink import InterfaceAddress, Ip, Network, read_network

PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
LINK_LOCAL_IPV4 = IPv4Network("169.254.0.0/16")
WIDEST = {4: 8, 6: 32}  # the length of the widest prefix that may be a LAN, by version


def read_lan() -> Lan:
    """Return the LAN now. OSError: the kernel does not tell."""
    return lan_of(read_network())


def lan_of(network: Network) -> Lan:
    """Return the part of a network that is the LAN."""
    by_link: dict[int, list[InterfaceAddress]] = {}
    for address in network.addresses:
        if address.link in network.links:
            by_link.setdefault(address.link, []).append(address)
    prefixes: set[values.Network] = set()
    links = []
    for link, addresses in by_link.items():
        found = set(_of_lan(addresses, is_uplink=link in network.uplinks))
        if LINK_LOCAL in found:
            links.append(link)
        prefixes |= found - {LINK_LOCAL}
    prefixes |= set(_own(network.addresses, prefixes))
    rising = sorted(prefixes, key=lambda one: (one.version, one.network_address, one.prefixlen))
    without_mac = {ip_network((one.local, one.local.max_prefixlen)) for one in network.addresses}
    for address in network.addresses:
        if address.link in network.without_arp:
            without_mac.add(ip_network((address.peer, address.length), strict=False))
    return Lan(tuple(rising), tuple(sorted(links)), frozenset(without_mac))


def _of_lan(addresses: list[InterfaceAddress], *, is_uplink: bool) -> Iterator[values.Network]:
    """Yield the prefixes of an interface that belong to the LAN; LINK_LOCAL: its clients do."""
    four = [one.local for one in addresses if isinstance(one.local, IPv4Address)]
    is_public = any(not (_is_private(one) or one in LINK_LOCAL_IPV4) for one in four)
    if is_uplink and not any(map(_is_private, four)):
        return
    for address in addresses:
        if is_uplink and is_public and not _is_private(address.local):
            continue
        if address.local in LINK_LOCAL:
            yield LINK_LOCAL
        # A line with a single address at its other end: a provider's, or that of a dial-in user.
        elif WIDEST[address.peer.version] <= address.length < address.peer.max_prefixlen:
            yield ip_network((address.peer, address.length), strict=False)


def _is_private(address: Ip) -> bool:
    return isinstance(address, IPv4Address) and any(address in one for one in PRIVATE)


def _own(
    addresses: Iterable[InterfaceAddress], prefixes: Collection[values.Network]
) -> Iterator[values.Network]:
    """Yield this machine's addresses that are in none of the prefixes.

    No other machine can ask from there and get the answer.
    """
    for address in addresses:
        own = address.local
        if not (own.is_loopback or own.is_link_local or any(own in one for one in prefixes)):
            yield ip_network((own, own.max_prefixlen))
