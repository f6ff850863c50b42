"""Groups of upstreams: the default one ([upstream]), and those of some domains ([[forward]])."""

import re
from collections.abc import Collection, Iterator
from typing import Any
from zlib import crc32

import attrs

from ..errors import ConfigError
from .section import Section
from .units import in_seconds
from .validators import between
from .values import AnyDomain, AnyServer, GroupName, OwnAnswer, Seconds, Strategy

GROUPS_MAX = 1 << 16  # numbers of groups of upstreams; 0: the default group
GROUP_NAME = re.compile(r"[a-z0-9_-]{1,32}")


@attrs.frozen
class Upstream(Section):
    """The upstreams. No servers: the nameservers of /etc/resolv.conf."""

    servers: tuple[AnyServer, ...] = ()
    strategy: Strategy = "failover"
    timeout: Seconds = attrs.field(
        default=Seconds(1.5), validator=between(Seconds(0.001), Seconds(10.0), in_seconds)
    )
    attempts: int = attrs.field(default=3, validator=between(1, 10, str))
    trust_ad: bool = False


def group_name(_instance: Any, _attribute: Any, value: GroupName) -> None:
    if not GROUP_NAME.fullmatch(value):
        raise ValueError(f'"{value}" is not a name of a group (use up to 32 of a-z, 0-9, "-", "_")')


def _some_domain(_instance: Any, _attribute: Any, value: tuple[AnyDomain, ...]) -> None:
    if not value:
        raise ValueError('is empty (try ["corp.example"])')


def own_first(_table: type, fields: list[Any]) -> list[Any]:
    return sorted(fields, key=lambda one: one.inherited)


# The name first: so it is shown.
@attrs.frozen(kw_only=True, field_transformer=own_first)
class Forward(Upstream):
    """Names that other upstreams are asked for: these domains and all names under them."""

    name: GroupName = attrs.field(validator=group_name)
    domains: tuple[AnyDomain, ...] = attrs.field(validator=_some_domain)
    answer: OwnAnswer = ""
    fallback_to_default: bool = False

    @property
    def number(self) -> int:
        """Return its number in keys on disk."""
        return number_of_group(self.name)

    def contradictions(self, wrong: Collection[str] = ()) -> Iterator[ConfigError]:
        if self.answer and self.servers:
            yield ConfigError("answer", "needs no servers: fastdns answers itself (leave one out)")
        elif not self.answer and not self.servers and not {"servers", "answer"} & set(wrong):
            yield ConfigError("servers", 'is missing (try ["10.0.0.53"], or answer = "nxdomain")')


def number_of_group(name: str) -> int:
    """Return the number of a group, which comes from its name alone; 0 is the default group's."""
    return 1 + crc32(name.encode()) % (GROUPS_MAX - 1)
