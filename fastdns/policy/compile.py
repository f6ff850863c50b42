"""Compiles what the configuration and its lists say of domains: their groups, and their rules.

Beside them: the owner's own domain, and special names that upstreams are asked about nevertheless.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from .._blocking import Blocking
from .._domains import DomainHashes, DomainSet, DomainSetBuilder
from .._local import LocalRecords
from .._policy import NXDOMAIN_VERDICT, ZONE_VERDICT, Policy, value_of_domain
from .._protection import Protection
from .._rules import Rules
from ..config.groups import Forward
from ..config.schema import Config
from ..config.text import describe, path_text
from ..config.values import AddressFile, DomainFile, Network
from .domain_lists import DomainLists
from .parts import is_set

DEFAULT_GROUP = 0

Bogus = Mapping[Path, tuple[Network, ...]]  # addresses that are no answer, of each list


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
    rules: Rules = attrs.Factory(Rules)
    protection: Protection = attrs.Factory(Protection)
    bogus: Bogus = attrs.Factory(dict)

    def has_read(self, path: Path) -> bool:
        """Whether the content of a list of domains or of addresses is known."""
        return path in self.lists or path in self.bogus

    def policy(self, local: LocalRecords | None = None, blocking: Blocking | None = None) -> Policy:
        """Return a policy that decides by them and, before them, by the owner's own names.

        `blocking`: which names are blocked, and what differs between the views.
        """
        return Policy(
            domains=self.compiled,
            local=local,
            rules=self.rules,
            protection=self.protection,
            blocking=blocking,
        )


def lists_of(config: Config) -> Iterator[Path]:
    """Yield the lists that are read when the configuration is."""
    named: list[object] = [*config.protect.rebind_allow, *config.protect.bogus_answers]
    for group in config.forward:
        named += group.domains
    for rule in config.rule:
        named += rule.names
    yield from (one.path for one in named if isinstance(one, (DomainFile, AddressFile)))


def compile_domains(config: Config, former: Domains | None = None) -> Domains:
    """Return the domains that the configuration and its lists name.

    A domain of two groups belongs to the first. A list that cannot be read, and a line that is not
    a domain, are left out and told; of a list that could be read before, as `former` has it, its
    domains stay.
    """
    former = former or Domains(DomainSet())
    builder = DomainSetBuilder(former.key)
    lists = DomainLists(builder.key, former.lists)
    own = config.local
    if own.domain.text:
        builder.add(own.domain.wire, value_of_domain(DEFAULT_GROUP, ZONE_VERDICT))
    for domain in own.ask_upstream:
        builder.add(domain.wire, value_of_domain(DEFAULT_GROUP))
    problems: list[str] = []
    counts: dict[str, int] = {}
    for group in config.forward:
        before = len(builder)
        problems += _add_group(builder, lists, config.forward, group)
        counts[group.name] = len(builder) - before
    rules = _compile_rules(config, lists, builder.key, problems)
    protection, bogus = _compile_protection(config, lists, builder.key, former.bogus, problems)
    return Domains(
        DomainSet(builder.compile()),
        tuple(problems),
        counts,
        lists.read,
        builder.key,
        rules,
        protection,
        bogus,
    )


def _add_group(
    builder: DomainSetBuilder, lists: DomainLists, groups: Sequence[Forward], group: Forward
) -> Iterator[str]:
    """Add the domains of a group; yield a line for each thing that is wrong with them."""
    value = _value_of(group)
    for entry in group.domains:
        if isinstance(entry, DomainFile):
            yield from lists.load(entry.path)
            domains = lists.read.get(entry.path)
            others = builder.add_all(domains, value) if domains is not None else 0
            if others:
                where = path_text(entry.path)
                yield f"{where}: {others} of its domains belong to an earlier group"
        elif (first := builder.add(entry.wire, value)) != value:
            earlier = next(one.name for one in groups if _value_of(one) == first)
            # Their names: which file has a group is not known here.
            yield (
                f"group {group.name}: {describe(entry.text)} belongs to an earlier group, "
                f"{earlier} (leave one out)"
            )


def _compile_rules(config: Config, lists: DomainLists, key: bytes, problems: list[str]) -> Rules:
    if not is_set(config, "rule"):
        return Rules()
    from .rules import RulesCompiler  # noqa: PLC0415 - see parts

    compiler = RulesCompiler(lists, key)
    for number, rule in enumerate(config.rule, start=1):
        problems += compiler.add_names(rule, number)
    return compiler.compile(config.rule, config.cache)


def _compile_protection(
    config: Config, lists: DomainLists, key: bytes, former: Bogus, problems: list[str]
) -> tuple[Protection, Bogus]:
    """Return the protection, and the addresses that each list names."""
    if not is_set(config, "protect"):
        return Protection(minimal_any=config.protect.minimal_any), {}
    from .protection import ProtectionCompiler  # noqa: PLC0415 - see parts

    compiler = ProtectionCompiler(lists, key, former)
    problems += compiler.add(config.protect)
    return compiler.compile(config.protect), compiler.bogus


def _value_of(group: Forward) -> int:
    return value_of_domain(group.number, NXDOMAIN_VERDICT if group.answer else 0)
