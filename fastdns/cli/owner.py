"""Root's commands read a daemon's files as the daemon's user."""

from __future__ import annotations

import os
from pathlib import Path

from ..config.text import path_text
from ..errors import FastdnsError
from ..machine import accounts
from .output import warn


def become_owner(directory: Path) -> None:
    """As root, become the owner of the directory for the rest of the process.

    Nothing happens if that is root, if there is no directory, or for another user. So data that the
    daemon cannot read and write itself neither comes out of its files nor into them. A root that
    cannot, in a container, stays root and prints a warning.
    """
    owner = accounts.owner(directory) if os.geteuid() == 0 else None
    if owner is None:
        return
    reason = accounts.obstacle(owner)
    if reason is not None:
        warn(
            f"continues as root, because it cannot become the owner of {path_text(directory)} "
            f"({reason})"
        )
        return
    try:
        accounts.become(owner)
    except OSError as error:
        raise FastdnsError(f"cannot become the owner of {directory}: {error.strerror}") from None
