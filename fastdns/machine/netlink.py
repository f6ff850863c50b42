"""The kernel's information about interfaces, addresses and routes (rtnetlink(7)).

Messages come from the kernel, but are read as carefully as any other: never beyond their end.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs

Ip = IPv4Address | IPv6Address

DUMP_SECONDS = 2.0  # the kernel answers at once
DUMP_TRIES = 3
RECEIVE_OCTETS = 1 << 16
NEWS_AT_ONCE = 256  # the descriptor stays readable for the rest
# Prefixes of default routes, and of routes that replace one; by family.
DEFAULT_LENGTHS: dict[int, int] = {socket.AF_INET: 1, socket.AF_INET6: 3}

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_addr.h>, <linux/if.h>
_MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_LINK = struct.Struct("=BxHiII")  # family, type, interface, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, destination's length, …, type, flags
_NEXT_HOP = struct.Struct("=HBBi")  # length, flags, hops, interface
_ATTRIBUTE_TYPE = 0x3FFF
_REQUEST_DUMP = 0x301
_INTERRUPTED = 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NEW_LINK, _DEL_LINK, _GET_LINK = 16, 17, 18
_NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DEL_ROUTE, _GET_ROUTE = 24, 25, 26
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_TEMPORARY, _FAILED, _DEPRECATED, _TENTATIVE = 1, 8, 32, 64  # 1 of IPv4: not the first one
_RTA_OIF, _RTA_MULTIPATH = 4, 9
_IFF_UP, _IFF_LOOPBACK, _IFF_NOARP = 1, 8, 128
_RTN_UNICAST = 1
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links; addresses and routes of IPv4 and of IPv6


@attrs.frozen
class InterfaceAddress:
    """An address of this machine."""

    link: int  # the number of its interface
    local: Ip
    peer: Ip  # the same, but on a point-to-point line: that of the other end
    length: int  # of the prefix, which is the peer's
    is_lasting: bool = True  # not one of IPv6 that soon gives way to another, or may be taken


@attrs.frozen
class Network:
    """The networks that this machine is connected to."""

    links: frozenset[int]  # interfaces that are up, without the loopback
    addresses: tuple[InterfaceAddress, ...]
    uplinks: frozenset[int]  # interfaces with a default route
    without_arp: frozenset[int] = frozenset()  # those of tunnels: no hardware addresses are behind


class Interrupted(OSError):
    """The listed data changed meanwhile."""


def read_network() -> Network:
    """Return the networks now. OSError: the kernel does not tell."""
    for _ in range(DUMP_TRIES - 1):
        try:
            return _read_network()
        except Interrupted:
            continue
    return _read_network()


class Changes:
    """Notices when `read_network` may return something new. OSError: the kernel does not tell."""

    def __init__(self) -> None:
        self._socket = open_socket(_GROUPS)
        self._socket.setblocking(False)

    @property
    def descriptor(self) -> int:
        """Readable when there is news."""
        return self._socket.fileno()

    def take(self) -> bool:
        """Read the news; return whether any of it matters."""
        matter = False
        for _ in range(NEWS_AT_ONCE):
            try:
                octets, sender = self._socket.recvfrom(RECEIVE_OCTETS)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: there was more news than the socket holds
                matter = True
            else:
                is_kernel = sender[0] == 0
                matter |= is_kernel and any(_matters(*one) for one in messages(octets))
        return matter

    def close(self) -> None:
        self._socket.close()


def _matters(kind: int, _flags: int, body: bytes) -> bool:
    """A router may get thousands of routes a minute, few of which are default routes."""
    if kind in (_NEW_ROUTE, _DEL_ROUTE):
        return len(body) >= _ROUTE.size and body[1] <= DEFAULT_LENGTHS.get(body[0], -1)
    return kind in (_NEW_LINK, _DEL_LINK, _NEW_ADDRESS, _DEL_ADDRESS)


def _read_network() -> Network:
    with closing(open_socket(0)) as kernel:
        kernel.settimeout(DUMP_SECONDS)
        flags = dict(_up(dump(kernel, _GET_LINK, _NEW_LINK)))
        addresses = tuple(_addresses(dump(kernel, _GET_ADDRESS, _NEW_ADDRESS)))
        uplinks = frozenset(_uplinks(dump(kernel, _GET_ROUTE, _NEW_ROUTE)))
    without_arp = frozenset(link for link, told in flags.items() if told & _IFF_NOARP)
    return Network(frozenset(flags), addresses, uplinks, without_arp)


def open_socket(groups: int) -> socket.socket:
    """Return a socket that hears news of these groups. OSError: the kernel does not tell."""
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    try:
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened


def dump(kernel: socket.socket, request: int, kind: int) -> Iterator[bytes]:
    """Yield the bodies of all messages of a listing."""
    body = struct.pack("=B15x", socket.AF_UNSPEC)  # long enough for each of the three
    kernel.send(_MESSAGE.pack(_MESSAGE.size + len(body), request, _REQUEST_DUMP, request, 0) + body)
    while True:
        octets, sender = kernel.recvfrom(RECEIVE_OCTETS)
        if sender[0] != 0:
            continue  # meant for another process
        for found, flags, message in messages(octets):
            if flags & _INTERRUPTED:
                raise Interrupted("the network changes too fast to be read")
            if found == _NLMSG_DONE:
                return
            if found == _NLMSG_ERROR:
                code = struct.unpack_from("=i", message)[0] if len(message) >= 4 else 0
                raise OSError(-code, "netlink")
            if found == kind:
                yield message


def messages(octets: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, flags and body of each complete message."""
    at = 0
    while len(octets) - at >= _MESSAGE.size:
        length, kind, flags, _, _ = _MESSAGE.unpack_from(octets, at)
        if not _MESSAGE.size <= length <= len(octets) - at:
            return
        yield kind, flags, octets[at + _MESSAGE.size : at + length]
        at += _aligned(length)


def attributes(octets: bytes) -> Mapping[int, bytes]:
    """Return the attributes of a message by their types, as far as they are whole."""
    found = {}
    at = 0
    while len(octets) - at >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(octets, at)
        if not _ATTRIBUTE.size <= length <= len(octets) - at:
            break
        found[kind & _ATTRIBUTE_TYPE] = octets[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _up(bodies: Iterator[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the interfaces that are up, with their flags."""
    for body in bodies:
        if len(body) >= _LINK.size:
            _, _, link, flags, _ = _LINK.unpack_from(body)
            if flags & _IFF_UP and not flags & _IFF_LOOPBACK:
                yield link, flags


def _addresses(bodies: Iterator[bytes]) -> Iterator[InterfaceAddress]:
    for body in bodies:
        if len(body) < _ADDRESS.size:
            continue
        _, length, flags, _, link = _ADDRESS.unpack_from(body)
        told = attributes(body[_ADDRESS.size :])
        peer = _ip(told.get(_IFA_ADDRESS))
        local = _ip(told.get(_IFA_LOCAL)) or peer
        if local is not None:
            peer = peer or local
            passing = _FAILED | _TENTATIVE | _DEPRECATED
            if local.version == 6:
                passing |= _TEMPORARY
            yield InterfaceAddress(
                link, local, peer, min(length, peer.max_prefixlen), not flags & passing
            )


def _ip(octets: bytes | None) -> Ip | None:
    return ip_address(octets) if octets is not None and len(octets) in (4, 16) else None


def _uplinks(bodies: Iterator[bytes]) -> Iterator[int]:
    """Yield the interfaces of default routes in any table, and of routes that replace one.

    Namely the two halves of IPv4 that VPN clients set, and 2000::/3.
    """
    for body in bodies:
        if len(body) < _ROUTE.size:
            continue
        family, length, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(body)
        if kind != _RTN_UNICAST or length > DEFAULT_LENGTHS.get(family, -1):
            continue
        told = attributes(body[_ROUTE.size :])
        out = told.get(_RTA_OIF, b"")
        if len(out) == 4:
            yield struct.unpack("=i", out)[0]
        yield from _next_hops(told.get(_RTA_MULTIPATH, b""))


def _next_hops(octets: bytes) -> Iterator[int]:
    at = 0
    while len(octets) - at >= _NEXT_HOP.size:
        length, _, _, link = _NEXT_HOP.unpack_from(octets, at)
        if not _NEXT_HOP.size <= length <= len(octets) - at:
            return
        yield link
        at += _aligned(length)
