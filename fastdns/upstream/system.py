"""The resolvers that this machine already uses, from the files of its owner or its network."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path

import attrs

from ..config.servers import parse_server
from ..config.values import Address, Server

log = logging.getLogger(__name__)

STUBS = {"127.0.0.53", "127.0.0.54"}  # where systemd-resolved listens


def system_servers(
    resolv_conf: Path, stub_resolv_conf: Path, own: Collection[Address]
) -> tuple[Server, ...]:
    """Return the nameservers of the system, without ourselves.

    `own` are the addresses that we listen on. If systemd-resolved's stub is named, the real ones
    come from its other file. A file that cannot be read names none.
    """
    servers: list[Server] = []
    for server in _nameservers(resolv_conf):
        if server.address.host in STUBS and server.address not in own:
            servers += _nameservers(stub_resolv_conf)
        else:
            servers.append(server)
    return tuple(dict.fromkeys(one for one in servers if not is_ourselves(one.address, own)))


def is_ourselves(address: Address, own: Collection[Address]) -> bool:
    """Return True if a query sent there would come back: a loop that only time-outs would end."""
    return address in own or (address.wildcard in own and is_local(address))


def _nameservers(path: Path) -> list[Server]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    servers = []
    for line in lines:
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            server = parse_server(_without_useless_scope(words[1]))
        except ValueError as problem:
            log.warning("%s: %s", path, problem)
        else:
            if isinstance(server, Server):
                servers.append(server)
    return servers


def _without_useless_scope(text: str) -> str:
    """Return 2001:db8::53%eth0 without its interface, as glibc does; link-local ones need it."""
    host, percent, _ = text.partition("%")
    try:
        return host if percent and not ip_address(host).is_link_local else text
    except ValueError:
        return text


def is_local(address: Address) -> bool:
    """Return True if an interface of this machine has the address, so that it can be bound."""
    try:
        with socket.socket(address.family, socket.SOCK_DGRAM) as probe:
            probe.bind(attrs.evolve(address, port=0).sockaddr)
    except OSError:
        return False
    return True
