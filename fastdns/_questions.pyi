from typing import Any

from ._cache import Cache

IN_FLIGHT_MAX: int

class Questions:
    """The questions of one process that are in flight."""

    def __init__(self, cache: Cache, *args: Any) -> None: ...
    @property
    def cache(self) -> Cache: ...
    @property
    def count(self) -> int: ...
    @property
    def waiting(self) -> int: ...
