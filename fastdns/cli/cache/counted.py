"""Numbers of things, in words."""

from __future__ import annotations


def counted(number: int, one: str = "entry", more: str = "entries") -> str:
    """Return "1 entry" or "2 entries"."""
    return f"{number} {one if number == 1 else more}"
