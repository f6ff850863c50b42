"""Limits of values: each returns or is a validator of attrs, whose ValueError names the limit."""

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from .units import in_seconds
from .values import Ttl

_T = TypeVar("_T", int, float)


def between(least: _T, most: _T, spell: Callable[[Any], str]) -> Callable[[Any, Any, _T], None]:
    """Return a validator that accepts least to most, both included, and names them if not."""

    def check(_instance: Any, _attribute: Any, value: _T) -> None:
        if value < least:
            raise ValueError(f"is {spell(value)}; must be at least {spell(least)}")
        if value > most:
            raise ValueError(f"is {spell(value)}; must be at most {spell(most)}")

    return check


def whole_seconds(least: float, most: float) -> Callable[[Any, Any, Ttl], None]:
    """Return a validator for TTLs: least to most, in whole seconds."""
    limits = between(least, most, in_seconds)

    def check(instance: Any, attribute: Any, value: Ttl) -> None:
        limits(instance, attribute, value)
        if value % 1:
            raise ValueError(f"is {in_seconds(value)}; must be whole seconds")

    return check


def once(_instance: Any, _attribute: Any, value: tuple[Any, ...]) -> None:
    for one, count in Counter(value).items():
        if count > 1:
            raise ValueError(f'"{one}" is listed more than once (keep one)')
