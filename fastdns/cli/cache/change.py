"""How commands change the cache: on disk first, then in the running daemon, under the writer lock.

In this order nothing returns: a reader of the disk after the daemon was told finds it changed, and
the keeper, which needs the lock to write, learns of the change before it reads older answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..._control import CHANGE_ALL, CHANGE_NAME
from ...browse.items import Wanted, find
from ...browse.reader import CacheAbsent, Reader
from ...errors import REMEDY, Damaged, FastdnsError, LmdbError, MapFull
from ...machine import keeper_requests
from ...store.lock import writer_lock
from ...store.store import Store
from .site import KEEPER_SECONDS, Site

LOCK_SECONDS = 2.0
CHANGES_MAX = 500  # of the 1,024 changes that the daemon can be sent before it has read them


class Change(NamedTuple):
    """What the daemon must remove from memory."""

    kind: int
    name: bytes = b""
    qtype: int = 0


def remove_found(site: Site, wanted: Wanted) -> int:
    """Remove all matching entries; return how many there were."""
    keys: list[bytes] = []
    names: set[tuple[bytes, int]] = set()
    with site.reading() as reader:
        for items in find(reader, wanted, site.judge()):
            keys += [item.disk_key for item in items]
            names |= {(item.key.name, item.key.qtype) for item in items}
    changes = [Change(CHANGE_NAME, name, qtype) for name, qtype in sorted(names)]
    if len(changes) > CHANGES_MAX:
        changes = [Change(CHANGE_ALL)]  # memory also drops the others, and finds them on disk
    return remove(site, lambda store: store.delete(keys), *changes) if keys else 0


def remove(site: Site, delete: Callable[[Store], int], *changes: Change) -> int:
    """Delete on disk and in the daemon; return how many entries the disk had."""
    if site.daemon is not None and site.control is None:
        raise site.cannot_tell()
    removed = 0
    with locked(site.path):
        try:
            if not is_bare(site.path):
                with writing(site.path) as store:
                    removed = delete(store)
        finally:  # memory must drop it as well, even if the disk could not
            if site.control is not None:
                for change in changes:
                    site.control.post(*change)
    if site.daemon is not None:
        keeper_requests.wake_workers(site.places.keeper, KEEPER_SECONDS)
    return removed


def is_bare(place: Path) -> bool:
    """Return True when there is no cache, or one in which nothing was ever written."""
    try:
        with Reader(place) as reader:
            return reader.is_bare
    except CacheAbsent:
        return True


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Hold the writer lock, if there is a cache; FastdnsError names who has it."""
    if not place.is_dir():
        yield
        return
    try:
        lock = writer_lock(place, LOCK_SECONDS)
        lock.__enter__()
    except OSError as error:
        raise FastdnsError(f"cannot write to the disk cache {place}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


@contextmanager
def writing(place: Path) -> Iterator[Store]:
    """Open an existing environment for changes; errors become one line."""
    with told(place):
        store = Store.open_existing(place)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def told(place: Path) -> Iterator[None]:
    """Turn errors of the environment into one line."""
    try:
        yield
    except Damaged as damage:
        raise FastdnsError(f"the disk cache {place} {damage} ({REMEDY})") from None
    except MapFull:
        raise FastdnsError(f"the disk cache {place} is full (cache.disk sets its size)") from None
    except (LmdbError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise FastdnsError(f"cannot write to the disk cache {place}: {why}") from None
