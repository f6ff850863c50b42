"""Bound sockets passed to us by a service manager, or by the instance that we succeed.

Those that an earlier fastdns has bound have our names, which tell what it used them for. Others
were opened by another program (socket activation) and are served as they are.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import attrs

from ..config.listen import Listen
from ..config.values import Address

log = logging.getLogger(__name__)

DNS = "dns"  # of the services, the one that has UDP and TCP
OURS = "fastdns/"
_KINDS = {socket.SOCK_DGRAM: "udp", socket.SOCK_STREAM: "tcp"}
_UNFIT = re.compile(r"[^!-9;-~]")  # of a name: systemd allows printable ASCII without ":"


@attrs.frozen(eq=False)
class Handed:
    """A bound socket, and the name under which we got it."""

    name: str
    bound: socket.socket
    address: Address

    @property
    def is_ours(self) -> bool:
        return self.name.startswith(OURS)

    @property
    def service(self) -> str:
        """What it was used for; "" if another program has opened it."""
        if not self.is_ours:
            return ""
        used_for = self.name.removeprefix(OURS).partition("/")[0]
        return DNS if used_for in _KINDS.values() else used_for

    @property
    def kind(self) -> socket.SocketKind:
        return socket.SocketKind(self.bound.type)

    def __str__(self) -> str:
        return f"{self.address} ({_KINDS[self.kind].upper()})"


class Pool:
    """Sockets that we were given and do not use yet."""

    def __init__(self, handed: Iterable[Handed] = ()) -> None:
        self._handed = list(handed)

    @property
    def opened(self) -> tuple[Address, ...]:
        """Where another program has opened sockets for us."""
        return tuple(dict.fromkeys(one.address for one in self._handed if not one.is_ours))

    def last(self, address: Address, listen: Listen, service: str = DNS) -> Address:
        """Return the address with the port, for port 0, that the last instance had for it."""
        if address.port:
            return address
        named = {one.port for _, one in listen.addresses}
        for one in self._handed:
            candidate = attrs.evolve(address, port=one.address.port)
            is_free = one.service == service and candidate.port not in named
            if is_free and _same(one.address, candidate):
                return candidate
        return address

    def take(self, address: Address, kind: socket.SocketKind) -> list[Handed]:
        """Return those of an address, in the order of their numbers, and give them away."""
        found = [one for one in self._handed if one.kind == kind and _same(one.address, address)]
        self._handed = [one for one in self._handed if one not in found]
        return sorted(found, key=lambda one: (not one.is_ours, _number(one.name)))

    def given_up(self, wanted: Sequence[tuple[Address, socket.SocketKind]]) -> list[socket.socket]:
        """Return our own sockets that are surplus at their addresses."""
        return [
            one.bound
            for one in self._handed
            if one.is_ours
            and not any(one.kind == kind and _same(one.address, known) for known, kind in wanted)
        ]

    def close(self) -> None:
        """Close the unused ones: the configuration does not name their addresses."""
        for one in self._handed:
            log.info("%s is closed: the configuration does not name it any more", one)
            one.bound.close()
        self._handed = []


def where_to_listen(listen: Listen, opened: tuple[Address, ...]) -> Listen:
    """Return where to listen if another program has opened sockets at these addresses.

    The default addresses are for a configuration that names none, and such a socket names one. At
    an address of `listen.tls` or `listen.https` it serves that; at any other, plain DNS.
    """
    encrypted = (*listen.tls, *listen.https)
    plain = tuple(one for one in opened if not any(_same(one, other) for other in encrypted))
    if plain and listen.has_default_dns:
        return attrs.evolve(listen, dns=plain)
    others = (one for one in plain if not any(_same(one, other) for other in listen.dns))
    return attrs.evolve(listen, dns=(*listen.dns, *others))


def handed(name: str, descriptor: int) -> Handed | None:
    """Return the socket behind a descriptor; None, and a log line: it is not usable.

    The descriptor belongs to the result, or is closed.
    """
    os.set_inheritable(descriptor, False)
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        log.warning("%s: is not a socket; closed", name)
        return None
    if problem := _problem(found):
        found.close()
        log.warning("%s: %s; closed", name, problem)
        return None
    found.setblocking(False)
    return Handed(name, found, bound_address(found))


def bound_address(bound: socket.socket) -> Address:
    """Return where it is bound, written as in a configuration."""
    host, port, *rest = bound.getsockname()
    scope = rest[1] if rest else 0
    text = str(ip_address(host.partition("%")[0]))
    return Address(f"{text}%{_interface(scope)}" if scope else text, port)


def store_name(address: Address, kind: socket.SocketKind, number: int, service: str = DNS) -> str:
    """Return the name under which a socket of ours is passed on: of DNS, it says UDP or TCP."""
    used_for = _KINDS[kind] if service == DNS else service
    return _UNFIT.sub("-", f"{OURS}{used_for}/{address.host}/{address.port}/{number}")


def _problem(found: socket.socket) -> str:
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        return "is not an IPv4 or IPv6 socket"
    if found.type not in _KINDS:
        return "is neither a UDP nor a TCP socket"
    if found.type == socket.SOCK_STREAM and not found.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        return "is a TCP socket that does not listen"
    return "" if found.getsockname()[1] else "is not bound"


def _same(one: Address, other: Address) -> bool:
    """Whether both are the same place; an interface that does not exist is none."""
    try:
        return (one.family, _packed(one)) == (other.family, _packed(other))
    except OSError:
        return False


def _packed(address: Address) -> tuple[bytes, int, int]:
    host, port, *rest = address.sockaddr
    return socket.inet_pton(address.family, host), port, int(rest[1]) if rest else 0


def _number(name: str) -> int:
    number = name.rpartition("/")[2]
    return int(number) if number.isdecimal() else 0


def _interface(scope: int) -> str:
    try:
        return socket.if_indextoname(scope)
    except OSError:
        return str(scope)
