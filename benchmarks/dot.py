"""Scenario "dot": cached and new names over TLS, and the memory of connections that only wait."""

import time
from typing import Any

import streams
import tools
from session import Session

OPEN_SECONDS = 60
SETTLE_SECONDS = 10.0  # after the last connection has gone, at most
STEP_SECONDS = 0.5


def measure(session: Session) -> dict[str, Any]:
    assert session.encrypted
    found = streams.measure(session, "tls", session.encrypted.tls)
    return found | {"idle": idle(session, session.encrypted.tls)}


def idle(session: Session, port: int) -> dict[str, float]:
    """Return the memory, in octets, that connections opened at once take, and what they leave."""
    before = session.server.memory()["pss"]
    options = ["--over", "tls", "--mode", "idle", "--connections", str(session.settings.idle)]
    options += ["--timeout-ms", str(OPEN_SECONDS * 1000), *session.names()]
    with session.start_load(OPEN_SECONDS, *options, program=streams.PROGRAM, port=port) as running:
        try:
            opened = tools.wait_until_open(running)
            most = session.server.memory()["pss"]
            result = tools.finish_load(running, OPEN_SECONDS)
        finally:
            running.kill()
    session.server.check()
    least = settled(session)
    return {
        "open_seconds": opened["seconds"],
        "ended": result["ended"],
        "more_pss": most - before,
        "left_pss": least - before,
    }


def settled(session: Session) -> int:
    """Return the PSS when it does not fall any more."""
    deadline = time.monotonic() + SETTLE_SECONDS
    least = session.server.memory()["pss"]
    still = 0
    while time.monotonic() < deadline and still < 4:
        time.sleep(STEP_SECONDS)
        now = session.server.memory()["pss"]
        still = still + 1 if now >= least else 0
        least = min(least, now)
    return least
