"""Explains what is decided about a name: which key of the configuration, or which line of a list.

It asks the same compiled policy as the daemon, and reads the lists again for the line.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from .._answer import Answer
from .._domain_lists import find_domain
from .._key import name_of, split_key
from .._own_answers import own_answer
from .._policy import Decided, Policy
from ..config.files import read_octets
from ..config.filters import View
from ..config.groups import Forward
from ..config.names import parse_name
from ..config.schema import Config, Rule
from ..config.text import path_text
from ..config.values import DomainFile
from .domain_lists import LIST_OCTETS_MAX
from .explain_blocking import Filtering, OpenList, explain_blocking
from .local_names import Names
from .origin import Origin, Spell, starts, suffix

# The names that are answered here whatever the configuration has not given to others, and why.
SPECIAL = tuple(
    (parse_name(zone), reason)
    for zone, reason in (
        ("localhost", "RFC 6761 section 6.3"),
        ("invalid", "RFC 6761 section 6.4"),
        ("test", "RFC 6761 section 6.2"),
        ("onion", "RFC 7686 section 2"),
        ("local", "RFC 6762 section 22.1"),
        ("home.arpa", "RFC 8375 section 4"),
        ("resolver.arpa", "RFC 9462 section 4"),
        ("in-addr.arpa", "RFC 6303 section 4"),
        ("ip6.arpa", "RFC 6303 section 4"),
    )
)


@attrs.frozen
class OwnRecord:
    """A record of the owner. `data`: its RDATA."""

    rtype: int
    ttl: int
    data: bytes
    origin: Origin


@attrs.frozen
class AppliedRule:
    """A rule that concerns the name. `key`: "rule[0]"; `origin`: where its name is written.

    `shown`: the key for people.
    """

    key: str
    rule: Rule
    origin: Origin
    shown: str = attrs.field(default="", eq=False)

    def __str__(self) -> str:
        where, shown = self.origin.where, self.shown or self.key
        return str(self.origin) if where.startswith(self.key) else f"{shown} ({self.origin})"


@attrs.frozen
class Explanation:
    """What is decided about a question, and why.

    `group`: None is the default group; a view is one if it has servers. `domain` (in wire form):
    by which it is decided, and `origin` where that is written; None: no domain of the configuration
    has the name.
    """

    decided: Decided
    group: Forward | View | None = None
    domain: bytes | None = None
    origin: Origin | None = None
    records: tuple[OwnRecord, ...] = ()  # of the owner, under this name or its wildcard
    is_wildcard: bool = False
    answer: Answer | None = None  # that fastdns itself gives; None: an upstream is asked
    target: bytes | None = None  # of others, to which a CNAME record of that leads
    special: str = ""  # which RFC makes it a special name
    rule: AppliedRule | None = None
    view: View | None = None
    filtering: Filtering | None = None  # what blocks it, or what lets it pass


def explain(
    config: Config,
    policy: Policy,
    key: bytes,
    names: Names,
    spell: Spell = str,
    *,
    open_list: OpenList | None = None,
) -> Explanation:
    """Return what this policy decides about the question of a key, and why.

    The policy is compiled from the configuration, and `names` has the local records in it. `spell`
    returns a key of the configuration for people; `open_list` the text of a block list.
    """
    answer, target = own_answer(policy, key)
    found = _decided(config, policy, key, names)
    rule = found.rule
    if rule is not None:
        rule = attrs.evolve(rule, origin=rule.origin.spelled(spell), shown=spell(rule.key))
    filtering = filtering_of(config, policy, key, found.decided, open_list)
    if filtering is not None and filtering.origin is not None:
        filtering = attrs.evolve(filtering, origin=filtering.origin.spelled(spell))
    return attrs.evolve(
        found,
        answer=answer,
        target=target,
        origin=found.origin and found.origin.spelled(spell),
        records=tuple(attrs.evolve(one, origin=one.origin.spelled(spell)) for one in found.records),
        rule=rule,
        view=_view(config, split_key(key)[5]),
        filtering=filtering,
    )


def _view(config: Config, number: int) -> View | None:
    return config.view[number - 1] if 0 < number <= len(config.view) else None


def filtering_of(
    config: Config, policy: Policy, key: bytes, decided: Decided, open_list: OpenList | None
) -> Filtering | None:
    """Return what concerns the name; an answer that is allowed is decided by another domain."""
    name, qtype, _, _, _, view = split_key(key)
    labels = policy.blocking.find(name, qtype, view)[1]
    return explain_blocking(
        config, policy.blocking, decided, name, labels=labels, open_list=open_list
    )


def _decided(config: Config, policy: Policy, key: bytes, names: Names) -> Explanation:
    decided = policy.decide(key)
    name = name_of(key)
    if decided.reason == "safe_search":
        return _safe(config, decided, policy, key)
    if decided.verdict == "local":
        return _own(decided, policy, key, names)
    if decided.verdict == "special":
        return Explanation(decided, special=_special(name))
    if decided.reason in ("list", "rule", "pattern"):
        return Explanation(decided, domain=suffix(name, decided.labels))
    return _of_group(config, decided, key)


def _of_group(config: Config, decided: Decided, key: bytes) -> Explanation:
    """Explain by the domain that a name belongs to, or by the servers of its view."""
    name, view = name_of(key), _view(config, split_key(key)[5])
    group: Forward | View | None
    group = next((one for one in config.forward if one.number == decided.group), None)
    if group is None and decided.group and view is not None:
        group = view
    rule = _rule(config, decided.rule, name) if decided.rule else None
    if decided.verdict == "own_domain":
        return Explanation(
            decided, domain=suffix(name, decided.labels), origin=Origin("local.domain")
        )
    if decided.labels == 0 and group is None:
        return Explanation(decided, rule=rule)
    if isinstance(group, View):
        where = Origin(f"view[{config.view.index(group)}].servers")
        return Explanation(decided, group, origin=where, rule=rule)
    domain = suffix(name, decided.labels)
    return Explanation(decided, group, domain, _written(config, group, domain), rule=rule)


def _safe(config: Config, decided: Decided, policy: Policy, key: bytes) -> Explanation:
    name, view = name_of(key), _view(config, split_key(key)[5])
    records = (policy.blocking.safe_names.find(name) or (0, False, []))[2]
    where = f"view[{config.view.index(view)}].safe_search" if view is not None else ""
    return Explanation(
        decided,
        domain=name,
        records=tuple(
            OwnRecord(rtype, ttl, data, Origin(where)) for rtype, ttl, data, _ in records
        ),
    )


def _own(decided: Decided, policy: Policy, key: bytes, names: Names) -> Explanation:
    labels, is_wildcard, records = policy.local.find(name_of(key)) or (0, False, [])
    return Explanation(
        decided,
        domain=suffix(name_of(key), labels),
        records=tuple(
            OwnRecord(rtype, ttl, data, Origin(*names.place_of(origin)))
            for rtype, ttl, data, origin in records
        ),
        is_wildcard=is_wildcard,
    )


def _special(name: bytes) -> str:
    return next((reason for zone, reason in SPECIAL if name.endswith(zone)), "")


def _written(config: Config, group: Forward | None, domain: bytes) -> Origin:
    """Return where a domain of a group is written; of several places the first one."""
    if group is None:
        return Origin("local.ask_upstream")
    where = f"forward[{config.forward.index(group)}].domains"
    for place, entry in enumerate(group.domains):
        if isinstance(entry, DomainFile):
            line = _line_in(entry.path, domain)
            if line is not None:
                return Origin(path_text(entry.path), line)
        elif entry.wire == domain:
            return Origin(f"{where}[{place}]")
    return Origin(where)  # its list has changed meanwhile


def _rule(config: Config, number: int, name: bytes) -> AppliedRule:
    """Return a rule with where the name stands that makes it concern this one: the longest."""
    key, rule = f"rule[{number - 1}]", config.rule[number - 1]
    for start in starts(name):
        domain, is_whole = name[start:], start == 0
        for place, entry in enumerate(rule.names):
            if isinstance(entry, DomainFile):
                line = _line_in(entry.path, domain)
                if line is not None:
                    return AppliedRule(key, rule, Origin(path_text(entry.path), line))
            elif entry.wire == domain and entry.is_wildcard is not is_whole:
                return AppliedRule(key, rule, Origin(f"{key}.names[{place}]"))
    return AppliedRule(key, rule, Origin(f"{key}.names"))


def _line_in(path: Path, domain: bytes) -> int | None:
    try:
        text = read_octets(path, regular=True, limit=LIST_OCTETS_MAX)
    except ValueError:
        return None
    return find_domain(text, domain)
