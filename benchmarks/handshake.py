"""Scenario "handshake": new connections over TLS with one query each, and UDP hits beside storms.

Every connection has another client address, so no limit of a client is met. A storm has the load's
core with a lower priority; a latency counts from the kernel's send to its receipt of the answer.
"""

import subprocess
from typing import Any

import streams
import tools
from peers import Encrypted
from session import Session

CONNECTIONS = "32"
NEW = {"full": "new", "resumed": "resumed"}
VERSIONS = ("1.3", "1.2")
NAP = ("--nap-us", "100", "--timeout-ms", "2000")
LEAD_SECONDS = 0.3  # that a storm begins earlier and ends later


def storms(places: Encrypted) -> dict[str, tuple[int, list[str]]]:
    """Return the port and the options of load_stream.c for each."""
    return {
        "slow": (places.tls, ["--over", "tls", *storm("slow", 200, 10)]),
        "handshakes": (places.tls, ["--over", "tls", *storm("new", 64, 500)]),
        "resets": (places.https, ["--over", "https", *storm("resets", 4, 10_000)]),
    }


def storm(mode: str, connections: int, rate: int) -> list[str]:
    return ["--mode", mode, "--connections", str(connections), "--rate", str(rate)]


def measure(session: Session) -> dict[str, Any]:
    assert session.encrypted
    found: dict[str, Any] = {
        f"{version} {way}": connect(session, session.encrypted, version, mode)
        for version in VERSIONS
        for way, mode in NEW.items()
    }
    found["quiet"] = hits(session)
    for name, (port, options) in storms(session.encrypted).items():
        found[name] = beside(session, port, [*options, *session.names()])
    return found


def connect(session: Session, places: Encrypted, version: str, mode: str) -> dict[str, Any]:
    options = ["--over", "tls", "--tls", version, "--mode", mode, "--connections", CONNECTIONS]
    return session.load_with_cpu(
        *session.names(), *options, program=streams.PROGRAM, port=places.tls
    )


def hits(session: Session) -> dict[str, Any]:
    rate = str(session.settings.rate)
    return session.load(session.seconds, *session.names(), "--rate", rate, *NAP)


def beside(session: Session, port: int, options: list[str]) -> dict[str, Any]:
    """Return the figures of hits while the storm runs, and what it did."""
    seconds = session.seconds + 2 * LEAD_SECONDS
    with session.start_load(
        seconds, *options, program=streams.PROGRAM, port=port, nice=10
    ) as running:
        try:
            lead(running)
            found = hits(session)
            found["storm"] = tools.finish_load(running, seconds)
        finally:
            running.kill()
    return found


def lead(running: subprocess.Popen[str]) -> None:
    """Wait until the storm has begun; one that has ended by then shows in `finish_load`."""
    try:
        running.wait(LEAD_SECONDS)
    except subprocess.TimeoutExpired:
        return
