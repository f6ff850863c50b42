"""Disk caches made by hand, as the keeper would leave them, and a fast path that reads one."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lmdb
from messages import Front, key

from fastdns._answer import Answer
from fastdns._clock import Moment
from fastdns._entry import pack
from fastdns._key import disk_key

MAP_OCTETS = 16 << 20
STALE = 86400  # seconds beyond its TTL for which an answer is kept
WARM_LOOK_UPS = 32  # in a row that did not wait, after which a disk is warm


def ago(seconds: float) -> Moment:
    """The moment so long ago; of another boot when this machine has not been up for as long."""
    now = Moment.now()
    gone = int(seconds * 1000)
    if now.boot_ms < gone:
        return Moment(now.wall_ms - gone, 0, now.boot ^ 1)
    return Moment(now.wall_ms - gone, now.boot_ms - gone, now.boot)


def value_of(answer: Answer, stored: Moment, *, origin: int = 0, hits: int = 0) -> bytes:
    return pack(answer, stored, origin=origin, upstream="192.0.2.53:53", rtt_us=1500, hits=hits)


def write_disk(directory: Path, values: Mapping[bytes, bytes]) -> None:
    """Write values by cache key into the environment, which is made when there is none."""
    write_raw(directory, {disk_key(one): value for one, value in values.items()})


def open_here(directory: Path, map_octets: int = MAP_OCTETS) -> Any:
    return lmdb.open(str(directory), map_size=map_octets, max_dbs=2)


def write_raw(directory: Path, values: Mapping[bytes, bytes], map_octets: int = MAP_OCTETS) -> None:
    """Write values by disk key, well-formed or not."""

    def write() -> None:
        with open_here(directory, map_octets) as environment:
            entries = environment.open_db(b"entries")
            with environment.begin(write=True, db=entries) as transaction:
                for one, value in values.items():
                    transaction.put(one, value)

    # A process of its own: LMDB's locks allow an environment to be open once in a process.
    assert in_a_child(write) == 0


def in_a_child(do: Callable[[], None]) -> int:
    """The status of a process in which this was done: a SIGBUS ends that one only."""
    child = os.fork()
    if child == 0:
        try:
            do()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def front_on(
    place: Path, *, stale: int = STALE, warm: bool = True, capacity: int = 1 << 20
) -> Front:
    """A fast path that reads the disk cache of the directory, which lies in memory."""
    front = Front(place, capacity, stale=stale)
    if warm and front.cache.disk.is_open:
        for _ in range(WARM_LOOK_UPS):
            front.cache.disk.fetch(key("nothing"))
        assert not front.cache.disk.is_cold
    return front


def fetch(front: Front, of: bytes | None = None) -> Answer | None:
    """What is fresh on a disk that may have to be waited for."""
    wanted = key() if of is None else of
    ticket = front.cache.ticket(wanted)
    return front.cache.adopt(wanted, front.cache.fetch(wanted), ticket)
