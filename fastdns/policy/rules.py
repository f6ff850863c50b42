"""Compiles [[rule]]: which rule concerns a name, and what it does to answers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

from .._answer import Limits
from .._domains import DomainSet, DomainSetBuilder
from .._rules import GIVEN, IF_NO_A, NEVER, Rules, value_of_name
from .._siphash import siphash
from ..config.schema import Cache, Config, Rule
from ..config.text import describe, path_text
from ..config.types import parse_type
from ..config.values import MAX_TTL, DomainFile
from .domain_lists import DomainLists

AAAA = {"": GIVEN, "never": NEVER, "if-no-a": IF_NO_A}
# Collisions need no protection: an attacker would have to be able to configure fastdns.
KEY = bytes(16)


def compile_rules(config: Config) -> Rules:
    """Return the rules of a configuration alone, as commands need them; their lists are not judged.

    The daemon, which may not have read it yet, says what is wrong with them.
    """
    if not config.rule:
        return Rules()
    key = os.urandom(16)
    compiler = RulesCompiler(DomainLists(key, {}), key)
    for number, rule in enumerate(config.rule, start=1):
        deque(compiler.add_names(rule, number), maxlen=0)
    return compiler.compile(config.rule, config.cache)


class RulesCompiler:
    """Takes all rules, and yields a line for each thing that is wrong with their names."""

    def __init__(self, lists: DomainLists, key: bytes) -> None:
        self._lists = lists
        self._builder = DomainSetBuilder(key, in_halves=True)
        # By the number of a rule. They identify it where its number among all files does not.
        self._first_names: dict[int, str] = {}

    def add_names(self, rule: Rule, number: int) -> Iterator[str]:
        """Add the names of a rule; a name of two rules belongs to the first."""
        self._first_names[number] = describe(str(rule.names[0]))
        both = value_of_name(number, itself=True, under=True)
        for entry in rule.names:
            if isinstance(entry, DomainFile):
                yield from self._lists.load(entry.path)
                domains = self._lists.read.get(entry.path)
                others = self._builder.add_all(domains, both) if domains is not None else 0
                if others:
                    yield f"{path_text(entry.path)}: {others} of its domains have an earlier rule"
                continue
            wildcard = entry.is_wildcard
            value = value_of_name(number, itself=not wildcard, under=wildcard)
            first = _half(self._builder.add(entry.wire, value), wildcard)
            if first != number:
                key, earlier = f"rule[{number - 1}].names", self._first_names[first]
                yield (
                    f"{key}: {describe(entry.text)} has an earlier rule, that of {earlier} "
                    "(leave one out)"
                )

    def compile(self, rules: tuple[Rule, ...], cache: Cache) -> Rules:
        """Return the rules with the names that were added."""
        compiled = Rules(DomainSet(self._builder.compile()))
        for rule in rules:
            compiled.add(
                mark=_mark_of(rule),
                aaaa_mark=_fingerprint(f"aaaa={rule.aaaa}") if rule.aaaa else 0,
                limits=_limits(rule, cache),
                stale=rule.stale,
                is_cached=rule.cache,
                aaaa=AAAA[rule.aaaa],
                types=sorted({parse_type(name) for name in rule.block_types}),
            )
        return compiled


def _half(value: int, wildcard: bool) -> int:
    """Return the rule of a name's value, for itself or for what is under it."""
    return value >> 12 if wildcard else value & 0xFFF


def _mark_of(rule: Rule) -> int:
    """Return what tells answers under this rule from those under another one; 0: nothing does.

    `stale` and types do not change an answer that is cached.
    """
    if rule.cache and rule.min_ttl is None and rule.max_ttl is None:
        return 0
    return _fingerprint(f"min_ttl={rule.min_ttl} max_ttl={rule.max_ttl} cache={rule.cache}")


def _fingerprint(text: str) -> int:
    return siphash(KEY, text.encode()) or 1


def _limits(rule: Rule, cache: Cache) -> tuple[Limits, Limits] | None:
    """Return the limits of TTLs, without and with trust_ad; None: those of all names.

    Where a rule has only one of the two limits, it counts more than the other one of [cache].
    """
    if rule.cache and rule.min_ttl is None and rule.max_ttl is None:
        return None
    failure = int(cache.failure_ttl)
    if not rule.cache:  # the client gets the TTL of the upstream
        longest = int(MAX_TTL)
        numbers = 0, longest, longest, failure
        return Limits(*numbers, False), Limits(*numbers, True)
    least, most = float(cache.min_ttl), float(cache.max_ttl)
    if rule.min_ttl is not None:
        least, most = rule.min_ttl, max(most, rule.min_ttl)
    if rule.max_ttl is not None:
        least, most = min(least, rule.max_ttl), rule.max_ttl
    numbers = int(least), int(most), int(cache.negative_max_ttl), failure
    return Limits(*numbers, False), Limits(*numbers, True)
