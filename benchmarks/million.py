"""Scenario "million": hits again, with more names in the cache than fit in any CPU's caches."""

from typing import Any

import upstream
from session import Session


def measure(session: Session) -> dict[str, Any] | None:
    """Return None for what takes minutes to get warm."""
    if not session.peer.large:
        return None
    names = (
        *("--prefix", "x", "--digits", "7", "--domain", upstream.MISS_ZONE),
        *("--names", str(session.settings.million)),
    )
    session.warm(*names)
    session.wait_for_keeper()
    return session.load_with_cpu(*names) | {"memory": session.server.memory()}
