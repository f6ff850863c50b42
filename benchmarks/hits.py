"""Scenario "hits": every name is in the cache, and the server answers as fast as it can."""

from typing import Any

from session import Session


def measure(session: Session) -> dict[str, Any]:
    """128 queries outstanding, names in random order."""
    return session.load_with_cpu(*session.names())
