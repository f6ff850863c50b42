"""Workers that hang: they have not died, but answer no query."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeVar

LOOK_SECONDS = 5.0
SILENT_SECONDS = 15.0  # a worker reports each second, however busy it is
T = TypeVar("T")


class Silence:
    """Finds those that have not responded for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[object, float] = {}  # a new one must first get to it

    def of(self, signs: Mapping[T, float], now: float) -> list[T]:
        """Return those whose last report, by time.monotonic, is too old."""
        self._since = {one: self._since.get(one, now) for one in signs}
        return [
            one
            for one, shown_at in signs.items()
            if now - max(shown_at, self._since[one]) > self._seconds
        ]

    def forget(self) -> None:
        """Treat all as new."""
        self._since.clear()


class WorkerWatchdog:
    """Reports, every few seconds, who has not responded for long."""

    def __init__(self) -> None:
        self._silence = Silence(SILENT_SECONDS)
        self.due = time.monotonic() + LOOK_SECONDS

    def silent(self, signs: Mapping[T, float], now: float) -> list[T]:
        """Return those; an empty list before it is due."""
        if now < self.due:
            return []
        if now > self.due + LOOK_SECONDS:  # we were delayed ourselves, and perhaps they as well
            self._silence.forget()
        self.due = now + LOOK_SECONDS
        return self._silence.of(signs, now)
