"""Answers that any worker has learned and the keeper has not written yet."""

from collections.abc import Iterable

from ._ring import Ring

class Rings:
    """Looks in all of these rings, without removing anything."""

    def __init__(self, rings: Iterable[Ring]) -> None: ...
    def look(self, key: bytes) -> tuple[int, bytes] | None: ...
