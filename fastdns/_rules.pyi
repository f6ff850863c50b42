from collections.abc import Sequence

from ._answer import Limits
from ._domains import DomainSet

GIVEN: int
NEVER: int
IF_NO_A: int
MOST_RULES: int
MOST_TYPES: int

def value_of_name(number: int, itself: bool, under: bool) -> int: ...

class Rules:
    """All rules, and the names that they concern."""

    @property
    def count(self) -> int: ...
    @property
    def has_stale(self) -> bool: ...
    @property
    def stale_ms_max(self) -> int: ...
    def __init__(self, names: DomainSet | None = None) -> None: ...
    def __len__(self) -> int: ...
    def add(
        self,
        *,
        mark: int = 0,
        aaaa_mark: int = 0,
        limits: tuple[Limits, Limits] | None = None,
        stale: float | None = None,
        is_cached: bool = True,
        aaaa: int = 0,
        types: Sequence[int] = (),
    ) -> int: ...
    def number_of(self, name: bytes) -> int: ...
    def mark_of(self, name: bytes, qtype: int, qclass: int) -> int: ...
    def limits_of(self, name: bytes, qclass: int, trust_ad: bool) -> Limits | None: ...
    def keeps(self, name: bytes, qtype: int, qclass: int) -> bool: ...
