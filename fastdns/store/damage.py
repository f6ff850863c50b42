"""Which entries on disk cannot be used, and when that is more than a matter of each."""

from __future__ import annotations

import lmdb

from .._entry import DiskEntry
from .._key import cache_key
from ..errors import Damaged

# Damaged entries are removed one by one. The whole is given up when there are more than so many,
# and more than one of so many.
DAMAGED_BORNE = 16
DAMAGED_SHARE = 100


# What python-lmdb says of a file that cannot be used, or no longer.
DAMAGE = (
    lmdb.BadTxnError,  # what a transaction says once it has met a damaged page
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)


def is_sound(disk_key: bytes | memoryview, value: bytes | memoryview) -> bool:
    """Return False when key or value cannot be read, or do not belong together."""
    try:
        return DiskEntry.parse(value).answers(cache_key(bytes(disk_key)))
    except ValueError:
        return False


def check_share(damaged: int, entries: int) -> None:
    """Damaged: so many entries of so many are that nothing else there can be relied on."""
    if damaged > max(DAMAGED_BORNE, entries // DAMAGED_SHARE):
        raise Damaged(f"holds {damaged} damaged entries, or more, of {entries}")
