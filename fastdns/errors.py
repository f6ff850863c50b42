"""Typed errors that are told to the owner, each in one line."""

from __future__ import annotations


class FastdnsError(Exception):
    """Anything that fastdns tells its owner about in one line."""


class ConfigError(FastdnsError):
    """One wrong value: the key path it stands under and what is the matter with it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class ConfigErrors(FastdnsError):
    """All that is wrong with a configuration, one printable line each, file and key included."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class StartError(FastdnsError):
    """The daemon cannot start; the text names the cause and the remedy."""


class Damaged(FastdnsError):
    """The disk cache cannot be used and has to be put aside; the text says what it is."""


# What commands say of it.
REMEDY = (
    "the daemon repairs it or starts an empty cache, at its next start at the latest; "
    "the damaged file becomes data.mdb.damaged, which you may delete"
)


class CutOff(Damaged):
    """The file ends before the last page that LMDB has given out. It may be whole all the same.

    LMDB does not write pages that it gave out and took back in one transaction. Our writers extend
    the file then, but may be killed before.
    """


class LmdbError(FastdnsError):
    """LMDB refuses, for a reason of its own: neither the system below it nor the file is named."""


class MapFull(LmdbError):
    """The map of the disk cache has no free page for this transaction."""


class ReadersFull(LmdbError):
    """Every slot for a reader of the disk cache is taken."""
