"""Taking back what was changed, the last change first."""

from __future__ import annotations

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
            f"not undone: {first}: fastdns (pid {daemon}) runs and has the port; "
            "stop it, then undo again"
        )
        return False
    failed: list[str] = []
    for change in changes:
        try:
            if daemon is not None and change.wants_port():
                say(_stop())
                daemon = None
            say(record.take_back(change))
        except FastdnsError as error:
            failed.append(str(error))
            say(f"not undone: {error}")
    return not failed


def _stop() -> str:
    units.change("stop", units.FASTDNS)
    later = ""
    if units.is_enabled(units.FASTDNS):
        later = f"; it will start with the system, unless: systemctl disable {units.FASTDNS}"
    return f"stopped {units.FASTDNS}, so that the port is free{later}"
