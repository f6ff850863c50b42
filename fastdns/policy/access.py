"""Who may ask: turns prefixes into sorted addresses at which the answer changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import attrs

from .._clients import Access
from ..config import schema
from ..config.values import Address, Clients, Network

LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))
LINK_LOCAL = IPv6Network("fe80::/10")
# Addresses that the Internet does not reach.
PRIVATE: tuple[Network, ...] = (
    *(IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")),
    *(IPv4Network("100.64.0.0/10"), IPv4Network("169.254.0.0/16"), IPv4Network("127.0.0.0/8")),
    *(IPv6Network("fc00::/7"), IPv6Network("fe80::/10"), IPv6Network("::1")),
)
WIDE = {4: 8, 6: 16}  # bits: a prefix as wide as /8 admits strangers


@attrs.frozen
class Lan:
    """The networks that are directly connected."""

    prefixes: tuple[Network, ...] = ()
    links: tuple[int, ...] = ()  # interfaces whose link-local clients belong to it, sorted

    def __str__(self) -> str:
        shown = [str(one) for one in (*self.prefixes, *([LINK_LOCAL] if self.links else []))]
        return ", ".join(shown) or "nothing"


def compile_access(section: schema.Access, lan: Lan) -> Access:
    """Return the configured rules for clients, with this LAN.

    The longest prefix decides; on a tie, `deny`.
    """
    verdicts: dict[Network, bool] = {}
    of_links: list[bool] = []
    for clients, may_ask in (
        *((one, True) for one in section.allow),
        *((one, False) for one in section.deny),
    ):
        verdicts |= dict.fromkeys(_networks(clients, lan), may_ask)
        if clients == "lan":
            of_links.append(may_ask)
    near = dict(verdicts)
    if of_links:
        near[LINK_LOCAL] = all(of_links) and verdicts.get(LINK_LOCAL, True)
    return Access(
        turning_points(verdicts, IPv4Network),
        turning_points(verdicts, IPv6Network),
        turning_points(near, IPv6Network),
        lan.links,
        drops=section.refuse == "drop",
    )


def compile_exempt(section: schema.Access, lan: Lan) -> Access:
    """Return which clients have no limit of answers a second, with this LAN."""
    verdicts = {one: True for clients in section.rate_exempt for one in _networks(clients, lan)}
    near = verdicts | ({LINK_LOCAL: True} if "lan" in section.rate_exempt else {})
    return Access(
        turning_points(verdicts, IPv4Network),
        turning_points(verdicts, IPv6Network),
        turning_points(near, IPv6Network),
        lan.links,
    )


def rule_for(
    section: schema.Access, lan: Lan, client: IPv4Address | IPv6Address
) -> tuple[bool, str]:
    """Return whether a client may ask, and the rule that decides it, for a message."""
    longest, may_ask, rule = -1, False, "access.allow does not contain it"
    for key, entries in (("allow", section.allow), ("deny", section.deny)):
        for one in entries:
            for network in _networks(one, lan):
                if client in network and network.prefixlen >= longest:
                    longest, may_ask = network.prefixlen, key == "allow"
                    rule = f'access.{key} has "{spell_clients(one)}"'
    return may_ask, rule


def spell_clients(clients: Clients) -> str:
    """Return an entry of a list as an owner would write it: a single address without a length."""
    return str(clients).removesuffix("/32" if ":" not in str(clients) else "/128")


def admitted_strangers(section: schema.Access) -> Iterator[Network]:
    """Yield the admitted prefixes that are wider than any private network: /8, or /16."""
    for one in section.allow:
        if isinstance(one, str) or one in section.deny or one.prefixlen > WIDE[one.version]:
            continue
        if not any(_is_inside(one, private) for private in PRIVATE):
            yield one


def open_addresses(config: schema.Config) -> Iterator[tuple[Address, Network]]:
    """Yield each address that strangers can reach, with the prefix that admits them there."""
    for _, address in config.listen.addresses:
        host = ip_address(address.host.partition("%")[0])
        if any(host in private for private in PRIVATE):
            continue
        for network in admitted_strangers(config.access):
            if network.version == host.version:
                yield address, network
                break


def _is_inside(network: Network, other: Network) -> bool:
    return network.version == other.version and network[0] in other and network[-1] in other


def turning_points(verdicts: Mapping[Network, bool], family: type[Network]) -> list[int]:
    """Return the addresses at which the verdict on a client changes; below the first it is "no".

    Of the prefixes that contain a client the longest decides.
    """
    points: list[int] = []
    former = False
    for at, may_ask in _verdicts_by_address(verdicts, family):
        if points and points[-1] == at:  # an earlier verdict on this address does not count
            points.pop()
            former = not former
        if may_ask != former:
            points.append(at)
            former = may_ask
    return points


def _verdicts_by_address(
    verdicts: Mapping[Network, bool], family: type[Network]
) -> Iterator[tuple[int, bool]]:
    """Yield sorted addresses, each with the verdict from there on; of equals the last counts."""
    inside: list[tuple[int, bool]] = []  # the surrounding prefixes: end and verdict
    wanted = [one for one in verdicts if isinstance(one, family)]
    for network in sorted(wanted, key=lambda one: (int(one.network_address), one.prefixlen)):
        first = int(network.network_address)
        yield from _leave(inside, first)
        yield first, verdicts[network]
        inside.append((first + network.num_addresses, verdicts[network]))
    end = 1 << max((one.max_prefixlen for one in wanted), default=0)
    yield from _leave(inside, end - 1)  # the end of all addresses changes nothing


def _leave(inside: list[tuple[int, bool]], until: int) -> Iterator[tuple[int, bool]]:
    """Yield the ends of prefixes up to there, with the verdict of the surrounding one."""
    while inside and inside[-1][0] <= until:
        end, _ = inside.pop()
        yield end, inside[-1][1] if inside else False


def _networks(clients: Clients, lan: Lan) -> Iterable[Network]:
    if clients == "loopback":
        return LOOPBACK
    if clients == "lan":
        return lan.prefixes
    return (clients,)
