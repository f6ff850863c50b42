"""What the processes of a daemon share: counters, clients, the control page, rings, wake-ups."""

from __future__ import annotations

import logging
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import attrs

from .._control import Control
from .._cookies import SECRETS_OCTETS
from .._counters import Counters
from .._rate_limit import RATE_OCTETS
from .._ring import RING_OCTETS, Ring
from .._seen_clients import SeenClients
from ..config.places import Places
from ..counters import WORKER_SLOT, Pages, is_of_another_version
from .certificate_page import secret_page

log = logging.getLogger(__name__)

RING_SIZES = tuple(RING_OCTETS >> halvings for halvings in range(5))
RINGS_TOGETHER = 4 * RING_OCTETS  # more rings are smaller, but not too small
RING_MIN_OF_MANY = RING_OCTETS // 4
RING_HEAD = 4096  # bytes of the file outside the ring
ROOM_SHARE = 4  # a ring takes at most one in so many free bytes
SPARE_SLOTS = 1  # for workers that are being replaced while their successors already serve
T = TypeVar("T")


@attrs.frozen
class WorkerSlot:
    """The memory through which one worker at a time reports, and how the keeper wakes it."""

    number: int
    counters: Counters
    ring: Ring  # towards the keeper
    wakeup: int  # an eventfd that the keeper writes to
    _manned: mmap.mmap  # a byte for each slot, which all processes see

    @property
    def has_worker(self) -> bool:
        """Whether a worker has it."""
        return self._manned[self.number] != 0

    def assign(self) -> None:
        """Give it to a worker."""
        self._manned[self.number] = 1

    def release(self) -> None:
        """Take it from a worker that is gone; the data that one has reported stays."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.wakeup)
        self.counters.retire()
        self._manned[self.number] = 0


class Shared:
    """All shared memory, made before there is a child."""

    def __init__(
        self,
        pages: Pages,
        control: Control,
        rings: Sequence[Ring],
        old_rings: dict[Path, Ring],
        clients: Sequence[SeenClients],
    ) -> None:
        """`old_rings`: rings of an earlier run that were not read yet."""
        self.pages = pages
        self.control = control
        self.keeper_wakeup = _wakeup()
        self.worker_slots: list[WorkerSlot] = []
        self.old_rings = old_rings
        self._manned = mmap.mmap(-1, pages.slots)
        # Not files: nothing else reads them, and pages that nobody writes to take no memory.
        self.rate_table = mmap.mmap(-1, RATE_OCTETS)
        self.cookie_page = mmap.mmap(-1, SECRETS_OCTETS)
        self.ticket_page = secret_page(mmap.PAGESIZE)  # of `_ticket_keys`, where TLS is used
        for ring, seen in zip(rings, clients, strict=True):
            self.add_slot(ring, seen)

    def add_slot(self, ring: Ring, clients: SeenClients) -> None:
        number = len(self.worker_slots)
        counters = self.pages.counters(WORKER_SLOT + number)
        counters.clients = clients
        self.worker_slots.append(WorkerSlot(number, counters, ring, _wakeup(), self._manned))

    @property
    def most_workers(self) -> int:
        """The most workers that are possible while this daemon runs."""
        return self.pages.slots - WORKER_SLOT - SPARE_SLOTS

    @property
    def rings(self) -> list[Ring]:
        """All rings that the keeper empties, and in which workers look for each other's answers."""
        return [*(slot.ring for slot in self.worker_slots), *self.old_rings.values()]

    @property
    def free_slot(self) -> WorkerSlot | None:
        return next((slot for slot in self.worker_slots if not slot.has_worker), None)


class Maker:
    """Makes files, or memory without a file where there is no room; logs that once."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._has_warned = False

    def make(self, environment: Path, workers: int, most_workers: int) -> Shared:
        """Make the memory of so many workers, and counters for the most that there may ever be."""
        places = self._places
        if is_of_another_version(places.counters):
            log.info(
                "%s: written by another version of fastdns, so it starts empty", places.counters
            )
        slots = WORKER_SLOT + max(workers, most_workers) + SPARE_SLOTS
        pages = self.in_file(
            lambda path: Pages.create(path, slots=slots, started_at=time.time()),
            places.counters,
        )
        control = self.in_file(lambda path: Control.open(path, environment), places.control)
        count = workers + SPARE_SLOTS
        rings = [self._ring(number, count) for number in range(count)]
        old_rings = dict(_old_rings(places, count))
        if control.is_new:  # answers in rings may be older than changes that the lost page held
            for ring in [*rings, *old_rings.values()]:
                ring.empty()
        clients = [self._clients(number) for number in range(count)]
        for path in places.run_dir.glob("clients.*"):  # of a run that had more workers
            if path not in map(places.clients, range(count)):
                with suppress(OSError):
                    path.unlink()
        return Shared(pages, control, rings, old_rings, clients)

    def extend(self, shared: Shared, workers: int) -> bool:
        """Make what so many workers need in addition; return True if anything was needed."""
        count = workers + SPARE_SLOTS
        former = len(shared.worker_slots)
        for number in range(former, count):
            old = shared.old_rings.pop(self._places.ring(number), None)
            shared.add_slot(old or self._ring(number, count), self._clients(number))
        return count > former

    def _clients(self, number: int) -> SeenClients:
        return self.in_file(SeenClients.create, self._places.clients(number))

    def _ring(self, number: int, count: int) -> Ring:
        most = max(RINGS_TOGETHER // count, RING_MIN_OF_MANY)
        return self.in_file(lambda path: _open_ring(path, most), self._places.ring(number))

    def in_file(self, make: Callable[[Path | None], T], path: Path) -> T:
        try:
            return make(path)
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning(
                    "%s: %s; commands do not reach this daemon, and a crash loses its newest "
                    "answers: free some space there and restart it",
                    path,
                    error.strerror,
                )
            return make(None)


def _open_ring(path: Path | None, most: int) -> Ring:
    """Return the existing ring if it has content, else a new one that fits."""
    sizes = [size for size in RING_SIZES if size <= most]
    if path is None:
        return Ring.open(None, sizes[0])
    size = _size_of(path) - RING_HEAD
    if size in RING_SIZES:
        ring = Ring.open(path, size)
        if ring.used or size == sizes[0]:
            return ring
    found = os.statvfs(path.parent)
    room = found.f_bavail * found.f_frsize + max(size, 0)
    fitting = [size for size in sizes if size * ROOM_SHARE <= room]
    return Ring.open(path, max(fitting, default=min(RING_SIZES)))


def _old_rings(places: Places, count: int) -> Iterator[tuple[Path, Ring]]:
    """Yield the rings with content of a run that had more workers, and remove the others."""
    current = {places.ring(number) for number in range(count)}
    for path in sorted(places.run_dir.glob("ring.*")):
        if path in current or path.name.endswith(".new"):
            continue
        size = _size_of(path) - RING_HEAD
        with suppress(OSError):
            ring = Ring.open(path, size) if size in RING_SIZES else None
            if ring is not None and ring.used:
                yield path, ring
            else:
                path.unlink()


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _wakeup() -> int:
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
