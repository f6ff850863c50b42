"""What the processes of a daemon share: pages of counters, the control page, rings, bells."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from .._control import Control
from .._ring import RING_OCTETS, Ring
from .._shared import Pages
from ..config.places import Places

log = logging.getLogger(__name__)

RING_SIZES = (RING_OCTETS, RING_OCTETS // 4, RING_OCTETS // 16)
RING_HEAD = 4096  # octets of the file that are not the ring's
ROOM_SHARE = 4  # a ring takes at most one of so many octets that are free
T = TypeVar("T")


@attrs.frozen
class Shared:
    """All of it, made before there is a child."""

    pages: Pages
    control: Control
    rings: Sequence[Ring]  # of a worker each
    keeper_bell: int
    worker_bells: Sequence[int]

    @property
    def is_behind(self) -> bool:
        """Whether answers of the last run are still to be taken in."""
        return any(ring.used for ring in self.rings)


class Maker:
    """Makes files where it can, and memory without a file where there is no room; says so once."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._has_warned = False

    def make(self, environment: Path, workers: int) -> Shared:
        places = self._places
        pages = self.in_file(
            lambda path: Pages.create(path, slots=2 + workers, started_at=time.time()),
            places.counters,
        )
        control = self.in_file(lambda path: Control.open(path, environment), places.control)
        rings = [self.in_file(_open_ring, places.ring(number)) for number in range(workers)]
        if control.is_new:  # what is in rings may have been overtaken by changes that it forgot
            for ring in rings:
                _empty(ring)
        return Shared(pages, control, rings, _bell(), [_bell() for _ in rings])

    def in_file(self, make: Callable[[Path | None], T], path: Path) -> T:
        try:
            return make(path)
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning(
                    "%s: %s; commands do not reach this daemon, and a crash costs its newest "
                    "answers: make room there and restart it",
                    path,
                    error.strerror,
                )
            return make(None)


def _open_ring(path: Path | None) -> Ring:
    """Return the ring that is there if it holds anything, else one for which there is room."""
    if path is None:
        return Ring.open(None)
    size = _size_of(path) - RING_HEAD
    if size in RING_SIZES:
        ring = Ring.open(path, size)
        if ring.used or size == RING_OCTETS:
            return ring
    found = os.statvfs(path.parent)
    room = found.f_bavail * found.f_frsize + max(size, 0)
    fitting = [size for size in RING_SIZES if size * ROOM_SHARE <= room]
    return Ring.open(path, max(fitting, default=min(RING_SIZES)))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _empty(ring: Ring) -> None:
    try:
        while ring.records(ring.capacity):
            pass
    except ValueError:
        pass  # it has emptied itself
    ring.consume()


def _bell() -> int:
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
