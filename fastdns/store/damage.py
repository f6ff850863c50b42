"""Which entries on disk are unusable, and when that condemns the whole environment."""

from __future__ import annotations

import lmdb

from .._entry import DiskEntry
from .._key import cache_key
from ..errors import Damaged

# Damaged entries are removed one by one. The whole environment is replaced if there are more than
# so many, and more than one in so many.
DAMAGED_BORNE = 16
DAMAGED_SHARE = 100


# How python-lmdb names a file that is not usable, or no longer.
DAMAGE = (
    lmdb.BadTxnError,  # the error of a transaction after it has met a damaged page
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)


def is_sound(disk_key: bytes | memoryview, value: bytes | memoryview) -> bool:
    """Return False if key or value cannot be read, or do not belong together."""
    try:
        return DiskEntry.parse(value).answers(cache_key(bytes(disk_key)))
    except ValueError:
        return False


def check_share(damaged: int, entries: int) -> None:
    """Damaged: so many of these entries are unusable that the rest cannot be trusted."""
    if damaged > max(DAMAGED_BORNE, entries // DAMAGED_SHARE):
        raise Damaged(f"holds {damaged} damaged entries, or more, of {entries}")
