"""What is asked of a running keeper, over its socket: one line each way.

| line | answer |
|---|---|
| take-in | ok N: all that workers have told was taken in and committed, N entries written |
| poke | ok: the workers look at the control page, and show how the upstreams are, now |
| busiest N | [[cache key in hex, hits a second], …] |

Anything that cannot be done is answered `error TEXT`.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

TAKE_IN = "take-in"
POKE = "poke"
BUSIEST = "busiest"
OK = "ok"
ERROR = "error"
LINE_MAX = 256  # octets of a request
ANSWER_MAX = 1024 * 1024


def nudge(path: Path, timeout: float = 0.1) -> bool:
    """Have the keeper write what it knows; False: it did not answer in time that it has."""
    return _ask(path, TAKE_IN, timeout).startswith(OK)


def poke(path: Path, timeout: float = 0.1) -> bool:
    """Have the workers look at the control page now; False: no keeper answered in time."""
    return _ask(path, POKE, timeout).startswith(OK)


def busiest(path: Path, limit: int, timeout: float = 0.1) -> list[tuple[bytes, float]]:
    """Return the keys that are asked for most, with hits a second; [] without a keeper."""
    try:
        found = json.loads(_ask(path, f"{BUSIEST} {limit}", timeout))
        return [(bytes.fromhex(key), float(rate)) for key, rate in found]
    except (ValueError, TypeError):
        return []


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name for a socket's path that fits into its address, however long the path is."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def _ask(path: Path, request: str, timeout: float) -> str:
    """Return the answer, or "" when there is none."""
    until = time.monotonic() + timeout
    try:
        with closing(socket.socket(socket.AF_UNIX)) as connection, short_path(path) as name:
            connection.settimeout(timeout)
            connection.connect(name)
            connection.sendall(f"{request}\n".encode())
            answer = b""
            while not answer.endswith(b"\n") and len(answer) < ANSWER_MAX:
                connection.settimeout(max(until - time.monotonic(), 0.001))
                piece = connection.recv(65536)
                if not piece:
                    return ""
                answer += piece
    except OSError:
        return ""
    return answer.decode("utf-8", "replace").rstrip("\n")
