"""Scenario "mixed": nine of ten queries are for names in the cache, by Zipf's law; one is new.

A forwarder's day: few names are asked most, many sometimes, and some for the first time.
"""

from typing import Any

import upstream
from miss import MOST_BAD
from session import Session

EXPONENT, FRESH_PERCENT = "1", "10"


def measure(session: Session) -> dict[str, Any] | None:
    """Return None for what forwards nothing, or takes minutes to get warm."""
    if not (session.peer.forwards and session.peer.large):
        return None
    names = (
        *("--prefix", "z", "--digits", "8", "--domain", upstream.MISS_ZONE),
        *("--names", str(session.settings.zipf_names)),
    )
    session.warm(*names)
    mix = ("--zipf", EXPONENT, "--fresh", FRESH_PERCENT)
    return session.load_with_cpu(*names, *mix, most_bad=MOST_BAD)
