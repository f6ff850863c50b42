from collections.abc import Callable

from ._forward import Forward
from ._query import Query
from ._tiers import Tiers

class FastPath:
    """Answers from the cache; calls `on_uncommon(query)` for each query that needs more."""

    @property
    def tiers(self) -> Tiers: ...
    def __init__(
        self,
        forward: Forward,
        on_uncommon: Callable[[Query], None],
        on_refresh: Callable[[bytes], object],
        *,
        stale_ttl: int = 30,
        prefetch: bool = True,
    ) -> None: ...
    def drain(self, fd: int) -> None: ...
    def answer_stream(self, packet: bytes, make_query: Callable[[], Query]) -> bytes | None: ...
    def renew_wanted(self) -> None: ...
