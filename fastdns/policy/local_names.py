"""Compiles the owner's names: of records, then of hosts files, then of leases.

What comes first counts: a name that has records gets none from a lease, and an address that has a
name in reverse gets no other one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from .._hosts import read_hosts, reverse_of
from .._local import LocalBuilder, LocalRecords
from ..config.names import NAME_MAX
from ..config.schema import Local
from ..config.text import describe
from ..config.values import CNAME, Record
from .leases.lease import Lease, is_top_level
from .local_files import PROBLEMS_MAX, LocalFile, shortened, wrong_lines
from .words import counted

A, PTR, AAAA = 1, 12, 28
LEASE_TTL = 60  # seconds
LAST_TTL = 1  # in the last LEASE_TTL seconds of a lease: its name should not outlive it
LAST_SOURCE = 255  # a source has eight bits in `origin`; this one stands for all beyond
LINE_MAX = (1 << 24) - 1
CONFIGURED = "local.records"


@attrs.frozen
class Names:
    """The compiled names, and what is to be told of them.

    `sources`: by their number in the `origin` of a record. `counts`: names of each that has any;
    `digests`: what each has, to compare it with that of another time.
    """

    records: LocalRecords = attrs.Factory(LocalRecords)
    problems: tuple[str, ...] = ()
    sources: tuple[str, ...] = (CONFIGURED,)
    counts: dict[str, int] = attrs.Factory(dict)
    digests: dict[str, int] = attrs.Factory(dict)

    def summary(self) -> str:
        """Return how many names there are, and in how many files."""
        files = len(self.counts.keys() - {CONFIGURED})
        count = counted(sum(self.counts.values()), "name")
        return f"{count} in {counted(files, 'file')}" if files else count

    def place_of(self, origin: int) -> tuple[str, int | None]:
        """Return where a record was written: ("/etc/hosts", 12), ("local.records[2]", None)."""
        number, line = origin >> 24, origin & LINE_MAX
        if number == 0:
            return f"{CONFIGURED}[{line}]", None
        if number == LAST_SOURCE:
            return "another file", None
        return self.sources[number], line or None


@attrs.frozen
class Given:
    """A name that a lease gives to its address."""

    label: str
    address: bytes
    ttl: int
    source: str = attrs.field(eq=False)


def given_by_leases(files: Iterable[LocalFile], now: float) -> tuple[tuple[Given, ...], float]:
    """Return the names that clients have, and when the next of them changes (inf: never).

    Of two clients with one name, the one with the newer lease has it; a client may have several
    addresses.
    """
    best: dict[tuple[str, int], list[tuple[Lease, str]]] = {}
    for file in files:
        for lease in file.content.leases:
            label = lease.label
            if not label or lease.is_over(now):
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
            chosen.append(Given(label, lease.address, ttl, source))
    return tuple(chosen), due


def compile_names(section: Local, files: Sequence[LocalFile], given: Iterable[Given]) -> Names:
    """Return all names. OverflowError: there are too many."""
    compiler = _Compiler(section.domain.wire)
    compiler.digests[CONFIGURED] = hash(section.records)
    for place, one in enumerate(section.records):
        if isinstance(one, Record):
            compiler.add(one, CONFIGURED, place)
    for file in files:
        compiler.add_file(file)
    compiler.add_leases(given)
    return Names(
        compiler.builder.compile(),
        tuple(compiler.problems),
        tuple(compiler.sources),
        {name: count for name, count in compiler.counts.items() if count},
        compiler.digests,
    )


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

    def add_leases(self, given: Iterable[Given]) -> None:
        """Give clients their names, as far as records and hosts have left these."""
        names = [(one, list(self._names_of(one.label))) for one in given]
        free = [
            (one, full) for one, full in names if not any(self.builder.has(name) for name in full)
        ]
        for one, full in free:
            origin = self._number(one.source) << 24
            rtype = A if len(one.address) == 4 else AAAA
            for name in full:
                self.builder.add(name, rtype, one.ttl, one.address, origin)
            reverse = reverse_of(one.address)
            if full and not self.builder.has(reverse):
                self.builder.add(reverse, PTR, one.ttl, full[0], origin)
        of_source: dict[str, set[Given]] = {}
        for one, full in free:
            if full:
                of_source.setdefault(one.source, set()).add(one)
        for source, several in of_source.items():
            self.counts[source] = len({one.label for one in several})
            self.digests[source] = hash(frozenset((one.label, one.address) for one in several))

    def _names_of(self, label: str) -> Iterator[bytes]:
        """Yield the names of a client: under the domain, and alone."""
        alone = bytes((len(label),)) + label.encode()
        if self._domain and len(alone) + len(self._domain) <= NAME_MAX:
            yield alone + self._domain
        if not is_top_level(label):
            yield alone + b"\0"

    def _number(self, source: str) -> int:
        return min(self.sources.index(source), LAST_SOURCE)
