"""Defects of ours in callbacks of the event loop: logged, and the daemon continues.

gevent never again calls a watcher whose callback has raised.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import ParamSpec

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0  # between two that are logged: one defect may come with every packet

Parameters = ParamSpec("Parameters")


class _Told:
    def __init__(self) -> None:
        self.next_at = 0.0
        self.silent = 0  # defects that were not logged since


_told = _Told()


def report(defect: Exception) -> None:
    """Log a defect with a traceback; of many only some."""
    now = time.monotonic()
    if now < _told.next_at:
        _told.silent += 1
        return
    more = f" (and {_told.silent} more since the last one)" if _told.silent else ""
    _told.silent = 0
    _told.next_at = now + PAUSE_SECONDS
    log.error("defect: %s: %s%s", type(defect).__name__, defect, more, exc_info=defect)


def guarded(callback: Callable[Parameters, object]) -> Callable[Parameters, None]:
    """Return the callback in a form that the event loop may call: it never raises."""

    @functools.wraps(callback)
    def call(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> None:
        try:
            callback(*arguments, **keywords)
        except Exception as defect:
            report(defect)

    return call
