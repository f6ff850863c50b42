"""The configuration: its keys, their defaults and limits. Seconds and bytes throughout.

Units are types, defaults and limits are in the declarations, contradictions between values come
last. Field types are real objects here (no postponed annotations), because `structure` dispatches
on them.
"""

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import ConfigError
from .filters import Block, View
from .groups import Forward, Upstream
from .listen import Listen
from .section import Section
from .text import quote, shorten
from .units import in_seconds, spell_duration, spell_size
from .validators import between, once, whole_seconds
from .values import (
    CNAME,
    MAX_TTL,
    MIB,
    NO_DOMAIN,
    Aaaa,
    AnyAddresses,
    AnyDomain,
    AnyLeases,
    AnyName,
    AnyRecord,
    Clients,
    Domain,
    HostsFile,
    LogLevel,
    MaybeTtl,
    Octets,
    OwnDomain,
    Record,
    Refusal,
    Seconds,
    Server,
    Ttl,
    TypeName,
)

# What Linux gives a process on the common 64-bit machines. A 32-bit process has 3 GiB or less,
# which it shares with other data: this much is available in one piece.
HAS_32_BITS = sys.maxsize < 1 << 32
ADDRESS_SPACE = Octets(1 << 30 if HAS_32_BITS else 1 << 47)
# Of one file, beside all other data.
LARGEST_MAP = Octets(1 << 30 if HAS_32_BITS else 1 << 46)
WORKERS_MAX = 256
RATE_MAX = 1_000_000  # answers a second and client
VIEWS_MAX = 1000
RULES_MAX = 4095
TYPES_MAX = 64  # of one rule
WORKER_MEMORY_MIN = 64 << 10  # bytes
# The default of cache.memory: a share of the machine's memory, within limits.
MEMORY_SHARE = 16
MEMORY_LEAST = Octets(8 * MIB)
MEMORY_MOST = Octets(64 * MIB)


def _disk_size(instance: Any, attribute: Any, value: Octets) -> None:
    if 0 < value < MIB:
        least = spell_size(MIB)
        raise ValueError(
            f'is {spell_size(value)}; must be at least {least} (or "0" for no disk cache)'
        )
    between(Octets(0), LARGEST_MAP, spell_size)(instance, attribute, value)


def _somebody(instance: Any, attribute: Any, value: tuple[Clients, ...]) -> None:
    if not value:
        raise ValueError('is empty, so nobody could ask (try ["loopback", "lan"])')
    once(instance, attribute, value)


@attrs.frozen
class Access(Section):
    """Which clients may ask: the longest prefix that contains a client decides; on a tie `deny`.

    "lan" is what is directly connected: machine.lan defines it.
    """

    allow: tuple[Clients, ...] = attrs.field(default=("loopback", "lan"), validator=_somebody)
    deny: tuple[Clients, ...] = attrs.field(default=(), validator=once)
    refuse: Refusal = "refused"
    rate_limit: int = attrs.field(default=0, validator=between(0, RATE_MAX, str))  # 0: none
    rate_exempt: tuple[Clients, ...] = attrs.field(default=("loopback", "lan"), validator=once)
    rate_dry_run: bool = False

    @property
    def knows_lan(self) -> bool:
        """Whether it depends on the networks that are directly connected."""
        return "lan" in self.allow + self.deny + self.rate_exempt * bool(self.rate_limit)


def machine_memory() -> Octets:
    """Return the size of this machine's memory."""
    return Octets(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def memory_here() -> Octets:
    """Return the default of cache.memory on this machine, in whole MiB."""
    share = machine_memory() // MEMORY_SHARE // MIB * MIB
    return Octets(min(max(share, MEMORY_LEAST), MEMORY_MOST))


@attrs.frozen
class Cache(Section):
    """How much is cached, and how long."""

    memory: Octets = attrs.field(
        factory=memory_here, validator=between(Octets(MIB), ADDRESS_SPACE, spell_size)
    )
    # 0: the files of a cache on disk are in run_dir, small, and do not survive a boot.
    disk: Octets = attrs.field(default=Octets(256 * MIB), validator=_disk_size)
    min_ttl: Ttl = attrs.field(default=Ttl(0.0), validator=whole_seconds(0, MAX_TTL))
    max_ttl: Ttl = attrs.field(default=Ttl(86400.0), validator=whole_seconds(0, MAX_TTL))
    negative_max_ttl: Ttl = attrs.field(default=Ttl(3600.0), validator=whole_seconds(0, MAX_TTL))
    # RFC 9520 section 3.2: failures are cached for at least 1 second and at most 5 minutes.
    failure_ttl: Ttl = attrs.field(default=Ttl(5.0), validator=whole_seconds(1, 300))
    # RFC 8767: how long past its TTL (0: never), after how long a wait, with which TTL. Section 4
    # forbids a TTL of 0, which some clients take for a failure.
    stale: Ttl = attrs.field(default=Ttl(86400.0), validator=whole_seconds(0, MAX_TTL))
    stale_wait: Seconds = attrs.field(
        default=Seconds(1.8), validator=between(Seconds(0.0), Seconds(10.0), in_seconds)
    )
    stale_ttl: Ttl = attrs.field(default=Ttl(30.0), validator=whole_seconds(1, MAX_TTL))
    prefetch: bool = True
    commit_interval: Seconds = attrs.field(
        default=Seconds(30.0), validator=between(Seconds(1.0), Seconds(3600.0), in_seconds)
    )

    def contradictions(self, wrong: Collection[str] = ()) -> Iterator[ConfigError]:
        if self.max_ttl < self.min_ttl and "max_ttl" not in wrong:
            limit = in_seconds(self.min_ttl)
            problem = f"is {in_seconds(self.max_ttl)}; must be at least min_ttl ({limit})"
            yield ConfigError("max_ttl", problem)


@attrs.frozen
class Local(Section):
    """Names that fastdns itself has records of."""

    domain: OwnDomain = NO_DOMAIN
    hosts: tuple[HostsFile, ...] = attrs.field(default=(), validator=once)
    records: tuple[AnyRecord, ...] = ()
    leases: tuple[AnyLeases, ...] = attrs.field(default=(), validator=once)
    ask_upstream: tuple[Domain, ...] = attrs.field(default=(), validator=once)

    def contradictions(self, wrong: Collection[str] = ()) -> Iterator[ConfigError]:
        types: dict[bytes, set[int]] = {}
        for place, record in enumerate(self.records):
            if isinstance(record, Record):
                there = types.setdefault(record.name, set())
                there.add(record.rtype)
                if CNAME in there and len(there) > 1:  # RFC 2181 section 10.1
                    problem = f"{quote(shorten(record.text))}: a name with a CNAME record has no "
                    yield ConfigError(f"records[{place}]", f"{problem}others (leave one out)")
        targets = {
            one.name: one.data
            for one in self.records
            if isinstance(one, Record) and one.rtype == CNAME
        }
        for place, record in enumerate(self.records):
            if (
                isinstance(record, Record)
                and record.rtype == CNAME
                and _comes_back(record, targets)
            ):
                problem = f"{quote(shorten(record.text))} leads back to itself"
                yield ConfigError(
                    f"records[{place}]", f"{problem} (end it at a name with an address)"
                )


def _comes_back(record: Record, targets: Mapping[bytes, bytes]) -> bool:
    seen = set()
    at: bytes | None = record.data
    while at is not None and at not in seen and at != record.name:
        seen.add(at)
        at = targets.get(at)
    return at == record.name


def _maybe_seconds(instance: Any, attribute: Any, value: Ttl | None) -> None:
    if value is not None:
        whole_seconds(0, MAX_TTL)(instance, attribute, value)


def _some_name(_instance: Any, _attribute: Any, value: tuple[AnyName, ...]) -> None:
    if not value:
        raise ValueError('is empty (try ["*.dyn.example"])')


def _few_types(_instance: Any, _attribute: Any, value: tuple[TypeName, ...]) -> None:
    if len(value) > TYPES_MAX:
        raise ValueError(f"has more than {TYPES_MAX} types")


@attrs.frozen
class Rule(Section):
    """An exception for some names."""

    names: tuple[AnyName, ...] = attrs.field(validator=_some_name)
    min_ttl: MaybeTtl = attrs.field(default=None, validator=_maybe_seconds)
    max_ttl: MaybeTtl = attrs.field(default=None, validator=_maybe_seconds)
    stale: MaybeTtl = attrs.field(default=None, validator=_maybe_seconds)
    cache: bool = True
    aaaa: Aaaa = ""
    block_types: tuple[TypeName, ...] = attrs.field(default=(), validator=_few_types)

    def __str__(self) -> str:
        """Return what it does, as in the configuration."""
        told = [
            f'{key} = "{spell_duration(value)}"'
            for key in ("min_ttl", "max_ttl", "stale")
            if (value := getattr(self, key)) is not None
        ]
        told += ["cache = false"] * (not self.cache)
        told += [f'aaaa = "{self.aaaa}"'] * bool(self.aaaa)
        if self.block_types:
            told.append(f"block_types = [{', '.join(map(quote, self.block_types))}]")
        return ", ".join(told)

    def contradictions(self, wrong: Collection[str] = ()) -> Iterator[ConfigError]:
        durations = ("min_ttl", "max_ttl", "stale")
        given = [key for key in durations if getattr(self, key) is not None]
        if not given and self.cache and not self.aaaa and not self.block_types and not wrong:
            keys = ", ".join(durations)
            yield ConfigError("", f"changes nothing (set {keys}, cache, aaaa or block_types)")
        if not self.cache:
            for key in given:
                yield ConfigError(key, "has no effect with cache = false (leave one out)")
        if self.min_ttl is not None and self.max_ttl is not None and self.max_ttl < self.min_ttl:
            limit = in_seconds(self.min_ttl)
            problem = f"is {in_seconds(self.max_ttl)}; must be at least min_ttl ({limit})"
            yield ConfigError("max_ttl", problem)


def _few_rules(_instance: Any, _attribute: Any, value: tuple[Rule, ...]) -> None:
    if len(value) > RULES_MAX:
        raise ValueError(f"there are more than {RULES_MAX} rules (one may have many names)")


def _few_views(_instance: Any, _attribute: Any, value: tuple[View, ...]) -> None:
    if len(value) > VIEWS_MAX:
        raise ValueError(f"there are more than {VIEWS_MAX} views (one may have many clients)")


@attrs.frozen
class Protect(Section):
    """What no upstream may answer, and what nobody is asked for."""

    rebind: bool = False
    rebind_allow: tuple[AnyDomain, ...] = ()
    bogus_answers: tuple[AnyAddresses, ...] = ()
    minimal_any: bool = True


@attrs.frozen(kw_only=True)
class Config(Section):
    """The whole configuration, for the daemon and the commands."""

    workers: int = attrs.field(
        default=1, validator=between(0, WORKERS_MAX, str)
    )  # 0: one for each CPU
    state_dir: Path  # both have a default that depends on the user: places.decide
    run_dir: Path
    log_level: LogLevel = "info"
    include: tuple[str, ...] = ()  # the content of these files is included already: `documents`
    listen: Listen = attrs.field(factory=Listen)
    access: Access = Access()
    upstream: Upstream = attrs.field(factory=Upstream)
    forward: tuple[Forward, ...] = ()
    local: Local = Local()
    cache: Cache = attrs.field(factory=Cache)
    rule: tuple[Rule, ...] = attrs.field(default=(), validator=_few_rules)
    protect: Protect = Protect()
    block: Block = attrs.field(factory=Block)
    view: tuple[View, ...] = attrs.field(default=(), validator=_few_views)

    @property
    def worker_count(self) -> int:
        """The number of workers on this machine."""
        return self.workers or min(len(os.sched_getaffinity(0)), WORKERS_MAX)

    @property
    def worker_memory(self) -> int:
        """The share of each worker in cache.memory."""
        return max(self.cache.memory // self.worker_count, WORKER_MEMORY_MIN)

    @property
    def groups(self) -> Iterator[tuple[str, Upstream]]:
        """Yield the default group and the others, each with the key of its table."""
        yield "upstream", self.upstream
        for place, group in enumerate(self.forward):
            yield f"forward[{place}]", group
        for place, view in enumerate(self.view):
            if view.servers:
                yield f"view[{place}]", view

    @property
    def named_groups(self) -> tuple[Forward | View, ...]:
        """The groups beside the default one that have upstreams of their own."""
        forward = (group for group in self.forward if not group.answer)
        return (*forward, *(view for view in self.view if view.servers))

    def contradictions(self, wrong: Collection[str] = ()) -> Iterator[ConfigError]:
        if "listen" not in wrong:
            for key, group in self.groups:
                for server in group.servers:
                    if isinstance(server, Server) and self.listen.covers(server.address):
                        yield own_address(server, f"{key}.servers")
        names = [view.name for view in self.view]
        for place, name in enumerate(names):
            if name in names[:place]:
                problem = "is the name of another view as well (choose another one)"
                yield ConfigError(f"view[{place}].name", problem)
        numbers: dict[int, Forward | View] = {}
        for place, group in enumerate(self.forward):
            yield from _same_number(numbers, group, f"forward[{place}].name")
            for domain in (self.local.domain, *self.local.ask_upstream):
                if domain in group.domains:
                    key = "domain" if domain == self.local.domain else "ask_upstream"
                    problem = f'"{domain}" belongs to group {group.name} as well (leave one out)'
                    yield ConfigError(f"local.{key}", problem)
        for place, view in enumerate(self.view):
            if view.servers and view.name not in names[:place]:
                yield from _same_number(numbers, view, f"view[{place}].name")


def _same_number(
    numbers: dict[int, Forward | View], group: Forward | View, key: str
) -> Iterator[ConfigError]:
    """Yield the problem of a group that an earlier one cannot be told from."""
    other = numbers.setdefault(group.number, group)
    if other is not group:
        problem = (
            "is the name of another group as well (choose another one)"
            if other.name == group.name
            else f'stands for the same number as "{other.name}" (choose another one)'
        )
        yield ConfigError(key, problem)


def own_address(server: Server, key: str = "upstream.servers") -> ConfigError:
    """The problem of an upstream that is fastdns itself."""
    problem = f'"{server}" is an address fastdns itself listens on (name another resolver)'
    return ConfigError(key, problem)
