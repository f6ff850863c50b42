"""Compiles the domains of the configuration and its lists: which group each belongs to.

Beside them: the owner's own domain, and special names that upstreams are asked about nevertheless.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from .._domain_lists import read_domains
from .._domains import DomainHashes, DomainSet, DomainSetBuilder
from .._local import LocalRecords
from .._policy import NXDOMAIN_VERDICT, ZONE_VERDICT, Policy, value_of_domain
from ..config.files import read_octets
from ..config.schema import Config, DomainFile, Forward
from ..config.text import describe, path_text

LIST_OCTETS_MAX = 256 << 20
DEFAULT_GROUP = 0
PROBLEMS_MAX = 10  # lines told about one list; the first few say what is wrong with it


@attrs.frozen
class Domains:
    """The domains of a configuration, and what is wrong with the lists that name them.

    `lists` and `key`: what each list names, without the names, should it be gone at a reload.
    """

    compiled: DomainSet
    problems: tuple[str, ...] = ()
    counts: dict[str, int] = attrs.Factory(dict)  # of each group, by its name
    lists: dict[Path, DomainHashes] = attrs.Factory(dict)
    key: bytes | None = None

    def policy(self, local: LocalRecords | None = None) -> Policy:
        """Return a policy that decides by them and, before them, by the owner's own names."""
        return Policy(domains=self.compiled, local=local)


def compile_domains(config: Config, former: Domains | None = None) -> Domains:
    """Return the domains that the configuration and its lists name.

    A domain of two groups belongs to the first. A list that cannot be read, and a line that is not
    a domain, are left out and told; of a list that could be read before, as `former` has it, its
    domains stay.
    """
    own = config.local
    if not config.forward and not own.domain.text and not own.ask_upstream:
        return Domains(DomainSet())
    compiler = _Compiler(former or Domains(DomainSet()))
    if own.domain.text:
        compiler.builder.add(own.domain.wire, value_of_domain(DEFAULT_GROUP, ZONE_VERDICT))
    for domain in own.ask_upstream:
        compiler.builder.add(domain.wire, value_of_domain(DEFAULT_GROUP))
    problems: list[str] = []
    counts: dict[str, int] = {}
    for place, group in enumerate(config.forward):
        before = len(compiler.builder)
        problems += compiler.add_group(group, f"forward[{place}].domains")
        counts[group.name] = len(compiler.builder) - before
    compiled = DomainSet(compiler.builder.compile())
    return Domains(compiled, tuple(problems), counts, compiler.lists, compiler.builder.key)


class _Compiler:
    """Takes the domains of all groups, and yields a line for each thing that is wrong with them."""

    def __init__(self, former: Domains) -> None:
        self._former = former.lists
        self.builder = DomainSetBuilder(former.key)
        self.lists: dict[Path, DomainHashes] = {}

    def add_group(self, group: Forward, key: str) -> Iterator[str]:
        value = value_of_domain(group.number, NXDOMAIN_VERDICT if group.answer else 0)
        for entry in group.domains:
            if isinstance(entry, DomainFile):
                yield from self._add_list(entry.path, value)
            elif self.builder.add(entry.wire, value) != value:
                yield f"{key}: {describe(entry.text)} belongs to an earlier group (leave one out)"

    def _add_list(self, path: Path, value: int) -> Iterator[str]:
        where = path_text(path)
        if path not in self.lists:
            yield from self._read_list(path, where)
        domains = self.lists.get(path)
        others = self.builder.add_all(domains, value) if domains is not None else 0
        if others:
            yield f"{where}: {others} of its domains belong to an earlier group"

    def _read_list(self, path: Path, where: str) -> Iterator[str]:
        try:
            text = read_octets(path, regular=True, limit=LIST_OCTETS_MAX)
        except ValueError as error:
            former = self._former.get(path)
            kept = "" if former is None else f"; its former {len(former):,} domains stay in use"
            yield f"{where}: {error}{kept}"
            if former is not None:
                self.lists[path] = former
            return
        domains, wrong, first = read_domains(text, self.builder.key, PROBLEMS_MAX)
        self.lists[path] = domains
        for line, part, problem in first:
            yield f"{where}:{line}: {describe(part)} {problem}"
        if wrong > len(first):
            yield f"{where}: {wrong - len(first)} more lines are not domains"
        if not len(domains):
            yield f"{where}: contains no domain (write one per line)"
