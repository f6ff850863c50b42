"""The cache on disk as seen from outside, and answers handed to the keeper as a worker does it."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import dns.rdatatype
import lmdb

from fastdns._answer import Answer, Limits, Reading
from fastdns._clock import Moment
from fastdns._control import Control
from fastdns._entry import DiskEntry
from fastdns._key import disk_key
from fastdns._ring import Ring
from fastdns.machine import keeper_requests

from . import raw
from .daemon import Fastdns

LIMITS = Limits(0, 2**31, 2**31, 5, False)
RING_HEAD = 4096  # octets of its file that are not the ring's


def cache_key(name: str, rdtype: str = "A") -> bytes:
    return raw.name(name.lower()) + struct.pack("!HH3x", dns.rdatatype.from_text(rdtype), 1)


def answer(name: str, address: str = "192.0.2.1", ttl: int = 3600, *, padding: int = 0) -> Answer:
    """What an upstream's reply for the A record of a name becomes."""
    query = raw.header(0, raw.QUERY_RD, 1) + raw.question(name)
    records = [raw.a_record(address, ttl=ttl)]
    if padding:
        text = (b"\xfa" + b"x" * 250) * (padding // 251 + 1)
        records.append(raw.rr(raw.TO_QUESTION, raw.TXT, text, ttl))
    reading = Reading()
    wire = raw.reply_to(query, *records, counts=(1, 1, 0, len(records) - 1))
    assert reading.read(wire, 0, cache_key(name))
    return reading.answer(LIMITS)


class Disk:
    """The files of one daemon, running or not."""

    def __init__(
        self, daemon: Fastdns, *, small: bool = False, state_dir: Path | None = None
    ) -> None:
        """`state_dir`: as we see it, if that is not as the daemon does."""
        state_dir = state_dir or daemon.state_dir
        self.run_dir = state_dir / "run"
        self.place = (self.run_dir if small else state_dir) / "cache"
        self.data = self.place / "data.mdb"

    # As a worker

    def ring(self) -> Ring:
        path = self.run_dir / "ring.0"
        return Ring.open(path, path.stat().st_size - RING_HEAD)

    def control(self) -> Control:
        return Control.attach(self.run_dir / "control")

    def put(
        self, *names: str, epoch: int | None = None, stored: Moment | None = None, **knobs: object
    ) -> None:
        """Hand an answer for each name to the keeper."""
        ring, control = self.ring(), self.control()
        for name in names:
            now = stored or Moment.now()
            asked = control.epoch if epoch is None else epoch
            assert ring.put(cache_key(name), answer(name, **knobs), asked, now)

    # As a command

    def take_in(self, timeout: float = 5.0) -> bool:
        return keeper_requests.take_in(self.run_dir / "keeper", timeout)

    def entries(self) -> dict[bytes, DiskEntry]:
        """All that is on disk, by disk key."""
        with self._open() as env, env.begin(db=env.open_db(b"entries", create=False)) as found:
            return {key: DiskEntry.parse(value) for key, value in found.cursor()}

    def written(self) -> tuple[float, int]:
        """The record of what was written: since when, how many octets."""
        with self._open() as env, env.begin(db=env.open_db(b"about", create=False)) as about:
            found = json.loads(about.get(b"written"))
        return found["since"], found["octets"]

    def _open(self) -> lmdb.Environment:
        return lmdb.open(os.fspath(self.place), map_size=0, max_dbs=2, readonly=True, create=False)

    def get(self, name: str) -> DiskEntry | None:
        with self._open() as env, env.begin(db=env.open_db(b"entries", create=False)) as found:
            value = found.get(disk_key(cache_key(name)))
            return None if value is None else DiskEntry.parse(value)

    def holds(self, *names: str) -> bool:
        with self._open() as env, env.begin(db=env.open_db(b"entries", create=False)) as found:
            return all(found.get(disk_key(cache_key(name))) is not None for name in names)
