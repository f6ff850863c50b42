"""Checks whether this user may read a daemon's files, and otherwise names their owner."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from ...errors import FastdnsError


def check_access(path: Path, mode: int) -> None:
    """FastdnsError, with the user to use instead, if another user owns this and it is closed to us.

    No error if it does not exist, or is closed to its own owner.
    """
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except PermissionError:
            continue  # a directory above is closed
        except OSError:
            return
        break
    else:
        return
    needed = mode if place == path else os.X_OK
    if found.st_uid == os.geteuid() or os.access(place, needed, effective_ids=True):
        return
    owner = _name(found.st_uid)
    remedy = "as root" if found.st_uid == 0 else "as that user or as root"
    raise FastdnsError(
        f"{place} cannot be read by this user: it belongs to user {owner}; try {remedy}"
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
