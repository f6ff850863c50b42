"""Hours of the week: "Mon-Fri 20:00-07:00", or several, "Mon-Fri 20:00-07:00, Sat 22:00-08:00"."""

from __future__ import annotations

import re

from .text import describe
from .values import NO_HOURS, Hours

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = 24 * 60  # minutes
WEEK = 7 * DAY

_PART = re.compile(
    r"(?:([a-z]{3})(?:-([a-z]{3}))?(?: +|$))?(?:([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2}))?"
)
_EXAMPLE = 'try "Mon-Fri 20:00-07:00"'


def parse_hours(text: str) -> Hours:
    """Return the hours that the text names. ValueError with one phrase.

    Without days it is every day, without times the whole day. A time that ends before it begins
    ends on the next day.
    """
    if not text.strip():
        return NO_HOURS
    spans: list[tuple[int, int]] = []
    for part in text.lower().split(","):
        spans += _spans(part.strip(), text)
    return Hours(text, tuple(sorted(spans)))


def _spans(part: str, text: str) -> list[tuple[int, int]]:
    match = _PART.fullmatch(part)
    if not part or not match:
        words = (word for word in re.split(r"[\s;]+", part) if word)
        wrong = next((word for word in words if not _PART.fullmatch(word)), part)
        which = "" if wrong in ("", text) else f": {describe(wrong)}"
        raise ValueError(f"{describe(text)}{which} is not a time ({_EXAMPLE})")
    for day in match.group(1, 2):
        if day and day not in DAYS:
            raise ValueError(f"{describe(text)}: {describe(day)} is not a day ({_EXAMPLE})")
    first, end = 0, DAY
    if match[3]:
        first, end = _minutes(match[3], match[4], text), _minutes(match[5], match[6], text)
        if first in (DAY, end):
            raise ValueError(f"{describe(text)}: this time is empty ({_EXAMPLE})")
        end += DAY if end < first else 0
    return [(day * DAY + first, day * DAY + end) for day in _days(match[1], match[2])]


def _days(first: str | None, last: str | None) -> list[int]:
    if first is None:
        return list(range(7))
    begin = DAYS.index(first)
    end = DAYS.index(last) if last else begin
    return [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]


def _minutes(hours: str, minutes: str, text: str) -> int:
    total = int(hours) * 60 + int(minutes)
    if total > DAY or int(minutes) > 59:
        raise ValueError(f"{describe(text)}: {hours}:{minutes} is not a time of day ({_EXAMPLE})")
    return total
