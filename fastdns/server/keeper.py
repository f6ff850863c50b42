"""The keeper: the only process that writes the cache on disk while a daemon runs.

Workers send it new answers through rings, and it never delays them: it has the lowest priority, and
if it is slow, hung or dead, the rings fill up and workers continue without it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from .._clock import Moment
from .._control import Control
from .._counters import Counters
from .._intake import CHOOSE_ALL, CHOOSE_DUE, CHOOSE_LAST
from .._pages import release_code
from .._ring import Ring
from ..config.places import Places
from ..counters import KEEPER_SLOT
from ..errors import MapFull
from ..machine.control_socket import ERROR, OK
from ..machine.keeper_requests import BUSIEST, TAKE_IN, WAKE
from ..machine.priority import lower_priority
from ..store.intake import Intake
from ..store.store import SMALL_MAP, Store, record_of
from .children import Child
from .keeper_socket import KeeperSocket
from .keeper_store import TROUBLE, KeeperStore
from .roles import Context, Role
from .shared_memory import WorkerSlot
from .sweep_schedule import SweepSchedule

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between checks whether the files were removed
RELEASE_SECONDS = 30.0  # between two times that unused pages of the file are returned
TALLY_SECONDS = 0.05  # for workers to report their hit counts
TALLY_PAUSE_SECONDS = 1.0  # between such requests while a ring is nearly full
REMOVAL_SECONDS = 1.0  # between early commits: an outdated answer must not be served
FRESH_SECONDS = 0.5  # an older tally is not renewed for `busiest`
BUSIEST_MAX = 1000
WATCHED_SECONDS = 10.0  # after such a request misses are counted by name as well
# Readers of the environment at the same time: each worker with the threads of its pool (gevent has
# 10), also a worker that is being replaced; and commands.
READERS_A_WORKER = 11
READERS_BESIDE = 64
EXAMINATION_SECONDS = 1.5  # that a start waits for it, because clients wait too

# The most hit counts in a commit that are written without an answer.
COUNTS_REGULAR = 512
COUNTS_TAKE_IN = 1_000
COUNTS_AT_END = 10_000

# As a role
READY_SECONDS = 5.0  # usually milliseconds
STOP_SECONDS = 12.0  # for the last commit: small boxes have slow disks
CRASHES_SECONDS = 60.0  # of crashes: only those of the last minute count
CRASHES_KEPT = 10


@attrs.frozen
class KeeperInheritance:
    """What a keeper gets from the supervisor that forks it."""

    place: Path  # the directory of the LMDB environment
    size: int  # of its map, in octets
    stale: int  # seconds for which answers are usable past their TTL
    commit_interval: float
    socket: Path
    rings: Sequence[Ring]
    control: Control
    counters: Counters
    wakeup: int
    worker_slots: Sequence[WorkerSlot]  # of the workers
    lifeline: int  # ends when the supervisor is gone, or tells us to stop
    most_workers: int = 1  # while this daemon runs


class Keeper:
    """Reads what workers send, commits it at intervals, and makes room, until told to stop."""

    def __init__(self, inheritance: KeeperInheritance, crashes: int) -> None:
        now = time.monotonic()
        self._inheritance = inheritance
        self._control = inheritance.control
        self._counters = inheritance.counters
        self._disk = KeeperStore(
            inheritance.place,
            inheritance.size,
            self._control,
            self._counters,
            crashes=crashes,
            readers=READERS_A_WORKER * (inheritance.most_workers + 1) + READERS_BESIDE,
        )
        self._intake = Intake(inheritance.rings, self._control, now)
        self._sweeps = SweepSchedule(self._disk, inheritance.stale, self._counters, now)
        self._poll = select.poll()
        self._poll.register(inheritance.wakeup, select.POLLIN)
        self._poll.register(inheritance.lifeline, select.POLLIN)
        self._socket = KeeperSocket(inheritance.socket, self._poll, self._answer)
        self._examined = -1
        self._is_urgent, self._choice = False, CHOOSE_DUE
        self._committed_at = -math.inf
        self._tallied_at = now
        self._commit_at = now + inheritance.commit_interval
        self._look_at = now
        self._release_at = now
        self._watched_until = now

    def start(self) -> None:
        """Write what the last run left in its rings."""
        now = time.monotonic()
        self._socket.open()  # connections from now on are answered later
        self._commit(now, CHOOSE_ALL)
        # Workers do not read a database that is being examined, and would send everything upstream.
        until = now + EXAMINATION_SECONDS
        while self._disk.examination is not None and time.monotonic() < until:
            if self._listen(until):
                break
            self._tick(time.monotonic())

    def run(self) -> None:
        """Work until the supervisor tells us to stop or is gone; then write the rest."""
        while not self._listen():
            self._tick(time.monotonic())
        self._disk.hurry()
        self._commit(time.monotonic(), CHOOSE_LAST, COUNTS_AT_END, only_doubled=False)
        self._socket.close()
        self._disk.close()

    def _listen(self, until: float = math.inf) -> bool:
        """Wait for work, or until that time; True: stop."""
        self._counters.heartbeat()
        self._watch_examination()
        wait = max(0.0, min(self._next_at(), until) - time.monotonic())
        is_end = False
        for descriptor, _ in self._poll.poll(wait * 1000):
            if descriptor == self._inheritance.lifeline:
                is_end = True
            elif descriptor == self._inheritance.wakeup:
                self._take_wakeup()
            elif descriptor == self._examined:
                self._stop_watching()
                self._disk.judge(time.monotonic())
            else:
                self._socket.serve(descriptor)
        return is_end

    def _next_at(self) -> float:
        sweep_at = self._sweeps.next_at if self._disk.is_open else math.inf
        return min(self._commit_at, self._look_at, self._disk.next_at, sweep_at)

    def _tick(self, now: float) -> None:
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._intake.tells_misses = now < self._watched_until
            self._socket.open()
            self._disk.look(now)
        store = self._disk.store(now)
        if store is not None and now >= self._release_at:
            self._release_at = now + RELEASE_SECONDS
            store.release_pages()
        self._sweeps.look(now)
        if now >= self._commit_at:
            self._tally(now)
            self._commit(now)
        elif store is not None:
            self._use(store, now)

    def _use(self, store: Store, now: float) -> None:
        """Do the most urgent work."""
        if self._sweeps.comes_first(store):
            self._sweeps.sweep(store, now)
        elif self._is_urgent or self._intake.presses or self._disk.wants_commit:
            if now - self._tallied_at > TALLY_PAUSE_SECONDS:
                self._tally(now)  # keep answers that were asked for again
            self._commit(now)
        elif now >= self._sweeps.next_at:
            self._sweeps.sweep(store, now)

    def _commit(
        self,
        now: float,
        choice: int = CHOOSE_DUE,
        counts: int = COUNTS_REGULAR,
        *,
        only_doubled: bool = True,
    ) -> int | None:
        """Write what is due; return the number of answers, or None if writing is impossible now."""
        self._commit_at = now + self._inheritance.commit_interval
        self._committed_at = now
        is_pressed = self._intake.presses
        self._intake.take_in(now)
        # Until it is done:
        self._is_urgent, self._choice = True, max(choice, self._choice)
        self._disk.look(now)
        store = self._disk.store(now)
        if store is None or self._sweeps.comes_first(store):
            return None
        try:
            with self._disk.writes.counted():
                written = self._write(store, self._choice, counts, only_doubled=only_doubled)
            is_cut_short = self._intake.unwritten > 0
            self._sweeps.see(store, now, is_cut_short=is_cut_short)
            self._disk.succeeded()
            if self._sweeps.is_idle and not is_pressed:  # more of the same will follow
                self._disk.relieve(now)
        except MapFull as error:
            self._sweeps.make_room(store, error, now)
            return None
        except TROUBLE as error:
            self._disk.failed(error, now)
            return None
        if is_cut_short:
            return None
        self._is_urgent, self._choice = False, CHOOSE_DUE
        return written

    def _write(self, store: Store, choice: int, most_counts: int, *, only_doubled: bool) -> int:
        """Write answers and counts, under the lock that commands also take for changes."""
        intake, counters, disk = self._intake, self._counters, self._disk
        spared = intake.spared
        chosen = intake.choose(store, Moment.now(), choice)
        counters.add("disk_spared_total", intake.spared - spared)
        counts = intake.counts(store, most_counts, only_doubled=only_doubled)
        if not (counts or chosen or intake.spoiled):
            return 0
        with disk.writing():
            store.check_readers()  # a page that only a dead reader uses is free
            disk.found_damaged(store.delete_spoiled(intake.spoiled), time.monotonic())
            sum_of_writes = record_of(disk.writes.since, disk.writes.octets)
            commits, refused = store.commits, store.refused
            try:
                written = intake.commit(store, Moment.now(), sum_of_writes, counts)
            finally:
                counters.add("disk_commits_total", store.commits - commits)
                counters.add("disk_refused_total", store.refused - refused)
        counters.add("disk_writes_total", written)
        return written

    # Workers

    def _take_wakeup(self) -> None:
        _wakeups(self._inheritance.wakeup)
        self._intake.take_in(time.monotonic())
        self._is_urgent |= bool(self._intake.spoiled)
        if self._intake.has_ended:
            self._commit_at = min(self._commit_at, self._committed_at + REMOVAL_SECONDS)

    def _tally(self, now: float) -> None:
        """Make workers report their hit counts, and wait a moment for them."""
        self._tallied_at = now
        self._control.ask_tally()
        left = self._wake_workers()
        until = now + TALLY_SECONDS
        while left > 0 and _is_readable(self._inheritance.wakeup, until - time.monotonic()):
            left -= _wakeups(self._inheritance.wakeup)
        self._intake.take_in(now)

    def _wake_workers(self) -> int:
        """Make all workers read the control page; return how many there are."""
        taken = [slot for slot in self._inheritance.worker_slots if slot.has_worker]
        for slot in taken:
            with suppress(BlockingIOError):
                os.eventfd_write(slot.wakeup, 1)
        return len(taken)

    # Requests

    def _answer(self, request: str) -> str:
        now = time.monotonic()
        match request.split():
            case [word] if word == TAKE_IN:
                self._tally(now)
                written = self._commit(now, CHOOSE_ALL, COUNTS_TAKE_IN, only_doubled=False)
                return (
                    f"{ERROR} the disk cannot be written now"
                    if written is None
                    else (f"{OK} {written}")
                )
            case [word] if word == WAKE:
                self._wake_workers()
                return OK
            case [word, number] if word == BUSIEST and number.isdecimal():
                self._intake.tells_misses = True
                self._watched_until = now + WATCHED_SECONDS
                if now - self._tallied_at > FRESH_SECONDS:
                    self._tally(now)
                limit = min(int(number[:5]), BUSIEST_MAX)
                rates = self._intake.rates.busiest(limit)
                return json.dumps([[key.hex(), round(rate, 3)] for key, rate in rates])
        return f"{ERROR} not a request"

    # An examination of the environment, in a child

    def _watch_examination(self) -> None:
        examination = self._disk.examination
        if examination is not None and self._examined < 0:
            self._examined = examination.descriptor
            self._poll.register(self._examined, select.POLLIN)

    def _stop_watching(self) -> None:
        self._poll.unregister(self._examined)
        self._examined = -1


class KeeperRole(Role):
    """The role: it starts before the workers, which then find the last run's answers on disk; it
    ends last.
    """

    name = "keeper"
    outlives_others = True
    ready_seconds = READY_SECONDS
    stop_seconds = STOP_SECONDS
    restarts = "keeper_restarts_total"

    def __init__(self, context: Context, places: Places) -> None:
        super().__init__(context)
        self._places = places
        self._crashes: list[float] = []
        self._shown = (0, 0.0)  # the keeper, and the last time that it responded
        self._spent = 0.0  # the seconds of CPU that it had used at that time

    @property
    def basis(self) -> object:
        """The settings that concern it, and the rings that it empties."""
        config = self.context.settings.config
        cache = config.cache
        rings = len(self.context.shared.worker_slots)
        return cache.disk, cache.stale, cache.commit_interval, config.log_level, rings

    def work(self, order: int, ready: int) -> None:
        """Run as the keeper."""
        context, shared = self.context, self.context.shared
        context.forget_secrets()
        for listener in (*context.settings.listeners, *context.former.listeners):
            listener.close()
        cache = context.settings.config.cache
        now = time.monotonic()
        inheritance = KeeperInheritance(
            place=self._places.environment(cache.disk),
            size=cache.disk or SMALL_MAP,
            stale=int(cache.stale),
            commit_interval=cache.commit_interval,
            socket=self._places.keeper,
            rings=shared.rings,
            control=shared.control,
            counters=shared.pages.counters(KEEPER_SLOT),
            wakeup=shared.keeper_wakeup,
            worker_slots=shared.worker_slots,
            lifeline=order,
            most_workers=shared.most_workers,
        )
        main(inheritance, ready, sum(now - at < CRASHES_SECONDS for at in self._crashes))

    def alive_at(self, child: Child) -> float:
        """Return when it last finished a round; it may wait for a disk for as long as it needs.

        It may also wait for a processor: it has the lowest priority, and others may leave it almost
        none. So of the time since then only twice its CPU time counts.
        """
        now, spent = time.monotonic(), child.cpu_seconds
        shown_at = self.context.shared.pages.alive_at(KEEPER_SLOT)
        if self._shown != (child.pid, shown_at):
            self._shown, self._spent = (child.pid, shown_at), spent
        if not child.is_running:
            return now
        return max(shown_at, now - 2 * (spent - self._spent))

    def hangs(self, child: Child) -> None:
        """The environment has a loop: nothing else keeps it busy for so long without waiting."""
        self.context.shared.control.condemn()

    def replaced(self) -> None:
        """Workers open the environment again, with its new size."""
        self.context.shared.control.advance_generation()

    def ended(self, child: Child) -> None:
        """It no longer responds."""
        self.context.shared.pages.counters(KEEPER_SLOT).retire()

    def died(self, child: Child) -> None:
        """A damaged environment may be the cause of its death."""
        if child.has_crashed:
            self.context.shared.control.suspect = True
            self._crashes = [*self._crashes, time.monotonic()][-CRASHES_KEPT:]


def main(inheritance: KeeperInheritance, ready: int, crashes: int) -> None:
    """Run as the keeper; write a byte to `ready` when the rings are read, or cannot be read.

    Signals that reach all processes of a daemon at once do not end it, because the workers still
    send their last answers. It ends when its lifeline does.
    """
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    lower_priority()
    keeper = Keeper(inheritance, crashes)
    keeper.start()
    release_code()
    with suppress(BrokenPipeError):  # the caller does not wait for it
        os.write(ready, b"1")
    os.close(ready)
    keeper.run()


def _wakeups(wakeup: int) -> int:
    """Return how often we were woken since the last look."""
    try:
        return os.eventfd_read(wakeup)
    except BlockingIOError:
        return 0


def _is_readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
