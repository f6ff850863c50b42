"""The log: lines on standard error, for journald or a terminal; bounded, whatever happens."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from math import inf

# Every worker sees what these log, because each reads the same files.
SEEN_BY_ALL = (
    *("fastdns.upstream.sources", "fastdns.upstream.system"),
    "fastdns.server.certificate_page",
)
LINES_A_MINUTE = 10  # with the same wording, so that clients and upstreams cannot flood the log
STATES_A_MINUTE = 20


class RateLimit(logging.Filter):
    """Passes a limited number of lines of the same wording in each minute, and says so."""

    def __init__(self) -> None:
        super().__init__()
        self._minute = -1
        self._counts: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG:
            return True  # debug lines are never left out
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
        # A line that was made elsewhere is its own wording: many of other things do not hide it.
        wording = record.getMessage() if record.msg == "%s" else str(record.msg)
        count = self._counts[wording] = self._counts.get(wording, 0) + 1
        if count == LINES_A_MINUTE:
            record.msg = f"{record.msg} (similar lines are left out for up to a minute)"
        return count <= LINES_A_MINUTE


class States:
    """Logs each of some states, which are lines, when it begins; STATES_A_MINUTE at most.

    One for which there was no room is logged later, if it still holds then: none is lost for good.
    """

    def __init__(self, log: logging.Logger, level: int, known: Iterable[str] = ()) -> None:
        """`known`: states that are in the log already."""
        self._log = log
        self._level = level
        self._logged = set(known)
        self._minute = -inf  # when it began, by the monotonic clock
        self._count = 0
        self._waits = False

    def update(self, states: Iterable[str]) -> None:
        """Log those of the states that hold now that are not logged yet."""
        now = time.monotonic()
        if now - self._minute >= 60:
            self._minute, self._count = now, 0
        current = dict.fromkeys(states)
        self._logged &= current.keys()
        fresh = [state for state in current if state not in self._logged]
        room = STATES_A_MINUTE - self._count
        for state in fresh[:room]:
            self._log.log(self._level, "%s", state)
            self._logged.add(state)
        self._count += len(fresh[:room])
        self._waits = len(fresh) > room

    @property
    def seconds(self) -> float | None:
        """When it is to be updated although nothing has changed; None: it need not be."""
        return max(0.0, self._minute + 60 - time.monotonic()) if self._waits else None


def leave_to_first_worker() -> None:
    """Disable the loggers of what every worker sees: only the first one logs it."""
    for name in SEEN_BY_ALL:
        logging.getLogger(name).disabled = True


def start_log(level: str) -> None:
    """Send the log of every part of fastdns to standard error, from this level on."""
    handler = logging.StreamHandler()
    time_of_day = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "  # journald has its own
    handler.setFormatter(logging.Formatter(f"{time_of_day}%(levelname)s: %(message)s"))
    handler.addFilter(RateLimit())
    logger = logging.getLogger("fastdns")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.raiseExceptions = False  # a closed standard error must not stop the daemon
