"""What clients may be told: block lists ([block]), and views ([[view]]) for some of the clients."""

from collections.abc import Collection, Iterator
from typing import Any

import attrs

from ..errors import ConfigError
from .groups import Upstream, group_name, number_of_group, own_first
from .section import Section
from .units import in_seconds
from .validators import between, once, whole_seconds
from .values import (
    MAX_TTL,
    NO_HOURS,
    AnyList,
    AnyViewClient,
    BlockAnswer,
    Domain,
    GroupName,
    Hours,
    MaybeBlockAnswer,
    MaybeLists,
    Seconds,
    Ttl,
)

HOUR = 3600.0
YEAR = 365 * 86400.0


def _update(instance: Any, attribute: Any, value: Seconds) -> None:
    if value:  # 0: only by command
        between(Seconds(HOUR), Seconds(YEAR), in_seconds)(instance, attribute, value)


@attrs.frozen
class Block(Section):
    """Names that are not answered as their owners want it: those of lists, and the user's own."""

    lists: tuple[AnyList, ...] = attrs.field(default=(), validator=once)
    allow_lists: tuple[AnyList, ...] = attrs.field(default=(), validator=once)
    allow: tuple[Domain, ...] = attrs.field(default=(), validator=once)
    deny: tuple[Domain, ...] = attrs.field(default=(), validator=once)
    answer: BlockAnswer = "null"
    ttl: Ttl = attrs.field(default=Ttl(10.0), validator=whole_seconds(1, MAX_TTL))
    update: Seconds = attrs.field(default=Seconds(86400.0), validator=_update)

    def contradictions(self, wrong: Collection[str] = ()) -> Iterator[ConfigError]:
        for one in self.allow_lists:
            if one in self.lists:
                yield ConfigError("allow_lists", f'"{one}" is in lists as well (leave one out)')
        for domain in self.deny:
            if domain in self.allow:
                yield ConfigError("deny", f'"{domain}" is in allow as well (leave one out)')


def _somebody(instance: Any, attribute: Any, value: tuple[AnyViewClient, ...]) -> None:
    if not value:
        raise ValueError('is empty, so the view concerns nobody (try ["192.168.1.20"])')
    once(instance, attribute, value)


# The name first: so it is shown.
@attrs.frozen(kw_only=True, field_transformer=own_first)
class View(Upstream):
    """What some clients are told. None: as [block] has it. No servers: those of all clients."""

    name: GroupName = attrs.field(validator=group_name)
    clients: tuple[AnyViewClient, ...] = attrs.field(validator=_somebody)
    when: Hours = NO_HOURS
    lists: MaybeLists = None
    allow_lists: MaybeLists = None
    allow: tuple[Domain, ...] = attrs.field(default=(), validator=once)
    deny: tuple[Domain, ...] = attrs.field(default=(), validator=once)
    block: bool = True
    answer: MaybeBlockAnswer = None
    safe_search: bool = False

    fallback_to_default = False  # of its servers; it is no key

    @property
    def number(self) -> int:
        """Return the number of its own group of upstreams in keys on disk, if it has servers."""
        return number_of_group(self.name)
