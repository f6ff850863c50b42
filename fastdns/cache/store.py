"""The LMDB environment as its writers have it: keeper and commands change the cache through this.

Who writes holds the writer lock (lock.py) around it. LMDB's rules shape the rest: an environment
is opened once a process and never over a fork, and a changed page is copied first, so that a
transaction needs as many free pages as it touches.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import lmdb

from .._clock import Moment
from .._entry import Entry, newer, peek, with_hits
from .damage import is_sound
from .files import (
    DATA,
    FRESH,
    LOCK,
    SLOT_OCTETS,
    CutOff,
    Damaged,
    allocate_lock,
    check_head,
    check_length,
    close_gap,
    counts_for_another,
    fill_up,
    identity,
)

ENTRIES = b"entries"
ABOUT = b"about"
FORMAT = b"1"  # of keys and values; another one is another version's cache
SMALL_MAP = 8 * 1024 * 1024  # of the environment that stands in for one on disk
STEP_LIMIT = (
    2_000  # entries a transaction: LMDB keeps the memory of the most pages that one has changed
)
OVERSIZE = 1.25  # times the size of the map: `grow` makes less of it
SLICE = 1_000  # entries that are read in one go
T = TypeVar("T")
Item = tuple[bytes, bytes]

# What says that the file is not, or no longer, a cache of ours. Others are the disk's or LMDB's.
DAMAGE = (
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.CursorFullError,
    lmdb.PageFullError,
    lmdb.BadTxnError,
    lmdb.IncompatibleError,
)


class Usage(NamedTuple):
    """How much of the environment is in use."""

    entries: int
    octets: int  # of live pages
    share: float  # of the map


class Update(NamedTuple):
    """What is to become of an entry: a new value (None: it keeps its own), and more hits.

    A value with a TTL of 0 must not be kept: it ends an older one.
    """

    disk_key: bytes
    value: bytes | None = None
    hits: int = 0
    key: bytes = b""  # the caller's mark


class Store:
    """An open environment. FastdnsError and OSError tell what is wrong with it."""

    def __init__(self, place: Path, env: Any, size: int, entries: Any, about: Any) -> None:
        self.place = place
        self.env = env
        self.size = size
        self.entries = entries
        self.about = about
        self.page_size: int = env.stat()["psize"]
        pages = size // self.page_size
        self.step = min(STEP_LIMIT, max(16, pages // 16))
        self.is_new = False
        self._has_grown = False
        self._identity = identity(place)
        self._length = (place / DATA).stat().st_size

    @classmethod
    def open(cls, place: Path, size: int, *, examined: bool = False, readers: int = 0) -> Store:
        """Open the environment of this directory to write it, made where there is none.

        So many `readers` are to be able to look into it at once.

        Damaged: there is one that cannot be used; CutOff: that has to be examined first. OSError,
        lmdb.Error: the disk does not let us.
        """
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise Damaged("is no directory") from None
        (place / FRESH).unlink(missing_ok=True)
        is_new = not os.path.lexists(place / DATA)
        check_head(place)
        allocate_lock(place / LOCK, readers)
        try:
            store = cls._open(place, size, create=True, examined=examined)
        except BaseException:
            if is_new:  # a full disk leaves half a file, which would pass for a damaged one
                with suppress(OSError):
                    (place / DATA).unlink()
            raise
        store.is_new = is_new
        return store

    @classmethod
    def open_existing(cls, place: Path) -> Store:
        """Open the environment of a daemon, with the size that it has there, to write it."""
        if not (place / DATA).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
        check_head(place)
        allocate_lock(place / LOCK)
        return cls._open(place, 0, create=False, examined=False)

    @classmethod
    def _open(cls, place: Path, size: int, create: bool, examined: bool) -> Store:
        with _damage_is_told():
            env = _open_env(place, size, create)
            try:
                if counts_for_another(env):
                    env.close()
                    octets = (place / LOCK).stat().st_size
                    (place / LOCK).unlink()
                    allocate_lock(place / LOCK, octets // SLOT_OCTETS - 2)
                    env = _open_env(place, size, create)
                if not examined:
                    close_gap(env, place)
                    check_length(env, place)
                entries, about = _open_databases(env, create)
                return cls(place, env, size or env.info()["map_size"], entries, about)
            except BaseException:
                env.close()
                raise

    def close(self) -> None:
        self.env.close()

    def is_in_place(self) -> bool:
        """False: other files are there now, or none. Damaged: ours were overwritten. Cheap."""
        try:
            if identity(self.place) != self._identity:
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        check_head(self.place)
        length = (self.place / DATA).stat().st_size
        if length < self._length:  # it never gets shorter by itself
            raise CutOff(f"is cut off: it has {length} octets of {self._length}")
        self._length = length
        return True

    def usage(self) -> Usage:
        with _damage_is_told(), self.env.begin() as transaction:
            pages = 0
            for database in (self.entries, self.about):
                found = transaction.stat(database)
                pages += found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"]
            count = transaction.stat(self.entries)["entries"]
        octets = pages * self.page_size
        return Usage(count, octets, octets / self.size)

    def grow(self) -> bool:
        """Let the map be a little larger than it should be; False: that was done before.

        A page that is freed can be used by the next but one transaction. So an environment whose
        last page went to a transaction stays full for ever: no other will succeed.
        """
        if self._has_grown:
            return False
        some = max(self.size // 16, 64 * self.page_size)
        self.env.set_mapsize(self.env.info()["map_size"] + some)
        self._has_grown = True
        return True

    def is_oversized(self) -> bool:
        """Whether the file is of a time when the map was to be larger."""
        return (self.place / DATA).stat().st_size > self.size * OVERSIZE

    def write_compact(self) -> None:
        """Write a copy without free pages, for `files.exchange`; under the writer lock."""
        descriptor = os.open(
            self.place / FRESH, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        try:
            with _damage_is_told():
                self.env.copyfd(descriptor, compact=True)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # Reading

    def get(self, disk_key: bytes) -> bytes | None:
        with _damage_is_told(), self.env.begin(db=self.entries) as transaction:
            value: bytes | None = transaction.get(disk_key)
            return value

    def hits_of(self, disk_keys: Iterable[bytes]) -> list[int | None]:
        """Return the hit counts of these entries; None: there is none, or it cannot be read."""
        with _damage_is_told(), self.env.begin(db=self.entries, buffers=True) as transaction:
            return [_hits_of(transaction.get(key)) for key in disk_keys]

    def read_slice(self, start: bytes, limit: int = SLICE) -> list[Item]:
        """Return the next entries from a key on; the read transaction ends with it."""
        found: list[Item] = []
        with _damage_is_told(), self.env.begin(db=self.entries) as transaction:
            cursor = transaction.cursor()
            if cursor.set_range(start):
                for item in cursor:
                    found.append(item)
                    if len(found) >= limit:
                        break
        return found

    def slices(self, start: bytes = b"", limit: int = SLICE) -> Iterator[list[Item]]:
        """Yield all entries from a key on, so many at a time, between which others may write."""
        while found := self.read_slice(start, limit):
            yield found
            start = found[-1][0] + b"\0"

    # Writing

    def apply(
        self, updates: Sequence[Update], now: Moment, written: tuple[float, int] | None = None
    ) -> Iterator[list[Update]]:
        """Write these, which are in order of their keys; yield after each commit what it wrote.

        A newer entry is never replaced; hits of the older one are carried over. `written` is
        stored on the way, see `written()`.
        """
        about = _record_of(*written) if written else None

        def change(transaction: Any, update: Update) -> bool:
            return _update(transaction, update, now)

        return self._in_steps(updates, change, about)

    def delete(self, keys: Iterable[bytes]) -> int:
        """Remove these entries; return how many there were."""

        def change(transaction: Any, key: bytes) -> bool:
            return bool(transaction.delete(key))

        return sum(map(len, self._in_steps(sorted(keys), change)))

    def delete_spoiled(self, keys: Iterable[bytes]) -> int:
        """Remove those of these entries that cannot be used; return how many there were."""

        def change(transaction: Any, key: bytes) -> bool:
            value = transaction.get(key)
            return value is not None and not is_sound(key, value) and bool(transaction.delete(key))

        return sum(map(len, self._in_steps(sorted(keys), change)))

    def delete_unchanged(self, entries: Sequence[Item]) -> int:
        """Remove entries that still have this value; return how many had."""

        def change(transaction: Any, entry: Item) -> bool:
            key, value = entry
            return transaction.get(key) == value and bool(transaction.delete(key))

        return sum(map(len, self._in_steps(entries, change)))

    def delete_range(self, prefix: bytes, wanted: Callable[[bytes], bool]) -> int:
        """Remove what a predicate wants of the disk keys with this prefix; return how many."""
        deleted = 0
        for found in self.slices(prefix):
            keys = [key for key, _ in found if key.startswith(prefix)]
            deleted += self.delete(key for key in keys if wanted(key))
            if len(keys) < len(found):
                break
        return deleted

    def clear(self) -> int:
        """Remove every entry; return how many there were."""
        with _damage_is_told(), self.env.begin(write=True) as transaction:
            count: int = transaction.stat(self.entries)["entries"]
            transaction.drop(self.entries, delete=False)
        return count

    def _in_steps(
        self,
        items: Sequence[T],
        change: Callable[[Any, T], bool],
        about: bytes | None = None,
    ) -> Iterator[list[T]]:
        """Apply a change to each, in transactions of bounded size; yield those that it did."""
        at, step = 0, self.step
        while at < len(items):
            part = items[at : at + step]
            try:
                with _damage_is_told(), self.env.begin(write=True, db=self.entries) as transaction:
                    changed = [item for item in part if change(transaction, item)]
                    if about is not None:
                        transaction.put(b"written", about, db=self.about)
            except lmdb.MapFullError:
                # Its own copies of pages may be what did not fit: fewer entries need fewer.
                if step == 1:
                    raise
                step = max(1, step // 4)
                continue
            self._length = fill_up(self.env, self.place)
            about = None
            at += len(part)
            yield changed

    # The record of what was written

    def written(self) -> tuple[float, int]:
        """Return since when (Unix) octets written are counted, and how many; (0.0, 0): not."""
        with _damage_is_told(), self.env.begin(db=self.about) as transaction:
            text = transaction.get(b"written")
        try:
            found = json.loads(text or b"{}")
            return float(found["since"]), int(found["octets"])
        except (ValueError, KeyError, TypeError):
            return 0.0, 0

    def try_to_write(self, since: float, octets: int) -> None:
        """Commit as little as can be, the record of what was written: does the disk let us?"""
        with _damage_is_told(), self.env.begin(write=True, db=self.about) as transaction:
            transaction.put(b"written", _record_of(since, octets))


def _open_env(place: Path, size: int, create: bool) -> Any:
    return lmdb.open(
        os.fspath(place),
        map_size=size,
        max_dbs=2,
        mode=0o600,
        create=create,
        readahead=False,
        meminit=False,
    )


def _open_databases(env: Any, create: bool) -> tuple[Any, Any]:
    """Return entries and about; in an empty environment they are made."""
    if env.stat()["entries"] == 0:
        if not create:
            raise Damaged("is empty")
        with env.begin(write=True) as transaction:
            entries = env.open_db(ENTRIES, txn=transaction)
            about = env.open_db(ABOUT, txn=transaction)
            transaction.put(b"format", FORMAT, db=about)
        return entries, about
    try:
        entries = env.open_db(ENTRIES, create=False)
        about = env.open_db(ABOUT, create=False)
    except lmdb.NotFoundError:
        raise Damaged("is another program's") from None
    with env.begin(db=about) as transaction:
        found = transaction.get(b"format")
    if found != FORMAT:
        shown = found.decode("ascii", "replace") if found else "none"
        raise Damaged(f"has another format (format {shown}, not {FORMAT.decode()})")
    return entries, about


def _update(transaction: Any, update: Update, now: Moment) -> bool:
    """Write one; False: what is there stays."""
    # What cannot be used counts as absent: never a new checksum over what is wrong.
    found = transaction.get(update.disk_key)
    old = _sound_entry(found)
    before = old.hits if old is not None else 0
    value = update.value
    if value is None:
        if old is None:
            return False
        value = found
    else:
        if old is not None and not _gives_way(old, found, value, now):
            return False
        if is_removal(value):
            return bool(transaction.delete(update.disk_key))
        before += peek(value)[4]
    hits = before + update.hits
    if hits:
        value = with_hits(value, hits)
    return bool(transaction.put(update.disk_key, value))


def is_removal(value: bytes) -> bool:
    """Return whether it is an answer that must not be kept."""
    return bool(peek(value)[3] == 0)


def _sound_entry(value: bytes | None) -> Entry | None:
    try:
        return None if value is None else Entry.parse(value)
    except ValueError:
        return None


def _hits_of(value: bytes | memoryview | None) -> int | None:
    try:
        return None if value is None else peek(value)[4]
    except ValueError:
        return None


def _gives_way(entry: Entry, old: bytes, value: bytes, now: Moment) -> bool:
    """Return whether an entry is to be replaced by this value.

    By a newer one; by one of other upstreams, which may come from an export; and when it is from
    the future, or of a wrong clock, since it would stay for ever.
    """
    return newer(value, old) or peek(value)[5] != entry.origin or entry.age(now) is None


def _record_of(since: float, octets: int) -> bytes:
    return json.dumps({"since": since, "octets": octets}).encode()


@contextmanager
def _damage_is_told() -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise Damaged(f"cannot be read by LMDB: {error}") from error
