"""Compiles [protect]: names that may have private addresses, and addresses that nobody may have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .._domains import DomainSet, DomainSetBuilder
from .._protection import Protection
from ..config.addresses import read_addresses
from ..config.files import read_text
from ..config.schema import Protect
from ..config.text import path_text
from ..config.values import Addresses, AnyDomain, DomainFile, Network
from .domain_lists import PROBLEMS_MAX, DomainLists

MAPPED = 0xFFFF << 32  # ::ffff:0:0, before an IPv4 address


class ProtectionCompiler:
    """Takes [protect], and yields a line for each thing that is wrong with its lists.

    `former`: what files of addresses have named before, should one be gone.
    """

    def __init__(
        self, lists: DomainLists, key: bytes, former: Mapping[Path, tuple[Network, ...]]
    ) -> None:
        self._lists = lists
        self._former = former
        self._allowed = DomainSetBuilder(key)
        self._networks: list[Network] = []
        self.bogus: dict[Path, tuple[Network, ...]] = {}

    def add(self, section: Protect) -> Iterator[str]:
        """Take what the section names."""
        yield from self._add_allowed(section.rebind_allow)
        for entry in section.bogus_answers:
            if isinstance(entry, Addresses):
                self._networks.append(entry.network)
            else:
                yield from self._add_file(entry.path)

    def _add_allowed(self, domains: Iterable[AnyDomain]) -> Iterator[str]:
        for entry in domains:
            if isinstance(entry, DomainFile):
                yield from self._lists.load(entry.path)
                if (found := self._lists.read.get(entry.path)) is not None:
                    self._allowed.add_all(found, 1)
            else:
                self._allowed.add(entry.wire, 1)

    def _add_file(self, path: Path) -> Iterator[str]:
        where = path_text(path)
        found: list[Network] = []
        wrong = 0
        try:
            for line, one in read_addresses(read_text(path, regular=True)):
                if not isinstance(one, str):
                    found.append(one)
                    continue
                wrong += 1
                if wrong <= PROBLEMS_MAX:
                    yield f"{where}:{line}: {one}"
            if wrong > PROBLEMS_MAX:
                yield f"{where}: {wrong - PROBLEMS_MAX} more lines are not addresses"
            if not found:
                yield f"{where}: contains no address (write one per line)"
            self.bogus[path] = tuple(found)
        except ValueError as error:
            former = self._former.get(path)
            kept = "" if former is None else f"; its former {len(former):,} addresses stay in use"
            yield f"{where}: {error}{kept}"
            if former is not None:
                self.bogus[path] = former
        self._networks += self.bogus.get(path, ())

    def compile(self, section: Protect) -> Protection:
        """Return the protection with what was added."""
        return Protection(
            rebind=section.rebind,
            rebind_allow=DomainSet(self._allowed.compile()),
            bogus=spans(self._networks),
            minimal_any=section.minimal_any,
        )


def spans(networks: Iterable[Network]) -> list[tuple[bytes, bytes]]:
    """Return the first and last address of each network, sorted, those that overlap as one."""
    joined: list[list[int]] = []
    for first, last in sorted(_span(one) for one in networks):
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], last)
        else:
            joined.append([first, last])
    return [(first.to_bytes(16, "big"), last.to_bytes(16, "big")) for first, last in joined]


def _span(network: Network) -> tuple[int, int]:
    base = MAPPED if network.version == 4 else 0
    return base | int(network[0]), base | int(network[-1])
