"""The supervisor: owns the sockets, forks keeper and worker, replaces who dies, gives up root.

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
from functools import partial

from .. import __version__
from .._shared import KEEPER_SLOT, SUPERVISOR_SLOT, WORKER_SLOT
from ..cache.store import SMALL_MAP
from ..config.places import Places
from ..config.schema import Config
from ..errors import StartError
from ..upstream.sources import Sources
from . import ground, keeper, worker
from .children import CRASHES, Child
from .log import start_log
from .shared import Maker, Shared
from .sockets import Listeners, bind_all

log = logging.getLogger(__name__)

KEEPER = "keeper"
WORKER = "worker"
WORKERS = 1  # more are not in this version
READY_SECONDS = 10.0
START_TRIES = 5
KEEPER_READY_SECONDS = 5.0  # commonly milliseconds
INTAKE_SECONDS = 0.1  # clients wait meanwhile, but for less than a question to an upstream may take
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
)
STOPPING = {signal.SIGTERM, signal.SIGINT}
SIGNALS = STOPPING | {signal.SIGHUP, signal.SIGCHLD}


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. StartError: it cannot begin."""
    _fill_standard_descriptors()
    start_log(config.log_level)
    places = Places(config.state_dir, config.run_dir)
    account = ground.prepare(places)
    ground.lock(places, account)
    listeners = bind_all(config.listen)
    for address in config.listen.dns:
        if address == address.wildcard:
            log.warning(
                "%s serves anybody who can reach it: there are no access rules yet", address
            )
    sources = Sources(config)
    if not sources.servers:
        raise StartError(_no_upstream(config))
    _prepare_signals()
    for name in IMPORTED_LATE:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    if account is not None:
        ground.become(account)
    ground.check(places)
    sources.warn_of_closed_files()
    shared = Maker(places).make(places.environment(config.cache.disk), WORKERS)
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
        self._lifelines = {KEEPER: os.pipe(), WORKER: os.pipe()}
        self._keeper = Child(KEEPER, self._be_keeper)
        self._workers = [
            Child(WORKER, partial(self._be_worker, number)) for number in range(WORKERS)
        ]
        self._keeper_crashes: list[float] = []

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
        while True:
            due = min(child.due for child in self._children)
            wait = min(max(due - time.monotonic(), 0.0), LONGEST_WAIT_SECONDS)
            caught = signal.sigtimedwait(SIGNALS, wait)
            if caught is not None and caught.si_signo in STOPPING:
                log.info("stopping")
                self._stop()
                return 0
            if caught is not None and caught.si_signo == signal.SIGHUP:
                log.warning(
                    "SIGHUP: this version cannot reload; restart it for a new configuration"
                )
            self._look_after_children()

    def _start(self) -> None:
        # What workers of the last run told has to be on disk, and the disk known to be sound,
        # before these look there. Commands find the keeper, too, when the daemon says it is ready.
        self._keeper.start()
        self._keeper.is_ready(KEEPER_READY_SECONDS)
        for child in self._workers:
            self._start_worker(child)

    def _start_worker(self, child: Child) -> None:
        """Start one; StartError when it cannot be, other than because the disk is damaged."""
        for _ in range(START_TRIES):
            child.start()
            if child.is_ready(READY_SECONDS):
                return
            code = child.give_up()
            if -code not in CRASHES:
                break
            self._take_note(child, code)  # the next one leaves the disk alone
        self._stop()
        raise StartError("the worker did not start; its last lines above say why")

    @property
    def _children(self) -> list[Child]:
        return [self._keeper, *self._workers]

    def _look_after_children(self) -> None:
        for child in self._children:
            code = child.reap()
            if code is not None:
                self._take_note(child, code)
        for child in self._children:
            if child.due <= time.monotonic():
                self._replace(child)

    def _take_note(self, child: Child, code: int) -> None:
        """Tell of a death, count it, and let the keeper know what it has to do about it."""
        child.tell_end(code)
        self._counters.add(f"{child.name}_restarts_total")
        crashed = -code in CRASHES
        if crashed:
            self._shared.control.suspect = True  # the environment may be what it died of
        if child is self._keeper:
            if crashed:
                self._keeper_crashes.append(time.monotonic())
        else:
            with suppress(BlockingIOError):  # its successor finds on disk what this one knew
                os.eventfd_write(self._shared.keeper_bell, keeper.BELL_TAKE_IN)

    def _replace(self, child: Child) -> None:
        try:
            if child is self._keeper:
                child.start()
                log.info("%s (pid %d) works in its place", child.name, child.pid)
                return
            self._await_intake()
            self._sources.refresh()  # a successor must not begin with an old list
            child.start()
            if child.is_ready(READY_SECONDS):
                log.info("%s (pid %d) serves in its place", child.name, child.pid)
                return
            code = child.give_up()
            log.error("no %s: it did not start; its last lines above say why", child.name)
            if -code in CRASHES:
                self._take_note(child, code)  # the next one leaves the disk alone
        except OSError as error:
            log.error("no %s: %s", child.name, error)

    def _await_intake(self) -> None:
        """Give the keeper a moment to bring to disk what the dead worker had learned."""
        until = time.monotonic() + INTAKE_SECONDS
        while self._keeper.pid and self._shared.is_behind and time.monotonic() < until:
            time.sleep(INTAKE_SECONDS / 50)

    def _stop(self) -> None:
        """Let workers send what is under way, then the keeper write what they have told."""
        for child in self._workers:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)
        for child in self._workers:
            child.wait()
        os.close(self._lifelines[KEEPER][1])
        self._keeper.wait()

    # In the children

    def _be_keeper(self, ready: int) -> None:
        lifeline = self._inherit(KEEPER)
        for listener in self._listeners:
            listener.udp.close()
            listener.tcp.close()
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
            worker_bells=self._shared.worker_bells,
            lifeline=lifeline,
        )
        keeper.main(inheritance, ready, self._crashes_lately())

    def _be_worker(self, number: int, ready: int) -> None:
        lifeline = self._inherit(WORKER)
        inheritance = worker.Inheritance(
            config=self._config,
            sources=self._sources,
            listeners=self._listeners,
            counters=self._shared.pages.counters(WORKER_SLOT + number),
            lifeline=lifeline,
            ring=self._shared.rings[number],
            control=self._shared.control,
            bell=self._shared.worker_bells[number],
            keeper_bell=self._shared.keeper_bell,
            cache=self._places.environment(self._config.cache.disk),
        )
        worker.main(inheritance, ready)

    def _inherit(self, name: str) -> int:
        """Return the child's end of its lifeline; the supervisor's ends must be nobody else's."""
        for _, ours in self._lifelines.values():
            os.close(ours)
        return self._lifelines[name][0]

    def _crashes_lately(self) -> int:
        now = time.monotonic()
        return sum(now - at < CRASHES_SECONDS for at in self._keeper_crashes[-CRASHES_KEPT:])


def _fill_standard_descriptors() -> None:
    """Open what the starter left closed: else a socket would get the number and the log's lines."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def _prepare_signals() -> None:
    """Have those that we wait for come, and stray ones do no harm, whatever the starter set."""
    for unused in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(unused, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it never comes, and nobody can wait
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # before there is a child to miss


def _no_upstream(config: Config) -> str:
    if config.upstream.servers:
        return "no upstream is left; name another resolver with --upstream ADDRESS"
    return (
        "no upstream: /etc/resolv.conf names no resolver (fastdns itself does not count); "
        "name one with --upstream ADDRESS, or upstream.servers in the configuration"
    )
