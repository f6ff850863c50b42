"""Sizes and durations: text to number and back.

Sizes are bytes. "KiB", "MiB", "GiB", "TiB" and the bare letters "K", "M", "G", "T" are powers of
1024, as unbound and systemd read the letters; "KB", "MB", "GB", "TB" are powers of 1000. Capitals
do not matter, a fraction ("1.5GiB") is allowed, and a number without a unit, as a string or as an
integer, is a number of bytes.

Durations always have a unit, because a bare number is seconds to one program and milliseconds to
another: "200ms", "1.5s", "5m" (minutes), "1h", "1d".
"""

from __future__ import annotations

import re

from .text import describe

# Digits are bounded, so that no text takes long to read.
_NUMBER = r"([0-9]{1,20}(?:\.[0-9]{1,20})?)"
_SIZE = re.compile(_NUMBER + r" ?([kmgt]i?b?|)", re.IGNORECASE)
_DURATION = re.compile(_NUMBER + r" ?(ms|s|m|h|d)")

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_size(value: object) -> int:
    """Return the bytes that a TOML string or integer means; ValueError with one phrase."""
    if type(value) is int and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'{describe(value)} is not a size (try "64MiB")')
    (above, below), unit = _fraction(match[1]), match[2].lower()
    base = 1000 if unit.endswith("b") and "i" not in unit else 1024
    return above * int(base ** _POWERS[unit[:1]]) // below


def parse_duration(value: object) -> float:
    """Return the seconds that a TOML string means; ValueError with one phrase."""
    if type(value) in (int, float) or (isinstance(value, str) and re.fullmatch(_NUMBER, value)):
        number = describe(value).strip('"')
        remedy = f"{number}s" if re.fullmatch(_NUMBER, number) else "30s"
        raise ValueError(f'{describe(value)} has no unit (try "{remedy}")')
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'{describe(value)} is not a duration (try "{_meant(value)}")')
    above, below = _fraction(match[1])
    return above * _MILLISECONDS[match[2]] / (below * 1000)


def _meant(value: object) -> str:
    """Return the duration that a text means: 1d for "1 day", 90m for "1h30m"; else an example."""
    parts = rf"(?:{_NUMBER} ?([dhms])[a-z]* ?)"
    if not isinstance(value, str) or not re.fullmatch(f"{parts}+", value) or "mil" in value:
        return "30s"
    found = re.findall(parts, value)
    return spell_duration(sum(parse_duration(number + unit) for number, unit in found))


def _fraction(digits: str) -> tuple[int, int]:
    """Return the number exactly, as numerator and denominator."""
    whole, _, after = digits.partition(".")
    return int(whole + after), 10 ** len(after)


def spell_size(octets: int) -> str:
    """Return the shortest exact spelling with a binary unit; `parse_size` reads it back."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if octets and octets % 1024**power == 0:
            return f"{octets // 1024**power}{unit}"
    return str(octets)


def spell_duration(seconds: float) -> str:
    """Return the shortest exact spelling; `parse_duration` reads it back."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return in_seconds(seconds)


def in_seconds(seconds: float) -> str:
    """Return the duration in seconds, the unit of every TTL that a user sees elsewhere."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds!r}s"


def in_octets(octets: float) -> str:
    """A size: "512 B", "1.5 MiB"."""
    if octets < 1024:
        return f"{octets:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        octets /= 1024
        if octets < 999.5:
            return f"{short(octets)} {unit}"
    return f"{short(octets / 1024)} TiB"


def in_time(seconds: float | None) -> str:
    """A latency or a round trip: "3.2 µs", "41 ms"; "-" if there is none."""
    if seconds is None:
        return "-"
    for unit, length in (("µs", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * length:
            return f"{short(seconds / length)} {unit}"
    return f"{short(seconds)} s"


def short(number: float) -> str:
    """A number with a readable number of digits."""
    return f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"
