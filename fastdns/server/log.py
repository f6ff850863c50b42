"""The log: lines on standard error, for journald or a terminal; bounded, whatever happens."""

from __future__ import annotations

import logging
import os
import time

# What these say every worker sees, since each reads the same files.
SEEN_BY_ALL = ("fastdns.upstream.sources", "fastdns.upstream.system")
LINES_A_MINUTE = 10  # with the same wording; what clients and upstreams provoke stays readable


class Brake(logging.Filter):
    """Lets so many lines of the same wording through a minute and says how many it held back."""

    def __init__(self) -> None:
        super().__init__()
        self._minute = -1
        self._counts: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG:
            return True  # whoever asks for these wants them all
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
    """Log nothing of what every worker sees: the first one logs it."""
    for name in SEEN_BY_ALL:
        logging.getLogger(name).disabled = True


def start_log(level: str) -> None:
    """Send the log of every part of fastdns to standard error, from this level on."""
    handler = logging.StreamHandler()
    time_of_day = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "  # journald has its own
    handler.setFormatter(logging.Formatter(f"{time_of_day}%(levelname)s: %(message)s"))
    handler.addFilter(Brake())
    logger = logging.getLogger("fastdns")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.raiseExceptions = False  # a closed standard error is no reason to stop serving
