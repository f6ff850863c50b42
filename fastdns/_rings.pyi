"""What all workers have learned and the keeper has not written yet."""

from collections.abc import Iterable

from ._ring import Ring

class Rings:
    """Looks in all of these rings; none of them is taken from."""

    def __init__(self, rings: Iterable[Ring]) -> None: ...
    def look(self, key: bytes) -> tuple[int, bytes] | None: ...
