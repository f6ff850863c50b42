"""The log: lines on standard error, for journald or a terminal; bounded, whatever happens."""

from __future__ import annotations

import logging
import os
import time

# Every worker sees what these log, because each reads the same files.
SEEN_BY_ALL = ("fastdns.upstream.sources", "fastdns.upstream.system")
LINES_A_MINUTE = 10  # with the same wording, so that clients and upstreams cannot flood the log


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
        wording = str(record.msg)
        count = self._counts[wording] = self._counts.get(wording, 0) + 1
        if count == LINES_A_MINUTE:
            record.msg = f"{wording} (similar lines are left out for up to a minute)"
        return count <= LINES_A_MINUTE


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
