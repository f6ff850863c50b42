"""Taking back what was changed, the last change first."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..errors import FastdnsError
from . import units
from .record import Record


def undo(record: Record, daemon: int | None, say: Callable[[str], None]) -> bool:
    """Take back all that is recorded, saying line by line what was done; True: nothing is left.

    Whoever is to have the port again can only start when fastdns does not run: it is stopped for
    that, if it is systemd's to stop. `daemon`: the pid of the one that runs.
    """
    changes = list(reversed(record.changes))
    first = next((one for one in changes if daemon is not None and one.wants_port()), None)
    if first is not None and not units.is_active(units.FASTDNS):
        # Nothing at all then: what is taken back in part may name a resolver that cannot start.
        say(
            f"not undone: {first}: fastdns (pid {daemon}) still holds the port; "
            "stop it, then run --undo again"
        )
        return False
    failed: list[str] = []
    gives_port = any(change.wants_port() for change in changes)
    for change in changes:
        try:
            if daemon is not None and change.wants_port():
                say(_stop())
                daemon = None
            say(record.take_back(change))
        except FastdnsError as error:
            failed.append(str(error))
            say(f"not undone: {error}")
    if gives_port and not failed:
        try:
            _disable(say)
        except FastdnsError as error:
            failed.append(str(error))
            say(f"not undone: {error}")
    return not failed


def _stop() -> str:
    units.change("stop", units.FASTDNS)
    return f"stopped {units.FASTDNS}, so that the port is free"


def _disable(say: Callable[[str], None]) -> None:
    """Keep fastdns from being in the way of who has got the port back, from the next boot on."""
    # A package that is being removed does that itself, and a later installation knows it was on.
    if os.environ.get("DPKG_MAINTSCRIPT_PACKAGE") or not units.is_enabled(units.FASTDNS):
        return
    units.change("disable", "--now", units.FASTDNS)  # it may try again and again to start
    say(f"{units.FASTDNS} no longer starts with the system (again: fastdns doctor --fix)")
