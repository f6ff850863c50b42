"""Undoing the changes, the last one first."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..errors import FastdnsError
from . import units
from .record import Record


def undo(record: Record, daemon: int | None, say: Callable[[str], None]) -> bool:
    """Undo all recorded changes and say what was done; True: nothing is left.

    A server that takes the port again can only start while fastdns does not run, so fastdns is
    stopped first if systemd runs it. `daemon`: the pid of the running one.
    """
    changes = list(reversed(record.changes))
    first = next((one for one in changes if daemon is not None and one.wants_port()), None)
    if first is not None and not units.is_active(units.FASTDNS):
        # All or nothing: a partial undo may name a resolver that cannot start.
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
    """Keep fastdns from taking the port at the next boot."""
    # A package that is being removed does that itself, and remembers it for a later installation.
    if os.environ.get("DPKG_MAINTSCRIPT_PACKAGE") or not units.is_enabled(units.FASTDNS):
        return
    units.change("disable", "--now", units.FASTDNS)  # it may repeatedly try to start
    say(f"{units.FASTDNS} no longer starts with the system (again: fastdns doctor --fix)")
