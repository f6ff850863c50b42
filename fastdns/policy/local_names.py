"""The owner's names, compiled, and what is to be told of them."""

from __future__ import annotations

import attrs

from .._local import LocalRecords
from .words import counted

LAST_SOURCE = 255  # a source has eight bits in `origin`; this one stands for all beyond
LINE_MAX = (1 << 24) - 1
DESIGNATED_SOURCE = 254  # in `_local`, too: of records made from [listen], not of a file
CONFIGURED = "local.records"
DESIGNATED = "listen.name"
A, PTR, AAAA = 1, 12, 28


@attrs.frozen
class Names:
    """The compiled names, and what is to be told of them.

    `left_out`: leases whose clients have no name. `sources`: by their number in the `origin` of a
    record. `counts`: names of each that has any; `digests`: what each has, to compare it with that
    of another time. `macs`: the hardware addresses of leases, by address.
    """

    records: LocalRecords = attrs.Factory(LocalRecords)
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    sources: tuple[str, ...] = (CONFIGURED,)
    counts: dict[str, int] = attrs.Factory(dict)
    digests: dict[str, int] = attrs.Factory(dict)
    macs: dict[bytes, bytes] = attrs.Factory(dict)

    def summary(self) -> str:
        """Return how many names there are, and in how many files."""
        files = len(self.counts.keys() - {CONFIGURED})
        count = counted(sum(self.counts.values()), "name")
        return f"{count} in {counted(files, 'file')}" if files else count

    def without_records(self) -> Names:
        """Return what is to be told of them: all but the records, which are large."""
        return attrs.evolve(self, records=LocalRecords())

    def place_of(self, origin: int) -> tuple[str, int | None]:
        """Return where a record was written: ("/etc/hosts", 12), ("local.records[2]", None)."""
        number, line = origin >> 24, origin & LINE_MAX
        if number == 0:
            return f"{CONFIGURED}[{line}]", None
        if number == DESIGNATED_SOURCE:
            return DESIGNATED, None
        if number == LAST_SOURCE:
            return "another file", None
        return self.sources[number], line or None
