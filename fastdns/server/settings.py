"""The settings that keeper and workers work with, and how another configuration changes them.

Everything that may have to be refused is tried before anything changes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

import attrs

from ..config.schema import Config
from ..config.values import Address
from ..errors import ConfigError, FastdnsError
from ..listen.services import SERVICES, Service
from ..policy.access import open_addresses
from ..policy.changes import changes, changes_of_local, summary
from ..policy.compile import Domains, compile_domains, lists_of
from ..policy.local_names import Names
from ..policy.parts import has_filters, has_own_names, import_parts, is_set
from ..upstream.sources import ForwardSources, Sources, forward_sources, no_upstream
from .sockets import Listener, bind, bind_more, end_steering, steer, why_not

if TYPE_CHECKING:
    from ..policy.local import LocalSources

log = logging.getLogger(__name__)


PROBLEMS_TOLD = 10  # lines of a reload about lists and files
RESTART = "restart it, or start one that takes over (serve --takeover)"


class Refused(FastdnsError):
    """A running daemon cannot do this; the text says what it is and how to do it."""


@attrs.frozen
class Settings:
    """The settings of a keeper and workers that are forked now."""

    config: Config
    sources: Sources
    forward: Sequence[ForwardSources]
    domains: Domains
    local: LocalSources | None  # None: fastdns has no records of names
    listeners: Sequence[Listener]

    @property
    def names(self) -> Names:
        """The owner's names."""
        return names_of(self.local)


def settings_for(former: Settings, config: Config, most_workers: int) -> Settings:
    """Return the new settings. Refused: nothing has changed."""
    _refuse_what_cannot_change(former.config, config, most_workers)
    try:
        import_parts(config)
    except ConfigError as error:
        raise Refused(str(error)) from None
    sources = former.sources
    if (config.upstream.servers, config.listen) != (
        former.config.upstream.servers,
        former.config.listen,
    ):
        sources = Sources(config)
    sources.refresh()
    if not sources.servers:
        if config.upstream.servers:
            raise Refused(no_upstream(config))
        log.warning("%s; until then fastdns answers from its cache only", no_upstream(config))
    own = former.forward if config.listen == former.config.listen else ()
    forward = forward_sources(config, own)
    for one in forward:
        one.sources.refresh()
    return Settings(
        config,
        sources,
        forward,
        compile_domains(config, former.domains),
        local_sources(config, former.local),
        _listeners_for(former, config),
    )


def local_sources(config: Config, former: LocalSources | None = None) -> LocalSources | None:
    """Return the names that fastdns has records of; None: there are none. `former`: until now."""
    if not has_own_names(config):
        return None
    from ..machine.own_names import own_names  # noqa: PLC0415 - see policy.parts

    return own_names(config, former)


def names_of(local: LocalSources | None) -> Names:
    """Return the owner's names, also where there are none."""
    return Names() if local is None else local.names


def trimmed(settings: Settings) -> Settings:
    """Return the settings without the UDP sockets that no worker reads."""
    count = settings.config.worker_count
    return attrs.evolve(
        settings,
        listeners=[
            attrs.evolve(one, udp=one.udp[:count]) if one.is_divided else one
            for one in settings.listeners
        ],
    )


def without_former(settings: Settings) -> Settings:
    """Close the sockets of workers of the last run, once they are read empty."""
    for listener in settings.listeners:
        for one in listener.former:
            one.close()
    listeners = [attrs.evolve(one, former=()) for one in settings.listeners]
    return attrs.evolve(settings, listeners=listeners)


def close_unused(former: Settings, settings: Settings) -> None:
    """Close the sockets that these settings no longer have; no child may hold them either."""
    used = {one for listener in settings.listeners for one in listener.sockets}
    for listener in former.listeners:
        for one in reversed(listener.sockets):
            if one not in used:
                one.close()


def changes_of_names(former: Settings, now: Settings) -> list[str]:
    """Return lines that say which groups, names and rules another configuration has changed."""
    states = (former.config, former.domains), (now.config, now.domains)
    lines = [*changes(*states), *changes_of_local(former.names, now.names)]
    if any(is_set(config, table) for config, _ in states for table in ("rule", "protect")):
        from ..policy.rule_changes import rule_changes  # noqa: PLC0415 - see policy.parts

        lines += rule_changes(*states)
    if any(has_filters(config) for config, _ in states):
        from ..policy.filter_changes import filter_changes  # noqa: PLC0415 - see policy.parts

        lines += filter_changes(former.config, now.config)
    return lines


def tell_names(config: Config, domains: Domains, names: Names) -> None:
    """Say how many names are decided here or have a group, and what is wrong with their files."""
    warn_of_files(domains, names)
    if config.forward:
        log.info("forward: %s", summary(config, domains))
    if names.counts:
        log.info("local: %s", names.summary())


def warn_of_files(domains: Domains, names: Names) -> None:
    """Say what is wrong with lists of domains and with files of the owner's names."""
    for problem in (*domains.problems, *names.problems):
        log.warning("%s", problem)
    for line in names.left_out:
        log.info("%s", line)


def first_problems(settings: Settings) -> list[str]:
    """Return the same for who asked for a reload: the first lines, and how many more there are."""
    problems = [*settings.domains.problems, *settings.names.problems]
    if len(problems) > PROBLEMS_TOLD:
        more = len(problems) - PROBLEMS_TOLD
        problems[PROBLEMS_TOLD:] = [f"and {more:,} more (fastdns check and the log name them)"]
    return problems


def files_of(settings: Settings) -> Iterator[Path]:
    """Yield the lists and local files that have to be there."""
    yield from lists_of(settings.config)
    if settings.local is not None:
        yield from settings.local.required_files


def warn_of_open_addresses(config: Config, former: Config | None = None) -> None:
    """Log which addresses serve everybody who can reach them, if they did not before."""
    before = set(open_addresses(former)) if former else set()
    for address, everybody in open_addresses(config):
        if (address, everybody) not in before:
            log.warning("%s is an open resolver: access.allow has %s", address, everybody)


def warn_of_wide_rules(config: Config, former: Config | None = None) -> None:
    """Log which rules block far more than one domain, if they did not before."""
    if has_filters(config):
        from ..policy.wide_rules import wide_rules  # noqa: PLC0415 - see policy.parts

        before = set(wide_rules(former)) if former else set()
        for line in wide_rules(config):
            if line not in before:
                log.warning("%s", line)


def _refuse_what_cannot_change(former: Config, config: Config, most_workers: int) -> None:
    for key in ("state_dir", "run_dir"):
        if getattr(former, key) != getattr(config, key):
            raise Refused(f"{key} cannot change while fastdns runs; {RESTART}")
    if bool(former.cache.disk) != bool(config.cache.disk):
        raise Refused('cache.disk cannot change from or to "0" while fastdns runs; ' + RESTART)
    if config.worker_count > most_workers:
        raise Refused(
            f"workers: {config.worker_count} are more than the {most_workers} that are "
            f"possible without a restart; {RESTART}"
        )


def _listeners_for(former: Settings, config: Config) -> list[Listener]:
    """Return the sockets for a configuration: the existing ones, and new ones beside them."""
    with ExitStack() as undo:
        listeners = list(_matched(former, config, undo))
        undo.pop_all()
    return listeners


def _matched(former: Settings, config: Config, undo: ExitStack) -> Iterator[Listener]:
    there = list(former.listeners)
    given_up = [
        one
        for listener in there
        if listener.is_divided
        and (listener.service.name, listener.asked) not in config.listen.addresses
        for one in listener.sockets
    ]
    for name, address in config.listen.addresses:
        service = SERVICES[name]
        known = next((one for one in there if (one.service, one.asked) == (service, address)), None)
        if known is not None:
            there.remove(known)
            yield _widened(known, config.worker_count, undo)
        elif config.listen != former.config.listen:  # else it was also left out at the start
            yield _bound(service, address, config.worker_count, given_up, undo)


def _bound(
    service: Service, address: Address, workers: int, given_up: Sequence[socket], undo: ExitStack
) -> Listener:
    try:
        listener = bind(service, address, workers, given_up)
    except OSError as error:
        raise Refused(
            f"listen.{service.name}: {why_not(address, error, service, is_reload=True)}"
        ) from error
    undo.callback(listener.close)
    return listener


def _widened(known: Listener, workers: int, undo: ExitStack) -> Listener:
    """Return the listener with at least as many UDP sockets as there will be workers.

    No query reaches the new ones before a worker reads them.
    """
    count = len(known.udp)
    if workers <= count or not known.is_divided or not known.udp:
        return known
    steer(known, range(count))
    undo.callback(end_steering, known)
    try:
        added = bind_more(known.address, known.udp[0], workers - count)
    except OSError as error:
        raise Refused(
            f"workers: cannot bind another socket for {known.address} ({error.strerror}) "
            f"while fastdns runs; {RESTART}"
        ) from error
    for one in added:
        undo.callback(one.close)
    widened = attrs.evolve(known, udp=[*known.udp, *added])
    steer(
        widened, range(count)
    )  # a single socket got its options only now that there is another one
    return widened
