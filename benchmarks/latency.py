"""Scenario "latency": cached answers at fixed rates, each timed from when its query was due."""

from typing import Any

from session import Session


def measure(session: Session) -> dict[str, Any] | None:
    """Return what came at each rate; None for a server that could not keep any pace."""
    if not session.peer.paced:
        return None
    options = session.names()
    return {
        str(rate): session.load(session.seconds, *options, "--rate", str(rate))
        for rate in session.settings.rates
    }
