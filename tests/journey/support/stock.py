"""Disk caches made by hand, as a keeper leaves them, for the commands that look into them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import lmdb

from fastdns._answer import Limits, Reading
from fastdns._clock import Moment
from fastdns._entry import DiskEntry as Stored
from fastdns._entry import pack
from fastdns._key import cache_key, disk_key
from fastdns._ring import Ring
from fastdns.browse.names import Key
from fastdns.config.names import parse_name
from fastdns.store.lock import writer_lock
from fastdns.store.store import Store, Update

LIMITS = Limits(0, 2**31 - 1, 2**31 - 1, 5, False)
MAP_OCTETS = 64 << 20
SOA = "ns.example. host.example. 1 7200 3600 1209600"
UPSTREAM = "192.0.2.53:53"

Pair = tuple[bytes, bytes]  # key on disk, value


def ago(seconds: float) -> Moment:
    """The moment so long ago; of another boot when this machine has not been up for as long."""
    now = Moment.now()
    gone = int(seconds * 1000)
    if now.boot_ms < gone:
        return Moment(now.wall_ms - gone, 0, now.boot ^ 1)
    return Moment(now.wall_ms - gone, now.boot_ms - gone, now.boot)


def entry(
    name: str,
    rtype: str = "A",
    *data: str,
    ttl: int = 300,
    age: float = 0,
    hits: int = 0,
    do: bool = False,
    cd: bool = False,
    rcode: str = "NOERROR",
    owner: str | None = None,
    rclass: str = "IN",
    stored: Moment | None = None,
    origin: int = 1,
) -> Pair:
    """An answer that came `age` seconds ago; without data a negative one of the SOA's TTL."""
    name = name if name.endswith(".") else f"{name}."
    query = dns.message.make_query(name, rtype, rclass)
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(dns.rcode.from_text(rcode))
    if data:
        records = [dns.rrset.from_text(owner or name, ttl, rclass, rtype, *data)]
        reply.answer += records
    else:
        reply.authority.append(dns.rrset.from_text("example.", ttl, "IN", "SOA", f"{SOA} {ttl}"))
    key = Key(
        parse_name(name),
        int(dns.rdatatype.from_text(rtype)),
        int(dns.rdataclass.from_text(rclass)),
        do,
        cd,
    ).join()
    wire = reply.to_wire(max_size=65535)
    reading = Reading()
    assert reading.read(wire, reply.id, key)
    value = pack(
        reading.answer(LIMITS),
        stored or ago(age),
        origin=origin,
        upstream=UPSTREAM,
        rtt_us=1500,
        hits=hits,
    )
    return disk_key(key), value


def many(count: int) -> list[Pair]:
    """So many small entries, each of a name under many."""
    return [entry(f"n{number}.many", "A", "192.0.2.1", age=1) for number in range(count)]


def fill(state_dir: Path, entries: Iterable[Pair], size: int = MAP_OCTETS) -> Path:
    """Put entries into the cache of a daemon of this state_dir; return its directory."""
    place = state_dir / "cache"
    (state_dir / "run").mkdir(parents=True, exist_ok=True)
    place.mkdir(exist_ok=True)
    written = dict(entries)

    def write() -> None:
        with writer_lock(place, 5):
            store = Store.open(place, size)
            updates = [Update(key, written[key]) for key in sorted(written)]
            for _ in store.apply(updates, Moment.now()):
                pass
            store.close()

    in_child(write)
    return place


def put_raw(place: Path, entries: Iterable[Pair]) -> None:
    """Put values into an existing cache as they are, damaged or not."""

    def write() -> None:
        with lmdb.open(os.fspath(place), map_size=0, max_dbs=2) as env:
            database = env.open_db(b"entries")
            with env.begin(write=True, db=database) as transaction:
                for key, value in entries:
                    transaction.put(key, value)

    in_child(write)


def in_child(act: Callable[[], Any]) -> None:
    """Run it in a process of its own: LMDB wants an environment opened once in a process."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def hand_over(ring: Ring, key: bytes, value: bytes) -> None:
    """Put an entry into a ring, as a worker does."""
    found = Stored.parse(value)
    assert ring.put(cache_key(key), found.answer(), 0, Moment.now())
