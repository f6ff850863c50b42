"""What fastdns says of its own encrypted services: Discovery of Designated Resolvers (RFC 9462).

A client that only knows an address asks for `_dns.resolver.arpa`, type SVCB, and learns the name of
the service, its protocols and ports (RFC 9461). One that knows the name asks for `_dns.NAME`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs

from ..config.listen import Listen
from ..config.names import NAME_MAX, parse_name
from ..config.values import Address

Ip = IPv4Address | IPv6Address
OwnAddresses = Callable[[], Sequence[Ip]]  # of this machine, the best first

A, AAAA, SVCB = 1, 28, 64
DISCOVERY = b"\4_dns\10resolver\4arpa\0"
LABEL = b"\4_dns"  # before the name of the service (RFC 9461 section 3)
TTL = 300  # seconds
ADDRESSES_MAX = 8  # of a family: a server may have hundreds
DOH_PATH = b"/dns-query{?dns}"
_ALPN, _PORT, _IPV4HINT, _IPV6HINT, _DOHPATH = 1, 3, 4, 6, 7  # RFC 9460 section 14.3.2, RFC 9461


@attrs.frozen
class Designated:
    """The encrypted services of a configuration. `name`: in wire form and lower case."""

    name: bytes
    tls: tuple[Address, ...] = ()
    https: tuple[Address, ...] = ()
    plain: tuple[Address, ...] = ()

    @property
    def needs_own_addresses(self) -> bool:
        """Whether the addresses are those of this machine, which may change at any time."""
        return any(one == one.wildcard for one in (*self.tls, *self.https))

    def records(self, own: OwnAddresses) -> tuple[tuple[bytes, int, bytes], ...]:
        """Return name, type and RDATA of each record; none if no client can reach a service.

        `own` is called if a service has all addresses of this machine.
        """
        found = list(own()) if self.needs_own_addresses else []
        services = list(self._services(found))
        if not services:
            return ()
        svcb = [
            _svcb(priority, self.name, *service) for priority, service in enumerate(services, 1)
        ]
        owners = [DISCOVERY]
        if len(LABEL) + len(self.name) <= NAME_MAX:
            owners.append(LABEL + self.name)
        addresses = dict.fromkeys(one for _, _, several in services for one in several)
        return (
            *((owner, SVCB, data) for owner in owners for data in svcb),
            *((self.name, A if one.version == 4 else AAAA, one.packed) for one in addresses),
        )

    def _services(self, own: Sequence[Ip]) -> Iterator[tuple[str, int, list[Ip]]]:
        """Yield protocol, port and addresses of each service: DoT first, which costs less."""
        is_loopback_only = all(
            _ip(one).is_loopback for one in (*self.plain, *self.tls, *self.https)
        )
        for protocol, listening in (("dot", self.tls), ("h2", self.https)):
            for port in dict.fromkeys(one.port for one in listening if one.port):
                at = [one for one in listening if one.port == port]
                addresses = list(
                    _first(
                        one
                        for one in _expanded(at, own)
                        # No other machine reaches it: a proxy may be in front.
                        if is_loopback_only or not one.is_loopback
                    )
                )
                if addresses:
                    yield protocol, port, addresses


def designated_of(listen: Listen) -> Designated | None:
    """Return what a configuration says of them; None: nothing, or not by which name."""
    # Without a certificate, a proxy in front ends HTTPS, and only that knows where.
    https = listen.https if listen.certificate else ()
    if not listen.name or not (listen.tls or https):
        return None
    return Designated(parse_name(listen.name), listen.tls, https, listen.dns)


def _expanded(listening: Iterable[Address], own: Sequence[Ip]) -> Iterator[Ip]:
    for address in listening:
        host = _ip(address)
        if address == address.wildcard:
            yield from (one for one in own if one.version == host.version)
        elif not host.is_link_local:  # it means nothing without the client's interface
            yield host


def _first(addresses: Iterable[Ip]) -> Iterator[Ip]:
    """Yield the first few of each family, each once."""
    counts = {4: 0, 6: 0}
    for one in dict.fromkeys(addresses):
        counts[one.version] += 1
        if counts[one.version] <= ADDRESSES_MAX:
            yield one


def _ip(address: Address) -> Ip:
    return ip_address(address.host.partition("%")[0])


def _svcb(priority: int, target: bytes, protocol: str, port: int, addresses: list[Ip]) -> bytes:
    """Return the RDATA: the keys rise (RFC 9460 section 2.2)."""
    alpn = protocol.encode()
    four = b"".join(one.packed for one in addresses if one.version == 4)
    six = b"".join(one.packed for one in addresses if one.version == 6)
    values = {
        _ALPN: bytes((len(alpn),)) + alpn,
        _PORT: struct.pack("!H", port),
        _IPV4HINT: four,
        _IPV6HINT: six,
        _DOHPATH: DOH_PATH if protocol == "h2" else b"",
    }
    return (
        struct.pack("!H", priority)
        + target
        + b"".join(
            struct.pack("!HH", key, len(value)) + value for key, value in values.items() if value
        )
    )
