"""Which upstreams there are: the configured ones, those of a file, those that the system uses."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import attrs

from ..config.schema import Address, Config, Listen, Server, ServerFile
from ..config.servers import parse_server, read_server_file

log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
STUB_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
STUBS = {"127.0.0.53", "127.0.0.54"}  # where systemd-resolved listens


class Sources:
    """The upstreams of a configuration, kept up to date with the files that name them."""

    def __init__(self, config: Config) -> None:
        self._listen = config.listen
        self._configured = config.upstream.servers
        self._files = [one.path for one in self._configured if isinstance(one, ServerFile)]
        if not self._configured:
            self._files = [RESOLV_CONF, STUB_RESOLV_CONF]
        self._last_good: dict[Path, tuple[Server, ...]] = {}
        self._seen: list[tuple[int, ...] | None] | None = None
        self.servers: tuple[Server, ...] = ()
        self.refresh()

    def refresh(self) -> bool:
        """Look whether a file has changed; return True when `servers` is another list now.

        A file that has vanished, cannot be read or names no upstream leaves its former ones in use.
        """
        seen = [_signature(path) for path in self._files]
        if seen == self._seen:
            return False
        self._seen = seen
        servers = self._configured_servers() if self._configured else self._system_servers()
        if not servers or servers == self.servers:
            return False
        self.servers = servers
        return True

    def _configured_servers(self) -> tuple[Server, ...]:
        servers: list[Server] = []
        for one in self._configured:
            servers += self._from_file(one.path) if isinstance(one, ServerFile) else [one]
        return self._without_ourselves(servers)

    def _from_file(self, path: Path) -> tuple[Server, ...]:
        listed, problems = read_server_file(path)
        for problem in problems:
            log.warning("%s", problem)
        if not listed and path in self._last_good:
            log.warning("%s names no upstream; those it named before stay in use", path)
            return self._last_good[path]
        self._last_good[path] = listed
        return listed

    def _without_ourselves(self, servers: Sequence[Server]) -> tuple[Server, ...]:
        others = [one for one in servers if not _is_ourselves(one.address, self._listen)]
        for one in servers:
            if one not in others:
                log.warning("upstream %s is fastdns itself and is left out", one)
        return tuple(dict.fromkeys(others))

    def _system_servers(self) -> tuple[Server, ...]:
        servers = system_servers(RESOLV_CONF, STUB_RESOLV_CONF, self._listen)
        if not servers and self.servers:
            log.warning("%s names no usable resolver; the former ones stay in use", RESOLV_CONF)
        return servers


def system_servers(resolv_conf: Path, stub_resolv_conf: Path, own: Listen) -> tuple[Server, ...]:
    """Return the nameservers that the system uses, but for those that are ourselves.

    Behind systemd-resolved's stub stand the real ones, in a file of its own.
    """
    servers = _nameservers(resolv_conf)
    if any(server.address.host in STUBS for server in servers):
        servers = [
            *(server for server in servers if server.address.host not in STUBS),
            *_nameservers(stub_resolv_conf),
        ]
    return tuple(
        dict.fromkeys(server for server in servers if not _is_ourselves(server.address, own))
    )


def _nameservers(path: Path) -> Sequence[Server]:
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
            server = parse_server(words[1])
        except ValueError as problem:
            log.warning("%s: %s", path, problem)
            continue
        if isinstance(server, Server):
            servers.append(server)
    return servers


def _is_ourselves(address: Address, own: Listen) -> bool:
    """Return True when a query sent there would come back: a loop that only time-outs would end."""
    if own.covers(address):
        return True
    wildcard = "::" if address.family is socket.AF_INET6 else "0.0.0.0"
    return Address(wildcard, address.port) in own.dns and _is_local(address)


def _is_local(address: Address) -> bool:
    """Return True when an interface of this machine has the address: it can be bound to."""
    try:
        with socket.socket(address.family, socket.SOCK_DGRAM) as probe:
            probe.bind(attrs.evolve(address, port=0).sockaddr)
    except OSError:
        return False
    return True


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
