"""Scenario "tcp": cached and new names on TCP connections that stay open."""

from typing import Any

import streams
from session import Session


def measure(session: Session) -> dict[str, Any]:
    return streams.measure(session, "tcp", session.server.port)
