"""Follows the rules made at run time: as their file changes, and as the times of rules end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gevent.event import Event

from ..config.text import path_text
from ..defects import report
from .override_file import load, read
from .overrides import Overrides
from .signature import Signature, signature
from .watch import Watch

CLOCK_SECONDS = 5.0  # after which the clock is looked at again, should it be set
LEAST_SECONDS = 0.001


class OverrideFollower:
    """Knows the rules in force, and calls `use` with others as soon as others are in force.

    It also calls `use` when only the version of the file is another one, so that it can be
    published. A file that cannot be read any more keeps the rules that it had.
    """

    def __init__(
        self, path: Path, use: Callable[[Overrides], None], clock: Callable[[], float] = time.time
    ) -> None:
        """Read the file. `clock` tells the time by the wall clock."""
        self._path = path
        self._use = use
        self._clock = clock
        self._has_changed = Event()
        self._seen: Signature = (signature(path),)
        self._all = read(path)
        self.problems = self._all.problems  # lines that name the file
        self.current = self._all.at(clock())

    def look(self) -> None:
        """Look at the file now; to be called on the event loop, takes no time."""
        self._has_changed.set()

    def follow(self, hub: Any) -> None:
        """Follow the file until this greenlet is killed. A thread of the hub reads it."""
        watch = Watch(hub.loop, lambda: (self._path,), self._has_changed.set)
        try:
            while True:
                self._has_changed.wait(self.seconds_to_next_look())
                self._has_changed.clear()
                seen = (signature(self._path),)
                if seen != self._seen:
                    # Before it is read: should it change meanwhile, it is read once more.
                    self._seen = seen
                    hub.threadpool.apply(self._read)
                self._settle()
        finally:
            watch.stop()

    def seconds_to_next_look(self) -> float | None:
        """Return when rules may change although the file does not; None: never."""
        if not self._all.has_ends:
            return None
        now = self._clock()
        due = self._all.next_change(now)
        # Also when all have ended: after the clock is set back, they hold again.
        seconds = CLOCK_SECONDS if due is None else min(due - now, CLOCK_SECONDS)
        return max(seconds, LEAST_SECONDS)

    def _read(self) -> None:
        try:
            self._all = load(self._path)
            self.problems = self._all.problems
        except ValueError as error:
            self.problems = (
                f"{path_text(self._path)}: {error}; the former rules made at run time stay in use",
            )

    def _settle(self) -> None:
        current = self._all.at(self._clock())
        if current != self.current or current.version != self.current.version:
            self.current = current
            try:
                self._use(current)
            except Exception as defect:  # the next change must be followed nevertheless
                report(defect)
