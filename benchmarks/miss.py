"""Scenario "miss": each query is for a name never asked before, so that the upstream is asked.

nsd shares its core with the load, so queries a second are bounded by that core; the CPU a query is
the server's alone.
"""

from typing import Any

import upstream
from session import Session

NEW_NAMES = ("--prefix", "m", "--digits", "8", "--names", "100000000", "--sequential")
MOST_BAD = 0.01  # a server that overruns nsd's buffers may have to say SERVFAIL


def measure(session: Session) -> dict[str, Any] | None:
    """Return None for what forwards nothing."""
    if not session.peer.forwards:
        return None
    domain = ("--domain", upstream.MISS_ZONE)
    return session.load_with_cpu(*NEW_NAMES, *domain, most_bad=MOST_BAD)
