"""Workers that hang: they have not died, and answer nobody."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeVar

LOOK_SECONDS = 5.0
SILENT_SECONDS = 15.0  # a worker shows a sign of life each second, however busy it is
T = TypeVar("T")


class Silence:
    """Judges who has shown no sign of life for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[object, float] = {}  # who is new has to come round to it first

    def of(self, signs: Mapping[T, float], now: float) -> list[T]:
        """Return those whose last sign, by time.monotonic, is too old."""
        self._since = {one: self._since.get(one, now) for one in signs}
        return [
            one
            for one, shown_at in signs.items()
            if now - max(shown_at, self._since[one]) > self._seconds
        ]

    def forget(self) -> None:
        """Take all for new."""
        self._since.clear()


class WorkerWatchdog:
    """Tells, every few seconds, who has shown no sign of life for long."""

    def __init__(self) -> None:
        self._silence = Silence(SILENT_SECONDS)
        self.due = time.monotonic() + LOOK_SECONDS

    def silent(self, signs: Mapping[T, float], now: float) -> list[T]:
        """Return those; none before it is due."""
        if now < self.due:
            return []
        if now > self.due + LOOK_SECONDS:  # we have been held up ourselves, and they perhaps, too
            self._silence.forget()
        self.due = now + LOOK_SECONDS
        return self._silence.of(signs, now)
