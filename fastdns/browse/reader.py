"""Reading a cache on disk beside its writer.

A read transaction keeps every page alive that it can see, so the file grows while one lasts and
others write. Each one here copies a batch and ends before the batch is used.

A damaged file may end the process by a signal, so the commands read in a child process. A file that
is shorter than it states is not refused, because LMDB leaves intact ones like that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise, takewhile
from pathlib import Path
from typing import Any, TypeVar

import attrs
import lmdb

from .._key import prefix_of
from ..errors import REMEDY, FastdnsError
from ..store.damage import DAMAGE

BATCH = 256  # entries copied in one transaction: at most 16 MiB, commonly 100 KiB
KEYS_AT_ONCE = 20_000  # if only keys are read
DATABASES = 2
FORMAT = b"1"
Pair = tuple[bytes, bytes]  # a key on disk and its value
_T = TypeVar("_T")


class CacheAbsent(FastdnsError):
    """The cache on disk does not exist."""


class CacheUnreadable(FastdnsError):
    """The cache on disk exists but cannot be read; the text says why."""


@attrs.frozen
class Facts:
    """The environment's own figures."""

    entries: int
    live_octets: int  # of pages in use; the rest of the map is free
    map_octets: int  # the limit: cache.disk, as its writer has it
    file_octets: int
    written_octets: int  # to this cache since `written_since`
    written_since: float | None  # Unix seconds


class Reader:
    """A cache on disk, opened for reading. Creates nothing; a block closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = path / "data.mdb"
        self._env = self._open()
        try:
            if self._about(b"format") not in (FORMAT, None):
                raise CacheUnreadable(
                    f"the disk cache {path} was written by another version of fastdns"
                )
            self._entries = self._db(b"entries")
        except lmdb.Error as error:
            self._env.close()
            raise self._unreadable(error) from None
        except BaseException:
            self._env.close()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._env.close()

    @property
    def is_bare(self) -> bool:
        """True for an environment in which nothing was ever written."""
        return self._entries is None

    def batches(self, prefix: bytes = b"", after: bytes | None = None) -> Iterator[list[Pair]]:
        """Yield all entries whose key on disk starts with prefix, in order, a batch at a time.

        With `after`, only those after that key. Entries written meanwhile may be among them.
        """
        start = prefix if after is None else after + b"\0"
        while self._entries is not None:
            found = self._reading(partial(self._some_pairs, start))
            keys = [start[:-1], *(key for key, _ in found)]
            if any(key <= before for before, key in pairwise(keys)):
                # A reader that continued there could run in a loop.
                raise CacheUnreadable(
                    f"the disk cache {self.path} is damaged: keys out of order ({REMEDY})"
                )
            batch = [pair for pair in found if pair[0].startswith(prefix)]
            if batch:
                yield batch
            if len(batch) < BATCH:
                return
            start = batch[-1][0] + b"\0"

    def values(self, keys: Sequence[bytes]) -> Iterator[list[Pair]]:
        """Yield the entries of these keys in their order; missing ones are left out."""
        for first in range(0, len(keys), BATCH):
            yield self._reading(partial(self._pairs_of, keys[first : first + BATCH]))

    def keys_of(self, name: bytes, qtype: int | None = None) -> list[bytes]:
        """Return the keys on disk of exactly this name: all variants, of one type or of all."""
        if self._entries is None:
            return []
        return self._reading(lambda: _keys_of(self._env, self._entries, name, qtype))

    def facts(self) -> Facts:
        """Return counts, sizes and the bytes written since when."""
        written = _written(self._about(b"written"))
        stat = self._reading(self._stat) if self._entries is not None else {}
        pages = sum(stat.get(f"{kind}_pages", 0) for kind in ("branch", "leaf", "overflow"))
        return Facts(
            entries=stat.get("entries", 0),
            live_octets=pages * self._env.stat()["psize"],
            map_octets=_limit(self._about(b"limit")) or self._env.info()["map_size"],
            file_octets=self._data.stat().st_size,
            written_octets=written[0],
            written_since=written[1],
        )

    def _open(self) -> lmdb.Environment:
        try:
            empty = os.stat(self._data).st_size == 0
        except (FileNotFoundError, NotADirectoryError):
            empty = True
        except OSError as error:
            raise CacheUnreadable(
                f"the disk cache {self.path} cannot be read: {error.strerror}"
            ) from None
        if empty:
            raise CacheAbsent(f"there is no disk cache at {self.path}")
        # Without a lock file no process has it open, and we must not create one.
        has_lock = (self.path / "lock.mdb").exists()
        try:
            return lmdb.open(
                str(self.path),
                map_size=0,  # as large as its writer has made it
                max_dbs=DATABASES,
                readonly=True,
                create=False,
                lock=has_lock,
            )
        except lmdb.Error as error:
            raise self._unreadable(error) from None

    def _db(self, name: bytes) -> Any:
        try:
            return self._env.open_db(name, create=False)
        except lmdb.NotFoundError:
            return None  # nothing was ever written

    def _about(self, key: bytes) -> bytes | None:
        database = self._db(b"about")
        if database is None:
            return None
        with self._env.begin(db=database) as transaction:
            text: bytes | None = transaction.get(key)
            return text

    def _stat(self) -> Any:
        with self._env.begin() as transaction:
            return transaction.stat(self._entries)

    def _some_pairs(self, start: bytes) -> list[Pair]:
        with self._env.begin(db=self._entries) as transaction:
            cursor = transaction.cursor()
            return list(islice(cursor.iternext(), BATCH)) if cursor.set_range(start) else []

    def _pairs_of(self, keys: Iterable[bytes]) -> list[Pair]:
        with self._env.begin(db=self._entries) as transaction:
            found = [(key, transaction.get(key)) for key in keys]
        return [(key, value) for key, value in found if value is not None]

    def _reading(self, act: Callable[[], _T]) -> _T:
        try:
            try:
                return act()
            except lmdb.MapResizedError:  # its writer has made it larger since
                self._env.set_mapsize(0)
                return act()
        except lmdb.Error as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: lmdb.Error) -> CacheUnreadable:
        why = str(error).removeprefix(f"{self.path}: ").removeprefix(f"{self._data}: ")
        if isinstance(error, DAMAGE):
            return CacheUnreadable(f"the disk cache {self.path} is damaged: {why} ({REMEDY})")
        return CacheUnreadable(f"the disk cache {self.path} cannot be read: {why}")


def _keys_of(env: Any, entries: Any, name: bytes, qtype: int | None) -> list[bytes]:
    prefix, length = prefix_of(name, qtype)
    batches = _batches_of_keys(env, entries, prefix)
    return [key for batch in batches for key in batch if len(key) == length]


def _batches_of_keys(env: Any, entries: Any, prefix: bytes) -> Iterator[list[bytes]]:
    start = prefix
    while True:
        with env.begin(db=entries) as transaction:
            cursor = transaction.cursor()
            found = cursor.iternext(keys=True, values=False) if cursor.set_range(start) else ()
            batch = list(takewhile(lambda key: key.startswith(prefix), islice(found, KEYS_AT_ONCE)))
        yield batch
        if len(batch) < KEYS_AT_ONCE:
            return
        start = batch[-1] + b"\0"


def _limit(text: bytes | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0


def _written(text: bytes | None) -> tuple[int, float | None]:
    try:
        said = json.loads(text or b"{}")
        return int(said["octets"]), float(said["since"])
    except (ValueError, TypeError, LookupError, OverflowError):
        return 0, None
