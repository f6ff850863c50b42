"""Disk caches made by hand, as the keeper would leave them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb
from messages import answer_from

from fastdns._answer import Answer
from fastdns._entry import Moment, pack
from fastdns._keys import disk_key

MAP_OCTETS = 16 << 20


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
    write_raw(directory, {disk_key(key): value for key, value in values.items()})


def open_here(directory: Path, map_octets: int = MAP_OCTETS) -> Any:
    return lmdb.open(str(directory), map_size=map_octets, max_dbs=2)


def write_raw(directory: Path, values: Mapping[bytes, bytes], map_octets: int = MAP_OCTETS) -> None:
    # A process of its own: LMDB's locks allow an environment to be open once in a process.
    child = os.fork()
    if child == 0:
        try:
            with open_here(directory, map_octets) as environment:
                entries = environment.open_db(b"entries")
                with environment.begin(write=True, db=entries) as transaction:
                    for key, value in values.items():
                        transaction.put(key, value)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


__all__ = ["ago", "answer_from", "open_here", "value_of", "write_disk", "write_raw"]
