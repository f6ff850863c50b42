"""Scenario "tcp": cached answers on connections that stay open, many queries at once on each."""

from typing import Any

from session import Session

WARM_SECONDS = 1.0
CONNECTIONS = ("--connections", "8", "--pipeline", "16")  # 128 outstanding, as for hits over UDP


def measure(session: Session) -> dict[str, Any] | None:
    """Return None for what does not keep connections."""
    if not session.peer.tcp:
        return None
    # Some keep what they give over TCP apart.
    session.load(WARM_SECONDS, *session.names(), *CONNECTIONS, "--sequential", program="load_tcp")
    return session.load_with_cpu(*session.names(), *CONNECTIONS, program="load_tcp")
