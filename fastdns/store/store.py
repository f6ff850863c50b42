"""The LMDB environment for writers: keeper and commands change the cache through this.

A writer holds the writer lock (lock.py). The rest follows from LMDB's rules: an environment is
opened once in a process and never across a fork, and a changed page is copied first, so that a
transaction needs as many free pages as it changes.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .._clock import Moment
from .._entry import peek
from .._key import prefix_of
from .._writer import Writer
from ..errors import CutOff, Damaged, MapFull
from .files import (
    DATA,
    FRESH,
    LOCK,
    SLOT_OCTETS,
    allocate_lock,
    check_head,
    check_length,
    close_gap,
    counts_for_another,
    identity,
)

FORMAT = b"1"  # of keys and values; another format is another version's cache
SMALL_MAP = 8 * 1024 * 1024  # of the environment that replaces one on disk
STEP_LIMIT = (
    2_000  # entries in a transaction: LMDB keeps the memory of the most pages that one has changed
)
OVERSIZE = 1.25  # times the size of the map: `grow` leaves less of it
LIMIT = b"limit"  # kept beside the entries: cache.disk in octets
SLICE = 1_000  # entries that are read at once, fewer if they are large
Item = tuple[bytes, bytes]


class Usage(NamedTuple):
    """How much of the environment is in use."""

    entries: int
    octets: int  # of live pages
    share: float  # of the map


class Update(NamedTuple):
    """The change of an entry: a new value (None: it stays), and more hits.

    A value with a TTL of 0 must not be cached: it removes an older one.
    """

    disk_key: bytes
    value: bytes | None = None
    hits: int = 0
    key: bytes = b""  # the caller's mark


class Store(Writer):
    """An open environment. FastdnsError and OSError say what is wrong with it."""

    def __init__(self, place: Path, size: int) -> None:
        self.place = place
        self._set_size(self.size)
        self.is_new = False
        self._has_grown = False
        self._identity = identity(place)

    @classmethod
    def open(cls, place: Path, size: int, *, examined: bool = False, readers: int = 0) -> Store:
        """Open the environment of this directory for writing, or create it.

        So many `readers` must be able to open it at once.

        Damaged: it is unusable; CutOff: it must be examined first. OSError, LmdbError: the disk
        does not allow it.
        """
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise Damaged("is not a directory") from None
        (place / FRESH).unlink(missing_ok=True)
        is_new = not os.path.lexists(place / DATA)
        check_head(place)
        allocate_lock(place / LOCK, readers)
        try:
            store = cls._open(place, size, create=True, examined=examined)
        except BaseException:
            if is_new:  # a full disk leaves half a file, which would look damaged
                with suppress(OSError):
                    (place / DATA).unlink()
            raise
        store.is_new = is_new
        return store

    @classmethod
    def open_existing(cls, place: Path) -> Store:
        """Open a daemon's environment for writing, with the size that it has there."""
        if not (place / DATA).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
        check_head(place)
        allocate_lock(place / LOCK)
        return cls._open(place, 0, create=False, examined=False)

    @classmethod
    def _open(cls, place: Path, size: int, create: bool, examined: bool) -> Store:
        store = cls(place, size)
        try:
            if counts_for_another(store):
                store.close()
                octets = (place / LOCK).stat().st_size
                (place / LOCK).unlink()
                allocate_lock(place / LOCK, octets // SLOT_OCTETS - 2)
                store = cls(place, size)
            if not examined:
                close_gap(store, place)
                check_length(store, place)
            found = store.open_databases(FORMAT, create=create)
            if found != FORMAT:
                shown = found.decode("ascii", "replace") if found else "none"
                raise Damaged(f"has another format (format {shown}, not {FORMAT.decode()})")
            store._agree_on_limit(size)
            return store
        except BaseException:
            store.close()
            raise

    def _set_size(self, size: int) -> None:
        self.size = size
        self.step = min(STEP_LIMIT, max(16, size // self.page_octets // 16))

    def _agree_on_limit(self, size: int) -> None:
        """Note the wanted size of the map, for commands; LMDB only tells the largest one."""
        noted = self.get_about(LIMIT) or b""
        if not size:
            self._set_size(int(noted) if noted.isdigit() and int(noted) else self.size)
        elif noted != b"%d" % size:
            with suppress(MapFull):  # a sweep makes room; until the next opening it is not known
                self.put_about(LIMIT, b"%d" % size)

    def is_in_place(self) -> bool:
        """False: the files were exchanged or removed. Damaged: they were overwritten. Cheap."""
        try:
            if identity(self.place) != self._identity:
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        check_head(self.place)
        length = (self.place / DATA).stat().st_size
        if length < self.length:  # it never gets shorter otherwise
            raise CutOff(f"is truncated: it has {length} bytes of {self.length}")
        self.length = length
        return True

    def usage(self) -> Usage:
        entries, pages = self.stat()
        octets = pages * self.page_octets
        return Usage(entries, octets, octets / self.size)

    def grow(self) -> bool:
        """Make the map slightly larger than it should be; False: that was done before.

        A freed page is usable from the next but one transaction on. So an environment whose last
        page went to a transaction stays full for ever: no further one can succeed.
        """
        if self._has_grown:
            return False
        some = max(self.size // 16, 64 * self.page_octets)
        self.set_map_octets(self.map_octets + some)
        self._has_grown = True
        return True

    def is_oversized(self) -> bool:
        """Whether the file is from a time when the map was larger."""
        return (self.place / DATA).stat().st_size > self.size * OVERSIZE

    def write_compact(self) -> None:
        """Write a copy without free pages, for `files.put_in_place`; under the writer lock."""
        descriptor = os.open(
            self.place / FRESH, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        try:
            self.copy_compact(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # Reading

    def slices(self, start: bytes = b"", limit: int = SLICE) -> Iterator[list[Item]]:
        """Yield all entries from a key on, so many at a time; others may write in between."""
        while found := self.read_slice(start, limit):
            yield found
            start = found[-1][0] + b"\0"

    def keys_of(self, name: bytes, qtype: int | None = None) -> list[bytes]:
        """Return the keys on disk of exactly this name: all variants, of one type or of all."""
        return self.keys_with(*prefix_of(name, qtype))

    # Writing

    def apply(
        self, updates: Sequence[Update], now: Moment, written: tuple[float, int] | None = None
    ) -> Iterator[list[Update]]:
        """Write these, sorted by key; yield after each commit what it wrote.

        A newer entry is never replaced; hits of the older one are carried over. `written` is stored
        with them, see `written()`.
        """
        record = record_of(*written) if written else None
        for first in range(0, len(updates), self.step):
            done: list[Update] = []
            try:
                self.write(list(updates[first : first + self.step]), now, record, done)
            except MapFull:
                yield done
                raise
            record = None if done else record
            yield done

    def delete(self, keys: Iterable[bytes]) -> int:
        """Remove these entries; return how many there were."""
        return self.remove(sorted(keys))

    def delete_spoiled(self, keys: Iterable[bytes]) -> int:
        """Remove the unusable ones of these entries; return how many there were."""
        return self.remove(sorted(keys), spoiled=True)

    def delete_unchanged(self, entries: Sequence[Item]) -> int:
        """Remove entries that still have this value; return how many had."""
        keys, values = [key for key, _ in entries], [value for _, value in entries]
        return self.remove(keys, values=values)

    def delete_range(self, prefix: bytes, wanted: Callable[[bytes], bool]) -> int:
        """Remove the entries that a predicate selects among the disk keys with this prefix; return
        how many.
        """
        deleted = 0
        for found in self.slices(prefix):
            keys = [key for key, _ in found if key.startswith(prefix)]
            deleted += self.delete(key for key in keys if wanted(key))
            if len(keys) < len(found):
                break
        return deleted

    # The record of what was written

    def written(self) -> tuple[float, int]:
        """Return since when (Unix time) written bytes are counted, and how many; (0.0, 0): not."""
        try:
            found = json.loads(self.get_about(b"written") or b"{}")
            return float(found["since"]), int(found["octets"])
        except (ValueError, KeyError, TypeError):
            return 0.0, 0

    def try_to_write(self, since: float, octets: int) -> None:
        """Commit as little as possible, the record of what was written, to test the disk."""
        self.put_about(b"written", record_of(since, octets))


def is_removal(value: bytes) -> bool:
    """Return whether it is an answer that must not be cached."""
    return bool(peek(value)[3] == 0)


def record_of(since: float, octets: int) -> bytes:
    return json.dumps({"since": since, "octets": octets}).encode()
