"""Who may ask, and in which view: turns prefixes into sorted addresses at which that changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import attrs

from .._clients import IDENTITY_KINDS, Access, KnownClients, span_value
from ..config import schema
from ..config.listen import LOOPBACK
from ..config.values import Address, Clients, Identity, Network

Span = tuple[int, int]

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
    # Where no hardware address is asked for: this machine's own addresses, and behind tunnels.
    without_mac: frozenset[Network] = frozenset()

    def __str__(self) -> str:
        shown = [str(one) for one in (*self.prefixes, *([LINK_LOCAL] if self.links else []))]
        return ", ".join(shown) or "nothing"


def compile_access(
    section: schema.Access,
    lan: Lan,
    views: Mapping[Network, int] | None = None,
    known: KnownClients | None = None,
    identities: Mapping[Identity, int] | None = None,
) -> Access:
    """Return the configured rules for clients, with this LAN.

    The longest prefix decides; on a tie, `deny`. `views`: the numbers of views, by prefix; for
    them, too, the longest one decides. `identities`: those of views by what clients say they are.
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
    numbers = {
        network: span_value(False, number, is_exact=network.prefixlen == network.max_prefixlen)
        for network, number in (views or {}).items()
    }
    neighbours: dict[Network, int] = {}
    if known is not None:
        neighbours = dict.fromkeys(lan.prefixes, span_value(False, is_neighbour=True))
        neighbours |= dict.fromkeys(lan.without_mac, 0)

    def spans(
        allowed: Mapping[Network, bool], lans: Mapping[Network, int], family: type[Network]
    ) -> list[Span]:
        may_ask = {network: span_value(one) for network, one in allowed.items()}
        return joined(*(turning_points(one, family) for one in (may_ask, numbers, lans)))

    on_links = dict(neighbours)
    if known is not None:
        on_links.setdefault(LINK_LOCAL, span_value(False, is_neighbour=True))
    return Access(
        spans(verdicts, neighbours, IPv4Network),
        spans(verdicts, neighbours, IPv6Network),
        spans(near, on_links, IPv6Network),
        lan.links,
        drops=section.refuse == "drop",
        known=known,
        identities=[
            (IDENTITY_KINDS[one.kind], one.text.encode(), number)
            for one, number in (identities or {}).items()
        ],
    )


def compile_exempt(section: schema.Access, lan: Lan) -> Access:
    """Return which clients have no limit of answers a second, with this LAN."""
    exempt = span_value(True)
    values = {one: exempt for clients in section.rate_exempt for one in _networks(clients, lan)}
    near = values | ({LINK_LOCAL: exempt} if "lan" in section.rate_exempt else {})
    return Access(
        turning_points(values, IPv4Network),
        turning_points(values, IPv6Network),
        turning_points(near, IPv6Network),
        lan.links,
    )


def compile_proxies(networks: Iterable[Network]) -> Access | None:
    """Return which addresses are proxies'; None: none are."""
    values = dict.fromkeys(networks, span_value(True))
    if not values:
        return None
    return Access(turning_points(values, IPv4Network), turning_points(values, IPv6Network))


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
    """Yield each address that strangers can reach, with the prefix that admits them there.

    Those of TLS and HTTPS are none: nobody can forge the address of a client there.
    """
    for address in config.listen.dns:
        host = ip_address(address.host.partition("%")[0])
        if any(host in private for private in PRIVATE):
            continue
        for network in admitted_strangers(config.access):
            if network.version == host.version:
                yield address, network
                break


def _is_inside(network: Network, other: Network) -> bool:
    return network.version == other.version and network[0] in other and network[-1] in other


def turning_points(values: Mapping[Network, int], family: type[Network]) -> list[Span]:
    """Return the addresses at which the value changes, each with that from there on; first 0.

    Of the prefixes that contain a client the longest decides.
    """
    points: list[Span] = []
    for at, value in _values_by_address(values, family):
        if points and points[-1][0] == at:  # an earlier value of this address does not count
            points.pop()
        if value != (points[-1][1] if points else 0):
            points.append((at, value))
    return points


def _values_by_address(values: Mapping[Network, int], family: type[Network]) -> Iterator[Span]:
    """Yield sorted addresses, each with the value from there on; of equals the last counts."""
    inside: list[Span] = []  # the surrounding prefixes: end and value
    wanted = [one for one in values if isinstance(one, family)]
    for network in sorted(wanted, key=lambda one: (int(one.network_address), one.prefixlen)):
        first = int(network.network_address)
        yield from _leave(inside, first)
        yield first, values[network]
        inside.append((first + network.num_addresses, values[network]))
    end = 1 << max((one.max_prefixlen for one in wanted), default=0)
    yield from _leave(inside, end - 1)  # the end of all addresses changes nothing


def _leave(inside: list[Span], until: int) -> Iterator[Span]:
    """Yield the ends of prefixes up to there, with the value of the surrounding one."""
    while inside and inside[-1][0] <= until:
        end, _ = inside.pop()
        yield end, inside[-1][1] if inside else 0


def joined(*several: Sequence[Span]) -> list[Span]:
    """Return the points at which one of several values changes, each with all of them by OR."""
    now = [0] * len(several)
    events = sorted(
        (at, number, value) for number, points in enumerate(several) for at, value in points
    )
    points: list[Span] = []
    for at, number, value in events:
        now[number] = value
        if points and points[-1][0] == at:
            points.pop()
        together = 0
        for one in now:
            together |= one
        if together != (points[-1][1] if points else 0):
            points.append((at, together))
    return points


def _networks(clients: Clients, lan: Lan) -> Iterable[Network]:
    if clients == "loopback":
        return LOOPBACK
    if clients == "lan":
        return lan.prefixes
    return (clients,)
