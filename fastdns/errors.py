"""Typed errors that users see, each in one line."""

from __future__ import annotations


class FastdnsError(Exception):
    """An error that fastdns shows its user in one line."""


class ConfigError(FastdnsError):
    """One wrong value: its key path and the problem."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class ConfigErrors(FastdnsError):
    """All errors of a configuration, one printable line each, with file and key."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class StartError(FastdnsError):
    """The daemon cannot start; the text names the cause and the remedy."""


class Damaged(FastdnsError):
    """The disk cache is unusable and must be replaced; the text says why."""


# How commands describe the remedy.
REMEDY = (
    "the daemon repairs it or starts an empty cache, at its next start at the latest; "
    "the damaged file becomes data.mdb.damaged, which you may delete"
)


class CutOff(Damaged):
    """The file ends before the last page that LMDB has allocated. It may be intact nevertheless.

    LMDB does not write pages that it allocated and freed in one transaction. Our writers extend the
    file then, but may be killed before.
    """


class LmdbError(FastdnsError):
    """LMDB itself refuses; neither the system below it nor the file is the cause."""


class MapFull(LmdbError):
    """The map of the disk cache has no free page for this transaction."""


class ReadersFull(LmdbError):
    """Every slot for a reader of the disk cache is taken."""


def unreadable(error: ImportError) -> str:
    """Return what to say where a module is missing that was there at the start, in a phrase.

    The process has given up root, and a checkout or a home may be closed to all others.
    """
    return (
        f"needs a part of fastdns that this process cannot read any more ({error}); "
        "start fastdns again"
    )
