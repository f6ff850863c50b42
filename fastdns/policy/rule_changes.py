"""What a reload has changed of [[rule]] and [protect], in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..config.schema import Config, Rule
from ..config.values import AddressFile, DomainFile
from .compile import Domains

State = tuple[Config, Domains]


def rule_changes(was: State, now: State) -> Iterator[str]:
    """Yield a line about all rules, and one if [protect] is another; nothing without rules."""
    if was[0].rule or now[0].rule:
        yield f"rules: {len(now[0].rule)}{_summary(was, now)}"
    if was[0].protect != now[0].protect or _has_other_lists(was[1], now[1], _protect_files(now[0])):
        yield "protect: other settings, also for cached answers"


def _summary(was: State, now: State) -> str:
    left = list(was[0].rule)
    others: list[Rule] = []
    changed = new = 0
    for rule in now[0].rule:
        if rule in left:
            left.remove(rule)
            changed += _has_other_lists(was[1], now[1], _files(rule))
        else:
            others.append(rule)
    for rule in others:
        former = next((one for one in left if set(one.names) == set(rule.names)), None)
        if former is None:
            new += 1
        else:
            left.remove(former)
            changed += 1
    counts = ((changed, "changed"), (new, "new"), (len(left), "removed"))
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f" ({told})" if told else ", as before"


def _files(rule: Rule) -> Iterator[Path]:
    return (one.path for one in rule.names if isinstance(one, DomainFile))


def _protect_files(config: Config) -> Iterator[Path]:
    named = (*config.protect.rebind_allow, *config.protect.bogus_answers)
    return (one.path for one in named if isinstance(one, DomainFile | AddressFile))


def _has_other_lists(was: Domains, now: Domains, files: Iterable[Path]) -> bool:
    return any(
        was.lists.get(path) != now.lists.get(path) or was.bogus.get(path) != now.bogus.get(path)
        for path in files
    )
