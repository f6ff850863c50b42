"""A worker: one gevent hub that serves the sockets it was forked with."""

from __future__ import annotations

import logging
import os
import resource
import signal
import time
from collections.abc import Sequence
from typing import Any

import attrs
import gevent
from gevent.event import Event

from .._answer import Limits
from .._hotcache import HotCache
from .._shared import Counters
from ..config.schema import Config
from ..listen.tcp import TcpListener
from ..resolve import Resolver
from ..upstream.exchange import Desk
from ..upstream.group import Group
from ..upstream.reply import Reader
from ..upstream.sources import Sources
from .sockets import Listeners

log = logging.getLogger(__name__)

LAST_ANSWERS_SECONDS = 4.5  # for what is under way when we are to stop
LOOK_AT_FILES_SECONDS = 1.0


@attrs.frozen
class Inheritance:
    """What a worker gets from the supervisor that forks it."""

    config: Config
    sources: Sources
    listeners: Sequence[Listeners]
    counters: Counters
    lifeline: int  # readable when the supervisor is gone


class Worker:
    """Serves until the supervisor says stop or goes away."""

    def __init__(self, inheritance: Inheritance) -> None:
        config, counters = inheritance.config, inheritance.counters
        hub = gevent.get_hub()
        hub.handle_error = _log_error
        self._loop = hub.loop
        self._sources = inheritance.sources
        self._stop = Event()
        limits = _limits(config)
        self._group = Group(
            config.upstream, inheritance.sources.servers, Desk(Reader(limits), counters)
        )
        self._resolver = Resolver(self._group, limits, HotCache(config.cache.memory), counters)
        self._fastpath = self._resolver.fastpath
        self._udp = [listener.udp.fileno() for listener in inheritance.listeners]
        self._watchers = [self._loop.io(descriptor, 1) for descriptor in self._udp]
        self._tcp = TcpListener(
            (one.tcp for one in inheritance.listeners), self._fastpath, counters
        )
        self._term = self._loop.signal(signal.SIGTERM)
        # The supervisor holds the other end: when it dies of any cause, this one can be read.
        self._orphaned = self._loop.io(inheritance.lifeline, 1)

    def run(self) -> None:
        """Serve until told to stop; then send what is under way."""
        self._term.start(self._stop.set)
        self._orphaned.start(self._stop.set)
        for watcher, descriptor in zip(self._watchers, self._udp, strict=True):
            watcher.start(self._fastpath.drain, descriptor)
        files = gevent.spawn(self._follow_files)
        self._stop.wait()
        files.kill(block=False)
        self._tcp.stop()
        for watcher, descriptor in zip(self._watchers, self._udp, strict=True):
            watcher.stop()
            self._fastpath.drain(descriptor)
        until = time.monotonic() + LAST_ANSWERS_SECONDS
        while not self._idle() and time.monotonic() < until:
            gevent.sleep(0.01)

    def _idle(self) -> bool:
        return self._resolver.idle and self._tcp.idle

    def _follow_files(self) -> None:
        while True:
            gevent.sleep(LOOK_AT_FILES_SECONDS)
            if self._sources.refresh():
                names = ", ".join(str(server) for server in self._sources.servers)
                log.info("upstreams are now %s", names)
                self._group.replace(self._sources.servers)


def main(inheritance: Inheritance, ready: int) -> None:
    """Run one worker in this process; writes an octet to `ready` when it serves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to everybody
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _allow_many_descriptors()
    worker = Worker(inheritance)
    os.write(ready, b"1")
    os.close(ready)
    worker.run()


def _limits(config: Config) -> Limits:
    cache = config.cache
    return Limits(
        int(cache.min_ttl),
        int(cache.max_ttl),
        int(cache.negative_max_ttl),
        int(cache.failure_ttl),
        config.upstream.trust_ad,
    )


def _allow_many_descriptors() -> None:
    """Each question under way has a socket; the usual 1,024 are for programs with select."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _log_error(context: Any, kind: Any, value: Any, _traceback: Any) -> None:
    """A defect of ours in one greenlet or callback: one line, and the others go on."""
    if kind is None or issubclass(kind, gevent.GreenletExit):
        return
    if issubclass(kind, OSError):  # descriptors or memory are short: accept says so here
        log.warning("%s", value)
    else:
        log.error(
            "defect in %s: %s: %s",
            context,
            kind.__name__,
            value,
            exc_info=log.isEnabledFor(logging.DEBUG),
        )
