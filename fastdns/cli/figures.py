"""Figures as people read them: short, with a unit."""

from __future__ import annotations

import time

from .._counters import UpstreamState
from ..browse.names import spell_rcode
from ..config.units import in_octets, in_time

__all__ = [
    "QUANTILES",
    "in_a_word",
    "in_clock",
    "in_date",
    "in_days",
    "in_number",
    "in_octets",
    "in_rate",
    "in_share",
    "in_time",
    "is_silent",
    "is_well",
]

QUANTILES = (50, 95, 99)
SOON = 600.0  # an end that is nearer is told with its seconds


def in_clock(until: float, now: float) -> str:
    """A moment in this machine's time: "14:05", with seconds if it is near, with the day if not."""
    there, here = time.localtime(until), time.localtime(now)
    if there[:3] != here[:3]:
        return time.strftime("%Y-%m-%d %H:%M", there)
    return time.strftime("%H:%M:%S" if abs(until - now) < SOON else "%H:%M", there)


def in_rate(events: float) -> str:
    """Events a second: "0", "0.4", "20,123"."""
    return f"{events:.1f}" if 0 < events < 9.95 else f"{events:,.0f}"


def in_share(part: float, whole: float) -> str:
    """A fraction: "99.5 %", "<0.1 %"; "-" if there is no whole."""
    if whole <= 0:
        return "-"
    return "<0.1 %" if 0 < part / whole < 0.0005 else f"{100 * part / whole:.1f} %"


def in_number(count: int, one: str, several: str = "") -> str:
    """A number of things: "1 upstream", "2,857 queries"."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def in_days(seconds: float) -> str:
    """A long time: "42 s", "3 h 12 min", "12 d"."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        is_second = bool(parts)
        if count:
            parts.append(f"{count} {unit}")
        if is_second:
            break
    return " ".join(parts) or "0 s"


def in_a_few_letters(seconds: int) -> str:
    """A time for a narrow column, two digits and a unit: "42s", "59m", "3h", "12d"."""
    for letter, length in (("s", 1), ("m", 60), ("h", 3600)):
        if round(seconds / length) < 100:
            return f"{round(seconds / length)}{letter}"
    return f"{round(seconds / 86400)}d"


def in_date(at: float, now: float) -> str:
    """A moment of the wall clock, in this machine's time: "2026-11-28 14:36:25 (12 min ago)"."""
    try:
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):  # a clock with an impossible time
        return "unknown"
    return f"{date} ({in_days(now - at)} ago)" if at <= now else date


def is_well(upstream: UpstreamState) -> bool:
    """Whether it answers, as far as known, and not only with errors."""
    return upstream.alive and not upstream.rcode and not is_silent(upstream)


def is_silent(upstream: UpstreamState) -> bool:
    """Whether it was asked, has failed to answer and never replied; that soon makes it dead."""
    has_replied = upstream.since or upstream.rtt is not None
    return upstream.alive and upstream.failures > 0 and not has_replied


def in_a_word(upstream: UpstreamState) -> str:
    """The state of an upstream."""
    if not upstream.alive:
        return "dead"
    if is_silent(upstream):
        return "no reply yet"
    if upstream.rcode:
        return f"answers {spell_rcode(upstream.rcode)}"
    if not upstream.edns:
        return "no EDNS"
    return "alive" if upstream.queries else "not asked"
