"""The neighbour table of the kernel: which hardware address has which IP address on the LAN.

One machine has several addresses, and with IPv6 new ones every day: its hardware address is what
they have in common. The kernel learns it when the machine first asks, or is first answered.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import attrs

from .netlink import DUMP_SECONDS, RECEIVE_OCTETS, attributes, dump, messages, open_socket

NEWS_AT_ONCE = 256  # the descriptor stays readable for the rest
DISCARD_PORT = 9  # RFC 863
MAC_OCTETS = 6

# <linux/neighbour.h>, <linux/rtnetlink.h>
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, interface, state, flags, type
_NEW, _DEL, _GET = 28, 29, 30
_GROUP = 0x4
_NDA_DST, _NDA_LLADDR = 1, 2
_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # reachable, stale, delay, probe, permanent
_PROXY = 0x08
_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 16}
_MAPPED = bytes(10) + b"\xff\xff"


@attrs.frozen
class Neighbour:
    """An address on a LAN. `mac`: None means that it is not known, or not any more."""

    address: bytes  # 16 octets, an IPv4 address as ::ffff:192.0.2.1
    link: int  # the interface of a link-local address, else 0
    mac: bytes | None


class Lost(Exception):
    """There was more news than the socket holds: the whole table has to be read again."""


def read_neighbours() -> list[Neighbour]:
    """Return those whose hardware addresses are known. OSError: the kernel does not tell."""
    with closing(open_socket(0)) as kernel:
        kernel.settimeout(DUMP_SECONDS)
        found = [_neighbour(_NEW, body) for body in dump(kernel, _GET, _NEW)]
    return [one for one in found if one is not None and one.mac is not None]


class NeighbourNews:
    """Hears of changes of the table. OSError: the kernel does not tell."""

    def __init__(self) -> None:
        self._socket = open_socket(_GROUP)
        self._socket.setblocking(False)
        self._probes: dict[int, socket.socket] = {}

    @property
    def descriptor(self) -> int:
        """Readable when there is news."""
        return self._socket.fileno()

    def take(self) -> Iterator[Neighbour]:
        """Yield the news, oldest first. Lost: some were lost."""
        for _ in range(NEWS_AT_ONCE):
            try:
                octets, sender = self._socket.recvfrom(RECEIVE_OCTETS)
            except BlockingIOError:
                return
            except OSError as error:  # ENOBUFS
                raise Lost from error
            if sender[0] != 0:
                continue  # another process
            for kind, _, body in messages(octets):
                one = _neighbour(kind, body)
                if one is not None:
                    yield one

    def look_for(self, address: bytes, link: int) -> bool:
        """Have the kernel ask for the hardware address of a neighbour; False: impossible.

        An empty packet, which goes no further than the LAN, makes it do so.
        """
        is_four = address.startswith(_MAPPED)
        family = socket.AF_INET if is_four else socket.AF_INET6
        host = socket.inet_ntop(family, address[12:] if is_four else address)
        to = (host, DISCARD_PORT) if is_four else (host, DISCARD_PORT, 0, link)
        try:
            self._probe(family).sendto(b"", to)
        except OSError:
            return False
        return True

    def close(self) -> None:
        for one in (self._socket, *self._probes.values()):
            one.close()

    def _probe(self, family: int) -> socket.socket:
        if family not in self._probes:
            probe = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            probe.setblocking(False)
            if family == socket.AF_INET:
                probe.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            else:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
            self._probes[family] = probe
        return self._probes[family]


def _neighbour(kind: int, body: bytes) -> Neighbour | None:
    if kind not in (_NEW, _DEL) or len(body) < _NEIGHBOUR.size:
        return None
    family, link, state, flags, _ = _NEIGHBOUR.unpack_from(body)
    told = attributes(body[_NEIGHBOUR.size :])
    address, mac = told.get(_NDA_DST, b""), told.get(_NDA_LLADDR, b"")
    if len(address) != _FAMILIES.get(family) or flags & _PROXY:
        return None
    is_known = kind == _NEW and state & _USABLE and len(mac) == MAC_OCTETS and any(mac)
    if family == socket.AF_INET:
        address = _MAPPED + address
    is_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
    return Neighbour(address, link if is_local else 0, mac if is_known else None)
