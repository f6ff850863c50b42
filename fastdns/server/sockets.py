"""The listening sockets: bound once, by the supervisor, and served by whoever it forks."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import attrs

from ..config.schema import Address, Listen
from ..errors import StartError

log = logging.getLogger(__name__)

RECEIVE_BUFFER = 4 * 1024 * 1024  # octets: what queues while a worker is replaced
BACKLOG = 256
PORT_TRIES = 16

# Not in Python's socket module: <linux/in.h>, <linux/in6.h>, <asm-generic/socket.h>.
_SO_RCVBUFFORCE = 33
_IP_PKTINFO = 8
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_OMIT = 5  # no path MTU learned from forged ICMP: RFC 9715 section 3.1


@attrs.frozen
class Listeners:
    """The sockets of one listen address."""

    address: Address
    udp: socket.socket
    tcp: socket.socket


def bind_all(listen: Listen) -> list[Listeners]:
    """Bind every listen address, UDP and TCP. StartError names what is in the way and the remedy.

    A machine without IPv6 is no reason not to start with the default addresses.
    """
    bound: list[Listeners] = []
    for address in listen.dns:
        try:
            bound.append(_bind(address))
        except OSError as error:
            missing = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
            if missing and listen == Listen() and address.host == "::1":
                log.warning("no IPv6 here: not listening on %s", address)
                continue
            raise StartError(_why_not(address, error)) from error
    return bound


def granted_receive_buffer() -> int:
    """Return the octets of receive buffer that a UDP socket of ours would get here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return _enlarge_receive_buffer(probe)


def _bind(address: Address) -> Listeners:
    tries = PORT_TRIES if address.port == 0 else 1
    while True:
        tries -= 1
        tcp = _open(address, socket.SOCK_STREAM)
        try:
            # With port 0 the kernel chooses; UDP then takes the same number.
            chosen = attrs.evolve(address, port=tcp.getsockname()[1])
            udp = _open(chosen, socket.SOCK_DGRAM)
        except OSError:
            tcp.close()
            if tries == 0:
                raise
            continue
        tcp.listen(BACKLOG)
        return Listeners(chosen, udp, tcp)


def _open(address: Address, kind: socket.SocketKind) -> socket.socket:
    opened = socket.socket(address.family, kind | socket.SOCK_NONBLOCK)
    try:
        if address.family is socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _prepare_udp(opened, address)
        opened.bind(address.sockaddr)
    except OSError:
        opened.close()
        raise
    return opened


def _prepare_udp(opened: socket.socket, address: Address) -> None:
    _enlarge_receive_buffer(opened)
    wildcard = address == address.wildcard
    if address.family is socket.AF_INET:
        opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, int(wildcard))
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_OMIT)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, int(wildcard))


def _enlarge_receive_buffer(opened: socket.socket) -> int:
    """Ask for RECEIVE_BUFFER, by force where allowed; return what it is now."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    # The kernel doubles the number for its own bookkeeping: socket(7).
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def _why_not(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = _holder(address.port)
        remedy = f"stop it, or choose another address with --listen {address.host}:PORT"
        if holder.startswith("systemd-resolve"):
            remedy = "set DNSStubListener=no in /etc/systemd/resolved.conf and restart it"
        return f"{address} is in use by {holder}; {remedy}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{address}: a port below 1024 needs root or CAP_NET_BIND_SERVICE; "
            f"start fastdns with it, or choose another port with --listen"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address}: no interface has this address; name another one with --listen"
    return f"{address}: {error.strerror}; choose another address with --listen"


def _holder(port: int) -> str:
    """Name the process that has bound the port, as well as we may see it."""
    inodes = set(_inodes_on(port))
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            for descriptor in os.scandir(f"/proc/{entry.name}/fd"):
                target = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor.path))
                if target and target[1] in inodes:
                    name = Path(f"/proc/{entry.name}/comm").read_text(encoding="utf-8").strip()
                    return f"{name} (pid {entry.name})"
        except OSError:
            continue  # it ended meanwhile, or is not ours to look at
    return "another process (root can see which: run this as root, or `ss -lunp`)"


def _inodes_on(port: int) -> Iterator[str]:
    for table in ("udp", "udp6", "tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            listening = table.startswith("udp") or fields[3] == "0A"
            if listening and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
