"""The supervisor: owns the sockets, forks the worker, replaces it when it dies, gives up root.

It has no hub, no thread and opens no database: what it forks must not share them.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from .. import __version__
from .._shared import Pages
from ..config.places import Places
from ..config.schema import Config
from ..errors import StartError
from ..upstream.sources import Sources
from . import ground, worker
from .log import start_log
from .sockets import bind_all

log = logging.getLogger(__name__)

SUPERVISOR_SLOT = 0
WORKER_SLOT = 1
READY_SECONDS = 10.0
STOP_SECONDS = 6.0  # longer than a worker takes for its last answers
SHORT_LIFE_SECONDS = 5.0  # who dies younger is replaced more slowly each time
PAUSE_MAX_SECONDS = 5.0
# What gevent imports with its first hub. Who has given up root may not be able to read the files of
# the interpreter any more (they may lie in root's home), so nothing is left to be imported then.
IMPORTED_LATE = ("pprint",)
STOPPING = {signal.SIGTERM, signal.SIGINT}
SIGNALS = STOPPING | {signal.SIGHUP, signal.SIGCHLD}


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. StartError: it cannot begin."""
    _fill_standard_descriptors()
    start_log(config.log_level)
    places = Places(config.state_dir, config.run_dir)
    account = ground.prepare(places)
    held = ground.lock(places, account)
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
        importlib.import_module(name)
    if account is not None:
        ground.become(account)
    ground.check(places)
    sources.warn_of_closed_files()
    pages = _make_pages(places)
    seen_by_worker, lifeline = os.pipe()
    inheritance = worker.Inheritance(
        config, sources, listeners, pages.counters(WORKER_SLOT), seen_by_worker
    )
    try:
        return Supervisor(inheritance, lifeline, pages, held).run()
    finally:
        with suppress(OSError):
            places.counters.unlink()


class Supervisor:
    """One worker and its successors, on the same sockets."""

    def __init__(self, inheritance: worker.Inheritance, lifeline: int, pages: Pages, held: int):
        self._inheritance = inheritance
        self._lifeline = lifeline
        self._held = held
        self._counters = pages.counters(SUPERVISOR_SLOT)
        self._pid = 0
        self._started = 0.0
        self._pause = 0.0

    def run(self) -> int:
        gc.collect()
        gc.freeze()  # what was imported stays shared with the worker, untouched by its collector
        self._fork()
        log.info(
            "ready on %s (fastdns %s, upstreams %s)",
            ", ".join(str(one.address) for one in self._inheritance.listeners),
            __version__,
            ", ".join(str(server) for server in self._inheritance.sources.servers),
        )
        while True:
            caught = signal.sigwait(SIGNALS)
            if caught in STOPPING:
                return self._stop()
            if caught == signal.SIGHUP:
                log.warning(
                    "SIGHUP: this version cannot reload; restart it for a new configuration"
                )
            elif self._has_died():
                self._counters.add("worker_restarts_total")
                if not self._replace():
                    return 0

    def _fork(self) -> None:
        """Start a worker and wait until it serves; StartError when it does not."""
        self._inheritance.sources.refresh()  # a successor must not begin with an old list
        self._started = time.monotonic()
        answered, ready = os.pipe()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(answered)
            os.close(ready)
            raise
        if self._pid == 0:
            os.close(answered)
            os.close(self._held)  # the lock is the supervisor's, and free when that one is gone
            os.close(self._lifeline)
            _leave(lambda: worker.main(self._inheritance, ready))
        os.close(ready)
        select.select([answered], [], [], READY_SECONDS)
        serves = os.read(answered, 1) if select.select([answered], [], [], 0)[0] else b""
        os.close(answered)
        if not serves:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            raise StartError("the worker did not start; its last lines above say why")

    def _has_died(self) -> bool:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return False
        code = os.waitstatus_to_exitcode(status)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        log.error("the worker (pid %d) ended %s; another takes over", pid, how)
        return True

    def _replace(self) -> bool:
        """Fork a successor, after a pause when workers die young; False: stopped meanwhile."""
        while True:
            lived = time.monotonic() - self._started
            self._pause = (
                0.0
                if lived > SHORT_LIFE_SECONDS
                else min(max(2 * self._pause, 0.05), PAUSE_MAX_SECONDS)
            )
            if signal.sigtimedwait(STOPPING, self._pause) is not None:
                return False
            try:
                self._fork()
            except (StartError, OSError) as error:
                log.error("no worker: %s", error)
                continue
            log.info("worker (pid %d) serves in its place", self._pid)
            return True

    def _stop(self) -> int:
        """Let the worker send what is under way; end it when it takes too long."""
        log.info("stopping")
        os.kill(self._pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while os.waitpid(self._pid, os.WNOHANG)[0] == 0:
            if time.monotonic() >= until:
                log.error("the worker (pid %d) does not stop and is killed", self._pid)
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                break
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        return 0


def _make_pages(places: Places) -> Pages:
    try:
        return Pages.create(places.counters, slots=2, started_at=time.time())
    except OSError as error:
        raise StartError(f"{places.counters}: {error.strerror}; make room there") from error


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


def _leave(work: Callable[[], None]) -> None:
    """Do the work of a child and end this process, without what its parent would do at the end."""
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:  # whatever it is, it must not unwind into the supervisor
        log.error("worker: %s: %s", type(error).__name__, error)
    finally:
        os._exit(status)


def _no_upstream(config: Config) -> str:
    if config.upstream.servers:
        return "no upstream is left; name another resolver with --upstream ADDRESS"
    return (
        "no upstream: /etc/resolv.conf names no resolver (fastdns itself does not count); "
        "name one with --upstream ADDRESS, or upstream.servers in the configuration"
    )
