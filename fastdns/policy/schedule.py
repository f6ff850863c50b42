"""The hours of views: which of them are in force at a moment, and when that changes.

Hours are those of the wall clock where the machine is. So a view that begins at 20:00 does so in
summer and in winter. When a change of the clocks leaves out an hour, what it has is not in force;
an hour that comes twice is in force twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..config.filters import View
from ..config.hours import DAY, WEEK
from ..config.values import Hours
from .signature import signature

LOCALTIME = Path("/etc/localtime")
AHEAD_DAYS = 8  # a week from now, whatever the clocks do
HOUR, DAY_SECONDS = 3600, 86400
THURSDAY = 3  # 1 January 1970


class LocalTime(NamedTuple):
    """A moment as the clocks of a place show it."""

    minute: int  # of the week, which begins on Monday
    offset: int  # seconds that the clocks are ahead of UTC


Clock = Callable[[float], LocalTime]


def machines_clock(now: float) -> LocalTime:
    """Return what the clocks show where this machine is, at a time (Unix)."""
    shown = time.localtime(now)
    return LocalTime(shown.tm_wday * DAY + shown.tm_hour * 60 + shown.tm_min, shown.tm_gmtoff)


def is_in_force(hours: Hours, minute: int) -> bool:
    """Return whether the hours contain a minute of the week."""
    # A span over midnight of Sunday ends beyond the week.
    return not hours.text or any(
        first <= at < end for first, end in hours.spans for at in (minute, minute + WEEK)
    )


def in_force(views: Sequence[View], now: float, clock: Clock = machines_clock) -> tuple[int, ...]:
    """Return the numbers of the views that are in force at a time (Unix)."""
    minute = clock(now).minute
    return tuple(
        number for number, one in enumerate(views, start=1) if is_in_force(one.when, minute)
    )


def next_change(views: Sequence[View], now: float, clock: Clock = machines_clock) -> float | None:
    """Return when other views will be in force (Unix time); None: not in the next week."""
    former = in_force(views, now, clock)
    jumps = list(_jumps(now, clock))  # an hour may be left out: what it has begins afterwards
    offsets = {clock(at).offset for at in (now, *jumps)}
    moments = {*jumps, *_ends([one.when for one in views], now, offsets)}
    for at in sorted(moments):
        if at > now and in_force(views, at, clock) != former:
            return at
    return None


def _ends(several: Sequence[Hours], now: float, offsets: set[int]) -> Iterator[float]:
    """Yield the times at which hours begin or end, as clocks with one of these offsets have it."""
    minutes = {at % WEEK for one in several for span in one.spans for at in span}
    for offset in offsets:
        days = int(now + offset) // DAY_SECONDS
        monday = days - (days + THURSDAY) % 7
        for week in range(2 + AHEAD_DAYS // 7):
            for minute in minutes:
                yield float((monday + 7 * week) * DAY_SECONDS + 60 * minute - offset)


def _jumps(now: float, clock: Clock) -> Iterator[float]:
    """Yield the times at which the clocks are changed."""
    first = int(now)
    for at in range(first, first + AHEAD_DAYS * DAY_SECONDS, HOUR):
        low, high = at, at + HOUR
        if clock(low).offset == clock(high).offset:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if clock(middle).offset == clock(low).offset:
                low = middle
            else:
                high = middle
        yield float(high)


class TimeZone:
    """The time zone of the machine, which the C library reads again when it is changed."""

    def __init__(self) -> None:
        name = os.environ.get("TZ", "").removeprefix(":")
        self._path = Path(name) if name.startswith("/") else LOCALTIME
        self._seen = signature(self._path)

    def refresh(self) -> bool:
        """Have it read again if it has changed; return True then."""
        seen = signature(self._path)
        if seen == self._seen:
            return False
        self._seen = seen
        # The C library reads the file again only if the variable has another value.
        configured = os.environ.get("TZ")
        os.environ["TZ"] = "UTC0"
        time.tzset()
        if configured is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = configured
        time.tzset()
        return True


class Schedule:
    """Which views are in force now, and until when."""

    def __init__(self, views: Sequence[View], now: float, clock: Clock = machines_clock) -> None:
        self._views = views
        self._clock = clock
        self._zone = TimeZone()
        self._looked_at = self._decided_at = now
        self.numbers: tuple[int, ...] = ()
        self.due: float | None = None  # when it changes; None: not in the next week
        self._decide(now)

    def refresh(self, now: float) -> bool:
        """Return True if other views are in force than at the last look.

        To be called at least once a second: it notices a clock that was set, too.
        """
        was_set_back = now < self._looked_at
        self._looked_at = now
        # Without a change in sight there may be one later: in a week it is looked for again.
        ahead = self._decided_at + (AHEAD_DAYS - 1) * DAY_SECONDS
        has_moved = self._zone.refresh()
        if not (has_moved or was_set_back or now >= (ahead if self.due is None else self.due)):
            return False
        former = self.numbers
        self._decide(now)
        return former != self.numbers

    def _decide(self, now: float) -> None:
        self._decided_at = now
        self.numbers = in_force(self._views, now, self._clock)
        self.due = next_change(self._views, now, self._clock)
