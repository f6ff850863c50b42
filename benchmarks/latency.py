"""Scenario "latency": cached answers at a fixed rate, each timed from when its query was due."""

from typing import Any

from session import Session


def measure(session: Session) -> dict[str, Any] | None:
    """Return None for a server that could not keep the pace."""
    if not session.peer.paced:
        return None
    rate = str(session.settings.rate)
    return session.load(session.seconds, *session.names(), "--rate", rate)
