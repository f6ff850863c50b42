"""Scenario "doh": cached and new names over HTTP/2, by POST."""

from typing import Any

import streams
from session import Session


def measure(session: Session) -> dict[str, Any]:
    assert session.encrypted
    return streams.measure(session, "https", session.encrypted.https)
