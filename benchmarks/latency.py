"""Scenario "latency": cached answers at fixed rates, each timed from when its query was due."""

from typing import Any

from session import Session


def measure(session: Session) -> dict[str, Any] | None:
    """Return what came at each rate; None for a server that could not keep any pace."""
    if not session.peer.paced:
        return None
    options, seconds = session.names(), session.seconds / 2  # there are several rates
    return {
        str(rate): session.load(seconds, *options, "--rate", str(rate))
        for rate in session.settings.rates
    }
