"""Keeper and workers: started, replaced when they die or the settings change, ended in order."""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from collections.abc import Generator, Iterator
from contextlib import suppress

from ..cache.store import SMALL_MAP
from ..config.places import Places
from ..counters import KEEPER_SLOT, SUPERVISOR_SLOT, WORKER_SLOT
from ..errors import StartError
from ..upstream.origin import fingerprint
from . import keeper, worker
from .children import READY_SECONDS, Child, Post, name_process
from .crew import STANDBY, WORKER, Crew, await_order
from .loop import Loop
from .settings import Settings, close_unused, keeper_has_to_change, trimmed, without_former
from .shared import INTAKE_SECONDS, Maker, Shared
from .sockets import end_steering, steer
from .vigil import SILENT_SECONDS, Vigil

log = logging.getLogger(__name__)

KEEPER = "keeper"
START_TRIES = 5
KEEPER_READY_SECONDS = 5.0  # commonly milliseconds
STEERING_SECONDS = 0.02  # until nothing is under way any more to where it is steered away from
CRASHES_SECONDS = 60.0  # of crashes of the keeper, only those of the last minute count
CRASHES_KEPT = 10
KEEPER_STOP_SECONDS = 12.0  # for the last commit: disks of small boxes are slow


class Staff:
    """The processes of a daemon, on the same sockets and pages, whoever does the work just now."""

    def __init__(self, settings: Settings, places: Places, maker: Maker, loop: Loop) -> None:
        config = settings.config
        self.settings = settings
        self._is_changing = False
        self._serving: list[int] = []  # to whom queries are steered; none: to all
        self.outdated = 0  # entries that the last change of upstreams concerns
        self._former = settings  # until the sockets are closed that only these have
        self._places = places
        self._maker = maker
        self._loop = loop
        self._shared: Shared = maker.make(
            places.environment(config.cache.disk),
            config.worker_count,
            max(config.worker_count, os.cpu_count() or 1),
        )
        self._counters = self._shared.pages.counters(SUPERVISOR_SLOT)
        self._crew = Crew(self._shared, self._be_worker, loop, self._mourn)
        self._vigil = Vigil()
        self._keeper = Post()
        self._leaving_keeper: Child | None = None
        self._keeper_crashes: list[float] = []

    @property
    def due(self) -> float:
        """When `look` has to be called although nothing has happened."""
        return min(self._keeper.due, self._crew.due, self._vigil.due)

    @property
    def most_workers(self) -> int:
        """How many workers there may be while this daemon runs."""
        return self._shared.most_workers

    def start(self) -> None:
        """Start keeper and workers; StartError when they cannot be."""
        count = self.settings.config.worker_count
        gc.collect()
        gc.freeze()  # what was imported stays shared with children, untouched by their collectors
        try:
            # What workers of the last run told has to be on disk, and the disk known to be sound,
            # before these look there. Commands find the keeper when the daemon says it is ready.
            self._start_keeper().await_ready(KEEPER_READY_SECONDS)
            for number in range(count):
                self._crew.enlist(number)
            for number in range(count):
                self._await_worker(number)
        except OSError as error:
            self.stop()
            raise StartError(f"cannot start a process: {error.strerror}") from error
        for listener in self.settings.listeners:
            if not listener.former:  # else nothing new is to come there
                end_steering(listener)
        self.settings = without_former(self.settings)
        self._crew.stand_by()

    def signs_of_life(self) -> dict[str, float]:
        """Return when each worker that serves has last shown life, by time.monotonic."""
        return {str(one): alive_at for one, alive_at in self._signs().items()}

    def _signs(self) -> dict[Child, float]:
        alive_at = self._shared.pages.alive_at()
        return {
            one: alive_at[WORKER_SLOT + berth.number]
            for one, berth in self._crew.berths
            if not one.is_stuck
        }

    def look(self) -> None:
        """Take note of who has ended, and have their work done by others."""
        keeper_ = self._keeper.child
        if keeper_ is not None and keeper_.reap():
            self._mourn(keeper_)
            self._keeper.vacate(time.monotonic() - keeper_.began_at)
        if self._keeper.due <= time.monotonic():
            self._replace_keeper()
        now = time.monotonic()
        if now >= self._vigil.due:
            for hung in self._vigil.silent(self._signs(), now):
                log.error("the %s hangs for %d s and is killed", hung, SILENT_SECONDS)
                self._crew.end(hung)
        self._crew.look()
        if not self._is_changing:
            self._steer_to_serving()

    def stop(self) -> None:
        """Let workers send what is under way, then the keeper write what they have told."""
        self._crew.stop()
        for keeper_ in filter(None, (self._keeper.child, self._leaving_keeper)):
            keeper_.release(KEEPER_STOP_SECONDS)
            keeper_.await_end()
        self._keeper, self._leaving_keeper = Post(), None

    def adopt(self, settings: Settings) -> Iterator[float]:
        """Replace the workers one after another on the same sockets, then the keeper if need be.

        A step at a time: it yields until when it waits, and goes on after whatever happens.
        OSError: some could not be replaced and go on as they are; if all of them, nothing changes.
        """
        former = self._former = self.settings
        totals = self._shared.pages.totals()
        # What has not been written yet is in memory alone.
        held = max(totals["disk_entries"], totals["cache_entries"])
        self.settings = settings
        self._is_changing = True
        has_grown = self._maker.extend(self._shared, settings.config.worker_count)
        gc.collect()
        gc.freeze()
        self._crew.dismiss_standby()
        try:
            failures = yield from self._exchange_workers()
            if len(failures) == settings.config.worker_count:
                self.settings = former
            yield from self._leave_what_is_too_much(former, settings)
        finally:
            self._is_changing = False
        # Whichever worker has said it last: these are the upstreams whose answers count now.
        now = self.settings
        origin = fingerprint(now.config.upstream, now.sources.servers)
        before = fingerprint(former.config.upstream, former.sources.servers)
        self.outdated = held if origin != before else 0
        self._shared.control.origin = origin
        if has_grown or keeper_has_to_change(former.config, now.config):
            yield from self._exchange_keeper()
            self._shared.control.advance_generation()  # workers open it anew, with its new size
        self._crew.stand_by()
        if failures:
            count, first = settings.config.worker_count, failures[0]
            raise OSError(
                f"{len(failures)} of {count} workers could not be replaced: "
                f"{first.strerror or first}; try again"
            )

    def _exchange_workers(self) -> Generator[float, None, list[OSError]]:
        """Replace each by a new process; return why some could not be."""
        failures = []
        for number in range(self.settings.config.worker_count):
            yield from self._await_intake(number)
            try:
                yield from self._crew.exchange(number)
            except OSError as error:
                failures.append(error)
        return failures

    def _leave_what_is_too_much(self, *once: Settings) -> Iterator[float]:
        """Send workers away for whom there is no work, and close the sockets that nobody reads."""
        count = self.settings.config.worker_count
        for listener in self.settings.listeners:
            steer(listener, range(count))
        yield from _pause(STEERING_SECONDS)
        yield from self._crew.dismiss(count)
        self.settings = trimmed(self.settings)
        for settings in once:
            close_unused(settings, self.settings)
        self._former = self.settings
        self.end_steering()

    def _steer_to_serving(self) -> None:
        """Let queries reach workers that answer; what queued for another one waits for the next."""
        serving = self._crew.serving
        if len(serving) in (0, len(self._crew.posts)):
            serving = []
        if serving == self._serving:
            return
        if not serving:
            self.end_steering()
        else:
            for listener in self.settings.listeners:
                steer(listener, serving)
            self._serving = serving

    def end_steering(self) -> None:
        """Let the kernel share out queries among all workers."""
        self._serving = []
        for listener in self.settings.listeners:
            end_steering(listener)

    def _await_intake(self, number: int) -> Iterator[float]:
        """Give the keeper a moment to bring to disk what a worker's successor will look for."""
        self._call_for_intake()
        until = time.monotonic() + INTAKE_SECONDS
        while self._crew.has_untold(number) and time.monotonic() < until:
            yield from _pause(INTAKE_SECONDS / 50)

    def _start_keeper(self) -> Child:
        child = Child(KEEPER, self._be_keeper, self._loop)
        self._keeper.take(child)
        return child

    def _replace_keeper(self) -> Child | None:
        try:
            child = self._start_keeper()
        except OSError as error:
            log.error("no %s: %s", KEEPER, error)
            self._keeper.vacate(0.0)
            return None
        log.info("%s works in place of the former one", child)
        return child

    def _exchange_keeper(self) -> Iterator[float]:
        former = self._leaving_keeper = self._keeper.child
        self._keeper = Post()
        if former is not None:
            former.release()
            while not former.reap():
                if time.monotonic() >= former.late_at:
                    log.error("the %s takes too long to end and is killed", former)
                    former.kill()
                    former.late_at = math.inf
                yield former.late_at
            if former.code != 0:
                self._mourn(former)
        self._leaving_keeper = None
        child = self._replace_keeper()
        until = time.monotonic() + KEEPER_READY_SECONDS
        while child is not None and not child.is_settled and time.monotonic() < until:
            yield until

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
        self.stop()
        raise StartError("the worker did not start; its last lines above say why")

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
            self._call_for_intake()  # its successor finds on disk what this one knew
        elif child.has_crashed:
            self._keeper_crashes.append(time.monotonic())

    def _call_for_intake(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_write(self._shared.keeper_bell, keeper.BELL_TAKE_IN)

    # In the children

    def _be_keeper(self, order: int, ready: int) -> None:
        for listener in (*self.settings.listeners, *self._former.listeners):
            listener.close()
        cache = self.settings.config.cache
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
            most_workers=self._shared.most_workers,
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
        self.settings.sources.refresh()  # a successor must not begin with an old list
        close_unused(self._former, self.settings)
        for listener in self.settings.listeners:
            listener.close_others(number)
        inheritance = worker.Inheritance(
            number=number,
            config=self.settings.config,
            memory=self.settings.config.worker_memory,
            sources=self.settings.sources,
            listeners=self.settings.listeners,
            counters=berth.counters,
            lifeline=order,
            ring=berth.ring,
            control=self._shared.control,
            bell=berth.bell,
            keeper_bell=self._shared.keeper_bell,
            cache=self._places.environment(self.settings.config.cache.disk),
        )
        worker.main(inheritance, ready)

    def _crashes_lately(self) -> int:
        now = time.monotonic()
        return sum(now - at < CRASHES_SECONDS for at in self._keeper_crashes[-CRASHES_KEPT:])


def _pause(seconds: float) -> Iterator[float]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield until
