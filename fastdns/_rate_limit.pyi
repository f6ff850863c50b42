import mmap
from typing import Any

from ._clients import Access

BUCKETS: int
RATE_MAX: int
RATE_OCTETS: int

class RateLimit:
    """Says for each query whether its client is above the limit."""

    @property
    def is_dry(self) -> bool: ...
    def __init__(
        self, memory: mmap.mmap | None, rate: int, exempt: Access, *, dry_run: bool = False
    ) -> None: ...
    def exempt_by(self, exempt: Access) -> None: ...
    def takes(self, client: tuple[Any, ...], now_ns: int) -> bool: ...
