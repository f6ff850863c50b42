"""The listen addresses: free, ours, or another program's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

import attrs

from ..config.schema import Config
from ..config.values import Address
from ..listen.services import DNS, HTTPS
from ..machine.port_owners import Bound, Port, Process, leader, read_process
from ..upstream.sources import Sources
from ..upstream.system import is_ourselves
from . import units
from .commands import Commands
from .findings import Finding, ok, wrong
from .services import way_out

ABOUT = "port"


@attrs.frozen
class Claim:
    """Sockets of one process, and which of our addresses they conflict with."""

    process: Process | None  # None: not visible to this user
    wanted: tuple[Address, ...]
    held: tuple[Bound, ...]


def look(config: Config, daemon: int | None, commands: Commands) -> Iterator[Finding]:
    """Say who holds each listen address, and who else uses the port; `daemon`: our own pid."""
    places: dict[tuple[str, int], list[Address]] = {}
    for service, address in config.listen.addresses:
        if address.port:  # else any free one
            places.setdefault((service, address.port), []).append(address)
    for (service, number), wanted in places.items():
        port = Port.look(number)
        if service != DNS.name:  # HTTP/3 of a web server, over UDP, is not in the way
            port = attrs.evolve(
                port, bound=tuple(one for one in port.bound if one.protocol == "TCP")
            )
        claims = _claims(port, wanted, daemon)
        for claim in claims:
            if service == DNS.name:
                yield _taken(claim, config, port, commands)
            else:
                yield _taken_by_server(claim, service)
        taken = {address for claim in claims for address in claim.wanted}
        free = [address for address in wanted if address not in taken]
        if free and daemon is None:
            yield ok(ABOUT, f"{_listed(free)}: no other program listens there")
        yield from _neighbours(port, wanted, daemon)


def _claims(port: Port, wanted: Iterable[Address], daemon: int | None) -> list[Claim]:
    found: dict[int, Claim] = {}
    for address in wanted:
        for one in port.clashing(address):
            pids = port.pids([one])
            if daemon in pids or _is_kept_for_us(pids):
                continue
            process = leader(pids)
            if process is None and daemon is not None:
                continue  # not visible, but it is there: another check asks it
            key = process.pid if process else 0
            before = found.get(key, Claim(process, (), ()))
            found[key] = Claim(
                process,
                tuple(dict.fromkeys((*before.wanted, address))),
                tuple(dict.fromkeys((*before.held, one))),
            )
    return list(found.values())


def _is_kept_for_us(pids: Set[int]) -> bool:
    """Whether only systemd holds a socket, for the next start of fastdns."""
    if 1 not in pids or not units.keeps_sockets(units.FASTDNS):
        return False
    others = [process for pid in pids - {1} if (process := read_process(pid)) is not None]
    return all(process.unit == units.FASTDNS for process in others)


def _taken(claim: Claim, config: Config, port: Port, commands: Commands) -> Finding:
    where = f"{_listed(claim.wanted)} ({_protocols(claim.held)})"
    if claim.process is None:
        return wrong(ABOUT, f"another program holds {where}", "run this as root to see who")
    text = f"{claim.process} holds {where}"
    held = [one.address for one in claim.held]
    if not set(held) <= set(claim.wanted):
        text = f"{claim.process} listens on {_listed(held)}, which conflicts with {where}"
    given_up = [one.address for one in port.bound if claim.process.pid in port.pids([one])]
    way = way_out(claim.process, held, config.listen.dns, given_up, commands)
    if way.remedy is not None and all(
        is_ourselves(server.address, given_up) for server in Sources(config).servers
    ):
        first = "fastdns would have no upstream: first name one in upstream.servers, then"
        return wrong(ABOUT, text, f"{first} {way.do}")
    return wrong(ABOUT, text, way.do, way.remedy)


def _taken_by_server(claim: Claim, service: str) -> Finding:
    """Name a web server, or another resolver: to stop that is not for `--fix`."""
    where = f"{_listed(claim.wanted)} (listen.{service})"
    if claim.process is None:
        return wrong(ABOUT, f"another program holds {where}", "run this as root to see who")
    do = f"name another port in listen.{service}, or stop that program"
    if service == HTTPS.name:
        do += ", or configure it to pass /dns-query on to fastdns (docs/encryption.md)"
    return wrong(ABOUT, f"{claim.process} holds {where}", do)


def _neighbours(port: Port, wanted: Iterable[Address], daemon: int | None) -> Iterator[Finding]:
    """Name programs with the same port at other addresses, which is harmless."""
    clashing = {one for address in wanted for one in port.clashing(address)}
    beside: dict[Process, list[Address]] = {}
    for one in port.bound:
        pids = port.pids([one])
        process = leader(pids)
        if one not in clashing and process is not None and daemon not in pids:
            beside.setdefault(process, []).append(one.address)
    for process, addresses in beside.items():
        yield ok(ABOUT, f"{process} listens on {_listed(addresses)}, which does not conflict")


def _listed(addresses: Iterable[Address]) -> str:
    *others, last = dict.fromkeys(map(str, addresses))
    return f"{', '.join(others)} and {last}" if others else last


def _protocols(bound: Iterable[Bound]) -> str:
    return " and ".join(sorted({one.protocol for one in bound}, reverse=True))
