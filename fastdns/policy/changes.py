"""What a reload has changed of groups of upstreams, their domains and local names, in words."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from ..config.groups import Forward
from ..config.schema import Config
from ..config.values import DomainFile
from .compile import Domains
from .local_names import Names
from .words import counted

TOLD_MAX = 10  # groups, or sources of local names, that are told one by one


def summary(config: Config, domains: Domains) -> str:
    """Return how many domains and groups there are."""
    count = sum(domains.counts.values())
    return f"{counted(count, 'domain')} in {counted(len(config.forward), 'group')}"


def changes(was: tuple[Config, Domains], now: tuple[Config, Domains]) -> list[str]:
    """Return a line about all groups and one for each that has changed; nothing without groups."""
    if not was[0].forward and not now[0].forward:
        return []
    told = list(_changes(was, now))
    if len(told) > TOLD_MAX:
        told[TOLD_MAX:] = [f"{len(told) - TOLD_MAX} more groups have changed"]
    return [f"forward: {summary(*now)}{'' if told else ', as before'}", *told]


def _changes(was: tuple[Config, Domains], now: tuple[Config, Domains]) -> Iterator[str]:
    former = {group.name: group for group in was[0].forward}
    for group in now[0].forward:
        count = now[1].counts[group.name]
        before = former.pop(group.name, None)
        if before is None:
            yield f"group {group.name}: new, {counted(count, 'domain')}"
            continue
        parts = []
        count_before = was[1].counts[group.name]
        if count != count_before:
            parts.append(f"{counted(count, 'domain')} ({count_before:,} before)")
        elif _has_other_domains(was[1], before, now[1], group):
            parts.append(f"other domains, {count:,} as before")
        if before.answer != group.answer or set(before.servers) != set(group.servers):
            parts.append("other servers" if group.servers else "answered here, without servers")
        elif attrs.evolve(before, domains=group.domains) != group:
            parts.append("other settings")
        if parts:
            yield f"group {group.name}: {', '.join(parts)}"
    for name in former:
        yield f"group {name}: removed"


def _has_other_domains(was: Domains, before: Forward, now: Domains, group: Forward) -> bool:
    files = [one.path for one in group.domains if isinstance(one, DomainFile)]
    return set(before.domains) != set(group.domains) or any(
        was.lists.get(path) != now.lists.get(path) for path in files
    )


def changes_of_local(was: Names, now: Names) -> list[str]:
    """Return a line about all local names and one for each source that has changed.

    Nothing without local names.
    """
    if not was.counts and not now.counts:
        return []
    told = list(_changed_sources(was, now))
    if len(told) > TOLD_MAX:
        told[TOLD_MAX:] = [f"{len(told) - TOLD_MAX} more sources have changed"]
    return [f"local: {now.summary()}{'' if told else ', as before'}", *told]


def _changed_sources(was: Names, now: Names) -> Iterator[str]:
    for source, count in now.counts.items():
        before = was.counts.get(source, 0)
        if not before:
            yield f"{source}: new, {counted(count, 'name')}"
        elif count != before:
            yield f"{source}: {counted(count, 'name')} ({before:,} before)"
        elif was.digests.get(source) != now.digests.get(source):
            yield f"{source}: other names, {count:,} as before"
    for source in was.counts:
        if source not in now.counts:
            yield f"{source}: no names any more"
