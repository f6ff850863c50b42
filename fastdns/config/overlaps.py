"""Settings of a [[rule]] that one with a longer name drops, which people take for added up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from .documents import Documents
from .schema import Rule
from .text import quote
from .values import AnyName, DomainFile, NamePattern

_OF_TTL = ("min_ttl", "max_ttl", "stale")  # without effect where nothing is cached


def dropped_settings(rules: tuple[Rule, ...], documents: Documents) -> Iterator[str]:
    """Yield a line for each two rules: the settings that do not hold for the longer name.

    Of a list of names in a file only a rule for all names is known to be around it.
    """
    given = _given(documents.data, len(rules))
    wildcards: dict[bytes, int] = {}
    for number, rule in enumerate(rules):
        for entry in rule.names:
            if not isinstance(entry, DomainFile) and entry.is_wildcard:
                wildcards.setdefault(entry.wire, number)
    told = set()
    for number, rule in enumerate(rules):
        for entry in rule.names:
            if isinstance(entry, DomainFile):
                around = wildcards.get(b"\0")
            else:
                around = _around(entry.wire, wildcards)
            if around is None or around == number or (number, around) in told:
                continue
            told.add((number, around))
            lost = _settings(rules[around], given[number], is_cached=rule.cache)
            if lost:
                yield (
                    f"{_place(documents, number)}: {quote(str(entry))} does not get {lost} of "
                    f"{_wildcard(rules[around], entry)} ({_place(documents, around)}): rules are "
                    "not added up (to keep it, set it in this rule as well)"
                )


def _given(data: dict[str, Any], count: int) -> list[set[str]]:
    """Return the keys that each rule sets, be it to the default."""
    tables = data.get("rule", [])
    return [set(table) for table in tables] if len(tables) == count else [set()] * count


def _around(name: bytes, wildcards: dict[bytes, int]) -> int | None:
    """Return the rule of the longest wildcard above a name in wire form."""
    at = 0
    while name[at]:
        at += 1 + name[at]
        if name[at:] in wildcards:
            return wildcards[name[at:]]
    return None


def _settings(rule: Rule, given: set[str], *, is_cached: bool) -> str:
    """Return the settings of a rule that a rule with these keys does not have, as in TOML."""
    kept = {key: getattr(rule, key) for key in attrs.fields_dict(Rule) if key not in given}
    if not is_cached:
        kept = {key: value for key, value in kept.items() if key not in _OF_TTL}
    return str(Rule(**(kept | {"names": rule.names})))


def _wildcard(rule: Rule, below: AnyName) -> str:
    """Return the name of a rule that has this one below it."""
    wire = b"\0" if isinstance(below, DomainFile) else below.wire
    found = (one for one in rule.names if not isinstance(one, DomainFile) and one.is_wildcard)
    return quote(str(max((one for one in found if wire.endswith(one.wire)), key=_length)))


def _length(name: NamePattern) -> int:
    return len(name.wire)


def _place(documents: Documents, number: int) -> str:
    source, key = documents.place_of(f"rule[{number}]")
    return f"{source}: {key}"
