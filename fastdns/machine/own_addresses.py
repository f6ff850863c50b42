"""The addresses at which other machines reach this one."""

from __future__ import annotations

from ..policy.designated import Ip
from .lan import lan_of
from .netlink import InterfaceAddress, Network, read_network


def own_addresses() -> list[Ip]:
    """Return them now, those of the LAN first; none if the kernel does not tell."""
    try:
        return addresses_of(read_network())
    except OSError:
        return []


def addresses_of(network: Network) -> list[Ip]:
    """Return the addresses of a network's machine that stay, and that others can use."""
    prefixes = [one for one in lan_of(network).prefixes if one.prefixlen < one.max_prefixlen]

    def is_outside(address: InterfaceAddress) -> bool:
        return not any(address.local in one for one in prefixes)

    lasting = [
        one
        for one in network.addresses
        if one.link in network.links
        and one.is_lasting
        and not (one.local.is_loopback or one.local.is_link_local)
    ]
    return [one.local for one in sorted(lasting, key=is_outside)]
