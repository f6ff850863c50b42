"""The role that keeps block lists up to date: a process that ends when its work is done.

It has the lowest priority, and the system ends it first when memory runs out: a router with little
of both answers queries meanwhile.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path

from ..config.places import Places
from ..lists.schedule import seconds_to_next
from ..lists.store import Store
from ..machine.priority import run_in_background
from ..policy.block_lists.named import lists_named
from .children import Child
from .roles import Context, Role

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0  # between two looks at files and at the clock
PAUSES = (60.0, 300.0, 900.0, 3600.0)  # after one that changed nothing, or died, the second …
LONGEST_SECONDS = 4 * 3600.0
OOM_SCORE = b"500"


class ListsRole(Role):
    """The role: it has a process while there is something to fetch or to compile."""

    name = "lists"
    ready_seconds = 0.0
    is_temporary = True

    def __init__(self, context: Context, places: Places) -> None:
        super().__init__(context)
        self._places = places
        self._store = Store(places)
        self._not_before = -math.inf
        self._vain = 0  # processes that have left as much to do as there was

    @property
    def count(self) -> int:
        """One, if there are lists, or copies of former ones."""
        return int(bool(lists_named(self.context.settings.config)) or self._store.exists)

    @property
    def basis(self) -> object:
        """The lists, and how often they are fetched."""
        config = self.context.settings.config
        return lists_named(config), config.block.update

    @property
    def seconds_to_work(self) -> float:
        """Until a list is due. A file may change at any time, and a clock may be set."""
        now = time.monotonic()
        if now < self._not_before:
            return self._not_before - now
        config = self.context.settings.config
        lists, seconds = lists_named(config), config.block.update
        return min(seconds_to_next(self._store, lists, seconds, time.time()), LOOK_SECONDS)

    def fork(self, number: int, *, after_death: bool) -> Child:
        """Start one that may not take for ever."""
        self._not_before = -math.inf
        child = super().fork(number, after_death=after_death)
        child.late_at = time.monotonic() + LONGEST_SECONDS
        return child

    def ended(self, child: Child) -> None:
        """The next one comes later if this one has left something to do."""
        if child.code == 0 and self.seconds_to_work > 0:
            self._vain = 0
            return
        self._not_before = time.monotonic() + PAUSES[min(self._vain, len(PAUSES) - 1)]
        self._vain += 1

    def work(self, order: int, ready: int) -> None:
        """Bring the lists up to date, and end."""
        _end_with(order)
        run_in_background()
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_bytes(OOM_SCORE)
        self.context.forget_secrets()
        settings = self.context.settings
        addresses = [one.address for one in settings.listeners if one.service.name == "dns"]
        for listener in (*settings.listeners, *self.context.former.listeners):
            listener.close()
        # Here: no other process needs HTTP and TLS, which take several MiB.
        try:
            from ..lists.background import bring_up_to_date  # noqa: PLC0415
        except ImportError as error:  # a process that was root may not be able to read them
            log.error("block lists need modules that fastdns cannot read: restart it (%s)", error)
            return

        bring_up_to_date(
            self._store,
            settings.config,
            daemon=addresses,
            domains=settings.domains,
            sources=settings.sources,
            forward=settings.forward,
        )


def _end_with(order: int) -> None:
    """End at once when the supervisor wants it or is gone: whatever waits for the network or
    compiles would notice too late. Nothing is lost, since files are renamed when they are whole.
    """
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # they may be for all processes of the daemon
    signal.signal(signal.SIGIO, signal.SIG_DFL)  # ends the process
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    fcntl.fcntl(order, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(order, fcntl.F_SETFL, fcntl.fcntl(order, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(order, select.POLLIN)
    if poll.poll(0):
        os._exit(0)
