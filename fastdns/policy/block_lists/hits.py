"""How many answers each list has blocked since the start of the daemon.

Each worker counts in a file of its own in run_dir, by the number that the list has in the compiled
file; readers add the files up by the names of the lists. Another compiled file makes another file,
which begins with the counts of the former one.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

HEAD = struct.Struct("=8sdQ")  # magic, start of the daemon, octets of the names
MAGIC = b"fdnhits1"
COUNT = struct.Struct("=Q")
PREFIX = "list_hits."


def counted(run_dir: Path, started_at: float) -> dict[str, int]:
    """Return the counts of all workers of the daemon that was started then, by list."""
    total: Counter[str] = Counter()
    for path in _files(run_dir):
        total.update(_read(path, started_at))
    return dict(total)


class ListHits:
    """The counts of the worker with this slot."""

    def __init__(self, run_dir: Path, slot: int, started_at: float) -> None:
        self._path = run_dir / f"{PREFIX}{slot}"
        self._started_at = started_at

    def renew(self, lists: Sequence[str]) -> memoryview | None:
        """Return where to count for these lists, eight bytes each; None: nowhere.

        OSError: the file cannot be written.
        """
        if not lists:
            return None
        before = _read(self._path, self._started_at)
        names = json.dumps(list(lists)).encode()
        names += b" " * (-len(names) % COUNT.size)
        head = HEAD.pack(MAGIC, self._started_at, len(names)) + names
        counts = b"".join(COUNT.pack(before.get(one, 0)) for one in lists)
        new = self._path.with_name(self._path.name + ".new")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(new, flags, 0o644)
        try:
            if os.write(descriptor, head + counts) < len(head) + len(counts):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(new))
            memory = mmap.mmap(descriptor, len(head) + len(counts))
        finally:
            os.close(descriptor)
        os.replace(new, self._path)
        return memoryview(memory)[len(head) :]


def _files(run_dir: Path) -> Iterator[Path]:
    return (path for path in run_dir.glob(f"{PREFIX}*") if path.suffix != ".new")


def _read(path: Path, started_at: float) -> dict[str, int]:
    """Return what a file has; nothing of one that is damaged, or of another daemon."""
    try:
        content = path.read_bytes()
        magic, start, octets = HEAD.unpack_from(content)
        if magic != MAGIC or start != started_at:
            return {}
        end = HEAD.size + octets
        names = json.loads(content[HEAD.size : end])
        counts = [count for (count,) in COUNT.iter_unpack(content[end:])]
        return dict(zip(names, counts, strict=True))
    except (OSError, ValueError, struct.error):
        return {}
