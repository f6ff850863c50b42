"""What the scenarios "tcp", "dot" and "doh" have in common: connections that stay open.

"8x16" is 8 connections with 16 queries under way on each. First cached names, then new ones, which
the server has from its upstream over UDP.
"""

from typing import Any

import miss
import upstream
from session import Session

WARM_SECONDS = 60.0  # at most
HITS = {"8x1": (8, 1), "64x1": (64, 1), "8x16": (8, 16)}
MISSES = {"8x1": (8, 1), "8x16": (8, 16)}
PROGRAM = "load_stream"


def measure(session: Session, over: str, port: int) -> dict[str, Any]:
    """Return the figures of each way, and of "miss 8x1" …"""

    def options(connections: int, pipeline: int) -> list[str]:
        return [
            *("--over", over, "--connections", str(connections)),
            *("--pipeline", str(pipeline), "--timeout-ms", "5000"),
        ]

    # Some keep what they give over streams apart.
    warming = [*session.names(), *options(8, 16), "--sequential"]
    warming += ["--queries", str(session.settings.names)]
    session.load(WARM_SECONDS, *warming, program=PROGRAM, port=port)
    found: dict[str, Any] = {
        way: session.load_with_cpu(
            *session.names(), *options(*shape), "--wait", program=PROGRAM, port=port
        )
        for way, shape in HITS.items()
    }
    if session.peer.forwards:
        for number, (way, shape) in enumerate(MISSES.items()):
            names = [*miss.NEW_NAMES, "--domain", upstream.MISS_ZONE]
            names += ["--prefix", f"{over}{number}"]  # so that nobody has asked for them
            found[f"miss {way}"] = session.load_with_cpu(
                *(*names, *options(*shape), "--wait"),
                program=PROGRAM,
                port=port,
                most_bad=miss.MOST_BAD,
            )
    return found
