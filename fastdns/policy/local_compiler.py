"""Compiles the owner's names: of records, then of hosts files, of fastdns itself, and of leases.

What comes first counts: a name that has records gets none from a lease, and an address that has a
name in reverse gets no other one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from .._hosts import read_hosts, reverse_of
from .._local import LocalBuilder
from ..config.names import NAME_MAX
from ..config.schema import Local
from ..config.text import describe
from ..config.values import CNAME, Record
from .designated import TTL as DESIGNATED_TTL
from .leases.lease import Lease, is_top_level
from .local_files import LocalFile
from .local_names import (
    AAAA,
    CONFIGURED,
    DESIGNATED_SOURCE,
    LAST_SOURCE,
    LINE_MAX,
    PTR,
    A,
    Names,
)
from .problems import PROBLEMS_MAX, shortened, wrong_lines

LEASE_TTL = 60  # seconds
LAST_TTL = 1  # in the last LEASE_TTL seconds of a lease: its name should not outlive it


@attrs.frozen
class Given:
    """A name that a lease gives to its address."""

    label: str
    address: bytes
    ttl: int
    source: str = attrs.field(eq=False)
    line: int | None = attrs.field(eq=False)
    mac: bytes | None = None  # the client's hardware address


@attrs.frozen
class Refused:
    """A lease whose client gets no name."""

    source: str
    line: int | None = attrs.field(eq=False)
    name: str
    reason: str

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{where}: the client {describe(self.name)} gets no name: {self.reason}"


@attrs.frozen
class Clients:
    """The names of clients, and those that get none. `due`: when that changes (inf: never)."""

    given: tuple[Given, ...]
    refused: tuple[Refused, ...]
    due: float = attrs.field(eq=False)


def given_by_leases(files: Iterable[LocalFile], now: float) -> Clients:
    """Return the names that clients have.

    Of two clients with one name, the one with the newer lease has it; a client may have several
    addresses.
    """
    best: dict[tuple[str, int], list[tuple[Lease, str]]] = {}
    refused: list[Refused] = []
    for file in files:
        for lease in file.content.leases:
            if lease.is_over(now):
                continue
            label = lease.label
            if not label:
                refused.append(Refused(file.name, lease.line, lease.name, lease.refusal))
                continue
            there = best.setdefault((label, len(lease.address)), [])
            if there and lease.outlasts(there[0][0]):
                there.clear()
            if not there or (lease.expires, file.name) == (there[0][0].expires, there[0][1]):
                there.append((lease, file.name))
    chosen, due = [], float("inf")
    for (label, _), several in sorted(best.items()):
        for lease, source in several:
            ttl = LEASE_TTL
            if lease.expires is not None:
                is_last = lease.expires - now <= LEASE_TTL
                ttl = LAST_TTL if is_last else LEASE_TTL
                due = min(due, lease.expires - (0 if is_last else LEASE_TTL))
            chosen.append(Given(label, lease.address, ttl, source, lease.line, lease.mac))
    return Clients(tuple(chosen), tuple(refused), due)


def compile_names(
    section: Local,
    files: Sequence[LocalFile],
    clients: Clients,
    designated: Iterable[tuple[bytes, int, bytes]] = (),
) -> Names:
    """Return all names. OverflowError: there are too many.

    `designated`: name, type and RDATA of the records of fastdns itself.
    """
    compiler = _Compiler(section.domain.wire)
    compiler.digests[CONFIGURED] = hash(section.records)
    for place, one in enumerate(section.records):
        if isinstance(one, Record):
            compiler.add(one, CONFIGURED, place)
    for file in files:
        compiler.add_file(file)
    compiler.add_designated(designated)
    taken = compiler.add_leases(clients.given)
    names = Names(
        compiler.builder.compile(),
        tuple(compiler.problems),
        (),
        tuple(compiler.sources),
        {name: count for name, count in compiler.counts.items() if count},
        compiler.digests,
        {one.address: one.mac for one in clients.given if one.mac is not None},
    )
    refused = [*clients.refused, *_without_name(taken, names)]
    return attrs.evolve(names, left_out=tuple(_told(refused)))


def _without_name(taken: Iterable[tuple[Given, list[bytes]]], names: Names) -> Iterator[Refused]:
    """Yield the clients whose names others have. Not those that have the very address there."""
    for one, full in taken:
        if not full:
            reason = "alone it may be a domain of the Internet (set local.domain)"
            yield Refused(one.source, one.line, one.label, reason)
            continue
        found = next((each for each in map(names.records.find, full) if each is not None), None)
        if found is None or any(data == one.address for _, _, data, _ in found[2]):
            continue
        where, line = names.place_of(found[2][0][3])
        place = where if line is None else f"{where}:{line}"
        yield Refused(one.source, one.line, one.label, f"{place} has that name")


def _told(refused: Iterable[Refused]) -> Iterator[str]:
    """Yield a line for each, and for many of one file how many more there are."""
    of_source: dict[str, list[str]] = {}
    for one in sorted(refused, key=lambda one: one.line or 0):
        of_source.setdefault(one.source, []).append(str(one))
    for source, lines in of_source.items():
        yield from shortened(lines, source, len(lines), "clients get no name")


class _Compiler:
    def __init__(self, domain: bytes) -> None:
        self.builder = LocalBuilder()
        self.sources = [CONFIGURED]
        self.counts: dict[str, int] = {}
        self.digests: dict[str, int] = {}
        self.problems: list[str] = []
        self._domain = domain
        self._types: dict[bytes, set[int]] = {}  # of the names of records

    def add_file(self, file: LocalFile) -> None:
        """Add a file of records or of hosts; of leases only its name."""
        self.sources.append(file.name)
        self.problems += file.problems
        content = file.content
        self.digests[file.name] = hash((self._domain, content.hosts, content.records))
        if file.place.kind == "hosts":
            names, wrong, first = read_hosts(
                content.hosts, self.builder, self._number(file.name), self._domain, PROBLEMS_MAX
            )
            self.counts[file.name] = names
            self.problems += wrong_lines(file.name, wrong, first)
        problems = []
        for line, record in content.records:
            if not self.add(record, file.name, line):
                problems.append(
                    f"{file.name}:{line}: {describe(record.text)}: a name with a CNAME record has "
                    "no others (leave one out)"
                )
        self.problems += shortened(problems, file.name, len(problems))

    def add(self, record: Record, source: str, line: int) -> bool:
        """Add a record; return False if it contradicts those of the name."""
        types = self._types.setdefault(record.name, set())
        if CNAME in types | {record.rtype} and types - {record.rtype}:  # RFC 2181 section 10.1
            return False
        if not types:
            self.counts[source] = self.counts.get(source, 0) + 1
        types.add(record.rtype)
        origin = self._number(source) << 24 | min(line, LINE_MAX)
        self.builder.add(record.name, record.rtype, record.ttl, record.data, origin)
        return True

    def add_designated(self, records: Iterable[tuple[bytes, int, bytes]]) -> None:
        """Add the records of fastdns itself, of names that have none yet."""
        records = list(records)
        taken = {name for name, _, _ in records if self.builder.has(name)}
        for name, rtype, data in records:
            if name not in taken:
                self.builder.add(name, rtype, DESIGNATED_TTL, data, DESIGNATED_SOURCE << 24)

    def add_leases(self, given: Iterable[Given]) -> list[tuple[Given, list[bytes]]]:
        """Give clients their names, as far as records and hosts have left these.

        Return the clients without a name, and the names they would have had.
        """
        free: list[tuple[Given, list[bytes]]] = []
        taken: list[tuple[Given, list[bytes]]] = []
        for one in given:
            full = list(self._names_of(one.label))
            is_free = full and not any(self.builder.has(name) for name in full)
            (free if is_free else taken).append((one, full))
        for one, full in free:
            origin = self._number(one.source) << 24 | min(one.line or 0, LINE_MAX)
            rtype = A if len(one.address) == 4 else AAAA
            for name in full:
                self.builder.add(name, rtype, one.ttl, one.address, origin)
            reverse = reverse_of(one.address)
            if not self.builder.has(reverse):
                self.builder.add(reverse, PTR, one.ttl, full[0], origin)
        of_source: dict[str, set[Given]] = {}
        for one, _ in free:
            of_source.setdefault(one.source, set()).add(one)
        for source, several in of_source.items():
            self.counts[source] = len({one.label for one in several})
            self.digests[source] = hash(frozenset((one.label, one.address) for one in several))
        return taken

    def _names_of(self, label: str) -> Iterator[bytes]:
        """Yield the names of a client: under the domain, and alone."""
        alone = bytes((len(label),)) + label.encode()
        if self._domain and len(alone) + len(self._domain) <= NAME_MAX:
            yield alone + self._domain
        if not is_top_level(label):
            yield alone + b"\0"

    def _number(self, source: str) -> int:
        number = self.sources.index(source)
        return number if number < DESIGNATED_SOURCE else LAST_SOURCE
