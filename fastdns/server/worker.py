"""A worker: one gevent hub that serves the sockets it was forked with."""

from __future__ import annotations

import logging
import mmap
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import gevent
from gevent.event import Event

from .._cache import Cache
from .._cache_settings import CacheSettings
from .._clients import Access
from .._control import Control
from .._cookies import Cookies
from .._counters import Counters, UpstreamState
from .._disk import Disk
from .._flights import Flights
from .._hotcache import HotCache
from .._pages import release_code
from .._rate_limit import RateLimit
from .._ring import Ring
from ..config.filters import View
from ..config.groups import Forward, Upstream
from ..config.schema import Config
from ..counters import Pages
from ..defects import guarded
from ..listen.streams import Streams
from ..policy.access import compile_proxies
from ..policy.block_lists.hits import ListHits
from ..policy.changes import changes_of_local
from ..policy.compile import Domains
from ..policy.local_names import Names
from ..resolve import Resolver
from ..store.warm import most_used
from ..upstream.group import Endpoints, Upstreams, limits_of
from ..upstream.health_log import HealthLog
from ..upstream.known_groups import groups_of, write_groups
from ..upstream.origin import fingerprint
from ..upstream.refusals import RefusalCheck
from ..upstream.sources import ForwardSources, Sources
from .admission import Admission
from .certificate_page import CertificatePage, WorkersCertificate
from .filtering import Filtering
from .log import States
from .sockets import Listener

if TYPE_CHECKING:
    from ..policy.local import LocalSources
    from .views import Views

log = logging.getLogger(__name__)

LAST_ANSWERS_SECONDS = 4.5  # for the last answers when we must stop
LOOK_AROUND_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
RELEASE_SECONDS = 30.0  # misses under load read some MiB of the file meanwhile
HITS_AT_ONCE = 2048  # entries whose hits are reported before other work gets its turn
WARMED_AT_ONCE = 64
SWITCH_SECONDS = 0.0005  # for which our threads may keep the interpreter's lock while queries wait
OCTETS_A_WARMED_ENTRY = 512  # about the memory of an entry, to know how many are worth choosing


@attrs.frozen
class Inheritance:
    """What a worker gets from the supervisor that forks it."""

    number: int  # its number, which tells which of the sockets it reads
    config: Config
    memory: int  # bytes of cache.memory that are its share
    sources: Sources
    forward: Sequence[ForwardSources]
    domains: Domains
    local: LocalSources | None
    listeners: Sequence[Listener]
    counters: Counters
    pages: Pages  # of all processes
    lifeline: int  # ends when the supervisor is gone, or tells us to stop
    ring: Ring  # towards the keeper
    rings: Sequence[Ring]  # of all workers, to look answers up
    control: Control
    rate_table: mmap.mmap  # for all workers
    cookie_page: mmap.mmap
    certificate_page: CertificatePage
    ticket_page: mmap.mmap
    wakeup: int  # an eventfd: the keeper asks us to read the control pages
    keeper_wakeup: int
    cache: Path  # the LMDB environment
    groups: Path  # where commands find the groups
    overrides: Path  # the file of the rules made at run time
    compiled: Path  # the compiled block lists
    hits: ListHits  # how much each list has blocked
    upstreams: Sequence[UpstreamState]  # what a worker that still serves knows about them


@attrs.frozen
class _Group:
    """A group of upstreams with what the configuration says of it."""

    settings: Upstream
    sources: Sources
    endpoints: Endpoints

    @property
    def number(self) -> int:
        return self.endpoints.group.number

    @property
    def origin(self) -> int:
        return fingerprint(self.settings, self.sources.servers)

    @property
    def spelled(self) -> str:
        """Of which group, in the log."""
        return f" of {self.settings.name}" if isinstance(self.settings, (Forward, View)) else ""

    @property
    def falls_back(self) -> bool:
        """Whether the default group's upstreams are asked while none of its own is alive."""
        return isinstance(self.settings, Forward) and self.settings.fallback_to_default

    @property
    def servers(self) -> str:
        return ", ".join(map(str, self.sources.servers))


class Worker:
    """Serves until the supervisor tells it to stop, or is gone."""

    def __init__(self, inheritance: Inheritance) -> None:
        config, counters = inheritance.config, inheritance.counters
        self._hub = gevent.get_hub()
        self._hub.handle_error = _log_error
        loop = self._hub.loop
        self._config = config
        self._memory = inheritance.memory
        self._counters = counters
        self._control = inheritance.control
        self._stop, self._names_changed = Event(), Event()
        self._groups_file = inheritance.groups
        self._forward = inheritance.forward
        flights = self._flights = Flights(counters)
        servers = inheritance.sources.servers
        self._upstreams = Upstreams(counters)
        self._groups = [
            _Group(
                settings,
                sources,
                self._upstreams.add(settings, limits_of(config.cache, settings), flights),
            )
            for settings, sources in (
                (config.upstream, inheritance.sources),
                *((one.group, one.sources) for one in inheritance.forward),
            )
        ]
        self._use_servers()
        self._upstreams.take_over(inheritance.upstreams)
        self._tiers = Cache(
            HotCache(inheritance.memory, int(config.cache.stale * 1000)),
            counters,
            Disk(inheritance.cache),
            inheritance.ring,
            inheritance.control,
            fingerprint(config.upstream, servers),
            inheritance.keeper_wakeup,
            inheritance.rings,
            CacheSettings.of(config.cache),
        )
        self._tiers.views = len(config.view)
        self._refusals = RefusalCheck()
        self._is_first = inheritance.number == 0  # it logs what all workers see
        self._override_problems = States(log, logging.WARNING)
        if self._is_first:
            health_log, pages = HealthLog(inheritance.upstreams), inheritance.pages
            self._upstreams.shown = lambda: health_log.look(pages.upstreams())
        self._views = self._make_views(inheritance)
        self._admission = Admission(config.access, self._views, tells=self._is_first)
        for one in self._groups[1:]:
            self._tiers.set_group(one.number, one.origin)
        self._domains, self._local = inheritance.domains, inheritance.local
        self._filtering = Filtering(
            config,
            compiled=inheritance.compiled,
            overrides=inheritance.overrides,
            counters=counters,
            hits=inheritance.hits,
            use=self._use_policy,
            tells=self._is_first,
        )
        self._use_policy()
        groups = [one.endpoints.group for one in self._groups]
        self._resolver = Resolver(groups, self._tiers, flights, access=self._admission.access)
        self._fastpath = self._resolver.fastpath
        self._rate = RateLimit(
            inheritance.rate_table,
            config.access.rate_limit,
            self._admission.exempt,
            dry_run=config.access.rate_dry_run,
        )
        self._fastpath.limit_by(self._rate)
        self._fastpath.use_cookies(Cookies(inheritance.cookie_page))
        if counters.clients is not None:
            counters.clients.use_views([one.name for one in config.view])
        listeners, number = inheritance.listeners, inheritance.number
        self._udp = [
            (one.fileno(), place)
            for place, each in enumerate(listeners)
            for one in each.udp_of(number)
        ]
        self._watchers = [loop.io(descriptor, 1) for descriptor, _ in self._udp]
        self._streams = Streams(
            [(place, one.tcp, one.service.name) for place, one in enumerate(listeners) if one.tcp],
            self._fastpath,
            counters,
            compile_proxies(config.listen.proxy_networks),
        )
        self._certificate = WorkersCertificate(
            inheritance.certificate_page, inheritance.ticket_page, self._streams
        )
        self._term = loop.signal(signal.SIGTERM)
        # The supervisor holds the other end: when it closes it or dies, this one becomes readable.
        self._orphaned = loop.io(inheritance.lifeline, 1)
        self._wakeup = inheritance.wakeup
        self._called = loop.io(self._wakeup, 1)
        self._tallied = inheritance.control.tally
        # Separate from the periodic look, which may take long: the supervisor kills a worker whose
        # hub does not get to this one word.
        self._heartbeat = loop.timer(0.0, HEARTBEAT_SECONDS)

    def run(self) -> None:
        """Serve until told to stop; then send the last answers."""
        self._term.start(self._stop.set)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])  # an earlier one waits until here
        self._orphaned.start(self._stop.set)
        for watcher, (descriptor, place) in zip(self._watchers, self._udp, strict=True):
            watcher.start(self._fastpath.drain, descriptor, place)
        self._called.start(guarded(self._answer_keeper))
        self._heartbeat.start(self._counters.heartbeat)
        beside = [
            gevent.spawn(self._look_around),
            gevent.spawn(self._warm_up),
            gevent.spawn(self._filtering.follow, self._hub),
            gevent.spawn(
                self._admission.follow,
                self._hub.loop,
                self._use_access,
                self._use_network,
            ),
        ]
        if self._local is not None and self._local.may_change:
            beside.append(gevent.spawn(self._follow, self._local))
        if self._views is not None:
            beside += self._follow_views(self._views)
        self._stop.wait()
        gevent.killall(beside, block=False)
        self._streams.stop()
        for watcher, (descriptor, place) in zip(self._watchers, self._udp, strict=True):
            watcher.stop()
            self._fastpath.drain(descriptor, place)
        until = time.monotonic() + LAST_ANSWERS_SECONDS
        while not self._idle() and time.monotonic() < until:
            gevent.sleep(0.01)
        self._report_hits()

    def _idle(self) -> bool:
        return self._resolver.idle and self._streams.idle

    def _look_around(self) -> None:
        """Follow the files that name upstreams, and publish the state of the upstreams."""
        release_at = 0.0
        while True:
            self._upstreams.show()
            gevent.sleep(LOOK_AROUND_SECONDS)
            if time.monotonic() >= release_at:
                release_at = time.monotonic() + RELEASE_SECONDS
                self._tiers.disk.release_pages()
            self._flights.close_idle_ports()
            self._certificate.look()
            if self._heartbeat.active and self._tiers.disk.loops():
                self._leave_loop()
            self._refusals.look(self._upstreams)
            if self._is_first:
                self._override_problems.update(self._filtering.problems)
            self._renew_wanted()
            changed = [group for group in self._groups if group.sources.refresh()]
            for group in changed:
                if self._is_first:
                    log.info("upstreams%s are now %s", group.spelled, group.servers)
                self._tiers.set_group(group.number, group.origin)
            if changed:
                self._use_servers()
            if changed and self._is_first:
                write_groups(self._groups_file, groups_of(self._forward))

    def _use_policy(self) -> None:
        records = None if self._local is None else self._local.records
        self._tiers.use_policy(self._domains.policy(records, self._filtering.blocking))

    def _make_views(self, inheritance: Inheritance) -> Views | None:
        if not self._config.view:
            return None
        # Imported here: most daemons have no views.
        from .views import Views  # noqa: PLC0415

        local = inheritance.local
        return Views(self._config, Names() if local is None else local.names, tells=self._is_first)

    def _follow_views(self, views: Views) -> list[gevent.Greenlet]:
        seen, renew = self._counters.clients, self._resolver.renew
        return [
            gevent.spawn(views.follow_hours, lambda: self._admission.renew(self._use_access)),
            gevent.spawn(views.follow_clients, self._fastpath, renew, seen),
        ]

    def _use_network(self) -> None:
        """Have the kernel choose other addresses for upstreams; tell clients of our own ones."""
        self._flights.give_up_ports()
        if self._local is not None and self._local.needs_own_addresses:
            self._names_changed.set()

    def _use_access(self, access: Access, exempt: Access) -> None:
        self._fastpath.admit_by(access)
        self._rate.exempt_by(exempt)

    def _follow(self, local: LocalSources) -> None:
        """Use the owner's names as they change: hosts files, leases, which end as well, and the
        addresses of this machine.

        A thread reads them: a hosts file of 100,000 lines would keep queries waiting.
        """
        has_changed = self._names_changed
        names = local.logged
        problems = States(log, logging.WARNING, names.problems)
        left_out = States(log, logging.INFO, names.left_out)
        local.watch(self._hub.loop, has_changed.set)
        try:
            while True:
                due = (local.seconds_to_next_end(), problems.seconds, left_out.seconds)
                has_changed.wait(min((one for one in due if one is not None), default=None))
                has_changed.clear()
                if self._hub.threadpool.apply(local.refresh):
                    self._use_policy()
                    if self._views is not None:
                        self._views.use_names(local.names)
                if not self._is_first:
                    continue
                problems.update(local.problems)
                left_out.update(local.left_out)
                lines = changes_of_local(names, local.names)
                if len(lines) > 1:
                    log.info("local: %s", "; ".join(lines).removeprefix("local: "))
                names = local.names.without_records()
        finally:
            local.stop()

    def _use_servers(self) -> None:
        """Have each group ask those that its sources name now."""
        default = self._groups[0].sources.servers
        for group in self._groups:
            group.endpoints.replace(group.sources.servers, default if group.falls_back else ())

    def _leave_loop(self) -> None:
        """Have the disk cache replaced and another worker take over: a thread cannot be ended."""
        log.error("a look-up in the disk cache runs in a loop")
        if self._tiers.disk.is_in_place():  # else another worker has found that before
            self._control.condemn()
            self._tiers.disk_is_damaged()
        self._heartbeat.stop()

    def _answer_keeper(self) -> None:
        """Do what the keeper woke us for: read the control pages, report the hits.

        A command may be about to read the state of the upstreams, which is therefore published now.
        """
        with suppress(BlockingIOError):
            os.read(self._wakeup, 8)
        self._upstreams.show()
        self._filtering.look()
        self._renew_wanted()
        if self._control.tally != self._tallied:
            self._tallied = self._control.tally
            gevent.spawn(self._report_hits)

    def _renew_wanted(self) -> None:
        for key in self._tiers.look_at_control():
            self._resolver.renew(key)

    def _report_hits(self) -> None:
        while not self._tiers.report_hits(HITS_AT_ONCE):
            gevent.sleep(0)
        self._tiers.keeper_is_due()

    def _warm_up(self) -> None:
        """Load the most used entries from disk into memory, in the background."""
        disk = self._tiers.disk
        while not disk.is_open:  # the keeper may have to create or repair it first
            gevent.sleep(LOOK_AROUND_SECONDS)
        limit = self._memory // OCTETS_A_WARMED_ENTRY
        # Reading the whole file may take long, so a thread does it that does not hold the
        # interpreter's lock.
        chosen = self._hub.threadpool.apply(most_used, (disk, limit))
        if chosen is None:
            self._tiers.disk_is_damaged()
            return
        keys = iter(chosen)
        while chunk := list(islice(keys, WARMED_AT_ONCE)):
            # If the file is larger than the machine's memory, they have left that memory again.
            self._hub.threadpool.apply(disk.touch, (chunk,))
            if not self._tiers.warm(chunk):
                break
            gevent.sleep(0)
        release_code()  # the reference of the start, which ends here


def main(inheritance: Inheritance, ready: int) -> None:
    """Run one worker in this process; write a byte to `ready` when it serves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all processes
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_many_descriptors()
    worker = Worker(inheritance)
    os.write(ready, b"1")
    os.close(ready)
    worker.run()


def _allow_many_descriptors() -> None:
    """Raise the limit: connections and ports take one each; the usual 1,024 are for select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _log_error(context: Any, kind: Any, value: Any, _traceback: Any) -> None:
    """Log a defect of ours in one greenlet or callback as one line; the others continue."""
    if kind is None or issubclass(kind, gevent.GreenletExit):
        return
    if issubclass(kind, OSError):  # descriptors or memory are short: accept reports it here
        log.warning("%s", value)
    else:
        log.error(
            "defect in %s: %s: %s",
            context,
            kind.__name__,
            value,
            exc_info=log.isEnabledFor(logging.DEBUG),
        )
