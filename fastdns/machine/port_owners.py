"""Which processes have bound a port: the kernel's tables of sockets, and their descriptors.

Only root sees the descriptors of other users' processes.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from itertools import pairwise
from pathlib import Path
from socket import AF_INET

import attrs

from ..config.text import path_text
from ..config.values import Address

_TABLES = ("udp", "udp6", "tcp", "tcp6")
_LISTENING = "0A"  # the state of a TCP socket: <net/tcp_states.h>
_INIT = 1
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_UNIT = re.compile(r"/([^/]+\.(?:service|socket|scope))(?:/|$)", re.M)


@attrs.frozen
class Bound:
    """A socket that is bound to a port; those of TCP listen."""

    protocol: str  # "UDP" or "TCP"
    address: Address
    inode: int


@attrs.frozen
class Process:
    """The process that holds a socket."""

    pid: int
    name: str
    command: str = ""
    unit: str | None = None  # the unit in which systemd runs it
    words: tuple[str, ...] = ()  # of the command line

    def __str__(self) -> str:
        """Its name in messages: "named (pid 412, named.service)"."""
        unit = "" if self.unit is None else f", {self.unit}"
        if not self.is_fastdns:
            return f"{self.name} (pid {self.pid}{unit})"
        state = f", state in {path_text(self.state)}" if self.state else ""
        return f"another fastdns (pid {self.pid}{unit}{state})"

    @property
    def is_fastdns(self) -> bool:
        """Whether it is a supervisor of fastdns, which the kernel may know as "python3"."""
        before = self.words[: self.words.index("serve")] if "serve" in self.words else ()
        return any(one.rpartition("/")[2] == "fastdns" for one in before)

    @property
    def state(self) -> str:
        """What it was given as --state; "": nothing."""
        for word, after in pairwise((*self.words, "")):
            if word == "--state":
                return after
            if word.startswith("--state="):
                return word.partition("=")[2]
        return ""


@attrs.frozen
class Port:
    """All sockets bound to a port in this network namespace, and their processes."""

    bound: tuple[Bound, ...]
    holders: Mapping[int, Set[int]]  # by inode, the ids of all visible processes

    @classmethod
    def look(cls, number: int) -> Port:
        """Return the port as it is now."""
        bound = tuple(_bound_to(number))
        return cls(bound, processes_of({one.inode for one in bound}))

    def clashing(self, wanted: Address) -> list[Bound]:
        """Return the sockets that prevent binding the address.

        The tables do not tell which sockets for all of IPv6 also take IPv4: those whose process has
        none for IPv4 do.
        """
        found = []
        for one in self.bound:
            wildcard = one.address == one.address.wildcard
            if one.address.family is not wanted.family:
                clashes = wanted.family is AF_INET and wildcard and not self._has_ipv4(one)
            else:
                clashes = wildcard or wanted == wanted.wildcard or _plain(wanted) == one.address
            if clashes:
                found.append(one)
        return found

    def pids(self, bound: Iterable[Bound]) -> set[int]:
        """Return the ids of all processes that hold one of the sockets."""
        return {pid for one in bound for pid in self.holders.get(one.inode, ())}

    def _has_ipv4(self, one: Bound) -> bool:
        """Return True if all processes of the socket also hold one for IPv4.

        Of processes that we may not inspect nothing is known: then any other one counts.
        """
        return any(
            other.address.family is AF_INET
            and other.protocol == one.protocol
            and self.pids([one]) <= self.pids([other])
            for other in self.bound
        )


def listens_on(pid: int) -> tuple[Address, ...] | None:
    """Return where the process listens for TCP, in this network; None: it is not visible."""
    try:
        descriptors = list(os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    inodes = set()
    for descriptor in descriptors:
        with suppress(OSError):
            if target := _SOCKET.fullmatch(os.readlink(descriptor.path)):
                inodes.add(int(target[1]))
    found = (one for one in _bound() if one.protocol == "TCP" and one.inode in inodes)
    return tuple(dict.fromkeys(one.address for one in found))


def processes_of(inodes: Collection[int]) -> dict[int, set[int]]:
    """Return, by socket, the ids of all visible processes that hold it."""
    found: dict[int, set[int]] = {}
    wanted = set(inodes)
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it ended meanwhile, or we may not inspect it
            for descriptor in os.scandir(f"/proc/{entry.name}/fd"):
                with suppress(OSError):
                    target = _SOCKET.fullmatch(os.readlink(descriptor.path))
                    if target and int(target[1]) in wanted:
                        found.setdefault(int(target[1]), set()).add(int(entry.name))
    return found


def leader(pids: Collection[int]) -> Process | None:
    """Return the first of these processes: the parent of the others, and not systemd's store."""
    others = {pid for pid in pids if pid != _INIT} or set(pids)
    for pid in sorted(others):
        if _parent(pid) not in others and (process := read_process(pid)) is not None:
            return process
    return None


def read_process(pid: int) -> Process | None:
    """Return the name of the process and its unit; None: it has ended."""
    place = Path(f"/proc/{pid}")
    try:
        name = (place / "comm").read_text(encoding="utf-8", errors="replace").strip()
        line = (place / "cmdline").read_bytes().decode("utf-8", "replace")
        groups = (place / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    units = _UNIT.findall(groups)  # the outermost: below user@1000.service lie a user's own
    words = tuple(line.removesuffix("\0").split("\0"))
    unit = path_text(units[0]) if units else None
    return Process(pid, path_text(name), " ".join(words).strip(), unit, words)


def holder_of(wanted: Address) -> Process | None:
    """Return which other process prevents binding the address; None: it is not visible."""
    port = Port.look(wanted.port)
    others = [one for one in port.clashing(wanted) if os.getpid() not in port.pids([one])]
    return leader(port.pids(others))


def _bound_to(port: int) -> Iterator[Bound]:
    return (one for one in _bound() if one.address.port == port)


def _bound() -> Iterator[Bound]:
    for table in _TABLES:
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # the kernel has no IPv6
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            host, _, number = local.rpartition(":")
            if table.startswith("udp") or state == _LISTENING:
                address = Address(_host(host), int(number, 16))
                yield Bound(table[:3].upper(), address, int(rest[5]))


def _host(digits: str) -> str:
    """Return the address that the kernel prints as native 32-bit words of what is on the wire."""
    words = (digits[at : at + 8] for at in range(0, len(digits), 8))
    address = ip_address(b"".join(struct.pack("=I", int(word, 16)) for word in words))
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def _plain(address: Address) -> Address:
    """Return a link-local address without its interface, which the tables do not name."""
    return attrs.evolve(address, host=address.host.partition("%")[0])


def _parent(pid: int) -> int:
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(line.rpartition(") ")[2].split()[1])
