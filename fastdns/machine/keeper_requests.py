"""The requests to a running keeper, over its control socket: one line each way.

| line | answer |
|---|---|
| take-in | ok N: all answers of the workers were read and committed, N entries written |
| poke | ok: the workers read the control page and publish the state of their upstreams now |
| busiest N | [[cache key in hex, hits a second], …] |

Anything that cannot be done is answered `error TEXT`.
"""

from __future__ import annotations

import json
from pathlib import Path

from .control_socket import OK, answer_to

TAKE_IN = "take-in"
WAKE = "poke"
BUSIEST = "busiest"


def take_in(path: Path, timeout: float = 0.1) -> bool:
    """Make the keeper write what it knows; False: it did not confirm that in time."""
    return _ask(path, TAKE_IN, timeout).startswith(OK)


def wake_workers(path: Path, timeout: float = 0.1) -> bool:
    """Make the workers read the control page now; False: no keeper answered in time."""
    return _ask(path, WAKE, timeout).startswith(OK)


def busiest(path: Path, limit: int, timeout: float = 0.1) -> list[tuple[bytes, float]]:
    """Return the keys that are asked for most, with hits per second; [] without a keeper."""
    try:
        found = json.loads(_ask(path, f"{BUSIEST} {limit}", timeout))
        return [(bytes.fromhex(key), float(rate)) for key, rate in found]
    except (ValueError, TypeError):
        return []


def _ask(path: Path, request: str, timeout: float) -> str:
    """Return the answer, or "" if there is none."""
    try:
        return answer_to(path, request, timeout)
    except OSError:
        return ""
