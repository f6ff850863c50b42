"""Whether a file has changed."""

from __future__ import annotations

import os
from pathlib import Path

Signature = tuple[tuple[int, ...] | None, ...]  # of some files


def signature(path: Path) -> tuple[int, ...] | None:
    """Return what changes with the content of a file; None if it cannot be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    # The change time as well: chmod makes a file readable without changing the other fields.
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
