"""The supervisor: owns the sockets, forks keeper and workers, replaces who dies, gives up root.

It has no hub, no thread and opens no database: what it forks must not share them.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from .. import __version__
from .._shared import KEEPER_SLOT, SUPERVISOR_SLOT
from ..cache.store import SMALL_MAP
from ..config.places import Places
from ..config.schema import Config
from ..errors import StartError
from ..upstream.sources import Sources
from . import ground, keeper, worker
from .children import READY_SECONDS, Child, Post, name_process
from .crew import STANDBY, WORKER, Crew, await_order
from .log import start_log
from .loop import Loop
from .shared import Maker, Shared
from .sockets import Listeners, bind_all

log = logging.getLogger(__name__)

KEEPER = "keeper"
START_TRIES = 5
KEEPER_READY_SECONDS = 5.0  # commonly milliseconds
LONGEST_WAIT_SECONDS = 3600.0
CRASHES_SECONDS = 60.0  # of crashes of the keeper, only those of the last minute count
CRASHES_KEPT = 10
# What gevent imports with its first hub, its first threads and the first exception in one, and
# py-lmdb (3.0; Debian 12's does not have it) with the first environment. Who has given up root may
# not be able to read the files of the interpreter any more (they may lie in root's home), so
# nothing is left to be imported then.
IMPORTED_LATE = (
    *("pprint", "pickle", "concurrent.futures"),
    *("gevent.monkey", "gevent.threadpool", "gevent.util"),
    "lmdb._envid",
    "encodings.utf_8_sig",  # for a configuration that is read again
)


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. StartError: it cannot begin."""
    _fill_standard_descriptors()
    start_log(config.log_level)
    places = Places(config.state_dir, config.run_dir)
    account = ground.prepare(places)
    ground.lock(places, account)
    listeners = bind_all(config.listen, config.worker_count)
    warn_of_open_addresses(config)
    sources = Sources(config)
    if not sources.servers:
        raise StartError(no_upstream(config))
    for unused in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(unused, signal.SIG_IGN)  # stray ones do no harm
    for name in IMPORTED_LATE:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    if account is not None:
        ground.become(account)
    ground.check(places)
    sources.warn_of_closed_files()
    maker = Maker(places)
    most_workers = max(config.worker_count, os.cpu_count() or 1)
    environment = places.environment(config.cache.disk)
    shared = maker.make(environment, config.worker_count, most_workers)
    try:
        return Supervisor(config, places, sources, listeners, shared).run()
    finally:
        with suppress(OSError):
            places.counters.unlink()


class Supervisor:
    """The keeper, the workers, and the successors of both, on the same sockets and pages."""

    def __init__(
        self,
        config: Config,
        places: Places,
        sources: Sources,
        listeners: Sequence[Listeners],
        shared: Shared,
    ) -> None:
        self._config = config
        self._places = places
        self._sources = sources
        self._listeners = listeners
        self._shared = shared
        self._counters = shared.pages.counters(SUPERVISOR_SLOT)
        self._loop = Loop()
        self._crew = Crew(shared, self._be_worker, self._loop, self._mourn)
        self._keeper = Post()
        self._keeper_crashes: list[float] = []
        self._is_to_end = False
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._end)
        self._loop.on_signal(signal.SIGCHLD, _look)
        self._loop.on_signal(signal.SIGHUP, self._hang_up)

    def run(self) -> int:
        """Serve until told to stop."""
        gc.collect()
        gc.freeze()  # what was imported stays shared with children, untouched by their collectors
        self._start()
        log.info(
            "ready on %s (fastdns %s, upstreams %s)",
            ", ".join(str(one.address) for one in self._listeners),
            __version__,
            ", ".join(str(server) for server in self._sources.servers),
        )
        while not self._is_to_end:
            due = min(self._keeper.due, self._crew.due)
            self._loop.turn(min(due - time.monotonic(), LONGEST_WAIT_SECONDS))
            if not self._is_to_end:
                self._look_after_children()
        log.info("stopping")
        self._stop()
        return 0

    def _end(self) -> None:
        self._is_to_end = True

    def _hang_up(self) -> None:
        log.warning("SIGHUP: this version cannot reload; restart it for a new configuration")

    def _start(self) -> None:
        """Start keeper and workers; StartError when they cannot be."""
        try:
            # What workers of the last run told has to be on disk, and the disk known to be sound,
            # before these look there. Commands find the keeper when the daemon says it is ready.
            self._start_keeper().await_ready(KEEPER_READY_SECONDS)
            for number in range(self._config.worker_count):
                self._crew.enlist(number)
            for number in range(self._config.worker_count):
                self._await_worker(number)
        except OSError as error:
            self._stop()
            raise StartError(f"cannot start a process: {error.strerror}") from error
        self._crew.stand_by()

    def _start_keeper(self) -> Child:
        child = Child(KEEPER, self._be_keeper, self._loop)
        self._keeper.take(child)
        return child

    def _await_worker(self, number: int) -> None:
        """Wait for one to serve; StartError when it cannot, other than for a damaged disk."""
        for _ in range(START_TRIES):
            child = self._crew.posts[number].child
            assert child is not None
            if child.await_ready(READY_SECONDS):
                return
            self._crew.give_up(child)
            if not child.has_crashed:
                break
            self._mourn(child)  # the next one leaves the disk alone
            self._crew.enlist(number)
        self._stop()
        raise StartError("the worker did not start; its last lines above say why")

    def _look_after_children(self) -> None:
        keeper_ = self._keeper.child
        if keeper_ is not None and keeper_.reap():
            self._mourn(keeper_)
            self._keeper.vacate(time.monotonic() - keeper_.began_at)
        if self._keeper.due <= time.monotonic():
            self._replace_keeper()
        self._crew.look()

    def _replace_keeper(self) -> None:
        try:
            log.info("%s works in its place", self._start_keeper())
        except OSError as error:
            log.error("no %s: %s", KEEPER, error)
            self._keeper.vacate(0.0)

    def _mourn(self, child: Child) -> None:
        """Tell of a death, count it, and let the keeper know what it has to do about it."""
        if child.name != WORKER or child.is_ready or child.has_crashed:
            child.tell_end()
        if child.name == STANDBY:
            return
        self._counters.add(f"{child.name}_restarts_total")
        if child.has_crashed:
            self._shared.control.suspect = True  # the environment may be what it died of
        if child.name == WORKER:
            with suppress(BlockingIOError):  # its successor finds on disk what this one knew
                os.eventfd_write(self._shared.keeper_bell, keeper.BELL_TAKE_IN)
        elif child.has_crashed:
            self._keeper_crashes.append(time.monotonic())

    def _stop(self) -> None:
        """Let workers send what is under way, then the keeper write what they have told."""
        self._crew.stop()
        if self._keeper.child is not None:
            self._keeper.child.release()
            self._keeper.child.await_end()
            self._keeper = Post()

    # In the children

    def _be_keeper(self, order: int, ready: int) -> None:
        for listener in self._listeners:
            listener.close()
        cache = self._config.cache
        inheritance = keeper.KeeperInheritance(
            place=self._places.environment(cache.disk),
            size=cache.disk or SMALL_MAP,
            stale=int(cache.stale),
            commit_interval=cache.commit_interval,
            socket=self._places.keeper,
            rings=self._shared.rings,
            control=self._shared.control,
            counters=self._shared.pages.counters(KEEPER_SLOT),
            bell=self._shared.keeper_bell,
            berths=self._shared.berths,
            lifeline=order,
        )
        keeper.main(inheritance, ready, self._crashes_lately())

    def _be_worker(self, order: int, ready: int) -> None:
        """Wait for the order to be a worker, and be it."""
        told = await_order(order)
        if told is None:
            return
        number, berth_number, with_intake = told
        name_process(WORKER)
        berth = self._shared.berths[berth_number]
        if with_intake:
            berth.await_intake()
        self._sources.refresh()  # a successor must not begin with an old list
        for listener in self._listeners:
            listener.close_others(number)
        inheritance = worker.Inheritance(
            number=number,
            config=self._config,
            memory=self._config.worker_memory,
            sources=self._sources,
            listeners=self._listeners,
            counters=berth.counters,
            lifeline=order,
            ring=berth.ring,
            control=self._shared.control,
            bell=berth.bell,
            keeper_bell=self._shared.keeper_bell,
            cache=self._places.environment(self._config.cache.disk),
        )
        worker.main(inheritance, ready)

    def _crashes_lately(self) -> int:
        now = time.monotonic()
        return sum(now - at < CRASHES_SECONDS for at in self._keeper_crashes[-CRASHES_KEPT:])


def warn_of_open_addresses(config: Config) -> None:
    """Say which addresses serve more than this machine."""
    for address in config.listen.dns:
        if address == address.wildcard:
            log.warning(
                "%s serves anybody who can reach it: there are no access rules yet", address
            )


def _look() -> None:
    """Wake up: after each turn the children are looked after."""


def _fill_standard_descriptors() -> None:
    """Open what the starter left closed: else a socket would get the number and the log's lines."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def no_upstream(config: Config) -> str:
    """Return why there is nobody to ask, and the remedy."""
    if config.upstream.servers:
        return "no upstream is left; name another resolver with --upstream ADDRESS"
    return (
        "no upstream: /etc/resolv.conf names no resolver (fastdns itself does not count); "
        "name one with --upstream ADDRESS, or upstream.servers in the configuration"
    )
