"""Addresses of the servers that have lists, without the system's resolver: that may be fastdns.

The running daemon is asked first, then the upstreams of the configuration. So it also works while
no daemon runs, and when a list blocks the name of the server that has it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address

from dnslib import DNSError, DNSRecord

from ..config.transports import TRANSPORTS
from ..config.values import Address, Server
from ..policy.compile import Domains
from ..upstream.once import dial_udp, exchange
from ..upstream.sources import ForwardSources, Sources
from ..upstream.transports import channel_class
from .errors import FetchError

A, AAAA = 1, 28
DAEMON_SECONDS = 6.0  # a daemon whose upstreams are all dead says so sooner
SERVER_SECONDS = 2.0
TRIES = 2
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_TRUNCATED = 0x02  # of the third octet
_ERRORS = {2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


class Lookup:
    """Looks names up at a daemon and, failing that, at the upstreams."""

    def __init__(
        self,
        daemon: Iterable[Address] = (),
        servers: Callable[[bytes], Iterable[Server]] = lambda name: (),
    ) -> None:
        """`daemon`: where one listens. `servers` has the upstreams for a name in wire form."""
        self._daemon = [reachable(one) for one in daemon][:1]
        self._servers = servers

    def addresses(self, host: str) -> list[str]:
        """Return the addresses of a host, both families in turns. FetchError: there are none."""
        with suppress(ValueError):
            return [str(ip_address(host))]
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 section 6.3
            return ["127.0.0.1", "::1"]
        name = _wire(host)
        problem = "there is no upstream"
        for server, seconds in self._places(name):
            try:
                found = _in_turns(*(_ask(server, name, kind, seconds) for kind in (A, AAAA)))
            except (OSError, ValueError) as error:
                problem = f"{server}: {getattr(error, 'strerror', None) or error}"
                continue
            if found:
                return found
            problem = f"{server}: the name has no address"
        raise FetchError(f"{host} cannot be resolved ({problem})")

    def _places(self, name: bytes) -> Iterable[tuple[Server, float]]:
        for address in self._daemon:
            yield Server("udp", address), DAEMON_SECONDS
        servers = list(self._servers(name))
        for _ in range(TRIES):
            for server in servers:
                yield server, SERVER_SECONDS


def reachable(address: Address) -> Address:
    """Return where to reach what listens at an address, which may be a wildcard."""
    return Address(LOOPBACK.get(address.host, address.host), address.port)


def _ask(server: Server, name: bytes, kind: int, seconds: float) -> list[str]:
    """Return the addresses of one family. OSError or ValueError: there is no usable answer."""
    question = name + struct.pack("!HH", kind, 1)
    is_stream = server.kind.is_stream
    dial = channel_class(server).dial if is_stream else dial_udp
    with dial(server.address, seconds) as connection:
        reply = exchange(connection, question, seconds, is_framed=is_stream, has_opt=False)
    if reply[2] & _TRUNCATED and not is_stream:
        return _ask(Server(_over_tcp(), server.address), name, kind, seconds)
    code = reply[3] & 0xF
    if code:
        raise ValueError(f"answers {_ERRORS.get(code, f'RCODE {code}')}")
    try:
        records = DNSRecord.parse(reply).rr
    except DNSError:
        raise ValueError("answers with a malformed message") from None
    found = [ip_address(str(one.rdata)) for one in records if one.rtype == kind]
    return [str(one) for one in found if not one.is_unspecified]  # the answer to a blocked name


def _over_tcp() -> str:
    return next(scheme for scheme, one in TRANSPORTS.items() if one.is_stream)


def _wire(host: str) -> bytes:
    labels = host.rstrip(".").encode().split(b".")
    if not all(0 < len(label) < 64 for label in labels) or sum(map(len, labels)) > 240:
        raise FetchError(f"{host} is not a name")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _in_turns(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """IPv4 comes first: a line without working IPv6 may still have IPv6 addresses."""
    mixed = [one for pair in zip(first, second, strict=False) for one in pair]
    rest = min(len(first), len(second))
    return [*mixed, *first[rest:], *second[rest:]]


def servers_of(
    domains: Domains,
    default: Sources,
    forward: Iterable[ForwardSources],
) -> Callable[[bytes], Sequence[Server]]:
    """Return the function that tells the upstreams of a name: of its own group, or the default."""
    policy = domains.policy()
    groups = {one.group.number: one.sources for one in forward}

    def servers(name: bytes) -> Sequence[Server]:
        return groups.get(policy.group_of(name.lower()), default).servers

    return servers
