"""The pages of a daemon's counters, in a versioned file in run_dir; and their readers.

The supervisor creates them; each process writes to its own slot (_counters.Counters).
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from itertools import product
from os import PathLike
from typing import NamedTuple, Self

from ._counters import COUNTERS, LATENCY_BOUNDS, LAYOUT, Counters, UpstreamState, read_upstreams
from ._query import RCODE_NAMES, TIER_NAMES, TRANSPORT_NAMES

DAY_SECONDS = 86400.0
KNOWN_AFTER_SECONDS = 600.0  # before that, the amount per day at this rate would be a guess
PAUSE_SECONDS = 0.005
SHOWN_SECONDS = 2.0  # in which every worker has published what it knows about the upstreams
SUPERVISOR_SLOT = 0
KEEPER_SLOT = 1
WORKER_SLOT = 2  # of the first worker; those of the others follow

SLOT_OCTETS, OUTCOMES_AT, HITS_AT, MISSES_AT, ALIVE_AT, IN_DISK_AT, PID_AT, OVERRIDES_AT = LAYOUT
NAMES = tuple(name for name, _, _ in COUNTERS)
QUERIES = tuple(f"queries_{transport}_total" for transport in TRANSPORT_NAMES)
OUTCOMES = tuple(product(TRANSPORT_NAMES, TIER_NAMES, RCODE_NAMES))
MAGIC = b"fastdns\0"
VERSION = 6  # another version has another layout of slots, or another order of counters
HEAD = struct.Struct("=8sIIQd")  # magic, version, slots, pid of the supervisor, start


class AnotherVersion(ValueError):
    """The pages belong to a fastdns with another layout."""


class Silent(NamedTuple):
    """A process that has not responded for some time: it hangs, or was stopped."""

    name: str
    pid: int
    seconds: float


class Pages:
    """The pages of a daemon. The supervisor creates new ones at each start: totals begin there."""

    def __init__(self, memory: mmap.mmap | bytes, slots: int, pid: int, started_at: float) -> None:
        self.slots = slots
        self.pid = pid
        self.started_at = started_at
        self._memory = memory
        self._words = memoryview(memory).cast("Q")  # each is read whole

    @classmethod
    def create(cls, path: str | PathLike[str] | None, slots: int, started_at: float) -> Self:
        """Create the file at path with so many slots, all zero; readers of an older file keep it.

        Without a path, only this process and its children have them: a full disk stops nothing.
        """
        size = SLOT_OCTETS * (slots + 1)
        pid = os.getpid()
        head = HEAD.pack(MAGIC, VERSION, slots, pid, started_at)
        if path is None:
            memory = mmap.mmap(-1, size)
            memory[: HEAD.size] = head
            return cls(memory, slots, pid, started_at)
        fresh = f"{os.fspath(path)}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(fresh, flags, 0o644)
        try:
            # Not ftruncate: on a full tmpfs the first write through the mapping would be a SIGBUS.
            os.posix_fallocate(descriptor, 0, size)
            memory = mmap.mmap(descriptor, size)
            memory[: HEAD.size] = head
        except OSError:
            os.unlink(fresh)
            raise
        finally:
            os.close(descriptor)
        os.rename(fresh, path)
        return cls(memory, slots, pid, started_at)

    @classmethod
    def attach(cls, path: str | PathLike[str]) -> Self:
        """Map an existing file for reading (OSError: there is none; AnotherVersion; ValueError)."""
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < HEAD.size:
                raise ValueError(f"{path} is not a counters file of fastdns")
            memory = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
        magic, version, slots, pid, started_at = HEAD.unpack_from(memory)
        if magic != MAGIC:
            raise ValueError(f"{path} is not a counters file of fastdns")
        if version != VERSION:
            raise AnotherVersion(f"{path} was written by another version of fastdns")
        if size != SLOT_OCTETS * (slots + 1):
            raise ValueError(f"{path} is truncated")
        return cls(memory, slots, pid, started_at)

    def at_one_moment(self) -> Self:
        """Return a copy: figures read from it one after the other are of the same moment."""
        return type(self)(bytes(self._memory), self.slots, self.pid, self.started_at)

    def counters(self, slot: int) -> Counters:
        """Return the slot of a process, for writing."""
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")
        return Counters(self._memory, SLOT_OCTETS * (slot + 1))

    def totals(self) -> dict[str, int]:
        """Return every counter by its name, summed over all processes."""
        return dict(zip(NAMES, self._sums(0, len(NAMES)), strict=True))

    def total(self, name: str) -> int:
        """Return one counter, summed over all processes. KeyError: there is none with that name."""
        if name not in NAMES:
            raise KeyError(name)
        return self._sums(8 * NAMES.index(name), 1)[0]

    def outcomes(self) -> dict[tuple[str, str, str], int]:
        """Return the number of queries by transport, tier and RCODE, without zeros."""
        sums = self._sums(OUTCOMES_AT, len(OUTCOMES))
        return {how: count for how, count in zip(OUTCOMES, sums, strict=True) if count}

    def latency(self) -> tuple[list[int], list[int]]:
        """Return the histograms of hits and of misses over all processes, by LATENCY_BOUNDS."""
        buckets = len(LATENCY_BOUNDS)
        return self._sums(HITS_AT, buckets), self._sums(MISSES_AT, buckets)

    def alive_at(self, slot: int) -> float:
        """Return when a process last responded, by time.monotonic; 0: never."""
        return self._words[self._at(slot, ALIVE_AT)] / 1e9

    def silent(self, since: float) -> list[Silent]:
        """Return the keeper and the workers that have not responded since then.

        The time is by time.monotonic. Those that have not begun, or have ended, are left out.
        """
        now = time.monotonic()
        return [
            Silent("keeper" if slot == KEEPER_SLOT else "worker", self._pid(slot), now - at)
            for slot in range(KEEPER_SLOT, self.slots)
            if 0.0 < (at := self.alive_at(slot)) < since
        ]

    def is_in_disk(self, slot: int) -> bool:
        """Whether a process is in a look-up in the disk cache."""
        return bool(self._words[self._at(slot, IN_DISK_AT)])

    def workers_without(self, version: int) -> list[int]:
        """Return the pids of the workers that use another version of the rules made at run time.

        Those that have not begun, or have ended, are left out.
        """
        return [
            self._pid(slot)
            for slot in range(WORKER_SLOT, self.slots)
            if self.alive_at(slot) and self._words[self._at(slot, OVERRIDES_AT)] != version
        ]

    def upstream_tables(self) -> list[tuple[float, list[UpstreamState]]]:
        """Return what each process knows about the upstreams, by slots, and when it published it.

        The time is by time.monotonic; 0: it is gone, or knows nothing yet.
        """
        starts = range(SLOT_OCTETS, SLOT_OCTETS * (self.slots + 1), SLOT_OCTETS)
        return [read_upstreams(self._memory, start) for start in starts]

    def upstreams(self) -> list[UpstreamState]:
        """Return the same, merged: the newest observation of any process is true.

        Upstreams that only ended processes asked are left out, unless all processes have ended.
        """
        tables = self.upstream_tables()
        asked = {state.name for shown_at, states in tables if shown_at for state in states}
        return [one for one in _together(tables) if one.name in asked or not asked]

    def upstreams_shown_since(self, moment: float) -> list[UpstreamState]:
        """Return what processes know that have published it since then (by time.monotonic)."""
        tables = self.upstream_tables()
        return _together([(at, states) for at, states in tables if at and at >= moment])

    def _pid(self, slot: int) -> int:
        return self._words[self._at(slot, PID_AT)]

    def _at(self, slot: int, octets: int) -> int:
        """Return the index of the word so many bytes after the start of a slot."""
        return (SLOT_OCTETS * (slot + 1) + octets) // 8

    def _sums(self, octets: int, count: int) -> list[int]:
        """Return the sums over all slots of so many words."""
        starts = [self._at(slot, octets) for slot in range(self.slots)]
        rows = [self._words[start : start + count].tolist() for start in starts]
        return [sum(column) for column in zip(*rows, strict=True)]


def wait_until_taken(pages: Pages, newest: Callable[[], int], seconds: float) -> list[int]:
    """Wait until each worker uses the newest version of the rules made at run time.

    Return the pids of the workers that do not after so long. `newest` is asked again each time: the
    rules may change meanwhile.
    """
    until = time.monotonic() + seconds
    while (late := pages.workers_without(newest())) and time.monotonic() < until:
        time.sleep(PAUSE_SECONDS)
    return late


def quantile(buckets: Sequence[int], q: float) -> float | None:
    """Return the time in seconds below which the fraction q of a histogram lies.

    None: it counts nothing. The difference of two histograms describes the time between them.
    """
    wanted = q * sum(buckets)
    below, start = 0, 0.0
    for count, end in zip(buckets, LATENCY_BOUNDS, strict=True):
        if count > 0 and below + count >= wanted:
            return start + (end - start) * max(wanted - below, 0.0) / count
        below += count
        start = end
    return None


def per_day(octets: int, seconds: float) -> int | None:
    """Return the bytes that a day at this rate writes; None: unknown yet."""
    return None if seconds < KNOWN_AFTER_SECONDS else round(octets / seconds * DAY_SECONDS)


def is_of_another_version(path: str | PathLike[str]) -> bool:
    """Whether there are pages at path that this version cannot read."""
    try:
        Pages.attach(path)
    except AnotherVersion:
        return True
    except (OSError, ValueError):
        pass
    return False


def _together(tables: Sequence[tuple[float, list[UpstreamState]]]) -> list[UpstreamState]:
    """Merge what processes know."""
    seen: dict[str, list[tuple[float, UpstreamState]]] = {}
    for shown_at, states in tables:
        for state in states:
            seen.setdefault(state.name, []).append((shown_at, state))
    return [_merged(name, views) for name, views in seen.items()]


def _merged(name: str, views: Sequence[tuple[float, UpstreamState]]) -> UpstreamState:
    """Merge what processes know about one upstream; processes that are gone do not count.

    The round trip is that of the process that has asked it most.
    """
    all_of_it = [state for _, state in views]
    now = [(shown_at, state) for shown_at, state in views if shown_at]
    timed = [state for state in all_of_it if state.rtt is not None]
    dead = [state for _, state in now if not state.alive]
    dead.sort(key=lambda state: state.since, reverse=True)
    alive = any(state.alive and _counts(at, state, dead) for at, state in now)
    return UpstreamState(
        name,
        alive,
        max(timed, key=lambda state: state.queries).rtt if timed else None,
        sum(state.queries for state in all_of_it),
        sum(state.failures for state in all_of_it),
        all(state.edns for state in all_of_it),
        max((state.since for _, state in now if state.alive is alive), default=0.0),
        dead[0].error if dead else 0,
        max((state.rcode for _, state in now), default=0) if alive else 0,
        all(state.recurses for _, state in now),
        any(state.lacks_edns for _, state in now),
    )


def _counts(shown_at: float, alive: UpstreamState, dead: Sequence[UpstreamState]) -> bool:
    """Return whether an upstream that a process counts as alive is alive, although others disagree.

    It is if it has replied since they last asked it in vain; `dead` begins with the last of these.
    Only for a moment after its death the process may not have published such a reply yet. No later
    failure counts: a dead upstream that is tried again does not become alive by that.
    """
    if not dead or alive.since > dead[0].since:
        return True
    if not dead[0].just_died or any(one.since > alive.since for one in dead[1:]):
        return False
    return shown_at < dead[0].since and time.monotonic() < dead[0].since + SHOWN_SECONDS
